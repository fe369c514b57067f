//! Each action, each quirk, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::{Clock, Value};
use proptest::prelude::*;

fn parse(text: &str) -> Event {
    let record = Record { text, header: None };
    match DataverseAudit.parse(&record, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("an audit feed has no grants"),
    }
}

fn row(members: &str) -> Event {
    parse(&format!(
        r#"{{"auditid":"a1","createdon":"2026-11-20T08:00:00Z","_userid_value":"u1","_userid_value{FORMATTED}":"Nora Lindqvist"{}{members}}}"#,
        if members.is_empty() { "" } else { "," }
    ))
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

#[test]
fn codes_become_categories_and_actions() {
    use Category as C;
    for (code, category, action) in [
        (1, C::DataChange, Some(Action::Create)),
        (2, C::DataChange, Some(Action::Update)),
        (3, C::DataChange, Some(Action::Delete)),
        (13, C::DataChange, Some(Action::Assign)),
        (14, C::Sharing, Some(Action::Share)),
        (15, C::DataAccess, Some(Action::Read)),
        (48, C::Sharing, Some(Action::Share)),
        (49, C::Sharing, Some(Action::Unshare)),
        (53, C::Permission, Some(Action::Grant)),
        (54, C::Permission, Some(Action::Revoke)),
        (55, C::Permission, Some(Action::Grant)),
        (56, C::Permission, Some(Action::Revoke)),
        (57, C::Permission, Some(Action::Grant)),
        (58, C::Permission, Some(Action::Revoke)),
        (59, C::Permission, Some(Action::Grant)),
        (62, C::Operation, None),
        (64, C::Authentication, Some(Action::Login)),
        (65, C::Authentication, Some(Action::Login)),
        (102, C::AuditLog, Some(Action::Update)),
        (105, C::AuditLog, Some(Action::Enable)),
        (107, C::AuditLog, Some(Action::Enable)),
        (108, C::AuditLog, Some(Action::Disable)),
        (110, C::AuditLog, Some(Action::Disable)),
        (111, C::AuditLog, Some(Action::Purge)),
        (112, C::AuditLog, Some(Action::Enable)),
        (113, C::AuditLog, Some(Action::Disable)),
    ] {
        for code_text in [code.to_string(), format!("\"{code}\"")] {
            let event = row(&format!(r#""action":{code_text}"#));
            assert_eq!((event.category, event.action), (Some(category), action), "{code_text}");
            assert_eq!(event.status, Some(code.to_string()));
            assert_eq!(event.outcome, Some(Outcome::Success));
            assert!(event.feed.starts_with("dataverse.audit/"));
            assert_eq!(defects(&event), [""; 0]);
        }
    }
}

#[test]
fn an_ordinary_update() {
    let event = parse(concat!(
        r#"{"@odata.etag":"W/\"1\"","auditid":"a1","operation":2,"action":2,"createdon":"2026-11-20T08:00:00Z","#,
        r#""createdon@OData.Community.Display.V1.FormattedValue":"11/20/2026 9:00 AM","#,
        r#""action@OData.Community.Display.V1.FormattedValue":"Update","objecttypecode":"contact","#,
        r#""objecttypecode@OData.Community.Display.V1.FormattedValue":"Contact","_objectid_value":"c1","#,
        r#""_objectid_value@Microsoft.Dynamics.CRM.lookuplogicalname":"contact","#,
        r#""_objectid_value@OData.Community.Display.V1.FormattedValue":"Emil Hartmann","#,
        r#""_userid_value":"u1","_userid_value@OData.Community.Display.V1.FormattedValue":"Nora Lindqvist","#,
        r#""_callinguserid_value":null,"transactionid":"00000000-0000-0000-0000-000000000000","attributemask":"47,45","#,
        r#""changedata":"{\"changedAttributes\":[{\"logicalName\":\"description\",\"oldValue\":null,\"newValue\":\"5555555555554444\"},{\"logicalName\":\"ownerid\",\"oldValue\":\"systemuser,u1\",\"newValue\":\"systemuser,u2\"}]}"}"#,
    ));
    assert_eq!(event.uid.as_deref(), Some("a1"));
    assert_eq!(event.time.expect("time").to_string(), "2026-11-20T08:00:00.000000Z");
    assert_eq!(event.actor.id.as_deref(), Some("u1"));
    assert_eq!(event.actor.name.as_deref(), Some("Nora Lindqvist"));
    assert_eq!(event.actor.on_behalf_of, None);
    assert_eq!(event.target.r#type.as_deref(), Some("contact"));
    assert_eq!(event.target.ids, ["c1"]);
    assert_eq!(event.target.name.as_deref(), Some("Emil Hartmann"));
    assert_eq!(event.target.owner.as_deref(), Some("u2"));
    assert_eq!(event.fields, ["description", "ownerid"]);
    assert_eq!(event.changes[0].from, None);
    assert_eq!(event.changes[0].to.as_deref(), Some("5555555555554444"));
    let names: Vec<&str> = event.extra.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["@odata.etag", "attributemask"]);
    assert_eq!(defects(&event), [""; 0]);
}

#[test]
fn a_role_given_to_a_user() {
    let event = row(&format!(
        r#""action":55,"objecttypecode":"systemuser","_objectid_value":"u9","_regardingobjectid_value":"r1","_regardingobjectid_value{FORMATTED}":"System Administrator","_regardingobjectid_value{LOGICAL_NAME}":"role""#
    ));
    assert_eq!(event.grant.principal.as_deref(), Some("u9"));
    assert_eq!(event.grant.permission.as_deref(), Some("System Administrator"));
    assert_eq!(extra(&event, "regardingobjectid"), Some("r1"));
}

#[test]
fn a_role_row_names_its_holder_in_the_values() {
    let event = row(&format!(
        r#""action":56,"objecttypecode":"role","_objectid_value":"r1","_objectid_value{FORMATTED}":"Salesperson","changedata":{{"changedAttributes":[{{"logicalName":"systemuserid","oldValue":"systemuser,u9","newValue":null}}]}}"#
    ));
    assert_eq!(event.grant.principal.as_deref(), Some("u9"));
    assert_eq!(event.grant.permission.as_deref(), Some("Salesperson"));
    assert_eq!(event.action, Some(Action::Revoke));
}

#[test]
fn an_association_of_role_and_team_is_a_grant_and_others_are_not() {
    let tied = r#""action":33,"objecttypecode":"team","_objectid_value":"t1","changedata":"{\"changedAttributes\":[{\"logicalName\":\"x\",\"oldValue\":null,\"newValue\":\"role,r1\"}]}""#;
    let event = row(tied);
    assert_eq!((event.category, event.action), (Some(Category::Permission), Some(Action::Grant)));
    assert_eq!(event.grant.principal.as_deref(), Some("t1"));
    assert_eq!(event.grant.permission.as_deref(), Some("r1"));
    let event = row(r#""action":33,"objecttypecode":"account","_objectid_value":"c1""#);
    assert_eq!(event.category, Some(Category::DataChange));
}

#[test]
fn members_of_a_team_and_of_a_marketing_list() {
    let event = row(&format!(
        r#""action":35,"objecttypecode":"team","_objectid_value":"t1","_objectid_value{FORMATTED}":"Key Accounts","changedata":"{{\"changedAttributes\":[{{\"logicalName\":\"m\",\"oldValue\":null,\"newValue\":\"systemuser,u9\"}}]}}""#
    ));
    assert_eq!(event.grant.permission.as_deref(), Some("team:Key Accounts"));
    assert_eq!(event.grant.principal.as_deref(), Some("u9"));
    let event = row(r#""action":35,"objecttypecode":"list","_objectid_value":"l1""#);
    assert_eq!((event.category, event.action), (Some(Category::DataChange), Some(Action::Update)));
}

#[test]
fn privileges_of_a_role() {
    let event = row(&format!(
        r#""action":57,"objecttypecode":"role","_objectid_value":"r1","_objectid_value{FORMATTED}":"Marketing","changedata":"{{\"changedAttributes\":[{{\"logicalName\":\"privileges\",\"oldValue\":null,\"newValue\":\"prvExportToExcel,prvReadAccount\"}}]}}""#
    ));
    assert_eq!(event.grant.principal.as_deref(), Some("role:Marketing"));
    assert_eq!(event.grant.permission.as_deref(), Some("prvExportToExcel, prvReadAccount"));
}

#[test]
fn switches_say_which_way_they_went() {
    let changed = |action: u32, table: &str, field: &str, to: &str| {
        let event = row(&format!(
            r#""action":{action},"objecttypecode":"{table}","changedata":"{{\"changedAttributes\":[{{\"logicalName\":\"{field}\",\"oldValue\":\"x\",\"newValue\":\"{to}\"}}]}}""#
        ));
        (event.category.expect("category"), event.action.expect("action"))
    };
    assert_eq!(
        changed(104, "organization", "isauditenabled", "False"),
        (Category::AuditLog, Action::Disable)
    );
    assert_eq!(changed(102, "entity", "IsAuditEnabled", "1"), (Category::AuditLog, Action::Enable));
    assert_eq!(changed(2, "organization", "isauditenabled", "False"), (Category::AuditLog, Action::Disable));
    assert_eq!(
        changed(2, "organization", "sessiontimeoutenabled", "False"),
        (Category::Configuration, Action::Update)
    );
    assert_eq!(changed(2, "systemuser", "isdisabled", "True"), (Category::Account, Action::Disable));
    assert_eq!(changed(2, "systemuser", "isdisabled", "False"), (Category::Account, Action::Enable));
    assert_eq!(changed(3, "role", "name", "x"), (Category::Permission, Action::Delete));
    assert_eq!(changed(111, "organization", "isauditenabled", "False"), (Category::AuditLog, Action::Purge));
}

#[test]
fn an_impersonated_call_names_both_accounts() {
    let event = row(r#""action":2,"_callinguserid_value":"s1""#);
    assert_eq!(event.actor.id.as_deref(), Some("s1"));
    assert_eq!(event.actor.on_behalf_of.as_deref(), Some("u1"));
    assert_eq!(row(r#""action":2,"_callinguserid_value":"u1""#).actor.on_behalf_of, None);
}

#[test]
fn built_in_accounts_are_the_system() {
    let text = format!(
        r#"{{"action":2,"createdon":"2026-11-20T08:00:00Z","_userid_value":"s","_userid_value{FORMATTED}":"SYSTEM"}}"#
    );
    assert_eq!(parse(&text).actor.r#type, Some(ActorType::System));
}

#[test]
fn additional_user_information_is_kept_and_names_the_nameless() {
    let text = r#"{"action":2,"createdon":"2026-11-20T08:00:00Z","_userid_value":"s","useradditionalinfo":"support@example.com"}"#;
    let event = parse(text);
    assert_eq!(event.actor.name.as_deref(), Some("support@example.com"));
    assert_eq!(extra(&event, "useradditionalinfo"), Some("support@example.com"));
}

#[test]
fn values_that_dataverse_cut_are_named() {
    let event = row(
        r#""action":2,"changedata":"{\"changedAttributes\":[{\"logicalName\":\"notes\",\"oldValue\":\"abc...\",\"newValue\":\"x\"}]}""#,
    );
    assert_eq!(defects(&event), ["source_truncated:notes"]);
}

#[test]
fn changedata_that_is_no_json_is_kept() {
    let event = row(r#""action":2,"changedata":"Smith~~42~{...""#);
    assert_eq!(defects(&event), ["bad_value:changedata", "source_truncated:changedata"]);
    assert_eq!(extra(&event, "changedata"), Some("Smith~~42~{..."));
    let event =
        row(r#""action":2,"changedata":"{\"changedAttributes\":[7,{\"newValue\":\"lost?\"}],\"other\":1}""#);
    let whole = r#"{"changedAttributes":[7,{"newValue":"lost?"}],"other":1}"#;
    assert_eq!(extra(&event, "changedata"), Some(whole));
    assert_eq!(defects(&event), ["bad_value:changedata"]);
    assert_eq!(extra(&event, "changedata.other"), Some("1"));
    for empty in ["null", "\"\"", "\"{\\\"changedAttributes\\\":[]}\""] {
        assert_eq!(defects(&row(&format!(r#""action":1,"changedata":{empty}"#))), [""; 0], "{empty}");
    }
}

#[test]
fn unknown_and_missing_actions() {
    let event = row(&format!(r#""action":999,"action{FORMATTED}":"Brand New""#));
    assert_eq!(defects(&event), ["unknown_type:999"]);
    assert_eq!((event.message.as_deref(), event.feed.as_ref()), (Some("Brand New"), "dataverse.audit"));
    assert_eq!(defects(&row("")), ["missing_field:action"]);
    let event = row(r#""operation":4"#);
    assert_eq!(event.action, Some(Action::Login));
    let event = row(r#""operation":2,"action":999"#);
    assert_eq!((event.action, event.feed.as_ref()), (Some(Action::Update), "dataverse.audit"));
}

#[test]
fn times() {
    let event = parse(r#"{"action":2,"_userid_value":"u"}"#);
    assert_eq!((event.clock, defects(&event)), (Clock::Absent, vec!["time_missing".to_owned()]));
    let event = parse(r#"{"action":2,"_userid_value":"u","createdon":"yesterday"}"#);
    assert_eq!(defects(&event), ["bad_value:createdon"]);
    assert_eq!(extra(&event, "createdon"), Some("yesterday"));
}

#[test]
fn what_is_no_row_stays_visible() {
    for text in ["", "[1]", "{\"action\":", "plain text 4111111111111111"] {
        let event = parse(text);
        assert!(event.has_defect(DefectCode::Unparsed), "{text}");
        assert_eq!(event.message.unwrap_or_default(), text);
    }
    let wide = format!("{{{}}}", (0..2000).map(|n| format!("\"m{n}\":1")).collect::<Vec<_>>().join(","));
    assert!(parse(&wide).has_defect(DefectCode::TooComplex));
    let event = row(r#""action":2,"action":3,"new":{"a":[1, 2]}"#);
    assert_eq!(defects(&event), ["duplicate_name:action"]);
    assert_eq!(extra(&event, "action"), Some("3"));
    assert_eq!(extra(&event, "new"), Some(r#"{"a":[1,2]}"#));
}

#[test]
fn sample_feed_sets_what_the_format_says() {
    let feed = include_str!("../../../examples/demo/feeds/dynamics365/audit.jsonl");
    let mut events: Vec<Event> = feed.lines().map(parse).collect();
    assert!((30..=60).contains(&events.len()));
    for event in &events {
        assert_eq!(defects(event), [""; 0], "{:?}", event.uid);
        super::super::text::tests::only_sets(&DataverseAudit, event);
    }
    assert!(events.iter().any(|event| event.status.as_deref() == Some("110")));
    assert!(events.iter().any(|event| event.grant.permission.as_deref() == Some("System Administrator")));
    assert!(
        events
            .iter()
            .flat_map(|event| &event.changes)
            .any(|change| { change.to.as_deref().is_some_and(|value| value.contains("5555555555554444")) })
    );
    events.push(parse("not a row"));
    events.push(parse(&format!(r#"{{"_userid_value":"s","_userid_value{FORMATTED}":"SYSTEM"}}"#)));
    super::super::text::tests::sets_all(&DataverseAudit, &events);
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*|\\{[\"a-z_,:0-9\\[\\]{}]{0,80}\\}") {
        let _ = parse(&text);
    }

    #[test]
    fn never_panics_on_any_values(action in "\\PC{0,4}", data in "\\PC{0,40}", name in "[a-z]{1,8}|changedAttributes|logicalName") {
        let data = serde_json::json!({ "action": action, "changedata": data, name: [{ "logicalName": data }] });
        let event = parse(&data.to_string());
        super::super::text::tests::only_sets(&DataverseAudit, &event);
    }
}
