//! One line of the trail, written and read.
//!
//! ```text
//! {"i":<index>,"prev":"<64 hex>","t":"<RFC 3339, six fraction digits, Z>","kind":"<kind>"[,members…]}\n
//! ```
//!
//! The reader looks at bytes and re-serialises nothing: what is hashed is what stands in the file. A commit
//! is `…"kind":"commit","root":"<64 hex>"[,"cursors":{…}],"sig":"<88 base64>"}`, the signature last.

use super::note::{NoteSigner, Verifier};
use super::tree::leaf_hash;
use crate::model::json::write_uint;
use crate::model::{Hash, Time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::ops::Range;
use std::sync::Arc;

/// Longest line, without its newline. What is larger is split into parts.
pub const LINE_MAX: usize = 60 * 1024;
/// Domain of a commit line's signature.
const COMMIT_DOMAIN: &str = "crmwarden/commit/v1\n";
/// `,"sig":"` + 88 base64 characters + `"}`.
const SIGNATURE_TAIL: usize = 8 + 88 + 2;

/// Longest members of a line.
const MEMBERS_MAX: usize = LINE_MAX - 256;

/// The bodies of a group: kinds and their members (JSON members without braces). What is written for one of them
/// stands in a buffer of the group; what was written before by somebody else is shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Bodies {
    data: Vec<u8>,
    shared: Vec<Arc<Vec<u8>>>,
    parts: Vec<Body>,
    /// Bytes of all members.
    bytes: usize,
    /// See [`Bodies::held`].
    held: usize,
}

/// Where the members of one body stand.
#[derive(Clone, Debug)]
struct Body {
    kind: &'static str,
    /// Which of [`Bodies::shared`]; `None` for [`Bodies::data`].
    shared: Option<usize>,
    place: Range<usize>,
}

impl Bodies {
    /// Adds a body; `write` appends its members, without a leading comma.
    pub fn push(&mut self, kind: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.data.len();
        write(&mut self.data);
        if self.data.len() - start <= MEMBERS_MAX {
            self.add(kind, None, start..self.data.len());
            return;
        }
        let members = self.data.split_off(start);
        self.push_parts(kind, &members);
    }

    /// Adds a body whose members are written already. Bodies of one buffer come one after the other, mostly.
    pub fn share(&mut self, kind: &'static str, buffer: &Arc<Vec<u8>>, place: Range<usize>) {
        // A place outside of the buffer stops the writer here: better than an entry without its evidence.
        let members = &buffer[place.clone()];
        if members.len() > MEMBERS_MAX {
            return self.push_parts(kind, members);
        }
        if self.shared.last().is_none_or(|last| !Arc::ptr_eq(last, buffer)) {
            self.held += buffer.capacity();
            self.shared.push(Arc::clone(buffer));
        }
        self.add(kind, Some(self.shared.len() - 1), place);
    }

    fn add(&mut self, kind: &'static str, shared: Option<usize>, place: Range<usize>) {
        self.bytes += place.len();
        self.parts.push(Body { kind, shared, place });
    }

    /// A body larger than a line: its members as text, cut at characters, `part` of `of`.
    fn push_parts(&mut self, kind: &'static str, members: &[u8]) {
        const PIECE: usize = 24 * 1024; // Escaped it at most doubles: quotes and backslashes only.
        let text = String::from_utf8_lossy(members);
        let mut pieces = Vec::new();
        let mut rest: &str = &text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(PIECE);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, tail) = rest.split_at(cut);
            pieces.push(piece);
            rest = tail;
        }
        for (number, piece) in pieces.iter().enumerate() {
            let start = self.data.len();
            self.data.extend_from_slice(b"\"part\":");
            write_uint(&mut self.data, number as u64 + 1);
            self.data.extend_from_slice(b",\"of\":");
            write_uint(&mut self.data, pieces.len() as u64);
            self.data.extend_from_slice(b",\"members\":");
            crate::model::json::write_string(&mut self.data, piece);
            self.add(kind, None, start..self.data.len());
        }
    }

    /// Appends another group's bodies.
    pub fn append(&mut self, other: &Bodies) {
        for (kind, members) in other.iter() {
            self.push(kind, |out| out.extend_from_slice(members));
        }
    }

    /// Empties it and keeps the memory of what it wrote; what was shared is handed back.
    pub fn clear(&mut self) -> Vec<Arc<Vec<u8>>> {
        self.data.clear();
        self.parts.clear();
        (self.bytes, self.held) = (0, 0);
        std::mem::take(&mut self.shared)
    }

    /// Number of entries they become.
    pub fn len(&self) -> usize {
        self.parts.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
    /// Bytes of all members.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Bytes of the buffers that it shares, used by a body or not.
    pub fn held(&self) -> usize {
        self.held
    }
    /// Kind and members of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.parts.iter().map(|Body { kind, shared, place }| {
            let buffer =
                shared.and_then(|number| self.shared.get(number)).map_or(&self.data, |buffer| &**buffer);
            (*kind, &buffer[place.clone()])
        })
    }
}

/// One part of an entry that was too large for a line.
#[derive(serde::Deserialize)]
pub struct Part {
    /// From 1 on.
    pub part: u64,
    /// How many there are.
    pub of: u64,
    /// A piece of the members' text.
    pub members: String,
}

impl Part {
    /// Reads an entry's object where it is a part.
    pub fn parse(object: &[u8]) -> Option<Part> {
        object.starts_with(b"{\"part\":").then(|| serde_json::from_slice(object).ok())?
    }

    /// Adds the piece to those before; after the last one, the whole object.
    pub fn join(&self, pieces: &mut String) -> Option<Vec<u8>> {
        if self.part == 1 {
            pieces.clear();
        }
        pieces.push_str(&self.members);
        (self.part >= self.of).then(|| format!("{{{}}}", std::mem::take(pieces)).into_bytes())
    }
}

/// Appends a line with its newline and returns its leaf hash.
pub fn write_line(
    out: &mut Vec<u8>,
    index: u64,
    prev: &Hash,
    time: Time,
    kind: &str,
    members: &[u8],
) -> Hash {
    write_line_at(out, index, prev, &time.text(), kind, members)
}

/// The same for the lines of a group, which have one time.
pub(super) fn write_line_at(
    out: &mut Vec<u8>,
    index: u64,
    prev: &Hash,
    time: &[u8; 27],
    kind: &str,
    members: &[u8],
) -> Hash {
    let start = out.len();
    write_head(out, index, prev, time, kind);
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
    out.push(b'}');
    let leaf = leaf_hash(&out[start..]);
    out.push(b'\n');
    leaf
}

fn write_head(out: &mut Vec<u8>, index: u64, prev: &Hash, time: &[u8; 27], kind: &str) {
    out.extend_from_slice(b"{\"i\":");
    write_uint(out, index);
    out.extend_from_slice(b",\"prev\":\"");
    digest::write_hex(&prev.0, out);
    out.extend_from_slice(b"\",\"t\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\",\"kind\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

/// What a commit line says.
pub struct CommitLine<'a> {
    /// Root over all entries before it.
    pub root: &'a Hash,
    /// The `cursors` object's JSON, empty when none moved.
    pub cursors: &'a [u8],
    /// Signs it.
    pub signer: &'a NoteSigner,
    /// The trail's origin.
    pub origin: &'a str,
}

/// Appends a signed commit line and returns its leaf hash.
pub fn write_commit(out: &mut Vec<u8>, index: u64, prev: &Hash, time: Time, commit: &CommitLine<'_>) -> Hash {
    let start = out.len();
    write_head(out, index, prev, &time.text(), "commit");
    out.extend_from_slice(b",\"root\":\"");
    digest::write_hex(&commit.root.0, out);
    out.push(b'"');
    if !commit.cursors.is_empty() {
        out.extend_from_slice(b",\"cursors\":");
        out.extend_from_slice(commit.cursors);
    }
    let signature = commit.signer.sign(&commit_message(commit.origin, &out[start..]));
    out.extend_from_slice(b",\"sig\":\"");
    out.extend_from_slice(BASE64.encode(signature).as_bytes());
    out.extend_from_slice(b"\"}");
    let leaf = leaf_hash(&out[start..]);
    out.push(b'\n');
    leaf
}

fn commit_message(origin: &str, unsigned: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(COMMIT_DOMAIN.len() + origin.len() + 1 + unsigned.len());
    message.extend_from_slice(COMMIT_DOMAIN.as_bytes());
    message.extend_from_slice(origin.as_bytes());
    message.push(b'\n');
    message.extend_from_slice(unsigned);
    message
}

/// A line as it stands in the trail, without its newline.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Index in the generation, from 0.
    pub index: u64,
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// When it was written.
    pub time: Time,
    /// Kind.
    pub kind: &'a str,
    /// The whole line.
    pub line: &'a [u8],
    /// Where the members after `kind` start.
    members: usize,
}

impl<'a> Entry<'a> {
    /// Reads a line. `None` when it does not have the form of the module doc.
    pub fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        let rest = line.strip_prefix(b"{\"i\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let index = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        if digits > 1 && rest[0] == b'0' {
            return None;
        }
        let rest = rest[digits..].strip_prefix(b",\"prev\":\"")?;
        let prev = Hash::read(rest.get(..64)?)?;
        let rest = rest[64..].strip_prefix(b"\",\"t\":\"")?;
        let time = Time::read_fixed(rest.first_chunk()?)?;
        let rest = rest[27..].strip_prefix(b"\",\"kind\":\"")?;
        let length = rest.iter().position(|byte| *byte == b'"')?;
        let kind = std::str::from_utf8(&rest[..length]).ok()?;
        let rest = &rest[length + 1..];
        let whole = matches!(rest.first(), Some(b',' | b'}')) && line.last() == Some(&b'}');
        let members = line.len() - rest.len() + usize::from(rest.first() == Some(&b','));
        (whole && std::str::from_utf8(rest).is_ok()).then_some(Entry {
            index,
            prev,
            time,
            kind,
            line,
            members,
        })
    }

    /// The members after `kind`, without braces.
    pub fn members(&self) -> &'a [u8] {
        &self.line[self.members..self.line.len() - 1]
    }

    /// The members as an object of JSON text.
    pub fn object(&self) -> Vec<u8> {
        let members = self.members();
        let mut object = Vec::with_capacity(members.len() + 2);
        object.push(b'{');
        object.extend_from_slice(members);
        object.push(b'}');
        object
    }

    /// A commit's root; `None` for other kinds.
    pub fn commit_root(&self) -> Option<Hash> {
        let members = (self.kind == "commit").then(|| self.members())?;
        let rest = members.strip_prefix(b"\"root\":\"")?;
        Hash::read(rest.get(..64)?)
    }

    /// A commit's signed bytes and signature; `None` for other kinds and other forms.
    fn commit_signature(&self) -> Option<(&'a [u8], [u8; 64])> {
        self.commit_root()?;
        let split = self.line.len().checked_sub(SIGNATURE_TAIL)?;
        let (signed, tail) = self.line.split_at(split);
        let base64 = tail.strip_prefix(b",\"sig\":\"")?.strip_suffix(b"\"}")?;
        Some((signed, BASE64.decode(base64).ok()?.try_into().ok()?))
    }

    /// Whether this is a commit that `key` signed for `origin`.
    pub fn commit_holds(&self, origin: &str, key: &Verifier) -> bool {
        self.commit_signature()
            .is_some_and(|(signed, signature)| key.holds(&commit_message(origin, signed), &signature))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn a_line_reads_back() {
        let mut out = Vec::new();
        let time = Time::from_seconds(1_700_000_000);
        let leaf = write_line(&mut out, 12, &leaf_hash(b"before"), time, "event", b"\"a\":1");
        let line = out.strip_suffix(b"\n").unwrap();
        let entry = Entry::parse(line).unwrap();
        assert_eq!(
            (entry.index, entry.prev, entry.time, entry.kind),
            (12, leaf_hash(b"before"), time, "event")
        );
        assert_eq!(entry.members(), b"\"a\":1");
        assert_eq!(leaf, leaf_hash(line));
        for cut in 0..line.len() {
            assert!(Entry::parse(&line[..cut]).is_none_or(|entry| entry.line.len() < line.len()));
        }
    }

    #[test]
    fn a_commit_holds_for_its_key_and_origin_only() {
        let signer = NoteSigner::new("o/epoch0".into(), SigningKey::from_bytes(&[3; 32]));
        let other = NoteSigner::new("o/epoch0".into(), SigningKey::from_bytes(&[4; 32]));
        let mut out = Vec::new();
        let root = leaf_hash(b"root");
        let commit = CommitLine { root: &root, cursors: b"{\"s\":{}}", signer: &signer, origin: "o" };
        write_commit(&mut out, 1, &leaf_hash(b"before"), Time::EPOCH, &commit);
        let entry = Entry::parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(entry.commit_root(), Some(root));
        assert!(entry.commit_holds("o", &signer.verifier()));
        assert!(!entry.commit_holds("p", &signer.verifier()));
        assert!(!entry.commit_holds("o", &other.verifier()));
    }

    #[test]
    fn large_bodies_are_split_at_characters() {
        let mut bodies = Bodies::default();
        let text = "ä\"".repeat(40_000);
        bodies.push("event", |out| {
            out.extend_from_slice(b"\"message\":");
            crate::model::json::write_string(out, &text);
        });
        assert!(bodies.len() > 1);
        let mut joined = String::new();
        for (_, members) in bodies.iter() {
            assert!(members.len() <= LINE_MAX - 256);
            let object = format!("{{{}}}", std::str::from_utf8(members).unwrap());
            let value: serde_json::Value = serde_json::from_str(&object).unwrap();
            joined.push_str(value["members"].as_str().unwrap());
        }
        let value: serde_json::Value = serde_json::from_str(&format!("{{{joined}}}")).unwrap();
        assert_eq!(value["message"].as_str(), Some(text.as_str()));
        // Shared, they are split in the same way.
        let whole = [b"\"message\":", serde_json::to_string(&text).unwrap().as_bytes()].concat();
        let mut shared = Bodies::default();
        shared.share("event", &Arc::new(whole.clone()), 0..whole.len());
        assert!(shared.iter().eq(bodies.iter()));
    }

    #[test]
    fn bodies_keep_their_order_whoever_wrote_them() {
        let buffers = [b"\"a\":1\"b\":2".to_vec(), b"\"c\":3".to_vec()].map(Arc::new);
        let mut bodies = Bodies::default();
        for _ in 0..2 {
            bodies.share("event", &buffers[0], 0..5);
            bodies.push("finding", |out| out.extend_from_slice(b"\"f\":0"));
            bodies.share("event", &buffers[0], 5..10);
            bodies.share("event", &buffers[1], 0..5);
            bodies.share("event", &buffers[0], 0..5);
            let written: Vec<(&str, &[u8])> = bodies.iter().collect();
            let [a, b, c, f] = [b"\"a\":1", b"\"b\":2", b"\"c\":3", b"\"f\":0"].map(|text| &text[..]);
            assert_eq!(written, [("event", a), ("finding", f), ("event", b), ("event", c), ("event", a)]);
            assert_eq!((bodies.bytes(), bodies.len()), (25, 5));
            let capacities = buffers.each_ref().map(|buffer| buffer.capacity());
            assert_eq!(bodies.held(), capacities[0] * 2 + capacities[1], "the first came twice");
            let mut copied = Bodies::default();
            copied.append(&bodies);
            assert!(copied.iter().eq(bodies.iter()));
            assert_eq!(bodies.clear().len(), 3);
            assert!(bodies.is_empty() && bodies.bytes() == 0 && bodies.held() == 0);
        }
    }
}
