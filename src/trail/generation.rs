//! Generations: a trail that was restored from a backup, or whose damage somebody accepted, goes on under a new
//! origin. The old origin is never signed again, so no two histories carry one name.
//!
//! Entry 0 of the new generation names the last head of the old one that verifies, the damage, who decided and
//! why. Positions of the sources are taken over as they stood at that head; what was read after it is read
//! again, and `may_repeat` says so. The log key stays (under the new origin's name, for a key's name is its
//! origin); the epoch key is new, and the old generation's are destroyed.
//!
//! The new generation is built aside and renamed, as a new trail is (see [`super::create`]); a start after a
//! crash finishes it where it was renamed, and deletes it where it was not.

use super::create::{self, Plan};
use super::disk::Disk;
use super::epoch::Epochs;
use super::note::Checkpoint;
use super::prune::Kept;
use super::read::segments;
use super::scan::Scan;
use super::verify::{Damage, Given, Outcome, verify_generation};
use super::{Genesis, Keys, Paths, TrailError, epoch, origin};
use crate::model::json::{Mask, Object};
use crate::model::{Hash, Time};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Damaged ranges that entry 0 lists; more are counted in the reason's text by whoever decides.
const DAMAGED_MAX: usize = 256;

/// Bytes of reason, operator and names of holds in entry 0: escaped six times as long it still fits a line
/// beside the damaged ranges.
const WORDS_MAX: usize = 6000;

/// What a later generation continues.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Previous {
    /// Origin of the generation before.
    pub origin: String,
    /// The last head of it that verified.
    pub size: u64,
    /// Its root, 64 hexadecimal digits.
    pub root: String,
    /// Ranges that do not verify.
    #[serde(default)]
    pub damaged: Vec<Range>,
    /// Whether the positions of the sources were taken over.
    pub cursors: bool,
    /// Whether records may have been recorded twice.
    pub may_repeat: bool,
    /// Legal holds that go on.
    #[serde(default)]
    pub holds: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub operator: String,
}

/// A range of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First entry.
    pub first: u64,
    /// Last entry.
    pub last: u64,
}

impl Previous {
    /// Writes the members.
    pub(super) fn write(&self, out: &mut Object<'_>) {
        out.word("origin", &self.origin);
        out.uint("size", self.size);
        out.word("root", &self.root);
        out.objects("damaged", &self.damaged, |range, out| {
            out.uint("first", range.first);
            out.uint("last", range.last);
        });
        out.bool("cursors", self.cursors);
        out.bool("may_repeat", self.may_repeat);
        if !self.holds.is_empty() {
            out.list("holds", &self.holds);
        }
        out.str("reason", &self.reason);
        out.str("operator", &self.operator);
    }

    /// Whether it names this damage.
    pub fn acknowledges(&self, damage: &Damage) -> bool {
        self.damaged.iter().any(|range| range.first <= damage.first && damage.last <= range.last)
    }
}

/// Numbers of the generations under a trail folder, oldest first.
pub fn all(disk: &dyn Disk, trail: &Path) -> Result<Vec<u32>, TrailError> {
    let names = disk.names(trail).map_err(|error| TrailError::io("list", trail, error))?;
    let number = |name: String| {
        let number: u32 = name.strip_prefix('g')?.parse().ok()?;
        (number > 0 && name == format!("g{number}")).then_some(number)
    };
    let mut numbers: Vec<u32> = names.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest generation of a deployment.
pub fn newest(disk: &dyn Disk, paths: &Paths) -> Result<Option<u32>, TrailError> {
    Ok(all(disk, &paths.trail())?.pop())
}

/// What the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Why.
    pub reason: String,
    /// Who.
    pub operator: String,
    /// Damage is known and accepted.
    pub acknowledge_damage: bool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Number of the new generation.
    pub generation: u32,
    /// What its entry 0 says about the old one.
    pub previous: Previous,
    /// The verification of the old one that it rests on.
    pub outcome: Outcome,
}

/// Makes the next generation. The daemon must not run: the lock is taken.
pub fn make(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    deployment: &str,
    ask: &Ask,
    mask: Mask,
    now: Time,
) -> Result<Made, TrailError> {
    let _lock = super::recover::lock(&**disk, paths)?;
    create::finish_or_clear(&**disk, paths)?;
    let Some(old) = newest(&**disk, paths)? else {
        return Err(TrailError::setup(
            "there is no trail yet: the first generation is made by `run` or `init`",
        ));
    };
    let keys = Keys::read(&**disk, &paths.keys)?;
    let outcome = verify_generation(&**disk, &paths.trail(), old, &Given::default(), &mut |_| ())?;
    if !outcome.damage.is_empty() && !ask.acknowledge_damage {
        return Err(TrailError::refused(format!(
            "generation {old} has {} damaged ranges; look at them with `crmwarden verify`, and where they are \
             accepted say so with --acknowledge-damage",
            outcome.damage.len()
        )));
    }
    let folder = paths.generation(old);
    let line = super::genesis_line(&**disk, &folder)?.unwrap_or_default();
    let genesis = Genesis::of_line(&line).ok_or_else(|| TrailError::refused("entry 0 cannot be read"))?;
    let (cursors, holds) = state_at(&**disk, &folder, &outcome)?;
    // Entry 0 must be one line, for everything begins with reading it.
    let words = ask.reason.len() + ask.operator.len() + holds.iter().map(String::len).sum::<usize>();
    if ask.reason.trim().is_empty() || ask.operator.trim().is_empty() || words > WORDS_MAX {
        return Err(TrailError::setup(format!(
            "reason and operator must be said, and with the names of all holds have at most {WORDS_MAX} bytes"
        )));
    }
    let previous = Previous {
        origin: origin(deployment, old),
        size: outcome.verified_size,
        root: outcome.verified_root.clone(),
        damaged: outcome
            .damage
            .iter()
            .take(DAMAGED_MAX)
            .map(|damage| Range { first: damage.first, last: damage.last })
            .collect(),
        cursors: !cursors.is_empty(),
        may_repeat: true,
        holds,
        reason: ask.reason.clone(),
        operator: ask.operator.clone(),
    };
    let plan = Plan {
        generation: old + 1,
        deployment: deployment.to_owned(),
        log: keys.log,
        report: genesis.report,
        privacy: genesis.privacy,
        previous: Some(previous.clone()),
        cursors,
        mask,
    };
    create::build(disk, paths, plan, now)?;
    create::put_in_place(&**disk, paths, old + 1)?;
    Ok(Made { generation: old + 1, previous, outcome })
}

/// Positions of the sources and legal holds as they stood at the last head that verifies.
fn state_at(
    disk: &dyn Disk,
    folder: &Path,
    outcome: &Outcome,
) -> Result<(super::Cursors, Vec<String>), TrailError> {
    let Some(root) = Hash::parse(&outcome.verified_root) else { return Ok(Default::default()) };
    let mut files = segments(disk, folder)?;
    let kept = Kept::read(disk, folder)?;
    files.retain(|file| kept.as_ref().is_none_or(|kept| file.first >= kept.frontier.size()));
    let first = super::first_epoch(disk, folder)?;
    let mut scan = Scan::start(Epochs::first(first), kept.as_ref());
    let head = Checkpoint { origin: outcome.origin.clone(), size: outcome.verified_size, root };
    scan.walk_to_signed(disk, &files, &head, None, &mut None, &mut |_| ())?;
    Ok((scan.cursors, scan.holds.into_iter().collect()))
}

/// Destroys the epoch keys of older generations, so that nobody signs for them again.
pub(super) fn destroy_old_keys(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    for number in epoch::found(disk, paths)? {
        epoch::destroy(disk, paths, number)?;
    }
    Ok(())
}
