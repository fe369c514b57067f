//! What is owed to whom: alerts, dead letters, budgets and silences, as the entries say.

use super::State;
use crate::model::incident::{Alert, AlertState, Silence};
use crate::model::json::Object;
use crate::model::{Finding, Severity, Time};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Dead alerts that are remembered; the trail holds all of them.
pub const DEAD_MAX: usize = 1000;

/// A receiver's budget of single alerts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Spent {
    /// Begin of the hour that is counted.
    pub hour: i64,
    /// Alerts owed in it.
    pub sent: u64,
    /// Alerts held back since the last digest, by rule.
    pub held: BTreeMap<String, u64>,
    /// The worst of them.
    pub severity: Option<Severity>,
}

impl Spent {
    /// One more alert at this time.
    fn count(&mut self, at: Time) {
        let hour = at.seconds().div_euclid(3600);
        if self.hour != hour {
            (self.hour, self.sent) = (hour, 0);
        }
        self.sent += 1;
    }

    pub(super) fn write(&self, out: &mut Object<'_>) {
        out.int("hour", self.hour);
        out.uint("sent", self.sent);
        out.object_always("held", |out| {
            self.held.iter().for_each(|(rule, count)| out.dynamic_uint(rule, *count));
        });
        if let Some(severity) = self.severity {
            out.word("severity", severity.as_str());
        }
    }

    /// Whether another one may be owed on its own at this time: the first of an hour always may.
    pub fn has_room(&self, at: Time, per_hour: u64) -> bool {
        self.hour != at.seconds().div_euclid(3600) || self.sent < per_hour.max(1)
    }
}

/// Seconds for which a silence that is over is listed.
const SILENCE_KEPT: i64 = 90 * 86_400;

impl State {
    /// An alert is owed to its receivers, and held back for others until their digest.
    pub fn owe(&mut self, alert: Alert, held: &[String], at: Option<Time>) {
        let is_digest = alert.reason == "digest";
        for receiver in alert.owed.keys() {
            let spent = self.budgets.entry(receiver.clone()).or_default();
            if is_digest {
                spent.held.clear();
                spent.severity = None;
            } else if let Some(at) = at {
                spent.count(at);
            }
        }
        for receiver in held {
            let spent = self.budgets.entry(receiver.clone()).or_default();
            *spent.held.entry(alert.finding.rule.clone()).or_default() += 1;
            spent.severity = spent.severity.max(Some(alert.severity));
        }
        if !alert.owed.is_empty() {
            self.outbox.insert(alert.id.clone(), alert);
        }
    }

    /// One more alert that a silence covers.
    pub fn silenced(&mut self, silence: &str) {
        if let Some(silence) = self.silences.get_mut(silence) {
            silence.silenced += 1;
        }
    }

    /// A silence is made or ends.
    pub fn silence(&mut self, silence: Silence, ended: bool) {
        match (ended, self.silences.get_mut(&silence.id)) {
            (true, Some(known)) => known.until = known.until.min(silence.until),
            (true, None) => {}
            (false, _) => {
                // What is long over is the trail's to remember.
                let over = silence.from.plus_seconds(-SILENCE_KEPT);
                self.silences.retain(|_, known| known.until > over);
                self.silences.insert(silence.id.clone(), silence);
            }
        }
    }

    /// The silence in force that covers a finding.
    pub fn silence_for(&self, finding: &Finding, now: Time) -> Option<&str> {
        let covering = self.silences.values().find(|silence| silence.covers(finding, now));
        covering.map(|silence| silence.id.as_str())
    }

    /// What became of an alert at one receiver.
    pub fn delivery(&mut self, alert: &str, receiver: &str, state: AlertState) {
        if state == AlertState::Dropped {
            let over = self.dead.get_mut(alert).is_some_and(|dead| {
                dead.owed.remove(receiver);
                dead.owed.is_empty()
            });
            if over {
                self.dead.remove(alert);
            }
            return;
        }
        let Some(owed) = self.outbox.get_mut(alert) else { return };
        match state {
            AlertState::Owed | AlertState::Silenced | AlertState::Dropped => {}
            AlertState::Failing => {
                if let Some(failing) = owed.owed.get_mut(receiver) {
                    *failing = true;
                }
            }
            AlertState::Delivered => {
                owed.owed.remove(receiver);
            }
            AlertState::Dead => {
                if owed.owed.remove(receiver).is_some() {
                    let mut dead = Alert { owed: BTreeMap::new(), ..owed.clone() };
                    dead.owed.insert(receiver.to_owned(), true);
                    let known = self.dead.entry(alert.to_owned()).or_insert(dead);
                    known.owed.insert(receiver.to_owned(), true);
                    while self.dead.len() > DEAD_MAX {
                        let number =
                            |id: &String| id.rsplit('-').next().and_then(|it| it.parse::<u64>().ok());
                        let Some(oldest) = self.dead.keys().min_by_key(|id| number(id)).cloned() else {
                            break;
                        };
                        self.dead.remove(&oldest);
                    }
                }
            }
        }
        if self.outbox.get(alert).is_some_and(|owed| owed.owed.is_empty()) {
            self.outbox.remove(alert);
        }
    }

    /// A dead alert is owed to its receiver again.
    pub fn again(&mut self, alert: &str, receiver: &str) {
        let Some(dead) = self.dead.get_mut(alert) else { return };
        if dead.owed.remove(receiver).is_none() {
            return;
        }
        let mut owed = Alert { owed: BTreeMap::new(), ..dead.clone() };
        if dead.owed.is_empty() {
            self.dead.remove(alert);
        }
        owed.owed.insert(receiver.to_owned(), false);
        self.outbox.entry(alert.to_owned()).or_insert(owed).owed.insert(receiver.to_owned(), false);
    }
}
