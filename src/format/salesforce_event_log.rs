//! `salesforce.event_log`: Salesforce event-log files (EventLogFile), one event per CSV record.
//!
//! Every value is quoted, columns are named in the header in `SCREAMING_SNAKE`, `EVENT_TYPE` says what the
//! record is, and times are UTC. Invariants:
//! * columns are found by name: they differ by event type and change with the releases;
//! * a column that is not mapped, or whose value its field cannot hold, stands in `extra` under its name;
//! * `TIMESTAMP_DERIVED` goes before `TIMESTAMP`, whose fraction has a varying width; the 18-character id
//!   goes before the 15-character one, which differs from others only by case; `SOURCE_IP` goes before
//!   `CLIENT_IP`, which may be the words `Salesforce.com IP`. The lesser column disappears only when it
//!   says the same;
//! * `uid` is `REQUEST_ID/EVENT_TYPE/time`. All events of one transaction share a request id, and one
//!   transaction may hold several events of one type, so neither the id nor the id with the type names an
//!   event; the three together are equal in the hourly and the daily file, which overlap completely;
//! * `auth.session` is `LOGIN_KEY`, which joins a login to all that follows; `SESSION_KEY` is empty in a
//!   login, because the session does not exist yet. It is the session where there is no login key;
//! * when someone acts while logged in as another user, the `DELEGATED_USER_*` columns name the one who
//!   does it: the actor. The user of the record is then `actor.on_behalf_of`;
//! * Bulk API 2.0 writes one event per state of a job with a running count, so only a final state (or a
//!   file without states) gives `volume.rows`: the sum over events is what was really moved;
//! * `9998.0` in `API_VERSION` and `9998` in `CLIENT_VERSION` mean that there was no API, and are left out.
//!
//! Rules: Salesforce Object Reference, "EventLogFile" and its pages per event type, which say what the
//! status letters, rendering types and login statuses mean.

mod columns;

use self::columns::{Column, Row};
use crate::format::Format;
use crate::format::shared::{address, unparsed};
use crate::model::Time;
use crate::model::event::{Action, ActorType, Category, Clock, Defect, DefectCode, Event, Outcome, System};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use std::borrow::Cow;

/// The reader of event-log files.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventLog;

const NAME: &str = "salesforce.event_log";

impl Format for EventLog {
    fn name(&self) -> &'static str {
        NAME
    }

    fn system(&self) -> System {
        System::Salesforce
    }

    fn framing(&self) -> Framing {
        Framing::Csv
    }

    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
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
            "actor.on_behalf_of",
            "client.ip",
            "client.user_agent",
            "client.tls",
            "client.app",
            "auth.method",
            "auth.mfa",
            "auth.session",
            "target.type",
            "target.ids",
            "volume.rows",
            "volume.bytes",
            "perf.duration_ms",
            "perf.status_code",
            "tenant",
            "http.method",
            "http.path",
            "query",
            "message",
            "clock",
        ]
    }

    fn parse(&self, record: &Record<'_>, _: &FormatContext) -> Parsed {
        let Some(header) = record.header.filter(|_| !record.text.trim().is_empty()) else {
            return Parsed::Event(Box::new(unparsed(
                System::Salesforce,
                NAME,
                DefectCode::Unparsed,
                record.text,
            )));
        };
        let mut row = Row::read(header, record.text);
        let mut event = Box::new(Event { system: System::Salesforce, ..Event::default() });
        let kind = Kind::of(row.peek(Column::EventType));
        common(&mut event, &mut row, kind);
        let mut counts = true;
        match kind {
            Kind::Login => login(&mut event, &mut row),
            Kind::Logout => classify(&mut event, Category::Authentication, Some(Action::Logout)),
            Kind::LoginAs => classify(&mut event, Category::Authentication, Some(Action::Impersonate)),
            Kind::Report | Kind::ReportExport => report(&mut event, &mut row, kind),
            Kind::BulkApi | Kind::BulkApi2 => counts = bulk(&mut event, &mut row),
            Kind::Api | Kind::RestApi => api(&mut event, &mut row, kind),
            // It counts every request that an API, RestApi or BulkApi event describes as well: a verb here
            // would count each of them twice.
            Kind::ApiTotalUsage => classify(&mut event, Category::Api, None),
            Kind::Uri => page(&mut event, &mut row),
            Kind::Unknown => {}
        }
        if counts {
            rows(&mut event, &mut row);
        }
        finish(&mut event, &mut row);
        row.rest(&mut event);
        Parsed::Event(event)
    }
}

/// The event types with a meaning of their own. The set is closed, so the feed names stay a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Login,
    Logout,
    LoginAs,
    Report,
    ReportExport,
    BulkApi,
    BulkApi2,
    Api,
    RestApi,
    ApiTotalUsage,
    Uri,
    Unknown,
}

impl Kind {
    fn of(event_type: &str) -> Kind {
        match event_type {
            "Login" => Kind::Login,
            "Logout" => Kind::Logout,
            "LoginAs" => Kind::LoginAs,
            "Report" => Kind::Report,
            "ReportExport" => Kind::ReportExport,
            "BulkApi" => Kind::BulkApi,
            "BulkApi2" => Kind::BulkApi2,
            "API" => Kind::Api,
            "RestApi" => Kind::RestApi,
            "ApiTotalUsage" => Kind::ApiTotalUsage,
            "URI" => Kind::Uri,
            _ => Kind::Unknown,
        }
    }

    fn feed(self) -> &'static str {
        match self {
            Kind::Login => "salesforce.event_log/Login",
            Kind::Logout => "salesforce.event_log/Logout",
            Kind::LoginAs => "salesforce.event_log/LoginAs",
            Kind::Report => "salesforce.event_log/Report",
            Kind::ReportExport => "salesforce.event_log/ReportExport",
            Kind::BulkApi => "salesforce.event_log/BulkApi",
            Kind::BulkApi2 => "salesforce.event_log/BulkApi2",
            Kind::Api => "salesforce.event_log/API",
            Kind::RestApi => "salesforce.event_log/RestApi",
            Kind::ApiTotalUsage => "salesforce.event_log/ApiTotalUsage",
            Kind::Uri => "salesforce.event_log/URI",
            Kind::Unknown => NAME,
        }
    }
}

fn classify(event: &mut Event, category: Category, action: Option<Action>) {
    event.category = Some(category);
    event.action = action;
}

/// What every event type shares.
fn common(event: &mut Event, row: &mut Row<'_>, kind: Kind) {
    event.feed = Cow::Borrowed(kind.feed());
    time_and_uid(event, row);
    match kind {
        Kind::Unknown if row.peek(Column::EventType).is_empty() => {
            let name = Row::name(Column::EventType);
            row.defects.push(Defect::field(DefectCode::MissingField, name));
        }
        // The type itself stays in `extra`: the feed's name must not grow with what a source writes.
        Kind::Unknown => row.defects.push(Defect::new(DefectCode::UnknownType)),
        _ => row.forget(Column::EventType),
    }
    actor(event, row);
    client(event, row);
    event.tenant = row.take(Column::OrganizationId);
    event.auth.session = row.take_first(&[Column::LoginKey, Column::SessionKey]);
    event.perf.duration_ms = row.number(Column::RunTime);
    event.perf.status_code = row.number(Column::StatusCode);
    event.query = row.take_first(&[Column::Query, Column::SearchQuery]);
    event.target.r#type = row.take_first(&[Column::EntityName, Column::EntityType]);
    event.http.method = row.take_first(&[Column::Method, Column::HttpMethod]);
    event.http.path = row.take_first(&[Column::Uri, Column::ApiResource]);
}

/// `TIMESTAMP` as `yyyyMMddHHmmss` with an optional fraction of any width.
fn compact_time(text: &str) -> Option<Time> {
    let (clock, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if clock.len() != 14 || !digits(clock) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let part = |from: usize, to: usize| clock.get(from..to)?.parse::<u32>().ok();
    let date = (i64::from(part(0, 4)?), part(4, 6)?, part(6, 8)?);
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.as_bytes().get(place).map_or(0, |digit| u32::from(digit - b'0'));
        micros = micros * 10 + digit;
    }
    Time::from_civil(date, (part(8, 10)?, part(10, 12)?, part(12, 14)?), micros)
}

/// Whether `20261121021008.8` and `2026-11-21T02:10:08.807Z` name the same second, by their digits.
fn same_second(compact: &str, derived: &str) -> bool {
    let Some((clock, fraction)) = compact.split_at_checked(14) else { return false };
    let digits = derived.bytes().filter(u8::is_ascii_digit).take(14);
    let fraction = fraction.strip_prefix('.').unwrap_or(fraction);
    derived.ends_with('Z') && clock.bytes().eq(digits) && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn time_and_uid(event: &mut Event, row: &mut Row<'_>) {
    let derived = Time::parse(row.peek(Column::TimestampDerived));
    let compact = match derived {
        // Reading the second column would only find the same time once more.
        Some(_) if same_second(row.peek(Column::Timestamp), row.peek(Column::TimestampDerived)) => derived,
        _ => compact_time(row.peek(Column::Timestamp)),
    };
    for (column, time) in [(Column::TimestampDerived, derived), (Column::Timestamp, compact)] {
        if time.is_none() && !row.peek(column).is_empty() {
            row.bad(column);
        }
    }
    event.time = derived.or(compact);
    if event.time.is_none() {
        event.clock = Clock::Absent;
        row.defects.push(Defect::new(DefectCode::TimeMissing));
    }
    if !row.peek(Column::RequestId).is_empty() {
        let column = if derived.is_some() { Column::TimestampDerived } else { Column::Timestamp };
        let parts = [row.peek(Column::RequestId), row.peek(Column::EventType), row.peek(column)];
        event.uid = Some(parts.join("/"));
        row.forget(Column::RequestId);
    }
    if derived.is_some() {
        row.forget(Column::TimestampDerived);
    }
    // The fraction of TIMESTAMP is cut, so the two may differ by up to a second and still say the same.
    if let Some(compact) = compact
        && event.time.is_some_and(|time| time.seconds().abs_diff(compact.seconds()) <= 1)
    {
        row.forget(Column::Timestamp);
    }
}

/// Takes the 18-character id; the 15-character one is its first part and disappears with it.
fn id(row: &mut Row<'_>, derived: Column, short: Column) -> Option<String> {
    if row.peek(derived).is_empty() {
        return row.take(short);
    }
    if row.peek(derived).starts_with(row.peek(short)) {
        row.forget(short);
    }
    row.take(derived)
}

fn actor(event: &mut Event, row: &mut Row<'_>) {
    use Column::{
        DelegatedUserId, DelegatedUserIdDerived, DelegatedUserName, UserId, UserIdDerived, UserName,
    };
    let user = id(row, UserIdDerived, UserId);
    let delegate = id(row, DelegatedUserIdDerived, DelegatedUserId);
    let delegate_name = row.take(DelegatedUserName);
    if delegate.is_some() || delegate_name.is_some() {
        event.actor.id = delegate;
        event.actor.name = delegate_name;
        // With both known the id stays: names change, and other records of the session carry the id. The
        // name and the user's type then stay in `extra`, because neither is the actor's.
        event.actor.on_behalf_of = user.or_else(|| row.take(UserName));
        return;
    }
    event.actor.id = user;
    event.actor.name = row.take(UserName);
    let (kind, lossless) = user_type(row.peek(Column::UserType));
    event.actor.r#type = kind;
    if lossless {
        row.forget(Column::UserType);
    }
}

/// The kind of account, and whether that word says all that the licence's name said.
fn user_type(text: &str) -> (Option<ActorType>, bool) {
    match text {
        "Standard" | "S" => (Some(ActorType::User), true),
        "Guest" | "G" => (Some(ActorType::Guest), true),
        "AutomatedProcess" | "A" => (Some(ActorType::System), true),
        "CsnOnly"
        | "CSNOnly"
        | "CspLitePortal"
        | "CSPLitePortal"
        | "CustomerSuccess"
        | "Partner"
        | "PowerCustomerSuccess"
        | "PowerPartner"
        | "SelfService"
        | "X"
        | "b"
        | "C"
        | "F"
        | "L"
        | "n"
        | "O"
        | "o"
        | "P"
        | "p" => (Some(ActorType::User), false),
        _ => (None, false),
    }
}

fn client(event: &mut Event, row: &mut Row<'_>) {
    for column in [Column::SourceIp, Column::ClientIp] {
        let value = row.peek(column);
        if value.is_empty() {
            continue;
        }
        if event.client.ip.as_deref() == Some(value) {
            row.forget(column);
            continue;
        }
        match (&event.client.ip, address(value)) {
            (None, Some(address)) => {
                event.client.ip = Some(address);
                row.forget(column);
            }
            (Some(known), Some(address)) if *known == address => row.forget(column),
            // Another address stays in `extra`: the request passed through two places.
            (Some(_), Some(_)) => {}
            (_, None) => row.defects.push(Defect::field(DefectCode::NotAnAddress, Row::name(column))),
        }
    }
    let agent = row.take_first(&[Column::BrowserType, Column::UserAgent, Column::ClientInfo]);
    event.client.user_agent = agent.map(percent_decoded);
    event.client.tls = row.take(Column::TlsProtocol);
    // The name of the connected app is Salesforce's own; CLIENT_NAME is what the caller says of itself.
    event.client.app = row.take_first(&[
        Column::ConnectedAppName,
        Column::ClientName,
        Column::ConnectedAppId,
        Column::ClientId,
    ]);
    for (column, sentinel) in [(Column::ApiVersion, "9998.0"), (Column::ClientVersion, "9998")] {
        let value = row.peek(column);
        if value == sentinel || value.strip_suffix(".0") == Some(sentinel) {
            row.forget(column);
        }
    }
}

/// Decodes `%3A` and the like where the whole is UTF-8 afterwards; a lone percent sign stays.
fn percent_decoded(text: String) -> String {
    if !text.contains('%') {
        return text;
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        match (byte, hex(bytes.get(place + 1)), hex(bytes.get(place + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                place += 3;
            }
            _ => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or(text)
}

fn login(event: &mut Event, row: &mut Row<'_>) {
    classify(event, Category::Authentication, Some(Action::Login));
    event.auth.method = row.take(Column::LoginType);
    // RFC 8176 names the methods; `mfa` among them says that more than one factor was used. Its absence
    // says nothing.
    let reference = row.peek(Column::AuthReference);
    let words = |c: char| !c.is_ascii_alphanumeric();
    if reference.split(words).any(|word| word.eq_ignore_ascii_case("mfa")) {
        event.auth.mfa = Some(true);
    }
    let status = row.peek(Column::LoginStatus);
    event.outcome = match status {
        "" => None,
        "LOGIN_NO_ERROR" => Some(Outcome::Success),
        // The user has to prove more before the login goes on: neither a failure nor a success.
        "LOGIN_TWOFACTOR_REQ" | "LOGIN_LIGHTNING_LOGIN" => Some(Outcome::Challenged),
        _ if status.starts_with("LOGIN_CHALLENGE") => Some(Outcome::Challenged),
        _ if status.starts_with("LOGIN_") => Some(Outcome::Failure),
        _ => Some(Outcome::Unknown),
    };
    event.status = row.take(Column::LoginStatus);
}

/// Whether this is a 15- or 18-character record id.
fn is_record_id(text: &str) -> bool {
    matches!(text.len(), 15 | 18) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The record that the address of the page names.
fn page_id(row: &mut Row<'_>) -> Option<String> {
    is_record_id(row.peek(Column::UriIdDerived)).then(|| row.take(Column::UriIdDerived))?
}

fn report(event: &mut Event, row: &mut Row<'_>, kind: Kind) {
    // Only exports of details make a ReportExport; formatted and spreadsheet exports appear as a Report
    // rendered as Excel or CSV.
    let exported = kind == Kind::ReportExport || matches!(row.peek(Column::RenderingType), "X" | "C");
    if exported {
        classify(event, Category::Export, Some(Action::Export));
    } else {
        classify(event, Category::DataAccess, Some(Action::Report));
    }
    let report = id(row, Column::ReportIdDerived, Column::ReportId).or_else(|| page_id(row));
    // The page of a report is the report.
    if report.as_deref() == Some(row.peek(Column::UriIdDerived)) {
        row.forget(Column::UriIdDerived);
    }
    event.target.ids.extend(report);
    if event.target.r#type.is_none() {
        event.target.r#type = Some("Report".to_owned());
    }
    event.message = row.take(Column::ReportDescription);
}

/// Returns whether the record's count is final.
fn bulk(event: &mut Event, row: &mut Row<'_>) -> bool {
    let operation = row.peek(Column::OperationType).to_ascii_lowercase();
    let (category, action) = match operation.as_str() {
        "query" | "queryall" => (Category::Export, Some(Action::Export)),
        "insert" => (Category::DataChange, Some(Action::Create)),
        "update" | "upsert" => (Category::DataChange, Some(Action::Update)),
        "delete" | "harddelete" => (Category::DataChange, Some(Action::Delete)),
        "" => (Category::Api, None),
        _ => {
            row.bad(Column::OperationType);
            (Category::Api, None)
        }
    };
    classify(event, category, action);
    let state = row.peek(Column::JobStatus).to_ascii_lowercase();
    let ended = match state.as_str() {
        "jobcomplete" | "complete" | "completed" => Some(Outcome::Success),
        "failed" | "aborted" => Some(Outcome::Failure),
        _ => None,
    };
    let counts = ended.is_some() || state.is_empty();
    event.outcome = ended;
    event.status = row.take(Column::JobStatus);
    counts
}

fn api(event: &mut Event, row: &mut Row<'_>, kind: Kind) {
    let action = match kind {
        Kind::RestApi => {
            let (method, path) = (event.http.method.as_deref(), event.http.path.as_deref());
            rest_action(method.unwrap_or(""), path.unwrap_or(""))
        }
        _ => soap_action(row.peek(Column::MethodName)),
    };
    let category = match action {
        Some(Action::Read | Action::List | Action::Search) => Category::DataAccess,
        Some(_) => Category::DataChange,
        None => Category::Api,
    };
    classify(event, category, action);
    event.volume.bytes = row.number(Column::ResponseSize);
}

/// The calls of the SOAP API that touch records; describing, sessions and the rest are none of them.
fn soap_action(method: &str) -> Option<Action> {
    Some(match method {
        "query" | "queryAll" | "queryMore" => Action::List,
        "retrieve" => Action::Read,
        "search" => Action::Search,
        "create" | "insert" => Action::Create,
        "update" | "upsert" => Action::Update,
        "delete" => Action::Delete,
        "merge" => Action::Merge,
        _ => return None,
    })
}

/// The REST resources that touch records. Elsewhere the HTTP method does not tell: a POST may as well be a
/// query or a batch.
fn rest_action(method: &str, path: &str) -> Option<Action> {
    let resource = path.split(['?', '#']).next().unwrap_or("");
    let mut parts = resource.split('/').filter(|part| !part.is_empty());
    let versioned = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    parts.find(|part| versioned(part))?;
    match (parts.next()?, method) {
        ("query" | "queryAll", _) => Some(Action::List),
        ("search" | "parameterizedSearch", _) => Some(Action::Search),
        // `/sobjects/Account` alone or its description is no record.
        ("sobjects", "GET") if parts.clone().count() >= 2 && parts.clone().nth(1) != Some("describe") => {
            Some(Action::Read)
        }
        ("sobjects", "POST") if parts.next().is_some() => Some(Action::Create),
        ("sobjects", "PATCH" | "PUT") if parts.next().is_some() => Some(Action::Update),
        ("sobjects", "DELETE") if parts.next().is_some() => Some(Action::Delete),
        _ => None,
    }
}

fn page(event: &mut Event, row: &mut Row<'_>) {
    classify(event, Category::DataAccess, Some(Action::Read));
    event.target.ids.extend(page_id(row));
}

fn rows(event: &mut Event, row: &mut Row<'_>) {
    use Column::{NumberOfRecords, RecordsProcessed, RowCount, RowsProcessed};
    event.volume.rows = [RowsProcessed, RecordsProcessed, RowCount, NumberOfRecords]
        .into_iter()
        .find_map(|column| row.number(column));
}

/// What is filled in last, where the event type has not said it.
fn finish(event: &mut Event, row: &mut Row<'_>) {
    if event.volume.bytes.is_none() {
        event.volume.bytes = row.number(Column::SizeBytes);
    }
    if event.message.is_none() {
        event.message = row.take_first(&[Column::Message, Column::ExceptionMessage]);
    }
    if event.status.is_none() {
        let word = match row.peek(Column::RequestStatus) {
            "" => None,
            "S" | "Success" => Some(Outcome::Success),
            "F" | "A" | "N" | "Failure" => Some(Outcome::Failure),
            _ => Some(Outcome::Unknown),
        };
        event.outcome = event.outcome.or(word);
        event.status = row.take(Column::RequestStatus);
    }
    if event.outcome.is_none() {
        event.outcome = match (row.peek(Column::Success), event.perf.status_code) {
            ("1" | "true", _) => Some(Outcome::Success),
            ("0" | "false", _) => Some(Outcome::Failure),
            (_, Some(200..400)) => Some(Outcome::Success),
            (_, Some(400..600)) => Some(Outcome::Failure),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests;
