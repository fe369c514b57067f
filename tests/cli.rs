//! The command line as people and programs meet it: exit codes, what is said, what is printed.
//!
//! The signature parts need openssl and ssh-keygen. Without them they say so and pass, unless
//! CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::feeds::{Feed, SOURCES};
use crmwarden::inspect::dlp::generate::Generator;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A good configuration, one thing a line, so that line numbers can be told.
const GOOD: &str = "deployment: acme.example
state: state
policies: policies
metrics: \"off\"
sources:
  - name: web
    format: access_log.combined
    file:
      paths: [\"feeds/*.log\"]
receivers:
  - name: outbox
    directory: outbox
routes:
  - receivers: [outbox]
";

/// What is replaced in the good configuration, by what, and what `check` must say.
const FAULTS: &[(&str, &str, &[&str])] = &[
    ("metrics:", "metrik:", &["crmwarden.yaml:4:", "unknown key `metrik`", "did you mean `metrics`?"]),
    ("    directory:", "    direktory:", &["crmwarden.yaml:12:", "`direktory`", "did you mean `directory`?"]),
    ("paths:", "path:", &["crmwarden.yaml:9:", "unknown key `path`", "did you mean `paths`?"]),
    ("state: state", "state: [a]", &["crmwarden.yaml:2:", "expected string"]),
    ("paths: [\"feeds/*.log\"]", "paths: 7", &["crmwarden.yaml:9:"]),
    ("acme.example", "Acme Corp", &["crmwarden.yaml:1:", "`deployment:` must be", "a-z"]),
    ("policies: policies", "policies: nowhere", &["crmwarden.yaml:3:", "nowhere does not exist"]),
    ("feeds/*.log", "feeds/[a.log", &["crmwarden.yaml:9:", "bad pattern", "is not closed"]),
    ("feeds/*.log", "state/trail/*", &["crmwarden.yaml:9:", "which the daemon itself writes"]),
    (
        "access_log.combined",
        "access_log.combind",
        &["crmwarden.yaml:7:", "unknown format", "did you mean `access_log.combined`?"],
    ),
    (
        "access_log.combined",
        "nothing.like.it",
        &["crmwarden.yaml:7:", "unknown format", "known formats: salesforce.event_log"],
    ),
    (
        "access_log.combined",
        "hubspot.audit",
        &["crmwarden.yaml:7:", "the format `hubspot.audit` is not built yet"],
    ),
    (
        "access_log.combined",
        "sap.security_audit_log",
        &["crmwarden.yaml:7:", "`timezone:` is required", "Europe/Berlin"],
    ),
    ("access_log.combined", "no", &["crmwarden.yaml:7:", "`no` is ambiguous", "true or false"]),
    ("directory: outbox", "slack: {}", &["crmwarden.yaml:12:", "url_file"]),
    (
        "receivers: [outbox]",
        "receivers: [outbux]",
        &["crmwarden.yaml:14:", "unknown receiver `outbux`", "did you mean `outbox`?"],
    ),
    (
        "    file:",
        "    salesforce: {}\n    file:",
        &["crmwarden.yaml:8:", "the source kind `salesforce` is not built yet"],
    ),
    ("metrics: \"off\"", "metrics: 7465", &["crmwarden.yaml:4:", "not an address with a port"]),
    ("metrics: \"off\"", "listen: 0.0.0.0:7464", &["crmwarden.yaml:4:", "requires `tls:` and `auth:`"]),
    ("metrics: \"off\"", "heartbeat: soon", &["crmwarden.yaml:4:", "not a duration"]),
    ("metrics: \"off\"", "privacy: secret", &["crmwarden.yaml:4:", "unknown word", "plain or erasable"]),
    ("metrics: \"off\"", "state: again", &["crmwarden.yaml:4:", "duplicate"]),
];

fn checked() -> Home {
    let home = Home::empty();
    common::copy_all_into(&format!("{}/policies", common::REPOSITORY), &home.path("policies"));
    home.write("crmwarden.yaml", GOOD.as_bytes());
    home
}

fn refused(home: &Home, parts: &[&str]) {
    for command in [&["check"][..], &["run", "--once"]] {
        let output = home.run(command);
        let said = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command:?} {parts:?}: {said}");
        assert!(output.stdout.is_empty(), "{}", common::text(&output.stdout));
        for part in parts {
            assert!(said.contains(part), "{command:?}: no {part:?} in {said:?}");
        }
        assert!(!home.path("state").exists(), "{parts:?}: something was made before the check");
    }
}

#[test]
fn check_names_file_line_fault_and_cure() {
    let home = checked();
    let said = home.expect(0, &["check"]);
    assert!(said.contains("1 sources, 1 receivers") && said.contains("every example proven"), "{said}");
    let document: Value = serde_json::from_str(&home.expect(0, &["check", "--json"])).unwrap();
    assert_eq!((&document["ok"], &document["sources"]), (&true.into(), &1.into()), "{document}");
    for (from, to, parts) in FAULTS {
        assert!(GOOD.contains(from), "{from}");
        home.write("crmwarden.yaml", GOOD.replacen(from, to, 1).as_bytes());
        refused(&home, parts);
    }
    // Several faults are said at once.
    let two = GOOD.replace("access_log.combined", "hubspot.audit").replace("[outbox]", "[outbux]");
    home.write("crmwarden.yaml", two.as_bytes());
    refused(&home, &["crmwarden.yaml:7:", "crmwarden.yaml:14:"]);
    fs::remove_file(home.path("crmwarden.yaml")).unwrap();
    refused(&home, &["no configuration", "crmwarden demo"]);
    let output = home.run(&["check", "-c", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(common::text(&output.stderr).contains("nowhere.yaml: does not exist"));
    assert_eq!(home.run(&["chek"]).status.code(), Some(2));
}

#[test]
fn check_proves_every_rule_by_its_examples() {
    let file = "policies/dlp/card-and-ssn.yaml";
    let home = checked();
    let good = fs::read_to_string(home.path(file)).unwrap();
    for (from, to, parts) in [
        (
            "      - \"paid with {card}\"",
            "      - \"paid with nothing\"",
            &[file, "dlp.payment_card", "example"][..],
        ),
        ("      - \"order {luhn_fail}\"", "      - \"card {card}\"", &[file, "dlp.payment_card", "counter"]),
        ("    severity: high", "    severity: hihg", &[file, ":10:", "`hihg`", "medium, high, critical"]),
        ("    detector: payment_card", "    detector: credit_card", &[file, ":9:", "credit_card"]),
        ("policy: dlp", "policy: dlq", &[file, "dlq"]),
    ] {
        assert!(good.contains(from), "{from}");
        home.write(file, good.replacen(from, to, 1).as_bytes());
        refused(&home, parts);
    }
    home.write(file, good.as_bytes());
    home.expect(0, &["check"]);
}

/// A workspace with a trail of some entries, a grants snapshot among them.
fn trail(test: &str) -> Home {
    let mut random = Generator::new(common::seed(test));
    let home = Home::new(&format!(
        "{SOURCES}  - name: grants\n    file: {{ paths: [\"feeds/grants.jsonl\"] }}\n    format: dataverse.grants\n"
    ));
    more(&home, 0, &mut random);
    let sample = format!("{}/examples/demo/feeds/dynamics365/grants.jsonl", common::REPOSITORY);
    fs::copy(sample, home.path("feeds/grants.jsonl")).unwrap();
    home.expect(0, &["run", "--once"]);
    home
}

/// Another forty records.
fn more(home: &Home, from: u64, random: &mut Generator) {
    let text: String = (from..from + 40).map(|number| Feed::Web.record(number, random)).collect();
    home.append(Feed::Web.file(), text.as_bytes());
}

fn verdict(home: &Home, exit: i32, word: &str, arguments: &[&str]) -> Value {
    let arguments = [&["verify", "--json"], arguments].concat();
    let outcome: Value = serde_json::from_str(&home.expect(exit, &arguments)).unwrap();
    assert_eq!((&outcome["verdict"], &outcome["exit"]), (&word.into(), &exit.into()), "{outcome}");
    outcome
}

#[test]
fn verify_has_an_exit_code_for_every_verdict() {
    let home = trail("verify_has_an_exit_code");
    let mut random = Generator::new(7);
    let outcome = verdict(&home, 0, "ok", &["state"]);
    assert_eq!((&outcome["trust"], &outcome["anchored_to"]), (&"unpinned".into(), &0.into()), "{outcome}");
    verdict(&home, 0, "ok", &["state/trail"]);
    verdict(&home, 0, "ok", &[]);
    home.write("trust.txt", home.expect(0, &["keys", "export", "--format", "trust"]).as_bytes());
    let outcome = verdict(&home, 0, "ok", &["state", "--trust", "trust.txt"]);
    assert_eq!(outcome["trust"], "pinned");
    for arguments in
        [&["verify", "--strict", "state"][..], &["verify", "--strict", "--trust", "trust.txt", "state"]]
    {
        home.expect(25, arguments);
    }

    let older = home.copy();
    more(&home, 100, &mut random);
    home.expect(0, &["run", "--once"]);
    fs::copy(home.path("state/trail/g1/checkpoint"), older.path("head")).unwrap();
    verdict(&older, 20, "rolled_back", &["state", "--known-head", "head"]);
    more(&older, 300, &mut random);
    more(&older, 400, &mut random);
    older.expect(0, &["run", "--once"]);
    verdict(&older, 21, "forked", &["state", "--known-head", "head"]);
    verdict(&older, 0, "ok", &["state"]);

    let name = "state/trail/g1/segments/00000000000000000000.jsonl";
    let clean = fs::read_to_string(home.path(name)).unwrap();
    let torn = home.copy();
    torn.append(name, b"{\"i\":");
    verdict(&torn, 23, "torn", &["state"]);
    torn.expect(0, &["run", "--once"]);
    let outcome = verdict(&torn, 0, "recovered", &["state"]);
    assert_eq!(outcome["recoveries"].as_array().unwrap().len(), 1);
    torn.expect(25, &["verify", "--strict", "state"]);

    let missing = home.copy();
    fs::remove_dir_all(missing.path("state/grants")).unwrap();
    fs::create_dir(missing.path("state/grants")).unwrap();
    verdict(&missing, 22, "missing", &["state"]);

    home.write(name, clean.replacen("198.51.100.", "198.51.101.", 1).as_bytes());
    let outcome = verdict(&home, 1, "tampered", &["state"]);
    assert_eq!(outcome["damage"][0]["first"], outcome["damage"][0]["last"], "{outcome}");
    assert!(
        outcome["damage"][0]["file"].as_str().unwrap().ends_with("00000000000000000000.jsonl"),
        "{outcome}"
    );
    // Several trails: the worst verdict counts.
    let good = torn.path("state").display().to_string();
    home.expect(1, &["verify", &good, "state"]);
    home.expect(3, &["verify", "nowhere"]);
    home.expect(3, &["verify", "--trust", "nowhere.txt", "state"]);
    home.write("trust.txt", b"something else\n");
    home.expect(2, &["verify", "--trust", "trust.txt", "state"]);
}

/// A start re-reads what its cache does not vouch for; without a cache that is everything. It refuses what is
/// damaged there and repairs nothing.
#[test]
fn a_damaged_trail_is_refused_and_left_as_it_is() {
    let home = trail("a_damaged_trail");
    let name = "state/trail/g1/segments/00000000000000000000.jsonl";
    let clean = fs::read_to_string(home.path(name)).unwrap();
    let early = home.copy();
    fs::remove_file(early.path("state/cache")).unwrap();
    early.write(name, clean.replacen("198.51.100.", "198.51.101.", 1).as_bytes());
    let late = home.copy();
    late.write(name, clean.replacen("\"reason\":\"asked\"", "\"reason\":\"asket\"", 1).as_bytes());
    for copy in [early, late] {
        let before = fs::read(copy.path(name)).unwrap();
        assert_ne!(before, clean.as_bytes());
        for command in [&["run"][..], &["run", "--once"]] {
            let output = copy.run(command);
            let said = common::text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{command:?}: {said}");
            assert!(said.contains("tampered"), "{said}");
        }
        assert_eq!(fs::read(copy.path(name)).unwrap(), before);
        copy.expect(1, &["verify", "state"]);
    }
}

/// A start does not re-read what is before its cache; the daemon's own verification does, tells, and stops.
#[test]
fn damage_before_the_cache_is_found_by_the_daemon_itself() {
    let mut random = Generator::new(common::seed("damage_before_the_cache"));
    let home = Home::new(&format!(
        "{SOURCES}receivers:\n  - name: outbox\n    directory: outbox\nroutes:\n  - receivers: [outbox]\n"
    ));
    more(&home, 0, &mut random);
    home.expect(0, &["run", "--once"]);
    let name = "state/trail/g1/segments/00000000000000000000.jsonl";
    let clean = fs::read_to_string(home.path(name)).unwrap();
    home.write(name, clean.replacen("198.51.100.", "198.51.101.", 1).as_bytes());
    let mut daemon = home.daemon();
    let mut code = None;
    common::wait_for("the end of the daemon", Duration::from_secs(40), || {
        code = daemon.child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.and_then(|status| status.code()), Some(4), "{}", home.log());
    let said = home.of_kind("verification");
    assert_eq!(said.last().map(|entry| &entry["intact"]), Some(&false.into()), "{said:?}");
    let alerts =
        fs::read_dir(home.path("outbox")).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    assert!(
        alerts
            .map(|alert| common::text(&alert))
            .any(|alert| alert.contains("The audit trail is not what was"))
    );
}

#[test]
fn one_daemon_a_state_and_status_tells() {
    let home = trail("one_daemon_a_state");
    let output = home.run(&["status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(common::text(&output.stderr).contains("is `crmwarden run` running?"));
    let daemon = home.ready_daemon();
    let pid = daemon.pid();
    for command in [&["run"][..], &["run", "--once"]] {
        let output = home.run(command);
        let said = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("pid {pid}")), "{said}");
    }
    let said = home.expect(0, &["status"]);
    assert!(said.contains(&format!("acme.example/crmwarden/g1: running, pid {pid}")), "{said}");
    let status: Value = serde_json::from_str(&home.expect(0, &["status", "--json"])).unwrap();
    assert_eq!((&status["pid"], &status["events"]["web"]), (&pid.into(), &40.into()), "{status}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.run(&["status"]).status.code(), Some(3));
    let stops = home.of_kind("stop");
    assert_eq!(stops.len(), 2, "{stops:?}");
    home.expect(0, &["verify", "state"]);
}

fn scan(home: &Home, arguments: &[&str], input: &str) -> (i32, Vec<Value>, String) {
    let mut child = home
        .command(&[&["scan"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = common::text(&output.stdout);
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), lines, said + &common::text(&output.stderr))
}

#[test]
fn scan_finds_numbers_and_never_prints_them() {
    let mut random = Generator::new(common::seed("scan"));
    let home = Home::empty();
    let (card, ssn) = (random.card("mastercard"), random.fill("{ssn}").unwrap());
    let input = format!("nothing\npaid with {card} today\nher SSN is {ssn}\n");
    let key = "ab".repeat(32);
    home.write("key", key.as_bytes());
    fs::set_permissions(home.path("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    home.write("input.txt", input.as_bytes());
    home.write("clean.txt", b"order 12 of 2026-11-20\nno number here\n");
    let (exit, found, said) = scan(&home, &["--key", "key"], &input);
    assert_eq!((exit, found.len()), (1, 2), "{said}");
    for (finding, (detector, line, secret)) in
        found.iter().zip([("payment_card", 2, &card), ("us_ssn", 3, &ssn)])
    {
        assert_eq!((&finding["detector"], &finding["line"]), (&detector.into(), &line.into()));
        let text = input.lines().nth(line - 1).unwrap();
        let (start, end) =
            (finding["start"].as_u64().unwrap() as usize, finding["end"].as_u64().unwrap() as usize);
        assert_eq!(&text[start..end], secret);
        let masked = finding["masked"].as_str().unwrap();
        assert!(masked.contains('*') && masked.ends_with(&secret[secret.len() - 4..]), "{finding}");
        assert!(
            ["very_low", "low", "medium", "high", "very_high"]
                .contains(&finding["likelihood"].as_str().unwrap())
        );
        assert!(!finding["fingerprint"].as_str().unwrap().is_empty());
        assert!(!said.contains(secret.as_str()));
        assert_eq!(finding.as_object().unwrap().len(), 7, "{finding}");
    }
    // The same key, the same fingerprint; without a key another one for every call.
    assert_eq!(scan(&home, &["--key", "key", "input.txt"], "").1, found);
    let random_key = scan(&home, &["input.txt"], "").1;
    assert_ne!(random_key[0]["fingerprint"], found[0]["fingerprint"]);
    assert_ne!(random_key[0]["fingerprint"], scan(&home, &["input.txt"], "").1[0]["fingerprint"]);
    let (exit, found, said) = scan(&home, &["clean.txt"], "");
    assert_eq!((exit, found.len(), said.as_str()), (0, 0, ""));
    assert_eq!(scan(&home, &["nowhere.txt"], "").0, 3);
}

#[test]
fn a_last_line_without_its_end_waits_or_is_taken_with_a_defect() {
    let mut random = Generator::new(common::seed("a_last_line"));
    let home = Home::new(SOURCES);
    let whole = Feed::Web.record(0, &mut random);
    let cut = Feed::Web.record(1, &mut random);
    let cut = cut.trim_end();
    home.write(Feed::Web.file(), format!("{whole}{cut}").as_bytes());
    let said = home.expect(0, &["run", "--once"]);
    let place = format!("{} bytes without an end at byte {} of ", cut.len(), whole.len());
    assert!(said.contains(&place) && said.contains("feeds/web/access.log wait"), "{place}: {said}");
    let said: Value = serde_json::from_str(&home.expect(0, &["--json", "run", "--once"])).unwrap();
    assert_eq!(said["unterminated"][0]["offset"], whole.len(), "{said}");
    assert_eq!(home.of_kind("event").len(), 1);
    let said: Value = serde_json::from_str(&home.expect(0, &["--json", "run", "--once", "--final"])).unwrap();
    assert_eq!(said["unterminated"], serde_json::json!([]), "{said}");
    let events = home.of_kind("event");
    assert_eq!(events.len(), 2);
    assert!(events[1]["defects"].to_string().contains("unterminated"), "{}", events[1]);
    assert!(events[1].to_string().contains(&Feed::Web.marker(1)), "{}", events[1]);
    home.expect(0, &["run", "--once", "--final"]);
    assert_eq!(home.of_kind("event").len(), 2);
    home.expect(2, &["run", "--final"]);
}

fn says(program: &str, arguments: &[&str], folder: &Path, input: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(fs::File::open(input).unwrap())
        .output()
        .unwrap();
    (output.status.success(), common::text(&output.stdout) + &common::text(&output.stderr))
}

#[test]
fn exported_keys_are_read_by_the_programs_they_are_for() {
    if !common::have(&[("openssl", &["version"]), ("ssh-keygen", &["-?"])]) {
        return;
    }
    let home = trail("exported_keys");
    let export = |format: &str| home.expect(0, &["keys", "export", "--format", format]);
    assert_eq!(home.expect(0, &["keys", "export", "--format", "vkey", "state"]), export("vkey"));
    let vkeys = export("vkey");
    let [log, epoch] = &vkeys.lines().collect::<Vec<_>>()[..] else { panic!("{vkeys}") };
    assert!(
        log.starts_with("acme.example/crmwarden/g1+")
            && epoch.starts_with("acme.example/crmwarden/g1/epoch0+")
    );
    let trust = export("trust");
    assert!(trust.starts_with("crmwarden-trust v1\norigin acme.example/crmwarden/g1\n"), "{trust}");
    assert!(trust.contains(&format!("\nlog {log}\nepoch0 {epoch}\nentry0 ")), "{trust}");

    // openssl: the key is one, and it is the one that signed the checkpoint.
    home.write("log.pem", export("pem").as_bytes());
    let folder = home.dir.path();
    let note = fs::read_to_string(home.path("state/trail/g1/checkpoint")).unwrap();
    let (body, signatures) = note.split_once("\n\n").unwrap();
    let encoded = signatures.lines().next().unwrap().rsplit(' ').next().unwrap();
    let bytes = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()
    };
    home.write("signature", &bytes[4..]);
    home.write("body", format!("{body}\n").as_bytes());
    let arguments = "pkeyutl -verify -rawin -pubin -inkey log.pem -in body -sigfile signature";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let (good, said) = says("openssl", &arguments, folder, Path::new("/dev/null"));
    assert!(good, "{said}");

    // ssh-keygen: the report's signatures hold for the exported line, and for no other bytes.
    let period = ["--framework", "pci-dss", "--from", "2026-11-20", "--to", "2026-11-23"];
    home.expect(0, &[&["report"], &period[..], &["-o", "report"]].concat());
    home.write("allowed", export("ssh").as_bytes());
    let mut signed = 0;
    for entry in fs::read_dir(home.path("report")).unwrap() {
        let signature = entry.unwrap().path();
        if signature.extension().is_none_or(|extension| extension != "sig") {
            continue;
        }
        signed += 1;
        let file = signature.with_extension("");
        let arguments = "-Y verify -f allowed -I acme.example -n crmwarden-report -s";
        let arguments: Vec<&str> = arguments.split(' ').chain([signature.to_str().unwrap()]).collect();
        let (good, said) = says("ssh-keygen", &arguments, folder, &file);
        assert!(good && said.contains("Good \"crmwarden-report\" signature for acme.example"), "{said}");
        let mut bytes = fs::read(&file).unwrap();
        bytes[0] ^= 1;
        home.write("changed", &bytes);
        assert!(!says("ssh-keygen", &arguments, folder, &home.path("changed")).0);
    }
    assert!(signed >= 2, "{signed} signatures");
}

#[test]
fn the_demo_runs_twice_and_repeats_nothing() {
    // A port in use is no obstacle; whoever has it already serves the purpose.
    let _taken = std::net::TcpListener::bind("127.0.0.1:7465");
    let home = Home::empty();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let said = home.expect(0, &["demo", "work", "--seconds", "8"]);
        assert!(said.contains("Metrics        http://127.0.0.1:") && !said.contains(":7465/"), "{said}");
        let mut locators = BTreeSet::new();
        let mut events = 0;
        for path in common::segments(&home.path("work/state")) {
            for line in fs::read_to_string(path).unwrap().lines() {
                let entry: Value = serde_json::from_str(line).unwrap();
                if entry["kind"] == "event" {
                    events += 1;
                    locators.insert(entry["raw"]["locator"].as_str().unwrap().to_owned());
                }
            }
        }
        assert_eq!(locators.len(), events, "an event twice");
        counts.push(events);
        home.expect(0, &["verify", "work/state", "--trust", "work/trust.txt"]);
    }
    eprintln!("events after each run: {counts:?}");
    assert!(counts[0] > 20 && counts[1] > counts[0], "{counts:?}");
    let mails = fs::read_dir(home.path("work/outbox")).unwrap().count();
    assert!(mails > 0, "no alert was written");
    home.expect(0, &["check", "-c", "work/crmwarden.yaml"]);
}
