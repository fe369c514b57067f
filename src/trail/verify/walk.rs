//! The walk over the segments: every line hashed as it stands, every commit's root and signature checked, epochs
//! followed, damage named as narrowly as the roots allow.

use super::{Anchor, DAMAGE_MAX, Damage, Erased, Given, Outcome, Silence, Verdict};
use crate::model::{Hash, Time};
use crate::trail::TrailError;
use crate::trail::disk::Disk;
use crate::trail::entry::Entry;
use crate::trail::epoch::Epochs;
use crate::trail::generation::Previous;
use crate::trail::note::{Checkpoint, Verifier};
use crate::trail::prune::Kept;
use crate::trail::read::{Lines, Met, SegmentFile, segments_and_odd};
use crate::trail::tree::{Frontier, leaf_hash};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One verification of one generation.
pub(super) struct Run<'a> {
    pub disk: &'a dyn Disk,
    pub folder: &'a Path,
    pub files: Vec<SegmentFile>,
    pub origin: String,
    pub log: Option<Verifier>,
    pub epochs: Option<Epochs>,
    /// The key of an epoch was in a damaged entry: later signatures cannot be checked.
    epoch_lost: bool,
    pub pinned: bool,
    pub privacy: String,
    pub previous: Option<Previous>,
    /// Signed heads by size, checked so far with the log key.
    pub heads: BTreeMap<u64, Vec<super::heads::Head>>,
    pub signed: Option<Checkpoint>,
    /// Its note.
    pub note: String,
    /// Roots computed at the sizes in `heads`, and the key that signed the commit before.
    pub roots: BTreeMap<u64, (Hash, Option<Verifier>)>,
    pub chain: Chain,
    pub verdicts: Vec<Verdict>,
    pub damage: Vec<Damage>,
    pub more_damage: u64,
    gaps: Vec<Silence>,
    recoveries: Vec<u64>,
    pub grants: Vec<(u64, String)>,
    pub notes: Vec<String>,
    heartbeat_seconds: i64,
    /// Times of the first entries above heads, to know the oldest that is not anchored.
    pub times: BTreeMap<u64, Time>,
    pub first_time: Option<Time>,
    unsigned: u64,
    pub kept: Option<Kept>,
    /// `prune` entries: index, from, to, root.
    pub prunes: Vec<(u64, u64, u64, String)>,
    pub erased: Vec<Erased>,
    pub anchors: Vec<Anchor>,
}

/// The state of the walk. A leaf is put into the tree one line late, when the next line has said what it was.
#[derive(Default)]
pub(super) struct Chain {
    pub frontier: Frontier,
    /// The last line's hash and what is known about it.
    pending: Option<Pending>,
    /// Roots do not hold any more: positions of the last that did.
    lost: bool,
    /// The tree after the last commit that holds.
    pub good: Frontier,
    last_commit: Option<u64>,
    pub last_time: Option<Time>,
    stopped: bool,
    /// A previous line's `prev` did not fit: it may be the damaged one itself.
    suspect: bool,
}

struct Pending {
    index: u64,
    leaf: Hash,
    file: usize,
    commit: Option<Commit>,
}

#[derive(Clone)]
struct Commit {
    root: Hash,
    holds: bool,
    signer: Option<Verifier>,
}

impl<'a> Run<'a> {
    pub fn new(disk: &'a dyn Disk, folder: &'a Path, given: &Given) -> Result<Run<'a>, TrailError> {
        let (files, odd) = segments_and_odd(disk, folder)?;
        let mut run = Run {
            disk,
            folder,
            files,
            origin: String::new(),
            log: None,
            epochs: None,
            epoch_lost: false,
            pinned: false,
            privacy: String::new(),
            previous: None,
            heads: BTreeMap::new(),
            signed: None,
            note: String::new(),
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
            times: BTreeMap::new(),
            first_time: None,
            unsigned: 0,
            kept: None,
            prunes: Vec::new(),
            erased: Vec::new(),
            anchors: Vec::new(),
        };
        run.read_genesis(given.trust.as_ref())?;
        for path in odd {
            run.damaged(0, 0, &path.display().to_string(), "this is not a segment's name");
        }
        if let Some(note) = &given.known_head {
            run.add_head("the known head", note, super::heads::Source::Known);
        }
        Ok(run)
    }

    pub fn say(&mut self, verdict: Verdict) {
        if !self.verdicts.contains(&verdict) {
            self.verdicts.push(verdict);
        }
    }

    pub fn damaged(&mut self, first: u64, last: u64, file: &str, why: impl Into<String>) {
        self.say(Verdict::Tampered);
        self.list(first, last, file, why);
    }

    pub fn list(&mut self, first: u64, last: u64, file: &str, why: impl Into<String>) {
        if self.damage.len() < DAMAGE_MAX {
            let (file, why) = (file.to_owned(), why.into());
            self.damage.push(Damage { first, last, file, why, acknowledged: false });
        } else {
            self.more_damage += 1;
        }
    }

    fn file_name(&self, file: usize) -> String {
        self.files.get(file).map_or_else(|| "segments".to_owned(), |file| file.path.display().to_string())
    }

    pub fn damaged_in(&mut self, first: u64, last: u64, file: usize, why: impl Into<String>) {
        let name = self.file_name(file);
        self.damaged(first, last, &name, why);
    }

    pub fn signed_size(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.size)
    }

    pub fn read_segments(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), TrailError> {
        for number in 0..self.files.len() {
            let file = self.files[number].clone();
            let next = self.next_index();
            if file.first > next {
                self.missing_segment(next, file.first - 1, number);
            } else if file.first < next {
                self.damaged_in(file.first, next - 1, number, "the segment's name does not fit its place");
            }
            self.read_segment(number, &file, progress)?;
        }
        self.settle(None);
        progress(self.next_index());
        let committed = self.chain.last_commit.map_or(0, |index| index + 1);
        if self.next_index() > committed.max(self.signed_size()) {
            self.say(Verdict::Torn);
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        number: usize,
        file: &SegmentFile,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TrailError> {
        let mut lines = match Lines::open(self.disk, file, 0) {
            Ok(lines) => lines,
            Err(error) if file.packed => {
                let next = self.next_index();
                self.damaged_in(next, next, number, error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        loop {
            let met = match lines.next_line() {
                Ok(met) => met,
                // A compressed file that does not unpack is damaged; a disk that does not read is no verdict.
                Err(error) if file.packed => {
                    let next = self.next_index();
                    self.damaged_in(next, next, number, format!("the compressed segment is broken: {error}"));
                    return Ok(());
                }
                Err(error) => return Err(TrailError::io("read", &file.path, error)),
            };
            match met {
                Met::Line => {
                    if !self.line(lines.line(), number) && self.next_index() >= self.signed_size() {
                        return self.torn_rest(&mut lines, number);
                    }
                }
                Met::Fragment => {
                    self.fragment(number);
                    return Ok(());
                }
                Met::End => return Ok(()),
            }
            if self.next_index().is_multiple_of(4096) {
                progress(self.next_index());
            }
        }
    }

    pub fn next_index(&self) -> u64 {
        self.chain.frontier.size() + u64::from(self.chain.pending.is_some())
    }

    fn missing_segment(&mut self, first: u64, last: u64, before: usize) {
        let name = self.file_name(before);
        if first >= self.signed_size() || last >= self.signed_size() {
            self.notes.push(format!("{name} does not continue the trail"));
            if first >= self.signed_size() {
                return self.say(Verdict::Torn);
            }
        }
        self.settle(None);
        self.say(Verdict::Missing);
        self.damaged(first, last, &name, "the segment before this one is gone");
        self.resume_at(last + 1);
    }

    /// Entries up to `next` cannot be hashed: the tree is lost, the chain goes on.
    fn resume_at(&mut self, next: u64) {
        self.settle(None);
        self.chain.lost = true;
        // Changes of epoch may have gone with them.
        self.epoch_lost = true;
        // The tree is lost anyway; only its size still counts, and no name of a file may make it run away.
        let next = next.min(self.signed_size()).max(self.chain.frontier.size());
        let hashes = vec![Hash::default(); next.count_ones() as usize];
        self.chain.frontier = Frontier::from_parts(next, hashes).unwrap_or_default();
    }

    /// Takes a line. `false`: it is no entry that continues here.
    fn line(&mut self, line: &[u8], file: usize) -> bool {
        let next = self.next_index();
        let signed = self.signed_size();
        let Some(entry) = Entry::parse(line) else {
            if next < signed {
                self.damaged_in(next, next, file, "the line is not an entry");
                self.claim_unreadable(next, file);
            }
            return next < signed;
        };
        if entry.index != next {
            if next >= signed {
                return false;
            }
            if entry.index > next && entry.index < signed.max(next + 1) {
                self.damaged_in(next, entry.index - 1, file, "entries are gone");
                self.resume_at(entry.index);
            } else {
                self.damaged_in(next, next, file, format!("the line says it is entry {}", entry.index));
                self.claim_unreadable(next, file);
                return true;
            }
        }
        let no_json = || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err();
        if next >= signed && (self.breaks_chain(&entry) || (entry.kind == "commit" && no_json())) {
            return false;
        }
        self.settle(Some(&entry));
        self.take(&entry, file);
        true
    }

    fn breaks_chain(&self, entry: &Entry<'_>) -> bool {
        self.chain.pending.as_ref().is_some_and(|pending| pending.leaf != entry.prev)
    }

    /// A line that cannot be read takes its place with the hash that the next line will claim. It may have
    /// begun an epoch, so signatures after it may be of a key that nobody knows.
    fn claim_unreadable(&mut self, index: u64, file: usize) {
        self.settle(None);
        self.epoch_lost = true;
        self.chain.pending = Some(Pending { index, leaf: Hash::default(), file, commit: None });
        self.chain.suspect = true;
    }

    /// Puts the pending leaf into the tree, with the hash that the next entry claims where there is one.
    fn settle(&mut self, next: Option<&Entry<'_>>) {
        let Some(pending) = self.chain.pending.take() else { return };
        let mut leaf = pending.leaf;
        if let Some(entry) = next {
            if entry.prev != leaf {
                if leaf != Hash::default() && !self.chain.suspect {
                    let (index, why) = (pending.index, "its bytes are not what the next entry saw");
                    self.damaged_in(index, index, pending.file, why);
                }
                leaf = entry.prev;
            }
            self.chain.suspect = false;
        }
        let good = pending.commit.as_ref().is_some_and(|commit| self.check_commit(&pending, commit));
        self.chain.frontier.push(leaf, &mut |_, _, _| ());
        if good && leaf == pending.leaf && self.damage.is_empty() {
            self.chain.good = self.chain.frontier.clone();
        }
        let size = self.chain.frontier.size();
        if self.heads.contains_key(&size) && !self.chain.lost {
            let signer = pending.commit.and_then(|commit| commit.signer);
            self.roots.insert(size, (self.chain.frontier.root(), signer));
        }
    }

    /// `true`: root and signature hold.
    fn check_commit(&mut self, pending: &Pending, commit: &Commit) -> bool {
        let (index, file) = (pending.index, pending.file);
        self.chain.last_commit = Some(index);
        if !commit.holds {
            if !self.epoch_lost {
                self.damaged_in(index, index, file, "the commit is not signed by the epoch key in force");
            }
            return false;
        }
        if self.chain.lost {
            return false;
        }
        if self.chain.frontier.root() == commit.root {
            return true;
        }
        self.chain.lost = true;
        // Were single entries all that is wrong, what their successors claim would give the root.
        let first = self.chain.good.size().min(index);
        self.damaged_in(first, index, file, "these entries do not give the root that the commit signed");
        false
    }

    fn take(&mut self, entry: &Entry<'_>, file: usize) {
        let commit = (entry.kind == "commit").then(|| self.commit(entry));
        if let Some(epochs) = &mut self.epochs
            && let Err(why) = epochs.take(&self.origin, entry)
        {
            self.damaged_in(entry.index, entry.index, file, why);
            self.epoch_lost = true;
        }
        self.first_time.get_or_insert(entry.time);
        self.watch_time(entry);
        match entry.kind {
            "recovery" => self.recoveries.push(entry.index),
            "grants" => self.note_grants(entry),
            "prune" | "erase" => self.note_removal(entry),
            _ => {}
        }
        let (index, leaf) = (entry.index, leaf_hash(entry.line));
        if self.heads.contains_key(&index) {
            self.times.insert(index, entry.time);
        }
        self.chain.pending = Some(Pending { index, leaf, file, commit });
        if entry.index >= self.signed_size() {
            self.unsigned += 1;
        }
    }

    fn commit(&self, entry: &Entry<'_>) -> Commit {
        let key = self.epochs.as_ref().map(|epochs| &epochs.key);
        let holds = key.is_some_and(|key| entry.commit_holds(&self.origin, key));
        Commit {
            root: entry.commit_root().unwrap_or_default(),
            holds,
            signer: key.filter(|_| holds && self.heads.contains_key(&(entry.index + 1))).cloned(),
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

    fn note_removal(&mut self, entry: &Entry<'_>) {
        #[derive(Deserialize)]
        struct Removal {
            #[serde(default)]
            entries: Vec<(u64, u64)>,
            from: Option<u64>,
            to: Option<u64>,
            root: Option<String>,
        }
        let Ok(removal) = serde_json::from_slice::<Removal>(&entry.object()) else { return };
        let by = entry.index;
        for (first, last) in removal.entries {
            self.erased.push(Erased { first, last, by, what: "erase" });
        }
        if let (Some(from), Some(to), Some(root)) = (removal.from, removal.to, removal.root) {
            self.prunes.push((by, from, to, root));
        }
    }

    fn fragment(&mut self, file: usize) {
        let next = self.next_index();
        if next < self.signed_size() {
            self.damaged_in(next, next, file, "the line has no end");
            self.claim_unreadable(next, file);
        } else {
            self.say(Verdict::Torn);
        }
    }

    /// Beyond the signed size, what does not continue is a torn tail, unless a commit stands in it.
    fn torn_rest(&mut self, lines: &mut Lines, file: usize) -> Result<(), TrailError> {
        self.say(Verdict::Torn);
        let mut authentic = 0;
        let path = self.files[file].path.clone();
        while lines.next_line().map_err(|error| TrailError::io("read", &path, error))? == Met::Line {
            let entry = Entry::parse(lines.line());
            let ours = |entry: &Entry<'_>| {
                self.epochs.as_ref().is_some_and(|epochs| entry.commit_holds(&self.origin, &epochs.key))
            };
            authentic += u64::from(entry.as_ref().is_some_and(ours));
        }
        if authentic > 1 {
            let next = self.next_index();
            self.damaged_in(next, next, file, "later groups of ours are whole: a crash cannot do that");
        }
        Ok(())
    }

    pub fn outcome(mut self) -> Outcome {
        if self.more_damage > 0 {
            self.notes.push(format!("{} more damaged ranges are not listed", self.more_damage));
        }
        if self.epoch_lost && !self.damage.is_empty() {
            self.notes.push("behind the damage the epoch in force is not known for certain".into());
        }
        if !self.recoveries.is_empty() {
            self.say(Verdict::Recovered);
        }
        let signed = self.signed.clone().filter(|_| self.damage.is_empty() && self.chain_reaches_signed());
        let (verified_size, verified_root) = match &signed {
            Some(signed) => (signed.size, signed.root.hex()),
            None => (self.chain.good.size(), self.chain.good.root().hex()),
        };
        let anchored_to = self.anchors.iter().map(|anchor| anchor.size).max().unwrap_or(0);
        Outcome {
            verdict: Verdict::Ok,
            exit: 0,
            trust: if self.pinned { "pinned" } else { "unpinned" },
            size: self.signed_size(),
            root: self.signed.as_ref().map(|signed| signed.root.hex()).unwrap_or_default(),
            unsigned: self.unsigned,
            verified_size,
            verified_root,
            epoch: self.epochs.as_ref().map_or(0, |epochs| epochs.number),
            newest: self.chain.last_time,
            damage: self.damage,
            gaps: self.gaps,
            anchored_to,
            oldest_unanchored: match anchored_to {
                0 => self.first_time,
                size if size >= self.chain.frontier.size() => None,
                size => self.times.get(&size).copied().or(self.first_time),
            },
            anchors: self.anchors,
            erased: self.erased,
            recoveries: self.recoveries,
            notes: self.notes,
            verdicts: self.verdicts,
            generations: Vec::new(),
            previous: self.previous,
            note: self.note,
            log: self.log.as_ref().map(|log| log.key.to_bytes()),
            origin: self.origin,
        }
    }

    fn chain_reaches_signed(&self) -> bool {
        self.chain.frontier.size() >= self.signed_size()
    }
}
