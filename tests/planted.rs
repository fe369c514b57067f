//! Card and social-security numbers planted wherever a feed can carry text, and then looked for in everything
//! that the program wrote or said: state, alerts, logs, reports, metrics, file names. None may be there.
//!
//! How a number is looked for, so that nothing hides and chance does not shout:
//! * Every text is looked at as it stands and with percent signs, JSON and HTML escapes, quoted-printable and
//!   encoded words undone; base64 parts of mails and compressed grants rows are unpacked before.
//! * A card number (14 to 16 digits): every byte that is no digit is removed from the *whole* file, then the
//!   number is looked for. A million digits meet forty numbers by chance once in two million runs.
//! * A social-security number has nine digits, and chance would find it among hashes and times. So its digits
//!   may stand apart by at most three bytes that are no letters and digits, and the whole may touch neither a
//!   letter nor a digit. Every planted form is so; the test first proves that it finds all of them in the
//!   feeds themselves.
//! * Digests: no hexadecimal text and no 32 bytes in any file are SHA-256, or HMAC-SHA-256 under no key or a
//!   zero key, of a number in its usual forms or of a raw record.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use base64::Engine as _;
use common::Home;
use crmwarden::inspect::dlp::generate::{Generator, grouped};
use crmwarden::model::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

const NBSP: &str = "\u{a0}";
const SEPARATORS: [&str; 5] = ["", " ", "-", NBSP, "%20"];
const NETWORKS: [&str; 7] = ["visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay"];

/// Makes numbers, and remembers each with the place it was planted in.
struct Planter {
    random: Generator,
    network: usize,
    planted: BTreeMap<String, String>,
}

impl Planter {
    fn card(&mut self, separator: &str, place: &str) -> String {
        self.network += 1;
        let digits = self.random.card(NETWORKS[self.network % NETWORKS.len()]);
        self.planted.insert(digits.clone(), format!("{place}, card with {separator:?}"));
        grouped(&digits, separator)
    }

    /// Dashed, or next to the word.
    fn ssn(&mut self, separator: &str, place: &str) -> String {
        let digits = self.random.ssn();
        self.planted.insert(digits.clone(), format!("{place}, SSN with {separator:?}"));
        let number = format!("{}{separator}{}{separator}{}", &digits[..3], &digits[3..5], &digits[5..]);
        match separator {
            "-" => number,
            "%20" => format!("SSN%20{number}"),
            _ => format!("SSN {number}"),
        }
    }

    /// Every form once.
    fn forms(&mut self, place: &str) -> Vec<String> {
        let cards: Vec<String> = SEPARATORS.iter().map(|separator| self.card(separator, place)).collect();
        let ssns = SEPARATORS.iter().map(|separator| self.ssn(separator, place));
        cards.into_iter().chain(ssns).collect()
    }

    /// Every form in a record of its own.
    fn records(&mut self, place: &str, record: impl Fn(&str) -> String) -> String {
        self.forms(place).iter().map(|form| record(form)).collect()
    }
}

const CONFIG: &str = r#"sources:
  - name: web
    file: { paths: ["feeds/web/*"] }
    format: access_log.combined
  - name: sf
    file: { paths: ["feeds/sf/*"] }
    format: salesforce.event_log
  - name: setup
    file: { paths: ["feeds/setup/*"] }
    format: salesforce.setup_audit_trail
  - name: dv
    file: { paths: ["feeds/dv/*"] }
    format: dataverse.audit
  - name: grants
    file: { paths: ["feeds/grants/*"] }
    format: dataverse.grants
  - name: sap
    file: { paths: ["feeds/sap/*"] }
    format: sap.security_audit_log
    timezone: Europe/Berlin
  - name: db
    file: { paths: ["feeds/db/*"] }
    format: debezium
receivers:
  - name: outbox
    directory: outbox
routes:
  - receivers: [outbox]
"#;

fn access(user: &str, request: &str, referer: &str, agent: &str) -> String {
    format!(
        "198.51.100.7 - {user} [20/Nov/2026:08:00:02 +0100] \"{request}\" 200 42 \"{referer}\" \"{agent}\"\n"
    )
}

fn plant_web(home: &Home, planter: &mut Planter) {
    let mut text = Vec::new();
    let get = "GET /web HTTP/1.1";
    for part in [
        planter.records("URL query", |x| access("-", &format!("GET /web?q={x}&p=1 HTTP/1.1"), "-", "x")),
        planter.records("URL path", |x| access("-", &format!("POST /web/{x}/edit HTTP/1.1"), "-", "x")),
        planter.records("user agent", |x| access("-", get, "-", &format!("Phone {x} (mobile)"))),
        planter.records("referer", |x| access("-", get, &format!("https://crm.example/?note={x}"), "x")),
        planter.records("user name", |x| access(x, get, "-", "x")),
        planter.records("no access log line at all", |x| format!("what is this: {x}\n")),
    ] {
        text.extend_from_slice(part.as_bytes());
    }
    for form in planter.forms("a line that is not UTF-8") {
        text.extend_from_slice(b"\xff\xfe ");
        text.extend_from_slice(access("-", "GET /caf\u{e9} HTTP/1.1", "-", &form).as_bytes());
    }
    for form in planter.forms("an access log line with bytes that are not UTF-8") {
        let line = access("-", get, "-", &format!("agent# {form}"));
        let (head, tail) = line.split_once('#').unwrap();
        text.extend_from_slice(&[head.as_bytes(), b"\xe9\xff", tail.as_bytes()].concat());
    }
    home.write("feeds/web/access.log", &text);
    for (number, form) in planter.forms("file name").iter().enumerate() {
        home.write(&format!("feeds/web/access {form}.{number}"), access("-", get, "-", "x").as_bytes());
    }
    // Longer than the longest record, with numbers at its start, in its middle and at its end.
    let mut long = planter.forms("the start of an over-long line").join(" and ").into_bytes();
    for place in ["the middle of an over-long line", "the end of an over-long line"] {
        long.extend(std::iter::repeat_n(b" filling", (17 << 20) / 16).flatten());
        long.push(b' ');
        long.extend_from_slice(planter.forms(place).join(" and ").as_bytes());
    }
    assert!(long.len() > 17 << 20);
    long.push(b'\n');
    long.extend_from_slice(access("-", get, "-", "behind the long line").as_bytes());
    home.write("feeds/web/long.log", &long);
}

fn plant_salesforce(home: &Home, planter: &mut Planter) {
    let quoted = |names: &[String]| format!("\"{}\"\n", names.join("\",\""));
    let fixed = [
        "EVENT_TYPE",
        "TIMESTAMP_DERIVED",
        "USER_ID",
        "URI",
        "ENTITY_NAME",
        "EXCEPTION_MESSAGE",
        "FREE_TEXT",
    ];
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(planter.forms("CSV header"));
    let mut text = quoted(&header);
    for column in 2..header.len() {
        let place = format!("CSV value of column {column}");
        text += &planter.records(&place, |x| {
            let mut row = vec![String::new(); header.len()];
            (row[0], row[1]) = ("API".into(), "2026-11-20T01:17:36.827Z".into());
            row[column] = format!("he said {x}");
            quoted(&row)
        });
    }
    text += &planter.records("CSV with a field too many", |x| quoted(&vec![x.to_owned(); 30]));
    home.write("feeds/sf/API.csv", text.as_bytes());
    let setup = planter.records("setup audit display", |x| {
        format!(
            "{{\"Id\":\"0Ym5e0000004101CAA\",\"Action\":\"createduser\",\"Section\":\"Manage Users\",\
             \"Display\":\"Created user {x}\",\"CreatedDate\":\"2026-11-20T08:14:20.000+0000\",\
             \"CreatedBy\":{{\"Name\":\"{x}\"}}}}\n"
        )
    });
    home.write("feeds/setup/setup.jsonl", setup.as_bytes());
}

fn plant_dataverse(home: &Home, planter: &mut Planter) {
    let record = |more: String| {
        format!(
            "{{\"auditid\":\"7d1f0a52-41b5-ec11-983f-00000000abcd\",\"createdon\":\"2026-11-20T07:58:11Z\",\
             \"operation\":2,\"action\":2,\"objecttypecode\":\"contact\",{more}}}\n"
        )
    };
    let mut text = planter.records("JSON value", |x| record(format!("\"useradditionalinfo\":\"{x}\"")));
    text += &planter.records("JSON key", |x| record(format!("\"{x}\":\"v\"")));
    text += &planter.records("nested JSON key", |x| record(format!("\"more\":{{\"deep\":[{{\"{x}\":1}}]}}")));
    text += &planter.records("object id", |x| record(format!("\"_objectid_value\":\"{x}\"")));
    text += &planter.records("attribute mask", |x| record(format!("\"attributemask\":\"{x}\"")));
    for (place, before, after) in
        [("old value in changedata", "X", "new"), ("new value in changedata", "old", "X")]
    {
        text += &planter.records(place, |x| {
            let changes = format!(
                "{{\"changedAttributes\":[{{\"logicalName\":\"description\",\"oldValue\":\"{}\",\"newValue\":\"{}\"}}]}}",
                before.replace('X', x),
                after.replace('X', x)
            );
            record(format!("\"changedata\":{}", serde_json::to_string(&changes).unwrap()))
        });
    }
    text += &planter.records("attribute name in changedata", |x| {
        let changes = format!(
            "{{\"changedAttributes\":[{{\"logicalName\":\"{x}\",\"oldValue\":\"a\",\"newValue\":\"b\"}}]}}"
        );
        record(format!("\"changedata\":{}", serde_json::to_string(&changes).unwrap()))
    });
    text +=
        &planter.records("changedata that is no JSON", |x| record(format!("\"changedata\":\"{x} ~ {x}\"")));
    text += &planter.records("JSON cut off", |x| format!("{{\"auditid\":\"7d1f0a52\",\"note\":\"{x}\n"));
    text += &planter.records("JSON escapes", |x| {
        let escaped: String = x.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
        record(format!("\"useradditionalinfo\":\"{escaped}\""))
    });
    home.write("feeds/dv/audit.jsonl", text.as_bytes());

    let mut rows = Vec::new();
    for form in planter.forms("grants principal name") {
        rows.push(format!(
            "{{\"systemuserid\":\"u{}\",\"fullname\":\"{form}\",\"role_name\":\"Salesperson\"}}",
            rows.len()
        ));
    }
    for form in planter.forms("grants principal id") {
        rows.push(format!(
            "{{\"systemuserid\":\"{form}\",\"fullname\":\"A\",\"role_name\":\"System Administrator\"}}"
        ));
    }
    for form in planter.forms("grants role and unit") {
        rows.push(format!(
            "{{\"systemuserid\":\"v{}\",\"role_name\":\"{form}\",\"businessunit\":\"{form}\"}}",
            rows.len()
        ));
    }
    for form in planter.forms("grants own row") {
        rows.push(format!(
            "{{\"principal\":\"{form}\",\"permission\":\"p {form}\",\"path\":\"via {form}\"}}"
        ));
    }
    for form in planter.forms("grants bad row") {
        rows.push(format!("{{\"principle\":\"{form}\"}}"));
    }
    let about = planter.forms("grants query").join("; ");
    let tenant = planter.card("-", "grants tenant");
    let begin = format!(
        "{{\"grants\":\"begin\",\"system\":\"dynamics365\",\"tenant\":\"{tenant}\",\"query\":\"{about}\"}}"
    );
    let end = format!("{{\"grants\":\"end\",\"rows\":{}}}\n", rows.len());
    home.write("feeds/grants/grants.jsonl", format!("{begin}\n{}\n{end}", rows.join("\n")).as_bytes());
}

fn plant_sap_and_database(home: &Home, planter: &mut Planter) {
    let record = |message: &str, user: &str, variables: &str| {
        let record = format!(
            "2{message}20261120071530{:07}{:05}D1{:8}{user:<12}{:20}{:40}{:3}1{variables:<64}{:20}",
            4711, 12, "WKS-04", "BP", "SAPLBUS_LOCATOR", "100", "WKS-0417"
        );
        assert_eq!(record.chars().count(), 200);
        record
    };
    let mut text = String::new();
    for message in ["AU3", "AUK", "AUY", "ZZZ"] {
        text += &planter.records(&format!("SAP variables of {message}"), |x| {
            record(message, "KWEBER", &format!("A&{x}&B"))
        });
    }
    text += &record("AU1", &planter.ssn("-", "SAP user"), "A&0&P");
    home.write("feeds/sap/audit.aud", text.as_bytes());
    let db = planter.records("database row", |x| {
        format!(
            "{{\"before\":null,\"after\":{{\"id\":7,\"note\":\"{x}\",\"{x}\":\"v\"}},\"op\":\"c\",\"ts_ms\":1763600000000,\
             \"source\":{{\"connector\":\"postgresql\",\"db\":\"crm\",\"schema\":\"public\",\"table\":\"contact\"}}}}\n"
        )
    });
    home.write("feeds/db/contact.jsonl", db.as_bytes());
}

/// Digit runs by numbers: what `appears` needs to know about a text once.
struct View {
    bytes: Vec<u8>,
    digits: Vec<u8>,
}

impl View {
    fn new(bytes: Vec<u8>) -> View {
        let digits = bytes.iter().copied().filter(u8::is_ascii_digit).collect();
        View { bytes, digits }
    }

    fn holds(&self, number: &str) -> bool {
        if number.len() > 9 {
            return memchr::memmem::find(&self.digits, number.as_bytes()).is_some();
        }
        memchr::memmem::find(&self.digits, number.as_bytes()).is_some()
            && self.stands_apart(number.as_bytes())
    }

    /// A nine-digit number with small gaps, touching no letter and no digit.
    fn stands_apart(&self, number: &[u8]) -> bool {
        let alphanumeric = |place: Option<usize>| {
            place.and_then(|place| self.bytes.get(place)).is_some_and(u8::is_ascii_alphanumeric)
        };
        memchr::memchr_iter(number[0], &self.bytes).any(|start| {
            let mut place = start + 1;
            for digit in &number[1..] {
                let mut gap = 0;
                while gap < 4 && !alphanumeric(Some(place)) {
                    (gap, place) = (gap + 1, place + 1);
                }
                if gap > 3 || self.bytes.get(place) != Some(digit) {
                    return false;
                }
                place += 1;
            }
            !alphanumeric(start.checked_sub(1)) && !alphanumeric(Some(place))
        })
    }
}

/// Replaces every `prefix` + hexadecimal digits by the byte or character that they mean.
fn unescape(bytes: &[u8], prefix: &[u8], digits: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let code = rest
            .strip_prefix(prefix)
            .and_then(|tail| std::str::from_utf8(tail.get(..digits)?).ok())
            .and_then(|code| u32::from_str_radix(code, 16).ok());
        match code {
            Some(code) if digits == 2 => out.push(code as u8),
            Some(code) => {
                let character = char::from_u32(code).unwrap_or('?');
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => {
                out.push(*first);
                rest = tail;
                continue;
            }
        }
        rest = &rest[prefix.len() + digits..];
    }
    out
}

/// The text as it stands, and with every encoding undone that our writers use.
fn views(bytes: &[u8]) -> Vec<View> {
    let mut views = vec![View::new(bytes.to_vec())];
    let plain = unescape(&unescape(bytes, b"\\u", 4), b"%", 2);
    let html = common::text(&plain).replace("&#160;", " ").replace("&nbsp;", " ").replace("&#xa0;", " ");
    views.push(View::new(html.into_bytes()));
    if memchr::memmem::find(bytes, b"MIME-Version").is_some() {
        let joined =
            common::text(bytes).replace("=\r\n", "").replace("=\n", "").replace("?=\r\n =?utf-8?q?", "");
        let quoted = unescape(joined.as_bytes(), b"=", 2);
        views.push(View::new(unescape(&quoted, b"%", 2)));
        // Runs of base64, long enough to hold a number, in bodies and in encoded words.
        let alphabet = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\r' | '\n');
        for run in common::text(bytes).split(|c| !alphabet(c)).filter(|run| run.len() >= 12) {
            let run: String = run.chars().filter(|c| !c.is_whitespace()).collect();
            let whole = run.trim_end_matches('=');
            let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
            if let Ok(decoded) = engine.decode(&whole[..whole.len() - whole.len() % 4]) {
                views.push(View::new(unescape(&decoded, b"%", 2)));
            }
        }
    }
    views
}

/// Everything below a folder: names, contents, and contents unpacked.
fn collect(folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        out.push((format!("the name of {name}"), path.file_name().unwrap().as_encoded_bytes().to_vec()));
        if path.is_dir() {
            collect(&path, out);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            if name.ends_with(".zst") {
                out.push((format!("{name}, unpacked"), zstd::decode_all(&bytes[..]).unwrap()));
            }
            // The reserve is 16 MiB of nothing.
            if bytes.iter().any(|byte| *byte != 0) {
                out.push((name, bytes));
            }
        }
    }
}

/// Places and numbers that stand in them.
fn leaks(planted: &BTreeMap<String, String>, texts: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut leaks = Vec::new();
    for (name, bytes) in texts {
        for view in views(bytes) {
            let found = planted.iter().filter(|(number, _)| view.holds(number));
            leaks.extend(found.map(|(number, place)| format!("{number} ({place}) in {name}")));
        }
    }
    leaks.sort();
    leaks.dedup();
    leaks
}

/// What a bare digest of a secret would be.
fn digests(secret: &[u8]) -> Vec<[u8; 32]> {
    let hmac = |key: &[u8]| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(secret);
        mac.finalize().into_bytes().into()
    };
    let zero = Key::new(0, [0; 32].into());
    vec![
        Sha256::digest(secret).into(),
        Sha256::new().chain_update([0]).chain_update(secret).finalize().into(),
        Sha256::new().chain_update(secret).chain_update(b"\n").finalize().into(),
        hmac(b""),
        hmac(&[0; 32]),
        zero.mac(crmwarden::source::RAW_DOMAIN, &[secret]).0,
        zero.mac("", &[secret]).0,
    ]
}

fn assert_no_bare_digest(
    planted: &BTreeMap<String, String>,
    records: &[Vec<u8>],
    texts: &[(String, Vec<u8>)],
) {
    let mut secrets: Vec<Vec<u8>> = records.to_vec();
    for number in planted.keys() {
        for separator in ["", "-", " "] {
            secrets.push(match number.len() {
                9 => {
                    format!("{}{separator}{}{separator}{}", &number[..3], &number[3..5], &number[5..]).into()
                }
                _ => grouped(number, separator).into(),
            });
        }
    }
    // By the first eight bytes: the trail shortens digests to 16 bytes.
    let bare: BTreeMap<[u8; 8], String> = secrets
        .iter()
        .flat_map(|secret| digests(secret).into_iter().map(|digest| (digest, common::text(secret))))
        .map(|(digest, secret)| (digest[..8].try_into().unwrap(), secret))
        .collect();
    for (name, bytes) in texts {
        for window in bytes.windows(8) {
            let window: &[u8; 8] = window.try_into().unwrap();
            assert!(!bare.contains_key(window), "{name}: a bare digest of {:?}", bare[window]);
        }
        for run in bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= 32) {
            for start in (0..=run.len() - 16).step_by(2) {
                let text = std::str::from_utf8(&run[start..start + 16]).unwrap();
                let window = u64::from_str_radix(text, 16).unwrap().to_be_bytes();
                assert!(!bare.contains_key(&window), "{name}: a bare digest of {:?}", bare[&window]);
            }
        }
    }
}

fn metrics(port: u16) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    common::text(&answer)
}

#[test]
fn no_planted_number_leaves_the_feeds() {
    plant_and_look("plain");
}

#[test]
fn no_planted_number_leaves_the_feeds_of_an_erasable_deployment() {
    plant_and_look("erasable");
}

fn plant_and_look(privacy: &str) {
    let random = Generator::new(common::seed("planted"));
    let mut planter = Planter { random, network: 0, planted: BTreeMap::new() };
    let home = Home::empty();
    home.configure(&format!("metrics: \"off\"\nprivacy: {privacy}\n"), CONFIG);
    plant_web(&home, &mut planter);
    plant_salesforce(&home, &mut planter);
    plant_dataverse(&home, &mut planter);
    plant_sap_and_database(&home, &mut planter);

    let mut said = Vec::new();
    let mut keep = |what: &str, output: std::process::Output| {
        assert!(
            output.status.code().is_some_and(|code| code < 2),
            "{what}: {}",
            common::text(&output.stderr)
        );
        said.push((format!("stdout of {what}"), output.stdout));
        said.push((format!("stderr of {what}"), output.stderr));
    };
    keep("run --once", home.run(&["run", "--once"]));
    // The daemon, with metrics, while more arrives; then one pass over a record that is not finished.
    let port = common::free_port();
    home.configure(&format!("metrics: 127.0.0.1:{port}\nprivacy: {privacy}\n"), CONFIG);
    let events = home.of_kind("event").len();
    let daemon = home.ready_daemon();
    let live = planter.records("user agent, live", |x| access("-", "GET /live HTTP/1.1", "-", x));
    home.append("feeds/web/access.log", live.as_bytes());
    common::wait_for("the live records", std::time::Duration::from_secs(20), || {
        metrics(port).contains("crmwarden_")
            && fs::read_to_string(home.segments().last().unwrap())
                .unwrap()
                .matches("\"kind\":\"event\"")
                .count()
                >= events + 10
    });
    let text = metrics(port);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    keep("status", home.run(&["status"]));
    keep("status --json", home.run(&["status", "--json"]));
    assert_eq!(daemon.stop(), 0);
    assert!(home.of_kind("event").len() >= events + 10);
    let tail = planter.forms("a file without its last newline").join(" ");
    home.write(&format!("feeds/web/{}", planter.card(" ", "name of an unfinished file")), tail.as_bytes());
    keep("run --once --json", home.run(&["--json", "run", "--once"]));
    keep("run --once with a tail", home.run(&["run", "--once"]));
    keep("run --once --final", home.run(&["run", "--once", "--final"]));
    keep(
        "report",
        home.run(&[
            "report",
            "--framework",
            "pci-dss",
            "--from",
            "2026-01-01",
            "--to",
            "2100-01-01",
            "-o",
            "report",
        ]),
    );
    keep("verify", home.run(&["verify", "state"]));
    home.expect(0, &["verify", "state"]);
    said.push(("metrics".into(), text.into_bytes()));
    said.push(("daemon.log".into(), home.log().into_bytes()));

    // That the numbers were planted where they can be found, and found by the program.
    let mut feeds = Vec::new();
    collect(&home.path("feeds"), &mut feeds);
    let seen = leaks(&planter.planted, &feeds);
    for (number, place) in &planter.planted {
        assert!(seen.iter().any(|leak| leak.starts_with(number.as_str())), "cannot find {number} ({place})");
    }
    let findings = home.of_kind("finding");
    for rule in ["dlp.payment_card", "dlp.us_ssn"] {
        let count = findings.iter().filter(|finding| finding["rule"] == rule).count();
        eprintln!("{count} findings of {rule}");
        assert!(count > 100, "{rule}: {count}");
    }
    assert!(fs::read_dir(home.path("outbox")).unwrap().count() > 2);

    let mut texts = said;
    for folder in ["state", "outbox", "report", "keys"] {
        collect(&home.path(folder), &mut texts);
    }
    let leaks = leaks(&planter.planted, &texts);
    eprintln!("{} numbers, {} texts, {} leaks", planter.planted.len(), texts.len(), leaks.len());
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks[..leaks.len().min(60)].join("\n"));
    let records: Vec<Vec<u8>> = feeds
        .iter()
        .filter(|(name, bytes)| !name.starts_with("the name") && bytes.len() < 1 << 20)
        .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').chain(bytes.chunks(200)))
        .map(<[u8]>::to_vec)
        .filter(|record| !record.is_empty())
        .collect();
    assert_no_bare_digest(&planter.planted, &records, &texts);
}
