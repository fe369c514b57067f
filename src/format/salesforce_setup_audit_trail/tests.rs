//! One test per form of sentence and per quirk of the rows, and the shipped sample feed end to end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::Value;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn parse(text: &str) -> Event {
    match SetupAuditTrail.parse(&Record { text, header: None }, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("a grants line"),
    }
}

fn row(action: &str, display: &str) -> Event {
    parse(
        &serde_json::json!({
            "Id": "0Ym5e0000004108CAA", "Action": action, "Section": "Manage Users", "Display": display,
            "CreatedDate": "2026-11-21T03:02:17.000+0000", "CreatedById": "0055e000007KdTuAAK",
            "CreatedBy": {"Name": "Petra Lang", "Username": "petra.lang@example.com"}, "DelegateUser": null
        })
        .to_string(),
    )
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
        assert_eq!(text(event, path), *value, "{path} of {:?}", event.message);
    }
}

fn defects(event: &Event) -> Vec<String> {
    event.defects.iter().map(|defect| defect.text().into_owned()).collect()
}

#[test]
fn a_row_as_soql_returns_it() {
    let event = parse(
        r#"{"attributes":{"type":"SetupAuditTrail","url":"/services/data/v62.0/sobjects/SetupAuditTrail/0Ym5e0000004108CAA"},"Id":"0Ym5e0000004108CAA","Action":"insertConnectedApplication","CreatedByContext":"Einstein","CreatedById":"0055e000007KdTuAAK","CreatedByIssuer":null,"CreatedDate":"2026-11-20T14:30:00.000+0000","DelegateUser":null,"Display":"Installed Connected App Example ERP Bridge to Salesforce","Section":"Connected Apps","CreatedBy":{"attributes":{"type":"User","url":"/services/data/v62.0/sobjects/User/0055e000007KdTuAAK"},"Name":"Petra Lang","Username":"petra.lang@example.com"}}"#,
    );
    assert_fields(
        &event,
        &[
            ("time", "2026-11-20T14:30:00.000000Z"),
            ("feed", "salesforce.setup_audit_trail"),
            ("system", "salesforce"),
            ("uid", "0Ym5e0000004108CAA"),
            ("category", "configuration"),
            ("action", "install"),
            ("outcome", "success"),
            ("actor.id", "0055e000007KdTuAAK"),
            ("actor.name", "petra.lang@example.com"),
            ("actor.on_behalf_of", ""),
            ("target.type", "ConnectedApplication"),
            ("target.name", "Example ERP Bridge"),
            ("message", "Installed Connected App Example ERP Bridge to Salesforce"),
            ("client.ip", ""),
        ],
    );
    let names: Vec<&str> = event.extra.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["Action", "CreatedByContext", "Section", "CreatedBy.Name"]);
    assert_eq!(defects(&event), [""; 0]);
}

/// Action, sentence; category, action, user, ids, grant.principal, grant.permission, grant.scope, changes.
type Case = (&'static str, &'static str, [&'static str; 8]);

#[track_caller]
fn assert_cases(cases: &[Case]) {
    let paths = [
        "category",
        "action",
        "target.name",
        "target.ids",
        "grant.principal",
        "grant.permission",
        "grant.scope",
        "changes.field",
    ];
    for (action, sentence, expected) in cases {
        for code in [(*action).to_owned(), action.to_uppercase(), action.to_lowercase()] {
            let event = row(&code, sentence);
            let pairs: Vec<(&str, &str)> = paths.iter().copied().zip(expected.iter().copied()).collect();
            assert_fields(&event, &pairs);
            assert_fields(&event, &[("message", sentence), ("extra.Action", &code)]);
            assert_eq!(defects(&event), [""; 0], "{code}");
        }
    }
}

#[test]
fn assignments_of_permission_sets() {
    assert_cases(&[
        (
            "PermSetAssign",
            "Permission set System Admin Delegate: assigned to user Jonas Weber (UserID: [0055e000007KdPq])",
            [
                "permission",
                "grant",
                "Jonas Weber",
                "0055e000007KdPq",
                "Jonas Weber",
                "System Admin Delegate",
                "",
                "",
            ],
        ),
        (
            "PermSetAssign",
            "Permission set X: assigned to user jonas.weber@example.com",
            ["permission", "grant", "jonas.weber@example.com", "", "jonas.weber@example.com", "X", "", ""],
        ),
        (
            "PermSetAssign_HasExpiration",
            "Permission set X with expiration: assigned to user J W (UserID: [0055e000007KdPq]), expiring on Sat May 20 06:59:59 GMT 2027",
            ["permission", "grant", "J W", "0055e000007KdPq", "J W", "X with expiration", "", ""],
        ),
        (
            "PermSetGroupAssign",
            "Permission set group Support: assigned to user J W (UserID: [0055e000007KdPq])",
            ["permission", "grant", "J W", "0055e000007KdPq", "J W", "Support", "", ""],
        ),
        (
            "PermSetUnassign",
            "Permission set X: unassigned from user J W (UserID: [0055e000007KdPq])",
            ["permission", "revoke", "J W", "0055e000007KdPq", "J W", "X", "", ""],
        ),
        (
            "PermSetLicenseUnassign",
            "Permission set license Service removed from user J W (UserID: [0055e000007KdPq])",
            ["permission", "revoke", "J W", "0055e000007KdPq", "J W", "Service", "", ""],
        ),
        // A set whose name imitates the sentence does not move the user.
        (
            "PermSetUnassign",
            "Permission set A: assigned to user B: unassigned from user C",
            ["permission", "revoke", "C", "", "C", "A: assigned to user B", "", ""],
        ),
        ("PermSetAssign", "Something else", ["permission", "grant", "", "", "", "", "", ""]),
    ]);
}

#[test]
fn profiles_and_roles_of_users() {
    assert_cases(&[
        (
            "changedProfileForUserCustToStd",
            "Changed profile for user Lena Hoffmann from Sales to System Administrator",
            [
                "permission",
                "grant",
                "Lena Hoffmann",
                "",
                "Lena Hoffmann",
                "System Administrator",
                "",
                "Profile",
            ],
        ),
        (
            "changedroleforuserfromnone",
            "Changed role for user Lena Hoffmann from <None Specified> to Sales Lead",
            ["permission", "grant", "Lena Hoffmann", "", "Lena Hoffmann", "Sales Lead", "", "Role"],
        ),
        (
            "changedroleforusertonone",
            "Changed role for user Lena Hoffmann from Sales Lead to <None Specified>",
            ["permission", "revoke", "Lena Hoffmann", "", "Lena Hoffmann", "Sales Lead", "", "Role"],
        ),
    ]);
    let event = row("changedprofileforuser", "Changed profile for user A from Sales to Service");
    assert_eq!(event.changes[0].from.as_deref(), Some("Sales"));
    assert_eq!(event.changes[0].to.as_deref(), Some("Service"));
}

#[test]
fn permissions_inside_sets_and_profiles() {
    assert_cases(&[
        (
            "PermSetEnableUserPerm",
            "Changed permission set Ops: Modify All Data permission was changed from disabled to enabled",
            ["permission", "grant", "Ops", "", "Ops", "Modify All Data", "", "Modify All Data"],
        ),
        (
            "profilePermChangedCustom",
            "Changed profile Ops: general user permission Convert Leads was changed from enabled to disabled",
            ["permission", "revoke", "Ops", "", "Ops", "Convert Leads", "", "Convert Leads"],
        ),
        (
            "PermSetEntityPermChanged",
            "Changed permission set Ops: Account object permissions were changed from No Access to Read, Modify All",
            [
                "permission",
                "grant",
                "Ops",
                "",
                "Ops",
                "Read, Modify All",
                "Account",
                "Account object permissions",
            ],
        ),
        (
            "profileOlpChangedCustom",
            "Changed profile Ops: Account object permissions were changed from Read, Edit to Read",
            ["permission", "revoke", "Ops", "", "Ops", "Edit", "Account", "Account object permissions"],
        ),
        (
            "profileFlsChangedStandard",
            "Changed profile Ops: field-level security for Opportunity: Amount was changed from No Access to Edit",
            ["permission", "grant", "Ops", "", "Ops", "Edit", "Opportunity: Amount", "Opportunity: Amount"],
        ),
        (
            "PermSetFlsChanged",
            "Changed permission set Ops: field-level security for Lead: Phone was changed from Read Only to No Access",
            ["permission", "revoke", "Ops", "", "Ops", "Read Only", "Lead: Phone", "Lead: Phone"],
        ),
        (
            "PermissionSetGroupComponentAdd",
            "Changed permission set group Ops: group member Data Export was added",
            ["permission", "grant", "Ops", "", "Ops", "Data Export", "", ""],
        ),
        (
            "SetupEntityAccessAudit_PermissionSet_ConnectedApplication_Enabled",
            "Changed permission set Ops: Bridge connected app is enabled",
            ["permission", "grant", "Ops", "", "Ops", "Bridge connected app", "", ""],
        ),
        ("createdRole", "Created new role Sales Lead", ["permission", "create", "", "", "", "", "", ""]),
        (
            "loginasgrantedtosfdc",
            "marta.keller@example.com has granted salesforce.com login access through 11/1/2030",
            ["permission", "grant", "marta.keller@example.com", "", "salesforce.com", "login access", "", ""],
        ),
    ]);
}

#[test]
fn accounts() {
    assert_cases(&[
        ("createduser", "Created new user Nina Berg", ["account", "create", "Nina Berg", "", "", "", "", ""]),
        (
            "activateduser",
            "Activated user Nina Berg (UserID: [0055e000007KdZz])",
            ["account", "enable", "Nina Berg", "0055e000007KdZz", "", "", "", ""],
        ),
        (
            "deactivateduser",
            "Deactivated user Nina Berg (UserID: [0055e000007KdZz])",
            ["account", "disable", "Nina Berg", "0055e000007KdZz", "", "", "", ""],
        ),
        (
            "frozeuser",
            "Froze user account for Nina Berg",
            ["account", "lock", "Nina Berg", "", "", "", "", ""],
        ),
        (
            "unlockeduser",
            "Unlocked user nina@example.com (UserID: [0055e000007KdZz])",
            ["account", "unlock", "nina@example.com", "0055e000007KdZz", "", "", "", ""],
        ),
        (
            "resetpassword",
            "Reset password for user Nina",
            ["account", "password_reset", "Nina", "", "", "", "", ""],
        ),
        (
            "insertTwoFactorInfo2",
            "Time-Based Token added for nina@example.com",
            ["account", "mfa_change", "nina@example.com", "", "", "", "", ""],
        ),
        (
            "changedusername",
            "Changed username for 0055e000007KdZz from a@example.com to b@example.com",
            ["account", "update", "", "0055e000007KdZz", "", "", "", "Username"],
        ),
        (
            "PRMUserDisabled",
            "User nina@example.com disabled as a Partner user",
            ["account", "disable", "nina@example.com", "", "", "", "", ""],
        ),
    ]);
    let attempt =
        row("useremailchangesent", "Email change attempted for user N from a@example.com to b@example.com");
    assert_fields(&attempt, &[("outcome", ""), ("changes.field", "Email"), ("target.name", "N")]);
}

#[test]
fn logging_in_as_somebody_else() {
    for (action, verb) in [("suOrgAdminLogin", "impersonate"), ("suOrgAdminLogout", "logout")] {
        let event = row(action, "Logged in using Login-As access for Lena Hoffmann");
        assert_fields(
            &event,
            &[
                ("category", "authentication"),
                ("action", verb),
                ("actor.name", "petra.lang@example.com"),
                ("actor.on_behalf_of", "Lena Hoffmann"),
                ("target.name", "Lena Hoffmann"),
            ],
        );
    }
}

#[test]
fn the_delegate_is_the_one_who_acts() {
    let event = parse(
        r#"{"Action":"resetpassword","Display":"Reset password for user N","CreatedDate":"2026-11-20T11:43:51.000+0000","CreatedById":"0055e000007KdRsAAK","CreatedBy":{"Username":"lena.hoffmann@example.com"},"DelegateUser":"petra.lang@example.com"}"#,
    );
    assert_fields(
        &event,
        &[
            ("actor.name", "petra.lang@example.com"),
            ("actor.id", ""),
            ("actor.on_behalf_of", "lena.hoffmann@example.com"),
            ("extra.CreatedById", "0055e000007KdRsAAK"),
        ],
    );
}

#[test]
fn codes_without_a_form_of_their_own() {
    for (action, category, verb, wrong) in [
        ("eventLogGenerationEnabledOnOff", "audit_log", "disable", ""),
        ("eventLogGenerationEnabledOffOn", "audit_log", "enable", ""),
        ("depriveSoqlAccessOffOn", "configuration", "enable", ""),
        ("createIpWhiteList", "configuration", "create", ""),
        ("deleteIpWhiteList", "configuration", "delete", ""),
        ("changedsessiontimeout", "configuration", "update", ""),
        ("somethingNew", "configuration", "", "unknown_type"),
        ("", "", "", "missing_field:Action"),
    ] {
        let event = row(action, "Organization setup action has changed.");
        assert_fields(&event, &[("category", category), ("action", verb)]);
        assert_eq!(defects(&event).join(" "), wrong, "{action}");
    }
}

#[test]
fn times_that_are_none_and_names_that_repeat() {
    let event = parse(r#"{"Action":"resetpassword","CreatedDate":"yesterday","X":"1","X":"2"}"#);
    assert_eq!(defects(&event), ["time_missing", "bad_value:CreatedDate", "duplicate_name:X"]);
    assert_fields(&event, &[("extra.CreatedDate", "yesterday"), ("extra.X", "1"), ("extra.X#2", "2")]);
    assert_eq!(event.clock, Clock::Absent);
}

#[test]
fn what_is_no_row_keeps_its_text() {
    for (text, wrong) in
        [("{\"Action\":\"Perm", "unparsed"), ("not json", "unparsed"), (&"{\"a\":".repeat(70), "too_complex")]
    {
        let event = parse(text);
        assert_eq!((defects(&event).join(" ").as_str(), event.message.as_deref()), (wrong, Some(text)));
    }
    assert_eq!(parse("").message, None);
}

fn sample() -> Vec<Event> {
    let file = include_str!("../../../examples/demo/feeds/salesforce/setup_audit_trail.jsonl");
    file.lines().map(parse).collect()
}

#[test]
fn the_sample_feed_tells_its_story() {
    let events = sample();
    let granted = |permission: &str| {
        events.iter().any(|event| {
            event.action == Some(Action::Grant) && event.grant.permission.as_deref() == Some(permission)
        })
    };
    assert!(
        granted("System Admin Delegate") && granted("System Administrator") && granted("Modify All Data")
    );
    for event in &events {
        assert!(event.defects.is_empty() && event.action.is_some(), "{event:?}");
    }
    let uids: BTreeSet<_> = events.iter().filter_map(|event| event.uid.as_deref()).collect();
    assert_eq!(uids.len(), events.len());
}

#[test]
fn sets_names_exactly_what_is_set() {
    let events = sample();
    let set: BTreeSet<&str> = Event::PATHS
        .iter()
        .copied()
        .filter(|path| !matches!(*path, "observed" | "source"))
        .filter(|path| events.iter().any(|event| event.field(path).is_some()))
        .collect();
    assert_eq!(set, SetupAuditTrail.sets().iter().copied().collect());
}

proptest! {
    #[test]
    fn any_text_gives_one_event_of_this_format(text in "\\PC{0,80}|[{}\\[\\]\":,a-c0-9\\\\]{0,60}") {
        prop_assert_eq!(parse(&text).feed, NAME);
    }

    #[test]
    fn any_sentence_is_survived_and_kept(
        action in "PermSetAssign|changedprofileforuser|suOrgAdminLogin|profileOlpChangedCustom|PermSetFlsChanged|\
            PermSetEnableUserPerm|createduser|insertTwoFactorInfo2|loginasgrantedtosfdc|insertApplication|[a-zA-Z]{0,9}",
        parts in prop::collection::vec("Permission set |Changed profile |: | assigned to user |\\(UserID: \\[| for | from | to | user |\
            was changed from | has |access for |\\]|[a-z\u{e9}]{0,3}", 0..9),
    ) {
        let sentence = parts.concat();
        let event = row(&action, &sentence);
        prop_assert_eq!(event.message.unwrap_or_default(), sentence);
    }
}
