//! When the daemon ran and which rules were in force, read off the trail alone.
//!
//! The daemon runs from a `start` entry to its `stop`. Without a `stop` it ran until its last entry: a
//! heartbeat stands where nothing else is written, so the last entry is at most one interval old. Two
//! entries more than three intervals apart with no `stop` between are a gap as well. A rule is in force
//! from the `policy` entry that names it until one that does not, while the daemon runs.

use crate::model::Time;
use crate::policy::framework::Pattern;
use std::collections::BTreeSet;

/// Interval of heartbeats where no `start` entry says another: five minutes.
const HEARTBEAT_SECONDS: i64 = 300;
/// Gaps and runs that are kept by name; all are counted.
pub(super) const KEPT: usize = 200;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: Time,
    pub to: Time,
}

/// A stretch of the period without the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub stretch: Stretch,
    pub cause: &'static str,
    /// Whether it counts as a failure: an ordered stop followed by a start does not.
    pub unclean: bool,
}

/// Coverage while the trail streams by.
pub(super) struct Coverage {
    period: Stretch,
    heartbeat: i64,
    /// Last entry's time while the daemon runs.
    alive: Option<Time>,
    /// Since when it does not run, and why.
    down: Option<(Time, &'static str, bool)>,
    first: Option<Time>,
    pub newest: Option<Time>,
    running: i64,
    pub runs: Vec<Stretch>,
    pub gaps: Vec<Gap>,
    pub gap_count: u64,
    patterns: Vec<Watched>,
    rules_in_force: BTreeSet<String>,
    detection_events: (u64, u64),
}

/// One pattern of the framework over the period.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub pattern: Pattern,
    /// Whether a rule of it is in force now.
    now: bool,
    /// Microseconds of the period in force while the daemon ran.
    pub micros: i64,
    /// Events of the period that were read while it was in force.
    pub events: u64,
    /// Rule ids seen under it in the period.
    pub ids: BTreeSet<String>,
}

impl Coverage {
    /// Coverage of a period for these patterns.
    pub fn new(from: Time, to: Time, patterns: BTreeSet<Pattern>) -> Coverage {
        let watched = |pattern| Watched { pattern, now: false, micros: 0, events: 0, ids: BTreeSet::new() };
        Coverage {
            period: Stretch { from, to },
            heartbeat: HEARTBEAT_SECONDS,
            alive: None,
            down: None,
            first: None,
            newest: None,
            running: 0,
            runs: Vec::new(),
            gaps: Vec::new(),
            gap_count: 0,
            patterns: patterns.into_iter().map(watched).collect(),
            rules_in_force: BTreeSet::new(),
            detection_events: (0, 0),
        }
    }

    /// An entry of any kind was written at `time`.
    pub fn entry(&mut self, time: Time, kind: &str) {
        if self.first.is_none() {
            self.first = Some(time);
            self.down = Some((self.period.from.min(time), "before the daemon's first start", false));
        }
        self.newest = Some(time);
        if kind == "start" {
            if let Some(last) = self.alive.take() {
                self.down = Some((last, "ended without a stop entry", true));
            }
            return self.up(time);
        }
        match self.alive {
            Some(last) if time.seconds_since(last) > (3 * self.heartbeat) as f64 => {
                self.down = Some((last, "no entry for more than three heartbeats", true));
                self.up(time);
            }
            Some(last) => self.advance(last, time),
            // What stands before the first start, and the last lines of an ordered stop.
            None => return,
        }
        self.alive = Some(time);
        if matches!(kind, "stop" | "disk_full") {
            self.alive = None;
            let full = kind == "disk_full";
            self.down = Some((time, if full { "stopped: disk full" } else { "stopped by order" }, full));
        }
    }

    /// The interval that a `start` entry states.
    pub fn heartbeat(&mut self, seconds: u64) {
        if let Ok(seconds @ 1..=86_400) = i64::try_from(seconds) {
            self.heartbeat = seconds;
        }
    }

    /// A `policy` entry: these rules are in force from now on. Later parts of one entry add to the first.
    pub fn policy(&mut self, rules: &[String], adds: bool) {
        if !adds {
            self.rules_in_force.clear();
        }
        self.rules_in_force.extend(rules.iter().cloned());
        for watched in &mut self.patterns {
            watched.now = self.rules_in_force.iter().any(|rule| watched.pattern.matches(rule));
        }
        self.name_rules();
    }

    /// An event of the period was read now.
    pub fn event(&mut self) {
        for watched in self.patterns.iter_mut().filter(|watched| watched.now) {
            watched.events += 1;
        }
        self.detection_events.0 += 1;
        self.detection_events.1 += u64::from(!self.rules_in_force.is_empty());
        if self.detection_events.0 == 1 {
            self.name_rules();
        }
    }

    /// Events of the period, and those read while any rule was in force.
    pub fn events(&self) -> (u64, u64) {
        self.detection_events
    }

    /// Rules in force after the newest `policy` entry read.
    pub fn rules(&self) -> usize {
        self.rules_in_force.len()
    }

    fn name_rules(&mut self) {
        for watched in &mut self.patterns {
            let ids = self.rules_in_force.iter().filter(|rule| watched.pattern.matches(rule));
            watched.ids.extend(ids.take(KEPT).cloned());
        }
    }

    fn up(&mut self, time: Time) {
        if let Some((since, cause, unclean)) = self.down.take() {
            self.gap(since, time, cause, unclean);
        }
        self.alive = Some(time);
        if let Some(stretch) = self.clip(time, self.period.to) {
            let empty = Stretch { from: stretch.from, to: stretch.from };
            if self.runs.len() < KEPT {
                self.runs.push(empty);
            }
        }
    }

    fn advance(&mut self, last: Time, time: Time) {
        let Some(stretch) = self.clip(last, time) else { return };
        let micros = stretch.to.micros() - stretch.from.micros();
        self.running += micros;
        for watched in self.patterns.iter_mut().filter(|watched| watched.now) {
            watched.micros += micros;
        }
        // `up` opened the run; beyond the runs that are kept, only the sums go on.
        if let Some(run) = self.runs.last_mut().filter(|run| run.to >= stretch.from) {
            run.to = stretch.to;
        }
    }

    fn gap(&mut self, since: Time, until: Time, cause: &'static str, unclean: bool) {
        let Some(stretch) = self.clip(since, until) else { return };
        self.gap_count += 1;
        if self.gaps.len() < KEPT {
            self.gaps.push(Gap { stretch, cause, unclean });
        }
    }

    fn clip(&self, from: Time, to: Time) -> Option<Stretch> {
        let (from, to) = (from.max(self.period.from), to.min(self.period.to));
        (from < to).then_some(Stretch { from, to })
    }

    /// Closes the books at the time of the report.
    pub fn close(&mut self, generated: Time) {
        let end = self.period.to;
        match (self.newest, self.down.take()) {
            (None, _) => self.gap(self.period.from, end, "the trail holds no entry", false),
            (Some(_), Some((since, cause, unclean))) => self.gap(since, end.min(generated), cause, unclean),
            // A running daemon's newest entry is at most one heartbeat old; what lies beyond is not claimed.
            (Some(newest), None) => {
                let late = generated.seconds_since(newest) > (3 * self.heartbeat) as f64;
                let cause = if late { "after the newest entry, without a stop entry" } else { "" };
                if late {
                    self.gap(newest, end.min(generated), cause, true);
                }
            }
        }
        if generated < end {
            self.gap(generated, end, "after this report was made", false);
        }
    }

    /// Microseconds of the period that the daemon ran.
    pub fn running(&self) -> i64 {
        self.running
    }

    /// Length of the period, microseconds.
    pub fn length(&self) -> i64 {
        (self.period.to.micros() - self.period.from.micros()).max(0)
    }

    /// The books of one pattern.
    pub fn watched(&self, pattern: &Pattern) -> Option<&Watched> {
        self.patterns.iter().find(|watched| &watched.pattern == pattern)
    }
}

/// `98.6` for 986 of 1,000, rounded down so that a gap never reads as 100.
pub(super) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "0.0".to_owned();
    }
    let tenths = i128::from(part.max(0)) * 1000 / i128::from(whole);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(minutes: i64) -> Time {
        Time::from_seconds(minutes * 60)
    }

    #[test]
    fn runs_gaps_and_rules_add_up() {
        let pattern = Pattern::parse("dlp.*").unwrap();
        let mut coverage = Coverage::new(at(100), at(200), BTreeSet::from([pattern.clone()]));
        coverage.entry(at(90), "start");
        for minute in [95, 100, 105, 110] {
            coverage.entry(at(minute), "heartbeat");
        }
        coverage.entry(at(112), "policy");
        coverage.policy(&["dlp.x".into()], false);
        coverage.entry(at(120), "stop");
        coverage.entry(at(130), "start");
        coverage.entry(at(140), "commit");
        coverage.entry(at(160), "commit");
        coverage.entry(at(170), "start");
        coverage.entry(at(210), "stop");
        coverage.close(at(300));
        let minutes = |micros: i64| micros / 60_000_000;
        // 100–120 and 130–140; 160 and 210 come after more than three heartbeats of silence.
        assert_eq!(minutes(coverage.running()), 30);
        assert_eq!(minutes(coverage.watched(&pattern).unwrap().micros), 18);
        let causes: Vec<_> = coverage
            .gaps
            .iter()
            .map(|gap| (gap.stretch.from.seconds() / 60, gap.stretch.to.seconds() / 60, gap.cause))
            .collect();
        assert_eq!(
            causes,
            [
                (120, 130, "stopped by order"),
                (140, 160, "no entry for more than three heartbeats"),
                (160, 170, "ended without a stop entry"),
                (170, 200, "no entry for more than three heartbeats"),
            ]
        );
        assert_eq!(percent(999_999, 1_000_000), "99.9");
        assert_eq!(percent(1, 1), "100.0");
    }

    #[test]
    fn a_period_before_the_trail_or_after_the_report_is_a_gap() {
        let mut coverage = Coverage::new(at(0), at(100), BTreeSet::new());
        coverage.entry(at(30), "genesis");
        coverage.entry(at(40), "start");
        coverage.entry(at(45), "heartbeat");
        coverage.close(at(46));
        let causes: Vec<_> = coverage.gaps.iter().map(|gap| gap.cause).collect();
        assert_eq!(causes, ["before the daemon's first start", "after this report was made"]);
    }
}
