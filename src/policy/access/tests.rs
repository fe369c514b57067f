//! Reading, refusing and proving access policies.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const SHIPPED: &str = include_str!("../../../policies/access/crm.yaml");

const SMALL: &str = "policy: access
version: 1
owner: s@example.com
applies_to: [salesforce]
classes: { finance: [Account.AnnualRevenue] }
roles:
  - name: sales
    members: { permissions: [Salesperson] }
    may:
      - { do: [read, update], objects: [Account], except_fields: [\"@finance\"] }
";

fn refused(text: &str) -> String {
    read("a.yaml", text, "").map_or_else(|problem| problem.to_string(), |_| "accepted".into())
}

#[test]
fn the_shipped_policy_proves_its_examples() {
    let file = read("policies/access/crm.yaml", SHIPPED, "0123456789abcdef").unwrap();
    let problems: Vec<String> = file.check().iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(file.policy.file, "crm.yaml");
    assert!(file.examples() > 10);
}

#[test]
fn mistakes_are_named_with_line_and_cure() {
    let cases = [
        (SMALL.replace("policy: access", "policy: dlp"), "a.yaml:1: `policy: dlp` is not an access policy"),
        (
            SMALL.replace("[salesforce]", "[salesforc]"),
            "a.yaml:4: unknown system `salesforc` (did you mean `salesforce`?)",
        ),
        (SMALL.replace("[salesforce]", "[]"), "`applies_to` is empty"),
        (
            SMALL.replace("[read, update]", "[read, updat]"),
            "a.yaml:10: unknown action `updat` (did you mean `update`?)",
        ),
        (
            SMALL.replace("@finance", "@finanse"),
            "a.yaml:10: unknown class `@finanse` (did you mean `@finance`?)",
        ),
        (
            SMALL.replace("except_fields", "exept_fields"),
            "unknown key `exept_fields` (did you mean `except_fields`?)",
        ),
        (
            SMALL.replace("Account.AnnualRevenue", "Account.*"),
            "a.yaml:5: `Account.*` is not the name of a field",
        ),
        (
            SMALL.replace("members: { permissions: [Salesperson] }", "permissions: []"),
            "nobody can be in the role `sales`",
        ),
        (SMALL.replace("[Salesperson]", "[\"Sales*\"]"), "a pattern cannot make somebody a member"),
        (SMALL.replace("[read, update]", "[]"), "`do` is empty"),
        (SMALL.replace("objects: [Account]", "objects: [\"Acc*\"]"), "`Acc*` is not the name of an object"),
        (
            format!("{SMALL}  - name: Sales\n    members: {{ users: [a] }}\n"),
            "a.yaml:11: the role `Sales` stands twice",
        ),
        (format!("{SMALL}limits: [{{ id: x, holders_of: [A] }}]\n"), "a limit without `max` or `min`"),
        (format!("{SMALL}limits: [{{ id: x, holders_of: [A], max: 1, min: 2 }}]\n"), "`min` is above `max`"),
        (
            format!("{SMALL}limits: [{{ id: x, holders_of: [A], max: 1, controls: [pci] }}]\n"),
            "`pci` is not a control",
        ),
    ];
    for (text, expected) in cases {
        let said = refused(&text);
        assert!(said.contains(expected), "{said}\n    instead of: {expected}");
    }
    assert_eq!(refused(SMALL), "accepted");
}

#[test]
fn exceptions_need_two_people_and_an_end() {
    let exception = "exceptions:
  - { id: EX-1, rule: access.over_grant, who: a, owner: o@example.com, approved_by: c@example.com, reason: r, from: 2026-01-01, expires: 2027-01-01 }
";
    let text = format!("{SMALL}{exception}");
    assert_eq!(refused(&text), "accepted");
    for (from, to, expected) in [
        ("c@example.com", "O@example.com ", "owner and approver are the same"),
        ("expires: 2027-01-01", "expires: 2027-01-02", "within 365 days"),
        ("expires: 2027-01-01", "expires: 2025-01-01", "after it begins"),
        ("expires: 2027-01-01", "expires: never", "is not a date"),
        ("access.over_grant", "access.overgrant", "did you mean `access.over_grant`?"),
        ("reason: r", "reason: \"\"", "`reason` is empty"),
    ] {
        let said = refused(&text.replace(from, to));
        assert!(said.contains(expected), "{said}\n    instead of: {expected}");
        assert!(said.starts_with("a.yaml:12: "), "{said}");
    }
}

#[test]
fn examples_are_proved_and_required() {
    let problems = |examples: &str| -> Vec<String> {
        let file = read("a.yaml", &format!("{SMALL}examples:\n{examples}"), "").unwrap();
        file.check().iter().map(ToString::to_string).collect()
    };
    let good = "  - { name: n1, event: { category: data_access, action: read, target.type: account, fields: [Name] }, holds: [salesperson], expect: quiet }
  - { name: n2, event: { category: data_change, action: update, target.type: account, changes.field: annualrevenue }, holds: [Salesperson], expect: access.use_outside_policy }
  - { name: n3, grants: [{ principal: a, permission: Salesperson }], expect: quiet }
  - { name: n4, grants: [{ principal: a, permission: Other }], expect: access.over_grant }
";
    assert_eq!(problems(good), Vec::<String>::new());
    let wrong = problems(&good.replace("expect: quiet", "expect: access.over_grant"));
    assert!(
        wrong.contains(&"a.yaml:12: example `n1`: expected access.over_grant, but it stayed quiet".into()),
        "{wrong:?}"
    );
    assert!(wrong.contains(&"a.yaml: no example that stays quiet where access.over_grant could fire".into()));
    let wrong = problems(&good.replace("target.type", "target.typ"));
    assert!(wrong[0].contains("unknown path `target.typ` (did you mean `target.type`?)"), "{wrong:?}");
    let wrong = problems(&good.replace("action: read", "action: reed"));
    assert!(wrong[0].contains("unknown action `reed`"), "{wrong:?}");
    assert_eq!(read("a.yaml", SMALL, "").unwrap().check().len(), 4);
}
