//! Alerts with calm and with hostile text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::text::{atom, cut, duration, from_log, visible, wrap};
use super::*;
use proptest::prelude::*;

const NOTE: &str = "acme.example/crmwarden/g1\n8123\nq3Yk1nYVYB2QmVq0GZ0mJQ0p0m1dXw0aT1h8l1o7m2c=\n\n\
— acme.example/crmwarden/g1 Hn7Zk0x1bYJ0Qm1vY2tQb2ludC1zaWduYXR1cmUtb2YtdGhlLXN0YWJsZS1rZXktMDAwMDAwMDAwMDAwMDAwMDAwMDA=\n\
— acme.example/crmwarden/g1/e3 2kV9p3x1bYJ0Qm1vY2tQb2ludC1zaWduYXR1cmUtb2YtdGhlLWVwb2NoLWtleS0wMDAwMDAwMDAwMDAwMDAwMDAwMDA=\n";

pub(crate) fn sample() -> Notice {
    Notice {
        deployment: "acme.example".into(),
        alert: "ALR-8121".into(),
        incident: "INC-8120".into(),
        severity: Severity::High,
        title: "Payment card number in a contact note".into(),
        detail: Some(
            "The field Description of Contact 0035g00000XyZ12 holds a payment card number (masked \
             ************4242, likelihood very high). The note was saved by a service account that \
             imports call transcripts."
                .into(),
        ),
        actor: Some("0055g000009AbCd".into()),
        actor_name: Some("Integration, Call Centre".into()),
        source: Some("sf-prod".into()),
        target: Some("Contact 0035g00000XyZ12".into()),
        field: Some("fields.Description".into()),
        locators: vec!["/var/log/crm/salesforce/2026-11-22_RestApi.csv @ 918273".into()],
        entries: vec![8118],
        rule: "dlp.payment_card".into(),
        policy: "9f86d081884c7d65".into(),
        controls: vec!["pci-dss/3.5.1".into(), "pci-dss/12.10.7".into(), "iso27001/A.8.12".into()],
        next: "Remove the number from the note, ask the owner of the import why it was stored, and decide \
               whether the exposure must be reported to the acquirer."
            .into(),
        event_time: Time::parse("2026-11-22T04:46:15.591Z").unwrap(),
        observed: Time::parse("2026-11-22T07:58:20Z").unwrap(),
        delay_seconds: Some(11_524),
        findings: 1,
        checkpoint: Some(NOTE.into()),
        verify: vec![
            "crmwarden verify /var/lib/crmwarden --trust trust.txt".into(),
            "crmwarden verify /var/lib/crmwarden --json".into(),
        ],
        host: "crm-audit-1.acme.example".into(),
        ..Notice::default()
    }
}

fn hostile() -> Notice {
    let evil = "x\r\nBcc: all@evil.example\r\n\r\n<script>alert(1)</script><img src=//evil.example/p.gif> \
                \u{202e}gpj.exe\u{202c} \u{1b}[2J\u{200b}zero\u{feff} \"'&amp; https://evil.example/login \
                WWW.evil.example";
    Notice {
        severity: Severity::Critical,
        reason: Reason::Escalated,
        title: evil.into(),
        detail: Some(format!("{evil}\n\nWhat to do next\n  Ignore this. {}", "A".repeat(2_500))),
        actor: Some(evil.into()),
        actor_name: Some("</td></table><style>*{display:none}</style>".into()),
        target: Some(format!("Contact {}", "é".repeat(300))),
        locators: (0..20).map(|n| format!("/srv/feed/<b>{n}</b>.csv @ {n}")).collect(),
        entries: (100..120).collect(),
        findings: 20,
        delay_seconds: None,
        checkpoint: None,
        anchor: Anchor::Anchored { size: 99, by: "witness.example".into() },
        ..sample()
    }
}

#[test]
fn calm() {
    let notice = sample();
    insta::assert_snapshot!("calm_subject", render::subject(&notice));
    insta::assert_snapshot!("calm_plain", render::plain(&notice));
    insta::assert_snapshot!("calm_html", render::html(&notice));
}

#[test]
fn hostile_text_stays_text() {
    let notice = hostile();
    insta::assert_snapshot!("hostile_subject", render::subject(&notice));
    insta::assert_snapshot!("hostile_plain", render::plain(&notice));
    let html = render::html(&notice);
    insta::assert_snapshot!("hostile_html", html);
    for tag in ["<script", "<img", "<b>", "</table><style>", "href", "src="] {
        let inside_text = tag == "src=" && html.contains("&lt;img src=");
        assert!(inside_text || !html.contains(tag), "{tag}");
    }
}

#[test]
fn an_alert_says_everything() {
    let notice = sample();
    for body in [render::plain(&notice), render::html(&notice)] {
        let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "INC-8120",
            "ALR-8121",
            "Payment card number in a contact note",
            "Integration, Call Centre (id 0055g000009AbCd)",
            "Contact 0035g00000XyZ12",
            "fields.Description",
            "2026-11-22_RestApi.csv @ 918273",
            "entry 8118",
            "dlp.payment_card",
            "9f86d081884c7d65",
            "pci-dss/3.5.1, pci-dss/12.10.7, iso27001/A.8.12",
            "Remove the number from the note",
            "2026-11-22 04:46:15 UTC",
            "The record reached us 3 h 12 min after the event (feed delay).",
            "unanchored",
            "acme.example/crmwarden/g1/e3 2kV9p3x1b",
            "crmwarden verify /var/lib/crmwarden --trust trust.txt",
            "crm-audit-1.acme.example",
        ] {
            assert!(body.contains(part), "{part} is missing in {body}");
        }
    }
}

#[test]
fn durations_in_words() {
    for (seconds, words) in [
        (0, "less than a second"),
        (42, "42 s"),
        (60, "1 min"),
        (11_524, "3 h 12 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
        (86_460, "1 d"),
    ] {
        assert_eq!(duration(seconds), words);
    }
}

#[test]
fn cut_and_atoms() {
    assert_eq!(cut("abc", 3), "abc");
    assert_eq!(cut("ab cd", 4), "ab…");
    assert_eq!(atom("INC-4 é@\n"), "INC-4=20=C3=A9=40=0A");
    assert_eq!(visible("a\u{202e}b\u{0}"), "a[U+202E]b[U+0000]");
    assert_eq!(
        from_log("see http://x.example and wWw.y.example"),
        "see http[:]//x.example and wWw[.]y.example"
    );
    assert!(visible(&"x".repeat(5_000)).ends_with("(3800 more characters are in the trail)"));
}

#[test]
fn a_second_generation_has_other_ids() {
    let notice = Notice { generation: 2, ..sample() };
    assert_eq!((notice.stem().as_str(), notice.thread().as_str()), ("ALR-8121.g2", "INC-8120.g2"));
}

proptest! {
    #[test]
    fn no_text_steers_a_display(text in any::<String>()) {
        let notice = Notice {
            title: text.clone(), detail: Some(text.clone()), actor: Some(text.clone()), next: text.clone(),
            rule: text.clone(), deployment: text.clone(), host: text.clone(), incident: text.clone(),
            checkpoint: Some(text.clone()), verify: vec![text.clone()], target: Some(text),
            ..sample()
        };
        let subject = render::subject(&notice);
        prop_assert!(subject.chars().count() <= render::SUBJECT_MAX);
        prop_assert!(!subject.chars().any(char::is_control));
        let steers = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        prop_assert!(!render::plain(&notice).chars().any(steers));
        prop_assert!(!render::html(&notice).chars().any(steers));
    }

    #[test]
    fn wrapping_keeps_every_word(text in "[a-zé ]{0,400}", width in 8usize..80) {
        let mut out = String::new();
        wrap(&text, "  ", width, &mut out);
        prop_assert!(out.lines().all(|line| line.chars().count() <= width));
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(squeeze(&out), squeeze(&text));
    }
}
