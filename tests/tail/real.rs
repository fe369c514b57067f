//! Faults that need a process of their own: limits of the system, permissions, a second daemon, signals.

use super::common::feeds::{Feed, markers};
use super::common::{BINARY, Home, have, text, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const SOURCES: &str =
    "sources:\n  - name: web\n    file: { paths: [\"feed/*.log\"] }\n    format: access_log.combined\n";

fn home() -> Home {
    let home = Home::empty();
    home.write("policies/.keep", b"");
    home.write("feed/.keep", b"");
    home.write(
        "crmwarden.yaml",
        format!("deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\n{SOURCES}")
            .as_bytes(),
    );
    home
}

fn records(numbers: std::ops::Range<u64>) -> String {
    let mut random = Generator::new(7);
    numbers.map(|number| Feed::Web.record(number, &mut random)).collect()
}

fn events(home: &Home) -> usize {
    let mut count = 0;
    for path in home.segments() {
        let bytes = fs::read(path).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n') {
            if memchr::memmem::find(line, b"\"kind\":\"event\"").is_some() {
                count += markers(line).len();
            }
        }
    }
    count
}

/// The binary under a limit that a shell sets.
fn limited(home: &Home, limit: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{limit}; exec {BINARY} {arguments}")])
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A thousand files and few descriptors.
#[test]
fn f25_more_files_than_descriptors() {
    let home = home();
    for file in 0..1000 {
        home.write(&format!("feed/{file}.log"), records(file * 3..file * 3 + 3).as_bytes());
    }
    let output = limited(&home, "ulimit -n 128", "run --once").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(events(&home), 3000);
}

/// No watch can be had: files are read by looking.
#[test]
fn f26_no_inotify() {
    if !have(&[("unshare", &["--version"])]) {
        return;
    }
    let home = home();
    home.write("feed/a.log", records(0..5).as_bytes());
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances || exit 77";
    let inside = format!("{limit}; exec {BINARY} run");
    let mut child = Command::new("unshare")
        .args(["-Ur", "sh", "-c", &inside])
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while events(&home) < 5 && start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            // No user namespaces here: that is for the machine to say, not for this test.
            eprintln!("skipped: no user namespace with limits of its own ({status})");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    home.append("feed/a.log", records(5..9).as_bytes());
    wait_for("what was added is found", LIMIT, || events(&home) == 9);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A file that may not be read any more, and again.
#[test]
fn f31_permission_lost_and_regained() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start the daemon as somebody else");
        return;
    }
    let home = home();
    for name in ["", "feed", "policies", "crmwarden.yaml"] {
        chown(home.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    home.write("feed/a.log", records(0..5).as_bytes());
    let mode = |mode| fs::set_permissions(home.path("feed/a.log"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let start = || {
        let log = fs::OpenOptions::new().create(true).append(true).open(home.path("daemon.log")).unwrap();
        let binary = home.path("crmwarden");
        if !binary.exists() {
            fs::copy(BINARY, &binary).unwrap();
        }
        Command::new(&binary)
            .arg("run")
            .current_dir(home.dir.path())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    };
    // The folder of temporary folders may be closed to others; then nobody cannot even start here.
    let mut child = start();
    wait_for("the first are read", LIMIT, || {
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", home.log());
        events(&home) == 5
    });
    child.kill().unwrap();
    child.wait().unwrap();
    mode(0o600);
    home.append("feed/a.log", records(5..9).as_bytes());
    let mut child = start();
    wait_for("it is said", LIMIT, || home.log().contains("cannot be read: Permission denied"));
    assert_eq!(events(&home), 5);
    mode(0o644);
    wait_for("the rest is read", LIMIT, || events(&home) == 9);
    wait_for("that is said, too", LIMIT, || home.log().contains("can be read again"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = home.log();
    assert_eq!(said.matches("cannot be read: Permission denied").count(), 1, "{said}");
}

/// A second daemon on the same state ends at once, and the first goes on.
#[test]
fn f35_two_daemons() {
    let home = home();
    home.write("feed/a.log", records(0..5).as_bytes());
    let daemon = home.ready_daemon();
    let second = home.run(&["run"]);
    assert_eq!(second.status.code(), Some(3), "{}", text(&second.stderr));
    home.append("feed/a.log", records(5..9).as_bytes());
    wait_for("the first goes on", LIMIT, || events(&home) == 9);
    assert_eq!(daemon.stop(), 0);
}

/// SIGTERM in the middle of a backlog, with a receiver that does not answer.
#[test]
fn f44_a_stop_is_quick_and_exact() {
    let home = home();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = fs::read_to_string(home.path("crmwarden.yaml")).unwrap();
    home.write(
        "crmwarden.yaml",
        format!(
            "{config}receivers:\n  - name: mail\n    email: {{ to: [\"a@acme.example\"], from: \"b@acme.example\", \
             smtp: {{ host: 127.0.0.1, port: {port}, tls: none }} }}\nroutes:\n  - receivers: [mail]\n"
        )
        .as_bytes(),
    );
    home.write("feed/a.log", records(0..60_000).as_bytes());
    let daemon = home.ready_daemon();
    wait_for("it reads", LIMIT, || events(&home) > 100);
    let start = Instant::now();
    assert_eq!(daemon.stop(), 0);
    let took = start.elapsed();
    // Twice what is promised: the machine may be busy with other tests.
    assert!(took < Duration::from_secs(10), "{took:?}");
    home.expect(0, &["run", "--once"]);
    assert_eq!(events(&home), 60_000);
}
