//! What people may do to an incident, and what the passing of time does. Pure: values in, a [`Change`] or a reason
//! why not out.
//!
//! The states are those of DESIGN and of what auditors know: detected, triaged, contained, eradicated, recovered,
//! closed, reviewed, or false positive. Rules of movement, enforced:
//!
//! * from `detected` only to `triaged` or `false_positive`: somebody looks before anything else is claimed;
//! * from `triaged` forward, in order; what is passed over (nothing had to be eradicated) is named in the entry;
//! * `reviewed` only after `closed`, with the lessons in words;
//! * back to `triaged` from anywhere later, with the reason why it was reopened;
//! * every move has who and why.

use super::{Change, Incidents, Transition};
use crate::model::incident::{Incident, IncidentState};
use crate::model::{Severity, Time};
use serde::{Deserialize, Serialize};

/// Longest reason, note or name, characters.
pub const WORDS_MAX: usize = 1000;
/// Longest time for which an acknowledgement holds, seconds.
pub const ACKNOWLEDGED_MAX: u64 = 7 * 86_400;
/// Shares of a deadline, in percent, at which people are warned.
pub const WARNINGS: [u64; 4] = [50, 75, 90, 100];

/// What somebody does to an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// I have seen it.
    Acknowledge {
        /// The incident.
        incident: String,
        /// Seconds for which that holds.
        seconds: u64,
        /// What is done about it.
        reason: String,
    },
    /// Somebody works on it.
    Assign {
        /// The incident.
        incident: String,
        /// Who.
        to: String,
        /// Why.
        reason: String,
    },
    /// Something to say.
    Note {
        /// The incident.
        incident: String,
        /// What.
        reason: String,
    },
    /// Another state.
    Move {
        /// The incident.
        incident: String,
        /// Where to.
        to: IncidentState,
        /// Why; for `reviewed` the lessons.
        reason: String,
    },
    /// The time of a notification begins: somebody decided that its law applies.
    StartClock {
        /// The incident.
        incident: String,
        /// Id of the clock.
        clock: String,
        /// When it began; not later than now.
        from: Time,
        /// Why.
        reason: String,
    },
    /// A notification was made, or is not needed.
    EndClock {
        /// The incident.
        incident: String,
        /// Id of the clock.
        clock: String,
        /// What was sent to whom, or why nothing is.
        reason: String,
    },
}

/// A deadline of the policies.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockRule {
    /// Its id.
    pub id: String,
    /// What it is.
    pub title: String,
    /// Who is to be told.
    pub recipient: String,
    /// What starts it, in words.
    pub starts: String,
    /// Seconds; none where the law says "promptly".
    pub seconds: Option<u64>,
    /// Only working days count.
    pub business_days: bool,
    /// When it applies, in words.
    pub applies_when: String,
    /// The source of the rule.
    pub source: String,
    /// Where it can be read.
    pub url: String,
}

impl ClockRule {
    /// When it is due. Working days are Monday to Friday in UTC: holidays differ by place, so a deadline may be
    /// later than this, never earlier.
    pub fn due(&self, from: Time) -> Option<Time> {
        let seconds = self.seconds?;
        if !self.business_days {
            return Some(from.plus_seconds(i64::try_from(seconds).ok()?));
        }
        const DAY: i64 = 86_400;
        let mut left = seconds / 86_400;
        let mut at = from;
        while left > 0 {
            at = at.plus_seconds(DAY);
            // 1970-01-01 was a Thursday.
            if !matches!(at.seconds().div_euclid(DAY).rem_euclid(7), 2 | 3) {
                left -= 1;
            }
        }
        Some(at)
    }
}

impl Act {
    /// The incident it is about.
    pub fn incident(&self) -> &str {
        match self {
            Act::Acknowledge { incident, .. }
            | Act::Assign { incident, .. }
            | Act::Note { incident, .. }
            | Act::Move { incident, .. }
            | Act::StartClock { incident, .. }
            | Act::EndClock { incident, .. } => incident,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Act::Acknowledge { reason, .. }
            | Act::Assign { reason, .. }
            | Act::Note { reason, .. }
            | Act::Move { reason, .. }
            | Act::StartClock { reason, .. }
            | Act::EndClock { reason, .. } => reason,
        }
    }
}

/// Whether words say something and end.
pub fn check_words(what: &str, words: &str) -> Result<(), String> {
    match words.trim().is_empty() || words.chars().count() > WORDS_MAX {
        true => Err(format!("`{what}` must have 1 to {WORDS_MAX} characters")),
        false => Ok(()),
    }
}

/// The change that an act makes, or why it makes none.
pub fn decide(
    incidents: &Incidents,
    clocks: &[ClockRule],
    act: &Act,
    by: &str,
    now: Time,
) -> Result<Change, String> {
    let id = act.incident();
    let Some(incident) = incidents.get(id) else {
        return Err(format!("there is no incident `{id}`; `crmwarden incidents` lists them"));
    };
    check_words("reason", act.reason())?;
    let mut change = base(incident, now);
    (change.by, change.text) = (Some(by.to_owned()), Some(act.reason().trim().to_owned()));
    match act {
        Act::Acknowledge { seconds, .. } => {
            if incident.is_over() {
                return Err(format!("{id} is {}: there is nothing to acknowledge", incident.state.as_str()));
            }
            if !(60..=ACKNOWLEDGED_MAX).contains(seconds) {
                return Err("an acknowledgement holds for a minute to seven days".into());
            }
            change.transition = Transition::Acknowledged;
            change.until = Some(now.plus_seconds(*seconds as i64));
        }
        Act::Assign { to, .. } => {
            check_words("to", to)?;
            change.transition = Transition::Assigned;
            change.assignee = Some(to.trim().to_owned());
        }
        Act::Note { .. } => change.transition = Transition::Noted,
        Act::Move { to, .. } => {
            change.transition = Transition::Moved;
            change.passed = passed(incident.state, *to)?;
            change.state = *to;
        }
        Act::StartClock { clock, from, .. } => start_clock(&mut change, incident, clocks, clock, *from, now)?,
        Act::EndClock { clock, .. } => {
            match incident.clocks.get(clock) {
                Some(running) if running.done.is_none() => {}
                Some(_) => return Err(format!("`{clock}` has ended already")),
                None => return Err(format!("`{clock}` was not started for {id}")),
            }
            change.transition = Transition::ClockEnded;
            change.clock = Some(clock.clone());
        }
    }
    Ok(change)
}

/// A change that changes nothing yet.
pub fn base(incident: &Incident, now: Time) -> Change {
    Change {
        incident: incident.id.clone(),
        transition: Transition::Noted,
        state: incident.state,
        severity: incident.severity,
        rule: incident.rule.clone(),
        key: incident.key.clone(),
        title: incident.title.clone(),
        time: incident.last,
        window_seconds: incident.window_seconds,
        source: incident.source.clone(),
        actor: incident.actor.clone(),
        actor_name: incident.actor_name.clone(),
        at: Some(now),
        ..Change::default()
    }
}

/// The states that a move passes over, or why it may not be made.
fn passed(from: IncidentState, to: IncidentState) -> Result<Vec<IncidentState>, String> {
    use IncidentState::{
        Closed, Contained, Detected, Eradicated, FalsePositive, Recovered, Reviewed, Triaged,
    };
    const ORDER: [IncidentState; 5] = [Triaged, Contained, Eradicated, Recovered, Closed];
    let refuse = |allowed: &str| {
        Err(format!("from `{}` an incident goes {allowed}, not to `{}`", from.as_str(), to.as_str()))
    };
    match (from, to) {
        (Detected, Triaged) | (Detected | Triaged, FalsePositive) | (Closed, Reviewed) => Ok(Vec::new()),
        (Detected, _) => refuse("to `triaged` or `false_positive`"),
        (Contained | Eradicated | Recovered | Closed | Reviewed | FalsePositive, Triaged) => Ok(Vec::new()),
        (Closed | Reviewed | FalsePositive, _) => refuse("back to `triaged`"),
        _ => {
            let place = |state| ORDER.iter().position(|other| *other == state);
            match (place(from), place(to)) {
                (Some(here), Some(there)) if there > here => {
                    Ok(ORDER.get(here + 1..there).unwrap_or_default().to_vec())
                }
                _ => refuse("forward through `contained`, `eradicated`, `recovered`, `closed`"),
            }
        }
    }
}

fn start_clock(
    change: &mut Change,
    incident: &Incident,
    clocks: &[ClockRule],
    clock: &str,
    from: Time,
    now: Time,
) -> Result<(), String> {
    let Some(rule) = clocks.iter().find(|rule| rule.id == clock) else {
        let known: Vec<&str> = clocks.iter().map(|rule| rule.id.as_str()).collect();
        return Err(match known.is_empty() {
            true => "the policies have no clocks: put a file into `operations/`".into(),
            false => format!("no clock is named `{clock}`; there are {}", known.join(", ")),
        });
    };
    if incident.clocks.contains_key(clock) {
        return Err(format!("`{clock}` was started for {} already", incident.id));
    }
    if from > now {
        return Err("a clock cannot start in the future".into());
    }
    change.transition = Transition::ClockStarted;
    (change.clock, change.from, change.until) = (Some(clock.to_owned()), Some(from), rule.due(from));
    Ok(())
}

/// The warning that is due for a clock: the highest share passed that nobody was warned of yet.
pub fn warning(incident: &Incident, now: Time) -> Option<(String, u64)> {
    incident.clocks.iter().filter(|(_, clock)| clock.done.is_none()).find_map(|(id, clock)| {
        let gone = clock.gone(now)?;
        let share = WARNINGS.iter().rev().find(|share| **share <= gone)?;
        (*share > clock.warned).then(|| (id.clone(), *share))
    })
}

/// Whether those it concerns must be told that nobody acknowledged it: `after` seconds since it opened, since the
/// acknowledgement lapsed, or since they were told last. Whoever moved it on has seen it.
pub fn is_unanswered(incident: &Incident, after: u64, now: Time) -> bool {
    if incident.state != IncidentState::Detected && incident.state != IncidentState::Triaged
        || incident.severity == Severity::Info
    {
        return false;
    }
    if incident.state == IncidentState::Triaged && incident.acknowledged.is_none() {
        return false;
    }
    let Some(opened) = incident.opened else { return false };
    let seen = incident.acknowledged.as_ref().map_or(opened, |seen| seen.until);
    let since = incident.unanswered.map_or(seen, |told| told.max(seen));
    now >= since.plus_seconds(i64::try_from(after).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Finding;

    const NOON: i64 = 1_767_614_400; // Monday, 2026-01-05, 12:00 UTC

    fn at(seconds: i64) -> Time {
        Time::from_seconds(NOON + seconds)
    }

    fn incidents() -> Incidents {
        let finding = Finding {
            rule: "r".into(),
            key: "k".into(),
            severity: Severity::High,
            time: at(0),
            window_seconds: 60,
            ..Finding::default()
        };
        let mut incidents = Incidents::default();
        let mut change = Change::of(&finding, "INC-1".into(), Transition::Opened);
        change.at = Some(at(0));
        incidents.apply_change(&change);
        incidents
    }

    fn clocks() -> Vec<ClockRule> {
        let rule = |id: &str, seconds, business_days| ClockRule {
            id: id.into(),
            title: String::new(),
            recipient: String::new(),
            starts: String::new(),
            seconds,
            business_days,
            applies_when: String::new(),
            source: String::new(),
            url: String::new(),
        };
        vec![
            rule("three-days", Some(72 * 3600), false),
            rule("four-working-days", Some(4 * 86_400), true),
            rule("promptly", None, false),
        ]
    }

    fn act(incidents: &mut Incidents, act: &Act, seconds: i64) -> Result<Change, String> {
        let change = decide(incidents, &clocks(), act, "uid 7", at(seconds))?;
        incidents.apply_change(&change);
        Ok(change)
    }

    fn go(to: IncidentState) -> Act {
        Act::Move { incident: "INC-1".into(), to, reason: "because".into() }
    }

    #[test]
    fn only_the_moves_that_are_allowed_are_made() {
        use IncidentState::{
            Closed, Contained, Detected, Eradicated, FalsePositive, Recovered, Reviewed, Triaged,
        };
        let all = [Detected, Triaged, Contained, Eradicated, Recovered, Closed, Reviewed, FalsePositive];
        let allowed: &[(IncidentState, &[IncidentState])] = &[
            (Detected, &[Triaged, FalsePositive]),
            (Triaged, &[Contained, Eradicated, Recovered, Closed, FalsePositive]),
            (Contained, &[Triaged, Eradicated, Recovered, Closed]),
            (Eradicated, &[Triaged, Recovered, Closed]),
            (Recovered, &[Triaged, Closed]),
            (Closed, &[Triaged, Reviewed]),
            (Reviewed, &[Triaged]),
            (FalsePositive, &[Triaged]),
        ];
        for (from, to) in allowed {
            for state in all {
                assert_eq!(passed(*from, state).is_ok(), to.contains(&state), "{from:?} to {state:?}");
            }
        }
        assert_eq!(passed(Triaged, Closed).unwrap(), [Contained, Eradicated, Recovered]);
    }

    #[test]
    fn every_act_has_words_and_an_incident() {
        let mut incidents = incidents();
        let unknown = Act::Note { incident: "INC-9".into(), reason: "x".into() };
        assert!(act(&mut incidents, &unknown, 0).unwrap_err().contains("no incident `INC-9`"));
        for reason in ["", "  ", &"x".repeat(1001)] {
            let note = Act::Note { incident: "INC-1".into(), reason: reason.into() };
            assert!(act(&mut incidents, &note, 0).unwrap_err().contains("1 to 1000"));
        }
        act(&mut incidents, &go(IncidentState::Triaged), 5).unwrap();
        act(&mut incidents, &go(IncidentState::Closed), 6).unwrap();
        let incident = incidents.get("INC-1").unwrap();
        assert_eq!(incident.steps.len(), 3, "opened and two moves");
        assert!(
            incident.steps[2]
                .text
                .as_ref()
                .unwrap()
                .contains("passed over: contained, eradicated, recovered")
        );
    }

    #[test]
    fn nobody_answers() {
        let mut incidents = incidents();
        let asked = |incidents: &Incidents, seconds| {
            is_unanswered(incidents.get("INC-1").unwrap(), 1800, at(seconds))
        };
        assert!(!asked(&incidents, 1799) && asked(&incidents, 1800));
        let seen = Act::Acknowledge { incident: "INC-1".into(), seconds: 3600, reason: "on it".into() };
        act(&mut incidents, &seen, 1000).unwrap();
        assert!(!asked(&incidents, 4600 + 1799), "it holds an hour, then there is time again");
        assert!(asked(&incidents, 4600 + 1800));
        let mut told = base(incidents.get("INC-1").unwrap(), at(6400));
        told.transition = Transition::Unanswered;
        incidents.apply_change(&told);
        assert!(!asked(&incidents, 6401) && asked(&incidents, 6400 + 1800), "told again, not all the time");
        act(&mut incidents, &go(IncidentState::Triaged), 9000).unwrap();
        act(&mut incidents, &go(IncidentState::Contained), 9001).unwrap();
        assert!(!asked(&incidents, 90_000), "somebody works on it");
    }

    #[test]
    fn deadlines_start_by_decision_and_warn_once_a_share() {
        let mut incidents = incidents();
        let start = |clock: &str, from| Act::StartClock {
            incident: "INC-1".into(),
            clock: clock.into(),
            from,
            reason: "persons in the Union".into(),
        };
        assert!(act(&mut incidents, &start("three", at(0)), 9).unwrap_err().contains("three-days"));
        assert!(act(&mut incidents, &start("three-days", at(10)), 9).unwrap_err().contains("future"));
        act(&mut incidents, &start("three-days", at(0)), 9).unwrap();
        assert!(act(&mut incidents, &start("three-days", at(0)), 9).unwrap_err().contains("already"));
        let hours = |incidents: &Incidents, hours: i64| {
            warning(incidents.get("INC-1").unwrap(), at(hours * 3600)).map(|(_, share)| share)
        };
        assert_eq!(
            (hours(&incidents, 35), hours(&incidents, 36), hours(&incidents, 65)),
            (None, Some(50), Some(90))
        );
        let mut warned = base(incidents.get("INC-1").unwrap(), at(36 * 3600));
        (warned.transition, warned.clock, warned.percent) =
            (Transition::ClockWarned, Some("three-days".into()), Some(50));
        incidents.apply_change(&warned);
        assert_eq!(
            (hours(&incidents, 53), hours(&incidents, 54), hours(&incidents, 99)),
            (None, Some(75), Some(100))
        );
        let end =
            Act::EndClock { incident: "INC-1".into(), clock: "three-days".into(), reason: "sent".into() };
        act(&mut incidents, &end, 9).unwrap();
        assert_eq!(hours(&incidents, 99), None);
        assert!(act(&mut incidents, &end, 9).is_err());
    }

    #[test]
    fn working_days_skip_the_weekend() {
        let rule = &clocks()[1];
        let days =
            |from: i64| rule.due(at(from * 86_400)).unwrap().seconds_since(at(from * 86_400)) / 86_400.0;
        // Monday to Friday; Wednesday over a weekend to Tuesday; Saturday to Thursday.
        assert_eq!((days(0), days(2), days(5)), (4.0, 6.0, 5.0));
        assert_eq!(clocks()[2].due(at(0)), None);
    }
}
