//! A backlog of a gigabyte: memory stays small, a quiet source is served meanwhile, and the lag is measured.
//!
//! `BACKLOG_MB=10000` makes it ten gigabytes; `benches/soak` does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::feeds::Feed;
use common::http::ask;
use common::{Home, free_port, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::time::Duration;

/// Peak of resident memory that is allowed, MB.
const PEAK_MB: f64 = 150.0;
const LIMIT: Duration = Duration::from_secs(3600);

fn events(home: &Home, source: &str) -> usize {
    let wanted = format!("\"source\":\"{source}\"");
    let mut count = 0;
    for path in home.segments() {
        let bytes = fs::read(path).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        let events = lines.filter(|line| memchr::memmem::find(line, b"\"kind\":\"event\"").is_some());
        count += events.filter(|line| memchr::memmem::find(line, wanted.as_bytes()).is_some()).count();
    }
    count
}

fn metric(address: &str, name: &str) -> f64 {
    let text = ask(address, "GET /metrics", &[], b"").expect("metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Most memory that was resident at a time so far, MB; of a process that ended there is none.
fn peak(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0)
}

#[test]
fn a_gigabyte_waits_and_a_quiet_source_does_not() {
    let megabytes: u64 = std::env::var("BACKLOG_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let home = Home::empty();
    let address = format!("127.0.0.1:{}", free_port());
    home.configure(
        &format!("metrics: {address}\n"),
        "sources:\n  - name: flood\n    file: { paths: [\"feed/flood.log\"] }\n    format: access_log.combined\n  \
         - name: quiet\n    file: { paths: [\"feed/quiet.log\"] }\n    format: access_log.combined\n",
    );
    home.write("feed/quiet.log", b"");
    let mut random = Generator::new(1);
    let mut out = BufWriter::new(File::create(home.path("feed/flood.log")).unwrap());
    // Long lines, so that the gate reads a gigabyte in seconds: what is bounded is bytes.
    let filter = "+or+Name+eq+x".repeat(900);
    let (mut written, mut number) = (0, 0);
    while written < megabytes * 1_000_000 {
        let line =
            Feed::Web.record(number, &mut random).replace("?offset=", &format!("?$filter={filter}&offset="));
        out.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
        number += 1;
    }
    drop(out);
    let daemon = home.ready_daemon();
    wait_for("the backlog is read", LIMIT, || {
        metric(&address, "crmwarden_source_records_total{source=\"flood\"}") > 100.0
    });
    let lag = metric(&address, "crmwarden_source_lag_bytes{source=\"flood\"}");
    assert!(lag > 1_000_000.0, "{lag}");
    assert!(metric(&address, "crmwarden_source_lag_seconds{source=\"flood\"}") > 0.0);
    home.append("feed/quiet.log", Feed::Web.record(999_999, &mut random).as_bytes());
    wait_for("the quiet source is served", LIMIT, || {
        metric(&address, "crmwarden_events_total{source=\"quiet\"}") > 0.0
    });
    let read = metric(&address, "crmwarden_source_records_total{source=\"flood\"}");
    assert!(read < number as f64, "only after all of the flood");
    wait_for("all is read", LIMIT, || {
        metric(&address, "crmwarden_events_total{source=\"flood\"}") >= number as f64
    });
    wait_for("nothing waits", LIMIT, || {
        metric(&address, "crmwarden_source_lag_bytes{source=\"flood\"}") == 0.0
    });
    let peak = peak(daemon.pid()).unwrap();
    assert_eq!(daemon.stop(), 0);
    eprintln!(
        "{megabytes} MB, {number} records; {read} of the flood when the quiet one was served; peak {peak:.0} MB"
    );
    assert!(peak < PEAK_MB, "{peak} MB");
    assert_eq!((events(&home, "flood") as u64, events(&home, "quiet")), (number, 1));
}

/// Windows remember people, so a flood of people is what fills them; the cache of them is written at the end.
#[test]
fn a_flood_of_names_takes_no_more() {
    let home = Home::empty();
    home.configure(
        "metrics: \"off\"\n",
        "sources:\n  - name: crm\n    file: { paths: [\"feed/audit.jsonl\"] }\n    format: dataverse.audit\n",
    );
    home.write("feed/.keep", b"");
    let mut random = Generator::new(1);
    let mut out = BufWriter::new(File::create(home.path("feed/audit.jsonl")).unwrap());
    for number in 0..200_000 {
        let line = Feed::Dataverse.record(number, &mut random);
        let (before, rest) = line.split_once("\"_userid_value\":\"4026be43").unwrap();
        write!(out, "{before}\"_userid_value\":\"{number:08x}{rest}").unwrap();
    }
    drop(out);
    let mut child = home.command(&["run", "--once"]).spawn().unwrap();
    let mut highest = 0.0;
    while child.try_wait().unwrap().is_none() {
        highest = peak(child.id()).unwrap_or(highest);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    eprintln!("200000 names: peak {highest:.0} MB");
    assert!(highest > 20.0 && highest < PEAK_MB, "{highest} MB");
}
