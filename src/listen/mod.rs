//! What other programs get over HTTP on `listen:`: the trail as a transparency log, and the role of witness.
//!
//! | request | answer | who may |
//! |---|---|---|
//! | `GET /tlog/checkpoint` | the newest checkpoint, with the cosignatures that it has | who has the token |
//! | `GET /tlog/tile/<L>/<N>[.p/<W>]` | hashes (c2sp.org/tlog-tiles) | the same; `tlog: hashes` or `entries` |
//! | `GET /tlog/tile/entries/<N>[.p/<W>]` | the entries themselves | the same; `tlog: entries` |
//! | `POST /witness/add-checkpoint` | a cosignature (c2sp.org/tlog-witness) | everybody: the log's signature says who it is |
//! | `POST /ingest/<source>` | 202 once a signed checkpoint covers what was pushed ([`ingest`]) | who has that source's token or secret |
//! | `GET /` and other pages | the console, made above this layer | who signed in |
//! | `GET /witness/<hex sha256 of origin>/checkpoint` | the newest checkpoint cosigned of that log | everybody who knows the log's name |
//!
//! Nothing else is served. The address is loopback; whoever wants it further away puts a TLS proxy before
//! it. Host names and connections are limited by [`crate::serve`], bodies by [`REQUEST_MAX`] and, of what is
//! pushed, by `max_body:`, requests to the witness by [`witness::RATE`].

pub mod ingest;
pub mod witness;

pub use ingest::Ingest;
pub use witness::{Witness, WitnessRole};

use crate::clock;
use crate::serve::Limits;
use crate::trail::disk::Disk;
use crate::trail::note::{NOTE_MAX, Verifier};
use crate::trail::publish::{Log, PublishError};
use crate::trail::tiles::{Kind, TilePath};
use crate::trail::witness::{Answer, REQUEST_MAX, TEXT_TYPE};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path as Rest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Connections served at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may live: a full bundle of entries is up to 15 MiB.
pub const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// Shortest and longest token.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=512;

/// What `/tlog/` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiles {
    /// Nothing.
    Off,
    /// The checkpoint and hash tiles: how much there is, and proofs, but no event.
    Hashes,
    /// Bundles too: the events.
    Entries,
}

/// `listen:` and what belongs to it.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// What `/tlog/` serves.
    pub tiles: Tiles,
    /// File of the token that `/tlog/` asks for.
    pub token_file: Option<PathBuf>,
    /// The role of witness for other logs.
    pub witness: Option<WitnessRole>,
    /// Who may sign in to the console: name, whether they may act, file of the token.
    pub people: Vec<(String, bool, PathBuf)>,
}

/// The token that clients must show. It is kept as a MAC under a key of this process, and what a client
/// shows is compared with it in constant time.
pub struct Token {
    keyed: Hmac<Sha256>,
    expected: [u8; 32],
}

impl Token {
    /// From its text. The error says what to mend and never holds any of it.
    pub fn new(text: &str) -> Result<Token, &'static str> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
        if !TOKEN.contains(&text.len()) || !plain {
            return Err("a token is 16 to 512 letters, digits and -._~+/=");
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| "no randomness from the system")?;
        let keyed = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| "no key")?;
        let expected = keyed.clone().chain_update(text.as_bytes()).finalize().into_bytes().into();
        Ok(Token { keyed, expected })
    }

    /// Whether `text` is the token.
    pub fn is(&self, text: &str) -> bool {
        self.keyed.clone().chain_update(text.as_bytes()).verify_slice(&self.expected).is_ok()
    }

    /// Whether the one `Authorization` header shows it (RFC 6750).
    fn shown_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let shown = value.to_str().ok().and_then(|value| value.split_once(' '));
        shown.is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && self.is(token.trim()))
    }
}

/// What is served.
pub struct Pages {
    /// What `/tlog/` serves, of which generation's folder, signed by which key, to whom.
    pub tlog: Option<Tlog>,
    /// The role of witness.
    pub witness: Option<Arc<Witness>>,
    /// Sources that are pushed to.
    pub ingest: Option<Ingest>,
    /// Pages for people.
    pub console: Option<Router>,
}

/// The trail as a transparency log.
pub struct Tlog {
    /// Hashes or entries.
    pub tiles: Tiles,
    /// The seam to the disk.
    pub disk: Arc<dyn Disk>,
    /// The generation's folder.
    pub folder: PathBuf,
    /// The log key.
    pub log: Verifier,
    /// What clients must show.
    pub token: Token,
}

/// Serves until the future is dropped. `listener` is bound; it is made non-blocking here.
pub async fn serve(listener: std::net::TcpListener, pages: Pages) -> io::Result<()> {
    let mut router = Router::new();
    if let Some(tlog) = pages.tlog {
        let tlog = Arc::new(tlog);
        let routes = Router::new()
            .route("/tlog/checkpoint", get(checkpoint))
            .route("/tlog/tile/{*rest}", get(tile))
            .layer(from_fn_with_state(Arc::clone(&tlog), authorised))
            .with_state(tlog);
        router = router.merge(routes);
    }
    if let Some(witness) = pages.witness {
        let routes = Router::new()
            .route("/witness/add-checkpoint", post(add_checkpoint))
            .route("/witness/{log}/checkpoint", get(cosigned))
            .with_state(witness);
        router = router.merge(routes);
    }
    if let Some(ingest) = pages.ingest {
        router = router.merge(ingest.routes());
    }
    if let Some(console) = pages.console {
        router = router.merge(console);
    }
    let router = router.layer(DefaultBodyLimit::max(REQUEST_MAX));
    let limits = Limits { connections: CONNECTIONS_MAX, life: CONNECTION_MAX };
    crate::serve::serve(listener, router, limits).await
}

async fn authorised(State(tlog): State<Arc<Tlog>>, request: Request, next: Next) -> Response {
    match tlog.token.shown_in(request.headers()) {
        true => next.run(request).await,
        false => {
            let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, ask, "A token is needed.\n").into_response()
        }
    }
}

/// Answers on a thread that may wait for the disk.
async fn blocking(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |_| (StatusCode::INTERNAL_SERVER_ERROR, "The answer cannot be made.\n").into_response();
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

async fn checkpoint(State(tlog): State<Arc<Tlog>>) -> Response {
    blocking(move || match Log::open(&tlog.disk, &tlog.folder, None, &tlog.log) {
        Ok(log) => {
            // The copy under its size has the cosignatures, where there are any.
            let kept = tlog.disk.read_small(&kept(&tlog, log.head().size), NOTE_MAX as u64);
            let kept = kept.ok().flatten().filter(|kept| kept.starts_with(log.note().as_bytes()));
            let note = kept.unwrap_or_else(|| log.note().as_bytes().to_vec());
            ([(header::CONTENT_TYPE, TEXT_TYPE)], note).into_response()
        }
        Err(error) => failed(&error),
    })
    .await
}

fn kept(tlog: &Tlog, size: u64) -> PathBuf {
    tlog.folder.join("checkpoints").join(format!("{size:020}"))
}

async fn tile(State(tlog): State<Arc<Tlog>>, Rest(rest): Rest<String>) -> Response {
    let path = TilePath::parse(&format!("tile/{rest}"));
    let path = path.filter(|path| path.kind != Kind::Entries || tlog.tiles == Tiles::Entries);
    let Some(path) = path else { return failed(&PublishError::Absent) };
    blocking(move || {
        let bytes = Log::open(&tlog.disk, &tlog.folder, None, &tlog.log).and_then(|mut log| log.tile(&path));
        match bytes {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
            Err(error) => failed(&error),
        }
    })
    .await
}

/// Paths and details of what is wrong here are for the daemon's log, not for clients.
fn failed(error: &PublishError) -> Response {
    match error {
        PublishError::Absent => (StatusCode::NOT_FOUND, "Not found.\n").into_response(),
        other => {
            tracing::error!("the trail cannot be served: {other}");
            (StatusCode::INTERNAL_SERVER_ERROR, "The answer cannot be made.\n").into_response()
        }
    }
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: axum::body::Bytes) -> Response {
    if !witness.has_room(std::time::Instant::now()) {
        return (StatusCode::TOO_MANY_REQUESTS, "Too many requests.\n").into_response();
    }
    blocking(move || answered(witness.add_checkpoint(&body, clock::now()))).await
}

async fn cosigned(State(witness): State<Arc<Witness>>, Rest(log): Rest<String>) -> Response {
    blocking(move || answered(witness.checkpoint(&log))).await
}

fn answered(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}
