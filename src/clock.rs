//! The clock of the daemon: wall time for what is written down, monotonic time for how long things take.
//!
//! One of the edges: below the pipeline nobody looks at a clock, times arrive as values.

use crate::model::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A step of the wall clock against the monotonic one that becomes a `clock` entry, seconds.
const STEP_SECONDS: f64 = 2.0;

/// The wall clock now.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
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
    pub fn new() -> Steps {
        Steps { wall: now(), mono: Instant::now() }
    }

    /// The wall clock now, and by how many seconds it was set since the last look, if it was.
    pub fn look(&mut self) -> (Time, Option<f64>) {
        let (wall, mono) = (now(), Instant::now());
        let step = wall.seconds_since(self.wall) - (mono - self.mono).as_secs_f64();
        (self.wall, self.mono) = (wall, mono);
        (wall, (step.abs() > STEP_SECONDS).then_some(step))
    }
}

impl Default for Steps {
    fn default() -> Steps {
        Steps::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
