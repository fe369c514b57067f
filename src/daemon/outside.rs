//! What faces other hosts, besides alerts and metrics: the anchors' tasks and what `listen:` serves.

use crate::anchor::http::Client;
use crate::anchor::{self, Anchoring, Prover, Reached, Tools};
use crate::config::{self, Config};
use crate::console::{Console, Person, Role};
use crate::error::Failure;
use crate::listen::{Ingest, Pages, Tiles, Tlog, Witness};
use crate::metrics::Metrics;
use crate::pipeline::ToWriter;
use crate::trail::note::Verifier;
use crate::trail::publish::Log;
use crate::trail::{Trail, TrailError};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use tokio::runtime::Handle;

/// Starts one task a target. What they report goes to the writer, who keeps it.
pub(super) fn anchors(
    config: &Config,
    trail: &Trail,
    runtime: &Handle,
    writer: &SyncSender<ToWriter>,
) -> Result<Anchoring, Failure> {
    let anchors = &config.anchors;
    let reached = reached(config, trail)?;
    let anchoring = Anchoring::new(anchors.targets.clone(), anchors.every, Arc::clone(trail.disk()), reached);
    if anchors.targets.is_empty() {
        return Ok(anchoring);
    }
    let client = Client::new().map_err(Failure::Runtime)?;
    let tools = Tools { client, prover: prover(trail)?, host: super::host() };
    let (results, reports) = mpsc::channel();
    for target in &anchors.targets {
        anchor::spawn(target.clone(), tools.clone(), runtime, anchoring.subscribe(), results.clone());
    }
    let writer = writer.clone();
    std::thread::spawn(move || {
        for report in reports {
            if writer.send(ToWriter::Anchored(Box::new(report))).is_err() {
                return;
            }
        }
    });
    Ok(anchoring)
}

/// The series of every anchor exist from the start, with what was confirmed before it.
pub(super) fn know_anchors(metrics: &Metrics, config: &Config, anchoring: &Anchoring) {
    for target in &config.anchors.targets {
        let reached = anchoring.reached().get(&target.name).copied().unwrap_or_default();
        metrics.know_anchor(&target.name, reached.size, reached.time);
    }
    metrics.anchored(anchoring.confirmed().map_or(0, |(size, _)| size));
}

/// What was confirmed before this start, as the files beside the trail prove it.
fn reached(config: &Config, trail: &Trail) -> Result<BTreeMap<String, Reached>, Failure> {
    let (folder, signed) = (trail.folder(), trail.signed().size);
    anchor::store::reached(&**trail.disk(), folder, trail.origin(), signed, &config.anchors.targets)
        .map_err(|error| TrailError::io("read the checkpoints in", folder, error).into())
}

fn log_key(trail: &Trail) -> Result<Verifier, Failure> {
    let key = Verifier::parse(&trail.vkeys().0);
    key.ok_or_else(|| Failure::Runtime("the trail has no log key that can be shown".into()))
}

/// Proofs from the files of the newest checkpoint; nothing of the writer's is touched.
fn prover(trail: &Trail) -> Result<Prover, Failure> {
    let (disk, folder, log) = (Arc::clone(trail.disk()), trail.folder().to_owned(), log_key(trail)?);
    Ok(Arc::new(move |old, new| {
        let continued = Log::open(&disk, &folder, None, &log).and_then(|mut at| at.consistency(old, new));
        continued.map(|continued| continued.proof).inspect_err(|why| tracing::error!("no proof: {why}")).ok()
    }))
}

/// The console's pages, where somebody may sign in, and in the demo a code that signs in once.
pub(super) fn console(
    config: &Config,
    trail: &Trail,
    (metrics, writer): (&Arc<Metrics>, &SyncSender<ToWriter>),
    details: Option<(std::path::PathBuf, crate::model::Pseudonyms)>,
    (frameworks, invite): (&crate::policy::framework::InForce, bool),
) -> Result<Option<(axum::Router, Option<String>)>, Failure> {
    let Some(listen) = config.listen.as_ref().filter(|listen| !listen.people.is_empty()) else {
        return Ok(None);
    };
    let mut people = Vec::new();
    for (name, acts, file) in &listen.people {
        let token = config::token(file).map_err(Failure::Runtime)?;
        let role = if *acts { Role::Responder } else { Role::Reader };
        people.push(Person { name: name.clone(), role, token });
    }
    let console = Console {
        people,
        writer: writer.clone(),
        metrics: Arc::clone(metrics),
        disk: Arc::clone(trail.disk()),
        folder: trail.folder().to_owned(),
        details,
        log: log_key(trail)?,
        paths: crate::trail::Paths { state: config.state.clone(), keys: config.keys.clone() },
        deployment: config.deployment.clone(),
        host: super::host(),
        frameworks: Arc::clone(frameworks),
    };
    Ok(Some(console.routes(invite)))
}

/// Binds `listen:` and prepares what it serves.
pub(super) fn listen(
    config: &Config,
    trail: &Trail,
    ingest: Option<Ingest>,
    console: Option<axum::Router>,
) -> Result<Option<(TcpListener, Pages)>, Failure> {
    let Some(listen) = &config.listen else { return Ok(None) };
    let tlog = match (listen.tiles, &listen.token_file) {
        (Tiles::Off, _) | (_, None) => None,
        (tiles, Some(file)) => {
            let token = config::token(file).map_err(Failure::Runtime)?;
            let (disk, folder) = (Arc::clone(trail.disk()), trail.folder().to_owned());
            Some(Tlog { tiles, disk, folder, log: log_key(trail)?, token })
        }
    };
    let witness = match &listen.witness {
        None => None,
        Some(role) => {
            let disk = Arc::clone(trail.disk());
            Some(Arc::new(Witness::open(disk, &config.state, &config.keys, role)?))
        }
    };
    let listener = TcpListener::bind(listen.address).map_err(|error| {
        let address = listen.address;
        Failure::Runtime(format!("`listen:` {address} cannot be served: {error}; choose another, or \"off\""))
    })?;
    Ok(Some((listener, Pages { tlog, witness, ingest, console })))
}
