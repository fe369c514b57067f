//! The witness of c2sp.org/tlog-witness: it sees that a log only grows, and says so with a cosignature.
//!
//! Pure: the time is a value, requests and answers are bytes and statuses, and what must be durable goes to a
//! callback. The other half, what a log sends to its witnesses, is [`request`] and [`take_answer`].
//!
//! # Answers to `POST <prefix>/add-checkpoint`
//!
//! | status | body | when |
//! |---|---|---|
//! | 200 | our cosignature line | the checkpoint continues what we saw, or is the same |
//! | 400 | why | the request has not the form, or its old size is above the checkpoint's |
//! | 403 | why | no trusted key of the log signed, or a signature of one does not hold |
//! | 404 | why | we are no witness of this origin |
//! | 409 | `<size>\n`, `text/x.tlog.size` | the old size is not the size that we cosigned last |
//! | 413 | why | the request is longer than [`REQUEST_MAX`] |
//! | 422 | why | the proof does not hold, or the same size has another root |
//! | 500 | why | the state could not be made durable; nothing was cosigned |
//!
//! (Until July 2026 the specification answered another root at the same size with 409. Now 409 always means
//! "try again from this size", and what no further try can mend is 422. Clients of ours take both as final.)
//!
//! # One at a time
//!
//! Checking against the newest state and storing the next one must be one step: two requests at once could
//! both be checked against the old state, and the smaller one be stored last, which would take the larger one
//! back. [`Witness::add_checkpoint`] takes `&mut self`, so whoever shares a witness holds a lock around the
//! whole call, callback included; and only one process may hold the stored state.

use super::note::{Checkpoint, Cosigner, CosignerKey, Note, NoteError, SignatureLine, Verifier};
use super::note::{NOTE_MAX, base64_hash, parse_decimal, parse_hash};
use super::proof::{self, Hashes, verify_consistency};
use super::tree::empty_root;
use crate::model::{Hash, digest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

/// Most lines of a consistency proof.
pub const PROOF_MAX: usize = 63;
/// Longest request: a note, 63 hashes in base64 with their newlines, and the first and the empty line.
pub const REQUEST_MAX: usize = NOTE_MAX + PROOF_MAX * 45 + 64;
/// Longest answer that a client reads: a few signature lines, post-quantum ones among them.
pub const ANSWER_MAX: usize = 32 * 1024;
/// Content type of a 409.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// Content type of every other answer.
pub const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, content_type: TEXT_TYPE, body: body.into() }
    }

    fn refused(status: u16, why: &str) -> Answer {
        Answer::text(status, format!("{why}\n"))
    }

    fn conflict(size: u64) -> Answer {
        Answer { status: 409, content_type: SIZE_TYPE, body: format!("{size}\n") }
    }
}

/// What a witness remembers of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Size of the newest checkpoint that we cosigned.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The checkpoint: its text, the log's signature lines and our cosignature. What is to be stored.
    pub note: String,
}

/// A request taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The size that the client believes we cosigned last.
    pub old: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The new checkpoint's note.
    pub note: &'a str,
}

impl<'a> Request<'a> {
    /// Reads a body. The checkpoint in it is taken as it stands.
    pub fn parse(body: &'a [u8]) -> Result<Request<'a>, &'static str> {
        let body = std::str::from_utf8(body).map_err(|_| "the request is not UTF-8")?;
        let (head, note) = body.split_once("\n\n").ok_or("there is no empty line before the checkpoint")?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| parse_decimal(line.strip_prefix("old ")?));
        let old = old.ok_or("the first line is not `old` and a size")?;
        let proof: Option<Vec<Hash>> = lines.clone().take(PROOF_MAX + 1).map(parse_hash).collect();
        let proof = proof.ok_or("a line of the proof is not a hash in base64")?;
        match proof.len() <= PROOF_MAX {
            true => Ok(Request { old, proof, note }),
            false => Err("the proof has more than 63 lines"),
        }
    }
}

/// A witness: its key, the logs that it knows, and what it saw of them.
pub struct Witness {
    cosigner: Cosigner,
    /// Keys by origin: the key's name.
    logs: BTreeMap<String, Vec<Verifier>>,
    seen: BTreeMap<String, Seen>,
}

impl Witness {
    /// A witness of these logs that has seen nothing yet. Several keys of one name are one log's.
    pub fn new(cosigner: Cosigner, keys: impl IntoIterator<Item = Verifier>) -> Witness {
        let mut logs: BTreeMap<String, Vec<Verifier>> = BTreeMap::new();
        for key in keys {
            logs.entry(key.name.clone()).or_default().push(key);
        }
        Witness { cosigner, logs, seen: BTreeMap::new() }
    }

    /// Our public key.
    pub fn public(&self) -> CosignerKey {
        self.cosigner.public()
    }

    /// What was seen of a log.
    pub fn seen(&self, origin: &str) -> Option<&Seen> {
        self.seen.get(origin)
    }

    /// Takes a stored [`Seen::note`] back at a start. Our own cosignature on it must hold: whoever could change the
    /// file could otherwise make us forget. A note of a log that is no longer configured is taken too.
    pub fn restore(&mut self, note: &str) -> Result<(), NoteError> {
        let parsed = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(parsed.text).ok_or(NoteError::Malformed("not a checkpoint"))?;
        let own = self.public();
        if parsed.cosigned_by(&own)?.is_none() {
            return Err(NoteError::Unsigned(own.name));
        }
        let Checkpoint { origin, size, root } = checkpoint;
        self.seen.insert(origin, Seen { size, root, note: note.to_owned() });
        Ok(())
    }

    /// Answers `add-checkpoint`. `now` is in seconds since 1970 and not 0. `store` must not return before the state is
    /// durable: the cosignature is given out only then. Where it fails, the state stays what it was.
    pub fn add_checkpoint(
        &mut self,
        body: &[u8],
        now: u64,
        store: &mut dyn FnMut(&str, &Seen) -> io::Result<()>,
    ) -> Answer {
        let (origin, seen) = match self.judge(body, now) {
            Ok(next) => next,
            Err(answer) => return answer,
        };
        if store(&origin, &seen).is_err() {
            return Answer::refused(500, "the state could not be stored");
        }
        // The last line is ours.
        let line = seen.note.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
        let answer = Answer::text(200, format!("{line}\n"));
        self.seen.insert(origin, seen);
        answer
    }

    /// The next state, or why not. The order of the checks is the specification's.
    fn judge(&self, body: &[u8], now: u64) -> Result<(String, Seen), Answer> {
        if body.len() > REQUEST_MAX {
            return Err(Answer::refused(413, "the request is too long"));
        }
        let malformed = |why: &str| Answer::refused(400, why);
        let request = Request::parse(body).map_err(malformed)?;
        let note = Note::parse(request.note).map_err(|error| malformed(&error.to_string()))?;
        let checkpoint =
            Checkpoint::parse_form(note.text).ok_or_else(|| malformed("this is no checkpoint"))?;
        let keys = self.logs.get(&checkpoint.origin);
        let keys = keys.ok_or_else(|| Answer::refused(404, "we are no witness of this log"))?;
        let lines = signed_lines(&note, keys)
            .map_err(|_| Answer::refused(403, "a signature of the log does not hold"))?;
        if lines.is_empty() {
            return Err(Answer::refused(403, "no key that we trust for this log signed"));
        }
        let (old, size) = (request.old, checkpoint.size);
        if old > size {
            return Err(malformed("the old size is above the checkpoint's"));
        }
        let before = self.seen.get(&checkpoint.origin);
        let (old_size, old_root) = before.map_or((0, empty_root()), |seen| (seen.size, seen.root));
        if old != old_size {
            return Err(Answer::conflict(old_size));
        }
        if size == 0 && checkpoint.root != empty_root() {
            return Err(Answer::refused(422, "the empty tree has another root"));
        }
        verify_consistency(old, &old_root, size, &checkpoint.root, &request.proof)
            .map_err(|error| Answer::refused(422, &error.to_string()))?;
        let ours = self.cosigner.sign(note.text, now);
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let note = format!("{}\n{lines}{ours}", note.text);
        Ok((checkpoint.origin, Seen { size, root: checkpoint.root, note }))
    }

    /// Answers `GET <prefix>/<hash>/checkpoint`: the newest checkpoint of the log whose origin has this hash, with our
    /// cosignature and the log's signature.
    pub fn checkpoint(&self, hash: &str) -> Answer {
        let found = self.seen.iter().find(|(origin, _)| origin_hash(origin) == hash);
        match found {
            Some((_, seen)) => Answer::text(200, seen.note.clone()),
            None => Answer::refused(404, "nothing of this log was cosigned"),
        }
    }
}

/// The signature lines of these keys, all of which hold.
fn signed_lines<'a>(note: &Note<'a>, keys: &[Verifier]) -> Result<Vec<&'a str>, NoteError> {
    let mut lines = Vec::new();
    for key in keys {
        if note.signed_by(key)? {
            let own = |line: &&SignatureLine<'a>| line.name == key.name && line.id == key.id();
            lines.extend(note.signatures.iter().find(own).map(|line| line.line));
        }
    }
    Ok(lines)
}

/// The name under which a witness serves and stores what it knows of a log: SHA-256 of the origin in
/// hexadecimal digits.
pub fn origin_hash(origin: &str) -> String {
    digest::hex(&Sha256::digest(origin.as_bytes()))
}

/// The body that a log sends: `note` is its checkpoint, the proof leads there from the `old` size.
pub fn request(old: u64, proof: &[Hash], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&base64_hash(hash));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(note);
    body
}

/// The same with the proof made from a tree. `new` is the size in `note`; an `old` above it is
/// [`io::ErrorKind::InvalidInput`]: then the witness knows a longer history than we do.
pub fn request_between(hashes: &mut dyn Hashes, old: u64, new: u64, note: &str) -> io::Result<String> {
    Ok(request(old, &proof::consistency(hashes, old, new)?, note))
}

/// What a witness answered, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Cosignature lines of the key, each with its newline, and the time of the newest.
    Cosigned(String, u64),
    /// The witness cosigned this size last: try again from there. It is not to be trusted: a size above our
    /// own is a rollback of ours or a lie of the witness's, and only a proof of it would tell.
    Conflict(u64),
    /// Anything else: the status and why it does not count.
    Refused(u16, String),
}

/// Reads an answer to [`request`]. Lines of other keys are ignored, and a cosignature that does not hold does
/// not count.
pub fn take_answer(note: &str, status: u16, content_type: &str, body: &[u8], key: &CosignerKey) -> Told {
    let refused = |why: &str| Told::Refused(status, why.to_owned());
    if body.len() > ANSWER_MAX {
        return refused("the answer is too long");
    }
    let Ok(text) = std::str::from_utf8(body) else { return refused("the answer is not UTF-8") };
    match status {
        200 => match cosigned(note, text, key) {
            Ok(Some((lines, time))) => Told::Cosigned(lines, time),
            Ok(None) => refused("the answer holds no cosignature of this witness"),
            Err(error) => refused(&error.to_string()),
        },
        409 if content_type.split(';').next().map(str::trim) == Some(SIZE_TYPE) => {
            match text.strip_suffix('\n').and_then(parse_decimal) {
                Some(size) => Told::Conflict(size),
                None => refused("the answer holds no size"),
            }
        }
        _ => refused("the witness did not cosign"),
    }
}

fn cosigned(note: &str, answer: &str, key: &CosignerKey) -> Result<Option<(String, u64)>, NoteError> {
    let text = Note::parse(note)?.text;
    let alone = format!("{text}\n{answer}");
    let parsed = Note::parse(&alone)?;
    // An answer with an empty line in it would be a text of its own.
    if parsed.text != text {
        return Err(NoteError::Malformed("an empty line among signatures"));
    }
    let time = parsed.cosigned_by(key)?;
    let own = parsed.signatures.iter().filter(|line| line.name == key.name && line.id == key.id());
    let lines: String = own.map(|line| format!("{}\n", line.line)).collect();
    Ok(time.map(|time| (lines, time)))
}

#[cfg(test)]
mod tests;
