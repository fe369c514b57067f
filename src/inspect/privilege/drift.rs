//! What is held, compared with what roles may hold: over-grants, numbers of holders, disabled accounts.
//!
//! A permission is an over-grant when no role of its holder lists it. It also counts as listed when its path
//! leads through a permission that is (`role:Salesperson`): a privilege inside an allowed role is allowed.
//! Somebody without any role has over-grants only: the policy intends nothing for them. Where one mistake
//! reaches many people, it is one finding with their number instead of thousands.

use super::held::{Holders, Principal, Row};
use super::names::{print, same};
use super::rules::{
    Compiled, DISABLED_HOLDER, Limit, OVER_GRANT, RoleSet, TOO_FEW_HOLDERS, TOO_MANY_HOLDERS,
};
use super::wording::{self, HELD_WINDOW_SECONDS, Subject, basis, except, exception, fix, held_by, place};
use crate::model::Time;
use crate::model::finding::{Finding, Severity};
use std::collections::{BTreeMap, HashMap};

/// Holders of one permission that get a finding each; beyond that they share one.
const EACH_MAX: usize = 50;
/// Names that a shared finding shows.
const NAMES_SHOWN: usize = 20;

/// One permission of one principal that no role of theirs lists, with every row that gives it.
struct Over<'a> {
    policy: &'a Compiled,
    principal: &'a Principal,
    roles: RoleSet,
    rows: Vec<&'a Row>,
}

/// The permission's name; what follows never sees an empty list of rows.
impl Over<'_> {
    fn permission(&self) -> &str {
        self.rows.first().map_or("", |row| &row.permission)
    }
}

/// The findings about over-grants.
pub(super) fn over_grants(
    policies: &[&Compiled],
    holders: &Holders,
    time: Time,
    findings: &mut Vec<Finding>,
) {
    let policies: Vec<&Compiled> =
        policies.iter().copied().filter(|policy| !policy.policy.roles.is_empty()).collect();
    let Some(first) = policies.first().copied() else { return };
    let mut by_permission: BTreeMap<String, Vec<Over<'_>>> = BTreeMap::new();
    // `role:…` rows say what a role is made of; its holders are judged by the role.
    for principal in holders.principals().filter(|principal| !principal.id().starts_with("role:")) {
        let roles: Vec<RoleSet> =
            policies.iter().map(|policy| policy.roles_of(principal, time.micros())).collect();
        let home = roles.iter().position(|roles| !roles.is_empty());
        let (policy, own) = match home {
            Some(place) => (policies[place], roles[place]),
            None => (first, RoleSet::default()),
        };
        for rows in principal.rows().chunk_by(|a, b| a.permission == b.permission) {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.holds_at(time)).collect();
            let rows: Vec<&Row> = rows
                .into_iter()
                .filter(|row| !policies.iter().zip(&roles).any(|(policy, roles)| allows(policy, *roles, row)))
                .collect();
            if let Some(row) = rows.first() {
                let over = Over { policy, principal, roles: own, rows: rows.clone() };
                by_permission.entry(row.permission.to_lowercase()).or_default().push(over);
            }
        }
    }
    let shared = shared_paths(holders, &by_permission, time);
    for overs in by_permission.values() {
        match overs.len() {
            0..=EACH_MAX => findings.extend(overs.iter().map(|over| one(over, holders, time, &shared))),
            _ => many(overs, holders, time, findings),
        }
    }
}

/// Whether the roles may hold this row, directly or by way of a permission that they may hold.
fn allows(policy: &Compiled, roles: RoleSet, row: &Row) -> bool {
    let through = || row.path.split('/').filter_map(|part| part.split_once(':')).map(|(_, name)| name);
    policy.lists(&row.permission).meets(roles) || through().any(|name| policy.lists(name).meets(roles))
}

/// How many people hold a permission by a path, for the paths through groups that findings will name.
fn shared_paths<'a>(
    holders: &'a Holders,
    overs: &BTreeMap<String, Vec<Over<'a>>>,
    time: Time,
) -> HashMap<(&'a str, &'a str), usize> {
    let named = overs.values().filter(|overs| overs.len() <= EACH_MAX).flatten().flat_map(|over| &over.rows);
    let groups = named.filter(|row| wording::group(&row.path).is_some());
    let mut counts: HashMap<(&str, &str), usize> =
        groups.map(|row| ((&*row.permission, &*row.path), 0)).collect();
    if !counts.is_empty() {
        for row in holders.rows().filter(|row| row.holds_at(time)) {
            if let Some(count) = counts.get_mut(&(&*row.permission, &*row.path)) {
                *count += 1;
            }
        }
    }
    counts
}

/// Why nothing lists it.
fn reason(over: &Over<'_>) -> String {
    let lists = over.policy.lists(over.permission());
    let own = match over.roles.is_empty() {
        true => "is in no role".to_owned(),
        false => format!("is in the role {}", over.policy.role_names(over.roles)),
    };
    match lists.is_empty() {
        true => format!("no role in {} lists it (the holder {own})", over.policy.policy.file),
        false => format!(
            "{} lists it for the role {} only (the holder {own})",
            over.policy.policy.file,
            over.policy.role_names(lists)
        ),
    }
}

fn one(over: &Over<'_>, holders: &Holders, time: Time, shared: &HashMap<(&str, &str), usize>) -> Finding {
    let scope = &holders.scope;
    let (id, name) = (over.principal.id(), over.principal.name());
    let who = name.unwrap_or(id);
    let permission = over.permission();
    let others =
        |row: &Row| shared.get(&(&*row.permission, &*row.path)).map_or(0, |count| count.saturating_sub(1));
    let fix = fix(&over.rows, who, others);
    let mut finding =
        wording::finding(over.policy, OVER_GRANT, &over.policy.policy.over_grant, (Severity::Medium, &fix));
    let at = place(scope.system, scope.tenant.as_deref());
    finding.title = format!("{who} holds {permission} in {at}, which their role does not list");
    if over.roles.is_empty() {
        finding.title = format!("{who} holds {permission} in {at} without any role");
    }
    let paths: Vec<String> = over.rows.iter().map(|row| held_by(row)).collect();
    finding.detail = Some(format!("{}: {}. {fix}{}", paths.join(", "), reason(over), basis(holders)));
    about(&mut finding, holders, time);
    finding.actor = Some(id.to_owned());
    finding.actor_name = name.map(str::to_owned);
    finding.target = Some(permission.to_owned());
    finding.key = format!("{at}|{id}");
    let subject = Subject {
        system: scope.system,
        rules: [OVER_GRANT, OVER_GRANT],
        id: Some(id),
        name,
        what: permission,
    };
    if let Some(exception) = exception(over.policy, &subject, time) {
        except(&mut finding, exception);
    }
    finding
}

/// One finding for all whom no exception covers; the excepted ones keep their own.
fn many(overs: &[Over<'_>], holders: &Holders, time: Time, findings: &mut Vec<Finding>) {
    let nothing_shared = HashMap::new();
    let (mut names, mut excepted) = (Vec::new(), 0);
    let mut first: Option<&Over<'_>> = None;
    for over in overs {
        let finding = one(over, holders, time, &nothing_shared);
        if finding.severity == Severity::Info
            && finding.detail.as_ref().is_some_and(|d| d.starts_with("excepted"))
        {
            excepted += 1;
            findings.push(finding);
            continue;
        }
        first = first.or(Some(over));
        if names.len() < NAMES_SHOWN {
            names.push(over.principal.name().unwrap_or(over.principal.id()));
        }
    }
    let Some(over) = first else { return };
    let (count, permission) = (overs.len() - excepted, over.permission());
    let at = place(holders.scope.system, holders.scope.tenant.as_deref());
    let fix = format!(
        "List {permission} for the roles that need it in {}, or take it away from these {count} people.",
        over.policy.policy.file
    );
    let mut finding =
        wording::finding(over.policy, OVER_GRANT, &over.policy.policy.over_grant, (Severity::Medium, &fix));
    finding.title = format!("{count} people hold {permission} in {at}, which their roles do not list");
    finding.detail = Some(format!(
        "the first of them: {}. For {}: {}. {fix}{}",
        names.join(", "),
        names.first().unwrap_or(&""),
        reason(over),
        basis(holders)
    ));
    about(&mut finding, holders, time);
    finding.target = Some(permission.to_owned());
    finding.key = format!("{at}|{permission}");
    findings.push(finding);
}

fn about(finding: &mut Finding, holders: &Holders, time: Time) {
    finding.time = time;
    finding.source = (!holders.source.is_empty()).then(|| holders.source.clone());
    finding.window_seconds = HELD_WINDOW_SECONDS;
}

/// Whether the principal holds any of these at that time.
fn holds(principal: &Principal, prints: &[u64], time: Time) -> bool {
    prints.iter().any(|number| {
        let place = principal.prints().binary_search_by_key(number, |(known, _)| *known);
        place
            .ok()
            .and_then(|place| principal.prints().get(place))
            .is_some_and(|(_, end)| *end > time.micros())
    })
}

/// The findings about numbers of holders.
pub(super) fn limits(policy: &Compiled, holders: &Holders, time: Time, findings: &mut Vec<Finding>) {
    for limit in &policy.policy.limits {
        let prints: Vec<u64> = limit.holders_of.iter().map(|name| print(name)).collect();
        let all: Vec<&Principal> = holders
            .principals()
            .filter(|principal| !principal.disabled() && holds(principal, &prints, time))
            .collect();
        let count = all.len() as u64;
        if limit.max.is_some_and(|max| count > max) {
            findings.push(too_many(policy, limit, holders, &all, time));
        }
        // Nobody can be missed in a list that was never whole.
        if holders.proven && limit.min.is_some_and(|min| count < min) {
            findings.push(too_few(policy, limit, holders, &all, time));
        }
    }
}

fn too_many(policy: &Compiled, limit: &Limit, holders: &Holders, all: &[&Principal], time: Time) -> Finding {
    let what = limit.holders_of.join(" or ");
    let max = limit.max.unwrap_or(0);
    let system = holders.scope.system;
    let find = |id, name| {
        let rules = [TOO_MANY_HOLDERS, limit.id.as_str()];
        exception(policy, &Subject { system, rules, id, name, what: &limit.id }, time)
    };
    let (excepted, counted): (Vec<&Principal>, Vec<&Principal>) =
        all.iter().partition(|principal| find(Some(principal.id()), principal.name()).is_some());
    let names = |people: &[&Principal]| {
        let shown = people.iter().take(NAMES_SHOWN).map(|known| known.name().unwrap_or(known.id()));
        shown.collect::<Vec<_>>().join(", ")
    };
    let fix = format!("Take {what} away from people who do not need it, until at most {max} hold it.");
    let mut finding = wording::finding(policy, TOO_MANY_HOLDERS, &limit.terms, (Severity::High, &fix));
    let at = place(system, holders.scope.tenant.as_deref());
    finding.title = format!("{} people hold {what} in {at}, {max} are allowed", counted.len());
    let beside = match excepted.is_empty() {
        true => String::new(),
        false => format!(" Not counted because of exceptions: {}.", names(&excepted)),
    };
    let all_names = names(&counted);
    finding.detail = Some(format!("limit {}: {all_names}.{beside}{}", limit.id, basis(holders)));
    about(&mut finding, holders, time);
    finding.target = Some(what);
    finding.key = format!("{at}|{}", limit.id);
    if counted.len() as u64 <= max
        && let Some(exception) = excepted.first().and_then(|known| find(Some(known.id()), known.name()))
    {
        finding.title = format!("{} people hold {} in {at}, with exceptions", all.len(), limit.id);
        except(&mut finding, exception);
    }
    finding
}

fn too_few(policy: &Compiled, limit: &Limit, holders: &Holders, all: &[&Principal], time: Time) -> Finding {
    let what = limit.holders_of.join(" or ");
    let min = limit.min.unwrap_or(0);
    let fix = format!("Give {what} to somebody trusted, so that one person's absence locks nobody out.");
    let mut finding = wording::finding(policy, TOO_FEW_HOLDERS, &limit.terms, (Severity::Medium, &fix));
    let at = place(holders.scope.system, holders.scope.tenant.as_deref());
    finding.title = format!("{} people hold {what} in {at}, at least {min} are asked for", all.len());
    finding.detail = Some(format!("limit {}.{}", limit.id, basis(holders)));
    about(&mut finding, holders, time);
    finding.target = Some(what);
    finding.key = format!("{at}|{}", limit.id);
    let rules = [TOO_FEW_HOLDERS, limit.id.as_str()];
    let subject = Subject { system: holders.scope.system, rules, id: None, name: None, what: &limit.id };
    if let Some(exception) = exception(policy, &subject, time) {
        except(&mut finding, exception);
    }
    finding
}

/// The findings about disabled accounts that keep sensitive permissions.
pub(super) fn disabled(policy: &Compiled, holders: &Holders, time: Time, findings: &mut Vec<Finding>) {
    if policy.policy.sensitive.is_empty() {
        return;
    }
    let sensitive = |row: &&Row| policy.policy.sensitive.iter().any(|name| same(name, &row.permission));
    for principal in holders.principals().filter(|principal| principal.disabled()) {
        let rows: Vec<&Row> =
            principal.rows().iter().filter(|row| row.holds_at(time)).filter(sensitive).collect();
        for rows in rows.chunk_by(|a, b| a.permission == b.permission) {
            findings.push(disabled_one(policy, holders, principal, rows, time));
        }
    }
}

fn disabled_one(
    policy: &Compiled,
    holders: &Holders,
    principal: &Principal,
    rows: &[&Row],
    time: Time,
) -> Finding {
    let permission = rows.first().map_or("", |row| &row.permission);
    let who = principal.name().unwrap_or(principal.id());
    let fix = fix(rows, who, |_| 0);
    let terms = &policy.policy.disabled_holder;
    let mut finding = wording::finding(policy, DISABLED_HOLDER, terms, (Severity::Medium, &fix));
    let at = place(holders.scope.system, holders.scope.tenant.as_deref());
    finding.title = format!("the disabled account {who} keeps {permission} in {at}");
    let paths: Vec<String> = rows.iter().map(|row| held_by(row)).collect();
    finding.detail = Some(format!(
        "{}; whoever enables the account has it at once. {fix}{}",
        paths.join(", "),
        basis(holders)
    ));
    about(&mut finding, holders, time);
    finding.actor = Some(principal.id().to_owned());
    finding.actor_name = principal.name().map(str::to_owned);
    finding.target = Some(permission.to_owned());
    finding.key = format!("{at}|{}", principal.id());
    let subject = Subject {
        system: holders.scope.system,
        rules: [DISABLED_HOLDER, DISABLED_HOLDER],
        id: Some(principal.id()),
        name: principal.name(),
        what: permission,
    };
    if let Some(exception) = exception(policy, &subject, time) {
        except(&mut finding, exception);
    }
    finding
}
