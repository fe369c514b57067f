//! New policies while the daemon runs: on SIGHUP, and when files of the policy folder change.
//!
//! The files are read, checked and proved beside everything else; a bad set changes nothing and is an incident. A good
//! one goes the way of the batches, through the stage to the writer: what was staged before it was judged by the old
//! rules, what comes after by the new ones, and the `policy` entry stands exactly between. So the newest `policy`
//! entry before an event is the one that judged it.

use super::{load_policies, policy_files};
use crate::config::Config;
use crate::pipeline::{Pulse, ToStage, ToWriter};
use crate::policy::Policies;
use crate::policy::framework::InForce;
use crate::yaml::Problem;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A change is taken when the files have been the same for two looks: an editor or a copy is done then.
const STEP: Duration = Duration::from_millis(250);
/// Problems that an incident names; `crmwarden check` names all.
const NAMED: usize = 3;

/// Where new policies go.
pub(super) struct Reload {
    pub config: Arc<Config>,
    /// Digest of the policies in force.
    pub digest: String,
    /// What stood in the folder when they were read: it may have changed while a long trail was.
    pub seen: String,
    pub stage: SyncSender<ToStage>,
    pub writer: SyncSender<ToWriter>,
    pub asked: Arc<AtomicBool>,
    pub pulse: Arc<Pulse>,
    /// What the console makes reports for.
    pub frameworks: InForce,
    /// Makes them ready for this deployment.
    pub prepare: Box<dyn Fn(Policies) -> Policies + Send>,
}

/// What stands in the folder, as a digest that says whether anything changed.
fn look(folder: Option<&PathBuf>) -> Result<String, Vec<Problem>> {
    let mut sum = Sha256::new();
    for (name, text) in folder.map_or(Ok(Vec::new()), |folder| policy_files(folder))? {
        sum.update(format!("{} {} ", name.len(), text.len()));
        sum.update(name);
        sum.update(text);
    }
    Ok(crate::model::Hash(sum.finalize().into()).hex())
}

/// The same, where it can be read.
pub(super) fn seen(config: &Config) -> String {
    look(config.policies.as_ref()).unwrap_or_default()
}

impl Reload {
    /// Watches until the daemon stops, on a thread of its own.
    pub(super) fn watch(mut self) {
        let (mut known, mut before) = (std::mem::take(&mut self.seen), String::new());
        let mut waited = Duration::ZERO;
        while !self.pulse.stop.load(Ordering::Relaxed) {
            std::thread::sleep(STEP);
            waited += STEP;
            let asked = self.asked.swap(false, Ordering::Relaxed);
            if !asked && waited < LOOK_EVERY {
                continue;
            }
            waited = Duration::ZERO;
            let now = seen(&self.config);
            let settled = now == before || asked;
            before.clone_from(&now);
            if (now == known || !settled) && !asked {
                continue;
            }
            known = now;
            if !self.take() {
                return;
            }
        }
    }

    /// Loads and hands over. `false`: nobody takes it any more.
    fn take(&mut self) -> bool {
        match load_policies(&self.config) {
            Ok(policies) => {
                let digest = policies.digest.hex();
                if digest == self.digest {
                    return self.writer.send(ToWriter::PoliciesSame).is_ok();
                }
                let policies = (self.prepare)(policies);
                let mut frameworks = self.frameworks.lock().unwrap_or_else(PoisonError::into_inner);
                frameworks.clone_from(&policies.frameworks);
                drop(frameworks);
                let taken = self.stage.send(ToStage::Policies(Box::new(policies))).is_ok();
                self.digest = digest;
                taken
            }
            Err(problems) => {
                let named: Vec<String> = problems.iter().take(NAMED).map(ToString::to_string).collect();
                let more = problems.len().saturating_sub(NAMED);
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                self.writer.send(ToWriter::PoliciesRefused(format!("{}{more}", named.join("; ")))).is_ok()
            }
        }
    }
}
