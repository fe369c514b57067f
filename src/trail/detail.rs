//! Erasable details: what personal values the entries of an erasable trail commit to, beside the trail.
//!
//! # Format
//!
//! An entry's member `committed` names the personal fields it had and holds a commitment for each:
//!
//! ```text
//! "committed":{"<path>":"<64 hex>",…}
//! commitment = SHA-256("crmwarden/detail/v1" ‖ 00 ‖ path ‖ 00 ‖ salt[32] ‖ value ‖ 80 ‖ zeros)
//!              zeros up to the next multiple of 64 bytes, counted over value ‖ 80 ‖ zeros
//! ```
//!
//! The salt is random and stands nowhere else, so a commitment whose detail is gone cannot be tried out, and
//! the padding hides the length. A value longer than [`VALUE_MAX`] bytes is cut into pieces at characters: the
//! first has the path, the others the path with `#2`, `#3` and so on behind it.
//!
//! ```text
//! state/details/<20-digit first index of the segment the entry stands in>.jsonl       0600, folder 0700
//! {"i":<entry index>,"f":"<path>","salt":"<64 hex>","v":"<value>"}
//! ```
//!
//! The index of an entry that was split into parts is that of its first part. A later generation `n` has the
//! folder `details/g<n>/`, for its indices begin at zero again.
//!
//! # Invariants
//!
//! 1. Details are durable before the group that commits to them is written: an entry never commits to
//!    something that a crash can take away.
//! 2. A crash between the two leaves details of entries that never came to be. [`Store::open`] drops them, with
//!    a torn last line: within [`UNSETTLED`] entries of the trail's end a line stays only where its entry
//!    commits to it. What is older is not touched: a line there that is damaged is evidence.
//! 3. Lines of a file stand in the order of their entries. Removing details rewrites the file aside; the old or
//!    the new file is there at any time. Nothing here erases by itself.

use super::disk::{Disk, DiskFile};
use super::entry::Entry;
use super::generation;
use super::read::{self, Lines, Met, SegmentFile};
use super::{Genesis, Paths, TrailError, segment_name};
use crate::model::event::words;
use crate::model::json::{write_string, write_uint};
use crate::model::{Hash, digest};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest value of one line, bytes. With every character escaped it still fits what a reader keeps of a line.
pub const VALUE_MAX: usize = 32 << 10;
/// Entries before the trail's end whose details are checked at a start. A crash leaves details of at most one
/// group behind, and until they are dropped a start appends a few entries of its own at most.
pub const UNSETTLED: u64 = 4096;
/// Domain of the commitment.
const DOMAIN: &[u8] = b"crmwarden/detail/v1\0";
/// Values are padded to a multiple of so many bytes.
const BLOCK: usize = 64;
/// Bytes that are written at once when a file is rewritten.
const CHUNK: usize = 1 << 20;

words!(
    /// What a deployment's entries may hold. Genesis says it, and it never changes.
    Privacy {
        /// Personal values stand in the entries.
        Plain = "plain",
        /// Entries hold pseudonyms and commitments; the values are details.
        Erasable = "erasable",
    }
);

/// Whether what the configuration asks for is what the newest generation was made with.
pub fn check_privacy(disk: &dyn Disk, paths: &Paths, wanted: Privacy) -> Result<(), TrailError> {
    let Some(newest) = generation::newest(disk, paths)? else { return Ok(()) };
    let line = super::genesis_line(disk, &paths.generation(newest))?.unwrap_or_default();
    let said = Genesis::of_line(&line).and_then(|genesis| Privacy::parse(&genesis.privacy));
    match said {
        Some(said) if said != wanted => Err(TrailError::setup(format!(
            "the trail was made with `privacy: {said}`, the configuration says `{wanted}`: this is fixed in the \
             trail's first entry and never changes. Put `privacy: {said}` back; for the other, start a new \
             deployment with a state and keys of its own"
        ))),
        _ => Ok(()),
    }
}

/// One personal value and what makes its commitment unguessable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The entry that commits to it.
    pub index: u64,
    /// The path in the entry's `committed`.
    pub path: String,
    /// The salt.
    pub salt: [u8; 32],
    /// The value.
    pub value: String,
}

impl Detail {
    /// Reads a line without its newline; `None` where it is none, whole.
    pub fn parse(line: &[u8]) -> Option<Detail> {
        #[derive(Deserialize)]
        struct Line {
            i: u64,
            f: String,
            salt: String,
            v: String,
        }
        let line: Line = serde_json::from_slice(line).ok()?;
        let salt = digest::parse_hex(line.salt.as_bytes())?.try_into().ok()?;
        Some(Detail { index: line.i, path: line.f, salt, value: line.v })
    }

    /// The commitment that its entry must hold under its path.
    pub fn commitment(&self) -> Hash {
        commitment(&self.path, &self.salt, &self.value)
    }
}

/// The commitment to a value, see the module doc.
pub fn commitment(path: &str, salt: &[u8; 32], value: &str) -> Hash {
    const PADDING: [u8; BLOCK] = {
        let mut padding = [0; BLOCK];
        padding[0] = 0x80;
        padding
    };
    let mut sha = Sha256::new();
    sha.update(DOMAIN);
    sha.update(path.as_bytes());
    sha.update([0]);
    sha.update(salt);
    sha.update(value.as_bytes());
    sha.update(PADDING.get(..BLOCK - value.len() % BLOCK).unwrap_or(&PADDING));
    Hash(sha.finalize().into())
}

/// Appends a detail's line without what comes before the index: `,"f":…}` and the newline. Who knows the index
/// puts it before with [`write_line`].
pub fn write_tail(out: &mut Vec<u8>, path: &str, salt: &[u8; 32], value: &str) {
    out.extend_from_slice(b",\"f\":");
    write_string(out, path);
    out.extend_from_slice(b",\"salt\":\"");
    digest::write_hex(salt, out);
    out.extend_from_slice(b"\",\"v\":");
    write_string(out, value);
    out.extend_from_slice(b"}\n");
}

/// Appends whole lines of one entry, from tails that [`write_tail`] wrote one after the other.
pub fn write_lines(out: &mut Vec<u8>, index: u64, tails: &[u8]) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', tails) {
        out.extend_from_slice(b"{\"i\":");
        write_uint(out, index);
        out.extend_from_slice(tails.get(start..=end).unwrap_or_default());
        start = end + 1;
    }
}

/// A value in pieces of at most [`VALUE_MAX`] bytes, with the number that each has behind its path: the first
/// has none.
pub fn pieces(value: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(value);
    let mut number = 0;
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let mut cut = all.len().min(VALUE_MAX);
        while !all.is_char_boundary(cut) {
            cut -= 1;
        }
        let (piece, left) = all.split_at(cut);
        rest = (!left.is_empty()).then_some(left);
        number += 1;
        Some((number, piece))
    })
}

/// What an entry commits to, by path: from its members as an object of JSON text (of all parts together,
/// where it was split). Empty where it commits to nothing.
pub fn committed(object: &[u8]) -> BTreeMap<String, Hash> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Members {
        committed: BTreeMap<String, String>,
    }
    let members: Members = serde_json::from_slice(object).unwrap_or_default();
    let hash = |(path, hex): (String, String)| Some((path, Hash::parse(&hex)?));
    members.committed.into_iter().filter_map(hash).collect()
}

/// The folder of a generation's details: `details/` of the state for the first, `details/g<n>/` for others.
pub fn folder(state: &Path, generation: u32) -> PathBuf {
    let details = state.join("details");
    if generation > 1 { details.join(format!("g{generation}")) } else { details }
}

/// The files of a folder in order, named like the segments whose entries they belong to. Other names are
/// passed over.
pub fn files(disk: &dyn Disk, folder: &Path) -> Result<Vec<SegmentFile>, TrailError> {
    let names = disk.names(folder).map_err(|error| TrailError::io("list", folder, error))?;
    let mut files: Vec<SegmentFile> = names
        .iter()
        .filter_map(|name| {
            let first = name.strip_suffix(".jsonl")?.parse().ok()?;
            (segment_name(first) == *name).then(|| plain(first, folder.join(name)))
        })
        .collect();
    files.sort_by_key(|file| file.first);
    Ok(files)
}

/// A file of details: never compressed.
fn plain(first: u64, path: PathBuf) -> SegmentFile {
    SegmentFile { first, path, packed: false }
}

/// Length of a file, bytes.
pub fn length(disk: &dyn Disk, path: &Path) -> Result<u64, TrailError> {
    disk.length(path).map_err(|error| TrailError::io("look at", path, error))
}

/// The details of one file from start to end, in bounded memory.
pub struct Reader {
    path: PathBuf,
    lines: Lines,
    ahead: Option<Detail>,
    /// Lines that are no details: damaged, or torn by a crash that no start has settled yet.
    pub unreadable: u64,
}

impl Reader {
    /// Opens a file, or its end from an offset on: what is left of the line there is passed over.
    pub fn open(disk: &dyn Disk, path: &Path, offset: u64) -> Result<Reader, TrailError> {
        let lines = Lines::open(disk, &plain(0, path.to_owned()), offset)?;
        let mut reader = Reader { path: path.to_owned(), lines, ahead: None, unreadable: 0 };
        if offset > 0 {
            reader.line()?;
        }
        Ok(reader)
    }

    fn line(&mut self) -> Result<bool, TrailError> {
        let met = self.lines.next_line().map_err(|error| TrailError::io("read", &self.path, error))?;
        Ok(met == Met::Line)
    }

    /// The next detail; `None` at the end.
    pub fn next_detail(&mut self) -> Result<Option<Detail>, TrailError> {
        if let Some(detail) = self.ahead.take() {
            return Ok(Some(detail));
        }
        while self.line()? {
            match Detail::parse(self.lines.line()) {
                Some(detail) => return Ok(Some(detail)),
                None => self.unreadable += 1,
            }
        }
        Ok(None)
    }

    /// The details of one entry, in the order of the file. Entries must be asked for in rising order; details
    /// of those before are passed over, which costs little: only where a line begins is looked at.
    pub fn of_entry(&mut self, index: u64) -> Result<Vec<Detail>, TrailError> {
        let mut details = Vec::new();
        loop {
            let detail = match self.ahead.take() {
                Some(detail) => detail,
                None if !self.line()? => return Ok(details),
                None if index_of(self.lines.line()).is_some_and(|other| other < index) => continue,
                None => match Detail::parse(self.lines.line()) {
                    Some(detail) => detail,
                    None => {
                        self.unreadable += 1;
                        continue;
                    }
                },
            };
            if detail.index > index {
                self.ahead = Some(detail);
                return Ok(details);
            }
            if detail.index == index {
                details.push(detail);
            }
        }
    }
}

/// The details of a whole folder, for whoever reads the entries in their order.
pub struct Walk<'a> {
    disk: &'a dyn Disk,
    files: std::iter::Peekable<std::vec::IntoIter<SegmentFile>>,
    reader: Option<Reader>,
}

impl<'a> Walk<'a> {
    /// Starts before the first entry. A folder that is not there holds nothing.
    pub fn new(disk: &'a dyn Disk, folder: &Path) -> Result<Walk<'a>, TrailError> {
        Ok(Walk { disk, files: files(disk, folder)?.into_iter().peekable(), reader: None })
    }

    /// The details of one entry, see [`Reader::of_entry`].
    pub fn of_entry(&mut self, index: u64) -> Result<Vec<Detail>, TrailError> {
        while let Some(file) = self.files.next_if(|file| file.first <= index) {
            self.reader = Some(Reader::open(self.disk, &file.path, 0)?);
        }
        self.reader.as_mut().map_or(Ok(Vec::new()), |reader| reader.of_entry(index))
    }
}

/// Calls `visit` with every detail of a folder, in the order of their entries.
pub fn each(
    disk: &dyn Disk,
    folder: &Path,
    visit: &mut dyn FnMut(&Detail) -> Result<(), TrailError>,
) -> Result<(), TrailError> {
    for file in files(disk, folder)? {
        let mut reader = Reader::open(disk, &file.path, 0)?;
        while let Some(detail) = reader.next_detail()? {
            visit(&detail)?;
        }
    }
    Ok(())
}

/// The details of an erasable trail, to be written. One thread owns it.
pub struct Store {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    open: Option<(u64, Box<dyn DiskFile>)>,
}

impl Store {
    /// Opens the store of a generation after whatever happened: drops details of entries that never came to be.
    /// `next_index` is the trail's, after its own recovery. Also says how many lines were dropped.
    pub fn open(
        disk: &Arc<dyn Disk>,
        folder: PathBuf,
        generation: &Path,
        next_index: u64,
    ) -> Result<(Store, u64), TrailError> {
        let failed = |error| TrailError::io("make the folder", &folder, error);
        disk.make_dir(&folder, 0o700).map_err(failed)?;
        if let Some(parent) = folder.parent() {
            disk.sync_dir(parent).map_err(failed)?;
        }
        let mut store = Store { disk: Arc::clone(disk), folder, open: None };
        let dropped = store.settle(generation, next_index)?;
        Ok((store, dropped))
    }

    /// The seam.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends lines to the file of a segment, durably when it returns: the file, and its name when it is new.
    pub fn append(&mut self, segment: u64, lines: &[u8]) -> Result<(), TrailError> {
        let path = self.folder.join(segment_name(segment));
        let failed = |error| TrailError::io("write the details to", &path, error);
        if self.open.as_ref().is_none_or(|(first, _)| *first != segment) {
            self.open = None;
            let there = self.disk.exists(&path).map_err(failed)?;
            let file = match there {
                true => self.disk.open(&path),
                false => self.disk.create(&path, 0o600),
            };
            let file = file.map_err(failed)?;
            if !there {
                self.disk.sync_dir(&self.folder).map_err(failed)?;
            }
            self.open = Some((segment, file));
        }
        let Some((_, file)) = &mut self.open else { return Ok(()) };
        if !file.is_at(&path).map_err(failed)? {
            return Err(failed(std::io::Error::other("somebody replaced or unlinked the open file")));
        }
        file.append(lines).map_err(failed)?;
        file.sync().map_err(failed)
    }

    /// Removes the details of all entries in these ranges, both ends included, and returns how many values that
    /// were. When it returns, the files without them are durable.
    pub fn remove(&mut self, ranges: &[(u64, u64)]) -> Result<u64, TrailError> {
        let erased = |index: u64| ranges.iter().any(|(first, last)| (*first..=*last).contains(&index));
        let mut removed = 0;
        for file in files(&*self.disk, &self.folder)? {
            // A line that cannot be read cannot be told to be somebody's: it is left as evidence.
            removed += self
                .rewrite(&file, &|_, line| Detail::parse(line).is_none_or(|detail| !erased(detail.index)))?;
        }
        Ok(removed)
    }

    /// Drops what a crash left behind, see the module doc.
    fn settle(&mut self, generation: &Path, next_index: u64) -> Result<u64, TrailError> {
        let failed = |error| TrailError::io("clear up the details in", &self.folder, error);
        for name in self.disk.names(&self.folder).map_err(failed)? {
            if name.ends_with(".tmp") {
                self.disk.remove(&self.folder.join(name)).map_err(failed)?;
            }
        }
        let limit = next_index.saturating_sub(UNSETTLED);
        let files = files(&*self.disk, &self.folder)?;
        let newest = files.iter().rposition(|file| file.first <= limit).unwrap_or(0);
        let Some(open) = files.get(newest..).filter(|open| !open.is_empty()) else { return Ok(0) };
        let entries = commitments(&*self.disk, generation, limit, next_index)?;
        let stays = |line: &[u8]| {
            Detail::parse(line).is_some_and(|detail| {
                let held = entries.get(&detail.index).and_then(|paths| paths.get(&detail.path));
                detail.index < limit || held == Some(&detail.commitment())
            })
        };
        let mut dropped = 0;
        for file in open {
            let edge = settled_until(&*self.disk, file, limit)?;
            dropped += self.rewrite(file, &|start, line| start < edge || stays(line))?;
        }
        Ok(dropped)
    }

    /// Rewrites a file without the lines that are not to be kept and returns their number; leaves it alone when
    /// all are. `keep` gets a line and where it starts. A file of which nothing is left is removed.
    fn rewrite(&mut self, file: &SegmentFile, keep: &dyn Fn(u64, &[u8]) -> bool) -> Result<u64, TrailError> {
        let failed = |error| TrailError::io("rewrite", &file.path, error);
        let mut kept: Vec<(u64, u64)> = Vec::new();
        let mut dropped = 0;
        let mut lines = Lines::open(&*self.disk, file, 0)?;
        let mut start = 0;
        loop {
            let met = lines.next_line().map_err(failed)?;
            match met {
                Met::End => break,
                Met::Line if keep(start, lines.line()) => match kept.last_mut() {
                    Some((_, end)) if *end == start => *end = lines.offset(),
                    _ => kept.push((start, lines.offset())),
                },
                Met::Line | Met::Fragment => dropped += 1,
            }
            if met == Met::Fragment {
                break;
            }
            start = lines.offset();
        }
        if dropped == 0 {
            return Ok(0);
        }
        self.open = None;
        match kept.as_slice() {
            [] => self.disk.remove(&file.path).map_err(failed)?,
            // Only an end goes: the file may be cut where it lies.
            [(0, end)] => {
                let mut whole = self.disk.open(&file.path).map_err(failed)?;
                whole.truncate(*end).map_err(failed)?;
                whole.sync().map_err(failed)?;
            }
            ranges => self.copy(file, ranges).map_err(failed)?,
        }
        self.disk.sync_dir(&self.folder).map_err(failed)?;
        Ok(dropped)
    }

    /// Puts a copy of these ranges in the place of the file. What was erased stays in blocks that the file system
    /// has freed, until it uses them again.
    fn copy(&self, file: &SegmentFile, ranges: &[(u64, u64)]) -> std::io::Result<()> {
        let temporary = file.path.with_extension("tmp");
        self.disk.remove(&temporary)?;
        let from = self.disk.open(&file.path)?;
        let mut to = self.disk.create(&temporary, 0o600)?;
        let mut buffer = Vec::new();
        for (start, end) in ranges {
            let mut at = *start;
            while at < *end {
                buffer.resize((end - at).min(CHUNK as u64) as usize, 0);
                from.read_at(&mut buffer, at)?;
                to.append(&buffer)?;
                at += buffer.len() as u64;
            }
        }
        to.sync()?;
        self.disk.rename(&temporary, &file.path)
    }
}

/// Where the last line ends whose entry lies before `limit`: nothing before it is in doubt.
fn settled_until(disk: &dyn Disk, file: &SegmentFile, limit: u64) -> Result<u64, TrailError> {
    let mut lines = Lines::open(disk, file, 0)?;
    let mut edge = 0;
    while lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? == Met::Line {
        if index_of(lines.line()).is_some_and(|index| index < limit) {
            edge = lines.offset();
        }
    }
    Ok(edge)
}

/// The index that a line begins with, where it also ends as a line does: all that a start looks at of old ones.
fn index_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"i\":").filter(|_| line.ends_with(b"\"}"))?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What the entries from index `from` to before `to` commit to, by index. Entries that were split count under
/// the index of their first part.
pub fn commitments(
    disk: &dyn Disk,
    generation: &Path,
    from: u64,
    to: u64,
) -> Result<BTreeMap<u64, BTreeMap<String, Hash>>, TrailError> {
    let mut found = BTreeMap::new();
    let mut joining = Joining::default();
    read::each(disk, generation, from, to, &mut |entry| {
        if let Some((index, object)) = joining.take(entry) {
            let paths = committed(&object);
            if !paths.is_empty() {
                found.insert(index, paths);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Puts entries that were split together again.
#[derive(Default)]
pub struct Joining {
    first: u64,
    members: String,
}

impl Joining {
    /// Takes the next entry; gives the index of its first part and all members as an object of JSON text, once
    /// the last part is there.
    pub fn take(&mut self, entry: &Entry<'_>) -> Option<(u64, Vec<u8>)> {
        #[derive(Deserialize)]
        struct Part {
            part: u64,
            of: u64,
            members: String,
        }
        if !entry.members().starts_with(b"\"part\":") {
            return Some((entry.index, entry.object()));
        }
        let part: Part = serde_json::from_slice(&entry.object()).ok()?;
        if part.part == 1 {
            self.first = entry.index;
            self.members.clear();
        }
        self.members.push_str(&part.members);
        let whole = part.part == part.of && !self.members.is_empty();
        whole.then(|| (self.first, format!("{{{}}}", std::mem::take(&mut self.members)).into_bytes()))
    }
}

#[cfg(test)]
mod tests;
