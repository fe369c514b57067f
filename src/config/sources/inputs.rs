//! What each kind of input asks for.

use super::super::{Config, Reader, line};
use super::{
    Http, HttpAuth, Input, Nats, NatsLogin, RawExec, RawHttp, RawNats, RawSource, RawSyslog, Syslog,
    SyslogTransport,
};
use crate::format::Format;
use crate::listen::ingest;
use crate::model::record::Framing;
use crate::source::file::glob::Glob;
use crate::source::{exec, nats};
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Reader {
    /// Whether a format can be read from something that is no file.
    pub(super) fn pushable(&mut self, raw: &RawSource, format: &dyn Format) {
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
    pub(super) fn given_file(&mut self, file: &Spanned<PathBuf>) -> PathBuf {
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

    pub(super) fn http(&mut self, http: &Spanned<RawHttp>, config: &Config) -> Option<Input> {
        let raw = &http.value;
        if config.listen.is_none() {
            self.say(line(http), "`http:` needs `listen:`", "listen: 127.0.0.1:7464");
        }
        let auth = match (&raw.token_file, &raw.hmac, &raw.webhook_secret_file) {
            (None, None, Some(file)) => HttpAuth::Webhook(self.given_file(file)),
            (Some(file), None, None) => HttpAuth::Token(self.given_file(file)),
            (None, Some(hmac), None) => {
                if let Err(why) = ingest::Auth::signature("secret", &hmac.header.value) {
                    self.say(line(&hmac.header), format!("`header:` is {why}"), "header: X-Signature-256");
                }
                HttpAuth::Signature(self.given_file(&hmac.secret_file), hmac.header.value.clone())
            }
            _ => {
                let what = "`http:` needs exactly one of `token_file:`, `webhook_secret_file:` and `hmac:`";
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

    pub(super) fn nats(&mut self, raw: &RawNats) -> Option<Input> {
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

    pub(super) fn syslog(&mut self, raw: &RawSyslog) -> Option<Input> {
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
                "syslog on {listen}: whoever reaches this address can write records; `transport: tls` with `client_ca_file:` says who may"
            ));
        }
        Some(Input::Syslog(Syslog { listen, transport }))
    }

    pub(super) fn exec(&mut self, raw: &RawExec) -> Option<Input> {
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

    pub(super) fn paths(&mut self, given: &Spanned<Vec<Spanned<String>>>, config: &Config) -> Vec<String> {
        if given.value.is_empty() {
            self.say(line(given), "`paths:` is empty", "name at least one file or pattern");
        }
        let own = config.own_folders();
        let mut paths = Vec::new();
        for path in &given.value {
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

    /// For how long the rows of delivered files are known again in other files.
    pub(super) fn overlap(&mut self, text: &Spanned<String>, format: &dyn Format) -> Option<u64> {
        let seconds = crate::model::duration::parse(&text.value).filter(|it| (60..=30 * 86_400).contains(it));
        if seconds.is_none() {
            self.say(
                line(text),
                "`overlap:` is not a duration of a minute to 30 days",
                crate::model::duration::FORM,
            );
        }
        if format.name().ends_with("grants") {
            self.say(line(text), "`overlap:` is for events; snapshots replace each other", "leave it out");
        }
        seconds
    }
}
