//! The examples in an access policy, and their proof.
//!
//! An example is an event (a flat map of dotted paths) with what its actor holds, or a list of grants that
//! stand for a whole snapshot. `expect` is `quiet`, `excepted`, `not_observable`, the id of a rule, or the
//! id of a limit of this file.

use super::{AccessFile, line};
use crate::inspect::privilege::{
    Coverage, DISABLED_HOLDER, Held, OVER_GRANT, RULES, Rules, Scope, TOO_FEW_HOLDERS, TOO_MANY_HOLDERS,
    USE_OUTSIDE_POLICY,
};
use crate::model::Time;
use crate::model::event::{Event, System};
use crate::model::finding::{Finding, Severity};
use crate::model::grant::Grant;
use crate::yaml::{Problem, nearest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExample {
    name: String,
    event: Option<BTreeMap<String, Scalar>>,
    #[serde(default)]
    holds: Vec<String>,
    grants: Option<Vec<Grant>>,
    system: Option<System>,
    time: Option<String>,
    expect: String,
}

/// A value in an example event.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<String>),
}

/// What an example gave.
struct Outcome {
    findings: Vec<Finding>,
    not_observable: bool,
}

const QUIET: &str = "quiet";
const EXCEPTED: &str = "excepted";
const NOT_OBSERVABLE: &str = "not_observable";

pub(super) fn check(access: &AccessFile) -> Vec<Problem> {
    let rules = Rules::new(vec![access.policy.clone()]);
    let mut problems = Vec::new();
    for example in &access.examples {
        if let Err((what, cure)) = prove(access, &rules, &example.value) {
            let what = format!("example `{}`: {what}", example.value.name);
            let problem = Problem::at(&access.file, line(example), what);
            problems.push(if cure.is_empty() { problem } else { problem.cure(cure) });
        }
    }
    problems.extend(missing(access));
    problems
}

fn prove(access: &AccessFile, rules: &Rules, example: &RawExample) -> Result<(), (String, String)> {
    let limits = access.policy.limits.iter().map(|limit| limit.id.as_str());
    let known: Vec<&str> = [QUIET, EXCEPTED, NOT_OBSERVABLE].into_iter().chain(RULES).chain(limits).collect();
    let expect = example.expect.as_str();
    if !known.contains(&expect) {
        let cure = nearest(expect, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let cure = cure.unwrap_or_else(|| format!("known: {}", known.join(", ")));
        return Err((format!("unknown expectation `{expect}`"), cure));
    }
    let outcome = match (&example.event, &example.grants) {
        (Some(event), None) => on_event(access, rules, example, event)?,
        (None, Some(grants)) => on_grants(access, rules, example, grants)?,
        _ => return Err(("it needs either `event` or `grants`".into(), String::new())),
    };
    match met(&outcome, expect) {
        true => Ok(()),
        false => Err((format!("expected {expect}, but {}", said(&outcome)), String::new())),
    }
}

fn is_excepted(finding: &Finding) -> bool {
    finding.severity == Severity::Info
        && finding.detail.as_ref().is_some_and(|detail| detail.starts_with("excepted by "))
}

fn met(outcome: &Outcome, expect: &str) -> bool {
    let mut loud = outcome.findings.iter().filter(|finding| !is_excepted(finding));
    match expect {
        QUIET => outcome.findings.is_empty() && !outcome.not_observable,
        NOT_OBSERVABLE => outcome.not_observable,
        EXCEPTED => loud.next().is_none() && outcome.findings.iter().any(is_excepted),
        rule => loud.any(|finding| finding.rule == rule || is_of_limit(finding, rule)),
    }
}

/// The grouping key of a limit's finding ends with the limit's id.
fn is_of_limit(finding: &Finding, id: &str) -> bool {
    let of_limits = [TOO_MANY_HOLDERS, TOO_FEW_HOLDERS].contains(&finding.rule.as_str());
    of_limits && finding.key.rsplit('|').next() == Some(id)
}

fn said(outcome: &Outcome) -> String {
    let titles: Vec<String> =
        outcome.findings.iter().map(|finding| format!("{} ({})", finding.rule, finding.title)).collect();
    match (titles.is_empty(), outcome.not_observable) {
        (true, true) => "it was not observable".into(),
        (true, false) => "it stayed quiet".into(),
        (false, _) => format!("it gave {}", titles.join("; ")),
    }
}

/// When nothing else is said. Exceptions are tried with an explicit time.
const DEFAULT_TIME: &str = "2026-01-01T00:00:00Z";

fn system(access: &AccessFile, example: &RawExample) -> System {
    example.system.or(access.policy.systems.first().copied()).unwrap_or(System::Custom)
}

fn time(example: &RawExample) -> Result<Time, (String, String)> {
    let text = example.time.as_deref().unwrap_or(DEFAULT_TIME);
    super::date(text)
        .ok_or_else(|| ("`time` is not a time".into(), "write 2026-12-31, or a full time".into()))
}

fn source(access: &AccessFile) -> &str {
    access.policy.sources.first().map_or("example", String::as_str)
}

fn on_event(
    access: &AccessFile,
    rules: &Rules,
    example: &RawExample,
    paths: &BTreeMap<String, Scalar>,
) -> Result<Outcome, (String, String)> {
    let mut event = event(paths)?;
    if !paths.contains_key("system") {
        event.system = system(access, example);
    }
    if !paths.contains_key("source") {
        event.source = source(access).into();
    }
    event.time = event.time.or(Some(time(example)?));
    let mut held = Held::default();
    if !example.holds.is_empty() {
        let id = event.actor.id.get_or_insert_with(|| "example".to_owned()).clone();
        let grant = |permission: &String| Grant {
            principal: id.clone(),
            name: event.actor.name.clone(),
            permission: permission.clone(),
            path: "role".to_owned(),
            ..Grant::default()
        };
        let grants: Vec<Grant> = example.holds.iter().map(grant).collect();
        let scope = Scope { system: event.system, tenant: event.tenant.clone() };
        held.apply(&scope, &event.source, true, &grants, &[]);
    }
    let (mut findings, mut coverage) = (Vec::new(), Coverage::default());
    rules.inspect(&event, &held, &mut findings, &mut coverage);
    let not_observable = coverage.reasons().any(|(_, count)| count > 0);
    Ok(Outcome { findings, not_observable })
}

fn on_grants(
    access: &AccessFile,
    rules: &Rules,
    example: &RawExample,
    grants: &[Grant],
) -> Result<Outcome, (String, String)> {
    if let Some(grant) = grants.iter().find(|grant| grant.principal.is_empty() || grant.permission.is_empty())
    {
        let who = if grant.principal.is_empty() { "principal" } else { "permission" };
        return Err((format!("a grant without `{who}`"), String::new()));
    }
    let scope = Scope { system: system(access, example), tenant: None };
    let mut held = Held::default();
    held.apply(&scope, source(access), true, grants, &[]);
    let mut findings = Vec::new();
    rules.snapshot(&held, scope.system, None, time(example)?, &mut findings);
    Ok(Outcome { findings, not_observable: false })
}

/// The event that dotted paths describe.
fn event(paths: &BTreeMap<String, Scalar>) -> Result<Event, (String, String)> {
    let mut whole = Map::new();
    for (path, value) in paths {
        let value = json_of(path, value)?;
        match path.split_once('.') {
            None => {
                whole.insert(path.clone(), value);
            }
            Some((object, member)) => {
                let object = whole.entry(object).or_insert_with(|| Value::Object(Map::new()));
                if let Some(object) = object.as_object_mut() {
                    object.insert(member.to_owned(), value);
                }
            }
        }
    }
    if let Some(changes) = whole.get_mut("changes") {
        let fields = changes.get("field").cloned().unwrap_or_default();
        let list = fields.as_array().cloned().unwrap_or_default();
        *changes = list.into_iter().map(|field| json!({ "field": field })).collect();
    }
    serde_json::from_value(Value::Object(whole)).map_err(|error| (error.to_string(), String::new()))
}

fn json_of(path: &str, value: &Scalar) -> Result<Value, (String, String)> {
    if !Event::PATHS.contains(&path) && !path.starts_with("extra.") {
        let cure =
            nearest(path, Event::PATHS.iter().copied()).map(|known| format!("did you mean `{known}`?"));
        return Err((format!("unknown path `{path}`"), cure.unwrap_or_default()));
    }
    const LISTS: [&str; 4] = ["actor.roles", "target.ids", "fields", "changes.field"];
    let number = path.starts_with("volume.") || path.starts_with("perf.");
    Ok(match value {
        Scalar::Text(text) if LISTS.contains(&path) => json!([text]),
        Scalar::Text(text) => json!(text),
        Scalar::Number(count) if number => json!(count),
        Scalar::Number(count) => json!(count.to_string()),
        Scalar::Bool(truth) => json!(truth),
        Scalar::List(values) => json!(values),
    })
}

/// Rules that the file uses without an example that fires and one that stays quiet.
fn missing(access: &AccessFile) -> Vec<Problem> {
    let policy = &access.policy;
    let has = |fits: &dyn Fn(&RawExample) -> bool| access.examples.iter().any(|example| fits(&example.value));
    let fires = |rule: &str| has(&|example| example.expect == rule);
    let quiet_event = has(&|example| example.event.is_some() && example.expect == QUIET);
    let quiet_grants = has(&|example| example.grants.is_some() && example.expect == QUIET);
    let mut needed: Vec<(&str, bool)> = Vec::new();
    if policy.roles.iter().any(|role| !role.may.is_empty()) {
        needed.push((USE_OUTSIDE_POLICY, quiet_event));
    }
    if !policy.roles.is_empty() {
        needed.push((OVER_GRANT, quiet_grants));
    }
    if !policy.sensitive.is_empty() {
        needed.push((DISABLED_HOLDER, quiet_grants));
    }
    needed.extend(policy.limits.iter().map(|limit| (limit.id.as_str(), quiet_grants)));
    let mut problems = Vec::new();
    for (rule, quiet) in needed {
        let mut problem = |what: String| problems.push(Problem::file(&access.file, what));
        if !fires(rule) {
            problem(format!("no example with `expect: {rule}`"));
        }
        if !quiet {
            problem(format!("no example that stays quiet where {rule} could fire"));
        }
    }
    problems.dedup();
    problems
}
