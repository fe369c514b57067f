//! Against a database that is made by hand.
#![allow(clippy::unwrap_used)]
use super::*;

/// A value in the data section, as the format's description gives it.
fn text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29);
    out.push(2 << 5 | text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn map(out: &mut Vec<u8>, size: u8) {
    out.push(7 << 5 | size);
}

fn double(out: &mut Vec<u8>, number: f64) {
    out.push(3 << 5 | 8);
    out.extend_from_slice(&number.to_be_bytes());
}

/// A database of one network, 203.0.113.0/24, made by hand: 24 nodes of two 24-bit records.
pub(crate) fn database() -> Vec<u8> {
    let network: u32 = u32::from_be_bytes([203, 0, 113, 0]);
    let nodes: u32 = 24;
    let mut out = Vec::new();
    for depth in 0..nodes {
        let bit = network >> (31 - depth) & 1;
        // The last node points to the data at offset 0, which is `nodes + 16`; `nodes` alone is "not found".
        let next = if depth + 1 == nodes { nodes + 16 } else { depth + 1 };
        for side in 0..2 {
            let record = if side == bit { next } else { nodes };
            out.extend_from_slice(&record.to_be_bytes()[1..]);
        }
    }
    out.extend_from_slice(&[0; 16]);
    map(&mut out, 3);
    text(&mut out, "country");
    map(&mut out, 1);
    text(&mut out, "iso_code");
    text(&mut out, "DE");
    text(&mut out, "city");
    map(&mut out, 1);
    text(&mut out, "names");
    map(&mut out, 1);
    text(&mut out, "en");
    text(&mut out, "Berlin");
    text(&mut out, "location");
    map(&mut out, 2);
    text(&mut out, "latitude");
    double(&mut out, 52.52);
    text(&mut out, "longitude");
    double(&mut out, 13.4);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    map(&mut out, 9);
    let mut number = |name: &str, kind: u8, bytes: &[u8]| {
        text(&mut out, name);
        // Types above seven are extended: the size first, then the type less seven.
        if kind > 7 {
            out.extend_from_slice(&[bytes.len() as u8, kind - 7]);
        } else {
            out.push(kind << 5 | bytes.len() as u8);
        }
        out.extend_from_slice(bytes);
    };
    number("binary_format_major_version", 5, &2u16.to_be_bytes());
    number("binary_format_minor_version", 5, &0u16.to_be_bytes());
    number("build_epoch", 9, &1_767_600_000u64.to_be_bytes());
    number("ip_version", 5, &4u16.to_be_bytes());
    number("node_count", 6, &nodes.to_be_bytes());
    number("record_size", 5, &24u16.to_be_bytes());
    text(&mut out, "database_type");
    text(&mut out, "Test-City");
    text(&mut out, "description");
    map(&mut out, 0);
    text(&mut out, "languages");
    out.extend_from_slice(&[0, 4]); // An array of nothing: type 11.
    out
}

fn event(address: &str) -> Event {
    let mut event = Event::default();
    event.client.ip = Some(address.to_owned());
    event
}

#[test]
fn an_address_gets_its_place() {
    let places = Places::new(database()).unwrap();
    let mut event = event("203.0.113.66");
    places.fill(&mut event);
    let client = event.client;
    assert_eq!((client.country.as_deref(), client.city.as_deref()), (Some("DE"), Some("Berlin")));
    assert_eq!((client.lat.as_deref(), client.lon.as_deref()), (Some("52.52"), Some("13.4")));
}

#[test]
fn the_feed_comes_first_and_the_unknown_stays_unknown() {
    let places = Places::new(database()).unwrap();
    let mut known = event("203.0.113.66");
    known.client.country = Some("FR".into());
    places.fill(&mut known);
    assert_eq!((known.client.country.as_deref(), known.client.lat), (Some("FR"), None));
    for address in ["198.51.100.7", "2001:db8::1", "none", ""] {
        let mut event = event(address);
        places.fill(&mut event);
        assert_eq!((event.client.country, event.client.lat), (None, None), "{address}");
    }
}

#[test]
fn what_is_no_database_is_refused() {
    assert!(Places::new(b"GIF89a".to_vec()).err().unwrap().starts_with("is no MaxMind database"));
    // Cut anywhere, it is refused or knows less; it never panics.
    let whole = database();
    for end in 0..whole.len() {
        if let Ok(places) = Places::new(whole[..end].to_vec()) {
            places.fill(&mut event("203.0.113.66"));
        }
    }
}
