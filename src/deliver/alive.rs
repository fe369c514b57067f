//! A sign of life to somebody outside: an address that is asked every few minutes as long as the daemon turns.
//!
//! Whoever watches the watcher hears when it falls silent: services for that tell people when a request is overdue. So
//! a request is only made when the writer turned since the last one, and never stands for more than that.

use super::Outcome;
use super::hook::{Webhook, ask};
use std::time::Duration;
use tokio::time::sleep;

/// Where and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Alive {
    /// The address.
    pub hook: Webhook,
    /// How often.
    pub every: Duration,
}

/// Asks until the runtime ends. `turns` counts the writer's turns.
pub async fn keep(alive: Alive, turns: impl Fn() -> u64) {
    let (mut seen, mut failing) = (turns(), false);
    loop {
        sleep(alive.every).await;
        let now = turns();
        if now == seen {
            tracing::error!(
                "the writer has not turned for {} s: no sign of life is sent",
                alive.every.as_secs()
            );
            continue;
        }
        seen = now;
        match (ask(&alive.hook).await, failing) {
            (Outcome::Delivered, true) => {
                failing = false;
                tracing::info!("signs of life arrive again");
            }
            (Outcome::Delivered, false) => {}
            (outcome, false) => {
                failing = true;
                tracing::warn!("a sign of life did not arrive: {}", outcome.why().unwrap_or("refused"));
            }
            (_, true) => {}
        }
    }
}
