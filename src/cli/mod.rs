//! The command line: one file a command. Data goes to stdout, everything else to stderr.

pub mod act;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod init;
pub mod keys;
pub mod manual;
pub mod pack;
pub mod report;
pub mod respond;
pub mod run;
pub mod scan;
pub mod search;
pub mod status;
pub mod trail;
pub mod verify;
pub mod witness;

use crate::error::Failure;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// A security and compliance auditing daemon for CRM deployments.
///
/// It tails CRM access logs and change feeds, finds card and social-security numbers, compares what people
/// may do, can do and did, keeps a hash-chained and signed audit trail, raises alerts and serves metrics.
/// `crmwarden demo` shows all of it in a minute.
#[derive(Parser)]
#[command(version, about, long_about, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file [default: crmwarden.yaml, then /etc/crmwarden/crmwarden.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data on stdout as one JSON document or NDJSON, with stable names
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a workspace with sample feeds of three CRMs and run the daemon on it
    Demo(demo::Demo),
    /// Everything for a real deployment: commented configuration, policies, keys, trust file
    Init(init::Init),
    /// The daemon
    Run(run::Run),
    /// Validate configuration and policies offline, and prove every rule by its examples
    Check,
    /// Probe what `run` will need: files, permissions, mail server, addresses, clock, disk
    Doctor,
    /// Find card and social-security numbers in files or standard input
    Scan(scan::Scan),
    /// Verify a trail; needs no configuration
    Verify(verify::Verify),
    /// Incidents: list, acknowledge, assign, move through the lifecycle, deadlines of notifications
    Incidents(respond::Incidents),
    /// Silences: quiet with a reason and an end; what is silenced is recorded all the same
    #[command(subcommand)]
    Silence(respond::Silence),
    /// Alerts owed, and those that a receiver refused for good
    #[command(subcommand)]
    Outbox(respond::Outbox),
    /// Fire drills
    #[command(subcommand)]
    Alert(respond::Alert),
    /// Events and findings by who, what, which record, when and text
    Search(search::Search),
    /// Why a detection fired or did not: the trail replayed for one rule
    Explain(search::Explain),
    /// A signed evidence report for a period and a framework
    Report(report::Report),
    /// The trail for other programs: its lines, or a C2SP log directory
    Export(export::Export),
    /// Is the daemon alive, what has it read, where is its head
    Status,
    /// Erase personal details of entries, where the trail was made with `privacy: erasable`
    Erase(act::Erase),
    /// Remove the oldest entries at the end of their retention; later ones still verify
    Prune(act::Prune),
    /// Legal holds: while one is in force nothing is pruned or erased
    #[command(subcommand)]
    Hold(act::Hold),
    /// Keys of the trail: list, change of epoch, export of the public ones
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Proofs from the trail that others can check
    #[command(subcommand)]
    Trail(trail::Trail),
    /// This host as a witness of other logs
    #[command(subcommand)]
    Witness(witness::Witness),
    /// Completions for a shell, on stdout
    Completions(manual::Completions),
    /// The manual as man pages
    Man(manual::Man),
}

/// Runs the command line that this process was given.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.command {
        Command::Run(_) => tracing::Level::INFO,
        _ => tracing::Level::WARN,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time(); // The service manager's journal stamps every line.
    // What libraries have to say is said by us, where it matters, in words that help.
    let ours = Targets::new().with_target("crmwarden", level);
    tracing_subscriber::registry().with(lines).with(ours).init();
    let result = match &cli.command {
        Command::Demo(demo) => demo.main(),
        Command::Run(run) => run.main(&cli),
        Command::Init(init) => init.main(),
        Command::Doctor => doctor::main(&cli),
        Command::Search(search) => search.main(&cli),
        Command::Explain(explain) => explain.main(&cli),
        Command::Completions(completions) => completions.main(),
        Command::Man(man) => man.main(),
        Command::Check => check::main(&cli),
        Command::Scan(scan) => scan.main(),
        Command::Verify(verify) => verify.main(&cli),
        Command::Incidents(incidents) => incidents.main(&cli),
        Command::Silence(silence) => silence.main(&cli),
        Command::Outbox(outbox) => outbox.main(&cli),
        Command::Alert(alert) => alert.main(&cli),
        Command::Report(report) => report.main(&cli),
        Command::Export(export) => export.main(&cli),
        Command::Status => status::main(&cli),
        Command::Erase(erase) => erase.main(&cli),
        Command::Prune(prune) => prune.main(&cli),
        Command::Hold(hold) => hold.main(&cli),
        Command::Keys(keys) => keys.main(&cli),
        Command::Trail(trail) => trail.main(&cli),
        Command::Witness(witness) => witness.main(&cli),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("crmwarden: {}", masked(&failure.to_string()));
            ExitCode::from(failure.exit())
        }
    }
}

/// Text for the terminal: numbers masked, control characters made visible.
pub fn masked(text: &str) -> String {
    let text = crate::inspect::dlp::mask(text).unwrap_or_else(|| text.to_owned());
    text.split('\n').map(crate::alert::text::visible).collect::<Vec<_>>().join("\n")
}

/// Writes a document to stdout. A reader that went away is no error of ours.
pub fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
