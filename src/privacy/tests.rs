//! Grants behind pseudonyms, names for people's eyes, and what is left of both after details are gone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::Time;
use crate::trail::Paths;
use crate::trail::detail::Privacy as Word;
use crate::trail::disk::RealDisk;
use crate::trail::recover::{Opened, open_as};

const CARD: &str = "4111111111111111";

struct Bench {
    dir: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    opened: Opened,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { state: dir.path().join("state"), keys: dir.path().join("keys") };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let opened =
            open_as(&disk, &paths, ("acme.example", Word::Erasable), Time::EPOCH, &mut |_, _| ()).unwrap();
        Bench { dir, disk, opened }
    }

    fn privacy(&self) -> Privacy {
        let matching = self.opened.keys.matching.clone();
        let state = self.dir.path().join("state");
        Privacy::open(&self.disk, &state, &self.opened.trail, matching, &Rules::default()).unwrap().0
    }

    fn details(&self) -> Vec<detail::Detail> {
        let mut found = Vec::new();
        detail::each(&RealDisk, &self.dir.path().join("state/details"), &mut |detail| {
            found.push(detail.clone());
            Ok(())
        })
        .unwrap();
        found
    }
}

fn row(principal: &str, name: &str, permission: &str) -> GrantsLine {
    GrantsLine::Row(Grant {
        principal: principal.into(),
        name: Some(name.into()),
        permission: permission.into(),
        ..Grant::default()
    })
}

fn begin() -> GrantsLine {
    GrantsLine::Begin { system: System::Salesforce, tenant: None, query: format!("of {CARD}"), time: None }
}

fn shown(privacy: &Privacy, text: &str) -> String {
    let mut text = text.to_owned();
    privacy.show(&mut text);
    text
}

#[test]
fn principals_become_pseudonyms_and_their_names_are_details() {
    let bench = Bench::new();
    let mut privacy = bench.privacy();
    let GrantsLine::Begin { query, .. } = privacy.grants_line("s/1", System::Custom, begin()) else {
        panic!()
    };
    assert_eq!(query, "of ************1111");
    let mut take = |line| match privacy.grants_line("s/1", System::Custom, line) {
        GrantsLine::Row(grant) => grant,
        other => panic!("{other:?}"),
    };
    let dana = take(row("0055j000000utlPAAQ", "Dana", &format!("P {CARD}")));
    assert_eq!(dana.permission, "P ************1111");
    // The system is the one that the snapshot names: both forms of the id are one person.
    assert_eq!(take(row("0055j000000utlP", "dana", "Q")).identity().0, dana.principal);
    let role = take(row("role:Sales", "Sales", "prvRead"));
    assert_eq!((role.principal.as_str(), role.name.as_deref()), ("role:Sales", Some("Sales")));

    assert!(privacy.keep_grant(7, &dana).is_none(), "the snapshot has not ended");
    privacy.grants_line("s/1", System::Custom, GrantsLine::End { rows: 3 });
    let committed = privacy.keep_grant(7, &dana).unwrap();
    assert!(privacy.keep_grant(8, &role).is_none());
    assert_eq!(bench.details(), [], "nothing is written before the group is");
    privacy.commit().unwrap();
    let details = bench.details();
    assert_eq!(
        details.iter().map(|d| (d.index, d.path.as_str(), d.value.as_str())).collect::<Vec<_>>(),
        [(7, "principal", "0055j000000utlPAAQ"), (7, "name", "Dana")]
    );
    let object = format!("{{\"committed\":{}}}", String::from_utf8(committed).unwrap());
    let held = detail::committed(object.as_bytes());
    assert!(details.iter().all(|detail| held[&detail.path] == detail.commitment()));

    let who = dana.name.clone().unwrap();
    let finding =
        Finding { title: format!("{who} holds P"), actor: Some(dana.principal), ..Finding::default() };
    assert_eq!(shown(&privacy, &finding.title), finding.title);
    privacy.learn_granted(&finding);
    assert_eq!(shown(&privacy, &finding.title), "Dana holds P");
    privacy.end_grants();
    assert!(privacy.keep_grant(9, &Grant { name: Some(who), ..Grant::default() }).is_none());
}

#[test]
fn a_snapshot_that_the_next_one_ends_keeps_its_own_names() {
    let bench = Bench::new();
    let mut privacy = bench.privacy();
    privacy.grants_line("s/1", System::Custom, begin());
    let GrantsLine::Row(first) = privacy.grants_line("s/1", System::Custom, row("u1", "Dana", "P")) else {
        panic!()
    };
    privacy.grants_line("s/1", System::Custom, begin());
    assert!(privacy.keep_grant(7, &first).is_some());
    privacy.end_grants();
    privacy.grants_line("s/1", System::Custom, GrantsLine::End { rows: 0 });
    assert!(privacy.keep_grant(7, &first).is_none(), "the second snapshot does not name them");
}

#[test]
fn names_come_back_from_details_and_not_after_they_are_gone() {
    let bench = Bench::new();
    let mut privacy = bench.privacy();
    let token = |value: &str| privacy.pseudonyms().of("actor.name", System::Web, value).text();
    let (dana, card) = (token("dana@acme.example"), token(CARD));
    for (index, value) in [(1, "dana@acme.example"), (2, CARD)] {
        let mut tail = Vec::new();
        detail::write_tail(&mut tail, "actor.name", &[index as u8; 32], value);
        privacy.keep(index, &tail);
    }
    privacy.commit().unwrap();
    let text = format!("{dana} read; {card}");
    assert_eq!(shown(&privacy, &text), text, "details that were written are not remembered by themselves");
    privacy.remember_entries([1, 1, 99].into_iter()).unwrap();
    assert_eq!(shown(&privacy, &text), format!("dana@acme.example read; {card}"));
    privacy.remember_again().unwrap();
    // What a detail says passes the mask like everything that is shown.
    assert_eq!(shown(&privacy, &text), "dana@acme.example read; ************1111");
    assert_eq!(privacy.store().remove(&[(1, 1)]).unwrap(), 1);
    privacy.remember_again().unwrap();
    assert_eq!(shown(&privacy, &text), format!("{dana} read; ************1111"));
}
