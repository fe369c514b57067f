//! Policies read, refused by line, and applied to notes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trail::note::{Cosigner, NoteSigner, sign};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

fn log(name: &str, byte: u8) -> NoteSigner {
    NoteSigner::new(name.into(), SigningKey::from_bytes(&[byte; 32]))
}

fn witness(byte: u8) -> Cosigner {
    Cosigner::new(format!("w{byte}.example"), SigningKey::from_bytes(&[byte; 32]))
}

fn vkey(byte: u8) -> String {
    witness(byte).public().vkey()
}

/// The specification's example, with keys: two of X1 to X3, and any of Y1 to Y3.
fn example() -> String {
    let mut text = format!("log {}\n\n", log("o/g1", 1).verifier().vkey());
    for (name, byte) in [("X1", 11), ("X2", 12), ("X3", 13)] {
        text.push_str(&format!("witness {name} {}\n", vkey(byte)));
    }
    text.push_str("group X-witnesses 2 X1 X2 X3\n\n# the other organisation\n");
    for (name, byte) in [("Y1", 21), ("Y2", 22), ("Y3", 23)] {
        text.push_str(&format!("\twitness  {name}\t{} https://{name}.example/ \n", vkey(byte)));
    }
    text + "group Y-witnesses any Y1 Y2 Y3\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

const TEXT: &str = "o/g1\n7\nAAAA\n";

fn note(cosigners: &[u8]) -> String {
    let mut note = sign(TEXT, &[&log("o/g1", 1)]);
    for byte in cosigners {
        note.push_str(&witness(*byte).sign(TEXT, 1_700_000_000 + u64::from(*byte)));
    }
    note
}

#[test]
fn the_specification_s_example_is_applied() {
    let policy = Policy::parse(&example(), 0).unwrap();
    assert!(policy.asks_for_witnesses());
    assert_eq!((policy.logs.len(), policy.witnesses.len()), (1, 6));
    assert_eq!(policy.witnesses[3].url.as_deref(), Some("https://Y1.example/"));
    for (cosigners, quorum) in [
        (&[][..], false),
        (&[11, 12], false),
        (&[11, 21], false),
        (&[21, 22, 23, 13], false),
        (&[11, 12, 21], true),
        (&[23, 13, 11], true),
        (&[11, 12, 13, 21, 22, 23], true),
        (&[11, 11, 21], false),
        (&[99, 98, 21], false),
    ] {
        let judged = policy.judge(&note(cosigners)).unwrap();
        assert_eq!(judged.quorum, quorum, "{cosigners:?}");
        assert_eq!(judged.log.as_deref(), Some("o/g1"));
    }
    let judged = policy.judge(&note(&[21, 11])).unwrap();
    assert_eq!(judged.witnesses, [("X1".into(), 1_700_000_011), ("Y1".into(), 1_700_000_021)]);
}

#[test]
fn a_log_speaks_under_its_own_name_only() {
    let policy = Policy::parse(&example(), 0).unwrap();
    let unknown = sign(TEXT, &[&log("o/g1", 2)]);
    assert_eq!(policy.judge(&unknown).unwrap().log, None);
    let elsewhere = sign("p/g1\n7\nAAAA\n", &[&log("o/g1", 1)]);
    assert_eq!(policy.judge(&elsewhere).unwrap().log, None, "signed by a listed key, under another origin");
    let broken = note(&[11]).replace("7\n", "8\n");
    assert_eq!(policy.judge(&broken), Err(NoteError::BadSignature("o/g1".into())));
    let cosigned = sign(TEXT, &[&log("o/g1", 1)]) + &witness(12).sign("o/g1\n8\nAAAA\n", 1);
    assert_eq!(policy.judge(&cosigned), Err(NoteError::BadSignature("w12.example".into())));
    assert!(matches!(policy.judge("nothing"), Err(NoteError::Malformed(_))));
}

#[test]
fn no_quorum_a_single_witness_and_numbers() {
    let none = Policy::parse("quorum none\n", 0).unwrap();
    assert!(!none.asks_for_witnesses());
    assert_eq!(none.judge(&note(&[])).unwrap(), Judgement { log: None, witnesses: vec![], quorum: true });
    let single = Policy::parse(&format!("witness w {}\nquorum w\n", vkey(11)), 0).unwrap();
    assert!(single.judge(&note(&[11])).unwrap().quorum && !single.judge(&note(&[12])).unwrap().quorum);
    let pair = format!("witness a {}\nwitness b {}\n", vkey(11), vkey(12));
    for (threshold, one, two) in
        [("any", true, true), ("1", true, true), ("2", false, true), ("all", false, true)]
    {
        let policy = Policy::parse(&format!("{pair}group g {threshold} a b\nquorum g\n"), 0).unwrap();
        assert_eq!(policy.judge(&note(&[12])).unwrap().quorum, one, "{threshold}");
        assert_eq!(policy.judge(&note(&[11, 12])).unwrap().quorum, two, "{threshold}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let (w1, w2) = (vkey(11), vkey(12));
    let log1 = log("o/g1", 1).verifier().vkey();
    let renamed = log("p/g1", 1).verifier().vkey();
    let pair = format!("witness a {w1}\nwitness b {w2}\n");
    let pq = "p.example+00000000+".to_owned() + "BgAAAAAA";
    for (text, line, what) in [
        (String::new(), 0, "no end"),
        ("quorum none".into(), 1, "no end"),
        ("\n".into(), 0, "no `quorum`"),
        ("quorum none\nquorum none\n".into(), 2, "already"),
        ("quorum none\r\n".into(), 1, "control character"),
        ("quorum\u{b}none\n".into(), 1, "control character"),
        ("quorum\u{a0}none\n".into(), 1, "none of log"),
        ("Quorum none\n".into(), 1, "none of log"),
        ("quorum\n".into(), 1, "is expected"),
        ("quorum a\n".into(), 1, "no line before"),
        ("quorum none a\n".into(), 1, "is expected"),
        ("log\n".into(), 1, "is expected"),
        (format!("log {log1} a b\n"), 1, "is expected"),
        (format!("log {log1}x\n"), 1, "not a valid"),
        (format!("log {w1}\n"), 1, "type 0x04"),
        (format!("log {log1}\nlog {renamed}\n"), 2, "listed already"),
        (format!("witness a {log1}\n"), 1, "type 0x01"),
        (format!("witness a {pq}\n"), 1, "type 0x06"),
        (format!("witness {w1}\n"), 1, "is expected"),
        (format!("witness none {w1}\n"), 1, "cannot be a name"),
        (format!("witness a {w1}\nwitness a {w2}\n"), 2, "defined already"),
        (format!("witness a {w1}\nwitness b {w1}\n"), 2, "listed already"),
        (format!("{pair}group a any b\n"), 3, "defined already"),
        (format!("{pair}group none any b\n"), 3, "cannot be a name"),
        (format!("{pair}group g any\n"), 3, "is expected"),
        (format!("{pair}group g any c\n"), 3, "no line before"),
        (format!("{pair}group g any none\n"), 3, "no line before"),
        (format!("{pair}group g any g\n"), 3, "no line before"),
        (format!("{pair}group g any a a\n"), 3, "member of a group already"),
        (format!("{pair}group g any a\ngroup h any a b\n"), 4, "member of a group already"),
        (format!("{pair}group g 0 a b\n"), 3, "from 1 to 2"),
        (format!("{pair}group g 3 a b\n"), 3, "from 1 to 2"),
        (format!("{pair}group g 01 a b\n"), 3, "from 1 to 2"),
        (format!("{pair}group g +1 a b\n"), 3, "from 1 to 2"),
        (format!("{pair}group g most a b\n"), 3, "from 1 to 2"),
        (format!("quorum a\n{pair}"), 1, "no line before"),
    ] {
        let error = Policy::parse(&text, 0).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.what.contains(what), "{text:?}: {error}");
    }
}

#[test]
fn limits() {
    let mut text: String = (0..ITEMS_MAX).map(|n| format!("witness w{n} {}\n", key(n as u32))).collect();
    assert!(Policy::parse(&format!("{text}quorum none\n"), 0).is_ok());
    text.push_str(&format!("witness more {}\nquorum none\n", key(1000)));
    assert_eq!(Policy::parse(&text, 0).unwrap_err().line, ITEMS_MAX + 1);
}

fn key(number: u32) -> String {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Cosigner::new("w.example".into(), SigningKey::from_bytes(&secret)).public().vkey()
}

#[test]
fn a_trust_file_ends_with_a_policy() {
    let head = "crmwarden-trust v1\norigin o/g1\nreport r\n";
    let policy = of_trust_file(&format!("{head}\n{}", example())).unwrap();
    assert_eq!(policy, Policy::parse(&example(), 0).unwrap());
    for (text, said) in [
        (format!("{head}\nlog\nquorum none\n"), "line 5: `log <vkey> [<url>]` is expected"),
        (format!("{head}\nquorum none"), "line 5: the last line has no end: the file may be cut"),
        (head.into(), "the trust file ends before its policy (`quorum none` asks for nobody)"),
        (format!("{head}\n"), "the trust file ends before its policy (`quorum none` asks for nobody)"),
        (String::new(), "the trust file ends before its policy (`quorum none` asks for nobody)"),
        (
            format!("{head}quorum none\n"),
            "line 4: `quorum` belongs behind the empty line that the policy begins with",
        ),
        (
            format!("{head}\nquorum none\n").replace('\n', "\r\n"),
            "line 2: lines of a trust file end with a newline alone",
        ),
    ] {
        assert_eq!(of_trust_file(&text).unwrap_err().to_string(), said, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "(#|log|witness|group|quorum|none|any|all|[0-9]|[abg+]|[ \t\n]|\\PC){0,60}\n?") {
        if let Err(error) = Policy::parse(&text, 0) {
            prop_assert!(error.line <= text.split('\n').count());
        }
        let _ = of_trust_file(&text);
    }

    /// A policy cut anywhere is refused, or cut behind its quorum.
    #[test]
    fn a_cut_policy_is_never_a_weaker_one(place in any::<prop::sample::Index>()) {
        let whole = example();
        let cut = &whole[..place.index(whole.len())];
        prop_assert!(Policy::parse(cut, 0).is_err(), "{}", cut);
    }
}
