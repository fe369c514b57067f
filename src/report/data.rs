//! The report as data: what `report.json` holds, and all that the page is drawn from.
//!
//! Names are stable; order is that of the declarations; lists stand in the framework's or the trail's order,
//! maps by name. Times are RFC 3339 in UTC. Every non-integer number is a string. The same trail, period,
//! framework and time of making give the same bytes.

use super::list::List;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name and version of the form of `report.json`.
pub const FORM: &str = "crmwarden-evidence/1";

/// A whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`FORM`].
    pub report: &'static str,
    /// Program and version that made it.
    pub product: String,
    /// The deployment that it is about.
    pub deployment: String,
    /// The machine that made it.
    pub host: String,
    /// When it was made.
    pub generated: String,
    /// The period.
    pub period: Period,
    /// The framework.
    pub framework: FrameworkData,
    /// How many controls stand in each state.
    pub summary: Summary,
    /// The trail that it was read from.
    pub trail: TrailData,
    /// When the daemon ran.
    pub coverage: CoverageData,
    /// Sources that the trail knows, with their events of the period.
    pub sources: Vec<SourceData>,
    /// Policies in force in the period, oldest first.
    pub policies: Vec<PolicyData>,
    /// What was counted.
    pub counts: Counts,
    /// Controls, in the framework's order.
    pub controls: Vec<ControlData>,
}

/// The period, half-open.
#[derive(Clone, Debug, Serialize)]
pub struct Period {
    /// First instant.
    pub from: String,
    /// First instant after it.
    pub to: String,
    /// Time zone of the page; the data is in UTC.
    pub zone: String,
    /// Length.
    pub seconds: i64,
}

/// Which mapping of controls was used.
#[derive(Clone, Debug, Serialize)]
pub struct FrameworkData {
    /// `pci-dss`.
    pub id: String,
    /// Name of the standard.
    pub title: String,
    /// Its version.
    pub version: String,
    /// Who publishes it.
    pub publisher: String,
    /// How the mapping relates to the standard's text.
    pub about: String,
    /// SHA-256 of the mapping file.
    pub file_digest: String,
    /// Percent of the period that the daemon must have run for a control to count as measured.
    pub minimum_coverage_percent: u8,
}

/// Controls by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All of them.
    pub controls: u64,
    /// Measured, no exceptions.
    pub measured_no_exceptions: u64,
    /// Measured, with exceptions.
    pub measured_with_exceptions: u64,
    /// Partly measured.
    pub partly_measured: u64,
    /// Not measured.
    pub not_measured: u64,
    /// Exceptions over all controls.
    pub exceptions: u64,
}

/// The trail's head, keys and verdict.
#[derive(Clone, Debug, Serialize)]
pub struct TrailData {
    /// Origin.
    pub origin: String,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Root hash, hexadecimal.
    pub root: String,
    /// The signed note.
    pub checkpoint: String,
    /// Verifier key of the log.
    pub log_key: String,
    /// The SSH key that signed the report, one line.
    pub report_key: String,
    /// Its fingerprint.
    pub report_key_fingerprint: String,
    /// Worst verdict.
    pub verdict: String,
    /// All verdicts that apply.
    pub verdicts: Vec<String>,
    /// Exit code of the verification.
    pub exit: i64,
    /// `pinned` or `unpinned`.
    pub trust: String,
    /// Up to where a witness or anchor outside the host knows the trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchored_to: Option<String>,
    /// Age or time of the oldest entry that nothing outside knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unanchored: Option<String>,
    /// Damaged ranges.
    pub damage: Vec<String>,
}

/// When the daemon ran.
#[derive(Clone, Debug, Serialize)]
pub struct CoverageData {
    /// Seconds of the period that it ran.
    pub running_seconds: i64,
    /// The same as a share, rounded down.
    pub percent: String,
    /// Runs, at most 200 named.
    pub runs: Vec<StretchData>,
    /// Number of gaps.
    pub gap_count: u64,
    /// Gaps, at most 200 named.
    pub gaps: Vec<GapData>,
}

/// A stretch of time.
#[derive(Clone, Debug, Serialize)]
pub struct StretchData {
    /// Start.
    pub from: String,
    /// End.
    pub to: String,
}

/// A stretch without the daemon.
#[derive(Clone, Debug, Serialize)]
pub struct GapData {
    /// Start.
    pub from: String,
    /// End.
    pub to: String,
    /// Length.
    pub seconds: i64,
    /// Why, as far as the trail tells.
    pub cause: &'static str,
    /// Whether nobody ordered it.
    pub failure: bool,
}

/// One source over the period.
#[derive(Clone, Debug, Serialize)]
pub struct SourceData {
    /// Configured name.
    pub name: String,
    /// Product.
    pub system: String,
    /// Formats that read it, without event types.
    pub feeds: Vec<String>,
    /// Events of the period.
    pub events: u64,
    /// Of them, with defects.
    pub with_defects: u64,
    /// Of them, read while rules were in force.
    pub read_under_rules: u64,
    /// Time of the first event.
    pub first: String,
    /// Time of the last event.
    pub last: String,
    /// The longest time within the period without an event.
    pub longest_silence: StretchData,
    /// Its length.
    pub longest_silence_seconds: i64,
    /// Longest time from an event to its reading.
    pub longest_delay_seconds: i64,
    /// Share of events with each required detail.
    pub completeness: BTreeMap<&'static str, String>,
    /// Events in equal parts of the period.
    pub histogram: Vec<u64>,
}

/// One version of the policies.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyData {
    /// Index of the entry.
    pub entry: u64,
    /// Since when.
    pub since: String,
    /// Digest over all files.
    pub digest: String,
    /// Number of rules.
    pub rules: u64,
    /// Files with their digests.
    pub files: Vec<String>,
}

/// What was counted.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    /// Entries read, by kind.
    pub entries: BTreeMap<String, u64>,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// Generations of the trail.
    pub generations: u64,
    /// Events of the period.
    pub events: u64,
    /// Events written in the period about another time.
    pub events_about_other_times: u64,
    /// Findings of the period.
    pub findings: u64,
    /// Findings of the period by severity.
    pub findings_by_severity: BTreeMap<String, u64>,
    /// Incidents opened in the period.
    pub incidents_opened: u64,
}

/// How far a control was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All its rules ran over the period and found nothing.
    MeasuredNoExceptions,
    /// All its rules ran over the period and found something.
    MeasuredWithExceptions,
    /// Something is missing.
    PartlyMeasured,
    /// The product did not or cannot measure it.
    NotMeasured,
}

/// One control.
#[derive(Clone, Debug, Serialize)]
pub struct ControlData {
    /// The standard's number.
    pub id: String,
    /// Short name.
    pub title: String,
    /// What it asks for.
    pub asks: String,
    /// How far it was measured.
    pub state: State,
    /// The same in words.
    pub state_text: String,
    /// Number of exceptions.
    pub exceptions: u64,
    /// Why it is partly measured or not measured.
    pub not_measured: Vec<String>,
    /// How much of the period its rules were in force; absent where its evidence is the trail as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Covered>,
    /// The rules that watch it.
    pub rules: Vec<RuleData>,
    /// Evidence.
    pub evidence: Vec<EvidenceData>,
    /// Findings of its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<List>,
    /// Whether those findings count as exceptions.
    pub findings_are_exceptions: bool,
    /// Exceptions that are not findings.
    pub other_exceptions: Vec<String>,
    /// What a person must add.
    pub person: Vec<String>,
}

/// A part of the period.
#[derive(Clone, Debug, Serialize)]
pub struct Covered {
    /// Its length.
    pub seconds: i64,
    /// Its share, rounded down.
    pub percent: String,
}

/// A rule pattern over the period.
#[derive(Clone, Debug, Serialize)]
pub struct RuleData {
    /// The pattern of the framework file.
    pub pattern: String,
    /// Rules in force under it.
    pub rules: Vec<String>,
    /// Seconds of the period in force while the daemon ran.
    pub in_force_seconds: i64,
    /// The same as a share of the time that the daemon ran.
    pub percent_of_running: String,
    /// Events of the period that were read while it was in force.
    pub events: u64,
}

/// One piece of evidence.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EvidenceData {
    /// What it is.
    pub title: String,
    /// Facts, each a name and a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// A table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// A list of trail entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<List>,
}

/// A fact.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// What.
    pub name: &'static str,
    /// How much.
    pub value: String,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Headings.
    pub columns: Vec<&'static str>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
}
