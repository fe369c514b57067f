//! The work on a batch that needs no memory of other batches: records become events, numbers are found and
//! masked, stateless rules are evaluated, the entry's members are written. Runs beside the writer; order is
//! kept because one stage works on one channel.
//!
//! A record that makes a parser or a detector panic becomes an event with the defect `processing_failed`
//! and a finding, and the next record goes on. The panic's message is not shown: it could hold the record.

pub mod veil;

use crate::format::Format;
use crate::inspect::behaviour::{DetectionRule, Matches, Stateless};
use crate::inspect::{dlp, privilege};
use crate::model::event::{Clock, Defect, DefectCode, Packed, raw_hmac};
use crate::model::finding::FindingKind;
use crate::model::grant::GrantsLine;
use crate::model::json::{Object, no_mask, write_uint};
use crate::model::record::{FormatContext, Parsed, Record};
use crate::model::row::{FileMark, RowDigests, first_half};
use crate::model::{Event, Finding, Key, KeyRing, Severity, Time};
use crate::places::Places;
use crate::source::{Batch, Notice, RAW_DOMAIN, RawRecord, Receipt};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use veil::{Clear, Details, Veil};

/// A time further ahead of `observed` than this is clamped: one event dated 2099 must not empty the windows.
const AHEAD_SECONDS: i64 = 300;
/// Rule id of a record that could not be processed.
pub const PROCESSING_FAILED: &str = "operation.processing_failed";

/// How one source's records are read.
#[derive(Clone)]
pub struct Feed {
    /// Its format.
    pub format: &'static dyn Format,
    /// What the format may know.
    pub context: FormatContext,
    /// Its rows may come again in other files: see [`Staged::rows`].
    pub overlaps: bool,
}

/// Everything the stage needs; immutable, shared.
pub struct Stage {
    /// Feeds by source name.
    pub feeds: HashMap<Arc<str>, Feed>,
    /// Rules about numbers.
    pub dlp: Arc<dlp::Rules>,
    /// Rules about use: only to know which events they concern.
    pub access: Arc<privilege::Rules>,
    /// Rules about single events.
    pub stateless: Arc<Stateless>,
    /// Fingerprint keys of other quarters, to recognise by. The one in force comes with each batch.
    pub others: Vec<Key>,
    /// Where addresses are, if the user has a database of it.
    pub places: Option<Arc<Places>>,
    /// In an erasable deployment: what hides persons.
    pub veil: Option<Veil>,
}

/// A batch after the stage.
pub struct Staged {
    /// Source name.
    pub source: Arc<str>,
    /// Stream id.
    pub stream: String,
    /// Position after it.
    pub after: Value,
    /// Streams to forget.
    pub retired: Vec<String>,
    /// What to record before its records.
    pub notices: Vec<Notice>,
    /// Whom to tell when a signed checkpoint covers it.
    pub receipt: Option<Receipt>,
    /// Bytes the position moved over.
    pub bytes_read: u64,
    /// Empty lines.
    pub blank: u64,
    /// What the records became, in order.
    pub items: Vec<Item>,
    /// By what its records are known again, where they may come again in other files.
    pub rows: Option<StagedRows>,
    /// When it was read.
    pub observed: Time,
    /// Members of the `event` entries, one after the other.
    pub members: Vec<u8>,
    /// Events of the items that are packed.
    pub packed: Packed,
    /// Parts of detection rules that match them.
    pub matches: Matches,
    /// Details of the items, by their number. Empty in a plain deployment.
    pub details: Details,
    /// Event time of the newest event, and how many seconds later it was read.
    pub newest: Option<(Time, f64)>,
}

/// By what the records of a batch are known again.
pub struct StagedRows {
    /// The file that they stand in.
    pub file: Arc<str>,
    /// The same as entries name it.
    pub mark: FileMark,
    /// Digests and offset of every record, in order.
    pub digests: Vec<(RowDigests, u64)>,
}

/// What a record became.
pub enum Item {
    /// An event that nothing follows from: its members end here, and it is not kept.
    Plain(usize),
    /// An event that rules with a memory concern, and of which nothing else is known.
    Packed(PackedEvent),
    /// An event with findings, defects, or persons to hide.
    Event(Box<StagedEvent>),
    /// A line of a grants feed.
    Grants(GrantsLine),
}

/// An event in [`Staged::packed`].
#[derive(Clone, Debug)]
pub struct PackedEvent {
    /// Its number there.
    pub number: usize,
    /// Where its members end in [`Staged::members`].
    pub end: usize,
    /// Where its matches stand in [`Staged::matches`].
    pub matches: Range<usize>,
}

/// An event, masked, with everything that is known of it alone.
#[derive(Default)]
pub struct StagedEvent {
    /// The event, where its format's reader made it: it is large, and is not moved.
    pub event: Box<Event>,
    /// Where its members end in [`Staged::members`].
    pub end: usize,
    /// How many bytes of them are the event's own; what follows belongs to an erasable deployment.
    pub own: usize,
    /// What its pseudonyms stand for.
    pub clear: Clear,
    /// Parts of detection rules that match.
    pub matches: Matches,
    /// Findings about it alone.
    pub findings: Vec<Finding>,
}

impl Item {
    /// Where its members end; `None` for what is no event.
    pub fn end(&self) -> Option<usize> {
        match self {
            Item::Plain(end) => Some(*end),
            Item::Packed(event) => Some(event.end),
            Item::Event(event) => Some(event.end),
            Item::Grants(_) => None,
        }
    }
}

impl Stage {
    /// From here on these rules judge. The error says why they cannot; then nothing changes.
    pub fn judge_by(
        &mut self,
        dlp: &Arc<dlp::Rules>,
        access: &Arc<privilege::Rules>,
        detections: &Arc<[DetectionRule]>,
    ) -> Result<(), String> {
        let stateless = Arc::new(Stateless::new(detections)?);
        (self.dlp, self.access, self.stateless) = (Arc::clone(dlp), Arc::clone(access), stateless);
        if let Some(veil) = &mut self.veil {
            veil.judge_by(Arc::clone(detections));
        }
        Ok(())
    }

    /// Remembers the key of a batch, for what was read under it must be known under the next one, too.
    pub fn learn(&mut self, key: &Key) {
        if self.others.iter().all(|known| known.number() != key.number()) {
            self.others.push(key.clone());
        }
    }

    /// Works on a batch that was read at `observed`.
    pub fn work(&self, batch: Batch, observed: Time) -> Staged {
        let mut staged = Staged {
            items: Vec::with_capacity(batch.records.len()),
            rows: None,
            observed,
            members: Vec::with_capacity(batch.text.len() * 2),
            packed: Packed::of(Arc::clone(&batch.source)),
            matches: Matches::default(),
            details: Details::default(),
            source: Arc::clone(&batch.source),
            stream: String::new(),
            after: Value::Null,
            retired: Vec::new(),
            notices: Vec::new(),
            receipt: None,
            bytes_read: batch.bytes_read,
            blank: batch.blank,
            newest: None,
        };
        if let Some(feed) = self.feeds.get(&batch.source) {
            staged.rows = feed.overlaps.then(|| self.rows(&batch));
            for record in &batch.records {
                let item = self.record(feed, &batch, record, observed, &mut staged);
                staged.items.push(item);
                if self.veil.is_some() {
                    staged.details.close();
                }
            }
        }
        (staged.stream, staged.after) = (batch.stream, batch.after);
        (staged.retired, staged.notices, staged.receipt) = (batch.retired, batch.notices, batch.receipt);
        staged
    }

    fn rows(&self, batch: &Batch) -> StagedRows {
        let older = self.others.iter().filter(|key| key.number() < batch.raw_key.number());
        let earlier = older.max_by_key(|key| key.number());
        let digests = batch.records.iter().map(|record| {
            let mac = |key: &Key| first_half(&key.mac(RAW_DOMAIN, &[batch.text_of(record).as_bytes()]));
            let digests = match record.raw_mac() {
                // Its text is not its bytes; under another key nobody can say what they were.
                Some(hash) => RowDigests { now: first_half(&hash), before: None },
                None => RowDigests { now: mac(&batch.raw_key), before: earlier.map(mac) },
            };
            (digests, record.offset)
        });
        let masked = dlp::mask(&batch.file);
        let mark = FileMark::of(masked.as_deref().unwrap_or(&batch.file));
        StagedRows { file: Arc::clone(&batch.file), mark, digests: digests.collect() }
    }

    fn record(
        &self,
        feed: &Feed,
        batch: &Batch,
        record: &RawRecord,
        observed: Time,
        staged: &mut Staged,
    ) -> Item {
        let (start, matches) = (staged.members.len(), staged.matches.len());
        let done = catch_unwind(AssertUnwindSafe(|| self.process(feed, batch, record, observed, staged)));
        done.unwrap_or_else(|_| {
            staged.members.truncate(start);
            staged.matches.truncate(matches);
            staged.details.reopen();
            self.failed(feed, batch, record, observed, staged)
        })
    }

    fn process(
        &self,
        feed: &Feed,
        batch: &Batch,
        record: &RawRecord,
        observed: Time,
        staged: &mut Staged,
    ) -> Item {
        let text = batch.text_of(record);
        let too_long = record.defects().contains(&DefectCode::RecordTooLong);
        let parsed = match too_long {
            true => Parsed::Event(unread(feed)),
            false => feed.format.parse(&Record { text, header: batch.header.as_ref() }, &feed.context),
        };
        let mut event = match parsed {
            Parsed::Event(event) => event,
            Parsed::Grants(line) => return Item::Grants(line),
        };
        self.fill(&mut event, feed, batch, record, observed);
        let key = &batch.raw_key;
        let mut found = [None, None];
        let opaque = [DefectCode::Unparsed, DefectCode::RecordTooLong, DefectCode::TooComplex];
        if opaque.iter().any(|code| event.has_defect(*code)) {
            // What could not be parsed is inspected and not kept: no raw bytes enter the trail.
            found[0] = Some(self.dlp.look_unparsed(text, key));
            event.message = None;
        }
        found[1] = Some(self.dlp.look(&mut event, key));
        // Values of changes were inspected; the capture policy keeps the names.
        for change in &mut event.changes {
            (change.from, change.to) = (None, None);
        }
        self.finish(event, (Vec::new(), found), key, staged)
    }

    /// The last steps: rules about single events, persons hidden where that is asked for, members written,
    /// numbers reported in the words of the event as it is written.
    fn finish(
        &self,
        mut event: Box<Event>,
        (mut findings, found): (Vec<Finding>, [Option<dlp::Numbers>; 2]),
        key: &Key,
        staged: &mut Staged,
    ) -> Item {
        drop_maskable_counts(&mut event);
        let digest = |rest: &[String]| {
            let parts: Vec<&[u8]> = rest.iter().flat_map(|text| [text.as_bytes(), b"\n"]).collect();
            key.fingerprint("crmwarden/list", &parts)
        };
        event.cut_lists(&digest);
        let matched = staged.matches.len();
        self.stateless.evaluate_into(&event, &mut staged.matches);
        let start = staged.members.len();
        // Inspection has just masked every string of the event, through the one door that reaches them all;
        // a test holds that door against what is written here.
        let (own, clear) = match &self.veil {
            None => {
                event.write(&mut Object::members(&mut staged.members, no_mask));
                (staged.members.len(), Clear::default())
            }
            Some(veil) => {
                let matches = staged.matches.since(matched);
                veil.write(&mut event, &matches, &mut staged.members, &mut staged.details)
            }
        };
        let keys = KeyRing { current: key, others: &self.others };
        found.iter().flatten().for_each(|found| self.dlp.report(found, &event, keys, &mut findings));
        for finding in &mut findings {
            finding.locator = Some(event.raw.locator.clone());
        }
        let end = staged.members.len();
        if let Some(time) = event.time.filter(|time| staged.newest.is_none_or(|(newest, _)| *time > newest)) {
            staged.newest = Some((time, event.observed.seconds_since(time)));
        }
        if findings.is_empty() && event.defects.is_empty() {
            let matches = matched..staged.matches.len();
            if matches.is_empty() && !self.access.concerns(&event) {
                return Item::Plain(end);
            }
            if self.veil.is_none()
                && let Some(number) = staged.packed.pack(&event)
            {
                return Item::Packed(PackedEvent { number, end, matches });
            }
        }
        let (own, matches) = (own - start, staged.matches.since(matched));
        staged.matches.truncate(matched);
        Item::Event(Box::new(StagedEvent { event, end, own, clear, matches, findings }))
    }

    /// What the pipeline knows of every event.
    fn fill(&self, event: &mut Event, feed: &Feed, batch: &Batch, record: &RawRecord, observed: Time) {
        event.observed = observed;
        event.source = Arc::clone(&batch.source);
        event.system = match event.feed.is_empty() {
            true => feed.format.system(),
            false => event.system,
        };
        if event.feed.is_empty() {
            event.feed = Cow::Borrowed(feed.format.name());
        }
        if let Some(places) = &self.places {
            places.fill(event);
        }
        event.raw.locator = locator(&batch.file, record.offset);
        let key = &batch.raw_key;
        let hash =
            record.raw_mac().unwrap_or_else(|| key.mac(RAW_DOMAIN, &[batch.text_of(record).as_bytes()]));
        event.raw.hmac = raw_hmac(key.number(), &hash);
        for code in record.defects() {
            event.defect(Defect::new(*code));
        }
        let context = record.context().iter();
        event.extra.extend(context.map(|(name, value)| (Cow::Borrowed(*name), value.clone())));
        if event.time.is_some_and(|time| !time.is_writable()) {
            event.time = None;
            event.defect(Defect::field(DefectCode::BadValue, "time"));
        }
        match event.time {
            Some(time) if time > observed.plus_seconds(AHEAD_SECONDS) => {
                event.time = Some(observed);
                event.defect(Defect::new(DefectCode::TimeInFuture));
            }
            Some(_) => {}
            None => event.clock = Clock::Absent,
        }
    }

    /// The event of a record that nothing could be done with.
    fn failed(
        &self,
        feed: &Feed,
        batch: &Batch,
        record: &RawRecord,
        observed: Time,
        staged: &mut Staged,
    ) -> Item {
        let mut event = unread(feed);
        event.defect(Defect::new(DefectCode::ProcessingFailed));
        self.fill(&mut event, feed, batch, record, observed);
        let locator = dlp::mask(&event.raw.locator).unwrap_or_else(|| event.raw.locator.clone());
        event.raw.locator = locator;
        let finding = Finding {
            rule: PROCESSING_FAILED.into(),
            r#type: FindingKind::Operation,
            severity: Severity::High,
            title: "A record could not be processed; it is recorded unread".into(),
            time: observed,
            source: Some(batch.source.to_string()),
            locator: Some(event.raw.locator.clone()),
            key: format!("{PROCESSING_FAILED}|{}", batch.source),
            window_seconds: 3600,
            next: "Keep the record named by its file and offset, and report it: the reader has a fault."
                .into(),
            ..Finding::default()
        };
        self.finish(event, (vec![finding], [None, None]), &batch.raw_key, staged)
    }
}

/// `file@offset`, in one allocation.
fn locator(file: &str, offset: u64) -> String {
    let mut locator = Vec::with_capacity(file.len() + 21);
    locator.extend_from_slice(file.as_bytes());
    locator.push(b'@');
    write_uint(&mut locator, offset);
    String::from_utf8(locator).unwrap_or_default()
}

fn unread(feed: &Feed) -> Box<Event> {
    Box::new(Event {
        system: feed.format.system(),
        feed: Cow::Borrowed(feed.format.name()),
        clock: Clock::Absent,
        ..Event::default()
    })
}

/// Appends the members of an `event` entry.
pub fn write_members(event: &Event, members: &mut Vec<u8>) {
    event.write(&mut Object::members(members, dlp::mask));
}

/// A count whose digits read as a card number is no count we want to keep: it is named, masked, in `extra`.
fn drop_maskable_counts(event: &mut Event) {
    let counts = [
        ("volume.rows", &mut event.volume.rows),
        ("volume.bytes", &mut event.volume.bytes),
        ("perf.duration_ms", &mut event.perf.duration_ms),
        ("perf.status_code", &mut event.perf.status_code),
    ];
    let mut dropped = Vec::new();
    for (path, count) in counts {
        if let Some(number) = count.filter(|number| *number >= 100_000_000)
            && let Some(masked) = dlp::mask(&number.to_string())
        {
            *count = None;
            dropped.push((path, masked));
        }
    }
    for (path, masked) in dropped {
        event.extra.push((Cow::Borrowed(path), masked));
        event.defect(Defect::field(DefectCode::BadValue, path));
    }
}
