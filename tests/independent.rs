//! The trail verified by a program that shares nothing with us but the description of the format:
//! `examples/verify.py`, with openssl for the signatures. It must accept what the binary made, also after a
//! `kill -9`, and refuse every copy that somebody worked on.
//!
//! Needs python3 and openssl. Without them the test says so and passes, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Home;
use common::feeds::{Feed, SOURCES};
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::trail::tree::{Frontier, leaf_hash};
use std::fs;
use std::process::Command;
use std::time::Duration;

fn python(home: &Home) -> (i32, String) {
    let mut command = Command::new("python3");
    command.arg(format!("{}/examples/verify.py", common::REPOSITORY));
    command.arg(home.path("trust.txt")).arg(home.path("state"));
    let output = command.output().unwrap();
    let said = common::text(&output.stdout);
    assert_eq!(said.lines().count(), 1, "{said}\n{}", common::text(&output.stderr));
    (output.status.code().unwrap(), said)
}

fn records(home: &Home, from: u64, to: u64, random: &mut Generator) {
    for feed in [Feed::Web, Feed::Dataverse] {
        let text: String = (from..to).map(|number| feed.record(number, random)).collect();
        home.append(feed.file(), text.as_bytes());
    }
}

/// A trail of several passes, a kill and its recovery.
fn trail() -> Home {
    let mut random = Generator::new(common::seed("independent"));
    let home = Home::new(SOURCES);
    for pass in 0..3 {
        records(&home, pass * 700, (pass + 1) * 700, &mut random);
        home.expect(0, &["run", "--once"]);
    }
    let before = home.trail_bytes();
    let daemon = home.daemon();
    records(&home, 2100, 9000, &mut random);
    common::wait_for("the trail grows", Duration::from_secs(20), || home.trail_bytes() > before + 5000);
    std::thread::sleep(Duration::from_millis(random.below(60)));
    daemon.kill();
    home.expect(0, &["run", "--once"]);
    fs::write(home.path("trust.txt"), home.expect(0, &["keys", "export", "--format", "trust"])).unwrap();
    home
}

type Edit = fn(&mut Vec<String>);

/// Line edits, each with what a careful forger would do about the chain or not.
const EDITS: &[(&str, Edit)] = &[
    ("a letter in an event", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines[place] = lines[place].replacen("access_log", "access_lag", 1);
    }),
    ("an event left out", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines.remove(place);
    }),
    ("an event twice", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines.insert(place, lines[place].clone());
    }),
    ("two events exchanged", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines.swap(place, place + 1);
    }),
    ("the last group left out", |lines| {
        lines.pop();
        let last = lines.iter().rposition(|line| line.contains("\"kind\":\"commit\"")).unwrap();
        lines.truncate(last + 1);
    }),
    ("the last commit's signature", |lines| {
        let last = lines.len() - 1;
        let at = lines[last].find("\"sig\":\"").unwrap() + 7;
        let other = if lines[last].as_bytes()[at] == b'A' { "B" } else { "A" };
        lines[last].replace_range(at..at + 1, other);
    }),
    ("an event changed, chain and roots made anew", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines[place] = lines[place].replacen("access_log", "access_lag", 1);
        made_anew(lines);
    }),
    ("an event left out, indices, chain and roots made anew", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines.remove(place);
        made_anew(lines);
    }),
    ("a commit added behind the signed part, all but its signature right", |lines| {
        lines.push(lines.last().unwrap().clone());
        made_anew(lines);
    }),
];

/// What anybody can do who has the files and not the keys.
fn made_anew(lines: &mut [String]) {
    let mut frontier = Frontier::default();
    let mut prev = "0".repeat(64);
    for (index, line) in lines.iter_mut().enumerate() {
        let rest = line.find(",\"prev\":\"").unwrap() + 9;
        *line = format!("{{\"i\":{index},\"prev\":\"{prev}{}", &line[rest + 64..]);
        if line.contains("\"kind\":\"commit\"") {
            let at = line.find("\"root\":\"").unwrap() + 8;
            line.replace_range(at..at + 64, &frontier.root().hex());
        }
        let leaf = leaf_hash(line.as_bytes());
        frontier.push(leaf, &mut |_, _, _| ());
        prev = leaf.hex();
    }
}

#[test]
fn a_program_of_another_language_accepts_it_and_no_worked_over_copy() {
    if !common::have(&[("python3", &["--version"]), ("openssl", &["version"])]) {
        return;
    }
    let home = trail();
    let (exit, said) = python(&home);
    eprint!("{said}");
    assert_eq!(exit, 0, "{said}");
    let [segment] = &home.segments()[..] else { panic!("one segment") };
    let name = segment.strip_prefix(home.dir.path()).unwrap().to_str().unwrap();
    let clean: Vec<String> = fs::read_to_string(segment).unwrap().lines().map(str::to_owned).collect();
    for (what, edit) in EDITS {
        let copy = home.copy();
        let mut lines = clean.clone();
        edit(&mut lines);
        assert_ne!(lines, clean, "{what}");
        copy.write(name, (lines.join("\n") + "\n").as_bytes());
        let (exit, said) = python(&copy);
        eprint!("{what}: {said}");
        assert_eq!(exit, 1, "{what}: {said}");
        assert_ne!(copy.run(&["verify", "state"]).status.code(), Some(0), "{what}: ours accepts it");
    }
    the_checkpoint_counts(&home);
    another_trail_is_not_ours(&home);
}

fn the_checkpoint_counts(home: &Home) {
    let name = "state/trail/g1/checkpoint";
    let clean = fs::read_to_string(home.path(name)).unwrap();
    let lines: Vec<&str> = clean.lines().collect();
    let size: u64 = lines[1].parse().unwrap();
    let (first, second) = (lines[4], lines[5]);
    for (what, text) in [
        ("another size", clean.replacen(lines[1], &(size - 1).to_string(), 1)),
        ("another root", clean.replacen(lines[2], &format!("A{}", &lines[2][1..]), 1)),
        ("without the log key", clean.replacen(&format!("{first}\n"), "", 1)),
        ("without the epoch key", clean.replacen(&format!("{second}\n"), "", 1)),
        ("empty", String::new()),
    ] {
        if text == clean {
            continue; // The root began with that letter.
        }
        let copy = home.copy();
        copy.write(name, text.as_bytes());
        let (exit, said) = python(&copy);
        assert_eq!(exit, 1, "{what}: {said}");
    }
}

/// A whole trail put in the place of ours is in order in itself; the trust file knows better.
fn another_trail_is_not_ours(home: &Home) {
    let other = Home::new(SOURCES);
    other.expect(0, &["run", "--once"]);
    other.write("trust.txt", other.expect(0, &["keys", "export", "--format", "trust"]).as_bytes());
    assert_eq!(python(&other).0, 0);
    fs::copy(home.path("trust.txt"), other.path("trust.txt")).unwrap();
    let (exit, said) = python(&other);
    assert_eq!(exit, 1, "{said}");
}
