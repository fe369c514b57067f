//! `sources:`. Each has exactly one kind of input.

mod inputs;

use super::{Config, Reader, line};
use crate::format::{self, Format};
use crate::model::record::Encoding;
use crate::source::file::{MAX_RECORD, StartAt};
use crate::source::{exec, nats};
use crate::yaml::nearest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    paths: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    paths: Spanned<Vec<Spanned<String>>>,
    overlap: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    token_file: Option<Spanned<PathBuf>>,
    hmac: Option<RawHmac>,
    webhook_secret_file: Option<Spanned<PathBuf>>,
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
    directory: Option<RawDirectory>,
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
        /// Seconds for which a row is known again in another file; `None` where rows stand in one file only.
        overlap: Option<u64>,
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
    /// The secret's file, for signatures of Standard Webhooks.
    Webhook(PathBuf),
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

    /// Seconds for which its rows are known again in other files.
    pub fn overlap(&self) -> Option<u64> {
        match self.input {
            Input::Files { overlap, .. } => overlap,
            _ => None,
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
            let paths = self.paths(&file.paths, config);
            return Some(Input::Files { paths, whole: false, overlap: None });
        }
        if let Some(directory) = &raw.directory {
            let paths = self.paths(&directory.paths, config);
            let overlap = directory.overlap.as_ref().and_then(|text| self.overlap(text, format));
            return Some(Input::Files { paths, whole: true, overlap });
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
}
