//! What is kept, what stays as it was, and what is found again.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::anchor::http::Url;
use crate::trail::disk::RealDisk;
use crate::trail::note::{Cosigner, NoteSigner, sign};
use crate::trail::tree::leaf_hash;
use ed25519_dalek::SigningKey;
use std::fs;

const ORIGIN: &str = "acme.example/crmwarden/g1";

fn head(size: u64) -> Head {
    let log = NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[1; 32]));
    let epoch = NoteSigner::new(format!("{ORIGIN}/epoch0"), SigningKey::from_bytes(&[2; 32]));
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: leaf_hash(&size.to_be_bytes()) };
    Head { size, note: sign(&checkpoint.text(), &[&log, &epoch]).into() }
}

fn witness(seed: u8) -> Cosigner {
    Cosigner::new(format!("w{seed}.example/witness"), SigningKey::from_bytes(&[seed; 32]))
}

fn target(seed: u8) -> Target {
    let url = Url::parse("http://127.0.0.1:1").unwrap();
    let key = witness(seed).public();
    Target { name: key.name.clone(), kind: Kind::Witness { key, url } }
}

fn cosigned(seed: u8, size: u64, time: u64) -> Proof {
    let text = head(size).note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let line = witness(seed).sign(&text, time);
    Proof::Cosignature(line.trim_end().to_owned(), Time::from_seconds(time as i64))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    folder
}

#[test]
fn cosignatures_follow_our_two_and_the_first_of_a_witness_stays() {
    let folder = folder();
    let keep = |seed, size, time| {
        let proof = cosigned(seed, size, time);
        store(&RealDisk, folder.path(), &target(seed).name, &head(size), &proof)
    };
    let note = || fs::read_to_string(note_path(folder.path(), 7)).unwrap();
    // The checkpoint may be linked there already, and the link's other name must stay what it was.
    fs::write(folder.path().join("checkpoint"), &*head(7).note).unwrap();
    fs::hard_link(folder.path().join("checkpoint"), note_path(folder.path(), 7)).unwrap();
    for (seed, time) in [(5, 100), (6, 101), (5, 200)] {
        keep(seed, 7, time).unwrap();
    }
    let text = note();
    let parsed = Note::parse(&text).unwrap();
    assert!(text.starts_with(&*head(7).note));
    assert_eq!(parsed.signatures.len(), 4);
    assert_eq!(parsed.cosigned_by(&witness(5).public()), Ok(Some(100)));
    assert_eq!(parsed.cosigned_by(&witness(6).public()), Ok(Some(101)));
    assert_eq!(fs::read_to_string(folder.path().join("checkpoint")).unwrap(), &*head(7).note);
    // Another checkpoint of this size is not overwritten.
    fs::write(note_path(folder.path(), 8), "something else\n\n").unwrap();
    assert!(keep(5, 8, 100).is_err());
    assert_eq!(fs::read_to_string(note_path(folder.path(), 8)).unwrap(), "something else\n\n");
    // A note that is full takes no more.
    let mut full = head(9).note.to_string();
    (10..200).for_each(|seed| full.push_str(&format!("\u{2014} k{seed} AAAAAAAA\n")));
    fs::write(note_path(folder.path(), 9), &full).unwrap();
    assert!(keep(5, 9, 100).is_err());
    assert_eq!(disk::names(&folder.path().join("checkpoints")).unwrap().len(), 3, "nothing else is left");
}

#[test]
fn a_stamp_stands_beside_what_it_is_over() {
    let folder = folder();
    let keep = |proof| store(&RealDisk, folder.path(), "tsa.one", &head(7), &proof);
    keep(Proof::Stamp(b"response".to_vec(), Time::EPOCH)).unwrap();
    store(&RealDisk, folder.path(), "w", &head(7), &cosigned(5, 7, 100)).unwrap();
    let names = disk::names(&folder.path().join("checkpoints")).unwrap();
    let own = format!("{:020}", 7);
    assert_eq!(names, [own.clone(), format!("{own}.stamped"), format!("{own}.tsa.one.tsr")]);
    // The cosignature came after; what was stamped is kept as it was.
    assert_eq!(fs::read_to_string(stamped_path(folder.path(), 7)).unwrap(), &*head(7).note);
    assert_eq!(fs::read(stamp_path(folder.path(), 7, "tsa.one")).unwrap(), b"response");
    keep(Proof::Sent).unwrap();
}

#[test]
fn what_was_reached_is_found_again_where_it_is_proved() {
    let folder = folder();
    for (seed, size, time) in [(5, 7, 100), (5, 9, 101), (6, 7, 102), (5, 30, 103)] {
        store(&RealDisk, folder.path(), "", &head(size), &cosigned(seed, size, time)).unwrap();
    }
    // Of another trail, above what is signed, damaged, and unknown.
    let foreign = head(8).note.replace("acme", "evil");
    fs::write(note_path(folder.path(), 8), foreign).unwrap();
    let nine = fs::read_to_string(note_path(folder.path(), 9)).unwrap();
    fs::write(note_path(folder.path(), 9), nine.replace("\n9\n", "\n10\n")).unwrap();
    let targets = [target(5), target(6), target(7)];
    let found = reached(&RealDisk, folder.path(), ORIGIN, 20, &targets).unwrap();
    let at = |size, time| Reached { size, time: Time::from_seconds(time) };
    assert_eq!(found.get(&targets[0].name), Some(&at(7, 100)));
    assert_eq!(found.get(&targets[1].name), Some(&at(7, 102)));
    assert_eq!(found.get(&targets[2].name), None);
    fs::write(note_path(folder.path(), 9), nine).unwrap();
    let found = reached(&RealDisk, folder.path(), ORIGIN, 20, &targets).unwrap();
    assert_eq!(found.get(&targets[0].name), Some(&at(9, 101)));
    assert_eq!(reached(&RealDisk, folder.path(), "other/log", 20, &targets).unwrap().len(), 0);
}
