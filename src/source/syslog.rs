//! Syslog messages over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).
//!
//! * A record is the message alone: its format reads what the CRM wrote. The header becomes
//!   `extra.syslog.*` of the event: `pri`, `time`, `host`, `app`, `procid`, `msgid`, `data` (structured data as it
//!   came), and `peer`, the address that it came from. Both header forms are read, RFC 5424 and RFC 3164; a
//!   message that has neither is a record as a whole.
//! * Over TCP and TLS a message is framed by its octet count or by a line feed; which of the two is told by its
//!   first byte, as RFC 6587 allows to be mixed.
//! * Nothing in the protocol acknowledges. Over TCP a slow disk stops reading, and the sender keeps what it can;
//!   what was under way when either side died is lost without a trace. Over UDP the kernel drops what does not
//!   fit: its counter is watched, and drops become a `gap`. Use it on loopback, or not at all, where records count.
//! * Anybody who can reach the address can write. TLS with `client_ca_file:` is the one way to know who.
//!
//! Position: `{"messages":<n>}`, so that locators stay unique. Nothing is resumed by it.

use super::inbox::{Delivery, Feeder, PIECE, Pieces};
use super::{Fact, Notice, Odd};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// A connection that was silent for so long is closed.
pub const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// A TLS handshake takes at most so long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Messages are collected for so long.
const COLLECT: Duration = Duration::from_millis(20);
/// Largest datagram.
const DATAGRAM_MAX: usize = 65_536;
/// Pieces of connections that wait.
const WAITING: usize = 16;
/// Digits of an octet count.
const COUNT_DIGITS: usize = 9;
/// How often the kernel's count of dropped datagrams is looked at.
const DROPS_EVERY: Duration = Duration::from_secs(1);
const STREAM: &str = "syslog";

/// How messages come.
#[derive(Clone)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// TLS, with this server's certificate.
    Tls(Arc<rustls::ServerConfig>),
}

/// A bound address.
pub enum Bound {
    /// For datagrams.
    Udp(std::net::UdpSocket),
    /// For connections, plain or with TLS.
    Stream(std::net::TcpListener, Option<Arc<rustls::ServerConfig>>),
}

impl Bound {
    /// Binds.
    pub fn new(address: SocketAddr, transport: &Transport) -> io::Result<Bound> {
        Ok(match transport {
            Transport::Udp => {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Bound::Udp(socket)
            }
            Transport::Tcp | Transport::Tls(_) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let tls = if let Transport::Tls(tls) = transport { Some(Arc::clone(tls)) } else { None };
                Bound::Stream(listener, tls)
            }
        })
    }

    /// Where.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Bound::Udp(socket) => socket.local_addr(),
            Bound::Stream(listener, _) => listener.local_addr(),
        }
    }
}

/// Messages of one peer.
struct Heard {
    peer: IpAddr,
    messages: Vec<Vec<u8>>,
    lost: Option<u64>,
}

/// Receives until the future is dropped.
pub async fn serve(
    bound: Bound,
    position: Option<&Value>,
    max_record: usize,
    feeder: Feeder,
) -> io::Result<()> {
    let counted = position.and_then(|position| position.get("messages")?.as_u64()).unwrap_or(0);
    let (send, heard) = channel(WAITING);
    let collecting = collect(heard, counted, feeder);
    match bound {
        Bound::Udp(socket) => {
            let socket = UdpSocket::from_std(socket)?;
            tokio::select! {
                ended = datagrams(&socket, &send) => ended,
                () = collecting => Ok(()),
            }
        }
        Bound::Stream(listener, tls) => {
            let listener = TcpListener::from_std(listener)?;
            tokio::select! {
                () = accept(listener, tls, max_record, &send) => Ok(()),
                () = collecting => Ok(()),
            }
        }
    }
}

/// Gives messages their numbers and hands them over.
async fn collect(mut heard: Receiver<Heard>, mut counted: u64, feeder: Feeder) {
    while let Some(Heard { peer, messages, lost }) = heard.recv().await {
        let place = format!("syslog:{peer}");
        let mut pieces = Pieces::default();
        for message in &messages {
            let parsed = parse(message);
            pieces.push(parsed.text, counted);
            counted += 1;
            if let Some(record) = pieces.records.last_mut() {
                let full_length = parsed.text.len() as u64;
                let mut context = parsed.context();
                context.push(("syslog.peer", peer.to_string()));
                record.odd = Some(Box::new(Odd { full_length, context, ..Odd::default() }));
            }
        }
        let why = "the kernel dropped datagrams that did not fit into the socket's buffer";
        let gap = |count: u64| Notice {
            stream: None,
            file: place.as_str().into(),
            fact: Fact::GapPossible { why, from: counted, to: Some(counted + count) },
        };
        let delivery = Delivery {
            stream: STREAM.to_owned(),
            notices: lost.map(gap).into_iter().collect(),
            place,
            raw: pieces.raw,
            records: pieces.records,
            after: Value::Object(Map::from_iter([("messages".to_owned(), counted.into())])),
            ..Delivery::default()
        };
        if !feeder.offer(delivery).await {
            return;
        }
    }
}

async fn datagrams(socket: &UdpSocket, out: &Sender<Heard>) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let port = socket.local_addr()?.port();
    let (mut dropped, mut looked) = (drops(port).unwrap_or(0), Instant::now());
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        let mut bytes = length;
        let mut messages = vec![buffer.get(..length).unwrap_or_default().to_vec()];
        let began = Instant::now();
        // What is there already, of the same peer, is one delivery.
        let mut other = None;
        while bytes < PIECE && other.is_none() {
            let left = COLLECT.saturating_sub(began.elapsed());
            let Ok(Ok((length, from))) = timeout(left, socket.recv_from(&mut buffer)).await else { break };
            let message = buffer.get(..length).unwrap_or_default().to_vec();
            bytes += length;
            match from.ip() == peer.ip() {
                true => messages.push(message),
                false => other = Some((from.ip(), message)),
            }
        }
        let mut lost = None;
        if looked.elapsed() >= DROPS_EVERY {
            looked = Instant::now();
            let now = drops(port).unwrap_or(dropped);
            lost = now.checked_sub(dropped).filter(|count| *count > 0);
            dropped = now;
        }
        let first = Heard { peer: peer.ip(), messages, lost };
        let second = other.map(|(peer, message)| Heard { peer, messages: vec![message], lost: None });
        for heard in [Some(first), second].into_iter().flatten() {
            if out.send(heard).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Datagrams that the kernel dropped at the sockets of a port, by proc(5).
fn drops(port: u16) -> Option<u64> {
    let wanted = format!(":{port:04X}");
    let count = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(1).filter(|local| local.ends_with(&wanted))?;
        fields.last()?.parse::<u64>().ok()
    };
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(std::fs::read_to_string);
    let counts: Vec<u64> =
        tables.iter().flatten().flat_map(|table| table.lines().filter_map(count)).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    max_record: usize,
    out: &Sender<Heard>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: neither is a reason to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (out, acceptor) = (out.clone(), acceptor.clone());
        tokio::spawn(async move {
            let _place = place;
            match acceptor {
                None => connection(stream, peer.ip(), max_record, &out).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                        connection(stream, peer.ip(), max_record, &out).await;
                    }
                }
            }
        });
    }
}

async fn connection(
    mut stream: impl AsyncRead + Unpin,
    peer: IpAddr,
    max_record: usize,
    out: &Sender<Heard>,
) {
    let mut framer = Framer::new(max_record);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match timeout(SILENCE_MAX, stream.read(&mut buffer)).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) | Err(_) => 0,
        };
        let mut messages = framer.feed(buffer.get(..read).unwrap_or_default());
        if read == 0 {
            messages.extend(framer.finish());
        }
        if !messages.is_empty() && out.send(Heard { peer, messages, lost: None }).await.is_err() {
            return;
        }
        if read == 0 {
            return;
        }
    }
}

/// Cuts a connection's bytes into messages.
#[derive(Debug)]
pub struct Framer {
    rest: Vec<u8>,
    max: usize,
    /// Bytes of the open message that are passed over: `None` up to a line feed.
    passing: Option<Option<usize>>,
}

impl Framer {
    /// Messages are at most so long; of longer ones the beginning is kept.
    pub fn new(max: usize) -> Framer {
        Framer { rest: Vec::new(), max, passing: None }
    }

    /// Takes bytes, returns the messages that are whole now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let bytes = self.pass_over(bytes);
        self.rest.extend_from_slice(bytes);
        let (mut messages, mut start) = (Vec::new(), 0);
        while let Some(rest) = self.rest.get(start..).filter(|rest| !rest.is_empty()) {
            let (head, length, used) = match counted(rest) {
                Some((head, length)) => (head, length, head + length),
                None if rest.len() <= COUNT_DIGITS && rest.iter().all(u8::is_ascii_digit) => break,
                None => match memchr::memchr(b'\n', rest) {
                    Some(end) => (0, end, end + 1),
                    None => {
                        if rest.len() > self.max {
                            messages.push(rest.get(..self.max).unwrap_or_default().to_vec());
                            start = self.rest.len();
                            self.passing = Some(None);
                        }
                        break;
                    }
                },
            };
            if used > rest.len() {
                if length > self.max && rest.len() >= head + self.max {
                    messages.push(rest.get(head..head + self.max).unwrap_or_default().to_vec());
                    self.passing = Some(Some(used - rest.len()));
                    start = self.rest.len();
                }
                break;
            }
            let message = rest.get(head..head + length.min(self.max)).unwrap_or_default();
            let message = message.strip_suffix(b"\n").unwrap_or(message);
            let message = message.strip_suffix(b"\r").unwrap_or(message);
            if !message.is_empty() {
                messages.push(message.to_vec());
            }
            start += used;
        }
        self.rest.drain(..start);
        messages
    }

    fn pass_over<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (used, left) = match self.passing {
            None => return bytes,
            Some(Some(left)) => (
                left.min(bytes.len()),
                Some(left.saturating_sub(bytes.len())).filter(|left| *left > 0).map(Some),
            ),
            Some(None) => match memchr::memchr(b'\n', bytes) {
                Some(end) => (end + 1, None),
                None => (bytes.len(), Some(None)),
            },
        };
        self.passing = left;
        bytes.get(used..).unwrap_or_default()
    }

    /// The connection is over: what is left is a message without its end.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.rest);
        let head = counted(&rest).map_or(0, |(head, _)| head);
        rest.get(head..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec)
    }
}

/// `MSG-LEN SP`: bytes of it, and the message's length.
fn counted(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(COUNT_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let number = bytes.get(..digits).filter(|_| (1..=COUNT_DIGITS).contains(&digits))?;
    if number.first() == Some(&b'0') || bytes.get(digits) != Some(&b' ') {
        return None;
    }
    Some((digits + 1, std::str::from_utf8(number).ok()?.parse().ok()?))
}

/// A message and its header.
#[derive(Debug, Default, PartialEq)]
pub struct Message<'a> {
    fields: Vec<(&'static str, Cow<'a, str>)>,
    /// The message itself.
    pub text: &'a [u8],
}

impl Message<'_> {
    fn context(&self) -> Vec<(&'static str, String)> {
        self.fields.iter().map(|(name, value)| (*name, value.clone().into_owned())).collect()
    }
}

/// Reads a header of either form.
pub fn parse(message: &[u8]) -> Message<'_> {
    let whole = Message { fields: Vec::new(), text: message };
    let Some((priority, rest)) = priority(message) else { return whole };
    let read = match rest.strip_prefix(b"1 ") {
        Some(rest) => modern(rest),
        None => old(rest),
    };
    let Some((fields, text)) = read else { return whole };
    let shown = |value: &'_ [u8]| String::from_utf8_lossy(value).into_owned();
    let given = fields.into_iter().filter(|(_, value)| *value != b"-" && !value.is_empty());
    let mut all: Vec<(&'static str, Cow<'_, str>)> = vec![("syslog.pri", priority.to_string().into())];
    all.extend(given.map(|(name, value)| (name, Cow::Owned(shown(value)))));
    Message { fields: all, text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) }
}

fn priority(message: &[u8]) -> Option<(u8, &[u8])> {
    let rest = message.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let number = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok().filter(|number| *number <= 191)?;
    Some((number, rest.get(end + 1..)?))
}

type Fields<'a> = (Vec<(&'static str, &'a [u8])>, &'a [u8]);

/// RFC 5424 after `<PRI>1 `.
fn modern(rest: &[u8]) -> Option<Fields<'_>> {
    const NAMES: [&str; 5] = ["syslog.time", "syslog.host", "syslog.app", "syslog.procid", "syslog.msgid"];
    let (mut fields, mut rest) = (Vec::with_capacity(6), rest);
    for name in NAMES {
        let (value, after) = word(rest)?;
        fields.push((name, value));
        rest = after;
    }
    let end = match rest.first()? {
        b'-' => 1,
        b'[' => structured(rest)?,
        _ => return None,
    };
    let (data, text) = rest.split_at(end);
    fields.push(("syslog.data", data));
    match text {
        [] => Some((fields, text)),
        [b' ', text @ ..] => Some((fields, text)),
        _ => None,
    }
}

/// Length of the structured data: elements in brackets, in whose quoted values a backslash escapes.
fn structured(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped, mut open) = (false, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if open => quoted = !quoted,
            b'[' if !quoted => open = true,
            b']' if !quoted => open = false,
            _ if !open => return Some(at),
            _ => {}
        }
    }
    (!open).then_some(bytes.len())
}

/// RFC 3164 after `<PRI>`: `Mmm dd hh:mm:ss host tag[pid]: text`, or with a time of RFC 3339.
fn old(rest: &[u8]) -> Option<Fields<'_>> {
    let (time, after) = match rest.get(..15).filter(|time| is_old_time(time)) {
        Some(time) => (time, rest.get(15..)?.strip_prefix(b" ")?),
        None => word(rest).filter(|(time, _)| {
            std::str::from_utf8(time).is_ok_and(|time| crate::model::Time::parse(time).is_some())
        })?,
    };
    let (host, after) = word(after)?;
    let mut fields = vec![("syslog.time", time), ("syslog.host", host)];
    let tag = after
        .iter()
        .take(48)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
        .count();
    let (app, mut text) = after.split_at(tag);
    let mut process = None;
    if let Some(inside) = text.strip_prefix(b"[")
        && let Some(end) = inside.iter().take(16).position(|byte| *byte == b']')
    {
        (process, text) = (inside.get(..end), inside.get(end + 1..)?);
    }
    match text.strip_prefix(b":") {
        // Without a colon these words are the text's own.
        None => Some((fields, after)),
        Some(text) => {
            fields.push(("syslog.app", app));
            fields.extend(process.map(|process| ("syslog.procid", process)));
            Some((fields, text.strip_prefix(b" ").unwrap_or(text)))
        }
    }
}

fn is_old_time(time: &[u8]) -> bool {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = time.get(..3).is_some_and(|month| MONTHS.chunks(3).any(|one| one == month));
    month && time.get(3) == Some(&b' ') && time.get(9) == Some(&b':') && time.get(12) == Some(&b':')
}

/// Up to the next blank, and what follows it.
fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', bytes).filter(|end| *end > 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(message: &str) -> (Vec<(&'static str, String)>, String) {
        let parsed = parse(message.as_bytes());
        (parsed.context(), String::from_utf8_lossy(parsed.text).into_owned())
    }

    #[test]
    fn both_headers_are_read() {
        let (fields, text) = read(
            "<165>1 2026-10-11T22:14:15.003Z crm01 nginx - ID47 [a@32473 k=\"v]\\\"\" x=\"\"][b@1] \u{feff}GET / 1",
        );
        assert_eq!(text, "GET / 1");
        let expected = [
            ("syslog.pri", "165"),
            ("syslog.time", "2026-10-11T22:14:15.003Z"),
            ("syslog.host", "crm01"),
            ("syslog.app", "nginx"),
            ("syslog.msgid", "ID47"),
            ("syslog.data", "[a@32473 k=\"v]\\\"\" x=\"\"][b@1]"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name, value.to_owned())));
        let (fields, text) = read("<34>Oct 11 22:14:15 crm01 nginx[77]: hello there");
        assert_eq!(
            (text.as_str(), fields[3].1.as_str(), fields[4].1.as_str()),
            ("hello there", "nginx", "77")
        );
        let (_, text) = read("<34>2026-10-11T22:14:15Z crm01 no tag here");
        assert_eq!(text, "no tag here");
        for odd in ["no header", "<999>Oct 11 22:14:15 a b", "<34>", "<34>1 - - -", "<1>1 - - - - - [a"] {
            assert_eq!(read(odd), (Vec::new(), odd.to_owned()), "{odd}");
        }
        assert_eq!(read("<34>1 - - - - - -").1, "");
    }

    #[test]
    fn long_messages_are_cut_and_the_next_is_whole() {
        let mut framer = Framer::new(8);
        assert_eq!(framer.feed(b"20 0123456789"), [b"01234567".to_vec()]);
        assert_eq!(framer.feed(b"01234567893 abc"), [b"abc".to_vec()]);
        assert_eq!(framer.feed(b"abcdefghijkl"), [b"abcdefgh".to_vec()]);
        assert_eq!(framer.feed(b"mno\nend\n"), [b"end".to_vec()]);
        assert_eq!(framer.feed(b"<1>x"), Vec::<Vec<u8>>::new());
        assert_eq!(framer.finish(), Some(b"<1>x".to_vec()));
    }

    proptest! {
        #[test]
        fn both_framings_may_be_mixed_and_cut_anywhere(
            messages in proptest::collection::vec(("<[0-9]{1,3}>[a-z ]{0,20}", any::<bool>()), 0..12),
            cuts in proptest::collection::vec(1usize..20, 0..40),
        ) {
            let mut bytes = Vec::new();
            for (message, counted) in &messages {
                match counted {
                    true => bytes.extend(format!("{} {message}", message.len()).bytes()),
                    false => bytes.extend(format!("{message}\n").bytes()),
                }
            }
            let (mut framer, mut all, mut rest) = (Framer::new(100), Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                all.extend(framer.feed(now));
                rest = later;
            }
            prop_assert_eq!(framer.finish(), None);
            let expected: Vec<Vec<u8>> = messages.into_iter().map(|(message, _)| message.into_bytes()).collect();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn no_message_makes_it_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let parsed = parse(&message);
            prop_assert!(parsed.text.len() <= message.len());
        }
    }
}
