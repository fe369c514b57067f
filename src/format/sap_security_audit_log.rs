//! `sap.security_audit_log`: files of the SAP Security Audit Log (`DIR_AUDIT`, `FN_AUDIT`).
//!
//! Form: records of exactly 200 characters without terminator (UTF-16 kernels write 400 bytes, older ones
//! 200). Positions count characters from 1:
//!
//! | at | length | field |
//! |---|---|---|
//! | 1 | 1 | version, `2` or `3` |
//! | 2 | 3 | message id |
//! | 5 | 8 | date, `YYYYMMDD` |
//! | 13 | 6 | time, `HHMMSS`, in the application server's zone |
//! | 19 | 7 | process id of the operating system |
//! | 26 | 5 | SAP process |
//! | 31 | 1 | process type |
//! | 32 | 1 | process id, hexadecimal |
//! | 33 | 8 | terminal, short |
//! | 41 | 12 | user |
//! | 53 | 20 | transaction |
//! | 73 | 40 | program |
//! | 113 | 3 | client |
//! | 116 | 1 | session |
//! | 117 | 64 | variables of the message, joined by `&` |
//! | 181 | 20 | terminal, long: host name or address |
//!
//! Source: SAP Help Portal, "Security Audit Log" (message ids); the record's layout as public readers of
//! these files describe it. Tools disagree about the split inside 13 to 30; only the time is used from there,
//! everything else is kept as it stands.
//!
//! Decisions:
//! * Times have no offset: the source's `timezone:` makes them UTC, `clock` is `zone_assumed`. A local time
//!   that occurs twice takes the earlier instant, one that does not exist moves forward; both have the
//!   defect `time_ambiguous`.
//! * A terminal that is an address becomes `client.ip`; a host name is kept in `extra.terminal`: the field
//!   promises no address, so that is no defect.
//! * The variables stand in `extra.variable1` and so on; the last one that the message has takes the rest,
//!   so that a path with `&` stays whole.
//! * A record of another length, as a file being written ends with, is `unparsed`.

mod messages;
#[cfg(test)]
mod tests;

use super::{Format, text};
use crate::model::event::{Action, ActorType, Category, Clock, Defect, DefectCode, Event, System};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use messages::{About, Meaning};

/// The format.
pub struct SapSecurityAuditLog;

const NAME: &str = "sap.security_audit_log";
/// Characters of one record.
const LENGTH: usize = 200;
/// Where the fields end, in characters.
const ENDS: [usize; 16] = [1, 4, 12, 18, 25, 30, 31, 32, 40, 52, 72, 112, 115, 116, 180, 200];

impl Format for SapSecurityAuditLog {
    fn name(&self) -> &'static str {
        NAME
    }
    fn system(&self) -> System {
        System::Sap
    }
    fn framing(&self) -> Framing {
        Framing::Fixed(LENGTH)
    }
    fn needs_zone(&self) -> bool {
        true
    }
    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
            "feed",
            "category",
            "action",
            "outcome",
            "status",
            "actor.id",
            "actor.name",
            "actor.type",
            "client.ip",
            "auth.method",
            "target.type",
            "target.ids",
            "target.name",
            "volume.bytes",
            "grant.principal",
            "tenant",
            "message",
            "clock",
        ]
    }
    fn parse(&self, record: &Record<'_>, context: &FormatContext) -> Parsed {
        match fields(record.text).and_then(|fields| read(&fields, context)) {
            Some(event) => Parsed::Event(event),
            None => text::unparsed(System::Sap, NAME, DefectCode::Unparsed, record.text),
        }
    }
}

/// The fields of a record that has the right length, blanks kept.
fn fields(record: &str) -> Option<[&str; 16]> {
    let mut fields = [""; 16];
    let mut rest = record;
    let mut start = 0;
    for (field, end) in fields.iter_mut().zip(ENDS) {
        let width = end - start;
        let bytes = match rest.char_indices().nth(width) {
            Some((bytes, _)) => bytes,
            None if rest.chars().count() == width => rest.len(),
            None => return None,
        };
        (*field, rest) = rest.split_at_checked(bytes)?;
        start = end;
    }
    rest.is_empty().then_some(fields)
}

fn read(fields: &[&str; 16], context: &FormatContext) -> Option<Box<Event>> {
    let [version, id, date, clock, pid, process, kind, pid_hex, short_terminal, rest @ ..] = *fields;
    let [user, transaction, program, client, session, variables, terminal] = rest;
    // Out of step with the records, every field would be another one's text.
    if !id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return None;
    }
    let mut event = text::event(System::Sap, NAME);
    if !matches!(version, "2" | "3") {
        event.defect(Defect::field(DefectCode::BadValue, "version"));
        text::keep(&mut event, "version", version.to_owned());
    }
    set_time(&mut event, date, clock, context);
    event.status = Some(id.to_owned());
    event.tenant = text::some(client);
    event.actor.id = text::some(user);
    event.actor.name = event.actor.id.clone();
    // The account under which the kernel itself works.
    if event.actor.id.as_deref() == Some("SAPSYS") {
        event.actor.r#type = Some(ActorType::System);
    }
    set_terminal(&mut event, terminal, short_terminal);
    let parts = [
        ("transaction", transaction),
        ("program", program),
        ("pid", pid),
        ("process", process),
        ("process_type", kind),
        ("pid_hex", pid_hex),
        ("session", session),
    ];
    for (name, value) in parts {
        if let Some(value) = text::some(value) {
            text::keep(&mut event, name, value);
        }
    }
    apply(&mut event, messages::about(id), variables.trim());
    if event.status.as_deref() == Some("AU3") && event.target.name.is_none() {
        event.target.name = text::some(transaction);
    }
    Some(event)
}

fn set_time(event: &mut Event, date: &str, clock: &str, context: &FormatContext) {
    let text = format!("{date}{clock}");
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let local = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &text).ok().filter(|_| digits);
    match (local, &context.zone) {
        (Some(local), Some(zone)) => return text::set_local_time(event, local, zone),
        (Some(_), None) => event.defect(Defect::new(DefectCode::TimeMissing)),
        (None, _) => event.defect(Defect::field(DefectCode::BadValue, "time")),
    }
    event.clock = Clock::Absent;
    text::keep(event, "local_time", text);
}

fn set_terminal(event: &mut Event, terminal: &str, short: &str) {
    let (terminal, short) = (terminal.trim(), short.trim());
    event.client.ip = [terminal, short].into_iter().find_map(text::address);
    if event.client.ip.is_none()
        && let Some(name) = text::some(terminal)
    {
        text::keep(event, "terminal", name);
    }
    // The short form is the beginning of the long one, or another name of the terminal.
    if !short.is_empty() && !terminal.starts_with(short) {
        text::keep(event, "terminal_short", short.to_owned());
    }
}

/// Sets what the message id and its variables say.
fn apply(event: &mut Event, about: Option<&'static About>, variables: &str) {
    let variables = variables.strip_prefix('&').unwrap_or(variables);
    let most = about.map_or(4, |about| about.variables.max(1));
    let values: Vec<&str> = variables.splitn(most, '&').map(str::trim).collect();
    for (number, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
        text::keep(event, variable_name(number), (*value).to_owned());
    }
    let Some(about) = about else {
        event.defect(Defect::field(DefectCode::UnknownType, event.status.clone().unwrap_or_default()));
        event.message = text::some(variables);
        return;
    };
    event.feed = std::borrow::Cow::Borrowed(about.feed);
    event.category = Some(about.category);
    event.action = about.action;
    event.outcome = Some(about.outcome);
    event.message = Some(messages::fill(about.text, &values));
    let value = |number: usize| values.get(number).copied().and_then(text::some);
    match about.meaning {
        Meaning::Plain => {}
        Meaning::Logon { method } => event.auth.method = value(method).map(messages::method),
        Meaning::Target { kind, name } => {
            event.target.r#type = Some(kind.to_owned());
            event.target.name = value(name);
        }
        Meaning::User { name } => set_user(event, value(name)),
        Meaning::Table => set_table(event, value(0), value(1).as_deref()),
        Meaning::Download => {
            event.target.r#type = Some("file".to_owned());
            event.target.name = value(2);
            set_bytes(event, value(0).as_deref());
        }
        Meaning::Switch => match value(0).as_deref() {
            Some("0") => event.action = Some(Action::Disable),
            Some(_) => event.action = Some(Action::Enable),
            None => event.defect(Defect::field(DefectCode::MissingField, "variable1")),
        },
    }
}

fn variable_name(number: usize) -> &'static str {
    ["variable1", "variable2", "variable3", "variable4"].get(number).copied().unwrap_or("variable")
}

fn set_user(event: &mut Event, name: Option<String>) {
    event.target.r#type = Some("user".to_owned());
    event.target.ids.extend(name.clone());
    if event.category == Some(Category::Permission) {
        event.grant.principal.clone_from(&name);
    }
    event.target.name = name;
}

/// Activities of authorisation objects: 01 create, 02 change, 03 display, 06 delete.
fn set_table(event: &mut Event, table: Option<String>, activity: Option<&str>) {
    event.target.name.clone_from(&table);
    event.target.r#type = table;
    let (category, action) = match activity {
        Some("01") => (Category::DataChange, Some(Action::Create)),
        Some("02") => (Category::DataChange, Some(Action::Update)),
        Some("03") => (Category::DataAccess, Some(Action::Read)),
        Some("06") => (Category::DataChange, Some(Action::Delete)),
        _ => (Category::DataAccess, None),
    };
    event.category = Some(category);
    event.action = action;
}

/// A count with the thousands separators of somebody's locale.
fn set_bytes(event: &mut Event, count: Option<&str>) {
    let Some(count) = count else {
        return event.defect(Defect::field(DefectCode::MissingField, "variable1"));
    };
    let digits: String =
        count.chars().filter(|c| !matches!(c, '.' | ',' | '\'' | ' ' | '\u{a0}' | '\u{202f}')).collect();
    event.volume.bytes = digits.parse().ok();
    if event.volume.bytes.is_none() {
        event.defect(Defect::field(DefectCode::BadValue, "variable1"));
    }
}
