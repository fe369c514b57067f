//! One test per event type, and the shipped sample feeds end to end; the quirks are in `quirks`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod quirks;

use super::*;
use crate::model::event::Value;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn header(names: &[&str]) -> Arc<[String]> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn parse_text(header: Option<&Arc<[String]>>, text: &str) -> Event {
    match EventLog.parse(&Record { text, header }, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("a grants line"),
    }
}

/// Parses one record given as column and value.
fn parse(cells: &[(&str, &str)]) -> Event {
    let names: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
    let values: Vec<String> =
        cells.iter().map(|(_, value)| format!("\"{}\"", value.replace('"', "\"\""))).collect();
    parse_text(Some(&header(&names)), &values.join(","))
}

/// The same with the columns that every record has.
fn parse_with(kind: &str, cells: &[(&str, &str)]) -> Event {
    let mut all = vec![
        ("EVENT_TYPE", kind),
        ("TIMESTAMP", "20261121021008.80"),
        ("REQUEST_ID", "4CgoPrqMcO-l1c"),
        ("ORGANIZATION_ID", "00D5e000001Qr7K"),
        ("USER_ID", "0055e000007KdPq"),
        ("TIMESTAMP_DERIVED", "2026-11-21T02:10:08.807Z"),
        ("USER_ID_DERIVED", "0055e000007KdPqAAK"),
    ];
    all.extend_from_slice(cells);
    parse(&all)
}

fn text(event: &Event, path: &str) -> String {
    match event.field(path) {
        None => String::new(),
        Some(Value::Text(text)) => text.into_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::List(list)) => list.join(" "),
        Some(Value::Names(names)) => names.join(" "),
    }
}

#[track_caller]
fn assert_fields(event: &Event, expected: &[(&str, &str)]) {
    for (path, value) in expected {
        assert_eq!(text(event, path), *value, "{path}");
    }
}

fn defects(event: &Event) -> Vec<String> {
    event.defects.iter().map(|defect| defect.text().into_owned()).collect()
}

fn extra(event: &Event) -> Vec<(&str, &str)> {
    event.extra.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect()
}

#[test]
fn login() {
    let event = parse_with(
        "Login",
        &[
            ("RUN_TIME", "83"),
            ("URI", "/index.jsp"),
            ("SESSION_KEY", ""),
            ("LOGIN_KEY", "QfNecrLXSII6fsBq"),
            ("USER_TYPE", "Standard"),
            ("REQUEST_STATUS", ""),
            ("LOGIN_TYPE", "A"),
            ("API_VERSION", "9998.0"),
            ("USER_NAME", "jonas.weber@example.com"),
            ("TLS_PROTOCOL", "TLSv1.3"),
            ("CIPHER_SUITE", "TLS_AES_256_GCM_SHA384"),
            ("AUTHENTICATION_METHOD_REFERENCE", "[\"pwd\",\"mfa\"]"),
            ("CLIENT_IP", "203.0.113.66"),
            ("LOGIN_STATUS", "LOGIN_NO_ERROR"),
            ("SOURCE_IP", "203.0.113.66"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("time", "2026-11-21T02:10:08.807000Z"),
            ("system", "salesforce"),
            ("feed", "salesforce.event_log/Login"),
            ("uid", "4CgoPrqMcO-l1c/Login/2026-11-21T02:10:08.807Z"),
            ("category", "authentication"),
            ("action", "login"),
            ("outcome", "success"),
            ("status", "LOGIN_NO_ERROR"),
            ("actor.id", "0055e000007KdPqAAK"),
            ("actor.name", "jonas.weber@example.com"),
            ("actor.type", "user"),
            ("client.ip", "203.0.113.66"),
            ("client.tls", "TLSv1.3"),
            ("auth.method", "A"),
            ("auth.mfa", "true"),
            ("auth.session", "QfNecrLXSII6fsBq"),
            ("tenant", "00D5e000001Qr7K"),
            ("perf.duration_ms", "83"),
            ("http.path", "/index.jsp"),
        ],
    );
    assert_eq!(
        extra(&event),
        [
            ("CIPHER_SUITE", "TLS_AES_256_GCM_SHA384"),
            ("AUTHENTICATION_METHOD_REFERENCE", "[\"pwd\",\"mfa\"]")
        ]
    );
    assert_eq!(defects(&event), [""; 0]);
}

#[test]
fn login_statuses() {
    for (status, outcome) in [
        ("LOGIN_NO_ERROR", "success"),
        ("LOGIN_ERROR_INVALID_PASSWORD", "failure"),
        ("LOGIN_ERROR_SSO_PWD_INVALID", "failure"),
        ("LOGIN_ERROR_CSS_FROZEN", "failure"),
        ("LOGIN_END_SESSION_TXN_SECURITY_POLICY", "failure"),
        ("LOGIN_CHALLENGE_ISSUED", "challenged"),
        ("LOGIN_CHALLENGE_PENDING", "challenged"),
        ("LOGIN_TWOFACTOR_REQ", "challenged"),
        ("Invalid Password", "unknown"),
        ("", ""),
    ] {
        let event = parse_with("Login", &[("LOGIN_STATUS", status)]);
        assert_fields(&event, &[("outcome", outcome), ("status", status)]);
    }
}

#[test]
fn logout_keeps_both_keys() {
    let event = parse_with(
        "Logout",
        &[
            ("USER_TYPE", "X"),
            ("USER_INITIATED_LOGOUT", "1"),
            ("SESSION_KEY", "/b1/C123g6WXplkT"),
            ("LOGIN_KEY", "OK123uSUIZVr9YzF"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/Logout"),
            ("category", "authentication"),
            ("action", "logout"),
            ("actor.type", "user"),
            ("auth.session", "OK123uSUIZVr9YzF"),
            ("extra.SESSION_KEY", "/b1/C123g6WXplkT"),
            ("extra.USER_INITIATED_LOGOUT", "1"),
            // The licence says more than `user`, so it stays.
            ("extra.USER_TYPE", "X"),
        ],
    );
}

#[test]
fn login_as_makes_the_impersonator_the_actor() {
    let event = parse_with(
        "LoginAs",
        &[
            ("DELEGATED_USER_NAME", "petra.lang@example.com"),
            ("DELEGATED_USER_ID", "0055e000007KdTu"),
            ("DELEGATED_USER_ID_DERIVED", "0055e000007KdTuAAK"),
            ("USER_TYPE", "Standard"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/LoginAs"),
            ("category", "authentication"),
            ("action", "impersonate"),
            ("actor.id", "0055e000007KdTuAAK"),
            ("actor.name", "petra.lang@example.com"),
            ("actor.on_behalf_of", "0055e000007KdPqAAK"),
            ("actor.type", ""),
        ],
    );
    assert_eq!(extra(&event), [("USER_TYPE", "Standard")]);
}

#[test]
fn report_run_and_report_rendered_as_a_file() {
    let cells = |rendering| {
        parse_with(
            "Report",
            &[
                ("URI", "/00O5e00000AbCd3"),
                ("REQUEST_STATUS", "S"),
                ("ENTITY_NAME", "Contact"),
                ("RENDERING_TYPE", rendering),
                ("REPORT_ID", "00O5e00000AbCd3"),
                ("ROW_COUNT", "8412"),
                ("URI_ID_DERIVED", "00O5e00000AbCd3EAF"),
                ("REPORT_ID_DERIVED", "00O5e00000AbCd3EAF"),
            ],
        )
    };
    let event = cells("W");
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/Report"),
            ("category", "data_access"),
            ("action", "report"),
            ("outcome", "success"),
            ("status", "S"),
            ("target.type", "Contact"),
            ("target.ids", "00O5e00000AbCd3EAF"),
            ("volume.rows", "8412"),
        ],
    );
    assert_eq!(extra(&event), [("RENDERING_TYPE", "W")]);
    for rendering in ["X", "C"] {
        assert_fields(&cells(rendering), &[("category", "export"), ("action", "export")]);
    }
}

#[test]
fn report_export_names_its_report_by_its_page() {
    let event = parse_with(
        "ReportExport",
        &[
            ("URI", "/00O5e00000AbCd3"),
            ("CLIENT_INFO", "python-requests/2.32.3"),
            ("REPORT_DESCRIPTION", "All contacts"),
            ("URI_ID_DERIVED", "00O5e00000AbCd3EAF"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/ReportExport"),
            ("category", "export"),
            ("action", "export"),
            ("target.type", "Report"),
            ("target.ids", "00O5e00000AbCd3EAF"),
            ("client.user_agent", "python-requests/2.32.3"),
            ("message", "All contacts"),
        ],
    );
    assert_eq!(extra(&event), []);
}

#[test]
fn bulk_operations() {
    for (operation, category, action) in [
        ("query", "export", "export"),
        ("queryAll", "export", "export"),
        ("insert", "data_change", "create"),
        ("update", "data_change", "update"),
        ("upsert", "data_change", "update"),
        ("delete", "data_change", "delete"),
        ("hardDelete", "data_change", "delete"),
        ("HARDDELETE", "data_change", "delete"),
        ("", "api", ""),
    ] {
        let event = parse_with(
            "BulkApi",
            &[
                ("OPERATION_TYPE", operation),
                ("ENTITY_TYPE", "Contact"),
                ("ROWS_PROCESSED", "150"),
                ("SUCCESS", "1"),
                ("MESSAGE", "done"),
            ],
        );
        assert_fields(
            &event,
            &[
                ("feed", "salesforce.event_log/BulkApi"),
                ("category", category),
                ("action", action),
                ("outcome", "success"),
                ("target.type", "Contact"),
                ("volume.rows", "150"),
                ("message", "done"),
            ],
        );
    }
    let odd = parse_with("BulkApi2", &[("OPERATION_TYPE", "explode")]);
    assert_fields(&odd, &[("category", "api"), ("extra.OPERATION_TYPE", "explode")]);
    assert_eq!(defects(&odd), ["bad_value:OPERATION_TYPE"]);
}

#[test]
fn a_bulk_job_counts_its_rows_once() {
    let state = |state: &str, count: &str| {
        parse_with(
            "BulkApi2",
            &[
                ("JOB_ID", "7505e00000n8o9T"),
                ("JOB_STATUS", state),
                ("OPERATION_TYPE", "query"),
                ("ENTITY_TYPE", "Contact"),
                ("RECORDS_PROCESSED", count),
            ],
        )
    };
    let events = [state("InProgress", "160000"), state("JobComplete", "240000")];
    assert_fields(
        &events[0],
        &[("action", "export"), ("volume.rows", ""), ("extra.RECORDS_PROCESSED", "160000"), ("outcome", "")],
    );
    assert_fields(
        &events[1],
        &[("volume.rows", "240000"), ("outcome", "success"), ("extra.JOB_ID", "7505e00000n8o9T")],
    );
    assert_fields(&state("Aborted", "5"), &[("volume.rows", "5"), ("outcome", "failure")]);
    assert_fields(&state("", "7"), &[("volume.rows", "7"), ("outcome", "")]);
}

#[test]
fn soap_calls() {
    for (method, category, action) in [
        ("query", "data_access", "list"),
        ("retrieve", "data_access", "read"),
        ("search", "data_access", "search"),
        ("create", "data_change", "create"),
        ("upsert", "data_change", "update"),
        ("delete", "data_change", "delete"),
        ("merge", "data_change", "merge"),
        ("describeSObject", "api", ""),
    ] {
        let event = parse_with(
            "API",
            &[
                ("METHOD_NAME", method),
                ("ENTITY_NAME", "Account"),
                ("ROWS_PROCESSED", "20"),
                ("RESPONSE_SIZE", "4096"),
                ("CLIENT_NAME", "example-sync"),
                ("REQUEST_STATUS", "F"),
                ("EXCEPTION_MESSAGE", "INVALID_FIELD"),
            ],
        );
        assert_fields(
            &event,
            &[
                ("feed", "salesforce.event_log/API"),
                ("category", category),
                ("action", action),
                ("outcome", "failure"),
                ("client.app", "example-sync"),
                ("volume.rows", "20"),
                ("volume.bytes", "4096"),
                ("message", "INVALID_FIELD"),
                ("extra.METHOD_NAME", method),
            ],
        );
    }
}

#[test]
fn rest_calls() {
    for (method, path, category, action) in [
        ("GET", "/services/data/v62.0/query?q=SELECT+Id", "data_access", "list"),
        ("GET", "/services/data/v62.0/search/?q=x", "data_access", "search"),
        ("GET", "/services/data/v62.0/sobjects/Account/0015e000001", "data_access", "read"),
        ("GET", "/services/data/v62.0/sobjects/Account", "api", ""),
        ("GET", "/services/data/v62.0/sobjects/Account/describe", "api", ""),
        ("POST", "/services/data/v62.0/sobjects/Account", "data_change", "create"),
        ("PATCH", "/services/data/v62.0/sobjects/Account/0015e000001", "data_change", "update"),
        ("DELETE", "/services/data/v62.0/sobjects/Account/0015e000001", "data_change", "delete"),
        ("POST", "/services/data/v62.0/composite", "api", ""),
        ("GET", "/services/apexrest/x", "api", ""),
    ] {
        let event = parse_with("RestApi", &[("METHOD", method), ("URI", path), ("STATUS_CODE", "404")]);
        assert_fields(
            &event,
            &[
                ("feed", "salesforce.event_log/RestApi"),
                ("category", category),
                ("action", action),
                ("http.method", method),
                ("http.path", path),
                ("outcome", "failure"),
                ("perf.status_code", "404"),
            ],
        );
    }
}

#[test]
fn total_usage_counts_requests_without_a_verb() {
    let event = parse_with(
        "ApiTotalUsage",
        &[
            ("HTTP_METHOD", "DELETE"),
            ("API_RESOURCE", "/v62.0/sobjects/Account/0015e000001"),
            ("STATUS_CODE", "204"),
            ("CLIENT_NAME", "self-declared"),
            ("CONNECTED_APP_NAME", "Example ERP Bridge"),
            ("USER_NAME", "integration.sync@example.com"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/ApiTotalUsage"),
            ("category", "api"),
            ("action", ""),
            ("outcome", "success"),
            ("http.method", "DELETE"),
            ("http.path", "/v62.0/sobjects/Account/0015e000001"),
            ("client.app", "Example ERP Bridge"),
            ("extra.CLIENT_NAME", "self-declared"),
            ("actor.name", "integration.sync@example.com"),
        ],
    );
}

#[test]
fn page_view() {
    let event = parse_with(
        "URI",
        &[
            ("URI", "/0015e000001AbCd"),
            ("URI_ID_DERIVED", "0015e000001AbCdAAA"),
            ("REFERRER_URI", "https://crm.example.com/home"),
            ("REQUEST_STATUS", "A"),
            ("USER_TYPE", "Guest"),
        ],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log/URI"),
            ("category", "data_access"),
            ("action", "read"),
            ("outcome", "failure"),
            ("target.ids", "0015e000001AbCdAAA"),
            ("actor.type", "guest"),
            ("extra.REFERRER_URI", "https://crm.example.com/home"),
        ],
    );
}

#[test]
fn an_unknown_type_keeps_what_all_types_share() {
    let event = parse_with(
        "FlowExecution",
        &[("QUERY", "SELECT Id FROM Contact"), ("NUMBER_OF_RECORDS", "12"), ("FLOW_LABEL", "Nightly")],
    );
    assert_fields(
        &event,
        &[
            ("feed", "salesforce.event_log"),
            ("category", ""),
            ("actor.id", "0055e000007KdPqAAK"),
            ("query", "SELECT Id FROM Contact"),
            ("volume.rows", "12"),
            ("uid", "4CgoPrqMcO-l1c/FlowExecution/2026-11-21T02:10:08.807Z"),
        ],
    );
    assert_eq!(extra(&event), [("EVENT_TYPE", "FlowExecution"), ("FLOW_LABEL", "Nightly")]);
    assert_eq!(defects(&event), ["unknown_type"]);
    assert_eq!(defects(&parse_with("", &[])), ["missing_field:EVENT_TYPE"]);
}

const SAMPLES: [&str; 5] = [
    include_str!("../../../examples/demo/feeds/salesforce/Login.csv"),
    include_str!("../../../examples/demo/feeds/salesforce/Report.csv"),
    include_str!("../../../examples/demo/feeds/salesforce/ReportExport.csv"),
    include_str!("../../../examples/demo/feeds/salesforce/BulkApi2.csv"),
    include_str!("../../../examples/demo/feeds/salesforce/API.csv"),
];

/// The records of a sample feed, each parsed from its own bytes of the file.
fn sample(file: &str) -> Vec<Event> {
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let header: Arc<[String]> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut starts = Vec::new();
    for record in reader.records() {
        starts.push(record.unwrap().position().unwrap().byte() as usize);
    }
    starts.push(file.len());
    starts.windows(2).map(|at| parse_text(Some(&header), file[at[0]..at[1]].trim_end())).collect()
}

#[test]
fn the_sample_feeds_tell_their_story() {
    let [logins, reports, exports, jobs, calls] = SAMPLES.map(sample);
    let from = |events: &[Event], ip: &str, outcome: Outcome| {
        events
            .iter()
            .filter(|event| event.client.ip.as_deref() == Some(ip) && event.outcome == Some(outcome))
            .map(|event| event.time.unwrap())
            .collect::<Vec<_>>()
    };
    let failed = from(&logins, "203.0.113.66", Outcome::Failure);
    let entered = from(&logins, "203.0.113.66", Outcome::Success);
    assert_eq!((failed.len(), entered.len()), (12, 1));
    assert!(entered[0] > failed[11] && entered[0].seconds_since(failed[0]) < 600.0);
    let session = logins.iter().find(|event| event.time == Some(entered[0])).unwrap().auth.session.clone();
    assert_eq!(exports.iter().filter(|event| event.auth.session == session).count(), 1);
    assert!(reports.iter().any(|event| event.auth.session == session));
    assert!(
        exports.iter().any(|event| event.message.as_deref().unwrap_or("").contains("4111 1111 1111 1111"))
    );
    assert!(exports.iter().any(|event| event.message.as_deref().unwrap_or("").contains('\n')));
    let contacts = |event: &&Event| event.target.r#type.as_deref() == Some("Contact");
    let moved: u64 = jobs.iter().filter(contacts).filter_map(|event| event.volume.rows).sum();
    assert_eq!(moved, 240_000);
    assert!(calls.iter().any(|event| event.has_defect(DefectCode::NotAnAddress)));
    for event in [logins, reports, exports, jobs, calls].concat() {
        assert!(event.uid.is_some() && event.time.is_some() && event.category.is_some());
        assert!(event.defects.iter().all(|defect| defect.code == DefectCode::NotAnAddress), "{event:?}");
    }
}

#[test]
fn sample_uids_are_distinct() {
    let uids: Vec<String> =
        SAMPLES.iter().flat_map(|file| sample(file)).filter_map(|event| event.uid).collect();
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), uids.len());
}

#[test]
fn sets_names_exactly_what_is_set() {
    let mut events: Vec<Event> = SAMPLES.iter().flat_map(|file| sample(file)).collect();
    events.push(parse_with(
        "RestApi",
        &[("METHOD", "GET"), ("STATUS_CODE", "200"), ("QUERY", "SELECT Id FROM Lead"), ("LOGIN_KEY", "k")],
    ));
    events.push(parse_with("LoginAs", &[("DELEGATED_USER_ID", "0055e000007KdTu")]));
    let set: BTreeSet<&str> = Event::PATHS
        .iter()
        .copied()
        .filter(|path| !matches!(*path, "observed" | "source"))
        .filter(|path| events.iter().any(|event| event.field(path).is_some()))
        .collect();
    assert_eq!(set, EventLog.sets().iter().copied().collect());
}

proptest! {
    #[test]
    fn any_text_gives_one_event_of_this_format(
        names in prop::collection::vec("EVENT_TYPE|TIMESTAMP|URI|URI#2|A|A#2|[A-Z\u{e9}\"]{0,4}", 0..8),
        text in "\\PC{0,80}|[A-Za-z0-9\",\n]{0,80}",
    ) {
        let header: Arc<[String]> = names.into();
        let event = parse_text(Some(&header), &text);
        prop_assert!(event.feed.starts_with(NAME));
        let names: BTreeSet<&str> = event.extra.iter().map(|(name, _)| name.as_ref()).collect();
        prop_assert_eq!(names.len(), event.extra.len());
    }

    #[test]
    fn any_value_in_any_column_is_survived(values in prop::collection::vec("\\PC{0,20}", 40), kind in 0usize..12) {
        let kinds = ["Login", "Logout", "LoginAs", "Report", "ReportExport", "BulkApi", "BulkApi2", "API",
            "RestApi", "ApiTotalUsage", "URI", "Other"];
        let names = ["TIMESTAMP", "TIMESTAMP_DERIVED", "REQUEST_ID", "USER_ID", "USER_ID_DERIVED", "RUN_TIME",
            "URI", "LOGIN_KEY", "SESSION_KEY", "USER_TYPE", "BROWSER_TYPE", "SOURCE_IP", "CLIENT_IP", "METHOD",
            "STATUS_CODE", "RECORDS_PROCESSED", "JOB_STATUS", "OPERATION_TYPE", "REPORT_ID", "URI_ID_DERIVED"];
        let mut cells = vec![("EVENT_TYPE", kinds[kind])];
        cells.extend(names.iter().copied().zip(values.iter().map(String::as_str)));
        let _ = parse(&cells);
    }
}
