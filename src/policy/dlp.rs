//! Policies about card and social-security numbers: `policy: dlp`.
//!
//! ```yaml
//! policy: dlp
//! version: 1
//! rules:
//!   - id: dlp.payment_card
//!     detector: payment_card        # or us_ssn; at most one rule for each
//!     severity: high
//!     min_likelihood: medium        # default medium
//!     test_numbers: info            # info (default), real, ignore
//!     controls: [pci-dss/3.5.1]
//!     next: Mask the field and ask who wrote it.
//!     window: 1h                    # findings of one place within it are one incident; default 1h
//!     allow:                        # exceptions, each with who and until when
//!       - field: changes.Sandbox_Card__c
//!         reason: training records
//!         author: dana@acme.example
//!         expires: 2027-01-31
//!     examples: ["paid with {card}"]          # must be found
//!     counter_examples: ["order {luhn_fail}"] # must not be found
//! ```
//!
//! Placeholders are described in [`crate::inspect::dlp::generate`]. Rules decide what is reported; masking
//! is not a matter of policy.

use crate::inspect::dlp::generate::Generator;
use crate::inspect::dlp::{Allow, Allowed, Detector, Likelihood, Rule, Rules, TestNumbers, mask, scan};
use crate::model::{Severity, Time};
use crate::yaml::{self, Problem};
use serde::Deserialize;
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

/// Numbers per example that [`check`] makes: one alone could pass by luck.
const SEEDS: u64 = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    policy: Spanned<String>,
    version: Spanned<u64>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: Spanned<String>,
    detector: Detector,
    #[serde(default = "enabled")]
    enabled: bool,
    severity: Severity,
    #[serde(default = "medium")]
    min_likelihood: Likelihood,
    #[serde(default = "info")]
    test_numbers: TestNumbers,
    #[serde(default)]
    controls: Vec<String>,
    next: String,
    window: Option<Spanned<String>>,
    #[serde(default)]
    allow: Vec<RawAllow>,
    #[serde(default)]
    examples: Vec<Spanned<String>>,
    #[serde(default)]
    counter_examples: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAllow {
    fingerprint: Option<String>,
    field: Option<String>,
    reason: Spanned<String>,
    author: String,
    expires: Spanned<String>,
}

fn enabled() -> bool {
    true
}
fn medium() -> Likelihood {
    Likelihood::Medium
}
fn info() -> TestNumbers {
    TestNumbers::Info
}

/// A policy file that was read: its rules, and the samples that prove them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What the inspection works with.
    pub rules: Rules,
    samples: Vec<Sample>,
}

/// One line of text that a rule must or must not find something in.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    rule: usize,
    line: u64,
    text: String,
    found: bool,
}

/// Reads a policy file. Nothing of it is in force when any part is wrong.
pub fn read(file: &str, text: &str) -> Result<Policy, Problem> {
    let raw: RawFile = yaml::parse(file, text)?;
    if raw.policy.value != "dlp" {
        let line = raw.policy.referenced.line();
        return Err(Problem::at(file, line, format!("`policy: {}` is not `policy: dlp`", raw.policy.value)));
    }
    if raw.version.value != 1 {
        let line = raw.version.referenced.line();
        return Err(Problem::at(file, line, "unknown version").cure("this release reads version: 1"));
    }
    let mut rules = Rules {
        policy: crate::model::digest::hex(&Sha256::digest(text.as_bytes())[..8]),
        ..Rules::default()
    };
    let mut samples = Vec::new();
    for raw in raw.rules {
        let line = raw.id.referenced.line();
        if rules.rules.iter().any(|rule: &Rule| rule.id == raw.id.value || rule.detector == raw.detector) {
            let what = format!("`{}` is the second rule for {}", raw.id.value, raw.detector);
            return Err(Problem::at(file, line, what).cure("join the two"));
        }
        let place = rules.rules.len();
        let marked = [(&raw.examples, true), (&raw.counter_examples, false)];
        for (texts, found) in marked {
            samples.extend(texts.iter().map(|text| Sample {
                rule: place,
                line: text.referenced.line(),
                text: text.value.clone(),
                found,
            }));
        }
        rules.rules.push(rule(file, raw)?);
    }
    Ok(Policy { rules, samples })
}

fn rule(file: &str, raw: RawRule) -> Result<Rule, Problem> {
    let line = raw.id.referenced.line();
    if !raw.id.value.starts_with("dlp.") || raw.id.value.chars().any(char::is_whitespace) {
        let problem = Problem::at(file, line, format!("`{}` is no id of a dlp rule", raw.id.value));
        return Err(problem.cure("write dlp.<name>"));
    }
    let window_seconds = match &raw.window {
        None => 3600,
        Some(text) => seconds(&text.value).ok_or_else(|| {
            Problem::at(file, text.referenced.line(), "not a length of time").cure("write 30m, 1h or 7d")
        })?,
    };
    let allow = raw.allow.into_iter().map(|raw| allow(file, raw)).collect::<Result<_, _>>()?;
    Ok(Rule {
        id: raw.id.value,
        detector: raw.detector,
        enabled: raw.enabled,
        severity: raw.severity,
        min_likelihood: raw.min_likelihood,
        test_numbers: raw.test_numbers,
        controls: raw.controls,
        next: raw.next,
        window_seconds,
        allow,
    })
}

fn allow(file: &str, raw: RawAllow) -> Result<Allow, Problem> {
    let line = raw.reason.referenced.line();
    let what = match (raw.fingerprint, raw.field) {
        (Some(fingerprint), None) => Allowed::Fingerprint(fingerprint),
        (None, Some(field)) => Allowed::Field(field),
        _ => {
            return Err(Problem::at(file, line, "an exception needs one of `fingerprint` and `field`"));
        }
    };
    if raw.reason.value.trim().is_empty() || raw.author.trim().is_empty() {
        return Err(Problem::at(file, line, "an exception needs a reason and an author"));
    }
    let text = &raw.expires.value;
    let expires = Time::parse(text).or_else(|| Time::parse_date(text)).ok_or_else(|| {
        Problem::at(file, raw.expires.referenced.line(), "`expires` is no date").cure("write 2027-01-31")
    })?;
    Ok(Allow { what, reason: raw.reason.value, author: raw.author, expires })
}

/// `90s`, `30m`, `1h`, `7d`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(factor).filter(|seconds| *seconds > 0)
}

/// Reads a policy file and proves its examples and counter-examples. Empty means that all is well.
pub fn check(file: &str, text: &str) -> Vec<Problem> {
    match read(file, text) {
        Err(problem) => vec![problem],
        Ok(policy) => policy.samples.iter().filter_map(|sample| prove(file, &policy.rules, sample)).collect(),
    }
}

/// Fills the sample with numbers from several seeds and looks what the rule makes of it.
fn prove(file: &str, rules: &Rules, sample: &Sample) -> Option<Problem> {
    let rule = rules.rules.get(sample.rule)?;
    for seed in 0..SEEDS {
        let text = match Generator::new(seed).fill(&sample.text) {
            Ok(text) => text,
            Err(what) => return Some(Problem::at(file, sample.line, format!("{}: {what}", rule.id))),
        };
        let mut hits = Vec::new();
        scan(&text, "", &mut hits);
        let best = hits.iter().filter(|hit| hit.detector == rule.detector).max_by_key(|hit| hit.likelihood);
        let found = best.is_some_and(|hit| {
            hit.likelihood >= rule.min_likelihood
                && !(hit.test_number && rule.test_numbers == TestNumbers::Ignore)
        });
        if found != sample.found {
            return Some(contradiction(file, rule, sample, best.map(|hit| hit.likelihood)));
        }
        if found && mask(&text).is_none_or(|masked| mask(&masked).is_some()) {
            return Some(Problem::at(file, sample.line, format!("{}: the example is not masked", rule.id)));
        }
    }
    None
}

fn contradiction(file: &str, rule: &Rule, sample: &Sample, best: Option<Likelihood>) -> Problem {
    let seen = best.map_or("nothing".to_owned(), |likelihood| format!("likelihood {likelihood}"));
    let what = match sample.found {
        true => format!("{}: `{}` is an example, but gives {seen}", rule.id, sample.text),
        false => format!("{}: `{}` is a counter-example, but gives {seen}", rule.id, sample.text),
    };
    Problem::at(file, sample.line, what).cure(format!("min_likelihood is {}", rule.min_likelihood))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const HEAD: &str = "policy: dlp\nversion: 1\nrules:\n  - id: dlp.payment_card\n    detector: payment_card\n    severity: high\n    next: look\n";

    fn problems(rest: &str) -> Vec<String> {
        check("x.yaml", &format!("{HEAD}{rest}")).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn the_shipped_policy_proves_itself() {
        let text = include_str!("../../policies/dlp/card-and-ssn.yaml");
        assert_eq!(check("card-and-ssn.yaml", text), []);
        let policy = read("card-and-ssn.yaml", text).unwrap();
        assert_eq!(policy.rules.rules.len(), 2);
        assert_eq!(policy.rules.policy.len(), 16);
        assert!(policy.samples.len() > 20);
    }

    #[test]
    fn defaults_and_windows() {
        let policy = read("x.yaml", HEAD).unwrap();
        let rule = &policy.rules.rules[0];
        assert_eq!(
            (rule.enabled, rule.min_likelihood, rule.window_seconds),
            (true, Likelihood::Medium, 3600)
        );
        assert_eq!(rule.test_numbers, TestNumbers::Info);
        assert_eq!(seconds("7d"), Some(604_800));
        for wrong in ["", "h", "0s", "1w", "-1s", "99999999999999999999d", "1é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn problems_say_where() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert_eq!(problems("    window: soon\n"), ["x.yaml:8: not a length of time (write 30m, 1h or 7d)"]);
        let wrong = problems("    examples:\n      - \"{card}\"\n      - nothing here\n");
        assert_eq!(
            wrong,
            [
                "x.yaml:10: dlp.payment_card: `nothing here` is an example, but gives nothing (min_likelihood is medium)"
            ]
        );
        let wrong = problems("    counter_examples: [\"card {card}\"]\n");
        assert!(
            wrong[0].starts_with("x.yaml:8: dlp.payment_card: `card {card}` is a counter-example"),
            "{wrong:?}"
        );
        assert!(problems("    examples: [\"{crad}\"]\n")[0].contains("unknown placeholder `{crad}`"));
        assert!(problems("    sevrity: low\n")[0].contains("did you mean `severity`?"));
    }

    #[test]
    fn exceptions_have_an_author_and_an_end() {
        let allow =
            |rest: &str| problems(&format!("    allow:\n      - reason: r\n        author: a\n{rest}"));
        assert_eq!(allow("        field: x\n        expires: 2027-01-31\n"), Vec::<String>::new());
        assert!(allow("        field: x\n")[0].contains("expires"));
        assert!(allow("        expires: 2027-01-31\n")[0].contains("needs one of"));
        assert!(allow("        field: x\n        expires: soon\n")[0].contains("no date"));
    }

    #[test]
    fn two_rules_for_one_detector_are_refused() {
        let second = "  - id: dlp.other\n    detector: payment_card\n    severity: low\n    next: look\n";
        assert_eq!(
            problems(second),
            ["x.yaml:8: `dlp.other` is the second rule for payment_card (join the two)"]
        );
    }
}
