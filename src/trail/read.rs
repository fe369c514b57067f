//! Reading a generation's segments from start to end, a line at a time, in bounded memory. A sealed segment
//! may be compressed (`.jsonl.zst`); its lines are the same, and where both files exist the plain one wins.

use super::disk::Disk;
use super::entry::{Entry, LINE_MAX};
use super::{TrailError, segment_name};
use std::io::Read;
use std::ops::Range;
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

/// Lines of one file. A line is shown where it was read to, without a copy.
pub struct Lines {
    content: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read and not shown.
    unseen: Range<usize>,
    line: Range<usize>,
    /// The beginning of a line that is longer than any of ours.
    long: Vec<u8>,
    offset: u64,
}

impl Lines {
    /// Opens a segment at an offset of its unpacked bytes.
    pub fn open(disk: &dyn Disk, file: &SegmentFile, offset: u64) -> Result<Lines, TrailError> {
        let content = file.open(disk, offset).map_err(|error| TrailError::io("read", &file.path, error))?;
        Ok(Lines { content, buffer: vec![0; BUFFER], unseen: 0..0, line: 0..0, long: Vec::new(), offset })
    }

    /// Reads on to the next newline. A line that is longer than any of ours is kept cut, so it fails to
    /// parse as an entry, and is passed over.
    pub fn next_line(&mut self) -> std::io::Result<Met> {
        self.long.clear();
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(self.unseen.start + searched..self.unseen.end).unwrap_or_default();
            if let Some(found) = memchr::memchr(b'\n', unseen) {
                let length = searched + found;
                self.line = self.unseen.start..self.unseen.start + length.min(READ_MAX);
                self.unseen.start += length + 1;
                self.offset += length as u64 + 1;
                return Ok(Met::Line);
            }
            searched = self.unseen.len();
            if searched > READ_MAX {
                return self.pass_over();
            }
            if self.fill()? == 0 {
                self.line = self.unseen.clone();
                self.offset += self.unseen.len() as u64;
                self.unseen.start = self.unseen.end;
                return Ok(if self.line.is_empty() { Met::End } else { Met::Fragment });
            }
        }
    }

    /// Moves what is unseen to the front and reads behind it.
    fn fill(&mut self) -> std::io::Result<usize> {
        self.buffer.copy_within(self.unseen.clone(), 0);
        self.unseen = 0..self.unseen.len();
        loop {
            match self.content.read(self.buffer.get_mut(self.unseen.end..).unwrap_or_default()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => {
                    self.unseen.end += *read.as_ref().unwrap_or(&0);
                    return read;
                }
            }
        }
    }

    /// A line longer than any of ours: its beginning is kept aside, the rest goes unseen.
    fn pass_over(&mut self) -> std::io::Result<Met> {
        self.line = 0..0;
        let unseen = self.buffer.get(self.unseen.clone()).unwrap_or_default();
        self.long = unseen.get(..READ_MAX).unwrap_or(unseen).to_vec();
        loop {
            let unseen = self.buffer.get(self.unseen.clone()).unwrap_or_default();
            let found = memchr::memchr(b'\n', unseen);
            let used = found.map_or(unseen.len(), |at| at + 1);
            self.unseen.start += used;
            self.offset += used as u64;
            if found.is_some() {
                return Ok(Met::Line);
            }
            if self.fill()? == 0 {
                return Ok(Met::Fragment);
            }
        }
    }

    /// The line read last, without its newline.
    pub fn line(&self) -> &[u8] {
        match self.long.is_empty() {
            true => self.buffer.get(self.line.clone()).unwrap_or_default(),
            false => &self.long,
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Content that comes in pieces of other sizes than anybody asked for.
    struct Pieces(Vec<u8>, Vec<usize>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1.pop().unwrap_or(BUFFER).min(buffer.len()).min(self.0.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0.drain(..size);
            Ok(size)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn lines_are_those_of_the_whole(
            lengths in proptest::collection::vec(prop_oneof![0usize..500, 30_000usize..70_000, 200_000usize..2_500_000], 0..12),
            pieces in proptest::collection::vec(1usize..300_000, 0..40),
            whole in any::<bool>(),
        ) {
            let mut content = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                content.extend(std::iter::repeat_n(b'a' + number as u8, *length));
                content.push(b'\n');
            }
            if !whole {
                content.pop();
            }
            let mut expected: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
            let fragment = expected.pop().unwrap();
            let mut lines = Lines {
                content: Box::new(Pieces(content.clone(), pieces)),
                buffer: vec![0; BUFFER],
                unseen: 0..0,
                line: 0..0,
                long: Vec::new(),
                offset: 0,
            };
            let mut offset = 0;
            for line in expected {
                prop_assert_eq!(lines.next_line().unwrap(), Met::Line);
                offset += line.len() as u64 + 1;
                prop_assert_eq!(lines.offset(), offset);
                let cut = line.len() > READ_MAX;
                prop_assert!(cut || lines.line() == line);
                prop_assert!(!cut || lines.line() == &line[..READ_MAX]);
            }
            let end = if fragment.is_empty() { Met::End } else { Met::Fragment };
            prop_assert_eq!(lines.next_line().unwrap(), end);
            prop_assert_eq!(lines.next_line().unwrap(), Met::End);
        }
    }
}
