//! From what was counted to what may be said.
//!
//! A control is measured only where each of its rules was in force for all of the period that the daemon
//! ran, where the daemon ran for the framework's share of the period, and where no evidence that it depends
//! on is missing. Everything else is partly measured or not measured, with the reason. Nothing here says
//! that a control is met.

use super::collect::{
    Collector, ENTRY_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS, PolicyBooks, SNAPSHOT_COLUMNS, SourceBooks,
};
use super::coverage::{Stretch, percent};
use super::data::*;
use super::entry::DETAILS;
use super::evidence;
use super::list::{Collecting, List};
use super::query::{Bounds, FindingQuery};
use super::{Facts, Verdict};
use crate::model::Time;
use crate::policy::framework::{Control, Evidence, Findings, From};

/// Everything read, closed and ready to be judged.
pub(super) struct Closed {
    pub books: Collector,
    pub facts: Facts,
    pub bounds: Bounds,
    pub lists: u32,
}

/// Why a control is less than measured.
#[derive(Default)]
struct Reasons {
    not: Vec<String>,
    partly: Vec<String>,
}

impl Closed {
    /// Closes the books.
    pub fn new(mut books: Collector, facts: Facts) -> Closed {
        books.coverage.close(facts.generated);
        let end = books.scope.to.min(facts.generated);
        for source in books.sources.values_mut() {
            source.close(books.scope.from, end);
        }
        let one = books.tally.generations <= 1;
        let bounds = Bounds {
            from: books.scope.from,
            to: books.scope.to,
            size: one.then_some(facts.trail.size).filter(|size| *size > 0),
        };
        Closed { books, facts, bounds, lists: 0 }
    }

    /// The whole report.
    pub fn report(mut self, report_key: String, report_key_fingerprint: String) -> Report {
        let controls = self.controls();
        let summary = summary(&controls);
        let Closed { books, facts, .. } = self;
        let (scope, framework, tally) = (&books.scope, &books.framework, &books.tally);
        Report {
            report: FORM,
            product: facts.product.clone(),
            deployment: scope.deployment.clone(),
            host: facts.host.clone(),
            generated: facts.generated.to_string(),
            period: Period {
                from: scope.from.to_string(),
                to: scope.to.to_string(),
                zone: scope.zone.iana_name().unwrap_or("UTC").to_owned(),
                seconds: books.coverage.length() / 1_000_000,
            },
            framework: FrameworkData {
                id: framework.id.clone(),
                title: framework.title.clone(),
                version: framework.version.clone(),
                publisher: framework.publisher.clone(),
                about: framework.about.clone(),
                file_digest: framework.digest.clone(),
                minimum_coverage_percent: framework.minimum_coverage,
            },
            summary,
            trail: trail(&facts, report_key, report_key_fingerprint),
            coverage: coverage(&books),
            sources: books.sources.iter().map(|(name, source)| source_data(name, source, &books)).collect(),
            policies: books.policies.iter().map(policy_data).collect(),
            counts: Counts {
                entries: tally.kinds.clone(),
                unreadable: tally.unreadable,
                generations: tally.generations,
                events: tally.events,
                events_about_other_times: tally.events_elsewhere,
                findings: tally.findings,
                findings_by_severity: tally.severities.clone(),
                incidents_opened: books.incidents.opened,
            },
            controls,
        }
    }

    fn controls(&mut self) -> Vec<ControlData> {
        let framework = self.books.framework.clone();
        let lists = std::mem::take(&mut self.books.controls);
        let both = framework.controls.iter().zip(lists);
        both.map(|(control, lists)| self.control(control, lists.findings, lists.evidence)).collect()
    }

    fn control(&mut self, control: &Control, findings: Collecting, evidence: Vec<Collecting>) -> ControlData {
        let mut reasons = Reasons::default();
        if let Some(why) = &control.not_measured {
            reasons.not.push(why.clone());
        }
        reasons.partly.extend(control.in_part.clone());
        let rules = self.rules(control, &mut reasons);
        let over_time = !about_the_trail_itself(control);
        if over_time {
            self.running(&mut reasons);
        }
        let coverage = over_time.then(|| self.covered(control));
        let mut other_exceptions = Vec::new();
        let (mut with, mut without, mut missing) = (0, 0, Vec::new());
        let mut shown = Vec::new();
        for (item, list) in control.evidence.iter().zip(evidence) {
            let found = match item.from {
                From::Policies => !self.books.policies.is_empty(),
                From::Completeness => self.books.tally.events > 0,
                _ => list.count() > 0,
            };
            match &item.if_none {
                Some(why) if !found => {
                    without += 1;
                    missing.push(why.clone());
                }
                _ => with += u32::from(found),
            }
            shown.push(self.evidence(item, list, &mut reasons.partly, &mut other_exceptions));
        }
        // Missing evidence is decisive where nothing else speaks for the control.
        let decisive = without > 0 && with == 0 && rules.is_empty();
        if decisive { &mut reasons.not } else { &mut reasons.partly }.extend(missing);

        let has_findings =
            !control.rules.is_empty() || !control.finding_types.is_empty() || findings.count() > 0;
        let count = findings.count();
        let findings_are_exceptions = control.findings == Findings::Exceptions;
        let findings = has_findings.then(|| self.findings(control, findings));
        let exceptions = if findings_are_exceptions { count } else { 0 } + other_exceptions.len() as u64;
        let (state, not_measured) = reasons.state(exceptions);
        ControlData {
            id: control.id.clone(),
            title: control.title.clone(),
            asks: control.asks.clone(),
            state,
            state_text: state_text(state, exceptions),
            exceptions,
            not_measured,
            coverage,
            rules,
            evidence: shown,
            findings,
            findings_are_exceptions,
            other_exceptions,
            person: control.person.clone(),
        }
    }

    fn rules(&self, control: &Control, reasons: &mut Reasons) -> Vec<RuleData> {
        let coverage = &self.books.coverage;
        let running = coverage.running();
        let (events, _) = coverage.events();
        let mut never = Vec::new();
        let mut rules = Vec::new();
        for pattern in &control.rules {
            let Some(watched) = coverage.watched(pattern) else { continue };
            let in_force = watched.micros > 0 || watched.events > 0;
            if !in_force {
                never.push(format!("No rule `{pattern}` was in force in the period."));
            } else if watched.micros < running {
                reasons.partly.push(format!(
                    "`{pattern}` was in force for {} of the {} that the daemon ran.",
                    duration(watched.micros),
                    duration(running)
                ));
            }
            if in_force && watched.events < events {
                reasons.partly.push(format!(
                    "`{pattern}` saw {} of {} events of the period; the others were read before it was in force.",
                    thousands(watched.events),
                    thousands(events)
                ));
            }
            rules.push(RuleData {
                pattern: pattern.to_string(),
                rules: if in_force { watched.ids.iter().cloned().collect() } else { Vec::new() },
                in_force_seconds: watched.micros / 1_000_000,
                percent_of_running: percent(watched.micros, running),
                events: watched.events,
            });
        }
        let all_missing = !rules.is_empty() && never.len() == rules.len();
        if all_missing { &mut reasons.not } else { &mut reasons.partly }.extend(never);
        if !rules.is_empty() && events == 0 {
            reasons
                .not
                .push("No event of the period was read, so the rules had nothing to look at.".to_owned());
        }
        rules
    }

    /// How much of the period all rules of the control were in force; without rules, how much was recorded.
    fn covered(&self, control: &Control) -> Covered {
        let coverage = &self.books.coverage;
        let rules = control.rules.iter().filter_map(|pattern| coverage.watched(pattern));
        let micros = rules.map(|watched| watched.micros).min().unwrap_or_else(|| coverage.running());
        Covered { seconds: micros / 1_000_000, percent: percent(micros, coverage.length()) }
    }

    fn running(&self, reasons: &mut Reasons) {
        let coverage = &self.books.coverage;
        let (running, length) = (coverage.running(), coverage.length());
        let minimum = i64::from(self.books.framework.minimum_coverage);
        if i128::from(running) * 100 >= i128::from(length) * i128::from(minimum) && length > 0 {
            return;
        }
        let (events, _) = coverage.events();
        if running == 0 && events == 0 {
            reasons.not.push("The daemon did not run in the period and read nothing of it since.".to_owned());
        } else {
            reasons.partly.push(format!(
                "The daemon ran for {} of {} ({} %); this framework file asks for {minimum} %. \
                 Events of the period that were read before this report was made are counted, whenever they were read.",
                duration(running),
                duration(length),
                percent(running, length)
            ));
        }
    }

    fn evidence(
        &mut self,
        item: &Evidence,
        list: Collecting,
        partly: &mut Vec<String>,
        exceptions: &mut Vec<String>,
    ) -> EvidenceData {
        let mut data = EvidenceData { title: item.title.clone(), ..EvidenceData::default() };
        let columns: &[&str] = match &item.from {
            From::Events(_) | From::Completeness => &EVENT_COLUMNS,
            From::Entries(_) => &ENTRY_COLUMNS,
            From::Snapshots => &SNAPSHOT_COLUMNS,
            _ => &[],
        };
        let query = match &item.from {
            From::Events(queries) => Some(self.bounds.events(queries)),
            From::Completeness => Some(self.bounds.events(&[])),
            From::Entries(kinds) => Some(self.bounds.entries(kinds)),
            From::Snapshots => Some(self.bounds.entries(&["grants".to_owned()])),
            _ => None,
        };
        match &item.from {
            From::Completeness => evidence::completeness(&self.books, &mut data, exceptions),
            From::Integrity => evidence::integrity(&self.facts, &mut data, partly, exceptions),
            From::Alerts => evidence::alerts(&self.books, &mut data, exceptions),
            From::Policies => evidence::policies(&self.books, &mut data),
            From::Retention { keep_days, at_hand_days } => {
                let days = (*keep_days, *at_hand_days);
                evidence::retention(&self.books, &self.facts, days, &mut data, partly);
            }
            From::Health => evidence::health(&self.books, &mut data, exceptions),
            From::Events(_) => evidence::silent_sources(&list, &mut data),
            From::Entries(_) | From::Snapshots => {}
        }
        data.list = query.map(|query| self.number(list.finish(&item.title, query, columns)));
        data
    }

    fn findings(&mut self, control: &Control, findings: Collecting) -> List {
        let tag = format!("{}/{}", self.books.framework.id, control.id);
        let query = FindingQuery { rules: &control.rules, types: &control.finding_types, tag: &tag };
        let query = self.bounds.findings(&query);
        let mut list =
            findings.finish("Findings of the rules that watch this control", query, &FINDING_COLUMNS);
        for row in &mut list.rows {
            if let Some(cell) = row.cells.last_mut()
                && let Some(state) = self.books.incidents.state.get(cell.as_str())
            {
                *cell = format!("{cell}, {}", state.replace('_', " "));
            }
        }
        self.number(list)
    }

    fn number(&mut self, mut list: List) -> List {
        self.lists += 1;
        list.id = format!("L{}", self.lists);
        list.run_at = self.facts.generated.to_string();
        list
    }
}

/// Whether the daemon's running time says nothing about the control: its evidence is the trail as it stands.
fn about_the_trail_itself(control: &Control) -> bool {
    control.evidence.iter().any(|item| matches!(item.from, From::Integrity | From::Retention { .. }))
}

impl Reasons {
    fn state(self, exceptions: u64) -> (State, Vec<String>) {
        let state = match (self.not.is_empty(), self.partly.is_empty(), exceptions) {
            (false, ..) => State::NotMeasured,
            (_, false, _) => State::PartlyMeasured,
            (.., 0) => State::MeasuredNoExceptions,
            _ => State::MeasuredWithExceptions,
        };
        let mut reasons = self.not;
        reasons.extend(self.partly);
        (state, reasons)
    }
}

fn state_text(state: State, exceptions: u64) -> String {
    let counted = match exceptions {
        0 => "no exceptions".to_owned(),
        1 => "1 exception".to_owned(),
        many => format!("{} exceptions", thousands(many)),
    };
    match (state, exceptions) {
        (State::MeasuredNoExceptions | State::MeasuredWithExceptions, _) => format!("measured, {counted}"),
        (State::PartlyMeasured, 0) => "partly measured".to_owned(),
        (State::PartlyMeasured, _) => format!("partly measured, {counted}"),
        (State::NotMeasured, 0) => "not measured".to_owned(),
        (State::NotMeasured, _) => format!("not measured, {counted} seen"),
    }
}

fn summary(controls: &[ControlData]) -> Summary {
    let mut summary = Summary { controls: controls.len() as u64, ..Summary::default() };
    for control in controls {
        summary.exceptions += control.exceptions;
        *match control.state {
            State::MeasuredNoExceptions => &mut summary.measured_no_exceptions,
            State::MeasuredWithExceptions => &mut summary.measured_with_exceptions,
            State::PartlyMeasured => &mut summary.partly_measured,
            State::NotMeasured => &mut summary.not_measured,
        } += 1;
    }
    summary
}

fn trail(facts: &Facts, report_key: String, report_key_fingerprint: String) -> TrailData {
    let trail = &facts.trail;
    let verdict = &trail.verdict;
    TrailData {
        origin: trail.origin.clone(),
        size: trail.size,
        root: trail.root.clone(),
        checkpoint: trail.checkpoint.clone(),
        log_key: trail.log_key.clone(),
        report_key,
        report_key_fingerprint,
        verdict: verdict.word().to_owned(),
        verdicts: verdict.verdicts.clone(),
        exit: verdict.exit,
        trust: if verdict.trust.is_empty() { "unpinned".to_owned() } else { verdict.trust.clone() },
        anchored_to: verdict.anchored(),
        oldest_unanchored: Verdict::said(&verdict.oldest_unanchored),
        damage: verdict.damage.iter().map(super::Damage::text).collect(),
    }
}

fn coverage(books: &Collector) -> CoverageData {
    let coverage = &books.coverage;
    let stretch =
        |stretch: &Stretch| StretchData { from: stretch.from.to_string(), to: stretch.to.to_string() };
    let gap = |gap: &super::coverage::Gap| GapData {
        from: gap.stretch.from.to_string(),
        to: gap.stretch.to.to_string(),
        seconds: seconds(gap.stretch),
        cause: gap.cause,
        failure: gap.unclean,
    };
    CoverageData {
        running_seconds: coverage.running() / 1_000_000,
        percent: percent(coverage.running(), coverage.length()),
        runs: coverage.runs.iter().map(stretch).collect(),
        gap_count: coverage.gap_count,
        gaps: coverage.gaps.iter().map(gap).collect(),
    }
}

fn source_data(name: &str, source: &SourceBooks, books: &Collector) -> SourceData {
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let (from, to) = source.silence.unwrap_or((books.scope.from, books.scope.from));
    let shares = DETAILS.iter().zip(source.details);
    SourceData {
        name: super::entry::visible(name),
        system: source.system.clone(),
        feeds: source.feeds.iter().filter(|feed| !feed.is_empty()).cloned().collect(),
        events: source.events,
        with_defects: source.defects,
        read_under_rules: source.under_rules,
        first: time(source.first),
        last: time(source.last),
        longest_silence: StretchData { from: from.to_string(), to: to.to_string() },
        longest_silence_seconds: seconds(Stretch { from, to }),
        longest_delay_seconds: source.delay,
        completeness: shares.map(|((name, _), there)| (*name, share(there, source.events))).collect(),
        histogram: source.parts.clone(),
    }
}

fn policy_data(policy: &PolicyBooks) -> PolicyData {
    PolicyData {
        entry: policy.entry,
        since: policy.since.to_string(),
        digest: policy.digest.clone(),
        rules: policy.rules as u64,
        files: policy.files.clone(),
    }
}

/// Length in whole seconds.
pub(super) fn seconds(stretch: Stretch) -> i64 {
    (stretch.to.micros() - stretch.from.micros()) / 1_000_000
}

/// A share in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    percent(i64::try_from(part).unwrap_or(i64::MAX), i64::try_from(whole).unwrap_or(i64::MAX))
}

/// `718.2 h`, or minutes and seconds where hours would read as nothing.
pub(super) fn duration(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..5400 => format!("{} min", seconds / 60),
        _ => format!("{}.{} h", thousands((seconds / 3600).unsigned_abs()), seconds % 3600 / 360),
    }
}

/// `2026-11-20 00:04:42 UTC`, for sentences.
pub(super) fn utc(time: Time) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `12,345`.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
