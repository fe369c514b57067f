//! Detection rules, ready to run.
//!
//! A rule is the statement of one policy file: single-event parts in Sigma, correlations over them, and which
//! of these is reported. Names are resolved and everything is checked before a value of these types exists
//! (`policy::detection` does that), so nothing here can fail on an event.
//!
//! Invariants: parts are numbered events first, then correlations, each in file order; a correlation refers
//! only to parts with smaller numbers, so one pass in order settles chains and there are no cycles.

use crate::model::Event;
use crate::model::event::{Action, Category};
use crate::model::finding::Severity;
use rsigma_parser::SigmaRule;

/// One policy file's rule.
#[derive(Clone, Debug)]
pub struct DetectionRule {
    /// `detection.<name>`.
    pub id: String,
    /// What happened, one line.
    pub title: String,
    /// Its Sigma `level`.
    pub severity: Severity,
    /// Control ids, `pci-dss/10.2.1.4`.
    pub controls: Vec<String>,
    /// What to do next.
    pub next: String,
    /// Findings of one key within so many seconds belong together; a correlation that stays true is reported
    /// once in that time.
    pub window_seconds: u64,
    /// First 16 hexadecimal digits of the file's digest.
    pub policy: String,
    /// The file.
    pub file: String,
    /// Paths that make the key when a single event is reported.
    pub group_by: Vec<String>,
    /// Single-event parts.
    pub events: Vec<EventPart>,
    /// Correlations.
    pub correlations: Vec<Correlation>,
    /// Number of the part that is reported.
    pub reported: usize,
}

impl DetectionRule {
    /// What a part is called in a finding's detail.
    pub fn part_title(&self, part: usize) -> &str {
        let correlation = part.checked_sub(self.events.len()).and_then(|place| self.correlations.get(place));
        match (self.events.get(part), correlation) {
            (Some(event), _) => &event.title,
            (None, Some(correlation)) => &correlation.title,
            (None, None) => "",
        }
    }
}

/// A Sigma rule about one event.
#[derive(Clone, Debug)]
pub struct EventPart {
    /// Its Sigma `name`, or `id`, or title.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The rule as parsed, without title and metadata (nothing of that is needed to match).
    pub sigma: SigmaRule,
    /// Every event path that it reads, sorted.
    pub paths: Vec<String>,
    /// What an event must have for a match to be possible: all of one of these.
    pub needs: Vec<Needs>,
    /// It reads nothing but [`Event::WORDS`].
    pub words_only: bool,
}

/// A cheap necessary condition: category and action among these, and these members there. Bit n stands for the n-th
/// word or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Categories, or all ones when the rule does not say.
    pub categories: u64,
    /// Actions, likewise.
    pub actions: u64,
    /// Paths that must have a value, as [`Event::present`] says.
    pub present: u64,
}

impl Needs {
    /// Nothing is known.
    pub const ANYTHING: Needs = Needs { categories: u64::MAX, actions: u64::MAX, present: 0 };

    /// Whether an event with these words may match. An absent word has the highest bit.
    pub fn allow(self, category: Option<Category>, action: Option<Action>) -> bool {
        self.categories & bit(category.map(|word| word as u32)) != 0
            && self.actions & bit(action.map(|word| word as u32)) != 0
    }

    /// Whether an event with these words and these members may match.
    pub fn are_met(self, event: &Event, present: u64) -> bool {
        self.present & !present == 0 && self.allow(event.category, event.action)
    }
}

/// The bit of a word by its place.
pub fn bit(place: Option<u32>) -> u64 {
    1u64.checked_shl(place.unwrap_or(63)).unwrap_or(0)
}

/// How a correlation sums up its hits. Sigma's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many events.
    EventCount,
    /// How many distinct values.
    ValueCount,
    /// Which parts happened.
    Temporal,
    /// Which parts happened, in the order they are named.
    TemporalOrdered,
    /// Sum of a number.
    ValueSum,
    /// Mean of a number.
    ValueAvg,
    /// A percentile of a number.
    ValuePercentile,
    /// The median of a number.
    ValueMedian,
    /// Ours: a value that the group did not have before.
    FirstSeen,
    /// Ours: a sum far above the group's own.
    Baseline,
    /// Ours: two places too far apart for the time between.
    Travel,
    /// Ours: a sign of life after a long silence.
    Dormant,
    /// Ours: activity at an hour that the group never worked at.
    UnusualHour,
}

impl Kind {
    /// The kinds of Sigma with their words.
    pub const SIGMA: &'static [(Kind, &'static str)] = &[
        (Kind::EventCount, "event_count"),
        (Kind::ValueCount, "value_count"),
        (Kind::Temporal, "temporal"),
        (Kind::TemporalOrdered, "temporal_ordered"),
        (Kind::ValueSum, "value_sum"),
        (Kind::ValueAvg, "value_avg"),
        (Kind::ValuePercentile, "value_percentile"),
        (Kind::ValueMedian, "value_median"),
    ];
    /// Our kinds, which compare with a group's past.
    pub const HABITS: &'static [(Kind, &'static str)] = &[
        (Kind::FirstSeen, "first_seen"),
        (Kind::Baseline, "baseline"),
        (Kind::Travel, "travel"),
        (Kind::Dormant, "dormant"),
        (Kind::UnusualHour, "unusual_hour"),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        let mut known = Kind::SIGMA.iter().chain(Kind::HABITS);
        known.find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
    /// Whether it compares with a group's past.
    pub fn is_habit(self) -> bool {
        Kind::HABITS.iter().any(|(kind, _)| *kind == self)
    }
    /// Whether it is about which parts happened.
    pub fn is_temporal(self) -> bool {
        matches!(self, Kind::Temporal | Kind::TemporalOrdered)
    }
    /// Whether it sums up a number or a value of the events.
    pub fn needs_field(self) -> bool {
        !self.is_temporal() && !self.is_habit() && self != Kind::EventCount
    }
}

/// A statement about several events of one group within a time.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Its Sigma `name`, or `id`, or title.
    pub name: String,
    /// Its title.
    pub title: String,
    /// How it sums up.
    pub kind: Kind,
    /// Numbers of the parts it is about.
    pub parts: Vec<usize>,
    /// What makes a group.
    pub group_by: Vec<GroupBy>,
    /// Length of the sliding window, seconds. For a habit see [`super::Habit`].
    pub timespan: i64,
    /// When it holds.
    pub test: Test,
    /// Paths of the values, for the kinds that need one.
    pub field: Vec<String>,
    /// Rank for [`Kind::ValuePercentile`].
    pub percentile: u8,
    /// For the kinds that compare with the past.
    pub habit: Habit,
}

impl Correlation {
    /// Seconds for which a quiet group is of use.
    pub fn reach(&self) -> i64 {
        self.timespan.max(self.habit.memory)
    }
}

/// How a group is compared with its past. All zero for Sigma's own kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Habit {
    /// Seconds that the past reaches back.
    pub memory: i64,
    /// Seconds that a group is watched before anything is told of it.
    pub learn: i64,
    /// A sum must be more than so many times the highest before; for `travel`, kilometres an hour.
    pub times: f64,
    /// A smaller sum is never told; for `travel`, kilometres.
    pub at_least: f64,
    /// What is told of a group that is still learned.
    pub without_history: Option<f64>,
}

/// One value of a group's key.
#[derive(Clone, Debug)]
pub struct GroupBy {
    /// Path, or alias.
    pub name: String,
    /// The path for each of [`Correlation::parts`].
    pub paths: Vec<String>,
}

/// When a correlation holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// All of these comparisons with the sum are true.
    Compare(Vec<(Operator, f64)>),
    /// A boolean expression over the parts that happened.
    Parts(Expression),
}

/// A comparison. Sigma's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

impl Test {
    /// Whether the sum passes.
    pub fn passes(&self, sum: f64) -> bool {
        let Test::Compare(comparisons) = self else { return false };
        comparisons.iter().all(|(operator, number)| match operator {
            Operator::Lt => sum < *number,
            Operator::Lte => sum <= *number,
            Operator::Gt => sum > *number,
            Operator::Gte => sum >= *number,
            Operator::Eq => sum == *number,
            Operator::Neq => sum != *number,
        })
    }

    /// Whether it asks for more than this sum, and less would not do either.
    pub fn is_above(&self, sum: f64) -> bool {
        let Test::Compare(comparisons) = self else { return false };
        comparisons.iter().any(|(operator, number)| match operator {
            Operator::Gte | Operator::Eq => sum < *number,
            Operator::Gt => sum <= *number,
            Operator::Lt | Operator::Lte | Operator::Neq => false,
        })
    }

    /// The comparison in words: `at least 10`.
    pub fn words(&self) -> String {
        let Test::Compare(comparisons) = self else { return String::new() };
        let word = |operator| match operator {
            Operator::Lt => "less than",
            Operator::Lte => "at most",
            Operator::Gt => "more than",
            Operator::Gte => "at least",
            Operator::Eq => "exactly",
            Operator::Neq => "not",
        };
        let words: Vec<String> =
            comparisons.iter().map(|(operator, number)| format!("{} {number}", word(*operator))).collect();
        words.join(" and ")
    }
}

/// A boolean expression over places in [`Correlation::parts`].
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// All of them.
    All(Vec<Expression>),
    /// Any of them.
    Any(Vec<Expression>),
    /// Not.
    Not(Box<Expression>),
    /// The part at this place happened.
    Part(usize),
}

impl Expression {
    /// Its truth, given which places happened.
    pub fn holds(&self, happened: &[bool]) -> bool {
        match self {
            Expression::All(inner) => inner.iter().all(|expression| expression.holds(happened)),
            Expression::Any(inner) => inner.iter().any(|expression| expression.holds(happened)),
            Expression::Not(inner) => !inner.holds(happened),
            Expression::Part(place) => happened.get(*place).copied().unwrap_or(false),
        }
    }
}
