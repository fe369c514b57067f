//! Creating a trail, so that a crash at any step leaves a deployment that starts.
//!
//! Everything is built and synced aside: the generation, the epoch's key and the first checkpoint under
//! `trail/.new/`, the long-lived keys as `*.new`. Then, in this order: `.new/g1` is renamed to `g1` and that is
//! made durable (from here on the trail exists), the epoch's key goes to its place, the keys to theirs, `.new`
//! is removed. A start that finds unfinished work finishes it where the newest generation's entry 0 names
//! the epoch key that lies there, and deletes it otherwise. Later generations are made in the same steps.

use super::detail::Privacy;
use super::disk::{self, Disk};
use super::entry::{Bodies, CommitLine, write_commit, write_line};
use super::generation::{self, Previous};
use super::note::{self, Checkpoint, NoteSigner};
use super::tree::Frontier;
use super::writer::{Cursors, segment_bodies};
use super::{Genesis, Paths, TrailError, VERSION, epoch_name, keys, origin, segment_name};
use crate::model::json::{Mask, Object, no_mask};
use crate::model::{Hash, Time};
use ed25519_dalek::SigningKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `deployment` names the origin and never changes: `[a-z0-9.-]{1,200}`.
pub fn check_deployment(name: &str) -> Result<(), TrailError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    match (1..=200).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(TrailError::setup(
            "`deployment:` must be 1 to 200 characters of a-z, 0-9, `.` and `-`; a domain you own is best",
        )),
    }
}

/// Makes the folders that are not there yet, and their names durable: also those that a process made that
/// was killed before it could.
pub fn prepare_folders(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| TrailError::io("make the folder", &path, error)
    };
    make_durable(disk, &paths.state, 0o750).map_err(failed(&paths.state))?;
    for (path, mode) in [(paths.trail(), 0o750), (paths.state.join("epoch"), 0o700)] {
        disk.make_dir(&path, mode).map_err(failed(&path))?;
    }
    disk.sync_dir(&paths.state).map_err(failed(&paths.state))
}

/// Makes a folder and those above it, each durably.
fn make_durable(disk: &dyn Disk, path: &Path, mode: u32) -> std::io::Result<()> {
    if path.as_os_str().is_empty() || disk.exists(path)? {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durable(disk, parent, 0o755)?;
    disk.make_dir(path, mode)?;
    disk.sync_dir(parent)
}

/// Makes the names of a folder and of all above it durable: a process that was killed may have made them
/// without. Folders that we may not open were not made by us.
fn sync_above(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        match disk.sync_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, TrailError> {
    disk.exists(path).map_err(|error| TrailError::io("look at", path, error))
}

/// Finishes or clears unfinished work, then creates a trail where there is nothing. `true`: created.
pub(super) fn finish_or_create(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
) -> Result<bool, TrailError> {
    if finish_or_clear(&**disk, paths)? {
        return Ok(false);
    }
    let mut remains = Vec::new();
    let long_lived = keys::FILES.iter().map(|name| paths.keys.join(name));
    let epochs = super::epoch::found(&**disk, paths)?.into_iter().map(|number| paths.epoch_key(number));
    for path in long_lived.chain(epochs) {
        if exists(&**disk, &path)? {
            remains.push(path.display().to_string());
        }
    }
    if !remains.is_empty() {
        return Err(TrailError::rolled_back(format!(
            "there are keys ({}) and no trail in {}: it was moved or deleted. Put it back; only where this is \
             a new deployment, move the keys away",
            remains.join(", "),
            paths.trail().display()
        )));
    }
    create(disk, paths, (deployment, privacy), now)?;
    Ok(true)
}

/// Finishes or clears unfinished work. `true`: there is a trail.
pub(super) fn finish_or_clear(disk: &dyn Disk, paths: &Paths) -> Result<bool, TrailError> {
    let newest = generation::newest(disk, paths)?;
    let unfinished = new_folder(paths).join(EPOCH_KEY);
    if newest.is_some() && exists(disk, &new_folder(paths))? {
        // A process that was killed may have moved keys without making that durable; only then may their old
        // places go.
        let dirs = [paths.trail(), paths.state.join("epoch"), paths.keys.clone()];
        for dir in dirs.iter().filter(|dir| disk.exists(dir).unwrap_or(false)) {
            disk.sync_dir(dir).map_err(|error| TrailError::io("sync", dir, error))?;
        }
    }
    if let Some(newest) = newest
        && exists(disk, &unfinished)?
        && is_of_generation(disk, paths, &unfinished, newest)?
    {
        put_keys_in_place(disk, paths)?;
        return Ok(true);
    }
    if newest.is_some() {
        // The keys of the first creation may still have to follow.
        put_long_lived_in_place(disk, paths)?;
    }
    clear(disk, paths, newest.is_none())?;
    Ok(newest.is_some())
}

fn new_folder(paths: &Paths) -> PathBuf {
    paths.trail().join(".new")
}

/// The epoch's key in the folder of unfinished work.
const EPOCH_KEY: &str = "epoch0.key";

/// Whether entry 0 of a generation names this key: then the generation stands and the key must follow.
fn is_of_generation(disk: &dyn Disk, paths: &Paths, key: &Path, number: u32) -> Result<bool, TrailError> {
    let line = super::genesis_line(disk, &paths.generation(number))?.unwrap_or_default();
    let Some(genesis) = Genesis::of_line(&line) else { return Ok(false) };
    let Ok(key) = keys::read_signing(disk, key) else { return Ok(false) };
    let signer = NoteSigner::new(epoch_name(&genesis.origin, 0), key);
    Ok(signer.verifier().vkey() == genesis.epoch)
}

/// Whatever an interrupted creation left goes.
fn clear(disk: &dyn Disk, paths: &Paths, keys_too: bool) -> Result<(), TrailError> {
    let new = new_folder(paths);
    disk.remove_dir(&new).map_err(|error| TrailError::io("remove", &new, error))?;
    for name in keys::FILES.iter().filter(|_| keys_too) {
        let path = paths.keys.join(format!("{name}.new"));
        disk.remove(&path).map_err(|error| TrailError::io("remove", &path, error))?;
    }
    Ok(())
}

/// The generation built aside becomes the newest, and its keys follow.
pub(super) fn put_in_place(disk: &dyn Disk, paths: &Paths, number: u32) -> Result<(), TrailError> {
    let folder = new_folder(paths).join(format!("g{number}"));
    let failed = |error| TrailError::io("put in place", &folder, error);
    disk.rename(&folder, &paths.generation(number)).map_err(failed)?;
    put_keys_in_place(disk, paths)
}

/// The generation stands: its keys follow to their places.
fn put_keys_in_place(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    // A process that was killed may have renamed the generation without making that durable.
    disk.sync_dir(&paths.trail()).map_err(|error| TrailError::io("sync", &paths.trail(), error))?;
    generation::destroy_old_keys(disk, paths)?;
    let (from, to) = (new_folder(paths).join(EPOCH_KEY), paths.epoch_key(0));
    let failed = |error| TrailError::io("finish the creation of", &to, error);
    disk.rename(&from, &to).map_err(failed)?;
    disk.sync_dir(&paths.state.join("epoch")).map_err(failed)?;
    put_long_lived_in_place(disk, paths)?;
    clear(disk, paths, false)
}

fn put_long_lived_in_place(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    let mut moved = false;
    for name in keys::FILES {
        let (from, to) = (paths.keys.join(format!("{name}.new")), paths.keys.join(name));
        let failed = |error| TrailError::io("finish the creation of", &to, error);
        if !disk.exists(&from).map_err(failed)? {
            continue;
        }
        // A key that is in its place is the one that the trail knows; a new one beside it is left over.
        match disk.exists(&to).map_err(failed)? {
            true => disk.remove(&from).map_err(failed)?,
            false => disk.rename(&from, &to).map_err(failed)?,
        }
        moved = true;
    }
    match moved {
        true => disk.sync_dir(&paths.keys).map_err(|error| TrailError::io("sync", &paths.keys, error)),
        false => Ok(()),
    }
}

fn create(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
) -> Result<(), TrailError> {
    let no_keys = |why: String| {
        let folder = paths.keys.display();
        TrailError::setup(format!("keys must be made in {folder}, which cannot be written{why}"))
    };
    make_durable(&**disk, &paths.keys, 0o700).map_err(|error| no_keys(format!(": {error}")))?;
    for folder in [&paths.state, &paths.keys] {
        sync_above(&**disk, folder)
            .map_err(|error| TrailError::io("sync the folders above", folder, error))?;
    }
    let made = keys::make_all_new(&**disk, &paths.keys).map_err(|error| match error {
        TrailError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            no_keys(String::new())
        }
        other => other,
    })?;
    disk.sync_dir(&paths.keys).map_err(|error| TrailError::io("sync", &paths.keys, error))?;
    let plan = Plan {
        generation: 1,
        deployment: deployment.to_owned(),
        report: keys::report_line(&made.report),
        log: made.log,
        privacy: privacy.as_str().to_owned(),
        previous: None,
        cursors: Cursors::new(),
        mask: no_mask,
    };
    build(disk, paths, plan, now)?;
    put_in_place(&**disk, paths, 1)
}

/// A generation to be made.
pub(super) struct Plan {
    pub generation: u32,
    pub deployment: String,
    pub log: SigningKey,
    pub report: String,
    pub privacy: String,
    pub previous: Option<Previous>,
    pub cursors: Cursors,
    pub mask: Mask,
}

/// Builds a generation, its epoch key and its first checkpoint under `.new/`, durably.
pub(super) fn build(disk: &Arc<dyn Disk>, paths: &Paths, plan: Plan, now: Time) -> Result<(), TrailError> {
    let new = new_folder(paths);
    let folder = new.join(format!("g{}", plan.generation));
    let failed = |error| TrailError::io("create the trail in", &new, error);
    disk.make_dir(&new, 0o750).map_err(failed)?;
    for name in ["segments", "tree", "checkpoints", "quarantine"] {
        disk.make_dir(&folder.join(name), 0o750).map_err(failed)?;
    }
    let epoch_key = keys::make_signing(&**disk, &new.join(EPOCH_KEY))?;
    let origin = origin(&plan.deployment, plan.generation);
    let log = NoteSigner::new(origin.clone(), plan.log);
    let epoch = NoteSigner::new(epoch_name(&origin, 0), epoch_key);
    let mut bodies = Bodies::default();
    bodies.push("genesis", |out| {
        let mut out = Object::members(out, plan.mask);
        out.uint("v", VERSION);
        out.word("origin", &origin);
        out.word("log", &log.verifier().vkey());
        out.word("epoch", &epoch.verifier().vkey());
        out.word("report", &plan.report);
        out.word("privacy", &plan.privacy);
        if let Some(previous) = &plan.previous {
            out.object("previous", |out| previous.write(out));
        }
    });
    bodies.append(&segment_bodies(plan.generation, &plan.cursors)?);
    let (lines, checkpoint) = first_group(&bodies, &origin, &epoch, now);
    disk::write_new(&**disk, &folder.join("segments").join(segment_name(0)), &lines, 0o640)
        .map_err(failed)?;
    let note = note::sign(&checkpoint.text(), &[&log, &epoch]);
    disk::write_new(&**disk, &folder.join("checkpoint"), note.as_bytes(), 0o640).map_err(failed)?;
    // The generation must not take its place while the folder that its key lies in may still be lost.
    for path in [&folder.join("segments"), &folder, &new, &paths.trail()] {
        disk.sync_dir(path).map_err(failed)?;
    }
    Ok(())
}

fn first_group(bodies: &Bodies, origin: &str, epoch: &NoteSigner, now: Time) -> (Vec<u8>, Checkpoint) {
    let mut lines = Vec::new();
    let mut frontier = Frontier::default();
    let mut prev = Hash::default();
    for (kind, members) in bodies.iter() {
        prev = write_line(&mut lines, frontier.size(), &prev, now, kind, members);
        frontier.push(prev, &mut |_, _, _| ());
    }
    let commit = CommitLine { root: &frontier.root(), cursors: b"", signer: epoch, origin };
    let leaf = write_commit(&mut lines, frontier.size(), &prev, now, &commit);
    frontier.push(leaf, &mut |_, _, _| ());
    let checkpoint = Checkpoint { origin: origin.to_owned(), size: frontier.size(), root: frontier.root() };
    (lines, checkpoint)
}
