//! What lies beside the trail: rows of grants snapshots, named by digest.

use super::Verdict;
use super::walk::Run;
use crate::model::Hash;
use crate::trail::TrailError;
use crate::trail::disk::Disk;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Most bytes of a grants file's rows that are unpacked.
const ROWS_MAX: u64 = 4 << 30;

impl Run<'_> {
    pub fn check_beside(&mut self, state: &Path, _progress: &mut dyn FnMut(u64)) -> Result<(), TrailError> {
        self.check_grants(state);
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
