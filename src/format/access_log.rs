//! `access_log.combined`: access logs of nginx and Apache in the combined form.
//!
//! Form: `address ident user [10/Oct/2000:13:55:36 -0700] "request" status bytes "referer" "agent"`, with
//! `host:port ` in front (`vhost_combined`) and further columns behind tolerated; the two quoted columns may
//! be missing (the common form). Sources: nginx `log_format combined`; Apache `mod_log_config`.
//!
//! Invariants:
//! * A user name is whatever a client sent, blanks and brackets included. Only `[time] "` counts as the end
//!   of it: both servers escape quotes in what clients send, so a client cannot write that.
//! * `\xHH`, `\"`, `\\`, `\n` … are undone in the quoted columns. `-` is absent.
//! * `http.path` stays as requested; where its query holds percent signs or `+`, the decoded query stands in
//!   `query`, so that inspection is not fooled by `4111%2D1111`.
//! * What the request means in a CRM is read from documented URL patterns ([`routes`]); other requests are
//!   `data_access`, `data_change` or `api` by their method. `POST` has no action: it can be anything.

mod routes;
#[cfg(test)]
mod tests;

use super::{Format, text};
use crate::model::Time;
use crate::model::event::{Defect, DefectCode, Event, Outcome, System};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use std::borrow::Cow;

/// The format.
pub struct AccessLogCombined;

const NAME: &str = "access_log.combined";

impl Format for AccessLogCombined {
    fn name(&self) -> &'static str {
        NAME
    }
    fn system(&self) -> System {
        System::Web
    }
    fn framing(&self) -> Framing {
        Framing::Line
    }
    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
            "feed",
            "category",
            "action",
            "outcome",
            "status",
            "actor.name",
            "client.ip",
            "client.user_agent",
            "target.type",
            "target.ids",
            "volume.bytes",
            "perf.status_code",
            "http.method",
            "http.path",
            "query",
            "message",
            "clock",
        ]
    }
    fn parse(&self, record: &Record<'_>, _: &FormatContext) -> Parsed {
        match read(record.text) {
            Some(event) => Parsed::Event(event),
            None => text::unparsed(System::Web, NAME, DefectCode::Unparsed, record.text),
        }
    }
}

fn read(line: &str) -> Option<Box<Event>> {
    let (head, time, rest) = split_at_time(line)?;
    let mut event = text::event(System::Web, NAME);
    event.time = Some(time);
    set_client(&mut event, head)?;
    let (request, rest) = quoted(rest)?;
    let (status, rest) = word(rest);
    let (bytes, rest) = word(rest);
    set_status(&mut event, status);
    set_bytes(&mut event, bytes);
    set_request(&mut event, request);
    set_agent(&mut event, rest);
    routes::classify(&mut event);
    Some(event)
}

/// The text before the time, the time, and the text from the request's quote on.
fn split_at_time(line: &str) -> Option<(&str, Time, &str)> {
    let bytes = line.as_bytes();
    memchr::memchr_iter(b'[', bytes).find_map(|place| {
        // `[` + 26 characters + `] "`
        let end = place + 27;
        if bytes.get(end..end + 3) != Some(b"] \"") {
            return None;
        }
        let time = parse_time(bytes.get(place + 1..end)?)?;
        Some((line.get(..place)?, time, line.get(end + 2..)?))
    })
}

/// `10/Oct/2000:13:55:36 -0700`
fn parse_time(bytes: &[u8]) -> Option<Time> {
    let bytes: &[u8; 26] = bytes.try_into().ok()?;
    let [d1, d2, b'/', m1, m2, m3, b'/', rest @ ..] = bytes else { return None };
    let [y1, y2, y3, y4, b':', h1, h2, b':', n1, n2, b':', s1, s2, b' ', sign, o1, o2, o3, o4] = rest else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let two = |one, other| Some(digit(one)? * 10 + digit(other)?);
    let month = match &[*m1, *m2, *m3] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let year = i64::from(two(y1, y2)? * 100 + two(y3, y4)?);
    let local = Time::from_civil((year, month, two(d1, d2)?), (two(h1, h2)?, two(n1, n2)?, two(s1, s2)?), 0)?;
    let (hours, minutes) = (two(o1, o2)?, two(o3, o4)?);
    let east = i64::from(hours * 3600 + minutes * 60);
    match sign {
        _ if hours >= 24 || minutes >= 60 => None,
        b'+' => Some(local.plus_seconds(-east)),
        b'-' => Some(local.plus_seconds(east)),
        _ => None,
    }
}

/// The next word and what follows the blank behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.strip_prefix(' ').unwrap_or(text);
    text.split_once(' ').unwrap_or((text, ""))
}

/// `[host:port ]address ident user `, the user with whatever blanks it has.
fn set_client(event: &mut Event, head: &str) -> Option<()> {
    let head = head.strip_suffix(' ').unwrap_or(head);
    let (first, rest) = head.split_once(' ')?;
    let mut address = text::address(first);
    let mut rest = rest;
    if address.is_none()
        && let Some((second, behind)) = rest.split_once(' ')
        && let Some(found) = text::address(second)
    {
        text::keep(event, "vhost", first.to_owned());
        address = Some(found);
        rest = behind;
    } else if address.is_none() {
        event.defect(Defect::field(DefectCode::NotAnAddress, "remote_addr"));
        text::keep(event, "remote_addr", first.to_owned());
    }
    event.client.ip = address;
    let (ident, user) = rest.split_once(' ').unwrap_or((rest, "-"));
    if !matches!(ident, "-" | "") {
        text::keep(event, "ident", ident.to_owned());
    }
    if !matches!(user, "-" | "" | "\"\"") {
        event.actor.name = text::some(&unescape(user));
    }
    Some(())
}

/// The inside of a quoted column, escapes kept, and what follows its closing quote.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix(' ').unwrap_or(text).strip_prefix('"')?;
    let bytes = text.as_bytes();
    let mut place = 0;
    loop {
        place += memchr::memchr2(b'"', b'\\', bytes.get(place..)?)?;
        if bytes.get(place) == Some(&b'"') {
            return Some((text.get(..place)?, text.get(place + 1..)?));
        }
        place += 2;
    }
}

fn unescape(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let mut ahead = bytes.clone();
        match ahead.next() {
            Some(b'x') => {
                let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                    _ => {
                        out.push(byte);
                        continue;
                    }
                }
            }
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'b') => out.push(8),
            Some(b'v') => out.push(11),
            Some(b'f') => out.push(12),
            Some(other) => out.push(other),
            None => out.push(byte),
        }
        bytes = ahead;
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn set_status(event: &mut Event, status: &str) {
    let code = status.parse::<u64>().ok().filter(|code| (100..1000).contains(code));
    match code {
        None if status == "-" => return,
        None => {
            event.defect(Defect::field(DefectCode::BadValue, "status"));
            return text::keep(event, "status", status.to_owned());
        }
        Some(100..200) => event.outcome = Some(Outcome::Unknown),
        Some(200..400) => event.outcome = Some(Outcome::Success),
        Some(_) => event.outcome = Some(Outcome::Failure),
    }
    event.status = Some(status.to_owned());
    event.perf.status_code = code;
}

fn set_bytes(event: &mut Event, bytes: &str) {
    if bytes == "-" {
        return;
    }
    event.volume.bytes = bytes.parse().ok();
    if event.volume.bytes.is_none() {
        event.defect(Defect::field(DefectCode::BadValue, "bytes"));
        text::keep(event, "bytes", bytes.to_owned());
    }
}

/// `METHOD path[ HTTP/x]`; a path with blanks in it is what some clients send.
fn set_request(event: &mut Event, request: &str) {
    if request == "-" {
        return event.defect(Defect::field(DefectCode::MissingField, "request"));
    }
    let request = unescape(request);
    let parts = request.split_once(' ').map(|(method, rest)| {
        let path = match rest.rsplit_once(' ') {
            Some((path, version)) if version.starts_with("HTTP/") => path,
            _ => rest,
        };
        (method, path)
    });
    match parts {
        Some((method, path)) if is_method(method) && !path.is_empty() && !path.contains(char::is_control) => {
            event.http.method = Some(method.to_owned());
            event.http.path = Some(path.to_owned());
            set_query(event, path);
        }
        _ => {
            event.defect(Defect::field(DefectCode::BadValue, "request"));
            if !request.is_empty() {
                text::keep(event, "request", request.into_owned());
            }
        }
    }
}

fn is_method(method: &str) -> bool {
    (1..=20).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

fn set_query(event: &mut Event, path: &str) {
    let Some((_, query)) = path.split_once('?') else { return };
    if memchr::memchr2(b'%', b'+', query.as_bytes()).is_some() {
        event.query = Some(routes::decode(query));
    }
}

fn set_agent(event: &mut Event, rest: &str) {
    let Some((referer, rest)) = quoted(rest) else {
        event.defect(Defect::field(DefectCode::MissingField, "user_agent"));
        if let Some(rest) = text::some(rest) {
            text::keep(event, "rest", rest);
        }
        return;
    };
    if !matches!(referer, "-" | "") {
        text::keep(event, "referer", unescape(referer).into_owned());
    }
    let Some((agent, rest)) = quoted(rest) else {
        event.defect(Defect::field(DefectCode::MissingField, "user_agent"));
        if let Some(rest) = text::some(rest) {
            text::keep(event, "rest", rest);
        }
        return;
    };
    if !matches!(agent, "-" | "") {
        event.client.user_agent = Some(unescape(agent).into_owned());
    }
    if let Some(rest) = text::some(rest) {
        text::keep(event, "rest", rest);
    }
}
