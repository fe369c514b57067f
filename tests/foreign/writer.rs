//! A trail made by hand from the description of its format, with keys that the test knows: so it can hold what the
//! program would never write, epochs that nobody announced and commits by yesterday's key. Nothing of the
//! program's own trail code is used; the tree is RFC 6962 as its section 2.1 puts it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

pub const ORIGIN: &str = "made.example/crmwarden/g1";

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn leaf(line: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

/// MTH of RFC 6962.
pub fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            Sha256::new()
                .chain_update([1])
                .chain_update(root(left))
                .chain_update(root(right))
                .finalize()
                .into()
        }
    }
}

/// PATH of RFC 6962: the hashes that lead from a leaf to the root.
pub fn inclusion(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (inclusion(index, left), root(right)),
        Some(index) => (inclusion(index, right), root(left)),
    };
    path.push(sibling);
    path
}

/// PROOF of RFC 6962: that the tree over the first `old` leaves is a part of this one.
pub fn consistency(old: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    subproof(old, leaves, true)
}

fn subproof(old: usize, leaves: &[[u8; 32]], known: bool) -> Vec<[u8; 32]> {
    if old == leaves.len() {
        return if known { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, sibling) = match old.checked_sub(left.len()) {
        None | Some(0) => (subproof(old, left, known), root(right)),
        Some(old) => (subproof(old, right, false), root(left)),
    };
    path.push(sibling);
    path
}

/// A C2SP verifier key of type 0x01, and the first four bytes of its hash.
pub fn vkey(name: &str, key: &SigningKey) -> (String, [u8; 4]) {
    let data = [&[1][..], key.verifying_key().as_bytes()].concat();
    let digest = Sha256::digest([name.as_bytes(), b"\n", &data].concat());
    let id = [digest[0], digest[1], digest[2], digest[3]];
    (format!("{name}+{}+{}", hex(&id), STANDARD.encode(data)), id)
}

pub fn epoch_name(number: u8) -> String {
    format!("{ORIGIN}/epoch{number}")
}

/// The key of an epoch: any number gives one.
pub fn epoch_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + number; 32])
}

pub fn log_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// A trail under construction.
#[derive(Clone)]
pub struct Writer {
    pub lines: Vec<String>,
    leaves: Vec<[u8; 32]>,
    /// Signs the next commit.
    pub epoch: u8,
    next: Option<u8>,
    /// The epoch whose key signed the commit before each size, 255 where there is none.
    closers: Vec<u8>,
    /// Indices at which segments begin.
    segments: Vec<usize>,
}

impl Writer {
    /// Genesis, segment, commit.
    pub fn new() -> Writer {
        let mut writer = Writer {
            lines: Vec::new(),
            leaves: Vec::new(),
            epoch: 0,
            next: None,
            closers: vec![255],
            segments: vec![0],
        };
        let (log, _) = vkey(ORIGIN, &log_key());
        let (epoch, _) = vkey(&epoch_name(0), &epoch_key(0));
        writer.entry(
            "genesis",
            &format!(
                ",\"v\":1,\"origin\":\"{ORIGIN}\",\"log\":\"{log}\",\"epoch\":\"{epoch}\",\"report\":\"\",\"privacy\":\"plain\""
            ),
        );
        writer.entry("segment", ",\"v\":1,\"generation\":1,\"cursors\":{}");
        writer.commit();
        writer
    }

    /// An entry; `rest` is what follows its kind, with its comma.
    pub fn entry(&mut self, kind: &str, rest: &str) {
        let index = self.lines.len();
        let prev = self.leaves.last().copied().unwrap_or_default();
        let time =
            format!("2026-11-{:02}T{:02}:{:02}:00.000000Z", 1 + index / 1440, index / 60 % 24, index % 60);
        let line = format!(
            "{{\"i\":{index},\"prev\":\"{}\",\"t\":\"{time}\",\"kind\":\"{kind}\"{rest}}}",
            hex(&prev)
        );
        self.leaves.push(leaf(line.as_bytes()));
        self.lines.push(line);
        self.closers.push(255);
    }

    pub fn event(&mut self) {
        let text = format!(
            ",\"n\":{},\"text\":\"a\\\"kind\\\":\\\"commit\\\" é 100 % \\\\ `$HOME`\"",
            self.lines.len()
        );
        self.entry("event", &text);
    }

    pub fn commit(&mut self) {
        self.commit_by(&epoch_key(self.epoch));
    }

    /// A commit, whoever signs it; the announced epoch begins after it.
    pub fn commit_by(&mut self, key: &SigningKey) {
        let root = hex(&root(&self.leaves));
        let text = format!(",\"root\":\"{root}\",\"cursors\":{{\"web\":{}}}", self.lines.len());
        self.entry("commit", &text);
        let unsigned = self.lines.pop().unwrap();
        self.leaves.pop();
        let unsigned = unsigned.strip_suffix('}').unwrap();
        let signature = key.sign(format!("crmwarden/commit/v1\n{ORIGIN}\n{unsigned}").as_bytes());
        let line = format!("{unsigned},\"sig\":\"{}\"}}", STANDARD.encode(signature.to_bytes()));
        self.leaves.push(leaf(line.as_bytes()));
        self.lines.push(line);
        *self.closers.last_mut().unwrap() = self.epoch;
        self.epoch = self.next.take().unwrap_or(self.epoch);
    }

    /// Announces an epoch, signed by `signer`.
    pub fn announce(&mut self, number: u8, signer: &SigningKey) {
        let (vkey, _) = vkey(&epoch_name(number), &epoch_key(number));
        let message = format!("crmwarden/key.epoch/v1\n{ORIGIN}\n{}\n{vkey}\n", self.lines.len());
        let signature = STANDARD.encode(signer.sign(message.as_bytes()).to_bytes());
        self.entry("key.epoch", &format!(",\"epoch\":{number},\"key\":\"{vkey}\",\"sig\":\"{signature}\""));
        self.next = Some(number);
    }

    /// The next epoch as it should begin.
    pub fn change_epoch(&mut self) {
        self.announce(self.epoch + 1, &epoch_key(self.epoch));
        self.commit();
    }

    /// A segment begins here with a group of its own.
    pub fn begin_segment(&mut self) {
        self.segments.push(self.lines.len());
        self.entry("segment", ",\"v\":1,\"generation\":1,\"cursors\":{}");
        self.commit();
    }

    /// A group of some events.
    pub fn group(&mut self, events: usize) {
        for _ in 0..events {
            self.event();
        }
        self.commit();
    }

    /// Whether a commit closes the first `size` entries, and the epoch whose key signed it.
    pub fn closes(&self, size: usize) -> bool {
        self.closers[size] != 255
    }

    pub fn closer(&self, size: usize) -> u8 {
        self.closers[size]
    }

    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    pub fn leaves(&self) -> &[[u8; 32]] {
        &self.leaves
    }

    /// Roots of the full subtrees over the first `size` entries, the largest first.
    pub fn edge(&self, size: usize) -> Vec<[u8; 32]> {
        let mut start = 0;
        let mut edge = Vec::new();
        for width in (0..usize::BITS).rev().map(|bit| 1usize << bit).filter(|width| size & width != 0) {
            edge.push(root(&self.leaves[start..start + width]));
            start += width;
        }
        edge
    }

    pub fn root(&self, size: usize) -> [u8; 32] {
        root(&self.leaves[..size])
    }

    /// The checkpoint over the first `size` entries, signed as it should be.
    pub fn checkpoint(&self, size: usize) -> String {
        self.checkpoint_by(size, self.closers[size])
    }

    pub fn checkpoint_by(&self, size: usize, epoch: u8) -> String {
        let text = format!("{ORIGIN}\n{size}\n{}\n", STANDARD.encode(root(&self.leaves[..size])));
        let line = |name: &str, key: &SigningKey| {
            let (_, id) = vkey(name, key);
            let bytes = [&id[..], &key.sign(text.as_bytes()).to_bytes()].concat();
            format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
        };
        let (log, epoch) = (line(ORIGIN, &log_key()), line(&epoch_name(epoch), &epoch_key(epoch)));
        format!("{text}\n{log}{epoch}")
    }

    pub fn trust(&self) -> String {
        let (log, _) = vkey(ORIGIN, &log_key());
        let (epoch, _) = vkey(&epoch_name(0), &epoch_key(0));
        let entry0 = hex(&self.leaves[0]);
        format!(
            "crmwarden-trust v1\norigin {ORIGIN}\nlog {log}\nepoch0 {epoch}\nentry0 {entry0}\nreport ssh-ed25519 AAAA\n\nlog {log}\nquorum none\n"
        )
    }

    /// Writes `trust.txt` and the state into a folder, with the checkpoint over everything.
    pub fn store(&self, folder: &Path) {
        self.store_with(folder, &self.checkpoint(self.lines.len()));
    }

    pub fn store_with(&self, folder: &Path, checkpoint: &str) {
        let generation = folder.join("state/trail/g1");
        fs::create_dir_all(generation.join("segments")).unwrap();
        for (place, first) in self.segments.iter().enumerate() {
            let end = self.segments.get(place + 1).copied().unwrap_or(self.lines.len());
            let text: String = self.lines[*first..end].iter().map(|line| format!("{line}\n")).collect();
            fs::write(generation.join(format!("segments/{first:020}.jsonl")), text).unwrap();
        }
        fs::write(generation.join("checkpoint"), checkpoint).unwrap();
        fs::write(folder.join("trust.txt"), self.trust()).unwrap();
    }
}
