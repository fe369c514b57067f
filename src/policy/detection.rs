//! Detection files: Sigma, with our metadata, checked and made ready.
//!
//! A file in `policies/detections/` is one rule: YAML documents separated by `---`, each a Sigma rule about
//! one event or a Sigma correlation (specification 2.1). Exactly one of them has `crmwarden:` and is
//! reported; the others are its parts. A part is named by `name`, else `id`, and can only be used in its own
//! file, by documents below it.
//!
//! ```yaml
//! crmwarden:
//!   id: audit_switched_off     # default: the file's name; findings name the rule `detection.<id>`
//!   controls: [pci-dss/10.2.1.6]
//!   next: What to do.
//!   window: 24h                # findings of one key within it are one incident; default: timespan, else 24h
//!   group_by: [system, actor]  # what makes the key, where a single event is reported
//!   requires: [category]       # fields that one shipped format must have
//!   examples: [...]            # each a list of events (see `policy::example`) that the rule must report
//!   counter_examples: [...]    # and must not
//! ```
//!
//! What Sigma has no words for is a document of ours, `habit:` in the place of `correlation:`:
//!
//! ```yaml
//! habit:
//!   type: baseline             # first_seen, baseline, travel, dormant, unusual_hour
//!   rules: [rows]              # events it is about
//!   group-by: [system, actor]
//!   field: [volume.rows]       # first_seen: what is new; baseline: what is summed (none: events are counted)
//!   memory: 90d                # how far the past reaches back
//!   learn: 7d                  # how long a group is watched before anything is told of it
//!   timespan: 1h               # baseline: what is summed over; dormant: the silence; travel: longest time between
//!   times: 5                   # baseline: so many times the highest before; travel: km an hour
//!   at_least: 10000            # baseline: smaller sums are never told; travel: km
//!   without_history: 100000    # baseline: limit for a group that is still learned
//! ```
//!
//! Stricter than Sigma itself: unknown keys, unknown fields, words outside of our closed sets and parts that
//! nobody uses are errors, because each of them makes a rule that stays silent. Not taken: filter documents, `expand`
//! placeholders, window modes other than sliding.

use super::example::Example;
use super::habit;
use super::{condition, fields};
use crate::inspect::behaviour::{Correlation, DetectionRule, EventPart, GroupBy, Habit, KEPT, Kind, Test};
use crate::model::Event;
use crate::model::duration;
use crate::model::finding::Severity;
use crate::yaml::{self, Problem, nearest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// One detection file, read.
#[derive(Clone, Debug)]
pub struct Detection {
    /// The rule, ready to run.
    pub rule: DetectionRule,
    /// Fields that one format must have, as written.
    pub requires: Vec<String>,
    /// Every field that the rule reads, with the line that names it.
    pub paths: BTreeMap<String, u64>,
    /// Lists of events that it must report.
    pub examples: Vec<Example>,
    /// Lists of events that it must not report.
    pub counter_examples: Vec<Example>,
    /// Line of the metadata.
    pub line: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    title: String,
    name: Option<String>,
    id: Option<String>,
    level: Option<String>,
    detection: Option<IgnoredAny>,
    correlation: Option<RawCorrelation>,
    habit: Option<RawHabit>,
    filter: Option<IgnoredAny>,
    crmwarden: Option<Metadata>,
    // The rest is for people and other tools.
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "author")]
    _author: Option<IgnoredAny>,
    #[serde(rename = "date")]
    _date: Option<IgnoredAny>,
    #[serde(rename = "modified")]
    _modified: Option<IgnoredAny>,
    #[serde(rename = "license")]
    _license: Option<IgnoredAny>,
    #[serde(rename = "references")]
    _references: Option<Vec<String>>,
    #[serde(rename = "related")]
    _related: Option<IgnoredAny>,
    #[serde(rename = "tags")]
    _tags: Option<Vec<String>>,
    #[serde(rename = "falsepositives")]
    _falsepositives: Option<Vec<String>>,
    #[serde(rename = "fields")]
    _fields: Option<Vec<String>>,
    #[serde(rename = "logsource")]
    _logsource: Option<IgnoredAny>,
    #[serde(rename = "taxonomy")]
    _taxonomy: Option<IgnoredAny>,
    #[serde(rename = "scope")]
    _scope: Option<IgnoredAny>,
    #[serde(rename = "generate")]
    _generate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCorrelation {
    r#type: String,
    rules: Vec<String>,
    #[serde(default, rename = "group-by")]
    group_by: Vec<String>,
    #[serde(alias = "timeframe")]
    timespan: String,
    condition: Option<serde_json::Value>,
    #[serde(default)]
    aliases: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHabit {
    r#type: String,
    rules: Vec<String>,
    #[serde(default, rename = "group-by")]
    group_by: Vec<String>,
    #[serde(default)]
    pub(super) field: Vec<String>,
    pub(super) timespan: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) learn: Option<String>,
    pub(super) times: Option<f64>,
    pub(super) at_least: Option<f64>,
    pub(super) without_history: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    id: Option<String>,
    #[serde(default)]
    controls: Vec<String>,
    next: String,
    window: Option<String>,
    group_by: Option<Vec<String>>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    examples: Vec<Example>,
    #[serde(default)]
    counter_examples: Vec<Example>,
}

/// Reads one file.
pub fn read(file: &str, text: &str) -> Result<Detection, Problem> {
    let documents: Vec<Document> = yaml::parse_many(file, text)?;
    let places = places(text);
    if documents.len() != places.len() {
        return Err(Problem::file(file, "an empty document stands between two `---`").cure("remove it"));
    }
    let mut reader =
        Reader { file, text, events: Vec::new(), correlations: Vec::new(), paths: BTreeMap::new() };
    let mut reported = None;
    // Events first, so that a part's number is known when a correlation refers to it.
    for correlated in [false, true] {
        for (document, place) in documents.iter().zip(&places) {
            if (document.correlation.is_some() || document.habit.is_some()) != correlated {
                continue;
            }
            let part = reader.document(document, place)?;
            if document.crmwarden.is_some() && reported.replace((part, document, place)).is_some() {
                return Err(reader.at(place, "crmwarden", "a file reports one rule, and this is the second"));
            }
        }
    }
    let Some((part, document, place)) = reported else {
        return Err(Problem::file(file, "no document has `crmwarden:`, so nothing is reported")
            .cure("add it to the document whose match is to be a finding"));
    };
    reader.all_used(part, &places)?;
    reader.finish(part, document, place)
}

/// First and last line of a document, from 1.
struct Place {
    first: u64,
    last: u64,
}

/// Where the documents stand: between `---` lines, with something besides comments in them.
fn places(text: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let number = number as u64 + 1;
        if line.trim_end() == "---" {
            open = false;
            continue;
        }
        let says = !line.trim().is_empty() && !line.trim_start().starts_with('#');
        match places.last_mut() {
            Some(place) if open => place.last = number,
            _ if says => {
                places.push(Place { first: number, last: number });
                open = true;
            }
            _ => {}
        }
    }
    places
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    events: Vec<EventPart>,
    correlations: Vec<Correlation>,
    paths: BTreeMap<String, u64>,
}

impl Reader<'_> {
    /// The line of the document that names `word`, as a key or list item where there is one.
    fn line(&self, place: &Place, word: &str) -> u64 {
        let lines = || {
            let first = usize::try_from(place.first).unwrap_or(1).saturating_sub(1);
            let last = usize::try_from(place.last).unwrap_or(usize::MAX);
            self.text.lines().enumerate().take(last).skip(first)
        };
        let is_key = |line: &str| {
            let line = line.trim_start_matches([' ', '-', '"', '\'', '{']);
            line.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with([':', '|', '"', '\'']) || rest.is_empty())
        };
        let found =
            lines().find(|(_, line)| is_key(line)).or_else(|| lines().find(|(_, line)| line.contains(word)));
        found.map_or(place.first, |(number, _)| number as u64 + 1)
    }

    fn at(&self, place: &Place, word: &str, what: impl Into<String>) -> Problem {
        Problem::at(self.file, self.line(place, word), what)
    }

    /// Reads one document and returns its number.
    fn document(&mut self, document: &Document, place: &Place) -> Result<usize, Problem> {
        if document.filter.is_some() {
            return Err(self.at(place, "filter", "filter documents are not built yet"));
        }
        if let Some(level) = &document.level
            && severity(level).is_none()
        {
            let problem = self.at(place, "level", format!("unknown level `{level}`"));
            return Err(problem.cure("one of informational, low, medium, high, critical"));
        }
        let name = document.name.as_ref().or(document.id.as_ref()).unwrap_or(&document.title).clone();
        if self.number(&name).is_some() {
            return Err(self.at(place, "name", format!("a second document is named `{name}`")));
        }
        match (&document.detection, &document.correlation, &document.habit) {
            (Some(_), None, None) => self.event(document, name, place),
            (None, Some(correlation), None) => self.correlation(document, name, correlation, place),
            (None, None, Some(habit)) => self.habit(document, name, habit, place),
            _ => Err(Problem::at(
                self.file,
                place.first,
                "a document has exactly one of `detection:`, `correlation:` and `habit:`",
            )),
        }
    }

    fn number(&self, name: &str) -> Option<usize> {
        let correlations = self.correlations.iter().position(|part| part.name == name);
        self.events
            .iter()
            .position(|part| part.name == name)
            .or(correlations.map(|place| place + self.events.len()))
    }

    fn event(&mut self, document: &Document, name: String, place: &Place) -> Result<usize, Problem> {
        let count = usize::try_from(place.last - place.first + 1).unwrap_or(usize::MAX);
        let skip = usize::try_from(place.first - 1).unwrap_or(usize::MAX);
        let text: Vec<&str> = self.text.lines().skip(skip).take(count).collect();
        let wrong = |error: String| {
            let first = error.lines().next().unwrap_or("cannot be read").to_owned();
            self.at(place, "detection", format!("not a Sigma rule: {first}"))
        };
        let parsed =
            rsigma_parser::parse_sigma_yaml(&text.join("\n")).map_err(|error| wrong(error.to_string()))?;
        if let Some(error) = parsed.errors.first() {
            return Err(wrong(error.clone()));
        }
        let Some(mut sigma) = parsed.rules.into_iter().next() else {
            return Err(wrong("no detection".to_owned()));
        };
        // Nothing but the detection is needed to match, and what a match carries is copied every time.
        sigma.custom_attributes.clear();
        sigma.tags.clear();
        let fields::Checked { paths, needs, words_only } = match fields::check(&sigma.detection) {
            Ok(checked) => checked,
            Err(wrong) => {
                let problem = self.at(place, &wrong.word, wrong.what);
                return Err(match wrong.cure {
                    Some(cure) => problem.cure(cure),
                    None => problem,
                });
            }
        };
        if let Err(error) = rsigma_eval::compile_rule(&sigma) {
            return Err(wrong(error.to_string()));
        }
        for path in &paths {
            let line = self.line(place, path);
            self.paths.entry(path.clone()).or_insert(line);
        }
        self.events.push(EventPart { name, title: document.title.clone(), sigma, paths, needs, words_only });
        Ok(self.events.len() - 1)
    }

    fn correlation(
        &mut self,
        document: &Document,
        name: String,
        raw: &RawCorrelation,
        place: &Place,
    ) -> Result<usize, Problem> {
        let kind = self.kind(&raw.r#type, Kind::SIGMA, "correlation", place)?;
        let parts = self.references(&raw.rules, place)?;
        if let Some(stranger) =
            raw.aliases.values().flat_map(BTreeMap::keys).find(|name| !raw.rules.contains(name))
        {
            let what = format!("`{stranger}` is not among this correlation's rules");
            return Err(self.at(place, stranger, what));
        }
        let timespan = duration::parse(&raw.timespan)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or_else(|| self.at(place, "timespan", "not a duration").cure(duration::FORM))?;
        let condition = condition::read(kind, &raw.rules, raw.condition.as_ref())
            .map_err(|what| self.at(place, "condition", what))?;
        if let (Kind::ValueCount, Test::Compare(comparisons)) = (kind, &condition.test)
            && comparisons.iter().any(|(_, number)| *number >= KEPT as f64)
        {
            return Err(self.at(place, "condition", format!("at most {KEPT} distinct values are kept")));
        }
        let group_by = raw.group_by.iter().map(|by| group(by, raw)).collect::<Vec<_>>();
        let paths = group_by.iter().flat_map(|by| &by.paths).chain(&condition.field);
        for path in paths.cloned().collect::<Vec<_>>() {
            self.path(&path, place)?;
        }
        self.correlations.push(Correlation {
            name,
            title: document.title.clone(),
            kind,
            parts,
            group_by,
            timespan,
            test: condition.test,
            field: condition.field,
            percentile: condition.percentile,
            habit: Habit::default(),
        });
        Ok(self.events.len() + self.correlations.len() - 1)
    }

    fn kind(
        &self,
        word: &str,
        known: &[(Kind, &'static str)],
        what: &str,
        place: &Place,
    ) -> Result<Kind, Problem> {
        if let Some((kind, _)) = known.iter().find(|(_, known)| *known == word) {
            return Ok(*kind);
        }
        let words = known.iter().map(|(_, word)| *word);
        let problem = self.at(place, "type", format!("unknown {what} type `{word}`"));
        Err(match nearest(word, words.clone()) {
            Some(near) => problem.cure(format!("did you mean `{near}`?")),
            None => problem.cure(format!("one of {}", words.collect::<Vec<_>>().join(", "))),
        })
    }

    fn habit(
        &mut self,
        document: &Document,
        name: String,
        raw: &RawHabit,
        place: &Place,
    ) -> Result<usize, Problem> {
        let kind = self.kind(&raw.r#type, Kind::HABITS, "habit", place)?;
        let parts = self.references(&raw.rules, place)?;
        for path in raw.group_by.iter().chain(&raw.field) {
            self.path(path, place)?;
        }
        let (timespan, habit) = habit::read(kind, raw).map_err(|(word, what)| self.at(place, word, what))?;
        let paths = |by: &String| GroupBy { name: by.clone(), paths: vec![by.clone(); parts.len()] };
        self.correlations.push(Correlation {
            name,
            title: document.title.clone(),
            kind,
            group_by: raw.group_by.iter().map(paths).collect(),
            parts,
            timespan,
            test: Test::Compare(Vec::new()),
            field: raw.field.clone(),
            percentile: 0,
            habit,
        });
        Ok(self.events.len() + self.correlations.len() - 1)
    }

    fn references(&self, rules: &[String], place: &Place) -> Result<Vec<usize>, Problem> {
        let mut parts = Vec::new();
        for name in rules {
            let Some(part) = self.number(name) else {
                return Err(self
                    .at(place, "rules", format!("no document above is named `{name}`"))
                    .cure("a correlation refers to documents of its own file that stand above it"));
            };
            if parts.contains(&part) {
                return Err(self.at(place, "rules", format!("`{name}` is named twice")));
            }
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(self.at(place, "rules", "a correlation needs at least one rule"));
        }
        Ok(parts)
    }

    /// Checks a path that a correlation or the metadata names.
    fn path(&mut self, path: &str, place: &Place) -> Result<(), Problem> {
        let line = self.line(place, path);
        for path in fields::parts_of(path) {
            if let Some(wrong) = fields::unknown(path) {
                let problem = Problem::at(self.file, line, wrong.what);
                return Err(match wrong.cure {
                    Some(cure) => problem.cure(cure),
                    None => problem,
                });
            }
        }
        if !fields::is_virtual(path) {
            self.paths.entry(path.to_owned()).or_insert(line);
        }
        Ok(())
    }

    /// A part that nothing leads to from the reported one was forgotten.
    fn all_used(&self, reported: usize, places: &[Place]) -> Result<(), Problem> {
        let mut used = vec![false; self.events.len() + self.correlations.len()];
        let mut open = vec![reported];
        while let Some(part) = open.pop() {
            let Some(seen) = used.get_mut(part) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            let correlation =
                part.checked_sub(self.events.len()).and_then(|place| self.correlations.get(place));
            open.extend(correlation.iter().flat_map(|correlation| &correlation.parts));
        }
        let names = self.events.iter().map(|part| &part.name);
        let names = names.chain(self.correlations.iter().map(|part| &part.name));
        match names.zip(&used).find(|(_, used)| !**used) {
            Some((name, _)) => {
                let whole = Place { first: 1, last: places.last().map_or(1, |place| place.last) };
                Err(self
                    .at(&whole, &format!(": {name}"), format!("`{name}` is not used by the reported rule"))
                    .cure("remove it, or give it a file of its own"))
            }
            None => Ok(()),
        }
    }

    fn finish(mut self, reported: usize, document: &Document, place: &Place) -> Result<Detection, Problem> {
        let Some(metadata) = &document.crmwarden else {
            return Err(Problem::file(self.file, "no `crmwarden:`"));
        };
        let Some(severity) = document.level.as_deref().and_then(severity) else {
            return Err(self.at(place, "crmwarden", "the reported rule needs a `level:`"));
        };
        let timespan = reported.checked_sub(self.events.len()).and_then(|place| self.correlations.get(place));
        let window_seconds = match (&metadata.window, timespan) {
            (Some(window), _) => duration::parse(window)
                .ok_or_else(|| self.at(place, "window", "not a duration").cure(duration::FORM))?,
            (None, Some(correlation)) if !correlation.kind.is_habit() => correlation.timespan.unsigned_abs(),
            (None, _) => 86_400,
        };
        if timespan.is_some() && metadata.group_by.is_some() {
            return Err(self.at(place, "group_by", "a correlation's key is its `group-by`"));
        }
        let group_by = metadata.group_by.clone().unwrap_or_else(|| vec!["system".into(), "actor".into()]);
        for path in group_by.iter().chain(&metadata.requires) {
            self.path(path, place)?;
        }
        if metadata.next.trim().is_empty() {
            return Err(self.at(place, "next", "`next` must say what to do"));
        }
        let id = metadata.id.clone().unwrap_or_else(|| stem(self.file).to_owned());
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if id.is_empty() || !id.bytes().all(word) {
            return Err(self.at(place, "id", format!("`{id}` is no rule id")).cure("a-z, 0-9 and _"));
        }
        let digest = super::digest(self.text);
        let line = self.line(place, "crmwarden");
        let rule = DetectionRule {
            id: format!("detection.{id}"),
            title: document.title.clone(),
            severity,
            controls: metadata.controls.clone(),
            next: metadata.next.trim().to_owned(),
            window_seconds,
            policy: digest.hex().chars().take(16).collect(),
            file: self.file.to_owned(),
            group_by,
            events: self.events,
            correlations: self.correlations,
            reported,
        };
        Ok(Detection {
            rule,
            requires: metadata.requires.clone(),
            paths: self.paths,
            examples: metadata.examples.clone(),
            counter_examples: metadata.counter_examples.clone(),
            line,
        })
    }
}

/// One `group-by` entry: a path for every part, through the alias where there is one.
fn group(by: &str, raw: &RawCorrelation) -> GroupBy {
    let alias = raw.aliases.get(by);
    let path =
        |rule: &String| alias.and_then(|mapping| mapping.get(rule)).map_or(by, String::as_str).to_owned();
    GroupBy { name: by.to_owned(), paths: raw.rules.iter().map(path).collect() }
}

fn severity(level: &str) -> Option<Severity> {
    Some(match level {
        "informational" => Severity::Info,
        other => Severity::parse(other).filter(|severity| *severity != Severity::Info)?,
    })
}

/// The file's name without folders and ending.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.strip_suffix(".yaml").or(name.strip_suffix(".yml")).unwrap_or(name)
}

/// Every path of [`Event::PATHS`], for messages.
pub(super) fn nearest_path(path: &str) -> Option<&'static str> {
    nearest(path, Event::PATHS.iter().copied())
}
