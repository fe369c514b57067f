//! Anchors: copies and confirmations of signed checkpoints off this host, without which a whole older state
//! that is put back shows to nobody.
//!
//! | target | does | is worth |
//! |---|---|---|
//! | witness (c2sp.org/tlog-witness) | checks that the trail continues what it saw before, and cosigns | the only one that *refuses* a rolled-back or forked trail |
//! | time stamp (RFC 3161) | signs the digest of the checkpoint with its time | nothing can be dated back |
//! | syslog (RFC 5424 over UDP) | keeps the checkpoint's line | a known head, if the line arrived; nobody confirms it |
//!
//! One task a target, so that none waits for another, and none of them is ever waited for: the writer puts
//! the newest checkpoint into a watch channel, where the next one replaces it, and results come back as
//! messages. Only a hash, the trail's name and its size leave the host.
//!
//! Invariants: the text of a [`Fault`] is ours and never a server's; an answer counts only after it was
//! verified (cosignature, time stamp), so a server can give us nothing that our own verifier refuses; a
//! checkpoint is called anchored only after [`store`] made the proof durable.

pub mod http;
pub mod line;
pub mod store;
pub mod worker;

pub use store::Reached;
pub use worker::{Prover, Tools, spawn};

use crate::model::Time;
use crate::trail::disk::Disk;
use crate::trail::note::CosignerKey;
use crate::trail::timestamp::{Authorities, StampError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a checkpoint is anchored where the configuration does not say.
pub const EVERY: Duration = Duration::from_secs(600);
/// The name of the syslog target; no other may have it.
pub const SYSLOG: &str = "syslog";

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name: the witness's key name, the configured name of a time stamp authority, or [`SYSLOG`].
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of targets.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A witness.
    Witness {
        /// Its key.
        key: CosignerKey,
        /// Its submission prefix: `<url>/add-checkpoint`.
        url: http::Url,
    },
    /// A time stamp authority.
    Timestamp {
        /// Where requests are posted.
        url: http::Url,
        /// Whom a stamp must lead to.
        authorities: Authorities,
    },
    /// A syslog collector.
    Syslog {
        /// `host:port`.
        address: String,
    },
}

impl Target {
    /// Whether its answer proves that somebody has the checkpoint. A datagram has no answer.
    pub fn confirms(&self) -> bool {
        !matches!(self.kind, Kind::Syslog { .. })
    }
}

/// A signed, durable checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// The note as it was first written: the text and our two signatures.
    pub note: Arc<str>,
}

/// What a target gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A verified cosignature line, without its newline, and its time.
    Cosignature(String, Time),
    /// A verified time stamp response, and its time.
    Stamp(Vec<u8>, Time),
    /// It was sent; whether it arrived nobody says.
    Sent,
}

/// Why a target gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Unreachable,
    /// TLS failed: its certificate, or the protocol.
    Tls,
    /// Nothing within [`TIMEOUT`].
    Timeout,
    /// The connection broke, or it did not speak HTTP.
    Broken,
    /// The answer was longer than such answers are.
    TooLong,
    /// A status that says nothing more.
    Status(u16),
    /// The answer is not what the protocol says.
    Answer(&'static str),
    /// A time stamp that does not count.
    Stamp(StampError),
    /// The witness does not know this log.
    UnknownLog,
    /// The witness does not accept the checkpoint's signature.
    Refused,
    /// The witness has seen more entries of this log than there are.
    Ahead(u64),
    /// What the witness has seen is not the beginning of this trail.
    Contradicts,
    /// Our own side failed: the proof, the randomness, the disk.
    Ours(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreachable => f.write_str("it cannot be reached"),
            Fault::Tls => f.write_str("TLS failed; is its certificate known to this host?"),
            Fault::Timeout => write!(f, "it did not answer within {} s", TIMEOUT.as_secs()),
            Fault::Broken => f.write_str("the connection broke"),
            Fault::TooLong => f.write_str("its answer is too long"),
            Fault::Status(status) => write!(f, "it answered with status {status}"),
            Fault::Answer(what) => write!(f, "its answer does not count: {what}"),
            Fault::Stamp(error) => error.fmt(f),
            Fault::UnknownLog => f.write_str("it does not know this log; give it the log's key"),
            Fault::Refused => {
                f.write_str("it does not accept the log's signature; does it have the right key?")
            }
            Fault::Ahead(size) => write!(f, "it has seen {size} entries of this trail, more than there are"),
            Fault::Contradicts => f.write_str("what it has seen of this trail is not how this trail begins"),
            Fault::Ours(what) => write!(f, "{what} failed on this side"),
        }
    }
}

impl Fault {
    /// Whether it means that the trail was rolled back or forked, and not that a target is out of order.
    pub fn contradicts(&self) -> bool {
        matches!(self, Fault::Ahead(_) | Fault::Contradicts)
    }
}

/// What became of one attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// The target's name.
    pub target: String,
    /// The checkpoint.
    pub head: Head,
    /// What it gave.
    pub result: Result<Proof, Fault>,
}

/// The writer's side: hands the newest checkpoint over from time to time, and keeps what came back.
pub struct Anchoring {
    heads: watch::Sender<Option<Head>>,
    every: Duration,
    disk: Arc<dyn Disk>,
    last: Option<Instant>,
    targets: Vec<Target>,
    /// Targets that have not answered to the head offered last.
    waiting: BTreeSet<String>,
    /// Targets whose newest attempt failed, and whether one since the last success contradicted the trail.
    failing: BTreeMap<String, bool>,
    reached: BTreeMap<String, Reached>,
}

impl Anchoring {
    /// To these targets, one head every so often. `reached` is what they confirmed before this start.
    pub fn new(
        targets: Vec<Target>,
        every: Duration,
        disk: Arc<dyn Disk>,
        reached: BTreeMap<String, Reached>,
    ) -> Anchoring {
        let heads = watch::Sender::new(None);
        let (waiting, failing) = (BTreeSet::new(), BTreeMap::new());
        Anchoring { heads, every, disk, last: None, targets, waiting, failing, reached }
    }

    /// Where the tasks take heads from.
    pub fn subscribe(&self) -> watch::Receiver<Option<Head>> {
        self.heads.subscribe()
    }

    /// Hands a head over when it is time, or at once where it is the last. `true`: it was handed over.
    pub fn offer(&mut self, size: u64, note: &str, now: Instant, last: bool) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.every);
        let newer = self.heads.borrow().as_ref().is_none_or(|head| head.size < size);
        if !newer || !(due || last) {
            return false;
        }
        self.last = Some(now);
        self.waiting = self.targets.iter().map(|target| target.name.clone()).collect();
        self.heads.send_replace(Some(Head { size, note: note.into() }));
        true
    }

    /// Whether some target has not said anything yet to the head offered last.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Keeps what a target gave, durably, in the generation's folder.
    pub fn take(&mut self, folder: &Path, report: Report, now: Time) -> Taken {
        let Report { target, head, result } = report;
        if self.heads.borrow().as_ref().is_some_and(|newest| newest.size <= head.size) {
            self.waiting.remove(&target);
        }
        let kept = result.and_then(|proof| {
            store::store(&*self.disk, folder, &target, &head, &proof)
                .map_err(|_| Fault::Ours("writing the proof"))
                .map(|()| match proof {
                    Proof::Cosignature(_, time) | Proof::Stamp(_, time) => time,
                    Proof::Sent => now,
                })
        });
        match kept {
            Ok(time) => {
                let again = self.failing.remove(&target).is_some();
                self.reached.insert(target.clone(), Reached { size: head.size, time });
                Taken::Anchored { target, size: head.size, time, again }
            }
            Err(fault) => {
                let (before, now) = (self.failing.get(&target).copied(), fault.contradicts());
                let first = before.is_none_or(|contradicted| now && !contradicted);
                self.failing.insert(target.clone(), now || before == Some(true));
                Taken::Failed { target, size: head.size, fault, first }
            }
        }
    }

    /// How far each target has come.
    pub fn reached(&self) -> &BTreeMap<String, Reached> {
        &self.reached
    }

    /// The size up to which somebody off this host has confirmed the trail, and who.
    pub fn confirmed(&self) -> Option<(u64, &str)> {
        let confirming = self.targets.iter().filter(|target| target.confirms());
        let sizes =
            confirming.filter_map(|target| Some((self.reached.get(&target.name)?.size, &*target.name)));
        sizes.max_by_key(|(size, _)| *size)
    }
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The proof is durable.
    Anchored {
        /// The target.
        target: String,
        /// Number of entries.
        size: u64,
        /// When, by the target's clock.
        time: Time,
        /// Whether it failed before.
        again: bool,
    },
    /// There is none.
    Failed {
        /// The target.
        target: String,
        /// Number of entries.
        size: u64,
        /// Why.
        fault: Fault,
        /// Whether this is the first failure after a success, or the first that contradicts the trail.
        first: bool,
    },
}

#[cfg(test)]
mod tests;
