//! One SMTP session (RFC 5321, STARTTLS RFC 3207, AUTH RFC 4954, implicit TLS RFC 8314), step by step.
//!
//! The steps are taken one by one, because what a reply means depends on where it comes: a 550 to a
//! recipient is about this alert and final, a 550 to the greeting is about our configuration. So:
//!
//! | where | 4yz, silence, broken line | 5yz |
//! |---|---|---|
//! | name, connection, TLS, login, sender | mend and retry (4yz: retry) | mend and retry |
//! | recipient, content | retry | refused; 530, 534, 535, 538 (RFC 4954): mend and retry |
//!
//! Invariants: TLS is what the configuration says, never "if offered"; nobody logs in without TLS; every
//! step ends within a timeout (lettre's own covers only the connection); a server's prose is never
//! repeated, as it may quote the message or the password back. lettre's `tracing` feature must stay off:
//! it writes the AUTH command to the log.

use super::Outcome;
use super::line::Line;
use super::message::mailbox;
use super::secret::read_password;
use crate::model::event::words;
use lettre::address::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;
use std::error::Error as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long opening a session may take, and how long one envelope may take.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// How long saying goodbye may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

words!(
    /// How the session is encrypted. There is no "if offered": whoever sits on the line takes the offer away.
    Tls {
        /// Plain connection, upgraded before anything else (port 587).
        Starttls = "starttls",
        /// TLS from the first byte (port 465).
        Implicit = "implicit",
        /// Not at all (port 25): for a relay on this host. Without login.
        None = "none",
    }
);

/// `smtp:` of an e-mail receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Name of the server; its certificate must be for this name.
    pub host: String,
    /// Port; by default 587, 465 or 25 as `tls` says.
    #[serde(default)]
    pub port: Option<u16>,
    /// Encryption; has no default.
    pub tls: Tls,
    /// Name to log in with.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password, read at every login.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Smtp {
    /// The port in force.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::Starttls => 587,
            Tls::Implicit => 465,
            Tls::None => 25,
        })
    }

    /// `host:port`, for people.
    pub fn place(&self) -> String {
        format!("{}:{}", crate::alert::text::visible(&self.host), self.port())
    }

    /// What is wrong with it; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_'));
        if self.host.is_empty() || self.host.contains(odd) {
            problems.push("`smtp.host` is not a host name or an address".to_owned());
        }
        if self.tls == Tls::None && self.user.is_some() {
            problems.push(
                "`smtp.user` needs TLS: the password would be sent in clear (set `tls: starttls` or `implicit`)"
                    .to_owned(),
            );
        }
        match (&self.user, &self.password_file) {
            (Some(_), None) => problems.push("`smtp.user` needs `smtp.password_file`".to_owned()),
            (None, Some(_)) => problems.push("`smtp.password_file` needs `smtp.user`".to_owned()),
            _ => {}
        }
        if self.tls == Tls::None && self.ca_file.is_some() {
            problems.push("`smtp.ca_file` has no use with `tls: none`".to_owned());
        }
        problems
    }
}

/// Where in the session we are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Resolve,
    Connect,
    Starttls,
    Login,
    Sender,
    Recipient(String),
    Content(String),
}

impl Step {
    fn describe(&self) -> String {
        match self {
            Step::Resolve => "the name".to_owned(),
            Step::Connect => "the connection".to_owned(),
            Step::Starttls => "STARTTLS".to_owned(),
            Step::Login => "the login".to_owned(),
            Step::Sender => "the sender".to_owned(),
            Step::Recipient(address) => format!("the recipient {address}"),
            Step::Content(address) => format!("the message for {address}"),
        }
    }

    /// Whether a permanent refusal here is about this alert and not about our configuration.
    fn is_about_the_alert(&self) -> bool {
        matches!(self, Step::Recipient(_) | Step::Content(_))
    }
}

/// An open session, logged in where the configuration says so.
pub struct Session {
    connection: AsyncSmtpConnection,
    place: String,
    broken: bool,
}

impl Session {
    /// Connects, encrypts, logs in.
    pub async fn open(smtp: &Smtp, limit: Duration) -> Result<Session, Outcome> {
        if let Some(problem) = smtp.problems().into_iter().next() {
            return Err(Outcome::Misconfigured { why: problem });
        }
        let mut step = Step::Resolve;
        let opened = timeout(limit, open(smtp, limit, &mut step)).await;
        match opened {
            Ok(Ok(connection)) => Ok(Session { connection, place: smtp.place(), broken: false }),
            Ok(Err(outcome)) => Err(outcome),
            Err(_) => Err(silence(&smtp.place(), &step, limit)),
        }
    }

    /// Sends one envelope. After anything but a clean reply the session is broken.
    pub async fn send(&mut self, from: &str, to: &str, message: &[u8], limit: Duration) -> Outcome {
        let (from, address) = match (mailbox(from), mailbox(to)) {
            (Ok(from), Ok(to)) => (from.email, to.email),
            (Err(error), _) | (_, Err(error)) => return Outcome::Misconfigured { why: error.0 },
        };
        let mut step = Step::Sender;
        let sent = timeout(limit, envelope(&mut self.connection, from, address, message, &mut step)).await;
        match sent {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) => {
                let reset = error.status().is_some()
                    && matches!(timeout(QUIT_TIMEOUT, self.connection.command(Rset)).await, Ok(Ok(_)));
                self.broken = !reset;
                classify(&self.place, &step, &error)
            }
            Err(_) => {
                self.broken = true;
                silence(&self.place, &step, limit)
            }
        }
    }

    /// Whether nothing more can be sent over it.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Says goodbye, and does not mind the answer: what was accepted is accepted.
    pub async fn close(mut self) {
        if !self.broken {
            let _ = timeout(QUIT_TIMEOUT, self.connection.quit()).await;
        }
    }
}

async fn open(smtp: &Smtp, limit: Duration, step: &mut Step) -> Result<AsyncSmtpConnection, Outcome> {
    let place = smtp.place();
    let mend = |why: String| Outcome::Misconfigured { why };
    let name = smtp.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((name.as_str(), smtp.port())).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => return Err(mend(format!("{place}: the name cannot be resolved"))),
    };
    let parameters = match smtp.tls {
        Tls::None => None,
        Tls::Starttls | Tls::Implicit => Some(tls_parameters(name, smtp.ca_file.as_deref()).map_err(mend)?),
    };
    let hello = ClientId::default();
    *step = Step::Connect;
    let per_address = limit / u32::try_from(addresses.len().clamp(1, 8)).unwrap_or(1);
    let mut connection = match (smtp.tls, parameters.clone()) {
        (Tls::Implicit, parameters) => {
            AsyncSmtpConnection::connect_tokio1(&addresses[..], Some(per_address), &hello, parameters, None)
                .await
        }
        (Tls::Starttls | Tls::None, _) => {
            let line = Line::connect(&addresses, per_address).await;
            let line =
                line.map_err(|error| mend(format!("{place}: the connection failed: {}", error.kind())))?;
            AsyncSmtpConnection::connect_with_transport(Box::new(line), &hello).await
        }
    }
    .map_err(|error| classify(&place, step, &error))?;
    if let (Tls::Starttls, Some(parameters)) = (smtp.tls, parameters) {
        *step = Step::Starttls;
        connection.starttls(parameters, &hello).await.map_err(|error| classify(&place, step, &error))?;
    }
    if let (Some(user), Some(file)) = (&smtp.user, &smtp.password_file) {
        *step = Step::Login;
        // `problems` has refused a login without TLS; this holds even if it had not.
        if !connection.is_encrypted() {
            return Err(mend(format!("{place}: no login over a connection without TLS")));
        }
        let password = read_password(file).map_err(mend)?;
        let credentials = Credentials::new(user.clone(), password.as_str().to_owned());
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
            .await
            .map_err(|error| classify(&place, step, &error))?;
    }
    Ok(connection)
}

fn tls_parameters(host: String, ca_file: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host);
    if let Some(path) = ca_file {
        let shown = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("`smtp.ca_file` {shown}: {}", error.kind()))?;
        let holds_one = memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_some();
        let certificate = Certificate::from_pem(&pem)
            .ok()
            .filter(|_| holds_one)
            .ok_or_else(|| format!("`smtp.ca_file` {shown} holds no certificate in PEM form"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|_| "TLS cannot be set up: check `smtp.host` and `smtp.ca_file`".to_owned())
}

/// MAIL, RCPT, DATA, content (RFC 5321 §3.3). The message is ASCII, so no extension is asked for.
async fn envelope(
    connection: &mut AsyncSmtpConnection,
    from: Address,
    to: Address,
    message: &[u8],
    step: &mut Step,
) -> Result<(), Error> {
    let shown = to.to_string();
    connection.command(Mail::new(Some(from), Vec::new())).await?;
    *step = Step::Recipient(shown.clone());
    connection.command(Rcpt::new(to, Vec::new())).await?;
    *step = Step::Content(shown);
    connection.command(Data).await?;
    connection.message(message).await?;
    Ok(())
}

/// The outcome of a step that did not end in time. After the content it is unknown whether the server took
/// it; the repetition carries the same id.
fn silence(place: &str, step: &Step, limit: Duration) -> Outcome {
    let why = format!("{place} did not answer to {} within {:.0?}", step.describe(), limit);
    match step {
        Step::Resolve | Step::Connect | Step::Starttls | Step::Login => Outcome::Misconfigured { why },
        Step::Sender | Step::Recipient(_) | Step::Content(_) => Outcome::Retry { why },
    }
}

/// What an error means where it happened: the table of the module doc.
fn classify(place: &str, step: &Step, error: &Error) -> Outcome {
    if let Some(status) = error.status() {
        let code: u16 = status.into();
        let prose = error.source().map(ToString::to_string).unwrap_or_default();
        let enhanced = enhanced_status(&prose).map_or_else(String::new, |status| format!(" {status}"));
        let why = format!("{place} answered {code}{enhanced} to {}", step.describe());
        let about_login = matches!(code, 530 | 534 | 535 | 538);
        return match code {
            400..=499 => Outcome::Retry { why },
            _ if step.is_about_the_alert() && !about_login => Outcome::Refused { why },
            _ => Outcome::Misconfigured { why },
        };
    }
    let why = format!("{place}: {}", describe(step, error));
    if step.is_about_the_alert() || *step == Step::Sender {
        Outcome::Retry { why }
    } else {
        Outcome::Misconfigured { why }
    }
}

/// `5.7.1` at the beginning of a reply (RFC 3463): digits and dots only, the rest is prose.
fn enhanced_status(prose: &str) -> Option<&str> {
    let word = prose.split(' ').next()?;
    let mut parts = word.split('.');
    let class = parts.next().is_some_and(|part| matches!(part, "2" | "4" | "5"));
    let number = |part: Option<&str>| {
        part.is_some_and(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
    };
    (class && number(parts.next()) && number(parts.next()) && parts.next().is_none()).then_some(word)
}

/// An error without reply code, in our words.
fn describe(step: &Step, error: &Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return match tls {
                Some(tls) => describe_tls(tls),
                None => format!("{} failed: {}", step.describe(), io.kind()),
            };
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return describe_tls(tls);
        }
        source = cause.source();
    }
    match step {
        Step::Starttls if error.is_client() => {
            "the server does not offer STARTTLS (port 465 wants `tls: implicit`)".to_owned()
        }
        Step::Login if error.is_client() => "the server offers neither AUTH PLAIN nor LOGIN".to_owned(),
        _ => format!("{} ended in an answer that is not SMTP", step.describe()),
    }
}

fn describe_tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            Certificate::UnknownIssuer => {
                "no trusted authority signed the server's certificate (set `smtp.ca_file` for a private one)"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the server's certificate is for another name than `smtp.host`"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet: check the clocks"
            }
            _ => "the server's certificate is not acceptable",
        },
        rustls::Error::InvalidMessage(_) => "the server did not speak TLS (port 587 wants `tls: starttls`)",
        _ => "the TLS handshake failed",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_digits_of_a_reply_are_repeated() {
        assert_eq!(enhanced_status("5.7.1 your password hunter2 was wrong"), Some("5.7.1"));
        for prose in ["hunter2", "5.7", "5.7.1.2 x", "5.7.hunter2", "9.1.1", "5..1", "", "5.7.12345"] {
            assert_eq!(enhanced_status(prose), None, "{prose}");
        }
    }

    #[test]
    fn silence_is_sorted_by_step() {
        let second = Duration::from_secs(1);
        assert_eq!(
            silence("m:25", &Step::Login, second),
            Outcome::Misconfigured { why: "m:25 did not answer to the login within 1s".into() }
        );
        assert!(matches!(silence("m:25", &Step::Content("a@b".into()), second), Outcome::Retry { .. }));
    }

    #[tokio::test]
    async fn a_login_without_tls_is_refused_before_anything_is_sent() {
        let smtp = Smtp {
            host: "127.0.0.1".into(),
            port: Some(1),
            tls: Tls::None,
            user: Some("u".into()),
            password_file: Some("/nonexistent".into()),
            ca_file: None,
        };
        let outcome = Session::open(&smtp, TIMEOUT).await.err().unwrap();
        assert!(outcome.why().unwrap().contains("needs TLS"), "{outcome:?}");
    }
}
