//! Alerts by e-mail, end to end: the binary, STARTTLS and AUTH, a server that is down first, a daemon that
//! is killed while it owes, and one message in the end.
//!
//! Needs `/usr/bin/python3` with aiosmtpd (Debian: python3-aiosmtpd) and openssl. Without them the tests say
//! so and pass, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use crmwarden::inspect::dlp::generate::Generator;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PYTHON: &str = "/usr/bin/python3";
const PASSWORD: &str = "only-for-tests";

/// A mail server; ends with its standard input.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn server(home: &Home, port: u16) -> Server {
    let port = port.to_string();
    let mut child = Command::new(PYTHON)
        .arg(format!("{}/tests/smtp/server.py", common::REPOSITORY))
        .args(["--starttls", "server.pem", "server.key", "--port", &port])
        .args(["--auth", "crmwarden", PASSWORD, "--dir", "in"])
        .current_dir(home.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), port);
    Server(child)
}

fn openssl(home: &Home, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", common::text(&output.stderr));
}

/// A workspace whose one receiver is a mail server on `port`, with its throwaway authority, and one record
/// that is worth an alert. `None`, said aloud, where a program is missing.
fn workspace(port: u16) -> Option<Home> {
    if !common::have(&[(PYTHON, &["--version"]), ("openssl", &["version"])]) {
        return None;
    }
    let module = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !module.unwrap().success() {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "python3-aiosmtpd is missing");
        eprintln!("skipped: python3-aiosmtpd is missing");
        return None;
    }
    let home = Home::new(&format!(
        "sources:\n  - name: web\n    file: {{ paths: [\"access.log\"] }}\n    format: access_log.combined\n\
         receivers:\n  - name: security\n    email:\n      to: [\"soc@acme.example\"]\n      from: \"crmwarden@acme.example\"\n      \
         smtp: {{ host: localhost, port: {port}, tls: starttls, user: crmwarden, password_file: smtp.pass, ca_file: ca.pem }}\n\
         routes:\n  - receivers: [security]\n"
    ));
    fs::create_dir(home.path("in")).unwrap();
    home.write("smtp.pass", format!("{PASSWORD}\n").as_bytes());
    fs::set_permissions(home.path("smtp.pass"), fs::Permissions::from_mode(0o600)).unwrap();
    home.write("server.ext", b"basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        &home,
        &format!(
            "req -x509 {key} -days 1 -subj /CN=test-authority -addext basicConstraints=critical,CA:TRUE \
             -keyout ca.key -out ca.pem"
        ),
    );
    openssl(&home, &format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    openssl(
        &home,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile server.ext -out server.pem",
    );
    let card = Generator::new(common::seed("mail")).card("visa");
    home.write(
        "access.log",
        format!(
            "198.51.100.7 - - [20/Nov/2026:08:00:02 +0100] \"GET /web?card={card} HTTP/1.1\" 200 42 \"-\" \"x\"\n"
        )
        .as_bytes(),
    );
    Some(home)
}

/// Entries about the alert at its receiver, in the order of their states.
fn states(home: &Home) -> Vec<String> {
    // The daemon writes while we read: what has no end yet is not there yet.
    let text = home.segments().iter().map(|path| common::text(&fs::read(path).unwrap())).collect::<String>();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .filter(|entry| entry["kind"] == "alert")
        .map(|entry| entry["state"].as_str().unwrap().to_owned())
        .collect()
}

fn received(home: &Home) -> Vec<String> {
    (1..).map_while(|n| fs::read(home.path(&format!("in/{n}.eml"))).ok()).map(|m| common::text(&m)).collect()
}

/// One message, whose id is the alert's.
fn assert_one_message(home: &Home) {
    let owed = home.of_kind("alert").into_iter().find(|entry| entry["state"] == "owed").unwrap();
    let id = owed["alert"].as_str().unwrap();
    let messages = received(home);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let wanted = format!("Message-ID: <{id}.security@acme.example>");
    assert!(messages[0].contains(&wanted), "{wanted} in {}", messages[0]);
    assert!(home.log().contains(&format!("{id} delivered to security")), "{}", home.log());
    assert!(!home.log().contains(PASSWORD));
}

const PATIENCE: Duration = Duration::from_secs(25);

#[test]
fn a_server_that_comes_up_late_gets_the_alert_once() {
    let port = common::free_port();
    let Some(home) = workspace(port) else { return };
    let daemon = home.daemon();
    common::wait_for("owed and failing", PATIENCE, || states(&home) == ["owed", "failing"]);
    assert!(received(&home).is_empty());
    let server = server(&home, port);
    common::wait_for("delivered", PATIENCE, || states(&home) == ["owed", "failing", "delivered"]);
    assert_eq!(daemon.stop(), 0);
    // Another start owes nothing and sends nothing.
    home.expect(0, &["run", "--once"]);
    drop(server);
    assert_one_message(&home);
    home.expect(0, &["verify", "state"]);
}

#[test]
fn an_alert_survives_the_kill_of_its_daemon_and_comes_once() {
    let port = common::free_port();
    let Some(home) = workspace(port) else { return };
    let daemon = home.daemon();
    common::wait_for("owed and failing", PATIENCE, || states(&home) == ["owed", "failing"]);
    daemon.kill();
    // It may have tried more than once before it was killed.
    let tries = || home.log().matches(" to security: ").count();
    let before = tries();
    // Killed with the server still down, started with it still down.
    let daemon = home.daemon();
    common::wait_for("tried again", PATIENCE, || tries() > before);
    daemon.kill();
    let server = server(&home, port);
    let daemon = home.daemon();
    common::wait_for("delivered", PATIENCE, || states(&home).contains(&"delivered".to_owned()));
    assert_eq!(daemon.stop(), 0);
    home.expect(0, &["run", "--once"]);
    drop(server);
    assert_one_message(&home);
    let states = states(&home);
    assert_eq!(states.iter().filter(|state| *state == "owed").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "delivered").count(), 1, "{states:?}");
    home.expect(0, &["verify", "state"]);
}

/// `run --once` does not wait for a server that is down: it says what is owed, and the next run sends it.
#[test]
fn one_pass_says_what_is_owed_and_the_next_one_sends_it() {
    let port = common::free_port();
    let Some(home) = workspace(port) else { return };
    let said: Value = serde_json::from_str(&home.expect(0, &["--json", "run", "--once"])).unwrap();
    assert_eq!(said["owed"], 1, "{said}");
    let server = server(&home, port);
    let said: Value = serde_json::from_str(&home.expect(0, &["--json", "run", "--once"])).unwrap();
    assert_eq!(said["owed"], 0, "{said}");
    drop(server);
    assert_eq!(received(&home).len(), 1);
}
