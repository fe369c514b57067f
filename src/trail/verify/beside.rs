//! What lies beside the trail: rows of grants snapshots, named by digest, and in an erasable trail the details
//! that entries commit to.

use super::Verdict;
use super::walk::Run;
use crate::model::Hash;
use crate::trail::detail::{self, Joining, Walk};
use crate::trail::disk::Disk;
use crate::trail::{TrailError, read};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Most bytes of a grants file's rows that are unpacked.
const ROWS_MAX: u64 = 4 << 30;

impl Run<'_> {
    pub fn check_beside(&mut self, state: &Path, number: u32) -> Result<(), TrailError> {
        self.check_grants(state);
        match self.privacy == "erasable" && self.damage.is_empty() {
            true => self.check_details(state, number),
            false => Ok(()),
        }
    }

    /// Every value that an entry commits to is there and is that value, or a signed entry says that it was
    /// erased.
    fn check_details(&mut self, state: &Path, number: u32) -> Result<(), TrailError> {
        let there = |path: &Path| self.disk.exists(path).unwrap_or(false);
        if !there(&state.join("details")) && !there(&state.join("trail")) {
            self.notes.push("details were not given and are not checked".into());
            return Ok(());
        }
        let (disk, from, to) = (self.disk, self.minimum(), self.signed_size());
        let mut details = Walk::new(disk, &detail::folder(state, number))?;
        let mut joining = Joining::default();
        let mut gone: Option<(u64, u64, u64)> = None;
        read::each(disk, self.folder, from, to, &mut |entry| {
            let committed = joining.take(entry).map(|(index, object)| (index, detail::committed(&object)));
            let Some((index, committed)) = committed.filter(|(_, paths)| !paths.is_empty()) else {
                return Ok(());
            };
            let found = details.of_entry(index)?;
            let erased = self.erased.iter().any(|range| (range.first..=range.last).contains(&index));
            for (path, hash) in committed {
                match found.iter().find(|detail| detail.path == path) {
                    Some(detail) if detail.commitment() == hash => {
                        if erased {
                            self.say(Verdict::Torn);
                            self.notes
                                .push(format!("{path} of entry {index} is said to be erased and is here"));
                        }
                    }
                    Some(_) => self.damaged(index, index, "details", format!("{path} is another value")),
                    None if erased => self.say(Verdict::Erased),
                    None => {
                        let (first, _, count) = gone.unwrap_or((index, index, 0));
                        gone = Some((first, index, count + 1));
                    }
                }
            }
            Ok(())
        })?;
        if let Some((first, last, count)) = gone {
            self.say(Verdict::Missing);
            self.list(
                first,
                last,
                "details",
                format!("{count} details are gone, and no signed entry says so"),
            );
        }
        Ok(())
    }

    fn check_grants(&mut self, state: &Path) {
        let dir = state.join("grants");
        if self.grants.is_empty() {
            return;
        }
        let there = |path: &Path| self.disk.exists(path).unwrap_or(false);
        if !there(&dir) && !there(&state.join("trail")) {
            self.notes.push("grants rows were not given and are not checked".into());
            return;
        }
        for (index, digest) in std::mem::take(&mut self.grants) {
            let path = dir.join(format!("{digest}.jsonl.zst"));
            let name = path.display().to_string();
            let Some(wanted) = Hash::parse(&digest) else {
                self.damaged(index, index, &name, "the entry names no digest");
                continue;
            };
            match rows_digest(self.disk, &path) {
                Ok(found) if found == wanted => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.say(Verdict::Missing);
                    self.notes.push(format!("{name} named by entry {index} is gone"));
                }
                _ => self.damaged(index, index, &name, "the rows are not the ones that the entry names"),
            }
        }
    }
}

/// SHA-256 of a grants file's rows, unpacked.
fn rows_digest(disk: &dyn Disk, path: &Path) -> std::io::Result<Hash> {
    let mut rows = zstd::stream::read::Decoder::new(disk.read(path, 0)?)?.take(ROWS_MAX);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rows.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(Hash(hasher.finalize().into()))
}
