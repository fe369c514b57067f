//! Where a number could begin: one pass over 64-byte blocks.
//!
//! Each block becomes three bit masks: digits, single separators, and bytes that may hide either (bytes
//! above ASCII, `%`, `&`, `\`, `;`). A number is worth a closer look where nine bytes in a row are digits
//! or separators next to digits, where a digit stands directly before a hiding byte, or where a decimal
//! digit of another script begins. The masks are built from byte-wise comparisons that the compiler turns
//! into vector code; the bits are gathered by a multiplication, so no unsafe code is needed.

use super::token;

/// Bytes of one block.
const BLOCK: usize = 64;
/// Fewest digits of a number that a detector knows.
pub(super) const FEWEST: usize = 9;
/// Blocks overlap so that nine bytes in a row lie within one block as a whole.
const STRIDE: usize = BLOCK - (FEWEST - 1);

/// The masks of one block.
struct Masks {
    digits: u64,
    separators: u64,
    hiding: u64,
}

/// Whether a text cannot hold any number: too few digits and nothing that may hide one. Most values of an
/// event end here.
pub(super) fn hopeless(bytes: &[u8]) -> bool {
    if bytes.len() < FEWEST {
        return true;
    }
    if bytes.len() > 4096 {
        return false;
    }
    let digits: usize = bytes.iter().map(|byte| usize::from(byte.wrapping_sub(b'0') < 10)).sum();
    digits < FEWEST && !bytes.iter().any(|byte| *byte >= 0x80)
}

/// The next place at or after `from` where a closer look is due. The place lies within the number or at
/// its first byte; [`super::cluster::begin`] finds where it starts.
pub(super) fn next(bytes: &[u8], from: usize) -> Option<usize> {
    let mut place = from;
    while let Some(rest) = bytes.get(place..).filter(|rest| !rest.is_empty()) {
        let masks = match rest.first_chunk::<BLOCK>() {
            Some(block) => masks(block),
            None => {
                let mut block = [0u8; BLOCK];
                if let Some(head) = block.get_mut(..rest.len()) {
                    head.copy_from_slice(rest);
                }
                masks(&block)
            }
        };
        if let Some(bit) = first_candidate(bytes, place, &masks) {
            return Some(place + bit);
        }
        if rest.len() <= BLOCK {
            return None;
        }
        place += STRIDE;
    }
    None
}

fn first_candidate(bytes: &[u8], place: usize, masks: &Masks) -> Option<usize> {
    let Masks { digits, separators, hiding } = *masks;
    // The two bytes at either edge do not know their neighbours, so they count as near a digit.
    let edges = 0b11 | 0b11 << 62;
    let near = digits << 1 | digits << 2 | digits >> 1 | digits >> 2 | edges;
    let joined = digits | (separators & near);
    let two = joined & joined >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    let nine = eight & joined >> 8;
    let touched = digits & hiding >> 1;
    let mut candidates = nine | touched;
    if hiding != 0 {
        candidates |= foreign_digits(bytes, place, hiding);
    }
    (candidates != 0).then(|| candidates.trailing_zeros() as usize)
}

/// The first decimal digit of another script among the hiding bytes, as a mask.
#[cold]
fn foreign_digits(bytes: &[u8], place: usize, hiding: u64) -> u64 {
    let mut left = hiding;
    while left != 0 {
        let bit = left.trailing_zeros() as usize;
        left &= left - 1;
        let lead = bytes.get(place + bit).copied().unwrap_or(0);
        if token::may_lead_digit(lead) && token::is_foreign_digit(bytes, place + bit) {
            return 1 << bit;
        }
    }
    0
}

fn masks(block: &[u8; BLOCK]) -> Masks {
    let mut digits = [0u8; BLOCK];
    let mut separators = [0u8; BLOCK];
    let mut hiding = [0u8; BLOCK];
    for (place, byte) in block.iter().copied().enumerate() {
        digits[place] = u8::from(byte.wrapping_sub(b'0') < 10);
        separators[place] = u8::from(
            (byte == b' ')
                | (byte.wrapping_sub(b'-') < 3)
                | (byte == b'+')
                | (byte == b'_')
                | (byte.wrapping_sub(b'\t') < 5),
        );
        hiding[place] =
            u8::from((byte >= 0x80) | (byte.wrapping_sub(b'%') < 2) | (byte == b'\\') | (byte == b';'));
    }
    Masks { digits: gather(&digits), separators: gather(&separators), hiding: gather(&hiding) }
}

/// One bit for each byte that is 1. The factor moves the lowest bit of byte `i` to bit `56 + i`, and no
/// two products meet, so nothing carries.
fn gather(ones: &[u8; BLOCK]) -> u64 {
    let (chunks, _) = ones.as_chunks::<8>();
    chunks.iter().enumerate().fold(0, |mask, (place, chunk)| {
        let bits = u64::from_le_bytes(*chunk).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask | bits << (place * 8)
    })
}
