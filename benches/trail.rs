//! The trail against what bounds it, in one run on one machine: durable appends against the disk's own
//! fdatasync rate and a bare SHA-256 of the same bytes, verification against a bare SHA-256, a start without a
//! cache, and sealing and verifying beside syslog-ng's secure logging.
//!
//! ```text
//! cargo bench --bench trail                    # 300,000 entries
//! ENTRIES=10000000 cargo bench --bench trail   # as the README's figures
//! ```
//!
//! Rows whose last column is a ratio are to be read as ratios: absolute figures are the machine's. CPU is user and
//! system time of all threads. `slogencrypt` and `slogverify` (Debian's syslog-ng-mod-slog) also encrypt, which
//! this does not; they are the nearest forward-secure log that distributions ship. Without them their rows are
//! left out, and the bench says so.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::cli::pack::POLICIES;
use crmwarden::model::Time;
use crmwarden::policy::Policies;
use crmwarden::rebuild;
use crmwarden::state::State;
use crmwarden::trail::disk::{Disk, RealDisk};
use crmwarden::trail::entry::Bodies;
use crmwarden::trail::recover::{Opened, open};
use crmwarden::trail::verify::{Given, Verdict, verify};
use crmwarden::trail::{Cursors, Paths, detail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Time = Time::from_seconds(1_790_000_000);
/// How long each measurement of appends lasts.
const SPAN: Duration = Duration::from_secs(4);

fn main() {
    let entries: u64 = std::env::var("ENTRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000);
    appends();
    let dir = tempfile::tempdir().unwrap();
    let bytes = long_trail(dir.path(), entries);
    verification(dir.path(), entries, bytes);
    starts(dir.path(), entries);
    beside_slog(dir.path());
}

fn row(what: &str, value: f64, unit: &str, ratio: Option<(f64, &str)>) {
    let ratio = ratio.map_or_else(String::new, |(ratio, of)| format!("{:>7.0} % of {of}", ratio * 100.0));
    println!("{what:<44} {value:>12.0} {unit:<12}{ratio}");
}

fn opened(dir: &Path) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let paths = Paths { state: dir.join("state"), keys: dir.join("keys") };
    open(&disk, &paths, "bench.example", NOW).unwrap()
}

/// Members of an event of usual size: 300 bytes with the line's own.
fn members(number: u64, out: &mut Vec<u8>) {
    let text = format!(
        "\"time\":\"2026-11-21T10:00:00.000000Z\",\"source\":\"web\",\"action\":\"read\",\"actor\":{{\"id\":\"user{}\"}},\
         \"target\":{{\"ids\":[\"{number:016x}\"]}}",
        number % 500
    );
    out.extend_from_slice(text.as_bytes());
}

fn group(first: u64, size: u64) -> Bodies {
    let mut bodies = Bodies::default();
    for number in first..first + size {
        bodies.push("event", |out| members(number, out));
    }
    bodies
}

/// Durable appends at three group sizes, with and without details.
fn appends() {
    let dir = tempfile::tempdir().unwrap();
    let rate = fdatasync_rate(dir.path());
    row("fdatasync of 4 KiB appended", rate, "a second", None);
    for size in [1, 64, 4096] {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = opened(dir.path());
        let start_bytes = opened.trail.bytes();
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let mut groups = 0;
        while began.elapsed() < SPAN {
            opened.trail.make_room(NOW).unwrap();
            opened.trail.commit(&group(groups * size, size), &Cursors::new(), NOW).unwrap();
            groups += 1;
        }
        opened.trail.checkpoint(NOW).unwrap();
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let bytes = (opened.trail.bytes() - start_bytes) as f64;
        let syncs = groups as f64 / wall;
        row(
            &format!("plain, groups of {size}"),
            syncs * size as f64,
            "entries/s",
            Some((syncs / rate, "fdatasync")),
        );
        let bare = bytes / sha256_rate();
        row("    its CPU against a bare SHA-256", cpu / bare * 100.0, "%", None);
        erasable(size, rate);
    }
}

/// The same with a detail of two fields for every entry, durable before the group.
fn erasable(size: u64, rate: f64) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = opened(dir.path());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let generation = opened.trail.folder().to_owned();
    let folder = detail::folder(&dir.path().join("state"), 1);
    let (mut store, _) = detail::Store::open(&disk, folder, &generation, opened.trail.next_index()).unwrap();
    let mut lines = Vec::new();
    let began = Instant::now();
    let mut groups = 0;
    while began.elapsed() < SPAN {
        opened.trail.make_room(NOW).unwrap();
        let first = opened.trail.next_index();
        lines.clear();
        for index in first..first + size {
            let mut tails = Vec::new();
            for (path, value) in [("actor.id", "0055j000000u123"), ("client.ip", "198.51.100.77")] {
                let salt = [7; 32];
                std::hint::black_box(detail::commitment(path, &salt, value));
                detail::write_tail(&mut tails, path, &salt, value);
            }
            detail::write_lines(&mut lines, index, &tails);
        }
        store.append(opened.trail.segment_first(), &lines).unwrap();
        opened.trail.commit(&group(groups * size, size), &Cursors::new(), NOW).unwrap();
        groups += 1;
    }
    opened.trail.checkpoint(NOW).unwrap();
    let syncs = groups as f64 / began.elapsed().as_secs_f64();
    row(
        &format!("erasable, groups of {size}"),
        syncs * size as f64,
        "entries/s",
        Some((syncs / rate, "fdatasync")),
    );
}

fn fdatasync_rate(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("sync")).unwrap();
    let (began, mut syncs) = (Instant::now(), 0);
    while began.elapsed() < SPAN / 2 {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    f64::from(syncs) / began.elapsed().as_secs_f64()
}

/// Bytes a second of one core, over lines of the size of entries.
fn sha256_rate() -> f64 {
    let line = [7u8; 300];
    let (began, mut bytes) = (cpu_seconds(), 0.0);
    while cpu_seconds() - began < 1.0 {
        for _ in 0..10_000 {
            std::hint::black_box(Sha256::new().chain_update([0]).chain_update(line).finalize());
            bytes += 300.0;
        }
    }
    bytes / (cpu_seconds() - began)
}

fn long_trail(dir: &Path, entries: u64) -> f64 {
    let mut opened = opened(dir);
    let mut number = 0;
    while opened.trail.next_index() < entries {
        opened.trail.make_room(NOW).unwrap();
        opened.trail.commit(&group(number, 4096), &Cursors::new(), NOW).unwrap();
        number += 4096;
    }
    opened.trail.checkpoint(NOW).unwrap();
    opened.trail.bytes() as f64
}

fn verification(dir: &Path, entries: u64, bytes: f64) {
    let bare = bytes / sha256_rate();
    let cpu = cpu_seconds();
    let outcome = verify(&dir.join("state"), &Given::default(), &mut |_| ()).unwrap();
    let cpu = cpu_seconds() - cpu;
    assert_eq!(outcome.verdict, Verdict::Ok);
    row(
        "verify, entries a CPU second",
        entries as f64 / cpu,
        "entries/s",
        Some((bare / cpu, "a bare SHA-256")),
    );
}

fn starts(dir: &Path, entries: u64) {
    let began = Instant::now();
    let mut trail = opened(dir).trail;
    let hashed = began.elapsed().as_secs_f64();
    row("start without a cache, hashing", entries as f64 / hashed, "entries/s", None);
    let files: Vec<(String, String)> = POLICIES
        .iter()
        .filter(|(name, _)| name.ends_with(".yaml"))
        .map(|(n, t)| ((*n).into(), (*t).into()))
        .collect();
    let policies = Policies::load(&files, &[]).map_err(|problems| problems[0].to_string()).unwrap();
    let mut state = State::new(&policies).unwrap();
    let range = (0, trail.next_index());
    rebuild::replay(&RealDisk, trail.folder(), range, &mut state, &mut |_| ()).unwrap();
    let all = began.elapsed().as_secs_f64();
    row("    hashing and all projections", entries as f64 / all, "entries/s", None);
    let body = state.export();
    trail.write_cache(body.clone(), NOW).unwrap();
    trail.checkpoint(NOW).unwrap();
    drop(trail);
    let began = Instant::now();
    let again = opened(dir);
    let (size, body) = again.cache.as_ref().unwrap();
    let mut state = State::import(body, &policies).unwrap();
    let range = (*size, again.trail.next_index());
    rebuild::replay(&RealDisk, again.trail.folder(), range, &mut state, &mut |_| ()).unwrap();
    row("start with a cache, all of it", began.elapsed().as_secs_f64() * 1000.0, "ms", None);
}

/// The same lines sealed and verified by syslog-ng's secure logging.
fn beside_slog(dir: &Path) {
    let missing = ["slogkey", "slogencrypt", "slogverify"]
        .into_iter()
        .find(|name| Command::new(name).arg("--help").output().is_err());
    if let Some(name) = missing {
        println!("{name} is not installed (Debian: syslog-ng-mod-slog): no comparison with secure logging");
        return;
    }
    let lines = 200_000;
    let mut input = BufWriter::new(File::create(dir.join("in")).unwrap());
    for number in 0..lines {
        let mut line = Vec::new();
        members(number, &mut line);
        line.extend_from_slice(b",\"pad\":\"");
        line.resize(298, b'x');
        line.extend_from_slice(b"\"\n");
        input.write_all(&line).unwrap();
    }
    input.flush().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let before = children_cpu_seconds();
        // slogencrypt ends with 1 where its first MAC file was empty, though what it wrote verifies.
        let _ = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
        children_cpu_seconds() - before
    };
    run("slogkey", &["-m", "master.key"]);
    run("slogkey", &["-d", "master.key", "00:00:00:00:00:00", "1", "host.key"]);
    fs::copy(dir.join("host.key"), dir.join("first.key")).unwrap();
    fs::write(dir.join("mac"), b"").unwrap();
    let seal = run("slogencrypt", &["-k", "host.key", "-m", "mac", "new.key", "new.mac", "in", "out"]);
    let check = run("slogverify", &["-k", "first.key", "-m", "new.mac", "out", "back"]);
    assert!(fs::metadata(dir.join("back")).unwrap().len() > 0, "slogverify gave nothing");

    let own = tempfile::tempdir().unwrap();
    let mut opened = opened(own.path());
    let cpu = cpu_seconds();
    let mut input = BufReader::new(File::open(dir.join("in")).unwrap());
    let (mut bodies, mut line) = (Bodies::default(), Vec::new());
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line).unwrap();
        if read > 0 {
            bodies.push("event", |out| out.extend_from_slice(&line[..read - 1]));
        }
        if bodies.len() == 4096 || read == 0 {
            opened.trail.make_room(NOW).unwrap();
            opened.trail.commit(&bodies, &Cursors::new(), NOW).unwrap();
            bodies.clear();
        }
        if read == 0 {
            break;
        }
    }
    opened.trail.checkpoint(NOW).unwrap();
    let our_seal = cpu_seconds() - cpu;
    drop(opened);
    let cpu = cpu_seconds();
    assert_eq!(verify(&own.path().join("state"), &Given::default(), &mut |_| ()).unwrap().exit, 0);
    let our_check = cpu_seconds() - cpu;
    let lines = lines as f64;
    row("slogencrypt, lines a CPU second", lines / seal, "lines/s", None);
    row(
        "    sealing the same lines here",
        lines / our_seal,
        "lines/s",
        Some((seal / our_seal, "slogencrypt")),
    );
    row("slogverify, lines a CPU second", lines / check, "lines/s", None);
    row("    verifying them here", lines / our_check, "lines/s", Some((check / our_check, "slogverify")));
}

/// Fields of /proc/self/stat after the name, in seconds (ticks of 10 ms).
fn stat(fields: std::ops::Range<usize>) -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap().to_owned();
    let ticks = after_name.split_whitespace().skip(fields.start).take(fields.len());
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn cpu_seconds() -> f64 {
    stat(11..13)
}

fn children_cpu_seconds() -> f64 {
    stat(13..15)
}
