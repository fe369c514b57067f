//! The clock of the daemon: wall time for what is written down, monotonic time for how long things take.
//!
//! One of the edges: below the pipeline nobody looks at a clock, times arrive as values.

use crate::model::Time;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A step of the wall clock against the monotonic one that becomes a `clock` entry, seconds.
const STEP_SECONDS: f64 = 2.0;

/// The wall clock now.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
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
