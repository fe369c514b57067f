//! `scan`: card and social-security numbers in files or standard input, as NDJSON.

use super::print;
use crate::error::Failure;
use crate::inspect::dlp;
use crate::model::Key;
use crate::trail::keys;
use clap::Args;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

/// Longest line that is looked at as a whole; the rest of a longer one is looked at as further lines of
/// the same number.
const LINE_MAX: u64 = 16 << 20;

/// Arguments of `scan`.
#[derive(Args)]
pub struct Scan {
    /// Files; standard input when there are none
    files: Vec<PathBuf>,
    /// Key for the fingerprints (64 hexadecimal digits); random for this call when absent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Scan {
    /// Scans; exit 1 when something was found.
    pub fn main(&self) -> Result<u8, Failure> {
        let key = match &self.key {
            Some(path) => keys::read_symmetric(&crate::trail::disk::RealDisk, path, 0)?,
            None => Key::new(0, keys::random()?),
        };
        let mut found = false;
        if self.files.is_empty() {
            found |= scan(std::io::stdin().lock(), &key, "standard input")?;
        }
        for path in &self.files {
            let name = super::masked(&path.display().to_string());
            let file =
                File::open(path).map_err(|error| Failure::Runtime(format!("cannot read {name}: {error}")))?;
            found |= scan(BufReader::with_capacity(1 << 20, file), &key, &name)?;
        }
        Ok(u8::from(found))
    }
}

fn scan(mut reader: impl BufRead, key: &Key, name: &str) -> Result<bool, Failure> {
    let mut line = Vec::new();
    let mut number = 1;
    let mut found = false;
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let read = read.map_err(|error| Failure::Runtime(format!("cannot read {name}: {error}")))?;
        if read == 0 {
            return Ok(found);
        }
        let ended = line.last() == Some(&b'\n');
        if ended {
            line.pop();
        }
        let text = same_length(&line);
        let mut out = String::new();
        for finding in dlp::scan_line(number, &text, key) {
            out.push_str(&finding);
            out.push('\n');
        }
        if !out.is_empty() {
            found = true;
            print(&out)?;
        }
        number += u64::from(ended);
    }
}

/// The line as text of the same length: a byte that is not UTF-8 becomes one `?`, so that offsets hold.
fn same_length(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}
