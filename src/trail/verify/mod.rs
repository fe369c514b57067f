//! Verification by whoever has the files: segments, checkpoints, grants rows, details, and a trust file if they
//! have one. It never reads `tree/`, the cache, or anything of the writer's.
//!
//! Every line is hashed as it stands ([`walk`]). `prev` inside the next line says what the hash was when the
//! next line was written; so a damaged line is named exactly, and what the next line claims is put into the
//! tree in its place: if the following roots then hold, nothing else is damaged. Then every signed head is
//! held against what is here ([`heads`]), and what lies beside the trail against what it says ([`beside`]).
//!
//! | word | says |
//! |---|---|
//! | pinned | the keys of this generation are the trust file's, or entry 0 of a pinned later one names its head |
//! | anchored | something off this host vouches for it: a known head, witnesses, a time stamp |
//! | verified | the newest size up to which everything holds |

mod anchors;
mod beside;
mod heads;
mod start;
mod walk;

use super::disk::{Disk, RealDisk};
use super::timestamp::Authorities;
use super::tlog_policy::Policy;
use super::trust::Trust;
use super::{TrailError, generation};
use crate::model::Time;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Damaged ranges that are listed; more are counted.
pub const DAMAGE_MAX: usize = 1000;
/// Exit code where `--strict` finds what is intact not good enough.
const STRICT_EXIT: u8 = 25;

/// One word of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Bytes below a signed size do not give the signed root, or signatures do not hold.
    Tampered,
    /// Another history under the same origin.
    Forked,
    /// Shorter than a known head or its own checkpoint.
    RolledBack,
    /// A segment, grants file or detail is gone, and no signed entry says so.
    Missing,
    /// An unfinished tail: start the daemon to recover.
    Torn,
    /// Intact; details erased or entries pruned by signed entries.
    Erased,
    /// Intact, with recovery entries, all explained.
    Recovered,
    /// Intact.
    Ok,
}

impl Verdict {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Tampered => "tampered",
            Verdict::Forked => "forked",
            Verdict::RolledBack => "rolled_back",
            Verdict::Missing => "missing",
            Verdict::Torn => "torn",
            Verdict::Erased => "erased",
            Verdict::Recovered => "recovered",
            Verdict::Ok => "ok",
        }
    }
    /// The exit code.
    pub fn exit(self) -> u8 {
        match self {
            Verdict::Ok | Verdict::Recovered => 0,
            Verdict::Tampered => 1,
            Verdict::RolledBack => 20,
            Verdict::Forked => 21,
            Verdict::Missing => 22,
            Verdict::Torn => 23,
            Verdict::Erased => 24,
        }
    }
    /// Whether the entries are what was signed.
    pub fn is_intact(self) -> bool {
        matches!(self, Verdict::Ok | Verdict::Recovered | Verdict::Erased)
    }
}

/// A range of entries that is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// First entry.
    pub first: u64,
    /// Last entry.
    pub last: u64,
    /// The file.
    pub file: String,
    /// What was found.
    pub why: String,
    /// Entry 0 of the next generation names this damage: somebody knows and accepted it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
}

/// A silence that no `stop` entry explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The entry before.
    pub after: u64,
    /// Its time.
    pub from: Time,
    /// The time of the entry after.
    pub to: Time,
}

/// Something off this host that vouches for the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// `known_head`, `witness` or `timestamp`.
    pub kind: &'static str,
    /// Whose.
    pub name: String,
    /// Entries that it vouches for.
    pub size: u64,
    /// When it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// Details that a signed entry removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// First entry.
    pub first: u64,
    /// Last entry.
    pub last: u64,
    /// The entry that says so.
    pub by: u64,
    /// `erase`: details. `prune`: the entries themselves.
    pub what: &'static str,
}

/// The result for one trail: its newest generation, with the older ones beside.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The worst verdict.
    pub verdict: Verdict,
    /// All that apply.
    pub verdicts: Vec<Verdict>,
    /// Exit code.
    pub exit: u8,
    /// `pinned` by a trust file or `unpinned`.
    pub trust: &'static str,
    /// The trail's origin.
    pub origin: String,
    /// Signed size.
    pub size: u64,
    /// Signed root.
    pub root: String,
    /// Entries beyond the signed size, whole and committed.
    pub unsigned: u64,
    /// The newest size up to which everything verifies.
    pub verified_size: u64,
    /// The root of that size.
    pub verified_root: String,
    /// Epochs met: the number of the newest.
    pub epoch: u32,
    /// Damaged ranges.
    pub damage: Vec<Damage>,
    /// Silences.
    pub gaps: Vec<Silence>,
    /// Size up to which something off this host vouches for the trail.
    pub anchored_to: u64,
    /// What vouches.
    pub anchors: Vec<Anchor>,
    /// Time of the oldest entry that nothing off this host vouches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unanchored: Option<Time>,
    /// Details and entries removed by signed entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<Erased>,
    /// Recovery entries met.
    pub recoveries: Vec<u64>,
    /// Remarks that change no verdict.
    pub notes: Vec<String>,
    /// Time of the newest signed entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Time>,
    /// Older generations, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Outcome>,
    /// What entry 0 says about the generation before.
    #[serde(skip)]
    pub previous: Option<generation::Previous>,
    /// The checkpoint that it was verified under: the signed note.
    #[serde(skip)]
    pub note: String,
    /// The log key that was used.
    #[serde(skip)]
    log: Option<[u8; 32]>,
}

/// What the verifier is given besides the folder.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A trust file's content.
    pub trust: Option<Trust>,
    /// A checkpoint that somebody kept: its note.
    pub known_head: Option<String>,
    /// Which witnesses count: the policy of the trust file.
    pub policy: Option<Policy>,
    /// Whose time stamps count.
    pub authorities: Option<Authorities>,
    /// `recovered`, `erased`, unpinned and unanchored are not good enough.
    pub strict: bool,
}

/// The trail folder meant by a state or a trail folder.
pub fn trail_folder(dir: &Path) -> PathBuf {
    match dir.join("trail").is_dir() {
        true => dir.join("trail"),
        false => dir.to_owned(),
    }
}

/// Verifies all generations under a state or trail folder. `progress` is called with entries read.
pub fn verify(dir: &Path, given: &Given, progress: &mut dyn FnMut(u64)) -> Result<Outcome, TrailError> {
    verify_on(&RealDisk, &trail_folder(dir), given, progress)
}

/// Verifies all generations under a trail folder of any disk.
pub fn verify_on(
    disk: &dyn Disk,
    trail: &Path,
    given: &Given,
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, TrailError> {
    let numbers = generation::all(disk, trail)?;
    let mut older: Vec<Outcome> = Vec::new();
    for number in numbers.iter().copied().chain(numbers.is_empty().then_some(1)) {
        let mut outcome = verify_generation(disk, trail, number, given, progress)?;
        match older.last_mut() {
            Some(before) => link(before, &mut outcome, given),
            None if number > 1 => outcome.notes.push(format!("no generation before {number} is here")),
            None => {}
        }
        older.push(outcome);
    }
    // A history of ours never ends; an empty list cannot be, for the loop ran at least once.
    let Some(mut newest) = older.pop() else { return verify_generation(disk, trail, 1, given, progress) };
    if given.trust.is_some() && newest.trust == "pinned" {
        // A pinned entry 0 names the head before it, so what leads to that head is pinned as well.
        older.iter_mut().for_each(|outcome| outcome.trust = "pinned");
    }
    for outcome in &older {
        let worse = outcome.verdicts.iter().filter(|verdict| **verdict != Verdict::Ok);
        newest.verdicts.extend(worse.copied());
    }
    newest.generations = older;
    newest.judge(given);
    Ok(newest)
}

/// Verifies one generation.
pub fn verify_generation(
    disk: &dyn Disk,
    trail: &Path,
    number: u32,
    given: &Given,
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, TrailError> {
    let folder = trail.join(format!("g{number}"));
    let mut run = walk::Run::new(disk, &folder, given)?;
    run.read_checkpoints()?;
    run.read_segments(progress)?;
    run.check_heads(given);
    run.look_for_stamps(given);
    run.check_pruned();
    run.check_beside(trail.parent().unwrap_or(Path::new(".")), number)?;
    let mut outcome = run.outcome();
    outcome.judge(given);
    Ok(outcome)
}

/// Holds a generation against what the next one says about it.
fn link(before: &mut Outcome, next: &mut Outcome, given: &Given) {
    let Some(previous) = next.previous.clone() else {
        next.damage("segments", "entry 0 does not say what this generation continues");
        return next.judge(given);
    };
    for damage in before.damage.iter_mut().filter(|damage| previous.acknowledges(damage)) {
        damage.acknowledged = true;
    }
    let same_key = before.log.is_some() && before.log == next.log;
    if previous.origin != before.origin || !same_key {
        next.damage("segments", "entry 0 continues another trail than the one here");
    }
    let here = match previous.size == before.verified_size {
        true => previous.root == before.verified_root,
        false => previous.size < before.verified_size || !before.damage.is_empty(),
    };
    if !here {
        before.verdicts.push(Verdict::RolledBack);
        before.notes.push(format!(
            "the next generation continues a head of {} entries that is not here",
            previous.size
        ));
        before.judge(given);
    }
    let repeats = if previous.may_repeat { "; records read after it may stand in both" } else { "" };
    next.notes.push(format!(
        "continues {} at entry {} ({} ranges known damaged): {}, says {}{repeats}",
        previous.origin,
        previous.size,
        previous.damaged.len(),
        previous.reason,
        previous.operator
    ));
}

impl Outcome {
    fn damage(&mut self, file: &str, why: &str) {
        self.verdicts.push(Verdict::Tampered);
        self.damage.push(Damage {
            first: 0,
            last: 0,
            file: file.to_owned(),
            why: why.to_owned(),
            acknowledged: false,
        });
    }

    /// Whether the newest generation holds, and older ones hold or their damage is known. An unfinished tail
    /// is no damage: a daemon that runs has one.
    pub fn holds(&self) -> bool {
        let fine = |outcome: &Outcome| {
            outcome.damage.iter().all(|damage| damage.acknowledged)
                && outcome.own_verdicts().all(|verdict| verdict.is_intact() || verdict == Verdict::Torn)
        };
        let old = |outcome: &Outcome| {
            let known = !outcome.damage.is_empty() && outcome.damage.iter().all(|damage| damage.acknowledged);
            known || fine(outcome)
        };
        fine(self) && self.generations.iter().all(old)
    }

    /// Verdicts without those of older generations.
    fn own_verdicts(&self) -> impl Iterator<Item = Verdict> {
        let older =
            |verdict: &&Verdict| !self.generations.iter().any(|outcome| outcome.verdicts.contains(verdict));
        self.verdicts.iter().filter(older).copied()
    }

    /// Sorts the verdicts and finds the worst and its exit code.
    fn judge(&mut self, given: &Given) {
        self.verdicts.sort();
        self.verdicts.dedup();
        if self.verdicts.len() > 1 {
            self.verdicts.retain(|verdict| *verdict != Verdict::Ok);
        }
        if self.verdicts.is_empty() {
            self.verdicts.push(Verdict::Ok);
        }
        self.verdict = self.verdicts[0];
        let lacks = self.lacks();
        self.exit = match self.verdict.exit() {
            _ if given.strict && self.verdict.is_intact() && !lacks.is_empty() => STRICT_EXIT,
            exit => exit,
        };
        self.notes.retain(|note| !note.starts_with("--strict"));
        if given.strict && self.verdict.is_intact() && !lacks.is_empty() {
            self.notes.push(format!("--strict: {} is not good enough", lacks.join(", ")));
        }
    }

    /// What `--strict` does not accept.
    fn lacks(&self) -> Vec<&'static str> {
        let mut lacks = Vec::new();
        let has = |verdict| self.verdicts.contains(&verdict);
        lacks.extend(has(Verdict::Recovered).then_some("recovered"));
        lacks.extend(has(Verdict::Erased).then_some("erased"));
        lacks.extend((self.trust != "pinned").then_some("unpinned"));
        lacks.extend((self.anchored_to < self.size).then_some("unanchored"));
        lacks
    }
}
