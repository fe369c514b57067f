//! The envelope within a CloudEvent, as `CloudEventsConverter` makes it in structured mode with JSON data.
//!
//! Forms: the attributes of CloudEvents 1.0 (`specversion`, `id`, `source`, `type`, `time` …); `iodebezium` and a
//! name for every member of the envelope's `source` and for `op`; `data` with `before` and `after`, either bare or as
//! `{"schema":…,"payload":…}`. Source: the Debezium documentation, "Exporting CloudEvents"; CloudEvents 1.0 §3.
//!
//! Decisions:
//! * Names of extension attributes hold no underscore: those that are looked up get back the name that they have in
//!   an envelope, the others keep what they came with. `iodebeziumtxId` is the transaction in `source`; `iodebeziumtxid`
//!   is the envelope's `transaction`, which is not the same.
//! * CloudEvents' own attributes are kept as `cloudevents.<name>`: `source` means something else there.
//! * Data in Avro (Base64) is not read: defect `bad_value:data`, and the text is kept and inspected.

use super::super::text::json::{Json, Members};
use crate::model::event::{Defect, DefectCode, Event};
use std::borrow::Cow;

const PREFIX: &str = "iodebezium";
/// What is looked up in `source`, of those whose name is another one here.
const RENAMED: &[(&str, &str)] = &[
    ("tsms", "ts_ms"),
    ("tsus", "ts_us"),
    ("changelsn", "change_lsn"),
    ("eventserialno", "event_serial_no"),
];

/// Whether these are the members of such an event.
pub(super) fn is_one(members: &Members<'_>) -> bool {
    members.has("specversion") && members.has("data") && members.has("iodebeziumop")
}

/// The envelope that it stands for.
pub(super) fn envelope<'a>(event: &mut Event, members: Members<'a>) -> Members<'a> {
    let (mut envelope, mut source) = (Vec::new(), Vec::new());
    for (name, value) in members {
        match name.strip_prefix(PREFIX) {
            Some("op") => envelope.push((Cow::Borrowed("op"), value)),
            Some(member) => source.push((member_name(member), value)),
            None if name == "data" => envelope.extend(data(event, value)),
            None => envelope.push((Cow::Owned(format!("cloudevents.{name}")), value)),
        }
    }
    envelope.push((Cow::Borrowed("source"), Json::Object(Members::from(source))));
    Members::from(envelope)
}

fn member_name(name: &str) -> Cow<'static, str> {
    let known = RENAMED.iter().find(|(plain, _)| *plain == name);
    known.map_or_else(|| Cow::Owned(name.to_owned()), |(_, known)| Cow::Borrowed(*known))
}

fn data<'a>(event: &mut Event, value: Json<'a>) -> Vec<(Cow<'a, str>, Json<'a>)> {
    match value {
        Json::Object(mut members) if members.has("schema") && members.has("payload") => {
            members.take("payload").map(|payload| data(event, payload)).unwrap_or_default()
        }
        Json::Object(members) => members.into_iter().collect(),
        Json::Null => Vec::new(),
        other => {
            event.defect(Defect::field(DefectCode::BadValue, "data"));
            vec![(Cow::Borrowed("data"), other)]
        }
    }
}
