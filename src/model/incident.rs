//! Findings that belong together, with a lifecycle, and the alerts they owe.

use super::Time;
use super::event::words;
use super::finding::{Finding, Severity};
use super::json::Object;
use serde::Deserialize;
use std::collections::BTreeMap;

words!(
    /// Where an incident stands (NIST SP 800-61 r3 as a CSF 2.0 profile, in the words auditors know).
    IncidentState {
        Detected = "detected", Triaged = "triaged", Contained = "contained", Eradicated = "eradicated",
        Recovered = "recovered", Closed = "closed", Reviewed = "reviewed", FalsePositive = "false_positive",
    }
);

/// A projection of the trail's `incident` and `finding` entries.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Incident {
    /// `INC-<index of the entry that opened it>`; unique within a trail generation.
    pub id: String,
    /// Where it stands.
    pub state: IncidentState,
    /// Highest severity of its findings.
    pub severity: Severity,
    /// Rule of its findings.
    pub rule: String,
    /// Grouping key.
    pub key: String,
    /// Title of the first finding.
    pub title: String,
    /// Event time of the first finding.
    pub first: Time,
    /// Event time of the newest finding.
    pub last: Time,
    /// Number of findings.
    pub findings: u64,
    /// Entry indices of the first findings, at most [`FINDINGS_KEPT`].
    pub about: Vec<u64>,
    /// Grouping window, seconds.
    pub window_seconds: u64,
}

/// Finding entries that an incident remembers by index; all of them name the incident in the trail.
pub const FINDINGS_KEPT: usize = 32;

words!(
    /// What became of an alert at one receiver.
    AlertState {
        /// To be sent.
        Owed = "owed",
        /// The first failure of an outage; still owed.
        Failing = "failing",
        Delivered = "delivered",
        /// Refused for good by the receiver.
        Dead = "dead",
    }
);

/// What is to be sent about an incident. Its id never changes, so a receiver can tell a repetition.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Alert {
    /// `ALR-<index of the entry that owes it>`.
    pub id: String,
    /// The incident.
    pub incident: String,
    /// Severity at that time.
    pub severity: Severity,
    /// `opened` or `escalated`.
    pub reason: String,
    /// When it was first owed.
    pub since: Time,
    /// Receivers that have not got it yet, with whether a failure was already recorded.
    pub owed: BTreeMap<String, bool>,
    /// The finding that caused it.
    pub finding: Finding,
}

impl Incident {
    /// Writes the members of a projection, for the cache.
    pub fn write(&self, out: &mut Object<'_>) {
        out.word("id", &self.id);
        out.word("state", self.state.as_str());
        out.word("severity", self.severity.as_str());
        out.word("rule", &self.rule);
        out.str("key", &self.key);
        out.str("title", &self.title);
        out.time("first", self.first);
        out.time("last", self.last);
        out.uint("findings", self.findings);
        out.uints("about", self.about.iter().copied());
        out.uint("window_seconds", self.window_seconds);
    }
}

impl Alert {
    /// Writes the members of a projection, for the cache.
    pub fn write(&self, out: &mut Object<'_>) {
        out.word("id", &self.id);
        out.word("incident", &self.incident);
        out.word("severity", self.severity.as_str());
        out.word("reason", &self.reason);
        out.time("since", self.since);
        out.object_always("owed", |out| {
            for (receiver, failing) in &self.owed {
                out.dynamic_bool(receiver, *failing);
            }
        });
        out.object("finding", |out| self.finding.write(out));
    }
}
