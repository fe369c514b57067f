//! What is usual for one group, and what is not: the statements that Sigma has no words for.
//!
//! Invariants: only event time counts; what is told is decided by what was seen before, the event itself is
//! added afterwards; a group that is known for less than [`Habit::learn`] is told nothing but what
//! [`Habit::without_history`] says; memory is bounded by [`KEPT`] values and by [`Habit::memory`].
//!
//! | kind | is told |
//! |---|---|
//! | `first_seen` | a value that the group did not have within its memory |
//! | `baseline` | a sum over one [`Correlation::timespan`] that is `times` the highest of all others in memory |
//! | `travel` | two places further apart than anybody travels in the time between |
//! | `dormant` | a sign of life after a silence of [`Correlation::timespan`] |
//! | `unusual_hour` | an hour of the day at which, give or take two, the group was never active |
//!
//! The highest of single spans is compared, never their sum: against a sum, somebody who exports every day could
//! export ten times as much unseen. Hours are counted apart for weekdays and weekends, in UTC on both sides:
//! what is compared with one's own past needs no time zone.

use super::hits::{KEPT, block, queue};
use super::rule::{Correlation, Habit, Kind};
use super::values::Values;
use std::collections::VecDeque;

const DAY: i64 = 86_400;
/// Hours before and after one that count as the same habit.
const NEAR: i64 = 2;
/// Days of activity that make a habit of hours.
const ACTIVE_DAYS: usize = 10;
/// Slots of [`What::Hours`]: the hours of a weekday, then those of a day at the weekend.
const SLOTS: usize = 48;

/// What one group did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Past {
    /// Event time of its first event.
    pub(super) since: i64,
    pub(super) what: What,
}

/// The memory of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Values with the newest time of each.
    Seen(Values),
    /// Sums by the start of their span.
    Sums(VecDeque<(i64, f64)>),
    /// Where the newest event was.
    Place(Option<Place>),
    /// Time of the newest event.
    Newest(Option<i64>),
    /// Days with activity, in order, and the newest day of each slot.
    Hours(VecDeque<i64>, Vec<i32>),
}

/// A place on earth at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    /// As it is told: city and country.
    pub(super) name: String,
}

/// What an event brings.
pub(super) enum Brought {
    Nothing,
    Text(String),
    Number(f64),
    Place(Place),
}

/// What is out of the usual.
pub(super) struct Unusual {
    pub(super) sum: f64,
    pub(super) words: String,
}

impl Past {
    pub(super) fn new(correlation: &Correlation, time: i64) -> Past {
        let what = match correlation.kind {
            Kind::Baseline => What::Sums(VecDeque::new()),
            Kind::Travel => What::Place(None),
            Kind::Dormant => What::Newest(None),
            Kind::UnusualHour => What::Hours(VecDeque::new(), vec![i32::MIN; SLOTS]),
            _ => What::Seen(Values::default()),
        };
        Past { since: time, what }
    }

    /// Compares an event with the past and adds it. The second is how many values had to go.
    pub(super) fn take(
        &mut self,
        correlation: &Correlation,
        time: i64,
        brought: Brought,
    ) -> (Option<Unusual>, u64) {
        let habit = &correlation.habit;
        self.since = self.since.min(time);
        let known = time - self.since >= habit.learn;
        let oldest = time.saturating_sub(habit.memory);
        let mut gone = 0;
        let unusual = match (&mut self.what, brought) {
            (What::Seen(values), Brought::Text(text)) => {
                let new = values.newest(&text).is_none_or(|newest| newest < oldest);
                let told = (new && known && !values.is_empty())
                    .then(|| Unusual { sum: 1.0, words: format!("first seen: {text}") });
                gone = values.add(text, time);
                told
            }
            (What::Sums(sums), Brought::Number(number)) => {
                add_and_compare(sums, correlation, (time, number), known)
            }
            (What::Place(before), Brought::Place(place)) => {
                let told = before.as_ref().and_then(|before| too_fast(before, &place, correlation));
                if before.as_ref().is_none_or(|before| before.time <= place.time) {
                    *before = Some(place);
                }
                told
            }
            (What::Newest(newest), _) => {
                let silence = newest.map(|newest| time - newest);
                *newest = Some(newest.map_or(time, |newest| newest.max(time)));
                silence.filter(|silence| *silence >= correlation.timespan).map(|silence| Unusual {
                    sum: (silence / DAY) as f64,
                    words: format!("first sign of life after {} days", silence / DAY),
                })
            }
            (What::Hours(days, slots), _) => hour(days, slots, time, oldest, known),
            _ => None,
        };
        (unusual, gone)
    }

    /// Memory on the heap.
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Seen(values) => values.bytes(),
            What::Sums(sums) => queue(sums),
            What::Place(place) => place.as_ref().map_or(0, |place| block(place.name.len())),
            What::Newest(_) => 0,
            What::Hours(days, slots) => {
                block(days.len().next_power_of_two().max(8) * 8) + block(slots.len() * 4)
            }
        }
    }
}

fn add_and_compare(
    sums: &mut VecDeque<(i64, f64)>,
    correlation: &Correlation,
    (time, number): (i64, f64),
    known: bool,
) -> Option<Unusual> {
    let habit = &correlation.habit;
    let start = time.div_euclid(correlation.timespan) * correlation.timespan;
    let at = sums.partition_point(|(other, _)| *other < start);
    match sums.get_mut(at) {
        Some(entry) if entry.0 == start => entry.1 += number,
        _ => sums.insert(at, (start, number)),
    }
    let newest = sums.back().map_or(start, |(newest, _)| *newest);
    while sums.len() > KEPT || sums.front().is_some_and(|(oldest, _)| *oldest < newest - habit.memory) {
        sums.pop_front();
    }
    let before = sums.partition_point(|(other, _)| *other < start);
    let sum = sums.get(before).filter(|(other, _)| *other == start)?.1;
    let limit = if known { habit.at_least } else { habit.without_history? };
    // Nearly every sum is too small to be told, whatever was before: only of the others the past is looked at.
    if sum < limit {
        return None;
    }
    let highest = sums.range(..before).map(|(_, sum)| *sum).fold(0.0, f64::max);
    let what = correlation.field.first().map_or("events", String::as_str);
    if !known {
        let limit = habit.without_history.filter(|limit| sum >= *limit)?;
        let words = format!("{what} {sum}, with too little history to compare (limit {limit})");
        return Some(Unusual { sum, words });
    }
    let over = sum >= habit.at_least && sum > highest * habit.times;
    over.then(|| Unusual { sum, words: format!("{what} {sum}, the highest before was {highest}") })
}

/// Great-circle distance and speed. The earth is round enough: the haversine is off by half a percent.
fn too_fast(before: &Place, now: &Place, correlation: &Correlation) -> Option<Unusual> {
    let habit: &Habit = &correlation.habit;
    let apart = (now.time - before.time).abs();
    if apart > correlation.timespan {
        return None;
    }
    let [a, b] = [before, now].map(|place| (place.latitude.to_radians(), place.longitude.to_radians()));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(b.0 - a.0) + a.0.cos() * b.0.cos() * half(b.1 - a.1);
    let kilometres = 2.0 * 6371.0 * chord.sqrt().min(1.0).asin();
    let hours = apart as f64 / 3600.0;
    if kilometres < habit.at_least || kilometres <= habit.times * hours {
        return None;
    }
    let words = format!(
        "{} and {}, {:.0} km apart, within {} min",
        before.name,
        now.name,
        kilometres,
        (apart + 59) / 60
    );
    Some(Unusual { sum: kilometres.round(), words })
}

fn hour(days: &mut VecDeque<i64>, slots: &mut [i32], time: i64, oldest: i64, known: bool) -> Option<Unusual> {
    let (day, hour) = (time.div_euclid(DAY), time.rem_euclid(DAY) / 3600);
    // 1970-01-01 was a Thursday; Saturday and Sunday are the days 2 and 3 after it.
    let weekend = matches!(day.rem_euclid(7), 2 | 3);
    let first = if weekend { 24 } else { 0 };
    let near = (hour - NEAR..=hour + NEAR).map(|near| first + near.rem_euclid(24));
    let active = near
        .filter_map(|slot| slots.get(usize::try_from(slot).ok()?))
        .any(|newest| i64::from(*newest) >= oldest.div_euclid(DAY));
    let habit = days.iter().filter(|other| **other < day).count() >= ACTIVE_DAYS;
    if let Some(slot) = usize::try_from(first + hour).ok().and_then(|slot| slots.get_mut(slot)) {
        *slot = (*slot).max(i32::try_from(day).unwrap_or(i32::MAX));
    }
    let at = days.partition_point(|other| *other < day);
    if days.get(at) != Some(&day) {
        days.insert(at, day);
    }
    while days.len() > KEPT || days.front().is_some_and(|first| *first < oldest.div_euclid(DAY)) {
        days.pop_front();
    }
    (known && habit && !active).then(|| {
        let when = if weekend { "at a weekend" } else { "on a weekday" };
        let words = format!("active at {hour:02}:00 UTC {when}, never before within {NEAR} hours of it");
        Unusual { sum: hour as f64, words }
    })
}
