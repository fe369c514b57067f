//! A tailer at work: the real file source, stage, writer and trail on real files, on clocks that the test moves.

use super::common::Home;
use super::common::feeds::{Feed, markers};
use super::common::writer::{self, Running};
use crmwarden::clock::Hands;
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::model::Time;
use crmwarden::model::record::{Encoding, Framing};
use crmwarden::pipeline::ToWriter;
use crmwarden::source::file::{FileSource, MAX_RECORD, Mode, Options, READ_SIZE, StartAt};
use crmwarden::trail::verify::{Given, Verdict, verify};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MORNING: Time = Time::from_seconds(1_795_341_600);

pub struct Rig {
    pub home: Home,
    hands: Hands,
    running: Option<Running>,
    source: Option<FileSource>,
    now: Instant,
    feed: Feed,
    /// Changes of the options, for every start.
    pub change: Box<dyn Fn(&mut Options)>,
    /// Bytes a poll may read.
    pub budget: u64,
}

impl Rig {
    /// Over access logs that match `a.log*`.
    pub fn web() -> Rig {
        Rig::new(Feed::Web, "a.log*")
    }

    pub fn new(feed: Feed, pattern: &str) -> Rig {
        let home = Home::empty();
        home.write("policies/.keep", b"");
        home.write("feed/.keep", b"");
        let format = match feed {
            Feed::Web => "access_log.combined",
            Feed::Salesforce => "salesforce.event_log",
            Feed::Dataverse => "dataverse.audit",
            Feed::Sap => "sap.security_audit_log\n    timezone: UTC",
        };
        home.write(
            "crmwarden.yaml",
            format!(
                "deployment: acme.example\nstate: state\npolicies: policies\nmetrics: \"off\"\nsources:\n  - name: feed\n    \
                 file: {{ paths: [\"feed/{pattern}\"] }}\n    format: {format}\n"
            )
            .as_bytes(),
        );
        let mut rig = Rig {
            home,
            hands: Hands::at(MORNING),
            running: None,
            source: None,
            now: Instant::now(),
            feed,
            change: Box::new(|_| ()),
            budget: 1 << 20,
        };
        rig.start(pattern);
        rig
    }

    /// Starts, or starts again, on what is in the trail.
    pub fn start(&mut self, pattern: &str) {
        (self.running, self.source) = (None, None);
        let running = writer::start(&self.home, &self.hands);
        let mut options = Options {
            name: "feed".into(),
            paths: vec![format!("{}/feed/{pattern}", self.home.dir.path().display())],
            framing: match self.feed {
                Feed::Web | Feed::Dataverse => Framing::Line,
                Feed::Salesforce => Framing::Csv,
                Feed::Sap => Framing::Fixed(200),
            },
            encoding: Encoding::Utf8,
            start_at: StartAt::Beginning,
            max_record: MAX_RECORD,
            read_size: READ_SIZE,
            open_files: crmwarden::source::file::OPEN_FILES,
            exclude: Vec::new(),
            scratch: Some(self.home.path("state")),
            whole: false,
            matching_key: running.matching.clone(),
            raw_key: running.key.clone(),
        };
        (self.change)(&mut options);
        let mut source = FileSource::new(options).unwrap();
        if let Some(streams) = running.writer.trail.cursors().get("feed") {
            let position = |(stream, position): (_, &Box<_>)| (String::clone(stream), parsed(position));
            source.resume_at(&streams.iter().map(position).collect::<BTreeMap<String, Value>>(), self.now);
        }
        (self.running, self.source) = (Some(running), Some(source));
    }

    /// The process dies between two system calls, and another starts.
    pub fn kill(&mut self) {
        self.start("a.log*");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path(&format!("feed/{name}"))
    }

    pub fn records(&self, numbers: Range<u64>) -> String {
        let mut random = Generator::new(7);
        numbers.map(|number| self.feed.record(number, &mut random)).collect()
    }

    pub fn append(&self, name: &str, numbers: Range<u64>) {
        self.append_bytes(name, self.records(numbers).as_bytes());
    }

    pub fn append_bytes(&self, name: &str, bytes: &[u8]) {
        self.home.append(&format!("feed/{name}"), bytes);
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        self.home.write(&format!("feed/{name}"), bytes);
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// logrotate's `copytruncate`.
    pub fn copy_truncate(&self, name: &str, copy: &str) {
        fs::copy(self.path(name), self.path(copy)).unwrap();
        fs::File::options().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.hands.advance(Duration::from_secs(seconds));
    }

    /// One poll, committed and signed. `true`: nothing is left.
    pub fn poll(&mut self) -> bool {
        let (Some(source), Some(running)) = (&mut self.source, &mut self.running) else {
            panic!("not started")
        };
        let polled = source.poll_at(Mode::Follow, self.budget, self.now);
        if !polled.notices.is_empty() {
            running.step(Some(ToWriter::Notices(Arc::from("feed"), polled.notices)));
        }
        polled.batches.into_iter().for_each(|batch| running.batch(batch));
        running.step(None);
        polled.idle
    }

    /// Polls until nothing is left.
    pub fn follow(&mut self) {
        let mut polls = 0;
        while !self.poll() {
            polls += 1;
            assert!(polls < 100_000, "never idle");
        }
    }

    /// The same for so many minutes, look after look.
    pub fn follow_for(&mut self, minutes: u64) {
        for _ in 0..minutes * 4 {
            self.follow();
            self.pass(15);
        }
        self.follow();
    }

    /// Positions in the trail.
    pub fn positions(&self) -> usize {
        let running = self.running.as_ref().unwrap();
        running.writer.trail.cursors().get("feed").map_or(0, BTreeMap::len)
    }

    /// Markers of all events, in the trail's order.
    pub fn markers(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.home.each_line(&mut |line| {
            if memchr::memmem::find(line, b"\"kind\":\"event\"").is_some() {
                all.extend(markers(line));
            }
        });
        all
    }

    /// Every one of these records once and no other, in their order for one file; and a whole trail.
    pub fn expect(&self, numbers: Range<u64>) {
        let read = self.markers();
        let mut sorted = read.clone();
        sorted.sort();
        let wanted: Vec<String> = numbers.map(|number| self.feed.marker(number)).collect();
        let doubled = sorted.windows(2).find(|pair| pair[0] == pair[1]);
        let missing = wanted.iter().find(|marker| !sorted.contains(marker));
        assert!(
            sorted == wanted,
            "{} of {}: twice {doubled:?}, missing {missing:?}",
            read.len(),
            wanted.len()
        );
        let outcome = verify(&self.home.path("state"), &Given::default(), &mut |_| ()).unwrap();
        assert_eq!(outcome.verdict, Verdict::Ok, "{outcome:?}");
    }

    /// The same, and in this order.
    pub fn expect_in_order(&self, numbers: Range<u64>) {
        self.expect(numbers.clone());
        let wanted: Vec<String> = numbers.map(|number| self.feed.marker(number)).collect();
        let read = self.markers();
        let odd = read.iter().zip(&wanted).find(|(one, other)| one != other);
        assert!(odd.is_none(), "out of order: {odd:?}");
    }

    /// What was lost, or may have been: word, first byte, first byte after.
    pub fn gaps(&self) -> Vec<(String, Option<u64>, Option<u64>)> {
        let entries = self.home.of_kind("gap");
        let gap = |entry: &Value| {
            (entry["what"].as_str().unwrap().to_owned(), entry["from"].as_u64(), entry["to"].as_u64())
        };
        entries.iter().map(gap).collect()
    }

    /// What was told, lost or not.
    pub fn told(&self) -> String {
        let shown = self.running.as_ref().unwrap().shown.lock().unwrap();
        shown.iter().map(|what| format!("{what:?}\n")).collect()
    }

    pub fn events(&self) -> Vec<Value> {
        self.home.of_kind("event")
    }
}

fn parsed(position: &serde_json::value::RawValue) -> Value {
    serde_json::from_str(position.get()).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
