//! `witness vkey`: the public key of this host's role as a witness, for the other site's configuration.

use super::{Cli, print};
use crate::config::Config;
use crate::error::Failure;
use crate::listen::witness::public;
use crate::trail::disk::RealDisk;
use clap::Subcommand;

/// Subcommands of `witness`.
#[derive(Subcommand)]
pub enum Witness {
    /// Print the verifier key (C2SP, type 04); the key is made where there is none yet
    Vkey,
}

impl Witness {
    /// Prints the key of the configured name.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let Witness::Vkey = self;
        let config = Config::find(cli.config.as_deref())?;
        let role = config.listen.as_ref().and_then(|listen| listen.witness.as_ref());
        let role = role.ok_or_else(|| {
            Failure::Usage("this configuration has no `witness:`: its name is part of the key".into())
        })?;
        let key = public(&RealDisk, &config.keys, &role.name)?;
        print(&format!("{}\n", key.vkey()))?;
        Ok(0)
    }
}
