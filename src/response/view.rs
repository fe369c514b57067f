//! Incidents, silences and the outbox as JSON: what commands and pages show. Names stand where pseudonyms do, as far as
//! they are known.

use crate::model::Time;
use crate::model::incident::{Alert, Incident, Silence};
use crate::pipeline::Writer;
use serde_json::{Value, json};

/// Rows that one answer lists.
const LISTED_MAX: usize = 1000;

impl Writer {
    /// Incidents as people read them: open ones first, then the newest.
    pub fn incidents_json(&self, all: bool) -> Value {
        let now = self.clock.now();
        let mut chosen: Vec<&Incident> =
            self.state.incidents.iter().filter(|incident| all || !incident.is_over()).collect();
        chosen.sort_by_key(|incident| {
            (incident.is_over(), std::cmp::Reverse((incident.severity, incident.last, incident.id.clone())))
        });
        let count = chosen.len();
        let listed: Vec<Value> =
            chosen.into_iter().take(LISTED_MAX).map(|incident| self.listed(incident, now)).collect();
        json!({ "incidents": listed, "count": count })
    }

    /// One of many: without its timeline, which may be long.
    fn listed(&self, incident: &Incident, now: Time) -> Value {
        let mut row = self.incident_json(incident, now);
        if let Some(members) = row.as_object_mut() {
            members.remove("steps");
        }
        row
    }

    /// One incident.
    pub fn incident_json(&self, incident: &Incident, now: Time) -> Value {
        let shown = |text: &str| {
            let mut text = text.to_owned();
            if let Some(privacy) = &self.privacy {
                privacy.show(&mut text);
            }
            text
        };
        let clocks = incident.clocks.iter().map(|(id, clock)| {
            let rule = self.policies.clocks.iter().find(|rule| rule.id == *id);
            json!({ "clock": id, "title": rule.map(|rule| &rule.title), "from": clock.from, "due": clock.due,
                    "gone_percent": clock.gone(now), "done": clock.done })
        });
        let clocks: Vec<Value> = clocks.collect();
        let steps: Vec<Value> = incident
            .steps
            .iter()
            .map(|step| json!({ "at": step.at, "what": step.what, "by": step.by, "text": step.text.as_deref().map(shown) }))
            .collect();
        let acknowledged = incident
            .acknowledged
            .as_ref()
            .map(|seen| json!({ "by": seen.by, "at": seen.at, "until": seen.until }));
        json!({
            "incident": incident.id, "state": incident.state.as_str(), "severity": incident.severity.as_str(),
            "rule": incident.rule, "title": shown(&incident.title), "first": incident.first, "last": incident.last,
            "opened": incident.opened, "findings": incident.findings, "entries": incident.about,
            "source": incident.source, "assignee": incident.assignee, "acknowledged": acknowledged,
            "clocks": clocks, "steps": steps, "runbook": self.policies.runbooks.get(&incident.rule),
        })
    }

    /// Deadlines that would run if somebody decided that they apply, counted from the detection.
    pub fn provisional_json(&self, incident: &Incident) -> Value {
        let from = incident.opened.unwrap_or(incident.last);
        let open = self.policies.clocks.iter().filter(|rule| !incident.clocks.contains_key(&rule.id));
        let rows = open.map(|rule| {
            json!({ "clock": rule.id, "title": rule.title, "recipient": rule.recipient, "starts": rule.starts,
                    "applies_when": rule.applies_when, "provisional_due": rule.due(from), "source": rule.source,
                    "url": rule.url })
        });
        rows.collect()
    }

    /// Silences, the ones in force first.
    pub fn silences_json(&self) -> Value {
        let now = self.clock.now();
        let mut silences: Vec<&Silence> = self.state.silences.values().collect();
        silences.sort_by_key(|silence| (now >= silence.until, std::cmp::Reverse(silence.until)));
        let row = |silence: &Silence| {
            let mut shown = silence.clone();
            if let (Some(privacy), Some(actor)) = (&self.privacy, &mut shown.actor) {
                privacy.show(actor);
                *actor = actor.lines().next().unwrap_or_default().to_owned();
            }
            let mut row = serde_json::to_value(shown).unwrap_or_default();
            row["in_force"] = Value::Bool(now < silence.until);
            row
        };
        silences.into_iter().take(LISTED_MAX).map(row).collect()
    }

    /// Alerts owed, and those that a receiver refused for good.
    pub fn outbox_json(&self) -> Value {
        let row = |alert: &Alert, dead: bool| {
            let receivers: Vec<&String> = alert.owed.keys().collect();
            let failing: Vec<&String> =
                alert.owed.iter().filter(|(_, failing)| **failing).map(|(name, _)| name).collect();
            json!({ "alert": alert.id, "incident": alert.incident, "severity": alert.severity.as_str(),
                    "reason": alert.reason, "title": self.shown_title(alert), "receivers": receivers,
                    "failing": if dead { Vec::new() } else { failing }, "dead": dead })
        };
        let owed = self.state.outbox.values().take(LISTED_MAX).map(|alert| row(alert, false));
        let rows: Vec<Value> = owed.chain(self.state.dead.values().map(|alert| row(alert, true))).collect();
        json!({ "outbox": rows, "owed": self.state.outbox.len(), "dead": self.state.dead.len() })
    }

    fn shown_title(&self, alert: &Alert) -> String {
        let mut title = alert.finding.title.clone();
        if let Some(privacy) = &self.privacy {
            privacy.show(&mut title);
        }
        title
    }
}
