//! How this program opens lines to others: which authorities are trusted, and what an HTTP client of ours never does.

use std::path::Path;
use std::sync::Arc;

/// TLS with the system's authorities, or those of a file instead. Where the system has none, `https:` fails at each
/// attempt. The error says what to mend.
pub fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
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
        .map_err(|error| format!("no TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// An HTTP client: no redirects, no proxy of the environment, a connection for each request.
pub fn http(ca_file: Option<&Path>) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca_file)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .user_agent(concat!("crmwarden/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| "no HTTP client".to_owned())
}
