//! Places of addresses, from a database in MaxMind's format that the user has (`places:`): GeoLite2, DB-IP and
//! others come as such files, of countries or of cities.
//!
//! The feed's own place comes first: where an event has a country already, nothing is looked up, for the CRM may
//! know better, and two sources of places in one event would disagree. The file is read into memory once, at
//! start; a newer one is used after a restart. Format: <https://maxmind.github.io/MaxMind-DB/>.

#[cfg(test)]
mod tests;

use crate::model::Event;
use maxminddb::{PathElement, Reader};
use std::net::IpAddr;

/// Largest database.
pub const DATABASE_MAX: u64 = 256 << 20;
/// Event paths that a database can fill where a feed gives an address.
pub const PATHS: &[&str] = &["client.country", "client.city", "client.lat", "client.lon"];

/// A database, ready.
pub struct Places(Reader<Vec<u8>>);

impl Places {
    /// Takes a file's content. The error says in a few words what it is not.
    pub fn new(bytes: Vec<u8>) -> Result<Places, String> {
        Reader::from_source(bytes).map(Places).map_err(|error| format!("is no MaxMind database: {error}"))
    }

    /// Fills in where the event's client is, unless its feed said so. An address that is none, or that the
    /// database does not know, leaves the place unknown.
    pub fn fill(&self, event: &mut Event) {
        let client = &mut event.client;
        if client.country.is_some() || client.lat.is_some() {
            return;
        }
        let Some(address) = client.ip.as_ref().and_then(|text| text.parse::<IpAddr>().ok()) else { return };
        let Ok(found) = self.0.lookup(address) else { return };
        let text = |path: &[&str]| {
            let path: Vec<PathElement<'_>> = path.iter().map(|name| PathElement::Key(name)).collect();
            found.decode_path::<String>(&path).ok().flatten()
        };
        let degrees = |name: &str| {
            let path = [PathElement::Key("location"), PathElement::Key(name)];
            found.decode_path::<f64>(&path).ok().flatten().map(|degrees| degrees.to_string())
        };
        client.country = text(&["country", "iso_code"]);
        client.city = text(&["city", "names", "en"]);
        (client.lat, client.lon) = (degrees("latitude"), degrees("longitude"));
    }
}
