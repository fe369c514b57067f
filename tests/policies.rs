//! What is shipped, through the program that users run: policies, the demo's configuration, and the
//! configuration and numbers that the README shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn check(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crmwarden"))
        .args(["check", "--json", "-c"])
        .arg(config)
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .unwrap()
}

/// A folder with the shipped policies and this configuration, and what `check` says about it.
fn workspace(config: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("policies"), &folder.path().join("policies"));
    let file = folder.path().join("crmwarden.yaml");
    fs::write(&file, config).unwrap();
    let token = folder.path().join("console.token");
    fs::write(&token, "only-for-these-tests\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    (folder, file)
}

fn good(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["warnings"], serde_json::json!([]), "{answer}");
    answer
}

/// Files of the policy folder with this ending.
fn policy_files(ending: &str) -> usize {
    let kinds = fs::read_dir(root().join("policies")).unwrap().map(|kind| kind.unwrap().path());
    let files = kinds.flat_map(|kind| fs::read_dir(kind).unwrap().map(|file| file.unwrap().path()));
    files.filter(|file| file.extension().is_some_and(|end| end == ending)).count()
}

/// Every rule has a runbook, and every runbook is about something that can be found.
#[test]
fn every_rule_has_a_runbook() {
    let (_folder, file) =
        workspace(&fs::read_to_string(root().join("examples/demo/crmwarden.yaml")).unwrap());
    let answer = good(&check(&file));
    let rules: Vec<&str> =
        answer["rules"].as_array().unwrap().iter().map(|rule| rule.as_str().unwrap()).collect();
    for rule in &rules {
        assert!(root().join(format!("policies/runbooks/{rule}.md")).is_file(), "{rule} has no runbook");
    }
    for file in fs::read_dir(root().join("policies/runbooks")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let rule = name.strip_suffix(".md").unwrap();
        let known = rules.contains(&rule) || rule.starts_with("operation.") || rule == "gap.lost_bytes";
        assert!(known, "{name} is about no rule");
    }
}

#[test]
fn the_demo_configuration_and_every_shipped_policy() {
    let (_folder, file) =
        workspace(&fs::read_to_string(root().join("examples/demo/crmwarden.yaml")).unwrap());
    let answer = good(&check(&file));
    assert_eq!(answer["policies"], policy_files("yaml"));
    assert_eq!(answer["sources"], 6);
    let rules = answer["rules"].as_array().unwrap();
    for rule in
        ["dlp.payment_card", "dlp.us_ssn", "access.over_grant", "detection.failed_logins_then_success"]
    {
        assert!(rules.iter().any(|known| known == rule), "{rule} is missing: {answer}");
    }
}

/// The demo carries its policies in the binary: every file of the folder, byte for byte.
#[test]
fn the_demo_brings_every_shipped_policy() {
    assert_eq!(crmwarden::cli::pack::POLICIES.len(), policy_files("yaml") + policy_files("md"));
    for (name, text) in crmwarden::cli::pack::POLICIES {
        assert_eq!(fs::read_to_string(root().join(name)).unwrap(), *text, "{name}");
    }
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => block.extend([line, "\n"]),
            None if line == opening => open = Some(String::new()),
            None => {}
        }
    }
    blocks
}

#[test]
fn the_configuration_in_the_readme_is_good() {
    let blocks = blocks(&readme(), "yaml");
    assert_eq!(
        blocks.len(),
        5,
        "a configuration to copy, other sources, the console, its anchors, and the other site's part"
    );
    let other = blocks[0].replace("acme.example  ", "site-b.example");
    let more = blocks[1].replace("/usr/local/bin/connector", "/bin/true");
    let sources = blocks[0].replace("receivers:\n  - name", &format!("{more}receivers:\n  - name"));
    let sources = format!("listen: 127.0.0.1:7464\n{sources}");
    let console = format!("{}{}", blocks[0], blocks[2]);
    let (anchors, witness) = (format!("{}{}", blocks[0], blocks[3]), format!("{other}{}", blocks[4]));
    for (config, count) in [(&blocks[0], 5), (&sources, 10), (&console, 5), (&anchors, 5), (&witness, 5)] {
        let (folder, file) = workspace(config);
        for name in ["push.token", "nats.token", "kim.token", "auditor.token"] {
            fs::write(folder.path().join(name), "only-for-these-tests\n").unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let password = folder.path().join("smtp.pass");
        fs::write(&password, "only-for-tests\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("tsa-ca.pem"), include_bytes!("data/root.pem")).unwrap();
        let answer = good(&check(&file));
        assert_eq!((&answer["sources"], &answer["receivers"]), (&count.into(), &2.into()));
    }
}

#[test]
fn a_mistake_in_it_is_named() {
    let config =
        blocks(&readme(), "yaml")[0].replace("    timezone: Europe/Berlin", "    timezon: Europe/Berlin");
    let (_folder, file) = workspace(&config);
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    let line = config.lines().position(|line| line.contains("timezon:")).unwrap() + 1;
    assert!(said.contains("timezon") && said.contains(&format!(":{line}")), "{said}");
}

#[test]
fn the_readme_states_the_limits_of_the_code() {
    let readme = readme();
    let grouped = |number: u64| {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    use crmwarden::{consequence, incident, inspect, metrics, source, trail};
    for (row, value) in [
        ("record", mib(source::file::MAX_RECORD as u64)),
        ("JSON record", format!("{} members", grouped(crmwarden::format::shared::MAX_MEMBERS as u64))),
        ("list in an event", format!("{} values", crmwarden::model::event::LIST_MAX)),
        ("entry of the trail", format!("{} KiB", trail::entry::LINE_MAX >> 10)),
        ("group", mib(crmwarden::pipeline::GROUP_BYTES as u64)),
        ("segment", mib(trail::SEGMENT_MAX)),
        ("reserve on disk", mib(trail::RESERVE)),
        ("batches waiting between threads", crmwarden::pipeline::BATCHES_WAITING.to_string()),
        ("open files", source::file::OPEN_FILES.to_string()),
        ("rotated file", format!("{} s", source::file::QUIET.as_secs())),
        ("positions of vanished files", grouped(source::file::ABSENT as u64)),
        ("windows of detection rules", format!("{} hits", grouped(inspect::behaviour::KEPT as u64))),
        ("incidents in memory", grouped(incident::INCIDENTS_MAX as u64)),
        ("alerts owed", grouped(consequence::OWED_MAX as u64)),
        ("retry of an alert", format!("{} min", crmwarden::deliver::worker::BACKOFF_MAX.as_secs() / 60)),
        ("SMTP session, envelope", format!("{} s", crmwarden::deliver::smtp::TIMEOUT.as_secs())),
        ("grants snapshot", format!("{} rows", grouped(inspect::privilege::ROWS_MAX))),
        ("policy files", format!("{} roles", inspect::privilege::ROLES_MAX)),
        ("`listen:`", format!("{} requests a second", crmwarden::listen::witness::RATE)),
        ("attempt at an anchor", format!("{} s;", crmwarden::anchor::TIMEOUT.as_secs())),
        ("metrics listener", format!("{} connections", metrics::serve::CONNECTIONS_MAX)),
    ] {
        let line = readme.lines().find(|line| line.starts_with(&format!("| {row} |")));
        assert!(line.is_some_and(|line| line.contains(&value)), "{row}: {value} expected in {line:?}");
    }
}

#[test]
fn the_readme_names_what_is_built_and_what_is_not() {
    let readme = readme();
    let row = |name: &str| {
        let line = readme.lines().find(|line| line.starts_with(&format!("| {name} | `"))).unwrap();
        let cells: Vec<String> = line.split('|').map(str::to_owned).collect();
        (cells[2].clone(), cells[3].clone())
    };
    let (built, planned) = row("formats");
    let shipped: Vec<&str> = crmwarden::format::shipped().iter().map(|format| format.name()).collect();
    for name in &shipped {
        assert!(built.contains(&format!("`{name}`")), "{name}");
    }
    assert_eq!(built.matches('`').count(), 2 * shipped.len());
    for name in crmwarden::format::PLANNED {
        assert!(planned.contains(&format!("`{name}`")), "{name}");
    }
    // Each kind of source and receiver that is called not built is refused as such.
    let (_, sources) = row("sources");
    for kind in sources.split('`').skip(1).step_by(2) {
        let config = format!(
            "deployment: a\nstate: s\nsources:\n  - name: a\n    format: debezium\n    {kind}: {{}}\n"
        );
        refused_as_unbuilt(&config, kind);
    }
}

fn refused_as_unbuilt(config: &str, kind: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crmwarden.yaml");
    fs::write(&file, config).unwrap();
    let output = check(&file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{kind}");
    assert!(said.contains(&format!("`{kind}` is not built yet")), "{kind}: {said}");
}

/// Every command that the README names as built is one, and has a page of help.
#[test]
fn the_readme_names_the_commands() {
    let readme = readme();
    let line = readme.lines().find(|line| line.starts_with("| commands |")).unwrap();
    let built = line.split('|').nth(2).unwrap();
    let named: Vec<&str> = built.split('`').skip(1).step_by(2).collect();
    assert_eq!(named.len(), 42);
    for command in named {
        let help =
            Command::new(env!("CARGO_BIN_EXE_crmwarden")).args(command.split(' ')).arg("--help").output();
        let help = help.unwrap();
        assert!(help.status.success() && !help.stdout.is_empty(), "{command}");
    }
}

#[test]
fn the_files_that_the_readme_installs_are_there() {
    for name in [
        "systemd/crmwarden.service",
        "systemd/crmwarden.sysusers",
        "dashboards/crmwarden-operations.json",
        "dashboards/crmwarden-incidents.json",
        "dashboards/crmwarden-privileges.json",
        "dashboards/crmwarden-trail.json",
        "dashboards/provisioning.yaml",
        "dashboards/prometheus-rules.yaml",
        "CHANGELOG.md",
        "LICENSE",
        ".github/SECURITY.md",
    ] {
        assert!(readme().contains(name) && root().join(name).is_file(), "{name}");
    }
}
