//! C2SP signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).
//!
//! ```text
//! <origin>\n<size>\n<base64 root>\n
//! \n
//! — <key name> <base64(key id[4] ‖ signature[64])>\n      one line a signature
//! ```
//!
//! The signatures are Ed25519 over the text with its last newline and without the empty line. A key id is
//! the first four bytes of `SHA-256(name ‖ "\n" ‖ 0x01 ‖ public key)`. Unknown signature lines are
//! ignored; a line of a known key that does not hold rejects the whole note. Base64 is strict: padded,
//! canonical, so that one note has one spelling.
//!
//! A witness's line (c2sp.org/tlog-cosignature, [`Cosigner`]) has a key of type 0x04 and holds
//! `key id[4] ‖ time[8] ‖ signature[64]`, the time in seconds since 1970, most significant byte first. It
//! signs `cosignature/v1\ntime <decimal>\n` and the text. The name is not signed, so one key has one name.

use super::tree;
use crate::model::{Hash, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// Type byte of an Ed25519 key in notes.
const ED25519: u8 = 0x01;
/// Type byte of an Ed25519 key that signs with a time (cosignature/v1).
const COSIGNATURE: u8 = 0x04;
/// Longest note that is read: a checkpoint with sixteen signatures is below 3 KiB.
pub const NOTE_MAX: usize = 64 * 1024;
/// Most signature lines of a note that is read. The specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;
/// Latest time of a cosignature.
const TIME_MAX: u64 = i64::MAX as u64;

fn key_id(name: &str, kind: u8, key: &VerifyingKey) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([b'\n', kind])
        .chain_update(key.as_bytes())
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

fn vkey(name: &str, kind: u8, key: &VerifyingKey) -> String {
    let mut typed = vec![kind];
    typed.extend_from_slice(key.as_bytes());
    format!("{name}+{}+{}", digest::hex(&key_id(name, kind, key)), BASE64.encode(typed))
}

/// Reads a vkey of a type that has an Ed25519 key; its id must be right.
fn parse_vkey(vkey: &str, kind: u8) -> Option<(String, VerifyingKey)> {
    let (name, rest) = vkey.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let bytes = BASE64.decode(key).ok()?;
    let (typed, key) = bytes.split_first()?;
    let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let valid =
        *typed == kind && is_name(name) && digest::parse_hex(id.as_bytes())? == key_id(name, kind, &key);
    valid.then(|| (name.to_owned(), key))
}

/// The type byte of a vkey, for messages; nothing else of it is checked.
pub(super) fn vkey_type(vkey: &str) -> Option<u8> {
    let key = vkey.splitn(3, '+').nth(2)?;
    BASE64.decode(key).ok()?.first().copied()
}

/// Whether a key may have this name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// A named public key of a note.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The key's name, without spaces and `+`.
    pub name: String,
    /// The key.
    pub key: VerifyingKey,
}

impl Verifier {
    /// The four bytes that stand before a signature.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, &self.key)
    }

    /// `name+hex(id)+base64(type ‖ key)`.
    pub fn vkey(&self) -> String {
        vkey(&self.name, ED25519, &self.key)
    }

    /// Reads a vkey; its id must be right.
    pub fn parse(vkey: &str) -> Option<Verifier> {
        let (name, key) = parse_vkey(vkey, ED25519)?;
        Some(Verifier { name, key })
    }

    /// Whether `signature` is this key's over `message` (strict: no malleable or small-order forms).
    pub fn holds(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vkey())
    }
}

/// A named private key.
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

impl NoteSigner {
    /// A signer under a name.
    pub fn new(name: String, key: SigningKey) -> NoteSigner {
        NoteSigner { name, key }
    }
    /// Its public half.
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.verifying_key() }
    }
    /// The private key.
    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }
    /// A bare signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

/// Signs a note's text (which ends with a newline) with every signer, in their order.
pub fn sign(text: &str, signers: &[&NoteSigner]) -> String {
    let mut note = format!("{text}\n");
    for signer in signers {
        let mut bytes = signer.verifier().id().to_vec();
        bytes.extend_from_slice(&signer.sign(text.as_bytes()));
        note.push_str(&format!("\u{2014} {} {}\n", signer.name, BASE64.encode(bytes)));
    }
    note
}

/// Why a note does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// Not the form of the module doc.
    Malformed(&'static str),
    /// A known key's signature does not hold.
    BadSignature(String),
    /// A required key has not signed.
    Unsigned(String),
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoteError::Malformed(why) => write!(f, "not a signed note: {why}"),
            NoteError::BadSignature(name) => write!(f, "the signature of {name} does not hold"),
            NoteError::Unsigned(name) => write!(f, "not signed by {name}"),
        }
    }
}

impl std::error::Error for NoteError {}

/// A note taken apart. Nothing of it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The text, with its last newline.
    pub text: &'a str,
    /// Its signature lines, in their order.
    pub signatures: Vec<SignatureLine<'a>>,
}

/// A signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine<'a> {
    /// The line as it stands, without its newline.
    pub line: &'a str,
    /// The key's name.
    pub name: &'a str,
    /// The key's id.
    pub id: [u8; 4],
    /// What follows the id; its form is the key type's matter.
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart; at most [`NOTE_MAX`] bytes and [`SIGNATURES_MAX`] signature lines.
    pub fn parse(note: &'a str) -> Result<Note<'a>, NoteError> {
        if note.len() > NOTE_MAX {
            return Err(NoteError::Malformed("too long"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no signatures"))?;
        let (text, signatures) = (&note[..split + 1], &note[split + 2..]);
        let Some(signatures) = signatures.strip_suffix('\n') else {
            return Err(NoteError::Malformed("no newline at the end"));
        };
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Malformed("control characters"));
        }
        let mut lines = signatures.split('\n');
        let signatures = lines.by_ref().take(SIGNATURES_MAX).map(SignatureLine::parse);
        let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
        match lines.next() {
            None => Ok(Note { text, signatures }),
            Some(_) => Err(NoteError::Malformed("too many signatures")),
        }
    }

    /// Whether this key signed. A line of it that does not hold is an error: the whole note does not count.
    pub fn signed_by(&self, key: &Verifier) -> Result<bool, NoteError> {
        let id = key.id();
        let mut signed = false;
        for line in self.lines_of(&key.name, id) {
            match line.signature.as_slice().try_into() {
                Ok(signature) if key.holds(self.text.as_bytes(), signature) => signed = true,
                _ => return Err(NoteError::BadSignature(key.name.clone())),
            }
        }
        Ok(signed)
    }

    /// The newest time at which this witness cosigned, in seconds since 1970. A line of it that does not
    /// hold is an error: the whole note does not count.
    pub fn cosigned_by(&self, key: &CosignerKey) -> Result<Option<u64>, NoteError> {
        let mut newest = None;
        for line in self.lines_of(&key.name, key.id()) {
            let time = key.time_of(self.text, &line.signature);
            newest = newest.max(Some(time.ok_or_else(|| NoteError::BadSignature(key.name.clone()))?));
        }
        Ok(newest)
    }

    fn lines_of(&self, name: &str, id: [u8; 4]) -> impl Iterator<Item = &SignatureLine<'a>> {
        self.signatures.iter().filter(move |line| line.name == name && line.id == id)
    }
}

/// Names of the keys that a note says signed it, in their order. Nothing is checked.
pub fn signers(note: &str) -> impl Iterator<Item = &str> {
    let signatures = note.rfind("\n\n").map_or("", |split| &note[split + 2..]);
    signatures.lines().filter_map(|line| line.strip_prefix("\u{2014} ")?.split(' ').next())
}

impl<'a> SignatureLine<'a> {
    /// Reads a line without its newline.
    pub fn parse(line: &'a str) -> Result<SignatureLine<'a>, NoteError> {
        let rest = line
            .strip_prefix("\u{2014} ")
            .ok_or(NoteError::Malformed("a signature line without its dash"))?;
        let (name, base64) =
            rest.split_once(' ').ok_or(NoteError::Malformed("a signature line without a key"))?;
        let bytes =
            BASE64.decode(base64).map_err(|_| NoteError::Malformed("a signature that is not base64"))?;
        match bytes.split_first_chunk::<4>() {
            Some((id, signature)) if is_name(name) && !signature.is_empty() => {
                Ok(SignatureLine { line, name, id: *id, signature: signature.to_vec() })
            }
            _ => Err(NoteError::Malformed("an empty signature line")),
        }
    }
}

/// The text of a note that *every* one of `required` signed.
pub fn open<'a>(note: &'a str, required: &[&Verifier]) -> Result<&'a str, NoteError> {
    let note = Note::parse(note)?;
    let mut unsigned = None;
    for key in required {
        if !note.signed_by(key)? {
            unsigned.get_or_insert(key);
        }
    }
    match unsigned {
        Some(key) => Err(NoteError::Unsigned(key.name.clone())),
        None => Ok(note.text),
    }
}

/// A witness's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignerKey {
    /// The witness's name.
    pub name: String,
    /// The key.
    pub key: VerifyingKey,
}

impl CosignerKey {
    /// The four bytes that stand before a cosignature.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, COSIGNATURE, &self.key)
    }

    /// `name+hex(id)+base64(type ‖ key)`.
    pub fn vkey(&self) -> String {
        vkey(&self.name, COSIGNATURE, &self.key)
    }

    /// Reads a vkey of type 0x04; its id must be right.
    pub fn parse(vkey: &str) -> Option<CosignerKey> {
        let (name, key) = parse_vkey(vkey, COSIGNATURE)?;
        Some(CosignerKey { name, key })
    }

    /// The time of a cosignature of this key over a checkpoint's text; `None` when it does not hold.
    fn time_of(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let holds = self.key.verify_strict(cosigned_message(text, time).as_bytes(), &signature).is_ok();
        (holds && time <= TIME_MAX).then_some(time)
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vkey())
    }
}

fn cosigned_message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A witness's private key.
pub struct Cosigner {
    name: String,
    key: SigningKey,
}

impl Cosigner {
    /// A witness under a name. The key must sign nothing else: not notes, and for no other witness.
    pub fn new(name: String, key: SigningKey) -> Cosigner {
        Cosigner { name, key }
    }

    /// Its public half.
    pub fn public(&self) -> CosignerKey {
        CosignerKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The line, with its newline, that says: at `time` (seconds since 1970) this was the largest consistent
    /// tree seen. Whoever calls this has checked that it is.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let time = time.min(TIME_MAX);
        let mut bytes = self.public().id().to_vec();
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&self.key.sign(cosigned_message(text, time).as_bytes()).to_bytes());
        format!("\u{2014} {} {}\n", self.name, BASE64.encode(bytes))
    }
}

/// Digits without sign and without superfluous zeros.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// A hash in base64, in its one spelling.
pub(super) fn parse_hash(base64: &str) -> Option<Hash> {
    Some(Hash(BASE64.decode(base64).ok()?.try_into().ok()?))
}

/// A hash as notes and proofs write it.
pub(super) fn base64_hash(hash: &Hash) -> String {
    BASE64.encode(hash.0)
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The trail's origin.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64_hash(&self.root))
    }

    /// Reads the text. Extension lines are ignored.
    pub fn parse(text: &str) -> Option<Checkpoint> {
        Checkpoint::parse_form(text)
            .filter(|checkpoint| checkpoint.size > 0 || checkpoint.root == tree::empty_root())
    }

    /// The same without asking whether the empty tree has its root: a witness answers that differently.
    pub(super) fn parse_form(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let size = parse_decimal(size)?;
        let root = parse_hash(root)?;
        Some(Checkpoint { origin: origin.to_owned(), size, root })
    }

    /// Reads a note and checks that every one of `required` signed it.
    pub fn open(note: &str, required: &[&Verifier]) -> Result<Checkpoint, NoteError> {
        Checkpoint::parse(open(note, required)?).ok_or(NoteError::Malformed("not a checkpoint"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The test vector of c2sp.org/signed-note.
    #[test]
    fn the_specification_s_vector_holds() {
        let verifier =
            Verifier::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        let note = "This is an example message.\n\n\u{2014} example.com/foo \
            Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        assert_eq!(open(note, &[&verifier]).unwrap(), "This is an example message.\n");
        assert_eq!(Verifier::parse(&verifier.vkey()), Some(verifier));
    }

    /// The example of c2sp.org/tlog-cosignature: its checkpoint signed by the log and by a witness. The
    /// specification prints no keys, so names, ids, lengths and times are what can be held against it.
    #[test]
    fn the_specification_s_cosignature_has_our_form() {
        let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
            \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        let parsed = Note::parse(note).unwrap();
        assert_eq!(Checkpoint::parse(parsed.text).map(|c| c.size), Some(20_852_163));
        let line = &parsed.signatures[1];
        assert_eq!((line.name, line.signature.len()), ("witness.example.com/w1", 72));
        assert_eq!(line.signature[..8], 1_679_315_147u64.to_be_bytes());
        let message = cosigned_message(parsed.text, 1_679_315_147);
        let printed = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
            CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message, printed);
    }

    #[test]
    fn a_cosignature_holds_for_its_text_time_name_and_key_only() {
        let witness = Cosigner::new("w.example/w".into(), SigningKey::from_bytes(&[5; 32]));
        let key = witness.public();
        assert_eq!(CosignerKey::parse(&key.vkey()), Some(key.clone()));
        assert_eq!(Verifier::parse(&key.vkey()), None, "a witness is no log");
        let log = NoteSigner::new("w.example/w".into(), SigningKey::from_bytes(&[5; 32]));
        assert_eq!(CosignerKey::parse(&log.verifier().vkey()), None, "a log is no witness");
        assert_ne!(key.id(), log.verifier().id());
        let text = "o\n7\nroot\n";
        let note = format!("{}{}", sign(text, &[&log]), witness.sign(text, 1_700_000_000));
        let parsed = Note::parse(&note).unwrap();
        assert_eq!(parsed.cosigned_by(&key), Ok(Some(1_700_000_000)));
        assert_eq!(parsed.signed_by(&log.verifier()), Ok(true), "the same name and key, another type");
        let other = CosignerKey { name: "w.example/v".into(), ..key.clone() };
        assert_eq!(parsed.cosigned_by(&other), Ok(None));
        let twice = format!("{note}{}", witness.sign(text, 1_800_000_000));
        assert_eq!(Note::parse(&twice).unwrap().cosigned_by(&key), Ok(Some(1_800_000_000)));
        let line = parsed.signatures[1].signature.clone();
        for place in 0..line.len() {
            let mut bytes = [&key.id()[..], &line].concat();
            bytes[4 + place] ^= 0x10;
            let changed = format!("{text}\n\u{2014} w.example/w {}\n", BASE64.encode(bytes));
            let changed = Note::parse(&changed).unwrap().cosigned_by(&key);
            assert_eq!(changed, Err(NoteError::BadSignature("w.example/w".into())), "byte {place}");
        }
        let short = format!(
            "{text}\n\u{2014} w.example/w {}\n",
            BASE64.encode([&key.id()[..], &line[..71]].concat())
        );
        assert!(Note::parse(&short).unwrap().cosigned_by(&key).is_err());
        let elsewhere = format!("o\n8\nroot\n\n{}", witness.sign(text, 1_700_000_000));
        assert!(Note::parse(&elsewhere).unwrap().cosigned_by(&key).is_err());
    }

    #[test]
    fn malformed_notes_are_named() {
        let line = "\u{2014} n AAAAAAE=\n";
        assert!(Note::parse(&format!("t\n\n{}", line.repeat(SIGNATURES_MAX))).is_ok());
        for note in [
            String::new(),
            "t\n".into(),
            "t\n\n".into(),
            format!("t\n{line}"),
            format!("t\n\n{}", line.trim_end()),
            format!("t\r\n\n{line}"),
            format!("t\n\n{line}\n"),
            "t\n\n- n AAAAAAE=\n".into(),
            "t\n\n\u{2014} n\n".into(),
            "t\n\n\u{2014}  AAAAAAE=\n".into(),
            "t\n\n\u{2014} n\t AAAAAAE=\n".into(),
            "t\n\n\u{2014} n+m AAAAAAE=\n".into(),
            "t\n\n\u{2014} n AAAAAA==\n".into(),
            "t\n\n\u{2014} n AAAAAAE\n".into(),
            "t\n\n\u{2014} n AAAAAAF=\n".into(),
            format!("t\n\n{}", line.repeat(SIGNATURES_MAX + 1)),
            format!("{}\n\n{line}", "t".repeat(NOTE_MAX)),
        ] {
            assert!(matches!(Note::parse(&note), Err(NoteError::Malformed(_))), "{note:?}");
        }
        for text in ["", "o\n", "o\n1\n", "o\n01\nAA==\n", "\n1\nAA==\n", "o\n1\nAA==\n"] {
            assert_eq!(Checkpoint::parse(text), None, "{text:?}");
        }
        let root = BASE64.encode([1; 32]);
        assert!(Checkpoint::parse(&format!("o\n1\n{root}\nextension\n")).is_some());
        for text in [
            format!("o\n0\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\n"),
            format!("o\n1\n{root}\n\nx\n"),
            format!("o\n18446744073709551616\n{root}\n"),
        ] {
            assert_eq!(Checkpoint::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn two_signers_both_count_and_any_bit_breaks_it() {
        let log = NoteSigner::new("acme.example/crmwarden/g1".into(), SigningKey::from_bytes(&[1; 32]));
        let epoch =
            NoteSigner::new("acme.example/crmwarden/g1/epoch0".into(), SigningKey::from_bytes(&[2; 32]));
        let checkpoint =
            Checkpoint { origin: "acme.example/crmwarden/g1".into(), size: 7, root: tree::leaf_hash(b"x") };
        let note = sign(&checkpoint.text(), &[&log, &epoch]);
        let required = [&log.verifier(), &epoch.verifier()];
        assert_eq!(Checkpoint::open(&note, &required), Ok(checkpoint.clone()));
        let one = sign(&checkpoint.text(), &[&log]);
        assert!(matches!(Checkpoint::open(&one, &required), Err(NoteError::Unsigned(_))));
        for place in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let opened = String::from_utf8(bytes).ok().and_then(|n| Checkpoint::open(&n, &required).ok());
                assert_eq!(opened, None, "byte {place} bit {bit}");
            }
        }
    }
}
