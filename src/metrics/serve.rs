//! `/metrics`, `/healthz`, `/readyz` over HTTP/1.1, and nothing else.
//!
//! Who may ask and how long is the business of [`crate::serve`]: at most [`CONNECTIONS_MAX`] connections at a
//! time, each at most [`CONNECTION_MAX`] long, answers of at most [`RESPONSE_MAX`] bytes.

use super::Metrics;
use crate::serve::Limits;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::sync::Arc;
use std::time::Duration;

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
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shared { metrics, health });
    crate::serve::serve(listener, router, Limits { connections: CONNECTIONS_MAX, life }).await
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::Time;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const LIFE: Duration = Duration::from_secs(1);

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
