//! The cache of projections, `state/cache`: a header line and a body.
//!
//! The header (JSON) holds what the trail needs to resume at the cache's size without reading what is before:
//! frontier, previous hash, time, position in the segments, all cursors, the epoch in force, known quarantine
//! digests, holds. The body belongs to the pipeline.
//!
//! It counts only if the entries after its size, put on its frontier, give the signed root, and one of them
//! below the signed size is a `state_cache` entry with its digest: then both the frontier and the body are
//! the ones that were signed. A cache that does not count costs time and nothing else.

use super::disk::{self, Disk};
use super::entry::Bodies;
use super::epoch::Epochs;
use super::note::Verifier;
use super::scan::{Remembered, Scan};
use super::tree::Frontier;
use super::writer::{Cursors, Head, Trail, is_full};
use super::{Paths, TrailError, VERSION};
use crate::model::{Hash, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Largest cache that is read.
const CACHE_MAX: u64 = 1 << 30;

/// What a cache's first line says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    origin: String,
    size: u64,
    frontier: Vec<String>,
    prev: String,
    time: Time,
    segment: u64,
    offset: u64,
    since: Time,
    epoch: u32,
    epoch_key: String,
    epoch_last: String,
    epoch_since: u64,
    epoch_time: Time,
    recovered: BTreeSet<String>,
    holds: BTreeSet<String>,
    minimum: u64,
    erasing: Vec<(u64, u64)>,
    cursors: Cursors,
}

/// A cache that may count.
pub(super) struct Cached {
    /// Where it resumes.
    pub scan: Scan,
    /// Digest of the whole file.
    pub digest: Hash,
    /// The pipeline's part.
    pub body: Vec<u8>,
}

impl Header {
    fn of(trail: &Trail) -> Header {
        Header {
            version: VERSION,
            origin: trail.origin.clone(),
            size: trail.head.frontier.size(),
            frontier: trail.head.frontier.hashes().iter().map(Hash::hex).collect(),
            prev: trail.head.prev.hex(),
            time: trail.head.time,
            segment: trail.segment.first,
            offset: trail.segment.length,
            since: trail.segment.since,
            epoch: trail.epochs.number,
            epoch_key: trail.epochs.key.vkey(),
            epoch_last: trail.epochs.last.vkey(),
            epoch_since: trail.epochs.since,
            epoch_time: trail.epochs.since_time,
            recovered: trail.recovered.clone(),
            holds: trail.holds.clone(),
            minimum: trail.minimum,
            erasing: trail.erasing.clone(),
            cursors: trail.cursors.clone(),
        }
    }

    fn scan(self) -> Option<Scan> {
        let hashes: Option<Vec<Hash>> = self.frontier.iter().map(|text| Hash::parse(text)).collect();
        let head = Head {
            frontier: Frontier::from_parts(self.size, hashes?)?,
            prev: Hash::parse(&self.prev)?,
            time: self.time,
        };
        let (key, last) = (Verifier::parse(&self.epoch_key)?, Verifier::parse(&self.epoch_last)?);
        let epochs = Epochs::resumed(self.epoch, key, last, self.epoch_since, self.epoch_time);
        let more = Remembered {
            recovered: self.recovered,
            holds: self.holds,
            minimum: self.minimum,
            erasing: self.erasing,
        };
        Some(Scan::at(head, (self.segment, self.offset, self.since), self.cursors, epochs, more))
    }
}

/// Reads the cache; one that cannot be read is none.
pub(super) fn read(disk: &dyn Disk, paths: &Paths, origin: &str) -> Option<Cached> {
    let mut bytes = disk.read_small(&paths.cache(), CACHE_MAX).ok()??;
    let digest = Hash(Sha256::digest(&bytes).into());
    let end = memchr::memchr(b'\n', &bytes)?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    if header.version != VERSION || header.origin != origin {
        return None;
    }
    let body = bytes.split_off(end + 1);
    Some(Cached { scan: header.scan()?, digest, body })
}

impl Trail {
    /// Writes the cache of projections and commits its digest. The trail adds what it needs itself to resume
    /// from here. The tile files are synced before: below the cache's size they are not hashed again.
    pub fn write_cache(&mut self, body: Vec<u8>, now: Time) -> Result<(), TrailError> {
        self.stop_if_poisoned()?;
        let written = self.replace_cache(body);
        let Some((size, length, digest)) = self.guard(written)? else { return Ok(()) };
        let mut bodies = Bodies::default();
        bodies.push("state_cache", |out| {
            let text =
                format!("\"version\":{VERSION},\"size\":{size},\"bytes\":{length},\"digest\":\"{digest}\"");
            out.extend_from_slice(text.as_bytes());
        });
        self.commit(&bodies, &Cursors::new(), now)?;
        Ok(())
    }

    /// Size, length and digest of the new file; `None` where there is no space for it.
    fn replace_cache(&mut self, mut bytes: Vec<u8>) -> Result<Option<(u64, usize, Hash)>, TrailError> {
        if let Some(tiles) = &mut self.tiles {
            tiles.sync(&*self.disk)?;
        }
        let path = self.paths.cache();
        let mut header = serde_json::to_vec(&Header::of(self))
            .map_err(|error| TrailError::setup(format!("the cache cannot be written: {error}")))?;
        header.push(b'\n');
        // Into the body's own buffer: a large body must not stand in memory twice.
        bytes.splice(0..0, header);
        let digest = Hash(Sha256::digest(&bytes).into());
        match disk::replace_unsynced(&*self.disk, &path, &bytes, 0o640) {
            // The cache saves time only: without space for it the next start reads more.
            Err(error) if is_full(&error) => {
                let unfinished = path.with_extension("tmp");
                self.disk.remove(&unfinished).map_err(|e| TrailError::io("remove", &unfinished, e))?;
                return Ok(None);
            }
            other => other.map_err(|error| TrailError::io("write", &path, error))?,
        }
        Ok(Some((self.head.frontier.size(), bytes.len(), digest)))
    }
}
