//! `debezium`: change events of the CRM's own database, as Debezium writes them, one JSON value a line.
//!
//! Forms: `{"schema":…,"payload":…}`; the bare envelope `{before, after, source, op, …}`; the row alone, as
//! the transformation `ExtractNewRecordState` leaves it, with its added members (`__op`, `__deleted`,
//! `__table`, `__source_ts_ms` …); a CloudEvent with the envelope in it; `null`, the tombstone. Source: the Debezium
//! documentation, connectors for PostgreSQL and MySQL, "change events", "New Record State Extraction", and "Exporting
//! CloudEvents".
//!
//! Decisions:
//! * A tombstone tells Kafka to forget the key; the deletion itself came just before it. It becomes an
//!   `operation` without an action, so that nothing is deleted twice in the books.
//! * `r` (snapshot) reads the table for the connector, not for a person: `operation`, `read`, no actor. Its
//!   values stand in `changes` so that they are inspected.
//! * Values: numbers keep the digits of the record, nested values are compact JSON, `null` is absent.
//! * `__debezium_unavailable_value` means that the database did not send an unchanged large value: defect
//!   `value_unavailable:<column>`, and no change.
//! * Without a full `before` (PostgreSQL sends only the key unless `REPLICA IDENTITY FULL` is set) the
//!   record does not say which columns changed: every column stands in `changes` with the defect
//!   `missing_field:before`.
//! * `deleted` going from false to true is how SuiteCRM and EspoCRM delete: action `delete`.
//! * A change stream knows no CRM user. The actor is read from the columns in which CRMs stamp the last
//!   modifier; where the row has time stamps and neither they nor the modifier changed, the change went
//!   beneath the CRM and has no actor.
//! * `uid` is made from the position in the source where that is unique, because delivery is at least once.
//! * `schema` describes types and repeats itself with every record; it is not kept.

mod cloud_event;
mod row;
#[cfg(test)]
mod tests;

use super::text::json::{self, Json, Members};
use super::{Format, text};
use crate::model::Time;
use crate::model::event::{Action, Category, Clock, Defect, DefectCode, Event, Outcome, System};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use base64::Engine;
use std::borrow::Cow;

/// The format.
pub struct Debezium;

const NAME: &str = "debezium";

impl Format for Debezium {
    fn name(&self) -> &'static str {
        NAME
    }
    fn system(&self) -> System {
        System::Custom
    }
    fn framing(&self) -> Framing {
        Framing::Line
    }
    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
            "feed",
            "uid",
            "category",
            "action",
            "outcome",
            "status",
            "actor.id",
            "target.type",
            "target.ids",
            "fields",
            "changes.field",
            "tenant",
            "query",
            "message",
            "clock",
        ]
    }
    fn parse(&self, record: &Record<'_>, _: &FormatContext) -> Parsed {
        let Some(mut document) = json::read(record.text) else {
            return text::unparsed(System::Custom, NAME, DefectCode::Unparsed, record.text);
        };
        let value = std::mem::replace(&mut document.value, Json::Null);
        let mut event = text::event(System::Custom, NAME);
        text::note(&mut event, &document);
        match unwrap(value) {
            Body::Tombstone => tombstone(&mut event),
            Body::Envelope(envelope) => read_envelope(&mut event, envelope),
            Body::CloudEvent(members) => {
                let envelope = cloud_event::envelope(&mut event, members);
                read_envelope(&mut event, envelope);
            }
            Body::Row(row) => read_flat(&mut event, row),
            Body::Other => {
                let code = if document.too_complex { DefectCode::TooComplex } else { DefectCode::Unparsed };
                return text::unparsed(System::Custom, NAME, code, record.text);
            }
        }
        Parsed::Event(event)
    }
}

enum Body<'a> {
    Tombstone,
    Envelope(Members<'a>),
    CloudEvent(Members<'a>),
    Row(Members<'a>),
    Other,
}

fn unwrap(value: Json<'_>) -> Body<'_> {
    let members = match payload(value) {
        Json::Null => return Body::Tombstone,
        Json::Object(members) => members,
        _ => return Body::Other,
    };
    let envelope = members.get("op").is_some_and(|op| op.as_str().is_some())
        && ["source", "before", "after"].iter().any(|name| members.has(name));
    if envelope {
        Body::Envelope(members)
    } else if cloud_event::is_one(&members) {
        Body::CloudEvent(members)
    } else {
        Body::Row(members)
    }
}

/// The payload beside a schema; what is nothing of that kind is itself.
fn payload(value: Json<'_>) -> Json<'_> {
    let Json::Object(mut members) = value else { return value };
    let wrapped =
        members.has("payload") && members.iter().all(|(name, _)| matches!(&**name, "schema" | "payload"));
    if wrapped { members.take("payload").unwrap_or(Json::Null) } else { Json::Object(members) }
}

fn tombstone(event: &mut Event) {
    event.feed = Cow::Borrowed("debezium/tombstone");
    event.category = Some(Category::Operation);
    event.clock = Clock::Absent;
}

/// What kind of event an operation is.
fn set_operation(event: &mut Event, op: &str) {
    let (feed, category, action) = match op {
        "c" => ("debezium/create", Category::DataChange, Some(Action::Create)),
        "u" => ("debezium/update", Category::DataChange, Some(Action::Update)),
        "d" => ("debezium/delete", Category::DataChange, Some(Action::Delete)),
        "r" => ("debezium/read", Category::Operation, Some(Action::Read)),
        "t" => ("debezium/truncate", Category::DataChange, Some(Action::Purge)),
        "m" => ("debezium/message", Category::Operation, None),
        "" => {
            event.defect(Defect::field(DefectCode::MissingField, "op"));
            (NAME, Category::DataChange, None)
        }
        other => {
            event.defect(Defect::field(DefectCode::UnknownType, other));
            (NAME, Category::DataChange, None)
        }
    };
    event.feed = Cow::Borrowed(feed);
    event.category = Some(category);
    event.action = action;
    event.status = (!op.is_empty()).then(|| op.to_owned());
    // The stream carries what the database committed.
    event.outcome = Some(Outcome::Success);
}

fn read_envelope(event: &mut Event, mut envelope: Members<'_>) {
    let op = match envelope.take("op") {
        Some(Json::Text(op)) => op.into_owned(),
        other => {
            if let Some(text) = other.and_then(Json::into_text) {
                text::keep(event, "op", text);
            }
            String::new()
        }
    };
    set_operation(event, &op);
    let mut source = match envelope.take("source") {
        Some(Json::Object(source)) => source,
        other => {
            event.defect(Defect::field(DefectCode::MissingField, "source"));
            if let Some(text) = other.and_then(Json::into_text) {
                text::keep(event, "source", text);
            }
            Members::default()
        }
    };
    event.target.r#type = source.take_text("table").or_else(|| source.take_text("collection"));
    set_time(event, &source, &envelope);
    let before = take_row(event, &mut envelope, "before");
    let after = take_row(event, &mut envelope, "after");
    // Who stamped the row last did this only where it is known what was done.
    row::read(event, if op.is_empty() { "unknown" } else { &op }, before, after);
    event.uid = uid(event, &op, &source);
    event.tenant = match (source.take_text("name"), source.take_text("db")) {
        (Some(name), Some(db)) => Some(format!("{name}/{db}")),
        (name, db) => name.or(db),
    };
    event.query = source.take_text("query");
    if op == "m" {
        read_message(event, &mut envelope);
    }
    text::keep_rest(event, "source.", source);
    text::keep_rest(event, "", envelope);
}

fn take_row<'a>(event: &mut Event, envelope: &mut Members<'a>, name: &'static str) -> Option<Members<'a>> {
    match envelope.take(name)? {
        Json::Object(row) => Some(row),
        other => {
            event.defect(Defect::field(DefectCode::BadValue, name));
            text::keep(event, name, other.into_text().unwrap_or_default());
            None
        }
    }
}

/// The commit in the database; a connector that does not know it writes 0, then its own clock counts.
fn set_time(event: &mut Event, source: &Members<'_>, envelope: &Members<'_>) {
    for (members, micros, millis) in [(source, "ts_us", "ts_ms"), (envelope, "ts_us", "ts_ms")] {
        event.time = time(members.get(micros), 1).or_else(|| time(members.get(millis), 1000));
        if event.time.is_some() {
            return;
        }
    }
    event.clock = Clock::Absent;
    event.defect(Defect::new(DefectCode::TimeMissing));
}

fn time(value: Option<&Json<'_>>, factor: u64) -> Option<Time> {
    let count = value?.as_u64().filter(|count| *count > 0)?;
    Some(Time::from_micros(i64::try_from(count.checked_mul(factor)?).ok()?))
}

/// The position in the source, with what tells two rows at one position apart. `None` where that is not
/// sure to be unique: two different events must never look like one.
fn uid(event: &Event, op: &str, source: &Members<'_>) -> Option<String> {
    let part = |name: &str| source.get(name).and_then(Json::to_text).filter(|text| !text.is_empty());
    let snapshot = op == "r" || part("snapshot").is_some_and(|word| word != "false");
    let key = event.target.ids.first();
    let position = if let (Some(file), Some(pos)) = (part("file"), part("pos")) {
        let row = part("row").unwrap_or_default();
        // During a snapshot every row has the position where it began.
        (key.is_some() || !snapshot).then(|| format!("{file}:{pos}:{row}"))
    } else if let Some(lsn) = part("lsn") {
        // Rows that one statement copied share one place in the log.
        key.map(|_| format!("{lsn}:{}", part("txId").unwrap_or_default()))
    } else if let (Some(change), Some(serial)) = (part("change_lsn"), part("event_serial_no")) {
        Some(format!("{change}:{serial}"))
    } else if let Some(scn) = part("scn") {
        key.map(|_| format!("{scn}:{}", part("txId").unwrap_or_default()))
    } else {
        None
    }?;
    let name = part("name").or_else(|| part("connector")).unwrap_or_default();
    let table = event.target.r#type.as_deref().unwrap_or_default();
    let schema = part("schema").map(|schema| format!("{schema}.")).unwrap_or_default();
    let key = key.map(|key| format!(":{key}")).unwrap_or_default();
    Some(format!("{name}:{position}:{op}:{schema}{table}{key}"))
}

/// A logical message (PostgreSQL `pg_logical_emit_message`): its content is base64 of anything.
fn read_message(event: &mut Event, envelope: &mut Members<'_>) {
    let Some(Json::Object(mut message)) = envelope.take("message") else { return };
    if let Some(content) = message.take_text("content") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&content).ok();
        match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => event.message = Some(text),
            None => text::keep(event, "message.content", content),
        }
    }
    text::keep_rest(event, "message.", message);
}

/// A row without envelope. Members that the transformation added begin with two underscores.
fn read_flat(event: &mut Event, flat: Members<'_>) {
    let mut added = Vec::new();
    let mut columns = Vec::new();
    for (name, value) in flat {
        if name.starts_with("__") { added.push((name, value)) } else { columns.push((name, value)) }
    }
    let mut added = Members::from(added);
    let deleted = added.take("__deleted").and_then(|value| value.as_bool()) == Some(true);
    let op = added.take_text("__op");
    match op.as_deref() {
        _ if deleted => set_operation(event, "d"),
        Some(op) => set_operation(event, op),
        None => {
            event.feed = Cow::Borrowed("debezium/row");
            event.category = Some(Category::DataChange);
            event.outcome = Some(Outcome::Success);
        }
    }
    event.target.r#type = added.take_text("__source_table").or_else(|| added.take_text("__table"));
    event.tenant = added.take_text("__source_db").or_else(|| added.take_text("__db"));
    event.time = time(added.get("__source_ts_ms"), 1000).or_else(|| time(added.get("__ts_ms"), 1000));
    if event.time.is_none() {
        event.clock = Clock::Absent;
        event.defect(Defect::new(DefectCode::TimeMissing));
    }
    let op = if deleted { "d" } else { op.as_deref().unwrap_or("") };
    let columns = Some(Members::from(columns));
    if op == "d" {
        row::read(event, op, columns, None)
    } else {
        row::read(event, op, None, columns)
    }
    text::keep_rest(event, "", added);
}
