//! The commitment to the byte, and the store through crashes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::disk::{DiskDir, Lock, RealDisk, Stat};
use super::super::entry::write_line;
use super::super::tree::leaf_hash;
use super::*;
use crate::model::Time;
use std::sync::Mutex;
use std::{fs, io};

fn lines(details: &[(u64, &str, u8, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, path, salt, value) in details {
        let mut tail = Vec::new();
        write_tail(&mut tail, path, &[*salt; 32], value);
        write_lines(&mut out, *index, &tail);
    }
    out
}

/// A generation whose entries commit to these details; entries without any are heartbeats.
fn generation(dir: &Path, size: u64, details: &[(u64, &str, u8, &str)]) -> PathBuf {
    let folder = dir.join("trail/g1");
    fs::create_dir_all(folder.join("segments")).unwrap();
    let mut out = Vec::new();
    let mut prev = leaf_hash(b"");
    for index in 0..size {
        let of_entry = details.iter().filter(|detail| detail.0 == index);
        let members: Vec<String> = of_entry
            .map(|(_, path, salt, value)| format!("\"{path}\":\"{}\"", commitment(path, &[*salt; 32], value)))
            .collect();
        let members = match members.is_empty() {
            true => String::new(),
            false => format!("\"source\":\"s\",\"committed\":{{{}}}", members.join(",")),
        };
        prev = write_line(&mut out, index, &prev, Time::EPOCH, "event", members.as_bytes());
    }
    fs::write(folder.join("segments").join(segment_name(0)), out).unwrap();
    folder
}

fn open(dir: &Path, generation: &Path, next_index: u64) -> (Store, u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Store::open(&disk, folder(dir, 1), generation, next_index).unwrap()
}

fn file(dir: &Path) -> PathBuf {
    folder(dir, 1).join(segment_name(0))
}

#[test]
fn the_commitment_is_the_specification_to_the_byte() {
    let salt = [0x5a; 32];
    for (value, zeros) in [("", 63), ("Dana", 59), (&"x".repeat(63) as &str, 0), (&"x".repeat(64), 63)] {
        let mut bytes = b"crmwarden/detail/v1\0actor.name\0".to_vec();
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0x80);
        bytes.resize(bytes.len() + zeros, 0);
        let wanted = Hash(Sha256::digest(&bytes).into());
        assert_eq!(commitment("actor.name", &salt, value), wanted, "{} bytes", value.len());
    }
    // Made with another program, so that a change of both sides at once shows.
    let known = "dd87908120449b1e42594124eb2178c8d892f63ab315ddb09c96b3e313d7d8fd";
    assert_eq!(commitment("actor.name", &salt, "Dana").hex(), known);
}

#[test]
fn a_line_has_the_form_of_the_specification_and_reads_back() {
    let written = lines(&[(7, "actor.name", 0x0a, "Dana \"D\"\n\u{202e}")]);
    let salt = "0a".repeat(32);
    assert_eq!(
        String::from_utf8(written.clone()).unwrap(),
        format!("{{\"i\":7,\"f\":\"actor.name\",\"salt\":\"{salt}\",\"v\":\"Dana \\\"D\\\"\\n\\u202e\"}}\n")
    );
    let detail = Detail::parse(written.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!((detail.index, detail.path.as_str(), detail.salt), (7, "actor.name", [0x0a; 32]));
    assert_eq!(detail.value, "Dana \"D\"\n\u{202e}");
    for cut in 0..written.len() - 1 {
        assert_eq!(Detail::parse(&written[..cut]), None);
    }
}

#[test]
fn long_values_are_cut_at_characters_and_nothing_is_lost() {
    let value = "ä".repeat(VALUE_MAX);
    let cut: Vec<(usize, &str)> = pieces(&value).collect();
    assert_eq!(cut.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(cut.iter().map(|(_, piece)| *piece).collect::<String>(), value);
    assert_eq!(pieces("").collect::<Vec<_>>(), [(1, "")]);
    let odd = format!("x{value}");
    assert!(pieces(&odd).all(|(_, piece)| piece.len() <= VALUE_MAX));
    assert_eq!(pieces(&odd).map(|(_, piece)| piece).collect::<String>(), odd);
    // The longest line, with every character escaped, is still read whole.
    let dir = tempfile::tempdir().unwrap();
    let worst = "\u{1}".repeat(VALUE_MAX);
    let mut long = lines(&[(0, &"p".repeat(200), 1, &worst)]);
    long.extend(lines(&[(0, "actor.id", 2, "u")]));
    fs::write(dir.path().join("x"), long).unwrap();
    let mut reader = Reader::open(&RealDisk, &dir.path().join("x"), 0).unwrap();
    let details = reader.of_entry(0).unwrap();
    assert_eq!((details.len(), reader.unreadable), (2, 0));
    assert_eq!(details[0].value, worst);
}

/// The real disk, with a list of what was done to it.
#[derive(Default)]
struct Watched(Arc<Mutex<Vec<&'static str>>>);

struct WatchedFile(Box<dyn DiskFile>, Arc<Mutex<Vec<&'static str>>>);

struct WatchedDir(Box<dyn DiskDir>, Arc<Mutex<Vec<&'static str>>>);

impl Watched {
    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(WatchedFile(file, Arc::clone(&self.0)))
    }
}

impl Disk for Watched {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        self.0.lock().unwrap().push("create");
        Ok(self.file(RealDisk.create(path, mode)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(RealDisk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().unwrap().push("rename");
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().push("remove");
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
        Ok(Box::new(WatchedDir(RealDisk.open_dir(path)?, Arc::clone(&self.0))))
    }
}

impl DiskDir for WatchedDir {
    fn sync(&self) -> io::Result<()> {
        self.1.lock().unwrap().push("sync folder");
        self.0.sync()
    }
}

impl DiskFile for WatchedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1.lock().unwrap().push("append");
        self.0.append(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.1.lock().unwrap().push("sync");
        self.0.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.1.lock().unwrap().push("truncate");
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
fn what_returned_is_durable_and_a_rewrite_is_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let trail = generation(dir.path(), 0, &[]);
    let watched = Watched::default();
    let done = Arc::clone(&watched.0);
    let disk: Arc<dyn Disk> = Arc::new(watched);
    let (mut store, _) = Store::open(&disk, folder(dir.path(), 1), &trail, 0).unwrap();
    let taken = || std::mem::take(&mut *done.lock().unwrap());
    taken();
    store.append(0, &lines(&[(1, "actor.id", 1, "u1"), (2, "actor.id", 1, "u2")])).unwrap();
    assert_eq!(taken(), ["create", "sync folder", "append", "sync"]);
    store.append(0, &lines(&[(3, "actor.id", 1, "u3")])).unwrap();
    assert_eq!(taken(), ["append", "sync"]);
    store.remove(&[(1, 1)]).unwrap();
    assert_eq!(taken(), ["remove", "create", "append", "sync", "rename", "sync folder"]);
    store.remove(&[(3, 3)]).unwrap();
    assert_eq!(taken(), ["truncate", "sync", "sync folder"]);
    store.remove(&[(2, 2)]).unwrap();
    assert_eq!(taken(), ["remove", "sync folder"]);
}

#[test]
fn what_is_appended_is_found_by_entry_and_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let trail = generation(dir.path(), 0, &[]);
    let (mut store, dropped) = open(dir.path(), &trail, 0);
    assert_eq!(dropped, 0);
    store
        .append(0, &lines(&[(1, "actor.id", 1, "u1"), (1, "actor.name", 2, "Dana"), (4, "query", 3, "q")]))
        .unwrap();
    store.append(0, &lines(&[(5, "actor.id", 4, "u2")])).unwrap();
    store.append(9, &lines(&[(10, "actor.id", 5, "u3")])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(store.folder()), mode(&file(dir.path()))), (0o700, 0o600));
    let found = files(&RealDisk, store.folder()).unwrap();
    assert_eq!(found.iter().map(|file| file.first).collect::<Vec<_>>(), [0, 9]);
    let mut reader = Reader::open(&RealDisk, &found[0].path, 0).unwrap();
    let paths = |details: Vec<Detail>| details.into_iter().map(|detail| detail.path).collect::<Vec<_>>();
    assert_eq!(paths(reader.of_entry(0).unwrap()), [""; 0]);
    assert_eq!(paths(reader.of_entry(1).unwrap()), ["actor.id", "actor.name"]);
    assert_eq!(paths(reader.of_entry(5).unwrap()), ["actor.id"]);
    let mut all = Vec::new();
    each(&RealDisk, store.folder(), &mut |detail| {
        all.push(detail.index);
        Ok(())
    })
    .unwrap();
    assert_eq!(all, [1, 1, 4, 5, 10]);
    // A file that was put in the place of the open one is noticed.
    fs::rename(&found[1].path, dir.path().join("aside")).unwrap();
    fs::write(&found[1].path, b"").unwrap();
    store.append(9, b"x").unwrap_err();
}

#[test]
fn details_of_entries_that_never_came_to_be_go_and_all_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let real = [(1, "actor.id", 1, "u1"), (3, "actor.id", 2, "u2"), (3, "query", 3, "q")];
    let trail = generation(dir.path(), 5, &real);
    let settled = lines(&real);
    // Details of a group that was never written: one where another entry stands now, some beyond the end,
    // the last line torn.
    let mut crashed = settled.clone();
    crashed.extend(lines(&[(4, "actor.id", 9, "u9"), (5, "actor.id", 9, "u9"), (6, "actor.id", 9, "u9")]));
    crashed.truncate(crashed.len() - 20);
    fs::create_dir_all(folder(dir.path(), 1)).unwrap();
    fs::write(file(dir.path()), &crashed).unwrap();
    // A segment's file that a crash left without its segment, and an unfinished rewrite.
    fs::write(folder(dir.path(), 1).join(segment_name(5)), lines(&[(6, "actor.id", 9, "u9")])).unwrap();
    fs::write(folder(dir.path(), 1).join("00000000000000000000.tmp"), b"half").unwrap();
    let (_, dropped) = open(dir.path(), &trail, 5);
    assert_eq!(dropped, 4);
    assert_eq!(fs::read(file(dir.path())).unwrap(), settled);
    assert_eq!(fs::read_dir(folder(dir.path(), 1)).unwrap().count(), 1);
    assert_eq!(open(dir.path(), &trail, 5).1, 0);
    // A stale line before a real one of the same entry: the commitment tells which.
    let mut mixed = lines(&real[..1]);
    mixed.extend(lines(&[(3, "actor.id", 9, "u9")]));
    mixed.extend(lines(&real[1..]));
    fs::write(file(dir.path()), &mixed).unwrap();
    assert_eq!(open(dir.path(), &trail, 5).1, 1);
    assert_eq!(fs::read(file(dir.path())).unwrap(), settled);
}

#[test]
fn a_torn_end_at_every_byte_is_harmless() {
    let real = [(1, "actor.id", 1, "u1"), (2, "actor.id", 2, "u2")];
    let settled = lines(&real);
    let mut whole = settled.clone();
    whole.extend(lines(&[(3, "actor.id", 9, "u9"), (3, "query", 9, "q9")]));
    for cut in settled.len()..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let trail = generation(dir.path(), 3, &real);
        fs::create_dir_all(folder(dir.path(), 1)).unwrap();
        // What a power loss leaves behind the written bytes may be zeros.
        for end in [&b""[..], b"\0\0\0\0"] {
            fs::write(file(dir.path()), [&whole[..cut], end].concat()).unwrap();
            let (mut store, _) = open(dir.path(), &trail, 3);
            assert_eq!(fs::read(file(dir.path())).unwrap(), settled, "cut at {cut}");
            store.append(0, &lines(&[(3, "actor.id", 4, "u3")])).unwrap();
            assert_eq!(Reader::open(&RealDisk, &file(dir.path()), 0).unwrap().of_entry(3).unwrap().len(), 1);
        }
    }
}

#[test]
fn damage_far_from_the_end_is_left_as_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let size = UNSETTLED + 10;
    let real = [(1, "actor.id", 1, "u1"), (3, "actor.id", 2, "u2"), (size - 1, "actor.id", 3, "u3")];
    let trail = generation(dir.path(), size, &real);
    let mut bytes = lines(&real[..1]);
    bytes.extend_from_slice(b"{\"i\":2,\"f\":\"damaged\n");
    bytes.extend(lines(&real[1..]));
    fs::create_dir_all(folder(dir.path(), 1)).unwrap();
    fs::write(file(dir.path()), &bytes).unwrap();
    assert_eq!(open(dir.path(), &trail, size).1, 0);
    assert_eq!(fs::read(file(dir.path())).unwrap(), bytes);
    let mut reader = Reader::open(&RealDisk, &file(dir.path()), 0).unwrap();
    assert_eq!(reader.of_entry(size).unwrap(), []);
    assert_eq!(reader.unreadable, 1);
}

#[test]
fn details_of_named_entries_are_removed_and_the_others_keep_their_commitments() {
    let dir = tempfile::tempdir().unwrap();
    let real =
        [(1, "actor.id", 1, "u1"), (3, "actor.id", 2, "u2"), (3, "query", 3, "q"), (4, "actor.id", 4, "u1")];
    let trail = generation(dir.path(), 5, &real);
    let (mut store, _) = open(dir.path(), &trail, 5);
    store.append(0, &lines(&real)).unwrap();
    store.append(5, &lines(&[(6, "actor.id", 5, "u1")])).unwrap();
    assert_eq!(store.remove(&[(0, 1), (4, 6)]).unwrap(), 3);
    assert_eq!(fs::read(file(dir.path())).unwrap(), lines(&real[1..3]));
    assert_eq!(files(&RealDisk, store.folder()).unwrap().len(), 1, "an empty file goes");
    assert_eq!(store.remove(&[(0, 1)]).unwrap(), 0);
    // It goes on writing, and a start afterwards finds nothing to clear up.
    store.append(0, &lines(&[(4, "actor.name", 7, "x")])).unwrap();
    assert_eq!(open(dir.path(), &trail, 5).1, 1, "nothing commits to that one");
    let held = commitments(&RealDisk, &trail, 0, 5).unwrap();
    let mut kept = 0;
    each(&RealDisk, store.folder(), &mut |detail| {
        assert_eq!(held[&detail.index][&detail.path], detail.commitment());
        kept += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((kept, held.values().map(BTreeMap::len).sum::<usize>()), (2, 4));
}

#[test]
fn an_entry_in_parts_commits_under_its_first() {
    let members = format!("\"message\":\"x\",\"committed\":{{\"query\":\"{}\"}}", leaf_hash(b"c"));
    let (one, two) = members.split_at(20);
    let mut joining = Joining::default();
    let mut found = None;
    for (place, piece) in [one, two].into_iter().enumerate() {
        let mut part = format!("\"part\":{},\"of\":2,\"members\":", place + 1).into_bytes();
        write_string(&mut part, piece);
        let mut line = Vec::new();
        write_line(&mut line, 7 + place as u64, &leaf_hash(b""), Time::EPOCH, "event", &part);
        assert!(found.is_none());
        found = joining.take(&Entry::parse(line.strip_suffix(b"\n").unwrap()).unwrap());
    }
    let (index, object) = found.unwrap();
    assert_eq!((index, committed(&object)), (7, BTreeMap::from([("query".to_owned(), leaf_hash(b"c"))])));
}

#[test]
fn genesis_says_what_entries_may_hold_and_another_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { state: dir.path().join("state"), keys: dir.path().join("keys") };
    assert!(check_privacy(&RealDisk, &paths, Privacy::Erasable).is_ok(), "nothing is there yet");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let made_as = ("acme.example", Privacy::Erasable);
    drop(crate::trail::recover::open_as(&disk, &paths, made_as, Time::EPOCH, &mut |_, _| ()).unwrap());
    assert!(check_privacy(&RealDisk, &paths, Privacy::Erasable).is_ok());
    let refused = check_privacy(&RealDisk, &paths, Privacy::Plain).unwrap_err();
    assert!(matches!(&refused, TrailError::Setup(text) if text.contains("`privacy: erasable`")), "{refused}");
}
