//! What touches a number on either side.
//!
//! Digits inside a longer token are a part of something else: a UUID, a hash, a record id. Letters that
//! only name the number (`card4111…`, `…exp`) are not. The rules look at the whole token on that side, not
//! at one character.

use super::token;
use super::words;

/// What a side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// Nothing touches it.
    Clear,
    /// Something touches it and makes it less likely, by so many points.
    Touched(&'static str, i8),
    /// A word for the number touches it.
    Named,
    /// It is a part of something else.
    Inside,
}

/// The side before `start`.
pub(super) fn left(bytes: &[u8], start: usize) -> Edge {
    if start == 0 || token::escape_ends_at(bytes, start) {
        return Edge::Clear;
    }
    let head = bytes.get(start.saturating_sub(24)..start).unwrap_or_default();
    match head.last() {
        Some(byte) if byte.is_ascii_alphabetic() => {
            let from = head.iter().rposition(|byte| !byte.is_ascii_alphabetic()).map_or(0, |place| place + 1);
            let digit_before = from > 0 && head.get(from - 1).is_some_and(u8::is_ascii_digit);
            letters(head.get(from..).unwrap_or_default(), digit_before)
        }
        Some(b'-' | b'_') => {
            let joined = head.get(..head.len() - 1).unwrap_or_default();
            let from =
                joined.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |place| place + 1);
            name(joined.get(from..).unwrap_or_default())
        }
        Some(b'.') => match head.iter().rev().nth(1) {
            None | Some(b' ' | b'-' | b':' | b'=' | b'(' | b',' | b'"') => {
                Edge::Touched("decimal fraction", -5)
            }
            _ => Edge::Clear,
        },
        Some(b'+') => Edge::Touched("plus sign", -3),
        Some(b'$') => Edge::Touched("currency sign", -3),
        _ if head.ends_with("€".as_bytes()) || head.ends_with("£".as_bytes()) => {
            Edge::Touched("currency sign", -3)
        }
        _ => Edge::Clear,
    }
}

/// The side after `end`.
pub(super) fn right(bytes: &[u8], end: usize) -> Edge {
    let tail = bytes.get(end..bytes.len().min(end + 24)).unwrap_or_default();
    match tail.first() {
        Some(byte) if byte.is_ascii_alphabetic() => {
            let width = tail.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(tail.len());
            let digit_after = tail.get(width).is_some_and(u8::is_ascii_digit);
            letters(tail.get(..width).unwrap_or_default(), digit_after)
        }
        Some(b'-' | b'_') => {
            let joined = tail.get(1..).unwrap_or_default();
            let width = joined.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(joined.len());
            name(joined.get(..width).unwrap_or_default())
        }
        Some(b':') if tail.get(1).is_some_and(u8::is_ascii_digit) => Edge::Touched("time of day", -2),
        _ => Edge::Clear,
    }
}

/// Letters that touch the digits. `more` says that digits follow beyond them.
fn letters(letters: &[u8], more: bool) -> Edge {
    if known(letters) {
        return Edge::Named;
    }
    if letters.iter().all(u8::is_ascii_hexdigit) || (more && letters.len() < 3) {
        return Edge::Inside;
    }
    Edge::Touched("letters touch it", if more { -3 } else { -1 })
}

/// A name joined by a dash.
fn name(name: &[u8]) -> Edge {
    if name.is_empty() || known(name) {
        return Edge::Clear;
    }
    let digits = name.iter().any(u8::is_ascii_digit);
    let letters = name.iter().any(u8::is_ascii_alphabetic);
    let hex_width = matches!(name.len(), 4 | 8 | 12) && name.iter().all(u8::is_ascii_hexdigit);
    if (digits && letters) || hex_width {
        return Edge::Inside;
    }
    Edge::Touched("joined to a name", -2)
}

fn known(name: &[u8]) -> bool {
    words::find(name)
        .next_back()
        .is_some_and(|(word, end)| end == name.len() && (word.card > 0 || word.ssn > 0))
}
