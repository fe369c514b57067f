//! Control frameworks: which evidence answers which control, in our own words.
//!
//! A file in `policies/frameworks/` names a published standard and its version, and for each control what
//! it asks for (paraphrased), the rules that watch it, the evidence that the trail can give, and what only
//! a person can add. The file never says that a control is met: the report built from it states what was
//! measured, which exceptions were found, and what was not measured.
//!
//! Read strictly, like every file that people write: an unknown key or word is an error with its line.
//! One conversion leads from what was written to [`Framework`]; after it nothing is checked again.
//!
//! A rule pattern is a rule id (`access.dormant_account`) or a prefix with one `*` at its end
//! (`dlp.*`). A control is watched where *every* pattern of it has at least one rule in force.

use crate::model::event::{Action, ActorType, Category, Outcome, System};
use crate::model::finding::FindingKind;
use crate::yaml::{self, Problem};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The frameworks in force, for whoever must see the next ones, too.
pub type InForce = std::sync::Arc<std::sync::Mutex<Vec<Framework>>>;

/// A framework that can be reported on.
#[derive(Clone, Debug, PartialEq)]
pub struct Framework {
    /// The word for `--framework`, and the prefix of control ids in findings: `pci-dss`.
    pub id: String,
    /// The standard's name.
    pub title: String,
    /// The version of the standard that the control numbers come from.
    pub version: String,
    /// Who publishes the standard.
    pub publisher: String,
    /// How the file relates to the standard's text.
    pub about: String,
    /// The share of the period, in percent, that the daemon must have run for a control to count as measured.
    pub minimum_coverage: u8,
    /// Headings, in order.
    pub groups: Vec<Group>,
    /// Controls, in the file's order.
    pub controls: Vec<Control>,
    /// SHA-256 of the file's bytes, so that a reader can tell which mapping was used.
    pub digest: String,
}

/// A heading of the standard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What the ids of its controls begin with: `"7"`.
    pub id: String,
    /// Its name, in our words.
    pub title: String,
}

/// One control.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// The standard's number.
    pub id: String,
    /// A short name, in our words.
    pub title: String,
    /// What it asks for, in our words.
    pub asks: String,
    /// Rules that watch it. All must have been in force for the control to count as measured.
    pub rules: Vec<Pattern>,
    /// Kinds of findings that the daemon makes about itself and that belong to the control.
    pub finding_types: Vec<FindingKind>,
    /// Whether findings are exceptions (the usual case) or evidence that the watching works.
    pub findings: Findings,
    /// What the trail can show.
    pub evidence: Vec<Evidence>,
    /// What a person must add to this report.
    pub person: Vec<String>,
    /// Why the product cannot measure the control at all, where that is so.
    pub not_measured: Option<String>,
    /// Why it can be measured only in part, where that is so.
    pub in_part: Option<String>,
}

/// What the findings of a control's rules mean for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Findings {
    /// Each is an exception to the control.
    #[default]
    Exceptions,
    /// They show that the watching works.
    Evidence,
}

/// A rule id, or the beginning of rule ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// This rule.
    Exact(String),
    /// All rules whose ids begin so.
    Prefix(String),
}

impl Pattern {
    /// Reads `dlp.payment_card` or `dlp.*`.
    pub fn parse(text: &str) -> Option<Pattern> {
        let (body, prefix) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if body.is_empty() || !body.chars().all(letters) {
            return None;
        }
        Some(if prefix { Pattern::Prefix(body.to_owned()) } else { Pattern::Exact(body.to_owned()) })
    }

    /// Whether it means this rule.
    pub fn matches(&self, rule: &str) -> bool {
        match self {
            Pattern::Exact(id) => rule == id,
            Pattern::Prefix(prefix) => rule.starts_with(prefix.as_str()),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pattern::Exact(id) => f.write_str(id),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What it is, for people.
    pub title: String,
    /// What it means for the control when there is none in the period. Without it, none is fine.
    pub if_none: Option<String>,
    /// Where it comes from.
    pub from: From,
}

/// Where evidence comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// Events of the CRM that answer at least one of these questions.
    Events(Vec<EventQuery>),
    /// Entries of these kinds, by the daemon about itself.
    Entries(Vec<String>),
    /// Snapshots of who may do what.
    Snapshots,
    /// How many events carry each required detail.
    Completeness,
    /// Whether the trail is intact, signed and anchored.
    Integrity,
    /// Incidents opened and alerts sent.
    Alerts,
    /// Policies in force.
    Policies,
    /// How far back the trail reaches.
    Retention {
        /// Days that must be kept.
        keep_days: u32,
        /// Days that must be at hand at once.
        at_hand_days: u32,
    },
    /// Outages: of the daemon and of its sources.
    Health,
}

/// Conditions on one event: each list that is not empty must hold the event's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// Kind.
    pub category: Vec<Category>,
    /// Verb.
    pub action: Vec<Action>,
    /// How it ended.
    pub outcome: Vec<Outcome>,
    /// Kind of account that did it.
    pub actor_type: Vec<ActorType>,
    /// Product.
    pub system: Vec<System>,
}

impl EventQuery {
    fn is_empty(&self) -> bool {
        *self == EventQuery::default()
    }
}

/// Kinds of trail entries that evidence may ask for.
pub const ENTRY_KINDS: &[&str] = &[
    "start",
    "stop",
    "clock",
    "gap",
    "grants",
    "grant",
    "policy",
    "access",
    "operator",
    "recovery",
    "disk_full",
    "verification",
    "key.epoch",
    "erase",
    "prune",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFramework {
    framework: String,
    title: String,
    version: String,
    publisher: String,
    about: String,
    minimum_coverage: u8,
    groups: Vec<Group>,
    controls: Vec<RawControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawControl {
    id: String,
    title: String,
    asks: String,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    finding_types: Vec<FindingKind>,
    #[serde(default)]
    findings: Findings,
    #[serde(default)]
    evidence: Vec<RawEvidence>,
    #[serde(default)]
    person: Vec<String>,
    not_measured: Option<String>,
    in_part: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    title: String,
    if_none: Option<String>,
    events: Option<Vec<EventQuery>>,
    entries: Option<Vec<String>>,
    retention: Option<RawRetention>,
    trail: Option<Facet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    keep_days: u32,
    at_hand_days: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Facet {
    Snapshots,
    Completeness,
    Integrity,
    Alerts,
    Policies,
    Health,
}

impl Framework {
    /// Reads a framework file. `file` is only for errors.
    pub fn parse(file: &str, text: &str) -> Result<Framework, Problem> {
        let raw: RawFramework = yaml::parse(file, text)?;
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if raw.framework.is_empty() || !raw.framework.chars().all(word) {
            return Err(Problem::at(file, line_of(text, "framework:"), "`framework` is not a plain word")
                .cure("lower-case letters, digits and hyphens, as in `pci-dss`"));
        }
        if !(1..=100).contains(&raw.minimum_coverage) {
            return Err(Problem::at(
                file,
                line_of(text, "minimum_coverage:"),
                "`minimum_coverage` is a percentage",
            )
            .cure("write a whole number from 1 to 100"));
        }
        if raw.controls.is_empty() {
            return Err(Problem::file(file, "the framework has no controls"));
        }
        let mut seen = BTreeSet::new();
        let mut controls = Vec::with_capacity(raw.controls.len());
        for control in raw.controls {
            let line = line_of_id(text, &control.id);
            let at = |what: String| Problem::at(file, line, what);
            if !seen.insert(control.id.clone()) {
                return Err(at(format!("control {} stands here twice", control.id)));
            }
            if !raw.groups.iter().any(|group| belongs(&control.id, &group.id)) {
                return Err(at(format!("control {} belongs to no group", control.id))
                    .cure("add its heading to `groups`"));
            }
            controls.push(ready_control(control, &at)?);
        }
        Ok(Framework {
            id: raw.framework,
            title: raw.title,
            version: raw.version,
            publisher: raw.publisher,
            about: folded(&raw.about),
            minimum_coverage: raw.minimum_coverage,
            groups: raw.groups,
            controls,
            digest: crate::model::digest::hex(&Sha256::digest(text.as_bytes())),
        })
    }
}

/// Whether a control id stands under a heading: `7.2.1` under `7`, but not `71.1`.
pub fn belongs(control: &str, group: &str) -> bool {
    control.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn ready_control(raw: RawControl, at: &dyn Fn(String) -> Problem) -> Result<Control, Problem> {
    let mut rules = Vec::with_capacity(raw.rules.len());
    for text in &raw.rules {
        let Some(pattern) = Pattern::parse(text) else {
            return Err(at(format!("control {}: `{text}` is not a rule id", raw.id))
                .cure("write an id such as `dlp.payment_card`, or a prefix such as `dlp.*`"));
        };
        rules.push(pattern);
    }
    let answered = !rules.is_empty() || !raw.evidence.is_empty() || !raw.finding_types.is_empty();
    if !answered && raw.not_measured.is_none() {
        return Err(at(format!("control {} has neither rules nor evidence", raw.id))
            .cure("say in `not_measured` why the product cannot measure it"));
    }
    if raw.not_measured.is_some() && raw.person.is_empty() {
        return Err(at(format!("control {} is not measured and asks nothing of a person", raw.id))
            .cure("say in `person` what a person must add"));
    }
    let mut evidence = Vec::with_capacity(raw.evidence.len());
    for item in raw.evidence {
        evidence.push(ready_evidence(&raw.id, item, at)?);
    }
    Ok(Control {
        id: raw.id,
        title: raw.title,
        asks: folded(&raw.asks),
        rules,
        finding_types: raw.finding_types,
        findings: raw.findings,
        evidence,
        person: raw.person.iter().map(|text| folded(text)).collect(),
        not_measured: raw.not_measured.as_deref().map(folded),
        in_part: raw.in_part.as_deref().map(folded),
    })
}

fn ready_evidence(id: &str, raw: RawEvidence, at: &dyn Fn(String) -> Problem) -> Result<Evidence, Problem> {
    let named = usize::from(raw.events.is_some())
        + usize::from(raw.entries.is_some())
        + usize::from(raw.retention.is_some())
        + usize::from(raw.trail.is_some());
    if named != 1 {
        return Err(at(format!("control {id}: evidence `{}` names {named} places to come from", raw.title))
            .cure("name exactly one of `events`, `entries`, `retention`, `trail`"));
    }
    if let Some(queries) = &raw.events
        && (queries.is_empty() || queries.iter().any(EventQuery::is_empty))
    {
        return Err(at(format!("control {id}: evidence `{}` asks for every event", raw.title))
            .cure("name at least one category, action, outcome, actor_type or system in each item"));
    }
    if let Some(kinds) = &raw.entries {
        for kind in kinds {
            if !ENTRY_KINDS.contains(&kind.as_str()) {
                let problem = at(format!("control {id}: the trail has no entries of kind `{kind}`"));
                return Err(match yaml::nearest(kind, ENTRY_KINDS.iter().copied()) {
                    Some(known) => problem.cure(format!("did you mean `{known}`?")),
                    None => problem.cure(format!("known kinds here: {}", ENTRY_KINDS.join(", "))),
                });
            }
        }
    }
    let from = match (raw.events, raw.entries, raw.retention, raw.trail) {
        (Some(queries), ..) => From::Events(queries),
        (_, Some(kinds), ..) => From::Entries(kinds),
        (_, _, Some(days), _) => {
            From::Retention { keep_days: days.keep_days, at_hand_days: days.at_hand_days }
        }
        (.., Some(Facet::Snapshots)) => From::Snapshots,
        (.., Some(Facet::Completeness)) => From::Completeness,
        (.., Some(Facet::Alerts)) => From::Alerts,
        (.., Some(Facet::Policies)) => From::Policies,
        (.., Some(Facet::Health)) => From::Health,
        (.., Some(Facet::Integrity)) | (None, None, None, None) => From::Integrity,
    };
    Ok(Evidence { title: raw.title, if_none: raw.if_none.as_deref().map(folded), from })
}

/// One paragraph on one line: YAML's folded blocks leave a newline at their end.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line of a control's `id:`, for errors found after reading. 0 where it cannot be found.
fn line_of_id(text: &str, id: &str) -> u64 {
    let found = text.lines().position(|line| {
        let line = line.trim_start().trim_start_matches("- ").trim_start();
        line.strip_prefix("id:").is_some_and(|value| value.trim().trim_matches(['"', '\'']) == id)
    });
    found.map_or(0, |place| place as u64 + 1)
}

fn line_of(text: &str, key: &str) -> u64 {
    text.lines().position(|line| line.starts_with(key)).map_or(0, |place| place as u64 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const HEAD: &str = "framework: x\ntitle: X\nversion: v1\npublisher: P\nabout: A\nminimum_coverage: 99\n\
                        groups: [{ id: \"1\", title: One }]\ncontrols:\n";

    fn problem(controls: &str) -> String {
        match Framework::parse("x.yaml", &format!("{HEAD}{controls}")) {
            Ok(_) => "fine".into(),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn the_shipped_framework_reads_and_has_every_promised_control() {
        let text = include_str!("../../policies/frameworks/pci-dss.yaml");
        let framework = Framework::parse("pci-dss.yaml", text).unwrap();
        let ids: Vec<&str> = framework.controls.iter().map(|control| control.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "3.3.1", "3.5.1", "7.2.1", "7.2.2", "7.2.3", "7.2.4", "7.2.5", "8.2.5", "8.2.6", "8.6.1",
                "10.2.1.1", "10.2.1.2", "10.2.1.3", "10.2.1.4", "10.2.1.5", "10.2.1.6", "10.2.1.7", "10.2.2",
                "10.3.4", "10.4.1.1", "10.5.1", "10.7.2"
            ]
        );
        assert_eq!(framework.version, "v4.0.1");
        let text = text.to_lowercase();
        assert!(!text.contains("compliant") && !text.contains("certified"));
    }

    #[test]
    fn errors_name_line_and_cure() {
        assert_eq!(
            problem("  - id: \"2.1\"\n    title: T\n    asks: A\n    rules: [a.b]\n"),
            "x.yaml:9: control 2.1 belongs to no group (add its heading to `groups`)"
        );
        assert_eq!(
            problem("  - id: \"1.1\"\n    title: T\n    asks: A\n    rulez: [a.b]\n"),
            "x.yaml:12: unknown key `rulez` (did you mean `rules`?)"
        );
        assert!(
            problem("  - id: \"1.1\"\n    title: T\n    asks: A\n").contains("neither rules nor evidence")
        );
        assert!(
            problem("  - id: \"1.1\"\n    title: T\n    asks: A\n    rules: [\"a b\"]\n")
                .contains("not a rule id")
        );
        let evidence = "  - id: \"1.1\"\n    title: T\n    asks: A\n    evidence:\n";
        assert!(
            problem(&format!("{evidence}      - title: E\n        entries: [grent]\n"))
                .ends_with("(did you mean `grant`?)")
        );
        assert!(
            problem(&format!("{evidence}      - title: E\n        events: [{{}}]\n")).contains("every event")
        );
        assert!(
            problem(&format!("{evidence}      - title: E\n        events: [{{ category: [exprot] }}]\n"))
                .contains("unknown category `exprot`")
        );
        assert!(problem(&format!("{evidence}      - title: E\n")).contains("names 0 places"));
        assert_eq!(problem(&format!("{evidence}      - title: E\n        trail: health\n")), "fine");
    }

    #[test]
    fn patterns_match_whole_ids_or_prefixes() {
        assert!(Pattern::parse("dlp.*").unwrap().matches("dlp.payment_card"));
        assert!(!Pattern::parse("dlp.*").unwrap().matches("dlpx"));
        assert!(!Pattern::parse("dlp.card").unwrap().matches("dlp.card2"));
        assert_eq!(Pattern::parse("a*b"), None);
        assert!(belongs("7.2.1", "7") && !belongs("71.1", "7"));
    }
}
