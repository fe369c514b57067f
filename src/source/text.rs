//! Turns the raw bytes of cut records into text.
//!
//! Valid UTF-8 is taken as it is, without a copy, and the text is then the raw bytes. Whatever else is
//! decoded record by record; then the keyed digest of the raw bytes is made here, since nobody else will
//! see them.

use crate::model::Key;
use crate::model::event::DefectCode;
use crate::model::record::Encoding;
use crate::source::{Odd, RAW_DOMAIN, RawRecord};
use memchr::memchr;
use std::borrow::Cow;

/// Decodes a buffer of whole records; their positions become positions in the text.
pub(super) fn decode(encoding: Encoding, raw: Vec<u8>, records: &mut [RawRecord], key: &Key) -> String {
    if encoding == Encoding::Utf8 || (encoding == Encoding::Latin1 && raw.is_ascii()) {
        match String::from_utf8(raw) {
            Ok(text) => {
                mark_nul_bytes(&text, records);
                text
            }
            Err(error) => decode_each(encoding, error.as_bytes(), records, key),
        }
    } else {
        decode_each(encoding, &raw, records, key)
    }
}

fn mark_nul_bytes(text: &str, records: &mut [RawRecord]) {
    if memchr(0, text.as_bytes()).is_none() {
        return;
    }
    for record in records {
        if text.get(record.start..record.end).is_some_and(|text| memchr(0, text.as_bytes()).is_some()) {
            record.add_defect(DefectCode::NulBytes);
        }
    }
}

fn decode_each(encoding: Encoding, raw: &[u8], records: &mut [RawRecord], key: &Key) -> String {
    let mut text = String::with_capacity(raw.len());
    for record in records {
        let bytes = raw.get(record.start..record.end).unwrap_or_default();
        let (decoded, invalid) = decode_one(encoding, bytes);
        let start = text.len();
        text.push_str(&decoded);
        (record.start, record.end) = (start, text.len());
        if decoded.as_bytes() != bytes {
            let odd = record.odd.get_or_insert_with(|| Box::new(Odd::default()));
            // A digest that is already there covers more than the kept part.
            if odd.raw_mac.is_none() {
                odd.full_length = bytes.len() as u64;
                odd.raw_mac = Some(key.mac(RAW_DOMAIN, &[bytes]));
            }
        }
        if invalid {
            record.add_defect(DefectCode::InvalidUtf8);
        }
        if memchr(0, decoded.as_bytes()).is_some() {
            record.add_defect(DefectCode::NulBytes);
        }
    }
    text
}

/// One record's text, and whether something in it was no text. What is not becomes U+FFFD.
pub(super) fn decode_one(encoding: Encoding, bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match encoding {
        Encoding::Utf8 => {
            let text = String::from_utf8_lossy(bytes);
            let invalid = matches!(text, Cow::Owned(_));
            (text, invalid)
        }
        Encoding::Latin1 => (encoding_rs::mem::decode_latin1(bytes), false),
        Encoding::Utf16Le => encoding_rs::UTF_16LE.decode_without_bom_handling(bytes),
        Encoding::Utf16Be => encoding_rs::UTF_16BE.decode_without_bom_handling(bytes),
    }
}

/// What a file's first bytes say about its encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    /// Too few bytes to tell.
    Unknown,
    /// Read it so, after that many bytes of byte order mark.
    Text(Encoding, u64),
    /// It is compressed.
    Compressed(&'static str),
}

/// Looks at the first bytes (at least 10, or all there are). `complete` says that no more will come.
pub(super) fn start_of(configured: Encoding, bytes: &[u8], complete: bool) -> Start {
    const MARKS: [(&[u8], Encoding); 3] = [
        (b"\xef\xbb\xbf", Encoding::Utf8),
        (b"\xff\xfe", Encoding::Utf16Le),
        (b"\xfe\xff", Encoding::Utf16Be),
    ];
    // Of bzip2 the block's mark too: "BZh" alone may start a line.
    const PACKED: [(&[u8], &str); 3] =
        [(b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz")];
    for (mark, encoding) in MARKS {
        if bytes.starts_with(mark) {
            return Start::Text(encoding, mark.len() as u64);
        }
    }
    for (mark, kind) in PACKED {
        if bytes.starts_with(mark) {
            return Start::Compressed(kind);
        }
    }
    if bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY") {
        return Start::Compressed("bzip2");
    }
    let marks = MARKS.iter().map(|(mark, _)| *mark).chain(PACKED.iter().map(|(mark, _)| *mark));
    let may_become_a_mark = marks.into_iter().any(|mark| mark.len() > bytes.len() && mark.starts_with(bytes));
    if !complete && may_become_a_mark {
        return Start::Unknown;
    }
    Start::Text(configured, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn byte_order_marks() {
        let start = |bytes: &[u8]| start_of(Encoding::Latin1, bytes, false);
        assert_eq!(start(b"\xef\xbb\xbfa"), Start::Text(Encoding::Utf8, 3));
        assert_eq!(start(b"\xff\xfea\0"), Start::Text(Encoding::Utf16Le, 2));
        assert_eq!(start(b"\xfe\xff\0a"), Start::Text(Encoding::Utf16Be, 2));
        assert_eq!(start(b"a"), Start::Text(Encoding::Latin1, 0));
        assert_eq!(start(b"\xef\xbb"), Start::Unknown);
        assert_eq!(start(b""), Start::Unknown);
        assert_eq!(start_of(Encoding::Utf8, b"\xef", true), Start::Text(Encoding::Utf8, 0));
        assert_eq!(start(b"\x1f\x8b\x08\0"), Start::Compressed("gzip"));
        assert_eq!(start(b"BZh is a word"), Start::Text(Encoding::Latin1, 0));
    }
}
