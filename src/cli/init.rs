//! `init`: everything for a real deployment, commented: configuration, policies, keys, an empty trail, a trust file.
//!
//! Nothing that is there is written over. The trail is made at once, so that its trust file can go to the auditor
//! before the first record is in it: what is pinned then cannot be exchanged later.

use super::pack::POLICIES;
use super::{masked, print};
use crate::clock;
use crate::config::Config;
use crate::error::Failure;
use crate::trail::Paths;
use crate::trail::create::check_deployment;
use crate::trail::disk::{Disk, RealDisk, write_new};
use crate::trail::recover::open_as;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `init`.
#[derive(Args)]
pub struct Init {
    /// Where the configuration is to be
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Names the trail for ever, a domain for example [default: this host's name]
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// Where the state is to be [default: `state` beside the configuration]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Names, ids and addresses become erasable details apart from the trail; cannot be changed later
    #[arg(long)]
    erasable: bool,
}

const CONFIG: &str = include_str!("init.yaml");

impl Init {
    /// Writes what is not there yet and says what to do next.
    pub fn main(&self) -> Result<u8, Failure> {
        let deployment = self.deployment.clone().unwrap_or_else(crate::daemon::host);
        check_deployment(&deployment).map_err(|error| {
            Failure::Usage(format!("{error}; name one with --deployment, acme.example for instance"))
        })?;
        let dir = std::path::absolute(&self.dir)
            .map_err(|error| Failure::Runtime(format!("cannot use {}: {error}", self.dir.display())))?;
        let privacy = if self.erasable { "erasable" } else { "plain" };
        let mut config = CONFIG.replace("DEPLOYMENT", &deployment).replace("PRIVACY", privacy);
        if let Some(state) = &self.state {
            let state = state.display().to_string();
            config = config
                .replace("state: state                        #", &format!("state: {state}    #"))
                .replace("directory: alerts               #", &format!("directory: {state}-alerts    #"));
        }
        let mut said = String::new();
        let mut kept = 0;
        let mut file = |name: &str, text: &str| -> Result<(), Failure> {
            let path = dir.join(name);
            let fault = |error| Failure::Runtime(format!("cannot write {}: {error}", path.display()));
            RealDisk.make_dir(path.parent().unwrap_or(&dir), 0o750).map_err(fault)?;
            match path.exists() {
                true => kept += 1,
                false => write_new(&RealDisk, &path, text.as_bytes(), 0o640).map_err(fault)?,
            }
            Ok(())
        };
        file("crmwarden.yaml", &config)?;
        for (name, text) in POLICIES {
            file(name, text)?;
        }
        said.push_str(&format!(
            "  crmwarden.yaml     every setting, commented\n  policies/          {} files\n",
            POLICIES.len()
        ));
        let config = Config::read(&dir.join("crmwarden.yaml"))?;
        let created = trail(&config)?;
        let trust = dir.join("trust.txt");
        if !trust.exists() {
            let public = crate::report::Public::read(&config.state)?;
            write_new(&RealDisk, &trust, public.trust.text().as_bytes(), 0o640)
                .map_err(|error| Failure::Runtime(format!("cannot write {}: {error}", trust.display())))?;
        }
        let trail = if created { "made, with its keys" } else { "was there" };
        said.push_str(&format!("  {:<18} the trail: {trail}\n", shown(&dir, &config.state)));
        said.push_str(&format!(
            "  {:<18} the long-lived keys: back them up apart from the state\n",
            shown(&dir, &config.keys)
        ));
        said.push_str(
            "  trust.txt          for whoever is to verify the trail: give it to them now, by another way\n",
        );
        if kept > 0 {
            said.push_str(&format!("  {kept} files were there and are as they were\n"));
        }
        let at = if self.dir == Path::new(".") {
            String::new()
        } else {
            format!(" -c {}", dir.join("crmwarden.yaml").display())
        };
        print(&format!(
            "{} in {}\n{said}\nNext: name your sources and receivers in crmwarden.yaml, then\n  crmwarden{at} check       what is wrong, offline\n  \
             crmwarden{at} doctor      what `run` will meet: files, mail server, disk\n  crmwarden{at} run         the daemon\n  \
             crmwarden{at} alert test  a fire drill to every receiver, while it runs\n",
            masked(&deployment),
            dir.display()
        ))?;
        Ok(0)
    }
}

/// Makes the trail, unless it is there.
fn trail(config: &Config) -> Result<bool, Failure> {
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    if paths.trail().join("g1").is_dir() {
        return Ok(false);
    }
    let made_as = (config.deployment.as_str(), config.privacy);
    let mut opened = open_as(&disk, &paths, made_as, clock::now(), &mut |_, _| ())?;
    opened.trail.checkpoint(clock::now())?;
    Ok(true)
}

/// A path, short where it is below the folder.
fn shown(dir: &Path, path: &Path) -> String {
    match path.strip_prefix(dir) {
        Ok(short) => format!("{}/", short.display()),
        Err(_) => path.display().to_string(),
    }
}
