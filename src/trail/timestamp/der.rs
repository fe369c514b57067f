//! DER (X.690), as much as time stamps need: definite lengths in their shortest form and tags of one byte.
//!
//! Every read is bounded by the slice that it was given, and nothing recurses: how deep a structure is
//! followed is what the caller writes down.

/// `BOOLEAN`.
pub const BOOLEAN: u8 = 0x01;
/// `INTEGER`.
pub const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub const OCTET_STRING: u8 = 0x04;
/// `NULL`.
pub const NULL: u8 = 0x05;
/// `OBJECT IDENTIFIER`.
pub const OID: u8 = 0x06;
/// `GeneralizedTime`.
pub const GENERALIZED_TIME: u8 = 0x18;
/// `SEQUENCE`, constructed.
pub const SEQUENCE: u8 = 0x30;
/// `SET`, constructed.
pub const SET: u8 = 0x31;

/// `[n]`, constructed.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its tag.
    pub tag: u8,
    /// Its content.
    pub value: &'a [u8],
    /// Tag, length and content.
    pub whole: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads what is inside.
    pub fn inside(self) -> Reader<'a> {
        Reader(self.value)
    }
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` at the end and for what is not DER.
    pub fn any(&mut self) -> Option<Item<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None; // A tag of several bytes: none of ours.
        }
        let (length, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 => {
                let digits = rest.get(..usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
                // The shortest form only, so that one structure has one spelling.
                if digits.first() == Some(&0) || length < 0x80 {
                    return None;
                }
                (length, 2 + digits.len())
            }
            _ => return None,
        };
        let end = header.checked_add(length)?;
        let whole = self.0.get(..end)?;
        self.0 = self.0.get(end..)?;
        Some(Item { tag, value: whole.get(header..)?, whole })
    }

    /// The next element, which must have this tag.
    pub fn take(&mut self, tag: u8) -> Option<Item<'a>> {
        self.any().filter(|item| item.tag == tag)
    }

    /// The next element where it has this tag; otherwise nothing is read.
    pub fn optional(&mut self, tag: u8) -> Option<Item<'a>> {
        match self.0.first() {
            Some(first) if *first == tag => self.any(),
            _ => None,
        }
    }

    /// The only element, which must have this tag.
    pub fn only(mut self, tag: u8) -> Option<Item<'a>> {
        self.take(tag).filter(|_| self.is_empty())
    }
}

/// Appends an element.
pub fn write(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    match value.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length => {
            let bytes = (length as u32).to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
            out.push(0x80 | (4 - start) as u8);
            out.extend_from_slice(&bytes[start..]);
        }
    }
    out.extend_from_slice(value);
}

/// The content of an `INTEGER` that is not negative, from its big-endian bytes.
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = bytes.get(start..).unwrap_or_default();
    let mut out = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        out.push(0);
    }
    out.extend_from_slice(digits);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_shortest_form_is_read() {
        for bad in [
            &[0x04u8, 0x81, 0x01, 0x00][..], // a long length for a short content
            &[0x04, 0x82, 0x00, 0x80],       // a leading zero
            &[0x04, 0x80, 0x00, 0x00],       // indefinite
            &[0x04, 0x02, 0x00],             // longer than what is there
            &[0x04, 0x85, 1, 1, 1, 1, 1],    // five bytes of length
            &[0x1f, 0x81, 0x01, 0x00],       // a tag of several bytes
            &[0x04],
            &[],
        ] {
            assert_eq!(Reader::new(bad).any(), None, "{bad:?}");
        }
        assert_eq!(unsigned(&[0, 0, 0x80]), [0, 0x80]);
        assert_eq!(unsigned(&[0, 0x7f]), [0x7f]);
        assert_eq!(unsigned(&[0, 0]), [0]);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in proptest::collection::vec(any::<u8>(), 0..700), tag in 0u8..0x1f) {
            let mut out = Vec::new();
            write(&mut out, tag, &value);
            write(&mut out, NULL, &[]);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.optional(tag ^ 1), None);
            prop_assert_eq!(reader.take(tag).map(|item| item.value), Some(&value[..]));
            prop_assert!(reader.only(NULL).is_some());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            let mut read = 0;
            while let Some(item) = reader.any() {
                prop_assert!(item.whole.len() >= 2);
                read += item.whole.len();
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
