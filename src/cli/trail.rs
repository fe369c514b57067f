//! `trail`: proofs that others can check, and the life of the trail itself.

use super::{Cli, masked, print};
use crate::clock;
use crate::config::Config;
use crate::error::Failure;
use crate::inspect::dlp;
use crate::model::Hash;
use crate::trail::disk::{Disk, RealDisk, read_small, replace};
use crate::trail::entry::Entry;
use crate::trail::generation::{self, Ask};
use crate::trail::note::{Checkpoint, NOTE_MAX, Note, Verifier, open};
use crate::trail::publish::{Continued, Log, PublishError, log_key};
use crate::trail::tlog_policy::{Judgement, of_trust_file};
use crate::trail::tlog_proof::{FILE_MAX, TlogProof, TlogProofError};
use crate::trail::tree::leaf_hash;
use crate::trail::trust::Trust;
use crate::trail::verify::trail_folder;
use crate::trail::{Paths, TrailError, entry::LINE_MAX, pack, recover};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest trust file that is read.
const TRUST_MAX: u64 = 256 << 10;

/// Subcommands of `trail`.
#[derive(Subcommand)]
pub enum Trail {
    /// Prove that an entry is in the trail: a .tlog-proof that others check offline
    Proof(Proof),
    /// Check a .tlog-proof with a trust file; needs no trail and no configuration
    VerifyProof(VerifyProof),
    /// Prove that a later checkpoint continues an earlier one
    Consistency(Consistency),
    /// Go on under a new origin: after a backup was restored, or where damage is accepted
    NewGeneration(NewGeneration),
    /// Compress sealed segments now; the daemon does it once a day
    Compress,
}

/// Arguments of `trail new-generation`.
#[derive(Args)]
pub struct NewGeneration {
    /// Why: it stands in entry 0 of the new generation
    #[arg(long)]
    reason: String,
    /// Who decides
    #[arg(long)]
    operator: String,
    /// The damage that `verify` lists is known and accepted; it stays damage
    #[arg(long)]
    acknowledge_damage: bool,
}

/// Which trail is meant.
#[derive(Args)]
pub struct Which {
    /// State or trail folder [default: the configured state]
    pub dir: Option<PathBuf>,
    /// Generation of the trail [default: the newest]
    #[arg(long, value_name = "N")]
    pub generation: Option<u32>,
}

/// Arguments of `trail proof`.
#[derive(Args)]
pub struct Proof {
    /// Index of the entry: its member `i`
    #[arg(long, value_name = "N")]
    entry: u64,
    /// Size of a kept checkpoint to prove it under [default: the newest]
    #[arg(long, value_name = "SIZE")]
    size: Option<u64>,
    /// Put the entry's line into the proof, so that the file says what it proves
    #[arg(long)]
    with_entry: bool,
    #[command(flatten)]
    which: Which,
    /// File for the proof [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `trail verify-proof`.
#[derive(Args)]
pub struct VerifyProof {
    /// The .tlog-proof
    file: PathBuf,
    /// Trust file from a second channel: its keys and its policy count
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The entry's line [default: the one in the proof]
    #[arg(long, value_name = "FILE")]
    line: Option<PathBuf>,
}

/// Arguments of `trail consistency`.
#[derive(Args)]
pub struct Consistency {
    /// The earlier tree: a checkpoint's file, or a size
    #[arg(long, value_name = "CHECKPOINT|SIZE")]
    from: String,
    /// The later tree: a checkpoint's file, or a size [default: the newest checkpoint]
    #[arg(long, value_name = "CHECKPOINT|SIZE")]
    to: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl Trail {
    /// Runs the subcommand.
    pub fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        match self {
            Trail::Proof(proof) => proof.main(cli),
            Trail::VerifyProof(verify) => verify.main(cli),
            Trail::Consistency(consistency) => consistency.main(cli),
            Trail::NewGeneration(ask) => ask.main(cli),
            Trail::Compress => compress(cli),
        }
    }
}

/// Folders, and the seam, of the configured deployment.
fn deployment(cli: &Cli) -> Result<(Config, Paths, Arc<dyn Disk>), Failure> {
    let config = Config::find(cli.config.as_deref())?;
    let paths = Paths { state: config.state.clone(), keys: config.keys.clone() };
    Ok((config, paths, Arc::new(RealDisk)))
}

impl NewGeneration {
    fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let (config, paths, disk) = deployment(cli)?;
        let ask = Ask {
            reason: self.reason.clone(),
            operator: self.operator.clone(),
            acknowledge_damage: self.acknowledge_damage,
        };
        let made = generation::make(&disk, &paths, &config.deployment, &ask, dlp::mask, clock::now())?;
        let previous = &made.previous;
        let text = match cli.json {
            true => format!(
                "{}\n",
                serde_json::json!({
                    "generation": made.generation,
                    "continues": { "origin": previous.origin, "size": previous.size, "root": previous.root },
                    "damaged": previous.damaged,
                })
            ),
            false => format!(
                "Generation {} continues {} at {} verified entries ({} damaged ranges are named in it).\n\
                 Records read after that head are read again and may stand in both.\n\
                 Incidents and alerts of the old generation stay there and are not carried on.\n\
                 Give auditors the new trust file: crmwarden keys export --format trust\n",
                made.generation,
                previous.origin,
                previous.size,
                previous.damaged.len()
            ),
        };
        print(&masked(&text)).map(|()| 0)
    }
}

/// Compresses on a trail that no daemon writes.
fn compress(cli: &Cli) -> Result<u8, Failure> {
    let (config, paths, disk) = deployment(cli)?;
    if generation::newest(&*disk, &paths)?.is_none() {
        return Err(Failure::Runtime(format!("there is no trail in {}", config.state.display())));
    }
    let opened = recover::open(&disk, &paths, &config.deployment, clock::now())?;
    let packed = pack::pack(&*disk, opened.trail.folder(), &opened.trail.housekeeping())?;
    let text = match cli.json {
        true => format!(
            "{}\n",
            serde_json::json!({ "segments": packed.segments, "before": packed.before, "after": packed.after })
        ),
        false => format!(
            "{} segments compressed, {} bytes became {}\n",
            packed.segments, packed.before, packed.after
        ),
    };
    print(&text).map(|()| 0)
}

impl Which {
    /// The folder that was given, or the configured state.
    pub fn dir(&self, cli: &Cli) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(Config::find(cli.config.as_deref())?.state),
        }
    }

    /// The generation's folder and the log key that its entry 0 names.
    pub fn generation(&self, dir: &Path) -> Result<(PathBuf, Verifier), Failure> {
        let trail = trail_folder(dir);
        let all = generation::all(&RealDisk, &trail)?;
        let number = match self.generation {
            Some(number) => all.contains(&number).then_some(number),
            None => all.last().copied(),
        };
        let number = number.ok_or_else(|| {
            let which = self.generation.map(|number| format!(" of generation {number}")).unwrap_or_default();
            Failure::Runtime(format!("there is no trail{which} in {}", dir.display()))
        })?;
        let folder = trail.join(format!("g{number}"));
        let key = log_key(&RealDisk, &folder)?;
        Ok((folder, key))
    }
}

/// Opens a generation at its newest checkpoint, or at a kept one.
pub fn open_log(folder: &Path, key: &Verifier, size: Option<u64>) -> Result<Log, Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Log::open(&disk, folder, size, key).map_err(|error| match error {
        PublishError::Absent => absent(folder, size),
        other => failure(other, ""),
    })
}

fn absent(folder: &Path, size: Option<u64>) -> Failure {
    let Some(size) = size else {
        return Failure::Runtime(format!("{} has no checkpoint", folder.display()));
    };
    let names = RealDisk.names(&folder.join("checkpoints")).unwrap_or_default();
    let kept: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let below = kept.iter().rev().find(|kept| **kept < size).map(u64::to_string);
    let above = kept.iter().find(|kept| **kept > size).map(u64::to_string);
    let nearest: Vec<String> = below.into_iter().chain(above).collect();
    Failure::Usage(format!(
        "no checkpoint of {size} entries is kept; the nearest: {}",
        if nearest.is_empty() { "none".to_owned() } else { nearest.join(", ") }
    ))
}

/// How a command fails that asked for something; `what` says what is absent.
pub fn failure(error: PublishError, what: &str) -> Failure {
    match error {
        PublishError::Absent => Failure::Usage(what.to_owned()),
        PublishError::Cache => Failure::Runtime(error.to_string()),
        PublishError::Trail(error) => Failure::Trail(error),
    }
}

/// Writes a file, or standard output.
fn deliver(out: Option<&Path>, text: &str) -> Result<(), Failure> {
    match out {
        None => print(text),
        // A bare name has an empty parent, which is no folder to sync.
        Some(path) => replace(&RealDisk, &Path::new(".").join(path), text.as_bytes(), 0o640)
            .map_err(|error| TrailError::io("write", path, error).into()),
    }
}

impl Proof {
    fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let dir = self.which.dir(cli)?;
        let (folder, key) = self.which.generation(&dir)?;
        let mut log = open_log(&folder, &key, self.size)?;
        let (size, minimum) = (log.head().size, log.minimum());
        let included = log.inclusion(self.entry).map_err(|error| {
            failure(error, &format!("the trail has entries {minimum} to {} at this checkpoint", size - 1))
        })?;
        let leaf = leaf_hash(&included.line);
        let proof = TlogProof {
            extra: self.with_entry.then(|| included.line.clone()),
            index: self.entry,
            hashes: included.proof,
            note: log.note().to_owned(),
        };
        if cli.json {
            let document = serde_json::json!({
                "origin": log.head().origin, "index": self.entry, "size": size, "leaf": leaf.hex(),
                "root": log.head().root.hex(), "proof": hex(&proof.hashes), "tlog_proof": proof.text(),
            });
            deliver(self.out.as_deref(), &format!("{document}\n"))?;
            return Ok(0);
        }
        deliver(self.out.as_deref(), &proof.text())?;
        let words = self.words(&proof, &leaf, &key, size);
        match self.out {
            Some(_) => print(&words)?,
            None => eprint!("{words}"),
        }
        Ok(0)
    }

    fn words(&self, proof: &TlogProof, leaf: &Hash, key: &Verifier, size: u64) -> String {
        let file = self.out.as_deref().map_or("FILE".into(), |path| path.display().to_string());
        let line = match proof.extra {
            Some(_) => "",
            None => " --line LINE",
        };
        let mut words = format!(
            "Entry {} of {} is under the checkpoint of {size} entries.\nTo check it, on any host that has \
             the trust file:\n  crmwarden trail verify-proof {file} --trust trust.txt{line}\n",
            self.entry, key.name
        );
        if proof.extra.is_none() {
            words.push_str(
                "LINE is a file with the entry's line; --with-entry puts it into the proof instead.\n",
            );
        }
        words.push_str(&format!(
            "Other programs: c2sp.org/tlog-proof@v1 with the log key\n  {}\nand the leaf hash, which is \
             SHA-256 of a zero byte and the entry's line:\n  {leaf}\n",
            key.vkey()
        ));
        words
    }
}

fn hex(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::hex).collect()
}

fn text(path: &Path, limit: u64) -> Result<String, Failure> {
    String::from_utf8(bytes(path, limit)?)
        .map_err(|_| Failure::Runtime(format!("{}: is not text", path.display())))
}

fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let fault = |what: String| Failure::Runtime(format!("{}: {what}", path.display()));
    let bytes = read_small(path, limit).map_err(|error| fault(error.to_string()))?;
    bytes.ok_or_else(|| fault("does not exist".into()))
}

/// What `verify-proof` found.
struct Checked {
    head: Checkpoint,
    line: Vec<u8>,
    judged: Judgement,
    epoch: bool,
}

impl VerifyProof {
    fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let wrong = |path: &Path, what: String| Failure::Usage(format!("{}: {what}", path.display()));
        let trust_text = text(&self.trust, TRUST_MAX)?;
        let trust = Trust::parse(&trust_text).map_err(|why| wrong(&self.trust, why))?;
        let proof = TlogProof::parse(&text(&self.file, FILE_MAX as u64)?)
            .map_err(|error| wrong(&self.file, error.to_string()))?;
        let line = match &self.line {
            Some(path) => bytes(path, LINE_MAX as u64 + 1)?,
            None => proof.extra.clone().ok_or_else(|| {
                wrong(&self.file, "the proof does not hold the entry's line; give it with --line".into())
            })?,
        };
        let line = line.strip_suffix(b"\n").unwrap_or(&line).to_vec();
        let policy = of_trust_file(&trust_text).map_err(|error| wrong(&self.trust, error.to_string()))?;
        let judge = || -> Result<Checked, TlogProofError> {
            let listed = policy.logs.iter().map(|log| &log.key);
            let keys: Vec<&Verifier> = listed.chain([&trust.log]).collect();
            let head = proof.verify(&leaf_hash(&line), &keys)?;
            let judged = policy.judge(&proof.note)?;
            let epoch = Note::parse(&proof.note)?.signed_by(&trust.epoch)?;
            Ok(Checked { head, line: line.clone(), judged, epoch })
        };
        let (holds, document) = match judge() {
            Ok(checked) => (checked.holds(&proof), checked.words(&proof, cli.json)),
            Err(error) if cli.json => (
                false,
                format!(
                    "{}\n",
                    serde_json::json!({
                        "holds": false, "why": error.to_string(),
                    })
                ),
            ),
            Err(error) => (false, format!("{}: does not hold: {error}\n", self.file.display())),
        };
        print(&if cli.json { document } else { masked(&document) })?;
        Ok(u8::from(!holds))
    }
}

impl Checked {
    /// The line's own number is the proved one. (Its hash is, so an honest trail cannot differ here.)
    fn is_at_place(&self, proof: &TlogProof) -> bool {
        Entry::parse(&self.line).is_some_and(|entry| entry.index == proof.index)
    }

    fn holds(&self, proof: &TlogProof) -> bool {
        self.judged.quorum && self.is_at_place(proof)
    }

    fn words(&self, proof: &TlogProof, json: bool) -> String {
        let (head, judged) = (&self.head, &self.judged);
        if json {
            let witnesses: Vec<_> = judged
                .witnesses
                .iter()
                .map(|(name, time)| serde_json::json!({ "name": name, "time": time }))
                .collect();
            return format!(
                "{}\n",
                serde_json::json!({
                    "holds": self.holds(proof), "origin": head.origin, "index": proof.index, "size": head.size,
                    "root": head.root.hex(), "witnesses": witnesses, "quorum": judged.quorum,
                    "epoch0_signed": self.epoch,
                })
            );
        }
        let mut words = match self.holds(proof) {
            true => format!("Entry {} is in the trail {}.\n", proof.index, head.origin),
            false => format!("Entry {} of {}: does not hold.\n", proof.index, head.origin),
        };
        words.push_str(&format!(
            "  entry     {}\n  under     {} entries, root {}\n",
            String::from_utf8_lossy(&self.line),
            head.size,
            head.root
        ));
        words.push_str(match self.epoch {
            true => "  signed    by the log key and by the first epoch's key\n",
            false => {
                "  signed    by the log key; `crmwarden verify` over the trail tells whether the epoch\n            \
                 key of its time signed too\n"
            }
        });
        let names: Vec<&str> = judged.witnesses.iter().map(|(name, _)| name.as_str()).collect();
        words.push_str(&match (names.is_empty(), judged.quorum) {
            (true, true) => "  witnessed by nobody, and the policy asks for nobody\n".to_owned(),
            (false, true) => format!("  witnessed by {}\n", names.join(", ")),
            (true, false) => "  witnessed by nobody: not what the policy asks for\n".to_owned(),
            (false, false) => {
                format!("  witnessed by {}: fewer than the policy asks for\n", names.join(", "))
            }
        });
        if !self.is_at_place(proof) {
            words.push_str("  place     the line does not name the index that the proof names\n");
        }
        words
    }
}

/// A tree that somebody names: its size, and its root where a checkpoint says it.
struct Named {
    what: String,
    size: u64,
    root: Option<Hash>,
}

impl Named {
    fn read(word: &str, key: &Verifier) -> Result<Named, Failure> {
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            let size = word.parse().map_err(|_| Failure::Usage(format!("`{word}` is no size of a trail")))?;
            return Ok(Named { what: format!("size {size}"), size, root: None });
        }
        let path = Path::new(word);
        let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
        let note = text(path, NOTE_MAX as u64)?;
        let head = open(&note, &[key]).map_err(|error| wrong(error.to_string()))?;
        let head = Checkpoint::parse(head).filter(|head| head.origin == key.name);
        let head = head.ok_or_else(|| wrong(format!("it is no checkpoint of {}", key.name)))?;
        Ok(Named { what: path.display().to_string(), size: head.size, root: Some(head.root) })
    }

    /// Fails where the checkpoint has another root than the trail has at this size.
    fn agrees(&self, root: &Hash) -> Result<(), Failure> {
        match self.root.is_none_or(|signed| signed == *root) {
            true => Ok(()),
            false => Err(Failure::Trail(TrailError::Refused {
                what: format!("{} signs another history of {} entries", self.what, self.size),
                verdict: "forked",
            })),
        }
    }
}

impl Consistency {
    fn main(&self, cli: &Cli) -> Result<u8, Failure> {
        let dir = self.which.dir(cli)?;
        let (folder, key) = self.which.generation(&dir)?;
        let mut log = open_log(&folder, &key, None)?;
        let newest = log.head().size;
        let from = Named::read(&self.from, &key)?;
        let to = match &self.to {
            Some(word) => Named::read(word, &key)?,
            None => Named { what: "the newest checkpoint".into(), size: newest, root: None },
        };
        for named in [&from, &to] {
            if named.size > newest && named.root.is_some() {
                let what = format!("{} signs {} entries; here are {newest}", named.what, named.size);
                return Err(Failure::Trail(TrailError::Refused { what, verdict: "rolled_back" }));
            }
        }
        let minimum = log.minimum();
        let Continued { old_root, new_root, proof } =
            log.consistency(from.size, to.size).map_err(|error| {
                let what = format!(
                    "no proof leads from {} to {} entries: the first must not be above the second, and both \
                     among the {minimum} to {newest} that the trail can still prove",
                    from.size, to.size
                );
                failure(error, &what)
            })?;
        from.agrees(&old_root)?;
        to.agrees(&new_root)?;
        if cli.json {
            let document = serde_json::json!({
                "origin": key.name, "from": from.size, "from_root": old_root.hex(), "to": to.size,
                "to_root": new_root.hex(), "proof": hex(&proof),
            });
            print(&format!("{document}\n"))?;
            return Ok(0);
        }
        print(&lines(&proof))?;
        eprintln!(
            "{}: {} entries with root {old_root} are the beginning of {} entries with root {new_root}",
            key.name, from.size, to.size
        );
        Ok(0)
    }
}

/// A proof as C2SP writes it: a hash a line, in base64.
fn lines(proof: &[Hash]) -> String {
    use base64::Engine as _;
    let encode = |hash: &Hash| base64::engine::general_purpose::STANDARD.encode(hash.0) + "\n";
    proof.iter().map(encode).collect()
}
