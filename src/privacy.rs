//! The writer's side of an erasable deployment: details become durable before the entries that commit to
//! them, principals of grants become pseudonyms, and people see what pseudonyms stand for.
//!
//! Invariants:
//! * what is handed over for a group waits in memory and is written, synced, before the group is
//!   ([`Privacy::commit`]);
//! * nothing that is kept in memory of clear values ever reaches an entry, the cache or a metric;
//! * what is remembered for people's eyes is bounded (see [`Names`]), and comes from the details that are
//!   there: what was erased is not shown again after [`Privacy::remember_again`].

use crate::inspect::dlp;
use crate::inspect::privilege::Rules;
use crate::model::grant::{Grant, GrantsLine};
use crate::model::json::{Object, no_mask};
use crate::model::pseudonym::{Token, each_token};
use crate::model::{Finding, Key, Names, Pseudonyms, System};
use crate::stage::veil::{Clear, Details, Salts};
use crate::trail::detail::{self, Reader, Store, Walk, write_lines};
use crate::trail::disk::Disk;
use crate::trail::{Trail, TrailError, read};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the newest details that a start reads to know names again.
const REMEMBERED_BYTES: u64 = 16 << 20;
/// Entries behind alerts still owed whose names a start looks up.
const REMEMBERED_ENTRIES: usize = 1000;
/// Bytes of clear names that one open snapshot keeps; of principals beyond it no detail is kept.
const SNAPSHOT_BYTES: usize = 256 << 20;

/// What an erasable deployment needs at the writer.
pub struct Privacy {
    store: Store,
    generation: PathBuf,
    /// First index of the open segment, where it is known.
    segment: Option<u64>,
    /// Lines of the group being built.
    pending: Vec<u8>,
    pseudonyms: Pseudonyms,
    names: Names,
    /// Whom policies name, with the pseudonyms they can have.
    people: Vec<(Token, String)>,
    /// For details of grants.
    salts: Salts,
    open: BTreeMap<String, Snapshot>,
    ended: Option<Snapshot>,
}

/// Clear names of a snapshot under way.
struct Snapshot {
    system: System,
    clear: HashMap<Token, Box<str>>,
    bytes: usize,
}

impl Snapshot {
    fn new(system: System) -> Snapshot {
        Snapshot { system, clear: HashMap::new(), bytes: 0 }
    }

    fn keep(&mut self, token: Token, value: &str) {
        if self.bytes + value.len() <= SNAPSHOT_BYTES && !self.clear.contains_key(&token) {
            self.bytes += value.len() + size_of::<(Token, Box<str>)>();
            self.clear.insert(token, value.into());
        }
    }
}

impl Privacy {
    /// Folder of the details.
    pub fn folder(&self) -> PathBuf {
        self.store.folder().to_owned()
    }

    /// Opens the details of a trail after its own recovery, and remembers the newest names. Also says how many
    /// details were dropped because their entries never came to be.
    pub fn open(
        disk: &Arc<dyn Disk>,
        state: &Path,
        trail: &Trail,
        matching: Key,
        policies: &Rules,
    ) -> Result<(Privacy, u64), TrailError> {
        let generation = trail.folder().to_owned();
        let number = generation.file_name().and_then(|name| name.to_str()?.strip_prefix('g')?.parse().ok());
        let folder = detail::folder(state, number.unwrap_or(1));
        let (store, dropped) = Store::open(disk, folder, &generation, trail.next_index())?;
        let pseudonyms = Pseudonyms::new(matching);
        let people = policies.people().flat_map(|who| {
            let tokens = pseudonyms.of_person(who);
            tokens.into_iter().filter_map(move |token| Some((Token::parse(&token)?, who.to_owned())))
        });
        let mut privacy = Privacy {
            people: people.collect(),
            store,
            generation,
            segment: None,
            pending: Vec::new(),
            pseudonyms,
            names: Names::default(),
            salts: Salts::default(),
            open: BTreeMap::new(),
            ended: None,
        };
        privacy.remember_again()?;
        Ok((privacy, dropped))
    }

    /// What makes pseudonyms.
    pub fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    /// The details, to remove some: call [`Privacy::remember_again`] afterwards.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Forgets all names and reads the newest details again.
    pub fn remember_again(&mut self) -> Result<(), TrailError> {
        self.names.forget();
        let mut left = REMEMBERED_BYTES;
        let mut parts = Vec::new();
        let disk = Arc::clone(self.store.disk());
        for file in detail::files(&*disk, self.store.folder())?.iter().rev() {
            let length = detail::length(&*disk, &file.path)?;
            parts.push((file.path.clone(), length.saturating_sub(left)));
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
        for (path, offset) in parts.iter().rev() {
            let mut reader = Reader::open(&*disk, path, *offset)?;
            while let Some(detail) = reader.next_detail()? {
                if has_pseudonym(&detail.path) {
                    self.names.learn_detail(&self.pseudonyms, &detail.path, &detail.value);
                }
            }
        }
        for (token, who) in &self.people {
            self.names.learn(*token, who);
        }
        Ok(())
    }

    /// Remembers the names of these entries, however old they are: of the newest [`REMEMBERED_ENTRIES`].
    pub fn remember_entries(&mut self, entries: impl Iterator<Item = u64>) -> Result<(), TrailError> {
        let mut entries: Vec<u64> = entries.collect();
        entries.sort_unstable();
        entries.dedup();
        let from = entries.len().saturating_sub(REMEMBERED_ENTRIES);
        let disk = Arc::clone(self.store.disk());
        let mut walk = Walk::new(&*disk, self.store.folder())?;
        for index in entries.split_off(from) {
            for detail in walk.of_entry(index)? {
                if has_pseudonym(&detail.path) {
                    self.names.learn_detail(&self.pseudonyms, &detail.path, &detail.value);
                }
            }
        }
        Ok(())
    }

    /// Takes the details of the entry that will have this index: lines without it.
    pub fn keep(&mut self, index: u64, tails: &[u8]) {
        write_lines(&mut self.pending, index, tails);
    }

    /// Remembers what an event's pseudonyms stand for.
    pub fn learn(&mut self, clear: &Clear) {
        for (path, value) in &clear.values {
            self.names.learn_detail(&self.pseudonyms, path, value);
        }
    }

    /// Remembers whom a finding about the snapshot that ended names.
    pub fn learn_granted(&mut self, finding: &Finding) {
        let Some(snapshot) = &self.ended else { return };
        let texts = [Some(&finding.title), Some(&finding.next), finding.detail.as_ref()];
        let who = [finding.actor.as_ref(), finding.actor_name.as_ref()];
        for text in texts.into_iter().chain(who).flatten() {
            each_token(text, |_, token| {
                if let Some(value) = snapshot.clear.get(&token) {
                    self.names.learn(token, value);
                }
            });
        }
    }

    /// A text as people see it: known pseudonyms become what they stand for, masked as everything is.
    pub fn show(&self, text: &mut String) {
        if let std::borrow::Cow::Owned(shown) = self.names.show(text) {
            *text = dlp::mask_around(&shown).unwrap_or(shown);
        }
    }

    /// The trail may have begun another segment.
    pub fn rolled(&mut self) {
        self.segment = None;
    }

    /// Makes the details of the group durable. Call it before the group is written.
    pub fn commit(&mut self) -> Result<(), TrailError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.salts.failed {
            return Err(no_randomness());
        }
        let segment = match self.segment {
            Some(first) => first,
            None => read::segments(&**self.store.disk(), &self.generation)?
                .last()
                .map_or(0, |segment| segment.first),
        };
        self.segment = Some(segment);
        self.store.append(segment, &self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// A line of a grants feed, masked, its principal a pseudonym. Roles that stand as principals stay.
    pub fn grants_line(&mut self, key: &str, system: System, line: GrantsLine) -> GrantsLine {
        match line {
            GrantsLine::Begin { system, tenant, query, time } => {
                self.ended = self.open.insert(key.to_owned(), Snapshot::new(system));
                let (tenant, query) = (tenant.map(masked), masked(query));
                GrantsLine::Begin { system, tenant, query, time }
            }
            GrantsLine::Row(grant) => {
                let snapshot = self.open.entry(key.to_owned()).or_insert_with(|| Snapshot::new(system));
                GrantsLine::Row(hide(&self.pseudonyms, snapshot, grant))
            }
            GrantsLine::End { rows } => {
                self.ended = self.open.remove(key);
                GrantsLine::End { rows }
            }
            GrantsLine::Bad { why } => GrantsLine::Bad { why },
        }
    }

    /// Takes the details of a `grant` entry that adds something, and gives its `committed` member; `None` where
    /// nothing is known in clear.
    pub fn keep_grant(&mut self, index: u64, grant: &Grant) -> Option<Vec<u8>> {
        let snapshot = self.ended.as_ref()?;
        let mut committed = Vec::new();
        let mut details = Details::with(std::mem::take(&mut self.salts));
        Object::whole(&mut committed, no_mask, |out| {
            for (path, text) in [("principal", Some(&grant.principal)), ("name", grant.name.as_ref())] {
                let token = text.and_then(|text| Token::parse(text));
                if let Some(value) = token.and_then(|token| snapshot.clear.get(&token)) {
                    details.add(path, value, out);
                }
            }
        });
        details.close();
        write_lines(&mut self.pending, index, details.of(0));
        let any = !details.of(0).is_empty();
        self.salts = details.salts;
        any.then_some(committed)
    }

    /// What the ended snapshot had in clear is needed no longer.
    pub fn end_grants(&mut self) {
        self.ended = None;
    }
}

/// Nothing may be written that was committed to with a salt that is none.
pub fn no_randomness() -> TrailError {
    let source = std::io::Error::other("the system gives no randomness for salts");
    TrailError::io("commit to details in", Path::new("details"), source)
}

/// Whether a pseudonym can stand for the detail: other values need not be remembered.
fn has_pseudonym(path: &str) -> bool {
    let long = path.contains('#');
    !long && !path.starts_with("extra.") && !matches!(path, "query" | "message" | "http.path")
}

fn masked(text: String) -> String {
    dlp::mask(&text).unwrap_or(text)
}

fn hide(pseudonyms: &Pseudonyms, snapshot: &mut Snapshot, grant: Grant) -> Grant {
    let mut grant = Grant {
        principal: masked(grant.principal),
        name: grant.name.map(masked),
        permission: masked(grant.permission),
        scope: masked(grant.scope),
        path: masked(grant.path),
        ..grant
    };
    if grant.principal.is_empty() || grant.principal.starts_with("role:") {
        return grant;
    }
    for (path, text) in [("principal", Some(&mut grant.principal)), ("name", grant.name.as_mut())] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let token = pseudonyms.of(path, snapshot.system, text);
            snapshot.keep(token, text);
            *text = token.text();
        }
    }
    grant
}

#[cfg(test)]
mod tests;
