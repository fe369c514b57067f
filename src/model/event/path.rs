//! An event's members by dotted path: what rules, search and exports name.
//!
//! A member stands here three times: its name in [`Event::PATHS`], its value in [`Event::field`], and whether it is
//! there in [`Event::present`], which answers for all paths at once. A test holds the three against each other. Those
//! that are one text stand in [`Event::TEXTS`], too; inspection masks by these, and the test of `pack.rs`, which has every
//! path, would miss one that is not among them.

use super::{Action, ActorType, Category, Event, Outcome};
use std::borrow::Cow;

/// A field's value for rules: one value, several, or a number or truth.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// Integer.
    Number(u64),
    /// Truth.
    Bool(bool),
    /// A list of texts.
    List(&'a [String]),
    /// Names of the changed fields.
    Names(Vec<&'a str>),
}

impl Event {
    /// The value at a dotted path; `None` when it is absent or the path names nothing.
    pub fn field(&self, path: &str) -> Option<Value<'_>> {
        fn text(value: &Option<String>) -> Option<Value<'_>> {
            value.as_deref().map(|value| Value::Text(Cow::Borrowed(value)))
        }
        fn list(values: &[String]) -> Option<Value<'_>> {
            (!values.is_empty()).then_some(Value::List(values))
        }
        fn word<'a>(word: Option<&'static str>) -> Option<Value<'a>> {
            word.map(|word| Value::Text(Cow::Borrowed(word)))
        }
        match path {
            "time" => self.time.map(|time| Value::Text(Cow::Owned(time.to_string()))),
            "observed" => Some(Value::Text(Cow::Owned(self.observed.to_string()))),
            "source" => Some(Value::Text(Cow::Borrowed(&self.source))),
            "system" => word(Some(self.system.as_str())),
            "feed" => Some(Value::Text(Cow::Borrowed(&self.feed))),
            "uid" => text(&self.uid),
            "category" => word(self.category.map(Category::as_str)),
            "action" => word(self.action.map(Action::as_str)),
            "outcome" => word(self.outcome.map(Outcome::as_str)),
            "status" => text(&self.status),
            "actor.id" => text(&self.actor.id),
            "actor.name" => text(&self.actor.name),
            "actor.type" => word(self.actor.r#type.map(ActorType::as_str)),
            "actor.roles" => list(&self.actor.roles),
            "actor.on_behalf_of" => text(&self.actor.on_behalf_of),
            "client.ip" => text(&self.client.ip),
            "client.country" => text(&self.client.country),
            "client.city" => text(&self.client.city),
            "client.lat" => text(&self.client.lat),
            "client.lon" => text(&self.client.lon),
            "client.user_agent" => text(&self.client.user_agent),
            "client.tls" => text(&self.client.tls),
            "client.app" => text(&self.client.app),
            "auth.method" => text(&self.auth.method),
            "auth.mfa" => self.auth.mfa.map(Value::Bool),
            "auth.session" => text(&self.auth.session),
            "target.type" => text(&self.target.r#type),
            "target.ids" => list(&self.target.ids),
            "target.name" => text(&self.target.name),
            "target.owner" => text(&self.target.owner),
            "fields" => list(&self.fields),
            "changes.field" if !self.changes.is_empty() => {
                Some(Value::Names(self.changes.iter().map(|change| change.field.as_str()).collect()))
            }
            "volume.rows" => self.volume.rows.map(Value::Number),
            "volume.bytes" => self.volume.bytes.map(Value::Number),
            "grant.principal" => text(&self.grant.principal),
            "grant.permission" => text(&self.grant.permission),
            "grant.scope" => text(&self.grant.scope),
            "perf.duration_ms" => self.perf.duration_ms.map(Value::Number),
            "perf.status_code" => self.perf.status_code.map(Value::Number),
            "tenant" => text(&self.tenant),
            "http.method" => text(&self.http.method),
            "http.path" => text(&self.http.path),
            "query" => text(&self.query),
            "message" => text(&self.message),
            "clock" => word(Some(self.clock.as_str())),
            _ => {
                let name = path.strip_prefix("extra.")?;
                let (_, value) = self.extra.iter().find(|(key, _)| key == name)?;
                Some(Value::Text(Cow::Borrowed(value)))
            }
        }
    }

    /// Every path that [`Event::field`] knows, `extra.*` apart. `check` refuses rules that use others.
    pub const PATHS: &'static [&'static str] = &[
        "time",
        "observed",
        "source",
        "system",
        "feed",
        "uid",
        "category",
        "action",
        "outcome",
        "status",
        "actor.id",
        "actor.name",
        "actor.type",
        "actor.roles",
        "actor.on_behalf_of",
        "client.ip",
        "client.country",
        "client.city",
        "client.lat",
        "client.lon",
        "client.user_agent",
        "client.tls",
        "client.app",
        "auth.method",
        "auth.mfa",
        "auth.session",
        "target.type",
        "target.ids",
        "target.name",
        "target.owner",
        "fields",
        "changes.field",
        "volume.rows",
        "volume.bytes",
        "grant.principal",
        "grant.permission",
        "grant.scope",
        "perf.duration_ms",
        "perf.status_code",
        "tenant",
        "http.method",
        "http.path",
        "query",
        "message",
        "clock",
    ];

    /// Paths whose values come from closed sets of words: [`Event::words`] is all that they say.
    pub const WORDS: &'static [&'static str] =
        &["system", "category", "action", "outcome", "actor.type", "clock"];

    /// The words of [`Event::WORDS`] as one number: events of the same number have the same words.
    pub fn words(&self) -> u64 {
        let place = |word: Option<u32>| u64::from(word.map_or(0, |word| word + 1));
        let words = [
            place(Some(self.system as u32)),
            place(self.category.map(|word| word as u32)),
            place(self.action.map(|word| word as u32)),
            place(self.outcome.map(|word| word as u32)),
            place(self.actor.r#type.map(|word| word as u32)),
            place(Some(self.clock as u32)),
        ];
        words.iter().fold(0, |all, word| all << 8 | word)
    }

    /// The bit of a path in [`Event::present`]. None for `extra.*`, which has no bits.
    pub fn bit_of(path: &str) -> u64 {
        Event::PATHS.iter().position(|known| *known == path).map_or(0, |place| 1 << place)
    }

    /// Which of [`Event::PATHS`] have a value: bit n for the n-th.
    pub fn present(&self) -> u64 {
        let Event { actor, client, auth, target, grant, http, .. } = self;
        let there = [
            self.time.is_some(),
            true,
            true,
            true,
            true,
            self.uid.is_some(),
            self.category.is_some(),
            self.action.is_some(),
            self.outcome.is_some(),
            self.status.is_some(),
            actor.id.is_some(),
            actor.name.is_some(),
            actor.r#type.is_some(),
            !actor.roles.is_empty(),
            actor.on_behalf_of.is_some(),
            client.ip.is_some(),
            client.country.is_some(),
            client.city.is_some(),
            client.lat.is_some(),
            client.lon.is_some(),
            client.user_agent.is_some(),
            client.tls.is_some(),
            client.app.is_some(),
            auth.method.is_some(),
            auth.mfa.is_some(),
            auth.session.is_some(),
            target.r#type.is_some(),
            !target.ids.is_empty(),
            target.name.is_some(),
            target.owner.is_some(),
            !self.fields.is_empty(),
            !self.changes.is_empty(),
            self.volume.rows.is_some(),
            self.volume.bytes.is_some(),
            grant.principal.is_some(),
            grant.permission.is_some(),
            grant.scope.is_some(),
            self.perf.duration_ms.is_some(),
            self.perf.status_code.is_some(),
            self.tenant.is_some(),
            http.method.is_some(),
            http.path.is_some(),
            self.query.is_some(),
            self.message.is_some(),
            true,
        ];
        there.iter().enumerate().fold(0, |all, (place, there)| all | u64::from(*there) << place)
    }
}

/// The members that are one text or absent: path, reference and mutable reference, from one list.
macro_rules! texts {
    ($($path:literal: $($member:ident).+),+ $(,)?) => {
        impl Event {
            /// Paths of the members that are one text or absent.
            pub const TEXTS: [&'static str; 26] = [$($path),+];

            /// The values of [`Event::TEXTS`].
            pub fn texts(&self) -> [&Option<String>; 26] {
                [$(&self.$($member).+),+]
            }

            /// The same, to change them.
            pub fn texts_mut(&mut self) -> [&mut Option<String>; 26] {
                [$(&mut self.$($member).+),+]
            }
        }
    };
}

texts! {
    "uid": uid,
    "status": status,
    "actor.id": actor.id,
    "actor.name": actor.name,
    "actor.on_behalf_of": actor.on_behalf_of,
    "client.ip": client.ip,
    "client.country": client.country,
    "client.city": client.city,
    "client.lat": client.lat,
    "client.lon": client.lon,
    "client.user_agent": client.user_agent,
    "client.tls": client.tls,
    "client.app": client.app,
    "auth.method": auth.method,
    "auth.session": auth.session,
    "target.type": target.r#type,
    "target.name": target.name,
    "target.owner": target.owner,
    "grant.principal": grant.principal,
    "grant.permission": grant.permission,
    "grant.scope": grant.scope,
    "tenant": tenant,
    "http.method": http.method,
    "http.path": http.path,
    "query": query,
    "message": message,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::event::{Change, Clock, System};
    use serde_json::json;

    #[track_caller]
    fn agree(event: &Event) {
        for (place, path) in Event::PATHS.iter().enumerate() {
            assert_eq!(event.present() >> place & 1 == 1, event.field(path).is_some(), "{path}");
        }
        assert_eq!(event.present() >> Event::PATHS.len(), 0);
    }

    /// Every member of the whole event, set alone and left out alone.
    #[test]
    fn what_is_there_is_what_has_a_value() {
        let members = json!({
            "time": "2026-01-05T07:14:00.000Z", "observed": "2026-01-05T07:14:01.000Z", "source": "s", "system": "sap",
            "feed": "f", "uid": "u", "category": "export", "action": "export", "outcome": "success", "status": "0",
            "actor": { "id": "i", "name": "n", "type": "user", "roles": ["r"], "on_behalf_of": "o" },
            "client": { "ip": "192.0.2.1", "country": "DE", "city": "c", "lat": "1", "lon": "2", "user_agent": "a",
                        "tls": "t", "app": "p" },
            "auth": { "method": "m", "mfa": true, "session": "s" },
            "target": { "type": "t", "ids": ["1"], "name": "n", "owner": "o" },
            "fields": ["f"], "changes": [{ "field": "f" }], "volume": { "rows": 1, "bytes": 2 },
            "grant": { "principal": "p", "permission": "q", "scope": "s" },
            "perf": { "duration_ms": 3, "status_code": 200 }, "tenant": "t",
            "http": { "method": "GET", "path": "/" }, "query": "q", "message": "m",
        });
        let members = members.as_object().unwrap();
        let event = |members: serde_json::Value| serde_json::from_value::<Event>(members).unwrap();
        let all = event(members.clone().into());
        agree(&all);
        assert_eq!(all.present().count_ones() as usize, Event::PATHS.len(), "a member is missing above");
        agree(&Event::default());
        for (name, value) in members {
            agree(&event(json!({ name.as_str(): value })));
            for (inner, value) in value.as_object().into_iter().flatten() {
                agree(&event(json!({ name.as_str(): { inner.as_str(): value } })));
            }
            let mut others = members.clone();
            others.remove(name);
            agree(&event(others.into()));
        }
    }

    #[test]
    fn texts_stand_under_their_paths() {
        for (place, path) in Event::TEXTS.iter().enumerate() {
            let mut event = Event::default();
            *event.texts_mut()[place] = Some("text".into());
            assert_eq!(event.field(path), Some(Value::Text("text".into())), "{path}");
            assert_eq!(event.texts().iter().position(|text| text.is_some()), Some(place));
        }
    }

    #[test]
    fn words_tell_events_apart_by_their_words_alone() {
        let one = Event { system: System::Sap, category: Some(Category::Export), ..Event::default() };
        let same = Event { changes: vec![Change::default()], uid: Some("1".into()), ..one.clone() };
        assert_eq!(one.words(), same.words());
        let others = [
            Event { system: System::Odoo, ..one.clone() },
            Event { category: None, ..one.clone() },
            Event { action: Some(Action::ALL[0]), ..one.clone() },
            Event { outcome: Some(Outcome::ALL[0]), ..one.clone() },
            Event { clock: Clock::ALL[2], ..one.clone() },
        ];
        assert!(others.iter().all(|other| other.words() != one.words()));
        assert_eq!(Event::WORDS.len(), 6, "words() packs as many");
    }
}
