//! Policies as a whole: what is read, what is refused and with which words.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

const SHIPPED: &[(&str, &str)] = &[
    ("detections/audit_switched_off.yaml", include_str!("../../policies/detections/audit_switched_off.yaml")),
    ("detections/bulk_rows.yaml", include_str!("../../policies/detections/bulk_rows.yaml")),
    (
        "detections/failed_logins_then_success.yaml",
        include_str!("../../policies/detections/failed_logins_then_success.yaml"),
    ),
    (
        "detections/sensitive_role_granted.yaml",
        include_str!("../../policies/detections/sensitive_role_granted.yaml"),
    ),
];

fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn shipped_detections_prove_themselves() {
    let policies = Policies::load(&files(SHIPPED), &[]).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"));
    });
    let ids: Vec<&str> = policies.detections.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "detection.audit_switched_off",
            "detection.bulk_rows",
            "detection.failed_logins_then_success",
            "detection.sensitive_role_granted"
        ]
    );
    assert_eq!(policies.files.len(), 4);
}

#[test]
fn failed_logins_are_told_once_with_numbers() {
    let (name, text) = SHIPPED[2];
    let read = detection::read(name, text).unwrap();
    let mut engine = Engine::new(&[read.rule]).unwrap();
    let mut findings = Vec::new();
    let mut events = read.examples[0].events().unwrap();
    let last = events.last().unwrap().clone();
    events.push(last);
    for event in events {
        let matches = engine.evaluate(&event);
        engine.correlate(&event, &matches, &mut findings);
    }
    let [finding] = findings.as_slice() else { panic!("{} findings", findings.len()) };
    assert_eq!(finding.title, "Login succeeded after many failures: dana@acme.example");
    assert_eq!(
        finding.detail.as_deref(),
        Some(
            "Failed logins (12), then Successful login (1) within 20 min; system salesforce, actor dana@acme.example"
        )
    );
    assert_eq!(finding.key, "detection.failed_logins_then_success|salesforce|dana@acme.example");
    assert_eq!(finding.actor.as_deref(), Some("0055e000001XXXXAA2"));
    assert!(finding.controls.contains(&"pci-dss/10.2.1.4".to_owned()));
    assert_eq!(finding.window_seconds, 3600);
    assert_eq!(finding.policy, digest(text).hex()[..16]);
}

#[test]
fn single_events_are_told_with_their_values() {
    let (name, text) = SHIPPED[1];
    let read = detection::read(name, text).unwrap();
    let mut engine = Engine::new(&[read.rule]).unwrap();
    let event = read.examples[0].events().unwrap().remove(0);
    let mut findings = Vec::new();
    engine.correlate(&event, &engine.evaluate(&event), &mut findings);
    let finding = findings.remove(0);
    assert_eq!(finding.title, "Bulk read or export: dana@acme.example");
    assert_eq!(finding.detail.as_deref(), Some("action export, outcome success, volume.rows 125000"));
    assert_eq!(finding.target.as_deref(), Some("Contact"));
    assert_eq!(finding.key, "detection.bulk_rows|salesforce|dana@acme.example");
}

fn problems(list: &[(&str, &str)], formats: &[FormatSets<'_>]) -> Vec<String> {
    match Policies::load(&files(list), formats) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// A small rule that is good as it stands.
const GOOD: &str = "title: Deleted\n\
    level: high\n\
    detection:\n\
    \x20 selection:\n\
    \x20   action: delete\n\
    \x20   target.type: Account\n\
    \x20 condition: selection\n\
    crmwarden:\n\
    \x20 next: Ask.\n\
    \x20 requires: [action, target.type]\n\
    \x20 examples:\n\
    \x20   - - { time: 2026-01-05T09:00:00Z, action: delete, target.type: Account }\n\
    \x20 counter_examples:\n\
    \x20   - - { time: 2026-01-05T09:00:00Z, action: update, target.type: Account }\n";

/// What is said when this stands in the rule instead of that.
fn said(instead: &str, this: &str) -> String {
    assert!(GOOD.contains(instead));
    problems(&[("detections/x.yaml", &GOOD.replacen(instead, this, 1))], &[]).join("\n")
}

#[test]
fn good_is_good_and_nothing_is_a_policy() {
    assert!(problems(&[("detections/x.yaml", GOOD)], &[]).is_empty());
    let none = Policies::load(&[], &[]).unwrap();
    assert!(none.detections.is_empty() && none.files.is_empty());
}

#[test]
fn mistakes_name_file_line_and_cure() {
    let cases = [
        (
            "target.type: Account\n  condition",
            "target.typ: Account\n  condition",
            "detections/x.yaml:6: there is no field `target.typ` (did you mean `target.type`?)",
        ),
        (
            "action: delete\n",
            "action: delte\n",
            "detections/x.yaml:5: `delte` is no action, so this can never match (did you mean `delete`?)",
        ),
        (
            "level: high",
            "level: hihg",
            "detections/x.yaml:2: unknown level `hihg` (one of informational, low, medium, high, critical)",
        ),
        ("level: high\n", "", "detections/x.yaml:7: the reported rule needs a `level:`"),
        ("level: high\n", "lvel: high\n", "detections/x.yaml:2: unknown key `lvel` (did you mean `level`?)"),
        (
            "condition: selection",
            "condition: selction",
            "detections/x.yaml:3: not a Sigma rule: unknown detection identifier: selction",
        ),
        (
            "next: Ask.",
            "next: Ask.\n  window: 1y",
            "detections/x.yaml:10: not a duration (a whole number with s, m, h, d or w: 20m, 1h, 90d)",
        ),
        (
            "action: delete, target.type: Account }",
            "action: create, target.type: Account }",
            "detections/x.yaml:8: example 1: is not reported, but must be",
        ),
        (
            "action: update",
            "action: delete",
            "detections/x.yaml:8: counter_example 1: is reported, but must not be",
        ),
        (
            "action: update",
            "acton: update",
            "detections/x.yaml:8: counter_example 1: event 1: there is no field `acton`; did you mean `action`?",
        ),
        (
            "  counter_examples:\n    - - { time: 2026-01-05T09:00:00Z, action: update, target.type: Account }\n",
            "",
            "detections/x.yaml:8: a rule needs examples and counter_examples (at least one list of events each)",
        ),
        (
            "next: Ask.",
            "next: Ask.\n  id: Bad-Id",
            "detections/x.yaml:10: `Bad-Id` is no rule id (a-z, 0-9 and _)",
        ),
        (
            "crmwarden:\n  next: Ask.\n",
            "crmwarden:\n  nxt: Ask.\n",
            "detections/x.yaml:9: unknown key `nxt` (did you mean `next`?)",
        ),
    ];
    for (instead, this, expected) in cases {
        assert_eq!(said(instead, this), expected, "{this}");
    }
}

#[test]
fn a_field_that_no_feed_has_can_never_fire() {
    let formats: &[FormatSets<'_>] = &[("sap.audit", &["action", "actor.id"]), ("web.log", &["target.type"])];
    assert_eq!(
        problems(&[("detections/x.yaml", GOOD)], formats),
        ["detections/x.yaml:5: no shipped format sets all of `requires:`; `sap.audit` lacks target.type"
            .replace(":5:", ":6:")]
    );
    assert_eq!(
        problems(&[("detections/x.yaml", GOOD)], &[("sap.audit", &["action", "target.types"])]),
        ["detections/x.yaml:6: no shipped format sets `target.type`, so this can never match (did you mean \
          `target.types`?)"]
    );
    assert!(problems(&[("detections/x.yaml", GOOD)], &[("f", &["action", "target.type"])]).is_empty());
}

#[test]
fn folders_say_what_a_file_is() {
    assert_eq!(
        problems(&[("p/quality/a.yaml", ""), ("p/detection/b.yaml", ""), ("c.yaml", "")], &[]),
        [
            "c.yaml: `/` is no kind of policy (a policy stands in one of dlp/, access/, detections/, operations/, frameworks/)",
            "p/detection/b.yaml: `detection/` is no kind of policy (did you mean `detections/`?)",
            "p/quality/a.yaml: policies in `quality/` are not built yet (move the file out of the policy folder)",
        ]
    );
    assert_eq!(
        problems(&[("detections/x.yaml", GOOD), ("more/detections/x.yaml", GOOD)], &[]),
        [
            "more/detections/x.yaml:8: `detection.x` is already the id of detections/x.yaml (give it an `id:` of its own)"
        ]
    );
}

#[test]
fn the_digest_knows_names_and_texts_but_not_the_order() {
    let digest = |list: &[(&str, &str)]| Policies::load(&files(list), &[]).unwrap().digest;
    let empty = "policy: dlp\nversion: 1\nrules: []\n";
    let other = "policy: dlp\nversion: 1\nrules: [] # another\n";
    let one = digest(&[("dlp/a.yaml", empty), ("dlp/b.yaml", empty)]);
    assert_eq!(one, digest(&[("dlp/b.yaml", empty), ("dlp/a.yaml", empty)]));
    assert_ne!(one, digest(&[("dlp/a.yaml", empty), ("dlp/c.yaml", empty)]));
    assert_ne!(one, digest(&[("dlp/a.yaml", empty), ("dlp/b.yaml", other)]));
    assert_eq!(one, digest(&[("/etc/p/dlp/a.yaml", empty), ("/etc/p/dlp/b.yaml", empty)]));
}

/// A correlation over two parts; `{}` is where the cases differ.
fn correlated(change: impl Fn(String) -> String) -> String {
    let text = "title: A\nname: a\ndetection: { s: { action: read }, condition: s }\n---\n\
        # Words between documents are fine.\n---\n\
        title: C\nlevel: low\ncorrelation:\n  type: event_count\n  rules: [a]\n  group-by: [actor.id]\n\
        \x20 timespan: 5m\n  condition: { gte: 2 }\ncrmwarden:\n  next: Look.\n";
    match detection::read("detections/c.yaml", &change(text.to_owned())) {
        Ok(_) => "fine".to_owned(),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn correlations_are_checked() {
    let cases = [
        ("", "", "fine"),
        (
            "rules: [a]",
            "rules: [b]",
            "11: no document above is named `b` (a correlation refers to documents of its own file that stand above it)",
        ),
        ("rules: [a]", "rules: [a, a]", "11: `a` is named twice"),
        ("rules: [a]", "rules: []", "11: a correlation needs at least one rule"),
        (
            "type: event_count",
            "type: event_cuont",
            "10: unknown correlation type `event_cuont` (did you mean `event_count`?)",
        ),
        ("[actor.id]", "[actor.idd]", "12: there is no field `actor.idd` (did you mean `actor.id`?)"),
        (
            "timespan: 5m",
            "timespan: 5",
            "13: not a duration (a whole number with s, m, h, d or w: 20m, 1h, 90d)",
        ),
        ("timespan: 5m", "timspan: 5m", "13: unknown key `timspan` (did you mean `timespan`?)"),
        ("gte: 2", "gte: two", "14: `gte` needs a number"),
        ("gte: 2", "gtee: 2", "14: unknown key `gtee` in a condition"),
        ("gte: 2", "gte: 2, field: volume.rows", "14: `event_count` takes no `field:`"),
        ("event_count", "value_sum", "14: `value_sum` needs `field:` in its condition"),
        ("  condition: { gte: 2 }\n", "", "7: `event_count` needs a condition"),
        (
            "title: C\n",
            "title: B\nname: b\ndetection: { s: { action: list }, condition: s }\n---\ntitle: C\n",
            "8: `b` is not used by the reported rule (remove it, or give it a file of its own)",
        ),
        (
            "crmwarden:\n  next: Look.\n",
            "",
            " no document has `crmwarden:`, so nothing is reported (add it to the document whose match is to be a finding)",
        ),
        ("next: Look.", "next: Look.\n  group_by: [actor.id]", "17: a correlation's key is its `group-by`"),
        ("name: a\n", "name: a\ncrmwarden: { next: x }\n", ""),
    ];
    for (instead, this, expected) in cases {
        let said = correlated(|text| text.replacen(instead, this, 1));
        let said = said.strip_prefix("detections/c.yaml:").unwrap_or(&said);
        if expected.is_empty() {
            assert!(said.contains("this is the second"), "{said}");
        } else {
            assert_eq!(said, expected, "{this}");
        }
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    use proptest::prelude::*;
    let good: Vec<&str> = GOOD.lines().collect();
    proptest!(|(skip in 0..good.len(), insert in "\\PC{0,20}|---|- - a|action: \\[|x: &a \\*a", at in 0..good.len())| {
        let mut lines = good.clone();
        lines.insert(at, &insert);
        lines.remove(skip);
        let _ = Policies::load(&files(&[("detections/x.yaml", &lines.join("\n"))]), &[]);
    });
}
