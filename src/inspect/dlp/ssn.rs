//! United States social-security numbers: three, two and four digits.
//!
//! There is no check digit. What the Social Security Administration never issues is refused: area 000, 666
//! and 900–999, group 00, serial 0000 (since the randomisation of 25 June 2011 every other area may occur).
//! A number in the usual dashed form is evidence by itself; nine plain digits count only where a word or a
//! field name states what they are.

use super::cluster::{Cluster, Group};
use super::context;
use super::edges::{self, Edge};
use super::{Detector, Digits, Hit, Score};

/// Finds numbers in a cluster, leaving out what the cards among `hits` from `from` on already cover.
pub(super) fn find(cluster: &Cluster, text: &[u8], path: &str, from: usize, hits: &mut Vec<Hit>) {
    let mut card = from;
    let cards = hits.len();
    let mut place = 0;
    while place < cluster.groups.len() {
        let width = match shape(cluster.groups.get(place..).unwrap_or_default()) {
            Some(Shape::Plain) => 1,
            Some(Shape::Grouped) => 3,
            None => 0,
        };
        let hit = (width > 0).then(|| evaluate(cluster, text, path, place, width, hits)).flatten();
        place += 1;
        let Some(hit) = hit else { continue };
        // Both go forward, so cards that end before this number never matter again.
        while card < cards && hits.get(card).is_some_and(|card| card.end <= hit.start) {
            card += 1;
        }
        if card == cards || hits.get(card).is_none_or(|card| hit.end <= card.start) {
            hits.push(hit);
            place += width - 1;
        }
    }
}

enum Shape {
    /// Nine digits.
    Plain,
    /// 3-2-4 with one kind of separator.
    Grouped,
}

fn shape(groups: &[Group]) -> Option<Shape> {
    match groups {
        [Group { len: 9, .. }, ..] => Some(Shape::Plain),
        [Group { len: 3, .. }, Group { len: 2, gap: one, .. }, Group { len: 4, gap: two, .. }, ..]
            if one == two =>
        {
            Some(Shape::Grouped)
        }
        _ => None,
    }
}

/// What the digits alone say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validity {
    /// Never issued.
    Never,
    /// Printed in leaflets and sold in wallets, or reserved for advertisements.
    Advertised,
    /// One digit nine times: some were issued, most are placeholders.
    OneDigit,
    /// In a range that was opened in 2011 only.
    Recent,
    /// Issued before 2011 or since.
    Usual,
}

/// Numbers that the administration or the press made known (SSA, "Social Security numbers misused").
const ADVERTISED: &[u32] = &[78_051_120, 219_099_999, 123_456_789, 457_555_462];

fn validity(values: &[u8]) -> Validity {
    let number = |from: usize, to: usize| {
        values.get(from..to).unwrap_or_default().iter().fold(0u32, |sum, digit| sum * 10 + u32::from(*digit))
    };
    let (area, group, serial, all) = (number(0, 3), number(3, 5), number(5, 9), number(0, 9));
    match area {
        _ if ADVERTISED.contains(&all) || (987_654_320..=987_654_329).contains(&all) => Validity::Advertised,
        0 | 666 | 900.. => Validity::Never,
        _ if group == 0 || serial == 0 => Validity::Never,
        _ if values.windows(2).all(|pair| pair.first() == pair.last()) => Validity::OneDigit,
        734..=749 | 772..=899 => Validity::Recent,
        _ => Validity::Usual,
    }
}

fn evaluate(
    cluster: &Cluster,
    text: &[u8],
    path: &str,
    first: usize,
    width: usize,
    hits: &[Hit],
) -> Option<Hit> {
    let last = first + width - 1;
    let values = cluster.values_of(first, last);
    let validity = validity(values);
    if validity == Validity::Never {
        return None;
    }
    let digits = cluster.digits_of(first, last);
    let (start, end) = (digits.first()?.start, digits.last()?.end);
    let gap = if width == 3 { cluster.groups.get(first + 1)?.gap } else { 0 };
    let mut score = Score::default();
    let named = sides(cluster, text, (first, last), gap, (start, end), &mut score)?;
    let mut context = context::around(Detector::UsSsn, text, start, end, path);
    super::inherit(&mut context, Detector::UsSsn, text, start, hits);
    let stated = context.states() || named;
    let listed = score.has("part of a longer list");
    if !stated && (listed || !matches!(gap, b'-' | b' ' | b'.' | b'_' | b'/' | b'+')) {
        return None;
    }
    match gap {
        b'-' => score.add("dashes", 4),
        b' ' | b'.' => score.add("blanks or dots", 1),
        _ => {}
    }
    match validity {
        Validity::OneDigit => score.add("one digit", -5),
        Validity::Recent => score.add("issued since 2011 only", -1),
        _ => {}
    }
    context.rate(&mut score);
    if named && context.before < 3 {
        score.add("a word touches it", 3);
    }
    Some(Hit {
        detector: Detector::UsSsn,
        likelihood: score.likelihood(),
        start,
        end,
        masked: super::masked_part(text, start, end, values.len(), 4),
        test_number: validity == Validity::Advertised,
        network: None,
        certain: stated || matches!(gap, b'-' | b' ' | b'.'),
        stated: context.before.max(context.field),
        encoded: false,
        digits: Digits::new(values),
        why: score.terms,
    })
}

/// Looks at both sides. `None` when it is a part of something else; otherwise whether a word touches it.
fn sides(
    cluster: &Cluster,
    text: &[u8],
    (first, last): (usize, usize),
    gap: u8,
    (start, end): (usize, usize),
    score: &mut Score,
) -> Option<bool> {
    let mut named = false;
    let left = (first == 0).then(|| edges::left(text, start));
    let right = (last + 1 == cluster.groups.len()).then(|| edges::right(text, end));
    for edge in [left, right].into_iter().flatten() {
        match edge {
            Edge::Inside => return None,
            Edge::Named => named = true,
            Edge::Touched(what, points) => score.add(what, points.min(-2)),
            Edge::Clear => {}
        }
    }
    let before = (first > 0).then(|| cluster.groups.get(first).map_or(0, |group| group.gap));
    let after = cluster.groups.get(last + 1).map(|group| group.gap);
    for neighbour in [before, after].into_iter().flatten() {
        match (gap, neighbour) {
            (b'-', b'-') => return None,
            // Nine digits after a point are a fraction. What stands behind them need not belong to them: the
            // number of a rotated file does not. Without a word that states them they count for nothing anyway.
            (0, b'.') if before == Some(b'.') => return None,
            (0, b'.' | b'-' | b'_') => score.add("joined to a number", -2),
            (0, _) => {}
            (inner, outer) if inner == outer => score.add("part of a longer list", -2),
            (_, b'.' | b'-') => score.add("joined to a number", -2),
            _ => {}
        }
    }
    Some(named)
}
