//! `check`: everything that can be known offline.

use super::{Cli, print};
use crate::config::Config;
use crate::daemon::load_policies;
use crate::error::Failure;

/// Reads the configuration and proves the policies.
pub fn main(cli: &Cli) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let policies = load_policies(&config)?;
    for warning in &config.warnings {
        eprintln!("crmwarden: warning: {}", super::masked(warning));
    }
    let file = config.file.display().to_string();
    if cli.json {
        let document = serde_json::json!({
            "ok": true,
            "file": file,
            "sources": config.sources.len(),
            "receivers": config.receivers.len(),
            "policies": policies.files.len(),
            "rules": policies.rule_ids,
            "frameworks": policies.frameworks.len(),
            "digest": policies.digest.hex(),
            "warnings": config.warnings,
        });
        print(&format!("{document}\n"))?;
    } else {
        print(&format!(
            "{file}: good\n  {} sources, {} receivers\n  {} policy files, {} rules, every example proven\n",
            config.sources.len(),
            config.receivers.len(),
            policies.files.len(),
            policies.rule_ids.len()
        ))?;
    }
    Ok(0)
}
