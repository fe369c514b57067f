//! `search` and `explain`: what the trail holds about somebody or something, and why a rule fired or did not.

use super::{Cli, masked, print};
use crate::config::Config;
use crate::control;
use crate::daemon::load_policies;
use crate::error::Failure;
use crate::inspect::behaviour::{DetectionRule, Engine};
use crate::model::{Event, Finding, Pseudonyms, Time};
use crate::search::{self, Hit, Query};
use crate::stage::veil::recall;
use crate::trail::detail::{self, Privacy};
use crate::trail::disk::RealDisk;
use crate::trail::keys::Keys;
use crate::trail::{Paths, TrailError, generation, read};
use clap::Args;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Arguments of `search`.
#[derive(Args)]
pub struct Search {
    /// Words that stand somewhere in the entry, whatever their case
    words: Vec<String>,
    /// Id or name of who did it
    #[arg(long)]
    actor: Option<String>,
    /// Id or name of a record
    #[arg(long)]
    record: Option<String>,
    /// What was done: login, export, grant …
    #[arg(long)]
    action: Option<String>,
    /// Name of the source
    #[arg(long)]
    source: Option<String>,
    /// Findings of rules whose id begins so
    #[arg(long)]
    rule: Option<String>,
    /// Findings of an incident
    #[arg(long)]
    incident: Option<String>,
    /// From this event time on: RFC 3339, or a date (UTC)
    #[arg(long)]
    from: Option<String>,
    /// Before this event time
    #[arg(long)]
    to: Option<String>,
    /// So many of the newest
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Arguments of `explain`.
#[derive(Args)]
pub struct Explain {
    /// The rule: detection.bulk_rows, or bulk_rows
    rule: String,
    /// One event of the trail, by its entry
    #[arg(long, value_name = "INDEX")]
    entry: Option<u64>,
}

impl Search {
    /// Searches and prints.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let config = Config::find(cli.config.as_deref())?;
        let query = self.query()?;
        let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
        let newest = newest(&config, &paths)?;
        let folder = paths.generation(newest);
        let pseudonyms = pseudonyms(&config)?;
        access(&config, "search", &query.said(pseudonyms.as_ref()));
        let tell = std::io::stderr().is_terminal();
        let told = |entries: u64| {
            if tell {
                eprint!("\r{entries} entries ");
            }
        };
        let mut found = search::search(&RealDisk, &folder, &query, pseudonyms.as_ref(), &told)?;
        if tell {
            eprint!("\r\x1b[K");
        }
        if let Some(pseudonyms) = &pseudonyms {
            search::name(&RealDisk, &detail::folder(&config.state, newest), pseudonyms, &mut found.hits)?;
        }
        let mut out = String::new();
        for hit in &found.hits {
            match cli.json {
                true => out.push_str(&format!(
                    "{}\n",
                    json!({ "entry": hit.index, "kind": hit.kind, "members": hit.members })
                )),
                false => out.push_str(&words(hit)),
            }
        }
        print(&out)?;
        let listed = found.hits.len() as u64;
        let more = if found.count > listed {
            format!(", the newest {listed} are shown (--limit)")
        } else {
            String::new()
        };
        eprintln!("crmwarden: {} found in {} entries{more}", found.count, found.entries);
        Ok(0)
    }

    fn query(&self) -> Result<Query, Failure> {
        let time = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => Time::parse(text).or_else(|| Time::parse_date(text)).map(Some).ok_or_else(|| {
                Failure::Usage(format!("`{name} {text}` is neither RFC 3339 nor a date like 2026-11-22"))
            }),
        };
        Ok(Query {
            actor: self.actor.clone(),
            record: self.record.clone(),
            action: self.action.clone(),
            source: self.source.clone(),
            rule: self.rule.clone(),
            incident: self.incident.clone(),
            from: time("--from", &self.from)?,
            to: time("--to", &self.to)?,
            words: self.words.clone(),
            limit: self.limit,
        })
    }
}

/// Around an incident, so many seconds before its first and after its last finding.
const AROUND: i64 = 24 * 3600;

/// How far an incident may reach: what everybody named in its findings touched from a day before to a day after.
pub fn radius(cli: &Cli, incident: &str) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    access(&config, "search", &format!("reach of {incident}"));
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    let newest = newest(&config, &paths)?;
    let (folder, details) = (paths.generation(newest), detail::folder(&config.state, newest));
    let pseudonyms = pseudonyms(&config)?;
    let look = |query: &Query| search::search(&RealDisk, &folder, query, pseudonyms.as_ref(), &|_| ());
    let mut findings =
        look(&Query { incident: Some(incident.to_owned()), limit: search::LIMIT_MAX, ..Query::default() })?;
    if findings.hits.is_empty() {
        return Err(Failure::Usage(format!("the trail holds no finding of `{incident}`")));
    }
    let times: Vec<Time> =
        findings.hits.iter().filter_map(|hit| Time::parse(hit.members["time"].as_str()?)).collect();
    let (from, to) = (times.iter().min().copied(), times.iter().max().copied());
    let mut people: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for (place, hit) in findings.hits.iter().enumerate() {
        let who = hit.members["actor"].as_str().or(hit.members["actor_name"].as_str());
        people.extend(who.map(|who| (who.to_owned(), place)));
    }
    if let Some(pseudonyms) = &pseudonyms {
        search::name(&RealDisk, &details, pseudonyms, &mut findings.hits)?;
    }
    let mut out = String::new();
    let mut rows = Vec::new();
    for (person, place) in &people {
        let query = Query {
            actor: Some(person.clone()),
            from: from.map(|from| from.plus_seconds(-AROUND)),
            to: to.map(|to| to.plus_seconds(AROUND)),
            limit: search::LIMIT_MAX,
            ..Query::default()
        };
        let found = look(&query)?;
        let reach = search::Reach::of(&found);
        // The finding that names them, with names by now where pseudonyms stood.
        let named = findings
            .hits
            .get(*place)
            .map(|hit| [&hit.members["actor_name"], &hit.members["actor"]].map(text));
        let name =
            named.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_else(|| person.clone());
        let cut = found.count > found.hits.len() as u64;
        out.push_str(&reach_words(&masked(&name), &reach, cut));
        let records: std::collections::BTreeMap<&String, usize> =
            reach.records.iter().map(|(kind, ids)| (kind, ids.len())).collect();
        rows.push(
            json!({ "actor": person, "events": reach.events, "complete": !cut, "actions": reach.actions, "records": records,
                          "rows": reach.rows, "addresses": reach.addresses.len() }),
        );
    }
    if people.is_empty() {
        out.push_str("nobody is named in its findings, so nobody's trace can be followed\n");
    }
    print(&if cli.json { format!("{}\n", json!({ "incident": incident, "reach": rows })) } else { out })?;
    Ok(0)
}

fn reach_words(name: &str, reach: &search::Reach, cut: bool) -> String {
    let mut out = format!("{name}: {} events", reach.events);
    if let Some((first, last)) = &reach.times {
        out.push_str(&format!(" from {first} to {last}"));
    }
    if cut {
        out.push_str(", and older ones that are not summed up");
    }
    out.push('\n');
    let actions: Vec<String> =
        reach.actions.iter().map(|(action, count)| format!("{} {count}", masked(action))).collect();
    out.push_str(&format!("  did        {}\n", actions.join(", ")));
    for (kind, ids) in &reach.records {
        let ids =
            if ids.is_empty() { "no ids in the feed".to_owned() } else { format!("{} distinct", ids.len()) };
        out.push_str(&format!("  touched    {}: {ids}\n", masked(kind)));
    }
    if reach.more > 0 {
        out.push_str(&format!("             and {} more that were not told apart\n", reach.more));
    }
    out.push_str(&format!(
        "  rows       {}, as far as the feed counts them\n  addresses  {}\n",
        reach.rows,
        reach.addresses.len()
    ));
    out
}

/// Whoever reads the trail leaves an entry where a daemon writes it; else it is said that there is none.
fn access(config: &Config, what: &str, detail: &str) {
    let request = json!({ "do": "access", "what": what, "detail": detail }).to_string();
    let told = control::ask(&config.state.join("control.sock"), &request);
    if !told.is_ok_and(|reply| reply["ok"] == true) {
        eprintln!("crmwarden: no daemon answers, so this access is not recorded in the trail");
    }
}

fn newest(config: &Config, paths: &Paths) -> Result<u32, Failure> {
    generation::newest(&RealDisk, paths)?
        .ok_or_else(|| Failure::Runtime(format!("there is no trail in {}", config.state.display())))
}

/// What makes pseudonyms, where the deployment has them and the key can be read.
fn pseudonyms(config: &Config) -> Result<Option<Pseudonyms>, TrailError> {
    match config.privacy {
        Privacy::Plain => Ok(None),
        Privacy::Erasable => Ok(Some(Pseudonyms::new(Keys::read(&RealDisk, &config.keys)?.matching))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => masked(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// One or two lines an entry.
fn words(hit: &Hit) -> String {
    let members = &hit.members;
    let time = text(&members["time"]);
    let time =
        time.split_once('.').map_or(time.clone(), |(seconds, _)| format!("{}Z", seconds.replace('T', " ")));
    if hit.kind == "finding" {
        return format!(
            "{:>9} {time}  {:<8} {} ({}{})\n",
            hit.index,
            text(&members["severity"]),
            text(&members["title"]),
            text(&members["rule"]),
            members["incident"].as_str().map_or_else(String::new, |id| format!(", {}", masked(id))),
        );
    }
    let (actor, target) = (&members["actor"], &members["target"]);
    let who = [&actor["name"], &actor["id"]].into_iter().map(text).find(|who| !who.is_empty());
    let parts = [
        who.unwrap_or_else(|| "nobody named".to_owned()),
        text(&members["action"]),
        text(&members["outcome"]),
        text(&target["type"]),
        text(&target["name"]),
        text(&target["ids"]),
        members["volume"]["rows"].as_u64().map_or_else(String::new, |rows| format!("{rows} rows")),
        members["client"]["ip"].as_str().map_or_else(String::new, |ip| format!("from {}", masked(ip))),
    ];
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{:>9} {time}  {} ({})\n", hit.index, said.join(" "), text(&members["source"]))
}

impl Explain {
    /// Replays the trail for one rule and says what it saw.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let config = Config::find(cli.config.as_deref())?;
        let policies = load_policies(&config)?;
        let wanted = |rule: &&DetectionRule| {
            rule.id == self.rule || rule.id.strip_prefix("detection.") == Some(&self.rule)
        };
        let Some(rule) = policies.detections.iter().find(wanted) else {
            let known = policies.detections.iter().map(|rule| rule.id.trim_start_matches("detection."));
            let near = crate::yaml::nearest(&self.rule, known.clone())
                .map(|near| format!("; did you mean `{near}`?"));
            return Err(Failure::Usage(format!(
                "no detection is named `{}`{}",
                self.rule,
                near.unwrap_or_default()
            )));
        };
        access(&config, "explain", &rule.id);
        let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
        let folder = paths.generation(newest(&config, &paths)?);
        let mut engine = Engine::new(std::slice::from_ref(rule)).map_err(Failure::Runtime)?;
        let mut seen = vec![0u64; rule.events.len()];
        let (mut events, mut findings, mut out) = (0u64, Vec::new(), String::new());
        let until = self.entry.map_or(u64::MAX, |entry| entry.saturating_add(1));
        read::each(&RealDisk, &folder, 0, until, &mut |entry| {
            if entry.kind != "event" || entry.members().starts_with(b"\"part\":") {
                return Ok(());
            }
            let object = entry.object();
            let Ok(mut event) = serde_json::from_slice::<Event>(&object) else { return Ok(()) };
            events += 1;
            // Where something was taken out of the event, its entry says what matched before.
            let recalled = recall(&object, &mut event, std::slice::from_ref(rule));
            let matches = recalled.unwrap_or_else(|| engine.evaluate(&event));
            matches.parts().for_each(|(_, part)| {
                if let Some(count) = seen.get_mut(part) {
                    *count += 1;
                }
            });
            let before = findings.len();
            engine.correlate(&event, &matches, &mut findings);
            if self.entry == Some(entry.index) {
                out.push_str(&one_event(
                    rule,
                    &event,
                    &matches.parts().map(|(_, part)| part).collect::<Vec<_>>(),
                ));
                let fired = if findings.len() > before { "reported" } else { "not reported" };
                out.push_str(&format!("With everything before it, this event is {fired}.\n"));
            }
            Ok(())
        })?;
        if let Some(entry) = self.entry.filter(|_| out.is_empty()) {
            return Err(Failure::Usage(format!("entry {entry} is no event of this trail")));
        }
        let head = self.summary(rule, events, &seen, &findings, &engine);
        print(&format!("{head}{out}"))?;
        Ok(0)
    }

    /// What the rule saw in all.
    fn summary(
        &self,
        rule: &DetectionRule,
        events: u64,
        seen: &[u64],
        findings: &[Finding],
        engine: &Engine,
    ) -> String {
        let mut head = format!(
            "{} ({}): {}\n  {}\n",
            masked(&rule.id),
            rule.severity.as_str(),
            masked(&rule.title),
            rule.file
        );
        head.push_str(&format!("Replayed over {events} events with the policies as they are now:\n"));
        for (part, count) in rule.events.iter().zip(seen) {
            head.push_str(&format!(
                "  {count:>9} matched `{}` (reads {})\n",
                masked(&part.name),
                part.paths.join(", ")
            ));
        }
        for correlation in &rule.correlations {
            let by: Vec<&str> = correlation.group_by.iter().map(|by| by.name.as_str()).collect();
            let by = if by.is_empty() { "all together".to_owned() } else { by.join(", ") };
            head.push_str(&format!(
                "            then `{}`: {} by {by} {}\n",
                masked(&correlation.name),
                correlation.kind.as_str(),
                correlation.test.words()
            ));
        }
        head.push_str(&format!(
            "  {:>9} findings, {} groups remembered now, {} hits came too late, {} forgotten\n",
            findings.len(),
            engine.groups(),
            engine.late(),
            engine.evicted().values().sum::<u64>()
        ));
        if self.entry.is_none() {
            for finding in findings.iter().rev().take(10) {
                head.push_str(&format!(
                    "            {} {}: {}\n",
                    finding.time,
                    masked(&finding.title),
                    masked(finding.detail.as_deref().unwrap_or_default())
                ));
            }
        }
        head
    }
}

/// A field's value as one text.
fn plain(value: &crate::model::event::Value<'_>) -> String {
    use crate::model::event::Value;
    match value {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(texts) => texts.join(", "),
        Value::Names(names) => names.join(", "),
    }
}

/// Which parts an event matched, and what each part reads of it.
fn one_event(rule: &DetectionRule, event: &Event, matched: &[usize]) -> String {
    let mut out = String::from("This event:\n");
    for (number, part) in rule.events.iter().enumerate() {
        let said = if matched.contains(&number) { "matches" } else { "does not match" };
        out.push_str(&format!("  {said} `{}`\n", masked(&part.name)));
        if !part.needs.iter().any(|needs| needs.allow(event.category, event.action)) {
            out.push_str("    its category or action is not among those that the rule names\n");
        }
        for path in &part.paths {
            let value =
                event.field(path).map_or_else(|| "(absent)".to_owned(), |value| masked(&plain(&value)));
            out.push_str(&format!("    {path:<20} {value}\n"));
        }
    }
    out
}
