//! What is pushed over HTTP, apart from HTTP itself: bodies unpacked and cut into records, keys remembered.
//!
//! # Bodies
//!
//! | format's framing | content type | records |
//! |---|---|---|
//! | lines | `application/x-ndjson`, `application/jsonl`, `text/plain`, none | one a line |
//! | lines | `application/json`, `…+json` | each JSON value; of an array, each element. Line breaks within are fine |
//! | CSV | `text/csv`, `text/plain`, none | RFC 4180; the first record is the header |
//!
//! Without a content type a body that begins with `[` is read as JSON. A JSON body that does not parse is
//! refused whole: nothing of it was taken. A bad line of NDJSON is a record with a defect, as in a file.
//!
//! # Idempotency keys
//!
//! A request may carry `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): 1 to 255 visible ASCII
//! characters. The key is a stream of its own: its position names how many records of the body are in the
//! trail, in the same commit as they are. So a body that is sent again after a crash, a timeout or a lost
//! answer enters once, and goes on where it stopped. The newest [`KEYS_MAX`] keys of a source are remembered.
//! A body without a key that is sent again is a second delivery: nothing here can tell.
//!
//! Position: `{"at":<Unix seconds>,"records":<n>,"body":"<letters>"[,"whole":true]}`. Key and body stand there
//! as keyed digests in letters, never as they came.

use super::frame;
use super::inbox::Pieces;
use super::letters::letters;
use crate::model::record::{Encoding, Framing};
use crate::model::{Key, Time};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// Keys of one source that are remembered.
pub const KEYS_MAX: usize = 4096;
/// Longest key.
pub const KEY_MAX: usize = 255;
/// Unpacked, a body may be so many times as long.
pub const RATIO_MAX: u64 = 100;
const KEY_DOMAIN: &str = "crmwarden/idempotency-key";
const BODY_DOMAIN: &str = "crmwarden/idempotency-body";
/// The stream of requests without a key.
pub const UNKEYED: &str = "push";

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// Longer than allowed, or packed too well.
    TooLarge,
    /// It does not unpack, or is not what its type says.
    Malformed(String),
}

/// Unpacks a body of at most `max` bytes.
pub fn unpack(packing: Packing, body: Vec<u8>, max: usize) -> Result<Vec<u8>, BadBody> {
    let limit = (max as u64).min(RATIO_MAX.saturating_mul(body.len() as u64));
    let mut unpacked = Vec::new();
    let read = match packing {
        Packing::Plain => return if body.len() <= max { Ok(body) } else { Err(BadBody::TooLarge) },
        Packing::Gzip => {
            flate2::read::MultiGzDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut unpacked)
        }
        Packing::Zstd => zstd::stream::read::Decoder::new(&body[..]).and_then(|mut decoder| {
            decoder.window_log_max(27)?;
            decoder.take(limit + 1).read_to_end(&mut unpacked)
        }),
    };
    match read {
        Err(error) => Err(BadBody::Malformed(format!("the body does not unpack: {error}"))),
        Ok(_) if unpacked.len() as u64 > limit => Err(BadBody::TooLarge),
        Ok(_) => Ok(unpacked),
    }
}

/// Records of a body.
#[derive(Debug, Default, PartialEq)]
pub struct Records {
    /// Where they stand.
    pub ranges: Vec<Range<usize>>,
    /// Empty lines.
    pub blank: u64,
    /// The CSV header's names.
    pub header: Option<Arc<[String]>>,
}

impl Records {
    /// A piece of the body from its record `from` on, and the number of the first record after it.
    pub fn piece(&self, body: &[u8], from: usize) -> (Pieces, usize) {
        let mut pieces = Pieces::default();
        let mut next = from;
        for range in self.ranges.get(from..).unwrap_or_default() {
            pieces.push(body.get(range.clone()).unwrap_or_default(), range.start as u64);
            next += 1;
            if pieces.is_large() {
                break;
            }
        }
        (pieces, next)
    }
}

/// Cuts a body into records. `json`: its type says that it is JSON.
pub fn cut(framing: Framing, json: Option<bool>, body: &[u8]) -> Result<Records, BadBody> {
    let mark = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let text = body.get(mark..).unwrap_or_default();
    let array = || text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let is_json = framing == Framing::Line && json.unwrap_or_else(array);
    let mut records = if is_json { values(text)? } else { lines(framing, text) };
    for range in &mut records.ranges {
        *range = range.start + mark..range.end + mark;
    }
    if framing == Framing::Csv && !records.ranges.is_empty() {
        let header = records.ranges.remove(0);
        let names = csv::ReaderBuilder::new().has_headers(false).from_reader(&body[header]).records().next();
        let names = names.and_then(Result::ok).ok_or_else(|| BadBody::Malformed("no CSV header".into()))?;
        records.header = Some(names.iter().map(str::to_owned).collect());
    }
    Ok(records)
}

/// Every line, the last one also without its end.
fn lines(framing: Framing, text: &[u8]) -> Records {
    let cut = frame::cut(framing, Encoding::Utf8, text, 0);
    let mut ranges: Vec<Range<usize>> = cut.records.iter().map(|record| record.start..record.end).collect();
    let rest = text.get(cut.consumed..).unwrap_or_default();
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    if !rest.is_empty() {
        ranges.push(cut.consumed..cut.consumed + rest.len());
    }
    Records { ranges, blank: cut.blank, header: None }
}

/// Every JSON value, and of arrays every element.
fn values(text: &[u8]) -> Result<Records, BadBody> {
    let malformed = |error: serde_json::Error| {
        // Its text could hold some of the body; where it is does not.
        BadBody::Malformed(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
    };
    let place = |value: &RawValue| {
        let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
        start..start + value.get().len()
    };
    let mut records = Records::default();
    for value in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
        let value = value.map_err(malformed)?;
        if value.get().starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(malformed)?;
            records.ranges.extend(elements.into_iter().map(place));
        } else {
            records.ranges.push(place(value));
        }
    }
    Ok(records)
}

/// What a key stands for at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    at: i64,
    body: String,
    /// Records of its body that are durable.
    pub records: u64,
    /// All of them are.
    pub whole: bool,
}

/// What becomes of a request with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// Its records from this number on are to be taken.
    From(u64),
    /// So many records are in the trail: it was sent before.
    Before(u64),
    /// Another request with this key is under way.
    Busy,
    /// The key was used for another body.
    Other,
}

/// The keys of one source.
#[derive(Debug)]
pub struct Keys {
    matching: Key,
    known: BTreeMap<String, Known>,
    by_age: BTreeSet<(i64, String)>,
    busy: BTreeSet<String>,
}

impl Keys {
    /// With the positions of the trail. `matching` is the key of digests that must stay comparable.
    pub fn new(matching: Key, positions: &BTreeMap<String, Value>) -> Keys {
        let mut keys =
            Keys { matching, known: BTreeMap::new(), by_age: BTreeSet::new(), busy: BTreeSet::new() };
        for (stream, position) in positions.iter().filter(|(stream, _)| *stream != UNKEYED) {
            let known = || {
                Some(Known {
                    at: position.get("at")?.as_i64()?,
                    body: position.get("body")?.as_str()?.to_owned(),
                    records: position.get("records")?.as_u64()?,
                    whole: position.get("whole").and_then(Value::as_bool).unwrap_or(false),
                })
            };
            if let Some(known) = known() {
                keys.by_age.insert((known.at, stream.clone()));
                keys.known.insert(stream.clone(), known);
            }
        }
        keys
    }

    /// The stream of a key, and the digest of its body.
    pub fn stream(&self, key: &str, body: &[u8]) -> (String, String) {
        let stream = self.matching.mac(KEY_DOMAIN, &[key.as_bytes()]);
        let body = self.matching.mac(BODY_DOMAIN, &[body]);
        (letters(&stream.0), letters(&body.0[..16]))
    }

    /// A request with this stream and body begins. Unless it is [`Met::From`], it is over.
    pub fn begin(&mut self, stream: &str, body: &str) -> Met {
        if self.busy.contains(stream) {
            return Met::Busy;
        }
        let from = match self.known.get(stream) {
            Some(known) if known.body != body => return Met::Other,
            Some(known) if known.whole => return Met::Before(known.records),
            Some(known) => known.records,
            None => 0,
        };
        self.busy.insert(stream.to_owned());
        Met::From(from)
    }

    /// The position after so many records of a body with this digest.
    pub fn position(body: &str, records: u64, whole: bool, now: Time) -> Value {
        let mut position = Map::new();
        position.insert("at".into(), now.seconds().into());
        position.insert("records".into(), records.into());
        position.insert("body".into(), body.into());
        if whole {
            position.insert("whole".into(), true.into());
        }
        Value::Object(position)
    }

    /// So many records of this stream are durable.
    pub fn took(&mut self, stream: &str, position: &Value) {
        let (Some(at), Some(records)) = (position["at"].as_i64(), position["records"].as_u64()) else {
            return;
        };
        let body = position["body"].as_str().unwrap_or_default().to_owned();
        let whole = position["whole"].as_bool().unwrap_or(false);
        if let Some(before) = self.known.insert(stream.to_owned(), Known { at, body, records, whole }) {
            self.by_age.remove(&(before.at, stream.to_owned()));
        }
        self.by_age.insert((at, stream.to_owned()));
    }

    /// The request is over, however it ended.
    pub fn end(&mut self, stream: &str) {
        self.busy.remove(stream);
    }

    /// The oldest keys above [`KEYS_MAX`], forgotten from here on: their streams are to be retired.
    pub fn too_old(&mut self) -> Vec<String> {
        let mut old = Vec::new();
        while self.known.len() > KEYS_MAX {
            let oldest = self.by_age.iter().find(|(_, stream)| !self.busy.contains(stream)).cloned();
            let Some(oldest) = oldest else { break };
            self.by_age.remove(&oldest);
            self.known.remove(&oldest.1);
            old.push(oldest.1);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Write;
    use zeroize::Zeroizing;

    fn texts(framing: Framing, json: Option<bool>, body: &str) -> Result<Vec<String>, BadBody> {
        let records = cut(framing, json, body.as_bytes())?;
        Ok(records.ranges.iter().map(|range| body[range.clone()].to_owned()).collect())
    }

    #[test]
    fn bodies_fall_into_records() {
        let lines = texts(Framing::Line, None, "{\"a\":1}\r\n\n{\"b\":2}").unwrap();
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"]);
        let array = texts(Framing::Line, None, " [ {\"a\":\n1} , 5,[]]").unwrap();
        assert_eq!(array, ["{\"a\":\n1}", "5", "[]"]);
        let values = texts(Framing::Line, Some(true), "{\"a\":\n1}\n{\"b\":2} [3]").unwrap();
        assert_eq!(values, ["{\"a\":\n1}", "{\"b\":2}", "3"]);
        let marked = texts(Framing::Line, Some(true), "\u{feff}{\"a\":1}").unwrap();
        assert_eq!(marked, ["{\"a\":1}"]);
        let bad = texts(Framing::Line, Some(true), "{\"a\":1}\n{\"b\": secret").unwrap_err();
        let BadBody::Malformed(why) = bad else { panic!() };
        assert!(why.contains("line 2") && !why.contains("secret"), "{why}");
        assert_eq!(texts(Framing::Line, Some(false), "[1,2]\n{").unwrap(), ["[1,2]", "{"]);
        let csv = cut(Framing::Csv, None, b"A,B\n1,\"x\ny\"\n2,z").unwrap();
        assert_eq!(csv.header.unwrap().as_ref(), ["A", "B"]);
        assert_eq!(csv.ranges, [4..11, 12..15]);
        assert_eq!(texts(Framing::Line, None, "").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn packed_bodies_have_limits() {
        let text = b"{\"a\":1}\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::bulk::compress(&text, 3).unwrap();
        // So even a text packs too well for the ratio; noise does not.
        assert_eq!(unpack(Packing::Gzip, gzip.clone(), 1 << 20), Err(BadBody::TooLarge));
        let noise: Vec<u8> = (0..5000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(&noise).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(unpack(Packing::Gzip, packed.clone(), 1 << 20).unwrap(), noise);
        assert_eq!(unpack(Packing::Gzip, packed.clone(), 100), Err(BadBody::TooLarge));
        let packed_zstd = zstd::bulk::compress(&noise, 3).unwrap();
        assert_eq!(unpack(Packing::Zstd, packed_zstd, 1 << 20).unwrap(), noise);
        assert_eq!(unpack(Packing::Zstd, zstd, 1 << 20), Err(BadBody::TooLarge));
        let half = packed[..packed.len() / 2].to_vec();
        assert!(matches!(unpack(Packing::Gzip, half, 1 << 20), Err(BadBody::Malformed(_))));
        assert!(matches!(unpack(Packing::Zstd, b"no".to_vec(), 1 << 20), Err(BadBody::Malformed(_))));
    }

    #[test]
    fn keys_are_honoured_after_a_restart_and_the_oldest_forgotten() {
        let matching = Key::new(0, Zeroizing::new([1; 32]));
        let mut keys = Keys::new(matching.clone(), &BTreeMap::new());
        let (stream, body) = keys.stream("one", b"body");
        assert!(stream.bytes().all(|byte| byte.is_ascii_lowercase()));
        assert_eq!(keys.begin(&stream, &body), Met::From(0));
        assert_eq!(keys.begin(&stream, &body), Met::Busy);
        let half = Keys::position(&body, 3, false, Time::from_seconds(100));
        keys.took(&stream, &half);
        keys.end(&stream);

        let mut again = Keys::new(matching.clone(), &BTreeMap::from([(stream.clone(), half)]));
        assert_eq!(again.begin(&stream, &body), Met::From(3));
        let whole = Keys::position(&body, 5, true, Time::from_seconds(101));
        again.took(&stream, &whole);
        again.end(&stream);
        assert_eq!(again.begin(&stream, &body), Met::Before(5));
        assert_eq!(again.begin(&stream, "another"), Met::Other);
        for number in 0..KEYS_MAX {
            again.took(&format!("s{number}"), &Keys::position("b", 1, true, Time::from_seconds(200)));
        }
        assert_eq!(again.too_old(), [stream]);
        assert!(again.too_old().is_empty());
    }
}
