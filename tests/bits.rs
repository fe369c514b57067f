//! One bit anywhere in a large trail: `verify` never says that all is well, and says where.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::feeds::{Feed, SOURCES};
use crmwarden::inspect::dlp::generate::Generator;
use serde_json::Value;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const ENTRIES: u64 = 200_000;
/// How many bits, half of them on each of two threads. `CRMWARDEN_BITS=5000` takes more of them.
const BITS: usize = 240;

fn put(path: &Path, place: u64, byte: u8) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(place)).unwrap();
    file.write_all(&[byte]).unwrap();
}

/// Whether what `verify --json` says leads to the damaged entry: a range that holds it or touches it (a
/// flipped newline concerns two), or, where nothing can be said about ranges, the checkpoint file.
fn leads_to(outcome: &Value, entry: u64) -> bool {
    let ranges = outcome["damage"].as_array().unwrap();
    let within = ranges.iter().any(|range| {
        let (first, last) = (range["first"].as_u64().unwrap(), range["last"].as_u64().unwrap());
        let named = !range["file"].as_str().unwrap().is_empty() && !range["why"].as_str().unwrap().is_empty();
        named && first <= last && first <= entry + 1 && entry <= last + 1
    });
    within || ranges.is_empty() && outcome["notes"].to_string().contains("checkpoint")
}

/// A segment's clean bytes and where its lines end.
struct Segment {
    path: PathBuf,
    first: u64,
    clean: Vec<u8>,
    ends: Vec<usize>,
}

fn segments(home: &Home) -> Vec<Segment> {
    let read = |path: PathBuf| {
        let first = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let clean = fs::read(&path).unwrap();
        let ends = memchr::memchr_iter(b'\n', &clean).collect();
        Segment { path, first, clean, ends }
    };
    home.segments().into_iter().map(read).collect()
}

/// Flips so many bits, one at a time, and asks the binary about each.
fn flip(home: &Home, count: usize, random: &mut Generator) {
    let segments = segments(home);
    for _ in 0..count {
        let segment = &segments[random.below(segments.len() as u64) as usize];
        let place = random.below(segment.clean.len() as u64) as usize;
        let bit = random.below(8);
        let entry = segment.first + segment.ends.partition_point(|end| *end < place) as u64;
        put(&segment.path, place as u64, segment.clean[place] ^ 1 << bit);
        let output = home.run(&["verify", "--json", "state"]);
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        let exit = output.status.code().unwrap();
        let what = format!("byte {place} bit {bit} in entry {entry}: {outcome}");
        assert!(exit != 0 && outcome["exit"] == exit, "exit {exit}: {what}");
        assert!(leads_to(&outcome, entry), "{what}");
        put(&segment.path, place as u64, segment.clean[place]);
    }
    home.expect(0, &["verify", "state"]);
}

#[test]
fn flipped_bits_are_all_seen_and_placed() {
    let seed = common::seed("flipped_bits");
    let bits = std::env::var("CRMWARDEN_BITS").ok().and_then(|bits| bits.parse().ok()).unwrap_or(BITS);
    let mut random = Generator::new(seed);
    let home = Home::new(SOURCES);
    let text: String = (0..ENTRIES).map(|number| Feed::Dataverse.record(number, &mut random)).collect();
    home.write(Feed::Dataverse.file(), text.as_bytes());
    drop(text);
    home.expect(0, &["run", "--once"]);
    assert!(segments(&home).iter().map(|segment| segment.ends.len() as u64).sum::<u64>() > ENTRIES);
    let start = Instant::now();
    let other = home.copy();
    std::thread::scope(|scope| {
        scope.spawn(|| flip(&home, bits / 2, &mut Generator::new(seed + 1)));
        scope.spawn(|| flip(&other, bits / 2, &mut Generator::new(seed + 2)));
    });
    eprintln!("{bits} bits of {ENTRIES} entries in {:.1} s", start.elapsed().as_secs_f64());
}
