//! Each form of an event, each trap of a change stream, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::{Change, Value};
use proptest::prelude::*;

fn parse(text: &str) -> Event {
    match Debezium.parse(&Record { text, header: None }, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("a change stream has no grants"),
    }
}

fn defects(event: &Event) -> Vec<String> {
    event.defects.iter().map(|defect| defect.text().into_owned()).collect()
}

fn extra<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    match event.field(&format!("extra.{name}")) {
        Some(Value::Text(Cow::Borrowed(text))) => Some(text),
        _ => None,
    }
}

const MYSQL: &str = r#"{"version":"2.7.0.Final","connector":"mysql","name":"crm","ts_ms":1795161600000,"snapshot":"false","db":"suitecrm","table":"contacts","server_id":1,"file":"bin.000003","pos":154,"row":0,"thread":7,"query":null}"#;
const POSTGRES: &str = r#"{"connector":"postgresql","name":"crm","ts_ms":1795161600000,"snapshot":false,"db":"odoo","schema":"public","table":"res_partner","txId":555,"lsn":24023128}"#;

fn envelope(source: &str, op: &str, before: &str, after: &str) -> Event {
    let event = parse(&format!(
        r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}","ts_ms":1795161600500,"transaction":null}}"#
    ));
    text::tests::only_sets(&Debezium, &event);
    event
}

fn change(field: &str, from: Option<&str>, to: Option<&str>) -> Change {
    Change { field: field.to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) }
}

const SQL_SERVER: &str = r#"{"connector":"sqlserver","name":"crm","ts_ms":1795161600000,"ts_us":1795161600000123,"snapshot":"false","db":"crm","schema":"dbo","table":"contact","change_lsn":"00000027:00000758:0003","commit_lsn":"00000027:00000758:0005","event_serial_no":2}"#;

/// The same change in a CloudEvent: its attributes, then its data.
fn cloud_event(source: &str, op: &str, data: &str) -> Event {
    let event = parse(&cloud_event_text(source, op, data));
    text::tests::only_sets(&Debezium, &event);
    event
}

fn cloud_event_text(source: &str, op: &str, data: &str) -> String {
    let source: serde_json::Map<String, serde_json::Value> = serde_json::from_str(source).unwrap();
    let attribute = |(name, value): (&String, &serde_json::Value)| {
        // Integers of 64 bits become texts; small ones and truths stay what they are.
        let value = match value {
            serde_json::Value::Number(_) if name != "row" => format!("\"{value}\""),
            other => other.to_string(),
        };
        format!("\"iodebezium{}\":{value},", name.replace('_', ""))
    };
    let attributes: String = source.iter().map(attribute).collect();
    let op = serde_json::Value::from(op);
    format!(
        r#"{{"id":"name:crm;lsn:24023128;txId:555","source":"/debezium/postgresql/crm","specversion":"1.0","type":"io.debezium.connector.postgresql.DataChangeEvent","time":"2026-11-20T08:00:00.000Z","datacontenttype":"application/json","iodebeziumop":{op},{attributes}"iodebeziumxmin":null,"iodebeziumtxid":"729:22180096","iodebeziumtxtotalorder":null,"data":{data}}}"#
    )
}

#[test]
fn a_cloud_event_says_what_its_envelope_says() {
    let (before, after) = (r#"{"id":7,"name":"B","write_uid":2}"#, r#"{"id":7,"name":"A","write_uid":3}"#);
    let images = format!(r#"{{"before":{before},"after":{after}}}"#);
    for source in [POSTGRES, MYSQL, SQL_SERVER] {
        for data in [images.clone(), format!(r#"{{"schema":{{"type":"struct"}},"payload":{images}}}"#)] {
            let mut event = cloud_event(source, "u", &data);
            let mut expected = envelope(source, "u", before, after);
            assert!(event.uid.is_some() && event.actor.id.is_some() && event.time.is_some());
            assert_eq!(extra(&event, "cloudevents.source"), Some("/debezium/postgresql/crm"));
            assert_eq!(extra(&event, "cloudevents.id"), Some("name:crm;lsn:24023128;txId:555"));
            assert_eq!(extra(&event, "transaction"), Some(r#"{"id":"729:22180096","total_order":null}"#));
            // What neither of them maps has other names.
            event.extra.clear();
            expected.extra.clear();
            assert_eq!(event, expected);
        }
    }
}

#[test]
fn columns_of_a_row_in_a_cloud_event_are_columns_whatever_their_names() {
    let row = r#"{"id":7,"source":"web","op":"x","name":"A","payload":"p","schema":"s"}"#;
    for (op, image) in [("c", "after"), ("d", "before")] {
        let whole = format!(r#"{{"{image}":{row}}}"#);
        for data in [whole.as_str(), row] {
            let text = cloud_event_text(POSTGRES, op, data);
            let (attributes, data) = text.split_once("\"data\":").unwrap();
            let first =
                format!("{{\"data\":{},{}", &data[..data.len() - 1], &attributes[1..attributes.len() - 1]);
            for text in [text.clone(), format!("{first}}}")] {
                let event = parse(&text);
                assert_eq!(event.fields, ["id", "source", "op", "name", "payload", "schema"], "{text}");
                assert_eq!(
                    (event.target.ids.as_slice(), event.status.as_deref()),
                    (&["7".to_owned()][..], Some(op))
                );
                assert_eq!(event.tenant.as_deref(), Some("crm/odoo"));
                assert!(
                    event.extra.iter().all(|(_, value)| value != "web" && value != "A"),
                    "{:?}",
                    event.extra
                );
                assert_eq!(defects(&event), [""; 0], "{text}");
            }
        }
    }
}

#[test]
fn of_data_that_cannot_be_read_nothing_is_kept() {
    for data in [r#""AAAAAAEAAtgPCnh4eHh4IA==""#, "[1]", "7"] {
        let event = cloud_event(POSTGRES, "c", data);
        assert_eq!(defects(&event), ["unparsed:data"], "{data}");
        assert!(event.extra.iter().all(|(name, _)| !name.starts_with("data")), "{:?}", event.extra);
        assert_eq!((event.action, event.feed.as_ref()), (Some(Action::Create), "debezium/create"));
        assert_eq!((event.message, event.changes.len()), (None, 0));
    }
    for data in ["null", "{}", r#"{"schema":null,"payload":null}"#] {
        let event = cloud_event(POSTGRES, "d", data);
        assert_eq!((event.action, event.changes.len()), (Some(Action::Delete), 0), "{data}");
        assert_eq!(defects(&event), [""; 0], "{data}");
    }
}

#[test]
fn a_cloud_event_that_does_not_say_what_was_done_is_not_guessed() {
    let data = r#"{"before":null,"after":{"id":7,"write_uid":3}}"#;
    let plain =
        r#"{"id":"a","source":"/b","specversion":"1.0","type":"io.debezium.connector.mysql.DataChangeEvent""#;
    for text in [
        format!("{plain},\"data\":{data}}}"),
        format!("{plain},\"iodebeziumop\":null,\"data\":{data}}}"),
        format!("{plain},\"iodebeziumop\":[1],\"data\":{data}}}"),
    ] {
        let event = parse(&text);
        assert_eq!(defects(&event), ["missing_field:op", "time_missing"], "{text}");
        assert_eq!((event.action, event.status.as_deref(), event.actor.id.as_deref()), (None, None, None));
        assert_eq!((event.target.ids.as_slice(), event.fields.len()), (&["7".to_owned()][..], 2));
    }
}

#[test]
fn operations() {
    use Category as C;
    let row = r#"{"id":7,"name":"A"}"#;
    for (op, before, after, category, action, feed) in [
        ("c", "null", row, C::DataChange, Some(Action::Create), "debezium/create"),
        ("u", r#"{"id":7,"name":"B"}"#, row, C::DataChange, Some(Action::Update), "debezium/update"),
        ("d", row, "null", C::DataChange, Some(Action::Delete), "debezium/delete"),
        ("r", "null", row, C::Operation, Some(Action::Read), "debezium/read"),
        ("t", "null", "null", C::DataChange, Some(Action::Purge), "debezium/truncate"),
        ("m", "null", "null", C::Operation, None, "debezium/message"),
    ] {
        let event = envelope(MYSQL, op, before, after);
        assert_eq!((event.category, event.action, event.feed.as_ref()), (Some(category), action, feed));
        assert_eq!((event.status.as_deref(), event.outcome), (Some(op), Some(Outcome::Success)));
        assert_eq!(event.target.r#type.as_deref(), Some("contacts"));
        assert_eq!(event.tenant.as_deref(), Some("crm/suitecrm"));
        assert_eq!(defects(&event), [""; 0], "{op}");
        let ids: &[&str] = if matches!(op, "t" | "m") { &[] } else { &["7"] };
        assert_eq!(event.target.ids, ids);
    }
    assert_eq!(defects(&envelope(MYSQL, "x", "null", row)), ["unknown_type:x"]);
}

#[test]
fn differences_keep_the_digits() {
    let event = envelope(
        MYSQL,
        "u",
        r#"{"id":7,"name":"B","amount":10.50,"big":12345678901234567890123,"tags":["a"],"gone":1,"same":1.0}"#,
        r#"{"id":7,"name":"A","amount":10.5,"big":12345678901234567890124,"tags":["a", "b"],"note":null,"same":1.0}"#,
    );
    assert_eq!(
        event.changes,
        [
            change("name", Some("B"), Some("A")),
            change("amount", Some("10.50"), Some("10.5")),
            change("big", Some("12345678901234567890123"), Some("12345678901234567890124")),
            change("tags", Some(r#"["a"]"#), Some(r#"["a","b"]"#)),
            change("note", None, None),
            change("gone", Some("1"), None),
        ]
    );
    assert_eq!(event.fields, ["name", "amount", "big", "tags", "note", "gone"]);
    // `note` stood only in the newer image: the older one was not complete.
    assert_eq!(defects(&event), ["missing_field:before"]);
}

#[test]
fn wrapped_bare_and_flattened_say_the_same() {
    let bare =
        format!(r#"{{"before":null,"after":{{"id":7,"name":"A"}},"source":{MYSQL},"op":"c","ts_ms":1}}"#);
    let wrapped = format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{bare}}}"#);
    assert_eq!(parse(&bare), parse(&wrapped));
    let flat = parse(
        r#"{"id":7,"name":"A","__op":"c","__table":"contacts","__db":"suitecrm","__source_ts_ms":1795161600000,"__deleted":"false","__lsn":9}"#,
    );
    text::tests::only_sets(&Debezium, &flat);
    assert_eq!(flat.changes, parse(&bare).changes);
    assert_eq!((flat.action, flat.feed.as_ref()), (Some(Action::Create), "debezium/create"));
    assert_eq!(flat.target.ids, ["7"]);
    assert_eq!(flat.time, Some(Time::from_seconds(1_795_161_600)));
    assert_eq!(extra(&flat, "__lsn"), Some("9"));
    assert_eq!(defects(&flat), [""; 0]);
}

#[test]
fn a_row_alone_does_not_say_what_happened() {
    let event = parse(r#"{"id":1004,"first_name":"Anne","email":"anne@example.com"}"#);
    assert_eq!((event.category, event.action), (Some(Category::DataChange), None));
    assert_eq!(event.fields, ["id", "first_name", "email"]);
    assert_eq!(defects(&event), ["time_missing"]);
    let event = parse(r#"{"id":1004,"__deleted":"true","__ts_ms":1795161600000}"#);
    assert_eq!((event.action, event.status.as_deref()), (Some(Action::Delete), Some("d")));
    assert_eq!(event.changes, [change("id", Some("1004"), None)]);
}

#[test]
fn a_tombstone_deletes_nothing_again() {
    for text in ["null", r#"{"schema":null,"payload":null}"#] {
        let event = parse(text);
        assert_eq!((event.category, event.action), (Some(Category::Operation), None));
        assert_eq!((event.feed.as_ref(), event.clock), ("debezium/tombstone", Clock::Absent));
        assert_eq!(defects(&event), [""; 0]);
    }
}

#[test]
fn values_that_the_database_did_not_send_are_no_changes() {
    let event = envelope(
        POSTGRES,
        "u",
        r#"{"id":7,"note":"long","blob":"x","list":["a"],"name":"B"}"#,
        r#"{"id":7,"note":"__debezium_unavailable_value","blob":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==","list":["__debezium_unavailable_value"],"name":"A"}"#,
    );
    assert_eq!(event.changes, [change("name", Some("B"), Some("A"))]);
    assert_eq!(
        defects(&event),
        ["value_unavailable:note", "value_unavailable:blob", "value_unavailable:list"]
    );
}

#[test]
fn without_a_full_before_the_changes_are_not_known() {
    for before in ["null", r#"{"id":7}"#] {
        let event = envelope(POSTGRES, "u", before, r#"{"id":7,"name":"A","write_uid":2}"#);
        assert!(event.fields.contains(&"name".to_owned()));
        assert_eq!(defects(&event), ["missing_field:before"], "{before}");
        assert_eq!(event.actor.id.as_deref(), Some("2"));
    }
}

#[test]
fn actors_come_from_the_stamps_of_the_crm() {
    let actor = |op: &str, before: &str, after: &str| envelope(MYSQL, op, before, after).actor.id;
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(actor("c", "null", r#"{"id":1,"created_by":"u1"}"#), some("u1"));
    assert_eq!(actor("c", "null", r#"{"id":1,"create_uid":5,"write_uid":6}"#), some("6"));
    for column in ["modified_user_id", "write_uid", "modified_by_id", "updated_by"] {
        let before = format!(r#"{{"id":1,"n":1,"{column}":"u1"}}"#);
        let after = format!(r#"{{"id":1,"n":2,"{column}":"u2"}}"#);
        assert_eq!(actor("u", &before, &after), some("u2"), "{column}");
    }
    let stamped = r#"{"id":1,"n":2,"modified_user_id":"u1","date_modified":"2026-11-20 08:00:00"}"#;
    let newer = r#"{"id":1,"n":3,"modified_user_id":"u1","date_modified":"2026-11-20 09:00:00"}"#;
    assert_eq!(actor("u", stamped, newer), some("u1"));
    // Changed beneath the CRM: the stamp is of somebody who did not do this.
    let beneath = r#"{"id":1,"n":9,"modified_user_id":"u1","date_modified":"2026-11-20 08:00:00"}"#;
    assert_eq!(actor("u", stamped, beneath), None);
    assert_eq!(actor("d", stamped, "null"), None);
    assert_eq!(actor("r", "null", stamped), None);
    assert_eq!(actor("c", "null", r#"{"id":1,"created_by":null}"#), None);
}

#[test]
fn a_soft_deletion_is_a_deletion() {
    let action = |from: &str, to: &str| {
        envelope(
            MYSQL,
            "u",
            &format!(r#"{{"id":1,"deleted":{from}}}"#),
            &format!(r#"{{"id":1,"deleted":{to}}}"#),
        )
        .action
    };
    assert_eq!(action("0", "1"), Some(Action::Delete));
    assert_eq!(action("false", "true"), Some(Action::Delete));
    assert_eq!(action("1", "0"), Some(Action::Update));
    assert_eq!(action("\"no\"", "\"maybe\""), Some(Action::Update));
}

#[test]
fn positions_are_unique_or_absent() {
    let row = r#"{"id":7}"#;
    assert_eq!(envelope(MYSQL, "c", "null", row).uid.as_deref(), Some("crm:bin.000003:154:0:c:contacts:7"));
    assert_eq!(
        envelope(POSTGRES, "c", "null", row).uid.as_deref(),
        Some("crm:24023128:555:c:public.res_partner:7")
    );
    let keyless = r#"{"name":"A"}"#;
    assert_eq!(envelope(MYSQL, "c", "null", keyless).uid.as_deref(), Some("crm:bin.000003:154:0:c:contacts"));
    assert_eq!(envelope(POSTGRES, "c", "null", keyless).uid, None);
    for snapshot in ["true", "\"true\"", "\"last\"", "\"incremental\""] {
        let source = MYSQL.replace("\"snapshot\":\"false\"", &format!("\"snapshot\":{snapshot}"));
        assert_eq!(envelope(&source, "r", "null", keyless).uid, None, "{snapshot}");
        assert!(envelope(&source, "r", "null", row).uid.is_some());
    }
    let server = r#"{"connector":"sqlserver","name":"crm","change_lsn":"0:1","event_serial_no":1,"table":"t","ts_ms":1}"#;
    assert_eq!(envelope(server, "c", "null", keyless).uid.as_deref(), Some("crm:0:1:1:c:t"));
    let keys = parse(&format!(r#"{{"after":{{"contacts_id":"k"}},"source":{MYSQL},"op":"c"}}"#));
    assert_eq!(keys.target.ids, ["k"]);
}

#[test]
fn times_prefer_the_database() {
    let at = |source: &str, rest: &str| {
        parse(&format!(r#"{{"after":{{"id":1}},"source":{source},"op":"c"{rest}}}"#)).time.map(Time::micros)
    };
    assert_eq!(at(r#"{"ts_ms":5,"ts_us":5001}"#, r#","ts_ms":9"#), Some(5001));
    assert_eq!(at(r#"{"ts_ms":5}"#, r#","ts_ms":9"#), Some(5000));
    assert_eq!(at(r#"{"ts_ms":0}"#, r#","ts_ms":9"#), Some(9000));
    assert_eq!(at(r#"{}"#, ""), None);
    assert_eq!(at(r#"{"ts_ms":99999999999999999999}"#, ""), None);
}

#[test]
fn messages_are_decoded() {
    let event = parse(&format!(
        r#"{{"op":"m","ts_ms":1,"source":{POSTGRES},"message":{{"prefix":"audit","content":"aGVsbG8="}}}}"#
    ));
    assert_eq!((event.message.as_deref(), extra(&event, "message.prefix")), (Some("hello"), Some("audit")));
    let event = parse(&format!(r#"{{"op":"m","source":{POSTGRES},"message":{{"content":"/w=="}}}}"#));
    assert_eq!(extra(&event, "message.content"), Some("/w=="));
}

#[test]
fn what_is_not_mapped_is_kept() {
    let event = envelope(MYSQL, "c", "null", r#"{"id":7}"#);
    assert_eq!(extra(&event, "source.thread"), Some("7"));
    assert_eq!(extra(&event, "source.version"), Some("2.7.0.Final"));
    assert_eq!(extra(&event, "ts_ms"), Some("1795161600500"));
    let source = MYSQL.replace("\"query\":null", "\"query\":\"INSERT INTO contacts\"");
    assert_eq!(envelope(&source, "c", "null", "{}").query.as_deref(), Some("INSERT INTO contacts"));
    let event = parse(r#"{"op":"u","source":"x","before":3,"after":{"id":1},"ts_ms":1}"#);
    assert_eq!(defects(&event), ["missing_field:source", "bad_value:before", "missing_field:before"]);
    assert_eq!((extra(&event, "source"), extra(&event, "before")), (Some("x"), Some("3")));
}

#[test]
fn what_is_no_event_stays_visible() {
    for text in ["", "[]", "{", "\"x\"", r#"{"payload":"x"}"#] {
        let event = parse(text);
        assert_eq!(defects(&event), ["unparsed"], "{text}");
        assert_eq!(event.message.unwrap_or_default(), text);
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(
        envelope(MYSQL, "c", "null", &format!(r#"{{"id":1,"x":{deep}}}"#)).has_defect(DefectCode::TooComplex)
    );
}

#[test]
fn every_path_that_the_format_lists_is_set() {
    let source = MYSQL.replace("\"query\":null", "\"query\":\"INSERT\"");
    let events = [envelope(&source, "c", "null", r#"{"id":7,"created_by":"u1"}"#), parse("not an event")];
    text::tests::sets_all(&Debezium, &events);
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*|\\{[\"a-z_,:0-9\\[\\]{}]{0,80}\\}") {
        text::tests::only_sets(&Debezium, &parse(&text));
    }

    #[test]
    fn never_panics_on_any_envelope(op in "[cudrtmx]|\\PC", values in proptest::collection::vec("[a-z0-9]{0,4}|null", 4), names in proptest::collection::vec("id|deleted|write_uid|[a-z]{1,3}", 4)) {
        let quoted = |n: usize| if values[n] == "null" { "null".to_owned() } else { format!("\"{}\"", values[n]) };
        let before = format!(r#"{{"{}":{},"{}":{}}}"#, names[0], quoted(0), names[1], quoted(1));
        let after = format!(r#"{{"{}":{},"{}":{}}}"#, names[2], quoted(2), names[3], quoted(3));
        let op = serde_json::Value::String(op);
        let event = parse(&format!(r#"{{"op":{op},"before":{before},"after":{after},"source":{POSTGRES}}}"#));
        text::tests::only_sets(&Debezium, &event);
        let images = format!(r#"{{"before":{before},"after":{after}}}"#);
        for data in [&images, &before, &op.to_string(), "null"] {
            cloud_event(MYSQL, op.as_str().unwrap_or_default(), data);
        }
    }
}
