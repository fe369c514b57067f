//! Snapshots of grants as they arrive: begin, rows, end.
//!
//! Invariants:
//! * Rows are masked when they arrive. So what is kept here, what is compared, what is written to the trail
//!   and what is read back from it are the same texts, and this state may be stored.
//! * Without a begin, without an end with the same number of rows, with a line that could not be read, or
//!   beyond [`ROWS_MAX`] or [`BYTES_MAX`], a snapshot is partial and says why. A partial snapshot adds what
//!   it shows and removes nothing: what is missing from half a list may stand in the other half.
//! * Rows without a begin belong to no known tenant: they are kept as evidence and change nothing.
//! * A grant that stands twice with the same holder, permission, scope and path is one grant; of its two
//!   forms the more permissive counts.

use super::held::{Held, Pool, Row, Scope};
use crate::model::event::{System, words};
use crate::model::grant::{Grant, GrantsLine};
use crate::model::json::{Mask, Object};
use crate::model::{Hash, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Most rows of one snapshot.
pub const ROWS_MAX: u64 = 5_000_000;
/// Most bytes of text in the rows of one snapshot.
pub const BYTES_MAX: u64 = 1 << 30;

words!(
    /// Why a snapshot is partial.
    Lack {
        /// Rows or an end without a begin.
        NoBegin = "no_begin",
        /// The next snapshot began, or the source ended, before this one did.
        NoEnd = "no_end",
        /// The end names another number of rows than arrived.
        RowCount = "row_count",
        /// A line that is no row, or a row without holder or permission.
        BadLine = "bad_line",
        /// More than [`ROWS_MAX`] rows or [`BYTES_MAX`] bytes.
        TooLarge = "too_large",
    }
);

/// A snapshot that has ended, compared with what was held before.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotResult {
    /// Configured source name.
    pub source: String,
    /// Product.
    pub system: System,
    /// Org, instance or client.
    pub tenant: Option<String>,
    /// The query that made it, masked.
    pub query: String,
    /// When the query ran.
    pub time: Option<Time>,
    /// Rows in the source, as the end says.
    pub rows_in_source: Option<u64>,
    /// Row lines that arrived, good or bad.
    pub rows: u64,
    /// Distinct grants among them.
    pub grants: u64,
    /// Whether it proves what is *not* granted.
    pub complete: bool,
    /// Why it is not complete, sorted.
    pub lacks: Vec<Lack>,
    /// Grants that are new, or whose name, state or expiry is; sorted.
    pub added: Vec<Grant>,
    /// Grants that are gone; always empty when the snapshot is partial. Sorted.
    pub removed: Vec<Grant>,
    /// SHA-256 of `rows_jsonl`: whoever has the file can check it.
    pub digest: Hash,
    /// One JSON object a line for every distinct grant, sorted, masked.
    pub rows_jsonl: Vec<u8>,
}

impl SnapshotResult {
    /// What it is about.
    pub fn scope(&self) -> Scope {
        Scope { system: self.system, tenant: self.tenant.clone() }
    }

    /// Puts it into force. Rows without a begin change nothing.
    pub fn apply(&self, held: &mut Held) {
        if !self.lacks.contains(&Lack::NoBegin) {
            held.apply(&self.scope(), &self.source, self.complete, &self.added, &self.removed);
        }
    }
}

/// A snapshot that has not ended.
struct Open {
    begun: bool,
    scope: Scope,
    query: String,
    time: Option<Time>,
    rows: Vec<Row>,
    received: u64,
    bytes: u64,
    bad: bool,
    cut: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    source: String,
    begun: bool,
    scope: Scope,
    query: String,
    time: Option<Time>,
    received: u64,
    bytes: u64,
    bad: bool,
    cut: bool,
    grants: Vec<Grant>,
}

/// The open snapshots, one a source.
pub struct Snapshots {
    mask: Mask,
    pool: Pool,
    open: BTreeMap<String, Open>,
}

impl Snapshots {
    /// None open. Everything that arrives passes `mask`.
    pub fn new(mask: Mask) -> Snapshots {
        Snapshots { mask, pool: Pool::default(), open: BTreeMap::new() }
    }

    /// Takes one line of a source whose format belongs to `system`; gives the snapshot that it ended.
    pub fn push(
        &mut self,
        source: &str,
        system: System,
        line: GrantsLine,
        held: &Held,
    ) -> Option<SnapshotResult> {
        match line {
            GrantsLine::Begin { system, tenant, query, time } => {
                let ended = self.close(source, held);
                let tenant = tenant.map(|tenant| self.masked(tenant));
                let query = self.masked(query);
                let scope = Scope { system, tenant };
                self.open.insert(source.to_owned(), Open { query, time, ..Open::new(scope, true) });
                ended
            }
            GrantsLine::Row(grant) => {
                let grant = self.masked_grant(grant);
                let open = Open::of(&mut self.open, source, system);
                open.take(&grant, &mut self.pool, (ROWS_MAX, BYTES_MAX));
                None
            }
            GrantsLine::Bad { why: _ } => {
                let open = Open::of(&mut self.open, source, system);
                open.received += 1;
                open.bad = true;
                None
            }
            GrantsLine::End { rows } => {
                Open::of(&mut self.open, source, system);
                self.end(source, Some(rows), held)
            }
        }
    }

    /// Ends what a source left open, because it will not go on.
    pub fn close(&mut self, source: &str, held: &Held) -> Option<SnapshotResult> {
        self.end(source, None, held)
    }

    /// Sources with an open snapshot.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        self.open.keys().map(String::as_str)
    }

    fn end(&mut self, source: &str, rows: Option<u64>, held: &Held) -> Option<SnapshotResult> {
        let open = self.open.remove(source)?;
        let result = open.result(source, rows, held, self.mask);
        if self.open.is_empty() {
            self.pool = Pool::default();
        } else {
            self.pool.prune();
        }
        Some(result)
    }

    fn masked(&self, text: String) -> String {
        (self.mask)(&text).unwrap_or(text)
    }

    fn masked_grant(&self, grant: Grant) -> Grant {
        Grant {
            principal: self.masked(grant.principal),
            name: grant.name.map(|name| self.masked(name)),
            permission: self.masked(grant.permission),
            scope: self.masked(grant.scope),
            path: self.masked(grant.path),
            enabled: grant.enabled,
            expires: grant.expires,
        }
    }

    /// The open snapshots as bytes, sorted by source, so that they survive a restart.
    pub fn export(&self) -> Vec<u8> {
        let saved: Vec<Saved> = self
            .open
            .iter()
            .map(|(source, open)| Saved {
                source: source.clone(),
                begun: open.begun,
                scope: open.scope.clone(),
                query: open.query.clone(),
                time: open.time,
                received: open.received,
                bytes: open.bytes,
                bad: open.bad,
                cut: open.cut,
                grants: open.rows.iter().map(Row::grant).collect(),
            })
            .collect();
        // Structs of strings, numbers and lists always become JSON. Without it the snapshots would be partial.
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    /// The open snapshots from [`Snapshots::export`].
    pub fn import(bytes: &[u8], mask: Mask) -> Result<Snapshots, serde_json::Error> {
        let mut snapshots = Snapshots::new(mask);
        for saved in serde_json::from_slice::<Vec<Saved>>(bytes)? {
            let rows = saved.grants.iter().map(|grant| snapshots.pool.row(grant)).collect();
            let open = Open {
                begun: saved.begun,
                scope: saved.scope,
                query: saved.query,
                time: saved.time,
                rows,
                received: saved.received,
                bytes: saved.bytes,
                bad: saved.bad,
                cut: saved.cut,
            };
            snapshots.open.insert(saved.source, open);
        }
        Ok(snapshots)
    }
}

impl Open {
    fn new(scope: Scope, begun: bool) -> Open {
        Open {
            begun,
            scope,
            query: String::new(),
            time: None,
            rows: Vec::new(),
            received: 0,
            bytes: 0,
            bad: false,
            cut: false,
        }
    }

    /// The source's open snapshot, or one without a begin.
    fn of<'a>(open: &'a mut BTreeMap<String, Open>, source: &str, system: System) -> &'a mut Open {
        open.entry(source.to_owned()).or_insert_with(|| Open::new(Scope { system, tenant: None }, false))
    }

    fn take(&mut self, grant: &Grant, pool: &mut Pool, (rows_max, bytes_max): (u64, u64)) {
        self.received += 1;
        if grant.principal.is_empty() || grant.permission.is_empty() {
            self.bad = true;
            return;
        }
        let name = grant.name.as_deref().map_or(0, str::len);
        let texts = [&grant.principal, &grant.permission, &grant.scope, &grant.path];
        let bytes = (texts.iter().map(|text| text.len()).sum::<usize>() + name) as u64;
        if self.rows.len() as u64 >= rows_max || self.bytes.saturating_add(bytes) > bytes_max {
            self.cut = true;
            return;
        }
        self.bytes += bytes;
        self.rows.push(pool.row(grant));
    }

    fn result(self, source: &str, rows_in_source: Option<u64>, held: &Held, mask: Mask) -> SnapshotResult {
        let mut lacks = Vec::new();
        let mut lack = |lacking: bool, lack: Lack| lacks.extend(lacking.then_some(lack));
        lack(!self.begun, Lack::NoBegin);
        lack(rows_in_source.is_none(), Lack::NoEnd);
        lack(rows_in_source.is_some_and(|rows| rows != self.received), Lack::RowCount);
        lack(self.bad, Lack::BadLine);
        lack(self.cut, Lack::TooLarge);
        let complete = lacks.is_empty();
        let mut rows = self.rows;
        sort_and_merge(&mut rows);
        let (added, removed) = match self.begun {
            true => difference(held, &self.scope, &rows, complete),
            false => (Vec::new(), Vec::new()),
        };
        let mut rows_jsonl = Vec::new();
        for row in &rows {
            Object::whole(&mut rows_jsonl, mask, |object| row.grant().write(object));
            rows_jsonl.push(b'\n');
        }
        SnapshotResult {
            source: source.to_owned(),
            system: self.scope.system,
            tenant: self.scope.tenant,
            query: self.query,
            time: self.time,
            rows_in_source,
            rows: self.received,
            grants: rows.len() as u64,
            complete,
            lacks,
            added,
            removed,
            digest: Hash(Sha256::digest(&rows_jsonl).into()),
            rows_jsonl,
        }
    }
}

/// Sorts, and makes one grant of those that are the same. The outcome does not depend on their order.
fn sort_and_merge(rows: &mut Vec<Row>) {
    rows.sort_unstable();
    rows.dedup_by(|later, kept| {
        if later.identity() != kept.identity() {
            return false;
        }
        kept.name = kept.name.take().max(later.name.take());
        kept.enabled = kept.enabled.max(later.enabled);
        kept.expires = kept.expires.zip(later.expires).map(|(a, b)| a.max(b));
        true
    });
}

/// Walks both sorted lists at once: what is only in the new one or differs, and what is only in the old one.
fn difference(held: &Held, scope: &Scope, rows: &[Row], complete: bool) -> (Vec<Grant>, Vec<Grant>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut old = held.scope(scope).into_iter().flat_map(|holders| holders.rows()).peekable();
    for row in rows {
        while let Some(gone) = old.next_if(|known| known.identity() < row.identity()) {
            if complete {
                removed.push(gone.grant());
            }
        }
        let known = old.next_if(|known| known.identity() == row.identity());
        if known.is_none_or(|known| known != row) {
            added.push(row.grant());
        }
    }
    if complete {
        removed.extend(old.map(Row::grant));
    }
    (added, removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_cut_and_are_counted() {
        let grant = Grant { principal: "a".into(), permission: "P".into(), ..Grant::default() };
        let mut open = Open::new(Scope { system: System::Custom, tenant: None }, true);
        let mut pool = Pool::default();
        for _ in 0..3 {
            open.take(&grant, &mut pool, (2, 100));
        }
        let result = open.result("s", Some(3), &Held::default(), crate::model::json::no_mask);
        assert_eq!((result.rows, result.grants, result.lacks), (3, 1, vec![Lack::TooLarge]));
        let mut open = Open::new(Scope { system: System::Custom, tenant: None }, true);
        open.take(&grant, &mut pool, (2, 1));
        assert!(open.cut && open.rows.is_empty());
    }
}
