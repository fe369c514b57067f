//! Which single-event parts match one event. No state, so any number of threads may ask.

use super::rule::{DetectionRule, Needs};
use super::view::View;
use crate::model::Event;
use crate::model::event::{Action, Category};
use rsigma_eval::CompiledRule;
use rsigma_eval::compiler::{compile_rule, eval_condition};
use std::collections::BTreeMap;

/// Every single-event part of every rule, compiled.
#[derive(Debug, Default)]
pub struct Stateless {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    rule: u32,
    part: u32,
    needs: Needs,
    compiled: CompiledRule,
}

/// The parts that matched, in order of rule and part. Empty for most events, and then it owns nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches(pub(super) Vec<(u32, u32)>);

impl Matches {
    /// Whether no part matched: such an event need not be correlated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of the rule, among all in force, and of its part, in order.
    pub fn parts(&self) -> impl Iterator<Item = (usize, usize)> {
        self.0.iter().map(|(rule, part)| (*rule as usize, *part as usize))
    }

    /// The parts by the ids of their rules, as they stand in an entry: `{"detection.x":[0,2]}`. `None` where
    /// none matched.
    pub fn written(&self, rules: &[DetectionRule]) -> Option<Vec<u8>> {
        let mut by_id: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (rule, part) in self.parts() {
            by_id.entry(&rules.get(rule)?.id).or_default().push(part);
        }
        if by_id.is_empty() { None } else { serde_json::to_vec(&by_id).ok() }
    }

    /// The parts that an entry names. Rules and parts that are not in force any more are left out.
    pub fn named(by_id: &BTreeMap<String, Vec<u32>>, rules: &[DetectionRule]) -> Matches {
        let mut matches = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let parts = by_id.get(&rule.id).into_iter().flatten();
            let known = parts.filter(|part| (**part as usize) < rule.events.len());
            matches.extend(known.map(|part| (place as u32, *part)));
        }
        matches.sort_unstable();
        Matches(matches)
    }
}

impl Stateless {
    /// Compiles the parts. The error names the rule and what its Sigma text has wrong.
    pub fn new(rules: &[DetectionRule]) -> Result<Stateless, String> {
        let mut parts = Vec::new();
        for (rule, detection) in rules.iter().enumerate() {
            for (part, event) in detection.events.iter().enumerate() {
                let compiled =
                    compile_rule(&event.sigma).map_err(|error| format!("{}: {error}", detection.id))?;
                let needs = event.needs;
                parts.push(Part { rule: rule as u32, part: part as u32, needs, compiled });
            }
        }
        Ok(Stateless { parts })
    }

    /// Whether any part could match an event of this category and action. Where none could, nobody needs to
    /// read the rest of it.
    pub fn may_match(&self, category: Option<Category>, action: Option<Action>) -> bool {
        self.parts.iter().any(|part| part.needs.allow(category, action))
    }

    /// The parts that match. Looks at category and action first: a few bit operations settle most parts.
    pub fn evaluate(&self, event: &Event) -> Matches {
        let view = View(event);
        let mut matches = Vec::new();
        for part in &self.parts {
            if part.needs.allow(event.category, event.action) && part.matches(&view) {
                matches.push((part.rule, part.part));
            }
        }
        Matches(matches)
    }
}

impl Part {
    fn matches(&self, view: &View<'_>) -> bool {
        let detections = &self.compiled.detections;
        let mut selections = Vec::new();
        self.compiled.conditions.iter().any(|condition| {
            selections.clear();
            eval_condition(condition, detections, view, &mut selections)
        })
    }
}
