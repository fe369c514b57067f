//! The state is a projection: from the cache and the tail, or from entry 0, it is the same byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::cli::pack::POLICIES;
use crmwarden::config::Config;
use crmwarden::daemon::{self, Run};
use crmwarden::policy::Policies;
use crmwarden::rebuild;
use crmwarden::source::file::Mode;
use crmwarden::state::State;
use crmwarden::trail::disk::RealDisk;
use crmwarden::trail::entry::Entry;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

/// The demo's feeds and policies.
fn workspace(privacy: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy_all(&repository.join("examples/demo"), dir.path());
    copy_all(&repository.join("policies"), &dir.path().join("policies"));
    let config = dir.path().join("crmwarden.yaml");
    let text = fs::read_to_string(&config).unwrap().replace("127.0.0.1:7465", "\"off\"");
    fs::write(&config, format!("{text}privacy: {privacy}\n")).unwrap();
    dir
}

fn run_once(dir: &Path) {
    let config =
        Config::read(&dir.join("crmwarden.yaml")).map_err(|problems| problems[0].to_string()).unwrap();
    daemon::run(Run {
        config,
        mode: Mode::Once,
        formats: HashMap::new(),
        show: Box::new(|_| ()),
        ready: Box::new(|_| ()),
        any_port: false,
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

fn lines(dir: &Path) -> Vec<String> {
    let segments = dir.join("state/trail/g1/segments");
    let mut files: Vec<_> = fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn apply(state: &mut State, lines: &[String]) {
    for line in lines {
        state.apply(&Entry::parse(line.as_bytes()).unwrap()).unwrap();
    }
}

fn policies() -> Policies {
    let files: Vec<(String, String)> = POLICIES
        .iter()
        .filter(|(name, _)| name.ends_with(".yaml"))
        .map(|(n, t)| ((*n).into(), (*t).into()))
        .collect();
    Policies::load(&files, &[]).map_err(|problems| problems[0].to_string()).unwrap()
}

#[test]
fn cache_plus_tail_is_the_state_from_entry_zero_at_every_commit() {
    for privacy in ["plain", "erasable"] {
        cache_plus_tail(privacy);
    }
}

fn cache_plus_tail(privacy: &str) {
    let dir = workspace(privacy);
    run_once(dir.path());
    run_once(dir.path());
    let lines = lines(dir.path());
    let policies = policies();
    let mut whole = State::new(&policies).unwrap();
    apply(&mut whole, &lines);
    let expected = whole.export();
    assert!(whole.incidents.iter().count() > 5, "the demo's feeds open incidents");
    assert!(!whole.held.is_empty(), "the demo's snapshot grants something");

    let commits = lines.iter().enumerate().filter(|(_, line)| line.contains("\"kind\":\"commit\""));
    let mut from_start = State::new(&policies).unwrap();
    let mut applied = 0;
    for (place, _) in commits {
        apply(&mut from_start, &lines[applied..=place]);
        applied = place + 1;
        let mut from_cache = State::import(&from_start.export(), &policies).expect("the cache reads back");
        assert_eq!(from_cache.export(), from_start.export(), "after entry {place}");
        apply(&mut from_cache, &lines[applied..]);
        let same = from_cache.export() == expected;
        assert!(same, "state from the cache after entry {place} and the tail differs");
    }
}

#[test]
fn the_cache_that_the_daemon_wrote_is_the_state_of_its_trail() {
    for privacy in ["plain", "erasable"] {
        cache_of_the_daemon(privacy);
    }
}

fn cache_of_the_daemon(privacy: &str) {
    let dir = workspace(privacy);
    run_once(dir.path());
    let cache = fs::read(dir.path().join("state/cache")).unwrap();
    let end = cache.iter().position(|byte| *byte == b'\n').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&cache[..end]).unwrap();
    let size = header["size"].as_u64().unwrap() as usize;
    let policies = policies();
    let mut state = State::new(&policies).unwrap();
    apply(&mut state, &lines(dir.path())[..size]);
    let cached = String::from_utf8(cache[end + 1..].to_vec()).unwrap();
    assert_eq!(String::from_utf8(state.export()).unwrap(), cached);
}

#[test]
fn all_processors_give_the_state_that_one_gives() {
    let dir = workspace("plain");
    run_once(dir.path());
    let lines = lines(dir.path());
    let policies = policies();
    let mut one = State::new(&policies).unwrap();
    apply(&mut one, &lines);
    let mut all = State::new(&policies).unwrap();
    let mut told = 0;
    let folder = dir.path().join("state/trail/g1");
    let range = (0, lines.len() as u64);
    rebuild::replay(&RealDisk, &folder, range, &mut all, &mut |done| told = told.max(done)).unwrap();
    assert_eq!(String::from_utf8(all.export()).unwrap(), String::from_utf8(one.export()).unwrap());
    assert_eq!(told, range.1);
}
