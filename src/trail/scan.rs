//! A place in the segments and everything that the entries before it left behind, as far as the trail's own
//! kinds go: where the next entry continues, which key signs, where sources resume, what was pruned.

use super::disk::Disk;
use super::entry::Entry;
use super::epoch::Epochs;
use super::note::Checkpoint;
use super::read::{Lines, Met, SegmentFile};
use super::tilefiles::{Fresh, Tiles};
use super::tree::leaf_hash;
use super::writer::{Cursors, Head, merge};
use super::{TrailError, prune};
use crate::model::{Hash, Time};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Where a scan stands.
#[derive(Clone)]
pub(super) struct Scan {
    /// Where the next entry continues.
    pub head: Head,
    /// First index of the segment the place is in.
    pub segment: u64,
    /// Offset in it, of its unpacked bytes.
    pub offset: u64,
    /// `t` of the segment's first entry.
    pub since: Time,
    /// Positions of the sources.
    pub cursors: Cursors,
    /// Digests of quarantined bytes that a `recovery` entry names.
    pub recovered: BTreeSet<String>,
    /// Which key signs.
    pub epochs: Epochs,
    /// Names of legal holds in force.
    pub holds: BTreeSet<String>,
    /// Entries below this index were pruned.
    pub minimum: u64,
    /// Ranges whose details are to be erased and may still be there.
    pub erasing: Vec<(u64, u64)>,
    /// Hashes for the tile files that wait to be appended.
    pub fresh: Fresh,
    /// Members of a commit in parts, as far as they were met.
    parts: String,
}

/// What a cache remembers of a scan, besides what it names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    pub recovered: BTreeSet<String>,
    pub holds: BTreeSet<String>,
    pub minimum: u64,
    pub erasing: Vec<(u64, u64)>,
}

impl Scan {
    /// At entry 0, or where pruning left the start: `prune` says how the tree stood there.
    pub fn start(epochs: Epochs, kept: Option<&prune::Kept>) -> Scan {
        let mut scan = Scan {
            head: Head::start(),
            segment: 0,
            offset: 0,
            since: Time::EPOCH,
            cursors: Cursors::new(),
            recovered: BTreeSet::new(),
            epochs,
            holds: BTreeSet::new(),
            minimum: 0,
            erasing: Vec::new(),
            fresh: Fresh::default(),
            parts: String::new(),
        };
        if let Some(kept) = kept {
            scan.head.frontier = kept.frontier.clone();
            scan.head.prev = kept.prev;
            scan.segment = kept.frontier.size();
            scan.minimum = scan.segment;
            scan.epochs = kept.epochs.clone();
        }
        scan
    }

    /// At a remembered place.
    pub fn at(
        head: Head,
        place: (u64, u64, Time),
        cursors: Cursors,
        epochs: Epochs,
        more: Remembered,
    ) -> Scan {
        Scan {
            head,
            segment: place.0,
            offset: place.1,
            since: place.2,
            cursors,
            recovered: more.recovered,
            epochs,
            holds: more.holds,
            minimum: more.minimum,
            erasing: more.erasing,
            fresh: Fresh::default(),
            parts: String::new(),
        }
    }

    /// Whether the entry continues the chain here.
    pub fn continues(&self, entry: &Entry<'_>) -> bool {
        entry.index == self.head.frontier.size()
            && entry.prev == self.head.prev
            && entry.time >= self.head.time
    }

    /// Takes an entry over. `Err`: it changes the epoch and may not.
    pub fn take(&mut self, origin: &str, entry: &Entry<'_>, end: u64) -> Result<(), String> {
        let leaf = leaf_hash(entry.line);
        self.fresh.push(&mut self.head.frontier, leaf);
        self.head.prev = leaf;
        self.head.time = entry.time;
        if self.offset == 0 {
            self.since = entry.time;
        }
        self.offset = end;
        self.epochs.take(origin, entry)?;
        match entry.kind {
            "genesis" => {
                let previous = super::Genesis::of_line(entry.line).and_then(|genesis| genesis.previous);
                self.holds.extend(previous.into_iter().flat_map(|previous| previous.holds));
            }
            "commit" => self.commit(entry),
            "segment" => self.segment_entry(entry),
            "recovery" => {
                #[derive(Deserialize)]
                struct Recovery {
                    digest: Option<String>,
                }
                if let Ok(Recovery { digest: Some(digest) }) = serde_json::from_slice(&entry.object()) {
                    self.recovered.insert(digest);
                }
            }
            "operator" => self.operator(entry),
            "erase" => self.erase(entry),
            "prune" => {
                self.minimum = prune::minimum(entry).unwrap_or(self.minimum).max(self.minimum);
            }
            _ => {}
        }
        Ok(())
    }

    fn commit(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Commit {
            #[serde(default)]
            cursors: Cursors,
        }
        if memchr::memmem::find(entry.line, b"\"cursors\"").is_none() {
            return;
        }
        if let Ok(commit) = serde_json::from_slice::<Commit>(&entry.object()) {
            merge(&mut self.cursors, &commit.cursors);
        }
    }

    /// A segment repeats all positions, so that a trail whose start was pruned still knows them.
    fn segment_entry(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Segment {
            #[serde(default)]
            cursors: Cursors,
        }
        let object = entry.object();
        let whole = match super::entry::Part::parse(&object) {
            None => object,
            Some(part) => match part.join(&mut self.parts) {
                Some(whole) => whole,
                None => return,
            },
        };
        if let Ok(segment) = serde_json::from_slice::<Segment>(&whole) {
            merge(&mut self.cursors, &segment.cursors);
        }
    }

    fn erase(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Erase {
            entries: Vec<(u64, u64)>,
        }
        let object = entry.object();
        let whole = match super::entry::Part::parse(&object) {
            None => Some(object),
            Some(part) => part.join(&mut self.parts),
        };
        if let Some(Ok(erase)) = whole.map(|whole| serde_json::from_slice::<Erase>(&whole)) {
            self.erasing.extend(erase.entries);
        }
    }

    fn operator(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Operator {
            #[serde(rename = "do")]
            what: String,
            hold: Option<String>,
        }
        match serde_json::from_slice(&entry.object()) {
            Ok(Operator { what, .. }) if what == "erased" => self.erasing.clear(),
            Ok(Operator { what, hold: Some(hold) }) if what == "hold" => {
                self.holds.insert(hold);
            }
            Ok(Operator { what, hold: Some(hold) }) if what == "release" => {
                self.holds.remove(&hold);
            }
            _ => {}
        }
    }

    /// Reads on to the signed size and checks the root. Also says whether a `state_cache` entry with the
    /// digest `wanted` was met on the way. Tile hashes go to `tiles` where they are
    /// rebuilt. `progress` is told the entries read, a segment at a time.
    pub fn walk_to_signed(
        &mut self,
        disk: &dyn Disk,
        files: &[SegmentFile],
        signed: &Checkpoint,
        wanted: Option<&Hash>,
        tiles: &mut Option<Tiles>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool, TrailError> {
        let mut found = false;
        let place = files.iter().position(|file| file.first == self.segment).unwrap_or(0);
        for file in files.iter().skip(place) {
            if self.head.frontier.size() >= signed.size {
                break;
            }
            if file.first != self.segment {
                if file.first != self.head.frontier.size() {
                    let at = self.head.frontier.size();
                    return Err(TrailError::refused(format!("a segment is missing at entry {at}")));
                }
                (self.segment, self.offset) = (file.first, 0);
            }
            found |= self.file_up_to_signed(disk, file, signed, wanted, tiles)?;
            progress(self.head.frontier.size());
        }
        let size = self.head.frontier.size();
        if size < signed.size {
            return Err(TrailError::rolled_back(format!(
                "the checkpoint signs {} entries, the segments hold {size}",
                signed.size
            )));
        }
        if size != signed.size || self.head.frontier.root() != signed.root {
            return Err(TrailError::refused(format!(
                "the {} signed entries do not give the signed root",
                signed.size
            )));
        }
        Ok(found)
    }

    fn file_up_to_signed(
        &mut self,
        disk: &dyn Disk,
        file: &SegmentFile,
        signed: &Checkpoint,
        wanted: Option<&Hash>,
        tiles: &mut Option<Tiles>,
    ) -> Result<bool, TrailError> {
        let mut found = false;
        let mut lines = Lines::open(disk, file, self.offset)?;
        let strange = |index: u64, why: &str| {
            TrailError::refused(format!("entry {index} in {} {why}", file.path.display()))
        };
        while self.head.frontier.size() < signed.size {
            let index = self.head.frontier.size();
            match lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? {
                Met::Line => {}
                Met::End | Met::Fragment => break,
            }
            let entry = Entry::parse(lines.line())
                .filter(|entry| self.continues(entry))
                .ok_or_else(|| strange(index, "is not what was signed"))?;
            found |= entry.kind == "state_cache" && wanted.is_some_and(|wanted| names_cache(&entry, wanted));
            self.take(&signed.origin, &entry, lines.offset()).map_err(|why| strange(index, &why))?;
            if let Some(tiles) = tiles {
                tiles.append_some(disk, &mut self.fresh)?;
            }
        }
        Ok(found)
    }
}

fn names_cache(entry: &Entry<'_>, wanted: &Hash) -> bool {
    #[derive(Deserialize)]
    struct StateCache {
        digest: String,
    }
    serde_json::from_slice::<StateCache>(&entry.object()).is_ok_and(|cache| cache.digest == wanted.hex())
}
