//! Edges where records come in: what a read returns, and what a source has to say about itself.
//!
//! * A [`Batch`] holds records of **one stream** (one file in one generation, one topic) in their order,
//!   with the position after them. Who commits the batch commits [`Batch::after`] in the same group of
//!   entries, so a record enters the trail once per position. A batch may hold no record at all: then it
//!   only moves the position or carries notices.
//! * [`Batch::retired`] names streams whose positions are no longer needed. They are forgotten in the
//!   same commit, after [`Batch::after`] was noted (a batch may retire its own stream); a stream that took another's place and the end of the old one are one step.
//! * A [`Notice`] is a decision about identity or a loss. It belongs into the trail, because an auditor
//!   must be able to see what the source knew when it read on, started over, or gave up.
//!
//! * A [`Receipt`] tells who brought the records that a signed checkpoint covers them. Sources that read
//!   (files) need none: their position is enough.
//!
//! A batch owns its memory and can be sent to another thread.
//!
//! Two kinds of source: [`file`] reads what lies there; everything else brings records to an [`inbox`], from
//! a thread or task of its own ([`push`], [`syslog`], [`exec`] and standard input, [`nats`]).

pub mod exec;
pub mod file;
pub mod inbox;
pub mod nats;
pub mod push;
pub mod syslog;

mod cutter;
mod frame;
mod letters;
mod text;

use crate::model::event::DefectCode;
use crate::model::{Hash, Key};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Domain of the keyed digest of a record's raw bytes.
pub const RAW_DOMAIN: &str = "crmwarden/raw";

/// What one read of one stream returned.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The source's configured name.
    pub source: Arc<str>,
    /// The stream's stable id: lower-case letters and `-`, no digits, so that no mask can mistake it.
    pub stream: String,
    /// Where the records were found, for locators. It may change under a stream (rotation).
    pub file: Arc<str>,
    /// The CSV header's names.
    pub header: Option<Arc<[String]>>,
    /// The records' text; [`RawRecord`] points into it.
    pub text: String,
    /// The records, by ascending offset.
    pub records: Vec<RawRecord>,
    /// Empty lines passed over: they are no records.
    pub blank: u64,
    /// The key behind every [`RawRecord::raw_mac`] that is present: the one of the quarter that the batch was
    /// read in. Whoever makes the digests and fingerprints that are still missing uses the same.
    pub raw_key: Key,
    /// The stream's position after this batch. Opaque to everyone but the source.
    pub after: Value,
    /// Bytes of the stream that the position moved over.
    pub bytes_read: u64,
    /// Streams whose positions are to be forgotten with this batch.
    pub retired: Vec<String>,
    /// What is to be recorded together with this batch, before its records.
    pub notices: Vec<Notice>,
    /// Whom to tell when a signed checkpoint covers it.
    pub receipt: Option<Receipt>,
}

/// Tells who brought records that they are durable and signed. Dropped untold, it says that they may not be.
#[derive(Clone, Debug)]
pub struct Receipt {
    to: tokio::sync::mpsc::UnboundedSender<Received>,
    number: u64,
}

/// A receipt that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The number that the receipt was made with.
    pub number: u64,
    /// Entries that the checkpoint covers.
    pub size: u64,
}

impl Receipt {
    /// A receipt with a number of its maker's. The channel holds at most one message a batch under way.
    pub fn new(to: &tokio::sync::mpsc::UnboundedSender<Received>, number: u64) -> Receipt {
        Receipt { to: to.clone(), number }
    }

    /// The checkpoint over so many entries is durable.
    pub fn give(self, size: u64) {
        // Who does not wait any more (a client that hung up) needs no answer.
        let _ = self.to.send(Received { number: self.number, size });
    }
}

/// One configured source.
pub enum Source {
    /// It reads files.
    File(Box<file::FileSource>),
    /// Records are brought to it.
    Inbox(inbox::Inbox),
}

impl Source {
    /// Reads on, about as many bytes as the budget allows.
    pub fn poll(&mut self, mode: file::Mode, budget: u64) -> file::Polled {
        match self {
            Source::File(source) => source.poll(mode, budget),
            Source::Inbox(inbox) => inbox.poll(mode, budget),
        }
    }

    /// Uses another key for the digests of raw bytes from now on.
    pub fn set_raw_key(&mut self, key: Key) {
        match self {
            Source::File(source) => source.set_raw_key(key),
            Source::Inbox(inbox) => inbox.set_raw_key(key),
        }
    }

    /// Folders to be watched for hints.
    pub fn folders(&self) -> &[std::path::PathBuf] {
        match self {
            Source::File(source) => source.folders(),
            Source::Inbox(_) => &[],
        }
    }

    /// How far behind it is, as far as is known here.
    pub fn lag(&self) -> file::Lag {
        match self {
            Source::File(source) => source.lag(),
            Source::Inbox(inbox) => inbox.lag(),
        }
    }

    /// Incomplete records at the ends of files.
    pub fn rest(&self) -> Vec<file::Rest> {
        match self {
            Source::File(source) => source.rest(),
            Source::Inbox(_) => Vec::new(),
        }
    }
}

impl Batch {
    /// The text of one of this batch's records.
    pub fn text_of(&self, record: &RawRecord) -> &str {
        self.text.get(record.start..record.end).unwrap_or_default()
    }
}

/// One record inside a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RawRecord {
    /// Where its text starts in [`Batch::text`].
    pub start: usize,
    /// Where its text ends; the terminator is not part of it.
    pub end: usize,
    /// Where it starts in its stream, in raw bytes.
    pub offset: u64,
    /// Present only where the text is not exactly the raw bytes, or something is wrong.
    pub odd: Option<Box<Odd>>,
}

/// What is particular about a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Odd {
    /// Keyed digest of the raw bytes where they are not the text.
    pub raw_mac: Option<Hash>,
    /// What was wrong with the bytes.
    pub defects: Vec<DefectCode>,
    /// Length in raw bytes.
    pub full_length: u64,
    /// What came with the record and is not in its text (the header of a syslog message): names, values.
    pub context: Vec<(&'static str, String)>,
}

impl RawRecord {
    /// Keyed digest ([`RAW_DOMAIN`]) of the raw bytes without terminator. `None` says that the text *is*
    /// the raw bytes, so whoever holds the text can make the digest, on its own thread.
    pub fn raw_mac(&self) -> Option<Hash> {
        self.odd.as_ref().and_then(|odd| odd.raw_mac)
    }
    /// What was wrong with the bytes.
    pub fn defects(&self) -> &[DefectCode] {
        self.odd.as_ref().map_or(&[], |odd| &odd.defects)
    }
    /// What came with the record.
    pub fn context(&self) -> &[(&'static str, String)] {
        self.odd.as_ref().map_or(&[], |odd| &odd.context)
    }
    /// Length in raw bytes, also of what was not kept.
    pub fn full_length(&self) -> u64 {
        self.odd.as_ref().map_or_else(|| (self.end - self.start) as u64, |odd| odd.full_length)
    }
    /// Adds a defect; `full_length` is what the record has without it.
    pub(crate) fn add_defect(&mut self, code: DefectCode) {
        let full_length = self.full_length();
        let odd = self.odd.get_or_insert_with(|| Box::new(Odd { full_length, ..Odd::default() }));
        if !odd.defects.contains(&code) {
            odd.defects.push(code);
        }
    }
}

/// A decision about identity, or a loss, to be recorded in the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The stream concerned, where there is one.
    pub stream: Option<String>,
    /// The file or folder concerned.
    pub file: Arc<str>,
    /// What happened.
    pub fact: Fact,
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A file that no known stream belongs to; it is read from its beginning.
    NewFile {
        /// Its size when first seen.
        bytes: u64,
    },
    /// A file was there before the first start and `start_at: end` says not to read it.
    StartedAtEnd {
        /// Bytes not read.
        skipped: u64,
    },
    /// The file has another name now; reading continues.
    Rotated {
        /// Former path.
        from: String,
        /// Path now.
        to: String,
    },
    /// The file was truncated after it had been copied; reading continues in the copy.
    ContinuedInCopy {
        /// The truncated file.
        from: String,
        /// The copy.
        to: String,
        /// Where reading continues.
        at: u64,
    },
    /// The file became shorter than what had been read; it is read from its beginning again.
    Truncated {
        /// First byte not read before.
        lost_from: u64,
        /// Where the file was known to end; `None` when nothing unread was known.
        lost_to: Option<u64>,
    },
    /// Another file stands in this one's place (same path, or same inode with another birth).
    Replaced {
        /// Bytes known and not read.
        unread: u64,
    },
    /// The file is no longer found.
    Gone {
        /// Bytes known and not read.
        unread: u64,
    },
    /// A file that was gone is there again, unchanged where it had been read.
    Returned,
    /// Bytes may have been lost before they could be read.
    GapPossible {
        /// Why it is thought so.
        why: &'static str,
        /// First byte that may be lost.
        from: u64,
        /// Where the loss ends, if known.
        to: Option<u64>,
    },
    /// NUL bytes where a record should start, left by a truncation under a writer or by a crash.
    Hole {
        /// First byte passed over.
        from: u64,
        /// First byte after.
        to: u64,
    },
    /// A delivered file holds what another one held; it is not read again.
    Duplicate {
        /// The other one.
        of: String,
    },
    /// Records that stand in the trail already, from another file; they are not recorded again.
    Repeated {
        /// So many.
        records: u64,
        /// Offset of the first.
        from: u64,
        /// Offset of the last.
        to: u64,
    },
    /// A compressed file; its content is not read.
    Compressed {
        /// `gzip`, `zstd`, `xz` or `bzip2`.
        kind: &'static str,
    },
    /// It cannot be read at present; it is tried again.
    Unreadable {
        /// The system's words, or ours.
        why: String,
    },
    /// It can be read again.
    Readable,
}

impl Notice {
    /// A stable word for what happened.
    pub fn what(&self) -> &'static str {
        match self.fact {
            Fact::NewFile { .. } => "new_file",
            Fact::StartedAtEnd { .. } => "started_at_end",
            Fact::Rotated { .. } => "rotated",
            Fact::ContinuedInCopy { .. } => "continued_in_copy",
            Fact::Truncated { .. } => "truncated",
            Fact::Replaced { .. } => "replaced",
            Fact::Gone { .. } => "gone",
            Fact::Returned => "returned",
            Fact::GapPossible { .. } => "gap_possible",
            Fact::Hole { .. } => "hole",
            Fact::Duplicate { .. } => "duplicate",
            Fact::Repeated { .. } => "repeated",
            Fact::Compressed { .. } => "compressed",
            Fact::Unreadable { .. } => "unreadable",
            Fact::Readable => "readable",
        }
    }

    /// Whether bytes were lost, or may have been.
    pub fn gap(&self) -> bool {
        match self.fact {
            Fact::Truncated { lost_to, .. } => lost_to.is_some(),
            Fact::Replaced { unread } | Fact::Gone { unread } => unread > 0,
            Fact::GapPossible { .. } => true,
            _ => false,
        }
    }

    /// The bytes concerned: first, and first after, as far as known.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        match self.fact {
            Fact::Truncated { lost_from, lost_to } => Some((lost_from, lost_to)),
            Fact::GapPossible { from, to, .. } => Some((from, to)),
            Fact::Hole { from, to } => Some((from, Some(to))),
            Fact::StartedAtEnd { skipped } => Some((0, Some(skipped))),
            _ => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.fact {
            Fact::NewFile { bytes } => {
                write!(f, "{file}: new file of {bytes} bytes, read from its beginning")
            }
            Fact::StartedAtEnd { skipped } => {
                write!(f, "{file}: there before the first start, {skipped} bytes not read as configured")
            }
            Fact::Rotated { from, to } => write!(f, "{from}: now named {to}, reading continues"),
            Fact::ContinuedInCopy { from, to, at } => {
                write!(f, "{from}: truncated after a copy was made, reading continues in {to} at byte {at}")
            }
            Fact::Truncated { lost_from, lost_to: Some(to) } => {
                write!(f, "{file}: truncated, bytes {lost_from} to {to} were lost before they were read")
            }
            Fact::Truncated { lost_from, lost_to: None } => {
                write!(f, "{file}: truncated after byte {lost_from}, nothing unread was known")
            }
            Fact::Replaced { unread } => {
                write!(f, "{file}: another file stands in its place, {unread} known bytes unread")
            }
            Fact::Gone { unread } => write!(f, "{file}: no longer found, {unread} known bytes unread"),
            Fact::Returned => write!(f, "{file}: there again, reading continues"),
            Fact::GapPossible { why, from, to: Some(to) } => {
                write!(f, "{file}: bytes {from} to {to} may be lost: {why}")
            }
            Fact::GapPossible { why, from, to: None } => {
                write!(f, "{file}: bytes from {from} on may be lost: {why}")
            }
            Fact::Hole { from, to } => write!(f, "{file}: NUL bytes from {from} to {to} passed over"),
            Fact::Duplicate { of } => write!(f, "{file}: the same content as {of}, not read again"),
            Fact::Repeated { records, from, to } => {
                let whose = if *records == 1 { "record stands" } else { "records stand" };
                write!(
                    f,
                    "{file}: {records} {whose} in the trail from another file, between bytes {from} and {to}"
                )
            }
            Fact::Compressed { kind } => write!(f, "{file}: compressed with {kind}, its content is not read"),
            Fact::Unreadable { why } => write!(f, "{file}: cannot be read: {why}"),
            Fact::Readable => write!(f, "{file}: can be read again"),
        }
    }
}
