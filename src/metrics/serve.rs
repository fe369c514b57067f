//! `/metrics`, `/healthz`, `/readyz` over HTTP/1.1, and nothing else.
//!
//! The listener is meant for loopback, where every page in a browser on this host can reach it. So the
//! Host header must name loopback or the address that we are bound to (a name that an attacker points at
//! 127.0.0.1 does not), and a connection is cheap for us: one answer each, at most [`CONNECTIONS_MAX`] at a
//! time, each at most [`CONNECTION_MAX`] long, answers of at most [`RESPONSE_MAX`] bytes.

use super::Metrics;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections served at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a connection may live, slow headers included.
pub const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Largest answer, bytes.
pub const RESPONSE_MAX: usize = 16 << 20;
/// Content type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The pipeline makes progress: `/healthz` answers 200, else 503.
    pub alive: bool,
    /// It is recovered and reads its sources: `/readyz` answers 200, else 503.
    pub ready: bool,
    /// One line for people.
    pub what: String,
}

type Ask = Arc<dyn Fn() -> Health + Send + Sync>;

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    health: Ask,
    bound: IpAddr,
}

/// Serves until the future is dropped. `listener` is bound; it is made non-blocking here.
pub async fn serve(
    listener: std::net::TcpListener,
    metrics: Arc<Metrics>,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> io::Result<()> {
    serve_within(listener, metrics, Arc::new(health), CONNECTION_MAX).await
}

async fn serve_within(
    listener: std::net::TcpListener,
    metrics: Arc<Metrics>,
    health: Ask,
    life: Duration,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let shared = Shared { metrics, health, bound: listener.local_addr()?.ip() };
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    axum::serve(Limited { listener, places, life }, router).await
}

/// Refuses foreign host names, also for paths that do not exist, and sets what every answer has.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match may_ask(request.headers(), shared.bound) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, "This address is not known here.\n").into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "close"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// Whether the one Host header names loopback or the bound address. Where that is every address, any
/// address will do, but no name.
fn may_ask(headers: &HeaderMap, bound: IpAddr) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(|host| is_ours(host, bound))
}

fn is_ours(host: &str, bound: IpAddr) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if port.is_empty() || is_port(port) => address,
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    name.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback() || address == bound || bound.is_unspecified())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

async fn metrics_page(State(shared): State<Shared>) -> Response {
    let failed = |text: &'static str| (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    match shared.metrics.text() {
        Ok(text) if text.len() <= RESPONSE_MAX => {
            ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
        }
        Ok(_) => failed("The metrics are too large to be served.\n"),
        Err(_) => failed("The metrics cannot be written.\n"),
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    let health = (shared.health)();
    said(health.alive, health.what)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let health = (shared.health)();
    said(health.alive && health.ready, health.what)
}

fn said(well: bool, mut what: String) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    what.push('\n');
    (status, what).into_response()
}

/// Accepts as many connections as there are places.
struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    life: Duration,
}

impl axum::serve::Listener for Limited {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        loop {
            // The semaphore is never closed; if it were, waiting would be all that is left to do.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    return (Brief { stream, end: Box::pin(sleep(self.life)), _place: place }, address);
                }
                // Out of descriptors, or the peer is gone already: neither is a reason to end.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself.
struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Brief {
    fn over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::Time;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIFE: Duration = Duration::from_secs(1);

    #[test]
    fn hosts() {
        let bound = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for host in ["localhost", "LOCALHOST:7465", "127.0.0.1:7465", "127.0.0.1", "[::1]:7465", "[::1]"] {
            assert!(is_ours(host, bound), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7465",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "localhost:x",
            "[::1]x",
            "[::1",
        ] {
            assert!(!is_ours(host, bound), "{host}");
        }
        let own: IpAddr = "10.1.2.3".parse().unwrap();
        assert!(is_ours("10.1.2.3:7465", own) && !is_ours("10.1.2.4:7465", own));
        let every: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(is_ours("10.9.9.9", every) && !is_ours("evil.example", every));
    }

    async fn started(ready: bool) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new(Time::from_seconds(5), "0.1.0", "1.95.0").unwrap());
        let health = move || Health { alive: true, ready, what: "reading 2 sources".into() };
        tokio::spawn(serve_within(listener, metrics, Arc::new(health), LIFE));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn three_pages_and_nothing_else() {
        let address = started(false).await;
        let metrics = ask(address, "GET /metrics HTTP/1.1\nHost: localhost\n\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("crmwarden_process_start_time_seconds 5\n"), "{metrics}");
        for (request, status) in [
            ("GET /healthz HTTP/1.1\nHost: localhost\n\n", "200"),
            ("GET /readyz HTTP/1.1\nHost: localhost\n\n", "503"),
            ("GET / HTTP/1.1\nHost: localhost\n\n", "404"),
            ("GET /metrics/ HTTP/1.1\nHost: localhost\n\n", "404"),
            ("POST /metrics HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n", "405"),
            ("GET /metrics HTTP/1.1\nHost: evil.example\n\n", "421"),
            ("GET /nothing HTTP/1.1\nHost: evil.example\n\n", "421"),
            ("GET /metrics HTTP/1.1\nHost: localhost\nHost: evil.example\n\n", "4"),
            ("GET /metrics HTTP/1.1\n\n", "4"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request} gave {answer}");
        }
        assert!(ask(address, "HEAD /readyz HTTP/1.1\nHost: localhost\n\n").await.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn slow_clients_do_not_keep_others_out_for_long() {
        let address = started(true).await;
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").await.unwrap();
            slow.push(stream);
        }
        let waited = ask(address, "GET /readyz HTTP/1.1\nHost: localhost\n\n");
        let answer = tokio::time::timeout(LIFE * 10, waited).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
