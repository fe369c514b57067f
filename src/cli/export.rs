//! `export`: the trail for other programs, as the lines that it is or as a C2SP log directory.

use super::trail::{Which, failure, open_log};
use super::{Cli, print};
use crate::control;
use crate::error::Failure;
use crate::trail::TrailError;
use crate::trail::disk::{Disk, DiskFile, RealDisk};
use crate::trail::publish::{self, Exported, Log, PublishError};
use crate::trail::verify::trail_folder;
use clap::{Args, ValueEnum};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;

/// Arguments of `export`.
#[derive(Args)]
pub struct Export {
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    which: Which,
    /// Folder for tlog-tiles; file for jsonl [default there: standard output]
    #[arg(short, long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The static directory of a c2sp.org/tlog-tiles log: bundles, hash tiles, checkpoint
    TlogTiles,
    /// The entries' lines as they are stored
    Jsonl,
}

impl Export {
    /// Exports everything up to the newest checkpoint.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let dir = self.which.dir(cli)?;
        let (folder, key) = self.which.generation(&dir)?;
        let to_directory = match (self.format, &self.out) {
            (Format::TlogTiles, Some(out)) => Some(out),
            (Format::TlogTiles, None) => {
                return Err(Failure::Usage("`--format tlog-tiles` writes a folder: name it with -o".into()));
            }
            (Format::Jsonl, _) => None,
        };
        // The entry is made and signed before the checkpoint is read, so what is exported holds it.
        record_access(&dir, &format!("{} of {}", self.format.word(), key.name));
        let mut log = open_log(&folder, &key, None)?;
        match to_directory {
            Some(out) => {
                let exported = publish::export(&mut log, out).map_err(|error| failure(error, ""))?;
                print(&summary(&log, out, &exported, cli.json))?;
            }
            None => jsonl(&mut log, self.out.as_deref())?,
        }
        Ok(0)
    }
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Format::TlogTiles => "tlog-tiles",
            Format::Jsonl => "jsonl",
        }
    }
}

fn summary(log: &Log, out: &Path, exported: &Exported, json: bool) -> String {
    let head = log.head();
    if json {
        let document = serde_json::json!({
            "folder": out.display().to_string(), "origin": head.origin, "size": head.size,
            "root": head.root.hex(), "tiles": exported.tiles, "bundles": exported.bundles,
            "written": exported.written, "minimum": log.minimum(), "left_out": exported.left_out,
        });
        return format!("{document}\n");
    }
    let mut text = format!(
        "{}: {} entries of {}, root {}\n  {} hash tiles, {} entry bundles, checkpoint; {} files written now\n",
        out.display(),
        head.size,
        head.origin,
        head.root,
        exported.tiles,
        exported.bundles,
        exported.written
    );
    if log.minimum() > 0 {
        text.push_str(&format!(
            "  entries below {} were pruned; {} more stand in no bundle, for theirs began before\n",
            log.minimum(),
            exported.left_out
        ));
    }
    text
}

/// The lines to a file that does not exist yet, or to standard output. A file that turned out to hold something else than
/// what was signed does not stay.
fn jsonl(log: &mut Log, out: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = out else {
        return lines(log, &mut io::stdout().lock(), Path::new("standard output"));
    };
    let failed = |error| TrailError::io("write", path, error);
    let mut file = RealDisk.create(path, 0o640).map_err(failed)?;
    let written = lines(log, &mut Appended(&mut *file), path);
    match written {
        Ok(()) => Ok(file.sync().map_err(failed)?),
        Err(error) => {
            RealDisk.remove(path).map_err(failed)?;
            Err(error)
        }
    }
}

struct Appended<'a>(&'a mut dyn DiskFile);

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map(|()| bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(log: &mut Log, out: &mut dyn Write, name: &Path) -> Result<(), Failure> {
    let failed = |error| TrailError::io("write", name, error);
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let result =
        log.each_line(&mut |_, line| out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(failed));
    let result = result.and_then(|()| Ok(out.flush().map_err(failed)?));
    match result {
        // A reader that has seen enough.
        Err(PublishError::Trail(TrailError::Io { source, .. }))
            if source.kind() == io::ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        other => other.map_err(|error| failure(error, "")),
    }
}

/// Leaves an `access` entry where a daemon writes this trail; else says that there is none.
fn record_access(dir: &Path, detail: &str) {
    let trail = trail_folder(dir);
    let socket = trail.parent().unwrap_or(dir).join("control.sock");
    let request = serde_json::json!({ "do": "access", "what": "export", "detail": detail }).to_string();
    let why = match control::ask(&socket, &request) {
        Ok(reply) if reply["ok"] == true => return,
        Ok(reply) => reply["error"].as_str().unwrap_or("the daemon refused").to_owned(),
        Err(error) => format!("no daemon answers at {}: {error}", socket.display()),
    };
    eprintln!("crmwarden: this access was not recorded in the trail: {why}");
}
