//! A stream's position as a JSON value, the way it is written into the trail.
//!
//! | member | meaning |
//! |---|---|
//! | `dev`, `ino` | device and inode |
//! | `born` | birth of the inode in nanoseconds since 1970, where known |
//! | `generation` | how often this inode's content was replaced |
//! | `path`, `path_mac` | where the file was last found, for people; its keyed digest |
//! | `offset` | first byte of the first record not yet handed out |
//! | `end` | size when last looked at |
//! | `head`, `before` | `{len, mac}` of the first bytes, and of those before `offset` |
//! | `content` | keyed digest of the whole content, where files are delivered whole |
//! | `packed` | present and `true` when the file is compressed: `offset` and `end` are of what it unpacks to |
//! | `rotated`, `held`, `gone` | present and `true` when so: renamed; perhaps a copy in the making; not found |
//!
//! Everything that goes into the trail passes a mask that replaces what looks like a card number. A
//! digest in hexadecimal digits can look so by accident and would come back useless, so digests, and
//! integers beyond 2⁵³−1, are written in the sixteen letters `a` to `p`. Only `path` can be masked, and
//! nothing depends on it.

use super::identity::{Identity, Mark, WINDOW};
use crate::model::Hash;
use crate::model::json::MAX_INTEGER;
use crate::source::letters::{letters, parse_letters};
use serde_json::{Map, Value};

/// The stream under this id says that the source has been started before.
pub(super) const STARTED: &str = "started";

/// Everything that resuming a stream needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Position {
    pub identity: Identity,
    pub generation: u64,
    pub path: String,
    pub path_mac: Hash,
    pub offset: u64,
    pub end: u64,
    pub head: Mark,
    pub before: Mark,
    pub rotated: bool,
    pub held: bool,
    pub gone: bool,
    pub packed: bool,
    pub content: Option<Hash>,
}

/// An integer in letters, without leading zeros.
fn short_letters(value: u64) -> String {
    let all = letters(&value.to_be_bytes());
    let short = all.trim_start_matches('a');
    if short.is_empty() { "a".to_owned() } else { short.to_owned() }
}

/// The id of a stream that is seen for the first time.
pub(super) fn stream_id(identity: &Identity, generation: u64) -> String {
    [identity.dev, identity.ino, identity.born.unwrap_or(0), generation].map(short_letters).join("-")
}

fn integer(value: u64) -> Value {
    if value <= MAX_INTEGER { Value::from(value) } else { Value::from(letters(&value.to_be_bytes())) }
}

fn parse_integer(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse_letters(text)?.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

fn mark(mark: &Mark) -> Value {
    let mut object = Map::new();
    object.insert("len".to_owned(), Value::from(mark.len));
    object.insert("mac".to_owned(), Value::from(letters(&mark.mac.0)));
    Value::Object(object)
}

fn parse_mark(value: &Value) -> Option<Mark> {
    let len = usize::try_from(parse_integer(value.get("len")?)?).ok().filter(|len| *len <= WINDOW)?;
    Some(Mark { len, mac: parse_hash(value.get("mac")?)? })
}

fn parse_hash(value: &Value) -> Option<Hash> {
    parse_letters(value.as_str()?)?.try_into().ok().map(Hash)
}

impl Position {
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("dev", integer(self.identity.dev));
        put("ino", integer(self.identity.ino));
        if let Some(born) = self.identity.born {
            put("born", integer(born));
        }
        put("generation", integer(self.generation));
        put("path", Value::from(self.path.as_str()));
        put("path_mac", Value::from(letters(&self.path_mac.0)));
        put("offset", integer(self.offset));
        put("end", integer(self.end));
        put("head", mark(&self.head));
        put("before", mark(&self.before));
        if let Some(content) = &self.content {
            put("content", Value::from(letters(&content.0)));
        }
        let flags =
            [("rotated", self.rotated), ("held", self.held), ("gone", self.gone), ("packed", self.packed)];
        for (name, flag) in flags {
            if flag {
                put(name, Value::Bool(true));
            }
        }
        Value::Object(object)
    }

    /// Reads a position back; `None` where it is damaged.
    pub fn parse(value: &Value) -> Option<Position> {
        let number = |name: &str| parse_integer(value.get(name)?);
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        let offset = number("offset")?;
        let before = parse_mark(value.get("before")?)?;
        // The window ends at the offset; a longer one cannot have been written by us.
        if before.len as u64 > offset {
            return None;
        }
        Some(Position {
            identity: Identity { dev: number("dev")?, ino: number("ino")?, born: number("born") },
            generation: number("generation")?,
            path: value.get("path").and_then(Value::as_str).unwrap_or_default().to_owned(),
            path_mac: parse_hash(value.get("path_mac")?)?,
            offset,
            end: number("end")?,
            head: parse_mark(value.get("head")?)?,
            before,
            rotated: flag("rotated"),
            held: flag("held"),
            gone: flag("gone"),
            packed: flag("packed"),
            content: value.get("content").and_then(parse_hash),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn reads_back() {
        let position = Position {
            identity: Identity { dev: 64769, ino: u64::MAX - 5, born: Some(1_700_000_000_123_456_789) },
            generation: 3,
            path: "/var/log/a.log".to_owned(),
            path_mac: Hash([9; 32]),
            offset: 5000,
            end: 6000,
            head: Mark { len: 4096, mac: Hash([1; 32]) },
            before: Mark { len: 4096, mac: Hash([0xfe; 32]) },
            rotated: true,
            held: false,
            gone: false,
            packed: true,
            content: Some(Hash([3; 32])),
        };
        let mut value = position.to_value();
        assert_eq!(Position::parse(&value), Some(position.clone()));
        // A masked path changes nothing that matters.
        value["path"] = Value::from("/var/log/****");
        assert_eq!(Position::parse(&value).unwrap().offset, 5000);
        value["offset"] = Value::from(12);
        assert_eq!(Position::parse(&value), None);
        let id = stream_id(&position.identity, 3);
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{id}");
    }
}
