//! The one normalised form: who did what to which record, from where, how it ended.
//!
//! JSON names and their order are the contract (rules, search and exports use the dotted path). Absent
//! means unknown; nothing here is ever guessed. Every non-integer number stays a string with the source's
//! digits. The lists keep their first [`LIST_MAX`] values; what was cut is counted and named by the defect
//! `list_cut`.
//!
//! Every member stands here side by side as it is declared and as it is written: one that is missing is seen at once.
//! Their closed words are in `word.rs`. By path they are in `path.rs`, and `pack.rs` names all of them, so that a new
//! member does not compile before it is packed, too.

mod pack;
mod path;
mod word;

pub use pack::Packed;
pub use path::Value;
pub(crate) use word::words;
pub use word::{Action, ActorType, Category, Clock, Defect, DefectCode, Outcome, System};

use super::json::Object;
use super::{Hash, Time};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// Most values that `fields`, `changes`, `target.ids` and `actor.roles` keep.
pub const LIST_MAX: usize = 256;

/// Room for the path of a changed field, bytes; few are longer.
const USUAL_PATH: usize = 64;

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// The CRM's id.
    pub id: Option<String>,
    /// Login name, e-mail or display name, as the feed says.
    pub name: Option<String>,
    /// Kind of account.
    pub r#type: Option<ActorType>,
    /// Roles or profiles named by the record itself.
    pub roles: Vec<String>,
    /// The account acted for (impersonation, delegation).
    pub on_behalf_of: Option<String>,
}

/// From where.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Client {
    /// IPv4 or IPv6 address, without port.
    pub ip: Option<String>,
    /// ISO 3166-1 alpha-2 or the feed's own word.
    pub country: Option<String>,
    /// City as the feed says.
    pub city: Option<String>,
    /// Degrees, the source's digits.
    pub lat: Option<String>,
    /// Degrees, the source's digits.
    pub lon: Option<String>,
    /// User agent.
    pub user_agent: Option<String>,
    /// TLS version.
    pub tls: Option<String>,
    /// Client application or connected app.
    pub app: Option<String>,
}

/// How they proved who they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Password, SAML, token …, in the feed's word.
    pub method: Option<String>,
    /// Whether a second factor was used; absent when the feed does not say.
    pub mfa: Option<bool>,
    /// Session or login key.
    pub session: Option<String>,
}

/// To which records.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Object type, e.g. `Account`.
    pub r#type: Option<String>,
    /// Record ids, at most [`LIST_MAX`].
    pub ids: Vec<String>,
    /// Name as the feed says.
    pub name: Option<String>,
    /// Owner as the feed says.
    pub owner: Option<String>,
}

/// One changed field. Values stand here only when the capture policy asks for them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Field name.
    pub field: String,
    /// Value before. Inspected always, written only where `keep_values` says so.
    pub from: Option<String>,
    /// Value after, likewise.
    pub to: Option<String>,
}

/// A count as the trail writes it: a number, or beyond 2⁵³−1 a string of digits.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count<'a> {
        Number(u64),
        Text(#[serde(borrow)] Cow<'a, str>),
    }
    Ok(match Count::deserialize(deserializer)? {
        Count::Number(number) => Some(number),
        Count::Text(text) => text.parse().ok(),
    })
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Rows read, returned or changed.
    #[serde(deserialize_with = "count")]
    pub rows: Option<u64>,
    /// Bytes.
    #[serde(deserialize_with = "count")]
    pub bytes: Option<u64>,
}

/// A permission given or taken by this event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GrantChange {
    /// Who holds it.
    pub principal: Option<String>,
    /// Role, permission set or privilege.
    pub permission: Option<String>,
    /// Where it holds.
    pub scope: Option<String>,
}

/// Cost as the CRM reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Perf {
    /// Milliseconds.
    #[serde(deserialize_with = "count")]
    pub duration_ms: Option<u64>,
    /// HTTP status or the feed's numeric status.
    #[serde(deserialize_with = "count")]
    pub status_code: Option<u64>,
}

/// The request line.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Method.
    pub method: Option<String>,
    /// Path with query.
    pub path: Option<String>,
}

/// Where the raw record stands and its keyed digest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Raw {
    /// `file:offset`, `topic/sequence`, …
    pub locator: String,
    /// HMAC-SHA-256 of the raw bytes under the fingerprint key, `number:hex` (first 16 bytes).
    pub hmac: String,
}

/// The normalised event. Everything that is not known is absent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When it happened, as the CRM says.
    pub time: Option<Time>,
    /// When we read it.
    pub observed: Time,
    /// Configured source name.
    pub source: Arc<str>,
    /// Product.
    pub system: System,
    /// The format that read it, with its event type: `salesforce.event_log/Login`.
    pub feed: Cow<'static, str>,
    /// The CRM's own id of this event.
    pub uid: Option<String>,
    /// Kind.
    pub category: Option<Category>,
    /// Verb.
    pub action: Option<Action>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The native status code.
    pub status: Option<String>,
    /// Who.
    pub actor: Actor,
    /// From where.
    pub client: Client,
    /// How authenticated.
    pub auth: Auth,
    /// What.
    pub target: Target,
    /// Field names touched.
    pub fields: Vec<String>,
    /// Field changes.
    pub changes: Vec<Change>,
    /// How much.
    pub volume: Volume,
    /// Permission change.
    pub grant: GrantChange,
    /// Cost.
    pub perf: Perf,
    /// Org id, instance, system and client.
    pub tenant: Option<String>,
    /// Request.
    pub http: Http,
    /// SOQL, FetchXML, search text.
    pub query: Option<String>,
    /// Free text.
    pub message: Option<String>,
    /// Columns that are not mapped: kept, never lost.
    #[serde(deserialize_with = "extra::read")]
    pub extra: Vec<(Cow<'static, str>, String)>,
    /// How far `time` can be trusted.
    pub clock: Clock,
    /// What was wrong with the record.
    pub defects: Vec<Defect>,
    /// Where it stands.
    pub raw: Raw,
}

/// What stands for a source until it is known, without an allocation an event.
static NO_SOURCE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

impl Default for Event {
    fn default() -> Event {
        Event {
            time: None,
            observed: Time::EPOCH,
            source: Arc::clone(&NO_SOURCE),
            system: System::Custom,
            feed: Cow::Borrowed(""),
            uid: None,
            category: None,
            action: None,
            outcome: None,
            status: None,
            actor: Actor::default(),
            client: Client::default(),
            auth: Auth::default(),
            target: Target::default(),
            fields: Vec::new(),
            changes: Vec::new(),
            volume: Volume::default(),
            grant: GrantChange::default(),
            perf: Perf::default(),
            tenant: None,
            http: Http::default(),
            query: None,
            message: None,
            extra: Vec::new(),
            clock: Clock::Certain,
            defects: Vec::new(),
            raw: Raw::default(),
        }
    }
}

impl Event {
    /// The time that drives windows: as the CRM says, else when we read it (with `clock: absent`).
    pub fn when(&self) -> Time {
        self.time.unwrap_or(self.observed)
    }

    /// Adds a defect once.
    pub fn defect(&mut self, defect: Defect) {
        if !self.defects.contains(&defect) {
            self.defects.push(defect);
        }
    }

    /// Whether the record had this defect.
    pub fn has_defect(&self, code: DefectCode) -> bool {
        self.defects.iter().any(|defect| defect.code == code)
    }

    /// Calls `visit` with the dotted path and a mutable reference for every string that came from the
    /// source. Inspection reads and masks through this one door, so that a new field cannot be forgotten
    /// in one of the two. Names in `extra` are visited too, with the path `extra`.
    pub fn visit_text(&mut self, visit: &mut dyn FnMut(&str, &mut String)) {
        for (path, value) in Event::TEXTS.iter().zip(self.texts_mut()) {
            if let Some(value) = value {
                visit(path, value);
            }
        }
        let lists = [
            ("actor.roles", &mut self.actor.roles),
            ("target.ids", &mut self.target.ids),
            ("fields", &mut self.fields),
        ];
        for (path, values) in lists {
            for value in values.iter_mut() {
                visit(path, value);
            }
        }
        let mut path = String::with_capacity(if self.changes.is_empty() { 0 } else { USUAL_PATH });
        for change in &mut self.changes {
            path.clear();
            path.push_str("changes.");
            path.push_str(&change.field);
            visit("changes.field", &mut change.field);
            for value in [&mut change.from, &mut change.to].into_iter().flatten() {
                visit(&path, value);
            }
        }
        for (name, value) in &mut self.extra {
            if let Cow::Owned(name) = name {
                visit("extra", name);
            }
            visit(name, value);
        }
        for defect in &mut self.defects {
            if let Some(field) = &mut defect.field {
                visit("defects", field);
            }
        }
        visit("raw.locator", &mut self.raw.locator);
    }

    /// Cuts the lists to [`LIST_MAX`] and says so. `digest` gives the keyed digest of what was cut, which
    /// is kept in `extra` as `<list>.cut` with the full count, so that nothing disappears unnamed.
    pub fn cut_lists(&mut self, digest: &dyn Fn(&[String]) -> String) {
        let mut cuts = Vec::new();
        let lists = [
            ("actor.roles", &mut self.actor.roles),
            ("target.ids", &mut self.target.ids),
            ("fields", &mut self.fields),
        ];
        for (path, values) in lists {
            if values.len() > LIST_MAX {
                cuts.push((path, values.len(), digest(&values[LIST_MAX..])));
                values.truncate(LIST_MAX);
            }
        }
        if self.changes.len() > LIST_MAX {
            let names: Vec<String> =
                self.changes[LIST_MAX..].iter().map(|change| change.field.clone()).collect();
            cuts.push(("changes", self.changes.len(), digest(&names)));
            self.changes.truncate(LIST_MAX);
        }
        for (path, count, digest) in cuts {
            self.extra.push((Cow::Owned(format!("{path}.cut")), format!("{count} values, rest {digest}")));
            self.defect(Defect::field(DefectCode::ListCut, path));
        }
    }

    /// Writes the members in the contract's order.
    pub fn write(&self, out: &mut Object<'_>) {
        if let Some(time) = self.time {
            out.time("time", time);
        }
        out.time("observed", self.observed);
        out.word("source", &self.source);
        out.plain("system", self.system.as_str());
        out.str("feed", &self.feed);
        out.opt("uid", &self.uid);
        for (name, word) in [
            ("category", self.category.map(Category::as_str)),
            ("action", self.action.map(Action::as_str)),
            ("outcome", self.outcome.map(Outcome::as_str)),
        ] {
            if let Some(word) = word {
                out.plain(name, word);
            }
        }
        out.opt("status", &self.status);
        out.object("actor", |out| self.write_actor(out));
        out.object("client", |out| self.write_client(out));
        out.object("auth", |out| {
            out.opt("method", &self.auth.method);
            if let Some(mfa) = self.auth.mfa {
                out.bool("mfa", mfa);
            }
            out.opt("session", &self.auth.session);
        });
        out.object("target", |out| {
            out.opt("type", &self.target.r#type);
            write_list(out, "ids", &self.target.ids);
            out.opt("name", &self.target.name);
            out.opt("owner", &self.target.owner);
        });
        write_list(out, "fields", &self.fields);
        if !self.changes.is_empty() {
            out.objects("changes", &self.changes, |change, out| {
                out.str("field", &change.field);
                out.opt("from", &change.from);
                out.opt("to", &change.to);
            });
        }
        self.write_rest(out);
    }

    fn write_actor(&self, out: &mut Object<'_>) {
        out.opt("id", &self.actor.id);
        out.opt("name", &self.actor.name);
        if let Some(kind) = self.actor.r#type {
            out.plain("type", kind.as_str());
        }
        write_list(out, "roles", &self.actor.roles);
        out.opt("on_behalf_of", &self.actor.on_behalf_of);
    }

    fn write_client(&self, out: &mut Object<'_>) {
        out.opt("ip", &self.client.ip);
        out.opt("country", &self.client.country);
        out.opt("city", &self.client.city);
        out.opt("lat", &self.client.lat);
        out.opt("lon", &self.client.lon);
        out.opt("user_agent", &self.client.user_agent);
        out.opt("tls", &self.client.tls);
        out.opt("app", &self.client.app);
    }

    fn write_rest(&self, out: &mut Object<'_>) {
        fn count(out: &mut Object<'_>, name: &'static str, value: Option<u64>) {
            if let Some(value) = value {
                out.source_uint(name, value);
            }
        }
        out.object("volume", |out| {
            count(out, "rows", self.volume.rows);
            count(out, "bytes", self.volume.bytes);
        });
        out.object("grant", |out| {
            out.opt("principal", &self.grant.principal);
            out.opt("permission", &self.grant.permission);
            out.opt("scope", &self.grant.scope);
        });
        out.object("perf", |out| {
            count(out, "duration_ms", self.perf.duration_ms);
            count(out, "status_code", self.perf.status_code);
        });
        out.opt("tenant", &self.tenant);
        out.object("http", |out| {
            out.opt("method", &self.http.method);
            out.opt("path", &self.http.path);
        });
        out.opt("query", &self.query);
        out.opt("message", &self.message);
        out.object("extra", |out| {
            for (name, value) in &self.extra {
                out.dynamic(name, value);
            }
        });
        if self.clock != Clock::Certain {
            out.plain("clock", self.clock.as_str());
        }
        if !self.defects.is_empty() {
            out.list("defects", self.defects.iter().map(Defect::text));
        }
        out.object("raw", |out| {
            out.str("locator", &self.raw.locator);
            out.word("hmac", &self.raw.hmac);
        });
    }
}

fn write_list(out: &mut Object<'_>, name: &'static str, values: &[String]) {
    if !values.is_empty() {
        out.list(name, values);
    }
}

/// `extra` is an object in JSON and a list of pairs in memory: the order of the columns is kept.
mod extra {
    use super::Cow;
    use serde::Deserializer;
    use serde::de::{MapAccess, Visitor};

    pub(super) fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Cow<'static, str>, String)>, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(Cow<'static, str>, String)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    pairs.push((Cow::Owned(name), value));
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A keyed digest, for [`Raw::hmac`]: the key's number and the first 16 bytes.
pub fn raw_hmac(number: u32, hash: &Hash) -> String {
    let mut text = Vec::with_capacity(44);
    super::json::write_uint(&mut text, u64::from(number));
    text.push(b':');
    super::digest::write_hex(&hash.0[..16], &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Serialised only for tests and exports that need a JSON value of the whole event.
impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = Vec::new();
        Object::whole(&mut out, super::json::no_mask, |object| self.write(object));
        let value: serde_json::Value = serde_json::from_slice(&out).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}
