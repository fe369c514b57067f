//! The dashboards and the rules against what the daemon really serves.
//!
//! Form: what Grafana needs to provision the file (classic JSON, a data source variable, no inputs to fill
//! in). Content: every metric that a panel or a rule names exists, and every metric is shown somewhere.
//! Proof: a real Prometheus scrapes our listener and answers every query of every panel; promtool tests the
//! rules. Without the programs those two say so and pass, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crmwarden::deliver::Outcome;
use crmwarden::metrics::{Health, Metrics, serve};
use crmwarden::model::event::DefectCode;
use crmwarden::model::{Severity, Time};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name)
}

const DASHBOARDS: [&str; 4] =
    ["crmwarden-operations", "crmwarden-incidents", "crmwarden-privileges", "crmwarden-trail"];

fn dashboards() -> Vec<(&'static str, Value)> {
    let read = |name: &str| fs::read_to_string(file(&format!("{name}.json"))).unwrap();
    DASHBOARDS.iter().map(|name| (*name, serde_json::from_str(&read(name)).unwrap())).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| list(panel, "targets"));
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// Every metric with at least one series.
fn filled() -> Metrics {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = Time::from_seconds(i64::try_from(now).unwrap());
    let metrics = Metrics::new(now, "0.1.0", "1.95.0").unwrap();
    metrics.know_source("sf-prod");
    metrics.know_receiver("security");
    metrics.config_in_force("9f86d081884c7d65");
    metrics.policy_in_force("60303ae22b998861");
    metrics.reloaded(now, true);
    metrics.source_newest("sf-prod", now, 11_524.0);
    metrics.defect("sf-prod", DefectCode::Unparsed);
    metrics.finding("dlp.payment_card", Severity::High);
    metrics.finding("access.over_grant", Severity::Medium);
    metrics.finding("detection.self_grant", Severity::High);
    metrics.know_ingest("sf-prod");
    metrics.alerts_dead("security", 1);
    metrics.waits(Some(now), Some(now.plus_seconds(3600)), 1);
    metrics.evicted("detections.burst", 2);
    metrics.delivery("security", &Outcome::Delivered);
    metrics.grants("sf-grants", 120);
    metrics.not_observable("no_feed", 4);
    metrics.trail(12, 3456);
    metrics.commit(0.004);
    metrics.checkpoint(12, now);
    metrics.anchored(8);
    metrics.know_anchor("tsa", 8, now);
    metrics.anchor_failed("tsa");
    metrics.verified(now, true);
    metrics.disk_free(1 << 40);
    metrics
}

/// Names as the text format's `# TYPE` lines give them.
fn known() -> BTreeSet<String> {
    let text = filled().text().unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Names of ours that a text uses; the series of a histogram count as the histogram.
fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("crmwarden_"));
    ours.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[test]
fn no_dead_panel_and_no_dead_metric() {
    let known = known();
    let shown: BTreeSet<String> =
        dashboards().iter().flat_map(|(_, dashboard)| used(&queries(dashboard).join("\n"))).collect();
    let rules = fs::read_to_string(file("prometheus-rules.yaml")).unwrap();
    assert_eq!(
        shown.difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "panels without a metric"
    );
    assert_eq!(
        used(&rules).difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "rules without a metric"
    );
    assert_eq!(
        known.difference(&shown).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "metrics that nothing shows"
    );
}

#[test]
fn grafana_can_provision_it() {
    for (name, dashboard) in dashboards() {
        provisions(name, &dashboard);
    }
}

fn provisions(name: &str, dashboard: &Value) {
    assert!(dashboard["id"].is_null() && dashboard["uid"] == name);
    let links = list(dashboard, "links");
    assert!(
        links.iter().any(|link| link["type"] == "dashboards" && link["tags"][0] == "crmwarden"),
        "{name}"
    );
    assert!(list(dashboard, "tags").contains(&"crmwarden".into()), "{name}");
    assert!(dashboard.get("__inputs").is_none() && dashboard.get("__requires").is_none());
    assert_eq!(dashboard["editable"], false);
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    assert!(variables[0]["type"] == "datasource" && variables[0]["query"] == "prometheus");
    for variable in &variables[1..] {
        assert!(variable["label"] == variable["name"] && variable["allValue"] == ".+", "{variable}");
        assert!(variable["multi"] == true && variable["refresh"] == 2, "{variable}");
        assert_eq!(variable["datasource"]["uid"], "${datasource}");
    }
    let ids: BTreeSet<_> =
        list(dashboard, "panels").iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), list(dashboard, "panels").len(), "panel ids are distinct");
}

#[test]
fn panels_say_what_they_show() {
    for (_, dashboard) in dashboards() {
        says_what_it_shows(&dashboard);
    }
}

fn says_what_it_shows(dashboard: &Value) {
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(
            !title.is_empty() && panel["description"].as_str().is_some_and(|text| text.len() > 20),
            "{title}"
        );
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!list(panel, "targets").is_empty(), "{title}");
    }
    for query in queries(dashboard) {
        let selectors = query.matches("crmwarden_").count();
        assert_eq!(query.matches("job=~\"$job\", instance=~\"$instance\"").count(), selectors, "{query}");
        let rate = ["rate(", "increase("].iter().any(|word| query.contains(word));
        assert!(!rate || query.contains("[$__rate_interval]") || query.contains("[24h]"), "{query}");
    }
}

#[test]
fn panels_do_not_overlap() {
    for (name, dashboard) in dashboards() {
        let mut cells = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {}", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(cells.insert((x, y)), "{name}: {} overlaps", panel["title"]);
                }
            }
        }
    }
}

/// Whether the program is there; says so when not.
fn there(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if quiet.is_ok() {
        return true;
    }
    assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").is_err(), "{program} is missing");
    eprintln!("skipped: {program} is missing");
    false
}

#[test]
fn the_rules_fire_when_they_should() {
    if !there("promtool") {
        return;
    }
    for arguments in [
        ["check", "rules", "prometheus-rules.yaml"],
        ["test", "rules", "prometheus-rules.test.yaml"],
        // What spans days stands apart: in one file every case is played over all of it.
        ["test", "rules", "prometheus-rules.slow.test.yaml"],
    ] {
        let ran = Command::new("promtool").args(arguments).current_dir(file("")).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// A Prometheus of the test's own; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: crmwarden\n    static_configs:\n      \
             - targets: [\"{target}\"]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={free}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, address: free, _folder: folder }
    }

    /// The result of an instant query, where it answers.
    fn ask(&self, query: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let body = format!("query={}", percent(query));
        let head = "POST /api/v1/query HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, json) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(json).ok()
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn series(answer: &Value) -> usize {
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

#[test]
fn prometheus_answers_every_query() {
    if !there("prometheus") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let health = || Health { alive: true, ready: true, what: "fine".into() };
    let metrics = Arc::new(filled());
    runtime.spawn(serve(listener, Arc::clone(&metrics), health));
    let prometheus = Prometheus::scraping(target);
    let end = Instant::now() + Duration::from_secs(60);
    let scraped = "count_over_time(crmwarden_build_info[1m]) >= 4";
    while prometheus.ask(scraped).is_none_or(|answer| series(&answer) == 0) {
        assert!(Instant::now() < end, "Prometheus does not scrape us");
        metrics.commit(0.002);
        std::thread::sleep(Duration::from_millis(200));
    }
    for (name, dashboard) in dashboards() {
        for query in queries(&dashboard) {
            let concrete =
                query.replace("$__rate_interval", "30s").replace("$job", ".+").replace("$instance", ".+");
            let answer = prometheus.ask(&concrete).unwrap();
            assert_eq!(answer["status"], "success", "{name}: {concrete}: {answer}");
            assert!(series(&answer) > 0, "{name}: {concrete} gave nothing");
        }
    }
}
