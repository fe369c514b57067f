//! The whole static directory of a log: what any web server serves, and any tarball carries.
//!
//! One pass over the segments; in memory are one bundle and one tile a level. Full tiles never change, so a
//! folder that holds an earlier export of the same log is continued: a file that is there with the same
//! bytes stays, one with other bytes ends the export, for two histories have no place in one folder. The
//! checkpoint is written last, after everything else is durable and has given its root.

use super::super::disk::{self, Disk, RealDisk, replace};
use super::super::note::{Checkpoint, NOTE_MAX, Note};
use super::super::tiles::{Kind, TilePath, WIDTH, push_entry, tile_bytes};
use super::{Log, PublishError, TrailError};
use crate::model::Hash;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Longest bundle: 256 entries with their lengths.
const BUNDLE_MAX: u64 = WIDTH * (2 + 65_535);

/// What an export wrote or found in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Hash tiles of the tree.
    pub tiles: u64,
    /// Entry bundles.
    pub bundles: u64,
    /// Files that were written now.
    pub written: u64,
    /// Entries that stand in no bundle because the first ones of their bundle were pruned.
    pub left_out: u64,
}

/// Writes the log's static directory. `folder` is made where it is not there; it may hold nothing but an
/// earlier export of the same log.
pub fn export(log: &mut Log, folder: &Path) -> Result<Exported, PublishError> {
    let failed = |path: &Path, error| TrailError::io("write", path, error);
    let earlier = earlier_export(log, folder)?;
    RealDisk.make_dir(folder, 0o750).map_err(|error| failed(folder, error))?;
    let size = log.head().size;
    let minimum = log.minimum();
    let to = RefCell::new(Folder { folder, made: PathBuf::new(), exported: Exported::default() });
    let mut tiles = Tiles { open: log.cut_tiles()? };
    let mut bundle = Bundle { first: minimum.next_multiple_of(WIDTH), bytes: Vec::new() };
    to.borrow_mut().exported.left_out = bundle.first.min(size) - minimum;
    log.each_leaf(
        &mut |level, index, hash| tiles.push(level, index, hash, &mut to.borrow_mut()),
        &mut |index, line| bundle.push(index, line, &mut to.borrow_mut()),
    )?;
    let mut to = to.into_inner();
    tiles.finish(&mut to)?;
    bundle.finish(size, &mut to)?;
    // One sync for all files; only then the checkpoint says that they are there.
    sync_all(folder).map_err(|error| failed(folder, error.into()))?;
    let path = folder.join("checkpoint");
    if earlier.as_deref() != Some(log.note()) {
        replace(&RealDisk, &path, log.note().as_bytes(), 0o640).map_err(|error| failed(&path, error))?;
        to.exported.written += 1;
    }
    Ok(to.exported)
}

/// Makes everything on the folder's file system durable.
fn sync_all(folder: &Path) -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags, open, syncfs};
    syncfs(&open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The checkpoint of an earlier export; an error where the folder holds anything else.
fn earlier_export(log: &Log, folder: &Path) -> Result<Option<String>, TrailError> {
    let names = disk::names(folder).map_err(|error| TrailError::io("list", folder, error))?;
    let known = |name: &String| matches!(name.as_str(), "checkpoint" | "checkpoint.tmp" | "tile");
    let path = folder.join("checkpoint");
    let setup = |what: String| TrailError::setup(format!("{what}; name another folder for the export"));
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(setup(format!("{} holds `{name}`, which is no part of an export", folder.display())));
    }
    let bytes =
        disk::read_small(&path, NOTE_MAX as u64).map_err(|error| TrailError::io("read", &path, error))?;
    let Some(note) = bytes.map(|bytes| String::from_utf8(bytes).unwrap_or_default()) else { return Ok(None) };
    let head = Note::parse(&note).ok().and_then(|note| Checkpoint::parse(note.text));
    match head {
        Some(head) if head.origin != log.head().origin => {
            Err(setup(format!("{} is the export of another log, `{}`", folder.display(), head.origin)))
        }
        Some(head) if head.size > log.head().size => Err(TrailError::rolled_back(format!(
            "{} holds an export of {} entries, the trail has {} signed ones",
            folder.display(),
            head.size,
            log.head().size
        ))),
        Some(_) => Ok(Some(note)),
        None => Err(setup(format!("{} is not a checkpoint", path.display()))),
    }
}

struct Folder<'a> {
    folder: &'a Path,
    /// The folder made last: consecutive tiles share it.
    made: PathBuf,
    exported: Exported,
}

impl Folder<'_> {
    fn put(&mut self, tile: &TilePath, bytes: &[u8]) -> Result<(), TrailError> {
        match tile.kind {
            Kind::Entries => self.exported.bundles += 1,
            Kind::Hashes(_) => self.exported.tiles += 1,
        }
        let path = self.folder.join(tile.to_string());
        let failed = |error| TrailError::io("write", &path, error);
        if let Some(there) = disk::read_small(&path, BUNDLE_MAX).map_err(failed)? {
            return match there == bytes {
                true => Ok(()),
                false => Err(TrailError::refused(format!(
                    "{} holds other bytes than the trail gives: another history, or a damaged file",
                    path.display()
                ))),
            };
        }
        let parent = path.parent().unwrap_or(self.folder);
        if self.made != parent {
            RealDisk.make_dir(parent, 0o750).map_err(failed)?;
            parent.clone_into(&mut self.made);
        }
        let temporary = self.folder.join("checkpoint.tmp");
        RealDisk.remove(&temporary).map_err(failed)?;
        RealDisk.create(&temporary, 0o640).and_then(|mut file| file.append(bytes)).map_err(failed)?;
        RealDisk.rename(&temporary, &path).map_err(failed)?;
        self.exported.written += 1;
        Ok(())
    }
}

/// The tile that is being filled, on each level.
struct Tiles {
    open: Vec<(u64, Vec<Hash>)>,
}

impl Tiles {
    fn push(&mut self, level: u32, index: u64, hash: Hash, to: &mut Folder<'_>) -> Result<(), TrailError> {
        let place = level as usize;
        if self.open.len() <= place {
            self.open.push((index, Vec::new()));
        }
        let (first, hashes) = &mut self.open[place];
        hashes.push(hash);
        match hashes.len() as u64 {
            WIDTH => {
                let tile = TilePath { kind: Kind::Hashes(level), index: *first / WIDTH, width: WIDTH };
                to.put(&tile, &tile_bytes(hashes))?;
                hashes.clear();
                *first += WIDTH;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self, to: &mut Folder<'_>) -> Result<(), TrailError> {
        for (level, (first, hashes)) in (0u32..).zip(self.open).filter(|(_, (_, hashes))| !hashes.is_empty())
        {
            let width = hashes.len() as u64;
            let tile = TilePath { kind: Kind::Hashes(level), index: first / WIDTH, width };
            to.put(&tile, &tile_bytes(&hashes))?;
        }
        Ok(())
    }
}

/// The bundle that is being filled.
struct Bundle {
    first: u64,
    bytes: Vec<u8>,
}

impl Bundle {
    fn push(&mut self, index: u64, line: &[u8], to: &mut Folder<'_>) -> Result<(), TrailError> {
        if index < self.first {
            return Ok(());
        }
        if !push_entry(&mut self.bytes, line) {
            return Err(TrailError::refused(format!("entry {index} is longer than any of ours")));
        }
        match index - self.first + 1 {
            WIDTH => self.finish(index + 1, to),
            _ => Ok(()),
        }
    }

    /// Writes what there is; `next` is the index after it.
    fn finish(&mut self, next: u64, to: &mut Folder<'_>) -> Result<(), TrailError> {
        let width = next.saturating_sub(self.first);
        if width > 0 {
            let tile = TilePath { kind: Kind::Entries, index: self.first / WIDTH, width };
            to.put(&tile, &self.bytes)?;
            self.bytes.clear();
            self.first = next;
        }
        Ok(())
    }
}
