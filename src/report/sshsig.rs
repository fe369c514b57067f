//! SSH signatures over report files, as `ssh-keygen -Y verify` reads them.
//!
//! Format (OpenSSH `PROTOCOL.sshsig`), where `str(x)` is a big-endian u32 length and the bytes:
//!
//! ```text
//! blob   = "SSHSIG" u32(1) str(public key) str(namespace) str("") str("sha512") str(signature)
//! public = str("ssh-ed25519") str(32 bytes)
//! signature = str("ssh-ed25519") str(64 bytes)
//! signed = "SSHSIG" str(namespace) str("") str("sha512") str(SHA-512 of the file)
//! ```
//!
//! The blob is armoured in base64, 70 characters a line. Ed25519 signatures are deterministic (RFC 8032), so
//! the same report gives the same signature bytes.

use crate::model::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};

/// The namespace of report signatures: a signature made for something else never verifies as one.
pub const NAMESPACE: &str = "crmwarden-report";

const MAGIC: &[u8] = b"SSHSIG";
const KEY_TYPE: &[u8] = b"ssh-ed25519";
const HASH: &[u8] = b"sha512";
/// Characters per line of the armour.
const LINE: usize = 70;

/// Signs a file's bytes under [`NAMESPACE`]; the result is the text of a `.sig` file.
pub fn sign(key: &SigningKey, file: &[u8]) -> String {
    let mut blob = blob_head(&key.verifying_key());
    blob.extend_from_slice(&key.sign(&signed_data(file)).to_bytes());
    armour(&blob)
}

/// The public key as one line of an `authorized_keys` file: `ssh-ed25519 AAAA… comment`.
pub fn public_key_line(key: &VerifyingKey, comment: &str) -> String {
    let encoded = STANDARD.encode(public_blob(key));
    match comment {
        "" => format!("ssh-ed25519 {encoded}"),
        _ => format!("ssh-ed25519 {encoded} {comment}"),
    }
}

/// The key in such a line; a comment after it is allowed.
pub fn parse_public_key_line(line: &str) -> Option<VerifyingKey> {
    let mut words = line.split(' ');
    if words.next() != Some("ssh-ed25519") {
        return None;
    }
    let blob = STANDARD.decode(words.next()?).ok()?;
    let (_, key) = blob.split_last_chunk::<32>()?;
    let key = VerifyingKey::from_bytes(key).ok()?;
    (blob == public_blob(&key)).then_some(key)
}

/// The line of an `allowed_signers` file (`ssh-keygen(1)`, ALLOWED SIGNERS) that admits this key for
/// reports of one deployment, from the second on in which its trail began, and for nothing else.
pub fn allowed_signer_line(key: &VerifyingKey, deployment: &str, began: Time) -> String {
    let second = began.to_string();
    let digits: String = second.chars().take(19).filter(char::is_ascii_digit).collect();
    format!("{deployment} namespaces=\"{NAMESPACE}\",valid-after=\"{digits}Z\" {}", public_key_line(key, ""))
}

/// The key's fingerprint as `ssh-keygen -l` prints it: `SHA256:…`, base64 without padding.
pub fn fingerprint(key: &VerifyingKey) -> String {
    let digest = sha2::Sha256::digest(public_blob(key));
    format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest))
}

/// Whether a `.sig` file of ours holds for a file under a key. Only the form that [`sign`] writes is read.
pub fn verify(key: &VerifyingKey, file: &[u8], signature: &str) -> bool {
    let body: String = signature.lines().filter(|line| !line.starts_with("-----")).collect();
    let Ok(blob) = STANDARD.decode(body) else { return false };
    let Some((head, signature)) = blob.split_last_chunk::<64>() else { return false };
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    head == blob_head(key) && key.verify_strict(&signed_data(file), &signature).is_ok()
}

fn signed_data(file: &[u8]) -> Vec<u8> {
    let mut data = Vec::from(MAGIC);
    push(&mut data, NAMESPACE.as_bytes());
    push(&mut data, b"");
    push(&mut data, HASH);
    push(&mut data, &Sha512::digest(file));
    data
}

/// Everything of the blob before the 64 bytes of the signature, which end it.
fn blob_head(key: &VerifyingKey) -> Vec<u8> {
    let mut blob = Vec::from(MAGIC);
    blob.extend_from_slice(&1u32.to_be_bytes());
    push(&mut blob, &public_blob(key));
    push(&mut blob, NAMESPACE.as_bytes());
    push(&mut blob, b"");
    push(&mut blob, HASH);
    let framed = 4 + KEY_TYPE.len() + 4 + 64;
    blob.extend_from_slice(&u32::try_from(framed).unwrap_or(u32::MAX).to_be_bytes());
    push(&mut blob, KEY_TYPE);
    blob.extend_from_slice(&64u32.to_be_bytes());
    blob
}

fn public_blob(key: &VerifyingKey) -> Vec<u8> {
    let mut blob = Vec::new();
    push(&mut blob, KEY_TYPE);
    push(&mut blob, key.as_bytes());
    blob
}

/// Appends `str(bytes)`. Everything framed here is shorter than a hundred bytes.
fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn armour(blob: &[u8]) -> String {
    let encoded = STANDARD.encode(blob);
    let mut text = String::from("-----BEGIN SSH SIGNATURE-----\n");
    for line in encoded.as_bytes().chunks(LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END SSH SIGNATURE-----\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn the_signature_covers_the_signed_data() {
        let data = signed_data(b"report\n");
        let signature = key().sign(&data);
        assert!(key().verifying_key().verify_strict(&data, &signature).is_ok());
        assert!(key().verifying_key().verify_strict(&signed_data(b"report"), &signature).is_err());
        let text = sign(&key(), b"report\n");
        assert!(text.lines().all(|line| line.len() <= LINE));
        assert_eq!(text, sign(&key(), b"report\n"));
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert!(verify(&key().verifying_key(), b"report\n", &text));
        assert!(!verify(&key().verifying_key(), b"report", &text) && !verify(&other, b"report\n", &text));
        assert!(!verify(&other, b"", "") && !verify(&other, b"", "AAAA"));
        for comment in ["", "acme.example"] {
            assert_eq!(parse_public_key_line(&public_key_line(&other, comment)), Some(other));
        }
        for line in ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ?"] {
            assert_eq!(parse_public_key_line(line), None, "{line}");
        }
    }

    fn ssh_keygen_accepts(folder: &std::path::Path, principal: &str, file: &[u8]) -> bool {
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-f", "allowed_signers", "-I", principal, "-n", NAMESPACE])
            .args(["-s", "report.json.sig"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(file).unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn ssh_keygen_verifies_and_refuses() {
        if Command::new("ssh-keygen").arg("-?").output().is_err() {
            assert!(std::env::var("CRMWARDEN_REQUIRE_ALL").as_deref() != Ok("1"), "ssh-keygen is required");
            println!("skipped: no ssh-keygen on this machine");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let began = Time::parse("2026-09-21T14:13:20.9Z").unwrap();
        let signer = allowed_signer_line(&key().verifying_key(), "acme.example", began);
        assert!(signer.contains(",valid-after=\"20260921141320Z\" ssh-ed25519 "), "{signer}");
        std::fs::write(folder.path().join("allowed_signers"), format!("{signer}\n")).unwrap();
        std::fs::write(folder.path().join("report.json.sig"), sign(&key(), b"{}\n")).unwrap();
        assert!(ssh_keygen_accepts(folder.path(), "acme.example", b"{}\n"));
        assert!(!ssh_keygen_accepts(folder.path(), "acme.example", b"{} \n"));
        assert!(!ssh_keygen_accepts(folder.path(), "other.example", b"{}\n"));
        let later = Time::parse("2099-01-01T00:00:00Z").unwrap();
        let signer = allowed_signer_line(&key().verifying_key(), "acme.example", later);
        std::fs::write(folder.path().join("allowed_signers"), format!("{signer}\n")).unwrap();
        assert!(!ssh_keygen_accepts(folder.path(), "acme.example", b"{}\n"), "before the trail began");

        std::fs::write(folder.path().join("key.pub"), public_key_line(&key().verifying_key(), "c")).unwrap();
        let output =
            Command::new("ssh-keygen").args(["-lf", "key.pub"]).current_dir(folder.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(&fingerprint(&key().verifying_key())), "{printed}");
    }
}
