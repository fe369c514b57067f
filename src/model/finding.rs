//! One rule's statement about one event, grant or window.

use super::Time;
use super::event::words;
use super::json::Object;
use serde::Deserialize;

words!(
    /// How bad.
    Severity { Info = "info", Low = "low", Medium = "medium", High = "high", Critical = "critical" }
);

words!(
    /// What kind of rule made it.
    FindingKind {
        /// Card and social-security numbers.
        Dlp = "dlp",
        /// Use outside of policy, over-grant, limits.
        Privilege = "privilege",
        /// Sigma rules.
        Behaviour = "behaviour",
        /// Bytes of a source that were lost before we could read them.
        Gap = "gap",
        /// The daemon about itself: a parser failed, a policy could not be loaded.
        Operation = "operation",
    }
);

/// A statement of a rule. Every string in it is written through the mask.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Rule id, e.g. `dlp.payment_card`.
    pub rule: String,
    /// Kind of rule.
    pub r#type: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// One line for people: what happened.
    pub title: String,
    /// More, where there is more to say: the field, the masked value, the numbers compared.
    pub detail: Option<String>,
    /// Event time of the newest event it is about.
    pub time: Time,
    /// Source name.
    pub source: Option<String>,
    /// Who, id.
    pub actor: Option<String>,
    /// Who, name.
    pub actor_name: Option<String>,
    /// Object type and record ids it is about.
    pub target: Option<String>,
    /// Where the raw record stands. Set by the pipeline from the event.
    pub locator: Option<String>,
    /// The field the value stands in, dotted path.
    pub field: Option<String>,
    /// Keyed fingerprint of the value, so that it is recognised elsewhere.
    pub fingerprint: Option<String>,
    /// Likelihood, for values.
    pub likelihood: Option<String>,
    /// Control ids, `pci-dss/3.5.1`.
    pub controls: Vec<String>,
    /// Findings with one rule and one key within the window belong to one incident.
    pub key: String,
    /// That window, seconds.
    pub window_seconds: u64,
    /// What to do next.
    pub next: String,
    /// Digest of the policy file the rule stands in (first 16 hex digits).
    pub policy: String,
    /// Entry indices of the events it is about. Set by the writer.
    pub about: Vec<u64>,
    /// How long the record was under way: `observed` minus `time`, seconds.
    pub delay_seconds: Option<u64>,
}

impl Default for Finding {
    fn default() -> Finding {
        Finding {
            rule: String::new(),
            r#type: FindingKind::Operation,
            severity: Severity::Info,
            title: String::new(),
            detail: None,
            time: Time::EPOCH,
            source: None,
            actor: None,
            actor_name: None,
            target: None,
            locator: None,
            field: None,
            fingerprint: None,
            likelihood: None,
            controls: Vec::new(),
            key: String::new(),
            window_seconds: 0,
            next: String::new(),
            policy: String::new(),
            about: Vec::new(),
            delay_seconds: None,
        }
    }
}

impl Finding {
    /// Writes the members of a `finding` entry.
    pub fn write(&self, out: &mut Object<'_>) {
        out.word("rule", &self.rule);
        out.word("type", self.r#type.as_str());
        out.word("severity", self.severity.as_str());
        out.str("title", &self.title);
        out.opt("detail", &self.detail);
        out.time("time", self.time);
        out.opt("source", &self.source);
        out.opt("actor", &self.actor);
        out.opt("actor_name", &self.actor_name);
        out.opt("target", &self.target);
        out.opt("locator", &self.locator);
        out.opt("field", &self.field);
        if let Some(fingerprint) = &self.fingerprint {
            out.word("fingerprint", fingerprint);
        }
        if let Some(likelihood) = &self.likelihood {
            out.word("likelihood", likelihood);
        }
        if !self.controls.is_empty() {
            out.list("controls", &self.controls);
        }
        out.str("key", &self.key);
        out.uint("window_seconds", self.window_seconds);
        out.str("next", &self.next);
        out.word("policy", &self.policy);
        out.uints("about", self.about.iter().copied());
        if let Some(delay) = self.delay_seconds {
            out.uint("delay_seconds", delay);
        }
    }
}
