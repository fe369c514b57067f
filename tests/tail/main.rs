//! Faults that tailers lose or double records by, one test each, with what the trail must say afterwards.
//!
//! The clocks are moved by hand, so that a quiet hour takes no time; everything else is real: files, the tailer,
//! the stage, the writer, the trail, and the verification at the end of each test. What cannot be made in one
//! process is done with the real binary in `real.rs`. Faults of the trail's own disk are in `tests/crash`, those
//! of a message bus in `tests/nats.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod network;
mod real;
mod rig;

use common::feeds::Feed;
use crmwarden::model::record::Encoding;
use rig::{Rig, gzip};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

/// Renamed, and the writer goes on in the old file for a while.
#[test]
fn f01_rename_with_a_writer_that_goes_on() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..10);
    rig.follow();
    rig.rename("a.log", "a.log.1");
    for second in 0..60 {
        rig.append("a.log.1", 10 + second..11 + second);
        rig.pass(1);
        rig.follow();
    }
    rig.append("a.log", 70..80);
    rig.follow_for(5);
    rig.expect_in_order(0..80);
    assert!(rig.gaps().is_empty());
}

/// Three rotations while reading is far behind.
#[test]
fn f02_rotations_while_behind() {
    let mut rig = Rig::web();
    rig.change = Box::new(|options| options.read_size = 16 * 1024);
    rig.kill();
    rig.budget = 16 * 1024;
    for file in 0..4 {
        rig.append("a.log", file * 500..file * 500 + 500);
        rig.poll();
        for older in (1..=file).rev() {
            rig.rename(&format!("a.log.{older}"), &format!("a.log.{}", older + 1));
        }
        if file < 3 {
            rig.rename("a.log", "a.log.1");
        }
        rig.pass(600);
    }
    assert!(rig.markers().len() < 1000, "it was not behind");
    rig.follow();
    rig.expect(0..2000);
    // Files are read in turn; each is in its order.
    for file in 0..4 {
        let of = |number: u64| Feed::Web.marker(file * 500 + number);
        let (first, last) = (of(0), of(499));
        let own: Vec<String> =
            rig.markers().into_iter().filter(|marker| (&first..=&last).contains(&marker)).collect();
        assert!(own.is_sorted() && own.len() == 500, "file {file}");
    }
    assert!(rig.gaps().is_empty());
}

/// Truncated in place, and shorter than before.
#[test]
fn f03_truncated_and_shorter() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..50);
    rig.follow();
    rig.write("a.log", rig.records(50..60).as_bytes());
    rig.follow();
    rig.expect_in_order(0..60);
    assert!(rig.gaps().is_empty(), "all of it had been read: {:?}", rig.gaps());
    assert!(rig.told().contains("truncated after byte"));
}

/// Truncated, and longer than before when it is looked at again.
#[test]
fn f04_truncated_and_grown_past_the_offset() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.follow();
    rig.write("a.log", rig.records(20..90).as_bytes());
    rig.follow();
    rig.expect_in_order(0..90);
    assert!(matches!(&rig.gaps()[..], [(what, Some(_), None)] if what == "gap_possible"));
}

/// The same while no process runs: only the content tells.
#[test]
fn f05_truncated_and_grown_while_down() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.follow();
    rig.write("a.log", rig.records(20..90).as_bytes());
    rig.kill();
    rig.follow();
    rig.expect_in_order(0..90);
    assert!(matches!(&rig.gaps()[..], [(what, Some(_), None)] if what == "gap_possible"));
}

/// Copied and truncated while reading is behind: the rest is read from the copy.
#[test]
fn f06_copied_and_truncated_while_behind() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.follow();
    rig.append("a.log", 20..40);
    rig.copy_truncate("a.log", "a.log.1");
    rig.append("a.log", 40..50);
    rig.follow_for(1);
    rig.expect(0..50);
    assert!(rig.gaps().is_empty());
    assert!(rig.told().contains("reading continues in"));
}

/// A writer without O_APPEND goes on at its old place after a truncation: NUL bytes stand before its record.
#[test]
fn f07_a_hole() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.follow();
    let mut file = fs::File::options().write(true).open(rig.path("a.log")).unwrap();
    let place = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(place)).unwrap();
    std::io::Write::write_all(&mut file, rig.records(20..25).as_bytes()).unwrap();
    rig.follow();
    rig.expect_in_order(0..25);
    assert!(rig.told().contains("NUL bytes from 0"), "{}", rig.told());
}

/// Another file gets the inode of one that was removed while no process ran.
#[test]
fn f08_a_reused_inode() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.follow();
    for round in 1..4 {
        rig.remove("a.log");
        // The file system mostly gives the same number again; the test holds either way.
        rig.append("a.log", round * 20..round * 20 + 20);
        rig.kill();
        rig.follow();
    }
    rig.expect_in_order(0..80);
}

/// Files whose first lines are the same for more than a kilobyte.
#[test]
fn f09_equal_beginnings() {
    let mut rig = Rig::new(Feed::Salesforce, "a.log*");
    let header = format!("{}{}", Feed::Salesforce.header(), "\n".repeat(2000));
    for file in 0..5 {
        rig.append_bytes(&format!("a.log.{file}"), header.as_bytes());
        rig.append(&format!("a.log.{file}"), file * 10..file * 10 + 10);
    }
    rig.follow_for(1);
    rig.kill();
    rig.follow_for(1);
    rig.expect(0..50);
}

/// Empty and tiny files, that grow later.
#[test]
fn f10_tiny_files() {
    let mut rig = Rig::web();
    for (number, name) in ["a.log", "a.log.x", "a.log.y"].into_iter().enumerate() {
        rig.append_bytes(name, b"");
        rig.follow();
        rig.append(name, number as u64..number as u64 + 1);
        rig.follow();
    }
    rig.kill();
    rig.append("a.log.x", 3..5);
    rig.follow_for(1);
    rig.expect(0..5);
}

/// Hard and symbolic links to one file are one stream; a link that is set to another file is a rotation.
#[test]
fn f11_links() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..10);
    fs::hard_link(rig.path("a.log"), rig.path("a.log.hard")).unwrap();
    symlink(rig.path("a.log"), rig.path("a.log.soft")).unwrap();
    rig.append("other", 10..20);
    rig.follow_for(1);
    assert_eq!(rig.markers().len(), 10);
    rig.remove("a.log.soft");
    symlink(rig.path("other"), rig.path("a.log.soft")).unwrap();
    rig.follow_for(1);
    rig.kill();
    rig.follow_for(1);
    rig.expect(0..20);
}

/// A line that is half there when the process dies.
#[test]
fn f12_half_a_line_over_a_death() {
    let mut rig = Rig::web();
    let text = rig.records(0..3);
    let (now, later) = text.split_at(text.len() - 40);
    rig.append_bytes("a.log", now.as_bytes());
    rig.follow();
    rig.pass(10);
    rig.follow();
    assert_eq!(rig.markers().len(), 2);
    rig.kill();
    rig.follow();
    rig.append_bytes("a.log", later.as_bytes());
    rig.follow();
    rig.expect_in_order(0..3);
    assert!(rig.events().iter().all(|event| event.get("defects").is_none()));
}

/// A last line without its end, in a file that was rotated away.
#[test]
fn f13_an_unterminated_line_of_a_rotated_file() {
    let mut rig = Rig::web();
    rig.append_bytes("a.log", rig.records(0..2).trim_end().as_bytes());
    rig.follow();
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", 2..4);
    rig.follow_for(3);
    rig.expect(0..4);
    let odd: Vec<_> = rig.events().into_iter().filter(|event| event.get("defects").is_some()).collect();
    assert_eq!(odd.len(), 1);
    assert!(odd[0]["defects"].to_string().contains("unterminated"));
}

/// A line far over the limit between others.
#[test]
fn f14_a_line_over_the_limit() {
    let mut rig = Rig::web();
    rig.change = Box::new(|options| options.max_record = 64 * 1024);
    rig.kill();
    rig.append("a.log", 0..2);
    rig.append_bytes("a.log", &[b'x'; 3_000_000]);
    rig.append_bytes("a.log", b"\n");
    rig.append("a.log", 2..4);
    rig.follow();
    rig.expect_in_order(0..4);
    let long =
        rig.events().into_iter().find(|event| event["defects"].to_string().contains("record_too_long"));
    let long = long.expect("an event of the long line");
    assert!(long["raw"]["hmac"].is_string() && !long.to_string().contains("xxxx"), "{long}");
}

/// Ends of lines, marks, NUL bytes and bytes that are no text; the process dies in the middle.
#[test]
fn f15_encodings() {
    let mut rig = Rig::web();
    let lines = rig.records(0..8);
    let lines: Vec<&str> = lines.lines().collect();
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        format!("\u{feff}{text}\n").encode_utf16().flat_map(unit).collect()
    };
    rig.append_bytes("a.log.crlf", format!("{}\r\n{}\r\n", lines[0], lines[1]).as_bytes());
    rig.append_bytes("a.log.bom", format!("\u{feff}{}\n", lines[2]).as_bytes());
    rig.append_bytes("a.log.le", &utf16(lines[3], false));
    rig.append_bytes("a.log.be", &utf16(lines[4], true));
    rig.append_bytes("a.log.nul", format!("{}\0\n", lines[5]).as_bytes());
    rig.append_bytes("a.log.bad", &[lines[6].trim_end_matches('"').as_bytes(), b" \xff\xfe\"\n"].concat());
    rig.follow();
    rig.kill();
    rig.append_bytes("a.log.le", &utf16(lines[7], false)[2..]);
    rig.follow();
    rig.expect(0..8);
    let defects: String = rig.events().iter().map(|event| event["defects"].to_string()).collect();
    assert!(defects.contains("nul_bytes") && defects.contains("invalid_utf8"), "{defects}");
    assert_eq!(rig.events().iter().filter(|event| event.get("defects").is_some()).count(), 2);
}

/// Rotated and compressed, while running and while down.
#[test]
fn f16_rotated_and_compressed() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..100);
    rig.follow();
    rig.rename("a.log", "a.log.1");
    rig.append("a.log.1", 100..110);
    rig.append("a.log", 110..120);
    rig.follow();
    rig.write("a.log.1.gz", &gzip(&fs::read(rig.path("a.log.1")).unwrap()));
    rig.remove("a.log.1");
    rig.follow_for(5);
    rig.append("a.log", 120..130);
    rig.write("a.log.2.zst", &zstd::bulk::compress(&fs::read(rig.path("a.log")).unwrap(), 3).unwrap());
    rig.remove("a.log");
    rig.kill();
    rig.follow_for(5);
    rig.kill();
    rig.follow_for(5);
    rig.expect(0..130);
}

/// A compressed file that is still written.
#[test]
fn f17_half_a_compressed_file() {
    let mut rig = Rig::web();
    let packed = gzip(rig.records(0..300).as_bytes());
    rig.write("a.log.gz", &packed[..packed.len() / 3]);
    rig.follow_for(3);
    assert!(rig.markers().is_empty());
    assert!(rig.told().contains("cannot be read"));
    rig.write("a.log.gz", &packed);
    rig.follow_for(1);
    rig.expect(0..300);
    assert!(rig.told().contains("can be read again"));
}

/// The cache of projections is no source of positions: whatever happens to it, nothing is read again.
#[test]
fn f20_a_damaged_cache() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..30);
    rig.follow();
    for damage in [&b""[..], b"garbage", &[0; 4096]] {
        rig.home.write("state/cache", damage);
        rig.kill();
        rig.follow();
    }
    fs::remove_file(rig.home.path("state/cache")).unwrap();
    rig.kill();
    rig.append("a.log", 30..31);
    rig.follow();
    rig.expect_in_order(0..31);
}

/// Twenty rotations in a day. That a receiver which is down holds nothing up is shown in `tests/mail.rs` and by f44.
#[test]
fn f23_twenty_rotations_in_a_day() {
    let mut rig = Rig::web();
    for file in 0..20 {
        rig.append("a.log", file * 10..file * 10 + 10);
        rig.follow();
        rig.rename("a.log", &format!("a.log.{file}"));
        rig.pass(3600);
    }
    rig.follow();
    rig.expect_in_order(0..200);
}

/// A record that cannot be read is an event with a defect, and the position goes on by one record.
#[test]
fn f24_a_record_that_is_none() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..2);
    rig.append_bytes("a.log", b"this is no line of an access log\n");
    rig.append("a.log", 2..4);
    rig.follow();
    rig.kill();
    rig.follow();
    rig.expect_in_order(0..4);
    assert_eq!(rig.events().len(), 5);
    assert!(rig.events()[2]["defects"].to_string().contains("unparsed"));
}

/// Files are read by looking; hints are never waited for. So lost hints lose nothing.
#[test]
fn f27_no_hint_ever_comes() {
    let mut rig = Rig::web();
    for burst in 0..200 {
        rig.append("a.log", burst..burst + 1);
        rig.rename("a.log", &format!("a.log.{burst}"));
    }
    rig.follow_for(2);
    rig.expect(0..200);
}

/// The folder is removed and made again, under a reader.
#[test]
fn f30_a_folder_that_comes_back() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..10);
    rig.follow();
    fs::remove_dir_all(rig.home.path("feed")).unwrap();
    rig.follow();
    rig.pass(5);
    rig.follow();
    rig.append("a.log", 10..20);
    rig.follow_for(3);
    rig.expect_in_order(0..20);
    assert!(rig.gaps().is_empty(), "nothing unread was lost: {:?}", rig.gaps());
}

/// What was not read when its file was deleted is a gap, with its bytes.
#[test]
fn f30_deleted_before_it_was_read() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..10);
    rig.follow();
    let read = fs::metadata(rig.path("a.log")).unwrap().len();
    rig.append("a.log", 10..20);
    let whole = fs::metadata(rig.path("a.log")).unwrap().len();
    // It is seen to have grown, and is gone before the next look.
    rig.budget = 1;
    rig.change = Box::new(|options| options.read_size = 4096);
    rig.poll();
    rig.budget = 1 << 20;
    rig.remove("a.log");
    rig.kill();
    rig.follow_for(1);
    let read_now = rig.markers().len() as u64;
    match rig.gaps().first() {
        None => assert_eq!(read_now, 20),
        Some((what, ..)) => assert!(what == "gone" && read_now < 20 && whole > read, "{:?}", rig.gaps()),
    }
}

/// CSV records with line breaks inside, cut by rotation and by deaths.
#[test]
fn f32_records_of_many_lines() {
    let mut rig = Rig::new(Feed::Salesforce, "a.log*");
    let text = format!("{}{}", Feed::Salesforce.header(), rig.records(0..40));
    let bytes = text.as_bytes();
    for (number, piece) in bytes.chunks(333).enumerate() {
        rig.append_bytes("a.log", piece);
        rig.follow();
        if number % 3 == 0 {
            rig.kill();
        }
        if number == 5 {
            rig.rename("a.log", "a.log.1");
            fs::hard_link(rig.path("a.log.1"), rig.path("a.log")).unwrap();
        }
    }
    rig.follow_for(3);
    rig.expect_in_order(0..40);
}

/// One line in three writes with long pauses.
#[test]
fn f33_a_slow_line() {
    let mut rig = Rig::web();
    let text = rig.records(0..1);
    for piece in text.as_bytes().chunks(text.len() / 3 + 1) {
        rig.append_bytes("a.log", piece);
        rig.follow();
        rig.pass(120);
        rig.follow();
    }
    rig.expect_in_order(0..1);
}

/// Times of files that jump: order and completeness do not depend on them.
#[test]
fn f34_clocks_that_jump() {
    let mut rig = Rig::web();
    for (round, days) in [(0, -1i64), (1, 365), (2, -4000)] {
        rig.append("a.log", round * 10..round * 10 + 10);
        let shift = Duration::from_secs(days.unsigned_abs() * 86_400);
        let now = SystemTime::now();
        let time = if days < 0 { now.checked_sub(shift).unwrap() } else { now + shift };
        fs::File::options().write(true).open(rig.path("a.log")).unwrap().set_modified(time).unwrap();
        rig.follow();
        rig.kill();
        rig.follow();
    }
    rig.expect_in_order(0..30);
}

/// Another pattern over the same files: positions are of files, not of patterns.
#[test]
fn f36_another_pattern() {
    let mut rig = Rig::web();
    rig.append("a.log", 0..20);
    rig.append("b.log", 20..30);
    rig.follow();
    rig.start("[ab].log");
    rig.follow_for(1);
    rig.expect(0..30);
}

/// Thousands of rotations: what is remembered is bounded, and no file that is there is forgotten.
#[test]
fn f37_a_long_history() {
    let mut rig = Rig::web();
    rig.append("a.log.kept", 0..1);
    rig.home.write("old/.keep", b"");
    for number in 1..1150 {
        rig.append("a.log", number..number + 1);
        rig.follow();
        rig.rename("a.log", &format!("../old/{number}"));
        rig.pass(2);
    }
    rig.follow_for(3);
    assert!(rig.positions() <= crmwarden::source::file::ABSENT + 4, "{}", rig.positions());
    rig.kill();
    rig.follow_for(1);
    rig.expect(0..1150);
}

/// Cut while it is read: no signal, no torn record.
#[test]
fn f43_truncated_while_it_is_read() {
    let mut rig = Rig::web();
    rig.change = Box::new(|options| options.read_size = 4096);
    rig.kill();
    rig.budget = 4096;
    rig.append("a.log", 0..400);
    rig.poll();
    rig.poll();
    fs::File::options().write(true).open(rig.path("a.log")).unwrap().set_len(10_000).unwrap();
    rig.follow();
    let read = rig.markers().len() as u64;
    assert!(read > 10 && read < 400);
    rig.expect_in_order(0..read);
}

/// Encodings can be told by the configuration, too.
#[test]
fn latin1_is_kept() {
    let mut rig = Rig::web();
    rig.change = Box::new(|options| options.encoding = Encoding::Latin1);
    rig.kill();
    let line = rig.records(0..1).replace("Mozilla", "M\u{fc}ller");
    rig.append_bytes("a.log", &line.chars().map(|c| c as u8).collect::<Vec<u8>>());
    rig.follow();
    rig.expect_in_order(0..1);
    assert!(rig.events()[0]["client"]["user_agent"].as_str().unwrap().contains("M\u{fc}ller"));
}
