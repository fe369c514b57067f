//! `dataverse.audit`: rows of the Dataverse `audits` table, one JSON object a line.
//!
//! Form: a row as `GET /api/data/v9.2/audits` gives it, with or without OData annotations
//! (`name@OData.Community.Display.V1.FormattedValue`, `…lookuplogicalname`). Source: Microsoft Learn,
//! "Retrieve the history of audited data changes" and "Auditing table reference".
//!
//! Decisions:
//! * An audit row is written when the operation is done, so a row with a known action is a success.
//! * `_userid_value` is the account that Dataverse attributes the change to; in an impersonated call
//!   `_callinguserid_value` is the account that called, the actor; the first then stands in `actor.on_behalf_of`.
//! * `action` codes 16, 31, 37, 42, 43 and 44 are groups of events whose meaning depends on the table; what
//!   they did to the record is an update.
//! * Which way an audit setting went (actions 102 to 104) stands in the changed values; without them the
//!   direction is not guessed.
//! * Annotations of members that are mapped only render them again in somebody's locale; they are dropped
//!   where they add nothing. Everything else that is not mapped is kept in `extra`.
//! * Values stand in `changes` for inspection. Values above 5 KB end in `...`: defect `source_truncated`.

mod actions;
#[cfg(test)]
mod tests;

use super::text::json::{self, Json, Members};
use super::{Format, text};
use crate::model::event::{
    Action, ActorType, Category, Change, Defect, DefectCode, Event, LIST_MAX, Outcome, System,
};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use std::borrow::Cow;

/// The format.
pub struct DataverseAudit;

const NAME: &str = "dataverse.audit";
const FORMATTED: &str = "@OData.Community.Display.V1.FormattedValue";
const LOGICAL_NAME: &str = "@Microsoft.Dynamics.CRM.lookuplogicalname";
const NO_TRANSACTION: &str = "00000000-0000-0000-0000-000000000000";

impl Format for DataverseAudit {
    fn name(&self) -> &'static str {
        NAME
    }
    fn system(&self) -> System {
        System::Dynamics365
    }
    fn framing(&self) -> Framing {
        Framing::Line
    }
    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
            "feed",
            "uid",
            "category",
            "action",
            "outcome",
            "status",
            "actor.id",
            "actor.name",
            "actor.type",
            "actor.on_behalf_of",
            "client.app",
            "target.type",
            "target.ids",
            "target.name",
            "target.owner",
            "fields",
            "changes.field",
            "grant.principal",
            "grant.permission",
            "grant.scope",
            "message",
            "clock",
        ]
    }
    fn parse(&self, record: &Record<'_>, context: &FormatContext) -> Parsed {
        let Some((mut row, document)) = text::object(record.text) else {
            return unreadable(record.text);
        };
        let mut event = text::event(System::Dynamics365, NAME);
        text::note(&mut event, &document);
        event.uid = row.take_text("auditid");
        text::take_time(&mut event, &mut row, "createdon", context);
        drop_annotations(&mut row, "createdon");
        let about = take_action(&mut event, &mut row);
        take_actor(&mut event, &mut row);
        take_target(&mut event, &mut row);
        let regarding = take_lookup(&mut row, "_regardingobjectid_value");
        take_changes(&mut event, &mut row);
        refine(&mut event, about);
        set_grant(&mut event, about, regarding.as_ref());
        if let Some(lookup) = regarding {
            lookup.keep(&mut event, "regardingobjectid");
        }
        if row.get("transactionid").and_then(Json::as_str) == Some(NO_TRANSACTION) {
            row.take("transactionid");
        }
        text::keep_rest(&mut event, "", row);
        Parsed::Event(event)
    }
}

fn unreadable(line: &str) -> Parsed {
    let beyond = json::read(line).is_some_and(|document| document.too_complex);
    let code = if beyond { DefectCode::TooComplex } else { DefectCode::Unparsed };
    text::unparsed(System::Dynamics365, NAME, code, line)
}

/// A reference to a row of another table.
struct Lookup {
    id: String,
    name: Option<String>,
    table: Option<String>,
}

impl Lookup {
    fn keep(self, event: &mut Event, name: &'static str) {
        text::keep(event, name, self.id);
        for (part, value) in [("name", self.name), ("type", self.table)] {
            if let Some(value) = value {
                text::keep(event, format!("{name}.{part}"), value);
            }
        }
    }
}

fn take_lookup(row: &mut Members<'_>, member: &str) -> Option<Lookup> {
    let name = row.take_annotated_text(member, FORMATTED);
    let table = row.take_annotated_text(member, LOGICAL_NAME);
    row.take_text(member).map(|id| Lookup { id, name, table })
}

fn drop_annotations(row: &mut Members<'_>, member: &str) {
    row.take_annotated(member, FORMATTED);
}

/// Sets category, action, outcome, status and feed from `action`, or from `operation` where that is all
/// there is.
fn take_action(event: &mut Event, row: &mut Members<'_>) -> Option<&'static actions::About> {
    let code = row.take("action");
    let words = row.take_annotated_text("action", FORMATTED);
    let operation = row.take("operation");
    drop_annotations(row, "operation");
    let known = code.as_ref().and_then(Json::as_u64).and_then(actions::about);
    let by_operation = || operation.as_ref().and_then(Json::as_u64).and_then(actions::about_operation);
    let about = known.or_else(by_operation);
    match &code {
        None if about.is_none() => event.defect(Defect::field(DefectCode::MissingField, "action")),
        Some(code) if known.is_none() => {
            let code = code.to_text().unwrap_or_default();
            event.defect(Defect::field(DefectCode::UnknownType, code));
            event.message = words;
        }
        _ => {}
    }
    event.status = code.and_then(Json::into_text);
    if let Some(operation) = operation.filter(|operation| operation.as_u64().is_none()) {
        text::keep(event, "operation", operation.into_text().unwrap_or_default());
    }
    let about = about?;
    event.feed = Cow::Borrowed(if known.is_some() { about.feed } else { NAME });
    event.category = Some(about.category);
    event.action = about.action;
    event.outcome = Some(Outcome::Success);
    event.client.app = about.app.map(str::to_owned);
    Some(about)
}

fn take_actor(event: &mut Event, row: &mut Members<'_>) {
    let user = take_lookup(row, "_userid_value");
    let caller = take_lookup(row, "_callinguserid_value");
    let about_user = row.get("useradditionalinfo").and_then(Json::to_text);
    if let Some(user) = user {
        event.actor.name = user.name.or_else(|| about_user.filter(|text| !text.trim().is_empty()));
        // Dataverse has exactly two built-in accounts that are no people; these are their names.
        if matches!(event.actor.name.as_deref(), Some("SYSTEM" | "INTEGRATION")) {
            event.actor.r#type = Some(ActorType::System);
        }
        event.actor.id = Some(user.id);
    } else {
        event.defect(Defect::field(DefectCode::MissingField, "_userid_value"));
    }
    // An impersonated call: the calling user acted, in the name of the other.
    if let Some(caller) = caller.filter(|caller| event.actor.id.as_ref() != Some(&caller.id)) {
        event.actor.on_behalf_of = event.actor.id.replace(caller.id);
        event.actor.r#type = None;
        if let Some(name) = std::mem::replace(&mut event.actor.name, caller.name) {
            text::keep(event, "userid.name", name);
        }
    }
}

fn take_target(event: &mut Event, row: &mut Members<'_>) {
    let object = take_lookup(row, "_objectid_value");
    drop_annotations(row, "objecttypecode");
    event.target.r#type = row.take_text("objecttypecode");
    let Some(object) = object else { return };
    event.target.ids.push(object.id);
    event.target.name = object.name;
    match (&event.target.r#type, object.table) {
        (None, Some(table)) => event.target.r#type = Some(table),
        (Some(known), Some(table)) if *known != table => {
            text::keep(event, "objectid.type", table);
        }
        _ => {}
    }
}

/// Reads `changedata`. What is not its documented JSON (older rows hold separated values) is kept whole.
fn take_changes(event: &mut Event, row: &mut Members<'_>) {
    let Some(data) = row.take("changedata") else { return };
    let whole: Cow<'_, str> = match data {
        Json::Text(text) if text.trim().is_empty() => return,
        Json::Text(text) => text,
        other => Cow::Owned(other.to_text().unwrap_or_default()),
    };
    let Some(document) = json::read(&whole) else { return keep_changedata(event, whole.into_owned()) };
    text::note(event, &document);
    let attributes = match document.value {
        Json::Object(mut members) => {
            let attributes = members.take("changedAttributes");
            text::keep_rest(event, "changedata.", members);
            attributes
        }
        other => Some(other),
    };
    let mut whole_needed = false;
    match attributes {
        Some(Json::List(items)) => {
            event.fields.reserve(items.len());
            event.changes.reserve(items.len());
            for item in items {
                whole_needed |= !take_attribute(event, item);
            }
        }
        Some(_) => whole_needed = true,
        None => {}
    }
    if whole_needed {
        keep_changedata(event, whole.into_owned());
    }
}

/// Keeps `changedata` as it stands, once, whatever in it could not be read.
fn keep_changedata(event: &mut Event, whole: String) {
    event.defect(Defect::field(DefectCode::BadValue, "changedata"));
    if whole.ends_with("...") {
        event.defect(Defect::field(DefectCode::SourceTruncated, "changedata"));
    }
    text::keep(event, "changedata", whole);
}

/// Whether the item was a changed attribute and nothing else.
fn take_attribute(event: &mut Event, item: Json<'_>) -> bool {
    let Some(mut attribute) = item.into_members() else { return false };
    let Some(field) = attribute.take_text("logicalName") else { return false };
    let mut side = |name| attribute.take(name).and_then(Json::into_text);
    let (from, to) = (side("oldValue"), side("newValue"));
    if [&from, &to].into_iter().flatten().any(|value| value.ends_with("...")) {
        event.defect(Defect::field(DefectCode::SourceTruncated, field.clone()));
    }
    if field == "ownerid" {
        event.target.owner = to.as_deref().map(|value| reference(value).1.to_owned());
    }
    event.fields.push(field.clone());
    event.changes.push(Change { field, from, to });
    attribute.iter().all(|(_, value)| matches!(value, Json::Null))
}

/// A lookup's value is `table,guid`: the table where there is one, and the rest.
fn reference(value: &str) -> (Option<&str>, &str) {
    match value.split_once(',') {
        Some((table, id)) => (Some(table.trim()), id.trim()),
        None => (None, value.trim()),
    }
}

/// The new truth of the first of these fields that changed.
fn changed_to(event: &Event, names: &[&str]) -> Option<bool> {
    let change = event
        .changes
        .iter()
        .find(|change| names.iter().any(|name| change.field.eq_ignore_ascii_case(name)))?;
    match change.to.as_deref()?.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

const AUDIT_SWITCHES: &[&str] = &[
    "isauditenabled",
    "isuseraccessauditenabled",
    "isreadauditenabled",
    "auditenabled",
    "isretrieveauditenabled",
    "isretrievemultipleauditenabled",
];

/// What an ordinary change means depends on the table, and what switches mean on their new value.
fn refine(event: &mut Event, about: Option<&actions::About>) {
    let Some(about) = about else { return };
    let switched = |on: bool| if on { Action::Enable } else { Action::Disable };
    let switch = changed_to(event, AUDIT_SWITCHES);
    if about.category == Category::AuditLog {
        if about.action == Some(Action::Update)
            && let Some(on) = switch
        {
            event.action = Some(switched(on));
        }
        return;
    }
    if about.category != Category::DataChange {
        return;
    }
    match event.target.r#type.as_deref() {
        Some("organization") => {
            event.category = Some(Category::Configuration);
            if let Some(on) = switch {
                event.category = Some(Category::AuditLog);
                event.action = Some(switched(on));
            }
        }
        Some("audit") => event.category = Some(Category::AuditLog),
        Some("systemuser") => {
            event.category = Some(Category::Account);
            if let Some(off) = changed_to(event, &["isdisabled"]) {
                event.action = Some(switched(!off));
            }
        }
        Some("role" | "fieldsecurityprofile" | "team" | "roleprivileges" | "fieldpermission") => {
            event.category = Some(Category::Permission);
        }
        _ => {}
    }
}

/// Who got or lost which permission. The two ends stand in the object of the row, in its regarding object,
/// or as `table,guid` in the changed values; the row says which is which by their tables.
fn set_grant(event: &mut Event, about: Option<&actions::About>, regarding: Option<&Lookup>) {
    let Some(kind) = about.and_then(|about| about.grant) else { return };
    let mut ends: Vec<(String, String, Option<String>)> = Vec::new();
    if let (Some(table), Some(id)) = (&event.target.r#type, event.target.ids.first()) {
        ends.push((table.clone(), id.clone(), event.target.name.clone()));
    }
    if let Some(Lookup { id, name, table: Some(table) }) = regarding {
        ends.push((table.clone(), id.clone(), name.clone()));
    }
    for value in event.changes.iter().flat_map(|change| [&change.to, &change.from]).flatten() {
        if let (Some(table), id) = reference(value) {
            ends.push((table.to_owned(), id.to_owned(), None));
        }
    }
    let find = |tables: &[&str]| ends.iter().find(|(table, _, _)| tables.contains(&table.as_str()));
    let named = |end: &(String, String, Option<String>)| end.2.clone().unwrap_or_else(|| end.1.clone());
    let holder = find(&["systemuser", "team"]).map(|end| end.1.clone());
    match kind {
        actions::Grant::Role => {
            event.grant.permission = find(&["role"]).map(named);
            event.grant.principal = holder;
        }
        actions::Grant::Associated { given } => {
            if let (Some(role), Some(holder)) = (find(&["role"]).map(named), holder) {
                event.category = Some(Category::Permission);
                event.action = Some(if given { Action::Grant } else { Action::Revoke });
                event.grant.permission = Some(role);
                event.grant.principal = Some(holder);
            }
        }
        actions::Grant::Members => {
            event.grant.permission = find(&["team"]).map(|end| format!("team:{}", named(end)));
            event.grant.principal = find(&["systemuser"]).map(|end| end.1.clone());
            if find(&["team"]).is_none() {
                event.category = Some(Category::DataChange);
                event.action = Some(Action::Update);
            }
        }
        actions::Grant::Privileges => {
            event.grant.principal = find(&["role"]).map(|end| format!("role:{}", named(end)));
            event.grant.permission = privileges(event);
        }
        actions::Grant::Share => {
            event.grant.principal = holder;
            event.grant.scope = event.target.r#type.clone();
        }
    }
}

/// Most words that are searched for names of privileges; a role has fewer, and the values stay in
/// `changes` anyway.
const WORDS_MAX: usize = 4096;

/// The privilege names among the changed values, each once.
fn privileges(event: &Event) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    let values = event.changes.iter().flat_map(|change| [&change.to, &change.from]).flatten();
    let words = values.flat_map(|value| value.split([',', ';', ' '])).take(WORDS_MAX);
    for name in words.filter(|name| name.starts_with("prv")) {
        if names.len() < LIST_MAX && !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(", "))
}
