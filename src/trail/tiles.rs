//! C2SP tlog-tiles (c2sp.org/tlog-tiles): the names and the bytes of the static files that a log is.
//!
//! ```text
//! checkpoint                       the signed note
//! tile/<L>/<N>[.p/<W>]             hashes: number i is that of the 256^L leaves from (N·256 + i)·256^L on
//! tile/entries/<N>[.p/<W>]         entries N·256 and on: length as two bytes, most significant first, then the line
//! ```
//!
//! `<N>` stands in groups of three digits, all but the last with an `x` before them: 1234067 is
//! `x001/x234/067`. `.p/<W>` names a partial tile, of the width 1 to 255; a tile without it is 256 wide.
//! One tile has one name: other spellings are refused.
//!
//! Pure: where the hashes and entries come from is the business of `publish`.

use super::note::parse_decimal;
use super::proof::Hashes;
use crate::model::Hash;
use std::fmt;
use std::io;

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Bytes of a full tile.
pub const TILE_BYTES: usize = 256 * 32;
/// Longest name that is read: 7 groups of digits.
pub const NAME_MAX: usize = 64;
/// Highest level that the specification allows in a name. Above 7 no tile of ours can stand.
const LEVEL_MAX: u32 = 63;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes of this level.
    Hashes(u32),
    /// The entries themselves.
    Entries,
}

/// The name of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TilePath {
    /// Hashes or entries.
    pub kind: Kind,
    /// Number of the tile in its level.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u64,
}

impl TilePath {
    /// Reads a name, `tile/…` without a slash before it.
    pub fn parse(name: &str) -> Option<TilePath> {
        if name.len() > NAME_MAX {
            return None;
        }
        let (kind, rest) = name.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => {
                Kind::Hashes(u32::try_from(parse_decimal(level)?).ok().filter(|level| *level <= LEVEL_MAX)?)
            }
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => {
                (groups, parse_decimal(width).filter(|width| (1..WIDTH).contains(width))?)
            }
            None => (rest, WIDTH),
        };
        let mut index: u64 = 0;
        for group in groups.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let path = TilePath { kind, index, width };
        // Superfluous groups and misplaced `x` are other spellings of a tile that has one name already.
        (path.to_string() == name).then_some(path)
    }

    /// The level, that of entries being 0.
    pub fn level(&self) -> u32 {
        match self.kind {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        }
    }

    /// Whether a tree of `size` leaves has all hashes, or entries, of this tile.
    pub fn is_in(&self, size: u64) -> bool {
        let first = self.index.checked_mul(WIDTH);
        first
            .and_then(|first| first.checked_add(self.width))
            .is_some_and(|end| end <= hashes(self.level(), size))
    }

    /// Index of the first hash or entry in its level. Only for a tile that [`TilePath::is_in`] some tree.
    pub fn first(&self) -> u64 {
        self.index * WIDTH
    }

    /// Index after the last leaf below the *full* tile, as pruning counts; `None` beyond 2^64.
    pub fn end(&self) -> Option<u64> {
        let width = 1u64.checked_shl(8 * (self.level() + 1))?;
        self.index.checked_add(1)?.checked_mul(width)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        match self.width {
            WIDTH => Ok(()),
            width => write!(f, ".p/{width}"),
        }
    }
}

/// Hashes that a tree of `size` leaves has at a tile level: its full subtrees of 256^`level` leaves.
pub fn hashes(level: u32, size: u64) -> u64 {
    size.checked_shr(8 * level).unwrap_or(0)
}

/// The tiles of a kind in a tree of `size` leaves, in order; the last may be partial.
pub fn of_kind(kind: Kind, size: u64) -> impl Iterator<Item = TilePath> {
    let level = TilePath { kind, index: 0, width: WIDTH }.level();
    let hashes = hashes(level, size);
    (0..hashes.div_ceil(WIDTH)).map(move |index| {
        let width = (hashes - index * WIDTH).min(WIDTH);
        TilePath { kind, index, width }
    })
}

/// All hash tiles and entry bundles of a tree of `size` leaves.
pub fn all(size: u64) -> impl Iterator<Item = TilePath> {
    let levels = (0..8).take_while(move |level| hashes(*level, size) > 0);
    levels.map(Kind::Hashes).chain([Kind::Entries]).flat_map(move |kind| of_kind(kind, size))
}

/// The hashes of a tile. A tile of entries has those of its leaves.
pub fn tile_hashes(from: &mut dyn Hashes, path: &TilePath) -> io::Result<Vec<Hash>> {
    from.row(8 * path.level(), path.first(), path.width)
}

/// A tile's bytes.
pub fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// A tile's hashes, from exactly the bytes of its width.
pub fn parse_tile(bytes: &[u8], width: u64) -> Option<Vec<Hash>> {
    let (hashes, []) = bytes.as_chunks::<32>() else { return None };
    (hashes.len() as u64 == width).then(|| hashes.iter().copied().map(Hash).collect())
}

/// Appends an entry to a bundle. `false`: it is longer than 65,535 bytes, and nothing was appended.
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle that holds `width` of them and nothing else.
pub fn parse_bundle(mut bundle: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    (bundle.is_empty() && entries.len() as u64 == width).then_some(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trail::proof::{Memory, combine};
    use crate::trail::tree::leaf_hash;
    use proptest::prelude::*;

    #[test]
    fn the_specification_s_example_of_a_name() {
        let path = TilePath { kind: Kind::Hashes(0), index: 1_234_067, width: WIDTH };
        assert_eq!(path.to_string(), "tile/0/x001/x234/067");
        assert_eq!(TilePath::parse("tile/0/x001/x234/067"), Some(path));
        let partial = TilePath { kind: Kind::Entries, index: 273, width: 112 };
        assert_eq!(partial.to_string(), "tile/entries/273.p/112");
        assert_eq!(TilePath::parse("tile/entries/273.p/112"), Some(partial));
        assert!(TilePath::parse("tile/63/000").is_some());
        let longest = TilePath { kind: Kind::Entries, index: u64::MAX, width: 255 };
        assert_eq!(TilePath::parse(&longest.to_string()), Some(longest));
    }

    #[test]
    fn other_spellings_are_refused() {
        for name in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile//000",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/01/000",
            "tile/+1/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/data/000",
            "tile/Entries/000",
            "tile/0/x000/001",
            "tile/0/x000",
            "tile/0/001/002",
            "tile/0/x01/002",
            "tile/0/X001/002",
            "tile/0/xx001/002",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "tile/0/000.p/1.p/1",
            "/tile/0/000",
            "tile/0/x001/x234/067 ",
            "tile/0/../000",
            "tile/0/00\u{661}",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TilePath::parse(name), None, "{name}");
        }
    }

    /// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of
    /// width 112, one full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile
    /// of width 1."
    #[test]
    fn the_specification_s_example_of_a_tree() {
        let (bundles, tiles): (Vec<_>, Vec<_>) = all(70_000).partition(|path| path.kind == Kind::Entries);
        assert_eq!(tiles.len(), 277);
        let names: Vec<String> = tiles.iter().skip(273).map(TilePath::to_string).collect();
        assert_eq!(names, ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]);
        let full = |level| TilePath { kind: Kind::Hashes(0), index: level, width: WIDTH };
        assert!((0..273).map(full).eq(tiles.iter().take(273).copied()));
        assert_eq!((bundles.len(), bundles[273].to_string().as_str()), (274, "tile/entries/273.p/112"));
        let names: Vec<String> = all(256).map(|path| path.to_string()).collect();
        assert_eq!(names, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        assert_eq!(all(0).count(), 0);
        assert!(all(70_000).all(|path| path.is_in(70_000)));
        assert!(!tiles[276].is_in(65_535) && tiles[276].is_in(65_536));
    }

    #[test]
    fn the_end_of_a_tile_is_what_pruning_counts() {
        let end = |name: &str| TilePath::parse(name).unwrap().end();
        assert_eq!(end("tile/0/000"), Some(256));
        assert_eq!(end("tile/entries/001.p/3"), Some(512));
        assert_eq!(end("tile/1/002"), Some(3 * 65_536));
        assert_eq!(end("tile/7/000"), None);
    }

    #[test]
    fn tiles_hold_what_the_formula_says() {
        let mut tree = Memory::default();
        tree.extend((0..70_000u32).map(|i| leaf_hash(&i.to_be_bytes())));
        for name in ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"] {
            let path = TilePath::parse(name).unwrap();
            let hashes = tile_hashes(&mut tree, &path).unwrap();
            let span = 256u64.pow(path.level());
            for (i, hash) in hashes.iter().enumerate() {
                let start = (path.index * WIDTH + i as u64) * span;
                let leaves: Vec<Hash> =
                    (start..start + span).map(|leaf| leaf_hash(&(leaf as u32).to_be_bytes())).collect();
                assert_eq!(*hash, combine(&leaves), "{name} {i}");
            }
            let bytes = tile_bytes(&hashes);
            assert_eq!(parse_tile(&bytes, path.width), Some(hashes));
            assert_eq!(parse_tile(&bytes, path.width + 1), None);
            assert_eq!(parse_tile(&bytes[1..], path.width), None);
        }
        let beyond = TilePath::parse("tile/0/273.p/113").unwrap();
        assert!(!beyond.is_in(70_000) && tile_hashes(&mut tree, &beyond).is_err());
    }

    #[test]
    fn bundles_read_back_and_cut_ones_do_not() {
        let mut bundle = Vec::new();
        let long = vec![b'x'; 65_535];
        for entry in [&b"{}"[..], b"", &long] {
            assert!(push_entry(&mut bundle, entry));
        }
        assert!(bundle.starts_with(b"\0\x02{}\0\0\xff\xff"));
        let before = bundle.len();
        assert!(!push_entry(&mut bundle, &vec![0; 65_536]));
        assert_eq!(bundle.len(), before);
        assert_eq!(parse_bundle(&bundle, 3), Some(vec![&b"{}"[..], b"", &long]));
        assert_eq!(parse_bundle(&bundle, 2), None);
        assert_eq!(parse_bundle(&bundle[..before - 1], 3), None);
        assert_eq!(parse_bundle(b"\0\x02{}\0", 1), None);
    }

    proptest! {
        #[test]
        fn names_read_back(level in 0u32..64, index in any::<u64>(), width in 1u64..=256, entries: bool) {
            let kind = if entries { Kind::Entries } else { Kind::Hashes(level) };
            let path = TilePath { kind, index, width };
            prop_assert_eq!(TilePath::parse(&path.to_string()), Some(path));
        }

        /// Whatever is read has exactly the name that it was read from.
        #[test]
        fn nothing_else_is_read(name in "(tile/)?([0-9]{1,2}|entries)/(x?[0-9x]{2,4}/){0,7}[0-9]{2,4}(\\.p/?[0-9]{0,4})?/?") {
            if let Some(path) = TilePath::parse(&name) {
                prop_assert_eq!(path.to_string(), name);
                let _ = (path.is_in(u64::MAX), path.end());
            }
        }

        #[test]
        fn any_text_and_bytes_are_answered(name in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..600), width in 0u64..300) {
            let _ = (TilePath::parse(&name), parse_tile(&bytes, width), parse_bundle(&bytes, width));
        }
    }
}
