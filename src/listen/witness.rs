//! The role of witness for other sites' logs: the key, the state on disk, the rate.
//!
//! ```text
//! keys:/witness.key                        Ed25519, PKCS#8 PEM; made at first use
//! state/witness/<hex sha256 of origin>     the newest checkpoint that we cosigned, with our cosignature
//! ```
//!
//! What is judged and answered is [`crate::trail::witness`]'s business. Here is what makes it hold over a
//! restart: a cosignature leaves only after the state file was replaced and synced, one request at a time;
//! and a state file that this witness did not sign stops the start, for a witness that forgets what it saw
//! vouches for nothing.

use crate::model::Time;
use crate::trail::disk::{self, Disk};
use crate::trail::note::{Cosigner, CosignerKey, NOTE_MAX, Verifier};
use crate::trail::witness::{self, Answer, Seen, origin_hash};
use crate::trail::{TrailError, keys};
use ed25519_dalek::SigningKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Requests a second, and so many at once.
pub const RATE: u32 = 20;
/// Name of the key's file in `keys:`.
pub const KEY_FILE: &str = "witness.key";
/// Access of the folder of state files and of each.
const MODES: (u32, u32) = (0o750, 0o640);

/// `witness:` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessRole {
    /// Our name.
    pub name: String,
    /// Keys of the logs that we know.
    pub logs: Vec<Verifier>,
}

/// A witness with its state on disk.
pub struct Witness {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Held over judging, storing and answering, so that no smaller state is stored after a larger one.
    inner: Mutex<witness::Witness>,
    /// Requests that may come at once, and when that was computed.
    room: Mutex<(f64, Option<Instant>)>,
}

/// Our public key; the private one is made where there is none yet and the folder can be written.
pub fn public(disk: &dyn Disk, keys: &Path, name: &str) -> Result<CosignerKey, TrailError> {
    Ok(Cosigner::new(name.to_owned(), key(disk, keys)?).public())
}

fn key(disk: &dyn Disk, folder: &Path) -> Result<SigningKey, TrailError> {
    let path = folder.join(KEY_FILE);
    let made = match disk.exists(&path) {
        Ok(true) => {
            // An earlier process may have ended between the key's rename and the folder's sync. Where the
            // folder cannot be synced it cannot be written either, and the key was put there by somebody else.
            let _ = disk.sync_dir(folder);
            return keys::read_signing(disk, &path);
        }
        Ok(false) => make_key(disk, folder, &path),
        Err(error) => Err(TrailError::io("look at", &path, error)),
    };
    made.map_err(|error| {
        TrailError::setup(format!(
            "the witness key {} is missing and cannot be made ({error}); make it where the folder can be written, \
             with `crmwarden witness vkey`, and put it there (mode 0600)",
            path.display()
        ))
    })
}

fn make_key(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<SigningKey, TrailError> {
    let new = folder.join(format!("{KEY_FILE}.new"));
    let failed = |error| TrailError::io("write", path, error);
    // A folder that is there may be of a process that ended before its name was durable.
    disk.make_dir(folder, 0o700).map_err(failed)?;
    disk.sync_dir(folder.parent().unwrap_or(folder)).map_err(failed)?;
    let key = keys::make_signing(disk, &new)?;
    disk.rename(&new, path).map_err(failed)?;
    disk.sync_dir(folder).map_err(failed)?;
    Ok(key)
}

impl Witness {
    /// Reads the key and what was seen before.
    pub fn open(
        disk: Arc<dyn Disk>,
        state: &Path,
        keys: &Path,
        role: &WitnessRole,
    ) -> Result<Witness, TrailError> {
        let cosigner = Cosigner::new(role.name.clone(), key(&*disk, keys)?);
        let mut inner = witness::Witness::new(cosigner, role.logs.iter().cloned());
        let folder = state.join("witness");
        disk.make_dir(&folder, MODES.0)
            .and_then(|_| disk.sync_dir(state))
            .map_err(|error| TrailError::io("make the folder", &folder, error))?;
        for log in &role.logs {
            let path = folder.join(origin_hash(&log.name));
            let note = disk
                .read_small(&path, NOTE_MAX as u64)
                .map_err(|error| TrailError::io("read", &path, error))?;
            let Some(note) = note else { continue };
            let restored = String::from_utf8(note).ok().and_then(|note| inner.restore(&note).ok());
            if restored.is_none() || inner.seen(&log.name).is_none() {
                return Err(TrailError::setup(format!(
                    "{} is not what this witness stored about {}: its key or name changed, or the file did. Put \
                     the old one back; without it this witness would cosign what it never saw growing",
                    path.display(),
                    log.name
                )));
            }
        }
        let room = Mutex::new((f64::from(RATE), None));
        Ok(Witness { disk, folder, inner: Mutex::new(inner), room })
    }

    /// Whether one more request has room, and takes it.
    pub fn has_room(&self, now: Instant) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = room.1.map_or(0.0, |then| now.saturating_duration_since(then).as_secs_f64());
        let left = (room.0 + passed * f64::from(RATE)).min(f64::from(RATE));
        *room = (if left >= 1.0 { left - 1.0 } else { left }, Some(now));
        left >= 1.0
    }

    /// Answers `add-checkpoint`. The state is durable before it returns a cosignature.
    pub fn add_checkpoint(&self, body: &[u8], now: Time) -> Answer {
        // A panic in here cannot leave a state that was not stored: it is set after storing.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = |origin: &str, seen: &Seen| {
            let path = self.folder.join(origin_hash(origin));
            let stored = disk::replace(&*self.disk, &path, seen.note.as_bytes(), MODES.1);
            stored.inspect_err(|error| tracing::error!("the witness's state cannot be stored: {error}"))
        };
        let now = u64::try_from(now.seconds()).unwrap_or(0).max(1);
        let answer = inner.add_checkpoint(body, now, &mut store);
        if answer.status == 422 {
            // Only whoever has a log's key comes this far, so this is a statement about that log.
            tracing::error!("a log that this host is witness of presented another history than before");
        }
        answer
    }

    /// Answers with the newest checkpoint cosigned of the log whose origin has this hash.
    pub fn checkpoint(&self, hash: &str) -> Answer {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).checkpoint(hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trail::disk::RealDisk;
    use crate::trail::note::{Checkpoint, NoteSigner, sign};
    use crate::trail::tree::leaf_hash;
    use crate::trail::witness::request;
    use std::time::Duration;

    const ORIGIN: &str = "acme.example/crmwarden/g1";

    fn log() -> NoteSigner {
        NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[7; 32]))
    }

    fn role() -> WitnessRole {
        WitnessRole { name: "site-b.example/witness".into(), logs: vec![log().verifier()] }
    }

    fn opened(home: &Path) -> Result<Witness, TrailError> {
        Witness::open(Arc::new(RealDisk), home, &home.join("keys"), &role())
    }

    /// A request for a tree of one entry.
    fn first() -> Vec<u8> {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 1, root: leaf_hash(b"a") };
        request(0, &[], &sign(&checkpoint.text(), &[&log()])).into_bytes()
    }

    #[test]
    fn the_state_outlives_the_process_and_a_foreign_one_stops_the_start() {
        let home = tempfile::tempdir().unwrap();
        let witness = opened(home.path()).unwrap();
        assert_eq!(witness.add_checkpoint(&first(), Time::from_seconds(9)).status, 200);
        let kept = witness.checkpoint(&origin_hash(ORIGIN)).body;
        let file = home.path().join("witness").join(origin_hash(ORIGIN));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
        drop(witness);
        let witness = opened(home.path()).unwrap();
        let answer = witness.add_checkpoint(&first(), Time::from_seconds(9));
        assert_eq!((answer.status, answer.body.as_str()), (409, "1\n"));
        drop(witness);
        for foreign in [kept.replacen('1', "2", 1), String::new(), "\u{fffd}".into()] {
            std::fs::write(&file, &foreign).unwrap();
            assert!(
                opened(home.path())
                    .is_err_and(|error| error.to_string().contains("is not what this witness"))
            );
        }
        std::fs::write(&file, &kept).unwrap();
        assert!(opened(home.path()).is_ok());
        // Another key under the same name did not sign it.
        std::fs::remove_file(home.path().join("keys").join(KEY_FILE)).unwrap();
        assert!(opened(home.path()).is_err());
    }

    #[test]
    fn the_key_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let keys = home.path().join("keys");
        let key = public(&RealDisk, &keys, "w.example/witness").unwrap();
        assert_eq!(public(&RealDisk, &keys, "w.example/witness").unwrap(), key);
        assert_eq!(disk::names(&keys).unwrap(), [KEY_FILE]);
        assert_eq!(RealDisk.stat(&keys.join(KEY_FILE)).unwrap().unwrap().mode & 0o777, 0o600);
        std::fs::write(home.path().join("file"), "").unwrap();
        let error = public(&RealDisk, &home.path().join("file/keys"), "w").unwrap_err().to_string();
        assert!(error.contains("cannot be made") && error.contains("crmwarden witness vkey"), "{error}");
    }

    #[test]
    fn requests_have_a_rate() {
        let home = tempfile::tempdir().unwrap();
        let witness = opened(home.path()).unwrap();
        let start = Instant::now();
        let taken = (0..3 * RATE).filter(|_| witness.has_room(start)).count();
        assert_eq!(taken, RATE as usize);
        assert!(witness.has_room(start + Duration::from_millis(60)));
        assert!(!witness.has_room(start + Duration::from_millis(60)));
    }
}
