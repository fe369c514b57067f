//! A disk that forgets what was not synced, in any order it likes.
//!
//! Per file it keeps what the process sees and what is on the medium, with the 512-byte sectors that differ, and
//! every length the file had since its last sync. Apart from files it keeps directory entries: those on the
//! medium, and operations that no sync of their folder has made durable. A crash keeps any subset of both, in
//! any order, torn inside a sector; what was not written reads as zeros or as it was; length and data persist
//! independently. A sync that fails loses what it should have written, as kernels do.
//!
//! The seam can be made to lie: to say that a sync was done which was not ([`Lie`]). That is how the tests show
//! that they can fail.

use crmwarden::trail::disk::{Disk, DiskDir, DiskFile, Lock, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// A small generator with a printed seed: the same seed gives the same run (xorshift64*).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// What happens at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends here.
    Dies,
    /// The call fails, and the process lives on.
    Io,
    /// There is no space: for this call and all later ones that need some.
    Full,
    /// An append writes a part of its bytes and fails.
    Short,
}

/// A false answer of the seam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncs of this class (see [`Sim::syncs`]) do nothing.
    Skip(String),
    /// The segment's sync happens only after the checkpoint stands.
    SignFirst,
}

#[derive(Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    medium: Vec<u8>,
    lengths: Vec<usize>,
    dirty: BTreeSet<usize>,
    allocated: u64,
}

#[derive(Clone)]
enum Inode {
    Folder { now: BTreeMap<String, usize>, medium: BTreeMap<String, usize> },
    File(Bytes),
}

/// A directory operation that is not durable yet.
#[derive(Clone)]
struct Pending {
    set: Option<(usize, String, usize)>,
    unset: Option<(usize, String)>,
    /// The folder whose sync makes it durable.
    home: usize,
}

struct World {
    inodes: Vec<Inode>,
    pending: Vec<Pending>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    full: bool,
    lie: Option<Lie>,
    phase: &'static str,
    syncs: BTreeSet<String>,
    late: Vec<usize>,
    flip: bool,
    notes: Vec<String>,
    locked: bool,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<World>>);

impl Sim {
    pub fn new() -> Sim {
        let root = Inode::Folder { now: BTreeMap::new(), medium: BTreeMap::new() };
        Sim(Arc::new(Mutex::new(World {
            inodes: vec![root],
            pending: Vec::new(),
            calls: 0,
            fault: None,
            dead: false,
            full: false,
            lie: None,
            phase: "open",
            syncs: BTreeSet::new(),
            late: Vec::new(),
            flip: false,
            notes: Vec::new(),
            locked: false,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// The medium spoils one bit of what is appended next to a segment.
    pub fn flip_the_next_append(&self) {
        self.world().flip = true;
    }

    /// From now on the seam lies.
    pub fn lie(&self, lie: Option<Lie>) {
        self.world().lie = lie;
    }
    /// What the process is doing, as a part of the class of its syncs.
    pub fn phase(&self, phase: &'static str) {
        self.world().phase = phase;
    }
    /// The classes of syncs that were asked for.
    pub fn syncs(&self) -> BTreeSet<String> {
        self.world().syncs.clone()
    }
    /// The given fault at the call with this number from now.
    pub fn fault(&self, after: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((world.calls + after, fault));
    }
    /// Whether the fault that was set has happened.
    pub fn fired(&self) -> bool {
        self.world().fault.is_none()
    }
    /// Calls that change something so far.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }
    /// Everything that was ever written as a checkpoint.
    pub fn notes(&self) -> Vec<String> {
        self.world().notes.clone()
    }

    /// The process is gone; the system lives, and nothing is lost.
    pub fn kill(&self) {
        let mut world = self.world();
        (world.dead, world.fault, world.full, world.locked) = (false, None, false, false);
    }

    /// The power is gone.
    pub fn crash(&self, dice: &mut Dice) {
        let mut world = self.world();
        (world.dead, world.fault, world.full, world.locked) = (false, None, false, false);
        world.late.clear();
        let mut pending = std::mem::take(&mut world.pending);
        while !pending.is_empty() {
            let op = pending.swap_remove(dice.below(pending.len() as u64) as usize);
            if dice.one_in(2) {
                world.apply(&op, true);
            }
        }
        for inode in &mut world.inodes {
            match inode {
                Inode::Folder { now, medium } => now.clone_from(medium),
                Inode::File(bytes) => bytes.crash(dice),
            }
        }
    }

    /// Content of a file as the process sees it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        match &world.inodes[world.find(path)?] {
            Inode::File(bytes) => Some(bytes.now.clone()),
            Inode::Folder { .. } => None,
        }
    }

    /// Whether bytes stand on the medium in any file, also in one that has no name any more.
    pub fn medium_holds(&self, wanted: &[u8]) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        self.world().inodes.iter().any(|inode| match inode {
            Inode::File(bytes) => holds(&bytes.medium),
            Inode::Folder { .. } => false,
        })
    }
}

impl Bytes {
    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        self.lengths.push(self.now.len());
    }

    fn sync(&mut self) {
        self.medium.clone_from(&self.now);
        self.forget();
    }

    fn forget(&mut self) {
        self.dirty.clear();
        self.lengths.clear();
    }

    /// What the medium holds after the power is gone.
    fn crash(&mut self, dice: &mut Dice) {
        if self.dirty.is_empty() && self.lengths.is_empty() {
            self.now.clone_from(&self.medium);
            return;
        }
        self.lengths.push(self.medium.len());
        let length = self.lengths[dice.below(self.lengths.len() as u64) as usize];
        let mut content = self.medium.clone();
        let garbage = dice.one_in(4);
        while content.len() < length {
            // What was never written reads as zeros, or as what a file that was here before left.
            content.push(if garbage { dice.next() as u8 } else { 0 });
        }
        for sector in &self.dirty {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.now.len()).min(length));
            if from >= to {
                continue;
            }
            let kept = match dice.below(4) {
                0 => 0,
                1 => dice.below((to - from) as u64 + 1) as usize,
                _ => to - from,
            };
            content[from..from + kept].copy_from_slice(&self.now[from..from + kept]);
        }
        content.truncate(length);
        self.now.clone_from(&content);
        self.medium = content;
        self.forget();
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The class of a path: numbers and digests do not tell classes apart.
fn class(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut out = String::new();
    for part in text.split(['/', '-']) {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_lowercase() || c == '.');
        let long = part.len() >= 20 || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
        out.push('/');
        out.push_str(if long { "#" } else { part });
    }
    out.replace("//", "/")
}

impl World {
    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for part in path.components().filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        }) {
            match &self.inodes[at] {
                Inode::Folder { now, .. } => at = *now.get(&part)?,
                Inode::File(_) => return None,
            }
        }
        Some(at)
    }

    fn folder_of(&self, path: &Path) -> io::Result<usize> {
        self.find(path.parent().unwrap_or(Path::new("/"))).ok_or_else(|| missing(path))
    }

    /// One call that changes something. `Ok(Some(..))`: a fault that the call itself must act out.
    fn step(&mut self, space: bool) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.calls += 1;
        if self.full && space {
            return Err(io::Error::from_raw_os_error(28));
        }
        let Some((at, fault)) = self.fault.filter(|(at, _)| *at < self.calls) else { return Ok(None) };
        let _ = at;
        self.fault = None;
        match fault {
            Fault::Dies => {
                self.dead = true;
                Ok(Some(fault))
            }
            Fault::Io => Err(io::Error::from_raw_os_error(5)),
            Fault::Full if space => {
                self.full = true;
                Err(io::Error::from_raw_os_error(28))
            }
            Fault::Full => {
                self.full = true;
                Ok(None)
            }
            Fault::Short => Ok(Some(fault)),
        }
    }

    /// A step without a part that can be left undone.
    fn whole_step(&mut self, space: bool) -> io::Result<()> {
        match self.step(space)? {
            Some(Fault::Dies) => Err(io::Error::other("the process died here")),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, op: &Pending, on_medium: bool) {
        fn map(inode: &mut Inode, on_medium: bool) -> Option<&mut BTreeMap<String, usize>> {
            match inode {
                Inode::Folder { now, medium } => Some(if on_medium { medium } else { now }),
                Inode::File(_) => None,
            }
        }
        if let Some((folder, name)) = &op.unset
            && let Some(entries) = map(&mut self.inodes[*folder], on_medium)
        {
            entries.remove(name);
        }
        if let Some((folder, name, inode)) = &op.set
            && let Some(entries) = map(&mut self.inodes[*folder], on_medium)
        {
            entries.insert(name.clone(), *inode);
        }
    }

    fn change(&mut self, op: Pending) {
        self.apply(&op, false);
        self.pending.push(op);
    }

    fn add(&mut self, path: &Path, inode: Inode) -> io::Result<usize> {
        let folder = self.folder_of(path)?;
        self.inodes.push(inode);
        let new = self.inodes.len() - 1;
        self.change(Pending { set: Some((folder, name(path), new)), unset: None, home: folder });
        Ok(new)
    }

    fn file(&mut self, at: usize) -> &mut Bytes {
        match &mut self.inodes[at] {
            Inode::File(bytes) => bytes,
            Inode::Folder { .. } => panic!("a folder is used as a file"),
        }
    }

    /// Whether a sync of this path is to be skipped.
    fn skips(&mut self, path: &Path) -> bool {
        let class = format!("{} {}", self.phase, class(path));
        let skipped = self.lie == Some(Lie::Skip(class.clone()));
        self.syncs.insert(class);
        skipped
    }

    fn sync_file(&mut self, at: usize, path: &Path) -> io::Result<()> {
        if let Err(error) = self.whole_step(false) {
            if !self.dead {
                // The kernel reports once and forgets what it could not write.
                self.file(at).forget();
            }
            return Err(error);
        }
        if self.skips(path) {
            return Ok(());
        }
        let segment = path.parent().is_some_and(|dir| dir.ends_with("segments"));
        if self.lie == Some(Lie::SignFirst) && segment && self.phase == "run" {
            self.late.push(at);
            return Ok(());
        }
        self.file(at).sync();
        Ok(())
    }

    fn sync_folder(&mut self, at: usize, path: &Path) -> io::Result<()> {
        self.whole_step(false)?;
        if self.skips(path) {
            return Ok(());
        }
        let (ours, others) = std::mem::take(&mut self.pending).into_iter().partition(|op| op.home == at);
        self.pending = others;
        let ours: Vec<Pending> = ours;
        ours.iter().for_each(|op| self.apply(op, true));
        if name(path).starts_with('g') {
            for late in std::mem::take(&mut self.late) {
                self.file(late).sync();
            }
        }
        Ok(())
    }
}

struct SimFile {
    sim: Sim,
    inode: usize,
    path: PathBuf,
}

struct SimFolder {
    sim: Sim,
    inode: usize,
    path: PathBuf,
}

impl Disk for Sim {
    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.whole_step(true)?;
        if world.find(path).is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there"));
        }
        let inode = world.add(path, Inode::File(Bytes::default()))?;
        Ok(Box::new(SimFile { sim: self.clone(), inode, path: path.to_owned() }))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.world().find(path).ok_or_else(|| missing(path))?;
        Ok(Box::new(SimFile { sim: self.clone(), inode, path: path.to_owned() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step(false)?;
        let inode = world.find(from).ok_or_else(|| missing(from))?;
        let (source, home) = (world.folder_of(from)?, world.folder_of(to)?);
        world.change(Pending { set: Some((home, name(to), inode)), unset: Some((source, name(from))), home });
        Ok(())
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step(false)?;
        let inode = world.find(from).ok_or_else(|| missing(from))?;
        if world.find(to).is_none() {
            let home = world.folder_of(to)?;
            world.change(Pending { set: Some((home, name(to), inode)), unset: None, home });
        }
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step(false)?;
        if world.find(path).is_some() {
            let home = world.folder_of(path)?;
            world.change(Pending { set: None, unset: Some((home, name(path))), home });
        }
        if name(path) == "reserve" {
            world.full = false;
        }
        Ok(())
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        // Real file systems remove names one by one, so any of them may stay.
        let names = self.names(path)?;
        for name in names {
            let inner = path.join(name);
            let folder = self.stat(&inner)?.is_some_and(|stat| stat.folder);
            if folder { self.remove_dir(&inner)? } else { self.remove(&inner)? }
        }
        self.remove(path)
    }
    fn make_dir(&self, path: &Path, _mode: u32) -> io::Result<bool> {
        if self.world().find(path).is_some() {
            return Ok(false);
        }
        if let Some(parent) = path.parent() {
            self.make_dir(parent, 0)?;
        }
        let mut world = self.world();
        world.whole_step(true)?;
        world.add(path, Inode::Folder { now: BTreeMap::new(), medium: BTreeMap::new() })?;
        Ok(true)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step(false)?;
        let inode = world.find(path).ok_or_else(|| missing(path))?;
        let file = world.file(inode);
        file.now[..bytes.len()].copy_from_slice(bytes);
        file.touch(0, bytes.len());
        world.sync_file(inode, path)
    }
    fn read(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let content = self.content(path).ok_or_else(|| missing(path))?;
        let from = (from as usize).min(content.len());
        Ok(Box::new(io::Cursor::new(content[from..].to_vec())))
    }
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        Ok(match world.find(dir).map(|at| &world.inodes[at]) {
            Some(Inode::Folder { now, .. }) => now.keys().cloned().collect(),
            _ => Vec::new(),
        })
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let world = self.world();
        let Some(at) = world.find(path) else { return Ok(None) };
        let (folder, length, allocated) = match &world.inodes[at] {
            Inode::Folder { .. } => (true, 0, 0),
            Inode::File(bytes) => (false, bytes.now.len() as u64, bytes.allocated),
        };
        Ok(Some(Stat { mode: 0o600, symlink: false, folder, length, allocated, modified: 1_790_000_000 }))
    }
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        let inode = self.world().find(path).ok_or_else(|| missing(path))?;
        Ok(Box::new(SimFolder { sim: self.clone(), inode, path: path.to_owned() }))
    }
    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>> {
        let mut world = self.world();
        if world.dead {
            return Err(io::Error::other("the process is dead"));
        }
        if world.find(path).is_none() {
            world.add(path, Inode::File(Bytes::default()))?;
        }
        Ok(Ok(Lock::holding(Box::new(()))))
    }
    fn network(&self, _path: &Path) -> io::Result<Option<&'static str>> {
        Ok(None)
    }
}

impl DiskDir for SimFolder {
    fn sync(&self) -> io::Result<()> {
        self.sim.world().sync_folder(self.inode, &self.path)
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.sim.world();
        let written = match world.step(true)? {
            Some(_) => bytes.len() / 2,
            None => bytes.len(),
        };
        if name(&self.path) == "checkpoint.tmp" && written == bytes.len() {
            world.notes.push(String::from_utf8_lossy(bytes).into_owned());
        }
        let file = world.file(self.inode);
        let from = file.now.len();
        file.now.extend_from_slice(&bytes[..written]);
        file.touch(from, from + written);
        if std::mem::take(&mut world.flip) {
            world.file(self.inode).now[from + 40] ^= 4;
        }
        match written == bytes.len() {
            true => Ok(()),
            false => Err(io::Error::other("only a part was written")),
        }
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        let now = &world.file(self.inode).now;
        let from = offset as usize;
        let bytes = now.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sim.world().sync_file(self.inode, &self.path)
    }
    fn length(&self) -> io::Result<u64> {
        Ok(self.sim.world().file(self.inode).now.len() as u64)
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        world.whole_step(false)?;
        let file = world.file(self.inode);
        if (length as usize) < file.now.len() {
            file.now.truncate(length as usize);
            file.touch(length as usize, length as usize);
        }
        Ok(())
    }
    fn allocate(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        world.whole_step(true)?;
        let file = world.file(self.inode);
        file.allocated = file.allocated.max(offset + length);
        Ok(())
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.sim.world().find(path) == Some(self.inode))
    }
}
