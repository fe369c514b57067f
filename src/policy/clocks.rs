//! `operations/`: deadlines of notifications, as data with their sources.
//!
//! ```yaml
//! version: 2026-11-28
//! clocks:
//!   - id: gdpr-33
//!     title: Supervisory authority (GDPR Art. 33)
//!     regime: GDPR
//!     recipient: the competent supervisory authority
//!     starts: awareness            # which recorded decision starts it
//!     starts_words: …
//!     within: 72h                  # or Nd, or `promptly` where the law names no number
//!     calendar: hours              # hours, days, business_days
//!     applies_when: …
//!     content: […]
//!     source: Regulation (EU) 2016/679, Article 33
//!     url: https://…
//!     checked: true                # whether its author saw a text that states the figure
//! ```
//!
//! Nothing here is legal advice, and nothing is ever sent to an authority: a clock runs when a person starts it.

use crate::incident::lifecycle::ClockRule;
use crate::model::duration;
use crate::yaml::{self, Problem};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: IgnoredAny,
    clocks: Vec<Clock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    id: String,
    title: String,
    #[serde(rename = "regime")]
    _regime: String,
    recipient: String,
    starts: String,
    starts_words: String,
    within: String,
    calendar: String,
    counts_from: Option<String>,
    applies_when: String,
    #[serde(rename = "content")]
    _content: Vec<String>,
    source: String,
    url: String,
    #[serde(rename = "checked")]
    _checked: bool,
    #[serde(rename = "note")]
    _note: Option<String>,
}

const STARTS: &[&str] =
    &["occurrence", "discovery", "awareness", "classification", "materiality", "determination"];

/// Reads one file.
pub fn read(file: &str, text: &str) -> Result<Vec<ClockRule>, Vec<Problem>> {
    let parsed: File = yaml::parse(file, text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut rules: Vec<ClockRule> = Vec::new();
    for clock in parsed.clocks {
        let line = text.lines().position(|line| line.trim() == format!("- id: {}", clock.id));
        let line = line.map_or(1, |line| line as u64 + 1);
        let mut say = |what: String, cure: &str| problems.push(Problem::at(file, line, what).cure(cure));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if clock.id.is_empty() || !clock.id.bytes().all(plain) {
            say(format!("`{}` is no id", clock.id), "a-z, 0-9 and -");
        }
        if rules.iter().any(|known| known.id == clock.id) {
            say(format!("`{}` is the id of another clock", clock.id), "ids are unique");
        }
        if !STARTS.contains(&clock.starts.as_str()) {
            say(format!("`starts: {}` is unknown", clock.starts), &format!("one of {}", STARTS.join(", ")));
        }
        let seconds = duration::parse(&clock.within);
        if seconds.is_none() && clock.within != "promptly" {
            say(format!("`within: {}` is no duration", clock.within), "72h, 30d, or promptly");
        }
        let business_days = clock.calendar == "business_days";
        if !business_days && !["hours", "days"].contains(&clock.calendar.as_str()) {
            say(format!("`calendar: {}` is unknown", clock.calendar), "hours, days or business_days");
        }
        if business_days && seconds.is_some_and(|seconds| seconds % 86_400 != 0) {
            say("business days are counted whole".into(), "a number of days: 4d");
        }
        let after = clock.counts_from.map_or_else(String::new, |from| format!("; counts from {from}"));
        rules.push(ClockRule {
            starts: format!("{}: {}{after}", clock.starts, clock.starts_words),
            id: clock.id,
            title: clock.title,
            recipient: clock.recipient,
            seconds,
            business_days,
            applies_when: clock.applies_when,
            source: clock.source,
            url: clock.url,
        });
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "version: 1\nclocks:\n  - id: a-1\n    title: T\n    regime: R\n    recipient: W\n    \
        starts: awareness\n    starts_words: known\n    within: 72h\n    calendar: hours\n    applies_when: always\n    \
        content: [x]\n    source: S\n    url: https://law.example/\n    checked: true\n";

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(read("operations/c.yaml", GOOD).unwrap()[0].seconds, Some(72 * 3600));
        for (from, to, said) in [
            ("awareness", "later", "3: `starts: later` is unknown"),
            ("72h", "soon", "3: `within: soon` is no duration"),
            ("hours", "moons", "3: `calendar: moons` is unknown"),
            ("a-1", "A 1", "3: `A 1` is no id"),
            ("checked: true", "checkd: true", "unknown key `checkd`"),
        ] {
            let problems = read("operations/c.yaml", &GOOD.replace(from, to)).unwrap_err();
            assert!(problems[0].to_string().contains(said), "{}", problems[0]);
        }
        let promptly = read("operations/c.yaml", &GOOD.replace("72h", "promptly")).unwrap();
        assert_eq!(promptly[0].seconds, None);
    }
}
