//! Looks at bytes eight at a time, in plain integers: most values of an event are shorter than what pays for a vector
//! register, and a loop byte by byte costs more than everything else that is done with them.
//!
//! Each test gives a word that is zero where none of its eight bytes is meant. Above a byte that is meant there may be
//! wrong bits (a borrow), so a word says whether there is one and where the first is, and no more.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Bytes that are this one.
pub const fn is(word: u64, byte: u8) -> u64 {
    let zero = word ^ (ONES * byte as u64);
    zero.wrapping_sub(ONES) & !zero & HIGH
}

/// Bytes below this one, which is 0x80 at most.
pub const fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(ONES * byte as u64) & !word & HIGH
}

/// Bytes that are not ASCII.
pub const fn beyond_ascii(word: u64) -> u64 {
    word & HIGH
}

/// The place of the first byte that is meant, of a word that is not zero.
pub const fn first(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// Whether a test means any of the bytes. `filler` is a byte that it does not mean.
pub fn any_of(bytes: &[u8], filler: u8, test: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [filler; 8];
    last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    let found = words.iter().fold(0, |found, word| found | test(u64::from_le_bytes(*word)));
    found | test(u64::from_le_bytes(last)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tests_mean_what_they_say(bytes in prop::collection::vec(any::<u8>(), 0..40), byte in 0u8..=0x80) {
            prop_assert_eq!(any_of(&bytes, !byte, |word| is(word, byte)), bytes.contains(&byte));
            prop_assert_eq!(any_of(&bytes, 0xff, |word| below(word, byte)), bytes.iter().any(|other| *other < byte));
            prop_assert_eq!(any_of(&bytes, 0, beyond_ascii), !bytes.is_ascii());
            if let Some((chunk, _)) = bytes.split_first_chunk::<8>() {
                let found = is(u64::from_le_bytes(*chunk), byte);
                let place = chunk.iter().position(|other| *other == byte);
                prop_assert_eq!((found != 0).then(|| first(found)), place);
            }
        }
    }
}
