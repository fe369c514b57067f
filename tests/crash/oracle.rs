//! What a trail must be, in some forty lines that share no code with it.

use super::sim::Sim;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crmwarden::trail::disk::Disk;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

pub type Leaf = [u8; 32];

/// RFC 6962 section 2.1.
pub fn root(leaves: &[Leaf]) -> Leaf {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = (root(&leaves[..split]), root(&leaves[split..]));
            Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
        }
    }
}

/// Lines of all segments in order, unpacked; the plain file of a pair wins.
fn lines(sim: &Sim, folder: &Path) -> Vec<String> {
    let dir = folder.join("segments");
    let names = sim.names(&dir).unwrap();
    let mut text = String::new();
    for name in names.iter().filter(|name| !name.ends_with(".tmp")) {
        let bytes = sim.content(&dir.join(name)).unwrap();
        match name.strip_suffix(".zst") {
            Some(plain) if names.iter().any(|name| name == plain) => {}
            Some(_) => text += &String::from_utf8(zstd::stream::decode_all(&bytes[..]).unwrap()).unwrap(),
            None => text += &String::from_utf8(bytes).map_err(|_| name).unwrap(),
        }
    }
    text.lines().map(str::to_owned).collect()
}

fn key(vkey: &str) -> VerifyingKey {
    let bytes = BASE64.decode(vkey.splitn(3, '+').nth(2).unwrap()).unwrap();
    VerifyingKey::from_bytes(bytes[1..].try_into().unwrap()).unwrap()
}

fn holds(key: &VerifyingKey, message: &str, signature: &[u8]) -> bool {
    key.verify_strict(message.as_bytes(), &Signature::from_slice(signature).unwrap()).is_ok()
}

/// Checks chain, roots, signatures and checkpoint; returns all leaves from entry 0 on and the lines that are
/// here. `before` are leaves known from before a pruning.
pub fn check(sim: &Sim, folder: &Path, before: &[Leaf]) -> Result<(Vec<Leaf>, Vec<Value>), String> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut values = Vec::new();
    let (mut origin, mut epoch, mut last, mut next) = (String::new(), None, None, None);
    let pruned = sim.content(&folder.join("pruned.jsonl")).map(|bytes| String::from_utf8(bytes).unwrap());
    let all = lines(sim, folder);
    let first: Value = serde_json::from_str(all.first().ok_or("no lines")?).map_err(|e| e.to_string())?;
    let minimum = first["i"].as_u64().unwrap() as usize;
    let kept = pruned.iter().flat_map(|text| text.lines().skip(1)).filter(|_| minimum > 0);
    for (line, here) in kept.map(|line| (line, false)).chain(all.iter().map(|line| (line.as_str(), true))) {
        let value: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
        if here && leaves.is_empty() {
            leaves.extend_from_slice(before.get(..minimum).ok_or("more was pruned than was ever seen")?);
        }
        let index = value["i"].as_u64().ok_or("no index")?;
        let prev = leaves.last().copied().unwrap_or_default();
        if here && (index != leaves.len() as u64 || value["prev"] != hex(&prev)) {
            let names = sim.names(&folder.join("segments")).unwrap();
            return Err(format!("entry {index} does not follow {} entries in {names:?}", leaves.len()));
        }
        match value["kind"].as_str().unwrap_or_default() {
            "genesis" => {
                origin = value["origin"].as_str().unwrap().to_owned();
                epoch = Some(key(value["epoch"].as_str().unwrap()));
            }
            "key.epoch" => {
                let vkey = value["key"].as_str().unwrap();
                let message = format!("crmwarden/key.epoch/v1\n{origin}\n{index}\n{vkey}\n");
                let signature = BASE64.decode(value["sig"].as_str().unwrap()).unwrap();
                if !holds(&epoch.ok_or("no key")?, &message, &signature) {
                    return Err(format!("the change of epoch {index} is not signed"));
                }
                next = Some(key(vkey));
            }
            "commit" => {
                let signed =
                    format!("crmwarden/commit/v1\n{origin}\n{}", line.rsplit_once(",\"sig\":").unwrap().0);
                let signature = BASE64.decode(value["sig"].as_str().unwrap()).unwrap();
                if value["root"] != hex(&root(&leaves))
                    || !holds(&epoch.ok_or("no key")?, &signed, &signature)
                {
                    return Err(format!("commit {index}: root or signature"));
                }
                last = epoch;
            }
            _ => {}
        }
        if value["kind"] == "commit" || !here {
            epoch = next.take().or(epoch);
        }
        if here {
            leaves.push(Sha256::new().chain_update([0]).chain_update(line).finalize().into());
            values.push(value);
        }
    }
    checkpoint(sim, folder, &leaves, last.ok_or("no commit")?)?;
    Ok((leaves, values))
}

/// The newest checkpoint covers everything and is signed by the key of the last commit.
fn checkpoint(sim: &Sim, folder: &Path, leaves: &[Leaf], key: VerifyingKey) -> Result<(), String> {
    let note = String::from_utf8(sim.content(&folder.join("checkpoint")).ok_or("no checkpoint")?).unwrap();
    let (body, signatures) = note.split_once("\n\n").ok_or("no signatures")?;
    let epoch = signatures.lines().nth(1).ok_or("one signature")?.rsplit(' ').next().unwrap();
    let (size, named) = head(&note);
    if size > leaves.len() || named != root(&leaves[..size]) {
        return Err(format!("the checkpoint signs {size} entries that are not here"));
    }
    match size < leaves.len() || holds(&key, &format!("{body}\n"), &BASE64.decode(epoch).unwrap()[4..]) {
        true => Ok(()),
        false => Err("the epoch key in force did not sign the checkpoint".into()),
    }
}

/// Size and root of a checkpoint note.
pub fn head(note: &str) -> (usize, Leaf) {
    let lines: Vec<&str> = note.lines().collect();
    (lines[1].parse().unwrap(), BASE64.decode(lines[2]).unwrap().try_into().unwrap())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
