//! `state/control.sock`: how commands reach the running daemon.
//!
//! One request a connection: the client writes one line of JSON (at most 64 KiB), the daemon answers with
//! one line and closes. The socket is 0600; the daemon also asks the kernel for the peer's uid and records
//! it, so an operator is who the kernel says, not who the request says.
//!
//! | request | reply |
//! |---|---|
//! | `{"do":"status"}` | `{"ok":true,"status":{…}}`, see [`status`] |
//! | `{"do":"incidents","all":false}`, `{"do":"show","incident":"INC-7"}` | `{"ok":true,…}`: what [`crate::response`] knows |
//! | `{"do":"respond","act":{"act":"acknowledge",…}}` | `{"ok":true,"entry":N}`: an act on an incident, signed |
//! | `{"do":"silence",…}`, `{"do":"silences"}`, `{"do":"end_silence",…}` | likewise |
//! | `{"do":"outbox"}`, `{"do":"again",…}`, `{"do":"drop",…}`, `{"do":"test_alert",…}` | likewise |
//! | `{"do":"access","what":"report","detail":"…"}` | `{"ok":true,"entry":N}`: an `access` entry was committed and signed |
//! | anything else | `{"ok":false,"error":"…"}` |

use crate::incident::lifecycle;
use crate::inspect::dlp;
use crate::model::json::{Object, masked};
use crate::operator::{Act, Done, operate};
use crate::pipeline::{ToWriter, Writer};
use crate::response::Quiet;
use crate::trail::TrailError;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Longest request.
const REQUEST_MAX: u64 = 64 << 10;
/// How long either side waits for the other.
const WAIT: Duration = Duration::from_secs(10);
/// How long an act may take: pruning hashes what goes once more.
const ACT_WAIT: Duration = Duration::from_secs(600);

/// What a client asks, with the uid that the kernel names.
#[derive(Clone, Debug)]
pub struct Request {
    /// The command.
    pub ask: Ask,
    /// Peer uid.
    pub uid: u32,
    /// Who it is where the kernel does not say: somebody who signed in to the console.
    pub name: Option<String>,
}

impl Request {
    /// Who asks, as entries name them.
    pub fn by(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("uid {}", self.uid))
    }
}

/// The commands.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How is the daemon?
    Status,
    /// Change something of the trail itself.
    Operate {
        /// What.
        act: Act,
    },
    /// The incidents that are open, or all.
    Incidents {
        /// Closed ones, too.
        #[serde(default)]
        all: bool,
    },
    /// One incident.
    Show {
        /// Its id.
        incident: String,
    },
    /// Do something about an incident.
    Respond {
        /// What.
        act: lifecycle::Act,
    },
    /// Silences.
    Silences,
    /// A new silence.
    Silence {
        /// Which.
        quiet: Quiet,
    },
    /// End a silence.
    EndSilence {
        /// Its id.
        silence: String,
        /// Why.
        reason: String,
    },
    /// Alerts owed and dead.
    Outbox,
    /// Send dead alerts again.
    Again {
        /// Which; all where absent.
        alert: Option<String>,
    },
    /// Give dead alerts up.
    Drop {
        /// Which; all where absent.
        alert: Option<String>,
        /// Why.
        reason: String,
    },
    /// A fire drill.
    TestAlert {
        /// To whom; to all where absent.
        receiver: Option<String>,
    },
    /// Somebody is about to read the trail.
    Access {
        /// `report`, `search`, `export`.
        what: String,
        /// Period, framework and the like.
        #[serde(default)]
        detail: String,
    },
}

/// The answer's line, without newline.
pub type Reply = Vec<u8>;

/// Serves the socket on a thread of its own until the process ends. An old socket file is replaced: the
/// trail's lock already says that no other daemon is alive.
pub fn serve(path: &Path, writer: mpsc::SyncSender<ToWriter>) -> std::io::Result<()> {
    crate::trail::disk::Disk::remove(&crate::trail::disk::RealDisk, path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            // One connection at a time: every request is short, and a stalled peer is cut off by WAIT.
            if let Ok(stream) = stream
                && let Err(error) = connection(stream, &writer)
            {
                tracing::debug!("a control connection ended: {error}");
            }
        }
    })?;
    Ok(())
}

fn connection(stream: UnixStream, writer: &mpsc::SyncSender<ToWriter>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let uid = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
    let mut line = String::new();
    BufReader::new((&stream).take(REQUEST_MAX)).read_line(&mut line)?;
    let reply = match serde_json::from_str(&line) {
        Ok(ask) => {
            let (send, receive) = mpsc::channel();
            let reads = matches!(
                ask,
                Ask::Status | Ask::Incidents { .. } | Ask::Show { .. } | Ask::Silences | Ask::Outbox
            );
            let wait = if reads { WAIT } else { ACT_WAIT };
            let closing = || {
                failure(
                    "no answer came: the daemon is stopping or busy. Look before you repeat it, it may be done.",
                )
            };
            match writer.send(ToWriter::Control(Request { ask, uid, name: None }, send)) {
                Ok(()) => receive.recv_timeout(wait).unwrap_or_else(|_| closing()),
                Err(_) => closing(),
            }
        }
        Err(_) => failure("not a request; see the manual of the control socket"),
    };
    (&stream).write_all(&reply)?;
    (&stream).write_all(b"\n")
}

fn failure(error: &str) -> Reply {
    let mut out = Vec::new();
    Object::whole(&mut out, dlp::mask, |out| {
        out.bool("ok", false);
        out.str("error", error);
    });
    out
}

/// Answers on the writer's thread.
pub fn answer(writer: &mut Writer, request: &Request) -> Result<Reply, TrailError> {
    let mut out = Vec::new();
    // What is told is what a checkpoint covers.
    writer.commit()?;
    writer.checkpoint()?;
    match &request.ask {
        Ask::Status => Object::whole(&mut out, dlp::mask, |out| {
            out.bool("ok", true);
            out.object("status", |out| status(writer, out));
        }),
        Ask::Operate { act } => match operate_on(writer, act, request.uid) {
            Ok(done) => Object::whole(&mut out, dlp::mask, |out| {
                out.bool("ok", true);
                out.uint("entry", done.entry);
                out.str("text", &done.text);
            }),
            // An act that is refused is an answer; what ends the writer is not.
            Err(TrailError::Setup(why)) => return Ok(failure(&why)),
            Err(error) => return Err(error),
        },
        Ask::Incidents { .. }
        | Ask::Show { .. }
        | Ask::Silences
        | Ask::Outbox
        | Ask::Respond { .. }
        | Ask::Silence { .. }
        | Ask::EndSilence { .. }
        | Ask::Again { .. }
        | Ask::Drop { .. }
        | Ask::TestAlert { .. } => return respond(writer, request),
        Ask::Access { what, detail } => {
            let entry = access(writer, what, detail, request)?;
            Object::whole(&mut out, dlp::mask, |out| {
                out.bool("ok", true);
                out.uint("entry", entry);
            });
        }
    }
    Ok(out)
}

/// Everything about incidents, silences and alerts.
fn respond(writer: &mut Writer, request: &Request) -> Result<Reply, TrailError> {
    let by = request.by();
    let answer: Result<Value, String> = match &request.ask {
        Ask::Incidents { all } => Ok(writer.incidents_json(*all)),
        Ask::Silences => Ok(json!({ "silences": writer.silences_json() })),
        Ask::Outbox => Ok(writer.outbox_json()),
        Ask::Show { incident } => match writer.state.incidents.get(incident) {
            Some(known) => Ok(json!({
                "incident": writer.incident_json(known, writer.clock.now()),
                "provisional": writer.provisional_json(known),
            })),
            None => Err(format!("there is no incident `{incident}`; `crmwarden incidents` lists them")),
        },
        Ask::Respond { act } => writer.respond(act, &by)?.map(|entry| json!({ "entry": entry })),
        Ask::Silence { quiet } => writer.silence(quiet, &by)?.map(|id| json!({ "silence": id })),
        Ask::EndSilence { silence, reason } => {
            writer.end_silence(silence, reason, &by)?.map(|()| json!({ "silence": silence }))
        }
        Ask::Again { alert } => {
            writer.dead_letters(alert.as_deref(), None, &by)?.map(|count| json!({ "count": count }))
        }
        Ask::Drop { alert, reason } => {
            writer.dead_letters(alert.as_deref(), Some(reason), &by)?.map(|count| json!({ "count": count }))
        }
        Ask::TestAlert { receiver } => {
            writer.test_alert(receiver.as_deref(), &by)?.map(|alert| json!({ "alert": alert }))
        }
        _ => Err("not a request about incidents".to_owned()),
    };
    let mut value = match answer {
        Ok(value) => value,
        Err(why) => return Ok(failure(&why)),
    };
    value["ok"] = Value::Bool(true);
    // What people typed is masked in what people read as well.
    Ok(masked(&value, dlp::mask).get().as_bytes().to_vec())
}

/// An act on the writer's trail. What was erased is forgotten here, too.
fn operate_on(writer: &mut Writer, act: &Act, uid: u32) -> Result<Done, TrailError> {
    let store = writer.privacy.as_mut().map(|privacy| privacy.store());
    let done = operate(&mut writer.trail, store, act, uid, writer.clock.now())?;
    if let (Act::Erase { .. }, Some(privacy)) = (act, writer.privacy.as_mut()) {
        privacy.remember_again()?;
    }
    Ok(done)
}

/// The members of `status`.
pub fn status(writer: &Writer, out: &mut Object<'_>) {
    let signed = writer.trail.signed();
    out.word("deployment", &writer.about.deployment);
    out.word("origin", writer.trail.origin());
    out.uint("pid", u64::from(std::process::id()));
    out.uint("entries", writer.trail.next_index());
    out.uint("signed", signed.size);
    out.word("root", &signed.root.hex());
    out.time("newest", writer.trail.newest_time());
    out.uint("anchored", writer.anchors.confirmed().map_or(0, |(size, _)| size));
    out.object_always("anchors", |out| {
        for (target, reached) in writer.anchors.reached() {
            out.dynamic_uint(target, reached.size);
        }
    });
    out.word("policy", &writer.state.policy);
    out.object_always("events", |out| {
        for (source, count) in &writer.state.events {
            out.dynamic_uint(source, *count);
        }
    });
    let open = writer.state.incidents.iter().filter(|incident| !incident.is_over()).count();
    out.uint("incidents", open as u64);
    out.object_always("owed", |out| {
        for receiver in writer.receivers.keys() {
            out.dynamic_uint(receiver, writer.state.owed_to(receiver));
        }
    });
}

fn access(writer: &mut Writer, what: &str, detail: &str, request: &Request) -> Result<u64, TrailError> {
    writer.begin()?;
    let index = writer.next_index();
    writer
        .group
        .bodies
        .push("access", |out| write_access(out, what, detail, request.uid, request.name.as_deref()));
    writer.commit()?;
    writer.checkpoint()?;
    Ok(index)
}

/// The members of an `access` entry.
pub fn write_access(out: &mut Vec<u8>, what: &str, detail: &str, uid: u32, by: Option<&str>) {
    let mut out = Object::members(out, dlp::mask);
    out.str("what", what);
    out.str("detail", detail);
    out.uint("uid", u64::from(uid));
    if let Some(by) = by {
        out.str("by", by);
    }
}

/// The client's side: one request, one reply.
pub fn ask(path: &Path, request: &str) -> std::io::Result<serde_json::Value> {
    ask_within(path, request, WAIT)
}

/// The client's side of an act, which may take longer.
pub fn ask_patiently(path: &Path, request: &str) -> std::io::Result<serde_json::Value> {
    ask_within(path, request, ACT_WAIT)
}

fn ask_within(path: &Path, request: &str, wait: Duration) -> std::io::Result<serde_json::Value> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(WAIT))?;
    (&stream).write_all(request.as_bytes())?;
    (&stream).write_all(b"\n")?;
    let mut line = String::new();
    BufReader::new((&stream).take(16 << 20)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}
