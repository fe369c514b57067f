//! What stands in two trails: messages of one stream that two daemons read.
//!
//! Daemons that share a NATS stream have a trail each. A message that was committed and not confirmed when its
//! daemon was killed is delivered to the next one as well, and stands in both trails, each time under the same
//! sequence. Only whoever holds both trails can see that, so `verify` over several looks for it. It is no damage:
//! both entries are true. The locator `nats:<stream>/<consumer>@<sequence>` is what is compared; a stream that was
//! made anew counts from 1 again, and its messages are not told apart here.

use super::disk::Disk;
use super::verify::trail_folder;
use super::{TrailError, generation, read};
use memchr::memmem;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// Ranges that are listed; more are only counted.
pub const RANGES_MAX: usize = 100;

/// Messages of one stream, over all trails that were given.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Overlap {
    /// The stream.
    pub stream: String,
    /// Messages in all trails, each counted as often as it stands there.
    pub messages: u64,
    /// Messages that stand in two trails or more.
    pub twice: u64,
    /// Their sequences, the first [`RANGES_MAX`] ranges.
    pub ranges: Vec<(u64, u64)>,
    /// Messages that stand twice in the same trail: that must not be.
    pub within_one: u64,
}

/// Looks through all trails.
pub fn overlaps(disk: &dyn Disk, dirs: &[impl AsRef<Path>]) -> Result<Vec<Overlap>, TrailError> {
    let mut streams: BTreeMap<String, Vec<(u64, u32)>> = BTreeMap::new();
    for (number, dir) in dirs.iter().enumerate() {
        let trail = trail_folder(dir.as_ref());
        for generation in generation::all(disk, &trail)? {
            let folder = trail.join(format!("g{generation}"));
            let looked = read::each(disk, &folder, 0, u64::MAX, &mut |entry| {
                if entry.kind == "event"
                    && let Some((stream, sequence)) = located(entry.members())
                {
                    let known = match streams.get_mut(stream) {
                        Some(known) => known,
                        None => streams.entry(stream.to_owned()).or_default(),
                    };
                    known.push((sequence, number as u32));
                }
                Ok(())
            });
            // A line that is no entry: what a crash left, or damage. The verdict on that trail says which.
            match looked {
                Err(TrailError::Refused { .. }) => {}
                other => other?,
            }
        }
    }
    Ok(streams.into_iter().map(|(stream, found)| overlap(stream, found)).collect())
}

/// Stream and sequence of an event that came from one.
fn located(members: &[u8]) -> Option<(&str, u64)> {
    const BEFORE: &[u8] = b"\"locator\":\"nats:";
    let start = memmem::find(members, BEFORE)? + BEFORE.len();
    let rest = members.get(start..)?;
    let text = std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()?;
    let (place, sequence) = text.rsplit_once('@')?;
    Some((place.split('/').next()?, sequence.parse().ok()?))
}

fn overlap(stream: String, mut found: Vec<(u64, u32)>) -> Overlap {
    found.sort_unstable();
    let (messages, mut twice, mut within_one) = (found.len() as u64, 0, 0);
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for same in found.chunk_by(|one, other| one.0 == other.0) {
        let Some((sequence, trail)) = same.first().copied() else { continue };
        within_one += same.windows(2).filter(|pair| pair.first() == pair.last()).count() as u64;
        if same.iter().all(|(_, other)| *other == trail) {
            continue;
        }
        twice += 1;
        let room = ranges.len() < RANGES_MAX;
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == sequence => *last = *last.start()..=sequence,
            _ if room => ranges.push(sequence..=sequence),
            _ => {}
        }
    }
    let ranges = ranges.into_iter().map(|range| (*range.start(), *range.end())).collect();
    Overlap { stream, messages, twice, ranges, within_one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_two_trails_are_ranges_and_in_one_a_fault() {
        let found = vec![(1, 0), (2, 0), (2, 1), (3, 1), (3, 0), (7, 1), (7, 1), (9, 0), (9, 1)];
        let overlap = overlap("CRM".into(), found);
        assert_eq!((overlap.messages, overlap.twice, overlap.within_one), (9, 3, 1));
        assert_eq!(overlap.ranges, [(2, 3), (9, 9)]);
    }

    #[test]
    fn only_locators_of_streams_count() {
        let members = br#""a":1,"raw":{"locator":"nats:CRM/crmwarden-p0@12","hmac":"x"}"#;
        assert_eq!(located(members), Some(("CRM", 12)));
        assert_eq!(located(br#""raw":{"locator":"/var/log/a@12"}"#), None);
        assert_eq!(located(br#""raw":{"locator":"nats:CRM"}"#), None);
    }
}
