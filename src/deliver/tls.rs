//! Opens a line to a receiver that is no mail server, to see whether it can be reached.

use super::Outcome;
use crate::dial;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a probe waits.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// Opens a line, with TLS where that is asked for, and hangs up.
pub(super) async fn reach(host: &str, port: u16, tls: bool, ca_file: Option<&Path>) -> Outcome {
    let stream = match timeout(PROBE_MAX, TcpStream::connect((host, port))).await {
        Err(_) => {
            return Outcome::Retry {
                why: format!("{host}:{port}: no answer within {} s", PROBE_MAX.as_secs()),
            };
        }
        Ok(Err(error)) => return Outcome::Retry { why: format!("{host}:{port}: {}", error.kind()) },
        Ok(Ok(stream)) => stream,
    };
    if !tls {
        return Outcome::Delivered;
    }
    let config = match dial::tls(ca_file) {
        Ok(config) => config,
        Err(why) => return Outcome::Misconfigured { why },
    };
    let Ok(name) = rustls::pki_types::ServerName::try_from(host.to_owned()) else {
        return Outcome::Misconfigured { why: format!("{host} is no name that a certificate can be for") };
    };
    match timeout(PROBE_MAX, tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(Ok(_)) => Outcome::Delivered,
        _ => Outcome::Misconfigured {
            why: format!("{host}:{port}: its certificate is not trusted, or it speaks no TLS; see ca_file"),
        },
    }
}
