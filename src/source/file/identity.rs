//! Which file is which: device, inode, birth and keyed digests of content.
//!
//! No single one decides. A device number may change at a reboot, an inode is given to another file once
//! its own is removed, a birth time is missing on some file systems, and first lines repeat. The bytes
//! just before the read position are what finally says whether reading may go on there.
//!
//! What is not told: a file that was removed and made again within one tick of the kernel's clock (up to 4 ms),
//! with the same inode number, length and beginning.
//!
//! Digests are keyed (RFC 2104): a bare one would give short numbers in a log line away.

use crate::model::{Hash, Key, medium};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Digests cover at most so many bytes of a file's head, and so many before a position.
pub(super) const WINDOW: usize = 4096;

const HEAD_DOMAIN: &str = "crmwarden/file-head";
const BEFORE_DOMAIN: &str = "crmwarden/file-before";
const PATH_DOMAIN: &str = "crmwarden/file-path";

/// What the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub dev: u64,
    pub ino: u64,
    /// Birth in nanoseconds since 1970, where the file system keeps it.
    pub born: Option<u64>,
}

impl Identity {
    pub fn of(meta: &Metadata) -> Identity {
        let born = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|age| u64::try_from(age.as_nanos()).ok());
        Identity { dev: meta.dev(), ino: meta.ino(), born }
    }

    /// Whether a known birth speaks against both being the same file.
    pub fn born_differs(&self, other: &Identity) -> bool {
        matches!((self.born, other.born), (Some(one), Some(two)) if one != two)
    }
}

/// What changes whenever a file's content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub size: u64,
    changed: (i64, i64),
}

impl Look {
    pub fn of(meta: &Metadata) -> Look {
        Look { size: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

/// A keyed digest of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub len: usize,
    pub mac: Hash,
}

impl Mark {
    pub fn head(key: &Key, bytes: &[u8]) -> Mark {
        Mark { len: bytes.len(), mac: key.mac(HEAD_DOMAIN, &[bytes]) }
    }

    /// Over the last bytes of `older` and `newer` taken together.
    pub fn before(key: &Key, older: &[u8], newer: &[u8]) -> Mark {
        let newer = newer.get(newer.len().saturating_sub(WINDOW)..).unwrap_or_default();
        let wanted = WINDOW - newer.len();
        let older = older.get(older.len().saturating_sub(wanted)..).unwrap_or_default();
        Mark { len: older.len() + newer.len(), mac: key.mac(BEFORE_DOMAIN, &[older, newer]) }
    }

    /// Whether a head still starts with what this covers.
    pub fn is_head_of(&self, key: &Key, bytes: &[u8]) -> bool {
        bytes.get(..self.len).is_some_and(|bytes| Mark::head(key, bytes) == *self)
    }
}

/// A path's keyed digest: tells a rename although the path in a position may be masked.
pub(super) fn path_mac(key: &Key, path: &Path) -> Hash {
    key.mac(PATH_DOMAIN, &[path.as_os_str().as_encoded_bytes()])
}

/// Whether a folder is shared with other machines: see [`medium::is_shared`].
pub(super) fn is_remote(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| medium::is_shared(system.f_type as u64 & 0xffff_ffff))
}

/// Opens a regular file; anything else is an error, and a FIFO in its place does not block.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, meta))
}

/// Reads up to `wanted` bytes at a position; fewer only at the end of the file.
pub(super) fn read_at(file: &File, position: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let from = position + bytes.len() as u64;
        // Straight into memory that nobody had to clear before.
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), from) {
            Ok(0) => break,
            Ok(_) => bytes.truncate(wanted),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Reads exactly these bytes, or `None` where the file is shorter.
pub(super) fn read_window(file: &File, position: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where data starts at or after a position, if the file system knows about holes.
pub(super) fn next_data(file: &File, position: u64) -> Option<u64> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)).ok()
}
