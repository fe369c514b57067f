//! Looking over the file system: which files are there, and which streams they are.
//!
//! | a file that matches | is |
//! |---|---|
//! | has a known device, inode and birth | that stream, whatever its name; its content is compared before a byte is handed out |
//! | has a known inode and birth on another device | that stream: device numbers change at reboots |
//! | has a known inode and another birth | a new stream; the old one was replaced |
//! | nothing known | a new stream |
//!
//! A stream that no pattern matches any more is looked for by inode in the folders of the patterns, and
//! followed there. Where its content is not what was read, it was truncated: if a new file holds what
//! was read, the truncated one was copied first (logrotate's `copytruncate`), and reading continues in
//! the copy; the truncated file is a new stream either way. A rotation on a network file system looks the same where
//! inode numbers follow names, only later and in any order, so there what may be a copy waits longer.

use super::copies::stem;
use super::glob::Found;
use super::identity::{Identity, Look, is_remote, open_regular, path_mac};
use super::position::stream_id;
use super::stream::Stream;
use super::{
    ABSENT, ABSENT_WHOLE, FileSource, Mode, QUIET, SETTLE, SWEEP_WHILE_BUSY, StartAt, content, has_name,
};
use crate::source::{Fact, Notice};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A file that looks like the beginning of a known one may be a copy in the making: it is left alone
/// until it was quiet for so long.
const COPY_QUIET: Duration = Duration::from_secs(2);
/// The same on a network file system: it may be the known file under its new name, whose old name still shows what was
/// there. Attributes are believed for so long there: NFS keeps them up to 60 s, sshfs 20 s.
const COPY_QUIET_REMOTE: Duration = Duration::from_secs(75);

/// A sweep that takes longer than this is not repeated at every hint.
const CHEAP_SWEEP: Duration = Duration::from_millis(5);

/// One inode and the paths under which patterns found it.
struct Matched {
    paths: Vec<PathBuf>,
    meta: Metadata,
}

type Inode = (u64, u64);

impl Known {
    fn add(&mut self, serial: u64, path: &Path) {
        if let Some(folder) = path.parent() {
            self.names.entry((folder.to_owned(), stem(path))).or_default().push(serial);
        }
    }
}

/// A stream that is to be read, in the order of turns.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    was_held: bool,
    modified: Option<SystemTime>,
    serial: u64,
}

/// What new files are compared with, gathered once a sweep.
#[derive(Default)]
pub(super) struct Known {
    ids: HashSet<String>,
    /// Streams by folder and stem of their names.
    pub names: HashMap<(PathBuf, String), Vec<u64>>,
}

impl FileSource {
    pub(super) fn sweep_is_due(&self, mode: Mode, now: Instant) -> bool {
        let Some((at, cost)) = self.swept else { return true };
        let age = now.saturating_duration_since(at);
        match (self.due.is_empty(), mode) {
            (true, Mode::Follow) => cost <= CHEAP_SWEEP || age >= cost * 4,
            (true, _) => true,
            (false, Mode::Follow) => age >= SWEEP_WHILE_BUSY.max(cost * 4),
            (false, _) => false,
        }
    }

    pub(super) fn sweep(&mut self, mode: Mode, now: Instant) {
        let began = Instant::now();
        let mut found = Found::default();
        for glob in &self.globs {
            glob.walk(&mut found);
        }
        let complete = found.troubles.is_empty();
        let mut troubles: BTreeMap<PathBuf, String> = BTreeMap::new();
        troubles.extend(found.troubles.iter().map(|(path, error)| (path.clone(), error.to_string())));
        let files = matched(&found, &mut troubles);
        self.folders = found.folders.into_iter().collect();
        self.remote = self.folders.iter().filter(|folder| is_remote(folder)).cloned().collect();
        for stream in self.streams.values_mut() {
            stream.listed = false;
        }
        let mut order = Vec::new();
        let mut fresh = Vec::new();
        for (inode, file) in files {
            match self.known(inode, &file) {
                Some(serial) => {
                    let path = self.preferred_path(serial, &file.paths);
                    self.see(serial, Some(&path), &file.meta, true, mode, now, &mut order);
                }
                None => fresh.push(file),
            }
        }
        self.sweep_unlisted(complete, mode, now, &mut order);
        self.enqueue(order);
        let mut order = Vec::new();
        let mut known = Known::default();
        if !fresh.is_empty() {
            known = self.known_names();
            // The shorter name is the original, the longer one its copy.
            fresh.sort_by_key(|file| file.paths.first().map(|path| path.as_os_str().len()));
        }
        for file in fresh {
            self.begin(&file, mode, now, &mut known, &mut order, &mut troubles);
        }
        self.enqueue(order);
        self.note_troubles(troubles);
        self.first_start = false;
        // Who passes a time of his own has no use for what this machine took.
        let cost = if self.measures { began.elapsed() } else { Duration::ZERO };
        self.swept = Some((now, cost));
    }

    /// Puts streams into the queue, the least recently written first, so that a rotated file comes
    /// before its successor. What may be a copy comes after all of them: its original may have been truncated since
    /// the last look, and that is found when it has its turn.
    fn enqueue(&mut self, mut order: Vec<Turn>) {
        order.sort();
        for Turn { serial, .. } in order {
            if let Some(stream) = self.streams.get_mut(&serial)
                && !std::mem::replace(&mut stream.due, true)
            {
                self.due.push_back(serial);
            }
        }
    }

    /// The stream that a file belongs to.
    fn known(&mut self, inode: Inode, file: &Matched) -> Option<u64> {
        let identity = Identity::of(&file.meta);
        if let Some(serial) = self.by_inode.get(&inode).copied() {
            if self.streams.get(&serial).is_some_and(|stream| !stream.identity.born_differs(&identity)) {
                return Some(serial);
            }
            self.replaced(serial);
            return None;
        }
        identity.born?;
        // Only streams from the trail can have another device number than their files.
        let moved = self.streams.iter().find(|(_, stream)| {
            !stream.verified
                && !stream.listed
                && stream.identity.ino == identity.ino
                && stream.identity.born == identity.born
        });
        let serial = moved.map(|(serial, _)| *serial)?;
        self.identify(serial, identity);
        Some(serial)
    }

    fn identify(&mut self, serial: u64, identity: Identity) {
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        let former = (stream.identity.dev, stream.identity.ino);
        if self.by_inode.get(&former) == Some(&serial) {
            self.by_inode.remove(&former);
        }
        stream.identity = identity;
        self.by_inode.insert((identity.dev, identity.ino), serial);
    }

    /// Of several paths to one file, the one that it already has.
    fn preferred_path(&self, serial: u64, paths: &[PathBuf]) -> PathBuf {
        let known = self.streams.get(&serial).map(|stream| stream.path_mac);
        let same = paths.iter().find(|path| Some(path_mac(&self.shared.matching, path)) == known);
        same.or(paths.first()).cloned().unwrap_or_default()
    }

    /// A stream's file was found: under `path`, or only by its open handle.
    #[allow(clippy::too_many_arguments)] // One call's worth of facts about one file.
    fn see(
        &mut self,
        serial: u64,
        path: Option<&Path>,
        meta: &Metadata,
        listed: bool,
        mode: Mode,
        now: Instant,
        order: &mut Vec<Turn>,
    ) {
        let mac = path.map(|path| path_mac(&self.shared.matching, path));
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        stream.listed |= listed;
        stream.missing = 0;
        if let (Some(path), Some(mac)) = (path, mac) {
            let shown: Arc<str> = Arc::from(path.to_string_lossy());
            if mac != stream.path_mac {
                stream.note(Fact::Rotated { from: stream.file.to_string(), to: shown.to_string() });
                (stream.path_mac, stream.rotated) = (mac, true);
                self.noted.insert(serial);
            }
            (stream.path, stream.file) = (path.to_owned(), shown);
        }
        let remote = listed && stream.path.parent().is_some_and(|folder| self.remote.contains(folder));
        if remote {
            // An open file there may be another one than its name leads to by now, under the same inode number, and
            // opening is also what makes NFS ask the server anew.
            self.handles.remove(&serial);
        }
        let look = Look::of(meta);
        if stream.look.is_some_and(|before| before != look) {
            stream.quiet_since = now;
            self.unpacked.retain(|(other, _)| *other != serial);
            (stream.content, stream.unfinished) = (None, false);
            stream.held |= self.shared.whole;
        }
        if !stream.packed {
            stream.end = stream.end.max(look.size);
            stream.until = look.size;
        }
        stream.modified = meta.modified().ok();
        let quiet = now.saturating_duration_since(stream.quiet_since);
        if stream.unfinished && !stream.trouble && quiet >= QUIET {
            order.push(Turn { was_held: false, modified: stream.modified, serial });
        }
        if stream.held {
            let wait = match self.shared.whole {
                true => SETTLE,
                false if remote => COPY_QUIET_REMOTE,
                false => COPY_QUIET,
            };
            stream.look = Some(look);
            // Elsewhere a copy ends when it is quiet; there, what is written to all the time must not wait for ever.
            let met = now.saturating_duration_since(stream.met);
            let long = remote && !self.shared.whole && met >= 2 * COPY_QUIET_REMOTE;
            if mode == Mode::Follow && quiet < wait && !long {
                return;
            }
            if stream.packed && !self.shared.whole && !self.is_free(serial) {
                return;
            }
            let Some(stream) = self.streams.get_mut(&serial) else { return };
            stream.held = false;
            order.push(Turn { was_held: true, modified: stream.modified, serial });
        } else if stream.look != Some(look) || mode != Mode::Follow {
            order.push(Turn { was_held: false, modified: stream.modified, serial });
        }
    }

    /// Streams that no pattern matched: rotated out of sight, deleted, or gone.
    fn sweep_unlisted(&mut self, complete: bool, mode: Mode, now: Instant, order: &mut Vec<Turn>) {
        let unlisted: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, one)| !one.listed && !one.gone)
            .map(|(serial, _)| *serial)
            .collect();
        let mut places = if unlisted.is_empty() { HashMap::new() } else { self.places(&unlisted) };
        for serial in unlisted {
            let handle = self.handles.get(&serial).and_then(|file| file.metadata().ok());
            if let Some((path, meta)) = places.remove(&serial) {
                self.see(serial, Some(&path), &meta, false, mode, now, order);
            } else if let Some(meta) = handle {
                self.see(serial, None, &meta, false, mode, now, order);
            } else if let Some(stream) = self.streams.get_mut(&serial) {
                // A file renamed while its folder was listed can escape one sweep, hardly two.
                stream.missing = stream.missing.saturating_add(1);
                if complete && (stream.missing > 1 || mode != Mode::Follow) {
                    self.gone(serial);
                }
            }
        }
        self.settle(now, order);
    }

    /// Where files without a matching name are, in the folders of the patterns.
    fn places(&self, serials: &[u64]) -> HashMap<u64, (PathBuf, Metadata)> {
        let wanted: HashMap<u64, u64> = serials
            .iter()
            .filter_map(|serial| Some((self.streams.get(serial)?.identity.ino, *serial)))
            .collect();
        let mut places = HashMap::new();
        for folder in &self.folders {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let Some(serial) = wanted.get(&entry.ino()) else { continue };
                let Some(stream) = self.streams.get(serial) else { continue };
                let Ok(meta) = entry.path().symlink_metadata() else { continue };
                let identity = Identity::of(&meta);
                let same_device = identity.dev == stream.identity.dev || !stream.verified;
                if meta.is_file() && same_device && !identity.born_differs(&stream.identity) {
                    places.insert(*serial, (entry.path(), meta));
                }
            }
        }
        places
    }

    /// Ends what is rotated and quiet: first a last record without terminator, then the handle.
    fn settle(&mut self, now: Instant, order: &mut Vec<Turn>) {
        let quiet: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| (!stream.listed || stream.rotated) && !stream.gone && !stream.due)
            .filter(|(_, stream)| now.saturating_duration_since(stream.quiet_since) >= QUIET)
            .map(|(serial, _)| *serial)
            .collect();
        for serial in quiet {
            let Some(stream) = self.streams.get_mut(&serial) else { continue };
            if stream.unread() > 0 {
                if !stream.trouble {
                    stream.finish = true;
                    order.push(Turn { was_held: false, modified: stream.modified, serial });
                }
            } else if !stream.listed
                && let Some(file) = self.handles.remove(&serial)
                && !has_name(&file)
            {
                self.ended(serial, &file);
            }
        }
    }

    /// A file whose last name was removed was read to its end.
    fn ended(&mut self, serial: u64, file: &File) {
        let Some(mut stream) = self.remove(serial) else { return };
        if self.goes_on_packed(&mut stream, Some(file)) {
            return;
        }
        let succeeded = self.streams.values().any(|one| one.listed && one.path_mac == stream.path_mac);
        stream.note(if succeeded { Fact::Replaced { unread: 0 } } else { Fact::Gone { unread: 0 } });
        self.retire(stream);
    }

    /// Another file has this stream's inode.
    pub(super) fn replaced(&mut self, serial: u64) {
        self.by_inode.retain(|_, other| *other != serial);
        self.handles.remove(&serial);
        self.unpacked.retain(|(other, _)| *other != serial);
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        // What was unread when it went has been reported then. The position stays for a while: the file may have
        // been compressed before it was removed.
        let was_gone = std::mem::replace(&mut stream.gone, true);
        let unread = if was_gone { 0 } else { stream.unread() };
        stream.note(Fact::Replaced { unread });
        (stream.verified, stream.due) = (false, false);
        self.noted.insert(serial);
        if !was_gone {
            self.remember(serial);
        }
    }

    /// A file is not found any more. Its position is kept for a while.
    fn gone(&mut self, serial: u64) {
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        let unread = stream.unread();
        stream.note(Fact::Gone { unread });
        (stream.gone, stream.verified) = (true, false);
        self.noted.insert(serial);
        self.remember(serial);
    }

    /// Keeps the position of a file that is gone, as one of so many.
    fn remember(&mut self, serial: u64) {
        self.absent.push_back(serial);
        while self.absent.len() > if self.shared.whole { ABSENT_WHOLE } else { ABSENT } {
            let oldest = self.absent.pop_front();
            if let Some(stream) =
                oldest.filter(|serial| self.is_gone(*serial)).and_then(|one| self.remove(one))
            {
                self.retire(stream);
            }
        }
    }

    fn is_gone(&self, serial: u64) -> bool {
        self.streams.get(&serial).is_some_and(|stream| stream.gone)
    }

    pub(super) fn remove(&mut self, serial: u64) -> Option<Stream> {
        let stream = self.streams.remove(&serial)?;
        self.handles.remove(&serial);
        self.unpacked.retain(|(other, _)| *other != serial);
        if let Some(content) = stream.content.filter(|content| self.contents.get(content) == Some(&serial)) {
            self.contents.remove(&content);
            let other = self.streams.iter().find(|(_, other)| other.content == Some(content));
            self.contents.extend(other.map(|(serial, _)| (content, *serial)));
        }
        self.noted.remove(&serial);
        self.absent.retain(|absent| *absent != serial);
        let inode = (stream.identity.dev, stream.identity.ino);
        if self.by_inode.get(&inode) == Some(&serial) {
            self.by_inode.remove(&inode);
        }
        Some(stream)
    }

    pub(super) fn retire(&mut self, mut stream: Stream) {
        stream.retires.push(stream.id.clone());
        self.retired.push(stream);
    }

    /// A file that no stream belongs to.
    fn begin(
        &mut self,
        file: &Matched,
        mode: Mode,
        now: Instant,
        known: &mut Known,
        order: &mut Vec<Turn>,
        troubles: &mut BTreeMap<PathBuf, String>,
    ) {
        // Every path counts: one name outside an excluded folder does not open what another hides.
        let Some(path) = file.paths.first().filter(|_| !file.paths.iter().any(|path| self.is_excluded(path)))
        else {
            return;
        };
        let (handle, meta) = match open_regular(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                troubles.insert(path.clone(), error.to_string());
                return;
            }
        };
        let packed = self.shared.scratch.is_some() && content::is_packed(&handle);
        let identity = Identity::of(&meta);
        if self.by_inode.contains_key(&(identity.dev, identity.ino)) {
            return; // Renamed over since it was listed; the next sweep sees it as it is.
        }
        let mut stream = Stream::new(identity, 0, path.clone(), path_mac(&self.shared.matching, path), now);
        while !known.ids.insert(stream.id.clone()) {
            stream.generation += 1;
            stream.id = stream_id(&identity, stream.generation);
        }
        stream.packed = packed;
        stream.end = if packed { 0 } else { meta.len() };
        if self.first_start && self.start_at == StartAt::End {
            // Of what is packed, the content was there before the first start.
            let content = content::open(path, self.shared.scratch.as_deref()).map(|content| content.file);
            match content.and_then(|content| stream.skip_to_end(&self.shared, &content)) {
                Ok(()) => stream.note(Fact::StartedAtEnd { skipped: stream.offset }),
                Err(error) => {
                    troubles.insert(path.clone(), error.to_string());
                    return;
                }
            }
        } else {
            stream.note(Fact::NewFile { bytes: meta.len() });
        }
        stream.held = match packed || self.shared.whole {
            true => true,
            false => mode == Mode::Follow && self.may_be_copy(&handle, path, known),
        };
        let serial = self.add(stream);
        known.add(serial, path);
        self.noted.insert(serial);
        self.see(serial, Some(path), &meta, true, mode, now, order);
    }

    fn known_names(&self) -> Known {
        let mut known = Known::default();
        known.ids.extend(self.streams.values().chain(&self.retired).map(|stream| stream.id.clone()));
        for (serial, stream) in self.streams.iter().filter(|(_, stream)| !stream.gone) {
            known.add(*serial, &stream.path);
        }
        known
    }

    /// Reports troubles with paths when they begin and when they end.
    fn note_troubles(&mut self, troubles: BTreeMap<PathBuf, String>) {
        let notice =
            |path: &Path, fact| Notice { stream: None, file: Arc::from(path.to_string_lossy()), fact };
        for (path, why) in &troubles {
            if !self.troubles.contains_key(path) {
                self.notices.push(notice(path, Fact::Unreadable { why: why.clone() }));
            }
        }
        for path in self.troubles.keys().filter(|path| !troubles.contains_key(*path)) {
            self.notices.push(notice(path, Fact::Readable));
        }
        self.troubles = troubles;
    }
}

/// The regular files among the paths found, by inode.
fn matched(found: &Found, troubles: &mut BTreeMap<PathBuf, String>) -> BTreeMap<Inode, Matched> {
    let mut files: BTreeMap<Inode, Matched> = BTreeMap::new();
    for path in &found.paths {
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() => {
                let inode = (meta.dev(), meta.ino());
                let entry = files.entry(inode).or_insert_with(|| Matched { paths: Vec::new(), meta });
                entry.paths.push(path.clone());
            }
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                troubles.insert(path.clone(), "not a regular file".to_owned());
            }
            // A link that leads nowhere, or a name that has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                troubles.insert(path.clone(), error.to_string());
            }
        }
    }
    files
}
