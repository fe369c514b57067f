//! What an alert says and who gets it: values and pure functions, no I/O, no clock.
//!
//! A [`Notice`] holds everything that an alert shows. [`render`] turns it into a subject line, plain text
//! and HTML; [`route`] names the receivers. Sending is the business of `deliver`.
//!
//! Invariants:
//! * the same notice always renders to the same bytes, so that a repetition is recognised as one;
//! * text that came from a log cannot leave its place: see [`text`] for what is done to it.

pub mod payload;
pub mod render;
pub mod route;
pub mod text;

#[cfg(test)]
mod tests;

use crate::model::event::words;
use crate::model::{Severity, Time};

words!(
    /// Why an alert is owed.
    Reason {
        /// The incident is new.
        Opened = "opened",
        /// Its severity rose.
        Escalated = "escalated",
        /// Nobody acknowledged it in time.
        Unanswered = "unanswered",
        /// A notification comes due.
        Deadline = "deadline",
        /// Somebody has seen it: for receivers that keep it open on their side.
        Acknowledged = "acknowledged",
        /// It is over, for the same.
        Closed = "closed",
        /// Alerts that were held back.
        Digest = "digest",
        /// A fire drill.
        Test = "test",
    }
);

/// How far the trail's head, at the time of the alert, was known outside of this host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Anchor {
    /// Nobody outside has seen this head: whoever holds the host and its keys could still rewrite it.
    #[default]
    Unanchored,
    /// A witness or a time stamp covers the trail up to and including this many entries.
    Anchored {
        /// Entries that are covered.
        size: u64,
        /// Who says so: the name of a witness or of a time stamping authority.
        by: String,
    },
}

/// Everything that an alert shows. Every text in it has passed the mask before.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The deployment's name; it is also the right-hand side of the message's id.
    pub deployment: String,
    /// Generation of the trail. Ids restart at zero in a new one, so it is part of the message's id.
    pub generation: u64,
    /// `ALR-<index>`.
    pub alert: String,
    /// `INC-<index>`.
    pub incident: String,
    /// How bad.
    pub severity: Severity,
    /// Why now.
    pub reason: Reason,
    /// What happened, one line.
    pub title: String,
    /// What happened, in more words.
    pub detail: Option<String>,
    /// Who, id.
    pub actor: Option<String>,
    /// Who, name.
    pub actor_name: Option<String>,
    /// Which records: the configured source they came from.
    pub source: Option<String>,
    /// Which records: object type and ids in the CRM.
    pub target: Option<String>,
    /// The field that the value stands in.
    pub field: Option<String>,
    /// Which records: where their raw bytes stand (file and offset, topic and sequence).
    pub locators: Vec<String>,
    /// Which records: indices of their entries in the trail.
    pub entries: Vec<u64>,
    /// Rule id.
    pub rule: String,
    /// Digest of the policy file that holds the rule (first 16 hexadecimal digits).
    pub policy: String,
    /// Controls of frameworks that are touched, `pci-dss/3.5.1`.
    pub controls: Vec<String>,
    /// What to do next.
    pub next: String,
    /// Where it is written down what to do about this rule's findings.
    pub runbook: Option<String>,
    /// When it happened, as the CRM says.
    pub event_time: Time,
    /// When the record reached us.
    pub observed: Time,
    /// The feed's own delay; `None` where the record has no time of its own.
    pub delay_seconds: Option<u64>,
    /// Findings in the incident so far.
    pub findings: u64,
    /// The newest signed checkpoint that covers the entries: a C2SP signed note, verbatim.
    pub checkpoint: Option<String>,
    /// Whether somebody outside has seen that head.
    pub anchor: Anchor,
    /// Commands that verify the trail, one each, ready to be copied.
    pub verify: Vec<String>,
    /// The host that the daemon runs on.
    pub host: String,
}

impl Default for Notice {
    fn default() -> Notice {
        Notice {
            deployment: String::new(),
            generation: 1,
            alert: String::new(),
            incident: String::new(),
            severity: Severity::Info,
            reason: Reason::Opened,
            title: String::new(),
            detail: None,
            actor: None,
            actor_name: None,
            source: None,
            target: None,
            field: None,
            locators: Vec::new(),
            entries: Vec::new(),
            rule: String::new(),
            policy: String::new(),
            controls: Vec::new(),
            next: String::new(),
            runbook: None,
            event_time: Time::EPOCH,
            observed: Time::EPOCH,
            delay_seconds: None,
            findings: 1,
            checkpoint: None,
            anchor: Anchor::Unanchored,
            verify: Vec::new(),
            host: String::new(),
        }
    }
}

impl Notice {
    /// The alert's id, unique over all generations of the trail: the stem of its file and of its message id.
    pub fn stem(&self) -> String {
        self.scoped(&self.alert)
    }

    /// The incident's id, unique over all generations of the trail: the thread of its messages.
    pub fn thread(&self) -> String {
        self.scoped(&self.incident)
    }

    fn scoped(&self, id: &str) -> String {
        let mut stem = text::atom(id);
        if self.generation > 1 {
            stem.push_str(&format!(".g{}", self.generation));
        }
        stem
    }
}
