//! `keys export`: the trail's public keys in the forms that other tools read.

use super::{Cli, masked, print};
use crate::config::Config;
use crate::error::Failure;
use crate::operator::Act;
use crate::report::{Public, minisign, sshsig};
use crate::trail::disk::RealDisk;
use crate::trail::note::Verifier;
use crate::trail::verify::trail_folder;
use crate::trail::{epoch, generation};
use base64::Engine as _;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Subcommands of `keys`.
#[derive(Subcommand)]
pub enum Keys {
    /// List the epochs: which key signed from which entry on
    List(List),
    /// Change the epoch key now: who has today's cannot rewrite what is signed by then
    Rotate(Rotate),
    /// Print the public keys
    Export(Export),
}

/// Arguments of `keys list`.
#[derive(Args)]
pub struct List {
    /// State or trail folder [default: the configured state]
    dir: Option<PathBuf>,
}

/// Arguments of `keys rotate`.
#[derive(Args)]
pub struct Rotate {
    /// Why, for the record
    #[arg(long)]
    reason: String,
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

impl Keys {
    /// Lists, changes or prints keys.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let export = match self {
            Keys::List(list) => return list.main(cli),
            Keys::Rotate(Rotate { reason }) => {
                return super::act::act(cli, &Act::RotateEpoch { reason: reason.clone() });
            }
            Keys::Export(export) => export,
        };
        let dir = match &export.dir {
            Some(dir) => dir.clone(),
            None => Config::find(cli.config.as_deref())?.state,
        };
        let public = Public::read(&dir)?;
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

impl List {
    fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => Config::find(cli.config.as_deref())?.state,
        };
        let trail = trail_folder(&dir);
        let mut text = String::new();
        for number in generation::all(&RealDisk, &trail)? {
            for epoch in epoch::history(&RealDisk, &trail.join(format!("g{number}")))? {
                text.push_str(&match cli.json {
                    true => format!("{}\n", serde_json::json!({ "generation": number, "epoch": epoch })),
                    false => format!(
                        "g{number} epoch {:<6} from entry {:>12}, {}  {}\n",
                        epoch.epoch, epoch.since, epoch.time, epoch.key
                    ),
                });
            }
        }
        match text.is_empty() {
            true => Err(Failure::Runtime(format!("there is no trail in {}", dir.display()))),
            false => print(&masked(&text)).map(|()| 0),
        }
    }
}

/// SubjectPublicKeyInfo in PEM (RFC 8410).
fn pem(key: &Verifier) -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(key.key.as_bytes());
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
}
