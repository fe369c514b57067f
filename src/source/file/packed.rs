//! A rotated file that was compressed: which stream it belongs to.
//!
//! | the packed file holds | and the original | then |
//! |---|---|---|
//! | what was read of a stream | is still there | nothing: it is the same content twice |
//! | the same | is gone | it is that stream, and reading goes on at its offset |
//! | less than was read, from the same beginning | is gone | it is that stream, and was read to its end |
//! | nothing that is known | | a new stream, read from its beginning |
//!
//! An original that was removed while it is open here is read to its end first: its writer may still add to it,
//! and what is added then is in no packed file.

use super::FileSource;
use super::identity::{Mark, WINDOW, read_at, read_window};
use super::stream::Stream;
use crate::source::Fact;
use std::fs::File;
use std::path::Path;

/// With fewer bytes of a common beginning, and names that do not fit, two files have nothing in common.
const EVIDENCE: usize = 256;

/// How a packed file and a stream belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Everything that was read, and perhaps more.
    All,
    /// A part of what was read: so many bytes.
    Less(u64),
}

impl FileSource {
    /// Whether a packed file may be read: nothing that is known stands in for it. A stream whose file is gone
    /// goes on in it.
    pub(super) fn is_free(&mut self, serial: u64) -> bool {
        if self.open(serial).is_err() {
            // Its turn meets the same error and says so.
            return true;
        }
        let Some(file) = self.unpacked(serial) else { return true };
        let Some(packed) = self.streams.get(&serial).filter(|packed| packed.is_untouched()) else {
            return true;
        };
        let mut originals = self.streams.iter().filter(|(other, one)| {
            **other != serial && !one.packed && one.offset > 0 && related(&packed.path, one)
        });
        let met = originals
            .find_map(|(other, one)| Some((*other, self.holds(file, one, self.handles.get(other))?)));
        let Some((original, _)) = met else { return true };
        let there =
            self.streams.get(&original).is_some_and(|one| !one.gone && (one.listed || one.missing == 0));
        if there || self.handles.contains_key(&original) {
            return false;
        }
        let Some(mut former) = self.remove(original) else { return true };
        if !self.goes_on_packed(&mut former, None) {
            self.retire(former);
        }
        true
    }

    /// Lets a packed file take over a stream that has ended. `file` is what was read, where it is still open.
    pub(super) fn goes_on_packed(&mut self, former: &mut Stream, file: Option<&File>) -> bool {
        let candidates: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, one)| one.packed && one.is_untouched() && related(&one.path, former))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in candidates {
            if self.open(serial).is_err() {
                continue;
            }
            let Some(content) = self.unpacked(serial).and_then(|content| content.try_clone().ok()) else {
                continue;
            };
            let Some(holds) = self.holds(&content, former, file) else { continue };
            let Some(stream) = self.streams.get_mut(&serial) else { continue };
            stream.take_over(former);
            if let Holds::Less(length) = holds
                && stream.pass_over_all(&self.shared, &content, length).is_err()
            {
                continue;
            }
            stream.note(Fact::ContinuedInCopy {
                from: former.file.to_string(),
                to: stream.file.to_string(),
                at: stream.offset,
            });
            stream.notices.append(&mut former.notices);
            self.noted.insert(serial);
            if let Some(stream) = self.streams.get_mut(&serial)
                && !std::mem::replace(&mut stream.due, true)
            {
                self.due.push_back(serial);
            }
            return true;
        }
        false
    }

    /// What of a stream a packed file's content holds. `open` is the stream's file, where it is still open.
    fn holds(&self, content: &File, stream: &Stream, open: Option<&File>) -> Option<Holds> {
        let key = &self.shared.matching;
        let length = content.metadata().ok()?.len();
        let head = read_at(content, 0, WINDOW).ok()?;
        if length >= stream.offset {
            let from = stream.offset.checked_sub(stream.before.len as u64)?;
            let window = read_window(content, from, stream.before.len).ok()??;
            let same = stream.head.is_head_of(key, &head) && Mark::before(key, &[], &window) == stream.before;
            return same.then_some(Holds::All);
        }
        // Shorter than what was read: the same beginning, as far as either goes, and the same end where it can
        // be compared.
        let begins = match open {
            Some(file) => {
                let from = length.saturating_sub(WINDOW as u64);
                let pair =
                    |from| Some((read_at(content, from, WINDOW).ok()?, read_at(file, from, WINDOW).ok()?));
                let equal = |(one, two): (Vec<u8>, Vec<u8>)| two.starts_with(&one);
                pair(0).is_some_and(equal) && pair(from).is_some_and(equal)
            }
            None => stream.head.len >= EVIDENCE && stream.head.is_head_of(key, &head),
        };
        (begins && length > 0).then_some(Holds::Less(length))
    }
}

/// Whether a packed file's name fits a stream's, or enough was read to do without.
fn related(packed: &Path, stream: &Stream) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (packed_name, original) = (name(packed), name(&stream.path));
    let stem = packed_name.strip_suffix(".gz").or(packed_name.strip_suffix(".zst")).unwrap_or(&packed_name);
    let fits =
        stem == original || super::copies::extends_name(packed, &stream.path) || stem.starts_with(&original);
    packed.parent() == stream.path.parent() && (fits || stream.head.len >= EVIDENCE)
}
