//! Entries of the trail as a report reads them: the few members it needs, tolerant to all others.
//!
//! A line begins `{"i":<index>,"prev":"<hex>","t":"<time>","kind":"<kind>"` (see the trail's own
//! specification). Only lines of a kind that a report uses are read further. A line that cannot be read is
//! counted by the collector and named in the report; nothing here ends a report.

use crate::model::Time;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// One line of the trail, its head read.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    /// Index within its generation.
    pub index: u64,
    /// When it was written.
    pub time: Time,
    /// Kind of entry.
    pub kind: &'a str,
    /// The stored bytes, without the newline. Digests of a report are over these.
    pub line: &'a [u8],
}

#[derive(Deserialize)]
struct Head<'a> {
    i: u64,
    t: &'a str,
    kind: &'a str,
}

impl<'a> EntryView<'a> {
    /// Reads the head of a stored line; `None` where it is not an entry.
    pub fn parse(line: &'a [u8]) -> Option<EntryView<'a>> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let head: Head<'a> = serde_json::from_slice(line).ok()?;
        Some(EntryView { index: head.i, time: Time::parse(head.t)?, kind: head.kind, line })
    }

    /// The members as a type of the caller's.
    pub(super) fn read<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_slice(self.line).ok()
    }

    /// All members.
    pub(super) fn value(&self) -> Option<Value> {
        self.read()
    }
}

/// Text that borrows from the line where it holds no escapes.
pub(super) type Text<'a> = Option<Cow<'a, str>>;

/// The members of an event that queries, completeness and rows look at.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct EventRow<'a> {
    pub time: Option<Time>,
    pub observed: Option<Time>,
    #[serde(borrow)]
    pub source: Text<'a>,
    #[serde(borrow)]
    pub system: Text<'a>,
    #[serde(borrow)]
    pub feed: Text<'a>,
    #[serde(borrow)]
    pub category: Text<'a>,
    #[serde(borrow)]
    pub action: Text<'a>,
    #[serde(borrow)]
    pub outcome: Text<'a>,
    #[serde(borrow)]
    pub actor: ActorRow<'a>,
    #[serde(borrow)]
    pub client: ClientRow<'a>,
    #[serde(borrow)]
    pub target: TargetRow<'a>,
    #[serde(borrow)]
    pub grant: GrantRow<'a>,
    #[serde(borrow)]
    pub clock: Text<'a>,
    #[serde(borrow)]
    pub defects: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub pseudonyms: PseudonymRow<'a>,
}

/// Names that stand beside the event in an erasable deployment.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PseudonymRow<'a> {
    #[serde(borrow, rename = "actor.name")]
    pub actor_name: Text<'a>,
    #[serde(borrow, rename = "target.name")]
    pub target_name: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ActorRow<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub r#type: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ClientRow<'a> {
    #[serde(borrow)]
    pub ip: Text<'a>,
    #[serde(borrow)]
    pub app: Text<'a>,
    #[serde(borrow)]
    pub country: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TargetRow<'a> {
    #[serde(borrow)]
    pub r#type: Text<'a>,
    #[serde(borrow)]
    pub ids: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct GrantRow<'a> {
    #[serde(borrow)]
    pub principal: Text<'a>,
    #[serde(borrow)]
    pub permission: Text<'a>,
}

impl EventRow<'_> {
    /// The time that places the event in a period: as the CRM says, else when it was read.
    pub fn when(&self) -> Option<Time> {
        self.time.or(self.observed)
    }

    /// The actor's name, or its pseudonym.
    pub fn actor_name(&self) -> Option<&str> {
        self.actor.name.as_deref().or(self.pseudonyms.actor_name.as_deref())
    }

    /// The target's name, or its pseudonym.
    pub fn target_name(&self) -> Option<&str> {
        self.target.name.as_deref().or(self.pseudonyms.target_name.as_deref())
    }

    /// Whether the event itself is about the system as a whole, so that the system is its object.
    fn about_the_system(&self) -> bool {
        matches!(self.category.as_deref(), Some("authentication" | "session"))
    }

    /// Whether each of [`DETAILS`] is there.
    pub fn details(&self) -> [bool; DETAILS.len()] {
        let known = |word: &Text<'_>| word.as_deref().is_some_and(|word| word != "unknown");
        [
            self.actor.id.is_some() || self.actor_name().is_some(),
            self.category.is_some() && self.action.is_some(),
            self.time.is_some() && self.clock.as_deref() != Some("absent"),
            known(&self.outcome),
            self.client.ip.is_some() || self.client.app.is_some(),
            self.target.r#type.is_some()
                || !self.target.ids.is_empty()
                || self.target_name().is_some()
                || self.grant.principal.is_some()
                || self.about_the_system(),
        ]
    }
}

/// What an event must say, with the members that can say it.
pub(super) const DETAILS: [(&str, &str); 6] = [
    ("who", "actor.id or actor.name"),
    ("what", "category and action"),
    ("when", "time, as the CRM says"),
    ("outcome", "outcome other than unknown"),
    ("origin", "client.ip or client.app"),
    ("object", "target.*, grant.principal, or the system itself for log-ins and sessions"),
];

/// The members of a finding that a report shows.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FindingRow<'a> {
    pub time: Option<Time>,
    #[serde(borrow)]
    pub rule: Text<'a>,
    #[serde(borrow)]
    pub r#type: Text<'a>,
    #[serde(borrow)]
    pub severity: Text<'a>,
    #[serde(borrow)]
    pub title: Text<'a>,
    #[serde(borrow)]
    pub source: Text<'a>,
    #[serde(borrow)]
    pub actor: Text<'a>,
    #[serde(borrow)]
    pub actor_name: Text<'a>,
    #[serde(borrow)]
    pub target: Text<'a>,
    #[serde(borrow)]
    pub field: Text<'a>,
    #[serde(borrow)]
    pub controls: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub incident: Text<'a>,
    #[serde(borrow)]
    pub detail: Text<'a>,
}

/// The sources that a `commit` or `segment` entry holds cursors of.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CursorsRow {
    pub cursors: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// An `incident` entry.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct IncidentRow<'a> {
    #[serde(borrow)]
    pub incident: Text<'a>,
    #[serde(borrow)]
    pub state: Text<'a>,
    #[serde(borrow)]
    pub severity: Text<'a>,
}

/// An `alert` entry.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AlertRow<'a> {
    #[serde(borrow)]
    pub alert: Text<'a>,
    #[serde(borrow)]
    pub state: Text<'a>,
    #[serde(borrow)]
    pub receiver: Text<'a>,
}

/// Source text made safe to show anywhere: control characters and the marks that turn the direction of
/// writing become visible, and a very long value is cut with its length.
pub(super) fn visible(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for (place, character) in text.chars().enumerate() {
        if place == LONGEST {
            out.push_str(&format!("… ({} characters)", text.chars().count()));
            break;
        }
        let hidden = character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200b}'..='\u{200f}')
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match hidden {
            true => out.push_str(&format!("⟨U+{:04X}⟩", u32::from(character))),
            false => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn heads_are_read_and_rubbish_is_refused() {
        let line = br#"{"i":3,"prev":"00","t":"2026-11-01T00:00:00.000000Z","kind":"event","source":"a"}"#;
        let view = EntryView::parse(line).unwrap();
        assert_eq!((view.index, view.kind), (3, "event"));
        let row: EventRow<'_> = view.read().unwrap();
        assert_eq!(row.source.as_deref(), Some("a"));
        assert!(EntryView::parse(b"{}").is_none() && EntryView::parse(b"\xff").is_none());
    }

    #[test]
    fn hidden_characters_become_visible() {
        assert_eq!(visible("a\u{202e}b\n\u{7f}"), "a⟨U+202E⟩b⟨U+000A⟩⟨U+007F⟩");
        assert!(visible(&"x".repeat(9000)).ends_with("… (9000 characters)"));
    }
}
