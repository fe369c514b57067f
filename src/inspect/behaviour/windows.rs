//! The memory of correlations: groups, their hits, and which findings were made.
//!
//! Formats and invariants first:
//! * Only event time moves a window. The order of calls and the events decide everything, so the same
//!   sequence gives the same findings, the same evictions and the same exported bytes.
//! * An event that lacks a value of `group-by` takes no part: two unknown actors are not one actor.
//! * A correlation that stays true is reported once per group and [`DetectionRule::window_seconds`]; that
//!   bounds the findings of a flood. Chained correlations are told every time.
//! * Every correlation has a limit on groups and a share of the bytes that nothing can take from it, so a flood
//!   against one rule cannot make another forget; what the others do not use it may borrow. The stalest groups
//!   go first, ties by key; each is counted by rule.

use super::habit::{Brought, Place};
use super::hits::{Hits, LATENESS, Value, block};
use super::rule::{Correlation, DetectionRule, GroupBy, Kind};
use super::stateless::Matches;
use super::{finding, view};
use crate::model::{Event, Finding};
use hashbrown::{Equivalent, HashMap};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;

/// Seconds of event time that a quiet group is kept beyond its window: event-log files of a whole day arrive
/// up to a day late, while other feeds of the same rule are ahead.
pub(super) const QUIET: i64 = 26 * 3600;

/// How much correlations may remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups of one correlation.
    pub groups: usize,
    /// Bytes of all correlations together; each has an equal share for certain.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { groups: 50_000, bytes: 32 << 20 }
    }
}

/// The windows of all rules. Owned by the writer.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) rules: Arc<[DetectionRule]>,
    pub(super) states: Vec<Vec<State>>,
    pub(super) evicted: BTreeMap<String, u64>,
    pub(super) late: u64,
    limits: Limits,
    share: usize,
    /// Memory of all correlations: what the states say, summed up.
    total: usize,
    /// Room for the parts that happened with one event.
    happened: Vec<Happened>,
}

/// Groups by key. People choose their names, so the hash is one that they cannot aim at.
pub(super) type Groups = HashMap<Vec<String>, Group, RandomState>;

/// A key as it stands in the event: nearly every event belongs to a group that is there, so it is looked up without
/// a copy. It hashes as the key does. Most rules group by one value, for which nothing is allocated.
enum Key<'e> {
    One([Cow<'e, str>; 1]),
    Other(Vec<Cow<'e, str>>),
}

impl<'e> Key<'e> {
    fn texts(&self) -> &[Cow<'e, str>] {
        match self {
            Key::One(text) => text,
            Key::Other(texts) => texts,
        }
    }

    fn owned(&self) -> Vec<String> {
        self.texts().iter().map(|text| text.clone().into_owned()).collect()
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

impl Equivalent<Vec<String>> for Key<'_> {
    fn equivalent(&self, key: &Vec<String>) -> bool {
        let texts = self.texts();
        texts.len() == key.len() && texts.iter().zip(key).all(|(one, other)| **one == **other)
    }
}

/// One correlation's groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// By key. Their order here means nothing: what depends on one sorts.
    pub(super) groups: Groups,
    /// Newest event time seen.
    pub(super) newest: i64,
    /// Event time of the last look for quiet groups.
    pub(super) swept: i64,
    pub(super) bytes: usize,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) hits: Hits,
    pub(super) newest: i64,
    /// Event time of the newest finding.
    pub(super) reported: Option<i64>,
    pub(super) bytes: usize,
}

impl Group {
    /// Memory, with its place in the map.
    pub(super) fn bytes<S: AsRef<str>>(key: &[S], hits: &Hits) -> usize {
        // A table is between seven sixteenths and seven eighths full.
        let place = (size_of::<Group>() + size_of::<Vec<String>>() + 1) * 12 / 7;
        let texts: usize = key.iter().map(|text| block(text.as_ref().len())).sum();
        place + block(key.len() * size_of::<String>()) + texts + hits.bytes()
    }

    /// Reckons its memory anew: what it was and what it is.
    fn reckon(&mut self, key: &Key<'_>) -> (usize, usize) {
        let before = std::mem::replace(&mut self.bytes, Group::bytes(key.texts(), &self.hits));
        (before, self.bytes)
    }
}

/// A part that happened with this event.
#[derive(Debug)]
struct Happened {
    part: usize,
    /// What a correlation summed up to; one for an event.
    sum: f64,
    /// Event time; for a correlation the end of the window it holds in, which a late event may lie before.
    time: i64,
}

/// What one event did to one correlation.
pub(super) struct Update {
    /// The sum with which the correlation holds.
    pub(super) sum: f64,
    /// End of the window in which it does.
    pub(super) end: i64,
    /// Whether it is to be reported.
    pub(super) report: bool,
    pub(super) key: Vec<String>,
    /// See [`Hits::parts_in`].
    pub(super) parts: Vec<f64>,
    /// What is out of the usual, in words.
    pub(super) words: Option<String>,
}

impl Windows {
    pub(super) fn new(rules: Arc<[DetectionRule]>, limits: Limits) -> Windows {
        let states = rules.iter().map(|rule| vec![State::default(); rule.correlations.len()]).collect();
        let correlations: usize = rules.iter().map(|rule| rule.correlations.len()).sum();
        let share = limits.bytes / correlations.max(1);
        let limits = Limits { groups: limits.groups.max(1), ..limits };
        Windows {
            rules,
            states,
            evicted: BTreeMap::new(),
            late: 0,
            limits,
            share,
            total: 0,
            happened: Vec::new(),
        }
    }

    /// Memory of all correlations.
    pub(super) fn bytes(&self) -> usize {
        self.total
    }

    /// After the states were changed as a whole.
    pub(super) fn sum_up(&mut self) {
        self.total = self.states.iter().flatten().map(|state| state.bytes).sum();
    }

    /// Takes over what another set of rules remembered, for the rules that are the same.
    pub(super) fn inherit(&mut self, old: &mut Windows) {
        let (late, evicted) = (old.late, std::mem::take(&mut old.evicted));
        let states = std::mem::take(&mut old.states);
        let mut known: BTreeMap<(&str, &str), Vec<State>> =
            old.rules.iter().map(|rule| (rule.id.as_str(), rule.policy.as_str())).zip(states).collect();
        for (rule, states) in self.rules.iter().zip(&mut self.states) {
            if let Some(kept) = known.remove(&(rule.id.as_str(), rule.policy.as_str())) {
                *states = kept;
            }
        }
        (self.late, self.evicted) = (late, evicted);
        self.sum_up();
        old.sum_up();
    }

    /// Forgets what is remembered for rules that do not stay as they are.
    pub(super) fn keep_only(&mut self, stays: &dyn Fn(&DetectionRule) -> bool) {
        for (rule, states) in self.rules.iter().zip(&mut self.states) {
            if !stays(rule) {
                states.fill(State::default());
            }
        }
        self.sum_up();
    }

    /// Takes one event with the parts that it matched; adds what is to be reported.
    pub(super) fn correlate(&mut self, event: &Event, matches: &Matches, findings: &mut Vec<Finding>) {
        let rules = Arc::clone(&self.rules);
        for matched in matches.0.chunk_by(|one, other| one.0 == other.0) {
            let place = matched.first().map_or(0, |(rule, _)| *rule as usize);
            let (Some(rule), Some(states)) = (rules.get(place), self.states.get_mut(place)) else { continue };
            let time = event.when().seconds();
            let happened = &mut self.happened;
            happened.clear();
            happened.extend(matched.iter().map(|(_, part)| Happened {
                part: *part as usize,
                sum: 1.0,
                time,
            }));
            if happened.iter().any(|happened| happened.part == rule.reported) {
                findings.push(finding::of_event(rule, event));
            }
            for (number, (correlation, state)) in rule.correlations.iter().zip(states).enumerate() {
                let part = rule.events.len() + number;
                let mut step = Step { rule, correlation, part, event, late: 0, evicted: 0 };
                self.total -= state.bytes;
                let spare = self.limits.bytes.saturating_sub(self.total);
                let limits = Limits { bytes: self.share.max(spare), ..self.limits };
                let update = step.run(state, happened, limits);
                self.total += state.bytes;
                self.late += step.late;
                if step.evicted > 0 {
                    *self.evicted.entry(rule.id.clone()).or_default() += step.evicted;
                }
                let Some(update) = update else { continue };
                happened.push(Happened { part, sum: update.sum, time: update.end });
                if update.report {
                    findings.push(finding::of_correlation(rule, correlation, event, &update));
                }
            }
        }
    }

    /// Whether the event comes later than its correlations remember.
    pub(super) fn is_late(&self, event: &Event, matches: &Matches) -> bool {
        let time = event.when().seconds();
        matches.0.iter().any(|(rule, part)| {
            let (Some(detection), Some(states)) =
                (self.rules.get(*rule as usize), self.states.get(*rule as usize))
            else {
                return false;
            };
            detection.correlations.iter().zip(states).any(|(correlation, state)| {
                correlation.parts.contains(&(*part as usize))
                    && time < state.newest - correlation.reach() - QUIET
            })
        })
    }
}

/// Works on the group of a key, which is made where there is none.
fn with_group<R>(
    groups: &mut Groups,
    key: &Key<'_>,
    (correlation, time): (&Correlation, i64),
    work: impl FnOnce(&mut Group) -> R,
) -> R {
    if let Some(group) = groups.get_mut(key) {
        return work(group);
    }
    let hits = Hits::new(correlation, time);
    let mut group = Group { hits, newest: time, reported: None, bytes: 0 };
    let result = work(&mut group);
    groups.insert(key.owned(), group);
    result
}

/// One event at one correlation.
struct Step<'a> {
    rule: &'a DetectionRule,
    correlation: &'a Correlation,
    part: usize,
    event: &'a Event,
    late: u64,
    evicted: u64,
}

/// A part that the event is to a correlation, with its key and what it brings.
struct Hit<'e> {
    place: usize,
    key: Key<'e>,
    value: Value,
    time: i64,
}

impl<'e> Step<'e> {
    fn run(&mut self, state: &mut State, happened: &[Happened], limits: Limits) -> Option<Update> {
        let update = match self.correlation.kind.is_habit() {
            true => self.compare(state, happened),
            false => self.count(state, happened),
        };
        self.bound(state, limits);
        update
    }

    /// Adds the event to its groups; the last of them is looked at.
    fn count(&mut self, state: &mut State, happened: &[Happened]) -> Option<Update> {
        let mut last: Option<Hit<'e>> = None;
        for (place, part) in self.correlation.parts.iter().enumerate() {
            let Some(hit) = happened.iter().find(|other| other.part == *part) else { continue };
            let (Some(key), Some(value)) = (self.key(place), self.value(hit.sum)) else { continue };
            if let Some(before) = last.replace(Hit { place, key, value, time: hit.time }) {
                self.insert(state, before, |_, _| None);
            }
        }
        let last = last?;
        let (step, time) = (Step { late: 0, evicted: 0, ..*self }, last.time);
        self.insert(state, last, |group, key| step.settle(group, key, time))
    }

    /// The group that the event belongs to as this part.
    fn key(&self, place: usize) -> Option<Key<'e>> {
        let text = |by: &GroupBy| view::text(self.event, by.paths.get(place)?);
        match self.correlation.group_by.as_slice() {
            [by] => Some(Key::One([text(by)?])),
            several => several.iter().map(text).collect::<Option<_>>().map(Key::Other),
        }
    }

    /// Compares the event with what is usual for its group.
    fn compare(&mut self, state: &mut State, happened: &[Happened]) -> Option<Update> {
        let place =
            self.correlation.parts.iter().position(|part| happened.iter().any(|hit| hit.part == *part))?;
        let (key, brought) = (self.key(place)?, self.brought()?);
        let time = self.event.when().seconds();
        state.newest = state.newest.max(time);
        let quiet = |at: i64| time.abs_diff(at) < self.rule.window_seconds;
        let reportable = self.part == self.rule.reported;
        let (unusual, gone, report, grown) =
            with_group(&mut state.groups, &key, (self.correlation, time), |group| {
                let Hits::Past(past) = &mut group.hits else { return (None, 0, false, (0, 0)) };
                let (unusual, gone) = past.take(self.correlation, time, brought);
                group.newest = group.newest.max(time);
                let report = reportable && !group.reported.is_some_and(quiet);
                if report && unusual.is_some() {
                    group.reported = Some(time);
                }
                (unusual, gone, report, group.reckon(&key))
            });
        self.evicted += gone;
        state.bytes = state.bytes + grown.1 - grown.0;
        let unusual = unusual?;
        Some(Update {
            sum: unusual.sum,
            end: time,
            report,
            key: key.owned(),
            parts: Vec::new(),
            words: Some(unusual.words),
        })
    }

    /// What the event brings to compare. `None` where it lacks it.
    fn brought(&self) -> Option<Brought> {
        let fields = self.correlation.field.iter();
        Some(match self.correlation.kind {
            Kind::FirstSeen => {
                let texts: Option<Vec<_>> = fields.map(|path| view::text(self.event, path)).collect();
                Brought::Text(texts?.join(" "))
            }
            Kind::Baseline => match self.correlation.field.first() {
                Some(path) => Brought::Number(view::number(self.event, path)?),
                None => Brought::Number(1.0),
            },
            Kind::Travel => {
                let client = &self.event.client;
                let degrees =
                    |text: &Option<String>| text.as_ref()?.parse().ok().filter(|it: &f64| it.is_finite());
                let names = client.city.iter().chain(&client.country).cloned().collect::<Vec<_>>().join(", ");
                let (latitude, longitude) = (degrees(&client.lat)?, degrees(&client.lon)?);
                let name = if names.is_empty() { format!("{latitude:.1}, {longitude:.1}") } else { names };
                Brought::Place(Place { time: self.event.when().seconds(), latitude, longitude, name })
            }
            _ => Brought::Nothing,
        })
    }

    /// Adds the hit to its group; then `look` sees the group.
    fn insert(
        &mut self,
        state: &mut State,
        hit: Hit<'_>,
        look: impl FnOnce(&mut Group, &Key<'_>) -> Option<Update>,
    ) -> Option<Update> {
        let Hit { place, key, value, time } = hit;
        let timespan = self.correlation.timespan;
        let (late, gone, update, grown) =
            with_group(&mut state.groups, &key, (self.correlation, time), |group| {
                let late = time < group.newest - timespan - LATENESS;
                group.newest = group.newest.max(time);
                let gone = group.hits.insert(timespan, place, time, value);
                let update = look(group, &key);
                (late, gone, update, group.reckon(&key))
            });
        self.late += u64::from(late);
        self.evicted += gone;
        state.newest = state.newest.max(time);
        state.bytes = state.bytes + grown.1 - grown.0;
        update
    }

    /// What the event brings. `None` when it lacks the field, or the field is no number where one is summed.
    fn value(&self, sum: f64) -> Option<Value> {
        let mut fields = self.correlation.field.iter();
        match self.correlation.kind {
            Kind::EventCount => Some(Value::Number(1.0)),
            Kind::Temporal | Kind::TemporalOrdered => Some(Value::Number(sum)),
            Kind::ValueCount => {
                let texts: Option<Vec<_>> = fields.map(|path| view::text(self.event, path)).collect();
                Some(Value::Text(texts?.join("\u{1f}")))
            }
            Kind::ValueSum | Kind::ValueAvg | Kind::ValuePercentile | Kind::ValueMedian => {
                view::number(self.event, fields.next()?).map(Value::Number)
            }
            // These are compared, see `compare`.
            Kind::FirstSeen | Kind::Baseline | Kind::Travel | Kind::Dormant | Kind::UnusualHour => None,
        }
    }

    /// Looks whether the group's correlation holds now. A late hit may complete two windows: the one that
    /// ends with it and the one that ends with the newest hit it can share a window with.
    fn settle(&self, group: &mut Group, key: &Key<'_>, time: i64) -> Option<Update> {
        let correlation = self.correlation;
        let reportable = self.part == self.rule.reported;
        let quiet = |at: i64| time.abs_diff(at) < self.rule.window_seconds;
        let suppressed = !reportable || group.reported.is_some_and(quiet);
        let chained = self.rule.correlations.iter().any(|other| other.parts.contains(&self.part));
        let ends = [Some(time), group.hits.newest_until(time.saturating_add(correlation.timespan))];
        let held = if suppressed && !chained {
            None
        } else {
            ends.into_iter().flatten().find_map(|end| Some((end, group.hits.holds(correlation, end)?)))
        };
        let update = held.map(|(end, sum)| Update {
            sum,
            end,
            report: !suppressed,
            parts: group.hits.parts_in(end.saturating_sub(correlation.timespan), end),
            key: key.owned(),
            words: None,
        });
        if let Some(update) = update.as_ref().filter(|update| update.report) {
            group.reported = Some(update.end);
        }
        group.hits.prune(group.newest.saturating_sub(correlation.timespan).saturating_sub(LATENESS));
        update
    }

    /// Sweeps quiet groups once an hour of event time, and holds the limits.
    fn bound(&mut self, state: &mut State, limits: Limits) {
        let keep = self.correlation.reach().max(self.rule.window_seconds as i64).saturating_add(QUIET);
        let horizon = state.newest.saturating_sub(keep);
        if state.newest.saturating_sub(state.swept) >= 3600 {
            state.swept = state.newest;
            state.groups.retain(|_, group| group.newest >= horizon);
            state.bytes = state.groups.values().map(|group| group.bytes).sum();
        }
        if state.groups.len() <= limits.groups && state.bytes <= limits.bytes {
            return;
        }
        let mut stalest: Vec<(i64, &Vec<String>, usize)> =
            state.groups.iter().map(|(key, group)| (group.newest, key, group.bytes)).collect();
        stalest.sort_unstable();
        // Down to nine tenths, so that a flood does not sort all groups at every event.
        let (mut groups, mut bytes) = (state.groups.len(), state.bytes);
        let mut gone: Vec<Vec<String>> = Vec::new();
        for (_, key, size) in stalest {
            if groups <= limits.groups * 9 / 10 && bytes <= limits.bytes / 10 * 9 {
                break;
            }
            (groups, bytes) = (groups - 1, bytes - size);
            gone.push(key.clone());
        }
        for key in &gone {
            if let Some(group) = state.groups.remove(key) {
                state.bytes -= group.bytes;
                self.evicted += 1;
            }
        }
    }
}
