//! What several formats need: addresses, numbers, CSV values, and flat JSON records within the limits.
//!
//! Nothing here fails or panics, and nothing here loses a value: what a column cannot hold stays in
//! `extra` under the column's own name, with a defect that names the column.
//!
//! Rules: RFC 4180 for CSV, read as the `csv` crate reads it (a quote inside an unquoted value is text,
//! text after a closing quote is appended); RFC 8259 for JSON, but raw control characters in strings are
//! taken and half surrogate pairs become U+FFFD, because a feed that writes them still holds evidence.
//! Numbers keep the source's digits: they are never read as floating point. Addresses are written as in
//! RFC 5952, so that two spellings of one address join.

use crate::model::event::{Clock, Defect, DefectCode, Event, System};
use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

/// Deepest nesting of a JSON record.
pub const MAX_DEPTH: usize = 64;
/// Most members and elements of a JSON record, most columns of a CSV record.
pub const MAX_MEMBERS: usize = 1024;
/// Longest path of a JSON member in bytes. Every member below a name repeats it, so without a limit a
/// short record could ask for gigabytes.
pub const MAX_PATH: usize = 4096;

/// An event of which nothing is known but its text, which stays in `message` so that inspection sees it.
pub fn unparsed(system: System, feed: &'static str, code: DefectCode, text: &str) -> Event {
    Event {
        system,
        feed: Cow::Borrowed(feed),
        clock: Clock::Absent,
        message: (!text.is_empty()).then(|| text.to_owned()),
        defects: vec![Defect::new(code)],
        ..Event::default()
    }
}

/// The address in its canonical spelling, without port and brackets; `None` when it is none.
pub fn address(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(match address {
            // The standard reader takes only the canonical spelling of IPv4.
            IpAddr::V4(_) => text.to_owned(),
            IpAddr::V6(_) => address.to_canonical().to_string(),
        });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_once(':')?,
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(host.parse::<IpAddr>().ok()?.to_canonical().to_string())
}

/// Puts an address column into `client.ip`; what is no address goes to `extra` with the defect
/// `not_an_address`. Empty values do nothing.
pub fn set_address(event: &mut Event, column: impl Into<Cow<'static, str>>, value: &str) {
    if value.is_empty() {
        return;
    }
    match address(value) {
        Some(address) => event.client.ip = Some(address),
        None => {
            let column = column.into();
            event.defect(Defect::field(DefectCode::NotAnAddress, column.as_ref()));
            event.extra.push((column, value.to_owned()));
        }
    }
}

/// A non-negative integer, also as CRMs write it with an empty fraction (`150.0`).
pub fn integer(text: &str) -> Option<u64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    whole.parse().ok()
}

/// Keeps the names in `extra` distinct: the second `NAME` becomes `NAME#2`.
#[derive(Clone, Debug, Default)]
pub struct DistinctNames<'a> {
    seen: HashMap<Cow<'a, str>, usize>,
}

impl<'a> DistinctNames<'a> {
    /// Claims a name. `None` when it was free, else the name to use instead.
    pub fn claim(&mut self, name: Cow<'a, str>) -> Option<String> {
        let count = self.seen.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return None;
        }
        let mut occurrence = *count;
        loop {
            let other = format!("{name}#{occurrence}");
            if !self.seen.contains_key(other.as_str()) {
                self.seen.insert(Cow::Owned(other.clone()), 1);
                return Some(other);
            }
            occurrence += 1;
        }
    }

    /// Notes that a name is in use elsewhere, so that claiming it renames.
    pub fn reserve(&mut self, name: Cow<'a, str>) {
        self.seen.entry(name).or_insert(1);
    }
}

/// The values of one CSV record, in order.
#[derive(Clone, Debug)]
pub struct CsvValues<'a> {
    rest: Option<&'a str>,
    broken: bool,
}

impl<'a> CsvValues<'a> {
    /// The record's text, without its terminator.
    pub fn new(text: &'a str) -> CsvValues<'a> {
        CsvValues { rest: Some(text.trim_end_matches(['\r', '\n'])), broken: false }
    }

    /// Whether a value so far had a quote that never closed, or text after its closing quote.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// What has not been read yet, as it stands in the record.
    pub fn rest(&self) -> Option<&'a str> {
        self.rest
    }

    /// The text up to the next comma; moves behind it.
    fn plain(&mut self, text: &'a str) -> &'a str {
        match memchr(b',', text.as_bytes()).and_then(|comma| text.split_at_checked(comma)) {
            Some((value, rest)) => {
                self.rest = rest.get(1..);
                value
            }
            None => text,
        }
    }

    /// A value whose opening quote has been read.
    fn quoted(&mut self, text: &'a str) -> Cow<'a, str> {
        let mut owned: Option<String> = None;
        let mut rest = text;
        loop {
            let Some((part, after)) =
                memchr(b'"', rest.as_bytes()).and_then(|quote| rest.split_at_checked(quote))
            else {
                self.broken = true;
                return joined(owned, rest);
            };
            let after = after.get(1..).unwrap_or("");
            match after.as_bytes().first() {
                None => return joined(owned, part),
                Some(b',') => {
                    self.rest = after.get(1..);
                    return joined(owned, part);
                }
                Some(b'"') => {
                    let value = owned.get_or_insert_default();
                    value.push_str(part);
                    value.push('"');
                    rest = after.get(1..).unwrap_or("");
                }
                Some(_) => {
                    self.broken = true;
                    let mut value = joined(owned, part).into_owned();
                    value.push_str(self.plain(after));
                    return Cow::Owned(value);
                }
            }
        }
    }
}

fn joined<'a>(owned: Option<String>, part: &'a str) -> Cow<'a, str> {
    match owned {
        None => Cow::Borrowed(part),
        Some(mut value) => {
            value.push_str(part);
            Cow::Owned(value)
        }
    }
}

impl<'a> Iterator for CsvValues<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let text = self.rest.take()?;
        Some(match text.strip_prefix('"') {
            Some(quoted) => self.quoted(quoted),
            None => Cow::Borrowed(self.plain(text)),
        })
    }
}

/// Why a text is no JSON record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFault {
    /// Not one JSON object and nothing else.
    NotAnObject,
    /// Beyond [`MAX_DEPTH`], [`MAX_MEMBERS`] or [`MAX_PATH`].
    TooComplex,
}

impl JsonFault {
    /// The defect's code.
    pub fn code(self) -> DefectCode {
        match self {
            JsonFault::NotAnObject => DefectCode::Unparsed,
            JsonFault::TooComplex => DefectCode::TooComplex,
        }
    }
}

/// A JSON object as flat members: `CreatedBy.Name` for a nested one, `Fields.0.Name` for an element.
/// Strings are decoded, numbers and truths stand as written, `null` and empty containers are left out.
/// A name that stands twice is in the list twice.
pub fn json_members(text: &str) -> Result<Vec<(String, String)>, JsonFault> {
    let mut reader =
        JsonReader { rest: text.trim_start(), path: String::new(), members: Vec::new(), count: 0 };
    if !reader.rest.starts_with('{') {
        return Err(JsonFault::NotAnObject);
    }
    reader.value(0)?;
    if reader.rest.trim_start().is_empty() { Ok(reader.members) } else { Err(JsonFault::NotAnObject) }
}

/// A flat JSON record from which a format takes what it maps.
#[derive(Clone, Debug)]
pub struct JsonRecord {
    members: Vec<(String, Option<String>)>,
}

impl JsonRecord {
    /// Reads a record within the limits.
    pub fn read(text: &str) -> Result<JsonRecord, JsonFault> {
        let members = json_members(text)?;
        Ok(JsonRecord { members: members.into_iter().map(|(name, value)| (name, Some(value))).collect() })
    }

    /// The first member of that name, empty when it is absent or taken.
    pub fn peek(&self, name: &str) -> &str {
        let member = self.members.iter().find(|(known, _)| known == name);
        member.and_then(|(_, value)| value.as_deref()).unwrap_or("")
    }

    /// Takes the first member of that name out; an empty value counts as none.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.members.iter_mut().find(|(known, _)| known == name)?;
        value.take().filter(|value| !value.is_empty())
    }

    /// The first of these members that has a value, taken out.
    pub fn take_first(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.take(name))
    }

    /// Moves everything that was not taken to `extra`, in its order and under distinct names.
    pub fn rest(self, event: &mut Event) {
        let mut names = DistinctNames::default();
        for (mut name, value) in self.members {
            if let Some(other) = names.claim(Cow::Owned(name.clone())) {
                event.defect(Defect::field(DefectCode::DuplicateName, name));
                name = other;
            }
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                event.extra.push((Cow::Owned(name), value));
            }
        }
    }
}

struct JsonReader<'a> {
    rest: &'a str,
    path: String,
    members: Vec<(String, String)>,
    count: usize,
}

impl<'a> JsonReader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, byte: char) -> bool {
        self.space();
        match self.rest.strip_prefix(byte) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonFault> {
        self.space();
        match self.rest.as_bytes().first() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(JsonFault::TooComplex),
            Some(b'{') => self.container('}', depth, true),
            Some(b'[') => self.container(']', depth, false),
            Some(b'"') => {
                let value = self.string()?.into_owned();
                self.members.push((self.path.clone(), value));
                Ok(())
            }
            _ => self.scalar(),
        }
    }

    fn container(&mut self, close: char, depth: usize, named: bool) -> Result<(), JsonFault> {
        self.rest = self.rest.get(1..).unwrap_or("");
        if self.take(close) {
            return Ok(());
        }
        let length = self.path.len();
        let mut place = 0;
        loop {
            self.count += 1;
            if self.count > MAX_MEMBERS {
                return Err(JsonFault::TooComplex);
            }
            if length > 0 {
                self.path.push('.');
            }
            if named {
                self.space();
                let name = self.string()?;
                self.path.push_str(&name);
                if !self.take(':') {
                    return Err(JsonFault::NotAnObject);
                }
            } else {
                self.path.push_str(&place.to_string());
                place += 1;
            }
            if self.path.len() > MAX_PATH {
                return Err(JsonFault::TooComplex);
            }
            self.value(depth + 1)?;
            self.path.truncate(length);
            if !self.take(',') {
                return if self.take(close) { Ok(()) } else { Err(JsonFault::NotAnObject) };
            }
        }
    }

    /// A number, a truth or `null`.
    fn scalar(&mut self) -> Result<(), JsonFault> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+' | '.'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).ok_or(JsonFault::NotAnObject)?;
        let digits = word.strip_prefix('-').unwrap_or(word);
        let number = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        match word {
            "null" => {}
            _ if number || word == "true" || word == "false" => {
                self.members.push((self.path.clone(), word.to_owned()));
            }
            _ => return Err(JsonFault::NotAnObject),
        }
        self.rest = rest;
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonFault> {
        let mut rest = self.rest.strip_prefix('"').ok_or(JsonFault::NotAnObject)?;
        let mut owned: Option<String> = None;
        loop {
            let stop = memchr2(b'"', b'\\', rest.as_bytes()).ok_or(JsonFault::NotAnObject)?;
            let (part, after) = rest.split_at_checked(stop).ok_or(JsonFault::NotAnObject)?;
            if let Some(after) = after.strip_prefix('"') {
                self.rest = after;
                return Ok(joined(owned, part));
            }
            let value = owned.get_or_insert_default();
            value.push_str(part);
            rest = unescape(after.get(1..).unwrap_or(""), value).ok_or(JsonFault::NotAnObject)?;
        }
    }
}

/// Decodes what stands after a backslash; returns what follows it.
fn unescape<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let kind = text.chars().next()?;
    let rest = text.get(kind.len_utf8()..)?;
    out.push(match kind {
        '"' | '\\' | '/' => kind,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let (unit, rest) = hex_unit(rest)?;
            let pair = rest.strip_prefix("\\u").and_then(hex_unit);
            return Some(match (unit, pair) {
                (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, rest))) => {
                    let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                    rest
                }
                _ => {
                    out.push(char::from_u32(unit).unwrap_or('\u{fffd}'));
                    rest
                }
            });
        }
        _ => return None,
    });
    Some(rest)
}

fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((valid.then(|| u32::from_str_radix(digits, 16).ok())??, rest))
}

#[cfg(test)]
mod tests;
