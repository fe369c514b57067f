//! Signed heads: our own checkpoint, older ones, and the one that somebody kept. Each must be signed by the log
//! key and by the epoch key in force at its size, and give the root that the entries here have at that size.

use super::walk::Run;
use super::{Anchor, Given, Verdict};
use crate::model::Hash;
use crate::trail::TrailError;
use crate::trail::note::{self, Checkpoint, NOTE_MAX, Verifier};

/// A head that the log key signed.
pub(super) struct Head {
    pub file: String,
    pub note: String,
    pub root: Hash,
    pub source: Source,
}

/// Where a head comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Own,
    Older,
    Known,
}

impl Run<'_> {
    pub fn read_checkpoints(&mut self) -> Result<(), TrailError> {
        let path = self.folder.join("checkpoint");
        let bytes = self.disk.read_small(&path, NOTE_MAX as u64).unwrap_or_else(|_| Some(vec![0xff]));
        match bytes.map(String::from_utf8) {
            Some(Ok(note)) => self.add_head(&path.display().to_string(), &note, Source::Own),
            Some(Err(_)) => self.damaged(0, 0, &path.display().to_string(), "the checkpoint is not text"),
            None => {
                self.say(Verdict::RolledBack);
                self.notes
                    .push(format!("{} is missing: nothing says how long the trail was", path.display()));
            }
        }
        let dir = self.folder.join("checkpoints");
        for name in self.disk.names(&dir).map_err(|error| TrailError::io("list", &dir, error))? {
            if name.contains('.') {
                continue; // What anchors left beside a checkpoint.
            }
            let path = dir.join(&name);
            let bytes = self.disk.read_small(&path, NOTE_MAX as u64).unwrap_or_else(|_| Some(Vec::new()));
            // A running daemon thins them: one that was listed may be gone.
            let Some(bytes) = bytes else { continue };
            let note = String::from_utf8(bytes).unwrap_or_default();
            self.add_head(&path.display().to_string(), &note, Source::Older);
        }
        Ok(())
    }

    pub fn add_head(&mut self, file: &str, note: &str, source: Source) {
        let Some(log) = &self.log else { return };
        match Checkpoint::open(note, &[log]) {
            Ok(checkpoint) if checkpoint.origin == self.origin => {
                self.heads.entry(checkpoint.size).or_default().push(Head {
                    file: file.to_owned(),
                    note: note.to_owned(),
                    root: checkpoint.root,
                    source,
                });
                if source == Source::Own {
                    note.clone_into(&mut self.note);
                    self.signed = Some(checkpoint);
                }
            }
            // A head of another generation says nothing about this one.
            Ok(checkpoint) if source == Source::Known => {
                self.notes
                    .push(format!("the known head is of {}, this is {}", checkpoint.origin, self.origin));
            }
            Err(note::NoteError::Unsigned(_))
                if source == Source::Known && names_other(note, &self.origin) =>
            {
                self.notes.push(format!("the known head is of another origin than {}", self.origin));
            }
            Ok(checkpoint) => {
                self.damaged(0, 0, file, format!("it is signed for another origin, `{}`", checkpoint.origin));
            }
            Err(error) => self.damaged(0, 0, file, format!("the checkpoint does not verify: {error}")),
        }
    }

    /// Every signed head must be at or below what is here, with the root and the epoch key that are here.
    pub fn check_heads(&mut self, given: &Given) {
        let have = self.chain.frontier.size();
        for (size, heads) in std::mem::take(&mut self.heads) {
            let here = self.roots.get(&size).cloned();
            for head in heads {
                self.check_head(size, have, &head, here.as_ref(), given);
            }
        }
    }

    fn check_head(
        &mut self,
        size: u64,
        have: u64,
        head: &Head,
        here: Option<&(Hash, Option<Verifier>)>,
        given: &Given,
    ) {
        let file = &head.file;
        if size > have {
            self.say(Verdict::RolledBack);
            self.notes.push(format!("{file} signs {size} entries; here are {have}"));
            return;
        }
        let Some((root, signer)) = here else {
            if self.damage.is_empty() && size >= self.minimum() {
                self.say(Verdict::Forked);
                self.notes.push(format!("{file} signs another history of {size} entries"));
            }
            return;
        };
        if *root != head.root {
            return self.other_root(size, head);
        }
        let epoch_signed = signer.as_ref().map(|signer| Checkpoint::open(&head.note, &[signer]));
        match epoch_signed {
            Some(Ok(_)) => {
                if head.source == Source::Known {
                    let name = "the head that was given".to_owned();
                    self.anchors.push(Anchor { kind: "known_head", name, size, time: None });
                }
                self.look_for_witnesses(file, &head.note, size, given);
            }
            // The newest pruned entry was a commit that is not here; its own prune entry vouches for it.
            None if size == self.minimum() => {}
            None if !self.damage.is_empty() => {}
            None => self.damaged(size - 1, size - 1, file, "it does not end at a commit"),
            Some(Err(error)) => {
                self.damaged(
                    size - 1,
                    size - 1,
                    file,
                    format!("the epoch key in force did not sign it: {error}"),
                );
            }
        }
    }

    fn other_root(&mut self, size: u64, head: &Head) {
        let file = head.file.clone();
        if head.source != Source::Own && self.damage.is_empty() {
            self.say(Verdict::Forked);
            self.notes.push(format!("{file} signs another history of {size} entries"));
        } else if self.damage.is_empty() {
            let first = self.chain.good.size().min(size - 1);
            self.damaged(first, size - 1, &file, "these entries do not give the signed root");
        }
    }

    /// Index of the oldest entry that is here.
    pub fn minimum(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.frontier.size())
    }
}

/// Whether a note's first line is another origin.
fn names_other(note: &str, origin: &str) -> bool {
    note.lines().next().is_some_and(|first| first != origin)
}
