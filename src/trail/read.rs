//! Reading a generation's segments from start to end, a line at a time, in bounded memory. A sealed segment
//! may be compressed (`.jsonl.zst`); its lines are the same, and where both files exist the plain one wins.

use super::disk::Disk;
use super::entry::{Entry, LINE_MAX};
use super::{TrailError, segment_name};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A line longer than this is not ours; the reader does not keep more of it in memory.
const READ_MAX: usize = 4 * LINE_MAX;
/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;
/// Largest window that unpacking may need: what our own compression uses.
const WINDOW_LOG_MAX: u32 = 27;

/// A segment file: the index in its name and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Index of its first entry, by its name.
    pub first: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Compressed with zstd.
    pub packed: bool,
}

/// The segments of a generation in order. A name that is not a segment's is an error: nothing else
/// belongs there.
pub fn segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<SegmentFile>, TrailError> {
    let (files, odd) = segments_and_odd(disk, folder)?;
    match odd.first() {
        Some(path) => Err(TrailError::refused(format!("{} is not a segment's name", path.display()))),
        None => Ok(files),
    }
}

/// The segments in order, and whatever else lies beside them. An unfinished compression is neither.
pub fn segments_and_odd(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(Vec<SegmentFile>, Vec<PathBuf>), TrailError> {
    let dir = folder.join("segments");
    let names = disk.names(&dir).map_err(|error| TrailError::io("list", &dir, error))?;
    let mut files: Vec<SegmentFile> = Vec::with_capacity(names.len());
    let mut odd = Vec::new();
    for name in names {
        let plain = name.strip_suffix(".zst").unwrap_or(&name);
        let first = plain.strip_suffix(".jsonl").and_then(|digits| digits.parse().ok());
        let packed = plain.len() < name.len();
        match first {
            Some(first) if segment_name(first) == plain => {
                // Names are sorted, so the plain file of a pair comes first.
                if files.last().is_none_or(|last| last.first != first) {
                    files.push(SegmentFile { first, path: dir.join(name), packed });
                }
            }
            _ if name.ends_with(".jsonl.zst.tmp") => {}
            _ => odd.push(dir.join(name)),
        }
    }
    files.sort_by_key(|file| file.first);
    Ok((files, odd))
}

impl SegmentFile {
    /// Its content, unpacked, from an offset in the unpacked bytes on.
    pub fn open(&self, disk: &dyn Disk, from: u64) -> std::io::Result<Box<dyn Read + Send>> {
        if !self.packed {
            return disk.read(&self.path, from);
        }
        let mut unpacked = zstd::stream::read::Decoder::new(disk.read(&self.path, 0)?)?;
        unpacked.window_log_max(WINDOW_LOG_MAX)?;
        let skipped = std::io::copy(&mut unpacked.by_ref().take(from), &mut std::io::sink())?;
        match skipped == from {
            true => Ok(Box::new(unpacked)),
            false => Err(std::io::Error::other("the compressed segment is shorter than expected")),
        }
    }

    /// Length of its content, unpacked.
    pub fn length(&self, disk: &dyn Disk) -> std::io::Result<u64> {
        match self.packed {
            false => disk.length(&self.path),
            true => std::io::copy(&mut self.open(disk, 0)?, &mut std::io::sink()),
        }
    }
}

/// What [`Lines::next_line`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// A line; [`Lines::line`] holds it.
    Line,
    /// Bytes without a newline at the end of the file: not a line.
    Fragment,
    /// The end.
    End,
}

/// Lines of one file.
pub struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    offset: u64,
}

impl Lines {
    /// Opens a segment at an offset of its unpacked bytes.
    pub fn open(disk: &dyn Disk, file: &SegmentFile, offset: u64) -> Result<Lines, TrailError> {
        let content = file.open(disk, offset).map_err(|error| TrailError::io("read", &file.path, error))?;
        Ok(Lines { reader: BufReader::with_capacity(BUFFER, content), line: Vec::new(), offset })
    }

    /// Reads on to the next newline. A line that is longer than any of ours is kept cut, so it fails to
    /// parse as an entry, and is passed over.
    pub fn next_line(&mut self) -> std::io::Result<Met> {
        self.line.clear();
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(if self.line.is_empty() { Met::End } else { Met::Fragment });
            }
            let newline = memchr::memchr(b'\n', available);
            let take = newline.unwrap_or(available.len());
            let room = READ_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&available[..take.min(room)]);
            let used = take + usize::from(newline.is_some());
            self.reader.consume(used);
            self.offset += used as u64;
            if newline.is_some() {
                return Ok(Met::Line);
            }
        }
    }

    /// The line read last, without its newline.
    pub fn line(&self) -> &[u8] {
        &self.line
    }
    /// Offset after the line read last.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Calls `visit` with every entry from index `from` to before `to`, in order. Lines are taken as they
/// are: whoever calls this has verified them or does not need to. Entries that were pruned are passed over.
pub fn each(
    disk: &dyn Disk,
    folder: &Path,
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), TrailError>,
) -> Result<(), TrailError> {
    let files = segments(disk, folder)?;
    let start = files.iter().rposition(|file| file.first <= from).unwrap_or(0);
    for file in files.iter().skip(start).take_while(|file| file.first < to) {
        let mut lines = Lines::open(disk, file, 0)?;
        let failed = |error| TrailError::io("read", &file.path, error);
        while lines.next_line().map_err(failed)? == Met::Line {
            let Some(entry) = Entry::parse(lines.line()) else {
                return Err(TrailError::refused(format!(
                    "{} holds a line that is no entry",
                    file.path.display()
                )));
            };
            if entry.index >= to {
                return Ok(());
            }
            if entry.index >= from {
                visit(&entry)?;
            }
        }
    }
    Ok(())
}
