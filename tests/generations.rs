//! A restored backup, or damage that somebody accepts, goes on in a new generation: the old origin is never
//! signed again, and `verify` walks from one to the other.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::model::Time;
use crmwarden::model::json::no_mask;
use crmwarden::operator::{Act, operate};
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::entry::Bodies;
use crmwarden::trail::generation::{Ask, Made, make};
use crmwarden::trail::recover::{Opened, open};
use crmwarden::trail::verify::{Given, Outcome, Verdict, verify};
use crmwarden::trail::{Cursors, Paths, TrailError};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

const NOW: Time = Time::from_seconds(1_790_000_000);

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        let mut opened = home.open().unwrap();
        for number in 0..6 {
            commit(&mut opened, number);
        }
        home
    }
    fn paths(&self) -> Paths {
        Paths { state: self.0.path().join("state"), keys: self.0.path().join("keys") }
    }
    fn open(&self) -> Result<Opened, TrailError> {
        open(&real(), &self.paths(), "acme.example", NOW)
    }
    fn verify(&self) -> Outcome {
        verify(&self.paths().state, &Given::default(), &mut |_| ()).unwrap()
    }
    fn segment(&self) -> PathBuf {
        self.paths().generation(1).join("segments/00000000000000000000.jsonl")
    }
    fn next_generation(&self, acknowledge_damage: bool) -> Result<Made, TrailError> {
        let ask = Ask {
            reason: "restored after a disk fault".into(),
            operator: "A. Operator".into(),
            acknowledge_damage,
        };
        make(&real(), &self.paths(), "acme.example", &ask, no_mask, NOW)
    }
    /// Makes entry `n` another one.
    fn damage(&self, n: u64) {
        let text = fs::read_to_string(self.segment()).unwrap();
        let damaged = text.replace(&format!("\"n\":{n},"), &format!("\"n\":{},", n + 1000));
        assert_ne!(text, damaged);
        fs::write(self.segment(), damaged).unwrap();
    }
}

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn commit(opened: &mut Opened, number: u64) {
    let mut bodies = Bodies::default();
    bodies.push("event", |out| out.extend_from_slice(format!("\"n\":{number},\"e\":1").as_bytes()));
    let cursors: Cursors = serde_json::from_str(&format!("{{\"web\":{{\"file\":{number}}}}}")).unwrap();
    opened.trail.commit(&bodies, &cursors, NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
}

fn cursor(opened: &Opened) -> String {
    opened.trail.cursors()["web"]["file"].get().to_owned()
}

#[test]
fn an_intact_trail_goes_on_where_it_was() {
    let home = Home::new();
    let before = home.verify();
    let made = home.next_generation(false).unwrap();
    assert_eq!((made.generation, made.previous.size), (2, before.size));
    assert_eq!(made.previous.root, before.root);
    let mut opened = home.open().unwrap();
    assert_eq!((opened.trail.origin(), cursor(&opened).as_str()), ("acme.example/crmwarden/g2", "5"));
    commit(&mut opened, 6);
    drop(opened);
    let outcome = home.verify();
    assert_eq!((outcome.verdict, outcome.origin.as_str()), (Verdict::Ok, "acme.example/crmwarden/g2"));
    assert_eq!(outcome.generations.len(), 1);
    assert_eq!(outcome.generations[0].size, before.size);
    // Only the new generation's key is left, and nobody can sign for the old one.
    let keys: Vec<_> = fs::read_dir(home.paths().state.join("epoch")).unwrap().collect();
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_legal_hold_goes_on_in_the_next_generation() {
    let home = Home::new();
    let mut opened = home.open().unwrap();
    let hold = Act::Hold { name: "case 7".into(), reason: "litigation".into() };
    operate(&mut opened.trail, None, &hold, 0, NOW).unwrap();
    drop(opened);
    home.next_generation(false).unwrap();
    assert!(home.open().unwrap().trail.holds().contains("case 7"));
}

#[test]
fn an_endless_reason_is_refused_and_changes_nothing() {
    let home = Home::new();
    for reason in [String::new(), "x".repeat(7000)] {
        let ask = Ask { reason, operator: "A. Operator".into(), acknowledge_damage: false };
        let refused = make(&real(), &home.paths(), "acme.example", &ask, no_mask, NOW);
        assert!(matches!(refused, Err(TrailError::Setup(_))));
    }
    assert!(!home.paths().generation(2).exists());
    assert_eq!(home.verify().exit, 0);
}

#[test]
fn damage_must_be_acknowledged_and_stays_named() {
    let home = Home::new();
    home.damage(3);
    assert!(matches!(home.open(), Err(TrailError::Refused { .. })));
    assert!(matches!(home.next_generation(false), Err(TrailError::Refused { .. })));
    assert!(!home.paths().generation(2).exists(), "a refusal changes nothing");
    let made = home.next_generation(true).unwrap();
    assert!(!made.previous.damaged.is_empty());
    let mut opened = home.open().unwrap();
    // What was read after the last head that verifies is read again.
    assert_eq!(cursor(&opened), "2");
    commit(&mut opened, 3);
    drop(opened);
    let outcome = home.verify();
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::Tampered, 1), "damage does not become good");
    assert!(outcome.holds(), "the daemon goes on: the damage is known");
    assert!(outcome.generations[0].damage.iter().all(|damage| damage.acknowledged), "{outcome:?}");
    // Further damage is not.
    home.damage(1);
    assert!(!home.verify().holds());
}

#[test]
fn an_older_generation_that_is_cut_below_its_named_head_is_seen() {
    let home = Home::new();
    home.next_generation(false).unwrap();
    let text = fs::read_to_string(home.segment()).unwrap();
    let cut: Vec<&str> = text.lines().take(8).collect();
    fs::write(home.segment(), cut.join("\n") + "\n").unwrap();
    let outcome = home.verify();
    assert!(outcome.verdicts.contains(&Verdict::RolledBack), "{outcome:?}");
}

#[test]
fn an_older_generation_with_another_history_is_seen() {
    let (home, other) = (Home::new(), Home::new());
    home.next_generation(false).unwrap();
    // A whole, signed trail of somebody else in the old one's place.
    let place = home.paths().generation(1);
    fs::remove_dir_all(&place).unwrap();
    fs::rename(other.paths().generation(1), &place).unwrap();
    let outcome = home.verify();
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::Tampered, 1), "{outcome:?}");
}

#[test]
fn a_third_generation_follows() {
    let home = Home::new();
    home.next_generation(false).unwrap();
    home.next_generation(false).unwrap();
    let opened = home.open().unwrap();
    assert_eq!(opened.trail.origin(), "acme.example/crmwarden/g3");
    drop(opened);
    let outcome = home.verify();
    assert_eq!((outcome.exit, outcome.generations.len()), (0, 2), "{outcome:?}");
}
