//! What one group of one correlation remembers, and what that sums up to in a window.
//!
//! Invariants: hits are ordered by event time whatever order they arrive in; a window is `[end - timespan,
//! end]`, both ends included; memory is bounded for every kind, and what a bound takes away is either
//! harmless (see [`width`]) or counted.

use super::habit::Past;
use super::rule::{Correlation, Kind, Test};
use super::values::Values;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Most distinct values, numbers or hits of one part that a group keeps.
pub const KEPT: usize = 4096;

/// Seconds that a group keeps hits beyond its window, so that hits of an unsorted file find each other.
pub(super) const LATENESS: i64 = 3600;

/// Hits of one group, by time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Hits {
    /// Counts and sums: one entry per [`width`] seconds, and what all of them sum up to.
    Tally(VecDeque<(i64, f64)>, f64),
    /// Distinct values with the newest time of each.
    Distinct(Values),
    /// Hits of each part, with what a chained correlation summed up to.
    Parts(Vec<VecDeque<(i64, f64)>>),
    /// Numbers.
    Numbers(VecDeque<(i64, f64)>),
    /// What is usual.
    Past(Past),
}

/// What a hit brings.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number to count or sum.
    Number(f64),
    /// A value to tell from others.
    Text(String),
}

/// Seconds that share one entry of a tally: exact for windows up to 34 minutes, else 1/2048 of the window. An
/// entry leaves with its newest hit, so a hit counts at most this much too long and never too short.
fn width(timespan: i64) -> i64 {
    (timespan + 2047).div_euclid(2048).max(1)
}

impl Hits {
    pub(super) fn new(correlation: &Correlation, time: i64) -> Hits {
        match correlation.kind {
            Kind::EventCount | Kind::ValueSum => Hits::Tally(VecDeque::new(), 0.0),
            Kind::ValueCount => Hits::Distinct(Values::default()),
            Kind::Temporal | Kind::TemporalOrdered => {
                Hits::Parts(vec![VecDeque::new(); correlation.parts.len()])
            }
            Kind::ValueAvg | Kind::ValuePercentile | Kind::ValueMedian => Hits::Numbers(VecDeque::new()),
            Kind::FirstSeen | Kind::Baseline | Kind::Travel | Kind::Dormant | Kind::UnusualHour => {
                Hits::Past(Past::new(correlation, time))
            }
        }
    }

    /// Adds a hit of the part at `place`. Returns how many hits had to go because of [`KEPT`].
    pub(super) fn insert(&mut self, timespan: i64, place: usize, time: i64, value: Value) -> u64 {
        match (self, value) {
            (Hits::Tally(entries, total), Value::Number(number)) => {
                tally(entries, width(timespan), time, number);
                *total += number;
                0
            }
            (Hits::Numbers(entries), Value::Number(number)) => {
                let at = entries.partition_point(|(other, _)| *other <= time);
                entries.insert(at, (time, number));
                drop_oldest(entries)
            }
            (Hits::Parts(parts), Value::Number(number)) => {
                let Some(entries) = parts.get_mut(place) else { return 0 };
                let at = entries.partition_point(|(other, _)| *other < time);
                match entries.get_mut(at) {
                    Some(entry) if entry.0 == time => entry.1 = number,
                    _ => entries.insert(at, (time, number)),
                }
                drop_oldest(entries)
            }
            (Hits::Distinct(values), Value::Text(text)) => values.add(text, time),
            // The kind decides both; a value that does not fit is no hit.
            (_, Value::Number(_) | Value::Text(_)) => 0,
        }
    }

    /// Forgets hits before `time`.
    pub(super) fn prune(&mut self, time: i64) {
        match self {
            Hits::Tally(entries, total) => {
                let gone = drop_before(entries, time);
                // Whole numbers are taken away exactly; others are summed anew, as a restart does.
                if gone != 0.0 {
                    let whole = gone.fract() == 0.0 && total.fract() == 0.0;
                    *total =
                        if whole { *total - gone } else { entries.iter().map(|(_, number)| number).sum() };
                }
            }
            Hits::Numbers(entries) => {
                drop_before(entries, time);
            }
            Hits::Parts(parts) => {
                for entries in parts {
                    drop_before(entries, time);
                }
            }
            Hits::Distinct(values) => values.prune(time),
            Hits::Past(_) => {}
        }
    }

    /// The newest hit at or before `limit`.
    pub(super) fn newest_until(&self, limit: i64) -> Option<i64> {
        fn last(entries: &VecDeque<(i64, f64)>, limit: i64) -> Option<i64> {
            // Files are sorted, mostly.
            if let Some((newest, _)) = entries.back().filter(|(newest, _)| *newest <= limit) {
                return Some(*newest);
            }
            let after = entries.partition_point(|(time, _)| *time <= limit);
            entries.get(after.checked_sub(1)?).map(|(time, _)| *time)
        }
        match self {
            Hits::Tally(entries, _) | Hits::Numbers(entries) => last(entries, limit),
            Hits::Parts(parts) => parts.iter().filter_map(|entries| last(entries, limit)).max(),
            Hits::Distinct(values) => values.newest_until(limit),
            Hits::Past(_) => None,
        }
    }

    /// What the window that ends at `end` sums up to, when the correlation holds there.
    pub(super) fn holds(&self, correlation: &Correlation, end: i64) -> Option<f64> {
        let start = end.saturating_sub(correlation.timespan);
        let sum = match self {
            // Where all of them are too few, no window has enough: most groups are settled without a look inside.
            Hits::Tally(_, total)
                if correlation.kind == Kind::EventCount && correlation.test.is_above(*total) =>
            {
                return None;
            }
            Hits::Tally(entries, _) => within(entries, start, end).map(|(_, number)| number).sum(),
            Hits::Distinct(values) if correlation.test.is_above(values.len() as f64) => return None,
            Hits::Distinct(values) => values.within(start, end) as f64,
            Hits::Numbers(entries) => {
                let numbers: Vec<f64> = within(entries, start, end).map(|(_, number)| number).collect();
                middle(correlation, numbers)?
            }
            Hits::Parts(parts) => return parts_hold(parts, correlation, start, end),
            Hits::Past(_) => return None,
        };
        correlation.test.passes(sum).then_some(sum)
    }

    /// For each part the newest sum of a chained correlation, or the number of hits, in that window.
    pub(super) fn parts_in(&self, start: i64, end: i64) -> Vec<f64> {
        let Hits::Parts(parts) = self else { return Vec::new() };
        let strongest = |entries| within(entries, start, end).map(|(_, number)| number).fold(0.0, f64::max);
        let count = |entries| within(entries, start, end).count() as f64;
        parts.iter().map(|entries| f64::max(strongest(entries), count(entries))).collect()
    }

    /// Memory on the heap, as a 64-bit allocator gives it out. Reckoned from what is held and not from what is
    /// allocated: after a restart the same groups must count the same, for what is forgotten follows from it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Hits::Tally(entries, _) | Hits::Numbers(entries) => queue(entries),
            Hits::Parts(parts) => block(parts.len() * 32) + parts.iter().map(queue).sum::<usize>(),
            Hits::Distinct(values) => values.bytes(),
            Hits::Past(past) => past.bytes(),
        }
    }
}

/// What a node of a B-tree holds beside its eleven places, of which some seven are taken.
pub(super) const NODE: usize = 24;

/// What a queue of pairs takes, which grows by doubling.
pub(super) fn queue(entries: &VecDeque<(i64, f64)>) -> usize {
    if entries.is_empty() { 0 } else { block(entries.len().next_power_of_two().max(4) * 16) }
}

/// What so many bytes take on the heap: a word before them, in steps of sixteen, 32 at least.
pub(super) fn block(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

fn tally(entries: &mut VecDeque<(i64, f64)>, width: i64, time: i64, number: f64) {
    // A second of a busy feed has many events, and a division costs more than the rest of this.
    if let Some(entry) = entries.back_mut().filter(|entry| entry.0 == time) {
        entry.1 += number;
        return;
    }
    let slot = time.div_euclid(width);
    // Files are sorted, mostly: the newest entry is the one, or the one before.
    match entries.back_mut().map(|entry| (entry.0.div_euclid(width).cmp(&slot), entry)) {
        Some((Ordering::Equal, entry)) => {
            entry.0 = entry.0.max(time);
            entry.1 += number;
            return;
        }
        Some((Ordering::Less, _)) | None => return entries.push_back((time, number)),
        Some((Ordering::Greater, _)) => {}
    }
    let at = entries.partition_point(|(other, _)| other.div_euclid(width) < slot);
    match entries.get_mut(at) {
        Some(entry) if entry.0.div_euclid(width) == slot => {
            entry.0 = entry.0.max(time);
            entry.1 += number;
        }
        _ => entries.insert(at, (time, number)),
    }
}

fn drop_oldest(entries: &mut VecDeque<(i64, f64)>) -> u64 {
    let mut dropped = 0;
    while entries.len() > KEPT {
        entries.pop_front();
        dropped += 1;
    }
    dropped
}

/// Forgets what is older, and says what that summed up to.
fn drop_before(entries: &mut VecDeque<(i64, f64)>, time: i64) -> f64 {
    let mut gone = 0.0;
    while let Some((_, number)) = entries.pop_front_if(|(oldest, _)| *oldest < time) {
        gone += number;
    }
    if entries.len() < entries.capacity() / 4 {
        entries.shrink_to(entries.len() * 2);
    }
    gone
}

fn within(entries: &VecDeque<(i64, f64)>, start: i64, end: i64) -> impl Iterator<Item = (i64, f64)> + '_ {
    let first = entries.partition_point(|(time, _)| *time < start);
    entries.range(first..).copied().take_while(move |(time, _)| *time <= end)
}

/// Mean, median or percentile; of no numbers there is none.
fn middle(correlation: &Correlation, mut numbers: Vec<f64>) -> Option<f64> {
    if correlation.kind == Kind::ValueAvg {
        let count = numbers.len() as f64;
        return (count > 0.0).then(|| numbers.iter().sum::<f64>() / count);
    }
    numbers.sort_by(f64::total_cmp);
    let rank = if correlation.kind == Kind::ValueMedian { 50.0 } else { f64::from(correlation.percentile) };
    let place = rank / 100.0 * numbers.len().checked_sub(1)? as f64;
    let below = *numbers.get(place.floor() as usize)?;
    let above = *numbers.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

fn parts_hold(
    parts: &[VecDeque<(i64, f64)>],
    correlation: &Correlation,
    start: i64,
    end: i64,
) -> Option<f64> {
    let happened: Vec<bool> =
        parts.iter().map(|entries| within(entries, start, end).next().is_some()).collect();
    let count = happened.iter().filter(|happened| **happened).count() as f64;
    let ordered = correlation.kind != Kind::TemporalOrdered || in_order(parts, start, end);
    let holds = match &correlation.test {
        Test::Parts(expression) => expression.holds(&happened) && ordered,
        compare @ Test::Compare(_) => compare.passes(if ordered { count } else { 0.0 }),
    };
    holds.then_some(count)
}

/// Whether there is one hit of each part with none before its predecessor's. The earliest possible choice for
/// each part leaves the most room for the next, so one pass settles it.
fn in_order(parts: &[VecDeque<(i64, f64)>], start: i64, end: i64) -> bool {
    let mut from = start;
    parts.iter().all(|entries| match within(entries, from, end).next() {
        Some((time, _)) => {
            from = time;
            true
        }
        None => false,
    })
}
