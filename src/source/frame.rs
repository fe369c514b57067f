//! Cuts raw bytes into records.
//!
//! * `Line`: a record ends at `\n`; one `\r` before it belongs to the terminator.
//! * `Csv`: RFC 4180, read as the common parsers read it: a quote opens only at the start of a field, a
//!   doubled quote inside is a quote, and what follows a closing quote up to the next delimiter is taken
//!   as it is. A field starts after `,`, `;`, tab or `|`, so exports with other delimiters frame alike.
//! * `Fixed(n)`: n characters; UTF-8 counts characters and each invalid byte as one, UTF-16 counts code
//!   units.
//!
//! Invariants: positions are raw bytes of the given buffer; a buffer always starts where a record starts;
//! only whole records are cut, and [`Cut::consumed`] is where the first incomplete one starts. Empty
//! lines are counted and are no records. UTF-16 is framed over a narrow image of its code units, in which
//! everything outside ASCII is one placeholder, so that there is one set of rules.

use crate::model::record::{Encoding, Framing};
use crate::source::RawRecord;
use memchr::{memchr, memchr_iter, memchr2};
use std::borrow::Cow;

/// The result of cutting one buffer.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// Whole records; `start` and `end` are raw positions in the buffer.
    pub records: Vec<RawRecord>,
    /// Empty lines among them.
    pub blank: u64,
    /// Where the first incomplete record starts.
    pub consumed: usize,
}

impl Cut {
    /// Adds the record between two raw positions, without one carriage return at its end.
    fn push(&mut self, bytes: &[u8], start: usize, end: usize, base: u64) {
        let end = if end > start && bytes.get(end - 1) == Some(&b'\r') { end - 1 } else { end };
        if end == start {
            self.blank += 1;
        } else {
            self.records.push(RawRecord { start, end, offset: base + start as u64, odd: None });
        }
    }
}

/// Bytes of one code unit.
pub(super) fn unit(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf16Le | Encoding::Utf16Be => 2,
        Encoding::Utf8 | Encoding::Latin1 => 1,
    }
}

/// One byte for every whole code unit.
pub(super) fn narrow(encoding: Encoding, bytes: &[u8]) -> Cow<'_, [u8]> {
    const PLACEHOLDER: u8 = 0x80;
    let one = |unit: u16| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(PLACEHOLDER);
    match encoding {
        Encoding::Utf8 | Encoding::Latin1 => Cow::Borrowed(bytes),
        Encoding::Utf16Le => {
            Cow::Owned(bytes.as_chunks::<2>().0.iter().map(|pair| one(u16::from_le_bytes(*pair))).collect())
        }
        Encoding::Utf16Be => {
            Cow::Owned(bytes.as_chunks::<2>().0.iter().map(|pair| one(u16::from_be_bytes(*pair))).collect())
        }
    }
}

/// Cuts all whole records of a buffer that starts at `base` in its file.
pub(super) fn cut(framing: Framing, encoding: Encoding, bytes: &[u8], base: u64) -> Cut {
    if let Framing::Fixed(characters) = framing {
        return cut_fixed(characters, encoding, bytes, base);
    }
    let narrow = narrow(encoding, bytes);
    let mut cut = Cut::default();
    match framing {
        Framing::Csv => cut_csv(&narrow, base, &mut cut),
        Framing::Line | Framing::Fixed(_) => cut_lines(&narrow, base, &mut cut),
    }
    widen(unit(encoding), base, &mut cut);
    cut
}

/// From positions in the narrow image to positions in the raw bytes.
fn widen(unit: usize, base: u64, cut: &mut Cut) {
    if unit == 1 {
        return;
    }
    cut.consumed *= unit;
    for record in &mut cut.records {
        record.start *= unit;
        record.end *= unit;
        record.offset = base + record.start as u64;
    }
}

fn cut_lines(bytes: &[u8], base: u64, cut: &mut Cut) {
    // Log lines are rarely shorter than this; one growth step more costs little.
    cut.records.reserve(bytes.len() / 128);
    for end in memchr_iter(b'\n', bytes) {
        cut.push(bytes, cut.consumed, end, base);
        cut.consumed = end + 1;
    }
}

fn cut_csv(bytes: &[u8], base: u64, cut: &mut Cut) {
    while let Some(rest) = bytes.get(cut.consumed..) {
        let Some(length) = Scan::new(Framing::Csv).end(rest) else { return };
        cut.push(bytes, cut.consumed, cut.consumed + length, base);
        cut.consumed += length + 1;
    }
}

fn cut_fixed(characters: usize, encoding: Encoding, bytes: &[u8], base: u64) -> Cut {
    let mut cut = Cut::default();
    while let Some(rest) = bytes.get(cut.consumed..) {
        let length = match encoding {
            Encoding::Utf8 => characters_length(characters, rest),
            _ => Some(characters.saturating_mul(unit(encoding))).filter(|length| *length <= rest.len()),
        };
        let Some(length) = length.filter(|length| *length > 0) else { break };
        let (start, end) = (cut.consumed, cut.consumed + length);
        cut.records.push(RawRecord { start, end, offset: base + start as u64, odd: None });
        cut.consumed = end;
    }
    cut
}

/// Bytes of the first so many characters, if they are all there.
fn characters_length(characters: usize, bytes: &[u8]) -> Option<usize> {
    if bytes.get(..characters)?.is_ascii() {
        return Some(characters);
    }
    let (mut left, mut length) = (characters, 0);
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if left == 0 {
                return Some(length);
            }
            left -= 1;
            length += char.len_utf8();
        }
        let invalid = chunk.invalid().len().min(left);
        left -= invalid;
        length += invalid;
    }
    (left == 0).then_some(length)
}

/// Looks for the end of one record in pieces of the narrow image.
#[derive(Debug)]
pub(super) struct Scan {
    state: State,
    /// The last byte of the piece before; a delimiter at the start of a record.
    previous: u8,
    /// Narrow bytes before the present piece.
    seen: u64,
    /// First `\n` inside quotes: where the record ends after all if the quote never closes.
    first_newline: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Line,
    Plain,
    Quoted,
    QuoteInQuoted,
}

impl Scan {
    /// A scan at the start of a record.
    pub fn new(framing: Framing) -> Scan {
        let state = match framing {
            Framing::Csv => State::Plain,
            Framing::Line | Framing::Fixed(_) => State::Line,
        };
        Scan { state, previous: b',', seen: 0, first_newline: None }
    }

    /// Position of the terminating `\n` in this piece; `None`: the record goes on in the next piece.
    pub fn end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = piece.get(at..).unwrap_or_default();
            match self.state {
                State::Line => {
                    let end = memchr(b'\n', rest);
                    self.finish_piece(piece, end.is_none());
                    return end;
                }
                State::Plain => match memchr2(b'"', b'\n', rest) {
                    None => break,
                    Some(found) if rest.get(found) == Some(&b'\n') => return Some(at + found),
                    Some(found) => {
                        if is_delimiter(self.before(piece, at + found)) {
                            self.state = State::Quoted;
                        }
                        at += found + 1;
                    }
                },
                State::Quoted => match self.quoted_stop(rest) {
                    None => break,
                    Some(found) if rest.get(found) == Some(&b'\n') => {
                        self.first_newline = Some(self.seen + (at + found) as u64);
                        at += found + 1;
                    }
                    Some(found) => {
                        self.state = State::QuoteInQuoted;
                        at += found + 1;
                    }
                },
                State::QuoteInQuoted => match rest.first() {
                    None => break,
                    Some(b'"') => {
                        self.state = State::Quoted;
                        at += 1;
                    }
                    Some(_) => self.state = State::Plain,
                },
            }
        }
        self.finish_piece(piece, true);
        None
    }

    /// Where the record ends if its open quote is taken for a mistake.
    pub fn first_newline(&self) -> Option<u64> {
        self.first_newline
    }

    fn quoted_stop(&self, rest: &[u8]) -> Option<usize> {
        match self.first_newline {
            None => memchr2(b'"', b'\n', rest),
            Some(_) => memchr(b'"', rest),
        }
    }

    fn before(&self, piece: &[u8], at: usize) -> u8 {
        at.checked_sub(1).and_then(|before| piece.get(before)).copied().unwrap_or(self.previous)
    }

    fn finish_piece(&mut self, piece: &[u8], goes_on: bool) {
        if goes_on {
            self.seen += piece.len() as u64;
            self.previous = piece.last().copied().unwrap_or(self.previous);
        }
    }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b',' | b';' | b'\t' | b'|')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn texts(framing: Framing, encoding: Encoding, bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let cut = cut(framing, encoding, bytes, 100);
        for record in &cut.records {
            assert_eq!(record.offset, 100 + record.start as u64);
        }
        (cut.records.iter().map(|record| bytes[record.start..record.end].to_vec()).collect(), cut.consumed)
    }

    fn strings(framing: Framing, text: &str) -> (Vec<String>, usize) {
        let (records, consumed) = texts(framing, Encoding::Utf8, text.as_bytes());
        (records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect(), consumed)
    }

    #[test]
    fn lines() {
        assert_eq!(
            strings(Framing::Line, "a\r\nb\n\n\r\nc\rd\n\rpart"),
            (vec!["a".to_owned(), "b".to_owned(), "c\rd".to_owned()], 12)
        );
        assert_eq!(strings(Framing::Line, ""), (vec![], 0));
    }

    #[test]
    fn csv_records_end_outside_quotes_only() {
        for (text, expected) in [
            ("a,b\n1,2\n", vec!["a,b", "1,2"]),
            ("\"a\nb\",c\r\nd\n", vec!["\"a\nb\",c", "d"]),
            ("\"a\"\"\nb\"\nc\n", vec!["\"a\"\"\nb\"", "c"]),
            ("5\" tube,6\" tube\nc\n", vec!["5\" tube,6\" tube", "c"]),
            ("a,\"\"\nc\n", vec!["a,\"\"", "c"]),
            ("a;\"x\ny\";b\n", vec!["a;\"x\ny\";b"]),
            ("\"a\"b\nc\n", vec!["\"a\"b", "c"]),
            ("\"\"\"q\"\"\"\n", vec!["\"\"\"q\"\"\""]),
        ] {
            assert_eq!(strings(Framing::Csv, text).0, expected, "{text}");
            // The same in every way of cutting the text into two pieces.
            let first = expected.first().unwrap().len();
            for at in 0..text.len() {
                let mut scan = Scan::new(Framing::Csv);
                let (left, right) = text.as_bytes().split_at(at);
                let end = scan.end(left).or_else(|| scan.end(right).map(|end| end + at)).unwrap();
                assert_eq!(text[..end].trim_end_matches('\r').len(), first, "{text} {at}");
            }
        }
        assert_eq!(strings(Framing::Csv, "a\n\"open\nstill").1, 2);
    }

    #[test]
    fn an_open_quote_knows_its_first_newline() {
        let mut scan = Scan::new(Framing::Csv);
        assert_eq!(scan.end(b"a,\"b"), None);
        assert_eq!(scan.end(b"c\nd\ne"), None);
        assert_eq!(scan.first_newline(), Some(5));
    }

    #[test]
    fn fixed_counts_characters() {
        assert_eq!(strings(Framing::Fixed(3), "abcdefg"), (vec!["abc".into(), "def".into()], 6));
        assert_eq!(strings(Framing::Fixed(3), "äbcdéfg"), (vec!["äbc".into(), "déf".into()], 8));
        let latin = texts(Framing::Fixed(3), Encoding::Utf8, b"a\xe4cd\xe9fg");
        assert_eq!(latin, (vec![b"a\xe4c".to_vec(), b"d\xe9f".to_vec()], 6));
        let wide: Vec<u8> = "abcdefg".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(texts(Framing::Fixed(3), Encoding::Utf16Le, &wide).1, 12);
        assert_eq!(texts(Framing::Fixed(3), Encoding::Utf16Le, &wide[..11]).1, 6);
    }

    #[test]
    fn utf_16_lines() {
        // U+0A0A holds the byte of a line feed twice and is none.
        let wide: Vec<u8> = "aਊ\r\nb\nc".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let (records, consumed) = texts(Framing::Line, Encoding::Utf16Be, &wide);
        assert_eq!(records, [vec![0, b'a', 0x0a, 0x0a], vec![0, b'b']]);
        assert_eq!(consumed, 12);
    }
}
