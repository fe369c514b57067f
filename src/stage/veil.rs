//! Events of an erasable deployment: what is personal becomes a pseudonym or leaves the event, and the event
//! commits to it.
//!
//! | path | in the entry |
//! |---|---|
//! | `actor.id` `actor.on_behalf_of` `grant.principal` | `act:…` in its place |
//! | `target.ids` | `obj:…` for each |
//! | `client.ip` | `ip:…` |
//! | `actor.name` `target.name` | absent; its pseudonym under `pseudonyms`, because people and records are also compared by name |
//! | `client.user_agent` `client.city` `client.lat` `client.lon` `auth.session` `target.owner` `http.path` `query` `message` `extra.<name>` | absent |
//!
//! Three members follow the event's own:
//!
//! * `pseudonyms`: path → pseudonym. Besides the two names it holds what a rule with a memory, one of whose
//!   parts matched, groups by or counts; of a column that such a rule adds up (`extra.<name>`) the number itself.
//! * `committed`: path → commitment, of every field of the table that had a value; see [`crate::trail::detail`].
//!   `target.ids` is one value, the JSON text of the list.
//! * `matches`: which parts of detection rules matched the event in clear: `{"detection.x":[0]}`. A rule can
//!   look at what is no longer there, so a restart reads this instead of asking the rule again.
//!
//! In memory the pseudonyms of the second member stand in the event's own fields: what windows and access
//! policies compare is the same whether the event comes from a feed or, by [`recall`], from the trail.
//!
//! What stays: names of columns and fields, file names in `raw.locator`, record ids of the event itself
//! (`uid`), tenants, roles, countries, client applications. A deployment whose file or column names are
//! personal must rename them before they are read. Values of changes are never kept in either mode.

use crate::inspect::behaviour::{ACTOR, Correlation, DetectionRule, Kind, Matches};
use crate::model::event::System;
use crate::model::json::{Object, no_mask};
use crate::model::{Event, Pseudonyms};
use crate::trail::detail::{commitment, pieces, write_tail};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest column name that stands in a path; a longer one is replaced by its pseudonym and stands, with its
/// value, in the detail.
const NAME_MAX: usize = 128;
/// Salts that are fetched from the system at once.
const SALTS: usize = 128;

type Path = Cow<'static, str>;

/// What turns events into their pseudonymised form. Immutable, shared.
#[derive(Debug)]
pub struct Veil {
    pseudonyms: Pseudonyms,
    rules: Arc<[DetectionRule]>,
    /// By rule: what its parts with a memory read of the event, where it would be gone.
    read: Vec<Vec<Wanted>>,
}

/// A path that a rule with a memory reads.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    path: String,
    /// It is added up, so its pseudonym would be of no use.
    number: bool,
}

/// Random salts, fetched many at a time.
#[derive(Default)]
pub struct Salts {
    bytes: Vec<u8>,
    used: usize,
    /// The system gave no randomness: nothing that was committed to since may be written.
    pub failed: bool,
}

impl Salts {
    /// The next salt. Where the system fails, [`Salts::failed`] says so and the salt is not to be used.
    pub fn next_salt(&mut self) -> [u8; 32] {
        if self.bytes.len() < self.used + 32 {
            self.bytes.resize(SALTS * 32, 0);
            self.used = 0;
            self.failed |= getrandom::fill(&mut self.bytes).is_err();
        }
        let salt = self.bytes.get(self.used..).and_then(|rest| rest.first_chunk::<32>()).copied();
        self.used += 32;
        self.failed |= salt.is_none();
        salt.unwrap_or_default()
    }
}

/// Details of many entries, in order: lines without their index.
#[derive(Default)]
pub struct Details {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where salts come from.
    pub salts: Salts,
}

impl Details {
    /// None yet, with salts from here.
    pub fn with(salts: Salts) -> Details {
        Details { salts, ..Details::default() }
    }

    /// Adds the details of the entry that comes next, and their commitments as members of `committed`.
    pub fn add(&mut self, path: &str, value: &str, committed: &mut Object<'_>) {
        for (number, piece) in pieces(value) {
            let path = match number {
                1 => Cow::Borrowed(path),
                more => Cow::Owned(format!("{path}#{more}")),
            };
            let salt = self.salts.next_salt();
            write_tail(&mut self.bytes, &path, &salt, piece);
            committed.dynamic_hash(&path, &commitment(&path, &salt, piece));
        }
    }

    /// The entry has no more. Every entry of a batch is closed, also one without details.
    pub fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Takes back what was added since the last entry was closed.
    pub fn reopen(&mut self) {
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Lines, without their index, of the entry with this number.
    pub fn of(&self, number: usize) -> &[u8] {
        let end = self.ends.get(number).copied().unwrap_or(0);
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// What was taken out of an event.
#[derive(Debug, Default)]
pub struct Clear {
    /// Path and value, in the order of the event's members.
    pub values: Vec<(Path, String)>,
}

impl Clear {
    fn put(&mut self, path: impl Into<Path>, value: Option<String>) {
        self.values.extend(value.map(|value| (path.into(), value)));
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str())
    }
}

impl Veil {
    /// A veil for events that these rules will look at.
    pub fn new(pseudonyms: Pseudonyms, rules: Arc<[DetectionRule]>) -> Veil {
        Veil { pseudonyms, read: rules.iter().map(wanted).collect(), rules }
    }

    /// From here on for events that these rules will look at.
    pub fn judge_by(&mut self, rules: Arc<[DetectionRule]>) {
        (self.read, self.rules) = (rules.iter().map(wanted).collect(), rules);
    }

    /// Pseudonymises the event, writes its members and adds its details. `matches` are of the event in clear.
    /// Returns where the members that follow the event's own begin, and what was in clear of that for which a
    /// pseudonym stands.
    pub fn write(
        &self,
        event: &mut Event,
        matches: &Matches,
        members: &mut Vec<u8>,
        details: &mut Details,
    ) -> (usize, Clear) {
        let mut clear = self.take(event);
        let mut out = Object::members(members, no_mask);
        event.write(&mut out);
        let own = out.length();
        let aliases = self.aliases(event.system, matches, &clear);
        out.object("pseudonyms", |out| {
            for (path, alias) in &aliases {
                out.dynamic(path, alias);
            }
        });
        out.object("committed", |out| {
            for (path, value) in &clear.values {
                details.add(path, value, out);
            }
        });
        if let Some(written) = matches.written(&self.rules) {
            out.raw("matches", &written);
        }
        clear.values.retain(|(path, _)| !is_absent(path) || aliases.iter().any(|(alias, _)| alias == path));
        for (path, alias) in aliases {
            set(event, &path, alias);
        }
        (own, clear)
    }

    /// Takes what is personal out of the event and leaves pseudonyms where the table of the module doc says so.
    fn take(&self, event: &mut Event) -> Clear {
        let mut clear = Clear::default();
        let system = event.system;
        let replace = |path: &'static str, slot: &mut Option<String>, clear: &mut Clear| {
            if let Some(value) = taken(slot) {
                *slot = Some(self.pseudonyms.of(path, system, &value).text());
                clear.put(path, Some(value));
            }
        };
        replace("actor.id", &mut event.actor.id, &mut clear);
        clear.put("actor.name", taken(&mut event.actor.name));
        replace("actor.on_behalf_of", &mut event.actor.on_behalf_of, &mut clear);
        replace("client.ip", &mut event.client.ip, &mut clear);
        clear.put("client.user_agent", taken(&mut event.client.user_agent));
        clear.put("client.city", taken(&mut event.client.city));
        clear.put("client.lat", taken(&mut event.client.lat));
        clear.put("client.lon", taken(&mut event.client.lon));
        clear.put("auth.session", taken(&mut event.auth.session));
        if !event.target.ids.is_empty() {
            let ids = std::mem::take(&mut event.target.ids);
            event.target.ids =
                ids.iter().map(|id| self.pseudonyms.of("target.ids", system, id).text()).collect();
            // A list of strings is always JSON.
            clear.put("target.ids", serde_json::to_string(&ids).ok());
        }
        clear.put("target.name", taken(&mut event.target.name));
        clear.put("target.owner", taken(&mut event.target.owner));
        replace("grant.principal", &mut event.grant.principal, &mut clear);
        clear.put("http.path", taken(&mut event.http.path));
        clear.put("query", taken(&mut event.query));
        clear.put("message", taken(&mut event.message));
        for (name, value) in std::mem::take(&mut event.extra) {
            match name.len() {
                0..=NAME_MAX => clear.put(format!("extra.{name}"), Some(value)),
                _ => {
                    let token = self.pseudonyms.of("extra", system, &name).text();
                    clear.put(format!("extra.{token}"), serde_json::to_string(&(name, value)).ok());
                }
            }
        }
        clear
    }

    /// The pseudonyms that stand beside the event.
    fn aliases(&self, system: System, matches: &Matches, clear: &Clear) -> Vec<(Path, String)> {
        let mut aliases: Vec<(Path, String)> = Vec::new();
        let alias = |path: &str, value: &str| self.pseudonyms.of(path, system, value).text();
        for path in ["actor.name", "target.name"] {
            aliases.extend(clear.get(path).map(|value| (Path::Borrowed(path), alias(path, value))));
        }
        let rules = matches.parts().map(|(rule, _)| rule);
        let wanted = rules.filter_map(|rule| self.read.get(rule)).flatten();
        for Wanted { path, number } in wanted {
            let known = aliases.iter().any(|(known, _)| known == path);
            let Some(value) = clear.get(path).filter(|_| !known) else { continue };
            let is_number = || value.trim().parse::<f64>().is_ok_and(f64::is_finite);
            let stands = match number {
                true if is_number() => value.to_owned(),
                _ => alias(path, value),
            };
            aliases.push((Path::Owned(path.clone()), stands));
        }
        aliases
    }
}

/// Takes a value; an empty one is nobody's and stays.
fn taken(slot: &mut Option<String>) -> Option<String> {
    slot.take_if(|value| !value.is_empty())
}

/// What a rule's parts with a memory, and the words of its findings, read of an event that would be gone.
fn wanted(rule: &DetectionRule) -> Vec<Wanted> {
    let adds_up = |correlation: &Correlation| {
        matches!(
            correlation.kind,
            Kind::ValueSum | Kind::ValueAvg | Kind::ValuePercentile | Kind::ValueMedian | Kind::Baseline
        )
    };
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |path: &str, number: bool| {
        if is_absent(path) && path != ACTOR {
            wanted.push(Wanted { path: path.to_owned(), number: number && path.starts_with("extra.") });
        }
    };
    rule.group_by.iter().for_each(|path| add(path, false));
    for correlation in &rule.correlations {
        correlation.group_by.iter().flat_map(|by| &by.paths).for_each(|path| add(path, false));
        correlation.field.iter().for_each(|path| add(path, adds_up(correlation)));
    }
    if let Some(reported) = rule.events.get(rule.reported) {
        reported.paths.iter().for_each(|path| add(path, false));
    }
    // A path that is added up is a number wherever else it is read.
    wanted.sort_by(|one, other| (&one.path, other.number).cmp(&(&other.path, one.number)));
    wanted.dedup_by(|later, kept| later.path == kept.path);
    wanted
}

/// Whether the path is absent from the entry, so that only an alias can stand for it.
fn is_absent(path: &str) -> bool {
    const ABSENT: [&str; 11] = [
        "actor.name",
        "client.user_agent",
        "client.city",
        "client.lat",
        "client.lon",
        "auth.session",
        "target.name",
        "target.owner",
        "http.path",
        "query",
        "message",
    ];
    ABSENT.contains(&path) || path.starts_with("extra.")
}

/// Puts an alias in the place of what it stands for.
fn set(event: &mut Event, path: &str, alias: String) {
    let slot = match path {
        "actor.name" => &mut event.actor.name,
        "client.user_agent" => &mut event.client.user_agent,
        "client.city" => &mut event.client.city,
        "client.lat" => &mut event.client.lat,
        "client.lon" => &mut event.client.lon,
        "auth.session" => &mut event.auth.session,
        "target.name" => &mut event.target.name,
        "target.owner" => &mut event.target.owner,
        "http.path" => &mut event.http.path,
        "query" => &mut event.query,
        "message" => &mut event.message,
        _ => {
            if let Some(name) = path.strip_prefix("extra.") {
                event.extra.push((Cow::Owned(name.to_owned()), alias));
            }
            return;
        }
    };
    *slot = Some(alias);
}

/// Writes the event's own members again, without the aliases that stand in it, then what followed them.
pub fn write_again(event: &Event, after: &[u8], members: &mut Vec<u8>) {
    let mut event = event.clone();
    for slot in [
        &mut event.actor.name,
        &mut event.client.user_agent,
        &mut event.client.city,
        &mut event.client.lat,
        &mut event.client.lon,
        &mut event.auth.session,
        &mut event.target.name,
        &mut event.target.owner,
        &mut event.http.path,
        &mut event.query,
        &mut event.message,
    ] {
        *slot = slot.take().filter(String::is_empty);
    }
    event.extra.clear();
    event.write(&mut Object::members(members, no_mask));
    members.extend_from_slice(after);
}

/// Gives an event that was read from its entry the aliases back, and says which parts of rules matched it in
/// clear. `None` for an event that commits to nothing: nothing was taken from it.
pub fn recall(object: &[u8], event: &mut Event, rules: &[DetectionRule]) -> Option<Matches> {
    #[derive(Deserialize)]
    struct More {
        #[serde(default)]
        pseudonyms: BTreeMap<String, String>,
        #[serde(default)]
        matches: BTreeMap<String, Vec<u32>>,
    }
    // A text of a source cannot hold this: its quotes would be escaped.
    memchr::memmem::find(object, b",\"committed\":{")?;
    let More { pseudonyms, matches } = serde_json::from_slice(object).ok()?;
    for (path, alias) in pseudonyms {
        set(event, &path, alias);
    }
    Some(Matches::named(&matches, rules))
}

#[cfg(test)]
mod tests;
