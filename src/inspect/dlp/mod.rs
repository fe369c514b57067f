//! Card numbers and social-security numbers in text: found, rated, masked.
//!
//! ```text
//! text ─▶ blocks (where?) ─▶ cluster (which digits, what groups?) ─▶ card, ssn (is it one?) ─▶ Hit
//! ```
//!
//! There is one reader of digits for all detectors and no regular expression. Invariants, all tested:
//! * masking keeps the last four digits and writes `*` for every other one; masking masked text changes
//!   nothing;
//! * [`mask`] is wider than what policies report: whatever could be a number is masked, also test
//!   numbers, whatever the rules say;
//! * offsets are byte offsets in the given text, at character boundaries;
//! * no input panics, and the work is linear in its length;
//! * a [`Hit`] never shows its digits; they are wiped when it is dropped.
//!
//! Rules of validity: ISO/IEC 7812 (issuer prefix, length, check digit), the Social Security
//! Administration's ranges, PCI DSS 4.0.1 requirements 3.4.1 and 3.5.1 for what may stay readable.

mod blocks;
mod card;
mod cluster;
mod context;
mod edges;
mod encoded;
pub mod generate;
mod networks;
mod rules;
mod ssn;
#[cfg(test)]
mod tests;
mod token;
mod words;

pub use rules::{Allow, Allowed, Numbers, Rule, Rules, TestNumbers};

use crate::model::Key;
use crate::model::event::words;
use crate::model::json::{self, Object};
use cluster::Cluster;
use context::Context;
use std::fmt;
use token::Token;
use zeroize::Zeroize;

words!(
    /// What is looked for.
    Detector {
        /// Primary account numbers of payment cards.
        PaymentCard = "payment_card",
        /// United States social-security numbers.
        UsSsn = "us_ssn",
    }
);

words!(
    /// How sure a detector is.
    Likelihood { VeryLow = "very_low", Low = "low", Medium = "medium", High = "high", VeryHigh = "very_high" }
);

/// One reason for a likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// What was seen.
    pub name: &'static str,
    /// How much it counts.
    pub points: i8,
}

/// The digits of a hit, one value each. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Digits {
    values: [u8; networks::LONGEST],
    len: usize,
}

impl Digits {
    fn new(from: &[u8]) -> Digits {
        let mut values = [0; networks::LONGEST];
        for (slot, value) in values.iter_mut().zip(from) {
            *slot = b'0' + value;
        }
        Digits { values, len: from.len().min(networks::LONGEST) }
    }

    /// The digits as ASCII text.
    fn as_bytes(&self) -> &[u8] {
        self.values.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Digits {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits", self.len)
    }
}

/// A number that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// By which detector.
    pub detector: Detector,
    /// How sure.
    pub likelihood: Likelihood,
    /// Byte offset of its first digit.
    pub start: usize,
    /// Byte offset behind its last digit.
    pub end: usize,
    /// The text between the two with all digits but the last four masked.
    pub masked: String,
    /// Whether the number is published for tests or advertisements and belongs to nobody.
    pub test_number: bool,
    /// The card network.
    pub network: Option<&'static str>,
    /// What the likelihood is made of.
    pub why: Vec<Term>,
    /// Whether it is masked at any likelihood.
    certain: bool,
    /// Points of the words that stated it, passed on along a list.
    stated: i8,
    /// Whether it stands inside Base64, so that the place between the offsets is masked as a whole.
    encoded: bool,
    digits: Digits,
}

impl Hit {
    /// The keyed fingerprint of the digits: equal numbers give equal fingerprints in any spelling.
    pub fn fingerprint(&self, key: &Key) -> String {
        let domain = match self.detector {
            Detector::PaymentCard => "crmwarden/fp/payment_card",
            Detector::UsSsn => "crmwarden/fp/us_ssn",
        };
        key.fingerprint(domain, &[self.digits.as_bytes()])
    }

    fn must_be_masked(&self) -> bool {
        self.certain || self.likelihood >= Likelihood::Low
    }
}

/// Points that add up to a likelihood.
#[derive(Default)]
struct Score {
    terms: Vec<Term>,
}

impl Score {
    fn add(&mut self, name: &'static str, points: i8) {
        if points != 0 {
            self.terms.push(Term { name, points });
        }
    }
    fn has(&self, name: &str) -> bool {
        self.terms.iter().any(|term| term.name == name)
    }
    fn likelihood(&self) -> Likelihood {
        match self.terms.iter().map(|term| i32::from(term.points)).sum::<i32>() {
            ..=0 => Likelihood::VeryLow,
            1..=2 => Likelihood::Low,
            3..=4 => Likelihood::Medium,
            5..=7 => Likelihood::High,
            8.. => Likelihood::VeryHigh,
        }
    }
}

/// Finds every number in a text and appends it to `hits`, in order of place. `path` is the dotted path of
/// the field the text stands in; its name counts as context. Empty means no field.
pub fn scan(text: &str, path: &str, hits: &mut Vec<Hit>) {
    Scanner::default().scan(text, path, hits);
}

/// [`scan`] for many texts, with the memory of the one before.
#[derive(Default)]
pub struct Scanner {
    cluster: Cluster,
}

impl Scanner {
    /// See [`scan`].
    pub fn scan(&mut self, text: &str, path: &str, hits: &mut Vec<Hit>) {
        let bytes = text.as_bytes();
        let before = hits.len();
        if !blocks::hopeless(bytes) {
            scan_plain(&mut self.cluster, bytes, path, hits);
        }
        if encoded::scan(bytes, path, hits) {
            hits.get_mut(before..).unwrap_or_default().sort_by_key(|hit| hit.start);
        }
    }
}

fn scan_plain(cluster: &mut Cluster, bytes: &[u8], path: &str, hits: &mut Vec<Hit>) {
    let mut places = blocks::Places::new(bytes);
    let mut from = 0;
    while let Some(place) = places.next(from) {
        let (start, other) = cluster::begin(bytes, place, from);
        let before = hits.len();
        let mut end = read_one(cluster, bytes, start, path, hits);
        if let Some(other) = other.filter(|_| hits.len() == before) {
            end = end.max(read_one(cluster, bytes, other, path, hits));
        }
        // Separators without end are no part of a number, so they end a cluster; to the blocks, what follows them is
        // the same run, which has one place.
        while let Some(next) = cluster::after_gap(bytes, end) {
            end = read_one(cluster, bytes, next, path, hits);
        }
        from = end.max(place + 1);
    }
}

/// Reads the cluster that begins at `start`, or behind the escape that stands there, and looks for numbers
/// in it. Returns where reading stopped.
fn read_one(cluster: &mut Cluster, bytes: &[u8], start: usize, path: &str, hits: &mut Vec<Hit>) -> usize {
    let start = match token::read(bytes, start) {
        Token::Digit(..) => start,
        Token::Separator(_, length) | Token::Hidden(length) => start + length,
        Token::Other => token::skip_escape(bytes, start),
    };
    let end = cluster.fill(bytes, start);
    if cluster.promising() {
        let before = hits.len();
        card::find(cluster, bytes, path, hits);
        ssn::find(cluster, bytes, path, before, hits);
        hits.get_mut(before..).unwrap_or_default().sort_by_key(|hit| hit.start);
    }
    end
}

/// In a list, `SSNs 1…, 2… and 3…`, what stated the first states the others.
fn inherit(context: &mut Context, detector: Detector, text: &[u8], start: usize, hits: &[Hit]) {
    let Some(previous) = hits.last().filter(|hit| hit.detector == detector && hit.stated > context.before)
    else {
        return;
    };
    let between = text.get(previous.end..start).unwrap_or_default();
    let joins = |byte: &u8| matches!(byte, b' ' | b',' | b';' | b'/' | b'&' | b'+' | b'|' | b'\n' | b'\t');
    let joined = between.iter().all(|byte| joins(byte) || b"andor".contains(byte));
    if joined && between.len() <= 6 && context.before == 0 {
        context.before = previous.stated;
    }
}

/// The bytes `start..end` with all but the last `keep` of `count` digits replaced by `*`.
fn masked_part(text: &[u8], start: usize, end: usize, count: usize, keep: usize) -> String {
    let mut out = Vec::with_capacity(end.saturating_sub(start));
    let mut place = start;
    let mut seen = 0;
    while place < end {
        match token::read(text, place) {
            Token::Digit(_, length) => {
                if seen + keep < count {
                    out.push(b'*');
                } else {
                    out.extend_from_slice(text.get(place..place + length).unwrap_or_default());
                }
                seen += 1;
                place += length;
            }
            Token::Separator(_, length) | Token::Hidden(length) => {
                out.extend_from_slice(text.get(place..place + length).unwrap_or_default());
                place += length;
            }
            Token::Other => {
                out.extend_from_slice(text.get(place..place + 1).unwrap_or_default());
                place += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The text with every number masked; `None` when there is none. This is what the trail's writer calls for
/// every string, so it takes no context but the text itself.
pub fn mask(text: &str) -> Option<String> {
    mask_with_context("", text)
}

/// The same where the name of the field makes plain digits count, e.g. nine digits in `ssn`. It masks
/// whatever [`mask`] masks, and what it returns is left alone by both.
pub fn mask_with_context(path: &str, text: &str) -> Option<String> {
    let mut hits = Vec::new();
    scan(text, "", &mut hits);
    let mut masked = masked(text, &hits, 4);
    if !path.is_empty() {
        hits.clear();
        scan(masked.as_deref().unwrap_or(text), path, &mut hits);
        masked = self::masked(masked.as_deref().unwrap_or(text), &hits, 4).or(masked);
    }
    // Four digits that were kept can stand beside others so that the two together look like a number.
    // Every round masks digits, so the rounds end.
    let mut again = masked?;
    for round in 0usize.. {
        let keep = if round < 3 { 4 } else { 0 };
        hits.clear();
        scan(&again, "", &mut hits);
        let mut next = self::masked(&again, &hits, keep);
        if next.is_none() && !path.is_empty() {
            hits.clear();
            scan(&again, path, &mut hits);
            next = self::masked(&again, &hits, keep);
        }
        match next {
            Some(next) => again = next,
            None => break,
        }
    }
    Some(again)
}

/// The same for texts that we put together from masked parts and pseudonyms: what stands between the
/// pseudonyms is masked, they stay. Their digits are of a keyed digest and may read as a number by chance; a
/// text of a source must not pass here before it passed [`mask`], for a number behind `act:` would stay.
pub fn mask_around(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let mut from = 0;
    let piece = |from: usize, to: usize, out: &mut Option<String>| {
        let part = text.get(from..to).unwrap_or_default();
        match (mask(part), out) {
            (None, None) => {}
            (None, Some(out)) => out.push_str(part),
            (Some(masked), out) => {
                out.get_or_insert_with(|| text.get(..from).unwrap_or_default().to_owned()).push_str(&masked);
            }
        }
    };
    crate::model::pseudonym::each_token(text, |place, _| {
        piece(from, place.start, &mut out);
        if let Some(out) = &mut out {
            out.push_str(text.get(place.clone()).unwrap_or_default());
        }
        from = place.end;
    });
    piece(from, text.len(), &mut out);
    out
}

/// Applies hits to the text they were found in.
fn masked(text: &str, hits: &[Hit], keep: usize) -> Option<String> {
    let mut out: Option<String> = None;
    let mut from = 0;
    for hit in hits.iter().filter(|hit| hit.must_be_masked()) {
        let (Some(head), Some(part)) = (text.get(from..hit.start), text.get(hit.start..hit.end)) else {
            continue;
        };
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(head);
        if hit.encoded {
            out.extend(std::iter::repeat_n('*', part.len()));
        } else {
            out.push_str(&masked_part(text.as_bytes(), hit.start, hit.end, hit.digits.len, keep));
        }
        from = hit.end;
    }
    let mut out = out?;
    out.push_str(text.get(from..).unwrap_or_default());
    Some(out)
}

/// The findings of one line as NDJSON, for `crmwarden scan`. Lines count from 1, offsets are bytes in the
/// line. Numbers of very low likelihood are left out.
pub fn scan_line(line_no: u64, line: &str, key: &Key) -> impl Iterator<Item = String> {
    let mut hits = Vec::new();
    scan(line, "", &mut hits);
    let key = key.clone();
    hits.into_iter().filter(|hit| hit.likelihood >= Likelihood::Low).map(move |hit| {
        let mut out = Vec::new();
        Object::whole(&mut out, json::no_mask, |object| {
            object.word("detector", hit.detector.as_str());
            object.word("likelihood", hit.likelihood.as_str());
            object.uint("line", line_no);
            object.uint("start", hit.start as u64);
            object.uint("end", hit.end as u64);
            object.word("masked", &hit.masked);
            object.word("fingerprint", &hit.fingerprint(&key));
            if hit.test_number {
                object.bool("test_number", true);
            }
        });
        String::from_utf8_lossy(&out).into_owned()
    })
}
