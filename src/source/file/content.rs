//! What a file holds, unpacked where it is compressed, and how a whole content is told from another.
//!
//! A gzip (RFC 1952, several members too) or zstd (RFC 8878) file is unpacked into a file without a name in the
//! scratch folder, which goes away with its handle. Everything else then works as with any other file: offsets
//! are bytes of what was unpacked, a copy is recognised by its content, reading starts again anywhere. Unpacked
//! it may have [`RATIO_MAX`] times its size and [`UNPACKED_MAX`] bytes.
//!
//! A file that is still being written ends in the middle: that is told apart from other errors.

use super::identity::{open_regular, read_at};
use crate::model::{Hash, Key};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Unpacked, a file may be so many times as long.
pub const RATIO_MAX: u64 = 100;
/// Unpacked, a file may have so many bytes.
pub const UNPACKED_MAX: u64 = 1 << 30;
const CONTENT_DOMAIN: &str = "crmwarden/file-content";
const PIECE: usize = 256 * 1024;

/// An opened file.
pub(super) struct Content {
    /// Its content, to be read anywhere.
    pub file: File,
    /// Of the file on the disk.
    pub meta: Metadata,
    /// It was unpacked.
    pub packed: bool,
}

/// Opens a file and unpacks it, where that is possible and there is a scratch folder. An unfinished file is an
/// error of the kind [`io::ErrorKind::UnexpectedEof`].
pub(super) fn open(path: &Path, scratch: Option<&Path>) -> io::Result<Content> {
    let (file, meta) = open_regular(path)?;
    let Some((kind, scratch)) = kind(&read_at(&file, 0, 4)?).zip(scratch) else {
        return Ok(Content { file, meta, packed: false });
    };
    let file = unpack(kind, file, meta.len(), scratch)?;
    Ok(Content { file, meta, packed: true })
}

/// How a file is packed.
#[derive(Clone, Copy)]
enum Kind {
    Gzip,
    Zstd,
}

fn kind(head: &[u8]) -> Option<Kind> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Kind::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Kind::Zstd),
        _ => None,
    }
}

/// Whether a file is packed in a way that is unpacked here.
pub(super) fn is_packed(file: &File) -> bool {
    read_at(file, 0, 4).is_ok_and(|head| kind(&head).is_some())
}

fn unpack(kind: Kind, packed: File, length: u64, scratch: &Path) -> io::Result<File> {
    let limit = UNPACKED_MAX.min(length.saturating_mul(RATIO_MAX));
    let mut content = nameless(scratch)?;
    let copied = match kind {
        Kind::Gzip => io::copy(&mut flate2::read::MultiGzDecoder::new(packed).take(limit + 1), &mut content)?,
        Kind::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(packed)?;
            decoder.window_log_max(27)?;
            io::copy(&mut decoder.take(limit + 1), &mut content)?
        }
    };
    match copied > limit {
        true => Err(io::Error::other(format!(
            "it unpacks to more than {limit} bytes: {RATIO_MAX} times its size"
        ))),
        false => content.flush().map(|()| content),
    }
}

/// A file without a name, for this process alone.
fn nameless(folder: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(flags).open(folder) {
        // A file system without such files: a name for a moment.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
            let path = folder.join("unpacking.tmp");
            let _ = std::fs::remove_file(&path);
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// A keyed digest of everything, and its length.
pub(super) fn digest(key: &Key, file: &File) -> io::Result<(Hash, u64)> {
    let mut running = key.start(CONTENT_DOMAIN);
    let mut length = 0;
    loop {
        let piece = read_at(file, length, PIECE)?;
        running.update(&piece);
        length += piece.len() as u64;
        if piece.len() < PIECE {
            return Ok((running.finish(), length));
        }
    }
}
