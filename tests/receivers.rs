//! Receivers that are programs, each the real one where there is one: Debian's Alertmanager, and a collector behind
//! TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::http::ask;
use common::{Home, REPOSITORY, free_port, have, text, wait_for};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const BULK_READ: &str = "\"EVENT_TYPE\",\"TIMESTAMP_DERIVED\",\"REQUEST_ID\",\"USER_ID\",\"METHOD_NAME\",\"ROWS_PROCESSED\"\n\
     \"API\",\"2026-11-20T10:00:00Z\",\"r1\",\"0055e00000AAAaa\",\"query\",\"125000\"\n";

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A deployment with one receiver, whose feed holds one bulk read.
fn home(receiver: &str) -> Home {
    let home = Home::empty();
    home.write(
        "crmwarden.yaml",
        format!(
            "deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\nsources:\n  - name: sf\n    \
             file: {{ paths: [\"feeds/*.csv\"] }}\n    format: salesforce.event_log\nreceivers:\n  - name: them\n    \
             {receiver}\nroutes:\n  - receivers: [them]\n"
        )
        .as_bytes(),
    );
    for name in ["detections/bulk_rows", "operations/notification"] {
        let policy = fs::read(format!("{REPOSITORY}/policies/{name}.yaml")).unwrap();
        home.write(&format!("policies/{name}.yaml"), &policy);
    }
    home.write("feeds/a.csv", BULK_READ.as_bytes());
    home
}

#[test]
fn a_real_alertmanager_shows_an_incident_until_it_is_closed() {
    if !have(&[("prometheus-alertmanager", &["--version"]), ("amtool", &["--version"])]) {
        return;
    }
    let port = free_port();
    let home = home(&format!("alertmanager: {{ url: \"http://127.0.0.1:{port}\" }}"));
    home.write("alertmanager.yml", b"route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n");
    let manager = Command::new("prometheus-alertmanager")
        .args(["--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address="])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(home.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _manager = Program(manager);
    let address = format!("127.0.0.1:{port}");
    wait_for("the Alertmanager", LIMIT, || {
        ask(&address, "GET /-/ready", &["Connection: close"], b"").is_some_and(|answer| answer.status == 200)
    });
    let alerts = || -> Vec<Value> {
        let answer = ask(&address, "GET /api/v2/alerts", &["Connection: close"], b"").unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    };
    let daemon = home.ready_daemon();
    wait_for("the alert", LIMIT, || !alerts().is_empty());
    let alert = &alerts()[0];
    let labels = &alert["labels"];
    assert_eq!((&labels["alertname"], &labels["severity"]), (&"detection.bulk_rows".into(), &"high".into()));
    assert_eq!((&labels["deployment"], &labels["source"]), (&"acme.example".into(), &"sf".into()));
    let tool = Command::new("amtool")
        .args(["alert", "query", "alertname=detection.bulk_rows"])
        .arg(format!("--alertmanager.url=http://{address}"))
        .output()
        .unwrap();
    assert!(text(&tool.stdout).contains("detection.bulk_rows"), "{}", text(&tool.stderr));

    let listed: Value = serde_json::from_str(&home.expect(0, &["--json", "incidents"])).unwrap();
    let id = listed["incidents"][0]["incident"].as_str().unwrap().to_owned();
    home.expect(0, &["incidents", "move", &id, "false_positive", "--reason", "a rehearsal"]);
    wait_for("the end of the alert", LIMIT, || alerts().is_empty());
    assert_eq!(daemon.stop(), 0);
}

/// A certificate for `localhost` and its key, made here.
fn certificate(home: &Home) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    fs::set_permissions(home.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_collector_behind_tls_gets_the_message_and_a_stranger_does_not() {
    if !have(&[("openssl", &["version"])]) {
        return;
    }
    let port = free_port();
    let collector = "transport: tls, format: cef, ca_file: tls.crt";
    let home = home(&format!("syslog: {{ address: \"localhost:{port}\", {collector} }}"));
    certificate(&home);
    // Somebody else answers first: his certificate is of nobody that is trusted.
    let strange = Home::empty();
    certificate(&strange);
    let serve = |at: &Home| {
        let mut server = Command::new("openssl")
            .args(["s_server", "-quiet", "-cert", "tls.crt", "-key", "tls.key", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(at.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(server.stdout.take().unwrap());
        let (send, received) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while out.read_until(b'}', &mut bytes).is_ok_and(|read| read > 0) {}
            let _ = out.read_to_end(&mut bytes);
            let _ = send.send(text(&bytes));
        });
        (Program(server), received)
    };
    let (stranger, heard) = serve(&strange);
    let daemon = home.ready_daemon();
    wait_for("the refusal", LIMIT, || home.log().contains("them"));
    assert!(home.expect(0, &["outbox", "list"]).contains("them"), "it stays owed");
    drop(stranger);
    assert_eq!(heard.recv().unwrap(), "", "a stranger was told something");

    let (collector, heard) = serve(&home);
    wait_for("the delivery", LIMIT, || home.expect(0, &["outbox", "list"]).contains("nothing is owed"));
    drop(collector);
    let said = heard.recv().unwrap();
    let (length, message) = said.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len(), "octets are counted (RFC 5425): {said}");
    assert!(message.starts_with("<") && message.contains("CEF:0|crmwarden|crmwarden|"), "{message}");
    assert_eq!(daemon.stop(), 0);
}
