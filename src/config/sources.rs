//! `sources:`. Each has exactly one kind of input.

use super::{Config, Reader, line};
use crate::format::{self, Format};
use crate::listen::ingest;
use crate::model::record::{Encoding, Framing};
use crate::source::file::glob::Glob;
use crate::source::file::{MAX_RECORD, StartAt};
use crate::source::{exec, nats};
use crate::yaml::nearest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    paths: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    token_file: Option<Spanned<PathBuf>>,
    hmac: Option<RawHmac>,
    max_body: Option<Spanned<u64>>,
    rate: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHmac {
    secret_file: Spanned<PathBuf>,
    header: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNats {
    server: Spanned<String>,
    stream: Spanned<String>,
    subject: Spanned<String>,
    durable: Spanned<String>,
    token_file: Option<Spanned<PathBuf>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    credentials_file: Option<Spanned<PathBuf>>,
    ca_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSyslog {
    listen: Spanned<String>,
    transport: Spanned<String>,
    certificate_file: Option<Spanned<PathBuf>>,
    key_file: Option<Spanned<PathBuf>>,
    client_ca_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExec {
    command: Spanned<Vec<String>>,
    every: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStdin {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    name: Spanned<String>,
    format: Spanned<String>,
    file: Option<RawFile>,
    directory: Option<RawFile>,
    http: Option<Spanned<RawHttp>>,
    nats: Option<Spanned<RawNats>>,
    syslog: Option<Spanned<RawSyslog>>,
    stdin: Option<Spanned<RawStdin>>,
    exec: Option<Spanned<RawExec>>,
    salesforce: Option<Spanned<IgnoredAny>>,
    dataverse: Option<Spanned<IgnoredAny>>,
    m365: Option<Spanned<IgnoredAny>>,
    hubspot: Option<Spanned<IgnoredAny>>,
    postgres: Option<Spanned<IgnoredAny>>,
    mysql: Option<Spanned<IgnoredAny>>,
    mapping: Option<Spanned<IgnoredAny>>,
    trusted_proxies: Option<Spanned<IgnoredAny>>,
    expect_every: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    encoding: Option<Spanned<String>>,
    start_at: Option<Spanned<String>>,
    max_record: Option<Spanned<u64>>,
}

impl RawSource {
    /// Whether `listen:` serves it.
    pub(super) fn is_pushed(&self) -> bool {
        self.http.is_some()
    }
}

/// A configured source.
#[derive(Clone)]
pub struct Source {
    /// Unique name.
    pub name: String,
    /// Where its records come from.
    pub input: Input,
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
    /// Seconds after which its silence is a finding.
    pub expect_every: Option<u64>,
}

/// Where records come from.
#[derive(Clone)]
pub enum Input {
    /// Files. Patterns are absolute.
    Files {
        /// Where.
        paths: Vec<String>,
        /// They are delivered whole: each content is read once, whatever its name.
        whole: bool,
    },
    /// `POST /ingest/<name>`.
    Http(Http),
    /// Messages.
    Syslog(Syslog),
    /// Standard input.
    Stdin,
    /// A command's output.
    Exec(exec::Options),
    /// A JetStream.
    Nats(Nats),
}

/// Who may push, and how much.
#[derive(Clone)]
pub struct Http {
    /// Token, or secret and header.
    pub auth: HttpAuth,
    /// Longest body, bytes.
    pub max_body: usize,
    /// Requests a second.
    pub rate: u32,
}

/// How pushes are authenticated.
#[derive(Clone)]
pub enum HttpAuth {
    /// The token's file.
    Token(PathBuf),
    /// The secret's file, and the header of the signature.
    Signature(PathBuf, String),
}

/// Where syslog messages are received.
#[derive(Clone)]
pub struct Syslog {
    /// The address.
    pub listen: SocketAddr,
    /// How they come.
    pub transport: SyslogTransport,
}

/// How syslog messages come.
#[derive(Clone)]
pub enum SyslogTransport {
    /// Datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// TLS with these files.
    Tls {
        /// Certificate chain, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
        /// Who signs clients' certificates, PEM.
        client_ca: Option<PathBuf>,
    },
}

/// A JetStream and how to log in.
#[derive(Clone)]
pub struct Nats {
    /// Where.
    pub options: nats::Options,
    /// As whom.
    pub login: NatsLogin,
}

/// Where the secret for the server is.
#[derive(Clone)]
pub enum NatsLogin {
    /// None is needed.
    None,
    /// The token's file.
    Token(PathBuf),
    /// User, and the password's file.
    Password(String, PathBuf),
    /// A credentials file.
    Credentials(PathBuf),
}

impl Source {
    /// Path patterns, for sources that read files.
    pub fn paths(&self) -> &[String] {
        match &self.input {
            Input::Files { paths, .. } => paths,
            _ => &[],
        }
    }
}

impl Reader {
    pub(super) fn sources(&mut self, raw: Vec<RawSource>, config: &Config) -> Vec<Source> {
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
            let Some(input) = self.input(&raw, kinds, format, config) else { continue };
            if matches!(input, Input::Stdin)
                && sources.iter().any(|source: &Source| matches!(source.input, Input::Stdin))
            {
                self.say(line(&raw.name), "there is only one standard input", "one source may have `stdin:`");
            }
            let expect_every = self.expect_every(&raw.expect_every);
            let name = raw.name.value;
            let source = Source { name, input, format, zone, encoding, start_at, max_record, expect_every };
            sources.push(source);
        }
        sources
    }

    /// Kinds of input that the design has and this release does not: counted, each refused by name.
    fn planned_kinds(&mut self, raw: &RawSource) -> usize {
        let planned = [
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

    /// The one kind of input that a source has.
    fn input(
        &mut self,
        raw: &RawSource,
        planned: usize,
        format: &dyn Format,
        config: &Config,
    ) -> Option<Input> {
        let given = [
            raw.file.is_some(),
            raw.directory.is_some(),
            raw.http.is_some(),
            raw.nats.is_some(),
            raw.syslog.is_some(),
            raw.stdin.is_some(),
            raw.exec.is_some(),
        ];
        let count = given.iter().filter(|given| **given).count();
        if count + planned != 1 {
            let what = format!("source `{}` needs exactly one kind of input", raw.name.value);
            self.say(line(&raw.name), what, "file: { paths: [...] }");
            return None;
        }
        if let Some(file) = &raw.file {
            return Some(Input::Files { paths: self.paths(file, config), whole: false });
        }
        if let Some(directory) = &raw.directory {
            return Some(Input::Files { paths: self.paths(directory, config), whole: true });
        }
        self.pushable(raw, format);
        if let Some(http) = &raw.http {
            return self.http(http, config);
        }
        if let Some(nats) = &raw.nats {
            return self.nats(&nats.value);
        }
        if let Some(syslog) = &raw.syslog {
            return self.syslog(&syslog.value);
        }
        if let Some(exec) = &raw.exec {
            return self.exec(&exec.value);
        }
        raw.stdin.as_ref().map(|_| Input::Stdin)
    }

    /// Whether a format can be read from something that is no file.
    fn pushable(&mut self, raw: &RawSource, format: &dyn Format) {
        let name = format.name();
        if name.ends_with("grants") {
            let what = format!("`{name}` is a snapshot with a beginning and an end: it must lie in files");
            self.say(line(&raw.format), what, "file: { paths: [...] }");
        }
        let lines_only = raw.nats.is_some() || raw.syslog.is_some() || raw.exec.is_some();
        let wrong = match format.framing() {
            Framing::Line => None,
            Framing::Csv if lines_only => Some("has a header per file"),
            Framing::Csv => None,
            Framing::Fixed(_) if raw.stdin.is_some() => None,
            Framing::Fixed(_) => Some("has records of fixed length"),
        };
        if let Some(why) = wrong {
            self.say(line(&raw.format), format!("`{name}` {why} and cannot come this way"), "use file:");
        }
        if let Some(start) = &raw.start_at {
            self.say(line(start), "`start_at:` is for files", "leave it out");
        }
    }

    /// A file that must exist.
    fn given_file(&mut self, file: &Spanned<PathBuf>) -> PathBuf {
        let path = self.path(&file.value);
        if !path.is_file() {
            self.say(
                line(file),
                format!("the file {} does not exist", path.display()),
                "make it, with mode 0600",
            );
        }
        path
    }

    fn http(&mut self, http: &Spanned<RawHttp>, config: &Config) -> Option<Input> {
        let raw = &http.value;
        if config.listen.is_none() {
            self.say(line(http), "`http:` needs `listen:`", "listen: 127.0.0.1:7464");
        }
        let auth = match (&raw.token_file, &raw.hmac) {
            (Some(file), None) => HttpAuth::Token(self.given_file(file)),
            (None, Some(hmac)) => {
                if let Err(why) = ingest::Auth::signature("secret", &hmac.header.value) {
                    self.say(line(&hmac.header), format!("`header:` is {why}"), "header: X-Signature-256");
                }
                HttpAuth::Signature(self.given_file(&hmac.secret_file), hmac.header.value.clone())
            }
            _ => {
                let what = "`http:` needs exactly one of `token_file:` and `hmac:`";
                self.say(line(http), what, "token_file: push.token");
                return None;
            }
        };
        let max_body = raw.max_body.as_ref().map_or(ingest::BODY_MAX as u64, |max| max.value);
        if let Some(max) =
            raw.max_body.as_ref().filter(|max| !(1024..=ingest::BODY_MAX as u64).contains(&max.value))
        {
            self.say(line(max), format!("`max_body:` is 1024 to {} bytes", ingest::BODY_MAX), "");
        }
        let rate = raw.rate.as_ref().map_or(ingest::RATE, |rate| rate.value);
        if let Some(given) = raw.rate.as_ref().filter(|rate| !(1..=10_000).contains(&rate.value)) {
            self.say(line(given), "`rate:` is 1 to 10000 requests a second", "");
        }
        Some(Input::Http(Http {
            auth,
            max_body: usize::try_from(max_body).unwrap_or(ingest::BODY_MAX),
            rate,
        }))
    }

    fn nats(&mut self, raw: &RawNats) -> Option<Input> {
        let tls = raw.server.value.starts_with("tls://");
        if !tls && !raw.server.value.starts_with("nats://") {
            self.say(line(&raw.server), "`server:` is nats://HOST:PORT or tls://HOST:PORT", "");
        }
        if raw.server.value.contains('@') {
            self.say(
                line(&raw.server),
                "a secret in an address is an error",
                "use token_file: or password_file:",
            );
        }
        for (what, word) in [("stream", &raw.stream), ("durable", &raw.durable)] {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if !(1..=64).contains(&word.value.len()) || !word.value.chars().all(good) {
                self.say(line(word), format!("`{what}:` is 1 to 64 letters, digits, `-` and `_`"), "");
            }
        }
        if raw.subject.value.is_empty() || raw.subject.value.contains(char::is_whitespace) {
            self.say(line(&raw.subject), "`subject:` is one subject, wildcards allowed", "subject: crm.p0.>");
        }
        let files = [&raw.token_file, &raw.password_file, &raw.credentials_file];
        let login = match (files.iter().filter(|file| file.is_some()).count(), &raw.user) {
            (0, None) => NatsLogin::None,
            (1, user) => match (&raw.token_file, &raw.password_file, &raw.credentials_file, user) {
                (Some(file), _, _, None) => NatsLogin::Token(self.given_file(file)),
                (_, Some(file), _, Some(user)) => {
                    NatsLogin::Password(user.value.clone(), self.given_file(file))
                }
                (_, _, Some(file), None) => NatsLogin::Credentials(self.given_file(file)),
                _ => {
                    self.say(line(&raw.server), "`user:` and `password_file:` belong together", "");
                    NatsLogin::None
                }
            },
            _ => {
                let what = "one login at most: token_file, user and password_file, or credentials_file";
                self.say(line(&raw.server), what, "");
                NatsLogin::None
            }
        };
        let options = nats::Options {
            server: raw.server.value.clone(),
            stream: raw.stream.value.clone(),
            subject: raw.subject.value.clone(),
            durable: raw.durable.value.clone(),
            ca_file: raw.ca_file.as_ref().map(|file| self.given_file(file)),
        };
        Some(Input::Nats(Nats { options, login }))
    }

    fn syslog(&mut self, raw: &RawSyslog) -> Option<Input> {
        let Ok(listen) = raw.listen.value.parse::<SocketAddr>() else {
            self.say(line(&raw.listen), "`listen:` is not an address with a port", "127.0.0.1:6514");
            return None;
        };
        let files = (&raw.certificate_file, &raw.key_file, &raw.client_ca_file);
        let transport = match (raw.transport.value.as_str(), files) {
            ("udp", (None, None, None)) => SyslogTransport::Udp,
            ("tcp", (None, None, None)) => SyslogTransport::Tcp,
            ("tls", (Some(certificate), Some(key), client_ca)) => SyslogTransport::Tls {
                certificate: self.given_file(certificate),
                key: self.given_file(key),
                client_ca: client_ca.as_ref().map(|file| self.given_file(file)),
            },
            ("tls", _) => {
                self.say(line(&raw.transport), "`tls` needs `certificate_file:` and `key_file:`", "");
                return None;
            }
            ("udp" | "tcp", _) => {
                self.say(line(&raw.transport), "certificates are for `transport: tls`", "");
                return None;
            }
            _ => {
                self.say(line(&raw.transport), "unknown word for `transport:`", "udp, tcp or tls");
                return None;
            }
        };
        let known = matches!(&transport, SyslogTransport::Tls { client_ca: Some(_), .. });
        if !listen.ip().is_loopback() && !known {
            self.warnings.push(format!(
                "syslog on {listen}: whoever reaches this address can write records;                  `transport: tls` with `client_ca_file:` says who may"
            ));
        }
        Some(Input::Syslog(Syslog { listen, transport }))
    }

    fn exec(&mut self, raw: &RawExec) -> Option<Input> {
        const EVERY: u64 = 60;
        let folder = self.base.clone();
        match raw.command.value.first() {
            None => self.say(line(&raw.command), "`command:` is empty", "[\"/usr/local/bin/connector\"]"),
            Some(program) if !exec::is_found(program, &folder) => {
                self.say(
                    line(&raw.command),
                    format!("the program `{program}` is not found"),
                    "give its path",
                );
            }
            Some(_) => {}
        }
        let every = match &raw.every {
            None => EVERY,
            Some(text) => match crate::model::duration::parse(&text.value) {
                Some(seconds @ 1..=86_400) => seconds,
                _ => {
                    let what = "`every:` is not a duration of 1s to 24h";
                    self.say(line(text), what, crate::model::duration::FORM);
                    EVERY
                }
            },
        };
        let command = raw.command.value.clone();
        Some(Input::Exec(exec::Options { command, every: Duration::from_secs(every), folder }))
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
