//! NATS JetStream with Debian's real server: cut lines, restarts, kills, take-overs, partitions.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::feeds::{Feed, markers};
use common::{Home, free_port, have, text, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn servers() -> bool {
    have(&[("nats-server", &["--version"])])
}

/// A server with its storage in a folder, syncing always, as the README asks for.
struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Server::spawn(dir.path(), port);
        Server { child, port, dir }
    }

    fn spawn(dir: &std::path::Path, port: u16) -> Child {
        let config = format!(
            "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
            dir.display()
        );
        // Older servers do not know the setting; then they sync as they do.
        let path = dir.join("nats.conf");
        for config in [config.clone(), config.replace(", sync_interval: always", "")] {
            std::fs::write(&path, config).unwrap();
            let good = Command::new("nats-server").args(["-t", "-c"]).arg(&path).output().unwrap();
            if good.status.success() {
                break;
            }
        }
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the server answers", LIMIT, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        child
    }

    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Server::spawn(self.dir.path(), self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The publishing side, with the library's client.
struct Publisher {
    runtime: tokio::runtime::Runtime,
    context: async_nats::jetstream::Context,
}

impl Publisher {
    fn new(port: u16) -> Publisher {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let context = runtime.block_on(async {
            let client = async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap();
            async_nats::jetstream::new(client)
        });
        Publisher { runtime, context }
    }

    fn stream(&self) {
        let config = async_nats::jetstream::stream::Config {
            name: "CRM".into(),
            subjects: vec!["crm.>".into()],
            ..Default::default()
        };
        self.runtime.block_on(async { self.context.get_or_create_stream(config).await.unwrap() });
    }

    /// Publishes records in turn to so many partitions.
    fn publish(&self, numbers: std::ops::Range<u64>, partitions: u64) {
        let mut random = Generator::new(1);
        self.runtime.block_on(async {
            let mut confirmed = Vec::new();
            for number in numbers {
                let record = Feed::Dataverse.record(number, &mut random);
                let subject = format!("crm.p{}.audit", number % partitions);
                let record = record.trim_end().to_owned();
                confirmed.push(self.context.publish(subject, record.into()).await.unwrap());
                if confirmed.len() == 100 {
                    for one in confirmed.drain(..) {
                        one.await.unwrap();
                    }
                }
            }
            for one in confirmed {
                one.await.unwrap();
            }
        });
    }

    /// Messages that the server still waits for, delivered or not.
    fn unacknowledged(&self, durable: &str) -> u64 {
        self.runtime.block_on(async {
            let stream = self.context.get_stream("CRM").await.unwrap();
            let mut consumer: async_nats::jetstream::consumer::PullConsumer =
                stream.get_consumer(durable).await.unwrap();
            let info = consumer.info().await.unwrap();
            info.num_ack_pending as u64 + info.num_pending
        })
    }
}

fn home(port: u16, deployment: &str, partition: u64) -> Home {
    let home = Home::empty();
    home.write("policies/.keep", b"");
    home.write(
        "crmwarden.yaml",
        format!(
            "deployment: {deployment}\nstate: state\npolicies: policies\nmetrics: \"off\"\nsources:\n  - name: bus\n    \
             nats: {{ server: \"nats://127.0.0.1:{port}\", stream: CRM, subject: \"crm.p{partition}.>\", durable: crmwarden-p{partition} }}\n    \
             format: dataverse.audit\n"
        )
        .as_bytes(),
    );
    home
}

fn counted(home: &Home) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    home.each_line(&mut |line| {
        let Ok(entry) = serde_json::from_slice::<serde_json::Value>(line) else { return };
        if entry["kind"] == "event" {
            markers(line).into_iter().for_each(|marker| *counts.entry(marker).or_insert(0) += 1);
        }
    });
    counts
}

/// While a daemon writes, the last line may be half there.
fn seen(home: &Home) -> usize {
    let mut count = 0;
    for path in home.segments() {
        let bytes = std::fs::read(path).unwrap_or_default();
        count += memchr::memmem::find_iter(&bytes, b"\"kind\":\"event\"").count();
    }
    count
}

fn assert_once(home: &Home, wanted: impl Iterator<Item = u64>) {
    let counts = counted(home);
    let expected: BTreeMap<String, u32> = wanted.map(|number| (Feed::Dataverse.marker(number), 1)).collect();
    let odd = counts.iter().find(|(_, count)| **count != 1);
    assert!(counts == expected, "{} of {}, {odd:?}", counts.len(), expected.len());
}

#[test]
fn what_is_acknowledged_is_signed_and_once_reads_to_the_end() {
    if !servers() {
        return;
    }
    let server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..3000, 1);
    let home = home(server.port, "a.example", 0);
    home.expect(0, &["run", "--once"]);
    assert_once(&home, 0..3000);
    assert_eq!(publisher.unacknowledged("crmwarden-p0"), 0);
    publisher.publish(3000..3100, 1);
    home.expect(0, &["run", "--once"]);
    assert_once(&home, 0..3100);
    assert_eq!(publisher.unacknowledged("crmwarden-p0"), 0);
    let event = &home.of_kind("event")[0];
    assert_eq!(event["raw"]["locator"], "nats:CRM/crmwarden-p0@1");
}

#[test]
fn kills_of_both_sides_lose_and_double_nothing() {
    if !servers() {
        return;
    }
    let mut random = Generator::new(common::seed("kills_of_both_sides"));
    let mut server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..8000, 1);
    let home = home(server.port, "a.example", 0);
    for round in 0..6 {
        let daemon = home.ready_daemon();
        std::thread::sleep(Duration::from_millis(random.below(250)));
        if round % 3 == 2 {
            // The server first: the daemon waits for it.
            server.restart();
            std::thread::sleep(Duration::from_millis(random.below(400)));
        }
        daemon.kill();
    }
    let daemon = home.ready_daemon();
    wait_for("all messages", LIMIT, || seen(&home) >= 8000);
    let again = Publisher::new(server.port);
    wait_for("all is acknowledged", LIMIT, || again.unacknowledged("crmwarden-p0") == 0);
    daemon.stop();
    assert_once(&home, 0..8000);
}

/// Passes bytes on until it is cut.
struct Line {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Line {
    fn to(target: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cut);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                for (from, to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let flag = Arc::clone(&flag);
                    std::thread::spawn(move || pass(from, to, &flag));
                }
            }
        });
        Line { port, cut }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 8192];
    loop {
        if cut.load(Ordering::Relaxed) {
            let _ = from.shutdown(std::net::Shutdown::Both);
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) if to.write_all(&buffer[..read]).is_err() => return,
            Err(error)
                if !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return;
            }
            _ => {}
        }
    }
}

#[test]
fn a_cut_line_is_told_and_mended() {
    if !servers() {
        return;
    }
    let server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..4000, 1);
    let line = Line::to(server.port);
    let home = home(line.port, "a.example", 0);
    let daemon = home.ready_daemon();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        line.cut.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        line.cut.store(false, Ordering::Relaxed);
    }
    publisher.publish(4000..4100, 1);
    wait_for("all messages", LIMIT, || seen(&home) >= 4100);
    wait_for("all is acknowledged", LIMIT, || publisher.unacknowledged("crmwarden-p0") == 0);
    daemon.stop();
    assert_once(&home, 0..4100);
}

#[test]
fn partitions_are_shared_and_a_clean_take_over_is_exact() {
    if !servers() {
        return;
    }
    let server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..2000, 2);
    let (zero, one) = (home(server.port, "p0.example", 0), home(server.port, "p1.example", 1));
    let (first, second) = (zero.ready_daemon(), one.ready_daemon());
    wait_for("some are read", LIMIT, || seen(&zero) > 100 && seen(&one) > 100);
    assert_eq!(first.stop(), 0);
    // Another daemon takes partition 0 over, with a trail of its own.
    let heir = home(server.port, "p0b.example", 0);
    let third = heir.ready_daemon();
    publisher.publish(2000..3000, 2);
    wait_for("all are read", LIMIT, || seen(&zero) + seen(&heir) >= 1500 && seen(&one) >= 1500);
    third.stop();
    second.stop();
    assert_once(&one, (0..3000).filter(|number| number % 2 == 1));
    let mut both = counted(&zero);
    for (marker, count) in counted(&heir) {
        *both.entry(marker).or_insert(0) += count;
    }
    assert_eq!(both.len(), 1500);
    assert!(both.values().all(|count| *count == 1));
    let dirs: Vec<String> =
        [&zero, &one, &heir].iter().map(|home| home.path("state").display().to_string()).collect();
    let mut arguments = vec!["verify"];
    arguments.extend(dirs.iter().map(String::as_str));
    let said = zero.expect(0, &arguments);
    assert!(said.contains("CRM: no message stands in two of these trails"), "{said}");
}

/// A killed daemon's unconfirmed messages stand in both trails, and `verify` over both lists them.
#[test]
fn after_a_kill_verify_lists_what_stands_in_both_trails() {
    if !servers() {
        return;
    }
    let server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..300, 1);
    let line = Line::to(server.port);
    let dead = home(line.port, "dead.example", 0);
    let daemon = dead.ready_daemon();
    // The moment before the confirmation cannot be hit from outside, so confirmations are kept from the server:
    // the line is cut as soon as the records are in the trail.
    wait_for("some are in the trail", LIMIT, || seen(&dead) > 0);
    line.cut.store(true, Ordering::Relaxed);
    daemon.kill();
    let heir = home(server.port, "heir.example", 0);
    let daemon = heir.ready_daemon();
    // What was delivered and not confirmed comes again after the acknowledgement's time.
    wait_for("all is acknowledged", Duration::from_secs(120), || {
        publisher.unacknowledged("crmwarden-p0") == 0
    });
    daemon.stop();
    let (before, after) = (counted(&dead), counted(&heir));
    let twice = before.keys().filter(|marker| after.contains_key(*marker)).count();
    let all: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    assert_eq!(all.len(), 300);
    assert!(twice <= 512);
    let (one, two) = (dead.path("state").display().to_string(), heir.path("state").display().to_string());
    let said = text(&dead.run(&["verify", &one, &two]).stdout);
    match twice {
        0 => assert!(said.contains("CRM: no message stands in two of these trails"), "{said}"),
        _ => assert!(said.contains(&format!("CRM: {twice} messages stand in two of these trails")), "{said}"),
    }
    eprintln!("{twice} messages stand in both trails");
}

#[test]
fn a_stream_made_anew_is_a_gap() {
    if !servers() {
        return;
    }
    let server = Server::start();
    let publisher = Publisher::new(server.port);
    publisher.stream();
    publisher.publish(0..50, 1);
    let home = home(server.port, "a.example", 0);
    home.expect(0, &["run", "--once"]);
    publisher.runtime.block_on(async { publisher.context.delete_stream("CRM").await.unwrap() });
    publisher.stream();
    publisher.publish(50..80, 1);
    home.expect(0, &["run", "--once"]);
    assert_once(&home, 0..80);
    let gaps = home.of_kind("gap");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0]["text"].as_str().unwrap().contains("another stream of this name"), "{}", gaps[0]);
}
