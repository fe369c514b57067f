//! Compression of sealed segments, beside the writer.
//!
//! `<name>.jsonl` → `<name>.jsonl.zst.tmp`, written and synced → read back, unpacked and compared by digest →
//! renamed to `<name>.jsonl.zst`, folder synced → `<name>.jsonl` unlinked, folder synced. Where a crash leaves
//! both, the plain one wins and the next pass begins again. The lines stay the same, so hashes, chain, proofs
//! and signatures do.

use super::TrailError;
use super::disk::Disk;
use super::read::{SegmentFile, segments};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;

/// zstd level: half of an entry are hashes that do not compress, so higher levels gain next to nothing.
const LEVEL: i32 = 6;
/// Bytes that are read and written at a time.
const PIECE: usize = 1 << 20;

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Segments compressed.
    pub segments: u64,
    /// Their bytes before.
    pub before: u64,
    /// Their bytes after.
    pub after: u64,
}

/// Compresses every sealed segment of a generation: all but the newest. `housekeeping` is the trail's (see
/// [`super::Trail::housekeeping`]): pruning and this do not meet.
pub fn pack(disk: &dyn Disk, folder: &Path, housekeeping: &Mutex<()>) -> Result<Packed, TrailError> {
    let mut packed = Packed::default();
    let files = segments(disk, folder)?;
    let sealed = files.split_last().map_or(&[][..], |(_, sealed)| sealed);
    for file in sealed.iter().filter(|file| !file.packed) {
        let _quiet = housekeeping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |error| TrailError::io("compress", &file.path, error);
        if !disk.exists(&file.path).map_err(failed)? {
            continue; // Pruned meanwhile.
        }
        let (before, after) = one(disk, folder, file).map_err(failed)?;
        packed.segments += 1;
        packed.before += before;
        packed.after += after;
    }
    Ok(packed)
}

/// Hands pieces on to an open file of the seam.
struct Appending<'a>(&'a mut dyn super::disk::DiskFile);

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn one(disk: &dyn Disk, folder: &Path, file: &SegmentFile) -> std::io::Result<(u64, u64)> {
    let target = file.path.with_extension("jsonl.zst");
    let temporary = file.path.with_extension("jsonl.zst.tmp");
    disk.remove(&temporary)?;
    let mut out = disk.create(&temporary, 0o640)?;
    let digest = {
        let waiting = std::io::BufWriter::with_capacity(PIECE, Appending(&mut *out));
        let mut encoder = zstd::stream::write::Encoder::new(waiting, LEVEL)?;
        encoder.include_checksum(true)?;
        let digest = copy(&mut disk.read(&file.path, 0)?, &mut encoder)?;
        encoder.finish()?.flush()?;
        digest
    };
    out.sync()?;
    let after = out.length()?;
    drop(out);
    let aside = SegmentFile { first: file.first, path: temporary.clone(), packed: true };
    let mut unpacked = std::io::BufReader::with_capacity(PIECE, aside.open(disk, 0)?);
    if copy(&mut unpacked, &mut std::io::sink())? != digest {
        disk.remove(&temporary)?;
        return Err(std::io::Error::other("what was compressed does not unpack to the same bytes"));
    }
    let segments = folder.join("segments");
    disk.rename(&temporary, &target)?;
    disk.sync_dir(&segments)?;
    let before = disk.length(&file.path)?;
    disk.remove(&file.path)?;
    disk.sync_dir(&segments)?;
    Ok((before, after))
}

/// Copies and returns the digest of what was copied.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read])?;
    }
}
