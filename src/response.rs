//! What people do about incidents, and what the passing of time does to them.
//!
//! An act is decided by [`crate::incident::lifecycle`], becomes an entry with who and why, and is applied to the
//! state by the same functions that read it back. Nothing is ever un-recorded: a silence keeps alerts from being
//! owed, and every alert it kept back is an entry; a receiver's budget turns alerts into one digest with their
//! number, and every one it held back is named in the entry of its incident's alert.
//!
//! | time that passes | what is owed then |
//! |---|---|
//! | nobody acknowledged within `escalate: after` | an alert to `escalate: receivers`, again every `after` |
//! | 50, 75, 90, 100 % of a deadline that somebody started | an alert to the incident's receivers |
//! | an hour ends in which alerts were held back | a digest to the receiver |

mod quiet;
mod view;

pub use quiet::Quiet;

use crate::alert::Reason;
use crate::alert::route::{self, Subject};
use crate::consequence::{OWED_MAX, Shown, each_text};
use crate::deliver::{Outcome, PER_HOUR, Report};
use crate::incident::lifecycle::{self, Act, check_words};
use crate::incident::{Change, Transition};
use crate::inspect::dlp;
use crate::model::finding::FindingKind;
use crate::model::incident::{Alert, AlertState, Incident, IncidentState};
use crate::model::json::Object;
use crate::model::{Finding, Severity, Time};
use crate::pipeline::Writer;
use crate::policy::Policies;
use crate::trail::TrailError;
use std::time::Duration;

/// What time did is looked for so often.
const DUTIES_EVERY: Duration = Duration::from_secs(1);
/// Receivers that forget are reminded so often: three times before they do.
const REMIND_EVERY: Duration = Duration::from_secs(240);
/// What the ids of reminders begin with: what becomes of them is nobody's business.
pub const REMINDER: &str = "REM-";

/// An alert that is to be owed.
pub struct Owing<'a> {
    /// What it says.
    pub finding: &'a Finding,
    /// The incident; empty for what is about none.
    pub incident: &'a str,
    /// Why now.
    pub reason: Reason,
    /// Who gets it.
    pub receivers: Vec<String>,
    /// Whether the finding stands before it in the trail; otherwise the entry carries it.
    pub recorded: bool,
}

impl Writer {
    /// Owes an alert to those of its receivers that have room, and counts it for the digest of the others. The
    /// index of its entry, where there is one.
    pub fn owe(&mut self, owing: &Owing<'_>) -> Option<u64> {
        let now = self.clock.now();
        let finding = &self.as_it_reads_back(owing);
        if owing.receivers.is_empty() || self.state.outbox.len() >= OWED_MAX {
            self.after(|metrics| metrics.alert_unrouted());
            return None;
        }
        let index = self.next_index();
        let (id, mask) = (format!("ALR-{index}"), self.mask);
        let single = matches!(owing.reason, Reason::Opened | Reason::Escalated | Reason::Unanswered);
        let silence = self.state.silence_for(finding, now).filter(|_| single).map(str::to_owned);
        let (owed, held): (Vec<String>, Vec<String>) =
            owing.receivers.iter().cloned().partition(|receiver| {
                let room = self.desks.get(receiver).map_or(PER_HOUR, |desk| desk.per_hour);
                let spent = self.state.budgets.get(receiver);
                !single || spent.is_none_or(|spent| spent.has_room(now, room))
            });
        self.group.bodies.push("alert", |out| {
            let mut out = Object::members(out, mask);
            out.word("alert", &id);
            if !owing.incident.is_empty() {
                out.word("incident", owing.incident);
            }
            out.word("severity", finding.severity.as_str());
            out.word("reason", owing.reason.as_str());
            out.time("at", now);
            match &silence {
                Some(silence) => {
                    out.word("state", "silenced");
                    out.word("silence", silence);
                }
                None => {
                    out.word("state", "owed");
                    out.list("receivers", &owed);
                    if !held.is_empty() {
                        out.list("held", &held);
                    }
                }
            }
            if !owing.recorded {
                out.object("about", |out| finding.write(out));
            }
        });
        if let Some(silence) = silence {
            self.state.silenced(&silence);
            self.after(|metrics| metrics.alert_silenced());
            return Some(index);
        }
        let count = held.len() as u64;
        self.after(move |metrics| metrics.alerts_held(count));
        let alert = Alert {
            id,
            incident: owing.incident.to_owned(),
            severity: finding.severity,
            reason: owing.reason.as_str().to_owned(),
            since: finding.time,
            owed: owed.into_iter().map(|receiver| (receiver, false)).collect(),
            finding: finding.clone(),
        };
        self.state.owe(alert, &held, Some(now));
        Some(index)
    }

    /// What people typed stands in a finding that is not recorded: it is sent and kept as it will read back.
    fn as_it_reads_back(&self, owing: &Owing<'_>) -> Finding {
        let (mut finding, mask) = (owing.finding.clone(), self.mask);
        if !owing.recorded {
            each_text(&mut finding, |text| {
                if let Some(masked) = mask(text) {
                    *text = masked;
                }
            });
        }
        finding
    }

    /// Who gets alerts about an incident, and who is told when nobody answers.
    fn route_of(&self, incident: &Incident) -> Option<&route::Route> {
        let source = incident.source.as_deref();
        let subject = Subject {
            severity: incident.severity,
            rule: &incident.rule,
            system: source.and_then(|source| self.systems.get(source)).copied(),
            source,
            about_receiver: None,
        };
        self.routes.iter().find(|route| route.r#match.holds(&subject))
    }

    /// An act on an incident: an entry, the state, and whoever keeps it open elsewhere is told.
    pub fn respond(&mut self, act: &Act, by: &str) -> Result<Result<u64, String>, TrailError> {
        let now = self.clock.now();
        let decided = lifecycle::decide(&self.state.incidents, &self.policies.clocks, act, by, now);
        let change = match decided {
            Ok(change) => change,
            Err(why) => return Ok(Err(why)),
        };
        let was_over = self.state.incidents.get(act.incident()).is_some_and(Incident::is_over);
        self.begin()?;
        let index = self.put(&change);
        let over = matches!(change.state, IncidentState::Closed | IncidentState::FalsePositive)
            && change.transition == Transition::Moved;
        let reopened = change.transition == Transition::Moved && was_over && !over;
        match change.transition {
            Transition::Moved if reopened => self.tell_trackers(&change, Reason::Opened),
            Transition::Acknowledged => self.tell_trackers(&change, Reason::Acknowledged),
            Transition::Moved if over => self.tell_trackers(&change, Reason::Closed),
            _ => {}
        }
        self.commit()?;
        self.checkpoint()?;
        Ok(Ok(index))
    }

    /// An `incident` entry, applied.
    fn put(&mut self, change: &Change) -> u64 {
        let (index, mask) = (self.next_index(), self.mask);
        self.group.bodies.push("incident", |out| change.write(&mut Object::members(out, mask)));
        let mut masked = change.clone();
        for text in [&mut masked.by, &mut masked.text, &mut masked.assignee].into_iter().flatten() {
            if let Some(hidden) = mask(text) {
                *text = hidden;
            }
        }
        self.state.incidents.apply_change(&masked);
        index
    }

    fn tell_trackers(&mut self, change: &Change, reason: Reason) {
        let Some(incident) = self.state.incidents.get(&change.incident) else { return };
        let receivers: Vec<String> = self.route_of(incident).map_or_else(Vec::new, |route| {
            let tracks = |name: &&String| self.desks.get(*name).is_some_and(|desk| desk.tracks);
            route.receivers.iter().filter(tracks).cloned().collect()
        });
        if receivers.is_empty() {
            return;
        }
        let mut finding = about(incident, incident.title.clone(), change.text.clone(), self.clock.now());
        // What is open there began with the first finding, and ends after it began.
        finding.time = incident.first;
        let id = incident.id.clone();
        self.owe(&Owing { finding: &finding, incident: &id, reason, receivers, recorded: false });
    }

    /// What became of an alert: the first failure of an outage and the end are entries, retries are not.
    pub fn delivered(&mut self, report: &Report) -> Result<(), TrailError> {
        if report.alert_id.starts_with(REMINDER) {
            return Ok(());
        }
        let told = report.clone();
        self.after(move |metrics| metrics.delivery(&told.receiver, &told.outcome));
        let state = match &report.outcome {
            Outcome::Delivered => AlertState::Delivered,
            Outcome::Refused { .. } => AlertState::Dead,
            _ => AlertState::Failing,
        };
        if state == AlertState::Failing {
            self.group.down.insert(report.receiver.clone());
        } else {
            self.group.down.remove(&report.receiver);
        }
        self.begin()?;
        let alert = self.state.outbox.get(&report.alert_id);
        let failing = alert.and_then(|alert| alert.owed.get(&report.receiver)).copied();
        self.group.unshown.push(Shown::Delivery(report.clone()));
        // Only what changes the outbox is an entry. Retries, and repetitions of an end, are for log and metrics.
        if failing.is_none() || (state == AlertState::Failing && failing == Some(true)) {
            return Ok(());
        }
        self.group.bodies.push("alert", |out| {
            let mut out = Object::members(out, dlp::mask);
            out.word("alert", &report.alert_id);
            out.word("receiver", &report.receiver);
            out.word("state", state.as_str());
            if let Some(why) = report.outcome.why() {
                out.str("why", why);
            }
        });
        self.state.delivery(&report.alert_id, &report.receiver, state);
        Ok(())
    }

    /// A fire drill: an alert by the same way as every other, to one receiver or to all.
    pub fn test_alert(
        &mut self,
        receiver: Option<&str>,
        by: &str,
    ) -> Result<Result<String, String>, TrailError> {
        let receivers: Vec<String> = match receiver {
            Some(name) if self.receivers.contains_key(name) => vec![name.to_owned()],
            Some(name) => return Ok(Err(format!("no receiver is named `{name}`"))),
            None => self.receivers.keys().cloned().collect(),
        };
        if receivers.is_empty() {
            return Ok(Err("the running daemon has no receivers".into()));
        }
        let now = self.clock.now();
        let finding = Finding {
            rule: "operation.alert_test".into(),
            severity: Severity::Info,
            title: "This is a test: alerts of crmwarden arrive here".into(),
            detail: Some(format!("Asked for by {by}. Nothing happened in a CRM.")),
            time: now,
            key: "operation.alert_test".into(),
            next: "Nothing. If you did not expect this message, ask who ran `crmwarden alert test`.".into(),
            ..Finding::default()
        };
        self.begin()?;
        let owing =
            Owing { finding: &finding, incident: "", reason: Reason::Test, receivers, recorded: false };
        let index = self.owe(&owing);
        self.commit()?;
        self.checkpoint()?;
        Ok(index.map(|index| format!("ALR-{index}")).ok_or_else(|| "too many alerts are owed already".into()))
    }

    /// Sends dead alerts again, or gives them up; `None` means every one.
    pub fn dead_letters(
        &mut self,
        alert: Option<&str>,
        drop: Option<&str>,
        by: &str,
    ) -> Result<Result<u64, String>, TrailError> {
        if let Some(Err(why)) = drop.map(|reason| check_words("reason", reason)) {
            return Ok(Err(why));
        }
        let chosen = self.state.dead.values().filter(|dead| alert.is_none_or(|id| dead.id == id));
        let letters: Vec<(String, String)> = chosen
            .flat_map(|dead| dead.owed.keys().map(|receiver| (dead.id.clone(), receiver.clone())))
            .collect();
        if letters.is_empty() {
            let what = alert.map_or_else(String::new, |id| format!(" `{id}`"));
            return Ok(Err(format!("no dead alert{what}: `crmwarden outbox` lists them")));
        }
        self.begin()?;
        for (id, receiver) in &letters {
            self.group.bodies.push("alert", |out| {
                let mut out = Object::members(out, dlp::mask);
                out.word("alert", id);
                out.word("receiver", receiver);
                out.word("state", if drop.is_some() { "dropped" } else { "owed" });
                if drop.is_none() {
                    out.bool("again", true);
                }
                if let Some(reason) = drop {
                    out.str("why", reason);
                }
                out.str("by", by);
            });
            match drop {
                Some(_) => self.state.delivery(id, receiver, AlertState::Dropped),
                None => self.state.again(id, receiver),
            }
        }
        self.commit()?;
        self.checkpoint()?;
        Ok(Ok(letters.len() as u64))
    }

    /// Other policies are in force: the entry that says so stands between what the old and the new ones judged.
    pub fn policies_in_force(&mut self, policies: Policies) -> Result<(), TrailError> {
        if let Err(why) = self.state.replace_policies(&policies) {
            return self.policies_refused(why);
        }
        self.begin()?;
        self.group.bodies.push("policy", |out| policies.write(&mut Object::members(out, dlp::mask)));
        let now = self.clock.now();
        let digest = policies.digest.hex();
        self.after(move |metrics| {
            metrics.policy_in_force(&digest);
            metrics.reloaded(now, true);
        });
        crate::metrics::know_rules(&self.metrics, &policies);
        tracing::info!("policies {} are in force: {} rules", policies.digest.hex(), policies.rule_ids.len());
        self.policies = policies;
        self.commit()?;
        self.checkpoint()
    }

    /// New policies are bad: the old ones stay in force, and somebody is told.
    pub fn policies_refused(&mut self, what: String) -> Result<(), TrailError> {
        let now = self.clock.now();
        tracing::error!("the new policies are refused, the old ones stay in force: {what}");
        self.begin()?;
        self.after(move |metrics| metrics.reloaded(now, false));
        self.find(Finding {
            rule: "operation.policy_refused".into(),
            severity: Severity::High,
            title: "New policies are refused; the old ones stay in force".into(),
            detail: Some(what),
            time: now,
            key: "operation.policy_refused".into(),
            window_seconds: 3600,
            next: "Run `crmwarden check`, mend what it names, and save the file: it is read again by itself."
                .into(),
            ..Finding::default()
        });
        self.commit()?;
        self.checkpoint()
    }

    /// What the passing of time asks for: see the table above.
    pub fn duties(&mut self) -> Result<(), TrailError> {
        if self.clock.since(self.group.last_duties) < DUTIES_EVERY {
            return Ok(());
        }
        self.group.last_duties = self.clock.mark();
        if let Ok(disk) = rustix::fs::statvfs(self.trail.folder()) {
            self.metrics.disk_free(disk.f_bavail.saturating_mul(disk.f_frsize));
        }
        self.remind();
        self.silent_sources()?;
        let now = self.clock.now();
        let late: Vec<(Change, Vec<String>, Reason)> = self.late(now);
        let digests = self.digests(now);
        if late.is_empty() && digests.is_empty() {
            return Ok(());
        }
        self.begin()?;
        for (change, receivers, reason) in late {
            self.put(&change);
            let Some(incident) = self.state.incidents.get(&change.incident) else { continue };
            let (title, detail) = match reason {
                Reason::Deadline => (
                    format!("A notification is due for {}: {}", incident.id, incident.title),
                    self.deadline_words(incident, &change),
                ),
                _ => (
                    format!("Nobody acknowledged {}: {}", incident.id, incident.title),
                    "It was not acknowledged in the time that the route names.".to_owned(),
                ),
            };
            let finding = about(incident, title.clone(), Some(detail), now);
            let (id, severity) = (incident.id.clone(), incident.severity);
            self.group.unshown.push(Shown::Incident {
                id: id.clone(),
                severity,
                title,
                receivers: receivers.clone(),
            });
            self.owe(&Owing { finding: &finding, incident: &id, reason, receivers, recorded: false });
        }
        for (receiver, finding) in digests {
            let receivers = vec![receiver];
            self.owe(&Owing {
                finding: &finding,
                incident: "",
                reason: Reason::Digest,
                receivers,
                recorded: false,
            });
        }
        Ok(())
    }

    /// A source that was to be heard of by now: somebody closed its eyes, or it is only quiet. Counted from the start of
    /// this run, for before it nobody listened.
    fn silent_sources(&mut self) -> Result<(), TrailError> {
        let now = self.clock.now();
        let mut silent: Vec<(String, u64, Time)> = Vec::new();
        for (source, seconds) in &self.expected {
            let heard = self.group.heard.entry(source.clone()).or_insert((now, false));
            if !heard.1 && now >= heard.0.plus_seconds(*seconds as i64) {
                heard.1 = true;
                silent.push((source.clone(), *seconds, heard.0));
            }
        }
        for (source, seconds, since) in silent {
            self.begin()?;
            self.find(Finding {
                rule: "operation.source_silent".into(),
                r#type: FindingKind::Gap,
                severity: Severity::High,
                title: format!("{source} is silent"),
                detail: Some(format!(
                    "No record since {since}, and one is expected every {}.",
                    crate::alert::text::duration(seconds)
                )),
                time: now,
                source: Some(source.clone()),
                controls: vec!["pci-dss/10.7.2".into()],
                key: format!("operation.source_silent|{source}"),
                window_seconds: 86_400,
                next: "Find out whether the CRM still writes its log and whether it still arrives here: `crmwarden \
                       doctor`, the exporting job, the auditing settings. What happened meanwhile must be fetched later."
                    .into(),
                ..Finding::default()
            });
        }
        Ok(())
    }

    /// Open incidents again to receivers that forget what they are not reminded of. No entries: nothing happened.
    fn remind(&mut self) {
        if self.clock.since(self.group.last_reminder) < REMIND_EVERY {
            return;
        }
        self.group.last_reminder = self.clock.mark();
        let forgetful: Vec<String> =
            self.desks.iter().filter(|(_, desk)| desk.forgets).map(|(name, _)| name.clone()).collect();
        let now = self.clock.now();
        for receiver in forgetful {
            let Some(worker) = self.receivers.get(&receiver) else { continue };
            let room = worker.capacity() / 2;
            let open = self.state.incidents.iter();
            let open = open.filter(|incident| !incident.is_over() && !self.is_silenced(incident, now));
            let routed = open.filter(|incident| {
                self.route_of(incident).is_some_and(|route| route.receivers.contains(&receiver))
            });
            for incident in routed.take(room) {
                let finding =
                    Finding { time: incident.first, ..about(incident, incident.title.clone(), None, now) };
                let alert = Alert {
                    id: format!("{REMINDER}{}", incident.id),
                    incident: incident.id.clone(),
                    severity: incident.severity,
                    reason: Reason::Opened.as_str().to_owned(),
                    since: incident.first,
                    owed: Default::default(),
                    finding,
                };
                let notice = std::sync::Arc::new(self.notice_of(&alert, &receiver));
                let _ = worker.try_send(crate::deliver::Job { alert_id: alert.id, notice });
            }
        }
    }

    /// Incidents that nobody answers, and deadlines that come near.
    fn late(&self, now: Time) -> Vec<(Change, Vec<String>, Reason)> {
        let mut late = Vec::new();
        for incident in
            self.state.incidents.iter().filter(|incident| !incident.is_over() || !incident.clocks.is_empty())
        {
            if let Some((clock, share)) = lifecycle::warning(incident, now) {
                let mut change = lifecycle::base(incident, now);
                change.transition = Transition::ClockWarned;
                (change.clock, change.percent) = (Some(clock), Some(share));
                let receivers =
                    self.route_of(incident).map_or_else(Vec::new, |route| route.receivers.clone());
                late.push((change, receivers, Reason::Deadline));
            }
            let escalate = self.route_of(incident).and_then(|route| route.escalate.as_ref());
            if let Some(escalate) = escalate.filter(|it| {
                lifecycle::is_unanswered(incident, it.after.0, now) && !self.is_silenced(incident, now)
            }) {
                let mut change = lifecycle::base(incident, now);
                change.transition = Transition::Unanswered;
                late.push((change, escalate.receivers.clone(), Reason::Unanswered));
            }
        }
        late
    }

    fn deadline_words(&self, incident: &Incident, change: &Change) -> String {
        let clock = change.clock.as_deref().unwrap_or_default();
        let rule = self.policies.clocks.iter().find(|rule| rule.id == clock);
        let due = incident.clocks.get(clock).and_then(|clock| clock.due);
        format!(
            "{}: {} % of the time is gone, due {}. Source: {}. Whether and whom to notify is decided by people; \
             crmwarden sends nothing to an authority.",
            rule.map_or(clock, |rule| &rule.title),
            change.percent.unwrap_or_default(),
            due.map_or_else(|| "promptly".to_owned(), |due| due.to_string()),
            rule.map_or("no longer in the policies", |rule| &rule.source),
        )
    }

    /// Receivers for which alerts were held back in an hour that is over.
    fn digests(&self, now: Time) -> Vec<(String, Finding)> {
        let hour = now.seconds().div_euclid(3600);
        let due = self.state.budgets.iter().filter(|(_, spent)| !spent.held.is_empty() && spent.hour < hour);
        due.map(|(receiver, spent)| {
            let count: u64 = spent.held.values().sum();
            let rules: Vec<String> = spent.held.iter().map(|(rule, count)| format!("{rule}: {count}")).collect();
            let finding = Finding {
                rule: "operation.digest".into(),
                severity: spent.severity.unwrap_or(Severity::Low),
                title: format!("{count} more alerts were held back within an hour"),
                detail: Some(format!("More than this receiver's budget. By rule: {}.", rules.join(", "))),
                time: now,
                key: format!("operation.digest|{receiver}"),
                next: "See `crmwarden incidents` for all of them: every one is recorded. Look for what caused the \
                       storm before looking at single alerts."
                    .into(),
                ..Finding::default()
            };
            (receiver.clone(), finding)
        })
        .collect()
    }
}

/// What an alert about an incident as a whole says.
fn about(incident: &Incident, title: String, detail: Option<String>, now: Time) -> Finding {
    Finding {
        rule: incident.rule.clone(),
        severity: incident.severity,
        title,
        detail,
        time: now,
        source: incident.source.clone(),
        actor: incident.actor.clone(),
        actor_name: incident.actor_name.clone(),
        key: incident.key.clone(),
        window_seconds: incident.window_seconds,
        next: format!(
            "Look at it with `crmwarden incidents show {0}`, then acknowledge it or move it on: \
             `crmwarden incidents ack {0} --reason …`.",
            incident.id
        ),
        about: incident.about.clone(),
        ..Finding::default()
    }
}
