//! `dataverse.grants`: who holds which role and which role holds which privilege, as a snapshot in NDJSON.
//!
//! Form, one JSON object a line:
//! ```text
//! {"grants":"begin","system":"dynamics365","tenant":"org1a2b3c4d","query":"…","time":"2026-11-22T01:00:00Z"}
//! {"principal":"…","name":"…","permission":"…","scope":"…","path":"…","enabled":true,"expires":"…"}
//! {"systemuserid":"…","fullname":"…","domainname":"…","role_name":"…","businessunit":"…","isdisabled":false,"team":"…"}
//! {"role_name":"…","privilege":"prvReadAccount","privilegedepthmask":8}
//! {"grants":"end","rows":3}
//! ```
//! The first kind of row is our own; the second joins `systemuserrolescollection` or `teamrolescollection`
//! with users and roles; the third joins `roleprivilegescollection` with roles and privileges, and becomes
//! a grant of the principal `role:<role_name>`.
//!
//! Depth has two encodings for the same four words, and the member's name says which one is meant: the
//! table's `privilegedepthmask` is a bit mask (1 basic, 2 local, 4 deep, 8 global; several bits mean the
//! widest), while `depth`, as functions and the SDK give it, counts from 0 (0 basic … 3 global, 4 record
//! filter) or is the word itself. An `8` in `depth` or a `3` read as ordinal would each be wrong.
//!
//! Invariants: every line is a begin, a row, an end, or [`GrantsLine::Bad`]; a row whose permission, holder
//! or depth cannot be read is bad, never a weaker grant.

#[cfg(test)]
mod tests;

use super::text::json::{Json, Members};
use super::{Format, text};
use crate::model::Time;
use crate::model::event::System;
use crate::model::grant::{Grant, GrantsLine};
use crate::model::record::{FormatContext, Framing, Parsed, Record};

/// The format.
pub struct DataverseGrants;

impl Format for DataverseGrants {
    fn name(&self) -> &'static str {
        "dataverse.grants"
    }
    fn system(&self) -> System {
        System::Dynamics365
    }
    fn framing(&self) -> Framing {
        Framing::Line
    }
    fn is_grants(&self) -> bool {
        true
    }
    fn sets(&self) -> &'static [&'static str] {
        &[]
    }
    fn parse(&self, record: &Record<'_>, _: &FormatContext) -> Parsed {
        Parsed::Grants(line(record.text).unwrap_or_else(|why| GrantsLine::Bad { why }))
    }
}

type Read<T> = Result<T, &'static str>;

fn line(line: &str) -> Read<GrantsLine> {
    let (mut members, document) = text::object(line).ok_or("not a JSON object")?;
    if document.too_complex {
        return Err("beyond the limits of JSON");
    }
    if document.duplicate.is_some() {
        return Err("a member stands twice");
    }
    match members.take("grants") {
        None if members.has("principal") => own_row(members).map(GrantsLine::Row),
        None if members.has("privilege") => privilege_row(members).map(GrantsLine::Row),
        None if members.has("role_name") => role_row(members).map(GrantsLine::Row),
        None => Err("neither begin, row nor end"),
        Some(kind) => match kind.as_str() {
            Some("begin") => begin(members),
            Some("end") => end(&members),
            _ => Err("grants is neither begin nor end"),
        },
    }
}

fn begin(mut members: Members<'_>) -> Read<GrantsLine> {
    let system = match members.take_text("system") {
        None => System::Dynamics365,
        Some(word) => System::parse(&word).ok_or("unknown system")?,
    };
    let time = optional_time(&mut members, "time")?;
    let tenant = members.take_text("tenant");
    let query = members.take_text("query").unwrap_or_default();
    Ok(GrantsLine::Begin { system, tenant, query, time })
}

fn end(members: &Members<'_>) -> Read<GrantsLine> {
    let rows = members.get("rows").and_then(Json::as_u64).ok_or("end without its number of rows")?;
    Ok(GrantsLine::End { rows })
}

fn optional_time(members: &mut Members<'_>, name: &str) -> Read<Option<Time>> {
    match members.take_text(name) {
        None => Ok(None),
        Some(text) => {
            Time::parse(&text).or_else(|| Time::parse_date(&text)).map(Some).ok_or("a time that is none")
        }
    }
}

fn optional_bool(members: &mut Members<'_>, name: &str) -> Read<Option<bool>> {
    match members.take(name) {
        None => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or("a truth that is none"),
    }
}

fn own_row(mut members: Members<'_>) -> Read<Grant> {
    let grant = Grant {
        principal: members.take_text("principal").ok_or("row without principal")?,
        name: members.take_text("name"),
        permission: members.take_text("permission").ok_or("row without permission")?,
        scope: members.take_text("scope").unwrap_or_default(),
        path: members.take_text("path").unwrap_or_default(),
        enabled: optional_bool(&mut members, "enabled")?,
        expires: optional_time(&mut members, "expires")?,
    };
    // A misspelt `enabled` or `scope` would change what the grant says.
    let known = ["grants", "principal", "name", "permission", "scope", "path", "enabled", "expires"];
    let unknown = members.iter().any(|(name, value)| *value != Json::Null || !known.contains(&name.as_ref()));
    if unknown { Err("row with a member that is not ours") } else { Ok(grant) }
}

fn role_row(mut members: Members<'_>) -> Read<Grant> {
    let team = members.take_text("team");
    let domain_name = members.take_text("domainname");
    let user = members.take_text("systemuserid");
    let team_id = members.take_text("teamid");
    let (principal, path) = match (user, team_id, team) {
        (Some(user), _, Some(team)) => (user, format!("team:{team}/role")),
        (Some(user), _, None) => (user, "role".to_owned()),
        // A role of the team itself, whoever its members are.
        (None, Some(team), _) => (team, "role".to_owned()),
        (None, None, _) => return Err("row without systemuserid"),
    };
    Ok(Grant {
        principal,
        name: members.take_text("fullname").or(domain_name),
        permission: members.take_text("role_name").ok_or("row without role_name")?,
        scope: members.take_text("businessunit").unwrap_or_default(),
        path,
        enabled: optional_bool(&mut members, "isdisabled")?.map(|disabled| !disabled),
        expires: None,
    })
}

fn privilege_row(mut members: Members<'_>) -> Read<Grant> {
    let role = members.take_text("role_name").ok_or("row without role_name")?;
    let depth = match (members.take("privilegedepthmask"), members.take("depth")) {
        (Some(mask), None) => depth_of_mask(&mask),
        (None, Some(depth)) => depth_of_ordinal(&depth),
        _ => return Err("row without depth, or with both kinds of it"),
    };
    Ok(Grant {
        principal: format!("role:{role}"),
        name: Some(role),
        permission: members.take_text("privilege").ok_or("row without privilege")?,
        scope: depth.ok_or("unknown depth")?.to_owned(),
        path: "privilege".to_owned(),
        ..Grant::default()
    })
}

/// The bit mask of the table: the widest bit counts.
fn depth_of_mask(mask: &Json<'_>) -> Option<&'static str> {
    match mask.as_u64()? {
        mask @ 1..=15 if mask & 8 != 0 => Some("global"),
        mask @ 1..=15 if mask & 4 != 0 => Some("deep"),
        mask @ 1..=15 if mask & 2 != 0 => Some("local"),
        1 => Some("basic"),
        _ => None,
    }
}

/// The enumeration `PrivilegeDepth` of the SDK: an ordinal or its word.
fn depth_of_ordinal(depth: &Json<'_>) -> Option<&'static str> {
    const WORDS: [&str; 5] = ["basic", "local", "deep", "global", "recordfilter"];
    if let Some(ordinal) = depth.as_u64() {
        return WORDS.get(usize::try_from(ordinal).ok()?).copied();
    }
    let word = depth.as_str()?.trim();
    WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word))
}
