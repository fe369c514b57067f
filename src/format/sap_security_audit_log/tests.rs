//! Each message, each quirk of the record, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::Outcome::{Failure, Success};
use crate::model::event::{Action as A, Category as C, Outcome, Value};
use proptest::prelude::*;
use std::borrow::Cow;

fn context(zone: &str) -> FormatContext {
    FormatContext { zone: Some(jiff::tz::TimeZone::get(zone).expect("zone")) }
}

fn parse_in(text: &str, context: &FormatContext) -> Event {
    match SapSecurityAuditLog.parse(&Record { text, header: None }, context) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("an audit feed has no grants"),
    }
}

fn parse(text: &str) -> Event {
    parse_in(text, &context("Europe/Berlin"))
}

fn record(id: &str, time: &str, user: &str, variables: &str, terminal: &str) -> String {
    format!(
        "2{id}{time}0004711{:5}D1{:8}{user:12}{:20}{:40}1001{variables:64}{terminal:20}",
        "00012",
        terminal.chars().take(8).collect::<String>(),
        "SE16",
        "SAPLSETB"
    )
}

fn message(id: &str, variables: &str) -> Event {
    parse(&record(id, "20261121080000", "KWEBER", variables, "203.0.113.7"))
}

fn extra<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    match event.field(&format!("extra.{name}")) {
        Some(Value::Text(Cow::Borrowed(text))) => Some(text),
        _ => None,
    }
}

fn defects(event: &Event) -> Vec<String> {
    event.defects.iter().map(|defect| defect.text().into_owned()).collect()
}

#[test]
fn every_field_of_a_record() {
    let event = message("AU1", "A&0&P");
    assert_eq!(event.time.expect("time").to_string(), "2026-11-21T07:00:00.000000Z");
    assert_eq!(event.clock, Clock::ZoneAssumed);
    assert_eq!(event.actor.id.as_deref(), Some("KWEBER"));
    assert_eq!(event.actor.name.as_deref(), Some("KWEBER"));
    assert_eq!(event.tenant.as_deref(), Some("100"));
    assert_eq!(event.client.ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(event.auth.method.as_deref(), Some("password"));
    assert_eq!(event.message.as_deref(), Some("Logon successful (type=A, method=P)"));
    assert_eq!(event.feed, "sap.security_audit_log/AU1");
    let kept: Vec<(&str, &str)> =
        event.extra.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
    assert_eq!(
        kept,
        [
            ("transaction", "SE16"),
            ("program", "SAPLSETB"),
            ("pid", "0004711"),
            ("process", "00012"),
            ("process_type", "D"),
            ("pid_hex", "1"),
            ("session", "1"),
            ("variable1", "A"),
            ("variable2", "0"),
            ("variable3", "P"),
        ]
    );
    assert_eq!(defects(&event), [""; 0]);
}

/// A message: id, variables, and what they become.
type Expected = (&'static str, &'static str, Category, Option<A>, Outcome, &'static str);

const MESSAGES: &[Expected] = &[
    ("AU2", "A&1&P", C::Authentication, Some(A::Login), Failure, "Logon failed (reason=1, type=A, method=P)"),
    ("AU3", "SE16", C::Operation, None, Success, "Transaction SE16 started"),
    ("AU4", "SU01&2", C::Operation, None, Failure, "Start of transaction SU01 failed (reason=2)"),
    ("AU5", "R&0&P", C::Authentication, Some(A::Login), Success, "RFC logon successful (type=R, method=P)"),
    (
        "AU6",
        "R&1&P",
        C::Authentication,
        Some(A::Login),
        Failure,
        "RFC logon failed (reason=1, type=R, method=P)",
    ),
    ("AU7", "TEMP", C::Account, Some(A::Create), Success, "User TEMP created"),
    ("AU8", "TEMP", C::Account, Some(A::Delete), Success, "User TEMP deleted"),
    ("AU9", "TEMP", C::Account, Some(A::Lock), Success, "User TEMP locked"),
    ("AUA", "TEMP", C::Account, Some(A::Unlock), Success, "User TEMP unlocked"),
    ("AUB", "TEMP", C::Permission, Some(A::Update), Success, "Authorisations of user TEMP changed"),
    ("AUC", "", C::Session, Some(A::Logout), Success, "User logged off"),
    ("AUD", "TEMP", C::Account, Some(A::Update), Success, "Master record of user TEMP changed"),
    ("AUE", "", C::AuditLog, Some(A::Update), Success, "Audit configuration changed"),
    ("AUF", "1&2&9&*", C::AuditLog, Some(A::Update), Success, "Audit slot 1: class 2, severity 9, user *"),
    ("AUI", "1", C::AuditLog, Some(A::Disable), Success, "Audit slot 1 inactive"),
    ("AUJ", "0", C::AuditLog, Some(A::Disable), Success, "Audit: active status set to 0"),
    ("AUJ", "1", C::AuditLog, Some(A::Enable), Success, "Audit: active status set to 1"),
    (
        "AUM",
        "100&TEMP",
        C::Account,
        Some(A::Lock),
        Success,
        "User TEMP in client 100 locked after wrong passwords",
    ),
    (
        "AUN",
        "100&TEMP",
        C::Account,
        Some(A::Unlock),
        Success,
        "User TEMP in client 100 unlocked after wrong passwords",
    ),
    ("AUP", "SE16", C::Configuration, Some(A::Lock), Success, "Transaction SE16 locked"),
    ("AUW", "ZLIST", C::DataAccess, Some(A::Report), Success, "Report ZLIST started"),
    ("AUX", "ZLIST&3", C::DataAccess, Some(A::Report), Failure, "Start of report ZLIST failed (reason=3)"),
    (
        "BU1",
        "100&TEMP",
        C::Authentication,
        Some(A::Login),
        Failure,
        "Password check of user TEMP in client 100 failed",
    ),
    (
        "CUZ",
        "USR02&03",
        C::DataAccess,
        Some(A::Read),
        Success,
        "Table USR02 accessed through RFC, activity 03",
    ),
    (
        "CUZ",
        "USR02&02",
        C::DataChange,
        Some(A::Update),
        Success,
        "Table USR02 accessed through RFC, activity 02",
    ),
    ("CUZ", "USR02", C::DataAccess, None, Success, "Table USR02 accessed through RFC, activity "),
    (
        "DU9",
        "USR02&03&ok",
        C::DataAccess,
        Some(A::Read),
        Success,
        "Table USR02 accessed in dialog, activity 03 (check ok)",
    ),
];

#[test]
fn messages_become_categories_actions_and_outcomes() {
    for &(id, variables, category, action, outcome, text) in MESSAGES {
        let event = message(id, variables);
        assert_eq!((event.category, event.action), (Some(category), action), "{id}");
        assert_eq!((event.outcome, event.message.as_deref()), (Some(outcome), Some(text)), "{id}");
        assert_eq!(event.status.as_deref(), Some(id));
        assert_eq!(defects(&event), [""; 0], "{id}");
    }
}

#[test]
fn targets() {
    let of = |id: &str, variables: &str| {
        let event = message(id, variables);
        (event.target.r#type.unwrap_or_default(), event.target.name.unwrap_or_default())
    };
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(of("AU3", ""), pair("transaction", "SE16"));
    assert_eq!(of("AUK", "CRM&&CRM_ORDER_READ"), pair("function_module", "CRM_ORDER_READ"));
    assert_eq!(of("DU9", "BUT000&03&x"), pair("BUT000", "BUT000"));
    assert_eq!(of("AUM", "100&TEMP"), pair("user", "TEMP"));
    assert_eq!(message("AUB", "TEMP").grant.principal.as_deref(), Some("TEMP"));
    assert_eq!(message("AU7", "TEMP").target.ids, ["TEMP"]);
}

#[test]
fn downloads_count_bytes_whatever_the_separator() {
    for (count, bytes) in
        [("1.254.118", 1_254_118), ("1,254,118", 1_254_118), ("1 254 118", 1_254_118), ("873201", 873_201)]
    {
        let event = message("AUY", &format!("{count}&20&C:\\a & b.txt"));
        assert_eq!(event.volume.bytes, Some(bytes), "{count}");
        assert_eq!(event.target.name.as_deref(), Some("C:\\a & b.txt"));
        assert_eq!((event.category, event.action), (Some(Category::Export), Some(Action::Download)));
    }
    let event = message("AUY", "many&20&x");
    assert_eq!((event.volume.bytes, defects(&event)), (None, vec!["bad_value:variable1".to_owned()]));
    assert_eq!(defects(&message("AUY", "")), ["missing_field:variable1"]);
    assert_eq!(defects(&message("AUJ", "")), ["missing_field:variable1"]);
    assert_eq!(message("AUY", "&5&20&x").volume.bytes, Some(5));
}

#[test]
fn local_times_that_occur_twice_or_never() {
    let at = |time: &str| {
        let event = parse(&record("AU1", time, "A", "A&0&P", "h"));
        (event.time.expect("time").to_string(), defects(&event))
    };
    let ambiguous = vec!["time_ambiguous".to_owned()];
    // 25 October 2026, 03:00 summer time became 02:00: the earlier instant is meant.
    assert_eq!(at("20261025023000"), ("2026-10-25T00:30:00.000000Z".to_owned(), ambiguous.clone()));
    // 29 March 2026, 02:00 became 03:00: 02:30 moves to 03:30 summer time.
    assert_eq!(at("20260329023000"), ("2026-03-29T01:30:00.000000Z".to_owned(), ambiguous));
    assert_eq!(at("20260701120000"), ("2026-07-01T10:00:00.000000Z".to_owned(), vec![]));
}

#[test]
fn times_that_are_none() {
    for time in ["00000000000000", "20261301000000", "20261121250000", "2026112108 000"] {
        let event = parse(&record("AU1", time, "A", "A&0&P", "h"));
        assert_eq!((event.time, event.clock), (None, Clock::Absent), "{time}");
        assert_eq!(defects(&event), ["bad_value:time"]);
        assert_eq!(extra(&event, "local_time"), Some(time));
    }
    let event = parse_in(&record("AU1", "20261121080000", "A", "A&0&P", "h"), &FormatContext::default());
    assert_eq!((event.time, defects(&event)), (None, vec!["time_missing".to_owned()]));
    assert!(SapSecurityAuditLog.needs_zone());
}

#[test]
fn terminals_are_addresses_or_hosts() {
    let terminal = |name: &str| parse(&record("AU1", "20261121080000", "A", "A&0&P", name));
    let event = terminal("WKS-0417");
    assert_eq!((event.client.ip.as_deref(), extra(&event, "terminal")), (None, Some("WKS-0417")));
    assert_eq!(defects(&event), [""; 0]);
    assert_eq!(terminal("2001:db8:5::17").client.ip.as_deref(), Some("2001:db8:5::17"));
    let mut other = record("AU1", "20261121080000", "A", "A&0&P", "WKS-0417");
    other.replace_range(32..40, "TERM7   ");
    assert_eq!(extra(&parse(&other), "terminal_short"), Some("TERM7"));
}

#[test]
fn blank_users_and_the_kernel() {
    let event = parse(&record("AU2", "20261121080000", "", "A&1&P", "h"));
    assert_eq!((event.actor.id, event.actor.name), (None, None));
    let event = parse(&record("AUG", "20261121080000", "SAPSYS", "", "h"));
    assert_eq!(event.actor.r#type, Some(ActorType::System));
}

#[test]
fn unknown_ids_keep_their_variables() {
    let event = message("ZZ9", "a&b&c&d&e");
    assert_eq!(defects(&event), ["unknown_type:ZZ9"]);
    assert_eq!(event.message.as_deref(), Some("a&b&c&d&e"));
    assert_eq!(extra(&event, "variable4"), Some("d&e"));
    assert_eq!((event.category, event.feed.as_ref()), (None, NAME));
}

#[test]
fn records_of_another_form_are_unparsed() {
    let whole = record("AU1", "20261121080000", "KWEBER", "A&0&P", "203.0.113.7");
    for text in [&whole[..199], &whole[..10], "", &whole[1..], &format!("{whole}x")] {
        let event = parse(text);
        assert_eq!(defects(&event), ["unparsed"], "{text}");
        assert_eq!(event.message.unwrap_or_default(), text.trim());
    }
    // Out of step: message ids are capital letters and digits.
    let shifted = format!("{}{}", &whole[60..], &whole[..60]);
    assert_eq!(defects(&parse(&shifted)), ["unparsed"]);
    let event = parse(&whole.replacen('2', "7", 1));
    assert_eq!(defects(&event), ["bad_value:version"]);
}

#[test]
fn characters_count_not_bytes() {
    let mut text = record("AU7", "20261121080000", "KWEBER", "MÜLLER", "h");
    assert_eq!(text.chars().count(), LENGTH);
    assert_eq!(parse(&text).target.name.as_deref(), Some("MÜLLER"));
    text.pop();
    assert_eq!(defects(&parse(&text)), ["unparsed"]);
}

#[test]
fn sample_feed_sets_what_the_format_says() {
    let feed = include_str!("../../../examples/demo/feeds/sap/audit_20261121.aud");
    assert_eq!(feed.len() % LENGTH, 0);
    let events: Vec<Event> =
        (0..feed.len() / LENGTH).map(|n| parse(&feed[n * LENGTH..(n + 1) * LENGTH])).collect();
    for event in &events {
        assert_eq!(defects(event), [""; 0], "{event:?}");
        text::tests::only_sets(&SapSecurityAuditLog, event);
    }
    let count = |id: &str| events.iter().filter(|event| event.status.as_deref() == Some(id)).count();
    assert!(count("AU2") >= 5 && count("AUY") >= 3 && count("AUJ") == 2 && count("AU3") >= 3);
    assert!(
        events
            .iter()
            .any(|event| (event.category, event.action) == (Some(Category::AuditLog), Some(Action::Disable)))
    );
    text::tests::sets_all(&SapSecurityAuditLog, &events);
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*|\\PC{200}") {
        let event = parse(&text);
        text::tests::only_sets(&SapSecurityAuditLog, &event);
    }

    #[test]
    fn never_panics_on_any_variables(id in "AU[0-9A-Z]|CUZ|DU9|BU[1-4]", variables in "[&0-9A-Za-z.,é ]{0,64}", time in "[0-9]{14}") {
        let event = parse(&record(&id, &time, "A", &variables, "h"));
        prop_assert!(!event.has_defect(DefectCode::Unparsed));
        text::tests::only_sets(&SapSecurityAuditLog, &event);
    }
}
