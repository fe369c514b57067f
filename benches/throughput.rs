//! The whole pipeline: `run --once` with all default policies over a million records, half of them lines of
//! an access log, half records of Salesforce event-log files.
//!
//! ```text
//! cargo bench --bench throughput              # a million records
//! RECORDS=200000 cargo bench --bench throughput
//! ```
//!
//! Prints records, bytes, wall and CPU seconds (user and system, all threads, from /proc/self/stat),
//! records per CPU second and per second, MB per CPU second, and the peak of resident memory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::config::Config;
use crmwarden::daemon::{self, Run};
use crmwarden::source::file::Mode;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

// The binary's allocator, so that the bench measures what users run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let records: u64 = std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_feeds(dir.path(), records);
    copy_policies(dir.path());
    fs::write(dir.path().join("crmwarden.yaml"), CONFIG).unwrap();
    let config = Config::read(&dir.path().join("crmwarden.yaml")).map_err(|p| p[0].to_string()).unwrap();

    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let done = daemon::run(Run {
        config,
        mode: Mode::Once,
        formats: HashMap::new(),
        show: Box::new(|_| ()),
        ready: Box::new(|_| ()),
        any_port: false,
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let events: u64 = done.events.values().sum();
    assert_eq!(events, records, "every record must be one event");
    let trail: u64 = fs::read_dir(dir.path().join("state/trail/g1/segments"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    println!("records                    {records:>12}");
    println!("input MB                   {:>12.1}", bytes as f64 / 1e6);
    println!("trail MB                   {:>12.1}", trail as f64 / 1e6);
    println!("wall seconds               {wall:>12.2}");
    println!("CPU seconds                {cpu:>12.2}");
    println!("records per CPU second     {:>12.0}", records as f64 / cpu);
    println!("records per second         {:>12.0}", records as f64 / wall);
    println!("input MB per CPU second    {:>12.1}", bytes as f64 / 1e6 / cpu);
    println!("peak resident MB           {:>12.1}", peak_mb());
}

const CONFIG: &str = "deployment: bench.example\nstate: state\npolicies: policies\nmetrics: \"off\"\n\
sources:\n  - name: web\n    file: { paths: [\"web.log\"] }\n    format: access_log.combined\n\
\x20 - name: sf\n    file: { paths: [\"*.csv\"] }\n    format: salesforce.event_log\n";

/// A small generator with a fixed seed (SplitMix64): the same records on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

fn write_feeds(dir: &Path, records: u64) -> u64 {
    let mut numbers = Numbers(42);
    let mut web = BufWriter::new(File::create(dir.join("web.log")).unwrap());
    let mut sf = BufWriter::new(File::create(dir.join("login.csv")).unwrap());
    writeln!(sf, "{HEADER}").unwrap();
    for record in 0..records / 2 {
        let second = record % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let (a, b) = (numbers.below(256), numbers.below(256));
        let path = [
            "/index.php?module=Accounts&action=DetailView",
            "/Api/V8/module/Contacts",
            "/web/dataset/call_kw",
        ][numbers.below(3) as usize];
        let bytes = numbers.below(200_000);
        writeln!(
            web,
            "203.0.{a}.{b} - user{} [21/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \
             \"GET {path}&record={:08x} HTTP/1.1\" 200 {bytes} \"https://crm.example/\" \
             \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"",
            numbers.below(500),
            numbers.below(1 << 32)
        )
        .unwrap();
    }
    for record in 0..records - records / 2 {
        let second = record % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let user = numbers.below(500);
        let kind = ["Login", "API", "Report", "URI"][numbers.below(4) as usize];
        writeln!(
            sf,
            "\"{kind}\",\"20261121{hour:02}{minute:02}{second:02}.591\",\"4{:016x}-{record}\",\"00D5j000000VI3n\",\
             \"0055j000000u{user:03}\",\"{}\",\"30\",\"/index.jsp\",\"\",\"Qf{:08x}\",\"Standard\",\"Success\",\
             \"{}\",\"Mozilla/5.0 (Windows NT 10.0; Win64; x64)\",\"f\",\"60.0\",\"user{user}@crm.example\",\
             \"TLSv1.2\",\"2026-11-21T{hour:02}:{minute:02}:{second:02}.591Z\",\"0055j000000u{user:03}AAQ\",\
             \"198.51.100.{}\",\"LOGIN_NO_ERROR\",\"198.51.100.{}\",\"{}\"",
            numbers.below(u64::MAX),
            numbers.below(900),
            numbers.below(1 << 32),
            numbers.below(90_000_000),
            numbers.below(256),
            numbers.below(256),
            numbers.below(2000),
        )
        .unwrap();
    }
    web.flush().unwrap();
    sf.flush().unwrap();
    ["web.log", "login.csv"].iter().map(|name| fs::metadata(dir.join(name)).unwrap().len()).sum()
}

const HEADER: &str = "\"EVENT_TYPE\",\"TIMESTAMP\",\"REQUEST_ID\",\"ORGANIZATION_ID\",\"USER_ID\",\"RUN_TIME\",\
\"CPU_TIME\",\"URI\",\"SESSION_KEY\",\"LOGIN_KEY\",\"USER_TYPE\",\"REQUEST_STATUS\",\"DB_TOTAL_TIME\",\
\"BROWSER_TYPE\",\"API_TYPE\",\"API_VERSION\",\"USER_NAME\",\"TLS_PROTOCOL\",\"TIMESTAMP_DERIVED\",\
\"USER_ID_DERIVED\",\"CLIENT_IP\",\"LOGIN_STATUS\",\"SOURCE_IP\",\"ROWS_PROCESSED\"";

fn copy_policies(dir: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for kind in fs::read_dir(shipped).unwrap() {
        let kind = kind.unwrap();
        let target = dir.join("policies").join(kind.file_name());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(kind.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

/// User and system time of this process, from /proc/self/stat in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1000.0
}
