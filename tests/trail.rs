//! The trail in process: every bit, every cut, every prefix, every step of a creation.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::model::Time;
use crmwarden::trail::disk::{Disk, DiskDir, DiskFile, Lock, RealDisk, Stat};
use crmwarden::trail::entry::Bodies;
use crmwarden::trail::recover::{Opened, open};
use crmwarden::trail::verify::{Given, Outcome, Verdict, verify};
use crmwarden::trail::{Cursors, Paths, TrailError};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NOW: Time = Time::from_seconds(1_790_000_000);

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        Home { dir: tempfile::tempdir().unwrap() }
    }
    fn paths(&self) -> Paths {
        Paths { state: self.dir.path().join("state"), keys: self.dir.path().join("keys") }
    }
    fn open(&self) -> Result<Opened, TrailError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        open(&disk, &self.paths(), "acme.example", NOW)
    }
    fn segment(&self) -> PathBuf {
        let dir = self.paths().generation(1).join("segments");
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
    }
    fn checkpoint(&self) -> PathBuf {
        self.paths().generation(1).join("checkpoint")
    }
    fn verify(&self) -> Outcome {
        verify(&self.paths().state, &Given::default(), &mut |_| ()).unwrap()
    }
    fn copy(&self) -> Home {
        let copy = Home::new();
        copy_all(self.dir.path(), copy.dir.path());
        copy
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn group(number: usize) -> Bodies {
    let mut bodies = Bodies::default();
    for entry in 0..=number % 4 {
        bodies.push("event", |out| out.extend_from_slice(format!("\"n\":{number},\"e\":{entry}").as_bytes()));
    }
    bodies
}

fn cursors(number: usize) -> Cursors {
    let json = format!("{{\"web\":{{\"file\":{{\"offset\":{number}}}}}}}");
    serde_json::from_str(&json).unwrap()
}

/// A trail of some sixty entries, cleanly signed.
fn sixty() -> Home {
    let home = Home::new();
    let mut opened = home.open().unwrap();
    let mut number = 0;
    while opened.trail.next_index() < 60 {
        opened.trail.commit(&group(number), &cursors(number), NOW).unwrap();
        opened.trail.checkpoint(NOW).unwrap();
        number += 1;
    }
    home
}

/// A whole further group, made by the trail itself on a copy, and not signed by a checkpoint.
fn further_group(home: &Home) -> Vec<u8> {
    let copy = home.copy();
    let before = fs::read(copy.segment()).unwrap().len();
    let mut opened = copy.open().unwrap();
    opened.trail.commit(&group(3), &cursors(99), NOW).unwrap();
    fs::read(copy.segment()).unwrap()[before..].to_vec()
}

fn append(home: &Home, bytes: &[u8]) {
    let mut content = fs::read(home.segment()).unwrap();
    content.extend_from_slice(bytes);
    fs::write(home.segment(), content).unwrap();
}

#[test]
fn a_trail_is_created_resumed_and_verified() {
    let home = sixty();
    let outcome = home.verify();
    assert_eq!((outcome.verdict, outcome.exit, outcome.trust), (Verdict::Ok, 0, "unpinned"), "{outcome:?}");
    let opened = home.open().unwrap();
    assert!(!opened.created && opened.recovered.is_empty());
    assert_eq!(opened.trail.next_index(), outcome.size);
    assert!(opened.trail.cursors().contains_key("web"));
}

#[test]
fn every_bit_of_segment_and_checkpoint_counts() {
    // Few commits, for every verification checks every signature.
    let home = Home::new();
    let mut opened = home.open().unwrap();
    let mut bodies = Bodies::default();
    for number in 0..55 {
        bodies.push("event", |out| out.extend_from_slice(format!("\"n\":{number}").as_bytes()));
    }
    opened.trail.commit(&bodies, &cursors(1), NOW).unwrap();
    opened.trail.commit(&group(0), &cursors(2), NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
    drop(opened);
    assert!(home.verify().size >= 60);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let copy = home.copy();
            scope.spawn(move || flip_all(&copy, half));
        }
    });
}

/// Flips every bit of every second byte, beginning with the first or the second.
fn flip_all(home: &Home, half: usize) {
    for path in [home.segment(), home.checkpoint()] {
        let clean = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for place in (half..clean.len()).step_by(2) {
            for bit in 0..8 {
                file.write_all_at(&[clean[place] ^ 1 << bit], place as u64).unwrap();
                let outcome = home.verify();
                let named = !outcome.damage.is_empty() || !outcome.notes.is_empty();
                assert!(
                    outcome.exit != 0 && named,
                    "byte {place} bit {bit} of {}: {outcome:?}",
                    path.display()
                );
            }
            file.write_all_at(&clean[place..=place], place as u64).unwrap();
        }
    }
}

#[test]
fn a_damaged_entry_is_named_exactly() {
    let home = sixty();
    let content = fs::read_to_string(home.segment()).unwrap();
    for index in 1..59 {
        let mut lines: Vec<String> = content.lines().map(str::to_owned).collect();
        // The commit's own signature would name it too; events show the chain at work.
        if !lines[index].contains("\"kind\":\"event\"") {
            continue;
        }
        lines[index] = lines[index].replace("\"e\":", "\"x\":");
        fs::write(home.segment(), lines.join("\n") + "\n").unwrap();
        let outcome = home.verify();
        let ranges: Vec<(u64, u64)> =
            outcome.damage.iter().map(|damage| (damage.first, damage.last)).collect();
        assert_eq!(ranges, [(index as u64, index as u64)], "{outcome:?}");
    }
}

#[test]
fn torn_tails_of_every_length_are_quarantined() {
    let home = sixty();
    let further = further_group(&home);
    let mut tails: Vec<Vec<u8>> = (1..further.len()).map(|cut| further[..cut].to_vec()).collect();
    tails.push(vec![0; 4096]);
    tails.push((0..999u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
    let size = home.verify().size;
    for tail in tails.iter().step_by(7).chain(tails.iter().rev().take(5)) {
        let copy = home.copy();
        append(&copy, tail);
        assert_eq!(copy.verify().verdict, Verdict::Torn, "{} bytes", tail.len());
        let opened = copy.open().unwrap();
        assert_eq!(opened.recovered.len(), 1);
        assert_eq!(opened.trail.next_index(), size + 2);
        drop(opened);
        let outcome = copy.verify();
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::Recovered, 0), "{outcome:?}");
        let quarantined = fs::read_dir(copy.paths().generation(1).join("quarantine")).unwrap().count();
        assert_eq!(quarantined, 1);
    }
}

#[test]
fn a_whole_unsigned_group_of_ours_is_adopted() {
    let home = sixty();
    let size = home.verify().size;
    append(&home, &further_group(&home));
    assert_eq!(home.verify().exit, 0);
    let opened = home.open().unwrap();
    assert_eq!(opened.recovered.len(), 1);
    assert!(opened.trail.next_index() > size + 4);
    assert!(serde_json::to_string(opened.trail.cursors()).unwrap().contains("99"));
}

#[test]
fn cuts_before_the_signed_size_are_refused() {
    let home = sixty();
    let content = fs::read(home.segment()).unwrap();
    for cut in (0..content.len()).step_by(97).chain([content.len() - 1]) {
        fs::write(home.segment(), &content[..cut]).unwrap();
        let outcome = home.verify();
        assert!(
            outcome.verdicts.iter().any(|v| matches!(v, Verdict::RolledBack | Verdict::Tampered)),
            "{cut}: {outcome:?}"
        );
        assert!(matches!(home.open(), Err(TrailError::Refused { .. })), "cut at {cut}");
        assert_eq!(fs::read(home.segment()).unwrap().len(), cut, "nothing may be repaired");
    }
}

#[test]
fn a_consistent_group_without_our_key_is_refused() {
    let home = sixty();
    let stranger = sixty();
    // The stranger knows everything but the key: take the group of a trail with another key and fix its chain.
    let ours = fs::read_to_string(home.segment()).unwrap();
    let last = ours.lines().last().unwrap();
    let further = String::from_utf8(further_group(&stranger)).unwrap();
    let mut prev = crmwarden::trail::tree::leaf_hash(last.as_bytes());
    let mut frontier = crmwarden::trail::tree::Frontier::default();
    for line in ours.lines() {
        frontier.push(crmwarden::trail::tree::leaf_hash(line.as_bytes()), &mut |_, _, _| ());
    }
    let mut forged = String::new();
    for line in further.lines() {
        let at = line.find("\"prev\":\"").unwrap() + 8;
        let mut line = format!("{}{}{}", &line[..at], prev.hex(), &line[at + 64..]);
        if let Some(at) = line.find("\"root\":\"") {
            line = format!("{}{}{}", &line[..at + 8], frontier.root().hex(), &line[at + 72..]);
        }
        prev = crmwarden::trail::tree::leaf_hash(line.as_bytes());
        frontier.push(prev, &mut |_, _, _| ());
        forged.push_str(&line);
        forged.push('\n');
    }
    append(&home, forged.as_bytes());
    assert_eq!(home.verify().verdict, Verdict::Tampered);
    assert!(matches!(home.open(), Err(TrailError::Refused { .. })));
}

#[test]
fn keys_and_checkpoint_must_be_there() {
    let home = sixty();
    let gone = home.copy();
    fs::remove_dir_all(gone.paths().trail()).unwrap();
    assert!(matches!(gone.open(), Err(TrailError::Refused { .. })), "keys without a trail");
    let headless = home.copy();
    fs::remove_file(headless.checkpoint()).unwrap();
    assert!(matches!(headless.open(), Err(TrailError::Refused { .. })), "a trail without its checkpoint");
    let keyless = home.copy();
    fs::remove_file(keyless.paths().keys.join("log.key")).unwrap();
    assert!(matches!(keyless.open(), Err(TrailError::Refused { .. })), "a trail without its key");
    let other = home.copy();
    fs::copy(sixty().paths().epoch_key(0), other.paths().epoch_key(0)).unwrap();
    assert!(matches!(other.open(), Err(TrailError::Refused { .. })), "another epoch key");
}

#[test]
fn a_second_writer_is_told_the_pid() {
    let home = sixty();
    let _first = home.open().unwrap();
    match home.open() {
        Err(TrailError::Busy { pid }) => assert_eq!(pid, std::process::id().to_string()),
        _ => panic!("two writers"),
    }
}

#[test]
fn an_older_checkpoint_rolls_nothing_back_unseen() {
    let home = Home::new();
    let mut opened = home.open().unwrap();
    opened.trail.commit(&group(1), &cursors(1), NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
    let older = home.copy();
    for number in 0..5 {
        opened.trail.commit(&group(number), &cursors(number), NOW).unwrap();
        opened.trail.checkpoint(NOW).unwrap();
    }
    let head = opened.trail.signed_note().to_owned();
    drop(opened);
    let given = Given { known_head: Some(head.clone()), ..Given::default() };
    let outcome = verify(&older.paths().state, &given, &mut |_| ()).unwrap();
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::RolledBack, 20));
    // The same keys, another history: a fork.
    let mut other = older.open().unwrap();
    for number in 5..11 {
        other.trail.commit(&group(number), &cursors(7), NOW).unwrap();
        other.trail.checkpoint(NOW).unwrap();
    }
    while other.trail.next_index() < 60 {
        other.trail.commit(&group(0), &cursors(7), NOW).unwrap();
    }
    other.trail.checkpoint(NOW).unwrap();
    drop(other);
    let outcome = verify(&older.paths().state, &given, &mut |_| ()).unwrap();
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::Forked, 21), "{outcome:?}");
}

#[test]
fn tiles_and_cache_may_be_deleted_or_wrong() {
    let home = sixty();
    let mut opened = home.open().unwrap();
    opened.trail.write_cache(b"{\"projection\":1}".to_vec(), NOW).unwrap();
    opened.trail.commit(&group(2), &cursors(2), NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
    let size = opened.trail.next_index();
    drop(opened);
    let tile = home.paths().generation(1).join("tree/0");
    let tiles = fs::read(&tile).unwrap();
    assert_eq!(tiles.len() as u64, 32 * size);

    let cached = home.copy();
    let opened = cached.open().unwrap();
    assert_eq!(opened.cache.as_ref().map(|(_, body)| body.as_slice()), Some(&b"{\"projection\":1}"[..]));
    assert_eq!(opened.trail.next_index(), size);
    drop(opened);
    for spoil in [&b"garbage"[..], b""] {
        let copy = home.copy();
        fs::write(copy.paths().cache(), spoil).unwrap();
        fs::write(copy.paths().generation(1).join("tree/0"), spoil).unwrap();
        let opened = copy.open().unwrap();
        assert!(opened.cache.is_none());
        assert_eq!(opened.trail.next_index(), size);
        assert_eq!(fs::read(copy.paths().generation(1).join("tree/0")).unwrap(), tiles);
    }
    // A cache that somebody edited does not count.
    let mut bytes = fs::read(home.paths().cache()).unwrap();
    let last = bytes.len() - 2;
    bytes[last] = b'2';
    fs::write(home.paths().cache(), bytes).unwrap();
    assert!(home.open().unwrap().cache.is_none());
}

#[test]
fn segments_roll_and_a_torn_first_group_of_a_segment_goes() {
    let home = Home::new();
    let mut opened = home.open().unwrap();
    for day in 0..3 {
        let now = NOW.plus_seconds(day * 86_401);
        opened.trail.make_room(now).unwrap();
        opened.trail.commit(&group(day as usize), &cursors(day as usize), now).unwrap();
        opened.trail.checkpoint(now).unwrap();
    }
    let size = opened.trail.next_index();
    drop(opened);
    assert_eq!(home.verify().exit, 0);
    let dir = home.paths().generation(1).join("segments");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    let next = dir.join(format!("{size:020}.jsonl"));
    for content in [&b""[..], b"{\"i\":", b"\0\0\0\0"] {
        fs::write(&next, content).unwrap();
        let opened = home.open().unwrap();
        assert!(!next.exists());
        assert!(opened.trail.next_index() >= size);
    }
    assert_eq!(home.verify().exit, 0);
    // A sealed segment that disappears is missed.
    let second = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut second = second.clone();
    second.sort();
    fs::remove_file(&second[1]).unwrap();
    let outcome = home.verify();
    assert!(outcome.verdicts.contains(&Verdict::Missing), "{outcome:?}");
    assert!(matches!(home.open(), Err(TrailError::Refused { .. })));
}

/// A disk whose process dies before its n-th step.
struct Dying {
    left: Arc<AtomicU64>,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        step(&self.left)
    }
}

fn step(left: &AtomicU64) -> io::Result<()> {
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other("the process died here")),
    }
}

struct DyingFile(Box<dyn DiskFile>, Arc<AtomicU64>);

impl Disk for Dying {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        self.step()?;
        Ok(Box::new(DyingFile(RealDisk.create(path, mode)?, Arc::clone(&self.left))))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(DyingFile(RealDisk.open(path)?, Arc::clone(&self.left))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove_dir(path)
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<bool> {
        self.step()?;
        RealDisk.make_dir(path, mode)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        RealDisk.overwrite(path, bytes)
    }
    fn read(&self, path: &Path, from: u64) -> io::Result<Box<dyn io::Read + Send>> {
        RealDisk.read(path, from)
    }
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(dir)
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        RealDisk.stat(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>> {
        RealDisk.lock(path)
    }
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        RealDisk.network(path)
    }
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        RealDisk.open_dir(path)
    }
}

impl DiskFile for DyingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Half of the bytes may have been written when it dies.
        if let Err(error) = step(&self.1) {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.0.append(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }
    fn sync(&mut self) -> io::Result<()> {
        step(&self.1)?;
        self.0.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        step(&self.1)?;
        self.0.truncate(length)
    }
    fn allocate(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.0.allocate(offset, length)
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }
}

#[test]
fn a_crash_at_any_step_of_creating_a_trail_leaves_one_that_starts() {
    let mut steps = 0;
    loop {
        let home = Home::new();
        let dying: Arc<dyn Disk> = Arc::new(Dying { left: Arc::new(AtomicU64::new(steps)) });
        let done = open(&dying, &home.paths(), "acme.example", NOW).is_ok();
        let mut opened = home.open().unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        opened.trail.commit(&group(1), &cursors(1), NOW).unwrap();
        opened.trail.checkpoint(NOW).unwrap();
        drop(opened);
        assert_eq!(home.verify().exit, 0, "after {steps} steps");
        assert!(!home.paths().trail().join(".new").exists());
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "only {steps} steps were tried");
}

#[test]
fn a_crash_at_any_step_of_appending_loses_nothing_acknowledged() {
    for steps in 0..60 {
        let home = sixty();
        let signed = home.verify().size;
        let dying: Arc<dyn Disk> = Arc::new(Dying { left: Arc::new(AtomicU64::new(steps)) });
        let mut acknowledged = signed;
        if let Ok(mut opened) = open(&dying, &home.paths(), "acme.example", NOW) {
            for number in 0..4 {
                if opened.trail.commit(&group(number), &cursors(number), NOW).is_err() {
                    break;
                }
                match opened.trail.checkpoint(NOW) {
                    Ok(checkpoint) => acknowledged = checkpoint.size,
                    Err(_) => break,
                }
            }
        }
        let opened = home.open().unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert!(opened.trail.next_index() >= acknowledged);
        drop(opened);
        assert_eq!(home.verify().exit, 0);
    }
}

#[test]
fn open_permissions_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = sixty();
    fs::set_permissions(home.segment(), fs::Permissions::from_mode(0o666)).unwrap();
    match home.open() {
        Err(TrailError::Setup(text)) => assert!(text.contains("chmod go-w"), "{text}"),
        _ => panic!("a writable segment was accepted"),
    }
    let home = sixty();
    fs::set_permissions(home.paths().keys.join("log.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(home.open(), Err(TrailError::Setup(text)) if text.contains("chmod 0600")));
}

#[test]
fn modified_or_missing_grants_rows_are_noticed() {
    let home = Home::new();
    let mut opened = home.open().unwrap();
    let rows = b"{\"principal\":\"a\"}\n";
    let digest = crmwarden::model::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(rows));
    opened.trail.keep_grants(&digest, rows, NOW).unwrap();
    let mut bodies = Bodies::default();
    bodies.push("grants", |out| out.extend_from_slice(format!("\"digest\":\"{digest}\"").as_bytes()));
    opened.trail.commit(&bodies, &Cursors::new(), NOW).unwrap();
    opened.trail.checkpoint(NOW).unwrap();
    drop(opened);
    assert_eq!(home.verify().verdict, Verdict::Ok);
    let path = home.paths().state.join(format!("grants/{digest}.jsonl.zst"));
    fs::write(&path, b"").unwrap();
    assert_eq!(home.verify().verdict, Verdict::Tampered);
    fs::remove_file(&path).unwrap();
    assert_eq!((home.verify().verdict, home.verify().exit), (Verdict::Missing, 22));
}

#[test]
fn a_segment_with_a_mad_name_ends_the_verification_in_time() {
    let home = sixty();
    let segment = home.segment();
    fs::rename(&segment, segment.with_file_name(format!("{}.jsonl", u64::MAX))).unwrap();
    assert_ne!(home.verify().exit, 0);
    fs::write(home.paths().generation(1).join("segments/notes.txt"), "x").unwrap();
    assert_eq!(home.verify().verdict, Verdict::Tampered);
}

#[test]
fn a_commit_with_lost_sectors_is_torn_and_not_an_attack() {
    let home = sixty();
    let mut further = further_group(&home);
    let length = further.len();
    // The middle of the last line reads as zeros, its ends are there.
    for byte in &mut further[length - 150..length - 120] {
        *byte = 0;
    }
    append(&home, &further);
    assert_eq!(home.verify().verdict, Verdict::Torn);
    let opened = home.open().unwrap();
    assert_eq!(opened.recovered.len(), 1);
    drop(opened);
    assert_eq!(home.verify().verdict, Verdict::Recovered);
}
