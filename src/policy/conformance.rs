//! Conformance of the correlations, from Sigma text to findings: what fires, at which edge, late, after a restart, under eviction.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::detection;
use crate::inspect::behaviour::{DetectionRule, Engine, Limits};
use crate::model::event::{Action, Category, Outcome, System};
use crate::model::finding::{FindingKind, Severity};
use crate::model::{Event, Finding, Time};
use proptest::prelude::*;

/// Two event rules and one correlation over them, in Sigma.
fn rule(correlation: &str) -> DetectionRule {
    let text = format!(
        "title: A\nname: a\ndetection: {{ s: {{ action: read }}, condition: s }}\n---\n\
         title: B\nname: b\ndetection: {{ s: {{ action: export }}, condition: s }}\n---\n\
         title: Reported\nname: c\nlevel: high\ncorrelation:\n{correlation}\n\
         crmwarden: {{ id: c, next: Look., window: 10m }}\n"
    );
    let text = match correlation.contains("rules: [a]") {
        true => text.replacen(
            "title: B\nname: b\ndetection: { s: { action: export }, condition: s }\n---\n",
            "",
            1,
        ),
        false => text,
    };
    detection::read("detections/c.yaml", &text).unwrap().rule
}

/// Two event rules and one habit.
fn habit(kind: &str, settings: &str) -> DetectionRule {
    let text = format!(
        "title: A\nname: a\ndetection: {{ s: {{ action: [read, export] }}, condition: s }}\n---\n\
         title: Reported\nname: c\nlevel: high\nhabit: {{ type: {kind}, rules: [a], group-by: [system, actor], {settings} }}\n\
         crmwarden: {{ id: {kind}, next: Look., window: 1m }}\n"
    );
    detection::read("detections/c.yaml", &text).unwrap().rule
}

fn count(threshold: u32) -> DetectionRule {
    rule(&format!(
        "  type: event_count\n  rules: [a]\n  group-by: [actor.id]\n  timespan: 5m\n  condition: {{ gte: {threshold} }}"
    ))
}

fn event(action: Action, seconds: i64, actor: &str) -> Event {
    let time = Time::from_seconds(1_767_600_000 + seconds);
    let mut event = Event { time: Some(time), observed: time.plus_seconds(7), ..Event::default() };
    event.action = Some(action);
    event.actor.id = Some(actor.to_owned());
    event
}

fn feed(engine: &mut Engine, event: &Event) -> Vec<Finding> {
    let matches = engine.evaluate(event);
    let mut findings = Vec::new();
    engine.correlate(event, &matches, &mut findings);
    findings
}

/// Which of the events are reported.
fn fired(rule: DetectionRule, events: &[Event]) -> Vec<usize> {
    let mut engine = Engine::new(&[rule]).unwrap();
    let reported = |(place, event)| (!feed(&mut engine, event).is_empty()).then_some(place);
    events.iter().enumerate().filter_map(reported).collect()
}

fn reads(seconds: &[i64]) -> Vec<Event> {
    seconds.iter().map(|second| event(Action::Read, *second, "x")).collect()
}

#[test]
fn event_count_includes_both_edges_of_the_window() {
    assert_eq!(fired(count(3), &reads(&[0, 150, 300])), [2]);
    assert_eq!(fired(count(3), &reads(&[0, 150, 301])), Vec::<usize>::new());
}

#[test]
fn groups_are_apart_and_unknown_is_no_group() {
    let mut events: Vec<Event> =
        ["x", "y", "x", "y"].iter().map(|actor| event(Action::Read, 0, actor)).collect();
    assert!(fired(count(3), &events).is_empty());
    for event in &mut events {
        event.actor.id = None;
    }
    assert!(fired(count(2), &events).is_empty());
}

#[test]
fn arrival_order_does_not_matter_within_the_lateness() {
    assert_eq!(fired(count(3), &reads(&[300, 0, 150])), [2]);
    // Another group's time has moved on meanwhile.
    let mut events = reads(&[0, 150]);
    events.push(event(Action::Read, 40_000, "y"));
    events.extend(reads(&[200]));
    assert_eq!(fired(count(3), &events), [3]);
    // Hits of different windows never add up, in whatever order they come.
    assert!(fired(count(3), &reads(&[1000, 0, 500])).is_empty());
}

#[test]
fn hits_beyond_the_lateness_are_counted_and_said() {
    let mut engine = Engine::new(&[count(2)]).unwrap();
    feed(&mut engine, &event(Action::Read, 10_000, "x"));
    let late = event(Action::Read, 0, "x");
    assert!(feed(&mut engine, &late).is_empty());
    assert_eq!(engine.late(), 1);
    feed(&mut engine, &event(Action::Read, 10_000 + 27 * 3600, "y"));
    assert!(engine.is_late(&late, &engine.evaluate(&late)));
    let fresh = event(Action::Read, 10_000 + 27 * 3600, "x");
    assert!(!engine.is_late(&fresh, &engine.evaluate(&fresh)));
}

#[test]
fn a_condition_that_stays_true_is_reported_once_a_window() {
    let seconds: Vec<i64> = (0..120).map(|minute| minute * 15).collect();
    // Thirty minutes of reads every fifteen seconds; the rule's window is ten minutes.
    assert_eq!(fired(count(3), &reads(&seconds)), [2, 42, 82]);
}

#[test]
fn temporal_without_condition_needs_all_rules() {
    let temporal = || rule("  type: temporal\n  rules: [a, b]\n  group-by: [actor.id]\n  timespan: 5m");
    let read = event(Action::Read, 0, "x");
    assert!(fired(temporal(), &[read.clone(), read.clone()]).is_empty(), "one rule alone must not fire");
    assert_eq!(fired(temporal(), &[event(Action::Export, 0, "x"), read.clone()]), [1]);
    assert!(fired(temporal(), &[read.clone(), event(Action::Export, 301, "x")]).is_empty());
    assert!(fired(temporal(), &[read, event(Action::Export, 10, "y")]).is_empty());
}

#[test]
fn temporal_takes_counts_and_expressions() {
    let any = rule("  type: temporal\n  rules: [a, b]\n  timespan: 5m\n  condition: { gte: 1 }");
    assert_eq!(fired(any, &reads(&[0])), [0]);
    let only = rule("  type: temporal\n  rules: [a, b]\n  timespan: 5m\n  condition: a and not b");
    assert!(fired(only, &[event(Action::Export, 0, "x"), event(Action::Read, 5, "x")]).is_empty());
}

#[test]
fn temporal_ordered_looks_at_event_time() {
    let ordered =
        || rule("  type: temporal_ordered\n  rules: [a, b]\n  group-by: [actor.id]\n  timespan: 5m");
    let (read, export) = (event(Action::Read, 10, "x"), event(Action::Export, 20, "x"));
    assert_eq!(fired(ordered(), &[read.clone(), export.clone()]), [1]);
    assert_eq!(fired(ordered(), &[export, read.clone()]), [1], "the file was not sorted");
    assert!(fired(ordered(), &[event(Action::Export, 0, "x"), read.clone()]).is_empty());
    assert!(fired(ordered(), &[read.clone(), event(Action::Export, 311, "x")]).is_empty());
    // Seconds are all that many feeds give: the same second is in order.
    assert_eq!(fired(ordered(), &[event(Action::Export, 10, "x"), read]), [1]);
}

#[test]
fn values_are_summed_and_told_apart() {
    let with_rows = |rows: &[u64]| -> Vec<Event> {
        let rows = rows.iter().enumerate();
        rows.map(|(second, rows)| {
            let mut event = event(Action::Read, second as i64, "x");
            event.volume.rows = (*rows > 0).then_some(*rows);
            event.client.ip = Some(format!("192.0.2.{rows}"));
            event
        })
        .collect()
    };
    let value = |kind: &str, condition: &str| {
        rule(&format!(
            "  type: {kind}\n  rules: [a]\n  group-by: [actor.id]\n  timespan: 5m\n  condition: {{ {condition} }}"
        ))
    };
    assert_eq!(fired(value("value_sum", "field: volume.rows, gte: 100"), &with_rows(&[60, 0, 39, 1])), [3]);
    assert_eq!(fired(value("value_avg", "field: volume.rows, gt: 10"), &with_rows(&[10, 0, 12])), [2]);
    assert_eq!(fired(value("value_median", "field: volume.rows, gt: 10"), &with_rows(&[1, 20, 30])), [1]);
    let percentile = value("value_percentile", "field: volume.rows, percentile: 100, gte: 30");
    assert_eq!(fired(percentile, &with_rows(&[1, 20, 30])), [2]);
    assert_eq!(fired(value("value_count", "field: client.ip, gte: 3"), &with_rows(&[1, 1, 2, 2, 3])), [4]);
}

#[test]
fn long_windows_count_in_bounded_memory() {
    let day = rule(
        "  type: event_count\n  rules: [a]\n  group-by: [actor.id]\n  timespan: 24h\n  condition: { gte: 20000 }",
    );
    let mut engine = Engine::new(&[day]).unwrap();
    let reported: Vec<i64> =
        (0..20_000i64).filter(|n| !feed(&mut engine, &event(Action::Read, n * 4, "x")).is_empty()).collect();
    assert_eq!(reported, [19_999]);
    assert!(engine.bytes() < 100_000);
}

#[test]
fn eviction_takes_the_stalest_and_is_counted() {
    let mut engine = Engine::with_limits(&[count(2)], Limits { groups: 10, bytes: 1 << 20 }).unwrap();
    for number in 0..30 {
        feed(&mut engine, &event(Action::Read, number, &format!("actor-{number}")));
    }
    assert!(engine.groups() <= 10);
    assert_eq!(engine.evicted()["detection.c"], 30 - engine.groups() as u64);
    assert!(!feed(&mut engine, &event(Action::Read, 31, "actor-29")).is_empty(), "the newest is still known");
    assert!(feed(&mut engine, &event(Action::Read, 31, "actor-0")).is_empty(), "the stalest is not");
    let mut small = Engine::with_limits(&[count(2)], Limits { groups: 1000, bytes: 2000 }).unwrap();
    for number in 0..100 {
        feed(&mut small, &event(Action::Read, 0, &format!("actor-{number}")));
    }
    assert!(small.bytes() <= 2000);
    assert!(small.evicted()["detection.c"] > 0);
}

#[test]
fn quiet_groups_are_swept_without_being_called_evicted() {
    let mut engine = Engine::new(&[count(2)]).unwrap();
    for number in 0..50 {
        feed(&mut engine, &event(Action::Read, 0, &format!("actor-{number}")));
    }
    feed(&mut engine, &event(Action::Read, 3 * 86_400, "x"));
    assert_eq!(engine.groups(), 1);
    assert!(engine.evicted().is_empty());
}

#[test]
fn a_restart_forgets_nothing() {
    let mut before = Engine::new(&[count(3)]).unwrap();
    feed(&mut before, &event(Action::Read, 0, "x"));
    feed(&mut before, &event(Action::Read, 1, "x"));
    let text = before.export_state();
    let mut after = Engine::new(&[count(3)]).unwrap();
    after.import_state(&text).unwrap();
    assert_eq!(after.export_state(), text);
    assert_eq!(feed(&mut after, &event(Action::Read, 2, "x")).len(), 1);
    assert!(feed(&mut after, &event(Action::Read, 3, "x")).is_empty(), "told already");
    let mut again = Engine::new(&[count(3)]).unwrap();
    again.import_state(&after.export_state()).unwrap();
    assert!(feed(&mut again, &event(Action::Read, 4, "x")).is_empty(), "also after another restart");
    for broken in ["{}", "[]", r#"{"version":9,"late":0,"evicted":{},"rules":{}}"#] {
        let state = again.export_state();
        assert!(again.import_state(broken.as_bytes()).is_err());
        assert_eq!(again.export_state(), state);
    }
}

#[test]
fn findings_say_who_what_and_how_much() {
    let mut engine = Engine::new(&[count(2)]).unwrap();
    let mut last = event(Action::Read, 9, "0815");
    last.actor.name = Some("Dana".to_owned());
    last.source = "sf-prod".into();
    feed(&mut engine, &event(Action::Read, 0, "0815"));
    let finding = feed(&mut engine, &last).remove(0);
    assert_eq!((finding.rule.as_str(), finding.r#type), ("detection.c", FindingKind::Behaviour));
    assert_eq!((finding.severity, finding.title.as_str()), (Severity::High, "Reported: Dana"));
    assert_eq!(finding.detail.as_deref(), Some("2 events (at least 2) within 5 min; actor.id 0815"));
    assert_eq!((finding.key.as_str(), finding.window_seconds), ("detection.c|0815", 600));
    assert_eq!((finding.delay_seconds, finding.source.as_deref()), (Some(7), Some("sf-prod")));
    assert_eq!(finding.policy.len(), 16);
    assert_eq!(finding.next, "Look.");
}

#[test]
fn lists_numbers_and_truths_match_as_in_sigma() {
    let fires = |selection: &str, event: &Event| {
        let text = format!(
            "title: T\nlevel: low\ndetection: {{ s: {{ {selection} }}, condition: s }}\ncrmwarden: {{ next: Look. }}\n"
        );
        let rule = detection::read("detections/t.yaml", &text).unwrap().rule;
        !feed(&mut Engine::new(&[rule]).unwrap(), event).is_empty()
    };
    let mut event = event(Action::Update, 0, "x");
    event.actor.roles = vec!["Sales".into(), "Admin".into()];
    event.auth.mfa = Some(false);
    event.volume.rows = Some(100);
    event.category = Some(Category::DataChange);
    event.extra.push(("URI".into(), "/setup".into()));
    for selection in [
        "actor.roles: admin",
        "actor.roles|contains: dmi",
        "auth.mfa: false",
        "volume.rows|gte: 100",
        "volume.rows: 100",
        "extra.URI|startswith: /set",
        "client.ip: null",
        "client.ip|exists: false",
        "category: [export, data_change]",
    ] {
        assert!(fires(selection, &event), "{selection}");
    }
    for selection in
        ["actor.roles: guest", "auth.mfa: true", "volume.rows|gt: 100", "category: export", "action: read"]
    {
        assert!(!fires(selection, &event), "{selection}");
    }
}

#[test]
fn matching_is_for_any_thread() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let engine = Engine::new(&[count(2)]).unwrap();
    shared(&engine);
    let stateless = engine.stateless();
    let worker = std::thread::spawn(move || stateless.evaluate(&event(Action::Read, 0, "x")));
    assert_eq!(worker.join().unwrap(), engine.evaluate(&event(Action::Read, 0, "x")));
}

fn engine_of_all() -> Engine {
    let kinds = [
        ("event_count", "{ gte: 3 }"),
        ("value_count", "{ field: volume.rows, gte: 3 }"),
        ("value_sum", "{ field: volume.rows, gte: 9 }"),
        ("value_avg", "{ field: volume.rows, gt: 3 }"),
        ("temporal", "{ gte: 2 }"),
        ("temporal_ordered", "{ gte: 2 }"),
    ];
    let correlated = kinds.iter().map(|(kind, condition)| {
        let mut rule = rule(&format!(
            "  type: {kind}\n  rules: [a, b]\n  group-by: [system, actor]\n  timespan: 2m\n  condition: {condition}"
        ));
        rule.id = format!("detection.{kind}");
        rule
    });
    let habits = [
        ("first_seen", "field: [volume.rows], memory: 20m, learn: 2m"),
        ("baseline", "field: [volume.rows], memory: 20m, learn: 2m, timespan: 1m, times: 2, at_least: 4"),
        ("travel", "timespan: 1h, times: 900, at_least: 300"),
        ("dormant", "timespan: 4m"),
        ("unusual_hour", "memory: 90d, learn: 1d"),
    ];
    let habits = habits.iter().map(|(kind, settings)| habit(kind, settings));
    let rules: Vec<DetectionRule> = correlated.chain(habits).collect();
    Engine::with_limits(&rules, Limits { groups: 4, bytes: 1 << 20 }).unwrap()
}

fn arbitrary_event() -> impl Strategy<Value = Event> {
    (any::<bool>(), 0..2000i64, 0..8u8, 0..6u64).prop_map(|(read, seconds, actor, rows)| {
        let action = if read { Action::Read } else { Action::Export };
        let mut event = event(action, seconds, &format!("actor-{actor}"));
        event.volume.rows = Some(rows);
        (event.client.lat, event.client.lon) = (Some(format!("{}.5", rows * 10)), Some("9.25".into()));
        event.system = System::Sap;
        event.outcome = Some(Outcome::Success);
        event
    })
}

const DAY: i64 = 86_400;

#[test]
fn a_value_is_new_once_and_only_to_a_group_that_is_known() {
    let rule = || habit("first_seen", "field: [client.country], memory: 30d, learn: 7d");
    let at = |day: i64, country: &str| {
        let mut event = event(Action::Read, day * DAY, "x");
        event.client.country = Some(country.to_owned());
        event
    };
    // The first days are learned; a new value is told, and told again when it was forgotten.
    let events =
        [at(0, "DE"), at(1, "FR"), at(8, "DE"), at(9, "US"), at(10, "US"), at(41, "US"), at(41, "FR")];
    assert_eq!(fired(rule(), &events), [3, 5]);
    // An unknown country is not a new one.
    let mut silent = at(9, "US");
    silent.client.country = None;
    assert!(fired(rule(), &[at(0, "DE"), at(8, "DE"), silent]).is_empty());
}

#[test]
fn a_baseline_compares_with_the_highest_single_span() {
    let settings = "field: [volume.rows], memory: 30d, learn: 7d, timespan: 1h, times: 3, at_least: 100";
    let at = |day: i64, rows: u64| {
        let mut event = event(Action::Export, day * DAY, "x");
        event.volume.rows = Some(rows);
        event
    };
    let history: Vec<Event> = (0..14).map(|day| at(day, 50)).collect();
    let fires = |last: Vec<Event>| {
        let events: Vec<Event> = history.iter().cloned().chain(last).collect();
        !fired(habit("baseline", settings), &events).is_empty()
    };
    assert!(!fires(vec![at(14, 150)]), "three times, not more");
    assert!(fires(vec![at(14, 151)]), "more than three times the highest, though the sum of all days is 700");
    assert!(fires(vec![at(14, 100), at(14, 51)]), "what one hour sums up to");
    assert!(!fires(vec![at(14, 100), at(15, 51)]), "and not two days");
    // Somebody new is told only by the limit for those.
    assert!(fired(habit("baseline", settings), &[at(0, 1), at(1, 5_000)]).is_empty());
    let limited = format!("{settings}, without_history: 5000");
    assert_eq!(fired(habit("baseline", &limited), &[at(0, 1), at(1, 4_999), at(2, 5_000)]), [2]);
}

#[test]
fn travel_needs_distance_and_speed() {
    let rule = || habit("travel", "timespan: 12h, times: 900, at_least: 300");
    let at = |minutes: i64, lat: &str, lon: &str| {
        let mut event = event(Action::Read, minutes * 60, "x");
        (event.client.lat, event.client.lon) = (Some(lat.to_owned()), Some(lon.to_owned()));
        event
    };
    let (berlin, hamburg, sydney) = (("52.5", "13.4"), ("53.55", "10.0"), ("-33.9", "151.2"));
    let fires = |one: (&str, &str), other: (&str, &str), minutes: i64| {
        let there = [at(0, one.0, one.1), at(minutes, other.0, other.1)];
        let back = [at(minutes, one.0, one.1), at(0, other.0, other.1)];
        let (there, back) = (fired(rule(), &there), fired(rule(), &back));
        assert_eq!(there.len(), back.len(), "the order they arrive in does not matter");
        !there.is_empty()
    };
    assert!(fires(berlin, sydney, 60));
    assert!(!fires(berlin, hamburg, 0), "255 km: two providers of one city are further apart on paper");
    assert!(!fires(berlin, sydney, 13 * 60), "too long ago to compare");
    assert!(fires(("52.5", "0"), ("52.5", "15"), 60), "1,015 km within the hour");
    assert!(!fires(("52.5", "0"), ("52.5", "15"), 70), "1,015 km in 70 minutes is a plane");
}

#[test]
fn silence_and_hours_are_compared_with_the_own_past() {
    assert_eq!(
        fired(
            habit("dormant", "timespan: 90d"),
            &[
                event(Action::Read, 0, "x"),
                event(Action::Read, 90 * DAY - 1, "x"),
                event(Action::Read, 180 * DAY - 1, "x")
            ]
        ),
        [2]
    );
    // 1,767,600,000 is 2026-01-05, a Monday, at 08:00. Ten working days at eight, then others.
    let days = [0, 1, 2, 3, 4, 7, 8, 9, 10, 11];
    let fires = |habit_days: &[i64], hours: i64| {
        let mut events: Vec<Event> =
            habit_days.iter().map(|day| event(Action::Read, day * DAY, "x")).collect();
        events.push(event(Action::Read, 14 * DAY + hours * 3600, "x"));
        !fired(habit("unusual_hour", "memory: 60d, learn: 7d"), &events).is_empty()
    };
    assert!(fires(&days, 3) && !fires(&days, 2) && !fires(&days, -2 + 24) && fires(&days, 19 - 24 + 24));
    assert!(!fires(&days[..9], 3), "nine days are no habit");
    assert!(fires(&days, -24), "at eight on a Sunday");
}

proptest! {
    /// A restart at any place, with evictions on the way, changes no finding and no byte.
    #[test]
    fn replay_is_exact(events in prop::collection::vec(arbitrary_event(), 1..80), cut in 0..80usize) {
        let mut whole = engine_of_all();
        let mut parts = engine_of_all();
        for (place, event) in events.iter().enumerate() {
            if place == cut {
                let state = parts.export_state();
                prop_assert_eq!(&state, &whole.export_state());
                parts = engine_of_all();
                parts.import_state(&state).map_err(TestCaseError::fail)?;
            }
            prop_assert_eq!(feed(&mut whole, event), feed(&mut parts, event));
        }
        prop_assert_eq!(whole.export_state(), parts.export_state());
    }

    /// Counting events in order agrees with counting by hand.
    #[test]
    fn count_agrees_with_a_plain_count(gaps in prop::collection::vec(0..200i64, 1..60)) {
        let mut engine = Engine::new(&[DetectionRule { window_seconds: 0, ..count(4) }]).unwrap();
        let mut times: Vec<i64> = Vec::new();
        for gap in gaps {
            let now = times.last().unwrap_or(&0) + gap;
            times.push(now);
            let expected = times.iter().filter(|time| **time >= now - 300).count() >= 4;
            prop_assert_eq!(!feed(&mut engine, &event(Action::Read, now, "x")).is_empty(), expected);
        }
    }
}

/// Not a test of speed, a way to see it: `cargo test --release --lib policy::conformance::pace -- --ignored --nocapture`.
#[test]
#[ignore = "prints a measurement"]
fn pace() {
    let shipped: Vec<DetectionRule> = [
        include_str!("../../policies/detections/audit_switched_off.yaml"),
        include_str!("../../policies/detections/bulk_rows.yaml"),
        include_str!("../../policies/detections/failed_logins_then_success.yaml"),
        include_str!("../../policies/detections/sensitive_role_granted.yaml"),
    ]
    .iter()
    .enumerate()
    .map(|(number, text)| detection::read(&format!("detections/r{number}.yaml"), text).unwrap().rule)
    .collect();
    for copies in [1, 8] {
        let rules: Vec<DetectionRule> = (0..copies).flat_map(|_| shipped.clone()).collect();
        let mut engine = Engine::new(&rules).unwrap();
        for action in [Action::Update, Action::Read, Action::Login, Action::Grant] {
            let mut event = event(action, 0, "0055e000001XXXXAA2");
            event.actor.name = Some("Dana@acme.example".to_owned());
            event.category = Some(Category::Authentication);
            event.outcome = Some(Outcome::Success);
            event.volume.rows = Some(50);
            event.grant.permission = Some("Standard User".to_owned());
            let start = std::time::Instant::now();
            let mut findings = Vec::new();
            for number in 0..200_000i64 {
                event.time = Some(Time::from_seconds(1_767_600_000 + number / 50));
                let matches = engine.evaluate(&event);
                engine.correlate(&event, &matches, &mut findings);
            }
            let nanos = start.elapsed().as_nanos() / 200_000;
            println!("{} rules, {action}: {nanos} ns an event, {} findings", rules.len(), findings.len());
        }
    }
}
