//! The trail: an append-only file of JSON lines that outsiders can verify with tools they already have.
//!
//! # Files
//!
//! ```text
//! state/trail/g<n>/segments/<20-digit index of first entry>.jsonl[.zst]   entries, one a line
//! state/trail/g<n>/tree/0 1 2 …      hash i of tile level L at offset 32·i, full subtrees of 256^L leaves
//! state/trail/g<n>/checkpoint        newest C2SP signed note, replaced in one step
//! state/trail/g<n>/checkpoints/<20-digit size>   older ones; cosignatures of witnesses follow our two signatures
//! state/trail/g<n>/checkpoints/<20-digit size>.stamped      the note as first written: what time stamps are over
//! state/trail/g<n>/checkpoints/<20-digit size>.<name>.tsr   RFC 3161 response of the authority of this name
//! state/trail/g<n>/quarantine/<offset>-<sha256>.bin   bytes cut from a torn tail
//! state/trail/g<n>/pruned.jsonl      what pruning leaves of the entries it removed
//! state/trail/.new/                  a generation that is being made
//! state/trail/reserve                16 MiB, given up when the disk is full
//! state/trail/LOCK                   one writer
//! state/epoch/<n>.key                private key of the epoch in force
//! state/cache                        projections; may be deleted at any time
//! state/grants/<digest>.jsonl.zst    rows of grants snapshots that entries name
//! keys/log.key report.key …          long-lived keys, outside of the state
//! ```
//!
//! # Entries
//!
//! One line of UTF-8 JSON of at most 60 KiB, ended by `\n` ([`entry`]):
//!
//! ```text
//! {"i":<index>,"prev":"<64 hex>","t":"<RFC 3339, six fraction digits, Z>","kind":"<kind>"[,members…]}
//! ```
//!
//! The leaf hash is `SHA-256(0x00 ‖ line without newline)` over the stored bytes; nothing is written again to
//! verify it. `prev` is the leaf hash of the entry before (64 zeros for entry 0). So the chain stands inside the
//! leaves, and only the RFC 6962 tree over them is proved ([`tree`]): there is one commitment, not two that
//! could disagree. What is too large for a line is split into entries with `part` and `of` in one group.
//!
//! A *group* is atomic and ends with a commit:
//!
//! ```text
//! {…,"kind":"commit","root":"<root over all entries before it>"[,"cursors":{…}],"sig":"<base64>"}
//! ```
//!
//! `sig` is the Ed25519 signature of the epoch key in force over `crmwarden/commit/v1\n<origin>\n` and the line's
//! bytes before `,"sig":`. It is not a checkpoint and never published as one: it lets a start tell our own
//! unsigned tail from somebody else's. A group never spans segments; a segment closes at 64 MiB or 24 h, and the
//! next begins with a group of `segment` entries that repeat all positions.
//!
//! Kinds that the trail itself knows: `genesis` (entry 0: format version, origin, keys, privacy, and for later
//! generations what they continue), `segment`, `commit`, `key.epoch` ([`epoch`]), `recovery` ([`recover`]),
//! `prune` ([`prune`]), `disk_full`, `stop`, `state_cache`, and of `operator` the holds. Other kinds are hashed
//! and not understood; unknown members are ignored. So every release verifies and resumes what earlier ones
//! wrote, and a fixture of each version in `tests/fixtures` shows it.
//!
//! # Checkpoints
//!
//! A C2SP signed note ([`note`]) of origin, size and root, signed by the log key (which witnesses know) and by
//! the epoch key that signed the commit before it. It counts only with both. Everything below the size of the
//! newest durable checkpoint is acknowledged; there is no other mark.
//!
//! # Invariants
//!
//! 1. Nothing is acknowledged, shown or sent before a durable checkpoint covers its commit.
//! 2. Order of an append: space → write → fdatasync → read back and hash again → tiles → sign → checkpoint
//!    (temporary file, fsync, rename, fsync of the folder). What is signed is durable before.
//! 3. After any failed write or sync nothing more is written by this process. A sync is never retried.
//! 4. `t` never decreases. Indices are contiguous. One process writes (`LOCK`).
//! 5. A key of an epoch that has ended is destroyed before the next commit, so who takes over this host later
//!    cannot sign for that time.
//! 6. No two histories are ever signed under one origin: what cannot be continued goes on as a new generation
//!    ([`generation`]).
//! 7. All reading and writing goes through one seam, [`disk::Disk`]. `tests/crash` puts a disk there that keeps
//!    any subset of what was not synced, ends the process at any call, and shows for each class of
//!    sync (a kind of file or folder, at start or at work) that leaving it out is noticed.
//!
//! # The medium
//!
//! Assumed: what fdatasync or fsync reported durable stays; a rename is atomic; after a power loss sectors that
//! were written and not synced may hold the old content, zeros or the new, in any order, and names in folders
//! likewise. Not assumed: that a sync that failed may be repeated, that lengths and data persist together, that
//! a new file's name is durable because its content is, or that an overwritten key leaves a flash medium.
//!
//! # Trust per file
//!
//! | file | trusted | who can modify it can |
//! |---|---|---|
//! | segments | no | be noticed: every byte below the signed size is under the root, every commit signed |
//! | checkpoint | no | roll back to an older signed state; noticed by whoever kept a newer one |
//! | checkpoints | no | remove evidence of older heads, or what anchors signed; not make any |
//! | pruned.jsonl | no | be noticed: its frontier must lead to the signed root, its lines are signed |
//! | tree | no | make proofs fail: what comes out of it is checked against a signed root |
//! | cache | no | cost time: it counts only if a signed entry names its digest |
//! | quarantine | no | nothing: its digest stands in a `recovery` entry |
//! | grants | no | be noticed: an entry names the digest of the rows |
//! | .new | no | stop a creation: it is finished only where entry 0 names the key in it |
//! | epoch key | yes | sign commits of this epoch; with the log key, write history from this epoch's start on |
//! | log key | yes | alone nothing: no head counts without the epoch key; with it, see above |
//! | matching, fingerprint keys | yes | link pseudonyms, fingerprints and digests of raw records to guessed values |

mod adopt;
mod cache;
pub mod create;
pub mod detail;
pub mod disk;
pub mod entry;
pub mod epoch;
pub mod generation;
pub mod keys;
pub mod note;
pub mod overlap;
pub mod pack;
pub mod proof;
pub mod prune;
pub mod publish;
pub mod quarter;
pub mod read;
pub mod recover;
mod scan;
mod tilefiles;
pub mod tiles;
pub mod timestamp;
pub mod tlog_policy;
pub mod tlog_proof;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod witness;
pub mod writer;

pub use entry::{Bodies, Entry};
pub use keys::Keys;
pub use writer::{Committed, Cursors, Trail};

use disk::Disk;
use note::Verifier;
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
    /// `trail/reserve`.
    pub fn reserve(&self) -> PathBuf {
        self.trail().join("reserve")
    }
    /// `grants/<digest>.jsonl.zst`.
    pub fn grants(&self, digest: &str) -> PathBuf {
        self.state.join("grants").join(format!("{digest}.jsonl.zst"))
    }
}

/// What entry 0 says. Members that a reader does not need are left out.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Genesis {
    /// Format version.
    pub v: u64,
    /// The trail's origin.
    pub origin: String,
    /// Vkey of the log key.
    pub log: String,
    /// Vkey of the first epoch's key.
    pub epoch: String,
    /// The report key as OpenSSH writes it.
    #[serde(default)]
    pub report: String,
    /// `plain` or `erasable`.
    #[serde(default)]
    pub privacy: String,
    /// Later generations: what they continue.
    pub previous: Option<generation::Previous>,
}

impl Genesis {
    /// Reads the line of entry 0.
    pub fn of_line(line: &[u8]) -> Option<Genesis> {
        let entry = Entry::parse(line).filter(|entry| entry.kind == "genesis" && entry.index == 0)?;
        serde_json::from_slice(&entry.object()).ok()
    }
}

/// The line of entry 0 of a generation: from its first segment, or from what pruning kept.
pub fn genesis_line(disk: &dyn Disk, folder: &Path) -> Result<Option<Vec<u8>>, TrailError> {
    if let Some(kept) = prune::Kept::read(disk, folder)? {
        return Ok(Some(kept.genesis));
    }
    let first = read::segments(disk, folder)?.into_iter().next();
    let Some(file) = first.filter(|file| file.first == 0) else { return Ok(None) };
    let mut lines = read::Lines::open(disk, &file, 0)?;
    let met = lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))?;
    Ok((met == read::Met::Line).then(|| lines.line().to_vec()))
}

/// The key of the first epoch.
fn first_epoch(disk: &dyn Disk, folder: &Path) -> Result<Verifier, TrailError> {
    let line = genesis_line(disk, folder)?.unwrap_or_default();
    Genesis::of_line(&line).and_then(|genesis| Verifier::parse(&genesis.epoch)).ok_or_else(|| {
        TrailError::refused(format!("{} has no entry 0 that names its keys", folder.display()))
    })
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
