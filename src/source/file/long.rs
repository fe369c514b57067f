//! A record that is longer than one read, followed piece by piece.
//!
//! Of its bytes only the first [`KEPT`] stay in memory; the keyed digest covers all of them, without the
//! terminator.

use super::Shared;
use super::identity::WINDOW;
use crate::model::digest::Running;
use crate::model::record::Encoding;
use crate::source::RAW_DOMAIN;
use crate::source::frame::{Scan, unit};

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
