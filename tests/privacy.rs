//! `privacy: erasable` in the real binary: nobody of the feeds stands in the trail, the details hold everybody,
//! the findings are those of a plain trail, people still see names, and what is removed is not seen again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::feeds::{FEEDS, Feed, SOURCES, markers};
use common::{Home, REPOSITORY};
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::trail::detail::{self, Detail, Store};
use crmwarden::trail::disk::{Disk, RealDisk};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The demo's feeds and policies, with routes of our own.
fn demo(privacy: &str, receivers: &str) -> Home {
    let home = Home::empty();
    common::copy_all_into(&format!("{REPOSITORY}/examples/demo"), home.dir.path());
    common::copy_all_into(&format!("{REPOSITORY}/policies"), &home.path("policies"));
    configure(&home, privacy, receivers);
    home
}

fn configure(home: &Home, privacy: &str, receivers: &str) {
    configure_until(home, "receivers:", privacy, receivers);
}

/// The demo's configuration up to a line, and ours behind it.
fn configure_until(home: &Home, line: &str, privacy: &str, receivers: &str) {
    let text = fs::read_to_string(Path::new(REPOSITORY).join("examples/demo/crmwarden.yaml")).unwrap();
    let (head, _) = text.split_once(line).unwrap();
    let head = head.replace("127.0.0.1:7465", "\"off\"");
    let routes = "routes:\n  - receivers: [office]\n";
    home.write("crmwarden.yaml", format!("{head}privacy: {privacy}\n{receivers}{routes}").as_bytes());
}

const DIRECTORY: &str = "receivers:\n  - name: office\n    directory: outbox\n";

/// A receiver that nobody answers for: its alerts stay owed.
fn unreachable() -> String {
    format!(
        "receivers:\n  - name: office\n    email: {{ to: [\"soc@acme.example\"], from: \"crm@acme.example\", \
         smtp: {{ host: 127.0.0.1, port: {}, tls: none }} }}\n",
        common::free_port()
    )
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// Every file of the state but the details, with compressed rows of grants unpacked.
fn state_but_details(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    files(&home.path("state"), &mut found);
    found.retain(|path| {
        !path.starts_with(home.path("state/details")) && path.extension().is_none_or(|e| e != "sock")
    });
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let bytes = match path.extension().is_some_and(|end| end == "zst") {
            true => zstd::decode_all(&bytes[..]).unwrap(),
            false => bytes,
        };
        (path, bytes)
    };
    found.into_iter().map(read).collect()
}

const PERSONAL: [&str; 16] = [
    "actor.id",
    "actor.name",
    "actor.on_behalf_of",
    "client.ip",
    "client.user_agent",
    "client.city",
    "client.lat",
    "client.lon",
    "auth.session",
    "target.ids",
    "target.name",
    "target.owner",
    "grant.principal",
    "http.path",
    "query",
    "message",
];

fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// Takes the personal members out of a plain entry and returns their values.
fn strip(entry: &mut Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in PERSONAL {
        let (parent, name) = path.split_once('.').unwrap_or(("", path));
        let parent = if parent.is_empty() { Some(&mut *entry) } else { entry.get_mut(parent) };
        if let Some(value) = parent.and_then(|parent| parent.as_object_mut()?.remove(name)) {
            texts(&value, &mut found);
        }
    }
    if let Some(extra) = entry.as_object_mut().unwrap().remove("extra") {
        let mut values = BTreeSet::new();
        texts(&extra, &mut values);
        // A bare word of a column, such as `Success`, may be a word of a rule as well.
        found.extend(values.into_iter().filter(|value| !value.chars().all(char::is_alphabetic)));
    }
    found
}

/// Values of persons in the plain trail's events and grants, without those that also stand where nobody is
/// meant: a word such as `Standard` proves nothing.
fn personal(plain: &Home) -> BTreeSet<String> {
    let (mut found, mut rest) = (BTreeSet::new(), String::new());
    for mut entry in plain.entries() {
        match entry["kind"].as_str().unwrap() {
            "event" => found.append(&mut strip(&mut entry)),
            "grant" if !entry["principal"].as_str().unwrap().starts_with("role:") => {
                let grant = entry.as_object_mut().unwrap();
                ["principal", "name"]
                    .iter()
                    .filter_map(|name| grant.remove(*name))
                    .for_each(|value| texts(&value, &mut found));
            }
            // These repeat what stands in events.
            "finding" | "incident" | "alert" => continue,
            _ => {}
        }
        rest.push_str(&entry.to_string());
        rest.push('\n');
    }
    found.retain(|value| value.len() >= 6 && !rest.contains(value.as_str()));
    found
}

fn details(home: &Home) -> Vec<Detail> {
    let mut found = Vec::new();
    detail::each(&RealDisk, &home.path("state/details"), &mut |detail| {
        found.push(detail.clone());
        Ok(())
    })
    .unwrap();
    found
}

/// The commitment as the format describes it, written anew.
fn committed(detail: &Detail) -> String {
    let mut value = detail.value.clone().into_bytes();
    value.push(0x80);
    value.resize(value.len().div_ceil(64) * 64, 0);
    let mut sha = Sha256::new();
    sha.update(b"crmwarden/detail/v1\0");
    sha.update(detail.path.as_bytes());
    sha.update(b"\0");
    sha.update(detail.salt);
    sha.update(value);
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every detail is what its entry commits to, and every commitment has its detail.
fn assert_details_are_whole(home: &Home) -> usize {
    let mut held: BTreeMap<(u64, String), String> = BTreeMap::new();
    for entry in home.entries() {
        for (path, hash) in entry["committed"].as_object().into_iter().flatten() {
            held.insert((entry["i"].as_u64().unwrap(), path.clone()), hash.as_str().unwrap().to_owned());
        }
    }
    let details = details(home);
    for detail in &details {
        let hash = held.remove(&(detail.index, detail.path.clone()));
        assert_eq!(hash, Some(committed(detail)), "entry {} {}", detail.index, detail.path);
    }
    assert!(held.is_empty(), "commitments without details: {:?}", held.keys().take(5).collect::<Vec<_>>());
    details.len()
}

fn count(home: &Home, kind: &str, member: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in home.of_kind(kind) {
        *counts.entry(entry[member].as_str().unwrap_or("").to_owned()).or_default() += 1;
    }
    counts
}

fn mails(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    files(&home.path("outbox"), &mut found);
    found.sort();
    found
        .iter()
        .map(|path| fs::read_to_string(path).unwrap().replace("=\r\n", "").replace("=\n", ""))
        .collect()
}

#[test]
fn nobody_stands_in_the_trail_and_the_findings_are_the_same() {
    let (plain, hidden) = (demo("plain", DIRECTORY), demo("erasable", DIRECTORY));
    for home in [&plain, &hidden] {
        home.expect(0, &["run", "--once"]);
        home.expect(0, &["verify", "state"]);
    }
    assert_eq!(hidden.of_kind("genesis")[0]["privacy"], "erasable");

    let values = personal(&plain);
    for known in ["Nora Lindqvist", "Grace Okafor", "198.51.100.23", "0055e000007Kd02AAC"] {
        assert!(values.iter().any(|value| value.contains(known)), "{known} is no value of the plain trail");
    }
    assert!(values.iter().any(|value| value.starts_with("Mozilla/5.0 (X11")));
    assert!(values.len() > 200, "only {} values", values.len());
    for (path, bytes) in state_but_details(&hidden) {
        let text = common::text(&bytes);
        for value in &values {
            let written = serde_json::to_string(value).unwrap();
            let escaped = written.trim_matches('"');
            assert!(
                !text.contains(value.as_str()) && !text.contains(escaped),
                "{value:?} stands in {}",
                path.display()
            );
        }
    }

    assert!(assert_details_are_whole(&hidden) > 1000);
    let kept: BTreeSet<String> = details(&hidden)
        .into_iter()
        .flat_map(|detail| match detail.path.as_str() {
            "target.ids" => serde_json::from_str::<Vec<String>>(&detail.value).unwrap(),
            _ => vec![detail.value],
        })
        .collect();
    let lost: Vec<_> = values.difference(&kept).collect();
    assert!(lost.is_empty(), "no detail holds {lost:?}");

    for (kind, member) in [("finding", "rule"), ("incident", "rule"), ("alert", "state"), ("grant", "change")]
    {
        let counts = count(&plain, kind, member);
        assert!(!counts.is_empty());
        assert_eq!(count(&hidden, kind, member), counts, "{kind}");
    }
    assert_eq!(count(&hidden, "event", "source"), count(&plain, "event", "source"));
}

#[test]
fn people_see_names() {
    let (plain, hidden) = (demo("plain", DIRECTORY), demo("erasable", DIRECTORY));
    let titles = |home: &Home| {
        let output = home.run(&["run", "--once"]);
        assert!(output.status.success());
        let said = common::text(&output.stderr);
        // Without the incident's number: where a group ends is a matter of time.
        let title = |line: &str| Some(line.split_once("INC-")?.1.split_once(' ')?.1.to_owned());
        let mut lines: Vec<String> = said.lines().filter_map(title).collect();
        lines.sort();
        lines
    };
    let (shown, wanted) = (titles(&hidden), titles(&plain));
    assert!(wanted.len() > 5);
    // A name that the feed once writes in another case is shown as it was written there.
    assert_eq!(shown.join("\n").to_lowercase(), wanted.join("\n").to_lowercase());
    let mails = mails(&hidden);
    assert!(mails.len() > 5);
    for mail in &mails {
        assert!(!mail.contains("act:") && !mail.contains("obj:"), "{mail}");
    }
    let named = plain
        .of_kind("finding")
        .into_iter()
        .filter_map(|finding| Some(finding["actor_name"].as_str()?.to_owned()));
    let named: BTreeSet<String> = named.filter(|name| name.is_ascii()).collect();
    let seen = |name: &String| mails.iter().any(|mail| mail.to_lowercase().contains(&name.to_lowercase()));
    assert!(named.iter().filter(|name| seen(name)).count() >= 2, "{named:?}");
}

/// The report's text.
fn report(home: &Home, exit: i32) -> String {
    let folder = home.path("report");
    let arguments = ["--framework", "pci-dss", "--from", "2026-11-19", "--to", "2026-12-31", "-o", "report"];
    home.expect(exit, &[&["report"], &arguments[..]].concat());
    fs::read_to_string(folder.join("report.json")).unwrap()
}

fn remove_all(home: &Home) -> u64 {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let folder = detail::folder(&home.path("state"), 1);
    let size = home.entries().len() as u64;
    let (mut store, dropped) = Store::open(&disk, folder, &home.path("state/trail/g1"), size).unwrap();
    assert_eq!(dropped, 0, "after a clean stop nothing is to be cleared up");
    store.remove(&[(0, size)]).unwrap()
}

#[test]
fn what_was_removed_is_shown_as_pseudonyms() {
    let home = demo("erasable", &unreachable());
    home.expect(0, &["run", "--once"]);
    let erased = home.copy();
    assert!(remove_all(&erased) > 1000);
    // The alerts that are still owed are sent after a restart: the names come from the details, if from anywhere.
    for (home, names) in [(&home, true), (&erased, false)] {
        // Nothing is read again: a copied file is another file.
        configure_until(home, "sources:", "erasable", DIRECTORY);
        home.expect(0, &["run", "--once"]);
        // What went without an `erase` entry is missing, and report and verification say so.
        let (mails, report) = (mails(home).join("\n"), report(home, i32::from(!names)));
        assert!(mails.contains("INC-"));
        for text in [&mails, &report] {
            assert_eq!(text.contains("act:"), !names, "{}", &text[..2000]);
        }
        for name in ["petra.lang@example.com", "198.51.100.10"] {
            assert_eq!(report.contains(name), names, "{name}");
        }
        home.expect(if names { 0 } else { 22 }, &["verify", "state"]);
    }
}

#[test]
fn what_the_trail_was_made_with_stays() {
    for (made, other) in [("plain", "erasable"), ("erasable", "plain")] {
        let home = demo(made, DIRECTORY);
        home.expect(0, &["run", "--once"]);
        let before = state_but_details(&home);
        configure(&home, other, DIRECTORY);
        let output = home.run(&["run", "--once"]);
        assert_eq!(output.status.code(), Some(78));
        let said = common::text(&output.stderr);
        assert!(
            said.contains(&format!("made with `privacy: {made}`")) && said.contains("never changes"),
            "{said}"
        );
        assert!(before == state_but_details(&home), "a refused start changed the state");
        assert_eq!(home.path("state/details").exists(), made == "erasable");
    }
    let home = demo("secret", DIRECTORY);
    let said = common::text(&home.run(&["check"]).stderr);
    assert!(said.contains("unknown word for `privacy:`"), "{said}");
}

/// How often each marker stands in an event or in its details.
fn counted(home: &Home) -> BTreeMap<String, u32> {
    let mut by_entry: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for detail in details(home) {
        by_entry.entry(detail.index).or_default().extend(markers(detail.value.as_bytes()));
    }
    let mut counts = BTreeMap::new();
    home.each_line(&mut |line| {
        let entry: Value = serde_json::from_slice(line).unwrap();
        if entry["kind"] != "event" {
            return;
        }
        let mut found: BTreeSet<String> = markers(line).into_iter().collect();
        found.extend(by_entry.remove(&entry["i"].as_u64().unwrap()).unwrap_or_default());
        assert_eq!(found.len(), 1, "{found:?} in {}", common::text(line));
        *counts.entry(found.pop_first().unwrap()).or_insert(0) += 1;
    });
    assert!(by_entry.values().all(Vec::is_empty), "details of entries that are no events");
    counts
}

#[test]
fn kills_lose_and_repeat_nothing() {
    let mut random = Generator::new(common::seed("kills_erasable"));
    let home = Home::empty();
    home.configure("metrics: \"off\"\nprivacy: erasable\n", SOURCES);
    let (mut written, mut under_way) = (0, 0);
    for _ in 0..10 {
        let before = home.trail_bytes();
        let daemon = home.daemon();
        for feed in FEEDS {
            let records: String =
                (written..written + 700).map(|number| feed.record(number, &mut random)).collect();
            let header = if written == 0 { feed.header() } else { "" };
            home.append(feed.file(), format!("{header}{records}").as_bytes());
        }
        written += 700;
        let start = std::time::Instant::now();
        while home.trail_bytes() <= before + 20_000 && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(random.below(60)));
        under_way += u32::from(home.trail_bytes() > before);
        daemon.kill();
    }
    home.expect(0, &["run", "--once"]);
    assert!(under_way >= 5, "the kills came too early to mean anything");
    let counts = counted(&home);
    assert_eq!(counts.values().filter(|count| **count != 1).count(), 0, "repeated");
    let wanted: BTreeSet<String> = FEEDS
        .into_iter()
        .flat_map(|feed: Feed| (0..written).map(move |number| feed.marker(number)))
        .collect();
    assert!(counts.keys().eq(wanted.iter()), "{} of {} markers", counts.len(), wanted.len());
    assert_details_are_whole(&home);
    let verified = home.expect(0, &["verify", "--json", "state"]);
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert!(["ok", "recovered"].contains(&verified["verdict"].as_str().unwrap()), "{verified}");
}
