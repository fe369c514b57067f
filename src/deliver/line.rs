//! A TCP connection that never hands plain bytes over to the time after STARTTLS.
//!
//! RFC 3207 §4.2: what was said before TLS does not count after it. lettre (0.11.23) reads ahead into a
//! buffer that it keeps over STARTTLS, so replies that somebody on the line puts behind the server's "220"
//! would pass for replies through TLS: an alert that never arrived would count as delivered. Here a plain
//! read gives one byte, so nothing is ever read ahead of the end of a line; forged bytes stay in the socket
//! and break the TLS handshake. Reads are whole once our own first TLS record (type 22, RFC 8446 §5.1) is
//! written; no SMTP command begins with that byte.

use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Content type of a TLS handshake record.
const HANDSHAKE: u8 = 22;

/// The connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    encrypted: bool,
}

impl Line {
    /// Connects to the first address that answers, each within `limit`.
    pub async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<Line> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Line { stream, encrypted: false }),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.encrypted || buffer.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if written > 0 && bytes.first() == Some(&HANDSHAKE) {
            self.encrypted = true;
        }
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}
