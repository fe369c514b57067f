//! SHA-256 values and the keys that make digests of source bytes unguessable.
//!
//! A bare SHA-256 of a short record gives the number in it away to whoever tries all numbers, so every
//! digest of bytes that came from a source is an HMAC-SHA-256 (RFC 2104) under a key outside the trail.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// Appends lower-case hexadecimal digits. Digests come in sixteens: of a fixed length and without a table, the compiler
/// makes vector instructions of it.
pub fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |number: u8| number + b'0' + if number > 9 { b'a' - b'0' - 10 } else { 0 };
    let (chunks, rest) = bytes.as_chunks::<16>();
    for chunk in chunks {
        let mut text = [[0; 2]; 16];
        for (pair, byte) in text.iter_mut().zip(chunk) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        out.extend_from_slice(text.as_flattened());
    }
    for byte in rest {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    write_hex(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads lower-case hexadecimal digits; anything else is `None`.
pub fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| byte(digit(*high), digit(*low))).collect()
}

fn byte(high: u8, low: u8) -> Option<u8> {
    ((high | low) < 16).then_some(high << 4 | low & 15)
}

/// The value of a lower-case digit; 255 for every other byte.
const fn digit(byte: u8) -> u8 {
    let number = byte.wrapping_sub(b'0');
    let letter = byte.wrapping_sub(b'a');
    let number = if number < 10 { number } else { 255 };
    if letter < 6 { letter + 10 } else { number }
}

impl Hash {
    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Hash> {
        Hash::read(text.as_bytes())
    }
    /// The same from bytes. Every entry of a trail is read with this: two passes of fixed length, without a
    /// branch, which the compiler makes into vector instructions.
    pub fn read(text: &[u8]) -> Option<Hash> {
        let text: &[u8; 64] = text.try_into().ok()?;
        let values = text.map(digit);
        let (pairs, _) = values.as_chunks::<2>();
        let mut hash = Hash::default();
        for (byte, [high, low]) in hash.0.iter_mut().zip(pairs) {
            *byte = high << 4 | low & 15;
        }
        (values.iter().fold(0, |all, value| all | value) < 16).then_some(hash)
    }
    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// A secret key for HMAC-SHA-256. Its inner states are computed once; its bytes are wiped when dropped.
#[derive(Clone)]
pub struct Key {
    number: u32,
    keyed: Hmac<Sha256>,
}

impl Key {
    /// A key from its 32 bytes. `number` is the quarter's number that stands beside what it makes.
    pub fn new(number: u32, secret: Zeroizing<[u8; 32]>) -> Key {
        #[allow(clippy::expect_used)] // RFC 2104 takes keys of any length, so this cannot fail.
        let keyed = Hmac::new_from_slice(&secret[..]).expect("HMAC takes keys of any length");
        Key { number, keyed }
    }

    /// The number given at creation.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// HMAC-SHA-256 over `domain`, a zero byte, and `parts` one after the other. Different domains never
    /// give comparable values.
    pub fn mac(&self, domain: &str, parts: &[&[u8]]) -> Hash {
        let mut mac = self.keyed.clone();
        mac.update(domain.as_bytes());
        mac.update(&[0]);
        for part in parts {
            mac.update(part);
        }
        Hash(mac.finalize().into_bytes().into())
    }

    /// The first 16 bytes of [`Key::mac`] as hexadecimal digits, after the key's number: `1:9f86d0…`.
    pub fn fingerprint(&self, domain: &str, parts: &[&[u8]]) -> String {
        format!("{}:{}", self.number, hex(&self.mac(domain, parts).0[..16]))
    }

    /// A running [`Key::mac`] for bytes that arrive in pieces.
    pub fn start(&self, domain: &str) -> Running {
        let mut mac = self.keyed.clone();
        mac.update(domain.as_bytes());
        mac.update(&[0]);
        Running(mac)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.number)
    }
}

/// The key in force, and those of other quarters, by whose fingerprints people may have named a value.
#[derive(Clone, Copy, Debug)]
pub struct KeyRing<'a> {
    /// Makes everything new.
    pub current: &'a Key,
    /// Only recognise.
    pub others: &'a [Key],
}

impl<'a> From<&'a Key> for KeyRing<'a> {
    fn from(current: &'a Key) -> KeyRing<'a> {
        KeyRing { current, others: &[] }
    }
}

impl KeyRing<'_> {
    /// The key that made this fingerprint, by the number before its colon.
    pub fn of(&self, fingerprint: &str) -> Option<&Key> {
        let number: u32 = fingerprint.split_once(':')?.0.parse().ok()?;
        std::iter::once(self.current).chain(self.others).find(|key| key.number() == number)
    }
}

/// An HMAC that is still being fed.
#[derive(Clone)]
pub struct Running(Hmac<Sha256>);

impl Running {
    /// Feeds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The value over all bytes fed.
    pub fn finish(self) -> Hash {
        Hash(self.0.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back_and_refuses_upper_case() {
        assert_eq!(parse_hex(hex(&[0, 1, 0xab, 0xff]).as_bytes()), Some(vec![0, 1, 0xab, 0xff]));
        assert_eq!(parse_hex(b"AB"), None);
        assert_eq!(parse_hex(b"abc"), None);
        for byte in 0..=255u8 {
            let value = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
            let expected = value.map(|value| vec![value as u8 * 16 + 1]);
            assert_eq!(parse_hex(&[byte, b'1']), expected, "{byte}");
            let expected = value.map(|value| vec![16 + value as u8]);
            assert_eq!(parse_hex(&[b'1', byte]), expected, "{byte}");
        }
    }

    #[test]
    fn a_hash_has_exactly_64_digits() {
        let hash = Hash(std::array::from_fn(|place| place as u8 * 7));
        assert_eq!(Hash::parse(&hash.hex()), Some(hash));
        assert_eq!(Hash::parse(&hash.hex()[2..]), None);
        assert_eq!(Hash::parse(&format!("{hash}00")), None);
    }

    #[test]
    fn domains_separate() {
        let key = Key::new(1, Zeroizing::new([7; 32]));
        assert_ne!(key.mac("a", &[b"x"]), key.mac("b", &[b"x"]));
        assert_eq!(key.mac("a", &[b"x", b"y"]), key.mac("a", &[b"xy"]));
        let mut running = key.start("a");
        running.update(b"x");
        running.update(b"y");
        assert_eq!(running.finish(), key.mac("a", &[b"xy"]));
    }
}
