//! Quarters: their numbers, their keys, and every step at which a process can die.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::disk::{DiskDir, DiskFile, Lock, RealDisk, Stat};
use super::*;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicI64, Ordering};

const AUTUMN: &str = "2026-11-20T10:00:00Z";
const NEW_YEAR: &str = "2027-01-01T00:00:00Z";

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// A disk on which so many steps that change something work.
struct Failing(Arc<AtomicI64>);

impl Failing {
    fn after(steps: i64) -> Arc<Failing> {
        Arc::new(Failing(Arc::new(AtomicI64::new(steps))))
    }
    fn mend(&self) {
        self.0.store(i64::MAX, Ordering::Relaxed);
    }
}

fn step(left: &AtomicI64) -> io::Result<()> {
    match left.fetch_sub(1, Ordering::Relaxed) > 0 {
        true => Ok(()),
        false => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
    }
}

struct File(Box<dyn DiskFile>, Arc<AtomicI64>);
struct Dir(Box<dyn DiskDir>, Arc<AtomicI64>);

impl Disk for Failing {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        step(&self.0)?;
        Ok(Box::new(File(RealDisk.create(path, mode)?, Arc::clone(&self.0))))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(&self.0)?;
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        step(&self.0)?;
        RealDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<bool> {
        RealDisk.make_dir(path, mode)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
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
        Ok(Box::new(Dir(RealDisk.open_dir(path)?, Arc::clone(&self.0))))
    }
}

impl DiskDir for Dir {
    fn sync(&self) -> io::Result<()> {
        step(&self.1)?;
        self.0.sync()
    }
}

impl DiskFile for File {
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
        self.0.truncate(length)
    }
    fn allocate(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.0.allocate(offset, length)
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }
}

/// A folder with the one key of the first release.
fn old_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    make(&RealDisk, folder.path(), 1).unwrap();
    folder
}

fn open(folder: &Path, now: &str) -> Quarters {
    Quarters::open(Arc::new(RealDisk), folder, time(now)).unwrap()
}

#[test]
fn every_instant_has_its_quarter() {
    for (text, quarter, begins) in [
        ("2026-01-01T00:00:00Z", 20261, "2026-04-01T00:00:00Z"),
        ("2026-03-31T23:59:59.999999Z", 20261, "2026-04-01T00:00:00Z"),
        ("2026-04-01T00:00:00Z", 20262, "2026-07-01T00:00:00Z"),
        ("2026-09-30T23:59:59Z", 20263, "2026-10-01T00:00:00Z"),
        ("2026-10-01T00:00:00Z", 20264, "2027-01-01T00:00:00Z"),
        // By UTC, wherever the daemon stands.
        ("2027-01-01T00:30:00+01:00", 20264, "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!((number(time(text)), next(time(text))), (quarter, time(begins)), "{text}");
    }
}

#[test]
fn a_key_is_made_read_back_and_listed() {
    let folder = old_folder();
    let made = make(&RealDisk, folder.path(), 20264).unwrap();
    let path = folder.path().join("fingerprint-20264.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = keys::read_symmetric(&RealDisk, &path, 20264).unwrap();
    assert_eq!(made.fingerprint("x", &[b"y"]), read.fingerprint("x", &[b"y"]));
    for stray in ["fingerprint-020264.key", "fingerprint-.key", "fingerprint-20271.tmp", "log.key"] {
        fs::write(folder.path().join(stray), "x").unwrap();
    }
    assert_eq!(list(&RealDisk, folder.path()).unwrap(), [1, 20264]);
}

#[test]
fn a_start_uses_the_key_of_its_quarter_and_keeps_the_others() {
    let folder = old_folder();
    let mut first = open(folder.path(), AUTUMN);
    assert_eq!((first.key().number(), first.take_warning()), (20264, None));
    let again = open(folder.path(), "2026-12-31T23:59:59Z");
    assert_eq!(again.key().fingerprint("x", &[b"y"]), first.key().fingerprint("x", &[b"y"]));
    let later = open(folder.path(), NEW_YEAR);
    let earlier: Vec<u32> = later.others().iter().map(Key::number).collect();
    assert_eq!((later.key().number(), earlier), (20271, vec![1, 20264]));
    // A folder without any key gets one.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(open(empty.path(), AUTUMN).key().number(), 20264);
}

#[test]
fn a_running_daemon_crosses_into_the_next_quarter_once() {
    let folder = old_folder();
    let mut quarters = open(folder.path(), AUTUMN);
    assert!(!quarters.turn(time("2026-12-31T23:59:59.999999Z")));
    assert!(quarters.turn(time(NEW_YEAR)));
    assert_eq!((quarters.key().number(), quarters.others().len()), (20271, 2));
    assert!(!quarters.turn(time("2027-01-01T00:00:01Z")));
    // The clock is set back: numbers only grow.
    assert!(!quarters.turn(time(AUTUMN)));
    assert_eq!((quarters.key().number(), quarters.take_warning()), (20271, None));
    assert_eq!(list(&RealDisk, folder.path()).unwrap(), [1, 20264, 20271]);
}

#[test]
fn keys_made_ahead_wait_for_their_quarter() {
    let folder = tempfile::tempdir().unwrap();
    for number in [20264, 20271, 20272] {
        make(&RealDisk, folder.path(), number).unwrap();
    }
    let disk: Arc<dyn Disk> = Failing::after(0);
    let mut quarters = Quarters::open(disk, folder.path(), time(AUTUMN)).unwrap();
    assert_eq!((quarters.key().number(), quarters.others().len()), (20264, 2));
    assert!(quarters.turn(time(NEW_YEAR)));
    assert_eq!((quarters.key().number(), quarters.take_warning()), (20271, None));
    // Only later ones: one of this quarter is made, or there is no start.
    fs::remove_file(folder.path().join("fingerprint-20264.key")).unwrap();
    assert!(Quarters::open(Failing::after(0), folder.path(), time(AUTUMN)).is_err());
    assert_eq!(open(folder.path(), AUTUMN).key().number(), 20264);
}

#[test]
fn where_no_key_can_be_made_the_newest_stays_and_the_missing_file_is_named() {
    let folder = old_folder();
    let disk: Arc<dyn Disk> = Failing::after(0);
    let mut quarters = Quarters::open(Arc::clone(&disk), folder.path(), time(AUTUMN)).unwrap();
    assert_eq!(quarters.key().number(), 1);
    let warning = quarters.take_warning().unwrap();
    let named = folder.path().join("fingerprint-20264.key");
    assert!(warning.contains(&named.display().to_string()), "{warning}");
    assert!(!quarters.turn(time("2026-11-20T11:00:00Z")) && quarters.take_warning().is_none(), "said once");
    // The operator makes the file that the warning names: it is found within the hour, without a restart.
    make(&RealDisk, folder.path(), 20264).unwrap();
    assert!(!quarters.turn(time("2026-11-20T11:59:59Z")));
    assert!(quarters.turn(time("2026-11-20T12:00:00Z")));
    assert_eq!((quarters.key().number(), quarters.take_warning()), (20264, None));
    assert!(!quarters.turn(time(NEW_YEAR)));
    assert!(quarters.take_warning().unwrap().contains("fingerprint-20271.key"), "the next quarter's, too");
    let empty = tempfile::tempdir().unwrap();
    assert!(Quarters::open(disk, empty.path(), time(AUTUMN)).is_err());
}

#[test]
fn a_death_at_any_step_of_making_leaves_a_folder_that_starts() {
    for steps in 0.. {
        let folder = old_folder();
        let disk = Failing::after(steps);
        let died = make(&*disk, folder.path(), 20264).is_err();
        let quarters = open(folder.path(), AUTUMN);
        assert_eq!((quarters.key().number(), quarters.others().len()), (20264, 1), "after {steps} steps");
        if !died {
            assert!(steps >= 5, "only {steps} steps were tried");
            break;
        }
    }
}

#[test]
fn a_destroyed_key_is_overwritten_and_gone() {
    let folder = old_folder();
    open(folder.path(), AUTUMN);
    let old = folder.path().join("fingerprint-1.key");
    // Another name of the same file shows what became of its bytes.
    let witness = folder.path().join("witness");
    fs::hard_link(&old, &witness).unwrap();
    let length = fs::metadata(&old).unwrap().len();
    destroy(&RealDisk, folder.path(), 1, time(AUTUMN)).unwrap();
    assert!(!old.exists());
    assert_eq!(fs::read(&witness).unwrap(), vec![0; length as usize]);
    destroy(&RealDisk, folder.path(), 1, time(AUTUMN)).unwrap();
    let error = destroy(&RealDisk, folder.path(), 20264, time(AUTUMN)).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    make(&RealDisk, folder.path(), 20271).unwrap();
    assert!(destroy(&RealDisk, folder.path(), 20264, time("2026-12-31T23:59:59Z")).is_err());
    destroy(&RealDisk, folder.path(), 20264, time(NEW_YEAR)).unwrap();
    assert_eq!(list(&RealDisk, folder.path()).unwrap(), [20271]);
}

#[test]
fn an_interrupted_destruction_is_finished_by_the_next_start() {
    let folder = old_folder();
    open(folder.path(), AUTUMN);
    let disk = Failing::after(0);
    assert!(destroy(&*disk, folder.path(), 1, time(AUTUMN)).is_err());
    assert_eq!(list(&RealDisk, folder.path()).unwrap(), [1, 20264], "overwritten, and still there");
    // Where nothing can be unlinked the zeros are no key all the same.
    let quarters = Quarters::open(Arc::clone(&disk) as Arc<dyn Disk>, folder.path(), time(AUTUMN)).unwrap();
    assert_eq!((quarters.key().number(), quarters.others().len()), (20264, 0));
    disk.mend();
    let quarters = Quarters::open(disk, folder.path(), time(AUTUMN)).unwrap();
    assert_eq!((quarters.others().len(), list(&RealDisk, folder.path()).unwrap()), (0, vec![20264]));
}

#[test]
fn a_key_that_is_no_key_ends_the_start() {
    let folder = old_folder();
    let path = folder.path().join("fingerprint-20264.key");
    fs::write(&path, "not a key").unwrap();
    let refused = |expected: &str| {
        let error =
            Quarters::open(Arc::new(RealDisk), folder.path(), time(AUTUMN)).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    refused("is not 64 hexadecimal digits");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod 0600");
}
