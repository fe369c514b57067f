//! The RFC 6962 Merkle tree over the entries, as far as the writer and the verifier need it.
//!
//! `leaf = SHA-256(0x00 ‖ line)`, `node = SHA-256(0x01 ‖ left ‖ right)`, the tree splits at the largest power
//! of two below its size. A [`Frontier`] is the right edge of the tree: one hash per set bit of the size,
//! largest subtree first. It is all that appending and computing the root take: 64 hashes at most.

use crate::model::Hash;
use sha2::{Digest, Sha256};

/// Hash of an entry's stored bytes, without the newline.
pub fn leaf_hash(line: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0u8]);
    hasher.update(line);
    Hash(hasher.finalize().into())
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1u8; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(bytes).into())
}

/// Hash of the empty tree.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The right edge of a tree of [`Frontier::size`] leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first: one per set bit of `size`.
    hashes: Vec<Hash>,
}

impl Frontier {
    /// A frontier from its parts; `None` when the number of hashes does not fit the size.
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Option<Frontier> {
        (hashes.len() == size.count_ones() as usize).then_some(Frontier { size, hashes })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtree roots, largest first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends a leaf. `full` is called with (level, index, hash) for every subtree of 256^level leaves that
    /// becomes complete: what the tile files hold.
    pub fn push(&mut self, leaf: Hash, full: &mut dyn FnMut(u32, u64, Hash)) {
        full(0, self.size, leaf);
        let mut hash = leaf;
        let mut height = 0;
        while self.size >> height & 1 == 1 {
            // The bit is set, so the hash of that perfect subtree stands last.
            let left = self.hashes.pop().unwrap_or_default();
            hash = node_hash(&left, &hash);
            height += 1;
            if height % 8 == 0 {
                full(height / 8, self.size >> height, hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Root of the tree.
    pub fn root(&self) -> Hash {
        let mut hashes = self.hashes.iter().rev();
        let Some(last) = hashes.next() else { return empty_root() };
        hashes.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, word for word.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let mut split = 1;
                while split * 2 < leaves.len() {
                    split *= 2;
                }
                node_hash(&definition(&leaves[..split]), &definition(&leaves[split..]))
            }
        }
    }

    proptest! {
        #[test]
        fn frontier_gives_the_root_of_the_definition(size in 0usize..700) {
            let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
            let mut frontier = Frontier::default();
            let mut tiles = Vec::new();
            for leaf in &leaves {
                frontier.push(*leaf, &mut |level, index, hash| tiles.push((level, index, hash)));
            }
            prop_assert_eq!(frontier.root(), definition(&leaves));
            for (level, index, hash) in tiles {
                let width = 256usize.pow(level);
                let start = index as usize * width;
                prop_assert_eq!(hash, definition(&leaves[start..start + width]));
            }
            let back = Frontier::from_parts(frontier.size(), frontier.hashes().to_vec());
            prop_assert_eq!(back, Some(frontier));
        }
    }
}
