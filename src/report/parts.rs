//! Parts of the page: a control's section, lists, tables, and the lanes of coverage.

use super::collect::PARTS;
use super::data::{ControlData, EvidenceData, Table};
use super::judge::{duration, thousands};
use super::list::List;
use super::page::{Page, anchor, chip};
use crate::model::Time;
use maud::{Markup, html};

/// Rows of a list of events that stand on the page; the rest is in the data.
const EVENT_ROWS: usize = 5;
/// Rows of a list of findings that stand on the page.
const FINDING_ROWS: usize = 40;

/// A word longer than this is broken across lines, so that no table grows out of the page.
const LONG_WORD: usize = 36;

/// All lists of a control, in the page's order.
pub(super) fn lists_of(control: &ControlData) -> impl Iterator<Item = &List> {
    control.evidence.iter().filter_map(|evidence| evidence.list.as_ref()).chain(&control.findings)
}

/// One control.
pub(super) fn control(page: &Page<'_>, control: &ControlData) -> Markup {
    html! {
        section.control id=(anchor(&control.id)) {
            div.head {
                div.top {
                    h3 { span.num { (control.id) } (control.title) }
                    (chip(control.state, &control.state_text))
                }
                p.asks { (control.asks) }
                p.covered {
                    @match &control.coverage {
                        Some(covered) => {
                            "Coverage: " b { (covered.percent) " %" } " of the period, " (duration(covered.seconds * 1_000_000))
                            " of " (duration(page.report.period.seconds * 1_000_000))
                        }
                        None => { "Coverage: the trail as it stood when this report was made" }
                    }
                }
            }
            div.block.evidence {
                h4 { "Evidence" }
                (rules(page, control))
                @for evidence in &control.evidence { (self::evidence(page, evidence)) }
                @if !control.findings_are_exceptions {
                    @if let Some(findings) = &control.findings { h5 { (findings.title) } (list(page, findings, FINDING_ROWS)) }
                }
            }
            div.block.exceptions {
                h4 { "Exceptions" }
                (exceptions(page, control))
            }
            div.block.missing {
                h4 { "Not measured" }
                @if control.not_measured.is_empty() {
                    p { "Nothing: all that this report sets out to measure here was measured." }
                } @else {
                    ul { @for reason in &control.not_measured { li { (ticked(reason)) } } }
                }
            }
            @if !control.person.is_empty() {
                div.block.person {
                    h4 { "A person adds" }
                    ul { @for item in &control.person { li { (item) } } }
                }
            }
        }
    }
}

fn rules(page: &Page<'_>, control: &ControlData) -> Markup {
    let running = page.report.coverage.running_seconds;
    html! {
        @if !control.rules.is_empty() {
            h5 { "Rules that watch this control" }
            table {
                thead { tr { th { "rule" } th { "in force under it" } th.num { "in force" } th.num { "of the daemon's time" } th.num { "events seen" } } }
                tbody { @for rule in &control.rules { tr {
                    td { code.whole { (rule.pattern) } }
                    td { @if rule.rules.is_empty() { "none" } @else { (some(&rule.rules)) } }
                    td.num { (duration(rule.in_force_seconds * 1_000_000)) " of " (duration(running * 1_000_000)) }
                    td.num { (rule.percent_of_running) " %" }
                    td.num { (thousands(rule.events)) }
                } } }
            }
        }
    }
}

/// The first rules by name and the number of the rest: a prefix may stand for hundreds.
fn some(rules: &[String]) -> String {
    const NAMED: usize = 8;
    let named = rules.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if rules.len() > NAMED { format!("{named} and {} more", rules.len() - NAMED) } else { named }
}

fn evidence(page: &Page<'_>, evidence: &EvidenceData) -> Markup {
    html! {
        h5 { (evidence.title) }
        @if !evidence.facts.is_empty() {
            dl.facts.one { @for fact in &evidence.facts {
                div { dt { (fact.name) } dd { (page.time(&fact.value)) } }
            } }
        }
        @if let Some(table) = &evidence.table { (self::table(page, table)) }
        @if let Some(found) = &evidence.list {
            (list(page, found, if evidence.table.is_some() { 0 } else { EVENT_ROWS }))
        }
    }
}

fn exceptions(page: &Page<'_>, control: &ControlData) -> Markup {
    let counted = control.findings.as_ref().filter(|_| control.findings_are_exceptions);
    html! {
        @if control.exceptions == 0 {
            p { @if counted.is_some() { "The rules found nothing." } @else { "None seen." } }
        }
        @if !control.other_exceptions.is_empty() {
            ul { @for line in &control.other_exceptions { li { (ticked(line)) } } }
        }
        @if let Some(findings) = counted {
            @if findings.rows_in_source > 0 { h5 { (findings.title) ", the worst first" } }
            (list(page, findings, FINDING_ROWS))
        }
    }
}

/// A list with what an auditor needs to test its completeness.
fn list(page: &Page<'_>, list: &List, most: usize) -> Markup {
    let shown = list.rows.len().min(most);
    html! {
        @if shown > 0 {
            table {
                thead { tr { th.num { "entry" } @for column in &list.columns { th { (column) } } } }
                tbody { @for row in list.rows.iter().take(shown) { tr {
                    td.num { (row.entry) }
                    @for (column, cell) in list.columns.iter().zip(&row.cells) { (self::cell(page, column, cell)) }
                } } }
            }
        }
        p.ipe id=(list.id) {
            b { (list.id) } " · rows in the source: " b { (thousands(list.rows_in_source)) }
            " · rows in report.json: " b { (thousands(list.rows_in_report)) }
            " · rows on this page: " b { (shown) }
            " · entries examined: " (thousands(list.rows_examined))
            " · run " (page.time(&list.run_at)) " " (page.zone_name())
            br; "Query: " code { (list.query) }
            br; "SHA-256 over the rows in the source: " code { (list.digest) }
        }
    }
}

fn cell(page: &Page<'_>, column: &str, cell: &str) -> Markup {
    match column {
        "time" | "to" => html! { td.when { (page.time(cell)) } },
        "from" if Time::parse(cell).is_some() => html! { td.when { (page.time(cell)) } },
        "severity" => html! { td { span.sev.(severity(cell)) { (cell) } } },
        "rule" if cell.len() <= LONG_WORD => html! { td { code.whole { (cell) } } },
        "rule" | "digest" | "query" => html! { td { code { (cell) } } },
        _ if cell.split(' ').any(|word| word.len() > LONG_WORD) => html! { td.long { (cell) } },
        _ => html! { td { (cell) } },
    }
}

/// Only our own words become class names.
fn severity(word: &str) -> &'static str {
    crate::model::Severity::parse(word).map_or("info", crate::model::Severity::as_str)
}

fn table(page: &Page<'_>, table: &Table) -> Markup {
    let number = |name: &str| matches!(name, "events" | "rules" | "files" | "entry" | "length");
    html! {
        table {
            thead { tr { @for column in &table.columns { @if number(column) { th.num { (column) } } @else { th { (column) } } } } }
            tbody { @for row in &table.rows { tr {
                @for (column, value) in table.columns.iter().zip(row) {
                    @if number(column) { td.num { (value) } } @else { (cell(page, column, value)) }
                }
            } } }
        }
    }
}

/// Words between backquotes as code.
fn ticked(text: &str) -> Markup {
    html! { @for (place, part) in text.split('`').enumerate() {
        @if place % 2 == 1 { code { (part) } } @else { (part) }
    } }
}

/// The period from left to right: when the daemon ran, and how many events each source had.
pub(super) fn lanes(page: &Page<'_>) -> Markup {
    /// Sources drawn; the table below names all.
    const DRAWN: usize = 30;
    let report = page.report;
    let (Some(from), Some(to)) = (Time::parse(&report.period.from), Time::parse(&report.period.to)) else {
        return html! {};
    };
    let whole = (to.micros() - from.micros()).max(1);
    let place = |text: &str| {
        let at = Time::parse(text).map_or(0, |time| time.micros() - from.micros());
        i128::from(at.clamp(0, whole)) * 6000 / i128::from(whole)
    };
    let runs = report.coverage.runs.iter().map(|run| (place(&run.from), place(&run.to)));
    html! {
        div.lanes {
            div.l { b { "daemon" } }
            svg viewBox="0 0 6000 26" preserveAspectRatio="none" role="img" aria-label={ "The daemon ran for " (report.coverage.percent) " percent of the period" } {
                @for (start, end) in runs {
                    rect x=(start) y="5" width=((end - start).max(6)) height="16" fill="#123f5c" {}
                }
            }
            div.n { (report.coverage.percent) " %" }
            @for source in report.sources.iter().take(DRAWN) {
                div.l { (source.name) }
                (histogram(&source.name, &source.histogram))
                div.n { (thousands(source.events)) }
            }
            div {}
            div.axis { span { (page.time(&report.period.from)) } span { "events by " (duration(report.period.seconds / PARTS as i64 * 1_000_000)) ", each source on its own scale" } span { (page.time(&report.period.to)) } }
            div {}
        }
    }
}

fn histogram(name: &str, parts: &[u64]) -> Markup {
    let most = parts.iter().copied().max().unwrap_or(0).max(1);
    let width = 6000 / PARTS;
    html! {
        svg viewBox="0 0 6000 26" preserveAspectRatio="none" role="img" aria-label={ "Events of " (name) " over the period" } {
            @for (place, count) in parts.iter().enumerate() {
                @if *count > 0 {
                    // Few events stay visible beside many.
                    @let height = 3 + u128::from(*count) * 22 / u128::from(most);
                    rect x=(place * width + 6) y=(26 - height.min(25)) width=(width - 12) height=(height.min(25)) fill="#5d88a8" {}
                }
            }
        }
    }
}
