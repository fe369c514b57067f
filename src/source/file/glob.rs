//! Path patterns: which files a source reads.
//!
//! | in a path component | matches |
//! |---|---|
//! | `*` | any characters, none included |
//! | `?` | one character |
//! | `[a-c_]`, `[!a-c]` | one character of the set, or not of it |
//! | `\x` | the character `x` itself |
//! | `**`, alone | any number of folders, none included |
//!
//! A leading `.` of a name is only matched by a `.` in the pattern: hidden files and folders stay hidden
//! from `*`, `?`, `[…]` and `**`, as in a POSIX shell (POSIX.1-2024, XCU 2.14). Symbolic links to files
//! and to folders named by a component are followed; `**` does not descend into linked folders, so it
//! cannot run in circles.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// `**` looks at most so many folders down.
const DEPTH: usize = 64;

/// A parsed pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    base: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Name(String),
    Pattern(Vec<Token>),
    AnyDepth,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    One,
    Any,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Found {
    /// Paths that match and exist, files or not.
    pub paths: BTreeSet<PathBuf>,
    /// Folders in which names were looked up.
    pub folders: BTreeSet<PathBuf>,
    /// Folders that could not be listed.
    pub troubles: Vec<(PathBuf, io::Error)>,
}

impl Glob {
    /// Reads a pattern; the error says how to mend it.
    pub fn parse(pattern: &str) -> Result<Glob, String> {
        if pattern.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if pattern.ends_with('/') {
            return Err(format!(
                "{pattern} names a folder; add what to read in it, for example {pattern}*.log"
            ));
        }
        let mut base = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
        let mut parts = Vec::new();
        for text in pattern.split('/').filter(|text| !text.is_empty() && *text != ".") {
            parts.push(component(text)?);
        }
        // The last component stays a part, so that the base is always a folder.
        let literal = parts.iter().take_while(|part| matches!(part, Part::Name(_))).count();
        for part in parts.drain(..literal.min(parts.len().saturating_sub(1))) {
            if let Part::Name(name) = part {
                base.push(name);
            }
        }
        match parts.last() {
            None => Err(format!("{pattern} names no file")),
            Some(Part::AnyDepth) => {
                Err(format!("{pattern} ends with **; add a name, for example {pattern}/*.log"))
            }
            Some(_) => Ok(Glob { base, parts }),
        }
    }

    /// Adds everything that matches now.
    pub fn walk(&self, found: &mut Found) {
        let base = if self.base.as_os_str().is_empty() { Path::new(".") } else { &self.base };
        if let Err(error) = fs::metadata(base) {
            found.troubles.push((base.to_owned(), error));
            return;
        }
        descend(base, &self.parts, 0, found);
    }
}

fn descend(folder: &Path, parts: &[Part], depth: usize, found: &mut Found) {
    let Some((part, rest)) = parts.split_first() else { return };
    match part {
        Part::Name(name) => {
            let path = folder.join(name);
            if rest.is_empty() {
                found.folders.insert(folder.to_owned());
                if path.symlink_metadata().is_ok() {
                    found.paths.insert(path);
                }
            } else if path.is_dir() {
                descend(&path, rest, depth, found);
            }
        }
        Part::Pattern(tokens) => {
            if rest.is_empty() {
                found.folders.insert(folder.to_owned());
            }
            for name in names(folder, found) {
                if !matches(tokens, &name.to_string_lossy()) {
                    continue;
                }
                let path = folder.join(&name);
                if rest.is_empty() {
                    found.paths.insert(path);
                } else if path.is_dir() {
                    descend(&path, rest, depth, found);
                }
            }
        }
        Part::AnyDepth => {
            descend(folder, rest, depth, found);
            if depth >= DEPTH {
                return;
            }
            for name in names(folder, found) {
                let path = folder.join(&name);
                let hidden = name.to_string_lossy().starts_with('.');
                if !hidden && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                    descend(&path, parts, depth + 1, found);
                }
            }
        }
    }
}

fn names(folder: &Path, found: &mut Found) -> Vec<std::ffi::OsString> {
    let listed: io::Result<Vec<_>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| entry.map(|e| e.file_name())).collect());
    match listed {
        Ok(names) => names,
        // A folder below may vanish between two looks; that is no trouble of the pattern.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            found.troubles.push((folder.to_owned(), error));
            Vec::new()
        }
    }
}

fn component(text: &str) -> Result<Part, String> {
    if text == "**" {
        return Ok(Part::AnyDepth);
    }
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' if chars.peek() == Some(&'*') => {
                return Err(format!("`**` must stand alone between slashes, in `{text}` it does not"));
            }
            '*' => Token::Any,
            '?' => Token::One,
            '[' => set(&mut chars, text)?,
            '\\' => Token::Char(chars.next().ok_or_else(|| format!("`{text}` ends with a backslash"))?),
            char => Token::Char(char),
        });
    }
    let literal: Option<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Char(char) => Some(*char),
            _ => None,
        })
        .collect();
    Ok(literal.map_or(Part::Pattern(tokens), Part::Name))
}

fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &str) -> Result<Token, String> {
    let unclosed = || format!("`[` in `{text}` is not closed; write `\\[` for the character itself");
    let negated = chars.next_if(|char| matches!(char, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or_else(unclosed)? {
            // A closing bracket that comes first stands for itself.
            ']' if !ranges.is_empty() => return Ok(Token::Set { negated, ranges }),
            '\\' => chars.next().ok_or_else(unclosed)?,
            char => char,
        };
        let mut ahead = chars.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                *chars = ahead;
                high
            }
            _ => low,
        };
        if high < low {
            return Err(format!("the range {low}-{high} in `{text}` is empty"));
        }
        ranges.push((low, high));
    }
}

fn matches(tokens: &[Token], name: &str) -> bool {
    if name.starts_with('.') && tokens.first() != Some(&Token::Char('.')) {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    // Where the last `*` stood and how much it has swallowed: one level of going back is enough, since a
    // later `*` can do all that an earlier one could.
    let (mut token, mut at, mut star) = (0, 0, None);
    while let Some(&char) = name.get(at) {
        match tokens.get(token) {
            Some(Token::Any) => {
                star = Some((token, at));
                token += 1;
            }
            Some(one) if accepts(one, char) => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((star_token, star_at)) = star else { return false };
                star = Some((star_token, star_at + 1));
                token = star_token + 1;
                at = star_at + 1;
            }
        }
    }
    tokens.get(token..).unwrap_or_default().iter().all(|token| *token == Token::Any)
}

fn accepts(token: &Token, char: char) -> bool {
    match token {
        Token::Char(wanted) => *wanted == char,
        Token::One | Token::Any => true,
        Token::Set { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&char)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn name_matches(pattern: &str, name: &str) -> bool {
        match component(pattern).unwrap() {
            Part::Name(wanted) => wanted == name,
            Part::Pattern(tokens) => matches(&tokens, name),
            Part::AnyDepth => panic!("not a name"),
        }
    }

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("access.log", "access.log", true),
            ("access.log*", "access.log", true),
            ("access.log*", "access.log.1", true),
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.tmp", false),
            ("*.csv", ".a.csv", false),
            (".*.csv", ".a.csv", true),
            ("?", "é", true),
            ("?", "ab", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[!a-c]x", "ax", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[!.]a", ".a", false),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyyb", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*", "", true),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn bad_patterns_say_how_to_mend_them() {
        for pattern in ["", "/", "/var/log/", "/a/**", "/a**/b", "/a/[b", "/a/[z-a]", "/a\\"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn walks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["a/x.log", "a/b/y.log", "a/b/c/z.log", "a/.h/q.log", "a/b/.hidden.log", "w.log"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("a"), root.join("a/b/loop")).unwrap();
        let walk = |pattern: &str| {
            let mut found = Found::default();
            Glob::parse(&format!("{}/{pattern}", root.display())).unwrap().walk(&mut found);
            assert!(found.troubles.is_empty());
            let names: Vec<String> = found
                .paths
                .iter()
                .map(|path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned())
                .collect();
            names.join(" ")
        };
        assert_eq!(walk("w.log"), "w.log");
        assert_eq!(walk("*.log"), "w.log");
        assert_eq!(walk("*/*.log"), "a/x.log");
        assert_eq!(walk("a/*/y.log"), "a/b/y.log");
        assert_eq!(walk("**/*.log"), "a/b/c/z.log a/b/y.log a/x.log w.log");
        assert_eq!(walk("**/b/*.log"), "a/b/y.log");
        assert_eq!(walk("a/**/z.log"), "a/b/c/z.log");
        assert_eq!(walk("a/.h/*"), "a/.h/q.log");
        assert_eq!(walk("none.log"), "");
        let mut found = Found::default();
        Glob::parse(&format!("{}/missing/*.log", root.display())).unwrap().walk(&mut found);
        assert_eq!(found.troubles.len(), 1);
    }
}
