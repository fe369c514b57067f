//! The invariants on random input.

use super::*;
use proptest::prelude::*;

fn any_grant() -> impl Strategy<Value = Grant> {
    let text = |words: &'static [&'static str]| prop::sample::select(words).prop_map(str::to_owned);
    (
        text(&["a", "b", "c", "A"]),
        prop::option::of(text(&["Anna", "Bob"])),
        text(&["P", "Q", "prvReadX"]),
        text(&["", "bu1"]),
        text(&["", "role", "team:T/role"]),
        prop::option::of(any::<bool>()),
        prop::option::of((0i64..3).prop_map(Time::from_seconds)),
    )
        .prop_map(|(principal, name, permission, scope, path, enabled, expires)| Grant {
            principal,
            name,
            permission,
            scope,
            path,
            enabled,
            expires,
        })
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    prop::collection::vec(any_grant(), 0..30)
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_new_snapshot(rounds in prop::collection::vec(grants(), 1..5), seed in any::<u64>()) {
        let mut held = Held::default();
        let mut snapshots = Snapshots::new(no_mask);
        for mut rows in rounds {
            let result = push_all(&mut snapshots, &held, whole(&rows)).remove(0);
            result.apply(&mut held);
            // The same rows alone, in another order, from nothing.
            let length = rows.len().max(1);
            if !rows.is_empty() {
                rows.rotate_left((seed as usize) % length);
            }
            let fresh = push_all(&mut snapshots, &Held::default(), whole(&rows)).remove(0);
            let mut alone = Held::default();
            fresh.apply(&mut alone);
            prop_assert_eq!(held.export(), alone.export());
            prop_assert_eq!(result.digest, fresh.digest);
            let again = push_all(&mut snapshots, &held, whole(&rows)).remove(0);
            prop_assert!(again.added.is_empty() && again.removed.is_empty());
            // Look-ups agree with the list, whatever was removed before.
            for grant in &fresh.added {
                let found = held.principal(SYSTEM, Some("org1"), Some(&grant.principal), None);
                prop_assert!(found.is_some_and(|found| found.id().eq_ignore_ascii_case(&grant.principal)));
            }
            let imported = Held::import(&held.export()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(imported.export(), held.export());
        }
    }

    #[test]
    fn an_open_snapshot_survives_a_restart(rows in grants(), cut in 0usize..32) {
        let held = Held::default();
        let lines = whole(&rows);
        let cut = cut.min(lines.len() - 1);
        let mut first = Snapshots::new(no_mask);
        push_all(&mut first, &held, lines[..cut].to_vec());
        let bytes = first.export();
        let mut second = Snapshots::import(&bytes, no_mask).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(second.export(), bytes);
        let one = push_all(&mut first, &held, lines[cut..].to_vec());
        let two = push_all(&mut second, &held, lines[cut..].to_vec());
        prop_assert_eq!(one, two);
    }

    #[test]
    fn drift_is_the_same_in_whatever_order_the_rows_came(mut rows in grants()) {
        let policy = || Policy { sensitive: strings(&["P"]), ..limit(Some(1), Some(2)) };
        let unique: std::collections::BTreeMap<_, _> = rows.iter().map(|grant| {
            let identity = grant.identity();
            ((identity.0.to_owned(), identity.1.to_owned(), identity.2.to_owned(), identity.3.to_owned()), grant.clone())
        }).collect();
        rows = unique.into_values().collect();
        let forward = drift(policy(), &rows);
        rows.reverse();
        prop_assert_eq!(forward, drift(policy(), &rows));
    }

    #[test]
    fn nothing_that_is_not_observable_is_a_finding(
        roles in prop::collection::vec(prop::sample::select(&["Salesperson", "Marketer", "Nobody"][..]), 0..3),
        action in prop::option::of(prop::sample::select(Action::ALL)),
        object in prop::option::of("[A-Za-z,;. ]{0,12}|Account|Contact"),
        fields in prop::collection::vec("[A-Za-z.]{0,8}|AnnualRevenue|\\PC{0,4}", 0..3),
        rows in prop::option::of(0u64..200),
    ) {
        let mut event = event(Action::Read, object.as_deref());
        event.action = action;
        event.actor.roles = strings(&roles);
        event.fields = fields;
        event.volume.rows = rows;
        let (findings, coverage) = run(vec![policy()], &Held::default(), &event);
        prop_assert_eq!(coverage.events(), 1);
        prop_assert_eq!(findings.len() as u64 + coverage.allowed + coverage.reasons().map(|(_, n)| n).sum::<u64>(), 1);
        if action.is_none() || roles.iter().all(|role| *role == "Nobody") {
            prop_assert!(findings.is_empty());
        }
    }
}
