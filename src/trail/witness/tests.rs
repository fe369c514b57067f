//! Every answer of the witness, and what a client makes of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trail::note::{NoteSigner, sign};
use crate::trail::proof::Memory;
use crate::trail::tree::leaf_hash;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

const NOW: u64 = 1_790_000_000;
const ORIGIN: &str = "o.example/g1";

fn log(byte: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[byte; 32]))
}

fn witness() -> Witness {
    let cosigner = Cosigner::new("w.example/w".into(), SigningKey::from_bytes(&[9; 32]));
    Witness::new(cosigner, [log(1).verifier(), log(2).verifier()])
}

fn tree(size: u64) -> Memory {
    let mut tree = Memory::default();
    tree.extend((0..size).map(|i| leaf_hash(&i.to_be_bytes())));
    tree
}

fn text(size: u64) -> String {
    Checkpoint { origin: ORIGIN.into(), size, root: tree(size).root() }.text()
}

fn note(size: u64) -> String {
    sign(&text(size), &[&log(1)])
}

fn body(old: u64, new: u64) -> String {
    request_between(&mut tree(new), old, new, &note(new)).unwrap()
}

fn send(witness: &mut Witness, body: &str) -> Answer {
    witness.add_checkpoint(body.as_bytes(), NOW, &mut |_, _| Ok(()))
}

#[test]
fn a_log_that_grows_is_cosigned_and_its_state_stored_first() {
    let mut witness = witness();
    let key = witness.public();
    let mut stored = Vec::new();
    for (old, new) in [(0, 0), (0, 5), (5, 5), (5, 6), (6, 300), (300, 4096)] {
        let body = body(old, new);
        let answer = witness.add_checkpoint(body.as_bytes(), NOW + new, &mut |origin, seen| {
            assert_eq!((origin, seen.size), (ORIGIN, new));
            stored.push(seen.note.clone());
            Ok(())
        });
        assert_eq!((answer.status, answer.content_type), (200, TEXT_TYPE), "{old} {new} {answer:?}");
        let told = take_answer(&note(new), 200, TEXT_TYPE, answer.body.as_bytes(), &key);
        assert_eq!(told, Told::Cosigned(answer.body.clone(), NOW + new));
        let seen = witness.seen(ORIGIN).unwrap();
        assert_eq!((seen.size, seen.root), (new, tree(new).root()));
        assert_eq!(seen.note, format!("{}{}", note(new), answer.body));
        assert_eq!(Some(&seen.note), stored.last());
        assert_eq!(witness.checkpoint(&origin_hash(ORIGIN)), Answer::text(200, seen.note.clone()));
    }
    assert_eq!(stored.len(), 6);
    assert_eq!(witness.checkpoint(&origin_hash("other")).status, 404);
}

#[test]
fn each_refusal_has_its_status_and_changes_nothing() {
    let mut witness = witness();
    assert_eq!(send(&mut witness, &body(0, 10)).status, 200);
    let before = witness.seen(ORIGIN).cloned();
    let signed = |text: &str, key: u8| sign(text, &[&log(key)]);
    let fork = text(20).replace(&base64_hash(&tree(20).root()), &base64_hash(&tree(21).root()));
    let same = text(10).replace(&base64_hash(&tree(10).root()), &base64_hash(&tree(11).root()));
    let broken = note(20).replace("\n20\n", "\n21\n");
    let unknown = sign(&text(20).replace(ORIGIN, "p.example/g1"), &[&log(1)]);
    let proof = proof::consistency(&mut tree(20), 10, 20).unwrap();
    let mut long = proof.clone();
    long.push(Hash([1; 32]));
    let at = |old, proof: &[Hash], note: &str| request(old, proof, note);
    for (status, body, what) in [
        (404, at(10, &proof, &unknown), "an origin that is not ours"),
        (403, at(10, &proof, &signed(&text(20), 3)), "signed by a key that we do not trust"),
        (403, at(10, &proof, &broken), "a signature that does not hold"),
        (
            403,
            at(10, &proof, &format!("{}{}", note(20), &signed(&text(19), 2)[text(19).len() + 1..])),
            "one of two does not hold",
        ),
        (400, at(21, &[], &note(20)), "old above new"),
        (409, at(0, &[], &note(20)), "old below ours"),
        (409, at(9, &proof, &note(20)), "old below ours"),
        (409, at(11, &proof, &note(20)), "old above ours"),
        (422, at(10, &proof[1..], &note(20)), "a hash is missing"),
        (422, at(10, &long, &note(20)), "a hash too many"),
        (422, at(10, &[], &note(20)), "no proof"),
        (422, at(10, &proof, &signed(&fork, 1)), "another history"),
        (422, at(10, &[], &signed(&same, 1)), "the same size, another root"),
        (422, at(10, &proof, &note(10)), "the same size with a proof"),
    ] {
        let answer = witness.add_checkpoint(body.as_bytes(), NOW, &mut |_, _| unreachable!("{what}"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.content_type, if status == 409 { SIZE_TYPE } else { TEXT_TYPE });
        if status == 409 {
            assert_eq!(answer.body, "10\n", "{what}");
        }
        assert_eq!(witness.seen(ORIGIN).cloned(), before, "{what}");
    }
    assert_eq!(send(&mut witness, &at(10, &proof, &note(20))).status, 200, "the right one is still taken");
}

#[test]
fn the_first_checkpoint_and_the_empty_tree() {
    let mut fresh = witness();
    assert_eq!(send(&mut fresh, &request(5, &[], &note(5))), Answer::conflict(0));
    assert_eq!(send(&mut fresh, &request(0, &[Hash([1; 32])], &note(5))).status, 422);
    let wrong = sign(&format!("{ORIGIN}\n0\n{}\n", base64_hash(&Hash([1; 32]))), &[&log(1)]);
    assert_eq!(send(&mut fresh, &request(0, &[], &wrong)).status, 422);
    assert_eq!(send(&mut fresh, &request(0, &[], &note(5))).status, 200);
}

#[test]
fn malformed_requests_are_400() {
    let good = body(0, 5);
    let hash = base64_hash(&Hash([1; 32]));
    let lines = format!("{hash}\n").repeat(PROOF_MAX + 1);
    let mut witness = witness();
    for bad in [
        String::new(),
        "old 0\n".into(),
        note(5),
        good.replacen("old 0", "old", 1),
        good.replacen("old 0", "old  0", 1),
        good.replacen("old 0", "old 00", 1),
        good.replacen("old 0", "old -1", 1),
        good.replacen("old 0", "old 18446744073709551616", 1),
        good.replacen("old 0", "new 0", 1),
        good.replacen("old 0\n", "old 0\r\n", 1),
        good.replacen("old 0\n", &format!("old 0\n{}\n", &hash[1..]), 1),
        good.replacen("old 0\n", &format!("old 0\n{hash} \n"), 1),
        good.replacen("old 0\n", &format!("old 0\n{lines}"), 1),
        good.replacen("\n\n", "\n", 1),
        good.replacen("\n5\n", "\n05\n", 1),
        good.trim_end().to_owned(),
        format!("{good}\n"),
    ] {
        assert_eq!(send(&mut witness, &bad).status, 400, "{bad:?}");
    }
    assert_eq!(witness.add_checkpoint(b"old 0\n\n\xff\n", NOW, &mut |_, _| Ok(())).status, 400);
    let long = format!("{good}{}", "x".repeat(REQUEST_MAX));
    assert_eq!(send(&mut witness, &long).status, 413);
    let full = good.replacen("old 0\n", &format!("old 0\n{}", &lines[hash.len() + 1..]), 1);
    assert_eq!(Request::parse(full.as_bytes()).unwrap().proof.len(), PROOF_MAX);
}

#[test]
fn what_cannot_be_stored_is_not_cosigned() {
    let mut witness = witness();
    let answer =
        witness.add_checkpoint(body(0, 5).as_bytes(), NOW, &mut |_, _| Err(io::Error::other("disk")));
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains('\u{2014}') && witness.seen(ORIGIN).is_none());
    assert_eq!(send(&mut witness, &body(0, 5)).status, 200);
}

#[test]
fn the_state_survives_a_start_and_only_our_own() {
    let mut first = witness();
    assert_eq!(send(&mut first, &body(0, 10)).status, 200);
    let stored = first.seen(ORIGIN).unwrap().note.clone();
    let mut second = witness();
    second.restore(&stored).unwrap();
    assert_eq!(second.seen(ORIGIN), first.seen(ORIGIN));
    assert_eq!(send(&mut second, &body(0, 5)), Answer::conflict(10));
    assert_eq!(send(&mut second, &body(10, 20)).status, 200);
    assert_eq!(second.restore(&note(10)), Err(NoteError::Unsigned("w.example/w".into())));
    assert!(second.restore(&stored.replace("\n10\n", "\n11\n")).is_err());
}

/// Every key of a log's name counts, and the line of each that signed is kept.
#[test]
fn a_log_may_have_several_keys() {
    let mut witness = witness();
    let both = sign(&text(5), &[&log(2), &log(3), &log(1)]);
    assert_eq!(send(&mut witness, &request(0, &[], &both)).status, 200);
    let kept = witness.seen(ORIGIN).unwrap().note.clone();
    let parsed = Note::parse(&kept).unwrap();
    assert_eq!(parsed.signatures.len(), 3);
    for key in [log(1).verifier(), log(2).verifier()] {
        assert_eq!(parsed.signed_by(&key), Ok(true));
    }
    assert_eq!(parsed.signed_by(&log(3).verifier()), Ok(false), "a key that we do not know is left out");
}

#[test]
fn a_client_counts_only_what_holds() {
    let key = witness().public();
    let other = Cosigner::new("v.example/v".into(), SigningKey::from_bytes(&[8; 32]));
    let ours = Cosigner::new("w.example/w".into(), SigningKey::from_bytes(&[9; 32]));
    let line = ours.sign(&text(5), NOW);
    let told =
        |status, content: &str, body: &str| take_answer(&note(5), status, content, body.as_bytes(), &key);
    let two = format!("{}{line}", other.sign(&text(5), NOW));
    assert_eq!(told(200, TEXT_TYPE, &two), Told::Cosigned(line.clone(), NOW));
    for bad in [
        String::new(),
        "\n".into(),
        other.sign(&text(5), NOW),
        ours.sign(&text(6), NOW),
        line.trim_end().to_owned(),
        format!("{line}\n"),
        format!("x\n\n{line}"),
        format!("{line}{}", ours.sign(&text(6), NOW)),
        line.repeat(ANSWER_MAX / line.len() + 1),
    ] {
        assert!(matches!(told(200, TEXT_TYPE, &bad), Told::Refused(200, _)), "{bad:?}");
    }
    assert_eq!(told(409, SIZE_TYPE, "17\n"), Told::Conflict(17));
    assert_eq!(told(409, "text/x.tlog.size; charset=utf-8", "0\n"), Told::Conflict(0));
    for (status, content, bad) in [
        (409, TEXT_TYPE, "17\n"),
        (409, SIZE_TYPE, "17"),
        (409, SIZE_TYPE, "-1\n"),
        (422, TEXT_TYPE, "no\n"),
        (500, "", &line),
    ] {
        assert!(matches!(told(status, content, bad), Told::Refused(_, _)), "{status} {bad}");
    }
    assert!(matches!(take_answer("x", 200, "", line.as_bytes(), &key), Told::Refused(200, _)));
    assert!(matches!(take_answer(&note(5), 200, "", b"\xff", &key), Told::Refused(200, _)));
}

proptest! {
    /// However requests come, what is cosigned is always a continuation of what was cosigned before.
    #[test]
    fn what_was_cosigned_never_shrinks(sizes in prop::collection::vec((0u64..40, 0u64..40), 1..30)) {
        let mut witness = witness();
        let mut newest = 0;
        for (old, new) in sizes {
            let proof = proof::consistency(&mut tree(new.max(old)), old.min(new), new).unwrap();
            let answer = send(&mut witness, &request(old, &proof, &note(new)));
            let wanted = match (old <= new, old == newest) {
                (false, _) => 400,
                (true, false) => 409,
                (true, true) => 200,
            };
            prop_assert_eq!(answer.status, wanted);
            if wanted == 200 {
                newest = new;
            }
            prop_assert_eq!(witness.seen(ORIGIN).map_or(0, |seen| seen.size), newest);
        }
    }

    #[test]
    fn any_bytes_are_answered(
        head in "(old [0-9]{0,3}\n)?([A-Za-z0-9+/]{43}=\n){0,2}\n?",
        rest in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut witness = witness();
        let refused = |status: u16| (400..500).contains(&status);
        let bytes = [head.as_bytes(), &rest].concat();
        prop_assert!(refused(witness.add_checkpoint(&bytes, NOW, &mut |_, _| Ok(())).status));
        let _ = take_answer(&note(5), 200, TEXT_TYPE, &bytes, &witness.public());
        // One bit of a good request: only lines of keys that we do not know can be changed unnoticed.
        let mut good = body(0, 5).into_bytes();
        let at = place.index(good.len());
        good[at] ^= 1 << bit;
        prop_assert!(refused(witness.add_checkpoint(&good, NOW, &mut |_, _| Ok(())).status));
    }
}
