//! Findings that belong together, with a lifecycle, and the alerts they owe.

use super::Time;
use super::event::words;
use super::finding::{Finding, Severity};
use super::json::Object;
use serde::{Deserialize, Serialize};
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
    /// The source of its first finding.
    #[serde(default)]
    pub source: Option<String>,
    /// Who did it, id and name, as its first finding says.
    #[serde(default)]
    pub actor: Option<String>,
    /// The name.
    #[serde(default)]
    pub actor_name: Option<String>,
    /// When it was opened here, by the daemon's clock.
    #[serde(default)]
    pub opened: Option<Time>,
    /// Who works on it.
    #[serde(default)]
    pub assignee: Option<String>,
    /// Who has seen it, and until when that holds.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
    /// When those it concerns were last told that nobody acknowledged it.
    #[serde(default)]
    pub unanswered: Option<Time>,
    /// Deadlines of notifications that somebody started, by the clock's id.
    #[serde(default)]
    pub clocks: BTreeMap<String, Deadline>,
    /// What people did, oldest first, at most [`STEPS_KEPT`]; all of it is in the trail.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// Somebody has seen an incident.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When.
    pub at: Time,
    /// Until when it holds.
    pub until: Time,
}

/// A notification that is due.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Deadline {
    /// When it began, as somebody recorded: of awareness, of discovery.
    pub from: Time,
    /// When it is due; none where the law says "promptly".
    pub due: Option<Time>,
    /// The highest share of the time, in percent, at which somebody was warned.
    pub warned: u64,
    /// When somebody recorded that it is done.
    pub done: Option<Time>,
}

/// Something that a person, or the passing of time, did to an incident.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Step {
    /// When.
    pub at: Time,
    /// The transition's word.
    pub what: String,
    /// Who; absent where nobody did.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, or what there is to say.
    #[serde(default)]
    pub text: Option<String>,
}

/// Steps that an incident remembers.
pub const STEPS_KEPT: usize = 128;

/// Findings that match are recorded and open incidents as ever, and nobody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// `SIL-<index of its entry>`.
    pub id: String,
    /// What a rule's id begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Id or name of the actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Name of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Since when.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Alerts that were not owed because of it.
    #[serde(default)]
    pub silenced: u64,
}

impl Silence {
    /// Whether it is in force and covers the finding. What says that the trail itself is in danger is never silent.
    pub fn covers(&self, finding: &Finding, now: Time) -> bool {
        let is = |wanted: &Option<String>, known: &[Option<&String>]| {
            // In an erasable deployment one person has several pseudonyms, a line each.
            let one = |known: &&&String| {
                wanted.as_ref().is_some_and(|it| it.split('\n').any(|it| it == known.as_str()))
            };
            wanted.is_none() || known.iter().flatten().any(|known| one(&known))
        };
        now < self.until
            && !finding.rule.starts_with("operation.trail_")
            && self.rule.as_ref().is_none_or(|rule| finding.rule.starts_with(rule.as_str()))
            && is(&self.source, &[finding.source.as_ref()])
            && is(&self.actor, &[finding.actor.as_ref(), finding.actor_name.as_ref()])
    }

    /// Writes the members.
    pub fn write(&self, out: &mut Object<'_>) {
        out.word("id", &self.id);
        out.opt("rule", &self.rule);
        out.opt("actor", &self.actor);
        out.opt("source", &self.source);
        out.time("from", self.from);
        out.time("until", self.until);
        out.str("reason", &self.reason);
        out.str("by", &self.by);
        out.uint("silenced", self.silenced);
    }
}

/// Finding entries that an incident remembers by index; all of them name the incident in the trail.
pub const FINDINGS_KEPT: usize = 32;

words!(
    /// What became of an alert at one receiver.
    AlertState {
        /// To be sent.
        Owed = "owed",
        /// Covered by a silence: recorded, sent to nobody.
        Silenced = "silenced",
        /// The first failure of an outage; still owed.
        Failing = "failing",
        Delivered = "delivered",
        /// Refused for good by the receiver; it can be sent again.
        Dead = "dead",
        /// Somebody decided that a dead one is not sent again.
        Dropped = "dropped",
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
    /// Why: the word of a `Reason`.
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
        out.opt("source", &self.source);
        out.opt("actor", &self.actor);
        out.opt("actor_name", &self.actor_name);
        if let Some(opened) = self.opened {
            out.time("opened", opened);
        }
        out.opt("assignee", &self.assignee);
        if let Some(acknowledged) = &self.acknowledged {
            out.object("acknowledged", |out| {
                out.str("by", &acknowledged.by);
                out.time("at", acknowledged.at);
                out.time("until", acknowledged.until);
            });
        }
        if let Some(unanswered) = self.unanswered {
            out.time("unanswered", unanswered);
        }
        if !self.clocks.is_empty() {
            out.object("clocks", |out| {
                self.clocks.iter().for_each(|(id, clock)| out.dynamic_object(id, |out| clock.write(out)));
            });
        }
        if !self.steps.is_empty() {
            out.objects("steps", &self.steps, |step, out| step.write(out));
        }
    }

    /// Whether work on it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state, IncidentState::Closed | IncidentState::Reviewed | IncidentState::FalsePositive)
    }
}

impl Deadline {
    fn write(&self, out: &mut Object<'_>) {
        out.time("from", self.from);
        if let Some(due) = self.due {
            out.time("due", due);
        }
        out.uint("warned", self.warned);
        if let Some(done) = self.done {
            out.time("done", done);
        }
    }

    /// The share of the time that is gone, in percent; nothing where no time is named.
    pub fn gone(&self, now: Time) -> Option<u64> {
        let all = self.due?.micros().saturating_sub(self.from.micros()).max(1);
        let gone = now.micros().saturating_sub(self.from.micros()).max(0);
        u64::try_from(i128::from(gone) * 100 / i128::from(all)).ok()
    }
}

impl Step {
    fn write(&self, out: &mut Object<'_>) {
        out.time("at", self.at);
        out.word("what", &self.what);
        out.opt("by", &self.by);
        out.opt("text", &self.text);
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
