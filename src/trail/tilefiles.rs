//! The tile files `tree/<level>`: hash i of tile level L at offset 32·i, full subtrees of 256^L leaves only.
//!
//! They are a cache: whoever reads them checks what comes out against a signed root. They are appended to in
//! step with the segments and synced before a cache of projections is written. So after a crash everything
//! below that cache's size is durable, and what is above is hashed from the segments again.

use super::TrailError;
use super::disk::{Disk, DiskFile};
use super::tree::Frontier;
use crate::model::Hash;
use std::path::{Path, PathBuf};

/// Hashes of one level that wait in memory before they are appended: 256 KiB.
const WAITING: usize = 1 << 18;

/// Hashes of subtrees that have become complete, by level, in order: not yet in the files.
#[derive(Clone, Debug, Default)]
pub(super) struct Fresh(Vec<Vec<u8>>);

impl Fresh {
    /// Pushes a leaf on a frontier and keeps what becomes complete.
    pub fn push(&mut self, frontier: &mut Frontier, leaf: Hash) {
        frontier.push(leaf, &mut |level, _, hash| {
            let level = level as usize;
            if self.0.len() <= level {
                self.0.resize(level + 1, Vec::new());
            }
            self.0[level].extend_from_slice(&hash.0);
        });
    }

    /// Forgets them, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    fn is_large(&self) -> bool {
        self.0.first().is_some_and(|hashes| hashes.len() >= WAITING)
    }
}

/// Hashes that a level holds for a tree of `size` leaves.
fn wanted(size: u64, level: usize) -> u64 {
    size >> (8 * level)
}

/// The files, open for appending.
pub(super) struct Tiles {
    folder: PathBuf,
    files: Vec<Box<dyn DiskFile>>,
}

impl Tiles {
    /// The files as they are for a tree of `size` leaves: longer ones are cut. `None`: they are too short.
    pub fn resume(disk: &dyn Disk, folder: &Path, size: u64) -> Result<Option<Tiles>, TrailError> {
        let mut tiles = Tiles { folder: folder.join("tree"), files: Vec::new() };
        for level in 0.. {
            let (path, wanted) = (tiles.path(level), 32 * wanted(size, level));
            let failed = |error| TrailError::io("continue", &path, error);
            if wanted == 0 {
                disk.remove(&path).map_err(failed)?;
                break;
            }
            if disk.length(&path).map_err(failed)? < wanted {
                return Ok(None);
            }
            let mut file = disk.open(&path).map_err(failed)?;
            file.truncate(wanted).map_err(failed)?;
            tiles.files.push(file);
        }
        Ok(Some(tiles))
    }

    /// New, empty files aside, until [`Tiles::replace_old`]: a trail that is refused is left as it was.
    pub fn anew(disk: &dyn Disk, folder: &Path) -> Result<Tiles, TrailError> {
        let tiles = Tiles { folder: folder.join("tree.new"), files: Vec::new() };
        let failed = |error| TrailError::io("write", &tiles.folder, error);
        disk.remove_dir(&tiles.folder).map_err(failed)?;
        disk.make_dir(&tiles.folder, 0o750).map_err(failed)?;
        Ok(tiles)
    }

    /// The new files, made durable, take the place of the old: an older cache of projections may count again,
    /// and then they are believed. A crash in between leaves none, and the next start hashes.
    pub fn replace_old(&mut self, disk: &dyn Disk, folder: &Path) -> Result<(), TrailError> {
        let place = folder.join("tree");
        self.sync_files()?;
        let failed = |error| TrailError::io("replace", &place, error);
        disk.remove_dir(&place).map_err(failed)?;
        disk.rename(&self.folder, &place).map_err(failed)?;
        self.folder = place;
        Ok(())
    }

    /// Files that cannot be continued go: half a cache would only mislead.
    pub fn discard(disk: &dyn Disk, folder: &Path) -> Result<(), TrailError> {
        let place = folder.join("tree");
        disk.remove_dir(&place).map_err(|error| TrailError::io("remove", &place, error))
    }

    fn path(&self, level: usize) -> PathBuf {
        self.folder.join(level.to_string())
    }

    /// Appends everything fresh.
    pub fn append(&mut self, disk: &dyn Disk, fresh: &mut Fresh) -> Result<(), TrailError> {
        for (level, hashes) in fresh.0.iter_mut().enumerate().filter(|(_, hashes)| !hashes.is_empty()) {
            let path = self.folder.join(level.to_string());
            let failed = |error| TrailError::io("write", &path, error);
            if level == self.files.len() {
                disk.remove(&path).map_err(failed)?;
                self.files.push(disk.create(&path, 0o640).map_err(failed)?);
            }
            match self.files.get_mut(level) {
                Some(file) => file.append(hashes).map_err(failed)?,
                None => return Err(failed(std::io::Error::other("a tile level is missing"))),
            }
            hashes.clear();
        }
        Ok(())
    }

    /// Appends where much is fresh.
    pub fn append_some(&mut self, disk: &dyn Disk, fresh: &mut Fresh) -> Result<(), TrailError> {
        match fresh.is_large() {
            true => self.append(disk, fresh),
            false => Ok(()),
        }
    }

    /// Reserves space for so many more leaves.
    pub fn allocate(&mut self, leaves: usize) -> std::io::Result<()> {
        let Some(file) = self.files.first_mut() else { return Ok(()) };
        let length = file.length()?;
        file.allocate(length, 32 * leaves as u64)
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self, disk: &dyn Disk) -> Result<(), TrailError> {
        self.sync_files()?;
        disk.sync_dir(&self.folder).map_err(|error| TrailError::io("sync", &self.folder, error))
    }

    fn sync_files(&mut self) -> Result<(), TrailError> {
        for (level, file) in self.files.iter_mut().enumerate() {
            let path = self.folder.join(level.to_string());
            file.sync().map_err(|error| TrailError::io("sync", &path, error))?;
        }
        Ok(())
    }
}
