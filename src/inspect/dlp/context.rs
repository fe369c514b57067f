//! What the text around a number says about it.
//!
//! The nearest statement wins: a key directly before the number (`ssn=`, `dur_ms=`, `"card":`), then the
//! words before it, then the name of the field it stands in; a word behind it is a hint. A masked value or
//! another number between word and number has used the word up, so `SSN XXX-XX-1234 id 123456789` says
//! nothing about the second. In JSON text a word in another member is no context, and keys that only say
//! `old` or `new` pass on what stands before them.

use super::words::{self, Word};
use super::{Detector, Score};

/// How far to look back and ahead, in bytes.
const BEFORE: usize = 64;
const AHEAD: usize = 24;
/// How far a word that names another thing reaches: it stands directly before its number.
const DENIAL: usize = 16;

/// What was found. Zero points mean nothing was said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// By the words or the key before.
    pub(super) before: i8,
    /// By the name of the field, as path or as JSON key.
    pub(super) field: i8,
    /// By what follows.
    pub(super) after: i8,
}

impl Context {
    /// Adds what was said to a score. A vague field name neither weighs against a statement nor twice.
    pub(super) fn rate(&self, score: &mut Score) {
        let vague = (-2..0).contains(&self.field) && self.before != 0;
        score.add("words before", self.before);
        score.add("field name", if vague { 0 } else { self.field });
        score.add("words after", self.after);
    }
    /// Whether something states that it is such a number.
    pub(super) fn states(&self) -> bool {
        self.before >= 3 || self.field >= 3 || (self.after >= 2 && self.before >= 0)
    }
}

fn points(detector: Detector, word: &Word) -> i8 {
    match detector {
        Detector::PaymentCard => word.card,
        Detector::UsSsn => word.ssn,
    }
}

/// What is said about the bytes `start..end`.
pub(super) fn around(detector: Detector, text: &[u8], start: usize, end: usize, path: &str) -> Context {
    let window = text.get(start.saturating_sub(BEFORE)..start).unwrap_or_default();
    let Before { points, field } = before(detector, window);
    let named = if path.is_empty() { 0 } else { name(detector, path.as_bytes()) };
    // The key in the text stands nearer than the path of the field around it.
    let field = if field == 0 { named } else { field };
    let ahead = text.get(end..text.len().min(end + AHEAD)).unwrap_or_default();
    Context { before: points, field, after: after(detector, ahead) }
}

#[derive(Default)]
struct Before {
    points: i8,
    field: i8,
}

fn before(detector: Detector, window: &[u8]) -> Before {
    let (value, keys) = split_json(window);
    let said = free_text(detector, value);
    if said != Some(0) {
        // A neutral key in the text (`bytes=`) hides everything before it, the field name included.
        return Before {
            points: said.unwrap_or(0),
            field: if said.is_none() { -1 } else { json_field(detector, keys) },
        };
    }
    Before { points: 0, field: json_field(detector, keys) }
}

/// Splits at the last `":`: the value's text so far, and everything up to the quote that ends its key.
fn split_json(window: &[u8]) -> (&[u8], Option<&[u8]>) {
    match window.windows(2).rposition(|pair| pair == b"\":") {
        Some(place) => {
            let value = window.get(place + 2..).unwrap_or_default();
            (trim_start(value), window.get(..place))
        }
        None => (window, None),
    }
}

/// What the key before says; generic keys pass on what the key before them says.
fn json_field(detector: Detector, mut keys: Option<&[u8]>) -> i8 {
    for _ in 0..4 {
        let Some(text) = keys else { return 0 };
        let text = text.strip_suffix(b"\\").unwrap_or(text);
        let from = text.iter().rposition(|byte| *byte == b'"').map_or(0, |quote| quote + 1);
        let key = text.get(from..).unwrap_or_default();
        if !words::is_generic(key) {
            return name(detector, key);
        }
        keys = split_json(text.get(..from).unwrap_or_default()).1;
    }
    0
}

/// What a field's name says. The last word of it is the nearest.
fn name(detector: Detector, name: &[u8]) -> i8 {
    sum(words::find(name).map(|(word, _)| points(detector, word)).rev())
}

/// Points by the words before; `None` when a neutral key stands directly before the number.
fn free_text(detector: Detector, value: &[u8]) -> Option<i8> {
    let bare = trim_end(value);
    let (text, key) = match bare.split_last() {
        Some((b'=', rest)) => (rest, Some(last_word(rest))),
        Some((b':', rest)) if bare.len() == value.len() => (rest, Some(last_word(rest))),
        _ => (bare, None),
    };
    if let Some(key) = key.filter(|key| !key.is_empty() && !words::is_generic(key)) {
        let said = name(detector, key);
        // `Tax id / SSN:` and `card on file:` are keys of several words.
        let phrase = text.get(text.len().saturating_sub(24)..).unwrap_or_default();
        let touching = words::find(phrase).next_back().filter(|(_, end)| *end == phrase.len());
        return match touching {
            Some((word, _)) => Some(points(detector, word)).filter(|points| *points != 0),
            None if said != 0 => Some(said),
            None => None,
        };
    }
    let text = text.get(used_up_to(text)..).unwrap_or_default();
    let reach = text.len().saturating_sub(DENIAL);
    let heard = |(word, end): (&Word, usize)| {
        Some(points(detector, word)).filter(|points| *points > 0 || end >= reach)
    };
    Some(sum(words::find(text).rev().filter_map(heard)))
}

/// Adds points from the nearest word outwards until a clear statement was heard.
fn sum(points: impl Iterator<Item = i8>) -> i8 {
    let mut sum = 0i8;
    for points in points {
        sum = sum.saturating_add(points);
        if points.abs() >= 2 {
            break;
        }
    }
    sum.clamp(-6, 4)
}

/// The end of the last thing that used up the words before it: four digits in a row or a masked part.
fn used_up_to(text: &[u8]) -> usize {
    let digits =
        text.windows(4).rposition(|part| part.iter().all(u8::is_ascii_digit)).map_or(0, |place| place + 4);
    let masked =
        text.windows(2).rposition(|part| matches!(part, b"**" | b"XX" | b"xx")).map_or(0, |place| place + 2);
    digits.max(masked)
}

/// What follows: `(Visa)`, `exp 09/27`, `cvv`; or a unit, which makes it a quantity.
fn after(detector: Detector, ahead: &[u8]) -> i8 {
    let end =
        ahead.iter().position(|byte| matches!(byte, b'"' | b'\n' | b'{' | b'\\')).unwrap_or(ahead.len());
    let ahead = ahead.get(..end).unwrap_or_default();
    let unit: &[u8] = trim_start(ahead);
    let width = unit.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let unit = unit.get(..width).unwrap_or_default();
    const UNITS: [&[u8]; 9] = [b"ms", b"us", b"ns", b"sec", b"bytes", b"rows", b"records", b"items", b"pcs"];
    if UNITS.iter().any(|known| unit.eq_ignore_ascii_case(known)) {
        return -3;
    }
    // Another key or number ends what belongs to this one.
    let reach = ahead.iter().position(|byte| matches!(byte, b'=' | b':')).map_or(ahead.len(), |_| width);
    let said =
        words::find(ahead.get(..reach).unwrap_or_default()).map(|(word, _)| points(detector, word)).next();
    said.map_or(0, |points| points.clamp(0, 2))
}

fn last_word(text: &[u8]) -> &[u8] {
    let stop = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'#'));
    let text = text.strip_suffix(b"\"").unwrap_or(text);
    text.get(text.iter().rposition(stop).map_or(0, |place| place + 1)..).unwrap_or_default()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_filler(*byte)).map_or(0, |place| place + 1);
    text.get(..end).unwrap_or_default()
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_filler(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn is_filler(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'(' | b'[' | b'<' | b'>' | b'*' | b'`')
}
