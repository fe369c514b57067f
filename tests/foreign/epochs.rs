//! Epochs, segments, compression, sizes: trails made by hand, since nobody has to wait a day for them, and since
//! the thief of a key writes what the program would not.

use super::writer::{ORIGIN, Writer, epoch_key, hex, log_key};
use super::{CHECKPOINT, PYTHON, Programs, SHELL, common, each_on_a_copy, verify_py, verify_sh};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Three epochs over three segments.
fn three_epochs() -> Writer {
    let mut trail = Writer::new();
    trail.group(4);
    trail.change_epoch();
    trail.group(2);
    trail.begin_segment();
    trail.event();
    trail.change_epoch();
    trail.begin_segment();
    trail.group(3);
    trail
}

fn stored(trail: &Writer) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    trail.store(folder.path());
    folder
}

#[test]
fn epochs_and_segments_are_followed() {
    let programs = Programs::all();
    let trail = three_epochs();
    let folder = stored(&trail);
    programs.accept("three epochs", folder.path());
    if common::have(SHELL) {
        let (_, said) = verify_sh(folder.path(), &[]);
        assert!(said.contains("epochs 0 to 2") && said.contains("in 3 segment files"), "{said}");
    }
    // A head at every group, each by the epoch that closed it, is a known head.
    let ends: Vec<usize> = (1..=trail.lines.len()).filter(|size| trail.closes(*size)).collect();
    assert!(ends.len() >= 8);
    for size in ends {
        fs::write(folder.path().join("head"), trail.checkpoint(size)).unwrap();
        let head = folder.path().join("head");
        if common::have(SHELL) {
            let (exit, said) = verify_sh(folder.path(), &[&head]);
            assert_eq!(exit, 0, "{said}");
        }
        if common::have(PYTHON) {
            let (exit, said) = verify_py(folder.path(), &[&head]);
            assert_eq!(exit, 0, "{said}");
        }
    }
}

/// What a thief of the log key and of the newest epoch's key can write, and what nobody should.
fn forgeries() -> Vec<(&'static str, Writer)> {
    let mut cases = Vec::new();
    let mut make = |what, steps: &dyn Fn(&mut Writer)| {
        let mut trail = Writer::new();
        trail.group(2);
        steps(&mut trail);
        cases.push((what, trail));
    };
    make("an old commit by a newer epoch's key", &|trail| {
        trail.event();
        trail.commit_by(&epoch_key(1));
        trail.change_epoch();
    });
    make("a commit by the log key", &|trail| {
        trail.event();
        trail.commit_by(&log_key());
    });
    make("an epoch that its own key announces", &|trail| {
        trail.announce(1, &epoch_key(1));
        trail.commit();
        trail.group(1);
    });
    make("an epoch that the log key announces", &|trail| {
        trail.announce(1, &log_key());
        trail.commit();
        trail.group(1);
    });
    make("a group with a new epoch, closed by the new key", &|trail| {
        trail.announce(1, &epoch_key(0));
        trail.commit_by(&epoch_key(1));
        trail.group(1);
    });
    make("the old key after its epoch", &|trail| {
        trail.change_epoch();
        trail.event();
        trail.commit_by(&epoch_key(0));
    });
    make("an epoch left out", &|trail| {
        trail.announce(2, &epoch_key(0));
        trail.commit();
        trail.group(1);
    });
    make("two epochs in one group", &|trail| {
        trail.announce(1, &epoch_key(0));
        trail.announce(2, &epoch_key(1));
        trail.commit();
        trail.group(1);
    });
    make("an epoch that does not change", &|trail| {
        trail.announce(0, &epoch_key(0));
        trail.commit();
        trail.group(1);
    });
    make("a segment within a group", &|trail| {
        trail.event();
        trail.begin_segment();
        trail.commit();
    });
    cases
}

#[test]
fn epochs_that_nobody_announced_are_refused() {
    let mut programs = Programs::all();
    // What the entries say is no matter of the tiles: they hold any bytes.
    programs.list.retain(|(name, _)| *name != "verify.go");
    each_on_a_copy(tempfile::tempdir().unwrap().path(), &forgeries(), |(what, trail), folder| {
        trail.store(folder);
        programs.refuse(what, folder);
    });
    // The checkpoint by an epoch that was not in force at its size; inside of a group; over another root.
    let trail = three_epochs();
    let size = trail.lines.len();
    let first_of_epoch_1 = (0..size).find(|size| trail.closer(*size) == 1).unwrap();
    let mut other = Writer::new();
    other.group(size);
    let cases = [
        ("a checkpoint by an earlier epoch", trail.checkpoint_by(size, 1)),
        ("a checkpoint by an epoch to come", trail.checkpoint_by(first_of_epoch_1, 2)),
        ("a checkpoint inside of a group", trail.checkpoint_by(size - 1, 2)),
        ("a checkpoint over other entries", other.checkpoint_by(size, 2)),
        ("a checkpoint of more entries", other.checkpoint_by(size + 1, 2)),
    ];
    each_on_a_copy(stored(&trail).path(), &cases, |(what, checkpoint), folder| {
        fs::write(folder.join(CHECKPOINT), checkpoint).unwrap();
        programs.refuse(what, folder);
    });
}

#[test]
fn a_bit_of_a_new_epoch_counts() {
    let programs = Programs::all();
    let trail = three_epochs();
    let place = trail.lines.iter().position(|line| line.contains("\"kind\":\"key.epoch\"")).unwrap();
    let line = &trail.lines[place];
    let at = |before: &str| line.find(before).unwrap() + before.len();
    let places = [
        at("\"epoch\":"),
        at("\"key\":\"") + 3,
        line.find('+').unwrap() + 3,
        at("\"sig\":\"") - 40,
        at("\"sig\":\"") + 9,
    ];
    each_on_a_copy(stored(&trail).path(), &places, |at, folder| {
        let path = &common::segments(&folder.join("state"))[0];
        let start: usize = trail.lines[..place].iter().map(|line| line.len() + 1).sum();
        let mut content = fs::read(path).unwrap();
        content[start + at] ^= 1;
        fs::write(path, content).unwrap();
        programs.refuse(&format!("byte {at} of the new epoch's entry"), folder);
    });
}

fn compress(path: &Path, keep: bool) {
    let mut command = std::process::Command::new("zstd");
    command.arg("-q").args((!keep).then_some("--rm")).arg(path);
    assert!(command.status().unwrap().success());
}

#[test]
fn sealed_segments_are_read() {
    let mut programs = Programs::all();
    if !common::have(&[("zstd", &["--version"])]) {
        return;
    }
    // The tiles of this test are made of plain files.
    programs.list.retain(|(name, _)| *name != "verify.go");
    let folder = stored(&three_epochs());
    let segments = common::segments(&folder.path().join("state"));
    compress(&segments[0], false);
    compress(&segments[1], true);
    programs.accept("a compressed segment, and one that is there twice", folder.path());
    // Where both exist the plain one wins.
    fs::write(segments[1].with_extension("jsonl.zst"), b"no zstd").unwrap();
    programs.accept("a plain segment beside a broken compressed one", folder.path());
    let compressed = segments[0].with_extension("jsonl.zst");
    let clean = fs::read(&compressed).unwrap();
    fs::write(&compressed, &clean[..clean.len() - 3]).unwrap();
    programs.refuse("a compressed segment that was cut", folder.path());
    fs::write(&compressed, clean).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    programs.refuse("a segment that is no zstd", folder.path());
    fs::remove_file(segments[1].with_extension("jsonl.zst")).unwrap();
    programs.refuse("a missing segment", folder.path());
    fs::write(segments[1].with_file_name("notes.txt"), b"x").unwrap();
    programs.refuse("a file that is no segment", folder.path());
}

/// Processor time that waited-for children of this test have used. (Of all threads: an upper bound.)
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    // cutime and cstime of proc(5), fields 16 and 17; the first two stand before the bracket. 100 ticks a second.
    (ticks(13) + ticks(14)) / 100.0
}

#[test]
fn a_thousand_entries_take_the_shell_less_than_a_minute() {
    let mut trail = Writer::new();
    while trail.lines.len() < 1000 {
        let epochs = usize::from(trail.epoch) + 1;
        match trail.lines.len() > 300 * epochs {
            true => trail.change_epoch(),
            false => trail.group(2.min(999 - trail.lines.len())),
        }
    }
    assert_eq!(trail.lines.len(), 1000);
    let folder = stored(&trail);
    if common::have(SHELL) {
        let (start, used) = (Instant::now(), processor_seconds());
        let (exit, said) = verify_sh(folder.path(), &[]);
        assert_eq!(exit, 0, "{said}");
        let (took, used) = (start.elapsed(), processor_seconds() - used);
        eprintln!("verify.sh, 1,000 entries: {took:.1?}, {used:.1} s of the processor\n{said}");
        // What it took by the clock is of this machine's other work too.
        assert!(used < 60.0, "{used}");
    }
    trail.group(0);
    trail.store(folder.path());
    if common::have(SHELL) {
        let (exit, said) = verify_sh(folder.path(), &[]);
        assert!(exit == 2 && said.contains("more than 1000 entries"), "{exit}: {said}");
    }
    if common::have(PYTHON) {
        let (exit, said) = verify_py(folder.path(), &[]);
        assert!(exit == 0 && said.contains("1001 entries") && said.contains("epochs 0 to 3"), "{said}");
    }
}

/// A `prune` entry over what stands before `first` in `edge_of`, in a trail; and the folder without those entries.
fn pruned_before(trail: &Writer, first: usize, edge_of: &Writer) -> tempfile::TempDir {
    let edge: Vec<String> = edge_of.edge(first).iter().map(|hash| format!("\"{}\"", hex(hash))).collect();
    let members = format!(
        ",\"from\":0,\"to\":{first},\"root\":\"{}\",\"frontier\":[{}],\"policy\":\"p\",\"reason\":\"r\",\"approver\":\"a\"",
        hex(&edge_of.root(first)),
        edge.join(",")
    );
    let mut trail = trail.clone();
    trail.entry("prune", &members);
    trail.commit();
    let folder = stored(&trail);
    fs::remove_file(folder.path().join(format!("state/trail/g1/segments/{:020}.jsonl", 0))).unwrap();
    folder
}

/// The first entries go, the edge of their tree stays.
#[test]
fn a_pruned_trail_goes_on_from_its_edge() {
    if !common::have(PYTHON) {
        return;
    }
    let trail = three_epochs();
    let first = trail.segments()[1];
    let folder = pruned_before(&trail, first, &trail);
    let generation = folder.path().join("state/trail/g1");
    let kept: Vec<&String> = (0..first).map(|index| &trail.lines[index]).collect();
    let kept = kept.into_iter().filter(|line| line.contains("\"genesis\"") || line.contains("\"key.epoch\""));
    let pruned: String = kept.map(|line| format!("{line}\n")).collect();
    // The first line is the daemon's; the edge that counts stands in the signed prune entry.
    let ask = |pruned: &str| {
        fs::write(generation.join("pruned.jsonl"), format!("{{}}\n{pruned}")).unwrap();
        verify_py(folder.path(), &[])
    };
    assert_eq!(ask(&pruned).0, 0, "{}", ask(&pruned).1);
    if common::have(SHELL) {
        assert_eq!(verify_sh(folder.path(), &[]).0, 2);
    }
    let (genesis, epoch) = pruned.split_once('\n').unwrap();
    for wrong in ["", genesis, epoch, &pruned.replace(ORIGIN, "x"), &format!("{pruned}{epoch}")] {
        assert_eq!(ask(wrong).0, 1, "{wrong}");
    }
    // The edge must lead to the roots that are signed after it, whoever signed the entry that names it.
    let mut other = Writer::new();
    other.group(first);
    let forged = pruned_before(&trail, first, &other);
    fs::write(forged.path().join("state/trail/g1/pruned.jsonl"), format!("{{}}\n{pruned}")).unwrap();
    let (exit, said) = verify_py(forged.path(), &[]);
    assert!(exit == 1 && said.contains("its root is not that of the entries before it"), "{said}");
    // Without such an entry the first ones are simply gone.
    let gone = stored(&trail);
    fs::remove_file(gone.path().join(format!("state/trail/g1/segments/{:020}.jsonl", 0))).unwrap();
    assert_eq!(verify_py(gone.path(), &[]).0, 1);
    if common::have(SHELL) {
        assert_eq!(verify_sh(gone.path(), &[]).0, 1);
    }
}
