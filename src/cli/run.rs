//! `run`: the daemon, or with `--once` one pass over everything that is there.

use super::{Cli, print};
use crate::config::Config;
use crate::consequence::Shown;
use crate::daemon::{self, Done};
use crate::error::Failure;
use crate::model::Severity;
use crate::source::file::Mode;
use clap::Args;
use std::collections::HashMap;

/// Arguments of `run`.
#[derive(Args)]
pub struct Run {
    /// Read every source to its present end, commit, deliver, exit
    #[arg(long)]
    once: bool,
    /// With --once: also take a last record that has no end yet
    #[arg(long = "final", requires = "once")]
    last: bool,
}

impl Run {
    /// Runs the daemon.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let config = Config::find(cli.config.as_deref())?;
        for warning in &config.warnings {
            tracing::warn!("{}", super::masked(warning));
        }
        let mode = match (self.once, self.last) {
            (false, _) => Mode::Follow,
            (true, false) => Mode::Once,
            (true, true) => Mode::Final,
        };
        let sources: Vec<String> = config.sources.iter().map(|source| source.name.clone()).collect();
        let done = daemon::run(daemon::Run {
            config,
            mode,
            formats: HashMap::new(),
            show: Box::new(log),
            ready: Box::new(|ready| {
                for line in &ready.recovered {
                    tracing::warn!("recovered: {}", super::masked(line));
                }
                if let Some(address) = ready.metrics {
                    tracing::info!("metrics on http://{address}/metrics");
                }
                if let Some(address) = ready.listens {
                    tracing::info!("other programs are served on http://{address}");
                }
            }),
            any_port: false,
        })?;
        if self.once {
            summary(cli.json, &sources, &done)?;
        }
        Ok(0)
    }
}

/// One calm line for what matters; everything else stands in the trail.
fn log(shown: &Shown) {
    match shown {
        Shown::Incident { id, severity, title, receivers } => {
            let told = if receivers.is_empty() { "nobody".to_owned() } else { receivers.join(", ") };
            let title = super::masked(title);
            match severity {
                Severity::High | Severity::Critical => {
                    tracing::warn!("{id} {severity}: {title}; told: {told}")
                }
                _ => tracing::info!("{id} {severity}: {title}; told: {told}"),
            }
        }
        Shown::Delivery(report) => match report.outcome.why() {
            None => tracing::info!("{} delivered to {}", report.alert_id, report.receiver),
            Some(why) => tracing::warn!("{} to {}: {}", report.alert_id, report.receiver, super::masked(why)),
        },
        Shown::Grants { source, rows, complete, changes } => tracing::info!(
            "{source}: a {} snapshot of {rows} rows, {} grants added, {} removed",
            if *complete { "complete" } else { "partial" },
            changes.0,
            changes.1
        ),
        Shown::Notice { text, gap: true } => tracing::warn!("{}", super::masked(text)),
        Shown::Notice { text, gap: false } => tracing::info!("{}", super::masked(text)),
        Shown::Finding(..) => {}
    }
}

fn summary(json: bool, sources: &[String], done: &Done) -> Result<(), Failure> {
    let ended = &done.ended;
    let count = |source: &String| done.events.get(source).copied().unwrap_or(0);
    let rest = ended.rest.iter();
    if json {
        let document = serde_json::json!({
            "events": sources.iter().map(|s| (s.clone(), count(s))).collect::<std::collections::BTreeMap<_, _>>(),
            "signed": ended.signed,
            "owed": ended.owed,
            "unterminated": rest.map(|rest| serde_json::json!({
                "file": super::masked(&rest.file), "offset": rest.offset, "bytes": rest.bytes,
            })).collect::<Vec<_>>(),
        });
        return print(&format!("{document}\n"));
    }
    let mut text = String::from("events in the trail, by source\n");
    for source in sources {
        text.push_str(&format!("  {source:<24} {:>12}\n", count(source)));
    }
    text.push_str(&format!("signed entries {:>23}\n", ended.signed));
    if ended.owed > 0 {
        text.push_str(&format!("alerts still owed {:>20}\n", ended.owed));
    }
    for rest in rest {
        text.push_str(&format!(
            "{} bytes without an end at byte {} of {} wait (take them with --final)\n",
            rest.bytes,
            rest.offset,
            super::masked(&rest.file)
        ));
    }
    print(&text)
}
