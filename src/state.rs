//! The projection of the trail: everything the daemon remembers, and nothing that is not in the trail.
//!
//! Live path and recovery run the same code: what is decided becomes entries, and the entries are applied
//! here, either as they are made or as they are read back. So the state after a restart is the state before
//! it, and `state/cache` only saves the time to read the trail from its start.
//!
//! What feeds what (TRAIL section 9): `event` entries feed the windows of detections; `grants` and `grant`
//! what is held; `finding`, `incident` and `alert` the incidents and what is owed; `policy` empties the
//! windows of rules whose file is new or another, for what they hold belonged to other words; `event` entries of
//! sources that ask for it, the rows that are known again ([`Rows`]). Other kinds feed nothing.

mod outbox;
mod rows;

pub use outbox::{DEAD_MAX, Spent};
pub use rows::{ROWS_MAX, Rows};

use crate::incident::{Change, Incidents};
use crate::inspect::behaviour::{DetectionRule, Engine, Matches, Stateless};
use crate::inspect::privilege::{Held, Scope};
use crate::model::event::{Action, Category, System};
use crate::model::grant::Grant;
use crate::model::incident::{Alert, AlertState, Incident, Silence};
use crate::model::json::{Object, no_mask};
use crate::model::row::Row;
use crate::model::{Event, Finding, Severity, Time};
use crate::policy::Policies;
use crate::stage::veil;
use crate::trail::entry::Part;
use crate::trail::{Entry, TrailError};
use rows::{RawBrief, RowsCache};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Version of the cache's body. A cache of another version does not count.
const CACHE_VERSION: u64 = 3;

/// What the daemon remembers.
pub struct State {
    /// Incidents.
    pub incidents: Incidents,
    /// Alerts that at least one receiver has not got, by id.
    pub outbox: BTreeMap<String, Alert>,
    /// Alerts that a receiver refused for good, at most [`DEAD_MAX`]: they can be sent again.
    pub dead: BTreeMap<String, Alert>,
    /// Silences in force or not yet forgotten.
    pub silences: BTreeMap<String, Silence>,
    /// What each receiver got of its budget, and what was held back.
    pub budgets: BTreeMap<String, Spent>,
    /// Detection windows.
    pub engine: Engine,
    /// Grants in force, as the newest snapshots say.
    pub held: Held,
    /// The newest snapshot of each source: digest, time, whether it was partial.
    pub snapshots: BTreeMap<String, String>,
    /// Digest of the policies that the newest `policy` entry names.
    pub policy: String,
    /// The digests of its files, shortened as [`DetectionRule::policy`] is.
    files: BTreeSet<String>,
    /// Events by source, since entry 0.
    pub events: BTreeMap<String, u64>,
    /// Rows of delivered files that may come again in other files.
    pub rows: Rows,
    rules: Arc<[DetectionRule]>,
    /// Snapshot whose `grant` entries follow.
    changing: Option<(Scope, String, bool)>,
    /// The finding applied last, for the alert that may follow it.
    last_finding: Option<(u64, Finding)>,
    /// Parts of an entry that was too large for a line.
    parts: String,
}

/// The members of a `finding` entry.
#[derive(Deserialize)]
struct FindingEntry {
    #[serde(flatten)]
    finding: Finding,
    incident: Option<String>,
}

/// The members of an `alert` entry: owed (with `receivers`), or what became of it at one `receiver`.
#[derive(Deserialize)]
struct AlertEntry {
    alert: String,
    incident: Option<String>,
    severity: Option<Severity>,
    reason: Option<String>,
    state: AlertState,
    #[serde(default)]
    receivers: Vec<String>,
    receiver: Option<String>,
    /// Receivers whose budget is spent: they get a digest.
    #[serde(default)]
    held: Vec<String>,
    /// The silence that covers it.
    silence: Option<String>,
    /// When it was owed, by the daemon's clock.
    at: Option<Time>,
    /// What it is about, where no finding stands before it.
    about: Option<Finding>,
    /// A dead one is owed again.
    #[serde(default)]
    again: bool,
}

/// The members of a `silence` entry.
#[derive(Deserialize)]
struct SilenceEntry {
    state: String,
    #[serde(flatten)]
    silence: Silence,
}

#[derive(Deserialize)]
struct GrantsEntry {
    system: System,
    tenant: Option<String>,
    source: String,
    partial: bool,
    digest: String,
    time: Option<Time>,
}

#[derive(Deserialize)]
struct GrantEntry {
    change: String,
    principal: String,
    name: Option<String>,
    permission: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    path: String,
    enabled: Option<bool>,
    expires: Option<Time>,
}

#[derive(Deserialize)]
struct PolicyEntry {
    digest: String,
    #[serde(default)]
    files: Vec<PolicyFileEntry>,
}

#[derive(Deserialize)]
struct PolicyFileEntry {
    digest: String,
}

#[derive(Deserialize)]
struct Cache<'a> {
    version: u64,
    policy: String,
    files: BTreeSet<String>,
    events: BTreeMap<String, u64>,
    snapshots: BTreeMap<String, String>,
    evicted: u64,
    incidents: Vec<Incident>,
    outbox: Vec<Alert>,
    dead: Vec<Alert>,
    silences: Vec<Silence>,
    budgets: BTreeMap<String, Spent>,
    #[serde(borrow)]
    rows: BTreeMap<String, RowsCache<'a>>,
    held: Box<RawValue>,
    windows: Box<RawValue>,
}

/// An entry with everything done that needs no memory of other entries.
pub enum Ready {
    /// It feeds nothing.
    Nothing,
    /// An event that no rule with a memory concerns: its source is counted, its row known again.
    Counted(Box<str>, Option<Row>),
    /// An event and the parts of rules that it matches.
    Event(Box<Event>, Matches),
    /// Another entry, as it stands.
    Entry(Box<[u8]>),
}

/// Makes entries [`Ready`]. It holds nothing that changes, so any number of threads may use it.
#[derive(Clone)]
pub struct Prepare {
    stateless: Arc<Stateless>,
    rules: Arc<[DetectionRule]>,
    /// Sources whose rows are known again.
    rows_of: Arc<BTreeSet<String>>,
}

/// What must be known of an event to see that no rule concerns it.
#[derive(Deserialize)]
struct Brief<'a> {
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    category: Option<Category>,
    action: Option<Action>,
    observed: Time,
    #[serde(borrow, default)]
    raw: RawBrief<'a>,
}

impl Prepare {
    /// Prepares an entry.
    pub fn entry(&self, entry: &Entry<'_>) -> Result<Ready, TrailError> {
        match entry.kind {
            "event" if !entry.members().starts_with(b"\"part\":") => self.event(entry.index, &entry.object()),
            "event" | "finding" | "incident" | "alert" | "silence" | "grants" | "grant" | "policy" => {
                Ok(Ready::Entry(entry.line.into()))
            }
            _ => Ok(Ready::Nothing),
        }
    }

    fn event(&self, index: u64, object: &[u8]) -> Result<Ready, TrailError> {
        let brief = serde_json::from_slice::<Brief<'_>>(object).ok();
        if let Some(brief) = brief.filter(|brief| !self.stateless.may_match(brief.category, brief.action)) {
            let asked = self.rows_of.contains(&*brief.source);
            let row = asked.then(|| brief.raw.row(brief.observed)).flatten();
            return Ok(Ready::Counted(brief.source.into(), row));
        }
        let mut event: Event = read(index, "event", object)?;
        // Where something was taken out of the event, its entry says what matched before.
        let matches =
            veil::recall(object, &mut event, &self.rules).unwrap_or_else(|| self.stateless.evaluate(&event));
        Ok(Ready::Event(Box::new(event), matches))
    }
}

impl State {
    /// Nothing remembered yet.
    pub fn new(policies: &Policies) -> Result<State, String> {
        Ok(State {
            incidents: Incidents::default(),
            outbox: BTreeMap::new(),
            dead: BTreeMap::new(),
            silences: BTreeMap::new(),
            budgets: BTreeMap::new(),
            engine: Engine::new(&policies.detections)?,
            held: Held::default(),
            snapshots: BTreeMap::new(),
            policy: String::new(),
            files: BTreeSet::new(),
            events: BTreeMap::new(),
            rows: Rows::default(),
            rules: Arc::clone(&policies.detections),
            changing: None,
            last_finding: None,
            parts: String::new(),
        })
    }

    /// Takes an entry that was read back.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Result<(), TrailError> {
        let object = entry.object();
        if object.starts_with(b"{\"part\":") {
            return self.apply_part(entry, &object);
        }
        self.apply_object(entry.index, entry.kind, &object)
    }

    fn apply_part(&mut self, entry: &Entry<'_>, object: &[u8]) -> Result<(), TrailError> {
        let part: Part = read(entry.index, entry.kind, object)?;
        match part.join(&mut self.parts) {
            Some(whole) => self.apply_object(entry.index, entry.kind, &whole),
            None => Ok(()),
        }
    }

    fn apply_object(&mut self, index: u64, kind: &str, object: &[u8]) -> Result<(), TrailError> {
        match kind {
            "event" => {
                let ready = self.prepare().event(index, object)?;
                self.apply_ready(index, ready)?;
            }
            "finding" => {
                let entry: FindingEntry = read(index, kind, object)?;
                self.finding(index, &entry.finding, entry.incident.as_deref());
            }
            "incident" => self.incidents.apply_change(&read::<Change>(index, kind, object)?),
            "alert" => self.alert_entry(read(index, kind, object)?),
            "silence" => {
                let entry: SilenceEntry = read(index, kind, object)?;
                self.silence(entry.silence, entry.state == "ended");
            }
            "grants" => {
                let grants: GrantsEntry = read(index, kind, object)?;
                let scope = Scope { system: grants.system, tenant: grants.tenant };
                let version = snapshot_version(&grants.digest, grants.time, grants.partial);
                self.begin_grants(scope, &grants.source, !grants.partial, version);
            }
            "grant" => {
                let entry: GrantEntry = read(index, kind, object)?;
                let added = entry.change == "added";
                let grant = Grant {
                    principal: entry.principal,
                    name: entry.name,
                    permission: entry.permission,
                    scope: entry.scope,
                    path: entry.path,
                    enabled: entry.enabled,
                    expires: entry.expires,
                };
                self.grant(&grant, added);
            }
            "policy" => {
                let entry: PolicyEntry = read(index, kind, object)?;
                self.policy(&entry.digest, entry.files.iter().map(|file| file.digest.as_str()));
            }
            _ => {}
        }
        Ok(())
    }

    /// What works on entries before the state takes them, on any thread.
    pub fn prepare(&self) -> Prepare {
        let rows_of = Arc::new(self.rows.sources().cloned().collect());
        Prepare { stateless: self.engine.stateless(), rules: Arc::clone(&self.rules), rows_of }
    }

    /// Takes a prepared entry. Entries must come in their order.
    pub fn apply_ready(&mut self, index: u64, ready: Ready) -> Result<(), TrailError> {
        match ready {
            Ready::Nothing => Ok(()),
            Ready::Counted(source, row) => {
                self.count(&source, 1);
                row.map(|row| self.rows.note(&source, row));
                Ok(())
            }
            Ready::Event(event, matches) => {
                if self.rows.asked(&event.source)
                    && let Some(row) = Row::of(&event.raw.hmac, &event.raw.locator, event.observed)
                {
                    self.rows.note(&event.source, row);
                }
                // The findings of that time stand in the trail.
                self.event(&event, &matches, &mut Vec::new());
                Ok(())
            }
            Ready::Entry(line) => match Entry::parse(&line) {
                Some(entry) => self.apply(&entry),
                None => Err(TrailError::Refused {
                    what: format!("entry {index} is no entry"),
                    verdict: "tampered",
                }),
            },
        }
    }

    /// An event: windows move, findings come out.
    pub fn event(&mut self, event: &Event, matches: &Matches, findings: &mut Vec<Finding>) {
        self.count(&event.source, 1);
        self.engine.correlate(event, matches, findings);
    }

    /// So many events of a source.
    pub fn count(&mut self, source: &str, events: u64) {
        match self.events.get_mut(source) {
            Some(count) => *count += events,
            None if events > 0 => {
                self.events.insert(source.to_owned(), events);
            }
            None => {}
        }
    }

    /// A finding entry.
    pub fn finding(&mut self, index: u64, finding: &Finding, incident: Option<&str>) {
        if let Some(incident) = incident {
            self.incidents.apply_finding(incident, index, finding.time);
            self.last_finding = Some((index, finding.clone()));
        }
    }

    fn alert_entry(&mut self, entry: AlertEntry) {
        if let Some(receiver) = &entry.receiver {
            return match entry.again {
                true => self.again(&entry.alert, receiver),
                false => self.delivery(&entry.alert, receiver, entry.state),
            };
        }
        if let Some(silence) = entry.silence.as_ref() {
            return self.silenced(silence);
        }
        let finding = entry.about.or_else(|| self.last_finding.as_ref().map(|(_, finding)| finding.clone()));
        let finding = finding.unwrap_or_default();
        let alert = Alert {
            id: entry.alert,
            incident: entry.incident.unwrap_or_default(),
            severity: entry.severity.unwrap_or(finding.severity),
            reason: entry.reason.unwrap_or_default(),
            since: finding.time,
            owed: entry.receivers.into_iter().map(|receiver| (receiver, false)).collect(),
            finding,
        };
        self.owe(alert, &entry.held, entry.at);
    }

    /// The finding applied last.
    pub fn last_finding(&self) -> Option<&(u64, Finding)> {
        self.last_finding.as_ref()
    }

    /// A snapshot's entry: its `grant` entries follow.
    pub fn begin_grants(&mut self, scope: Scope, source: &str, complete: bool, version: String) {
        self.snapshots.insert(source.to_owned(), version);
        self.held.apply(&scope, source, complete, &[], &[]);
        self.changing = Some((scope, source.to_owned(), complete));
    }

    /// One grant added or removed.
    pub fn grant(&mut self, grant: &Grant, added: bool) {
        if let Some((scope, source, complete)) = &self.changing {
            let one = std::slice::from_ref(grant);
            let (add, remove) = if added { (one, &[][..]) } else { (&[][..], one) };
            self.held.apply(scope, source, *complete, add, remove);
        }
    }

    /// Policies of this digest, made of files of these digests, are in force from here on. A rule whose file was
    /// in force before and is the same keeps what it remembers: a change elsewhere must not make it forget
    /// ninety days of what is usual.
    pub fn policy<'a>(&mut self, digest: &str, files: impl Iterator<Item = &'a str>) {
        if self.policy == digest {
            return;
        }
        let files: BTreeSet<String> = files.map(short).collect();
        self.engine.keep_only(&|rule| self.files.contains(&rule.policy) && files.contains(&rule.policy));
        (self.policy, self.files) = (digest.to_owned(), files);
    }

    /// Other policies are in force from here on, while everything goes on.
    pub fn replace_policies(&mut self, policies: &Policies) -> Result<(), String> {
        let mut next = Engine::new(&policies.detections)?;
        next.inherit(&mut self.engine);
        (self.engine, self.rules) = (next, Arc::clone(&policies.detections));
        self.policies(policies);
        Ok(())
    }

    /// The same for policies that were loaded.
    pub fn policies(&mut self, policies: &Policies) {
        let digests: Vec<String> = policies.files.iter().map(|file| file.digest.hex()).collect();
        self.policy(&policies.digest.hex(), digests.iter().map(String::as_str));
    }

    /// Alerts owed to a receiver.
    pub fn owed_to(&self, receiver: &str) -> u64 {
        self.outbox.values().filter(|alert| alert.owed.contains_key(receiver)).count() as u64
    }

    /// The cache's body: the same state gives the same bytes.
    pub fn export(&self) -> Vec<u8> {
        // Windows take less as text than in memory. Room that is not used is never touched; growing would copy.
        let mut out = Vec::with_capacity(self.engine.bytes() + self.rows.bytes() + (1 << 20));
        let counts = |map: &BTreeMap<String, u64>| serde_json::to_vec(map).unwrap_or_default();
        let snapshots = serde_json::to_vec(&self.snapshots).unwrap_or_default();
        // Everything here was masked when it became an entry.
        Object::whole(&mut out, no_mask, |out| {
            out.uint("version", CACHE_VERSION);
            out.word("policy", &self.policy);
            out.list("files", self.files.iter());
            out.raw("events", &counts(&self.events));
            out.raw("snapshots", &snapshots);
            self.incidents.write(out);
            out.objects("outbox", self.outbox.values(), |alert, out| alert.write(out));
            out.objects("dead", self.dead.values(), |alert, out| alert.write(out));
            out.objects("silences", self.silences.values(), |silence, out| silence.write(out));
            out.object_always("budgets", |out| {
                for (receiver, spent) in &self.budgets {
                    out.dynamic_object(receiver, |out| spent.write(out));
                }
            });
            out.object_always("rows", |out| self.rows.write(out));
            out.raw("held", &self.held.export());
            out.written("windows", |out| self.engine.export_into(out));
        });
        out
    }

    /// Reads what [`State::export`] gave. `None`: it does not count, read the trail instead.
    pub fn import(bytes: &[u8], policies: &Policies) -> Option<State> {
        let cache: Cache<'_> = serde_json::from_slice(bytes).ok()?;
        let mut state = State::new(policies).ok()?;
        if cache.version != CACHE_VERSION {
            return None;
        }
        (state.policy, state.files) = (cache.policy, cache.files);
        state.events = cache.events;
        state.snapshots = cache.snapshots;
        state.incidents = Incidents::read(cache.evicted, cache.incidents);
        state.outbox = cache.outbox.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        state.dead = cache.dead.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        state.silences = cache.silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect();
        state.budgets = cache.budgets;
        state.rows = Rows::read(cache.rows)?;
        state.held = Held::import(cache.held.get().as_bytes()).ok()?;
        // Windows of rules that are other ones now go when the new policies take force.
        state.engine.import_state(cache.windows.get().as_bytes()).ok()?;
        Some(state)
    }
}

/// A digest as rules carry it.
fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}

/// What tells one snapshot from the next of the same source.
pub fn snapshot_version(digest: &str, time: Option<Time>, partial: bool) -> String {
    let time = time.map_or_else(|| "no time".to_owned(), |time| time.to_string());
    format!("{digest} {time} {}", if partial { "partial" } else { "complete" })
}

fn read<T: serde::de::DeserializeOwned>(index: u64, kind: &str, object: &[u8]) -> Result<T, TrailError> {
    serde_json::from_slice(object).map_err(|error| TrailError::Refused {
        what: format!("entry {index} is signed and this version cannot read it as `{kind}`: {error}"),
        verdict: "ok",
    })
}
