//! Epoch keys: who may sign from where on, so that a thief of today's keys cannot rewrite the past.
//!
//! ```text
//! {"i":N,…,"kind":"key.epoch","epoch":E,"key":"<vkey of <origin>/epochE>","sig":"<base64>"}
//! ```
//!
//! `sig` is the Ed25519 signature of the key of epoch E−1 over
//! `crmwarden/key.epoch/v1\n<origin>\n<N>\n<vkey>\n`. The commit that closes the entry's group and the
//! checkpoint at that commit are signed by the key of epoch E−1; everything after by the key of epoch E. So
//! the key that signs a checkpoint of size `s` is the one that signed the commit at index `s − 1`.
//!
//! # Changing an epoch, and a crash in between
//!
//! | step | durable | a start finds | and does |
//! |---|---|---|---|
//! | 1 | new private key, synced with its folder | both keys, no entry | destroys the new key |
//! | 2 | `key.epoch` entry in a commit of the old key | both keys, entry above the checkpoint | adopts it, goes on with step 3 |
//! | 3 | closing checkpoint, signed by the old key | both keys, entry below the checkpoint | goes on with step 4 |
//! | 4 | old key overwritten, unlinked, folder synced | the new key | nothing |

use super::disk::{self, Disk};
use super::entry::Entry;
use super::note::{NoteSigner, Verifier};
use super::{Paths, TrailError, epoch_name, keys};
use crate::model::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

/// An epoch ends after so many entries.
pub const EPOCH_ENTRIES: u64 = 1_000_000;
/// An epoch ends at the first heartbeat after so many seconds.
pub const EPOCH_SECONDS: i64 = 24 * 3600;

/// Which epoch key is in force, as the entries say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Number of the epoch in force for the next commit.
    pub number: u32,
    /// Its key.
    pub key: Verifier,
    /// The key that signed the newest commit: the one a checkpoint at that commit is signed by.
    pub last: Verifier,
    /// Index of the entry that began the epoch; 0 for the first.
    pub since: u64,
    /// `t` of that entry.
    pub since_time: Time,
    /// A change whose group is not closed yet.
    next: Option<(u32, Verifier, u64, Time)>,
}

/// The members of a `key.epoch` entry.
#[derive(Deserialize)]
struct Change {
    epoch: u32,
    key: String,
    sig: String,
}

/// The bytes that a change's signature covers.
fn message(origin: &str, index: u64, vkey: &str) -> Vec<u8> {
    format!("crmwarden/key.epoch/v1\n{origin}\n{index}\n{vkey}\n").into_bytes()
}

/// The members of a `key.epoch` entry at `index`, signed by the epoch's predecessor.
pub fn change_members(origin: &str, index: u64, epoch: u32, new: &Verifier, old: &NoteSigner) -> Vec<u8> {
    let vkey = new.vkey();
    let sig = BASE64.encode(old.sign(&message(origin, index, &vkey)));
    format!("\"epoch\":{epoch},\"key\":\"{vkey}\",\"sig\":\"{sig}\"").into_bytes()
}

impl Epochs {
    /// Before any change: the key that genesis names.
    pub fn first(key: Verifier) -> Epochs {
        Epochs { number: 0, last: key.clone(), key, since: 0, since_time: Time::EPOCH, next: None }
    }

    /// An epoch as a cache remembers it, after a commit that its own key signed, or, where `last` differs,
    /// its predecessor's.
    pub fn resumed(number: u32, key: Verifier, last: Verifier, since: u64, since_time: Time) -> Epochs {
        Epochs { number, key, last, since, since_time, next: None }
    }

    /// Takes an entry. `Err`: a change that the key in force did not sign.
    pub fn take(&mut self, origin: &str, entry: &Entry<'_>) -> Result<(), String> {
        match entry.kind {
            "genesis" => self.since_time = entry.time,
            "key.epoch" => self.change(origin, entry)?,
            "commit" => self.close(),
            _ => {}
        }
        Ok(())
    }

    /// A commit closed the group: from here on a change in it counts.
    pub fn close(&mut self) {
        self.last = self.key.clone();
        if let Some((number, key, since, time)) = self.next.take() {
            (self.number, self.key, self.since, self.since_time) = (number, key, since, time);
        }
    }

    fn change(&mut self, origin: &str, entry: &Entry<'_>) -> Result<(), String> {
        let index = entry.index;
        let change: Change = serde_json::from_slice(&entry.object())
            .map_err(|error| format!("entry {index} is no change of epoch: {error}"))?;
        let key = Verifier::parse(&change.key)
            .filter(|key| key.name == epoch_name(origin, change.epoch))
            .ok_or_else(|| format!("entry {index} names no key of epoch {}", change.epoch))?;
        if self.next.is_some() || Some(change.epoch) != self.number.checked_add(1) {
            return Err(format!("entry {index} begins epoch {} after {}", change.epoch, self.number));
        }
        let signature = BASE64.decode(&change.sig).ok().and_then(|bytes| bytes.try_into().ok());
        match signature {
            Some(signature) if self.key.holds(&message(origin, index, &change.key), &signature) => {
                self.next = Some((change.epoch, key, index, entry.time));
                Ok(())
            }
            _ => Err(format!("entry {index} begins an epoch, and the epoch key before it did not sign that")),
        }
    }

    /// Whether the epoch has lasted long enough.
    pub fn is_due(&self, size: u64, now: Time) -> bool {
        size - self.since >= EPOCH_ENTRIES || now >= self.since_time.plus_seconds(EPOCH_SECONDS)
    }
}

/// An epoch of a trail, as its entries say.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Epoch {
    /// Its number.
    pub epoch: u32,
    /// Vkey of its key.
    pub key: String,
    /// Index of the entry that began it.
    pub since: u64,
    /// `t` of that entry.
    pub time: Time,
}

/// All epochs of a generation, oldest first. What verification checks is taken as it stands.
pub fn history(disk: &dyn Disk, folder: &std::path::Path) -> Result<Vec<Epoch>, TrailError> {
    let line = super::genesis_line(disk, folder)?.unwrap_or_default();
    let mut lines: Vec<Vec<u8>> = vec![line];
    if let Some(kept) = super::prune::Kept::read(disk, folder)? {
        lines = kept.lines().to_vec();
    }
    super::read::each(disk, folder, 0, u64::MAX, &mut |entry| {
        if entry.kind == "key.epoch" {
            lines.push(entry.line.to_vec());
        }
        Ok(())
    })?;
    let mut epochs: Vec<Epoch> = Vec::new();
    for entry in lines.iter().filter_map(|line| Entry::parse(line)) {
        let object = entry.object();
        let (number, key) = match entry.kind {
            "genesis" => (0, super::Genesis::of_line(entry.line).map(|genesis| genesis.epoch)),
            _ => match serde_json::from_slice::<Change>(&object) {
                Ok(change) => (change.epoch, Some(change.key)),
                Err(_) => continue,
            },
        };
        if epochs.last().is_none_or(|last| last.epoch < number) {
            let key = key.unwrap_or_default();
            epochs.push(Epoch { epoch: number, key, since: entry.index, time: entry.time });
        }
    }
    Ok(epochs)
}

/// The private keys found in `epoch/`, by number.
pub fn found(disk: &dyn Disk, paths: &Paths) -> Result<Vec<u32>, TrailError> {
    let dir = paths.state.join("epoch");
    let names = disk.names(&dir).map_err(|error| TrailError::io("list", &dir, error))?;
    let number = |name: String| name.strip_suffix(".key").and_then(|digits| digits.parse().ok());
    let mut numbers: Vec<u32> = names.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the key of an epoch and checks that it is the one the trail names.
pub fn read(
    disk: &dyn Disk,
    paths: &Paths,
    origin: &str,
    number: u32,
    key: &Verifier,
) -> Result<NoteSigner, TrailError> {
    let path = paths.epoch_key(number);
    let exists = disk.exists(&path).map_err(|error| TrailError::io("look at", &path, error))?;
    if !exists {
        return Err(TrailError::refused(format!(
            "the key of epoch {number}, which the trail names, is missing ({})",
            path.display()
        )));
    }
    let signer = NoteSigner::new(epoch_name(origin, number), keys::read_signing(disk, &path)?);
    match signer.verifier() == *key {
        true => Ok(signer),
        false => Err(TrailError::refused(format!("{} is not the key that the trail names", path.display()))),
    }
}

/// Makes the key of an epoch durably.
pub fn make(disk: &dyn Disk, paths: &Paths, origin: &str, number: u32) -> Result<NoteSigner, TrailError> {
    let path = paths.epoch_key(number);
    let key = keys::make_signing(disk, &path)?;
    let dir = paths.state.join("epoch");
    disk.sync_dir(&dir).map_err(|error| TrailError::io("sync", &dir, error))?;
    Ok(NoteSigner::new(epoch_name(origin, number), key))
}

/// Destroys the key of an epoch durably.
pub fn destroy(disk: &dyn Disk, paths: &Paths, number: u32) -> Result<(), TrailError> {
    let path = paths.epoch_key(number);
    disk::destroy(disk, &path).map_err(|error| TrailError::io("destroy", &path, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Hash;
    use crate::trail::entry::write_line;
    use ed25519_dalek::SigningKey;

    const ORIGIN: &str = "acme.example/crmwarden/g1";

    fn signer(epoch: u32) -> NoteSigner {
        NoteSigner::new(epoch_name(ORIGIN, epoch), SigningKey::from_bytes(&[epoch as u8 + 1; 32]))
    }

    fn line(index: u64, kind: &str, members: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_line(&mut out, index, &Hash::default(), Time::EPOCH, kind, members);
        out.pop();
        out
    }

    fn take(epochs: &mut Epochs, line: &[u8]) -> Result<(), String> {
        epochs.take(ORIGIN, &Entry::parse(line).unwrap())
    }

    #[test]
    fn a_change_counts_after_its_commit_and_only_from_the_key_before() {
        let mut epochs = Epochs::first(signer(0).verifier());
        let change = change_members(ORIGIN, 7, 1, &signer(1).verifier(), &signer(0));
        take(&mut epochs, &line(7, "key.epoch", &change)).unwrap();
        assert_eq!((epochs.number, epochs.key.name.as_str()), (0, "acme.example/crmwarden/g1/epoch0"));
        take(&mut epochs, &line(8, "commit", b"")).unwrap();
        assert_eq!((epochs.number, epochs.since), (1, 7));
        assert_eq!((&epochs.last, &epochs.key), (&signer(0).verifier(), &signer(1).verifier()));
        // Signed by another key, for another index, for another epoch, of another name.
        for (index, wrong) in [
            (9, change_members(ORIGIN, 9, 2, &signer(2).verifier(), &signer(0))),
            (9, change_members(ORIGIN, 8, 2, &signer(2).verifier(), &signer(1))),
            (9, change_members(ORIGIN, 9, 3, &signer(3).verifier(), &signer(1))),
            (9, change_members(ORIGIN, 9, 2, &signer(5).verifier(), &signer(1))),
            (9, change_members("other", 9, 2, &signer(2).verifier(), &signer(1))),
        ] {
            assert!(take(&mut epochs.clone(), &line(index, "key.epoch", &wrong)).is_err());
        }
        let right = change_members(ORIGIN, 9, 2, &signer(2).verifier(), &signer(1));
        take(&mut epochs, &line(9, "key.epoch", &right)).unwrap();
        assert!(take(&mut epochs, &line(9, "key.epoch", &right)).is_err(), "two changes in one group");
    }
}
