//! Bytes in letters, for positions: everything that enters the trail passes a mask that replaces what looks like a
//! card number, and digits of a digest can look so by accident.

/// Bytes as the letters `a` to `p`, two a byte.
pub(super) fn letters(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(b'a' + nibble)).collect()
}

/// The bytes behind such letters.
pub(super) fn parse_letters(text: &str) -> Option<Vec<u8>> {
    let nibble = |letter: u8| letter.checked_sub(b'a').filter(|nibble| *nibble < 16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}
