//! A generation of the trail as other programs know transparency logs: tiles, bundles and proofs at one of
//! its signed checkpoints, for `export`, `trail proof` and the HTTP server.
//!
//! The files under `tree/` are a cache that nobody vouches for. So a tile that is made from them is first
//! put under the checkpoint's root ([`Overlay`]), a proof is verified as its receiver will do, and an entry
//! is given out only where it has the hash of its place. What does not hold is [`PublishError::Cache`]; then
//! [`Log::rebuild`] makes the tree anew from the segments, which takes time and 32 bytes an entry.
//!
//! Only the log key's signature of the checkpoint is asked for here: it is the one that foreign verifiers
//! know. Whether the epoch key signed as well is what `verify` says.

mod directory;

pub use directory::{Exported, export};

use super::disk::Disk;
use super::entry::{Entry, LINE_MAX};
use super::note::{Checkpoint, NOTE_MAX, Verifier, open};
use super::proof::{self, Hashes, Memory, Overlay, combine, verify_consistency, verify_inclusion};
use super::prune::Kept;
use super::read::{self, Lines, Met, SegmentFile, segments};
use super::tiles::{Kind, TilePath, WIDTH, hashes, push_entry, tile_bytes, tile_hashes};
use super::tree::{Frontier, leaf_hash};
use super::{Genesis, TrailError, genesis_line};
use crate::model::Hash;
use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The search for an entry in a segment ends with this many bytes, which are then read line by line.
const SCAN: u64 = 256 << 10;

/// Why something cannot be given out.
#[derive(Debug)]
pub enum PublishError {
    /// The trail has no such entry or tile at this checkpoint, or its entries were pruned.
    Absent,
    /// The files under `tree/` do not give the signed root, or are short.
    Cache,
    /// The trail itself.
    Trail(TrailError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Absent => f.write_str("the trail has nothing of this name at this checkpoint"),
            PublishError::Cache => f.write_str(
                "the hashes under tree/ do not give the signed root; a start of the daemon makes them anew, save \
                 those of pruned entries",
            ),
            PublishError::Trail(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<TrailError> for PublishError {
    fn from(error: TrailError) -> PublishError {
        PublishError::Trail(error)
    }
}

/// The log key that entry 0 of a generation names.
pub fn log_key(disk: &dyn Disk, folder: &Path) -> Result<Verifier, TrailError> {
    let genesis = genesis_line(disk, folder)?.and_then(|line| Genesis::of_line(&line));
    let key =
        genesis.and_then(|genesis| Verifier::parse(&genesis.log).filter(|key| key.name == genesis.origin));
    key.ok_or_else(|| {
        TrailError::refused(format!("{} has no entry 0 that names its log key", folder.display()))
    })
}

/// Hashes as the files under `tree/` hold them.
pub struct TreeFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl TreeFiles {
    /// The tree of a generation.
    pub fn new(disk: &Arc<dyn Disk>, generation: &Path) -> TreeFiles {
        TreeFiles { disk: Arc::clone(disk), folder: generation.join("tree") }
    }
}

impl Hashes for TreeFiles {
    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        let below = 1 << (level % 8);
        let first = index.checked_mul(below).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(combine(&self.row(level - level % 8, first, below)?))
    }

    /// One read for rows of the levels that have a file.
    fn row(&mut self, level: u32, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        if !level.is_multiple_of(8) {
            return (first..first.saturating_add(count)).map(|index| self.node(level, index)).collect();
        }
        let offset = first.checked_mul(32).ok_or(io::ErrorKind::InvalidInput)?;
        let mut bytes = vec![0; usize::try_from(count).map_or(0, |count| count * 32)];
        self.disk.read(&self.folder.join((level / 8).to_string()), offset)?.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks::<32>().0.iter().copied().map(Hash).collect())
    }
}

enum Tree {
    Files(TreeFiles),
    Memory(Box<Memory>),
}

impl Hashes for Tree {
    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        match self {
            Tree::Files(files) => files.node(level, index),
            Tree::Memory(memory) => memory.node(level, index),
        }
    }

    fn row(&mut self, level: u32, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        match self {
            Tree::Files(files) => files.row(level, first, count),
            Tree::Memory(memory) => memory.row(level, first, count),
        }
    }
}

/// An entry with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The entry's line, without its newline.
    pub line: Vec<u8>,
    /// The inclusion proof.
    pub proof: Vec<Hash>,
}

/// Two trees and the proof that the larger continues the smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// Root of the smaller.
    pub old_root: Hash,
    /// Root of the larger.
    pub new_root: Hash,
    /// The consistency proof.
    pub proof: Vec<Hash>,
}

/// What walks over entries: it gets the index and the line.
pub type Visit<'a> = dyn FnMut(u64, &[u8]) -> Result<(), TrailError> + 'a;

/// A generation at one of its checkpoints.
pub struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    note: String,
    head: Checkpoint,
    /// The tree of the entries that were pruned. It counts where what follows gives the signed root.
    pruned: Frontier,
    tree: Tree,
}

impl Log {
    /// Opens a generation at its newest checkpoint, or at the kept one of a size. `log` must have signed it.
    /// [`PublishError::Absent`]: there is none of this size.
    pub fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        size: Option<u64>,
        log: &Verifier,
    ) -> Result<Log, PublishError> {
        let path = match size {
            None => folder.join("checkpoint"),
            Some(size) => folder.join("checkpoints").join(format!("{size:020}")),
        };
        let bytes =
            disk.read_small(&path, NOTE_MAX as u64).map_err(|error| TrailError::io("read", &path, error))?;
        let note = match bytes.map(String::from_utf8) {
            None => return Err(PublishError::Absent),
            Some(note) => note.unwrap_or_default(),
        };
        let refused = |what: String| TrailError::refused(format!("{}: {what}", path.display()));
        let text = open(&note, &[log]).map_err(|error| refused(error.to_string()))?;
        let head = Checkpoint::parse(text).filter(|head| head.origin == log.name);
        let head = head.ok_or_else(|| refused("it is not a checkpoint of this trail".into()))?;
        if size.is_some_and(|size| size != head.size) {
            return Err(refused(format!("it is signed for {} entries", head.size)).into());
        }
        let pruned = Kept::read(&**disk, folder)?.map_or_else(Frontier::default, |kept| kept.frontier);
        let tree = Tree::Files(TreeFiles::new(disk, folder));
        Ok(Log { disk: Arc::clone(disk), folder: folder.to_owned(), note, head, pruned, tree })
    }

    /// What the checkpoint says.
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// The checkpoint as it stands, with all its signatures.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Index of the first entry that was not pruned.
    pub fn minimum(&self) -> u64 {
        self.pruned.size()
    }

    /// Makes the tree anew from the segments. Fails where they do not give the signed root.
    pub fn rebuild(&mut self) -> Result<(), TrailError> {
        let mut memory = Memory::after(self.pruned.clone());
        entries(&*self.disk, &self.folder, self.minimum(), self.head.size, &mut |line| {
            memory.push(leaf_hash(line));
            Ok(())
        })?;
        if (memory.size(), memory.root()) != (self.head.size, self.head.root) {
            return Err(not_signed(&self.head));
        }
        self.tree = Tree::Memory(Box::new(memory));
        Ok(())
    }

    /// The bytes of a hash tile or an entry bundle. Work is bounded: some dozens of hashes, and for a bundle
    /// at most 256 entries and the search for the first of them in one segment.
    pub fn tile(&mut self, path: &TilePath) -> Result<Vec<u8>, PublishError> {
        let pruned = path.end().is_some_and(|end| end <= self.minimum());
        if !path.is_in(self.head.size) || pruned {
            return Err(PublishError::Absent);
        }
        if path.kind == Kind::Entries && path.first() < self.minimum() {
            return Err(PublishError::Absent);
        }
        let hashes = self.tile_hashes(path)?;
        if path.kind != Kind::Entries {
            return Ok(tile_bytes(&hashes));
        }
        let mut bundle = Vec::new();
        let mut wanted = hashes.iter();
        entries(
            &*self.disk,
            &self.folder,
            path.first(),
            path.first() + path.width,
            &mut |line| match wanted.next() == Some(&leaf_hash(line)) && push_entry(&mut bundle, line) {
                true => Ok(()),
                false => Err(not_signed(&self.head)),
            },
        )?;
        Ok(bundle)
    }

    /// A tile's hashes, once they were found under the root.
    fn tile_hashes(&mut self, path: &TilePath) -> Result<Vec<Hash>, PublishError> {
        let hashes = tile_hashes(&mut self.tree, path).map_err(|_| PublishError::Cache)?;
        let (level, first) = (8 * path.level(), path.first());
        let mut overlay = Overlay { level, first, hashes: &hashes, rest: &mut self.tree };
        match overlay.gives(self.head.size, &self.head.root) {
            Ok(true) => Ok(hashes),
            _ => Err(PublishError::Cache),
        }
    }

    /// An entry and the proof that it is in the tree. Rebuilds the tree where the cache does not do.
    pub fn inclusion(&mut self, index: u64) -> Result<Included, PublishError> {
        if index >= self.head.size || index < self.minimum() {
            return Err(PublishError::Absent);
        }
        let mut line = Vec::new();
        entries(&*self.disk, &self.folder, index, index + 1, &mut |found| {
            line = found.to_vec();
            Ok(())
        })?;
        let (leaf, size, root) = (leaf_hash(&line), self.head.size, self.head.root);
        let prove = |tree: &mut Tree| {
            let proof = proof::inclusion(tree, index, size).ok()?;
            verify_inclusion(&leaf, index, size, &root, &proof).is_ok().then_some(proof)
        };
        if let Some(proof) = prove(&mut self.tree) {
            return Ok(Included { line, proof });
        }
        self.rebuild()?;
        let proof = prove(&mut self.tree).ok_or_else(|| not_signed(&self.head))?;
        Ok(Included { line, proof })
    }

    /// The proof that the tree of `new` leaves continues the one of `old` leaves. Both roots were found
    /// under the checkpoint. Rebuilds the tree where the cache does not do.
    pub fn consistency(&mut self, old: u64, new: u64) -> Result<Continued, PublishError> {
        if old > new || new > self.head.size || (old > 0 && old < self.minimum()) {
            return Err(PublishError::Absent);
        }
        if let Some(continued) = self.prove_consistency(old, new) {
            return Ok(continued);
        }
        self.rebuild()?;
        self.prove_consistency(old, new).ok_or_else(|| not_signed(&self.head).into())
    }

    fn prove_consistency(&mut self, old: u64, new: u64) -> Option<Continued> {
        let (head, tree) = (&self.head, &mut self.tree);
        let mut under_head = |size: u64| {
            let root = proof::root(tree, size).ok()?;
            let proof = proof::consistency(tree, size, head.size).ok()?;
            verify_consistency(size, &root, head.size, &head.root, &proof).ok().map(|()| root)
        };
        let (old_root, new_root) = (under_head(old)?, under_head(new)?);
        let proof = proof::consistency(tree, old, new).ok()?;
        verify_consistency(old, &old_root, new, &new_root, &proof).ok()?;
        Some(Continued { old_root, new_root, proof })
    }

    /// Calls `visit` with index and line of all signed entries that are left, in order, and fails at the end
    /// where they were not what was signed. Nothing of it is kept in memory.
    pub fn each_line(&mut self, visit: &mut Visit<'_>) -> Result<(), PublishError> {
        self.each_leaf(&mut |_, _, _| Ok(()), visit)
    }

    /// The same, with every full subtree of 256^level leaves as it becomes complete.
    fn each_leaf(
        &mut self,
        full: &mut dyn FnMut(u32, u64, Hash) -> Result<(), TrailError>,
        visit: &mut Visit<'_>,
    ) -> Result<(), PublishError> {
        let mut frontier = self.pruned.clone();
        entries(&*self.disk, &self.folder, self.minimum(), self.head.size, &mut |line| {
            let mut result = Ok(());
            let index = frontier.size();
            frontier.push(leaf_hash(line), &mut |level, index, hash| {
                if result.is_ok() {
                    result = full(level, index, hash);
                }
            });
            result?;
            visit(index, line)
        })?;
        match frontier.size() == self.head.size && frontier.root() == self.head.root {
            true => Ok(()),
            false => Err(not_signed(&self.head).into()),
        }
    }

    /// The first hashes of the tiles, from level 0 on, that begin with pruned leaves and end with others:
    /// index of the first and the hashes, as far as they are of pruned leaves alone.
    fn cut_tiles(&mut self) -> Result<Vec<(u64, Vec<Hash>)>, PublishError> {
        let mut cut = Vec::new();
        let minimum = self.minimum();
        for level in (0..8).take_while(|level| hashes(*level, minimum) > 0) {
            let end = hashes(level, minimum);
            let first = end - end % WIDTH;
            let row = self.tree.row(8 * level, first, end - first).map_err(|_| PublishError::Cache)?;
            cut.push((first, row));
        }
        // These hashes are what the frontier is made of, so it proves them.
        let frontier = proof::frontier(&mut self.tree, minimum).map_err(|_| PublishError::Cache)?;
        match frontier == self.pruned {
            true => Ok(cut),
            false => Err(PublishError::Cache),
        }
    }
}

fn not_signed(head: &Checkpoint) -> TrailError {
    TrailError::refused(format!("the entries do not give the root that is signed for {} of them", head.size))
}

/// Calls `visit` with the lines of the entries `from` to before `to`; all of them, or an error. In a segment
/// that is not compressed the first is looked for by halving.
fn entries(
    disk: &dyn Disk,
    folder: &Path,
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), TrailError>,
) -> Result<(), TrailError> {
    let mut next = from;
    let gone = |index: u64| {
        let what = format!("entry {index} is gone");
        TrailError::Refused { what, verdict: "missing" }
    };
    let mut take = |entry: &Entry<'_>| match entry.index.cmp(&next) {
        Ordering::Equal => {
            next += 1;
            visit(entry.line)
        }
        Ordering::Greater => Err(gone(next)),
        Ordering::Less => Err(TrailError::refused(format!("entry {} stands twice", entry.index))),
    };
    let files = segments(disk, folder)?;
    let place = files.iter().rposition(|file| file.first <= from);
    let rest = match place.map(|place| &files[place]) {
        Some(file) if from > file.first && !file.packed => {
            in_one_segment(disk, file, from, to, &mut take)?;
            place.and_then(|place| files.get(place + 1)).map_or(to, |file| file.first)
        }
        _ => from,
    };
    if rest < to {
        read::each(disk, folder, rest, to, &mut take)?;
    }
    match next == to || from >= to {
        true => Ok(()),
        false => Err(gone(next)),
    }
}

fn in_one_segment(
    disk: &dyn Disk,
    file: &SegmentFile,
    from: u64,
    to: u64,
    take: &mut dyn FnMut(&Entry<'_>) -> Result<(), TrailError>,
) -> Result<(), TrailError> {
    let failed = |error| TrailError::io("read", &file.path, error);
    let mut lines = Lines::open(disk, file, locate(disk, &file.path, from).map_err(failed)?)?;
    while lines.next_line().map_err(failed)? == Met::Line {
        let entry = Entry::parse(lines.line()).ok_or_else(|| {
            TrailError::refused(format!("{} holds a line that is no entry", file.path.display()))
        })?;
        if entry.index >= to {
            break;
        }
        if entry.index >= from {
            take(&entry)?;
        }
    }
    Ok(())
}

/// Offset of a line at or before entry `wanted` in a plain segment. A guess by what lines say of themselves:
/// whatever is found there is checked by its hash.
fn locate(disk: &dyn Disk, path: &Path, wanted: u64) -> io::Result<u64> {
    let (mut low, mut high): (u64, u64) = (0, disk.length(path)?);
    let mut window = Vec::new();
    while high.saturating_sub(low) > SCAN {
        let middle = low + (high - low) / 2;
        window.clear();
        disk.read(path, middle)?.take(LINE_MAX as u64 + 64).read_to_end(&mut window)?;
        let start = memchr::memchr(b'\n', &window).map(|newline| newline + 1);
        let index = start.and_then(|start| {
            let digits = window.get(start..)?.strip_prefix(b"{\"i\":")?;
            let length = memchr::memchr(b',', digits)?;
            std::str::from_utf8(&digits[..length]).ok()?.parse::<u64>().ok()
        });
        match (start, index) {
            (Some(start), Some(index)) if index <= wanted => low = middle + start as u64,
            (Some(_), Some(_)) => high = middle,
            // Not ours: what follows is read line by line and says so.
            _ => break,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests;
