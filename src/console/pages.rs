//! The pages. Values in, HTML out; everything is escaped by the templates, and text from logs is made harmless first.

use super::reports::Bundle;
use super::session::{Role, Session};
use crate::alert::text::{from_log, visible};
use crate::metrics::Values;
use crate::search::{Found, Hit};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => from_log(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A time to the second, in UTC.
fn when(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    match text.get(..19) {
        Some(seconds) => format!("{} UTC", seconds.replace('T', " ")),
        None => visible(text),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

const PLACES: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/incidents", "Incidents"),
    ("/findings", "Findings"),
    ("/search", "Search"),
    ("/sources", "Sources"),
    ("/trail", "Trail"),
    ("/alerts", "Alerts"),
    ("/reports", "Reports"),
];

fn frame(session: Option<&Session>, title: &str, here: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - crmwarden" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#main" { "To the content" }
                header {
                    span.brand { "crmwarden" }
                    @if let Some(session) = session {
                        nav aria-label="Pages" {
                            @for (place, name) in PLACES {
                                a href=(place) aria-current=[(*place == here).then_some("page")] { (name) }
                            }
                        }
                        form.who method="post" action="/sign-out" {
                            input type="hidden" name="csrf" value=(session.csrf);
                            span { (session.name) " (" (session.role.as_str()) ")" }
                            button.link type="submit" { "Sign out" }
                        }
                    }
                }
                main id="main" { h1 { (title) } (body) }
            }
        }
    }
}

/// The door.
pub(super) fn sign_in(why: Option<&str>) -> Markup {
    let body = html! {
        @if let Some(why) = why { p.alarm role="alert" { (why) } }
        form.door method="post" action="/sign-in" {
            label for="token" { "Your token" }
            input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
            button type="submit" { "Sign in" }
        }
        p.soft { "Tokens stand in the files that " code { "auth:" } " of the configuration names, one a person." }
    };
    frame(None, "Sign in", "", &body)
}

/// Something could not be done.
pub(super) fn trouble(session: &Session, why: &str) -> Markup {
    let body = html! { p.alarm role="alert" { (from_log(why)) } p { a href="/" { "To the overview" } } };
    frame(Some(session), "This was not done", "", &body)
}

fn badge(word: &str) -> Markup {
    html! { span class={ "badge " (word) } { (word.replace('_', " ")) } }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// Is everything alive.
pub(super) fn overview(session: &Session, status: &Value, incidents: &Value, measured: &Values) -> Markup {
    let open = list(&incidents["incidents"]);
    let of = |severity: &str| open.iter().filter(|incident| incident["severity"] == severity).count();
    let owed: u64 =
        status["owed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let lag = status["events"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(source, _)| measured.of("source_lag_seconds", source));
    let lag = lag.fold(0.0, f64::max);
    let anchored = status["anchored"].as_u64().unwrap_or_default();
    let signed = status["signed"].as_u64().unwrap_or_default();
    let verified = measured.one("last_verification_success");
    let body = html! {
        div.tiles {
            (tile("Open incidents", &number(open.len() as f64), if of("critical") + of("high") > 0 { "bad" } else { "good" },
                &format!("{} critical, {} high, {} medium, {} low", of("critical"), of("high"), of("medium"), of("low"))))
            (tile("Longest lag", &format!("{lag:.0} s"), if lag > 300.0 { "bad" } else { "good" }, "age of the oldest data not read"))
            (tile("Alerts owed", &number(owed as f64), if owed > 0 { "warn" } else { "good" }, "to all receivers together"))
            (tile("Signed entries", &number(signed as f64), "good", &format!("of {}", text(&status["entries"]))))
            (tile("Anchored off this host", &if anchored == 0 { "none".to_owned() } else { number(anchored as f64) },
                if anchored == 0 { "warn" } else { "good" },
                if anchored == 0 { "nobody outside vouches for the trail" } else { "entries" }))
            (tile("Last verification", match verified { Some(1.0) => "whole", Some(_) => "not whole", None => "none yet" },
                match verified { Some(1.0) => "good", Some(_) => "bad", None => "warn" }, "of the whole trail, by the daemon"))
        }
        h2 { "Worst open incidents" }
        (incident_table(open.get(..open.len().min(8)).unwrap_or_default()))
        p { a href="/incidents" { "All open incidents" } }
    };
    frame(Some(session), "Overview", "/", &body)
}

fn tile(name: &str, value: &str, mood: &str, more: &str) -> Markup {
    html! { section class={ "tile " (mood) } { h2 { (name) } p.value { (value) } p.soft { (more) } } }
}

fn incident_table(incidents: &[Value]) -> Markup {
    html! {
        @if incidents.is_empty() { p.soft { "None." } } @else {
            div.scroll { table {
                thead { tr { th { "Incident" } th { "Severity" } th { "State" } th { "What" } th { "Newest" } th { "Who has it" } } }
                tbody { @for incident in incidents {
                    @let id = text(&incident["incident"]);
                    tr {
                        td { a href={ "/incidents/" (id) } { (id) } }
                        td { (badge(incident["severity"].as_str().unwrap_or_default())) }
                        td { (text(&incident["state"])) }
                        td.wide { (text(&incident["title"])) br; span.soft { (text(&incident["rule"])) ", " (text(&incident["findings"])) " finding(s)" } }
                        td.time { (when(&incident["last"])) }
                        td { @if let Some(who) = incident["assignee"].as_str() { (from_log(who)) }
                             @else if let Some(by) = incident["acknowledged"]["by"].as_str() { "seen by " (from_log(by)) }
                             @else { span.soft { "nobody" } } }
                    }
                } }
            } }
        }
    }
}

/// By state.
pub(super) fn incidents(session: &Session, said: &Value, all: bool) -> Markup {
    let rows = list(&said["incidents"]);
    let states = [
        "detected",
        "triaged",
        "contained",
        "eradicated",
        "recovered",
        "closed",
        "reviewed",
        "false_positive",
    ];
    let body = html! {
        p { @if all { a href="/incidents" { "Only open ones" } } @else { a href="/incidents?all=1" { "Closed ones, too" } } }
        @for state in states {
            @let of: Vec<Value> = rows.iter().filter(|row| row["state"] == state).cloned().collect();
            @if !of.is_empty() { h2 { (state.replace('_', " ")) " (" (of.len()) ")" } (incident_table(&of)) }
        }
        @if rows.is_empty() { p.soft { "No incident is open." } }
    };
    frame(Some(session), "Incidents", "/incidents", &body)
}

fn form(session: &Session, what: &str, incident: &str, body: &Markup) -> Markup {
    html! {
        form.act method="post" action="/act" {
            input type="hidden" name="csrf" value=(session.csrf);
            input type="hidden" name="do" value=(what);
            @if !incident.is_empty() { input type="hidden" name="incident" value=(incident); }
            (body)
        }
    }
}

fn field(name: &str, label: &str, hint: &str) -> Markup {
    html! { label { span { (label) } input name=(name) placeholder=(hint); } }
}

fn reason() -> Markup {
    html! { label { span { "Reason" } input name="reason" required maxlength="1000"; } }
}

/// One with everything about it.
pub(super) fn incident(
    session: &Session,
    said: &Value,
    found: &Found,
    outbox: &Value,
    runbook: Option<&str>,
) -> Markup {
    let it = &said["incident"];
    let id = text(&it["incident"]);
    let alerts: Vec<&Value> =
        list(&outbox["outbox"]).iter().filter(|alert| alert["incident"] == it["incident"]).collect();
    let body = html! {
        p.lead { (badge(it["severity"].as_str().unwrap_or_default())) " " (badge(it["state"].as_str().unwrap_or_default())) " " (text(&it["title"])) }
        dl.facts {
            (fact("Rule", &html! { code { (text(&it["rule"])) } }))
            (fact("Source", &html! { (text(&it["source"])) }))
            (fact("Happened", &html! { (when(&it["first"])) @if it["first"] != it["last"] { " to " (when(&it["last"])) } }))
            (fact("Opened here", &html! { (when(&it["opened"])) }))
            (fact("Findings", &html! { (text(&it["findings"])) }))
            (fact("Assigned to", &html! { @if it["assignee"].is_null() { span.soft { "nobody" } } @else { (text(&it["assignee"])) } }))
            @if let Some(by) = it["acknowledged"]["by"].as_str() {
                (fact("Acknowledged", &html! { "by " (from_log(by)) ", until " (when(&it["acknowledged"]["until"])) }))
            }
        }
        @if session.role == Role::Responder { (acts(session, &id, it["state"].as_str().unwrap_or_default())) }
        @if let Some(runbook) = runbook {
            details { summary { "Runbook" } pre { @for line in runbook.split('\n') { (visible(line)) "\n" } } }
        }
        h2 { "Timeline" }
        ol.timeline { @for step in list(&it["steps"]) {
            li { time { (when(&step["at"])) } " " strong { (text(&step["what"]).replace('_', " ")) }
                 @if let Some(by) = step["by"].as_str() { " by " (from_log(by)) }
                 @if let Some(said) = step["text"].as_str() { ": " (from_log(said)) } }
        } }
        h2 { "Evidence" }
        (hits(&found.hits))
        h2 { "Alerts not delivered yet" }
        @if alerts.is_empty() { p.soft { "None: what was owed has arrived, or nobody was to be told." } }
        @for alert in alerts { p { (text(&alert["alert"])) ": " (text(&alert["reason"])) ", to " (text(&alert["receivers"])) @if alert["dead"] == true { ", refused" } } }
        h2 { "Notifications" }
        (clocks(session, &id, it, &said["provisional"]))
    };
    frame(Some(session), &id, "/incidents", &body)
}

fn acts(session: &Session, id: &str, state: &str) -> Markup {
    let next: &[&str] = match state {
        "detected" => &["triaged", "false_positive"],
        "triaged" => &["contained", "eradicated", "recovered", "closed", "false_positive"],
        "contained" => &["eradicated", "recovered", "closed", "triaged"],
        "eradicated" => &["recovered", "closed", "triaged"],
        "recovered" => &["closed", "triaged"],
        "closed" => &["reviewed", "triaged"],
        _ => &["triaged"],
    };
    let over = matches!(state, "closed" | "reviewed" | "false_positive");
    html! {
        details.acts open[state == "detected"] {
            summary { "Do something" }
            div.forms {
                (form(session, "move", id, &html! {
                    label { span { "Move to" } select name="to" { @for state in next { option value=(state) { (state.replace('_', " ")) } } } }
                    (reason()) button { "Move" }
                }))
                @if !over {
                    (form(session, "ack", id, &html! {
                        label { span { "Seen, for" } select name="for" { option value="1h" { "1 hour" } option value="4h" selected { "4 hours" } option value="24h" { "a day" } } }
                        (reason()) button { "Acknowledge" }
                    }))
                }
                (form(session, "assign", id, &html! { (field("to", "Assign to", "kim@acme.example")) (reason()) button { "Assign" } }))
                (form(session, "note", id, &html! { label { span { "Note" } input name="reason" required maxlength="1000"; } button { "Add" } }))
            }
        }
    }
}

fn clocks(session: &Session, id: &str, it: &Value, provisional: &Value) -> Markup {
    let running = list(&it["clocks"]);
    html! {
        @if !running.is_empty() { div.scroll { table {
            thead { tr { th { "Notification" } th { "From" } th { "Due" } th { "Gone" } th { "" } } }
            tbody { @for clock in running { tr {
                td.wide { (text(&clock["title"])) br; code { (text(&clock["clock"])) } }
                td.time { (when(&clock["from"])) }
                td.time { @if clock["due"].is_null() { "promptly" } @else { (when(&clock["due"])) } }
                td { @if clock["done"].is_null() { (text(&clock["gone_percent"])) " %" } @else { "ended " (when(&clock["done"])) } }
                td { @if clock["done"].is_null() && session.role == Role::Responder {
                    (form(session, "clock-end", id, &html! { input type="hidden" name="clock" value=(text(&clock["clock"])); (reason()) button { "End" } }))
                } }
            } } }
        } } }
        details {
            summary { "Deadlines that nobody started (" (list(provisional).len()) ")" }
            p.soft { "Provisional, counted from when this was opened. People decide which apply; nothing is ever sent to an authority." }
            div.scroll { table {
                thead { tr { th { "Notification" } th { "Due, if it applies" } th { "Applies when" } th { "Source" } } }
                tbody { @for clock in list(provisional) { tr {
                    td.wide { (text(&clock["title"])) br; code { (text(&clock["clock"])) }
                        @if session.role == Role::Responder {
                            (form(session, "clock-start", id, &html! {
                                input type="hidden" name="clock" value=(text(&clock["clock"]));
                                (field("from", "From", "now, or 2026-11-22T09:00:00Z")) (reason()) button { "Start" }
                            }))
                        } }
                    td.time { @if clock["provisional_due"].is_null() { "promptly" } @else { (when(&clock["provisional_due"])) } }
                    td.wide { (visible(clock["applies_when"].as_str().unwrap_or_default())) br; span.soft { "Starts with " (visible(clock["starts"].as_str().unwrap_or_default())) } }
                    td.wide { (visible(clock["source"].as_str().unwrap_or_default())) }
                } } }
            } }
        }
    }
}

fn hits(hits: &[Hit]) -> Markup {
    html! {
        @if hits.is_empty() { p.soft { "Nothing." } } @else { div.scroll { table {
            thead { tr { th { "Entry" } th { "Time" } th { "What" } th { "Who" } th { "Records" } th { "Source" } } }
            tbody { @for hit in hits.iter().rev() {
                @let it = &hit.members;
                tr {
                    td { a href={ "/entries/" (hit.index) } { (hit.index) } }
                    td.time { (when(&it["time"])) }
                    @if hit.kind == "finding" {
                        td.wide { (badge(it["severity"].as_str().unwrap_or_default())) " " (text(&it["title"]))
                            @if let Some(detail) = it["detail"].as_str() { br; span.soft { (from_log(detail)) } }
                            @if let Some(id) = it["incident"].as_str() { " " a href={ "/incidents/" (visible(id)) } { (visible(id)) } } }
                        td { @if it["actor_name"].is_null() { (text(&it["actor"])) } @else { (text(&it["actor_name"])) } }
                        td.wide { (text(&it["target"])) @for index in list(&it["about"]) { " " a href={ "/entries/" (text(index)) } { "record " (text(index)) } } }
                    } @else {
                        td.wide { (text(&it["action"])) " " (text(&it["outcome"])) }
                        td { @if it["actor"]["name"].is_null() { (text(&it["actor"]["id"])) } @else { (text(&it["actor"]["name"])) } }
                        td.wide { (text(&it["target"]["type"])) " " (text(&it["target"]["name"])) " " (text(&it["target"]["ids"])) }
                    }
                    td { (text(&it["source"])) }
                }
            } }
        } } }
    }
}

/// The newest findings.
pub(super) fn findings(session: &Session, found: &Found) -> Markup {
    let body = html! { p.soft { (number(found.count as f64)) " in the trail; the newest " (found.hits.len()) " are listed." } (hits(&found.hits)) };
    frame(Some(session), "Findings", "/findings", &body)
}

/// The form, and what it found.
pub(super) fn search(session: &Session, given: &BTreeMap<String, String>, found: Option<&Found>) -> Markup {
    let fields = [
        ("actor", "Who", "id or name"),
        ("record", "Record", "id or name"),
        ("action", "Action", "export"),
        ("source", "Source", "sf-prod"),
        ("rule", "Rule begins with", "detection."),
        ("from", "From", "2026-11-20"),
        ("to", "Before", "2026-11-21"),
        ("words", "Text", "anywhere in the entry"),
    ];
    let body = html! {
        form.search method="get" action="/search" {
            @for (name, label, hint) in fields {
                label { span { (label) } input name=(name) placeholder=(hint) value=(given.get(name).cloned().unwrap_or_default()); }
            }
            button { "Search" }
        }
        p.soft { "Every search is an entry of the trail, with your name." }
        @if let Some(found) = found {
            p { (number(found.count as f64)) " found in " (number(found.entries as f64)) " entries." }
            (hits(&found.hits))
        }
    };
    frame(Some(session), "Search", "/search", &body)
}

/// An entry as it stands.
pub(super) fn entry(session: &Session, index: u64, line: &[u8], hashes: usize, size: u64) -> Markup {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    let body = html! {
        p { "It is under the signed checkpoint of " (number(size as f64)) " entries: proven with " (hashes) " hashes, checked just now." }
        p { a href={ "/entries/" (index) "/proof" } { "The proof as a file" } " that anybody checks with the trust file alone: "
            code { "crmwarden trail verify-proof entry-" (index) ".tlog-proof --trust trust.txt" } }
        pre { @for part in pretty.split('\n') { (visible(part)) "\n" } }
    };
    frame(Some(session), &format!("Entry {index}"), "", &body)
}

/// What is read, how far, and what is wrong with it.
pub(super) fn sources(session: &Session, status: &Value, measured: &Values) -> Markup {
    let value = |name: &str, source: &str| measured.of(name, source);
    let unseen: Vec<(&str, f64)> = measured.all("not_observable").filter(|(_, count)| *count > 0.0).collect();
    let known = measured.all("source_lag_bytes").map(|(source, _)| source);
    let body = html! {
        div.scroll { table {
            thead { tr { th { "Source" } th.n { "Events in the trail" } th.n { "Read since start" } th.n { "Unread bytes" } th.n { "Lag, s" } th.n { "Feed delay, s" } th.n { "Defects" } } }
            tbody { @for source in known { tr {
                td { (visible(source)) }
                td.n { (number(status["events"][source].as_f64().unwrap_or_default())) }
                td.n { (number(value("source_records_total", source).unwrap_or_default())) }
                td.n { (number(value("source_lag_bytes", source).unwrap_or_default())) }
                td.n { (number(value("source_lag_seconds", source).unwrap_or_default())) }
                td.n { (number(value("source_feed_delay_seconds", source).unwrap_or_default())) }
                td.n { (number(value("defects_total", source).unwrap_or_default())) }
            } } }
        } }
        h2 { "Not observable" }
        @if unseen.is_empty() { p.soft { "Everything that the policies say could be compared, or nothing was compared yet." } }
        @else { ul { @for (reason, count) in unseen { li { (visible(reason).replace('_', " ")) ": " (number(count)) } } } }
    };
    frame(Some(session), "Sources", "/sources", &body)
}

/// Head, anchors, verification, and how a stranger checks it.
pub(super) fn trail(session: &Session, status: &Value, measured: &Values, note: &str, state: &str) -> Markup {
    let at = measured.one("last_verification_timestamp_seconds").filter(|at| *at > 0.0);
    let at = at.map(|at| crate::model::Time::from_seconds(at as i64).to_string());
    let body = html! {
        dl.facts {
            (fact("Origin", &html! { code { (text(&status["origin"])) } }))
            (fact("Entries", &html! { (text(&status["entries"])) ", " (text(&status["signed"])) " signed" }))
            (fact("Root", &html! { code.break { (text(&status["root"])) } }))
            (fact("Newest", &html! { (when(&status["newest"])) }))
            (fact("Policies", &html! { code.break { (text(&status["policy"])) } }))
            (fact("Verified", &html! { @match &at {
                Some(at) => { (when(&Value::from(at.as_str()))) ", " @if measured.one("last_verification_success") == Some(1.0) { "whole" } @else { strong { "not what was signed" } } }
                None => "not since this start",
            } }))
        }
        h2 { "Anchors" }
        @let anchors = status["anchors"].as_object();
        @if anchors.is_none_or(|anchors| anchors.is_empty()) {
            p.soft { "Unanchored: nobody off this host vouches for the trail. Whoever holds this host and its keys could rewrite it unnoticed. See " code { "anchors:" } "." }
        } @else { ul { @for (name, size) in anchors.into_iter().flatten() { li { (visible(name)) ": " (text(size)) " entries" } } } }
        h2 { "Newest checkpoint" }
        pre { @for line in note.split('\n') { (visible(line)) "\n" } }
        h2 { "Check it yourself" }
        pre { "crmwarden verify " (visible(state)) " --trust trust.txt\n" }
        p.soft { "Or without this program: examples/verify.sh and examples/verify-short.py need a shell or Python, and openssl." }
    };
    frame(Some(session), "Trail", "/trail", &body)
}

/// The outbox and the silences.
pub(super) fn alerts(session: &Session, outbox: &Value, silences: &Value) -> Markup {
    let acts = session.role == Role::Responder;
    let body = html! {
        h2 { "Owed and refused" }
        @let rows = list(&outbox["outbox"]);
        @if rows.is_empty() { p.soft { "Nothing is owed." } } @else { div.scroll { table {
            thead { tr { th { "Alert" } th { "Severity" } th { "What" } th { "To" } th { "State" } th { "" } } }
            tbody { @for row in rows { tr {
                td { (text(&row["alert"])) }
                td { (badge(row["severity"].as_str().unwrap_or_default())) }
                td.wide { (text(&row["title"])) }
                td { (text(&row["receivers"])) }
                td { @if row["dead"] == true { "refused" } @else if list(&row["failing"]).is_empty() { "owed" } @else { "failing" } }
                td { @if row["dead"] == true && acts {
                    (form(session, "again", "", &html! { input type="hidden" name="alert" value=(text(&row["alert"])); button { "Send again" } }))
                    (form(session, "drop", "", &html! { input type="hidden" name="alert" value=(text(&row["alert"])); (reason()) button { "Give up" } }))
                } }
            } } }
        } } }
        @if acts { (form(session, "test", "", &html! { button { "Fire drill to every receiver" } })) }
        h2 { "Silences" }
        @let rows = list(&silences["silences"]);
        @if rows.is_empty() { p.soft { "Nothing is or was silenced." } } @else { div.scroll { table {
            thead { tr { th { "Silence" } th { "Covers" } th { "Until" } th { "Why" } th.n { "Kept back" } th { "" } } }
            tbody { @for row in rows { tr {
                td { (text(&row["id"])) }
                td.wide { @for name in ["rule", "actor", "source"] { @if !row[name].is_null() { (name) " " (text(&row[name])) " " } } }
                td.time { (when(&row["until"])) @if row["in_force"] != true { " (over)" } }
                td.wide { (text(&row["reason"])) br; span.soft { "by " (text(&row["by"])) } }
                td.n { (text(&row["silenced"])) }
                td { @if row["in_force"] == true && acts {
                    (form(session, "silence-end", "", &html! { input type="hidden" name="silence" value=(text(&row["id"])); (reason()) button { "End" } }))
                } }
            } } }
        } } }
        @if acts { details { summary { "New silence" } (form(session, "silence", "", &html! {
            (field("rule", "Rule begins with", "detection.bulk_rows")) (field("actor", "Actor", "id or name")) (field("source", "Source", "sf-prod"))
            (field("for", "For", "2h")) (reason()) button { "Silence" }
        })) } }
        p.soft { "What is silenced is recorded all the same, and nothing that says that the trail is in danger can be silenced." }
    };
    frame(Some(session), "Alerts", "/alerts", &body)
}

/// How reports are made.
pub(super) fn reports(session: &Session, frameworks: &[String], made: &[Bundle]) -> Markup {
    let body = html! {
        p { "A report is a signed bundle for a period and a framework: evidence, exceptions, and what was not measured. Making one verifies and reads the whole trail: some ten seconds for a million entries." }
        @if frameworks.is_empty() { p.soft { "No framework is among the policies." } }
        @else if session.role == Role::Responder {
            form.search method="post" action="/reports" {
                input type="hidden" name="csrf" value=(session.csrf);
                label { "Framework " select name="framework" { @for framework in frameworks { option { (visible(framework)) } } } }
                label { "First day " input name="from" required placeholder="2026-10-01" pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}"; }
                label { "Day after the last " input name="to" required placeholder="2027-01-01" pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}"; }
                button type="submit" { "Make it" }
            }
            p.soft { "Days begin at midnight UTC. For another time zone: " code { "crmwarden report --tz" } "." }
        } @else { p.soft { "Your role is reader: whoever may act can make one, here or with " code { "crmwarden report" } "." } }
        @if made.is_empty() { p.soft { "None was made here yet." } }
        @for (bundle, files) in made {
            h2 { (visible(bundle)) }
            ul { @for file in files { li { a href={ "/reports/" (bundle) "/" (file) } { (visible(file)) } } } }
        }
        p.soft { "VERIFY.md in each bundle says how a stranger checks it with ssh-keygen, minisign or openssl." }
    };
    frame(Some(session), "Reports", "/reports", &body)
}
