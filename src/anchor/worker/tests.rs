//! The conversation with a witness, against the real one without its network, and the life of a task.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trail::note::{Checkpoint, Cosigner, Note, NoteSigner, sign};
use crate::trail::proof::{Memory, consistency};
use crate::trail::tree::leaf_hash;
use crate::trail::witness::Witness;
use ed25519_dalek::SigningKey;
use std::sync::Mutex;
use std::sync::mpsc;

const ORIGIN: &str = "acme.example/crmwarden/g1";

fn log() -> NoteSigner {
    NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[1; 32]))
}

fn cosigner() -> Cosigner {
    Cosigner::new("site-b.example/witness".into(), SigningKey::from_bytes(&[2; 32]))
}

fn witness_of(key: &NoteSigner) -> Mutex<Witness> {
    Mutex::new(Witness::new(cosigner(), [key.verifier()]))
}

/// A trail of entries of one kind: other kinds fork from the first entry on.
fn tree(kind: u8, size: u64) -> Memory {
    let mut tree = Memory::default();
    tree.extend((0..size).map(|index| leaf_hash(&[&[kind][..], &index.to_be_bytes()].concat())));
    tree
}

fn head(kind: u8, size: u64) -> Head {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: tree(kind, size).root() };
    Head { size, note: sign(&checkpoint.text(), &[&log()]).into() }
}

fn prover(kind: u8) -> Prover {
    Arc::new(move |old, new| consistency(&mut tree(kind, new), old, new).ok())
}

/// Asks, and says how many requests that took.
async fn ask(witness: &Mutex<Witness>, kind: u8, size: u64, seen: &mut u64) -> (Result<Proof, Fault>, usize) {
    let requests = Mutex::new(0);
    let post = |body: Vec<u8>| {
        *requests.lock().unwrap() += 1;
        let answer = witness.lock().unwrap().add_checkpoint(&body, 77, &mut |_, _| Ok(()));
        let kind = answer.content_type.to_owned();
        async move { Ok(Answer { status: answer.status, kind, body: answer.body.into_bytes() }) }
    };
    let asked = ask_witness(post, &cosigner().public(), &head(kind, size), seen, &prover(kind)).await;
    (asked, *requests.lock().unwrap())
}

#[tokio::test]
async fn a_witness_is_asked_from_where_it_is() {
    let (witness, mut seen) = (witness_of(&log()), 0);
    let (proof, requests) = ask(&witness, b'a', 5, &mut seen).await;
    let Ok(Proof::Cosignature(line, time)) = proof else { panic!("{proof:?}") };
    assert_eq!((requests, seen, time), (1, 5, Time::from_seconds(77)));
    let whole = format!("{}{line}\n", head(b'a', 5).note);
    assert_eq!(Note::parse(&whole).unwrap().cosigned_by(&cosigner().public()), Ok(Some(77)));
    assert_eq!(ask(&witness, b'a', 9, &mut seen).await.1, 1);
    // After a restart nothing is remembered on this side: one more request.
    seen = 0;
    let (proof, requests) = ask(&witness, b'a', 12, &mut seen).await;
    assert!(matches!(proof, Ok(Proof::Cosignature(..))) && requests == 2 && seen == 12, "{proof:?}");
    // The same head again is cosigned again.
    seen = 0;
    let (proof, requests) = ask(&witness, b'a', 12, &mut seen).await;
    assert!(matches!(proof, Ok(Proof::Cosignature(..))) && requests == 2, "{proof:?}");
}

#[tokio::test]
async fn a_rollback_and_a_fork_are_told_from_trouble() {
    let (witness, mut seen) = (witness_of(&log()), 0);
    ask(&witness, b'a', 20, &mut seen).await.0.unwrap();
    for size in [7, 19] {
        let (answer, _) = ask(&witness, b'a', size, &mut 0).await;
        assert_eq!(answer, Err(Fault::Ahead(20)));
        assert!(answer.is_err_and(|fault| fault.contradicts()));
    }
    for size in [20, 21, 300] {
        let (answer, _) = ask(&witness, b'b', size, &mut 0).await;
        assert_eq!(answer, Err(Fault::Contradicts), "{size}");
    }
    // After all that the true trail goes on.
    ask(&witness, b'a', 21, &mut seen).await.0.unwrap();

    let other = NoteSigner::new(ORIGIN.into(), SigningKey::from_bytes(&[9; 32]));
    assert_eq!(ask(&witness_of(&other), b'a', 3, &mut 0).await.0, Err(Fault::Refused));
    let stranger = NoteSigner::new("other.example/log".into(), SigningKey::from_bytes(&[1; 32]));
    assert_eq!(ask(&witness_of(&stranger), b'a', 3, &mut 0).await.0, Err(Fault::UnknownLog));
}

/// What an answer of a server that is no such witness comes to.
async fn answered(status: u16, kind: &str, body: &str) -> Fault {
    let post = |_: Vec<u8>| async { Ok(Answer { status, kind: kind.to_owned(), body: body.into() }) };
    let key = cosigner().public();
    ask_witness(post, &key, &head(b'a', 3), &mut 0, &prover(b'a')).await.unwrap_err()
}

#[tokio::test]
async fn answers_of_servers_that_are_none() {
    let other = Cosigner::new("site-b.example/witness".into(), SigningKey::from_bytes(&[3; 32]));
    let stranger = other.sign(&head(b'a', 3).note[..10], 7);
    let wrong = cosigner().sign("another text\n", 7);
    for body in ["", "hello\n", &stranger, &wrong, &format!("\n{wrong}"), "\u{2014} a b\n"] {
        assert!(matches!(answered(200, "text/plain", body).await, Fault::Answer(_)), "{body}");
    }
    let size = "text/x.tlog.size";
    assert_eq!(answered(409, size, "9\n").await, Fault::Ahead(9));
    assert_eq!(answered(409, size, &format!("{}\n", u64::MAX)).await, Fault::Ahead(u64::MAX));
    // A witness that never agrees with itself is asked so often and no more.
    assert!(matches!(answered(409, size, "0\n").await, Fault::Answer(_)));
    assert!(matches!(answered(409, "text/plain", "2\n").await, Fault::Status(409)));
    assert_eq!(answered(302, "", "").await, Fault::Status(302));
    for status in [200, 400, 409, 500] {
        let fault = answered(status, "text/html", "<card 4111111111111111>").await;
        assert!(!format!("{fault} {fault:?}").contains("4111"), "a server's words are not repeated");
    }
}

#[tokio::test]
async fn a_task_takes_the_newest_and_ends_with_the_writer() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let target = Target { name: "syslog".into(), kind: Kind::Syslog { address } };
    let tools = Tools { client: Client::new().unwrap(), prover: prover(b'a'), host: "audit1".into() };
    let (offer, heads) = watch::channel(None);
    let (results, reports) = mpsc::channel();
    // Two before the task first looks: only the newer one is sent.
    offer.send_replace(Some(head(b'a', 3)));
    offer.send_replace(Some(head(b'a', 4)));
    let task = spawn(target, tools, &Handle::current(), heads, results);
    let mut buffer = vec![0; 4096];
    for size in [4, 9] {
        offer.send_replace(Some(head(b'a', size)));
        let length = socket.recv(&mut buffer).await.unwrap();
        let sent = String::from_utf8(buffer[..length].to_vec()).unwrap();
        assert_eq!(line::note_of(&sent).as_deref(), Some(&*head(b'a', size).note), "{sent}");
    }
    drop(offer);
    task.await.unwrap();
    let got: Vec<_> = reports.iter().map(|report| (report.head.size, report.result)).collect();
    assert_eq!(got, [(4, Ok(Proof::Sent)), (9, Ok(Proof::Sent))]);
}

/// A target that is down is asked later, and the end of the writer ends the wait at once.
#[tokio::test]
async fn a_task_that_waits_ends_with_the_writer() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = super::super::http::Url::parse(&format!("http://{gone}")).unwrap();
    let target = Target { name: "w".into(), kind: Kind::Witness { key: cosigner().public(), url } };
    let tools = Tools { client: Client::new().unwrap(), prover: prover(b'a'), host: String::new() };
    let (offer, heads) = watch::channel(Some(head(b'a', 3)));
    let (results, reports) = mpsc::channel();
    let task = spawn(target, tools, &Handle::current(), heads, results);
    let first = tokio::task::spawn_blocking(move || reports.recv().map(|report| (report, reports)));
    let (report, _reports) = first.await.unwrap().unwrap();
    assert_eq!(report.result, Err(Fault::Unreachable));
    drop(offer);
    task.await.unwrap();
}
