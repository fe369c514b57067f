//! Cuts a stream of bytes that cannot be read twice into records: standard input, a command's output, a
//! connection.
//!
//! A record that is not complete waits in memory, at most `max_record` bytes of it; the rest of a longer one is
//! counted and passed over. Its digest then covers what was kept, and the event says `record_too_long`.

use super::frame;
use super::inbox::{Delivery, Pieces};
use super::{Odd, RawRecord};
use crate::model::event::DefectCode;
use crate::model::record::{Encoding, Framing};
use std::sync::Arc;

/// Cuts what it is fed.
#[derive(Debug)]
pub struct Cutter {
    framing: Framing,
    encoding: Encoding,
    max_record: usize,
    rest: Vec<u8>,
    /// Bytes of the open record that were passed over.
    passed: u64,
    /// Raw bytes before `rest`.
    offset: u64,
    header: Option<Arc<[String]>>,
}

/// Records that became whole.
#[derive(Debug, Default)]
pub struct Whole {
    /// Their bytes.
    pub pieces: Pieces,
    /// Empty lines among them.
    pub blank: u64,
}

impl Whole {
    /// Whether there is nothing to hand over.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.blank == 0
    }
}

impl Cutter {
    /// At the beginning of a stream.
    pub fn new(framing: Framing, encoding: Encoding, max_record: usize) -> Cutter {
        Cutter { framing, encoding, max_record, rest: Vec::new(), passed: 0, offset: 0, header: None }
    }

    /// Raw bytes up to the first incomplete record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes bytes, returns the records that are whole now.
    pub fn feed(&mut self, bytes: &[u8]) -> Whole {
        let mut whole = Whole::default();
        let bytes = if self.passed > 0 { self.pass_over(bytes, &mut whole) } else { bytes };
        self.rest.extend_from_slice(bytes);
        let cut = frame::cut(self.framing, self.encoding, &self.rest, self.offset);
        whole.blank += cut.blank;
        for record in &cut.records {
            self.take(record, &mut whole);
        }
        self.offset += cut.consumed as u64;
        self.rest.drain(..cut.consumed);
        if self.rest.len() > self.max_record {
            self.passed = (self.rest.len() - self.max_record) as u64;
            self.rest.truncate(self.max_record);
        }
        whole
    }

    fn take(&mut self, record: &RawRecord, whole: &mut Whole) {
        let bytes = self.rest.get(record.start..record.end).unwrap_or_default();
        if self.framing == Framing::Csv && self.header.is_none() {
            let text = super::text::decode_one(self.encoding, bytes).0;
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            if let Some(Ok(names)) = reader.records().next() {
                self.header = Some(names.iter().map(str::to_owned).collect());
                return;
            }
        }
        whole.pieces.push(bytes, record.offset);
    }

    /// The open record is too long: looks for its end only. A newline ends it, also within CSV quotes: what
    /// follows must be records again.
    fn pass_over<'a>(&mut self, bytes: &'a [u8], whole: &mut Whole) -> &'a [u8] {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.passed += bytes.len() as u64;
            return &[];
        };
        let length = self.rest.len() as u64 + self.passed + end as u64;
        let kept = std::mem::take(&mut self.rest);
        whole.pieces.push(&kept, self.offset);
        if let Some(record) = whole.pieces.records.last_mut() {
            let defects = vec![DefectCode::RecordTooLong];
            record.odd = Some(Box::new(Odd { full_length: length, defects, ..Odd::default() }));
        }
        self.offset += length + 1;
        self.passed = 0;
        // In UTF-16 the newline's other half follows.
        let after = end + frame::unit(self.encoding);
        bytes.get(after..).unwrap_or_default()
    }

    /// The stream is over: what is left is a record without its end.
    pub fn finish(&mut self) -> Whole {
        let mut whole = Whole::default();
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            whole.pieces.push(&rest, self.offset);
            if let Some(record) = whole.pieces.records.last_mut() {
                record.add_defect(DefectCode::Unterminated);
                if self.passed > 0 {
                    record.add_defect(DefectCode::RecordTooLong);
                }
            }
        }
        self.offset += rest.len() as u64 + self.passed;
        self.passed = 0;
        whole
    }

    /// A delivery of these records, without position.
    pub fn delivery(&self, whole: Whole, stream: &str, place: &str) -> Delivery {
        Delivery {
            stream: stream.to_owned(),
            place: place.to_owned(),
            header: self.header.clone(),
            raw: whole.pieces.raw,
            records: whole.pieces.records,
            blank: whole.blank,
            ..Delivery::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn texts(whole: &Whole) -> Vec<String> {
        let text = |record: &RawRecord| {
            String::from_utf8_lossy(&whole.pieces.raw[record.start..record.end]).into_owned()
        };
        whole.pieces.records.iter().map(text).collect()
    }

    #[test]
    fn a_record_over_the_limit_costs_only_itself() {
        let mut cutter = Cutter::new(Framing::Line, Encoding::Utf8, 8);
        assert_eq!(texts(&cutter.feed(b"a\n0123456789")), ["a"]);
        assert_eq!(texts(&cutter.feed(b"more")), Vec::<String>::new());
        let whole = cutter.feed(b"end\nb\nc");
        assert_eq!(texts(&whole), ["01234567", "b"]);
        assert_eq!(whole.pieces.records[0].full_length(), 17);
        assert_eq!(whole.pieces.records[0].defects(), [DefectCode::RecordTooLong]);
        assert_eq!(whole.pieces.records[1].offset, 20);
        let last = cutter.finish();
        assert_eq!(
            (texts(&last), last.pieces.records[0].defects()),
            (vec!["c".into()], &[DefectCode::Unterminated][..])
        );
        assert_eq!(cutter.offset(), 23);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lines in proptest::collection::vec("[a-z]{0,12}", 0..20),
            cuts in proptest::collection::vec(1usize..30, 0..30),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut cutter = Cutter::new(Framing::Line, Encoding::Utf8, 64);
            let (mut all, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                all.extend(texts(&cutter.feed(now)));
                rest = later;
            }
            let expected: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(all, expected);
            prop_assert_eq!(cutter.offset(), text.len() as u64);
        }
    }
}
