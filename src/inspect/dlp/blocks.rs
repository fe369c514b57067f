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
    let mut digits = 0;
    for chunk in bytes.chunks(BLOCK) {
        digits += chunk.iter().map(|byte| u8::from(byte.wrapping_sub(b'0') < 10)).sum::<u8>();
        if digits >= FEWEST as u8 || chunk.iter().any(|byte| *byte >= 0x80) {
            return false;
        }
    }
    true
}

/// A walk over the places of a text where a closer look is due.
pub(super) struct Places<'t> {
    bytes: &'t [u8],
    /// Where the current block begins.
    block: usize,
    /// Its places that were not handed out yet.
    left: u64,
}

impl<'t> Places<'t> {
    /// Over a text, from its beginning.
    pub(super) fn new(bytes: &'t [u8]) -> Places<'t> {
        let mut places = Places { bytes, block: 0, left: 0 };
        places.load();
        places
    }

    /// The next place at or after `from`. It lies within the number or at its first byte;
    /// [`super::cluster::begin`] finds where that is.
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        loop {
            match from.saturating_sub(self.block) {
                0 => {}
                done @ 1..BLOCK => self.left &= u64::MAX << done,
                _ => {
                    self.block = from;
                    self.load();
                }
            }
            if self.left != 0 {
                return Some(self.block + self.left.trailing_zeros() as usize);
            }
            if self.bytes.len().saturating_sub(self.block) <= BLOCK {
                return None;
            }
            self.block += STRIDE;
            self.load();
        }
    }

    fn load(&mut self) {
        let rest = self.bytes.get(self.block..).unwrap_or_default();
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
        self.left = candidates(self.bytes, self.block, &masks);
    }
}

fn candidates(bytes: &[u8], place: usize, masks: &Masks) -> u64 {
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
    let mut candidates = touched;
    if nine != 0 {
        candidates |= Runs { nine, joined, masks }.useful(bytes, place);
    }
    if hiding != 0 {
        candidates |= foreign_digits(bytes, place, hiding);
    }
    candidates
}

/// Runs of nine and more bytes that are digits or separators next to digits.
struct Runs<'m> {
    nine: u64,
    joined: u64,
    masks: &'m Masks,
}

impl Runs<'_> {
    /// The beginnings of those runs that can hold a number, or whose end is not in this block.
    fn useful(&self, bytes: &[u8], place: usize) -> u64 {
        let mut left = self.nine;
        let mut found = 0;
        while left != 0 {
            let start = left.trailing_zeros();
            let length = (self.joined >> start).trailing_ones();
            let end = start + length;
            let run = if length >= 64 { u64::MAX } else { ((1 << length) - 1) << start };
            let cut = start == 0 || end >= 64 || self.masks.hiding >> end & 1 != 0;
            let first = bytes.get(place + start as usize).copied().unwrap_or(0);
            if cut || self.holds(run, length, first) {
                found |= 1 << start;
            }
            left &= !run;
        }
        found
    }

    /// Whether a run that lies within the block can hold a number: times, dates, phones and most ids have
    /// too few digits for a card and not the form of a social-security number.
    fn holds(&self, run: u64, length: u32, first: u8) -> bool {
        let digits = self.masks.digits & run;
        match digits.count_ones() {
            0..9 => false,
            // Without separators only the length and, of short ones, the first digit need a look.
            count if count == length => match count {
                9 | 15..=19 => true,
                12..=14 => matches!(first, b'3'..=b'6'),
                _ => false,
            },
            9..12 => {
                let gaps = run & !digits;
                let pairs = digits & digits >> 1;
                let quads = pairs & pairs >> 2;
                let nine_digits = quads & quads >> 4 & digits >> 8;
                let three_two_four = pairs & digits >> 2 & gaps >> 3 & pairs >> 4 & gaps >> 6 & quads >> 7;
                (nine_digits | three_two_four | (gaps & gaps >> 1)) != 0
            }
            _ => true,
        }
    }
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
