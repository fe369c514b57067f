//! Fingerprint keys, one a calendar quarter (UTC): `fingerprint-<number>.key` in `keys:`, number = year times
//! ten plus quarter, `fingerprint-20264.key` from October to December 2026.
//!
//! Values of different quarters cannot be compared, and when a quarter's key is destroyed at the end of
//! retention nobody can try numbers against its fingerprints any more. The number stands beside everything
//! that a key made. Trails of the first release know one key with the number 1, which is before all quarters.
//!
//! * In force is the key of the present quarter. It is made when its quarter begins, or at the first start in
//!   it. Where `keys:` cannot be written, the newest of the earlier ones stays in force, and a warning names
//!   the file that an operator has to make. Keys of later quarters may be there already, and wait.
//! * Numbers only grow: the present is never before the newest entry of the trail, and a running daemon whose
//!   clock is set back keeps its key.
//! * A key appears whole or not at all. A file of zeros is a destruction that was interrupted: it is finished.

use super::TrailError;
use super::disk::{self, Disk};
use super::keys;
use crate::model::{Key, Time, digest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Largest key file.
const FILE_MAX: u64 = 4096;
/// While the quarter's key cannot be made, it is looked for again after so many seconds.
const LOOK_AGAIN: i64 = 3600;

/// The number of the quarter of a time.
pub fn number(time: Time) -> u32 {
    let (year, month, ..) = time.civil();
    u32::try_from(year).unwrap_or(0) * 10 + (month - 1) / 3 + 1
}

/// Where the quarter after that of a time begins.
fn next(time: Time) -> Time {
    let (year, month, ..) = time.civil();
    let (year, month) = if month > 9 { (year + 1, 1) } else { (year, (month - 1) / 3 * 3 + 4) };
    Time::from_civil((year, month, 1), (0, 0, 0), 0).unwrap_or(Time::from_micros(i64::MAX))
}

/// The file of a key.
pub fn file_name(number: u32) -> String {
    format!("fingerprint-{number}.key")
}

/// Numbers of the keys in a folder, ascending.
pub fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<u32>, TrailError> {
    let names = disk.names(folder).map_err(|error| TrailError::io("list", folder, error))?;
    let number = |name: &String| {
        let digits = name.strip_prefix("fingerprint-")?.strip_suffix(".key")?;
        digits.parse().ok().filter(|number| file_name(*number) == *name)
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the key of a number durably. There must be none yet.
pub fn make(disk: &dyn Disk, folder: &Path, number: u32) -> Result<Key, TrailError> {
    let secret = keys::random()?;
    let text = Zeroizing::new(format!("{}\n", digest::hex(&secret[..])));
    let path = folder.join(file_name(number));
    disk::replace(disk, &path, text.as_bytes(), 0o600)
        .map_err(|error| TrailError::io("make the key", &path, error))?;
    Ok(Key::new(number, secret))
}

/// Of these numbers the one in force in a quarter: its own, else the newest before it.
fn in_force(numbers: impl Iterator<Item = u32>, quarter: u32) -> Option<u32> {
    numbers.filter(|number| *number <= quarter).max()
}

/// Destroys a key: its bytes are overwritten, then the file goes. The key in force is refused; one that is not
/// there is fine. On media that do not overwrite in place this is best effort.
pub fn destroy(disk: &dyn Disk, folder: &Path, number: u32, now: Time) -> Result<(), TrailError> {
    if in_force(list(disk, folder)?.into_iter(), self::number(now)) == Some(number) {
        return Err(TrailError::setup(format!("fingerprint key {number} is in use and cannot be destroyed")));
    }
    let path = folder.join(file_name(number));
    disk::destroy(disk, &path).map_err(|error| TrailError::io("destroy the key", &path, error))
}

/// Destroys the keys of quarters that ended before `oldest`, the time of the oldest entry that is left: nothing
/// that they made is here any more. Keys that we cannot write to stay, and are named.
pub fn destroy_before(
    disk: &dyn Disk,
    folder: &Path,
    oldest: Time,
    now: Time,
) -> Result<Vec<u32>, TrailError> {
    let ended = list(disk, folder)?.into_iter().filter(|number| *number < self::number(oldest));
    let used = in_force(list(disk, folder)?.into_iter(), self::number(now));
    let mut left = Vec::new();
    for number in ended.filter(|number| Some(*number) != used) {
        if destroy(disk, folder, number, now).is_err() {
            left.push(number);
        }
    }
    Ok(left)
}

/// Reads all keys, by ascending number.
fn read_all(disk: &dyn Disk, folder: &Path) -> Result<Vec<Key>, TrailError> {
    let mut found = Vec::new();
    for number in list(disk, folder)? {
        let path = folder.join(file_name(number));
        let bytes = disk.read_small(&path, FILE_MAX).map_err(|error| TrailError::io("read", &path, error))?;
        let bytes = Zeroizing::new(bytes.unwrap_or_default());
        match bytes.iter().all(|byte| *byte == 0) {
            // What cannot be unlinked here is no key all the same.
            true => drop(disk.remove(&path).and_then(|()| disk.sync_dir(folder))),
            false => found.push(keys::read_symmetric(disk, &path, number)?),
        }
    }
    Ok(found)
}

/// The key in force, and when to look for the next one.
pub struct Quarters {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    current: Key,
    others: Vec<Key>,
    next: Time,
    warning: Option<String>,
    /// Quarter of the last warning: each is warned of once.
    warned: u32,
}

impl Quarters {
    /// Reads the keys of a folder and makes the one of this quarter where it is missing. `now` is not before
    /// the newest entry of the trail. Fails when a key cannot be read, or when there is none for this quarter
    /// or before and none can be made.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, now: Time) -> Result<Quarters, TrailError> {
        let mut others = read_all(&*disk, folder)?;
        let found = in_force(others.iter().map(Key::number), number(now));
        let current = match others.iter().position(|key| Some(key.number()) == found) {
            Some(place) => others.remove(place),
            None => make(&*disk, folder, number(now))?,
        };
        let folder = folder.to_owned();
        let mut quarters = Quarters { disk, folder, current, others, next: now, warning: None, warned: 0 };
        quarters.turn(now);
        Ok(quarters)
    }

    /// The key in force.
    pub fn key(&self) -> &Key {
        &self.current
    }

    /// Keys of other quarters, as they were found at the start.
    pub fn others(&self) -> &[Key] {
        &self.others
    }

    /// What an operator has to do, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Goes over to the key of the quarter of `now`, where it is not in force yet. `true`: another key is.
    pub fn turn(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        let (wanted, had) = (number(now), self.current.number());
        if had < wanted {
            match self.find(wanted) {
                Ok(key) => self.others.push(std::mem::replace(&mut self.current, key)),
                Err(error) if self.warned != wanted => {
                    self.warned = wanted;
                    self.warning = Some(missing(&self.folder, wanted, had, &error));
                }
                Err(_) => {}
            }
        }
        self.next = match self.current.number() >= wanted {
            true => next(now),
            false => now.plus_seconds(LOOK_AGAIN),
        };
        self.current.number() != had
    }

    /// The wanted key where somebody made it, else a new one.
    fn find(&self, wanted: u32) -> Result<Key, TrailError> {
        match list(&*self.disk, &self.folder)?.contains(&wanted) {
            true => keys::read_symmetric(&*self.disk, &self.folder.join(file_name(wanted)), wanted),
            false => make(&*self.disk, &self.folder, wanted),
        }
    }
}

fn missing(folder: &Path, wanted: u32, had: u32, error: &TrailError) -> String {
    let path = folder.join(file_name(wanted));
    format!(
        "the fingerprint key of this quarter cannot be made ({error}); key {had} stays in force. Make {}: 64 \
         hexadecimal digits of `openssl rand -hex 32`, mode 0600",
        path.display()
    )
}

#[cfg(test)]
mod tests;
