//! The unit as systemd reads it: hardened below the threshold, and in agreement with our exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

fn unit() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/crmwarden.service")
}

#[test]
fn the_unit_agrees_with_the_daemon() {
    let text = fs::read_to_string(unit()).unwrap();
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/crmwarden run -c /etc/crmwarden/crmwarden.yaml",
        "RestartPreventExitStatus=2 4 78",
        "StateDirectoryMode=0750",
        "CapabilityBoundingSet=",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
    let secrets = text.lines().filter(|line| line.starts_with("Environment"));
    assert_eq!(secrets.count(), 0, "secrets are credentials, not environment variables");
}

/// `systemd-analyze security` counts tenths: 15 is 1.5, on a scale where 10 is a service without any care.
#[test]
fn the_unit_is_hardened() {
    let analyze = |arguments: &[&str]| {
        Command::new("systemd-analyze").args(arguments).arg(unit()).stderr(Stdio::null()).output()
    };
    let Ok(said) = analyze(&["security", "--offline=yes", "--threshold=15", "--no-pager"]) else {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "systemd-analyze is missing");
        eprintln!("skipped: systemd-analyze is missing");
        return;
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

/// What systemd says of a unit whose command is this build's.
fn verified(text: &str) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("crmwarden.service");
    fs::write(&place, text.replace("/usr/bin/crmwarden", env!("CARGO_BIN_EXE_crmwarden"))).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&place)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "systemd-analyze is missing");
        eprintln!("skipped: systemd-analyze is missing");
        return None;
    };
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let text = fs::read_to_string(unit()).unwrap();
    let Some((good, said)) = verified(&text) else { return };
    // Other units of the machine are not ours to mend.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("crmwarden")).collect();
    assert!(good && ours.is_empty(), "{said}");
    let (_, said) = verified(&text.replace("ProtectSystem=", "ProtectSytem=")).unwrap();
    assert!(said.contains("ProtectSytem"), "a misspelt word is told: {said}");
}
