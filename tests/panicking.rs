//! A format that panics: the record becomes one event with the defect `processing_failed` and a finding, its
//! neighbours are read as ever, and neither the panic's message nor the record is said anywhere.
//!
//! The daemon runs in process, because only there a format can be put in another's place; and in a process
//! of its own (this test program again), because what it says on stderr is part of the promise.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use crmwarden::config::Config;
use crmwarden::daemon;
use crmwarden::format::{Format, access_log::AccessLogCombined};
use crmwarden::model::event::System;
use crmwarden::model::record::{FormatContext, Framing, Parsed, Record};
use crmwarden::source::file::Mode;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

const POISON: &str = "poisonword";
const CHILD: &str = "CRMWARDEN_TEST_PANICKING_CONFIG";

/// Reads access logs, and dies of one word.
struct Brittle;

impl Format for Brittle {
    fn name(&self) -> &'static str {
        AccessLogCombined.name()
    }
    fn system(&self) -> System {
        AccessLogCombined.system()
    }
    fn framing(&self) -> Framing {
        AccessLogCombined.framing()
    }
    fn sets(&self) -> &'static [&'static str] {
        AccessLogCombined.sets()
    }
    fn parse(&self, record: &Record<'_>, context: &FormatContext) -> Parsed {
        assert!(!record.text.contains(POISON), "cannot read: {}", record.text);
        AccessLogCombined.parse(record, context)
    }
}

/// The part that runs in the child: one pass with the brittle format.
fn run_in_process(config: &Path) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let brittle: &'static dyn Format = &Brittle;
    daemon::run(daemon::Run {
        config: Config::read(config).unwrap(),
        mode: Mode::Once,
        formats: HashMap::from([("web".to_owned(), brittle)]),
        show: Box::new(|_| ()),
        ready: Box::new(|_| ()),
        any_port: false,
    })
    .unwrap();
}

#[test]
fn a_record_that_kills_its_parser_is_an_event_and_the_next_ones_are_read() {
    if let Some(config) = std::env::var_os(CHILD) {
        return run_in_process(Path::new(&config));
    }
    let home = Home::new(
        "sources:\n  - name: web\n    file: { paths: [\"access.log\"] }\n    format: access_log.combined\n\
         receivers:\n  - name: outbox\n    directory: outbox\nroutes:\n  - receivers: [outbox]\n",
    );
    let line = |agent: &str| {
        format!(
            "198.51.100.7 - - [20/Nov/2026:08:00:02 +0100] \"GET /web HTTP/1.1\" 200 42 \"-\" \"{agent}\"\n"
        )
    };
    let agents = ["first", "second", "a poisonword here", "fourth", "poisonword", "sixth"];
    home.write("access.log", agents.map(line).concat().as_bytes());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_record_that_kills_its_parser_is_an_event_and_the_next_ones_are_read"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, home.path("crmwarden.yaml"))
        .output()
        .unwrap();
    let said = common::text(&output.stdout) + &common::text(&output.stderr);
    assert!(output.status.success(), "{said}");

    let events = home.of_kind("event");
    assert_eq!(events.len(), agents.len());
    for (event, agent) in events.iter().zip(agents) {
        let failed = event["defects"].to_string().contains("processing_failed");
        assert_eq!(failed, agent.contains(POISON), "{event}");
        let read = if failed { serde_json::Value::Null } else { agent.into() };
        assert_eq!(event["client"]["user_agent"], read, "{event}");
        assert!(event["raw"]["hmac"].is_string() && event["raw"]["locator"].is_string(), "{event}");
    }
    let findings: Vec<_> = home
        .of_kind("finding")
        .into_iter()
        .filter(|finding| finding["rule"] == "operation.processing_failed")
        .collect();
    let about: Vec<_> = findings.iter().map(|finding| finding["about"][0].clone()).collect();
    assert_eq!(about, [events[2]["i"].clone(), events[4]["i"].clone()], "{findings:?}");
    assert_eq!(home.of_kind("incident").len(), 1, "one incident for both");

    assert!(said.contains("a panic at tests/panicking.rs:"), "the place is named: {said}");
    home.each_line(&mut |line| assert!(!common::text(line).contains(POISON)));
    for part in [POISON, "cannot read"] {
        assert!(!said.contains(part), "`{part}` was said: {said}");
    }
    home.expect(0, &["verify", "state"]);
    // The binary, with the format as shipped, goes on behind them: no record is read again.
    home.append("access.log", line("seventh").as_bytes());
    home.expect(0, &["run", "--once"]);
    assert_eq!(home.of_kind("event").len(), agents.len() + 1);
}
