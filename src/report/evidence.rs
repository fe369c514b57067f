//! Evidence that is not a list of events: completeness, integrity, alerts, policies, retention, outages.

use super::collect::Collector;
use super::coverage::percent;
use super::data::{EvidenceData, Fact, Table};
use super::entry::DETAILS;
use super::judge::{duration, seconds, share, thousands, utc};
use super::list::Collecting;
use super::{Damage, Facts, Verdict};

fn fact(data: &mut EvidenceData, name: &'static str, value: impl Into<String>) {
    data.facts.push(Fact { name, value: value.into() });
}

/// Share of events with each required detail, over all and by source. Each shortfall is an exception.
pub(super) fn completeness(books: &Collector, data: &mut EvidenceData, exceptions: &mut Vec<String>) {
    let total = books.tally.events;
    fact(data, "Events of the period", thousands(total));
    for ((name, members), there) in DETAILS.iter().zip(books.tally.details) {
        let value =
            format!("{} % ({} of {}): {members}", share(there, total), thousands(there), thousands(total));
        fact(data, name, value);
    }
    let mut columns = vec!["source", "events"];
    columns.extend(DETAILS.iter().map(|(name, _)| *name));
    let mut rows = Vec::new();
    for (name, source) in books.sources.iter().filter(|(_, source)| source.events > 0) {
        let name = super::entry::visible(name);
        let mut row = vec![name.clone(), thousands(source.events)];
        for ((detail, _), there) in DETAILS.iter().zip(source.details) {
            row.push(format!("{} %", share(there, source.events)));
            if there < source.events {
                let lacking = thousands(source.events - there);
                exceptions.push(format!(
                    "{name}: {lacking} of {} events do not say `{detail}`.",
                    thousands(source.events)
                ));
            }
        }
        rows.push(row);
    }
    data.table = Some(Table { columns, rows });
}

/// Whether the trail is intact, and how much of that an outsider could know.
pub(super) fn integrity(
    facts: &Facts,
    data: &mut EvidenceData,
    partly: &mut Vec<String>,
    exceptions: &mut Vec<String>,
) {
    let trail = &facts.trail;
    let verdict = &trail.verdict;
    fact(data, "Verdict of verify", verdict.word());
    fact(data, "Meaning", Verdict::meaning(verdict.word()));
    fact(data, "Origin", trail.origin.clone());
    fact(data, "Entries under the checkpoint", thousands(trail.size));
    fact(data, "Root hash", trail.root.clone());
    match verdict.anchored() {
        Some(to) => fact(data, "Known outside this host up to", to),
        None => {
            fact(data, "Known outside this host up to", "nothing");
            partly.push(
                "No witness or time stamp outside this host knows the trail. Changes to entries would show; \
                 replacing the whole trail by somebody who holds the keys would not."
                    .to_owned(),
            );
        }
    }
    if let Some(age) = Verdict::said(&verdict.oldest_unanchored) {
        fact(data, "Oldest entry that nothing outside knows", age);
    }
    if verdict.trust != "pinned" {
        partly.push(
            "The keys were taken from the trail itself, not from a trust file obtained on another way."
                .to_owned(),
        );
    }
    if !verdict.is_intact() {
        exceptions.push(format!("The verdict of verify is `{}`.", verdict.word()));
    }
    exceptions.extend(verdict.damage.iter().map(Damage::text));
}

/// That log review ran: rules applied, incidents opened, alerts sent. Alerts that reached nobody are
/// exceptions.
pub(super) fn alerts(books: &Collector, data: &mut EvidenceData, exceptions: &mut Vec<String>) {
    let (events, under_rules) = books.coverage.events();
    fact(
        data,
        "Events read while rules were in force",
        format!("{} of {}", thousands(under_rules), thousands(events)),
    );
    fact(data, "Rules in force at the end", thousands(books.coverage.rules() as u64));
    fact(data, "Findings", by(books.tally.findings, &books.tally.severities));
    fact(data, "Incidents opened", by(books.incidents.opened, &books.incidents.by_severity));
    let states: Vec<String> = books
        .incidents
        .states()
        .iter()
        .map(|(state, count)| format!("{count} {}", state.replace('_', " ")))
        .collect();
    if !states.is_empty() {
        fact(data, "Where those incidents stand now", states.join(", "));
    }
    let alerts = &books.alerts;
    fact(
        data,
        "Alerts",
        format!(
            "{} owed, {} delivered, {} refused for good, {} outages of a receiver",
            thousands(alerts.owed),
            thousands(alerts.delivered),
            thousands(alerts.dead),
            thousands(alerts.failing)
        ),
    );
    if alerts.delivered > 0 {
        let slowest = duration(alerts.slowest_seconds.saturating_mul(1_000_000));
        fact(data, "Slowest delivery, from owed to delivered", slowest);
    }
    if under_rules < events {
        exceptions.push(format!(
            "{} events were read while no rule was in force.",
            thousands(events - under_rules)
        ));
    }
    if alerts.dead > 0 {
        exceptions
            .push(format!("{} alerts were refused for good by their receiver.", thousands(alerts.dead)));
    }
    let due = books.scope.to;
    let open = alerts.open.values().filter(|since| **since < due).count() as u64;
    if open > 0 {
        exceptions.push(format!(
            "{} alerts owed in or before the period have not been delivered.",
            thousands(open)
        ));
    }
}

fn by(count: u64, parts: &std::collections::BTreeMap<String, u64>) -> String {
    let order = ["critical", "high", "medium", "low", "info", "unknown"];
    let parts: Vec<String> = order
        .iter()
        .filter_map(|name| parts.get(*name).map(|count| format!("{} {name}", thousands(*count))))
        .collect();
    match parts.as_slice() {
        [] => thousands(count),
        _ => format!("{} ({})", thousands(count), parts.join(", ")),
    }
}

/// Policy versions in force.
pub(super) fn policies(books: &Collector, data: &mut EvidenceData) {
    let rows = books.policies.iter().map(|policy| {
        vec![
            policy.since.to_string(),
            thousands(policy.entry),
            thousands(policy.rules as u64),
            thousands(policy.files.len() as u64),
            policy.digest.clone(),
        ]
    });
    data.table =
        Some(Table { columns: vec!["time", "entry", "rules", "files", "digest"], rows: rows.collect() });
}

/// How far back the trail reaches.
pub(super) fn retention(
    books: &Collector,
    facts: &Facts,
    (keep_days, at_hand_days): (u32, u32),
    data: &mut EvidenceData,
    partly: &mut Vec<String>,
) {
    let days = |from: crate::model::Time| (facts.generated.seconds() - from.seconds()).max(0) / 86_400;
    let Some((index, oldest)) = books.tally.oldest else {
        partly.push("The trail holds no entry.".to_owned());
        return;
    };
    let held = days(oldest);
    fact(data, "Oldest entry", format!("number {index}, written {}", utc(oldest)));
    fact(data, "Held", format!("{held} days"));
    if let Some(event) = books.tally.oldest_event {
        fact(data, "Oldest event is of", event.to_string());
    }
    let prunes = books.tally.kinds.get("prune").copied().unwrap_or(0);
    fact(
        data,
        "Entries removed by a signed prune",
        if prunes == 0 { "none".to_owned() } else { format!("{prunes} times") },
    );
    fact(
        data,
        "At hand",
        format!("this report read all {} days in one go; {at_hand_days} days must be at hand", held),
    );
    if held < i64::from(keep_days) {
        let more = i64::from(keep_days) - held;
        partly.push(format!(
            "The trail is {held} days old. That {keep_days} days are kept can be shown in {more} days at the earliest."
        ));
    }
    if index > 0 && prunes == 0 {
        partly.push(format!("The first {} entries are not there.", thousands(index)));
    }
}

/// Outages of the daemon; those that nobody ordered are exceptions.
pub(super) fn health(books: &Collector, data: &mut EvidenceData, exceptions: &mut Vec<String>) {
    let coverage = &books.coverage;
    let (running, length) = (coverage.running(), coverage.length());
    fact(
        data,
        "The daemon ran",
        format!("{} of {} ({} %)", duration(running), duration(length), percent(running, length)),
    );
    fact(data, "Stretches without it", thousands(coverage.gap_count));
    let mut rows = Vec::new();
    for gap in &coverage.gaps {
        let length = duration(seconds(gap.stretch).saturating_mul(1_000_000));
        let (from, to) = (gap.stretch.from, gap.stretch.to);
        if gap.unclean {
            exceptions.push(format!("Outage of {length} from {}: {}.", utc(from), gap.cause));
        }
        rows.push(vec![from.to_string(), to.to_string(), length, gap.cause.to_owned()]);
    }
    if !rows.is_empty() {
        data.table =
            Some(Table { columns: vec!["from", "to", "length", "cause, as far as the trail tells"], rows });
    }
}

/// Says plainly that an empty list is not proof of absence.
pub(super) fn silent_sources(list: &Collecting, data: &mut EvidenceData) {
    if list.count() == 0 {
        fact(data, "Found", "none in the feeds that were read");
    }
}
