//! Pruning: the oldest segments go at the end of their retention, and everything after them still verifies.
//!
//! A `prune` entry says from where to where, the root and the frontier of the tree of the pruned entries, and
//! who approved it. With the frontier the root of every later tree, every inclusion proof of a later entry and
//! every consistency proof between later trees can be computed (c2sp.org/tlog-tiles, "Pruning").
//!
//! ```text
//! {…,"kind":"prune","from":<old minimum>,"to":<new minimum>,"root":"<hex>","frontier":["<hex>",…],
//!  "last":"<leaf hash of entry to−1>","reason":"…","requester":"…","approver":"…"}
//! g<n>/pruned.jsonl    line 1: {"minimum":<to>,"frontier":[…],"last":"…"}; then, as they stood in the
//!                      segments, the lines of genesis and of all key.epoch entries below the minimum
//! ```
//!
//! `pruned.jsonl` is not trusted: its frontier must lead to the signed root, genesis to the pinned `entry0` or
//! the keys in `keys:`, and each `key.epoch` line carries the signature of the key before it.
//!
//! # Order, and a crash in between
//!
//! entry committed and signed → `pruned.jsonl` replaced → rows of grants that no later entry names, and details,
//! removed durably → segments removed, oldest first, and their folder synced. A start whose trail says a minimum above the
//! first segment goes on from the second step.

use super::disk::{self, Disk};
use super::entry::{Bodies, Entry};
use super::epoch::Epochs;
use super::note::Verifier;
use super::read::{Lines, Met, SegmentFile, segments};
use super::tree::{Frontier, leaf_hash};
use super::writer::{Cursors, Trail};
use super::{Genesis, Paths, TrailError};
use crate::model::json::{Mask, Object};
use crate::model::{Hash, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Largest `pruned.jsonl`: a change of epoch a day for a hundred years is below it.
const KEPT_MAX: u64 = 64 << 20;

/// What pruning left of the entries below the minimum.
#[derive(Clone)]
pub struct Kept {
    /// The tree of the pruned entries.
    pub frontier: Frontier,
    /// Leaf hash of the newest pruned entry.
    pub prev: Hash,
    /// The line of entry 0.
    pub genesis: Vec<u8>,
    /// The epoch in force at the minimum.
    pub epochs: Epochs,
    lines: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    minimum: u64,
    frontier: Vec<String>,
    last: String,
}

/// The members of a `prune` entry that a reader needs.
#[derive(Deserialize)]
struct Prune {
    to: u64,
}

/// The minimum that a `prune` entry sets.
pub(super) fn minimum(entry: &Entry<'_>) -> Option<u64> {
    serde_json::from_slice::<Prune>(&entry.object()).ok().map(|prune| prune.to)
}

fn path(folder: &Path) -> PathBuf {
    folder.join("pruned.jsonl")
}

impl Kept {
    /// Reads what was kept; `None` where nothing was pruned yet. `Err` says what is wrong with it.
    pub fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Kept>, TrailError> {
        let path = path(folder);
        let bytes = disk.read_small(&path, KEPT_MAX).map_err(|error| TrailError::io("read", &path, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match Kept::parse(&bytes) {
            Ok(kept) => Ok(Some(kept)),
            Err(why) => Err(TrailError::refused(format!("{}: {why}", path.display()))),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Kept, String> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let head: Option<Head> = lines.next().and_then(|line| serde_json::from_slice(line).ok());
        let head = head.ok_or("its first line is not what pruning writes")?;
        let hashes: Option<Vec<Hash>> = head.frontier.iter().map(|text| Hash::parse(text)).collect();
        let frontier = hashes.and_then(|hashes| Frontier::from_parts(head.minimum, hashes));
        let frontier = frontier.ok_or("the frontier does not fit the minimum")?;
        let prev = Hash::parse(&head.last).ok_or("`last` is no hash")?;
        let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        let genesis = lines.first().cloned().ok_or("entry 0 is missing")?;
        let (origin, first) = Genesis::of_line(&genesis)
            .and_then(|genesis| Some((genesis.origin, Verifier::parse(&genesis.epoch)?)))
            .ok_or("its second line is not entry 0")?;
        let mut epochs = Epochs::first(first);
        for line in &lines {
            let entry = Entry::parse(line).ok_or("a line is no entry")?;
            epochs.take(&origin, &entry)?;
            epochs.close();
        }
        Ok(Kept { frontier, prev, genesis, epochs, lines })
    }

    /// The lines of genesis and of all changes of epoch below the minimum.
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// The epochs, walked from this first key; `None` where the kept lines do not begin with it.
    pub fn epochs_from(&self, first: &Verifier) -> Option<Epochs> {
        let origin = Genesis::of_line(&self.genesis)?.origin;
        let mut epochs = Epochs::first(first.clone());
        for line in &self.lines {
            epochs.take(&origin, &Entry::parse(line)?).ok()?;
            epochs.close();
        }
        Some(epochs)
    }

    fn write(&self) -> Result<Vec<u8>, TrailError> {
        let head = Head {
            minimum: self.frontier.size(),
            frontier: self.frontier.hashes().iter().map(Hash::hex).collect(),
            last: self.prev.hex(),
        };
        let mut bytes = serde_json::to_vec(&head)
            .map_err(|error| TrailError::setup(format!("cannot write what pruning keeps: {error}")))?;
        for line in &self.lines {
            bytes.push(b'\n');
            bytes.extend_from_slice(line);
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Walks the segments below `to` on, from where the last pruning left off.
    fn extend(
        before: Option<Kept>,
        disk: &dyn Disk,
        files: &[SegmentFile],
        origin: &str,
        first: &Verifier,
        to: u64,
    ) -> Result<Kept, TrailError> {
        let mut kept = before.unwrap_or_else(|| Kept {
            frontier: Frontier::default(),
            prev: Hash::default(),
            genesis: Vec::new(),
            epochs: Epochs::first(first.clone()),
            lines: Vec::new(),
        });
        let from = kept.frontier.size();
        for file in files.iter().filter(|file| from <= file.first && file.first < to) {
            let mut lines = Lines::open(disk, file, 0)?;
            let failed = |error| TrailError::io("read", &file.path, error);
            while lines.next_line().map_err(failed)? == Met::Line {
                kept.take(origin, lines.line()).map_err(|why| {
                    TrailError::refused(format!("{}: {why}: nothing is pruned", file.path.display()))
                })?;
            }
        }
        match kept.frontier.size() == to {
            true => Ok(kept),
            false => Err(TrailError::refused(format!("the segments before entry {to} are not whole"))),
        }
    }

    fn take(&mut self, origin: &str, line: &[u8]) -> Result<(), String> {
        let at = self.frontier.size();
        let entry = Entry::parse(line).filter(|entry| entry.index == at && entry.prev == self.prev);
        let entry = entry.ok_or_else(|| format!("entry {at} is not what follows"))?;
        let root_fits = entry.kind != "commit" || entry.commit_root() == Some(self.frontier.root());
        if !root_fits {
            return Err(format!("the root of commit {at} does not fit"));
        }
        self.epochs.take(origin, &entry)?;
        if matches!(entry.kind, "genesis" | "key.epoch") {
            self.lines.push(line.to_vec());
        }
        if at == 0 {
            self.genesis = line.to_vec();
        }
        self.prev = leaf_hash(line);
        self.frontier.push(self.prev, &mut |_, _, _| ());
        Ok(())
    }
}

/// Why, and who says so.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    /// The reason, in the words of whoever asks.
    pub reason: String,
    /// Who asked for it.
    pub requester: String,
    /// Who approved it.
    pub approver: String,
}

impl Approval {
    /// Writes the members.
    pub fn write(&self, out: &mut Object<'_>) {
        out.str("reason", &self.reason);
        out.str("requester", &self.requester);
        out.str("approver", &self.approver);
    }
}

/// The newest index that pruning may set where everything older than `before` may go: the first entry of
/// the oldest segment that holds a younger one. `None`: nothing may go yet.
pub fn cut_before(disk: &dyn Disk, folder: &Path, before: Time) -> Result<Option<u64>, TrailError> {
    let files = segments(disk, folder)?;
    let mut cut = None;
    for file in files.iter().skip(1) {
        let mut lines = Lines::open(disk, file, 0)?;
        let met = lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))?;
        match Entry::parse(lines.line()).filter(|entry| met == Met::Line && entry.time <= before) {
            // Everything before this segment is older than its first entry.
            Some(_) => cut = Some(file.first),
            None => break,
        }
    }
    Ok(cut)
}

impl Trail {
    /// Removes all segments below `to`, the first index of one of them. Refused while a hold is in force.
    pub fn prune(&mut self, to: u64, approval: &Approval, mask: Mask, now: Time) -> Result<(), TrailError> {
        self.refuse_under_hold("prune")?;
        let files = segments(&*self.disk, &self.folder)?;
        if to <= self.minimum || !files.iter().any(|file| file.first == to) {
            return Err(TrailError::setup(format!("no segment begins at entry {to}: nothing to prune")));
        }
        let before = Kept::read(&*self.disk, &self.folder)?;
        let first = super::first_epoch(&*self.disk, &self.folder)?;
        let kept = Kept::extend(before, &*self.disk, &files, &self.origin, &first, to)?;
        let mut bodies = Bodies::default();
        let from = self.minimum;
        bodies.push("prune", |out| {
            let mut out = Object::members(out, mask);
            out.uint("from", from);
            out.uint("to", to);
            out.word("root", &kept.frontier.root().hex());
            out.list("frontier", kept.frontier.hashes().iter().map(Hash::hex));
            out.word("last", &kept.prev.hex());
            approval.write(&mut out);
        });
        self.commit(&bodies, &Cursors::new(), now)?;
        self.checkpoint(now)?;
        self.minimum = to;
        // Their segments gone, tile hashes cannot be made again.
        let synced = self.tiles.as_mut().map_or(Ok(()), |tiles| tiles.sync(&*self.disk));
        self.guard(synced)?;
        let housekeeping = self.housekeeping();
        let _quiet = housekeeping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes = kept.write()?;
        let target = path(&self.folder);
        let gone = disk::replace(&*self.disk, &target, &bytes, 0o640)
            .map_err(|error| TrailError::io("write", &target, error))
            .and_then(|()| finish(&*self.disk, &self.paths, &self.folder, to));
        self.sealed = self.sealed.saturating_sub(self.guard(gone)?);
        Ok(())
    }

    /// Destroys the fingerprint keys that nothing in the trail was made with any more. Returns the numbers of
    /// those that cannot be written to.
    pub fn destroy_old_fingerprint_keys(&self, now: Time) -> Result<Vec<u32>, TrailError> {
        let mut oldest = None;
        super::read::each(&*self.disk, &self.folder, self.minimum, self.minimum + 1, &mut |entry| {
            oldest = Some(entry.time);
            Ok(())
        })?;
        match oldest {
            Some(oldest) => super::quarter::destroy_before(&*self.disk, &self.paths.keys, oldest, now),
            None => Ok(Vec::new()),
        }
    }

    /// Commits and signs that the details of these entries are erased; the caller then removes them. Refused
    /// while a hold is in force. Returns the entry's index.
    pub fn erase(
        &mut self,
        ranges: &[(u64, u64)],
        approval: &Approval,
        mask: Mask,
        now: Time,
    ) -> Result<u64, TrailError> {
        self.refuse_under_hold("erase")?;
        let json = serde_json::to_vec(ranges)
            .map_err(|error| TrailError::setup(format!("the ranges cannot be written: {error}")))?;
        let index = self.next_index();
        let mut bodies = Bodies::default();
        bodies.push("erase", |out| {
            let mut out = Object::members(out, mask);
            out.raw("entries", &json);
            approval.write(&mut out);
        });
        self.commit(&bodies, &Cursors::new(), now)?;
        self.checkpoint(now)?;
        self.erasing.extend_from_slice(ranges);
        Ok(index)
    }

    /// Ranges whose details a signed entry says are erased, and may still be there.
    pub fn erasing(&self) -> &[(u64, u64)] {
        &self.erasing
    }

    /// The details that [`Trail::erasing`] names are gone.
    pub fn erasure_done(&mut self) {
        self.erasing.clear();
    }

    /// A legal hold keeps everything: an error that names it.
    pub fn refuse_under_hold(&self, what: &str) -> Result<(), TrailError> {
        match self.holds.is_empty() {
            true => Ok(()),
            false => {
                let names: Vec<&str> = self.holds.iter().map(String::as_str).collect();
                Err(TrailError::setup(format!(
                    "a legal hold is in force ({}): {what} is refused until it is released",
                    names.join(", ")
                )))
            }
        }
    }
}

/// Goes on with a pruning that a crash interrupted after its entry was signed. `true`: there was one.
pub(super) fn resume(
    disk: &dyn Disk,
    paths: &Paths,
    folder: &Path,
    origin: &str,
    to: u64,
) -> Result<bool, TrailError> {
    let files = segments(disk, folder)?;
    if files.first().is_none_or(|first| first.first >= to) {
        return Ok(false);
    }
    let before = Kept::read(disk, folder)?;
    if before.as_ref().is_none_or(|kept| kept.frontier.size() < to) {
        let first = super::first_epoch(disk, folder)?;
        let kept = Kept::extend(before, disk, &files, origin, &first, to)?;
        let target = path(folder);
        disk::replace(disk, &target, &kept.write()?, 0o640)
            .map_err(|error| TrailError::io("write", &target, error))?;
    }
    finish(disk, paths, folder, to)?;
    Ok(true)
}

/// Removes what only pruned entries name, then their segments. Returns the bytes that went.
fn finish(disk: &dyn Disk, paths: &Paths, folder: &Path, to: u64) -> Result<u64, TrailError> {
    let files = segments(disk, folder)?;
    let (gone, staying): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.first < to);
    // Not the rows that pruned entries name, for some of these entries may be gone already: all others.
    let mut named = grants_named(disk, &staying)?;
    for other in super::generation::all(disk, &paths.trail())?.into_iter().map(|n| paths.generation(n)) {
        if other != folder {
            named.extend(grants_named(disk, &segments(disk, &other)?)?);
        }
    }
    let rows = paths.state.join("grants");
    for name in disk.names(&rows).map_err(|error| TrailError::io("list", &rows, error))? {
        if !named.contains(name.split('.').next().unwrap_or_default()) {
            let path = rows.join(name);
            disk.remove(&path).map_err(|error| TrailError::io("remove", &path, error))?;
        }
    }
    let number = folder.file_name().and_then(|name| name.to_str()?.strip_prefix('g')?.parse().ok());
    let details = super::detail::folder(&paths.state, number.unwrap_or(1));
    for file in &gone {
        let details = details.join(super::segment_name(file.first));
        disk.remove(&details).map_err(|error| TrailError::io("remove", &details, error))?;
    }
    // While a segment is here, a start goes on with this; so the segments go last.
    for dir in [details, paths.state.join("grants")] {
        sync(disk, &dir)?;
    }
    let mut bytes = 0;
    for file in &gone {
        let failed = |error| TrailError::io("remove", &file.path, error);
        bytes += disk.length(&file.path).map_err(failed)?;
        // All forms, where a compression was interrupted.
        let plain = folder.join("segments").join(super::segment_name(file.first));
        let packed = plain.with_extension("jsonl.zst");
        for path in [plain.with_extension("jsonl.zst.tmp"), packed, plain] {
            disk.remove(&path).map_err(failed)?;
        }
    }
    sync(disk, &folder.join("segments"))?;
    Ok(bytes)
}

/// Makes what was removed from a folder gone for good, where there is such a folder.
fn sync(disk: &dyn Disk, dir: &Path) -> Result<(), TrailError> {
    match disk.exists(dir).map_err(|error| TrailError::io("look at", dir, error))? {
        true => disk.sync_dir(dir).map_err(|error| TrailError::io("sync", dir, error)),
        false => Ok(()),
    }
}

/// Digests of the grants rows that the entries of these segments name.
fn grants_named(disk: &dyn Disk, files: &[SegmentFile]) -> Result<BTreeSet<String>, TrailError> {
    #[derive(Deserialize)]
    struct Grants {
        digest: Option<String>,
    }
    let mut named = BTreeSet::new();
    for file in files {
        let mut lines = Lines::open(disk, file, 0)?;
        while lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? == Met::Line {
            let entry = Entry::parse(lines.line()).filter(|entry| entry.kind == "grants");
            let digest =
                entry.and_then(|entry| serde_json::from_slice::<Grants>(&entry.object()).ok()?.digest);
            named.extend(digest);
        }
    }
    Ok(named)
}
