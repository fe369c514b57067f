//! The two images of a row: what changed, which row it is, who stamped it.

use super::super::text::json::{Json, Members};
use crate::model::event::{Action, Change, Defect, DefectCode, Event};

/// What Debezium writes for a large value that the database did not send again.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// The same in a column of bytes.
const UNAVAILABLE_BYTES: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// Columns in which CRMs stamp the last modifier: SuiteCRM, EspoCRM, Odoo, then common names.
const MODIFIERS: &[&str] = &[
    "modified_user_id",
    "modified_by_id",
    "write_uid",
    "modified_by",
    "modifiedby",
    "modifiedbyid",
    "lastmodifiedbyid",
    "last_modified_by_id",
    "updated_by",
    "updated_by_id",
];
/// Columns in which they stamp who created the row.
const CREATORS: &[&str] =
    &["created_by", "created_by_id", "create_uid", "created_user_id", "createdby", "createdbyid"];
/// Columns in which they stamp when it was last modified.
const STAMPS: &[&str] = &[
    "date_modified",
    "modified_at",
    "write_date",
    "modifiedon",
    "updated_at",
    "lastmodifieddate",
    "last_modified_date",
    "systemmodstamp",
];

/// Sets the row's key, its changes and its actor.
pub(super) fn read(event: &mut Event, op: &str, before: Option<Members<'_>>, after: Option<Members<'_>>) {
    let empty = Members::default();
    let row = after.as_ref().or(before.as_ref()).unwrap_or(&empty);
    event.target.ids.extend(key(event.target.r#type.as_deref(), row));
    // Whether a row that was not sent leaves the set of changes unknown.
    let partial = op == "u" && after.as_ref().is_some_and(|after| !covers(before.as_ref(), after));
    if partial {
        event.defect(Defect::field(DefectCode::MissingField, "before"));
    }
    compare(event, before.as_ref().unwrap_or(&empty), after.as_ref().unwrap_or(&empty));
    if op == "u" && soft_deleted(event) {
        event.action = Some(Action::Delete);
    }
    event.actor.id = match op {
        "c" => find(row, MODIFIERS).or_else(|| find(row, CREATORS)),
        "u" if partial || stamped(event, row) => find(row, MODIFIERS),
        "" => find(row, MODIFIERS),
        // The last modifier of a deleted row is not the one who deleted it.
        _ => None,
    };
}

fn covers(before: Option<&Members<'_>>, after: &Members<'_>) -> bool {
    let names: std::collections::HashSet<&str> =
        before.into_iter().flat_map(|before| before.iter()).map(|(name, _)| name.as_ref()).collect();
    after.iter().all(|(name, _)| names.contains(name.as_ref()))
}

/// `id`, or the table's name with it: a guess that the conventions of these CRMs make good.
fn key(table: Option<&str>, row: &Members<'_>) -> Option<String> {
    let table = table.unwrap_or_default().to_lowercase();
    let names = ["id".to_owned(), "uuid".to_owned(), format!("{table}_id"), format!("{table}id")];
    let value = names.iter().find_map(|name| {
        row.iter().find(|(column, _)| column.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })?;
    value.to_text().filter(|text| !text.is_empty() && !unavailable(value))
}

fn unavailable(value: &Json<'_>) -> bool {
    match value {
        Json::Text(text) => text == UNAVAILABLE || text == UNAVAILABLE_BYTES,
        Json::List(items) => matches!(items.as_slice(), [item] if unavailable(item)),
        _ => false,
    }
}

fn compare(event: &mut Event, before: &Members<'_>, after: &Members<'_>) {
    let index = |row: &Members<'_>| -> std::collections::HashMap<String, usize> {
        row.iter().enumerate().map(|(place, (name, _))| (name.clone().into_owned(), place)).collect()
    };
    let (in_before, in_after) = (index(before), index(after));
    let old: Vec<&Json<'_>> = before.iter().map(|(_, value)| value).collect();
    for (name, to) in after.iter() {
        let from = in_before.get(name.as_ref()).and_then(|place| old.get(*place)).copied();
        if unavailable(to) {
            event.defect(Defect::field(DefectCode::ValueUnavailable, name.clone().into_owned()));
        } else if from != Some(to) {
            push(event, name, from, Some(to));
        }
    }
    for (name, from) in before.iter().filter(|(name, _)| !in_after.contains_key(name.as_ref())) {
        if unavailable(from) {
            event.defect(Defect::field(DefectCode::ValueUnavailable, name.clone().into_owned()));
        } else {
            push(event, name, Some(from), None);
        }
    }
}

fn push(event: &mut Event, name: &str, from: Option<&Json<'_>>, to: Option<&Json<'_>>) {
    let text = |value: Option<&Json<'_>>| value.filter(|value| !unavailable(value)).and_then(Json::to_text);
    event.fields.push(name.to_owned());
    event.changes.push(Change { field: name.to_owned(), from: text(from), to: text(to) });
}

fn soft_deleted(event: &Event) -> bool {
    let truth = |value: &Option<String>| match value.as_deref() {
        Some("1" | "true" | "t") => Some(true),
        Some("0" | "false" | "f") => Some(false),
        _ => None,
    };
    let change = event.changes.iter().find(|change| change.field.eq_ignore_ascii_case("deleted"));
    change.is_some_and(|change| truth(&change.from) == Some(false) && truth(&change.to) == Some(true))
}

fn find(row: &Members<'_>, names: &[&str]) -> Option<String> {
    let value = names.iter().find_map(|name| {
        row.iter()
            .find(|(column, value)| column.eq_ignore_ascii_case(name) && *value != Json::Null)
            .map(|(_, value)| value)
    })?;
    value.to_text().filter(|text| !text.trim().is_empty() && !unavailable(value))
}

/// Whether the CRM stamped this change, as far as the row can tell.
fn stamped(event: &Event, row: &Members<'_>) -> bool {
    let any = |name: &str| MODIFIERS.iter().chain(STAMPS).any(|stamp| stamp.eq_ignore_ascii_case(name));
    let has_stamps = row.iter().any(|(name, _)| STAMPS.iter().any(|stamp| stamp.eq_ignore_ascii_case(name)));
    !has_stamps || event.fields.iter().any(|field| any(field))
}
