//! Who is signed in. Ids and tokens are random and compared whole; nothing is kept on disk.

use super::{SESSION_HOURS, SESSIONS_MAX};
use crate::listen::Token;
use crate::model::event::words;
use axum::http::{HeaderMap, header};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Attempts to sign in within [`WINDOW`], by everybody together.
const ATTEMPTS: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// After so long a look at the same page is told again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Looks that are remembered.
const LOOKS_MAX: usize = 10_000;

words!(
    /// What somebody may do.
    Role {
        /// See everything.
        Reader = "reader",
        /// See, and act.
        Responder = "responder",
    }
);

/// Somebody who may sign in.
pub struct Person {
    /// The name, as entries have it.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// What they sign in with.
    pub token: Token,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// What every form must hold.
    pub csrf: String,
    until: Instant,
}

impl Session {
    /// Why this form changes nothing; `None`: it may.
    pub(super) fn refuses(&self, form: &BTreeMap<String, String>) -> Option<&'static str> {
        if form.get("csrf") != Some(&self.csrf) {
            return Some("This form is not of your session. Go back, load the page again and try once more.");
        }
        let may = self.role == Role::Responder;
        (!may).then_some("Your role is reader: you see everything and change nothing.")
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    /// Looks that stand in the trail: session and page, and when.
    looks: Mutex<HashMap<(String, String), Instant>>,
    open: Mutex<HashMap<String, Session>>,
    invitation: Mutex<Option<String>>,
    attempts: Mutex<Vec<Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(crate::model::Hash(bytes).hex())
}

impl Sessions {
    /// A code that signs in once.
    pub(super) fn invite(&self) -> Option<String> {
        let code = random()?;
        *locked(&self.invitation) = Some(code.clone());
        Some(code)
    }

    /// Whether this is the code; it is none any more afterwards.
    pub(super) fn redeem(&self, code: &str) -> bool {
        let mut invitation = locked(&self.invitation);
        let known = invitation.as_deref() == Some(code);
        if known {
            *invitation = None;
        }
        known
    }

    /// Whether this look of a session (by its form token) stands in the trail already; from now on it does.
    pub(super) fn is_known_look(&self, session: &str, at: &str) -> bool {
        let mut looks = locked(&self.looks);
        let key = (session.to_owned(), at.to_owned());
        if looks.get(&key).is_some_and(|since| since.elapsed() < LOOK_AGAIN) {
            return true;
        }
        if looks.len() >= LOOKS_MAX {
            looks.retain(|_, since| since.elapsed() < LOOK_AGAIN);
        }
        // Where too many are remembered, each look is an entry: too much said rather than too little.
        if looks.len() < LOOKS_MAX {
            looks.insert(key, Instant::now());
        }
        false
    }

    /// Whether another attempt to sign in may be made now.
    pub(super) fn may_try(&self) -> bool {
        let mut attempts = locked(&self.attempts);
        attempts.retain(|at| at.elapsed() < WINDOW);
        let room = attempts.len() < ATTEMPTS;
        if room {
            attempts.push(Instant::now());
        }
        room
    }

    /// A new session: its id and what it holds.
    pub(super) fn begin(&self, person: &Person) -> Option<(String, Session)> {
        let (id, csrf) = (random()?, random()?);
        let until = Instant::now() + Duration::from_secs(SESSION_HOURS * 3600);
        let session = Session { name: person.name.clone(), role: person.role, csrf, until };
        let mut open = locked(&self.open);
        open.retain(|_, session| session.until > Instant::now());
        if open.len() >= SESSIONS_MAX {
            let oldest = open.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| id.clone());
            oldest.map(|id| open.remove(&id));
        }
        open.insert(id.clone(), session.clone());
        Some((id, session))
    }

    fn id(headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let mut named =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        named.find(|(name, _)| *name == "crmwarden").map(|(_, id)| id.to_owned())
    }

    /// The session of a request.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Session> {
        let session = locked(&self.open).get(&Sessions::id(headers)?).cloned()?;
        (session.until > Instant::now()).then_some(session)
    }

    /// Ends the session of a request.
    pub(super) fn end(&self, headers: &HeaderMap) {
        if let Some(id) = Sessions::id(headers) {
            locked(&self.open).remove(&id);
        }
    }
}
