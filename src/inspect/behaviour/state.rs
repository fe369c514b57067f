//! Windows as JSON, for a restart.
//!
//! The same state gives the same bytes: everything stands in order of rule, part and key, and a number is an
//! integer where it is one, else a string with its shortest digits. Rules are found again by id and part
//! name, so a snapshot outlives a change of the rules around them; what no longer has a home is left out.

use super::habit::{Past, Place, What};
use super::hits::Hits;
use super::rule::Correlation;
use super::values::Values;
use super::windows::{Group, State, Windows};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot<R> {
    version: u32,
    late: u64,
    evicted: BTreeMap<String, u64>,
    rules: R,
}

/// States by rule and part.
type SavedRules = BTreeMap<String, BTreeMap<String, Saved>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<G = Vec<SavedGroup>> {
    kind: String,
    newest: i64,
    swept: i64,
    groups: G,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGroup {
    key: Vec<String>,
    newest: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reported: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(String, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hits: Vec<Vec<(i64, Number)>>,
    /// For what is compared with the past: when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
}

/// All states, written group by group: beside them, a flood's windows would stand in memory a second time.
struct Rules<'a>(&'a Windows);

/// The groups of one state.
struct Groups<'a>(&'a State);

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rules: BTreeMap<&str, BTreeMap<&str, Saved<Groups<'_>>>> = BTreeMap::new();
        for (rule, states) in self.0.rules.iter().zip(&self.0.states) {
            for (correlation, state) in rule.correlations.iter().zip(states) {
                if *state != State::default() {
                    let saved = Saved {
                        kind: correlation.kind.as_str().to_owned(),
                        newest: state.newest,
                        swept: state.swept,
                        groups: Groups(state),
                    };
                    rules.entry(&rule.id).or_default().insert(&correlation.name, saved);
                }
            }
        }
        rules.serialize(serializer)
    }
}

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut groups: Vec<_> = self.0.groups.iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        serializer.collect_seq(groups.into_iter().map(|(key, group)| save(key, group)))
    }
}

/// An integer, or a string with the number's digits.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9_007_199_254_740_992.0 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            Integer(i64),
            Text(#[serde(borrow)] Cow<'a, str>),
        }
        match Form::deserialize(deserializer)? {
            Form::Integer(integer) => Ok(Number(integer as f64)),
            Form::Text(text) => text.parse().map(Number).map_err(serde::de::Error::custom),
        }
    }
}

/// The state as JSON.
pub(super) fn export(windows: &Windows, out: &mut Vec<u8>) {
    let rules = Rules(windows);
    let snapshot = Snapshot { version: VERSION, late: windows.late, evicted: windows.evicted.clone(), rules };
    // Maps with string keys and plain values always become JSON.
    let _ = serde_json::to_writer(out, &snapshot);
}

/// Replaces the state. On an error nothing changes.
pub(super) fn import(windows: &mut Windows, json: &[u8]) -> Result<(), String> {
    let snapshot: Snapshot<SavedRules> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if snapshot.version != VERSION {
        return Err(format!("version {} of the windows is not known", snapshot.version));
    }
    let mut rules = snapshot.rules;
    for (rule, states) in windows.rules.iter().zip(&mut windows.states) {
        let mut saved = rules.remove(&rule.id).unwrap_or_default();
        for (correlation, state) in rule.correlations.iter().zip(states) {
            *state = match saved.remove(&correlation.name) {
                Some(saved) if saved.kind == correlation.kind.as_str() => load(correlation, saved),
                _ => State::default(),
            };
        }
    }
    windows.evicted = snapshot.evicted;
    windows.late = snapshot.late;
    windows.sum_up();
    Ok(())
}

fn save(key: &[String], group: &Group) -> SavedGroup {
    let numbers = |entries: &std::collections::VecDeque<(i64, f64)>| {
        entries.iter().map(|(time, number)| (*time, Number(*number))).collect::<Vec<_>>()
    };
    let texts = |values: &Values| values.iter().map(|(text, time)| (text.clone(), *time)).collect::<Vec<_>>();
    let mut since = None;
    let (values, hits) = match &group.hits {
        Hits::Tally(entries, _) | Hits::Numbers(entries) => (Vec::new(), vec![numbers(entries)]),
        Hits::Parts(parts) => (Vec::new(), parts.iter().map(numbers).collect()),
        Hits::Distinct(values) => (texts(values), Vec::new()),
        Hits::Past(past) => {
            since = Some(past.since);
            let plain =
                |times: &mut dyn Iterator<Item = i64>| times.map(|time| (time, Number(0.0))).collect();
            match &past.what {
                What::Seen(values) => (texts(values), Vec::new()),
                What::Sums(sums) => (Vec::new(), vec![numbers(sums)]),
                What::Place(place) => {
                    let place = place.iter();
                    let named = place.clone().map(|place| (place.name.clone(), place.time)).collect();
                    let at = place.flat_map(|at| [(0, Number(at.latitude)), (0, Number(at.longitude))]);
                    (named, vec![at.collect()])
                }
                What::Newest(newest) => (Vec::new(), vec![plain(&mut newest.iter().copied())]),
                What::Hours(days, slots) => {
                    let lists = vec![
                        plain(&mut days.iter().copied()),
                        plain(&mut slots.iter().map(|day| i64::from(*day))),
                    ];
                    (Vec::new(), lists)
                }
            }
        }
    };
    SavedGroup { key: key.to_vec(), newest: group.newest, reported: group.reported, values, hits, since }
}

/// The past of a group, as [`save`] took it apart.
fn past(correlation: &Correlation, group: &SavedGroup) -> Past {
    let mut past = Past::new(correlation, group.since.unwrap_or(group.newest));
    let list = |place: usize| group.hits.get(place).map_or(&[][..], Vec::as_slice);
    match &mut past.what {
        What::Seen(values) => *values = group.values.iter().cloned().collect(),
        What::Sums(sums) => sums.extend(list(0).iter().map(|(time, number)| (*time, number.0))),
        What::Place(place) => {
            if let (Some((name, time)), [latitude, longitude]) = (group.values.first(), list(0)) {
                let (latitude, longitude) = (latitude.1.0, longitude.1.0);
                *place = Some(Place { time: *time, latitude, longitude, name: name.clone() });
            }
        }
        What::Newest(newest) => *newest = list(0).first().map(|(time, _)| *time),
        What::Hours(days, slots) => {
            days.extend(list(0).iter().map(|(day, _)| *day));
            slots
                .iter_mut()
                .zip(list(1))
                .for_each(|(slot, (day, _))| *slot = i32::try_from(*day).unwrap_or(i32::MIN));
        }
    }
    past
}

fn load(correlation: &Correlation, saved: Saved) -> State {
    let mut state = State { newest: saved.newest, swept: saved.swept, ..State::default() };
    for group in saved.groups {
        if group.key.len() != correlation.group_by.len() {
            continue;
        }
        if correlation.kind.is_habit() {
            let hits = Hits::Past(past(correlation, &group));
            let bytes = Group::bytes(&group.key, &hits);
            state.bytes += bytes;
            let (newest, reported) = (group.newest, group.reported);
            state.groups.insert(group.key, Group { hits, newest, reported, bytes });
            continue;
        }
        let mut lists = group.hits.into_iter().map(|hits| {
            let mut list: Vec<(i64, f64)> = hits.into_iter().map(|(time, number)| (time, number.0)).collect();
            list.sort_by_key(|(time, _)| *time);
            list.into()
        });
        let hits = match Hits::new(correlation, group.newest) {
            Hits::Tally(..) => {
                let entries: std::collections::VecDeque<(i64, f64)> = lists.next().unwrap_or_default();
                let total = entries.iter().map(|(_, number)| number).sum();
                Hits::Tally(entries, total)
            }
            Hits::Numbers(_) => Hits::Numbers(lists.next().unwrap_or_default()),
            Hits::Distinct(_) => Hits::Distinct(group.values.into_iter().collect()),
            Hits::Parts(parts) => {
                Hits::Parts(parts.iter().map(|_| lists.next().unwrap_or_default()).collect())
            }
            Hits::Past(past) => Hits::Past(past),
        };
        let bytes = Group::bytes(&group.key, &hits);
        state.bytes += bytes;
        state.groups.insert(group.key, Group { hits, newest: group.newest, reported: group.reported, bytes });
    }
    state
}
