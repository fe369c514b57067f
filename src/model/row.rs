//! A row as its entry names it, so that it is known again in another file.

use super::Time;
use super::digest::{Hash, parse_hex};
use sha2::{Digest, Sha256};

/// The first half of a keyed digest, as entries hold it.
pub type RowDigest = [u8; 16];

/// A row as its entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its bytes, under the key of the quarter in which it was read.
    pub digest: RowDigest,
    /// The file that it stands in.
    pub file: FileMark,
    /// When it was read.
    pub observed: Time,
}

/// A file's path, shortened: two paths with one mark are taken for one file, whose rows are never left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileMark([u8; 4]);

impl FileMark {
    /// The mark of a path as it stands in locators.
    pub fn of(path: &str) -> FileMark {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(path));
        FileMark([a, b, c, d])
    }

    /// As it is kept.
    pub fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl From<[u8; 4]> for FileMark {
    fn from(bytes: [u8; 4]) -> FileMark {
        FileMark(bytes)
    }
}

impl Row {
    /// The row of an entry. `None` where it names no digest or no file.
    pub fn of(hmac: &str, locator: &str, observed: Time) -> Option<Row> {
        let (_, hex) = hmac.split_once(':')?;
        let digest = parse_hex(hex.as_bytes())?.try_into().ok()?;
        let (path, _) = locator.rsplit_once('@')?;
        Some(Row { digest, file: FileMark::of(path), observed })
    }
}

/// By what a row that is read is known again: its digest as its entry holds it, and as it was before the newest
/// change of keys.
#[derive(Clone, Copy, Debug)]
pub struct RowDigests {
    /// Under the key in force.
    pub now: RowDigest,
    /// Under the key of the quarter before.
    pub before: Option<RowDigest>,
}

/// A digest as entries hold it.
pub fn first_half(hash: &Hash) -> RowDigest {
    std::array::from_fn(|place| hash.0.get(place).copied().unwrap_or_default())
}
