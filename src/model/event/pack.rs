//! Events on their way to another thread: many of them in a few pieces of memory.
//!
//! An event is large and holds a dozen texts, each allocated by itself. Where another thread reads it and the first
//! one frees it later, all of that has left the caches twice. Packed, an event is copied once, its memory is free for
//! the next one at once, and the reader goes through memory in order, filling the same event again and again.
//!
//! Invariants: what is unpacked equals what was packed; unpacking into an event that is in use leaves nothing of it.
//! All events of one [`Packed`] are of one source and have no defects.

use super::{Action, ActorType, Category, Change, Clock, Event, Outcome, System};
use super::{Actor, Auth, Client, GrantChange, Http, Perf, Raw, Target, Volume};
use crate::model::Time;
use std::borrow::Cow;
use std::sync::Arc;

/// A text's memory is used again up to so many bytes: of one huge value nothing may stay.
const KEPT_TEXT: usize = 1024;
/// Stands for a text that is absent.
const ABSENT: u32 = u32::MAX;

/// Packed events.
#[derive(Debug)]
pub struct Packed {
    source: Arc<str>,
    heads: Vec<Head>,
    /// Lengths of all texts, [`ABSENT`] for what may be absent and is.
    lengths: Vec<u32>,
    /// The texts themselves.
    texts: String,
    /// Names in `extra` that are ours.
    names: Vec<Option<&'static str>>,
}

/// What an event is beside its texts.
#[derive(Debug)]
struct Head {
    time: Option<Time>,
    observed: Time,
    system: System,
    feed: Cow<'static, str>,
    category: Option<Category>,
    action: Option<Action>,
    outcome: Option<Outcome>,
    actor: Option<ActorType>,
    mfa: Option<bool>,
    volume: Volume,
    perf: Perf,
    clock: Clock,
    /// Which of [`Event::TEXTS`] are there: bit n for the n-th.
    present: u32,
    /// How many values the lists have, and how many changes and extra columns there are.
    lists: [u32; 3],
    changes: u32,
    extra: u32,
    /// Where its lengths, texts and names begin.
    at: (usize, usize, usize),
}

impl Packed {
    /// Nothing yet, of this source.
    pub fn of(source: Arc<str>) -> Packed {
        Packed { source, heads: Vec::new(), lengths: Vec::new(), texts: String::new(), names: Vec::new() }
    }

    /// Packs an event, and says under which number. `None` where it is not of this source, has defects, or is too
    /// large to be counted here: such an event must go as it is.
    pub fn pack(&mut self, event: &Event) -> Option<usize> {
        // Everything by its name: a member that is new must be packed, too.
        #[rustfmt::skip]
        let Event {
            time, observed, source, system, feed, category, action, outcome, clock, fields, changes, extra, defects,
            raw: Raw { locator, hmac },
            actor: Actor { r#type: actor, roles, id: _, name: _, on_behalf_of: _ },
            auth: Auth { mfa, method: _, session: _ },
            target: Target { ids, r#type: _, name: _, owner: _ },
            volume: volume @ Volume { rows: _, bytes: _ },
            perf: perf @ Perf { duration_ms: _, status_code: _ },
            // These are texts and nothing else, as the ones above that are not named.
            uid: _, status: _, tenant: _, query: _, message: _,
            client: Client { ip: _, country: _, city: _, lat: _, lon: _, user_agent: _, tls: _, app: _ },
            grant: GrantChange { principal: _, permission: _, scope: _ },
            http: Http { method: _, path: _ },
        } = event;
        if !defects.is_empty() || *source != self.source {
            return None;
        }
        let at = (self.lengths.len(), self.texts.len(), self.names.len());
        let mut present = 0;
        for (place, text) in event.texts().into_iter().enumerate() {
            if let Some(text) = text {
                present |= 1 << place;
                self.text(text);
            }
        }
        for list in [roles, ids, fields] {
            list.iter().for_each(|text| self.text(text));
        }
        self.changes(changes);
        self.extra(extra);
        self.text(locator);
        self.text(hmac);
        if u32::try_from(self.texts.len()).is_err() {
            self.lengths.truncate(at.0);
            self.texts.truncate(at.1);
            self.names.truncate(at.2);
            return None;
        }
        self.heads.push(Head {
            time: *time,
            observed: *observed,
            system: *system,
            feed: feed.clone(),
            category: *category,
            action: *action,
            outcome: *outcome,
            actor: *actor,
            mfa: *mfa,
            volume: *volume,
            perf: *perf,
            clock: *clock,
            present,
            lists: [roles, ids, fields].map(|list| list.len() as u32),
            changes: changes.len() as u32,
            extra: extra.len() as u32,
            at,
        });
        Some(self.heads.len() - 1)
    }

    fn changes(&mut self, changes: &[Change]) {
        for change in changes {
            self.text(&change.field);
            for side in [&change.from, &change.to] {
                match side {
                    Some(text) => self.text(text),
                    None => self.lengths.push(ABSENT),
                }
            }
        }
    }

    fn extra(&mut self, extra: &[(Cow<'static, str>, String)]) {
        for (name, value) in extra {
            match name {
                Cow::Borrowed(name) => self.names.push(Some(name)),
                Cow::Owned(name) => {
                    self.names.push(None);
                    self.text(name);
                }
            }
            self.text(value);
        }
    }

    fn text(&mut self, text: &str) {
        self.lengths.push(text.len() as u32);
        self.texts.push_str(text);
    }

    /// Makes `event` what was packed under this number. Its memory is used again.
    pub fn unpack(&self, number: usize, event: &mut Event) {
        let Some(head) = self.heads.get(number) else { return };
        if event.source != self.source {
            event.source = Arc::clone(&self.source);
        }
        (event.time, event.observed, event.system) = (head.time, head.observed, head.system);
        event.feed.clone_from(&head.feed);
        (event.category, event.action, event.outcome) = (head.category, head.action, head.outcome);
        (event.actor.r#type, event.auth.mfa) = (head.actor, head.mfa);
        (event.volume, event.perf, event.clock) = (head.volume, head.perf, head.clock);
        event.defects.clear();
        let mut reader = Reader {
            lengths: self.lengths.get(head.at.0..).unwrap_or_default().iter(),
            texts: self.texts.get(head.at.1..).unwrap_or_default(),
        };
        // Most are neither there now nor were before.
        for (place, slot) in event.texts_mut().into_iter().enumerate() {
            match head.present >> place & 1 {
                1 => set(slot, reader.next()),
                _ if slot.is_some() => *slot = None,
                _ => {}
            }
        }
        let lists = [&mut event.actor.roles, &mut event.target.ids, &mut event.fields];
        for (list, count) in lists.into_iter().zip(head.lists) {
            list.resize_with(count as usize, String::new);
            list.iter_mut().for_each(|slot| fill(slot, reader.next()));
        }
        event.changes.resize_with(head.changes as usize, Change::default);
        for Change { field, from, to } in &mut event.changes {
            fill(field, reader.next());
            set(from, reader.next());
            set(to, reader.next());
        }
        let names = self.names.get(head.at.2..).unwrap_or_default().iter();
        event.extra.resize_with(head.extra as usize, || (Cow::Borrowed(""), String::new()));
        for ((slot, value), name) in event.extra.iter_mut().zip(names) {
            match (name, slot) {
                (Some(name), slot) => *slot = Cow::Borrowed(name),
                (None, Cow::Owned(slot)) => fill(slot, reader.next()),
                (None, slot) => *slot = Cow::Owned(reader.next().unwrap_or_default().to_owned()),
            }
            fill(value, reader.next());
        }
        fill(&mut event.raw.locator, reader.next());
        fill(&mut event.raw.hmac, reader.next());
    }
}

/// Goes through the texts of one event.
struct Reader<'a> {
    lengths: std::slice::Iter<'a, u32>,
    texts: &'a str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let length = *self.lengths.next()?;
        if length == ABSENT {
            return None;
        }
        let (text, rest) = self.texts.split_at_checked(length as usize)?;
        self.texts = rest;
        Some(text)
    }
}

fn set(slot: &mut Option<String>, text: Option<&str>) {
    match (slot, text) {
        (Some(slot), Some(text)) => fill(slot, Some(text)),
        (slot, text) => *slot = text.map(str::to_owned),
    }
}

fn fill(slot: &mut String, text: Option<&str>) {
    let text = text.unwrap_or_default();
    if slot.capacity() > KEPT_TEXT && text.len() <= KEPT_TEXT {
        *slot = text.to_owned();
        return;
    }
    slot.clear();
    slot.push_str(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::event::{Defect, DefectCode};
    use serde_json::json;

    fn whole() -> serde_json::Value {
        json!({
            "time": "2026-01-05T07:14:00.000Z", "observed": "2026-01-05T07:14:01.000Z", "source": "s", "system": "sap",
            "feed": "f", "uid": "u", "category": "export", "action": "export", "outcome": "success", "status": "0",
            "actor": { "id": "i", "name": "n", "type": "user", "roles": ["r", "", "ü"], "on_behalf_of": "o" },
            "client": { "ip": "192.0.2.1", "country": "DE", "city": "c", "lat": "1", "lon": "2", "user_agent": "a",
                        "tls": "t", "app": "p" },
            "auth": { "method": "m", "mfa": true, "session": "s" },
            "target": { "type": "t", "ids": ["1", "23"], "name": "n", "owner": "o" },
            "fields": ["f", "g"],
            "changes": [{ "field": "f" }, { "field": "g", "from": "", "to": "two" }, { "field": "h", "to": "3" }],
            "volume": { "rows": 1, "bytes": 2 },
            "grant": { "principal": "p", "permission": "q", "scope": "s" },
            "perf": { "duration_ms": 3, "status_code": 200 }, "tenant": "t",
            "http": { "method": "GET", "path": "/" }, "query": "q", "message": "m",
            "extra": { "one": "1", "two": "" }, "clock": "absent", "raw": { "locator": "a@1", "hmac": "1:ff" },
        })
    }

    fn event(members: serde_json::Value) -> Event {
        serde_json::from_value(members).unwrap()
    }

    /// The whole event, an empty one, and all in which one member stands alone or is missing.
    fn all() -> Vec<Event> {
        let whole = whole();
        let members = whole.as_object().unwrap();
        let mut events = vec![Event::default(), event(whole.clone())];
        for (name, value) in members {
            events.push(event(json!({ name.as_str(): value })));
            let mut others = members.clone();
            others.remove(name);
            events.push(event(others.into()));
            for (inner, value) in value.as_object().into_iter().flatten() {
                events.push(event(json!({ name.as_str(): { inner.as_str(): value } })));
                let mut others = members.clone();
                others[name].as_object_mut().unwrap().remove(inner);
                events.push(event(others.into()));
            }
        }
        let mut ours = event(whole);
        ours.extra.insert(1, (Cow::Borrowed("ours"), "text".into()));
        events.push(ours);
        events.iter_mut().for_each(|event| event.source = "s".into());
        events
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed_whatever_was_there_before() {
        let events = all();
        let there = events.iter().map(|event| event.present().count_ones()).max();
        assert_eq!(there, Some(Event::PATHS.len() as u32), "a member is missing in whole()");
        let mut packed = Packed::of("s".into());
        let numbers: Vec<usize> = events.iter().map(|event| packed.pack(event).unwrap()).collect();
        let mut used = Event::default();
        for step in [1, 7, events.len() - 1] {
            let mut place = 0;
            for _ in 0..events.len() {
                used.defect(Defect::new(DefectCode::Late));
                packed.unpack(numbers[place], &mut used);
                assert_eq!(used, events[place], "in steps of {step}");
                place = (place + step) % events.len();
            }
        }
    }

    #[test]
    fn of_huge_values_nothing_stays() {
        let columns = |huge: Option<usize>| {
            let value = |place| if Some(place) == huge { "x".repeat(1 << 20) } else { "x".into() };
            let extra = (0..100).map(|place| (Cow::Owned(format!("c{place}")), value(place))).collect();
            Event { source: "s".into(), extra, ..Event::default() }
        };
        let mut used = Event::default();
        for huge in (0..100).map(Some).chain([None]) {
            let mut packed = Packed::of("s".into());
            let number = packed.pack(&columns(huge)).unwrap();
            packed.unpack(number, &mut used);
        }
        let kept: usize = used.extra.iter().map(|(_, value)| value.capacity()).sum();
        assert!(kept <= 100 * KEPT_TEXT, "{kept} bytes");
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let mut packed = Packed::of("s".into());
        assert_eq!(packed.pack(&Event { source: "t".into(), ..Event::default() }), None);
        let defects = vec![Defect::new(DefectCode::BadValue)];
        assert_eq!(packed.pack(&Event { source: "s".into(), defects, ..Event::default() }), None);
        assert_eq!(packed.pack(&Event { source: "s".into(), ..Event::default() }), Some(0));
    }
}
