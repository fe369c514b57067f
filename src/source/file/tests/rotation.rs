//! Rotation in every way that programs rotate, and what is said when bytes were lost.

use super::*;
use crate::model::event::DefectCode;

#[test]
fn rename_while_running() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", lines(0..10));
    assert_eq!(bench.follow(), expect_lines(0..10));
    assert_eq!(bench.whats(), ["new_file"]);
    // The writer goes on for a while in the file that it has open.
    bench.append("a.log", lines(10..20));
    bench.rename("a.log", "a.log.1");
    bench.append("a.log.1", lines(20..30));
    bench.write("a.log", lines(30..40));
    assert_eq!(bench.follow(), expect_lines(10..40));
    assert_eq!(bench.whats(), ["rotated", "new_file"]);
    bench.pass(QUIET / 2);
    bench.append("a.log.1", "late\nand unfinis");
    bench.append("a.log", lines(40..41));
    let mut records = bench.follow();
    records.sort();
    assert_eq!(records, ["late", "line 40 of a log with some text"]);
    bench.pass(QUIET / 2);
    assert!(bench.follow().is_empty());
    bench.pass(QUIET);
    assert_eq!(bench.follow(), ["and unfinis"]);
    assert_eq!(bench.last_record().1.defects(), [DefectCode::Unterminated]);
    bench.pass(QUIET);
    assert!(bench.follow().is_empty());
    assert_eq!(bench.source.handles.len(), 1);
    // Even much later nothing is overlooked or read twice.
    bench.append("a.log.1", "very late\n");
    assert_eq!(bench.follow(), ["very late"]);
    bench.restart();
    assert!(bench.follow().is_empty());
    assert!(bench.whats().is_empty());
}

#[test]
fn rename_within_the_pattern_is_one_stream() {
    let mut bench = Bench::new("a.log*", Framing::Line);
    bench.write("a.log", lines(0..10));
    bench.follow();
    bench.append("a.log", lines(10..12));
    bench.rename("a.log", "a.log.1");
    bench.write("a.log", lines(12..20));
    assert_eq!(bench.follow(), expect_lines(10..20));
    assert_eq!(bench.positions.len(), 2);
    assert_eq!(bench.whats(), ["new_file", "rotated", "new_file"]);
}

#[test]
fn rename_while_down() {
    for pattern in ["a.log", "a.log*"] {
        let mut bench = Bench::new(pattern, Framing::Line);
        bench.write("a.log", lines(0..10));
        bench.follow();
        bench.append("a.log", lines(10..20));
        bench.rename("a.log", "a.log.1");
        bench.write("a.log", lines(20..30));
        bench.whats();
        bench.restart();
        assert_eq!(bench.drain(Mode::Once), expect_lines(10..30), "{pattern}");
        assert_eq!(bench.whats(), ["rotated", "new_file"]);
        bench.restart();
        assert!(bench.follow().is_empty());
    }
}

#[test]
fn truncated_and_shorter() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", lines(0..10));
    bench.follow();
    bench.whats();
    bench.write("a.log", lines(10..13));
    assert_eq!(bench.follow(), expect_lines(10..13));
    assert_eq!(bench.gaps(), ["truncated"]);
    assert_eq!(bench.positions.len(), 1);
    bench.append("a.log", "unread");
    bench.follow();
    bench.write("a.log", "x\n");
    assert_eq!(bench.follow(), ["x"]);
    assert_eq!(
        bench.notices[0].range(),
        Some((lines(10..13).len() as u64, Some(lines(10..13).len() as u64 + 6)))
    );
    assert_eq!(bench.gaps(), ["truncated!"]);
}

#[test]
fn truncated_and_grown_past_the_offset() {
    for down in [false, true] {
        let mut bench = Bench::new("a.log", Framing::Line);
        bench.write("a.log", lines(0..500));
        bench.follow();
        bench.whats();
        bench.write("a.log", lines(500..1500));
        if down {
            bench.restart();
        }
        assert_eq!(bench.follow(), expect_lines(500..1500));
        assert_eq!(bench.gaps(), ["gap_possible!"]);
        bench.restart();
        bench.append("a.log", lines(1500..1501));
        assert_eq!(bench.follow(), expect_lines(1500..1501));
        assert!(bench.gaps().is_empty());
    }
}

#[test]
fn a_copy_continues_what_was_truncated() {
    for (down, pattern) in [(true, "a.log*"), (false, "a.log*")] {
        let mut bench = Bench::new(pattern, Framing::Line);
        bench.write("a.log", lines(0..500));
        bench.follow();
        bench.whats();
        bench.append("a.log", lines(500..510));
        if !down {
            // The copy is seen before the truncation.
            fs::copy(bench.path("a.log"), bench.path("a.log.1")).unwrap();
            assert_eq!(bench.follow(), expect_lines(500..510));
            bench.append("a.log", lines(510..520));
            bench.append("a.log.1", lines(510..520));
        } else {
            fs::copy(bench.path("a.log"), bench.path("a.log.1")).unwrap();
        }
        bench.write("a.log", lines(1000..1010));
        if down {
            bench.restart();
        }
        let mut records = bench.follow();
        records.sort();
        let first = if down { 500 } else { 510 };
        let mut expected = expect_lines(1000..1010);
        expected.extend(expect_lines(first..first + 10));
        expected.sort();
        assert_eq!(records, expected);
        let mut whats = bench.gaps();
        whats.sort();
        whats.retain(|what| what != "new_file");
        assert_eq!(whats, ["continued_in_copy", "truncated"]);
        assert_eq!(bench.positions.len(), 2);
        bench.restart();
        assert!(bench.follow().is_empty());
        assert!(bench.gaps().is_empty());
    }
}

#[test]
fn a_backup_that_stays_is_read_after_a_while() {
    let mut bench = Bench::new("a.log*", Framing::Line);
    bench.write("a.log", lines(0..100));
    bench.follow();
    fs::copy(bench.path("a.log"), bench.path("a.log.bak")).unwrap();
    assert!(bench.follow().is_empty());
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.follow(), expect_lines(0..100));
}

#[test]
fn deleted_while_read() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| options.read_size = 4096);
    bench.write("a.log", lines(0..10));
    bench.follow();
    bench.append("a.log", lines(10..1000));
    bench.append("a.log", "torn");
    fs::remove_file(bench.path("a.log")).unwrap();
    assert_eq!(bench.follow(), expect_lines(10..1000));
    bench.pass(QUIET);
    assert_eq!(bench.follow(), ["torn"]);
    bench.pass(QUIET);
    assert!(bench.follow().is_empty());
    assert_eq!(bench.gaps(), ["new_file", "gone"]);
    assert!(bench.positions.is_empty());
    assert!(bench.source.handles.is_empty());
}

#[test]
fn deleted_while_down() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", "one\ntwo");
    bench.follow();
    bench.whats();
    fs::remove_file(bench.path("a.log")).unwrap();
    bench.restart();
    assert!(bench.follow().is_empty());
    assert!(bench.gaps().is_empty());
    assert!(bench.follow().is_empty());
    assert_eq!(bench.gaps(), ["gone!"]);
    bench.restart();
    bench.follow();
    bench.follow();
    assert!(bench.gaps().is_empty());
}

#[test]
fn a_file_system_that_comes_back() {
    let mut bench = Bench::new("sub/a.log", Framing::Line);
    fs::create_dir(bench.path("sub")).unwrap();
    bench.write("sub/a.log", "one\n");
    bench.follow();
    bench.whats();
    // The folder itself is missing: that says nothing about its files.
    bench.rename("sub", "elsewhere");
    bench.restart();
    bench.follow();
    bench.follow();
    assert_eq!(bench.gaps(), ["unreadable"]);
    // An empty folder in its place looks like a deletion, and is said to be one.
    fs::create_dir(bench.path("sub")).unwrap();
    bench.follow();
    bench.follow();
    assert_eq!(bench.gaps(), ["gone", "readable"]);
    fs::remove_dir(bench.path("sub")).unwrap();
    bench.rename("elsewhere", "sub");
    bench.append("sub/a.log", "two\n");
    assert_eq!(bench.follow(), ["two"]);
    assert_eq!(bench.gaps(), ["returned"]);
}

#[test]
fn links_are_one_stream() {
    let mut bench = Bench::new("*.log", Framing::Line);
    bench.write("data", lines(0..10));
    std::os::unix::fs::symlink(bench.path("data"), bench.path("a.log")).unwrap();
    std::os::unix::fs::symlink(bench.path("nowhere"), bench.path("dangling.log")).unwrap();
    fs::hard_link(bench.path("data"), bench.path("b.log")).unwrap();
    assert_eq!(bench.follow(), expect_lines(0..10));
    assert_eq!(bench.positions.len(), 1);
    bench.restart();
    assert!(bench.follow().is_empty());
    assert_eq!(bench.whats(), ["new_file"]);
    // A link that leads elsewhere is a rotation.
    fs::remove_file(bench.path("b.log")).unwrap();
    fs::remove_file(bench.path("a.log")).unwrap();
    bench.append("data", lines(10..11));
    bench.write("data2", lines(11..20));
    std::os::unix::fs::symlink(bench.path("data2"), bench.path("a.log")).unwrap();
    assert_eq!(bench.follow(), expect_lines(10..20));
}

#[test]
fn only_regular_files_outside_excluded_folders() {
    let mut bench = Bench::new("**/*.log", Framing::Line);
    fs::create_dir_all(bench.path("state/trail")).unwrap();
    bench.options.exclude = vec![bench.path("state")];
    bench.restart();
    bench.write("state/trail/own.log", "never\n");
    bench.write("a.log", "one\n");
    std::os::unix::fs::symlink(bench.path("state/trail/own.log"), bench.path("link.log")).unwrap();
    let fifo = bench.path("fifo.log");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(bench.follow(), ["one"]);
    assert_eq!(bench.gaps(), ["new_file", "unreadable"]);
    assert!(bench.follow().is_empty());
    fs::remove_file(fifo).unwrap();
    bench.follow();
    assert_eq!(bench.gaps(), ["readable"]);
}

#[test]
fn more_files_than_handles() {
    let mut bench = Bench::new("*.log", Framing::Line);
    let count = OPEN_FILES + 50;
    for round in 0..3 {
        for number in 0..count {
            bench.append(&format!("{number}.log"), format!("{round}\n"));
        }
        if round == 2 {
            // Rotated while closed: found again by inode.
            bench.rename("0.log", "0.log.1");
        }
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.follow().len(), count);
        assert!(bench.source.handles.len() <= OPEN_FILES);
        assert_eq!(bench.positions.len(), count);
    }
}

#[test]
fn all_files_get_their_turn() {
    let mut bench = Bench::with("*.log", Framing::Line, |options| options.read_size = 4096);
    bench.write("big.log", lines(0..10_000));
    bench.write("small.log", "small\n");
    let polled = bench.source.poll_at(Mode::Follow, 16 * 1024, bench.now);
    assert!(!polled.idle);
    assert!(polled.batches.iter().map(|batch| batch.bytes_read).sum::<u64>() < 40_000);
    assert!(bench.commit(polled).contains(&"small".to_owned()));
    bench.follow();
    assert_eq!(bench.records.len(), 10_001);
}
