//! The shipped policy pack, in the binary: what `demo` and `init` write.

macro_rules! policy {
    ($path:literal) => {
        (concat!("policies/", $path), include_str!(concat!("../../policies/", $path)))
    };
}

/// Every shipped policy file: where it stands in a workspace, and its text.
pub const POLICIES: &[(&str, &str)] = &[
    policy!("access/crm.yaml"),
    policy!("detections/account_created_and_used.yaml"),
    policy!("detections/account_disabled_login.yaml"),
    policy!("detections/account_unlocked_and_used.yaml"),
    policy!("detections/app_tokens_refused.yaml"),
    policy!("detections/audit_switched_off.yaml"),
    policy!("detections/brute_force_from_address.yaml"),
    policy!("detections/bulk_delete_job.yaml"),
    policy!("detections/bulk_rows.yaml"),
    policy!("detections/bulk_rows_summed.yaml"),
    policy!("detections/connected_app_authorized.yaml"),
    policy!("detections/dormant_account_used.yaml"),
    policy!("detections/download_after_sensitive_read.yaml"),
    policy!("detections/export_over_own_baseline.yaml"),
    policy!("detections/failed_logins_then_success.yaml"),
    policy!("detections/grant_then_revoke.yaml"),
    policy!("detections/guest_bulk_access.yaml"),
    policy!("detections/impossible_travel.yaml"),
    policy!("detections/login_as.yaml"),
    policy!("detections/login_from_new_country.yaml"),
    policy!("detections/login_without_mfa.yaml"),
    policy!("detections/many_accounts_one_address.yaml"),
    policy!("detections/many_downloads.yaml"),
    policy!("detections/mass_delete.yaml"),
    policy!("detections/mass_share_or_assign.yaml"),
    policy!("detections/mass_update.yaml"),
    policy!("detections/mfa_removed.yaml"),
    policy!("detections/new_connected_app.yaml"),
    policy!("detections/password_reset_and_used.yaml"),
    policy!("detections/password_spray.yaml"),
    policy!("detections/security_configuration_changed.yaml"),
    policy!("detections/self_grant.yaml"),
    policy!("detections/sensitive_role_granted.yaml"),
    policy!("detections/service_account_interactive_login.yaml"),
    policy!("detections/shared_with_everyone.yaml"),
    policy!("detections/slow_drip_export.yaml"),
    policy!("detections/unusual_hour.yaml"),
    policy!("dlp/card-and-ssn.yaml"),
    policy!("frameworks/pci-dss.yaml"),
    policy!("operations/notification.yaml"),
];
