//! What detectors see in an event: numbers that must not be there, use outside of policy, behaviour. Pure.

pub mod behaviour;
pub mod dlp;
pub mod privilege;
