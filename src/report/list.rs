//! A list in a report: which rows a question found, how many, and a digest over all of them.
//!
//! Memory stays bounded: the first [`ROWS_KEPT`] rows are kept (the worst first, where rows have a
//! severity), the count and the digest are over all rows. The digest is SHA-256 over the stored lines as
//! they stand in the trail, each with its newline, in the trail's order.

use super::entry::EntryView;
use crate::model::digest::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Rows that a list keeps for the report's data.
pub const ROWS_KEPT: usize = 200;

/// One row: its place in the trail and what is shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Index of the entry.
    pub entry: u64,
    /// The cells, in the order of the list's columns.
    pub cells: Vec<String>,
}

/// A list while it is being filled.
pub(super) struct Collecting {
    /// Rows by rank, the worst rank first. Lists without severities use one rank.
    ranks: Vec<Vec<Row>>,
    count: u64,
    examined: u64,
    digest: Sha256,
}

impl Collecting {
    /// An empty list whose rows fall into so many ranks.
    pub fn new(ranks: usize) -> Collecting {
        let ranks = (0..ranks.max(1)).map(|_| Vec::new()).collect();
        Collecting { ranks, count: 0, examined: 0, digest: Sha256::new() }
    }

    /// Counts an entry that the question was put to.
    pub fn examine(&mut self) {
        self.examined += 1;
    }

    /// Adds an entry that answered. `cells` is only called while there is room.
    pub fn add(&mut self, entry: &EntryView<'_>, rank: usize, cells: impl FnOnce() -> Vec<String>) {
        self.count += 1;
        self.digest.update(entry.line);
        self.digest.update(b"\n");
        let last = self.ranks.len() - 1;
        if let Some(rows) = self.ranks.get_mut(rank.min(last))
            && rows.len() < ROWS_KEPT
        {
            rows.push(Row { entry: entry.index, cells: cells() });
        }
    }

    /// Rows found so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The finished list.
    pub fn finish(self, title: &str, query: String, columns: &[&str]) -> List {
        let rows: Vec<Row> = self.ranks.into_iter().flatten().take(ROWS_KEPT).collect();
        List {
            id: String::new(),
            title: title.to_owned(),
            query,
            run_at: String::new(),
            rows_examined: self.examined,
            rows_in_source: self.count,
            rows_in_report: rows.len() as u64,
            digest: hex(&self.digest.finalize()),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows,
        }
    }
}

/// A finished list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct List {
    /// `L1`, `L2` …: how the page and the manual of verification name it.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The jq condition that finds the same rows.
    pub query: String,
    /// When the question was put to the trail.
    pub run_at: String,
    /// Entries that the question was put to.
    pub rows_examined: u64,
    /// Rows in the trail that answer it.
    pub rows_in_source: u64,
    /// Rows kept in the report's data.
    pub rows_in_report: u64,
    /// SHA-256 over all rows in the source, as stored.
    pub digest: String,
    /// Headings of the cells.
    pub columns: Vec<String>,
    /// The rows kept.
    pub rows: Vec<Row>,
}
