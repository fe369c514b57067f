//! `verify`: the verdict about one or more trails, for people and for programs.

use super::{Cli, print};
use crate::error::Failure;
use crate::trail::disk::{self, RealDisk};
use crate::trail::note::NOTE_MAX;
use crate::trail::overlap::{Overlap, RANGES_MAX, overlaps};
use crate::trail::timestamp::Authorities;
use crate::trail::tlog_policy::of_trust_file;
use crate::trail::trust::Trust;
use crate::trail::verify::{Anchor, Given, Outcome, Verdict, verify};
use clap::Args;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Arguments of `verify`.
#[derive(Args)]
pub struct Verify {
    /// State or trail folders [default: the configured state]
    dirs: Vec<PathBuf>,
    /// Trust file from a second channel: only its keys count
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// A checkpoint that you kept, or its line in a log: the trail must contain that history
    #[arg(long, value_name = "FILE")]
    known_head: Option<PathBuf>,
    /// Recovered, unpinned and unanchored are not good enough (exit 25)
    #[arg(long)]
    strict: bool,
}

impl Verify {
    /// Verifies; the exit code is the worst verdict's.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let mut dirs = self.dirs.clone();
        if dirs.is_empty() {
            dirs.push(crate::config::Config::find(cli.config.as_deref())?.state);
        }
        let mut given = match &self.trust {
            None => Given::default(),
            Some(path) => trusted(path)?,
        };
        // A line that a log kept will do as well.
        let known_head = self.known_head.as_deref().map(text).transpose()?;
        given.known_head = known_head.map(|head| crate::anchor::line::note_of(&head).unwrap_or(head));
        given.strict = self.strict;
        let mut worst: Option<(Verdict, u8)> = None;
        for dir in &dirs {
            if !dir.is_dir() {
                return Err(Failure::Runtime(format!("{} is no folder", dir.display())));
            }
            let outcome = verify(dir, &given, &mut progress)?;
            let json = serde_json::to_string(&outcome)
                .map_err(|error| Failure::Runtime(format!("cannot write the result: {error}")))?;
            print(&if cli.json { format!("{json}\n") } else { words(dir, &outcome) })?;
            if worst.is_none_or(|(verdict, _)| outcome.verdict < verdict) {
                worst = Some((outcome.verdict, outcome.exit));
            }
        }
        if dirs.len() > 1 {
            for overlap in overlaps(&RealDisk, &dirs)? {
                let json = serde_json::to_string(&overlap)
                    .map_err(|error| Failure::Runtime(format!("cannot write the result: {error}")))?;
                print(&if cli.json { format!("{json}\n") } else { shared(&overlap) })?;
            }
        }
        Ok(worst.map_or(0, |(_, exit)| exit))
    }
}

/// What stands in two of several trails.
fn shared(overlap: &Overlap) -> String {
    let Overlap { stream, messages, twice, ranges, within_one } = overlap;
    let mut text = match twice {
        0 => format!("{stream}: no message stands in two of these trails ({messages} in all)\n"),
        _ => format!(
            "{stream}: {twice} messages stand in two of these trails ({messages} in all): a daemon was killed before\n\
             the server had its acknowledgement, and another read them again. Sequences:\n"
        ),
    };
    for (first, last) in ranges {
        text.push_str(&if first == last { format!("  {first}\n") } else { format!("  {first} to {last}\n") });
    }
    if ranges.len() == RANGES_MAX {
        text.push_str("  and perhaps more\n");
    }
    if *within_one > 0 {
        text.push_str(&format!(
            "{stream}: {within_one} messages stand twice in one trail: a fault, please report it\n"
        ));
    }
    text
}

/// Everything that a trust file says: keys, whose cosignatures and whose time stamps count.
fn trusted(path: &Path) -> Result<Given, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let content = text(path)?;
    let authorities = match Trust::authority(&content) {
        None => None,
        Some(name) => {
            let file = path.parent().unwrap_or(Path::new(".")).join(name);
            let pem = text(&file)?;
            let read = Authorities::parse(pem.as_bytes());
            Some(read.map_err(|why| Failure::Usage(format!("{}: {why}", file.display())))?)
        }
    };
    Ok(Given {
        trust: Some(Trust::parse(&content).map_err(wrong)?),
        policy: Some(of_trust_file(&content).map_err(|error| wrong(error.to_string()))?),
        authorities,
        ..Given::default()
    })
}

fn text(path: &Path) -> Result<String, Failure> {
    let fault = |what: String| Failure::Runtime(format!("{}: {what}", path.display()));
    let bytes = disk::read_small(path, NOTE_MAX as u64).map_err(|error| fault(error.to_string()))?;
    String::from_utf8(bytes.ok_or_else(|| fault("does not exist".into()))?)
        .map_err(|_| fault("is not text".into()))
}

fn progress(entries: u64) {
    if entries.is_multiple_of(1_048_576) && entries > 0 && std::io::stderr().is_terminal() {
        eprintln!("{entries} entries read");
    }
}

/// Up to where something off this host vouches for the trail, and what.
fn anchored(outcome: &Outcome) -> String {
    let oldest = outcome.oldest_unanchored.map_or_else(String::new, |time| {
        format!("; the oldest\n            entry that nothing vouches for is of {time}")
    });
    if outcome.anchored_to == 0 {
        return match oldest.is_empty() {
            true => "  anchored  no entries\n".to_owned(),
            false => format!("  anchored  no: nothing off this host vouches for it{oldest}\n"),
        };
    }
    let mut text = format!("  anchored  {} of {} entries{oldest}\n", outcome.anchored_to, outcome.size);
    let mut newest: BTreeMap<(&str, &str), &Anchor> = BTreeMap::new();
    for anchor in &outcome.anchors {
        let known = newest.entry((anchor.kind, &anchor.name)).or_insert(anchor);
        if known.size < anchor.size {
            *known = anchor;
        }
    }
    for anchor in newest.values() {
        let time = anchor.time.map_or_else(String::new, |time| format!(", {time}"));
        let kind = anchor.kind.replace('_', " ");
        text.push_str(&format!("            {kind} {}: {} entries{time}\n", anchor.name, anchor.size));
    }
    text
}

/// Older generations.
fn before(outcome: &Outcome) -> String {
    let mut text = String::new();
    for older in &outcome.generations {
        let verdicts: Vec<&str> = older.verdicts.iter().map(|verdict| verdict.as_str()).collect();
        text.push_str(&format!(
            "  before    {}: {}, {} entries, {}\n",
            older.origin,
            verdicts.join(", "),
            older.size,
            older.trust
        ));
        for damage in &older.damage {
            let known = if damage.acknowledged { " (acknowledged)" } else { "" };
            text.push_str(&format!(
                "            damage: entries {} to {}: {}{known}\n",
                damage.first, damage.last, damage.why
            ));
        }
    }
    text
}

/// The result in words, 80 columns.
fn words(dir: &Path, outcome: &Outcome) -> String {
    let verdicts: Vec<&str> = outcome.verdicts.iter().map(|verdict| verdict.as_str()).collect();
    let mut text = format!("{}: {}\n", dir.display(), verdicts.join(", "));
    text.push_str(&format!("  origin    {}\n", outcome.origin));
    text.push_str(&format!("  signed    {} entries, root {}\n", outcome.size, outcome.root));
    if outcome.unsigned > 0 {
        text.push_str(&format!(
            "  unsigned  {} entries are committed and wait for a checkpoint\n",
            outcome.unsigned
        ));
    }
    text.push_str(match outcome.trust {
        "pinned" => "  trust     pinned: the keys are the trust file's\n",
        _ => {
            "  trust     unpinned: the keys are the trail's own. Whoever replaced the whole\n            \
             trail replaced them too; get the trust file from a second channel\n"
        }
    });
    text.push_str(&anchored(outcome));
    if !outcome.recoveries.is_empty() {
        let listed: Vec<String> = outcome.recoveries.iter().take(8).map(u64::to_string).collect();
        let more = if outcome.recoveries.len() > 8 { ", …" } else { "" };
        text.push_str(&format!(
            "  recovered after a crash, explained by entries {}{more}\n",
            listed.join(", ")
        ));
    }
    for damage in &outcome.damage {
        let range = match damage.first == damage.last {
            true => format!("entry {}", damage.first),
            false => format!("entries {} to {}", damage.first, damage.last),
        };
        text.push_str(&format!("  damage    {range} in {}: {}\n", damage.file, damage.why));
    }
    for gap in &outcome.gaps {
        text.push_str(&format!(
            "  silence   {} to {} after entry {}, without a stop\n",
            gap.from, gap.to, gap.after
        ));
    }
    for note in &outcome.notes {
        text.push_str(&format!("  note      {note}\n"));
    }
    for erased in &outcome.erased {
        let what = if erased.what == "prune" { "entries" } else { "details of entries" };
        text.push_str(&format!(
            "  erased    {what} {} to {} by entry {}\n",
            erased.first, erased.last, erased.by
        ));
    }
    text.push_str(&before(outcome));
    if outcome.verdict == Verdict::Torn {
        text.push_str("  next      an unfinished tail: start the daemon, it recovers and says so\n");
    }
    if matches!(outcome.verdict, Verdict::Tampered | Verdict::Forked | Verdict::RolledBack | Verdict::Missing)
    {
        text.push_str("  next      copy the whole state and the keys aside before anything else\n");
    }
    super::masked(&text)
}
