//! Fingerprint keys by the quarter: in the daemon's files, and across a change of quarter while it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::writer::{self, Running};
use common::{Home, wait_for};
use crmwarden::clock::{self, Clock, Hands};
use crmwarden::format::by_name;
use crmwarden::model::Time;
use crmwarden::model::record::Encoding;
use crmwarden::pipeline::{Pulse, Reader, ToStage, read};
use crmwarden::source::Source;
use crmwarden::source::file::watch::Watch;
use crmwarden::source::file::{FileSource, MAX_RECORD, Mode, Options, READ_SIZE, StartAt};
use crmwarden::trail::disk::RealDisk;
use crmwarden::trail::quarter::{Quarters, file_name, list, number};
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOURCES: &str =
    "sources:\n  - name: web\n    file: { paths: [\"web.log\"] }\n    format: access_log.combined\n";
const CARD: &str = "4111111111111111";

fn line(marker: &str) -> String {
    format!(
        "203.0.113.7 - - [22/Nov/2026:07:00:00 +0000] \"GET /{marker}?card_number={CARD} HTTP/1.1\" 200 5 \"-\" \"-\"\n"
    )
}

fn hmac(event: &Value) -> &str {
    event["raw"]["hmac"].as_str().unwrap()
}

#[test]
fn the_daemon_makes_the_key_of_this_quarter_and_keeps_the_old_one() {
    let home = Home::new(SOURCES);
    home.append("web.log", line("a").as_bytes());
    let before = number(clock::now());
    home.expect(0, &["run", "--once"]);
    let after = number(clock::now());
    let made = *list(&RealDisk, &home.path("keys")).unwrap().last().unwrap();
    assert!((before..=after).contains(&made), "{made}");
    let events = home.of_kind("event");
    assert!(hmac(&events[0]).starts_with(&format!("{made}:")), "{}", hmac(&events[0]));
    home.expect(0, &["run", "--once"]);
    assert_eq!(list(&RealDisk, &home.path("keys")).unwrap().last(), Some(&made), "it is made once");

    // A trail of the first release: one key, number 1. It goes on, with the key of its quarter from here on.
    std::fs::rename(home.path("keys").join(file_name(made)), home.path("keys").join(file_name(1))).unwrap();
    assert_eq!(list(&RealDisk, &home.path("keys")).unwrap(), [1]);
    home.append("web.log", line("b").as_bytes());
    home.expect(0, &["run", "--once"]);
    assert_eq!((home.of_kind("event").len(), list(&RealDisk, &home.path("keys")).unwrap().len()), (2, 2));
    home.expect(0, &["verify", "state"]);
}

/// Takes batches from the reader until one holds records.
fn records_of(batches: &Mutex<Receiver<ToStage>>, running: &mut Running) -> u32 {
    let inbox = batches.lock().unwrap();
    loop {
        match inbox.recv_timeout(Duration::from_secs(30)).expect("the reader is at work") {
            ToStage::Batch(batch, _) if !batch.records.is_empty() => {
                let key = batch.raw_key.number();
                running.batch(*batch);
                return key;
            }
            _ => {}
        }
    }
}

#[test]
fn a_record_is_fingerprinted_with_the_key_of_the_quarter_it_was_read_in() {
    let home = Home::new(SOURCES);
    let hands = Hands::at(Time::parse("2026-12-31T23:59:50Z").unwrap());
    let mut running = writer::start(&home, &hands);
    let quarters = Quarters::open(Arc::new(RealDisk), &home.path("keys"), running.now()).unwrap();
    let source = FileSource::new(Options {
        name: "web".into(),
        paths: vec![home.path("web.log").display().to_string()],
        framing: by_name("access_log.combined").unwrap().framing(),
        encoding: Encoding::Utf8,
        start_at: StartAt::Beginning,
        max_record: MAX_RECORD,
        read_size: READ_SIZE,
        open_files: 16,
        scratch: None,
        whole: false,
        exclude: Vec::new(),
        matching_key: running.matching.clone(),
        raw_key: quarters.key().clone(),
    })
    .unwrap();
    let reader = Reader {
        sources: vec![(Arc::from("web"), Source::File(Box::new(source)))],
        watch: Watch::new(),
        quarters,
        clock: Clock::Hands(hands.clone()),
        mode: Mode::Follow,
    };
    let (pulse, (out, batches)) = (Arc::new(Pulse::default()), sync_channel(16));
    let batches = Mutex::new(batches);
    let beat = Arc::clone(&pulse);
    let thread = std::thread::spawn(move || read(reader, &out, &beat));

    home.append("web.log", line("first").as_bytes());
    assert_eq!(records_of(&batches, &mut running), 20264);
    hands.advance(Duration::from_secs(20));
    let turns = pulse.reader.load(Ordering::Relaxed);
    wait_for("two turns", Duration::from_secs(30), || pulse.reader.load(Ordering::Relaxed) > turns + 1);
    // Invalid UTF-8: the digest of the raw bytes is made by the reader, not by the stage.
    let mut second = line("second").into_bytes();
    second[0] = 0xff;
    home.append("web.log", &second);
    assert_eq!(records_of(&batches, &mut running), 20271);
    pulse.stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    running.pass(Duration::from_secs(1));
    running.end().unwrap();

    let events = home.of_kind("event");
    assert!(hmac(&events[0]).starts_with("20264:"), "{}", events[0]);
    assert!(hmac(&events[1]).starts_with("20271:"), "{}", events[1]);
    let prints: Vec<String> = home
        .of_kind("finding")
        .iter()
        .filter(|finding| finding["rule"] == "dlp.payment_card")
        .map(|finding| finding["fingerprint"].as_str().unwrap().to_owned())
        .collect();
    let parts: Vec<(&str, &str)> = prints.iter().map(|print| print.split_once(':').unwrap()).collect();
    assert_eq!((parts.len(), parts[0].0, parts[1].0), (2, "20264", "20271"), "{prints:?}");
    assert_ne!(parts[0].1, parts[1].1, "one number in two quarters cannot be told to be one");
    assert_eq!(list(&RealDisk, &home.path("keys")).unwrap(), [20264, 20271]);
}
