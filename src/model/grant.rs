//! What people *can* do: permissions as a system reports them, in snapshots.
//!
//! A snapshot is begin, rows, end. Without a matching end (same number of rows) it is `partial` and
//! proves no removal: what is missing from half a list may stand in the other half.

use super::Time;
use super::event::System;
use super::json::Object;
use serde::{Deserialize, Serialize};

/// One permission of one principal with its source path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// The CRM's id of the holder.
    pub principal: String,
    /// The holder's name, where the feed has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Role, permission set, profile or privilege, in the CRM's word: `System Administrator`, `prvReadAccount`.
    pub permission: String,
    /// Where it holds: business unit, object, depth. Empty when everywhere or unsaid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// How the principal comes to hold it: `role`, `team:Sales/role`, `profile` …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Whether the account is enabled, where the feed says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// When the grant ends, where the feed says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

impl Grant {
    /// What makes it the same grant in two snapshots: holder, permission, scope and path.
    pub fn identity(&self) -> (&str, &str, &str, &str) {
        (&self.principal, &self.permission, &self.scope, &self.path)
    }

    /// Writes the members of a `grant` entry.
    pub fn write(&self, out: &mut Object<'_>) {
        out.str("principal", &self.principal);
        out.opt("name", &self.name);
        out.str("permission", &self.permission);
        if !self.scope.is_empty() {
            out.str("scope", &self.scope);
        }
        if !self.path.is_empty() {
            out.str("path", &self.path);
        }
        if let Some(enabled) = self.enabled {
            out.bool("enabled", enabled);
        }
        if let Some(expires) = self.expires {
            out.time("expires", expires);
        }
    }
}

/// A line of a grants feed, after its format read it.
#[derive(Clone, Debug, PartialEq)]
pub enum GrantsLine {
    /// A snapshot begins.
    Begin {
        /// Product.
        system: System,
        /// Org, instance or client the snapshot is about.
        tenant: Option<String>,
        /// The query that made it, as the exporter wrote it down.
        query: String,
        /// When the query ran.
        time: Option<Time>,
    },
    /// One grant.
    Row(Grant),
    /// The snapshot ends; so many rows stood in the source.
    End {
        /// Rows in the source.
        rows: u64,
    },
    /// A line that is none of these: evidence, and the snapshot becomes partial.
    Bad {
        /// Why, without source text.
        why: &'static str,
    },
}
