//! Crashes: at every call, with every fault, of a disk that keeps any subset of what was not synced.
//!
//! A run does random operations on a trail over the simulated disk ([`sim`]), is ended by a fault, loses its
//! process or its power, recovers (and is ended while it recovers), and is held against an oracle that shares
//! no code with the trail ([`oracle`]) and against a model of what was acknowledged: what was acknowledged is
//! there once, a group is there whole or not at all, and nothing that was ever signed is another history.
//!
//! `every_sync_counts` and `signing_before_the_sync_is_found` show that these tests can fail: the seam lies
//! about one sync at a time, and a run must notice.
//!
//! `CRASH_SEEDS=20000 cargo test --test crash` tries more; a failure names its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod oracle;
mod sim;

use crmwarden::model::Time;
use crmwarden::model::json::no_mask;
use crmwarden::operator::finish_erasure;
use crmwarden::trail::detail::{self, Privacy, Store};
use crmwarden::trail::disk::Disk;
use crmwarden::trail::prune::Approval;
use crmwarden::trail::recover::{Opened, open_as};
use crmwarden::trail::verify::{Given, verify_on};
use crmwarden::trail::{Bodies, Cursors, Paths, TrailError, pack};
use oracle::Leaf;
use sim::{Dice, Fault, Lie, Sim};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

const DEPLOYMENT: &str = "acme.example";

fn paths() -> Paths {
    Paths { state: PathBuf::from("/s/state"), keys: PathBuf::from("/s/keys") }
}

/// What the outside world was told.
#[derive(Default)]
struct Model {
    now: i64,
    next_id: u64,
    groups: Vec<Vec<u64>>,
    acknowledged: usize,
    /// Signed heads that were acknowledged.
    heads: Vec<(usize, Leaf)>,
    /// Leaves and ids by index, as the newest check saw them.
    leaves: Vec<Leaf>,
    ids: BTreeMap<u64, u64>,
    /// Private keys of epochs whose end was reported.
    destroyed: Vec<Vec<u8>>,
    /// Entries that commit to a detail which is not erased.
    details: Vec<u64>,
    pruned_to: u64,
    /// Digests of grants rows and the index of the entry that names them.
    grants: Vec<(String, u64)>,
}

/// One thing that is done to a trail.
#[derive(Clone, Copy)]
enum Op {
    Commit,
    Sign,
    Roll,
    ChangeEpoch,
    Cache,
    Grants,
    Pack,
    Prune,
    Detail,
    Erase,
}

/// How often what is done: a bit of everything, or mostly what ends in a pruning.
const USUAL: &[Op] = &[
    Op::Commit,
    Op::Commit,
    Op::Commit,
    Op::Commit,
    Op::Commit,
    Op::Commit,
    Op::Detail,
    Op::Detail,
    Op::Detail,
    Op::Sign,
    Op::Sign,
    Op::Sign,
    Op::Sign,
    Op::Sign,
    Op::Roll,
    Op::Roll,
    Op::ChangeEpoch,
    Op::ChangeEpoch,
    Op::Cache,
    Op::Grants,
    Op::Pack,
    Op::Prune,
    Op::Erase,
    Op::Erase,
];
const PRUNING: &[Op] = &[
    Op::Commit,
    Op::Commit,
    Op::Detail,
    Op::Sign,
    Op::Roll,
    Op::Roll,
    Op::Grants,
    Op::Grants,
    Op::Prune,
    Op::Prune,
];

struct Run {
    mix: &'static [Op],
    sim: Sim,
    disk: Arc<dyn Disk>,
    dice: Dice,
    model: Model,
    store: Option<Store>,
    /// What a check in the middle of a life found.
    broken: Option<String>,
}

impl Run {
    fn new(seed: u64, lie: Option<Lie>) -> Run {
        let mix = if seed.is_multiple_of(3) { PRUNING } else { USUAL };
        let sim = Sim::new();
        sim.lie(lie);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        Run {
            mix,
            sim,
            disk,
            dice: Dice::new(seed),
            store: None,
            broken: None,
            model: Model { now: 1_790_000_000, ..Model::default() },
        }
    }

    fn now(&mut self) -> Time {
        self.model.now += 1;
        Time::from_seconds(self.model.now)
    }

    fn open(&mut self) -> Result<Opened, TrailError> {
        self.sim.phase("open");
        let keys = self.epoch_keys();
        let now = self.now();
        let made_as = (DEPLOYMENT, Privacy::Erasable);
        let opened = open_as(&self.disk, &paths(), made_as, now, &mut |_, _| ());
        let opened = opened.and_then(|opened| self.open_details(opened));
        self.sim.phase("run");
        if let Ok(opened) = &opened {
            // A start that succeeds has finished what was begun.
            let left = self.epoch_keys();
            self.model.destroyed.extend(keys.into_iter().filter(|key| !left.contains(key)));
            self.model.pruned_to = self.model.pruned_to.max(opened.trail.minimum());
        }
        opened
    }

    /// The details of the trail, as the daemon opens them after it: an erasure that was begun is finished.
    fn open_details(&mut self, mut opened: Opened) -> Result<Opened, TrailError> {
        let (folder, generation) = (detail::folder(&paths().state, 1), paths().generation(1));
        let next = opened.trail.next_index();
        let (mut store, _) = Store::open(&self.disk, folder, &generation, next)?;
        let ranges = opened.trail.erasing().to_vec();
        if !ranges.is_empty() {
            let now = self.now();
            finish_erasure(&mut opened.trail, &mut store, &ranges, 0, now)?;
        }
        self.store = Some(store);
        Ok(opened)
    }

    /// A group of one entry that commits to a detail, which is durable before.
    fn detailed(&mut self, opened: &mut Opened) -> Result<(), TrailError> {
        let (index, id) = (opened.trail.next_index(), self.model.next_id);
        let value = format!("person {id} {}", "y".repeat(self.dice.below(900) as usize));
        let (mut tail, mut lines) = (Vec::new(), Vec::new());
        detail::write_tail(&mut tail, "actor.name", &[9; 32], &value);
        detail::write_lines(&mut lines, index, &tail);
        self.model.next_id += 1;
        self.model.groups.push(vec![id]);
        let now = self.now();
        if let Some(store) = &mut self.store {
            let kept = store.append(opened.trail.segment_first(), &lines);
            kept.map_err(|error| opened.trail.give_up(error, now))?;
        }
        let committed = detail::commitment("actor.name", &[9; 32], &value);
        let mut bodies = Bodies::default();
        bodies.push("event", |out| {
            let text = format!("\"n\":{id},\"committed\":{{\"actor.name\":\"{committed}\"}}");
            out.extend_from_slice(text.as_bytes());
        });
        opened.trail.commit(&bodies, &Cursors::new(), now)?;
        self.model.details.push(index);
        Ok(())
    }

    /// Erases the details of an entry, as the daemon does when it is asked.
    fn erase(&mut self, opened: &mut Opened) -> Result<(), TrailError> {
        let (Some(index), Some(store)) = (self.model.details.pop(), &mut self.store) else { return Ok(()) };
        self.model.now += 1;
        let now = Time::from_seconds(self.model.now);
        opened.trail.erase(&[(index, index)], &Approval::default(), no_mask, now)?;
        self.model.acknowledged = self.model.groups.len();
        let done = finish_erasure(&mut opened.trail, store, &[(index, index)], 0, now);
        done.map(|_| ()).map_err(|error| opened.trail.give_up(error, now))
    }

    fn epoch_keys(&self) -> Vec<Vec<u8>> {
        let dir = paths().state.join("epoch");
        let names = self.sim.names(&dir).unwrap();
        names
            .iter()
            .map(|name| self.sim.content(&dir.join(name)).unwrap())
            .filter(|key| is_key(key))
            .collect()
    }

    /// A whole life: operations, an end, a recovery, a check; several times.
    fn live(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            let fault = [Fault::Dies, Fault::Dies, Fault::Io, Fault::Full, Fault::Short];
            let fault = fault[self.dice.below(5) as usize];
            // Some lives end by power loss only: nothing fails before.
            if !self.dice.one_in(3) {
                let after = self.dice.below(160);
                self.sim.fault(after, fault);
            }
            if let Ok(mut opened) = self.open() {
                for _ in 0..self.dice.below(24) + 4 {
                    if self.operation(&mut opened).is_err() {
                        self.poisoned(&mut opened, fault)?;
                        break;
                    }
                }
            }
            self.end()?;
            self.recover()?;
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// After an error of the disk nothing more is written, whatever is asked.
    fn poisoned(&mut self, opened: &mut Opened, fault: Fault) -> Result<(), String> {
        let refused_only = matches!(fault, Fault::Dies | Fault::Full);
        let calls = self.sim.calls();
        let now = self.now();
        match opened.trail.commit(&group(&[u64::MAX], 1), &Cursors::new(), now) {
            Ok(_) if !refused_only => Err("an error was followed by another commit".into()),
            _ if !refused_only && self.sim.calls() > calls + 8 => Err("a poisoned trail writes on".into()),
            _ => Ok(()),
        }
    }

    /// The process is gone, or the power; sometimes the one and then the other.
    fn end(&mut self) -> Result<(), String> {
        self.sim.kill();
        if self.dice.one_in(3) {
            return Ok(());
        }
        self.sim.crash(&mut self.dice);
        for key in &self.model.destroyed {
            if self.sim.medium_holds(key) {
                return Err("a destroyed epoch key is still on the medium".into());
            }
        }
        for level in 0..2 {
            let path = paths().generation(1).join(format!("tree/{level}"));
            let tiles = self.sim.content(&path).unwrap_or_default();
            if (tiles.len() as u64) < 32 * (self.model.pruned_to >> (8 * level)) {
                return Err("hashes of pruned entries are lost".into());
            }
        }
        let dir = paths().generation(1).join("segments");
        for name in self.sim.names(&dir).unwrap() {
            let first: u64 = name.split('.').next().unwrap().parse().unwrap();
            if first < self.model.pruned_to {
                return Err(format!("segment {first} is back after it was pruned"));
            }
        }
        Ok(())
    }

    /// Recovers, also after ends during the recovery, and checks.
    fn recover(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.below(3) {
            let (after, fault) = (self.dice.below(60), [Fault::Dies, Fault::Io][self.dice.below(2) as usize]);
            self.sim.fault(after, fault);
            let _ = self.open();
            self.end()?;
        }
        let opened = self.open().map_err(|error| format!("does not open: {error}"))?;
        self.check(&opened)
    }

    fn check(&mut self, opened: &Opened) -> Result<(), String> {
        let folder = opened.trail.folder().to_owned();
        let (leaves, values) = oracle::check(&self.sim, &folder, &self.model.leaves)?;
        let outcome = verify_on(&self.sim, &paths().trail(), &Given::default(), &mut |_| ())
            .map_err(|error| error.to_string())?;
        if !outcome.verdict.is_intact() {
            return Err(format!("verify says {outcome:?}"));
        }
        for value in values.iter().filter(|value| value["kind"] == "event") {
            self.model.ids.insert(value["i"].as_u64().unwrap(), value["n"].as_u64().unwrap());
        }
        self.model.ids.retain(|index, _| *index < leaves.len() as u64);
        let ids: Vec<u64> = self.model.ids.values().copied().collect();
        if ids.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("an event is there twice or out of order".into());
        }
        let have: BTreeSet<u64> = ids.into_iter().collect();
        for (number, group) in self.model.groups.iter().enumerate() {
            let there = group.iter().filter(|id| have.contains(id)).count();
            if there != group.len() && (number < self.model.acknowledged || there > 0) {
                return Err(format!("of group {number} {there} of {} events are there", group.len()));
            }
        }
        let signed = self.sim.notes().iter().map(|note| oracle::head(note)).collect::<Vec<_>>();
        for (size, root) in signed.iter().chain(&self.model.heads) {
            if *size > leaves.len() || *root != oracle::root(&leaves[..*size]) {
                return Err(format!("what was signed at {size} entries is another history"));
            }
        }
        let tiles: Vec<u8> = leaves.iter().flatten().copied().collect();
        match self.sim.content(&folder.join("tree/0")) {
            Some(stored) if stored != tiles => {
                let same = stored.chunks(32).zip(&leaves).take_while(|(hash, leaf)| hash == leaf).count();
                let (have, want) = (stored.len() / 32, leaves.len());
                return Err(format!(
                    "of {want} leaves, {have} are in the tile file, {same} as they should be"
                ));
            }
            _ => {}
        }
        self.check_grants(&values)?;
        self.check_quarantine(&values)?;
        self.model.leaves = leaves;
        // What is here now and was not acknowledged counts from here on: it is signed.
        self.model.acknowledged = self.model.groups.len();
        let last = |group: &Vec<u64>| group.iter().all(|id| have.contains(id));
        self.model.groups.retain(last);
        self.model.acknowledged = self.model.groups.len();
        Ok(())
    }

    /// Bytes that were cut from a torn tail are there, as the entry about them says.
    fn check_quarantine(&self, values: &[serde_json::Value]) -> Result<(), String> {
        for value in values.iter().filter(|value| value["kind"] == "recovery") {
            let Some(digest) = value["digest"].as_str() else { continue };
            let name = format!("quarantine/{}-{digest}.bin", value["offset"]);
            let kept = self.sim.content(&paths().generation(1).join(name)).unwrap_or_default();
            if oracle::hex(&<sha2::Sha256 as sha2::Digest>::digest(&kept)) != digest {
                return Err("quarantined bytes that an entry names are not there".into());
            }
        }
        Ok(())
    }

    /// Rows that an entry names are there, whole.
    fn check_grants(&self, values: &[serde_json::Value]) -> Result<(), String> {
        for value in values.iter().filter(|value| value["kind"] == "grants") {
            let path = paths().grants(value["digest"].as_str().unwrap());
            let rows = self.sim.content(&path).map(|bytes| zstd::stream::decode_all(&bytes[..]));
            let digest = |rows: &[u8]| oracle::hex(&<sha2::Sha256 as sha2::Digest>::digest(rows));
            if !matches!(rows, Some(Ok(rows)) if value["digest"] == digest(&rows)) {
                return Err("rows of grants that an entry names are not there".into());
            }
        }
        let pruned = |(_, index): &&(String, u64)| *index < self.model.pruned_to;
        for (digest, _) in self.model.grants.iter().filter(pruned) {
            let named = values.iter().any(|value| value["digest"] == **digest);
            if !named && self.sim.content(&paths().grants(digest)).is_some() {
                return Err("rows that only pruned entries name are still there".into());
            }
        }
        Ok(())
    }

    fn operation(&mut self, opened: &mut Opened) -> Result<(), TrailError> {
        let op = self.mix[self.dice.below(self.mix.len() as u64) as usize];
        if matches!(op, Op::Prune) && self.sim.fired() {
            // What is pruned must be known to the model, also where it came in this life.
            let now = self.now();
            opened.trail.checkpoint(now)?;
            self.model.heads.push(oracle::head(opened.trail.signed_note()));
            self.model.acknowledged = self.model.groups.len();
            if let Err(why) = self.check(opened) {
                self.broken.get_or_insert(why);
            }
        }
        match op {
            Op::Detail => return self.detailed(opened),
            Op::Erase => return self.erase(opened),
            _ => {}
        }
        let trail = &mut opened.trail;
        match op {
            Op::Detail | Op::Erase => {}
            Op::Commit => {
                // A large group now and then fills subtrees of the tile files' next level.
                let size = if self.dice.one_in(if self.mix.len() < 12 { 3 } else { 12 }) {
                    260
                } else {
                    self.dice.below(5) + 1
                };
                let ids: Vec<u64> = (self.model.next_id..self.model.next_id + size).collect();
                self.model.next_id += size;
                let now = self.now();
                self.model.groups.push(ids.clone());
                let long = if size > 5 { 1 } else { self.dice.below(1200) as usize };
                trail.commit(&group(&ids, long), &cursors(ids[0]), now)?;
            }
            Op::Sign => {
                let now = self.now();
                let size = trail.checkpoint(now)?.size as usize;
                let note = trail.signed_note().to_owned();
                assert_eq!(oracle::head(&note).0, size);
                self.model.heads.push(oracle::head(&note));
                self.model.acknowledged = self.model.groups.len();
            }
            Op::Roll => {
                self.model.now += 25 * 3600;
                let now = self.now();
                trail.make_room(now)?;
            }
            Op::ChangeEpoch => {
                let path = paths().epoch_key(trail.epoch());
                let key = self.sim.content(&path).unwrap();
                let now = self.now();
                trail.change_epoch(now)?;
                self.model.acknowledged = self.model.groups.len();
                self.model.destroyed.push(key);
            }
            Op::Cache => {
                let now = self.now();
                trail.write_cache(b"{}".to_vec(), now)?;
            }
            Op::Grants => {
                let now = self.now();
                let rows = format!("{{\"row\":{}}}\n", self.model.grants.len());
                let digest = oracle::hex(&<sha2::Sha256 as sha2::Digest>::digest(&rows));
                trail.keep_grants(&digest, rows.as_bytes(), now)?;
                self.model.grants.push((digest.clone(), trail.next_index()));
                let mut bodies = Bodies::default();
                bodies.push("grants", |out| {
                    out.extend_from_slice(format!("\"digest\":\"{digest}\"").as_bytes());
                });
                trail.commit(&bodies, &Cursors::new(), now)?;
            }
            Op::Pack => {
                // It runs beside the writer, which its failure does not stop.
                let _ = pack::pack(&self.sim, trail.folder(), &trail.housekeeping());
            }
            Op::Prune => {
                let to = trail.segment_first();
                if to > trail.minimum() && self.model.leaves.len() as u64 >= to {
                    let now = self.now();
                    trail.prune(to, &Approval::default(), no_mask, now)?;
                    self.model.acknowledged = self.model.groups.len();
                    self.model.pruned_to = to;
                }
            }
        }
        Ok(())
    }
}

/// Whether a key file is whole: a crash may have left a part of one that never counted.
fn is_key(content: &[u8]) -> bool {
    content.starts_with(b"-----BEGIN") && content.ends_with(b"-----\n")
}

fn group(ids: &[u64], long: usize) -> Bodies {
    let mut bodies = Bodies::default();
    for id in ids {
        let pad = "x".repeat(long);
        bodies.push("event", |out| {
            out.extend_from_slice(format!("\"n\":{id},\"pad\":\"{pad}\"").as_bytes());
        });
    }
    bodies
}

fn cursors(number: u64) -> Cursors {
    serde_json::from_str(&format!("{{\"web\":{{\"file\":{number}}}}}")).unwrap()
}

fn seeds(default: u64) -> u64 {
    std::env::var("CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(default)
}

/// Runs seeds on both cores; the first that fails, and why.
fn first_failure(count: u64, lie: Option<&Lie>) -> Option<(u64, String)> {
    let found = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let found = &found;
            scope.spawn(move || {
                for seed in (half..count).step_by(2) {
                    if found.lock().unwrap().is_some() {
                        return;
                    }
                    if let Err(why) = Run::new(seed, lie.cloned()).live() {
                        found.lock().unwrap().get_or_insert((seed, why));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn what_was_acknowledged_is_there_once_and_nothing_forks() {
    if let Some((seed, why)) = first_failure(seeds(600), None) {
        panic!("seed {seed}: {why}");
    }
}

/// Syncs whose loss costs time or is mended by the next start, and why that is so.
const HARMLESS: &[(&str, &str)] = &[];

#[test]
fn every_sync_counts() {
    let mut classes = BTreeSet::new();
    for seed in 0..80 {
        let mut run = Run::new(seed, None);
        run.live().unwrap();
        classes.extend(run.sim.syncs());
    }
    assert!(classes.len() > 15, "{classes:?}");
    let mut unnoticed = Vec::new();
    for class in &classes {
        let found = first_failure(900, Some(&Lie::Skip(class.clone())));
        let harmless = HARMLESS.iter().any(|(name, _)| name == class);
        match found {
            None if !harmless => unnoticed.push(format!("nobody notices that `{class}` is left out")),
            Some((seed, why)) if harmless => {
                unnoticed.push(format!("`{class}` is called harmless; seed {seed}: {why}"));
            }
            Some((seed, why)) => eprintln!("without `{class}`: seed {seed}: {why}"),
            None => {}
        }
    }
    for (name, _) in HARMLESS {
        assert!(classes.contains(*name), "`{name}` is listed and never happens");
    }
    assert!(unnoticed.is_empty(), "\n{}\n", unnoticed.join("\n"));
}

#[test]
fn signing_before_the_sync_is_found() {
    let found = first_failure(2000, Some(&Lie::SignFirst));
    assert!(found.is_some(), "a checkpoint that is durable before its entries was not noticed");
}

/// One life with a bit of everything, to be ended at every call.
fn script(run: &mut Run, opened: &mut Opened) -> Result<(), TrailError> {
    let commit = |run: &mut Run, opened: &mut Opened, size: u64| {
        let ids: Vec<u64> = (run.model.next_id..run.model.next_id + size).collect();
        run.model.next_id += size;
        run.model.groups.push(ids.clone());
        let now = run.now();
        opened.trail.commit(&group(&ids, 300), &cursors(ids[0]), now).map(|_| ())
    };
    let sign = |run: &mut Run, opened: &mut Opened| {
        let now = run.now();
        opened.trail.checkpoint(now)?;
        run.model.heads.push(oracle::head(opened.trail.signed_note()));
        run.model.acknowledged = run.model.groups.len();
        Ok::<(), TrailError>(())
    };
    commit(run, opened, 3)?;
    sign(run, opened)?;
    commit(run, opened, 2)?;
    let now = run.now();
    opened.trail.change_epoch(now)?;
    run.model.acknowledged = run.model.groups.len();
    run.model.now += 25 * 3600;
    let now = run.now();
    opened.trail.make_room(now)?;
    commit(run, opened, 1)?;
    opened.trail.write_cache(b"{}".to_vec(), now)?;
    commit(run, opened, 4)?;
    sign(run, opened)?;
    pack::pack(&run.sim, opened.trail.folder(), &opened.trail.housekeeping())?;
    commit(run, opened, 1)?;
    sign(run, opened)
}

#[test]
fn every_fault_at_every_call() {
    for fault in [Fault::Dies, Fault::Io, Fault::Full, Fault::Short] {
        for after in 0.. {
            let mut run = Run::new(after, None);
            run.sim.fault(after, fault);
            if let Ok(mut opened) = run.open() {
                let _ = script(&mut run, &mut opened);
            }
            let never = !run.sim.fired();
            run.sim.kill();
            run.sim.crash(&mut run.dice);
            let mut opened = run.open().unwrap_or_else(|error| panic!("{fault:?} at call {after}: {error}"));
            run.check(&opened).unwrap_or_else(|why| panic!("{fault:?} at call {after}: {why}"));
            let now = run.now();
            opened.trail.commit(&group(&[u64::MAX], 1), &Cursors::new(), now).unwrap();
            opened.trail.checkpoint(now).unwrap();
            if never {
                assert!(after > 60, "only {after} calls");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_has_its_last_words_signed() {
    let mut run = Run::new(1, None);
    let mut opened = run.open().unwrap();
    script(&mut run, &mut opened).unwrap();
    run.sim.fault(0, Fault::Full);
    let now = run.now();
    let error = opened.trail.commit(&group(&[1 << 40], 1), &Cursors::new(), now).unwrap_err();
    assert!(matches!(error, TrailError::DiskFull), "{error}");
    assert_eq!(opened.trail.signed().size, opened.trail.next_index(), "the last words are signed");
    let (_, values) = oracle::check(&run.sim, opened.trail.folder(), &[]).unwrap();
    let kinds: Vec<&str> = values.iter().rev().take(3).map(|value| value["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["commit", "stop", "disk_full"]);
    // While there is no space for the reserve, a start appends nothing and says so.
    let before = run.sim.content(&opened.trail.folder().join("checkpoint"));
    drop(opened);
    run.sim.kill();
    run.sim.fault(0, Fault::Full);
    let error = run.open().err().expect("a start without a reserve");
    assert!(matches!(&error, TrailError::Io { what: "make the reserve", .. }), "{error}");
    assert_eq!(run.sim.content(&paths().generation(1).join("checkpoint")), before);
    run.sim.kill();
    run.open().unwrap();
}

#[test]
fn a_replaced_or_unlinked_segment_ends_the_process_before_anything_is_signed() {
    for replace in [false, true] {
        let mut run = Run::new(2, None);
        let mut opened = run.open().unwrap();
        script(&mut run, &mut opened).unwrap();
        let signed = opened.trail.signed().clone();
        let segment = opened
            .trail
            .folder()
            .join("segments")
            .join(format!("{:020}.jsonl", opened.trail.segment_first()));
        let content = run.sim.content(&segment).unwrap();
        run.sim.remove(&segment).unwrap();
        if replace {
            run.sim.create(&segment, 0o640).unwrap().append(&content).unwrap();
        }
        let now = run.now();
        opened.trail.commit(&group(&[1 << 41], 1), &Cursors::new(), now).unwrap_err();
        assert!(opened.trail.checkpoint(now).is_err(), "nothing more is signed");
        assert_eq!(opened.trail.signed(), &signed);
    }
}

#[test]
fn bytes_that_read_back_otherwise_are_never_signed() {
    let mut run = Run::new(3, None);
    let mut opened = run.open().unwrap();
    script(&mut run, &mut opened).unwrap();
    let signed = opened.trail.signed().size;
    run.sim.flip_the_next_append();
    let now = run.now();
    opened.trail.commit(&group(&[1 << 42], 1), &Cursors::new(), now).unwrap_err();
    assert!(opened.trail.checkpoint(now).is_err());
    assert_eq!(opened.trail.signed().size, signed);
}
