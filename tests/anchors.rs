//! Anchors off the host, with the real binary: daemons that witness each other, time stamps of a real
//! authority, lines at a collector; and what other programs get on `listen:`.
//!
//! The time stamps need openssl. Without it that test says so and passes, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::feeds::Feed;
use common::http::{Answer, Server, ask, is_open};
use common::tsa::{EC, Tsa};
use common::{Home, free_port, wait_for};
use crmwarden::inspect::dlp::generate::Generator;
use crmwarden::model::Hash;
use crmwarden::trail::note::{Checkpoint, Cosigner, CosignerKey, Note, NoteSigner, sign};
use crmwarden::trail::proof::{Memory, consistency};
use crmwarden::trail::tree::leaf_hash;
use crmwarden::trail::witness::{origin_hash, request};
use ed25519_dalek::SigningKey;
use serde_json::Value;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A site of its own: `deployment` names it, `rest` is the configuration's rest.
fn configure(home: &Home, deployment: &str, rest: &str) {
    let text = format!(
        "deployment: {deployment}\nstate: state\npolicies: {}/policies\nsources:\n  - name: web\n    file: {{ paths: \
         [\"feeds/web/access.log*\"] }}\n    format: access_log.combined\n{rest}",
        common::REPOSITORY
    );
    home.write("crmwarden.yaml", text.as_bytes());
}

/// A site with a trail of a few entries.
fn site(deployment: &str) -> Home {
    let home = Home::empty();
    configure(&home, deployment, "metrics: \"off\"\n");
    grow(&home, 0);
    home.expect(0, &["run", "--once"]);
    home
}

/// Three more records.
fn grow(home: &Home, from: u64) {
    let mut random = Generator::new(from + 1);
    let text: String = (from..from + 3).map(|number| Feed::Web.record(number, &mut random)).collect();
    home.append(Feed::Web.file(), text.as_bytes());
}

fn log_key(home: &Home) -> String {
    home.expect(0, &["keys", "export", "--format", "vkey"]).lines().next().unwrap().to_owned()
}

fn status(home: &Home) -> Option<Value> {
    let output = home.run(&["status", "--json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// The size up to which the daemon says that somebody has confirmed its trail.
fn anchored(home: &Home) -> u64 {
    status(home).and_then(|status| status["anchored"].as_u64()).unwrap_or(0)
}

fn signed(home: &Home) -> u64 {
    let note = fs::read_to_string(home.path("state/trail/g1/checkpoint")).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// Waits until a checkpoint of at least this size is anchored, and says which.
fn wait_anchored(home: &Home, size: u64) -> u64 {
    wait_for("an anchor", LONG, || anchored(home) >= size);
    anchored(home)
}

fn kept(home: &Home, size: u64, end: &str) -> std::path::PathBuf {
    home.path(&format!("state/trail/g1/checkpoints/{size:020}{end}"))
}

/// Findings of a rule in the trail.
fn findings(home: &Home, rule: &str) -> usize {
    home.of_kind("finding").iter().filter(|finding| finding["rule"] == rule).count()
}

/// The configuration of a site that witnesses `logs` and is witnessed by `witnesses` (key and address).
fn with_witness(port: u16, name: &str, logs: &[&str], witnesses: &[(&str, &str)]) -> String {
    let mut text = format!("metrics: \"off\"\nlisten: 127.0.0.1:{port}\nwitness:\n  name: {name}\n  logs:\n");
    logs.iter().for_each(|key| text.push_str(&format!("    - key: {key}\n")));
    text.push_str("anchors:\n  every: 1s\n");
    if !witnesses.is_empty() {
        text.push_str("  witnesses:\n");
    }
    for (key, url) in witnesses {
        text.push_str(&format!("    - {{ key: \"{key}\", url: \"{url}\" }}\n"));
    }
    text
}

#[test]
fn two_daemons_witness_each_other() {
    let (a, b) = (site("a.example"), site("b.example"));
    let (port_a, port_b) = (free_port(), free_port());
    let (log_a, log_b) = (log_key(&a), log_key(&b));
    // The sites exchange the keys of their logs, then those of their witnesses.
    configure(&a, "a.example", &with_witness(port_a, "a.example/witness", &[&log_b], &[]));
    configure(&b, "b.example", &with_witness(port_b, "b.example/witness", &[&log_a], &[]));
    let keys = [&a, &b].map(|home| home.expect(0, &["witness", "vkey"]).trim().to_owned());
    assert_eq!(a.expect(0, &["witness", "vkey"]).trim(), keys[0], "the key is made once");
    let urls = [port_a, port_b].map(|port| format!("http://127.0.0.1:{port}/witness/"));
    configure(
        &a,
        "a.example",
        &with_witness(port_a, "a.example/witness", &[&log_b], &[(&keys[1], &urls[1])]),
    );
    configure(
        &b,
        "b.example",
        &with_witness(port_b, "b.example/witness", &[&log_a], &[(&keys[0], &urls[0])]),
    );

    let daemon_a = a.ready_daemon();
    let daemon_b = b.ready_daemon();
    for (home, key) in [(&a, &keys[1]), (&b, &keys[0])] {
        let size = wait_anchored(home, 1);
        let key = CosignerKey::parse(key).unwrap();
        let note = fs::read_to_string(kept(home, size, "")).unwrap();
        let parsed = Note::parse(&note).unwrap();
        assert!(parsed.cosigned_by(&key).unwrap().is_some() && parsed.signatures.len() == 3, "{note}");
    }
    // The anchor follows the trail.
    let before = wait_anchored(&a, 1);
    grow(&a, 100);
    wait_for("the records are signed", LONG, || signed(&a) > before);
    let after = wait_anchored(&a, before + 1);
    assert!(after > before);
    let status = status(&a).unwrap();
    assert_eq!(status["anchors"]["b.example/witness"], status["anchored"], "{status}");
    assert!(a.expect(0, &["status"]).contains("entries are confirmed off this host"));
    // The checkpoint stands in the log in one line, too.
    let line = a.log().lines().filter(|line| line.contains("checkpoint a.example/crmwarden/g1 ")).count();
    assert!(line >= 2, "{}", a.log());
    a.expect(0, &["verify", "state"]);

    rolled_back(&a, daemon_a, &keys[1], after);
    assert_eq!(daemon_b.stop(), 0);
    b.expect(0, &["verify", "state"]);
}

/// `a` is put back to an older state, which in itself is sound: its witness knows better, and says so after
/// its own restart as well (here: while it went on running).
fn rolled_back(a: &Home, daemon: common::Daemon, witness: &str, seen: u64) {
    let older = a.copy();
    grow(a, 200);
    wait_for("more is signed", LONG, || signed(a) > seen);
    let newest = signed(a);
    wait_for("more is anchored", LONG, || anchored(a) >= newest);
    assert_eq!(daemon.stop(), 0);
    let name = CosignerKey::parse(witness).unwrap().name;
    let daemon = older.ready_daemon();
    wait_for("the incident", LONG, || findings(&older, "operation.trail_contradicted") > 0);
    let finding = older.of_kind("finding").pop().unwrap();
    assert!(
        finding["severity"] == "critical" && finding["title"].as_str().unwrap().contains(&name),
        "{finding}"
    );
    assert_eq!(daemon.stop(), 0);
    assert_eq!(findings(&older, "operation.trail_contradicted"), 1, "retries are no findings");
    assert!(older.log().contains("not anchored at"), "{}", older.log());
}

// ---------------------------------------------------------------------------------------------------------
// The witness as any log meets it

fn tree(kind: u8, size: u64) -> Memory {
    let mut tree = Memory::default();
    tree.extend((0..size).map(|index| leaf_hash(&[&[kind][..], &index.to_be_bytes()].concat())));
    tree
}

fn log(seed: u8) -> NoteSigner {
    NoteSigner::new("log.example/one".into(), SigningKey::from_bytes(&[seed; 32]))
}

/// `add-checkpoint` of a log whose entries are of one kind.
fn add(port: u16, signer: &NoteSigner, kind: u8, old: u64, new: u64) -> Answer {
    let origin = signer.verifier().name;
    let text = Checkpoint { origin, size: new, root: tree(kind, new).root() }.text();
    let proof = consistency(&mut tree(kind, new.max(old)), old, new.max(old)).unwrap();
    post(port, request(old, &proof, &sign(&text, &[signer])).as_bytes())
}

fn post(port: u16, body: &[u8]) -> Answer {
    ask(&format!("127.0.0.1:{port}"), "POST /witness/add-checkpoint", &[], body).unwrap()
}

#[test]
fn a_witness_refuses_what_does_not_grow_and_remembers_after_a_kill() {
    let (home, port) = (site("w.example"), free_port());
    let known = log(1).verifier().vkey();
    configure(&home, "w.example", &with_witness(port, "w.example/witness", &[&known], &[]));
    let key = CosignerKey::parse(home.expect(0, &["witness", "vkey"]).trim()).unwrap();
    let state = home.path(&format!("state/witness/{}", origin_hash("log.example/one")));
    let daemon = home.ready_daemon();
    assert_eq!(add(port, &log(1), b'a', 0, 5).status, 200);
    let answer = add(port, &log(1), b'a', 5, 9);
    assert_eq!(answer.status, 200);
    let stored = fs::read_to_string(&state).unwrap();
    assert!(stored.ends_with(&answer.text()), "what is answered is what is stored");
    assert!(Note::parse(&stored).unwrap().cosigned_by(&key).unwrap().is_some());
    daemon.kill();

    let daemon = home.ready_daemon();
    let conflict = add(port, &log(1), b'a', 5, 9);
    assert_eq!((conflict.status, conflict.text().as_str()), (409, "9\n"));
    assert!(conflict.head.to_lowercase().contains("content-type: text/x.tlog.size"), "{}", conflict.head);
    let fork = add(port, &log(1), b'b', 9, 12);
    assert_eq!((fork.status, add(port, &log(1), b'b', 9, 9).status), (422, 422));
    assert_eq!(add(port, &log(1), b'a', 0, 3).status, 409, "rolled back");
    assert_eq!(add(port, &log(2), b'a', 9, 12).status, 403, "another key of the same name");
    let other = NoteSigner::new("log.example/two".into(), SigningKey::from_bytes(&[1; 32]));
    assert_eq!(add(port, &other, b'a', 0, 3).status, 404);
    assert_eq!(post(port, b"hello").status, 400);
    assert_eq!(post(port, &vec![b'a'; 200_000]).status, 413);
    assert_eq!(fs::read_to_string(&state).unwrap(), stored, "none of that moved it");
    assert_eq!(add(port, &log(1), b'a', 9, 12).status, 200);
    // Whoever wants to know what the witness saw may ask.
    let address = format!("127.0.0.1:{port}");
    let path = format!("GET /witness/{}/checkpoint", origin_hash("log.example/one"));
    let newest = ask(&address, &path, &[], b"").unwrap();
    assert_eq!(newest.body, fs::read(&state).unwrap());
    assert_eq!(ask(&address, "GET /witness/00/checkpoint", &[], b"").unwrap().status, 404);
    // A flood is turned away, and the log behind it comes through later.
    let flood = move || (0..200).any(|_| post(port, b"x").status == 429);
    let floods: Vec<_> = (0..8).map(|_| std::thread::spawn(flood)).collect();
    let turned_away: Vec<bool> = floods.into_iter().map(|flood| flood.join().unwrap()).collect();
    assert!(turned_away.contains(&true));
    wait_for("room again", LONG, || add(port, &log(1), b'a', 12, 12).status == 200);
    assert_eq!(daemon.stop(), 0);
    assert!(home.log().contains("presented another history"), "{}", home.log());

    // A state that this witness did not sign stops the start.
    fs::write(&state, stored.replacen("\n9\n", "\n3\n", 1)).unwrap();
    let output = home.run(&["run", "--once"]);
    let said = common::text(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("is not what this witness stored"), "{said}");
}

// ---------------------------------------------------------------------------------------------------------
// Nothing waits for an anchor

/// Requests that are held: the body, and the connection that waits for an answer.
type Held = Receiver<(Vec<u8>, TcpStream)>;

/// A server that takes requests and holds them: each is announced with its connection, and answered by
/// `answer` once the test lets it go.
fn holding(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> (Server, Held, Sender<()>) {
    let (announce, announced) = channel();
    let (go, gone) = channel::<()>();
    let (announce, gone) = (Mutex::new(announce), Mutex::new(gone));
    let server = Server::start(move |request| {
        let stream = request.stream.try_clone().ok()?;
        announce.lock().unwrap().send((request.body.clone(), stream)).ok()?;
        gone.lock().unwrap().recv().ok()?;
        Some((200, "text/plain; charset=utf-8".to_owned(), answer(&request.body)))
    });
    (server, announced, go)
}

#[test]
fn no_commit_waits_for_an_anchor() {
    let home = site("a.example");
    let dead = Cosigner::new("dead.example/witness".into(), SigningKey::from_bytes(&[4; 32])).public().vkey();
    let witness = Cosigner::new("slow.example/witness".into(), SigningKey::from_bytes(&[3; 32]));
    let key = witness.public().vkey();
    let (slow, requests, let_go) = holding(move |body| witness.sign(&text_in(body), 77).into_bytes());
    let (silent, stamps, _never) = holding(|_| Vec::new());
    let gone = free_port();
    home.write("ca.pem", include_bytes!("data/root.pem"));
    let rest = format!(
        "metrics: \"off\"\nanchors:\n  every: 1s\n  witnesses:\n    - {{ key: \"{key}\", url: \"{}\" }}\n    - {{ key: \
         \"{dead}\", url: \"http://127.0.0.1:{gone}\" }}\n  timestamps:\n    - {{ name: tsa, url: \"{}\", ca_file: \
         ca.pem }}\n",
        slow.url(),
        silent.url()
    );
    configure(&home, "a.example", &rest);
    let daemon = home.ready_daemon();
    stamps.recv_timeout(LONG).unwrap();
    // While one request is held, records are read, committed and signed, twice. (An attempt ends after ten
    // seconds; where the machine took longer than that, the next request is held instead.)
    let mut number = 100;
    let held = loop {
        let (body, stream) = requests.recv_timeout(LONG).unwrap();
        for _ in 0..2 {
            let before = signed(&home);
            grow(&home, number);
            number += 10;
            wait_for("a commit while all anchors hang", LONG, || signed(&home) > before);
        }
        if is_open(&stream) {
            break size_in(&body);
        }
        assert!(number < 400, "no commit came while a request was held");
    };
    assert!(signed(&home) > held && anchored(&home) == 0);
    // Now the answers. What is asked for next is newer than what was held.
    (0..100).for_each(|_| let_go.send(()).unwrap());
    let first = wait_anchored(&home, held);
    let newest = signed(&home);
    assert!(wait_anchored(&home, newest) >= newest && first >= held);
    assert!(
        home.log().contains("not anchored at dead.example/witness: it cannot be reached"),
        "{}",
        home.log()
    );
    assert_eq!(daemon.stop(), 0, "nor does the end wait");
}

/// The text of the checkpoint in an `add-checkpoint`.
fn text_in(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    format!("{}\n", body.split("\n\n").nth(1).unwrap())
}

/// Its size.
fn size_in(body: &[u8]) -> u64 {
    text_in(body).lines().nth(1).unwrap().parse().unwrap()
}

// ---------------------------------------------------------------------------------------------------------
// Time stamps, lines, metrics

#[test]
fn a_real_authority_stamps_checkpoints() {
    if !common::have(&[("openssl", &["version"])]) {
        return;
    }
    let (home, tsa, port) = (site("a.example"), Arc::new(Tsa::new(EC)), free_port());
    let authority = Arc::clone(&tsa);
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let lock = Mutex::new(());
    let server = Server::start(move |request| {
        seen.lock().unwrap().push((request.line.clone(), request.kind.clone()));
        let _one = lock.lock().unwrap();
        Some((200, "application/timestamp-reply".to_owned(), authority.answer(&request.body)))
    });
    fs::write(home.path("ca.pem"), tsa.root()).unwrap();
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    collector.set_read_timeout(Some(LONG)).unwrap();
    let rest = |url: &str| {
        format!(
            "metrics: 127.0.0.1:{port}\nanchors:\n  every: 1s\n  timestamps:\n    - {{ name: tsa, url: \"{url}/stamp\", \
             ca_file: ca.pem }}\n  syslog: {{ address: \"{}\" }}\n",
            collector.local_addr().unwrap()
        )
    };
    configure(&home, "a.example", &rest(&server.url()));
    let older = home.copy();
    let daemon = home.ready_daemon();
    let size = wait_anchored(&home, 1);
    assert_eq!(
        kinds.lock().unwrap()[0],
        ("POST /stamp HTTP/1.1\r\n".into(), "application/timestamp-query".into())
    );
    let (stamped, stamp) = (kept(&home, size, ".stamped"), kept(&home, size, ".tsa.tsr"));
    let verified = tsa.openssl(&[
        "ts",
        "-verify",
        "-data",
        stamped.to_str().unwrap(),
        "-in",
        stamp.to_str().unwrap(),
        "-CAfile",
        "ca.pem",
    ]);
    assert!(verified.contains("Verification: OK"), "{verified}");
    assert_eq!(fs::read(&stamped).unwrap(), fs::read(kept(&home, size, "")).unwrap());
    let page = ask(&format!("127.0.0.1:{port}"), "GET /metrics", &[], b"").unwrap().text();
    let metric = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("crmwarden_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    assert!(metric("anchor_size{target=\"tsa\"}") >= size as f64);
    assert!(metric("anchored_entries") >= size as f64);
    assert!(metric("anchor_timestamp_seconds{target=\"tsa\"}") > 1.6e9);
    assert_eq!(metric("anchor_failures_total{target=\"tsa\"}"), 0.0);
    assert!(metric("anchor_size{target=\"syslog\"}") >= 1.0);

    // The line at the collector is a known head like any other.
    let mut buffer = vec![0; 4096];
    grow(&home, 50);
    wait_for("a line about the newest", LONG, || {
        let length = collector.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        home.write("line", line.as_bytes());
        line.contains(&format!(" a.example/crmwarden/g1 {} ", signed(&home))) && signed(&home) > size
    });
    assert_eq!(daemon.stop(), 0);
    let line = fs::read_to_string(home.path("line")).unwrap();
    assert!(
        line.starts_with("<110>1 20") && line.contains(" crmwarden ") && line.contains(" checkpoint - "),
        "{line}"
    );
    home.expect(0, &["verify", "state", "--known-head", "line"]);
    fs::copy(home.path("line"), older.path("line")).unwrap();
    older.expect(20, &["verify", "state", "--known-head", "line"]);

    // After a restart without the authority it is still known what it stamped.
    configure(&home, "a.example", &rest(&format!("http://127.0.0.1:{}", free_port())));
    let daemon = home.ready_daemon();
    assert!(anchored(&home) >= size);
    assert_eq!(daemon.stop(), 0);
    // A stamp of somebody else is none.
    fs::write(home.path("ca.pem"), Tsa::new(EC).root()).unwrap();
    let daemon = home.ready_daemon();
    assert_eq!(anchored(&home), 0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_single_pass_is_anchored_before_it_ends() {
    let home = site("a.example");
    let witness = Cosigner::new("w.example/witness".into(), SigningKey::from_bytes(&[3; 32]));
    let key = witness.public().vkey();
    let server = Server::start(move |request| {
        Some((200, "text/plain".to_owned(), witness.sign(&text_in(&request.body), 77).into_bytes()))
    });
    let rest = format!(
        "metrics: \"off\"\nanchors:\n  witnesses:\n    - {{ key: \"{key}\", url: \"{}\" }}\n",
        server.url()
    );
    configure(&home, "a.example", &rest);
    grow(&home, 10);
    home.expect(0, &["run", "--once"]);
    let names = fs::read_dir(home.path("state/trail/g1/checkpoints")).unwrap();
    let notes = names.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let cosigned: Vec<u64> = notes
        .filter(|note| note.contains("\u{2014} w.example/witness "))
        .map(|note| note.lines().nth(1).unwrap().parse().unwrap())
        .collect();
    let events = home.of_kind("event").len() as u64;
    let last = home.entries().iter().rposition(|entry| entry["kind"] == "event").unwrap() as u64;
    assert!(events == 6 && cosigned.iter().any(|size| *size > last), "{cosigned:?} {last}");
}

// ---------------------------------------------------------------------------------------------------------
// The trail as a transparency log

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn tlog(home: &Home, port: u16, what: &str) {
    home.write("api.token", format!("{TOKEN}\n").as_bytes());
    fs::set_permissions(home.path("api.token"), fs::Permissions::from_mode(0o600)).unwrap();
    let rest = format!(
        "metrics: \"off\"\nlisten: 127.0.0.1:{port}\ntlog: {what}\nauth: {{ token_file: api.token }}\n"
    );
    configure(home, "a.example", &rest);
}

#[test]
fn the_trail_is_served_to_whoever_has_the_token() {
    let (home, port) = (site("a.example"), free_port());
    let address = format!("127.0.0.1:{port}");
    tlog(&home, port, "hashes");
    let daemon = home.ready_daemon();
    let token = format!("Authorization: Bearer {TOKEN}");
    let get = |path: &str, headers: &[&str]| ask(&address, &format!("GET {path}"), headers, b"").unwrap();
    let note = get("/tlog/checkpoint", &[&token]);
    assert!(
        note.status == 200 && note.head.to_lowercase().contains("content-type: text/plain"),
        "{}",
        note.head
    );
    let text = note.text();
    let checkpoint = Checkpoint::parse(Note::parse(&text).unwrap().text).unwrap();
    assert!(checkpoint.size > 0 && checkpoint.size <= signed(&home));
    // The hash tile is what everybody can compute from the lines.
    let mut leaves = Vec::new();
    home.each_line(&mut |line| leaves.push(leaf_hash(line)));
    let mut memory = Memory::default();
    memory.extend(leaves.iter().copied().take(checkpoint.size as usize));
    assert_eq!(memory.root(), checkpoint.root);
    let width = checkpoint.size;
    assert!(width < 256);
    let tile = get(&format!("/tlog/tile/0/000.p/{width}"), &[&token]);
    let hashes: Vec<Hash> = tile.body.as_chunks::<32>().0.iter().copied().map(Hash).collect();
    assert!(tile.status == 200 && hashes[..] == leaves[..width as usize], "{}", tile.head);
    let bundle = format!("/tlog/tile/entries/000.p/{width}");
    for (path, headers, status) in [
        ("/tlog/checkpoint", &[][..], 401),
        ("/tlog/checkpoint", &["Authorization: Bearer 0123456789abcdef0123456789abcdee"], 401),
        ("/tlog/checkpoint", &["Authorization: Bearer 0123456789abcdef"], 401),
        ("/tlog/checkpoint", &["Authorization: Basic 0123456789abcdef0123456789abcdef"], 401),
        ("/tlog/checkpoint", &[&token, &token], 401),
        ("/tlog/checkpoint", &[&token, "Host: evil.example"], 421),
        ("/tlog/tile/0/000.p/1", &[], 401),
        (&bundle, &[&token], 404),
        ("/tlog/tile/0/001", &[&token], 404),
        ("/tlog/tile/0/0", &[&token], 404),
        ("/tlog/tile/../../checkpoint", &[&token], 404),
        ("/tlog/tile/%2e%2e/%2e%2e/checkpoint", &[&token], 404),
        ("/tlog/", &[&token], 404),
        ("/", &[&token], 404),
        ("/witness/add-checkpoint", &[&token], 404),
    ] {
        let answer = get(path, headers);
        assert_eq!(answer.status, status, "{path} {headers:?}");
        let head = answer.head.to_lowercase();
        assert!(head.contains("connection: close") && head.contains("cache-control: no-store"), "{head}");
    }
    assert_eq!(ask(&address, "POST /tlog/checkpoint", &[&token], b"").unwrap().status, 405);
    assert_eq!(daemon.stop(), 0);

    tlog(&home, port, "entries");
    let daemon = home.ready_daemon();
    let bundle = get(&bundle, &[&token]);
    let mut lines = Vec::new();
    home.each_line(&mut |line| lines.push(line.to_vec()));
    let expected: Vec<u8> = lines[..width as usize]
        .iter()
        .flat_map(|line| [&(line.len() as u16).to_be_bytes()[..], line].concat())
        .collect();
    assert!(bundle.status == 200 && bundle.body == expected, "{}", bundle.head);
    assert_eq!(daemon.stop(), 0);
}

// ---------------------------------------------------------------------------------------------------------
// Configuration

#[test]
fn combinations_that_cannot_work_are_refused() {
    let home = site("a.example");
    home.write("api.token", TOKEN.as_bytes());
    home.write("open.token", TOKEN.as_bytes());
    home.write("short.token", b"0123456789abcde");
    for name in ["api.token", "short.token"] {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(home.path("open.token"), fs::Permissions::from_mode(0o644)).unwrap();
    home.write("ca.pem", include_bytes!("data/root.pem"));
    home.write("no.pem", b"nothing\n");
    let (own, foreign) = (log_key(&home), log(1).verifier().vkey());
    let witness = Cosigner::new("w.example/witness".into(), SigningKey::from_bytes(&[3; 32])).public().vkey();
    let anchors = |text: &str| format!("anchors: {{ {text} }}\n");
    let url = "url: \"http://127.0.0.1:1\"";
    let listen = "listen: 127.0.0.1:7464\n";
    let auth = "auth: { token_file: api.token }\n";
    let role = |text: &str| format!("{listen}witness: {{ name: own.example/witness, {text} }}\n");
    let good = [
        anchors(&format!("every: 10m, witnesses: [{{ key: \"{witness}\", {url} }}]")),
        anchors(&format!(
            "timestamps: [{{ name: tsa, {url}, ca_file: ca.pem }}], syslog: {{ address: \"[::1]:514\" }}"
        )),
        format!("{listen}tlog: hashes\n{auth}"),
        role(&format!("logs: [{{ key: \"{foreign}\", url: \"\" }}]")),
        format!("{listen}tlog: \"off\"\n"),
    ];
    for rest in &good {
        configure(&home, "a.example", rest);
        home.expect(0, &["check"]);
    }
    let faults = [
        (anchors("every: 0s"), "`every:` is not a duration"),
        (anchors("every: 25h"), "`every:` is not a duration"),
        (anchors("witness: []"), "unknown key `witness` (did you mean `witnesses`?)"),
        (anchors(&format!("witnesses: [{{ key: nonsense, {url} }}]")), "not the verifier key of a witness"),
        (
            anchors(&format!("witnesses: [{{ key: \"{foreign}\", {url} }}]")),
            "the key of a log, not of a witness",
        ),
        (
            anchors(&format!("witnesses: [{{ key: \"{witness}\", url: \"ftp://w.example\" }}]")),
            "is not an http:",
        ),
        (
            anchors(&format!("witnesses: [{{ key: \"{witness}\", url: \"http://u:secret@w.example\" }}]")),
            "a password",
        ),
        (
            anchors(&format!(
                "witnesses: [{{ key: \"{witness}\", {url} }}, {{ key: \"{witness}\", {url} }}]"
            )),
            "another anchor named `w.example/witness`",
        ),
        (
            anchors(&format!("timestamps: [{{ name: syslog, {url}, ca_file: ca.pem }}]")),
            "another anchor named `syslog`",
        ),
        (
            anchors(&format!("timestamps: [{{ name: \"a/b\", {url}, ca_file: ca.pem }}]")),
            "name is 1 to 64 letters",
        ),
        (
            anchors(&format!("timestamps: [{{ name: tsa, {url}, ca_file: none.pem }}]")),
            "none.pem does not exist",
        ),
        (
            anchors(&format!("timestamps: [{{ name: tsa, {url}, ca_file: no.pem }}]")),
            "no.pem holds no certificate",
        ),
        (anchors("syslog: { address: \"127.0.0.1\" }"), "not a host with a port"),
        (format!("tlog: hashes\n{auth}"), "`tlog:` is served on `listen:`, which is off"),
        (format!("{listen}tlog: hashes\n"), "`tlog:` needs `auth:`"),
        (format!("{listen}tlog: all\n{auth}"), "unknown word for `tlog:`"),
        (
            format!("{listen}tlog: hashes\nauth: {{ token_file: none.token }}\n"),
            "none.token: entity not found",
        ),
        (format!("{listen}tlog: hashes\nauth: {{ token_file: open.token }}\n"), "chmod 0600"),
        (format!("{listen}tlog: hashes\nauth: {{ token_file: short.token }}\n"), "a token is 16 to 512"),
        (format!("listen: 192.0.2.1:7464\ntlog: hashes\n{auth}"), "put a TLS proxy before it"),
        (format!("{listen}metrics: 127.0.0.1:7464\ntlog: hashes\n{auth}"), "the same address"),
        (
            format!("witness: {{ name: own.example/witness, logs: [{{ key: \"{foreign}\" }}] }}\n"),
            "`witness:` is served on `listen:`, which is off",
        ),
        (role("logs: []"), "nothing to do"),
        (role(&format!("logs: [{{ key: \"{own}\" }}]")), "cannot be its own witness"),
        (role(&format!("logs: [{{ key: \"{witness}\" }}]")), "not the verifier key of a log"),
        (role(&format!("logs: [{{ key: \"{foreign}\", url: \"http://x.example\" }}]")), "has no use here"),
        (role(&format!("logs: [{{ key: \"{foreign}\" }}, {{ key: \"{foreign}\" }}]")), "another log named"),
        (
            format!("{listen}witness: {{ name: \"a b\", logs: [{{ key: \"{foreign}\" }}] }}\n"),
            "a witness's name is 1 to 255",
        ),
    ];
    for (rest, part) in faults {
        configure(&home, "a.example", &rest);
        let output = home.run(&["check"]);
        let said = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{rest}: {said}");
        assert!(said.contains(part) && !said.contains("secret"), "{rest}: {said}");
    }
    configure(&home, "a.example", listen);
    let output = home.run(&["check"]);
    let said = common::text(&output.stderr);
    assert!(output.status.success() && said.contains("serves nothing"), "{said}");
    configure(&home, "a.example", "metrics: \"off\"\n");
    assert_eq!(home.run(&["witness", "vkey"]).status.code(), Some(2));
}
