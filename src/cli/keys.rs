//! `keys export`: the trail's public keys in the forms that other tools read.

use super::{Cli, print};
use crate::config::Config;
use crate::error::Failure;
use crate::model::{Hash, Time};
use crate::report::{minisign, sshsig};
use crate::trail::entry::Entry;
use crate::trail::note::Verifier;
use crate::trail::read::{Lines, Met, segments};
use crate::trail::tree::leaf_hash;
use crate::trail::trust::Trust;
use crate::trail::verify::trail_folder;
use base64::Engine as _;
use clap::{Args, Subcommand, ValueEnum};
use ed25519_dalek::VerifyingKey;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Subcommands of `keys`.
#[derive(Subcommand)]
pub enum Keys {
    /// Print the public keys
    Export(Export),
}

/// Arguments of `keys export`.
#[derive(Args)]
pub struct Export {
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// State or trail folder [default: the configured state]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// The log key as PEM, for openssl
    Pem,
    /// Log key and epoch key as C2SP verifier keys
    Vkey,
    /// The report key as an allowed_signers line, for ssh-keygen -Y verify
    Ssh,
    /// The report key for minisign -V
    Minisign,
    /// The trust file: everything that an outsider pins
    Trust,
}

/// What entry 0 says.
pub struct Public {
    /// As a trust file holds it.
    pub trust: Trust,
    /// The deployment's name.
    pub deployment: String,
    /// The report key.
    pub report: VerifyingKey,
    /// When the trail began.
    pub began: Time,
}

impl Keys {
    /// Prints the keys that entry 0 of the trail names.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let Keys::Export(export) = self;
        let dir = match &export.dir {
            Some(dir) => dir.clone(),
            None => Config::find(cli.config.as_deref())?.state,
        };
        let public = read(&dir)?;
        let trust = &public.trust;
        print(&match export.format {
            Format::Pem => pem(&trust.log),
            Format::Vkey => format!("{}\n{}\n", trust.log.vkey(), trust.epoch.vkey()),
            Format::Ssh => {
                let line = sshsig::allowed_signer_line(&public.report, &public.deployment, public.began);
                format!("{line}\n")
            }
            Format::Minisign => minisign::public_key_file(&public.report),
            Format::Trust => trust.text(),
        })?;
        Ok(0)
    }
}

/// SubjectPublicKeyInfo in PEM (RFC 8410).
fn pem(key: &Verifier) -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(key.key.as_bytes());
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
}

/// Reads entry 0 of a trail.
pub fn read(dir: &Path) -> Result<Public, Failure> {
    #[derive(Deserialize)]
    struct Genesis {
        origin: String,
        log: String,
        epoch: String,
        report: String,
    }
    let folder = trail_folder(dir).join("g1");
    let nothing = || Failure::Runtime(format!("there is no trail in {}", dir.display()));
    let first = segments(&folder)?.into_iter().next().ok_or_else(nothing)?;
    let mut lines = Lines::open(&first.path, 0)?;
    if !matches!(lines.next_line(), Ok(Met::Line)) {
        return Err(nothing());
    }
    let entry0: Hash = leaf_hash(lines.line());
    let entry = Entry::parse(lines.line()).ok_or_else(nothing)?;
    let genesis: Option<Genesis> = serde_json::from_slice(&entry.object()).ok();
    let Genesis { origin, log, epoch, report: line } = genesis.ok_or_else(nothing)?;
    let (Some(log), Some(epoch), Some(report)) =
        (Verifier::parse(&log), Verifier::parse(&epoch), sshsig::parse_public_key_line(&line))
    else {
        return Err(nothing());
    };
    let deployment = origin.split('/').next().unwrap_or_default().to_owned();
    Ok(Public {
        trust: Trust { origin, log, epoch, entry0, report: line },
        deployment,
        report,
        began: entry.time,
    })
}
