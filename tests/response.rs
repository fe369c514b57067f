//! What people do about incidents, and what the passing of time does: on a clock that the test moves, over the
//! command line with and without a daemon, and out to receivers that are programs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::http::{Request, Server};
use common::writer::{self, Running};
use common::{Home, REPOSITORY, text, wait_for};
use crmwarden::clock::Hands;
use crmwarden::deliver::Outcome;
use crmwarden::incident::lifecycle::Act;
use crmwarden::model::Time;
use crmwarden::model::incident::IncidentState;
use crmwarden::response::Quiet;
use crmwarden::trail::verify::{Given, Verdict, verify};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ten in the morning, a Saturday.
const MORNING: Time = Time::from_seconds(1_795_860_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(60);

const BULK: [&str; 6] =
    ["EVENT_TYPE", "TIMESTAMP_DERIVED", "REQUEST_ID", "USER_ID", "METHOD_NAME", "ROWS_PROCESSED"];
const HEADER: &str =
    "\"EVENT_TYPE\",\"TIMESTAMP_DERIVED\",\"REQUEST_ID\",\"USER_ID\",\"METHOD_NAME\",\"ROWS_PROCESSED\"\n";

/// Somebody takes more rows than anybody should: one incident a person and day.
fn bulk_read(time: Time, number: usize) -> String {
    let (one, two) = (char::from(b'a' + (number / 26) as u8), char::from(b'a' + (number % 26) as u8));
    format!("\"API\",\"{time}\",\"r{number}\",\"0055e00000AAA{one}{two}\",\"query\",\"125000\"")
}

fn home(receivers: &str, routes: &str) -> Home {
    let home = Home::empty();
    home.write(
        "crmwarden.yaml",
        format!(
            "deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\nsources:\n  - name: sf\n    \
             file: {{ paths: [\"feeds/*.csv\"] }}\n    format: salesforce.event_log\n{receivers}{routes}"
        )
        .as_bytes(),
    );
    home.write("feeds/.keep", b"");
    for name in ["detections/bulk_rows", "operations/notification"] {
        let policy = fs::read(format!("{REPOSITORY}/policies/{name}.yaml")).unwrap();
        home.write(&format!("policies/{name}.yaml"), &policy);
    }
    home
}

const TWO: &str = "receivers:\n  - name: team\n    directory: team\n    budget: 3\n  - name: manager\n    directory: manager\n";
const ROUTES: &str = "routes:\n  - receivers: [team]\n    escalate: { after: 30m, receivers: [manager] }\n";

fn incident(running: &mut Running, number: usize) -> String {
    let before: Vec<String> = running.writer.state.incidents.iter().map(|it| it.id.clone()).collect();
    let time = running.now();
    running.records("sf", Some(&BULK), &[bulk_read(time, number)]);
    running.pass(Duration::from_secs(2));
    let mut new = running.writer.state.incidents.iter().filter(|it| !before.contains(&it.id));
    new.next().expect("a new incident").id.clone()
}

fn act(running: &mut Running, act: Act) -> Result<u64, String> {
    running.writer.respond(&act, "uid 7").unwrap()
}

/// The reasons of the alerts that a receiver was handed, each delivered.
fn reasons(home: &Home, running: &mut Running, receiver: &str) -> Vec<String> {
    let handed = running.handed(receiver);
    for alert in &handed {
        running.report(receiver, alert, Outcome::Delivered);
    }
    let owed: Vec<Value> = home.of_kind("alert");
    let reason = |id: &String| {
        let entry = owed.iter().find(|entry| entry["alert"] == id.as_str() && !entry["reason"].is_null());
        entry.expect("its entry")["reason"].as_str().unwrap().to_owned()
    };
    handed.iter().map(reason).collect()
}

/// The state after a restart is the state before it.
fn restarted(home: &Home, hands: &Hands, running: Running) -> Running {
    let before = running.writer.state.export();
    running.end().unwrap();
    let again = writer::start(home, hands);
    let export = again.writer.state.export();
    assert!(export == before, "{}\n{}", String::from_utf8_lossy(&before), String::from_utf8_lossy(&export));
    again
}

#[test]
fn whoever_does_not_answer_is_followed_by_somebody_who_does() {
    let (home, hands) = (home(TWO, ROUTES), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    let id = incident(&mut running, 1);
    assert_eq!(reasons(&home, &mut running, "team"), ["opened"]);
    running.pass(29 * MINUTE);
    assert!(reasons(&home, &mut running, "manager").is_empty());
    running.pass(2 * MINUTE);
    assert_eq!(reasons(&home, &mut running, "manager"), ["unanswered"]);
    running = restarted(&home, &hands, running);
    running.pass(20 * MINUTE);
    assert!(
        reasons(&home, &mut running, "manager").is_empty(),
        "not again at once, also not after a restart"
    );
    let seen = Act::Acknowledge { incident: id.clone(), seconds: 3600, reason: "looking".into() };
    act(&mut running, seen).unwrap();
    running.pass(80 * MINUTE);
    assert!(reasons(&home, &mut running, "manager").is_empty(), "acknowledged");
    running.pass(11 * MINUTE);
    assert_eq!(reasons(&home, &mut running, "manager"), ["unanswered"], "the acknowledgement lapsed");
    let to = |to| Act::Move { incident: id.clone(), to, reason: "known job".into() };
    assert!(
        act(&mut running, to(IncidentState::Closed)).unwrap_err().contains("`triaged` or `false_positive`")
    );
    act(&mut running, to(IncidentState::FalsePositive)).unwrap();
    running.pass(10 * HOUR);
    assert!(reasons(&home, &mut running, "manager").is_empty());
    assert_eq!(running.metric("crmwarden_incidents_open{severity=\"high\"}"), 0.0);
    running = restarted(&home, &hands, running);
    running.end().unwrap();
    let moves = home.of_kind("incident");
    let last = moves.last().unwrap();
    assert_eq!(
        (&last["transition"], &last["state"], &last["by"], &last["text"]),
        (&"moved".into(), &"false_positive".into(), &"uid 7".into(), &"known job".into())
    );
    let outcome = verify(&home.path("state"), &Given::default(), &mut |_| ()).unwrap();
    assert_eq!(outcome.verdict, Verdict::Ok);
}

#[test]
fn a_deadline_that_somebody_started_warns_at_each_share_and_ends() {
    let (home, hands) = (home(TWO, ROUTES), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    let id = incident(&mut running, 1);
    let provisional = running.writer.provisional_json(running.writer.state.incidents.get(&id).unwrap());
    assert!(provisional.as_array().unwrap().iter().any(|clock| clock["clock"] == "gdpr-33"));
    let from = running.now();
    let start = Act::StartClock {
        incident: id.clone(),
        clock: "gdpr-33".into(),
        from,
        reason: "persons in the Union".into(),
    };
    act(&mut running, start).unwrap();
    act(&mut running, Act::Move { incident: id.clone(), to: IncidentState::Triaged, reason: "real".into() })
        .unwrap();
    reasons(&home, &mut running, "team");
    let mut warned = Vec::new();
    for hour in 1..=80 {
        running.pass(HOUR);
        if !reasons(&home, &mut running, "team").is_empty() {
            warned.push(hour);
        }
        if hour == 40 {
            running = restarted(&home, &hands, running);
        }
    }
    assert_eq!(warned, [36, 54, 65, 72], "50, 75, 90 and 100 % of 72 hours");
    let due = running.metric("crmwarden_notification_next_due_timestamp_seconds");
    assert_eq!(due, from.plus_seconds(72 * 3600).seconds() as f64);
    act(
        &mut running,
        Act::EndClock { incident: id, clock: "gdpr-33".into(), reason: "sent, reference 4711".into() },
    )
    .unwrap();
    assert_eq!(running.metric("crmwarden_notification_next_due_timestamp_seconds"), 0.0);
}

#[test]
fn a_source_that_is_to_be_heard_of_is_missed() {
    let (home, hands) = (home(TWO, ROUTES), Hands::at(MORNING));
    let config = fs::read_to_string(home.path("crmwarden.yaml")).unwrap();
    let expected =
        config.replace("format: salesforce.event_log", "format: salesforce.event_log\n    expect_every: 2h");
    home.write("crmwarden.yaml", expected.as_bytes());
    let mut running = writer::start(&home, &hands);
    let silent = |home: &Home| {
        home.of_kind("finding").iter().filter(|it| it["rule"] == "operation.source_silent").count()
    };
    running.pass(MINUTE);
    running.pass(119 * MINUTE);
    assert_eq!(silent(&home), 0);
    running.pass(2 * MINUTE);
    assert_eq!(silent(&home), 1, "counted from the start");
    running.pass(10 * HOUR);
    assert_eq!(silent(&home), 1, "told once");
    incident(&mut running, 1);
    running.pass(119 * MINUTE);
    assert_eq!(silent(&home), 1);
    running.pass(5 * MINUTE);
    assert_eq!(silent(&home), 2, "silent again");
}

#[test]
fn a_storm_is_the_first_alerts_and_one_digest() {
    let (home, hands) = (home(TWO, ROUTES), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    for number in 0..20 {
        incident(&mut running, number);
    }
    assert_eq!(
        reasons(&home, &mut running, "team"),
        ["opened"; 3],
        "the budget, the first of all among them"
    );
    assert_eq!(running.metric("crmwarden_alerts_held_total"), 17.0);
    running = restarted(&home, &hands, running);
    running.pass(HOUR);
    let told = reasons(&home, &mut running, "manager");
    assert_eq!(
        told.iter().filter(|reason| *reason == "unanswered").count(),
        20,
        "one each, within the budget of 60"
    );
    assert_eq!(reasons(&home, &mut running, "team"), ["digest"]);
    let digest = home.of_kind("alert").into_iter().find(|entry| entry["reason"] == "digest").unwrap();
    assert!(digest["about"]["title"].as_str().unwrap().starts_with("17 more alerts"), "{digest}");
    assert!(digest["about"]["detail"].as_str().unwrap().contains("detection.bulk_rows: 17"), "{digest}");
    assert_eq!(digest["severity"], "high");
    running.pass(3 * HOUR);
    assert!(reasons(&home, &mut running, "team").is_empty(), "one digest");
    incident(&mut running, 30);
    assert_eq!(reasons(&home, &mut running, "team"), ["opened"], "another hour");
    assert_eq!(home.of_kind("incident").iter().filter(|it| it["transition"] == "opened").count(), 21);
}

#[test]
fn what_is_silenced_is_recorded_and_counted() {
    let (home, hands) = (home(TWO, ROUTES), Hands::at(MORNING));
    let mut running = writer::start(&home, &hands);
    let quiet = |rule: Option<&str>, seconds| Quiet {
        rule: rule.map(str::to_owned),
        seconds,
        reason: "migration, ticket 12".into(),
        ..Quiet::default()
    };
    for (bad, said) in [
        (quiet(None, 3600), "nothing silences everything"),
        (quiet(Some("detection."), 31 * 86_400), "30 days"),
        (Quiet { reason: " ".into(), ..quiet(Some("x"), 3600) }, "reason"),
    ] {
        assert!(running.writer.silence(&bad, "uid 7").unwrap().unwrap_err().contains(said));
    }
    let id = running.writer.silence(&quiet(Some("detection.bulk"), 7200), "uid 7").unwrap().unwrap();
    incident(&mut running, 1);
    running = restarted(&home, &hands, running);
    incident(&mut running, 2);
    running.pass(HOUR - MINUTE);
    assert!(reasons(&home, &mut running, "team").is_empty());
    assert!(
        reasons(&home, &mut running, "manager").is_empty(),
        "nobody is told, also not that nobody answers"
    );
    assert_eq!(home.of_kind("finding").len(), 2, "silenced is not unrecorded");
    let silenced: Vec<Value> = home.of_kind("alert");
    assert!(silenced.iter().all(|entry| entry["state"] == "silenced" && entry["silence"] == id.as_str()));
    assert_eq!(running.writer.state.silences[&id].silenced, 2);
    running.writer.end_silence(&id, "done early", "uid 7").unwrap().unwrap();
    incident(&mut running, 3);
    assert_eq!(reasons(&home, &mut running, "team"), ["opened"]);
    // One that runs out by itself.
    running.writer.silence(&quiet(Some("detection.bulk"), 3600), "uid 7").unwrap().unwrap();
    running.pass(HOUR + MINUTE);
    incident(&mut running, 4);
    assert_eq!(reasons(&home, &mut running, "team"), ["opened"]);
}

#[test]
fn commands_act_with_and_without_a_daemon() {
    let home = home(TWO, ROUTES);
    home.write(
        "feeds/a.csv",
        format!("{HEADER}{}\n", bulk_read(Time::parse("2026-11-20T10:00:00Z").unwrap(), 1)).as_bytes(),
    );
    home.expect(0, &["run", "--once"]);
    let listed = home.expect(0, &["incidents"]);
    assert!(listed.contains("nobody has it") && listed.contains("detection.bulk_rows"), "{listed}");
    let id = listed.split_whitespace().next().unwrap().to_owned();
    // Without a daemon.
    home.expect(0, &["incidents", "ack", &id, "--reason", "on it"]);
    let refused = home.run(&["incidents", "move", &id, "closed", "--reason", "x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("to `triaged` or `false_positive`"), "{}", text(&refused.stderr));
    // And with one.
    let daemon = home.ready_daemon();
    home.expect(0, &["incidents", "move", &id, "triaged", "--reason", "a real export"]);
    home.expect(0, &["incidents", "assign", &id, "--to", "kim@acme.example", "--reason", "on call"]);
    home.expect(0, &["incidents", "note", &id, "card 4111 1111 1111 1111 stands in the file"]);
    home.expect(
        0,
        &["incidents", "clock-start", &id, "gdpr-33", "--from", "2026-11-20T11:00:00Z", "--reason", "EU"],
    );
    let shown = home.expect(0, &["incidents", "show", &id]);
    for part in [
        "triaged",
        "kim@acme.example",
        "acknowledged by uid",
        "due 2026-11-23 11:00:00Z",
        "us-ca-1798-82-people",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("4111 1111"), "what people write is masked, too: {shown}");
    let json: Value = serde_json::from_str(&home.expect(0, &["--json", "incidents", "show", &id])).unwrap();
    assert_eq!(json["incident"]["state"], "triaged");
    home.expect(0, &["silence", "add", "--rule", "detection.", "--for", "1h", "--reason", "migration"]);
    assert!(home.expect(0, &["silence", "list"]).contains("in force until"));
    home.expect(0, &["alert", "test", "--receiver", "manager"]);
    wait_for("the fire drill arrives", LIMIT, || {
        let mails = fs::read_dir(home.path("manager")).into_iter().flatten();
        mails
            .flatten()
            .any(|mail| fs::read_to_string(mail.path()).is_ok_and(|it| it.contains("This is a test")))
    });
    wait_for("nothing is owed", LIMIT, || home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    assert_eq!(daemon.stop(), 0);
    let said = home.expect(0, &["verify", &home.path("state").display().to_string()]);
    assert!(said.contains("ok"), "{said}");
}

/// Requests, each as its head and body.
type Got = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A place for HTTP receivers that answers as it is told and keeps what it got.
fn endpoint(status: &Arc<AtomicU16>) -> (Server, Got) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let (kept, status) = (Arc::clone(&got), Arc::clone(status));
    let server = Server::start(move |request: &Request| {
        let status = status.load(Ordering::Relaxed);
        if status == 200 {
            kept.lock().unwrap().push((request.line.clone() + &request.head, request.body.clone()));
        }
        Some((status, "text/plain".into(), b"<secret prose>".to_vec()))
    });
    (server, got)
}

#[test]
fn programs_get_what_they_understand() {
    let status = Arc::new(AtomicU16::new(200));
    let (server, got) = endpoint(&status);
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let receivers = format!(
        "receivers:\n  - name: hook\n    webhook: {{ url: {0}/hook, secret_file: hook.secret, token_file: hook.token }}\n  \
         - name: chat\n    slack: {{ url_file: slack.url }}\n  \
         - name: duty\n    pagerduty: {{ routing_key_file: duty.key, url: {0}/duty }}\n  \
         - name: manager\n    alertmanager: {{ url: {0}/am }}\n  \
         - name: siem\n    syslog: {{ address: \"{1}\", transport: tcp, format: ocsf }}\n  \
         - name: old-siem\n    syslog: {{ address: \"{2}\", transport: udp }}\n    persons: hide\n",
        server.url(),
        collector.local_addr().unwrap(),
        datagrams.local_addr().unwrap(),
    );
    let home = home(&receivers, "routes:\n  - receivers: [hook, chat, duty, manager, siem, old-siem]\n");
    let secrets = [
        ("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        ("hook.token", "token-of-sixteen-letters".to_owned()),
        ("slack.url", format!("{}/services/T0/B0/secret", server.url())),
        ("duty.key", "routing-key-of-thirty-two-letters".to_owned()),
    ];
    for (name, secret) in secrets {
        home.write(name, secret.as_bytes());
        fs::set_permissions(home.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let line = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    home.write(
        "feeds/a.csv",
        format!("{HEADER}{}\n", bulk_read(Time::parse("2026-11-20T10:00:00Z").unwrap(), 1)).as_bytes(),
    );
    home.expect(0, &["run", "--once"]);
    assert!(home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    let got = got.lock().unwrap();
    let of = |path: &str| {
        let (head, body) =
            got.iter().find(|(head, _)| head.starts_with(&format!("POST {path} "))).expect(path);
        (head.clone(), serde_json::from_slice::<Value>(body).unwrap(), body.clone())
    };
    let (head, body, bytes) = of("/hook");
    let header = |name: &str| {
        let line =
            head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:"))).expect(name);
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    assert_eq!(header("authorization"), "Bearer token-of-sixteen-letters");
    assert_eq!(header("webhook-id"), body["alert"].as_str().unwrap());
    let key = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    .unwrap();
    let signed =
        [format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes(), bytes].concat();
    let mac =
        Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap().chain_update(&signed).finalize().into_bytes();
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac);
    assert_eq!(header("webhook-signature"), format!("v1,{expected}"));
    assert!(of("/services/T0/B0/secret").1["text"].as_str().unwrap().contains("Bulk read"));
    let duty = of("/duty").1;
    assert_eq!((&duty["event_action"], &duty["payload"]["severity"]), (&"trigger".into(), &"error".into()));
    assert_eq!(of("/am/api/v2/alerts").1[0]["labels"]["alertname"], "detection.bulk_rows");
    let said = line.join().unwrap();
    let (length, message) = said.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    let ocsf: Value = serde_json::from_str(
        message.split_once(" - {").map(|(_, json)| format!("{{{json}")).unwrap().as_str(),
    )
    .unwrap();
    assert_eq!(ocsf["class_uid"], 2004);
    let mut datagram = [0; 9000];
    datagrams.set_read_timeout(Some(LIMIT)).unwrap();
    let length = datagrams.recv(&mut datagram).unwrap();
    let cef = text(&datagram[..length]);
    assert!(
        cef.contains("CEF:0|crmwarden|") && !cef.contains("0055e00000AAAab"),
        "persons are hidden: {cef}"
    );
    // No secret is anywhere but in its file.
    let mut all = String::new();
    home.each_line(&mut |line| all.push_str(&text(line)));
    for secret in ["whsec_", "token-of-sixteen", "services/T0", "routing-key-of"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn a_refused_alert_is_a_dead_letter_and_can_be_sent_again() {
    let status = Arc::new(AtomicU16::new(422));
    let (server, got) = endpoint(&status);
    let receivers = format!("receivers:\n  - name: hook\n    webhook: {{ url: {}/hook }}\n", server.url());
    let home = home(&receivers, "routes:\n  - receivers: [hook]\n");
    home.write(
        "feeds/a.csv",
        format!("{HEADER}{}\n", bulk_read(Time::parse("2026-11-20T10:00:00Z").unwrap(), 1)).as_bytes(),
    );
    let daemon = home.ready_daemon();
    wait_for("it is refused", LIMIT, || home.expect(0, &["outbox", "list"]).contains("refused by hook"));
    status.store(503, Ordering::Relaxed);
    assert_eq!(home.expect(0, &["outbox", "retry"]), "1 owed again\n");
    wait_for("it fails", LIMIT, || home.expect(0, &["outbox", "list"]).contains("failing at hook"));
    status.store(200, Ordering::Relaxed);
    wait_for("it arrives", LIMIT, || home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    assert_eq!(got.lock().unwrap().len(), 1);
    assert_eq!(daemon.stop(), 0);
    let whys: Vec<String> =
        home.of_kind("alert").iter().filter_map(|it| Some(it["why"].as_str()?.to_owned())).collect();
    assert_eq!(whys, ["127.0.0.1 answered 422", "127.0.0.1 answered 503"], "ours, and no server's prose");
    // One that is given up.
    status.store(400, Ordering::Relaxed);
    let daemon = home.ready_daemon();
    home.expect(0, &["alert", "test"]);
    wait_for("it is refused", LIMIT, || home.expect(0, &["outbox", "list"]).contains("refused by hook"));
    assert_eq!(home.expect(0, &["outbox", "drop", "--reason", "the tool is gone"]), "1 given up\n");
    assert!(home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_broken_line_and_a_strange_answer_lose_nothing() {
    // Closes without a word, then answers half, then all of it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = std::thread::spawn(move || {
        for turn in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head);
            let answer: &[u8] = match turn {
                0 => b"",
                1 => b"HTTP/1.1 20",
                _ => b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            };
            stream.write_all(answer).unwrap();
            // What is left of the request is read, so that closing is no reset.
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let home = home(
        &format!("receivers:\n  - name: hook\n    webhook: {{ url: {url}/ }}\n"),
        "routes:\n  - receivers: [hook]\n",
    );
    home.write(
        "feeds/a.csv",
        format!("{HEADER}{}\n", bulk_read(Time::parse("2026-11-20T10:00:00Z").unwrap(), 1)).as_bytes(),
    );
    let daemon = home.ready_daemon();
    let sent = |home: &Home| home.of_kind("alert").iter().any(|entry| entry["state"] == "delivered");
    wait_for("it arrives", LIMIT, || home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    assert_eq!(daemon.stop(), 0);
    calls.join().unwrap();
    assert!(sent(&home));
}

#[test]
fn somebody_outside_hears_when_the_daemon_falls_silent() {
    let status = Arc::new(AtomicU16::new(200));
    let (server, got) = endpoint(&status);
    let hook = crmwarden::deliver::hook::Webhook {
        url: Some(format!("{}/alive", server.url())),
        url_file: None,
        secret_file: None,
        token_file: None,
        ca_file: None,
    };
    let alive = crmwarden::deliver::Alive { hook, every: Duration::from_millis(20) };
    let turns = Arc::new(AtomicU16::new(0));
    let (turning, count) = (Arc::clone(&turns), || got.lock().unwrap().len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // It turns at every look; then it does not any more.
    let stuck = Arc::new(AtomicU16::new(0));
    let halt = Arc::clone(&stuck);
    runtime.spawn(crmwarden::deliver::alive::keep(alive, move || {
        if halt.load(Ordering::Relaxed) == 0 {
            turning.fetch_add(1, Ordering::Relaxed);
        }
        u64::from(turning.load(Ordering::Relaxed))
    }));
    wait_for("signs of life", LIMIT, || count() >= 3);
    stuck.store(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    let before = count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), before, "a writer that does not turn is silent");
    assert!(got.lock().unwrap()[0].0.starts_with("GET /alive "));
}

/// What people type is masked like everything else, on every way out, and a restart changes nothing.
#[test]
fn what_people_type_is_masked_wherever_it_goes() {
    let routes = "routes:\n  - receivers: [duty]\n";
    let home = home(
        "receivers:\n  - name: duty\n    pagerduty: { routing_key_file: duty.key }\n    persons: hide\n",
        routes,
    );
    home.write("duty.key", b"routing-key-of-thirty-two-letters");
    let hands = Hands::at(MORNING);
    let mut running = writer::start(&home, &hands);
    let id = incident(&mut running, 1);
    let number = crmwarden::inspect::dlp::generate::Generator::new(7).card("visa");
    let seen =
        Act::Acknowledge { incident: id.clone(), seconds: 3600, reason: format!("card {number} found") };
    act(&mut running, seen).unwrap();
    let quiet = Quiet {
        actor: Some(number.clone()),
        seconds: 3600,
        reason: format!("of {number}"),
        ..Quiet::default()
    };
    running.writer.silence(&quiet, "uid 7").unwrap().unwrap();
    running = restarted(&home, &hands, running);
    let alert =
        running.writer.state.outbox.values().find(|alert| alert.reason == "acknowledged").unwrap().clone();
    let notice = running.writer.notice_of(&alert, "duty");
    let sent = crmwarden::alert::payload::pagerduty(&notice, "k").to_string();
    let all = [
        sent.clone(),
        running.writer.silences_json().to_string(),
        String::from_utf8(running.writer.state.export()).unwrap(),
        home.entries().iter().map(ToString::to_string).collect::<String>(),
    ];
    for text in all {
        assert!(!text.contains(&number), "{text}");
    }
    assert!(!sent.contains("0055e00000AAAab"), "persons are hidden in titles of later alerts, too: {sent}");
}
