//! What verification sees in time: damage that the daemon finds itself, and silence that an outsider finds.
//! (The same damage through the real daemon and its exit: `tests/cli.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::writer::{self, Running};
use crmwarden::clock::Hands;
use crmwarden::deliver::Outcome;
use crmwarden::error::Failure;
use crmwarden::model::{Severity, Time};
use crmwarden::pipeline::ToWriter;
use crmwarden::trail::verify::{Given, Silence, Verdict, verify};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const START: Time = Time::from_seconds(1_795_341_600);
/// The default of `heartbeat:`.
const HEARTBEAT: u64 = 300;

fn home(heartbeat: &str) -> Home {
    Home::new(&format!(
        "{heartbeat}sources:\n  - name: web\n    file: {{ paths: [\"web.log\"] }}\n    format: access_log.combined\n\
         receivers:\n  - name: mail\n    directory: mail\n  - name: archive\n    directory: archive\n\
         routes:\n  - receivers: [mail, archive]\n"
    ))
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Half an hour in which nothing arrives, as the writer lives it.
fn half_an_hour(running: &mut Running) {
    for _ in 0..60 {
        running.pass(seconds(30));
    }
}

fn silences(home: &Home) -> Vec<Silence> {
    let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
    assert!(matches!(outcome.verdict, Verdict::Ok | Verdict::Recovered), "{outcome:?}");
    outcome.gaps
}

#[test]
fn damage_is_an_entry_a_metric_and_a_critical_incident_that_ends_the_writer() {
    let (home, hands) = (home(""), Hands::at(START));
    let mut running = writer::start(&home, &hands);
    let line = "203.0.113.7 - - [22/Nov/2026:07:00:00 +0000] \"GET /x HTTP/1.1\" 200 5 \"-\" \"-\"";
    running.records("web", None, &[line.to_owned()]);
    running.pass(seconds(1));
    let segment = &home.segments()[0];
    let text = std::fs::read_to_string(segment).unwrap();
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(b"4", text.find("203.0.113.7").unwrap() as u64).unwrap();

    let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
    assert_eq!(outcome.verdict, Verdict::Tampered);
    assert!(!running.step(Some(ToWriter::Verified(Box::new(outcome)))));
    running.pass(seconds(1));
    assert_eq!(running.metric("crmwarden_last_verification_success"), 0.0);
    let incident = running.writer.state.incidents.iter().next().unwrap().clone();
    assert_eq!((incident.rule.as_str(), incident.severity), ("operation.trail_damaged", Severity::Critical));

    // It goes on until the alert has left: one receiver has it, the other is down and not waited for.
    let alerts = (running.handed("mail"), running.handed("archive"));
    assert_eq!((alerts.0.len(), &alerts.0), (1, &alerts.1));
    running.report("archive", &alerts.1[0], Outcome::Delivered);
    running.hands.advance(seconds(1));
    assert!(!running.step(None), "the other receiver may still take it");
    running.report("mail", &alerts.0[0], Outcome::Retry { why: "no route to host".into() });
    running.hands.advance(seconds(1));
    assert!(running.step(None));
    let failure = Failure::from(running.end().unwrap_err());
    assert_eq!(failure.exit(), 4);
    assert!(failure.to_string().contains("tampered"), "{failure}");

    let said = home.of_kind("verification");
    assert_eq!((said.len(), &said[0]["intact"], &said[0]["verdict"]), (1, &false.into(), &"tampered".into()));
    assert_eq!(said[0]["damaged_ranges"], 1);
    assert_eq!(home.of_kind("stop").len(), 1, "its end is recorded");
}

#[test]
fn a_hole_without_a_stop_is_reported_as_silence() {
    let (home, hands) = (home(""), Hands::at(START));
    let mut running = writer::start(&home, &hands);
    half_an_hour(&mut running);
    let last = running.writer.trail.next_index() - 1;
    let from = running.writer.trail.newest_time();
    drop(running); // `kill -9`
    hands.advance(seconds(3 * HEARTBEAT) + seconds(1));
    let mut running = writer::start(&home, &hands);
    half_an_hour(&mut running);
    running.end().unwrap();

    let found = silences(&home);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].after, found[0].from), (last, from));
    assert!(found[0].to.seconds_since(from) > (3 * HEARTBEAT) as f64);
    let json: serde_json::Value =
        serde_json::from_str(&home.expect(0, &["verify", "--json", "state"])).unwrap();
    assert_eq!(json["gaps"][0]["after"], last, "{json}");
    let text = home.expect(0, &["verify", "state"]);
    assert!(text.contains(&format!("after entry {last}, without a stop")), "{text}");
}

#[test]
fn a_writer_that_stood_still_is_silent_too() {
    let (home, hands) = (home(""), Hands::at(START));
    let mut running = writer::start(&home, &hands);
    half_an_hour(&mut running);
    running.pass(seconds(2 * 3600)); // The machine was suspended.
    running.end().unwrap();
    assert_eq!(silences(&home).len(), 1);
}

#[test]
fn a_stop_explains_any_silence() {
    let (home, hands) = (home(""), Hands::at(START));
    let mut running = writer::start(&home, &hands);
    half_an_hour(&mut running);
    running.end().unwrap();
    hands.advance(seconds(30 * 24 * 3600));
    writer::start(&home, &hands).end().unwrap();
    assert_eq!(silences(&home), []);
}

/// Three intervals are the limit: the last heartbeat may be one old, and a restart takes its time.
#[test]
fn three_intervals_are_no_silence_and_the_interval_is_the_one_of_the_run() {
    for (heartbeat, hole, expected) in [
        ("", 3 * HEARTBEAT, 0),
        ("", 4 * HEARTBEAT, 1),
        ("heartbeat: 10m\n", 4 * HEARTBEAT, 0),
        ("heartbeat: 1m\n", HEARTBEAT, 1),
    ] {
        let (home, hands) = (home(heartbeat), Hands::at(START));
        drop(writer::start(&home, &hands));
        hands.advance(seconds(hole));
        writer::start(&home, &hands).end().unwrap();
        assert_eq!(silences(&home).len(), expected, "heartbeat `{heartbeat}`, {hole} s");
    }
}
