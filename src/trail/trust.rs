//! The trust file: what an outsider pins, so that the trail's own word is not needed.
//!
//! ```text
//! crmwarden-trust v1
//! origin <origin>
//! log <vkey>
//! epoch0 <vkey>
//! entry0 <leaf hash of entry 0, 64 hex>
//! report <ssh-ed25519 line>
//! tsa <path of a CA in PEM, relative to this file>      optional: whose time stamps count
//!
//! <C2SP tlog-policy lines>
//! ```

use super::note::Verifier;
use crate::model::Hash;

/// First line of every trust file.
const HEAD: &str = "crmwarden-trust v1";

/// A trust file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The trail's origin.
    pub origin: String,
    /// The log key.
    pub log: Verifier,
    /// The first epoch's key.
    pub epoch: Verifier,
    /// Leaf hash of entry 0.
    pub entry0: Hash,
    /// The report key as OpenSSH writes it.
    pub report: String,
}

impl Trust {
    /// The file's text.
    pub fn text(&self) -> String {
        format!(
            "{HEAD}\norigin {}\nlog {}\nepoch0 {}\nentry0 {}\nreport {}\n\nlog {}\nquorum none\n",
            self.origin,
            self.log.vkey(),
            self.epoch.vkey(),
            self.entry0,
            self.report,
            self.log.vkey()
        )
    }

    /// The path that a trust file names for the authority of time stamps, as it stands there.
    pub fn authority(text: &str) -> Option<&str> {
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix("tsa ")).map(str::trim).next()
    }

    /// Reads a trust file; the error says what is missing or wrong.
    pub fn parse(text: &str) -> Result<Trust, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("a trust file begins with `{HEAD}`"));
        }
        let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        let value = |name: &str| {
            lines
                .iter()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(|| format!("the line `{name} …` is missing"))
        };
        let vkey = |name: &str| {
            Verifier::parse(value(name)?).ok_or_else(|| format!("`{name}` is not a valid verifier key"))
        };
        Ok(Trust {
            origin: value("origin")?.to_owned(),
            log: vkey("log")?,
            epoch: vkey("epoch0")?,
            entry0: Hash::parse(value("entry0")?).ok_or("`entry0` is not 64 hexadecimal digits")?,
            report: value("report")?.to_owned(),
        })
    }
}
