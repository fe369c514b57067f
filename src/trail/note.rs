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

use super::tree;
use crate::model::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// Type byte of an Ed25519 key in notes.
const ED25519: u8 = 0x01;
/// Longest note that is read: a checkpoint with sixteen signatures is below 3 KiB.
pub const NOTE_MAX: usize = 64 * 1024;

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
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// `name+hex(id)+base64(type ‖ key)`.
    pub fn vkey(&self) -> String {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        format!("{}+{}+{}", self.name, crate::model::digest::hex(&self.id()), BASE64.encode(typed))
    }

    /// Reads a vkey; its id must be right.
    pub fn parse(vkey: &str) -> Option<Verifier> {
        let (name, rest) = vkey.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let bytes = BASE64.decode(key).ok()?;
        let (&ED25519, key) = bytes.split_first()? else { return None };
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        let verifier = Verifier { name: name.to_owned(), key };
        let valid = !name.is_empty()
            && !name.contains(char::is_whitespace)
            && crate::model::digest::parse_hex(id.as_bytes())? == verifier.id();
        valid.then_some(verifier)
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

/// The text of a note that *every* one of `required` signed.
pub fn open<'a>(note: &'a str, required: &[&Verifier]) -> Result<&'a str, NoteError> {
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
    let mut signed = vec![false; required.len()];
    for line in signatures.split('\n') {
        let (name, bytes) = parse_signature(line)?;
        for (place, verifier) in required.iter().enumerate() {
            if verifier.name != name || bytes.get(..4) != Some(&verifier.id()[..]) {
                continue;
            }
            let signature: Option<&[u8; 64]> = bytes.get(4..).and_then(|rest| rest.try_into().ok());
            match signature {
                Some(signature) if verifier.holds(text.as_bytes(), signature) => signed[place] = true,
                _ => return Err(NoteError::BadSignature(name.to_owned())),
            }
        }
    }
    match signed.iter().position(|signed| !signed) {
        Some(place) => Err(NoteError::Unsigned(required[place].name.clone())),
        None => Ok(text),
    }
}

/// Names of the keys that a note says signed it, in their order. Nothing is checked.
pub fn signers(note: &str) -> impl Iterator<Item = &str> {
    let signatures = note.rfind("\n\n").map_or("", |split| &note[split + 2..]);
    signatures.lines().filter_map(|line| line.strip_prefix("\u{2014} ")?.split(' ').next())
}

fn parse_signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let rest =
        line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed("a signature line without its dash"))?;
    let (name, base64) =
        rest.split_once(' ').ok_or(NoteError::Malformed("a signature line without a key"))?;
    let bytes = BASE64.decode(base64).map_err(|_| NoteError::Malformed("a signature that is not base64"))?;
    if name.is_empty() || bytes.len() < 5 {
        return Err(NoteError::Malformed("an empty signature line"));
    }
    Ok((name, bytes))
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
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0))
    }

    /// Reads the text. Extension lines are ignored.
    pub fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let canonical = size == "0" || !size.starts_with('0');
        let all_digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        if origin.is_empty() || !canonical || !all_digits {
            return None;
        }
        let root = Hash(BASE64.decode(root).ok()?.try_into().ok()?);
        let size = size.parse().ok()?;
        (size > 0 || root == tree::empty_root()).then(|| Checkpoint { origin: origin.to_owned(), size, root })
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
