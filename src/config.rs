//! The configuration: what the person wrote ([`Raw`]), and what it means ([`Config`]).
//!
//! One fallible conversion between the two. Everything that can be wrong is found here, offline, and named
//! with file, line, what and how to mend it. Parts of the design that are not built yet are refused with
//! exactly that reason: a configuration that is accepted does what it says.

mod anchors;
mod sources;

pub use anchors::{Anchors, token};
pub use sources::{Http, HttpAuth, Input, Nats, NatsLogin, Source, Syslog, SyslogTransport};

use crate::alert::route::Route;
use crate::deliver::{Alive, Collector, Desk, Email, Hook, Receiver, hook};
use crate::listen::Listen;
use crate::model::record::Encoding;
use crate::places::{DATABASE_MAX, Places};
use crate::trail::detail::Privacy;
use crate::yaml::{self, Problem, nearest};
use anchors::{RawAnchors, RawAuth, RawRole, Served};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use sources::RawSource;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    places: Option<Spanned<PathBuf>>,
    alive: Option<Spanned<RawAlive>>,
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
struct RawAlive {
    url: Option<String>,
    url_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    every: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceiver {
    name: Spanned<String>,
    directory: Option<PathBuf>,
    email: Option<Spanned<Email>>,
    webhook: Option<Spanned<hook::Webhook>>,
    slack: Option<Spanned<hook::Slack>>,
    pagerduty: Option<Spanned<hook::Pagerduty>>,
    alertmanager: Option<Spanned<hook::Alertmanager>>,
    syslog: Option<Spanned<Collector>>,
    budget: Option<Spanned<u64>>,
    persons: Option<Spanned<String>>,
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
    /// What is said of each receiver besides where it is.
    pub desks: BTreeMap<String, Desk>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Who answers for what, for the report.
    pub governance: BTreeMap<String, String>,
    /// Seconds without a commit after which a heartbeat is written.
    pub heartbeat_seconds: u64,
    /// Where checkpoints are anchored.
    pub anchors: Anchors,
    /// Where addresses are.
    pub places: Option<Arc<Places>>,
    /// Who is to hear that the daemon turns.
    pub alive: Option<Alive>,
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

    /// Seconds for which rows are known again in other files, by source that asks for it.
    pub fn overlaps(&self) -> BTreeMap<String, u64> {
        let overlap = |source: &Source| Some((source.name.clone(), source.overlap()?));
        self.sources.iter().filter_map(overlap).collect()
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
        let privacy = self.privacy(raw.privacy.as_ref());
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
        let served = Served {
            listen: &raw.listen,
            metrics,
            tlog: &raw.tlog,
            witness: &raw.witness,
            auth: &raw.auth,
            pushed: raw.sources.iter().any(RawSource::is_pushed),
        };
        let listen = self.listening(&served, &own, &anchors);
        let policies = raw.policies.map(|policies| (line(&policies), self.path(&policies.value)));
        if let Some((line, folder)) = policies.as_ref().filter(|(_, folder)| !folder.is_dir()) {
            self.say(
                *line,
                format!("the policy folder {} does not exist", folder.display()),
                "make it; it may be empty",
            );
        }
        let alive = raw.alive.and_then(|alive| self.alive(alive));
        let places = raw.places.as_ref().and_then(|file| self.places(file));
        let (receivers, desks) = self.receivers(raw.receivers);
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
            desks,
            routes,
            governance: raw.governance.into_iter().map(|(role, who)| (role, who.value)).collect(),
            heartbeat_seconds: self.heartbeat(&raw.heartbeat),
            anchors,
            places,
            alive,
            warnings: Vec::new(),
        };
        config.sources = self.sources(raw.sources, &config);
        config.warnings = std::mem::take(&mut self.warnings);
        config
    }

    fn alive(&mut self, raw: Spanned<RawAlive>) -> Option<Alive> {
        let at = line(&raw);
        let RawAlive { url, url_file, ca_file, every } = raw.value;
        let hook = hook::Webhook { url, url_file, secret_file: None, token_file: None, ca_file };
        let seconds = match &every {
            None => 300,
            Some(text) => match crate::model::duration::parse(&text.value) {
                Some(seconds @ 10..=86_400) => seconds,
                _ => {
                    self.say(
                        line(text),
                        "`every:` is not a duration of 10s to 24h",
                        crate::model::duration::FORM,
                    );
                    return None;
                }
            },
        };
        match self.receiver(at, Receiver::Hook(Hook::Webhook(hook))) {
            Receiver::Hook(Hook::Webhook(hook)) => {
                Some(Alive { hook, every: std::time::Duration::from_secs(seconds) })
            }
            _ => None,
        }
    }

    fn privacy(&mut self, word: Option<&Spanned<String>>) -> Privacy {
        let Some(word) = word else { return Privacy::Plain };
        Privacy::parse(&word.value).unwrap_or_else(|| {
            self.say(line(word), "unknown word for `privacy:`", "plain or erasable");
            Privacy::Plain
        })
    }

    fn places(&mut self, file: &Spanned<PathBuf>) -> Option<Arc<Places>> {
        let path = self.path(&file.value);
        let read = crate::trail::disk::read_small(&path, DATABASE_MAX).map_err(|error| error.to_string());
        let places = read.and_then(|bytes| Places::new(bytes.ok_or("does not exist")?));
        match places {
            Ok(places) => Some(Arc::new(places)),
            Err(what) => {
                let what = format!("the database of places {}: {what}", path.display());
                self.say(line(file), what, "a .mmdb file of countries or cities, or leave `places:` out");
                None
            }
        }
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

    fn expect_every(&mut self, text: &Option<Spanned<String>>) -> Option<u64> {
        let text = text.as_ref()?;
        let seconds = crate::model::duration::parse(&text.value).filter(|it| (60..=90 * 86_400).contains(it));
        if seconds.is_none() {
            let what = "`expect_every:` is not a duration of a minute to 90 days";
            self.say(line(text), what, crate::model::duration::FORM);
        }
        seconds
    }

    fn heartbeat(&mut self, text: &Option<Spanned<String>>) -> u64 {
        const DEFAULT: u64 = 300;
        let Some(text) = text else { return DEFAULT };
        match crate::model::duration::parse(&text.value) {
            Some(seconds @ 1..=86_400) => seconds,
            _ => {
                self.say(
                    line(text),
                    "`heartbeat:` is not a duration of 1s to 24h",
                    crate::model::duration::FORM,
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

    fn receivers(&mut self, raw: Vec<RawReceiver>) -> (Vec<(String, Receiver)>, BTreeMap<String, Desk>) {
        let mut receivers: Vec<(String, Receiver)> = Vec::new();
        let mut desks = BTreeMap::new();
        for raw in raw {
            let name = raw.name.value.clone();
            let at = line(&raw.name);
            self.check_name(&raw.name, "receiver", receivers.iter().map(|(name, _)| name.as_str()));
            desks.insert(name.clone(), self.desk(&raw));
            let mut kinds: Vec<(u64, Receiver)> = Vec::new();
            kinds.extend(raw.directory.map(|path| (at, Receiver::Directory { path: self.path(&path) })));
            kinds.extend(raw.email.map(|it| (line(&it), Receiver::Email(it.value))));
            kinds.extend(raw.webhook.map(|it| (line(&it), Receiver::Hook(Hook::Webhook(it.value)))));
            kinds.extend(raw.slack.map(|it| (line(&it), Receiver::Hook(Hook::Slack(it.value)))));
            kinds.extend(raw.pagerduty.map(|it| (line(&it), Receiver::Hook(Hook::Pagerduty(it.value)))));
            kinds
                .extend(raw.alertmanager.map(|it| (line(&it), Receiver::Hook(Hook::Alertmanager(it.value)))));
            kinds.extend(raw.syslog.map(|it| (line(&it), Receiver::Collector(it.value))));
            match (kinds.pop(), kinds.is_empty()) {
                (Some((at, receiver)), true) => {
                    let receiver = self.receiver(at, receiver);
                    receivers.push((name, receiver));
                }
                _ => self.say(
                    at,
                    format!("receiver `{name}` needs exactly one kind"),
                    "directory, email, webhook, slack, pagerduty, alertmanager or syslog",
                ),
            }
        }
        (receivers, desks)
    }

    /// A receiver with its files where they are, and everything that is wrong with it said.
    fn receiver(&mut self, at: u64, mut receiver: Receiver) -> Receiver {
        let (files, problems) = match &mut receiver {
            Receiver::Directory { .. } => (Vec::new(), Vec::new()),
            Receiver::Email(email) => {
                let problems = email.problems();
                let files = [&mut email.smtp.password_file, &mut email.smtp.ca_file];
                (files.into_iter().flatten().collect(), problems)
            }
            Receiver::Hook(hook) => {
                let problems = hook.problems();
                (hook.files(), problems)
            }
            Receiver::Collector(collector) => {
                let problems = collector.problems();
                (collector.ca_file.iter_mut().collect(), problems)
            }
        };
        for file in files {
            *file = self.base.join(&file);
            if !file.is_file() {
                let what = format!("the file {} does not exist", file.display());
                self.problems.push(Problem::at(&self.name, at, what));
            }
        }
        problems.into_iter().for_each(|problem| self.say(at, problem, ""));
        receiver
    }

    fn desk(&mut self, raw: &RawReceiver) -> Desk {
        let mut desk = Desk {
            tracks: raw.pagerduty.is_some() || raw.alertmanager.is_some(),
            forgets: raw.alertmanager.is_some(),
            ..Desk::default()
        };
        match &raw.budget {
            Some(budget) if (1..=10_000).contains(&budget.value) => desk.per_hour = budget.value,
            Some(budget) => self.say(line(budget), "`budget:` is alerts an hour", "1 to 10000"),
            None => {}
        }
        match raw.persons.as_ref().map(|word| (line(word), word.value.as_str())) {
            None | Some((_, "show")) => {}
            Some((_, "hide")) => desk.hides_persons = true,
            Some((at, _)) => self.say(at, "unknown word for `persons:`", "show or hide"),
        }
        desk
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
            let escalated = route.value.escalate.iter().flat_map(|escalate| &escalate.receivers);
            for name in route.value.receivers.iter().chain(escalated) {
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
}
