//! Rules over an event: every string is inspected, findings are made, and the strings are masked in place.
//!
//! Rules decide what is *reported*. What is *masked* they do not decide: every number leaves the event
//! masked, also with no rule at all.

use super::{Detector, Hit, Likelihood, Scanner, mask, mask_with_context, scan};
use crate::model::event::words;
use crate::model::finding::FindingKind;
use crate::model::{Event, Finding, Key, KeyRing, Severity, Time};
use std::collections::HashMap;
use zeroize::Zeroize;

words!(
    /// How numbers that belong to nobody are treated.
    TestNumbers {
        /// Reported with severity `info`.
        Info = "info",
        /// Reported like any other.
        Real = "real",
        /// Not reported.
        Ignore = "ignore",
    }
);

/// Most findings of one rule about one event. Further numbers are counted in the last of them.
const FINDINGS_MAX: usize = 32;

/// What an exception is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// One number, by its keyed fingerprint.
    Fingerprint(String),
    /// Everything in one field, by its dotted path.
    Field(String),
}

/// An exception, with who answers for it and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// What is not reported.
    pub what: Allowed,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub author: String,
    /// From this time on it is reported again. Compared with the event's time.
    pub expires: Time,
}

/// What to report about one kind of number.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its id, `dlp.payment_card`.
    pub id: String,
    /// What it is about.
    pub detector: Detector,
    /// Whether it reports at all.
    pub enabled: bool,
    /// Severity of its findings.
    pub severity: Severity,
    /// Hits below it are not reported.
    pub min_likelihood: Likelihood,
    /// What to do with numbers that belong to nobody.
    pub test_numbers: TestNumbers,
    /// Controls its findings speak to.
    pub controls: Vec<String>,
    /// What to do next, for people.
    pub next: String,
    /// Findings of one place within this time belong to one incident, seconds.
    pub window_seconds: u64,
    /// Exceptions.
    pub allow: Vec<Allow>,
}

/// The rules in force. The default has none: it reports nothing and masks everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The rules in the order of the file.
    pub rules: Vec<Rule>,
    /// First sixteen hexadecimal digits of the SHA-256 of the policy file.
    pub policy: String,
}

/// A hit with its place, before the event's other fields are masked.
struct Found {
    hit: Hit,
    path: String,
    fingerprint: String,
    count: usize,
}

impl Rules {
    /// Inspects and masks every string of the event, and reports on it.
    pub fn inspect<'a>(&self, event: &mut Event, keys: impl Into<KeyRing<'a>>, findings: &mut Vec<Finding>) {
        let keys = keys.into();
        let found = self.look(event, keys.current);
        self.report(&found, event, keys, findings);
    }

    /// Masks every string of the event and says which numbers it held; [`Rules::report`] makes findings of
    /// them, in the words of the event as it is then.
    pub fn look(&self, event: &mut Event, key: &Key) -> Numbers {
        let mut found = Numbers::default();
        let mut hits = Vec::new();
        let mut scanner = Scanner::default();
        event.visit_text(&mut |path, text| {
            scanner.scan(before_offset(path, text), path, &mut hits);
            // A field's name only adds hits, so without any there is nothing to mask either.
            if hits.is_empty() {
                return;
            }
            for hit in hits.drain(..) {
                found.note(hit, path, key);
            }
            if let Some(masked) = mask_with_context(path, text) {
                std::mem::replace(text, masked).zeroize();
            }
        });
        found
    }

    /// The numbers in the text of a record that could not be parsed. The text is not kept, so nothing is
    /// masked in place.
    pub fn look_unparsed(&self, text: &str, key: &Key) -> Numbers {
        let mut hits = Vec::new();
        scan(text, "", &mut hits);
        let mut found = Numbers::default();
        for hit in hits {
            found.note(hit, "raw", key);
        }
        found
    }

    /// One finding for each number; of a whole list in one record the first ones, and how many more.
    pub fn report(&self, found: &Numbers, event: &Event, keys: KeyRing<'_>, findings: &mut Vec<Finding>) {
        if found.list.is_empty() {
            return;
        }
        for detector in Detector::ALL {
            let before = findings.len();
            let mut more = 0usize;
            for found in found.list.iter().filter(|found| found.hit.detector == *detector) {
                match self.finding(found, event, keys) {
                    Some(finding) if findings.len() - before < FINDINGS_MAX => findings.push(finding),
                    Some(_) => more += 1,
                    None => {}
                }
            }
            if let Some(detail) =
                findings.last_mut().filter(|_| more > 0).and_then(|last| last.detail.as_mut())
            {
                detail.push_str(&format!("; and {more} more numbers in this record"));
            }
        }
    }

    fn finding(&self, found: &Found, event: &Event, keys: KeyRing<'_>) -> Option<Finding> {
        let hit = &found.hit;
        let rule = self.rules.iter().find(|rule| rule.enabled && rule.detector == hit.detector)?;
        let ignored = hit.test_number && rule.test_numbers == TestNumbers::Ignore;
        if hit.likelihood < rule.min_likelihood || ignored || rule.allows(found, event.when(), keys) {
            return None;
        }
        let field = mask(&found.path).unwrap_or_else(|| found.path.clone());
        let place = place(event, &field);
        let info = hit.test_number && rule.test_numbers == TestNumbers::Info;
        let delay = event.time.map(|time| event.observed.micros().saturating_sub(time.micros()) / 1_000_000);
        Some(Finding {
            rule: rule.id.clone(),
            r#type: FindingKind::Dlp,
            severity: if info { Severity::Info } else { rule.severity },
            title: title(hit, &place),
            detail: Some(detail(found, &field)),
            time: event.when(),
            source: Some(event.source.to_string()).filter(|source| !source.is_empty()),
            locator: None,
            actor: event.actor.id.clone(),
            actor_name: event.actor.name.clone(),
            target: target(event),
            key: format!(
                "{}|{}|{}|{field}",
                rule.id,
                event.source,
                event.target.r#type.as_deref().unwrap_or("")
            ),
            field: Some(field),
            fingerprint: Some(found.fingerprint.clone()),
            likelihood: Some(hit.likelihood.as_str().to_owned()),
            controls: rule.controls.clone(),
            window_seconds: rule.window_seconds,
            next: rule.next.clone(),
            policy: self.policy.clone(),
            about: Vec::new(),
            delay_seconds: delay.and_then(|delay| u64::try_from(delay).ok()).filter(|delay| *delay > 0),
        })
    }
}

impl Rule {
    fn allows(&self, found: &Found, when: Time, keys: KeyRing<'_>) -> bool {
        self.allow.iter().filter(|allow| when < allow.expires).any(|allow| match &allow.what {
            // An exception outlives the quarter in which its number was seen.
            Allowed::Fingerprint(fingerprint) => {
                keys.of(fingerprint).is_some_and(|key| found.hit.fingerprint(key) == *fingerprint)
            }
            Allowed::Field(field) => *field == found.path,
        })
    }
}

/// The numbers of one event. Equal ones are one, told by the likeliest place.
#[derive(Default)]
pub struct Numbers {
    list: Vec<Found>,
    known: HashMap<String, usize>,
}

impl Numbers {
    fn note(&mut self, hit: Hit, path: &str, key: &Key) {
        let fingerprint = hit.fingerprint(key);
        let known = self.known.get(&fingerprint).and_then(|place| self.list.get_mut(*place));
        match known {
            Some(known) => {
                known.count += 1;
                // The changed field says more to a steward than the sentence about it.
                let rank = |likelihood, path: &str| (likelihood, path.starts_with("changes."));
                if rank(hit.likelihood, path) > rank(known.hit.likelihood, &known.path) {
                    known.hit = hit;
                    known.path = path.to_owned();
                }
            }
            None => {
                self.known.insert(fingerprint.clone(), self.list.len());
                self.list.push(Found { hit, path: path.to_owned(), fingerprint, count: 1 });
            }
        }
    }
}

/// A record's place without the offset behind its last `@`: those digits are ours.
fn before_offset<'t>(path: &str, text: &'t str) -> &'t str {
    if path != "raw.locator" {
        return text;
    }
    match text.rsplit_once('@') {
        Some((file, offset)) if offset.bytes().all(|byte| byte.is_ascii_digit()) => file,
        _ => text,
    }
}

fn title(hit: &Hit, place: &str) -> String {
    let what = match (hit.detector, hit.test_number) {
        (Detector::PaymentCard, false) => "Card number",
        (Detector::PaymentCard, true) => "Test card number",
        (Detector::UsSsn, false) => "Social-security number",
        (Detector::UsSsn, true) => "Sample social-security number",
    };
    format!("{what} in {place}")
}

fn detail(found: &Found, field: &str) -> String {
    let network = found.hit.network.map(|network| format!("{network} ")).unwrap_or_default();
    let why: Vec<String> =
        found.hit.why.iter().map(|term| format!("{} {:+}", term.name, term.points)).collect();
    let times =
        if found.count == 1 { String::new() } else { format!(", {} times in this record", found.count) };
    format!("{network}{} in {field}{times}; {}", found.hit.masked, why.join(", "))
}

/// `Contact.Description`: the object and the field without the path of our own form.
fn place(event: &Event, field: &str) -> String {
    let name = field.strip_prefix("changes.").unwrap_or(field);
    match event.target.r#type.as_deref() {
        Some(object) if field.starts_with("changes.") => format!("{object}.{name}"),
        _ => name.to_owned(),
    }
}

/// The object and the first of its records.
fn target(event: &Event) -> Option<String> {
    const SHOWN: usize = 5;
    let ids = event.target.ids.iter().take(SHOWN).map(String::as_str);
    let mut words: Vec<&str> = event.target.r#type.as_deref().into_iter().chain(ids).collect();
    if event.target.ids.len() > SHOWN {
        words.push("…");
    }
    (!words.is_empty()).then(|| words.join(" "))
}
