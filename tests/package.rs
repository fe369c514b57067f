//! The Debian package: built by its one command, installed into a root of its own, started, upgraded, removed, purged.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{BINARY, REPOSITORY, have, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn build(out: &Path, version: &str) -> PathBuf {
    let output = Command::new(format!("{REPOSITORY}/systemd/debian/build"))
        .arg(out)
        .env("BINARY", BINARY)
        .env("VERSION", version)
        // Packing an unstripped program well takes most of a minute and shows nothing.
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut made = fs::read_dir(out).unwrap().map(|file| file.unwrap().path());
    made.find(|path| path.to_str().unwrap().contains(&format!("_{version}_"))).unwrap()
}

fn dpkg(root: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-confold",
            "--force-not-root",
            "--force-bad-path",
        ])
        .arg(format!("--log={}", root.join("dpkg.log").display()))
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
}

#[test]
fn it_is_installed_started_upgraded_and_removed() {
    if !have(&[("dpkg-deb", &["--version"]), ("jq", &["--version"]), ("zstd", &["--version"])]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, root) = (folder.path().join("out"), folder.path().join("root"));
    for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let (old, new) = (build(&out, "0.0.9"), build(&out, "0.1.0"));
    let said = dpkg(&root, &["--install", old.to_str().unwrap()]);
    assert!(text(&said.stdout).contains("crmwarden init"), "what to do next: {}", text(&said.stdout));
    for file in [
        "usr/bin/crmwarden",
        "usr/lib/systemd/system/crmwarden.service",
        "usr/lib/sysusers.d/crmwarden.conf",
        "usr/lib/tmpfiles.d/crmwarden.conf",
        "usr/share/man/man1/crmwarden.1.gz",
        "usr/share/man/man1/crmwarden-incidents-ack.1.gz",
        "usr/share/bash-completion/completions/crmwarden",
        "usr/share/crmwarden/dashboards/crmwarden-trail.json",
        "usr/share/doc/crmwarden/copyright",
        "etc/crmwarden/policies/detections/bulk_rows.yaml",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    // It runs from there, on its own policies.
    let etc = root.join("etc/crmwarden");
    let run = |arguments: &[&str]| {
        let program = root.join("usr/bin/crmwarden");
        Command::new(program)
            .args(arguments)
            .current_dir(&etc)
            .env_remove("CREDENTIALS_DIRECTORY")
            .output()
            .unwrap()
    };
    let state = root.join("var/lib/crmwarden");
    // As the package says, in this root.
    let made = run(&["init", ".", "--deployment", "acme.example", "--state", state.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = fs::read_to_string(etc.join("crmwarden.yaml")).unwrap();
    fs::write(etc.join("crmwarden.yaml"), config.replace("127.0.0.1:7465", "\"off\"")).unwrap();
    let ran = run(&["run", "--once"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    // An upgrade keeps what was edited, and the trail goes on.
    let rule = etc.join("policies/detections/bulk_rows.yaml");
    let mine = fs::read_to_string(&rule).unwrap() + "# mine\n";
    fs::write(&rule, &mine).unwrap();
    dpkg(&root, &["--install", new.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&rule).unwrap(), mine);
    assert!(run(&["run", "--once"]).status.success());
    let verified = run(&["verify", state.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    // Removal and purge leave the evidence.
    dpkg(&root, &["--remove", "crmwarden"]);
    assert!(!root.join("usr/bin/crmwarden").exists() && rule.exists());
    let said = dpkg(&root, &["--purge", "crmwarden"]);
    assert!(text(&said.stdout).contains("it is evidence"), "{}", text(&said.stdout));
    assert!(!rule.exists() && state.join("trail").is_dir() && etc.join("keys/log.key").is_file());
}
