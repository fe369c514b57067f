//! Finding events and findings in the trail: by who, what, which record, when, and text.
//!
//! One pass over the segments, each by one of two threads. A line is first looked at as bytes: every word that an
//! answer must hold is searched in it, whatever its case, and only lines that hold all of them are parsed. So a
//! search for one person reads the trail at the speed of the disk. What is found is what the entries say; nothing is
//! verified here.
//!
//! In an erasable deployment entries hold pseudonyms: whoever has the matching key searches by name, and sees names
//! while their details are there. A word of free text finds only what stands in the entry itself.

use crate::model::{Names, Pseudonyms, Time};
use crate::trail::disk::Disk;
use crate::trail::entry::Entry;
use crate::trail::read::{Lines, Met, SegmentFile, segments};
use crate::trail::{TrailError, detail};
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Entries that one search gives at most.
pub const LIMIT_MAX: usize = 100_000;
/// Threads that read.
const THREADS: usize = 2;

/// What is looked for. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Id or name of who did it, whole, whatever its case.
    pub actor: Option<String>,
    /// Id or name of a record, whole.
    pub record: Option<String>,
    /// The action's word.
    pub action: Option<String>,
    /// Name of the source.
    pub source: Option<String>,
    /// What a rule's id begins with: findings only.
    pub rule: Option<String>,
    /// Id of the incident: findings only.
    pub incident: Option<String>,
    /// From this event time on.
    pub from: Option<Time>,
    /// Before this event time.
    pub to: Option<Time>,
    /// Each of these stands somewhere in the entry, whatever its case.
    pub words: Vec<String>,
    /// So many of the newest.
    pub limit: usize,
}

impl Query {
    /// What is searched for, for the entry that says so. In an erasable deployment nothing that names somebody stands
    /// in it: people and records as pseudonyms, and of free words only how many.
    pub fn said(&self, pseudonyms: Option<&Pseudonyms>) -> String {
        let hidden = |text: &Option<String>| match (text, pseudonyms) {
            (Some(text), Some(pseudonyms)) => Some(pseudonyms.of_person(text).join(" or ")),
            (text, None) => text.clone(),
            (None, _) => None,
        };
        let time = |time: Option<Time>| time.map(|time| time.to_string());
        let given = [
            ("actor", hidden(&self.actor)),
            ("record", hidden(&self.record)),
            ("action", self.action.clone()),
            ("source", self.source.clone()),
            ("rule", self.rule.clone()),
            ("incident", self.incident.clone()),
            ("from", time(self.from)),
            ("to", time(self.to)),
            (
                "words",
                (!self.words.is_empty()).then(|| match pseudonyms {
                    None => self.words.join(" "),
                    Some(_) => self.words.len().to_string(),
                }),
            ),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        given.collect::<Vec<_>>().join(", ")
    }
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its index.
    pub index: u64,
    /// `event` or `finding`.
    pub kind: String,
    /// Its members.
    pub members: Value,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest, in the order of the trail.
    pub hits: Vec<Hit>,
    /// How many there are.
    pub count: u64,
    /// Entries that were looked at.
    pub entries: u64,
}

/// A query with everything prepared.
struct Ready<'q> {
    query: &'q Query,
    /// Words that a line must hold, one of each list.
    needles: Vec<Regex>,
    actors: Vec<String>,
    records: Vec<String>,
}

impl<'q> Ready<'q> {
    fn new(query: &'q Query, pseudonyms: Option<&Pseudonyms>) -> Result<Ready<'q>, TrailError> {
        let forms = |who: &Option<String>| -> Vec<String> {
            let Some(who) = who else { return Vec::new() };
            let hidden = pseudonyms.map_or_else(Vec::new, |pseudonyms| pseudonyms.of_person(who));
            std::iter::once(who.clone()).chain(hidden).collect()
        };
        let actors = forms(&query.actor);
        // A record's pseudonym has the digits of a person's, behind another word.
        let records: Vec<String> = forms(&query.record)
            .into_iter()
            .flat_map(|form| {
                let other = form.strip_prefix("act:").map(|digits| format!("obj:{digits}"));
                std::iter::once(form).chain(other)
            })
            .collect();
        let rule = query.rule.clone().filter(|rule| !rule.is_empty());
        let exact = [&query.action, &query.source, &query.incident, &rule];
        let mut lists: Vec<Vec<String>> =
            exact.into_iter().flatten().map(|word| vec![word.clone()]).collect();
        lists.extend([actors.clone(), records.clone()].into_iter().filter(|list| !list.is_empty()));
        lists.extend(query.words.iter().map(|word| vec![word.clone()]));
        let needles = lists.iter().map(|list| needle(list)).collect::<Result<_, _>>()?;
        Ok(Ready { query, needles, actors, records })
    }

    /// Whether a line's entry is an answer.
    fn takes(&self, line: &[u8]) -> Option<Hit> {
        if !self.needles.iter().all(|needle| needle.is_match(line)) {
            return None;
        }
        let only_findings = self.query.rule.is_some() || self.query.incident.is_some();
        let kind = |entry: &Entry<'_>| entry.kind == "finding" || (entry.kind == "event" && !only_findings);
        let entry = Entry::parse(line).filter(kind)?;
        let members: Value = serde_json::from_slice(&entry.object()).ok()?;
        self.holds(entry.kind, &members).then(|| Hit {
            index: entry.index,
            kind: entry.kind.to_owned(),
            members,
        })
    }

    fn holds(&self, kind: &str, members: &Value) -> bool {
        let is = |wanted: &Option<String>, value: &Value| match wanted {
            None => true,
            Some(wanted) => value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted)),
        };
        let one = |forms: &[String], value: &Value| {
            value
                .as_str()
                .is_some_and(|text| forms.iter().any(|form| form.to_lowercase() == text.to_lowercase()))
        };
        let (query, target) = (self.query, &members["target"]);
        let time = members["time"].as_str().or(members["observed"].as_str()).and_then(Time::parse);
        let timely = match (time, query.from, query.to) {
            (_, None, None) => true,
            (None, _, _) => false,
            (Some(time), from, to) => from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to),
        };
        let actor = self.actors.is_empty()
            || match kind {
                "event" => {
                    let actor = &members["actor"];
                    one(&self.actors, &actor["id"]) || one(&self.actors, &actor["name"])
                }
                _ => one(&self.actors, &members["actor"]) || one(&self.actors, &members["actor_name"]),
            };
        let record = self.records.is_empty()
            || match kind {
                "event" => {
                    let ids = target["ids"].as_array().map_or(&[][..], Vec::as_slice);
                    one(&self.records, &target["name"]) || ids.iter().any(|id| one(&self.records, id))
                }
                // Type and ids stand in one text.
                _ => target
                    .as_str()
                    .is_some_and(|text| text.split(' ').any(|word| one(&self.records, &word.into()))),
            };
        let rule = query.rule.as_ref().is_none_or(|rule| {
            members["rule"].as_str().is_some_and(|known| known.starts_with(rule.as_str()))
        });
        timely
            && actor
            && record
            && rule
            && is(&query.action, &members["action"])
            && is(&query.source, &members["source"])
            && is(&query.incident, &members["incident"])
    }
}

/// A pattern for any of these texts as they stand in a line of JSON, whatever their case.
fn needle(texts: &[String]) -> Result<Regex, TrailError> {
    let escaped: Vec<String> = texts
        .iter()
        .map(|text| {
            let json = Value::from(text.as_str()).to_string();
            regex::escape(json.trim_matches('"'))
        })
        .collect();
    let built = RegexBuilder::new(&escaped.join("|")).case_insensitive(true).build();
    built.map_err(|_| TrailError::setup("a word to search for is too long"))
}

/// Searches the segments of a generation. `told` gets how many entries were looked at, now and then.
pub fn search(
    disk: &dyn Disk,
    folder: &Path,
    query: &Query,
    pseudonyms: Option<&Pseudonyms>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Found, TrailError> {
    let ready = Ready::new(query, pseudonyms)?;
    let limit = query.limit.clamp(1, LIMIT_MAX);
    let files = segments(disk, folder)?;
    let (next, entries) = (AtomicUsize::new(0), AtomicU64::new(0));
    let parts: Mutex<Vec<(usize, VecDeque<Hit>, u64)>> = Mutex::new(Vec::new());
    let work = || -> Result<(), TrailError> {
        loop {
            // The newest first: what is older is only counted once there are enough.
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = files.len().checked_sub(turn + 1) else { return Ok(()) };
            let Some(file) = files.get(place) else { return Ok(()) };
            let (hits, count) = one_file(disk, file, &ready, limit, &|more| {
                told(entries.fetch_add(more, Ordering::Relaxed) + more);
            })?;
            let mut parts = parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            parts.push((place, hits, count));
            keep_newest(&mut parts, limit);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(TrailError::setup("a thread of the search ended early")))
        })
    })?;
    let mut parts = parts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.sort_by_key(|(place, _, _)| *place);
    let count = parts.iter().map(|(_, _, count)| count).sum();
    let mut hits: Vec<Hit> = parts.into_iter().flat_map(|(_, hits, _)| hits).collect();
    hits.drain(..hits.len().saturating_sub(limit));
    Ok(Found { hits, count, entries: entries.into_inner() })
}

/// Of all that was found so far, the newest.
fn keep_newest(parts: &mut [(usize, VecDeque<Hit>, u64)], limit: usize) {
    parts.sort_by_key(|(place, _, _)| std::cmp::Reverse(*place));
    let mut kept = 0;
    for (_, hits, _) in parts {
        let room = limit.saturating_sub(kept);
        if hits.len() > room {
            *hits = hits.split_off(hits.len() - room);
        }
        kept += hits.len();
    }
}

fn one_file(
    disk: &dyn Disk,
    file: &SegmentFile,
    ready: &Ready<'_>,
    limit: usize,
    read: &dyn Fn(u64),
) -> Result<(VecDeque<Hit>, u64), TrailError> {
    const TELL: u64 = 65_536;
    let failed = |error| TrailError::io("read", &file.path, error);
    let mut lines = Lines::open(disk, file, 0)?;
    let (mut hits, mut count, mut since) = (VecDeque::new(), 0, 0);
    // The last line may be half written: it is no line yet.
    while lines.next_line().map_err(failed)? == Met::Line {
        since += 1;
        if since == TELL {
            read(std::mem::take(&mut since));
        }
        let Some(hit) = ready.takes(lines.line()) else { continue };
        count += 1;
        if hits.len() == limit {
            hits.pop_front();
        }
        hits.push_back(hit);
    }
    read(since);
    Ok((hits, count))
}

/// What the entries touched, by who did it: how far an incident may reach.
#[derive(Debug, Default)]
pub struct Reach {
    /// Events.
    pub events: u64,
    /// Their actions, each with how often.
    pub actions: BTreeMap<String, u64>,
    /// Types of records, each with how many distinct ones, as far as ids are known.
    pub records: BTreeMap<String, BTreeSet<String>>,
    /// Distinct records that were not counted for want of room.
    pub more: u64,
    /// Rows that the feed counted.
    pub rows: u64,
    /// Addresses.
    pub addresses: BTreeSet<String>,
    /// First and last event time.
    pub times: Option<(String, String)>,
}

/// Distinct records that one reach counts by name.
const RECORDS_MAX: usize = 100_000;

impl Reach {
    /// Sums up events.
    pub fn of(found: &Found) -> Reach {
        let mut reach = Reach::default();
        for hit in found.hits.iter().filter(|hit| hit.kind == "event") {
            let it = &hit.members;
            reach.events += 1;
            let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
            *reach.actions.entry(word(&it["action"])).or_default() += 1;
            reach.rows = reach.rows.saturating_add(it["volume"]["rows"].as_u64().unwrap_or_default());
            reach.addresses.extend(it["client"]["ip"].as_str().map(str::to_owned));
            let records = reach.records.entry(word(&it["target"]["type"])).or_default();
            for id in it["target"]["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                match records.len() < RECORDS_MAX {
                    true => drop(records.insert(id.to_owned())),
                    false => reach.more += u64::from(!records.contains(id)),
                }
            }
            if let Some(time) = it["time"].as_str() {
                let (first, last) = reach.times.get_or_insert_with(|| (time.to_owned(), time.to_owned()));
                if time < first.as_str() {
                    time.clone_into(first);
                }
                if time > last.as_str() {
                    time.clone_into(last);
                }
            }
        }
        reach
    }
}

/// Puts names where pseudonyms stand, as far as the details are there. `folder` is that of the details.
pub fn name(
    disk: &dyn Disk,
    folder: &Path,
    pseudonyms: &Pseudonyms,
    hits: &mut [Hit],
) -> Result<(), TrailError> {
    let mut details = detail::Walk::new(disk, folder)?;
    for hit in hits {
        let about: Vec<u64> = match hit.kind.as_str() {
            "event" => vec![hit.index],
            _ => hit.members["about"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
        };
        let mut names = Names::default();
        for index in about {
            for detail in details.of_entry(index)? {
                names.learn_detail(pseudonyms, &detail.path, &detail.value);
            }
        }
        show(&names, &mut hit.members);
    }
    Ok(())
}

fn show(names: &Names, value: &mut Value) {
    match value {
        Value::String(text) => {
            let shown = names.show(text).into_owned();
            *text = shown;
        }
        Value::Array(values) => values.iter_mut().for_each(|value| show(names, value)),
        Value::Object(members) => members.values_mut().for_each(|value| show(names, value)),
        _ => {}
    }
}
