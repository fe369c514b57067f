//! `keys export`: the trail's public keys in the forms that other tools read.

use super::{Cli, print};
use crate::config::Config;
use crate::error::Failure;
use crate::model::Hash;
use crate::trail::disk::RealDisk;
use crate::trail::note::Verifier;
use crate::trail::tree::leaf_hash;
use crate::trail::trust::Trust;
use crate::trail::verify::trail_folder;
use crate::trail::{Genesis, generation, genesis_line};
use base64::Engine as _;
use clap::{Args, Subcommand, ValueEnum};
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
    /// The trust file: everything that an outsider pins
    Trust,
}

/// What entry 0 says.
pub struct Public {
    /// As a trust file holds it.
    pub trust: Trust,
    /// The deployment's name.
    pub deployment: String,
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
            Format::Ssh => format!(
                "{} namespaces=\"{}\" {}\n",
                public.deployment,
                crate::report::sshsig::NAMESPACE,
                trust.report
            ),
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

/// Reads entry 0 of a trail's newest generation.
pub fn read(dir: &Path) -> Result<Public, Failure> {
    let trail = trail_folder(dir);
    let nothing = || Failure::Runtime(format!("there is no trail in {}", dir.display()));
    let number = generation::all(&RealDisk, &trail)?.pop().ok_or_else(nothing)?;
    let line = genesis_line(&RealDisk, &trail.join(format!("g{number}")))?.ok_or_else(nothing)?;
    let entry0: Hash = leaf_hash(&line);
    let Genesis { origin, log, epoch, report, .. } = Genesis::of_line(&line).ok_or_else(nothing)?;
    let (Some(log), Some(epoch)) = (Verifier::parse(&log), Verifier::parse(&epoch)) else {
        return Err(nothing());
    };
    let deployment = origin.split('/').next().unwrap_or_default().to_owned();
    Ok(Public { trust: Trust { origin, log, epoch, entry0, report }, deployment })
}
