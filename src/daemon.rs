//! The daemon's life: policies → lock → recover → wire → READY → drain → stop.
//!
//! Everything long-lived is started here and nowhere else: the reader and the stage (a thread each), the
//! receivers' workers, the anchors' tasks and the listeners (on the async runtime), the control socket. The
//! writer runs on the thread that calls [`run`]; when it ends, everything ends.

mod feeds;
pub mod offline;
mod outside;
mod patience;
mod reload;
mod remember;

use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::consequence::Shown;
use crate::deliver::{self, Worker};
use crate::error::Failure;
use crate::inspect::dlp;
use crate::metrics::{Health, Metrics};
use crate::model::event::System;
use crate::model::json::{Mask, Object};
use crate::model::record::FormatContext;
use crate::model::{Key, Pseudonyms, Time};
use crate::pipeline::{About, BATCHES_WAITING, Ended, Group, Pulse, Reader, ToStage, ToWriter, Writer};
use crate::policy::Policies;
use crate::policy::framework::InForce;
use crate::source::file::Mode;
use crate::stage::veil::Veil;
use crate::stage::{Feed, Stage};
use crate::state::State;
use crate::trail::detail::{Privacy, check_privacy};
use crate::trail::disk::{self, Disk, RealDisk};
use crate::trail::pack::pack;
use crate::trail::quarter::Quarters;
use crate::trail::recover::{Opened, open_as};
use crate::trail::verify::{Given, verify};
use crate::trail::{Cursors, Paths, Trail, TrailError};
use crate::yaml::Problem;
use crate::{control, format, operator, pipeline};
use feeds::{Feeds, Made};
use patience::Patience;
use reload::Reload;
use remember::remember;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Largest policy file.
const POLICY_MAX: u64 = 1 << 20;
/// The daemon verifies its whole trail so often.
const VERIFY_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Most policy files.
const POLICIES_MAX: usize = 4096;

/// What a run is asked for.
pub struct Run {
    /// The configuration.
    pub config: Config,
    /// `Follow` for the daemon; `Once` and `Final` read to the present end.
    pub mode: Mode,
    /// Formats by source that replace the configured ones. Only tests fill it.
    pub formats: HashMap<String, &'static dyn format::Format>,
    /// Called with what may be shown.
    pub show: Box<dyn FnMut(&Shown) + Send>,
    /// Called once everything runs; gets where metrics are served and how to stop.
    pub ready: Box<dyn FnOnce(&Ready) + Send>,
    /// A metrics port in use is replaced by a free one (the demo), not refused.
    pub any_port: bool,
}

/// A running daemon, for who started it.
pub struct Ready {
    /// Where metrics are served.
    pub metrics: Option<std::net::SocketAddr>,
    /// Where `listen:` is served.
    pub listens: Option<std::net::SocketAddr>,
    /// In the demo: a code that signs in to the console once.
    pub invitation: Option<String>,
    /// Sends a stop.
    pub stop: SyncSender<ToWriter>,
    /// What recovery did.
    pub recovered: Vec<String>,
    /// Whether the trail was just created.
    pub created: bool,
}

/// How a run ended: with events per source since entry 0.
pub struct Done {
    /// The writer's end.
    pub ended: Ended,
    /// Events by source.
    pub events: BTreeMap<String, u64>,
}

/// The policy files of a folder: `<kind>/<name>.yaml`, as name and text.
pub fn policy_files(folder: &Path) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let shown = |path: &Path| path.display().to_string();
    let fault = |path: &Path, error: std::io::Error| {
        vec![Problem::file(shown(path), format!("cannot be read: {error}"))]
    };
    let mut files = Vec::new();
    for kind in disk::names(folder).map_err(|error| fault(folder, error))? {
        let dir = folder.join(&kind);
        if !dir.is_dir() {
            continue;
        }
        for name in disk::names(&dir).map_err(|error| fault(&dir, error))? {
            let path = dir.join(&name);
            if !name.ends_with(".yaml") && !name.ends_with(".yml") || name.starts_with('.') {
                continue;
            }
            let bytes = disk::read_small(&path, POLICY_MAX).map_err(|error| fault(&path, error))?;
            let text = String::from_utf8(bytes.unwrap_or_default())
                .map_err(|_| vec![Problem::file(shown(&path), "is not UTF-8")])?;
            files.push((shown(&path), text));
        }
    }
    match files.len() {
        0..=POLICIES_MAX => Ok(files),
        more => {
            Err(vec![Problem::file(shown(folder), format!("{more} policy files; at most {POLICIES_MAX}"))])
        }
    }
}

/// Loads and proves the policies that a configuration names.
pub fn load_policies(config: &Config) -> Result<Policies, Vec<Problem>> {
    let files = match &config.policies {
        Some(folder) => policy_files(folder)?,
        None => Vec::new(),
    };
    let sets = format::sets(crate::places::PATHS);
    let sets: Vec<(&str, &[&str])> = sets.iter().map(|(name, paths)| (*name, paths.as_slice())).collect();
    let mut policies = Policies::load(&files, &sets)?;
    if let Some(folder) = config.policies.as_ref().map(|folder| folder.join("runbooks")) {
        // They are for people: what stands in them judges nothing, so they are no part of the digest.
        let names = disk::names(&folder).unwrap_or_default().into_iter().take(POLICIES_MAX);
        let rules = names.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()));
        policies.runbooks = rules.map(|rule| (rule.clone(), folder.join(format!("{rule}.md")))).collect();
    }
    Ok(policies)
}

/// Runs until everything is read (`Once`, `Final`) or until it is stopped.
pub fn run(mut run: Run) -> Result<Done, Failure> {
    quiet_panics();
    feeds::raise_descriptors();
    let seen = reload::seen(&run.config);
    let mut policies = load_policies(&run.config)?;
    let paths = Paths { state: run.config.state.clone(), keys: run.config.keys.clone() };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock = Clock::System;
    let started = clock.now();
    let mut patience = Patience::ask();
    let mut tell = |done, of| patience.told("reading the trail", done, of);
    check_privacy(&*disk, &paths, run.config.privacy)?;
    let made_as = (run.config.deployment.as_str(), run.config.privacy);
    let opened = open_as(&disk, &paths, made_as, started, &mut tell)?;
    let mut privacy = privacy(&disk, &run.config, &opened, &mut policies)?;
    let mut state = remember(&opened, &run.config, &policies, &mut patience)?;
    if let Some(privacy) = &mut privacy {
        let owed = state.outbox.values().flat_map(|alert| alert.finding.about.iter().copied());
        privacy.remember_entries(owed)?;
    }
    let quarters = Quarters::open(disk, &paths.keys, started.max(opened.trail.newest_time()))?;
    drop(patience);
    state.policies(&policies);
    let metrics = metrics(&run.config, &policies, started)?;
    // A signed size that begins at 0 would look like a trail that was cut.
    metrics.checkpoint(opened.trail.signed().size, opened.trail.newest_time());
    let listener = listener(&run.config, run.any_port)?;
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("no async runtime: {error}")))?;

    let pulse = Arc::new(Pulse::default());
    let (to_writer, inbox) = mpsc::sync_channel::<ToWriter>(BATCHES_WAITING);
    let (receivers, workers) = start_workers(&run.config, runtime.handle(), &to_writer);
    let anchors = outside::anchors(&run.config, &opened.trail, runtime.handle(), &to_writer)?;
    outside::know_anchors(&metrics, &run.config, &anchors);
    if let Some(listener) = listener {
        let (served, beat) = (Arc::clone(&metrics), Arc::clone(&pulse));
        runtime.spawn(async move {
            if let Err(error) = crate::metrics::serve(listener, served, move || health(&beat)).await {
                tracing::error!("metrics are not served any more: {error}");
            }
        });
    }
    let mut feeds = Feeds::new(&Made {
        config: &run.config,
        formats: &run.formats,
        matching: &opened.keys.matching,
        fingerprint: quarters.key(),
        cursors: opened.trail.cursors(),
        mode: run.mode,
    })?;
    let ingest = feeds.take_ingest(&clock, &metrics);
    let details = privacy.as_ref().map(|privacy| (privacy.folder(), privacy.pseudonyms().clone()));
    let reached = (&metrics, &to_writer);
    let frameworks = InForce::new(Mutex::new(policies.frameworks.clone()));
    let console =
        outside::console(&run.config, &opened.trail, reached, details, (&frameworks, run.any_port))?;
    let (console, invitation) = console.map_or((None, None), |(pages, code)| (Some(pages), code));
    let served = outside::listen(&run.config, &opened.trail, ingest, console)?;
    let listens = served.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
    if let Some((listener, pages)) = served {
        runtime.spawn(async move {
            if let Err(error) = crate::listen::serve(listener, pages).await {
                tracing::error!("`listen:` is not served any more: {error}");
            }
        });
    }
    control::serve(&paths.state.join("control.sock"), to_writer.clone())
        .map_err(|error| Failure::Runtime(format!("cannot serve the control socket: {error}")))?;
    stop_on_signals(&runtime, to_writer.clone());

    let Opened { mut trail, keys, lock, created, recovered, .. } = opened;
    if let Some(privacy) = privacy.as_mut().filter(|_| !trail.erasing().is_empty()) {
        let ranges = trail.erasing().to_vec();
        operator::finish_erasure(&mut trail, privacy.store(), &ranges, 0, clock.now())?;
        privacy.remember_again()?;
    }
    record_start(&mut trail, &run.config, &policies, clock.now())?;
    let stage = stage(&run, &policies, &state, &quarters, &keys.matching);
    let mask: Mask = if privacy.is_some() { dlp::mask_around } else { dlp::mask };
    let (sources, watch, feeding) = feeds.start(&runtime)?;
    let reader = Reader { sources, watch, quarters, clock: clock.clone(), mode: run.mode };
    let (spent, spent_by_writer) = mpsc::channel();
    let writer = Writer {
        spent,
        desks: run.config.desks.clone(),
        systems: systems(&run.config),
        expected: expected(&run.config),
        state,
        routes: run.config.routes.clone(),
        receivers,
        metrics,
        pulse: Arc::clone(&pulse),
        alive: watchdog(),
        anchors,
        show: std::mem::replace(&mut run.show, Box::new(|_| ())),
        about: about(&run.config),
        heartbeat: Duration::from_secs(run.config.heartbeat_seconds),
        once: run.mode != Mode::Follow,
        group: Group::new(&clock, mask),
        clock,
        privacy,
        mask,
        trail,
        policies,
    };
    if let (Some(alive), Mode::Follow) = (run.config.alive.clone(), run.mode) {
        let turning = Arc::clone(&pulse);
        runtime.spawn(deliver::alive::keep(alive, move || turning.writer.load(Ordering::Relaxed)));
    }
    if run.mode == Mode::Follow {
        keep_daily(&paths.state, &writer.trail, &to_writer, &pulse);
    }
    let (threads, to_stage) = start_threads(reader, (stage, spent_by_writer), &to_writer, &pulse)?;
    if run.mode == Mode::Follow {
        let reload = Reload {
            digest: writer.policies.digest.hex(),
            seen,
            config: Arc::new(run.config),
            stage: to_stage,
            writer: to_writer.clone(),
            asked: on_hangup(&runtime),
            pulse: Arc::clone(&pulse),
            frameworks,
            prepare: under(writer.privacy.as_deref()),
        };
        std::thread::spawn(move || reload.watch());
    } else {
        drop(to_stage); // The stage ends when the reader does.
    }
    let ready = Ready { metrics: address, listens, invitation, stop: to_writer.clone(), recovered, created };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    (run.ready)(&ready);
    drop(ready);

    let result = writer.run(&inbox);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    pulse.stop.store(true, Ordering::Relaxed);
    drop(inbox); // Whoever still wants to send is told to end.
    for thread in threads {
        let _ = thread.join();
    }
    feeding.end(&runtime);
    workers.iter().for_each(Worker::stop);
    runtime.shutdown_timeout(deliver::worker::STOP_GRACE);
    let _ = std::fs::remove_file(paths.state.join("control.sock"));
    drop(lock);
    let (ended, state) = result?;
    Ok(Done { ended, events: state.events })
}

/// What an erasable deployment needs at the writer; from here on its access policies know people by their
/// pseudonyms, as events and grants do.
fn privacy(
    disk: &Arc<dyn Disk>,
    config: &Config,
    opened: &Opened,
    policies: &mut Policies,
) -> Result<Option<Box<crate::privacy::Privacy>>, TrailError> {
    if config.privacy == Privacy::Plain {
        return Ok(None);
    }
    let matching = opened.keys.matching.clone();
    let (privacy, dropped) =
        crate::privacy::Privacy::open(disk, &config.state, &opened.trail, matching, &policies.access)?;
    if dropped > 0 {
        tracing::warn!("recovered: {dropped} details of entries that never came to be were dropped");
    }
    policies.access = Arc::new(policies.access.under(privacy.pseudonyms()));
    Ok(Some(Box::new(privacy)))
}

/// A panic is named by its place only: its message could hold a record.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!("a panic at {}", place.unwrap_or_else(|| "an unknown place".into()));
    }));
}

fn metrics(config: &Config, policies: &Policies, started: Time) -> Result<Arc<Metrics>, Failure> {
    let metrics = Metrics::new(started, env!("CARGO_PKG_VERSION"), "stable")
        .map_err(|error| Failure::Runtime(format!("metrics cannot be registered: {error}")))?;
    for source in &config.sources {
        metrics.know_source(&source.name);
    }
    for (name, _) in &config.receivers {
        metrics.know_receiver(name);
    }
    crate::metrics::know_rules(&metrics, policies);
    if let Ok(Some(text)) = disk::read_small(&config.file, 4 << 20) {
        metrics.config_in_force(&crate::model::Hash(Sha256::digest(&text).into()).hex());
    }
    metrics.policy_in_force(&policies.digest.hex());
    metrics.reloaded(started, true);
    Ok(Arc::new(metrics))
}

fn listener(config: &Config, any_port: bool) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = config.metrics else { return Ok(None) };
    match TcpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(_) if any_port => TcpListener::bind((address.ip(), 0))
            .map(Some)
            .map_err(|error| Failure::Runtime(format!("no free port on {}: {error}", address.ip()))),
        Err(error) => Err(Failure::Runtime(format!(
            "metrics cannot be served on {address}: {error}; choose another `metrics:` address, or \"off\""
        ))),
    }
}

type Jobs = BTreeMap<String, tokio::sync::mpsc::Sender<deliver::Job>>;

fn start_workers(
    config: &Config,
    runtime: &tokio::runtime::Handle,
    writer: &SyncSender<ToWriter>,
) -> (Jobs, Vec<Worker>) {
    let (results, reports) = mpsc::channel();
    let mut jobs = Jobs::new();
    let mut workers = Vec::new();
    for (name, receiver) in &config.receivers {
        let (send, receive) = tokio::sync::mpsc::channel(64);
        workers.push(deliver::spawn(name, receiver.clone(), runtime, receive, results.clone()));
        jobs.insert(name.clone(), send);
    }
    let writer = writer.clone();
    std::thread::spawn(move || {
        for report in reports {
            if writer.send(ToWriter::Delivered(report)).is_err() {
                return;
            }
        }
    });
    (jobs, workers)
}

fn health(pulse: &Pulse) -> Health {
    // The writer turns at least twice a second; a probe that sees no turn since the last one sees a stall.
    static LAST: Mutex<(u64, Option<std::time::Instant>)> = Mutex::new((0, None));
    let turns = pulse.writer.load(Ordering::Relaxed);
    let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if last.0 != turns || last.1.is_none() {
        *last = (turns, Some(std::time::Instant::now()));
    }
    let alive = last.1.is_none_or(|since| since.elapsed() < Duration::from_secs(30));
    let what = if alive { "turning" } else { "the writer has not turned for 30 s" };
    Health { alive, ready: alive && turns > 0, what: what.to_owned() }
}

fn stop_on_signals(runtime: &tokio::runtime::Runtime, writer: SyncSender<ToWriter>) {
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = tokio::task::spawn_blocking(move || drop(writer.send(ToWriter::Stop))).await;
    });
}

/// The first entries of a run: that it started, and what is in force.
pub fn record_start(
    trail: &mut crate::trail::Trail,
    config: &Config,
    policies: &Policies,
    now: Time,
) -> Result<(), TrailError> {
    trail.make_room(now)?;
    let mut bodies = crate::trail::Bodies::default();
    let mask = dlp::mask;
    bodies.push("start", |out| {
        let mut out = Object::members(out, mask);
        out.word("version", env!("CARGO_PKG_VERSION"));
        out.str("host", &host());
        out.uint("pid", u64::from(std::process::id()));
        out.uint("heartbeat_seconds", config.heartbeat_seconds);
        out.objects("sources", &config.sources, |source, out| {
            out.word("name", &source.name);
            out.word("format", source.format.name());
        });
    });
    bodies.push("policy", |out| {
        policies.write(&mut Object::members(out, mask));
    });
    trail.commit(&bodies, &Cursors::new(), now)?;
    Ok(())
}

fn stage(run: &Run, policies: &Policies, state: &State, quarters: &Quarters, matching: &Key) -> Stage {
    let feed = |source: &Source| Feed {
        format: run.formats.get(&source.name).copied().unwrap_or(source.format),
        context: FormatContext { zone: source.zone.clone() },
        overlaps: source.overlap().is_some(),
    };
    Stage {
        feeds: run
            .config
            .sources
            .iter()
            .map(|source| (Arc::from(source.name.as_str()), feed(source)))
            .collect(),
        dlp: Arc::clone(&policies.dlp),
        access: Arc::clone(&policies.access),
        stateless: state.engine.stateless(),
        others: quarters.others().to_vec(),
        places: run.config.places.clone(),
        veil: match run.config.privacy {
            Privacy::Plain => None,
            Privacy::Erasable => {
                Some(Veil::new(Pseudonyms::new(matching.clone()), Arc::clone(&policies.detections)))
            }
        },
    }
}

fn systems(config: &Config) -> BTreeMap<String, System> {
    config.sources.iter().map(|source| (source.name.clone(), source.format.system())).collect()
}

fn expected(config: &Config) -> BTreeMap<String, u64> {
    let expected =
        config.sources.iter().filter_map(|source| Some((source.name.clone(), source.expect_every?)));
    expected.collect()
}

fn about(config: &Config) -> About {
    About { deployment: config.deployment.clone(), host: host(), state: config.state.display().to_string() }
}

/// This machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Feeds the service manager's watchdog, at most twice in its interval.
fn watchdog() -> Box<dyn FnMut() + Send> {
    let Some(interval) = sd_notify::watchdog_enabled() else { return Box::new(|| ()) };
    let mut fed = std::time::Instant::now();
    Box::new(move || {
        if fed.elapsed() >= interval / 4 {
            fed = std::time::Instant::now();
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    })
}

/// Verifies the whole trail now and then once a day, beside everything else: a start reads only what came
/// after the cache, so damage before it is found here.
fn keep_daily(state: &Path, trail: &Trail, writer: &SyncSender<ToWriter>, pulse: &Arc<Pulse>) {
    let (state, writer, pulse) = (state.to_owned(), writer.clone(), Arc::clone(pulse));
    let (disk, folder, quiet) = (Arc::clone(trail.disk()), trail.folder().to_owned(), trail.housekeeping());
    std::thread::spawn(move || {
        while !pulse.stop.load(Ordering::Relaxed) {
            // What was compressed is verified right after.
            if let Err(error) = pack(&*disk, &folder, &quiet) {
                tracing::warn!("sealed segments stay as they are: {error}");
            }
            match verify(&state, &Given::default(), &mut |_| ()) {
                Ok(outcome) => {
                    if writer.send(ToWriter::Verified(Box::new(outcome))).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!("the trail could not be verified: {error}"),
            }
            std::thread::sleep(VERIFY_EVERY);
        }
    });
}

fn start_threads(
    reader: Reader,
    (stage, spent): (Stage, mpsc::Receiver<pipeline::Spent>),
    writer: &SyncSender<ToWriter>,
    pulse: &Arc<Pulse>,
) -> Result<(Vec<std::thread::JoinHandle<()>>, SyncSender<ToStage>), Failure> {
    let (to_stage, staged) = mpsc::sync_channel::<ToStage>(BATCHES_WAITING);
    let (reading, working) = (Arc::clone(pulse), Arc::clone(pulse));
    let (writer, for_policies) = (writer.clone(), to_stage.clone());
    let died = writer.clone();
    let spawn = |name: &'static str, body: Box<dyn FnOnce() + Send>| {
        let builder = std::thread::Builder::new().name(name.into());
        let died = died.clone();
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(body)).is_err() {
                let _ = died.send(ToWriter::Died(name));
            }
        };
        builder.spawn(guarded).map_err(|error| Failure::Runtime(format!("no thread: {error}")))
    };
    let threads = vec![
        spawn("reader", Box::new(move || pipeline::read(reader, &to_stage, &reading)))?,
        spawn("stage", Box::new(move || pipeline::work(stage, &staged, &spent, &writer, &working)))?,
    ];
    Ok((threads, for_policies))
}

/// Set by SIGHUP: the policies are to be read again.
fn on_hangup(runtime: &tokio::runtime::Runtime) -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&asked);
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            told.store(true, Ordering::Relaxed);
        }
    });
    asked
}

/// In an erasable deployment policies know people by their pseudonyms.
fn under(privacy: Option<&crate::privacy::Privacy>) -> Box<dyn Fn(Policies) -> Policies + Send> {
    match privacy.map(|privacy| privacy.pseudonyms().clone()) {
        None => Box::new(|policies| policies),
        Some(pseudonyms) => Box::new(move |mut policies| {
            policies.access = Arc::new(policies.access.under(&pseudonyms));
            policies
        }),
    }
}
