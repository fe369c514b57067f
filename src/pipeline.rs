//! The flow, from top to bottom.
//!
//! ```text
//! reader thread      stage thread          writer thread (this one owns the trail)
//! files ──batches──▶ records → events ───▶ correlate → findings → incidents → alerts owed
//!                    numbers masked        COMMIT: evidence + consequences + cursors, one sync
//!                    stateless rules       CHECKPOINT → only now: shown, sent, measured
//! ```
//!
//! Three threads and two bounded channels; order per source is the order of the channel. A slow disk stops
//! the writer, the full channels stop the stage and the reader, and the sources keep what was not read.
//! Under load one checkpoint covers all groups of up to a second; when nothing waits it is made at once.
//!
//! The file is long because the flow is to be read in one place; what follows from evidence stands in
//! [`crate::consequence`].

mod group;
mod repeats;

pub use group::{Evictions, GROUP_BYTES, Group};

use crate::anchor::{self, Anchoring};
use crate::clock::{self, Clock};
use crate::consequence::{EVICTIONS_EVERY, Shown};
use crate::control::{self, Reply, Request};
use crate::deliver::{Desk, Job, Report};
use crate::metrics::Metrics;
use crate::model::json::{Mask, Object, masked};
use crate::model::{Event, Finding, Time};
use crate::policy::Policies;
use crate::privacy::Privacy;
use crate::source::file::watch::Watch;
use crate::source::file::{Lag, Mode, Rest};
use crate::source::{Batch, Notice, Source};
use crate::stage::{Item, PackedEvent, Stage, Staged, StagedEvent};
use crate::state::State;
use crate::trail::quarter::Quarters;
use crate::trail::verify::Outcome;
use crate::trail::{Trail, TrailError};
use crate::{inspect::dlp, stage};
use repeats::Repeats;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A group waits at most so long for more.
const GROUP_WAIT: Duration = Duration::from_millis(20);
/// One checkpoint covers all groups of so long.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// And so long while somebody waits for a receipt.
const RECEIPTS_EVERY: Duration = Duration::from_millis(50);
/// The memory of an event is used again when its members were no longer than this: of a huge one nothing stays.
const UNPACKED_BYTES: usize = 64 << 10;
/// Batches that wait between two threads.
pub const BATCHES_WAITING: usize = 2;
/// Bytes that one source may hand over before the next has its turn.
const TURN_BYTES: u64 = 1 << 20;
/// Longest wait of any thread, so that stop, watchdog and heartbeat are never far away.
const TURN: Duration = Duration::from_millis(500);
/// The cache of projections is written after so many entries.
const CACHE_EVERY: u64 = 500_000;
/// With `--once`: how long owed alerts are waited for after the last commit.
const DELIVERY_WAIT: Duration = Duration::from_secs(30);

/// What the reader hands to the stage.
pub enum ToStage {
    /// Records of one stream.
    Batch(Box<Batch>, Time),
    /// What concerns no stream.
    Notices(Arc<str>, Vec<Notice>),
    /// How far behind a source is.
    Lag(Arc<str>, Lag),
    /// `--once`: everything is read; what is left unterminated.
    Done(Vec<Rest>),
    /// From here on these policies judge.
    Policies(Box<Policies>),
}

/// What reaches the writer.
pub enum ToWriter {
    /// A batch after the stage.
    Staged(Box<Staged>),
    /// What concerns no stream.
    Notices(Arc<str>, Vec<Notice>),
    /// How far behind a source is.
    Lag(Arc<str>, Lag),
    /// `--once`: everything is read.
    Done(Vec<Rest>),
    /// From here on these policies judge.
    Policies(Box<Policies>),
    /// They were loaded again and are the same.
    PoliciesSame,
    /// New policies are bad: the old ones stay in force. What is wrong with them.
    PoliciesRefused(String),
    /// What became of an alert.
    Delivered(Report),
    /// A thread ended by a panic outside of any record.
    Died(&'static str),
    /// What became of a checkpoint at an anchor.
    Anchored(Box<crate::anchor::Report>),
    /// The daemon verified its own trail.
    Verified(Box<Outcome>),
    /// A command over the control socket.
    Control(Request, mpsc::Sender<Reply>),
    /// Drain, commit, sign, end.
    Stop,
}

/// What the writer is done with: it goes back to the thread that allocated most of it, where it is cheaper to free.
pub enum Spent {
    /// A batch and its events.
    #[allow(clippy::vec_box)] // They came boxed.
    Batch(Box<Staged>, Vec<Box<StagedEvent>>),
    /// What the entries of a committed group shared.
    Members(Vec<Arc<Vec<u8>>>),
}

/// Proof that the other threads turn.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Completed turns of the reader.
    pub reader: AtomicU64,
    /// Completed turns of the stage.
    pub stage: AtomicU64,
    /// Completed turns of the writer.
    pub writer: AtomicU64,
    /// The reader shall end.
    pub stop: AtomicBool,
}

/// What the reader is made of.
pub struct Reader {
    /// Sources by name.
    pub sources: Vec<(Arc<str>, Source)>,
    /// What ends its wait.
    pub watch: Watch,
    /// Fingerprint keys by the time of reading.
    pub quarters: Quarters,
    /// What time it is.
    pub clock: Clock,
    /// How far it reads.
    pub mode: Mode,
}

/// Reads all sources in turn until told to stop, or, with `once`, to their present end.
pub fn read(reader: Reader, out: &SyncSender<ToStage>, pulse: &Pulse) {
    let Reader { mut sources, mut watch, mut quarters, clock, mode } = reader;
    let mut lags: Vec<Option<Lag>> = vec![None; sources.len()];
    while !pulse.stop.load(Ordering::Relaxed) {
        if quarters.turn(clock.now()) {
            sources.iter_mut().for_each(|(_, source)| source.set_raw_key(quarters.key().clone()));
        }
        if let Some(warning) = quarters.take_warning() {
            tracing::warn!("{warning}");
        }
        let mut idle = true;
        for ((name, source), known) in sources.iter_mut().zip(&mut lags) {
            let polled = source.poll(mode, TURN_BYTES);
            idle &= polled.idle;
            let observed = clock.now();
            let batches = polled.batches.into_iter().map(|batch| ToStage::Batch(Box::new(batch), observed));
            let notices =
                (!polled.notices.is_empty()).then_some(ToStage::Notices(name.clone(), polled.notices));
            let lag = source.lag();
            let changed = known.replace(lag) != Some(lag);
            let lag = changed.then(|| ToStage::Lag(name.clone(), lag));
            for message in notices.into_iter().chain(batches).chain(lag) {
                if out.send(message).is_err() {
                    return;
                }
            }
        }
        pulse.reader.fetch_add(1, Ordering::Relaxed);
        if idle && mode != Mode::Follow {
            let rest = sources.iter().flat_map(|(_, source)| source.rest()).collect();
            let _ = out.send(ToStage::Done(rest));
            return;
        }
        if idle {
            let folders: Vec<_> = sources.iter().flat_map(|(_, source)| source.folders().to_vec()).collect();
            watch.follow(&folders);
            watch.wait(TURN);
        }
    }
}

/// Turns batches into staged batches, in order.
pub fn work(
    mut stage: Stage,
    inbox: &Receiver<ToStage>,
    spent: &Receiver<Spent>,
    out: &SyncSender<ToWriter>,
    pulse: &Pulse,
) {
    loop {
        while spent.try_recv().is_ok() {} // Dropped on the thread that allocated it.
        let message = match inbox.recv_timeout(TURN) {
            Ok(ToStage::Batch(batch, observed)) => {
                stage.learn(&batch.raw_key);
                ToWriter::Staged(Box::new(stage.work(*batch, observed)))
            }
            Ok(ToStage::Notices(source, notices)) => ToWriter::Notices(source, notices),
            Ok(ToStage::Lag(source, lag)) => ToWriter::Lag(source, lag),
            Ok(ToStage::Done(rest)) => ToWriter::Done(rest),
            Ok(ToStage::Policies(policies)) => match judge_by(&mut stage, &policies) {
                Ok(()) => ToWriter::Policies(policies),
                Err(why) => ToWriter::PoliciesRefused(why),
            },
            Err(RecvTimeoutError::Timeout) => {
                pulse.stage.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        pulse.stage.fetch_add(1, Ordering::Relaxed);
        if out.send(message).is_err() {
            return;
        }
    }
}

fn judge_by(stage: &mut Stage, policies: &Policies) -> Result<(), String> {
    stage.judge_by(&policies.dlp, &policies.access, &policies.detections)
}

/// Where the members of an event stand: in what, and from where to where.
type Members<'a> = (&'a Arc<Vec<u8>>, Range<usize>);

/// What the writer is made of.
pub struct Writer {
    /// The trail.
    pub trail: Trail,
    /// What is remembered.
    pub state: State,
    /// What is in force.
    pub policies: Policies,
    /// Who gets what.
    pub routes: Vec<crate::alert::route::Route>,
    /// Jobs for the receivers' workers, by name.
    pub receivers: BTreeMap<String, tokio::sync::mpsc::Sender<Job>>,
    /// What is known of each receiver.
    pub desks: BTreeMap<String, Desk>,
    /// Product of each source.
    pub systems: BTreeMap<String, crate::model::System>,
    /// Seconds after which a source's silence is a finding.
    pub expected: BTreeMap<String, u64>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Where what it is done with goes back to.
    pub spent: mpsc::Sender<Spent>,
    /// Proof of life.
    pub pulse: Arc<Pulse>,
    /// Where checkpoints are anchored.
    pub anchors: Anchoring,
    /// Called at every turn that every thread completed.
    pub alive: Box<dyn FnMut() + Send>,
    /// Called with what may be shown: after the checkpoint that covers it.
    pub show: Box<dyn FnMut(&Shown) + Send>,
    /// In an erasable deployment: details, and what pseudonyms stand for.
    pub privacy: Option<Box<Privacy>>,
    /// Masks what becomes an entry: [`dlp::mask`], or around pseudonyms in an erasable deployment.
    pub mask: Mask,
    /// Facts that alerts repeat.
    pub about: About,
    /// What time it is.
    pub clock: Clock,
    /// Seconds without a commit after which a heartbeat is written.
    pub heartbeat: Duration,
    /// End when everything is read.
    pub once: bool,
    /// The group being built.
    pub group: Group,
}

/// Facts about this deployment that alerts and replies repeat.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Deployment name.
    pub deployment: String,
    /// Host name.
    pub host: String,
    /// State folder, for the verify command.
    pub state: String,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Records left unterminated, with `--once`.
    pub rest: Vec<Rest>,
    /// The last checkpoint's size.
    pub signed: u64,
    /// Alerts still owed.
    pub owed: usize,
}

impl Writer {
    /// The writer's life: from the first message to the last checkpoint.
    pub fn run(mut self, inbox: &Receiver<ToWriter>) -> Result<(Ended, State), TrailError> {
        self.start()?;
        loop {
            let over = match inbox.recv_timeout(self.patience()) {
                Ok(message) => self.step(Some(message))?,
                Err(RecvTimeoutError::Timeout) => self.step(None)?,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if over {
                return self.end();
            }
        }
    }

    /// Before the first message: what is already committed is signed, what is owed goes to its workers.
    pub fn start(&mut self) -> Result<(), TrailError> {
        self.group.entries_at_cache = self.trail.next_index();
        self.group.evictions = crate::consequence::known_evictions(&self.state);
        self.checkpoint()
    }

    /// How long a message is waited for.
    fn patience(&self) -> Duration {
        let pending = !self.group.bodies.is_empty() || !self.group.moved.is_empty() || self.is_unsigned();
        if pending { GROUP_WAIT } else { TURN }
    }

    /// One message, or none in time. `true`: there is nothing more to do, [`Writer::end`] follows.
    pub fn step(&mut self, message: Option<ToWriter>) -> Result<bool, TrailError> {
        let more_may_wait = message.is_some();
        if let Some(message) = message {
            self.take(message)?;
        }
        self.turn()?;
        // A trickle of messages must not keep what is there from being signed.
        if more_may_wait && self.clock.since(self.group.last_settle) < self.checkpoint_every() {
            return Ok(false);
        }
        self.settle()?;
        Ok(self.finished())
    }

    fn checkpoint_every(&self) -> Duration {
        let waited_for = !self.group.receipts.is_empty() || !self.group.committed.is_empty();
        if waited_for { RECEIPTS_EVERY } else { CHECKPOINT_EVERY }
    }

    fn is_unsigned(&self) -> bool {
        self.trail.signed().size < self.trail.next_index()
    }

    fn take(&mut self, message: ToWriter) -> Result<(), TrailError> {
        match message {
            ToWriter::Staged(staged) => self.batch(staged)?,
            ToWriter::Notices(source, notices) => {
                self.begin()?;
                notices.iter().for_each(|notice| self.notice(&source, notice));
            }
            ToWriter::Policies(policies) => self.policies_in_force(*policies)?,
            ToWriter::PoliciesSame => self.metrics.reloaded(self.clock.now(), true),
            ToWriter::PoliciesRefused(what) => self.policies_refused(what)?,
            ToWriter::Died(thread) => {
                let source = std::io::Error::other("it panicked; its place stands in the log");
                return Err(TrailError::io("go on without the thread", std::path::Path::new(thread), source));
            }

            ToWriter::Lag(source, lag) => self.lag(&source, &lag),
            ToWriter::Done(rest) => self.group.done = Some((self.clock.mark(), rest)),
            ToWriter::Delivered(report) => self.delivered(&report)?,
            ToWriter::Verified(outcome) => self.verified(&outcome)?,
            ToWriter::Anchored(report) => self.anchored(*report)?,
            ToWriter::Control(request, reply) => {
                let answer = control::answer(self, &request)?;
                let _ = reply.send(answer);
            }
            ToWriter::Stop => {
                self.group.stopping = true;
                self.pulse.stop.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Closes the group when it is large enough, and keeps the daemon's own duties.
    fn turn(&mut self) -> Result<(), TrailError> {
        self.pulse.writer.fetch_add(1, Ordering::Relaxed);
        if self.group.is_full() {
            self.commit()?;
            if self.clock.since(self.group.last_checkpoint) >= self.checkpoint_every() {
                self.checkpoint()?;
            }
        }
        let turns = (self.pulse.reader.load(Ordering::Relaxed), self.pulse.stage.load(Ordering::Relaxed));
        let seen = self.group.pulse_seen;
        let read_all = self.group.done.is_some();
        if (turns.0 != seen.0 || read_all) && turns.1 != seen.1 {
            self.group.pulse_seen = turns;
            (self.alive)();
        }
        Ok(())
    }

    /// Nothing waits: what there is becomes durable, signed, shown and sent at once.
    fn settle(&mut self) -> Result<(), TrailError> {
        self.group.last_settle = self.clock.mark();
        if let Some(step) = self.group.steps.look(&self.clock) {
            self.begin()?;
            let text = format!("\"at\":\"{}\",\"step_seconds\":\"{step:.3}\"", self.clock.now());
            self.group.bodies.push("clock", |out| out.extend_from_slice(text.as_bytes()));
        }
        if self.group.bodies.is_empty()
            && self.group.moved.is_empty()
            && self.clock.since(self.group.last_commit) >= self.heartbeat
        {
            self.begin()?;
            let coverage = self.coverage();
            self.group.bodies.push("heartbeat", |out| out.extend_from_slice(&coverage));
        }
        self.duties()?;
        self.commit()?;
        self.checkpoint()?;
        if self.trail.next_index() - self.group.entries_at_cache > CACHE_EVERY {
            self.write_cache()?;
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        if self.group.stopping {
            return true;
        }
        let read = self.group.done.as_ref().filter(|_| self.once).map(|(since, _)| since);
        let damaged = self.group.damaged.as_ref().map(|(since, _)| since);
        let Some(since) = damaged.or(read).copied() else { return false };
        let waiting = self.state.outbox.values().any(|alert| {
            alert.owed.keys().any(|name| self.receivers.contains_key(name) && !self.group.down.contains(name))
        });
        !(waiting || self.anchors.waits()) || self.clock.since(since) > DELIVERY_WAIT
    }

    /// A batch: its notices, its records, its position.
    fn batch(&mut self, mut staged: Box<Staged>) -> Result<(), TrailError> {
        self.begin()?;
        let source = Arc::clone(&staged.source);
        let (name, records, bytes) = (Arc::clone(&source), staged.items.len() as u64, staged.bytes_read);
        self.after(move |metrics| metrics.read(&name, records, bytes));
        for notice in &staged.notices {
            self.notice(&source, notice);
        }
        let mut start = 0;
        let mut events = 0;
        let mut plain = 0;
        if staged.details.salts.failed {
            return Err(crate::privacy::no_randomness());
        }
        let rows = staged.rows.take();
        let members = Arc::new(std::mem::take(&mut staged.members));
        let mut repeats = Repeats::default();
        for (number, item) in std::mem::take(&mut staged.items).into_iter().enumerate() {
            if let (Some(rows), Some(end)) = (&rows, item.end())
                && self.stands_already(&source, rows, number, (staged.observed, &mut repeats))
            {
                start = end;
                continue;
            }
            if let Some(privacy) = &mut self.privacy {
                let index = self.trail.next_index() + self.group.bodies.len() as u64;
                privacy.keep(index, staged.details.of(number));
            }
            match item {
                Item::Plain(end) => {
                    self.group.bodies.share("event", &members, start..end);
                    start = end;
                    plain += 1;
                }
                Item::Packed(packed) => {
                    let end = packed.end;
                    self.packed(&staged, packed, (&members, start..end));
                    start = end;
                    events += 1;
                }
                Item::Event(event) => {
                    let end = event.end;
                    let kept = self.event(event, (&members, start..end));
                    self.group.spent.push(kept);
                    start = end;
                    events += 1;
                }
                Item::Grants(line) => self.grants(&source, &staged.stream, line)?,
            }
        }
        if let Some(rows) = rows {
            self.tell_repeats(&source, &rows, &repeats);
        }
        self.state.count(&source, plain);
        if plain + events > 0 && self.expected.contains_key(&*source) {
            self.group.heard.insert(source.to_string(), (self.clock.now(), false));
        }
        let (name, count, newest) = (Arc::clone(&source), plain + events, staged.newest);
        self.after(move |metrics| {
            metrics.events(&name, count);
            if let Some((time, delay)) = newest {
                metrics.source_newest(&name, time, delay);
            }
        });
        self.group.receipts.extend(staged.receipt.take());
        self.position(&source, &mut staged);
        let _ = self.spent.send(Spent::Batch(staged, std::mem::take(&mut self.group.spent)));
        Ok(())
    }

    /// The position that moves with a batch.
    fn position(&mut self, source: &str, staged: &mut Staged) {
        let position = masked(&staged.after, dlp::mask);
        // While a snapshot is open its rows are not in the trail, so its stream's position must wait.
        let waiting = snapshot_key(source, &staged.stream);
        let open = self.group.snapshots.open().any(|open| open == waiting);
        let streams = self.group.moved.entry(source.to_string()).or_default();
        if !open {
            streams.insert(std::mem::take(&mut staged.stream), position);
        }
        for stream in staged.retired.drain(..) {
            streams.insert(stream, RawValue::FALSE.to_owned());
        }
        if streams.is_empty() {
            self.group.moved.remove(source);
        }
    }

    /// A packed event: the same, in memory that is used again and again.
    fn packed(&mut self, staged: &Staged, packed: PackedEvent, members: Members<'_>) {
        let mut event = self.group.unpacked.take().unwrap_or_default();
        staged.packed.unpack(packed.number, &mut event.event);
        event.matches.set(&staged.matches, packed.matches);
        event.own = members.1.len();
        let small = event.own <= UNPACKED_BYTES;
        let event = self.event(event, members);
        self.group.unpacked = small.then_some(event);
    }

    /// One event: evidence first, then what follows from it.
    fn event(&mut self, mut staged: Box<StagedEvent>, (members, place): Members<'_>) -> Box<StagedEvent> {
        let mut findings = std::mem::take(&mut staged.findings);
        let from_stage = findings.len();
        let index = self.next_index();
        if self.state.engine.is_late(&staged.event, &staged.matches) {
            staged.event.defect(crate::model::event::Defect::new(crate::model::event::DefectCode::Late));
            let after = members.get(place.start + staged.own..place.end).unwrap_or_default();
            let hidden = self.privacy.is_some();
            self.group.bodies.push("event", |out| match hidden {
                true => stage::veil::write_again(&staged.event, after, out),
                false => stage::write_members(&staged.event, out),
            });
        } else {
            self.group.bodies.share("event", members, place);
        }
        let event = &staged.event;
        for code in event.defects.iter().map(|defect| defect.code) {
            let name = Arc::clone(&event.source);
            let count = move |metrics: &Metrics| metrics.defect(&name, code);
            self.group.measured.push(Box::new(count));
        }
        self.state.event(event, &staged.matches, &mut findings);
        self.policies.access.inspect(event, &self.state.held, &mut findings, &mut self.group.coverage);
        for finding in findings.iter_mut().skip(from_stage) {
            complete(finding, event);
        }
        if let Some(privacy) = self.privacy.as_mut().filter(|_| !findings.is_empty()) {
            privacy.learn(&staged.clear);
        }
        for mut finding in findings {
            finding.about = vec![index];
            self.find(finding);
        }
        staged
    }

    /// Counts something once a checkpoint covers it: a metric is shown to people, too.
    pub fn after(&mut self, count: impl FnOnce(&Metrics) + Send + 'static) {
        self.group.measured.push(Box::new(count));
    }

    /// Index that the next entry of the group will have.
    pub fn next_index(&self) -> u64 {
        self.trail.next_index() + self.group.bodies.len() as u64
    }

    /// Makes sure that entry indices of the group can be foretold.
    pub fn begin(&mut self) -> Result<(), TrailError> {
        if !self.group.bodies.is_empty() {
            return Ok(());
        }
        let next = self.trail.next_index();
        self.trail.make_room(self.clock.now())?;
        if let Some(privacy) = self.privacy.as_mut().filter(|_| self.trail.next_index() != next) {
            privacy.rolled();
        }
        Ok(())
    }

    fn lag(&self, source: &str, lag: &Lag) {
        let now = self.clock.now();
        let age = lag.oldest_unread.map_or(0.0, |written| now.seconds_since(clock::of(written)));
        self.metrics.source_lag(source, lag.bytes, age.max(0.0));
    }

    /// One sync: evidence, consequences and positions together.
    pub fn commit(&mut self) -> Result<(), TrailError> {
        if self.group.bodies.is_empty() && self.group.moved.is_empty() {
            return Ok(());
        }
        self.tell_evictions(EVICTIONS_EVERY);
        let started = self.clock.mark();
        let moved = std::mem::take(&mut self.group.moved);
        if let Some(privacy) = &mut self.privacy {
            // An entry never commits to what a crash could take away.
            privacy.commit().map_err(|error| self.trail.give_up(error, self.clock.now()))?;
        }
        let committed = self.trail.commit(&self.group.bodies, &moved, self.clock.now())?;
        let members = self.group.bodies.clear();
        if !members.is_empty() {
            let _ = self.spent.send(Spent::Members(members));
        }
        self.group.committed.append(&mut self.group.receipts);
        self.metrics.trail(committed.commit + 1, self.trail.bytes());
        self.metrics.commit(self.clock.since(started).as_secs_f64());
        self.group.last_commit = self.clock.mark();
        Ok(())
    }

    /// The signature that acknowledges: only now is anything shown or sent.
    pub fn checkpoint(&mut self) -> Result<(), TrailError> {
        let signed = self.trail.signed().size;
        let now = self.clock.now();
        let mut size = self.trail.checkpoint(now)?.size;
        if self.trail.is_epoch_due(now) {
            // Who steals the new key cannot rewrite what is signed by now.
            self.trail.change_epoch(now)?;
            size = self.trail.signed().size;
        }
        self.group.last_checkpoint = self.clock.mark();
        if size > signed {
            self.metrics.checkpoint(size, now);
        }
        self.offer_head(false);
        for receipt in self.group.committed.drain(..) {
            receipt.give(size);
        }
        for count in std::mem::take(&mut self.group.measured) {
            count(&self.metrics);
        }
        for mut shown in std::mem::take(&mut self.group.unshown) {
            self.resolve(&mut shown);
            (self.show)(&shown);
        }
        self.dispatch();
        self.measure();
        Ok(())
    }

    /// Hands the newest checkpoint to the anchors when it is time, and to the log, which is the one anchor
    /// that everybody has.
    fn offer_head(&mut self, last: bool) {
        let read_all = self.once && self.group.done.is_some();
        let (size, note) = (self.trail.signed().size, self.trail.signed_note());
        if self.anchors.offer(size, note, self.clock.mark(), last || read_all)
            && let Some(line) = anchor::line::of(note)
        {
            tracing::info!("{line}");
        }
    }

    /// Writes the projections aside, so that the next start need not read everything.
    fn write_cache(&mut self) -> Result<(), TrailError> {
        let body = self.state.export();
        self.trail.write_cache(body, self.clock.now())?;
        self.group.entries_at_cache = self.trail.next_index();
        Ok(())
    }

    /// The last words: what waits is committed, the cache written, the end recorded and signed.
    pub fn end(mut self) -> Result<(Ended, State), TrailError> {
        self.settle()?;
        self.begin()?;
        self.tell_evictions(Duration::ZERO);
        self.commit()?;
        self.write_cache()?;
        self.begin()?;
        let coverage = self.coverage();
        self.group.bodies.push("stop", |out| {
            out.extend_from_slice(b"\"reason\":\"asked\",");
            out.extend_from_slice(&coverage);
        });
        self.commit()?;
        self.checkpoint()?;
        self.offer_head(true);
        if let Some((_, what)) = self.group.damaged.take() {
            return Err(TrailError::Refused { what, verdict: "tampered" });
        }
        let rest = self.group.done.take().map(|(_, rest)| rest).unwrap_or_default();
        let ended = Ended { rest, signed: self.trail.signed().size, owed: self.state.outbox.len() };
        Ok((ended, self.state))
    }

    /// How much of what happened could be compared with policy, since the start: what the report needs to
    /// tell "nothing found" from "nothing seen".
    fn coverage(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let coverage = &self.group.coverage;
        Object::members(&mut out, dlp::mask).object_always("access_coverage", |out| {
            out.uint("allowed", coverage.allowed);
            out.uint("outside", coverage.outside);
            out.uint("excepted", coverage.excepted);
            out.object("not_observable", |out| {
                for (reason, count) in coverage.reasons().filter(|(_, count)| *count > 0) {
                    out.uint(reason.as_str(), count);
                }
            });
        });
        out
    }
}

/// What every finding about an event says.
fn complete(finding: &mut Finding, event: &Event) {
    finding.locator = Some(event.raw.locator.clone());
    if finding.source.is_none() {
        finding.source = Some(event.source.to_string());
    }
    if finding.delay_seconds.is_none() {
        let delay = event.time.map(|time| event.observed.seconds_since(time) as i64);
        finding.delay_seconds = delay.and_then(|delay| u64::try_from(delay).ok()).filter(|delay| *delay > 0);
    }
}

/// Under which name the open snapshot of one stream is kept: neither part can hold a `/`.
pub fn snapshot_key(source: &str, stream: &str) -> String {
    format!("{source}/{stream}")
}
