//! One pass over the trail: every entry is seen once, counted, and put to every question.
//!
//! Memory is bounded by the framework (lists keep 200 rows), by the number of sources, and by caps on
//! incidents and alerts under way; where a cap is reached the counts go on and the report says so.

use super::coverage::Coverage;
use super::entry::{AlertRow, CursorsRow, DETAILS, EntryView, EventRow, FindingRow, IncidentRow, visible};
use super::list::Collecting;
use super::query::{Bounds, FindingQuery, event_matches};
use crate::inspect::dlp;
use crate::model::{Names, Pseudonyms, Time};
use crate::policy::framework::{Control, Framework, From, Pattern};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Equal parts of the period that a source's events are counted in.
pub(super) const PARTS: usize = 60;
/// Incidents and alerts that are followed one by one, each.
const FOLLOWED: usize = 100_000;
/// Sources that are followed one by one.
const SOURCES: usize = 2_000;
/// Policy files that a version names; it is the digest that tells versions.
const FILES: usize = 1_000;
/// Ranks of findings: critical to info, and what has no known severity.
const RANKS: [&str; 5] = ["critical", "high", "medium", "low", "info"];

/// What of the trail a report is about.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The deployment's name.
    pub deployment: String,
    /// First instant of the period.
    pub from: Time,
    /// First instant after the period.
    pub to: Time,
    /// Zone in which the page prints times.
    pub zone: jiff::tz::TimeZone,
}

/// Reads the trail's entries, one after the other, in their order.
pub struct Collector {
    pub(super) scope: Scope,
    pub(super) framework: Framework,
    pub(super) coverage: Coverage,
    pub(super) controls: Vec<ControlLists>,
    pub(super) sources: BTreeMap<String, SourceBooks>,
    pub(super) policies: Vec<PolicyBooks>,
    pub(super) incidents: IncidentBooks,
    pub(super) alerts: AlertBooks,
    pub(super) tally: Tally,
    names: Names,
    policy_repeats: bool,
    bounds: Bounds,
}

/// The lists of one control.
pub(super) struct ControlLists {
    tag: String,
    pub findings: Collecting,
    pub evidence: Vec<Collecting>,
}

/// Plain counts.
#[derive(Default)]
pub(super) struct Tally {
    pub kinds: BTreeMap<String, u64>,
    pub unreadable: u64,
    pub generations: u64,
    pub events: u64,
    pub events_elsewhere: u64,
    pub oldest_event: Option<Time>,
    pub findings: u64,
    pub severities: BTreeMap<String, u64>,
    pub oldest: Option<(u64, Time)>,
    pub snapshots: u64,
    pub details: [u64; DETAILS.len()],
    pub cut: bool,
}

/// One source.
#[derive(Default)]
pub(super) struct SourceBooks {
    pub system: String,
    pub feeds: BTreeSet<String>,
    pub events: u64,
    pub defects: u64,
    pub under_rules: u64,
    pub first: Option<Time>,
    pub last: Option<Time>,
    pub silence: Option<(Time, Time)>,
    pub delay: i64,
    pub details: [u64; DETAILS.len()],
    pub parts: Vec<u64>,
    newest: Option<Time>,
}

/// One version of the policies.
pub(super) struct PolicyBooks {
    pub entry: u64,
    pub since: Time,
    pub digest: String,
    pub files: Vec<String>,
    pub rules: usize,
}

/// Incidents.
#[derive(Default)]
pub(super) struct IncidentBooks {
    pub opened: u64,
    pub by_severity: BTreeMap<String, u64>,
    pub state: BTreeMap<String, String>,
    opened_in_period: BTreeSet<String>,
}

impl IncidentBooks {
    /// Incidents opened in the period by the state they are in now.
    pub fn states(&self) -> BTreeMap<&str, u64> {
        let mut states = BTreeMap::new();
        for id in &self.opened_in_period {
            *states.entry(self.state.get(id).map_or("detected", String::as_str)).or_insert(0) += 1;
        }
        states
    }
}

/// Alerts, each with its receiver.
#[derive(Default)]
pub(super) struct AlertBooks {
    pub owed: u64,
    pub delivered: u64,
    pub dead: u64,
    pub failing: u64,
    pub slowest_seconds: i64,
    pub open: BTreeMap<(String, String), Time>,
}

impl Collector {
    /// A collector that has seen nothing yet.
    pub fn new(scope: Scope, framework: Framework) -> Collector {
        let patterns: BTreeSet<Pattern> =
            framework.controls.iter().flat_map(|control| control.rules.iter().cloned()).collect();
        let lists = |control: &Control| ControlLists {
            tag: format!("{}/{}", framework.id, control.id),
            findings: Collecting::new(RANKS.len()),
            evidence: control.evidence.iter().map(|_| Collecting::new(1)).collect(),
        };
        Collector {
            controls: framework.controls.iter().map(lists).collect(),
            coverage: Coverage::new(scope.from, scope.to, patterns),
            bounds: Bounds { from: scope.from, to: scope.to, size: None },
            sources: BTreeMap::new(),
            policies: Vec::new(),
            incidents: IncidentBooks::default(),
            alerts: AlertBooks::default(),
            tally: Tally::default(),
            names: Names::default(),
            policy_repeats: false,
            scope,
            framework,
        }
    }

    /// A stored line that is not an entry: counted, and named in the report.
    pub fn unreadable(&mut self) {
        self.tally.unreadable += 1;
    }

    /// A detail of an entry whose turn comes next: what its pseudonyms stand for. Where the detail is gone, the
    /// report shows the pseudonym.
    pub fn detail(&mut self, pseudonyms: &Pseudonyms, path: &str, value: &str) {
        self.names.learn_detail(pseudonyms, path, value);
    }

    /// A stored line of the trail.
    pub fn line(&mut self, line: &[u8]) {
        match EntryView::parse(line) {
            Some(entry) => self.entry(&entry),
            None => self.unreadable(),
        }
    }

    /// The next entry of the trail. Only entries under the checkpoint that the report names may be given.
    pub fn entry(&mut self, entry: &EntryView<'_>) {
        if self.tally.kinds.len() < 256 || self.tally.kinds.contains_key(entry.kind) {
            *self.tally.kinds.entry(visible(entry.kind)).or_default() += 1;
        }
        self.tally.oldest.get_or_insert((entry.index, entry.time));
        self.coverage.entry(entry.time, entry.kind);
        let known = match entry.kind {
            "event" => entry.read().map(|event| self.event(entry, &event)),
            "finding" => entry.read().map(|finding| self.finding(entry, &finding)),
            "incident" => entry.read().map(|incident| self.incident(entry, &incident)),
            "alert" => self.alert(entry),
            "commit" | "segment" => entry.read().map(|cursors| self.cursors(&cursors)),
            "heartbeat" | "state_cache" => Some(()),
            _ => entry.value().map(|value| self.about_ourselves(entry, &value)),
        };
        if known.is_none() {
            self.unreadable();
        }
    }

    /// A source that has a cursor is known, and its silence shows, whether or not it has events.
    fn cursors(&mut self, row: &CursorsRow) {
        for name in row.cursors.keys() {
            if self.sources.len() < SOURCES && !self.sources.contains_key(name) {
                self.sources.insert(name.clone(), SourceBooks::default());
            }
        }
    }

    fn event(&mut self, entry: &EntryView<'_>, event: &EventRow<'_>) {
        let when = event.when().unwrap_or(entry.time);
        let oldest = self.tally.oldest_event.get_or_insert(when);
        *oldest = (*oldest).min(when);
        if !self.bounds.hold(when) {
            self.tally.events_elsewhere += u64::from(self.bounds.hold(entry.time));
            return;
        }
        self.tally.events += 1;
        self.coverage.event();
        let details = event.details();
        for (count, there) in self.tally.details.iter_mut().zip(details) {
            *count += u64::from(there);
        }
        self.source(entry, event, when, details);
        let names = &self.names;
        for (control, lists) in self.framework.controls.iter().zip(&mut self.controls) {
            for (evidence, list) in control.evidence.iter().zip(&mut lists.evidence) {
                match &evidence.from {
                    From::Events(queries) => {
                        list.examine();
                        if event_matches(queries, event) {
                            list.add(entry, 0, || event_cells(names, event, when));
                        }
                    }
                    From::Completeness => {
                        list.examine();
                        list.add(entry, 0, || event_cells(names, event, when));
                    }
                    _ => {}
                }
            }
        }
    }

    fn source(
        &mut self,
        entry: &EntryView<'_>,
        event: &EventRow<'_>,
        when: Time,
        details: [bool; DETAILS.len()],
    ) {
        let name = event.source.as_deref().unwrap_or("(unnamed)");
        if self.sources.len() >= SOURCES && !self.sources.contains_key(name) {
            self.tally.cut = true;
            return;
        }
        let books = self.sources.entry(name.to_owned()).or_default();
        books.events += 1;
        books.defects += u64::from(!event.defects.is_empty());
        books.under_rules += u64::from(self.coverage.rules() > 0);
        if books.system.is_empty() {
            books.system = visible(event.system.as_deref().unwrap_or(""));
        }
        let feed = event.feed.as_deref().unwrap_or("").split('/').next().unwrap_or("");
        if books.feeds.len() < 16 {
            books.feeds.insert(visible(feed));
        }
        books.first = Some(books.first.map_or(when, |first| first.min(when)));
        books.last = Some(books.last.map_or(when, |last| last.max(when)));
        books.delay = books.delay.max(entry.time.seconds().saturating_sub(when.seconds()));
        // Silence runs from the start of the period, and between events where their times go forward.
        let before = books.newest.unwrap_or(self.scope.from);
        books.stretch(before, when);
        books.newest = Some(before.max(when));
        for (count, there) in books.details.iter_mut().zip(details) {
            *count += u64::from(there);
        }
        books.parts.resize(PARTS, 0);
        let length = (self.scope.to.micros() - self.scope.from.micros()).max(1);
        let part = i128::from(when.micros() - self.scope.from.micros()) * PARTS as i128 / i128::from(length);
        if let Some(count) = usize::try_from(part).ok().and_then(|part| books.parts.get_mut(part)) {
            *count += 1;
        }
    }

    fn finding(&mut self, entry: &EntryView<'_>, finding: &FindingRow<'_>) {
        let when = finding.time.unwrap_or(entry.time);
        if !self.bounds.hold(when) {
            return;
        }
        let severity = finding.severity.as_deref().unwrap_or("");
        self.tally.findings += 1;
        let rank = RANKS.iter().position(|known| *known == severity).unwrap_or(RANKS.len() - 1);
        *self.tally.severities.entry(RANKS[rank].to_owned()).or_default() += 1;
        let names = &self.names;
        for (control, lists) in self.framework.controls.iter().zip(&mut self.controls) {
            let query =
                FindingQuery { rules: &control.rules, types: &control.finding_types, tag: &lists.tag };
            lists.findings.examine();
            if query.matches(finding) {
                lists.findings.add(entry, rank, || finding_cells(names, finding, when));
            }
        }
    }

    fn incident(&mut self, entry: &EntryView<'_>, incident: &IncidentRow<'_>) {
        let Some(id) = incident.incident.as_deref() else { return };
        let books = &mut self.incidents;
        let known = books.state.contains_key(id);
        if !known && self.bounds.hold(entry.time) {
            books.opened += 1;
            let severity = visible(incident.severity.as_deref().unwrap_or("unknown"));
            *books.by_severity.entry(severity).or_default() += 1;
        }
        if !known && books.state.len() >= FOLLOWED {
            self.tally.cut = true;
            return;
        }
        if !known && self.bounds.hold(entry.time) {
            books.opened_in_period.insert(id.to_owned());
        }
        let state = incident.state.as_deref().map(visible);
        let now = books.state.entry(id.to_owned()).or_insert_with(|| "detected".to_owned());
        if let Some(state) = state {
            *now = state;
        }
    }

    fn alert(&mut self, entry: &EntryView<'_>) -> Option<()> {
        let row: AlertRow<'_> = entry.read()?;
        let in_period = self.bounds.hold(entry.time);
        let receiver = row.receiver.as_deref().unwrap_or("");
        let key = (row.alert.as_deref().unwrap_or("").to_owned(), receiver.to_owned());
        let books = &mut self.alerts;
        match row.state.as_deref() {
            Some("owed") => {
                books.owed += u64::from(in_period);
                if books.open.len() < FOLLOWED {
                    books.open.insert(key, entry.time);
                } else {
                    self.tally.cut = true;
                }
            }
            Some("failing") => books.failing += u64::from(in_period),
            Some(state @ ("delivered" | "dead")) => {
                let any = (key.0.clone(), String::new());
                let since = books.open.remove(&key).or_else(|| books.open.remove(&any));
                let delivered = state == "delivered";
                books.delivered += u64::from(in_period && delivered);
                books.dead += u64::from(in_period && !delivered);
                if let Some(since) = since.filter(|_| in_period && delivered) {
                    let seconds = entry.time.seconds().saturating_sub(since.seconds());
                    books.slowest_seconds = books.slowest_seconds.max(seconds);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn about_ourselves(&mut self, entry: &EntryView<'_>, value: &Value) {
        match entry.kind {
            "genesis" => self.tally.generations += 1,
            "start" => {
                let stated =
                    ["heartbeat_seconds", "heartbeat"].iter().find_map(|name| value.get(name)?.as_u64());
                if let Some(seconds) = stated {
                    self.coverage.heartbeat(seconds);
                }
            }
            "policy" => self.policy(entry, value),
            _ => {}
        }
        if !self.bounds.hold(entry.time) {
            return;
        }
        self.tally.snapshots += u64::from(entry.kind == "grants");
        let names = &self.names;
        for (control, lists) in self.framework.controls.iter().zip(&mut self.controls) {
            for (evidence, list) in control.evidence.iter().zip(&mut lists.evidence) {
                match &evidence.from {
                    From::Entries(kinds) if kinds.iter().any(|kind| kind == entry.kind) => {
                        list.examine();
                        list.add(entry, 0, || entry_cells(names, entry, value));
                    }
                    From::Snapshots if entry.kind == "grants" => {
                        list.examine();
                        list.add(entry, 0, || snapshot_cells(entry, value));
                    }
                    _ => {}
                }
            }
        }
    }

    fn policy(&mut self, entry: &EntryView<'_>, value: &Value) {
        let rules: Vec<String> = match value.get("rules") {
            Some(Value::Array(rules)) => rules
                .iter()
                .filter_map(|rule| rule.as_str().or_else(|| rule.get("id")?.as_str()))
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let adds = value.get("part").and_then(Value::as_u64).is_some_and(|part| part > 1);
        self.coverage.policy(&rules, adds);
        let files = value.get("files").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let files = files.iter().map(|file| {
            let member = |name: &str| visible(file.get(name).and_then(Value::as_str).unwrap_or(""));
            format!("{} {}", member("digest"), member("name"))
        });
        let digest = visible(value.get("digest").and_then(Value::as_str).unwrap_or(""));
        let rules = self.coverage.rules();
        if let Some(last) = self.policies.last_mut().filter(|_| adds) {
            // The first part of a repetition was not kept, so its later parts are known already.
            if last.files.len() < FILES && !self.policy_repeats {
                last.files.extend(files);
                last.rules = rules;
            }
            return;
        }
        // Each start names the policies in force; the same version again is no new version.
        self.policy_repeats =
            self.policies.last().is_some_and(|last| !digest.is_empty() && last.digest == digest);
        if self.policy_repeats {
            return;
        }
        // A version replaced before the period began was not in force in it.
        if entry.time <= self.scope.from {
            self.policies.clear();
        }
        if entry.time < self.scope.to && self.policies.len() < super::list::ROWS_KEPT {
            self.policies.push(PolicyBooks {
                entry: entry.index,
                since: entry.time,
                digest,
                files: files.collect(),
                rules,
            });
        }
    }
}

impl SourceBooks {
    fn stretch(&mut self, from: Time, to: Time) {
        let longest = self.silence.map_or(0, |(from, to)| to.micros() - from.micros());
        if to.micros().saturating_sub(from.micros()) > longest {
            self.silence = Some((from, to));
        }
    }

    /// The end of the period, or of what was read, closes the last silence.
    pub fn close(&mut self, from: Time, end: Time) {
        self.stretch(self.newest.unwrap_or(from), end);
        self.parts.resize(PARTS, 0);
    }
}

/// Headings of [`event_cells`].
pub(super) const EVENT_COLUMNS: [&str; 7] = ["time", "source", "who", "action", "object", "outcome", "from"];
/// Headings of [`finding_cells`].
pub(super) const FINDING_COLUMNS: [&str; 7] =
    ["time", "severity", "rule", "what was found", "who", "object", "incident"];
/// Headings of [`entry_cells`].
pub(super) const ENTRY_COLUMNS: [&str; 3] = ["time", "kind", "says"];
/// Headings of [`snapshot_cells`].
pub(super) const SNAPSHOT_COLUMNS: [&str; 7] =
    ["time", "system", "query", "rows in source", "rows kept", "whole", "digest"];

/// Text in which pseudonyms that are known become what they stand for, masked and made visible as all text.
fn shown(names: &Names, text: &str) -> String {
    match names.show(text) {
        Cow::Borrowed(text) => visible(text),
        Cow::Owned(text) => visible(&dlp::mask_around(&text).unwrap_or(text)),
    }
}

fn either<'e>(first: &'e super::entry::Text<'_>, second: &'e super::entry::Text<'_>) -> &'e str {
    first.as_deref().or(second.as_deref()).unwrap_or("")
}

fn event_cells(names: &Names, event: &EventRow<'_>, when: Time) -> Vec<String> {
    let who = event.actor_name().or(event.actor.id.as_deref()).unwrap_or("");
    let kind = event.target.r#type.as_deref().unwrap_or("");
    let name = match (event.target_name(), event.target.ids.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, []) => event.grant.permission.as_deref().unwrap_or("").to_owned(),
        (None, [id]) => id.clone().into_owned(),
        (None, [id, more @ ..]) => format!("{id} and {} more", more.len()),
    };
    let object = [kind, name.as_str()].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
    let action = either(&event.action, &event.category);
    vec![
        when.to_string(),
        visible(event.source.as_deref().unwrap_or("")),
        shown(names, who),
        visible(action),
        shown(names, &object.join(" ")),
        visible(event.outcome.as_deref().unwrap_or("")),
        shown(names, either(&event.client.ip, &event.client.country)),
    ]
}

fn finding_cells(names: &Names, finding: &FindingRow<'_>, when: Time) -> Vec<String> {
    let title = finding.title.as_deref().unwrap_or("");
    let what = match finding.detail.as_deref() {
        Some(detail) => format!("{title}: {detail}"),
        None => title.to_owned(),
    };
    let object = match (finding.target.as_deref(), finding.field.as_deref()) {
        (Some(target), Some(field)) => format!("{target} ({field})"),
        (target, field) => target.or(field).unwrap_or("").to_owned(),
    };
    vec![
        when.to_string(),
        visible(finding.severity.as_deref().unwrap_or("")),
        visible(finding.rule.as_deref().unwrap_or("")),
        shown(names, &what),
        shown(names, either(&finding.actor_name, &finding.actor)),
        shown(names, &object),
        visible(finding.incident.as_deref().unwrap_or("")),
    ]
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() > 4 => format!("{} items", items.len()),
        other => other.to_string(),
    }
}

/// Every member of an entry about ourselves, the chain's own apart.
fn entry_cells(names: &Names, entry: &EntryView<'_>, value: &Value) -> Vec<String> {
    let members = value.as_object().into_iter().flatten();
    let says: Vec<String> = members
        .filter(|(name, _)| !matches!(name.as_str(), "i" | "prev" | "t" | "kind" | "sig" | "v"))
        .map(|(name, value)| format!("{name} {}", text_of(value)))
        .collect();
    vec![entry.time.to_string(), visible(entry.kind), shown(names, &says.join(" · "))]
}

fn snapshot_cells(entry: &EntryView<'_>, value: &Value) -> Vec<String> {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| value.get(name))
            .map(|value| visible(&text_of(value)))
            .unwrap_or_default()
    };
    let partial = match value.get("partial").and_then(Value::as_bool) {
        Some(true) => "partial",
        Some(false) => "whole",
        None => "",
    };
    let stated = first(&["time"]);
    vec![
        if stated.is_empty() { entry.time.to_string() } else { stated },
        first(&["system", "source"]),
        first(&["query"]),
        first(&["rows_in_source", "stated"]),
        first(&["rows", "kept"]),
        partial.to_owned(),
        first(&["digest"]),
    ]
}
