//! Findings that belong together: grouping by rule and key within a window of event time. Pure.
//!
//! A finding of severity `info` is recorded and opens nothing. Any other joins the open incident of its rule
//! and key when its time is within the window after the incident's newest finding, else it opens a new one.
//! An incident's alert is owed when it opens and when its severity rises; further findings are recorded
//! without another alert, so that a storm is one incident and one mail.
//!
//! [`Incidents`] is a projection: [`Incidents::consider`] only decides, and the same `apply_*` functions run
//! for the live path and for recovery.

use crate::model::event::words;
use crate::model::incident::{FINDINGS_KEPT, Incident, IncidentState};
use crate::model::json::Object;
use crate::model::{Finding, Severity, Time};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Incidents kept in memory; beyond it the one with the oldest newest finding goes, which is counted.
pub const INCIDENTS_MAX: usize = 100_000;

words!(
    /// What happens to an incident.
    Transition { Opened = "opened", Escalated = "escalated" }
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
        let open = !matches!(incident.state, IncidentState::Closed | IncidentState::FalsePositive);
        if !open || finding.time > until {
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
            incident.state = change.state;
            return;
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
            },
        );
        if self.by_id.len() > INCIDENTS_MAX {
            self.evict();
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
