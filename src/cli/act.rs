//! Commands that change the trail itself: `prune`, `hold`, and what `keys rotate` does.
//!
//! The running daemon is asked over its socket; where none runs, the command takes the lock and does it itself.

use super::{Cli, masked, print};
use crate::clock;
use crate::config::Config;
use crate::control;
use crate::error::Failure;
use crate::model::Time;
use crate::operator::{Act, Done, operate};
use crate::trail::detail::{self, Privacy, Store};
use crate::trail::disk::{Disk, RealDisk};
use crate::trail::recover::open;
use crate::trail::{Paths, generation};
use clap::{Args, Subcommand};
use std::sync::Arc;

/// Arguments of `prune`.
#[derive(Args)]
pub struct Prune {
    /// Whole segments older than this may go: RFC 3339, or a date (UTC)
    #[arg(long, value_name = "TIME")]
    before: String,
    #[command(flatten)]
    approval: Approved,
}

/// Arguments of `erase`.
#[derive(Args)]
pub struct Erase {
    /// Erase the details of all entries in which this value stands: an id, a name, an address
    #[arg(long, value_name = "VALUE", required_unless_present = "entries")]
    person: Option<String>,
    /// Erase the details of these entries: 120 or 120-130; may be repeated
    #[arg(long, value_name = "RANGE")]
    entries: Vec<String>,
    #[command(flatten)]
    approval: Approved,
}

impl Erase {
    /// Erases.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let range = |text: &String| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1).then_some(range)
        };
        let entries: Option<Vec<(u64, u64)>> = self.entries.iter().map(range).collect();
        let entries =
            entries.ok_or_else(|| Failure::Usage("`--entries` takes an index, or FIRST-LAST".into()))?;
        let Approved { reason, approver, requester } = &self.approval;
        act(
            cli,
            &Act::Erase {
                person: self.person.clone(),
                entries,
                reason: reason.clone(),
                requester: requester.clone(),
                approver: approver.clone(),
            },
        )
    }
}

/// Why, and who says so.
#[derive(Args)]
pub struct Approved {
    /// Why: the retention rule, the request
    #[arg(long)]
    pub reason: String,
    /// Who approved it
    #[arg(long)]
    pub approver: String,
    /// Who asked for it
    #[arg(long, default_value = "")]
    pub requester: String,
}

/// Subcommands of `hold`.
#[derive(Subcommand)]
pub enum Hold {
    /// From now on nothing is pruned or erased
    Set(Named),
    /// Ends a hold
    Release(Named),
}

/// A hold's name and the reason for the change.
#[derive(Args)]
pub struct Named {
    /// Name of the hold, for example the case
    name: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Prune {
    /// Prunes.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let before = Time::parse(&self.before).or_else(|| Time::parse_date(&self.before));
        let before = before.ok_or_else(|| {
            Failure::Usage(format!(
                "`--before {}` is neither RFC 3339 nor a date like 2026-11-22",
                self.before
            ))
        })?;
        let Approved { reason, approver, requester } = &self.approval;
        act(
            cli,
            &Act::Prune {
                before,
                reason: reason.clone(),
                requester: requester.clone(),
                approver: approver.clone(),
            },
        )
    }
}

impl Hold {
    /// Sets or releases a hold.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        match self {
            Hold::Set(Named { name, reason }) => {
                act(cli, &Act::Hold { name: name.clone(), reason: reason.clone() })
            }
            Hold::Release(Named { name, reason }) => {
                act(cli, &Act::Release { name: name.clone(), reason: reason.clone() })
            }
        }
    }
}

/// Has an act done and prints what came of it. A refused act is exit 78, with the reason.
pub fn act(cli: &Cli, act: &Act) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let done = ask_daemon(&config, act).unwrap_or_else(|| do_it_here(&config, act))?;
    print(&match cli.json {
        true => format!("{}\n", serde_json::json!({ "entry": done.entry, "text": done.text })),
        false => format!("{} (entry {})\n", masked(&done.text), done.entry),
    })?;
    Ok(0)
}

/// `None`: no daemon runs.
fn ask_daemon(config: &Config, act: &Act) -> Option<Result<Done, Failure>> {
    let request = serde_json::json!({ "do": "operate", "act": act }).to_string();
    let reply = control::ask_patiently(&config.state.join("control.sock"), &request).ok()?;
    let text = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
    Some(match reply["ok"] == true {
        true => Ok(Done { entry: reply["entry"].as_u64().unwrap_or_default(), text: text("text") }),
        false => Err(crate::trail::TrailError::Setup(text("error")).into()),
    })
}

fn do_it_here(config: &Config, act: &Act) -> Result<Done, Failure> {
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    if !paths.trail().join("g1").is_dir() {
        return Err(Failure::Runtime(format!("there is no trail in {}", config.state.display())));
    }
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut opened = open(&real, &paths, &config.deployment, clock::now())?;
    let uid = rustix::process::getuid().as_raw();
    let mut store = match config.privacy {
        Privacy::Plain => None,
        Privacy::Erasable => {
            let generation = opened.trail.folder().to_owned();
            let number = generation::newest(&*real, &paths)?.unwrap_or(1);
            let folder = detail::folder(&config.state, number);
            Some(Store::open(&real, folder, &generation, opened.trail.next_index())?.0)
        }
    };
    Ok(operate(&mut opened.trail, store.as_mut(), act, uid, clock::now())?)
}
