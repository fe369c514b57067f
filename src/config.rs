//! The configuration: what the person wrote ([`Raw`]), and what it means ([`Config`]).
//!
//! One fallible conversion between the two. Everything that can be wrong is found here, offline, and named
//! with file, line, what and how to mend it. Parts of the design that are not built yet are refused with
//! exactly that reason: a configuration that is accepted does what it says.

mod anchors;

pub use anchors::{Anchors, token};

use crate::alert::route::Route;
use crate::deliver::{Email, Receiver};
use crate::format::{self, Format};
use crate::listen::Listen;
use crate::model::record::Encoding;
use crate::source::file::glob::Glob;
use crate::source::file::{MAX_RECORD, StartAt};
use crate::trail::detail::Privacy;
use crate::yaml::{self, Problem, nearest};
use anchors::{RawAnchors, RawAuth, RawRole, Served};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a configuration is looked for when none is named.
pub const DEFAULT_FILES: [&str; 2] = ["crmwarden.yaml", "/etc/crmwarden/crmwarden.yaml"];
/// Largest configuration that is read.
const FILE_MAX: u64 = 4 << 20;

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    deployment: Spanned<String>,
    state: PathBuf,
    policies: Option<Spanned<PathBuf>>,
    keys: Option<PathBuf>,
    listen: Option<Spanned<String>>,
    metrics: Option<Spanned<String>>,
    #[serde(default)]
    sources: Vec<RawSource>,
    #[serde(default)]
    receivers: Vec<RawReceiver>,
    #[serde(default)]
    routes: Vec<Spanned<Route>>,
    #[serde(default)]
    governance: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    heartbeat: Option<Spanned<String>>,
    people: Option<Spanned<IgnoredAny>>,
    limits: Option<Spanned<IgnoredAny>>,
    retention: Option<Spanned<IgnoredAny>>,
    privacy: Option<Spanned<String>>,
    tls: Option<Spanned<IgnoredAny>>,
    auth: Option<Spanned<RawAuth>>,
    #[serde(default)]
    anchors: RawAnchors,
    tlog: Option<Spanned<String>>,
    witness: Option<Spanned<RawRole>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    paths: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: Spanned<String>,
    format: Spanned<String>,
    file: Option<RawFile>,
    directory: Option<Spanned<IgnoredAny>>,
    http: Option<Spanned<IgnoredAny>>,
    nats: Option<Spanned<IgnoredAny>>,
    syslog: Option<Spanned<IgnoredAny>>,
    stdin: Option<Spanned<IgnoredAny>>,
    exec: Option<Spanned<IgnoredAny>>,
    salesforce: Option<Spanned<IgnoredAny>>,
    dataverse: Option<Spanned<IgnoredAny>>,
    m365: Option<Spanned<IgnoredAny>>,
    hubspot: Option<Spanned<IgnoredAny>>,
    postgres: Option<Spanned<IgnoredAny>>,
    mysql: Option<Spanned<IgnoredAny>>,
    mapping: Option<Spanned<IgnoredAny>>,
    trusted_proxies: Option<Spanned<IgnoredAny>>,
    expect_every: Option<Spanned<IgnoredAny>>,
    timezone: Option<Spanned<String>>,
    encoding: Option<Spanned<String>>,
    start_at: Option<Spanned<String>>,
    max_record: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceiver {
    name: Spanned<String>,
    directory: Option<PathBuf>,
    email: Option<Spanned<Email>>,
    webhook: Option<Spanned<IgnoredAny>>,
    slack: Option<Spanned<IgnoredAny>>,
    pagerduty: Option<Spanned<IgnoredAny>>,
    alertmanager: Option<Spanned<IgnoredAny>>,
    syslog: Option<Spanned<IgnoredAny>>,
}

/// A configured source.
#[derive(Clone)]
pub struct Source {
    /// Unique name.
    pub name: String,
    /// Path patterns, absolute.
    pub paths: Vec<String>,
    /// Its format.
    pub format: &'static dyn Format,
    /// Zone of times without offset.
    pub zone: Option<jiff::tz::TimeZone>,
    /// How its bytes encode text.
    pub encoding: Encoding,
    /// Where the first start begins.
    pub start_at: StartAt,
    /// Longest record, bytes.
    pub max_record: usize,
}

/// The configuration, ready.
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Names the trail's origin.
    pub deployment: String,
    /// State folder.
    pub state: PathBuf,
    /// What entries may hold; fixed when the trail is made.
    pub privacy: Privacy,
    /// Policy folder, where one is named.
    pub policies: Option<PathBuf>,
    /// Folder of the long-lived keys.
    pub keys: PathBuf,
    /// What is served to other programs, and where.
    pub listen: Option<Listen>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Sources.
    pub sources: Vec<Source>,
    /// Receivers by name.
    pub receivers: Vec<(String, Receiver)>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Who answers for what, for the report.
    pub governance: BTreeMap<String, String>,
    /// Seconds without a commit after which a heartbeat is written.
    pub heartbeat_seconds: u64,
    /// Where checkpoints are anchored.
    pub anchors: Anchors,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file that `-c` names, or the first default that is there.
    pub fn find(named: Option<&Path>) -> Result<Config, Vec<Problem>> {
        let file = match named {
            Some(file) => file.to_owned(),
            None => match DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.is_file()) {
                Some(file) => file,
                None => {
                    let what = format!("no configuration: neither {} is there", DEFAULT_FILES.join(" nor "));
                    return Err(vec![
                        Problem::file("crmwarden", what)
                            .cure("name one with -c FILE, or run `crmwarden demo` to see one at work"),
                    ]);
                }
            },
        };
        Config::read(&file)
    }

    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Config, Vec<Problem>> {
        let name = file.display().to_string();
        let problem = |what: String| vec![Problem::file(&name, what)];
        let bytes = crate::trail::disk::read_small(file, FILE_MAX)
            .map_err(|error| problem(format!("cannot be read: {error}")))?
            .ok_or_else(|| problem("does not exist".into()))?;
        let text = String::from_utf8(bytes).map_err(|_| problem("is not UTF-8".into()))?;
        let base = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = std::path::absolute(base).map_err(|error| problem(error.to_string()))?;
        let raw: Raw = yaml::parse(&name, &text).map_err(|problem| vec![problem])?;
        let mut reader = Reader { name, base, problems: Vec::new(), warnings: Vec::new() };
        let config = reader.ready(file, raw);
        match reader.problems.is_empty() {
            true => Ok(config),
            false => Err(reader.problems),
        }
    }

    /// Everything that a source must never read: our own state, keys and what receivers write.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let mut own = vec![self.state.clone(), self.keys.clone()];
        for (_, receiver) in &self.receivers {
            if let Receiver::Directory { path } = receiver {
                own.push(path.clone());
            }
        }
        own
    }
}

struct Reader {
    name: String,
    base: PathBuf,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

fn line<T>(value: &Spanned<T>) -> u64 {
    value.referenced.line()
}

impl Reader {
    fn say(&mut self, line: u64, what: impl Into<String>, cure: &str) {
        let problem = Problem::at(&self.name, line, what);
        self.problems.push(if cure.is_empty() { problem } else { problem.cure(cure) });
    }

    fn unbuilt<T>(&mut self, value: &Option<Spanned<T>>, what: &str) {
        if let Some(value) = value {
            self.say(line(value), format!("{what} is not built yet"), "leave it out for now");
        }
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn ready(&mut self, file: &Path, raw: Raw) -> Config {
        if let Err(error) = crate::trail::create::check_deployment(&raw.deployment.value) {
            self.say(line(&raw.deployment), error.to_string(), "");
        }
        self.unbuilt(&raw.people, "`people:`");
        self.unbuilt(&raw.limits, "`limits:` (all limits have their defaults; see the README)");
        self.unbuilt(&raw.retention, "`retention:` (everything is kept)");
        self.unbuilt(&raw.tls, "`tls:` (it belongs to the console)");
        let privacy = match &raw.privacy {
            None => Privacy::Plain,
            Some(word) => Privacy::parse(&word.value).unwrap_or_else(|| {
                self.say(line(word), "unknown word for `privacy:`", "plain or erasable");
                Privacy::Plain
            }),
        };
        let state = self.path(&raw.state);
        let keys = match (&raw.keys, std::env::var_os("CREDENTIALS_DIRECTORY")) {
            (Some(keys), _) => self.path(keys),
            (None, Some(credentials)) => PathBuf::from(credentials),
            (None, None) => self.base.join("keys"),
        };
        if keys.starts_with(&state) {
            self.warnings.push(format!(
                "the keys ({}) are inside the state: one backup would hold trail and keys",
                keys.display()
            ));
        }
        let metrics = self.address(&raw.metrics, "metrics");
        let anchors = self.anchors(&raw.anchors);
        let own = format!("{}/crmwarden/", raw.deployment.value);
        let served =
            Served { listen: &raw.listen, metrics, tlog: &raw.tlog, witness: &raw.witness, auth: &raw.auth };
        let listen = self.listening(&served, &own, &anchors);
        let policies = raw.policies.map(|policies| (line(&policies), self.path(&policies.value)));
        if let Some((line, folder)) = policies.as_ref().filter(|(_, folder)| !folder.is_dir()) {
            self.say(
                *line,
                format!("the policy folder {} does not exist", folder.display()),
                "make it; it may be empty",
            );
        }
        let receivers = self.receivers(raw.receivers);
        let routes = self.routes(raw.routes, &receivers);
        let mut config = Config {
            file: file.to_owned(),
            deployment: raw.deployment.value,
            state,
            privacy,
            policies: policies.map(|(_, folder)| folder),
            keys,
            listen,
            metrics,
            sources: Vec::new(),
            receivers,
            routes,
            governance: raw.governance.into_iter().map(|(role, who)| (role, who.value)).collect(),
            heartbeat_seconds: self.heartbeat(&raw.heartbeat),
            anchors,
            warnings: Vec::new(),
        };
        config.sources = self.sources(raw.sources, &config);
        config.warnings = std::mem::take(&mut self.warnings);
        config
    }

    fn heartbeat(&mut self, text: &Option<Spanned<String>>) -> u64 {
        const DEFAULT: u64 = 300;
        let Some(text) = text else { return DEFAULT };
        match crate::policy::duration::parse(&text.value) {
            Some(seconds @ 1..=86_400) => seconds,
            _ => {
                self.say(
                    line(text),
                    "`heartbeat:` is not a duration of 1s to 24h",
                    crate::policy::duration::FORM,
                );
                DEFAULT
            }
        }
    }

    fn address(&mut self, text: &Option<Spanned<String>>, key: &str) -> Option<SocketAddr> {
        let text = text.as_ref().filter(|text| text.value != "off")?;
        let address = text.value.parse().ok();
        if address.is_none() {
            self.say(
                line(text),
                format!("`{key}:` is not an address with a port"),
                "127.0.0.1:7465, or \"off\"",
            );
        }
        address
    }

    fn receivers(&mut self, raw: Vec<RawReceiver>) -> Vec<(String, Receiver)> {
        let mut receivers: Vec<(String, Receiver)> = Vec::new();
        for raw in raw {
            let name = raw.name.value.clone();
            let at = line(&raw.name);
            self.check_name(&raw.name, "receiver", receivers.iter().map(|(name, _)| name.as_str()));
            for (value, kind) in [
                (&raw.webhook, "webhook"),
                (&raw.slack, "slack"),
                (&raw.pagerduty, "pagerduty"),
                (&raw.alertmanager, "alertmanager"),
                (&raw.syslog, "syslog"),
            ] {
                self.unbuilt(value, &format!("the receiver kind `{kind}`"));
            }
            let planned = [&raw.webhook, &raw.slack, &raw.pagerduty, &raw.alertmanager, &raw.syslog];
            let planned = planned.iter().filter(|kind| kind.is_some()).count();
            match (raw.directory, raw.email) {
                (Some(path), None) if planned == 0 => {
                    receivers.push((name, Receiver::Directory { path: self.path(&path) }));
                }
                (None, Some(email)) if planned == 0 => {
                    let at = line(&email);
                    let mut email = email.value;
                    for file in [&mut email.smtp.password_file, &mut email.smtp.ca_file].into_iter().flatten()
                    {
                        *file = self.base.join(&file);
                        if !file.is_file() {
                            let what = format!("the file {} does not exist", file.display());
                            self.problems.push(Problem::at(&self.name, at, what));
                        }
                    }
                    for problem in email.problems() {
                        self.say(at, problem, "");
                    }
                    receivers.push((name, Receiver::Email(email)));
                }
                (None, None) if planned == 1 => {}
                _ => self.say(at, format!("receiver `{name}` needs exactly one kind"), "directory or email"),
            }
        }
        receivers
    }

    fn check_name<'a>(
        &mut self,
        name: &Spanned<String>,
        what: &str,
        mut others: impl Iterator<Item = &'a str>,
    ) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=64).contains(&name.value.len()) || !name.value.chars().all(allowed) {
            let what = format!("a {what}'s name is 1 to 64 letters, digits, `-`, `_` and `.`");
            self.say(line(name), what, "");
        } else if crate::inspect::dlp::mask(&name.value).is_some() {
            self.say(
                line(name),
                format!("a {what}'s name must not look like a card or social-security number"),
                "",
            );
        } else if others.any(|other| other == name.value) {
            self.say(
                line(name),
                format!("there is another {what} named `{}`", name.value),
                "names are unique",
            );
        }
    }

    fn routes(&mut self, raw: Vec<Spanned<Route>>, receivers: &[(String, Receiver)]) -> Vec<Route> {
        // A receiver that was refused above needs no second complaint from the routes that name it.
        let refused = !self.problems.is_empty();
        for route in raw.iter().filter(|_| !refused) {
            for name in &route.value.receivers {
                let known = || receivers.iter().map(|(name, _)| name.as_str());
                if known().any(|known| known == name) {
                    continue;
                }
                match nearest(name, known()) {
                    Some(near) => self.say(
                        line(route),
                        format!("unknown receiver `{name}`"),
                        &format!("did you mean `{near}`?"),
                    ),
                    None => self.say(
                        line(route),
                        format!("unknown receiver `{name}`"),
                        "name one of `receivers:`",
                    ),
                }
            }
        }
        let covered = raw.last().is_some_and(|route| route.value.r#match.is_everything());
        if !covered && !receivers.is_empty() {
            let warning =
                "the last route does not match everything: alerts that no route takes are only counted";
            self.warnings.push(warning.into());
        }
        raw.into_iter().map(|route| route.value).collect()
    }

    fn sources(&mut self, raw: Vec<RawSource>, config: &Config) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for raw in raw {
            self.check_name(&raw.name, "source", sources.iter().map(|source| source.name.as_str()));
            let kinds = self.planned_kinds(&raw);
            let Some(format) = self.format(&raw.format) else { continue };
            let zone = self.zone(&raw, format);
            let encoding = self.encoding(&raw.encoding);
            let start_at = match raw.start_at.as_ref().map(|word| (line(word), word.value.as_str())) {
                None | Some((_, "beginning")) => StartAt::Beginning,
                Some((_, "end")) => StartAt::End,
                Some((at, _)) => {
                    self.say(at, "unknown word for `start_at:`", "beginning or end");
                    StartAt::Beginning
                }
            };
            let max_record = match &raw.max_record {
                None => MAX_RECORD,
                Some(max) if (1024..=MAX_RECORD as u64).contains(&max.value) => max.value as usize,
                Some(max) => {
                    self.say(line(max), format!("`max_record:` is 1024 to {MAX_RECORD} bytes"), "");
                    MAX_RECORD
                }
            };
            let paths = match (&raw.file, kinds) {
                (Some(file), 0) => self.paths(file, config),
                (None, 1) => continue,
                _ => {
                    let what = format!("source `{}` needs exactly one kind of input", raw.name.value);
                    self.say(line(&raw.name), what, "file: { paths: [...] }");
                    continue;
                }
            };
            sources.push(Source {
                name: raw.name.value,
                paths,
                format,
                zone,
                encoding,
                start_at,
                max_record,
            });
        }
        sources
    }

    /// Kinds of input that the design has and this release does not: counted, each refused by name.
    fn planned_kinds(&mut self, raw: &RawSource) -> usize {
        let planned = [
            (&raw.directory, "directory"),
            (&raw.http, "http"),
            (&raw.nats, "nats"),
            (&raw.syslog, "syslog"),
            (&raw.stdin, "stdin"),
            (&raw.exec, "exec"),
            (&raw.salesforce, "salesforce"),
            (&raw.dataverse, "dataverse"),
            (&raw.m365, "m365"),
            (&raw.hubspot, "hubspot"),
            (&raw.postgres, "postgres"),
            (&raw.mysql, "mysql"),
        ];
        for (value, kind) in planned {
            self.unbuilt(value, &format!("the source kind `{kind}`"));
        }
        self.unbuilt(&raw.mapping, "`mapping:`");
        self.unbuilt(&raw.trusted_proxies, "`trusted_proxies:`");
        self.unbuilt(&raw.expect_every, "`expect_every:`");
        planned.iter().filter(|(value, _)| value.is_some()).count()
    }

    fn format(&mut self, name: &Spanned<String>) -> Option<&'static dyn Format> {
        let found = format::by_name(&name.value);
        if found.is_none() {
            let known = || format::shipped().iter().map(|format| format.name());
            if format::PLANNED.contains(&name.value.as_str()) {
                self.say(line(name), format!("the format `{}` is not built yet", name.value), "");
            } else {
                let cure = match nearest(&name.value, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known formats: {}", known().collect::<Vec<_>>().join(", ")),
                };
                self.say(line(name), format!("unknown format `{}`", name.value), &cure);
            }
        }
        found
    }

    fn zone(&mut self, raw: &RawSource, format: &dyn Format) -> Option<jiff::tz::TimeZone> {
        let Some(name) = &raw.timezone else {
            if format.needs_zone() {
                let what =
                    format!("`{}` has times without an offset: `timezone:` is required", format.name());
                self.say(line(&raw.format), what, "timezone: Europe/Berlin (an IANA name)");
            }
            return None;
        };
        let zone = jiff::tz::TimeZone::get(&name.value).ok();
        if zone.is_none() {
            self.say(
                line(name),
                format!("`{}` is no IANA time zone", name.value),
                "for example Europe/Berlin",
            );
        }
        zone
    }

    fn encoding(&mut self, name: &Option<Spanned<String>>) -> Encoding {
        let Some(name) = name else { return Encoding::Utf8 };
        match name.value.as_str() {
            "utf-8" => Encoding::Utf8,
            "utf-16le" => Encoding::Utf16Le,
            "utf-16be" => Encoding::Utf16Be,
            "iso-8859-1" => Encoding::Latin1,
            _ => {
                self.say(line(name), "unknown encoding", "utf-8, utf-16le, utf-16be or iso-8859-1");
                Encoding::Utf8
            }
        }
    }

    fn paths(&mut self, file: &RawFile, config: &Config) -> Vec<String> {
        if file.paths.value.is_empty() {
            self.say(line(&file.paths), "`paths:` is empty", "name at least one file or pattern");
        }
        let own = config.own_folders();
        let mut paths = Vec::new();
        for path in &file.paths.value {
            let absolute = self.path(Path::new(&path.value)).display().to_string();
            match Glob::parse(&absolute) {
                Err(error) => self.say(line(path), format!("bad pattern: {error}"), ""),
                Ok(glob) => {
                    let mut found = crate::source::file::glob::Found::default();
                    glob.walk(&mut found);
                    let inside = own.iter().find(|own| {
                        Path::new(&absolute).starts_with(own)
                            || found.paths.iter().any(|file| file.starts_with(own))
                    });
                    if let Some(own) = inside {
                        let what = format!(
                            "this matches files under {}, which the daemon itself writes",
                            own.display()
                        );
                        self.say(line(path), what, "a daemon must not read what it writes; name other files");
                    }
                }
            }
            paths.push(absolute);
        }
        paths
    }
}
