//! `status`: asks the running daemon.

use super::{Cli, print};
use crate::config::Config;
use crate::control;
use crate::error::Failure;

/// Asks over the control socket; exit 3 when nobody answers.
pub fn main(cli: &Cli) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let socket = config.state.join("control.sock");
    let reply = control::ask(&socket, r#"{"do":"status"}"#).map_err(|error| {
        Failure::Runtime(format!(
            "no daemon answers at {} ({error}); is `crmwarden run` running?",
            socket.display()
        ))
    })?;
    if reply["ok"] != true {
        return Err(Failure::Runtime(format!("the daemon did not answer: {}", reply["error"])));
    }
    let status = &reply["status"];
    if cli.json {
        print(&format!("{status}\n"))?;
        return Ok(0);
    }
    let word = |name: &str| match &status[name] {
        serde_json::Value::String(text) => super::masked(text),
        other => other.to_string(),
    };
    let mut text = format!("{}: running, pid {}\n", word("origin"), word("pid"));
    text.push_str(&format!(
        "  head      {} entries, {} signed, newest {}\n",
        word("entries"),
        word("signed"),
        word("newest")
    ));
    text.push_str(&format!("  root      {}\n", word("root")));
    text.push_str(&match status["anchored"].as_u64() {
        None | Some(0) => "  anchored  no: nothing off this host vouches for the trail\n".to_owned(),
        Some(size) => format!("  anchored  {size} entries are confirmed off this host\n"),
    });
    text.push_str(&format!("  incidents {}\n", word("incidents")));
    for (title, name) in [("anchor", "anchors"), ("events", "events"), ("owed", "owed")] {
        for (key, count) in status[name].as_object().into_iter().flatten() {
            text.push_str(&format!("  {title:<9} {key:<24} {count:>12}\n"));
        }
    }
    print(&text)?;
    Ok(0)
}
