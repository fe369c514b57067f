//! Which rows of delivered files stand in the trail, so that a row of a second file is known again.
//!
//! Salesforce delivers the same rows twice, in hourly files and in a daily one; other exports overlap by hours.
//! A record is the same as another when its bytes are (the keyed digest `raw.hmac` of its entry), when it stands
//! in **another file** (another path before `@` in `raw.locator`), and when the first was read within the window.
//! Equal rows of one file are two events, for nothing says that they are one; but a row that another file held is left
//! out however often it stands in the later one, for nothing says which of them were meant. What is left out is counted in an
//! entry `duplicates`; nothing here ever decides about a row that no entry holds.
//!
//! Two halves, so that nothing is sorted and no row has a time of its own: rows go to the newer half; when that is
//! a window old, or full, the older half is forgotten and the newer one takes its place. So a row is known for one
//! to two windows, and fewer only if more than [`ROWS_MAX`] rows came in that time.

use crate::model::Time;
use crate::model::digest::{parse_hex, write_hex};
use crate::model::json::Object;
use crate::model::row::{FileMark, Row, RowDigest};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Rows that are known of one source, in both halves together. A row takes some 40 bytes of memory.
pub const ROWS_MAX: usize = 500_000;
/// Bytes of a row in the cache: its digest and its file.
const ROW_BYTES: usize = 20;

/// The rows of every source that asks for it.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<String, Known>);

#[derive(Debug, Default)]
struct Known {
    window: u64,
    began: Option<Time>,
    newer: HashMap<RowDigest, FileMark>,
    older: HashMap<RowDigest, FileMark>,
}

impl Known {
    /// Seconds since the newer half began.
    fn age(&self, now: Time) -> u64 {
        self.began.map_or(0, |began| now.seconds_since(began).max(0.0) as u64)
    }
}

#[derive(Deserialize)]
pub(super) struct RowsCache<'a> {
    began: Option<Time>,
    #[serde(borrow)]
    newer: Cow<'a, str>,
    #[serde(borrow)]
    older: Cow<'a, str>,
}

impl Rows {
    /// From here on the rows of these sources are known, for so many seconds each, and no others.
    pub fn ask(&mut self, windows: &BTreeMap<String, u64>) {
        self.0.retain(|source, _| windows.contains_key(source));
        for (source, window) in windows {
            self.0.entry(source.clone()).or_default().window = *window;
        }
    }

    /// Whether rows of this source are known again.
    pub fn asked(&self, source: &str) -> bool {
        self.0.contains_key(source)
    }

    /// The sources that ask for it.
    pub fn sources(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Whether a row with this digest, read at `observed`, stands in another file. Asking changes nothing.
    pub fn stands_elsewhere(&self, source: &str, digest: &RowDigest, file: FileMark, observed: Time) -> bool {
        let Some(known) = self.0.get(source) else { return false };
        let age = known.age(observed);
        let newer = known.newer.get(digest).filter(|_| age < 2 * known.window);
        let found = newer.or_else(|| known.older.get(digest).filter(|_| age < known.window));
        found.is_some_and(|known| *known != file)
    }

    /// A row became an entry. `true`: rows were forgotten before their time, for there are too many.
    pub fn note(&mut self, source: &str, row: Row) -> bool {
        let Some(known) = self.0.get_mut(source) else { return false };
        known.began.get_or_insert(row.observed);
        let full = known.newer.len() >= ROWS_MAX / 2;
        let age = known.age(row.observed);
        if full || age >= known.window {
            known.older = std::mem::take(&mut known.newer);
            if age >= 2 * known.window {
                known.older.clear();
            }
            known.began = Some(row.observed);
        }
        known.newer.entry(row.digest).or_insert(row.file);
        full
    }

    /// Bytes that the cache will need, about.
    pub(super) fn bytes(&self) -> usize {
        self.0.values().map(|known| (known.newer.len() + known.older.len()) * ROW_BYTES * 2 + 256).sum()
    }

    pub(super) fn write(&self, out: &mut Object<'_>) {
        for (source, known) in &self.0 {
            out.dynamic_object(source, |out| {
                if let Some(began) = known.began {
                    out.time("began", began);
                }
                out.written("newer", |out| write_rows(&known.newer, out));
                out.written("older", |out| write_rows(&known.older, out));
            });
        }
    }

    pub(super) fn read(cache: BTreeMap<String, RowsCache<'_>>) -> Option<Rows> {
        let known = |(source, cache): (String, RowsCache<'_>)| {
            let (newer, older) = (read_rows(&cache.newer)?, read_rows(&cache.older)?);
            Some((source, Known { window: 0, began: cache.began, newer, older }))
        };
        cache.into_iter().map(known).collect::<Option<_>>().map(Rows)
    }
}

/// In order, so that the same state gives the same bytes.
fn write_rows(rows: &HashMap<RowDigest, FileMark>, out: &mut Vec<u8>) {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_unstable();
    out.push(b'"');
    for (digest, file) in sorted {
        write_hex(digest, out);
        write_hex(&file.bytes(), out);
    }
    out.push(b'"');
}

fn read_rows(text: &str) -> Option<HashMap<RowDigest, FileMark>> {
    let row = |hex: &[u8]| {
        let bytes = parse_hex(hex)?;
        let (digest, file) = bytes.split_at_checked(ROW_BYTES - 4)?;
        Some((digest.try_into().ok()?, FileMark::from(<[u8; 4]>::try_from(file).ok()?)))
    };
    text.as_bytes().chunks(ROW_BYTES * 2).map(row).collect()
}

/// What must be known of an event to know its row.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawBrief<'a> {
    #[serde(borrow)]
    locator: Cow<'a, str>,
    #[serde(borrow)]
    hmac: Cow<'a, str>,
}

impl RawBrief<'_> {
    pub(super) fn row(&self, observed: Time) -> Option<Row> {
        Row::of(&self.hmac, &self.locator, observed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::json::no_mask;

    fn row(number: u32, file: u8, seconds: i64) -> Row {
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        Row { digest, file: FileMark::from([0, 0, 0, file]), observed: Time::EPOCH.plus_seconds(seconds) }
    }

    fn known(rows: &Rows, number: u32, file: u8) -> bool {
        known_at(rows, number, file, 0)
    }

    fn known_at(rows: &Rows, number: u32, file: u8, seconds: i64) -> bool {
        let row = row(number, file, seconds);
        rows.stands_elsewhere("s", &row.digest, row.file, row.observed)
    }

    fn asked(window: u64) -> Rows {
        let mut rows = Rows::default();
        rows.ask(&BTreeMap::from([("s".to_owned(), window)]));
        rows
    }

    #[test]
    fn a_row_is_known_for_one_to_two_windows() {
        let mut rows = asked(100);
        rows.note("s", row(1, 1, 0));
        rows.note("s", row(2, 1, 99));
        rows.note("s", row(3, 1, 150));
        assert!(known(&rows, 1, 2) && known(&rows, 2, 2) && known(&rows, 3, 2));
        assert!(!known(&rows, 1, 1), "the same file");
        assert!(!known(&rows, 4, 2), "never seen");
        rows.note("s", row(5, 1, 251));
        assert!(!known(&rows, 1, 2) && !known(&rows, 2, 2) && known(&rows, 3, 2) && known(&rows, 5, 2));
        assert!(!rows.note("other", row(1, 1, 0)), "a source that does not ask");
    }

    #[test]
    fn a_quiet_source_forgets_too() {
        let mut rows = asked(100);
        rows.note("s", row(1, 1, 0));
        assert!(known_at(&rows, 1, 2, 199) && !known_at(&rows, 1, 2, 200), "nothing was read since");
        rows.note("s", row(2, 1, 120));
        assert!(known_at(&rows, 1, 2, 219) && !known_at(&rows, 1, 2, 220));
        rows.note("s", row(3, 1, 700));
        assert!(!known_at(&rows, 1, 2, 700) && !known_at(&rows, 2, 2, 700) && known_at(&rows, 3, 2, 700));
    }

    #[test]
    fn memory_has_an_end_and_says_when_it_is_reached() {
        let mut rows = asked(1_000_000);
        let half = ROWS_MAX as u32 / 2;
        let forgot: Vec<u32> = (0..=2 * half).filter(|number| rows.note("s", row(*number, 1, 0))).collect();
        assert_eq!(forgot, [half, 2 * half]);
        assert!(!known(&rows, 0, 2) && known(&rows, half, 2) && known(&rows, 2 * half, 2));
    }

    #[test]
    fn the_cache_gives_back_what_it_got() {
        let mut rows = asked(100);
        for number in 0..1000 {
            rows.note("s", row(number * 7919 % 1000, (number % 5) as u8, i64::from(number) / 4));
        }
        let write = |rows: &Rows| {
            let mut out = Vec::new();
            Object::whole(&mut out, no_mask, |out| rows.write(out));
            out
        };
        let text = write(&rows);
        let mut back = Rows::read(serde_json::from_slice(&text).unwrap()).unwrap();
        back.ask(&BTreeMap::from([("s".to_owned(), 100)]));
        assert_eq!(write(&back), text);
        assert!(known(&back, 81, 9));
        assert!(text.len() <= rows.bytes(), "{} of {}", text.len(), rows.bytes());
        back.ask(&BTreeMap::new());
        assert!(!back.asked("s"));
    }
}
