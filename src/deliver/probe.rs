//! Whether a receiver can be reached, without sending it anything: for `doctor`.

use super::smtp::{Session, TIMEOUT};
use super::{Outcome, Receiver, collector, hook};
use std::path::Path;

/// Opens what there is to open: a mail server as far as the login, a line with its TLS, a folder.
pub async fn probe(receiver: &Receiver) -> Outcome {
    match receiver {
        Receiver::Directory { path } => folder(path),
        Receiver::Email(email) => match email.problems().into_iter().next() {
            Some(why) => Outcome::Misconfigured { why },
            None => match Session::open(&email.smtp, TIMEOUT).await {
                Ok(session) => {
                    session.close().await;
                    Outcome::Delivered
                }
                Err(outcome) => outcome,
            },
        },
        Receiver::Hook(hook) => hook::probe(hook).await,
        Receiver::Collector(collector) => collector::probe(collector).await,
    }
}

fn folder(path: &Path) -> Outcome {
    let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Outcome::Delivered,
        Err(_) => Outcome::Misconfigured { why: format!("{} cannot be written", there.display()) },
    }
}
