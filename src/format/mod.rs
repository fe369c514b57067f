//! One file per CRM feed: Record → Event, pure.
//!
//! A format declares its framing and turns one record into exactly one [`Parsed`]. It never fails: what
//! it cannot read becomes an event with defects, and columns that it does not map are kept in `extra`.
//! It never looks at a clock and never guesses a zone: where a feed's times have no offset it takes
//! [`FormatContext::zone`].

pub mod access_log;
pub mod dataverse_audit;
pub mod dataverse_grants;
pub mod debezium;
pub mod salesforce_event_log;
pub mod salesforce_setup_audit_trail;
pub mod sap_security_audit_log;
pub mod shared;
mod text;

use crate::model::event::System;
use crate::model::record::{FormatContext, Framing, Parsed, Record};

/// A feed's reader.
pub trait Format: Send + Sync {
    /// Its name in `format:`, e.g. `salesforce.event_log`.
    fn name(&self) -> &'static str;
    /// The product it belongs to.
    fn system(&self) -> System;
    /// How its files fall into records.
    fn framing(&self) -> Framing;
    /// Whether its times have no offset, so that the source must state `timezone:`.
    fn needs_zone(&self) -> bool {
        false
    }
    /// Whether it makes grants snapshots instead of events.
    fn is_grants(&self) -> bool {
        false
    }
    /// The dotted event paths (see [`crate::model::Event::PATHS`]) that it can set. A rule that requires
    /// a path that no shipped format sets can never fire; `check` refuses it.
    fn sets(&self) -> &'static [&'static str];
    /// Reads one record.
    fn parse(&self, record: &Record<'_>, context: &FormatContext) -> Parsed;
}

/// Every format that is built.
pub fn shipped() -> &'static [&'static dyn Format] {
    &[
        &salesforce_event_log::EventLog,
        &salesforce_setup_audit_trail::SetupAuditTrail,
        &dataverse_audit::DataverseAudit,
        &dataverse_grants::DataverseGrants,
        &sap_security_audit_log::SapSecurityAuditLog,
        &debezium::Debezium,
        &access_log::AccessLogCombined,
    ]
}

/// Every format that is built and the event paths that an event of it may have: what it sets, and where it sets
/// an address, the place that `places:` can add.
pub fn sets(places: &[&'static str]) -> Vec<(&'static str, Vec<&'static str>)> {
    let with_places = |format: &&dyn Format| {
        let mut sets = format.sets().to_vec();
        if sets.contains(&"client.ip") {
            sets.extend(places.iter().filter(|path| !format.sets().contains(path)));
        }
        (format.name(), sets)
    };
    shipped().iter().map(with_places).collect()
}

/// Formats of the design that are not built yet: a configuration that names one is told exactly that.
pub const PLANNED: &[&str] =
    &["json", "salesforce.real_time_events", "dataverse.m365", "hubspot.audit", "syslog"];

/// The shipped format of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    shipped().iter().copied().find(|format| format.name() == name)
}
