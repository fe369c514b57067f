//! `.tlog-proof` (c2sp.org/tlog-proof@v1): one file that proves, offline, that an entry is in the trail.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>           may be left out; here: the entry's line
//! index <decimal>
//! <base64 hash>            the inclusion proof, from the leaf's sibling to the root's child
//!                          an empty line
//! <the checkpoint, verbatim, with all its signatures>
//! ```
//!
//! `extra` is not authenticated by itself. Where it holds the entry's line, the line is: its leaf hash is
//! what the proof leads from.

use super::note::{Checkpoint, NOTE_MAX, Note, NoteError, Verifier, base64_hash, parse_decimal, parse_hash};
use super::proof::{HASHES_MAX, ProofError, verify_inclusion};
use crate::model::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// First line of every proof.
const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// Most bytes of `extra`: the longest entry.
pub const EXTRA_MAX: usize = 64 * 1024;
/// Longest file that is read: a note, the hashes and `extra` in base64, and the lines' heads.
pub const FILE_MAX: usize = NOTE_MAX + HASHES_MAX * 45 + EXTRA_MAX / 3 * 4 + 128;

/// A proof file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque data. Nothing vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The entry's index.
    pub index: u64,
    /// The inclusion proof.
    pub hashes: Vec<Hash>,
    /// The checkpoint's note.
    pub note: String,
}

/// Why a proof file does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlogProofError {
    /// Not the form of the module doc: the line, from 1, and what is wrong.
    Malformed(usize, &'static str),
    /// The checkpoint.
    Note(NoteError),
    /// The checkpoint is of a log that is not among those asked for.
    Origin(String),
    /// The inclusion proof.
    Proof(ProofError),
}

impl fmt::Display for TlogProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlogProofError::Malformed(line, what) => write!(f, "line {line}: {what}"),
            TlogProofError::Note(error) => write!(f, "the checkpoint: {error}"),
            TlogProofError::Origin(origin) => write!(f, "the checkpoint is of another log, `{origin}`"),
            TlogProofError::Proof(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TlogProofError {}

impl From<NoteError> for TlogProofError {
    fn from(error: NoteError) -> TlogProofError {
        TlogProofError::Note(error)
    }
}

impl TlogProof {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", BASE64.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&base64_hash(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a file of at most [`FILE_MAX`] bytes. The checkpoint in it is taken as it stands.
    pub fn parse(text: &str) -> Result<TlogProof, TlogProofError> {
        let malformed = |line, what| Err(TlogProofError::Malformed(line, what));
        if text.len() > FILE_MAX {
            return malformed(1, "the file is too long");
        }
        let Some((head, note)) = text.split_once("\n\n") else {
            return malformed(1, "there is no empty line before a checkpoint");
        };
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next().map(|(line, _)| line) != Some(HEAD) {
            return malformed(1, "a proof begins with `c2sp.org/tlog-proof@v1`");
        }
        let mut extra = None;
        if let Some((base64, number)) =
            lines.peek().and_then(|(line, n)| Some((line.strip_prefix("extra ")?, *n)))
        {
            match BASE64.decode(base64) {
                Ok(bytes) if bytes.len() <= EXTRA_MAX => extra = Some(bytes),
                _ => return malformed(number, "`extra` is not base64 of at most 64 KiB"),
            }
            lines.next();
        }
        let index = lines.next().and_then(|(line, _)| parse_decimal(line.strip_prefix("index ")?));
        let Some(index) = index else {
            return malformed(if extra.is_some() { 3 } else { 2 }, "`index` and a number are expected");
        };
        let mut hashes = Vec::new();
        for (line, number) in lines {
            match parse_hash(line) {
                Some(_) if hashes.len() == HASHES_MAX => return malformed(number, "too many hashes"),
                Some(hash) => hashes.push(hash),
                None => return malformed(number, "this is not a hash in base64"),
            }
        }
        Ok(TlogProof { extra, index, hashes, note: note.to_owned() })
    }

    /// Whether one of `logs` signed the checkpoint, under its own name, and the checkpoint has this leaf at
    /// the index. Which witnesses must have cosigned is for a policy to say.
    pub fn verify(&self, leaf: &Hash, logs: &[&Verifier]) -> Result<Checkpoint, TlogProofError> {
        let note = Note::parse(&self.note)?;
        let checkpoint =
            Checkpoint::parse(note.text).ok_or(NoteError::Malformed("the text is not a checkpoint"))?;
        let mut known = logs.iter().filter(|log| log.name == checkpoint.origin).peekable();
        if known.peek().is_none() {
            return Err(TlogProofError::Origin(checkpoint.origin));
        }
        let mut signed = false;
        for log in known {
            signed |= note.signed_by(log)?;
        }
        if !signed {
            return Err(NoteError::Unsigned(checkpoint.origin).into());
        }
        verify_inclusion(leaf, self.index, checkpoint.size, &checkpoint.root, &self.hashes)
            .map_err(TlogProofError::Proof)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trail::note::{NoteSigner, sign};
    use crate::trail::proof::{Memory, inclusion};
    use crate::trail::tree::leaf_hash;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn signer(name: &str, byte: u8) -> NoteSigner {
        NoteSigner::new(name.into(), SigningKey::from_bytes(&[byte; 32]))
    }

    fn proof(size: u64, index: u64) -> TlogProof {
        let mut tree = Memory::default();
        tree.extend((0..size).map(|i| leaf_hash(&i.to_be_bytes())));
        let checkpoint = Checkpoint { origin: "o/g1".into(), size, root: tree.root() };
        let note = sign(&checkpoint.text(), &[&signer("o/g1", 1)]);
        TlogProof { extra: None, index, hashes: inclusion(&mut tree, index, size).unwrap(), note }
    }

    #[test]
    fn the_specification_s_example_reads() {
        let text = "c2sp.org/tlog-proof@v1\n\
            extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n\
            index 73894\n\
            gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
            AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\
            \nexample.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n";
        let read = TlogProof::parse(text).unwrap();
        assert!(read.extra.as_ref().unwrap().starts_with(b"age-v1.2.1-darwin-arm64.tar.gz"));
        assert_eq!((read.index, read.hashes.len()), (73_894, 2));
        assert!(read.note.starts_with("example.com/fancylog\n109482\n"));
        assert_eq!(read.text(), text);
    }

    #[test]
    fn a_proof_holds_for_its_leaf_its_index_and_its_log_only() {
        let (right, other) = (signer("o/g1", 1).verifier(), signer("o/g1", 2).verifier());
        let elsewhere = signer("p/g1", 1).verifier();
        for (size, index) in [(1, 0), (2, 1), (300, 0), (300, 255), (300, 299)] {
            let proof = proof(size, index);
            let leaf = leaf_hash(&index.to_be_bytes());
            assert_eq!(TlogProof::parse(&proof.text()), Ok(proof.clone()));
            assert_eq!(proof.verify(&leaf, &[&elsewhere, &other, &right]).map(|c| c.size), Ok(size));
            let unsigned = TlogProofError::Note(NoteError::Unsigned("o/g1".into()));
            assert_eq!(proof.verify(&leaf, &[&other]), Err(unsigned));
            assert_eq!(proof.verify(&leaf, &[&elsewhere]), Err(TlogProofError::Origin("o/g1".into())));
            assert_eq!(proof.verify(&leaf, &[]), Err(TlogProofError::Origin("o/g1".into())));
            let wrong = leaf_hash(b"something else");
            assert_eq!(proof.verify(&wrong, &[&right]), Err(TlogProofError::Proof(ProofError::Root)));
            let moved = TlogProof { index: index + 1, ..proof.clone() };
            assert!(matches!(moved.verify(&leaf, &[&right]), Err(TlogProofError::Proof(_))));
        }
    }

    #[test]
    fn no_bit_of_a_proof_can_be_changed() {
        let proof = proof(11, 6);
        let leaf = leaf_hash(&6u64.to_be_bytes());
        let log = signer("o/g1", 1).verifier();
        let text = proof.text();
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let read = String::from_utf8(bytes).ok().and_then(|text| TlogProof::parse(&text).ok());
                let holds = read.is_some_and(|read| read.verify(&leaf, &[&log]).is_ok());
                assert!(!holds, "byte {place} bit {bit}");
            }
        }
    }

    #[test]
    fn malformed_files_are_named_by_line() {
        let hash = base64_hash(&Hash([1; 32]));
        let many = format!("{hash}\n").repeat(HASHES_MAX + 1);
        for (text, line) in [
            (String::new(), 1),
            (format!("{HEAD}\nindex 1\n"), 1),
            ("c2sp.org/tlog-proof@v2\nindex 1\n\nn".into(), 1),
            (format!("{HEAD}\r\nindex 1\n\nn"), 1),
            (format!("{HEAD}\n\nn"), 2),
            (format!("{HEAD}\nindex\n\nn"), 2),
            (format!("{HEAD}\nindex 01\n\nn"), 2),
            (format!("{HEAD}\nindex -1\n\nn"), 2),
            (format!("{HEAD}\nindex 18446744073709551616\n\nn"), 2),
            (format!("{HEAD}\nextra %\nindex 1\n\nn"), 2),
            (format!("{HEAD}\nextra AA==\nextra AA==\n\nn"), 3),
            (format!("{HEAD}\nindex 1\nextra AA==\n\nn"), 3),
            (format!("{HEAD}\nindex 1\n{hash}\n{} \n\nn", &hash[1..]), 4),
            (format!("{HEAD}\nindex 1\n{many}\nn"), 3 + HASHES_MAX),
            (format!("{HEAD}\nindex 1\n\n{}", "n".repeat(FILE_MAX)), 1),
        ] {
            let found = TlogProof::parse(&text);
            let at =
                |error: &TlogProofError| matches!(error, TlogProofError::Malformed(at, _) if *at == line);
            assert!(found.as_ref().is_err_and(at), "{text:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Za-z=]{0,8}\n)?(index [0-9]{0,21}\n)?([A-Za-z0-9+/]{43}=\n){0,3}\n?\\PC{0,40}\n{0,2}") {
            if let Ok(read) = TlogProof::parse(&text) {
                prop_assert_eq!(read.text(), text);
                let _ = read.verify(&Hash::default(), &[]);
            }
        }
    }
}
