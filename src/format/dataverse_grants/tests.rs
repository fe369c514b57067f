//! Each kind of line, each encoding of depth, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> GrantsLine {
    match DataverseGrants.parse(&Record { text, header: None }, &FormatContext::default()) {
        Parsed::Grants(line) => line,
        Parsed::Event(_) => panic!("a grants feed has no events"),
    }
}

fn grant(text: &str) -> Grant {
    match parse(text) {
        GrantsLine::Row(grant) => grant,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn begin_and_end() {
    let begin = r#"{"grants":"begin","system":"dynamics365","tenant":"org1","query":"roles","time":"2026-11-22T01:00:00Z"}"#;
    assert_eq!(
        parse(begin),
        GrantsLine::Begin {
            system: System::Dynamics365,
            tenant: Some("org1".to_owned()),
            query: "roles".to_owned(),
            time: Time::parse("2026-11-22T01:00:00Z"),
        }
    );
    assert_eq!(parse(r#"{"grants":"end","rows":7}"#), GrantsLine::End { rows: 7 });
    assert_eq!(parse(r#"{"grants":"end","rows":"7"}"#), GrantsLine::End { rows: 7 });
}

#[test]
fn our_own_row() {
    let expected = Grant {
        principal: "u1".to_owned(),
        name: Some("Nora".to_owned()),
        permission: "Salesperson".to_owned(),
        scope: "Nordics".to_owned(),
        path: "role".to_owned(),
        enabled: Some(true),
        expires: Time::parse("2027-01-01T00:00:00Z"),
    };
    assert_eq!(
        grant(
            r#"{"principal":"u1","name":"Nora","permission":"Salesperson","scope":"Nordics","path":"role","enabled":true,"expires":"2027-01-01"}"#
        ),
        expected
    );
}

#[test]
fn a_role_of_a_user_directly_and_through_a_team() {
    let direct = grant(
        r#"{"systemuserid":"u1","fullname":"Nora","domainname":"nora@example.com","role_name":"Salesperson","businessunit":"Nordics","isdisabled":"False","@odata.etag":"x"}"#,
    );
    assert_eq!(
        (direct.path.as_str(), direct.enabled, direct.scope.as_str()),
        ("role", Some(true), "Nordics")
    );
    let team = grant(
        r#"{"systemuserid":"u1","domainname":"nora@example.com","role_name":"Salesperson","team":"Key Accounts","isdisabled":true}"#,
    );
    assert_eq!((team.path.as_str(), team.enabled), ("team:Key Accounts/role", Some(false)));
    assert_eq!(team.name.as_deref(), Some("nora@example.com"));
    assert_eq!(grant(r#"{"teamid":"t1","role_name":"Salesperson"}"#).principal, "t1");
}

#[test]
fn depth_as_mask_and_as_ordinal() {
    let scope =
        |depth: &str| match parse(&format!(r#"{{"role_name":"R","privilege":"prvReadAccount",{depth}}}"#)) {
            GrantsLine::Row(grant) => {
                assert_eq!(
                    (grant.principal.as_str(), grant.permission.as_str()),
                    ("role:R", "prvReadAccount")
                );
                Some(grant.scope)
            }
            _ => None,
        };
    for (depth, word) in [
        (r#""privilegedepthmask":1"#, Some("basic")),
        (r#""privilegedepthmask":2"#, Some("local")),
        (r#""privilegedepthmask":4"#, Some("deep")),
        (r#""privilegedepthmask":"8""#, Some("global")),
        (r#""privilegedepthmask":12"#, Some("global")),
        (r#""privilegedepthmask":0"#, None),
        (r#""privilegedepthmask":16"#, None),
        (r#""depth":0"#, Some("basic")),
        (r#""depth":1"#, Some("local")),
        (r#""depth":3"#, Some("global")),
        (r#""depth":"Global""#, Some("global")),
        (r#""depth":8"#, None),
        (r#""depth":3,"privilegedepthmask":8"#, None),
        (r#""other":1"#, None),
    ] {
        assert_eq!(scope(depth).as_deref(), word, "{depth}");
    }
}

#[test]
fn bad_rows_are_bad_and_never_weaker_grants() {
    for text in [
        "",
        "null",
        "{}",
        "not json",
        r#"{"grants":"middle"}"#,
        r#"{"grants":"end"}"#,
        r#"{"grants":"end","rows":-1}"#,
        r#"{"grants":"begin","system":"lotus"}"#,
        r#"{"grants":"begin","time":"soon"}"#,
        r#"{"principal":"u1"}"#,
        r#"{"principal":"  ","permission":"x"}"#,
        r#"{"principal":"u1","permission":"x","enable":false}"#,
        r#"{"principal":"u1","permission":"x","enabled":"maybe"}"#,
        r#"{"principal":"u1","permission":"x","permission":"y"}"#,
        r#"{"principal":"u1","permission":"x","expires":"never"}"#,
        r#"{"role_name":"R"}"#,
        r#"{"systemuserid":"u1","isdisabled":false}"#,
    ] {
        assert!(matches!(parse(text), GrantsLine::Bad { .. }), "{text}");
    }
}

#[test]
fn sample_feed_is_one_complete_snapshot() {
    let feed = include_str!("../../../examples/demo/feeds/dynamics365/grants.jsonl");
    let lines: Vec<GrantsLine> = feed.lines().map(parse).collect();
    let grants: Vec<&Grant> = lines
        .iter()
        .filter_map(|line| if let GrantsLine::Row(grant) = line { Some(grant) } else { None })
        .collect();
    assert!(matches!(lines.first(), Some(GrantsLine::Begin { .. })));
    assert_eq!(lines.last(), Some(&GrantsLine::End { rows: grants.len() as u64 }));
    assert_eq!(lines.len(), grants.len() + 2);
    let admins: std::collections::BTreeSet<&str> = grants
        .iter()
        .filter(|grant| grant.permission == "System Administrator")
        .map(|grant| grant.principal.as_str())
        .collect();
    assert!(admins.len() >= 5);
    let mut identities: Vec<_> = grants.iter().map(|grant| grant.identity()).collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), grants.len());
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*|\\{[\"a-z_,:0-9\\[\\]{}]{0,80}\\}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_row_is_a_row_or_bad(values in proptest::collection::vec("\\PC{0,8}|[0-9]{1,3}", 5)) {
        let row = serde_json::json!({
            "role_name": values[0], "privilege": values[1], "privilegedepthmask": values[2],
            "systemuserid": values[3], "isdisabled": values[4],
        });
        let is_row = matches!(parse(&row.to_string()), GrantsLine::Row(_) | GrantsLine::Bad { .. });
        prop_assert!(is_row);
    }
}
