//! E-mail: what the configuration says, and one attempt to deliver one alert.
//!
//! Every recipient gets an envelope of its own (RFC 5321 §3.3), so one bad address cannot keep the alert
//! from the others, and a retry goes only to those who have not got it.

use super::message::{eml, mailbox};
use super::smtp::{Session, Smtp};
use super::{Outcome, smtp};
use crate::alert::Notice;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// `email:` of a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Recipients.
    pub to: Vec<String>,
    /// Sender.
    pub from: String,
    /// The server.
    pub smtp: Smtp,
    /// How long opening a session may take, and how long one envelope may take. Not a setting.
    #[serde(skip, default = "default_timeout")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    smtp::TIMEOUT
}

impl Email {
    /// What is wrong with it, for `check`; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.smtp.problems();
        if self.to.is_empty() {
            problems.push("`to` names nobody".to_owned());
        }
        let addresses = self.to.iter().chain([&self.from]);
        problems.extend(addresses.filter_map(|address| mailbox(address).err()).map(|error| error.0));
        problems
    }
}

/// What became of an alert's recipients so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    served: BTreeSet<String>,
    refused: BTreeMap<String, String>,
}

impl Progress {
    fn settled(&self, address: &str) -> bool {
        self.served.contains(address) || self.refused.contains_key(address)
    }

    /// The outcome once every recipient is settled.
    fn outcome(&self) -> Outcome {
        let Some(why) = self.refused.values().next() else { return Outcome::Delivered };
        let (refused, all) = (self.refused.len(), self.refused.len() + self.served.len());
        match all {
            1 => Outcome::Refused { why: why.clone() },
            _ => Outcome::Refused { why: format!("{why} ({refused} of {all} recipients refused)") },
        }
    }
}

/// One attempt for all recipients that are not settled yet. `receiver` is the receiver's name.
pub async fn deliver(
    email: &Email,
    receiver: &str,
    notice: &Notice,
    now: SystemTime,
    progress: &mut Progress,
) -> Outcome {
    if let Some(problem) = email.problems().into_iter().next() {
        return Outcome::Misconfigured { why: problem };
    }
    let message = match eml(notice, receiver, &email.from, &email.to, now) {
        Ok(message) => message,
        Err(error) => return Outcome::Misconfigured { why: error.0 },
    };
    let mut session = match Session::open(&email.smtp, email.timeout).await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let mut open = None;
    for address in &email.to {
        if progress.settled(address) {
            continue;
        }
        match session.send(&email.from, address, &message, email.timeout).await {
            Outcome::Delivered => {
                progress.served.insert(address.clone());
            }
            Outcome::Refused { why } => {
                progress.refused.insert(address.clone(), why);
            }
            outcome => {
                open.get_or_insert(outcome);
            }
        }
        if session.is_broken() {
            break;
        }
    }
    session.close().await;
    match open {
        Some(outcome) => outcome,
        None => unsettled(email, progress).unwrap_or_else(|| progress.outcome()),
    }
}

/// Where the connection ended after a refusal, recipients may be left.
fn unsettled(email: &Email, progress: &Progress) -> Option<Outcome> {
    let left = email.to.iter().filter(|address| !progress.settled(address)).count();
    (left > 0).then(|| Outcome::Retry {
        why: format!("{} ended the session with {left} recipients left", email.smtp.place()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn parse(text: &str) -> Email {
        crate::yaml::parse("c", text).unwrap()
    }

    #[test]
    fn the_configuration_of_the_manual_is_fine() {
        let email = parse(
            "to: [soc@acme.example]\nfrom: crmwarden@acme.example\nsmtp: { host: mail.acme.example, \
             port: 587, tls: starttls, user: crmwarden, password_file: smtp.pass }\n",
        );
        assert_eq!(email.problems(), Vec::<String>::new());
        assert_eq!(email.timeout, smtp::TIMEOUT);
        assert_eq!(parse("to: []\nfrom: a@b.example\nsmtp: { host: h, tls: implicit }\n").smtp.port(), 465);
    }

    #[test]
    fn problems_say_what_to_mend() {
        let text = "to: []\nfrom: nobody\nsmtp: { host: mail, tls: none, user: u, password_file: p }\n";
        let problems = parse(text).problems();
        assert_eq!(
            problems,
            [
                "`smtp.user` needs TLS: the password would be sent in clear (set `tls: starttls` or `implicit`)",
                "`to` names nobody",
                "`nobody` is not an e-mail address",
            ]
        );
        let inline = "to: [a@b.example]\nfrom: a@b.example\nsmtp: { host: m, tls: none, password: x }\n";
        assert!(crate::yaml::parse::<Email>("c", inline).is_err(), "a secret in the file is an error");
    }

    #[test]
    fn a_refused_recipient_shows_beside_served_ones() {
        let mut progress = Progress::default();
        progress.served.insert("a".into());
        assert_eq!(progress.outcome(), Outcome::Delivered);
        progress.refused.insert("b".into(), "no".into());
        assert_eq!(progress.outcome(), Outcome::Refused { why: "no (1 of 2 recipients refused)".into() });
    }
}
