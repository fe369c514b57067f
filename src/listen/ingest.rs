//! `POST /ingest/<source>`: records pushed by other programs.
//!
//! | answer | when |
//! |---|---|
//! | 202 | a durable signed checkpoint covers all of it; or it was sent before with this key |
//! | 400 | the body does not unpack, is not JSON, or a header is malformed; nothing was taken |
//! | 401 | no such source for this token or signature (which of the two is not said) |
//! | 409 | another request with this idempotency key is under way |
//! | 413 | the body is longer than `max_body:`, or unpacks to more |
//! | 415 | content type or encoding is not known |
//! | 422 | the idempotency key was used for another body |
//! | 429 | too many requests, too many bytes under way, or the writer is behind: `Retry-After` says when |
//! | 503 | the daemon ends, or could not make it durable: send it again with the same key |
//!
//! Who may: a bearer token (RFC 6750), the signature of Standard Webhooks, or an HMAC-SHA-256 of the body as sent
//! (RFC 2104) in a header of the sender's choice, `sha256=<hex>` or `<hex>`. All are compared in constant time. A bare
//! HMAC does not stop a replay: an idempotency key does, as long as it is remembered (the newest 4,096 of a source), and
//! a signed `webhook-id` is one, the only one of such a message. Before a signature can be
//! checked the body must be read, so with signatures a client without the secret can use up the source's `rate:` and its
//! part of [`UNITS`]; with a token it cannot.
//!
//! Memory is bounded by [`UNITS`]: every request takes as many of them as its body can have MiB, unpacked.

use super::Token;
use crate::clock::Clock;
use crate::model::record::Framing;
use crate::model::{Key, Time, webhook};
use crate::source::inbox::{Delivery, Feeder, NotTaken};
use crate::source::push::{BadBody, KEY_MAX, Keys, Met, Packing, Records, UNKEYED, cut, unpack};
use crate::source::{Receipt, Received};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Default of `max_body:`, bytes, packed and unpacked.
pub const BODY_MAX: usize = 16 << 20;
/// Default of `rate:`, requests a second of one source; twice as many may come at once.
pub const RATE: u32 = 100;
/// MiB of bodies under way, of all sources together.
const UNITS: usize = 48;
/// How long a request waits for room in its source's channel before it is told to come again.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const ROOM_LOOK: Duration = Duration::from_millis(20);

/// Who may push.
pub enum Auth {
    /// Whoever shows the token.
    Token(Token),
    /// Whoever signs the body with this secret, in this header.
    Signature(Hmac<Sha256>, HeaderName),
    /// Whoever signs as Standard Webhooks says. The message's id is the idempotency key.
    Webhook(webhook::Secret),
}

impl Auth {
    /// A shared secret's text. The error never holds any of it.
    pub fn signature(secret: &str, header: &str) -> Result<Auth, String> {
        let header = HeaderName::try_from(header).map_err(|_| "not a header's name".to_owned())?;
        let keyed = Hmac::new_from_slice(secret.as_bytes()).map_err(|_| "no key".to_owned())?;
        Ok(Auth::Signature(keyed, header))
    }

    fn admits(&self, headers: &HeaderMap, body: &[u8], now: Time) -> bool {
        match self {
            Auth::Token(token) => token.shown_in(headers),
            Auth::Signature(keyed, header) => {
                let mut values = headers.get_all(header).iter();
                let (Some(value), None) = (values.next(), values.next()) else { return false };
                let hex = value.as_bytes().strip_prefix(b"sha256=").unwrap_or(value.as_bytes());
                let shown = crate::model::digest::parse_hex(&hex.to_ascii_lowercase());
                shown.is_some_and(|shown| keyed.clone().chain_update(body).verify_slice(&shown).is_ok())
            }
            Auth::Webhook(secret) => {
                let shown = |name| one(headers, HeaderName::from_static(name)).ok().flatten();
                let now = u64::try_from(now.seconds()).unwrap_or(0);
                let message = (shown(webhook::ID), shown(webhook::TIMESTAMP), shown(webhook::SIGNATURE));
                let (Some(id), Some(timestamp), Some(said)) = message else { return false };
                secret.signed(id, timestamp, said, body, now)
            }
        }
    }
}

/// What a source that is pushed to is made of.
pub struct Push {
    /// Who may.
    pub auth: Auth,
    /// How its format cuts bytes.
    pub framing: Framing,
    /// Longest body.
    pub max_body: usize,
    /// Requests a second.
    pub rate: u32,
    /// Where records go.
    pub feeder: Feeder,
    /// Key of digests that must stay comparable.
    pub matching: Key,
    /// The trail's positions.
    pub positions: BTreeMap<String, Value>,
}

struct Target {
    push: Push,
    clock: Clock,
    keys: Mutex<Keys>,
    bucket: Mutex<(f64, Instant)>,
}

/// Told of every answer: source (empty where it is not known) and status code.
pub type Count = Box<dyn Fn(&str, u16) + Send + Sync>;

/// All sources that are pushed to.
pub struct Ingest {
    targets: BTreeMap<String, Arc<Target>>,
    units: Arc<Semaphore>,
    count: Count,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ingest {
    /// From sources by name.
    pub fn new(sources: BTreeMap<String, Push>, clock: Clock, count: Count) -> Ingest {
        let target = |push: Push| Target {
            clock: clock.clone(),
            keys: Mutex::new(Keys::new(push.matching.clone(), &push.positions)),
            bucket: Mutex::new((f64::from(push.rate) * 2.0, Instant::now())),
            push,
        };
        let targets = sources.into_iter().map(|(name, push)| (name, Arc::new(target(push)))).collect();
        Ingest { targets, units: Arc::new(Semaphore::new(UNITS)), count }
    }

    /// The route.
    pub fn routes(self) -> Router {
        Router::new().route("/ingest/{source}", post(ingest)).with_state(Arc::new(self))
    }
}

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    BadHeader(&'static str),
    Body(BadBody),
    NotAllowed,
    KeyBusy,
    KeyOfOther,
    Unsupported(&'static str),
    Later(&'static str),
    Ending,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let plain = |status, text: String| (status, text + "\n").into_response();
        match self {
            Refused::BadHeader(what) => plain(StatusCode::BAD_REQUEST, what.into()),
            Refused::Body(BadBody::Malformed(why)) => plain(StatusCode::BAD_REQUEST, why),
            Refused::Body(BadBody::TooLarge) => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long, or unpacks to too much.".into())
            }
            Refused::NotAllowed => {
                let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, ask, "No source takes this from you.\n").into_response()
            }
            Refused::KeyBusy => {
                plain(StatusCode::CONFLICT, "Another request with this idempotency key is under way.".into())
            }
            Refused::KeyOfOther => plain(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This idempotency key was used for another body.".into(),
            ),
            Refused::Unsupported(what) => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, what.into()),
            Refused::Later(why) => {
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], format!("{why}\n"))
                    .into_response()
            }
            Refused::Ending => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "5")],
                "Not durable: send it again, with the same idempotency key.\n",
            )
                .into_response(),
        }
    }
}

/// What was taken.
struct Accepted {
    records: u64,
    duplicate: bool,
    checkpoint: Option<u64>,
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({"records": self.records, "duplicate": self.duplicate});
        if let Some(size) = self.checkpoint {
            body["checkpoint"] = size.into();
        }
        let json = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::ACCEPTED, json, format!("{body}\n")).into_response()
    }
}

async fn ingest(State(all): State<Arc<Ingest>>, Path(source): Path<String>, request: Request) -> Response {
    let (known, response) = match all.targets.get(&source) {
        None => ("", Refused::NotAllowed.into_response()),
        Some(target) => (
            source.as_str(),
            match all.take(&source, target, request).await {
                Ok(accepted) => accepted.into_response(),
                Err(refused) => refused.into_response(),
            },
        ),
    };
    (all.count)(known, response.status().as_u16());
    response
}

/// What the headers say about the body.
struct Announced {
    packing: Packing,
    json: Option<bool>,
    key: Option<String>,
}

fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| Refused::BadHeader("A header is not plain text."))
        }
        _ => Err(Refused::BadHeader("A header stands twice.")),
    }
}

fn announced(headers: &HeaderMap, push: &Push) -> Result<Announced, Refused> {
    let packing = match one(headers, header::CONTENT_ENCODING)? {
        None | Some("identity") => Packing::Plain,
        Some("gzip" | "x-gzip") => Packing::Gzip,
        Some("zstd") => Packing::Zstd,
        Some(_) => return Err(Refused::Unsupported("Content-Encoding is gzip, zstd or identity.")),
    };
    let kind = one(headers, header::CONTENT_TYPE)?.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    let csv = push.framing == Framing::Csv;
    let json = match kind.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "text/plain" | "application/octet-stream") => None,
        // Its first line would be taken for the header, and a body of one line for nothing at all.
        Some(kind) if csv && kind != "text/csv" => {
            return Err(Refused::Unsupported("Content-Type of this source is text/csv."));
        }
        Some("application/json") => Some(true),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "text/csv") => Some(false),
        // RFC 6839: whatever it is besides, it is JSON. CloudEvents come so.
        Some(kind) if kind.ends_with("+json") => Some(true),
        Some(_) => {
            return Err(Refused::Unsupported(
                "Content-Type is application/json, another one in +json, application/x-ndjson or text/csv.",
            ));
        }
    };
    // A key that nobody signed would let whoever saw a message send it again under another one.
    let name = match push.auth {
        Auth::Webhook(_) => webhook::ID,
        Auth::Token(_) | Auth::Signature(..) => "idempotency-key",
    };
    let key = one(headers, HeaderName::from_static(name))?;
    let good =
        |key: &&str| (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    match key {
        Some(key) if !good(&key) => {
            Err(Refused::BadHeader("An idempotency key is 1 to 255 visible ASCII characters."))
        }
        key => Ok(Announced { packing, json, key: key.map(str::to_owned) }),
    }
}

impl Ingest {
    async fn take(&self, source: &str, target: &Arc<Target>, request: Request) -> Result<Accepted, Refused> {
        // What costs nothing comes first: nobody without the token makes us read a body.
        if let Auth::Token(token) = &target.push.auth
            && !token.shown_in(request.headers())
        {
            return Err(Refused::NotAllowed);
        }
        target.spend()?;
        let (parts, body) = request.into_parts();
        let announced = announced(&parts.headers, &target.push)?;
        let room = self.room(target, &parts.headers, announced.packing)?;
        let body = read(body, target.push.max_body).await?;
        if !target.push.auth.admits(&parts.headers, &body, target.clock.now()) {
            return Err(Refused::NotAllowed);
        }
        let body = unpack(announced.packing, body, target.push.max_body).map_err(Refused::Body)?;
        let cut = cut(target.push.framing, announced.json, &body).map_err(Refused::Body)?;
        let mut work = Work {
            target: Arc::clone(target),
            body,
            cut,
            stream: UNKEYED.to_owned(),
            digest: None,
            next: 0,
            place: format!("push:{source}"),
            _room: room,
        };
        if let Some(key) = announced.key {
            let (stream, digest) = locked(&target.keys).stream(&key, &work.body);
            match locked(&target.keys).begin(&stream, &digest) {
                Met::Busy => return Err(Refused::KeyBusy),
                Met::Other => return Err(Refused::KeyOfOther),
                Met::Before(records) => return Ok(Accepted { records, duplicate: true, checkpoint: None }),
                Met::From(from) => work.next = usize::try_from(from).unwrap_or(usize::MAX),
            }
            work.place = format!("{}/{}", work.place, stream.get(..16).unwrap_or_default());
            (work.stream, work.digest) = (stream, Some(digest));
        }
        // A client that hangs up ends its request and not this work: what became durable must be known when it
        // comes back with the same key.
        tokio::spawn(work.run()).await.unwrap_or(Err(Refused::Ending))
    }

    /// Room for the body in the memory that all requests share.
    fn room(
        &self,
        target: &Target,
        headers: &HeaderMap,
        packing: Packing,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(target.push.max_body);
        if length > target.push.max_body {
            return Err(Refused::Body(BadBody::TooLarge));
        }
        // A packed body can become as long as any.
        let most = if packing == Packing::Plain { length } else { length + target.push.max_body };
        let units = u32::try_from((most >> 20) + 1).unwrap_or(u32::MAX).min(UNITS as u32);
        Arc::clone(&self.units)
            .try_acquire_many_owned(units)
            .map_err(|_| Refused::Later("Too many bytes are under way."))
    }
}

async fn read(body: Body, max: usize) -> Result<Vec<u8>, Refused> {
    // The library's error does not say which of the two it was; a broken connection gets no answer anyway.
    let bytes = axum::body::to_bytes(body, max).await.map_err(|_| Refused::Body(BadBody::TooLarge))?;
    Ok(Vec::from(bytes))
}

impl Target {
    /// One request of the bucket's.
    fn spend(&self) -> Result<(), Refused> {
        let mut bucket = locked(&self.bucket);
        let now = Instant::now();
        let rate = f64::from(self.push.rate);
        let filled = bucket.0 + now.duration_since(bucket.1).as_secs_f64() * rate;
        *bucket = (filled.min(rate * 2.0), now);
        match bucket.0 >= 1.0 {
            true => {
                bucket.0 -= 1.0;
                Ok(())
            }
            false => Err(Refused::Later("Too many requests.")),
        }
    }
}

/// One body on its way into the trail.
struct Work {
    target: Arc<Target>,
    body: Vec<u8>,
    cut: Records,
    stream: String,
    /// The body's digest, where the request has a key.
    digest: Option<String>,
    /// Number of the first record that is not handed over.
    next: usize,
    place: String,
    _room: OwnedSemaphorePermit,
}

impl Work {
    async fn run(mut self) -> Result<Accepted, Refused> {
        let result = self.hand_over().await;
        if self.digest.is_some() {
            locked(&self.target.keys).end(&self.stream);
        }
        result
    }

    /// The records that are not in the trail yet, piece by piece, and the wait until a checkpoint covers the last.
    async fn hand_over(&mut self) -> Result<Accepted, Refused> {
        let total = self.cut.ranges.len();
        let first = self.next.min(total);
        self.next = first;
        let (told, mut receipts) = unbounded_channel();
        let mut waiting = BTreeMap::new();
        // An empty body is remembered under its key; without one there is nothing to say.
        while self.next < total || (self.digest.is_some() && waiting.is_empty()) {
            let (delivery, position, after) = self.piece(&told);
            // Once a part of it is taken, all of it must be: only the first piece may be told to come later.
            let patience = if self.next == first { Some(ROOM_WAIT) } else { None };
            self.send(delivery, patience).await?;
            waiting.insert(after as u64, position);
            self.next = after;
        }
        drop(told);
        let mut covered = None;
        while !waiting.is_empty() {
            // No receipt any more: the writer ended before a checkpoint covered it.
            let received: Received = receipts.recv().await.ok_or(Refused::Ending)?;
            covered = Some(received.size);
            if let Some(position) = waiting.remove(&received.number)
                && self.digest.is_some()
            {
                locked(&self.target.keys).took(&self.stream, &position);
            }
        }
        Ok(Accepted { records: total as u64, duplicate: false, checkpoint: covered })
    }

    /// The next piece, its position, and the number of the first record after it.
    fn piece(&self, told: &UnboundedSender<Received>) -> (Delivery, Value, usize) {
        let total = self.cut.ranges.len();
        let (pieces, after) = self.cut.piece(&self.body, self.next);
        let digest = self.digest.as_deref().unwrap_or_default();
        let position = Keys::position(digest, after as u64, after == total, self.target.clock.now());
        let delivery = Delivery {
            stream: self.stream.clone(),
            place: self.place.clone(),
            header: self.cut.header.clone(),
            raw: pieces.raw,
            records: pieces.records,
            blank: if after == total { self.cut.blank } else { 0 },
            after: position.clone(),
            retired: locked(&self.target.keys).too_old(),
            notices: Vec::new(),
            receipt: Some(Receipt::new(told, after as u64)),
        };
        (delivery, position, after)
    }

    /// Waits for room, without a thread.
    async fn send(&self, mut delivery: Delivery, patience: Option<Duration>) -> Result<(), Refused> {
        let began = Instant::now();
        loop {
            match self.target.push.feeder.try_send(delivery) {
                Ok(()) => return Ok(()),
                Err(NotTaken::Over) => return Err(Refused::Ending),
                Err(NotTaken::Full(_)) if patience.is_some_and(|patience| began.elapsed() >= patience) => {
                    return Err(Refused::Later("The writer is behind."));
                }
                Err(NotTaken::Full(back)) => delivery = *back,
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }
}
