//! Each form of a line, each quirk, the routes, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::event::{Action, Category, Value};
use proptest::prelude::*;

fn parse(text: &str) -> Event {
    match AccessLogCombined.parse(&Record { text, header: None }, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => panic!("an access log has no grants"),
    }
}

fn request(request: &str, status: u32) -> Event {
    parse(&format!(r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "{request}" {status} 512 "-" "-""#))
}

fn defects(event: &Event) -> Vec<String> {
    event.defects.iter().map(|defect| defect.text().into_owned()).collect()
}

fn extra<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    match event.field(&format!("extra.{name}")) {
        Some(Value::Text(Cow::Borrowed(text))) => Some(text),
        _ => None,
    }
}

#[test]
fn a_whole_line() {
    let event = parse(
        r#"203.0.113.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif?x=1 HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#,
    );
    assert_eq!(event.time.expect("time").to_string(), "2000-10-10T20:55:36.000000Z");
    assert_eq!(event.client.ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(event.actor.name.as_deref(), Some("frank"));
    assert_eq!(event.http.method.as_deref(), Some("GET"));
    assert_eq!(event.http.path.as_deref(), Some("/a.gif?x=1"));
    assert_eq!((event.status.as_deref(), event.perf.status_code), (Some("200"), Some(200)));
    assert_eq!((event.volume.bytes, event.outcome), (Some(2326), Some(Outcome::Success)));
    assert_eq!((event.category, event.action), (Some(Category::DataAccess), Some(Action::Read)));
    assert_eq!(extra(&event, "referer"), Some("http://www.example.com/start.html"));
    assert_eq!(event.client.user_agent.as_deref(), Some("Mozilla/4.08 [en] (Win98; I ;Nav)"));
    assert_eq!((event.query.as_deref(), defects(&event)), (None, vec![]));
}

#[test]
fn escapes_of_both_servers() {
    let event = parse(
        r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "GET /a HTTP/1.1" 200 1 "http://e/\x22q\x22" "one \"two\" \\ \x41\n""#,
    );
    assert_eq!(extra(&event, "referer"), Some("http://e/\"q\""));
    assert_eq!(event.client.user_agent.as_deref(), Some("one \"two\" \\ A\n"));
}

#[test]
fn hyphens_are_absent() {
    let event = parse(r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "-" 408 - "-" "-""#);
    assert_eq!(
        (event.actor.name.as_deref(), event.volume.bytes, event.client.user_agent.as_deref()),
        (None, None, None)
    );
    assert_eq!(defects(&event), ["missing_field:request"]);
    assert_eq!(event.outcome, Some(Outcome::Failure));
}

#[test]
fn requests_that_are_none() {
    for (text, kept) in [
        ("", None),
        (r"\x16\x03\x01\x02", Some("\u{16}\u{3}\u{1}\u{2}")),
        ("hello", Some("hello")),
        ("get / HTTP/1.1", Some("get / HTTP/1.1")),
        (r"GET /\x00 HTTP/1.1", Some("GET /\0 HTTP/1.1")),
        (r"\xff\xfe", Some("\u{fffd}\u{fffd}")),
    ] {
        let event = request(text, 400);
        assert_eq!(defects(&event), ["bad_value:request"], "{text}");
        assert_eq!(extra(&event, "request"), kept, "{text}");
        assert_eq!(event.http.method, None);
    }
    assert_eq!(request("GET /old", 200).http.path.as_deref(), Some("/old"));
    assert_eq!(request("GET /with blank HTTP/1.1", 200).http.path.as_deref(), Some("/with blank"));
}

#[test]
fn columns_before_and_behind() {
    let event = parse(
        r#"crm.example.com:443 203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "-""#,
    );
    assert_eq!(
        (extra(&event, "vhost"), event.client.ip.as_deref()),
        (Some("crm.example.com:443"), Some("203.0.113.7"))
    );
    let event = parse(r#"pc7.example.com - - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "-""#);
    assert_eq!(defects(&event), ["not_an_address:remote_addr"]);
    assert_eq!(extra(&event, "remote_addr"), Some("pc7.example.com"));
    let event = parse(
        r#"2001:db8::7 id - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "curl/8" "198.51.100.1" 0.012"#,
    );
    assert_eq!((event.client.ip.as_deref(), extra(&event, "ident")), (Some("2001:db8::7"), Some("id")));
    assert_eq!(extra(&event, "rest"), Some(r#""198.51.100.1" 0.012"#));
    let event = parse(r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1"#);
    assert_eq!(defects(&event), ["missing_field:user_agent"]);
}

#[test]
fn a_user_name_cannot_forge_the_line() {
    let event = parse(
        r#"203.0.113.7 - x [01/Jan/2001:00:00:00 +0000] \x22GET /fake HTTP/1.1\x22 200 1 [22/Nov/2026:09:00:00 +0100] "GET /real HTTP/1.1" 401 1 "-" "-""#,
    );
    assert_eq!(event.http.path.as_deref(), Some("/real"));
    assert_eq!(event.time.expect("time").to_string(), "2026-11-22T08:00:00.000000Z");
    assert_eq!(
        event.actor.name.as_deref(),
        Some("x [01/Jan/2001:00:00:00 +0000] \"GET /fake HTTP/1.1\" 200 1")
    );
    assert_eq!(
        parse(r#"203.0.113.7 - Jo Doe [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "-""#)
            .actor
            .name
            .as_deref(),
        Some("Jo Doe")
    );
}

#[test]
fn statuses_and_bytes() {
    for (status, outcome) in [
        (101, Outcome::Unknown),
        (204, Outcome::Success),
        (302, Outcome::Success),
        (404, Outcome::Failure),
        (500, Outcome::Failure),
        (499, Outcome::Failure),
    ] {
        assert_eq!(request("GET / HTTP/1.1", status).outcome, Some(outcome), "{status}");
    }
    let event = parse(r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 000 many "-" "-""#);
    assert_eq!(defects(&event), ["bad_value:status", "bad_value:bytes"]);
    assert_eq!((extra(&event, "status"), extra(&event, "bytes")), (Some("000"), Some("many")));
}

#[test]
fn decoded_queries_cannot_hide_a_number() {
    let event = request("GET /p?card=4111%2D1111+1111%201111&bad=%zz%4 HTTP/1.1", 200);
    assert_eq!(event.query.as_deref(), Some("card=4111-1111 1111 1111&bad=%zz%4"));
    assert_eq!(event.http.path.as_deref(), Some("/p?card=4111%2D1111+1111%201111&bad=%zz%4"));
}

#[test]
fn routes() {
    use Action as A;
    use Category as C;
    for (line, status, category, action) in [
        ("GET /x", 200, C::DataAccess, Some(A::Read)),
        ("POST /x", 200, C::DataAccess, None),
        ("PUT /x", 200, C::DataChange, Some(A::Update)),
        ("DELETE /x", 200, C::DataChange, Some(A::Delete)),
        ("POST /service/v4_1/rest.php", 200, C::Api, None),
        ("POST /login", 200, C::Authentication, Some(A::Login)),
        ("GET /login", 200, C::DataAccess, Some(A::Read)),
        ("POST /web/login", 303, C::Authentication, Some(A::Login)),
        ("POST /web/session/authenticate", 200, C::Authentication, Some(A::Login)),
        ("GET /web/session/logout", 303, C::Session, Some(A::Logout)),
        ("POST /web/export/csv", 200, C::Export, Some(A::Export)),
        ("POST /web/export/xlsx", 200, C::Export, Some(A::Export)),
        ("POST /web/database/backup", 200, C::Export, Some(A::Backup)),
        ("GET /web/content/77?download=true", 200, C::DataAccess, Some(A::Download)),
        ("POST /web/dataset/call_kw/res.partner/export_data", 200, C::Export, Some(A::Export)),
        ("POST /web/dataset/call_kw/res.partner/unlink", 200, C::DataChange, Some(A::Delete)),
        ("POST /web/dataset/call_kw/res.partner/own_method", 200, C::Api, None),
        ("GET /api/v1/App/user", 200, C::Authentication, Some(A::Login)),
        ("POST /api/v1/App/action/destroyAuthToken", 200, C::Session, Some(A::Logout)),
        ("GET /api/v1/Contact?maxSize=20", 200, C::Api, Some(A::List)),
        ("POST /api/v1/Contact", 200, C::Api, Some(A::Create)),
        ("PUT /api/v1/Contact/7", 200, C::Api, Some(A::Update)),
        ("POST /api/v1/Contact/action/export", 200, C::Export, Some(A::Export)),
        ("POST /api/v1/Export", 200, C::Export, Some(A::Export)),
        ("POST /api/v1/Contact/action/massDelete", 200, C::DataChange, Some(A::Delete)),
        ("POST /Api/access_token", 200, C::Authentication, Some(A::Login)),
        ("POST /Api/index.php/V8/logout", 200, C::Session, Some(A::Logout)),
        ("GET /Api/V8/module/Accounts/7", 200, C::Api, Some(A::Read)),
        ("GET /Api/V8/module/Accounts", 200, C::Api, Some(A::List)),
        ("POST /index.php?module=Users&action=Authenticate", 302, C::Authentication, Some(A::Login)),
        ("GET /index.php?module=Users&action=Logout", 302, C::Session, Some(A::Logout)),
        ("POST /crm/index.php?entryPoint=export", 200, C::Export, Some(A::Export)),
        ("GET /?entryPoint=download&id=7", 200, C::DataAccess, Some(A::Download)),
        ("POST /index.php?module=Contacts&action=Delete&record=7", 302, C::DataChange, Some(A::Delete)),
        ("POST /index.php?module=Contacts&action=MassUpdate", 302, C::DataChange, Some(A::Update)),
        ("GET /index.php?module=Contacts&action=DetailView&record=7", 200, C::DataAccess, Some(A::Read)),
    ] {
        let event = request(&format!("{line} HTTP/1.1"), status);
        assert_eq!((event.category, event.action), (Some(category), action), "{line}");
        assert!(event.http.method.is_some() && event.http.path.is_some());
        super::super::text::tests::only_sets(&AccessLogCombined, &event);
    }
}

#[test]
fn targets_of_routes() {
    for (line, kind, ids) in [
        ("GET /api/v1/Contact/7/cases", "Contact", &["7"][..]),
        ("POST /web/dataset/call_kw/res.partner/read", "res.partner", &[]),
        ("GET /Api/V8/module/Accounts/7", "Accounts", &["7"]),
        ("GET /index.php?module=Contacts&action=DetailView&record=a%2D7", "Contacts", &["a-7"]),
    ] {
        let event = request(&format!("{line} HTTP/1.1"), 200);
        assert_eq!(
            (event.target.r#type.as_deref(), event.target.ids.as_slice()),
            (Some(kind), ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>().as_slice())
        );
    }
}

#[test]
fn how_logins_ended() {
    let outcome = |line: &str, status| request(&format!("{line} HTTP/1.1"), status).outcome.expect("outcome");
    assert_eq!(outcome("POST /web/login", 303), Outcome::Success);
    assert_eq!(outcome("POST /web/login", 302), Outcome::Success);
    assert_eq!(outcome("POST /web/login", 200), Outcome::Failure);
    assert_eq!(outcome("POST /web/login", 401), Outcome::Failure);
    assert_eq!(outcome("POST /web/session/authenticate", 200), Outcome::Unknown);
    assert_eq!(outcome("POST /index.php?module=Users&action=Authenticate", 302), Outcome::Unknown);
    assert_eq!(outcome("POST /index.php?module=Users&action=Authenticate", 403), Outcome::Failure);
    assert_eq!(outcome("GET /api/v1/App/user", 200), Outcome::Success);
    assert_eq!(outcome("GET /api/v1/App/user", 401), Outcome::Failure);
    assert_eq!(outcome("POST /login", 302), Outcome::Success);
}

#[test]
fn lines_of_another_form_are_unparsed() {
    for text in [
        "",
        "x",
        r#"203.0.113.7 - - [22/Nov/2026:09:00:00] "GET / HTTP/1.1" 200 1"#,
        r#"203.0.113.7 - - [31/Feb/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1"#,
        r#"203.0.113.7 - - [22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1"#,
        r#"[22/Nov/2026:09:00:00 +0100] "GET / HTTP/1.1" 200 1"#,
    ] {
        let event = parse(text);
        assert_eq!(defects(&event), ["unparsed"], "{text}");
        assert_eq!(event.message.unwrap_or_default(), text);
    }
}

#[test]
fn sample_feed_sets_what_the_format_says() {
    let feed = include_str!("../../../examples/demo/feeds/web/access.log");
    let mut events: Vec<Event> = feed.lines().map(parse).collect();
    assert_eq!(events.len(), 60);
    for event in &events {
        super::super::text::tests::only_sets(&AccessLogCombined, event);
        assert!(!event.has_defect(DefectCode::Unparsed));
    }
    assert_eq!(events.iter().filter(|event| event.has_defect(DefectCode::BadValue)).count(), 2);
    assert!(
        events.iter().any(|event| event
            .http
            .path
            .as_deref()
            .is_some_and(|path| path.contains("4111111111111111")))
    );
    let logins = |outcome| {
        events
            .iter()
            .filter(|event| event.action == Some(Action::Login) && event.outcome == Some(outcome))
            .count()
    };
    assert!(logins(Outcome::Failure) >= 8 && logins(Outcome::Success) >= 3);
    events.push(parse("not a line"));
    super::super::text::tests::sets_all(&AccessLogCombined, &events);
}

/// The hot path: `cargo test --release -- --ignored --nocapture access_log` prints the time of a line, the
/// best of several rounds because machines are shared.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let feed = include_str!("../../../examples/demo/feeds/web/access.log");
    let lines: Vec<&str> = feed.lines().collect();
    let record = |text| Record { text, header: None };
    let context = FormatContext::default();
    let round = || {
        let start = std::time::Instant::now();
        for line in lines.iter().cycle().take(6000) {
            std::hint::black_box(AccessLogCombined.parse(&record(std::hint::black_box(line)), &context));
        }
        start.elapsed() / 6000
    };
    println!("{:?} a line", (0..50).map(|_| round()).min().unwrap_or_default());
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*|[\\[\\]\" :/0-9A-Z\\\\-]{0,80}") {
        super::super::text::tests::only_sets(&AccessLogCombined, &parse(&text));
    }

    #[test]
    fn never_panics_on_any_columns(user in "\\PC{0,12}", line in "[A-Z]{1,6} /(web|api/v1|Api|index.php|[a-z?=&%+0-9/]){0,6}|\\PC{0,20}", rest in "\\PC{0,20}") {
        let event = parse(&format!(r#"203.0.113.7 - {user} [22/Nov/2026:09:00:00 +0100] "{line}" 200 5{rest}"#));
        super::super::text::tests::only_sets(&AccessLogCombined, &event);
    }
}
