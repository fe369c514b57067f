//! Minisign signatures over report files, as `minisign -V` reads them (minisign 0.11, its manual's section
//! SIGNATURE FORMAT).
//!
//! ```text
//! report.json.minisig:                                   public key:
//!   untrusted comment: <text>                              untrusted comment: <text>
//!   base64("ED" id(8) signature(64))                       base64("Ed" id(8) key(32))
//!   trusted comment: log:<origin> TAB size:<N>
//!   base64(signature(64) over signature and comment)
//! ```
//!
//! `ED` is the prehashed form: the first signature is over the BLAKE2b-512 of the file. The second one is over the
//! first one's 64 bytes and the trusted comment, so the trail's head that a report was read from is signed twice:
//! inside the report, and where a person sees it when they verify.
//!
//! The key is the report's, the same as for SSH signatures. Neither can be taken for the other: what an SSH
//! signature signs begins with `SSHSIG` and is longer than the 64 bytes of a digest, and the second signature here is
//! over bytes that begin with a signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

/// Signs a file's bytes and names the trail's head; the result is the text of a `.minisig` file.
pub fn sign(key: &SigningKey, file: &[u8], origin: &str, size: u64) -> String {
    let signature = key.sign(&Blake2b512::digest(file)).to_bytes();
    let comment = trusted_comment(origin, size);
    let mut covered = signature.to_vec();
    covered.extend_from_slice(comment.as_bytes());
    let public = key.verifying_key();
    format!(
        "untrusted comment: signature of the report key {}\n{}\ntrusted comment: {comment}\n{}\n",
        shown_id(&public),
        STANDARD.encode([b"ED", &key_id(&public)[..], &signature].concat()),
        STANDARD.encode(key.sign(&covered).to_bytes()),
    )
}

/// What the trusted comment of a report says: `log:<origin>`, a tab, `size:<entries>`.
pub fn trusted_comment(origin: &str, size: u64) -> String {
    format!("log:{origin}\tsize:{size}")
}

/// The public key's file for `minisign -p`: two lines.
pub fn public_key_file(key: &VerifyingKey) -> String {
    format!("untrusted comment: minisign public key {}\n{}\n", shown_id(key), public_key(key))
}

/// The public key as `minisign -P` takes it.
pub fn public_key(key: &VerifyingKey) -> String {
    STANDARD.encode([b"Ed", &key_id(key)[..], key.as_bytes()].concat())
}

/// Minisign makes ids at random. Ours follow from the key, so that the same key always has the same: the first 8
/// bytes of its SHA-256.
fn key_id(key: &VerifyingKey) -> [u8; 8] {
    let digest: [u8; 32] = sha2::Sha256::digest(key.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

/// An id as minisign shows it: a little-endian number in hexadecimal.
fn shown_id(key: &VerifyingKey) -> String {
    format!("{:016X}", u64::from_le_bytes(key_id(key)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::process::Command;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    /// Exit code and output of `minisign -V`.
    fn minisign(folder: &std::path::Path, public: &str) -> (bool, String) {
        let output = Command::new("minisign")
            .args(["-V", "-P", public, "-m", "report.json"])
            .current_dir(folder)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn minisign_verifies_and_refuses() {
        if Command::new("minisign").arg("-v").output().is_err() {
            assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").as_deref() != Ok("1"), "minisign is required");
            println!("skipped: no minisign on this machine");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let (ours, other) = (key().verifying_key(), SigningKey::from_bytes(&[8; 32]).verifying_key());
        let signature = sign(&key(), b"{}\n", "acme.example/crmwarden/g1", 441);
        assert_eq!(signature, sign(&key(), b"{}\n", "acme.example/crmwarden/g1", 441));
        write("report.json", "{}\n");
        write("report.json.minisig", &signature);
        let (good, said) = minisign(folder.path(), &public_key(&ours));
        assert!(good && said.contains("log:acme.example/crmwarden/g1\tsize:441"), "{said}");
        assert!(!minisign(folder.path(), &public_key(&other)).0, "another key");
        // The file of the public key, and the id that minisign finds in the signature.
        write("minisign.pub", &public_key_file(&ours));
        let status = Command::new("minisign")
            .args(["-V", "-q", "-p", "minisign.pub", "-m", "report.json"])
            .current_dir(folder.path())
            .status();
        assert!(status.unwrap().success());

        write("report.json", "{} \n");
        assert!(!minisign(folder.path(), &public_key(&ours)).0, "another file");
        write("report.json", "{}\n");
        write("report.json.minisig", &signature.replace("size:441", "size:442"));
        assert!(!minisign(folder.path(), &public_key(&ours)).0, "another trusted comment");
    }

    #[test]
    fn an_id_follows_from_its_key() {
        let (ours, other) = (key().verifying_key(), SigningKey::from_bytes(&[8; 32]).verifying_key());
        assert_ne!(key_id(&ours), key_id(&other));
        let data = STANDARD.decode(public_key(&ours)).unwrap();
        assert_eq!(data[..2], *b"Ed");
        assert_eq!(data[2..10], sha2::Sha256::digest(ours.as_bytes())[..8]);
        assert_eq!(data[10..], *ours.as_bytes());
        let file = public_key_file(&ours);
        assert_eq!(file.lines().nth(1), Some(public_key(&ours).as_str()));
        assert_eq!(file.lines().count(), 2);
    }
}
