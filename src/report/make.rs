//! A report from a state folder: the trail verified, read once, the bundle signed.

use super::{Collector, Facts, File, Public, Scope, TrailFacts, Verdict};
use crate::error::Failure;
use crate::model::{Pseudonyms, Time};
use crate::policy::framework::Framework;
use crate::trail::disk::Disk;
use crate::trail::verify::{Given, Outcome, verify};
use crate::trail::{Keys, Paths, TrailError, detail, generation, note, read};
use jiff::tz::TimeZone;

/// What is asked for.
pub struct Order<'a> {
    /// Where the trail and the keys are.
    pub paths: &'a Paths,
    /// The deployment's name.
    pub deployment: String,
    /// The machine that makes it.
    pub host: String,
    /// The framework.
    pub framework: Framework,
    /// First instant, and first instant after.
    pub period: (Time, Time),
    /// Zone of the printed times.
    pub zone: TimeZone,
    /// When it is made.
    pub now: Time,
}

/// The bundle, and what verification said of the trail that it is made from.
pub struct Made {
    /// Its files.
    pub files: Vec<File>,
    /// What `verify` says.
    pub outcome: Outcome,
}

/// Makes it. A damaged trail is reported on all the same; the report says what is damaged.
pub fn make(disk: &dyn Disk, order: Order<'_>) -> Result<Made, Failure> {
    let state = &order.paths.state;
    let outcome = verify(state, &Given::default(), &mut |_| ())?;
    let verdict = serde_json::to_value(&outcome).and_then(serde_json::from_value::<Verdict>);
    let newest = generation::newest(disk, order.paths)?.unwrap_or(1);
    let folder = order.paths.generation(newest);
    // The one that was verified: a daemon at work has signed further ones by now.
    let mut checkpoint = outcome.note.clone();
    if checkpoint.is_empty() {
        let path = folder.join("checkpoint");
        let read = disk.read_small(&path, note::NOTE_MAX as u64);
        let read = read.map_err(|error| TrailError::io("read", &path, error))?.unwrap_or_default();
        checkpoint = String::from_utf8_lossy(&read).into_owned();
    }
    let public = Public::read(state)?;
    let (from, to) = order.period;
    let scope = Scope { deployment: order.deployment, from, to, zone: order.zone };
    let mut collector = Collector::new(scope, order.framework);
    let keys = Keys::read(disk, &order.paths.keys)?;
    let pseudonyms = Pseudonyms::new(keys.matching.clone());
    let mut details = detail::Walk::new(disk, &detail::folder(state, newest))?;
    read::each(disk, &folder, 0, outcome.size, &mut |entry| {
        for detail in details.of_entry(entry.index)? {
            collector.detail(&pseudonyms, &detail.path, &detail.value);
        }
        collector.line(entry.line);
        Ok(())
    })?;
    let facts = Facts {
        generated: order.now,
        host: order.host,
        product: format!("crmwarden {}", env!("CARGO_PKG_VERSION")),
        trail: TrailFacts {
            origin: outcome.origin.clone(),
            size: outcome.size,
            root: outcome.root.clone(),
            checkpoint,
            began: public.began,
            log_key: public.trust.log.vkey(),
            verdict: verdict.unwrap_or_default(),
        },
    };
    let (_, files) = collector.finish(facts, &keys.report);
    Ok(Made { files, outcome })
}
