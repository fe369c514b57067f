//! Standard input, commands and syslog as sources, with the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::feeds::{Feed, markers};
use common::{Home, free_port, have, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn records(feed: Feed, numbers: std::ops::Range<u64>) -> String {
    let mut random = Generator::new(1);
    numbers.map(|number| feed.record(number, &mut random)).collect()
}

fn counted(home: &Home) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for event in home.of_kind("event") {
        markers(event.to_string().as_bytes())
            .into_iter()
            .for_each(|marker| *counts.entry(marker).or_insert(0) += 1);
    }
    counts
}

fn assert_once(home: &Home, feed: Feed, wanted: u64) {
    let counts = counted(home);
    let expected: BTreeMap<String, u32> = (0..wanted).map(|number| (feed.marker(number), 1)).collect();
    assert!(
        counts == expected,
        "{} of {wanted}: {:?}",
        counts.len(),
        counts.iter().find(|(_, count)| **count != 1)
    );
}

fn script(home: &Home, text: &str) {
    home.write("connector", format!("#!/bin/sh\n{text}").as_bytes());
    std::fs::set_permissions(home.path("connector"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn standard_input_is_read_to_its_end() {
    for (feed, format) in [(Feed::Dataverse, "dataverse.audit"), (Feed::Salesforce, "salesforce.event_log")] {
        let home = Home::new(&format!("sources:\n  - name: in\n    stdin: {{}}\n    format: {format}\n"));
        let mut child =
            home.command(&["run", "--once"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = format!("{}{}", feed.header(), records(feed, 0..5000));
        input.write_all(text.trim_end().as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", common::text(&output.stderr));
        assert_once(&home, feed, 5000);
        let last = home.of_kind("event").pop().unwrap();
        assert!(last["defects"].to_string().contains("unterminated"), "{last}");
    }
}

#[test]
fn a_command_with_cursors_is_read_once_whatever_kills_it() {
    // A connector as people write them: it goes on behind the cursor, one step of it at a time.
    let home = Home::new(
        "sources:\n  - name: mine\n    exec: { command: [\"./connector\"], every: 1s }\n    format: dataverse.audit\n",
    );
    for page in 0..40 {
        home.write(
            &format!("pages/{page}"),
            records(Feed::Dataverse, page * 100..page * 100 + 100).as_bytes(),
        );
    }
    script(
        &home,
        "at=${CRMWARDEN_CURSOR:-0}\n[ \"$CRMWARDEN_SOURCE\" = mine ] || exit 3\n\
         while [ -e pages/$at ]; do cat pages/$at; at=$((at+1)); echo \"#cursor $at\"; sleep 0.02; done\n",
    );
    let mut random = Generator::new(common::seed("a_command_with_cursors"));
    for _ in 0..5 {
        let daemon = home.ready_daemon();
        std::thread::sleep(Duration::from_millis(random.below(300)));
        daemon.kill();
    }
    let daemon = home.ready_daemon();
    wait_for("all pages", LIMIT, || counted(&home).len() == 4000);
    daemon.stop();
    assert_once(&home, Feed::Dataverse, 4000);
}

#[test]
fn a_failing_command_is_told_once_and_its_records_stay() {
    let home = Home::new(
        "sources:\n  - name: mine\n    exec: { command: [\"./connector\"] }\n    format: dataverse.audit\n",
    );
    home.write("page", records(Feed::Dataverse, 0..3).as_bytes());
    script(&home, "cat page\necho 'the token has expired' >&2\nexit 4\n");
    let output = home.run(&["run", "--once"]);
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("it ended with exit status: 4: the token has expired"), "{said}");
    assert_once(&home, Feed::Dataverse, 3);
}

#[test]
fn a_command_ends_with_the_daemon() {
    let home = Home::new(
        "sources:\n  - name: mine\n    exec: { command: [\"./connector\"] }\n    format: dataverse.audit\n",
    );
    script(&home, "echo $$ > pid\nsleep 600 & echo $! > child\nwait\n");
    let daemon = home.ready_daemon();
    wait_for("the command runs", LIMIT, || home.path("child").exists());
    daemon.stop();
    for name in ["pid", "child"] {
        let pid = std::fs::read_to_string(home.path(name)).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        wait_for("it is gone", LIMIT, || {
            std::fs::read_to_string(&status).map_or(true, |status| status.contains("State:\tZ"))
        });
    }
}

fn syslog(home: &Home, rest: &str) -> u16 {
    let port = free_port();
    home.configure(
        "metrics: \"off\"\n",
        &format!(
            "sources:\n  - name: sys\n    syslog: {{ listen: \"127.0.0.1:{port}\", {rest} }}\n    format: dataverse.audit\n"
        ),
    );
    port
}

/// Two headers, one without, mixed framings.
fn messages(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let record = records(Feed::Dataverse, number..number + 1);
        let record = record.trim_end();
        match number % 3 {
            0 => {
                let message = format!("<134>1 2026-11-20T08:00:00Z crm01 dyn - - [o@1 k=\"v\"] {record}");
                bytes.extend(format!("{} {message}", message.len()).bytes());
            }
            1 => bytes.extend(format!("<134>Nov 20 08:00:00 crm02 dyn[7]: {record}\n").bytes()),
            _ => bytes.extend(format!("{record}\n").bytes()),
        }
    }
    bytes
}

#[test]
fn syslog_over_tcp_keeps_message_and_header() {
    let home = Home::empty();
    let port = syslog(&home, "transport: tcp");
    let daemon = home.ready_daemon();
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let bytes = messages(part * 500..part * 500 + 500);
                bytes.chunks(777).for_each(|piece| stream.write_all(piece).unwrap());
            });
        }
    });
    wait_for("all messages", LIMIT, || counted(&home).len() == 2000);
    daemon.stop();
    assert_once(&home, Feed::Dataverse, 2000);
    let events = home.of_kind("event");
    let of = |host: &str| -> &Value {
        events.iter().find(|event| event["extra"]["syslog.host"] == host).expect(host)
    };
    assert_eq!(of("crm01")["extra"]["syslog.data"], "[o@1 k=\"v\"]");
    assert_eq!(
        (&of("crm02")["extra"]["syslog.app"], &of("crm02")["extra"]["syslog.procid"]),
        (&"dyn".into(), &"7".into())
    );
    let bare = events.iter().filter(|event| event["extra"].get("syslog.host").is_none());
    assert!(
        bare.clone().count() > 600 && bare.clone().all(|event| event["extra"]["syslog.peer"] == "127.0.0.1")
    );
    // The position goes on: no two events have one locator.
    let locators: std::collections::BTreeSet<&str> =
        events.iter().map(|event| event["raw"]["locator"].as_str().unwrap()).collect();
    assert_eq!(locators.len(), 2000);
}

#[test]
fn syslog_over_udp_and_tls() {
    let home = Home::empty();
    let port = syslog(&home, "transport: udp");
    let daemon = home.ready_daemon();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..200 {
        let record = records(Feed::Dataverse, number..number + 1);
        let message = format!("<134>1 - crm01 dyn - - - {}", record.trim_end());
        socket.send_to(message.as_bytes(), ("127.0.0.1", port)).unwrap();
        if number % 20 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    wait_for("all datagrams", LIMIT, || counted(&home).len() == 200);
    daemon.stop();
    assert_once(&home, Feed::Dataverse, 200);

    if !have(&[("openssl", &["version"])]) {
        return;
    }
    let home = Home::empty();
    let port = syslog(&home, "transport: tls, certificate_file: tls.crt, key_file: tls.key");
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
        ])
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", common::text(&made.stderr));
    let daemon = home.ready_daemon();
    let mut client = std::process::Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            "tls.crt",
            "-servername",
            "localhost",
            "-connect",
        ])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(home.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    client.stdin.as_mut().unwrap().write_all(&messages(0..90)).unwrap();
    wait_for("all over TLS", LIMIT, || counted(&home).len() == 90);
    let _ = client.kill();
    let _ = client.wait();
    // Who speaks no TLS gets nothing in.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = plain.write_all(&messages(90..92));
    drop(plain);
    daemon.stop();
    assert_once(&home, Feed::Dataverse, 90);
    std::fs::set_permissions(home.path("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.run(&["run", "--once"]);
    assert!(refused.status.success(), "nothing listens with --once, so no key is read");
    let daemon = home.daemon();
    wait_for("an open key is refused", LIMIT, || home.log().contains("is open to others (mode 0644)"));
    daemon.kill();
}
