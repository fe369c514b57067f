//! An event as rules see it.
//!
//! Lists match when any element does. Numbers are integers, truths are truths. Besides the paths of
//! [`Event::PATHS`] there is one that groups: [`ACTOR`].

use crate::model::Event;
use crate::model::event::Value;
use rsigma_eval::EventValue;
use std::borrow::Cow;

/// Who, as one word for `group-by`: the name in lower case where the feed has one, else the id. People type
/// their login name in any case, and a failed login often has no id yet, so neither field alone brings the
/// failures and the success of one account together.
pub const ACTOR: &str = "actor";

/// The adapter.
pub(super) struct View<'a>(pub(super) &'a Event);

impl rsigma_eval::Event for View<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        self.0.field(path).map(convert)
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        let mut any = false;
        each_text(self.0, &mut |text| any = any || pred(text));
        any
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        let mut texts = Vec::new();
        each_text(self.0, &mut |text| texts.push(Cow::Owned(text.to_owned())));
        texts
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.0).unwrap_or(serde_json::Value::Null)
    }
}

fn convert(value: Value<'_>) -> EventValue<'_> {
    match value {
        Value::Text(text) => EventValue::Str(text),
        Value::Number(number) => EventValue::Int(i64::try_from(number).unwrap_or(i64::MAX)),
        Value::Bool(truth) => EventValue::Bool(truth),
        Value::List(texts) => {
            EventValue::Array(texts.iter().map(|text| EventValue::Str(Cow::Borrowed(text))).collect())
        }
        Value::Names(names) => {
            EventValue::Array(names.into_iter().map(|name| EventValue::Str(Cow::Borrowed(name))).collect())
        }
    }
}

/// Every text that a rule could name, for Sigma's keyword lists.
fn each_text(event: &Event, visit: &mut dyn FnMut(&str)) {
    let extra = event.extra.iter().map(|(_, value)| Value::Text(Cow::Borrowed(value.as_str())));
    for value in Event::PATHS.iter().filter_map(|path| event.field(path)).chain(extra) {
        match value {
            Value::Text(text) => visit(&text),
            Value::List(texts) => texts.iter().for_each(|text| visit(text)),
            Value::Names(names) => names.into_iter().for_each(&mut *visit),
            Value::Number(_) | Value::Bool(_) => {}
        }
    }
}

/// The value of a path as one text, for group keys and distinct values. A list is its elements joined.
pub(super) fn text<'a>(event: &'a Event, path: &str) -> Option<Cow<'a, str>> {
    if path == ACTOR {
        return match (&event.actor.name, &event.actor.id) {
            (Some(name), _) if !name.is_empty() => Some(match name.bytes().all(is_lower) {
                true => Cow::Borrowed(name),
                false => Cow::Owned(name.to_lowercase()),
            }),
            (_, Some(id)) if !id.is_empty() => Some(Cow::Borrowed(id)),
            _ => None,
        };
    }
    Some(match event.field(path)? {
        Value::Text(text) => text,
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Bool(truth) => Cow::Borrowed(if truth { "true" } else { "false" }),
        Value::List(texts) => Cow::Owned(texts.join(",")),
        Value::Names(names) => Cow::Owned(names.join(",")),
    })
}

/// Whether a byte is of an ASCII character that lower case does not change.
fn is_lower(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_uppercase()
}

/// The value of a path as a number, where it is one.
pub(super) fn number(event: &Event, path: &str) -> Option<f64> {
    match event.field(path)? {
        Value::Number(number) => Some(number as f64),
        Value::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(_) | Value::List(_) | Value::Names(_) => None,
    }
}
