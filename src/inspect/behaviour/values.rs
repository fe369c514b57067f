//! Distinct values with the newest event time of each, at most [`KEPT`], and what they take in memory without
//! counting them again.

use super::hits::{KEPT, NODE, block};
use std::collections::BTreeMap;

/// Distinct values of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    newest: BTreeMap<String, i64>,
    /// How many values have each of these times: what a window holds is found without a look at every value.
    times: BTreeMap<i64, u32>,
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
            if time > *newest {
                let before = std::mem::replace(newest, time);
                self.forget_time(before);
                *self.times.entry(time).or_default() += 1;
            }
            return 0;
        }
        *self.times.entry(time).or_default() += 1;
        self.texts += block(text.len());
        self.newest.insert(text, time);
        if self.newest.len() <= KEPT {
            return 0;
        }
        let oldest = self.newest.iter().min_by_key(|(_, time)| **time).map(|(text, _)| text.clone());
        oldest.map_or(0, |text| {
            self.texts -= block(text.len());
            let gone = self.newest.remove(&text);
            gone.iter().for_each(|time| self.forget_time(*time));
            u64::from(gone.is_some())
        })
    }

    fn forget_time(&mut self, time: i64) {
        if let Some(count) = self.times.get_mut(&time) {
            *count -= 1;
            if *count == 0 {
                self.times.remove(&time);
            }
        }
    }

    /// Forgets values that were not seen since `time`.
    pub(super) fn prune(&mut self, time: i64) {
        if self.times.first_key_value().is_none_or(|(oldest, _)| *oldest >= time) {
            return;
        }
        self.times = self.times.split_off(&time);
        let texts = &mut self.texts;
        self.newest.retain(|text, newest| {
            let stays = *newest >= time;
            *texts -= if stays { 0 } else { block(text.len()) };
            stays
        });
    }

    /// The newest time at or before `limit`.
    pub(super) fn newest_until(&self, limit: i64) -> Option<i64> {
        self.times.range(..=limit).next_back().map(|(time, _)| *time)
    }

    /// How many values were seen last between these times, both included.
    pub(super) fn within(&self, start: i64, end: i64) -> usize {
        let (oldest, newest) = (self.times.first_key_value(), self.times.last_key_value());
        if oldest.is_none_or(|(time, _)| *time >= start) && newest.is_none_or(|(time, _)| *time <= end) {
            return self.newest.len();
        }
        self.times.range(start..=end.max(start)).map(|(_, count)| *count as usize).sum()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &i64)> {
        self.newest.iter()
    }

    /// Memory on the heap.
    pub(super) fn bytes(&self) -> usize {
        let nodes = |count: usize, entry: usize| count.div_ceil(7) * block(NODE + 11 * entry);
        nodes(self.newest.len(), 32) + nodes(self.times.len(), 12) + self.texts
    }
}

impl FromIterator<(String, i64)> for Values {
    fn from_iter<I: IntoIterator<Item = (String, i64)>>(values: I) -> Values {
        let newest: BTreeMap<String, i64> = values.into_iter().collect();
        let texts = newest.keys().map(|text| block(text.len())).sum();
        let mut times = BTreeMap::new();
        newest.values().for_each(|time| *times.entry(*time).or_default() += 1);
        Values { newest, times, texts }
    }
}
