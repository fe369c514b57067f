//! Where a number could begin: one pass over 64-byte blocks.
//!
//! Each block becomes three bit masks: digits, single separators, and bytes that may hide either (bytes
//! above ASCII, `%`, `&`, `\`, `;`). A number is worth a closer look where nine bytes in a row are digits
//! or separators next to digits, where a digit stands directly before a hiding byte, or where a decimal
//! digit of another script begins. The masks are built from byte-wise comparisons that the compiler turns
//! into vector code; the bits are gathered by a multiplication, so no unsafe code is needed.

use super::{cluster, token};
use crate::model::swar;

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

/// What a byte is to a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No number has it.
    Stops,
    Digit,
    Separates,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Stops; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => Kind::Digit,
            other if cluster::separates(other) => Kind::Separates,
            _ => Kind::Stops,
        };
        byte += 1;
    }
    kinds
};

/// Whether a text cannot hold any number: nothing in it hides a digit, and no nine bytes in a row are digits and
/// separators, or those that are cannot be one. Most values of an event end here, and of those most bytes are not looked
/// at: where nine bytes in a row are looked for, a byte that stops rules out all nine that it could be the last of.
pub(super) fn hopeless(bytes: &[u8]) -> bool {
    if swar::any_of(bytes, b' ', |word| swar::any_of_four(word, *b"%&\\;")) {
        return false;
    }
    let stops = |byte: &u8| KINDS[usize::from(*byte)] == Kind::Stops;
    let mut rest = bytes;
    while let Some((nine, behind)) = rest.split_first_chunk::<FEWEST>() {
        // From behind: the last stop within the nine is the one to go on after.
        let stop = match nine.iter().rposition(stops) {
            Some(stop) => stop,
            None => {
                let end = FEWEST + behind.iter().position(stops).unwrap_or(behind.len());
                if may_be_number(rest.get(..end).unwrap_or_default()) {
                    return false;
                }
                end
            }
        };
        rest = rest.get(stop + 1..).unwrap_or_default();
    }
    true
}

fn hides(byte: u8) -> bool {
    (byte >= 0x80) | (byte.wrapping_sub(b'%') < 2) | (byte == b'\\') | (byte == b';')
}

/// Whether a run of digits and separators that nothing continues can be a number.
fn may_be_number(run: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let (Some(first), Some(last)) = (run.iter().position(digit), run.iter().rposition(digit)) else {
        return false;
    };
    let run = run.get(first..=last).unwrap_or_default();
    let lead = run.first().copied().unwrap_or(0);
    match run.iter().filter(|byte| digit(byte)).count() {
        0..FEWEST => false,
        digits if digits == run.len() => bare_may_be_number(u32::try_from(digits).unwrap_or(u32::MAX), lead),
        _ => true,
    }
}

/// Whether so many digits without separators can be a number: of short ones the first digit tells.
fn bare_may_be_number(count: u32, first: u8) -> bool {
    match count {
        9 | 15..=19 => true,
        12..=14 => matches!(first, b'3'..=b'6'),
        _ => false,
    }
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
    /// The first digits of those runs that can hold a number, or that the block cuts. Separators at either end of a
    /// run are no part of a number.
    fn useful(&self, bytes: &[u8], place: usize) -> u64 {
        let mut left = self.nine;
        let mut found = 0;
        while left != 0 {
            let start = left.trailing_zeros();
            let length = (self.joined >> start).trailing_ones();
            let end = start + length;
            let run = if length >= 64 { u64::MAX } else { ((1 << length) - 1) << start };
            left &= !run;
            let digits = self.masks.digits & run;
            if digits == 0 {
                continue;
            }
            let (first, last) = (digits.trailing_zeros(), 63 - digits.leading_zeros());
            let cut = (start == 0 && place > 0) || end >= 64 || self.masks.hiding >> end & 0b11 != 0;
            let lead = bytes.get(place + first as usize).copied().unwrap_or(0);
            let within = run & u64::MAX << first & u64::MAX >> (63 - last);
            if cut || self.holds(within, last + 1 - first, lead) {
                found |= 1 << first;
            }
        }
        found
    }

    /// Whether a run that lies within the block can hold a number: times, dates, phones and most ids have
    /// too few digits for a card and not the form of a social-security number.
    fn holds(&self, run: u64, length: u32, first: u8) -> bool {
        let digits = self.masks.digits & run;
        match digits.count_ones() {
            0..9 => false,
            count if count == length => {
                // Of digits before a number some may be an escape's: `%34` is a 4.
                bare_may_be_number(count, first) || (self.masks.hiding != 0 && (20..24).contains(&count))
            }
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
    let mut any_hides = 0;
    for (place, byte) in block.iter().copied().enumerate() {
        digits[place] = u8::from(byte.wrapping_sub(b'0') < 10);
        separators[place] = u8::from(
            (byte == b' ')
                | (byte.wrapping_sub(b'-') < 3)
                | (byte == b'+')
                | (byte == b'_')
                | (byte.wrapping_sub(b'\t') < 5),
        );
        hiding[place] = u8::from(hides(byte));
        any_hides |= hiding[place];
    }
    let hiding = if any_hides == 0 { 0 } else { gather(&hiding) };
    Masks { digits: gather(&digits), separators: gather(&separators), hiding }
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

#[cfg(test)]
mod tests {
    use super::super::generate::Generator;
    use super::super::{Cluster, read_one, scan_plain};
    use super::*;
    use proptest::prelude::*;

    /// Hits of any likelihood, read cluster by cluster from the first digit on, without any short cut.
    fn by_force(text: &[u8]) -> usize {
        let mut hits = Vec::new();
        let mut place = 0;
        while place < text.len() {
            match text[place].is_ascii_digit() {
                true => place = read_one(&mut Cluster::default(), text, place, "", &mut hits).max(place + 1),
                false => place += 1,
            }
        }
        hits.len()
    }

    fn around() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "",
            "a",
            "f-",
            "-",
            " ",
            "x12-",
            "00-a1b2 ",
            ", ",
            "7",
            "e4-",
            "+",
            "id 4 ",
            "1     ",
            "2026-01-01    ",
            "2026-01-01      ",
            "12:00 2026-01-01\t\t\t\t\t\t",
            "     3",
            " - x",
            "      2026-01-01",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        /// Numbers, spelled with and without separators and cut at either end, among hexadecimal and other text.
        #[test]
        fn what_is_passed_over_holds_nothing(
            seed in any::<u64>(),
            network in prop::sample::select(vec!["visa", "amex", "diners", "mastercard"]),
            ssn in any::<bool>(),
            gap in prop::sample::select(vec!["", " ", "-", ".", "--", "    "]),
            cut in 0usize..4,
            before in around(),
            after in around(),
            filler in "[0-9a-f-]{0,70}",
        ) {
            let mut random = Generator::new(seed);
            let digits: Vec<char> = if ssn { random.ssn() } else { random.card(network) }.chars().collect();
            let parts: Vec<String> = digits[cut.min(digits.len())..].chunks(4).map(|part| part.iter().collect()).collect();
            let text = format!("{filler}{before}{}{after}", parts.join(gap));
            let forced = by_force(text.as_bytes());
            if hopeless(text.as_bytes()) {
                prop_assert_eq!(forced, 0, "{}", text);
            }
            let mut hits = Vec::new();
            scan_plain(&mut Cluster::default(), text.as_bytes(), "", &mut hits);
            prop_assert_eq!(hits.is_empty(), forced == 0, "{}", text);
        }

        #[test]
        fn ids_and_plain_words_are_passed_over(high in any::<u64>(), low in 0u64..1 << 48) {
            let id = format!("{:08x}-41b5-ec11-983f-{low:012x}", high as u32);
            let digits = id.bytes().filter(u8::is_ascii_digit).count();
            prop_assume!(digits < 24);
            let mut hits = Vec::new();
            scan_plain(&mut Cluster::default(), id.as_bytes(), "", &mut hits);
            prop_assert!(!hopeless(id.as_bytes()) || hits.is_empty());
        }
    }

    /// What stands before a number, however far, does not hide it.
    #[test]
    fn a_date_before_a_wide_gap_hides_no_number() {
        let card = Generator::new(7).card("visa");
        for gap in [" ", "   ", "    ", "      ", "\t\t\t\t\t\t\t", "\n\n\n\n\n"] {
            for before in ["1", "2026-01-01", "12:00 2026-01-01", "1     2     3", "x 555"] {
                let text = format!("{before}{gap}{card}");
                let masked = super::super::mask(&text).unwrap_or_default();
                assert!(!masked.is_empty() && !masked.contains(&card), "{before:?} {gap:?}");
            }
        }
    }

    #[test]
    fn most_values_of_events_are_passed_over() {
        for text in [
            "4026be43-41b5-ec11-983f-000000032098",
            "2026-11-20T07:00:00Z",
            "case 83810 was looked at and closed",
            "1700000000000",
            "incident",
            "",
        ] {
            assert!(hopeless(text.as_bytes()), "{text}");
        }
        for text in ["4111", "\u{664}\u{661}", "a%34b", "9&#57;"] {
            assert_eq!(hopeless(text.as_bytes()), text == "4111", "{text}");
        }
    }
}
