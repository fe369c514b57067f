//! The end of retention: details are erased, old entries pruned, sealed segments compressed, and what is left
//! still verifies, for us and for programs that share no code with us. A legal hold stops all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Home, REPOSITORY, have};
use crmwarden::model::Time;
use crmwarden::operator::{Act, operate};
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::entry::Bodies;
use crmwarden::trail::note::Verifier;
use crmwarden::trail::publish::Log;
use crmwarden::trail::quarter;
use crmwarden::trail::recover::{Opened, open};
use crmwarden::trail::tlog_proof::TlogProof;
use crmwarden::trail::tree::leaf_hash;
use crmwarden::trail::trust::Trust;
use crmwarden::trail::verify::{Given, Outcome, Verdict, verify};
use crmwarden::trail::{Cursors, Genesis, Paths, TrailError, genesis_line, pack};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const DAY: i64 = 86_400;
/// In the third quarter of 2026; the days below end in the fourth.
const START: Time = Time::from_seconds(1_790_000_000);

struct Days {
    dir: tempfile::TempDir,
    opened: Opened,
}

impl Days {
    /// A trail of a segment a day, with a change of epoch every day.
    fn new(days: i64) -> Days {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut opened = open(&disk, &paths(dir.path()), "acme.example", START).unwrap();
        for day in 0..days {
            let now = START.plus_seconds(day * (DAY + 1));
            opened.trail.make_room(now).unwrap();
            for number in 0..5 {
                let mut bodies = Bodies::default();
                let text = format!("\"day\":{day},\"n\":{number}");
                bodies.push("event", |out| out.extend_from_slice(text.as_bytes()));
                opened.trail.commit(&bodies, &Cursors::new(), now).unwrap();
            }
            opened.trail.checkpoint(now).unwrap();
            opened.trail.change_epoch(now).unwrap();
        }
        Days { dir, opened }
    }
    fn now(&self) -> Time {
        self.opened.trail.newest_time()
    }
    fn act(&mut self, act: &Act) -> Result<String, TrailError> {
        let now = self.now();
        operate(&mut self.opened.trail, None, act, 0, now).map(|done| done.text)
    }
    fn prune(&mut self, before: Time) -> Result<String, TrailError> {
        self.act(&Act::Prune {
            before,
            reason: "retention of 10 days".into(),
            requester: "records".into(),
            approver: "A. Manager".into(),
        })
    }
    fn trust(&self) -> Trust {
        let line = genesis_line(&RealDisk, self.opened.trail.folder()).unwrap().unwrap();
        let genesis = Genesis::of_line(&line).unwrap();
        Trust {
            origin: genesis.origin,
            log: Verifier::parse(&genesis.log).unwrap(),
            epoch: Verifier::parse(&genesis.epoch).unwrap(),
            entry0: leaf_hash(&line),
            report: genesis.report,
        }
    }
    fn verify(&self, trust: &Trust, head: Option<String>) -> Outcome {
        let given = Given { trust: Some(trust.clone()), known_head: head, ..Given::default() };
        verify(&self.dir.path().join("state"), &given, &mut |_| ()).unwrap()
    }
    fn log(&self, trust: &Trust) -> Log {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Log::open(&disk, self.opened.trail.folder(), None, &trust.log).unwrap()
    }
}

fn paths(dir: &Path) -> Paths {
    Paths { state: dir.join("state"), keys: dir.join("keys") }
}

/// The verifier in Python over the same folder.
fn python_accepts(dir: &Path, trust: &Trust) -> bool {
    fs::write(dir.join("trust.txt"), trust.text()).unwrap();
    let script = format!("{REPOSITORY}/examples/verify.py");
    let out =
        Command::new("python3").arg(script).arg("trust.txt").arg("state").current_dir(dir).output().unwrap();
    eprintln!("{}{}", common::text(&out.stdout), common::text(&out.stderr));
    out.status.success()
}

#[test]
fn what_is_left_after_pruning_and_compression_still_verifies() {
    let mut days = Days::new(20);
    let trust = days.trust();
    let (old_head, size) = (days.opened.trail.signed_note().to_owned(), days.opened.trail.next_index());
    let included = days.log(&trust).inclusion(size - 20).unwrap();
    let proof = TlogProof { extra: None, index: size - 20, hashes: included.proof, note: old_head.clone() };
    let pruned = days.prune(START.plus_seconds(12 * DAY)).unwrap();
    assert!(pruned.contains("pruned"), "{pruned}");
    let packed =
        pack::pack(&RealDisk, days.opened.trail.folder(), &days.opened.trail.housekeeping()).unwrap();
    assert!(packed.segments > 3 && packed.after < packed.before, "{packed:?}");

    let outcome = days.verify(&trust, Some(old_head));
    assert_eq!(
        (outcome.verdict, outcome.exit, outcome.trust),
        (Verdict::Erased, 24, "pinned"),
        "{outcome:?}"
    );
    assert!(outcome.damage.is_empty() && outcome.anchored_to == size, "{outcome:?}");
    let minimum = days.opened.trail.minimum();
    let said = outcome.erased.iter().find(|erased| erased.what == "prune").unwrap();
    assert_eq!((said.first, said.last), (0, minimum - 1));
    // A proof from before, and new ones, also between heads from before and after.
    assert!(proof.verify(&leaf_hash(&included.line), &[&trust.log]).is_ok());
    let mut log = days.log(&trust);
    for index in [minimum, minimum + 1, size - 1] {
        let included = log.inclusion(index).unwrap();
        let note = log.note().to_owned();
        let proof = TlogProof { extra: None, index, hashes: included.proof, note };
        assert!(proof.verify(&leaf_hash(&included.line), &[&trust.log]).is_ok(), "entry {index}");
    }
    assert!(log.inclusion(0).is_err(), "what is gone is not proved");
    if have(&[("python3", &["--version"]), ("openssl", &["version"]), ("zstd", &["--version"])]) {
        assert!(python_accepts(days.dir.path(), &trust));
    }
    // It goes on, and a segment that disappears without an entry is missed.
    drop(days.opened);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let reopened =
        open(&disk, &paths(days.dir.path()), "acme.example", START.plus_seconds(30 * DAY)).unwrap();
    assert_eq!(reopened.trail.minimum(), minimum);
    let days = Days { dir: days.dir, opened: reopened };
    let segments = days.opened.trail.folder().join("segments");
    let mut names: Vec<_> = fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    fs::remove_file(&names[0]).unwrap();
    let outcome = days.verify(&trust, None);
    assert!(outcome.verdicts.contains(&Verdict::Missing), "{outcome:?}");
}

#[test]
fn a_hold_stops_pruning_and_keys_of_ended_quarters_go_with_their_entries() {
    let mut days = Days::new(20);
    let keys = days.dir.path().join("keys");
    for number in [20263, 20264] {
        quarter::make(&RealDisk, &keys, number).unwrap();
    }
    days.act(&Act::Hold { name: "case 7".into(), reason: "litigation".into() }).unwrap();
    let refused = days.prune(START.plus_seconds(12 * DAY)).unwrap_err();
    assert!(matches!(&refused, TrailError::Setup(text) if text.contains("case 7")), "{refused}");
    assert_eq!(days.opened.trail.minimum(), 0);
    // It holds over a restart, too.
    drop(days.opened);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let opened = open(&disk, &paths(days.dir.path()), "acme.example", START.plus_seconds(30 * DAY)).unwrap();
    let mut days = Days { dir: days.dir, opened };
    assert!(days.prune(START.plus_seconds(12 * DAY)).is_err());
    days.act(&Act::Release { name: "case 7".into(), reason: "settled".into() }).unwrap();
    assert_eq!(quarter::list(&RealDisk, &keys).unwrap(), [20263, 20264]);
    // The oldest entry that is left is of the fourth quarter: the key of the third made nothing that is here.
    days.prune(START.plus_seconds(12 * DAY)).unwrap();
    assert_eq!(quarter::list(&RealDisk, &keys).unwrap(), [20264]);
}

const SOURCES: &str = "privacy: erasable\nsources:\n  - name: web\n    file: { paths: [\"web.log\"] }\n    format: access_log.combined\n";

fn line(user: &str) -> String {
    format!(
        "198.51.100.7 - {user} [21/Nov/2026:10:00:00 +0000] \"GET /Api/V8/module/Contacts HTTP/1.1\" 200 5 \"-\" \"curl\"\n"
    )
}

#[test]
fn a_person_is_erased_and_the_trail_says_by_which_entry() {
    let home = Home::new(SOURCES);
    // So often, in turn with another, that one entry cannot name all of them.
    home.append("web.log", (line("mara.lind") + &line("jon.berg")).repeat(800).as_bytes());
    home.expect(0, &["run", "--once"]);
    let trust = home.expect(0, &["keys", "export", "--format", "trust"]);
    home.write("trust.txt", trust.as_bytes());
    let head = fs::read(home.path("state/trail/g1/checkpoint")).unwrap();
    home.write("head", &head);
    let details = || -> String {
        let folder = home.path("state/details");
        fs::read_dir(folder).unwrap().map(|f| fs::read_to_string(f.unwrap().path()).unwrap()).collect()
    };
    assert!(details().contains("mara.lind") && details().contains("jon.berg"));
    let erase = ["erase", "--person", "Mara.Lind", "--reason", "request of the person", "--approver", "DPO"];
    home.expect(0, &["hold", "set", "case-1", "--reason", "litigation"]);
    home.expect(78, &erase);
    home.expect(0, &["hold", "release", "case-1", "--reason", "settled"]);
    let said = home.expect(0, &erase);
    assert!(said.contains("details are erased") && said.contains("Not reached"), "{said}");
    assert!(!details().contains("mara.lind") && details().contains("jon.berg"));
    let said = home.expect(24, &["verify", "state", "--trust", "trust.txt", "--known-head", "head"]);
    assert_eq!(home.of_kind("erase").len(), 2);
    assert!(said.contains("erased") && !said.contains("tampered") && said.contains("by entry"), "{said}");
    home.expect(78, &["erase", "--person", "nobody", "--reason", "x", "--approver", "y"]);
    // The same loss without an entry is missing; another value is tampering.
    let folder = home.path("state/details");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("jon.berg", "jon.burg")).unwrap();
    home.expect(1, &["verify", "state"]);
    fs::write(&file, "").unwrap();
    let said = home.expect(22, &["verify", "state"]);
    assert!(said.contains("missing") && said.contains("no signed entry says so"), "{said}");
}

#[test]
fn a_plain_trail_erases_nothing_and_says_so() {
    let home = Home::new(&SOURCES.replace("privacy: erasable\n", ""));
    home.append("web.log", line("mara.lind").as_bytes());
    home.expect(0, &["run", "--once"]);
    home.expect(78, &["erase", "--person", "mara.lind", "--reason", "x", "--approver", "y"]);
    home.expect(0, &["verify", "state"]);
}
