//! What a start knows again.

use super::Patience;
use crate::config::Config;
use crate::error::Failure;
use crate::policy::Policies;
use crate::rebuild;
use crate::state::State;
use crate::trail::recover::Opened;

/// The state, from the cache and the tail, or from the whole trail.
pub(super) fn remember(
    opened: &Opened,
    config: &Config,
    policies: &Policies,
    patience: &mut Patience,
) -> Result<State, Failure> {
    let cached = opened.cache.as_ref().and_then(|(size, body)| Some((*size, State::import(body, policies)?)));
    let (from, mut state) = match cached {
        Some(cached) => cached,
        None => (0, State::new(policies).map_err(Failure::Runtime)?),
    };
    state.rows.ask(&config.overlaps());
    let trail = &opened.trail;
    let range = (from, trail.next_index());
    rebuild::replay(&**trail.disk(), trail.folder(), range, &mut state, &mut |done| {
        patience.told("remembering", done, range.1)
    })?;
    Ok(state)
}
