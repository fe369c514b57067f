//! The sources, made from the configuration, and the threads and tasks that bring records to those that read no
//! files.

use crate::clock::Clock;
use crate::config::{self, Config, HttpAuth, Input, NatsLogin, Syslog, SyslogTransport};
use crate::deliver::secret;
use crate::error::Failure;
use crate::format::Format;
use crate::listen::ingest::{self, Ingest, Push};
use crate::metrics::Metrics;
use crate::model::{Key, webhook};
use crate::source::file::watch::Watch;
use crate::source::file::{FileSource, Mode, OPEN_FILES, Options, READ_SIZE};
use crate::source::inbox::{Feeder, inbox};
use crate::source::nats::{self, Login};
use crate::source::{Source, exec, syslog};
use crate::trail::Cursors;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How long feeders may take to acknowledge what was signed last.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the sources are made with.
pub(super) struct Made<'a> {
    pub config: &'a Config,
    pub formats: &'a HashMap<String, &'static dyn Format>,
    pub matching: &'a Key,
    pub fingerprint: &'a Key,
    pub cursors: &'a Cursors,
    pub mode: Mode,
}

type Positions = BTreeMap<String, Value>;
type Sources = Vec<(Arc<str>, Source)>;
type Start = Box<dyn FnOnce(&Runtime, Stops) -> Result<Waited, Failure>>;

/// What the end of the daemon waits for.
enum Waited {
    Task(JoinHandle<()>),
    Thread(std::thread::JoinHandle<()>),
    /// Reading standard input may never end.
    Nothing,
}

/// How a feeder hears that the daemon ends.
struct Stops {
    thread: Receiver<()>,
    task: tokio::sync::watch::Receiver<bool>,
}

/// All sources, before anything is fed.
pub(super) struct Feeds {
    /// In the order of the configuration.
    pub sources: Sources,
    /// What ends the reader's wait.
    pub watch: Watch,
    pushes: BTreeMap<String, Push>,
    starts: Vec<Start>,
}

/// What feeds, to be ended.
pub(super) struct Feeding {
    stops: Vec<Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: tokio::sync::watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Feeding {
    /// After the writer has ended: what it signed last is acknowledged, and nothing more is taken.
    pub fn end(self, runtime: &Runtime) {
        drop(self.stops);
        let _ = self.stop.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
        runtime.block_on(async {
            for task in self.tasks {
                let _ = tokio::time::timeout(LAST_WORDS, task).await;
            }
        });
    }
}

impl Feeds {
    /// Sources with their positions. Addresses are bound and secrets read here, so that a mistake ends the start.
    pub fn new(made: &Made<'_>) -> Result<Feeds, Failure> {
        let mut feeds =
            Feeds { sources: Vec::new(), watch: Watch::new(), pushes: BTreeMap::new(), starts: Vec::new() };
        for source in &made.config.sources {
            let failed = |error: String| Failure::Runtime(format!("source {}: {error}", source.name));
            let positions: Positions = made
                .cursors
                .get(&source.name)
                .into_iter()
                .flatten()
                .filter_map(|(stream, position)| {
                    Some((stream.clone(), serde_json::from_str(position.get()).ok()?))
                })
                .collect();
            let kind = match &source.input {
                Input::Files { paths, whole, .. } => {
                    Source::File(Box::new(files(made, source, (paths, *whole), &positions).map_err(failed)?))
                }
                input => {
                    let limits = (source.encoding, source.max_record);
                    let waker = feeds.watch.waker();
                    let (feeder, inbox) = inbox(&source.name, limits, made.fingerprint.clone(), waker);
                    feeds.feed(made, source, input, positions, feeder).map_err(failed)?;
                    Source::Inbox(inbox)
                }
            };
            feeds.sources.push((Arc::from(source.name.as_str()), kind));
        }
        Ok(feeds)
    }

    /// Prepares what feeds an inbox. Without a feeder an inbox is at its end.
    fn feed(
        &mut self,
        made: &Made<'_>,
        source: &config::Source,
        input: &Input,
        positions: Positions,
        feeder: Feeder,
    ) -> Result<(), String> {
        let (name, max_record) = (source.name.clone(), source.max_record);
        let framing = made.formats.get(&name).copied().unwrap_or(source.format).framing();
        let once = made.mode != Mode::Follow;
        let start: Start = match input {
            Input::Files { .. } => return Ok(()),
            // Whoever reads once does not wait for others to come.
            Input::Http(_) | Input::Syslog(_) if once => return Ok(()),
            Input::Http(http) => {
                let (auth, matching) = (auth(&http.auth)?, made.matching.clone());
                let (max_body, rate) = (http.max_body, http.rate);
                let push = Push { auth, framing, max_body, rate, feeder, matching, positions };
                self.pushes.insert(name, push);
                return Ok(());
            }
            Input::Syslog(options) => {
                let bound = bind(options)?;
                Box::new(move |runtime, mut stops| {
                    Ok(Waited::Task(runtime.spawn(async move {
                        tokio::select! {
                            ended = syslog::serve(bound, positions.get("syslog"), max_record, feeder) => {
                                if let Err(error) = ended {
                                    tracing::error!("source {name}: nothing is received any more: {error}");
                                }
                            }
                            _ = stops.task.changed() => {}
                        }
                    })))
                })
            }
            Input::Nats(nats) => {
                let (login, options) = (login(&nats.login)?, nats.options.clone());
                Box::new(move |runtime, stops| {
                    let limits = (max_record, once);
                    let reader = nats::Reader::new(options, login, &positions, limits, (feeder, stops.task));
                    Ok(Waited::Task(runtime.spawn(reader.run())))
                })
            }
            Input::Exec(options) => {
                let options = options.clone();
                thread(&source.name, Waited::Thread, move |stop| {
                    exec::run(&name, &options, positions.get("exec"), max_record, once, (feeder, stop));
                })
            }
            Input::Stdin => {
                let limits = (framing, source.encoding, max_record);
                thread(
                    &source.name,
                    |_| Waited::Nothing,
                    move |_| {
                        if let Err(error) = exec::read_stream(&mut std::io::stdin().lock(), limits, &feeder) {
                            tracing::error!("source {name}: standard input cannot be read: {error}");
                        }
                    },
                )
            }
        };
        self.starts.push(start);
        Ok(())
    }

    /// What `/ingest/` serves, where anything is pushed.
    pub fn take_ingest(&mut self, clock: &Clock, metrics: &Arc<Metrics>) -> Option<Ingest> {
        let pushes = std::mem::take(&mut self.pushes);
        let metrics = Arc::clone(metrics);
        pushes.keys().for_each(|name| metrics.know_ingest(name));
        let count = move |source: &str, status: u16| metrics.ingest(source, status);
        (!pushes.is_empty()).then(|| Ingest::new(pushes, clock.clone(), Box::new(count)))
    }

    /// Starts what feeds. The sources are the reader's from here on.
    pub fn start(self, runtime: &Runtime) -> Result<(Sources, Watch, Feeding), Failure> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut feeding = Feeding { stops: Vec::new(), threads: Vec::new(), stop, tasks: Vec::new() };
        for start in self.starts {
            let (send, thread) = channel();
            feeding.stops.push(send);
            match start(runtime, Stops { thread, task: stopped.clone() })? {
                Waited::Task(task) => feeding.tasks.push(task),
                Waited::Thread(thread) => feeding.threads.push(thread),
                Waited::Nothing => {}
            }
        }
        Ok((self.sources, self.watch, feeding))
    }
}

/// A feeder that waits in system calls has a thread.
fn thread(
    name: &str,
    waited: fn(std::thread::JoinHandle<()>) -> Waited,
    body: impl FnOnce(Receiver<()>) + Send + 'static,
) -> Start {
    let builder = std::thread::Builder::new().name(name.to_owned());
    Box::new(move |_, stops| {
        let started = builder.spawn(move || body(stops.thread));
        started.map(waited).map_err(|error| Failure::Runtime(format!("no thread: {error}")))
    })
}

fn files(
    made: &Made<'_>,
    source: &config::Source,
    (paths, whole): (&[String], bool),
    positions: &Positions,
) -> Result<FileSource, String> {
    let format = made.formats.get(&source.name).copied().unwrap_or(source.format);
    let mut files = FileSource::new(Options {
        name: source.name.clone(),
        paths: paths.to_vec(),
        framing: format.framing(),
        encoding: source.encoding,
        start_at: source.start_at,
        max_record: source.max_record,
        read_size: READ_SIZE,
        open_files: open_files(made.config),
        exclude: made.config.own_folders(),
        scratch: Some(made.config.state.clone()),
        whole,
        matching_key: made.matching.clone(),
        raw_key: made.fingerprint.clone(),
    })
    .map_err(|error| error.to_string())?;
    if made.cursors.contains_key(&source.name) {
        files.resume(positions);
    }
    Ok(files)
}

fn auth(auth: &HttpAuth) -> Result<ingest::Auth, String> {
    match auth {
        HttpAuth::Token(file) => Ok(ingest::Auth::Token(config::token(file)?)),
        HttpAuth::Webhook(file) => {
            let secret = webhook::Secret::parse(&secret::read("secret", file)?);
            Ok(ingest::Auth::Webhook(secret.map_err(|why| format!("{}: {why}", file.display()))?))
        }
        HttpAuth::Signature(file, header) => ingest::Auth::signature(&secret::read("secret", file)?, header),
    }
}

/// Descriptors that are not for files of sources: the trail's, sockets, pipes.
const RESERVED: u64 = 96;

/// How many files each source may have open, so that the trail never lacks a descriptor.
fn open_files(config: &Config) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let all = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(OPEN_FILES).min(OPEN_FILES);
    let sources = config.sources.iter().filter(|source| matches!(source.input, Input::Files { .. })).count();
    (all / sources.max(1)).max(4)
}

/// As many descriptors as the system allows this process: shells and service managers start with few.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = Some(limit.maximum.unwrap_or(65_536).min(65_536));
        // With fewer it works as well, only slower.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

fn login(login: &NatsLogin) -> Result<Login, String> {
    Ok(match login {
        NatsLogin::None => Login::None,
        NatsLogin::Token(file) => Login::Token(secret::read("token", file)?),
        NatsLogin::Password(user, file) => Login::Password(user.clone(), secret::read_password(file)?),
        NatsLogin::Credentials(file) => Login::Credentials(secret::read_text("credentials", file)?),
    })
}

fn bind(options: &Syslog) -> Result<syslog::Bound, String> {
    let transport = match &options.transport {
        SyslogTransport::Udp => syslog::Transport::Udp,
        SyslogTransport::Tcp => syslog::Transport::Tcp,
        SyslogTransport::Tls { certificate, key, client_ca } => {
            syslog::Transport::Tls(Arc::new(tls(certificate, key, client_ca.as_deref())?))
        }
    };
    syslog::Bound::new(options.listen, &transport)
        .map_err(|error| format!("`syslog:` cannot listen on {}: {error}", options.listen))
}

/// A server's side of TLS, from PEM files.
fn tls(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<rustls::ServerConfig, String> {
    secret::is_private("key", key)?;
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) => Err(format!("{} holds no certificate", path.display())),
            Err(error) => Err(format!("certificate file {}: {error}", path.display())),
        }
    };
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|_| format!("{} holds no private key", key.display()))?;
    let builder = rustls::ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    builder
        .with_single_cert(certificates(certificate)?, private)
        .map_err(|error| format!("certificate and key do not make a server: {error}"))
}
