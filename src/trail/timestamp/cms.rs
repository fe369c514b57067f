//! CMS SignedData (RFC 5652) around a TSTInfo: one signer, signed attributes, certificates.

use super::der::{self, Item, Reader};
use super::{ATTRIBUTES_MAX, CERTIFICATES_MAX, SHA256, StampError};
use crate::model::Time;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::time::Duration;
use webpki::{EndEntityCert, ring};

/// `id-signedData`.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-ct-TSTInfo`.
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// `id-contentType`.
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// `id-messageDigest`.
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// `id-aa-signingCertificate`: the certificate by its SHA-1.
const SIGNING_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
/// `id-aa-signingCertificateV2`: by a digest of its choice.
const SIGNING_CERTIFICATE_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];

/// `id-sha384`, `id-sha512`.
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

/// `rsaEncryption`, and with SHA-256, SHA-384, SHA-512.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];
/// `id-ecPublicKey`, `ecdsa-with-SHA256`, `ecdsa-with-SHA384`.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// `id-ce-keyUsage`, `id-ce-extKeyUsage`.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// `id-kp-timeStamping`.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
/// `digitalSignature` and `nonRepudiation`, the first two bits of a KeyUsage.
const SIGNING_USES: u8 = 0xc0;

/// The digests that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hashing {
    Sha256,
    Sha384,
    Sha512,
}

impl Hashing {
    fn from_oid(oid: &[u8]) -> Option<Hashing> {
        match oid {
            SHA256 => Some(Hashing::Sha256),
            SHA384 => Some(Hashing::Sha384),
            SHA512 => Some(Hashing::Sha512),
            _ => None,
        }
    }

    fn gives(self, bytes: &[u8], digest: &[u8]) -> bool {
        match self {
            Hashing::Sha256 => Sha256::digest(bytes)[..] == *digest,
            Hashing::Sha384 => Sha384::digest(bytes)[..] == *digest,
            Hashing::Sha512 => Sha512::digest(bytes)[..] == *digest,
        }
    }
}

/// A token as it stands, nothing verified yet.
pub struct Signed<'a> {
    /// The TSTInfo's bytes.
    pub content: &'a [u8],
    certificates: Vec<&'a [u8]>,
    signer: Signer<'a>,
}

/// The one signer.
struct Signer<'a> {
    /// Issuer and serial number, or the content of `[0]` where the key is named otherwise.
    id: Item<'a>,
    hashing: Hashing,
    /// The attributes as they stand: `[0]` and their DER.
    attributes: Item<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads a ContentInfo of a SignedData.
    pub fn read(token: &'a [u8]) -> Result<Signed<'a>, StampError> {
        Signed::parts(token).ok_or(StampError::Malformed("the SignedData"))
    }

    fn parts(token: &'a [u8]) -> Option<Signed<'a>> {
        let mut info = Reader::new(token).only(der::SEQUENCE)?.inside();
        let kind = info.take(der::OID)?.value;
        let mut body = info.only(der::context(0))?.inside().only(der::SEQUENCE)?.inside();
        if kind != SIGNED_DATA || body.take(der::INTEGER)?.value != [3] {
            return None;
        }
        body.take(der::SET)?; // The digests; the signer names his own.
        let mut content = body.take(der::SEQUENCE)?.inside();
        let kind = content.take(der::OID)?.value;
        let content = content.only(der::context(0))?.inside().only(der::OCTET_STRING)?.value;
        if kind != TST_INFO {
            return None;
        }
        let mut certificates = Vec::new();
        if let Some(list) = body.optional(der::context(0)) {
            let mut list = list.inside();
            while let Some(certificate) = list.any() {
                certificates.push(certificate.whole);
            }
            if !list.is_empty() || certificates.len() > CERTIFICATES_MAX {
                return None;
            }
        }
        let _ = body.optional(der::context(1)); // Revocation lists.
        let signer = Signer::read(body.only(der::SET)?.inside().only(der::SEQUENCE)?)?;
        Some(Signed { content, certificates, signer })
    }

    /// Whether the content is signed by a certificate for time stamps that leads to one of `authorities`.
    pub fn verify(&self, at: Time, authorities: &[CertificateDer<'_>]) -> Result<(), StampError> {
        let attributes = Attributes::read(self.signer.attributes)?;
        if attributes.content_type != TST_INFO {
            return Err(StampError::BadSignature("it is over another type of content"));
        }
        if !self.signer.hashing.gives(self.content, attributes.digest) {
            return Err(StampError::BadSignature("it is over another content"));
        }
        let own = self.certificates.iter().find(|certificate| attributes.names(certificate));
        let own = *own.ok_or(StampError::BadSignature("the signer's certificate is not in the response"))?;
        let certificate = Certificate::read(own).ok_or(StampError::Malformed("the signer's certificate"))?;
        if !certificate.is(self.signer.id) {
            return Err(StampError::BadSignature("it names two certificates"));
        }
        certificate.may_stamp()?;
        let own = CertificateDer::from(own);
        let parsed = EndEntityCert::try_from(&own).map_err(untrusted)?;
        self.signer.holds(&parsed)?;
        let others: Vec<CertificateDer<'_>> = self
            .certificates
            .iter()
            .map(|bytes| CertificateDer::from(*bytes))
            .filter(|c| *c != own)
            .collect();
        leads_to(&parsed, &others, at, authorities)
    }
}

fn untrusted(error: webpki::Error) -> StampError {
    StampError::Untrusted(error.to_string())
}

/// Whether a chain from the certificate to an authority was valid at that time.
fn leads_to(
    certificate: &EndEntityCert<'_>,
    others: &[CertificateDer<'_>],
    at: Time,
    authorities: &[CertificateDer<'_>],
) -> Result<(), StampError> {
    let anchors: Result<Vec<_>, _> = authorities.iter().map(webpki::anchor_from_trusted_cert).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.seconds().try_into().unwrap_or(0)));
    // The authorities between may be without a purpose; the certificate itself was asked by `may_stamp`.
    let usage = webpki::KeyUsage::required_if_present(TIME_STAMPING);
    certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors.map_err(untrusted)?,
            others,
            at,
            usage,
            None,
            None,
        )
        .map(|_| ())
        .map_err(untrusted)
}

impl<'a> Signer<'a> {
    fn read(item: Item<'a>) -> Option<Signer<'a>> {
        let mut body = item.inside();
        let version = body.take(der::INTEGER)?.value;
        let id = body.any()?;
        let hashing = body.take(der::SEQUENCE)?.inside().take(der::OID)?.value;
        let attributes = body.take(der::context(0))?;
        let algorithm = body.take(der::SEQUENCE)?.inside().take(der::OID)?.value;
        let signature = body.take(der::OCTET_STRING)?.value;
        let _ = body.optional(der::context(1)); // Attributes that nobody signed.
        (body.is_empty() && matches!(version, [1] | [3])).then_some(Signer {
            id,
            hashing: Hashing::from_oid(hashing)?,
            attributes,
            algorithm,
            signature,
        })
    }

    /// Whether the certificate's key signed the attributes.
    fn holds(&self, certificate: &EndEntityCert<'_>) -> Result<(), StampError> {
        // Signed is their DER as a SET OF, which in the message stands behind `[0]` (RFC 5652 section 5.4).
        let mut signed = self.attributes.whole.to_vec();
        if let Some(tag) = signed.first_mut() {
            *tag = der::SET;
        }
        let holds = algorithms(self.algorithm, self.hashing)
            .iter()
            .any(|algorithm| certificate.verify_signature(*algorithm, &signed, self.signature).is_ok());
        holds.then_some(()).ok_or(StampError::BadSignature("not by the key of its certificate"))
    }
}

/// What may verify a signature of this algorithm; which of them it is depends on the key.
fn algorithms(oid: &[u8], hashing: Hashing) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    match (oid, hashing) {
        (RSA_SHA256, _) | (RSA, Hashing::Sha256) => vec![ring::RSA_PKCS1_2048_8192_SHA256],
        (RSA_SHA384, _) | (RSA, Hashing::Sha384) => vec![ring::RSA_PKCS1_2048_8192_SHA384],
        (RSA_SHA512, _) | (RSA, Hashing::Sha512) => vec![ring::RSA_PKCS1_2048_8192_SHA512],
        (ECDSA_SHA256, _) | (EC, Hashing::Sha256) => vec![ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256],
        (ECDSA_SHA384, _) | (EC, Hashing::Sha384) => vec![ring::ECDSA_P256_SHA384, ring::ECDSA_P384_SHA384],
        _ => Vec::new(),
    }
}

/// The signed attributes that count.
struct Attributes<'a> {
    content_type: &'a [u8],
    digest: &'a [u8],
    /// The signer's certificate by its SHA-1.
    by_sha1: Option<&'a [u8]>,
    /// The same by a digest that is named.
    by_digest: Option<(Hashing, &'a [u8])>,
}

impl<'a> Attributes<'a> {
    fn read(item: Item<'a>) -> Result<Attributes<'a>, StampError> {
        Attributes::parts(item).ok_or(StampError::Malformed("the signed attributes"))
    }

    fn parts(item: Item<'a>) -> Option<Attributes<'a>> {
        let mut list = item.inside();
        let mut values: Vec<(&[u8], Item<'a>)> = Vec::new();
        while !list.is_empty() {
            let mut attribute = list.take(der::SEQUENCE)?.inside();
            let oid = attribute.take(der::OID)?.value;
            let value = attribute.only(der::SET)?;
            if values.len() >= ATTRIBUTES_MAX || values.iter().any(|(known, _)| *known == oid) {
                return None;
            }
            values.push((oid, value));
        }
        let value =
            |oid: &[u8]| values.iter().find(|(known, _)| *known == oid).map(|(_, value)| value.inside());
        let mut attributes = Attributes {
            content_type: value(CONTENT_TYPE)?.only(der::OID)?.value,
            digest: value(MESSAGE_DIGEST)?.only(der::OCTET_STRING)?.value,
            by_sha1: None,
            by_digest: None,
        };
        // Of the certificates that the attribute lists, the first is the signer's.
        let first = |value: Reader<'a>| {
            let mut body = value.only(der::SEQUENCE)?.inside();
            Some(body.take(der::SEQUENCE)?.inside().take(der::SEQUENCE)?.inside())
        };
        if let Some(value) = value(SIGNING_CERTIFICATE) {
            attributes.by_sha1 = Some(first(value)?.take(der::OCTET_STRING)?.value);
        }
        if let Some(value) = value(SIGNING_CERTIFICATE_V2) {
            let mut id = first(value)?;
            let hashing = match id.optional(der::SEQUENCE) {
                Some(algorithm) => Hashing::from_oid(algorithm.inside().take(der::OID)?.value)?,
                None => Hashing::Sha256,
            };
            attributes.by_digest = Some((hashing, id.take(der::OCTET_STRING)?.value));
        }
        Some(attributes)
    }

    /// Whether the attributes name this certificate, and nothing else.
    fn names(&self, certificate: &[u8]) -> bool {
        // What stands behind this SHA-1 is chosen by the signer, who could as well sign something else; the
        // certificate's own signature is held to better digests by the chain.
        let sha1 = &::ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let old = self.by_sha1.map(|id| ::ring::digest::digest(sha1, certificate).as_ref() == id);
        let new = self.by_digest.map(|(hashing, id)| hashing.gives(certificate, id));
        old.or(new).is_some() && old != Some(false) && new != Some(false)
    }
}

/// The parts of a certificate that the chain's verification does not look at.
struct Certificate<'a> {
    issuer: &'a [u8],
    serial: &'a [u8],
    /// The content of the extended key usage, where it is critical.
    purposes: Option<&'a [u8]>,
    /// The bits of the key usage.
    uses: Option<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    fn read(bytes: &'a [u8]) -> Option<Certificate<'a>> {
        let mut body = Reader::new(bytes).only(der::SEQUENCE)?.inside().take(der::SEQUENCE)?.inside();
        let _ = body.optional(der::context(0)); // version
        let serial = body.take(der::INTEGER)?.whole;
        body.take(der::SEQUENCE)?; // signature
        let issuer = body.take(der::SEQUENCE)?.whole;
        for _ in ["validity", "subject", "key"] {
            body.take(der::SEQUENCE)?;
        }
        let mut certificate = Certificate { issuer, serial, purposes: None, uses: None };
        // Unique identifiers (0x81, 0x82) may stand before the extensions.
        let _ = body.optional(0x81);
        let _ = body.optional(0x82);
        let Some(extensions) = body.optional(der::context(3)) else { return Some(certificate) };
        let mut extensions = extensions.inside().only(der::SEQUENCE)?.inside();
        while !extensions.is_empty() {
            let mut extension = extensions.take(der::SEQUENCE)?.inside();
            let oid = extension.take(der::OID)?.value;
            let critical = extension.optional(der::BOOLEAN).is_some_and(|item| item.value == [0xff]);
            let value = Reader::new(extension.only(der::OCTET_STRING)?.value);
            match oid {
                EXTENDED_KEY_USAGE if critical => {
                    certificate.purposes = Some(value.only(der::SEQUENCE)?.value);
                }
                KEY_USAGE => certificate.uses = Some(value.only(der::BIT_STRING)?.value),
                _ => {}
            }
        }
        Some(certificate)
    }

    /// Whether a SignerIdentifier means this certificate. One by key (`[0]`) was told by its digest already.
    fn is(&self, id: Item<'_>) -> bool {
        match id.tag {
            der::SEQUENCE => {
                let mut body = id.inside();
                body.take(der::SEQUENCE).is_some_and(|issuer| issuer.whole == self.issuer)
                    && body.only(der::INTEGER).is_some_and(|serial| serial.whole == self.serial)
            }
            tag => tag == 0x80,
        }
    }

    /// RFC 3161 section 2.3: the one purpose is time stamping, and that is critical.
    fn may_stamp(&self) -> Result<(), StampError> {
        let only = self.purposes.and_then(|purposes| Reader::new(purposes).only(der::OID));
        if only.is_none_or(|purpose| purpose.value != TIME_STAMPING) {
            let what = "its certificate is not for time stamping alone (a critical extended key usage)";
            return Err(StampError::Untrusted(what.to_owned()));
        }
        match self.uses {
            Some([_, bits, ..]) if bits & SIGNING_USES == 0 => {
                Err(StampError::Untrusted("its key is not for signatures (key usage)".to_owned()))
            }
            Some([] | [_]) => Err(StampError::Untrusted("its key is for nothing (key usage)".to_owned())),
            _ => Ok(()),
        }
    }
}
