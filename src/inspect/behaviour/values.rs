//! Distinct values with the newest event time of each, at most [`KEPT`], and what they take in memory without
//! counting them again.

use super::hits::{KEPT, NODE, block};
use std::collections::BTreeMap;

/// Distinct values of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    newest: BTreeMap<String, i64>,
    /// Bytes of the texts as the allocator gives them out.
    texts: usize,
}

impl Values {
    /// The newest time of a value.
    pub(super) fn newest(&self, text: &str) -> Option<i64> {
        self.newest.get(text).copied()
    }

    /// A value at a time. Returns how many had to go: of too many, the one seen longest ago.
    pub(super) fn add(&mut self, text: String, time: i64) -> u64 {
        if let Some(newest) = self.newest.get_mut(&text) {
            *newest = time.max(*newest);
            return 0;
        }
        self.texts += block(text.len());
        self.newest.insert(text, time);
        if self.newest.len() <= KEPT {
            return 0;
        }
        let oldest = self.newest.iter().min_by_key(|(_, time)| **time).map(|(text, _)| text.clone());
        oldest.map_or(0, |text| {
            self.texts -= block(text.len());
            u64::from(self.newest.remove(&text).is_some())
        })
    }

    /// Forgets values that were not seen since `time`.
    pub(super) fn prune(&mut self, time: i64) {
        if self.newest.values().all(|newest| *newest >= time) {
            return;
        }
        let texts = &mut self.texts;
        self.newest.retain(|text, newest| {
            let stays = *newest >= time;
            *texts -= if stays { 0 } else { block(text.len()) };
            stays
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    pub(super) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        self.newest.values().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &i64)> {
        self.newest.iter()
    }

    /// Memory on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.newest.len().div_ceil(7) * block(NODE + 11 * 32) + self.texts
    }
}

impl FromIterator<(String, i64)> for Values {
    fn from_iter<I: IntoIterator<Item = (String, i64)>>(values: I) -> Values {
        let newest: BTreeMap<String, i64> = values.into_iter().collect();
        let texts = newest.keys().map(|text| block(text.len())).sum();
        Values { newest, texts }
    }
}
