//! What anchors gave, and what a witness has seen, on the disk that loses whatever was not synced: ended at any
//! call, a proof that was called kept is there, a cosignature that left is remembered, and no file is half of
//! anything.
//!
//! `without_any_one_sync_it_is_noticed` shows that these tests can fail: the disk lies about one sync at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)]
#[path = "crash/sim.rs"]
mod sim;

use crmwarden::anchor::store::{note_path, stamp_path, stamped_path, store};
use crmwarden::anchor::{Head, Proof};
use crmwarden::listen::{Witness, WitnessRole};
use crmwarden::model::Time;
use crmwarden::trail::disk::{Disk, write_new};
use crmwarden::trail::note::{Checkpoint, Cosigner, NoteSigner, sign};
use crmwarden::trail::proof::{Memory, consistency};
use crmwarden::trail::tree::leaf_hash;
use crmwarden::trail::witness::request;
use ed25519_dalek::SigningKey;
use sim::{Dice, Fault, Lie, Sim};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const ORIGIN: &str = "acme.example/crmwarden/g1";
const SEEDS: u64 = 1500;

fn log() -> NoteSigner {
    NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[1; 32]))
}

fn tree(size: u64) -> Memory {
    let mut tree = Memory::default();
    tree.extend((0..size).map(|index| leaf_hash(&index.to_be_bytes())));
    tree
}

fn head(size: u64) -> Head {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: tree(size).root() };
    Head { size, note: sign(&checkpoint.text(), &[&log()]).into() }
}

/// A disk with these folders, which last.
fn disk(folders: &[&str]) -> Sim {
    let sim = Sim::new();
    for folder in folders {
        let folder = Path::new(folder);
        sim.make_dir(folder, 0o750).unwrap();
        for above in folder.ancestors() {
            sim.sync_dir(above).unwrap();
        }
    }
    sim
}

/// Ends somewhere, or nowhere, as the seed has it.
fn ended(sim: &Sim, dice: &mut Dice, calls: u64, lie: Option<&Lie>) {
    sim.phase("run");
    sim.lie(lie.cloned());
    if !dice.one_in(4) {
        sim.fault(1 + dice.below(calls), if dice.one_in(2) { Fault::Dies } else { Fault::Full });
    }
}

/// A cosignature and a stamp are kept, and the power goes.
fn kept(seed: u64, lie: Option<&Lie>) -> Result<BTreeSet<String>, String> {
    let mut dice = Dice::new(seed);
    let folder = Path::new("/s/g1");
    let sim = disk(&["/s/g1/checkpoints"]);
    let head = head(7);
    let linked = dice.one_in(2);
    if linked {
        write_new(&sim, &note_path(folder, 7), head.note.as_bytes(), 0o640).unwrap();
        sim.sync_dir(&folder.join("checkpoints")).unwrap();
    }
    ended(&sim, &mut dice, 20, lie);
    let text = format!("{}\n", head.note.split_once("\n\n").unwrap().0);
    let line = Cosigner::new("w.example/witness".into(), SigningKey::from_bytes(&[2; 32])).sign(&text, 77);
    let cosigned = format!("{}{line}", head.note);
    let response: Vec<u8> = (0..2000u32).map(|byte| byte as u8).collect();
    let line = Proof::Cosignature(line.trim_end().to_owned(), Time::EPOCH);
    let cosignature = store(&sim, folder, "w.example/witness", &head, &line);
    let stamp = store(&sim, folder, "tsa", &head, &Proof::Stamp(response.clone(), Time::EPOCH));
    let syncs = sim.syncs();
    sim.crash(&mut dice);
    sim.lie(None);

    let note = sim.content(&note_path(folder, 7));
    let whole = [Some(head.note.as_bytes()), Some(cosigned.as_bytes()), None];
    let is_whole = whole.contains(&note.as_deref()) && !(linked && note.is_none());
    let beside = [(stamped_path(folder, 7), head.note.as_bytes()), (stamp_path(folder, 7, "tsa"), &response)];
    let mut wrong = Vec::new();
    if !is_whole || cosignature.is_ok() && note.as_deref() != Some(cosigned.as_bytes()) {
        wrong.push("the note".to_owned());
    }
    for (path, content) in beside {
        let found = sim.content(&path);
        if found.as_deref().map_or(stamp.is_ok(), |found| found != content) {
            wrong.push(path.display().to_string());
        }
    }
    if wrong.is_empty() { Ok(syncs) } else { Err(wrong.join(", ")) }
}

/// A witness cosigns twice, and the power goes. What it saw is what it remembers.
fn remembered(seed: u64, lie: Option<&Lie>) -> Result<BTreeSet<String>, String> {
    let mut dice = Dice::new(seed);
    let sim = disk(&["/s/state"]);
    ended(&sim, &mut dice, 24, lie);
    let role = WitnessRole { name: "w.example/witness".into(), logs: vec![log().verifier()] };
    let open = || Witness::open(Arc::new(sim.clone()), Path::new("/s/state"), Path::new("/s/keys"), &role);
    let add = |witness: &Witness, old: u64, new: u64| {
        let proof = consistency(&mut tree(new), old, new).unwrap();
        witness.add_checkpoint(request(old, &proof, &head(new).note).as_bytes(), Time::from_seconds(9))
    };
    let mut answered = 0;
    let mut life = |sizes: &[(u64, u64)]| {
        let Ok(witness) = open() else { return };
        for (old, new) in sizes {
            if add(&witness, *old, *new).status == 200 {
                answered = *new;
            }
        }
    };
    life(&[(0, 5), (5, 9)]);
    if dice.one_in(2) {
        // The process ends first, which loses nothing, and another goes on.
        sim.kill();
        life(&[(0, 4), (4, 12), (5, 12), (9, 12)]);
    }
    let syncs = sim.syncs();
    sim.crash(&mut dice);
    sim.lie(None);
    let witness = open().map_err(|error| format!("it does not start: {error}"))?;
    let answer = add(&witness, 0, 2);
    let seen: u64 = if answer.status == 409 { answer.body.trim().parse().unwrap() } else { 0 };
    match seen >= answered {
        true => Ok(syncs),
        false => Err(format!("{answered} entries were cosigned, {seen} are remembered")),
    }
}

type Life = fn(u64, Option<&Lie>) -> Result<BTreeSet<String>, String>;
const LIVES: [(&str, Life); 2] = [("kept", kept), ("remembered", remembered)];

#[test]
fn nothing_that_was_said_is_forgotten() {
    for (name, life) in LIVES {
        for seed in 0..SEEDS {
            if let Err(why) = life(seed, None) {
                panic!("{name}, seed {seed}: {why}");
            }
        }
    }
}

#[test]
fn without_any_one_sync_it_is_noticed() {
    for (name, life) in LIVES {
        let classes: BTreeSet<String> = (0..60).filter_map(|seed| life(seed, None).ok()).flatten().collect();
        let run: Vec<&String> = classes.iter().filter(|class| class.starts_with("run ")).collect();
        assert!(run.len() >= 2, "{name}: {classes:?}");
        for class in run {
            let lie = Lie::Skip(class.clone());
            let noticed = (0..SEEDS).any(|seed| life(seed, Some(&lie)).is_err());
            assert!(noticed, "{name}: nobody notices that `{class}` is left out");
        }
    }
}
