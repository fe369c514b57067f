//! The console over HTTP, as a browser and as somebody who is none: who gets in, what they see, what they may do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::http::{Answer, ask};
use common::{Home, REPOSITORY, free_port, have, text, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// What somebody puts into a user name.
const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=y>";

struct Console {
    home: Home,
    address: String,
    _daemon: common::Daemon,
}

fn console() -> Console {
    let home = Home::empty();
    let address = format!("127.0.0.1:{}", free_port());
    for name in ["kim", "auditor"] {
        home.write(&format!("{name}.token"), format!("token-of-{name}-{}", "x".repeat(20)).as_bytes());
        fs::set_permissions(home.path(&format!("{name}.token")), fs::Permissions::from_mode(0o600)).unwrap();
    }
    home.configure(
        "metrics: \"off\"\n",
        &format!(
            "listen: {address}\nauth:\n  people:\n    - {{ name: kim, role: responder, token_file: kim.token }}\n    \
             - {{ name: auditor, role: reader, token_file: auditor.token }}\n\
             sources:\n  - name: sf\n    file: {{ paths: [\"feeds/*.csv\"] }}\n    format: salesforce.event_log\n\
             receivers:\n  - name: archive\n    directory: archive\nroutes:\n  - receivers: [archive]\n"
        ),
    );
    // Policies of its own, so that a test may change them.
    common::copy_all_into(&format!("{REPOSITORY}/policies"), &home.path("policies"));
    let text = fs::read_to_string(home.path("crmwarden.yaml")).unwrap();
    home.write("crmwarden.yaml", text.replace(&format!("{REPOSITORY}/policies"), "policies").as_bytes());
    let rows = format!(
        "\"EVENT_TYPE\",\"TIMESTAMP_DERIVED\",\"REQUEST_ID\",\"USER_ID\",\"USER_NAME\",\"METHOD_NAME\",\"ROWS_PROCESSED\"\n\
         \"API\",\"2026-11-20T10:00:00.000Z\",\"r1\",\"0055e00000AAAab\",\"{HOSTILE}\",\"query\",\"125000\"\n"
    );
    home.write("feeds/a.csv", rows.as_bytes());
    let daemon = home.ready_daemon();
    wait_for("an incident", LIMIT, || home.expect(0, &["incidents"]).contains("INC-"));
    Console { home, address, _daemon: daemon }
}

fn cookie(answer: &Answer) -> Option<String> {
    let line = answer.head.lines().find(|line| line.to_lowercase().starts_with("set-cookie: crmwarden="))?;
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"), "{line}");
    Some(line.split_once(": ").unwrap().1.split(';').next().unwrap().to_owned())
}

impl Console {
    fn sign_in(&self, name: &str) -> String {
        let token = fs::read_to_string(self.home.path(&format!("{name}.token"))).unwrap();
        let answer = self.post("/sign-in", "", &format!("token={token}"));
        assert_eq!(answer.status, 303, "{}", answer.text());
        cookie(&answer).unwrap()
    }

    fn get(&self, path: &str, cookie: &str) -> Answer {
        ask(&self.address, &format!("GET {path}"), &[&format!("Cookie: {cookie}")], b"").unwrap()
    }

    fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        let headers = ["Content-Type: application/x-www-form-urlencoded", &format!("Cookie: {cookie}")];
        ask(&self.address, &format!("POST {path}"), &headers, form.as_bytes()).unwrap()
    }

    fn csrf(&self, cookie: &str) -> String {
        let page = self.get("/", cookie).text();
        page.split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
    }

    fn incident(&self) -> String {
        self.home.expect(0, &["incidents"]).split_whitespace().next().unwrap().to_owned()
    }
}

const PAGES: [&str; 8] = [
    "/",
    "/incidents",
    "/incidents?all=1",
    "/findings",
    "/search?rule=detection.",
    "/sources",
    "/trail",
    "/alerts",
];

#[test]
fn nobody_gets_in_without_a_token_and_everybody_sees_what_stands_there() {
    let console = console();
    for path in PAGES {
        let answer = console.get(path, "crmwarden=0000");
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.head.contains("/sign-in") && answer.body.is_empty(), "{path}");
    }
    assert_eq!(console.post("/sign-in", "", "token=wrong").status, 403);
    assert_eq!(console.get("/sign-in?code=0000", "").status, 200, "the door, and no session");
    assert!(cookie(&console.get("/sign-in?code=", "")).is_none());
    let auditor = console.sign_in("auditor");
    let id = console.incident();
    let entry = console.home.of_kind("finding")[0]["i"].to_string();
    let more = [format!("/incidents/{id}"), format!("/entries/{entry}"), "/reports".to_owned()];
    for path in PAGES.iter().map(|path| (*path).to_owned()).chain(more) {
        let answer = console.get(&path, &auditor);
        let page = answer.text();
        assert_eq!(answer.status, 200, "{path}: {page}");
        let policy = answer
            .head
            .lines()
            .find(|line| line.to_lowercase().starts_with("content-security-policy:"))
            .unwrap();
        assert!(
            policy.contains("default-src 'none'")
                && !policy.contains("unsafe")
                && !policy.contains("script-src")
        );
        assert!(!page.contains("<script") && !page.contains("<img"), "{path}");
        assert!(
            !page.contains(" style=\"") && !page.contains("onclick"),
            "{path} would break under its own policy"
        );
    }
    let page = console.get(&format!("/incidents/{id}"), &auditor).text();
    assert!(
        page.contains("Bulk read or export") && !page.contains("action=\"/act\""),
        "a reader gets no forms"
    );
    // The proof of an entry is a file that a stranger checks.
    let proof = console.get(&format!("/entries/{entry}/proof"), &auditor);
    console.home.write("e.tlog-proof", &proof.body);
    console.home.expect(0, &["keys", "export", "--format", "trust", "state"]);
    let trust = console.home.expect(0, &["keys", "export", "--format", "trust", "state"]);
    console.home.write("trust.txt", trust.as_bytes());
    console.home.expect(0, &["trail", "verify-proof", "e.tlog-proof", "--trust", "trust.txt"]);
    // Signing in and searching are entries.
    let accesses = console.home.of_kind("access");
    for what in ["console", "search"] {
        assert!(
            accesses.iter().any(|it| it["what"] == what && it["by"] == "auditor"),
            "{what}: {accesses:?}"
        );
    }
    // And so is looking: once a page and hour, however often it is loaded.
    let looks = |at: &str| accesses.iter().filter(|it| it["detail"] == at && it["by"] == "auditor").count();
    for at in ["incidents".to_owned(), "findings".into(), format!("incident {id}"), format!("entry {entry}")]
    {
        assert_eq!(looks(&at), 1, "{at}: {accesses:?}");
    }
    for address in ["evil.example", "evil.example:7464"] {
        let answer = ask(
            &console.address,
            "GET /",
            &[&format!("Host: {address}"), &format!("Cookie: {auditor}")],
            b"",
        );
        assert_eq!(answer.unwrap().status, 421, "a name that was pointed at loopback");
    }
}

#[test]
fn a_responder_acts_and_nobody_else() {
    let console = console();
    let (kim, auditor, id) = (console.sign_in("kim"), console.sign_in("auditor"), console.incident());
    let csrf = console.csrf(&kim);
    let act = |cookie: &str, csrf: &str, rest: &str| {
        console.post("/act", cookie, &format!("csrf={csrf}&incident={id}&{rest}")).status
    };
    assert_eq!(act(&auditor, &console.csrf(&auditor), "do=note&reason=hello"), 403, "a reader");
    assert_eq!(act(&kim, "", "do=note&reason=hello"), 403, "a form from elsewhere");
    assert_eq!(act(&kim, &console.csrf(&auditor), "do=note&reason=hello"), 403, "another session's token");
    assert_eq!(act("", &csrf, "do=note&reason=hello"), 303, "nobody: to the door");
    assert_eq!(act(&kim, &csrf, "do=move&to=closed&reason=x"), 400, "a move that is not allowed");
    assert!(console.home.of_kind("incident").len() < 4, "nothing was done so far");
    assert_eq!(act(&kim, &csrf, "do=move&to=triaged&reason=it+is+real+%26+bad"), 303);
    assert_eq!(act(&kim, &csrf, "do=ack&for=4h&reason=on+it"), 303);
    assert_eq!(act(&kim, &csrf, "do=clock-start&clock=gdpr-33&reason=EU"), 303);
    assert_eq!(act(&kim, &csrf, "do=silence&rule=detection.&for=1h&reason=migration"), 303);
    assert_eq!(act(&kim, &csrf, "do=test"), 303);
    let moves = console.home.of_kind("incident");
    let moved = moves.iter().find(|it| it["transition"] == "moved").unwrap();
    assert_eq!((&moved["by"], &moved["text"]), (&"kim".into(), &"it is real & bad".into()));
    let page = console.get(&format!("/incidents/{id}"), &kim).text();
    assert!(
        page.contains("it is real &amp; bad") && page.contains("gdpr-33") && page.contains("by kim"),
        "{page}"
    );
    assert_eq!(console.post("/sign-out", &kim, &format!("csrf={csrf}")).status, 303);
    assert_eq!(console.get("/", &kim).status, 303, "signed out");
}

#[test]
fn a_report_is_made_on_the_page_and_holds_outside() {
    let console = console();
    let (kim, auditor) = (console.sign_in("kim"), console.sign_in("auditor"));
    let order = |cookie: &str, csrf: &str, period: &str| {
        console.post("/reports", cookie, &format!("csrf={csrf}&framework=pci-dss&{period}"))
    };
    let (mine, theirs) = (console.csrf(&kim), console.csrf(&auditor));
    let november = "from=2026-11-01&to=2026-12-01";
    assert_eq!(order(&auditor, &theirs, november).status, 403, "a reader");
    assert_eq!(order(&kim, &theirs, november).status, 403, "a form from elsewhere");
    for wrong in ["from=2026-12-01&to=2026-11-01", "from=yesterday&to=2026-12-01", "to=2026-12-01"] {
        assert_eq!(order(&kim, &mine, wrong).status, 400, "{wrong}");
    }
    let answer = order(&kim, &mine, november);
    assert_eq!(answer.status, 303, "{}", answer.text());
    // Everybody who may look finds it, as it was signed.
    let page = console.get("/reports", &auditor).text();
    let place = page.split_once("href=\"/reports/").unwrap().1.split('/').next().unwrap().to_owned();
    assert!(place.ends_with("-pci-dss-2026-11-01-2026-12-01"), "{place}");
    let file = |name: &str| console.get(&format!("/reports/{place}/{name}"), &auditor);
    let (report, signature) = (file("report.json"), file("report.json.sig"));
    assert!(report.head.contains("attachment; filename=\"report.json\""), "{}", report.head);
    let data: serde_json::Value = serde_json::from_slice(&report.body).unwrap();
    assert_eq!(data["deployment"], "acme.example");
    if common::have(&[("ssh-keygen", &["-?"])]) {
        console.home.write("report.json.sig", &signature.body);
        console.home.write("allowed_signers", &file("allowed_signers").body);
        let mut check = std::process::Command::new("ssh-keygen")
            .args(["-Y", "verify", "-f", "allowed_signers", "-I", "acme.example"])
            .args(["-n", "crmwarden-report", "-s", "report.json.sig"])
            .current_dir(console.home.dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), &report.body).unwrap();
        assert!(check.wait().unwrap().success());
    }
    // A framework that comes while the daemon runs can be reported on.
    let house = fs::read_to_string(console.home.path("policies/frameworks/pci-dss.yaml")).unwrap();
    let house = house.replace("framework: pci-dss", "framework: house-rules");
    console.home.write("policies/frameworks/house.yaml", house.as_bytes());
    wait_for("the new framework", LIMIT, || console.get("/reports", &kim).text().contains("house-rules"));
    for elsewhere in ["/reports/../keys/log.key", "/reports/%2e%2e/crmwarden.yaml", "/reports/x/report.json"]
    {
        assert_ne!(console.get(elsewhere, &auditor).status, 200, "{elsewhere}");
    }
    let accesses = console.home.of_kind("access");
    assert!(accesses.iter().any(|it| it["what"] == "report" && it["by"] == "kim"), "{accesses:?}");
    let looks = |at: &str| accesses.iter().filter(|it| it["detail"] == at).count();
    assert_eq!(
        (looks(&format!("report {place}")), looks("report x")),
        (1, 0),
        "a made-up address is no entry"
    );
}

#[test]
fn guessing_is_slow() {
    let console = console();
    let statuses: Vec<u16> =
        (0..30).map(|n| console.post("/sign-in", "", &format!("token=guess{n}")).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// The pages in a real browser, by the link that the demo prints.
#[test]
fn a_browser_shows_them() {
    if !have(&[("chromium", &["--version"])]) {
        return;
    }
    let home = Home::empty();
    let log = fs::File::create(home.path("demo.log")).unwrap();
    let mut demo = home.command(&["demo", "d", "--seconds", "60"]).stdout(log).spawn().unwrap();
    let link = || {
        let said = fs::read_to_string(home.path("demo.log")).unwrap();
        said.split_whitespace().find(|word| word.contains("/sign-in?code=")).map(str::to_owned)
    };
    wait_for("the link", LIMIT, || link().is_some());
    let profile = home.path("profile").display().to_string();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={profile}"))
        .arg(link().unwrap())
        .output()
        .unwrap();
    let _ = demo.kill();
    let _ = demo.wait();
    let page = text(&output.stdout);
    assert!(page.contains("Open incidents") && page.contains("demo (responder)"), "{page}");
}
