//! Nanoseconds a record of the stages that see every record: parsing, the look for numbers, masking,
//! writing the entry, hashing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use crmwarden::format::by_name;
use crmwarden::inspect::dlp;
use crmwarden::model::record::{FormatContext, Record};
use crmwarden::model::{Event, Parsed};
use crmwarden::trail::tree::{Frontier, leaf_hash};
use std::hint::black_box;

const WEB: &str = "203.0.113.7 - anna [21/Nov/2026:10:00:13 +0000] \"GET /Api/V8/module/Contacts?record=5f1c HTTP/1.1\" \
200 5120 \"https://crm.example/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"";

fn event() -> Event {
    let format = by_name("access_log.combined").unwrap();
    match format.parse(&Record { text: WEB, header: None }, &FormatContext::default()) {
        Parsed::Event(event) => *event,
        Parsed::Grants(_) => unreachable!("an access log has no grants"),
    }
}

fn stages(criterion: &mut Criterion) {
    let format = by_name("access_log.combined").unwrap();
    criterion.bench_function("parse an access-log line", |bench| {
        bench
            .iter(|| format.parse(black_box(&Record { text: WEB, header: None }), &FormatContext::default()));
    });
    criterion.bench_function("look for numbers in it", |bench| bench.iter(|| dlp::mask(black_box(WEB))));
    let event = event();
    let mut members = Vec::new();
    criterion.bench_function("write the entry's members", |bench| {
        bench.iter(|| {
            members.clear();
            crmwarden::stage::write_members(black_box(&event), &mut members);
        });
    });
    let mut frontier = Frontier::default();
    criterion.bench_function("hash it into the tree", |bench| {
        bench.iter(|| frontier.push(leaf_hash(black_box(&members)), &mut |_, _, _| ()));
    });
}

criterion_group!(benches, stages);
criterion_main!(benches);
