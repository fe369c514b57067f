//! How a file source is told to read, and what it returns.

use crate::model::Key;
use crate::model::record::{Encoding, Framing};
use crate::source::{Batch, Notice};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Where the files are and how they are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source's name.
    pub name: String,
    /// Path patterns, see [`glob`].
    pub paths: Vec<String>,
    /// How bytes fall into records.
    pub framing: Framing,
    /// How bytes encode text, unless a byte order mark says otherwise.
    pub encoding: Encoding,
    /// Where to start with files that are there at the first start.
    pub start_at: StartAt,
    /// Longer records (raw bytes) are kept only in part.
    pub max_record: usize,
    /// Bytes read from one file in one turn.
    pub read_size: usize,
    /// Files of this source that are open at a time.
    pub open_files: usize,
    /// Files and folders that are never read: our own state, the outboxes.
    pub exclude: Vec<PathBuf>,
    /// Where packed files are unpacked; without it they are named and not read.
    pub scratch: Option<PathBuf>,
    /// Files are delivered whole.
    pub whole: bool,
    /// The key of file identity; it is not rotated.
    pub matching_key: Key,
    /// The key of [`RawRecord::raw_mac`](super::RawRecord::raw_mac).
    pub raw_key: Key,
}

/// Where to start with files that are there at the very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartAt {
    /// Read them from their beginning.
    #[default]
    Beginning,
    /// Only what is added from now on.
    End,
}

/// How far a poll goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The daemon: files grow, the last incomplete record waits.
    Follow,
    /// To the end that files have when they are first looked at; the last incomplete record stays.
    Once,
    /// As once, and the last incomplete record is taken with the defect `unterminated`.
    Final,
}

/// Why a source cannot be made.
#[derive(Debug)]
pub struct Error(pub(super) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What a poll returned.
#[derive(Debug, Default)]
pub struct Polled {
    /// Batches; those of one stream in order.
    pub batches: Vec<Batch>,
    /// Nothing is left to read now: wait before polling again. In `Once` and `Final`, done.
    pub idle: bool,
    /// What concerns no stream.
    pub notices: Vec<Notice>,
}

/// How far behind the source is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Known bytes not handed out.
    pub bytes: u64,
    /// Files that have some.
    pub files: u64,
    /// When the least recently written of these files was written.
    pub oldest_unread: Option<SystemTime>,
}

/// An incomplete record at a file's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The file.
    pub file: Arc<str>,
    /// Where the record starts.
    pub offset: u64,
    /// How much of it is there.
    pub bytes: u64,
}
