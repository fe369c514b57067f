//! The format: a trail of every version lies in `tests/fixtures/trail-v<n>`, and every later release verifies
//! and resumes it.
//!
//! The fixture is made from fixed keys and times, so what is written today must be the same bytes: the format
//! does not change unnoticed. Its private keys are not in the repository; they are made here from constants.
//! A new version gets a new folder (`CRMWARDEN_WRITE_FIXTURE=1 cargo test --test format` writes it); old ones
//! stay as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::model::{Hash, Time};
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::entry::{Bodies, CommitLine, write_commit, write_line};
use crmwarden::trail::epoch::change_members;
use crmwarden::trail::keys::ssh_line;
use crmwarden::trail::note::{Checkpoint, NoteSigner, sign};
use crmwarden::trail::recover::open;
use crmwarden::trail::tree::Frontier;
use crmwarden::trail::trust::Trust;
use crmwarden::trail::verify::{Given, Verdict, verify};
use crmwarden::trail::{Cursors, Paths, epoch_name};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ORIGIN: &str = "fixture.example/crmwarden/g1";
const NOW: Time = Time::from_seconds(1_790_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trail-v1")
}

/// A trail being written line by line.
struct Written {
    lines: Vec<u8>,
    tree: Frontier,
    prev: Hash,
}

impl Written {
    fn line(&mut self, kind: &str, members: &str) {
        self.prev = write_line(&mut self.lines, self.tree.size(), &self.prev, NOW, kind, members.as_bytes());
        self.tree.push(self.prev, &mut |_, _, _| ());
    }
    fn commit(&mut self, cursors: &str, signer: &NoteSigner) {
        let root = self.tree.root();
        let commit = CommitLine { root: &root, cursors: cursors.as_bytes(), signer, origin: ORIGIN };
        self.prev = write_commit(&mut self.lines, self.tree.size(), &self.prev, NOW, &commit);
        self.tree.push(self.prev, &mut |_, _, _| ());
    }
}

/// Segment, checkpoint and trust file of version 1, from constants.
fn version_1() -> (Vec<u8>, String, String) {
    let log = NoteSigner::new(ORIGIN.into(), key(1));
    let epochs = [0u32, 1].map(|n| NoteSigner::new(epoch_name(ORIGIN, n), key(2 + n as u8)));
    let report = ssh_line(&key(4).verifying_key());
    let mut trail = Written { lines: Vec::new(), tree: Frontier::default(), prev: Hash::default() };
    let (log_vkey, epoch_vkey) = (log.verifier().vkey(), epochs[0].verifier().vkey());
    trail.line("genesis", &format!(
        "\"v\":1,\"origin\":\"{ORIGIN}\",\"log\":\"{log_vkey}\",\"epoch\":\"{epoch_vkey}\",\"report\":\"{report}\",\"privacy\":\"plain\""
    ));
    let entry0 = trail.prev;
    trail.line("segment", "\"version\":1,\"generation\":1,\"cursors\":{}");
    trail.commit("", &epochs[0]);
    trail.line(
        "start",
        "\"version\":\"0.1.0\",\"host\":\"fixture\",\"pid\":1,\"heartbeat_seconds\":300,\"sources\":[]",
    );
    trail.line("event", "\"time\":\"2026-09-21T14:13:20.000000Z\",\"source\":\"web\",\"action\":\"read\"");
    trail.line("an_unknown_kind", "\"of\":\"a later release\"");
    trail.commit("{\"web\":{\"file\":{\"offset\":120}}}", &epochs[0]);
    let index = trail.tree.size();
    let change = change_members(ORIGIN, index, 1, &epochs[1].verifier(), &epochs[0]);
    trail.line("key.epoch", &String::from_utf8(change).unwrap());
    trail.commit("", &epochs[0]);
    trail.line("stop", "\"reason\":\"asked\"");
    trail.commit("", &epochs[1]);
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: trail.tree.size(), root: trail.tree.root() };
    let note = sign(&checkpoint.text(), &[&log, &epochs[1]]);
    let trust =
        Trust { origin: ORIGIN.into(), log: log.verifier(), epoch: epochs[0].verifier(), entry0, report };
    (trail.lines, note, trust.text())
}

const SEGMENT: &str = "trail/g1/segments/00000000000000000000.jsonl";

#[test]
fn the_bytes_of_version_1_are_what_they_were() {
    let (segment, note, trust) = version_1();
    let files =
        [(SEGMENT, segment), ("trail/g1/checkpoint", note.into_bytes()), ("trust.txt", trust.into_bytes())];
    for (name, bytes) in files {
        let path = fixture().join(name);
        if std::env::var_os("CRMWARDEN_WRITE_FIXTURE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let stored = fs::read(&path).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(stored).unwrap(), "{name}");
    }
}

#[test]
fn version_1_is_verified_and_resumed() {
    let trust = Trust::parse(&fs::read_to_string(fixture().join("trust.txt")).unwrap()).unwrap();
    let given = Given { trust: Some(trust), ..Given::default() };
    let outcome = verify(&fixture(), &given, &mut |_| ()).unwrap();
    assert_eq!((outcome.verdict, outcome.trust, outcome.epoch), (Verdict::Ok, "pinned", 1), "{outcome:?}");

    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { state: dir.path().join("state"), keys: dir.path().join("keys") };
    for name in [SEGMENT, "trail/g1/checkpoint"] {
        let target = paths.state.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(fixture().join(name), &target).unwrap();
    }
    for folder in ["checkpoints", "quarantine", "tree"] {
        fs::create_dir_all(paths.generation(1).join(folder)).unwrap();
    }
    let pem = |seed| key(seed).to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let secrets = [
        (paths.epoch_key(1), pem(3)),
        (paths.keys.join("log.key"), pem(1)),
        (paths.keys.join("report.key"), pem(4)),
        (paths.keys.join("matching.key"), "07".repeat(32)),
        (paths.keys.join("fingerprint-1.key"), "08".repeat(32)),
    ];
    for (path, secret) in secrets {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    go_minus_w(&paths.state);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut opened = open(&disk, &paths, "fixture.example", NOW.plus_seconds(60)).unwrap();
    assert!(opened.trail.cursors()["web"]["file"].get().contains("120"));
    let mut bodies = Bodies::default();
    bodies.push("event", |out| out.extend_from_slice(b"\"n\":1"));
    opened.trail.commit(&bodies, &Cursors::new(), NOW.plus_seconds(60)).unwrap();
    opened.trail.checkpoint(NOW.plus_seconds(60)).unwrap();
    drop(opened);
    assert_eq!(verify(&paths.state, &given, &mut |_| ()).unwrap().exit, 0);
}

/// A checkout may be group writable; a state must not be.
fn go_minus_w(path: &Path) {
    let data = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(data.permissions().mode() & !0o022)).unwrap();
    if data.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| go_minus_w(&entry.unwrap().path()));
    }
}
