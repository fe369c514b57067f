//! Behaviour: Sigma rules over normalised events, one at a time and correlated in windows of event time.
//!
//! Rules are written in Sigma (specification 2.1, <https://github.com/SigmaHQ/sigma-specification>): event
//! rules are matched by `rsigma`, the correlations are ours. The crate has correlations too; ours differ where an audit
//! needs it: evictions do not depend on the order of a hash map (a replay must give the same findings),
//! windows hold hits by event time instead of arrival, an ordered match costs one pass instead of a search
//! that grows with a power of the hits, memory within a group is bounded, and `temporal` without a condition
//! means *all* parts, as the specification says (the crate takes any one).
//!
//! What Sigma has no words for (a value seen for the first time, a sum above one's own, travel, long silence,
//! unusual hours) is ours too: see [`Habit`] and the table in `habit.rs`.
//!
//! A rule about a single event reports every match, and incidents group them by key and window; a correlation
//! that stays true is reported once per group and window, so that a flood of events is no flood of findings.
//!
//! Two halves. [`Stateless`] says which parts match an event; it is shared among worker threads.
//! [`Engine::correlate`] runs in the one writer, in the order of the trail. Findings and the exported state
//! hold values of the event, so both halves take the event as masked for storage.

mod finding;
mod habit;
mod hits;
mod rule;
mod state;
mod stateless;
mod values;
mod view;
mod windows;

pub use hits::KEPT;
pub use rule::{
    Correlation, DetectionRule, EventPart, Expression, GroupBy, Habit, Kind, Needs, Operator, Test, bit,
};
pub use stateless::{Matches, Stateless};
pub use view::ACTOR;
pub use windows::Limits;

use crate::model::{Event, Finding};
use std::collections::BTreeMap;
use std::sync::Arc;
use windows::Windows;

/// All detection rules in force, with their windows.
#[derive(Debug)]
pub struct Engine {
    stateless: Arc<Stateless>,
    windows: Windows,
}

impl Engine {
    /// An engine for these rules, remembering nothing yet. The error says which rule cannot be compiled;
    /// rules that a policy loaded always can.
    pub fn new(rules: &[DetectionRule]) -> Result<Engine, String> {
        Engine::with_limits(rules, Limits::default())
    }

    /// The same with limits of one's own.
    pub fn with_limits(rules: &[DetectionRule], limits: Limits) -> Result<Engine, String> {
        let stateless = Arc::new(Stateless::new(rules)?);
        Ok(Engine { stateless, windows: Windows::new(rules.into(), limits) })
    }

    /// Takes over what another engine remembers, for the rules that are the same.
    pub fn inherit(&mut self, old: &mut Engine) {
        self.windows.inherit(&mut old.windows);
    }

    /// The half for worker threads.
    pub fn stateless(&self) -> Arc<Stateless> {
        Arc::clone(&self.stateless)
    }

    /// The parts that match. Needs no state; see [`Engine::stateless`].
    pub fn evaluate(&self, event: &Event) -> Matches {
        self.stateless.evaluate(event)
    }

    /// Takes the next event of the trail with its matches and adds the findings. [`Event::when`] drives the
    /// windows, nothing else.
    pub fn correlate(&mut self, event: &Event, matches: &Matches, findings: &mut Vec<Finding>) {
        if !matches.is_empty() {
            self.windows.correlate(event, matches, findings);
        }
    }

    /// Whether the event comes later than its correlations remember: it earns the defect `late`. Ask before
    /// [`Engine::correlate`].
    pub fn is_late(&self, event: &Event, matches: &Matches) -> bool {
        self.windows.is_late(event, matches)
    }

    /// Groups and hits that limits made us forget, by rule, since the beginning of the state. Every increase
    /// is an entry and a metric: a rule that forgets can miss.
    pub fn evicted(&self) -> &BTreeMap<String, u64> {
        &self.windows.evicted
    }

    /// Hits that came too late to count with others of their group.
    pub fn late(&self) -> u64 {
        self.windows.late
    }

    /// Groups remembered by all correlations.
    pub fn groups(&self) -> usize {
        self.windows.states.iter().flatten().map(|state| state.groups.len()).sum()
    }

    /// Forgets what is remembered for rules that do not stay as they are.
    pub fn keep_only(&mut self, stays: &dyn Fn(&DetectionRule) -> bool) {
        self.windows.keep_only(stays);
    }

    /// Memory of all correlations, roughly.
    pub fn bytes(&self) -> usize {
        self.windows.bytes()
    }

    /// The windows as JSON: the same state gives the same bytes.
    pub fn export_state(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.export_into(&mut out);
        out
    }

    /// The same, at the end of a buffer.
    pub fn export_into(&self, out: &mut Vec<u8>) {
        state::export(&self.windows, out);
    }

    /// Takes the windows that [`Engine::export_state`] gave. What belongs to rules that are no longer there
    /// is left out. On an error nothing changes.
    pub fn import_state(&mut self, json: &[u8]) -> Result<(), String> {
        state::import(&mut self.windows, json)
    }
}
