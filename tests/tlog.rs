//! The trail as a transparency log, in the eyes of others: the crates `signed_note` and `tlog_tiles` verify what
//! `export` and `trail` give out, from the files alone, and refuse what was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use crmwarden::model::{Hash, Time};
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::generation;
use crmwarden::trail::note::{Cosigner, CosignerKey};
use crmwarden::trail::proof::{self, Memory};
use crmwarden::trail::recover::open;
use crmwarden::trail::tiles::{Kind, TilePath, parse_bundle};
use crmwarden::trail::tree::leaf_hash;
use crmwarden::trail::{Bodies, Cursors, Paths};
use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};
use proptest::prelude::*;
use serde_json::Value;
use signed_note::{Note, StandardVerifier, VerifierList};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tlog_tiles::tile::{Tile, TileHashReader, TileReader};
use tlog_tiles::tlog::{self, HashReader, check_record, check_tree, record_hash, tree_hash};

const NOW: Time = Time::from_seconds(1_790_000_000);

fn paths(home: &Home) -> Paths {
    Paths { state: home.path("state"), keys: home.path("keys") }
}

/// Grows the trail of a home to exactly `size` entries and signs it.
fn grow(home: &Home, size: u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut trail = open(&disk, &paths(home), "acme.example", NOW).unwrap().trail;
    while trail.next_index() < size {
        let mut bodies = Bodies::default();
        for n in 0..(size - trail.next_index() - 1).min(4000) {
            bodies.push("event", |out| out.extend_from_slice(format!("\"n\":{n}").as_bytes()));
        }
        trail.commit(&bodies, &Cursors::new(), NOW).unwrap();
    }
    assert_eq!(trail.next_index(), size);
    trail.checkpoint(NOW).unwrap();
}

fn trail_of(size: u64) -> Home {
    let home = Home::new("sources: []\n");
    grow(&home, size);
    home
}

/// The specification's example: 70,000 entries, exported by the binary. Made once for all tests.
fn large() -> &'static Home {
    static LARGE: OnceLock<Home> = OnceLock::new();
    LARGE.get_or_init(|| {
        let home = trail_of(70_000);
        let said = home.expect(0, &["export", "--format", "tlog-tiles", "-o", "log", "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&said["size"], &said["tiles"], &said["bundles"]),
            (&70_000.into(), &277.into(), &274.into())
        );
        home
    })
}

fn vkeys(home: &Home) -> Vec<String> {
    home.expect(0, &["keys", "export", "--format", "vkey"]).lines().map(str::to_owned).collect()
}

fn standard(vkey: &str) -> Box<dyn signed_note::Verifier> {
    Box::new(StandardVerifier::new(vkey).unwrap())
}

/// An exported directory, read by nothing but names and bytes.
struct Directory {
    folder: PathBuf,
}

impl Directory {
    fn new(folder: PathBuf) -> Directory {
        Directory { folder }
    }

    /// The signed head, by the foreign note verifier.
    fn head(&self, vkeys: &[String]) -> Result<(u64, tlog::Hash), String> {
        let note = Note::from_bytes(&fs::read(self.folder.join("checkpoint")).unwrap());
        let note = note.map_err(|error| error.to_string())?;
        let known = VerifierList::new(vkeys.iter().map(|vkey| standard(vkey)).collect());
        let (verified, _) = note.verify(&known).map_err(|error| error.to_string())?;
        if verified.len() != vkeys.len() {
            return Err("a signature is missing".into());
        }
        let text = String::from_utf8(note.text().to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        Ok((lines[1].parse().unwrap(), tlog::Hash::parse_hash(lines[2]).unwrap()))
    }

    /// Every entry and every hash tile against the signed root, by the foreign crate's arithmetic alone. (Its
    /// `TileHashReader` does not do: it leaves tiles unchecked where several subtrees of the right edge stand in
    /// one tile, for it begins to check at their number and not at that of their tiles.)
    fn authentic(&self, vkeys: &[String]) -> Result<Vec<Vec<u8>>, String> {
        let (size, root) = self.head(vkeys)?;
        let (mut stored, mut entries) = (Stored(Vec::new()), Vec::new());
        for index in 0..size.div_ceil(256) {
            for entry in self.bundle(index, (size - index * 256).min(256)) {
                let hash = record_hash(&entry);
                let new = tlog::stored_hashes_for_record_hash(entries.len() as u64, hash, &stored).unwrap();
                stored.0.extend(new);
                entries.push(entry);
            }
        }
        if tree_hash(size, &stored).unwrap() != root {
            return Err("the entries do not give the root".into());
        }
        let tiles = Tile::new_tiles(8, 0, size);
        let read = self.read_tiles(&tiles).unwrap();
        match tiles.iter().zip(read).find(|(tile, bytes)| tile.read_data(&stored).unwrap() != *bytes) {
            Some((tile, _)) => Err(format!("{} holds other hashes", tile.path())),
            None => Ok(entries),
        }
    }

    fn bundle(&self, index: u64, width: u64) -> Vec<Vec<u8>> {
        let path = TilePath { kind: Kind::Entries, index, width };
        let bytes = fs::read(self.folder.join(path.to_string())).unwrap();
        let mut rest = &bytes[..];
        let mut entries = Vec::new();
        while let [a, b, after @ ..] = rest {
            let (entry, after) = after.split_at(usize::from(*a) << 8 | usize::from(*b));
            entries.push(entry.to_vec());
            rest = after;
        }
        assert_eq!(entries.len() as u64, width);
        entries
    }
}

impl TileReader for Directory {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        // The crate writes the height into a path; C2SP leaves it out.
        let path = |tile: &Tile| self.folder.join(tile.path().replacen("tile/8/", "tile/", 1));
        Ok(tiles.iter().map(|tile| fs::read(path(tile)).unwrap()).collect())
    }
    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => {
                    names.insert(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    names
}

/// c2sp.org/tlog-tiles: "273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, one
/// partial level 1 tile of width 17, and one partial level 2 tile of width 1".
#[test]
fn seventy_thousand_entries_are_the_specification_s_files() {
    let mut wanted: BTreeSet<String> =
        ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1", "checkpoint"].map(str::to_owned).into();
    for kind in ["0", "entries"] {
        wanted.extend((0..273).map(|index| format!("tile/{kind}/{index:03}")));
        wanted.insert(format!("tile/{kind}/273.p/112"));
    }
    let folder = large().path("log");
    assert_eq!(files(&folder), wanted);
    let length = |name: &str| fs::metadata(folder.join(name)).unwrap().len();
    assert_eq!((length("tile/0/000"), length("tile/0/273.p/112")), (8192, 112 * 32));
    assert_eq!((length("tile/1/001.p/17"), length("tile/2/000.p/1")), (17 * 32, 32));
    // The foreign crate would publish the same hash tiles.
    let theirs: BTreeSet<String> = Tile::new_tiles(8, 0, 70_000)
        .iter()
        .map(|tile| tile.path().replacen("tile/8/", "tile/", 1))
        .collect();
    let ours: BTreeSet<String> =
        wanted.into_iter().filter(|name| name.starts_with("tile/") && !name.contains("entries")).collect();
    assert_eq!(theirs, ours);
}

#[test]
fn foreign_verifiers_accept_checkpoint_tiles_and_every_entry() {
    let home = large();
    let directory = Directory::new(home.path("log"));
    let keys = vkeys(home);
    let (size, root) = directory.head(&keys).unwrap();
    assert_eq!(size, 70_000);
    assert_eq!(
        directory.head(&keys[..1]).unwrap().0,
        70_000,
        "whoever knows the log key alone accepts it too"
    );
    let reader = TileHashReader::new(size, root, &directory);
    assert_eq!(tree_hash(size, &reader).unwrap(), root);
    let mut lines = Vec::new();
    home.each_line(&mut |line| lines.push(line.to_vec()));
    assert!(directory.authentic(&keys).unwrap() == lines, "the bundles hold the lines as they are stored");
}

#[test]
fn foreign_verifiers_accept_our_proofs_and_make_the_same() {
    let home = large();
    let directory = Directory::new(home.path("log"));
    let (size, root) = directory.head(&vkeys(home)).unwrap();
    let reader = TileHashReader::new(size, root, &directory);
    for index in [0, 1, 255, 256, 65_535, 65_536, 69_999] {
        let text = home.expect(0, &["trail", "proof", "--entry", &index.to_string(), "--with-entry"]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert!(lines.next().unwrap().starts_with("extra "));
        assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
        let hashes: Vec<tlog::Hash> = lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .map(|line| tlog::Hash::parse_hash(line).unwrap())
            .collect();
        let note: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(note, fs::read_to_string(home.path("log/checkpoint")).unwrap());
        let leaf = record_hash(
            &directory.bundle(index / 256, if index >= 69_888 { 112 } else { 256 })[index as usize % 256],
        );
        check_record(&hashes, size, root, index, leaf).unwrap();
        assert_eq!(tlog::prove_record(size, index, &reader).unwrap(), hashes);
        assert!(check_record(&hashes, size, root, index ^ 1, leaf).is_err());
        assert!(check_record(&hashes[1..].to_vec(), size, root, index, leaf).is_err());
    }
    for (old, new) in
        [(1, 70_000), (256, 70_000), (60_001, 70_000), (65_536, 65_537), (69_999, 70_000), (5, 7), (9, 9)]
    {
        let arguments = ["trail", "consistency", "--from", &old.to_string(), "--to", &new.to_string()];
        let text = home.expect(0, &arguments);
        let hashes: Vec<tlog::Hash> =
            text.lines().map(|line| tlog::Hash::parse_hash(line).unwrap()).collect();
        let (before, after) = (tree_hash(old, &reader).unwrap(), tree_hash(new, &reader).unwrap());
        check_tree(&hashes, new, after, old, before).unwrap();
        assert_eq!(tlog::prove_tree(new, old, &reader).unwrap(), hashes);
        if old != new {
            assert!(check_tree(&hashes, new, before, old, before).is_err());
        }
    }
}

#[test]
fn a_changed_export_is_refused_by_foreign_verifiers() {
    let home = trail_of(600);
    home.expect(0, &["export", "--format", "tlog-tiles", "-o", "log"]);
    let keys = vkeys(&home);
    let changed = |name: &str, place: usize| {
        let copy = tempfile::tempdir().unwrap();
        common::copy_all(&home.path("log"), copy.path());
        let path = copy.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[place] ^= 1;
        fs::write(path, bytes).unwrap();
        copy
    };
    let note = fs::read(home.path("log/checkpoint")).unwrap();
    for place in 0..note.len() {
        let copy = changed("checkpoint", place);
        assert!(Directory::new(copy.path().to_owned()).head(&keys).is_err(), "byte {place}");
    }
    assert!(Directory::new(home.path("log")).authentic(&keys).is_ok());
    for (name, place) in [
        ("tile/0/000", 0),
        ("tile/0/001", 8191),
        ("tile/0/002.p/88", 87 * 32),
        ("tile/1/000.p/2", 40),
        ("tile/entries/001", 5),
        ("tile/entries/002.p/88", 999),
    ] {
        let copy = changed(name, place);
        assert!(Directory::new(copy.path().to_owned()).authentic(&keys).is_err(), "{name}");
    }
}

/// A verifier for `signed_note` of a witness's key, from the specification alone.
struct Timestamped {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl signed_note::Verifier for Timestamped {
    fn name(&self) -> &str {
        &self.name
    }
    fn key_id(&self) -> u32 {
        self.id
    }
    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let head = format!("cosignature/v1\ntime {}\n", u64::from_be_bytes(*time));
        let signature = Signature::from_slice(signature);
        signature
            .is_ok_and(|signature| self.key.verify(&[head.as_bytes(), text].concat(), &signature).is_ok())
    }
}

fn witness() -> Cosigner {
    Cosigner::new("w.example/w1".into(), SigningKey::from_bytes(&[7; 32]))
}

fn timestamped(key: &CosignerKey) -> Timestamped {
    let typed = [&[4][..], key.key.as_bytes()].concat();
    Timestamped { name: key.name.clone(), id: signed_note::key_id(&key.name, &typed), key: key.key }
}

#[test]
fn a_foreign_verifier_accepts_our_cosignature() {
    let home = large();
    let note = fs::read_to_string(home.path("log/checkpoint")).unwrap();
    let text = &note[..note.find("\n\n").unwrap() + 1];
    let key = witness().public();
    let cosigned = format!("{note}{}", witness().sign(text, 1_800_000_000));
    let known = || {
        let mut list: Vec<Box<dyn signed_note::Verifier>> =
            vkeys(home).iter().map(|vkey| standard(vkey)).collect();
        list.push(Box::new(timestamped(&key)));
        VerifierList::new(list)
    };
    let verify =
        |note: &str| Note::from_bytes(note.as_bytes()).unwrap().verify(&known()).map(|(held, _)| held.len());
    assert_eq!(verify(&cosigned).unwrap(), 3);
    let elsewhere = format!("{note}{}", witness().sign("o\n1\nAAAA\n", 1_800_000_000));
    assert!(verify(&elsewhere).is_err());
}

// ---------------------------------------------------------------------------------------------------------
// The commands

#[test]
fn a_proof_is_checked_with_a_trust_file_and_nothing_else() {
    let home = trail_of(500);
    home.write("trust.txt", home.expect(0, &["keys", "export", "--format", "trust"]).as_bytes());
    let said = home.expect(0, &["trail", "proof", "--entry", "41", "--with-entry", "-o", "p.tlog-proof"]);
    assert!(said.contains("trail verify-proof p.tlog-proof --trust trust.txt\n"), "{said}");
    let elsewhere = Home::empty();
    let copy = |name: &str| fs::copy(home.path(name), elsewhere.path(name)).unwrap();
    copy("trust.txt");
    copy("p.tlog-proof");
    let check = ["trail", "verify-proof", "p.tlog-proof", "--trust", "trust.txt"];
    let said = elsewhere.expect(0, &check);
    assert!(said.starts_with("Entry 41 is in the trail acme.example/crmwarden/g1.\n"), "{said}");
    assert!(said.contains("{\"i\":41,\"prev\":") && said.contains("first epoch's key"), "{said}");
    let json: Value =
        serde_json::from_str(&elsewhere.expect(0, &[&check[..], &["--json"]].concat())).unwrap();
    assert_eq!((&json["holds"], &json["index"], &json["size"]), (&true.into(), &41.into(), &500.into()));

    // The line beside the proof instead of in it.
    let plain = home.expect(0, &["trail", "proof", "--entry", "41"]);
    elsewhere.write("plain.tlog-proof", plain.as_bytes());
    let mut lines = Vec::new();
    home.each_line(&mut |line| lines.push(line.to_vec()));
    elsewhere.write("line", &[&lines[41][..], b"\n"].concat());
    elsewhere.write("other", &lines[42]);
    let check = |file: &str, rest: &[&str]| {
        let arguments = [&["trail", "verify-proof", file, "--trust", "trust.txt"], rest].concat();
        elsewhere.run(&arguments).status.code().unwrap()
    };
    assert_eq!(check("plain.tlog-proof", &["--line", "line"]), 0);
    assert_eq!(check("plain.tlog-proof", &["--line", "other"]), 1);
    assert_eq!(check("plain.tlog-proof", &[]), 2, "nothing says which entry is meant");
    let text = fs::read_to_string(home.path("p.tlog-proof")).unwrap();
    elsewhere.write("bad", text.replacen("index 41", "index 40", 1).as_bytes());
    assert_eq!(check("bad", &[]), 1);
    elsewhere.write("bad", text.replacen("\n500\n", "\n501\n", 1).as_bytes());
    assert_eq!(check("bad", &[]), 1);
    elsewhere.write("bad", b"no proof");
    assert_eq!(check("bad", &[]), 2);

    // Another trail under the same name: only the keys tell.
    let other = trail_of(500);
    elsewhere.write("trust.txt", other.expect(0, &["keys", "export", "--format", "trust"]).as_bytes());
    assert_eq!(check("p.tlog-proof", &[]), 1);
}

#[test]
fn a_policy_that_asks_for_a_witness_gets_one_or_the_proof_does_not_hold() {
    let home = trail_of(300);
    let trust = home.expect(0, &["keys", "export", "--format", "trust"]);
    let strict =
        trust.replacen("quorum none\n", &format!("witness w {}\nquorum w\n", witness().public().vkey()), 1);
    home.write("trust.txt", strict.as_bytes());
    let check = |proof: &str| {
        home.write("p", proof.as_bytes());
        let output = home.run(&["trail", "verify-proof", "p", "--trust", "trust.txt"]);
        (output.status.code().unwrap(), common::text(&output.stdout))
    };
    let proof = home.expect(0, &["trail", "proof", "--entry", "7", "--with-entry"]);
    let (exit, said) = check(&proof);
    assert!(exit == 1 && said.contains("witnessed by nobody: not what the policy asks for"), "{said}");
    let text = proof.split("\n\n").nth(1).unwrap().to_owned() + "\n";
    let cosigned = format!("{proof}{}", witness().sign(&text, 1_800_000_000));
    let (exit, said) = check(&cosigned);
    assert!(exit == 0 && said.contains("witnessed by w\n"), "{said}");
    let lied = format!("{proof}{}", witness().sign(&text.replace("300", "301"), 1_800_000_000));
    assert_eq!(check(&lied).0, 1);
    home.write("trust.txt", strict.replacen("quorum w", "quorum v", 1).as_bytes());
    let output = home.run(&["trail", "verify-proof", "p", "--trust", "trust.txt"]);
    assert_eq!(output.status.code(), Some(2));
    let said = common::text(&output.stderr);
    assert!(said.contains("trust.txt: line 10: no line before this one defines"), "{said}");
}

#[test]
fn checkpoints_are_told_apart_by_their_history() {
    let home = trail_of(300);
    let kept = |home: &Home, name: &str| {
        fs::copy(home.path("state/trail/g1/checkpoint"), home.path(name)).unwrap();
    };
    kept(&home, "old");
    grow(&home, 400);
    let said = home.expect(0, &["trail", "consistency", "--from", "old", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["from"], &said["to"]), (&300.into(), &400.into()));
    let by_size = home.expect(0, &["trail", "consistency", "--from", "300", "--to", "400", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&by_size).unwrap(), said);

    // A copy goes on differently under the same keys.
    let fork = home.copy();
    grow(&fork, 450);
    grow(&fork, 460);
    kept(&fork, "fork");
    grow(&home, 460);
    fs::copy(fork.path("fork"), home.path("fork")).unwrap();
    let output = home.run(&["trail", "consistency", "--from", "fork"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(common::text(&output.stderr).contains("forked"), "{}", common::text(&output.stderr));
    grow(&fork, 500);
    kept(&fork, "longer");
    fs::copy(fork.path("longer"), home.path("longer")).unwrap();
    let output = home.run(&["trail", "consistency", "--from", "old", "--to", "longer"]);
    assert!(common::text(&output.stderr).contains("rolled_back"), "{}", common::text(&output.stderr));
    let other = trail_of(10);
    fs::copy(other.path("state/trail/g1/checkpoint"), home.path("other")).unwrap();
    for (from, to) in
        [("other", "400"), ("missing", "400"), ("400", "300"), ("1", "999"), ("99999999999999999999", "400")]
    {
        let exit = home.run(&["trail", "consistency", "--from", from, "--to", to]).status.code().unwrap();
        assert!(exit == 2 || (exit == 3 && from == "missing"), "{from} {to}: {exit}");
    }
    let exit = |arguments: &[&str]| home.run(arguments).status.code().unwrap();
    assert_eq!(exit(&["trail", "proof", "--entry", "460"]), 2);
    assert_eq!(exit(&["trail", "proof", "--entry", "1", "--size", "299"]), 2);
    let older = home.expect(0, &["trail", "proof", "--entry", "1", "--size", "300", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&older).unwrap()["size"], 300);
}

#[test]
fn an_export_of_a_live_trail_leaves_an_access_entry_that_it_holds_itself() {
    let home = Home::new("sources: []\n");
    let daemon = home.ready_daemon();
    let output = home.run(&["export", "--format", "jsonl"]);
    assert_eq!((output.status.code(), common::text(&output.stderr)), (Some(0), String::new()));
    let exported = common::text(&output.stdout);
    let access: Vec<&str> = exported.lines().filter(|line| line.contains("\"kind\":\"access\"")).collect();
    assert_eq!(access.len(), 1, "{exported}");
    assert!(
        access[0].contains("\"what\":\"export\",\"detail\":\"jsonl of acme.example/crmwarden/g1\""),
        "{access:?}"
    );
    assert_eq!(daemon.stop(), 0);
    let output = home.run(&["export", "--format", "jsonl", "-o", "lines", "state"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(common::text(&output.stderr).contains("not recorded"), "{}", common::text(&output.stderr));
    let mut lines = Vec::new();
    home.each_line(&mut |line| lines.extend([line, b"\n"].concat()));
    assert_eq!(fs::read(home.path("lines")).unwrap(), lines);
    assert_eq!(
        home.run(&["export", "--format", "jsonl", "-o", "lines"]).status.code(),
        Some(3),
        "it is there already"
    );
}

#[test]
fn a_damaged_trail_is_not_exported_as_if_it_were_whole() {
    let home = trail_of(400);
    let segment = home.segments().pop().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("\"n\":200}", "\"n\":201}", 1)).unwrap();
    assert_eq!(home.run(&["export", "--format", "jsonl", "-o", "lines"]).status.code(), Some(4));
    assert!(!home.path("lines").exists());
    assert_eq!(home.run(&["export", "--format", "jsonl"]).status.code(), Some(4));
    assert_eq!(home.run(&["export", "--format", "tlog-tiles", "-o", "log"]).status.code(), Some(4));
    assert!(!home.path("log/checkpoint").exists());
    assert_eq!(home.run(&["export", "--format", "tlog-tiles"]).status.code(), Some(2));
}

#[test]
fn each_generation_is_a_log_of_its_own() {
    let home = trail_of(300);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let ask =
        generation::Ask { reason: "a test".into(), operator: "nobody".into(), acknowledge_damage: false };
    let mask = crmwarden::model::json::no_mask;
    generation::make(&disk, &paths(&home), "acme.example", &ask, mask, NOW).unwrap();
    let origin = |arguments: &[&str]| {
        let said: Value = serde_json::from_str(&home.expect(0, arguments)).unwrap();
        (said["origin"].as_str().unwrap().to_owned(), said["size"].as_u64().unwrap())
    };
    let newest = origin(&["trail", "proof", "--entry", "0", "--json"]);
    assert_eq!(newest.0, "acme.example/crmwarden/g2");
    let first = origin(&["trail", "proof", "--entry", "0", "--json", "--generation", "1"]);
    assert_eq!(first, ("acme.example/crmwarden/g1".into(), 300));
    let exported = origin(&["export", "--format", "tlog-tiles", "-o", "g1", "--generation", "1", "--json"]);
    assert_eq!(exported, first);
    assert_eq!(origin(&["export", "--format", "tlog-tiles", "-o", "g2", "--json"]), newest);
    assert_eq!(
        home.run(&["export", "--format", "tlog-tiles", "-o", "g1"]).status.code(),
        Some(78),
        "another log"
    );
    assert_eq!(home.run(&["trail", "proof", "--entry", "0", "--generation", "3"]).status.code(), Some(3));
}

// ---------------------------------------------------------------------------------------------------------
// Parsers and proofs against the foreign ones

/// Hashes as `tlog_tiles` stores them, kept by that crate's own rules.
struct Stored(Vec<tlog::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, places: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(places.iter().map(|place| self.0[*place as usize]).collect())
    }
}

fn stored(size: u64) -> (Stored, Memory) {
    let (mut theirs, mut ours) = (Stored(Vec::new()), Memory::default());
    for index in 0..size {
        let entry = index.to_be_bytes();
        let new = tlog::stored_hashes(index, &entry, &theirs).unwrap();
        theirs.0.extend(new);
        ours.push(leaf_hash(&entry));
    }
    (theirs, ours)
}

fn theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().map(|hash| tlog::Hash(hash.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_are_those_of_the_foreign_crate(size in 1u64..400, index in any::<prop::sample::Index>()) {
        let (stored, mut ours) = stored(size);
        let index = index.index(size as usize) as u64;
        prop_assert_eq!(tlog::Hash(ours.root().0), tree_hash(size, &stored).unwrap());
        let proof = proof::inclusion(&mut ours, index, size).unwrap();
        prop_assert_eq!(theirs(&proof), tlog::prove_record(size, index, &stored).unwrap());
        let proof = proof::consistency(&mut ours, index + 1, size).unwrap();
        prop_assert_eq!(theirs(&proof), tlog::prove_tree(size, index + 1, &stored).unwrap());
    }

    /// The two readers of names agree, apart from the height that C2SP leaves out.
    #[test]
    fn names_are_read_as_the_foreign_crate_reads_them(
        level in "(data|0|[1-5][0-9]?|6[0-3]?|0[0-9])",
        groups in "(x[0-9]{3}/|[0-9]{3}/|x[0-9]{2}/){0,3}[0-9]{2,4}",
        partial in "(\\.p/[1-9][0-9]{0,2}|\\.p/0[1-9]|\\.p)?",
    ) {
        let foreign = Tile::from_path(&format!("tile/8/{level}/{groups}{partial}"));
        let ours = TilePath::parse(&format!("tile/{}/{groups}{partial}", level.replace("data", "entries")));
        prop_assert_eq!(ours.is_some(), foreign.is_ok());
        if let (Some(ours), Ok(foreign)) = (ours, foreign) {
            prop_assert_eq!((ours.index, ours.width), (foreign.level_index(), u64::from(foreign.width())));
        }
    }

    #[test]
    fn notes_are_read_as_the_foreign_crate_reads_them(
        text in "([a-z \u{e9}]{0,5}\n){0,3}",
        between in "\n?",
        lines in "((\u{2014}|-) [a-z+]{0,2} (AAAAAAE=|AAAA|[A-Z=]{4,8})\n?){0,3}",
    ) {
        let note = format!("{text}{between}{lines}");
        let foreign = Note::from_bytes(note.as_bytes());
        let ours = crmwarden::trail::note::Note::parse(&note);
        prop_assert_eq!(ours.is_ok(), foreign.is_ok(), "{:?}", note);
        if let (Ok(ours), Ok(foreign)) = (ours, foreign) {
            prop_assert_eq!(ours.text.as_bytes(), foreign.text());
        }
    }

    #[test]
    fn bundles_read_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20)) {
        let mut bundle = Vec::new();
        for entry in &entries {
            prop_assert!(crmwarden::trail::tiles::push_entry(&mut bundle, entry));
        }
        let read = parse_bundle(&bundle, entries.len() as u64).unwrap();
        prop_assert_eq!(read, entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(parse_bundle(&bundle[..bundle.len() - 1], entries.len() as u64), None);
    }
}
