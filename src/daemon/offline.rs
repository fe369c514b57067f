//! The writer without a daemon: commands that change something while none runs take the lock, remember what the
//! trail says, answer the one request by the daemon's own code, and end. Alerts that follow are owed, and leave when
//! the daemon runs again.

use super::{about, load_policies, metrics, privacy, remember, systems};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Ask, Request};
use crate::error::Failure;
use crate::inspect::dlp;
use crate::model::json::Mask;
use crate::pipeline::{Group, Pulse, Writer};
use crate::trail::Paths;
use crate::trail::detail::check_privacy;
use crate::trail::disk::{Disk, RealDisk};
use crate::trail::recover::{Opened, open_as};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Answers a request by the trail of a configuration. Fails where a daemon holds it, or where there is none.
pub fn answer(config: &Config, ask: Ask) -> Result<serde_json::Value, Failure> {
    let mut policies = load_policies(config)?;
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    if !paths.trail().join("g1").is_dir() {
        return Err(Failure::Runtime(format!(
            "there is no trail in {}: it is made by the first `crmwarden run`",
            config.state.display()
        )));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock = Clock::System;
    check_privacy(&*disk, &paths, config.privacy)?;
    let made_as = (config.deployment.as_str(), config.privacy);
    let opened = open_as(&disk, &paths, made_as, clock.now(), &mut |_, _| ())?;
    let privacy = privacy(&disk, config, &opened, &mut policies)?;
    let state = remember(&opened, config, &policies, &mut super::Patience::ask())?;
    let metrics = metrics(config, &policies, clock.now())?;
    let Opened { trail, lock, .. } = opened;
    let mask: Mask = if privacy.is_some() { dlp::mask_around } else { dlp::mask };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::Runtime(format!("no async runtime: {error}")))?;
    let (to_writer, _inbox) = mpsc::sync_channel(1);
    let anchors = super::outside::anchors(config, &trail, runtime.handle(), &to_writer)?;
    // Every receiver is known by its name; nobody takes what is owed.
    let receivers = config.receivers.iter().map(|(name, _)| {
        let (send, _) = tokio::sync::mpsc::channel(1);
        (name.clone(), send)
    });
    let mut writer = Writer {
        spent: mpsc::channel().0,
        desks: config.desks.clone(),
        systems: systems(config),
        expected: BTreeMap::new(),
        state,
        routes: config.routes.clone(),
        receivers: receivers.collect::<BTreeMap<_, _>>(),
        metrics,
        pulse: Arc::new(Pulse::default()),
        alive: Box::new(|| ()),
        anchors,
        show: Box::new(|_| ()),
        about: about(config),
        heartbeat: Duration::from_secs(config.heartbeat_seconds),
        once: true,
        group: Group::new(&clock, mask),
        clock,
        privacy,
        mask,
        trail,
        policies,
    };
    let uid = rustix::process::getuid().as_raw();
    let reply = control::answer(&mut writer, &Request { ask, uid, name: None })?;
    drop(lock);
    serde_json::from_slice(&reply).map_err(|error| Failure::Runtime(format!("no answer: {error}")))
}
