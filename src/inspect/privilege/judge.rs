//! Use outside of policy: what somebody did, compared with what their roles may do.
//!
//! Three outcomes: allowed, outside, not observable. The third is counted with its reason and never a
//! finding: a feed that does not name the object, the fields or the rows proves nothing about them.
//!
//! Judged are events whose outcome is not `failure` (what the CRM refused did not happen) of the categories
//! `data_access`, `data_change`, `export`, `sharing`, `permission`, `configuration`, and `account` where it
//! is about somebody else's account: changing one's own password is no privilege. Authentication, session,
//! audit log, API and operation events say nothing about records and belong to other rules. What the
//! platform does by itself (`actor.type: system`) is not judged.

use super::held::{Held, Principal};
use super::names::{id_key, same, same_id};
use super::rules::{Compiled, Entry, Fields, RoleSet, bit};
use crate::model::event::{ActorType, Category, DefectCode, Event, Outcome, words};
use crate::model::pseudonym::bare;

words!(
    /// Why an event could not be compared with the policy.
    NotObservable {
        /// Neither the event, nor a snapshot, nor the policy says what the actor's roles are.
        ActorUnknown = "actor_unknown",
        /// The actor's permissions are known and none of them makes a member of a role.
        NoPolicyRole = "no_policy_role",
        /// The record names no action.
        ActionUnknown = "action_unknown",
        /// The record names no object, and what is allowed depends on it.
        ObjectUnknown = "object_unknown",
        /// The record names no fields, or not all, and what is allowed depends on them.
        FieldsUnknown = "fields_unknown",
        /// The record names no number of rows, and what is allowed depends on it.
        RowsUnknown = "rows_unknown",
    }
);

/// How much of what happened could be compared: stands beside every statement about use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Events within a role.
    pub allowed: u64,
    /// Events outside of every role of their actor.
    pub outside: u64,
    /// Of those, the ones a declared exception covers.
    pub excepted: u64,
    not_observable: [u64; NotObservable::ALL.len()],
}

impl Coverage {
    /// Events that could not be compared, for one reason.
    pub fn not_observable(&self, reason: NotObservable) -> u64 {
        self.not_observable.get(reason as usize).copied().unwrap_or(0)
    }
    /// Every reason with its count, in a fixed order.
    pub fn reasons(&self) -> impl Iterator<Item = (NotObservable, u64)> {
        NotObservable::ALL.iter().copied().zip(self.not_observable)
    }
    /// Events that a policy applies to.
    pub fn events(&self) -> u64 {
        self.allowed + self.outside + self.not_observable.iter().sum::<u64>()
    }
    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Coverage) {
        self.allowed += other.allowed;
        self.outside += other.outside;
        self.excepted += other.excepted;
        for (count, more) in self.not_observable.iter_mut().zip(other.not_observable) {
            *count += more;
        }
    }
    pub(super) fn miss(&mut self, reason: NotObservable) {
        if let Some(count) = self.not_observable.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// What is outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why<'a> {
    /// No role has the action at all.
    Action,
    /// No role has it on this object.
    Object(&'a str),
    /// No role has it on this field.
    Field(&'a str),
    /// More rows than any role allows.
    Rows { rows: u64, max: u64 },
}

/// What came of the comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    Allowed,
    Unknown(NotObservable),
    Outside(RoleSet, Why<'a>),
}

impl<'a> Verdict<'a> {
    /// The more serious of two: an event is allowed when every object in it is.
    fn worst(self, other: Verdict<'a>) -> Verdict<'a> {
        match (&self, &other) {
            (Verdict::Outside(..), _) | (Verdict::Unknown(_), Verdict::Allowed) => self,
            _ => other,
        }
    }
}

/// Whether the module doc's conditions hold.
pub(super) fn is_judged(event: &Event) -> bool {
    let category = match event.category {
        Some(
            Category::DataAccess
            | Category::DataChange
            | Category::Export
            | Category::Sharing
            | Category::Permission
            | Category::Configuration,
        ) => true,
        Some(Category::Account) => about_another(event),
        _ => false,
    };
    category
        && event.outcome != Some(Outcome::Failure)
        && event.outcome != Some(Outcome::Challenged)
        && event.actor.r#type != Some(ActorType::System)
}

/// Whether the event names an account that is not the actor's own. Under pseudonyms an account is the same
/// whether it acts or is acted on.
fn about_another(event: &Event) -> bool {
    let id = event.actor.id.as_deref().map(bare);
    let name = event.actor.name.as_deref().map(bare);
    let own_id = |other: &str| id.is_some_and(|id| same_id(event.system, id, other));
    let own_name = |other: &str| name.is_some_and(|name| same(name, other));
    let ids = event.target.ids.iter().map(String::as_str);
    let mut others = ids.chain(event.target.name.as_deref()).map(bare).peekable();
    others.peek().is_some() && !others.any(|other| own_id(other) || own_name(other))
}

/// The fields that the event names.
fn fields(event: &Event) -> impl Iterator<Item = &str> {
    let changed = event.changes.iter().map(|change| change.field.as_str());
    event.fields.iter().map(String::as_str).chain(changed)
}

/// Fields that the CRM itself sets with every change. `only_fields` does not have to name them.
const SET_BY_CRM: [&str; 10] = [
    "Id",
    "CreatedDate",
    "CreatedById",
    "LastModifiedDate",
    "LastModifiedById",
    "SystemModstamp",
    "createdon",
    "modifiedon",
    "modifiedby",
    "versionnumber",
];

/// Three-valued, worst first, so that the best of several lines is their maximum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Maybe,
    Yes,
}

impl Compiled {
    /// The roles of a principal by what they hold at the event's time.
    pub(super) fn roles_of(&self, principal: &Principal, at: i64) -> RoleSet {
        let mut roles = RoleSet::default();
        let (held, known) = (principal.prints(), &self.prints);
        if held.len() > 16 * known.len() {
            // Thousands of privileges a head are normal in Dataverse: few names are looked for among them.
            for (number, more) in known {
                if let Ok(place) = held.binary_search_by_key(number, |(number, _)| *number)
                    && held.get(place).is_some_and(|(_, end)| *end > at)
                {
                    roles.add(*more);
                }
            }
        } else {
            let mut known = known.iter().peekable();
            for (number, end) in held {
                while known.next_if(|(known, _)| known < number).is_some() {}
                let Some((next, more)) = known.peek() else { break };
                if next == number && *end > at {
                    roles.add(*more);
                }
            }
        }
        if !self.users.is_empty() {
            roles.add(self.user_roles(Some(principal.id()), principal.name()));
        }
        roles
    }

    fn user_roles(&self, id: Option<&str>, name: Option<&str>) -> RoleSet {
        let mut roles = RoleSet::default();
        if !self.users.is_empty() {
            let id = id.map(|id| id_key(crate::model::System::Salesforce, id).0);
            for text in id.into_iter().chain(name) {
                roles.add(self.users.get(text));
            }
        }
        roles
    }

    /// The actor's roles: as the event says, else as the grants say; and whoever the policy names.
    fn roles(&self, event: &Event, held: &Held) -> Result<RoleSet, NotObservable> {
        let actor = &event.actor;
        let (id, name) = (actor.id.as_deref(), actor.name.as_deref());
        let mut roles = self.user_roles(id, name);
        for role in &actor.roles {
            roles.add(self.members.get(role));
        }
        let mut known = !actor.roles.is_empty();
        if actor.roles.is_empty() || roles.is_empty() {
            let at = event.when().micros();
            held.each(event.system, event.tenant.as_deref(), id, name, |principal| {
                known = true;
                roles.add(self.roles_of(principal, at));
            });
        }
        match (roles.is_empty(), known) {
            (false, _) => Ok(roles),
            (true, true) => Err(NotObservable::NoPolicyRole),
            (true, false) => Err(NotObservable::ActorUnknown),
        }
    }

    /// Compares one event.
    pub(super) fn judge<'a>(&self, event: &'a Event, held: &Held) -> Verdict<'a> {
        let Some(action) = event.action else { return Verdict::Unknown(NotObservable::ActionUnknown) };
        let roles = match self.roles(event, held) {
            Ok(roles) => roles,
            Err(reason) => return Verdict::Unknown(reason),
        };
        let mask = bit(action);
        let verdict = self.judge_objects(roles, mask, event);
        let by_object = matches!(
            verdict,
            Verdict::Outside(_, Why::Object(_)) | Verdict::Unknown(NotObservable::ObjectUnknown)
        );
        // Where no role has the action at all, the object does not matter.
        if by_object && self.lines(roles, mask).next().is_none() {
            return Verdict::Outside(roles, Why::Action);
        }
        verdict
    }

    fn judge_objects<'a>(&self, roles: RoleSet, mask: u64, event: &'a Event) -> Verdict<'a> {
        let text = event.target.r#type.as_deref().unwrap_or("").trim_ascii();
        if text.is_empty() {
            return match self.judge_object(roles, mask, None, false, event) {
                // A line for certain objects might allow it, were the object known.
                Verdict::Outside(..) if self.lines(roles, mask).any(|entry| entry.objects.is_some()) => {
                    Verdict::Unknown(NotObservable::ObjectUnknown)
                }
                verdict => verdict,
            };
        }
        if !text.bytes().any(|byte| matches!(byte, b',' | b';')) {
            return self.judge_object(roles, mask, Some(text), false, event);
        }
        let parts = || text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
        match parts().count() {
            0 => Verdict::Unknown(NotObservable::ObjectUnknown),
            count => parts()
                .map(|object| self.judge_object(roles, mask, Some(object), count > 1, event))
                .fold(Verdict::Allowed, Verdict::worst),
        }
    }

    /// The lines of these roles that have the action.
    fn lines(&self, roles: RoleSet, mask: u64) -> impl Iterator<Item = &Entry> {
        let of_role = |role: usize| self.entries.get(role).into_iter().flatten();
        roles.iter().flat_map(of_role).filter(move |entry| entry.actions & mask != 0)
    }

    fn judge_object<'a>(
        &self,
        roles: RoleSet,
        mask: u64,
        object: Option<&'a str>,
        many: bool,
        event: &'a Event,
    ) -> Verdict<'a> {
        let number = object.and_then(|object| self.objects.get(object));
        let covers = |entry: &&Entry| match (&entry.objects, number) {
            (None, _) => true,
            (Some(objects), Some(number)) => objects.binary_search(&number).is_ok(),
            (Some(_), None) => false,
        };
        let (mut covered, mut by_rows, mut largest) = (false, Fit::No, 0);
        for entry in self.lines(roles, mask).filter(covers) {
            let fit = fits_rows(entry, event);
            if fit == Fit::Yes && entry.except.is_empty() && entry.only.is_empty() {
                return Verdict::Allowed;
            }
            covered = true;
            by_rows = by_rows.max(fit);
            largest = largest.max(entry.rows.unwrap_or(0));
        }
        match object {
            None if !covered => return Verdict::Unknown(NotObservable::ObjectUnknown),
            Some(object) if !covered => return Verdict::Outside(roles, Why::Object(object)),
            _ if by_rows == Fit::No => {
                let rows = event.volume.rows.unwrap_or(0);
                return Verdict::Outside(roles, Why::Rows { rows, max: largest });
            }
            _ => {}
        }
        self.judge_fields(roles, event, by_rows, |field| {
            let field = self.field(field);
            let lines = self.lines(roles, mask).filter(covers);
            lines
                .map(|entry| fits_rows(entry, event).min(self.fits_field(entry, number, &field, many)))
                .max()
                .unwrap_or(Fit::No)
        })
    }

    /// Every field must be allowed by one of the lines; without any field named nothing can be said.
    fn judge_fields<'a>(
        &self,
        roles: RoleSet,
        event: &'a Event,
        by_rows: Fit,
        fit: impl Fn(&str) -> Fit,
    ) -> Verdict<'a> {
        let (mut seen, mut maybe) = (false, false);
        for field in fields(event) {
            seen = true;
            match fit(field) {
                Fit::No => return Verdict::Outside(roles, Why::Field(field)),
                Fit::Maybe => maybe = true,
                Fit::Yes => {}
            }
        }
        match by_rows {
            _ if seen && !maybe && !fields_cut(event) => Verdict::Allowed,
            Fit::Maybe => Verdict::Unknown(NotObservable::RowsUnknown),
            _ => Verdict::Unknown(NotObservable::FieldsUnknown),
        }
    }

    /// Whether the line has the field. With several objects in one event it is not known whose field it is.
    fn fits_field(&self, entry: &Entry, object: Option<u32>, field: &Field<'_>, many: bool) -> Fit {
        let has = |set: &Fields| field.is_in(set, object);
        if has(&entry.except) {
            return Fit::No;
        }
        if entry.only.is_empty() || has(&entry.only) || SET_BY_CRM.iter().any(|known| same(known, field.text))
        {
            return Fit::Yes;
        }
        if many { Fit::Maybe } else { Fit::No }
    }

    fn field<'a>(&self, text: &'a str) -> Field<'a> {
        let owned = text.rsplit_once('.');
        Field {
            text,
            bare: self.fields.get(text),
            owned: owned.and_then(|(owner, bare)| Some((self.objects.get(owner), self.fields.get(bare)?))),
        }
    }
}

/// A field that an event names, given bare or as `Object.Field`, as the policy's numbers.
struct Field<'a> {
    text: &'a str,
    bare: Option<u32>,
    owned: Option<(Option<u32>, u32)>,
}

impl Field<'_> {
    fn is_in(&self, set: &Fields, object: Option<u32>) -> bool {
        !set.is_empty()
            && (self.bare.is_some_and(|number| set.has(object, number))
                || self.owned.is_some_and(|(owner, number)| set.has(owner, number)))
    }
}

/// Whether the lists of fields were cut when the record was read.
fn fields_cut(event: &Event) -> bool {
    let of_fields = |field: &str| field == "fields" || field == "changes";
    event
        .defects
        .iter()
        .any(|defect| defect.code == DefectCode::ListCut && defect.field.as_deref().is_none_or(of_fields))
}

fn fits_rows(entry: &Entry, event: &Event) -> Fit {
    match (entry.rows, event.volume.rows) {
        (None, _) => Fit::Yes,
        (Some(max), Some(rows)) if rows <= max => Fit::Yes,
        (Some(_), Some(_)) => Fit::No,
        (Some(_), None) => Fit::Maybe,
    }
}
