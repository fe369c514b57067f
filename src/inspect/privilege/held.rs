//! What people can do, as the newest snapshots say: a projection of the trail's `grants` and `grant` entries.
//!
//! Grants stand per system and tenant, sorted by holder, permission, scope and path, so that
//! [`Held::export`] gives the same bytes for the same grants in whatever order they came. A principal is
//! found by id (see [`super::names`]) or by name without regard to case. Texts are shared: a role's name is
//! kept once however many people hold it.

use super::names::{Lookup, id_key, print, same, same_id};
use crate::model::Time;
use crate::model::event::System;
use crate::model::grant::Grant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What a snapshot is about: a product, and which installation of it where the feed says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// Product.
    pub system: System,
    /// Org, instance or client.
    pub tenant: Option<String>,
}

/// Texts kept once.
#[derive(Clone, Default)]
pub(super) struct Pool(HashSet<Arc<str>>);

impl Pool {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        text
    }

    /// The grant with its texts from this pool.
    pub(super) fn row(&mut self, grant: &Grant) -> Row {
        Row {
            principal: self.text(&grant.principal),
            permission: self.text(&grant.permission),
            scope: self.text(&grant.scope),
            path: self.text(&grant.path),
            name: grant.name.as_deref().map(|name| self.text(name)),
            enabled: grant.enabled,
            expires: grant.expires,
        }
    }

    /// Forgets the texts that nothing uses any more.
    pub(super) fn prune(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 1);
    }
}

/// A grant in memory. The order of the members is the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) principal: Arc<str>,
    pub(super) permission: Arc<str>,
    pub(super) scope: Arc<str>,
    pub(super) path: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) enabled: Option<bool>,
    pub(super) expires: Option<Time>,
}

impl Row {
    /// What makes it the same grant in two snapshots, in the order of rows.
    pub(super) fn identity(&self) -> (&str, &str, &str, &str) {
        (&self.principal, &self.permission, &self.scope, &self.path)
    }
    /// The grant with its own texts.
    pub(super) fn grant(&self) -> Grant {
        Grant {
            principal: self.principal.to_string(),
            name: self.name.as_deref().map(str::to_owned),
            permission: self.permission.to_string(),
            scope: self.scope.to_string(),
            path: self.path.to_string(),
            enabled: self.enabled,
            expires: self.expires,
        }
    }
    /// Whether it counts at that time.
    pub(super) fn holds_at(&self, time: Time) -> bool {
        self.expires.is_none_or(|expires| expires > time)
    }
}

/// Somebody who holds something.
#[derive(Clone)]
pub struct Principal {
    id: Arc<str>,
    name: Option<Arc<str>>,
    rows: Vec<Row>,
    /// Fingerprint of each permission and the microsecond at which it ends, sorted, each once.
    prints: Vec<(u64, i64)>,
}

impl Principal {
    /// The CRM's id.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The name, where the feed has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// Each grant's permission and path that has not ended at that time.
    pub fn permissions(&self, at: Time) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().filter(move |row| row.holds_at(at)).map(|row| (&*row.permission, &*row.path))
    }
    /// Whether the feed says that the account is disabled.
    pub fn disabled(&self) -> bool {
        let mut said = self.rows.iter().filter_map(|row| row.enabled).peekable();
        said.peek().is_some() && !said.any(|enabled| enabled)
    }
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }
    pub(super) fn prints(&self) -> &[(u64, i64)] {
        &self.prints
    }

    fn refresh(&mut self) {
        self.name = self.rows.iter().find_map(|row| row.name.clone());
        let mut ends: BTreeMap<u64, i64> = BTreeMap::new();
        let mut last: Option<(&Arc<str>, u64)> = None;
        for row in &self.rows {
            let number = match last {
                Some((permission, number)) if *permission == row.permission => number,
                _ => print(&row.permission),
            };
            last = Some((&row.permission, number));
            let end = row.expires.map_or(i64::MAX, Time::micros);
            let known = ends.entry(number).or_insert(end);
            *known = end.max(*known);
        }
        self.prints = ends.into_iter().collect();
    }
}

/// Everybody of one scope.
#[derive(Clone)]
pub(super) struct Holders {
    pub(super) scope: Scope,
    pub(super) source: String,
    /// Whether the newest snapshot was complete.
    pub(super) complete: bool,
    /// Whether any was: only then does a small number of holders mean anything.
    pub(super) proven: bool,
    order: BTreeMap<Arc<str>, u32>,
    slots: Vec<Option<Principal>>,
    free: Vec<u32>,
    by_id: Lookup,
    by_name: Lookup,
}

impl Holders {
    fn new(scope: Scope) -> Holders {
        Holders {
            scope,
            source: String::new(),
            complete: false,
            proven: false,
            order: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: Lookup::default(),
            by_name: Lookup::default(),
        }
    }

    fn slot(&self, number: u32) -> Option<&Principal> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// Everybody, sorted by id.
    pub(super) fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.order.values().filter_map(|number| self.slot(*number))
    }

    /// Every row, sorted.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.principals().flat_map(|principal| principal.rows.iter())
    }

    fn by_id(&self, id: &str) -> Option<&Principal> {
        let system = self.scope.system;
        let numbers = self.by_id.get(id_key(system, id).0);
        numbers.filter_map(|number| self.slot(number)).find(|known| same_id(system, &known.id, id))
    }

    fn by_name(&self, name: &str) -> Option<&Principal> {
        let fits = |known: &&Principal| known.name.as_deref().is_some_and(|known| same(known, name));
        let mut known = self.by_name.get(name).filter_map(|number| self.slot(number));
        known.find(fits).or_else(|| self.by_id(name))
    }

    fn take(&mut self, id: &Arc<str>) -> (u32, Principal) {
        if let Some(number) = self.order.get(id).copied()
            && let Some(principal) = self.slots.get_mut(number as usize).and_then(Option::take)
        {
            return (number, principal);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.order.insert(id.clone(), number);
        self.by_id.insert(id_key(self.scope.system, id).0, number);
        (number, Principal { id: id.clone(), name: None, rows: Vec::new(), prints: Vec::new() })
    }

    /// Puts a principal back whose rows changed; one who holds nothing any more is forgotten.
    fn put(&mut self, number: u32, mut principal: Principal) {
        if let Some(name) = &principal.name {
            self.by_name.remove(name, number);
        }
        if principal.rows.is_empty() {
            self.by_id.remove(id_key(self.scope.system, &principal.id).0, number);
            self.order.remove(&principal.id);
            self.free.push(number);
            return;
        }
        principal.refresh();
        if let Some(name) = &principal.name {
            self.by_name.insert(name, number);
        }
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some(principal);
        }
    }

    /// Takes the removed rows out and sets the added ones in. Both are sorted first, so that every
    /// principal is touched once.
    fn change(&mut self, mut added: Vec<Row>, mut removed: Vec<Row>) {
        added.sort();
        removed.sort();
        let touched: BTreeSet<Arc<str>> =
            added.iter().chain(&removed).map(|row| row.principal.clone()).collect();
        let (mut added, mut removed) = (added.into_iter().peekable(), removed.into_iter().peekable());
        for id in touched {
            let (number, mut principal) = self.take(&id);
            while let Some(row) = removed.next_if(|row| row.principal == id) {
                if let Ok(place) = find(&principal.rows, &row) {
                    principal.rows.remove(place);
                }
            }
            while let Some(row) = added.next_if(|row| row.principal == id) {
                match find(&principal.rows, &row) {
                    Ok(place) => principal.rows[place] = row,
                    Err(place) => principal.rows.insert(place, row),
                }
            }
            self.put(number, principal);
        }
    }
}

fn find(rows: &[Row], row: &Row) -> Result<usize, usize> {
    rows.binary_search_by(|known| known.identity().cmp(&row.identity()))
}

/// All grants of all systems.
#[derive(Clone, Default)]
pub struct Held {
    pool: Pool,
    scopes: Vec<Holders>,
    /// Grants removed since the pool was last pruned.
    dropped: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    scope: Scope,
    source: String,
    complete: bool,
    proven: bool,
    grants: Vec<Grant>,
}

impl Held {
    /// Puts the outcome of a snapshot into force, and says which source it came from and whether it was
    /// complete. A grant in `added` replaces the one with the same holder, permission, scope and path.
    pub fn apply(&mut self, scope: &Scope, source: &str, complete: bool, added: &[Grant], removed: &[Grant]) {
        let place = match self.scopes.binary_search_by(|known| known.scope.cmp(scope)) {
            Ok(place) => place,
            Err(place) => {
                self.scopes.insert(place, Holders::new(scope.clone()));
                place
            }
        };
        let added = added.iter().map(|grant| self.pool.row(grant)).collect();
        let gone: Vec<Row> = removed.iter().map(|grant| self.pool.row(grant)).collect();
        let Some(holders) = self.scopes.get_mut(place) else { return };
        source.clone_into(&mut holders.source);
        holders.complete = complete;
        holders.proven |= complete;
        holders.change(added, gone);
        // Looking over the whole pool for every removed grant would be quadratic.
        self.dropped += removed.len();
        if self.dropped > self.pool.len() {
            self.pool.prune();
            self.dropped = 0;
        }
    }

    /// Somebody's entry, looked for by id, then by name.
    pub fn principal(
        &self,
        system: System,
        tenant: Option<&str>,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Option<&Principal> {
        let mut found = None;
        self.each(system, tenant, id, name, |principal| found = found.or(Some(principal)));
        found
    }

    /// Calls `take` with everybody whom the id means, else the name. Ids are looked for in every tenant when
    /// the one named is not known here (two feeds often name one org differently); names only in the tenant
    /// named, because one name may stand in two.
    pub(super) fn each<'a>(
        &'a self,
        system: System,
        tenant: Option<&str>,
        id: Option<&str>,
        name: Option<&str>,
        mut take: impl FnMut(&'a Principal),
    ) {
        let of_system = || self.scopes.iter().filter(|holders| holders.scope.system == system);
        let here = |holders: &&Holders| match (&holders.scope.tenant, tenant) {
            (Some(known), Some(tenant)) => same_id(system, known, tenant),
            _ => true,
        };
        let mut found = false;
        if let Some(id) = id {
            let known = of_system().any(|holders| here(&holders));
            for principal in of_system().filter(|holders| !known || here(holders)).filter_map(|h| h.by_id(id))
            {
                found = true;
                take(principal);
            }
        }
        if let (false, Some(name)) = (found, name) {
            of_system().filter(here).filter_map(|holders| holders.by_name(name)).for_each(take);
        }
    }

    /// How many enabled principals of the scope hold the permission at that time.
    pub fn holders(&self, scope: &Scope, permission: &str, at: Time) -> usize {
        let holds = |principal: &&Principal| {
            !principal.disabled() && principal.permissions(at).any(|(held, _)| same(held, permission))
        };
        self.scope(scope).map_or(0, |holders| holders.principals().filter(holds).count())
    }

    /// Number of principals and of grants, all scopes together.
    pub fn len(&self) -> (usize, usize) {
        let principals = self.scopes.iter().map(|holders| holders.order.len()).sum();
        (principals, self.scopes.iter().map(|holders| holders.rows().count()).sum())
    }

    /// Whether no snapshot was ever applied.
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Every scope that a snapshot was applied to.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter().map(|holders| &holders.scope)
    }

    pub(super) fn scope(&self, scope: &Scope) -> Option<&Holders> {
        let place = self.scopes.binary_search_by(|known| known.scope.cmp(scope)).ok()?;
        self.scopes.get(place)
    }

    /// The state as bytes, the same for the same grants.
    pub fn export(&self) -> Vec<u8> {
        let saved: Vec<Saved> = self
            .scopes
            .iter()
            .map(|holders| Saved {
                scope: holders.scope.clone(),
                source: holders.source.clone(),
                complete: holders.complete,
                proven: holders.proven,
                grants: holders.rows().map(Row::grant).collect(),
            })
            .collect();
        // Structs of strings, numbers and lists always become JSON; an empty state would only be rebuilt.
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    /// The state from [`Held::export`].
    pub fn import(bytes: &[u8]) -> Result<Held, serde_json::Error> {
        let mut held = Held::default();
        for saved in serde_json::from_slice::<Vec<Saved>>(bytes)? {
            held.apply(&saved.scope, &saved.source, saved.complete, &saved.grants, &[]);
            let place = held.scopes.binary_search_by(|known| known.scope.cmp(&saved.scope));
            if let Some(holders) = place.ok().and_then(|place| held.scopes.get_mut(place)) {
                holders.proven |= saved.proven;
            }
        }
        Ok(held)
    }
}
