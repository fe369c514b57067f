//! Access policies: from the file that people write to [`Policy`], and the proof of its examples.
//!
//! The form (YAML, strict): `policy: access`, `version`, `owner`, `applies_to` (products, or names of
//! configured sources), `classes` of fields, `roles` (`members`, `permissions`, `may`), `limits`,
//! `sensitive`, `rules` (severity, controls and next step of the built-in rules), `exceptions`, `examples`.
//!
//! Every rule that the file uses must show one example that fires and one that stays quiet; an exception
//! has an owner, another person who approved it, a reason, a beginning, and ends within a year.

mod examples;
#[cfg(test)]
mod tests;

use crate::inspect::privilege::{
    EXCEPTION_DAYS_MAX, Exception, FieldName, Limit, May, Policy, ROLES_MAX, RULES, Role, Terms,
};
use crate::model::Time;
use crate::model::event::{Action, System};
use crate::model::finding::Severity;
use crate::yaml::{self, Problem, nearest};
use examples::RawExample;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet};

/// A policy file that was read.
#[derive(Debug)]
pub struct AccessFile {
    /// The file as the person named it.
    pub file: String,
    /// Who answers for it.
    pub owner: String,
    /// Its version, as written.
    pub version: u32,
    /// What it says.
    pub policy: Policy,
    examples: Vec<Spanned<RawExample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    policy: Spanned<String>,
    version: u32,
    owner: String,
    applies_to: Vec<Spanned<String>>,
    #[serde(default)]
    classes: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    roles: Vec<Spanned<RawRole>>,
    #[serde(default)]
    limits: Vec<Spanned<RawLimit>>,
    #[serde(default)]
    sensitive: Vec<String>,
    #[serde(default)]
    rules: RawRules,
    #[serde(default)]
    exceptions: Vec<Spanned<RawException>>,
    #[serde(default)]
    examples: Vec<Spanned<RawExample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    name: String,
    #[serde(default)]
    members: RawMembers,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    may: Vec<Spanned<RawMay>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMembers {
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMay {
    r#do: Vec<Spanned<String>>,
    objects: Vec<String>,
    #[serde(default)]
    except_fields: Vec<Spanned<String>>,
    #[serde(default)]
    only_fields: Vec<Spanned<String>>,
    #[serde(default)]
    limit: RawVolume,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVolume {
    rows: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRules {
    use_outside_policy: RawTerms,
    over_grant: RawTerms,
    disabled_holder: RawTerms,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTerms {
    severity: Option<Severity>,
    controls: Vec<Spanned<String>>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    id: String,
    holders_of: Vec<String>,
    max: Option<u64>,
    min: Option<u64>,
    severity: Option<Severity>,
    #[serde(default)]
    controls: Vec<Spanned<String>>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawException {
    id: String,
    rule: String,
    who: String,
    what: Option<String>,
    owner: String,
    approved_by: String,
    reason: String,
    from: String,
    expires: String,
}

/// Reads and resolves a file. `digest` is the first 16 hexadecimal digits of its SHA-256.
pub fn read(file: &str, text: &str, digest: &str) -> Result<AccessFile, Problem> {
    let raw: Raw = yaml::parse(file, text)?;
    let reader = Reader { file, classes: &raw.classes };
    if raw.policy.value != "access" {
        let what = format!("`policy: {}` is not an access policy", raw.policy.value);
        return Err(reader.at(&raw.policy, what).cure("write `policy: access`"));
    }
    let (systems, sources) = reader.applies_to(&raw.applies_to)?;
    let limits: Vec<Limit> = raw.limits.iter().map(|limit| reader.limit(limit)).collect::<Result<_, _>>()?;
    reader.distinct("limit", raw.limits.iter().map(|limit| (line(limit), limit.value.id.as_str())))?;
    let exceptions = raw.exceptions.iter();
    reader.distinct("exception", exceptions.map(|one| (line(one), one.value.id.as_str())))?;
    let name = file.rsplit('/').next().unwrap_or(file);
    let policy = Policy {
        file: name.to_owned(),
        digest: digest.to_owned(),
        systems,
        sources,
        roles: reader.roles(&raw.roles)?,
        exceptions: raw
            .exceptions
            .iter()
            .map(|exception| reader.exception(exception, &limits))
            .collect::<Result<_, _>>()?,
        limits,
        sensitive: raw.sensitive,
        use_outside: reader.terms(raw.rules.use_outside_policy)?,
        over_grant: reader.terms(raw.rules.over_grant)?,
        disabled_holder: reader.terms(raw.rules.disabled_holder)?,
    };
    let (owner, version) = (raw.owner, raw.version);
    Ok(AccessFile { file: file.to_owned(), owner, version, policy, examples: raw.examples })
}

impl AccessFile {
    /// Proves every example; gives all that is wrong, in the file's order.
    pub fn check(&self) -> Vec<Problem> {
        examples::check(self)
    }
    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.examples.len()
    }
}

fn line<T>(value: &Spanned<T>) -> u64 {
    value.referenced.line()
}

struct Reader<'a> {
    file: &'a str,
    classes: &'a BTreeMap<String, Vec<Spanned<String>>>,
}

impl Reader<'_> {
    fn at<T>(&self, place: &Spanned<T>, what: impl Into<String>) -> Problem {
        Problem::at(self.file, line(place), what)
    }

    fn distinct<'a>(&self, what: &str, names: impl Iterator<Item = (u64, &'a str)>) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for (line, name) in names {
            if name.trim().is_empty() {
                return Err(Problem::at(self.file, line, format!("a {what} without a name")));
            }
            if !seen.insert(name.to_lowercase()) {
                return Err(Problem::at(self.file, line, format!("the {what} `{name}` stands twice")));
            }
        }
        Ok(())
    }

    fn applies_to(&self, names: &[Spanned<String>]) -> Result<(Vec<System>, Vec<String>), Problem> {
        let (mut systems, mut sources) = (Vec::new(), Vec::new());
        for name in names {
            match System::parse(&name.value) {
                Some(system) => systems.push(system),
                None => match nearest(&name.value, System::ALL.iter().map(|system| system.as_str())) {
                    Some(known) => {
                        let problem = self.at(name, format!("unknown system `{}`", name.value));
                        return Err(problem.cure(format!("did you mean `{known}`?")));
                    }
                    None => sources.push(name.value.clone()),
                },
            }
        }
        if names.is_empty() {
            return Err(Problem::file(self.file, "`applies_to` is empty, so the policy applies to nothing")
                .cure("name systems, such as salesforce, or sources of the configuration"));
        }
        Ok((systems, sources))
    }

    fn roles(&self, roles: &[Spanned<RawRole>]) -> Result<Vec<Role>, Problem> {
        self.distinct("role", roles.iter().map(|role| (line(role), role.value.name.as_str())))?;
        if let Some(role) = roles.get(ROLES_MAX) {
            return Err(self.at(role, format!("more than {ROLES_MAX} roles")).cure("split the file"));
        }
        roles.iter().map(|role| self.role(role)).collect()
    }

    fn role(&self, role: &Spanned<RawRole>) -> Result<Role, Problem> {
        let raw = &role.value;
        if raw.members.permissions.is_empty() && raw.members.users.is_empty() {
            return Err(self
                .at(role, format!("nobody can be in the role `{}`", raw.name))
                .cure("name `members: { permissions: [...] }` or `members: { users: [...] }`"));
        }
        if let Some(name) = raw.members.permissions.iter().find(|name| name.ends_with('*')) {
            return Err(self
                .at(role, format!("`{name}`: a pattern cannot make somebody a member"))
                .cure("name the permissions; a trailing `*` is for `permissions` of the role"));
        }
        Ok(Role {
            name: raw.name.clone(),
            member_permissions: raw.members.permissions.clone(),
            member_users: raw.members.users.clone(),
            permissions: raw.permissions.clone(),
            may: raw.may.iter().map(|may| self.may(may)).collect::<Result<_, _>>()?,
        })
    }

    fn may(&self, may: &Spanned<RawMay>) -> Result<May, Problem> {
        let raw = &may.value;
        let any = |words: &[String]| words.len() == 1 && words.first().is_some_and(|word| word == "*");
        let actions: Vec<String> = raw.r#do.iter().map(|action| action.value.clone()).collect();
        if actions.is_empty() || raw.objects.is_empty() {
            let what = if actions.is_empty() { "do" } else { "objects" };
            return Err(self
                .at(may, format!("`{what}` is empty"))
                .cure(format!("`{what}: [\"*\"]` means any")));
        }
        let mut objects = raw.objects.clone();
        if any(&objects) {
            objects.clear();
        }
        if let Some(name) = objects.iter().find(|name| name.contains('*') || name.contains('.')) {
            let problem = self.at(may, format!("`{name}` is not the name of an object"));
            return Err(problem.cure("`*` stands alone; fields belong in except_fields or only_fields"));
        }
        if !raw.except_fields.is_empty() && !raw.only_fields.is_empty() {
            return Err(self
                .at(may, "both `except_fields` and `only_fields`")
                .cure("one of the two says it; or write two lines"));
        }
        Ok(May {
            actions: match any(&actions) {
                true => Vec::new(),
                false => raw.r#do.iter().map(|action| self.action(action)).collect::<Result<_, _>>()?,
            },
            objects,
            except_fields: self.fields(&raw.except_fields)?,
            only_fields: self.fields(&raw.only_fields)?,
            rows: raw.limit.rows,
        })
    }

    fn action(&self, action: &Spanned<String>) -> Result<Action, Problem> {
        Action::parse(&action.value).ok_or_else(|| {
            let problem = self.at(action, format!("unknown action `{}`", action.value));
            let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
            match nearest(&action.value, known.iter().copied()) {
                Some(name) => problem.cure(format!("did you mean `{name}`?")),
                None => problem.cure(format!("known actions: {}, or \"*\" alone", known.join(", "))),
            }
        })
    }

    fn fields(&self, names: &[Spanned<String>]) -> Result<Vec<FieldName>, Problem> {
        let mut fields = Vec::new();
        for name in names {
            let Some(class) = name.value.strip_prefix('@') else {
                fields.push(self.field(name)?);
                continue;
            };
            let Some(members) = self.classes.get(class) else {
                let problem = self.at(name, format!("unknown class `@{class}`"));
                return Err(match nearest(class, self.classes.keys().map(String::as_str)) {
                    Some(known) => problem.cure(format!("did you mean `@{known}`?")),
                    None => problem.cure("declare it under `classes`"),
                });
            };
            for member in members {
                fields.push(self.field(member)?);
            }
        }
        Ok(fields)
    }

    /// `Account.AnnualRevenue`, or `AnnualRevenue` or `*.AnnualRevenue` for any object.
    fn field(&self, name: &Spanned<String>) -> Result<FieldName, Problem> {
        let (object, field) = match name.value.split_once('.') {
            None => (None, name.value.as_str()),
            Some(("*", field)) => (None, field),
            Some((object, field)) => (Some(object.to_owned()), field),
        };
        let bad = field.is_empty() || field.contains(['*', '@', '.']) || object.as_deref() == Some("");
        match bad {
            true => Err(self
                .at(name, format!("`{}` is not the name of a field", name.value))
                .cure("write Object.Field, or Field alone for any object")),
            false => Ok(FieldName { object, field: field.to_owned() }),
        }
    }

    fn terms(&self, raw: RawTerms) -> Result<Terms, Problem> {
        for control in &raw.controls {
            let valid = control.value.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
            if !valid {
                let problem = self.at(control, format!("`{}` is not a control", control.value));
                return Err(problem.cure("write framework/id, such as pci-dss/7.2.2"));
            }
        }
        let controls = raw.controls.into_iter().map(|control| control.value).collect();
        Ok(Terms { severity: raw.severity, controls, next: raw.next })
    }

    fn limit(&self, limit: &Spanned<RawLimit>) -> Result<Limit, Problem> {
        let raw = &limit.value;
        let problem = |what: &str, cure: &str| Err(self.at(limit, what).cure(cure));
        if raw.holders_of.is_empty() {
            return problem("`holders_of` is empty", "name the permissions whose holders count");
        }
        match (raw.max, raw.min) {
            (None, None) => return problem("a limit without `max` or `min`", "state at least one of them"),
            (Some(max), Some(min)) if min > max => return problem("`min` is above `max`", "swap them"),
            _ => {}
        }
        if RULES.contains(&raw.id.as_str()) || raw.id == "quiet" {
            return problem("the id of the limit is taken", "choose another");
        }
        let terms =
            RawTerms { severity: raw.severity, controls: raw.controls.clone(), next: raw.next.clone() };
        Ok(Limit {
            id: raw.id.clone(),
            holders_of: raw.holders_of.clone(),
            max: raw.max,
            min: raw.min,
            terms: self.terms(terms)?,
        })
    }

    fn exception(&self, exception: &Spanned<RawException>, limits: &[Limit]) -> Result<Exception, Problem> {
        let raw = &exception.value;
        let problem = |what: String, cure: &str| Err(self.at(exception, what).cure(cure));
        let known: Vec<&str> =
            RULES.iter().copied().chain(limits.iter().map(|limit| limit.id.as_str())).collect();
        if !known.contains(&raw.rule.as_str()) {
            let cure = nearest(&raw.rule, known.iter().copied()).map_or_else(
                || format!("known: {}", known.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            return problem(format!("unknown rule `{}`", raw.rule), &cure);
        }
        for (name, value) in [
            ("who", &raw.who),
            ("owner", &raw.owner),
            ("approved_by", &raw.approved_by),
            ("reason", &raw.reason),
        ] {
            if value.trim().is_empty() {
                return problem(format!("`{name}` is empty"), "an exception without it is a hole");
            }
        }
        if raw.owner.trim().to_lowercase() == raw.approved_by.trim().to_lowercase() {
            return problem("owner and approver are the same".into(), "somebody else must approve it");
        }
        let (Some(from), Some(expires)) = (date(&raw.from), date(&raw.expires)) else {
            return problem("`from` or `expires` is not a date".into(), "write 2026-12-31, or a full time");
        };
        if expires <= from || expires > from.plus_seconds(EXCEPTION_DAYS_MAX * 86_400) {
            let what = format!("it must end after it begins and within {EXCEPTION_DAYS_MAX} days");
            return problem(what, "choose an earlier `expires`; it can be renewed with a new approval");
        }
        Ok(Exception {
            id: raw.id.clone(),
            rule: raw.rule.clone(),
            who: raw.who.clone(),
            what: raw.what.clone(),
            owner: raw.owner.clone(),
            approved_by: raw.approved_by.clone(),
            reason: raw.reason.clone(),
            from,
            expires,
        })
    }
}

/// A date as its first instant in UTC, or a full time.
fn date(text: &str) -> Option<Time> {
    Time::parse_date(text).or_else(|| Time::parse(text))
}
