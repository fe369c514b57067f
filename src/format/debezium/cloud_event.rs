//! The envelope within a CloudEvent, as `CloudEventsConverter` makes it in structured mode.
//!
//! Form: the attributes of CloudEvents 1.0 (`specversion`, `id`, `source`, `type`, `time` …); `iodebezium` and a
//! name for `op`, for every member of the envelope's `source` and, with `tx` before it, of its `transaction`; `data`
//! with `before` and `after`, or with the row alone. `data` can be wrapped as `{"schema":…,"payload":…}`. Source: the
//! Debezium documentation, "Exporting CloudEvents"; CloudEvents 1.0 §3.
//!
//! Decisions:
//! * Names of extension attributes hold no underscore: those that are looked up get back the name that they have in
//!   an envelope, the others keep what they came with. `iodebeziumtxId` is the transaction in `source`; `iodebeziumtxid`
//!   is that of `transaction`, which is not the same.
//! * Columns of a row never become members of the envelope, whatever they are called.
//! * CloudEvents' own attributes are kept as `cloudevents.<name>`: `source` means something else there.
//! * Data that is no object (Avro comes as Base64) cannot be inspected column by column. The attributes are read,
//!   the defect is `unparsed:data`, and nothing of it is kept.
//! * With `extension.attributes.enable=false` nothing says what was done: `missing_field:op`, and no action.

use super::super::text::json::{Json, Members};
use crate::model::event::{Defect, DefectCode, Event};
use std::borrow::Cow;

const PREFIX: &str = "iodebezium";
const TYPE: &str = "io.debezium.";
const OP: &str = "iodebeziumop";
/// What is looked up in `source`, of those whose name is another one here.
const SOURCE: &[(&str, &str)] = &[
    ("tsms", "ts_ms"),
    ("tsus", "ts_us"),
    ("changelsn", "change_lsn"),
    ("eventserialno", "event_serial_no"),
];
/// All members of `transaction`.
const TRANSACTION: &[(&str, &str)] =
    &[("txid", "id"), ("txtotalorder", "total_order"), ("txdatacollectionorder", "data_collection_order")];

type List<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// Whether these are the members of such an event.
pub(super) fn is_one(members: &Members<'_>) -> bool {
    let debezium = || members.get("type").and_then(Json::as_str).is_some_and(|kind| kind.starts_with(TYPE));
    members.has("specversion") && members.has("data") && (members.has(OP) || debezium())
}

/// The envelope that it stands for.
pub(super) fn envelope<'a>(event: &mut Event, members: Members<'a>) -> Members<'a> {
    let (mut envelope, mut source, mut transaction) = (List::new(), List::new(), List::new());
    let (mut rest, mut bodies) = (List::new(), Vec::new());
    for (name, value) in members {
        if name == OP {
            envelope.push((Cow::Borrowed("op"), value));
        } else if let Some(member) = name.strip_prefix(PREFIX) {
            match renamed(TRANSACTION, member) {
                Some(name) => transaction.push((name, value)),
                None => source
                    .push((renamed(SOURCE, member).unwrap_or_else(|| Cow::Owned(member.to_owned())), value)),
            }
        } else if name == "data" {
            bodies.push(super::payload(value));
        } else {
            rest.push((Cow::Owned(format!("cloudevents.{name}")), value));
        }
    }
    let deleted = envelope.iter().any(|(_, op)| op.as_str() == Some("d"));
    envelope.push((Cow::Borrowed("source"), Json::Object(source.into())));
    if transaction.iter().any(|(_, value)| *value != Json::Null) {
        envelope.push((Cow::Borrowed("transaction"), Json::Object(transaction.into())));
    }
    for data in bodies {
        take_data(event, data, deleted, &mut envelope);
    }
    envelope.append(&mut rest);
    envelope.into()
}

fn renamed<'a>(names: &[(&str, &'static str)], name: &str) -> Option<Cow<'a, str>> {
    names.iter().find(|(here, _)| *here == name).map(|(_, there)| Cow::Borrowed(*there))
}

fn take_data<'a>(event: &mut Event, data: Json<'a>, deleted: bool, envelope: &mut List<'a>) {
    match data {
        Json::Object(members) if members.has("before") || members.has("after") => {
            for (name, value) in members {
                let known = matches!(&*name, "before" | "after");
                let name = if known { name } else { Cow::Owned(format!("data.{name}")) };
                envelope.push((name, value));
            }
        }
        row @ Json::Object(_) => {
            envelope.push((Cow::Borrowed(if deleted { "before" } else { "after" }), row));
        }
        Json::Null => {}
        _ => event.defect(Defect::field(DefectCode::Unparsed, "data")),
    }
}
