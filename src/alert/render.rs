//! A notice as subject, plain text and HTML.
//!
//! Both bodies say the same in the same order: what happened, what to do next, who, which records, rule
//! and controls, times with the feed's own delay in words, then what proves it: trail entries, the signed
//! checkpoint, its anchor state and the commands that verify it.
//!
//! Invariants: the subject is one line of at most [`SUBJECT_MAX`] characters; plain lines are at most
//! [`WIDTH`] characters, except for the checkpoint and the commands, which must be copied as they are; HTML
//! is escaped by construction, loads nothing and has no link.

use super::text::{cut, duration, from_log, visible, wrap};
use super::{Anchor, Notice, Reason};
use crate::model::{Severity, Time};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Most characters of a subject.
pub const SUBJECT_MAX: usize = 200;
/// Columns of the plain text.
pub const WIDTH: usize = 76;
/// Most characters of a title in the bodies.
const TITLE_MAX: usize = 300;
/// Most locators and entry indices that are listed; more are counted.
const LISTED: usize = 12;

/// The subject line.
pub fn subject(notice: &Notice) -> String {
    let escalated = match notice.reason {
        Reason::Opened => "",
        Reason::Escalated => ", escalated",
        Reason::Unanswered => ", unanswered",
        Reason::Deadline => ", deadline",
        Reason::Acknowledged => ", acknowledged",
        Reason::Closed => ", closed",
        Reason::Digest => ", digest",
        Reason::Test => ", test",
    };
    let place = cut(&visible(&notice.deployment), 60);
    let head = format!("[crmwarden {}{escalated}] ", notice.severity);
    let tail = match notice.incident.is_empty() {
        true => format!(" ({place})"),
        false => format!(" ({}, {place})", cut(&visible(&notice.incident), 40)),
    };
    let room = SUBJECT_MAX.saturating_sub(head.chars().count() + tail.chars().count());
    format!("{head}{}{tail}", cut(&from_log(&notice.title), room))
}

/// The title in the bodies.
fn title(notice: &Notice) -> String {
    cut(&from_log(&notice.title), TITLE_MAX)
}

/// One fact: what it is, and its lines.
struct Fact {
    label: &'static str,
    lines: Vec<String>,
}

fn fact(label: &'static str, lines: Vec<String>) -> Option<Fact> {
    (!lines.is_empty()).then_some(Fact { label, lines })
}

/// What happened, in the words both bodies use.
fn facts(notice: &Notice) -> Vec<Fact> {
    let one = |text: &Option<String>| text.as_deref().map(from_log).into_iter().collect::<Vec<_>>();
    let controls = notice.controls.iter().map(|control| visible(control)).collect::<Vec<_>>().join(", ");
    [
        fact("Who", vec![who(notice)]),
        fact("Records", one(&notice.target)),
        fact("Field", one(&notice.field)),
        fact("Source", one(&notice.source)),
        fact("Read from", limited(notice.locators.iter().map(|locator| from_log(locator)))),
        fact("Rule", vec![rule(notice)]),
        fact("Runbook", notice.runbook.as_deref().map(visible).into_iter().collect()),
        fact("Controls", if controls.is_empty() { Vec::new() } else { vec![controls] }),
        fact("Happened", vec![clock(notice.event_time)]),
        fact("Reached us", vec![clock(notice.observed), delay(notice)]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn who(notice: &Notice) -> String {
    match (&notice.actor_name, &notice.actor) {
        (Some(name), Some(id)) if name != id => format!("{} (id {})", from_log(name), from_log(id)),
        (Some(one), _) | (None, Some(one)) => from_log(one),
        (None, None) => "unknown: the record names nobody".to_owned(),
    }
}

fn rule(notice: &Notice) -> String {
    match notice.policy.as_str() {
        "" => visible(&notice.rule),
        policy => format!("{} (policy file {})", visible(&notice.rule), visible(policy)),
    }
}

/// The first few, and how many more there are.
fn limited(items: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = items.len().saturating_sub(LISTED);
    let mut lines: Vec<String> = items.take(LISTED).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn clock(time: Time) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn delay(notice: &Notice) -> String {
    match notice.delay_seconds {
        None => "How long the record was under way is not known (feed delay).".to_owned(),
        Some(seconds) => {
            format!("The record reached us {} after the event (feed delay).", duration(seconds))
        }
    }
}

/// The sentence under the title.
fn summary(notice: &Notice) -> String {
    if notice.incident.is_empty() {
        return format!("From crmwarden at {}.", visible(&notice.deployment));
    }
    let done = match notice.reason {
        Reason::Escalated => format!("escalated to {}", notice.severity),
        Reason::Unanswered => "was not acknowledged".to_owned(),
        Reason::Deadline => "has a deadline".to_owned(),
        Reason::Acknowledged => "was acknowledged".to_owned(),
        Reason::Closed => "is over".to_owned(),
        Reason::Opened | Reason::Digest | Reason::Test => "was opened".to_owned(),
    };
    let findings = match notice.findings {
        0 | 1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let (incident, place) = (visible(&notice.incident), visible(&notice.deployment));
    format!("Incident {incident} {done} at {place}: {findings} so far, severity {}.", notice.severity)
}

fn entries(notice: &Notice) -> String {
    let listed = limited(notice.entries.iter().map(u64::to_string)).join(", ");
    match notice.entries.len() {
        0 => "No single entry of the trail is meant; the incident names its findings.".to_owned(),
        1 => format!("The record is entry {listed} of the trail."),
        _ => format!("The records are entries {listed} of the trail."),
    }
}

fn anchor(notice: &Notice) -> String {
    match &notice.anchor {
        Anchor::Unanchored => {
            "Anchor state: unanchored. Nobody outside of this host has confirmed this head \
             of the trail yet. Keep this message: the checkpoint in it is a copy that the host can no longer \
             change, and crmwarden verify takes it as a known head."
                .to_owned()
        }
        Anchor::Anchored { size, by } => {
            format!("Anchor state: anchored. {} confirmed the trail's first {size} entries.", visible(by))
        }
    }
}

const NO_CHECKPOINT: &str = "No signed checkpoint came with this alert.";
const CHECKPOINT: &str = "Newest signed checkpoint (a C2SP signed note):";
const VERIFY: &str = "Verify it yourself:";

fn footer(notice: &Notice) -> String {
    format!(
        "Alert {} from crmwarden on {}. Numbers and secrets are masked. Links and characters that steer a \
         display are taken apart where they come from a log; the trail holds the record.",
        visible(&notice.stem()),
        visible(&notice.host)
    )
}

/// Lines of a block that must stay as it is, without anything that could steer a display.
fn verbatim(text: &str) -> impl Iterator<Item = String> + '_ {
    text.trim_end_matches('\n').split('\n').map(visible)
}

/// The plain-text body.
pub fn plain(notice: &Notice) -> String {
    let mut out = String::with_capacity(2048);
    wrap(&format!("{}: {}", capital(notice.severity), title(notice)), "", WIDTH, &mut out);
    out.push('\n');
    wrap(&summary(notice), "", WIDTH, &mut out);
    if let Some(detail) = &notice.detail {
        heading("What happened", &mut out);
        wrap(&from_log(detail), "  ", WIDTH, &mut out);
    }
    if !notice.next.is_empty() {
        heading("What to do next", &mut out);
        wrap(&visible(&notice.next), "  ", WIDTH, &mut out);
    }
    heading("Facts", &mut out);
    for fact in facts(notice) {
        plain_fact(&fact, &mut out);
    }
    heading("Proof", &mut out);
    wrap(&entries(notice), "  ", WIDTH, &mut out);
    wrap(&anchor(notice), "  ", WIDTH, &mut out);
    out.push('\n');
    match &notice.checkpoint {
        None => wrap(NO_CHECKPOINT, "  ", WIDTH, &mut out),
        Some(note) => block(CHECKPOINT, verbatim(note), &mut out),
    }
    if !notice.verify.is_empty() {
        out.push('\n');
        block(VERIFY, notice.verify.iter().map(|command| visible(command)), &mut out);
    }
    out.push_str("\n-- \n");
    wrap(&footer(notice), "", WIDTH, &mut out);
    out
}

fn capital(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

fn heading(text: &str, out: &mut String) {
    out.push_str(&format!("\n{text}\n"));
}

/// A label in a column of its own, its lines beside it.
fn plain_fact(fact: &Fact, out: &mut String) {
    const INDENT: &str = "              ";
    let mut lines = String::new();
    for line in &fact.lines {
        wrap(line, INDENT, WIDTH, &mut lines);
    }
    let label = format!("  {:<12}", fact.label);
    out.push_str(&label);
    out.push_str(lines.strip_prefix(INDENT).unwrap_or("\n"));
}

fn block(title: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    wrap(title, "  ", WIDTH, out);
    out.push('\n');
    for line in lines {
        // Without indent, so that a checkpoint copied from the mail still verifies.
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Colours of a severity: the bar and badge, which read on a light and on a dark ground.
const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "#52606d",
        Severity::Low => "#2f6f9f",
        Severity::Medium => "#8a6100",
        Severity::High => "#b84a00",
        Severity::Critical => "#b3202c",
    }
}

/// Mail clients that know a dark mode read this; all others keep the colours that stand on the elements.
const STYLE: &str = ":root{color-scheme:light dark;supported-color-schemes:light dark}\
@media (prefers-color-scheme:dark){.page{background:#15181c!important}\
.card{background:#1f242a!important;border-left-color:#343b44!important;border-right-color:#343b44!important;\
border-bottom-color:#343b44!important}\
.ink{color:#e6e9ed!important}.soft{color:#a3adb8!important}\
.inset{background:#181c21!important;border-top-color:#343b44!important;border-right-color:#343b44!important;\
border-bottom-color:#343b44!important}.rule{border-color:#343b44!important}}";

const SANS: &str = "font-family:-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;";
const MONO: &str = "font-family:ui-monospace,'SF Mono',Menlo,Consolas,'Liberation Mono',monospace;";
const BREAK: &str = "overflow-wrap:anywhere;word-break:break-word;";
const LABEL: &str = "margin:24px 0 6px;font-size:12px;font-weight:600;letter-spacing:.05em;\
text-transform:uppercase;color:#5c6670;";

/// The HTML body.
pub fn html(notice: &Notice) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="supported-color-schemes" content="light dark";
                meta name="format-detection" content="telephone=no,date=no,address=no,email=no,url=no";
                title { (subject(notice)) }
                style { (PreEscaped(STYLE)) }
            }
            body.page style="margin:0;padding:0;background:#f2f4f6;" {
                table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" {
                    tr { td.page align="center" style="padding:24px 12px;background:#f2f4f6;" { (card(notice)) } }
                }
            }
        }
    };
    page.into_string()
}

fn card(notice: &Notice) -> Markup {
    let colour = colour(notice.severity);
    let frame = format!(
        "max-width:640px;width:100%;background:#ffffff;border:1px solid #dde2e7;\
         border-top:4px solid {colour};border-radius:6px;border-collapse:separate;"
    );
    html! {
        table.card role="presentation" width="640" cellpadding="0" cellspacing="0" border="0"
            style=(frame) {
            tr { td.ink style={ "padding:28px 32px 32px;text-align:left;font-size:15px;line-height:1.5;\
                 color:#1f2933;" (SANS) (BREAK) } {
                (header(notice, colour))
                @if let Some(detail) = &notice.detail {
                    (label("What happened"))
                    p.ink style="margin:0;color:#1f2933;" { (from_log(detail)) }
                }
                @if !notice.next.is_empty() { (next(notice, colour)) }
                (label("Facts"))
                (table(notice))
                (proof(notice))
                (foot(notice))
            } }
        }
    }
}

fn label(text: &str) -> Markup {
    html! { h2.soft style=(LABEL) { (text) } }
}

fn header(notice: &Notice, colour: &str) -> Markup {
    let badge = format!(
        "display:inline-block;padding:2px 10px;border-radius:10px;background:{colour};color:#ffffff;\
         font-size:12px;font-weight:600;letter-spacing:.04em;"
    );
    html! {
        p style="margin:0 0 10px;" { span style=(badge) { (capital(notice.severity)) } }
        h1.ink style="margin:0 0 6px;font-size:21px;line-height:1.3;font-weight:600;color:#1f2933;" {
            (title(notice))
        }
        p.soft style="margin:0;font-size:14px;color:#5c6670;" { (summary(notice)) }
    }
}

fn next(notice: &Notice, colour: &str) -> Markup {
    let frame = format!(
        "margin:20px 0 0;padding:14px 18px;background:#f7f8fa;border:1px solid #e3e7eb;\
         border-left:4px solid {colour};border-radius:4px;"
    );
    html! {
        div.inset style=(frame) {
            h2.soft style={ (LABEL) "margin-top:0;" } { "What to do next" }
            p.ink style="margin:0;color:#1f2933;" { (visible(&notice.next)) }
        }
    }
}

fn table(notice: &Notice) -> Markup {
    const CELL: &str = "padding:7px 0;vertical-align:top;border-top:1px solid #e9ecef;font-size:14px;";
    html! {
        table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"
            style="border-collapse:collapse;" {
            @for fact in facts(notice) {
                tr {
                    td.soft.rule width="108" style={ (CELL) "padding-right:12px;color:#5c6670;white-space:nowrap;" } {
                        (fact.label)
                    }
                    td.ink.rule style={ (CELL) "color:#1f2933;" (BREAK) } {
                        @for line in &fact.lines { div dir="ltr" { (line) } }
                    }
                }
            }
        }
    }
}

fn proof(notice: &Notice) -> Markup {
    const TEXT: &str = "margin:0 0 8px;font-size:14px;color:#1f2933;";
    html! {
        (label("Proof"))
        p.ink style=(TEXT) { (entries(notice)) }
        p.ink style=(TEXT) { (anchor(notice)) }
        @match &notice.checkpoint {
            None => p.ink style=(TEXT) { (NO_CHECKPOINT) },
            Some(note) => (pre(CHECKPOINT, verbatim(note))),
        }
        @if !notice.verify.is_empty() {
            (pre(VERIFY, notice.verify.iter().map(|command| visible(command))))
        }
    }
}

fn pre(title: &str, lines: impl Iterator<Item = String>) -> Markup {
    let lines: Vec<String> = lines.collect();
    let frame = format!(
        "margin:0 0 12px;padding:10px 12px;background:#f7f8fa;border:1px solid #e3e7eb;border-radius:4px;\
         font-size:12px;line-height:1.5;color:#1f2933;white-space:pre-wrap;{BREAK}{MONO}"
    );
    html! {
        p.soft style="margin:12px 0 4px;font-size:13px;color:#5c6670;" { (title) }
        pre.inset.rule.ink dir="ltr" style=(frame) { (lines.join("\n")) }
    }
}

fn foot(notice: &Notice) -> Markup {
    html! {
        p.soft.rule style="margin:24px 0 0;padding-top:14px;border-top:1px solid #e9ecef;font-size:12px;\
            color:#5c6670;" { (footer(notice)) }
    }
}
