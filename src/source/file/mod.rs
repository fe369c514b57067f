//! Files that grow, rotate and vanish, read once and completely.
//!
//! * **Truth is polling.** [`FileSource::poll`] looks at the file system itself; [`watch::Watch`] only
//!   says when looking early is worth it.
//! * **A stream is a file in one generation**, not a path. It is known by device, inode, birth and keyed
//!   digests of its head and of the bytes before the read position ([`identity`]), so a renamed file is
//!   not read twice and a truncated or reused one is not taken for its predecessor.
//! * **The position names the first incomplete record.** What a batch returned is exactly what lies
//!   between the position before and [`Batch::after`](super::Batch::after), all in raw bytes.
//! * **Nothing is dropped silently**: every decision about identity and every loss is a
//!   [`Notice`](super::Notice) that travels with the position that it explains.
//! * **A packed file (gzip, zstd) is what it unpacks to** ([`content`]). A rotated file that was compressed goes
//!   on where reading was, once the original is gone; beside its original it is left alone.
//! * **Delivered whole** ([`Options::whole`]): a file is read once it was quiet for [`SETTLE`], its last record
//!   needs no end, and each content is read once, under whatever names it comes.
//! * A file is never mapped into memory (a truncation would kill the process), never written, and only
//!   regular files are opened. Folders in [`Options::exclude`] are never read.
//! * Memory is bounded by the budget of a poll, whatever the length of a line.
//!
//! Life of a file that is rotated away: its handle stays open and is read to its end, and on, until the
//! file was quiet for [`QUIET`]; then a last record without terminator is taken as it is and the handle
//! closed. Its position is kept as long as the file is found in its folder, and for the last
//! [`ABSENT`] files that vanished, in case a file system comes back.

pub mod glob;
pub mod watch;

mod content;
mod copies;
mod hole;
mod identity;
mod long;
mod options;
mod packed;
mod position;
mod stream;
mod sweep;

#[cfg(test)]
mod tests;

use super::{Batch, Fact, Notice};
use crate::model::record::{Encoding, Framing};
use crate::model::{Hash, Key};
use glob::Glob;
use identity::WINDOW;
pub use options::{Error, Lag, Mode, Options, Polled, Rest, StartAt};
use position::{Position, STARTED};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{Header, Stream, Turned};

/// Default of [`Options::max_record`].
pub const MAX_RECORD: usize = 16 * 1024 * 1024;
/// Default of [`Options::read_size`].
pub const READ_SIZE: usize = 128 * 1024;
/// At most so many files are open at a time, of all sources together; the least recently used ones are closed and
/// found again.
pub const OPEN_FILES: usize = 512;
/// A rotated file that did not change for so long is done.
pub const QUIET: Duration = Duration::from_secs(60);
/// Positions of so many vanished files are kept.
pub const ABSENT: usize = 1024;
/// The same where files are delivered whole: a day of hourly files comes again under other names.
pub const ABSENT_WHOLE: usize = 10_000;
/// A delivered file that did not change for so long is complete.
pub const SETTLE: Duration = Duration::from_secs(5);
/// So many unpacked files are kept open.
const UNPACKED_OPEN: usize = 8;
/// While there is much to read, the file system is looked over once in this time.
const SWEEP_WHILE_BUSY: Duration = Duration::from_secs(1);

/// What all streams of a source share.
#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    framing: Framing,
    encoding: Encoding,
    max_record: usize,
    read_size: usize,
    /// Bytes that one fixed record may take; 0 for other framings.
    fixed_size: usize,
    scratch: Option<PathBuf>,
    whole: bool,
    matching: Key,
    raw: Key,
    /// The last header seen: files of one feed mostly have the same one, and share it.
    header: std::sync::Mutex<Option<Arc<[String]>>>,
}

impl Shared {
    /// The names in a header record.
    fn header_of(&self, text: &str) -> Header {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let Some(Ok(record)) = reader.records().next() else { return Header::None };
        let mut last = self.header.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(names) = last.as_ref()
            && names.iter().map(String::as_str).eq(record.iter())
        {
            return Header::Names(names.clone());
        }
        let names: Arc<[String]> = record.iter().map(str::to_owned).collect();
        *last = Some(names.clone());
        Header::Names(names)
    }
}

/// The files of one configured source.
pub struct FileSource {
    shared: Shared,
    globs: Vec<Glob>,
    exclude: Vec<PathBuf>,
    start_at: StartAt,
    /// No position of this source was ever committed.
    first_start: bool,
    streams: BTreeMap<u64, Stream>,
    by_inode: HashMap<(u64, u64), u64>,
    next_serial: u64,
    handles: HashMap<u64, File>,
    open_files: usize,
    /// What packed files hold, in files without a name; the oldest are given up first.
    unpacked: VecDeque<(u64, File)>,
    /// Which stream held a content first, where files are delivered whole.
    contents: HashMap<Hash, u64>,
    /// Handles by last use, oldest first; entries of later used ones are stale and skipped.
    uses: VecDeque<(u64, u64)>,
    clock: u64,
    due: VecDeque<u64>,
    absent: VecDeque<u64>,
    /// Streams with something to report, though they may have nothing to read.
    noted: BTreeSet<u64>,
    folders: Vec<PathBuf>,
    /// Those of them on network file systems.
    remote: BTreeSet<PathBuf>,
    troubles: BTreeMap<PathBuf, String>,
    swept: Option<(Instant, Duration)>,
    /// Looks around are timed, so that dear ones come less often. Not with a clock moved by hand.
    measures: bool,
    notices: Vec<Notice>,
    /// Positions of streams that ended without a successor, to be forgotten with the next report.
    retired: Vec<Stream>,
}

impl FileSource {
    /// Checks the options. Nothing is read yet.
    pub fn new(options: Options) -> Result<FileSource, Error> {
        let globs = options.paths.iter().map(|path| Glob::parse(path)).collect::<Result<Vec<_>, _>>();
        let globs = globs.map_err(Error)?;
        if globs.is_empty() {
            return Err(Error("`paths` is empty: name at least one file or pattern".to_owned()));
        }
        if options.max_record == 0 {
            return Err(Error("`max_record` must be at least 1".to_owned()));
        }
        let fixed_size = match options.framing {
            Framing::Fixed(0) => {
                return Err(Error("fixed records must have at least 1 character".to_owned()));
            }
            // A character takes at most four bytes in UTF-8.
            Framing::Fixed(characters) => characters.saturating_mul(4),
            Framing::Line | Framing::Csv => 0,
        };
        if fixed_size > options.max_record.saturating_mul(4) {
            return Err(Error("fixed records are longer than `max_record`".to_owned()));
        }
        Ok(FileSource {
            shared: Shared {
                name: Arc::from(options.name),
                framing: options.framing,
                encoding: options.encoding,
                max_record: options.max_record,
                read_size: options.read_size.max(WINDOW),
                fixed_size,
                scratch: options.scratch,
                whole: options.whole,
                matching: options.matching_key,
                raw: options.raw_key,
                header: std::sync::Mutex::new(None),
            },
            globs,
            exclude: options.exclude,
            start_at: options.start_at,
            first_start: true,
            streams: BTreeMap::new(),
            by_inode: HashMap::new(),
            next_serial: 0,
            handles: HashMap::new(),
            open_files: options.open_files.max(1),
            unpacked: VecDeque::new(),
            contents: HashMap::new(),
            uses: VecDeque::new(),
            clock: 0,
            due: VecDeque::new(),
            absent: VecDeque::new(),
            noted: BTreeSet::new(),
            folders: Vec::new(),
            remote: BTreeSet::new(),
            troubles: BTreeMap::new(),
            swept: None,
            measures: false,
            notices: Vec::new(),
            retired: Vec::new(),
        })
    }

    /// Takes the positions of the trail, by stream id. Call it once, before the first poll; an empty map
    /// means that this is the first start ever.
    pub fn resume(&mut self, positions: &BTreeMap<String, Value>) {
        self.resume_at(positions, Instant::now());
    }

    /// [`FileSource::resume`] at a given moment.
    pub fn resume_at(&mut self, positions: &BTreeMap<String, Value>, now: Instant) {
        self.first_start = self.first_start && positions.is_empty();
        for (id, value) in positions {
            if id == STARTED {
                continue;
            }
            let Some(position) = Position::parse(value) else {
                self.notices.push(Notice {
                    stream: Some(id.clone()),
                    file: Arc::from(value.get("path").and_then(Value::as_str).unwrap_or_default()),
                    fact: Fact::GapPossible {
                        why: "its position in the trail is damaged, the file is read from its beginning",
                        from: 0,
                        to: None,
                    },
                });
                continue;
            };
            let gone = position.gone;
            let inode = (position.identity.dev, position.identity.ino);
            // Two positions of one inode: the process died between the end of one and the other's start.
            if let Some(other) = self.by_inode.get(&inode).copied() {
                let age = |identity: &identity::Identity, generation| (identity.born, generation);
                let known = self.streams.get(&other).map(|one| age(&one.identity, one.generation));
                if known > Some(age(&position.identity, position.generation)) {
                    self.remember_gone(id, position, now);
                    continue;
                }
                self.replaced(other);
            }
            let content = position.content;
            let serial = self.add(Stream::resumed(id.clone(), position, now));
            if let Some(content) = content {
                self.contents.entry(content).or_insert(serial);
            }
            if gone {
                self.absent.push_back(serial);
            }
        }
    }

    /// A file whose inode is another's now. It may go on in a packed one, and its content may come again.
    fn remember_gone(&mut self, id: &str, mut position: Position, now: Instant) {
        position.gone = true;
        let serial = self.next_serial;
        self.next_serial += 1;
        if let Some(content) = position.content {
            self.contents.entry(content).or_insert(serial);
        }
        self.streams.insert(serial, Stream::resumed(id.to_owned(), position, now));
        self.absent.push_back(serial);
    }

    /// Uses another key for the digests of raw bytes from now on.
    pub fn set_raw_key(&mut self, key: Key) {
        self.shared.raw = key;
        for (serial, stream) in &mut self.streams {
            let queued = stream.due;
            stream.restart_long();
            if stream.due && !queued {
                self.due.push_back(*serial);
            }
        }
    }

    /// Reads on, about as many bytes as the budget allows.
    pub fn poll(&mut self, mode: Mode, budget: u64) -> Polled {
        self.measures = true;
        self.poll_at(mode, budget, Instant::now())
    }

    /// [`FileSource::poll`] at a given moment.
    pub fn poll_at(&mut self, mode: Mode, budget: u64, now: Instant) -> Polled {
        let mut polled = Polled::default();
        if self.first_start && self.start_at == StartAt::End && self.swept.is_none() {
            polled.batches.push(self.started());
        }
        if self.sweep_is_due(mode, now) {
            self.sweep(mode, now);
        }
        let mut left = budget;
        while let Some(serial) = self.due.pop_front() {
            let read = self.turn(serial, mode, now, &mut polled.batches);
            left = left.saturating_sub(read.max(1));
            if left == 0 {
                break;
            }
        }
        self.report(&mut polled);
        polled.idle = self.due.is_empty();
        polled
    }

    /// Folders to be watched for hints, after the last sweep.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// How far behind the source is, as of the last sweep.
    pub fn lag(&self) -> Lag {
        let mut lag = Lag::default();
        for stream in self.streams.values().filter(|stream| !stream.gone) {
            let unread = stream.unread();
            if unread > 0 {
                lag.bytes += unread;
                lag.files += 1;
                lag.oldest_unread = match (lag.oldest_unread, stream.modified) {
                    (Some(one), Some(two)) => Some(one.min(two)),
                    (one, two) => one.or(two),
                };
            }
        }
        lag
    }

    /// Incomplete records at the ends of files: what [`Mode::Once`] left.
    pub fn rest(&self) -> Vec<Rest> {
        let streams = self.streams.values().filter(|stream| !stream.gone && stream.unread() > 0);
        streams
            .map(|stream| Rest { file: stream.file.clone(), offset: stream.offset, bytes: stream.unread() })
            .collect()
    }

    fn add(&mut self, stream: Stream) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.by_inode.insert((stream.identity.dev, stream.identity.ino), serial);
        self.streams.insert(serial, stream);
        serial
    }

    /// Says in the trail that the first start is over, so that a later one does not skip again.
    fn started(&self) -> Batch {
        Batch {
            source: self.shared.name.clone(),
            stream: STARTED.to_owned(),
            file: Arc::from(""),
            header: None,
            text: String::new(),
            records: Vec::new(),
            blank: 0,
            raw_key: self.shared.raw.clone(),
            after: Value::Bool(true),
            bytes_read: 0,
            retired: Vec::new(),
            notices: Vec::new(),
            receipt: None,
        }
    }

    /// One turn of one stream; returns the bytes read.
    fn turn(&mut self, serial: u64, mode: Mode, now: Instant, batches: &mut Vec<Batch>) -> u64 {
        if let Err(error) = self.open(serial) {
            self.trouble(serial, &error);
            return 0;
        }
        if let Err(error) = self.compare_content(serial) {
            self.trouble(serial, &error);
            return 0;
        }
        let Some(stream) = self.streams.get_mut(&serial) else { return 0 };
        let unpacked = self.unpacked.iter().find(|(other, _)| *other == serial).map(|(_, file)| file);
        let Some(file) = self.handles.get(&serial).or(unpacked) else {
            stream.due = false;
            return 0;
        };
        match stream.turn(&self.shared, file, mode) {
            Ok(Turned::Went { read, more, batch }) => {
                stream.unfinished = false;
                if std::mem::take(&mut stream.trouble) {
                    stream.note(Fact::Readable);
                }
                if std::mem::take(&mut stream.gone) {
                    stream.note(Fact::Returned);
                    self.absent.retain(|absent| *absent != serial);
                }
                stream.finish &= more;
                self.noted.insert(serial);
                let read = read.max(batch.as_ref().map_or(0, |batch| batch.bytes_read));
                if let Some(batch) = batch {
                    stream.quiet_since = now;
                    batches.push(*batch);
                }
                stream.due = more;
                if more {
                    self.due.push_back(serial);
                }
                read
            }
            Ok(Turned::Changed) => {
                // A copy that was made before the truncation may be newer than the last sweep.
                self.sweep(mode, now);
                self.changed(serial, now, batches);
                0
            }
            Err(error) => {
                self.handles.remove(&serial);
                self.trouble(serial, &error);
                0
            }
        }
    }

    /// Makes sure that the stream's file is open.
    fn open(&mut self, serial: u64) -> io::Result<()> {
        self.clock += 1;
        self.forget_stale_uses();
        let Some(stream) = self.streams.get_mut(&serial) else { return Ok(()) };
        stream.used = self.clock;
        self.uses.push_back((serial, self.clock));
        if self.handles.contains_key(&serial) || self.unpacked.iter().any(|(other, _)| *other == serial) {
            return Ok(());
        }
        let path = stream.path.clone();
        let wanted = (stream.identity.dev, stream.identity.ino);
        while self.handles.len() >= self.open_files && self.close_one() {}
        let scratch = self.shared.scratch.clone();
        let opened = match content::open(&path, scratch.as_deref()) {
            // Others may have used up what the process is allowed.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                self.close_one();
                content::open(&path, scratch.as_deref())?
            }
            opened => opened?,
        };
        // Renamed since the sweep: the next one finds it.
        let identity = identity::Identity::of(&opened.meta);
        if (identity.dev, identity.ino) == wanted {
            self.keep_open(serial, opened);
        }
        Ok(())
    }

    fn keep_open(&mut self, serial: u64, opened: content::Content) {
        if let Some(stream) = self.streams.get_mut(&serial) {
            stream.packed = opened.packed;
        }
        if !opened.packed {
            self.handles.insert(serial, opened.file);
            return;
        }
        self.unpacked.push_back((serial, opened.file));
        if self.unpacked.len() > UNPACKED_OPEN {
            self.unpacked.pop_front();
        }
    }

    fn unpacked(&self, serial: u64) -> Option<&File> {
        self.unpacked.iter().find(|(other, _)| *other == serial).map(|(_, file)| file)
    }

    /// Where files are delivered whole: a content that another file held is taken as read.
    fn compare_content(&mut self, serial: u64) -> io::Result<()> {
        let Some(stream) = self.streams.get(&serial) else { return Ok(()) };
        let Some(file) = self.handles.get(&serial).or_else(|| self.unpacked(serial)) else { return Ok(()) };
        if !self.shared.whole || stream.content.is_some() {
            return Ok(());
        }
        let (digest, length) = content::digest(&self.shared.matching, file)?;
        let first = self.contents.get(&digest).copied().filter(|first| *first != serial);
        let of = first.and_then(|first| self.streams.get(&first)).map(|first| first.file.to_string());
        let file = file.try_clone()?;
        let Some(stream) = self.streams.get_mut(&serial) else { return Ok(()) };
        if let Some(of) = of {
            stream.pass_over_all(&self.shared, &file, length)?;
            stream.note(Fact::Duplicate { of });
            self.noted.insert(serial);
        } else {
            self.contents.insert(digest, serial);
        }
        stream.content = Some(digest);
        Ok(())
    }

    /// Closes the handle that was not used for the longest time. A file without a name is kept open: it
    /// could not be found again.
    fn close_one(&mut self) -> bool {
        let mut tries = self.uses.len();
        while let Some((serial, used)) = self.uses.pop_front() {
            if self.is_current(serial, used) {
                if self.handles.get(&serial).is_some_and(has_name) {
                    self.handles.remove(&serial);
                    return true;
                }
                self.uses.push_back((serial, used));
            }
            tries = tries.saturating_sub(1);
            if tries == 0 {
                break;
            }
        }
        false
    }

    fn is_current(&self, serial: u64, used: u64) -> bool {
        self.handles.contains_key(&serial) && self.streams.get(&serial).is_some_and(|one| one.used == used)
    }

    fn forget_stale_uses(&mut self) {
        if self.uses.len() > 4 * OPEN_FILES {
            let mut uses = std::mem::take(&mut self.uses);
            uses.retain(|(serial, used)| self.is_current(*serial, *used));
            self.uses = uses;
        }
    }

    /// Says once that a file cannot be read; every sweep tries again.
    fn trouble(&mut self, serial: u64, error: &io::Error) {
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        stream.due = false;
        // A packed file that ends in the middle is still being written: the sweep comes back when it has changed,
        // and when it was quiet for long.
        if error.kind() == io::ErrorKind::UnexpectedEof && !std::mem::replace(&mut stream.unfinished, true) {
            return;
        }
        stream.look = stream.look.filter(|_| error.kind() == io::ErrorKind::UnexpectedEof);
        // A file that is not there is the next sweep's business.
        if error.kind() != io::ErrorKind::NotFound && !std::mem::replace(&mut stream.trouble, true) {
            stream.note(Fact::Unreadable { why: error.to_string() });
            self.noted.insert(serial);
        }
    }

    /// Hands out what is to be recorded and found no batch to travel with.
    fn report(&mut self, polled: &mut Polled) {
        for serial in std::mem::take(&mut self.noted) {
            if let Some(stream) = self.streams.get_mut(&serial)
                && (!stream.notices.is_empty() || !stream.retires.is_empty())
            {
                polled.batches.push(stream.report(&self.shared));
            }
        }
        for mut stream in std::mem::take(&mut self.retired) {
            polled.batches.push(stream.report(&self.shared));
        }
        polled.notices.append(&mut self.notices);
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        self.exclude.iter().any(|folder| {
            folder.canonicalize().map_or_else(|_| real.starts_with(folder), |folder| real.starts_with(folder))
        })
    }
}

/// Whether a file has a name left in its file system.
fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() > 0)
}
