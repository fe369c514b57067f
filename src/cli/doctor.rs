//! `doctor`: what `run` will meet, probed. Each line is ✓ or ✗ with the cure; `?` is what nobody can know from here.
//!
//! Nothing is changed, and nothing is sent to a receiver beyond a login that is hung up: `alert test` does the rest.

use super::{Cli, masked, print};
use crate::clock;
use crate::config::{Config, Input, Source, SyslogTransport};
use crate::control;
use crate::daemon::load_policies;
use crate::deliver::Outcome;
use crate::deliver::probe::probe;
use crate::error::Failure;
use crate::model::Time;
use crate::source::file::glob::{Found, Glob};
use crate::trail::disk::RealDisk;
use crate::trail::{Paths, generation, read};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// What a probe came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    Bad,
    Unknown,
}

struct Line {
    mark: Mark,
    what: String,
    cure: String,
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn good(&mut self, what: impl Into<String>) {
        self.0.push(Line { mark: Mark::Good, what: what.into(), cure: String::new() });
    }
    fn bad(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Line { mark: Mark::Bad, what: what.into(), cure: cure.into() });
    }
    fn unknown(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Line { mark: Mark::Unknown, what: what.into(), cure: cure.into() });
    }
}

/// Probes everything; exit 1 where something is ✗.
pub fn main(cli: &Cli) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let mut lines = Lines::default();
    lines.good(format!("{} is good", config.file.display()));
    for warning in &config.warnings {
        lines.unknown(warning.clone(), "allowed, and probably not meant");
    }
    match load_policies(&config) {
        Ok(policies) => {
            lines.good(format!("{} policy files, every example proven", policies.files.len()));
            for rule in super::check::not_observable(&config, &policies) {
                lines.unknown(rule, "in a plain deployment it would be");
            }
        }
        Err(problems) => lines.bad(
            problems.first().map_or_else(|| "the policies".into(), ToString::to_string),
            "`crmwarden check` names all of them",
        ),
    }
    let running = control::ask(&config.state.join("control.sock"), r#"{"do":"status"}"#).is_ok();
    state(&config, running, &mut lines);
    keys(&config, &mut lines);
    for source in &config.sources {
        self::source(source, running, &mut lines);
    }
    if config.sources.is_empty() {
        lines.bad("no source is configured: nothing is read", "name one below `sources:`");
    }
    receivers(&config, &mut lines)?;
    for (name, address) in
        [("metrics", config.metrics), ("listen", config.listen.as_ref().map(|it| it.address))]
    {
        if let Some(address) = address {
            self::address(name, address, running, &mut lines);
        }
    }
    self::clock(&config, &mut lines);
    show(cli, &lines.0)
}

fn show(cli: &Cli, lines: &[Line]) -> Result<u8, Failure> {
    let bad = lines.iter().any(|line| line.mark == Mark::Bad);
    let word = |mark| match mark {
        Mark::Good => "good",
        Mark::Bad => "bad",
        Mark::Unknown => "unknown",
    };
    if cli.json {
        let rows: Vec<Value> = lines
            .iter()
            .map(|line| json!({ "result": word(line.mark), "what": line.what, "cure": line.cure }))
            .collect();
        print(&format!("{}\n", json!({ "ok": !bad, "probes": rows })))?;
    } else {
        let mut out = String::new();
        for line in lines {
            let sign = match line.mark {
                Mark::Good => "✓",
                Mark::Bad => "✗",
                Mark::Unknown => "?",
            };
            out.push_str(&format!("{sign} {}\n", masked(&line.what)));
            if !line.cure.is_empty() {
                out.push_str(&format!("    {}\n", masked(&line.cure)));
            }
        }
        print(&out)?;
    }
    Ok(u8::from(bad))
}

/// The state: can it be written, is there space, does somebody write it.
fn state(config: &Config, running: bool, lines: &mut Lines) {
    let state = &config.state;
    let folder = state.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Ok(()) => lines.good(format!("{} can be written", state.display())),
        Err(_) => lines.bad(
            format!("{} cannot be written by uid {}", folder.display(), rustix::process::getuid().as_raw()),
            "run doctor as the daemon's user, or give it the folder",
        ),
    }
    if running {
        lines.good("a daemon answers");
    } else {
        lines.unknown("no daemon answers", "that is in order before the first start");
    }
    let Ok(free) = rustix::fs::statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)) else {
        return;
    };
    let paths = Paths { state: state.clone(), keys: config.keys.clone() };
    let grown = growth(&paths);
    let mb = free / 1_000_000;
    match grown.filter(|day| *day > 0) {
        Some(day) if free / day < 30 => lines.bad(
            format!(
                "{mb} MB free, and the trail grows by {} MB a day: full in {} days",
                day / 1_000_000,
                free / day
            ),
            "give it a larger disk, or prune what is past its retention (`crmwarden prune`)",
        ),
        Some(day) => lines.good(format!(
            "{mb} MB free; the trail grows by {:.1} MB a day: enough for {} days",
            day as f64 / 1e6,
            (free / day).min(99_999)
        )),
        None if free < 1_000_000_000 => {
            lines.bad(
                format!("{mb} MB free for the state"),
                "a gigabyte is little: an event takes about 700 bytes",
            );
        }
        None => lines.good(format!("{mb} MB free for the state; how fast the trail grows is not known yet")),
    }
}

/// Bytes a day, over the days that the segments span.
fn growth(paths: &Paths) -> Option<u64> {
    let newest = generation::newest(&RealDisk, paths).ok().flatten()?;
    let files = read::segments(&RealDisk, &paths.generation(newest)).ok()?;
    let sizes: Vec<(Time, u64)> = files.iter().filter_map(|file| written(&file.path)).collect();
    let first = sizes.iter().map(|(changed, _)| *changed).min()?;
    let days = clock::now().seconds_since(first) / 86_400.0;
    let bytes: u64 = sizes.iter().map(|(_, length)| length).sum();
    (days > 1.0).then(|| (bytes as f64 / days) as u64)
}

/// When a file was written last, and its length.
fn written(path: &Path) -> Option<(Time, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((clock::of(metadata.modified().ok()?), metadata.len()))
}

fn keys(config: &Config, lines: &mut Lines) {
    let keys = &config.keys;
    if keys.starts_with(&config.state) {
        lines.bad(
            format!("the keys ({}) are inside the state", keys.display()),
            "one backup would hold trail and keys: name another folder with `keys:`",
        );
    }
    if !keys.is_dir() {
        return lines.unknown(
            format!("no keys in {} yet", keys.display()),
            "the first start, or `crmwarden init`, makes them",
        );
    }
    match crate::trail::keys::Keys::read(&RealDisk, keys) {
        Ok(_) => lines.good(format!("the keys in {} are whole and closed to others", keys.display())),
        Err(error) => lines.bad(error.to_string(), "the daemon's user reads them, nobody else: chmod 0600"),
    }
}

fn source(source: &Source, running: bool, lines: &mut Lines) {
    let name = &source.name;
    match &source.input {
        Input::Files { paths, .. } => {
            let mut found = Found::default();
            for glob in paths.iter().filter_map(|path| Glob::parse(path).ok()) {
                glob.walk(&mut found);
            }
            if let Some((folder, error)) = found.troubles.first() {
                return lines.bad(
                    format!("source {name}: {} cannot be listed: {}", folder.display(), error.kind()),
                    "the daemon's user needs to read and enter the folder (systemd: SupplementaryGroups, ReadOnlyPaths)",
                );
            }
            let closed = found
                .paths
                .iter()
                .find(|path| rustix::fs::access(path.as_path(), rustix::fs::Access::READ_OK).is_err());
            match (closed, found.paths.len()) {
                (Some(path), _) => lines.bad(
                    format!("source {name}: {} cannot be read", path.display()),
                    "put the daemon's user into the file's group, or change the group's rights",
                ),
                (None, 0) => lines.unknown(
                    format!("source {name}: no file matches {} yet", paths.join(", ")),
                    "in order when the CRM has written none; else look at the path",
                ),
                (None, count) => lines.good(format!("source {name}: {count} files can be read")),
            }
        }
        Input::Syslog(syslog) if !matches!(syslog.transport, SyslogTransport::Udp) => {
            address(&format!("source {name}"), syslog.listen, running, lines);
        }
        _ => lines.unknown(format!("source {name}: is brought to us"), "its records show whether it works"),
    }
}

fn receivers(config: &Config, lines: &mut Lines) -> Result<(), Failure> {
    if config.receivers.is_empty() {
        lines.bad("no receiver is configured: nobody is told of anything", "name one below `receivers:`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("no async runtime: {error}")))?;
    for (name, receiver) in &config.receivers {
        match runtime.block_on(probe(receiver)) {
            Outcome::Delivered => {
                lines.good(format!("receiver {name}: reached; `crmwarden alert test` sends it something"))
            }
            Outcome::Retry { why } | Outcome::Refused { why } => {
                lines.bad(format!("receiver {name}: {why}"), "is it running, and may this host reach it?");
            }
            Outcome::Misconfigured { why } => {
                lines.bad(format!("receiver {name}: {why}"), "mend it in the configuration")
            }
        }
    }
    Ok(())
}

fn address(name: &str, address: SocketAddr, running: bool, lines: &mut Lines) {
    match TcpListener::bind(address) {
        Ok(_) => lines.good(format!("{name}: {address} is free")),
        Err(_) if running => lines.good(format!("{name}: {address} is taken, by the daemon it seems")),
        Err(error) => lines.bad(
            format!("{name}: {address}: {}", error.kind()),
            "stop what uses it, or choose another address",
        ),
    }
}

/// Whether the clock goes back behind the trail, and whether anything keeps it right.
fn clock(config: &Config, lines: &mut Lines) {
    let now = clock::now();
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    let newest = generation::newest(&RealDisk, &paths).ok().flatten();
    let segments = newest.and_then(|newest| read::segments(&RealDisk, &paths.generation(newest)).ok());
    let changed =
        segments.into_iter().flatten().filter_map(|file| written(&file.path)).map(|(at, _)| at).max();
    if let Some(changed) = changed.filter(|changed| *changed > now.plus_seconds(60)) {
        return lines.bad(
            format!("the clock says {now}, and the trail was written at {changed}"),
            "set the clock: entries would carry the trail's time until it catches up",
        );
    }
    match Path::new("/run/systemd/timesync/synchronized").exists() {
        true => lines.good(format!("the clock is kept by systemd-timesyncd ({now})")),
        false => lines.unknown(
            format!("the clock says {now}; whether anything keeps it right cannot be seen from here"),
            "windows and deadlines need it right to some seconds: look at `timedatectl` or `chronyc tracking`",
        ),
    }
}
