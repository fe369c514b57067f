//! What grows, and what must not: days of a real writer, on a clock that is moved by hand.
//!
//! The bounds stand in the README too, and the last test compares.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::writer::{self, Running};
use common::{Home, REPOSITORY};
use crmwarden::clock::Hands;
use crmwarden::consequence::EVICTIONS_EVERY;
use crmwarden::deliver::Outcome;
use crmwarden::model::Time;
use crmwarden::pipeline::ToWriter;
use crmwarden::trail::verify::{Given, Verdict, verify};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Ten in the morning: the day that is simulated crosses midnight.
const MORNING: Time = Time::from_seconds(1_795_341_600);
const DAY: u64 = 24 * 3600;
/// The writer looks at the clock twice a second; every half minute is enough for everything that it does by
/// the clock, since that divides the heartbeat.
const TICK: u64 = 30;

/// A day without records, from the first entry to the stop.
///
/// | | entries |
/// |---|---|
/// | creation: `genesis`, `segment`, `commit` | 3 |
/// | `start`, `policy`, `commit` | 3 |
/// | 288 heartbeats of five minutes, each with its `commit` | 576 |
/// | the daemon's own verification, at start and after a day, each with its `commit` | 4 |
/// | a segment closes after 24 h: `segment`, `commit` | 2 |
/// | the cache at the end: `state_cache`, `commit` | 2 |
/// | `stop`, `commit` | 2 |
const IDLE_DAY: usize = 592;

/// One more stop and start in the day: `state_cache`, `commit`, `stop`, `commit`, `start`, `policy`,
/// `commit`, and the verification with its `commit`.
const RESTART: usize = 9;

/// What an alert adds over its whole life with so many receivers: owed, and for each receiver the first
/// failure of an outage and the final outcome. How often it was tried is not in it.
const fn alert_entries(receivers: usize) -> usize {
    1 + 2 * receivers
}

/// Incidents of the bad day, and receivers of each alert.
const INCIDENTS: usize = 1_000;
const RECEIVERS: usize = 2;

/// A day with a thousand incidents and a receiver that is down: an idle day, a restart, and for each incident
/// its event, its `incident`, its finding and its alert. Groups are closed at least once a second, so each of
/// these can need a commit of its own; then it is twice as many.
const BAD_DAY: usize = IDLE_DAY + RESTART + 2 * INCIDENTS * (3 + alert_entries(RECEIVERS));

/// Checkpoints kept after an idle day: all of the last hour (heartbeats and the last few), one of each hour.
const CHECKPOINTS: usize = 12 + 24 + 8;

fn home() -> Home {
    let home = Home::empty();
    home.write(
        "crmwarden.yaml",
        b"deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\n\
          sources:\n  - name: sf\n    file: { paths: [\"feeds/*.csv\"] }\n    format: salesforce.event_log\n\
          receivers:\n  - name: mail\n    directory: mail\n    budget: 10000\n  - name: archive\n    directory: archive\n    budget: 10000\n\
          routes:\n  - receivers: [mail, archive]\n",
    );
    for name in ["bulk_rows", "failed_logins_then_success"] {
        let policy = fs::read(format!("{REPOSITORY}/policies/detections/{name}.yaml")).unwrap();
        home.write(&format!("policies/detections/{name}.yaml"), &policy);
    }
    home
}

/// The daemon verifies its own trail: what the thread beside the writer does at start and once a day.
fn verification(home: &Home, running: &mut Running) {
    let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
    running.step(Some(ToWriter::Verified(Box::new(outcome))));
    running.step(None);
}

fn count(entries: &[Value], kind: &str) -> usize {
    entries.iter().filter(|entry| entry["kind"] == kind).count()
}

/// The entries, after it was made sure that an outsider finds nothing wrong with them, no silence either.
fn verified(home: &Home) -> Vec<Value> {
    let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
    assert_eq!((outcome.verdict, outcome.gaps.len()), (Verdict::Ok, 0), "{outcome:?}");
    home.entries()
}

#[test]
fn an_idle_day_adds_heartbeats_and_little_else() {
    let (home, hands) = (home(), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    verification(&home, &mut running);
    for _ in 0..DAY / TICK {
        running.pass(Duration::from_secs(TICK));
    }
    verification(&home, &mut running);
    assert_eq!(running.metric("crmwarden_last_verification_success"), 1.0);
    let newest = running.metric("crmwarden_last_verification_timestamp_seconds");
    assert_eq!(newest as i64, MORNING.seconds() + DAY as i64);
    running.end().unwrap();

    let entries = verified(&home);
    assert!(entries.len() <= IDLE_DAY, "{} entries, at most {IDLE_DAY}", entries.len());
    let beats = count(&entries, "heartbeat");
    assert!((280..=288).contains(&beats), "{beats} heartbeats");
    assert_eq!((count(&entries, "verification"), count(&entries, "start")), (2, 1));
    assert!(entries.iter().filter(|entry| entry["kind"] == "verification").all(|v| v["intact"] == true));
    let kept = fs::read_dir(home.path("state/trail/g1/checkpoints")).unwrap().count();
    assert!(kept <= CHECKPOINTS, "{kept} older checkpoints");
}

const BULK: [&str; 6] =
    ["EVENT_TYPE", "TIMESTAMP_DERIVED", "REQUEST_ID", "USER_ID", "METHOD_NAME", "ROWS_PROCESSED"];

/// Somebody takes more rows than anybody should: one incident a person and day.
fn bulk_read(time: Time, number: usize) -> String {
    let user = format!("0055e00000{}", letters(number, 5));
    format!("\"API\",\"{time}\",\"r{number}\",\"{user}\",\"query\",\"125000\"")
}

/// A number without digits, so that no detector has an opinion about it.
fn letters(mut number: usize, length: usize) -> String {
    let mut text = String::new();
    for _ in 0..length {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

/// Plays the two workers: `archive` delivers everything at once; `mail` is down, and says so again and
/// again, every five minutes, for everything that it was ever handed: far more often than the real one.
fn deliveries(running: &mut Running, waiting: &mut BTreeSet<String>) -> usize {
    for alert in running.handed("archive") {
        running.report("archive", &alert, Outcome::Delivered);
    }
    waiting.extend(running.handed("mail"));
    for alert in waiting.iter() {
        running.report("mail", alert, Outcome::Retry { why: "no route to host".into() });
    }
    waiting.len()
}

#[test]
fn a_dead_receiver_and_a_thousand_incidents_add_a_bounded_number_of_entries() {
    const ROUNDS: usize = 96;
    let (home, hands) = (home(), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    let (mut waiting, mut failures, mut read) = (BTreeSet::new(), 0, 0);
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            running.end().unwrap();
            running = writer::start(&home, &hands);
            waiting.clear(); // What is owed is handed to the new worker again.
        }
        let until = INCIDENTS * (round + 1) / ROUNDS;
        let time = running.now();
        running.records("sf", Some(&BULK), &(read..until).map(|n| bulk_read(time, n)).collect::<Vec<_>>());
        read = until;
        for minute in 0..DAY as usize / ROUNDS / 60 {
            running.pass(Duration::from_secs(60));
            if minute % 5 == 0 {
                failures += deliveries(&mut running, &mut waiting);
            }
        }
    }
    running.pass(Duration::from_secs(60));
    assert_eq!(waiting.len(), INCIDENTS, "every alert was tried");
    assert!(failures > 100_000, "only {failures} failures were reported");
    let owed = running.metric("crmwarden_alerts_owed{receiver=\"mail\"}");
    assert_eq!(owed, INCIDENTS as f64);
    // The mail server is back; a worker that repeats itself adds nothing.
    for alert in waiting.iter().chain(&waiting) {
        running.report("mail", alert, Outcome::Delivered);
    }
    running.pass(Duration::from_secs(1));
    assert_eq!(running.metric("crmwarden_alerts_owed{receiver=\"mail\"}"), 0.0);
    running.end().unwrap();

    let entries = verified(&home);
    assert!(entries.len() <= BAD_DAY, "{} entries, at most {BAD_DAY}", entries.len());
    for kind in ["event", "finding", "incident"] {
        assert_eq!(count(&entries, kind), INCIDENTS, "{kind}");
    }
    let alerts: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "alert").collect();
    let state = |receiver: &str, state: &str| {
        alerts.iter().filter(|alert| alert["receiver"] == receiver && alert["state"] == state).count()
    };
    assert_eq!(alerts.iter().filter(|alert| alert["state"] == "owed").count(), INCIDENTS);
    assert_eq!((state("mail", "failing"), state("mail", "delivered")), (INCIDENTS, INCIDENTS));
    assert_eq!((state("archive", "failing"), state("archive", "delivered")), (0, INCIDENTS));
    assert!(alerts.len() <= INCIDENTS * alert_entries(RECEIVERS));
}

/// A flood of made-up names pushes groups out of a rule's window with every commit. It is told, and told
/// again while it lasts, but not with every commit.
#[test]
fn what_a_rule_forgets_is_told_once_an_hour() {
    const HOURS: usize = 3;
    const MINUTE: u64 = 60;
    let header = ["EVENT_TYPE", "TIMESTAMP_DERIVED", "USER_NAME", "LOGIN_STATUS"];
    let (home, hands) = (home(), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    let (mut names, mut forgotten, mut times) = (0, 0, 0);
    let mut flood = |running: &mut Running, logins: usize| {
        let time = running.now();
        let lines: Vec<String> = (names..names + logins)
            .map(|n| {
                let name = format!("{}{}", letters(n, 4), "x".repeat(4_000));
                format!("\"Login\",\"{time}\",\"{name}\",\"LOGIN_ERROR_INVALID_PASSWORD\"")
            })
            .collect();
        names += logins;
        running.records("sf", Some(&header), &lines);
    };
    for _ in 0..80 {
        flood(&mut running, 100);
        running.pass(Duration::from_secs(1));
    }
    for _ in 0..HOURS as u64 * 3600 / MINUTE {
        flood(&mut running, 150);
        running.pass(Duration::from_secs(MINUTE));
        let now = running.writer.state.engine.evicted().values().sum::<u64>();
        times += usize::from(now > forgotten);
        forgotten = now;
    }
    assert!(times > 3 * HOURS, "groups were forgotten {times} times only: this is no flood");
    let counted = "crmwarden_evictions_total{rule=\"detection.failed_logins_then_success\"}";
    assert_eq!(running.metric(counted), forgotten as f64, "the metric counts each");
    running.end().unwrap();
    let told: Vec<Value> =
        verified(&home).into_iter().filter(|entry| entry["rule"] == "operation.window_evicted").collect();
    let findings = count(&told, "finding");
    let hours = HOURS * 3600 / EVICTIONS_EVERY.as_secs() as usize;
    // One at once, one after each hour, and the rest at the end.
    assert!((hours..=hours + 2).contains(&findings), "{findings} findings in {hours} hours");
    let title = told.iter().rfind(|entry| entry["kind"] == "finding").unwrap()["title"].clone();
    assert!(title.as_str().unwrap().contains(&format!("forget {forgotten} ")), "{title}: the sum is told");
}

#[test]
fn the_readme_states_these_bounds() {
    let readme = fs::read_to_string(format!("{REPOSITORY}/README.md")).unwrap();
    let row = |name: &str| readme.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
    let idle = row("entries of a day without records");
    assert!(idle.contains(&format!("at most {IDLE_DAY}")), "{idle}");
    let alert = row("entries of an alert");
    assert!(alert.contains("1, and 2 a receiver") && alert_entries(RECEIVERS) == 1 + 2 * RECEIVERS);
    let evicted = row("entries about what rules forget");
    assert!(evicted.contains("one an hour and rule") && EVICTIONS_EVERY.as_secs() == 3600, "{evicted}");
}

/// Label values come from closed sets: whoever writes a CRM's log can fill none of them, however many users,
/// addresses, tables and actions he invents.
#[test]
fn whoever_writes_the_log_cannot_grow_the_metrics() {
    let home = Home::new(
        "sources:\n  - name: web\n    file: { paths: [\"web.log\"] }\n    format: access_log.combined\n  \
         - name: dv\n    file: { paths: [\"dv.jsonl\"] }\n    format: dataverse.audit\n  \
         - name: sf\n    file: { paths: [\"sf.csv\"] }\n    format: salesforce.event_log\n",
    );
    let mut running = writer::start(&home, &Hands::at(MORNING));
    let mut write = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let evil = format!("evil{number}");
            let web = format!(
                "10.{}.{}.7 - {evil} [20/Nov/2026:10:00:00 +0000] \"{evil} /{evil}?login={evil} HTTP/1.1\" 4{:02} 5 \"{evil}\" \"{evil}\"",
                number / 256,
                number % 256,
                number % 100
            );
            let dv = format!(
                "{{\"auditid\":\"{evil}\",\"createdon\":\"2026-11-20T10:00:00Z\",\"action\":{},\"operation\":{},\
                 \"objecttypecode\":\"{evil}\",\"_userid_value\":\"{evil}\",\"{evil}\":\"\\\"}} {evil}\"}}",
                10_000 + number,
                number
            );
            let sf =
                format!("\"{evil}\",\"2026-11-20T10:00:00Z\",\"{evil}\",\"{evil}\",\"{evil}\",\"125000\"");
            let broken = format!("{evil} \"}} {{{evil}");
            running.records("web", None, &[web, broken.clone()]);
            running.records("dv", None, &[dv, broken.clone()]);
            let header =
                ["EVENT_TYPE", "TIMESTAMP_DERIVED", "REQUEST_ID", "USER_ID", "METHOD_NAME", "ROWS_PROCESSED"];
            running.records("sf", Some(&header), &[sf, broken]);
        }
        running.pass(Duration::from_secs(2));
        let text = running.metrics.text().unwrap();
        let series = |line: &str| line.rsplit_once(' ').map(|(series, _)| series.to_owned());
        text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect::<BTreeSet<String>>()
    };
    let few = write(0..100);
    let many = write(100..1_500);
    assert!(few.len() > 50 && many.iter().all(|series| !series.contains("evil")), "{many:?}");
    assert_eq!(few, many, "no series is new");
}
