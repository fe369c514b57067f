//! YAML as people write it, read strictly: every file of ours goes through [`parse`].
//!
//! Unknown keys, wrong types, duplicate keys and the YAML 1.1 truths (`yes`, `no`, `on`, `off` unquoted)
//! are errors that name file, line, what is wrong and how to mend it. An error text shows keys and
//! positions, never a value: a value may be a secret.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Options};
use std::fmt;

/// Something wrong in a file that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the person named it.
    pub file: String,
    /// Line from 1; 0 when it is about the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: String,
    /// How to mend it, where we know.
    pub cure: Option<String>,
}

impl Problem {
    /// A problem with the file as a whole.
    pub fn file(file: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { file: file.into(), line: 0, what: what.into(), cure: None }
    }
    /// A problem at a line.
    pub fn at(file: impl Into<String>, line: u64, what: impl Into<String>) -> Problem {
        Problem { file: file.into(), line, what: what.into(), cure: None }
    }
    /// The same with its cure.
    pub fn cure(mut self, cure: impl Into<String>) -> Problem {
        self.cure = Some(cure.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what)?,
            line => write!(f, "{}:{line}: {}", self.file, self.what)?,
        }
        match &self.cure {
            Some(cure) => write!(f, " ({cure})"),
            None => Ok(()),
        }
    }
}

/// Reads one document. `file` is only for the error.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Problem> {
    reject_yaml11_truths(file, text)?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| problem(file, &error))
}

/// Reads a stream of documents separated by `---`.
pub fn parse_many<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<T>, Problem> {
    reject_yaml11_truths(file, text)?;
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| problem(file, &error))
}

fn options() -> Options {
    serde_saphyr::options! { strict_booleans: true, with_snippet: false }
}

/// An unquoted `no` would become the string "no" where a string is expected: a country, say. In a language
/// where half of the readers take it for a boolean, it must be quoted or be `true`/`false`.
fn reject_yaml11_truths(file: &str, text: &str) -> Result<(), Problem> {
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        let Some((_, value)) = line.split_once(": ") else { continue };
        let value = value.trim();
        let bare = ["yes", "no", "on", "off"].iter().any(|word| value.eq_ignore_ascii_case(word));
        if bare {
            return Err(Problem::at(file, number as u64 + 1, format!("`{value}` is ambiguous"))
                .cure(format!("write true or false, or \"{value}\" in quotes for the word")));
        }
    }
    Ok(())
}

fn problem(file: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |location| location.line());
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let problem = Problem::at(file, line, format!("unknown key `{field}`"));
            match nearest(field, expected.iter().copied()) {
                Some(name) => problem.cure(format!("did you mean `{name}`?")),
                None => problem.cure(format!("known keys here: {}", expected.join(", "))),
            }
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let problem = Problem::at(file, line, format!("unknown word `{variant}`"));
            match nearest(variant, expected.iter().copied()) {
                Some(name) => problem.cure(format!("did you mean `{name}`?")),
                None => problem.cure(format!("known words here: {}", expected.join(", "))),
            }
        }
        other => {
            let text = other.to_string();
            let first = text.lines().next().unwrap_or("cannot be read").trim();
            let first = first.split(" at line ").next().unwrap_or(first);
            Problem::at(file, line, first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// The known name that a mistyped one most likely means: at most two edits away, and less than half of it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (edits(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && distance * 2 < candidate.len().max(2))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code)]
        severity: String,
        #[serde(default)]
        #[allow(dead_code)]
        enabled: bool,
    }

    fn message(text: &str) -> String {
        parse::<Sample>("x.yaml", text).map_or_else(|problem| problem.to_string(), |_| "fine".into())
    }

    #[test]
    fn errors_name_file_line_and_cure() {
        assert_eq!(
            message("severity: high\nsevrity: x\n"),
            "x.yaml:2: unknown key `sevrity` (did you mean `severity`?)"
        );
        assert_eq!(
            message("severity: high\nenabled: no\n"),
            "x.yaml:2: `no` is ambiguous (write true or false, or \"no\" in quotes for the word)"
        );
        assert!(message("severity: [1]\n").starts_with("x.yaml:1: "), "{}", message("severity: [1]\n"));
        assert!(message("severity: a\nseverity: b\n").starts_with("x.yaml:2: "));
        assert_eq!(message("severity: high\nenabled: true\n"), "fine");
    }

    #[test]
    fn nearest_is_near() {
        assert_eq!(nearest("recievers", ["receivers", "routes"]), Some("receivers"));
        assert_eq!(nearest("x", ["receivers", "routes"]), None);
    }
}
