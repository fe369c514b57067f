//! Findings that belong together: grouping by rule and key within a window of event time. Pure.
//!
//! A finding of severity `info` is recorded and opens nothing. Any other joins the open incident of its rule
//! and key when its time is within the window after the incident's newest finding, else it opens a new one.
//! An incident's alert is owed when it opens and when its severity rises; further findings are recorded
//! without another alert, so that a storm is one incident and one mail.
//!
//! [`Incidents`] is a projection: [`Incidents::consider`] only decides, and the same `apply_*` functions run
//! for the live path and for recovery.

pub mod lifecycle;

use crate::model::event::words;
use crate::model::incident::{
    Acknowledged, Deadline, FINDINGS_KEPT, Incident, IncidentState, STEPS_KEPT, Step,
};
use crate::model::json::Object;
use crate::model::{Finding, Severity, Time};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Incidents kept in memory; beyond it the one with the oldest newest finding goes, which is counted.
pub const INCIDENTS_MAX: usize = 100_000;

words!(
    /// What happens to an incident.
    Transition {
        Opened = "opened",
        /// A finding raised its severity.
        Escalated = "escalated",
        /// Somebody has seen it.
        Acknowledged = "acknowledged",
        Assigned = "assigned",
        Noted = "noted",
        /// Into another state.
        Moved = "moved",
        /// Nobody acknowledged it in time.
        Unanswered = "unanswered",
        /// A notification's time began.
        ClockStarted = "clock_started",
        /// A share of it is gone.
        ClockWarned = "clock_warned",
        /// It was made, or is not needed.
        ClockEnded = "clock_ended",
    }
);

/// What a finding does to the incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Severity `info`: recorded, nothing else.
    Recorded,
    /// Belongs to an open incident.
    Joins(String),
    /// Belongs to an open incident and raises its severity.
    Escalates(String),
    /// Opens a new one.
    Opens,
}

/// The members of an `incident` entry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Change {
    /// Incident id.
    pub incident: String,
    /// What happened.
    pub transition: Transition,
    /// State after it.
    pub state: IncidentState,
    /// Severity after it.
    pub severity: Severity,
    /// Rule.
    pub rule: String,
    /// Grouping key.
    pub key: String,
    /// Title.
    pub title: String,
    /// Event time of the finding behind it.
    pub time: Time,
    /// Grouping window, seconds.
    pub window_seconds: u64,
    /// The source it came from, where there is one.
    #[serde(default)]
    pub source: Option<String>,
    /// Who did it, id.
    #[serde(default)]
    pub actor: Option<String>,
    /// Who did it, name.
    #[serde(default)]
    pub actor_name: Option<String>,
    /// When it was done, by the daemon's clock.
    #[serde(default)]
    pub at: Option<Time>,
    /// Who did it.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub text: Option<String>,
    /// Who works on it from here.
    #[serde(default)]
    pub assignee: Option<String>,
    /// Of an acknowledgement, until when it holds; of a clock, when it is due.
    #[serde(default)]
    pub until: Option<Time>,
    /// Of a clock, when it began.
    #[serde(default)]
    pub from: Option<Time>,
    /// Id of the clock.
    #[serde(default)]
    pub clock: Option<String>,
    /// Of a warning, the share that is gone.
    #[serde(default)]
    pub percent: Option<u64>,
    /// States that a move passed over.
    #[serde(default)]
    pub passed: Vec<IncidentState>,
}

impl Default for Change {
    fn default() -> Change {
        Change::of(&Finding::default(), String::new(), Transition::Noted)
    }
}

impl Change {
    /// The change that a finding makes under an id.
    pub fn of(finding: &Finding, incident: String, transition: Transition) -> Change {
        Change {
            incident,
            transition,
            state: IncidentState::Detected,
            severity: finding.severity,
            rule: finding.rule.clone(),
            key: finding.key.clone(),
            title: finding.title.clone(),
            time: finding.time,
            window_seconds: finding.window_seconds,
            source: finding.source.clone(),
            actor: finding.actor.clone(),
            actor_name: finding.actor_name.clone(),
            at: None,
            by: None,
            text: None,
            assignee: None,
            until: None,
            from: None,
            clock: None,
            percent: None,
            passed: Vec::new(),
        }
    }

    /// Writes the members of an `incident` entry.
    pub fn write(&self, out: &mut Object<'_>) {
        out.word("incident", &self.incident);
        out.word("transition", self.transition.as_str());
        out.word("state", self.state.as_str());
        out.word("severity", self.severity.as_str());
        out.word("rule", &self.rule);
        out.str("key", &self.key);
        out.str("title", &self.title);
        out.time("time", self.time);
        out.uint("window_seconds", self.window_seconds);
        for (name, time) in [("at", self.at), ("until", self.until), ("from", self.from)] {
            if let Some(time) = time {
                out.time(name, time);
            }
        }
        out.opt("source", &self.source);
        out.opt("actor", &self.actor);
        out.opt("actor_name", &self.actor_name);
        for (name, text) in
            [("by", &self.by), ("text", &self.text), ("assignee", &self.assignee), ("clock", &self.clock)]
        {
            out.opt(name, text);
        }
        if let Some(percent) = self.percent {
            out.uint("percent", percent);
        }
        if !self.passed.is_empty() {
            out.list("passed", self.passed.iter().map(|state| state.as_str()));
        }
    }

    /// What the incident remembers of it.
    fn step(&self) -> Option<Step> {
        let mut said = self.text.clone();
        let mut add = |more: String| {
            said = Some(match said.take() {
                Some(text) => format!("{text} ({more})"),
                None => more,
            });
        };
        match self.transition {
            Transition::Moved => add(format!("to {}", self.state.as_str())),
            Transition::Assigned => add(format!("to {}", self.assignee.as_deref().unwrap_or_default())),
            Transition::ClockStarted | Transition::ClockEnded => {
                add(self.clock.clone().unwrap_or_default());
            }
            Transition::ClockWarned => add(format!(
                "{}: {} % of the time is gone",
                self.clock.as_deref().unwrap_or_default(),
                self.percent.unwrap_or_default()
            )),
            Transition::Acknowledged => {
                if let Some(until) = self.until {
                    add(format!("until {until}"));
                }
            }
            Transition::Escalated => add(format!("to {}", self.severity.as_str())),
            Transition::Opened | Transition::Noted | Transition::Unanswered => {}
        }
        if !self.passed.is_empty() {
            let passed: Vec<&str> = self.passed.iter().map(|state| state.as_str()).collect();
            add(format!("passed over: {}", passed.join(", ")));
        }
        Some(Step {
            at: self.at?,
            what: self.transition.as_str().to_owned(),
            by: self.by.clone(),
            text: said,
        })
    }
}

/// All incidents, by rule and key the newest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incidents {
    by_id: BTreeMap<String, Incident>,
    newest: BTreeMap<(String, String), String>,
    evicted: u64,
}

impl Incidents {
    /// What a finding does.
    pub fn consider(&self, finding: &Finding) -> Decision {
        if finding.severity == Severity::Info {
            return Decision::Recorded;
        }
        let id = self.newest.get(&(finding.rule.clone(), finding.key.clone()));
        let Some(incident) = id.and_then(|id| self.by_id.get(id)) else { return Decision::Opens };
        let until = incident.last.plus_seconds(finding.window_seconds as i64);
        if incident.is_over() || finding.time > until {
            return Decision::Opens;
        }
        match finding.severity > incident.severity {
            true => Decision::Escalates(incident.id.clone()),
            false => Decision::Joins(incident.id.clone()),
        }
    }

    /// Takes an `incident` entry over.
    pub fn apply_change(&mut self, change: &Change) {
        if let Some(incident) = self.by_id.get_mut(&change.incident) {
            incident.severity = incident.severity.max(change.severity);
            // A finding that makes an incident worse says nothing about where its people are.
            if change.transition != Transition::Escalated {
                incident.state = change.state;
            }
            return Incidents::follow(incident, change);
        }
        self.newest.insert((change.rule.clone(), change.key.clone()), change.incident.clone());
        self.by_id.insert(
            change.incident.clone(),
            Incident {
                id: change.incident.clone(),
                state: change.state,
                severity: change.severity,
                rule: change.rule.clone(),
                key: change.key.clone(),
                title: change.title.clone(),
                first: change.time,
                last: change.time,
                findings: 0,
                about: Vec::new(),
                window_seconds: change.window_seconds,
                source: change.source.clone(),
                actor: change.actor.clone(),
                actor_name: change.actor_name.clone(),
                opened: change.at,
                assignee: None,
                acknowledged: None,
                unanswered: None,
                clocks: BTreeMap::new(),
                steps: change.step().into_iter().collect(),
            },
        );
        if self.by_id.len() > INCIDENTS_MAX {
            self.evict();
        }
    }

    /// What a change leaves besides state and severity.
    fn follow(incident: &mut Incident, change: &Change) {
        if let Some(step) = change.step() {
            // What time did again and again is one step, so that it leaves room for what people do.
            if change.by.is_none() && incident.steps.last().is_some_and(|last| last.what == step.what) {
                incident.steps.pop();
            }
            if incident.steps.len() < STEPS_KEPT {
                incident.steps.push(step);
            }
        }
        match change.transition {
            Transition::Acknowledged => {
                if let (Some(by), Some(at), Some(until)) = (&change.by, change.at, change.until) {
                    incident.acknowledged = Some(Acknowledged { by: by.clone(), at, until });
                }
            }
            Transition::Assigned => incident.assignee.clone_from(&change.assignee),
            Transition::Unanswered => incident.unanswered = change.at,
            Transition::ClockStarted => {
                if let (Some(clock), Some(from)) = (&change.clock, change.from) {
                    let deadline = Deadline { from, due: change.until, warned: 0, done: None };
                    incident.clocks.insert(clock.clone(), deadline);
                }
            }
            Transition::ClockWarned | Transition::ClockEnded => {
                let clock = change.clock.as_ref().and_then(|clock| incident.clocks.get_mut(clock));
                if let Some(clock) = clock {
                    clock.warned = clock.warned.max(change.percent.unwrap_or_default());
                    if change.transition == Transition::ClockEnded {
                        clock.done = change.at;
                    }
                }
            }
            Transition::Opened | Transition::Escalated | Transition::Noted | Transition::Moved => {}
        }
    }

    /// Takes a `finding` entry over, of an incident that is open.
    pub fn apply_finding(&mut self, incident: &str, index: u64, time: Time) {
        if let Some(incident) = self.by_id.get_mut(incident) {
            incident.findings += 1;
            incident.last = incident.last.max(time);
            if incident.about.len() < FINDINGS_KEPT {
                incident.about.push(index);
            }
        }
    }

    fn evict(&mut self) {
        // A tenth at once: looking for one at a time would make a flood of names expensive.
        let mut by_age: Vec<(Time, String)> =
            self.by_id.values().map(|incident| (incident.last, incident.id.clone())).collect();
        by_age.sort();
        for (_, oldest) in by_age.into_iter().take(INCIDENTS_MAX / 10) {
            let Some(incident) = self.by_id.remove(&oldest) else { continue };
            let key = (incident.rule, incident.key);
            if self.newest.get(&key) == Some(&oldest) {
                self.newest.remove(&key);
            }
            self.evicted += 1;
        }
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.by_id.values()
    }
    /// One.
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.by_id.get(id)
    }
    /// How many were forgotten.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Writes the projection, for the cache.
    pub fn write(&self, out: &mut Object<'_>) {
        out.uint("evicted", self.evicted);
        out.objects("incidents", self.by_id.values(), |incident, out| incident.write(out));
    }

    /// Reads what [`Incidents::write`] wrote.
    pub fn read(evicted: u64, incidents: Vec<Incident>) -> Incidents {
        let mut read = Incidents { evicted, ..Incidents::default() };
        for incident in incidents {
            let key = (incident.rule.clone(), incident.key.clone());
            let newer = |id: &String| number(id) < number(&incident.id);
            if read.newest.get(&key).is_none_or(newer) {
                read.newest.insert(key, incident.id.clone());
            }
            read.by_id.insert(incident.id.clone(), incident);
        }
        read
    }
}

/// The entry index in an id.
fn number(id: &str) -> u64 {
    id.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, seconds: i64) -> Finding {
        Finding {
            rule: "r".into(),
            key: "k".into(),
            severity,
            time: Time::from_seconds(seconds),
            window_seconds: 60,
            ..Finding::default()
        }
    }

    #[test]
    fn findings_group_by_key_and_window() {
        let mut incidents = Incidents::default();
        assert_eq!(incidents.consider(&finding(Severity::Info, 0)), Decision::Recorded);
        let first = finding(Severity::Medium, 0);
        assert_eq!(incidents.consider(&first), Decision::Opens);
        incidents.apply_change(&Change::of(&first, "INC-1".into(), Transition::Opened));
        incidents.apply_finding("INC-1", 0, first.time);
        assert_eq!(incidents.consider(&finding(Severity::Low, 60)), Decision::Joins("INC-1".into()));
        assert_eq!(incidents.consider(&finding(Severity::High, 60)), Decision::Escalates("INC-1".into()));
        assert_eq!(incidents.consider(&finding(Severity::High, 61)), Decision::Opens);
        let other = Finding { key: "other".into(), ..finding(Severity::High, 1) };
        assert_eq!(incidents.consider(&other), Decision::Opens);
    }
}
