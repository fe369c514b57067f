//! Who gets an alert: the first route that matches decides.
//!
//! ```yaml
//! routes:
//!   - match: { severity: [high, critical], rule: [dlp.] }
//!     receivers: [security, archive]
//!     escalate: { after: 30m, receivers: [manager] }   # when nobody acknowledges
//!   - receivers: [archive]
//! ```
//!
//! The members of `match` must all hold; of the values of one member any may hold; a route without
//! `match` matches everything. An incident about a receiver (it is failing) is never sent to that
//! receiver: where this leaves a route without receivers, the next one that matches is asked.

use crate::model::event::System;
use crate::model::{Finding, Severity, duration};
use serde::Deserialize;

/// One route of the configuration.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What it takes; everything where absent.
    #[serde(default)]
    pub r#match: Match,
    /// Names of receivers.
    #[serde(default)]
    pub receivers: Vec<String>,
    /// Who is told when nobody acknowledges.
    #[serde(default)]
    pub escalate: Option<Escalate>,
}

/// Who is told when nobody acknowledged an incident in time, and again every such time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalate {
    /// How long is waited.
    pub after: Wait,
    /// Names of receivers.
    pub receivers: Vec<String>,
}

/// Seconds, written as a duration of a minute to a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Wait(pub u64);

impl TryFrom<String> for Wait {
    type Error = String;

    fn try_from(text: String) -> Result<Wait, String> {
        duration::parse(&text)
            .filter(|seconds| (60..=7 * 86_400).contains(seconds))
            .map(Wait)
            .ok_or_else(|| format!("`{text}` is not a duration of a minute to seven days: 30m, 4h"))
    }
}

/// What a route takes. An empty list does not restrict.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Any of these severities.
    #[serde(default)]
    pub severity: Vec<Severity>,
    /// A rule id that begins with any of these.
    #[serde(default)]
    pub rule: Vec<String>,
    /// Any of these products.
    #[serde(default)]
    pub system: Vec<System>,
    /// Any of these configured sources.
    #[serde(default)]
    pub source: Vec<String>,
}

/// What routing looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject<'a> {
    /// The incident's severity.
    pub severity: Severity,
    /// Its rule.
    pub rule: &'a str,
    /// The product of the source, where there is one.
    pub system: Option<System>,
    /// The source, where there is one.
    pub source: Option<&'a str>,
    /// The receiver that the incident is about, where it is about one.
    pub about_receiver: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// The subject of a finding that is not about a receiver.
    pub fn of(finding: &'a Finding, system: Option<System>) -> Subject<'a> {
        Subject {
            severity: finding.severity,
            rule: &finding.rule,
            system,
            source: finding.source.as_deref(),
            about_receiver: None,
        }
    }
}

impl Match {
    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        *self == Match::default()
    }

    /// Whether all of its members hold.
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        let rule = |prefix: &String| subject.rule.starts_with(prefix.as_str());
        (self.severity.is_empty() || self.severity.contains(&subject.severity))
            && (self.rule.is_empty() || self.rule.iter().any(rule))
            && any_of(&self.system, |system| subject.system == Some(*system))
            && any_of(&self.source, |source| subject.source == Some(source.as_str()))
    }
}

fn any_of<T>(list: &[T], holds: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(holds)
}

/// The receivers of an alert, each once, in the order of the route. Empty where nobody takes it; the
/// caller counts and shows that.
pub fn receivers<'r>(routes: &'r [Route], subject: &Subject<'_>) -> Vec<&'r str> {
    for route in routes.iter().filter(|route| route.r#match.holds(subject)) {
        let mut names: Vec<&str> = Vec::with_capacity(route.receivers.len());
        let wanted = route.receivers.iter().map(String::as_str);
        for name in wanted.filter(|name| subject.about_receiver != Some(*name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if !names.is_empty() || subject.about_receiver.is_none() {
            return names;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const ROUTES: &str = "\
- match: { severity: [high, critical] }
  receivers: [security, archive, security]
- match: { rule: [dlp.], system: [sap] }
  receivers: [steward]
- match: { source: [quiet] }
- receivers: [archive]
";

    fn routes() -> Vec<Route> {
        crate::yaml::parse("routes", ROUTES).unwrap()
    }

    fn subject(severity: Severity, rule: &'static str) -> Subject<'static> {
        Subject { severity, rule, system: Some(System::Sap), source: Some("erp"), about_receiver: None }
    }

    #[test]
    fn the_first_matching_route_decides() {
        let routes = routes();
        assert_eq!(receivers(&routes, &subject(Severity::High, "dlp.x")), ["security", "archive"]);
        assert_eq!(receivers(&routes, &subject(Severity::Low, "dlp.x")), ["steward"]);
        assert_eq!(receivers(&routes, &subject(Severity::Low, "access.x")), ["archive"]);
        let web = Subject { system: Some(System::Web), ..subject(Severity::Low, "dlp.x") };
        assert_eq!(receivers(&routes, &web), ["archive"]);
        let quiet = Subject { source: Some("quiet"), ..subject(Severity::Low, "x") };
        assert!(receivers(&routes, &quiet).is_empty(), "a route without receivers is a decision too");
        assert!(receivers(&[], &quiet).is_empty());
    }

    #[test]
    fn a_failing_receiver_is_not_told_about_itself() {
        let routes = routes();
        let about = |name| Subject { about_receiver: Some(name), ..subject(Severity::High, "operation.x") };
        assert_eq!(receivers(&routes, &about("security")), ["archive"]);
        let only = [
            Route { receivers: vec!["security".into()], ..Route::default() },
            Route { receivers: vec!["archive".into()], ..Route::default() },
        ];
        assert_eq!(receivers(&only, &about("security")), ["archive"]);
        assert_eq!(receivers(&only, &about("archive")), ["security"]);
        assert!(receivers(&only[..1], &about("security")).is_empty());
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(crate::yaml::parse::<Vec<Route>>("r", "- match: { severty: [high] }\n").is_err());
        assert!(crate::yaml::parse::<Vec<Route>>("r", "- match: { severity: [urgent] }\n").is_err());
    }
}
