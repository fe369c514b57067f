//! What follows from evidence: findings join incidents, incidents owe alerts, snapshots become grants.
//!
//! Everything decided here is an entry of the same group as its evidence, and is applied to the state at
//! once, by the same functions that read it back after a restart.

use crate::alert::route::{self, Subject};
use crate::alert::{Anchor, Notice, Reason};
use crate::anchor::{self, Fault, Taken};
use crate::deliver::{Job, Report};
use crate::incident::{Change, Decision, Transition};
use crate::inspect::dlp;
use crate::inspect::privilege::SnapshotResult;
use crate::model::finding::FindingKind;
use crate::model::grant::GrantsLine;
use crate::model::incident::{Alert, IncidentState};
use crate::model::json::Object;
use crate::model::{Finding, Severity, System, Time};
use crate::pipeline::{Evictions, Writer};
use crate::response::Owing;
use crate::state::State;
use crate::trail::TrailError;
use crate::trail::verify::Outcome;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Alerts owed at a time; beyond it findings and incidents are recorded and no further alert is owed.
pub const OWED_MAX: usize = 100_000;
/// What a rule had to forget is a finding once in this time, with the sum.
pub const EVICTIONS_EVERY: Duration = Duration::from_secs(3600);
/// Alerts handed to one receiver's worker at a time.
const HANDED_MAX: usize = 64;

/// Something that people may see, once a durable checkpoint covers it.
#[derive(Clone, Debug)]
pub enum Shown {
    /// A finding and the incident it belongs to.
    Finding(Box<Finding>, Option<String>),
    /// An incident opened or became worse; who will be told.
    Incident {
        /// Its id.
        id: String,
        /// Severity now.
        severity: Severity,
        /// Title of the finding behind it.
        title: String,
        /// Receivers.
        receivers: Vec<String>,
    },
    /// A snapshot of grants ended.
    Grants {
        /// Source.
        source: String,
        /// Rows.
        rows: u64,
        /// Whether it proves what is not granted.
        complete: bool,
        /// Grants added and removed.
        changes: (u64, u64),
    },
    /// What became of an alert.
    Delivery(Report),
    /// Something about a source: a new file, a rotation, a loss.
    Notice {
        /// In words, masked.
        text: String,
        /// Whether records may be lost.
        gap: bool,
    },
}

/// A witness knows another history of this trail.
fn contradicted(target: &str, size: u64, fault: &Fault, now: Time) -> Finding {
    Finding {
        rule: "operation.trail_contradicted".into(),
        severity: Severity::Critical,
        title: format!("The witness {target} says that it has seen another audit trail under this name"),
        detail: Some(format!("At {size} entries: {fault}.")),
        time: now,
        key: format!("operation.trail_contradicted|{target}"),
        window_seconds: 86_400,
        controls: vec!["pci-dss/10.3.4".into(), "pci-dss/10.7.2".into()],
        next: "Stop the daemon, copy the state and the keys aside, and run crmwarden verify with a checkpoint from \
               outside. Was an older state put back, does a copy of this host run, or is the witness wrong?"
            .into(),
        ..Finding::default()
    }
}

/// Every text of a finding in which something of a source can stand.
pub fn each_text(finding: &mut Finding, mut take: impl FnMut(&mut String)) {
    let texts = [&mut finding.title, &mut finding.key, &mut finding.next].into_iter();
    let optional = [
        &mut finding.detail,
        &mut finding.source,
        &mut finding.actor,
        &mut finding.actor_name,
        &mut finding.target,
        &mut finding.locator,
        &mut finding.field,
    ];
    texts.chain(optional.into_iter().flatten()).for_each(&mut take);
}

/// Takes out who it was and which records, wherever in a finding they stand.
fn hide_persons(finding: &mut Finding) {
    let persons: Vec<String> = [&finding.actor, &finding.actor_name].into_iter().flatten().cloned().collect();
    each_text(finding, |text| {
        for person in persons.iter().filter(|person| !person.is_empty()) {
            *text = text.replace(person.as_str(), "[person]");
        }
    });
    (finding.actor, finding.actor_name, finding.target, finding.locator) = (None, None, None, None);
    // What a rule shows of an event or a group may name others.
    finding.detail = None;
}

/// The evictions that a start finds: earlier runs told them.
pub fn known_evictions(state: &State) -> BTreeMap<String, Evictions> {
    let known = |count: &u64| Evictions { counted: *count, told: *count, at: None };
    state.engine.evicted().iter().map(|(rule, count)| (rule.clone(), known(count))).collect()
}

impl Writer {
    /// A finding becomes an entry; where it opens or worsens an incident, an alert is owed.
    pub fn find(&mut self, mut finding: Finding) {
        // Findings are shown and sent as they read back from the trail.
        let mask = self.mask;
        each_text(&mut finding, |text| {
            if let Some(masked) = mask(text) {
                *text = masked;
            }
        });
        let (rule, severity) = (finding.rule.clone(), finding.severity);
        self.after(move |metrics| metrics.finding(&rule, severity));
        let decision = self.state.incidents.consider(&finding);
        let incident = match &decision {
            Decision::Recorded => None,
            Decision::Joins(id) => Some(id.clone()),
            Decision::Escalates(id) => {
                self.change(&finding, id.clone(), Transition::Escalated);
                Some(id.clone())
            }
            Decision::Opens => {
                let id = format!("INC-{}", self.next_index());
                self.change(&finding, id.clone(), Transition::Opened);
                Some(id)
            }
        };
        let index = self.next_index();
        self.group.bodies.push("finding", |out| {
            let mut out = Object::members(out, mask);
            finding.write(&mut out);
            if let Some(incident) = &incident {
                out.word("incident", incident);
            }
        });
        self.state.finding(index, &finding, incident.as_deref());
        match (&decision, &incident) {
            (Decision::Opens, Some(id)) => self.tell(id, Reason::Opened),
            (Decision::Escalates(_), Some(id)) => self.tell(id, Reason::Escalated),
            _ => {}
        }
        self.group.unshown.push(Shown::Finding(Box::new(finding), incident));
    }

    fn change(&mut self, finding: &Finding, id: String, transition: Transition) {
        let mut change = Change::of(finding, id, transition);
        change.at = Some(self.clock.now());
        if let (Transition::Escalated, Some(known)) = (transition, self.state.incidents.get(&change.incident))
        {
            // A finding says nothing about where people are with it.
            change.state = known.state;
        }
        let mask = self.mask;
        self.group.bodies.push("incident", |out| change.write(&mut Object::members(out, mask)));
        self.state.incidents.apply_change(&change);
    }

    fn tell(&mut self, incident: &str, reason: Reason) {
        // The finding as it will read back from the trail: the one applied last.
        let finding = self.state.last_finding().map(|(_, finding)| finding.clone()).unwrap_or_default();
        let system = finding.source.as_ref().and_then(|source| self.systems.get(source)).copied();
        let subject = Subject::of(&finding, system);
        let receivers: Vec<String> =
            route::receivers(&self.routes, &subject).into_iter().map(str::to_owned).collect();
        self.group.unshown.push(Shown::Incident {
            id: incident.to_owned(),
            severity: finding.severity,
            title: finding.title.clone(),
            receivers: receivers.clone(),
        });
        self.owe(&Owing { finding: &finding, incident, reason, receivers, recorded: true });
    }

    /// A loss, or what may be one, is evidence and a finding; other decisions are for the log.
    pub fn notice(&mut self, source: &Arc<str>, notice: &crate::source::Notice) {
        let masked = |text: String| dlp::mask(&text).unwrap_or(text);
        let (text, file) = (masked(notice.to_string()), masked(notice.file.to_string()));
        self.group.unshown.push(Shown::Notice { text: text.clone(), gap: notice.gap() });
        if !notice.gap() {
            return;
        }
        let index = self.next_index();
        self.group.bodies.push("gap", |out| {
            let mut out = Object::members(out, dlp::mask);
            out.word("source", source);
            out.word("what", notice.what());
            out.str("file", &notice.file);
            out.str("text", &text);
            if let Some((from, to)) = notice.range() {
                out.uint("from", from);
                if let Some(to) = to {
                    out.uint("to", to);
                }
            }
        });
        self.find(Finding {
            rule: "gap.lost_bytes".into(),
            r#type: FindingKind::Gap,
            severity: Severity::High,
            title: format!("Records of {source} may be lost"),
            detail: Some(text),
            time: self.clock.now(),
            source: Some(source.to_string()),
            controls: vec!["pci-dss/10.7.2".into(), "pci-dss/10.3.4".into()],
            key: format!("gap.lost_bytes|{source}|{file}"),
            window_seconds: 3600,
            next: "Find out who truncated or removed the file, and read the missing range from its copy."
                .into(),
            about: vec![index],
            ..Finding::default()
        });
    }

    /// A line of a grants feed; the end of a snapshot becomes entries.
    pub fn grants(&mut self, source: &Arc<str>, stream: &str, line: GrantsLine) -> Result<(), TrailError> {
        let system = self.systems.get(&**source).copied().unwrap_or(System::Custom);
        let key = crate::pipeline::snapshot_key(source, stream);
        let line = match &mut self.privacy {
            Some(privacy) => privacy.grants_line(&key, system, line),
            None => line,
        };
        match self.group.snapshots.push(&key, system, line, &self.state.held) {
            Some(mut result) => {
                result.source = source.to_string();
                let done = self.snapshot(&result);
                if let Some(privacy) = &mut self.privacy {
                    privacy.end_grants();
                }
                done
            }
            None => Ok(()),
        }
    }

    /// A snapshot: its rows aside, one `grants` entry, one `grant` entry per change, then what policy says.
    fn snapshot(&mut self, result: &SnapshotResult) -> Result<(), TrailError> {
        let digest = result.digest.hex();
        let version = crate::state::snapshot_version(&digest, result.time, !result.complete);
        let again = self.state.snapshots.get(&result.source) == Some(&version);
        if again && result.added.is_empty() && result.removed.is_empty() {
            return Ok(()); // Read again after a restart in the middle of the next one.
        }
        self.trail.keep_grants(&digest, &result.rows_jsonl, self.clock.now())?;
        self.group.bodies.push("grants", |out| {
            let mut out = Object::members(out, dlp::mask);
            out.word("source", &result.source);
            out.word("system", result.system.as_str());
            out.opt("tenant", &result.tenant);
            out.str("query", &result.query);
            if let Some(time) = result.time {
                out.time("time", time);
            }
            out.uint("rows", result.rows);
            if let Some(rows) = result.rows_in_source {
                out.uint("rows_in_source", rows);
            }
            out.uint("grants", result.grants);
            out.bool("partial", !result.complete);
            if !result.lacks.is_empty() {
                out.list("lacks", result.lacks.iter().map(|lack| lack.as_str()));
            }
            out.uint("added", result.added.len() as u64);
            out.uint("removed", result.removed.len() as u64);
            out.word("digest", &digest);
        });
        let index = self.next_index() - 1;
        self.state.begin_grants(result.scope(), &result.source, result.complete, version);
        self.changes(result)?;
        let (source, grants) = (result.source.clone(), result.grants);
        self.after(move |metrics| metrics.grants(&source, grants));
        let now = self.clock.now();
        // A snapshot dated ahead must not hold its incidents open for years.
        let time = result.time.filter(|time| *time <= now.plus_seconds(300)).unwrap_or(now);
        let mut findings = Vec::new();
        let tenant = result.tenant.as_deref();
        self.policies.access.snapshot(&self.state.held, result.system, tenant, time, &mut findings);
        self.group.unshown.push(Shown::Grants {
            source: result.source.clone(),
            rows: result.rows,
            complete: result.complete,
            changes: (result.added.len() as u64, result.removed.len() as u64),
        });
        for mut finding in findings {
            finding.source.get_or_insert_with(|| result.source.clone());
            finding.about = vec![index];
            if let Some(privacy) = &mut self.privacy {
                privacy.learn_granted(&finding);
            }
            self.find(finding);
        }
        Ok(())
    }

    /// One `grant` entry per change of a snapshot. Where a principal's names are details, the first entry that
    /// adds something to them commits to them.
    fn changes(&mut self, result: &SnapshotResult) -> Result<(), TrailError> {
        let mask = self.mask;
        let mut told: Option<(&str, Option<&str>)> = None;
        let changes = result.added.iter().map(|grant| (grant, true));
        for (grant, added) in changes.chain(result.removed.iter().map(|grant| (grant, false))) {
            let (index, who) = (self.next_index(), (grant.principal.as_str(), grant.name.as_deref()));
            let tell = added && told.replace(who) != Some(who);
            let committed = match self.privacy.as_mut().filter(|_| tell) {
                Some(privacy) => privacy.keep_grant(index, grant),
                None => None,
            };
            self.group.bodies.push("grant", |out| {
                let mut out = Object::members(out, mask);
                out.word("change", if added { "added" } else { "removed" });
                grant.write(&mut out);
                if let Some(committed) = &committed {
                    out.raw("committed", committed);
                }
            });
            self.state.grant(grant, added);
            if self.group.bodies.bytes() > 4 * crate::pipeline::GROUP_BYTES {
                self.commit()?; // The position waits for the last part, so nothing is lost between.
                self.begin()?;
            }
        }
        Ok(())
    }

    /// What people see names people: pseudonyms that are known become what they stand for.
    pub fn resolve(&self, shown: &mut Shown) {
        let Some(privacy) = &self.privacy else { return };
        match shown {
            Shown::Finding(finding, _) => each_text(finding, |text| privacy.show(text)),
            Shown::Incident { title, .. } => privacy.show(title),
            Shown::Grants { .. } | Shown::Delivery(_) | Shown::Notice { .. } => {}
        }
    }

    /// Hands owed alerts to their receivers' workers. Only called when a checkpoint covers everything.
    pub fn dispatch(&mut self) {
        let owed: usize = self.state.outbox.values().map(|alert| alert.owed.len()).sum();
        let room = self.receivers.values().any(|worker| worker.capacity() > 0);
        if owed == self.group.handed.len() && owed == 0 || !room {
            return;
        }
        let mut jobs = Vec::new();
        for alert in self.state.outbox.values() {
            for receiver in alert.owed.keys() {
                let key = (alert.id.clone(), receiver.clone());
                let Some(worker) = self.receivers.get(receiver) else { continue };
                let free = worker.capacity().min(HANDED_MAX);
                let planned =
                    jobs.iter().filter(|(_, name, _): &&(String, String, _)| name == receiver).count();
                if planned < free && !self.group.handed.contains(&key) {
                    jobs.push((
                        alert.id.clone(),
                        receiver.clone(),
                        Arc::new(self.notice_of(alert, receiver)),
                    ));
                }
            }
        }
        for (alert_id, receiver, notice) in jobs {
            let Some(worker) = self.receivers.get(&receiver) else { continue };
            if worker.try_send(Job { alert_id: alert_id.clone(), notice }).is_ok() {
                self.group.handed.insert((alert_id, receiver));
            }
        }
        let outbox = &self.state.outbox;
        self.group.handed.retain(|(alert, receiver)| {
            outbox.get(alert).is_some_and(|alert| alert.owed.contains_key(receiver))
        });
    }

    /// What a receiver gets of an alert.
    pub fn notice_of(&self, alert: &Alert, receiver: &str) -> Notice {
        let mut finding = alert.finding.clone();
        if self.desks.get(receiver).is_some_and(|desk| desk.hides_persons) {
            hide_persons(&mut finding);
        } else if let Some(privacy) = &self.privacy {
            each_text(&mut finding, |text| privacy.show(text));
        }
        let findings = self.state.incidents.get(&alert.incident).map_or(1, |incident| incident.findings);
        Notice {
            deployment: self.about.deployment.clone(),
            alert: alert.id.clone(),
            incident: alert.incident.clone(),
            severity: alert.severity,
            reason: Reason::parse(&alert.reason).unwrap_or(Reason::Opened),
            title: finding.title,
            detail: finding.detail,
            actor: finding.actor,
            actor_name: finding.actor_name,
            source: finding.source,
            target: finding.target,
            field: finding.field,
            locators: finding.locator.iter().cloned().collect(),
            entries: finding.about.clone(),
            runbook: self.policies.runbooks.get(&finding.rule).map(|path| path.display().to_string()),
            rule: finding.rule,
            policy: finding.policy,
            controls: finding.controls,
            next: finding.next,
            event_time: finding.time,
            observed: finding.time.plus_seconds(finding.delay_seconds.unwrap_or(0) as i64),
            delay_seconds: finding.delay_seconds,
            findings,
            anchor: self.anchor_of(&finding.about),
            checkpoint: Some(self.trail.signed_note().to_owned()),
            verify: vec![format!("crmwarden verify {}", self.about.state)],
            host: self.about.host.clone(),
            ..Notice::default()
        }
    }

    /// Whether somebody off this host has confirmed these entries.
    fn anchor_of(&self, entries: &[u64]) -> Anchor {
        match (self.anchors.confirmed(), entries.iter().max()) {
            (Some((size, by)), Some(newest)) if *newest < size => {
                Anchor::Anchored { size, by: by.to_owned() }
            }
            _ => Anchor::Unanchored,
        }
    }

    /// The daemon's own verification of the whole trail: an entry, a metric, and where the trail is not what
    /// was signed a critical incident, after whose alerts the daemon stops.
    pub fn verified(&mut self, outcome: &Outcome) -> Result<(), TrailError> {
        let intact = outcome.holds();
        self.begin()?;
        let index = self.next_index();
        self.group.bodies.push("verification", |out| {
            let mut out = Object::members(out, dlp::mask);
            out.bool("intact", intact);
            out.word("verdict", if intact { "ok" } else { outcome.verdict.as_str() });
            out.uint("size", outcome.size);
            out.word("root", &outcome.root);
            out.uint("damaged_ranges", outcome.damage.len() as u64);
        });
        let now = self.clock.now();
        self.after(move |metrics| metrics.verified(now, intact));
        if intact {
            return Ok(());
        }
        let place = outcome.damage.first().map_or_else(
            || outcome.notes.join("; "),
            |damage| {
                format!("entries {} to {} in {}: {}", damage.first, damage.last, damage.file, damage.why)
            },
        );
        self.find(Finding {
            rule: "operation.trail_damaged".into(),
            severity: Severity::Critical,
            title: format!("The audit trail is not what was signed ({})", outcome.verdict.as_str()),
            detail: Some(place.clone()),
            time: now,
            key: "operation.trail_damaged".into(),
            window_seconds: 86_400,
            controls: vec!["pci-dss/10.3.4".into(), "pci-dss/10.7.2".into()],
            next:
                "Copy the state and the keys aside, run crmwarden verify on the copy, and find out who could \
                   write to this host. The daemon stops after this alert."
                    .into(),
            about: vec![index],
            ..Finding::default()
        });
        self.group.end_damaged(self.clock.mark(), place);
        Ok(())
    }

    /// What became of a checkpoint at an anchor: kept, measured, and told where an outage begins or ends. A
    /// witness that has seen another trail is a critical incident: this one was rolled back or forked.
    pub fn anchored(&mut self, report: anchor::Report) -> Result<(), TrailError> {
        let (now, folder) = (self.clock.now(), self.trail.folder().to_owned());
        match self.anchors.take(&folder, report, now) {
            Taken::Anchored { target, size, time, again } => {
                self.metrics.anchor(&target, size, time);
                if let Some((confirmed, _)) = self.anchors.confirmed() {
                    self.metrics.anchored(confirmed);
                }
                if again {
                    tracing::info!("{target} takes checkpoints again: {size} entries are anchored");
                }
            }
            Taken::Failed { target, size, fault, first } => {
                self.metrics.anchor_failed(&target);
                if first {
                    tracing::warn!("the checkpoint of {size} entries is not anchored at {target}: {fault}");
                }
                if first && fault.contradicts() {
                    self.begin()?;
                    self.find(contradicted(&target, size, &fault, now));
                }
            }
        }
        Ok(())
    }

    /// A limit of the windows that made a rule forget is an operation finding, at most once in `every` a
    /// rule: what a rule forgot it can miss. The metric counts all of it at once.
    pub fn tell_evictions(&mut self, every: Duration) {
        let said = &self.group.evictions;
        let told = |rule: &String| said.get(rule).map_or(0, |said| said.told);
        let evicted = self.state.engine.evicted().iter().filter(|(rule, count)| told(rule) < **count);
        let untold: Vec<(String, u64)> = evicted.map(|(rule, count)| (rule.clone(), *count)).collect();
        for (rule, count) in untold {
            let now = self.clock.mark();
            let said = self.group.evictions.entry(rule.clone()).or_default();
            let more = count - std::mem::replace(&mut said.counted, count);
            let lately = said.at.is_some_and(|at| now.saturating_duration_since(at) < every);
            if !lately {
                (said.told, said.at) = (count, Some(now));
            }
            let evicted = rule.clone();
            self.after(move |metrics| metrics.evicted(&evicted, more));
            if lately {
                continue;
            }
            self.find(Finding {
                rule: "operation.window_evicted".into(),
                severity: Severity::Medium,
                title: format!("{rule} had to forget {count} groups or hits to stay within its memory"),
                time: self.clock.now(),
                key: format!("operation.window_evicted|{rule}"),
                window_seconds: 3600,
                next: "Look whether somebody floods the feed with made-up names; narrow the rule's group-by."
                    .into(),
                ..Finding::default()
            });
        }
    }

    /// Gauges that the state decides.
    pub fn measure(&self) {
        for (reason, count) in self.group.coverage.reasons() {
            self.metrics.not_observable(reason.as_str(), count);
        }
        let now = self.clock.now();
        let mut open = [0u64; Severity::ALL.len()];
        let (mut unseen, mut due): (Option<Time>, Option<Time>) = (None, None);
        for incident in self.state.incidents.iter().filter(|incident| !incident.is_over()) {
            if let Some(count) = open.get_mut(incident.severity as usize) {
                *count += 1;
            }
            let seen = incident.acknowledged.as_ref().is_some_and(|seen| now < seen.until);
            if let Some(opened) =
                incident.opened.filter(|_| !seen && incident.state == IncidentState::Detected)
            {
                unseen = Some(unseen.map_or(opened, |oldest| oldest.min(opened)));
            }
            let running = incident.clocks.values().filter(|clock| clock.done.is_none());
            for next in running.filter_map(|clock| clock.due) {
                due = Some(due.map_or(next, |first| first.min(next)));
            }
        }
        for (severity, count) in Severity::ALL.iter().zip(open) {
            self.metrics.incidents_open(*severity, count);
        }
        let silences = self.state.silences.values().filter(|silence| now < silence.until).count();
        self.metrics.waits(unseen, due, silences as u64);
        for receiver in self.receivers.keys() {
            self.metrics.alerts_owed(receiver, self.state.owed_to(receiver));
            let dead = self.state.dead.values().filter(|alert| alert.owed.contains_key(receiver)).count();
            self.metrics.alerts_dead(receiver, dead as u64);
        }
    }
}
