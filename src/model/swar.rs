//! Looks at bytes eight at a time, in plain integers: most values of an event are shorter than what pays for a vector
//! register, and a loop byte by byte costs more than everything else that is done with them.
//!
//! Each test gives a word that is zero where none of its eight bytes is meant. Above a byte that is meant there may be
//! wrong bits (a borrow), so a word says whether there is one and where the first is, and no more.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// The word of eight times this byte.
const fn every(byte: u8) -> u64 {
    ONES * byte as u64
}

/// Bytes that are this one.
pub const fn is(word: u64, byte: u8) -> u64 {
    let zero = word ^ every(byte);
    zero.wrapping_sub(ONES) & !zero & HIGH
}

/// Bytes that are not plain in JSON text: control characters, quotes, backslashes, and what is beyond ASCII. Fewer steps
/// than the tests one by one: a step may set the high bit of a byte beyond ASCII, too, and that one is meant anyway. As
/// everywhere here, what is above the first of them says nothing.
pub const fn not_plain(word: u64) -> u64 {
    let delete = word.wrapping_add(ONES);
    let control = word.wrapping_sub(every(0x20));
    let quote = (word ^ every(b'"')).wrapping_sub(ONES);
    let backslash = (word ^ every(b'\\')).wrapping_sub(ONES);
    (word | delete | control | quote | backslash) & HIGH
}

/// Bytes that are one of these four, which are ASCII, or beyond ASCII.
pub const fn any_of_four(word: u64, bytes: [u8; 4]) -> u64 {
    let mut found = word;
    let mut place = 0;
    while place < bytes.len() {
        found |= (word ^ every(bytes[place])).wrapping_sub(ONES);
        place += 1;
    }
    found & HIGH
}

/// The place of the first byte that is meant, of a word that is not zero.
pub const fn first(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// Whether a test means any of the bytes. `filler` is a byte that it does not mean.
pub fn any_of(bytes: &[u8], filler: u8, test: impl Fn(u64) -> u64) -> bool {
    let (words, _) = bytes.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | test(u64::from_le_bytes(*word)));
    // The end is looked at with what stands before it, so that nothing is copied.
    let last = match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => short(bytes, filler),
    };
    found | test(last) != 0
}

/// Fewer than eight bytes as one word, with some of them twice or the filler where there are none.
fn short(bytes: &[u8], filler: u8) -> u64 {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*head)) << 32 | u64::from(u32::from_le_bytes(*tail));
    }
    bytes.iter().fold(every(filler), |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plain ASCII, and at most two bytes of any kind at any place.
    fn mostly_plain() -> impl Strategy<Value = Vec<u8>> {
        let odd = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..=2);
        (prop::collection::vec(0x20u8..=0x7e, 0..40), odd).prop_map(|(mut bytes, odd)| {
            let length = bytes.len();
            for (place, byte) in odd.into_iter().filter(|_| length > 0) {
                bytes[place.index(length)] = byte;
            }
            bytes
        })
    }

    /// Every byte at every place of every length that the ends are looked at differently for.
    #[test]
    fn one_byte_is_seen_wherever_it_stands() {
        let special = |byte: u8| !(0x20..0x7f).contains(&byte) || matches!(byte, b'"' | b'\\');
        let four = *b"%&\\;";
        for (byte, length) in (0..=255u8).flat_map(|byte| (1..=17).map(move |length| (byte, length))) {
            for (place, filler) in
                (0..length).flat_map(|place| [b' ', b'!', b'~'].map(|filler| (place, filler)))
            {
                let mut bytes = vec![filler; length];
                bytes[place] = byte;
                assert_eq!(any_of(&bytes, b' ', not_plain), special(byte), "{bytes:?}");
                let meant = !byte.is_ascii() || four.contains(&byte);
                assert_eq!(any_of(&bytes, b' ', |word| any_of_four(word, four)), meant, "{bytes:?}");
                assert!(any_of(&bytes, !byte, |word| is(word, byte)), "{bytes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn tests_mean_what_they_say(bytes in mostly_plain(), byte in 0u8..=0x80) {
            prop_assert_eq!(any_of(&bytes, !byte, |word| is(word, byte)), bytes.contains(&byte));
            let special = |byte: &u8| !(0x20..0x7f).contains(byte) || matches!(byte, b'"' | b'\\');
            prop_assert_eq!(any_of(&bytes, b' ', not_plain), bytes.iter().any(special));
            let four = [b'%', byte & 0x7e, b'\\', 0x7f];
            let meant = |byte: &u8| !byte.is_ascii() || four.contains(byte);
            prop_assert_eq!(any_of(&bytes, 1, |word| any_of_four(word, four)), bytes.iter().any(meant));
            if let Some((chunk, _)) = bytes.split_first_chunk::<8>() {
                let found = is(u64::from_le_bytes(*chunk), byte);
                let place = chunk.iter().position(|other| *other == byte);
                prop_assert_eq!((found != 0).then(|| first(found)), place);
            }
        }
    }
}
