//! Records pushed over HTTP: taken once, acknowledged when signed, refused with a reason. The real daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::feeds::{Feed, markers};
use common::http::{Answer, ask};
use common::{Home, free_port, text, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use hmac::{Hmac, KeyInit, Mac};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WEBHOOK: &[u8] = b"shared between Debezium and us";
const TOKEN: &str = "a-token-of-the-tests-0123456789";
const BEARER: &str = "Authorization: Bearer a-token-of-the-tests-0123456789";
const NDJSON: &str = "Content-Type: application/x-ndjson";

struct Site {
    home: Home,
    address: String,
}

fn secret(home: &Home, name: &str, value: &str) {
    home.write(name, value.as_bytes());
    std::fs::set_permissions(home.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn site(options: &str) -> Site {
    let home = Home::empty();
    let address = format!("127.0.0.1:{}", free_port());
    secret(&home, "push.token", TOKEN);
    secret(&home, "push.secret", "shared between two");
    secret(&home, "webhook.secret", &format!("whsec_{}", BASE64.encode(WEBHOOK)));
    home.configure(
        &format!("metrics: \"off\"\nlisten: {address}\n"),
        &format!(
            "sources:\n  - name: dv\n    http: {{ token_file: push.token{options} }}\n    format: dataverse.audit\n  \
             - name: signed\n    http: {{ hmac: {{ secret_file: push.secret, header: X-Signature-256 }} }}\n    \
             format: dataverse.audit\n  - name: hook\n    http: {{ webhook_secret_file: webhook.secret }}\n    \
             format: debezium\n  - name: sf\n    http: {{ token_file: push.token }}\n    \
             format: salesforce.event_log\n"
        ),
    );
    Site { home, address }
}

impl Site {
    fn push(&self, source: &str, headers: &[&str], body: &[u8]) -> Answer {
        ask(&self.address, &format!("POST /ingest/{source}"), headers, body).expect("an answer")
    }

    fn counted(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        self.home.each_line(&mut |line| {
            let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
            if entry["kind"] == "event" {
                markers(line).into_iter().for_each(|marker| *counts.entry(marker).or_insert(0) += 1);
            }
        });
        counts
    }
}

fn records(feed: Feed, numbers: std::ops::Range<u64>) -> String {
    let mut random = Generator::new(1);
    numbers.map(|number| feed.record(number, &mut random)).collect()
}

#[test]
fn what_is_answered_with_202_is_signed_and_stands_once() {
    let site = site("");
    let daemon = site.home.ready_daemon();
    let lines = records(Feed::Dataverse, 0..3);
    let answer = site.push("dv", &[BEARER, NDJSON], lines.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&said["records"], &said["duplicate"]), (&3.into(), &false.into()));
    // At this moment a checkpoint on the disk covers it: a kill takes nothing away.
    daemon.kill();
    assert_eq!(site.counted().values().sum::<u32>(), 3);
    let size: u64 = text(&std::fs::read(site.home.path("state/trail/g1/checkpoint")).unwrap())
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(said["checkpoint"].as_u64().unwrap() <= size);

    let _daemon = site.home.ready_daemon();
    let array = |numbers| format!("[{}]", records(Feed::Dataverse, numbers).trim_end().replace('\n', ","));
    for (kind, numbers, status) in [
        ("application/json", 3..5, 202),
        ("application/cloudevents-batch+json; charset=UTF-8", 9..11, 202),
        ("text/html", 11..12, 415),
    ] {
        let kind = format!("Content-Type: {kind}");
        assert_eq!(site.push("dv", &[BEARER, &kind], array(numbers).as_bytes()).status, status, "{kind}");
    }
    let one = records(Feed::Dataverse, 5..6).replace(",\"", ",\n \"");
    assert_eq!(site.push("dv", &[BEARER, "Content-Type: application/json"], one.as_bytes()).status, 202);
    let zstd = zstd::bulk::compress(records(Feed::Dataverse, 6..8).as_bytes(), 1).unwrap();
    assert_eq!(site.push("dv", &[BEARER, NDJSON, "Content-Encoding: zstd"], &zstd).status, 202);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(records(Feed::Dataverse, 8..9).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(site.push("dv", &[BEARER, "Content-Encoding: gzip"], &gzip).status, 202);
    for kind in ["application/json", "application/x-ndjson", "application/cloudevents+json"] {
        let answer = site.push("sf", &[BEARER, &format!("Content-Type: {kind}")], b"{\"a\":1}");
        assert_eq!((answer.status, answer.text().contains("text/csv")), (415, true), "{kind}");
    }
    let csv = format!("{}{}", Feed::Salesforce.header(), records(Feed::Salesforce, 0..4));
    assert_eq!(site.push("sf", &[BEARER, "Content-Type: text/csv"], csv.as_bytes()).status, 202);
    let counts = site.counted();
    assert_eq!(counts.len(), 15);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let event = &site.home.of_kind("event")[0];
    assert!(event["raw"]["locator"].as_str().unwrap().starts_with("push:dv@"), "{event}");
}

#[test]
fn a_key_is_honoured_over_restarts_and_for_one_body_only() {
    let site = site("");
    let mut daemon = site.home.ready_daemon();
    let body = records(Feed::Dataverse, 0..4);
    let key = "Idempotency-Key: order-66";
    let pushed = |body: &str, key: &str| site.push("dv", &[BEARER, NDJSON, key], body.as_bytes());
    assert_eq!(pushed(&body, key).status, 202);
    for round in 0..2 {
        let again = pushed(&body, key);
        assert_eq!(again.status, 202);
        let said: serde_json::Value = serde_json::from_slice(&again.body).unwrap();
        assert_eq!((&said["records"], &said["duplicate"]), (&4.into(), &true.into()), "{round}");
        assert_eq!(pushed(&records(Feed::Dataverse, 4..6), key).status, 422);
        if round == 0 {
            daemon.kill();
            daemon = site.home.ready_daemon();
        }
    }
    assert_eq!(pushed("", "Idempotency-Key: nothing").status, 202);
    assert_eq!(pushed(&body, "Idempotency-Key: two words").status, 400);
    assert_eq!(site.counted().values().sum::<u32>(), 4);
    assert!(site.home.entries().iter().all(|entry| !entry.to_string().contains("order-66")));
}

#[test]
fn kills_between_the_pieces_of_a_body_repeat_nothing() {
    let site = site("");
    let seed = common::seed("kills_between_the_pieces");
    let mut random = Generator::new(seed);
    let mut daemon = site.home.ready_daemon();
    // About five MiB: ten pieces, so that kills fall between them.
    let body = records(Feed::Dataverse, 0..20_000);
    let headers = [BEARER, NDJSON, "Idempotency-Key: large"];
    let mut kills = 0;
    let answer = loop {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&site.address, "POST /ingest/dv", &headers, body.as_bytes()));
            if kills < 6 {
                std::thread::sleep(Duration::from_millis(random.below(400)));
                daemon.kill();
                kills += 1;
            }
            asked.join().unwrap()
        });
        if kills < 6 {
            daemon = site.home.ready_daemon();
            continue;
        }
        daemon = site.home.ready_daemon();
        break site.push("dv", &headers, body.as_bytes());
    };
    assert_eq!(answer.status, 202, "{}", answer.text());
    let counts = site.counted();
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(3).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    assert_eq!(counts.len(), 20_000);
    drop(daemon);
}

#[test]
fn only_who_has_the_secret_is_taken_from() {
    let site = site("");
    let _daemon = site.home.ready_daemon();
    let body = records(Feed::Dataverse, 0..1);
    let wrong = "Authorization: Bearer a-token-of-the-tests-0123456780";
    for (source, headers) in [
        ("dv", vec![]),
        ("dv", vec![wrong]),
        ("dv", vec![BEARER, BEARER]),
        ("unknown", vec![BEARER]),
        ("signed", vec![BEARER]),
    ] {
        let answer = site.push(source, &headers, body.as_bytes());
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, "No source takes this from you.\n"),
            "{source}"
        );
    }
    let mut keyed = Hmac::<sha2::Sha256>::new_from_slice(b"shared between two").unwrap();
    keyed.update(body.as_bytes());
    let hex: String = keyed.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [format!("X-Signature-256: sha256={hex}"), format!("X-Signature-256: {hex}")] {
        assert_eq!(site.push("signed", &[&form], body.as_bytes()).status, 202);
    }
    let signature = format!("X-Signature-256: sha256={hex}");
    assert_eq!(site.push("signed", &[&signature], (body.clone() + " ").as_bytes()).status, 401);
    assert_eq!(site.push("dv", &[BEARER, "Host: evil.example"], body.as_bytes()).status, 421);
    let get = ask(&site.address, "GET /ingest/dv", &[BEARER], b"").unwrap();
    assert_eq!(get.status, 405);
    assert_eq!(site.counted().values().sum::<u32>(), 2);
}

/// What Debezium Server's HTTP sink sends with `authentication.type=standard-webhooks`: one change a request, or a list
/// of them, without an idempotency key; after an answer other than 2xx, or none, the same message id again.
#[test]
fn a_signed_webhook_is_taken_once_by_its_id() {
    let site = site("");
    let mut daemon = site.home.ready_daemon();
    let change = |id: u32| {
        serde_json::json!({ "schema": { "type": "struct", "fields": [], "name": "crm.public.contact.Envelope" },
            "payload": {
                "before": null, "after": { "id": id, "name": format!("contact {id}") },
                "source": { "version": "3.6.3.Final", "connector": "postgresql", "name": "crm", "ts_ms": 1_796_000_000_000_u64,
                            "db": "crm", "schema": "public", "table": "contact", "txId": 700 + id, "lsn": 9000 + id },
                "op": "c", "ts_ms": 1_796_000_000_100_u64 } })
        .to_string()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let push = |id: &str, seconds: u64, signed: &str, body: &str| {
        let mut keyed = Hmac::<sha2::Sha256>::new_from_slice(WEBHOOK).unwrap();
        keyed.update(format!("{id}.{seconds}.{signed}").as_bytes());
        let said = BASE64.encode(keyed.finalize().into_bytes());
        let headers = [
            "Content-Type: application/json".to_owned(),
            format!("webhook-id: {id}"),
            format!("webhook-timestamp: {seconds}"),
            format!("webhook-signature: v1,{said}"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = site.push("hook", &headers, body.as_bytes());
        let duplicate = serde_json::from_slice::<serde_json::Value>(&answer.body);
        (answer.status, duplicate.is_ok_and(|said| said["duplicate"] == true))
    };
    let one = change(1);
    assert_eq!(push("msg_1", now, &one, &one), (202, false));
    // The answer was lost: the sink signs the same message again, some seconds later.
    assert_eq!(push("msg_1", now + 2, &one, &one), (202, true));
    daemon.kill();
    daemon = site.home.ready_daemon();
    assert_eq!(push("msg_1", now + 3, &one, &one), (202, true));
    // A key beside it that nobody signed counts for nothing.
    let mut keyed = Hmac::<sha2::Sha256>::new_from_slice(WEBHOOK).unwrap();
    keyed.update(format!("msg_1.{now}.{one}").as_bytes());
    let headers = [
        "webhook-id: msg_1".to_owned(),
        format!("webhook-timestamp: {now}"),
        format!("webhook-signature: v1,{}", BASE64.encode(keyed.finalize().into_bytes())),
        "Idempotency-Key: another".to_owned(),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let answer = site.push("hook", &headers, one.as_bytes());
    assert!(answer.text().contains("\"duplicate\":true"), "{}", answer.text());
    let batch = format!("[{},{}]", change(2), change(3));
    assert_eq!(push("msg_2", now, &batch, &batch), (202, false));
    let other = change(4);
    assert_eq!(push("msg_2", now, &other, &other), (422, false));
    assert_eq!(push("msg_3", now, &one, &other), (401, false), "another body than the signed one");
    assert_eq!(push("msg_4", now - 400, &other, &other), (401, false), "signed too long ago");
    drop(daemon);
    let ids: Vec<String> =
        site.home.of_kind("event").iter().map(|event| event["target"]["ids"][0].to_string()).collect();
    assert_eq!(ids, ["\"1\"", "\"2\"", "\"3\""]);
}

#[test]
fn limits_are_said_with_their_number() {
    let site = site(", max_body: 4096, rate: 2");
    let _daemon = site.home.ready_daemon();
    let long = vec![b'x'; 5000];
    assert_eq!(site.push("dv", &[BEARER], &long).status, 413);
    let packed = zstd::bulk::compress(&vec![b' '; 400_000], 3).unwrap();
    assert_eq!(site.push("dv", &[BEARER, "Content-Encoding: zstd"], &packed).status, 413);
    wait_for("a token comes back", Duration::from_secs(10), || {
        site.push("dv", &[BEARER, "Content-Encoding: br"], b"x").status == 415
    });
    let mut later = 0;
    for _ in 0..12 {
        let answer = site.push("dv", &[BEARER, "Content-Type: application/json"], b"{\"a\":");
        match answer.status {
            429 => {
                later += 1;
                assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", answer.head);
            }
            status => assert_eq!((status, answer.text().contains("line 1")), (400, true)),
        }
    }
    assert!(later >= 6, "{later} of 12 were told to come later");
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let cases = [
        (
            "http: {}\n    format: dataverse.audit",
            "needs exactly one of `token_file:`, `webhook_secret_file:` and `hmac:`",
        ),
        ("http: { token_file: nowhere }\n    format: dataverse.audit", "does not exist"),
        (
            "http: { token_file: push.token }\n    format: sap.security_audit_log\n    timezone: UTC",
            "records of fixed length",
        ),
        ("http: { token_file: push.token }\n    format: dataverse.grants", "must lie in files"),
        ("http: { token_file: push.token, rate: 0 }\n    format: dataverse.audit", "1 to 10000"),
        (
            "nats: { server: \"nats://u:p@h:1\", stream: S, subject: s, durable: d }\n    format: dataverse.audit",
            "a secret in an address",
        ),
        (
            "nats: { server: \"http://h:1\", stream: S, subject: s, durable: d }\n    format: dataverse.audit",
            "nats://HOST:PORT",
        ),
        (
            "nats: { server: \"nats://h:1\", stream: S, subject: s, durable: \"d.x\" }\n    format: dataverse.audit",
            "`durable:` is 1 to 64",
        ),
        (
            "syslog: { listen: \"127.0.0.1:1\", transport: tls }\n    format: dataverse.audit",
            "`certificate_file:` and `key_file:`",
        ),
        ("syslog: { listen: \"x\", transport: udp }\n    format: dataverse.audit", "not an address"),
        ("exec: { command: [] }\n    format: dataverse.audit", "`command:` is empty"),
        ("exec: { command: [no-such-program-anywhere] }\n    format: dataverse.audit", "is not found"),
        ("exec: { command: [\"/bin/true\"], every: 2d }\n    format: dataverse.audit", "1s to 24h"),
        (
            "stdin: {}\n    exec: { command: [\"/bin/true\"] }\n    format: dataverse.audit",
            "exactly one kind of input",
        ),
        ("stdin: {}\n    start_at: end\n    format: dataverse.audit", "`start_at:` is for files"),
    ];
    let home = Home::empty();
    secret(&home, "push.token", TOKEN);
    for (source, expected) in cases {
        home.configure(
            "metrics: \"off\"\nlisten: 127.0.0.1:7464\n",
            &format!("sources:\n  - name: a\n    {source}\n"),
        );
        let output = home.run(&["check"]);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{source}: {said}");
        assert!(said.contains(expected), "{source}: {said}");
    }
    home.configure(
        "metrics: \"off\"\n",
        "sources:\n  - name: a\n    http: { token_file: push.token }\n    format: dataverse.audit\n",
    );
    let said = text(&home.run(&["check"]).stderr);
    assert!(said.contains("`http:` needs `listen:`"), "{said}");
}
