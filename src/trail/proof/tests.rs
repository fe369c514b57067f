//! Proofs against the recursive definitions of RFC 6962, its worked example, and everything that is not one.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trail::tree::leaf_hash;
use proptest::prelude::*;

fn leaves(size: usize) -> Vec<Hash> {
    (0..size).map(|i| leaf_hash(&(i as u32).to_be_bytes())).collect()
}

fn memory(leaves: &[Hash]) -> Memory {
    let mut memory = Memory::default();
    memory.extend(leaves.iter().copied());
    memory
}

/// RFC 6962 section 2.1, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = half(leaves.len());
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

fn half(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// Section 2.1.1.
fn path(m: usize, d: &[Hash]) -> Vec<Hash> {
    if d.len() == 1 {
        return Vec::new();
    }
    let k = half(d.len());
    let (mut proof, other) =
        if m < k { (path(m, &d[..k]), mth(&d[k..])) } else { (path(m - k, &d[k..]), mth(&d[..k])) };
    proof.push(other);
    proof
}

/// Section 2.1.2.
fn subproof(m: usize, d: &[Hash], b: bool) -> Vec<Hash> {
    if m == d.len() {
        return if b { Vec::new() } else { vec![mth(d)] };
    }
    let k = half(d.len());
    let (mut proof, other) = if m <= k {
        (subproof(m, &d[..k], b), mth(&d[k..]))
    } else {
        (subproof(m - k, &d[k..], false), mth(&d[..k]))
    };
    proof.push(other);
    proof
}

/// The tree of seven leaves that RFC 6962 section 2.1.3 draws, with the names it gives to the nodes.
#[test]
fn the_example_of_the_standard() {
    let d = leaves(7);
    let (a, b, c, f, j) = (d[0], d[1], d[2], d[5], d[6]);
    let g = node_hash(&a, &b);
    let h = node_hash(&c, &d[3]);
    let i = node_hash(&d[4], &f);
    let k = node_hash(&g, &h);
    let l = node_hash(&i, &j);
    let mut tree = memory(&d);
    assert_eq!(tree.root(), node_hash(&k, &l));
    let mut inclusion = |index| inclusion(&mut tree, index, 7).unwrap();
    assert_eq!(inclusion(0), [b, h, l]);
    assert_eq!(inclusion(3), [c, g, l]);
    assert_eq!(inclusion(4), [f, j, k]);
    assert_eq!(inclusion(6), [i, k]);
    let mut consistency = |old| consistency(&mut tree, old, 7).unwrap();
    assert_eq!(consistency(3), [c, d[3], g, l]);
    assert_eq!(consistency(4), [l]);
    assert_eq!(consistency(6), [i, j, k]);
    assert_eq!(consistency(7), []);
}

/// Roots of the first leaves of the test tree that Certificate Transparency implementations share.
#[test]
fn the_reference_tree_has_its_published_roots() {
    let inputs =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Memory::default();
    for (input, wanted) in inputs.iter().zip(roots) {
        tree.push(leaf_hash(&crate::model::digest::parse_hex(input.as_bytes()).unwrap()));
        assert_eq!(tree.root().hex(), wanted);
    }
    let proof = inclusion(&mut tree, 5, 8).unwrap();
    assert_eq!(
        proof.iter().map(Hash::hex).collect::<Vec<_>>(),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn every_small_proof_is_the_definition_s_and_no_other_number_takes_it() {
    let d = leaves(40);
    let mut tree = memory(&d);
    for size in 0..=d.len() {
        let whole = mth(&d[..size]);
        assert_eq!(root(&mut tree, size as u64).unwrap(), whole);
        assert_eq!(frontier(&mut tree, size as u64).unwrap().root(), whole);
        for index in 0..size {
            let proof = inclusion(&mut tree, index as u64, size as u64).unwrap();
            assert_eq!(proof, path(index, &d[..size]));
            let accepted: Vec<usize> = (0..size)
                .filter(|other| {
                    verify_inclusion(&d[index], *other as u64, size as u64, &whole, &proof).is_ok()
                })
                .collect();
            assert_eq!(accepted, [index], "size {size}");
        }
        for old in 1..=size {
            let proof = consistency(&mut tree, old as u64, size as u64).unwrap();
            assert_eq!(proof, subproof(old, &d[..size], true));
            let before = mth(&d[..old]);
            let accepted: Vec<usize> = (0..=size)
                .filter(|other| {
                    verify_consistency(*other as u64, &before, size as u64, &whole, &proof).is_ok()
                })
                .collect();
            assert_eq!(accepted, [old], "size {size}");
        }
        let zero = verify_consistency(0, &empty_root(), size as u64, &whole, &[]);
        assert_eq!(zero, Ok(()));
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let d = leaves(5);
    let mut tree = memory(&d);
    for result in [inclusion(&mut tree, 5, 5), inclusion(&mut tree, 0, 0), consistency(&mut tree, 6, 5)] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(inclusion(&mut tree, 0, 9).is_err(), "the tree has five leaves only");
    let whole = mth(&d);
    assert_eq!(verify_inclusion(&d[0], 5, 5, &whole, &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_inclusion(&d[0], 0, 0, &empty_root(), &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(6, &whole, 5, &whole, &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(0, &whole, 5, &whole, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &empty_root(), 5, &whole, &[whole]), Err(ProofError::Length));
    assert_eq!(verify_consistency(5, &whole, 5, &whole, &[whole]), Err(ProofError::Length));
    assert_eq!(verify_consistency(5, &d[0], 5, &whole, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(3, &mth(&d[..3]), 5, &whole, &[]), Err(ProofError::Length));
    let vast = verify_inclusion(&d[0], u64::MAX - 1, u64::MAX, &whole, &[whole; 64]);
    assert!(vast.is_err());
    assert!(verify_consistency(u64::MAX - 1, &whole, u64::MAX, &whole, &[whole; 64]).is_err());
}

#[test]
fn an_overlay_tells_whether_hashes_are_the_tree_s() {
    let d = leaves(1300);
    let mut tree = memory(&d);
    for size in [1, 5, 256, 257, 700, 1300] {
        let whole = mth(&d[..size]);
        for (level, first, length) in
            [(0, 0, 1), (0, 0, 5), (0, 256, 1), (0, 512, 188), (0, 1280, 20), (8, 0, 1), (8, 0, 5)]
        {
            let inside = (first + length) << level <= size;
            let mut hashes: Vec<Hash> =
                (first..first + length).map(|i| tree.node(level, i as u64).unwrap()).collect();
            let mut gives = |hashes: &[Hash]| {
                let first = first as u64;
                Overlay { level, first, hashes, rest: &mut tree }.gives(size as u64, &whole).unwrap()
            };
            assert_eq!(gives(&hashes), inside, "{size} {level} {first} {length}");
            for place in 0..length {
                hashes[place].0[31] ^= 1;
                assert!(!gives(&hashes));
                hashes[place].0[31] ^= 1;
            }
        }
    }
}

/// After pruning: all that may still be asked is answered as before, and nothing else.
#[test]
fn a_tree_whose_first_leaves_are_gone_proves_the_rest() {
    let d = leaves(1100);
    let mut whole = memory(&d);
    for gone in [1usize, 255, 256, 300, 511, 777, 1024, 1099] {
        let before = frontier(&mut whole, gone as u64).unwrap();
        let mut tree = Memory::after(before);
        tree.extend(d[gone..].iter().copied());
        assert_eq!((tree.size(), tree.root()), (1100, whole.root()));
        for size in [gone as u64, gone as u64 + 1, 1024, 1099, 1100] {
            if size < gone as u64 {
                continue;
            }
            assert_eq!(root(&mut tree, size).unwrap(), root(&mut whole, size).unwrap(), "{gone} {size}");
            let one = consistency(&mut tree, gone as u64, size).unwrap();
            assert_eq!(one, consistency(&mut whole, gone as u64, size).unwrap(), "{gone} {size}");
            if size > gone as u64 {
                let one = inclusion(&mut tree, gone as u64, size).unwrap();
                assert_eq!(one, inclusion(&mut whole, gone as u64, size).unwrap(), "{gone} {size}");
            }
        }
        assert!(tree.node(0, gone as u64 - 1).is_ok() == (gone % 2 == 1), "{gone}");
    }
}

proptest! {
    #[test]
    fn proofs_of_larger_trees(size in 1usize..900, index in any::<prop::sample::Index>()) {
        let d = leaves(size);
        let mut tree = memory(&d);
        let (index, old) = (index.index(size), index.index(size) + 1);
        let whole = mth(&d);
        let proof = inclusion(&mut tree, index as u64, size as u64).unwrap();
        prop_assert_eq!(&proof, &path(index, &d));
        prop_assert_eq!(verify_inclusion(&d[index], index as u64, size as u64, &whole, &proof), Ok(()));
        let proof = consistency(&mut tree, old as u64, size as u64).unwrap();
        prop_assert_eq!(&proof, &subproof(old, &d, true));
        prop_assert_eq!(verify_consistency(old as u64, &mth(&d[..old]), size as u64, &whole, &proof), Ok(()));
    }

    /// A bit, a hash more, a hash less, two hashes exchanged: nothing of it is accepted.
    #[test]
    fn no_changed_proof_holds(
        size in 2usize..300,
        index in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in 0usize..256,
    ) {
        let d = leaves(size);
        let mut tree = memory(&d);
        let (index, whole) = (index.index(size), mth(&d));
        let n = size as u64;
        let old = index as u64 + 1;
        let before = mth(&d[..=index]);
        let included = inclusion(&mut tree, index as u64, n).unwrap();
        let consistent = consistency(&mut tree, old, n).unwrap();
        for (proof, consistency) in [(included, false), (consistent, true)] {
            let holds = |proof: &[Hash]| match consistency {
                true => verify_consistency(old, &before, n, &whole, proof).is_ok(),
                false => verify_inclusion(&d[index], index as u64, n, &whole, proof).is_ok(),
            };
            prop_assert!(holds(&proof));
            let mut longer = proof.clone();
            longer.insert(place.index(proof.len() + 1), leaf_hash(b"one more"));
            prop_assert!(!holds(&longer));
            if proof.is_empty() {
                continue;
            }
            let at = place.index(proof.len());
            let mut flipped = proof.clone();
            flipped[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!holds(&flipped));
            let mut shorter = proof.clone();
            shorter.remove(at);
            prop_assert!(!holds(&shorter));
            if at > 0 {
                let mut swapped = proof.clone();
                swapped.swap(at, at - 1);
                prop_assert!(!holds(&swapped));
            }
        }
    }

    /// Whatever somebody sends, the verifiers answer.
    #[test]
    fn any_numbers_are_answered(
        first in any::<u64>(),
        second in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..70),
    ) {
        let root = Hash([7; 32]);
        prop_assert!(verify_inclusion(&root, first, second, &root, &proof).is_err() || second == 1);
        let _ = verify_consistency(first, &root, second, &root, &proof);
    }
}
