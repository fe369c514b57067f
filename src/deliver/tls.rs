//! TLS for receivers that are not mail servers: which authorities are trusted.

use std::path::Path;
use std::sync::Arc;

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
