//! Which fields a detection reads, whether they exist, and what an event must be for it to match.

use super::detection::nearest_path;
use crate::inspect::behaviour::{ACTOR, Needs, bit};
use crate::model::Event;
use crate::model::event::{Action, ActorType, Category, Clock, Outcome, System};
use crate::yaml::nearest;
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaValue};
use std::collections::BTreeSet;

/// What is wrong, and the word to look for in the file.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) word: String,
    pub(super) what: String,
    pub(super) cure: Option<String>,
}

/// What a detection reads, and what an event must have for it.
pub(super) struct Checked {
    /// Every path, sorted.
    pub(super) paths: Vec<String>,
    pub(super) needs: Vec<Needs>,
    /// See [`EventPart::words_only`](crate::inspect::behaviour::EventPart::words_only).
    pub(super) words_only: bool,
}

/// Whether it can run, and what it reads.
pub(super) fn check(detections: &Detections) -> Result<Checked, Wrong> {
    let mut paths = BTreeSet::new();
    for detection in detections.named.values() {
        walk(detection, &mut paths)?;
    }
    if detections.timeframe.is_some() {
        return Err(wrong(
            "timeframe",
            "a `timeframe` in a detection does nothing",
            Some("write a correlation"),
        ));
    }
    // A rule with several conditions matches when any of them does.
    let needs =
        either(detections.conditions.iter().map(|condition| needs_of_condition(condition, detections)));
    let words_only = paths.iter().all(|path| Event::WORDS.contains(&path.as_str()))
        && !detections.named.values().any(reads_everything);
    Ok(Checked { paths: paths.into_iter().collect(), needs, words_only })
}

/// Whether keywords stand in it, which are looked for in every member.
fn reads_everything(detection: &Detection) -> bool {
    match detection {
        Detection::AllOf(items) => items.iter().any(|item| item.field.name.is_none()),
        Detection::AnyOf(inner) | Detection::And(inner) => inner.iter().any(reads_everything),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => true,
    }
}

/// Why a path cannot be used, if so.
pub(super) fn unknown(path: &str) -> Option<Wrong> {
    if Event::PATHS.contains(&path) || path.strip_prefix("extra.").is_some_and(|name| !name.is_empty()) {
        return None;
    }
    let cure = match nearest_path(path) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "events have these fields: ".to_owned() + &Event::PATHS.join(", "),
    };
    Some(wrong(path, format!("there is no field `{path}`"), Some(&cure)))
}

/// Whether the path is one that only groups.
pub(super) fn is_virtual(path: &str) -> bool {
    path == ACTOR
}

/// The real paths of a path that groups.
pub(super) fn parts_of(path: &str) -> impl Iterator<Item = &str> {
    let real: &[&str] = if is_virtual(path) { &["actor.name", "actor.id"] } else { &[] };
    let own = (!is_virtual(path)).then_some(path);
    own.into_iter().chain(real.iter().copied())
}

fn wrong(word: impl Into<String>, what: impl Into<String>, cure: Option<&str>) -> Wrong {
    Wrong { word: word.into(), what: what.into(), cure: cure.map(str::to_owned) }
}

fn walk(detection: &Detection, paths: &mut BTreeSet<String>) -> Result<(), Wrong> {
    match detection {
        Detection::AllOf(items) => items.iter().try_for_each(|item| check_item(item, paths)),
        Detection::AnyOf(inner) | Detection::And(inner) => {
            inner.iter().try_for_each(|inner| walk(inner, paths))
        }
        Detection::Keywords(_) => Ok(()),
        Detection::ArrayMatch { field, .. } => Err(wrong(
            field.as_str(),
            "array blocks are not built yet",
            Some("a list matches when any element does"),
        )),
        Detection::Conditional { .. } => Err(wrong("condition", "array blocks are not built yet", None)),
    }
}

fn check_item(item: &DetectionItem, paths: &mut BTreeSet<String>) -> Result<(), Wrong> {
    let Some(path) = &item.field.name else { return Ok(()) };
    if let Some(wrong) = unknown(path) {
        return Err(wrong);
    }
    paths.insert(path.clone());
    if item.field.has_modifier(Modifier::Expand) {
        return Err(wrong(path.as_str(), "`expand` placeholders are not built yet", None));
    }
    for value in &item.values {
        let SigmaValue::String(text) = value else { continue };
        let Some(plain) = text.as_plain() else { continue };
        if item.field.has_modifier(Modifier::FieldRef) {
            if let Some(wrong) = unknown(&plain) {
                return Err(wrong);
            }
            paths.insert(plain);
        } else if item.field.modifiers.is_empty() {
            check_word(path, &plain)?;
        }
    }
    Ok(())
}

/// A word outside of a closed set can never match.
fn check_word(path: &str, word: &str) -> Result<(), Wrong> {
    fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|word| as_str(*word)).collect()
    }
    let known = match path {
        "category" => words(Category::ALL, Category::as_str),
        "action" => words(Action::ALL, Action::as_str),
        "outcome" => words(Outcome::ALL, Outcome::as_str),
        "system" => words(System::ALL, System::as_str),
        "actor.type" => words(ActorType::ALL, ActorType::as_str),
        "clock" => words(Clock::ALL, Clock::as_str),
        _ => return Ok(()),
    };
    if known.contains(&word.to_lowercase().as_str()) {
        return Ok(());
    }
    let cure = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of {}", known.join(", ")),
    };
    Err(wrong(word, format!("`{word}` is no {path}, so this can never match"), Some(&cure)))
}

/// What a condition needs: all of one of these. Where nothing is known, one that needs nothing.
fn needs_of_condition(condition: &ConditionExpr, detections: &Detections) -> Vec<Needs> {
    match condition {
        ConditionExpr::Identifier(name) => {
            detections.named.get(name).map_or_else(anything, needs_of_detection)
        }
        ConditionExpr::And(inner) => both(inner.iter().map(|inner| needs_of_condition(inner, detections))),
        ConditionExpr::Or(inner) => either(inner.iter().map(|inner| needs_of_condition(inner, detections))),
        ConditionExpr::Selector { quantifier, pattern } => {
            let named = detections.named.iter().filter(|(name, _)| pattern.matches_detection_name(name));
            let named = named.map(|(_, detection)| needs_of_detection(detection));
            match quantifier {
                Quantifier::Any => either(named),
                Quantifier::All => both(named),
                Quantifier::Count(_) => anything(),
            }
        }
        ConditionExpr::Not(_) => anything(),
    }
}

fn needs_of_detection(detection: &Detection) -> Vec<Needs> {
    match detection {
        Detection::AllOf(items) => both(items.iter().map(|item| vec![needs_of_item(item)])),
        Detection::And(inner) => both(inner.iter().map(needs_of_detection)),
        Detection::AnyOf(inner) => either(inner.iter().map(needs_of_detection)),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => anything(),
    }
}

/// A member that is absent matches nothing but `null` and `exists: false`.
fn needs_of_item(item: &DetectionItem) -> Needs {
    let exists = item.values.iter().all(|value| matches!(value, SigmaValue::Bool(true)));
    let absent_may_match = (item.field.has_modifier(Modifier::Exists) && !exists)
        || item.values.iter().any(|value| matches!(value, SigmaValue::Null));
    let path = item.field.name.as_deref().filter(|_| !absent_may_match);
    Needs { present: path.map_or(0, Event::bit_of), ..words_of_item(item) }
}

fn words_of_item(item: &DetectionItem) -> Needs {
    let plain: Option<Vec<String>> = item
        .values
        .iter()
        .map(|value| match value {
            SigmaValue::String(text) => text.as_plain().map(|text| text.to_lowercase()),
            _ => None,
        })
        .collect();
    let Some(words) = plain.filter(|words| item.field.modifiers.is_empty() && !words.is_empty()) else {
        return Needs::ANYTHING;
    };
    let mask = |place: &dyn Fn(&str) -> Option<u32>| {
        words.iter().filter_map(|word| place(word)).fold(0, |mask, place| mask | bit(Some(place)))
    };
    match item.field.name.as_deref() {
        Some("category") => {
            let categories = mask(&|word| Category::parse(word).map(|word| word as u32));
            Needs { categories, ..Needs::ANYTHING }
        }
        Some("action") => {
            let actions = mask(&|word| Action::parse(word).map(|word| word as u32));
            Needs { actions, ..Needs::ANYTHING }
        }
        _ => Needs::ANYTHING,
    }
}

fn anything() -> Vec<Needs> {
    vec![Needs::ANYTHING]
}

/// Ways that are told apart; more are taken together, which allows more and is never wrong.
const WAYS: usize = 16;

fn both(parts: impl Iterator<Item = Vec<Needs>>) -> Vec<Needs> {
    parts.fold(anything(), |all, part| {
        let together = |one: &Needs, other: &Needs| Needs {
            categories: one.categories & other.categories,
            actions: one.actions & other.actions,
            present: one.present | other.present,
        };
        few(all.iter().flat_map(|one| part.iter().map(move |other| together(one, other))).collect())
    })
}

/// Of no parts none can match, which is said as if nothing were known.
fn either(parts: impl Iterator<Item = Vec<Needs>>) -> Vec<Needs> {
    let ways: Vec<Needs> = parts.flatten().collect();
    if ways.is_empty() { anything() } else { few(ways) }
}

fn few(ways: Vec<Needs>) -> Vec<Needs> {
    if ways.len() <= WAYS {
        return ways;
    }
    let loosest = ways.into_iter().reduce(|one, other| Needs {
        categories: one.categories | other.categories,
        actions: one.actions | other.actions,
        present: one.present & other.present,
    });
    loosest.into_iter().collect()
}
