//! What stands above the signed size: whole groups of ours are adopted in order; the first that is not whole,
//! and everything after it, is a torn tail; and what no crash can make is refused.
//!
//! * A line without its newline is not a line: never adopted, never authentic.
//! * A whole, chained, parseable commit line whose signature does not hold cannot come from a crash.
//! * Every group is synced before the next is written, so behind the first damage at most one authentic
//!   commit can stand: the damaged group's own, for sectors reach the disk in any order.

use super::disk::{self, Disk};
use super::entry::{Bodies, Entry};
use super::read::{Lines, Met, SegmentFile};
use super::scan::Scan;
use super::{SEGMENT_MAX, TrailError};
use crate::model::digest;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest torn tail that is copied: more than a segment cannot be torn.
const TORN_MAX: u64 = SEGMENT_MAX + (64 << 20);

/// Bytes that a crash tore: from `offset` to the end of a segment file.
pub(super) struct Torn {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: Vec<u8>,
    pub digest: String,
    /// The whole file is torn and goes.
    pub remove: bool,
}

/// Who may have signed a commit: the scan before the commit and the commit.
pub(super) type Authentic<'a> = &'a dyn Fn(&Scan, &Entry<'_>) -> bool;

/// Adopts whole groups beyond the signed size and returns what is torn.
pub(super) fn adopt(
    disk: &dyn Disk,
    files: &[SegmentFile],
    scan: &mut Scan,
    origin: &str,
    authentic: Authentic<'_>,
) -> Result<Vec<Torn>, TrailError> {
    let place = files.iter().position(|file| file.first == scan.segment).unwrap_or(0);
    let mut torn = Vec::new();
    for file in files.iter().skip(place) {
        if file.first != scan.segment {
            if file.first != scan.head.frontier.size() || !torn.is_empty() {
                torn.push(cut(disk, file, 0)?);
                continue;
            }
            (scan.segment, scan.offset) = (file.first, 0);
        }
        adopt_file(disk, file, scan, origin, authentic)?;
        let length = file.length(disk).map_err(|error| TrailError::io("read", &file.path, error))?;
        if length > scan.offset || (length == 0 && file.first > 0) {
            torn.push(cut(disk, file, scan.offset)?);
        }
    }
    refuse_what_no_crash_makes(&torn, scan, authentic)?;
    // A segment whose first group was torn goes as a whole: we are back in the one before.
    let first = torn.first().filter(|first| first.remove);
    if first.is_some_and(|first| first.path.ends_with(super::segment_name(scan.segment))) {
        let before = files.iter().rev().find(|file| file.first < scan.segment);
        if let Some(file) = before {
            scan.segment = file.first;
            scan.offset = file.length(disk).map_err(|error| TrailError::io("read", &file.path, error))?;
        }
    }
    Ok(torn)
}

fn refuse_what_no_crash_makes(
    torn: &[Torn],
    scan: &Scan,
    authentic: Authentic<'_>,
) -> Result<(), TrailError> {
    let commits = torn
        .iter()
        .flat_map(|torn| torn.bytes.split_inclusive(|byte| *byte == b'\n'))
        .filter_map(|line| line.strip_suffix(b"\n"))
        .filter_map(Entry::parse)
        .filter(|entry| entry.kind == "commit" && authentic(scan, entry))
        .count();
    match commits {
        0 | 1 => Ok(()),
        more => Err(TrailError::refused(format!(
            "after entry {} something is damaged and {more} later groups of ours are whole: a crash cannot \
             do that",
            scan.head.frontier.size()
        ))),
    }
}

fn adopt_file(
    disk: &dyn Disk,
    file: &SegmentFile,
    scan: &mut Scan,
    origin: &str,
    authentic: Authentic<'_>,
) -> Result<(), TrailError> {
    let mut lines = Lines::open(disk, file, scan.offset)?;
    let mut group = scan.clone();
    while lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? == Met::Line {
        let Some(entry) = Entry::parse(lines.line()).filter(|entry| group.continues(entry)) else { break };
        let (root, before) = (group.head.frontier.root(), (entry.kind == "commit").then(|| group.clone()));
        if group.take(origin, &entry, lines.offset()).is_err() {
            break; // A change of epoch that is not whole: its group is torn, or its commit gives it away.
        }
        let Some(before) = before else { continue };
        // Sectors inside a long line may be lost while its ends are there: then it is no JSON any more.
        if serde_json::from_slice::<serde::de::IgnoredAny>(entry.line).is_err() {
            break;
        }
        if entry.commit_root() != Some(root) || !authentic(&before, &entry) {
            return Err(TrailError::refused(format!(
                "entry {} in {} is a whole commit that this trail's key did not sign: a crash cannot make one",
                entry.index,
                file.path.display()
            )));
        }
        *scan = group.clone();
    }
    Ok(())
}

fn cut(disk: &dyn Disk, file: &SegmentFile, offset: u64) -> Result<Torn, TrailError> {
    let failed = |error| TrailError::io("read", &file.path, error);
    if file.packed {
        return Err(TrailError::refused(format!(
            "{} is sealed and compressed, and goes on after what was signed",
            file.path.display()
        )));
    }
    let mut bytes = Vec::new();
    disk.read(&file.path, offset)
        .and_then(|content| content.take(TORN_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > TORN_MAX {
        return Err(failed(std::io::Error::other(format!("more than {TORN_MAX} bytes are not signed"))));
    }
    let digest = digest::hex(&Sha256::digest(&bytes));
    Ok(Torn { path: file.path.clone(), offset, bytes, digest, remove: offset == 0 && file.first > 0 })
}

/// Copies torn bytes aside durably, then cuts them off. Each step may be repeated after a crash.
pub(super) fn quarantine(
    disk: &dyn Disk,
    folder: &Path,
    tail: &[Torn],
    bodies: &mut Bodies,
    report: &mut Vec<String>,
) -> Result<(), TrailError> {
    let dir = folder.join("quarantine");
    for torn in tail {
        let failed = |error| TrailError::io("quarantine the torn tail of", &torn.path, error);
        if !torn.bytes.is_empty() {
            let kept = dir.join(format!("{}-{}.bin", torn.offset, torn.digest));
            disk::write_new(disk, &kept, &torn.bytes, 0o640).map_err(failed)?;
            disk.sync_dir(&dir).map_err(failed)?;
            recovery_body(bodies, torn.offset, torn.bytes.len() as u64, &torn.digest);
            report.push(format!(
                "{} bytes of an unfinished group at byte {} of {}: quarantined as {}",
                torn.bytes.len(),
                torn.offset,
                torn.path.display(),
                kept.display()
            ));
        }
        if torn.remove {
            disk.remove(&torn.path).map_err(failed)?;
            disk.sync_dir(&folder.join("segments")).map_err(failed)?;
        } else {
            let mut file = disk.open(&torn.path).map_err(failed)?;
            file.truncate(torn.offset).map_err(failed)?;
            file.sync().map_err(failed)?;
        }
    }
    Ok(())
}

fn recovery_body(bodies: &mut Bodies, offset: u64, length: u64, digest: &str) {
    bodies.push("recovery", |out| {
        out.extend_from_slice(
            format!("\"offset\":{offset},\"length\":{length},\"digest\":\"{digest}\"").as_bytes(),
        );
    });
}

/// A quarantine file that no `recovery` entry names was left by a crash during an earlier recovery.
pub(super) fn record_unnamed(
    disk: &dyn Disk,
    folder: &Path,
    known: &mut BTreeSet<String>,
    tail: &[Torn],
    bodies: &mut Bodies,
) -> Result<(), TrailError> {
    let dir = folder.join("quarantine");
    for name in disk.names(&dir).map_err(|error| TrailError::io("list", &dir, error))? {
        let parts = name.strip_suffix(".bin").and_then(|stem| stem.split_once('-'));
        let Some((offset, digest)) = parts.and_then(|(o, d)| Some((o.parse::<u64>().ok()?, d))) else {
            continue;
        };
        let now_named = tail.iter().any(|torn| torn.digest == digest);
        if !known.contains(digest) && !now_named {
            let path = dir.join(&name);
            let length = disk.length(&path).map_err(|error| TrailError::io("look at", &path, error))?;
            recovery_body(bodies, offset, length, digest);
            known.insert(digest.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Time;
    use crate::trail::disk::RealDisk;
    use crate::trail::entry::{CommitLine, write_commit, write_line};
    use crate::trail::epoch::Epochs;
    use crate::trail::note::NoteSigner;
    use ed25519_dalek::SigningKey;

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::new("o/epoch0".into(), SigningKey::from_bytes(&[seed; 32]))
    }

    /// A segment of one whole, chained group that a stranger signed.
    fn forged(dir: &Path) -> Vec<SegmentFile> {
        let mut lines = Vec::new();
        let mut tree = crate::trail::tree::Frontier::default();
        let event =
            write_line(&mut lines, 0, &crate::model::Hash::default(), Time::EPOCH, "event", b"\"n\":1");
        tree.push(event, &mut |_, _, _| ());
        let stranger = signer(2);
        let commit = CommitLine { root: &tree.root(), cursors: b"", signer: &stranger, origin: "o" };
        write_commit(&mut lines, 1, &event, Time::EPOCH, &commit);
        let path = dir.join(crate::trail::segment_name(0));
        disk::write_new(&RealDisk, &path, &lines, 0o600).unwrap();
        vec![SegmentFile { first: 0, path, packed: false }]
    }

    /// The check of a commit's signature is what refuses a stranger's group: without it, it is adopted.
    #[test]
    fn a_commit_s_signature_is_what_refuses_a_stranger_s_group() {
        let dir = tempfile::tempdir().unwrap();
        let files = forged(dir.path());
        let start = || Scan::start(Epochs::first(signer(1).verifier()), None);
        let ours = |scan: &Scan, entry: &Entry<'_>| entry.commit_holds("o", &scan.epochs.key);
        let mut scan = start();
        let refused = adopt(&RealDisk, &files, &mut scan, "o", &ours);
        assert!(matches!(refused, Err(TrailError::Refused { .. })));
        assert_eq!(scan.head.frontier.size(), 0);
        let mut scan = start();
        assert!(adopt(&RealDisk, &files, &mut scan, "o", &|_, _| true).unwrap().is_empty());
        assert_eq!(scan.head.frontier.size(), 2, "nobody looked at the signature");
    }
}
