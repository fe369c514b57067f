//! `demo`: a workspace with sample feeds of three CRMs, and the daemon at work on it.
//!
//! Everything that the demo needs stands in the binary: configuration, policies, feeds. The feeds are
//! written live, a record at a time, in the formats of Salesforce, Dynamics 365, SAP and nginx; the people
//! in them are invented. A second run continues where the files end, so nothing is repeated.
//!
//! The sample feeds hold card numbers that the networks publish for tests. By default these are `info`; the
//! demo's policy treats them as real, and says so in its first line.

use super::pack::POLICIES;
use super::print;
use crate::config::Config;
use crate::consequence::Shown;
use crate::daemon::{self, Ready};
use crate::error::Failure;
use crate::pipeline::ToWriter;
use crate::source::file::Mode;
use crate::trail::disk::{Disk, RealDisk, write_new};
use clap::Args;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Arguments of `demo`.
#[derive(Args)]
pub struct Demo {
    /// Where the workspace is, or will be
    #[arg(default_value = "crmwarden-demo")]
    dir: PathBuf,
    /// Stop after so many seconds [default: until Ctrl-C]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// A feed's file in the workspace and its content.
struct Feed {
    path: &'static str,
    content: &'static [u8],
    /// Bytes of a record where records have no line ends.
    fixed: Option<usize>,
}

macro_rules! feed {
    ($path:literal) => {
        feed!($path, None)
    };
    ($path:literal, $fixed:expr) => {
        Feed {
            path: concat!("feeds/", $path),
            content: include_bytes!(concat!("../../examples/demo/feeds/", $path)),
            fixed: $fixed,
        }
    };
}

const FEEDS: &[Feed] = &[
    feed!("salesforce/Login.csv"),
    feed!("salesforce/Report.csv"),
    feed!("salesforce/ReportExport.csv"),
    feed!("salesforce/BulkApi2.csv"),
    feed!("salesforce/API.csv"),
    feed!("salesforce/setup_audit_trail.jsonl"),
    feed!("dynamics365/audit.jsonl"),
    feed!("dynamics365/grants.jsonl"),
    feed!("sap/audit_20261121.aud", Some(200)),
    feed!("web/access.log"),
];

const CONFIG: &str = include_str!("../../examples/demo/crmwarden.yaml");

/// What the workspace's configuration has besides: its token is made here, so it stands in no example.
const CONSOLE: &str = "listen: 127.0.0.1:7464              # the console
auth:
  people:
    - { name: demo, role: responder, token_file: console.token }
";

/// Time between two records of one feed.
const PACE: Duration = Duration::from_millis(250);

impl Demo {
    /// Writes the workspace and runs the daemon on it.
    pub fn main(&self) -> Result<u8, Failure> {
        let dir = std::path::absolute(&self.dir)
            .map_err(|error| Failure::Runtime(format!("cannot use {}: {error}", self.dir.display())))?;
        let fresh = !dir.join("crmwarden.yaml").exists();
        prepare(&dir)?;
        let config = Config::read(&dir.join("crmwarden.yaml"))?;
        let program = std::env::args().next().unwrap_or_else(|| "crmwarden".into());
        let shown_dir = self.dir.display().to_string();
        greet(&shown_dir, fresh, &config)?;

        let stop = Arc::new(AtomicBool::new(false));
        let feeding = Arc::clone(&stop);
        let seconds = self.seconds;
        let (feeds, names) = (dir.clone(), (shown_dir.clone(), program.clone()));
        let done = daemon::run(daemon::Run {
            config,
            mode: Mode::Follow,
            formats: HashMap::new(),
            show: Box::new(show),
            ready: Box::new(move |ready| {
                introduce(ready, &names.0, &names.1);
                if let Err(failure) = write_trust(&feeds) {
                    say(&failure.to_string());
                }
                let sender = ready.stop.clone();
                std::thread::spawn(move || feed_all(&feeds, &feeding));
                if let Some(seconds) = seconds {
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_secs(seconds));
                        let _ = sender.send(ToWriter::Stop);
                    });
                }
            }),
            any_port: true,
        });
        stop.store(true, Ordering::Relaxed);
        let done = done?;
        farewell(&shown_dir, &program, &done)?;
        Ok(0)
    }
}

/// Writes what is not there yet.
fn prepare(dir: &Path) -> Result<(), Failure> {
    let fault = |path: &Path, error: std::io::Error| {
        Failure::Runtime(format!("cannot write {}: {error}", path.display()))
    };
    let folder = |path: &Path, mode| RealDisk.make_dir(path, mode).map_err(|error| fault(path, error));
    folder(dir, 0o750)?;
    let config = [("crmwarden.yaml", CONFIG)];
    for (name, text) in config.iter().chain(POLICIES) {
        let path = dir.join(name);
        folder(path.parent().unwrap_or(dir), 0o750)?;
        if !path.exists() {
            let text = match *name {
                "policies/dlp/card-and-ssn.yaml" => demo_dlp(text),
                "crmwarden.yaml" => format!("{text}{CONSOLE}"),
                _ => (*text).to_owned(),
            };
            write_new(&RealDisk, &path, text.as_bytes(), 0o640).map_err(|error| fault(&path, error))?;
        }
    }
    let token = dir.join("console.token");
    if !token.exists() {
        let secret = crate::trail::keys::random()?;
        let text = format!("{}\n", crate::model::Hash(*secret).hex());
        write_new(&RealDisk, &token, text.as_bytes(), 0o600).map_err(|error| fault(&token, error))?;
    }
    for feed in FEEDS {
        let path = dir.join(feed.path);
        folder(path.parent().unwrap_or(dir), 0o750)?;
    }
    Ok(())
}

/// The shipped policy, with published test numbers treated as real.
fn demo_dlp(text: &str) -> String {
    format!(
        "# This copy belongs to the demo: it treats published test card numbers as real (`test_numbers: real`),\n\
         # because the sample feeds hold no others. A real deployment keeps `info`.\n{}",
        text.replace("test_numbers: info", "test_numbers: real")
    )
}

/// Appends a record of every feed in turn until all is written or the demo stops.
fn feed_all(dir: &Path, stop: &AtomicBool) {
    let mut open: Vec<(&Feed, File, usize)> = Vec::new();
    for feed in FEEDS {
        let file = OpenOptions::new().append(true).create(true).open(dir.join(feed.path));
        if let Ok(file) = file {
            let written = file.metadata().map_or(0, |data| data.len() as usize);
            open.push((feed, file, written));
        }
    }
    while !open.is_empty() && !stop.load(Ordering::Relaxed) {
        open.retain_mut(|(feed, file, written)| {
            let rest = feed.content.get(*written..).unwrap_or_default();
            let end = match feed.fixed {
                Some(length) => length.min(rest.len()),
                None => memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1),
            };
            let Some(record) = rest.get(..end).filter(|record| !record.is_empty()) else { return false };
            *written += end;
            file.write_all(record).is_ok()
        });
        std::thread::sleep(PACE);
    }
}

fn say(text: &str) {
    let _ = print(&format!("{text}\n"));
}

fn greet(dir: &str, fresh: bool, config: &Config) -> Result<(), Failure> {
    let what = if fresh { "A new workspace" } else { "The workspace, continued," };
    let mut text = format!("crmwarden demo. {what} in {dir}\n\nReading, as records arrive:\n");
    for source in &config.sources {
        text.push_str(&format!("  {:<14} {}\n", source.name, source.format.name()));
    }
    text.push_str("\nThe people are invented. The card numbers are published test numbers; the\n");
    text.push_str("demo's policy treats them as real so that you see what happens.\n");
    print(&text)
}

fn introduce(ready: &Ready, dir: &str, program: &str) {
    for line in &ready.recovered {
        say(&format!("Recovered: {}", super::masked(line)));
    }
    if let Some(address) = ready.metrics {
        say(&format!("Metrics        http://{address}/metrics"));
    }
    if let (Some(address), Some(code)) = (ready.listens, &ready.invitation) {
        say(&format!("Console        http://{address}/sign-in?code={code}"));
        say(&format!(
            "               (this link signs in once; later with the token in {dir}/console.token)"
        ));
    }
    say(&format!("E-mails        {dir}/outbox/*.eml"));
    say(&format!("Verify         {program} verify {dir}/state"));
    say("Stop           Ctrl-C\n");
    say("Nothing is shown before a signed checkpoint covers it. Findings:\n");
}

fn show(shown: &Shown) {
    match shown {
        Shown::Finding(finding, incident) => {
            let incident = incident.as_deref().unwrap_or("-");
            let title = super::masked(&finding.title);
            say(&format!("  {:<8} {:<9} {}", finding.severity.as_str(), incident, short(&title, 70)));
        }
        Shown::Grants { source, rows, complete, changes } => {
            let kind = if *complete { "complete" } else { "partial" };
            say(&format!(
                "  grants   {source}: {kind} snapshot of {rows} rows, {} added, {} removed",
                changes.0, changes.1
            ));
        }
        Shown::Notice { text, gap: true } => say(&format!("  gap      {}", super::masked(text))),
        Shown::Incident { .. } | Shown::Notice { .. } => {}
        Shown::Delivery(report) => match report.outcome.why() {
            None => say(&format!("  e-mail   {} written for `{}`", report.alert_id, report.receiver)),
            Some(why) => say(&format!("  e-mail   {}: {}", report.alert_id, super::masked(why))),
        },
    }
}

/// The text, cut at a character.
fn short(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The trust file, beside the workspace's configuration: what an outsider would pin.
fn write_trust(dir: &Path) -> Result<(), Failure> {
    let public = crate::report::Public::read(&dir.join("state"))?;
    let path = dir.join("trust.txt");
    write_new(&RealDisk, &path, public.trust.text().as_bytes(), 0o640)
        .map_err(|error| Failure::Runtime(format!("cannot write {}: {error}", path.display())))
}

fn farewell(dir: &str, program: &str, done: &daemon::Done) -> Result<(), Failure> {
    let events: u64 = done.events.values().sum();
    let mut text = format!(
        "\nStopped. {events} events in the trail, {} entries signed. Another run continues here.\n\nTry next:\n",
        done.ended.signed
    );
    text.push_str(&format!("  {program} verify {dir}/state --trust {dir}/trust.txt\n"));
    text.push_str(&format!(
        "  {program} report -c {dir}/crmwarden.yaml --framework pci-dss \\\n      --from 2026-11-20 --to {} -o {dir}/report\n",
        tomorrow()
    ));
    text.push_str(&format!("  {program} scan {dir}/feeds/web/access.log\n"));
    print(&text)
}

/// Tomorrow in UTC, and no day before the sample feeds end.
fn tomorrow() -> String {
    let tomorrow = crate::clock::now().plus_seconds(86_400).to_string();
    tomorrow.get(..10).unwrap_or("2026-11-23").max("2026-11-23").to_owned()
}
