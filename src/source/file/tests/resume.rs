//! Reading on after a restart: at random positions, after random changes, without loss or repetition.

use super::*;
use serde_json::json;

/// A small generator of numbers, so that a failure can be repeated from its printed seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn a_thousand_restarts_lose_and_repeat_nothing() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut numbers = Numbers(u64::from(seed) | 1);
    for framing in [Framing::Line, Framing::Csv] {
        let mut bench = Bench::with("a.log*", framing, |options| options.read_size = 4096);
        let mut expected = Vec::new();
        let mut text = Vec::new();
        if framing == Framing::Csv {
            text.extend(b"head,er\n");
        }
        for number in 0..3000 {
            let mut record = format!("{number},\"{}\"", "x".repeat(numbers.below(60)));
            if framing == Framing::Csv && number % 5 == 0 {
                record = format!(
                    "{number},\"{}\n\"\"{}\"",
                    "y".repeat(numbers.below(9)),
                    "z".repeat(numbers.below(90))
                );
            }
            if number % 500 == 0 {
                record = format!("{number},{}", "w".repeat(9000));
            }
            text.extend(record.as_bytes());
            text.push(b'\n');
            expected.push(record);
        }
        let mut rest = text.as_slice();
        for cut in 0..500 {
            let (piece, later) = rest.split_at(numbers.below(2 * text.len() / 500).min(rest.len()));
            rest = later;
            bench.append("a.log", piece);
            if cut == 250 && framing == Framing::Line {
                bench.rename("a.log", "a.log.1");
                fs::copy(bench.path("a.log.1"), bench.path("a.log.2")).unwrap();
                fs::remove_file(bench.path("a.log.2")).unwrap();
                bench.rename("a.log.1", "a.log");
            }
            // Only some of what a poll returned was committed when the process died.
            let mut polled = bench.source.poll_at(Mode::Follow, 1 + numbers.below(40_000) as u64, bench.now);
            polled.batches.truncate(numbers.below(polled.batches.len() + 1));
            bench.commit(polled);
            bench.restart();
        }
        bench.append("a.log", rest);
        bench.follow();
        assert_eq!(bench.records, expected);
        assert!(bench.notices.iter().all(|notice| !notice.gap()), "{:?}", bench.notices);
    }
}

#[test]
fn the_position_names_every_byte_once() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| options.read_size = 4096);
    bench.write("a.log", lines(0..1000));
    let mut at = 0;
    bench.follow();
    for batch in &bench.batches {
        if let Some(first) = batch.records.first() {
            assert_eq!(first.offset, at);
        }
        at += batch.bytes_read;
        assert_eq!(batch.after["offset"], json!(at));
    }
    assert_eq!(at, lines(0..1000).len() as u64);
}

#[test]
fn a_reused_inode_is_another_file() {
    for (member, word) in [("born", "replaced"), ("head", "gap_possible"), ("before", "gap_possible")] {
        let mut bench = Bench::new("a.log", Framing::Line);
        bench.write("a.log", lines(0..10));
        bench.follow();
        bench.whats();
        let (id, mut position) = bench.positions.pop_first().unwrap();
        match member {
            "born" if position.get("born").is_none() => continue, // The file system keeps no birth times.
            "born" => position["born"] = json!("bcdefghijklmnopa"),
            mark => position[mark]["mac"] = json!("ab".repeat(32)),
        }
        bench.positions.insert(id, position);
        bench.restart();
        assert_eq!(bench.follow(), expect_lines(0..10), "{member}");
        // The position of a file that was replaced stays for a while, as one of a file that is gone.
        let there = bench.positions.values().filter(|position| position.get("gone").is_none());
        assert_eq!(there.count(), 1);
        assert!(bench.whats().contains(&word));
        bench.restart();
        assert!(bench.follow().is_empty());
    }
}

#[test]
fn a_new_device_number_is_the_same_file() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", lines(0..10));
    bench.follow();
    let (id, mut position) = bench.positions.pop_first().unwrap();
    if position.get("born").is_none() {
        return; // Without a birth time a device number is all there is.
    }
    position["dev"] = json!(1);
    position["path"] = json!("/masked/****");
    bench.positions.insert(id.clone(), position);
    bench.restart();
    bench.append("a.log", lines(10..11));
    bench.whats();
    assert_eq!(bench.follow(), expect_lines(10..11));
    assert!(bench.whats().is_empty());
    assert_eq!(bench.positions.keys().collect::<Vec<_>>(), [&id]);
}

#[test]
fn a_damaged_position_is_a_possible_gap() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", "one\n");
    bench.positions.insert("aaa-bbb".to_owned(), json!({"offset": "****"}));
    bench.restart();
    assert_eq!(bench.follow(), ["one"]);
    assert!(bench.gaps().contains(&"gap_possible!".to_owned()));
}

#[test]
fn start_at_end_counts_once() {
    for framing in [Framing::Line, Framing::Csv] {
        let mut bench = Bench::with("*.log", framing, |options| options.start_at = StartAt::End);
        bench.write("a.log", "head\n\"old\n\"\npart");
        assert!(bench.follow().is_empty());
        assert_eq!(bench.whats(), ["started_at_end"]);
        // What appears later is read from its beginning, also after a restart.
        bench.append("a.log", "ial\n");
        assert_eq!(bench.follow(), ["partial"]);
        if framing == Framing::Csv {
            assert_eq!(bench.last_record().0.header.as_deref().unwrap(), ["head"]);
        }
        bench.restart();
        bench.write("b.log", "h\nnew\n");
        let expected = if framing == Framing::Csv { vec!["new"] } else { vec!["h", "new"] };
        assert_eq!(bench.follow(), expected);
    }
    // Even when nothing was there at the first start.
    let mut bench = Bench::with("*.log", Framing::Line, |options| options.start_at = StartAt::End);
    bench.follow();
    bench.write("a.log", "one\n");
    bench.restart();
    assert_eq!(bench.follow(), ["one"]);
}

#[test]
fn tiny_and_equal_files_are_told_apart() {
    let mut bench = Bench::new("*.log", Framing::Line);
    for name in ["a", "b", "c"] {
        bench.write(&format!("{name}.log"), "");
    }
    assert!(bench.follow().is_empty());
    assert_eq!(bench.positions.len(), 3);
    for round in 0..3 {
        for name in ["a", "b", "c"] {
            bench.append(&format!("{name}.log"), lines(round * 60..round * 60 + 60));
        }
        assert_eq!(bench.follow().len(), 180);
        bench.restart();
    }
    assert!(bench.follow().is_empty());
    assert_eq!(bench.whats(), ["new_file"; 3]);
}

#[test]
fn the_same_size_with_other_content_is_seen() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", lines(0..10));
    bench.follow();
    bench.whats();
    bench.restart();
    bench.write("a.log", lines(1..10) + &lines(0..1));
    assert_eq!(bench.follow().len(), 10);
    assert_eq!(bench.gaps(), ["gap_possible!"]);
}

#[test]
fn bad_options_are_refused() {
    let good = Bench::new("a", Framing::Line).options;
    let bad: [fn(&mut Options); 4] = [
        |options| options.paths.clear(),
        |options| options.paths = vec!["/a/[".to_owned()],
        |options| options.max_record = 0,
        |options| options.framing = Framing::Fixed(0),
    ];
    for change in bad {
        let mut options = good.clone();
        change(&mut options);
        assert!(FileSource::new(options).is_err());
    }
}

/// Rotation by rename in random order, with deaths between any two commits.
#[test]
fn random_rotations_and_deaths() {
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    for seed in (u64::from(first)..).take(20) {
        rotate_at_random(seed, false);
    }
}

/// The same with copies and truncations between them; with seeds that once read lines twice.
#[test]
fn copies_truncations_and_deaths() {
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    for seed in [16_225_430, 492_125_610].into_iter().chain((u64::from(first)..).take(20)) {
        rotate_at_random(seed, true);
    }
}

/// Both are seen at once: that nothing was written to the copy for long, and that the original was truncated. A daemon
/// that was stopped for some seconds between the two looks meets them so.
#[test]
fn a_copy_waits_until_its_original_was_looked_at() {
    for renamed in [false, true] {
        let mut bench = Bench::with("a.log*", Framing::Line, |options| options.read_size = 4096);
        bench.append("a.log", lines(0..400));
        bench.follow();
        fs::copy(bench.path("a.log"), bench.path("a.log.1")).unwrap();
        bench.follow();
        let original = fs::OpenOptions::new().write(true).truncate(true).open(bench.path("a.log")).unwrap();
        if renamed {
            bench.rename("a.log", "a.log.2");
        }
        bench.append("a.log", lines(400..410));
        // Later than the copy, whatever the kernel's clock says.
        original.set_modified(std::time::SystemTime::now() + Duration::from_secs(1)).unwrap();
        bench.pass(Duration::from_secs(3));
        bench.follow();
        let mut records = bench.records.clone();
        records.sort();
        let mut expected = expect_lines(0..410);
        expected.sort();
        assert_eq!(records, expected, "renamed: {renamed}");
    }
}

fn rotate_at_random(seed: u64, copies: bool) {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let pattern = if seed.is_multiple_of(2) { "a.log*" } else { "a.log" };
    let mut bench = Bench::with(pattern, Framing::Line, |options| options.read_size = 4096);
    let mut written = 0;
    let mut files = 0;
    for _ in 0..150 {
        match numbers.below(10) {
            0 => {
                files += 1;
                if pattern == "a.log" {
                    // What was never seen under its name is not known under another one.
                    let polled = bench.source.poll_at(Mode::Follow, 1, bench.now);
                    bench.commit(polled);
                }
                if bench.path("a.log").exists() {
                    bench.rename("a.log", &format!("a.log.{files}"));
                }
            }
            1 if copies && pattern == "a.log*" && bench.path("a.log").exists() => {
                files += 1;
                let copy = format!("a.log.{files}");
                fs::copy(bench.path("a.log"), bench.path(&copy)).unwrap();
                if numbers.below(2) == 0 {
                    bench.step(&mut numbers);
                }
                fs::OpenOptions::new().write(true).truncate(true).open(bench.path("a.log")).unwrap();
            }
            2 => bench.restart(),
            3 => bench.pass(Duration::from_millis(500)),
            _ => {
                let most = if numbers.below(5) == 0 { 400 } else { 20 };
                let more = numbers.below(most);
                bench.append("a.log", lines(written..written + more));
                written += more;
            }
        }
        bench.step(&mut numbers);
    }
    for _ in 0..4 {
        bench.pass(Duration::from_secs(3));
        bench.follow();
    }
    let mut records = bench.records.clone();
    records.sort();
    let mut expected = expect_lines(0..written);
    expected.sort();
    let repeated: Vec<_> =
        records.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    let lost: Vec<_> = expected.iter().filter(|line| records.binary_search(line).is_err()).collect();
    assert!(
        repeated.is_empty() && lost.is_empty(),
        "seed {seed}: {} repeated {:?}, {} lost {:?}, {:#?}",
        repeated.len(),
        repeated.first(),
        lost.len(),
        lost.first(),
        bench.notices.iter().map(Notice::to_string).collect::<Vec<_>>()
    );
}

impl Bench {
    /// A poll; sometimes the process dies before all of it is committed.
    fn step(&mut self, numbers: &mut Numbers) {
        let mut polled = self.source.poll_at(Mode::Follow, 1 + numbers.below(20_000) as u64, self.now);
        let dies = numbers.below(8) == 0;
        if dies {
            polled.batches.truncate(numbers.below(polled.batches.len() + 1));
        }
        self.commit(polled);
        if dies {
            self.restart();
        }
    }
}
