//! What a record costs as the work around it grows: number of files, number of rules, size of the trail.
//!
//! ```text
//! cargo bench --bench cost                 # 400,000 records a row
//! RECORDS=100000 cargo bench --bench cost
//! ```
//!
//! CPU is of the whole process, `run --once` of the real binary; memory is its peak. The program's own time and the
//! system's stand apart, for the second one says more about the machine: where what is written goes to memory that a
//! virtual machine has not touched for long, it grows with the bytes on the disk, whatever trail they belong to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_crmwarden");

fn main() {
    let records: u64 = std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400_000);
    println!("{:<34}{:>12}{:>14}{:>18}{:>10}", "", "CPU s", "µs a record", "of these system", "peak MB");
    for files in [1, 10, 100, 1000] {
        let dir = workspace(0);
        write(dir.path(), "a", records, files);
        row(&format!("{files} files"), records, run(dir.path()));
    }
    for rules in [10, 50, 100, 250, 500] {
        let dir = workspace(rules);
        write(dir.path(), "a", records, 1);
        row(&format!("{rules} detection rules"), records, run(dir.path()));
    }
    let dir = workspace(0);
    for round in 1..=5 {
        write(dir.path(), &format!("round{round}"), records, 1);
        row(&format!("trail of {} entries before", (round - 1) * records), records, run(dir.path()));
    }
}

fn row(what: &str, records: u64, took: Took) {
    let Took { user, system, peak_mb } = took;
    let cpu = user + system;
    let each = |seconds: f64| seconds / records as f64 * 1e6;
    println!("{what:<34}{cpu:>12.2}{:>14.2}{:>18.2}{peak_mb:>10.1}", each(cpu), each(system));
}

/// What one run took.
struct Took {
    user: f64,
    system: f64,
    peak_mb: f64,
}

/// With the default policies, or with so many detection rules of our own instead.
fn workspace(rules: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut policies = format!("{}/policies", env!("CARGO_MANIFEST_DIR"));
    if rules > 0 {
        policies = "policies".into();
        fs::create_dir_all(dir.path().join("policies/detections")).unwrap();
        for rule in 0..rules {
            fs::write(dir.path().join(format!("policies/detections/r{rule}.yaml")), detection(rule)).unwrap();
        }
    }
    fs::write(
        dir.path().join("crmwarden.yaml"),
        format!(
            "deployment: bench.example\nstate: state\npolicies: {policies}\nmetrics: \"off\"\nsources:\n  - name: web\n    \
             file: {{ paths: [\"feed/*.log\"] }}\n    format: access_log.combined\n"
        ),
    )
    .unwrap();
    dir
}

/// A rule as people write them: a few conditions that do not hold for this feed.
fn detection(rule: usize) -> String {
    format!(
        "title: Bench rule {rule}\nname: bench_rule_{rule}\nstatus: stable\ndescription: For the bench.\n\
         references: [\"https://example.org/\"]\ntags: [attack.exfiltration]\nfalsepositives: [None.]\n\
         logsource: {{ product: crm, service: audit }}\ndetection:\n  selection:\n    action: export\n    target.type: Object{rule}\n  \
         other:\n    actor.id: nobody{rule}\n  condition: selection and not other\nlevel: low\ncrmwarden:\n  \
         controls: [pci-dss/10.2.1.6]\n  window: 24h\n  group_by: [system, actor]\n  requires: [action]\n  next: Nothing.\n  \
         examples:\n    - - {{ time: 2026-01-05T02:10:00Z, system: sap, action: export, target.type: Object{rule}, actor.id: A }}\n  \
         counter_examples:\n    - - {{ time: 2026-01-05T02:10:00Z, system: sap, action: read, target.type: Object{rule}, actor.id: A }}\n"
    )
}

fn write(dir: &Path, name: &str, records: u64, files: u64) {
    fs::create_dir_all(dir.join("feed")).unwrap();
    for file in 0..files {
        let mut out = BufWriter::new(File::create(dir.join(format!("feed/{name}-{file}.log"))).unwrap());
        for record in 0..records / files {
            let (minute, second) = (record / 60 % 60, record % 60);
            writeln!(
                out,
                "198.51.100.{} - user{} [20/Nov/2026:08:{minute:02}:{second:02} +0100] \"GET /api/v1/Account?offset={record} \
                 HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64) file {file}\"",
                record % 200,
                record % 500,
                record % 9000
            )
            .unwrap();
        }
    }
}

/// One `run --once`.
fn run(dir: &Path) -> Took {
    let before = children_cpu_seconds();
    // Its messages would stand between the rows.
    let messages = dir.join("messages");
    let mut child = Command::new(BINARY)
        .args(["run", "--once"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&messages).unwrap())
        .spawn()
        .unwrap();
    let mut peak_mb = 0.0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak_mb = kilobytes.map_or(peak_mb, |kilobytes| kilobytes / 1000.0);
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {}", fs::read_to_string(&messages).unwrap_or_default());
    let after = children_cpu_seconds();
    Took { user: after.0 - before.0, system: after.1 - before.1, peak_mb }
}

/// CPU of children that were waited for, user's and system's, in seconds (ticks of 10 ms).
fn children_cpu_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap().to_owned();
    let mut ticks = after_name.split_whitespace().skip(13).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0);
    (ticks.next().unwrap(), ticks.next().unwrap())
}
