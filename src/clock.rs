//! The clock: wall time for what is written down, monotonic time for how long things take.
//!
//! One of the edges: below the pipeline nobody looks at a clock, times arrive as values. Whoever needs the
//! time owns a [`Clock`], so that a test can let a day pass in a second by moving the hands itself.

use crate::model::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A step of the wall clock against the monotonic one that becomes a `clock` entry, seconds.
const STEP_SECONDS: f64 = 2.0;

/// Where the time comes from. Copies show the same time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clocks.
    #[default]
    System,
    /// One that stands still until somebody moves its hands.
    Hands(Hands),
}

impl Clock {
    /// The wall clock now.
    pub fn now(&self) -> Time {
        match self {
            Clock::System => now(),
            Clock::Hands(hands) => hands.wall(),
        }
    }

    /// The monotonic clock now: a mark for [`Clock::since`].
    pub fn mark(&self) -> Instant {
        match self {
            Clock::System => Instant::now(),
            Clock::Hands(hands) => hands.mono(),
        }
    }

    /// How much time passed since a mark, whatever was done to the wall clock.
    pub fn since(&self, mark: Instant) -> Duration {
        self.mark().saturating_duration_since(mark)
    }
}

/// The hands of a clock that only moves when it is told to.
#[derive(Clone, Debug)]
pub struct Hands {
    start: (Time, Instant),
    /// Microseconds that passed on both clocks.
    passed: Arc<AtomicU64>,
    /// Microseconds by which the wall clock was set besides.
    set: Arc<AtomicI64>,
}

impl Hands {
    /// A clock that stands at this time.
    pub fn at(start: Time) -> Hands {
        Hands { start: (start, Instant::now()), passed: Arc::default(), set: Arc::default() }
    }

    /// So much time passes.
    pub fn advance(&self, by: Duration) {
        self.passed.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Somebody sets the wall clock by so many seconds; no time passes.
    pub fn set_by(&self, seconds: i64) {
        self.set.fetch_add(seconds.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    fn wall(&self) -> Time {
        let passed = i64::try_from(self.passed.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let moved = passed.saturating_add(self.set.load(Ordering::Relaxed));
        Time::from_micros(self.start.0.micros().saturating_add(moved))
    }

    fn mono(&self) -> Instant {
        self.start.1 + Duration::from_micros(self.passed.load(Ordering::Relaxed))
    }
}

/// The system's wall clock now, for what is done once: starting, one command.
pub fn now() -> Time {
    of(SystemTime::now())
}

/// A time stamp of the system, such as a file's.
pub fn of(stamp: SystemTime) -> Time {
    let since = stamp.duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The wait before attempt `attempt` (from 1): doubles from `first` up to `longest`, and is spread over its
/// upper half so that many who wait for one dead server do not knock at once. A seed always gives the same.
pub fn backoff(first: Duration, longest: Duration, attempt: u32, seed: u64) -> Duration {
    let full = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest);
    // The finaliser of SplitMix64 spreads neighbouring seeds.
    let mut x = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let share = (x >> 11) as f64 / (1u64 << 53) as f64;
    full.mul_f64(0.5 + share / 2.0)
}

/// A seed from names (FNV-1a): any fixed spread will do.
pub fn seed<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = names.into_iter().flat_map(|name| name.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Watches the wall clock for steps.
#[derive(Debug)]
pub struct Steps {
    wall: Time,
    mono: Instant,
}

impl Steps {
    /// Starts watching.
    pub fn of(clock: &Clock) -> Steps {
        Steps { wall: clock.now(), mono: clock.mark() }
    }

    /// By how many seconds the wall clock was set since the last look, if it was.
    pub fn look(&mut self, clock: &Clock) -> Option<f64> {
        let (wall, mono) = (clock.now(), clock.mark());
        let step = wall.seconds_since(self.wall) - (mono - self.mono).as_secs_f64();
        (self.wall, self.mono) = (wall, mono);
        (step.abs() > STEP_SECONDS).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_told_from_time_that_passed() {
        let hands = Hands::at(Time::from_seconds(1_790_000_000));
        let clock = Clock::Hands(hands.clone());
        let (mut steps, mark) = (Steps::of(&clock), clock.mark());
        hands.advance(Duration::from_secs(86_400));
        assert_eq!(steps.look(&clock), None);
        hands.set_by(-3600);
        assert_eq!(steps.look(&clock), Some(-3600.0));
        hands.set_by(1);
        assert_eq!(steps.look(&clock), None, "slewing is no step");
        assert_eq!(clock.since(mark), Duration::from_secs(86_400));
        assert_eq!(clock.now(), Time::from_seconds(1_790_000_000 + 86_400 - 3600 + 1));
    }

    #[test]
    fn the_system_clock_moves_by_itself() {
        let clock = Clock::System;
        let (mark, before) = (clock.mark(), clock.now());
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.since(mark) >= Duration::from_millis(2) && clock.now() > before);
    }

    #[test]
    fn backoff_grows_to_its_cap_and_spreads() {
        let (first, longest) = (Duration::from_secs(2), Duration::from_secs(300));
        for seed in 0..50 {
            for attempt in 1..200 {
                let full = first.saturating_mul(1 << (attempt - 1).min(16)).min(longest);
                let wait = backoff(first, longest, attempt, seed);
                assert!(wait >= full / 2 && wait <= full, "{attempt} {seed} {wait:?}");
                assert_eq!(wait, backoff(first, longest, attempt, seed));
            }
        }
        let at = |attempt, seed| backoff(first, longest, attempt, seed);
        assert_ne!(at(9, 1), at(9, 2));
        assert!(at(u32::MAX, 7) <= longest && at(0, 7) > Duration::ZERO);
        assert_ne!(seed(["a", "b"]), seed(["ab", ""]));
    }
}
