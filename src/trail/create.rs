//! Creating a trail, so that a crash at any step leaves a deployment that starts.
//!
//! Everything is built and synced aside: the generation, the epoch's key and the first checkpoint under
//! `trail/.new/`, the long-lived keys as `*.new`. Then, in this order: `.new/g1` is renamed to `g1` (from
//! here on the trail exists), the epoch's key to its place, the keys to theirs, `.new` removed. A start
//! that finds unfinished work deletes it where `g1` does not exist yet, and finishes it where it does.

use super::detail::Privacy;
use super::disk::{self, Disk};
use super::entry::{Bodies, CommitLine, write_commit, write_line};
use super::note::{self, Checkpoint, NoteSigner};
use super::tree::Frontier;
use super::writer::{Cursors, segment_bodies};
use super::{Paths, TrailError, VERSION, epoch_name, keys, origin, segment_name};
use crate::model::json::{Object, no_mask};
use crate::model::{Hash, Time};
use std::path::Path;
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

/// Makes the folders that are not there yet.
pub fn prepare_folders(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    let make =
        |path: &Path, mode| disk.make_dir(path, mode).map_err(|e| TrailError::io("make the folder", path, e));
    make(&paths.state, 0o750)?;
    make(&paths.trail(), 0o750)?;
    make(&paths.state.join("epoch"), 0o700)
}

/// Finishes or clears unfinished work, then creates a trail where there is nothing. `true`: created.
pub(super) fn finish_or_create(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
) -> Result<bool, TrailError> {
    let exists = |path: &Path| {
        disk::mode(path).map(|mode| mode.is_some()).map_err(|error| TrailError::io("look at", path, error))
    };
    if exists(&paths.generation(1))? {
        finish(&**disk, paths)?;
        return Ok(false);
    }
    clear(&**disk, paths)?;
    let mut remains = Vec::new();
    for path in keys::FILES.iter().map(|name| paths.keys.join(name)).chain([paths.epoch_key(0)]) {
        if exists(&path)? {
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

fn new_folder(paths: &Paths) -> std::path::PathBuf {
    paths.trail().join(".new")
}

/// Nothing exists yet: whatever an interrupted creation left goes.
fn clear(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    let new = new_folder(paths);
    disk.remove_dir(&new).map_err(|error| TrailError::io("remove", &new, error))?;
    for name in keys::FILES {
        let path = paths.keys.join(format!("{name}.new"));
        disk.remove(&path).map_err(|error| TrailError::io("remove", &path, error))?;
    }
    Ok(())
}

/// The generation stands: the keys follow it to their places.
fn finish(disk: &dyn Disk, paths: &Paths) -> Result<(), TrailError> {
    let new = new_folder(paths);
    let mut moves = vec![(new.join("epoch0.key"), paths.epoch_key(0))];
    for name in keys::FILES {
        moves.push((paths.keys.join(format!("{name}.new")), paths.keys.join(name)));
    }
    let mut moved = false;
    for (from, to) in moves {
        let failed = |error| TrailError::io("finish the creation of", &to, error);
        if disk::mode(&from).map_err(failed)?.is_none() {
            continue;
        }
        // A key that is in its place is the one that the trail knows; a new one beside it is left over.
        if disk::mode(&to).map_err(failed)?.is_some() {
            disk.remove(&from).map_err(failed)?;
        } else {
            disk.rename(&from, &to).map_err(failed)?;
        }
        moved = true;
    }
    if moved {
        for folder in [paths.state.join("epoch"), paths.keys.clone()] {
            disk.sync_dir(&folder).map_err(|error| TrailError::io("sync", &folder, error))?;
        }
    }
    disk.remove_dir(&new).map_err(|error| TrailError::io("remove", &new, error))
}

fn create(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    (deployment, privacy): (&str, Privacy),
    now: Time,
) -> Result<(), TrailError> {
    let new = new_folder(paths);
    let folder = new.join("g1");
    let failed = |error| TrailError::io("create the trail in", &new, error);
    disk.make_dir(&paths.keys, 0o700).map_err(|error| {
        TrailError::setup(format!(
            "keys must be made in {}, which cannot be written: {error}",
            paths.keys.display()
        ))
    })?;
    disk.make_dir(&new, 0o750).map_err(failed)?;
    for name in ["segments", "tree", "checkpoints", "quarantine"] {
        disk.make_dir(&folder.join(name), 0o750).map_err(failed)?;
    }
    let made = keys::make_all_new(&**disk, &paths.keys).map_err(|error| match error {
        TrailError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            TrailError::setup(format!(
                "keys must be made in {}, which cannot be written",
                paths.keys.display()
            ))
        }
        other => other,
    })?;
    let epoch_key = keys::make_signing(&**disk, &new.join("epoch0.key"))?;
    let origin = origin(deployment, 1);
    let log = NoteSigner::new(origin.clone(), made.log);
    let epoch = NoteSigner::new(epoch_name(&origin, 0), epoch_key);
    let report = crate::trail::keys::report_line(&made.report);

    let mut bodies = Bodies::default();
    bodies.push("genesis", |out| {
        let mut out = Object::members(out, no_mask);
        out.uint("v", VERSION);
        out.word("origin", &origin);
        out.word("log", &log.verifier().vkey());
        out.word("epoch", &epoch.verifier().vkey());
        out.word("report", &report);
        out.word("privacy", privacy.as_str());
    });
    bodies.append(&segment_bodies(1, &Cursors::new())?);
    let (lines, checkpoint) = first_group(&bodies, &origin, &epoch, now);
    disk::write_new(&**disk, &folder.join("segments").join(segment_name(0)), &lines, 0o640)
        .map_err(failed)?;
    let note = note::sign(&checkpoint.text(), &[&log, &epoch]);
    disk::write_new(&**disk, &folder.join("checkpoint"), note.as_bytes(), 0o640).map_err(failed)?;
    for path in [&folder.join("segments"), &folder, &new, &paths.keys] {
        disk.sync_dir(path).map_err(failed)?;
    }
    disk.rename(&folder, &paths.generation(1)).map_err(failed)?;
    disk.sync_dir(&paths.trail()).map_err(failed)?;
    finish(&**disk, paths)
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
