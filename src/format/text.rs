//! What several formats need to read text: addresses, times, members of JSON objects, records that are
//! not what their feed promises.
//!
//! Invariants:
//! * Nothing is guessed and nothing is dropped: a value that its column cannot have goes to `extra` with a
//!   defect.
//! * Names in `extra` are distinct ([`keep`] sees to it).
//! * A record that cannot be read at all becomes an event whose `message` is its text, so that inspection
//!   still sees (and masks) what stands in it.

pub mod json;

use crate::model::Time;
use crate::model::event::{Clock, Defect, DefectCode, Event, System};
use crate::model::record::{FormatContext, Parsed};
use json::{Document, Json, Members};
use std::borrow::Cow;
use std::net::IpAddr;

/// An event of `system`, read by `feed`.
pub(super) fn event(system: System, feed: &'static str) -> Box<Event> {
    // Made where it stays: an event is large.
    let mut event = Box::<Event>::default();
    (event.system, event.feed) = (system, Cow::Borrowed(feed));
    event
}

/// The event of a record that does not have its format's form.
pub(super) fn unparsed(system: System, feed: &'static str, code: DefectCode, text: &str) -> Parsed {
    let mut event = event(system, feed);
    event.clock = Clock::Absent;
    event.defect(Defect::new(code));
    event.message = some(text);
    Parsed::Event(event)
}

/// The text without blanks around it, where anything is left.
pub(super) fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Keeps a value that has no place of its own. A name that is taken gets a number.
pub(super) fn keep(event: &mut Event, name: impl Into<Cow<'static, str>>, value: String) {
    let mut name = name.into();
    if event.extra.iter().any(|(taken, _)| *taken == name) {
        let free = (2..).map(|number| format!("{name}#{number}"));
        let mut free = free.filter(|name| !event.extra.iter().any(|(taken, _)| taken == name));
        name = Cow::Owned(free.next().unwrap_or_default());
    }
    event.extra.push((name, value));
}

/// So many names are compared one by one; more go through a set.
const NAMES_COMPARED: usize = 24;

/// Keeps every member that is left, except `null`.
pub(super) fn keep_rest(event: &mut Event, prefix: &str, members: Members<'_>) {
    let left = members.iter().filter(|(_, value)| !matches!(value, Json::Null)).count();
    if left == 0 {
        return;
    }
    if event.extra.len() + left <= NAMES_COMPARED {
        for (name, value) in members {
            let Some(text) = value.into_text() else { continue };
            let name = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}{name}") };
            keep(event, name, text);
        }
        return;
    }
    keep_many(event, prefix, members);
}

/// Wide objects go in without the search for taken names by pairs.
fn keep_many(event: &mut Event, prefix: &str, members: Members<'_>) {
    let mut taken: std::collections::HashSet<String> =
        event.extra.iter().map(|(name, _)| name.clone().into_owned()).collect();
    for (name, value) in members {
        let Some(text) = value.into_text() else { continue };
        let plain = format!("{prefix}{name}");
        let mut free = plain.clone();
        let mut number = 2;
        while !taken.insert(free.clone()) {
            free = format!("{plain}#{number}");
            number += 1;
        }
        event.extra.push((Cow::Owned(free), text));
    }
}

/// Notes what reading the JSON met besides the values.
pub(super) fn note(event: &mut Event, document: &Document<'_>) {
    if document.too_complex {
        event.defect(Defect::new(DefectCode::TooComplex));
    }
    if document.replaced {
        event.defect(Defect::new(DefectCode::InvalidUtf8));
    }
    if let Some(name) = &document.duplicate {
        event.defect(Defect::field(DefectCode::DuplicateName, name.clone()));
    }
}

/// Takes the event's time from a member. Without an offset the source's zone is needed; without either
/// the value is kept and the time stays unknown.
pub(super) fn take_time(
    event: &mut Event,
    members: &mut Members<'_>,
    name: &'static str,
    context: &FormatContext,
) {
    // Nearly all are read as they stand, without a copy.
    let value = members.take(name).unwrap_or(Json::Null);
    let time = match value.as_str() {
        Some(text) => Time::parse(text),
        None => value.to_text().as_deref().and_then(Time::parse),
    };
    if time.is_some() {
        event.time = time;
        return;
    }
    let Some(text) = value.into_text().filter(|text| !text.trim().is_empty()) else {
        event.clock = Clock::Absent;
        return event.defect(Defect::new(DefectCode::TimeMissing));
    };
    let local = text.trim().parse::<jiff::civil::DateTime>().ok();
    if let (Some(local), Some(zone)) = (local, &context.zone) {
        return set_local_time(event, local, zone);
    }
    event.clock = Clock::Absent;
    event.defect(Defect::field(DefectCode::BadValue, name));
    keep(event, name, text);
}

/// Sets the time from a civil time in the source's zone. A time that the clocks showed twice takes the
/// earlier instant; one that they skipped moves forward by as much as they did. Both are said.
pub(super) fn set_local_time(event: &mut Event, local: jiff::civil::DateTime, zone: &jiff::tz::TimeZone) {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if ambiguous.is_ambiguous() {
        event.defect(Defect::new(DefectCode::TimeAmbiguous));
    }
    match ambiguous.compatible() {
        Ok(instant) => {
            event.time = Some(Time::from_micros(instant.as_microsecond()));
            event.clock = Clock::ZoneAssumed;
        }
        Err(_) => {
            event.clock = Clock::Absent;
            event.defect(Defect::field(DefectCode::BadValue, "time"));
        }
    }
}

/// Reads an IPv4 or IPv6 address, with or without brackets, port and zone; the port and the zone are
/// dropped, an IPv4 address mapped into IPv6 becomes IPv4.
pub(super) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    match text.parse::<IpAddr>() {
        // The only written form of it; printing it again costs more than all the rest.
        Ok(IpAddr::V4(_)) => return Some(text.to_owned()),
        Ok(address) => return Some(address.to_canonical().to_string()),
        Err(_) => {}
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // One colon means a port behind IPv4; two and more stand in an address of IPv6.
        None => match text.split_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => text,
        },
    };
    let bare = bare.split_once('%').map_or(bare, |(host, _)| host);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string())
}

/// A JSON object's members, with a reading error told apart from a value of another kind.
pub(super) fn object(text: &str) -> Option<(Members<'_>, Document<'_>)> {
    let mut document = json::read(text)?;
    match std::mem::replace(&mut document.value, Json::Null) {
        Json::Object(members) => Some((members, document)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::format::Format;
    use proptest::prelude::*;

    /// Paths of every event, which no format needs to list.
    const ALWAYS: &[&str] = &["observed", "source", "system", "feed", "clock"];

    /// Checks that the format lists every path that this event of it has.
    pub(in crate::format) fn only_sets(format: &dyn Format, event: &Event) {
        for path in Event::PATHS.iter().filter(|path| event.field(path).is_some()) {
            assert!(ALWAYS.contains(path) || format.sets().contains(path), "{} sets {path}", format.name());
        }
        assert!(format.sets().iter().all(|path| Event::PATHS.contains(path)));
        let mut names: Vec<&str> = event.extra.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "names in extra stand once: {names:?}");
    }

    /// Checks that every path that the format lists is set by one of these events of it.
    pub(in crate::format) fn sets_all(format: &dyn Format, events: &[Event]) {
        for path in format.sets() {
            let set = events.iter().any(|event| event.field(path).is_some());
            assert!(set, "{} lists {path}, which nothing sets", format.name());
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("203.0.113.7:4711", Some("203.0.113.7")),
            ("[2001:DB8::7]:443", Some("2001:db8::7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("Salesforce.com IP", None),
            ("crm-host", None),
            ("", None),
            ("1.2.3.4.5", None),
            ("[2001:db8::7", None),
        ] {
            assert_eq!(address(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn names_in_extra_stay_distinct() {
        let mut event = Event::default();
        for _ in 0..3 {
            keep(&mut event, "a", "x".to_owned());
        }
        let (members, _) = object(r#"{"a":1,"a":2,"b":{"c":[1, 2]},"n":null}"#).expect("object");
        keep_rest(&mut event, "", members);
        let names: Vec<&str> = event.extra.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a", "a#2", "a#3", "a#4", "a#5", "b"]);
        assert_eq!(event.extra[5].1, r#"{"c":[1,2]}"#);
    }

    proptest! {
        #[test]
        fn addresses_never_panic(text in "\\PC{0,40}|[0-9a-f:.\\[\\]%]{0,40}") {
            let _ = address(&text);
        }
    }
}
