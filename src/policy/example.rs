//! Events written down in policy files, so that every rule proves itself.
//!
//! An example is a list of events. An event is a flat map from dotted path to value, e.g.
//! `{time: 2026-01-05T09:00:00Z, system: sap, category: authentication, actor.id: MMILLER}`. Many alike are
//! written once: `repeat: {times: 12, every: 30s, event: {...}}` moves `time` on by `every` (without it all
//! have one time); with `vary: target.name`
//! the text of that path gets the number of the repetition, from 0.
//!
//! Every example event must have a time; `observed` is the same unless it is given. Unknown paths are errors
//! with the nearest known one.

use crate::model::duration;
use crate::model::{Event, Time};
use crate::yaml::nearest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A list of events as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Example(pub Vec<Map<String, Value>>);

/// Most events that one example may make.
const EVENTS_MAX: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    times: usize,
    every: Option<String>,
    vary: Option<String>,
    event: Map<String, Value>,
}

impl Example {
    /// The events. The error says what is wrong with which entry, without values.
    pub fn events(&self) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        self.each(&mut |event| events.push(event))?;
        Ok(events)
    }

    /// The same, one at a time: thousands of them need not stand in memory together.
    pub fn each(&self, take: &mut dyn FnMut(Event)) -> Result<(), String> {
        let mut left = EVENTS_MAX;
        for (place, entry) in self.0.iter().enumerate() {
            each(entry, &mut left, take).map_err(|error| format!("event {}: {error}", place + 1))?;
        }
        Ok(())
    }
}

fn each(entry: &Map<String, Value>, left: &mut usize, take: &mut dyn FnMut(Event)) -> Result<(), String> {
    let Some(repeat) = entry.get("repeat") else {
        take(event(entry)?);
        return Ok(());
    };
    if entry.len() > 1 {
        return Err("`repeat` stands alone; the event's fields go below `event`".to_owned());
    }
    let repeat = Repeat::deserialize(repeat)
        .map_err(|_| "repeat needs times and event, and may have every and vary".to_owned())?;
    let every = match &repeat.every {
        None => 0,
        Some(text) => duration::parse(text).ok_or(format!("`every` is {}", duration::FORM))?,
    };
    *left = left.checked_sub(repeat.times).ok_or_else(|| format!("more than {EVENTS_MAX} events"))?;
    let first = event(&repeat.event)?;
    for number in 0..repeat.times {
        let seconds = i64::try_from(every.saturating_mul(number as u64)).unwrap_or(i64::MAX);
        let mut next = match &repeat.vary {
            None => first.clone(),
            Some(path) => varied(&repeat.event, path, number)?,
        };
        next.time = first.time.map(|time| time.plus_seconds(seconds));
        next.observed = first.observed.plus_seconds(seconds);
        take(next);
    }
    Ok(())
}

/// The event whose text at `path` has the number of the repetition.
fn varied(fields: &Map<String, Value>, path: &str, number: usize) -> Result<Event, String> {
    let mut fields = fields.clone();
    let value = fields.get_mut(path).filter(|value| value.is_string());
    let value = value.ok_or_else(|| format!("`vary: {path}` names no text of the event"))?;
    *value = Value::String(format!("{}{number}", value.as_str().unwrap_or_default()));
    event(&fields)
}

/// One event from its flat map.
pub fn event(fields: &Map<String, Value>) -> Result<Event, String> {
    let mut whole = Map::new();
    for (path, value) in fields {
        let (name, value) = nest(path, value)?;
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        Event::deserialize(alone).map_err(|_| format!("`{path}` cannot have this value"))?;
        merge(&mut whole, name, value);
    }
    let event = Event::deserialize(Value::Object(whole)).map_err(|error| error.to_string())?;
    let Some(time) = event.time else { return Err("`time` is missing".to_owned()) };
    let observed = if event.observed == Time::EPOCH { time } else { event.observed };
    Ok(Event { observed, ..event })
}

/// A dotted path as the outer member and what stands in it.
fn nest(path: &str, value: &Value) -> Result<(String, Value), String> {
    if let Some(name) = path.strip_prefix("extra.") {
        let text = text(value).ok_or_else(|| format!("`{path}` must be a text"))?;
        return Ok(("extra".to_owned(), json!({ name: text })));
    }
    if !Event::PATHS.contains(&path) {
        return Err(match nearest(path, Event::PATHS.iter().copied()) {
            Some(near) => format!("there is no field `{path}`; did you mean `{near}`?"),
            None => format!("there is no field `{path}`"),
        });
    }
    if path == "changes.field" {
        let names: Option<Vec<String>> = list(value).iter().map(text).collect();
        let names = names.ok_or_else(|| format!("`{path}` must be a list of names"))?;
        return Ok(("changes".to_owned(), names.into_iter().map(|name| json!({ "field": name })).collect()));
    }
    let value = match path {
        "actor.roles" | "target.ids" | "fields" => Value::Array(list(value)),
        "auth.mfa" | "volume.rows" | "volume.bytes" | "perf.duration_ms" | "perf.status_code" => {
            value.clone()
        }
        // Ids and status codes are often all digits; YAML then reads a number where a text is meant.
        _ => text(value).map_or_else(|| value.clone(), Value::String),
    };
    Ok(match path.split_once('.') {
        Some((outer, inner)) => (outer.to_owned(), json!({ inner: value })),
        None => (path.to_owned(), value),
    })
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn merge(whole: &mut Map<String, Value>, name: String, value: Value) {
    match (whole.get_mut(&name), value) {
        (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
        (_, value) => {
            whole.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::event::{Action, Value as Field};

    fn example(yaml: &str) -> Example {
        crate::yaml::parse("x.yaml", yaml).unwrap()
    }

    #[test]
    fn flat_maps_become_events() {
        let events = example(
            "- {time: 2026-01-05T09:00:00Z, system: sap, action: login, actor.id: 0815, actor.roles: [A, B], \
             auth.mfa: false, volume.rows: 12, extra.CLIENT: 100, changes.field: [Email, Phone]}\n\
             - repeat: {times: 3, every: 30s, event: {time: 2026-01-05T10:00:00Z, actor.name: x}}\n",
        )
        .events()
        .unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].action, Some(Action::Login));
        assert_eq!(events[0].actor.roles, ["A", "B"]);
        assert_eq!(events[0].auth.mfa, Some(false));
        assert_eq!(events[0].volume.rows, Some(12));
        assert_eq!(events[0].field("extra.CLIENT"), Some(Field::Text("100".into())));
        assert_eq!(events[0].field("changes.field"), Some(Field::Names(vec!["Email", "Phone"])));
        assert_eq!(events[0].observed, events[0].time.unwrap());
        assert_eq!(events[3].time.unwrap().to_string(), "2026-01-05T10:01:00.000000Z");
    }

    #[test]
    fn errors_name_the_field() {
        let error = |yaml: &str| example(yaml).events().unwrap_err();
        assert_eq!(
            error("- {time: 2026-01-05T09:00:00Z, actor.nme: x}"),
            "event 1: there is no field `actor.nme`; did you mean `actor.name`?"
        );
        assert_eq!(
            error("- {time: 2026-01-05T09:00:00Z, action: jump}"),
            "event 1: `action` cannot have this value"
        );
        assert_eq!(error("- {action: login}"), "event 1: `time` is missing");
        assert!(error("- repeat: {times: 3, every: 30, event: {}}").starts_with("event 1: "));
    }
}
