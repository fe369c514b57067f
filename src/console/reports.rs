//! Reports on the console: made on demand by whoever may act, kept under `reports/` in the state folder, handed out
//! as they were signed.
//!
//! The files are served as downloads and never shown: a page of the console shows nothing that it did not make.

use super::{App, Who, looked, members, page, pages, request, see};
use crate::clock;
use crate::control::Ask;
use crate::model::Time;
use crate::report::{File, Order, make};
use crate::trail::disk::{Disk, replace};
use axum::extract::{Path as Rest, RawForm, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bundles that are kept; whoever wants another removes one.
const REPORTS_MAX: usize = 64;
/// Longest file that is handed out.
const FILE_MAX: u64 = 64 << 20;

/// A bundle: its folder's name and its files.
pub(super) type Bundle = (String, Vec<String>);

fn folder(app: &App) -> PathBuf {
    app.console.paths.state.join("reports")
}

/// What is there, newest first.
fn bundles(app: &App) -> io::Result<Vec<Bundle>> {
    let folder = folder(app);
    let mut names = app.console.disk.names(&folder)?;
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable_by(|one, other| other.cmp(one));
    let with_files = |name: String| {
        // What is no folder was put there by somebody else.
        let mut files = app.console.disk.names(&folder.join(&name)).ok()?;
        files.sort_unstable();
        Some((name, files))
    };
    Ok(names.into_iter().take(REPORTS_MAX).filter_map(with_files).collect())
}

/// The page.
pub(super) async fn list(State(app): State<App>, axum::Extension(session): Who) -> Response {
    let frameworks: Vec<String> = app.console.frameworks().into_iter().map(|it| it.id).collect();
    let at = Arc::clone(&app);
    let found = tokio::task::spawn_blocking(move || bundles(&at)).await;
    let found = match found {
        Ok(found) => found.map_err(|error| format!("the folder of reports cannot be read: {error}")),
        Err(_) => Err("the folder of reports cannot be read".to_owned()),
    };
    page(found.map(|found| pages::reports(&session, &frameworks, &found)), &session)
}

/// Makes one: framework, first day, first day after, in UTC.
pub(super) async fn order(
    State(app): State<App>,
    axum::Extension(session): Who,
    RawForm(form): RawForm,
) -> Response {
    let form = members(&form);
    if let Some(refusal) = session.refuses(&form) {
        return (StatusCode::FORBIDDEN, super::html(pages::trouble(&session, refusal))).into_response();
    }
    let text = |name: &str| form.get(name).map(|text| text.trim().to_owned()).unwrap_or_default();
    let made = async {
        let framework = app.console.frameworks().into_iter().find(|it| it.id == text("framework"));
        let framework = framework.ok_or("this framework is not among the policies")?;
        let day = |name: &str| {
            Time::parse_date(&text(name))
                .ok_or_else(|| format!("`{}` is no date like 2026-11-22", text(name)))
        };
        let (from, to) = (day("from")?, day("to")?);
        if from >= to {
            return Err("the period is empty: the first day must be before the day after the last".to_owned());
        }
        let Ok(place) = Arc::clone(&app.searches).try_acquire_owned() else {
            return Err("others are reading the trail: try again in a moment".into());
        };
        let (at, name) = (Arc::clone(&app), session.name.clone());
        let work = move || {
            let _place = place;
            let detail = format!("framework {} from {from} to {to}", framework.id);
            request(&at.console.writer, Ask::Access { what: "report".into(), detail }, Some(name))?;
            write(&at, framework, (from, to))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the report ended early".into()))
    };
    match made.await {
        Ok(()) => see("/reports"),
        Err(why) => page(Err(why), &session),
    }
}

fn write(
    app: &App,
    framework: crate::policy::framework::Framework,
    period: (Time, Time),
) -> Result<(), String> {
    let console = &app.console;
    let failed = |error: io::Error| format!("the report cannot be written: {error}");
    let names = console.disk.names(&folder(app)).map_err(failed)?;
    if names.iter().filter(|name| !name.starts_with('.')).count() >= REPORTS_MAX {
        let place = folder(app).display().to_string();
        return Err(format!("{REPORTS_MAX} reports are kept in {place}: remove what is not needed any more"));
    }
    let now = clock::now();
    let day = |time: Time| time.to_string().chars().take(10).collect::<String>();
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).take(STAMP_DIGITS).collect();
    let name = format!("{stamp}-{}-{}-{}", framework.id, day(period.0), day(period.1));
    let order = Order {
        paths: &console.paths,
        deployment: console.deployment.clone(),
        host: console.host.clone(),
        framework,
        period,
        zone: jiff::tz::TimeZone::UTC,
        now,
    };
    let made = make(&*console.disk, order).map_err(|error| error.to_string())?;
    match keep(&*console.disk, &folder(app), &name, &made.files) {
        Ok(true) => Ok(()),
        Ok(false) => Err("another report is being made this moment: try again".into()),
        Err(error) => Err(failed(error)),
    }
}

/// A bundle has its name when it is whole; before, a dot stands in front of it. So many digits begin each name.
const STAMP_DIGITS: usize = 20;

fn is_unfinished(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|name| name.split_once('-'));
    parts.is_some_and(|(stamp, _)| stamp.len() == STAMP_DIGITS && stamp.bytes().all(|it| it.is_ascii_digit()))
}

/// Writes a bundle. Nothing stays of one that cannot be written. `false`: one of this name is being written.
fn keep(disk: &dyn Disk, folder: &Path, name: &str, files: &[File]) -> io::Result<bool> {
    let at = folder.join(format!(".{name}"));
    if !disk.make_dir(&at, 0o750)? {
        return Ok(false);
    }
    let write = || {
        files.iter().try_for_each(|file| replace(disk, &at.join(&file.name), &file.bytes, 0o640))?;
        disk.rename(&at, &folder.join(name))
    };
    let written = write();
    if written.is_err() {
        remove(disk, &at);
    }
    written.map(|()| true)
}

fn remove(disk: &dyn Disk, at: &Path) {
    match disk.remove_dir(at) {
        Ok(()) => tracing::info!("{}: an unfinished report was removed", at.display()),
        Err(error) => tracing::warn!("{}: an unfinished report cannot be removed: {error}", at.display()),
    }
}

/// Removes what a daemon that died had begun to write. Only at the start, when nobody writes.
pub(super) fn remove_unfinished(disk: &dyn Disk, state: &Path) {
    let folder = state.join("reports");
    match disk.names(&folder) {
        Ok(names) => {
            names.iter().filter(|name| is_unfinished(name)).for_each(|name| remove(disk, &folder.join(name)));
        }
        Err(error) => tracing::warn!("{}: cannot be read: {error}", folder.display()),
    }
}

/// One file of a bundle. Only what the page lists is found, so no name leads elsewhere.
pub(super) async fn file(
    State(app): State<App>,
    axum::Extension(session): Who,
    Rest((bundle, name)): Rest<(String, String)>,
) -> Response {
    let Ok(place) = Arc::clone(&app.searches).try_acquire_owned() else {
        return page(Err("others are reading: try again in a moment".into()), &session);
    };
    let (at, asked, wanted) = (Arc::clone(&app), bundle.clone(), name.clone());
    let work = move || {
        let _place = place;
        let known = bundles(&at).ok()?;
        let (folder_name, _) = known.iter().find(|(it, files)| *it == asked && files.contains(&wanted))?;
        at.console.disk.read_small(&folder(&at).join(folder_name).join(&wanted), FILE_MAX).ok().flatten()
    };
    match tokio::task::spawn_blocking(work).await.ok().flatten() {
        None => page(Err("there is no such file".into()), &session),
        Some(bytes) => {
            if let Err(why) = looked(&app, &session, format!("report {bundle}")).await {
                return page(Err(why), &session);
            }
            let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
            let shown: String = name
                .chars()
                .filter(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-'))
                .collect();
            let place = (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{shown}\""));
            ([kind, place], bytes).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trail::disk::RealDisk;

    fn file(name: &str) -> File {
        File { name: name.into(), bytes: b"text".to_vec() }
    }

    #[test]
    fn a_bundle_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |name, files: &[File]| keep(&RealDisk, folder.path(), name, files);
        assert!(keep("one", &[file("a"), file("b")]).unwrap());
        assert!(keep("two", &[file("a"), file("missing/b")]).is_err());
        assert_eq!(RealDisk.names(folder.path()).unwrap(), ["one"]);
        assert_eq!(RealDisk.names(&folder.path().join("one")).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_a_dead_daemon_began_is_removed_at_the_start() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("reports");
        remove_unfinished(&RealDisk, state.path());
        let begun = "20261129031500123456-pci-dss-2026-01-01-2026-02-01";
        let others = [".2025-archive", ".theirs", "20261129031500123456-gdpr-2026-01-01-2026-02-01"];
        for bundle in others.into_iter().chain([format!(".{begun}").as_str()]) {
            std::fs::create_dir_all(folder.join(bundle).join("within")).unwrap();
            std::fs::write(folder.join(bundle).join("report.tmp"), "text").unwrap();
        }
        assert!(!keep(&RealDisk, &folder, begun, &[file("a")]).unwrap());
        remove_unfinished(&RealDisk, state.path());
        assert_eq!(RealDisk.names(&folder).unwrap(), others);
        assert!(keep(&RealDisk, &folder, begun, &[file("a")]).unwrap());
    }
}
