//! The daemon's writer, real from policies to trail, on a clock that the test moves and with receivers'
//! workers that the test plays. Whatever takes a day takes a moment.

use super::Home;
use crmwarden::anchor::Anchoring;
use crmwarden::clock::{Clock, Hands};
use crmwarden::config::Config;
use crmwarden::consequence::Shown;
use crmwarden::daemon::{load_policies, record_start};
use crmwarden::deliver::{Job, Outcome, Report};
use crmwarden::inspect::dlp;
use crmwarden::metrics::Metrics;
use crmwarden::model::record::FormatContext;
use crmwarden::model::{Key, Time};
use crmwarden::pipeline::{About, Ended, Group, Pulse, ToWriter, Writer};
use crmwarden::source::{Batch, RawRecord};
use crmwarden::stage::{Feed, Stage};
use crmwarden::state::State;
use crmwarden::trail::disk::{Disk, Lock, RealDisk};
use crmwarden::trail::quarter::Quarters;
use crmwarden::trail::recover::open;
use crmwarden::trail::{Paths, TrailError, read};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// A writer at work.
pub struct Running {
    pub writer: Writer,
    pub hands: Hands,
    pub metrics: Arc<Metrics>,
    /// What was shown, deliveries apart.
    pub shown: Arc<Mutex<Vec<Shown>>>,
    jobs: BTreeMap<String, Receiver<Job>>,
    stage: Stage,
    pub key: Key,
    pub matching: Key,
    read: u64,
    _lock: Lock,
}

/// Starts a writer on the configuration of this folder, as the daemon does.
pub fn start(home: &Home, hands: &Hands) -> Running {
    let config = Config::read(&home.path("crmwarden.yaml")).map_err(|p| p[0].to_string()).unwrap();
    let policies = load_policies(&config).map_err(|p| p[0].to_string()).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    let clock = Clock::Hands(hands.clone());
    let opened = open(&disk, &paths, &config.deployment, clock.now()).unwrap();
    let mut trail = opened.trail;
    let mut state = State::new(&policies).unwrap();
    state.rows.ask(&config.overlaps());
    let next = trail.next_index();
    read::each(&RealDisk, trail.folder(), 0, next, &mut |entry| state.apply(entry)).unwrap();
    state.policies(&policies);
    record_start(&mut trail, &config, &policies, clock.now()).unwrap();

    let quarters = Quarters::open(disk, &config.keys, clock.now()).unwrap();
    let stage = Stage {
        feeds: config
            .sources
            .iter()
            .map(|source| {
                let context = FormatContext { zone: source.zone.clone() };
                (
                    Arc::from(source.name.as_str()),
                    Feed { format: source.format, context, overlaps: source.overlap().is_some() },
                )
            })
            .collect(),
        dlp: Arc::clone(&policies.dlp),
        access: Arc::clone(&policies.access),
        places: None,
        stateless: state.engine.stateless(),
        others: quarters.others().to_vec(),
        veil: None,
    };
    let (key, matching) = (quarters.key().clone(), opened.keys.matching);
    let metrics = Arc::new(Metrics::new(clock.now(), "test", "test").unwrap());
    let shown = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&shown);
    let (mut receivers, mut jobs) = (BTreeMap::new(), BTreeMap::new());
    for (name, _) in &config.receivers {
        let (send, receive) = tokio::sync::mpsc::channel(64);
        receivers.insert(name.clone(), send);
        jobs.insert(name.clone(), receive);
    }
    let mut writer = Writer {
        trail,
        state,
        routes: config.routes.clone(),
        receivers,
        desks: config.desks.clone(),
        systems: config.sources.iter().map(|s| (s.name.clone(), s.format.system())).collect(),
        expected: config.sources.iter().filter_map(|s| Some((s.name.clone(), s.expect_every?))).collect(),
        metrics: Arc::clone(&metrics),
        spent: mpsc::channel().0,
        pulse: Arc::new(Pulse::default()),
        alive: Box::new(|| ()),
        show: Box::new(move |what| match what {
            Shown::Delivery(_) => {}
            other => told.lock().unwrap().push(other.clone()),
        }),
        about: About::default(),
        heartbeat: Duration::from_secs(config.heartbeat_seconds),
        once: false,
        group: Group::new(&clock, dlp::mask),
        privacy: None,
        mask: dlp::mask,
        clock,
        anchors: Anchoring::new(
            Default::default(),
            Duration::from_secs(600),
            Arc::new(RealDisk),
            Default::default(),
        ),
        policies,
    };
    writer.start().unwrap();
    Running {
        writer,
        hands: hands.clone(),
        metrics,
        shown,
        jobs,
        stage,
        key,
        matching,
        read: 0,
        _lock: opened.lock,
    }
}

impl Running {
    pub fn step(&mut self, message: Option<ToWriter>) -> bool {
        self.writer.step(message).unwrap()
    }

    /// So much time passes, and the writer has nothing to do.
    pub fn pass(&mut self, time: Duration) {
        self.hands.advance(time);
        self.step(None);
    }

    /// Records of a source arrive.
    pub fn records(&mut self, source: &str, header: Option<&[&str]>, lines: &[String]) {
        let (mut text, mut records) = (String::new(), Vec::new());
        for line in lines {
            let start = text.len();
            text.push_str(line);
            records.push(RawRecord { start, end: text.len(), offset: self.read + start as u64, odd: None });
        }
        self.read += text.len() as u64;
        self.batch(Batch {
            source: Arc::from(source),
            stream: "feed".into(),
            file: Arc::from("feed"),
            header: header.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            bytes_read: text.len() as u64,
            text,
            records,
            blank: 0,
            raw_key: self.key.clone(),
            after: serde_json::json!({ "offset": self.read }),
            retired: Vec::new(),
            notices: Vec::new(),
            receipt: None,
        });
    }

    /// A batch arrives.
    pub fn batch(&mut self, batch: Batch) {
        let observed = self.writer.clock.now();
        self.stage.learn(&batch.raw_key);
        let staged = self.stage.work(batch, observed);
        self.step(Some(ToWriter::Staged(Box::new(staged))));
    }

    /// Alerts that were handed to a receiver's worker since the last call.
    pub fn handed(&mut self, receiver: &str) -> Vec<String> {
        let jobs = self.jobs.get_mut(receiver).unwrap();
        std::iter::from_fn(|| jobs.try_recv().ok()).map(|job| job.alert_id).collect()
    }

    /// What became of an alert.
    pub fn report(&mut self, receiver: &str, alert: &str, outcome: Outcome) {
        let report = Report { receiver: receiver.into(), alert_id: alert.into(), outcome };
        self.step(Some(ToWriter::Delivered(report)));
    }

    pub fn end(self) -> Result<Ended, TrailError> {
        self.writer.end().map(|(ended, _)| ended)
    }

    pub fn now(&self) -> Time {
        self.writer.clock.now()
    }

    /// The value of a metric without labels, or with these.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }
}
