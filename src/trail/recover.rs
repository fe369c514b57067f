//! Opening a trail after whatever happened: adopt what is ours, quarantine what a crash tore, refuse the rest.
//!
//! Below A, the size of the newest durable checkpoint, everything must give the signed root; any damage is
//! refused. At or above A, whole groups with our signature are adopted in order. The first group that is
//! not whole, and everything after it, is a torn tail, unless something stands there that no crash makes:
//! a whole, chained commit that our key did not sign, or two authentic commits after the damage (every group
//! is synced before the next is written, so at most the damaged group's own can stand there).
//!
//! # The cache
//!
//! `state/cache` is a header line and a body. The header (JSON) holds what the trail needs to resume at the
//! cache's size without reading what is before: frontier, previous hash, time, position in the segments, all
//! cursors, known quarantine digests. The body belongs to the pipeline. It counts only if the entries after
//! its size, put on its frontier, give the signed root, and one of them below A is a `state_cache` entry with
//! its digest: then both the frontier and the body are the ones that were signed.
//!
//! The file is long because the cases of a start are one table of decisions that lean on each other.

use super::detail::Privacy;
use super::disk::{self, Disk};
use super::entry::{Bodies, Entry};
use super::note::{Checkpoint, NOTE_MAX, NoteSigner, Verifier};
use super::read::{Lines, Met, SegmentFile, segments};
use super::tree::{Frontier, leaf_hash};
use super::writer::{Cursors, Head, Segment, Tiles, Trail, merge};
use super::{Keys, Paths, TrailError, VERSION, create, epoch_name, keys, origin};
use crate::model::{Hash, Time, digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest cache that is read.
const CACHE_MAX: u64 = 1 << 30;
/// Largest torn tail that is copied: more than a segment cannot be torn.
const TORN_MAX: u64 = super::SEGMENT_MAX + (64 << 20);

/// An opened trail and what was found.
pub struct Opened {
    /// Ready to append.
    pub trail: Trail,
    /// The long-lived keys.
    pub keys: Keys,
    /// The lock; hold it as long as the trail.
    pub lock: disk::Lock,
    /// The valid cache's body and its size: entries below that size are in it. `None`: read all.
    pub cache: Option<(u64, Vec<u8>)>,
    /// Whether the trail was just created.
    pub created: bool,
    /// What recovery did, for the operator: empty after a clean stop.
    pub recovered: Vec<String>,
}

/// What a cache's first line says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheHeader {
    version: u64,
    origin: String,
    size: u64,
    frontier: Vec<String>,
    prev: String,
    time: Time,
    segment: u64,
    offset: u64,
    since: Time,
    recovered: BTreeSet<String>,
    cursors: Cursors,
}

/// Digest of a whole cache file as it stands in `state_cache`.
pub(super) fn cache_digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

impl CacheHeader {
    pub(super) fn of(trail: &Trail) -> CacheHeader {
        CacheHeader {
            version: VERSION,
            origin: trail.origin.clone(),
            size: trail.head.frontier.size(),
            frontier: trail.head.frontier.hashes().iter().map(Hash::hex).collect(),
            prev: trail.head.prev.hex(),
            time: trail.head.time,
            segment: segment_first(&trail.segment.path),
            offset: trail.segment.length,
            since: trail.segment.since,
            recovered: trail.recovered.clone(),
            cursors: trail.cursors.clone(),
        }
    }

    pub(super) fn with_body(&self, body: &[u8]) -> Result<Vec<u8>, TrailError> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|error| TrailError::setup(format!("the cache cannot be written: {error}")))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        Ok(bytes)
    }

    fn position(&self) -> Option<Scan> {
        let hashes: Option<Vec<Hash>> = self.frontier.iter().map(|text| Hash::parse(text)).collect();
        Some(Scan {
            head: Head {
                frontier: Frontier::from_parts(self.size, hashes?)?,
                prev: Hash::parse(&self.prev)?,
                time: self.time,
            },
            segment: self.segment,
            offset: self.offset,
            since: self.since,
            cursors: self.cursors.clone(),
            recovered: self.recovered.clone(),
            leaves: None,
        })
    }
}

fn segment_first(path: &Path) -> u64 {
    path.file_stem().and_then(|stem| stem.to_str()).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A place in the segments and everything that the entries before it left behind.
#[derive(Clone)]
struct Scan {
    head: Head,
    /// First index of the segment the place is in.
    segment: u64,
    offset: u64,
    since: Time,
    cursors: Cursors,
    recovered: BTreeSet<String>,
    /// Tile hashes from entry 0 on, per level, where the scan began there.
    leaves: Option<Vec<Vec<u8>>>,
}

impl Scan {
    fn start() -> Scan {
        Scan {
            head: Head::start(),
            segment: 0,
            offset: 0,
            since: Time::EPOCH,
            cursors: Cursors::new(),
            recovered: BTreeSet::new(),
            leaves: Some(Vec::new()),
        }
    }

    /// Whether the entry continues the chain here.
    fn continues(&self, entry: &Entry<'_>) -> bool {
        entry.index == self.head.frontier.size()
            && entry.prev == self.head.prev
            && entry.time >= self.head.time
    }

    /// Takes an entry over.
    fn take(&mut self, entry: &Entry<'_>, end: u64) {
        let leaf = leaf_hash(entry.line);
        let tiles = &mut self.leaves;
        self.head.frontier.push(leaf, &mut |level, _, hash| {
            if let Some(tiles) = tiles {
                let level = level as usize;
                if tiles.len() <= level {
                    tiles.resize(level + 1, Vec::new());
                }
                tiles[level].extend_from_slice(&hash.0);
            }
        });
        self.head.prev = leaf;
        self.head.time = entry.time;
        if self.offset == 0 {
            self.since = entry.time;
        }
        self.offset = end;
        match entry.kind {
            "commit" => {
                #[derive(Deserialize)]
                struct Commit {
                    #[serde(default)]
                    cursors: Cursors,
                }
                if let Ok(commit) = serde_json::from_slice::<Commit>(&entry.object()) {
                    merge(&mut self.cursors, &commit.cursors);
                }
            }
            "recovery" => {
                #[derive(Deserialize)]
                struct Recovery {
                    digest: Option<String>,
                }
                if let Ok(Recovery { digest: Some(digest) }) = serde_json::from_slice(&entry.object()) {
                    self.recovered.insert(digest);
                }
            }
            _ => {}
        }
    }
}

/// What genesis says about the keys.
#[derive(Deserialize)]
struct Genesis {
    v: u64,
    origin: String,
    log: String,
    epoch: String,
}

/// Opens the trail of a deployment, or creates it where nothing was there before, plain.
pub fn open(disk: &Arc<dyn Disk>, paths: &Paths, deployment: &str, now: Time) -> Result<Opened, TrailError> {
    open_as(disk, paths, (deployment, Privacy::Plain), now)
}

/// The same; one that is created says in its genesis entry what its entries may hold.
pub fn open_as(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
) -> Result<Opened, TrailError> {
    create::check_deployment(deployment)?;
    create::prepare_folders(&**disk, paths)?;
    check_permissions(&paths.state)?;
    let lock_path = paths.trail().join("LOCK");
    if let Some(kind) = disk::network_file_system(&paths.trail())
        .map_err(|error| TrailError::io("look at", &paths.trail(), error))?
    {
        return Err(TrailError::setup(format!(
            "{} is on {kind}: locks and syncs cannot be relied on there; put `state:` on a local disk",
            paths.state.display()
        )));
    }
    let lock = disk::lock(&lock_path)
        .map_err(|error| TrailError::io("lock", &lock_path, error))?
        .map_err(|pid| TrailError::Busy { pid })?;
    let created = create::finish_or_create(disk, paths, (deployment, privacy), now)?;
    Trail::make_reserve(&**disk, paths)?;
    let keys = Keys::read(&paths.keys)?;
    let (trail, cache, recovered) = recover(disk, paths, deployment, &keys, now)?;
    Ok(Opened { trail, keys, lock, cache, created, recovered })
}

type Recovered = (Trail, Option<(u64, Vec<u8>)>, Vec<String>);

fn recover(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    deployment: &str,
    keys: &Keys,
    now: Time,
) -> Result<Recovered, TrailError> {
    let folder = paths.generation(1);
    let origin = origin(deployment, 1);
    let log = NoteSigner::new(origin.clone(), keys.log.clone());
    let epoch_key = keys::read_signing(&paths.epoch_key(0))?;
    let epoch = NoteSigner::new(epoch_name(&origin, 0), epoch_key);
    let files = segments(&folder)?;
    check_genesis(&files, &origin, &log.verifier(), &epoch.verifier())?;
    let (signed, note) = read_checkpoint(&folder, &origin, &log.verifier(), &epoch.verifier())?;

    let cached = read_cache(paths, &origin)?;
    let from_cache = match &cached {
        Some((start, digest, ..)) => scan_signed(&files, start.clone(), &signed, Some(digest)).ok(),
        None => None,
    };
    let (mut scan, cache) = match (from_cache, cached) {
        (Some((scan, true)), Some((start, _, body))) => (scan, Some((start.head.frontier.size(), body))),
        _ => (scan_signed(&files, Scan::start(), &signed, None)?.0, None),
    };
    let tail = adopt(&files, &mut scan, &origin, &epoch.verifier())?;
    let adopted = (signed.size, scan.head.frontier.size());

    let mut report = Vec::new();
    let mut bodies = Bodies::default();
    quarantine(&**disk, &folder, &tail, &mut bodies, &mut report)?;
    record_unnamed(&folder, &mut scan.recovered, &tail, &mut bodies)?;
    if adopted.1 > adopted.0 {
        let (first, last) = (adopted.0, adopted.1 - 1);
        bodies.push("recovery", |out| {
            out.extend_from_slice(format!("\"adopted\":{{\"first\":{first},\"last\":{last}}}").as_bytes());
        });
        report.push(format!("entries {first} to {last} were whole and ours, not yet signed: adopted"));
    }
    let mut trail = assemble(disk, paths, folder, scan, (log, epoch), (signed, note))?;
    for torn in &tail {
        trail.recovered.insert(torn.digest.clone());
    }
    if !bodies.is_empty() {
        trail.commit(&bodies, &Cursors::new(), now)?;
        trail.checkpoint(now)?;
    }
    Ok((trail, cache, report))
}

/// The state folder must not be writable by group or others, nor hold symlinks.
fn check_permissions(state: &Path) -> Result<(), TrailError> {
    let mut folders = vec![state.to_owned()];
    check_mode(state)?;
    while let Some(folder) = folders.pop() {
        for name in disk::names(&folder).map_err(|error| TrailError::io("list", &folder, error))? {
            let path = folder.join(name);
            check_mode(&path)?;
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

fn check_mode(path: &Path) -> Result<(), TrailError> {
    let found = disk::mode(path).map_err(|error| TrailError::io("look at", path, error))?;
    let Some((mode, symlink)) = found else { return Ok(()) };
    if symlink {
        return Err(TrailError::setup(format!("{} is a symlink; the state must hold none", path.display())));
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(TrailError::setup(format!(
            "{} is writable by others (mode {mode:04o}); run: chmod go-w {}",
            path.display(),
            path.display()
        ))),
    }
}

fn check_genesis(
    files: &[SegmentFile],
    origin: &str,
    log: &Verifier,
    epoch: &Verifier,
) -> Result<(), TrailError> {
    let Some(first) = files.first() else {
        return Err(TrailError::rolled_back("the trail has no segments"));
    };
    let mut lines = Lines::open(&first.path, 0)?;
    let met = lines.next_line().map_err(|error| TrailError::io("read", &first.path, error))?;
    let genesis = Entry::parse(lines.line())
        .filter(|entry| met == Met::Line && entry.kind == "genesis" && first.first == 0)
        .and_then(|entry| serde_json::from_slice::<Genesis>(&entry.object()).ok());
    let Some(genesis) = genesis else {
        return Err(TrailError::refused(format!(
            "entry 0 in {} is not a genesis entry",
            first.path.display()
        )));
    };
    if genesis.v != VERSION {
        return Err(TrailError::setup(format!(
            "the trail has format version {}; this is {VERSION}",
            genesis.v
        )));
    }
    if genesis.origin != origin {
        return Err(TrailError::setup(format!(
            "the trail belongs to `{}`, the configuration says `{origin}`: `deployment:` never changes",
            genesis.origin
        )));
    }
    if genesis.log != log.vkey() || genesis.epoch != epoch.vkey() {
        return Err(TrailError::refused("the keys are not the ones that entry 0 names"));
    }
    Ok(())
}

fn read_checkpoint(
    folder: &Path,
    origin: &str,
    log: &Verifier,
    epoch: &Verifier,
) -> Result<(Checkpoint, String), TrailError> {
    let path = folder.join("checkpoint");
    let bytes =
        disk::read_small(&path, NOTE_MAX as u64).map_err(|error| TrailError::io("read", &path, error))?;
    let Some(bytes) = bytes else {
        return Err(TrailError::refused(format!("{} is missing", path.display())));
    };
    let refuse = |why: String| TrailError::refused(format!("{}: {why}", path.display()));
    let note = String::from_utf8(bytes).map_err(|_| refuse("not text".into()))?;
    let checkpoint = Checkpoint::open(&note, &[log, epoch]).map_err(|error| refuse(error.to_string()))?;
    if checkpoint.origin != origin {
        return Err(refuse(format!("it is signed for `{}`", checkpoint.origin)));
    }
    Ok((checkpoint, note))
}

fn read_cache(paths: &Paths, origin: &str) -> Result<Option<(Scan, Hash, Vec<u8>)>, TrailError> {
    let path = paths.cache();
    let Ok(Some(mut bytes)) = disk::read_small(&path, CACHE_MAX) else { return Ok(None) };
    let digest = cache_digest(&bytes);
    let Some(end) = memchr::memchr(b'\n', &bytes) else { return Ok(None) };
    let header: Option<CacheHeader> = serde_json::from_slice(&bytes[..end]).ok();
    let scan = header.filter(|header| header.version == VERSION && header.origin == origin);
    let body = bytes.split_off(end + 1);
    Ok(scan.and_then(|header| header.position()).map(|scan| (scan, digest, body)))
}

/// Reads from `start` to the signed size and checks the root. Also says whether a `state_cache` entry with
/// `wanted` was met on the way.
fn scan_signed(
    files: &[SegmentFile],
    start: Scan,
    signed: &Checkpoint,
    wanted: Option<&Hash>,
) -> Result<(Scan, bool), TrailError> {
    let mut scan = start;
    let mut found = false;
    let place = files.iter().position(|file| file.first == scan.segment).unwrap_or(0);
    for file in &files[place..] {
        if scan.head.frontier.size() >= signed.size {
            break;
        }
        if file.first != scan.segment {
            if file.first != scan.head.frontier.size() {
                let at = scan.head.frontier.size();
                return Err(TrailError::refused(format!("a segment is missing at entry {at}")));
            }
            (scan.segment, scan.offset) = (file.first, 0);
        }
        let mut lines = Lines::open(&file.path, scan.offset)?;
        while scan.head.frontier.size() < signed.size {
            let index = scan.head.frontier.size();
            match lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? {
                Met::Line => {}
                Met::End | Met::Fragment => break,
            }
            let entry =
                Entry::parse(lines.line()).filter(|entry| scan.continues(entry)).ok_or_else(|| {
                    TrailError::refused(format!(
                        "entry {index} in {} is not what was signed",
                        file.path.display()
                    ))
                })?;
            found |= entry.kind == "state_cache" && wanted.is_some_and(|wanted| names_cache(&entry, wanted));
            scan.take(&entry, lines.offset());
        }
    }
    let size = scan.head.frontier.size();
    if size < signed.size {
        return Err(TrailError::rolled_back(format!(
            "the checkpoint signs {} entries, the segments hold {size}",
            signed.size
        )));
    }
    if size != signed.size || scan.head.frontier.root() != signed.root {
        return Err(TrailError::refused(format!(
            "the {} signed entries do not give the signed root",
            signed.size
        )));
    }
    Ok((scan, found))
}

fn names_cache(entry: &Entry<'_>, wanted: &Hash) -> bool {
    #[derive(Deserialize)]
    struct StateCache {
        digest: String,
    }
    serde_json::from_slice::<StateCache>(&entry.object()).is_ok_and(|cache| cache.digest == wanted.hex())
}

/// Bytes that a crash tore: from `offset` to the end of a segment file.
struct Torn {
    path: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
    digest: String,
    /// The whole file is torn and goes.
    remove: bool,
}

/// Adopts whole groups of ours beyond the signed size; what follows is torn or refused.
fn adopt(
    files: &[SegmentFile],
    scan: &mut Scan,
    origin: &str,
    epoch: &Verifier,
) -> Result<Vec<Torn>, TrailError> {
    let place = files.iter().position(|file| file.first == scan.segment).unwrap_or(0);
    let mut torn = Vec::new();
    for file in &files[place..] {
        if file.first != scan.segment {
            if file.first != scan.head.frontier.size() || !torn.is_empty() {
                torn.push(cut(file, 0)?);
                continue;
            }
            (scan.segment, scan.offset) = (file.first, 0);
        }
        adopt_file(file, scan, origin, epoch)?;
        let length = file_length(&file.path)?;
        if length > scan.offset || (length == 0 && file.first > 0) {
            torn.push(cut(file, scan.offset)?);
        }
    }
    let mut authentic = 0;
    for torn in &torn {
        authentic += torn
            .bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .filter_map(Entry::parse)
            .filter(|entry| entry.commit_holds(origin, epoch))
            .count();
    }
    if authentic > 1 {
        return Err(TrailError::refused(format!(
            "after entry {} something is damaged and {authentic} later groups of ours are whole: a crash \
             cannot do that",
            scan.head.frontier.size()
        )));
    }
    // A segment whose first group was torn goes as a whole: we are back in the one before.
    if torn.first().is_some_and(|first| first.remove && segment_first(&first.path) == scan.segment) {
        let before = files.iter().rev().find(|file| file.first < scan.segment);
        if let Some(file) = before {
            scan.segment = file.first;
            scan.offset = file_length(&file.path)?;
        }
    }
    Ok(torn)
}

fn adopt_file(file: &SegmentFile, scan: &mut Scan, origin: &str, epoch: &Verifier) -> Result<(), TrailError> {
    let mut lines = Lines::open(&file.path, scan.offset)?;
    // The hashes of the whole tree stay where they are; only those of the tail are collected here.
    let mut kept = scan.leaves.take();
    let mut group = scan.clone();
    group.leaves = kept.is_some().then(Vec::new);
    let result = adopt_groups(file, &mut lines, scan, &mut group, &mut kept, (origin, epoch));
    scan.leaves = kept;
    result
}

fn adopt_groups(
    file: &SegmentFile,
    lines: &mut Lines,
    scan: &mut Scan,
    group: &mut Scan,
    kept: &mut Option<Vec<Vec<u8>>>,
    (origin, epoch): (&str, &Verifier),
) -> Result<(), TrailError> {
    while lines.next_line().map_err(|error| TrailError::io("read", &file.path, error))? == Met::Line {
        let Some(entry) = Entry::parse(lines.line()).filter(|entry| group.continues(entry)) else { break };
        let root = group.head.frontier.root();
        group.take(&entry, lines.offset());
        if entry.kind != "commit" {
            continue;
        }
        // Sectors inside a long line may be lost while its ends are there: then it is no JSON any more.
        if serde_json::from_slice::<serde::de::IgnoredAny>(entry.line).is_err() {
            break;
        }
        if entry.commit_root() != Some(root) || !entry.commit_holds(origin, epoch) {
            return Err(TrailError::refused(format!(
                "entry {} in {} is a whole commit that this trail's key did not sign: a crash cannot make one",
                entry.index,
                file.path.display()
            )));
        }
        if let (Some(kept), Some(fresh)) = (kept.as_mut(), group.leaves.replace(Vec::new())) {
            for (level, hashes) in fresh.into_iter().enumerate() {
                if kept.len() <= level {
                    kept.resize(level + 1, Vec::new());
                }
                kept[level].extend_from_slice(&hashes);
            }
        }
        *scan = group.clone();
    }
    Ok(())
}

fn file_length(path: &Path) -> Result<u64, TrailError> {
    let file = disk::reader(path).map_err(|error| TrailError::io("read", path, error))?;
    Ok(file.metadata().map_err(|error| TrailError::io("read", path, error))?.len())
}

fn cut(file: &SegmentFile, offset: u64) -> Result<Torn, TrailError> {
    let bytes = disk::read_small(&file.path, TORN_MAX)
        .map_err(|error| TrailError::io("read", &file.path, error))?
        .unwrap_or_default();
    let bytes = bytes.get(offset as usize..).unwrap_or_default().to_vec();
    let digest = digest::hex(&Sha256::digest(&bytes));
    Ok(Torn { path: file.path.clone(), offset, bytes, digest, remove: offset == 0 && file.first > 0 })
}

/// Copies torn bytes aside durably, then cuts them off. Each step may be repeated after a crash.
fn quarantine(
    disk: &dyn Disk,
    folder: &Path,
    tail: &[Torn],
    bodies: &mut Bodies,
    report: &mut Vec<String>,
) -> Result<(), TrailError> {
    let dir = folder.join("quarantine");
    for torn in tail {
        let failed = |error| TrailError::io("quarantine the torn tail of", &torn.path, error);
        if !torn.bytes.is_empty() {
            let kept = dir.join(format!("{}-{}.bin", torn.offset, torn.digest));
            disk::write_new(disk, &kept, &torn.bytes, 0o640).map_err(failed)?;
            disk.sync_dir(&dir).map_err(failed)?;
            recovery_body(bodies, torn.offset, torn.bytes.len() as u64, &torn.digest);
            report.push(format!(
                "{} bytes of an unfinished group at byte {} of {}: quarantined as {}",
                torn.bytes.len(),
                torn.offset,
                torn.path.display(),
                kept.display()
            ));
        }
        if torn.remove {
            disk.remove(&torn.path).map_err(failed)?;
            disk.sync_dir(&folder.join("segments")).map_err(failed)?;
        } else {
            let mut file = disk.open(&torn.path).map_err(failed)?;
            file.truncate(torn.offset).map_err(failed)?;
            file.sync().map_err(failed)?;
        }
    }
    Ok(())
}

fn recovery_body(bodies: &mut Bodies, offset: u64, length: u64, digest: &str) {
    bodies.push("recovery", |out| {
        out.extend_from_slice(
            format!("\"offset\":{offset},\"length\":{length},\"digest\":\"{digest}\"").as_bytes(),
        );
    });
}

/// A quarantine file that no `recovery` entry names was left by a crash during an earlier recovery.
fn record_unnamed(
    folder: &Path,
    known: &mut BTreeSet<String>,
    tail: &[Torn],
    bodies: &mut Bodies,
) -> Result<(), TrailError> {
    let dir = folder.join("quarantine");
    for name in disk::names(&dir).map_err(|error| TrailError::io("list", &dir, error))? {
        let parts = name.strip_suffix(".bin").and_then(|stem| stem.split_once('-'));
        let Some((offset, digest)) = parts.and_then(|(o, d)| Some((o.parse::<u64>().ok()?, d))) else {
            continue;
        };
        let now_named = tail.iter().any(|torn| torn.digest == digest);
        if !known.contains(digest) && !now_named {
            recovery_body(bodies, offset, file_length(&dir.join(&name))?, digest);
            known.insert(digest.to_owned());
        }
    }
    Ok(())
}

fn assemble(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    folder: PathBuf,
    scan: Scan,
    (log, epoch): (NoteSigner, NoteSigner),
    (signed, signed_note): (Checkpoint, String),
) -> Result<Trail, TrailError> {
    let path = folder.join("segments").join(super::segment_name(scan.segment));
    let file = disk.open(&path).map_err(|error| TrailError::io("open", &path, error))?;
    let tiles = open_tiles(&**disk, &folder, &scan)?;
    let older = older_checkpoints(&folder)?;
    let mut sealed = 0;
    for file in segments(&folder)?.iter().filter(|file| file.first < scan.segment) {
        sealed += file_length(&file.path)?;
    }
    let folder_handle = disk.open_dir(&folder).map_err(|error| TrailError::io("open", &folder, error))?;
    let origin = signed.origin.clone();
    Ok(Trail {
        disk: Arc::clone(disk),
        reserve: paths.trail().join("reserve"),
        folder_handle,
        folder,
        origin,
        generation: 1,
        log,
        epoch,
        segment: Segment { path, file, length: scan.offset, since: scan.since },
        sealed,
        head: scan.head,
        tiles,
        signed,
        signed_note,
        cursors: scan.cursors,
        older,
        recovered: scan.recovered,
        buffer: Vec::new(),
        read_back: Vec::new(),
        leaves: Vec::new(),
        poisoned: false,
    })
}

/// Tile files that fit the head are continued; others are written anew. Without a scan from entry 0 their
/// lengths decide: longer ones are cut, shorter ones are filled from the segments.
fn open_tiles(disk: &dyn Disk, folder: &Path, scan: &Scan) -> Result<Tiles, TrailError> {
    let dir = folder.join("tree");
    let size = scan.head.frontier.size();
    let levels = (0..8).take_while(|level| size >> (8 * level) > 0).count();
    let wanted = |level: usize| 32 * (size >> (8 * level));
    let lengths = (0..levels).map(|level| file_length(&dir.join(level.to_string())).unwrap_or(0));
    let enough = lengths.enumerate().all(|(level, length)| length >= wanted(level));
    let rebuilt = match (&scan.leaves, enough) {
        (Some(leaves), _) => Some(leaves.clone()),
        (None, true) => None,
        (None, false) => Some(hash_all(folder, size)?),
    };
    let mut files = Vec::new();
    for level in 0..levels {
        let path = dir.join(level.to_string());
        let failed = |error| TrailError::io("write", &path, error);
        if let Some(rebuilt) = &rebuilt {
            let bytes = rebuilt.get(level).map(Vec::as_slice).unwrap_or_default();
            disk::write_new(disk, &path, bytes, 0o640).map_err(failed)?;
        }
        let mut file = disk.open(&path).map_err(failed)?;
        file.truncate(wanted(level)).map_err(failed)?;
        files.push(file);
    }
    Ok(Tiles { folder: dir, files })
}

fn hash_all(folder: &Path, size: u64) -> Result<Vec<Vec<u8>>, TrailError> {
    let mut frontier = Frontier::default();
    let mut levels: Vec<Vec<u8>> = Vec::new();
    super::read::each(folder, 0, size, &mut |entry| {
        frontier.push(leaf_hash(entry.line), &mut |level, _, hash| {
            let level = level as usize;
            if levels.len() <= level {
                levels.resize(level + 1, Vec::new());
            }
            levels[level].extend_from_slice(&hash.0);
        });
        Ok(())
    })?;
    Ok(levels)
}

fn older_checkpoints(folder: &Path) -> Result<VecDeque<(i64, u64)>, TrailError> {
    let dir = folder.join("checkpoints");
    let failed = |error| TrailError::io("list", &dir, error);
    let mut older = VecDeque::new();
    for name in disk::names(&dir).map_err(failed)? {
        if let Ok(size) = name.parse() {
            older.push_back((disk::modified_seconds(&dir.join(&name)).map_err(failed)?, size));
        }
    }
    Ok(older)
}
