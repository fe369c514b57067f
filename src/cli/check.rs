//! `check`: everything that can be known offline.

use super::{Cli, print};
use crate::config::Config;
use crate::daemon::load_policies;
use crate::error::Failure;
use crate::inspect::behaviour::{DetectionRule, Kind};
use crate::trail::detail::Privacy;

/// Reads the configuration and proves the policies.
pub fn main(cli: &Cli) -> Result<u8, Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let policies = load_policies(&config)?;
    let unseen = not_observable(&config, &policies);
    for warning in config.warnings.iter().chain(&unseen) {
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
            "warnings": config.warnings.iter().chain(&unseen).collect::<Vec<_>>(),
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

/// Rules that can never fire under this configuration, each with the reason.
pub(super) fn not_observable(config: &Config, policies: &crate::policy::Policies) -> Vec<String> {
    let travels = |rule: &&DetectionRule| rule.correlations.iter().any(|it| it.kind == Kind::Travel);
    let erasable = config.privacy == Privacy::Erasable;
    let rules = policies.detections.iter().filter(travels).filter(|_| erasable);
    rules
        .map(|rule| {
            format!("{} is not observable: coordinates are details of an erasable deployment", rule.id)
        })
        .collect()
}
