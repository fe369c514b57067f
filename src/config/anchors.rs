//! `anchors:`, and what `listen:` serves: `tlog:`, `witness:`, `auth:`.
//!
//! Combinations that cannot work are refused here: a server that would serve nothing to nobody, a trail that
//! would be its own witness, two targets of one name.

use super::{Reader, line};
use crate::anchor::http::Url;
use crate::anchor::{EVERY, Kind, SYSLOG, Target};
use crate::listen::{Listen, Tiles, Token, WitnessRole};
use crate::trail::note::{CosignerKey, Verifier};
use crate::trail::timestamp::Authorities;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file of authorities.
const CA_FILE_MAX: u64 = 1 << 20;
/// Longest name of a witness's key: names are labels of metrics and part of every cosignature.
const NAME_MAX: usize = 255;

/// `anchors:` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnchors {
    every: Option<Spanned<String>>,
    #[serde(default)]
    witnesses: Vec<RawWitness>,
    #[serde(default)]
    timestamps: Vec<RawTimestamp>,
    syslog: Option<RawSyslog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitness {
    key: Spanned<String>,
    url: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimestamp {
    name: Spanned<String>,
    url: Spanned<String>,
    ca_file: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSyslog {
    address: Spanned<String>,
}

/// `witness:` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    name: Spanned<String>,
    #[serde(default)]
    logs: Vec<RawLog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    key: Spanned<String>,
    #[serde(default)]
    url: Option<Spanned<String>>,
}

/// `auth:` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    token_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    people: Vec<RawPerson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    name: Spanned<String>,
    role: Spanned<String>,
    token_file: Spanned<PathBuf>,
}

/// Where checkpoints are anchored.
#[derive(Clone, Debug)]
pub struct Anchors {
    /// How often.
    pub every: Duration,
    /// Where.
    pub targets: Vec<Target>,
}

/// Reads the token of `auth:`. The error says what to mend and never holds any of the token.
pub fn token(path: &Path) -> Result<Token, String> {
    let text = crate::deliver::secret::read("token", path)?;
    Token::new(&text).map_err(|why| format!("token file {}: {why}", path.display()))
}

/// The parts that make up a [`Listen`].
pub(super) struct Served<'a> {
    pub listen: &'a Option<Spanned<String>>,
    pub metrics: Option<SocketAddr>,
    pub tlog: &'a Option<Spanned<String>>,
    pub witness: &'a Option<Spanned<RawRole>>,
    pub auth: &'a Option<Spanned<RawAuth>>,
    /// Some source is pushed to.
    pub pushed: bool,
}

impl Reader {
    /// Checks `anchors:`.
    pub(super) fn anchors(&mut self, raw: &RawAnchors) -> Anchors {
        let mut targets: Vec<Target> = Vec::new();
        for witness in &raw.witnesses {
            let Some(key) = self.witness_key(&witness.key) else { continue };
            let Some(url) = self.url(&witness.url) else { continue };
            let name = key.name.clone();
            self.add(&mut targets, line(&witness.key), Target { name, kind: Kind::Witness { key, url } });
        }
        for stamp in &raw.timestamps {
            self.check_name(&stamp.name, "time stamp authority", std::iter::empty());
            let (url, authorities) = (self.url(&stamp.url), self.authorities(&stamp.ca_file));
            let Some((url, authorities)) = url.zip(authorities) else { continue };
            let name = stamp.name.value.clone();
            self.add(
                &mut targets,
                line(&stamp.name),
                Target { name, kind: Kind::Timestamp { url, authorities } },
            );
        }
        if let Some(syslog) = &raw.syslog {
            let address = &syslog.address;
            let parts = address.value.rsplit_once(':');
            let valid = parts
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
            if !valid {
                self.say(line(address), "`address:` is not a host with a port", "127.0.0.1:514");
            }
            let kind = Kind::Syslog { address: address.value.clone() };
            targets.push(Target { name: SYSLOG.to_owned(), kind });
        }
        Anchors { every: self.every(&raw.every), targets }
    }

    fn every(&mut self, text: &Option<Spanned<String>>) -> Duration {
        let Some(text) = text else { return EVERY };
        match crate::model::duration::parse(&text.value) {
            Some(seconds @ 1..=86_400) => Duration::from_secs(seconds),
            _ => {
                let what = "`every:` is not a duration of 1s to 24h";
                self.say(line(text), what, crate::model::duration::FORM);
                EVERY
            }
        }
    }

    fn add(&mut self, targets: &mut Vec<Target>, at: u64, target: Target) {
        let taken = target.name == SYSLOG || targets.iter().any(|other| other.name == target.name);
        match taken {
            true => {
                self.say(at, format!("there is another anchor named `{}`", target.name), "names are unique")
            }
            false => targets.push(target),
        }
    }

    fn witness_key(&mut self, text: &Spanned<String>) -> Option<CosignerKey> {
        let Some(key) = CosignerKey::parse(&text.value) else {
            let what = match Verifier::parse(&text.value) {
                Some(_) => "this is the key of a log, not of a witness (type 04)",
                None => "this is not the verifier key of a witness (type 04)",
            };
            self.say(line(text), what, "the other site's `crmwarden witness vkey` prints it");
            return None;
        };
        self.key_name(&key.name, line(text)).then_some(key)
    }

    /// Whether a name may stand in metrics, logs and notes.
    fn key_name(&mut self, name: &str, at: u64) -> bool {
        let plain = name.chars().all(|c| c.is_ascii_graphic() && c != '+');
        let fine = (1..=NAME_MAX).contains(&name.len()) && plain && crate::inspect::dlp::mask(name).is_none();
        if !fine {
            let what = "a witness's name is 1 to 255 printable ASCII characters without blanks and `+`";
            self.say(at, what, "a domain and a path: site-b.example/witness");
        }
        fine
    }

    fn url(&mut self, text: &Spanned<String>) -> Option<Url> {
        match Url::parse(&text.value) {
            Ok(url) => Some(url),
            Err(why) => {
                self.say(line(text), format!("`url:` {why}"), "");
                None
            }
        }
    }

    fn authorities(&mut self, file: &Spanned<PathBuf>) -> Option<Authorities> {
        let path = self.path(&file.value);
        let read = crate::trail::disk::read_small(&path, CA_FILE_MAX);
        let parsed = match read {
            Ok(Some(bytes)) => Authorities::parse(&bytes),
            Ok(None) => Err("does not exist".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        match parsed {
            Ok(authorities) => Some(authorities),
            Err(why) => {
                let what = format!("the file {} {why}", path.display());
                self.say(line(file), what, "the certificate (PEM) of the time stamp authority's root");
                None
            }
        }
    }

    /// Checks what `listen:` serves. `own` is how all origins of this deployment
    /// begin, `anchors` where it is anchored.
    pub(super) fn listening(&mut self, raw: &Served<'_>, own: &str, anchors: &Anchors) -> Option<Listen> {
        let address = self.address(raw.listen, "listen");
        let tiles = self.tiles(raw.tlog);
        let token_file = raw.auth.as_ref().and_then(|auth| self.token_file(auth.value.token_file.as_ref()?));
        let people = raw.auth.as_ref().map_or_else(Vec::new, |auth| self.people(&auth.value.people));
        let witness = raw.witness.as_ref().and_then(|role| self.role(&role.value, own, anchors));
        let off = "set `listen: 127.0.0.1:7464`";
        if let Some(tlog) = raw.tlog.as_ref().filter(|tlog| tlog.value != "off") {
            let given = raw.auth.as_ref().and_then(|auth| auth.value.token_file.as_ref());
            match (raw.listen.as_ref().is_none_or(|text| text.value == "off"), given) {
                (true, _) => self.say(line(tlog), "`tlog:` is served on `listen:`, which is off", off),
                (false, None) => {
                    let what =
                        "`tlog:` needs `auth:`: bundles are the events, and hashes tell how many there are";
                    self.say(line(tlog), what, "auth: { token_file: api.token }");
                }
                _ => {}
            }
        } else if token_file.is_some() {
            self.warnings.push("`auth: token_file:` has no use without `tlog:`".into());
        }
        if let (true, Some(auth)) =
            (raw.listen.as_ref().is_none_or(|text| text.value == "off") && !people.is_empty(), raw.auth)
        {
            self.say(line(auth), "people sign in on `listen:`, which is off", off);
        }
        if let (Some(role), true) = (raw.witness, raw.listen.as_ref().is_none_or(|text| text.value == "off"))
        {
            self.say(line(role), "`witness:` is served on `listen:`, which is off", off);
        }
        let (text, address) = (raw.listen.as_ref()?, address?);
        if !address.ip().is_loopback() {
            let what = "a `listen:` address that is not loopback requires `tls:` and `auth:`, and `tls:` is not built yet";
            self.say(line(text), what, "use 127.0.0.1, and put a TLS proxy before it");
        }
        if raw.metrics == Some(address) && address.port() != 0 {
            self.say(line(text), "`listen:` and `metrics:` are the same address", "use two ports");
        }
        if tiles == Tiles::Off
            && witness.is_none()
            && raw.witness.is_none()
            && !raw.pushed
            && people.is_empty()
        {
            let what = "`listen:` is accepted and serves nothing: neither `tlog:` nor `witness:` nor a source \
                        with `http:` is set, and nobody may sign in to the console (`auth: people:`)";
            self.warnings.push(what.into());
            return None;
        }
        Some(Listen { address, tiles, token_file, witness, people })
    }

    fn tiles(&mut self, text: &Option<Spanned<String>>) -> Tiles {
        match text.as_ref().map(|text| text.value.as_str()) {
            None | Some("off") => Tiles::Off,
            Some("hashes") => Tiles::Hashes,
            Some("entries") => Tiles::Entries,
            Some(_) => {
                self.say(
                    text.as_ref().map_or(0, line),
                    "unknown word for `tlog:`",
                    "\"off\", hashes or entries",
                );
                Tiles::Off
            }
        }
    }

    /// Who may sign in to the console.
    fn people(&mut self, raw: &[RawPerson]) -> Vec<(String, bool, PathBuf)> {
        let mut people: Vec<(String, bool, PathBuf)> = Vec::new();
        for person in raw {
            self.check_name(&person.name, "person", people.iter().map(|(name, _, _)| name.as_str()));
            let acts = match person.role.value.as_str() {
                "responder" => true,
                "reader" => false,
                _ => {
                    self.say(line(&person.role), "unknown role", "reader or responder");
                    false
                }
            };
            if let Some(path) = self.token_file(&person.token_file) {
                people.push((person.name.value.clone(), acts, path));
            }
        }
        people
    }

    fn token_file(&mut self, file: &Spanned<PathBuf>) -> Option<PathBuf> {
        let path = self.path(&file.value);
        if let Err(why) = token(&path) {
            self.say(line(file), why, "openssl rand -hex 32 makes a token; mode 0600");
            return None;
        }
        Some(path)
    }

    fn role(&mut self, raw: &RawRole, own: &str, anchors: &Anchors) -> Option<WitnessRole> {
        let mut fine = self.key_name(&raw.name.value, line(&raw.name));
        if anchors.targets.iter().any(|target| target.name == raw.name.value) {
            let what = "a trail cannot be its own witness: `anchors:` names a witness of the same name";
            self.say(line(&raw.name), what, "a witness counts because somebody else runs it");
        }
        let mut logs: Vec<Verifier> = Vec::new();
        for log in &raw.logs {
            let at = line(&log.key);
            if let Some(url) = log.url.as_ref().filter(|url| !url.value.is_empty()) {
                self.say(line(url), "`url:` has no use here: logs come to their witness", "leave it empty");
            }
            match Verifier::parse(&log.key.value) {
                None => {
                    let cure = "the other site's `crmwarden keys export --format vkey` prints it first";
                    self.say(at, "this is not the verifier key of a log (type 01)", cure);
                }
                Some(key) if key.name.starts_with(own) => {
                    self.say(at, "a trail cannot be its own witness", "name the other site's log");
                }
                Some(key) if logs.iter().any(|log| log.name == key.name) => {
                    self.say(at, format!("there is another log named `{}`", key.name), "names are unique");
                }
                Some(key) => logs.push(key),
            }
        }
        if raw.logs.is_empty() {
            self.say(
                line(&raw.name),
                "a witness without `logs:` has nothing to do",
                "name the other site's log",
            );
            fine = false;
        }
        fine.then(|| WitnessRole { name: raw.name.value.clone(), logs })
    }
}
