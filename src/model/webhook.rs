//! Signatures of Standard Webhooks, as sent with alerts and asked of those who push records.
//!
//! `webhook-signature` is a list of `v1,<base64>` with blanks between; each is HMAC-SHA-256 over `id.timestamp.body`,
//! under the bytes that the secret `whsec_<base64>` spells. Source: Standard Webhooks,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. Invariant: the secret
//! is shown nowhere, also in no error.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The message's id: the same for every attempt to deliver it.
pub const ID: &str = "webhook-id";
/// When it was signed, seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// So many seconds a message's time may lie from ours, as the specification's libraries have it.
pub const TOLERANCE: u64 = 300;
/// Bytes of a secret, as the specification says.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;
/// Most signatures of one message that are looked at; two are there while a secret is replaced.
const SIGNATURES: usize = 8;

/// A shared secret.
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// From `whsec_` and base64. The error never holds any of it.
    pub fn parse(text: &str) -> Result<Secret, &'static str> {
        let bytes = STANDARD.decode(text.trim().trim_start_matches("whsec_"));
        let bytes = bytes.map_err(|_| "the webhook secret is not `whsec_` and base64")?;
        if !SECRET.contains(&bytes.len()) {
            return Err("the webhook secret is not 24 to 64 bytes in base64");
        }
        Hmac::new_from_slice(&bytes).map(Secret).map_err(|_| "the webhook secret cannot be used")
    }

    fn keyed(&self, id: &str, seconds: u64, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(format!("{id}.{seconds}.").as_bytes()).chain_update(body)
    }

    /// The signature to send.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.keyed(id, seconds, body).finalize().into_bytes()))
    }

    /// Whether one of the signatures is this secret's for a message that was signed about `now`.
    pub fn signed(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: u64) -> bool {
        let Some(seconds) = timestamp.parse().ok().filter(|seconds| now.abs_diff(*seconds) <= TOLERANCE)
        else {
            return false;
        };
        // With a full stop in it, nobody could say where the id ends and the time begins.
        if id.contains('.') {
            return false;
        }
        let expected = self.keyed(id, seconds, body);
        let shown = signatures.split(' ').take(SIGNATURES).filter_map(|one| one.strip_prefix("v1,"));
        shown
            .filter_map(|text| STANDARD.decode(text).ok())
            .any(|bytes| expected.clone().verify_slice(&bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SAID: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        assert_eq!(Secret::parse(SECRET).unwrap().sign(ID, SECONDS, BODY), SAID);
        assert!(Secret::parse("whsec_***").is_err());
        for short in ["whsec_", "whsec_AA==", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ=="] {
            assert!(Secret::parse(short).is_err(), "{short}");
        }
    }

    #[test]
    fn only_what_was_signed_about_now_passes() {
        let secret = Secret::parse(SECRET).unwrap();
        let stamp = SECONDS.to_string();
        let signed = |id, stamp: &str, said: &str, body, now| secret.signed(id, stamp, said, body, now);
        assert!(signed(ID, &stamp, SAID, BODY, SECONDS));
        assert!(signed(ID, &stamp, &format!("v1a,xx v1,AAAA {SAID}"), BODY, SECONDS + TOLERANCE));
        assert!(!signed(ID, &stamp, SAID, BODY, SECONDS + TOLERANCE + 1));
        assert!(!signed(ID, &stamp, SAID, BODY, SECONDS - TOLERANCE - 1));
        assert!(!signed("msg_other", &stamp, SAID, BODY, SECONDS));
        assert!(!signed(ID, "1614265331", SAID, BODY, SECONDS));
        assert!(!signed(ID, "soon", SAID, BODY, SECONDS));
        let moved = secret.sign("msg_1", SECONDS, format!("{SECONDS}.5,a").as_bytes());
        let id = format!("msg_1.{SECONDS}");
        assert!(!secret.signed(&id, &stamp, &moved, b"5,a", SECONDS));
        assert!(!signed(ID, &stamp, SAID, b"{}", SECONDS));
        assert!(!signed(ID, &stamp, "v1,", BODY, SECONDS));
        assert!(!signed(ID, &stamp, SAID.trim_start_matches("v1,"), BODY, SECONDS));
    }
}
