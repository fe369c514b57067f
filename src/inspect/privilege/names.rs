//! Names compared the way CRMs compare them: without regard to case.
//!
//! Dataverse logical names are lower case where Salesforce writes `Account`; login names and roles differ
//! in case between two feeds of one system. A lookup must not allocate, so the text is folded while it is
//! hashed, eight letters at a time. The hash is keyed at random: names come from sources, and nobody shall
//! choose them so that they collide. Nothing that leaves this module depends on the key: lists are sorted
//! by text.
//!
//! Record ids are compared by [`id_key`]: a Salesforce id of 15 characters distinguishes case, and the form
//! of 18 characters is the same id with a suffix that only restores its case.

use crate::model::System;
pub(super) use crate::model::pseudonym::id_key;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Passes a value through that is a hash already.
#[derive(Clone, Copy, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A map whose key is a hash already.
type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// Whether two texts are the same name.
pub(super) fn same(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if a.is_ascii() && b.is_ascii() {
        return false;
    }
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

/// Feeds the folded text to `take` in pieces.
fn fold(text: &str, mut take: impl FnMut(&[u8])) {
    if !text.is_ascii() {
        let mut utf8 = [0u8; 4];
        for character in text.chars().flat_map(char::to_lowercase) {
            take(character.encode_utf8(&mut utf8).as_bytes());
        }
        return;
    }
    for chunk in text.as_bytes().chunks(64) {
        let mut piece = [0u8; 64];
        for (to, from) in piece.iter_mut().zip(chunk) {
            *to = from.to_ascii_lowercase();
        }
        take(piece.get(..chunk.len()).unwrap_or(&[]));
    }
}

/// The first eight bytes of SHA-256 over the folded name: the same in every process, so that what a policy
/// names and what a principal holds can be compared as numbers.
pub(super) fn print(name: &str) -> u64 {
    let mut sha = Sha256::new();
    fold(name, |piece| sha.update(piece));
    let bytes: [u8; 32] = sha.finalize().into();
    let (first, _) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first)
}

/// Whether two ids name the same record of that system.
pub(super) fn same_id(system: System, a: &str, b: &str) -> bool {
    match (id_key(system, a), id_key(system, b)) {
        ((a, true), (b, true)) => a == b,
        ((a, _), (b, _)) => same(a, b),
    }
}

/// From folded text to numbers that the owner of the texts gave; several may share a text.
#[derive(Clone)]
pub(super) struct Lookup {
    keys: [u64; 2],
    slots: ByHash<Slot>,
}

/// The numbers of one hash. There is hardly ever a second one, so the first needs no list.
#[derive(Clone)]
struct Slot {
    first: u32,
    more: Vec<u32>,
}

impl Default for Lookup {
    fn default() -> Lookup {
        let random = RandomState::new();
        // Odd, so that no bit of a product is lost.
        Lookup { keys: [random.hash_one(1u8) | 1, random.hash_one(2u8) | 1], slots: ByHash::default() }
    }
}

impl Lookup {
    fn hash(&self, text: &str) -> u64 {
        let [seed, key] = self.keys;
        let mut hash = seed ^ text.len() as u64;
        if !text.is_ascii() {
            let mut hash = seed;
            for character in text.chars().flat_map(char::to_lowercase) {
                hash = mix(hash ^ u64::from(u32::from(character)), key);
            }
            return hash;
        }
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            hash = mix(hash ^ lower(u64::from_le_bytes(*word)), key);
        }
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        mix(mix(hash ^ lower(last), key), seed)
    }

    /// Numbers whose text may be this one: the caller compares.
    pub(super) fn get(&self, text: &str) -> impl Iterator<Item = u32> {
        let slot = match self.slots.is_empty() {
            true => None,
            false => self.slots.get(&self.hash(text)),
        };
        slot.into_iter().flat_map(|slot| std::iter::once(slot.first).chain(slot.more.iter().copied()))
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, text: &str, number: u32) {
        let hash = self.hash(text);
        match self.slots.get_mut(&hash) {
            Some(slot) => slot.more.push(number),
            None => {
                self.slots.insert(hash, Slot { first: number, more: Vec::new() });
            }
        }
    }

    /// Removes a number.
    pub(super) fn remove(&mut self, text: &str, number: u32) {
        let hash = self.hash(text);
        let Some(slot) = self.slots.get_mut(&hash) else { return };
        if slot.first != number {
            slot.more.retain(|known| *known != number);
        } else if let Some(next) = slot.more.pop() {
            slot.first = next;
        } else {
            self.slots.remove(&hash);
        }
    }
}

/// Both halves of the product: every bit of both factors reaches the result.
fn mix(value: u64, key: u64) -> u64 {
    let product = u128::from(value) * u128::from(key);
    product as u64 ^ (product >> 64) as u64
}

/// Eight ASCII letters in lower case at once.
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // The high bit of a byte becomes one where the letter is at least `A`, and where it is beyond `Z`.
    let from_a = word + (0x80 - b'A' as u64) * EACH;
    let beyond_z = word + (0x7f - b'Z' as u64) * EACH;
    word | ((from_a ^ beyond_z) & (0x80 * EACH)) >> 2
}

/// Names with numbers from 0 in the order they came.
#[derive(Clone, Default)]
pub(super) struct Names {
    lookup: Lookup,
    texts: Vec<Box<str>>,
}

impl Names {
    /// The name's number.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        let fits = |number: &u32| self.texts.get(*number as usize).is_some_and(|text| same(text, name));
        self.lookup.get(name).find(fits)
    }
    /// The name's number, a new one where it is not known.
    pub(super) fn intern(&mut self, name: &str) -> u32 {
        if let Some(number) = self.get(name) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.lookup.insert(name, number);
        self.texts.push(name.into());
        number
    }
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ignore_case() {
        let mut names = Names::default();
        assert_eq!(names.intern("Account"), 0);
        assert_eq!(names.intern("ACCOUNT"), 0);
        assert_eq!(names.intern("Verkäufer"), 1);
        assert_eq!(names.get("VERKÄUFER"), Some(1));
        assert_eq!(names.get("Contact"), None);
        assert_eq!(print("System Administrator"), print("system administrator"));
        let long = "x".repeat(200);
        assert_eq!(names.intern(&long), names.intern(&long.to_uppercase()));
    }

    #[test]
    fn eight_letters_fold_like_one() {
        for byte in 0..128u8 {
            let word = u64::from_le_bytes([b'A', byte, b'[', b'@', byte, b'Z', b'z', byte]);
            let folded = lower(word).to_le_bytes();
            assert_eq!(folded.to_vec(), word.to_le_bytes().map(|byte| byte.to_ascii_lowercase()).to_vec());
        }
    }

    #[test]
    fn numbers_that_share_a_text_are_removed_alone() {
        let mut lookup = Lookup::default();
        (1..4).for_each(|number| lookup.insert("Anna", number));
        lookup.remove("ANNA", 1);
        assert_eq!(lookup.get("anna").collect::<std::collections::BTreeSet<_>>(), [2, 3].into());
        lookup.remove("anna", 2);
        lookup.remove("anna", 9);
        assert_eq!(lookup.get("anna").collect::<Vec<_>>(), [3]);
        lookup.remove("anna", 3);
        assert!(lookup.slots.is_empty());
    }

    #[test]
    fn salesforce_ids_are_one_in_both_lengths_and_keep_case() {
        let system = System::Salesforce;
        assert!(same_id(system, "0055j000000utlP", "0055j000000utlPAAQ"));
        assert!(!same_id(system, "0055j000000utlp", "0055j000000utlPAAQ"));
        assert!(same_id(System::Dynamics365, "{4026BE43-6B69}", "4026be43-6b69"));
    }
}
