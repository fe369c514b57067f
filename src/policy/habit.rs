//! The `habit:` of a detection file: which of its settings a kind needs, which it does not know.

use super::detection::RawHabit;
use crate::inspect::behaviour::{Habit, Kind};
use crate::model::duration;

/// A habit's timespan and the rest. The error names the setting and what is wrong with it.
pub(super) fn read(kind: Kind, raw: &RawHabit) -> Result<(i64, Habit), (&'static str, String)> {
    let word = kind.as_str();
    let takes: &[&str] = match kind {
        Kind::FirstSeen => &["field", "memory", "learn"],
        Kind::Baseline => &["field", "memory", "learn", "timespan", "times", "at_least", "without_history"],
        Kind::Travel => &["timespan", "times", "at_least"],
        Kind::Dormant => &["timespan"],
        _ => &["memory", "learn"],
    };
    let given = [
        ("field", !raw.field.is_empty()),
        ("memory", raw.memory.is_some()),
        ("learn", raw.learn.is_some()),
        ("timespan", raw.timespan.is_some()),
        ("times", raw.times.is_some()),
        ("at_least", raw.at_least.is_some()),
        ("without_history", raw.without_history.is_some()),
    ];
    for (name, given) in given {
        // A sum of nothing is a count of events, and only that limit may be left out.
        let needed =
            takes.contains(&name) && !matches!((kind, name), (Kind::Baseline, "field" | "without_history"));
        match given {
            true if !takes.contains(&name) => return Err((name, format!("`{word}` takes no `{name}:`"))),
            false if needed => return Err(("type", format!("`{word}` needs `{name}:`"))),
            _ => {}
        }
    }
    if kind == Kind::Baseline && raw.field.len() > 1 {
        return Err(("field", "`baseline` sums one field".to_owned()));
    }
    let seconds = |name: &'static str, text: &Option<String>| match text {
        None => Ok(0),
        Some(text) => duration::parse(text)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or((name, format!("not a duration: {}", duration::FORM))),
    };
    let number = |name: &'static str, number: Option<f64>| match number {
        Some(number) if !(number.is_finite() && number > 0.0) => {
            Err((name, "a number above zero".to_owned()))
        }
        other => Ok(other),
    };
    let timespan = seconds("timespan", &raw.timespan)?;
    let mut habit = Habit {
        memory: seconds("memory", &raw.memory)?,
        learn: seconds("learn", &raw.learn)?,
        times: number("times", raw.times)?.unwrap_or_default(),
        at_least: number("at_least", raw.at_least)?.unwrap_or_default(),
        without_history: number("without_history", raw.without_history)?,
    };
    if kind == Kind::Dormant {
        // Somebody who was away for longer than this is forgotten, and comes back as somebody new.
        habit.memory = timespan.saturating_mul(4);
    }
    if habit.learn > habit.memory && kind != Kind::Dormant {
        return Err(("learn", "`learn:` is longer than `memory:`".to_owned()));
    }
    Ok((timespan, habit))
}
