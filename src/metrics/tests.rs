//! The registry: names, promtool's opinion, and closed sets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::io::Write;
use std::process::{Command, Stdio};

/// Every metric with at least one series.
pub(crate) fn filled() -> Metrics {
    let metrics = Metrics::new(Time::from_seconds(1_795_322_775), "0.1.0", "1.95.0").unwrap();
    metrics.know_source("sf-prod");
    metrics.know_receiver("security");
    metrics.know_rule("dlp.payment_card", Severity::High);
    metrics.config_in_force("9f86d081884c7d65");
    metrics.policy_in_force("60303ae22b998861");
    metrics.reloaded(Time::from_seconds(1), true);
    metrics.source_newest("sf-prod", Time::from_seconds(2), 11_524.0);
    metrics.read("sf-prod", 3, 400);
    metrics.events("sf-prod", 3);
    metrics.defect("sf-prod", DefectCode::Unparsed);
    metrics.finding("dlp.payment_card", Severity::High);
    metrics.evicted("detections.burst", 2);
    metrics.incidents_open(Severity::High, 1);
    metrics.alerts_owed("security", 1);
    metrics.alert_unrouted();
    metrics.delivery("security", &Outcome::Delivered);
    metrics.grants("sf-grants", 120);
    metrics.not_observable("no_feed", 4);
    metrics.trail(12, 3456);
    metrics.commit(0.004);
    metrics.checkpoint(12, Time::from_seconds(3));
    metrics.anchored(8);
    metrics.know_anchor("tsa", 8, Time::from_seconds(6));
    metrics.anchor_failed("tsa");
    metrics.verified(Time::from_seconds(4), true);
    metrics.disk_free(1 << 40);
    metrics
}

#[test]
fn the_text_is_what_the_calls_said() {
    insta::assert_snapshot!(filled().text().unwrap());
}

#[test]
fn names_are_ours_and_promtool_agrees() {
    let text = filled().text().unwrap();
    let foreign = |line: &&str| !line.starts_with("# ") && !line.starts_with("crmwarden_");
    assert_eq!(text.lines().find(foreign), None);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "promtool is missing");
        eprintln!("skipped: promtool is missing");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn only_the_digest_in_force_is_shown() {
    let metrics = filled();
    for n in 0..1_000 {
        metrics.config_in_force(&format!("{n:016x}"));
        metrics.policy_in_force(&format!("{n:016x}"));
    }
    let text = metrics.text().unwrap();
    assert_eq!(text.matches("_info{digest=").count(), 2, "{text}");
}
