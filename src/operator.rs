//! What people do to the trail itself: change its epoch key, hold everything, prune, erase.
//!
//! Each act is an entry with who, why and who approved, signed before anybody hears of it. The same code runs
//! on the daemon's writer, when it is asked over the control socket, and on a trail that a command opened
//! because no daemon runs. An act that is refused changes nothing.

use crate::inspect::dlp;
use crate::model::Time;
use crate::model::json::Object;
use crate::trail::detail::{self, Store};
use crate::trail::prune::{self, Approval};
use crate::trail::{Bodies, Cursors, Trail, TrailError};
use serde::{Deserialize, Serialize};

/// Longest reason, name or approver, characters.
pub const WORDS_MAX: usize = 1000;

/// An act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Change the epoch key now.
    RotateEpoch {
        /// Why.
        reason: String,
    },
    /// A legal hold: nothing is pruned or erased until it is released.
    Hold {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Ends a hold.
    Release {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Remove the details of entries; what they commit to stays, and verifies.
    Erase {
        /// Entries in which this value stands as a detail.
        person: Option<String>,
        /// Entries by index, both ends included.
        entries: Vec<(u64, u64)>,
        /// Why.
        reason: String,
        /// Who asked.
        requester: String,
        /// Who approved.
        approver: String,
    },
    /// Remove all segments that hold only entries older than a time.
    Prune {
        /// Everything older may go.
        before: Time,
        /// Why.
        reason: String,
        /// Who asked.
        requester: String,
        /// Who approved.
        approver: String,
    },
}

/// What an act did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The entry that records it.
    pub entry: u64,
    /// In words.
    pub text: String,
}

impl Act {
    /// Words that must not be empty or endless.
    fn check(&self) -> Result<(), TrailError> {
        let words: Vec<(&str, &String)> = match self {
            Act::RotateEpoch { reason } => vec![("reason", reason)],
            Act::Hold { name, reason } | Act::Release { name, reason } => {
                vec![("name", name), ("reason", reason)]
            }
            Act::Prune { reason, approver, .. } | Act::Erase { reason, approver, .. } => {
                vec![("reason", reason), ("approver", approver)]
            }
        };
        for (what, word) in words {
            if word.trim().is_empty() || word.chars().count() > WORDS_MAX {
                return Err(refused(format!("`{what}` must have 1 to {WORDS_MAX} characters")));
            }
        }
        Ok(())
    }
}

/// An act that cannot be done: nothing was changed.
fn refused(what: impl Into<String>) -> TrailError {
    TrailError::Setup(what.into())
}

/// Does an act. What was committed before must be signed; afterwards it is again.
/// `store` holds the details of an erasable deployment.
pub fn operate(
    trail: &mut Trail,
    store: Option<&mut Store>,
    act: &Act,
    uid: u32,
    now: Time,
) -> Result<Done, TrailError> {
    act.check()?;
    trail.make_room(now)?;
    match act {
        Act::RotateEpoch { reason } => {
            let entry = record(trail, "rotate_epoch", None, reason, uid, now)?;
            trail.change_epoch(now)?;
            Ok(Done {
                entry,
                text: format!("epoch {} is in force; its predecessor's key is destroyed", trail.epoch()),
            })
        }
        Act::Hold { name, reason } => {
            if trail.holds().contains(name) {
                return Err(refused(format!("the hold `{name}` is in force already")));
            }
            let entry = record(trail, "hold", Some(name), reason, uid, now)?;
            trail.set_hold(name, true);
            Ok(Done { entry, text: format!("the hold `{name}` is in force: nothing is pruned or erased") })
        }
        Act::Release { name, reason } => {
            if !trail.holds().contains(name) {
                let known: Vec<&str> = trail.holds().iter().map(String::as_str).collect();
                return Err(refused(format!("there is no hold `{name}`; in force: {}", known.join(", "))));
            }
            let entry = record(trail, "release", Some(name), reason, uid, now)?;
            trail.set_hold(name, false);
            Ok(Done { entry, text: format!("the hold `{name}` is released") })
        }
        Act::Erase { person, entries, reason, requester, approver } => {
            let Some(store) = store else {
                return Err(refused(
                    "nothing can be erased from a trail that was made with `privacy: plain`",
                ));
            };
            let approval =
                Approval { reason: reason.clone(), requester: requester.clone(), approver: approver.clone() };
            erase(trail, store, (person.as_deref(), entries), &approval, uid, now)
        }
        Act::Prune { before, reason, requester, approver } => {
            let approval =
                Approval { reason: reason.clone(), requester: requester.clone(), approver: approver.clone() };
            prune_before(trail, *before, &approval, uid, now)
        }
    }
}

/// Most ranges that are erased at a time.
const RANGES_MAX: usize = 100_000;
/// Ranges that one `erase` entry names: with the longest words it is still one line.
const RANGES_ENTRY: usize = 700;

fn erase(
    trail: &mut Trail,
    store: &mut Store,
    (person, entries): (Option<&str>, &[(u64, u64)]),
    approval: &Approval,
    uid: u32,
    now: Time,
) -> Result<Done, TrailError> {
    let mut ranges: Vec<(u64, u64)> = entries.to_vec();
    if let Some(person) = person {
        detail::each(&**trail.disk(), store.folder(), &mut |detail| {
            match ranges.last_mut() {
                _ if !mentions(&detail.value, person) => {}
                Some((_, last)) if *last == detail.index || *last + 1 == detail.index => *last = detail.index,
                _ => ranges.push((detail.index, detail.index)),
            }
            Ok(())
        })?;
    }
    if ranges.is_empty() || ranges.len() > RANGES_MAX {
        return Err(refused(match ranges.len() {
            0 => "no detail matches: nothing is erased".to_owned(),
            many => format!("{many} ranges match, at most {RANGES_MAX} at a time: name entries"),
        }));
    }
    let entry = trail.next_index();
    for some in ranges.chunks(RANGES_ENTRY) {
        trail.erase(some, approval, dlp::mask, now)?;
    }
    let removed = finish_erasure(trail, store, &ranges, uid, now)?;
    Ok(Done {
        entry,
        text: format!(
            "{removed} details are erased; proofs and older reports still verify. Not reached: mails, files of \
             directory receivers and reports that left already, and blocks that the file system has freed"
        ),
    })
}

/// Whether a detail is this value, or a list that holds it; upper and lower case are the same.
fn mentions(value: &str, person: &str) -> bool {
    let same = |value: &str| value.to_lowercase() == person.to_lowercase();
    same(value)
        || (value.starts_with('[')
            && serde_json::from_str::<Vec<String>>(value).is_ok_and(|ids| ids.iter().any(|id| same(id))))
}

/// Removes the details that a signed entry names, and records that it is done. Also what a start does with an
/// erasure that a crash interrupted.
pub fn finish_erasure(
    trail: &mut Trail,
    store: &mut Store,
    ranges: &[(u64, u64)],
    uid: u32,
    now: Time,
) -> Result<u64, TrailError> {
    let removed = store.remove(ranges)?;
    record(trail, "erased", None, &format!("{removed} details removed"), uid, now)?;
    trail.erasure_done();
    Ok(removed)
}

fn prune_before(
    trail: &mut Trail,
    before: Time,
    approval: &Approval,
    uid: u32,
    now: Time,
) -> Result<Done, TrailError> {
    trail.refuse_under_hold("prune")?;
    let cut = prune::cut_before(&**trail.disk(), trail.folder(), before)?;
    let from = trail.minimum();
    let Some(to) = cut.filter(|to| *to > from) else {
        return Err(refused(format!(
            "no whole segment is older than {before}: nothing is pruned (segments close at 64 MiB or 24 h)"
        )));
    };
    record(trail, "prune", None, &approval.reason, uid, now)?;
    let entry = trail.next_index();
    trail.prune(to, approval, dlp::mask, now)?;
    let mut text = format!("entries {from} to {} are pruned; proofs of later ones still hold", to - 1);
    for number in trail.destroy_old_fingerprint_keys(now)? {
        text.push_str(&format!(
            "; fingerprint key {number} cannot be destroyed here: remove it from `keys:`"
        ));
    }
    Ok(Done { entry, text })
}

/// The `operator` entry: who did what, and why.
fn record(
    trail: &mut Trail,
    what: &'static str,
    hold: Option<&String>,
    reason: &str,
    uid: u32,
    now: Time,
) -> Result<u64, TrailError> {
    let entry = trail.next_index();
    let mut bodies = Bodies::default();
    bodies.push("operator", |out| {
        let mut out = Object::members(out, dlp::mask);
        out.word("do", what);
        if let Some(hold) = hold {
            out.str("hold", hold);
        }
        out.str("reason", reason);
        out.uint("uid", u64::from(uid));
    });
    trail.commit(&bodies, &Cursors::new(), now)?;
    trail.checkpoint(now)?;
    Ok(entry)
}
