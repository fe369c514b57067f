//! Numbers about the daemon, in the Prometheus text format 0.0.4, and the listener that serves them.
//!
//! Invariants:
//! * every name begins with `crmwarden_`, uses base units, and passes `promtool check metrics`;
//! * label values come from closed sets only: configured names (source, receiver), rule ids of the policies
//!   in force, and enums. Never a user, an address, a record: whoever writes a log must not be able to
//!   grow our memory or to write into a dashboard;
//! * the process's start time is given by the caller. The stock process collector reads `/proc/stat`, which
//!   `ProcSubset=pid` hides, and would report 1970;
//! * a series exists from the moment its label is known, with 0, so that the first increase is seen by
//!   `increase()`.

pub mod serve;
mod values;

pub use serve::{Health, serve};
pub use values::Values;

use crate::deliver::Outcome;
use crate::model::event::DefectCode;
use crate::model::{Severity, Time};
use crate::policy::Policies;
use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// All metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    setup: Setup,
    sources: Sources,
    rules: Rules,
    alerts: Alerts,
    trail: Trail,
    anchors: Anchors,
}

/// What is in force.
struct Setup {
    config_info: IntGaugeVec,
    policy_info: IntGaugeVec,
    reload_success: IntGauge,
    reload_timestamp: Gauge,
}

struct Sources {
    lag_bytes: IntGaugeVec,
    lag_seconds: GaugeVec,
    feed_delay: GaugeVec,
    last_event: GaugeVec,
    records: IntCounterVec,
    bytes: IntCounterVec,
    events: IntCounterVec,
    duplicates: IntCounterVec,
    ingest: IntCounterVec,
    defects: IntCounterVec,
    grants: IntGaugeVec,
}

struct Rules {
    findings: IntCounterVec,
    evictions: IntCounterVec,
    not_observable: IntGaugeVec,
    incidents_open: IntGaugeVec,
    unacknowledged: Gauge,
    deadline: Gauge,
    silences: IntGauge,
}

struct Alerts {
    owed: IntGaugeVec,
    unrouted: IntCounter,
    silenced: IntCounter,
    held: IntCounter,
    dead: IntGaugeVec,
    deliveries: IntCounterVec,
}

struct Trail {
    entries: IntGauge,
    bytes: IntGauge,
    commits: IntCounter,
    commit_seconds: Histogram,
    checkpoint_entries: IntGauge,
    checkpoint_timestamp: Gauge,
    anchored_entries: IntGauge,
    verification_timestamp: Gauge,
    verification_success: IntGauge,
    disk_free: IntGauge,
}

struct Anchors {
    size: IntGaugeVec,
    timestamp: GaugeVec,
    failures: IntCounterVec,
}

/// Upper bounds of a commit's duration in seconds: from a fast disk's fsync to one that is dying.
const COMMIT_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Makes metrics and registers them.
struct Maker(Registry);

impl Maker {
    fn add<C: Collector + Clone + 'static>(&self, collector: Result<C, Error>) -> Result<C, Error> {
        let collector = collector?;
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::with_opts(Opts::new(format!("crmwarden_{name}"), help)))
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(Opts::new(format!("crmwarden_{name}"), help), labels))
    }
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::with_opts(Opts::new(format!("crmwarden_{name}"), help)))
    }
    fn real(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.add(Gauge::with_opts(Opts::new(format!("crmwarden_{name}"), help)))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(Opts::new(format!("crmwarden_{name}"), help), labels))
    }
    fn reals(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
        self.add(GaugeVec::new(Opts::new(format!("crmwarden_{name}"), help), labels))
    }
    fn commits(&self) -> Result<Histogram, Error> {
        let help = "Duration of commits to the trail, sync included.";
        let options = HistogramOpts::new("crmwarden_trail_commit_duration_seconds", help);
        self.add(Histogram::with_opts(options.buckets(COMMIT_BUCKETS.to_vec())))
    }
}

impl Setup {
    fn new(make: &Maker) -> Result<Setup, Error> {
        let reload = "Whether the last load of configuration and policies succeeded.";
        let at = "When they were last loaded with success, Unix time.";
        let digest = &["digest"];
        Ok(Setup {
            config_info: make.gauges(
                "config_info",
                "Always 1; digest of the configuration in force.",
                digest,
            )?,
            policy_info: make.gauges("policy_info", "Always 1; digest of the policies in force.", digest)?,
            reload_success: make.gauge("config_last_reload_success", reload)?,
            reload_timestamp: make.real("config_last_reload_success_timestamp_seconds", at)?,
        })
    }
}

impl Sources {
    fn new(make: &Maker) -> Result<Sources, Error> {
        let source = &["source"];
        let lag = "Age of the oldest data that is not read yet; 0 when all is read.";
        let delay = "Observed time minus event time of the newest record: the feed's own delay.";
        let newest = "Event time of the newest record, Unix time.";
        let duplicates = "Redelivered records that were recognised.";
        let ingest = "Pushes answered: taken, refused, told to come later, failed.";
        Ok(Sources {
            lag_bytes: make.gauges(
                "source_lag_bytes",
                "Bytes of the source that are not read yet.",
                source,
            )?,
            lag_seconds: make.reals("source_lag_seconds", lag, source)?,
            feed_delay: make.reals("source_feed_delay_seconds", delay, source)?,
            last_event: make.reals("source_last_event_timestamp_seconds", newest, source)?,
            records: make.counters("source_records_total", "Records read.", source)?,
            bytes: make.counters("source_bytes_total", "Bytes read.", source)?,
            events: make.counters("events_total", "Events that entered the trail.", source)?,
            duplicates: make.counters("duplicates_total", duplicates, source)?,
            ingest: make.counters("ingest_requests_total", ingest, &["source", "result"])?,
            defects: make.counters("defects_total", "Defects of records.", &["source", "code"])?,
            grants: make.gauges("grants", "Grants in the newest snapshot.", source)?,
        })
    }
}

impl Rules {
    fn new(make: &Maker) -> Result<Rules, Error> {
        let evictions = "Keys that a rule forgot because its window was full.";
        let unseen = "Statements of the policies that the feeds in use cannot show.";
        let open = "Incidents that are not closed, reviewed or false positives.";
        let unseen_since =
            "When the oldest incident that nobody acknowledged was opened, Unix time; 0 for none.";
        let due = "When the next notification that somebody started is due, Unix time; 0 for none.";
        Ok(Rules {
            findings: make.counters("findings_total", "Findings.", &["rule", "severity"])?,
            evictions: make.counters("evictions_total", evictions, &["rule"])?,
            not_observable: make.gauges("not_observable", unseen, &["reason"])?,
            incidents_open: make.gauges("incidents_open", open, &["severity"])?,
            unacknowledged: make.real("incidents_unacknowledged_oldest_timestamp_seconds", unseen_since)?,
            deadline: make.real("notification_next_due_timestamp_seconds", due)?,
            silences: make.gauge("silences_active", "Silences in force.")?,
        })
    }
}

impl Alerts {
    fn new(make: &Maker) -> Result<Alerts, Error> {
        let owed = "Alerts that the receiver has not got yet.";
        let unrouted = "Alerts that no route gave to a receiver.";
        let silenced = "Alerts that a silence kept from everybody.";
        let held = "Alerts that a receiver's budget turned into part of a digest.";
        let dead = "Alerts that the receiver refused for good and that can be sent again.";
        let deliveries = "Attempts to deliver alerts that were reported.";
        Ok(Alerts {
            owed: make.gauges("alerts_owed", owed, &["receiver"])?,
            unrouted: make.counter("alerts_unrouted_total", unrouted)?,
            silenced: make.counter("alerts_silenced_total", silenced)?,
            held: make.counter("alerts_held_total", held)?,
            dead: make.gauges("alerts_dead", dead, &["receiver"])?,
            deliveries: make.counters("deliveries_total", deliveries, &["receiver", "outcome"])?,
        })
    }
}

impl Trail {
    fn new(make: &Maker) -> Result<Trail, Error> {
        let covered = "Entries that the newest durable signed checkpoint covers.";
        let signed = "When the newest checkpoint was signed, Unix time.";
        let anchored = "Entries that a witness or time stamp outside of this host covers.";
        let verified = "When the trail was last verified, Unix time.";
        let whole = "Whether the last verification found the trail whole.";
        Ok(Trail {
            entries: make.gauge("trail_entries", "Entries of the trail.")?,
            bytes: make.gauge("trail_size_bytes", "Bytes of the trail's segments.")?,
            commits: make.counter("trail_commits_total", "Commits to the trail.")?,
            commit_seconds: make.commits()?,
            checkpoint_entries: make.gauge("checkpoint_entries", covered)?,
            checkpoint_timestamp: make.real("checkpoint_timestamp_seconds", signed)?,
            anchored_entries: make.gauge("anchored_entries", anchored)?,
            verification_timestamp: make.real("last_verification_timestamp_seconds", verified)?,
            verification_success: make.gauge("last_verification_success", whole)?,
            disk_free: make.gauge("state_disk_free_bytes", "Bytes free on the disk that holds the state.")?,
        })
    }
}

impl Anchors {
    fn new(make: &Maker) -> Result<Anchors, Error> {
        let target = &["target"];
        let size = "Entries that the newest checkpoint given to this anchor covers.";
        let newest = "When this anchor last took a checkpoint, Unix time; 0 before the first.";
        let failures = "Attempts to give this anchor a checkpoint that failed.";
        Ok(Anchors {
            size: make.gauges("anchor_size", size, target)?,
            timestamp: make.reals("anchor_timestamp_seconds", newest, target)?,
            failures: make.counters("anchor_failures_total", failures, target)?,
        })
    }
}

/// The series of every rule in force exist before its first finding: a detection has one severity, other rules
/// several.
pub fn know_rules(metrics: &Metrics, policies: &Policies) {
    for id in &policies.rule_ids {
        let detection = policies.detections.iter().find(|rule| rule.id == *id);
        match detection {
            Some(rule) => {
                metrics.know_rule(id, rule.severity);
                metrics.evicted(id, 0);
            }
            None => Severity::ALL.iter().for_each(|severity| metrics.know_rule(id, *severity)),
        }
    }
}

impl Metrics {
    /// All metrics at zero. `started` is when the process started; `version` and `rustc` name the build.
    pub fn new(started: Time, version: &str, rustc: &str) -> Result<Metrics, Error> {
        let make = Maker(Registry::new());
        let build =
            make.gauges("build_info", "Always 1; the labels name the build.", &["version", "rustc"])?;
        build.with_label_values(&[version, rustc]).set(1);
        make.real("process_start_time_seconds", "When the process started, Unix time.")?
            .set(seconds(started));
        let metrics = Metrics {
            setup: Setup::new(&make)?,
            sources: Sources::new(&make)?,
            rules: Rules::new(&make)?,
            alerts: Alerts::new(&make)?,
            trail: Trail::new(&make)?,
            anchors: Anchors::new(&make)?,
            registry: make.0,
        };
        for severity in Severity::ALL {
            metrics.incidents_open(*severity, 0);
        }
        Ok(metrics)
    }

    /// Names a source, so that its series exist from the start.
    pub fn know_source(&self, source: &str) {
        self.source_lag(source, 0, 0.0);
        self.read(source, 0, 0);
        self.events(source, 0);
        self.duplicates(source, 0);
    }

    /// Names a receiver, so that its series exist from the start.
    pub fn know_receiver(&self, receiver: &str) {
        self.alerts_owed(receiver, 0);
        for outcome in Outcome::WORDS {
            self.alerts.deliveries.with_label_values(&[receiver, outcome]).inc_by(0);
        }
    }

    /// Names an anchor, with what it took before this start, so that its series exist from then on.
    pub fn know_anchor(&self, target: &str, size: u64, at: Time) {
        self.anchor(target, size, at);
        self.anchors.failures.with_label_values(&[target]).inc_by(0);
    }

    /// Names a rule of the policies in force, so that its series exist from the start.
    pub fn know_rule(&self, rule: &str, severity: Severity) {
        self.rules.findings.with_label_values(&[rule, severity.as_str()]).inc_by(0);
    }

    /// The digest of the configuration in force; the one before is forgotten.
    pub fn config_in_force(&self, digest: &str) {
        self.setup.config_info.reset();
        self.setup.config_info.with_label_values(&[digest]).set(1);
    }

    /// The digest of the policies in force; the one before is forgotten.
    pub fn policy_in_force(&self, digest: &str) {
        self.setup.policy_info.reset();
        self.setup.policy_info.with_label_values(&[digest]).set(1);
    }

    /// A load or reload of configuration and policies ended.
    pub fn reloaded(&self, at: Time, success: bool) {
        self.setup.reload_success.set(i64::from(success));
        if success {
            self.setup.reload_timestamp.set(seconds(at));
        }
    }

    /// What a source has not read yet.
    pub fn source_lag(&self, source: &str, bytes: u64, age_seconds: f64) {
        self.sources.lag_bytes.with_label_values(&[source]).set(signed(bytes));
        self.sources.lag_seconds.with_label_values(&[source]).set(age_seconds);
    }

    /// The newest record of a source: when it happened, and how long it was under way.
    pub fn source_newest(&self, source: &str, event_time: Time, delay_seconds: f64) {
        self.sources.last_event.with_label_values(&[source]).set(seconds(event_time));
        self.sources.feed_delay.with_label_values(&[source]).set(delay_seconds);
    }

    /// Records and bytes were read.
    pub fn read(&self, source: &str, records: u64, bytes: u64) {
        self.sources.records.with_label_values(&[source]).inc_by(records);
        self.sources.bytes.with_label_values(&[source]).inc_by(bytes);
    }

    /// Events entered the trail.
    pub fn events(&self, source: &str, count: u64) {
        self.sources.events.with_label_values(&[source]).inc_by(count);
    }

    /// Names a source that is pushed to, so that its series exist from the start.
    pub fn know_ingest(&self, source: &str) {
        for result in ["taken", "refused", "later", "failed"] {
            self.sources.ingest.with_label_values(&[source, result]).inc_by(0);
        }
    }

    /// A push was answered with this HTTP status. An unknown source has no name here.
    pub fn ingest(&self, source: &str, status: u16) {
        let result = match status {
            200..=299 => "taken",
            429 => "later",
            400..=499 => "refused",
            _ => "failed",
        };
        self.sources.ingest.with_label_values(&[source, result]).inc();
    }

    /// Redelivered records were recognised.
    pub fn duplicates(&self, source: &str, count: u64) {
        self.sources.duplicates.with_label_values(&[source]).inc_by(count);
    }

    /// A record had a defect.
    pub fn defect(&self, source: &str, code: DefectCode) {
        self.sources.defects.with_label_values(&[source, code.as_str()]).inc();
    }

    /// A rule made a finding.
    pub fn finding(&self, rule: &str, severity: Severity) {
        self.rules.findings.with_label_values(&[rule, severity.as_str()]).inc();
    }

    /// A rule forgot keys because its window was full.
    pub fn evicted(&self, rule: &str, count: u64) {
        self.rules.evictions.with_label_values(&[rule]).inc_by(count);
    }

    /// Open incidents of a severity.
    pub fn incidents_open(&self, severity: Severity, count: u64) {
        self.rules.incidents_open.with_label_values(&[severity.as_str()]).set(signed(count));
    }

    /// Alerts that a receiver has not got yet.
    pub fn alerts_owed(&self, receiver: &str, count: u64) {
        self.alerts.owed.with_label_values(&[receiver]).set(signed(count));
    }

    /// An alert that no receiver took.
    pub fn alert_unrouted(&self) {
        self.alerts.unrouted.inc();
    }

    /// An alert that a silence covers.
    pub fn alert_silenced(&self) {
        self.alerts.silenced.inc();
    }

    /// Alerts that are held back for a digest.
    pub fn alerts_held(&self, count: u64) {
        self.alerts.held.inc_by(count);
    }

    /// Alerts that a receiver refused for good.
    pub fn alerts_dead(&self, receiver: &str, count: u64) {
        self.alerts.dead.with_label_values(&[receiver]).set(signed(count));
    }

    /// What waits for people: the oldest incident that nobody acknowledged, the next deadline, silences in force.
    pub fn waits(&self, unacknowledged: Option<Time>, deadline: Option<Time>, silences: u64) {
        self.rules.unacknowledged.set(unacknowledged.map_or(0.0, seconds));
        self.rules.deadline.set(deadline.map_or(0.0, seconds));
        self.rules.silences.set(signed(silences));
    }

    /// A worker reported an outcome.
    pub fn delivery(&self, receiver: &str, outcome: &Outcome) {
        self.alerts.deliveries.with_label_values(&[receiver, outcome.as_str()]).inc();
    }

    /// Grants in a source's newest snapshot.
    pub fn grants(&self, source: &str, count: u64) {
        self.sources.grants.with_label_values(&[source]).set(signed(count));
    }

    /// What the feeds in use cannot show, by reason. The reasons are words of the code.
    pub fn not_observable(&self, reason: &'static str, count: u64) {
        self.rules.not_observable.with_label_values(&[reason]).set(signed(count));
    }

    /// The trail's size.
    pub fn trail(&self, entries: u64, bytes: u64) {
        self.trail.entries.set(signed(entries));
        self.trail.bytes.set(signed(bytes));
    }

    /// A commit ended after so many seconds.
    pub fn commit(&self, duration_seconds: f64) {
        self.trail.commits.inc();
        self.trail.commit_seconds.observe(duration_seconds);
    }

    /// The newest durable checkpoint.
    pub fn checkpoint(&self, entries: u64, signed_at: Time) {
        self.trail.checkpoint_entries.set(signed(entries));
        self.trail.checkpoint_timestamp.set(seconds(signed_at));
    }

    /// Entries that somebody outside has confirmed.
    pub fn anchored(&self, entries: u64) {
        self.trail.anchored_entries.set(signed(entries));
    }

    /// An anchor took a checkpoint, and that is durable.
    pub fn anchor(&self, target: &str, size: u64, at: Time) {
        self.anchors.size.with_label_values(&[target]).set(signed(size));
        self.anchors.timestamp.with_label_values(&[target]).set(seconds(at));
    }

    /// An attempt to give an anchor a checkpoint failed.
    pub fn anchor_failed(&self, target: &str) {
        self.anchors.failures.with_label_values(&[target]).inc();
    }

    /// A verification ended.
    pub fn verified(&self, at: Time, success: bool) {
        self.trail.verification_timestamp.set(seconds(at));
        self.trail.verification_success.set(i64::from(success));
    }

    /// Bytes free where the state is.
    pub fn disk_free(&self, bytes: u64) {
        self.trail.disk_free.set(signed(bytes));
    }

    /// Everything as it stands now, for pages.
    pub fn values(&self) -> Values {
        Values::of_families(&self.registry.gather())
    }

    /// Everything in the text format.
    pub fn text(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn seconds(time: Time) -> f64 {
    time.micros() as f64 / 1e6
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
