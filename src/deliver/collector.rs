//! Alerts to a syslog collector: RFC 5424 over UDP, TCP or TLS, with CEF, OCSF or our own JSON as the message.
//!
//! TCP and TLS frame by octet counting (RFC 6587, RFC 5425). A collector confirms nothing: over TCP and TLS an alert
//! counts as delivered when the line took it and stayed open for a moment, over UDP when it was sent. README says so.

use super::Outcome;
use super::tls;
use crate::alert::{Notice, payload};
use crate::clock;
use crate::dial;
use crate::model::event::words;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long the line is watched after the message: a refusal comes at once.
const LINGER: Duration = Duration::from_millis(300);
/// Longest datagram: what every collector takes (RFC 5426) at the usual size of a frame.
const DATAGRAM_MAX: usize = 8192;

words!(
    /// How messages travel.
    Transport { Udp = "udp", Tcp = "tcp", Tls = "tls" }
);
words!(
    /// What they hold.
    Form {
        /// ArcSight's Common Event Format.
        Cef = "cef",
        /// Detection Finding of the Open Cybersecurity Schema Framework.
        Ocsf = "ocsf",
        /// As webhooks get it.
        Json = "json",
    }
);

/// `syslog:` of a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collector {
    /// Host and port.
    pub address: String,
    /// How messages travel.
    pub transport: Transport,
    /// What they hold.
    #[serde(default = "cef")]
    pub format: Form,
    /// Certificates (PEM) of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn cef() -> Form {
    Form::Cef
}

impl Collector {
    /// What is wrong with it, for `check`.
    pub fn problems(&self) -> Vec<String> {
        let port = self
            .address
            .rsplit_once(':')
            .and_then(|(host, port)| (!host.is_empty()).then_some(port.parse::<u16>().ok())?);
        let mut problems = Vec::new();
        if port.is_none() {
            problems.push("`address` is a host and a port: siem.example:6514".to_owned());
        }
        if self.ca_file.is_some() && self.transport != Transport::Tls {
            problems.push("`ca_file` is of use with `transport: tls` only".to_owned());
        }
        problems
    }

    fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']))
    }
}

/// Whether it can be reached; nothing is sent. Nobody answers a datagram, so over UDP nothing can be known.
pub async fn probe(collector: &Collector) -> Outcome {
    let port = collector.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(514);
    match collector.transport {
        Transport::Udp => Outcome::Delivered,
        Transport::Tcp => tls::reach(collector.host(), port, false, None).await,
        Transport::Tls => tls::reach(collector.host(), port, true, collector.ca_file.as_deref()).await,
    }
}

/// One attempt.
pub async fn deliver(collector: &Collector, notice: &Notice, now: SystemTime) -> Outcome {
    let body = match collector.format {
        Form::Cef => payload::cef(notice),
        Form::Ocsf => payload::ocsf(notice).to_string(),
        Form::Json => payload::webhook(notice).to_string(),
    };
    let message = payload::syslog(notice, &body, clock::of(now));
    match timeout(TIMEOUT, send(collector, message.into_bytes())).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Outcome::Retry { why: format!("{}: no end within {} s", collector.address, TIMEOUT.as_secs()) }
        }
    }
}

async fn send(collector: &Collector, message: Vec<u8>) -> Outcome {
    let place = &collector.address;
    let retry = |what: &str, error: &std::io::Error| Outcome::Retry {
        why: format!("{place}: {what}: {}", error.kind()),
    };
    if collector.transport == Transport::Udp {
        if message.len() > DATAGRAM_MAX {
            let why = format!(
                "{place}: an alert of {} bytes does not fit a datagram; use tcp or tls",
                message.len()
            );
            return Outcome::Refused { why };
        }
        let any = if place.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let sent = async {
            let socket = UdpSocket::bind(any).await?;
            socket.send_to(&message, place.as_str()).await
        };
        return match sent.await {
            Ok(_) => Outcome::Delivered,
            Err(error) => retry("cannot be sent to", &error),
        };
    }
    let stream = match TcpStream::connect(place.as_str()).await {
        Ok(stream) => stream,
        Err(error) => return retry("no connection", &error),
    };
    let mut framed = format!("{} ", message.len()).into_bytes();
    framed.extend_from_slice(&message);
    let written = match collector.transport {
        Transport::Tls => {
            let config = match dial::tls(collector.ca_file.as_deref()) {
                Ok(config) => config,
                Err(why) => return Outcome::Misconfigured { why },
            };
            let Ok(name) = rustls::pki_types::ServerName::try_from(collector.host().to_owned()) else {
                return Outcome::Misconfigured {
                    why: format!("{place}: no name that a certificate can be for"),
                };
            };
            match tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await {
                Ok(stream) => write(stream, &framed).await,
                Err(_) => {
                    let why =
                        format!("{place}: its certificate is not trusted, or it speaks no TLS; see ca_file");
                    return Outcome::Misconfigured { why };
                }
            }
        }
        _ => write(stream, &framed).await,
    };
    match written {
        Ok(()) => Outcome::Delivered,
        Err(error) => retry("the connection broke", &error),
    }
}

/// Writes all of it and sees whether the other side closes the line at once.
async fn write(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut none = [0; 1];
    match timeout(LINGER, stream.read(&mut none)).await {
        Ok(Ok(0)) => Err(std::io::ErrorKind::ConnectionReset.into()),
        Ok(Err(error)) => Err(error),
        // It said something, or nothing: both keep the line.
        Ok(Ok(_)) | Err(_) => {
            let _ = timeout(LINGER, stream.shutdown()).await;
            Ok(())
        }
    }
}
