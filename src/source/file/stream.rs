//! One stream: a file in one generation, read record by record.
//!
//! A turn reads from the first incomplete record on, cuts what is whole and hands it out. It keeps no
//! bytes between turns: an incomplete record is read again when there is more of it. Only a record
//! longer than one read is followed piece by piece ([`Long`]), so memory stays flat whatever its length,
//! and it is read again as a whole once its end is found and it is not too long.
//!
//! Every turn reads first and checks afterwards that the bytes before the offset are still the ones that
//! were read. A truncation destroys them, so bytes of one generation are never taken for another's, even
//! if the file has grown past the offset again.

use super::hole::zeros;
use super::identity::{Identity, Look, Mark, WINDOW, read_at, read_window};
use super::long::{KEPT, Long, carriage_return, whole_units};
use super::position::{Position, stream_id};
use super::{Mode, Shared};
use crate::model::Hash;
use crate::model::event::DefectCode;
use crate::model::record::{Encoding, Framing};
use crate::source::frame::{self, Cut, Scan, unit};
use crate::source::text::{Start, decode, decode_one, start_of};
use crate::source::{Batch, Fact, Notice, RAW_DOMAIN, RawRecord};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What is known about a CSV file's header.
#[derive(Clone, Debug, Default)]
pub(super) enum Header {
    #[default]
    Unknown,
    None,
    Names(Arc<[String]>),
}

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Turned {
    /// So many bytes were read; `more`: another turn may find something.
    Went { read: u64, more: bool, batch: Option<Box<Batch>> },
    /// What had been read is no longer there: truncated, or another file.
    Changed,
}

/// A file in one generation.
pub(super) struct Stream {
    pub id: String,
    pub identity: Identity,
    pub generation: u64,
    pub path: PathBuf,
    pub path_mac: Hash,
    pub file: Arc<str>,
    pub offset: u64,
    pub end: u64,
    pub modified: Option<SystemTime>,
    pub head: Mark,
    pub before: Mark,
    pub rotated: bool,
    pub gone: bool,
    /// Whether a glob matched it in the last sweep.
    pub listed: bool,
    /// Whether content was compared since start, and since it was last out of sight.
    pub verified: bool,
    /// Sweeps in a row that did not find it.
    pub missing: u8,
    pub look: Option<Look>,
    pub due: bool,
    /// Take what is left although its terminator is missing: its writer is done.
    pub finish: bool,
    pub quiet_since: Instant,
    /// When this process met it.
    pub met: Instant,
    /// Not read for now: it may be a copy that is just being made.
    pub held: bool,
    pub used: u64,
    pub trouble: bool,
    pub compressed: bool,
    /// The file is unpacked: offsets are of its content.
    pub packed: bool,
    /// It was packed and ended in the middle when it was last opened.
    pub unfinished: bool,
    /// Keyed digest of everything, where files are delivered whole.
    pub content: Option<Hash>,
    pub notices: Vec<Notice>,
    pub retires: Vec<String>,
    /// In [`Mode::Once`], the size when the sweep looked.
    pub until: u64,
    pub encoding: Encoding,
    /// Length of the byte order mark; `None` before the first bytes were seen.
    pub start: Option<u64>,
    pub header: Header,
    pub long: Option<Box<Long>>,
}

impl Stream {
    /// A stream at its beginning.
    pub fn new(identity: Identity, generation: u64, path: PathBuf, path_mac: Hash, now: Instant) -> Stream {
        Stream {
            id: stream_id(&identity, generation),
            identity,
            generation,
            file: Arc::from(path.to_string_lossy()),
            path,
            path_mac,
            offset: 0,
            end: 0,
            modified: None,
            head: Mark::default(),
            before: Mark::default(),
            rotated: false,
            gone: false,
            listed: false,
            verified: true,
            missing: 0,
            look: None,
            due: false,
            finish: false,
            quiet_since: now,
            met: now,
            held: false,
            used: 0,
            trouble: false,
            compressed: false,
            packed: false,
            unfinished: false,
            content: None,
            notices: Vec::new(),
            retires: Vec::new(),
            until: 0,
            encoding: Encoding::Utf8,
            start: None,
            header: Header::Unknown,
            long: None,
        }
    }

    /// A stream from its position in the trail. Nothing of it is believed before its content was compared.
    pub fn resumed(id: String, position: Position, now: Instant) -> Stream {
        let path = PathBuf::from(&position.path);
        let mut stream = Stream::new(position.identity, position.generation, path, position.path_mac, now);
        stream.id = id;
        stream.offset = position.offset;
        stream.end = position.end;
        stream.head = position.head;
        stream.before = position.before;
        stream.rotated = position.rotated;
        stream.held = position.held;
        stream.gone = position.gone;
        (stream.packed, stream.content) = (position.packed, position.content);
        stream.verified = false;
        stream
    }

    /// The position to be written with what was handed out so far.
    pub fn position(&self) -> Position {
        Position {
            identity: self.identity,
            generation: self.generation,
            path: self.file.as_ref().to_owned(),
            path_mac: self.path_mac,
            offset: self.offset,
            end: self.end.max(self.offset),
            head: self.head,
            before: self.before,
            rotated: self.rotated,
            held: self.held,
            gone: self.gone,
            packed: self.packed,
            content: self.content,
        }
    }

    /// Known bytes not handed out.
    pub fn unread(&self) -> u64 {
        if self.compressed { 0 } else { self.end.saturating_sub(self.offset) }
    }

    /// Adds a notice to the next batch.
    pub fn note(&mut self, fact: Fact) {
        self.notices.push(Notice { stream: Some(self.id.clone()), file: self.file.clone(), fact });
    }

    /// A batch without records: the position and what is to be recorded with it.
    pub fn report(&mut self, shared: &Shared) -> Batch {
        let header = match &self.header {
            Header::Names(names) => Some(names.clone()),
            Header::Unknown | Header::None => None,
        };
        Batch {
            source: shared.name.clone(),
            stream: self.id.clone(),
            file: self.file.clone(),
            header,
            text: String::new(),
            records: Vec::new(),
            blank: 0,
            raw_key: shared.raw.clone(),
            after: self.position().to_value(),
            bytes_read: 0,
            retired: std::mem::take(&mut self.retires),
            notices: std::mem::take(&mut self.notices),
            receipt: None,
        }
    }

    /// Starts over with the same inode: its content was replaced.
    pub fn next_generation(&mut self) {
        let generation = self.generation + 1;
        let id = std::mem::replace(&mut self.id, stream_id(&self.identity, generation));
        self.retires.push(id);
        self.generation = generation;
        (self.offset, self.end) = (0, 0);
        (self.head, self.before) = (Mark::default(), Mark::default());
        (self.start, self.header, self.long) = (None, Header::Unknown, None);
        (self.look, self.verified, self.compressed, self.finish) = (None, true, false, false);
        self.content = None;
    }

    /// Follows a long record from its start again, for another key.
    pub fn restart_long(&mut self) {
        self.due |= self.long.take().is_some();
    }

    /// A stream at the same place, to be continued in another file.
    pub fn clone_position(&self, now: Instant) -> Stream {
        let mut clone = Stream::resumed(self.id.clone(), self.position(), now);
        clone.file = self.file.clone();
        clone
    }

    /// Nothing of it was handed out so far.
    pub fn is_untouched(&self) -> bool {
        self.offset == 0 && !self.gone
    }

    /// Passes over everything that is there, up to the first incomplete record.
    pub fn skip_to_end(&mut self, shared: &Shared, file: &File) -> io::Result<()> {
        if !self.ready(shared, file, false)? {
            return Ok(());
        }
        loop {
            let buffer = read_at(file, self.offset, shared.read_size.max(shared.fixed_size))?;
            let Some(window) = self.intact(shared, file)? else { return Ok(()) };
            let cut = frame::cut(shared.framing, self.encoding, &buffer, self.offset);
            let Some(passed) = buffer.get(..cut.consumed).filter(|passed| !passed.is_empty()) else {
                return self.grow_head(shared, file, self.end).map(|_| ());
            };
            self.advance(shared, &window, passed, passed.len() as u64);
        }
    }

    /// Takes everything that is there as read: another file held it.
    pub fn pass_over_all(&mut self, shared: &Shared, file: &File, length: u64) -> io::Result<()> {
        let from = length.saturating_sub(WINDOW as u64);
        let tail = read_at(file, from, WINDOW)?;
        self.before = Mark::before(&shared.matching, &[], &tail);
        (self.offset, self.end, self.long) = (length, length, None);
        self.head = Mark::default();
        self.grow_head(shared, file, length).map(|_| ())
    }

    /// Continues another stream's reading in this file, which holds the same bytes.
    pub fn take_over(&mut self, other: &mut Stream) {
        let id = std::mem::replace(&mut self.id, other.id.clone());
        (self.generation, self.offset) = (other.generation, other.offset);
        (self.head, self.before) = (other.head, other.before);
        (self.start, self.header, self.long) = (None, Header::Unknown, None);
        (self.verified, self.rotated, self.held) = (false, true, false);
        self.notices.retain(|notice| !matches!(notice.fact, Fact::NewFile { .. }));
        self.retires.push(id);
    }

    /// One turn. `file` is this stream's open file.
    pub fn turn(&mut self, shared: &Shared, file: &File, mode: Mode) -> io::Result<Turned> {
        let meta = file.metadata()?;
        let look = Look::of(&meta);
        // How a packed file looks on the disk is the sweep's to know.
        match self.packed {
            true => self.until = look.size,
            false => self.look = Some(look),
        }
        // Not before the content is compared may the known end become a smaller one.
        self.end = self.end.max(look.size);
        if !self.packed {
            self.modified = meta.modified().ok();
        }
        // Nothing is ever added to what was unpacked, or was delivered whole.
        let last = mode == Mode::Final || self.finish || self.packed || shared.whole;
        if self.offset > 0 && !self.verified && self.intact(shared, file)?.is_none() {
            return Ok(Turned::Changed);
        }
        if !self.ready(shared, file, last)? {
            return Ok(Turned::Went { read: 0, more: false, batch: None });
        }
        let from = self.offset + self.long.as_ref().map_or(0, |long| long.scanned);
        let mut wanted = shared.read_size.max(shared.fixed_size);
        if mode == Mode::Once {
            wanted = wanted.min(usize::try_from(self.until.saturating_sub(from)).unwrap_or(wanted));
        }
        // The size is a hint: a little more than it promises is asked for, never a buffer for nothing.
        let promised = usize::try_from(look.size.saturating_sub(from)).unwrap_or(wanted);
        wanted = wanted.min(promised.saturating_add(WINDOW));
        let buffer = read_at(file, from, wanted)?;
        let read = buffer.len() as u64;
        let Some(window) = self.intact(shared, file)? else { return Ok(Turned::Changed) };
        if !self.grow_head(shared, file, look.size)? {
            return Ok(Turned::Changed);
        }
        self.end = look.size.max(self.offset);
        // At the end of the file less comes than was asked for.
        let full = wanted > 0 && buffer.len() == wanted && !(mode == Mode::Once && from + read >= self.until);
        let piece = Piece { buffer, window, full, last };
        let (more, batch) = if self.long.is_some() {
            self.continue_long(shared, file, piece)?
        } else {
            self.cut(shared, file, piece)?
        };
        Ok(Turned::Went { read, more, batch: batch.map(Box::new) })
    }

    /// Learns encoding and header; false when the first bytes are not there yet or say not to read on.
    fn ready(&mut self, shared: &Shared, file: &File, last: bool) -> io::Result<bool> {
        if self.start.is_none() {
            match start_of(shared.encoding, &read_at(file, 0, 16)?, last) {
                Start::Unknown => return Ok(false),
                Start::Compressed(kind) => {
                    if !self.compressed {
                        self.compressed = true;
                        self.note(Fact::Compressed { kind });
                    }
                    return Ok(false);
                }
                Start::Text(encoding, start) => {
                    self.encoding = encoding;
                    self.start = Some(start);
                    self.compressed = false;
                    if self.offset < start {
                        let mark = read_window(file, 0, usize::try_from(start).unwrap_or(0))?;
                        self.before = Mark::before(&shared.matching, &[], &mark.unwrap_or_default());
                        self.offset = start;
                    }
                }
            }
        }
        let start = self.start.unwrap_or(0);
        if shared.framing == Framing::Csv && self.offset > start && matches!(self.header, Header::Unknown) {
            self.header = self.read_header(shared, file, start)?;
        }
        Ok(true)
    }

    /// Reads the header again, in a file that is resumed behind it.
    fn read_header(&self, shared: &Shared, file: &File, start: u64) -> io::Result<Header> {
        let mut wanted = WINDOW;
        let start = zeros(file, start, shared.read_size, self.offset).unwrap_or(start);
        loop {
            let bytes = read_at(file, start, wanted)?;
            let cut = frame::cut(Framing::Csv, self.encoding, &bytes, start);
            if let Some(first) = cut.records.first() {
                // Empty lines may be all that was read so far; then the header is still to come.
                if first.offset >= self.offset {
                    return Ok(Header::Unknown);
                }
                let raw = bytes.get(first.start..first.end).unwrap_or_default();
                return Ok(shared.header_of(&decode_one(self.encoding, raw).0));
            }
            if bytes.len() < wanted {
                return Ok(if cut.consumed > 0 { Header::Unknown } else { Header::None });
            }
            if wanted > shared.max_record {
                return Ok(Header::None);
            }
            wanted = wanted.saturating_mul(8);
        }
    }

    /// The bytes before the offset, if they are still the ones that were read.
    fn intact(&mut self, shared: &Shared, file: &File) -> io::Result<Option<Vec<u8>>> {
        let from = self.offset - self.before.len as u64;
        let Some(window) = read_window(file, from, self.before.len)? else { return Ok(None) };
        if self.before.len > 0 && Mark::before(&shared.matching, &[], &window) != self.before {
            return Ok(None);
        }
        // Near the beginning the window is short, and the head says more.
        if !self.verified || self.offset < WINDOW as u64 {
            let head = read_at(file, 0, self.head.len)?;
            if self.head.len > 0 && !self.head.is_head_of(&shared.matching, &head) {
                return Ok(None);
            }
        }
        self.verified = true;
        Ok(Some(window))
    }

    /// Lets the head's digest grow with a small file; false when the head is not what it was.
    fn grow_head(&mut self, shared: &Shared, file: &File, size: u64) -> io::Result<bool> {
        if self.head.len >= WINDOW || size <= self.head.len as u64 {
            return Ok(true);
        }
        let mut head = read_at(file, 0, WINDOW)?;
        // NUL bytes at the end may be room made in advance, which the writer will fill.
        head.truncate(head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        if self.head.len > 0 && !self.head.is_head_of(&shared.matching, &head) {
            return Ok(false);
        }
        self.head = Mark::head(&shared.matching, &head);
        Ok(true)
    }

    fn cut(&mut self, shared: &Shared, file: &File, piece: Piece) -> io::Result<(bool, Option<Batch>)> {
        let mut piece = piece;
        if let Some(batch) = self.skip_hole(shared, file, &mut piece) {
            return Ok((true, batch));
        }
        let Piece { mut buffer, window, full, last } = piece;
        let cut = frame::cut(shared.framing, self.encoding, &buffer, self.offset);
        if cut.consumed > 0 {
            let rest = buffer.len() - cut.consumed;
            buffer.truncate(cut.consumed);
            let batch = self.emit(shared, &window, buffer, cut);
            return Ok((full || (last && rest > 0), Some(batch)));
        }
        if full {
            self.long = Some(Box::new(Long::new(shared)));
            return self.continue_long(shared, file, Piece { buffer, window, full, last });
        }
        if !last || buffer.is_empty() {
            return Ok((false, None));
        }
        Ok((true, Some(self.emit_fragment(shared, &window, buffer))))
    }

    pub fn advance(&mut self, shared: &Shared, window: &[u8], bytes: &[u8], length: u64) {
        self.before = Mark::before(&shared.matching, window, bytes);
        self.offset += length;
        self.end = self.end.max(self.offset);
    }

    /// Hands out whole records; `raw` ends where the last of them does.
    pub fn emit(&mut self, shared: &Shared, window: &[u8], raw: Vec<u8>, cut: Cut) -> Batch {
        let length = raw.len() as u64;
        self.advance(shared, window, &raw, length);
        let Cut { mut records, blank, .. } = cut;
        if shared.max_record < raw.len() {
            self.limit(shared, &raw, &mut records);
        }
        let text = decode(self.encoding, raw, &mut records, &shared.raw);
        if shared.framing == Framing::Csv && matches!(self.header, Header::Unknown) {
            self.take_header(shared, &text, &mut records);
        }
        let mut batch = self.report(shared);
        (batch.text, batch.records, batch.blank, batch.bytes_read) = (text, records, blank, length);
        batch
    }

    /// Keeps only the beginning of records that one read held although they are too long.
    fn limit(&self, shared: &Shared, raw: &[u8], records: &mut [RawRecord]) {
        for record in records.iter_mut().filter(|record| record.end - record.start > shared.max_record) {
            let bytes = raw.get(record.start..record.end).unwrap_or_default();
            let kept = bytes.get(..KEPT.min(bytes.len())).unwrap_or_default();
            record.add_defect(DefectCode::RecordTooLong);
            if let Some(odd) = &mut record.odd {
                odd.raw_mac = Some(shared.raw.mac(RAW_DOMAIN, &[bytes]));
            }
            record.end = record.start + whole_units(self.encoding, kept);
        }
    }

    /// The first record of a CSV file is its header. One too long to be kept stays a record.
    fn take_header(&mut self, shared: &Shared, text: &str, records: &mut Vec<RawRecord>) {
        let Some(first) = records.first() else { return };
        if first.defects().contains(&DefectCode::RecordTooLong) {
            self.header = Header::None;
            return;
        }
        self.header = shared.header_of(text.get(first.start..first.end).unwrap_or_default());
        if matches!(self.header, Header::Names(_)) {
            records.remove(0);
        }
    }

    /// Hands out a record whose terminator is missing. Where a CSV quote never closes, it ends at its
    /// first line, so that the lines after it are records again.
    pub fn emit_fragment(&mut self, shared: &Shared, window: &[u8], mut raw: Vec<u8>) -> Batch {
        if shared.framing == Framing::Csv {
            let mut scan = Scan::new(Framing::Csv);
            scan.end(&frame::narrow(self.encoding, &raw));
            let unit = unit(self.encoding);
            let newline = scan.first_newline().and_then(|at| usize::try_from(at).ok());
            if let Some(end) = newline.map(|at| (at + 1) * unit).filter(|end| *end <= raw.len()) {
                raw.truncate(end);
                // Within its one line nothing but the quote keeps it from being whole.
                return self.emit_unterminated(shared, window, raw, unit);
            }
        }
        self.emit_unterminated(shared, window, raw, 0)
    }

    pub fn emit_unterminated(
        &mut self,
        shared: &Shared,
        window: &[u8],
        raw: Vec<u8>,
        terminator: usize,
    ) -> Batch {
        let mut end = raw.len() - terminator.min(raw.len());
        let line = raw.get(..end).unwrap_or_default();
        if terminator > 0 && line.ends_with(carriage_return(self.encoding)) {
            end -= terminator;
        }
        let mut record = RawRecord { start: 0, end, offset: self.offset, odd: None };
        record.add_defect(DefectCode::Unterminated);
        self.emit(shared, window, raw, Cut { records: vec![record], ..Cut::default() })
    }
}

/// What one read brought, and what is known about it.
pub(super) struct Piece {
    pub buffer: Vec<u8>,
    /// The checked bytes before the offset.
    pub window: Vec<u8>,
    /// There may be more behind it.
    pub full: bool,
    /// Nothing will follow it.
    pub last: bool,
}
