//! Publishing real trails in temporary folders: whole, damaged, pruned.
#![allow(clippy::unwrap_used)]

use super::super::disk::RealDisk;
use super::super::pack::pack;
use super::super::prune::Approval;
use super::super::recover::open as open_trail;
use super::super::tiles::{all, parse_bundle, parse_tile};
use super::super::{Cursors, Paths, Trail};
use super::*;
use crate::model::Time;
use crate::model::json::no_mask;
use crate::trail::entry::Bodies;
use std::fs;

const NOW: Time = Time::from_seconds(1_790_000_000);
const LATER: Time = Time::from_seconds(1_790_100_000);

struct Home(tempfile::TempDir);

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }
    fn paths(&self) -> Paths {
        Paths { state: self.0.path().join("state"), keys: self.0.path().join("keys") }
    }
    fn folder(&self) -> PathBuf {
        self.paths().generation(1)
    }
    fn trail(&self) -> Trail {
        self.trail_of(LATER)
    }
    fn trail_of(&self, now: Time) -> Trail {
        open_trail(&real(), &self.paths(), "acme.example", now).unwrap().trail
    }
    fn key(&self) -> Verifier {
        log_key(&RealDisk, &self.folder()).unwrap()
    }
    fn log(&self) -> Log {
        self.log_of(&self.key())
    }
    fn log_of(&self, key: &Verifier) -> Log {
        Log::open(&real(), &self.folder(), None, key).unwrap()
    }
    /// A trail of exactly so many entries, signed at the end.
    fn with(size: u64, now: Time) -> Home {
        let home = Home::new();
        grow(&mut home.trail(), size, now);
        home
    }
    fn lines(&self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for file in segments(&RealDisk, &self.folder()).unwrap() {
            let text = fs::read(file.path).unwrap();
            lines.extend(text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            assert_eq!(lines.pop(), Some(Vec::new()));
        }
        lines
    }
    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder().join(name);
        let mut bytes = fs::read(&path).unwrap();
        edit(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

fn grow(trail: &mut Trail, size: u64, now: Time) {
    while trail.next_index() < size {
        trail.make_room(now).unwrap();
        let mut bodies = Bodies::default();
        for n in 0..(size - trail.next_index() - 1).min(2000) {
            let text = "x".repeat(n as usize * 7 % 300);
            bodies
                .push("event", |out| out.extend_from_slice(format!("\"n\":{n},\"x\":\"{text}\"").as_bytes()));
        }
        trail.commit(&bodies, &Cursors::new(), now).unwrap();
    }
    assert_eq!(trail.next_index(), size);
    trail.checkpoint(now).unwrap();
}

fn tree_of(lines: &[Vec<u8>]) -> Memory {
    let mut tree = Memory::default();
    tree.extend(lines.iter().map(|line| leaf_hash(line)));
    tree
}

fn is_cache<T>(result: Result<T, PublishError>) -> bool {
    matches!(result, Err(PublishError::Cache))
}

fn is_refused<T>(result: Result<T, PublishError>, wanted: &str) -> bool {
    matches!(result, Err(PublishError::Trail(TrailError::Refused { verdict, .. })) if verdict == wanted)
}

#[test]
fn every_tile_bundle_and_proof_of_a_trail() {
    let home = Home::with(3000, LATER);
    let lines = home.lines();
    assert!(fs::metadata(&segments(&RealDisk, &home.folder()).unwrap()[0].path).unwrap().len() > 3 * SCAN);
    let mut tree = tree_of(&lines);
    let mut log = home.log();
    assert_eq!((log.head().size, log.head().root, log.minimum()), (3000, tree.root(), 0));
    for path in all(3000) {
        let bytes = log.tile(&path).unwrap();
        let hashes = tile_hashes(&mut tree, &path).unwrap();
        if path.kind == Kind::Entries {
            let first = path.first() as usize;
            let wanted: Vec<&[u8]> =
                lines[first..first + path.width as usize].iter().map(Vec::as_slice).collect();
            assert_eq!(parse_bundle(&bytes, path.width), Some(wanted), "{path}");
        } else {
            assert_eq!(parse_tile(&bytes, path.width), Some(hashes), "{path}");
        }
    }
    // Partial tiles of earlier sizes are parts of the full ones.
    let earlier = log.tile(&TilePath::parse("tile/0/004.p/7").unwrap()).unwrap();
    assert_eq!(earlier, log.tile(&TilePath::parse("tile/0/004").unwrap()).unwrap()[..7 * 32]);
    for name in
        ["tile/0/011", "tile/0/011.p/185", "tile/1/000", "tile/2/000.p/1", "tile/entries/012", "tile/63/000"]
    {
        assert!(matches!(log.tile(&TilePath::parse(name).unwrap()), Err(PublishError::Absent)), "{name}");
    }
    for index in (0..3000).step_by(97).chain([2999]) {
        let included = log.inclusion(index).unwrap();
        assert_eq!(included.line, lines[index as usize]);
        assert_eq!(included.proof, proof::inclusion(&mut tree, index, 3000).unwrap());
    }
    assert!(matches!(log.inclusion(3000), Err(PublishError::Absent)));
    for (old, new) in [(0, 3000), (1, 2), (256, 256), (777, 2049), (2999, 3000)] {
        let continued = log.consistency(old, new).unwrap();
        assert_eq!(continued.proof, proof::consistency(&mut tree, old, new).unwrap());
        assert_eq!(continued.new_root, proof::root(&mut tree, new).unwrap());
    }
    assert!(matches!(log.consistency(1, 3001), Err(PublishError::Absent)));
    assert!(matches!(log.consistency(2, 1), Err(PublishError::Absent)));
}

/// A kept checkpoint gives the tree of its own time.
#[test]
fn an_older_checkpoint_is_opened_by_its_size() {
    let home = Home::new();
    let mut trail = home.trail();
    grow(&mut trail, 700, LATER);
    grow(&mut trail, 900, LATER);
    let key = log_key(&RealDisk, &home.folder()).unwrap();
    let mut log = Log::open(&real(), &home.folder(), Some(700), &key).unwrap();
    assert_eq!(
        (log.head().size, log.tile(&TilePath::parse("tile/0/002.p/188").unwrap()).unwrap().len()),
        (700, 188 * 32)
    );
    assert!(matches!(log.tile(&TilePath::parse("tile/0/002.p/189").unwrap()), Err(PublishError::Absent)));
    assert!(matches!(Log::open(&real(), &home.folder(), Some(701), &key), Err(PublishError::Absent)));
    fs::copy(home.folder().join("checkpoint"), home.folder().join(format!("checkpoints/{:020}", 701)))
        .unwrap();
    assert!(is_refused(Log::open(&real(), &home.folder(), Some(701), &key), "tampered"));
    let other = Home::with(10, LATER);
    assert!(is_refused(
        Log::open(&real(), &home.folder(), None, &log_key(&RealDisk, &other.folder()).unwrap()),
        "tampered"
    ));
}

#[test]
fn a_cache_that_lies_gives_nothing_out_and_is_made_anew() {
    let home = Home::with(1200, LATER);
    let tile = TilePath::parse("tile/0/001").unwrap();
    let right = home.log().tile(&tile).unwrap();
    for place in [0, 256 * 32, 300 * 32 + 5, 511 * 32 + 31] {
        home.edit("tree/0", |bytes| bytes[place] ^= 1);
        let mut log = home.log();
        // A hash of another tile is noticed where the root is made from it, and only there.
        assert_eq!(is_cache(log.tile(&tile)), place >= 256 * 32, "{place}");
        let mut fresh = home.log();
        let included = fresh.inclusion(300).unwrap();
        assert_eq!(
            verify_inclusion(&leaf_hash(&included.line), 300, 1200, &log.head.root, &included.proof),
            Ok(())
        );
        log.rebuild().unwrap();
        assert_eq!(log.tile(&tile).unwrap(), right);
        home.edit("tree/0", |bytes| bytes[place] ^= 1);
    }
    home.edit("tree/1", |bytes| bytes[0] ^= 1);
    assert!(is_cache(home.log().tile(&TilePath::parse("tile/1/000.p/4").unwrap())));
    assert!(home.log().consistency(300, 1200).is_ok());
    fs::remove_file(home.folder().join("tree/1")).unwrap();
    home.edit("tree/0", |bytes| bytes.truncate(700));
    assert!(is_cache(home.log().tile(&tile)));
    let continued = home.log().consistency(300, 1200).unwrap();
    assert_eq!(continued.proof, proof::consistency(&mut tree_of(&home.lines()), 300, 1200).unwrap());
}

#[test]
fn a_changed_entry_is_never_given_out() {
    let home = Home::with(1200, LATER);
    let name = "segments/00000000000000000000.jsonl";
    let at = fs::read(home.folder().join(name))
        .unwrap()
        .windows(8)
        .rposition(|text| text == b"\"x\":\"xxx")
        .unwrap();
    let damaged = home.log().head().size - 1;
    home.edit(name, |bytes| bytes[at + 6] = b'y');
    let lines = home.lines();
    let place = lines.iter().position(|line| line.windows(3).any(|text| text == b"xyx")).unwrap() as u64;
    assert!(place < damaged);
    let bundle = TilePath { kind: Kind::Entries, index: place / 256, width: 176 };
    assert!(is_refused(home.log().tile(&bundle), "tampered"));
    assert!(home.log().tile(&TilePath { index: 1, width: 256, ..bundle }).is_ok(), "others are as they were");
    assert!(is_refused(home.log().inclusion(place), "tampered"));
    assert!(home.log().inclusion(place - 1).is_ok());
    assert!(is_refused(home.log().each_line(&mut |_, _| Ok(())), "tampered"));
    let out = home.0.path().join("out");
    assert!(is_refused(export(&mut home.log(), &out), "tampered"));
    assert!(!out.join("checkpoint").exists(), "what is not whole has no checkpoint");
}

fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => names.push(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    names.sort();
    names
}

#[test]
fn a_directory_is_written_continued_and_never_mixed() {
    let home = Home::new();
    let mut trail = home.trail();
    grow(&mut trail, 600, LATER);
    let out = home.0.path().join("out");
    let first = export(&mut home.log(), &out).unwrap();
    assert_eq!(first, Exported { tiles: 4, bundles: 3, written: 8, left_out: 0 });
    let mut log = home.log();
    let mut wanted: Vec<String> =
        all(600).map(|path| path.to_string()).chain(["checkpoint".into()]).collect();
    wanted.sort();
    assert_eq!(files(&out), wanted);
    for path in all(600) {
        assert_eq!(fs::read(out.join(path.to_string())).unwrap(), log.tile(&path).unwrap(), "{path}");
    }
    assert_eq!(fs::read_to_string(out.join("checkpoint")).unwrap(), log.note());
    let again = export(&mut log, &out).unwrap();
    assert_eq!(again, Exported { written: 0, ..first });

    grow(&mut trail, 800, LATER);
    let more = export(&mut home.log(), &out).unwrap();
    assert_eq!(more, Exported { tiles: 5, bundles: 4, written: 6, left_out: 0 });

    let older = Log::open(&real(), &home.folder(), Some(600), &log_key(&RealDisk, &home.folder()).unwrap());
    assert!(is_refused(export(&mut older.unwrap(), &out), "rolled_back"));
    let other = Home::with(900, LATER);
    assert!(is_refused(export(&mut other.log(), &out), "tampered"), "another history");
    fs::write(out.join("checkpoint"), "no checkpoint").unwrap();
    let setup = |result| matches!(result, Err(PublishError::Trail(TrailError::Setup(_))));
    assert!(setup(export(&mut home.log(), &out)));
    let strange = home.0.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("diary"), "mine").unwrap();
    assert!(setup(export(&mut home.log(), &strange)));
    assert_eq!(files(&strange), ["diary"]);
}

/// A trail of two segments whose first was pruned, with all lines that it ever had.
fn pruned() -> (Home, Vec<Vec<u8>>, u64) {
    let home = Home::new();
    let mut trail = home.trail_of(NOW);
    grow(&mut trail, 700, NOW);
    grow(&mut trail, 800, LATER);
    let cut = segments(&RealDisk, &home.folder()).unwrap()[1].first;
    let mut lines = home.lines();
    trail.prune(cut, &Approval::default(), no_mask, LATER).unwrap();
    grow(&mut trail, 1100, LATER);
    lines.truncate(cut as usize);
    lines.extend(home.lines());
    (home, lines, cut)
}

#[test]
fn what_pruning_leaves_is_published_and_proved() {
    let (home, lines, cut) = pruned();
    assert_eq!(cut, 700);
    let mut tree = tree_of(&lines);
    let mut log = home.log();
    assert_eq!(log.minimum(), cut);
    for rebuilt in [false, true] {
        if rebuilt {
            log.rebuild().unwrap();
        }
        for index in [cut, 767, 768, 1099] {
            let included = log.inclusion(index).unwrap();
            assert_eq!(included.proof, proof::inclusion(&mut tree, index, 1100).unwrap());
        }
        assert!(matches!(log.inclusion(cut - 1), Err(PublishError::Absent)));
        assert!(log.consistency(cut, 1100).is_ok() && log.consistency(0, 1100).is_ok());
        assert!(matches!(log.consistency(cut - 1, 1100), Err(PublishError::Absent)));
        assert!(matches!(log.tile(&TilePath::parse("tile/0/001").unwrap()), Err(PublishError::Absent)));
        assert!(matches!(log.tile(&TilePath::parse("tile/entries/002").unwrap()), Err(PublishError::Absent)));
        assert!(log.tile(&TilePath::parse("tile/entries/003").unwrap()).is_ok());
    }
    let out = home.0.path().join("out");
    let exported = export(&mut home.log(), &out).unwrap();
    assert_eq!(exported.left_out, 68);
    assert_eq!(
        files(&out),
        [
            "checkpoint",
            "tile/0/002",
            "tile/0/003",
            "tile/0/004.p/76",
            "tile/1/000.p/4",
            "tile/entries/003",
            "tile/entries/004.p/76"
        ]
    );
    for name in ["tile/0/002", "tile/1/000.p/4"] {
        let path = TilePath::parse(name).unwrap();
        let wanted = tile_bytes(&tile_hashes(&mut tree, &path).unwrap());
        assert_eq!(fs::read(out.join(name)).unwrap(), wanted, "{name}");
    }
    home.edit("tree/0", |bytes| bytes[650 * 32] ^= 1);
    let elsewhere = home.0.path().join("elsewhere");
    assert!(is_cache(export(&mut home.log(), &elsewhere)), "a hash of a pruned leaf is checked too");
}

#[test]
fn what_pruning_is_said_to_have_left_must_give_the_root() {
    let (home, _, cut) = pruned();
    let key = home.key();
    home.edit("pruned.jsonl", |bytes| {
        let at = bytes.windows(12).position(|text| text == b"\"frontier\":[").unwrap() + 13;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    });
    assert!(is_refused(home.log().rebuild().map_err(PublishError::from), "tampered"));
    assert!(is_refused(home.log().each_line(&mut |_, _| Ok(())), "tampered"));
    assert!(is_cache(export(&mut home.log(), &home.0.path().join("out"))));
    assert!(home.log().inclusion(cut).is_ok(), "the tree's files do without it");
    fs::remove_file(home.folder().join("pruned.jsonl")).unwrap();
    assert!(is_refused(home.log_of(&key).each_line(&mut |_, _| Ok(())), "missing"));
    assert!(log_key(&RealDisk, &home.folder()).is_err());
}

/// Compressed segments hold the same lines, so everything is given out as before.
#[test]
fn packed_segments_are_published_like_plain_ones() {
    let home = Home::new();
    let mut trail = home.trail_of(NOW);
    grow(&mut trail, 700, NOW);
    grow(&mut trail, 800, LATER);
    let lines = home.lines();
    let bundle = |index| TilePath { kind: Kind::Entries, index, width: 256 };
    let before: Vec<Vec<u8>> = (0..3).map(|index| home.log().tile(&bundle(index)).unwrap()).collect();
    pack(&RealDisk, &home.folder(), &trail.housekeeping()).unwrap();
    assert!(segments(&RealDisk, &home.folder()).unwrap()[0].packed);
    for (index, before) in (0..).zip(&before) {
        assert_eq!(home.log().tile(&bundle(index)).unwrap(), *before);
    }
    for index in [0, 1, 699, 700, 799] {
        assert_eq!(home.log().inclusion(index).unwrap().line, lines[index as usize]);
    }
    assert_eq!(export(&mut home.log(), &home.0.path().join("out")).unwrap().bundles, 4);
}
