//! What is published and mailed around: tiles, proofs, checkpoints, with the reference implementation of their
//! formats, and a checkpoint with openssl alone, by the very lines that stand in the README.

use super::writer::{self, Writer, consistency, inclusion};
use super::{CHECKPOINT, answer, common, each_on_a_copy, go_program, small_trail, tiles, verify_go};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// 600 entries, so that there are two full tiles and a second level, as a folder with `trust.txt`, `tiles`,
/// `older` (a checkpoint) and the proofs.
fn published() -> (Writer, tempfile::TempDir) {
    let mut trail = Writer::new();
    while trail.lines.len() < 300 {
        trail.group(17);
    }
    let older = trail.lines.len();
    trail.change_epoch();
    while trail.lines.len() < 600 {
        trail.group(23);
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let size = trail.lines.len();
    let lines: Vec<&[u8]> = trail.lines.iter().map(|line| line.as_bytes()).collect();
    tiles::write(&folder.path().join("tiles"), &lines, trail.checkpoint(size).as_bytes());
    write("trust.txt", &trail.trust());
    write("older", &trail.checkpoint(older));
    write("newer", &trail.checkpoint(size));
    write("entry", &trail.lines[301]);
    let base64 = |hashes: Vec<[u8; 32]>| -> String {
        hashes.iter().map(|hash| STANDARD.encode(hash) + "\n").collect()
    };
    let path = base64(inclusion(301, trail.leaves()));
    write("proof", &format!("c2sp.org/tlog-proof@v1\nindex 301\n{path}\n{}", trail.checkpoint(size)));
    write("grown", &base64(consistency(older, trail.leaves())));
    (trail, folder)
}

fn go(folder: &Path, arguments: &[&str]) -> (i32, String) {
    verify_go(&folder.join("trust.txt"), arguments, folder)
}

const TILES: &[&str] = &["tiles", "tiles", "older"];
const PROOF: &[&str] = &["proof", "proof", "entry"];
const GROWN: &[&str] = &["consistency", "older", "newer", "grown"];

#[test]
fn tiles_and_proofs_are_accepted_by_the_reference_implementation() {
    if go_program().is_none() {
        return;
    }
    let (_, folder) = published();
    for arguments in [TILES, PROOF, GROWN] {
        let (exit, said) = go(folder.path(), arguments);
        assert_eq!(exit, 0, "{arguments:?}: {said}");
    }
    let same = ["consistency", "older", "older", "nothing"];
    fs::write(folder.path().join("nothing"), "").unwrap();
    assert_eq!(go(folder.path(), &same).0, 0);
    assert_eq!(go(folder.path(), &["tiles"]).0, 2);
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push(entry),
        }
    }
    found
}

#[test]
fn every_tile_and_every_part_of_a_proof_counts() {
    if go_program().is_none() {
        return;
    }
    let (trail, folder) = published();
    let mut random = crmwarden::inspect::dlp::generate::Generator::new(common::seed("tiles"));
    let mut cases: Vec<(&[&str], PathBuf, usize)> = Vec::new();
    let mut flip = |arguments, path: &Path, places: usize| {
        let length = fs::metadata(path).unwrap().len();
        let name = path.strip_prefix(folder.path()).unwrap().to_owned();
        cases.extend((0..places).map(|_| (arguments, name.clone(), random.below(length) as usize)));
    };
    for path in files(&folder.path().join("tiles")) {
        flip(TILES, &path, 6);
    }
    for (arguments, names) in [(PROOF, &["proof", "entry"][..]), (GROWN, &["older", "newer", "grown"])] {
        for name in names {
            flip(arguments, &folder.path().join(name), 20);
        }
    }
    assert!(cases.len() > 130, "{}", cases.len());
    each_on_a_copy(folder.path(), &cases, |(arguments, name, place), copy| {
        let mut content = fs::read(copy.join(name)).unwrap();
        content[*place] ^= 1 << (place % 8);
        fs::write(copy.join(name), content).unwrap();
        let (exit, said) = go(copy, arguments);
        assert_eq!(exit, 1, "byte {place} of {}: {said}", name.display());
    });
    // Another entry, heads in the wrong order, a tile that is missing.
    fs::write(folder.path().join("entry"), &trail.lines[302]).unwrap();
    assert_eq!(go(folder.path(), PROOF).0, 1);
    assert_eq!(go(folder.path(), &["consistency", "newer", "older", "grown"]).0, 1);
    fs::remove_file(folder.path().join("tiles/tile/0/001")).unwrap();
    assert_eq!(go(folder.path(), TILES).0, 1);
}

/// The block of the README that begins with this line.
fn readme_block(first: &str) -> String {
    let readme = fs::read_to_string(format!("{}/README.md", common::REPOSITORY)).unwrap();
    let blocks: Vec<&str> = readme.split("```").collect();
    let block =
        blocks.iter().find_map(|block| block.strip_prefix("sh\n").filter(|text| text.starts_with(first)));
    block.unwrap_or_else(|| panic!("no block in the README begins with {first}")).to_owned()
}

#[test]
fn openssl_alone_verifies_a_checkpoint_by_the_lines_of_the_readme() {
    if !common::have(&[("openssl", &["version"]), ("base64", &["--version"])]) {
        return;
    }
    let commands = readme_block("head -n 3 checkpoint > text\n");
    let run = |folder: &Path| {
        let mut command = Command::new("sh");
        command.args(["-c", &commands]).current_dir(folder);
        answer(&command.output().unwrap())
    };
    let home = small_trail().copy();
    fs::copy(home.path(CHECKPOINT), home.path("checkpoint")).unwrap();
    let (exit, said) = run(home.dir.path());
    assert!(exit == 0 && said.matches("Signature Verified Successfully").count() == 2, "{exit}: {said}");
    let clean = fs::read_to_string(home.path("checkpoint")).unwrap();
    let lines: Vec<&str> = clean.lines().collect();
    let start = |line: usize| -> usize { lines[..line].iter().map(|line| line.len() + 1).sum() };
    let mut places = vec![2, start(1), start(2) + 9];
    places.extend([4, 5].map(|line| start(line) + lines[line].len() - 30));
    for place in places {
        let mut content = clean.clone().into_bytes();
        content[place] ^= 1;
        fs::write(home.path("checkpoint"), content).unwrap();
        let (exit, said) = run(home.dir.path());
        assert_ne!(exit, 0, "byte {place}: {said}");
    }
    // A checkpoint of another trail, and one that only the log key signed.
    fs::write(home.path("checkpoint"), Writer::new().checkpoint(3)).unwrap();
    assert_ne!(run(home.dir.path()).0, 0);
    fs::write(home.path("checkpoint"), clean.replace(&format!("{}\n", lines[5]), "")).unwrap();
    assert_ne!(run(home.dir.path()).0, 0);
}

#[test]
fn the_readme_names_the_verifiers() {
    let commands = readme_block("examples/verify.sh ");
    for name in ["examples/verify.sh", "examples/verify.py"] {
        assert!(commands.contains(name) && Path::new(common::REPOSITORY).join(name).exists(), "{name}");
    }
    assert!(writer::ORIGIN.ends_with("/g1"));
}
