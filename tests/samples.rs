//! Records that other people's programs wrote, read by the real daemon.
//!
//! The samples are no part of the repository: `CRMWARDEN_SAMPLES` names the folder that holds them. Without
//! it this says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Change events, one a file and indented there; a feed has one a line.
const DEBEZIUM: &[&str] = &[
    "serde-unknown-property.json",
    "serde-unwrapped.json",
    "serde-update.json",
    "serde-with-schema.json",
    "serde-without-schema.json",
];

fn samples() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("CRMWARDEN_SAMPLES") else {
        eprintln!("not checked: CRMWARDEN_SAMPLES names no folder");
        return None;
    };
    Some(PathBuf::from(folder))
}

/// Reads a feed with `run --once --final` and returns its events as the trail holds them.
fn events(feed: &str, format: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("feed"), feed).unwrap();
    let config = format!(
        "deployment: samples.example\nstate: state\nsources:\n  - name: feed\n    file: {{ paths: [feed] }}\n    \
         format: {format}\n"
    );
    fs::write(path("crmwarden.yaml"), config).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_crmwarden"))
        .args(["run", "--once", "--final", "-c"])
        .arg(path("crmwarden.yaml"))
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let segment = path("state/trail/g1/segments/00000000000000000000.jsonl");
    let entries = fs::read_to_string(segment).unwrap();
    let entries = entries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["kind"] == "event").collect()
}

fn was_read(event: &Value) {
    let defects = event["defects"].to_string();
    for code in ["unparsed", "processing_failed", "too_complex", "truncated"] {
        assert!(!defects.contains(code), "{event}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn change_events_of_debezium() {
    let Some(samples) = samples() else { return };
    let mut feed = String::new();
    for name in DEBEZIUM {
        let value: Value = serde_json::from_str(&read(&samples.join("debezium").join(name))).unwrap();
        feed.push_str(&format!("{value}\n"));
    }
    let events = events(&feed, "debezium");
    assert_eq!(events.len(), DEBEZIUM.len());
    events.iter().for_each(was_read);
    let update = &events[2];
    assert_eq!(
        (&update["category"], &update["action"]),
        (&"data_change".into(), &"update".into()),
        "{update}"
    );
    assert!(update["target"]["ids"].to_string().contains("1004"), "{update}");
}

#[test]
fn an_event_log_file_of_salesforce() {
    let Some(samples) = samples() else { return };
    let feed = read(&samples.join("newrelic/sample_log_lines.csv"));
    let events = events(&feed, "salesforce.event_log");
    assert_eq!(events.len(), 2, "a header and two rows");
    for event in &events {
        was_read(event);
        // A type that is not mapped is kept whole and says so.
        assert!(event.to_string().contains("ApexCallout"), "{event}");
        assert_eq!(event["tenant"].as_str().map(str::len), Some(15), "{event}");
        assert!(event["time"].as_str().unwrap().starts_with("2024-03-11T1"), "{event}");
    }
    // The quotes that the field doubles are part of its value.
    assert!(events[0].to_string().contains(r#""\"https://test.local.test\"""#), "{}", events[0]);
}
