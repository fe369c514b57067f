//! Policies: YAML files that people write, made ready to run in one conversion that may fail.
//!
//! The caller reads the files; this layer is pure. A file's folder says what it is:
//!
//! | folder | holds |
//! |---|---|
//! | `dlp/` | what must not stand in records |
//! | `access/` | who may do what |
//! | `detections/` | Sigma rules and correlations, see [`detection`] |
//! | `operations/` | deadlines of notifications, see [`clocks`] |
//! | `frameworks/` | control texts for reports, kept as they are |
//! | `runbooks/` | `<rule id>.md`: what to do, for people; not read here |
//!
//! Loading is all or nothing: either every file is good and every example behaves as its file says, or the
//! caller gets the whole list of problems and keeps the policy in force. No files at all is a policy too:
//! nothing is flagged. Digests are plain SHA-256: policy files hold nothing of a source.

pub mod access;
pub mod clocks;
mod condition;
#[cfg(test)]
mod conformance;
pub mod detection;
pub mod dlp;
pub mod example;
mod fields;
pub mod framework;
mod habit;
#[cfg(test)]
mod tests;

use crate::incident::lifecycle::ClockRule;
use crate::inspect::behaviour::{DetectionRule, Engine};
use crate::model::Hash;
use crate::yaml::{Problem, nearest};
use detection::Detection;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A format's name and the event paths it sets.
pub type FormatSets<'a> = (&'a str, &'a [&'a str]);

/// A policy file by name and digest, as the trail records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Path inside the policy folder, or as the caller names it.
    pub name: String,
    /// SHA-256 of its text.
    pub digest: Hash,
}

/// Everything that is in force.
#[derive(Clone, Default)]
pub struct Policies {
    /// Rules of `dlp/`.
    pub dlp: Arc<crate::inspect::dlp::Rules>,
    /// Policies of `access/`.
    pub access: Arc<crate::inspect::privilege::Rules>,
    /// Rules of `detections/`, by id.
    pub detections: Arc<[DetectionRule]>,
    /// Deadlines of `operations/`.
    pub clocks: Vec<ClockRule>,
    /// Control frameworks of `frameworks/`.
    pub frameworks: Vec<framework::Framework>,
    /// Ids of all rules, sorted: what the trail says was looked for.
    pub rule_ids: Vec<String>,
    /// What to do about a rule's findings, for people: where the text stands, by rule id.
    pub runbooks: BTreeMap<String, std::path::PathBuf>,
    /// Every file, by name.
    pub files: Vec<PolicyFile>,
    /// Digest over all names and digests.
    pub digest: Hash,
}

/// Folders of the design that are not built yet.
const PLANNED: &[&str] = &["quality", "privacy"];
const FOLDERS: &[&str] = &["dlp", "access", "detections", "operations", "frameworks"];

impl Policies {
    /// Reads and checks all files, given as name and text. `formats` are the shipped formats; none means that
    /// it is not checked whether any feed can set what a rule needs.
    pub fn load(files: &[(String, String)], formats: &[FormatSets<'_>]) -> Result<Policies, Vec<Problem>> {
        let mut sorted: Vec<&(String, String)> = files.iter().collect();
        sorted.sort();
        let mut loaded = Loaded::default();
        for (name, text) in sorted {
            loaded.read(name, text);
        }
        loaded.problems.extend(check_detections(&loaded.detections, formats));
        match loaded.problems.is_empty() {
            true => Ok(loaded.ready()),
            false => Err(loaded.problems),
        }
    }
}

impl Policies {
    /// Writes the members of a `policy` entry: what is in force, by digest.
    pub fn write(&self, out: &mut crate::model::json::Object<'_>) {
        out.word("digest", &self.digest.hex());
        out.objects("files", &self.files, |file, out| {
            out.str("name", &file.name);
            out.word("digest", &file.digest.hex());
        });
        out.list("rules", &self.rule_ids);
    }
}

/// What was read so far.
#[derive(Default)]
struct Loaded {
    dlp: crate::inspect::dlp::Rules,
    access: Vec<crate::inspect::privilege::Policy>,
    detections: Vec<Detection>,
    clocks: Vec<ClockRule>,
    frameworks: Vec<framework::Framework>,
    files: Vec<PolicyFile>,
    rule_ids: std::collections::BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Loaded {
    fn read(&mut self, name: &str, text: &str) {
        // The trail names a file by its folder and name: where the folder stands is the machine's matter.
        let parts: Vec<&str> = name.rsplit('/').take(2).collect();
        let short = parts.iter().rev().copied().collect::<Vec<_>>().join("/");
        self.files.push(PolicyFile { name: short, digest: digest(text) });
        match folder(name) {
            "dlp" => self.read_dlp(name, text),
            "access" => self.read_access(name, text),
            "detections" => match detection::read(name, text) {
                Ok(detection) => self.detections.push(detection),
                Err(problem) => self.problems.push(problem),
            },
            "operations" => match clocks::read(name, text) {
                Ok(clocks) => {
                    let known = |clock: &ClockRule| self.clocks.iter().any(|other| other.id == clock.id);
                    if let Some(twice) = clocks.iter().find(|clock| known(clock)) {
                        let what = format!("`{}` is the id of a clock in another file", twice.id);
                        self.problems.push(Problem::file(name, what));
                    }
                    self.clocks.extend(clocks);
                }
                Err(problems) => self.problems.extend(problems),
            },
            "frameworks" => match framework::Framework::parse(name, text) {
                Ok(framework) => self.frameworks.push(framework),
                Err(problem) => self.problems.push(problem),
            },
            other => self.problems.push(stray(name, other)),
        }
    }

    fn read_dlp(&mut self, name: &str, text: &str) {
        let problems = dlp::check(name, text);
        if let (true, Ok(policy)) = (problems.is_empty(), dlp::read(name, text)) {
            for rule in &policy.rules.rules {
                if !self.rule_ids.insert(rule.id.clone()) {
                    self.problems
                        .push(Problem::file(name, format!("`{}` is the id of another rule", rule.id)));
                }
            }
            self.dlp.policy = policy.rules.policy;
            self.dlp.rules.extend(policy.rules.rules);
        }
        self.problems.extend(problems);
    }

    fn read_access(&mut self, name: &str, text: &str) {
        match access::read(name, text, &digest(text).hex()[..16]) {
            Ok(file) => {
                self.problems.extend(file.check());
                self.rule_ids.extend(crate::inspect::privilege::RULES.iter().map(|id| (*id).to_owned()));
                self.access.push(file.policy);
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    fn ready(self) -> Policies {
        let mut rules: Vec<DetectionRule> =
            self.detections.into_iter().map(|detection| detection.rule).collect();
        rules.sort_by(|one, other| one.id.cmp(&other.id));
        let mut rule_ids = self.rule_ids;
        rule_ids.extend(rules.iter().map(|rule| rule.id.clone()));
        Policies {
            dlp: Arc::new(self.dlp),
            access: Arc::new(crate::inspect::privilege::Rules::new(self.access)),
            detections: rules.into(),
            clocks: self.clocks,
            frameworks: self.frameworks,
            rule_ids: rule_ids.into_iter().collect(),
            runbooks: BTreeMap::new(),
            digest: digest_of(&self.files),
            files: self.files,
        }
    }
}

/// SHA-256 of a policy file's text.
pub(crate) fn digest(text: &str) -> Hash {
    Hash(Sha256::digest(text.as_bytes()).into())
}

/// Names have no line ends, digests have one length: no two lists of files give the same bytes.
fn digest_of(files: &[PolicyFile]) -> Hash {
    let mut sum = Sha256::new();
    for file in files {
        sum.update(format!("{} {}\n", file.digest, file.name.escape_default()));
    }
    Hash(sum.finalize().into())
}

/// The folder a file stands in.
fn folder(name: &str) -> &str {
    let mut parts = name.rsplit(['/', '\\']);
    parts.next();
    parts.next().unwrap_or("")
}

fn stray(name: &str, folder: &str) -> Problem {
    if PLANNED.contains(&folder) {
        return Problem::file(name, format!("policies in `{folder}/` are not built yet"))
            .cure("move the file out of the policy folder");
    }
    let problem = Problem::file(name, format!("`{folder}/` is no kind of policy"));
    match nearest(folder, FOLDERS.iter().copied()) {
        Some(near) => problem.cure(format!("did you mean `{near}/`?")),
        None => problem.cure(format!("a policy stands in one of {}/", FOLDERS.join("/, "))),
    }
}

/// Everything that is wrong with rules which can be read.
fn check_detections(detections: &[Detection], formats: &[FormatSets<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, &Detection> = BTreeMap::new();
    for detection in detections {
        let rule = &detection.rule;
        if let Some(first) = seen.insert(&rule.id, detection) {
            let what = format!("`{}` is already the id of {}", rule.id, first.rule.file);
            problems.push(Problem::at(&rule.file, detection.line, what).cure("give it an `id:` of its own"));
        }
        if !formats.is_empty() {
            problems.extend(check_formats(detection, formats));
        }
        problems.extend(check_examples(detection));
    }
    problems
}

/// The pipeline sets these for every event.
const ALWAYS: &[&str] = &["time", "observed", "source", "system", "feed", "clock"];

/// A rule that reads what no feed has, or needs together what no single feed has, can never fire.
fn check_formats(detection: &Detection, formats: &[FormatSets<'_>]) -> Vec<Problem> {
    let file = &detection.rule.file;
    let free = |path: &str| ALWAYS.contains(&path) || path.starts_with("extra.") || fields::is_virtual(path);
    let known = || formats.iter().flat_map(|(_, sets)| sets.iter().copied());
    let mut problems = Vec::new();
    for (path, line) in &detection.paths {
        if free(path) || known().any(|set| set == path) {
            continue;
        }
        let what = format!("no shipped format sets `{path}`, so this can never match");
        let problem = Problem::at(file, *line, what);
        problems.push(match nearest(path, known()) {
            Some(near) => problem.cure(format!("did you mean `{near}`?")),
            None => problem.cure("use a field that a format sets"),
        });
    }
    let lacks = |sets: &[&str]| -> Vec<&str> {
        let lacking = |path: &&str| !free(path) && !sets.contains(path);
        detection.requires.iter().map(String::as_str).filter(lacking).collect()
    };
    let closest =
        formats.iter().map(|(name, sets)| (lacks(sets), *name)).min_by_key(|(lacking, _)| lacking.len());
    if let (true, Some((lacking, name))) = (problems.is_empty(), closest)
        && let Some(first) = lacking.first()
    {
        let line = detection.paths.get(*first).copied().unwrap_or(detection.line);
        let what =
            format!("no shipped format sets all of `requires:`; `{name}` lacks {}", lacking.join(", "));
        problems.push(Problem::at(file, line, what));
    }
    problems
}

/// Every example must be reported, every counter-example must not.
fn check_examples(detection: &Detection) -> Vec<Problem> {
    let rule = &detection.rule;
    let mut problems = Vec::new();
    if detection.examples.is_empty() || detection.counter_examples.is_empty() {
        let problem = Problem::at(&rule.file, detection.line, "a rule needs examples and counter_examples");
        problems.push(problem.cure("at least one list of events each"));
    }
    for (kind, expected, list) in
        [("example", true, &detection.examples), ("counter_example", false, &detection.counter_examples)]
    {
        for (place, example) in list.iter().enumerate() {
            let what = match fires(rule, example) {
                Ok(fired) if fired == expected => continue,
                Ok(true) => "is reported, but must not be".to_owned(),
                Ok(false) => "is not reported, but must be".to_owned(),
                Err(error) => error,
            };
            let what = format!("{kind} {}: {what}", place + 1);
            problems.push(Problem::at(&rule.file, detection.line, what));
        }
    }
    problems
}

fn fires(rule: &DetectionRule, example: &example::Example) -> Result<bool, String> {
    let mut engine = Engine::new(std::slice::from_ref(rule))?;
    let mut findings = Vec::new();
    example.each(&mut |event| {
        let matches = engine.evaluate(&event);
        engine.correlate(&event, &matches, &mut findings);
        findings.truncate(1); // One is enough to know.
    })?;
    Ok(!findings.is_empty())
}
