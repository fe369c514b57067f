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

use std::borrow::Cow;

/// Deepest nesting that is read as structure.
pub const DEPTH: usize = 64;
/// Most members of one object, and most items of one list.
pub const MEMBERS: usize = 1024;
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

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

impl<'a> Members<'a> {
    /// The first member of that name.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
    /// Takes the first member of that name out; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let place = self.0.iter().position(|(key, _)| key == name)?;
        match self.0.remove(place).1 {
            Json::Null => None,
            value => Some(value),
        }
    }
    /// Takes a member as text; see [`Json::into_text`]. An empty or blank text counts as absent.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name)?.into_text().filter(|text| !text.trim().is_empty())
    }
    /// Whether there is a member of that name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = &(Cow<'a, str>, Json<'a>)> {
        self.0.iter()
    }
}

impl<'a> From<Vec<(Cow<'a, str>, Json<'a>)>> for Members<'a> {
    fn from(members: Vec<(Cow<'a, str>, Json<'a>)>) -> Members<'a> {
        Members(members)
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
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
    let mut reader =
        Reader { text, place: 0, values: 0, too_complex: false, replaced: false, duplicate: None };
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
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        self.blanks();
        if self.peek()? == b'}' {
            self.place += 1;
            return Some(Json::Object(Members(members)));
        }
        loop {
            if members.len() == MEMBERS || self.values > VALUES {
                return self.beyond(start, 1);
            }
            self.blanks();
            let name = self.string()?;
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            members.push((name, value));
            self.blanks();
            match self.peek()? {
                b',' => self.place += 1,
                b'}' => {
                    self.place += 1;
                    self.note_duplicate(&members);
                    return Some(Json::Object(Members(members)));
                }
                _ => return None,
            }
        }
    }

    /// Objects have few members, mostly; sorting the names of the wide ones keeps the work linear enough.
    fn note_duplicate(&mut self, members: &[(Cow<'a, str>, Json<'a>)]) {
        if self.duplicate.is_some() || members.len() < 2 {
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
        let start = self.place;
        let end = closing_quote(self.text.as_bytes(), start)?;
        self.place = end + 1;
        let inside = self.text.get(start..end)?;
        if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inside));
        }
        self.unescape(inside).map(Cow::Owned)
    }

    fn unescape(&mut self, inside: &str) -> Option<String> {
        let mut out = String::with_capacity(inside.len());
        let mut rest = inside;
        while let Some(place) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(rest.get(..place)?);
            let mut after = rest.get(place + 1..)?.chars();
            match after.next()? {
                '"' => out.push('"'),
                '\\' => out.push('\\'),
                '/' => out.push('/'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'u' => {
                    let (character, left) = self.escaped_unit(after.as_str())?;
                    out.push(character);
                    rest = left;
                    continue;
                }
                _ => return None,
            }
            rest = after.as_str();
        }
        out.push_str(rest);
        Some(out)
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
        place += memchr::memchr2(b'"', b'\\', bytes.get(place..)?)?;
        if bytes.get(place) == Some(&b'"') {
            return Some(place);
        }
        place += 2;
    }
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Json<'_> {
        read(text).expect("JSON").value
    }

    #[test]
    fn digits_stay_as_written() {
        for digits in
            ["10.50", "0.1000000000000000055511151231257827", "123456789012345678901234567890", "-1E+9"]
        {
            assert_eq!(value(digits), Json::Number(digits));
        }
        // The vendor's own documentation shows such a number in a sample answer.
        assert_eq!(value("089274502"), Json::Number("089274502"));
    }

    #[test]
    fn duplicates_are_kept_and_named() {
        let document = read(r#"{"a":1,"b":2,"a":3}"#).expect("JSON");
        assert_eq!(document.duplicate.as_deref(), Some("a"));
        let mut members = document.value.into_members().expect("object");
        assert_eq!(members.take_text("a").as_deref(), Some("1"));
        assert_eq!(members.take_text("a").as_deref(), Some("3"));
    }

    #[test]
    fn beyond_the_limits_the_text_is_kept() {
        let nested = format!("{}\"]\"{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        let document = read(&nested).expect("JSON");
        assert!(document.too_complex);
        assert!(document.value.to_text().is_some_and(|text| text == nested));

        let wide = format!(r#"{{"x":[{}]}}"#, vec!["0"; MEMBERS + 1].join(","));
        let document = read(&wide).expect("JSON");
        assert!(document.too_complex);
        assert_eq!(document.value.to_text(), Some(wide.clone()));
        assert!(!read(&format!("[{}]", vec!["0"; MEMBERS].join(","))).expect("JSON").too_complex);

        let row = format!("[{}]", vec!["0"; MEMBERS].join(","));
        let many = format!("[{}]", vec![row.as_str(); 70].join(","));
        assert!(read(&many).expect("JSON").too_complex);
    }

    #[test]
    fn hostile_depth_is_read_in_linear_time_without_recursion() {
        let open = "[".repeat(1 << 20);
        assert!(read(&open).is_none());
        assert!(read(&format!("{open}{}", "]".repeat(1 << 20))).expect("JSON").too_complex);
    }

    #[test]
    fn what_ends_within_many_levels_is_kept_as_written() {
        let items = format!("[{}]", vec!["0"; MEMBERS].join(","));
        let many = vec![items.as_str(); 70].join(",");
        let text = format!("{}{many}{}", "[".repeat(DEPTH - 1), "]".repeat(DEPTH - 1));
        let document = read(&text).expect("JSON");
        assert!(document.too_complex);
        assert!(document.value.to_text().is_some_and(|kept| kept == text));
    }

    #[test]
    fn escapes() {
        assert_eq!(value(r#""a\u00e9\ud83d\ude00\n\/""#), Json::Text("aé😀\n/".into()));
        let lone = read(r#""x\ud83dy""#).expect("JSON");
        assert!(lone.replaced);
        assert_eq!(lone.value, Json::Text("x\u{fffd}y".into()));
        assert_eq!(value("\u{feff}true"), Json::Bool(true));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "nul",
            "1 2",
            "\"\\",
            "\"\\x\"",
            "-",
            "1.",
            "{'a':1}",
            "[}",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*|[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
            if let Some(document) = read(&text) {
                let _ = document.value.to_text();
            }
        }

        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-2tfen\\\\u. -]{0,24}") {
            if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text) {
                let ours = read(&text).ok_or_else(|| TestCaseError::fail("refused"))?;
                if ours.duplicate.is_none() && !ours.too_complex {
                    let ours = ours.value.to_text().unwrap_or_else(|| "null".to_owned());
                    if !theirs.is_string() {
                        let again: serde_json::Value =
                            serde_json::from_str(&ours).map_err(|error| TestCaseError::fail(error.to_string()))?;
                        prop_assert_eq!(again, theirs);
                    }
                }
            }
        }
    }
}
