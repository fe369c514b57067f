//! Records that are brought to us: the end of a bounded channel that a feeder of any kind fills.
//!
//! * A [`Feeder`] hands over [`Delivery`] after delivery; at most [`WAITING`] wait, mostly of about [`PIECE`]
//!   bytes each; a command's records up to their cursor are one, of [`super::exec::HELD`] at most. A full channel is the back-pressure: the feeder waits, or tells its client to.
//! * The [`Inbox`] turns them into batches on the reader's thread: text decoded, records over the limit kept in
//!   part, digests made with the key in force.
//! * What a feeder puts into [`Delivery::after`] is written in the same commit as the records, and comes back
//!   to the next feeder of that source at the next start.

use super::file::{Lag, Mode, Polled};
use super::text::decode;
use super::{Batch, Notice, RAW_DOMAIN, RawRecord, Receipt};
use crate::model::Key;
use crate::model::event::DefectCode;
use crate::model::record::Encoding;
use crate::source::file::watch::Waker;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Deliveries that wait in a channel.
pub const WAITING: usize = 4;
/// About so many bytes make a delivery; a single larger record makes one alone.
pub const PIECE: usize = 512 * 1024;
/// Of a record that is too long, so many bytes are kept.
const KEPT: usize = 64 * 1024;
/// How often an asynchronous feeder looks for room.
const LOOK: Duration = Duration::from_millis(5);
/// With `--once`: how long a poll waits for a feeder that has not ended.
const PATIENCE: Duration = Duration::from_millis(50);

/// Records of one stream, in their order.
#[derive(Debug, Default)]
pub struct Delivery {
    /// The stream's stable id: lower-case letters and `-`.
    pub stream: String,
    /// What locators say before the `@`.
    pub place: String,
    /// The CSV header's names.
    pub header: Option<Arc<[String]>>,
    /// Bytes that the records point into.
    pub raw: Vec<u8>,
    /// The records; `offset` is theirs in the stream.
    pub records: Vec<RawRecord>,
    /// Empty lines among them.
    pub blank: u64,
    /// The stream's position after them.
    pub after: Value,
    /// Streams to forget.
    pub retired: Vec<String>,
    /// What is to be recorded with them.
    pub notices: Vec<Notice>,
    /// Whom to tell when a checkpoint covers them.
    pub receipt: Option<Receipt>,
}

/// The filling end.
#[derive(Clone)]
pub struct Feeder {
    channel: SyncSender<Delivery>,
    waiting: Arc<AtomicU64>,
    waker: Waker,
}

/// Why a delivery was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// The channel is full: try again later.
    Full(Box<Delivery>),
    /// The daemon ends.
    Over,
}

impl Feeder {
    /// Waits for room. `false`: the daemon ends.
    pub fn send(&self, delivery: Delivery) -> bool {
        let bytes = self.count(&delivery);
        let sent = self.channel.send(delivery).is_ok();
        self.settle(bytes, sent);
        sent
    }

    /// Does not wait.
    pub fn try_send(&self, delivery: Delivery) -> Result<(), NotTaken> {
        let bytes = self.count(&delivery);
        let sent = self.channel.try_send(delivery);
        self.settle(bytes, sent.is_ok());
        sent.map_err(|error| match error {
            TrySendError::Full(delivery) => NotTaken::Full(Box::new(delivery)),
            TrySendError::Disconnected(_) => NotTaken::Over,
        })
    }

    /// Waits for room, without a thread. `false`: the daemon ends.
    pub async fn offer(&self, mut delivery: Delivery) -> bool {
        loop {
            match self.try_send(delivery) {
                Ok(()) => return true,
                Err(NotTaken::Over) => return false,
                Err(NotTaken::Full(back)) => delivery = *back,
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn count(&self, delivery: &Delivery) -> u64 {
        let bytes = delivery.raw.len() as u64;
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }

    fn settle(&self, bytes: u64, sent: bool) {
        match sent {
            true => self.waker.wake(),
            false => drop(self.waiting.fetch_sub(bytes, Ordering::Relaxed)),
        }
    }
}

/// The reading end.
pub struct Inbox {
    name: Arc<str>,
    channel: Receiver<Delivery>,
    waiting: Arc<AtomicU64>,
    encoding: Encoding,
    max_record: usize,
    raw_key: Key,
    ended: bool,
}

/// An inbox and its feeder. `waker` ends the reader's wait.
pub fn inbox(
    name: &str,
    (encoding, max_record): (Encoding, usize),
    raw_key: Key,
    waker: Waker,
) -> (Feeder, Inbox) {
    let (send, channel) = sync_channel(WAITING);
    let waiting = Arc::new(AtomicU64::new(0));
    let feeder = Feeder { channel: send, waiting: Arc::clone(&waiting), waker };
    let name = Arc::from(name);
    (feeder, Inbox { name, channel, waiting, encoding, max_record, raw_key, ended: false })
}

impl Inbox {
    /// Takes what waits. Outside of [`Mode::Follow`] it is idle only when its feeder has ended.
    pub fn poll(&mut self, mode: Mode, budget: u64) -> Polled {
        let mut polled = Polled::default();
        let mut left = budget;
        while left > 0 && !self.ended {
            let wait =
                if mode == Mode::Follow || !polled.batches.is_empty() { Duration::ZERO } else { PATIENCE };
            match self.channel.recv_timeout(wait) {
                Ok(delivery) => {
                    let batch = self.batch(delivery);
                    left = left.saturating_sub(batch.bytes_read.max(1));
                    polled.batches.push(batch);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
            }
        }
        polled.idle = self.ended || (mode == Mode::Follow && left > 0);
        polled
    }

    /// Uses another key for the digests of raw bytes from now on.
    pub fn set_raw_key(&mut self, key: Key) {
        self.raw_key = key;
    }

    /// Bytes that wait in the channel.
    pub fn lag(&self) -> Lag {
        Lag { bytes: self.waiting.load(Ordering::Relaxed), ..Lag::default() }
    }

    fn batch(&self, delivery: Delivery) -> Batch {
        let Delivery { stream, place, header, raw, mut records, blank, after, retired, notices, receipt } =
            delivery;
        let bytes_read = raw.len() as u64;
        self.waiting.fetch_sub(bytes_read, Ordering::Relaxed);
        self.limit(&raw, &mut records);
        let text = decode(self.encoding, raw, &mut records, &self.raw_key);
        Batch {
            source: Arc::clone(&self.name),
            stream,
            file: Arc::from(place),
            header,
            text,
            records,
            blank,
            raw_key: self.raw_key.clone(),
            after,
            bytes_read,
            retired,
            notices,
            receipt,
        }
    }

    /// Keeps only the beginning of records that are too long; their digest covers all of them.
    fn limit(&self, raw: &[u8], records: &mut [RawRecord]) {
        for record in records.iter_mut().filter(|record| record.end - record.start > self.max_record) {
            let bytes = raw.get(record.start..record.end).unwrap_or_default();
            record.add_defect(DefectCode::RecordTooLong);
            if let Some(odd) = &mut record.odd {
                odd.raw_mac = Some(self.raw_key.mac(RAW_DOMAIN, &[bytes]));
            }
            let kept = String::from_utf8_lossy(bytes.get(..KEPT.min(bytes.len())).unwrap_or_default());
            // Not in the middle of a character.
            let broken = kept.chars().rev().take_while(|c| *c == char::REPLACEMENT_CHARACTER).count().min(3);
            record.end = record.start + KEPT.min(bytes.len()) - broken;
        }
    }
}

/// Collects records until a delivery is large enough.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Their bytes, one after the other.
    pub raw: Vec<u8>,
    /// Where they stand in it.
    pub records: Vec<RawRecord>,
}

impl Pieces {
    /// Adds a record that starts at `offset` in its stream.
    pub fn push(&mut self, bytes: &[u8], offset: u64) {
        let start = self.raw.len();
        self.raw.extend_from_slice(bytes);
        self.records.push(RawRecord { start, end: self.raw.len(), offset, odd: None });
    }

    /// Whether it is time to hand it over.
    pub fn is_large(&self) -> bool {
        self.raw.len() >= PIECE
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use zeroize::Zeroizing;

    fn pair() -> (Feeder, Inbox) {
        let key = Key::new(1, Zeroizing::new([7; 32]));
        inbox("push", (Encoding::Utf8, 1024 * 1024), key, Waker::default())
    }

    fn delivery(lines: &[&[u8]]) -> Delivery {
        let mut pieces = Pieces::default();
        lines.iter().enumerate().for_each(|(number, line)| pieces.push(line, number as u64));
        Delivery { stream: "s".into(), raw: pieces.raw, records: pieces.records, ..Delivery::default() }
    }

    #[test]
    fn a_full_channel_takes_nothing_and_says_so() {
        let (feeder, mut inbox) = pair();
        for _ in 0..WAITING {
            assert!(feeder.try_send(delivery(&[b"abc"])).is_ok());
        }
        assert!(matches!(feeder.try_send(delivery(&[b"abc"])), Err(NotTaken::Full(_))));
        assert_eq!(inbox.lag().bytes, 3 * WAITING as u64);
        let polled = inbox.poll(Mode::Follow, 1 << 20);
        assert_eq!((polled.batches.len(), polled.idle), (WAITING, true));
        assert_eq!(inbox.lag().bytes, 0);
        drop(inbox);
        assert!(matches!(feeder.try_send(delivery(&[b"abc"])), Err(NotTaken::Over)));
    }

    #[test]
    fn once_waits_until_the_feeder_has_ended() {
        let (feeder, mut inbox) = pair();
        assert!(!inbox.poll(Mode::Once, 1).idle);
        assert!(feeder.send(delivery(&[b"a"])));
        drop(feeder);
        assert_eq!(inbox.poll(Mode::Once, 1).batches.len(), 1);
        assert!(inbox.poll(Mode::Once, 1).idle);
    }

    #[test]
    fn what_is_no_text_and_what_is_too_long_keep_a_digest_of_all_their_bytes() {
        let (feeder, mut inbox) = pair();
        let long = vec![b'x'; 2 * 1024 * 1024];
        assert!(feeder.send(delivery(&[b"good", b"b\xffd", &long, b"last"])));
        let batch = inbox.poll(Mode::Follow, 1).batches.pop().unwrap();
        let texts: Vec<&str> = batch.records.iter().map(|record| batch.text_of(record)).collect();
        assert_eq!((texts[0], texts[1], texts[3]), ("good", "b\u{fffd}d", "last"));
        assert_eq!(texts[2].len(), KEPT);
        assert_eq!(batch.records[1].raw_mac(), Some(batch.raw_key.mac(RAW_DOMAIN, &[b"b\xffd"])));
        assert_eq!(batch.records[2].raw_mac(), Some(batch.raw_key.mac(RAW_DOMAIN, &[&long])));
        assert_eq!(batch.records[2].full_length(), long.len() as u64);
        assert_eq!(batch.records[2].defects(), [DefectCode::RecordTooLong]);
    }
}
