//! Hints that something changed in a watched folder, so that the next poll need not wait.
//!
//! Truth is polling: a hint may be missing (network file systems, exhausted inotify limits) or spurious,
//! and neither matters. Folders are watched, not files, since a watch follows the inode and not the path.
//! Any event, any error and any overflow wake the waiter; only accesses that change nothing do not, or
//! our own reads would.

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wakes a [`Watch::wait`] from another thread: at shutdown, at a reload.
#[derive(Clone, Debug, Default)]
pub struct Waker {
    flag: Arc<(Mutex<bool>, Condvar)>,
}

impl Waker {
    /// Wakes the waiter, or lets its next wait return at once.
    pub fn wake(&self) {
        let (flag, condition) = &*self.flag;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        condition.notify_all();
    }
}

/// Watches folders.
#[derive(Debug)]
pub struct Watch {
    waker: Waker,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, (u64, u64)>,
    failure: Option<String>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch::new()
    }
}

impl Watch {
    /// A watch over nothing yet. Where the system has no way to watch, waiting is all it does.
    pub fn new() -> Watch {
        let waker = Waker::default();
        let hint = waker.clone();
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_idle(&event)) {
                return;
            }
            hint.wake();
        });
        let (watcher, failure) = match made {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Watch { waker, watcher, watched: BTreeMap::new(), failure }
    }

    /// Watches exactly these folders from now on. Call it after every sweep: a folder that was removed
    /// and made again is another folder and is watched again.
    pub fn follow(&mut self, folders: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let present: BTreeMap<PathBuf, (u64, u64)> =
            folders.iter().filter_map(|folder| Some((folder.clone(), inode(folder)?))).collect();
        for (folder, inode) in &self.watched {
            if present.get(folder) != Some(inode) {
                // It fails when the folder is gone, and then the watch is gone too.
                let _ = watcher.unwatch(folder);
            }
        }
        let mut kept = BTreeMap::new();
        self.failure = None;
        for (folder, inode) in present {
            if self.watched.get(&folder) != Some(&inode)
                && let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                self.failure = Some(error.to_string());
                continue;
            }
            kept.insert(folder, inode);
        }
        self.watched = kept;
    }

    /// Why hints are missing, if they are. Reading goes on by polling.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something to wake this watch with.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for a hint, at most so long. True when there was one; it is then forgotten.
    pub fn wait(&self, timeout: Duration) -> bool {
        let (flag, condition) = &*self.waker.flag;
        let end = Instant::now() + timeout;
        let mut hinted = flag.lock().unwrap_or_else(PoisonError::into_inner);
        while !*hinted {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            hinted = condition.wait_timeout(hinted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *hinted)
    }
}

fn is_idle(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => !event.need_rescan(),
        _ => false,
    }
}

fn inode(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_write_wakes_and_a_read_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        fs::write(&file, "x").unwrap();
        let mut watch = Watch::new();
        watch.follow(&[dir.path().to_owned()]);
        if watch.failure().is_some() {
            return; // No inotify here: polling is all there is, and that is allowed.
        }
        assert!(!watch.wait(Duration::from_millis(50)));
        fs::read(&file).unwrap();
        assert!(!watch.wait(Duration::from_millis(50)));
        fs::write(&file, "y").unwrap();
        assert!(watch.wait(Duration::from_secs(10)));
    }

    #[test]
    fn a_waker_ends_the_wait() {
        let watch = Watch::new();
        watch.waker().wake();
        assert!(watch.wait(Duration::from_secs(10)));
        assert!(!watch.wait(Duration::ZERO));
    }
}
