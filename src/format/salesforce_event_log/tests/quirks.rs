//! One test per quirk of the files.

use super::*;

#[test]
fn times_of_both_columns() {
    let cases: [(&str, &str, &str, &[&str]); 7] = [
        ("20211019050707.13", "2021-10-19T05:07:07.128Z", "2021-10-19T05:07:07.128000Z", &[]),
        ("20211019050707.13", "", "2021-10-19T05:07:07.130000Z", &[]),
        ("20220803011210", "", "2022-08-03T01:12:10.000000Z", &[]),
        ("20220803011210", "soon", "2022-08-03T01:12:10.000000Z", &["bad_value:TIMESTAMP_DERIVED"]),
        ("20220803011210", "2023-08-03T01:12:10Z", "2023-08-03T01:12:10.000000Z", &[]),
        ("20221399011210", "", "", &["bad_value:TIMESTAMP", "time_missing"]),
        ("", "", "", &["time_missing"]),
    ];
    for (compact, derived, expected, wrong) in cases {
        let event = parse(&[("EVENT_TYPE", "Login"), ("TIMESTAMP", compact), ("TIMESTAMP_DERIVED", derived)]);
        assert_fields(&event, &[("time", expected)]);
        assert_eq!(defects(&event), wrong, "{compact} {derived}");
        assert_eq!(event.clock, if expected.is_empty() { Clock::Absent } else { Clock::Certain });
    }
    // A column that says something else is evidence, and stays.
    let event = parse(&[
        ("EVENT_TYPE", "Login"),
        ("TIMESTAMP", "20220803011210"),
        ("TIMESTAMP_DERIVED", "2023-08-03T01:12:10Z"),
    ]);
    assert_eq!(extra(&event), [("TIMESTAMP", "20220803011210")]);
}

#[test]
fn addresses_and_words_in_address_columns() {
    let cases: [(&str, &str, &str, &[&str]); 6] = [
        ("103.0.113.7", "Salesforce.com IP", "103.0.113.7", &["not_an_address:CLIENT_IP"]),
        ("", "Salesforce.com IP", "", &["not_an_address:CLIENT_IP"]),
        ("x", "192.0.2.9", "192.0.2.9", &["not_an_address:SOURCE_IP"]),
        ("203.0.113.1", "203.0.113.1", "203.0.113.1", &[]),
        ("203.0.113.1", "192.0.2.9", "203.0.113.1", &[]),
        ("", "2001:DB8::", "2001:db8::", &[]),
    ];
    for (source, client, ip, wrong) in cases {
        let event = parse_with("Login", &[("SOURCE_IP", source), ("CLIENT_IP", client)]);
        assert_fields(&event, &[("client.ip", ip)]);
        assert_eq!(defects(&event), wrong, "{source} {client}");
        if client == "Salesforce.com IP" || (client == "192.0.2.9" && ip == "203.0.113.1") {
            assert_fields(&event, &[("extra.CLIENT_IP", client)]);
        }
    }
}

#[test]
fn user_agents_may_be_percent_encoded() {
    for (raw, decoded) in [
        ("Mozilla/5.0 (rv%3A50.0)", "Mozilla/5.0 (rv:50.0)"),
        ("Go-http-client/1.1", "Go-http-client/1.1"),
        ("100% sure%2", "100% sure%2"),
        ("%ff", "%ff"),
        ("13050000", "13050000"),
    ] {
        assert_fields(&parse_with("Login", &[("BROWSER_TYPE", raw)]), &[("client.user_agent", decoded)]);
    }
}

#[test]
fn numbers_that_are_none_are_kept() {
    let event = parse_with("Report", &[("RUN_TIME", "-5"), ("ROW_COUNT", "many"), ("STATUS_CODE", "")]);
    assert_fields(&event, &[("perf.duration_ms", ""), ("volume.rows", "")]);
    assert_eq!(extra(&event), [("RUN_TIME", "-5"), ("ROW_COUNT", "many")]);
    assert_eq!(defects(&event), ["bad_value:RUN_TIME", "bad_value:ROW_COUNT"]);
}

#[test]
fn sentinel_versions_say_nothing() {
    let event = parse_with("Logout", &[("API_VERSION", "9998.0"), ("CLIENT_VERSION", "9998")]);
    assert_eq!(extra(&event), []);
    let event = parse_with("Logout", &[("API_VERSION", "62.0"), ("CLIENT_VERSION", "7")]);
    assert_eq!(extra(&event), [("API_VERSION", "62.0"), ("CLIENT_VERSION", "7")]);
}

#[test]
fn an_unknown_user_of_a_failed_login_is_known_by_name_only() {
    let event = parse(&[("EVENT_TYPE", "Login"), ("USER_ID", ""), ("USER_NAME", "omar.hadad@example.com")]);
    assert_fields(&event, &[("actor.id", ""), ("actor.name", "omar.hadad@example.com")]);
}

#[test]
fn ids_that_differ_are_both_kept() {
    let event = parse(&[("EVENT_TYPE", "Login"), ("USER_ID", "a"), ("USER_ID_DERIVED", "b")]);
    assert_fields(&event, &[("actor.id", "b"), ("extra.USER_ID", "a")]);
}

#[test]
fn wrong_column_counts_are_mapped_by_name() {
    let names = header(&["EVENT_TYPE", "USER_ID", "URI"]);
    let short = parse_text(Some(&names), "\"Login\",\"u1\"");
    assert_fields(&short, &[("actor.id", "u1"), ("action", "login")]);
    assert!(short.has_defect(DefectCode::ColumnCount));
    let long = parse_text(Some(&names), "\"Login\",\"u1\",\"/x\",\"more\",\"\",\"most\"");
    assert_eq!(extra(&long), [("#4", "more"), ("#6", "most")]);
    assert!(long.has_defect(DefectCode::ColumnCount));
}

#[test]
fn repeated_columns_get_distinct_names() {
    let event = parse(&[
        ("EVENT_TYPE", "Login"),
        ("URI", "/a"),
        ("URI", "/b"),
        ("NEW_ONE", "1"),
        ("NEW_ONE", "2"),
        ("NEW_ONE", "3"),
    ]);
    assert_fields(&event, &[("http.path", "/a")]);
    assert_eq!(extra(&event), [("URI#2", "/b"), ("NEW_ONE", "1"), ("NEW_ONE#2", "2"), ("NEW_ONE#3", "3")]);
    assert_eq!(defects(&event), ["time_missing", "duplicate_name:URI", "duplicate_name:NEW_ONE"]);
}

#[test]
fn values_with_newlines_and_quotes() {
    let event = parse_with("ReportExport", &[("REPORT_DESCRIPTION", "first\nsecond, \"quoted\"")]);
    assert_fields(&event, &[("message", "first\nsecond, \"quoted\"")]);
    let names = header(&["EVENT_TYPE", "URL", "STACK_TRACE"]);
    let event = parse_text(Some(&names), "\"ApexCallout\",\"\"\"https://x.example.com\"\"\",\"open");
    assert_fields(&event, &[("extra.URL", "\"https://x.example.com\""), ("extra.STACK_TRACE", "open")]);
    assert!(defects(&event).contains(&"bad_value:quotes".to_owned()));
}

#[test]
fn a_byte_order_mark_does_not_hide_the_first_column() {
    let names = header(&["\u{feff}EVENT_TYPE", "URI"]);
    assert_fields(&parse_text(Some(&names), "\"Login\",\"/\""), &[("action", "login")]);
}

#[test]
fn without_header_or_text_only_the_text_is_kept() {
    let event = parse_text(None, "\"Login\",\"x\"");
    assert_eq!(
        (defects(&event), event.message.as_deref()),
        (vec!["unparsed".to_owned()], Some("\"Login\",\"x\""))
    );
    let event = parse_text(Some(&header(&["EVENT_TYPE"])), "  ");
    assert_eq!(defects(&event), ["unparsed"]);
}

#[test]
fn more_columns_than_the_limit_are_kept_in_one_piece() {
    let event = parse_text(Some(&header(&["EVENT_TYPE"])), &"x,".repeat(2000));
    assert!(event.has_defect(DefectCode::TooComplex));
    assert_eq!(event.extra.len(), 1025);
    assert_eq!(
        event.extra.last().map(|(name, value)| (name.as_ref(), value.len())),
        Some(("#1025", 2 * 976))
    );
}
