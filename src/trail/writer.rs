//! Appending: one group at a time, in the order of the module doc of [`super`].

use super::disk::{self, Disk, DiskDir, DiskFile};
use super::entry::{self, Bodies, CommitLine};
use super::note::{self, Checkpoint, NoteSigner};
use super::tree::{Frontier, leaf_hash};
use super::{Paths, RESERVE, SEGMENT_MAX, SEGMENT_ROOM, SEGMENT_SECONDS, TrailError, VERSION, segment_name};
use crate::model::{Hash, Time};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Positions: source → stream → the source's own JSON. `false` means that the stream is gone.
pub type Cursors = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// Space that a group needs besides its own bytes: the checkpoint, names, tiles' rounding.
const MARGIN: u64 = 64 * 1024;

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
    pub(super) folder: PathBuf,
    pub(super) reserve: PathBuf,
    pub(super) folder_handle: Box<dyn DiskDir>,
    pub(super) origin: String,
    pub(super) generation: u32,
    pub(super) log: NoteSigner,
    pub(super) epoch: NoteSigner,
    pub(super) segment: Segment,
    /// Bytes of all segments before the open one.
    pub(super) sealed: u64,
    pub(super) head: Head,
    pub(super) tiles: Tiles,
    pub(super) signed: Checkpoint,
    pub(super) signed_note: String,
    pub(super) cursors: Cursors,
    pub(super) older: VecDeque<(i64, u64)>,
    pub(super) recovered: std::collections::BTreeSet<String>,
    pub(super) buffer: Vec<u8>,
    pub(super) read_back: Vec<u8>,
    pub(super) leaves: Vec<(usize, Hash)>,
    pub(super) poisoned: bool,
}

/// The open segment.
pub(super) struct Segment {
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

/// The tile files, appended to in step with the segments.
#[derive(Default)]
pub(super) struct Tiles {
    pub folder: PathBuf,
    pub files: Vec<Box<dyn DiskFile>>,
}

impl Tiles {
    /// Appends hashes to the file of a level.
    fn append(&mut self, disk: &dyn Disk, level: usize, bytes: &[u8]) -> Result<(), TrailError> {
        let path = self.folder.join(level.to_string());
        let failed = |error| TrailError::io("write", &path, error);
        if level == self.files.len() {
            disk.remove(&path).map_err(failed)?;
            self.files.push(disk.create(&path, 0o640).map_err(failed)?);
        }
        match self.files.get_mut(level) {
            Some(file) => file.append(bytes).map_err(failed),
            None => Err(failed(std::io::Error::other("a tile level is missing"))),
        }
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
    pub fn folder(&self) -> &std::path::Path {
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
            other => other.map_err(|error| TrailError::io("reserve space for", &self.segment.path, error))?,
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

    fn stop_if_poisoned(&self) -> Result<(), TrailError> {
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
        let mut frontier = self.head.frontier.clone();
        let mut nowhere = |_, _, _| ();
        for (kind, members) in bodies.iter() {
            prev = entry::write_line(&mut self.buffer, frontier.size(), &prev, now, kind, members);
            self.leaves.push((self.buffer.len(), prev));
            frontier.push(prev, &mut nowhere);
        }
        let cursors = match moved.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(moved)
                .map_err(|error| TrailError::setup(format!("a cursor cannot be written: {error}")))?,
        };
        let commit = CommitLine {
            root: &frontier.root(),
            cursors: &cursors,
            signer: &self.epoch,
            origin: &self.origin,
        };
        prev = entry::write_commit(&mut self.buffer, frontier.size(), &prev, now, &commit);
        self.leaves.push((self.buffer.len(), prev));
        Ok(())
    }

    fn allocate(&mut self) -> std::io::Result<()> {
        self.segment.file.allocate(self.segment.length, self.buffer.len() as u64 + MARGIN)?;
        if let Some(file) = self.tiles.files.first_mut() {
            let length = file.length()?;
            file.allocate(length, 32 * self.leaves.len() as u64)?;
        }
        Ok(())
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
        let mut hashes: Vec<Vec<u8>> = Vec::new();
        for (_, leaf) in &self.leaves {
            self.head.frontier.push(*leaf, &mut |level, _, hash| {
                let level = level as usize;
                if hashes.len() <= level {
                    hashes.resize(level + 1, Vec::new());
                }
                hashes[level].extend_from_slice(&hash.0);
            });
            self.head.prev = *leaf;
        }
        self.head.time = now;
        for (level, bytes) in hashes.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            self.tiles.append(&*self.disk, level, bytes)?;
        }
        Ok(())
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
        let temporary = self.folder.join("checkpoint.tmp");
        self.disk.remove(&temporary).map_err(failed)?;
        let mut file = self.disk.create(&temporary, 0o640).map_err(failed)?;
        file.append(note.as_bytes()).map_err(failed)?;
        file.sync().map_err(failed)?;
        self.disk.rename(&temporary, &path).map_err(failed)?;
        self.folder_handle.sync().map_err(failed)?;
        self.thin_older(now).map_err(failed)
    }

    /// Of the older checkpoints, all of the last hour stay, then the first of every hour.
    fn thin_older(&mut self, now: Time) -> std::io::Result<()> {
        while let Some(&(written, size)) = self.older.front() {
            if written > now.seconds() - 3600 {
                break;
            }
            self.older.pop_front();
            let same_hour = self.older.front().is_some_and(|(next, _)| next / 3600 == written / 3600);
            if same_hour {
                // The last of an hour stays: it covers the others.
                self.disk.remove(&self.folder.join("checkpoints").join(format!("{size:020}")))?;
            }
        }
        Ok(())
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
        self.segment = Segment { path, file, length: 0, since: now };
        let bodies = segment_bodies(self.generation, &self.cursors)?;
        self.poisoned = false;
        self.commit(&bodies, &Cursors::new(), now)?;
        Ok(())
    }

    /// The disk is full: give the reserve up, say so, sign it.
    fn last_words(&mut self, now: Time) -> TrailError {
        let spoken = self.disk.remove(&self.reserve).is_ok() && {
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

    /// Writes the cache of projections and commits its digest. The trail adds what it needs itself to
    /// resume from here (see [`super::recover`]).
    pub fn write_cache(&mut self, body: &[u8], now: Time) -> Result<(), TrailError> {
        let header = super::recover::CacheHeader::of(self);
        let bytes = header.with_body(body)?;
        let digest = super::recover::cache_digest(&bytes);
        let path = self.folder.join("../../cache");
        match disk::replace(&*self.disk, &path, &bytes, 0o640) {
            // The cache saves time only: without space for it the next start reads more.
            Err(error) if is_full(&error) => {
                let unfinished = path.with_extension("tmp");
                return self.disk.remove(&unfinished).map_err(|e| TrailError::io("remove", &unfinished, e));
            }
            other => other.map_err(|error| TrailError::io("write", &path, error))?,
        }
        let mut bodies = Bodies::default();
        bodies.push("state_cache", |out| {
            let text = format!(
                "\"version\":{VERSION},\"size\":{},\"bytes\":{},\"digest\":\"{digest}\"",
                self.head.frontier.size(),
                bytes.len()
            );
            out.extend_from_slice(text.as_bytes());
        });
        self.commit(&bodies, &Cursors::new(), now)?;
        Ok(())
    }

    /// Keeps the rows of a grants snapshot under their digest, compressed, beside the trail.
    pub fn keep_grants(&self, digest: &str, rows: &[u8]) -> Result<(), TrailError> {
        let folder = self.folder.join("../../grants");
        let path = folder.join(format!("{digest}.jsonl.zst"));
        let failed = |error| TrailError::io("keep the grants in", &path, error);
        self.disk.make_dir(&folder, 0o750).map_err(failed)?;
        let bytes = zstd::bulk::compress(rows, 3).map_err(failed)?;
        disk::replace(&*self.disk, &path, &bytes, 0o640).map_err(failed)
    }

    /// Rebuilds the reserve where it was given up. Fails when there is no space for it.
    pub(super) fn make_reserve(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
        let path = paths.trail().join("reserve");
        let failed = |error| TrailError::io("make the reserve", &path, error);
        if disk::mode(&path).map_err(failed)?.is_some() {
            if disk::allocated(&path).map_err(failed)? >= RESERVE {
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

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
