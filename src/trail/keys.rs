//! The long-lived keys (in `keys:`) and the epoch's key (in the state).
//!
//! `log.key`, `report.key`, `epoch/<n>.key`: Ed25519, PKCS#8 PEM (RFC 8410). `matching.key` and
//! `fingerprint-<n>.key`: 32 bytes as hexadecimal digits. All 0600; a file that group or others can read
//! is refused, for a key that others could read is not a secret any more. (`$CREDENTIALS_DIRECTORY` of the
//! service manager is 0400 or 0440 with an owner of its own: the group bit alone is allowed there.)

use super::TrailError;
use super::disk::{self, Disk};
use crate::model::{Key, digest};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use std::path::Path;
use zeroize::Zeroizing;

/// Names of the files that make up the long-lived keys.
pub const FILES: [&str; 3] = ["log.key", "report.key", "matching.key"];
/// Largest key file that is read.
const KEY_FILE_MAX: u64 = 4096;

/// The long-lived keys.
pub struct Keys {
    /// Signs checkpoints; witnesses know it.
    pub log: SigningKey,
    /// Signs reports.
    pub report: SigningKey,
    /// Cursors, file identity, idempotency keys.
    pub matching: Key,
}

/// Reads an Ed25519 key.
pub fn read_signing(disk: &dyn Disk, path: &Path) -> Result<SigningKey, TrailError> {
    let pem = read_secret(disk, path)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        TrailError::setup(format!("{} is not an Ed25519 private key in PKCS#8 PEM", path.display()))
    })
}

fn read_secret(disk: &dyn Disk, path: &Path) -> Result<Zeroizing<String>, TrailError> {
    let bytes = disk.read_small(path, KEY_FILE_MAX).map_err(|error| TrailError::io("read", path, error))?;
    let bytes = Zeroizing::new(
        bytes.ok_or_else(|| TrailError::setup(format!("the key {} is missing", path.display())))?,
    );
    if let Some(stat) = disk.stat(path).map_err(|error| TrailError::io("read", path, error))?
        && stat.mode & 0o037 != 0
    {
        return Err(TrailError::setup(format!(
            "{} can be read by others (mode {:04o}); run: chmod 0600 {}",
            path.display(),
            stat.mode,
            path.display()
        )));
    }
    String::from_utf8(bytes.to_vec())
        .map(Zeroizing::new)
        .map_err(|_| TrailError::setup(format!("{} is not text", path.display())))
}

/// Reads a 32-byte key of hexadecimal digits.
pub fn read_symmetric(disk: &dyn Disk, path: &Path, number: u32) -> Result<Key, TrailError> {
    let text = read_secret(disk, path)?;
    let bytes = digest::parse_hex(text.trim().as_bytes()).map(Zeroizing::new);
    let secret: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.as_slice().try_into().ok());
    match secret {
        Some(secret) => Ok(Key::new(number, Zeroizing::new(secret))),
        None => Err(TrailError::setup(format!("{} is not 64 hexadecimal digits", path.display()))),
    }
}

impl Keys {
    /// Reads all long-lived keys.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Keys, TrailError> {
        for name in FILES {
            let path = dir.join(name);
            if !disk.exists(&path).map_err(|error| TrailError::io("look at", &path, error))? {
                return Err(TrailError::refused(format!("the trail's key {} is missing", path.display())));
            }
        }
        Ok(Keys {
            log: read_signing(disk, &dir.join(FILES[0]))?,
            report: read_signing(disk, &dir.join(FILES[1]))?,
            matching: read_symmetric(disk, &dir.join(FILES[2]), 0)?,
        })
    }
}

/// A new random 32-byte secret.
pub fn random() -> Result<Zeroizing<[u8; 32]>, TrailError> {
    let mut secret = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut secret[..])
        .map_err(|error| TrailError::setup(format!("no randomness from the system: {error}")))?;
    Ok(secret)
}

/// Writes a new Ed25519 key durably and returns it.
pub fn make_signing(disk: &dyn Disk, path: &Path) -> Result<SigningKey, TrailError> {
    let key = SigningKey::from_bytes(&*random()?);
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| TrailError::setup(format!("cannot encode a key: {error}")))?;
    disk::write_new(disk, path, pem.as_bytes(), 0o600)
        .map_err(|error| TrailError::io("write", path, error))?;
    Ok(key)
}

/// Writes the long-lived keys as `<name>.new`. Fingerprint keys have quarters of their own ([`super::quarter`]).
pub fn make_all_new(disk: &dyn Disk, dir: &Path) -> Result<Keys, TrailError> {
    let name = |file: &str| dir.join(format!("{file}.new"));
    let symmetric = |file: &str, number| {
        let secret = random()?;
        let text = Zeroizing::new(format!("{}\n", digest::hex(&secret[..])));
        let path = name(file);
        disk::write_new(disk, &path, text.as_bytes(), 0o600)
            .map_err(|error| TrailError::io("write", &path, error))?;
        Ok::<Key, TrailError>(Key::new(number, secret))
    };
    Ok(Keys {
        log: make_signing(disk, &name(FILES[0]))?,
        report: make_signing(disk, &name(FILES[1]))?,
        matching: symmetric(FILES[2], 0)?,
    })
}

/// A public key as OpenSSH writes it: `ssh-ed25519 <base64>` (RFC 8709, without a comment).
pub fn ssh_line(key: &ed25519_dalek::VerifyingKey) -> String {
    use base64::Engine as _;
    let mut blob = Vec::with_capacity(51);
    for part in [&b"ssh-ed25519"[..], key.as_bytes()] {
        blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(blob))
}

/// The report key's public line, as genesis names it.
pub(super) fn report_line(key: &SigningKey) -> String {
    ssh_line(&key.verifying_key())
}
