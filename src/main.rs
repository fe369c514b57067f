//! `crmwarden`: arguments → command → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process, before anybody can ask for another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    crmwarden::cli::main()
}
