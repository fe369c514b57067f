//! Appending: one group at a time, in the order of the module doc of [`super`].

use super::disk::{self, Disk, DiskDir, DiskFile};
use super::entry::{self, Bodies, CommitLine};
use super::epoch::{self, Epochs};
use super::note::{self, Checkpoint, NoteSigner};
use super::tilefiles::{Fresh, Tiles};
use super::tree::{Frontier, leaf_hash};
use super::{Paths, RESERVE, SEGMENT_MAX, SEGMENT_ROOM, SEGMENT_SECONDS, TrailError, VERSION, segment_name};
use crate::model::{Hash, Time};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Positions: source → stream → the source's own JSON. `false` means that the stream is gone.
pub type Cursors = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// Space that a group needs besides its own bytes: names, tiles' rounding.
const MARGIN: u64 = 64 * 1024;
/// Space that is reserved for the next checkpoint before a group is begun.
const NOTE_ROOM: u64 = 4096;

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Index of the group's first entry.
    pub first: u64,
    /// Index of its commit entry.
    pub commit: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// The open trail. One thread owns it.
pub struct Trail {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) paths: Paths,
    pub(super) folder: PathBuf,
    pub(super) folder_handle: Box<dyn DiskDir>,
    pub(super) origin: String,
    pub(super) generation: u32,
    pub(super) log: NoteSigner,
    pub(super) epoch: NoteSigner,
    pub(super) epochs: Epochs,
    pub(super) segment: Segment,
    /// Bytes of all segments before the open one.
    pub(super) sealed: u64,
    pub(super) head: Head,
    /// `None`: the files below a pruned minimum are gone; proofs are made from segments then.
    pub(super) tiles: Option<Tiles>,
    /// Tree and tile hashes of the group that was built last, its commit included.
    pub(super) grown: Frontier,
    pub(super) fresh: Fresh,
    pub(super) signed: Checkpoint,
    pub(super) signed_note: String,
    /// The file of the next checkpoint, with its space reserved.
    pub(super) next_note: Option<Box<dyn DiskFile>>,
    pub(super) cursors: Cursors,
    pub(super) older: VecDeque<(i64, u64)>,
    pub(super) recovered: BTreeSet<String>,
    pub(super) holds: BTreeSet<String>,
    pub(super) minimum: u64,
    pub(super) erasing: Vec<(u64, u64)>,
    /// Held while sealed segments are replaced or removed: compression runs beside the writer.
    pub(super) housekeeping: Arc<Mutex<()>>,
    pub(super) buffer: Vec<u8>,
    pub(super) read_back: Vec<u8>,
    pub(super) leaves: Vec<(usize, Hash)>,
    pub(super) poisoned: bool,
}

/// The open segment.
pub(super) struct Segment {
    pub first: u64,
    pub path: PathBuf,
    pub file: Box<dyn DiskFile>,
    pub length: u64,
    /// `t` of its first entry.
    pub since: Time,
}

/// The newest entry: where the next one continues.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub frontier: Frontier,
    pub prev: Hash,
    pub time: Time,
}

impl Head {
    pub fn start() -> Head {
        Head { frontier: Frontier::default(), prev: Hash::default(), time: Time::from_micros(i64::MIN) }
    }
}

impl Trail {
    /// Index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.head.frontier.size()
    }
    /// The newest durable checkpoint.
    pub fn signed(&self) -> &Checkpoint {
        &self.signed
    }
    /// Its note, as it stands in the file.
    pub fn signed_note(&self) -> &str {
        &self.signed_note
    }
    /// The origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }
    /// All positions.
    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }
    /// The generation's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.sealed + self.segment.length
    }
    /// `t` of the newest entry.
    pub fn newest_time(&self) -> Time {
        self.head.time
    }
    /// Vkeys of the log and the epoch.
    pub fn vkeys(&self) -> (String, String) {
        (self.log.verifier().vkey(), self.epoch.verifier().vkey())
    }
    /// Number of the epoch in force.
    pub fn epoch(&self) -> u32 {
        self.epochs.number
    }
    /// Names of the legal holds in force.
    pub fn holds(&self) -> &BTreeSet<String> {
        &self.holds
    }
    /// Takes over a hold that was committed, or its release.
    pub fn set_hold(&mut self, name: &str, in_force: bool) {
        match in_force {
            true => self.holds.insert(name.to_owned()),
            false => self.holds.remove(name),
        };
    }
    /// Index of the oldest entry that was not pruned.
    pub fn minimum(&self) -> u64 {
        self.minimum
    }
    /// First index of the open segment.
    pub fn segment_first(&self) -> u64 {
        self.segment.first
    }
    /// The seam that this trail writes through.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
    /// The lock of compression and pruning.
    pub fn housekeeping(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.housekeeping)
    }

    /// Starts a new segment where this one is long or old enough. Call it before a group is begun whose
    /// entries name each other by index: afterwards [`Trail::next_index`] is the group's first.
    pub fn make_room(&mut self, now: Time) -> Result<(), TrailError> {
        let now = now.max(self.head.time);
        let long = self.segment.length + SEGMENT_ROOM > SEGMENT_MAX;
        let old = now > self.segment.since.plus_seconds(SEGMENT_SECONDS);
        match long || old {
            true => self.roll(now),
            false => Ok(()),
        }
    }

    /// Appends a group durably. It is not acknowledged before [`Trail::checkpoint`].
    pub fn commit(&mut self, bodies: &Bodies, moved: &Cursors, now: Time) -> Result<Committed, TrailError> {
        let now = now.max(self.head.time);
        self.stop_if_poisoned()?;
        self.build(bodies, moved, now)?;
        match self.allocate() {
            Err(error) if is_full(&error) => return Err(self.last_words(now)),
            other => {
                let path = self.segment.path.clone();
                self.guard(other.map_err(|error| TrailError::io("reserve space for", &path, error)))?;
            }
        }
        self.poisoned = true; // From here on only success clears it.
        let first = self.head.frontier.size();
        self.write_and_read_back()?;
        let bytes = self.buffer.len() as u64;
        self.advance(now)?;
        merge(&mut self.cursors, moved);
        self.poisoned = false;
        Ok(Committed { first, commit: self.head.frontier.size() - 1, bytes })
    }

    /// Passes a result on; after a failed read, write or sync this process writes no more.
    pub(super) fn guard<T>(&mut self, result: Result<T, TrailError>) -> Result<T, TrailError> {
        self.poisoned |= matches!(result, Err(TrailError::Io { .. } | TrailError::DiskFull));
        result
    }

    pub(super) fn stop_if_poisoned(&self) -> Result<(), TrailError> {
        match self.poisoned {
            false => Ok(()),
            true => Err(TrailError::io(
                "write",
                &self.segment.path,
                std::io::Error::other("an earlier write failed; this process writes no more"),
            )),
        }
    }

    /// Builds the group's lines and their hashes in memory.
    fn build(&mut self, bodies: &Bodies, moved: &Cursors, now: Time) -> Result<(), TrailError> {
        self.buffer.clear();
        self.leaves.clear();
        let mut prev = self.head.prev;
        self.fresh.clear();
        self.grown.clone_from(&self.head.frontier);
        let time = now.text();
        for (kind, members) in bodies.iter() {
            prev = entry::write_line_at(&mut self.buffer, self.grown.size(), &prev, &time, kind, members);
            self.leaves.push((self.buffer.len(), prev));
            self.fresh.push(&mut self.grown, prev);
        }
        let cursors = match moved.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(moved)
                .map_err(|error| TrailError::setup(format!("a cursor cannot be written: {error}")))?,
        };
        let commit = CommitLine {
            root: &self.grown.root(),
            cursors: &cursors,
            signer: &self.epoch,
            origin: &self.origin,
        };
        prev = entry::write_commit(&mut self.buffer, self.grown.size(), &prev, now, &commit);
        self.leaves.push((self.buffer.len(), prev));
        self.fresh.push(&mut self.grown, prev);
        Ok(())
    }

    /// Space for the group, its tile hashes and the checkpoint: without it no group is begun.
    fn allocate(&mut self) -> std::io::Result<()> {
        self.segment.file.allocate(self.segment.length, self.buffer.len() as u64 + MARGIN)?;
        if let Some(tiles) = &mut self.tiles {
            tiles.allocate(self.leaves.len())?;
        }
        if self.next_note.is_none() {
            self.next_note = Some(self.new_note()?);
        }
        Ok(())
    }

    fn new_note(&self) -> std::io::Result<Box<dyn DiskFile>> {
        let temporary = self.folder.join("checkpoint.tmp");
        self.disk.remove(&temporary)?;
        let mut file = self.disk.create(&temporary, 0o640)?;
        file.allocate(0, NOTE_ROOM)?;
        Ok(file)
    }

    fn write_and_read_back(&mut self) -> Result<(), TrailError> {
        let path = self.segment.path.clone();
        let failed = |what, error| TrailError::io(what, &path, error);
        let segment = &mut self.segment;
        if !segment.file.is_at(&path).map_err(|error| failed("look at", error))? {
            let gone = std::io::Error::other("somebody replaced or unlinked the open segment");
            return Err(failed("append to", gone));
        }
        segment.file.append(&self.buffer).map_err(|error| failed("append to", error))?;
        segment.file.sync().map_err(|error| failed("sync", error))?;
        // Hash what the file holds, not what we meant to write: a flipped bit must not be signed.
        let stored = &mut self.read_back;
        stored.resize(self.buffer.len(), 0);
        segment.file.read_at(stored, segment.length).map_err(|error| failed("read back", error))?;
        let mut start = 0;
        for (end, leaf) in &self.leaves {
            if leaf_hash(&stored[start..end - 1]) != *leaf || stored[end - 1] != b'\n' {
                return Err(failed(
                    "read back",
                    std::io::Error::other("the file holds other bytes than were written"),
                ));
            }
            start = *end;
        }
        segment.length += self.buffer.len() as u64;
        Ok(())
    }

    /// Moves the head over the written group and appends its hashes to the tile files.
    fn advance(&mut self, now: Time) -> Result<(), TrailError> {
        self.head.frontier.clone_from(&self.grown);
        self.head.prev = self.leaves.last().map_or(self.head.prev, |(_, leaf)| *leaf);
        self.head.time = now;
        self.epochs.last = self.epochs.key.clone();
        match &mut self.tiles {
            Some(tiles) => tiles.append(&*self.disk, &mut self.fresh),
            None => Ok(()),
        }
    }

    /// Signs the whole trail and makes the checkpoint durable. Then everything written is acknowledged.
    pub fn checkpoint(&mut self, now: Time) -> Result<&Checkpoint, TrailError> {
        self.stop_if_poisoned()?;
        if self.signed.size == self.head.frontier.size() {
            return Ok(&self.signed);
        }
        self.poisoned = true;
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: self.head.frontier.size(),
            root: self.head.frontier.root(),
        };
        let note = note::sign(&checkpoint.text(), &[&self.log, &self.epoch]);
        self.publish(&note, now)?;
        self.signed = checkpoint;
        self.signed_note = note;
        self.poisoned = false;
        Ok(&self.signed)
    }

    fn publish(&mut self, note: &str, now: Time) -> Result<(), TrailError> {
        let path = self.folder.join("checkpoint");
        let failed = |error| TrailError::io("write", &path, error);
        if self.signed.size > 0 {
            let older = self.folder.join("checkpoints").join(format!("{:020}", self.signed.size));
            self.disk.link(&path, &older).map_err(failed)?;
            self.older.push_back((now.seconds(), self.signed.size));
        }
        let mut file = match self.next_note.take() {
            Some(file) => file,
            None => self.new_note().map_err(failed)?,
        };
        file.append(note.as_bytes()).map_err(failed)?;
        file.sync().map_err(failed)?;
        self.disk.rename(&self.folder.join("checkpoint.tmp"), &path).map_err(failed)?;
        self.folder_handle.sync().map_err(failed)?;
        self.thin_older(now).map_err(failed)
    }

    /// Of the older checkpoints, all of the last hour stay, then one an hour, and besides each epoch's last
    /// and all that something off this host vouches for.
    fn thin_older(&mut self, now: Time) -> std::io::Result<()> {
        while let Some(&(written, size)) = self.older.front() {
            if written > now.seconds() - 3600 {
                break;
            }
            self.older.pop_front();
            let Some((next, newer)) = self.older.front().copied() else { continue };
            // The last of an hour stays: it covers the others.
            if next / 3600 == written / 3600 && !self.stays(size, newer)? {
                self.disk.remove(&self.older_note(size))?;
            }
        }
        Ok(())
    }

    fn older_note(&self, size: u64) -> PathBuf {
        self.folder.join("checkpoints").join(format!("{size:020}"))
    }

    fn stays(&self, size: u64, newer: u64) -> std::io::Result<bool> {
        let read = |size| -> std::io::Result<String> {
            let bytes = self.disk.read_small(&self.older_note(size), note::NOTE_MAX as u64)?;
            Ok(String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default())
        };
        let note = read(size)?;
        let signers = |note: &str| -> Vec<String> { note::signers(note).map(str::to_owned).collect() };
        let (own, next) = (signers(&note), signers(&read(newer)?));
        let stamped = self.disk.exists(&self.older_note(size).with_extension("stamped"))?;
        Ok(own.len() > 2 || stamped || own.get(1) != next.get(1))
    }

    /// Starts a new segment with a group of its own that repeats all positions.
    fn roll(&mut self, now: Time) -> Result<(), TrailError> {
        self.stop_if_poisoned()?;
        self.poisoned = true; // A failure on the way ends the process as one in a commit does.
        let first = self.head.frontier.size();
        let segments = self.folder.join("segments");
        let path = segments.join(segment_name(first));
        let failed = |error| TrailError::io("start the segment", &path, error);
        let folder = self.disk.open_dir(&segments).map_err(failed)?;
        let file = self.disk.create(&path, 0o640).map_err(failed)?;
        folder.sync().map_err(failed)?;
        self.sealed += self.segment.length;
        self.segment = Segment { first, path, file, length: 0, since: now };
        let bodies = segment_bodies(self.generation, &self.cursors)?;
        self.poisoned = false;
        self.commit(&bodies, &Cursors::new(), now)?;
        Ok(())
    }

    /// Whether the epoch has lasted long enough. The change itself is [`Trail::change_epoch`].
    pub fn is_epoch_due(&self, now: Time) -> bool {
        self.epochs.is_due(self.head.frontier.size(), now)
    }

    /// Changes the epoch key, in the steps of the module doc of [`super::epoch`]. What was committed before
    /// is signed with it.
    pub fn change_epoch(&mut self, now: Time) -> Result<(), TrailError> {
        self.stop_if_poisoned()?;
        self.make_room(now)?;
        let number = self.epochs.number + 1;
        let new = match epoch::make(&*self.disk, &self.paths, &self.origin, number) {
            Err(TrailError::Io { source, .. }) if is_full(&source) => return Err(self.last_words(now)),
            other => self.guard(other)?,
        };
        let index = self.next_index();
        let members = epoch::change_members(&self.origin, index, number, &new.verifier(), &self.epoch);
        let mut bodies = Bodies::default();
        bodies.push("key.epoch", |out| out.extend_from_slice(&members));
        self.commit(&bodies, &Cursors::new(), now)?;
        self.checkpoint(now)?;
        let (old, now) = (self.epochs.number, self.head.time);
        let last = self.epochs.last.clone();
        self.epochs = Epochs::resumed(number, new.verifier(), last, index, now);
        self.epoch = new;
        let destroyed = epoch::destroy(&*self.disk, &self.paths, old);
        self.guard(destroyed)
    }

    /// What the caller must write before a group has no space: the last words are said, signed and returned as
    /// the error to end with. Other errors of the disk end the writing as well.
    pub fn give_up(&mut self, error: TrailError, now: Time) -> TrailError {
        match error {
            TrailError::Io { source, .. } if is_full(&source) => self.last_words(now),
            other => {
                self.poisoned = true;
                other
            }
        }
    }

    /// The disk is full: give the reserve up, say so, sign it.
    pub(super) fn last_words(&mut self, now: Time) -> TrailError {
        let spoken = self.disk.remove(&self.paths.reserve()).is_ok() && {
            let mut bodies = Bodies::default();
            bodies.push("disk_full", |_| ());
            bodies.push("stop", |out| out.extend_from_slice(b"\"reason\":\"disk_full\""));
            let written = self.build(&bodies, &Cursors::new(), now).is_ok()
                && self.write_and_read_back().is_ok()
                && self.advance(now).is_ok();
            written && self.checkpoint(now).is_ok()
        };
        self.poisoned = true;
        match spoken {
            true => TrailError::DiskFull,
            false => TrailError::io(
                "record a full disk in",
                &self.segment.path,
                std::io::Error::from_raw_os_error(28),
            ),
        }
    }

    /// Keeps the rows of a grants snapshot under their digest, compressed, beside the trail.
    pub fn keep_grants(&mut self, digest: &str, rows: &[u8], now: Time) -> Result<(), TrailError> {
        self.stop_if_poisoned()?;
        let path = self.paths.grants(digest);
        let kept = zstd::bulk::compress(rows, 3).and_then(|bytes| {
            let folder = self.paths.state.join("grants");
            if self.disk.make_dir(&folder, 0o750)? {
                self.disk.sync_dir(&self.paths.state)?;
            }
            disk::replace(&*self.disk, &path, &bytes, 0o640)
        });
        match kept {
            Err(error) if is_full(&error) => Err(self.last_words(now)),
            other => self.guard(other.map_err(|error| TrailError::io("keep the grants in", &path, error))),
        }
    }

    /// Rebuilds the reserve where it was given up. Fails when there is no space for it.
    pub(super) fn make_reserve(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
        let path = paths.reserve();
        let failed = |error| TrailError::io("make the reserve", &path, error);
        if let Some(stat) = disk.stat(&path).map_err(failed)? {
            if stat.allocated >= RESERVE {
                return Ok(());
            }
            disk.remove(&path).map_err(failed)?;
        }
        let mut file = disk.create(&path, 0o600).map_err(failed)?;
        match file.allocate(0, RESERVE) {
            Err(error) if is_full(&error) => {
                disk.remove(&path).map_err(failed)?;
                Err(failed(error))
            }
            other => other.map_err(failed),
        }
    }
}

/// `segment` entries: format version, generation, all positions.
pub(super) fn segment_bodies(generation: u32, cursors: &Cursors) -> Result<Bodies, TrailError> {
    let mut bodies = Bodies::default();
    let json = serde_json::to_vec(cursors)
        .map_err(|error| TrailError::setup(format!("a cursor cannot be written: {error}")))?;
    bodies.push("segment", |out| {
        out.extend_from_slice(
            format!("\"version\":{VERSION},\"generation\":{generation},\"cursors\":").as_bytes(),
        );
        out.extend_from_slice(&json);
    });
    Ok(bodies)
}

/// Takes moved positions over; `false` removes a stream.
pub(super) fn merge(all: &mut Cursors, moved: &Cursors) {
    for (source, streams) in moved {
        let known = all.entry(source.clone()).or_default();
        for (stream, position) in streams {
            match position.get() {
                "false" => known.remove(stream),
                _ => known.insert(stream.clone(), position.clone()),
            };
        }
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
