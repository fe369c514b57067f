//! The same file through this program, rsyslog and syslog-ng, in one run on one machine: read, parse JSON, match a
//! card number, write everything.
//!
//! ```text
//! cargo bench --bench compare              # 500 MB, three rounds
//! MB=100 ROUNDS=1 cargo bench --bench compare
//! RSYSLOG=/opt/rsyslog/usr/sbin/rsyslogd RSYSLOG_MODULES=… cargo bench --bench compare
//! ```
//!
//! The peers write the lines that they read, and those with a number to a second file. This program does with all
//! default policies what it always does: events normalised, numbers masked, rules, a hash chain and a tree, a sync a group
//! and a signature every second. One line in a hundred holds a valid number. CPU is user and
//! system time of the whole process; memory is its peak. The programs take turns, each in a fresh folder: the first to
//! write to memory that a virtual machine has not touched for long pays for it, seconds in bad cases. Shown is the round
//! of median CPU, with the lines a CPU second of the worst and the best. Debian's two packages exclude each other: unpack one of
//! them with `dpkg -x` and name it as above. A peer that is missing is left out, and the bench says so.
//!
//! The bare loop is the least that somebody could write for the same end, one thread and no more: read, parse into
//! borrowed strings, match the pattern, hash the line with the hash before it, write it, sync every megabyte. It
//! normalises nothing, masks nothing, has no rules, no tree, no signature and no position to resume at.
//!
//! The bare trail is the same loop with the hashing and writing of a trail: a keyed digest of every record, an entry with
//! our members, its hash in the next one and in a tree, a sync a megabyte, and every byte read back and hashed again. It
//! has no commit lines, signatures, tiles or checkpoints, and what changed stands there as a constant, unread. So its row
//! is about what a program could reach that keeps such a trail and does nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::model::Hash;
use crmwarden::model::digest::write_hex;
use crmwarden::trail::tree::{Frontier, leaf_hash};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_crmwarden");
/// Folder in which this program is nothing but the bare loop.
const BARE_LOOP: &str = "CRMWARDEN_BARE_LOOP";
/// The same for the bare trail.
const BARE_TRAIL: &str = "CRMWARDEN_BARE_TRAIL";
/// Both sync after so many bytes.
const GROUP: usize = 1 << 20;
const PATTERN: &str = "4[0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}";

struct Input {
    lines: u64,
    hits: u64,
    bytes: u64,
}

/// What one program took.
struct Took {
    wall: f64,
    cpu: f64,
    peak_mb: f64,
}

fn main() {
    if let Some(folder) = std::env::var_os(BARE_LOOP) {
        return bare_loop(Path::new(&folder));
    }
    if let Some(folder) = std::env::var_os(BARE_TRAIL) {
        return bare_trail(Path::new(&folder));
    }
    let megabytes: u64 = std::env::var("MB").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3).max(1);
    let dir = tempfile::tempdir().unwrap();
    let input = write_input(dir.path(), megabytes * 1_000_000);
    println!(
        "{} lines, {} of them with a number, {:.1} MB",
        input.lines,
        input.hits,
        input.bytes as f64 / 1e6
    );
    let programs: [(&str, Program); 5] = [
        ("crmwarden", own),
        ("syslog-ng", syslog_ng),
        ("rsyslog", rsyslog),
        ("bare loop", |folder, input| bare(folder, input, BARE_LOOP)),
        ("bare trail", |folder, input| bare(folder, input, BARE_TRAIL)),
    ];
    let mut runs: [Vec<Took>; 5] = Default::default();
    for _ in 0..rounds {
        for ((_, program), runs) in programs.iter().zip(&mut runs) {
            let fresh = tempfile::tempdir_in(dir.path()).unwrap();
            fs::hard_link(dir.path().join("in.jsonl"), fresh.path().join("in.jsonl")).unwrap();
            runs.extend(program(fresh.path(), &input));
        }
    }
    println!(
        "{:<14}{:>9}{:>9}{:>12}{:>14}{:>20}{:>10}",
        "", "wall s", "CPU s", "lines/s", "lines/CPU s", "worst to best", "peak MB"
    );
    let mut own = None;
    for ((name, _), mut runs) in programs.into_iter().zip(runs) {
        let rate = print(name, &input, &mut runs);
        if let (Some(own), Some(rate)) = (own, rate) {
            println!("{:>14} {:.2} times the lines a CPU second of {name}", "crmwarden:", own / rate);
        }
        own = own.or(rate);
    }
}

/// Runs in a folder of its own. `None`: it is not there, or did not do the work.
type Program = fn(&Path, &Input) -> Option<Took>;

fn print(name: &str, input: &Input, runs: &mut [Took]) -> Option<f64> {
    runs.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let rate = |took: &Took| input.lines as f64 / took.cpu;
    let (Some(best), Some(worst), Some(took)) = (runs.first(), runs.last(), runs.get(runs.len() / 2)) else {
        println!("{name:<14} is not installed, or did not start");
        return None;
    };
    println!(
        "{name:<14}{:>9.2}{:>9.2}{:>12.0}{:>14.0}{:>20}{:>10.1}",
        took.wall,
        took.cpu,
        input.lines as f64 / took.wall,
        rate(took),
        format!("{:.0} to {:.0}", rate(worst), rate(best)),
        took.peak_mb
    );
    Some(rate(took))
}

fn write_input(dir: &Path, bytes: u64) -> Input {
    let mut random = Generator::new(42);
    let mut out = BufWriter::new(File::create(dir.join("in.jsonl")).unwrap());
    let mut input = Input { lines: 0, hits: 0, bytes: 0 };
    while input.bytes < bytes {
        let hit = input.lines % 100 == 17;
        let note = match hit {
            true => random.card("visa"),
            false => format!("case {} was looked at and closed", random.below(100_000)),
        };
        let line = format!(
            "{{\"auditid\":\"{:08x}-41b5-ec11-983f-{:012x}\",\"createdon\":\"2026-11-20T{:02}:{:02}:{:02}Z\",\"operation\":2,\
             \"action\":2,\"objecttypecode\":\"incident\",\"_objectid_value\":\"4026be43-41b5-ec11-983f-0000000{:05}\",\
             \"_userid_value\":\"4026be43-41b5-ec11-983f-000000000{:03}\",\"changedata\":\"{{\\\"changedAttributes\\\":\
             [{{\\\"logicalName\\\":\\\"description\\\",\\\"oldValue\\\":null,\\\"newValue\\\":\\\"{note}\\\"}}]}}\"}}\n",
            random.below(1 << 32),
            random.below(1 << 48),
            // Sixty in a second, in order, as such a feed has them.
            input.lines / 216_000 % 24,
            input.lines / 3_600 % 60,
            input.lines / 60 % 60,
            random.below(99_999),
            random.below(500),
        );
        out.write_all(line.as_bytes()).unwrap();
        input.lines += 1;
        input.hits += u64::from(hit);
        input.bytes += line.len() as u64;
    }
    out.flush().unwrap();
    input
}

fn own(dir: &Path, input: &Input) -> Option<Took> {
    let policies = format!("{}/policies", env!("CARGO_MANIFEST_DIR"));
    fs::write(
        dir.join("crmwarden.yaml"),
        format!(
            "deployment: bench.example\nstate: state\npolicies: {policies}\nmetrics: \"off\"\nsources:\n  - name: dv\n    \
             file: {{ paths: [\"in.jsonl\"] }}\n    format: dataverse.audit\n"
        ),
    )
    .unwrap();
    let mut command = Command::new(BINARY);
    command.args(["run", "--once"]).current_dir(dir);
    let took = measure(command, |child| child.try_wait().unwrap().is_some()).unwrap();
    let mut events = 0;
    for file in fs::read_dir(dir.join("state/trail/g1/segments")).unwrap() {
        let lines = BufReader::new(File::open(file.unwrap().path()).unwrap());
        events +=
            lines.lines().filter(|line| line.as_ref().unwrap().contains("\"kind\":\"event\"")).count() as u64;
    }
    assert_eq!(events, input.lines, "every line must be one event");
    Some(took)
}

/// A row of the input, borrowed where nothing is escaped.
#[derive(serde::Deserialize)]
struct Row<'a> {
    auditid: &'a str,
    createdon: &'a str,
    operation: u64,
    action: u64,
    objecttypecode: &'a str,
    _objectid_value: &'a str,
    _userid_value: &'a str,
    #[serde(borrow)]
    changedata: std::borrow::Cow<'a, str>,
}

impl Row<'_> {
    /// All of it is parsed because that is the work.
    fn is_hit(&self, pattern: &regex::bytes::Regex) -> bool {
        let texts =
            [self.auditid, self.createdon, self.objecttypecode, self._objectid_value, self._userid_value];
        std::hint::black_box((texts, self.operation, self.action));
        pattern.is_match(self.changedata.as_bytes())
    }
}

fn bare_loop(folder: &Path) {
    let pattern = regex::bytes::Regex::new(PATTERN).unwrap();
    let mut input = BufReader::with_capacity(1 << 20, File::open(folder.join("in.jsonl")).unwrap());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(folder.join("bare.all")).unwrap());
    let mut hits = BufWriter::new(File::create(folder.join("bare.hits")).unwrap());
    let mut before = [0; 32];
    let (mut line, mut unsynced) = (Vec::new(), 0);
    while input.read_until(b'\n', &mut line).unwrap() > 0 {
        let row: Row<'_> = serde_json::from_slice(&line).unwrap();
        if row.is_hit(&pattern) {
            hits.write_all(&line).unwrap();
        }
        before = Sha256::new().chain_update(before).chain_update(&line).finalize().into();
        out.write_all(&line).unwrap();
        unsynced += line.len();
        if unsynced >= GROUP {
            out.flush().unwrap();
            out.get_ref().sync_data().unwrap();
            unsynced = 0;
        }
        line.clear();
    }
    std::hint::black_box(before);
}

fn bare_trail(folder: &Path) {
    let pattern = regex::bytes::Regex::new(PATTERN).unwrap();
    let key = Hmac::<Sha256>::new_from_slice(b"a key of a bench").unwrap();
    let mut input = BufReader::with_capacity(1 << 20, File::open(folder.join("in.jsonl")).unwrap());
    let mut hits = BufWriter::new(File::create(folder.join("bare.hits")).unwrap());
    let mut trail = BareTrail::create(folder);
    let (mut line, mut offset) = (Vec::new(), 0);
    while input.read_until(b'\n', &mut line).unwrap() > 0 {
        let row: Row<'_> = serde_json::from_slice(&line).unwrap();
        if row.is_hit(&pattern) {
            hits.write_all(&line).unwrap();
        }
        let digest = key.clone().chain_update(&line).finalize().into_bytes();
        trail.append(&row, offset, &digest);
        offset += line.len() as u64;
        line.clear();
    }
    trail.commit();
}

/// Entries of one megabyte at a time, their chain and their tree.
struct BareTrail {
    file: File,
    /// How many bytes of it are durable.
    durable: u64,
    group: Vec<u8>,
    /// Of the group: where the entries end, and their hashes.
    entries: Vec<(usize, Hash)>,
    before: Hash,
    tree: Frontier,
}

impl BareTrail {
    fn create(folder: &Path) -> BareTrail {
        let path = folder.join("bare.all");
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        let (group, entries) = (Vec::with_capacity(2 * GROUP), Vec::new());
        BareTrail { file, durable: 0, group, entries, before: Hash::default(), tree: Frontier::default() }
    }

    /// What the row says, in the order and the words of an `event` entry.
    fn append(&mut self, row: &Row<'_>, offset: u64, digest: &[u8]) {
        let start = self.group.len();
        write!(self.group, "{{\"i\":{},\"prev\":\"", self.tree.size()).unwrap();
        write_hex(&self.before.0, &mut self.group);
        let pieces = [
            "\",\"t\":\"2026-11-20T00:00:00.000000Z\",\"kind\":\"event\",\"time\":\"",
            row.createdon,
            "\",\"observed\":\"2026-11-20T00:00:00.000000Z\",\"source\":\"dv\",\"system\":\"dynamics365\",\
             \"feed\":\"dataverse.audit/Update\",\"uid\":\"",
            row.auditid,
            "\",\"category\":\"data_change\",\"action\":\"update\",\"outcome\":\"success\",\"status\":\"2\",\
             \"actor\":{\"id\":\"",
            row._userid_value,
            "\"},\"target\":{\"type\":\"",
            row.objecttypecode,
            "\",\"ids\":[\"",
            row._objectid_value,
            "\"]},\"fields\":[\"description\"],\"changes\":[{\"field\":\"description\"}],\
             \"raw\":{\"locator\":\"/in.jsonl@",
        ];
        pieces.iter().for_each(|piece| self.group.extend_from_slice(piece.as_bytes()));
        write!(self.group, "{offset}\",\"hmac\":\"1:").unwrap();
        write_hex(&digest[..16], &mut self.group);
        self.group.extend_from_slice(b"\"}}");
        let leaf = leaf_hash(&self.group[start..]);
        self.before = leaf;
        self.entries.push((self.group.len(), leaf));
        self.group.push(b'\n');
        self.tree.push(leaf, &mut |_, _, _| {});
        if self.group.len() >= GROUP {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.file.write_all_at(&self.group, self.durable).unwrap();
        self.file.sync_data().unwrap();
        self.file.read_exact_at(&mut self.group, self.durable).unwrap();
        let mut start = 0;
        for (end, hash) in self.entries.drain(..) {
            assert_eq!(leaf_hash(&self.group[start..end]), hash);
            start = end + 1;
        }
        self.durable += self.group.len() as u64;
        self.group.clear();
    }
}

fn bare(dir: &Path, input: &Input, which: &str) -> Option<Took> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(which, dir);
    let mut well = false;
    let took = measure(command, |child| {
        let ended = child.try_wait().unwrap();
        well = ended.is_some_and(|status| status.success());
        ended.is_some()
    })?;
    assert!(well, "{which} failed");
    let lines = |name: &str| BufReader::new(File::open(dir.join(name)).unwrap()).lines().count() as u64;
    let written = (lines("bare.all"), lines("bare.hits"));
    assert_eq!(written, (input.lines, input.hits), "every line must be written");
    Some(took)
}

fn syslog_ng(dir: &Path, input: &Input) -> Option<Took> {
    let path = dir.display();
    fs::write(
        dir.join("syslog-ng.conf"),
        format!(
            "@version: 3.35\noptions {{ stats-freq(0); flush-lines(1000); keep-hostname(yes); }};\n\
             source s {{ file(\"{path}/in.jsonl\" flags(no-parse) log-msg-size(65536) follow-freq(1)); }};\n\
             parser p {{ json-parser(prefix(\".j.\")); }};\n\
             filter f {{ match(\"{PATTERN}\" value(\".j.changedata\") type(pcre)); }};\n\
             destination all {{ file(\"{path}/ng.all\" template(\"$MSG\\n\")); }};\n\
             destination hits {{ file(\"{path}/ng.hits\" template(\"$MSG\\n\")); }};\n\
             log {{ source(s); parser(p); destination(all); log {{ filter(f); destination(hits); }}; }};\n"
        ),
    )
    .unwrap();
    let mut command = Command::new("syslog-ng");
    command.args(["-F", "--no-caps", "-f"]).arg(dir.join("syslog-ng.conf"));
    command
        .arg("-R")
        .arg(dir.join("ng.persist"))
        .arg("-p")
        .arg(dir.join("ng.pid"))
        .arg("-c")
        .arg(dir.join("ng.ctl"));
    peer(command, dir, ("ng.all", "ng.hits"), input)
}

fn rsyslog(dir: &Path, input: &Input) -> Option<Took> {
    let path = dir.display();
    fs::write(
        dir.join("rsyslog.conf"),
        format!(
            "global(workDirectory=\"{path}\" maxMessageSize=\"64k\")\n\
             module(load=\"imfile\" mode=\"polling\" pollingInterval=\"1\")\nmodule(load=\"mmjsonparse\")\n\
             template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")\n\
             input(type=\"imfile\" file=\"{path}/in.jsonl\" tag=\"crm\" ruleset=\"r\" addMetadata=\"off\")\n\
             ruleset(name=\"r\" queue.type=\"LinkedList\" queue.size=\"100000\" queue.timeoutEnqueue=\"600000\") {{\n\
             action(type=\"mmjsonparse\" cookie=\"\")\n\
             if re_match($!changedata, \"{PATTERN}\") then {{\n\
             action(type=\"omfile\" file=\"{path}/rs.hits\" template=\"raw\" asyncWriting=\"off\") }}\n\
             action(type=\"omfile\" file=\"{path}/rs.all\" template=\"raw\" asyncWriting=\"off\")\n}}\n"
        ),
    )
    .unwrap();
    let program = std::env::var("RSYSLOG").unwrap_or_else(|_| "rsyslogd".into());
    let mut command = Command::new(program);
    command.args(["-n", "-f"]).arg(dir.join("rsyslog.conf")).arg("-i").arg(dir.join("rs.pid"));
    if let Ok(modules) = std::env::var("RSYSLOG_MODULES") {
        command.arg("-M").arg(modules);
    }
    peer(command, dir, ("rs.all", "rs.hits"), input)
}

/// Runs until both files are whole, then ends it.
fn peer(command: Command, dir: &Path, (all, hits): (&str, &str), input: &Input) -> Option<Took> {
    let length = |name: &str| fs::metadata(dir.join(name)).map_or(0, |data| data.len());
    let began = Instant::now();
    let mut last = (0, Instant::now());
    let took = measure(command, |child| {
        let now = length(all);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let stalled = last.1.elapsed() > Duration::from_secs(20);
        let ended = child.try_wait().unwrap().is_some();
        if ended || stalled || began.elapsed() > Duration::from_secs(900) {
            return true;
        }
        if now < input.bytes {
            return false;
        }
        // The hits are written as the lines are; what is buffered leaves with the end.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        false
    })?;
    let lines = |name: &str| BufReader::new(File::open(dir.join(name)).unwrap()).lines().count() as u64;
    if length(all) == 0 || lines(all) != input.lines || lines(hits) != input.hits {
        println!("{all}: not every line was written");
        return None;
    }
    Some(took)
}

/// Runs a program until it is done, and looks at its memory meanwhile.
fn measure(mut command: Command, mut done: impl FnMut(&mut Child) -> bool) -> Option<Took> {
    let (cpu, began) = (children_cpu_seconds(), Instant::now());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let mut peak_mb = 0.0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak_mb = kilobytes.map_or(peak_mb, |kilobytes| kilobytes / 1000.0);
        if done(&mut child) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let wall = began.elapsed().as_secs_f64();
    let _ = child.kill();
    let _ = child.wait();
    Some(Took { wall, cpu: children_cpu_seconds() - cpu, peak_mb })
}

/// CPU of children that were waited for, in seconds (ticks of 10 ms).
fn children_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap().to_owned();
    let ticks = after_name.split_whitespace().skip(13).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
