//! What the black-box tests share: a temporary folder with a configuration, the real binary, its daemon,
//! and the entries of its trail as they stand in the files.
//!
//! Seeds are printed, so that a failure can be repeated: `CRMWARDEN_SEED=<n>` sets all of them.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

pub mod feeds;
pub mod http;
pub mod tsa;
pub mod writer;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_crmwarden");
pub const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A seed: the environment's, or one of this moment. Printed either way.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("CRMWARDEN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40
    });
    eprintln!("{test}: CRMWARDEN_SEED={seed}");
    seed
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether a program runs at all. Where one is missing the test says so and passes, unless
/// `CRMWARDEN_REQUIRE_ALL=1`.
pub fn have(programs: &[(&str, &[&str])]) -> bool {
    for (program, arguments) in programs {
        let status = Command::new(program)
            .args(*arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if status.is_err() {
            assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "{program} is missing");
            eprintln!("skipped: {program} is missing");
            return false;
        }
    }
    true
}

/// Tries every 20 ms until `done` or the time is over.
pub fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A temporary folder with a configuration.
pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    /// An empty folder.
    pub fn empty() -> Home {
        Home { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder whose configuration is a head (deployment, state, policies, no metrics) and `rest`.
    pub fn new(rest: &str) -> Home {
        let home = Home::empty();
        home.configure("metrics: \"off\"\n", rest);
        home
    }

    /// Writes the configuration anew.
    pub fn configure(&self, head: &str, rest: &str) {
        let text =
            format!("deployment: acme.example\nstate: state\npolicies: {REPOSITORY}/policies\n{head}{rest}");
        self.write("crmwarden.yaml", text.as_bytes());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn append(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// The binary, in this folder, so that it finds the configuration by its default name.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and expects an exit code; returns stdout.
    pub fn expect(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{}\n{said}", text(&output.stdout));
        text(&output.stdout)
    }

    /// Starts `run`. What it says goes to `daemon.log`, one file for all starts.
    pub fn daemon(&self) -> Daemon {
        self.daemon_with(&["run"])
    }

    pub fn daemon_with(&self, arguments: &[&str]) -> Daemon {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let out = log.try_clone().unwrap();
        Daemon { child: self.command(arguments).stdout(out).stderr(log).spawn().unwrap() }
    }

    /// Starts `run` and waits until it answers.
    pub fn ready_daemon(&self) -> Daemon {
        let daemon = self.daemon();
        wait_for("the daemon answers", Duration::from_secs(30), || {
            self.path("state/control.sock").exists() && self.run(&["status"]).status.success()
        });
        daemon
    }

    pub fn log(&self) -> String {
        text(&fs::read(self.path("daemon.log")).unwrap_or_default())
    }

    /// Segment files in their order.
    pub fn segments(&self) -> Vec<PathBuf> {
        segments(&self.path("state"))
    }

    /// Bytes in all segments, for "something was written".
    pub fn trail_bytes(&self) -> u64 {
        self.segments().iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum()
    }

    /// Every line of the trail, without its newline.
    pub fn each_line(&self, each: &mut dyn FnMut(&[u8])) {
        let segments = self.segments();
        for path in &segments {
            let mut reader = BufReader::new(fs::File::open(path).unwrap());
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).unwrap() > 0 {
                if line.pop() != Some(b'\n') {
                    // A kill tears a line at the very end, and the next start cuts it: it is no entry.
                    assert_eq!(Some(path), segments.last(), "a line without its end");
                    break;
                }
                each(&line);
                line.clear();
            }
        }
    }

    /// Every entry, parsed.
    pub fn entries(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        self.each_line(&mut |line| entries.push(serde_json::from_slice(line).unwrap()));
        entries
    }

    /// Entries of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.entries().into_iter().filter(|entry| entry["kind"] == kind).collect()
    }

    /// A copy of the whole folder.
    pub fn copy(&self) -> Home {
        let copy = Home::empty();
        copy_all(self.dir.path(), copy.dir.path());
        copy
    }
}

pub fn segments(state: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(state.join("trail/g1/segments")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The same into a folder that is made.
pub fn copy_all_into(from: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    copy_all(Path::new(from), to);
}

pub fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (target, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            fs::create_dir_all(&target).unwrap();
            fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
            copy_all(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    pub child: Child,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the daemon does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
