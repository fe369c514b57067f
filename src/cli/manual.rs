//! `completions` and `man`: from the one definition of the command line.

use super::Cli;
use crate::error::Failure;
use crate::trail::disk::{Disk, RealDisk, write_new};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Arguments of `completions`.
#[derive(Args)]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Args)]
pub struct Man {
    /// Write a page for every command into this folder [default: the main page to stdout]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Completions {
    /// Prints the script.
    pub fn main(&self) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "crmwarden", &mut script);
        super::print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}

impl Man {
    /// Prints or writes the pages.
    pub fn main(&self) -> Result<u8, Failure> {
        let Some(dir) = &self.output else {
            let page = page(Cli::command())?;
            super::print(&String::from_utf8_lossy(&page))?;
            return Ok(0);
        };
        let fault = |error| Failure::Runtime(format!("cannot write into {}: {error}", dir.display()));
        RealDisk.make_dir(dir, 0o755).map_err(fault)?;
        let mut pages = vec![("crmwarden".to_owned(), Cli::command())];
        // Parents before children, so that a page is named after the whole command.
        let mut place = 0;
        while let Some((name, command)) = pages.get(place).cloned() {
            let below = command.get_subcommands().filter(|child| child.get_name() != "help");
            pages.extend(below.map(|child| (format!("{name}-{}", child.get_name()), child.clone())));
            place += 1;
        }
        for (name, command) in pages {
            let command = command.name(name.clone().leak() as &'static str);
            write_new(&RealDisk, &dir.join(format!("{name}.1")), &page(command)?, 0o644).map_err(fault)?;
        }
        Ok(0)
    }
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(command).render(&mut page);
    written.map_err(|error| Failure::Runtime(format!("no page: {error}")))?;
    Ok(page)
}
