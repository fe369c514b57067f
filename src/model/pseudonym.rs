//! Keyed pseudonyms of people, records and addresses, and how they are recognised in text.
//!
//! ```text
//! act:<16 hex>   a person: id or name of an actor, owner, holder of a permission
//! obj:<16 hex>   a record: its id or name
//! ip:<16 hex>    an address
//! val:<16 hex>   any other value that a rule with a memory compares
//! ```
//!
//! The digits are the first eight bytes of HMAC-SHA-256 under the matching key, domain [`DOMAIN`], over the
//! value in the form in which the CRM compares it: a Salesforce id of 15 or 18 characters is its first 15, any
//! other id without surrounding blanks and braces and without regard to case, a name without regard to case.
//! So what is equal before is equal behind, in events, grants and policies alike; and since the domain is one,
//! a person who is a record as well has the same digits behind `act:` and `obj:`.
//!
//! Without the key (outside the trail) a pseudonym cannot be computed from a guess; with it, it can: whoever
//! holds the key holds personal data still, and erasure means the details, not the pseudonym.

use super::System;
use super::digest::Key;
use std::borrow::Cow;

/// Domain of the keyed digest.
pub const DOMAIN: &str = "crmwarden/pseudonym/v1";
/// Hexadecimal digits of a pseudonym.
const DIGITS: usize = 16;

/// What a pseudonym stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `act:`
    Actor,
    /// `obj:`
    Object,
    /// `ip:`
    Address,
    /// `val:`
    Value,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Actor, Kind::Object, Kind::Address, Kind::Value];

    /// What stands before the digits.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Actor => "act:",
            Kind::Object => "obj:",
            Kind::Address => "ip:",
            Kind::Value => "val:",
        }
    }
}

/// A pseudonym as a value: two of them are the same when both parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// What it stands for.
    pub kind: Kind,
    /// Its digits.
    pub digits: u64,
}

impl Token {
    /// Reads a text that is a pseudonym and nothing else.
    pub fn parse(text: &str) -> Option<Token> {
        let kind = Kind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let digits = text.get(kind.prefix().len()..).filter(|digits| digits.len() == DIGITS)?;
        let lower = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        lower.then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(|digits| Token { kind, digits })
    }

    /// The pseudonym as it is written.
    pub fn text(self) -> String {
        format!("{}{:016x}", self.kind.prefix(), self.digits)
    }
}

/// Calls `take` with the place of every pseudonym in a text, in order. One that goes on in letters or digits
/// on either side is none.
pub fn each_token(text: &str, mut take: impl FnMut(std::ops::Range<usize>, Token)) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(colon) = memchr::memchr(b':', bytes.get(from..).unwrap_or_default()).map(|at| from + at) {
        from = colon + 1;
        let end = colon + 1 + DIGITS;
        if bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        for length in [3, 2] {
            let Some(start) = colon.checked_sub(length) else { continue };
            let alone = start == 0 || !bytes.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
            if let (true, Some(token)) = (alone, text.get(start..end).and_then(Token::parse)) {
                take(start..end, token);
                from = end;
                break;
            }
        }
    }
}

/// The part of a record id that tells records apart, and whether case matters in it.
pub fn id_key(system: System, id: &str) -> (&str, bool) {
    let id = id.trim_ascii();
    if system != System::Salesforce {
        let bare = id.strip_prefix('{').and_then(|id| id.strip_suffix('}')).unwrap_or(id);
        return (bare, false);
    }
    match id.len() {
        15 | 18 if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => (id.get(..15).unwrap_or(id), true),
        _ => (id, false),
    }
}

fn folded(text: &str) -> Cow<'_, str> {
    match text.is_ascii() {
        true if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Borrowed(text),
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Owned(text.chars().flat_map(char::to_lowercase).collect()),
    }
}

fn id_form(system: System, id: &str) -> Cow<'_, str> {
    match id_key(system, id) {
        (key, true) => Cow::Borrowed(key),
        (key, false) => folded(key),
    }
}

/// A Salesforce user id in a place for names is the id all the same.
fn name_form(system: System, name: &str) -> Cow<'_, str> {
    match id_key(system, name) {
        (key, true) if key.starts_with("005") => Cow::Borrowed(key),
        _ => folded(name),
    }
}

/// Makes pseudonyms.
#[derive(Clone, Debug)]
pub struct Pseudonyms(Key);

/// Which form of a value is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Id,
    Name,
    Exact,
}

/// What a value at a path of an event (`actor.id`) or a grant (`principal`, `name`) stands for, and which form
/// of it is compared. A list (`target.ids`) has a pseudonym for each element.
fn rule_of(path: &str) -> (Kind, Form) {
    match path {
        "actor.id" | "actor.on_behalf_of" | "principal" => (Kind::Actor, Form::Id),
        "actor.name" | "target.owner" | "grant.principal" | "name" => (Kind::Actor, Form::Name),
        "target.ids" => (Kind::Object, Form::Id),
        "target.name" => (Kind::Object, Form::Name),
        "client.ip" => (Kind::Address, Form::Exact),
        _ => (Kind::Value, Form::Exact),
    }
}

impl Pseudonyms {
    /// Pseudonyms under the matching key.
    pub fn new(matching: Key) -> Pseudonyms {
        Pseudonyms(matching)
    }

    fn token(&self, kind: Kind, value: &str) -> Token {
        let mac = self.0.mac(DOMAIN, &[value.as_bytes()]);
        let (first, _) = mac.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        Token { kind, digits: u64::from_be_bytes(*first) }
    }

    /// The pseudonym of a value that stands at this path of an event or grant of this system.
    pub fn of(&self, path: &str, system: System, value: &str) -> Token {
        let (kind, form) = rule_of(path);
        match form {
            Form::Id => self.token(kind, &id_form(system, value)),
            Form::Name => self.token(kind, &name_form(system, value)),
            Form::Exact => self.token(kind, value),
        }
    }

    /// Every pseudonym that a value at this path may have, where its system is not known: one, or two.
    pub fn of_any_system(&self, path: &str, value: &str) -> (Token, Option<Token>) {
        let (first, second) = (System::Salesforce, System::Custom);
        let forms = |form: fn(System, &'_ str) -> Cow<'_, str>| form(first, value) == form(second, value);
        let same = match rule_of(path).1 {
            Form::Id => forms(id_form),
            Form::Name => forms(name_form),
            Form::Exact => true,
        };
        (self.of(path, first, value), (!same).then(|| self.of(path, second, value)))
    }

    /// Every pseudonym that a person may have whom a policy names by id or name, sorted, each once.
    pub fn of_person(&self, who: &str) -> Vec<String> {
        let forms = [
            id_form(System::Salesforce, who),
            id_form(System::Custom, who),
            name_form(System::Salesforce, who),
            folded(id_key(System::Salesforce, who).0),
            folded(who),
        ];
        let mut tokens: Vec<String> = forms.iter().map(|form| self.token(Kind::Actor, form).text()).collect();
        tokens.sort();
        tokens.dedup();
        tokens
    }
}

/// A pseudonym without what it stands for, so that a person and the record of that person are one. Any other
/// text is left as it is.
pub fn bare(text: &str) -> &str {
    match Token::parse(text) {
        Some(token) => text.get(token.kind.prefix().len()..).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(Key::new(0, Zeroizing::new([7; 32])))
    }

    #[test]
    fn a_pseudonym_is_the_first_eight_bytes_of_the_keyed_digest() {
        let key = Key::new(0, Zeroizing::new([7; 32]));
        let mac = key.mac("crmwarden/pseudonym/v1", &[b"mmiller"]).hex();
        let token = pseudonyms().of("actor.id", System::Sap, "MMILLER");
        assert_eq!(token.text(), format!("act:{}", &mac[..16]));
        assert_eq!(Token::parse(&token.text()), Some(token));
    }

    #[test]
    fn what_a_crm_takes_for_the_same_is_the_same() {
        let make = pseudonyms();
        let id = |system, id| make.of("actor.id", system, id);
        assert_eq!(id(System::Salesforce, "0055j000000utlP"), id(System::Salesforce, "0055j000000utlPAAQ"));
        assert_ne!(id(System::Salesforce, "0055j000000utlP"), id(System::Salesforce, "0055j000000utlp"));
        assert_eq!(id(System::Dynamics365, "{4026BE43-6B69}"), id(System::Dynamics365, " 4026be43-6b69"));
        let name = |name| make.of("actor.name", System::Salesforce, name);
        assert_eq!(name("Dana@acme.example"), name("dana@ACME.example"));
        assert_eq!(name("0055j000000utlPAAQ"), id(System::Salesforce, "0055j000000utlP"));
        let object = make.of("target.ids", System::Sap, "MMILLER");
        assert_eq!(bare(&object.text()), bare(&id(System::Sap, "mmiller").text()));
        assert_ne!(make.of("client.ip", System::Web, "a"), make.of("client.ip", System::Web, "A"));
    }

    #[test]
    fn a_policy_finds_a_person_in_whatever_system() {
        let make = pseudonyms();
        let all = make.of_person("0055j000000utlPAAQ");
        assert!(all.contains(&make.of("principal", System::Salesforce, "0055j000000utlP").text()));
        assert!(all.contains(&make.of("name", System::Custom, "0055J000000UTLPAAQ").text()));
        assert!(all.contains(&make.of("actor.id", System::Custom, "0055j000000utlP").text()));
        assert_eq!(make.of_person("MMILLER"), [make.of("actor.id", System::Sap, "mmiller").text()]);
        let (one, two) = make.of_any_system("actor.id", "0055j000000utlPAAQ");
        assert_eq!(one, make.of("actor.id", System::Salesforce, "0055j000000utlPAAQ"));
        assert_eq!(two, Some(make.of("actor.id", System::Sap, "0055j000000utlPAAQ")));
        assert_eq!(make.of_any_system("actor.id", "mmiller").1, None);
    }

    #[test]
    fn pseudonyms_are_found_in_text_and_nothing_else_is() {
        let found = |text: &str| {
            let mut found = Vec::new();
            each_token(text, |place, token| {
                assert_eq!(&text[place.clone()], token.text());
                found.push(place);
            });
            found
        };
        let (a, b) = ("act:0123456789abcdef", "ip:fedcba9876543210");
        assert_eq!(found(&format!("{a}: read by {b}, val:{a}")).len(), 3);
        assert_eq!(found(&format!("({a}|{b})")), [1..21, 22..41]);
        for none in
            ["act:0123456789abcde", "act:0123456789ABCDEF", "xact:0123456789abcdef", "act:", ":", "ip:é"]
        {
            assert!(found(none).is_empty(), "{none}");
        }
        assert!(found("act:0123456789abcdef0").is_empty());
        assert!(found("fact:0123456789abcdef act:é").is_empty());
    }
}
