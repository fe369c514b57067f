//! RFC 3161 against the authority of openssl: what it answers to our requests counts, here and for openssl
//! itself, and nothing else does.
//!
//! Without openssl the tests say so and pass, unless CRMWARDEN_REQUIRE_ALL=1.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::tsa::{EC, RSA, STAMPS, Tsa};
use crmwarden::trail::timestamp::{Authorities, Stamp, StampError, der, request, verify};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

const NOTE: &[u8] = b"acme.example/crmwarden/g1\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
const NONCE: [u8; 16] = [0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn there() -> bool {
    common::have(&[("openssl", &["version"])])
}

fn authorities(tsa: &Tsa) -> Authorities {
    Authorities::parse(&tsa.root()).unwrap()
}

#[test]
fn both_kinds_of_keys_and_openssl_agrees() {
    if !there() {
        return;
    }
    // The certificate named by SHA-256, by another digest, and in the old form by SHA-1.
    for (key, ess) in [(RSA, "sha256"), (EC, "sha256"), (EC, "sha512"), (RSA, "sha1")] {
        let tsa = Tsa::with(key, "sha256", ess);
        let response = tsa.answer(&request(NOTE, &NONCE));
        let stamp = verify(&response, NOTE, Some(&NONCE), &authorities(&tsa)).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((stamp.time.seconds() - now).abs() < 120, "{stamp:?}");
        assert_eq!(stamp.serial, "02");
        assert_eq!(verify(&response, NOTE, None, &authorities(&tsa)), Ok(stamp));
        fs::write(tsa.path("note"), NOTE).unwrap();
        let by_openssl = ["ts", "-verify", "-data", "note", "-in", "response.tsr", "-CAfile", "ca.pem"];
        assert!(tsa.openssl(&by_openssl).contains("Verification: OK"));
        let by_query =
            ["ts", "-verify", "-queryfile", "request.tsq", "-in", "response.tsr", "-CAfile", "ca.pem"];
        assert!(tsa.openssl(&by_query).contains("Verification: OK"));
    }
}

#[test]
fn other_bytes_other_nonces_and_other_authorities() {
    if !there() {
        return;
    }
    let (tsa, other) = (Tsa::new(EC), Tsa::new(EC));
    let response = tsa.answer(&request(NOTE, &NONCE));
    let own = authorities(&tsa);
    assert_eq!(verify(&response, &NOTE[1..], Some(&NONCE), &own), Err(StampError::OtherBytes));
    assert_eq!(verify(&response, NOTE, Some(&[7; 16]), &own), Err(StampError::OtherNonce));
    let foreign = verify(&response, NOTE, Some(&NONCE), &authorities(&other)).unwrap_err();
    assert!(matches!(foreign, StampError::Untrusted(_)), "{foreign}");
    let both = [tsa.root(), other.root()].concat();
    assert!(verify(&response, NOTE, None, &Authorities::parse(&both).unwrap()).is_ok());
    // An authority that takes no SHA-256 refuses, and says so.
    let strict = Tsa::with(EC, "sha512", "sha256");
    let refusal = strict.answer(&request(NOTE, &NONCE));
    let refused = verify(&refusal, NOTE, Some(&NONCE), &authorities(&strict)).unwrap_err();
    assert_eq!(refused, StampError::Refused(2, "badAlg"));
}

/// A response around `token`.
fn granting(token: &[u8]) -> Vec<u8> {
    let mut status = Vec::new();
    der::write(&mut status, der::INTEGER, &[0]);
    let mut body = Vec::new();
    der::write(&mut body, der::SEQUENCE, &status);
    body.extend_from_slice(token);
    let mut response = Vec::new();
    der::write(&mut response, der::SEQUENCE, &body);
    response
}

#[test]
fn only_a_certificate_for_stamps_alone_may_sign() {
    if !there() {
        return;
    }
    let tsa = Tsa::new(EC);
    tsa.answer(&request(NOTE, &NONCE));
    // The TSTInfo of a real stamp, signed again with certificates that differ in their purpose only.
    tsa.openssl(&["ts", "-reply", "-in", "response.tsr", "-token_out", "-out", "token"]);
    tsa.openssl(&["cms", "-verify", "-noverify", "-inform", "DER", "-in", "token", "-out", "info"]);
    let signed = |name: &str, extensions: &str, arguments: &[&str]| {
        tsa.certificate(name, EC, extensions);
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let sign = [
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-in",
            "info",
            "-outform",
            "DER",
            "-out",
            "again",
            "-md",
            "sha256",
            "-econtent_type",
            "1.2.840.113549.1.9.16.1.4",
            "-signer",
            &pem,
            "-inkey",
            &key,
        ];
        tsa.openssl(&[&sign[..], arguments].concat());
        verify(&granting(&tsa.read("again")), NOTE, Some(&NONCE), &authorities(&tsa))
    };
    assert!(signed("good", STAMPS, &["-cades"]).is_ok());
    let untrusted = |result: Result<Stamp, StampError>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, StampError::Untrusted(_)), "{error}");
    };
    untrusted(signed("none", "", &["-cades"]));
    untrusted(signed("server", "extendedKeyUsage=critical,serverAuth\n", &["-cades"]));
    untrusted(signed("two", "extendedKeyUsage=critical,timeStamping,serverAuth\n", &["-cades"]));
    untrusted(signed("soft", "extendedKeyUsage=timeStamping\n", &["-cades"]));
    let usage = "keyUsage=critical,keyEncipherment\nextendedKeyUsage=critical,timeStamping\n";
    untrusted(signed("usage", usage, &["-cades"]));
    // Without the attribute that names the certificate, and without the certificate.
    assert!(matches!(signed("unnamed", STAMPS, &[]), Err(StampError::BadSignature(_))));
    assert!(matches!(signed("absent", STAMPS, &["-cades", "-nocerts"]), Err(StampError::BadSignature(_))));
    // Signed attributes are required: without them the signature is over the content itself.
    assert!(matches!(signed("bare", STAMPS, &["-noattr"]), Err(StampError::Malformed(_))));
    // A certificate that was not valid at the time of the stamp.
    let late =
        ["x509", "-req", "-in", "good.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "-1", "-extfile"];
    fs::write(tsa.path("extensions"), STAMPS).unwrap();
    tsa.openssl(&[&late[..], &["extensions", "-out", "late.pem"]].concat());
    fs::copy(tsa.path("good.key"), tsa.path("late.key")).unwrap();
    tsa.openssl(&[
        "cms",
        "-sign",
        "-binary",
        "-nodetach",
        "-in",
        "info",
        "-outform",
        "DER",
        "-out",
        "again",
        "-md",
        "sha256",
        "-econtent_type",
        "1.2.840.113549.1.9.16.1.4",
        "-signer",
        "late.pem",
        "-inkey",
        "late.key",
        "-cades",
    ]);
    untrusted(verify(&granting(&tsa.read("again")), NOTE, Some(&NONCE), &authorities(&tsa)));
}

/// Every bit: either the response is refused, or (bits that nobody signs) it says the same as before.
#[test]
fn no_flipped_bit_changes_what_a_response_says() {
    if !there() {
        return;
    }
    let tsa = Tsa::new(EC);
    let response = tsa.answer(&request(NOTE, &NONCE));
    let own = authorities(&tsa);
    let stamp = verify(&response, NOTE, None, &own).unwrap();
    let mut refused = 0;
    for place in 0..response.len() {
        for bit in 0..8 {
            let mut flipped = response.clone();
            flipped[place] ^= 1 << bit;
            match verify(&flipped, NOTE, None, &own) {
                Err(_) => refused += 1,
                Ok(other) => assert_eq!(other, stamp, "byte {place} bit {bit}"),
            }
        }
    }
    // What nobody signs is little: the root's certificate in the response, and versions.
    assert!(refused * 3 > response.len() * 8, "{refused} of {}", response.len() * 8);
    for cut in 0..response.len() {
        assert!(verify(&response[..cut], NOTE, None, &own).is_err(), "cut at {cut}");
    }
    assert!(verify(&[&response[..], &[0]].concat(), NOTE, None, &own).is_err());
}
