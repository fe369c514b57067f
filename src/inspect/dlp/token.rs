//! One step of reading digits: a digit, a separator, something invisible, or anything else.
//!
//! Numbers reach an audit feed in many spellings: digits of other scripts, typographic blanks and dashes,
//! and the escapes of JSON (`\u0034`), URLs (`%34`) and HTML (`&#52;`, `&nbsp;`), sometimes one inside the
//! other (`%2520`, `&amp;nbsp;`, `\\u00a0`). They are read where they stand, without a decoded copy, so
//! every position is a position in the source and no input can grow. An escape of an escape is followed
//! once more, not further.

/// What stands at a place, with its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A decimal digit of any known script.
    Digit(u8, usize),
    /// A separator, reduced to one of `' '`, `-`, `.`, `_`, `/`, `+`, `\n`.
    Separator(u8, usize),
    /// Takes no space on the screen: zero-width characters, the soft hyphen.
    Hidden(usize),
    /// Anything else.
    Other,
}

/// Zeros of the decimal digits (Unicode category Nd) that people type in CRMs.
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x17e0, 0x1810, 0xff10, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
];

/// Whether a byte starts the UTF-8 form of some digit in [`ZEROS`].
pub(super) fn may_lead_digit(byte: u8) -> bool {
    matches!(byte, 0xd9 | 0xdb | 0xdf | 0xe0 | 0xe1 | 0xef | 0xf0)
}

/// Whether a digit of another script stands at `place`.
pub(super) fn is_foreign_digit(bytes: &[u8], place: usize) -> bool {
    matches!(character(bytes, place), Some((found, length)) if matches!(classify(found, length), Token::Digit(..)))
}

/// Reads what stands at `place`.
pub(super) fn read(bytes: &[u8], place: usize) -> Token {
    let Some(byte) = bytes.get(place).copied() else { return Token::Other };
    match byte {
        b'0'..=b'9' => Token::Digit(byte - b'0', 1),
        b'\\' => backslash(bytes, place),
        b'%' => percent(bytes, place),
        b'&' => entity(bytes, place),
        0..=0x7f => classify(char::from(byte), 1),
        _ => character(bytes, place).map_or(Token::Other, |(found, length)| classify(found, length)),
    }
}

fn classify(character: char, length: usize) -> Token {
    match character {
        '0'..='9' => Token::Digit((u32::from(character) - 0x30) as u8, length),
        ' '
        | '\t'
        | '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{3000}' => Token::Separator(b' ', length),
        '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => {
            Token::Separator(b'\n', length)
        }
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2043}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => {
            Token::Separator(b'-', length)
        }
        '.' | '\u{b7}' | '\u{2024}' | '\u{ff0e}' | '\u{2022}' => Token::Separator(b'.', length),
        '_' | '\u{ff3f}' => Token::Separator(b'_', length),
        '/' | '\u{2044}' | '\u{2215}' | '\u{ff0f}' => Token::Separator(b'/', length),
        '+' => Token::Separator(b'+', length),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' => Token::Hidden(length),
        _ if u32::from(character) > 0x7f => foreign(u32::from(character), length),
        _ => Token::Other,
    }
}

fn foreign(point: u32, length: usize) -> Token {
    ZEROS
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&point))
        .map_or(Token::Other, |zero| Token::Digit((point - zero) as u8, length))
}

/// The character at `place`; `None` in the middle of one or at the end.
fn character(bytes: &[u8], place: usize) -> Option<(char, usize)> {
    let length = match bytes.get(place)? {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(place..place + length)?).ok()?;
    text.chars().next().map(|found| (found, length))
}

/// `\n`, `\t`, `\u00a0`, `\x20`, `\/`, also with the backslash itself escaped up to two times.
fn backslash(bytes: &[u8], place: usize) -> Token {
    let slashes =
        bytes.get(place..).unwrap_or_default().iter().take(5).take_while(|byte| **byte == b'\\').count();
    if slashes > 4 {
        return Token::Other;
    }
    let after = place + slashes;
    let (digits_from, width) = match bytes.get(after) {
        Some(b'n' | b'r') => return Token::Separator(b'\n', slashes + 1),
        Some(b't') => return Token::Separator(b' ', slashes + 1),
        Some(b'/') => return Token::Separator(b'/', slashes + 1),
        Some(b'u') => (after + 1, 4),
        Some(b'x') => (after + 1, 2),
        _ => return Token::Other,
    };
    match hex(bytes, digits_from, width).and_then(char::from_u32) {
        Some(found) => classify(found, digits_from + width - place),
        None => Token::Other,
    }
}

/// `%20`, `%2D`, `%C2%A0`, and `%25` standing for the per cent sign of another escape.
fn percent(bytes: &[u8], place: usize) -> Token {
    let Some((first, mut at)) = percent_byte(bytes, place) else { return Token::Other };
    let length = match first {
        0x00..=0x7f => return classify(char::from(first), at - place),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Token::Other,
    };
    let mut encoded = [first; 4];
    for slot in encoded.iter_mut().take(length).skip(1) {
        let Some((value, end)) = percent_byte(bytes, at) else { return Token::Other };
        (*slot, at) = (value, end);
    }
    let text = encoded.get(..length).and_then(|encoded| std::str::from_utf8(encoded).ok());
    let found = text.and_then(|text| text.chars().next());
    found.map_or(Token::Other, |found| classify(found, at - place))
}

/// One escaped byte and where it ends.
fn percent_byte(bytes: &[u8], place: usize) -> Option<(u8, usize)> {
    if bytes.get(place) != Some(&b'%') {
        return None;
    }
    let mut sign = place;
    for _ in 0..2 {
        if bytes.get(sign + 1..sign + 3) == Some(b"25") && hex(bytes, sign + 3, 2).is_some() {
            sign += 2;
        }
    }
    let value = u8::try_from(hex(bytes, sign + 1, 2)?).ok()?;
    Some((value, sign + 3))
}

/// Named references to separators.
const NAMED: &[(&[u8], char)] = &[
    (b"nbsp", '\u{a0}'),
    (b"ensp", '\u{2002}'),
    (b"emsp", '\u{2003}'),
    (b"thinsp", '\u{2009}'),
    (b"ndash", '\u{2013}'),
    (b"mdash", '\u{2014}'),
    (b"minus", '\u{2212}'),
    (b"hyphen", '\u{2010}'),
    (b"dash", '\u{2010}'),
    (b"shy", '\u{ad}'),
    (b"zwj", '\u{200d}'),
    (b"zwnj", '\u{200c}'),
    (b"period", '.'),
    (b"sol", '/'),
    (b"lowbar", '_'),
    (b"Tab", '\t'),
    (b"NewLine", '\n'),
];

/// `&nbsp;`, `&#45;`, `&#x2d;`, also with `&amp;` for the sign itself.
fn entity(bytes: &[u8], place: usize) -> Token {
    let mut from = place + 1;
    for _ in 0..2 {
        if bytes.get(from..from + 4) == Some(b"amp;") {
            from += 4;
        }
    }
    let body = bytes.get(from..bytes.len().min(from + 10)).unwrap_or_default();
    let Some(width) = body.iter().position(|byte| *byte == b';') else { return Token::Other };
    let name = body.get(..width).unwrap_or_default();
    let found = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16).and_then(char::from_u32),
        [b'#', digits @ ..] => number(digits, 10).and_then(char::from_u32),
        _ => NAMED.iter().find(|(known, _)| *known == name).map(|(_, found)| *found),
    };
    found.map_or(Token::Other, |found| classify(found, from + width + 1 - place))
}

fn hex(bytes: &[u8], from: usize, width: usize) -> Option<u32> {
    number(bytes.get(from..from + width)?, 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() || digits.len() > 7 {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, byte| Some(sum * radix + char::from(*byte).to_digit(radix)?))
}

/// Whether an escape ends directly before `end`, whose last characters could be taken for a letter or
/// digit of the number: `\n`, `\u003e`, `%3D`.
pub(super) fn escape_ends_at(bytes: &[u8], end: usize) -> bool {
    let before =
        |count: usize| end.checked_sub(count).and_then(|from| bytes.get(from..end)).unwrap_or_default();
    matches!(before(2), [b'\\', b'n' | b'r' | b't' | b'b' | b'f'])
        || matches!(before(3), [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        || matches!(before(4), [b'\\', b'x', rest @ ..] if rest.iter().all(u8::is_ascii_hexdigit))
        || matches!(before(6), [b'\\', b'u', rest @ ..] if rest.iter().all(u8::is_ascii_hexdigit))
}

/// Where the escape that begins at `place` ends, or `place` where none does.
pub(super) fn skip_escape(bytes: &[u8], place: usize) -> usize {
    let rest = bytes.get(place..).unwrap_or_default();
    let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    let width = match rest.get(slashes..) {
        Some([b'%', ..]) if slashes == 0 => 3,
        Some([b'u', ..]) if slashes > 0 => slashes + 5,
        Some([b'x', ..]) if slashes > 0 => slashes + 3,
        Some([b'&', ..]) if slashes == 0 => {
            rest.iter().take(10).position(|byte| *byte == b';').map_or(1, |end| end + 1)
        }
        _ => 0,
    };
    let escape = rest.get(..width).unwrap_or_default();
    if escape.is_ascii() { place + escape.len() } else { place }
}
