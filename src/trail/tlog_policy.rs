//! C2SP trust policies (c2sp.org/tlog-policy): which logs and witnesses count, and how many witnesses must
//! have seen a checkpoint.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> any|all|<k> <name>…
//! quorum none|<name>
//! ```
//!
//! One item a line, words separated by spaces and tabs, empty lines and lines from `#` on ignored. A name is
//! defined before it is used, and is a member of one group at most. There is exactly one `quorum`. Every line
//! ends with a newline: a file that lost its end must not become a weaker policy.
//!
//! A trust file of ours ends with such lines ([`of_trust_file`]). Logs have Ed25519 keys (type 0x01), witnesses
//! cosignature/v1 keys (type 0x04); another type is an error, for a key that cannot be checked is no trust.

use super::note::{CosignerKey, Note, NoteError, Verifier};
use std::fmt;

/// Most logs, witnesses and groups, of each. The specification asks for at least 32.
pub const ITEMS_MAX: usize = 256;

/// What is wrong, and on which line of the file, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line; 0 where the file as a whole is meant.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for PolicyError {}

/// A log whose checkpoints count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its key; the key's name is the log's origin.
    pub key: Verifier,
    /// Where it can be reached, as the file says it.
    pub url: Option<String>,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name inside this policy.
    pub name: String,
    /// Its key.
    pub key: CosignerKey,
    /// Where it can be reached, as the file says it.
    pub url: Option<String>,
}

/// What a name stands for: an index in the list of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Named>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Logs that are accepted; none where the application knows its log.
    pub logs: Vec<Log>,
    /// Witnesses, whether the quorum asks for them or not.
    pub witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: no cosignature is asked for.
    quorum: Option<Named>,
}

/// What a note has of what a policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Origin of the listed log that signed; `None` where none did.
    pub log: Option<String>,
    /// Names of the witnesses that cosigned, and when, in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
    /// Whether they are enough.
    pub quorum: bool,
}

impl Policy {
    /// Reads the lines of a policy. `before` is the number of lines that stand before them in the file.
    pub fn parse(text: &str, before: usize) -> Result<Policy, PolicyError> {
        let mut reader = Reader::default();
        let Some(lines) = text.strip_suffix('\n') else {
            let line = before + text.lines().count();
            return Err(PolicyError { line, what: "the last line has no end: the file may be cut".into() });
        };
        for (line, number) in lines.split('\n').zip(before + 1..) {
            reader.line(line).map_err(|what| PolicyError { line: number, what })?;
        }
        match reader.quorum {
            Some(quorum) => {
                Ok(Policy { logs: reader.logs, witnesses: reader.witnesses, groups: reader.groups, quorum })
            }
            None => Err(PolicyError { line: 0, what: "the policy has no `quorum` line".into() }),
        }
    }

    /// Whether cosignatures are asked for.
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Which log signed a note, which witnesses cosigned it, and whether they are enough. A signature line
    /// of a listed key that does not hold is an error: such a note does not count.
    pub fn judge(&self, note: &str) -> Result<Judgement, NoteError> {
        let note = Note::parse(note)?;
        let origin = note.text.split('\n').next().unwrap_or_default();
        let mut log = None;
        // The key's name is the origin: a listed log does not speak for another one.
        for listed in self.logs.iter().filter(|listed| listed.key.name == origin) {
            if note.signed_by(&listed.key)? {
                log.get_or_insert_with(|| origin.to_owned());
            }
        }
        let times: Vec<Option<u64>> =
            self.witnesses.iter().map(|witness| note.cosigned_by(&witness.key)).collect::<Result<_, _>>()?;
        let cosigned = self.witnesses.iter().zip(&times);
        let witnesses =
            cosigned.filter_map(|(witness, time)| Some((witness.name.clone(), (*time)?))).collect();
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let seen = |member: &&Named| holds(**member, &times, &groups);
            let count = group.members.iter().filter(seen).count();
            groups.push(count >= group.threshold);
        }
        let quorum = self.quorum.is_none_or(|named| holds(named, &times, &groups));
        Ok(Judgement { log, witnesses, quorum })
    }
}

fn holds(named: Named, times: &[Option<u64>], groups: &[bool]) -> bool {
    match named {
        Named::Witness(place) => times.get(place).is_some_and(Option::is_some),
        Named::Group(place) => groups.get(place).is_some_and(|holds| *holds),
    }
}

/// Words that begin the lines of a trust file before its policy.
const HEAD: [&str; 6] = ["origin", "log", "epoch0", "entry0", "report", "tsa"];

/// The policy at the end of a trust file, after its first empty line. Every trust file has one, if only
/// `quorum none`: a file that lost its end, its empty line or its kind of line ends is refused.
pub fn of_trust_file(text: &str) -> Result<Policy, PolicyError> {
    let fault = |line, what: String| Err(PolicyError { line, what });
    for (line, number) in text.split('\n').zip(1..).skip(1) {
        let word = line.split(' ').next().unwrap_or_default();
        if line.ends_with('\r') {
            return fault(number, "lines of a trust file end with a newline alone".into());
        }
        if line.is_empty() {
            let start: usize = text.split_inclusive('\n').take(number).map(str::len).sum();
            return match text.get(start..) {
                Some(policy) if !policy.is_empty() => Policy::parse(policy, number),
                _ => fault(0, "the trust file ends before its policy (`quorum none` asks for nobody)".into()),
            };
        }
        if !HEAD.contains(&word) {
            let what = format!("`{}` belongs behind the empty line that the policy begins with", shown(word));
            return fault(number, what);
        }
    }
    fault(0, "the trust file ends before its policy (`quorum none` asks for nobody)".into())
}

#[derive(Default)]
struct Reader {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// Members of groups so far: each name may be one once.
    members: Vec<Named>,
    quorum: Option<Option<Named>>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
            return Err("a control character (lines end with a newline alone)".into());
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] => self.log(vkey, None),
            ["log", vkey, url] => self.log(vkey, Some(url)),
            ["log", ..] => Err("`log <vkey> [<url>]` is expected".into()),
            ["witness", name, vkey] => self.witness(name, vkey, None),
            ["witness", name, vkey, url] => self.witness(name, vkey, Some(url)),
            ["witness", ..] => Err("`witness <name> <vkey> [<url>]` is expected".into()),
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            ["group", ..] => Err("`group <name> any|all|<k> <name>…` is expected".into()),
            ["quorum", name] => self.quorum(name),
            ["quorum", ..] => Err("`quorum none|<name>` is expected".into()),
            [first, ..] => Err(format!("`{}` is none of log, witness, group and quorum", shown(first))),
        }
    }

    fn log(&mut self, vkey: &str, url: Option<&&str>) -> Result<(), String> {
        let key = Verifier::parse(vkey).ok_or_else(|| wrong_key(vkey, 0x01, "a log's Ed25519 key"))?;
        if self.logs.iter().any(|log| log.key.key == key.key) {
            return Err("this log's key is listed already".into());
        }
        room(self.logs.len())?;
        self.logs.push(Log { key, url: url.map(|url| (*url).to_owned()) });
        Ok(())
    }

    fn witness(&mut self, name: &str, vkey: &str, url: Option<&&str>) -> Result<(), String> {
        let key = CosignerKey::parse(vkey).ok_or_else(|| wrong_key(vkey, 0x04, "a witness's key"))?;
        if self.witnesses.iter().any(|witness| witness.key.key == key.key) {
            return Err("this witness's key is listed already".into());
        }
        self.new_name(name)?;
        room(self.witnesses.len())?;
        let (name, url) = (name.to_owned(), url.map(|url| (*url).to_owned()));
        self.witnesses.push(Witness { name, key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, names: &[&str]) -> Result<(), String> {
        let mut members = Vec::with_capacity(names.len());
        for member in names {
            let named = self.named(member)?;
            if self.members.contains(&named) || members.contains(&named) {
                return Err(format!("`{}` is a member of a group already", shown(member)));
            }
            members.push(named);
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => super::note::parse_decimal(number)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=members.len()).contains(number))
                .ok_or_else(|| {
                    let count = members.len();
                    format!("`{}` is neither any, all nor a number from 1 to {count}", shown(number))
                })?,
        };
        self.new_name(name)?;
        room(self.groups.len())?;
        self.members.extend(&members);
        self.groups.push(Group { name: name.to_owned(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a `quorum` line already".into());
        }
        self.quorum = Some(match name {
            "none" => None,
            name => Some(self.named(name)?),
        });
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Named> {
        let witness = self.witnesses.iter().position(|witness| witness.name == name);
        let group = || self.groups.iter().position(|group| group.name == name);
        witness.map(Named::Witness).or_else(|| group().map(Named::Group))
    }

    fn named(&self, name: &str) -> Result<Named, String> {
        self.find(name)
            .ok_or_else(|| format!("no line before this one defines a witness or a group `{}`", shown(name)))
    }

    fn new_name(&self, name: &str) -> Result<(), String> {
        match (name, self.find(name)) {
            ("none", _) => Err("`none` cannot be a name".into()),
            (_, Some(_)) => Err(format!("`{}` is defined already", shown(name))),
            (_, None) => Ok(()),
        }
    }
}

fn room(count: usize) -> Result<(), String> {
    match count < ITEMS_MAX {
        true => Ok(()),
        false => Err(format!("more than {ITEMS_MAX} lines of this kind")),
    }
}

/// A word of the file as a message shows it.
fn shown(word: &str) -> String {
    match word.char_indices().nth(64) {
        Some((cut, _)) => format!("{}…", &word[..cut]),
        None => word.to_owned(),
    }
}

/// Says of a key whether its type or its form is wrong.
fn wrong_key(vkey: &str, wanted: u8, what: &str) -> String {
    let found = super::note::vkey_type(vkey);
    match found {
        Some(found) if found != wanted => {
            format!("the key is of type 0x{found:02x}; {what} is of type 0x{wanted:02x}")
        }
        _ => "this is not a valid verifier key".into(),
    }
}

#[cfg(test)]
mod tests;
