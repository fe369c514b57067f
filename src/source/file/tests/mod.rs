//! The file source against real files in temporary folders.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod framing;
mod packed;
mod resume;
mod rotation;

use super::*;
use crate::source::{RAW_DOMAIN, RawRecord};
use std::fs;
use std::io::Write;
use tempfile::TempDir;
use zeroize::Zeroizing;

fn raw_key() -> Key {
    Key::new(7, Zeroizing::new([2; 32]))
}

/// What the pipeline would have committed, and a source reading one folder.
struct Bench {
    folder: TempDir,
    options: Options,
    source: FileSource,
    positions: BTreeMap<String, Value>,
    records: Vec<String>,
    notices: Vec<Notice>,
    batches: Vec<Batch>,
    now: Instant,
}

impl Bench {
    fn new(pattern: &str, framing: Framing) -> Bench {
        Bench::with(pattern, framing, |_| {})
    }

    fn with(pattern: &str, framing: Framing, change: impl FnOnce(&mut Options)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options {
            name: "feed".to_owned(),
            paths: vec![format!("{}/{pattern}", folder.path().display())],
            framing,
            encoding: Encoding::Utf8,
            start_at: StartAt::Beginning,
            max_record: MAX_RECORD,
            read_size: READ_SIZE,
            open_files: OPEN_FILES,
            exclude: Vec::new(),
            scratch: None,
            whole: false,
            matching_key: Key::new(0, Zeroizing::new([1; 32])),
            raw_key: raw_key(),
        };
        change(&mut options);
        let source = FileSource::new(options.clone()).unwrap();
        let now = Instant::now();
        let (positions, records, notices, batches) = Default::default();
        Bench { folder, options, source, positions, records, notices, batches, now }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// A new process: only the committed positions are known.
    fn restart(&mut self) {
        self.source = FileSource::new(self.options.clone()).unwrap();
        self.source.resume_at(&self.positions, self.now);
    }

    /// Commits what one poll returned.
    fn commit(&mut self, polled: Polled) -> Vec<String> {
        let mut records = Vec::new();
        for batch in polled.batches {
            check(&batch);
            records.extend(batch.records.iter().map(|record| batch.text_of(record).to_owned()));
            self.positions.insert(batch.stream.clone(), batch.after.clone());
            for retired in &batch.retired {
                self.positions.remove(retired);
            }
            self.notices.extend(batch.notices.iter().cloned());
            self.batches.push(batch);
        }
        self.notices.extend(polled.notices);
        self.records.extend(records.iter().cloned());
        records
    }

    /// Polls until nothing is left; returns the new records.
    fn drain(&mut self, mode: Mode) -> Vec<String> {
        let mut records = Vec::new();
        for _ in 0..10_000 {
            let polled = self.source.poll_at(mode, 1 << 20, self.now);
            let idle = polled.idle;
            records.extend(self.commit(polled));
            if idle {
                return records;
            }
        }
        panic!("never idle");
    }

    fn follow(&mut self) -> Vec<String> {
        self.drain(Mode::Follow)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The words of the notices since the last call.
    fn whats(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.notices).iter().map(Notice::what).collect()
    }

    /// The same, with gaps marked.
    fn gaps(&mut self) -> Vec<String> {
        let notices = std::mem::take(&mut self.notices);
        notices.iter().map(|one| format!("{}{}", one.what(), if one.gap() { "!" } else { "" })).collect()
    }

    fn last_record(&self) -> (&Batch, &RawRecord) {
        let batch = self.batches.iter().rev().find(|batch| !batch.records.is_empty()).unwrap();
        (batch, batch.records.last().unwrap())
    }
}

/// What holds for every batch.
fn check(batch: &Batch) {
    assert_eq!(&*batch.source, "feed");
    let mut before = None;
    for record in &batch.records {
        assert!(batch.text.get(record.start..record.end).is_some());
        assert!(before.is_none_or(|before| before < record.offset));
        before = Some(record.offset);
    }
}

fn lines(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("line {number} of a log with some text\n")).collect()
}

fn expect_lines(range: std::ops::Range<usize>) -> Vec<String> {
    lines(range).lines().map(str::to_owned).collect()
}

fn mac(bytes: &[u8]) -> crate::model::Hash {
    raw_key().mac(RAW_DOMAIN, &[bytes])
}
