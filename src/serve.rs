//! The listeners of this process, with what they have in common: who may ask, how many, how long.
//!
//! A listener is meant for loopback, where every page in a browser on this host can reach it. So the Host
//! header must name loopback or the address that we are bound to (a name that an attacker points at
//! 127.0.0.1 does not), and a connection is cheap for us: one answer each, a limited number at a time, each
//! for a limited time. Pages limit the size of their answers themselves.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
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

/// What a listener gives to its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a connection may live, slow headers included.
    pub life: Duration,
}

/// Serves the pages until the future is dropped. `listener` is bound; it is made non-blocking here.
pub async fn serve(listener: std::net::TcpListener, pages: Router, limits: Limits) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let pages = pages.layer(from_fn_with_state(listener.local_addr()?.ip(), guard));
    let places = Arc::new(Semaphore::new(limits.connections));
    axum::serve(Limited { listener, places, life: limits.life }, pages).await
}

/// Refuses foreign host names, also for paths that do not exist, and sets what every answer has.
async fn guard(State(bound): State<IpAddr>, request: Request, next: Next) -> Response {
    let mut response = match may_ask(request.headers(), bound) {
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
        // The console's pages have a policy of their own, which allows their style.
        if name != header::CONTENT_SECURITY_POLICY || !headers.contains_key(&name) {
            headers.insert(name, header::HeaderValue::from_static(value));
        }
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::Ipv4Addr;

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
}
