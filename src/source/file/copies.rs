//! Files that were copied and truncated (logrotate's `copytruncate`): which copy goes on for which file.

use super::FileSource;
use super::identity::{Mark, WINDOW, open_regular, read_at, read_window};
use super::stream::Stream;
use super::sweep::Known;
use crate::source::{Batch, Fact};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// With fewer bytes read than this, an equal beginning is no sign of a copy with an unlike name.
const COPY_EVIDENCE: u64 = 256;

/// With so many unread files is a new one compared.
const COMPARED: usize = 4;

impl FileSource {
    /// Whether a new file begins like a known one whose name it extends.
    pub(super) fn may_be_copy(&self, file: &File, path: &Path, known: &Known) -> bool {
        let Ok(head) = read_at(file, 0, WINDOW) else { return false };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new(""));
        // Rotation adds `.1`, `-20260131` and the like, never a letter or a digit alone.
        let stems = name.char_indices().filter(|(_, char)| !char.is_alphanumeric());
        let stems = stems.filter_map(|(at, _)| name.get(..at)).chain([name.as_ref()]);
        let alike = stems.filter_map(|stem| known.names.get(&(folder.to_owned(), stem.to_owned())));
        let alike: Vec<&Stream> = alike.flatten().filter_map(|serial| self.streams.get(serial)).collect();
        let (unread, read): (Vec<&Stream>, Vec<&Stream>) = alike.into_iter().partition(|one| one.offset == 0);
        if read.iter().any(|one| one.head.len > 0 && one.head.is_head_of(&self.shared.matching, &head)) {
            return true;
        }
        // What was not read so far is still there to compare, and so is what was written since a truncation that is
        // seen in this same look. The shortest names come first; a folder full of rotated files is not searched
        // through for every one of them.
        let size = |one: &Stream| std::fs::metadata(&one.path).map_or(0, |metadata| metadata.len());
        let truncated = read.iter().filter(|one| (1..one.offset).contains(&size(one)));
        let unread = unread.iter().filter(|one| one.end > 0);
        truncated.chain(unread).take(COMPARED).any(|one| {
            let other = open_regular(&one.path).and_then(|(file, _)| read_at(&file, 0, WINDOW));
            other.is_ok_and(|other| {
                let common = head.iter().zip(&other).take_while(|(one, two)| one == two).count();
                common > 0 && common == head.len().min(other.len())
            })
        })
    }

    /// What had been read of a stream is no longer there.
    pub(super) fn changed(&mut self, serial: u64, now: Instant, batches: &mut Vec<Batch>) {
        let copy = self.find_copy(serial);
        let Some(stream) = self.streams.get_mut(&serial) else { return };
        let size = stream.look.map_or(0, |look| look.size);
        if stream.gone {
            stream.note(Fact::Replaced { unread: 0 });
            stream.gone = false;
        } else if copy.is_some() {
            stream.note(Fact::Truncated { lost_from: stream.offset, lost_to: None });
        } else if size < stream.offset {
            let known = stream.unread() > 0;
            stream.note(Fact::Truncated { lost_from: stream.offset, lost_to: known.then_some(stream.end) });
        } else {
            let why = "the content before this byte is not what was read: truncated and written again";
            stream.note(Fact::GapPossible { why, from: stream.offset, to: None });
        }
        let mut former = copy.is_some().then(|| stream.clone_position(now));
        stream.next_generation();
        stream.quiet_since = now;
        stream.due = true;
        self.due.push_back(serial);
        self.noted.insert(serial);
        let (Some(copy), Some(former)) = (copy, &mut former) else { return };
        stream.retires.pop();
        // The copy first: should only one of the two be committed, the truncated file is met as a new one.
        self.continue_in(copy, former);
        for one in [copy, serial] {
            batches.extend(self.streams.get_mut(&one).map(|stream| stream.report(&self.shared)));
        }
    }

    /// Lets a copy continue the stream whose file was truncated.
    fn continue_in(&mut self, copy: u64, former: &mut Stream) {
        let Some(stream) = self.streams.get_mut(&copy) else { return };
        stream.take_over(former);
        stream.note(Fact::ContinuedInCopy {
            from: former.file.to_string(),
            to: stream.file.to_string(),
            at: stream.offset,
        });
        if !std::mem::replace(&mut stream.due, true) {
            self.due.push_back(copy);
        }
    }

    /// A new file, nothing of it read, that holds what was read of the given stream.
    fn find_copy(&self, serial: u64) -> Option<u64> {
        let original = self.streams.get(&serial).filter(|stream| stream.offset > 0)?;
        let key = &self.shared.matching;
        let holds = |stream: &Stream| -> Option<bool> {
            let (file, _) = open_regular(&stream.path).ok()?;
            let from = original.offset.checked_sub(original.before.len as u64)?;
            let window = read_window(&file, from, original.before.len).ok()??;
            let head = read_at(&file, 0, original.head.len).ok()?;
            Some(original.head.is_head_of(key, &head) && Mark::before(key, &[], &window) == original.before)
        };
        let untouched = self.streams.iter().filter(|(other, stream)| {
            **other != serial
                && !stream.packed
                && stream.is_untouched()
                && stream.end >= original.offset
                && stream.listed
                && (original.offset >= COPY_EVIDENCE || extends_name(&stream.path, &original.path))
        });
        let mut untouched = untouched.filter(|(_, stream)| holds(stream) == Some(true));
        untouched.next().map(|(serial, _)| *serial)
    }
}

/// A file name up to its first dot that is not at its beginning.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dot = name.char_indices().skip(1).find(|(_, char)| *char == '.').map_or(name.len(), |(at, _)| at);
    name.get(..dot).unwrap_or_default().to_owned()
}

/// Whether a name in the same folder is the other with something added, as rotation makes them.
pub(super) fn extends_name(path: &Path, original: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let added = name.strip_prefix(&stem(original)).map(str::to_owned);
    let apart = added.is_some_and(|added| !added.starts_with(char::is_alphanumeric));
    apart && path.parent() == original.parent()
}
