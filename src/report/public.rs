//! What entry 0 of a trail says about its keys.

use super::sshsig;
use crate::error::Failure;
use crate::model::{Hash, Time};
use crate::trail::disk::RealDisk;
use crate::trail::entry::Entry;
use crate::trail::note::Verifier;
use crate::trail::tree::leaf_hash;
use crate::trail::trust::Trust;
use crate::trail::verify::trail_folder;
use crate::trail::{Genesis, generation, genesis_line};
use ed25519_dalek::VerifyingKey;
use std::path::Path;

/// What entry 0 says.
pub struct Public {
    /// As a trust file holds it.
    pub trust: Trust,
    /// The deployment's name.
    pub deployment: String,
    /// The report key.
    pub report: VerifyingKey,
    /// When the trail began.
    pub began: Time,
}

impl Public {
    /// Reads entry 0 of a trail's newest generation.
    pub fn read(dir: &Path) -> Result<Public, Failure> {
        let trail = trail_folder(dir);
        let nothing = || Failure::Runtime(format!("there is no trail in {}", dir.display()));
        let number = generation::all(&RealDisk, &trail)?.pop().ok_or_else(nothing)?;
        let line = genesis_line(&RealDisk, &trail.join(format!("g{number}")))?.ok_or_else(nothing)?;
        let entry0: Hash = leaf_hash(&line);
        let entry = Entry::parse(&line).ok_or_else(nothing)?;
        let Genesis { origin, log, epoch, report: line, .. } =
            Genesis::of_line(entry.line).ok_or_else(nothing)?;
        let (Some(log), Some(epoch), Some(report)) =
            (Verifier::parse(&log), Verifier::parse(&epoch), sshsig::parse_public_key_line(&line))
        else {
            return Err(nothing());
        };
        let deployment = origin.split('/').next().unwrap_or_default().to_owned();
        Ok(Public {
            trust: Trust { origin, log, epoch, entry0, report: line },
            deployment,
            report,
            began: entry.time,
        })
    }
}
