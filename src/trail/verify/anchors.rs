//! What off this host vouches for the trail, as far as the trust file says whose word counts: a head that was
//! kept, cosignatures that fill the policy's quorum, time stamps of a listed authority.

use super::walk::Run;
use super::{Anchor, Given};
use crate::model::Time;
use crate::trail::note::{Checkpoint, NOTE_MAX};
use crate::trail::timestamp;
use std::path::Path;

/// Largest time stamp that is read.
const STAMP_MAX: u64 = 64 << 10;

impl Run<'_> {
    /// Cosignatures on a head that holds.
    pub fn look_for_witnesses(&mut self, file: &str, note: &str, size: u64, given: &Given) {
        let Some(policy) = given.policy.as_ref().filter(|policy| policy.asks_for_witnesses()) else { return };
        match policy.judge(note) {
            Ok(judged) if judged.quorum => {
                let time = |seconds: u64| i64::try_from(seconds).ok().map(Time::from_seconds);
                self.anchors.extend(judged.witnesses.into_iter().map(|(name, seconds)| Anchor {
                    kind: "witness",
                    name,
                    size,
                    time: time(seconds),
                }));
            }
            Ok(_) => {}
            Err(error) => self.notes.push(format!("a cosignature on {file} does not count: {error}")),
        }
    }

    /// Time stamps beside older checkpoints.
    pub fn look_for_stamps(&mut self, given: &Given) {
        let Some(authorities) = &given.authorities else { return };
        let dir = self.folder.join("checkpoints");
        for name in self.disk.names(&dir).unwrap_or_default() {
            let Some((digits, authority)) = name.strip_suffix(".tsr").and_then(|stem| stem.split_once('.'))
            else {
                continue;
            };
            match self.stamp(&dir, digits, &name, authorities) {
                Ok((size, time)) => self.anchors.push(Anchor {
                    kind: "timestamp",
                    name: authority.to_owned(),
                    size,
                    time: Some(time),
                }),
                Err(why) => self.notes.push(format!("the time stamp {name} does not count: {why}")),
            }
        }
    }

    /// The size that a stamp vouches for, and when.
    fn stamp(
        &self,
        dir: &Path,
        digits: &str,
        name: &str,
        authorities: &timestamp::Authorities,
    ) -> Result<(u64, Time), String> {
        let read = |name: &str, limit| match self.disk.read_small(&dir.join(name), limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(format!("{name} is missing")),
            Err(error) => Err(error.to_string()),
        };
        let stamped = read(&format!("{digits}.stamped"), NOTE_MAX as u64)?;
        let response = read(name, STAMP_MAX)?;
        let stamp = timestamp::verify(&response, &stamped, None, authorities).map_err(|e| e.to_string())?;
        let note = String::from_utf8(stamped).map_err(|_| "what was stamped is not text".to_owned())?;
        let log = self.log.as_ref().ok_or("the log key is not known")?;
        let head = Checkpoint::open(&note, &[log]).map_err(|error| error.to_string())?;
        match self.roots.get(&head.size) {
            Some((root, _)) if *root == head.root && head.origin == self.origin => {
                Ok((head.size, stamp.time))
            }
            _ => Err("what was stamped is no head of the entries here".to_owned()),
        }
    }
}
