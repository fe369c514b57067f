//! What the real program wrote: every region, every line, every file of it counts.

use super::writer::{self, Writer, epoch_key};
use super::{
    CHECKPOINT, PYTHON, Programs, SEGMENT, SHELL, answer, common, each_on_a_copy, go_program, small_trail,
    verify_py, verify_sh, verify_tiles,
};
use common::text;
use crmwarden::inspect::dlp::generate::Generator;
use std::fs;
use std::path::Path;
use std::process::Command;

fn lines_of(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join(SEGMENT)).unwrap().lines().map(str::to_owned).collect()
}

fn write_lines(folder: &Path, lines: &[String]) {
    fs::write(folder.join(SEGMENT), lines.join("\n") + "\n").unwrap();
}

/// Ours must refuse it as well.
fn ours_refuses(what: &str, folder: &Path) {
    let mut command = Command::new(common::BINARY);
    command.args(["verify", "state", "--trust", "trust.txt"]).current_dir(folder);
    let (exit, said) = answer(&command.output().unwrap());
    assert_ne!(exit, 0, "crmwarden verify accepts {what}: {said}");
}

/// Places in a line, by what stands there.
fn regions(lines: &[String], number: usize) -> Vec<(String, usize)> {
    let start: usize = lines[..number].iter().map(|line| line.len() + 1).sum();
    let line = &lines[number];
    let mut places = vec![("brace", 0), ("index", 5), ("newline", line.len()), ("end", line.len() - 1)];
    for (name, before, skip) in [
        ("prev", "\"prev\":\"", 17),
        ("time", "\"t\":\"", 15),
        ("name of a member", ",\"kind", 3),
        ("kind", "\"kind\":\"", 1),
        ("first member after the kind", "\"kind\":\"", 20),
        ("root", "\"root\":\"", 40),
        ("cursors", "\"cursors\":{", 4),
        ("signature", "\"sig\":\"", 30),
        ("last bits of the signature", "\"sig\":\"", 85),
    ] {
        if let Some(at) = line.find(before) {
            places
                .push((name, at + before.len().min(if name == "name of a member" { 0 } else { 99 }) + skip));
        }
    }
    let kind = line.split('"').nth(11).unwrap_or_default();
    places.into_iter().map(|(name, at)| (format!("{name} of entry {number} ({kind})"), start + at)).collect()
}

#[test]
fn a_bit_of_any_region_of_a_segment_counts() {
    let home = small_trail();
    let programs = Programs::all();
    programs.accept("what the daemon wrote", home.dir.path());
    let lines = lines_of(home.dir.path());
    let with = |kind: &str| {
        let kind = format!("\"kind\":\"{kind}\"");
        lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(&kind))
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    let (events, commits) = (with("event"), with("commit"));
    assert!((30..200).contains(&lines.len()) && events.len() == 12, "{} lines", lines.len());
    let chosen = [0, events[events.len() / 2], commits[commits.len() / 2], lines.len() - 1];
    assert_eq!(Some(&chosen[3]), commits.last());
    let mut random = Generator::new(common::seed("foreign bits"));
    let cases: Vec<(String, usize, u8)> = chosen
        .iter()
        .flat_map(|number| regions(&lines, *number))
        .map(|(what, place)| (what, place, 1u8 << random.below(8)))
        .collect();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    each_on_a_copy(home.dir.path(), &cases, |(what, place, bit), copy| {
        let mut content = fs::read(copy.join(SEGMENT)).unwrap();
        content[*place] ^= bit;
        fs::write(copy.join(SEGMENT), content).unwrap();
        let what = format!("bit {bit:#04x} in the {what}");
        programs.refuse(&what, copy);
        ours_refuses(&what, copy);
    });
}

#[test]
fn a_bit_of_any_region_of_the_checkpoint_counts() {
    let home = small_trail();
    let programs = Programs::all();
    let clean = fs::read(home.path(CHECKPOINT)).unwrap();
    let lines = text(&clean).lines().map(str::to_owned).collect::<Vec<_>>();
    let starts: Vec<usize> =
        (0..lines.len()).map(|number| lines[..number].iter().map(|line| line.len() + 1).sum()).collect();
    assert_eq!(lines.len(), 6);
    let mut places = vec![
        ("origin", starts[0] + 3),
        ("end of the origin", starts[1] - 1),
        ("size", starts[1]),
        ("root", starts[2] + 20),
        ("last bits of the root", starts[2] + 42),
        ("end of the root", starts[3] - 1),
        ("empty line", starts[3]),
    ];
    for line in [4, 5] {
        let base64 = starts[line] + lines[line].rfind(' ').unwrap() + 1;
        places.extend([
            ("dash", starts[line] + 1),
            ("key name", starts[line] + 6),
            ("key id", base64 + 2),
            ("signature", base64 + 50),
            ("last bits of the signature", base64 + 90),
            ("padding", base64 + 91),
            ("end of the line", starts[line] + lines[line].len()),
        ]);
    }
    let mut random = Generator::new(common::seed("foreign checkpoint"));
    let cases: Vec<(&str, usize, u8)> =
        places.into_iter().map(|(what, place)| (what, place, 1u8 << random.below(8))).collect();
    each_on_a_copy(home.dir.path(), &cases, |(what, place, bit), copy| {
        let mut content = clean.clone();
        content[*place] ^= bit;
        fs::write(copy.join(CHECKPOINT), content).unwrap();
        let what = format!("bit {bit:#04x} in the {what} of the checkpoint, byte {place}");
        programs.refuse(&what, copy);
        ours_refuses(&what, copy);
    });
}

type Edit = fn(&mut Vec<String>);

const EDITS: &[(&str, Edit)] = &[
    ("a dropped line", |lines| drop(lines.remove(7))),
    ("the dropped last line", |lines| drop(lines.pop())),
    ("a dropped genesis", |lines| drop(lines.remove(0))),
    ("two swapped lines", |lines| lines.swap(7, 8)),
    ("a line twice", |lines| lines.insert(7, lines[7].clone())),
    ("an inserted line", |lines| lines.insert(7, lines[7].replace("\"i\":7,", "\"i\":8,"))),
    ("an inserted empty line", |lines| lines.insert(7, String::new())),
    ("a line after the last", |lines| lines.push(lines.last().unwrap().clone())),
    ("an entry with another member", |lines| {
        let place = lines.iter().position(|line| line.contains("\"kind\":\"event\"")).unwrap();
        lines[place] = lines[place].replace("\"kind\":\"event\",", "\"kind\":\"event\",\"x\":1,");
    }),
    ("a group that nobody closed, behind the signed part", |lines| {
        let prev = writer::hex(&writer::leaf(lines.last().unwrap().as_bytes()));
        lines.push(format!(
            "{{\"i\":{},\"prev\":\"{prev}\",\"t\":\"2999-01-01T00:00:00.000000Z\",\"kind\":\"heartbeat\"}}",
            lines.len()
        ));
    }),
    ("a byte that no text has", |lines| lines[7].push('\0')),
];

#[test]
fn lines_dropped_swapped_and_inserted_are_refused() {
    let home = small_trail();
    let programs = Programs::all();
    each_on_a_copy(home.dir.path(), EDITS, |(what, edit), copy| {
        let clean = lines_of(copy);
        let mut lines = clean.clone();
        edit(&mut lines);
        assert_ne!(lines, clean, "{what}");
        write_lines(copy, &lines);
        // The tiles end where the checkpoint does: what stands behind it is not published.
        match lines.len() > clean.len() && lines[..clean.len()] == clean[..] {
            true => programs.refuse_save("verify.go", what, copy),
            false => programs.refuse(what, copy),
        }
        ours_refuses(what, copy);
    });
}

#[test]
fn the_first_bad_entry_is_named() {
    let home = small_trail();
    let copy = home.copy();
    let mut lines = lines_of(copy.dir.path());
    let place = lines.iter().rposition(|line| line.contains("\"kind\":\"event\"")).unwrap();
    lines[place] = lines[place].replace("access_log", "access_lag");
    lines[place + 3] = "broken".to_owned();
    write_lines(copy.dir.path(), &lines);
    if common::have(SHELL) {
        let (_, said) = verify_sh(copy.dir.path(), &[]);
        assert!(said.contains(&format!("wrong: entry {}: ", place + 1)), "{said}");
    }
    if common::have(PYTHON) {
        let (_, said) = verify_py(copy.dir.path(), &[]);
        assert!(said.contains(&format!("wrong: entry {}: ", place + 1)), "{said}");
    }
}

#[test]
fn old_files_put_back_are_noticed_as_far_as_can_be() {
    let home = small_trail();
    let programs = Programs::all();
    let older = fs::read(home.path("older")).unwrap();
    let size: usize = text(&older).lines().nth(1).unwrap().parse().unwrap();
    let (older_head, newer_head) = (home.path("older"), home.path("newer"));
    let [older_head, newer_head] = [older_head.as_path(), newer_head.as_path()];
    let shell = |folder: &Path, heads: &[&Path]| common::have(SHELL).then(|| verify_sh(folder, heads).0);
    let python = |folder: &Path, heads: &[&Path]| common::have(PYTHON).then(|| verify_py(folder, heads).0);
    let go =
        |folder: &Path, head: &Path| go_program().map(|_| verify_tiles(folder, &[head.to_str().unwrap()]).0);
    let expect =
        |answer: Option<i32>, exit: i32, what: &str| assert_eq!(answer.unwrap_or(exit), exit, "{what}");

    // An older head is in the trail of today.
    let now = home.dir.path();
    expect(shell(now, &[older_head]), 0, "verify.sh, an older known head");
    expect(python(now, &[older_head, newer_head]), 0, "verify.py, known heads");
    expect(go(now, older_head), 0, "verify.go, an older known head");

    // An older segment beside the newer checkpoint.
    let copy = home.copy();
    let lines = lines_of(copy.dir.path());
    write_lines(copy.dir.path(), &lines[..size]);
    programs.refuse("an older segment with the newer checkpoint", copy.dir.path());
    ours_refuses("an older segment with the newer checkpoint", copy.dir.path());

    // All of the older state: sound in itself. Only who kept the newer head knows.
    copy.write(CHECKPOINT, &older);
    programs.accept("a whole older state", copy.dir.path());
    expect(shell(copy.dir.path(), &[newer_head]), 1, "verify.sh, an older state");
    expect(python(copy.dir.path(), &[newer_head]), 1, "verify.py, an older state");
    expect(go(copy.dir.path(), newer_head), 1, "verify.go, an older state");

    // The older checkpoint beside all entries: what a crash leaves; the newer head was signed, though.
    let copy = home.copy();
    copy.write(CHECKPOINT, &older);
    programs.accept("the older checkpoint with the newer segment", copy.dir.path());
    expect(shell(copy.dir.path(), &[newer_head]), 1, "verify.sh, an older checkpoint");
    expect(python(copy.dir.path(), &[newer_head]), 1, "verify.py, an older checkpoint");
    expect(go(copy.dir.path(), newer_head), 1, "verify.go, an older checkpoint");

    // A known head that is none, and one of another trail.
    copy.write("head", b"acme.example/crmwarden/g1\n");
    for head in [copy.path("head"), copy.path("nothing")] {
        expect(shell(copy.dir.path(), &[&head]), 1, "verify.sh, no head");
        expect(python(copy.dir.path(), &[&head]), 1, "verify.py, no head");
    }
}

#[test]
fn another_key_and_another_origin_are_refused() {
    let home = small_trail();
    let programs = Programs::all();
    let trust = fs::read_to_string(home.path("trust.txt")).unwrap();
    let mut other = Writer::new();
    other.group(3);
    let line = |text: &str, word: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{word} ")));
        found.unwrap().to_owned()
    };
    // The same name with another key, and an id that is right for it.
    let strange = |name: &str| writer::vkey(name, &epoch_key(77)).0;
    let origin = line(&trust, "origin")["origin ".len()..].to_owned();
    let (log, epoch) = (strange(&origin), strange(&format!("{origin}/epoch0")));
    let id_of_another = |word: &str| {
        let vkey = line(&trust, word);
        let digit = vkey.find('+').unwrap() + 1;
        let other = if vkey.as_bytes()[digit] == b'0' { "1" } else { "0" };
        format!("{}{other}{}", &vkey[..digit], &vkey[digit + 1..])
    };
    let cases: Vec<(&str, String)> = vec![
        ("another log key", trust.replace(&line(&trust, "log"), &format!("log {log}"))),
        ("another epoch key", trust.replace(&line(&trust, "epoch0"), &format!("epoch0 {epoch}"))),
        ("a log key with another id", trust.replace(&line(&trust, "log"), &id_of_another("log"))),
        ("an epoch key with another id", trust.replace(&line(&trust, "epoch0"), &id_of_another("epoch0"))),
        ("another origin", trust.replace("acme.example/", "acme.example.org/")),
        ("another trail's trust", other.trust()),
    ];
    each_on_a_copy(home.dir.path(), &cases, |(what, trust), copy| {
        fs::write(copy.join("trust.txt"), trust).unwrap();
        // Bad ids are a wrong call for the Go program, which takes keys and no trust file.
        match what.contains("another id") || what.contains("another origin") {
            true => programs.refuse_save("verify.go", what, copy),
            false => programs.refuse(what, copy),
        }
    });
    // Entry 0 is what the trust file pins besides the keys; the Go program takes no trust file.
    let copy = home.copy();
    let entry0 = line(&trust, "entry0");
    copy.write("trust.txt", trust.replace(&entry0, &format!("entry0 {}", "ab".repeat(32))).as_bytes());
    programs.refuse_save("verify.go", "another entry 0", copy.dir.path());
    // Another trail in the place of ours.
    let copy = home.copy();
    other.store(copy.dir.path());
    programs.accept("a trail made by hand", copy.dir.path());
    copy.write("trust.txt", trust.as_bytes());
    programs.refuse("a whole other trail", copy.dir.path());
    // And the checkpoint alone of another trail.
    let copy = home.copy();
    copy.write(CHECKPOINT, other.checkpoint(3).as_bytes());
    programs.refuse("the checkpoint of another trail", copy.dir.path());
}

#[test]
fn what_cannot_be_said_is_no_verdict() {
    let home = small_trail().copy();
    home.write("trust.txt", b"no trust file\n");
    let empty = tempfile::tempdir().unwrap();
    if common::have(SHELL) {
        assert_eq!(verify_sh(home.dir.path(), &[]).0, 2);
        assert_eq!(verify_sh(empty.path(), &[]).0, 2);
    }
    if common::have(PYTHON) {
        assert_eq!(verify_py(home.dir.path(), &[]).0, 2);
        assert_eq!(verify_py(empty.path(), &[]).0, 2);
    }
}
