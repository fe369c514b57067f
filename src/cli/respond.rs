//! `incidents`, `silence`, `outbox`, `alert`: what people do about what was found.
//!
//! The running daemon is asked over its socket. Where none runs, the command takes the trail's lock and answers by the
//! same code; alerts that follow leave when the daemon runs again.

use super::{Cli, masked, print};
use crate::clock;
use crate::config::Config;
use crate::control::{self, Ask};
use crate::daemon::offline;
use crate::error::Failure;
use crate::incident::lifecycle::Act;
use crate::model::Time;
use crate::model::duration;
use crate::model::incident::IncidentState;
use crate::response::Quiet;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Arguments of `incidents`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Incidents {
    /// Closed ones, too
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<IncidentCommand>,
}

#[derive(Clone, Subcommand)]
enum IncidentCommand {
    /// One incident: timeline, deadlines, what it is about
    Show {
        /// INC-…
        incident: String,
    },
    /// How far it may reach: what everybody in its findings touched, a day before to a day after
    Radius {
        /// INC-…
        incident: String,
    },
    /// I have seen it: nobody is called for a while
    Ack {
        /// INC-…
        incident: String,
        /// What is done about it
        #[arg(long)]
        reason: String,
        /// How long that holds, at most 7d
        #[arg(long = "for", default_value = "4h", value_name = "DURATION")]
        time: String,
    },
    /// Somebody works on it
    Assign {
        /// INC-…
        incident: String,
        /// Who
        #[arg(long)]
        to: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Add something to its timeline
    Note {
        /// INC-…
        incident: String,
        /// What
        text: String,
    },
    /// Into another state: triaged, contained, eradicated, recovered, closed, reviewed, false_positive
    Move {
        /// INC-…
        incident: String,
        /// The state
        state: String,
        /// Why; for `reviewed` the lessons
        #[arg(long)]
        reason: String,
    },
    /// Start the time of a notification: somebody decided that its law applies
    ClockStart {
        /// INC-…
        incident: String,
        /// The clock, gdpr-33 for example; `show` lists them
        clock: String,
        /// When it began: of awareness, of discovery (RFC 3339) [default: now]
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Why it applies
        #[arg(long)]
        reason: String,
    },
    /// End it: the notification was made, or is not needed
    ClockEnd {
        /// INC-…
        incident: String,
        /// The clock
        clock: String,
        /// What was sent to whom, or why nothing is
        #[arg(long)]
        reason: String,
    },
}

/// Subcommands of `silence`.
#[derive(Subcommand)]
pub enum Silence {
    /// Nobody is told of what matches; everything is recorded as ever
    Add {
        /// What a rule's id begins with
        #[arg(long)]
        rule: Option<String>,
        /// Id or name of the actor
        #[arg(long)]
        actor: Option<String>,
        /// Name of the source
        #[arg(long)]
        source: Option<String>,
        /// How long, at most 30d
        #[arg(long = "for", value_name = "DURATION")]
        time: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// All silences, with how many alerts each kept back
    List,
    /// End one now
    End {
        /// SIL-…
        silence: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// Subcommands of `outbox`.
#[derive(Subcommand)]
pub enum Outbox {
    /// Alerts owed, and those that a receiver refused for good
    List,
    /// Send dead alerts again
    Retry {
        /// ALR-… [default: all]
        alert: Option<String>,
    },
    /// Give dead alerts up
    Drop {
        /// ALR-… [default: all]
        alert: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// Subcommands of `alert`.
#[derive(Subcommand)]
pub enum Alert {
    /// A fire drill: one alert by the same way as every other
    Test {
        /// To whom [default: every receiver]
        #[arg(long)]
        receiver: Option<String>,
    },
}

impl Incidents {
    /// Lists, shows, acts.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let act = match &self.command {
            None => {
                let said = ask(
                    cli,
                    Ask::Incidents { all: self.all },
                    json!({ "do": "incidents", "all": self.all }),
                )?;
                return show(cli, &said, list_words);
            }
            Some(IncidentCommand::Show { incident }) => {
                let request = json!({ "do": "show", "incident": incident });
                let said = ask(cli, Ask::Show { incident: incident.clone() }, request)?;
                return show(cli, &said, incident_words);
            }
            Some(IncidentCommand::Radius { incident }) => return super::search::radius(cli, incident),
            Some(command) => command.act()?,
        };
        let request = json!({ "do": "respond", "act": act });
        let id = act.incident().to_owned();
        let said = ask(cli, Ask::Respond { act }, request)?;
        show(cli, &said, |said| format!("{id}: recorded as entry {} and signed\n", said["entry"]))
    }
}

impl IncidentCommand {
    fn act(&self) -> Result<Act, Failure> {
        Ok(match self.clone() {
            IncidentCommand::Ack { incident, reason, time } => {
                Act::Acknowledge { incident, seconds: seconds("--for", &time)?, reason }
            }
            IncidentCommand::Assign { incident, to, reason } => Act::Assign { incident, to, reason },
            IncidentCommand::Note { incident, text } => Act::Note { incident, reason: text },
            IncidentCommand::Move { incident, state, reason } => {
                let to = IncidentState::parse(&state).ok_or_else(|| {
                    let known: Vec<&str> = IncidentState::ALL.iter().map(|state| state.as_str()).collect();
                    Failure::Usage(format!("`{state}` is no state; one of {}", known.join(", ")))
                })?;
                Act::Move { incident, to, reason }
            }
            IncidentCommand::ClockStart { incident, clock, from, reason } => {
                let from = match from {
                    None => clock::now(),
                    Some(text) => Time::parse(&text).ok_or_else(|| {
                        Failure::Usage(format!("`--from {text}` is no time like 2026-11-22T09:00:00Z"))
                    })?,
                };
                Act::StartClock { incident, clock, from, reason }
            }
            IncidentCommand::ClockEnd { incident, clock, reason } => {
                Act::EndClock { incident, clock, reason }
            }
            IncidentCommand::Show { .. } | IncidentCommand::Radius { .. } => {
                return Err(Failure::Usage("nothing to do".into()));
            }
        })
    }
}

impl Silence {
    /// Adds, lists, ends.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        match self {
            Silence::Add { rule, actor, source, time, reason } => {
                let quiet = Quiet {
                    rule: rule.clone(),
                    actor: actor.clone(),
                    source: source.clone(),
                    seconds: seconds("--for", time)?,
                    reason: reason.clone(),
                };
                let request = json!({ "do": "silence", "quiet": quiet });
                let said = ask(cli, Ask::Silence { quiet }, request)?;
                show(cli, &said, |said| {
                    format!("{}: in force; everything is recorded as ever\n", text(&said["silence"]))
                })
            }
            Silence::List => {
                let said = ask(cli, Ask::Silences, json!({ "do": "silences" }))?;
                show(cli, &said, silence_words)
            }
            Silence::End { silence, reason } => {
                let request = json!({ "do": "end_silence", "silence": silence, "reason": reason });
                let ask_for = Ask::EndSilence { silence: silence.clone(), reason: reason.clone() };
                let said = ask(cli, ask_for, request)?;
                show(cli, &said, |said| format!("{}: ended\n", text(&said["silence"])))
            }
        }
    }
}

impl Outbox {
    /// Lists, sends again, gives up.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let counted = |word: &'static str| move |said: &Value| format!("{} {word}\n", said["count"]);
        match self {
            Outbox::List => {
                let said = ask(cli, Ask::Outbox, json!({ "do": "outbox" }))?;
                show(cli, &said, outbox_words)
            }
            Outbox::Retry { alert } => {
                let request = json!({ "do": "again", "alert": alert });
                let said = ask(cli, Ask::Again { alert: alert.clone() }, request)?;
                show(cli, &said, counted("owed again"))
            }
            Outbox::Drop { alert, reason } => {
                let request = json!({ "do": "drop", "alert": alert, "reason": reason });
                let said = ask(cli, Ask::Drop { alert: alert.clone(), reason: reason.clone() }, request)?;
                show(cli, &said, counted("given up"))
            }
        }
    }
}

impl Alert {
    /// The fire drill.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let Alert::Test { receiver } = self;
        let request = json!({ "do": "test_alert", "receiver": receiver });
        let said = ask(cli, Ask::TestAlert { receiver: receiver.clone() }, request)?;
        show(cli, &said, |said| {
            format!("{}: owed; `crmwarden outbox list` shows it until it has arrived\n", text(&said["alert"]))
        })
    }
}

fn seconds(what: &str, text: &str) -> Result<u64, Failure> {
    duration::parse(text).ok_or_else(|| Failure::Usage(format!("`{what} {text}` is not {}", duration::FORM)))
}

/// Asks the daemon, or the trail itself where no daemon runs. A refusal is exit 2: nothing was changed.
fn ask(cli: &Cli, ask: Ask, request: Value) -> Result<Value, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let socket = config.state.join("control.sock");
    let reply = match control::ask_patiently(&socket, &request.to_string()) {
        Ok(reply) => reply,
        Err(_) => offline::answer(&config, ask)?,
    };
    match reply["ok"] == true {
        true => Ok(reply),
        false => Err(Failure::Usage(text(&reply["error"]))),
    }
}

fn show(cli: &Cli, said: &Value, words: impl Fn(&Value) -> String) -> Result<u8, Failure> {
    print(&if cli.json { format!("{said}\n") } else { words(said) })?;
    Ok(0)
}

/// A member's text, harmless for a terminal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => masked(text),
        other => other.to_string(),
    }
}

/// A time to the second.
fn when(value: &Value) -> String {
    let text = text(value);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => text,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn list_words(said: &Value) -> String {
    let incidents = list(&said["incidents"]);
    if incidents.is_empty() {
        return "no incident is open\n".to_owned();
    }
    let mut out = String::new();
    for incident in incidents {
        let who = match (text(&incident["assignee"]), text(&incident["acknowledged"]["by"])) {
            (assignee, _) if !assignee.is_empty() => format!("with {assignee}"),
            (_, seen) if !seen.is_empty() => format!("seen by {seen}"),
            _ => "nobody has it".to_owned(),
        };
        out.push_str(&format!(
            "{:<12} {:<8} {:<14} {}  {}\n{:<12} {} finding(s), {who}; {}\n",
            text(&incident["incident"]),
            text(&incident["severity"]),
            text(&incident["state"]),
            when(&incident["last"]),
            text(&incident["title"]),
            "",
            incident["findings"],
            text(&incident["rule"]),
        ));
    }
    let count = said["count"].as_u64().unwrap_or_default();
    if count > incidents.len() as u64 {
        out.push_str(&format!("{count} in all, the worst and newest are listed\n"));
    }
    out
}

fn incident_words(said: &Value) -> String {
    let incident = &said["incident"];
    let mut out = format!(
        "{} {}: {}\n",
        text(&incident["incident"]),
        text(&incident["severity"]),
        text(&incident["title"])
    );
    let mut row = |name: &str, text: String| {
        if !text.is_empty() {
            out.push_str(&format!("  {name:<13} {text}\n"));
        }
    };
    row("state", text(&incident["state"]));
    row("rule", text(&incident["rule"]));
    row("source", text(&incident["source"]));
    row("happened", format!("{} to {}", when(&incident["first"]), when(&incident["last"])));
    row("opened", when(&incident["opened"]));
    row("findings", text(&incident["findings"]));
    row("entries", list(&incident["entries"]).iter().map(text).collect::<Vec<_>>().join(", "));
    row("assigned to", text(&incident["assignee"]));
    row("runbook", text(&incident["runbook"]));
    if let Some(by) = incident["acknowledged"]["by"].as_str() {
        row("acknowledged", format!("by {}, until {}", masked(by), when(&incident["acknowledged"]["until"])));
    }
    out.push_str("timeline\n");
    for step in list(&incident["steps"]) {
        let by = step["by"].as_str().map_or_else(String::new, |by| format!(" by {}", masked(by)));
        let said = text(&step["text"]);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        out.push_str(&format!("  {}  {}{by}{said}\n", when(&step["at"]), text(&step["what"])));
    }
    let clocks = list(&incident["clocks"]);
    if !clocks.is_empty() {
        out.push_str("notifications\n");
    }
    for clock in clocks {
        let due = match (&clock["done"], &clock["due"]) {
            (Value::String(done), _) => format!("ended {}", when(&json!(done))),
            (_, Value::String(due)) => {
                format!("due {} ({} % of the time is gone)", when(&json!(due)), clock["gone_percent"])
            }
            _ => "due promptly".to_owned(),
        };
        out.push_str(&format!("  {:<24} {due}  {}\n", text(&clock["clock"]), text(&clock["title"])));
    }
    let provisional = list(&said["provisional"]);
    if !provisional.is_empty() {
        out.push_str(
            "notifications that nobody started. Provisional, counted from when this was opened; people decide\n\
             which apply (`crmwarden incidents clock-start`), and nothing is ever sent to an authority.\n",
        );
    }
    for clock in provisional {
        let due = match &clock["provisional_due"] {
            Value::String(due) => when(&json!(due)),
            _ => "promptly".to_owned(),
        };
        out.push_str(&format!("  {:<24} {due:<21} {}\n", text(&clock["clock"]), text(&clock["title"])));
    }
    out
}

fn silence_words(said: &Value) -> String {
    let silences = list(&said["silences"]);
    if silences.is_empty() {
        return "nothing is or was silenced\n".to_owned();
    }
    let mut out = String::new();
    for silence in silences {
        let covers: Vec<String> = ["rule", "actor", "source"]
            .iter()
            .filter(|name| !silence[**name].is_null())
            .map(|name| format!("{name} {}", text(&silence[*name])))
            .collect();
        let state = if silence["in_force"] == true { "in force until" } else { "ended" };
        out.push_str(&format!(
            "{:<12} {state} {}  {}\n{:<12} by {}: {}; {} alert(s) kept back\n",
            text(&silence["id"]),
            when(&silence["until"]),
            covers.join(", "),
            "",
            text(&silence["by"]),
            text(&silence["reason"]),
            silence["silenced"],
        ));
    }
    out
}

fn outbox_words(said: &Value) -> String {
    let rows = list(&said["outbox"]);
    if rows.is_empty() {
        return "nothing is owed\n".to_owned();
    }
    let mut out = String::new();
    for row in rows {
        let receivers: Vec<String> = list(&row["receivers"]).iter().map(text).collect();
        let failing: Vec<String> = list(&row["failing"]).iter().map(text).collect();
        let state = match (row["dead"] == true, failing.is_empty()) {
            (true, _) => format!("refused by {}; `outbox retry` sends it again", receivers.join(", ")),
            (_, true) => format!("owed to {}", receivers.join(", ")),
            (_, false) => format!("owed to {}; failing at {}", receivers.join(", "), failing.join(", ")),
        };
        out.push_str(&format!(
            "{:<12} {:<8} {:<12} {}\n{:<12} {state}\n",
            text(&row["alert"]),
            text(&row["severity"]),
            text(&row["incident"]),
            text(&row["title"]),
            "",
        ));
    }
    out
}
