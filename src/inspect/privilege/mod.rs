//! What people *may* do, *can* do and *did*, compared.
//!
//! * [`Policy`] is what they may do, as a policy file says.
//! * [`Snapshots`] takes the lines of grants feeds and gives, for every snapshot that ends, what it adds and
//!   removes; [`Held`] is the projection of that: what they can do.
//! * [`Rules::inspect`] compares an event with the roles of its actor: `access.use_outside_policy`.
//! * [`Rules::snapshot`] compares what is held with the roles: `access.over_grant`,
//!   `access.too_many_holders`, `access.too_few_holders`, `access.disabled_holder`.
//!
//! Invariants: pure, no clock; the same inputs in the same order give the same findings in the same order;
//! what cannot be observed is counted in [`Coverage`] with its reason and is never a finding; a declared
//! exception makes a finding `info`, it never hides it. Policy files that apply to the same system add up:
//! what any of them allows is allowed.

mod drift;
mod held;
mod judge;
mod names;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;
mod wording;

pub use held::{Held, Principal, Scope};
pub use judge::{Coverage, NotObservable};
pub use rules::{
    DISABLED_HOLDER, EXCEPTION_DAYS_MAX, Exception, FieldName, Limit, May, OVER_GRANT, Policy, ROLES_MAX,
    RULES, Role, TOO_FEW_HOLDERS, TOO_MANY_HOLDERS, Terms, USE_OUTSIDE_POLICY,
};
pub use snapshot::{BYTES_MAX, Lack, ROWS_MAX, SnapshotResult, Snapshots};

use crate::model::event::Event;
use crate::model::finding::Finding;
use crate::model::{Pseudonyms, System, Time};
use judge::{Verdict, is_judged};
use rules::Compiled;

/// Every access policy in force.
#[derive(Default)]
pub struct Rules {
    policies: Vec<Compiled>,
}

impl Rules {
    /// Makes the policies ready. At most [`ROLES_MAX`] roles of a policy count; reading the file refuses more.
    pub fn new(policies: Vec<Policy>) -> Rules {
        Rules { policies: policies.into_iter().map(Compiled::new).collect() }
    }

    /// The same rules for events and grants in which people are pseudonyms: whom a policy names in clear is
    /// found under every pseudonym that the person can have, and findings name nobody in clear.
    pub fn under(&self, pseudonyms: &Pseudonyms) -> Rules {
        let policies = self.policies.iter().map(|compiled| compiled.policy.under(pseudonyms));
        Rules::new(policies.collect())
    }

    /// Everybody whom the policies name in clear: members of roles, and who answers for exceptions.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().flat_map(|compiled| compiled.policy.people())
    }

    /// Whether there is no policy at all.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether any policy judges such an event at all. What it does not concern need not be kept for
    /// [`Rules::inspect`].
    pub fn concerns(&self, event: &Event) -> bool {
        let judges =
            |policy: &Compiled| !policy.entries.is_empty() && policy.applies(event.system, &event.source);
        is_judged(event) && self.policies.iter().any(judges)
    }

    /// Compares an event with what its actor's roles may do. Quiet events allocate nothing.
    pub fn inspect(&self, event: &Event, held: &Held, findings: &mut Vec<Finding>, coverage: &mut Coverage) {
        if self.policies.is_empty() || !is_judged(event) {
            return;
        }
        let (mut outside, mut unknown) = (None, None);
        for policy in &self.policies {
            if policy.entries.is_empty() || !policy.applies(event.system, &event.source) {
                continue;
            }
            match policy.judge(event, held) {
                Verdict::Allowed => {
                    coverage.allowed += 1;
                    return;
                }
                Verdict::Outside(roles, why) => outside = outside.or(Some((policy, roles, why))),
                // A policy that does not know the actor leaves the reason of one that does.
                Verdict::Unknown(reason) => unknown = unknown.max(Some(reason)),
            }
        }
        match (outside, unknown) {
            // Another policy could allow it, if only the record said more.
            (_, Some(reason)) if outside.is_none() || reason > NotObservable::NoPolicyRole => {
                coverage.miss(reason)
            }
            (Some((policy, roles, why)), _) => {
                coverage.outside += 1;
                let (finding, excepted) = wording::outside(policy, event, held, roles, why);
                coverage.excepted += u64::from(excepted);
                findings.push(finding);
            }
            _ => {}
        }
    }

    /// Compares everything that is held in one system with the policies that apply to it.
    pub fn snapshot(
        &self,
        held: &Held,
        system: System,
        tenant: Option<&str>,
        time: Time,
        findings: &mut Vec<Finding>,
    ) {
        let scope = Scope { system, tenant: tenant.map(str::to_owned) };
        let Some(holders) = held.scope(&scope) else { return };
        let policies: Vec<&Compiled> =
            self.policies.iter().filter(|policy| policy.applies(system, &holders.source)).collect();
        drift::over_grants(&policies, holders, time, findings);
        for policy in policies {
            drift::limits(policy, holders, time, findings);
            drift::disabled(policy, holders, time, findings);
        }
    }
}
