//! Findings of detection rules: who, what, the numbers compared, what to do next.

use super::rule::{Correlation, DetectionRule, Kind, Operator, Test};
use super::view;
use super::windows::Update;
use crate::model::finding::FindingKind;
use crate::model::{Event, Finding, Time};

/// A finding about one event.
pub(super) fn of_event(rule: &DetectionRule, event: &Event) -> Finding {
    let key = rule.group_by.iter().map(|path| view::text(event, path).unwrap_or_default().into_owned());
    let mut finding = common(rule, event, key);
    let reported = rule.events.get(rule.reported);
    let shown = reported.into_iter().flat_map(|part| &part.paths);
    let values: Vec<String> = shown
        .filter_map(|path| view::text(event, path).map(|value| format!("{path} {value}")))
        .chain(view::text(event, "status").map(|status| format!("status {status}")))
        .collect();
    finding.detail = (!values.is_empty()).then(|| values.join(", "));
    finding
}

/// A finding about a group of events.
pub(super) fn of_correlation(
    rule: &DetectionRule,
    correlation: &Correlation,
    event: &Event,
    update: &Update,
) -> Finding {
    let mut finding = common(rule, event, update.key.iter().cloned());
    if update.end > finding.time.seconds() {
        finding.time = Time::from_seconds(update.end);
    }
    let group: Vec<String> = correlation
        .group_by
        .iter()
        .zip(&update.key)
        .map(|(by, value)| format!("{} {value}", by.name))
        .collect();
    let what = if let Some(words) = &update.words {
        words.clone()
    } else if correlation.kind.is_temporal() {
        let parts: Vec<String> = correlation
            .parts
            .iter()
            .zip(&update.parts)
            .filter(|(_, count)| **count > 0.0)
            .map(|(part, count)| format!("{} ({count})", rule.part_title(*part)))
            .collect();
        parts.join(if correlation.kind == Kind::TemporalOrdered { ", then " } else { ", " })
    } else {
        format!("{} {}", update.sum, sum_words(correlation))
    };
    let what = match correlation.kind {
        Kind::FirstSeen | Kind::Travel | Kind::Dormant | Kind::UnusualHour => what,
        _ => format!("{what} within {}", span(correlation.timespan)),
    };
    finding.detail = Some(match group.is_empty() {
        true => what,
        false => format!("{what}; {}", group.join(", ")),
    });
    finding
}

fn sum_words(correlation: &Correlation) -> String {
    let field = correlation.field.join("+");
    let what = match correlation.kind {
        Kind::EventCount => "events".to_owned(),
        Kind::ValueCount => format!("distinct {field}"),
        Kind::ValueSum => format!("{field} in all"),
        Kind::ValueAvg => format!("{field} on average"),
        Kind::ValuePercentile => format!("{field} at percentile {}", correlation.percentile),
        Kind::ValueMedian => format!("{field} median"),
        // These bring their own words.
        Kind::Temporal | Kind::TemporalOrdered => String::new(),
        Kind::FirstSeen | Kind::Baseline | Kind::Travel | Kind::Dormant | Kind::UnusualHour => String::new(),
    };
    match &correlation.test {
        // A bare "at least 1" says nothing.
        Test::Compare(comparisons) if comparisons.as_slice() != [(Operator::Gte, 1.0)] => {
            format!("{what} ({})", correlation.test.words())
        }
        Test::Compare(_) | Test::Parts(_) => what,
    }
}

/// `20 min`, `1 h`, `90 d`.
fn span(seconds: i64) -> String {
    match seconds {
        days if days >= 2 * 86_400 && days % 86_400 == 0 => format!("{} d", days / 86_400),
        hours if hours >= 3600 && hours % 3600 == 0 => format!("{} h", hours / 3600),
        minutes if minutes >= 60 && minutes % 60 == 0 => format!("{} min", minutes / 60),
        seconds => format!("{seconds} s"),
    }
}

fn common(rule: &DetectionRule, event: &Event, key: impl Iterator<Item = String>) -> Finding {
    let who = event.actor.name.as_ref().or(event.actor.id.as_ref());
    let title = match who {
        Some(who) => format!("{}: {who}", rule.title),
        None => rule.title.clone(),
    };
    let key = std::iter::once(rule.id.clone()).chain(key).collect::<Vec<_>>().join("|");
    let delay = event.time.map(|time| event.observed.micros().saturating_sub(time.micros()));
    Finding {
        rule: rule.id.clone(),
        r#type: FindingKind::Behaviour,
        severity: rule.severity,
        title,
        time: event.when(),
        source: Some(event.source.to_string()).filter(|source| !source.is_empty()),
        actor: event.actor.id.clone(),
        actor_name: event.actor.name.clone(),
        target: target(event),
        controls: rule.controls.clone(),
        key,
        window_seconds: rule.window_seconds,
        next: rule.next.clone(),
        policy: rule.policy.clone(),
        delay_seconds: delay.and_then(|micros| u64::try_from(micros).ok()).map(|micros| micros / 1_000_000),
        ..Finding::default()
    }
}

/// Object type, name and the first record ids.
fn target(event: &Event) -> Option<String> {
    let target = &event.target;
    let named = target.r#type.iter().chain(&target.name);
    let mut words: Vec<String> = named.chain(target.ids.iter().take(5)).cloned().collect();
    if target.ids.len() > 5 {
        words.push(format!("and {} more", target.ids.len() - 5));
    }
    (!words.is_empty()).then(|| words.join(" "))
}
