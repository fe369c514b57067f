//! Opening a trail after whatever happened: adopt what is ours, quarantine what a crash tore, refuse the rest.
//!
//! | found | then |
//! |---|---|
//! | nothing at all | a new trail ([`super::create`]) |
//! | an unfinished creation, change of epoch, pruning or new generation | it is finished or undone |
//! | keys without trail, segments without checkpoint, another key | refused |
//! | entries below the signed size that do not give the signed root | refused: nothing is repaired |
//! | fewer entries than the checkpoint signs | refused: rolled back |
//! | whole groups of ours above it | adopted ([`super::adopt`]) |
//! | the rest above it | quarantined, cut, and named in a `recovery` entry; or refused |
//!
//! The key that must have signed the checkpoint is known only after the entries were walked, for epochs change
//! on the way. The log key's signature is checked before; the epoch key's afterwards.

use super::adopt;
use super::detail::Privacy;
use super::disk::{Disk, Lock};
use super::entry::Bodies;
use super::epoch::{self, Epochs};
use super::note::{Checkpoint, NOTE_MAX, NoteSigner, Verifier};
use super::prune::Kept;
use super::read::{SegmentFile, segments};
use super::scan::Scan;
use super::tilefiles::Tiles;
use super::tree::Frontier;
use super::writer::{Cursors, Segment, Trail};
use super::{Genesis, Keys, Paths, TrailError, VERSION, cache, create, generation, origin, prune};
use crate::model::Time;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened trail and what was found.
pub struct Opened {
    /// Ready to append.
    pub trail: Trail,
    /// The long-lived keys.
    pub keys: Keys,
    /// The lock; hold it as long as the trail.
    pub lock: Lock,
    /// The valid cache's body and its size: entries below that size are in it. `None`: read all.
    pub cache: Option<(u64, Vec<u8>)>,
    /// Whether the trail was just created.
    pub created: bool,
    /// What recovery did, for the operator: empty after a clean stop.
    pub recovered: Vec<String>,
}

/// Opens the trail of a deployment, or creates it where nothing was there before, plain.
pub fn open(disk: &Arc<dyn Disk>, paths: &Paths, deployment: &str, now: Time) -> Result<Opened, TrailError> {
    open_as(disk, paths, (deployment, Privacy::Plain), now, &mut |_, _| ())
}

/// The same; one that is created says in its genesis entry what its entries may hold. `progress` is told how
/// far reading is: entries read, and how many there are.
pub fn open_as(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Opened, TrailError> {
    create::check_deployment(deployment)?;
    create::prepare_folders(&**disk, paths)?;
    let lock = lock(&**disk, paths)?;
    let created = create::finish_or_create(disk, paths, (deployment, privacy), now)?;
    Trail::make_reserve(&**disk, paths)?;
    let keys = Keys::read(&**disk, &paths.keys)?;
    let recovery = Recovery::read(disk, paths, deployment, &keys)?;
    let (trail, cache, recovered) = recovery.run(now, progress)?;
    Ok(Opened { trail, keys, lock, cache, created, recovered })
}

/// Checks the folders and takes the lock.
pub(super) fn lock(disk: &dyn Disk, paths: &Paths) -> Result<Lock, TrailError> {
    check_permissions(disk, &paths.state)?;
    let trail = paths.trail();
    let lock_path = trail.join("LOCK");
    if let Some(kind) = disk.network(&trail).map_err(|error| TrailError::io("look at", &trail, error))? {
        return Err(TrailError::setup(format!(
            "{} is on {kind}: locks and syncs cannot be relied on there; put `state:` on a local disk",
            paths.state.display()
        )));
    }
    disk.lock(&lock_path)
        .map_err(|error| TrailError::io("lock", &lock_path, error))?
        .map_err(|pid| TrailError::Busy { pid })
}

/// The state folder must not be writable by group or others, nor hold symlinks.
fn check_permissions(disk: &dyn Disk, state: &Path) -> Result<(), TrailError> {
    let mut folders = vec![state.to_owned()];
    check_mode(disk, state)?;
    while let Some(folder) = folders.pop() {
        for name in disk.names(&folder).map_err(|error| TrailError::io("list", &folder, error))? {
            let path = folder.join(name);
            if check_mode(disk, &path)? {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// `true`: it is a folder.
fn check_mode(disk: &dyn Disk, path: &Path) -> Result<bool, TrailError> {
    let found = disk.stat(path).map_err(|error| TrailError::io("look at", path, error))?;
    let Some(stat) = found else { return Ok(false) };
    if stat.symlink {
        return Err(TrailError::setup(format!("{} is a symlink; the state must hold none", path.display())));
    }
    match stat.mode & 0o022 {
        0 => Ok(stat.folder),
        _ => Err(TrailError::setup(format!(
            "{} is writable by others (mode {:04o}); run: chmod go-w {}",
            path.display(),
            stat.mode,
            path.display()
        ))),
    }
}

/// What a start knows before it walks the entries.
pub(super) struct Recovery<'a> {
    disk: &'a Arc<dyn Disk>,
    paths: &'a Paths,
    generation: u32,
    folder: PathBuf,
    origin: String,
    log: NoteSigner,
    first: Verifier,
    files: Vec<SegmentFile>,
    kept: Option<Kept>,
    signed: Checkpoint,
    note: String,
}

type Recovered = (Trail, Option<(u64, Vec<u8>)>, Vec<String>);

impl<'a> Recovery<'a> {
    pub(super) fn read(
        disk: &'a Arc<dyn Disk>,
        paths: &'a Paths,
        deployment: &str,
        keys: &Keys,
    ) -> Result<Recovery<'a>, TrailError> {
        let generation = generation::newest(&**disk, paths)?.unwrap_or(1);
        let folder = paths.generation(generation);
        let origin = origin(deployment, generation);
        let log = NoteSigner::new(origin.clone(), keys.log.clone());
        let mut files = segments(&**disk, &folder)?;
        let kept = Kept::read(&**disk, &folder)?;
        if let Some(kept) = &kept {
            // Of a pruning that was interrupted any of the segments may still be here.
            files.retain(|file| file.first >= kept.frontier.size());
        }
        if files.is_empty() {
            return Err(TrailError::rolled_back("the trail has no segments"));
        }
        let first = check_genesis(&**disk, &folder, &origin, &log.verifier())?;
        let (signed, note) = read_checkpoint(&**disk, &folder, &origin, &log.verifier())?;
        Ok(Recovery { disk, paths, generation, folder, origin, log, first, files, kept, signed, note })
    }

    fn run(mut self, now: Time, progress: &mut dyn FnMut(u64, u64)) -> Result<Recovered, TrailError> {
        let disk = Arc::clone(self.disk);
        let size = self.signed.size;
        let (mut scan, mut tiles, cache) = self.walk(&mut |done| progress(done, size))?;
        self.check_signer(&scan)?;
        let authentic =
            |scan: &Scan, entry: &super::Entry<'_>| entry.commit_holds(&self.origin, &scan.epochs.key);
        let tail = adopt::adopt(&*disk, &self.files, &mut scan, &self.origin, &authentic)?;
        let adopted = (self.signed.size, scan.head.frontier.size());
        let epoch = epoch::read(&*disk, self.paths, &self.origin, scan.epochs.number, &scan.epochs.key)?;

        let mut report = Vec::new();
        let mut bodies = Bodies::default();
        adopt::quarantine(&*disk, &self.folder, &tail, &mut bodies, &mut report)?;
        adopt::record_unnamed(&*disk, &self.folder, &mut scan.recovered, &tail, &mut bodies)?;
        if adopted.1 > adopted.0 {
            let (first, last) = (adopted.0, adopted.1 - 1);
            bodies.push("recovery", |out| {
                out.extend_from_slice(
                    format!("\"adopted\":{{\"first\":{first},\"last\":{last}}}").as_bytes(),
                );
            });
            report.push(format!("entries {first} to {last} were whole and ours, not yet signed: adopted"));
        }
        self.continue_tiles(&mut scan, &mut tiles)?;
        let minimum = scan.minimum;
        let mut trail = self.assemble(scan, tiles, epoch)?;
        finish_epoch_change(&mut trail, &mut report, now)?;
        if prune::resume(&*disk, &trail.paths, &trail.folder, &trail.origin, minimum)? {
            report.push(format!("the pruning of the entries below {minimum} was finished"));
        }
        for torn in &tail {
            trail.recovered.insert(torn.digest.clone());
        }
        if !bodies.is_empty() {
            trail.commit(&bodies, &Cursors::new(), now)?;
            trail.checkpoint(now)?;
        }
        Ok((trail, cache, report))
    }

    /// Everything below the signed size, from the newest cache that counts or from the start.
    #[allow(clippy::type_complexity)] // Three results of one walk, taken apart at once.
    fn walk(
        &self,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Scan, Option<Tiles>, Option<(u64, Vec<u8>)>), TrailError> {
        let disk = &**self.disk;
        if let Some(cached) = cache::read(disk, self.paths, &self.origin) {
            let mut scan = cached.scan;
            let size = scan.head.frontier.size();
            let counts = size <= self.signed.size
                && scan
                    .walk_to_signed(
                        disk,
                        &self.files,
                        &self.signed,
                        Some(&cached.digest),
                        &mut None,
                        progress,
                    )
                    .unwrap_or(false);
            if let Some(tiles) =
                counts.then(|| Tiles::resume(disk, &self.folder, size)).transpose()?.flatten()
            {
                return Ok((scan, Some(tiles), Some((size, cached.body))));
            }
        }
        let mut scan = Scan::start(Epochs::first(self.first.clone()), self.kept.as_ref());
        let mut tiles = match scan.minimum {
            0 => Some(Tiles::anew(disk, &self.folder)?),
            // Below the minimum the hashes are in the files or nowhere.
            minimum => Tiles::resume(disk, &self.folder, minimum)?,
        };
        scan.walk_to_signed(disk, &self.files, &self.signed, None, &mut tiles, progress)?;
        match &mut tiles {
            Some(tiles) if self.kept.is_none() => {
                tiles.append(disk, &mut scan.fresh)?;
                tiles.replace_old(disk, &self.folder)?;
            }
            Some(_) => {}
            None => Tiles::discard(disk, &self.folder)?,
        }
        Ok((scan, tiles, None))
    }

    /// The checkpoint must be signed by the epoch key in force at its size, too.
    fn check_signer(&self, scan: &Scan) -> Result<(), TrailError> {
        let required = [&self.log.verifier(), &scan.epochs.last];
        Checkpoint::open(&self.note, &required).map(|_| ()).map_err(|error| {
            TrailError::refused(format!("{}: {error}", self.folder.join("checkpoint").display()))
        })
    }

    fn continue_tiles(&self, scan: &mut Scan, tiles: &mut Option<Tiles>) -> Result<(), TrailError> {
        let Some(tiles) = tiles else { return Ok(()) };
        tiles.append(&**self.disk, &mut scan.fresh)?;
        // A cache that an adopted group names counts from the next checkpoint on, and then they are believed.
        tiles.sync(&**self.disk)
    }

    fn assemble(&mut self, scan: Scan, tiles: Option<Tiles>, epoch: NoteSigner) -> Result<Trail, TrailError> {
        let disk = &**self.disk;
        let folder = self.folder.clone();
        let path = folder.join("segments").join(super::segment_name(scan.segment));
        let mut file = disk.open(&path).map_err(|error| TrailError::io("open", &path, error))?;
        // A process that was killed may have written or renamed what it never made durable. What is signed,
        // or counts as acknowledged, from here on must be.
        file.sync().map_err(|error| TrailError::io("sync", &path, error))?;
        let mut sealed = 0;
        for file in self.files.iter().filter(|file| file.first < scan.segment) {
            sealed +=
                disk.length(&file.path).map_err(|error| TrailError::io("look at", &file.path, error))?;
        }
        let folder_handle = disk.open_dir(&folder).map_err(|error| TrailError::io("open", &folder, error))?;
        disk.sync_dir(&folder.join("segments"))
            .and_then(|()| folder_handle.sync())
            .map_err(|error| TrailError::io("sync", &folder, error))?;
        Ok(Trail {
            disk: Arc::clone(self.disk),
            paths: self.paths.clone(),
            folder_handle,
            origin: self.origin.clone(),
            generation: self.generation,
            log: NoteSigner::new(self.origin.clone(), self.log.key().clone()),
            epoch,
            epochs: scan.epochs,
            segment: Segment { first: scan.segment, path, file, length: scan.offset, since: scan.since },
            sealed,
            head: scan.head,
            tiles,
            grown: Frontier::default(),
            fresh: scan.fresh,
            signed: self.signed.clone(),
            signed_note: self.note.clone(),
            next_note: None,
            cursors: scan.cursors,
            older: older_checkpoints(disk, &folder)?,
            recovered: scan.recovered,
            holds: scan.holds,
            minimum: scan.minimum,
            erasing: scan.erasing,
            housekeeping: Arc::default(),
            folder,
            buffer: Vec::new(),
            read_back: Vec::new(),
            leaves: Vec::new(),
            poisoned: false,
        })
    }
}

/// Goes on with a change of epoch that a crash interrupted, in the steps of [`super::epoch`]; a key that no
/// entry names is destroyed.
fn finish_epoch_change(trail: &mut Trail, report: &mut Vec<String>, now: Time) -> Result<(), TrailError> {
    let number = trail.epochs.number;
    let others: Vec<u32> =
        epoch::found(&*trail.disk, &trail.paths)?.into_iter().filter(|other| *other != number).collect();
    let unclosed = trail.epochs.last != trail.epochs.key && trail.signed.size < trail.head.frontier.size();
    if unclosed {
        // The entry is committed and not signed yet: the old key closes its epoch.
        let last = trail.epochs.last.clone();
        let old = epoch::read(&*trail.disk, &trail.paths, &trail.origin, number - 1, &last)?;
        let new = std::mem::replace(&mut trail.epoch, old);
        trail.checkpoint(now)?;
        trail.epoch = new;
        report.push(format!("the change to epoch {number} was finished"));
    }
    for other in others {
        epoch::destroy(&*trail.disk, &trail.paths, other)?;
    }
    Ok(())
}

/// Entry 0 must be of this deployment, this format and this log key. Returns the first epoch's key.
fn check_genesis(
    disk: &dyn Disk,
    folder: &Path,
    origin: &str,
    log: &Verifier,
) -> Result<Verifier, TrailError> {
    let line = super::genesis_line(disk, folder)?.unwrap_or_default();
    let Some(genesis) = Genesis::of_line(&line) else {
        return Err(TrailError::refused(format!("entry 0 in {} is not a genesis entry", folder.display())));
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
    let epoch = Verifier::parse(&genesis.epoch).filter(|key| key.name == super::epoch_name(origin, 0));
    match epoch {
        Some(epoch) if genesis.log == log.vkey() => Ok(epoch),
        _ => Err(TrailError::refused("the keys are not the ones that entry 0 names")),
    }
}

pub(super) fn read_checkpoint(
    disk: &dyn Disk,
    folder: &Path,
    origin: &str,
    log: &Verifier,
) -> Result<(Checkpoint, String), TrailError> {
    let path = folder.join("checkpoint");
    let bytes =
        disk.read_small(&path, NOTE_MAX as u64).map_err(|error| TrailError::io("read", &path, error))?;
    let Some(bytes) = bytes else {
        return Err(TrailError::refused(format!("{} is missing", path.display())));
    };
    let refuse = |why: String| TrailError::refused(format!("{}: {why}", path.display()));
    let note = String::from_utf8(bytes).map_err(|_| refuse("not text".into()))?;
    let checkpoint = Checkpoint::open(&note, &[log]).map_err(|error| refuse(error.to_string()))?;
    if checkpoint.origin != origin {
        return Err(refuse(format!("it is signed for `{}`", checkpoint.origin)));
    }
    Ok((checkpoint, note))
}

/// When older checkpoints were written, and their sizes, oldest first.
fn older_checkpoints(disk: &dyn Disk, folder: &Path) -> Result<VecDeque<(i64, u64)>, TrailError> {
    let dir = folder.join("checkpoints");
    let failed = |error| TrailError::io("list", &dir, error);
    let mut older = VecDeque::new();
    for name in disk.names(&dir).map_err(failed)? {
        let Ok(size) = name.parse() else { continue };
        if let Some(stat) = disk.stat(&dir.join(&name)).map_err(failed)? {
            older.push_back((stat.modified, size));
        }
    }
    Ok(older)
}
