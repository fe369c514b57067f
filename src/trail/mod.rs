//! The trail: an append-only file of JSON lines that outsiders can verify with tools they already have.
//!
//! # Format
//!
//! ```text
//! state/trail/g1/segments/<20-digit index of first entry>.jsonl   entries, one a line
//! state/trail/g1/tree/0 1 2 …      hash i of tile level L at offset 32·i, full subtrees of 256^L leaves
//! state/trail/g1/checkpoint        newest C2SP signed note, replaced in one step
//! state/trail/g1/checkpoints/<20-digit size>   older ones
//! state/trail/g1/quarantine/<offset>-<sha256>.bin   bytes cut from a torn tail
//! state/trail/reserve              16 MiB, given up when the disk is full
//! state/trail/LOCK                 one writer
//! state/epoch/<n>.key              private key of the epoch
//! state/cache                      projections; may be deleted at any time
//! ```
//!
//! An entry is one line of at most 60 KiB (see [`entry`]); its leaf hash is
//! `SHA-256(0x00 ‖ line without newline)` over the stored bytes, and `prev` inside the line is the leaf
//! hash of the entry before. So the chain stands inside the leaves, and only the RFC 6962 tree over them is
//! proved ([`tree`]). A *group* is atomic and ends with a `commit` entry that holds the root over all
//! entries before it, the cursors that moved, and a signature of the epoch key. A group never spans
//! segments; a segment closes at 64 MiB or 24 h. A [`note::Checkpoint`] signed by the log key and the
//! epoch key acknowledges everything below its size.
//!
//! # Invariants
//!
//! 1. Nothing is acknowledged, shown or sent before a durable checkpoint covers its commit. The
//!    acknowledged mark is the size in the newest checkpoint; there is no second mark.
//! 2. Order of an append: space → write → fdatasync → read back and hash again → tiles → sign → checkpoint
//!    (temporary file, fsync, rename, fsync of the folder). What is signed is durable before.
//! 3. After any failed write or sync nothing more is written by this process. A sync is never retried.
//! 4. `t` never decreases. Indices are contiguous. One process writes (`LOCK`).
//! 5. The trail does not know what bodies mean. It knows its own kinds: `genesis`, `segment`, `commit`,
//!    `recovery`, `disk_full`, `state_cache`.
//!
//! # The medium
//!
//! Assumed: what fdatasync or fsync reported durable stays; a rename within a folder is atomic; after a
//! power loss sectors that were written and not synced may hold the old content, zeros or the new, in any
//! order. Not assumed: that a sync that failed may be repeated, or that lengths and data persist together.
//!
//! # Trust per file
//!
//! | file | who can modify it can |
//! |---|---|
//! | segments | be noticed: every byte below the signed size is under the root, every commit signed |
//! | checkpoint | roll back to an older signed state; noticed by whoever kept a newer one |
//! | tree, cache | cost time: both are checked against the signed root and rebuilt |
//! | quarantine | nothing: its digest stands in a `recovery` entry |
//! | epoch key | with the log key: write history from now on, in this process's name |

pub mod create;
pub mod detail;
pub mod disk;
pub mod entry;
pub mod keys;
pub mod note;
pub mod read;
pub mod recover;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod writer;

pub use entry::{Bodies, Entry};
pub use keys::Keys;
pub use writer::{Committed, Cursors, Trail};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Format version in `genesis` and `segment` entries.
pub const VERSION: u64 = 1;
/// A segment closes when the next group would make it longer.
pub const SEGMENT_MAX: u64 = 64 << 20;
/// A segment is left when less than this is free in it: a group never spans segments.
pub const SEGMENT_ROOM: u64 = 16 << 20;
/// A segment closes after so many seconds.
pub const SEGMENT_SECONDS: i64 = 24 * 3600;
/// Space kept for the last words on a full disk.
pub const RESERVE: u64 = 16 << 20;

/// Why the trail cannot go on.
#[derive(Debug)]
pub enum TrailError {
    /// The trail or its keys are damaged, cut, or not ours: nothing is repaired, exit 4.
    Refused {
        /// What is wrong and where.
        what: String,
        /// The verdict of `verify` that this corresponds to.
        verdict: &'static str,
    },
    /// Another process holds the lock, exit 3.
    Busy {
        /// Its pid, as it wrote it down.
        pid: String,
    },
    /// A configuration matter: permissions, deployment name, unreadable key, exit 78.
    Setup(String),
    /// No space is left; what could be said was said and signed, exit 3.
    DiskFull,
    /// A read, write or sync failed. After a write this process writes no more, exit 3.
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl TrailError {
    pub(crate) fn refused(what: impl Into<String>) -> TrailError {
        TrailError::Refused { what: what.into(), verdict: "tampered" }
    }
    pub(crate) fn rolled_back(what: impl Into<String>) -> TrailError {
        TrailError::Refused { what: what.into(), verdict: "rolled_back" }
    }
    pub(crate) fn setup(what: impl Into<String>) -> TrailError {
        TrailError::Setup(what.into())
    }
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> TrailError {
        TrailError::Io { what, path: path.to_owned(), source }
    }
}

impl fmt::Display for TrailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrailError::Refused { what, verdict } => write!(
                f,
                "the trail is not what this daemon signed ({verdict}): {what}. Nothing was changed. \
                 Run `crmwarden verify` for all damaged ranges and keep a copy before anything else"
            ),
            TrailError::Busy { pid } => write!(f, "another crmwarden (pid {pid}) is writing this trail"),
            TrailError::Setup(what) => f.write_str(what),
            TrailError::DiskFull => f.write_str(
                "no space is left on the trail's disk; the fact is recorded and signed. Free space, then start again",
            ),
            TrailError::Io { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for TrailError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrailError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where everything of one deployment lies.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The state folder.
    pub state: PathBuf,
    /// The long-lived keys.
    pub keys: PathBuf,
}

impl Paths {
    /// `trail/`.
    pub fn trail(&self) -> PathBuf {
        self.state.join("trail")
    }
    /// `trail/g<n>/`.
    pub fn generation(&self, number: u32) -> PathBuf {
        self.trail().join(format!("g{number}"))
    }
    /// `epoch/<n>.key`.
    pub fn epoch_key(&self, epoch: u32) -> PathBuf {
        self.state.join("epoch").join(format!("{epoch}.key"))
    }
    /// `cache`.
    pub fn cache(&self) -> PathBuf {
        self.state.join("cache")
    }
}

/// The origin of a deployment's generation.
pub fn origin(deployment: &str, generation: u32) -> String {
    format!("{deployment}/crmwarden/g{generation}")
}

/// The name of an epoch's key.
pub fn epoch_name(origin: &str, epoch: u32) -> String {
    format!("{origin}/epoch{epoch}")
}

/// `segments/<20-digit index>.jsonl`.
pub fn segment_name(first: u64) -> String {
    format!("{first:020}.jsonl")
}
