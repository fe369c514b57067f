//! crmwarden: a security and compliance auditing daemon for CRM deployments.
pub mod alert;
pub mod config;
pub mod deliver;
pub mod format;
pub mod incident;
pub mod inspect;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod report;
pub mod source;
pub mod stage;
pub mod state;
pub mod trail;
pub mod yaml;
