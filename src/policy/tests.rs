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
