//! One raw line, row or message, and how a source cuts its bytes into records.

use super::event::Event;
use super::grant::GrantsLine;
use std::sync::Arc;

/// How a format's bytes fall into records. Declared by the format, applied by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Lines that end with `\n` (or `\r\n`).
    Line,
    /// RFC 4180 records: `\n` inside quotes does not end a record. The first record of every file is the
    /// header and reaches the format as [`Record::header`].
    Csv,
    /// Records of so many *characters*, without terminator (twice as many bytes in UTF-16).
    Fixed(usize),
}

/// How the file's bytes encode text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8; what is not becomes U+FFFD with the defect `invalid_utf8`.
    #[default]
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// ISO 8859-1 (non-Unicode SAP kernels).
    Latin1,
}

/// One record as the source hands it over, decoded to UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The record's text without its terminator. Invalid UTF-8 has become U+FFFD before.
    pub text: &'a str,
    /// The CSV header's names, for [`Framing::Csv`].
    pub header: Option<&'a Arc<[String]>>,
}

/// Everything that a format may know besides the record.
#[derive(Clone, Debug, Default)]
pub struct FormatContext {
    /// The source's `timezone:`. Formats without offsets in their times cannot do without.
    pub zone: Option<jiff::tz::TimeZone>,
}

/// What a record turned out to be.
#[derive(Debug)]
pub enum Parsed {
    /// An event. The pipeline fills in `observed`, `source` and `raw`.
    Event(Box<Event>),
    /// A line of a grants feed.
    Grants(GrantsLine),
}
