//! NUL bytes where a record should start.
//!
//! A writer that did not open its file for appending goes on at its old offset after a truncation and
//! leaves a hole before it; a crash leaves blocks that were never written. Neither is a record. But NUL
//! bytes at the *end* of a file may be room made in advance, into which records will be written, so a
//! hole counts only once something stands behind it.

use super::Shared;
use super::identity::{Mark, WINDOW, next_data, read_at};
use super::stream::{Piece, Stream};
use crate::model::record::Framing;
use crate::source::frame::unit;
use crate::source::{Batch, Fact};
use std::fs::File;

/// So many NUL bytes are a hole; fewer belong to a damaged record.
const HOLE: usize = 32;

impl Stream {
    /// Passes over NUL bytes where a record should start, once something else stands behind them.
    ///
    /// `Some(None)`: all NUL so far, read on behind them.
    pub fn skip_hole(&mut self, shared: &Shared, file: &File, piece: &mut Piece) -> Option<Option<Batch>> {
        if matches!(shared.framing, Framing::Fixed(_)) || unit(self.encoding) > 1 {
            return None;
        }
        if piece.buffer.first() != Some(&0) {
            return None;
        }
        let mut length = piece.buffer.iter().take_while(|byte| **byte == 0).count() as u64;
        if length < HOLE as u64 {
            return None;
        }
        if length == piece.buffer.len() as u64 {
            if !piece.full && !piece.last {
                // A preallocated tail: the writer will put its records there.
                piece.buffer.clear();
                return None;
            }
            if piece.full {
                length = zeros(file, self.offset + length, shared.read_size, self.end)? - self.offset;
            }
        }
        let (from, to) = (self.offset, self.offset + length);
        let nul = [0; WINDOW];
        let newer = nul.get(..usize::try_from(length).map_or(WINDOW, |length| length.min(WINDOW)));
        self.before = Mark::before(&shared.matching, &piece.window, newer.unwrap_or_default());
        if self.start == Some(from) {
            self.start = Some(to); // The header, if any, stands behind the hole.
        }
        self.offset = to;
        self.note(Fact::Hole { from, to });
        let mut batch = self.report(shared);
        batch.bytes_read = length;
        Some(Some(batch))
    }
}

/// The first byte from `position` on that is not NUL, if there is one.
pub(super) fn zeros(file: &File, mut position: u64, read_size: usize, end: u64) -> Option<u64> {
    while position < end {
        position = next_data(file, position)?.max(position);
        let bytes = read_at(file, position, read_size).ok()?;
        if bytes.is_empty() {
            return None;
        }
        match bytes.iter().position(|byte| *byte != 0) {
            Some(at) => return Some(position + at as u64),
            None => position += bytes.len() as u64,
        }
    }
    None
}
