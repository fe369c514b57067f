//! A long start: the service manager is asked for more time, and people are told how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a long start says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// While it lives, the service manager is asked for more time: a long trail takes long to read.
pub(super) struct Patience {
    over: Arc<AtomicBool>,
    told: Instant,
}

impl Patience {
    pub(super) fn ask() -> Patience {
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let more = sd_notify::NotifyState::ExtendTimeoutUsec(60_000_000);
                let _ = sd_notify::notify(&[more]);
                std::thread::sleep(Duration::from_secs(10));
            }
        });
        Patience { over, told: Instant::now() }
    }

    /// Says how far reading is, every few seconds: on the terminal, and to the service manager.
    pub(super) fn told(&mut self, what: &str, done: u64, of: u64) {
        if self.told.elapsed() >= TELL_EVERY && done < of {
            self.told = Instant::now();
            let text = format!("{what}: {done} of {of} entries");
            tracing::info!("{text}");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&text)]);
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
