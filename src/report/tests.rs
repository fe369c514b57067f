//! Tests of the report as a whole, over a trail made up in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::json::{Object, no_mask};
use crate::policy::framework::Framework;
use sha2::{Digest, Sha256};

const DAY: i64 = 86_400;

/// A trail being written, with the head that every entry has.
struct Trail {
    lines: Vec<Vec<u8>>,
    now: Time,
}

impl Trail {
    fn entry(&mut self, kind: &str, members: &str) {
        let comma = if members.is_empty() { "" } else { "," };
        let (index, now) = (self.lines.len(), self.now);
        let zeros = "0".repeat(64);
        self.lines.push(
            format!(
                "{{\"i\":{index},\"prev\":\"{zeros}\",\"t\":\"{now}\",\"kind\":\"{kind}\"{comma}{members}}}"
            )
            .into_bytes(),
        );
    }

    fn written(&mut self, kind: &str, write: impl FnOnce(&mut Object<'_>)) {
        let mut members = Vec::new();
        write(&mut Object::members(&mut members, no_mask));
        self.entry(kind, &String::from_utf8(members).unwrap());
    }

    fn event(&mut self, event: &crate::model::Event) {
        self.written("event", |out| event.write(out));
    }

    /// Heartbeats every five minutes until `seconds` have gone by.
    fn pass(&mut self, seconds: i64) {
        let end = self.now.plus_seconds(seconds);
        while self.now.plus_seconds(300) < end {
            self.now = self.now.plus_seconds(300);
            self.entry("heartbeat", "");
        }
        self.now = end;
    }
}

fn start() -> Time {
    Time::parse("2026-10-28T00:00:00Z").unwrap()
}

fn event(now: Time, place: usize) -> crate::model::Event {
    use crate::model::event::*;
    let (category, action, outcome) = match place % 9 {
        0 => (Category::Authentication, Action::Login, Outcome::Success),
        1 => (Category::Authentication, Action::Login, Outcome::Failure),
        2 | 3 => (Category::DataAccess, Action::Read, Outcome::Success),
        4 => (Category::Export, Action::Export, Outcome::Success),
        5 => (Category::DataChange, Action::Update, Outcome::Success),
        6 => (Category::Permission, Action::Grant, Outcome::Success),
        7 => (Category::Account, Action::PasswordReset, Outcome::Success),
        _ => (Category::DataAccess, Action::Search, Outcome::Unknown),
    };
    let names = ["maria.lind@acme.example", "j.okafor@acme.example", "svc-sync@acme.example"];
    let sources = [("sf-prod", System::Salesforce), ("d365-eu", System::Dynamics365), ("erp", System::Sap)];
    let (source, system) = sources[place % 3];
    let mut event = Event {
        time: Some(now.plus_seconds(-90)),
        observed: now,
        source: source.into(),
        system,
        feed: "salesforce.event_log/Login".into(),
        category: Some(category),
        action: Some(action),
        outcome: Some(outcome),
        ..Event::default()
    };
    event.actor.name = Some(names[place % 3].to_owned());
    event.actor.r#type = Some(if place % 3 == 2 { ActorType::Service } else { ActorType::User });
    event.client.ip = Some(format!("198.51.100.{}", place % 200 + 1));
    if category != Category::Authentication {
        event.target.r#type = Some("Account".to_owned());
        event.target.ids = vec![format!("001{place:09}")];
    }
    if source == "erp" {
        event.client.ip = None;
    }
    event
}

fn finding(trail: &mut Trail, rule: &str, severity: &str, title: &str, incident: &str) {
    let now = trail.now;
    let kind = match rule.split('.').next() {
        Some("dlp") => "dlp",
        Some("access") => "privilege",
        Some("gap") => "gap",
        _ => "behaviour",
    };
    trail.entry(
        "finding",
        &format!(
            "\"rule\":\"{rule}\",\"type\":\"{kind}\",\"severity\":\"{severity}\",\"title\":\"{title}\",\
             \"time\":\"{now}\",\"source\":\"sf-prod\",\"actor\":\"0055g\",\"actor_name\":\"j.okafor@acme.example\",\
             \"target\":\"Case 500\",\"field\":\"Description\",\"key\":\"k\",\"window_seconds\":3600,\"next\":\"n\",\
             \"policy\":\"ab\",\"about\":[1],\"incident\":\"{incident}\""
        ),
    );
}

const RULES: &str = "\"dlp.payment_card\",\"dlp.us_ssn\",\"access.over_grant\",\"access.use_outside_policy\",\
                     \"access.disabled_holder\",\"detection.bulk_rows\",\"detection.audit_switched_off\"";

fn policy(trail: &mut Trail, rules: &str) {
    let (a, b) = ("5a".repeat(32), "c3".repeat(32));
    trail.entry(
        "policy",
        &format!(
            "\"digest\":\"{a}\",\"files\":[{{\"name\":\"dlp/cards.yaml\",\"digest\":\"{a}\"}},\
             {{\"name\":\"access/crm.yaml\",\"digest\":\"{b}\"}}],\"rules\":[{rules}]"
        ),
    );
}

/// Five weeks of a small deployment: one upgrade, one crash, findings, alerts, a snapshot.
fn trail() -> Trail {
    let mut trail = Trail { lines: Vec::new(), now: start() };
    trail.entry("genesis", "\"v\":1,\"origin\":\"acme.example/crmwarden/g1\"");
    trail.entry("start", "\"version\":\"0.1.0\",\"heartbeat_seconds\":300");
    policy(&mut trail, RULES);
    let mut place = 0;
    for day in 0..35 {
        for _ in 0..12 {
            trail.pass(2 * 3600);
            let event = event(trail.now, place);
            trail.event(&event);
            place += 1;
        }
        one_day(&mut trail, day);
    }
    trail
}

fn one_day(trail: &mut Trail, day: i64) {
    match day {
        6 => {
            finding(
                trail,
                "dlp.payment_card",
                "high",
                "Card number in a case description: 4111 11** **** 1111",
                "INC-900",
            );
            trail.entry(
                "incident",
                "\"incident\":\"INC-900\",\"transition\":\"opened\",\"state\":\"detected\",\"severity\":\"high\",\"rule\":\"dlp.payment_card\"",
            );
            trail.entry(
                "alert",
                "\"alert\":\"ALR-1\",\"incident\":\"INC-900\",\"state\":\"owed\",\"receiver\":\"security\"",
            );
            trail.pass(42);
            trail.entry("alert", "\"alert\":\"ALR-1\",\"incident\":\"INC-900\",\"state\":\"delivered\",\"receiver\":\"security\"");
        }
        8 => trail.entry(
            "incident",
            "\"incident\":\"INC-900\",\"transition\":\"updated\",\"state\":\"false_positive\"",
        ),
        10 => {
            trail.entry("stop", "\"reason\":\"upgrade\"");
            trail.now = trail.now.plus_seconds(240);
            trail.entry("start", "\"version\":\"0.1.1\",\"heartbeat_seconds\":300");
            policy(trail, RULES);
        }
        12 => {
            let query = "SELECT Id FROM PermissionSetAssignment";
            trail.entry(
                "grants",
                &format!("\"system\":\"salesforce\",\"query\":\"{query}\",\"rows_in_source\":812,\"rows\":812,\"partial\":false,\"digest\":\"{}\"", "d1".repeat(32)),
            );
        }
        14 | 18 | 22 | 25 => one_late_day(trail, day),
        _ => {}
    }
}

fn one_late_day(trail: &mut Trail, day: i64) {
    match day {
        14 => finding(
            trail,
            "access.over_grant",
            "medium",
            "Sales User holds ModifyAllData <b>\\u202e",
            "INC-1000",
        ),
        18 => {
            finding(
                trail,
                "detection.bulk_rows",
                "critical",
                "50,000 contacts exported in one hour",
                "INC-1100",
            );
            trail.entry(
                "incident",
                "\"incident\":\"INC-1100\",\"transition\":\"opened\",\"state\":\"detected\",\"severity\":\"critical\"",
            );
            trail.entry(
                "alert",
                "\"alert\":\"ALR-2\",\"incident\":\"INC-1100\",\"state\":\"owed\",\"receiver\":\"security\"",
            );
        }
        22 => {
            trail.now = trail.now.plus_seconds(2 * 3600);
            trail.entry("start", "\"version\":\"0.1.1\",\"heartbeat_seconds\":300");
            trail.entry("recovery", "\"offset\":1200,\"length\":37,\"digest\":\"ee\"");
            policy(trail, RULES);
        }
        25 => trail
            .entry("access", "\"operator\":\"uid 1000\",\"command\":\"search\",\"query\":\"actor maria\""),
        _ => {}
    }
}

fn framework() -> Framework {
    Framework::parse("pci-dss.yaml", include_str!("../../policies/frameworks/pci-dss.yaml")).unwrap()
}

fn november() -> Scope {
    Scope {
        deployment: "acme.example".to_owned(),
        from: Time::parse("2026-11-01T00:00:00Z").unwrap(),
        to: Time::parse("2026-12-01T00:00:00Z").unwrap(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

fn facts(size: usize) -> Facts {
    let root = "b7".repeat(32);
    Facts {
        generated: start().plus_seconds(36 * DAY),
        host: "audit1.acme.example".to_owned(),
        product: "crmwarden 0.1.0".to_owned(),
        trail: TrailFacts {
            origin: "acme.example/crmwarden/g1".to_owned(),
            size: size as u64,
            root,
            checkpoint: format!("acme.example/crmwarden/g1\n{size}\nt7e3t7e3\n\n— acme.example/crmwarden/g1 AAAA\n"),
            began: start(),
            log_key: "acme.example/crmwarden/g1+00000000+AQ==".to_owned(),
            verdict: serde_json::from_str(
                "{\"verdict\":\"recovered\",\"verdicts\":[\"recovered\"],\"exit\":0,\"trust\":\"pinned\",\"anchored_to\":null,\"new\":1}",
            )
            .unwrap(),
        },
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn made(trail: &Trail, scope: Scope) -> (data::Report, Vec<File>) {
    let mut collector = Collector::new(scope, framework());
    for line in &trail.lines {
        collector.line(line);
    }
    collector.finish(facts(trail.lines.len()), &key())
}

fn text(files: &[File], name: &str) -> String {
    let file = files.iter().find(|file| file.name == name).unwrap();
    String::from_utf8(file.bytes.clone()).unwrap()
}

fn state(report: &data::Report, id: &str) -> String {
    report.controls.iter().find(|control| control.id == id).unwrap().state_text.clone()
}

#[test]
fn states_follow_from_what_ran_and_what_was_found() {
    let (report, _) = made(&trail(), november());
    for (id, expected) in [
        ("3.5.1", "measured, 1 exception"),
        ("7.2.2", "measured, 1 exception"),
        ("7.2.3", "not measured"),
        ("7.2.4", "not measured"),
        ("3.3.1", "partly measured, 1 exception"),
        ("8.2.5", "partly measured"),
        ("10.2.1.4", "measured, no exceptions"),
        ("10.2.1.7", "not measured"),
        ("10.3.4", "partly measured"),
        ("10.5.1", "partly measured"),
        ("10.7.2", "measured, 1 exception"),
    ] {
        assert_eq!(state(&report, id), expected, "control {id}");
    }
    assert_eq!(report.counts.unreadable, 0);
    assert_eq!(report.policies.len(), 1, "a restart under the same policies is no new version");
    assert_eq!(report.coverage.percent, "99.7");
}

#[test]
fn rules_that_began_late_leave_a_control_partly_measured() {
    let mut trail = trail();
    let half = trail.lines.len() / 2;
    // The first half of the trail under a policy without the card rules.
    for line in &mut trail.lines[..half] {
        let text =
            String::from_utf8(line.clone()).unwrap().replace("\"dlp.payment_card\",\"dlp.us_ssn\",", "");
        *line = text.into_bytes();
    }
    let (report, _) = made(&trail, november());
    let control = report.controls.iter().find(|control| control.id == "3.5.1").unwrap();
    assert_eq!(control.state, data::State::PartlyMeasured);
    assert!(control.not_measured[0].contains("was in force for"), "{:?}", control.not_measured);
}

#[test]
fn without_rules_or_running_time_nothing_is_measured() {
    let empty = Trail { lines: Vec::new(), now: start() };
    let (report, files) = made(&empty, november());
    assert_eq!(report.summary.measured_no_exceptions + report.summary.measured_with_exceptions, 0);
    assert_eq!(files.len(), 10);

    let mut bare = Trail { lines: Vec::new(), now: start() };
    bare.entry("genesis", "\"v\":1");
    bare.entry("start", "");
    bare.pass(35 * DAY);
    let (report, _) = made(&bare, november());
    assert_eq!(state(&report, "3.5.1"), "not measured");
    assert_eq!(state(&report, "10.2.1.1"), "not measured");
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_shown() {
    let mut trail = trail();
    let now = trail.now;
    trail.lines.push(b"not json".to_vec());
    trail.lines.push(format!("{{\"i\":1,\"t\":\"{now}\",\"kind\":\"event\",\"target\":5}}").into_bytes());
    trail.entry("invented.later", "\"x\":{\"y\":[1]}");
    let (report, files) = made(&trail, november());
    assert_eq!(report.counts.unreadable, 2);
    assert!(text(&files, "report.html").contains("2 entries could not be read"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(made(&trail(), november()).1, made(&trail(), november()).1);
}

const SMALL: &str = "framework: small
title: Small
version: v1
publisher: Nobody
about: For the test of the data's form.
minimum_coverage: 99
groups: [{ id: \"1\", title: One }]
controls:
  - id: \"1.1\"
    title: Cards
    asks: No cards.
    rules: [\"dlp.*\"]
    evidence:
      - title: Rights given
        events: [{ action: [grant] }]
      - title: Outages
        trail: health
    person: [Something.]
  - id: \"1.2\"
    title: Reviews
    asks: Reviews.
    not_measured: Nothing records them.
    person: [The review.]
";

#[test]
fn the_data_is_as_before() {
    let trail = trail();
    let framework = Framework::parse("small.yaml", SMALL).unwrap();
    let scope =
        Scope { from: start().plus_seconds(6 * DAY), to: start().plus_seconds(8 * DAY), ..november() };
    let mut collector = Collector::new(scope, framework);
    for line in &trail.lines {
        collector.line(line);
    }
    let (_, files) = collector.finish(facts(trail.lines.len()), &key());
    insta::assert_snapshot!(text(&files, "report.json"));
}

#[test]
fn the_page_needs_nothing_but_itself_and_claims_nothing() {
    let (_, files) = made(&trail(), november());
    let page = text(&files, "report.html").to_lowercase();
    for bad in ["<script", "javascript:", "http:", "https:", "url(", "@import", "src=", "<iframe", "onload"] {
        let found = page.find(bad).map(|at| &page[at.saturating_sub(60)..at + 60]);
        assert_eq!(found, None, "{bad}");
    }
    assert!(page.contains("&lt;b&gt;⟨u+202e⟩"), "text of the trail is escaped and visible");
    for file in &files {
        let text = String::from_utf8_lossy(&file.bytes).to_lowercase();
        for bad in ["compliant", "certified", "attests"] {
            assert!(!text.contains(bad), "{bad} in {}", file.name);
        }
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        assert_eq!(
            words.filter(|word| ["pass", "passed", "passes"].contains(word)).count(),
            0,
            "{}",
            file.name
        );
    }
}

#[test]
fn the_manifest_names_the_files_and_jq_counts_the_lists_again() {
    let trail = trail();
    let (report, files) = made(&trail, november());
    for line in text(&files, "MANIFEST.sha256").lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        let file = files.iter().find(|file| file.name == name).unwrap();
        assert_eq!(crate::model::digest::hex(&Sha256::digest(&file.bytes)), digest);
    }
    if std::process::Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").as_deref() != Ok("1"), "jq is required");
        println!("skipped: no jq on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let segment = folder.path().join("0.jsonl");
    let mut bytes = trail.lines.join(&b'\n');
    bytes.push(b'\n');
    std::fs::write(&segment, bytes).unwrap();
    for list in report.controls.iter().flat_map(parts::lists_of) {
        let program = format!(". as $line | fromjson | select({}) | $line", list.query);
        let output = std::process::Command::new("jq").arg("-rR").arg(program).arg(&segment).output().unwrap();
        assert!(output.status.success(), "{}: {}", list.id, String::from_utf8_lossy(&output.stderr));
        assert_eq!(crate::model::digest::hex(&Sha256::digest(&output.stdout)), list.digest, "{}", list.query);
        let rows = output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(rows, list.rows_in_source);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever stands in the lines, a report comes out, and every line is counted once.
    #[test]
    fn no_line_ends_a_report(
        lines in proptest::collection::vec(
            (
                proptest::sample::select(vec!["event", "finding", "incident", "alert", "policy", "start", "stop", "grants", "commit", "x"]),
                -4_000_000_000i64..90_000_000_000,
                "[\\PC]{0,12}",
                proptest::sample::select(vec!["5", "null", "[1]", "{\"id\":3}", "\"a\"", "[\"b\"]", "true", "-1", "1e99"]),
                proptest::sample::select(vec!["time", "rules", "target", "cursors", "state", "actor", "part", "files", "rule", "heartbeat"]),
            ),
            0..40,
        )
    ) {
        let mut collector = Collector::new(november(), framework());
        for (kind, seconds, text, value, member) in &lines {
            let time = Time::from_seconds(*seconds);
            collector.line(format!("{{\"i\":1,\"t\":\"{time}\",\"kind\":\"{kind}\",\"{member}\":{value},\"z\":{text:?}}}").as_bytes());
            collector.line(text.as_bytes());
        }
        let (report, files) = collector.finish(facts(1), &key());
        let counted: u64 = report.counts.entries.values().sum();
        proptest::prop_assert!(counted + report.counts.unreadable >= 2 * lines.len() as u64);
        proptest::prop_assert_eq!(files.len(), 10);
    }
}

/// Writes the bundle to a folder for people to look at: `CRMWARDEN_REPORT_DIR=/somewhere cargo test`.
#[test]
fn a_bundle_can_be_written_out() {
    let Ok(folder) = std::env::var("CRMWARDEN_REPORT_DIR") else { return };
    let mut scope = november();
    scope.zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for file in made(&trail(), scope).1 {
        std::fs::write(std::path::Path::new(&folder).join(file.name), file.bytes).unwrap();
    }
}
