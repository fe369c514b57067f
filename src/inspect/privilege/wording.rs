//! The findings of this layer in words: who, what, by which path, and the smallest change that closes it.

use super::held::{Held, Holders, Row};
use super::judge::Why;
use super::names::{same, same_id};
use super::rules::{Compiled, Exception, RoleSet, Terms, USE_OUTSIDE_POLICY};
use crate::model::Time;
use crate::model::event::{Action, Event, System};
use crate::model::finding::{Finding, FindingKind, Severity};
use std::fmt::Write;

/// Uses of one person on one object within a day are one incident.
const USE_WINDOW_SECONDS: u64 = 86_400;
/// Snapshots come daily or weekly and repeat what nobody has mended; that is one incident for a month.
pub(super) const HELD_WINDOW_SECONDS: u64 = 30 * 86_400;

/// Whom and what a finding is about, for exceptions.
pub(super) struct Subject<'a> {
    pub(super) system: System,
    /// The rule's id, and the limit's where there is one.
    pub(super) rules: [&'a str; 2],
    pub(super) id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    /// The permission or the object.
    pub(super) what: &'a str,
}

/// The exception in force at that time, if one matches.
pub(super) fn exception<'a>(
    policy: &'a Compiled,
    subject: &Subject<'_>,
    time: Time,
) -> Option<&'a Exception> {
    policy.policy.exceptions.iter().find(|exception| {
        let who = |text: &str| match subject.system {
            System::Salesforce => same_id(subject.system, text, &exception.who) || same(text, &exception.who),
            _ => same_id(subject.system, text, &exception.who),
        };
        exception.from <= time
            && time < exception.expires
            && subject.rules.contains(&exception.rule.as_str())
            && exception.what.as_deref().is_none_or(|what| same(what, subject.what))
            && (exception.who == "*"
                || subject.id.is_some_and(who)
                || subject.name.is_some_and(|name| same(name, &exception.who)))
    })
}

/// Makes an excepted finding `info` and says by what.
pub(super) fn except(finding: &mut Finding, exception: &Exception) {
    finding.severity = Severity::Info;
    let detail = finding.detail.take().unwrap_or_default();
    finding.detail = Some(format!(
        "excepted by {} until {} (owner {}, approved by {}: {}); {detail}",
        exception.id, exception.expires, exception.owner, exception.approved_by, exception.reason
    ));
    finding.next =
        format!("Nothing, while {} holds. Check that it is still needed before it ends.", exception.id);
}

/// A finding of this layer with what the rule's terms say.
pub(super) fn finding(policy: &Compiled, rule: &str, terms: &Terms, default: (Severity, &str)) -> Finding {
    Finding {
        rule: rule.to_owned(),
        r#type: FindingKind::Privilege,
        severity: terms.severity.unwrap_or(default.0),
        controls: terms.controls.clone(),
        next: terms.next.clone().unwrap_or_else(|| default.1.to_owned()),
        policy: policy.policy.digest.clone(),
        ..Finding::default()
    }
}

/// `dynamics365`, or `dynamics365 org1` where the tenant is known.
pub(super) fn place(system: System, tenant: Option<&str>) -> String {
    match tenant {
        None => system.as_str().to_owned(),
        Some(tenant) => format!("{system} {tenant}"),
    }
}

/// The finding about a use outside of policy, and whether an exception covers it.
pub(super) fn outside(
    policy: &Compiled,
    event: &Event,
    held: &Held,
    roles: RoleSet,
    why: Why<'_>,
) -> (Finding, bool) {
    let action = event.action.map_or("", Action::as_str);
    let id = event.actor.id.as_deref();
    let name = event.actor.name.as_deref();
    let who = name.or(id).unwrap_or("somebody");
    let object = match why {
        Why::Object(object) => object,
        _ => event.target.r#type.as_deref().unwrap_or("an unnamed object"),
    };
    let names = policy.role_names(roles);
    let (title, reason) = match why {
        Why::Action => (format!("{who}: {action} of {object}"), format!("no line of it has {action}")),
        Why::Object(_) => {
            (format!("{who}: {action} of {object}"), format!("no line of it has {action} of {object}"))
        }
        Why::Field(field) => (
            format!("{who}: {action} of field {field} of {object}"),
            format!("it leaves out the field {field} of {object}"),
        ),
        Why::Rows { rows, max } => (
            format!("{who}: {action} of {rows} rows of {object}"),
            format!("it allows {action} of at most {max} rows at a time"),
        ),
    };
    let paths = role_paths(policy, event, held, roles);
    let next = format!(
        "Ask {who} or their manager whether this was their work. If it was not, contain the account. If the work is \
         right, widen the role {names} in {}; if not, take the permission away that allows it.",
        policy.policy.file
    );
    let mut finding =
        finding(policy, USE_OUTSIDE_POLICY, &policy.policy.use_outside, (Severity::High, &next));
    finding.title = format!("{title} is outside of policy");
    finding.detail = Some(format!("role {names} in {}: {reason}. {paths}", policy.policy.file));
    finding.time = event.when();
    finding.source = Some(event.source.to_string());
    finding.actor = event.actor.id.clone();
    finding.actor_name = event.actor.name.clone();
    finding.target = Some(target(event));
    if let Why::Field(field) = why {
        finding.field = Some(field.to_owned());
    }
    finding.key = format!("{}|{}|{action}|{object}", event.system, id.unwrap_or(who));
    finding.window_seconds = USE_WINDOW_SECONDS;
    finding.delay_seconds = event.time.map(|time| event.observed.seconds_since(time).max(0.0) as u64);
    let subject = Subject {
        system: event.system,
        rules: [USE_OUTSIDE_POLICY, USE_OUTSIDE_POLICY],
        id,
        name,
        what: object,
    };
    let excepted = exception(policy, &subject, event.when());
    if let Some(exception) = excepted {
        except(&mut finding, exception);
    }
    (finding, excepted.is_some())
}

/// `Account 001, 002`, with at most three ids.
fn target(event: &Event) -> String {
    let mut text = event.target.r#type.clone().unwrap_or_default();
    for (place, id) in event.target.ids.iter().take(3).enumerate() {
        let _ = write!(text, "{}{id}", if place == 0 { " " } else { ", " });
    }
    if event.target.ids.len() > 3 {
        let _ = write!(text, " and {} more", event.target.ids.len() - 3);
    }
    text.trim_start().to_owned()
}

/// What made the actor a member of those roles.
fn role_paths(policy: &Compiled, event: &Event, held: &Held, roles: RoleSet) -> String {
    let mut ways: Vec<String> = Vec::new();
    let names = event.actor.roles.iter().filter(|role| policy.members.get(role).meets(roles));
    ways.extend(names.map(|role| format!("the event names {role}")));
    let at = event.when();
    let (id, name) = (event.actor.id.as_deref(), event.actor.name.as_deref());
    held.each(event.system, event.tenant.as_deref(), id, name, |principal| {
        let rows = principal.rows().iter().filter(|row| row.holds_at(at));
        let makes = rows.filter(|row| policy.members.get(&row.permission).meets(roles));
        ways.extend(makes.map(held_by));
    });
    if ways.is_empty() {
        ways.push("the policy names the user".to_owned());
    }
    ways.sort();
    ways.dedup();
    format!("Member because {}.", ways.join(", "))
}

/// `Salesperson is held by team:Sales/role`.
pub(super) fn held_by(row: &Row) -> String {
    let mut text = format!("{} is held", row.permission);
    if !row.path.is_empty() {
        let _ = write!(text, " by {}", row.path);
    }
    if !row.scope.is_empty() {
        let _ = write!(text, " in {}", row.scope);
    }
    text
}

/// The group that a path leads through: `team:Sales/role` leads through `team:Sales`.
pub(super) fn group(path: &str) -> Option<&str> {
    const GROUPS: [&str; 4] = ["team", "group", "permission_set_group", "queue"];
    path.split('/').find(|part| {
        part.split_once(':')
            .is_some_and(|(kind, name)| !name.is_empty() && GROUPS.iter().any(|known| same(kind, known)))
    })
}

/// The smallest change that takes these rows away, and who else it would touch.
pub(super) fn fix(rows: &[&Row], who: &str, others: impl Fn(&Row) -> usize) -> String {
    let mut steps: Vec<String> = rows
        .iter()
        .map(|row| match group(&row.path) {
            None => format!("remove {} from {who}", row.permission),
            Some(group) => format!(
                "take {who} out of {group} (taking {} away from {group} itself would reach {} others)",
                row.permission,
                others(row)
            ),
        })
        .collect();
    steps.dedup();
    match steps.len() {
        0 | 1 => format!("Smallest change: {}.", steps.concat()),
        _ => format!("All of these are needed: {}.", steps.join("; ")),
    }
}

/// Where the grants come from, for the detail of a finding.
pub(super) fn basis(holders: &Holders) -> &'static str {
    if holders.complete {
        ""
    } else {
        " The newest snapshot was partial, so some of this may be gone already."
    }
}
