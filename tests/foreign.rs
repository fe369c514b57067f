//! What outsiders verify with, against what the program writes: `examples/verify.sh` (shell, sed, sha256sum,
//! openssl), `examples/verify.py`, `tests/foreign/verify.go` on golang.org/x/mod, openssl by the README's own
//! lines, ssh-keygen and minisign. Each must accept the real thing, and refuse every copy that somebody worked on.
//!
//! Where a program is missing the test says so and passes, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "foreign/daemon.rs"]
mod daemon;
#[path = "foreign/epochs.rs"]
mod epochs;
#[path = "foreign/published.rs"]
mod published;
#[path = "foreign/reports.rs"]
mod reports;
#[path = "foreign/tiles.rs"]
mod tiles;
#[path = "foreign/writer.rs"]
mod writer;

use common::feeds::{Feed, SOURCES};
use common::{Home, text};
use crmwarden::inspect::dlp::generate::Generator;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use writer::epoch_key;

const SHELL: &[(&str, &[&str])] = &[("sha256sum", &["--version"]), ("openssl", &["version"])];
const PYTHON: &[(&str, &[&str])] = &[("python3", &["--version"]), ("openssl", &["version"])];
const GO: &[(&str, &[&str])] = &[("go", &["version"])];
const GO_LIBRARY: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog";

// ---------------------------------------------------------------------------------------------------------
// The programs

/// Exit code and what it printed.
type Answer = (i32, String);

fn answer(output: &Output) -> Answer {
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

fn verify_sh(folder: &Path, heads: &[&Path]) -> Answer {
    let script = format!("{}/examples/verify.sh", common::REPOSITORY);
    let mut command = Command::new("sh");
    command.args([&script, "trust.txt", "state"]).args(heads).current_dir(folder);
    answer(&command.stdin(Stdio::null()).output().unwrap())
}

fn verify_py(folder: &Path, heads: &[&Path]) -> Answer {
    let script = format!("{}/examples/verify.py", common::REPOSITORY);
    let mut command = Command::new("python3");
    command.args([&script, "trust.txt", "state"]).args(heads).current_dir(folder);
    let answer = answer(&command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(answer.1.lines().count(), 1, "{}", answer.1);
    answer
}

fn verify_short(folder: &Path) -> Answer {
    let script = format!("{}/examples/verify-short.py", common::REPOSITORY);
    let mut command = Command::new("python3");
    command.args([&script, "trust.txt", "state"]).current_dir(folder);
    let answer = answer(&command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(answer.1.lines().count(), 1, "{}", answer.1);
    answer
}

/// The Go program, built once. `None` where Go or its library is missing.
fn go_program() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if !common::have(GO) {
            return None;
        }
        if !Path::new(GO_LIBRARY).exists() {
            assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "golang-golang-x-mod-dev is missing");
            eprintln!("skipped: golang-golang-x-mod-dev is missing");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join(format!("foreign-verify-{}", std::process::id()));
        let source = format!("{}/tests/foreign/verify.go", common::REPOSITORY);
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&program).arg(source);
        command.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
        let output = command.env("GOCACHE", folder.join("go-cache")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        Some(program)
    });
    built.as_deref()
}

fn verify_go(trust: &Path, arguments: &[&str], folder: &Path) -> Answer {
    let trust = fs::read_to_string(trust).unwrap();
    let vkey = |word: &str| {
        let line = trust.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        line.to_owned()
    };
    let mut command = Command::new(go_program().unwrap());
    command.args(["-log", &vkey("log "), "-epoch", &vkey("epoch0 ")]);
    // The keys of further epochs, where the made-up trail has them.
    for number in 1..=2 {
        let (vkey, _) = writer::vkey(&writer::epoch_name(number), &epoch_key(number));
        if trust.contains(writer::ORIGIN) {
            command.args(["-epoch", &vkey]);
        }
    }
    answer(&command.args(arguments).current_dir(folder).output().unwrap())
}

/// The Go program over tiles that are made of whatever lines the segments hold now.
fn verify_tiles(folder: &Path, older: &[&str]) -> Answer {
    let checkpoint = fs::read(folder.join("state/trail/g1/checkpoint")).unwrap();
    let content: Vec<u8> =
        common::segments(&folder.join("state")).iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let mut lines: Vec<&[u8]> =
        content.strip_suffix(b"\n").unwrap_or(&content).split(|byte| *byte == b'\n').collect();
    let size = text(&checkpoint).lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(usize::MAX);
    lines.truncate(size);
    let tiles = tempfile::tempdir_in(folder).unwrap();
    tiles::write(tiles.path(), &lines, &checkpoint);
    let mut arguments = vec!["tiles", tiles.path().to_str().unwrap()];
    arguments.extend(older);
    verify_go(&folder.join("trust.txt"), &arguments, folder)
}

/// The programs that are there. Each is asked about a folder with `trust.txt` and `state`.
struct Programs {
    list: Vec<(&'static str, Ask)>,
}

type Ask = fn(&Path) -> Answer;

impl Programs {
    fn all() -> Programs {
        let mut list: Vec<(&'static str, Ask)> = Vec::new();
        if common::have(SHELL) {
            list.push(("verify.sh", |folder| verify_sh(folder, &[])));
        }
        if common::have(PYTHON) {
            list.push(("verify.py", |folder| verify_py(folder, &[])));
            list.push(("verify-short.py", verify_short));
        }
        if go_program().is_some() {
            list.push(("verify.go", |folder| verify_tiles(folder, &[])));
        }
        Programs { list }
    }

    fn accept(&self, what: &str, folder: &Path) {
        for (name, ask) in &self.list {
            let (exit, said) = ask(folder);
            assert_eq!(exit, 0, "{name}, {what}: {said}");
        }
    }

    /// All must say 1: not "cannot be said", and not a crash.
    fn refuse(&self, what: &str, folder: &Path) {
        for (name, ask) in &self.list {
            let (exit, said) = ask(folder);
            assert!(exit == 1 && said.contains("wrong: "), "{name} says {exit} to {what}: {said}");
        }
    }

    /// The same for one that is named.
    fn refuse_save(&self, except: &str, what: &str, folder: &Path) {
        let list = self.list.iter().filter(|(name, _)| *name != except).copied().collect();
        Programs { list }.refuse(what, folder);
    }
}

/// Runs the cases on two threads; each gets a folder of its own that is a copy of `home`.
fn each_on_a_copy<Case: Sync>(home: &Path, cases: &[Case], work: impl Fn(&Case, &Path) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let copy = tempfile::tempdir().unwrap();
                    common::copy_all(home, copy.path());
                    work(case, copy.path());
                }
            });
        }
    });
}

/// A small trail of three runs of the real program. Beside it lie trust file and an older checkpoint.
pub fn small_trail() -> &'static Home {
    static MADE: OnceLock<Home> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut random = Generator::new(common::seed("foreign"));
        let home = Home::new(SOURCES);
        for pass in 0..3 {
            let records: String =
                (0..4).map(|number| Feed::Web.record(4 * pass + number, &mut random)).collect();
            home.append(Feed::Web.file(), records.as_bytes());
            home.expect(0, &["run", "--once"]);
            if pass == 1 {
                fs::copy(home.path(CHECKPOINT), home.path("older")).unwrap();
            }
        }
        fs::write(home.path("trust.txt"), home.expect(0, &["keys", "export", "--format", "trust"])).unwrap();
        fs::copy(home.path(CHECKPOINT), home.path("newer")).unwrap();
        home
    })
}

pub const SEGMENT: &str = "state/trail/g1/segments/00000000000000000000.jsonl";
pub const CHECKPOINT: &str = "state/trail/g1/checkpoint";
