//! The page: one HTML document that needs nothing but itself.
//!
//! It is drawn from the report's data alone, so the page and `report.json` cannot disagree. No script, no
//! remote content (a content security policy in the page forbids both), system fonts, print style for A4. Every
//! state is a sign and words, never a colour alone.

use super::data::{ControlData, CoverageData, Report, SourceData, State};
use super::judge::{duration, thousands};
use super::{Verdict, parts};
use crate::model::Time;
use crate::policy::framework::{Group, belongs};
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// What every part of the page needs.
pub(super) struct Page<'r> {
    pub report: &'r Report,
    pub zone: &'r TimeZone,
}

/// Draws the page. `data_digest` is the SHA-256 of `report.json`.
pub(super) fn render(report: &Report, groups: &[Group], zone: &TimeZone, data_digest: &str) -> String {
    let page = Page { report, zone };
    let title = format!(
        "{} {}: evidence for {}",
        report.framework.title, report.framework.version, report.deployment
    );
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(page.running_foot(data_digest))) }
            }
            body {
                main {
                    (page.cover())
                    (page.opening())
                    (page.contents(groups))
                    (page.matrix(groups))
                    (page.scope())
                    (page.trail())
                    h2.page id="controls" { span.num { "4" } "Controls" }
                    @for control in &report.controls { (parts::control(&page, control)) }
                    (page.lists())
                    (page.policies())
                    (page.verification(data_digest))
                    (page.limits())
                    footer {
                        "Made by " (report.product) " on " (report.host) " at " (page.time(&report.generated)) " " (page.zone_name()) "."
                    }
                }
            }
        }
    };
    markup.into_string()
}

/// A control's anchor within the page.
pub(super) fn anchor(id: &str) -> String {
    format!("c-{}", id.replace('.', "-"))
}

/// The state as a sign and words.
pub(super) fn chip(state: State, text: &str) -> Markup {
    let (class, sign) = look(state);
    html! { span.chip.(class) { span.sign aria-hidden="true" { (sign) } (text) } }
}

fn look(state: State) -> (&'static str, &'static str) {
    match state {
        State::MeasuredNoExceptions => ("good", "●"),
        State::MeasuredWithExceptions => ("warn", "▲"),
        State::PartlyMeasured => ("part", "◐"),
        State::NotMeasured => ("none", "○"),
    }
}

impl Page<'_> {
    /// A time of the data in the page's zone; anything else as it is.
    pub fn time(&self, text: &str) -> String {
        let Some(time) = Time::parse(text) else { return text.to_owned() };
        match jiff::Timestamp::from_microsecond(time.micros()) {
            Ok(stamp) => stamp.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => text.to_owned(),
        }
    }

    fn day(&self, text: &str) -> String {
        let time = self.time(text);
        let short = time.strip_suffix(" 00:00:00").or_else(|| time.strip_suffix(":00"));
        short.map(str::to_owned).unwrap_or(time)
    }

    /// The zone's name.
    pub fn zone_name(&self) -> &str {
        &self.report.period.zone
    }

    /// What stands at the foot of every printed page. Only plain characters reach the style sheet.
    fn running_foot(&self, data_digest: &str) -> String {
        let plain = |text: String| -> String {
            let kept = |c: &char| c.is_ascii_alphanumeric() || " .,:/-".contains(*c);
            text.chars().filter(kept).collect()
        };
        let report = self.report;
        let left =
            plain(format!("{} {}, {}", report.framework.title, report.framework.version, report.deployment));
        let period = plain(format!(
            "{} to {} {}, data {}",
            self.day(&report.period.from),
            self.day(&report.period.to),
            self.zone_name(),
            data_digest.get(..16).unwrap_or("")
        ));
        format!(
            "@page {{ size: A4; margin: 16mm 15mm 20mm; \
             @bottom-left {{ content: \"{left}\"; font: 8pt sans-serif; color: #55616e; }} \
             @bottom-center {{ content: \"{period}\"; font: 8pt sans-serif; color: #55616e; }} \
             @bottom-right {{ content: counter(page) \" / \" counter(pages); font: 8pt sans-serif; color: #55616e; }} }}"
        )
    }

    fn cover(&self) -> Markup {
        let report = self.report;
        html! {
            header.cover {
                div.brand { "crmwarden · evidence report" }
                h1 { (report.framework.title) " " (report.framework.version) }
                p.sub {
                    (report.deployment) " · " (self.day(&report.period.from)) " to " (self.day(&report.period.to))
                    " (end excluded, " (self.zone_name()) ")"
                }
            }
        }
    }

    fn opening(&self) -> Markup {
        let report = self.report;
        let summary = report.summary;
        let systems: Vec<String> = report.sources.iter().map(system).collect();
        let policy =
            report.policies.last().map_or("none in force".to_owned(), |policy| policy.digest.clone());
        html! {
            p.lede {
                "For " (summary.controls) " requirements, this report shows what the audit trail of " b { (report.deployment) }
                " holds: the evidence, the exceptions, and what was not measured. "
                "It gives no opinion on whether a requirement is met."
            }
            div.tiles {
                (tile(State::MeasuredNoExceptions, summary.measured_no_exceptions, "measured, no exceptions"))
                (tile(State::MeasuredWithExceptions, summary.measured_with_exceptions, "measured, with exceptions"))
                (tile(State::PartlyMeasured, summary.partly_measured, "partly measured"))
                (tile(State::NotMeasured, summary.not_measured, "not measured"))
            }
            (self.warnings())
            dl.facts {
                div { dt { "Period" } dd { (self.day(&report.period.from)) " to " (self.day(&report.period.to)) ", " (self.zone_name()) } }
                div { dt { "Made" } dd { (self.time(&report.generated)) ", on " (report.host) } }
                div { dt { "Systems" } dd { @if systems.is_empty() { "no source is known" } @else { (systems.join(", ")) } } }
                div { dt { "Daemon ran" } dd { (duration(report.coverage.running_seconds * 1_000_000)) " of " (duration(report.period.seconds * 1_000_000)) " (" (report.coverage.percent) " %)" } }
                div { dt { "Events" } dd { (thousands(report.counts.events)) " of the period" } }
                div { dt { "Findings" } dd { (thousands(report.counts.findings)) ", in " (thousands(report.counts.incidents_opened)) " new incidents" } }
                div { dt { "Trail" } dd { (thousands(report.trail.size)) " entries; verdict: " b { (report.trail.verdict) } } }
                div { dt { "Policy digest" } dd { code { (policy) } } }
            }
        }
    }

    fn warnings(&self) -> Markup {
        let report = self.report;
        let sound = matches!(report.trail.verdict.as_str(), "ok" | "recovered" | "erased");
        html! {
            @if !sound {
                div.note { p {
                    b { "The trail was not found sound: " (report.trail.verdict) ". " }
                    (Verdict::meaning(&report.trail.verdict)) ". Read everything below in that light; details are in section 3."
                } }
            }
            @if report.trail.anchored_to.is_none() {
                div.note { p {
                    b { "Not anchored outside this host. " }
                    "The trail shows changes to its entries. That the whole of it was not replaced by somebody holding its keys, "
                    "or cut back together with every local checkpoint, cannot be seen from this host alone. Compare the checkpoint with one kept elsewhere."
                } }
            }
            @if report.counts.unreadable > 0 {
                div.note { p {
                    b { (thousands(report.counts.unreadable)) " entries could not be read by this version " }
                    "and are missing from the lists below; they are part of the trail and were verified with it."
                } }
            }
        }
    }

    fn contents(&self, groups: &[Group]) -> Markup {
        html! {
            h4 { "Contents" }
            nav.toc { ol {
                li.head { a href="#summary" { span.num { "1" } "Summary of controls" } }
                li.head { a href="#scope" { span.num { "2" } "Period, sources and coverage" } }
                li.head { a href="#trail" { span.num { "3" } "The trail behind this report" } }
                li.head { a href="#controls" { span.num { "4" } "Controls" } }
                @for Group { id: group, .. } in groups {
                    @for control in self.of(group) {
                        li { a href={ "#" (anchor(&control.id)) } { span.num { (control.id) } (control.title) } }
                    }
                }
                li.head { a href="#lists" { span.num { "A" } "All lists, with their digests" } }
                li.head { a href="#policies" { span.num { "B" } "Policies in force" } }
                li.head { a href="#verify" { span.num { "C" } "How to verify this report" } }
                li.head { a href="#limits" { span.num { "D" } "What this report does not show" } }
            } }
        }
    }

    fn of(&self, group: &str) -> impl Iterator<Item = &ControlData> {
        self.report.controls.iter().filter(move |control| belongs(&control.id, group))
    }

    fn matrix(&self, groups: &[Group]) -> Markup {
        html! {
            h2.page id="summary" { span.num { "1" } "Summary of controls" }
            p.small.soft {
                "A control is measured only if all its rules were in force whenever the daemon ran, the daemon ran for at least "
                (self.report.framework.minimum_coverage_percent) " % of the period, and no evidence that it depends on is missing."
            }
            table.matrix {
                thead { tr { th { "Control" } th { "Subject" } th { "State" } th.num { "Coverage" } th.num { "Exceptions" } th.num { "A person adds" } } }
                tbody {
                    @for Group { id: group, title } in groups {
                        tr.group { td colspan="6" { span.num { (group) } (title) } }
                        @for control in self.of(group) {
                            tr {
                                td { a href={ "#" (anchor(&control.id)) } { (control.id) } }
                                td { (control.title) }
                                td { (chip(control.state, short_state(control.state))) }
                                td.num { @match &control.coverage {
                                    Some(covered) => { (covered.percent) " %" }
                                    None => { "at report time" }
                                } }
                                td.num { @if control.exceptions > 0 { (thousands(control.exceptions)) } @else { "–" } }
                                td.num { @if control.person.is_empty() { "–" } @else { (control.person.len()) @if control.person.len() == 1 { " item" } @else { " items" } } }
                            }
                        }
                    }
                }
            }
            p.small.soft { (self.report.framework.about) }
        }
    }

    fn scope(&self) -> Markup {
        let report = self.report;
        let coverage = &report.coverage;
        html! {
            h2.page id="scope" { span.num { "2" } "Period, sources and coverage" }
            p {
                "The daemon ran for " b { (duration(coverage.running_seconds * 1_000_000)) } " of "
                (duration(report.period.seconds * 1_000_000)) " (" (coverage.percent) " %). "
                "Records written while it did not run are read when it starts again, as far as their source still has them."
            }
            (parts::lanes(self))
            (self.gaps(coverage))
            h4 { "Sources" }
            @if report.sources.is_empty() { p { "The trail knows no source." } } @else {
                table {
                    thead { tr {
                        th { "source" } th { "system" } th { "feed" } th.num { "events" } th.num { "with defects" }
                        th.num { "read under rules" } th { "longest silence" } th.num { "longest delay" }
                    } }
                    tbody { @for source in &report.sources { tr {
                        td { b { (source.name) } }
                        td { (source.system) }
                        td { (source.feeds.join(", ")) }
                        td.num { (thousands(source.events)) }
                        td.num { (thousands(source.with_defects)) }
                        td.num { (thousands(source.read_under_rules)) }
                        td {
                            @if source.events == 0 { b { "all of the period" } } @else {
                                (duration(source.longest_silence_seconds * 1_000_000)) " from " (self.time(&source.longest_silence.from))
                            }
                        }
                        td.num { (duration(source.longest_delay_seconds * 1_000_000)) }
                    } } }
                }
            }
            p.small.soft {
                "Events are placed by the time that the CRM gives; without one, by the time of reading. "
                "Written in the period about a time outside it, and not counted here: "
                (thousands(report.counts.events_about_other_times)) ". "
                "A delay is the longest time from an event to its entry in the trail."
            }
        }
    }

    fn gaps(&self, coverage: &CoverageData) -> Markup {
        html! {
            h4 { "Stretches without the daemon" }
            @if coverage.gaps.is_empty() { p { "None." } } @else {
                table {
                    thead { tr { th { "from" } th { "to" } th.num { "length" } th { "cause, as far as the trail tells" } } }
                    tbody { @for gap in &coverage.gaps { tr {
                        td.when { (self.time(&gap.from)) }
                        td.when { (self.time(&gap.to)) }
                        td.num { (duration(gap.seconds * 1_000_000)) }
                        td { (gap.cause) @if gap.failure { " " b { "(nobody ordered it)" } } }
                    } } }
                }
                @if coverage.gap_count > coverage.gaps.len() as u64 {
                    p.small.soft { "And " (thousands(coverage.gap_count - coverage.gaps.len() as u64)) " more." }
                }
            }
        }
    }

    fn trail(&self) -> Markup {
        let trail = &self.report.trail;
        html! {
            h2 id="trail" { span.num { "3" } "The trail behind this report" }
            dl.facts.one {
                div { dt { "Origin" } dd { code { (trail.origin) } } }
                div { dt { "Entries under the checkpoint" } dd { (thousands(trail.size)) } }
                div { dt { "Root hash (RFC 6962, SHA-256)" } dd { code { (trail.root) } } }
                div { dt { "Verdict of verify" } dd { b { (trail.verdict) } ": " (Verdict::meaning(&trail.verdict)) } }
                div { dt { "Keys" } dd { @if trail.trust == "pinned" { "pinned by a trust file" } @else { "taken from the trail itself, not from a trust file obtained on another way" } } }
                div { dt { "Known outside this host up to" } dd { (trail.anchored_to.as_deref().unwrap_or("nothing")) } }
                @if let Some(oldest) = &trail.oldest_unanchored {
                    div { dt { "Oldest entry that nothing outside knows" } dd { (self.time(oldest)) } }
                }
                div { dt { "Key that signed this report" } dd { code { (trail.report_key_fingerprint) } } }
            }
            @if !trail.damage.is_empty() {
                div.note { p { b { "Damage" } } ul { @for damage in &trail.damage { li { (damage) } } } }
            }
            h4 { "Checkpoint" }
            pre { (trail.checkpoint) }
        }
    }

    fn lists(&self) -> Markup {
        html! {
            h2.page id="lists" { span.num { "A" } "All lists, with their digests" }
            p.small.soft {
                "All questions were put to the trail at " (self.time(&self.report.generated)) " " (self.zone_name())
                ". Digests are SHA-256 over all rows in the source, as stored. Each question stands with its list, and in report.json."
            }
            table {
                thead { tr { th { "list" } th { "control" } th { "shows" } th.num { "examined" } th.num { "in source" } th.num { "in data" } th { "digest" } } }
                tbody {
                    @for control in &self.report.controls {
                        @for list in parts::lists_of(control) { tr {
                            td { a href={ "#" (list.id) } { (list.id) } }
                            td { (control.id) }
                            td { (list.title) }
                            td.num { (thousands(list.rows_examined)) }
                            td.num { (thousands(list.rows_in_source)) }
                            td.num { (thousands(list.rows_in_report)) }
                            td { code { (list.digest) } }
                        } }
                    }
                }
            }
        }
    }

    fn policies(&self) -> Markup {
        html! {
            h2 id="policies" { span.num { "B" } "Policies in force" }
            p.small.soft { "Framework file: " (self.report.framework.id) ", SHA-256 " code { (self.report.framework.file_digest) } }
            @if self.report.policies.is_empty() { p { "No version of the policies is recorded for the period." } }
            @for policy in &self.report.policies {
                h4 { "From " (self.time(&policy.since)) ": " (thousands(policy.rules)) " rules" }
                p.small { "Entry " (policy.entry) ", digest " code { (policy.digest) } }
                @if !policy.files.is_empty() { pre { @for file in &policy.files { (file) "\n" } } }
            }
        }
    }

    fn verification(&self, data_digest: &str) -> Markup {
        let deployment = &self.report.deployment;
        let namespace = super::sshsig::NAMESPACE;
        html! {
            h2.page id="verify" { span.num { "C" } "How to verify this report" }
            p { "The files around this page are signed. Everything needed is described in " code { "VERIFY.md" } "; in short:" }
            ol {
                li { "Get the operator's trust file on another way than this report, and compare its key with " code { "allowed_signers" } " and with " code { (self.report.trail.report_key_fingerprint) } "." }
                li { "Verify the signature and the files:"
                    pre {
                        "ssh-keygen -Y verify -f allowed_signers -I " (deployment) " -n " (namespace) " -s MANIFEST.sha256.sig < MANIFEST.sha256\n"
                        "sha256sum --check --strict MANIFEST.sha256"
                    }
                }
                li { "Verify the trail itself against that trust file and this report's checkpoint:"
                    pre { "crmwarden verify /path/to/state --trust trust.txt --known-head checkpoint" }
                }
                li { "Count any list again from the trail's files, with its question in the place of QUERY; the digest must be the one printed with the list:"
                    pre { "cat trail/g*/segments/*.jsonl | jq -rR '. as $line | fromjson | select(QUERY) | $line' | sha256sum" }
                }
            }
            p.small { "The data of this page, report.json, has the SHA-256 " code { (data_digest) } "." }
        }
    }

    fn limits(&self) -> Markup {
        html! {
            h2 id="limits" { span.num { "D" } "What this report does not show" }
            ul {
                li { "Whether a requirement is met. That is the judgement of an assessor, who sees more than a trail." }
                li { "What the CRM did not tell its feeds. An empty list means that no connected source reported such an event." }
                li { "What was lost before it could be read, save where the loss itself was noticed; such gaps are findings." }
                li { "Systems that are not connected, and everything beneath the CRM: databases, operating systems, networks." }
                li { "That the host was honest while it wrote. The trail shows later changes; an intruder who controls the host at the time of an event can keep it out." }
                li { "Whether exceptions were agreed. Findings stand here whether or not somebody accepts them." }
                li { "Full values. Card and social-security numbers are masked before anything is stored; only a keyed fingerprint tells two occurrences of one value." }
            }
        }
    }
}

/// A source with its product; a source that was silent all the time says so.
fn system(source: &SourceData) -> String {
    match source.events {
        0 => format!("{} (silent)", source.name),
        _ => format!("{} ({})", source.name, source.system),
    }
}

fn tile(state: State, count: u64, text: &str) -> Markup {
    let (class, sign) = look(state);
    html! { div.tile.(class) { b { (count) } span { span aria-hidden="true" { (sign) " " } (text) } } }
}

fn short_state(state: State) -> &'static str {
    match state {
        State::MeasuredNoExceptions => "measured, no exceptions",
        State::MeasuredWithExceptions => "measured, exceptions",
        State::PartlyMeasured => "partly measured",
        State::NotMeasured => "not measured",
    }
}
