//! Rows that are delivered twice, in hourly files and in a daily one: each stands in the trail once. And rows that come
//! long after later ones: each says so.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::writer;
use crmwarden::clock::Hands;
use crmwarden::model::{Key, Time};
use crmwarden::source::{Batch, RawRecord};
use crmwarden::trail::disk::RealDisk;
use crmwarden::trail::quarter::{file_name, list};
use serde_json::Value;
use std::time::Duration;

const HEADER: &str =
    "\"EVENT_TYPE\",\"TIMESTAMP\",\"REQUEST_ID\",\"USER_ID\",\"URI\",\"TIMESTAMP_DERIVED\"\n";

/// Row `number` of a day of an event log.
fn row(number: u32) -> String {
    format!(
        "\"URI\",\"202611200{hour}{minute:02}00.000\",\"4exLFFQZ1234xFl1c{number:04}\",\"005000000000{number:03}\",\
         \"/home/home.jsp\",\"2026-11-20T0{hour}:{minute:02}:00.000Z\"\n",
        hour = number / 60,
        minute = number % 60,
    )
}

fn file(rows: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let rows: String = rows.into_iter().map(row).collect();
    format!("{HEADER}{rows}").into_bytes()
}

fn home(overlap: &str) -> Home {
    Home::new(&format!(
        "sources:\n  - name: sf\n    directory: {{ paths: [\"in/*.csv\"]{overlap} }}\n    format: salesforce.event_log\n"
    ))
}

/// How many events and in which files, and how many rows `duplicates` entries count.
fn standing(home: &Home) -> (usize, u64) {
    let counted = |entry: &Value| entry["records"].as_u64().unwrap();
    (home.of_kind("event").len(), home.of_kind("duplicates").iter().map(counted).sum())
}

#[test]
fn a_daily_file_adds_only_what_the_hourly_files_did_not_hold() {
    let home = home(", overlap: 36h");
    home.write("in/hour-0.csv", &file(0..30));
    home.write("in/hour-1.csv", &file(60..90));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (60, 0));

    // One row of the day came too late for its hour.
    home.write("in/day.csv", &file((0..30).chain([45]).chain(60..90)));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (61, 60));
    let entry = &home.of_kind("duplicates")[0];
    assert_eq!(entry["source"], "sf");
    assert!(entry["file"].as_str().unwrap().ends_with("in/day.csv"), "{entry}");
    let (first, last) = (entry["first"].as_u64().unwrap(), entry["last"].as_u64().unwrap());
    let size = std::fs::metadata(home.path("in/day.csv")).unwrap().len();
    assert!(first as usize == HEADER.len() && first < last && last < size, "{entry}");

    // What is known comes from the trail: without the cache, the same is known.
    std::fs::remove_dir_all(home.path("state/cache"))
        .or_else(|_| std::fs::remove_file(home.path("state/cache")))
        .unwrap();
    home.write("in/again.csv", &file((40..50).chain(80..95)));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (61 + 9 + 5, 60 + 11));
    home.expect(0, &["verify", "state"]);
}

#[test]
fn equal_rows_of_one_file_are_two_events() {
    let home = home(", overlap: 36h");
    home.write("in/hour-0.csv", &file([1, 1, 2]));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (3, 0));
    home.write("in/day.csv", &file([1, 1, 2, 3, 3]));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (5, 3));
}

#[test]
fn without_the_word_two_files_are_two_files() {
    let home = home("");
    home.write("in/hour-0.csv", &file(0..10));
    home.write("in/day.csv", &file(0..20));
    home.expect(0, &["run", "--once"]);
    assert_eq!(standing(&home), (30, 0));
}

#[test]
fn a_row_is_known_across_the_change_of_keys() {
    let home = home(", overlap: 36h");
    home.write("in/hour-0.csv", &file(0..10));
    home.expect(0, &["run", "--once"]);
    // As if the first file had been read in the quarter before this one, also where that was another year.
    let key = |number| home.path("keys").join(file_name(number));
    let now = *list(&RealDisk, &home.path("keys")).unwrap().last().unwrap();
    let before = if now % 10 == 1 { now - 10 + 3 } else { now - 1 };
    std::fs::rename(key(now), key(before)).unwrap();
    home.write("in/day.csv", &file(0..20));
    home.expect(0, &["run", "--once"]);
    assert_eq!(*list(&RealDisk, &home.path("keys")).unwrap().last().unwrap(), now, "a new key is in force");
    assert_eq!(standing(&home), (20, 10));
}

/// New Year, and nothing starts again.
#[test]
fn a_row_is_known_across_the_change_of_keys_while_the_daemon_runs() {
    let home = home(", overlap: 36h");
    let hands = Hands::at(Time::parse("2026-12-31T22:00:00Z").unwrap());
    let mut running = writer::start(&home, &hands);
    let names: Vec<&str> = HEADER.trim().split(',').map(|name| name.trim_matches('"')).collect();
    let mut read = |file: &str, quarter: u32, rows: std::ops::Range<u32>| {
        let (mut text, mut records) = (String::new(), Vec::new());
        for number in rows {
            let start = text.len();
            text.push_str(row(number).trim_end());
            records.push(RawRecord { start, end: text.len(), offset: start as u64, odd: None });
        }
        let secret = zeroize::Zeroizing::new([quarter as u8; 32]);
        running.batch(Batch {
            source: "sf".into(),
            stream: "feed".into(),
            file: file.into(),
            header: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            bytes_read: text.len() as u64,
            text,
            records,
            blank: 0,
            raw_key: Key::new(quarter, secret),
            after: serde_json::json!({}),
            retired: Vec::new(),
            notices: Vec::new(),
            receipt: None,
        });
        running.pass(Duration::from_secs(7200));
    };
    read("/in/hour-0.csv", 20_264, 0..10);
    read("/in/day.csv", 20_271, 0..20);
    running.end().unwrap();
    assert_eq!(standing(&home), (20, 10));
}

#[test]
fn the_configuration_says_what_overlap_may_be() {
    let home = home(", overlap: 5s");
    let said = common::text(&home.run(&["check"]).stderr);
    assert!(said.contains("`overlap:` is not a duration of a minute to 30 days"), "{said}");
}

/// Events reach the writer in memory that is used again. What one was marked with must not stay for the next.
#[test]
fn an_event_that_comes_late_says_so_and_no_other_does() {
    let home = Home::empty();
    home.write(
        "crmwarden.yaml",
        b"deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\n\
          sources:\n  - name: sf\n    file: { paths: [\"in/*.csv\"] }\n    format: salesforce.event_log\n",
    );
    let rule =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/detections/bulk_rows_summed.yaml"))
            .unwrap();
    home.write("policies/detections/bulk_rows_summed.yaml", &rule);
    let now = Time::parse("2026-11-20T08:00:00Z").unwrap();
    let mut running = writer::start(&home, &Hands::at(now));
    let header =
        ["EVENT_TYPE", "TIMESTAMP_DERIVED", "REQUEST_ID", "USER_ID", "METHOD_NAME", "ROWS_PROCESSED"];
    let days_ago = [0, 0, 400, 0, 400, 0];
    let row = |(number, days): (usize, &i64)| {
        let time = now.plus_seconds(number as i64 - 60 - days * 86_400);
        format!("\"API\",\"{time}\",\"r{number}\",\"0055e00000abcde\",\"query\",\"2000\"")
    };
    let rows: Vec<String> = days_ago.iter().enumerate().map(row).collect();
    running.records("sf", Some(&header), &rows);
    running.step(None);
    running.end().unwrap();
    let late = |event: &Value| event["defects"].as_array().is_some_and(|list| list.contains(&"late".into()));
    let said: Vec<bool> = home.of_kind("event").iter().map(late).collect();
    assert_eq!(said, days_ago.map(|days| days > 0));
}
