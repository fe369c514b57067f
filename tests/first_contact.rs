//! What a newcomer meets: `init`, `doctor`, `search`, `explain`, the manual; and policies that change under way.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Home, text, wait_for};
use serde_json::Value;
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

const CSV: &str = "\"EVENT_TYPE\",\"TIMESTAMP_DERIVED\",\"REQUEST_ID\",\"USER_ID\",\"METHOD_NAME\",\"ENTITY_NAME\",\"ROWS_PROCESSED\"\n";

fn row(minute: u32, user: &str, rows: u64) -> String {
    format!(
        "\"API\",\"2026-11-20T10:{minute:02}:00.000Z\",\"r{minute}\",\"0055e00000{user}\",\"query\",\"Contact\",\"{rows}\"\n"
    )
}

/// What `init` made, with a source that has a few records.
fn made(arguments: &[&str]) -> Home {
    let home = Home::empty();
    let said = home.expect(0, &[&["init", ".", "--deployment", "acme.example"], arguments].concat());
    assert!(said.contains("trust.txt") && said.contains("doctor"), "{said}");
    let config = fs::read_to_string(home.path("crmwarden.yaml")).unwrap();
    let source =
        "sources:\n  - name: sf\n    file: { paths: [\"feeds/*.csv\"] }\n    format: salesforce.event_log\n";
    let config =
        config.replace("sources: []\n", source).replace("metrics: 127.0.0.1:7465", "metrics: \"off\"");
    home.write("crmwarden.yaml", config.as_bytes());
    let rows: String = [row(1, "AAAab", 5), row(2, "AAAac", 125_000), row(3, "AAAab", 7)].concat();
    home.write("feeds/a.csv", format!("{CSV}{rows}").as_bytes());
    home
}

#[test]
fn init_makes_what_runs_and_touches_nothing_twice() {
    let home = made(&[]);
    let trust = fs::read_to_string(home.path("trust.txt")).unwrap();
    home.expect(0, &["check"]);
    home.expect(0, &["run", "--once"]);
    let said = home.expect(0, &["init", ".", "--deployment", "acme.example"]);
    assert!(said.contains("were there and are as they were") && said.contains("was there"), "{said}");
    assert!(fs::read_to_string(home.path("crmwarden.yaml")).unwrap().contains("name: sf\n"), "mine");
    assert_eq!(fs::read_to_string(home.path("trust.txt")).unwrap(), trust);
    // What was pinned before the first record holds after it.
    let said = home.expect(0, &["verify", "state", "--trust", "trust.txt"]);
    assert!(said.contains("ok"), "{said}");
    assert!(fs::read_dir(home.path("alerts")).unwrap().count() > 0, "the default receiver works");
    let refused = home.run(&["init", "other", "--deployment", "not a name"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

#[test]
fn doctor_names_each_cure() {
    let home = made(&[]);
    let said = home.expect(0, &["doctor"]);
    for part in ["✓ source sf: 1 files can be read", "✓ receiver archive: reached", "✓ the keys in"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let config = fs::read_to_string(home.path("crmwarden.yaml")).unwrap();
    let closed = common::free_port();
    let config = config.replace("keys: keys ", "keys: state/keys ").replace(
        "receivers:\n",
        &format!("receivers:\n  - name: am\n    alertmanager: {{ url: \"http://127.0.0.1:{closed}\" }}\n"),
    );
    home.write("crmwarden.yaml", config.as_bytes());
    let said = home.expect(1, &["doctor"]);
    assert!(said.contains("✗ the keys (") && said.contains("one backup would hold trail and keys"), "{said}");
    assert!(said.contains("✗ receiver am: 127.0.0.1"), "{said}");
    let json: Value = serde_json::from_str(&home.expect(1, &["--json", "doctor"])).unwrap();
    assert_eq!(json["ok"], false);
    assert!(json["probes"].as_array().unwrap().iter().all(|probe| !probe["result"].is_null()));
}

fn found(home: &Home, arguments: &[&str]) -> Vec<u64> {
    let said = home.expect(0, &[&["--json", "search"], arguments].concat());
    said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].as_u64().unwrap()).collect()
}

#[test]
fn search_finds_by_who_what_when_and_text() {
    for arguments in [&[][..], &["--erasable"]] {
        let home = made(arguments);
        home.expect(0, &["run", "--once"]);
        let all = found(&home, &["--source", "sf"]);
        assert!(all.len() > 3, "{all:?}");
        let of = |arguments: &[&str]| found(&home, arguments).len();
        assert_eq!(
            of(&["--actor", "0055e00000AAAab", "--action", "read"])
                + of(&["--actor", "0055e00000AAAab", "--action", "list"])
                + of(&["--actor", "0055e00000AAAab", "--action", "search"]),
            2
        );
        assert_eq!(of(&["--actor", "0055E00000aaaAB", "--rule", "detection.bulk"]), 0);
        assert_eq!(of(&["--rule", "detection.bulk_rows"]), 1);
        assert_eq!(of(&["--actor", "0055e00000AAAac", "--rule", "detection.bulk_rows"]), 1);
        assert_eq!(of(&["--source", "sf", "--from", "2026-11-20T10:03:00Z"]), 1);
        assert_eq!(of(&["--source", "sf", "--to", "2026-11-20"]), 0);
        assert_eq!(of(&["CONTACT", "--source", "sf", "--limit", "1"]), 1);
        assert_eq!(of(&["no such word"]), 0);
        let said = home.expect(0, &["search", "--rule", "detection.bulk_rows"]);
        assert!(said.contains("0055e00000AAAac"), "names are shown: {said}");
        let index = found(&home, &["--actor", "0055e00000AAAac", "--source", "sf", "125000"])[0].to_string();
        let why = home.expect(0, &["explain", "bulk_rows", "--entry", &index]);
        assert!(why.contains("matches `bulk_rows`") && why.contains("this event is reported"), "{why}");
        let index = found(&home, &["--actor", "0055e00000AAAab", "--source", "sf"])[0].to_string();
        let why = home.expect(0, &["explain", "detection.bulk_rows", "--entry", &index]);
        assert!(
            why.contains("does not match") && why.contains("volume.rows") && why.contains("not reported"),
            "{why}"
        );
        let id = home.expect(0, &["incidents"]).split_whitespace().next().unwrap().to_owned();
        let reach = home.expect(0, &["incidents", "radius", &id]);
        assert!(
            reach.contains("0055e00000AAAac: 1 events") && reach.contains("rows       125000"),
            "{reach}"
        );
        assert!(text(&home.run(&["explain", "bulk_row"]).stderr).contains("did you mean"));
    }
}

#[test]
fn the_manual_and_completions_know_every_command() {
    let home = Home::empty();
    home.expect(0, &["man", "-o", "man"]);
    let page = fs::read_to_string(home.path("man/crmwarden.1")).unwrap();
    for command in ["incidents", "search", "doctor", "verify", "witness"] {
        assert!(page.contains(command), "{command}");
        assert!(home.path(&format!("man/crmwarden-{command}.1")).exists(), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.expect(0, &["completions", shell]).contains("clock-start"), "{shell}");
    }
}

#[test]
fn policies_change_while_everything_goes_on() {
    let home = made(&[]);
    let rule = |rows: u64| {
        let text =
            fs::read_to_string(format!("{}/policies/detections/bulk_rows.yaml", common::REPOSITORY)).unwrap();
        text.replace("volume.rows|gte: 100000", &format!("volume.rows|gte: {rows}"))
            .replace("volume.rows: 99999", "volume.rows: 6")
    };
    let daemon = home.ready_daemon();
    let findings =
        |home: &Home| home.of_kind("finding").iter().filter(|it| it["rule"] == "detection.bulk_rows").count();
    wait_for("the first is found", LIMIT, || findings(&home) == 1);
    // A bad file changes nothing and is told once a version.
    home.write(
        "policies/detections/bulk_rows.yaml",
        rule(7).replace("level: high", "level: hgih").as_bytes(),
    );
    let refused = |home: &Home| {
        home.of_kind("finding").iter().filter(|it| it["rule"] == "operation.policy_refused").count()
    };
    wait_for("it is refused", LIMIT, || refused(&home) == 1);
    assert!(
        home.of_kind("finding").iter().any(|it| it["detail"].as_str().is_some_and(|it| it.contains("hgih")))
    );
    home.append("feeds/a.csv", row(4, "AAAad", 130_000).as_bytes());
    wait_for("the old rule finds", LIMIT, || findings(&home) == 2);
    // A good one is in force for what comes after it; SIGHUP asks at once.
    home.write("policies/detections/bulk_rows.yaml", rule(7).as_bytes());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(daemon.pid() as i32).unwrap(),
        rustix::process::Signal::HUP,
    )
    .unwrap();
    let policies = home.of_kind("policy").len();
    wait_for("it is in force", LIMIT, || home.of_kind("policy").len() > policies || policies > 1);
    home.append("feeds/a.csv", row(5, "AAAae", 8).as_bytes());
    wait_for("the new rule finds", LIMIT, || findings(&home) == 3);
    assert_eq!(daemon.stop(), 0);
    // The entry stands between what the old and the new rules judged.
    let entries = home.entries();
    let place = |what: &dyn Fn(&Value) -> bool| entries.iter().rposition(what).unwrap();
    let policy = place(&|it| it["kind"] == "policy");
    let eight = place(&|it| it["kind"] == "event" && it["volume"]["rows"] == 8);
    let old = place(&|it| it["kind"] == "event" && it["volume"]["rows"] == 130_000);
    assert!(old < policy && policy < eight);
    let finding = &entries[place(&|it| it["rule"] == "detection.bulk_rows")];
    let files = entries[policy]["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["name"] == "detections/bulk_rows.yaml").unwrap();
    assert!(file["digest"].as_str().unwrap().starts_with(finding["policy"].as_str().unwrap()));
}
