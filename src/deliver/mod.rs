//! The edges that alerts leave by: files in a directory, e-mail over SMTP, HTTP to other programs, syslog.
//!
//! The outbox is a projection of the trail, so nothing here remembers anything over a restart: whatever
//! the trail does not show as delivered is owed, and is handed to a [`worker::Worker`] again. Delivery is
//! at least once; a repetition carries the same id (file name, `Message-ID`), so that it is recognised.
//!
//! Invariant: the text of an [`Outcome`] is ours. It names hosts, paths, recipients and reply codes of the
//! configuration and the protocol, and never a secret, a server's prose or text from a log.

pub mod alive;
pub mod collector;
pub mod directory;
pub mod email;
pub mod hook;
mod line;
pub mod message;
pub mod probe;
pub mod secret;
pub mod smtp;
mod tls;
pub mod worker;

pub use alive::Alive;
pub use collector::Collector;
pub use email::Email;
pub use hook::Hook;
pub use message::eml;
pub use worker::{Job, Report, Worker, spawn};

use std::path::PathBuf;

/// Where alerts go.
#[derive(Clone, Debug, PartialEq)]
pub enum Receiver {
    /// One `.eml` file an alert.
    Directory {
        /// The folder; created when it is missing.
        path: PathBuf,
    },
    /// E-mail over SMTP.
    Email(Email),
    /// An HTTP request.
    Hook(Hook),
    /// A syslog message.
    Collector(Collector),
}

/// What the writer knows of a receiver besides its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desk {
    /// Alerts an hour; more are one digest.
    pub per_hour: u64,
    /// Persons are left out of what it gets.
    pub hides_persons: bool,
    /// It keeps incidents open on its side, so it is told when one is acknowledged or over.
    pub tracks: bool,
    /// It forgets incidents that it is not reminded of.
    pub forgets: bool,
}

/// Alerts an hour where the configuration does not say.
pub const PER_HOUR: u64 = 60;

impl Default for Desk {
    fn default() -> Desk {
        Desk { per_hour: PER_HOUR, hides_persons: false, tracks: false, forgets: false }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It may work later without anybody's help.
    Retry {
        /// Why not now.
        why: String,
    },
    /// Somebody must mend something here; it is tried again all the same, so nothing is lost meanwhile.
    Misconfigured {
        /// What to mend.
        why: String,
    },
    /// The receiver refused this alert for good.
    Refused {
        /// Its reason.
        why: String,
    },
}

impl Outcome {
    /// The word for the metric's label and the trail.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retry { .. } => "retry",
            Outcome::Misconfigured { .. } => "misconfigured",
            Outcome::Refused { .. } => "refused",
        }
    }

    /// Every word of [`Outcome::as_str`].
    pub const WORDS: &'static [&'static str] = &["delivered", "retry", "misconfigured", "refused"];

    /// Whether nothing more will be tried.
    pub fn is_final(&self) -> bool {
        matches!(self, Outcome::Delivered | Outcome::Refused { .. })
    }

    /// Why it was not delivered.
    pub fn why(&self) -> Option<&str> {
        match self {
            Outcome::Delivered => None,
            Outcome::Retry { why } | Outcome::Misconfigured { why } | Outcome::Refused { why } => Some(why),
        }
    }
}
