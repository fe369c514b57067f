//! What programs get of an alert: the bodies for webhooks, Slack, PagerDuty, Alertmanager and a SIEM. Pure.
//!
//! Invariants:
//! * text from a log is data everywhere: JSON escapes it, Slack gets it in `plain_text` objects that nothing in it
//!   can turn into a link or a mention, CEF and structured data escape what ends a value;
//! * the same alert has the same id on every way: `ALR-…` of the deployment;
//! * nothing is sent that [`super::Notice`] does not hold, so what was hidden there stays hidden.

use super::render::subject;
use super::text::{cut, from_log, visible};
use super::{Anchor, Notice, Reason};
use crate::model::{Severity, Time};
use serde_json::{Value, json};

/// Version of [`webhook`]'s form.
const SCHEMA: u32 = 1;

/// Our own form: every member of the alert under its name.
pub fn webhook(notice: &Notice) -> Value {
    let anchor = match &notice.anchor {
        Anchor::Unanchored => json!({ "anchored": false }),
        Anchor::Anchored { size, by } => json!({ "anchored": true, "size": size, "by": by }),
    };
    json!({
        "schema_version": SCHEMA, "type": "crmwarden.alert", "deployment": notice.deployment,
        "alert": notice.stem(), "incident": notice.thread(), "severity": notice.severity.as_str(),
        "reason": notice.reason.as_str(), "title": notice.title, "detail": notice.detail,
        "actor": notice.actor, "actor_name": notice.actor_name, "source": notice.source,
        "target": notice.target, "field": notice.field, "locators": notice.locators,
        "entries": notice.entries, "rule": notice.rule, "policy": notice.policy,
        "controls": notice.controls, "next": notice.next, "event_time": notice.event_time,
        "observed": notice.observed, "findings": notice.findings, "anchor": anchor,
        "checkpoint": notice.checkpoint, "host": notice.host,
    })
}

/// Whether it says that an incident is over.
fn is_over(notice: &Notice) -> bool {
    notice.reason == Reason::Closed
}

/// A message for a Slack incoming webhook (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).
pub fn slack(notice: &Notice) -> Value {
    let plain = |text: String| json!({ "type": "plain_text", "emoji": false, "text": text });
    let mut fields = vec![plain(format!("Severity: {}", notice.severity))];
    let mut add = |name: &str, text: Option<&String>| {
        if let Some(text) = text {
            fields.push(plain(cut(&format!("{name}: {}", from_log(text)), 1900)));
        }
    };
    add("Who", notice.actor_name.as_ref().or(notice.actor.as_ref()));
    add("Records", notice.target.as_ref());
    add("Source", notice.source.as_ref());
    add("Rule", Some(&notice.rule).filter(|rule| !rule.is_empty()));
    add("Incident", Some(&notice.incident).filter(|incident| !incident.is_empty()));
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(cut(&from_log(&notice.title), 150)) }),
        json!({ "type": "section", "fields": fields }),
    ];
    for (name, text) in
        [("What happened", notice.detail.as_deref()), ("What to do next", Some(notice.next.as_str()))]
    {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            blocks.push(json!({ "type": "section", "text": plain(cut(&format!("{name}: {}", from_log(text)), 2900)) }));
        }
    }
    // The fallback for notifications: Slack reads `<`, `>` and `&` there, so they are escaped as its manual says.
    let text = subject(notice).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": text, "blocks": blocks })
}

/// An event for PagerDuty (Events API v2). One incident here is one there: the key is the same for all of its alerts.
pub fn pagerduty(notice: &Notice, routing_key: &str) -> Value {
    let action = match notice.reason {
        Reason::Acknowledged => "acknowledge",
        Reason::Closed => "resolve",
        _ => "trigger",
    };
    let severity = match notice.severity {
        Severity::Critical => "critical",
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "info",
    };
    let thread = if notice.incident.is_empty() { notice.stem() } else { notice.thread() };
    let mut details = webhook(notice);
    if let Some(members) = details.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        members.remove("checkpoint");
    }
    json!({
        "routing_key": routing_key, "event_action": action,
        "dedup_key": cut(&format!("{}/{thread}", notice.deployment), 255),
        "payload": {
            "summary": cut(&subject(notice), 1024), "source": notice.deployment, "severity": severity,
            "timestamp": notice.event_time, "component": notice.source, "class": notice.rule,
            "custom_details": details,
        },
    })
}

/// Seconds after which Alertmanager lets an alert go that it was not reminded of.
pub const ALERTMANAGER_HOLDS: i64 = 900;

/// The body of Alertmanager's `POST /api/v2/alerts`. The labels are the alert's identity there: an incident that becomes
/// worse is another alert, and the one of its old severity ends by itself when it is not reminded of.
pub fn alertmanager(notice: &Notice, now: Time) -> Value {
    // It refuses what ends before it begins.
    let ends = if is_over(notice) {
        now.max(notice.event_time.plus_seconds(1))
    } else {
        now.plus_seconds(ALERTMANAGER_HOLDS)
    };
    let mut labels = json!({
        "alertname": notice.rule, "severity": notice.severity.as_str(), "deployment": notice.deployment,
        "incident": if notice.incident.is_empty() { notice.stem() } else { notice.thread() },
    });
    if let (Some(labels), Some(source)) = (labels.as_object_mut(), &notice.source) {
        labels.insert("source".into(), json!(source));
    }
    json!([{
        "labels": labels,
        "annotations": {
            "summary": from_log(&notice.title), "description": notice.detail.as_deref().map(from_log).unwrap_or_default(),
            "action": visible(&notice.next),
        },
        "startsAt": notice.event_time, "endsAt": ends,
    }])
}

/// A Detection Finding of OCSF 1.3 (class 2004).
pub fn ocsf(notice: &Notice) -> Value {
    let severity = match notice.severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    let (activity, status) = match notice.reason {
        Reason::Closed => (3, 4),
        Reason::Opened | Reason::Test | Reason::Digest => (1, 1),
        Reason::Acknowledged => (2, 2),
        _ => (2, 1),
    };
    json!({
        "class_uid": 2004, "category_uid": 2, "activity_id": activity, "type_uid": 200_400 + activity,
        "severity_id": severity, "status_id": status, "time": notice.event_time.micros() / 1000,
        "message": from_log(&notice.title),
        "metadata": { "version": "1.3.0", "uid": notice.stem(), "product": {
            "name": "crmwarden", "vendor_name": "crmwarden", "version": env!("CARGO_PKG_VERSION") } },
        "finding_info": { "uid": if notice.incident.is_empty() { notice.stem() } else { notice.thread() },
            "title": from_log(&notice.title), "desc": notice.detail.as_deref().map(from_log),
            "analytic": { "name": notice.rule, "type_id": 1 } },
        "remediation": { "desc": visible(&notice.next) },
        "unmapped": { "deployment": notice.deployment, "actor": notice.actor, "actor_name": notice.actor_name,
            "source": notice.source, "entries": notice.entries, "controls": notice.controls },
    })
}

/// One line of ArcSight's Common Event Format, version 0.
pub fn cef(notice: &Notice) -> String {
    let header = |text: &str| visible(text).replace('\\', "\\\\").replace('|', "\\|");
    let value = |text: &str| visible(text).replace('\\', "\\\\").replace('=', "\\=");
    let severity = match notice.severity {
        Severity::Info => 1,
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    };
    let mut line = format!(
        "CEF:0|crmwarden|crmwarden|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        header(&notice.rule),
        header(&cut(&notice.title, 500)),
    );
    let mut members = vec![
        format!("rt={}", notice.event_time.micros() / 1000),
        format!("externalId={}", value(&notice.stem())),
        format!("dvchost={}", value(&notice.host)),
        format!("cs1Label=deployment cs1={}", value(&notice.deployment)),
        format!("reason={}", notice.reason.as_str()),
    ];
    let optional = [
        ("cs2Label=incident cs2", Some(&notice.incident).filter(|incident| !incident.is_empty())),
        ("suid", notice.actor.as_ref()),
        ("suser", notice.actor_name.as_ref()),
        ("cs3Label=source cs3", notice.source.as_ref()),
        ("cs4Label=records cs4", notice.target.as_ref()),
        ("msg", notice.detail.as_ref()),
    ];
    members.extend(
        optional.into_iter().filter_map(|(name, text)| Some(format!("{name}={}", value(&cut(text?, 1000))))),
    );
    line.push_str(&members.join(" "));
    line
}

/// A message of RFC 5424: facility 13 (log audit), the body as it is.
pub fn syslog(notice: &Notice, body: &str, now: Time) -> String {
    const FACILITY: u32 = 13;
    let severity = match notice.severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Info => 6,
    };
    let plain = |text: &str, longest: usize| {
        let name: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
        if name.is_empty() { "-".to_owned() } else { name }
    };
    format!(
        "<{}>1 {now} {} crmwarden - {} - {body}",
        FACILITY * 8 + severity,
        plain(&notice.host, 255),
        plain(&notice.stem(), 32),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Somebody who controls a name in a log.
    const HOSTILE: &str = "<!channel> <https://evil.example|ok> | cs9=x \\ \n\"}]} \u{202e}\r\nX: y";

    fn notice(reason: Reason) -> Notice {
        Notice {
            deployment: "acme.example".into(),
            alert: "ALR-7".into(),
            incident: "INC-5".into(),
            severity: Severity::High,
            reason,
            title: format!("Bulk read: {HOSTILE}"),
            detail: Some(HOSTILE.into()),
            actor_name: Some(HOSTILE.into()),
            rule: "detection.bulk_rows".into(),
            next: "Look.".into(),
            host: "host one".into(),
            event_time: Time::from_seconds(1_767_600_000),
            ..Notice::default()
        }
    }

    #[test]
    fn slack_shows_text_and_obeys_none() {
        let body = slack(&notice(Reason::Opened));
        let text = body["text"].as_str().unwrap();
        assert!(!text.contains('<') && text.contains("&lt;!channel&gt;"), "{text}");
        fn objects(value: &Value, found: &mut Vec<Value>) {
            match value {
                Value::Object(members) => {
                    if members.contains_key("emoji") {
                        found.push(value.clone());
                    }
                    members.values().for_each(|value| objects(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| objects(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        objects(&body["blocks"], &mut found);
        assert!(found.len() > 5);
        for object in found {
            assert_eq!(object["type"], "plain_text");
            let text = object["text"].as_str().unwrap();
            assert!(
                !text.contains("https://") && !text.contains('\n') && !text.contains('\u{202e}'),
                "{text}"
            );
            assert!(text.chars().count() <= 3000);
        }
        assert!(!body.to_string().contains("mrkdwn"));
    }

    #[test]
    fn cef_and_syslog_are_one_line_with_escapes() {
        let line = cef(&notice(Reason::Opened));
        assert!(!line.contains('\n') && !line.contains('\r'));
        let parts: Vec<&str> = line.split('|').collect();
        assert_eq!(parts[..3], ["CEF:0", "crmwarden", "crmwarden"]);
        assert!(line.contains("\\| cs9=x \\\\"), "{line}");
        assert!(line.contains("cs9\\=x"), "a value cannot begin another member: {line}");
        let message = syslog(&notice(Reason::Opened), &line, Time::from_seconds(1_767_600_000));
        assert!(
            message.starts_with("<107>1 2026-01-05T08:00:00.000000Z hostone crmwarden - ALR-7 - CEF:0|"),
            "{message}"
        );
    }

    #[test]
    fn an_incident_is_one_there_and_ends_there() {
        let of = |reason| pagerduty(&notice(reason), "k");
        let (opened, seen, over) = (of(Reason::Opened), of(Reason::Acknowledged), of(Reason::Closed));
        assert_eq!(
            [&opened, &seen, &over].map(|it| it["event_action"].as_str().unwrap()),
            ["trigger", "acknowledge", "resolve"]
        );
        assert_eq!(
            (&opened["dedup_key"], &over["dedup_key"]),
            (&json!("acme.example/INC-5"), &json!("acme.example/INC-5"))
        );
        let now = Time::from_seconds(1_767_700_000);
        let (open, closed) =
            (alertmanager(&notice(Reason::Opened), now), alertmanager(&notice(Reason::Closed), now));
        assert_eq!(open[0]["labels"], closed[0]["labels"]);
        assert_eq!(closed[0]["endsAt"], json!(now));
        assert_ne!(open[0]["endsAt"], json!(now));
        assert_eq!(
            (
                ocsf(&notice(Reason::Closed))["type_uid"].as_u64(),
                ocsf(&notice(Reason::Opened))["activity_id"].as_u64()
            ),
            (Some(200_403), Some(1))
        );
    }
}
