//! What leaves an event, and that rules with a memory say the same before and behind the veil.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::inspect::behaviour::Engine;
use crate::model::Key;
use crate::model::event::{Action, Actor, Category, Change, Client, Outcome, Target};
use crate::policy::Policies;
use crate::trail::detail::{Detail, committed, write_lines};
use zeroize::Zeroizing;

const RULES: &str = r#"
title: Agent reads much
name: agent_read
logsource: { product: crm, service: audit }
detection: { selection: { client.user_agent|contains: robot, actor.name|endswith: "@acme.example" }, condition: selection }
level: informational
---
title: Bytes by session
name: bytes_by_session
status: stable
description: Sums a column by a field that is not in the entry.
level: high
correlation:
  type: value_sum
  rules: [agent_read]
  group-by: [system, auth.session]
  timespan: 1h
  condition: { gte: 100, field: extra.BYTES }
crmwarden:
  window: 1h
  requires: [client.user_agent]
  next: Look.
  examples:
    - - { time: 2026-01-05T09:00:00Z, system: web, client.user_agent: robot, actor.name: a@acme.example, auth.session: s, extra.BYTES: "100" }
  counter_examples:
    - - { time: 2026-01-05T09:00:00Z, system: web, client.user_agent: robot, actor.name: a@acme.example, auth.session: s, extra.BYTES: "99" }
"#;

fn policies() -> Policies {
    let shipped = include_str!("../../../policies/detections/failed_logins_then_success.yaml");
    let files = [
        ("detections/bytes_by_session.yaml".to_owned(), RULES.to_owned()),
        ("detections/failed_logins_then_success.yaml".to_owned(), shipped.to_owned()),
    ];
    Policies::load(&files, &[]).map_err(|problems| problems[0].to_string()).unwrap()
}

fn veil(policies: &Policies) -> Veil {
    let pseudonyms = Pseudonyms::new(Key::new(0, Zeroizing::new([7; 32])));
    Veil::new(pseudonyms, Arc::clone(&policies.detections))
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// Something personal in every field that can hold it.
fn full() -> Event {
    Event {
        system: System::Web,
        category: Some(Category::DataAccess),
        action: Some(Action::Read),
        actor: Actor {
            id: text("clear-1"),
            name: text("Clear-2@acme.example"),
            on_behalf_of: text("clear-3"),
            ..Actor::default()
        },
        client: Client {
            ip: text("clear-4"),
            city: text("clear-5"),
            lat: text("clear-6"),
            lon: text("clear-7"),
            user_agent: text("clear-8 robot"),
            app: text("warehouse"),
            ..Client::default()
        },
        auth: crate::model::event::Auth { session: text("clear-9"), ..Default::default() },
        target: Target {
            r#type: text("Contact"),
            ids: vec!["clear-10".into(), "clear-11".into()],
            name: text("clear-12"),
            owner: text("clear-13"),
        },
        grant: crate::model::event::GrantChange { principal: text("clear-14"), ..Default::default() },
        changes: vec![Change { field: "Phone".into(), ..Change::default() }],
        http: crate::model::event::Http { method: text("GET"), path: text("/clear-15") },
        query: text("clear-16"),
        message: text("clear-17"),
        extra: vec![("BYTES".into(), "40".into()), ("REFERER".into(), "clear-18".into())],
        ..Event::default()
    }
}

struct Written {
    /// The event as the writer has it.
    event: Event,
    matches: Matches,
    members: String,
    own: usize,
    clear: Clear,
    details: Vec<Detail>,
}

fn write(mut event: Event, policies: &Policies, engine: &Engine) -> Written {
    let (mut members, mut details) = (Vec::new(), Details::default());
    let matches = engine.evaluate(&event);
    let (own, clear) = veil(policies).write(&mut event, &matches, &mut members, &mut details);
    details.close();
    assert!(!details.salts.failed);
    let mut lines = Vec::new();
    write_lines(&mut lines, 7, details.of(0));
    let details = lines.split(|byte| *byte == b'\n').filter_map(Detail::parse).collect();
    Written { event, matches, members: String::from_utf8(members).unwrap(), own, clear, details }
}

fn engine(policies: &Policies) -> Engine {
    Engine::new(&policies.detections).unwrap()
}

/// The event and its matches as a restart has them.
fn read_back(members: &str, policies: &Policies) -> (Event, Option<Matches>) {
    let object = format!("{{{members}}}");
    let mut event: Event = serde_json::from_str(&object).unwrap();
    let matches = recall(object.as_bytes(), &mut event, &policies.detections);
    (event, matches)
}

#[test]
fn nothing_personal_is_written_and_all_of_it_is_committed_to() {
    let policies = policies();
    let written = write(full(), &policies, &engine(&policies));
    assert!(!written.members.to_lowercase().contains("clear-"), "{}", written.members);
    let object = format!("{{{}}}", written.members);
    let held = committed(object.as_bytes());
    assert_eq!(held.len(), written.details.len());
    for detail in &written.details {
        assert_eq!(held[&detail.path], detail.commitment(), "{}", detail.path);
    }
    let value = |path: &str| &written.details.iter().find(|detail| detail.path == path).unwrap().value;
    assert_eq!(value("target.ids"), r#"["clear-10","clear-11"]"#);
    assert_eq!(value("actor.name"), "Clear-2@acme.example");
    assert_eq!(value("extra.REFERER"), "clear-18");
    assert_eq!(written.details.len(), 18);
    let entry: serde_json::Value = serde_json::from_str(&object).unwrap();
    for (place, kind) in [("/actor/id", "act:"), ("/client/ip", "ip:"), ("/target/ids/1", "obj:")] {
        assert!(entry.pointer(place).unwrap().as_str().unwrap().starts_with(kind), "{place}");
    }
    assert!(entry["actor"].get("name").is_none() && entry.get("extra").is_none());
    assert_eq!(entry["client"]["app"], "warehouse");
    assert_eq!(entry["matches"]["detection.bytes_by_session"], serde_json::json!([0]));
    // Salts are never used twice.
    let salts: std::collections::BTreeSet<_> = written.details.iter().map(|detail| detail.salt).collect();
    assert_eq!(salts.len(), written.details.len());
    assert!(written.clear.get("actor.name").is_some() && written.clear.get("query").is_none());
}

#[test]
fn what_is_read_back_is_what_the_writer_had() {
    let policies = policies();
    let engine = engine(&policies);
    let mut written = write(full(), &policies, &engine);
    let (event, matches) = read_back(&written.members, &policies);
    assert_eq!(event, written.event);
    assert_eq!(matches, Some(written.matches));
    // The same after a late event was written again with its defect.
    let defect = crate::model::event::Defect::new(crate::model::event::DefectCode::Late);
    written.event.defect(defect);
    let mut again = Vec::new();
    write_again(&written.event, &written.members.as_bytes()[written.own..], &mut again);
    let again = String::from_utf8(again).unwrap();
    assert!(!again.to_lowercase().contains("clear-"));
    assert_eq!(read_back(&again, &policies).0, written.event);
    // Nothing is taken from an event about nobody, and its rules are asked again.
    let nobody = Event { category: Some(Category::AuditLog), ..Event::default() };
    let written = write(nobody.clone(), &policies, &engine);
    assert_eq!((written.details.len(), written.members.len()), (0, written.own));
    assert_eq!(read_back(&written.members, &policies), (nobody, None));
}

#[test]
fn a_text_that_looks_like_our_member_is_none() {
    let policies = policies();
    let event = Event { status: text(",\"committed\":{"), ..Event::default() };
    let written = write(event, &policies, &engine(&policies));
    assert_eq!(read_back(&written.members, &policies).1, None);
}

/// Findings of the engine in clear, behind the veil, and read back from the entries.
fn findings(events: Vec<Event>) -> [Vec<String>; 3] {
    let policies = policies();
    let mut engines = [engine(&policies), engine(&policies), engine(&policies)];
    let mut found = [const { Vec::new() }; 3];
    for event in events {
        let matches = engines[0].evaluate(&event);
        let written = write(event.clone(), &policies, &engines[1]);
        let (recalled, named) = read_back(&written.members, &policies);
        let named = named.unwrap_or_else(|| engines[2].evaluate(&recalled));
        for (place, (event, matches)) in
            [(event, matches), (written.event, written.matches), (recalled, named)].into_iter().enumerate()
        {
            let mut new = Vec::new();
            engines[place].correlate(&event, &matches, &mut new);
            found[place].extend(new.into_iter().map(|finding| finding.rule));
        }
    }
    assert_eq!(engines[1].export_state(), engines[2].export_state());
    found
}

#[test]
fn sums_by_a_field_that_is_gone_are_the_same() {
    let by_session = |session: &str| Event {
        auth: crate::model::event::Auth { session: text(session), ..Default::default() },
        ..full()
    };
    let found = findings(vec![by_session("a"), by_session("b"), by_session("a"), by_session("a")]);
    assert_eq!(found[0], ["detection.bytes_by_session"]);
    assert_eq!((&found[1], &found[2]), (&found[0], &found[0]));
}

#[test]
fn failures_by_name_and_the_success_with_an_id_are_one_persons() {
    let login = |outcome, id: Option<&str>, name: &str, second: i64| Event {
        time: Some(crate::model::Time::from_seconds(1_700_000_000 + second)),
        system: System::Salesforce,
        category: Some(Category::Authentication),
        action: Some(Action::Login),
        outcome: Some(outcome),
        actor: Actor { id: id.map(str::to_owned), name: text(name), ..Actor::default() },
        ..Event::default()
    };
    let mut events: Vec<Event> =
        (0..10).map(|second| login(Outcome::Failure, None, "Dana@acme.example", second)).collect();
    events.push(login(Outcome::Success, Some("0055e000001XXXXAA2"), "kim@acme.example", 20));
    events.push(login(Outcome::Success, Some("0055e000001XXXXAA2"), "dana@ACME.example", 21));
    let found = findings(events);
    assert_eq!(found[0], ["detection.failed_logins_then_success"]);
    assert_eq!((&found[1], &found[2]), (&found[0], &found[0]));
}

#[test]
fn empty_values_are_nobodys() {
    let policies = policies();
    let empty = || Actor { name: text(""), ..Actor::default() };
    let written = write(Event { actor: empty(), ..Event::default() }, &policies, &engine(&policies));
    assert_eq!((written.details.len(), &written.event.actor), (0, &empty()));
}

#[test]
fn long_values_and_names_keep_lines_short() {
    let policies = policies();
    let (name, value) = ("n".repeat(NAME_MAX + 1), "v".repeat(100_000));
    let event = Event { extra: vec![(name.clone().into(), value.clone())], ..Event::default() };
    let written = write(event, &policies, &engine(&policies));
    assert!(!written.members.contains(&name));
    let whole: String = written.details.iter().map(|detail| detail.value.as_str()).collect();
    let (known, kept): (String, String) = serde_json::from_str(&whole).unwrap();
    assert_eq!((known, kept), (name, value));
    assert_eq!(committed(format!("{{{}}}", written.members).as_bytes()).len(), 4);
}

#[test]
fn details_belong_to_their_item_and_a_failed_one_leaves_none() {
    let mut details = Details::default();
    let mut scratch = Vec::new();
    details.add("a", "1", &mut Object::members(&mut scratch, no_mask));
    details.close();
    details.close();
    details.add("b", "2", &mut Object::members(&mut scratch, no_mask));
    details.reopen();
    details.close();
    details.add("c", "3", &mut Object::members(&mut scratch, no_mask));
    details.close();
    let paths: Vec<bool> = (0..5).map(|number| details.of(number).is_empty()).collect();
    assert_eq!(paths, [false, true, true, false, true]);
}
