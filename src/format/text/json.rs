//! A reader of JSON records that keeps what the record says: the digits of every number, every duplicate
//! member, and the text of what is beyond the limits.
//!
//! Formats and invariants:
//! * RFC 8259 is read in full. Besides, what CRMs really send is read too: numbers with leading zeros,
//!   raw control characters in strings, lone surrogates (they become U+FFFD, [`Document::replaced`]).
//! * Numbers stay the source's text. `10.50` is not `10.5`, and 20 digits are not a float.
//! * Members keep their order and their duplicates.
//! * Limits: [`DEPTH`] levels, [`MEMBERS`] members of one object or items of one list, [`VALUES`] values
//!   in all. What is beyond becomes [`Json::Beyond`] with its text, and [`Document::too_complex`] is set.
//!   The work is linear in the length of the record, whatever it holds.

use crate::model::swar;
use std::borrow::Cow;

/// Deepest nesting that is read as structure.
pub const DEPTH: usize = 64;
/// Most members of one object, and most items of one list.
pub const MEMBERS: usize = 1024;
/// Room for the members of a record; few have more.
const USUAL_MEMBERS: usize = 16;
/// Room for a text with escapes at first, bytes.
const USUAL_TEXT: usize = 256;
/// Most values of one record, so that memory stays a small multiple of its length.
pub const VALUES: usize = 65_536;

/// A value as it stands in the record.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(&'a str),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// An object.
    Object(Members<'a>),
    /// An object or list beyond the limits, as written.
    Beyond(&'a str),
}

/// The members of an object in their order, duplicates included.
#[derive(Clone, Debug, Default)]
pub struct Members<'a> {
    list: Vec<(Cow<'a, str>, Json<'a>)>,
    /// Whether a name may have an `@` in it: most records have no annotations, and nobody need look for them.
    annotated: bool,
}

/// A record that was read.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its value.
    pub value: Json<'a>,
    /// Something was beyond the limits.
    pub too_complex: bool,
    /// A lone surrogate was replaced by U+FFFD.
    pub replaced: bool,
    /// The first member name that stood twice in one object.
    pub duplicate: Option<String>,
}

/// Equal members in the same order are equal, however their names were written.
impl PartialEq for Members<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl<'a> Members<'a> {
    /// The first member of that name.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.list.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
    /// Takes the value of a member of that name, the first that is not `null`, which counts as absent. `null` stays
    /// in its place, so that nothing moves.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        self.take_first(|key| key == name)
    }
    /// The same for a name with something behind it that has an `@`, without putting the two together.
    pub fn take_annotated(&mut self, name: &str, annotation: &str) -> Option<Json<'a>> {
        if annotation.starts_with('@') && !self.annotated {
            return None;
        }
        self.take_first(|key| key.strip_prefix(name) == Some(annotation))
    }
    fn take_first(&mut self, is_it: impl Fn(&str) -> bool) -> Option<Json<'a>> {
        let mut members = self.list.iter_mut();
        let (_, value) = members.find(|(key, value)| is_it(key) && !matches!(value, Json::Null))?;
        Some(std::mem::replace(value, Json::Null))
    }
    /// Takes a member as text; see [`Json::into_text`]. An empty or blank text counts as absent.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name)?.into_text().filter(|text| !is_blank(text))
    }
    /// [`Members::take_text`] for a name with something behind it.
    pub fn take_annotated_text(&mut self, name: &str, annotation: &str) -> Option<String> {
        self.take_annotated(name, annotation)?.into_text().filter(|text| !is_blank(text))
    }
    /// Whether there is a member of that name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = &(Cow<'a, str>, Json<'a>)> {
        self.list.iter()
    }
}

/// Whether there is nothing but blanks: of nearly every text the first character tells.
fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

impl<'a> From<Vec<(Cow<'a, str>, Json<'a>)>> for Members<'a> {
    fn from(members: Vec<(Cow<'a, str>, Json<'a>)>) -> Members<'a> {
        let annotated = members.iter().any(|(name, _)| name.contains('@'));
        Members { list: members, annotated }
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> Json<'a> {
    /// The value as text: strings unescaped, numbers as written, lists and objects as compact JSON,
    /// `null` as nothing.
    pub fn into_text(self) -> Option<String> {
        match self {
            Json::Text(text) => Some(text.into_owned()),
            other => other.to_text(),
        }
    }
    /// The same without taking the value.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::Text(text) => Some(text.clone().into_owned()),
            Json::Number(text) | Json::Beyond(text) => Some((*text).to_owned()),
            other => {
                let mut out = Vec::new();
                other.write(&mut out);
                Some(String::from_utf8_lossy(&out).into_owned())
            }
        }
    }
    /// The string, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
    /// An unsigned integer, written as number or as string (CRMs do both).
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Number(digits) => digits.parse().ok(),
            Json::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
    /// A truth, written as such, as `"true"`/`"false"` in any case, or as 0 and 1.
    pub fn as_bool(&self) -> Option<bool> {
        let text = match self {
            Json::Bool(truth) => return Some(*truth),
            Json::Number(digits) => digits,
            Json::Text(text) => text.trim(),
            _ => return None,
        };
        match text {
            "1" => Some(true),
            "0" => Some(false),
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
    /// The members, where it is an object.
    pub fn into_members(self) -> Option<Members<'a>> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Json::Number(text) | Json::Beyond(text) => out.extend_from_slice(text.as_bytes()),
            Json::Text(text) => crate::model::json::write_string(out, text),
            Json::List(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Json::Object(members) => {
                out.push(b'{');
                for (place, (name, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    crate::model::json::write_string(out, name);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Reads one record. `None` when it is not JSON.
pub fn read(text: &str) -> Option<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let annotated = memchr::memchr(b'@', text.as_bytes()).is_some();
    let mut reader =
        Reader { text, place: 0, values: 0, annotated, too_complex: false, replaced: false, duplicate: None };
    let value = reader.value(0)?;
    reader.blanks();
    let whole = reader.place == text.len();
    let Reader { too_complex, replaced, duplicate, .. } = reader;
    whole.then_some(Document { value, too_complex, replaced, duplicate })
}

struct Reader<'a> {
    text: &'a str,
    place: usize,
    values: usize,
    /// Whether there is an `@` anywhere.
    annotated: bool,
    too_complex: bool,
    replaced: bool,
    duplicate: Option<String>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.place += 1;
        }
    }

    /// Goes past `byte`, with the blanks before it.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.place += 1)
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Option<Json<'a>> {
        self.text.get(self.place..)?.starts_with(word).then(|| self.place += word.len())?;
        Some(value)
    }

    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        self.blanks();
        self.values += 1;
        match self.peek()? {
            b'"' => self.string().map(Json::Text),
            b'{' | b'[' if depth >= DEPTH || self.values > VALUES => self.beyond(self.place, 0),
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json<'a>> {
        let start = self.place;
        self.expect(b'{')?;
        let mut annotated = self.annotated;
        let room = if depth == 0 { USUAL_MEMBERS } else { 4 };
        self.blanks();
        if self.peek()? == b'}' {
            self.place += 1;
            return Some(Json::Object(Members::default()));
        }
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::with_capacity(room);
        loop {
            if members.len() == MEMBERS || self.values > VALUES {
                return self.beyond(start, 1);
            }
            self.blanks();
            let name = self.string()?;
            // An escape can be an `@`, too.
            annotated |= matches!(name, Cow::Owned(_));
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            members.push((name, value));
            self.blanks();
            match self.peek()? {
                b',' => self.place += 1,
                b'}' => {
                    self.place += 1;
                    self.note_duplicate(&members);
                    return Some(Json::Object(Members { list: members, annotated }));
                }
                _ => return None,
            }
        }
    }

    /// Objects have few members, mostly: those of one length are compared by pairs. Sorting the
    /// names of the wide ones keeps the work linear enough.
    fn note_duplicate(&mut self, members: &[(Cow<'a, str>, Json<'a>)]) {
        if self.duplicate.is_some() || members.len() < 2 {
            return;
        }
        if members.len() <= USUAL_MEMBERS {
            // Most have a length of their own.
            let mut lengths = 0u64;
            let again = members.iter().enumerate().find(|(place, (name, _))| {
                let bit = 1 << (name.len() % 64);
                let met = lengths & bit != 0;
                lengths |= bit;
                met && members
                    .iter()
                    .take(*place)
                    .any(|(other, _)| other.len() == name.len() && other == name)
            });
            self.duplicate = again.map(|(_, (name, _))| name.clone().into_owned());
            return;
        }
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        self.duplicate = names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some((*one).to_owned()),
            _ => None,
        });
    }

    fn list(&mut self, depth: usize) -> Option<Json<'a>> {
        let start = self.place;
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.blanks();
        if self.peek()? == b']' {
            self.place += 1;
            return Some(Json::List(items));
        }
        loop {
            if items.len() == MEMBERS || self.values > VALUES {
                return self.beyond(start, 1);
            }
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.peek()? {
                b',' => self.place += 1,
                b']' => {
                    self.place += 1;
                    return Some(Json::List(items));
                }
                _ => return None,
            }
        }
    }

    /// Goes past the object or list that began at `start`, of which `open` brackets are already behind us.
    /// The rest is counted, not read: no byte is looked at twice, however many levels end here.
    fn beyond(&mut self, start: usize, mut open: usize) -> Option<Json<'a>> {
        self.too_complex = true;
        let bytes = self.text.as_bytes();
        loop {
            match *bytes.get(self.place)? {
                b'"' => {
                    self.place = closing_quote(bytes, self.place + 1)?;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open = open.checked_sub(1)?,
                _ => {}
            }
            self.place += 1;
            if open == 0 {
                return self.text.get(start..self.place).map(Json::Beyond);
            }
        }
    }

    fn number(&mut self) -> Option<Json<'a>> {
        let rest = self.text.get(self.place..)?;
        let length = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let digits = rest.get(..length)?;
        self.place += length;
        is_number(digits).then_some(Json::Number(digits))
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        (self.peek()? == b'"').then(|| self.place += 1)?;
        let text = self.text.get(self.place..)?;
        let length = special(text.as_bytes())?;
        let plain = text.get(..length)?;
        if text.as_bytes().get(length) == Some(&b'"') {
            self.place += length + 1;
            return Some(Cow::Borrowed(plain));
        }
        self.unescape(text).map(Cow::Owned)
    }

    /// A string with escapes, of which `text` is what stands behind its opening quote.
    fn unescape(&mut self, text: &'a str) -> Option<String> {
        let bytes = text.as_bytes();
        let mut out = Vec::with_capacity(text.len().min(USUAL_TEXT));
        let mut place = 0;
        loop {
            place = copy_plain(bytes, place, &mut out)?;
            if bytes.get(place) == Some(&b'"') {
                self.place = self.text.len() - text.len() + place + 1;
                return String::from_utf8(out).ok();
            }
            let kind = *bytes.get(place + 1)?;
            place += 2;
            out.push(match kind {
                b'"' | b'\\' | b'/' => kind,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let (character, left) = self.escaped_unit(text.get(place..)?)?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    place = text.len() - left.len();
                    continue;
                }
                _ => return None,
            });
        }
    }

    /// The character of `\uXXXX`, or of a pair of them; `text` stands behind the first `\u`.
    fn escaped_unit<'t>(&mut self, text: &'t str) -> Option<(char, &'t str)> {
        let (unit, rest) = hex_unit(text)?;
        if let Some(character) = char::from_u32(unit) {
            return Some((character, rest));
        }
        let low = rest.strip_prefix("\\u").and_then(hex_unit);
        if let (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, left))) = (unit, low) {
            let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return Some((char::from_u32(code)?, left));
        }
        self.replaced = true;
        Some(('\u{fffd}', rest))
    }
}

fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, text.get(4..)?))
}

/// The place of the quote that ends the string whose inside begins at `place`.
fn closing_quote(bytes: &[u8], mut place: usize) -> Option<usize> {
    loop {
        place += special(bytes.get(place..)?)?;
        if bytes.get(place) == Some(&b'"') {
            return Some(place);
        }
        place += 2;
    }
}

/// So many words of eight bytes are looked at here before the search for long strings takes over: names are about as
/// long, and of a value with escapes the pieces between them.
const SHORT_WORDS: usize = 2;

/// The first quote or backslash. Most strings are short, and for those a call of the vectorised search costs more
/// than the look.
fn special(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().take(SHORT_WORDS).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = swar::is(word, b'"') | swar::is(word, b'\\');
        if found != 0 {
            return Some(number * 8 + swar::first(found));
        }
    }
    let seen = words.len().min(SHORT_WORDS) * 8;
    if words.len() <= SHORT_WORDS {
        return rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|place| seen + place);
    }
    memchr::memchr2(b'"', b'\\', bytes.get(seen..)?).map(|place| seen + place)
}

/// Appends what stands before the first quote or backslash at or behind `place`, and says where that is. Most pieces
/// between two escapes are short: those are copied a word at a time, and what was too much is cut off again, which costs
/// less than a call of the copy that takes any length.
fn copy_plain(bytes: &[u8], mut place: usize, out: &mut Vec<u8>) -> Option<usize> {
    for _ in 0..SHORT_WORDS {
        let Some(chunk) = bytes.get(place..)?.first_chunk::<8>() else { break };
        let word = u64::from_le_bytes(*chunk);
        let found = swar::is(word, b'"') | swar::is(word, b'\\');
        out.extend_from_slice(chunk);
        if found != 0 {
            let plain = swar::first(found);
            out.truncate(out.len() - (8 - plain));
            return Some(place + plain);
        }
        place += 8;
    }
    let rest = bytes.get(place..)?;
    let plain = memchr::memchr2(b'"', b'\\', rest)?;
    out.extend_from_slice(rest.get(..plain)?);
    Some(place + plain)
}

/// RFC 8259 section 6, leading zeros tolerated.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

#[cfg(test)]
mod tests;
