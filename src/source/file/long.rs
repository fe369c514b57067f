//! A record that is longer than one read, followed piece by piece.
//!
//! Of its bytes only the first [`KEPT`] stay in memory; the keyed digest covers all of them, without the
//! terminator.

use super::Shared;
use super::identity::{WINDOW, read_at};
use super::stream::{Header, Piece, Stream};
use crate::model::digest::Running;
use crate::model::event::DefectCode;
use crate::model::record::{Encoding, Framing};
use crate::source::frame::{self, Scan, unit};
use crate::source::text::decode_one;
use crate::source::{Batch, Odd, RAW_DOMAIN, RawRecord};
use std::fs::File;
use std::io;

/// Of a record that is too long, so many bytes are kept.
pub(super) const KEPT: usize = 64 * 1024;

/// A record that is longer than one read.
pub(super) struct Long {
    pub scanned: u64,
    pub mac: Running,
    pub kept: Vec<u8>,
    /// The last bytes scanned, at most [`WINDOW`].
    pub tail: Vec<u8>,
    pub scan: Scan,
    /// A carriage return at the end of the last piece: part of the terminator or of the record.
    pub held: Vec<u8>,
}

impl Long {
    /// At the record's start.
    pub fn new(shared: &Shared) -> Long {
        Long {
            scanned: 0,
            mac: shared.raw.start(RAW_DOMAIN),
            kept: Vec::new(),
            tail: Vec::new(),
            scan: Scan::new(shared.framing),
            held: Vec::new(),
        }
    }

    /// A piece without the record's end.
    pub fn feed(&mut self, piece: &[u8], encoding: Encoding) {
        self.release();
        self.scanned += piece.len() as u64;
        self.remember(piece);
        let content = piece.strip_suffix(carriage_return(encoding)).unwrap_or(piece);
        self.content(content);
        self.held = piece.get(content.len()..).unwrap_or_default().to_vec();
    }

    /// The last piece; it ends with the line feed.
    pub fn finish(&mut self, piece: &[u8], encoding: Encoding) {
        self.remember(piece);
        let content = piece.get(..piece.len().saturating_sub(unit(encoding))).unwrap_or_default();
        if content.is_empty() {
            return; // A carriage return held back is part of the terminator.
        }
        self.release();
        let record = content.strip_suffix(carriage_return(encoding)).unwrap_or(content);
        self.content(record);
        self.held = content.get(record.len()..).unwrap_or_default().to_vec();
    }

    /// What was held back is part of the record.
    pub fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.content(&held);
    }

    fn content(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
        let room = KEPT.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    fn remember(&mut self, piece: &[u8]) {
        let piece = piece.get(piece.len().saturating_sub(WINDOW)..).unwrap_or_default();
        let excess = (self.tail.len() + piece.len()).saturating_sub(WINDOW);
        self.tail.drain(..excess.min(self.tail.len()));
        self.tail.extend_from_slice(piece);
    }
}

/// One carriage return.
pub(super) fn carriage_return(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Utf8 | Encoding::Latin1 => b"\r",
        Encoding::Utf16Le => b"\r\0",
        Encoding::Utf16Be => b"\0\r",
    }
}

/// How much of a cut-off text ends between two characters.
pub(super) fn whole_units(encoding: Encoding, bytes: &[u8]) -> usize {
    match encoding {
        Encoding::Latin1 => bytes.len(),
        Encoding::Utf16Le | Encoding::Utf16Be => {
            let whole = bytes.len() & !1;
            let last =
                bytes.get(whole.saturating_sub(2)..whole).and_then(|pair| <[u8; 2]>::try_from(pair).ok());
            let last = last.map(|pair| match encoding {
                Encoding::Utf16Be => u16::from_be_bytes(pair),
                _ => u16::from_le_bytes(pair),
            });
            if last.is_some_and(|unit| (0xd800..0xdc00).contains(&unit)) { whole - 2 } else { whole }
        }
        Encoding::Utf8 => match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        },
    }
}

impl Stream {
    /// Reads on in a long record; hands it out when its end is found.
    pub(super) fn continue_long(
        &mut self,
        shared: &Shared,
        file: &File,
        piece: Piece,
    ) -> io::Result<(bool, Option<Batch>)> {
        let Some(mut long) = self.long.take() else { return Ok((false, None)) };
        let unit = unit(self.encoding);
        let Piece { mut buffer, window, full, last } = piece;
        if buffer.len() % unit != 0 && (full || !last) {
            buffer.pop();
        }
        let end = long.scan.end(&frame::narrow(self.encoding, &buffer)).map(|end| end * unit);
        if let Some(end) = end {
            buffer.truncate(end + unit);
            let length = long.scanned + end as u64;
            long.finish(&buffer, self.encoding);
            return Ok((true, self.end_long(shared, file, window, *long, length, unit)?));
        }
        long.feed(&buffer, self.encoding);
        let limit = shared.max_record as u64;
        let first_line = long.scan.first_newline().map(|at| at * unit as u64).filter(|at| *at <= limit);
        if let Some(end) = first_line.filter(|_| long.scanned > limit || (last && !full)) {
            let length = usize::try_from(end + unit as u64).unwrap_or(usize::MAX);
            let raw = read_at(file, self.offset, length)?;
            return Ok((true, Some(self.emit_unterminated(shared, &window, raw, unit))));
        }
        if full || !last {
            self.long = Some(long);
            return Ok((full, None));
        }
        let length = long.scanned;
        long.release();
        Ok((true, self.end_long(shared, file, window, *long, length, 0)?))
    }

    /// The end of a long record was found: `length` bytes from its start, then its terminator.
    fn end_long(
        &mut self,
        shared: &Shared,
        file: &File,
        window: Vec<u8>,
        long: Long,
        length: u64,
        terminator: usize,
    ) -> io::Result<Option<Batch>> {
        let whole = length + terminator as u64;
        if length <= shared.max_record as u64 {
            let raw = read_at(file, self.offset, usize::try_from(whole).unwrap_or(usize::MAX))?;
            // The file changed between two reads: the next turn sees it.
            if raw.len() as u64 != whole {
                return Ok(None);
            }
            if terminator == 0 {
                return Ok(Some(self.emit_fragment(shared, &window, raw)));
            }
            let cut = frame::cut(shared.framing, self.encoding, &raw, self.offset);
            if cut.consumed as u64 != whole {
                return Ok(None);
            }
            return Ok(Some(self.emit(shared, &window, raw, cut)));
        }
        Ok(Some(self.emit_too_long(shared, &window, long, whole, terminator)))
    }

    fn emit_too_long(
        &mut self,
        shared: &Shared,
        window: &[u8],
        long: Long,
        whole: u64,
        terminator: usize,
    ) -> Batch {
        let offset = self.offset;
        let return_length = long.held.len() as u64;
        let kept = long.kept.get(..whole_units(self.encoding, &long.kept)).unwrap_or_default();
        let (text, invalid) = decode_one(self.encoding, kept);
        let mut odd = Odd {
            raw_mac: Some(long.mac.finish()),
            defects: vec![DefectCode::RecordTooLong],
            full_length: whole - terminator as u64 - return_length,
            context: Vec::new(),
        };
        if invalid {
            odd.defects.push(DefectCode::InvalidUtf8);
        }
        if memchr::memchr(0, text.as_bytes()).is_some() {
            odd.defects.push(DefectCode::NulBytes);
        }
        if terminator == 0 {
            odd.defects.push(DefectCode::Unterminated);
        }
        self.advance(shared, window, &long.tail, whole);
        if shared.framing == Framing::Csv && matches!(self.header, Header::Unknown) {
            self.header = Header::None;
        }
        let mut batch = self.report(shared);
        batch.text = text.into_owned();
        let end = batch.text.len();
        batch.records = vec![RawRecord { start: 0, end, offset, odd: Some(Box::new(odd)) }];
        batch.bytes_read = whole;
        batch
    }
}
