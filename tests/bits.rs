//! One bit anywhere in a large trail: `verify` never says that all is well, and says where.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::feeds::{Feed, SOURCES};
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::trail::verify::{Given, verify};
use serde_json::Value;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

const ENTRIES: u64 = 20_000;

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

#[test]
fn five_hundred_flipped_bits_are_all_seen_and_placed() {
    let mut random = Generator::new(common::seed("five_hundred_flipped_bits"));
    let home = Home::new(SOURCES);
    let text: String = (0..ENTRIES).map(|number| Feed::Dataverse.record(number, &mut random)).collect();
    home.write(Feed::Dataverse.file(), text.as_bytes());
    home.expect(0, &["run", "--once"]);
    let [segment] = &home.segments()[..] else { panic!("one segment") };
    let clean = fs::read(segment).unwrap();
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &clean).collect();
    assert!(ends.len() as u64 > ENTRIES);
    let start = Instant::now();
    for flip in 0..500 {
        let place = random.below(clean.len() as u64) as usize;
        let bit = random.below(8);
        let entry = ends.partition_point(|end| *end < place) as u64;
        put(segment, place as u64, clean[place] ^ 1 << bit);
        let (exit, outcome) = if flip % 10 == 0 {
            let output = home.run(&["verify", "--json", "state"]);
            let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code().unwrap(), outcome)
        } else {
            let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
            (i32::from(outcome.exit), serde_json::to_value(outcome).unwrap())
        };
        let what = format!("byte {place} bit {bit} in entry {entry}: {outcome}");
        assert!(exit != 0 && outcome["exit"] == exit, "exit {exit}: {what}");
        assert!(leads_to(&outcome, entry), "{what}");
        put(segment, place as u64, clean[place]);
    }
    eprintln!("500 bits of {} entries in {:.1} s", ends.len(), start.elapsed().as_secs_f64());
    home.expect(0, &["verify", "state"]);
}
