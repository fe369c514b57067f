//! Which single-event parts match one event. What it says depends on the event alone, so any number of threads may
//! ask.
//!
//! Most parts read nothing but an event's words (category, action, outcome and the like), and a feed has few
//! combinations of those. What such parts say of one is remembered; of the others only those are asked whose category
//! and action fit and whose members are there.

use super::rule::{DetectionRule, Needs};
use super::view::View;
use crate::model::Event;
use crate::model::event::{Action, Category};
use rsigma_eval::CompiledRule;
use rsigma_eval::compiler::{compile_rule, eval_condition};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Combinations of words that are remembered at most. Real feeds have some dozens.
const REMEMBERED: usize = 4096;

/// Every single-event part of every rule, compiled.
#[derive(Debug, Default)]
pub struct Stateless {
    parts: Vec<Part>,
    /// By [`Event::words`].
    known: Mutex<HashMap<u64, Arc<Known>>>,
}

/// What is known of all events with the same words.
#[derive(Debug, Default)]
struct Known {
    /// Parts that match by the words alone.
    matched: Vec<(u32, u32)>,
    /// Places of the parts that read more.
    ask: Vec<usize>,
}

#[derive(Debug)]
struct Part {
    rule: u32,
    part: u32,
    needs: Vec<Needs>,
    words_only: bool,
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

    /// How many parts matched.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Those from `start` on.
    pub fn since(&self, start: usize) -> Matches {
        Matches(self.0.get(start..).unwrap_or_default().to_vec())
    }

    /// Forgets those from `start` on.
    pub fn truncate(&mut self, start: usize) {
        self.0.truncate(start);
    }

    /// Makes these the ones that stand in a range of `all`. Their memory is used again.
    pub fn set(&mut self, all: &Matches, range: std::ops::Range<usize>) {
        self.0.clear();
        self.0.extend_from_slice(all.0.get(range).unwrap_or_default());
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
                let (needs, words_only) = (event.needs.clone(), event.words_only);
                parts.push(Part { rule: rule as u32, part: part as u32, needs, words_only, compiled });
            }
        }
        Ok(Stateless { parts, known: Mutex::default() })
    }

    /// Whether any part could match an event of this category and action. Where none could, nobody needs to
    /// read the rest of it.
    pub fn may_match(&self, category: Option<Category>, action: Option<Action>) -> bool {
        self.parts.iter().any(|part| part.fits(category, action))
    }

    /// The parts that match, in order of rule and part.
    pub fn evaluate(&self, event: &Event) -> Matches {
        let mut matches = Matches::default();
        self.evaluate_into(event, &mut matches);
        matches
    }

    /// The same, behind the matches of other events.
    pub fn evaluate_into(&self, event: &Event, matches: &mut Matches) {
        let Matches(matches) = matches;
        let known = self.known(event);
        let start = matches.len();
        matches.extend_from_slice(&known.matched);
        if known.ask.is_empty() {
            return;
        }
        let (view, present) = (View(event), event.present());
        let asked = known.ask.iter().filter_map(|place| self.parts.get(*place));
        for part in asked {
            if part.needs.iter().any(|needs| needs.are_met(event, present)) && part.matches(&view) {
                matches.push((part.rule, part.part));
            }
        }
        if let Some(new) = matches.get_mut(start..) {
            new.sort_unstable();
        }
    }

    fn known(&self, event: &Event) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&event.words()) {
            return Arc::clone(known);
        }
        if known.len() == REMEMBERED {
            known.clear();
        }
        let mut made = Known::default();
        let fits = |part: &Part| part.fits(event.category, event.action);
        for (place, part) in self.parts.iter().enumerate().filter(|(_, part)| fits(part)) {
            match part.words_only {
                false => made.ask.push(place),
                true if part.matches(&View(event)) => made.matched.push((part.rule, part.part)),
                true => {}
            }
        }
        let made = Arc::new(made);
        known.insert(event.words(), Arc::clone(&made));
        made
    }
}

impl Part {
    fn fits(&self, category: Option<Category>, action: Option<Action>) -> bool {
        self.needs.iter().any(|needs| needs.allow(category, action))
    }

    fn matches(&self, view: &View<'_>) -> bool {
        let detections = &self.compiled.detections;
        let mut selections = Vec::new();
        self.compiled.conditions.iter().any(|condition| {
            selections.clear();
            eval_condition(condition, detections, view, &mut selections)
        })
    }
}
