//! Payment cards: windows of groups in a cluster, checked from the cheapest to the dearest rule.
//!
//! Length and issuer prefix, check digit, then what is around. A window begins and ends with a group, so a
//! slice of a longer number is never taken for a card; after a window that does not hold, the next group is
//! tried. Where windows of several lengths hold, sixteen digits in the usual grouping win.

use super::cluster::Cluster;
use super::context::{self, Context};
use super::edges::{self, Edge};
use super::networks::{self, LONGEST, Network, SHORTEST};
use super::{Detector, Digits, Hit, Score};

/// How the digits are grouped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// No separators.
    Plain,
    /// As printed on cards: 4-4-4-4, 4-6-5, 4-6-4, 4-4-4-4-3, 6-13.
    Printed,
    /// As people type them: 8-8, 4-12, 4-4-4-3 and the like.
    Typed,
    /// Any other.
    Odd,
}

/// A window of groups.
#[derive(Clone, Copy)]
struct Window {
    first: usize,
    last: usize,
    shape: Shape,
}

/// Finds cards in a cluster. `inherited` is what the card directly before in a list had for context.
/// Returns nothing; hits are pushed in order.
pub(super) fn find(cluster: &Cluster, text: &[u8], path: &str, hits: &mut Vec<Hit>) {
    let mut first = 0;
    while first < cluster.groups.len() {
        match best(cluster, text, path, first, hits) {
            Some((hit, last)) => {
                hits.push(hit);
                first = last + 1;
            }
            None => first += 1,
        }
    }
}

/// The best window that begins with the group `first`.
fn best(cluster: &Cluster, text: &[u8], path: &str, first: usize, hits: &[Hit]) -> Option<(Hit, usize)> {
    let begin = cluster.groups.get(first)?;
    if matches!(cluster.values.get(begin.first), None | Some(0 | 7)) {
        return None;
    }
    let mut best: Option<(u8, Window)> = None;
    let mut total = 0;
    for (last, group) in cluster.groups.iter().enumerate().skip(first).take(LONGEST) {
        total += group.len;
        if total > LONGEST {
            break;
        }
        let values = cluster.values_of(first, last);
        if total >= SHORTEST && possible(values) {
            let window = Window { first, last, shape: shape(cluster, first, last) };
            // A valid check digit first, then the usual groupings, then sixteen digits, then the longer.
            let unchecked = if networks::luhn(values) { 0 } else { 128 };
            let length = if total == 16 { 0 } else { 31u8.saturating_sub(total as u8) };
            let rank = unchecked + window.shape as u8 * 32 + length;
            if best.is_none_or(|(other, _)| rank < other) {
                best = Some((rank, window));
            }
        }
    }
    let (_, window) = best?;
    Some((evaluate(cluster, text, path, window, hits)?, window.last))
}

/// Whether issuer, length and check digit allow it.
fn possible(values: &[u8]) -> bool {
    let checks = |network: Network| network.unchecked || networks::luhn(values);
    networks::network(values).is_some_and(checks)
}

fn shape(cluster: &Cluster, first: usize, last: usize) -> Shape {
    let mut lengths = [0usize; LONGEST];
    let groups = cluster.groups.get(first..=last).unwrap_or_default();
    for (slot, group) in lengths.iter_mut().zip(groups) {
        *slot = group.len;
    }
    match lengths.get(..groups.len()).unwrap_or_default() {
        [_] => Shape::Plain,
        [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3] | [6, 13] => Shape::Printed,
        [8, 8]
        | [4, 12]
        | [12, 4]
        | [4, 4, 8]
        | [4, 8, 4]
        | [8, 4, 4]
        | [6, 10]
        | [6, 6, 4]
        | [4, 4, 4, 3]
        | [4, 4, 4, 2]
        | [4, 11]
        | [4, 10] => Shape::Typed,
        _ => Shape::Odd,
    }
}

fn evaluate(cluster: &Cluster, text: &[u8], path: &str, window: Window, hits: &[Hit]) -> Option<Hit> {
    let values = cluster.values_of(window.first, window.last);
    let network = networks::network(values)?;
    let checked = networks::luhn(values);
    if !(checked || network.unchecked) || values.windows(2).all(|pair| pair.first() == pair.last()) {
        return None;
    }
    let digits = cluster.digits_of(window.first, window.last);
    let (start, end) = (digits.first()?.start, digits.last()?.end);
    let mut score = Score::default();
    let track = is_track(text, start, end);
    let inside = if track { Edge::Clear } else { sides(cluster, text, window, start, end, &mut score)? };
    let mut context = context::around(Detector::PaymentCard, text, start, end, path);
    super::inherit(&mut context, Detector::PaymentCard, text, start, hits);
    let stated = context.states() || track || inside == Edge::Named;
    let whole = window.first == 0 && window.last + 1 == cluster.groups.len();
    let shaped = window.shape != Shape::Odd || (whole && uniform(cluster, window));
    let telling = checked && shaped && (network.strong || window.shape == Shape::Printed);
    if !(stated || telling) {
        return None;
    }
    rate(&mut score, network, checked, window.shape, &context);
    if inside == Edge::Named && context.before < 3 {
        score.add("a word touches it", 3);
    }
    if track {
        score.add("magnetic stripe data", 10);
    }
    let fraction = score.has("decimal fraction");
    Some(Hit {
        detector: Detector::PaymentCard,
        likelihood: score.likelihood(),
        start,
        end,
        masked: super::masked_part(text, start, end, values.len(), 4),
        test_number: networks::is_test_number(values),
        network: Some(network.name),
        certain: stated || (network.strong && checked && !fraction),
        stated: context.before.max(context.field),
        encoded: false,
        digits: Digits::new(values),
        why: score.terms,
    })
}

fn rate(score: &mut Score, network: Network, checked: bool, shape: Shape, context: &Context) {
    score.add("check digit", if checked { 1 } else { -3 });
    score.add("issuer and length", if network.strong { 3 } else { -1 });
    match shape {
        Shape::Printed => score.add("grouped as printed", 2),
        Shape::Odd => score.add("unusual grouping", -1),
        Shape::Plain | Shape::Typed => {}
    }
    context.rate(score);
}

/// Whether all separators in the window are of one kind that joins, so that an unusual grouping can still
/// be one number.
fn uniform(cluster: &Cluster, window: Window) -> bool {
    let mut gaps = cluster.groups.iter().take(window.last + 1).skip(window.first + 1).map(|group| group.gap);
    let Some(gap) = gaps.next() else { return true };
    matches!(gap, b' ' | b'-' | b'_') && gaps.all(|other| other == gap)
}

/// Looks at both sides: the text where the cluster ends, the neighbouring groups elsewhere. `None` when
/// the window is a part of something else.
fn sides(
    cluster: &Cluster,
    text: &[u8],
    window: Window,
    start: usize,
    end: usize,
    score: &mut Score,
) -> Option<Edge> {
    let mut named = Edge::Clear;
    let left = (window.first == 0).then(|| edges::left(text, start));
    let right = (window.last + 1 == cluster.groups.len()).then(|| edges::right(text, end));
    for edge in [left, right].into_iter().flatten() {
        match edge {
            Edge::Inside => return None,
            Edge::Named => named = Edge::Named,
            Edge::Touched(what, points) => score.add(what, points),
            Edge::Clear => {}
        }
    }
    if window.first > 0 {
        before_group(cluster, window, score);
    }
    if let Some(next) = cluster.groups.get(window.last + 1) {
        let rest = cluster.groups.len() - window.last - 1;
        after_group(cluster, window, next.gap, next.len, rest, score);
    }
    Some(named)
}

fn before_group(cluster: &Cluster, window: Window, score: &mut Score) {
    let (Some(begin), Some(previous)) =
        (cluster.groups.get(window.first), cluster.groups.get(window.first - 1))
    else {
        return;
    };
    match (window.shape, begin.gap) {
        (Shape::Plain, b'.') if begin.width == 1 => score.add("decimal fraction", -5),
        (Shape::Plain, b'-' | b'_' | b'/') => score.add("joined to a number", -2),
        (Shape::Plain, _) => {}
        (_, gap)
            if gap == inner_gap(cluster, window) && previous.len >= 3 && !is_card_before(cluster, window) =>
        {
            score.add("part of a longer list", -6);
        }
        _ => {}
    }
}

fn after_group(cluster: &Cluster, window: Window, gap: u8, len: usize, rest: usize, score: &mut Score) {
    let zeros = cluster.values_of(window.last + 1, window.last + 1).iter().all(|digit| *digit == 0);
    match (window.shape, gap) {
        (Shape::Plain, b'.') if zeros && len <= 2 => {}
        (Shape::Plain, b'.') => score.add("decimal number", if len <= 2 { -1 } else { -3 }),
        (Shape::Plain, b'-' | b'_') => score.add("joined to a number", -2),
        (Shape::Plain, _) => {}
        (_, gap) if gap == inner_gap(cluster, window) => {
            // Expiry and security code follow a card; four groups more are a list, or the next card.
            let tail = rest <= 2 && len <= 4;
            if !tail && !is_card_after(cluster, window) {
                score.add("part of a longer list", -6);
            } else if tail && len == 4 {
                score.add("followed by a group", -1);
            }
        }
        _ => {}
    }
}

fn inner_gap(cluster: &Cluster, window: Window) -> u8 {
    cluster.groups.get(window.first + 1).map_or(0, |group| group.gap)
}

fn is_card_before(cluster: &Cluster, window: Window) -> bool {
    window.first >= 4 && holds(cluster.values_of(window.first - 4, window.first - 1))
}

fn is_card_after(cluster: &Cluster, window: Window) -> bool {
    holds(cluster.values_of(window.last + 1, window.last + 4))
}

fn holds(values: &[u8]) -> bool {
    networks::network(values).is_some_and(|network| network.strong) && networks::luhn(values)
}

/// Track 1 (`%B<number>^NAME^`) and track 2 (`;<number>=YYMM…`) of ISO/IEC 7813.
fn is_track(text: &[u8], start: usize, end: usize) -> bool {
    let before = text.get(start.saturating_sub(2)..start).unwrap_or_default();
    let after = text.get(end..text.len().min(end + 8)).unwrap_or_default();
    match after.split_first() {
        Some((b'^', _)) => before.ends_with(b"B") || before.ends_with(b"b"),
        Some((b'=' | b'D', rest)) => rest.len() >= 7 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
