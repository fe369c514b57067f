//! What anchors gave, kept beside the trail.
//!
//! ```text
//! checkpoints/<20-digit size>              the note, cosignature lines after our two
//! checkpoints/<20-digit size>.stamped      the note as it was first written: what time stamps are over
//! checkpoints/<20-digit size>.<name>.tsr   the response of the authority of this name
//! ```
//!
//! Every file is replaced in one step and synced with its folder, and only then is a checkpoint called
//! anchored. What is here is kept for good: thinning takes checkpoints that nobody outside has confirmed.

use super::{Head, Kind, Proof, Target};
use crate::model::Time;
use crate::trail::disk::{self, Disk};
use crate::trail::note::{Checkpoint, NOTE_MAX, Note};
use crate::trail::timestamp::{self, RESPONSE_MAX};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Most files that are read to find what was reached before a restart.
const LOOK_MAX: usize = 8192;
/// Access of the files: the trail's read group may verify them.
const MODE: u32 = 0o640;

/// What a target has confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Number of entries.
    pub size: u64,
    /// When, by the target's clock; for syslog by ours.
    pub time: Time,
}

/// `checkpoints/<20-digit size>`.
pub fn note_path(folder: &Path, size: u64) -> PathBuf {
    folder.join("checkpoints").join(format!("{size:020}"))
}

/// `checkpoints/<20-digit size>.stamped`.
pub fn stamped_path(folder: &Path, size: u64) -> PathBuf {
    folder.join("checkpoints").join(format!("{size:020}.stamped"))
}

/// `checkpoints/<20-digit size>.<name>.tsr`.
pub fn stamp_path(folder: &Path, size: u64, name: &str) -> PathBuf {
    folder.join("checkpoints").join(format!("{size:020}.{name}.tsr"))
}

/// Keeps a proof in a generation's folder. When it returns, the proof is durable. The first cosignature of a
/// witness over a checkpoint stays: it is the one closest to the event.
pub fn store(disk: &dyn Disk, folder: &Path, target: &str, head: &Head, proof: &Proof) -> io::Result<()> {
    let path = note_path(folder, head.size);
    let kept = disk.read_small(&path, NOTE_MAX as u64)?;
    if kept.as_ref().is_some_and(|kept| !kept.starts_with(head.note.as_bytes())) {
        return Err(other("another checkpoint of this size is there"));
    }
    match proof {
        Proof::Sent => Ok(()),
        Proof::Cosignature(line, _) => {
            let note = kept.unwrap_or_else(|| head.note.as_bytes().to_vec());
            let note = String::from_utf8(note).map_err(|_| other("the checkpoint kept is not text"))?;
            let full = format!("{note}{line}\n");
            let parsed = Note::parse(&full).map_err(|_| other("no further signature fits into the note"))?;
            let known = parsed
                .signatures
                .split_last()
                .is_some_and(|(new, old)| old.iter().any(|line| (line.name, line.id) == (new.name, new.id)));
            match known {
                true => Ok(()),
                false => disk::replace(disk, &path, full.as_bytes(), MODE),
            }
        }
        Proof::Stamp(response, _) => {
            if kept.is_none() {
                disk::replace(disk, &path, head.note.as_bytes(), MODE)?;
            }
            let stamped = stamped_path(folder, head.size);
            if disk.read_small(&stamped, NOTE_MAX as u64)?.as_deref() != Some(head.note.as_bytes()) {
                disk::replace(disk, &stamped, head.note.as_bytes(), MODE)?;
            }
            disk::replace(disk, &stamp_path(folder, head.size, target), response, MODE)
        }
    }
}

fn other(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What each target has confirmed, as the files say and their signatures prove: the newest of each. Sizes
/// above `signed` are none of this trail's.
pub fn reached(
    disk: &dyn Disk,
    folder: &Path,
    origin: &str,
    signed: u64,
    targets: &[Target],
) -> io::Result<BTreeMap<String, Reached>> {
    let names = disk.names(&folder.join("checkpoints"))?;
    let mut found = BTreeMap::new();
    for target in targets {
        let suffix = match &target.kind {
            Kind::Witness { .. } => String::new(),
            Kind::Timestamp { .. } => format!(".{}.tsr", target.name),
            Kind::Syslog { .. } => continue,
        };
        let sizes = names.iter().rev().filter_map(|name| sized(name.strip_suffix(&suffix)?));
        for size in sizes.filter(|size| *size <= signed).take(LOOK_MAX) {
            if let Some(time) = confirmed(disk, folder, origin, size, target)? {
                found.insert(target.name.clone(), Reached { size, time });
                break;
            }
        }
    }
    Ok(found)
}

/// The size that a name of 20 digits states.
fn sized(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// When a target confirmed the checkpoint of this size, if what is kept proves it.
fn confirmed(
    disk: &dyn Disk,
    folder: &Path,
    origin: &str,
    size: u64,
    target: &Target,
) -> io::Result<Option<Time>> {
    let is_ours = |text: &str| {
        Checkpoint::parse(text)
            .is_some_and(|checkpoint| checkpoint.origin == origin && checkpoint.size == size)
    };
    let note = |path: &Path| {
        let bytes = disk.read_small(path, NOTE_MAX as u64)?.unwrap_or_default();
        Ok::<String, io::Error>(String::from_utf8(bytes).unwrap_or_default())
    };
    match &target.kind {
        Kind::Syslog { .. } => Ok(None),
        Kind::Witness { key, .. } => {
            let text = note(&note_path(folder, size))?;
            let note = Note::parse(&text).ok().filter(|note| is_ours(note.text));
            let time = note.and_then(|note| note.cosigned_by(key).ok().flatten());
            Ok(time.and_then(|time| i64::try_from(time).ok()).map(Time::from_seconds))
        }
        Kind::Timestamp { authorities, .. } => {
            let text = note(&stamped_path(folder, size))?;
            if !Note::parse(&text).is_ok_and(|note| is_ours(note.text)) {
                return Ok(None);
            }
            let path = stamp_path(folder, size, &target.name);
            let response = disk.read_small(&path, RESPONSE_MAX as u64)?.unwrap_or_default();
            let stamp = timestamp::verify(&response, text.as_bytes(), None, authorities);
            Ok(stamp.ok().map(|stamp| stamp.time))
        }
    }
}

#[cfg(test)]
mod tests;
