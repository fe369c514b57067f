//! The one JSON writer that leads into the trail, alerts and reports' data.
//!
//! Invariants, for every object written here:
//! * members in the order of the calls, no white space, no `null`, no duplicate names within
//!   [`Object::dynamic`];
//! * integers within ±(2⁵³−1), everything else as strings;
//! * U+0000–001F, 007F–009F, 2028, 2029 and the bidirectional controls are `\u` escaped: an auditor's
//!   terminal is not a target;
//! * **every string, names included, passes the mask** (a pure function given at creation) before it is
//!   escaped. So a card number cannot reach the trail by a way that somebody forgot: there is no other
//!   way. (The one exception is the hot path: an event that inspection has just masked in place, string by
//!   string, is written with [`no_mask`]; a test proves that inspection reaches every string.) Values that we made ourselves and that hold no source text (hashes, times, enum words) go
//!   through [`Object::word`], which does not look for numbers, or [`Object::plain`], which does not look at all.

use super::digest::write_hex;
use super::{Hash, Time, swar};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Returns the masked form where a string holds something that must not be stored.
pub type Mask = fn(&str) -> Option<String>;

/// Largest integer written as a JSON number: 2⁵³−1, what every JSON reader keeps exactly (RFC 8259 §6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// No mask: for text that is already masked or holds no source text.
pub fn no_mask(_: &str) -> Option<String> {
    None
}

/// An object being written. [`Object::whole`] writes one with braces, [`Object::members`] bare members.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    mask: Mask,
}

impl<'a> Object<'a> {
    /// Starts members without braces, as they stand after `kind` in an entry.
    pub fn members(out: &'a mut Vec<u8>, mask: Mask) -> Object<'a> {
        let start = out.len();
        Object { out, start, mask }
    }

    /// Writes a whole object with its braces.
    pub fn whole(out: &mut Vec<u8>, mask: Mask, write: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        write(&mut Object::members(out, mask));
        out.push(b'}');
    }

    #[inline]
    fn comma(&mut self) {
        if self.out.len() > self.start {
            self.out.push(b',');
        }
    }

    /// Inlined where the name is known, so that it is a few moves of fixed length.
    #[inline(always)]
    fn name(&mut self, name: &str) {
        self.out.reserve(name.len() + 4);
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string that may hold source text: masked, then escaped.
    #[inline]
    pub fn str(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_masked(self.out, self.mask, value);
    }

    /// The same where there is a value.
    #[inline]
    pub fn opt(&mut self, name: &'static str, value: &Option<String>) {
        if let Some(value) = value {
            self.str(name, value);
        }
    }

    /// A string of ours (hash, enum word, file name we chose): escaped, not masked.
    #[inline]
    pub fn word(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_string(self.out, value);
    }

    /// A word of a closed set: nothing in it needs an escape.
    #[inline]
    pub fn plain(&mut self, name: &'static str, value: &str) {
        debug_assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
        self.name(name);
        self.out.reserve(value.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// A member whose name comes from a source. Both are masked. Names must be distinct after masking;
    /// the caller keeps them so.
    pub fn dynamic(&mut self, name: &str, value: &str) {
        self.comma();
        write_masked(self.out, self.mask, name);
        self.out.push(b':');
        write_masked(self.out, self.mask, value);
    }

    /// A digest under a name that comes from a source: only the name is masked.
    pub fn dynamic_hash(&mut self, name: &str, hash: &Hash) {
        self.comma();
        write_masked(self.out, self.mask, name);
        self.out.extend_from_slice(b":\"");
        write_hex(&hash.0, self.out);
        self.out.push(b'"');
    }

    /// A time.
    pub fn time(&mut self, name: &'static str, value: Time) {
        self.name(name);
        self.out.push(b'"');
        value.write(self.out);
        self.out.push(b'"');
    }

    /// An integer; beyond 2⁵³−1 as a string.
    pub fn uint(&mut self, name: &'static str, value: u64) {
        self.name(name);
        let quote = value > MAX_INTEGER;
        if quote {
            self.out.push(b'"');
        }
        write_uint(self.out, value);
        if quote {
            self.out.push(b'"');
        }
    }

    /// An integer that came from a source. Where its digits are what the mask masks, the masked text is
    /// written instead: a count that reads as a card number is not worth keeping.
    pub fn source_uint(&mut self, name: &'static str, value: u64) {
        if value >= 100_000_000 {
            let text = value.to_string();
            if (self.mask)(&text).is_some() {
                return self.str(name, &text);
            }
        }
        self.uint(name, value);
    }

    /// A signed integer.
    pub fn int(&mut self, name: &'static str, value: i64) {
        if value >= 0 {
            return self.uint(name, value.unsigned_abs());
        }
        self.name(name);
        let quote = value.unsigned_abs() > MAX_INTEGER;
        if quote {
            self.out.push(b'"');
        }
        self.out.push(b'-');
        write_uint(self.out, value.unsigned_abs());
        if quote {
            self.out.push(b'"');
        }
    }

    /// `true` or `false`.
    pub fn bool(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A list of strings that may hold source text.
    pub fn list<S: AsRef<str>>(&mut self, name: &'static str, values: impl IntoIterator<Item = S>) {
        self.name(name);
        self.out.push(b'[');
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write_masked(self.out, self.mask, value.as_ref());
        }
        self.out.push(b']');
    }

    /// A list of integers.
    pub fn uints(&mut self, name: &'static str, values: impl IntoIterator<Item = u64>) {
        self.name(name);
        self.out.push(b'[');
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write_uint(self.out, value);
        }
        self.out.push(b']');
    }

    /// A nested object. When `write` writes nothing, the member is left out.
    #[inline]
    pub fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        let before = self.out.len();
        self.name(name);
        self.out.push(b'{');
        let inner = self.out.len();
        write(&mut Object::members(self.out, self.mask));
        if self.out.len() == inner {
            self.out.truncate(before);
        } else {
            self.out.push(b'}');
        }
    }

    /// A nested object that is written even when it is empty.
    pub fn object_always(&mut self, name: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        Object::whole(self.out, self.mask, write);
    }

    /// A nested object under a name of the configuration.
    pub fn dynamic_object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.comma();
        write_masked(self.out, self.mask, name);
        self.out.push(b':');
        Object::whole(self.out, self.mask, write);
    }

    /// An integer under a name of the configuration.
    pub fn dynamic_uint(&mut self, name: &str, value: u64) {
        self.comma();
        write_masked(self.out, self.mask, name);
        self.out.push(b':');
        write_uint(self.out, value);
    }

    /// A truth under a name of the configuration.
    pub fn dynamic_bool(&mut self, name: &str, value: bool) {
        self.comma();
        write_masked(self.out, self.mask, name);
        self.out.extend_from_slice(if value { b":true" } else { b":false" });
    }

    /// A list of objects, one per item.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Object<'_>),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            Object::whole(self.out, self.mask, |object| write(item, object));
        }
        self.out.push(b']');
    }

    /// A member that is already JSON, written by this module before.
    pub fn raw(&mut self, name: &'static str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    /// A member that is written as JSON by somebody else, into the same buffer.
    pub fn written(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.out);
    }

    /// Bytes in the buffer so far, with what stood there before this object.
    pub fn length(&self) -> usize {
        self.out.len()
    }

    /// The mask in force.
    pub fn mask(&self) -> Mask {
        self.mask
    }
}

/// Appends a decimal integer.
pub fn write_uint(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn write_masked(out: &mut Vec<u8>, mask: Mask, value: &str) {
    match mask(value) {
        Some(masked) => write_string(out, &masked),
        None => write_string(out, value),
    }
}

/// Appends a JSON string with the escapes of the module doc.
pub fn write_string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let bytes = value.as_bytes();
    // Nearly every value is plain ASCII: one branch-free look, one copy.
    if !swar::any_of(bytes, b' ', swar::not_plain) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut clean_from = 0;
    let mut place = 0;
    while place < bytes.len() {
        let byte = bytes[place];
        // Plain ASCII needs no look; everything else decides by its character.
        if (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            place += 1;
            continue;
        }
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        let character = value[place..place + length].chars().next().unwrap_or('\u{fffd}');
        if let Some(escape) = escape(character) {
            out.extend_from_slice(&bytes[clean_from..place]);
            out.extend_from_slice(escape.as_bytes());
            clean_from = place + length;
        }
        place += length;
    }
    out.extend_from_slice(&bytes[clean_from..]);
    out.push(b'"');
}

fn escape(character: char) -> Option<Cow<'static, str>> {
    Some(match character {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => format!("\\u{:04x}", u32::from(character)).into(),
        _ => return None,
    })
}

/// A value as it is written: every string passes the mask and is escaped as everywhere in the trail.
/// Keyed digests stay as they are: they must come back, and hold no source text.
pub fn masked(value: &Value, mask: Mask) -> Box<RawValue> {
    fn write(value: &Value, mask: Mask, out: &mut Vec<u8>) {
        match value {
            Value::String(text) => {
                let digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_lowercase());
                let masked = if digest { None } else { mask(text) };
                write_string(out, masked.as_deref().unwrap_or(text));
            }
            Value::Array(values) => {
                out.push(b'[');
                for (place, value) in values.iter().enumerate() {
                    out.extend_from_slice(if place > 0 { b"," } else { b"" });
                    write(value, mask, out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (place, (name, value)) in members.iter().enumerate() {
                    out.extend_from_slice(if place > 0 { b"," } else { b"" });
                    write_string(out, name);
                    out.push(b':');
                    write(value, mask, out);
                }
                out.push(b'}');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    let mut out = Vec::new();
    write(value, mask, &mut out);
    let text = String::from_utf8(out).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::FALSE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_keep_order_and_empty_objects_vanish() {
        let mut out = Vec::new();
        Object::whole(&mut out, no_mask, |object| {
            object.str("b", "x\u{202e}y\n");
            object.object("empty", |_| {});
            object.object("full", |inner| inner.uint("n", MAX_INTEGER + 1));
            object.int("a", -5);
            object.list("l", ["p", "q"]);
        });
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"{"b":"x\u202ey\n","full":{"n":"9007199254740992"},"a":-5,"l":["p","q"]}"#
        );
    }

    proptest! {
        #[test]
        fn any_string_reads_back_and_holds_no_control(text in "\\PC*|[\\x00-\\u{ff}]*|[\\u{2020}-\\u{2070}]*") {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let written = String::from_utf8(out).map_err(|_| TestCaseError::fail("not UTF-8"))?;
            let forbidden = |c: char| c.is_control() || (0x2028..=0x202e).contains(&u32::from(c));
            prop_assert!(!written.chars().any(forbidden));
            let back: String = serde_json::from_str(&written).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(back, text);
        }
    }
}
