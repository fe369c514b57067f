//! What a written policy says people *may* do, ready to be compared.
//!
//! [`Policy`] is the plain form that a policy file turns into; [`Compiled`] is the same as numbers and bit
//! sets, so that comparing an event costs a few look-ups and no allocation. Roles, objects, fields and
//! permissions are compared without regard to case.

use super::names::{Names, id_key, print};
use crate::model::event::{Action, System};
use crate::model::finding::Severity;
use crate::model::{Pseudonyms, Time};
use std::collections::BTreeMap;

/// Most roles of one policy file; more go into a second file, because files add up.
pub const ROLES_MAX: usize = 128;
/// Longest life of an exception.
pub const EXCEPTION_DAYS_MAX: i64 = 365;

/// Somebody did what no role of theirs allows.
pub const USE_OUTSIDE_POLICY: &str = "access.use_outside_policy";
/// Somebody holds what no role of theirs lists.
pub const OVER_GRANT: &str = "access.over_grant";
/// More people hold a permission than a limit allows.
pub const TOO_MANY_HOLDERS: &str = "access.too_many_holders";
/// Fewer people hold a permission than a limit asks for.
pub const TOO_FEW_HOLDERS: &str = "access.too_few_holders";
/// A disabled account keeps a sensitive permission.
pub const DISABLED_HOLDER: &str = "access.disabled_holder";
/// Every rule of this layer.
pub const RULES: [&str; 5] =
    [USE_OUTSIDE_POLICY, OVER_GRANT, TOO_MANY_HOLDERS, TOO_FEW_HOLDERS, DISABLED_HOLDER];

/// One policy file, checked and resolved: classes are expanded, words are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// File name, for the texts of findings.
    pub file: String,
    /// First 16 hexadecimal digits of the file's digest.
    pub digest: String,
    /// Products that it applies to.
    pub systems: Vec<System>,
    /// Configured sources that it applies to.
    pub sources: Vec<String>,
    /// Roles.
    pub roles: Vec<Role>,
    /// Limits on the number of holders.
    pub limits: Vec<Limit>,
    /// Permissions that a disabled account must not keep.
    pub sensitive: Vec<String>,
    /// Declared exceptions.
    pub exceptions: Vec<Exception>,
    /// How bad a use outside of policy is and what it touches.
    pub use_outside: Terms,
    /// The same for an over-grant.
    pub over_grant: Terms,
    /// The same for a disabled account that keeps a sensitive permission.
    pub disabled_holder: Terms,
}

impl Policy {
    /// The policy with a pseudonym wherever it names a person. Ids and names are compared in several forms, so
    /// one person may become several users, and one exception several of the same id.
    pub(super) fn under(&self, pseudonyms: &Pseudonyms) -> Policy {
        let mut policy = self.clone();
        for role in &mut policy.roles {
            role.member_users =
                role.member_users.iter().flat_map(|user| pseudonyms.of_person(user)).collect();
        }
        let one = |who: &str| pseudonyms.of_person(who).into_iter().next().unwrap_or_default();
        policy.exceptions = self
            .exceptions
            .iter()
            .flat_map(|exception| {
                let who = match exception.who.as_str() {
                    "*" => vec!["*".to_owned()],
                    who => pseudonyms.of_person(who),
                };
                let (owner, approved_by) = (one(&exception.owner), one(&exception.approved_by));
                who.into_iter().map(move |who| Exception {
                    who,
                    owner: owner.clone(),
                    approved_by: approved_by.clone(),
                    ..exception.clone()
                })
            })
            .collect();
        policy
    }

    pub(super) fn people(&self) -> impl Iterator<Item = &str> {
        let users = self.roles.iter().flat_map(|role| &role.member_users);
        let answer = self.exceptions.iter().flat_map(|e| [&e.who, &e.owner, &e.approved_by]);
        users.chain(answer).map(String::as_str)
    }
}

/// How a rule's findings are marked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// How bad.
    pub severity: Option<Severity>,
    /// Control ids.
    pub controls: Vec<String>,
    /// What to do next, where the policy says more than the finding can.
    pub next: Option<String>,
}

/// A role: who is in it, what they may hold, what they may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Holders of these are members.
    pub member_permissions: Vec<String>,
    /// Users, by id or name, who are members whatever they hold.
    pub member_users: Vec<String>,
    /// What members may hold besides. A trailing `*` stands for any rest.
    pub permissions: Vec<String>,
    /// What members may do.
    pub may: Vec<May>,
}

/// One line of what a role may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct May {
    /// The actions; empty means any.
    pub actions: Vec<Action>,
    /// The objects; empty means any.
    pub objects: Vec<String>,
    /// Fields that are not part of it.
    pub except_fields: Vec<FieldName>,
    /// The only fields that are part of it; empty means any.
    pub only_fields: Vec<FieldName>,
    /// Most rows of one event.
    pub rows: Option<u64>,
}

/// A field, of one object or of any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldName {
    /// The object; `None` for any.
    pub object: Option<String>,
    /// The field.
    pub field: String,
}

/// How many may hold a permission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limit {
    /// Its id.
    pub id: String,
    /// The permissions; who holds any of them counts once.
    pub holders_of: Vec<String>,
    /// At most.
    pub max: Option<u64>,
    /// At least.
    pub min: Option<u64>,
    /// How its findings are marked.
    pub terms: Terms,
}

/// A declared exception. What it matches stays visible, as a finding of severity `info`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exception {
    /// Its id.
    pub id: String,
    /// The rule's id, or the limit's.
    pub rule: String,
    /// User id or name, or `*`.
    pub who: String,
    /// The permission or object it is confined to; `None` for any.
    pub what: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Who allowed it; never the owner.
    pub approved_by: String,
    /// Why.
    pub reason: String,
    /// From this time.
    pub from: Time,
    /// Until just before this time.
    pub expires: Time,
}

/// Some of a policy's roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoleSet(u128);

impl RoleSet {
    pub(super) fn insert(&mut self, role: usize) {
        if role < ROLES_MAX {
            self.0 |= 1 << role;
        }
    }
    pub(super) fn add(&mut self, other: RoleSet) {
        self.0 |= other.0;
    }
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub(super) fn meets(self, other: RoleSet) -> bool {
        self.0 & other.0 != 0
    }
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let role = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                role
            })
        })
    }
}

/// Names that stand for roles.
#[derive(Default)]
pub(super) struct Index {
    names: Names,
    roles: Vec<RoleSet>,
}

impl Index {
    fn add(&mut self, name: &str, role: usize) {
        let number = self.names.intern(name) as usize;
        self.roles.resize(self.roles.len().max(number + 1), RoleSet::default());
        if let Some(set) = self.roles.get_mut(number) {
            set.insert(role);
        }
    }
    pub(super) fn get(&self, name: &str) -> RoleSet {
        let number = self.names.get(name);
        number.and_then(|number| self.roles.get(number as usize)).copied().unwrap_or_default()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Fields as numbers: object (0 for any) in the upper half, field in the lower.
#[derive(Default)]
pub(super) struct Fields(Box<[u64]>);

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn has(&self, object: Option<u32>, field: u32) -> bool {
        let any = u64::from(field);
        let own = object.map(|object| (u64::from(object) + 1) << 32 | any);
        self.0.binary_search(&any).is_ok() || own.is_some_and(|own| self.0.binary_search(&own).is_ok())
    }
}

/// One line of what a role may do, as numbers.
pub(super) struct Entry {
    pub(super) actions: u64,
    /// Sorted; `None` for any.
    pub(super) objects: Option<Box<[u32]>>,
    pub(super) except: Fields,
    pub(super) only: Fields,
    pub(super) rows: Option<u64>,
}

/// A policy ready for comparison.
pub(super) struct Compiled {
    pub(super) policy: Policy,
    pub(super) objects: Names,
    pub(super) fields: Names,
    /// What makes a member, by name and by fingerprint; the latter sorted.
    pub(super) members: Index,
    pub(super) prints: Vec<(u64, RoleSet)>,
    pub(super) users: Index,
    /// What a role may hold, by name and by the beginning of the name.
    pub(super) listed: Index,
    pub(super) prefixes: Vec<(String, RoleSet)>,
    /// Per role.
    pub(super) entries: Vec<Vec<Entry>>,
}

/// The action's bit in [`Entry::actions`].
pub(super) fn bit(action: Action) -> u64 {
    1 << (action as u32)
}

// A new action beyond the width of the mask must fail the build, not the comparison.
const _: () = assert!(Action::ALL.len() <= 64);

impl Compiled {
    pub(super) fn new(policy: Policy) -> Compiled {
        let mut compiled = Compiled {
            objects: Names::default(),
            fields: Names::default(),
            members: Index::default(),
            prints: Vec::new(),
            users: Index::default(),
            listed: Index::default(),
            prefixes: Vec::new(),
            entries: Vec::new(),
            policy: Policy::default(),
        };
        let mut prints: BTreeMap<u64, RoleSet> = BTreeMap::new();
        for (number, role) in policy.roles.iter().enumerate() {
            compiled.add_role(number, role);
            for name in &role.member_permissions {
                prints.entry(print(name)).or_default().insert(number);
            }
        }
        compiled.prints = prints.into_iter().collect();
        compiled.policy = policy;
        compiled
    }

    fn add_role(&mut self, number: usize, role: &Role) {
        for name in &role.member_permissions {
            self.members.add(name, number);
            self.listed.add(name, number);
        }
        for user in &role.member_users {
            // A user may be written with the long form of a Salesforce id.
            self.users.add(user, number);
            self.users.add(id_key(System::Salesforce, user).0, number);
        }
        for name in &role.permissions {
            match name.strip_suffix('*') {
                None => self.listed.add(name, number),
                Some(prefix) => {
                    let mut roles = RoleSet::default();
                    roles.insert(number);
                    self.prefixes.push((prefix.to_owned(), roles));
                }
            }
        }
        let entries = role.may.iter().map(|may| self.entry(may)).collect();
        self.entries.push(entries);
    }

    fn entry(&mut self, may: &May) -> Entry {
        let objects = (!may.objects.is_empty()).then(|| {
            let mut numbers: Vec<u32> = may.objects.iter().map(|name| self.objects.intern(name)).collect();
            numbers.sort_unstable();
            numbers.into()
        });
        Entry {
            actions: match may.actions.is_empty() {
                true => u64::MAX,
                false => may.actions.iter().fold(0, |mask, action| mask | bit(*action)),
            },
            objects,
            except: self.field_set(&may.except_fields),
            only: self.field_set(&may.only_fields),
            rows: may.rows,
        }
    }

    fn field_set(&mut self, names: &[FieldName]) -> Fields {
        let mut numbers: Vec<u64> = names
            .iter()
            .map(|name| {
                let object = name.object.as_ref().map(|object| self.objects.intern(object));
                let field = u64::from(self.fields.intern(&name.field));
                object.map_or(0, |object| (u64::from(object) + 1) << 32) | field
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        Fields(numbers.into())
    }

    /// Whether the policy speaks about this source of this product.
    pub(super) fn applies(&self, system: System, source: &str) -> bool {
        self.policy.systems.contains(&system) || self.policy.sources.iter().any(|known| known == source)
    }

    /// The roles that may hold the permission.
    pub(super) fn lists(&self, permission: &str) -> RoleSet {
        let mut roles = self.listed.get(permission);
        for (prefix, more) in &self.prefixes {
            let starts =
                permission.get(..prefix.len()).is_some_and(|start| super::names::same(start, prefix));
            if starts {
                roles.add(*more);
            }
        }
        roles
    }

    /// Names of roles, for people.
    pub(super) fn role_names(&self, roles: RoleSet) -> String {
        let names: Vec<&str> = roles
            .iter()
            .filter_map(|role| self.policy.roles.get(role))
            .map(|role| role.name.as_str())
            .collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_sets_hold_the_last_role_and_ignore_what_is_beyond() {
        let mut set = RoleSet::default();
        set.insert(0);
        set.insert(ROLES_MAX - 1);
        set.insert(ROLES_MAX);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, ROLES_MAX - 1]);
        assert!(set.meets(set) && !set.meets(RoleSet::default()));
    }
}
