//! Findings that belong together, with a lifecycle, and the alerts they owe.

use super::Time;
use super::event::words;
use super::finding::Severity;
use serde::{Deserialize, Serialize};

words!(
    /// Where an incident stands (NIST SP 800-61 r3 as a CSF 2.0 profile, in the words auditors know).
    IncidentState {
        Detected = "detected", Triaged = "triaged", Contained = "contained", Eradicated = "eradicated",
        Recovered = "recovered", Closed = "closed", Reviewed = "reviewed", FalsePositive = "false_positive",
    }
);

/// A projection of the trail's `incident` and `finding` entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub owed: std::collections::BTreeMap<String, bool>,
    /// Index of the finding entry that caused it.
    pub finding: u64,
}
