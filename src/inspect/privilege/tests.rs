//! The engine on tables of cases, and its invariants on random input.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::{Action, ActorType, Category, Change, Defect, DefectCode, Outcome};
use crate::model::finding::Severity;
use crate::model::grant::{Grant, GrantsLine};
use crate::model::json::no_mask;

mod properties;
mod pseudonyms;

const SYSTEM: System = System::Dynamics365;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn field(object: &str, field: &str) -> FieldName {
    FieldName { object: Some(object.to_owned()), field: field.to_owned() }
}

fn may(actions: &[Action], objects: &[&str]) -> May {
    May { actions: actions.to_vec(), objects: strings(objects), ..May::default() }
}

/// Sales may read, update accounts without one field, export 100; marketing may read two fields of contacts.
fn policy() -> Policy {
    let sales = Role {
        name: "sales".into(),
        member_permissions: strings(&["Salesperson"]),
        permissions: strings(&["Basic User", "prvRead*"]),
        may: vec![
            may(&[Action::Read, Action::List], &["Account", "Contact"]),
            May {
                except_fields: vec![field("Account", "AnnualRevenue")],
                ..may(&[Action::Update], &["Account"])
            },
            May { rows: Some(100), ..may(&[Action::Export], &["Account"]) },
        ],
        ..Role::default()
    };
    let marketing = Role {
        name: "marketing".into(),
        member_permissions: strings(&["Marketer"]),
        member_users: strings(&["mia@example.com", "0055j000000utlPAAQ"]),
        may: vec![May {
            only_fields: vec![field("Contact", "Region"), FieldName { object: None, field: "Name".into() }],
            ..may(&[Action::Read], &["Contact"])
        }],
        ..Role::default()
    };
    let admin = Role {
        name: "administrator".into(),
        member_permissions: strings(&["System Administrator"]),
        may: vec![May::default()],
        ..Role::default()
    };
    Policy {
        file: "crm.yaml".into(),
        digest: "0123456789abcdef".into(),
        systems: vec![SYSTEM],
        sources: vec!["sf-test".into()],
        roles: vec![sales, marketing, admin],
        ..Policy::default()
    }
}

fn grant(principal: &str, permission: &str, path: &str) -> Grant {
    Grant {
        principal: principal.into(),
        permission: permission.into(),
        path: path.into(),
        ..Grant::default()
    }
}

fn scope() -> Scope {
    Scope { system: SYSTEM, tenant: Some("org1".into()) }
}

fn held(grants: &[Grant]) -> Held {
    let mut held = Held::default();
    held.apply(&scope(), "grants", true, grants, &[]);
    held
}

fn at(text: &str) -> Time {
    Time::parse_date(text).unwrap()
}

fn event(action: Action, object: Option<&str>) -> Event {
    let mut event = Event {
        time: Some(at("2026-11-22")),
        observed: at("2026-11-22").plus_seconds(60),
        system: SYSTEM,
        category: Some(Category::DataAccess),
        action: Some(action),
        ..Event::default()
    };
    event.actor.id = Some("u1".into());
    event.target.r#type = object.map(str::to_owned);
    event
}

fn run(policies: Vec<Policy>, held: &Held, event: &Event) -> (Vec<Finding>, Coverage) {
    let (mut findings, mut coverage) = (Vec::new(), Coverage::default());
    let rules = Rules::new(policies);
    rules.inspect(event, held, &mut findings, &mut coverage);
    pseudonyms::same_verdict(&rules, held, event, (&findings, &coverage));
    assert_eq!(findings.len() as u64, coverage.outside, "only what is outside is a finding");
    (findings, coverage)
}

/// `quiet`, `outside`, `skipped`, or the reason why it was not observable.
fn verdict(held: &Held, event: &Event) -> String {
    let (_, coverage) = run(vec![policy()], held, event);
    let missed = coverage.reasons().find(|(_, count)| *count > 0).map(|(reason, _)| reason.to_string());
    match (coverage.allowed, coverage.outside, missed) {
        (1, 0, None) => "quiet".into(),
        (0, 1, None) => "outside".into(),
        (0, 0, Some(reason)) => reason,
        _ => "skipped".into(),
    }
}

#[test]
fn actions_objects_fields_and_rows() {
    let sales = held(&[grant("u1", "Salesperson", "role")]);
    type Case<'a> = (Action, Option<&'a str>, &'a [&'a str], Option<u64>, &'a str);
    let cases: [Case<'_>; 17] = [
        (Action::Read, Some("Account"), &[], None, "quiet"),
        (Action::Read, Some("ACCOUNT"), &["AnnualRevenue"], None, "quiet"),
        (Action::Read, Some("Account, contact"), &[], None, "quiet"),
        (Action::Read, Some("Account;Case"), &[], None, "outside"),
        (Action::Read, Some("Case"), &[], None, "outside"),
        (Action::Read, None, &[], None, "object_unknown"),
        (Action::Read, Some(" "), &[], None, "object_unknown"),
        (Action::Delete, None, &[], None, "outside"),
        (Action::Update, Some("account"), &["Name"], None, "quiet"),
        (Action::Update, Some("account"), &["Name", "annualrevenue"], None, "outside"),
        (Action::Update, Some("account"), &["Account.AnnualRevenue"], None, "outside"),
        (Action::Update, Some("account"), &["Contact.AnnualRevenue"], None, "quiet"),
        (Action::Update, Some("account"), &[], None, "fields_unknown"),
        (Action::Update, Some("Contact"), &["Name"], None, "outside"),
        (Action::Export, Some("Account"), &[], Some(100), "quiet"),
        (Action::Export, Some("Account"), &[], Some(101), "outside"),
        (Action::Export, Some("Account"), &["Name"], None, "rows_unknown"),
    ];
    for (action, object, fields, rows, expected) in cases {
        let mut event = event(action, object);
        event.fields = strings(fields);
        event.volume.rows = rows;
        assert_eq!(verdict(&sales, &event), expected, "{action} {object:?} {fields:?} {rows:?}");
        event.changes = std::mem::take(&mut event.fields)
            .into_iter()
            .map(|field| Change { field, ..Change::default() })
            .collect();
        assert_eq!(verdict(&sales, &event), expected, "{action} {object:?} changes {fields:?} {rows:?}");
    }
}

#[test]
fn only_fields_and_cut_lists() {
    let marketing = held(&[grant("u1", "marketer", "role")]);
    let mut event = event(Action::Read, Some("Contact"));
    for (fields, expected) in [
        (vec!["Region", "Name", "LastModifiedDate"], "quiet"),
        (vec!["Region", "Email"], "outside"),
        (vec!["Contact.Region"], "quiet"),
        (vec!["Account.Region"], "outside"),
        (vec![], "fields_unknown"),
    ] {
        event.fields = strings(&fields);
        assert_eq!(verdict(&marketing, &event), expected, "{fields:?}");
    }
    event.fields = strings(&["Region"]);
    event.defect(Defect::field(DefectCode::ListCut, "target.ids"));
    assert_eq!(verdict(&marketing, &event), "quiet");
    event.defect(Defect::field(DefectCode::ListCut, "fields"));
    assert_eq!(verdict(&marketing, &event), "fields_unknown");
}

#[test]
fn roles_come_from_the_event_the_grants_or_the_policy() {
    let mut nobody = event(Action::Read, Some("Account"));
    assert_eq!(verdict(&Held::default(), &nobody), "actor_unknown");
    assert_eq!(verdict(&held(&[grant("u1", "Other", "role")]), &nobody), "no_policy_role");
    nobody.actor.roles = strings(&["Something"]);
    assert_eq!(verdict(&Held::default(), &nobody), "no_policy_role");
    assert_eq!(verdict(&held(&[grant("U1", "SALESPERSON", "role")]), &nobody), "quiet");
    nobody.actor.roles = strings(&["Something", "salesperson"]);
    assert_eq!(verdict(&Held::default(), &nobody), "quiet");

    let mut by_name = event(Action::Read, Some("Account"));
    by_name.actor.id = None;
    by_name.actor.name = Some("Anna@Example.com".into());
    let anna = Grant { name: Some("anna@example.com".into()), ..grant("u1", "Salesperson", "profile") };
    assert_eq!(verdict(&held(std::slice::from_ref(&anna)), &by_name), "quiet");
    by_name.tenant = Some("org2".into());
    assert_eq!(verdict(&held(&[anna]), &by_name), "actor_unknown");

    let mut listed = event(Action::Read, Some("Account"));
    listed.actor.name = Some("MIA@example.com".into());
    assert_eq!(verdict(&Held::default(), &listed), "outside");
    listed.actor.name = None;
    listed.actor.id = Some("0055j000000utlP".into());
    assert_eq!(verdict(&Held::default(), &listed), "outside");

    let ended = Grant { expires: Some(at("2026-11-01")), ..grant("u1", "Salesperson", "role") };
    assert_eq!(verdict(&held(&[ended]), &event(Action::Read, Some("Account"))), "no_policy_role");
}

#[test]
fn thousands_of_privileges_are_searched_from_the_other_side() {
    let mut grants: Vec<Grant> = (0..500).map(|n| grant("u1", &format!("prv{n}"), "role")).collect();
    grants.push(grant("u1", "Salesperson", "role"));
    assert_eq!(verdict(&held(&grants), &event(Action::Read, Some("Account"))), "quiet");
    assert_eq!(verdict(&held(&grants), &event(Action::Read, Some("Case"))), "outside");
}

#[test]
fn what_is_not_judged() {
    let sales = held(&[grant("u1", "Salesperson", "role")]);
    let bad = event(Action::Delete, Some("Account"));
    assert_eq!(verdict(&sales, &bad), "outside");
    let change = |change: &dyn Fn(&mut Event)| {
        let mut event = bad.clone();
        change(&mut event);
        verdict(&sales, &event)
    };
    assert_eq!(change(&|event| event.outcome = Some(Outcome::Failure)), "skipped");
    assert_eq!(change(&|event| event.outcome = Some(Outcome::Unknown)), "outside");
    assert_eq!(change(&|event| event.category = Some(Category::Authentication)), "skipped");
    assert_eq!(change(&|event| event.category = None), "skipped");
    assert_eq!(change(&|event| event.actor.r#type = Some(ActorType::System)), "skipped");
    assert_eq!(change(&|event| event.system = System::Sap), "skipped");
    assert_eq!(change(&|event| event.action = None), "action_unknown");
    let account = |ids: &[&str]| {
        change(&|event| {
            event.category = Some(Category::Account);
            event.action = Some(Action::PasswordReset);
            event.target.ids = strings(ids);
        })
    };
    assert_eq!(account(&["U1"]), "skipped");
    assert_eq!(account(&[]), "skipped");
    assert_eq!(account(&["u2"]), "outside");
    let mut by_source = event(Action::Delete, Some("Account"));
    by_source.system = System::Salesforce;
    by_source.source = "sf-test".into();
    by_source.actor.roles = strings(&["Salesperson"]);
    assert_eq!(verdict(&Held::default(), &by_source), "outside");
}

#[test]
fn a_finding_says_who_what_by_which_path_and_what_to_do() {
    let anna =
        Grant { name: Some("anna@example.com".into()), ..grant("u1", "Salesperson", "team:Sales/role") };
    let mut event = event(Action::Delete, Some("Account"));
    event.actor.name = Some("anna@example.com".into());
    event.target.ids = strings(&["1", "2", "3", "4"]);
    let (findings, _) = run(vec![policy()], &held(&[anna]), &event);
    let finding = &findings[0];
    assert_eq!(finding.rule, USE_OUTSIDE_POLICY);
    assert_eq!(finding.title, "anna@example.com: delete of Account is outside of policy");
    assert_eq!(
        finding.detail.as_deref().unwrap(),
        "role sales in crm.yaml: no line of it has delete. Member because Salesperson is held by team:Sales/role."
    );
    assert_eq!(finding.target.as_deref(), Some("Account 1, 2, 3 and 1 more"));
    assert_eq!(finding.key, "dynamics365|u1|delete|Account");
    assert_eq!((finding.severity, finding.delay_seconds), (Severity::High, Some(60)));
    assert_eq!(finding.policy, "0123456789abcdef");
    assert!(finding.next.contains("anna@example.com"), "{}", finding.next);
}

#[test]
fn policies_for_one_system_add_up() {
    let sales = held(&[grant("u1", "Salesperson", "role")]);
    let mut second = policy();
    second.roles.truncate(1);
    second.roles[0].may = vec![may(&[Action::Delete], &["Account"])];
    let both = vec![policy(), second.clone()];
    assert!(run(both.clone(), &sales, &event(Action::Delete, Some("Account"))).0.is_empty());
    assert_eq!(run(both, &sales, &event(Action::Delete, Some("Case"))).0.len(), 1);
    second.roles[0].member_permissions = strings(&["Unrelated"]);
    assert_eq!(run(vec![second, policy()], &sales, &event(Action::Delete, Some("Case"))).0.len(), 1);
}

fn exception(rule: &str, who: &str, what: Option<&str>) -> Exception {
    Exception {
        id: "EX-1".into(),
        rule: rule.into(),
        who: who.into(),
        what: what.map(str::to_owned),
        owner: "owner".into(),
        approved_by: "approver".into(),
        reason: "migration".into(),
        from: at("2026-11-01"),
        expires: at("2026-12-01"),
    }
}

#[test]
fn exceptions_make_findings_quiet_but_visible_until_they_expire() {
    let sales = held(&[grant("u1", "Salesperson", "role")]);
    let severity = |exception: Exception, day: &str| {
        let mut event = event(Action::Delete, Some("Account"));
        event.time = Some(at(day));
        let policy = Policy { exceptions: vec![exception], ..policy() };
        let (findings, coverage) = run(vec![policy], &sales, &event);
        assert_eq!(coverage.excepted, u64::from(findings[0].severity == Severity::Info));
        if coverage.excepted == 1 {
            assert!(findings[0].detail.as_ref().unwrap().starts_with("excepted by EX-1 until "));
        }
        findings[0].severity
    };
    let whole = || exception(USE_OUTSIDE_POLICY, "U1", None);
    assert_eq!(severity(whole(), "2026-11-01"), Severity::Info);
    assert_eq!(severity(whole(), "2026-11-30"), Severity::Info);
    assert_eq!(severity(whole(), "2026-12-01"), Severity::High);
    assert_eq!(severity(whole(), "2026-10-31"), Severity::High);
    assert_eq!(severity(exception(USE_OUTSIDE_POLICY, "u2", None), "2026-11-02"), Severity::High);
    assert_eq!(severity(exception(OVER_GRANT, "u1", None), "2026-11-02"), Severity::High);
    assert_eq!(severity(exception(USE_OUTSIDE_POLICY, "*", Some("account")), "2026-11-02"), Severity::Info);
    assert_eq!(severity(exception(USE_OUTSIDE_POLICY, "*", Some("case")), "2026-11-02"), Severity::High);
}

fn drift(policy: Policy, grants: &[Grant]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = Rules::new(vec![policy]);
    rules.snapshot(&held(grants), SYSTEM, Some("org1"), at("2026-11-22"), &mut findings);
    pseudonyms::same_drift(&rules, grants, &findings);
    findings
}

#[test]
fn over_grants_by_every_path() {
    let cases: [(&str, &str, Option<&str>); 9] = [
        ("Basic User", "role", None),
        ("prvReadContact", "role", None),
        ("prvWriteContact", "role", Some("remove prvWriteContact from u1")),
        ("prvWriteContact", "role:Salesperson", None),
        ("prvWriteContact", "team:Sales/role:salesperson", None),
        ("Customizer", "profile", Some("remove Customizer from u1")),
        (
            "Customizer",
            "team:Project/role",
            Some(
                "take u1 out of team:Project (taking Customizer away from team:Project itself would reach 0 others)",
            ),
        ),
        (
            "Customizer",
            "permission_set_group:Ops/permission_set",
            Some("take u1 out of permission_set_group:Ops"),
        ),
        ("Customizer", "role:Unlisted", Some("remove Customizer from u1")),
    ];
    for (permission, path, fix) in cases {
        let findings = drift(policy(), &[grant("u1", "Salesperson", "role"), grant("u1", permission, path)]);
        let next = findings.first().map(|finding| finding.next.as_str());
        match fix {
            None => assert_eq!(next, None, "{permission} by {path}"),
            Some(fix) => assert!(next.unwrap().contains(fix), "{permission} by {path}: {next:?}"),
        }
    }
    let two = drift(
        policy(),
        &[
            grant("u1", "Salesperson", "role"),
            grant("u1", "Customizer", "role"),
            grant("u1", "Customizer", "team:Project/role"),
            grant("u2", "Salesperson", "role"),
            grant("u2", "Customizer", "team:Project/role"),
        ],
    );
    assert_eq!(two.len(), 2);
    assert!(
        two[0].next.starts_with("All of these are needed: remove Customizer from u1; take u1 out"),
        "{}",
        two[0].next
    );
    assert!(two[1].next.contains("would reach 1 others"), "{}", two[1].next);
    let detail = two[0].detail.as_deref().unwrap();
    assert!(
        detail.contains("Customizer is held by role, Customizer is held by team:Project/role"),
        "{detail}"
    );
    let ended = Grant { expires: Some(at("2026-11-22")), ..grant("u1", "Customizer", "role") };
    assert!(drift(policy(), &[grant("u1", "Salesperson", "role"), ended]).is_empty());
    let roleless = drift(policy(), &[grant("u3", "Basic User", "role")]);
    assert!(roleless[0].title.ends_with("without any role"), "{}", roleless[0].title);
    assert!(roleless[0].detail.as_ref().unwrap().contains("for the role sales only"));
}

#[test]
fn one_mistake_for_many_people_is_one_finding() {
    let mut grants = Vec::new();
    for number in 0..60 {
        grants.push(grant(&format!("u{number:02}"), "Salesperson", "role"));
        grants.push(grant(&format!("u{number:02}"), "Customizer", "role"));
    }
    let findings = drift(policy(), &grants);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].title.starts_with("60 people hold Customizer in dynamics365 org1"));
    let excepted = Policy { exceptions: vec![exception(OVER_GRANT, "u07", Some("Customizer"))], ..policy() };
    let findings = drift(excepted, &grants);
    assert_eq!(findings.len(), 2);
    assert_eq!((findings[0].severity, findings[0].actor.as_deref()), (Severity::Info, Some("u07")));
    assert!(findings[1].title.starts_with("59 people"));
}

fn limit(max: Option<u64>, min: Option<u64>) -> Policy {
    let limit = Limit {
        id: "few".into(),
        holders_of: strings(&["system administrator"]),
        max,
        min,
        terms: Terms::default(),
    };
    Policy { limits: vec![limit], ..policy() }
}

#[test]
fn numbers_of_holders() {
    let admin = |who: &str| grant(who, "System Administrator", "role");
    let three = [admin("a"), admin("b"), Grant { path: "team:T/role".into(), ..admin("b") }, admin("c")];
    assert!(drift(limit(Some(3), Some(3)), &three).is_empty());
    let over = drift(limit(Some(2), None), &three);
    assert_eq!(over[0].rule, TOO_MANY_HOLDERS);
    assert_eq!(over[0].title, "3 people hold system administrator in dynamics365 org1, 2 are allowed");
    assert_eq!(over[0].key, "dynamics365 org1|few");
    let mut disabled = three.clone();
    disabled[3].enabled = Some(false);
    assert!(drift(limit(Some(2), None), &disabled).is_empty());
    assert_eq!(drift(limit(None, Some(4)), &three)[0].rule, TOO_FEW_HOLDERS);
    let mut partial = Held::default();
    partial.apply(&scope(), "grants", false, &three, &[]);
    let mut findings = Vec::new();
    let rules = Rules::new(vec![limit(Some(2), Some(4))]);
    rules.snapshot(&partial, SYSTEM, Some("org1"), at("2026-11-22"), &mut findings);
    assert_eq!(findings.len(), 1, "a list that was never whole proves no lack");
    assert!(findings[0].detail.as_ref().unwrap().contains("partial"));

    let mut excepted = limit(Some(2), None);
    excepted.exceptions = vec![exception("few", "c", None)];
    let findings = drift(excepted.clone(), &three);
    assert_eq!(findings[0].severity, Severity::Info);
    excepted.limits[0].max = Some(1);
    let findings = drift(excepted, &three);
    assert!(findings[0].detail.as_ref().unwrap().contains("Not counted because of exceptions: c."));
    assert_eq!(findings[0].severity, Severity::High);
}

#[test]
fn disabled_accounts_that_keep_sensitive_permissions() {
    let with = |enabled| {
        let grants = [Grant { enabled, ..grant("a", "System Administrator", "role") }];
        drift(Policy { sensitive: strings(&["system administrator"]), ..policy() }, &grants)
    };
    assert_eq!(with(Some(false))[0].rule, DISABLED_HOLDER);
    assert!(with(Some(true)).is_empty() && with(None).is_empty());
}

fn begin() -> GrantsLine {
    GrantsLine::Begin { system: SYSTEM, tenant: Some("org1".into()), query: "q".into(), time: None }
}

fn push_all(snapshots: &mut Snapshots, held: &Held, lines: Vec<GrantsLine>) -> Vec<SnapshotResult> {
    lines.into_iter().filter_map(|line| snapshots.push("s", SYSTEM, line, held)).collect()
}

/// A whole snapshot with these rows.
fn whole(rows: &[Grant]) -> Vec<GrantsLine> {
    let end = GrantsLine::End { rows: rows.len() as u64 };
    let rows = rows.iter().cloned().map(GrantsLine::Row);
    std::iter::once(begin()).chain(rows).chain([end]).collect()
}

#[test]
fn partial_snapshots_say_why_and_remove_nothing() {
    let old = held(&[grant("a", "P", ""), grant("b", "P", "")]);
    let row = || GrantsLine::Row(grant("c", "P", ""));
    let bad = GrantsLine::Bad { why: "no json" };
    let nameless = GrantsLine::Row(grant("c", "", ""));
    let end = |rows| GrantsLine::End { rows };
    let cases = [
        (vec![begin(), row(), end(2)], vec![Lack::RowCount], 1),
        (vec![begin(), row(), begin()], vec![Lack::NoEnd], 1),
        (vec![begin(), row(), bad, end(2)], vec![Lack::BadLine], 1),
        (vec![begin(), row(), nameless, end(2)], vec![Lack::BadLine], 1),
        (vec![row(), end(1)], vec![Lack::NoBegin], 0),
        (vec![end(0)], vec![Lack::NoBegin], 0),
    ];
    for (lines, lacks, added) in cases {
        let mut snapshots = Snapshots::new(no_mask);
        let results = push_all(&mut snapshots, &old, lines);
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].lacks, lacks);
        assert!(!results[0].complete && results[0].removed.is_empty());
        assert_eq!(results[0].added.len(), added);
        let mut after = old.clone();
        results[0].apply(&mut after);
        assert_eq!(after.len().1, 2 + added);
    }
    let mut snapshots = Snapshots::new(no_mask);
    let results = push_all(&mut snapshots, &old, whole(&[grant("c", "P", "")]));
    assert!(results[0].complete);
    assert_eq!((results[0].added.len(), results[0].removed.len()), (1, 2));
    assert!(snapshots.open().next().is_none());
    push_all(&mut snapshots, &old, vec![begin(), row()]);
    assert_eq!(snapshots.close("s", &old).unwrap().lacks, [Lack::NoEnd]);
}

#[test]
fn rows_are_masked_before_anything_keeps_them() {
    fn mask(text: &str) -> Option<String> {
        text.contains("secret").then(|| "masked".to_owned())
    }
    let mut snapshots = Snapshots::new(mask);
    let mut held = Held::default();
    let row = Grant { name: Some("secret name".into()), ..grant("secret id", "P", "secret path") };
    let lines = whole(&[row]);
    push_all(&mut snapshots, &held, lines[..2].to_vec());
    assert!(!String::from_utf8(snapshots.export()).unwrap().contains("secret"));
    let results = push_all(&mut snapshots, &held, lines[2..].to_vec());
    results[0].apply(&mut held);
    let bytes = [results[0].rows_jsonl.clone(), held.export(), format!("{results:?}").into_bytes()].concat();
    assert!(!String::from_utf8(bytes).unwrap().contains("secret"));
    let line = String::from_utf8(results[0].rows_jsonl.clone()).unwrap();
    assert_eq!(
        line,
        "{\"principal\":\"masked\",\"name\":\"masked\",\"permission\":\"P\",\"path\":\"masked\"}\n"
    );
}

#[test]
fn of_two_forms_of_one_grant_the_more_permissive_counts() {
    let ends = Grant { expires: Some(at("2026-01-01")), enabled: Some(false), ..grant("a", "P", "") };
    let lasts = grant("a", "P", "");
    let mut snapshots = Snapshots::new(no_mask);
    let held = Held::default();
    let one = push_all(&mut snapshots, &held, whole(&[ends.clone(), lasts.clone()])).remove(0);
    let two = push_all(&mut snapshots, &held, whole(&[lasts, ends])).remove(0);
    assert_eq!((one.rows, one.grants), (2, 1));
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.added[0].expires, None);
}

#[test]
fn held_finds_people_and_counts_holders() {
    let held = held(&[
        Grant { name: Some("Anna".into()), ..grant("u1", "P", "role") },
        grant("u2", "p", "role"),
        grant("u2", "Q", "role"),
    ]);
    let find = |id: Option<&str>, name: Option<&str>| {
        held.principal(SYSTEM, None, id, name).map(|principal| principal.id().to_owned())
    };
    assert_eq!(find(Some("{U1}"), None).as_deref(), Some("u1"));
    assert_eq!(find(None, Some("anna")).as_deref(), Some("u1"));
    assert_eq!(find(Some("u9"), Some("U2")).as_deref(), Some("u2"));
    assert_eq!(find(Some("u9"), None), None);
    assert_eq!(held.holders(&scope(), "P", Time::EPOCH), 2);
    assert_eq!(held.len(), (2, 3));
    let u2 = held.principal(SYSTEM, Some("org1"), Some("u2"), None).unwrap();
    assert_eq!(u2.permissions(Time::EPOCH).collect::<Vec<_>>(), [("Q", "role"), ("p", "role")]);
}
