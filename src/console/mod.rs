//! The console on `listen:`: what people see and do in a browser.
//!
//! | page | shows |
//! |---|---|
//! | `/` | is everything alive: lag, owed, head, anchors, open incidents |
//! | `/incidents`, `/incidents/<id>` | by state; one with its timeline, evidence, deadlines, and what can be done |
//! | `/findings`, `/search` | newest findings; events and findings by who, what, when and text |
//! | `/entries/<n>`, `/entries/<n>/proof` | an entry as it stands, and its proof as a `.tlog-proof` file |
//! | `/sources`, `/trail`, `/alerts`, `/reports` | coverage; head, anchors and verification; outbox and silences; reports, made here |
//!
//! Invariants:
//! * no script at all: every page works with a browser that runs none, and the content security policy allows none;
//! * every change is a form with the session's token, and goes the way of the commands: the same request to the
//!   writer, so it is an entry with who and why;
//! * a reader sees, a responder acts; both sign in with a token of their own that stands in a file;
//! * text from logs is escaped by construction and cannot steer a display ([`crate::alert::text`]).
//!
//! Sessions live in memory, [`SESSIONS_MAX`] at a time, each [`SESSION_HOURS`] hours: a restart signs everybody out.

mod pages;
mod reports;
mod session;

pub use session::{Person, Role};

use crate::control::{Ask, Request};
use crate::incident::lifecycle::Act;
use crate::metrics::Metrics;
use crate::model::duration;
use crate::model::{Pseudonyms, Time};
use crate::pipeline::ToWriter;
use crate::policy::framework::{Framework, InForce};
use crate::response::Quiet;
use crate::search::{self, Found, Query};
use crate::trail::Paths;
use crate::trail::disk::Disk;
use crate::trail::note::Verifier;
use crate::trail::publish::Log;
use crate::trail::tlog_proof::TlogProof;
use axum::extract::{Path as Rest, RawForm, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::Request as HttpRequest, middleware};
use serde_json::Value;
use session::{Session, Sessions};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

/// Sessions at a time; the oldest goes.
pub const SESSIONS_MAX: usize = 256;
/// How long a session lasts.
pub const SESSION_HOURS: u64 = 12;
/// How long the writer is waited for.
const WAIT: Duration = Duration::from_secs(15);
/// Longest runbook that a page shows.
const RUNBOOK_MAX: u64 = 64 << 10;
/// Entries that a page lists.
const LISTED: usize = 200;

/// What the pages are made from.
pub struct Console {
    /// Who may sign in.
    pub people: Vec<Person>,
    /// The writer.
    pub writer: SyncSender<ToWriter>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// The seam to the disk.
    pub disk: Arc<dyn Disk>,
    /// The generation's folder.
    pub folder: PathBuf,
    /// Folder of the details, and what makes pseudonyms, in an erasable deployment.
    pub details: Option<(PathBuf, Pseudonyms)>,
    /// The log key.
    pub log: Verifier,
    /// Where trail and keys are; the commands on the pages name it.
    pub paths: Paths,
    /// The deployment's name.
    pub deployment: String,
    /// This machine.
    pub host: String,
    /// Frameworks that a report can be made for.
    pub frameworks: InForce,
}

struct Shared {
    console: Console,
    sessions: Sessions,
    searches: Arc<tokio::sync::Semaphore>,
}

/// Searches and proofs at a time, by everybody together: each may read the whole trail.
const SEARCHES: usize = 2;

type App = Arc<Shared>;

impl Console {
    /// The frameworks in force now.
    fn frameworks(&self) -> Vec<Framework> {
        self.frameworks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The pages. Also a link that signs in once as the first person who may act, where `invite` is set.
    pub fn routes(self, invite: bool) -> (Router, Option<String>) {
        reports::remove_unfinished(&*self.disk, &self.paths.state);
        let sessions = Sessions::default();
        let invitation = if invite { sessions.invite() } else { None };
        let shared = Arc::new(Shared {
            console: self,
            sessions,
            searches: Arc::new(tokio::sync::Semaphore::new(SEARCHES)),
        });
        let inside = Router::new()
            .route("/", get(overview))
            .route("/incidents", get(incidents))
            .route("/incidents/{id}", get(incident))
            .route("/findings", get(findings))
            .route("/search", get(searched))
            .route("/entries/{index}", get(entry))
            .route("/entries/{index}/proof", get(proof))
            .route("/sources", get(sources))
            .route("/trail", get(trail))
            .route("/alerts", get(alerts))
            .route("/reports", get(reports::list).post(reports::order))
            .route("/reports/{bundle}/{file}", get(reports::file))
            .route("/act", post(act))
            .route("/sign-out", post(sign_out))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), signed_in));
        let outside =
            Router::new().route("/sign-in", get(sign_in_page).post(sign_in)).route("/style.css", get(style));
        let router = outside.merge(inside).layer(middleware::map_response(policy)).with_state(shared);
        (router, invitation)
    }
}

/// What every page may load: its own style and pictures, nothing else, and it stands in no frame.
async fn policy(mut response: Response) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                          frame-ancestors 'none'; base-uri 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    response
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

/// Lets nobody in without a session, and no form through without its token.
async fn signed_in(State(app): State<App>, request: HttpRequest, next: middleware::Next) -> Response {
    let Some(session) = app.sessions.of(request.headers()) else {
        return see("/sign-in");
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(session);
    next.run(HttpRequest::from_parts(parts, body)).await
}

/// Goes on to another page; the browser gets it with GET.
fn see(place: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, place.to_owned())]).into_response()
}

/// A form's or query's members; of one name the last counts.
fn members(text: &[u8]) -> BTreeMap<String, String> {
    let plain = |text: &str| {
        let spaced = text.replace('+', " ");
        let mut bytes = Vec::with_capacity(spaced.len());
        let mut rest = spaced.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
                (b'%', Some(byte)) => {
                    bytes.push(byte);
                    rest = after.get(2..).unwrap_or_default();
                }
                _ => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = String::from_utf8_lossy(text);
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(64);
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

async fn sign_in_page(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let query = members(query.unwrap_or_default().as_bytes());
    let Some(code) = query.get("code") else {
        return html(pages::sign_in(None)).into_response();
    };
    let person = app.console.people.iter().find(|person| person.role == Role::Responder);
    match person.filter(|_| app.sessions.redeem(code)) {
        Some(person) => begin(&app, person),
        None => html(pages::sign_in(Some("This link was used, or is not one of ours."))).into_response(),
    }
}

async fn sign_in(State(app): State<App>, RawForm(form): RawForm) -> Response {
    // Whoever guesses does it slowly, and all guessers together.
    if !app.sessions.may_try() {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            html(pages::sign_in(Some("Too many attempts. Wait a minute."))),
        )
            .into_response();
    }
    let form = members(&form);
    let token = form.get("token").map(|token| token.trim()).unwrap_or_default();
    let person = app.console.people.iter().find(|person| person.token.is(token));
    match person {
        Some(person) => begin(&app, person),
        None => {
            (StatusCode::FORBIDDEN, html(pages::sign_in(Some("This token is not known.")))).into_response()
        }
    }
}

fn begin(app: &App, person: &Person) -> Response {
    let Some((id, _)) = app.sessions.begin(person) else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "No session can be made.\n").into_response();
    };
    let name = person.name.clone();
    let (writer, ask) =
        (app.console.writer.clone(), Ask::Access { what: "console".into(), detail: "signed in".into() });
    std::thread::spawn(move || request(&writer, ask, Some(name)));
    let cookie =
        format!("crmwarden={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", SESSION_HOURS * 3600);
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)])
        .into_response()
}

async fn sign_out(State(app): State<App>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    let Some(session) = app.sessions.of(&headers) else { return see("/sign-in") };
    if members(&form).get("csrf") == Some(&session.csrf) {
        app.sessions.end(&headers);
    }
    see("/sign-in")
}

/// Asks the writer as a command does.
fn request(writer: &SyncSender<ToWriter>, ask: Ask, name: Option<String>) -> Result<Value, String> {
    let (send, receive) = mpsc::channel();
    let uid = rustix::process::getuid().as_raw();
    let closing = || "the daemon is stopping".to_owned();
    writer.send(ToWriter::Control(Request { ask, uid, name }, send)).map_err(|_| closing())?;
    let late = |_| {
        format!("no answer within {} s: it may still be done, so look before you repeat it", WAIT.as_secs())
    };
    let reply = receive.recv_timeout(WAIT).map_err(late)?;
    let value: Value = serde_json::from_slice(&reply).map_err(|_| closing())?;
    match value["ok"] == true {
        true => Ok(value),
        false => Err(value["error"].as_str().unwrap_or("it was refused").to_owned()),
    }
}

/// The same from a page, on a thread that may wait.
async fn ask(app: &App, ask: Ask, name: Option<String>) -> Result<Value, String> {
    let writer = app.console.writer.clone();
    let asked = tokio::task::spawn_blocking(move || request(&writer, ask, name));
    asked.await.unwrap_or_else(|_| Err("it cannot be answered".into()))
}

fn html(page: maud::Markup) -> Html<String> {
    Html(page.into_string())
}

fn page(result: Result<maud::Markup, String>, session: &Session) -> Response {
    match result {
        Ok(page) => html(page).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, html(pages::trouble(session, &why))).into_response(),
    }
}

type Who = axum::Extension<Session>;

async fn overview(State(app): State<App>, axum::Extension(session): Who) -> Response {
    let made = async {
        let status = ask(&app, Ask::Status, None).await?;
        looked(&app, &session, "overview".into()).await?;
        let incidents = ask(&app, Ask::Incidents { all: false }, None).await?;
        let measured = app.console.metrics.values();
        Ok(pages::overview(&session, &status["status"], &incidents, &measured))
    };
    page(made.await, &session)
}

async fn incidents(
    State(app): State<App>,
    axum::Extension(session): Who,
    RawQuery(query): RawQuery,
) -> Response {
    let all = members(query.unwrap_or_default().as_bytes()).contains_key("all");
    let made = async {
        looked(&app, &session, "incidents".into()).await?;
        let said = ask(&app, Ask::Incidents { all }, None).await?;
        Ok(pages::incidents(&session, &said, all))
    };
    page(made.await, &session)
}

/// Who looks at what the trail says of people leaves an entry, as the commands do: the first look of a session at a
/// page, and one an hour as long as somebody goes on looking. Asked only of what was found: an address that somebody
/// makes up is no entry.
async fn looked(app: &App, session: &Session, at: String) -> Result<(), String> {
    if app.sessions.is_known_look(&session.csrf, &at) {
        return Ok(());
    }
    let said = Ask::Access { what: "console".into(), detail: at };
    ask(app, said, Some(session.name.clone())).await.map(|_| ())
}

async fn incident(State(app): State<App>, axum::Extension(session): Who, Rest(id): Rest<String>) -> Response {
    let made = async {
        let said = ask(&app, Ask::Show { incident: id.clone() }, None).await?;
        looked(&app, &session, format!("incident {id}")).await?;
        let outbox = ask(&app, Ask::Outbox, None).await?;
        let query = Query { incident: Some(id), limit: LISTED, ..Query::default() };
        let found = look(&app, query).await?;
        let path = said["incident"]["runbook"].as_str().map(PathBuf::from);
        let text = path.and_then(|path| app.console.disk.read_small(&path, RUNBOOK_MAX).ok().flatten());
        let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok(pages::incident(&session, &said, &found, &outbox, text.as_deref()))
    };
    page(made.await, &session)
}

/// A search on a thread that may wait for the disk.
async fn look(app: &App, query: Query) -> Result<Found, String> {
    let Ok(place) = Arc::clone(&app.searches).try_acquire_owned() else {
        return Err("others are searching: try again in a moment".into());
    };
    let app = Arc::clone(app);
    let work = move || {
        // Held to the end, also when the reader has left.
        let _place = place;
        let console = &app.console;
        let pseudonyms = console.details.as_ref().map(|(_, pseudonyms)| pseudonyms);
        let mut found = search::search(&*console.disk, &console.folder, &query, pseudonyms, &|_| ())?;
        if let Some((folder, pseudonyms)) = &console.details {
            search::name(&*console.disk, folder, pseudonyms, &mut found.hits)?;
        }
        Ok::<_, crate::trail::TrailError>(found)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("the search ended early".into()),
    }
}

async fn findings(State(app): State<App>, axum::Extension(session): Who) -> Response {
    // Only findings have a rule, and every rule's name begins with nothing.
    let query = Query { rule: Some(String::new()), limit: LISTED, ..Query::default() };
    let made = async {
        looked(&app, &session, "findings".into()).await?;
        Ok(pages::findings(&session, &look(&app, query).await?))
    };
    page(made.await, &session)
}

async fn searched(
    State(app): State<App>,
    axum::Extension(session): Who,
    RawQuery(query): RawQuery,
) -> Response {
    let given = members(query.unwrap_or_default().as_bytes());
    let text =
        |name: &str| given.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let time = |name: &str| {
        text(name).map(|text| Time::parse(&text).or_else(|| Time::parse_date(&text)).ok_or(text))
    };
    let made = async {
        if given.is_empty() {
            return Ok(pages::search(&session, &given, None));
        }
        let wrong = |text: String| format!("`{text}` is neither RFC 3339 nor a date like 2026-11-22");
        let query = Query {
            actor: text("actor"),
            record: text("record"),
            action: text("action"),
            source: text("source"),
            rule: text("rule"),
            incident: None,
            from: time("from").transpose().map_err(wrong)?,
            to: time("to").transpose().map_err(wrong)?,
            words: text("words").into_iter().collect(),
            limit: LISTED,
        };
        let detail = query.said(app.console.details.as_ref().map(|(_, pseudonyms)| pseudonyms));
        ask(&app, Ask::Access { what: "search".into(), detail }, Some(session.name.clone())).await?;
        let found = look(&app, query).await?;
        Ok(pages::search(&session, &given, Some(&found)))
    };
    page(made.await, &session)
}

/// An entry's line and its proof under the newest checkpoint.
async fn included(app: &App, index: u64) -> Result<(Vec<u8>, TlogProof, u64), String> {
    // Where the tiles do not do, the tree is built anew from the whole trail.
    let Ok(place) = Arc::clone(&app.searches).try_acquire_owned() else {
        return Err("others are searching: try again in a moment".into());
    };
    let app = Arc::clone(app);
    let work = move || {
        let _place = place;
        let console = &app.console;
        let mut log = Log::open(&console.disk, &console.folder, None, &console.log)
            .map_err(|error| error.to_string())?;
        let included =
            log.inclusion(index).map_err(|_| format!("entry {index} is not under the newest checkpoint"))?;
        let proof = TlogProof {
            extra: Some(included.line.clone()),
            index,
            hashes: included.proof,
            note: log.note().to_owned(),
        };
        Ok((included.line, proof, log.head().size))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("it cannot be read".into()))
}

async fn entry(State(app): State<App>, axum::Extension(session): Who, Rest(index): Rest<u64>) -> Response {
    let made = async {
        let (line, proof, size) = included(&app, index).await?;
        looked(&app, &session, format!("entry {index}")).await?;
        Ok(pages::entry(&session, index, &line, proof.hashes.len(), size))
    };
    page(made.await, &session)
}

async fn proof(State(app): State<App>, axum::Extension(session): Who, Rest(index): Rest<u64>) -> Response {
    let made = async {
        let found = included(&app, index).await?;
        looked(&app, &session, format!("entry {index}")).await?;
        Ok(found)
    };
    match made.await {
        Err(why) => page(Err(why), &session),
        Ok((_, proof, _)) => {
            let name = format!("attachment; filename=\"entry-{index}.tlog-proof\"");
            let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
            ([kind, (header::CONTENT_DISPOSITION, name)], proof.text()).into_response()
        }
    }
}

async fn sources(State(app): State<App>, axum::Extension(session): Who) -> Response {
    let measured = app.console.metrics.values();
    let made = ask(&app, Ask::Status, None).await;
    page(made.map(|status| pages::sources(&session, &status["status"], &measured)), &session)
}

async fn trail(State(app): State<App>, axum::Extension(session): Who) -> Response {
    let made = async {
        let status = ask(&app, Ask::Status, None).await?;
        let measured = app.console.metrics.values();
        let path = app.console.folder.join("checkpoint");
        let note = app.console.disk.read_small(&path, crate::trail::note::NOTE_MAX as u64).ok().flatten();
        let note = String::from_utf8_lossy(&note.unwrap_or_default()).into_owned();
        Ok(pages::trail(
            &session,
            &status["status"],
            &measured,
            &note,
            &app.console.paths.state.display().to_string(),
        ))
    };
    page(made.await, &session)
}

async fn alerts(State(app): State<App>, axum::Extension(session): Who) -> Response {
    let made = async {
        looked(&app, &session, "alerts".into()).await?;
        let outbox = ask(&app, Ask::Outbox, None).await?;
        let silences = ask(&app, Ask::Silences, None).await?;
        Ok(pages::alerts(&session, &outbox, &silences))
    };
    page(made.await, &session)
}

/// Every change: the form says what, the session who, and the writer decides.
async fn act(State(app): State<App>, axum::Extension(session): Who, RawForm(form): RawForm) -> Response {
    let form = members(&form);
    if let Some(refusal) = session.refuses(&form) {
        return (StatusCode::FORBIDDEN, html(pages::trouble(&session, refusal))).into_response();
    }
    let made = async {
        let (request, place) = wanted(&form)?;
        ask(&app, request, Some(session.name.clone())).await?;
        Ok(place)
    };
    match made.await {
        Ok(place) => see(&place),
        Err(why) => page(Err(why), &session),
    }
}

/// What a form asks for, and which page shows it.
fn wanted(form: &BTreeMap<String, String>) -> Result<(Ask, String), String> {
    let text = |name: &str| form.get(name).map(|text| text.trim().to_owned()).unwrap_or_default();
    let given = |name: &str| Some(text(name)).filter(|text| !text.is_empty());
    let seconds = |name: &str| {
        duration::parse(&text(name)).ok_or_else(|| format!("`{}` is not {}", text(name), duration::FORM))
    };
    let (incident, reason) = (text("incident"), text("reason"));
    let place = format!("/incidents/{incident}");
    let act = match text("do").as_str() {
        "ack" => Act::Acknowledge { incident, seconds: seconds("for")?, reason },
        "assign" => Act::Assign { incident, to: text("to"), reason },
        "note" => Act::Note { incident, reason },
        "move" => {
            let to = crate::model::incident::IncidentState::parse(&text("to"));
            Act::Move { incident, to: to.ok_or("this is no state")?, reason }
        }
        "clock-start" => {
            let from = match given("from") {
                None => crate::clock::now(),
                Some(text) => Time::parse(&text)
                    .ok_or_else(|| format!("`{text}` is no time like 2026-11-22T09:00:00Z"))?,
            };
            Act::StartClock { incident, clock: text("clock"), from, reason }
        }
        "clock-end" => Act::EndClock { incident, clock: text("clock"), reason },
        "silence" => {
            let quiet = Quiet {
                rule: given("rule"),
                actor: given("actor"),
                source: given("source"),
                seconds: seconds("for")?,
                reason,
            };
            return Ok((Ask::Silence { quiet }, "/alerts".into()));
        }
        "silence-end" => return Ok((Ask::EndSilence { silence: text("silence"), reason }, "/alerts".into())),
        "again" => return Ok((Ask::Again { alert: given("alert") }, "/alerts".into())),
        "drop" => return Ok((Ask::Drop { alert: given("alert"), reason }, "/alerts".into())),
        "test" => return Ok((Ask::TestAlert { receiver: given("receiver") }, "/alerts".into())),
        _ => return Err("this form is not known".into()),
    };
    Ok((Ask::Respond { act }, place))
}
