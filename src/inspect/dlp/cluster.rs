//! A cluster: digits with at most three separators between any two, as groups.
//!
//! All detectors read their numbers from clusters, so every spelling of a digit or separator that
//! [`super::token`] knows works for all of them. A cluster's digits are wiped when it is dropped.

use super::blocks::FEWEST;
use super::token::{self, Token};
use zeroize::Zeroize;

/// Most separators between two digits of one number: `1234 - 5678`.
const MOST_SEPARATORS: u8 = 3;

/// Room for the digits of a cluster; few have more.
const USUAL_DIGITS: usize = 32;

/// One digit and where it is spelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digit {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Digits without separator between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Index of its first digit.
    pub(super) first: usize,
    /// How many digits.
    pub(super) len: usize,
    /// The separator before it, 0 before the first group.
    pub(super) gap: u8,
    /// How many separators stand there.
    pub(super) width: u8,
}

/// Digits and groups, reused from cluster to cluster.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) digits: Vec<Digit>,
    /// The values alone, for checks that want them in one piece.
    pub(super) values: Vec<u8>,
    pub(super) groups: Vec<Group>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Cluster {
    /// Reads the cluster that begins at `from`. Returns where reading stopped, which is after `from`
    /// whenever anything was there.
    pub(super) fn fill(&mut self, bytes: &[u8], from: usize) -> usize {
        self.values.clear();
        self.digits.clear();
        self.groups.clear();
        let mut place = from;
        let (mut gap, mut width) = (0u8, 0u8);
        loop {
            match token::read(bytes, place) {
                Token::Digit(value, length) => {
                    self.push(value, place, length, gap, width);
                    (gap, width) = (0, 0);
                    place += length;
                }
                Token::Separator(kind, length) if !self.digits.is_empty() && width < MOST_SEPARATORS => {
                    // Of `1 - 2` the dash is what says how the groups belong together.
                    gap = if gap == 0 || gap == b' ' { kind } else { gap };
                    width += 1;
                    place += length;
                }
                Token::Hidden(length) if !self.digits.is_empty() => place += length,
                _ => break,
            }
        }
        place
    }

    fn push(&mut self, value: u8, place: usize, length: usize, gap: u8, width: u8) {
        if self.digits.capacity() == 0 {
            self.digits.reserve(USUAL_DIGITS);
            self.values.reserve(USUAL_DIGITS);
            self.groups.reserve(8);
        }
        // A full stop and a blank end a sentence; they do not join two groups.
        let gap = if gap == b'.' && width > 1 { b' ' } else { gap };
        match self.groups.last_mut() {
            Some(group) if gap == 0 => group.len += 1,
            _ => self.groups.push(Group { first: self.digits.len(), len: 1, gap, width }),
        }
        self.digits.push(Digit { start: place, end: place + length });
        self.values.push(value);
    }

    /// Whether there are enough digits for any detector.
    pub(super) fn promising(&self) -> bool {
        self.digits.len() >= FEWEST
    }

    /// The values of the groups `first..=last`.
    pub(super) fn values_of(&self, first: usize, last: usize) -> &[u8] {
        self.range_of(first, last).and_then(|(from, to)| self.values.get(from..to)).unwrap_or_default()
    }

    /// The digits of the groups `first..=last`.
    pub(super) fn digits_of(&self, first: usize, last: usize) -> &[Digit] {
        self.range_of(first, last).and_then(|(from, to)| self.digits.get(from..to)).unwrap_or_default()
    }

    fn range_of(&self, first: usize, last: usize) -> Option<(usize, usize)> {
        let from = self.groups.get(first)?.first;
        let last = self.groups.get(last)?;
        Some((from, last.first + last.len))
    }
}

/// Whether an ASCII byte separates digits of one number.
pub(super) const fn separates(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'_' | b'/' | b'+' | b'\t'..=b'\r')
}

/// The digit behind the separators that stand at `place`, if there is one.
pub(super) fn after_gap(bytes: &[u8], place: usize) -> Option<usize> {
    let width = bytes.get(place..)?.iter().take_while(|byte| separates(**byte)).count();
    let next = place + width;
    (width > 0 && bytes.get(next).is_some_and(u8::is_ascii_digit)).then_some(next)
}

/// Where a number around `place` begins. The second place, where there is one, is the other reading of
/// two digits after a per cent sign or of four after `\u`: an escape, or part of the number.
pub(super) fn begin(bytes: &[u8], place: usize, floor: usize) -> (usize, Option<usize>) {
    let mut start = place;
    while start > floor && bytes.get(start - 1).is_some_and(|byte| byte.is_ascii_digit() || separates(*byte))
    {
        start -= 1;
    }
    while bytes.get(start).copied().is_some_and(separates) {
        start += 1;
    }
    match escape_before(bytes, start, floor) {
        Some(escape) => (percent_run(bytes, escape, floor), Some(start)),
        None => (start, None),
    }
}

/// The start of an escape whose last digits begin at `start`: `\u0034` and `\uff14`, `&#52;`, `%34`.
fn escape_before(bytes: &[u8], start: usize, floor: usize) -> Option<usize> {
    let head = bytes.get(start.saturating_sub(8).max(floor)..start)?;
    let escape = match head {
        [.., b'%'] => start - 1,
        [.., b'&', b'#'] => start - 2,
        _ => {
            let letters = head.iter().rev().take(3).take_while(|byte| byte.is_ascii_hexdigit()).count();
            match head.get(..head.len() - letters)? {
                [.., b'\\', b'u' | b'x'] => start - letters - 2,
                [.., b'&', b'#', b'x' | b'X'] => start - letters - 3,
                _ => return None,
            }
        }
    };
    let more = bytes.get(floor..escape)?.iter().rev().take(3).take_while(|byte| **byte == b'\\').count();
    Some(if bytes.get(escape) == Some(&b'\\') { escape - more } else { escape })
}

/// Steps back over the leading bytes of a character written as several `%XX`.
fn percent_run(bytes: &[u8], escape: usize, floor: usize) -> usize {
    let mut start = escape;
    for _ in 0..3 {
        let continuation =
            matches!(bytes.get(start..start + 2), Some([b'%', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']));
        let before = start.checked_sub(3).filter(|before| *before >= floor);
        match before {
            Some(before) if continuation && bytes.get(before) == Some(&b'%') => start = before,
            _ => break,
        }
    }
    start
}
