//! A command whose output is records, and standard input: for connectors that people write themselves.
//!
//! # The command
//!
//! It is started without a shell, in a process group of its own, with an empty environment except `PATH`,
//! `LANG`, `TZ=UTC` and the two below; standard input is empty. It prints one record a line. When it ends it is
//! started again: after `every:` where it ended with 0, else after a pause that doubles from [`FIRST_PAUSE`] to
//! [`LAST_PAUSE`]. The end of an outage and its beginning are told, with the last line that it wrote to standard
//! error, masked.
//!
//! | line | means |
//! |---|---|
//! | `#cursor <text>` | everything before it is complete; start from `<text>` (at most [`CURSOR_MAX`] bytes) next time |
//! | everything else | a record |
//!
//! `CRMWARDEN_CURSOR` holds the last text whose records are in the trail (empty at first), `CRMWARDEN_SOURCE` the
//! source's name. Records and the cursor after them are one commit, so a command that prints cursors is read
//! exactly once, as long as it starts where the cursor says. Up to [`HELD`] bytes wait for their cursor; what is
//! beyond, and what a command prints that knows no cursors, is committed at once and can repeat after a crash.
//!
//! # Standard input
//!
//! Read to its end, once. It has no identity: a restart knows nothing of what another process was given.

use super::cutter::Cutter;
use super::inbox::{Delivery, Feeder, PIECE};
use super::letters::{letters, parse_letters};
use super::{Fact, Notice};
use crate::model::record::{Encoding, Framing};
use serde_json::{Map, Value};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Longest cursor, bytes.
pub const CURSOR_MAX: usize = 4096;
/// Bytes of records that wait for their cursor.
pub const HELD: usize = 16 << 20;
/// Pause after the first failure, and the longest.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two starts.
pub const LAST_PAUSE: Duration = Duration::from_secs(300);
/// Output that came so long after the last is handed over without waiting for more.
const QUIET: Duration = Duration::from_millis(100);
/// Bytes of standard error that are kept.
const STDERR_KEPT: usize = 2048;
const STREAM: &str = "exec";
const CURSOR_LINE: &[u8] = b"#cursor ";

/// What is run, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Pause after an end with 0.
    pub every: Duration,
    /// Its working folder.
    pub folder: PathBuf,
}

/// Runs the command again and again until `stop` is dropped, or, with `once`, one time.
pub fn run(
    name: &str,
    options: &Options,
    position: Option<&Value>,
    max_record: usize,
    once: bool,
    (feeder, stop): (Feeder, Receiver<()>),
) {
    let place = options.command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
    let cursor = position.and_then(|position| parse_letters(position.get("cursor")?.as_str()?));
    let mut runner = Runner {
        name: name.to_owned(),
        place: format!("exec:{place}"),
        options: options.clone(),
        cursor,
        held: super::inbox::Pieces::default(),
        max_record,
        feeder,
        failing: false,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = runner.once(&stop);
        let wait = match ended {
            Ended::Stopped => return,
            Ended::Well => {
                pause = FIRST_PAUSE;
                options.every
            }
            Ended::Badly => {
                let now = pause;
                pause = (pause * 2).min(LAST_PAUSE);
                now
            }
        };
        if once || stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

enum Ended {
    Well,
    Badly,
    Stopped,
}

struct Runner {
    name: String,
    place: String,
    options: Options,
    cursor: Option<Vec<u8>>,
    /// Records that wait for their cursor.
    held: super::inbox::Pieces,
    max_record: usize,
    feeder: Feeder,
    failing: bool,
}

impl Runner {
    fn once(&mut self, stop: &Receiver<()>) -> Ended {
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => return self.failed(&format!("it cannot be started: {error}")),
        };
        let (Some(mut output), Some(mut complaints)) = (child.stdout.take(), child.stderr.take()) else {
            return self.failed("it has no output");
        };
        let (send, chunks) = sync_channel::<Vec<u8>>(2);
        let reading = std::thread::spawn(move || read_all(&mut output, &send));
        let listening = std::thread::spawn(move || last_of(&mut complaints));
        let stopped = !self.take(&chunks, stop);
        if stopped {
            kill(&mut child);
        }
        drop(chunks);
        let status = child.wait();
        let _ = reading.join();
        let said = listening.join().unwrap_or_default();
        if stopped {
            return Ended::Stopped;
        }
        match status {
            Ok(status) if status.success() => self.recovered(),
            Ok(status) => self.failed(&format!("it ended with {status}{said}")),
            Err(error) => self.failed(&format!("it cannot be waited for: {error}")),
        }
    }

    fn start(&self) -> io::Result<Child> {
        use std::os::unix::ffi::OsStringExt;
        let mut words = self.options.command.iter();
        let program = words.next().ok_or_else(|| io::Error::other("no program is named"))?;
        let cursor = std::ffi::OsString::from_vec(self.cursor.clone().unwrap_or_default());
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("CRMWARDEN_SOURCE", &self.name)
            .env("CRMWARDEN_CURSOR", cursor)
            .current_dir(&self.options.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn()
    }

    /// Takes output until it ends. `false`: the daemon ends.
    fn take(&mut self, chunks: &Receiver<Vec<u8>>, stop: &Receiver<()>) -> bool {
        let mut cutter = Cutter::new(Framing::Line, Encoding::Utf8, self.max_record);
        loop {
            if stop.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return false;
            }
            let whole = match chunks.recv_timeout(QUIET) {
                Ok(chunk) => cutter.feed(&chunk),
                Err(RecvTimeoutError::Timeout) => {
                    // Who knows cursors is waited for; what others print is to be seen at once.
                    if self.cursor.is_none() && !self.flush() {
                        return false;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let last = cutter.finish();
                    return self.records(last) && self.flush();
                }
            };
            if !self.records(whole) {
                return false;
            }
        }
    }

    /// Keeps records until their cursor comes.
    fn records(&mut self, whole: super::cutter::Whole) -> bool {
        let super::inbox::Pieces { raw, records } = whole.pieces;
        for mut record in records {
            let bytes = raw.get(record.start..record.end).unwrap_or_default();
            if let Some(cursor) = bytes.strip_prefix(CURSOR_LINE).filter(|cursor| cursor.len() <= CURSOR_MAX)
            {
                self.cursor = Some(cursor.to_vec());
                if !self.hand_over() {
                    return false;
                }
                continue;
            }
            self.held.push(bytes, record.offset);
            if let Some(last) = self.held.records.last_mut() {
                last.odd = record.odd.take();
            }
        }
        // Who knows cursors is waited for.
        let room = if self.cursor.is_some() { HELD } else { PIECE };
        self.held.raw.len() <= room || self.flush()
    }

    /// Hands over what is held, if anything is.
    fn flush(&mut self) -> bool {
        self.held.is_empty() || self.hand_over()
    }

    /// Hands over what is held, and with the last of it the cursor.
    fn hand_over(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        self.feeder.send(Delivery {
            stream: STREAM.to_owned(),
            place: self.place.clone(),
            raw: held.raw,
            records: held.records,
            after: self.position(),
            ..Delivery::default()
        })
    }

    fn position(&self) -> Value {
        let mut position = Map::new();
        if let Some(cursor) = &self.cursor {
            position.insert("cursor".into(), letters(cursor).into());
        }
        Value::Object(position)
    }

    fn failed(&mut self, why: &str) -> Ended {
        if !std::mem::replace(&mut self.failing, true) && !self.tell(Fact::Unreadable { why: why.to_owned() })
        {
            return Ended::Stopped;
        }
        Ended::Badly
    }

    fn recovered(&mut self) -> Ended {
        match !std::mem::replace(&mut self.failing, false) || self.tell(Fact::Readable) {
            true => Ended::Well,
            false => Ended::Stopped,
        }
    }

    fn tell(&self, fact: Fact) -> bool {
        let notice = Notice { stream: None, file: self.place.as_str().into(), fact };
        let (stream, place) = (STREAM.to_owned(), self.place.clone());
        self.feeder.send(Delivery {
            stream,
            place,
            after: self.position(),
            notices: vec![notice],
            ..Delivery::default()
        })
    }
}

/// Ends the command and what it has started.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

fn read_all(output: &mut impl Read, out: &std::sync::mpsc::SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) if out.send(buffer.get(..read).unwrap_or_default().to_vec()).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The last line of what was written, as the end of a sentence.
fn last_of(complaints: &mut impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = complaints.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| {
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!(": {}", plain.trim())
    })
}

/// Reads standard input, or whatever stands for it, to its end.
pub fn read_stream(
    input: &mut impl Read,
    (framing, encoding, max_record): (Framing, Encoding, usize),
    feeder: &Feeder,
) -> io::Result<()> {
    let mut cutter = Cutter::new(framing, encoding, max_record);
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let whole = match read {
            0 => cutter.finish(),
            _ => cutter.feed(buffer.get(..read).unwrap_or_default()),
        };
        if !whole.is_empty() {
            let mut delivery = cutter.delivery(whole, "stdin", "stdin");
            delivery.after = Value::Object(Map::from_iter([("bytes".to_owned(), cutter.offset().into())]));
            if !feeder.send(delivery) {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// Whether a program can be found, for `check`.
pub fn is_found(program: &str, folder: &Path) -> bool {
    match program.contains('/') {
        true => folder.join(program).is_file(),
        false => {
            ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(program).is_file())
        }
    }
}
