//! Messages of a NATS JetStream, for deployments that one machine cannot carry.
//!
//! N daemons share one stream: each reads one subject of it through a durable pull consumer of that name, into a
//! trail of its own under a `deployment` of its own. A message is one record.
//!
//! * **Acknowledged is what a signed checkpoint covers**, explicitly and with the server's confirmation. A
//!   message that was not confirmed comes again after [`ACK_WAIT`], to whoever pulls then.
//! * **Redelivery is recognised by the stream's sequence**: the position names every message that is in the
//!   trail and not confirmed, at most [`PENDING_MAX`]. What the server once confirmed it does not send again; a copy
//!   that it had sent before can still be under way to this process, so the last [`CONFIRMED_MAX`] are remembered here.
//! * **A take-over** is a daemon with the same `durable:`. After a clean stop everything is acknowledged or given
//!   back, and the new one goes on with the next message. After a kill the messages that were committed and not
//!   confirmed come again, and then stand in both trails: `verify` over both lists them.
//! * **A sequence that runs backwards**, or a stream that was made anew, means that the server lost what it had
//!   acknowledged, or that somebody replaced it. It is a `gap`. NATS syncs to disk every two minutes unless its
//!   configuration says `sync_interval: always`; `run` cannot see that setting, and says so once.
//!
//! Position: `{"created":"<time, in letters>","high":<seq>,"open":[<seq>,<distance>,…]}`; stream id: the consumer's name in
//! letters.

use super::inbox::{Delivery, Feeder, PIECE, Pieces};
use super::letters::letters;
use super::{Fact, Notice, Receipt, Received};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Messages that may be under way: pulled, and not confirmed.
pub const PENDING_MAX: usize = 512;
/// A message that was not acknowledged for so long is delivered again.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that the server is asked for at a time.
const PULL_MAX: usize = 256;
/// How long such a request stands at the server, and how often the server says that it does.
const PULL_EXPIRES: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a message is waited for at a time.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// Messages that come so soon after the one before are one delivery.
const COLLECT: Duration = Duration::from_millis(10);
/// Confirmed messages that are remembered: many times what can be under way.
const CONFIRMED_MAX: usize = 16 * PENDING_MAX;
/// How long the server may take to confirm.
const CONFIRM_WAIT: Duration = Duration::from_secs(5);
/// Longest pause between two tries to reach the server.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Where messages come from.
#[derive(Clone)]
pub struct Options {
    /// `nats://host:port` or `tls://host:port`.
    pub server: String,
    /// The stream.
    pub stream: String,
    /// The one subject that is read, with wildcards.
    pub subject: String,
    /// The durable consumer.
    pub durable: String,
    /// Authorities instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Who we are to the server.
pub enum Login {
    /// Nobody.
    None,
    /// A token.
    Token(Zeroizing<String>),
    /// User and password.
    Password(String, Zeroizing<String>),
    /// The text of a credentials file (JWT and key).
    Credentials(Zeroizing<String>),
}

/// Whether a failure can end by itself.
enum Failed {
    /// It is tried again.
    Now(String),
    /// The daemon ends.
    Over,
}

/// What was pulled and is on its way.
struct Under {
    client: Client,
    consumer: PullConsumer,
    /// What the server sends; it is asked for more before it runs dry.
    incoming: pull::Stream,
    /// Handed over: the receipt's number, and its messages.
    handed: BTreeMap<u64, Vec<(u64, Message)>>,
    told: UnboundedSender<Received>,
    receipts: UnboundedReceiver<Received>,
}

/// What the trail knows.
#[derive(Debug, Default, PartialEq)]
struct Place {
    created: String,
    high: u64,
    /// In the trail, and not confirmed by the server.
    open: BTreeSet<u64>,
}

impl Place {
    fn parse(position: &Value) -> Option<Place> {
        let mut open = BTreeSet::new();
        let mut last = 0;
        for distance in position.get("open")?.as_array()? {
            last += distance.as_u64()?;
            open.insert(last);
        }
        let created = position.get("created")?.as_str()?.to_owned();
        Some(Place { created, high: position.get("high")?.as_u64()?, open })
    }

    fn to_value(&self) -> Value {
        let mut last = 0;
        let distances = self.open.iter().map(|seq| Value::from(seq - std::mem::replace(&mut last, *seq)));
        let mut position = Map::new();
        position.insert("created".into(), self.created.as_str().into());
        position.insert("high".into(), self.high.into());
        position.insert("open".into(), distances.collect());
        Value::Object(position)
    }
}

/// The newest messages that the server confirmed. It need not outlive the process: copies under way do not either.
#[derive(Debug, Default)]
struct Confirmed {
    known: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Confirmed {
    fn add(&mut self, sequence: u64) {
        if self.known.insert(sequence) {
            self.order.push_back(sequence);
        }
        while self.order.len() > CONFIRMED_MAX {
            self.order.pop_front().map(|oldest| self.known.remove(&oldest));
        }
    }
}

/// A reader of one consumer.
pub struct Reader {
    options: Options,
    login: Login,
    max_record: usize,
    once: bool,
    feeder: Feeder,
    stop: watch::Receiver<bool>,
    place: Place,
    confirmed: Confirmed,
    next: u64,
    failing: bool,
}

impl Reader {
    /// Goes on where the trail says. With `once`, to the end of what the server has now.
    pub fn new(
        options: Options,
        login: Login,
        positions: &BTreeMap<String, Value>,
        (max_record, once): (usize, bool),
        (feeder, stop): (Feeder, watch::Receiver<bool>),
    ) -> Reader {
        let place = positions.get(&stream_id(&options)).and_then(Place::parse).unwrap_or_default();
        let confirmed = Confirmed::default();
        Reader { options, login, max_record, once, feeder, stop, place, confirmed, next: 0, failing: false }
    }

    /// Reads until told to stop, through outages of any length.
    pub async fn run(mut self) {
        let mut pause = Duration::from_millis(250);
        tracing::info!(
            "{}: set `sync_interval: always` at the server, or a power cut there can lose what it acknowledged",
            self.file()
        );
        while !self.stopped() {
            let why = match self.session(&mut pause).await {
                Ok(()) | Err(Failed::Over) => return,
                Err(Failed::Now(why)) => why,
            };
            if !std::mem::replace(&mut self.failing, true) && !self.tell(Fact::Unreadable { why }).await {
                return;
            }
            if self.once {
                return;
            }
            let _ = timeout(pause, self.stop.changed()).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    fn file(&self) -> String {
        format!("nats:{}/{}", self.options.stream, self.options.durable)
    }

    async fn tell(&self, fact: Fact) -> bool {
        let notice = Notice { stream: None, file: self.file().into(), fact };
        self.feeder
            .offer(Delivery {
                stream: stream_id(&self.options),
                place: self.file(),
                after: self.place.to_value(),
                notices: vec![notice],
                ..Delivery::default()
            })
            .await
    }

    /// One connection, from its beginning to its failure.
    async fn session(&mut self, pause: &mut Duration) -> Result<(), Failed> {
        let mut under = self.connect().await.map_err(Failed::Now)?;
        if std::mem::take(&mut self.failing) && !self.tell(Fact::Readable).await {
            return Err(Failed::Over);
        }
        *pause = Duration::from_millis(250);
        let ended = self.pull(&mut under).await;
        // What is on its way is waited for as long as the writer lives, and confirmed.
        self.settle(under).await;
        ended
    }

    async fn connect(&mut self) -> Result<Under, String> {
        let options = ConnectOptions::new().name("crmwarden").connection_timeout(CONFIRM_WAIT);
        let options = match &self.login {
            Login::None => options,
            Login::Token(token) => options.token(token.to_string()),
            Login::Password(user, password) => options.user_and_password(user.clone(), password.to_string()),
            Login::Credentials(text) => {
                options.credentials(text).map_err(|_| "the credentials file is not one of NATS".to_owned())?
            }
        };
        let options = match &self.options.ca_file {
            Some(file) => options.add_root_certificates(file.clone()),
            None => options,
        };
        let server = &self.options.server;
        let client = options.connect(server).await.map_err(|error| format!("{server}: {error}"))?;
        let context = jetstream::new(client.clone());
        let stream = context.get_stream(&self.options.stream).await;
        let mut stream = stream.map_err(|error| format!("the stream {}: {error}", self.options.stream))?;
        let info = stream.info().await.map_err(|error| error.to_string())?;
        // In letters: a mask that runs over positions could take digits of a time for a number.
        let (created, last) = (letters(info.created.to_string().as_bytes()), info.state.last_sequence);
        self.compare(&created, last).await;
        let consumer = self.consumer(&stream).await?;
        let stream =
            consumer.stream().max_messages_per_batch(PULL_MAX).expires(PULL_EXPIRES).heartbeat(HEARTBEAT);
        let incoming =
            stream.messages().await.map_err(|error| format!("messages cannot be pulled: {error}"))?;
        let (told, receipts) = unbounded_channel();
        Ok(Under { client, consumer, incoming, handed: BTreeMap::new(), told, receipts })
    }

    /// Whether the stream is the one that was read, and has not lost what it had.
    async fn compare(&mut self, created: &str, last: u64) {
        let known = !self.place.created.is_empty();
        let why = match () {
            () if known && self.place.created != created => {
                "another stream of this name stands in its place; it is read from its beginning"
            }
            () if known && last < self.place.high => {
                "the stream ends before what was read: the server lost messages that it had acknowledged"
            }
            () => "",
        };
        let from = self.place.high;
        if !why.is_empty() || !known {
            self.place = Place { created: created.to_owned(), ..Place::default() };
            self.confirmed = Confirmed::default();
        }
        if !why.is_empty() {
            self.tell(Fact::GapPossible { why, from, to: None }).await;
        }
    }

    async fn consumer(&self, stream: &jetstream::stream::Stream) -> Result<PullConsumer, String> {
        let (durable, subject) = (&self.options.durable, &self.options.subject);
        let wanted = pull::Config {
            durable_name: Some(durable.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: PENDING_MAX as i64,
            filter_subject: subject.clone(),
            ..pull::Config::default()
        };
        let made = stream.get_or_create_consumer(durable, wanted).await;
        let mut consumer = made.map_err(|error| format!("the consumer {durable}: {error}"))?;
        let info = consumer.info().await.map_err(|error| format!("the consumer {durable}: {error}"))?;
        let config = &info.config;
        let pending = usize::try_from(config.max_ack_pending).unwrap_or(usize::MAX);
        match () {
            () if config.filter_subject != *subject => Err(format!(
                "the consumer {durable} reads `{}` and not `{subject}`: name another `durable:`",
                config.filter_subject
            )),
            () if config.ack_policy != AckPolicy::Explicit || pending > PENDING_MAX => Err(format!(
                "the consumer {durable} must have explicit acknowledgement and max_ack_pending {PENDING_MAX} at most"
            )),
            () => Ok(consumer),
        }
    }

    async fn pull(&mut self, under: &mut Under) -> Result<(), Failed> {
        loop {
            if self.stopped() {
                return Err(Failed::Over);
            }
            self.confirm_given(under).await?;
            let pending: usize = under.handed.values().map(Vec::len).sum();
            if pending >= PENDING_MAX {
                // Nothing more may be pulled before something is confirmed.
                let received = timeout(PULL_WAIT, under.receipts.recv()).await;
                if let Ok(Some(received)) = received {
                    self.confirm(under, received).await?;
                }
                continue;
            }
            let messages = match self.once {
                true => self.fetch_once(under, PENDING_MAX - pending).await?,
                false => self.fetch(under, PENDING_MAX - pending).await?,
            };
            let nothing = messages.is_empty();
            self.hand_over(under, messages).await?;
            if nothing && self.once {
                return Ok(());
            }
        }
    }

    /// What is there, at most so many: the first is waited for a little, the others hardly.
    async fn fetch(&mut self, under: &mut Under, most: usize) -> Result<Vec<Message>, Failed> {
        let now = |error: &dyn std::fmt::Display| Failed::Now(format!("messages cannot be pulled: {error}"));
        let mut messages: Vec<Message> = Vec::new();
        let mut bytes = 0;
        while messages.len() < most && bytes < PIECE {
            let patience = if messages.is_empty() { PULL_WAIT } else { COLLECT };
            let met = tokio::select! {
                met = timeout(patience, under.incoming.next()) => met,
                _ = self.stop.changed() => return Ok(messages),
            };
            match met {
                Err(_) => break,
                Ok(Some(Ok(message))) => {
                    bytes += message.payload.len();
                    messages.push(message);
                }
                // What came before an error is taken; the error comes again.
                Ok(_) if !messages.is_empty() => break,
                Ok(Some(Err(error))) => return Err(now(&error)),
                Ok(None) => return Err(now(&"the subscription ended")),
            }
        }
        Ok(messages)
    }

    /// With `--once`: a pull that ends when the server has no more.
    async fn fetch_once(&mut self, under: &Under, most: usize) -> Result<Vec<Message>, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::Now(format!("messages cannot be pulled: {error}"));
        let most = most.min(PULL_MAX);
        // A pull whose limit is smaller than the next message would never get it.
        let bytes = self.max_record.max(PIECE);
        let batch = under.consumer.fetch().max_messages(most).max_bytes(bytes).messages().await;
        let mut batch = batch.map_err(|error| failed(&error))?;
        let mut messages = Vec::new();
        // To its end: what comes to a pull that nobody reads is lost until it is delivered again.
        while let Some(message) = timeout(CONFIRM_WAIT, batch.next()).await.map_err(|error| failed(&error))? {
            messages.push(message.map_err(|error| failed(&error))?);
        }
        Ok(messages)
    }

    /// New messages go to the reader; those that are in the trail already are confirmed again.
    async fn hand_over(&mut self, under: &mut Under, messages: Vec<Message>) -> Result<(), Failed> {
        let mut pieces = Pieces::default();
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        let mut place = Place {
            created: self.place.created.clone(),
            high: self.place.high,
            open: self.place.open.clone(),
        };
        for message in messages {
            let Some(sequence) = message.info().ok().map(|info| info.stream_sequence) else { continue };
            if self.confirmed.known.contains(&sequence) || !place.open.insert(sequence) {
                // Committed before, or handed over just now and delivered again meanwhile.
                let under_way = under.handed.values().flatten().any(|(known, _)| *known == sequence);
                if !under_way {
                    again.push((sequence, message));
                }
                continue;
            }
            place.high = place.high.max(sequence);
            pieces.push(&message.payload, sequence);
            fresh.push((sequence, message));
        }
        self.acknowledge(under, again).await?;
        if fresh.is_empty() {
            return Ok(());
        }
        self.next += 1;
        let delivery = Delivery {
            stream: stream_id(&self.options),
            place: self.file(),
            raw: pieces.raw,
            records: pieces.records,
            after: place.to_value(),
            receipt: Some(Receipt::new(&under.told, self.next)),
            ..Delivery::default()
        };
        under.handed.insert(self.next, fresh);
        self.place = place;
        match self.feeder.offer(delivery).await {
            true => Ok(()),
            false => Err(Failed::Over),
        }
    }

    async fn confirm_given(&mut self, under: &mut Under) -> Result<(), Failed> {
        while let Ok(received) = under.receipts.try_recv() {
            self.confirm(under, received).await?;
        }
        Ok(())
    }

    async fn confirm(&mut self, under: &mut Under, received: Received) -> Result<(), Failed> {
        let messages = under.handed.remove(&received.number).unwrap_or_default();
        self.acknowledge(under, messages).await
    }

    /// Acknowledges, and waits until the server has said that it knows.
    async fn acknowledge(&mut self, under: &Under, messages: Vec<(u64, Message)>) -> Result<(), Failed> {
        if messages.is_empty() {
            return Ok(());
        }
        let confirmed = messages.iter().map(|(sequence, message)| async move {
            let confirmed = timeout(CONFIRM_WAIT, message.double_ack()).await;
            matches!(confirmed, Ok(Ok(()))).then_some(*sequence)
        });
        let confirmed = futures_util::future::join_all(confirmed).await;
        let all = confirmed.iter().all(Option::is_some);
        for sequence in confirmed.into_iter().flatten() {
            self.place.open.remove(&sequence);
            self.confirmed.add(sequence);
        }
        let state = under.client.connection_state();
        match all {
            true => Ok(()),
            // They stay open in the position, and come again.
            false => Err(Failed::Now(format!("acknowledgements were not confirmed ({state})"))),
        }
    }

    /// The end of a session: what was handed over is confirmed once it is signed, the rest given back.
    async fn settle(&mut self, mut under: Under) {
        // Only the receipts under way can still speak.
        under.told = unbounded_channel().0;
        while !under.handed.is_empty() {
            match under.receipts.recv().await {
                Some(received) => {
                    let messages = under.handed.remove(&received.number).unwrap_or_default();
                    // A server that is gone confirms nothing, and what was not confirmed comes again.
                    let _ = self.acknowledge(&under, messages).await;
                }
                None => break,
            }
        }
        let mut back = Vec::new();
        for (sequence, message) in std::mem::take(&mut under.handed).into_values().flatten() {
            self.place.open.remove(&sequence);
            back.push(message);
        }
        // Sent to us and not looked at: whoever comes next is not to wait for the acknowledgement's time.
        while let (false, Ok(Some(Ok(message)))) = (self.once, timeout(COLLECT, under.incoming.next()).await)
        {
            back.push(message);
            if back.len() > PENDING_MAX {
                break;
            }
        }
        // Without this the server would deliver what is given back to us again.
        drop(under.incoming);
        let _ = timeout(CONFIRM_WAIT, under.client.flush()).await;
        for message in back {
            let _ = timeout(CONFIRM_WAIT, message.ack_with(AckKind::Nak(None))).await;
        }
        let _ = timeout(CONFIRM_WAIT, under.client.flush()).await;
    }
}

/// The consumer's name in letters.
fn stream_id(options: &Options) -> String {
    letters(options.durable.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_newest_confirmed_are_remembered() {
        let mut confirmed = Confirmed::default();
        (0..2 * CONFIRMED_MAX as u64).for_each(|sequence| confirmed.add(sequence));
        confirmed.add(2 * CONFIRMED_MAX as u64 - 1);
        assert_eq!((confirmed.known.len(), confirmed.order.len()), (CONFIRMED_MAX, CONFIRMED_MAX));
        assert_eq!(confirmed.known.first(), Some(&(CONFIRMED_MAX as u64)));
    }

    #[test]
    fn a_position_reads_back() {
        let place = Place {
            created: "2026-11-28T00:00:00Z".into(),
            high: 9_007_199,
            open: BTreeSet::from([3, 5, 1000, 9_007_199]),
        };
        let value = place.to_value();
        assert_eq!(value["open"], serde_json::json!([3, 2, 995, 9_006_199]));
        assert_eq!(Place::parse(&value), Some(place));
        assert_eq!(Place::parse(&serde_json::json!({"high": 1})), None);
    }
}
