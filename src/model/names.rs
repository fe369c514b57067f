//! What pseudonyms stand for, as far as it is remembered: for the eyes of people, never for the trail.
//!
//! Memory is bounded: each pool keeps at most twice [`KEPT`] values of at most [`VALUE_MAX`] bytes and
//! forgets the oldest half when it is full. People have a pool of their own, so that a flood of records
//! does not make their names forgotten. What is not remembered is shown as its pseudonym.

use super::pseudonym::{Kind, Pseudonyms, Token, each_token};
use std::borrow::Cow;
use std::collections::HashMap;

/// Values that half a pool keeps.
pub const KEPT: usize = 50_000;
/// Longest value that is remembered, bytes.
pub const VALUE_MAX: usize = 512;

/// What pseudonyms stand for.
#[derive(Debug, Default)]
pub struct Names {
    people: Pool,
    others: Pool,
}

#[derive(Debug, Default)]
struct Pool {
    newer: HashMap<Token, Box<str>>,
    older: HashMap<Token, Box<str>>,
}

impl Pool {
    fn get(&self, token: Token) -> Option<&str> {
        self.newer.get(&token).or_else(|| self.older.get(&token)).map(|value| &**value)
    }

    fn insert(&mut self, token: Token, value: &str) {
        if self.newer.get(&token).is_some_and(|known| **known == *value) {
            return;
        }
        if self.newer.len() >= KEPT {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(token, value.into());
    }
}

impl Names {
    /// Remembers a value.
    pub fn learn(&mut self, token: Token, value: &str) {
        if value.len() > VALUE_MAX || value.is_empty() {
            return;
        }
        match token.kind {
            Kind::Actor => self.people.insert(token, value),
            Kind::Object | Kind::Address | Kind::Value => self.others.insert(token, value),
        }
    }

    /// Remembers the value of a detail, whose path says what it is. Lists are JSON text.
    pub fn learn_detail(&mut self, pseudonyms: &Pseudonyms, path: &str, value: &str) {
        if path != "target.ids" {
            return self.learn_any(pseudonyms, path, value);
        }
        let ids: Vec<String> = serde_json::from_str(value).unwrap_or_default();
        for id in ids {
            self.learn_any(pseudonyms, path, &id);
        }
    }

    fn learn_any(&mut self, pseudonyms: &Pseudonyms, path: &str, value: &str) {
        if value.len() > VALUE_MAX {
            return;
        }
        let (token, other) = pseudonyms.of_any_system(path, value);
        self.learn(token, value);
        if let Some(token) = other {
            self.learn(token, value);
        }
    }

    /// What a pseudonym stands for.
    pub fn get(&self, token: Token) -> Option<&str> {
        match token.kind {
            Kind::Actor => self.people.get(token),
            Kind::Object | Kind::Address | Kind::Value => self.others.get(token),
        }
    }

    /// The text with every pseudonym that is known replaced by what it stands for, once: a value that looks
    /// like a pseudonym is not looked up again. The values are as the source wrote them, so the result must
    /// pass the same masking and escaping as any text of a source.
    pub fn show<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = String::new();
        let mut from = 0;
        each_token(text, |place, token| {
            if let Some(value) = self.get(token) {
                out.push_str(text.get(from..place.start).unwrap_or_default());
                out.push_str(value);
                from = place.end;
            }
        });
        if from == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(text.get(from..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// Forgets everything: after an erasure, before the details that are left are read again.
    pub fn forget(&mut self) {
        *self = Names::default();
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.people.newer.is_empty() && self.others.newer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, System};
    use zeroize::Zeroizing;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(Key::new(0, Zeroizing::new([7; 32])))
    }

    #[test]
    fn known_pseudonyms_are_shown_as_values_and_only_once() {
        let make = pseudonyms();
        let mut names = Names::default();
        let (dana, kim) = (
            make.of("actor.name", System::Salesforce, "Dana@acme.example"),
            make.of("actor.name", System::Sap, "kim"),
        );
        names.learn(dana, &format!("Dana {}", kim.text()));
        let text = format!("Bulk read: {}, by {}", dana.text(), kim.text());
        assert_eq!(names.show(&text), format!("Bulk read: Dana {}, by {}", kim.text(), kim.text()));
        assert!(matches!(names.show("nothing: here"), Cow::Borrowed(_)));
        names.forget();
        assert_eq!(names.show(&text), text);
        assert!(names.is_empty());
    }

    #[test]
    fn details_are_learned_by_their_path() {
        let make = pseudonyms();
        let mut names = Names::default();
        names.learn_detail(&make, "target.ids", r#"["0035e00000AbCdE","K-\"7"]"#);
        names.learn_detail(&make, "actor.id", "0055j000000utlPAAQ");
        let text = |path, system, value| make.of(path, system, value).text();
        assert_eq!(names.show(&text("target.ids", System::Sap, "k-\"7")), "K-\"7");
        for system in [System::Salesforce, System::Odoo] {
            assert_eq!(names.show(&text("actor.id", system, "0055j000000utlPAAQ")), "0055j000000utlPAAQ");
        }
    }

    #[test]
    fn the_oldest_are_forgotten_and_people_outlive_a_flood_of_records() {
        let mut names = Names::default();
        let token = |kind, digits| Token { kind, digits };
        names.learn(token(Kind::Actor, 1), "Anna");
        for digits in 0..3 * KEPT as u64 {
            names.learn(token(Kind::Object, digits), "record");
        }
        assert_eq!(names.get(token(Kind::Actor, 1)), Some("Anna"));
        assert_eq!(names.get(token(Kind::Object, 0)), None);
        assert_eq!(names.get(token(Kind::Object, 3 * KEPT as u64 - 1)), Some("record"));
        assert!(names.others.newer.len() + names.others.older.len() <= 2 * KEPT);
        names.learn(token(Kind::Actor, 2), &"x".repeat(VALUE_MAX + 1));
        assert_eq!(names.get(token(Kind::Actor, 2)), None);
    }
}
