//! Every record is exactly one event: in one pass over many, and under twenty `kill -9` while the feeds are
//! still written and rotated. The real binary, real files; counted are the markers in the segments.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::feeds::{FEEDS, Feed, SOURCES, markers};
use crmwarden::inspect::dlp::generate::Generator;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often each marker stands in an event; more than one marker in an event is an error.
fn counted(home: &Home) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    home.each_line(&mut |line| {
        let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
        if entry["kind"] != "event" {
            return;
        }
        match &markers(line)[..] {
            [marker] => *counts.entry(marker.clone()).or_insert(0) += 1,
            other => panic!("an event with the markers {other:?}: {}", common::text(line)),
        }
    });
    counts
}

/// Every marker of every feed once, no other.
fn assert_each_once(home: &Home, volume: &dyn Fn(Feed) -> u64) {
    let counts = counted(home);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).take(5).collect();
    assert!(repeated.is_empty(), "more than once: {repeated:?}");
    for feed in FEEDS {
        let wanted = volume(feed);
        let missing: Vec<String> = (0..wanted)
            .map(|number| feed.marker(number))
            .filter(|marker| !counts.contains_key(marker))
            .collect();
        eprintln!("{:<4} {:>7} records, {:>7} events", feed.source(), wanted, wanted - missing.len() as u64);
        assert!(
            missing.is_empty(),
            "{} missing of {feed:?}: {:?}",
            missing.len(),
            &missing[..missing.len().min(5)]
        );
    }
    assert_eq!(counts.len() as u64, FEEDS.into_iter().map(volume).sum::<u64>(), "events that no record made");
}

#[test]
fn two_hundred_thousand_records_are_as_many_events_once() {
    let mut random = Generator::new(common::seed("two_hundred_thousand"));
    let volume = |feed: Feed| match feed {
        Feed::Web => 80_000,
        Feed::Salesforce | Feed::Dataverse => 45_000,
        Feed::Sap => 30_000,
    };
    let home = Home::new(SOURCES);
    for feed in FEEDS {
        // Two files a feed, the second as a rotation would have left it.
        let mut number = 0;
        for (name, end) in
            [(format!("{}.1", feed.file()), volume(feed) / 3), (feed.file().into(), volume(feed))]
        {
            let mut content = feed.header().to_owned();
            while number < end {
                content.push_str(&feed.record(number, &mut random));
                number += 1;
            }
            home.write(&name, content.as_bytes());
        }
    }
    let start = Instant::now();
    let said = home.expect(0, &["--json", "run", "--once"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    eprintln!("run --once: {:.1} s, {said}", start.elapsed().as_secs_f64());
    for feed in FEEDS {
        assert_eq!(said["events"][feed.source()], volume(feed), "{feed:?}");
    }
    assert_each_once(&home, &volume);
    let said = home.expect(0, &["--json", "run", "--once"]);
    let again: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_each_once(&home, &volume);
    for feed in FEEDS {
        assert_eq!(again["events"][feed.source()], volume(feed), "a second pass added events of {feed:?}");
    }
    home.expect(0, &["verify", "state"]);
}

/// Moves `<file>` to `<file>.1`, `.1` to `.2` and so on. Nothing is deleted: what a rotation deletes before
/// anybody read it is lost to everybody.
fn rotate(file: &Path) {
    let numbered = |number: u32| format!("{}.{number}", file.display());
    let mut last = 1;
    while Path::new(&numbered(last)).exists() {
        last += 1;
    }
    for number in (1..last).rev() {
        fs::rename(numbered(number), numbered(number + 1)).unwrap();
    }
    fs::rename(file, numbered(1)).unwrap();
}

/// Appends records in uneven writes, some of them torn inside a record, and rotates now and then.
fn write_feed(home: &Path, feed: Feed, volume: u64, seed: u64, hurry: &AtomicBool) {
    let mut random = Generator::new(seed);
    let path = home.join(feed.file());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let open = || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        if file.metadata().unwrap().len() == 0 {
            file.write_all(feed.header().as_bytes()).unwrap();
        }
        file
    };
    let mut file = open();
    let mut number = 0;
    let mut rotations = 0;
    while number < volume {
        let count = (1 + random.below(90)).min(volume - number);
        let records: String = (0..count).map(|more| feed.record(number + more, &mut random)).collect();
        let cut = random.below(records.len() as u64) as usize;
        file.write_all(&records.as_bytes()[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(8)));
        file.write_all(&records.as_bytes()[cut..]).unwrap();
        number += count;
        if rotations < 6 && number > volume * (rotations + 1) / 8 {
            rotations += 1;
            rotate(&path);
            // As with a real service, what is written for a moment still goes to the renamed file.
            if random.below(2) == 0 && number < volume {
                file.write_all(feed.record(number, &mut random).as_bytes()).unwrap();
                number += 1;
            }
            file = open();
        }
        if !hurry.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20 + random.below(40)));
        }
    }
}

#[test]
fn twenty_kills_lose_and_repeat_nothing() {
    let seed = common::seed("twenty_kills");
    let mut random = Generator::new(seed);
    let volume = |_: Feed| 15_000;
    let home = Home::new(SOURCES);
    let hurry = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = FEEDS
        .into_iter()
        .enumerate()
        .map(|(place, feed)| {
            let (folder, hurry) = (home.dir.path().to_owned(), Arc::clone(&hurry));
            let seed = seed.wrapping_add(place as u64 + 1);
            std::thread::spawn(move || write_feed(&folder, feed, volume(feed), seed, &hurry))
        })
        .collect();
    let mut under_way = 0;
    for kill in 0..20 {
        let before = home.trail_bytes();
        let daemon = home.daemon();
        // Every other kill waits until something was written, so that the daemon gets on whatever the
        // machine does; the others come at any moment of the start.
        if kill % 2 == 0 {
            let start = Instant::now();
            while home.trail_bytes() <= before + 20_000 && start.elapsed() < Duration::from_secs(3) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(250)));
        under_way += u32::from(home.trail_bytes() > before);
        daemon.kill();
    }
    hurry.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let said = home.expect(0, &["run", "--once"]);
    let recoveries = home.of_kind("recovery").len();
    eprintln!("{under_way} of 20 kills while the trail grew, {recoveries} recoveries\n{said}");
    assert!(under_way >= 5, "the kills came too early to mean anything");
    assert_each_once(&home, &volume);
    assert!(
        home.of_kind("gap").is_empty(),
        "nothing was lost, and a gap was claimed: {:?}",
        home.of_kind("gap")
    );
    let verified = home.expect(0, &["verify", "--json", "state"]);
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert!(["ok", "recovered"].contains(&verified["verdict"].as_str().unwrap()), "{verified}");
    let size = home.trail_bytes();
    home.expect(0, &["run", "--once"]);
    assert!(home.trail_bytes() > size);
    assert_each_once(&home, &volume);
}
