//! Inspection reaches every string of an event: what it leaves, the writer need not look at again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::inspect::dlp;
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::model::event::{ActorType, Change, Defect, DefectCode};
use crmwarden::model::json::{Object, no_mask};
use crmwarden::model::{Event, Key};
use zeroize::Zeroizing;

/// An event with a different card number in every string that a source can fill.
fn full(generator: &mut Generator) -> Event {
    let mut card = || generator.card("visa");
    let mut event = Event::default();
    for slot in [
        &mut event.uid,
        &mut event.status,
        &mut event.actor.id,
        &mut event.actor.name,
        &mut event.actor.on_behalf_of,
        &mut event.client.ip,
        &mut event.client.country,
        &mut event.client.city,
        &mut event.client.lat,
        &mut event.client.lon,
        &mut event.client.user_agent,
        &mut event.client.tls,
        &mut event.client.app,
        &mut event.auth.method,
        &mut event.auth.session,
        &mut event.target.r#type,
        &mut event.target.name,
        &mut event.target.owner,
        &mut event.grant.principal,
        &mut event.grant.permission,
        &mut event.grant.scope,
        &mut event.tenant,
        &mut event.http.method,
        &mut event.http.path,
        &mut event.query,
        &mut event.message,
    ] {
        *slot = Some(card());
    }
    event.actor.r#type = Some(ActorType::User);
    event.actor.roles = vec![card(), card()];
    event.target.ids = vec![card(), card()];
    event.fields = vec![card()];
    event.changes = vec![Change { field: card(), from: Some(card()), to: Some(card()) }];
    event.extra = vec![(card().into(), card()), ("known".into(), card())];
    event.defects = vec![Defect::field(DefectCode::BadValue, card())];
    event.raw.locator = format!("/feeds/{}.log@7", card());
    event
}

#[test]
fn nothing_that_is_written_was_not_visited() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut event = full(&mut Generator::new(seed));
    let numbers = {
        let mut out = Vec::new();
        Object::whole(&mut out, no_mask, |object| event.write(object));
        let text = String::from_utf8(out).unwrap();
        text.split(|c: char| !c.is_ascii_digit())
            .filter(|run| run.len() == 16)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(numbers.len() >= 38, "only {} numbers were planted", numbers.len());
    dlp::Rules::default().inspect(&mut event, &Key::new(1, Zeroizing::new([7; 32])), &mut Vec::new());
    let mut out = Vec::new();
    Object::whole(&mut out, no_mask, |object| event.write(object));
    let text = String::from_utf8(out).unwrap();
    for number in numbers {
        assert!(!text.contains(&number), "a number was written unmasked");
    }
}
