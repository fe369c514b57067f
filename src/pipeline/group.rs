//! What the writer holds between two messages: the group being built, and what waits for its checkpoint.

use crate::clock::{Clock, Steps};
use crate::consequence::Shown;
use crate::inspect::privilege::{Coverage, Snapshots};
use crate::metrics::Metrics;
use crate::model::Time;
use crate::model::json::Mask;
use crate::source::Receipt;
use crate::source::file::Rest;
use crate::stage::StagedEvent;
use crate::trail::{Bodies, Cursors};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A group is closed when its members reach this many bytes.
pub const GROUP_BYTES: usize = 1 << 20;
/// And when the batches that it shares its members with hold so many: of each it may need one event alone.
const GROUP_HELD: usize = 8 << 20;
/// And when so many entries wait in it.
const GROUP_ENTRIES: usize = 8192;
/// And when so many streams moved: one commit line holds their positions (a line has 60 KiB).
const GROUP_STREAMS: usize = 48;

/// Something that a metric counts once a checkpoint covers it.
pub(super) type Count = Box<dyn FnOnce(&Metrics) + Send>;

/// The group being built, and what waits for its checkpoint.
pub struct Group {
    /// Its entries.
    pub bodies: Bodies,
    /// Positions that move with it.
    pub moved: Cursors,
    /// Open snapshots.
    pub snapshots: Snapshots,
    /// How much use could be compared.
    pub coverage: Coverage,
    /// What may be shown once a checkpoint covers it.
    pub unshown: Vec<Shown>,
    /// What is counted then.
    pub(super) measured: Vec<Count>,
    /// Who brought what is in the group, and who brought what is committed and not yet signed.
    pub(super) receipts: Vec<Receipt>,
    pub(super) committed: Vec<Receipt>,
    /// Alerts handed to a worker: alert and receiver.
    pub handed: BTreeSet<(String, String)>,
    /// Receivers known to be down.
    pub down: BTreeSet<String>,
    #[allow(clippy::vec_box)] // They came boxed, and go back to where they were allocated as they are.
    pub(super) spent: Vec<Box<StagedEvent>>,
    /// The event that packed ones are unpacked into, one after the other.
    pub(super) unpacked: Option<Box<StagedEvent>>,
    pub(super) steps: Steps,
    /// When the passing of time was looked at last.
    pub last_duties: Instant,
    /// When receivers that forget were reminded last.
    pub last_reminder: Instant,
    /// When each source was heard last, from the start on; and whether its silence was told since.
    pub heard: BTreeMap<String, (Time, bool)>,
    pub(super) last_settle: Instant,
    pub(super) last_commit: Instant,
    pub(super) last_checkpoint: Instant,
    pub(super) entries_at_cache: u64,
    pub(super) done: Option<(Instant, Vec<Rest>)>,
    /// Since when it is known that the trail is damaged, and what is.
    pub(super) damaged: Option<(Instant, String)>,
    pub(super) stopping: bool,
    pub(super) pulse_seen: (u64, u64),
    /// What was said about evictions, by rule.
    pub evictions: BTreeMap<String, Evictions>,
}

/// What was said about the evictions of one rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evictions {
    /// So many are in the metric.
    pub counted: u64,
    /// So many were named by a finding.
    pub told: u64,
    /// When the newest of these findings was made.
    pub at: Option<Instant>,
}

impl Group {
    /// An empty group of a writer that starts now, whose snapshots are masked so.
    pub fn new(clock: &Clock, mask: Mask) -> Group {
        let now = clock.mark();
        Group {
            bodies: Bodies::default(),
            moved: Cursors::new(),
            snapshots: Snapshots::new(mask),
            coverage: Coverage::default(),
            unshown: Vec::new(),
            measured: Vec::new(),
            receipts: Vec::new(),
            committed: Vec::new(),
            handed: BTreeSet::new(),
            down: BTreeSet::new(),
            spent: Vec::new(),
            unpacked: None,
            steps: Steps::of(clock),
            last_duties: now,
            last_reminder: now,
            heard: BTreeMap::new(),
            last_settle: now,
            last_commit: now,
            last_checkpoint: now,
            entries_at_cache: 0,
            done: None,
            damaged: None,
            stopping: false,
            pulse_seen: (0, 0),
            evictions: BTreeMap::new(),
        }
    }

    /// Whether it is large enough to be committed, however soon more may come.
    pub fn is_full(&self) -> bool {
        self.bodies.bytes() >= GROUP_BYTES
            || self.bodies.held() >= GROUP_HELD
            || self.bodies.len() >= GROUP_ENTRIES
            || self.moved.values().map(BTreeMap::len).sum::<usize>() >= GROUP_STREAMS
    }

    /// The trail is not what was signed, known since this mark: the alerts about it leave, then the daemon ends.
    pub fn end_damaged(&mut self, since: Instant, what: String) {
        self.damaged = Some((since, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::no_mask;
    use serde_json::value::RawValue;
    use std::sync::Arc;

    /// How often something is added until a group is full.
    fn until_full(mut add: impl FnMut(&mut Group, usize)) -> usize {
        let mut group = Group::new(&Clock::System, no_mask);
        let mut times = 0;
        while !group.is_full() {
            add(&mut group, times);
            times += 1;
            assert!(times <= 2 * GROUP_ENTRIES, "no limit closes it");
        }
        times
    }

    #[test]
    fn each_limit_closes_a_group_by_itself() {
        let member = b"\"m\":1".to_vec();
        let small = |group: &mut Group, _| group.bodies.push("event", |out| out.extend_from_slice(&member));
        assert_eq!(until_full(small), GROUP_ENTRIES);

        let large = "x".repeat(GROUP_BYTES / 64);
        let large = |group: &mut Group, _| {
            group.bodies.push("event", |out| out.extend_from_slice(format!("\"m\":\"{large}\"").as_bytes()));
        };
        assert_eq!(until_full(large), 64);

        // A batch of which one small event is needed stays whole.
        let sparse = |group: &mut Group, _| {
            let mut batch = Vec::with_capacity(GROUP_HELD / 16);
            batch.extend_from_slice(&member);
            group.bodies.share("event", &Arc::new(batch), 0..member.len());
        };
        assert_eq!(until_full(sparse), 16);

        let moving = |group: &mut Group, number: usize| {
            let streams = group.moved.entry(format!("source{}", number % 3)).or_default();
            streams.insert(number.to_string(), RawValue::NULL.to_owned());
        };
        assert_eq!(until_full(moving), GROUP_STREAMS);
    }
}
