//! One task a target: takes the newest checkpoint, asks for its proof, tries again, reports.
//!
//! * One checkpoint is in flight at a time. While a target is slow or down newer checkpoints replace the one
//!   that waits: an anchor of the newest covers all before it.
//! * An attempt ends within [`TIMEOUT`]; after a failure the task waits, longer each time, up to
//!   [`BACKOFF_MAX`].
//! * Every attempt is reported. The task ends when the writer is gone.

use super::http::{Answer, Client};
use super::{Fault, Head, Kind, Proof, Report, TIMEOUT, Target, line};
use crate::clock;
use crate::model::{Hash, Time};
use crate::trail::note::CosignerKey;
use crate::trail::timestamp::{self, Authorities, RESPONSE_MAX};
use crate::trail::witness::{self, ANSWER_MAX, TEXT_TYPE, Told};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

/// First wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// How often a witness is asked again within one attempt, after it said how much it has seen.
const ROUNDS_MAX: usize = 3;

/// Makes the proof that the trail of so many entries (second) continues the one of so many (first).
pub type Prover = Arc<dyn Fn(u64, u64) -> Option<Vec<Hash>> + Send + Sync>;

/// What a task needs besides its target.
#[derive(Clone)]
pub struct Tools {
    /// Makes requests.
    pub client: Client,
    /// Makes consistency proofs.
    pub prover: Prover,
    /// This host's name, for syslog.
    pub host: String,
}

/// Starts the task of a target.
pub fn spawn(
    target: Target,
    tools: Tools,
    runtime: &Handle,
    heads: watch::Receiver<Option<Head>>,
    results: Sender<Report>,
) -> JoinHandle<()> {
    runtime.spawn(run(target, tools, heads, results))
}

async fn run(
    target: Target,
    tools: Tools,
    mut heads: watch::Receiver<Option<Head>>,
    results: Sender<Report>,
) {
    let seed = clock::seed([target.name.as_str()]);
    let (mut anchored, mut seen, mut failures) = (0, 0, 0);
    loop {
        let newer = |head: &Option<Head>| head.as_ref().is_some_and(|head| head.size > anchored);
        let Ok(head) = heads.wait_for(newer).await.map(|head| head.clone()) else { return };
        let Some(head) = head else { continue };
        // A task of its own, so that a panic in there is an outcome and not the end of this one.
        let attempt = tokio::spawn(attempt(target.clone(), tools.clone(), head.clone(), seen));
        let result = match attempt.await {
            Ok((result, known)) => {
                seen = known;
                result
            }
            Err(_) => Err(Fault::Ours("the attempt")),
        };
        failures = if result.is_ok() { 0 } else { failures + 1 };
        if result.is_ok() {
            anchored = head.size;
        }
        let report = Report { target: target.name.clone(), head, result };
        if results.send(report).is_err() {
            return;
        }
        if failures > 0 {
            let wait = clock::backoff(BACKOFF_FIRST, BACKOFF_MAX, failures, seed);
            // The end of the writer ends the wait; a newer head does not, or a dead target would be knocked
            // at as often as there are checkpoints.
            tokio::select! {
                () = sleep(wait) => {}
                () = gone(&mut heads) => return,
            }
        }
    }
}

/// Returns when nobody is left who could offer a head.
async fn gone(heads: &mut watch::Receiver<Option<Head>>) {
    let _ = heads.wait_for(|_| false).await;
}

/// One attempt, and how much the witness is known to have seen.
async fn attempt(target: Target, tools: Tools, head: Head, mut seen: u64) -> (Result<Proof, Fault>, u64) {
    let ask = async {
        match &target.kind {
            Kind::Witness { key, url } => {
                let url = url.join("add-checkpoint");
                let post = |body| tools.client.post(&url, TEXT_TYPE, body, ANSWER_MAX);
                ask_witness(post, key, &head, &mut seen, &tools.prover).await
            }
            Kind::Timestamp { url, authorities } => {
                let mut nonce = [0; 16];
                getrandom::fill(&mut nonce).map_err(|_| Fault::Ours("the randomness"))?;
                let request = timestamp::request(head.note.as_bytes(), &nonce);
                let kind = "application/timestamp-query";
                let answer = tools.client.post(url, kind, request, RESPONSE_MAX).await?;
                stamp(answer, &head, &nonce, authorities)
            }
            Kind::Syslog { address } => {
                let line = line::of(&head.note).ok_or(Fault::Ours("the line"))?;
                let datagram = line::syslog(&line, &tools.host, std::process::id(), clock::now());
                send(address, datagram).await.map(|()| Proof::Sent).map_err(|_| Fault::Unreachable)
            }
        }
    };
    let result = timeout(TIMEOUT, ask).await.unwrap_or(Err(Fault::Timeout));
    (result, seen)
}

/// A datagram to the first address that the name has.
async fn send(address: &str, datagram: Vec<u8>) -> std::io::Result<()> {
    let to = tokio::net::lookup_host(address).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
    // Without bind(2): the service unit allows that for the listeners' ports only, and nobody answers here.
    let sent = spawn_blocking(move || {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sendto(&socket, &datagram, SendFlags::empty(), &to).map(|_| ())
    });
    Ok(sent.await.map_err(std::io::Error::other)??)
}

/// A stamp that holds, or what is wrong with it.
fn stamp(answer: Answer, head: &Head, nonce: &[u8; 16], authorities: &Authorities) -> Result<Proof, Fault> {
    if answer.status != 200 {
        return Err(Fault::Status(answer.status));
    }
    let stamp = timestamp::verify(&answer.body, head.note.as_bytes(), Some(nonce), authorities);
    Ok(Proof::Stamp(answer.body, stamp.map_err(Fault::Stamp)?.time))
}

/// The witness protocol's `add-checkpoint`: it is asked with what it saw last; where it saw something else
/// it says so, and is asked again from there.
async fn ask_witness<P, F>(
    post: P,
    key: &CosignerKey,
    head: &Head,
    seen: &mut u64,
    prover: &Prover,
) -> Result<Proof, Fault>
where
    P: Fn(Vec<u8>) -> F,
    F: Future<Output = Result<Answer, Fault>>,
{
    for _ in 0..ROUNDS_MAX {
        let old = *seen;
        let prover = Arc::clone(prover);
        let new = head.size;
        let proof = spawn_blocking(move || prover(old, new)).await.ok().flatten();
        let proof = proof.ok_or(Fault::Ours("the consistency proof"))?;
        let answer = post(witness::request(old, &proof, &head.note).into_bytes()).await?;
        let Answer { status, kind, body } = answer;
        match witness::take_answer(&head.note, status, &kind, &body, key) {
            Told::Cosigned(lines, time) => {
                *seen = head.size;
                let time = i64::try_from(time).ok().filter(|time| *time < 1 << 40);
                let time = time.ok_or(Fault::Answer("a cosignature of an impossible time"))?;
                let line = lines.lines().next().unwrap_or_default();
                return Ok(Proof::Cosignature(line.to_owned(), Time::from_seconds(time)));
            }
            Told::Conflict(size) if size > head.size => return Err(Fault::Ahead(size)),
            Told::Conflict(size) if size != old => *seen = size,
            // The same size with another root; or it was asked from the size that it names itself, and will
            // not have this trail as going on from there.
            Told::Conflict(_) | Told::Refused(409, _) if old == head.size => return Err(Fault::Contradicts),
            Told::Refused(422, _) => return Err(Fault::Contradicts),
            Told::Conflict(_) => return Err(Fault::Answer("a conflict without another size")),
            Told::Refused(status, _) => {
                return Err(match status {
                    200 => Fault::Answer("no cosignature of the configured key that holds"),
                    403 => Fault::Refused,
                    404 => Fault::UnknownLog,
                    status => Fault::Status(status),
                });
            }
        }
    }
    Err(Fault::Answer("a new size at every request"))
}

#[cfg(test)]
mod tests;
