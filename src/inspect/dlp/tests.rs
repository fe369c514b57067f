//! The detectors as a whole: what people complained about elsewhere, every spelling, and properties.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::generate::{Generator, grouped};
mod around;

use super::*;
use crate::model::event::{Change, Event};
use crate::model::{Finding, KeyRing, Severity, Time};
use proptest::prelude::*;
use zeroize::Zeroizing;

const SEED: u64 = 20_261_122;

fn key() -> Key {
    Key::new(1, Zeroizing::new([7; 32]))
}

fn hits_in(path: &str, text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    scan(text, path, &mut hits);
    hits
}

/// The likelihood of the likeliest hit.
fn best(detector: Detector, path: &str, text: &str) -> Option<Likelihood> {
    hits_in(path, text).iter().filter(|hit| hit.detector == detector).map(|hit| hit.likelihood).max()
}

fn card(text: &str) -> Option<Likelihood> {
    best(Detector::PaymentCard, "", text)
}

fn ssn(text: &str) -> Option<Likelihood> {
    best(Detector::UsSsn, "", text)
}

fn fill(seed: u64, template: &str) -> String {
    Generator::new(seed).fill(template).unwrap()
}

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[test]
fn other_numbers_are_left_alone() {
    for text in [
        "1690000000123",
        "ts=1690000000123456",
        "trace 1780000000000123",
        "20240607123456789",
        "47223179-9330-4259-b66c-0123456789ab",
        "request 41111111-1111-4111-a111-111111111111",
        "-0.5309136012499991%",
        "width: 0.4111111111111111",
        "37.4224764371294,-122.0842499211111",
        "sha 4111111111111111411111111111111141111111",
        "9400 1118 9922 3333 4444 55",
        "0000000000000000",
        "8888 8888 8888 8888",
        "00Q4111111111111111AAA",
        "e4111111111111111",
        "192.168.100.123 10.20.30.40",
        "2023-11-22 04:46:15.591",
        "+1 (555) 123-4567",
        "12345-6789",
        "12-3456789",
        "1.4.0.0 45.12.33.11",
    ] {
        assert_eq!(card(text).filter(|likelihood| *likelihood > Likelihood::VeryLow), None, "{text}");
        assert_eq!(ssn(text), None, "{text}");
        assert_eq!(mask(text), None, "{text}");
    }
}

#[test]
fn numbers_that_were_never_issued() {
    for text in
        ["000-12-3456", "666-12-3456", "900-12-3456", "999-99-9999", "SSN 123-00-4567", "SSN 123-45-0000"]
    {
        assert_eq!(ssn(text), None, "{text}");
    }
    for text in ["SSN 078-05-1120", "SSN 219-09-9999", "SSN 123-45-6789", "SSN 987-65-4320"] {
        assert!(hits_in("", text).iter().all(|hit| hit.test_number), "{text}");
        assert_eq!(hits_in("", text).len(), 1, "{text}");
    }
    assert_eq!(ssn("SSN 222-22-2222"), Some(Likelihood::Medium));
    assert_eq!(ssn("222-22-2222"), Some(Likelihood::VeryLow));
}

#[test]
fn test_cards_are_marked_and_masked() {
    let hits = hits_in("", "4111 1111 1111 1111, 378282246310005");
    assert_eq!(hits.iter().map(|hit| hit.test_number).collect::<Vec<_>>(), [true, true]);
    assert_eq!(hits[1].network, Some("American Express"));
    assert_eq!(
        mask("4111 1111 1111 1111, 378282246310005").as_deref(),
        Some("**** **** **** 1111, ***********0005")
    );
}

#[test]
fn the_nearest_word_decides() {
    let at = |text: &str| fill(SEED, text);
    assert_eq!(card(&at("{card}")), Some(Likelihood::Medium));
    assert!(card(&at("card {card}")) >= Some(Likelihood::High));
    assert_eq!(card(&at("card order no {card}")), Some(Likelihood::VeryLow));
    assert!(card(&at("order 17, card {card}")) >= Some(Likelihood::High));
    assert!(card(&at("{card} (Visa)")) > card(&at("{card}")));
    assert!(ssn(&at("SSN {ssn:plain}")) >= Some(Likelihood::Medium));
    assert_eq!(ssn(&at("{ssn:plain}")), None);
    assert_eq!(ssn(&at("SSN XXX-XX-4093 dur_ms=89446 bytes={ssn:plain}")), None);
    assert_eq!(ssn(&at("SSN ***-**-4093 id {ssn:plain}")), None);
    assert!(ssn(&at("{ssn}")) >= Some(Likelihood::Medium));
    assert_eq!(ssn(&at("part no. {ssn}")), Some(Likelihood::VeryLow));
    // What stands behind the digits need not belong to them: `….1` is the first rotation of a file.
    for behind in [".1", "-2", "_3", ".4.5"] {
        assert!(ssn(&at(&format!("SSN {{ssn:plain}}{behind}"))) >= Some(Likelihood::Low), "{behind}");
        assert_eq!(ssn(&at(&format!("invoice {{ssn:plain}}{behind}"))), None, "{behind}");
    }
    assert_eq!(ssn(&at("SSN score 0.{ssn:plain}")), None);
    let list = at("SSNs {ssn:plain}, {ssn:plain} and {ssn:plain}");
    assert_eq!(hits_in("", &list).len(), 3, "{list}");
}

#[test]
fn field_names_count() {
    let plain = fill(SEED, "{ssn:plain}");
    for path in ["SSN__c", "changes.Social_Security_Number__c", "customerSsn", "extra.ssn"] {
        assert!(best(Detector::UsSsn, path, &plain) >= Some(Likelihood::Medium), "{path}");
        let masked = mask_with_context(path, &plain).unwrap();
        assert_eq!(masked, format!("*****{}", &plain[5..]), "{path}");
        assert_eq!(mask(&masked), None);
        assert_eq!(mask_with_context(path, &masked), None);
    }
    for path in ["changes.className", "message", "order_id", ""] {
        assert_eq!(best(Detector::UsSsn, path, &plain), None, "{path}");
    }
    let number = fill(SEED, "{card}");
    assert!(best(Detector::PaymentCard, "changes.PAN__c", &number) >= Some(Likelihood::High));
    assert!(best(Detector::PaymentCard, "changes.company", &number) == Some(Likelihood::Medium));
    assert_eq!(best(Detector::PaymentCard, "auth.session", &number), Some(Likelihood::VeryLow));
    assert!(mask_with_context("auth.session", &number).is_some());
    let json = fill(SEED, r#"{"Social_Security__c": {"old": null, "new": "{ssn:plain}"}}"#);
    assert!(ssn(&json) >= Some(Likelihood::Medium), "{json}");
}

#[test]
fn stripes_are_the_worst() {
    let track = fill(SEED, ";{card}=27121011234567890?");
    assert_eq!(card(&track), Some(Likelihood::VeryHigh));
    let track = fill(SEED, "%B{card}^DOE/JANE^2712101?");
    assert_eq!(card(&track), Some(Likelihood::VeryHigh));
}

#[test]
fn several_in_one_cluster_and_what_follows() {
    let text = fill(SEED, "{card:grouped} {card:grouped}\n{card:grouped} 0927 123");
    let hits = hits_in("", &text);
    assert_eq!(hits.len(), 3, "{text}");
    assert!(hits.iter().all(|hit| hit.likelihood >= Likelihood::Medium));
    let text = fill(SEED, "order 2026 {card:grouped}");
    assert!(mask(&text).is_some(), "a year before does not hide a card: {text}");
}

#[test]
fn networks_that_say_little_need_a_word() {
    // Fifteen digits with a leading one, a Maestro range of thirteen digits, UnionPay without check digit.
    for (bare, with) in [
        ("122000000000003", "card 122000000000003"),
        ("6304000000000000", "card 6304000000000000"),
        ("6212345678901234", "card 6212345678901234"),
    ] {
        if card(bare).is_none() {
            assert!(card(with) >= Some(Likelihood::Low), "{with}");
        }
    }
    assert_eq!(card("6212345678901230"), None);
    assert_eq!(card("4222222222222"), None);
    assert!(card("visa 4222222222222") >= Some(Likelihood::Medium));
}

/// Every separator that the module knows, as it is spelled in feeds.
const GAPS: &[&str] = &[
    "",
    " ",
    "-",
    ".",
    "_",
    "\u{a0}",
    "\u{2009}",
    "\u{202f}",
    "\u{2007}",
    "\u{3000}",
    "\u{2013}",
    "\u{2011}",
    "\u{2212}",
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{feff}",
    "\u{ad}",
    "\u{2060}",
    "  ",
    " - ",
    "\n",
    "\\n",
    "%20",
    "%2D",
    "+",
    "&nbsp;",
    "&#45;",
    "&#x2d;",
    "&amp;nbsp;",
    "\\u00a0",
    "\\u002d",
    "\\\\u00a0",
    "%2520",
    "%C2%A0",
    "%E2%80%93",
    "\t",
    "\u{200b}-\u{200b}",
    "&ndash;",
    "\\t",
];

/// Ways to write the digits themselves.
const SCRIPTS: &[fn(char) -> String] = &[
    |digit| digit.to_string(),
    |digit| char::from_u32(0xff10 + digit as u32 - 48).unwrap().to_string(),
    |digit| char::from_u32(0x660 + digit as u32 - 48).unwrap().to_string(),
    |digit| char::from_u32(0x6f0 + digit as u32 - 48).unwrap().to_string(),
    |digit| char::from_u32(0x966 + digit as u32 - 48).unwrap().to_string(),
    |digit| char::from_u32(0x1d7ce + digit as u32 - 48).unwrap().to_string(),
    |digit| format!("\\u{:04x}", digit as u32),
    |digit| format!("%{:02X}", digit as u32),
    |digit| format!("&#{};", digit as u32),
    |digit| format!("&#x{:x};", digit as u32),
    |digit| format!("\\u{:04x}", 0xff10 + digit as u32 - 48),
    |digit| {
        char::from_u32(0xff10 + digit as u32 - 48)
            .unwrap()
            .to_string()
            .bytes()
            .map(|b| format!("%{b:02X}"))
            .collect()
    },
];

#[test]
fn every_separator_of_a_card() {
    for (place, gap) in GAPS.iter().enumerate() {
        for network in ["visa", "amex", "diners", "unionpay"] {
            let number = Generator::new(SEED + place as u64).card(network);
            let text = format!("paid with {} today", grouped(&number, gap));
            let hits = hits_in("", &text);
            assert_eq!(hits.len(), 1, "{network} {gap:?} {text}");
            assert!(hits[0].likelihood >= Likelihood::Medium, "{gap:?}");
            assert_eq!(hits[0].fingerprint(&key()), hits_in("", &number)[0].fingerprint(&key()), "{gap:?}");
            assert!(text.is_char_boundary(hits[0].start) && text.is_char_boundary(hits[0].end));
            assert!(
                hits[0].masked.ends_with(&number[number.len() - 4..]) || gap.is_empty() || network != "visa"
            );
        }
    }
}

#[test]
fn every_separator_of_a_social_security_number() {
    for (place, gap) in GAPS.iter().enumerate() {
        let number = Generator::new(SEED + place as u64).ssn();
        let text = format!("SSN {}{gap}{}{gap}{}", &number[..3], &number[3..5], &number[5..]);
        assert!(ssn(&text) >= Some(Likelihood::Medium), "{gap:?} {text}");
        let masked = mask(&text).unwrap();
        assert!(!digits_of(&masked).contains(&number), "{gap:?} {masked}");
    }
}

#[test]
fn every_script() {
    let number = Generator::new(SEED).card("visa");
    let expected = hits_in("", &number)[0].fingerprint(&key());
    for (place, script) in SCRIPTS.iter().enumerate() {
        let text: String = number.chars().map(script).collect();
        for text in [text.clone(), format!("card {text}."), format!("é{text}é")] {
            let hits = hits_in("", &text);
            assert_eq!(hits.len(), 1, "{place} {text}");
            assert_eq!(hits[0].fingerprint(&key()), expected, "{place} {text}");
            let masked = mask(&text).unwrap();
            assert!(masked.contains("************"), "{place} {masked}");
            assert_eq!(mask(&masked), None);
        }
    }
}

#[test]
fn escapes_beside_a_number_are_not_part_of_it() {
    for template in [
        "q=%22{card}%22",
        "q=%3D{card}%26",
        "\\u0022{card}\\u0022",
        "\\u003cb\\u003e{card}\\u003c/b\\u003e",
        "line\\n{card}\\nline",
        "<b>{card}</b>",
        "&#34;{card}&#34;",
        "{card}.0",
        "100%{card}",
    ] {
        let text = fill(SEED, template);
        let hits = hits_in("", &text);
        assert_eq!(hits.len(), 1, "{text}");
        assert_eq!(hits[0].digits.len, 16, "{text}");
    }
}

#[test]
fn base64_is_looked_into() {
    use base64::Engine;
    let plain = fill(SEED, "pan={card};cvv=123");
    let text = format!("state={} next", base64::engine::general_purpose::STANDARD.encode(&plain));
    let hits = hits_in("", &text);
    assert_eq!(hits.len(), 1);
    let masked = mask(&text).unwrap();
    assert!(masked.starts_with("state=****") && masked.ends_with(" next"), "{masked}");
    let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(fill(SEED, "ssn:{ssn}"));
    assert_eq!(hits_in("", &url_safe).len(), 1);
}

#[test]
fn lines_of_the_scan_command() {
    let line = fill(SEED, "Zoë paid with {card:grouped}");
    let found: Vec<String> = scan_line(3, &line, &key()).collect();
    assert_eq!(found.len(), 1);
    let value: serde_json::Value = serde_json::from_str(&found[0]).unwrap();
    assert_eq!(value["detector"], "payment_card");
    assert_eq!(
        (value["line"].as_u64(), value["start"].as_u64(), value["end"].as_u64()),
        (Some(3), Some(15), Some(34))
    );
    assert_eq!(value["masked"].as_str().map(str::len), Some(19));
    assert!(!found[0].contains(&digits_of(&line)));
    let names: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(names, ["detector", "likelihood", "line", "start", "end", "masked", "fingerprint"]);
}

fn rules() -> Rules {
    let rule = |id: &str, detector| Rule {
        id: id.to_owned(),
        detector,
        enabled: true,
        severity: Severity::High,
        min_likelihood: Likelihood::Medium,
        test_numbers: TestNumbers::Info,
        controls: vec!["pci-dss/3.5.1".to_owned()],
        next: "look".to_owned(),
        window_seconds: 3600,
        allow: Vec::new(),
    };
    let rules = vec![rule("dlp.payment_card", Detector::PaymentCard), rule("dlp.us_ssn", Detector::UsSsn)];
    Rules { rules, policy: "0123456789abcdef".to_owned() }
}

fn event() -> Event {
    let mut generator = Generator::new(SEED);
    let number = generator.card("visa");
    let mut event = Event {
        time: Some(Time::from_seconds(1_000)),
        observed: Time::from_seconds(1_090),
        source: "sf-prod".into(),
        message: Some(format!("card {number} again")),
        query: Some("test 4111111111111111".to_owned()),
        ..Event::default()
    };
    event.actor.id = Some("005A".to_owned());
    event.target.r#type = Some("Contact".to_owned());
    event.target.ids = vec!["003B".to_owned()];
    event.changes = vec![
        Change {
            field: "Description".to_owned(),
            from: None,
            to: Some(format!("pan: {}", grouped(&number, "-"))),
        },
        Change { field: "SSN__c".to_owned(), from: Some(generator.ssn()), to: Some(String::new()) },
    ];
    event
}

#[test]
fn an_event_is_inspected_and_masked() {
    let mut event = event();
    let mut findings: Vec<Finding> = Vec::new();
    rules().inspect(&mut event, &key(), &mut findings);
    let seen: Vec<(&str, &str, Severity)> = findings
        .iter()
        .map(|finding| (finding.rule.as_str(), finding.title.as_str(), finding.severity))
        .collect();
    assert_eq!(
        seen,
        [
            ("dlp.payment_card", "Test card number in query", Severity::Info),
            ("dlp.payment_card", "Card number in Contact.Description", Severity::High),
            ("dlp.us_ssn", "Social-security number in Contact.SSN__c", Severity::High),
        ]
    );
    let finding = &findings[1];
    assert!(finding.detail.as_deref().unwrap().contains("2 times"), "{finding:?}");
    assert_eq!(finding.key, "dlp.payment_card|sf-prod|Contact|changes.Description");
    assert_eq!((finding.delay_seconds, finding.window_seconds), (Some(90), 3600));
    assert_eq!(finding.target.as_deref(), Some("Contact 003B"));
    assert_eq!(finding.field.as_deref(), Some("changes.Description"));
    let mut left = Vec::new();
    event.visit_text(&mut |path, text| scan(text, path, &mut left));
    assert!(left.is_empty(), "{left:?}");
    for finding in &findings {
        assert!(digits_of(finding.detail.as_deref().unwrap()).len() < 12);
    }
}

#[test]
fn without_rules_everything_is_masked_and_nothing_reported() {
    let mut event = event();
    let mut findings = Vec::new();
    Rules::default().inspect(&mut event, &key(), &mut findings);
    assert!(findings.is_empty());
    assert!(event.message.unwrap().contains("************"));
}

#[test]
fn exceptions_end() {
    let mut rules = rules();
    let mut findings = Vec::new();
    rules.inspect(&mut event(), &key(), &mut findings);
    let fingerprint = findings[1].fingerprint.clone().unwrap();
    let allow = |what, expires| Allow {
        what,
        reason: "agreed".to_owned(),
        author: "dana".to_owned(),
        expires: Time::from_seconds(expires),
    };
    rules.rules[0].allow = vec![allow(Allowed::Fingerprint(fingerprint.clone()), 2_000)];
    rules.rules[1].allow = vec![allow(Allowed::Field("changes.SSN__c".to_owned()), 2_000)];
    findings.clear();
    rules.inspect(&mut event(), &key(), &mut findings);
    assert_eq!(findings.len(), 1);
    rules.rules[0].allow = vec![allow(Allowed::Fingerprint(fingerprint), 1_000)];
    findings.clear();
    rules.inspect(&mut event(), &key(), &mut findings);
    assert_eq!(findings.len(), 2);
}

/// An exception names a number by the fingerprint of the quarter in which it was seen. It holds in the next
/// one, as long as the key is there.
#[test]
fn exceptions_outlive_the_quarter() {
    let mut rules = rules();
    let mut findings = Vec::new();
    rules.inspect(&mut event(), &key(), &mut findings);
    let found = findings.len();
    rules.rules[0].allow = vec![Allow {
        what: Allowed::Fingerprint(findings[1].fingerprint.clone().unwrap()),
        reason: "agreed".to_owned(),
        author: "dana".to_owned(),
        expires: Time::from_seconds(2_000),
    }];
    let next = Key::new(20271, Zeroizing::new([8; 32]));
    for (others, expected) in [(vec![key()], found - 1), (vec![], found)] {
        findings.clear();
        rules.inspect(&mut event(), KeyRing { current: &next, others: &others }, &mut findings);
        assert_eq!(findings.len(), expected);
        assert!(findings.iter().all(|one| one.fingerprint.as_ref().unwrap().starts_with("20271:")));
    }
}

#[test]
fn unparsed_text_is_inspected() {
    let mut findings = Vec::new();
    let text = fill(SEED, "\u{0}garbage ssn={ssn:plain} {card}");
    let found = rules().look_unparsed(&text, &key());
    rules().report(&found, &Event::default(), KeyRing::from(&key()), &mut findings);
    let ids: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(ids, ["dlp.payment_card", "dlp.us_ssn"]);
}

#[test]
fn a_whole_list_in_one_record_is_counted() {
    let mut generator = Generator::new(SEED);
    let list: String = (0..5_000).map(|_| generator.fill("{ssn}\n").unwrap()).collect();
    let mut event = Event { message: Some(list), ..Event::default() };
    let mut findings = Vec::new();
    rules().inspect(&mut event, &key(), &mut findings);
    assert_eq!(findings.len(), 32);
    assert!(findings[31].detail.as_deref().unwrap().contains(" more numbers in this record"));
    assert!(event.message.unwrap().lines().all(|line| line.starts_with("***-**-")));
}

/// How fast, on this machine. Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn speed_on_text_without_numbers() {
    let line = "{\"kind\":\"note\",\"author\":\"Zoe Miller\",\"body\":\"Called about the renewal at 14:05, will send 3 offers. Version 2.4.1 of the contract from 2024-06-07 applies; ticket CS-20412.\"}\n";
    let text = line.repeat(50_000);
    let start = std::time::Instant::now();
    assert_eq!(mask(&text), None);
    let seconds = start.elapsed().as_secs_f64();
    println!("{:.0} MB/s", text.len() as f64 / seconds / 1e6);
}

/// Text without digits of its own, so that nothing joins the number.
fn words() -> impl Strategy<Value = String> {
    "[a-z ,;!é漢\"{}]{0,40} "
}

proptest! {
    #[test]
    fn an_embedded_card_is_masked_in_every_form(
        seed in any::<u64>(),
        before in words(),
        after in " [a-z ,;!é漢\"{}]{0,40}",
        gap in prop::sample::select(GAPS),
        network in prop::sample::select(vec!["visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay"]),
        script in prop::sample::select(vec![0usize, 1, 2, 3]),
    ) {
        let number = Generator::new(seed).card(network);
        // A separator that is itself spelled with digits would be rewritten with them.
        let script = if gap.bytes().any(|byte| byte.is_ascii_digit()) { 0 } else { script };
        let spelled: String = grouped(&number, gap)
            .chars()
            .map(|c| if c.is_ascii_digit() { SCRIPTS[script](c) } else { c.to_string() })
            .collect();
        let text = format!("{before}{spelled}{after}");
        let masked = mask(&text);
        prop_assert!(masked.is_some(), "{}", text);
        let masked = masked.unwrap_or_default();
        let left: String = masked
            .chars()
            .filter_map(|c| c.to_digit(10).map(|_| c).or_else(|| foreign(c)))
            .collect();
        prop_assert!(!left.contains(&number), "{} left in {}", left, masked);
        prop_assert!(!left.contains(&number[..13]), "{} left in {}", left, masked);
        prop_assert_eq!(mask(&masked), None);
    }

    #[test]
    fn masking_masked_text_changes_nothing(text in "[0-9 .\\-]{0,60}|(card|ssn|id|[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{4} |4[0-9]{15}|[ ,=:%&;\\\\u]){0,20}") {
        if let Some(masked) = mask(&text) {
            prop_assert_eq!(mask(&masked), None, "{} from {}", masked, text);
            prop_assert!(digits_of(&masked).len() < digits_of(&text).len());
        }
        for path in ["ssn", "card", "order_id"] {
            if let Some(masked) = mask_with_context(path, &text) {
                prop_assert_eq!(mask_with_context(path, &masked), None);
                prop_assert_eq!(mask(&masked), None);
            } else {
                prop_assert_eq!(mask(&text), None);
            }
        }
    }

    #[test]
    fn no_text_panics_and_offsets_are_boundaries(text in "\\PC{0,80}|[\\x00-\\x7f]{0,80}|([0-9]|[\\\\%&#;xu+\\-. é漢０٠]|nbsp;|00|25|EF){0,80}") {
        let mut hits = Vec::new();
        scan(&text, "changes.x", &mut hits);
        for hit in &hits {
            prop_assert!(text.get(hit.start..hit.end).is_some());
            prop_assert!(hit.start < hit.end);
        }
        for pair in hits.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start);
        }
        let _ = mask(&text);
        let _ = scan_line(1, &text, &key()).count();
    }

    #[test]
    fn generated_numbers_have_their_form(seed in any::<u64>()) {
        let mut generator = Generator::new(seed);
        for network in ["visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay"] {
            let digits: Vec<u8> = generator.card(network).bytes().map(|b| b - b'0').collect();
            prop_assert!(networks::luhn(&digits) && networks::network(&digits).is_some_and(|n| n.strong));
        }
        let wrong: Vec<u8> = generator.luhn_fail().bytes().map(|b| b - b'0').collect();
        prop_assert!(!networks::luhn(&wrong));
        let number = generator.ssn();
        prop_assert!(number.len() == 9 && !number.starts_with("000") && !number.starts_with("666"));
    }
}

fn foreign(character: char) -> Option<char> {
    let point = character as u32;
    [0xff10, 0x660, 0x6f0]
        .into_iter()
        .find(|zero| (*zero..*zero + 10).contains(&point))
        .and_then(|zero| char::from_digit(point - zero, 10))
}
