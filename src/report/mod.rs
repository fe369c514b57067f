//! Evidence reports: what the trail shows about the controls of a framework over a period, signed.
//!
//! A report states, control by control, the evidence, the exceptions, and what was not measured. It never
//! states that a control is met: that is an assessor's judgement, and a program that pronounced it would be
//! believed where it should be checked.
//!
//! ```text
//! entries ─▶ Collector (one pass, bounded memory) ─▶ Report (data) ─▶ report.json, report.html ─▶ signed bundle
//! ```
//!
//! Invariants:
//! * the trail is the only input about the deployment; times, host and keys enter as values;
//! * the same input gives the same bytes, signatures included (Ed25519 is deterministic, RFC 8032);
//! * every list names its question as a jq program, when it was put, how many entries it was put to, how many
//!   answered, how many are printed, and a digest over all that answered, so that the completeness of the
//!   report can be tested with `jq` and `sha256sum` alone;
//! * text from the trail is masked already; here it is made visible and escaped;
//! * the page holds no script and refers to nothing outside itself.

mod bundle;
mod collect;
mod coverage;
pub mod data;
mod entry;
mod evidence;
mod judge;
mod list;
mod make;
pub mod minisign;
mod page;
mod parts;
mod public;
mod query;
pub mod sshsig;
#[cfg(test)]
mod tests;

pub use bundle::File;
pub use collect::{Collector, Scope};
pub use entry::EntryView;
pub use list::{List, ROWS_KEPT, Row};
pub use make::{Made, Order, make};
pub use public::Public;

use crate::model::Time;
use ed25519_dalek::SigningKey;
use serde::Deserialize;
use serde_json::Value;

/// What the report must know besides the entries.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the report is made.
    pub generated: Time,
    /// The machine that makes it.
    pub host: String,
    /// Program and version: `crmwarden 0.1.0`.
    pub product: String,
    /// The trail's head and the verdict about it.
    pub trail: TrailFacts,
}

/// The trail's head and the verdict about it.
#[derive(Clone, Debug)]
pub struct TrailFacts {
    /// Origin of the newest generation.
    pub origin: String,
    /// Entries under the checkpoint; the collector must have been given exactly these.
    pub size: u64,
    /// Root hash, hexadecimal.
    pub root: String,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
    /// The log's verifier key.
    pub log_key: String,
    /// Time of entry 0: no signature of the report key is older.
    pub began: Time,
    /// What `verify` found.
    pub verdict: Verdict,
}

/// What `verify --json` says, read tolerantly.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The worst verdict.
    pub verdict: String,
    /// All that apply.
    pub verdicts: Vec<String>,
    /// Exit code.
    pub exit: i64,
    /// `pinned` or `unpinned`.
    pub trust: String,
    /// Up to where something outside the host knows the trail; `null` or 0 where nothing does.
    pub anchored_to: Value,
    /// Age or time of the oldest entry that nothing outside knows.
    pub oldest_unanchored: Value,
    /// Damaged ranges.
    pub damage: Vec<Damage>,
}

/// A damaged range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Damage {
    /// First entry.
    pub first: u64,
    /// Last entry.
    pub last: u64,
    /// File it stands in.
    pub file: String,
    /// What does not hold.
    pub why: String,
}

impl Damage {
    /// In words.
    pub fn text(&self) -> String {
        let file = entry::visible(&self.file);
        format!("Entries {} to {} in {file}: {}", self.first, self.last, entry::visible(&self.why))
    }
}

impl Verdict {
    /// The worst verdict, or that there was none.
    pub fn word(&self) -> &str {
        if self.verdict.is_empty() { "not verified" } else { &self.verdict }
    }

    /// Whether nothing was changed, lost or left unfinished without a signed reason.
    pub fn is_intact(&self) -> bool {
        matches!(self.verdict.as_str(), "ok" | "recovered" | "erased")
    }

    /// A verdict in words.
    pub fn meaning(word: &str) -> &'static str {
        match word {
            "ok" => "every entry is as it was signed",
            "recovered" => "every entry is as it was signed; an interrupted write was cut off and recorded",
            "tampered" => {
                "entries below a signed head do not give the signed root, or signatures do not hold"
            }
            "rolled_back" => "the trail is shorter than a head that was known before",
            "forked" => "another history exists under the same origin",
            "missing" => "a part of the trail is gone without a signed reason",
            "torn" => "the trail ends in an unfinished write",
            "erased" => "every entry is as it was signed; personal details were erased by signed entries",
            _ => "the trail was not verified before this report was made",
        }
    }

    /// Up to where something outside the host knows the trail.
    pub fn anchored(&self) -> Option<String> {
        if self.anchored_to.as_u64() == Some(0) { None } else { Verdict::said(&self.anchored_to) }
    }

    fn said(value: &Value) -> Option<String> {
        match value {
            Value::Null | Value::Bool(false) => None,
            Value::String(text) if text.is_empty() || text == "none" => None,
            Value::String(text) => Some(entry::visible(text)),
            Value::Number(number) => {
                Some(number.as_u64().map_or_else(|| number.to_string(), judge::thousands))
            }
            other => Some(entry::visible(&other.to_string())),
        }
    }
}

impl Collector {
    /// Closes the books: the report as data, and the files of the signed bundle in the order in which they
    /// should be written.
    pub fn finish(self, facts: Facts, key: &SigningKey) -> (data::Report, Vec<File>) {
        let public = key.verifying_key();
        let zone = self.scope.zone.clone();
        let groups = self.framework.groups.clone();
        let line = sshsig::public_key_line(&public, &self.scope.deployment);
        let began = facts.trail.began;
        let report = judge::Closed::new(self, facts).report(line, sshsig::fingerprint(&public));
        let files = bundle::files(&report, &groups, &zone, key, began);
        (report, files)
    }
}
