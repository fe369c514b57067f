//! Every case of the other tests again with people behind pseudonyms: the same verdicts, and nobody in clear.

use super::*;
use crate::model::{Key, Pseudonyms};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

fn make() -> Pseudonyms {
    Pseudonyms::new(Key::new(0, Zeroizing::new([7; 32])))
}

fn hide(make: &Pseudonyms, path: &str, system: System, text: &mut String) {
    if !text.is_empty() {
        *text = make.of(path, system, text).text();
    }
}

fn hidden_grant(make: &Pseudonyms, system: System, grant: &Grant) -> Grant {
    let mut grant = grant.clone();
    if !grant.principal.starts_with("role:") {
        hide(make, "principal", system, &mut grant.principal);
        grant.name.iter_mut().for_each(|name| hide(make, "name", system, name));
    }
    grant
}

fn hidden_held(make: &Pseudonyms, held: &Held) -> Held {
    let mut hidden = Held::default();
    for scope in held.scopes() {
        let holders = held.scope(scope).unwrap();
        let grants: Vec<Grant> =
            holders.rows().map(|row| hidden_grant(make, scope.system, &row.grant())).collect();
        hidden.apply(scope, &holders.source, holders.complete, &grants, &[]);
    }
    hidden
}

fn hidden_event(make: &Pseudonyms, event: &Event) -> Event {
    let mut event = event.clone();
    let system = event.system;
    event.actor.id.iter_mut().for_each(|id| hide(make, "actor.id", system, id));
    event.actor.name.iter_mut().for_each(|name| hide(make, "actor.name", system, name));
    event.target.ids.iter_mut().for_each(|id| hide(make, "target.ids", system, id));
    event.target.name.iter_mut().for_each(|name| hide(make, "target.name", system, name));
    event
}

/// What tells one finding from another, whoever it is about.
fn kinds(findings: &[Finding]) -> Vec<(String, Severity, usize)> {
    let mut kinds: Vec<_> = findings
        .iter()
        .map(|finding| (finding.rule.clone(), finding.severity, finding.key.split('|').count()))
        .collect();
    kinds.sort();
    kinds
}

/// Nobody of these stands in any text of the findings.
fn nobody_in_clear<'a>(findings: &[Finding], people: impl Iterator<Item = &'a str>) {
    // `u1` and `owner` are part of ordinary words.
    for who in people.filter(|who| who.contains(['@', ' '])) {
        for finding in findings {
            let text = format!("{finding:?}");
            assert!(!text.contains(who), "{who} in {text}");
        }
    }
}

pub(super) fn same_verdict(rules: &Rules, held: &Held, event: &Event, plain: (&[Finding], &Coverage)) {
    let make = make();
    let (mut findings, mut coverage) = (Vec::new(), Coverage::default());
    let event = hidden_event(&make, event);
    rules.under(&make).inspect(&event, &hidden_held(&make, held), &mut findings, &mut coverage);
    assert_eq!(&coverage, plain.1);
    assert_eq!(kinds(&findings), kinds(plain.0));
    nobody_in_clear(&findings, rules.people());
}

pub(super) fn same_drift(rules: &Rules, grants: &[Grant], plain: &[Finding]) {
    let distinct = |fold: fn(&str) -> String| {
        grants.iter().map(|grant| fold(&grant.principal)).collect::<BTreeSet<_>>().len()
    };
    if distinct(str::to_owned) != distinct(str::to_lowercase) {
        return; // Two ids that differ in case are one person behind the veil.
    }
    let (make, mut findings) = (make(), Vec::new());
    let held = hidden_held(&make, &held(grants));
    rules.under(&make).snapshot(&held, SYSTEM, Some("org1"), at("2026-11-22"), &mut findings);
    assert_eq!(kinds(&findings), kinds(plain));
    let holders = grants.iter().filter(|grant| !grant.principal.starts_with("role:"));
    let people = holders.flat_map(|grant| [Some(grant.principal.as_str()), grant.name.as_deref()]).flatten();
    nobody_in_clear(&findings, rules.people().chain(people));
}

#[test]
fn an_exception_for_a_person_holds_and_names_nobody() {
    let sales = held(&[grant("u1", "Salesperson", "role")]);
    let excepted = Policy {
        exceptions: vec![Exception {
            owner: "dana.owner@example.com".into(),
            approved_by: "kim.chief@example.com".into(),
            ..exception(USE_OUTSIDE_POLICY, "U1", None)
        }],
        ..policy()
    };
    let make = make();
    let rules = Rules::new(vec![excepted]);
    let event = hidden_event(&make, &event(Action::Delete, Some("Case")));
    let (mut findings, mut coverage) = (Vec::new(), Coverage::default());
    rules.under(&make).inspect(&event, &hidden_held(&make, &sales), &mut findings, &mut coverage);
    assert_eq!((findings.len(), coverage.excepted), (1, 1));
    let detail = findings[0].detail.as_deref().unwrap();
    assert!(detail.starts_with("excepted by EX-1 until") && detail.contains("owner act:"), "{detail}");
    nobody_in_clear(&findings, rules.people());
    assert!(rules.people().any(|who| who == "dana.owner@example.com"));
}
