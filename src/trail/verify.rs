//! Verification by whoever has the files: segments, checkpoints, grants rows, and a trust file if they have
//! one. It never reads `tree/`, the cache, or anything of the writer's.
//!
//! Every line is hashed as it stands. `prev` inside the next line says what the hash was when the next line
//! was written; so a damaged line is named exactly, and what the next line claims is put into the tree in its
//! place: if the following roots then hold, nothing else is damaged.
//!
//! The file is long because it is one pass, and its verdicts lean on each other.

use super::disk;
use super::entry::Entry;
use super::note::{Checkpoint, NOTE_MAX, Verifier};
use super::read::{Lines, Met, SegmentFile, segments_and_odd};
use super::tree::{Frontier, leaf_hash};
use super::trust::Trust;
use super::{TrailError, epoch_name};
use crate::model::{Hash, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a grants file's rows that are unpacked.
const ROWS_MAX: u64 = 4 << 30;
/// Damaged ranges that are listed; more are counted.
pub const DAMAGE_MAX: usize = 1000;

/// One word of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Bytes below a signed size do not give the signed root, or signatures do not hold.
    Tampered,
    /// Another history under the same origin.
    Forked,
    /// Shorter than a known head or its own checkpoint.
    RolledBack,
    /// A segment or grants file is gone.
    Missing,
    /// An unfinished tail: start the daemon to recover.
    Torn,
    /// Intact, with recovery entries, all explained.
    Recovered,
    /// Intact.
    Ok,
}

impl Verdict {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Tampered => "tampered",
            Verdict::Forked => "forked",
            Verdict::RolledBack => "rolled_back",
            Verdict::Missing => "missing",
            Verdict::Torn => "torn",
            Verdict::Recovered => "recovered",
            Verdict::Ok => "ok",
        }
    }
    /// The exit code.
    pub fn exit(self) -> u8 {
        match self {
            Verdict::Ok | Verdict::Recovered => 0,
            Verdict::Tampered => 1,
            Verdict::RolledBack => 20,
            Verdict::Forked => 21,
            Verdict::Missing => 22,
            Verdict::Torn => 23,
        }
    }
}

/// A range of entries that is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// First entry.
    pub first: u64,
    /// Last entry.
    pub last: u64,
    /// The file.
    pub file: String,
    /// What was found.
    pub why: String,
}

/// A silence that no `stop` entry explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The entry before.
    pub after: u64,
    /// Its time.
    pub from: Time,
    /// The time of the entry after.
    pub to: Time,
}

/// The result for one generation of one trail.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The worst verdict.
    pub verdict: Verdict,
    /// All that apply.
    pub verdicts: Vec<Verdict>,
    /// Exit code.
    pub exit: u8,
    /// `pinned` by a trust file or `unpinned`.
    pub trust: &'static str,
    /// The trail's origin.
    pub origin: String,
    /// Signed size.
    pub size: u64,
    /// Signed root.
    pub root: String,
    /// Entries beyond the signed size, whole and committed.
    pub unsigned: u64,
    /// Damaged ranges.
    pub damage: Vec<Damage>,
    /// Silences.
    pub gaps: Vec<Silence>,
    /// Size up to which something off this host vouches for the trail.
    pub anchored_to: u64,
    /// Time of the oldest entry that nothing off this host vouches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unanchored: Option<Time>,
    /// Recovery entries met.
    pub recoveries: Vec<u64>,
    /// Remarks that change no verdict.
    pub notes: Vec<String>,
    /// Time of the newest signed entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Time>,
}

/// What the verifier is given besides the folder.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A trust file's content.
    pub trust: Option<Trust>,
    /// A checkpoint that somebody kept: its note.
    pub known_head: Option<String>,
    /// `recovered`, unpinned and unanchored are not good enough.
    pub strict: bool,
}

/// The trail folder meant by a state or a trail folder.
pub fn trail_folder(dir: &Path) -> PathBuf {
    match dir.join("trail").is_dir() {
        true => dir.join("trail"),
        false => dir.to_owned(),
    }
}

/// Verifies generation 1 under a state or trail folder. `progress` is called with entries read.
pub fn verify(dir: &Path, given: &Given, progress: &mut dyn FnMut(u64)) -> Result<Outcome, TrailError> {
    let trail = trail_folder(dir);
    let folder = trail.join("g1");
    let mut run = Run::new(&folder, given)?;
    run.read_checkpoints()?;
    run.read_segments(progress)?;
    run.check_heads();
    run.check_grants(trail.parent().unwrap_or(Path::new(".")));
    Ok(run.outcome(given))
}

/// SHA-256 of a grants file's rows, unpacked.
fn rows_digest(path: &Path) -> std::io::Result<Hash> {
    let mut rows = zstd::stream::read::Decoder::new(disk::reader(path)?)?.take(ROWS_MAX);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rows.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(Hash(hasher.finalize().into()))
}

struct Run<'a> {
    folder: &'a Path,
    files: Vec<SegmentFile>,
    origin: String,
    log: Option<Verifier>,
    epoch: Option<Verifier>,
    pinned: Option<Trust>,
    /// Signed heads by size: where each comes from and its root.
    heads: BTreeMap<u64, Vec<(String, Hash, Source)>>,
    signed: Option<Checkpoint>,
    /// Roots computed at the sizes in `heads`.
    roots: BTreeMap<u64, Hash>,
    chain: Chain,
    verdicts: Vec<Verdict>,
    damage: Vec<Damage>,
    more_damage: u64,
    gaps: Vec<Silence>,
    recoveries: Vec<u64>,
    grants: Vec<(u64, String)>,
    notes: Vec<String>,
    heartbeat_seconds: i64,
    first_time: Option<Time>,
    unsigned: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Own,
    Older,
    Known,
}

/// The state of the walk. A leaf is put into the tree one line late, when the next line has said what it was.
#[derive(Default)]
struct Chain {
    frontier: Frontier,
    /// The last line's hash and what is known about it.
    pending: Option<Pending>,
    /// Roots do not hold any more: positions of the last that did.
    lost: bool,
    last_good: u64,
    last_commit: Option<u64>,
    last_time: Option<Time>,
    stopped: bool,
    /// A previous line's `prev` did not fit: it may be the damaged one itself.
    suspect: bool,
}

struct Pending {
    index: u64,
    leaf: Hash,
    file: String,
    commit: Option<(Hash, bool)>,
}

#[derive(Deserialize)]
struct Genesis {
    origin: String,
    log: String,
    epoch: String,
}

impl<'a> Run<'a> {
    fn new(folder: &'a Path, given: &Given) -> Result<Run<'a>, TrailError> {
        let (files, odd) = segments_and_odd(folder)?;
        let mut run = Run {
            folder,
            files,
            origin: String::new(),
            log: None,
            epoch: None,
            pinned: given.trust.clone(),
            heads: BTreeMap::new(),
            signed: None,
            roots: BTreeMap::new(),
            chain: Chain::default(),
            verdicts: Vec::new(),
            damage: Vec::new(),
            more_damage: 0,
            gaps: Vec::new(),
            recoveries: Vec::new(),
            grants: Vec::new(),
            notes: Vec::new(),
            heartbeat_seconds: 300,
            first_time: None,
            unsigned: 0,
        };
        run.read_genesis()?;
        for path in odd {
            run.damaged(0, 0, &path.display().to_string(), "this is not a segment's name");
        }
        if let Some(note) = &given.known_head {
            run.add_head("the known head", note, Source::Known);
        }
        Ok(run)
    }

    fn say(&mut self, verdict: Verdict) {
        if !self.verdicts.contains(&verdict) {
            self.verdicts.push(verdict);
        }
    }

    fn damaged(&mut self, first: u64, last: u64, file: &str, why: impl Into<String>) {
        self.say(Verdict::Tampered);
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage { first, last, file: file.to_owned(), why: why.into() });
        } else {
            self.more_damage += 1;
        }
    }

    /// Keys come from the trust file, or, unpinned, from entry 0.
    fn read_genesis(&mut self) -> Result<(), TrailError> {
        let mut line = Vec::new();
        if let Some(file) = self.files.first() {
            let mut lines = Lines::open(&file.path, 0)?;
            if lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? == Met::Line {
                line = lines.line().to_vec();
            }
        }
        if let Some(trust) = self.pinned.clone() {
            self.origin = trust.origin.clone();
            if !line.is_empty() && leaf_hash(&line) != trust.entry0 {
                self.damaged(0, 0, "segments", "entry 0 is not the one that the trust file names");
            }
            (self.log, self.epoch) = (Some(trust.log), Some(trust.epoch));
            return Ok(());
        }
        let genesis = Entry::parse(&line)
            .filter(|entry| entry.kind == "genesis")
            .and_then(|entry| serde_json::from_slice::<Genesis>(&entry.object()).ok());
        if let Some(genesis) = genesis {
            self.log = Verifier::parse(&genesis.log).filter(|key| key.name == genesis.origin);
            self.epoch =
                Verifier::parse(&genesis.epoch).filter(|key| key.name == epoch_name(&genesis.origin, 0));
            self.origin = genesis.origin;
        }
        if self.log.is_none() || self.epoch.is_none() {
            let file = self.files.first().map_or("segments".into(), |file| file.path.display().to_string());
            self.damaged(0, 0, &file, "entry 0 is not a genesis entry with two verifier keys");
        }
        Ok(())
    }

    fn read_checkpoints(&mut self) -> Result<(), TrailError> {
        let path = self.folder.join("checkpoint");
        let bytes = disk::read_small(&path, NOTE_MAX as u64).unwrap_or_else(|_| Some(vec![0xff]));
        match bytes.map(String::from_utf8) {
            Some(Ok(note)) => self.add_head(&path.display().to_string(), &note, Source::Own),
            Some(Err(_)) => self.damaged(0, 0, &path.display().to_string(), "the checkpoint is not text"),
            None => {
                self.say(Verdict::RolledBack);
                self.notes
                    .push(format!("{} is missing: nothing says how long the trail was", path.display()));
            }
        }
        let dir = self.folder.join("checkpoints");
        for name in disk::names(&dir).map_err(|error| TrailError::io("list", &dir, error))? {
            let path = dir.join(&name);
            let bytes = disk::read_small(&path, NOTE_MAX as u64).unwrap_or_else(|_| Some(Vec::new()));
            // A running daemon thins them: one that was listed may be gone.
            let Some(bytes) = bytes else { continue };
            let note = String::from_utf8(bytes).unwrap_or_default();
            self.add_head(&path.display().to_string(), &note, Source::Older);
        }
        Ok(())
    }

    fn add_head(&mut self, file: &str, note: &str, source: Source) {
        let (Some(log), Some(epoch)) = (&self.log, &self.epoch) else { return };
        match Checkpoint::open(note, &[log, epoch]) {
            Ok(checkpoint) if checkpoint.origin == self.origin => {
                self.heads.entry(checkpoint.size).or_default().push((
                    file.to_owned(),
                    checkpoint.root,
                    source,
                ));
                if source == Source::Own {
                    self.signed = Some(checkpoint);
                }
            }
            Ok(checkpoint) => {
                self.damaged(0, 0, file, format!("it is signed for another origin, `{}`", checkpoint.origin));
            }
            Err(error) => self.damaged(0, 0, file, format!("the checkpoint does not verify: {error}")),
        }
    }

    fn signed_size(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.size)
    }

    fn read_segments(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), TrailError> {
        let files = self.files.clone();
        for file in &files {
            let name = file.path.display().to_string();
            let next = self.next_index();
            if file.first > next {
                self.missing_segment(next, file.first - 1, &name);
            } else if file.first < next {
                self.damaged(file.first, next - 1, &name, "the segment's name does not fit its place");
            }
            let mut lines = Lines::open(&file.path, 0)?;
            loop {
                let met = lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))?;
                match met {
                    Met::Line => {
                        let line = lines.line().to_vec();
                        if !self.line(&line, &name) && self.next_index() >= self.signed_size() {
                            self.torn_rest(&mut lines, &name, &file.path)?;
                            break;
                        }
                    }
                    Met::Fragment => {
                        self.fragment(&name);
                        break;
                    }
                    Met::End => break,
                }
                if self.next_index().is_multiple_of(4096) {
                    progress(self.next_index());
                }
            }
        }
        self.settle(None);
        progress(self.next_index());
        let committed = self.chain.last_commit.map_or(0, |index| index + 1);
        if self.next_index() > committed.max(self.signed_size()) {
            self.say(Verdict::Torn);
        }
        Ok(())
    }

    fn next_index(&self) -> u64 {
        self.chain.frontier.size() + u64::from(self.chain.pending.is_some())
    }

    fn missing_segment(&mut self, first: u64, last: u64, before: &str) {
        if first >= self.signed_size() || last >= self.signed_size() {
            self.notes.push(format!("{before} does not continue the trail"));
            if first >= self.signed_size() {
                return self.say(Verdict::Torn);
            }
        }
        self.settle(None);
        self.say(Verdict::Missing);
        self.damaged(first, last, before, "the segment before this one is gone");
        self.resume_at(last + 1);
    }

    /// Entries up to `next` cannot be hashed: the tree is lost, the chain goes on.
    fn resume_at(&mut self, next: u64) {
        self.settle(None);
        self.chain.lost = true;
        // The tree is lost anyway; only its size still counts, and no name of a file may make it run away.
        let next = next.min(self.signed_size()).max(self.chain.frontier.size());
        let hashes = vec![Hash::default(); next.count_ones() as usize];
        self.chain.frontier = Frontier::from_parts(next, hashes).unwrap_or_default();
    }

    /// Takes a line. `false`: it is no entry that continues here.
    fn line(&mut self, line: &[u8], file: &str) -> bool {
        let next = self.next_index();
        let signed = self.signed_size();
        let Some(entry) = Entry::parse(line) else {
            if next < signed {
                self.damaged(next, next, file, "the line is not an entry");
                self.claim_unreadable(next, file);
            }
            return next < signed;
        };
        if entry.index != next {
            if next >= signed {
                return false;
            }
            if entry.index > next && entry.index < signed.max(next + 1) {
                self.damaged(next, entry.index - 1, file, "entries are gone");
                self.resume_at(entry.index);
            } else {
                self.damaged(next, next, file, format!("the line says it is entry {}", entry.index));
                self.claim_unreadable(next, file);
                return true;
            }
        }
        let no_json = || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err();
        if next >= signed && (self.breaks_chain(&entry) || (entry.kind == "commit" && no_json())) {
            return false;
        }
        self.settle(Some((&entry, file)));
        self.take(&entry, file);
        true
    }

    fn breaks_chain(&self, entry: &Entry<'_>) -> bool {
        self.chain.pending.as_ref().is_some_and(|pending| pending.leaf != entry.prev)
    }

    /// A line that cannot be read takes its place with the hash that the next line will claim.
    fn claim_unreadable(&mut self, index: u64, file: &str) {
        self.settle(None);
        self.chain.suspect = false;
        self.chain.pending =
            Some(Pending { index, leaf: Hash::default(), file: file.to_owned(), commit: None });
        self.chain.suspect = true;
    }

    /// Puts the pending leaf into the tree, with the hash that the next entry claims where there is one.
    fn settle(&mut self, next: Option<(&Entry<'_>, &str)>) {
        let Some(pending) = self.chain.pending.take() else { return };
        let mut leaf = pending.leaf;
        if let Some((entry, file)) = next {
            if entry.prev != leaf {
                if leaf != Hash::default() && !self.chain.suspect {
                    self.damaged(
                        pending.index,
                        pending.index,
                        &pending.file,
                        "its bytes are not what the next entry saw",
                    );
                }
                let _ = file;
                leaf = entry.prev;
            }
            self.chain.suspect = false;
        }
        if let Some((root, signature_holds)) = pending.commit {
            self.check_commit(&pending, root, signature_holds);
        }
        self.chain.frontier.push(leaf, &mut |_, _, _| ());
        let size = self.chain.frontier.size();
        if self.heads.contains_key(&size) && !self.chain.lost {
            self.roots.insert(size, self.chain.frontier.root());
        }
    }

    fn check_commit(&mut self, pending: &Pending, root: Hash, signature_holds: bool) {
        let (index, file) = (pending.index, pending.file.clone());
        self.chain.last_commit = Some(index);
        if !signature_holds {
            let why = "the commit is not signed by this trail's epoch key";
            return self.damaged(index, index, &file, why);
        }
        if self.chain.lost {
            return;
        }
        if self.chain.frontier.root() == root {
            self.chain.last_good = index + 1;
        } else {
            self.chain.lost = true;
            // Were single entries all that is wrong, what their successors claim would give the root.
            let first = self.chain.last_good;
            self.damaged(first, index, &file, "these entries do not give the root that the commit signed");
        }
    }

    fn take(&mut self, entry: &Entry<'_>, file: &str) {
        let commit = (entry.kind == "commit").then(|| {
            let holds = self.epoch.as_ref().is_some_and(|epoch| entry.commit_holds(&self.origin, epoch));
            (entry.commit_root().unwrap_or_default(), holds)
        });
        self.first_time.get_or_insert(entry.time);
        self.watch_time(entry);
        match entry.kind {
            "recovery" => self.recoveries.push(entry.index),
            "grants" => self.note_grants(entry),
            _ => {}
        }
        self.chain.pending =
            Some(Pending { index: entry.index, leaf: leaf_hash(entry.line), file: file.to_owned(), commit });
        if entry.index >= self.signed_size() {
            self.unsigned += 1;
        }
    }

    fn watch_time(&mut self, entry: &Entry<'_>) {
        if let Some(last) = self.chain.last_time {
            if entry.time < last {
                self.damaged(entry.index, entry.index, "segments", "time runs backwards");
            }
            let silent = entry.time.seconds_since(last) > (3 * self.heartbeat_seconds) as f64;
            if silent && !self.chain.stopped && entry.index > 3 {
                self.gaps.push(Silence { after: entry.index - 1, from: last, to: entry.time });
            }
        }
        self.chain.last_time = Some(entry.time);
        match entry.kind {
            "stop" => self.chain.stopped = true,
            "start" => {
                #[derive(Deserialize)]
                struct Start {
                    heartbeat_seconds: Option<i64>,
                }
                if let Ok(Start { heartbeat_seconds: Some(seconds) }) =
                    serde_json::from_slice(&entry.object())
                {
                    self.heartbeat_seconds = seconds.clamp(1, 86_400);
                }
                self.chain.stopped = false;
            }
            _ => {}
        }
    }

    fn note_grants(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Grants {
            digest: Option<String>,
        }
        if let Ok(Grants { digest: Some(digest) }) = serde_json::from_slice(&entry.object()) {
            self.grants.push((entry.index, digest));
        }
    }

    fn fragment(&mut self, file: &str) {
        let next = self.next_index();
        if next < self.signed_size() {
            self.damaged(next, next, file, "the line has no end");
            self.claim_unreadable(next, file);
        } else {
            self.say(Verdict::Torn);
        }
    }

    /// Beyond the signed size, what does not continue is a torn tail, unless a commit stands in it.
    fn torn_rest(&mut self, lines: &mut Lines, file: &str, path: &Path) -> Result<(), TrailError> {
        self.say(Verdict::Torn);
        let mut authentic = 0;
        while lines.next_line().map_err(|error| TrailError::io("read", path, error))? == Met::Line {
            let entry = Entry::parse(lines.line());
            let ours = |entry: &Entry<'_>| {
                self.epoch.as_ref().is_some_and(|epoch| entry.commit_holds(&self.origin, epoch))
            };
            authentic += u64::from(entry.as_ref().is_some_and(ours));
        }
        if authentic > 1 {
            let next = self.next_index();
            self.damaged(next, next, file, "later groups of ours are whole: a crash cannot do that");
        }
        Ok(())
    }

    /// Every signed head must be at or below what is here, with the root that is here.
    fn check_heads(&mut self) {
        let have = self.chain.frontier.size();
        let heads: Vec<(u64, String, Hash, Source)> = self
            .heads
            .iter()
            .flat_map(|(size, list)| {
                list.iter().map(|(file, root, source)| (*size, file.clone(), *root, *source))
            })
            .collect();
        for (size, file, root, source) in heads {
            if size > have {
                self.say(Verdict::RolledBack);
                self.notes.push(format!("{file} signs {size} entries; here are {have}"));
                continue;
            }
            let here = self.roots.get(&size).copied();
            if here == Some(root) || (here.is_none() && !self.damage.is_empty()) {
                continue;
            }
            if source == Source::Own {
                let first = self.chain.last_good.min(size.saturating_sub(1));
                if self.damage.is_empty() {
                    self.damaged(
                        first,
                        size.saturating_sub(1),
                        &file,
                        "the entries do not give the signed root",
                    );
                }
            } else {
                self.say(Verdict::Forked);
                self.notes.push(format!("{file} signs another history of {size} entries"));
            }
        }
    }

    /// Rows of grants snapshots lie beside the trail and are named by digest.
    fn check_grants(&mut self, state: &Path) {
        let dir = state.join("grants");
        if self.grants.is_empty() {
            return;
        }
        if !dir.is_dir() && !state.join("trail").is_dir() {
            self.notes.push("grants rows were not given and are not checked".into());
            return;
        }
        for (index, digest) in self.grants.clone() {
            let path = dir.join(format!("{digest}.jsonl.zst"));
            let name = path.display().to_string();
            let Some(wanted) = Hash::parse(&digest) else {
                self.damaged(index, index, &name, "the entry names no digest");
                continue;
            };
            match rows_digest(&path) {
                Ok(found) if found == wanted => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.say(Verdict::Missing);
                    self.notes.push(format!("{name} named by entry {index} is gone"));
                }
                _ => self.damaged(index, index, &name, "the rows are not the ones that the entry names"),
            }
        }
    }

    fn outcome(mut self, given: &Given) -> Outcome {
        if self.more_damage > 0 {
            self.notes.push(format!("{} more damaged ranges are not listed", self.more_damage));
        }
        if !self.recoveries.is_empty() {
            self.say(Verdict::Recovered);
        }
        if self.verdicts.is_empty() {
            self.say(Verdict::Ok);
        }
        self.verdicts.sort();
        let verdict = self.verdicts.first().copied().unwrap_or(Verdict::Ok);
        let intact = verdict.exit() == 0;
        let exit = match verdict.exit() {
            // Anchors come with a later release, so a strict verification of an unanchored trail fails.
            0 if given.strict => 25,
            exit => exit,
        };
        if given.strict && intact {
            self.notes.push("--strict: unanchored is not good enough".into());
        }
        Outcome {
            verdict,
            exit,
            trust: if self.pinned.is_some() { "pinned" } else { "unpinned" },
            origin: self.origin.clone(),
            size: self.signed_size(),
            root: self.signed.as_ref().map(|signed| signed.root.hex()).unwrap_or_default(),
            unsigned: self.unsigned,
            newest: self.chain.last_time,
            damage: self.damage,
            gaps: self.gaps,
            anchored_to: 0,
            oldest_unanchored: self.first_time,
            recoveries: self.recoveries,
            notes: self.notes,
            verdicts: self.verdicts,
        }
    }
}
