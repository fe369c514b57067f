//! The words of the product as types: plain values, no I/O, no clock.
//!
//! Everything above this layer speaks in these types. They are the vocabulary of the trail as well:
//! [`event::Event`], [`finding::Finding`], [`grant::Grant`] and [`incident::Incident`] know how to write
//! themselves as members of a trail entry, through [`json::Object`], which is the only JSON writer that
//! leads into the trail and masks every string on its way (see there).

pub mod digest;
pub mod duration;
pub mod event;
pub mod finding;
pub mod grant;
pub mod incident;
pub mod json;
pub mod medium;
pub mod names;
pub mod pseudonym;
pub mod record;
pub mod row;
pub mod swar;
pub mod time;
pub mod webhook;

pub use digest::{Hash, Key, KeyRing};
pub use event::{Action, Category, Event, Outcome, System};
pub use finding::{Finding, Severity};
pub use names::Names;
pub use pseudonym::Pseudonyms;
pub use record::{Framing, Parsed, Record};
pub use time::Time;
