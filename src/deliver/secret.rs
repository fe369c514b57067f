//! Passwords and tokens from files, read when they are needed and wiped after.
//!
//! A file is refused when anybody but its owner may open it. The service manager's credentials
//! are the exception: systemd shows them as 0440 where it grants access by an ACL, in a folder that only the
//! service can enter (`$CREDENTIALS_DIRECTORY`, systemd.exec(5)).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file, bytes.
const SECRET_MAX: u64 = 4096;

/// Reads a password. The error says what to mend and never holds any of the file's content.
pub fn read_password(path: &Path) -> Result<Zeroizing<String>, String> {
    read("password", path)
}

/// The same for a secret of another name: one line of text.
pub fn read(name: &str, path: &Path) -> Result<Zeroizing<String>, String> {
    read_with(name, path, forbidden(path))
}

/// The same for a text of several lines.
pub fn read_text(name: &str, path: &Path) -> Result<Zeroizing<String>, String> {
    is_private(name, path)?;
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    let mut text = Zeroizing::new(String::with_capacity(SECRET_MAX as usize + 64));
    let read = file.take(SECRET_MAX).read_to_string(&mut text);
    read.map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    Ok(text)
}

/// Whether nobody but its owner may open a file.
pub fn is_private(name: &str, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    match metadata.mode() & forbidden(path) {
        0 => Ok(()),
        _ => Err(open_to_others(name, path, metadata.mode())),
    }
}

fn open_to_others(name: &str, path: &Path, mode: u32) -> String {
    let (shown, mode) = (path.display(), mode & 0o777);
    format!("{name} file {shown} is open to others (mode {mode:04o}); run: chmod 0600 {shown}")
}

fn forbidden(path: &Path) -> u32 {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    match credentials {
        Some(folder) if !folder.is_empty() && path.starts_with(&folder) => 0o037,
        _ => 0o077,
    }
}

fn read_with(name: &str, path: &Path, forbidden: u32) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    let metadata = file.metadata().map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    if !metadata.is_file() {
        return Err(format!("{name} file {shown} is not a file"));
    }
    if metadata.mode() & forbidden != 0 {
        return Err(open_to_others(name, path, metadata.mode()));
    }
    if metadata.len() > SECRET_MAX {
        return Err(format!("{name} file {shown} is longer than {SECRET_MAX} bytes"));
    }
    // Room for all of it at once: a buffer that grows would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX as usize + 64));
    file.take(SECRET_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name} file {shown}: {}", error.kind()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{name} file {shown} is not UTF-8 text"))?;
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(format!("{name} file {shown} is empty"));
    }
    if password.contains(char::is_control) {
        return Err(format!("{name} file {shown} holds more than one line, or control characters"));
    }
    Ok(Zeroizing::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smtp.pass");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn one_line_with_or_without_its_end() {
        for content in [b"s3cret".as_slice(), b"s3cret\n", b"s3cret\r\n"] {
            let (_folder, path) = file(content, 0o600);
            assert_eq!(read_password(&path).unwrap().as_str(), "s3cret");
        }
    }

    #[test]
    fn open_empty_and_odd_files_are_refused_without_showing_them() {
        for (content, mode, part) in [
            (b"s3cret".as_slice(), 0o640, "chmod 0600"),
            (b"s3cret", 0o604, "chmod 0600"),
            (b"", 0o600, "empty"),
            (b"\n", 0o600, "empty"),
            (b"s3cret\nmore", 0o600, "more than one line"),
            (b"s3cret\xff", 0o600, "not UTF-8"),
        ] {
            let (_folder, path) = file(content, mode);
            let error = read_password(&path).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("s3cret"));
        }
        assert!(read_password(Path::new("/nonexistent/x")).unwrap_err().contains("not found"));
    }

    #[test]
    fn credentials_of_the_service_manager_may_be_group_readable() {
        let (_folder, path) = file(b"s3cret", 0o440);
        assert!(read_with("password", &path, 0o037).is_ok());
        assert!(read_with("password", &path, 0o077).is_err());
    }
}
