//! TLS for receivers that are not mail servers: which authorities are trusted.

use super::Outcome;
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
    let config = match config(ca_file) {
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

/// A client's setting: the system's authorities, or those of a file instead. The error says what to mend.
pub(super) fn config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(file) => {
            let found = rustls_native_certs::load_certs_from_paths(Some(file), None);
            if roots.add_parsable_certificates(found.certs).0 == 0 {
                return Err(format!("ca_file {} holds no certificate in PEM form", file.display()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "no TLS".to_owned())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
