//! Alerts as HTTP requests: webhooks (Standard Webhooks), Slack, PagerDuty, Alertmanager.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | delivered |
//! | 401, 403, 404, 405, 410, 3xx, TLS, an unknown name | somebody must mend address, key or certificate; it is tried again all the same |
//! | 408, 425, 429, 5xx, silence, a broken line | later |
//! | any other 4xx | refused: this alert will never be taken |
//!
//! No redirects, no proxy of the environment, nothing of an answer but its status, [`TIMEOUT`] in all. Plain
//! `http:` only to loopback. Addresses that are secrets, keys and tokens come from files, read at every attempt.

use super::Outcome;
use super::secret;
use crate::alert::{Notice, payload};
use crate::dial;
use crate::model::{Time, webhook};
use serde::Deserialize;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest address.
const URL_MAX: usize = 2048;

/// An address: in the configuration, or in a file where it is a secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to; for addresses that hold no secret.
    #[serde(default)]
    pub url: Option<String>,
    /// File with the address.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// File with the secret (`whsec_…`) that signs what is sent.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// File with a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `slack:` of a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// File with the address of the incoming webhook: whoever has it can post.
    pub url_file: PathBuf,
}

/// `pagerduty:` of a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pagerduty {
    /// File with the integration key.
    pub routing_key_file: PathBuf,
    /// Where to, instead of PagerDuty's own address (its EU service region, a relay).
    #[serde(default)]
    pub url: Option<String>,
}

/// `alertmanager:` of a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Its address, without `/api/v2/alerts`.
    pub url: String,
    /// File with a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Hook {
    /// Our own form to any address.
    Webhook(Webhook),
    /// Slack.
    Slack(Slack),
    /// PagerDuty.
    Pagerduty(Pagerduty),
    /// Alertmanager.
    Alertmanager(Alertmanager),
}

impl Hook {
    /// Every file it names, so that paths can be made absolute and looked for.
    pub fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Hook::Webhook(hook) => {
                [&mut hook.url_file, &mut hook.secret_file, &mut hook.token_file, &mut hook.ca_file]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Hook::Slack(slack) => vec![&mut slack.url_file],
            Hook::Pagerduty(duty) => vec![&mut duty.routing_key_file],
            Hook::Alertmanager(manager) => {
                [&mut manager.token_file, &mut manager.ca_file].into_iter().flatten().collect()
            }
        }
    }

    /// What is wrong with it, for `check`.
    pub fn problems(&self) -> Vec<String> {
        let url = match self {
            Hook::Webhook(hook) => match (&hook.url, &hook.url_file) {
                (Some(url), None) => Some(url.as_str()),
                (None, Some(_)) => None,
                _ => return vec!["`webhook` needs either `url` or `url_file`".to_owned()],
            },
            Hook::Slack(_) => None,
            Hook::Pagerduty(duty) => duty.url.as_deref(),
            Hook::Alertmanager(manager) => Some(manager.url.as_str()),
        };
        url.and_then(|url| address(url).err()).map(|why| format!("`url` {why}")).into_iter().collect()
    }

    fn ca_file(&self) -> Option<&Path> {
        match self {
            Hook::Webhook(hook) => hook.ca_file.as_deref(),
            Hook::Alertmanager(manager) => manager.ca_file.as_deref(),
            Hook::Slack(_) | Hook::Pagerduty(_) => None,
        }
    }

    /// The request: address, headers, body. The error says what to mend, without any secret.
    fn request(&self, notice: &Notice, now: SystemTime) -> Result<Request, String> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let time = Time::from_seconds(i64::try_from(seconds).unwrap_or_default());
        let bearer = |file: &Option<PathBuf>| match file {
            None => Ok::<Vec<(&str, String)>, String>(Vec::new()),
            Some(file) => {
                let token = secret::read("token", file)?;
                Ok(vec![("authorization", format!("Bearer {}", token.as_str()))])
            }
        };
        match self {
            Hook::Webhook(hook) => {
                let body = payload::webhook(notice).to_string();
                let mut headers = bearer(&hook.token_file)?;
                headers.push((webhook::ID, notice.stem()));
                headers.push((webhook::TIMESTAMP, seconds.to_string()));
                if let Some(file) = &hook.secret_file {
                    let secret = webhook::Secret::parse(&secret::read("secret", file)?)?;
                    headers.push((webhook::SIGNATURE, secret.sign(&notice.stem(), seconds, body.as_bytes())));
                }
                let url = match (&hook.url, &hook.url_file) {
                    (Some(url), _) => url.clone(),
                    (None, Some(file)) => secret::read("address", file)?.to_string(),
                    (None, None) => return Err("no address".to_owned()),
                };
                Request::new(&url, headers, body)
            }
            Hook::Slack(slack) => {
                let url = secret::read("address", &slack.url_file)?;
                Request::new(&url, Vec::new(), payload::slack(notice).to_string())
            }
            Hook::Pagerduty(duty) => {
                let key = secret::read("routing key", &duty.routing_key_file)?;
                let body = payload::pagerduty(notice, &key).to_string();
                Request::new(duty.url.as_deref().unwrap_or(PAGERDUTY), Vec::new(), body)
            }
            Hook::Alertmanager(manager) => {
                let url = format!("{}/api/v2/alerts", manager.url.trim_end_matches('/'));
                let body = payload::alertmanager(notice, time).to_string();
                Request::new(&url, bearer(&manager.token_file)?, body)
            }
        }
    }
}

struct Request {
    url: reqwest::Url,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Request {
    fn new(url: &str, headers: Vec<(&'static str, String)>, body: String) -> Result<Request, String> {
        let url = address(url.trim()).map_err(|why| format!("the address {why}"))?;
        Ok(Request { url, headers, body })
    }
}

/// An address that may be used. The error does not repeat it.
fn address(text: &str) -> Result<reqwest::Url, &'static str> {
    let url = reqwest::Url::parse(text).ok().filter(|_| text.len() <= URL_MAX);
    let url = url.ok_or("is not an address such as https://hooks.example/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a name or a password: use token_file");
    }
    let loopback = match url.host_str() {
        None | Some("") => return Err("names no host"),
        Some(host) => {
            host == "localhost"
                || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
        }
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err("is http: to another host; alerts leave this host encrypted, so use https:"),
        _ => Err("is not an http: or https: address"),
    }
}

/// Whether its address can be reached; nothing is sent.
pub async fn probe(hook: &Hook) -> Outcome {
    // The same request as for an alert, so that secrets and addresses are looked at, too.
    match hook.request(&Notice::default(), SystemTime::now()) {
        Err(why) => Outcome::Misconfigured { why },
        Ok(request) => {
            let host = request.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = request.url.port_or_known_default().unwrap_or(443);
            super::tls::reach(&host, port, request.url.scheme() == "https", hook.ca_file()).await
        }
    }
}

/// Asks an address, with nothing to say.
pub async fn ask(hook: &Webhook) -> Outcome {
    let url = match (&hook.url, &hook.url_file) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(file)) => secret::read("address", file).map(|url| url.to_string()),
        (None, None) => Err("no address".to_owned()),
    };
    let url = url.and_then(|url| address(url.trim()).map_err(|why| format!("the address {why}")));
    let (url, client) = match (url, dial::http(hook.ca_file.as_deref())) {
        (Ok(url), Ok(client)) => (url, client),
        (Err(why), _) | (_, Err(why)) => return Outcome::Misconfigured { why },
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    match timeout(TIMEOUT, client.get(url).send()).await {
        Err(_) => Outcome::Retry { why: format!("{host}: no answer within {} s", TIMEOUT.as_secs()) },
        Ok(Err(error)) => failed(&host, &error),
        Ok(Ok(answer)) => judged(&host, answer.status().as_u16()),
    }
}

/// One attempt.
pub async fn deliver(hook: &Hook, notice: &Notice, now: SystemTime) -> Outcome {
    let request = match hook.request(notice, now) {
        Ok(request) => request,
        Err(why) => return Outcome::Misconfigured { why },
    };
    let host = request.url.host_str().unwrap_or_default().to_owned();
    let client = match dial::http(hook.ca_file()) {
        Ok(client) => client,
        Err(why) => return Outcome::Misconfigured { why },
    };
    let mut post = client.post(request.url).header("content-type", "application/json").body(request.body);
    for (name, value) in request.headers {
        post = post.header(name, value);
    }
    match timeout(TIMEOUT, post.send()).await {
        Err(_) => Outcome::Retry { why: format!("{host}: no answer within {} s", TIMEOUT.as_secs()) },
        Ok(Err(error)) => failed(&host, &error),
        Ok(Ok(answer)) => judged(&host, answer.status().as_u16()),
    }
}

fn judged(host: &str, status: u16) -> Outcome {
    let why = format!("{host} answered {status}");
    match status {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 | 500..=599 => Outcome::Retry { why },
        300..=399 => Outcome::Misconfigured {
            why: format!("{why}: it points elsewhere; use the address it points to"),
        },
        401 | 403 => Outcome::Misconfigured { why: format!("{why}: look at the key or token") },
        404 | 405 | 410 => Outcome::Misconfigured { why: format!("{why}: look at the address") },
        _ => Outcome::Refused { why },
    }
}

/// What an error means. Its text is not used: it can hold the address, which may be a secret.
fn failed(host: &str, error: &reqwest::Error) -> Outcome {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<rustls::Error>().is_some() || inner.to_string().contains("certificate") {
            let why = format!("{host}: its certificate is not trusted; name its authority with ca_file");
            return Outcome::Misconfigured { why };
        }
        if inner.to_string().contains("dns error") {
            return Outcome::Misconfigured { why: format!("{host}: this name is not known") };
        }
        cause = inner.source();
    }
    let what = if error.is_connect() { "no connection" } else { "the connection broke" };
    Outcome::Retry { why: format!("{host}: {what}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_encrypted_or_local_and_without_secrets() {
        for good in
            ["https://hooks.example/x?y=1", "http://127.0.0.1:9093", "http://localhost/x", "http://[::1]:1/"]
        {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://hooks.example/",
            "ftp://hooks.example/",
            "https://a:b@hooks.example/",
            "hooks",
            "https://",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_judged() {
        let word = |status| judged("h", status).as_str();
        assert_eq!([200, 202, 204].map(word), ["delivered"; 3]);
        assert_eq!([429, 500, 503, 408].map(word), ["retry"; 4]);
        assert_eq!([301, 401, 403, 404, 410].map(word), ["misconfigured"; 5]);
        assert_eq!([400, 413, 422].map(word), ["refused"; 3]);
    }
}
