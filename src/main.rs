//! `crmwarden`: arguments → command → exit code.

use std::process::ExitCode;

// An event is some twenty short strings, made and dropped over a hundred thousand times a second; the
// system's allocator took a sixth of the stage's time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for the whole process, before anybody can ask for another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    crmwarden::cli::main()
}
