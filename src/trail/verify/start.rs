//! Where the walk begins: whose keys count, what entry 0 says, and what pruning left of the entries before.

use super::walk::Run;
use super::{Erased, Verdict};
use crate::trail::epoch::Epochs;
use crate::trail::note::Verifier;
use crate::trail::prune::Kept;
use crate::trail::read::{Lines, Met};
use crate::trail::tree::leaf_hash;
use crate::trail::trust::Trust;
use crate::trail::{Genesis, TrailError, epoch_name};

impl Run<'_> {
    /// Keys come from the trust file where it is about this origin, or, unpinned, from entry 0.
    pub fn read_genesis(&mut self, trust: Option<&Trust>) -> Result<(), TrailError> {
        let line = self.first_line()?;
        let genesis = Genesis::of_line(&line);
        if let Some(genesis) = &genesis {
            (self.privacy, self.previous) = (genesis.privacy.clone(), genesis.previous.clone());
        }
        let other = |trust: &&Trust| {
            genesis.as_ref().is_none_or(|genesis| {
                genesis.origin == trust.origin
                    || generation_of(&genesis.origin) == generation_of(&trust.origin)
            })
        };
        if let Some(trust) = trust.filter(other) {
            self.origin = trust.origin.clone();
            if !line.is_empty() && leaf_hash(&line) != trust.entry0 {
                self.damaged(0, 0, "segments", "entry 0 is not the one that the trust file names");
            }
            self.pinned = true;
            self.log = Some(trust.log.clone());
            self.epochs = Some(Epochs::first(trust.epoch.clone()));
            return self.resume_after_pruning();
        }
        if let Some(genesis) = genesis {
            self.log = Verifier::parse(&genesis.log).filter(|key| key.name == genesis.origin);
            self.epochs = Verifier::parse(&genesis.epoch)
                .filter(|key| key.name == epoch_name(&genesis.origin, 0))
                .map(Epochs::first);
            self.origin = genesis.origin;
        }
        if self.log.is_none() || self.epochs.is_none() {
            self.damaged_in(0, 0, 0, "entry 0 is not a genesis entry with two verifier keys");
        }
        if let Some(trust) = trust {
            self.notes.push(format!("the trust file is about {}, this is {}", trust.origin, self.origin));
            if self.log.as_ref().map(|log| log.key) != Some(trust.log.key) {
                self.damaged_in(0, 0, 0, "the log key is not the one that the trust file names");
            }
        }
        self.resume_after_pruning()
    }

    /// The line of entry 0: from the first segment, or from what pruning kept. Empty where it is gone.
    fn first_line(&mut self) -> Result<Vec<u8>, TrailError> {
        match Kept::read(self.disk, self.folder) {
            Ok(Some(kept)) => {
                let minimum = kept.frontier.size();
                let before = self.files.len();
                // Of a pruning that was interrupted any of the segments may still be here.
                self.files.retain(|file| file.first >= minimum);
                if self.files.len() < before {
                    self.say(Verdict::Torn);
                    self.notes.push(format!("the pruning of the entries below {minimum} is not finished"));
                }
                self.kept = Some(kept.clone());
                return Ok(kept.genesis);
            }
            Ok(None) => {}
            Err(TrailError::Refused { what, .. }) => self.damaged(0, 0, "pruned.jsonl", what),
            Err(error) => return Err(error),
        }
        let Some(file) = self.files.first().filter(|file| file.first == 0).cloned() else {
            return Ok(Vec::new());
        };
        match Lines::open(self.disk, &file, 0) {
            Ok(mut lines) => match lines.next_line() {
                Ok(Met::Line) => Ok(lines.line().to_vec()),
                _ => Ok(Vec::new()),
            },
            Err(error) => self.unreadable(&error).map(|()| Vec::new()),
        }
    }

    fn unreadable(&mut self, error: &TrailError) -> Result<(), TrailError> {
        self.damaged_in(0, 0, 0, error.to_string());
        Ok(())
    }

    /// Where the oldest entries were pruned the walk begins with what was kept of them.
    fn resume_after_pruning(&mut self) -> Result<(), TrailError> {
        let (Some(kept), Some(epochs)) = (&self.kept, &self.epochs) else { return Ok(()) };
        let same_start = kept.epochs_from(&epochs.key);
        self.chain.frontier = kept.frontier.clone();
        self.chain.good = kept.frontier.clone();
        self.roots.insert(kept.frontier.size(), (kept.frontier.root(), None));
        match same_start {
            Some(epochs) => self.epochs = Some(epochs),
            None => self.damaged(0, 0, "pruned.jsonl", "its epochs do not begin with the first epoch's key"),
        }
        Ok(())
    }

    /// Below a pruned minimum nothing is here, and a signed entry must say so.
    pub fn check_pruned(&mut self) {
        let Some(first) = self.files.first().map(|file| file.first).filter(|first| *first > 0) else {
            return;
        };
        let root = self.kept.as_ref().map(|kept| kept.frontier.root().hex());
        let said = self.prunes.iter().find(|(_, _, to, named)| *to == first && Some(named) == root.as_ref());
        match said {
            Some(&(by, ..)) => {
                self.erased.push(Erased { first: 0, last: first - 1, by, what: "prune" });
                self.say(Verdict::Erased);
            }
            None => {
                self.say(Verdict::Missing);
                self.list(0, first - 1, "segments", "they are gone, and no signed entry says so");
            }
        }
    }
}

/// The part of an origin that tells generations apart.
fn generation_of(origin: &str) -> &str {
    origin.rsplit('/').next().unwrap_or_default()
}
