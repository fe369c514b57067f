//! Questions to the trail, each in two forms that mean the same: code that answers while the trail streams
//! by, and a jq program that anyone can run over the stored lines to get the same rows again.
//!
//! jq compares times as text; that is right because the trail writes every time in one fixed form that
//! sorts as text. Digests of lists are over the rows that the jq program prints, so `sha256sum` recomputes
//! them.

use super::entry::{EventRow, FindingRow};
use crate::model::Time;
use crate::model::event::{Action, ActorType, Category, Outcome, System};
use crate::model::finding::FindingKind;
use crate::policy::framework::{EventQuery, Pattern};

/// Whether an event answers at least one of the questions.
pub(super) fn event_matches(queries: &[EventQuery], event: &EventRow<'_>) -> bool {
    fn holds<W: Copy>(words: &[W], name: fn(W) -> &'static str, value: Option<&str>) -> bool {
        words.is_empty() || value.is_some_and(|value| words.iter().any(|word| name(*word) == value))
    }
    queries.iter().any(|query| {
        holds(&query.category, Category::as_str, event.category.as_deref())
            && holds(&query.action, Action::as_str, event.action.as_deref())
            && holds(&query.outcome, Outcome::as_str, event.outcome.as_deref())
            && holds(&query.actor_type, ActorType::as_str, event.actor.r#type.as_deref())
            && holds(&query.system, System::as_str, event.system.as_deref())
    })
}

/// Which findings belong to a control.
pub(super) struct FindingQuery<'f> {
    /// By rule.
    pub rules: &'f [Pattern],
    /// By kind.
    pub types: &'f [FindingKind],
    /// By the control that the rule itself names, `pci-dss/3.5.1`.
    pub tag: &'f str,
}

impl FindingQuery<'_> {
    /// Whether the finding belongs to the control.
    pub fn matches(&self, finding: &FindingRow<'_>) -> bool {
        let rule = finding.rule.as_deref().unwrap_or("");
        let kind = finding.r#type.as_deref().unwrap_or("");
        self.rules.iter().any(|pattern| pattern.matches(rule))
            || self.types.iter().any(|known| known.as_str() == kind)
            || finding.controls.iter().any(|control| control == self.tag)
    }

    /// The same as a jq condition.
    fn jq(&self) -> String {
        let mut ways: Vec<String> = Vec::new();
        for pattern in self.rules {
            ways.push(match pattern {
                Pattern::Exact(id) => format!(".rule==\"{id}\""),
                Pattern::Prefix(prefix) => format!("(.rule|startswith(\"{prefix}\"))"),
            });
        }
        if !self.types.is_empty() {
            ways.push(one_of(".type", self.types, FindingKind::as_str));
        }
        ways.push(format!("((.controls//[])|index(\"{}\"))", self.tag));
        format!("({})", ways.join(" or "))
    }
}

/// The bounds that every question shares.
pub(super) struct Bounds {
    /// Start, included.
    pub from: Time,
    /// End, excluded.
    pub to: Time,
    /// Entries below this index, where the trail has one generation.
    pub size: Option<u64>,
}

impl Bounds {
    /// Whether a time lies within.
    pub fn hold(&self, time: Time) -> bool {
        self.from <= time && time < self.to
    }

    fn jq(&self, kind: &str, time: &str, more: &str) -> String {
        let size = self.size.map(|size| format!(".i<{size} and ")).unwrap_or_default();
        let more = if more.is_empty() { String::new() } else { format!(" and {more}") };
        format!("{size}{kind} and ({time}|. >= \"{}\" and . < \"{}\"){more}", self.from, self.to)
    }

    /// Events of the period, or those that answer one of the questions.
    pub fn events(&self, queries: &[EventQuery]) -> String {
        let mut ways: Vec<String> = Vec::new();
        for query in queries {
            let mut all: Vec<String> = Vec::new();
            for (words, condition) in [
                (query.category.len(), one_of(".category", &query.category, Category::as_str)),
                (query.action.len(), one_of(".action", &query.action, Action::as_str)),
                (query.outcome.len(), one_of(".outcome", &query.outcome, Outcome::as_str)),
                (query.actor_type.len(), one_of(".actor.type", &query.actor_type, ActorType::as_str)),
                (query.system.len(), one_of(".system", &query.system, System::as_str)),
            ] {
                if words > 0 {
                    all.push(condition);
                }
            }
            ways.push(if all.len() == 1 { all.concat() } else { format!("({})", all.join(" and ")) });
        }
        let more = if ways.is_empty() { String::new() } else { format!("({})", ways.join(" or ")) };
        self.jq(".kind==\"event\"", "(.time//.observed)", &more)
    }

    /// Findings of the period that belong to a control.
    pub fn findings(&self, query: &FindingQuery<'_>) -> String {
        self.jq(".kind==\"finding\"", ".time", &query.jq())
    }

    /// Entries of these kinds, written in the period.
    pub fn entries(&self, kinds: &[String]) -> String {
        let words: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        let kind = match words.as_slice() {
            [one] => format!(".kind=={one}"),
            _ => format!("(.kind|IN({}))", words.join(",")),
        };
        self.jq(&kind, ".t", "")
    }
}

fn one_of<W: Copy>(path: &str, words: &[W], name: fn(W) -> &'static str) -> String {
    match words {
        [one] => format!("{path}==\"{}\"", name(*one)),
        _ => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{}\"", name(*word))).collect();
            format!("({path}|IN({}))", words.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn both_forms_are_written_from_one_question() {
        let bounds = Bounds { from: Time::from_seconds(0), to: Time::from_seconds(1), size: Some(9) };
        let query = EventQuery {
            category: vec![Category::Authentication],
            outcome: vec![Outcome::Failure, Outcome::Challenged],
            ..EventQuery::default()
        };
        assert_eq!(
            bounds.events(std::slice::from_ref(&query)),
            ".i<9 and .kind==\"event\" and ((.time//.observed)|. >= \"1970-01-01T00:00:00.000000Z\" and \
             . < \"1970-01-01T00:00:01.000000Z\") and ((.category==\"authentication\" and \
             (.outcome|IN(\"failure\",\"challenged\"))))"
        );
        let mut event = EventRow {
            category: Some("authentication".into()),
            outcome: Some("failure".into()),
            ..EventRow::default()
        };
        assert!(event_matches(std::slice::from_ref(&query), &event));
        event.outcome = None;
        assert!(!event_matches(&[query], &event));
    }

    #[test]
    fn findings_belong_by_rule_kind_or_tag() {
        let rules = [Pattern::parse("dlp.*").unwrap()];
        let query = FindingQuery { rules: &rules, types: &[FindingKind::Gap], tag: "pci-dss/3.5.1" };
        let by = |rule: &str, kind: &str, tag: &str| {
            query.matches(&FindingRow {
                rule: Some(rule.to_owned().into()),
                r#type: Some(kind.to_owned().into()),
                controls: vec![tag.to_owned().into()],
                ..FindingRow::default()
            })
        };
        assert!(by("dlp.x", "dlp", "") && by("x", "gap", "") && by("x", "y", "pci-dss/3.5.1"));
        assert!(!by("x", "y", "pci-dss/3.5"));
    }
}
