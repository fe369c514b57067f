//! E-mail against a real server (aiosmtpd) on loopback: STARTTLS and implicit TLS under a throwaway
//! authority, AUTH, refusals, deferrals, stalls, and a server that is down and comes back.
//!
//! Needs `/usr/bin/python3` with aiosmtpd (Debian: python3-aiosmtpd) and openssl. Without them every test
//! says so and passes, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crmwarden::alert::Notice;
use crmwarden::deliver::email::{Email, Progress, deliver};
use crmwarden::deliver::smtp::{Smtp, Tls};
use crmwarden::deliver::{Job, Outcome, Receiver, Report, spawn};
use crmwarden::model::Severity;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const PYTHON: &str = "/usr/bin/python3";
const PASSWORD: &str = "only-for-tests";

/// A folder with certificates and what the server received.
struct World {
    root: tempfile::TempDir,
}

/// A running server; ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = |command: &mut Command| {
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    quiet(&mut Command::new(program)).is_ok_and(|status| status.success())
}

/// `None`, said aloud, where a program is missing.
fn world() -> Option<World> {
    let missing = [
        ("python3-aiosmtpd", succeeds(PYTHON, &["-c", "import aiosmtpd"])),
        ("openssl", succeeds("openssl", &["version"])),
    ];
    if let Some((name, _)) = missing.iter().find(|(_, there)| !there) {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "{name} is missing");
        eprintln!("skipped: {name} is missing");
        return None;
    }
    let world = World { root: tempfile::tempdir().unwrap() };
    fs::create_dir(world.path("in")).unwrap();
    fs::write(world.path("smtp.pass"), format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(world.path("smtp.pass"), fs::Permissions::from_mode(0o600)).unwrap();
    world.certificates();
    Some(world)
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.root.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "openssl {arguments}");
    }

    /// An authority and a certificate for `localhost`, for a day.
    fn certificates(&self) {
        let extension = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n";
        fs::write(self.path("server.ext"), extension).unwrap();
        self.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test-authority \
             -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem",
        );
        self.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key \
             -out server.csr",
        );
        self.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile server.ext \
             -out server.pem",
        );
    }

    fn server(&self, arguments: &[&str]) -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp/server.py");
        let mut child = Command::new(PYTHON)
            .arg(script)
            .args(arguments)
            .args(["--auth", "crmwarden", PASSWORD, "--dir", "in"])
            .current_dir(self.root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { child, port: line.trim().parse().unwrap() }
    }

    fn starttls(&self, arguments: &[&str]) -> Server {
        self.server(&[&["--starttls", "server.pem", "server.key"], arguments].concat())
    }

    fn email(&self, port: u16, tls: Tls) -> Email {
        Email {
            to: vec!["soc@acme.example".into()],
            from: "crmwarden@acme.example".into(),
            smtp: Smtp {
                host: "localhost".into(),
                port: Some(port),
                tls,
                user: Some("crmwarden".into()),
                password_file: Some(self.path("smtp.pass")),
                ca_file: Some(self.path("ca.pem")),
            },
            timeout: Duration::from_secs(20),
        }
    }

    fn received(&self) -> Vec<String> {
        let numbers = 1..;
        let files = numbers.map(|n| self.path(&format!("in/{n}.eml")));
        files.map_while(|file| fs::read_to_string(file).ok()).collect()
    }
}

fn notice() -> Notice {
    Notice {
        deployment: "acme.example".into(),
        alert: "ALR-7".into(),
        incident: "INC-3".into(),
        severity: Severity::High,
        title: "LOG-TEXT Größe\r\nBcc: all@evil.example".into(),
        detail: Some(".\r\n.leading dots\r\nQUIT".into()),
        next: "Ask the owner.".into(),
        ..Notice::default()
    }
}

async fn once(email: &Email) -> Outcome {
    deliver(email, "security", &notice(), SystemTime::now(), &mut Progress::default()).await
}

/// No outcome repeats a server's prose, a secret, or text from a log.
fn harmless(outcome: &Outcome) {
    let text = format!("{outcome:?}");
    for part in ["SECRET-PROSE", PASSWORD, "LOG-TEXT", "evil"] {
        assert!(!text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn starttls_login_and_a_message_that_reads_well() {
    let Some(world) = world() else { return };
    let server = world.starttls(&[]);
    assert_eq!(once(&world.email(server.port, Tls::Starttls)).await, Outcome::Delivered);
    let [message] = &world.received()[..] else { panic!("one message") };
    assert!(message.contains("Message-ID: <ALR-7.security@acme.example>"), "{message}");
    let program = "import email,sys,email.policy as p\n\
         m=email.message_from_binary_file(open(sys.argv[1],'rb'),policy=p.default)\n\
         assert not m.defects and 'Bcc' not in m, m.defects\n\
         print(m['Subject']); print([q.get_content_type() for q in m.iter_parts()])\n\
         print(m.get_body(('plain',)).get_content())";
    let read = Command::new(PYTHON).args(["-c", program]).arg(world.path("in/1.eml")).output().unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    assert!(read.starts_with("[crmwarden high] LOG-TEXT Größe[U+000D][U+000A]Bcc: all@evil"), "{read}");
    assert!(read.contains("['text/plain', 'text/html']"), "{read}");
    assert!(read.contains(".leading dots"), "{read}");
    let envelope = fs::read_to_string(world.path("in/1.envelope")).unwrap();
    assert_eq!(envelope, "crmwarden@acme.example\nsoc@acme.example\n");
}

#[tokio::test]
async fn implicit_tls() {
    let Some(world) = world() else { return };
    let server = world.server(&["--implicit", "server.pem", "server.key"]);
    assert_eq!(once(&world.email(server.port, Tls::Implicit)).await, Outcome::Delivered);
}

#[tokio::test]
async fn wrong_tls_settings_are_misconfigured_and_say_so() {
    let Some(world) = world() else { return };
    let server = world.starttls(&[]);
    let email = world.email(server.port, Tls::Starttls);
    let mut cases: Vec<(Email, &str)> = Vec::new();
    let mut unknown = email.clone();
    unknown.smtp.ca_file = None;
    cases.push((unknown, "no trusted authority signed"));
    let mut name = email.clone();
    name.smtp.host = "127.0.0.1".into();
    cases.push((name, "for another name"));
    cases.push((world.email(server.port, Tls::Implicit), "did not speak TLS"));
    let mut file = email.clone();
    file.smtp.ca_file = Some(world.path("server.key"));
    cases.push((file, "no certificate"));
    let mut host = email.clone();
    host.smtp.host = "nowhere.invalid".into();
    cases.push((host, "cannot be resolved"));
    for (email, part) in cases {
        let outcome = once(&email).await;
        assert!(
            matches!(&outcome, Outcome::Misconfigured { why } if why.contains(part)),
            "{part}: {outcome:?}"
        );
        harmless(&outcome);
    }
    let plain = world.server(&[]);
    let outcome = once(&world.email(plain.port, Tls::Starttls)).await;
    assert!(matches!(&outcome, Outcome::Misconfigured { why } if why.contains("STARTTLS")), "{outcome:?}");
    assert!(world.received().is_empty());
}

#[tokio::test]
async fn a_refused_password_and_an_open_password_file() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "badauth"]);
    let email = world.email(server.port, Tls::Starttls);
    let outcome = once(&email).await;
    assert!(matches!(&outcome, Outcome::Misconfigured { why } if why.contains("535")), "{outcome:?}");
    harmless(&outcome);
    fs::set_permissions(world.path("smtp.pass"), fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = once(&email).await;
    assert!(matches!(&outcome, Outcome::Misconfigured { why } if why.contains("chmod 0600")), "{outcome:?}");
}

#[tokio::test]
async fn one_refused_recipient_does_not_keep_it_from_the_others() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "refuse550"]);
    let mut email = world.email(server.port, Tls::Starttls);
    email.to = vec!["first@acme.example".into(), "nobody@acme.example".into(), "last@acme.example".into()];
    let outcome = once(&email).await;
    let why = format!(
        "localhost:{} answered 550 5.1.1 to the recipient nobody@acme.example (1 of 3 recipients refused)",
        server.port
    );
    assert_eq!(outcome, Outcome::Refused { why });
    harmless(&outcome);
    assert_eq!(world.received().len(), 2);
}

#[tokio::test]
async fn content_that_is_refused_is_final() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "refusedata"]);
    let outcome = once(&world.email(server.port, Tls::Starttls)).await;
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("554 5.7.1")), "{outcome:?}");
    harmless(&outcome);
}

#[tokio::test]
async fn a_deferral_is_tried_again_for_those_who_have_not_got_it() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "tempfail451", "--fail-first", "1"]);
    let mut email = world.email(server.port, Tls::Starttls);
    email.to.push("second@acme.example".into());
    let mut progress = Progress::default();
    let outcome = deliver(&email, "security", &notice(), SystemTime::now(), &mut progress).await;
    assert!(matches!(&outcome, Outcome::Retry { why } if why.contains("451 4.3.0")), "{outcome:?}");
    harmless(&outcome);
    let outcome = deliver(&email, "security", &notice(), SystemTime::now(), &mut progress).await;
    assert_eq!(outcome, Outcome::Delivered);
    let recipients = |n: u32| fs::read_to_string(world.path(&format!("in/{n}.envelope"))).unwrap();
    assert!(
        recipients(1).ends_with("\nsecond@acme.example\n") && recipients(2).ends_with("\nsoc@acme.example\n")
    );
    assert_eq!(world.received().len(), 2);
}

#[tokio::test]
async fn a_stalled_server_is_left_in_time() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "stall"]);
    let mut email = world.email(server.port, Tls::Starttls);
    email.timeout = Duration::from_secs(2);
    let start = std::time::Instant::now();
    let outcome = once(&email).await;
    assert!(matches!(&outcome, Outcome::Retry { why } if why.contains("did not answer")), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// Passes bytes on, and puts forged replies behind the server's answer to STARTTLS, in the same segment:
/// they look as if they had come through TLS afterwards.
async fn forge(port: u16) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    let mut segment = bytes[..count].to_vec();
                    if segment.starts_with(b"220 Ready") {
                        segment.extend_from_slice(
                            b"250-localhost\r\n250 AUTH PLAIN\r\n235 yes\r\n250 yes\r\n250 yes\r\n354 go\r\n250 yes\r\n",
                        );
                    }
                    if to_client.write_all(&segment).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    own
}

/// RFC 3207 §4.2: what was said before TLS does not count after it. Otherwise whoever sits on the line could
/// make us take an alert for delivered.
#[tokio::test]
async fn replies_from_before_tls_do_not_count() {
    let Some(world) = world() else { return };
    let server = world.starttls(&["--mode", "tempfail451"]);
    let mut email = world.email(forge(server.port).await, Tls::Starttls);
    email.timeout = Duration::from_secs(5);
    let outcome = once(&email).await;
    assert!(matches!(&outcome, Outcome::Misconfigured { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_is_down_costs_nothing_but_time() {
    let Some(world) = world() else { return };
    let down = world.starttls(&[]);
    let port = down.port;
    drop(down);
    let (send, jobs) = tokio::sync::mpsc::channel(4);
    let (results, reports) = std::sync::mpsc::channel::<Report>();
    let receiver = Receiver::Email(world.email(port, Tls::Starttls));
    let worker = spawn("security", receiver, &tokio::runtime::Handle::current(), jobs, results);
    for n in [7, 8] {
        let notice = Notice { alert: format!("ALR-{n}"), ..notice() };
        send.send(Job { alert_id: notice.alert.clone(), notice: Arc::new(notice) }).await.unwrap();
    }
    drop(send);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let port = port.to_string();
    let _server = world.starttls(&["--port", &port]);
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.join()).await;
    assert!(ended.unwrap());
    let reports: Vec<Report> = reports.iter().collect();
    let words: Vec<_> = reports.iter().map(|r| (r.alert_id.as_str(), r.outcome.as_str())).collect();
    assert_eq!(words, [("ALR-7", "misconfigured"), ("ALR-7", "delivered"), ("ALR-8", "delivered")]);
    reports.iter().for_each(|report| harmless(&report.outcome));
    assert_eq!(world.received().len(), 2);
}
