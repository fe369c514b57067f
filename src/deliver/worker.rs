//! One task per receiver: takes alerts, delivers them, tries again, reports.
//!
//! * A failure that concerns the channel (configuration, connection, login) makes all alerts of this
//!   receiver wait; a failure that may concern one message makes only that one wait, so a message that a
//!   server does not like cannot hold the others up.
//! * Reported are every final outcome, and the first failure of an outage once. An outage ends with the
//!   next final outcome.
//! * Nothing is given up: an alert that is neither delivered nor refused stays owed in the trail.
//! * When the sender of jobs is dropped, the worker ends once nothing is pending. [`Worker::stop`] ends it
//!   within [`STOP_GRACE`], whatever is pending; what is pending stays owed.

use super::email::{self, Progress};
use super::{Outcome, Receiver, directory, eml};
use crate::alert::Notice;
use crate::clock;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// Alerts that one worker holds; more wait in its channel.
pub const PENDING_MAX: usize = 64;
/// How long an attempt in hand may go on after [`Worker::stop`].
pub const STOP_GRACE: Duration = Duration::from_secs(3);
/// First wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// An alert to deliver.
#[derive(Clone, Debug)]
pub struct Job {
    /// `ALR-<index>`.
    pub alert_id: String,
    /// What it says.
    pub notice: Arc<Notice>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The receiver's name.
    pub receiver: String,
    /// The alert.
    pub alert_id: String,
    /// Final, or the first failure of an outage.
    pub outcome: Outcome,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Asks it to end without waiting for what is pending.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended. `false` when it died of a panic.
    pub async fn join(self) -> bool {
        let Worker { stop, task } = self;
        let ended = task.await.is_ok();
        drop(stop);
        ended
    }
}

/// Starts the worker of a receiver.
pub fn spawn(
    name: &str,
    receiver: Receiver,
    runtime: &Handle,
    jobs: mpsc::Receiver<Job>,
    results: Sender<Report>,
) -> Worker {
    let (stop, stopped) = watch::channel(false);
    let state = State {
        name: name.to_owned(),
        receiver: Arc::new(receiver),
        results,
        pending: Vec::new(),
        channel: Trouble::default(),
        outage: false,
    };
    Worker { stop, task: runtime.spawn(run(state, jobs, stopped)) }
}

/// A row of failures.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    attempts: u32,
    not_before: Option<Instant>,
}

impl Trouble {
    fn fail(&mut self, seed: u64) {
        self.attempts = self.attempts.saturating_add(1);
        let wait = clock::backoff(BACKOFF_FIRST, BACKOFF_MAX, self.attempts, seed);
        self.not_before = Some(Instant::now() + wait);
    }
}

struct Pending {
    job: Job,
    trouble: Trouble,
    progress: Progress,
    reported: bool,
}

struct State {
    name: String,
    receiver: Arc<Receiver>,
    results: Sender<Report>,
    pending: Vec<Pending>,
    channel: Trouble,
    outage: bool,
}

async fn run(mut state: State, mut jobs: mpsc::Receiver<Job>, mut stopped: watch::Receiver<bool>) {
    let mut open = true;
    loop {
        while open && state.pending.len() < PENDING_MAX {
            match jobs.try_recv() {
                Ok(job) => state.take(job),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => open = false,
            }
        }
        let told = *stopped.borrow() || stopped.has_changed().is_err();
        if told || (!open && state.pending.is_empty()) {
            return;
        }
        match state.due() {
            Some(at) if at <= Instant::now() => {
                if !state.attempt(&mut stopped).await {
                    return;
                }
            }
            due => {
                let room = open && state.pending.len() < PENDING_MAX;
                tokio::select! {
                    changed = stopped.changed() => if changed.is_err() { return },
                    () = wait_until(due) => {}
                    job = jobs.recv(), if room => match job {
                        Some(job) => state.take(job),
                        None => open = false,
                    },
                }
            }
        }
    }
}

/// Waits for that time, or for ever.
async fn wait_until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl State {
    fn take(&mut self, job: Job) {
        let known = self.pending.iter().any(|pending| pending.job.alert_id == job.alert_id);
        if !known {
            let (trouble, progress) = (Trouble::default(), Progress::default());
            self.pending.push(Pending { job, trouble, progress, reported: false });
        }
    }

    /// The job whose turn is next: the earliest that may go, in the order of arrival.
    fn next(&self) -> Option<usize> {
        let turns = self.pending.iter().enumerate();
        turns.min_by_key(|(at, pending)| (pending.trouble.not_before, *at)).map(|(at, _)| at)
    }

    /// When it may go.
    fn due(&self) -> Option<Instant> {
        let pending = self.pending.get(self.next()?)?;
        Some(pending.trouble.not_before.max(self.channel.not_before).unwrap_or_else(Instant::now))
    }

    /// One attempt for the next job. `false` when the worker must end.
    async fn attempt(&mut self, stopped: &mut watch::Receiver<bool>) -> bool {
        let Some(at) = self.next() else { return true };
        let mut pending = self.pending.remove(at);
        let attempt = attempt(
            self.name.clone(),
            Arc::clone(&self.receiver),
            Arc::clone(&pending.job.notice),
            std::mem::take(&mut pending.progress),
        );
        // A task of its own, so that a panic in there is an outcome and not the end of the worker.
        let mut task = tokio::spawn(attempt);
        let ended = tokio::select! {
            ended = &mut task => Some(ended),
            () = stop_asked(stopped) => timeout(STOP_GRACE, &mut task).await.ok(),
        };
        let outcome = match ended {
            Some(Ok((outcome, progress))) => {
                pending.progress = progress;
                outcome
            }
            Some(Err(_)) => {
                Outcome::Refused { why: "preparing this alert failed inside crmwarden".to_owned() }
            }
            None => {
                task.abort();
                return false;
            }
        };
        self.settle(at, pending, outcome)
    }

    fn settle(&mut self, at: usize, mut pending: Pending, outcome: Outcome) -> bool {
        let seed = clock::seed([self.name.as_str(), &pending.job.alert_id]);
        let report = outcome.is_final() || !(self.outage || pending.reported);
        self.outage = !outcome.is_final();
        match &outcome {
            Outcome::Delivered | Outcome::Refused { .. } => self.channel = Trouble::default(),
            Outcome::Retry { .. } => pending.trouble.fail(seed),
            Outcome::Misconfigured { .. } => self.channel.fail(seed),
        }
        let listening = !report
            || self
                .results
                .send(Report {
                    receiver: self.name.clone(),
                    alert_id: pending.job.alert_id.clone(),
                    outcome: outcome.clone(),
                })
                .is_ok();
        if !outcome.is_final() {
            pending.reported |= report;
            self.pending.insert(at.min(self.pending.len()), pending);
        }
        listening
    }
}

/// Returns when the worker is asked to end, or when nobody is left who could ask.
async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn attempt(
    name: String,
    receiver: Arc<Receiver>,
    notice: Arc<Notice>,
    mut progress: Progress,
) -> (Outcome, Progress) {
    let now = SystemTime::now();
    let outcome = match &*receiver {
        Receiver::Email(email) => email::deliver(email, &name, &notice, now, &mut progress).await,
        Receiver::Hook(hook) => super::hook::deliver(hook, &notice, now).await,
        Receiver::Collector(collector) => super::collector::deliver(collector, &notice, now).await,
        Receiver::Directory { path } => {
            let path = path.clone();
            let written = tokio::task::spawn_blocking(move || {
                let address = super::message::own_address(&notice.deployment);
                match eml(&notice, &name, &address, std::slice::from_ref(&address), now) {
                    Ok(message) => directory::write(&path, &notice.stem(), &message),
                    Err(error) => Outcome::Misconfigured { why: error.0 },
                }
            });
            written.await.unwrap_or_else(|_| Outcome::Refused {
                why: "preparing this alert failed inside crmwarden".to_owned(),
            })
        }
    };
    (outcome, progress)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::mpsc::channel;

    fn job(n: u32) -> Job {
        let notice =
            Notice { alert: format!("ALR-{n}"), deployment: "acme.example".into(), ..Notice::default() };
        Job { alert_id: notice.alert.clone(), notice: Arc::new(notice) }
    }

    #[tokio::test]
    async fn delivers_in_order_and_ends_when_nothing_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::Directory { path: folder.path().join("out") };
        let (send, jobs) = mpsc::channel(8);
        let (results, reports) = channel();
        for n in [1, 2, 2, 3] {
            send.send(job(n)).await.unwrap();
        }
        drop(send);
        assert!(spawn("archive", receiver, &Handle::current(), jobs, results).join().await);
        let got: Vec<_> = reports.iter().map(|report| (report.alert_id, report.outcome)).collect();
        let delivered = |n| (format!("ALR-{n}"), Outcome::Delivered);
        assert_eq!(got, [delivered(1), delivered(2), delivered(3)]);
    }

    #[tokio::test]
    async fn an_outage_is_reported_once_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("out");
        let (send, jobs) = mpsc::channel(8);
        let (results, reports) = channel();
        let worker =
            spawn("archive", Receiver::Directory { path: path.clone() }, &Handle::current(), jobs, results);
        for n in [1, 2] {
            send.send(job(n)).await.unwrap();
        }
        let next = |reports: std::sync::mpsc::Receiver<Report>| async {
            tokio::task::spawn_blocking(move || {
                (reports.recv_timeout(Duration::from_secs(20)).unwrap(), reports)
            })
            .await
            .unwrap()
        };
        let (first, reports) = next(reports).await;
        assert_eq!(first.alert_id, "ALR-1");
        assert!(matches!(first.outcome, Outcome::Misconfigured { .. }));
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let (second, reports) = next(reports).await;
        let (third, _reports) = next(reports).await;
        assert_eq!((second.alert_id.as_str(), second.outcome), ("ALR-1", Outcome::Delivered));
        assert_eq!((third.alert_id.as_str(), third.outcome), ("ALR-2", Outcome::Delivered));
        drop(send);
        assert!(worker.join().await);
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_what_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("out");
        let (send, jobs) = mpsc::channel(8);
        let (results, _reports) = channel();
        send.send(job(1)).await.unwrap();
        let worker = spawn("archive", Receiver::Directory { path }, &Handle::current(), jobs, results);
        tokio::time::sleep(Duration::from_millis(50)).await;
        worker.stop();
        assert!(timeout(STOP_GRACE * 2, worker.join()).await.unwrap());
    }
}
