//! The writer's side, and what is kept on disk.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trail::disk::RealDisk;

fn target(name: &str) -> Target {
    Target { name: name.into(), kind: Kind::Syslog { address: "127.0.0.1:514".into() } }
}

fn anchoring(targets: Vec<Target>) -> Anchoring {
    Anchoring::new(targets, Duration::from_secs(60), Arc::new(RealDisk), BTreeMap::new())
}

fn report(target: &str, size: u64, result: Result<Proof, Fault>) -> Report {
    Report { target: target.into(), head: Head { size, note: "".into() }, result }
}

#[test]
fn the_newest_head_wins_and_not_more_often_than_configured() {
    let folder = tempfile::tempdir().unwrap();
    let mut anchors = anchoring(vec![target("a"), target("b")]);
    let mut heads = anchors.subscribe();
    let mut seen = || heads.borrow_and_update().as_ref().map(|head| head.size);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(anchors.offer(3, "three", start, false) && anchors.waits());
    assert!(!anchors.offer(5, "five", after(59), false));
    assert_eq!(seen(), Some(3));
    let sent = |anchors: &mut Anchoring, target, size| {
        anchors.take(folder.path(), report(target, size, Ok(Proof::Sent)), Time::EPOCH)
    };
    sent(&mut anchors, "a", 3);
    assert!(anchors.waits());
    assert!(anchors.offer(7, "seven", after(60), false));
    assert_eq!(seen(), Some(7));
    sent(&mut anchors, "b", 3); // An answer about the head before.
    sent(&mut anchors, "a", 7);
    assert!(anchors.waits());
    sent(&mut anchors, "b", 7);
    assert!(!anchors.waits());
    assert!(!anchors.offer(7, "seven", after(600), false), "nothing new");
    assert!(anchors.offer(8, "eight", after(60), true), "the last one does not wait");
}

#[test]
fn an_outage_is_told_once_and_a_datagram_confirms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut anchors = anchoring(vec![target("a")]);
    let failed = |anchors: &mut Anchoring, fault: Fault| {
        let report = report("a", 3, Err(fault));
        match anchors.take(folder.path(), report, Time::EPOCH) {
            Taken::Failed { first, .. } => first,
            Taken::Anchored { .. } => panic!("a failure is no anchor"),
        }
    };
    assert!(failed(&mut anchors, Fault::Timeout) && !failed(&mut anchors, Fault::Unreachable));
    // That the trail was rolled back is told, whatever failed before.
    assert!(failed(&mut anchors, Fault::Ahead(9)));
    assert!(!failed(&mut anchors, Fault::Timeout) && !failed(&mut anchors, Fault::Contradicts));
    let taken = anchors.take(folder.path(), report("a", 3, Ok(Proof::Sent)), Time::EPOCH);
    assert!(matches!(taken, Taken::Anchored { again: true, .. }));
    assert_eq!(anchors.confirmed(), None);
    assert_eq!(anchors.reached()["a"].size, 3);
    assert!(failed(&mut anchors, Fault::Contradicts));
}
