//! Proofs over the tree: that an entry is in it, and that a larger tree continues a smaller one (RFC 6962
//! sections 2.1.1 and 2.1.2).
//!
//! Proofs are made from [`Hashes`], which knows the hash of every perfect subtree, and checked by the
//! algorithms of RFC 9162 sections 2.1.3.2 and 2.1.4.2, which accept exactly one length for each pair of
//! numbers. Nothing here trusts where hashes come from: whoever makes a proof from a cache checks it against
//! a signed root before it is given out.

use super::tree::{Frontier, empty_root, node_hash};
use crate::model::Hash;
use std::fmt;
use std::io;

/// Hashes of a longest proof: one a level of a tree of 2^63 leaves.
pub const HASHES_MAX: usize = 63;

/// Where hashes of perfect subtrees come from.
pub trait Hashes {
    /// Hash of the subtree over the 2^`level` leaves from `index`·2^`level` on.
    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash>;

    /// Hashes of `count` subtrees of one level from `first` on.
    fn row(&mut self, level: u32, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        (first..first.saturating_add(count)).map(|index| self.node(level, index)).collect()
    }
}

/// Why a proof does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// No such entry in a tree of this size, or the older tree is the larger one.
    OutOfRange,
    /// More or fewer hashes than this proof has.
    Length,
    /// The hashes do not lead to the root.
    Root,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProofError::OutOfRange => "the sizes do not fit each other",
            ProofError::Length => "the proof has a wrong number of hashes",
            ProofError::Root => "the proof does not lead to the root",
        })
    }
}

impl std::error::Error for ProofError {}

/// Largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

/// `MTH(D[start:end])` of a range that the definition's splits lead to: `start` is a multiple of a power of
/// two that is not below the length.
fn range(hashes: &mut dyn Hashes, start: u64, end: u64) -> io::Result<Hash> {
    let mut right: Option<Hash> = None;
    let mut at = end;
    while at > start {
        let level = (at - start).trailing_zeros();
        at -= 1 << level;
        let left = hashes.node(level, at >> level)?;
        right = Some(right.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(right.unwrap_or_else(empty_root))
}

/// Root of the tree of the first `size` leaves.
pub fn root(hashes: &mut dyn Hashes, size: u64) -> io::Result<Hash> {
    range(hashes, 0, size)
}

/// The roots of the perfect subtrees of a tree of `size` leaves, as [`Frontier::from_parts`] takes them.
pub fn frontier(hashes: &mut dyn Hashes, size: u64) -> io::Result<Frontier> {
    let mut parts = Vec::with_capacity(size.count_ones() as usize);
    let mut start = 0;
    for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
        parts.push(hashes.node(level, start >> level)?);
        start += 1 << level;
    }
    Frontier::from_parts(size, parts).ok_or_else(|| out_of_range("the frontier has another size"))
}

fn out_of_range(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// `PATH(index, D[size])`: from the leaf's sibling up to the root's child. An index that is not in the tree
/// is [`io::ErrorKind::InvalidInput`].
pub fn inclusion(hashes: &mut dyn Hashes, index: u64, size: u64) -> io::Result<Vec<Hash>> {
    if index >= size {
        return Err(out_of_range("the entry is not in the tree"));
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range(hashes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// `PROOF(old, D[new])`. It is empty for equal sizes and, as C2SP wants it, for an `old` of zero. An `old`
/// above `new` is [`io::ErrorKind::InvalidInput`].
pub fn consistency(hashes: &mut dyn Hashes, old: u64, new: u64) -> io::Result<Vec<Hash>> {
    if old > new {
        return Err(out_of_range("the older tree is the larger one"));
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, start, middle)?);
            start = middle;
        }
    }
    // The old root itself is what the verifier has; any other last subtree it must be told.
    if start > 0 {
        proof.push(range(hashes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// One step up on both paths.
fn up(first: &mut u64, second: &mut u64) {
    *first >>= 1;
    *second >>= 1;
}

/// The root that a leaf and its path give in a tree of `size` leaves.
pub fn inclusion_root(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                up(&mut node, &mut last);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        up(&mut node, &mut last);
    }
    if last == 0 { Ok(hash) } else { Err(ProofError::Length) }
}

/// Whether the leaf stands at `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    match inclusion_root(leaf, index, size, proof)? == *root {
        true => Ok(()),
        false => Err(ProofError::Root),
    }
}

/// Whether the tree of `new` leaves continues the one of `old` leaves.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfRange);
    }
    if old == new || old == 0 {
        let same = if old == new { *new_root } else { empty_root() };
        return match (proof.is_empty(), *old_root == same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        up(&mut node, &mut last);
    }
    // The old tree is one perfect subtree: the verifier has its hash already.
    let (start, rest) = match old.is_power_of_two() {
        true => (*old_root, proof),
        false => proof.split_first().map(|(first, rest)| (*first, rest)).ok_or(ProofError::Length)?,
    };
    let (mut old_hash, mut new_hash) = (start, start);
    for hash in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while node & 1 == 0 && node != 0 {
                up(&mut node, &mut last);
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        up(&mut node, &mut last);
    }
    match (last == 0, old_hash == *old_root && new_hash == *new_root) {
        (false, _) => Err(ProofError::Length),
        (true, false) => Err(ProofError::Root),
        (true, true) => Ok(()),
    }
}

/// Root of a perfect subtree from the hashes at some level of it: their number is a power of two.
pub(super) fn combine(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| node_hash(&pair[0], pair.last().unwrap_or(&pair[0]))).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// A tree in memory: hashes of every eighth level, 32 bytes a leaf and a 255th of that above. It may begin
/// after leaves that are gone; then it knows of them what its first frontier knew.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    frontier: Frontier,
    /// Subtrees of the leaves that are gone, by level and index.
    base: Vec<(u32, u64, Hash)>,
    levels: Vec<Level>,
}

/// Hashes of one tile level from some index on.
#[derive(Clone, Debug, Default)]
struct Level {
    first: u64,
    hashes: Vec<Hash>,
}

impl Memory {
    /// A tree that goes on from here: its first leaves are gone.
    pub fn after(frontier: Frontier) -> Memory {
        let mut base = Vec::new();
        let mut start = 0;
        let bits = (0..u64::BITS).rev().filter(|level| frontier.size() >> level & 1 == 1);
        for (level, hash) in bits.zip(frontier.hashes()) {
            base.push((level, start >> level, *hash));
            start += 1 << level;
        }
        Memory { frontier, base, levels: Vec::new() }
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push(leaf, &mut |level, index, hash| {
            let place = level as usize;
            if levels.len() <= place {
                levels.resize_with(place + 1, || Level { first: index, hashes: Vec::new() });
            }
            levels[place].hashes.push(hash);
        });
    }

    /// Number of leaves, those that are gone included.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root over all leaves.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The right edge.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    fn kept(&self, level: u32, index: u64) -> Option<&[Hash]> {
        let below = 1 << (level % 8);
        let kept = self.levels.get(level as usize / 8)?;
        let first = usize::try_from(index.checked_mul(below)?.checked_sub(kept.first)?).ok()?;
        kept.hashes.get(first..first.checked_add(below as usize)?)
    }
}

impl Extend<Hash> for Memory {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

impl Hashes for Memory {
    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        if let Some(hashes) = self.kept(level, index) {
            return Ok(combine(hashes));
        }
        let base = self.base.iter().find(|(l, i, _)| (*l, *i) == (level, index));
        match (base, level, index.checked_mul(2)) {
            (Some((_, _, hash)), _, _) => Ok(*hash),
            // It begins with leaves that are gone and ends with others: its halves know.
            (None, 1.., Some(half)) => {
                let left = self.node(level - 1, half)?;
                Ok(node_hash(&left, &self.node(level - 1, half + 1)?))
            }
            _ => Err(out_of_range("the subtree is not in the tree")),
        }
    }
}

/// Hashes of consecutive subtrees of one level, laid over another source: the way to ask whether exactly
/// these hashes stand below a root.
pub struct Overlay<'a> {
    /// Each hash covers 2^`level` leaves.
    pub level: u32,
    /// Index of the first at that level.
    pub first: u64,
    /// The hashes.
    pub hashes: &'a [Hash],
    /// Everything else.
    pub rest: &'a mut dyn Hashes,
}

impl Overlay<'_> {
    /// Whether the tree of `size` leaves has this root with these hashes in it. Where some lie beyond the
    /// size it has not.
    pub fn gives(&mut self, size: u64, wanted: &Hash) -> io::Result<bool> {
        let end = self.first.checked_add(self.hashes.len() as u64);
        let full = size.checked_shr(self.level).unwrap_or(0);
        match end.is_some_and(|end| end <= full) {
            true => Ok(root(self, size)? == *wanted),
            false => Ok(false),
        }
    }
}

impl Hashes for Overlay<'_> {
    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        let Some(above) = level.checked_sub(self.level) else { return self.rest.node(level, index) };
        let (start, end) = (index << above, (index + 1) << above);
        let last = self.first + self.hashes.len() as u64;
        if end <= self.first || start >= last {
            return self.rest.node(level, index);
        }
        if start >= self.first && end <= last {
            return Ok(combine(&self.hashes[(start - self.first) as usize..(end - self.first) as usize]));
        }
        Ok(node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
    }
}

#[cfg(test)]
mod tests;
