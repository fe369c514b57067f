//! What a request means in SuiteCRM, EspoCRM and Odoo, by the URL patterns that these document.
//!
//! Sources: SuiteCRM `index.php?module=…&action=…`, `entryPoint=…` and API V8; EspoCRM API
//! (`/api/v1/…`); Odoo controllers `/web/…` and JSON-RPC `call_kw`.
//!
//! How a login ended is not always what the status says. Odoo shows its form again with 200 when a password
//! was wrong and redirects when it was right; SuiteCRM redirects in both cases, and JSON-RPC answers 200 in
//! both, so their outcome is `unknown`. 401, 403 and 429 are failures everywhere.

use crate::model::event::{Action, Category, Event, Outcome};
use std::borrow::Cow;

/// How a login's status tells its outcome.
#[derive(Clone, Copy)]
enum Tells {
    /// 2xx and 3xx are successes.
    Status,
    /// Only a redirect is one.
    Redirect,
    /// Nothing below 400 tells.
    Nothing,
}

/// Sets category, action, target and, for logins, the outcome.
pub(super) fn classify(event: &mut Event) {
    let (Some(method), Some(full)) = (event.http.method.take(), event.http.path.take()) else { return };
    let (path, query) = full.split_once('?').unwrap_or((&full, ""));
    by_method(event, &method, is_api(path));
    let product = memchr::memchr_iter(b'/', path.as_bytes()).find_map(|place| {
        let rest = path.get(place + 1..)?;
        let (part, _) = rest.split_once('/')?;
        let length = match part {
            "web" | "Api" => 4,
            "api" if rest.starts_with("api/v1/") => 7,
            _ => return None,
        };
        Some((part, rest.get(length..)?))
    });
    if let Some((part, rest)) = product {
        match part {
            "web" => odoo(event, &method, rest),
            "Api" => suite_api(event, rest),
            _ => espo(event, &method, rest),
        }
    } else if path.ends_with("/index.php") || (!query.is_empty() && query.contains("entryPoint=")) {
        suite(event, query);
    } else if method == "POST" && is_login_path(path) {
        login(event, Tells::Status);
    }
    event.http.method = Some(method);
    event.http.path = Some(full);
}

fn is_api(path: &str) -> bool {
    path.split('/').any(|part| {
        matches!(part, "api" | "Api" | "rest" | "rest.php" | "soap.php" | "jsonrpc" | "xmlrpc" | "call_kw")
    })
}

/// Login pages and token endpoints that many products share.
fn is_login_path(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last, "login" | "login.php" | "signin")
        || path.ends_with("/oauth/token")
        || path.ends_with("/oauth2/token")
}

fn by_method(event: &mut Event, method: &str, api: bool) {
    let (category, action) = match method {
        "GET" | "HEAD" | "OPTIONS" => (Category::DataAccess, Some(Action::Read)),
        "PUT" | "PATCH" => (Category::DataChange, Some(Action::Update)),
        "DELETE" => (Category::DataChange, Some(Action::Delete)),
        _ => (Category::DataAccess, None),
    };
    event.category = Some(if api { Category::Api } else { category });
    event.action = action;
}

fn set(event: &mut Event, category: Category, action: Action) {
    event.category = Some(category);
    event.action = Some(action);
}

fn login(event: &mut Event, tells: Tells) {
    set(event, Category::Authentication, Action::Login);
    event.outcome = match (tells, event.perf.status_code) {
        (Tells::Status, _) | (_, None | Some(400..)) => return,
        (Tells::Redirect, Some(300..400)) => Some(Outcome::Success),
        (Tells::Redirect, _) => Some(Outcome::Failure),
        (Tells::Nothing, _) => Some(Outcome::Unknown),
    };
}

fn target(event: &mut Event, kind: &str, id: Option<&str>) {
    if !kind.is_empty() {
        event.target.r#type = Some(decode(kind));
    }
    event.target.ids.extend(id.filter(|id| !id.is_empty()).map(decode));
}

fn odoo(event: &mut Event, method: &str, rest: &str) {
    match rest {
        "login" if method == "POST" => login(event, Tells::Redirect),
        "session/authenticate" if method == "POST" => login(event, Tells::Nothing),
        "session/logout" => set(event, Category::Session, Action::Logout),
        _ => {}
    }
    let mut parts = rest.split('/');
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        ("export", "csv" | "xlsx" | "xls") => set(event, Category::Export, Action::Export),
        ("database", "backup") => set(event, Category::Export, Action::Backup),
        ("content", _) => set(event, Category::DataAccess, Action::Download),
        ("dataset", "call_kw" | "call_button") => {
            target(event, parts.next().unwrap_or_default(), None);
            if let Some((category, action)) = parts.next().and_then(odoo_method) {
                set(event, category, action);
            }
        }
        _ => {}
    }
}

fn odoo_method(name: &str) -> Option<(Category, Action)> {
    Some(match name {
        "read" | "web_read" | "onchange" | "name_get" => (Category::DataAccess, Action::Read),
        "search_read" | "web_search_read" | "read_group" | "web_read_group" => {
            (Category::DataAccess, Action::List)
        }
        "search" | "name_search" | "search_count" => (Category::DataAccess, Action::Search),
        "export_data" => (Category::Export, Action::Export),
        "create" | "name_create" | "copy" => (Category::DataChange, Action::Create),
        "write" | "web_save" => (Category::DataChange, Action::Update),
        "unlink" => (Category::DataChange, Action::Delete),
        "load" => (Category::DataChange, Action::Import),
        _ => return None,
    })
}

fn espo(event: &mut Event, method: &str, rest: &str) {
    let parts: Vec<&str> = rest.trim_end_matches('/').splitn(4, '/').collect();
    match parts.as_slice() {
        // The client asks for its own user to sign in; a wrong password is a 401.
        ["App", "user"] => login(event, Tells::Status),
        ["App", "action", "destroyAuthToken"] | ["App", "destroyAuthToken"] => {
            set(event, Category::Session, Action::Logout);
        }
        ["App" | "Metadata" | "Settings" | "I18n", ..] => {}
        ["Export", ..] if method == "POST" => set(event, Category::Export, Action::Export),
        ["Import", ..] if method == "POST" => set(event, Category::DataChange, Action::Import),
        [kind, "action", "export"] => {
            set(event, Category::Export, Action::Export);
            target(event, kind, None);
        }
        [kind, "action", "massUpdate"] => {
            set(event, Category::DataChange, Action::Update);
            target(event, kind, None);
        }
        [kind, "action", "massDelete"] => {
            set(event, Category::DataChange, Action::Delete);
            target(event, kind, None);
        }
        [kind] => {
            target(event, kind, None);
            match method {
                "GET" => event.action = Some(Action::List),
                "POST" => event.action = Some(Action::Create),
                _ => {}
            }
        }
        [kind, id, ..] if *id != "action" => target(event, kind, Some(id)),
        _ => {}
    }
}

fn suite_api(event: &mut Event, rest: &str) {
    let mut parts = rest.trim_start_matches("index.php/").split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("access_token"), None, ..) => login(event, Tells::Status),
        (Some("V8"), Some("logout"), ..) => set(event, Category::Session, Action::Logout),
        (Some("V8"), Some("module"), Some(module), id) => {
            if event.action == Some(Action::Read) && id.is_none() {
                event.action = Some(Action::List);
            }
            target(event, module, id);
        }
        _ => {}
    }
}

fn suite(event: &mut Event, query: &str) {
    let value = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    match value("entryPoint") {
        Some("export") => set(event, Category::Export, Action::Export),
        Some("download") => set(event, Category::DataAccess, Action::Download),
        _ => {}
    }
    let module = value("module").unwrap_or_default();
    let meant = match value("action").unwrap_or_default() {
        "Authenticate" if module == "Users" => return login(event, Tells::Nothing),
        "Logout" if module == "Users" => return set(event, Category::Session, Action::Logout),
        "DetailView" | "EditView" => Some((Category::DataAccess, Action::Read)),
        "ListView" | "index" => Some((Category::DataAccess, Action::List)),
        "Save" => Some((Category::DataChange, Action::Update)),
        "Delete" => Some((Category::DataChange, Action::Delete)),
        "MassUpdate" => Some((Category::DataChange, Action::Update)),
        _ => None,
    };
    if let Some((category, action)) = meant {
        set(event, category, action);
    }
    target(event, module, value("record"));
}

/// Undoes `%HH` and `+`; bytes that are not UTF-8 become U+FFFD.
pub(super) fn decode(text: &str) -> String {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (hex(ahead.next()), hex(ahead.next())) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    bytes = ahead;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    match String::from_utf8_lossy(&out) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}
