//! Alerts as `.eml` files in a directory: for archives, for air-gapped hosts, for the demo.
//!
//! `<alert id>.eml`, mode 0640. A file appears whole or not at all: it is written under another name,
//! synced, renamed, and the directory is synced. The same alert written twice is the same file.

use super::Outcome;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// Writes `<stem>.eml` into the folder.
pub fn write(folder: &Path, stem: &str, message: &[u8]) -> Outcome {
    match try_write(folder, stem, message) {
        Ok(()) => Outcome::Delivered,
        Err(error) => {
            let why = format!("{}: {}", folder.display(), error.kind());
            match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotADirectory => Outcome::Misconfigured { why },
                _ => Outcome::Retry { why },
            }
        }
    }
}

fn try_write(folder: &Path, stem: &str, message: &[u8]) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let partial = folder.join(format!(".{stem}.eml.partial"));
    let written = write_partial(&partial, message)
        .and_then(|()| fs::rename(&partial, folder.join(format!("{stem}.eml"))));
    if written.is_err() {
        // What is left of the attempt is of no use; the error that ended it is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_partial(partial: &Path, message: &[u8]) -> io::Result<()> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` never follows a symbolic link that somebody put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(partial)?;
    // The service's umask would take the group's right to read away.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(message)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn one_file_an_alert_whole_and_group_readable() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("outbox");
        assert_eq!(write(&folder, "ALR-1", b"one"), Outcome::Delivered);
        assert_eq!(write(&folder, "ALR-1", b"one again"), Outcome::Delivered);
        assert_eq!(write(&folder, "ALR-2", b"two"), Outcome::Delivered);
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ALR-1.eml", "ALR-2.eml"]);
        assert_eq!(fs::read(folder.join("ALR-1.eml")).unwrap(), b"one again");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("ALR-1.eml")), 0o640);
    }

    #[test]
    fn leftovers_and_links_are_replaced_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("elsewhere");
        fs::write(&target, b"untouched").unwrap();
        std::os::unix::fs::symlink(&target, root.path().join(".ALR-1.eml.partial")).unwrap();
        std::os::unix::fs::symlink(&target, root.path().join("ALR-1.eml")).unwrap();
        assert_eq!(write(root.path(), "ALR-1", b"new"), Outcome::Delivered);
        assert_eq!(fs::read(&target).unwrap(), b"untouched");
        assert_eq!(fs::read(root.path().join("ALR-1.eml")).unwrap(), b"new");
    }

    #[test]
    fn a_missing_parent_or_a_file_in_the_way_is_for_people_to_mend() {
        let root = tempfile::tempdir().unwrap();
        let outcome = write(&root.path().join("a/b"), "ALR-1", b"x");
        assert!(matches!(outcome, Outcome::Misconfigured { .. }), "{outcome:?}");
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        let outcome = write(&file, "ALR-1", b"x");
        assert!(matches!(outcome, Outcome::Misconfigured { .. }), "{outcome:?}");
    }
}
