//! `report`: evidence for a framework over a period, signed.

use super::{Cli, print};
use crate::config::Config;
use crate::error::Failure;
use crate::model::Time;
use crate::report::{Made, Order, make};
use crate::trail::disk::{Disk, RealDisk, replace};
use crate::trail::recover::open;
use crate::trail::{Bodies, Cursors, Paths, TrailError};
use crate::{clock, control, daemon};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `report`.
#[derive(Args)]
pub struct Report {
    /// The control framework: the `id` of a file in policies/frameworks/
    #[arg(long, value_name = "ID")]
    framework: String,
    /// First instant of the period: RFC 3339 or a date
    #[arg(long, value_name = "TIME")]
    from: String,
    /// First instant after the period: RFC 3339 or a date
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Time zone of dates and of the printed times (IANA)
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Folder for the files of the report
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

impl Report {
    /// Makes the report.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let config = Config::find(cli.config.as_deref())?;
        let zone = jiff::tz::TimeZone::get(&self.tz)
            .map_err(|_| Failure::Usage(format!("`--tz {}` is no IANA time zone", self.tz)))?;
        let (from, to) = (instant(&self.from, &zone, "--from")?, instant(&self.to, &zone, "--to")?);
        if from >= to {
            return Err(Failure::Usage("the period is empty: --from must be before --to".into()));
        }
        let policies = daemon::load_policies(&config)?;
        let known: Vec<&str> = policies.frameworks.iter().map(|framework| framework.id.as_str()).collect();
        let framework = policies.frameworks.iter().find(|framework| framework.id == self.framework);
        let framework = framework.cloned().ok_or_else(|| {
            Failure::Usage(format!(
                "there is no framework `{}` in the policies; there are: {}",
                self.framework,
                known.join(", ")
            ))
        })?;
        let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
        let detail = format!("framework {} from {from} to {to}", self.framework);
        record_access(&config, &paths, &detail)?;

        let order = Order {
            paths: &paths,
            deployment: config.deployment.clone(),
            host: daemon::host(),
            framework,
            period: (from, to),
            zone,
            now: clock::now(),
        };
        let Made { files, outcome } = make(&RealDisk, order)?;
        RealDisk
            .make_dir(&self.out, 0o750)
            .map_err(|error| TrailError::io("make the folder", &self.out, error))?;
        let mut names = Vec::new();
        for file in &files {
            let path = self.out.join(&file.name);
            replace(&RealDisk, &path, &file.bytes, 0o640)
                .map_err(|error| TrailError::io("write", &path, error))?;
            names.push(path.display().to_string());
        }
        let document = match cli.json {
            true => format!("{}\n", serde_json::json!({ "files": names, "verdict": outcome.verdict })),
            false => format!(
                "{}\nThe trail: {} ({} signed entries, {}). How to verify: {}\n",
                names.join("\n"),
                outcome.verdict.as_str(),
                outcome.size,
                outcome.trust,
                self.out.join("VERIFY.md").display()
            ),
        };
        print(&document)?;
        Ok(u8::from(!outcome.verdict.is_intact()))
    }
}

/// RFC 3339, or a date that begins in `zone`.
fn instant(text: &str, zone: &jiff::tz::TimeZone, option: &str) -> Result<Time, Failure> {
    if let Some(time) = Time::parse(text) {
        return Ok(time);
    }
    let date: Option<jiff::civil::Date> = text.parse().ok();
    let start = date.and_then(|date| date.to_zoned(zone.clone()).ok());
    start.map(|start| Time::from_micros(start.timestamp().as_microsecond())).ok_or_else(|| {
        Failure::Usage(format!("`{option} {text}` is neither RFC 3339 nor a date like 2026-11-22"))
    })
}

/// Reading the trail leaves an entry: over the socket where the daemon runs, else by taking the lock.
fn record_access(config: &Config, paths: &Paths, detail: &str) -> Result<(), Failure> {
    let request = serde_json::json!({ "do": "access", "what": "report", "detail": detail }).to_string();
    let socket = config.state.join("control.sock");
    if let Ok(reply) = control::ask(&socket, &request)
        && reply["ok"] == true
    {
        return Ok(());
    }
    if !paths.generation(1).is_dir() {
        return Err(Failure::Runtime(format!("there is no trail in {}", config.state.display())));
    }
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    match open(&real, paths, &config.deployment, clock::now()) {
        Ok(mut opened) => {
            let mut bodies = Bodies::default();
            let uid = rustix::process::getuid().as_raw();
            bodies.push("access", |out| control::write_access(out, "report", detail, uid, None));
            opened.trail.make_room(clock::now())?;
            opened.trail.commit(&bodies, &Cursors::new(), clock::now())?;
            opened.trail.checkpoint(clock::now())?;
        }
        // A damaged trail is reported on all the same; the report says what is damaged.
        Err(error) => eprintln!("crmwarden: this access was not recorded in the trail: {error}"),
    }
    Ok(())
}
