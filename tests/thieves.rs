//! Who has which keys can rewrite what, and what `verify` then says.
//!
//! The thieves here rewrite history as well as it can be done: every chain, root and signature that their keys
//! allow is made right again. What remains wrong is what the scheme promises to show; what remains hidden is
//! what the README says nobody can prove.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::model::{Hash, Time};
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::entry::{Bodies, CommitLine, Entry, write_commit, write_line};
use crmwarden::trail::epoch::change_members;
use crmwarden::trail::note::{Checkpoint, NoteSigner, Verifier, sign};
use crmwarden::trail::recover::{Opened, open};
use crmwarden::trail::tree::{Frontier, leaf_hash};
use crmwarden::trail::trust::Trust;
use crmwarden::trail::verify::{Given, Outcome, Verdict, verify};
use crmwarden::trail::{Cursors, Genesis, Paths, epoch_name, keys};
use ed25519_dalek::SigningKey;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

const NOW: Time = Time::from_seconds(1_790_000_000);
const ORIGIN: &str = "acme.example/crmwarden/g1";

/// A trail of three epochs, and every key it ever had.
struct Home {
    dir: tempfile::TempDir,
    log: SigningKey,
    epochs: BTreeMap<u32, SigningKey>,
    /// The head after the first epoch, and the newest.
    heads: Vec<String>,
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(&dir);
        let mut opened = start(&paths);
        let mut home = Home { log: opened.keys.log.clone(), dir, epochs: BTreeMap::new(), heads: Vec::new() };
        for epoch in 0..3 {
            let key = keys::read_signing(&RealDisk, &paths.epoch_key(epoch)).unwrap();
            home.epochs.insert(epoch, key);
            for number in 0..3 {
                opened.trail.commit(&event(&format!("{epoch}-{number}")), &Cursors::new(), NOW).unwrap();
                opened.trail.checkpoint(NOW).unwrap();
            }
            home.heads.push(opened.trail.signed_note().to_owned());
            if epoch < 2 {
                opened.trail.change_epoch(NOW).unwrap();
            }
        }
        let left: Vec<_> = fs::read_dir(paths.state.join("epoch")).unwrap().collect();
        assert_eq!(left.len(), 1, "old epoch keys are gone");
        home
    }

    fn segment(&self) -> PathBuf {
        paths(&self.dir).generation(1).join("segments/00000000000000000000.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.segment()).unwrap().lines().map(str::to_owned).collect()
    }

    fn trust(&self) -> Trust {
        let line = self.lines().remove(0);
        let genesis = Genesis::of_line(line.as_bytes()).unwrap();
        Trust {
            origin: genesis.origin,
            log: Verifier::parse(&genesis.log).unwrap(),
            epoch: Verifier::parse(&genesis.epoch).unwrap(),
            entry0: leaf_hash(line.as_bytes()),
            report: genesis.report,
        }
    }

    fn verify(&self, trust: Option<Trust>, head: Option<&str>) -> Outcome {
        let given = Given { trust, known_head: head.map(str::to_owned), ..Given::default() };
        verify(&paths(&self.dir).state, &given, &mut |_| ()).unwrap()
    }

    /// Writes the trail anew from the event `marked` on, with the keys that a thief has.
    fn rewrite(&self, marked: &str, log: bool, epochs: &[u32]) {
        let wanted = format!("\"n\":\"{marked}\"");
        let mut out = Vec::new();
        let (mut prev, mut tree, mut epoch, mut pending) = (Hash::default(), Frontier::default(), 0, None);
        let mut changed = false;
        for line in self.lines() {
            let entry = Entry::parse(line.as_bytes()).unwrap();
            let start = out.len();
            let signer = |epoch: u32| {
                let key = epochs.contains(&epoch).then(|| self.epochs[&epoch].clone());
                // Who lacks the key signs with another, and hopes.
                let key = key.unwrap_or_else(|| SigningKey::from_bytes(&[9; 32]));
                NoteSigner::new(epoch_name(ORIGIN, epoch), key)
            };
            changed |= line.contains(&wanted);
            if !changed {
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            } else if entry.kind == "commit" {
                let (root, signer) = (tree.root(), signer(epoch));
                let commit = CommitLine { root: &root, cursors: b"", signer: &signer, origin: ORIGIN };
                write_commit(&mut out, entry.index, &prev, entry.time, &commit);
            } else if entry.kind == "key.epoch" {
                let next = NoteSigner::new(epoch_name(ORIGIN, epoch + 1), self.epochs[&(epoch + 1)].clone());
                let members =
                    change_members(ORIGIN, entry.index, epoch + 1, &next.verifier(), &signer(epoch));
                write_line(&mut out, entry.index, &prev, entry.time, entry.kind, &members);
            } else {
                let members = String::from_utf8(entry.members().to_vec()).unwrap();
                let members = members.replace(&wanted, "\"n\":\"nothing happened\"");
                write_line(&mut out, entry.index, &prev, entry.time, entry.kind, members.as_bytes());
            }
            prev = leaf_hash(&out[start..out.len() - 1]);
            tree.push(prev, &mut |_, _, _| ());
            match entry.kind {
                "key.epoch" => pending = Some(epoch + 1),
                "commit" => epoch = pending.take().unwrap_or(epoch),
                _ => {}
            }
        }
        assert!(changed);
        fs::write(self.segment(), &out).unwrap();
        let folder = paths(&self.dir).generation(1);
        fs::remove_dir_all(folder.join("checkpoints")).unwrap();
        if log {
            let checkpoint = Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() };
            let log = NoteSigner::new(ORIGIN.into(), self.log.clone());
            let key = epochs.contains(&epoch).then(|| self.epochs[&epoch].clone());
            let epoch = key.map(|key| NoteSigner::new(epoch_name(ORIGIN, epoch), key));
            let signers: Vec<&NoteSigner> = [Some(&log), epoch.as_ref()].into_iter().flatten().collect();
            fs::write(folder.join("checkpoint"), sign(&checkpoint.text(), &signers)).unwrap();
        }
    }
}

fn paths(dir: &tempfile::TempDir) -> Paths {
    Paths { state: dir.path().join("state"), keys: dir.path().join("keys") }
}

fn start(paths: &Paths) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    open(&disk, paths, "acme.example", NOW).unwrap()
}

fn event(name: &str) -> Bodies {
    let mut bodies = Bodies::default();
    bodies.push("event", |out| out.extend_from_slice(format!("\"n\":\"{name}\"").as_bytes()));
    bodies
}

#[test]
fn three_epochs_verify_and_the_trail_goes_on() {
    let home = Home::new();
    let outcome = home.verify(Some(home.trust()), Some(&home.heads[0]));
    assert_eq!((outcome.verdict, outcome.exit, outcome.trust), (Verdict::Ok, 0, "pinned"), "{outcome:?}");
    assert_eq!(outcome.epoch, 2);
    assert!(outcome.anchored_to > 0 && outcome.anchored_to < outcome.size, "{outcome:?}");
    let mut opened = start(&paths(&home.dir));
    assert_eq!(opened.trail.epoch(), 2);
    opened.trail.commit(&event("more"), &Cursors::new(), NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
    assert_eq!(home.verify(Some(home.trust()), Some(&home.heads[2])).exit, 0);
}

#[test]
fn the_log_key_alone_rewrites_nothing() {
    for marked in ["0-1", "1-1", "2-1"] {
        let home = Home::new();
        home.rewrite(marked, true, &[]);
        for (trust, head) in [(None, None), (Some(home.trust()), None), (None, Some(&*home.heads[2]))] {
            let outcome = home.verify(trust, head);
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::Tampered, 1), "{marked}: {outcome:?}");
        }
    }
}

#[test]
fn todays_epoch_key_without_the_log_key_cannot_sign_a_head() {
    let home = Home::new();
    home.rewrite("2-1", false, &[2]);
    assert_eq!(home.verify(None, None).verdict, Verdict::Tampered);
}

#[test]
fn todays_keys_cannot_rewrite_an_earlier_epoch() {
    for marked in ["0-1", "1-2"] {
        let home = Home::new();
        home.rewrite(marked, true, &[2]);
        let outcome = home.verify(None, None);
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::Tampered, 1), "{marked}: {outcome:?}");
        assert!(outcome.damage.iter().any(|damage| damage.why.contains("epoch key")), "{outcome:?}");
    }
}

#[test]
fn todays_keys_rewrite_todays_epoch_unless_somebody_kept_a_head() {
    let home = Home::new();
    home.rewrite("2-1", true, &[2]);
    // Nothing here can show it, and the result does not claim that it could.
    let alone = home.verify(Some(home.trust()), None);
    assert_eq!((alone.exit, alone.anchored_to), (0, 0));
    assert!(alone.oldest_unanchored.is_some());
    // A head from before the rewritten entry vouches only for what is below it.
    let before = home.verify(None, Some(&home.heads[1]));
    assert_eq!(before.exit, 0);
    assert!(before.anchored_to > 0 && before.anchored_to < before.size);
    // A head from after it shows the fork.
    let after = home.verify(None, Some(&home.heads[2]));
    assert_eq!((after.verdict, after.exit), (Verdict::Forked, 21), "{after:?}");
}

#[test]
fn all_keys_since_the_start_rewrite_all_but_what_was_pinned_or_kept() {
    let home = Home::new();
    home.rewrite("0-1", true, &[0, 1, 2]);
    assert_eq!(home.verify(Some(home.trust()), None).exit, 0, "entry 0 is the pinned one");
    for head in &home.heads {
        assert_eq!(home.verify(None, Some(head)).verdict, Verdict::Forked);
    }
}

#[test]
fn a_trail_replaced_from_entry_0_on_is_seen_by_who_pinned_it() {
    let (home, other) = (Home::new(), Home::new());
    let unpinned = other.verify(None, None);
    assert_eq!((unpinned.exit, unpinned.trust), (0, "unpinned"));
    assert_eq!(other.verify(Some(home.trust()), None).verdict, Verdict::Tampered);
    assert_ne!(other.verify(None, Some(&home.heads[2])).exit, 0);
}

#[test]
fn strict_wants_pinned_and_anchored() {
    let home = Home::new();
    let strict = |trust: Option<Trust>, head: Option<&String>| {
        let given = Given { trust, known_head: head.cloned(), strict: true, ..Given::default() };
        verify(&paths(&home.dir).state, &given, &mut |_| ()).unwrap().exit
    };
    assert_eq!(strict(None, None), 25);
    assert_eq!(strict(Some(home.trust()), None), 25);
    assert_eq!(strict(None, Some(&home.heads[2])), 25);
    assert_eq!(strict(Some(home.trust()), Some(&home.heads[2])), 0);
}
