//! RFC 3161 time stamps: the request over some bytes, and what a response proves about them.
//!
//! ```text
//! request   TimeStampReq { 1, { SHA-256, digest of the bytes }, nonce, certReq TRUE }
//! response  TimeStampResp { PKIStatusInfo, ContentInfo { SignedData { TSTInfo, certificates, SignerInfo } } }
//! ```
//!
//! A response counts when all of this holds:
//! * the status is `granted`, with or without modifications (the token itself says all that counts);
//! * the TSTInfo names the SHA-256 of the bytes, and the nonce where the caller knows it;
//! * the signed attributes name the TSTInfo's type, its digest, and the signer's certificate (RFC 2634
//!   `signingCertificate` or RFC 5035 `signingCertificateV2`: RFC 3161 and RFC 5816 demand one), and are
//!   signed with that certificate's key: RSA (PKCS#1 1.5, 2048 to 8192 bits) or ECDSA (P-256, P-384), with
//!   SHA-256, SHA-384 or, for RSA, SHA-512;
//! * the certificate is for time stamping and nothing else (critical extended key usage, RFC 3161 section
//!   2.3), and leads to one of the given authorities, at the time that the stamp itself states.
//!
//! So a stamp outlives the certificates that it was made with. Not checked: revocation. Whoever steals an
//! authority's key can date stamps as he likes until the authority is taken off the list.
//!
//! Pure: bytes in, a statement out. Only DER is read, with the limits named below.

mod cms;
pub mod der;

use crate::model::{Time, digest};
use der::Reader;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::fmt;

/// Largest response that is read. With four certificates of an authority it is about 6 KiB.
pub const RESPONSE_MAX: usize = 64 << 10;
/// Most certificates in a response, and in a file of authorities.
pub const CERTIFICATES_MAX: usize = 64;
/// Most attributes that a signer states.
const ATTRIBUTES_MAX: usize = 32;
/// Longest serial number of a stamp, bytes (RFC 3161 demands that 20 are read).
const SERIAL_MAX: usize = 64;

/// `id-sha256`.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Why a response proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampError {
    /// Not the form of the module doc; the part that is not.
    Malformed(&'static str),
    /// The authority gave no stamp: its status, and its reason in RFC 3161's word.
    Refused(u8, &'static str),
    /// The stamp is over other bytes.
    OtherBytes,
    /// The stamp answers another request.
    OtherNonce,
    /// The signature, or what it is over, does not hold.
    BadSignature(&'static str),
    /// The signer's certificate does not count, and why.
    Untrusted(String),
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StampError::Malformed(what) => write!(f, "not a time stamp response: {what}"),
            StampError::Refused(status, why) => {
                write!(f, "the authority gave no time stamp: status {status}, {why}")
            }
            StampError::OtherBytes => f.write_str("the time stamp is over other bytes"),
            StampError::OtherNonce => f.write_str("the time stamp answers another request"),
            StampError::BadSignature(what) => write!(f, "the time stamp's signature does not hold: {what}"),
            StampError::Untrusted(why) => write!(f, "the time stamp's signer does not count: {why}"),
        }
    }
}

impl std::error::Error for StampError {}

/// The authorities that a stamp may lead to.
#[derive(Clone)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} authorities", self.certificates.len())
    }
}

impl Authorities {
    /// Reads certificates in PEM. The error says what is wrong with them.
    pub fn parse(pem: &[u8]) -> Result<Authorities, String> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| "is not PEM".to_owned())?;
            webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| format!("holds a certificate that cannot be an authority: {error}"))?;
            certificates.push(certificate);
        }
        match certificates.len() {
            0 => Err("holds no certificate (PEM, `-----BEGIN CERTIFICATE-----`)".to_owned()),
            1..=CERTIFICATES_MAX => Ok(Authorities { certificates }),
            more => Err(format!("holds {more} certificates, at most {CERTIFICATES_MAX}")),
        }
    }
}

/// What a response proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The bytes existed at this time, by the authority's clock.
    pub time: Time,
    /// The authority's number of this stamp, hexadecimal digits.
    pub serial: String,
}

/// The request for a stamp over `bytes`. `nonce` is random; the response repeats it.
pub fn request(bytes: &[u8], nonce: &[u8; 16]) -> Vec<u8> {
    let mut algorithm = Vec::new();
    der::write(&mut algorithm, der::OID, SHA256);
    der::write(&mut algorithm, der::NULL, &[]);
    let mut imprint = Vec::new();
    der::write(&mut imprint, der::SEQUENCE, &algorithm);
    der::write(&mut imprint, der::OCTET_STRING, &Sha256::digest(bytes));
    let mut body = Vec::new();
    der::write(&mut body, der::INTEGER, &[1]);
    der::write(&mut body, der::SEQUENCE, &imprint);
    der::write(&mut body, der::INTEGER, &der::unsigned(nonce));
    der::write(&mut body, der::BOOLEAN, &[0xff]);
    let mut out = Vec::new();
    der::write(&mut out, der::SEQUENCE, &body);
    out
}

/// What `response` proves about `bytes`. Without `nonce` any nonce will do: whoever verifies later does not
/// know it, and the digest says enough.
pub fn verify(
    response: &[u8],
    bytes: &[u8],
    nonce: Option<&[u8; 16]>,
    authorities: &Authorities,
) -> Result<Stamp, StampError> {
    if response.len() > RESPONSE_MAX {
        return Err(StampError::Malformed("too long"));
    }
    let token = granted(response)?;
    let signed = cms::Signed::read(token)?;
    let info = TstInfo::read(signed.content).ok_or(StampError::Malformed("the TSTInfo"))?;
    if info.imprint != Some(&Sha256::digest(bytes)[..]) {
        return Err(StampError::OtherBytes);
    }
    if nonce.is_some_and(|nonce| info.nonce != Some(&der::unsigned(nonce)[..])) {
        return Err(StampError::OtherNonce);
    }
    signed.verify(info.time, &authorities.certificates)?;
    Ok(Stamp { time: info.time, serial: digest::hex(info.serial) })
}

/// The token of a response that grants one.
fn granted(response: &[u8]) -> Result<&[u8], StampError> {
    let malformed = StampError::Malformed("the TimeStampResp");
    let mut body = Reader::new(response).only(der::SEQUENCE).ok_or(malformed.clone())?.inside();
    let mut info = body.take(der::SEQUENCE).ok_or(malformed.clone())?.inside();
    let status = match info.take(der::INTEGER).map(|item| item.value) {
        Some([status @ 0..=0x7f]) => *status,
        _ => return Err(malformed),
    };
    if status > 1 {
        let _ = info.optional(der::SEQUENCE); // Its prose is the server's, so it is not repeated.
        let bits = info.optional(der::BIT_STRING).map_or(&[][..], |item| item.value);
        return Err(StampError::Refused(status, failure(bits)));
    }
    let token = body.take(der::SEQUENCE).ok_or(StampError::Malformed("no token"))?;
    body.is_empty().then_some(token.whole).ok_or(malformed)
}

/// RFC 3161's word for the first bit of a PKIFailureInfo.
fn failure(bits: &[u8]) -> &'static str {
    let words = [
        (0, "badAlg"),
        (2, "badRequest"),
        (5, "badDataFormat"),
        (14, "timeNotAvailable"),
        (15, "unacceptedPolicy"),
        (16, "unacceptedExtension"),
        (17, "addInfoNotAvailable"),
        (25, "systemFailure"),
    ];
    // The first byte of a BIT STRING counts the unused bits at its end.
    let set = |bit: usize| bits.get(1 + bit / 8).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0);
    words.iter().find(|(bit, _)| set(*bit)).map_or("no reason", |(_, word)| *word)
}

/// The parts of a TSTInfo that count here.
struct TstInfo<'a> {
    /// The digest, where it is a SHA-256.
    imprint: Option<&'a [u8]>,
    serial: &'a [u8],
    time: Time,
    nonce: Option<&'a [u8]>,
}

impl<'a> TstInfo<'a> {
    fn read(content: &'a [u8]) -> Option<TstInfo<'a>> {
        let mut body = Reader::new(content).only(der::SEQUENCE)?.inside();
        if body.take(der::INTEGER)?.value != [1] {
            return None;
        }
        body.take(der::OID)?; // The authority's policy.
        let mut imprint = body.take(der::SEQUENCE)?.inside();
        let algorithm = imprint.take(der::SEQUENCE)?.inside().take(der::OID)?.value;
        let hashed = imprint.only(der::OCTET_STRING)?.value;
        let serial = body.take(der::INTEGER)?.value;
        let time = generalized_time(body.take(der::GENERALIZED_TIME)?.value)?;
        let _ = body.optional(der::SEQUENCE); // accuracy
        let _ = body.optional(der::BOOLEAN); // ordering
        let nonce = body.optional(der::INTEGER).map(|item| item.value);
        let _ = body.optional(der::context(0)); // the authority's name
        if let Some(extensions) = body.optional(der::context(1)) {
            // None is known here, so none may be critical.
            let mut extensions = extensions.inside();
            while let Some(extension) = extensions.take(der::SEQUENCE) {
                let mut extension = extension.inside();
                extension.take(der::OID)?;
                if extension.optional(der::BOOLEAN).is_some() {
                    return None;
                }
            }
            if !extensions.is_empty() {
                return None;
            }
        }
        (body.is_empty() && serial.len() <= SERIAL_MAX).then_some(TstInfo {
            imprint: (algorithm == SHA256).then_some(hashed),
            serial,
            time,
            nonce,
        })
    }
}

/// `YYYYMMDDhhmmss[.f…]Z` (RFC 3161 section 2.4.2), to microseconds.
fn generalized_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || !fraction.is_none_or(|text| digits(text) && text.len() <= 9) {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<u32>().ok();
    let micros = format!("{:0<6}", fraction.unwrap_or_default()).get(..6)?.parse().ok()?;
    let date = (i64::from(part(0, 4)?), part(4, 6)?, part(6, 8)?);
    Time::from_civil(date, (part(8, 10)?, part(10, 12)?, part(12, 14)?), micros)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The bytes that `openssl ts -query -sha256 -cert` writes for the empty input, with its nonce.
    #[test]
    fn the_request_is_what_openssl_writes() {
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0xf3, 1, 2, 3, 4, 5, 6, 7];
        let text = digest::hex(&request(b"", &nonce));
        assert_eq!(
            text,
            "3044020101303130 0d0609608648016503040201 0500 0420 \
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 020900f301020304050607 0101ff"
                .replace(' ', "")
        );
    }

    #[test]
    fn times_of_stamps() {
        let at = |text: &str| generalized_time(text.as_bytes());
        assert_eq!(at("20261127231402Z"), Time::parse("2026-11-27T23:14:02Z"));
        assert_eq!(at("20261127231402.5Z"), Time::parse("2026-11-27T23:14:02.5Z"));
        assert_eq!(at("20261127231402.123456789Z"), Time::parse("2026-11-27T23:14:02.123456Z"));
        for bad in
            ["20261127231402", "202611272314Z", "20261127231402.Z", "20261327231402Z", "+0261127231402Z"]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_why_in_the_standard_s_word() {
        let mut info = Vec::new();
        der::write(&mut info, der::INTEGER, &[2]);
        der::write(&mut info, der::SEQUENCE, b"\x0c\x05prose");
        der::write(&mut info, der::BIT_STRING, &[0, 0, 0x01, 0]);
        let mut body = Vec::new();
        der::write(&mut body, der::SEQUENCE, &info);
        let mut response = Vec::new();
        der::write(&mut response, der::SEQUENCE, &body);
        assert_eq!(granted(&response), Err(StampError::Refused(2, "unacceptedPolicy")));
    }

    #[test]
    fn files_of_authorities() {
        assert!(Authorities::parse(b"").unwrap_err().contains("no certificate"));
        assert!(
            Authorities::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
        );
        assert!(Authorities::parse(b"-----BEGIN CERTIFICATE-----\n!\n").is_err());
    }

    fn nested(depth: u32) -> BoxedStrategy<Vec<u8>> {
        let tags = [0x02u8, 0x03, 0x04, 0x05, 0x06, 0x18, 0x30, 0x31, 0xa0, 0xa1, 0x01];
        let leaf = proptest::collection::vec(any::<u8>(), 0..12);
        let inner = if depth == 0 {
            leaf.boxed()
        } else {
            let list = proptest::collection::vec(nested(depth - 1), 0..6);
            prop_oneof![leaf, list.prop_map(|list| list.concat())].boxed()
        };
        (proptest::sample::select(tags.to_vec()), inner)
            .prop_map(|(tag, inner)| {
                let mut out = Vec::new();
                der::write(&mut out, tag, &inner);
                out
            })
            .boxed()
    }

    proptest! {
        #[test]
        fn nothing_that_is_no_stamp_is_taken_for_one(bytes in prop_oneof![
            nested(4), proptest::collection::vec(any::<u8>(), 0..300)
        ]) {
            let none = Authorities { certificates: Vec::new() };
            prop_assert!(verify(&bytes, b"x", None, &none).is_err());
            prop_assert!(cms::Signed::read(&bytes).is_err() || bytes.len() > 60);
        }
    }
}
