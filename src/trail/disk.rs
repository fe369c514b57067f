//! The seam to the disk: everything that the trail writes and reads goes through [`Disk`].
//!
//! Two implementations: [`RealDisk`], and in tests a simulated disk that loses what was not synced.
//! Guarantees asked of an implementation are stated at each method; errors are never retried by the caller.

use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file system as the trail uses it.
pub trait Disk: Send + Sync {
    /// Makes a file that does not exist yet, with these permission bits.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing at its end.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Moves a file or folder; replaces an existing file in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name for a file. An existing name is left as it is.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file; one that is not there is fine.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it; one that is not there is fine.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and its parents with these permission bits; one that is there is fine. `true`: it was
    /// made, and its name is durable only after a sync of the folder above.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<bool>;
    /// Writes over the first bytes of an existing file, in place, and syncs: how a key is destroyed.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Opens a file for reading from an offset on.
    fn read(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Names in a folder, sorted; a folder that is not there is empty.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// What stands at a path, links not followed; `None` where there is nothing.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Takes a lock that makes a trail one writer's; `Ok(Err(pid))` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>>;
    /// The kind of a network file system, where the path is on one: locks and syncs do not mean there what
    /// the trail needs.
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>>;
    /// Opens a folder, so that an error the kernel notes between now and [`DiskDir::sync`] is not lost.
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>>;
    /// Opens a folder and syncs it.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.open_dir(path)?.sync()
    }
    /// Whether anything stands at a path.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.stat(path)?.is_some())
    }
    /// Length of a file; 0 where there is none.
    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self.stat(path)?.map_or(0, |stat| stat.length))
    }
    /// Content of a file of at most `limit` bytes, `None` where there is none.
    fn read_small(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.read(path, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("{} is larger than {limit} bytes", path.display())));
        }
        Ok(Some(bytes))
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Permission bits.
    pub mode: u32,
    /// A symbolic link.
    pub symlink: bool,
    /// A folder.
    pub folder: bool,
    /// Bytes.
    pub length: u64,
    /// Bytes that it occupies, reserved ones included.
    pub allocated: u64,
    /// When it was last written, seconds since the epoch.
    pub modified: i64,
}

/// An open folder of a [`Disk`].
pub trait DiskDir: Send {
    /// When it returns, all names in the folder are durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send {
    /// Appends all bytes, or fails.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reads exactly.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// When it returns, content and length are durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Reserves space without changing the length. A file system that cannot is fine.
    fn allocate(&mut self, offset: u64, length: u64) -> io::Result<()>;
    /// Whether the name still means this file.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(mode).open(path)?;
        // The umask may have taken bits away that a read group needs.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(Box::new(RealFile(file)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).append(true).open(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        ignore_missing(fs::remove_file(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        ignore_missing(fs::remove_dir_all(path))
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<bool> {
        if path.is_dir() {
            return Ok(false);
        }
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(true)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    }
    fn read(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let data = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let modified = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Some(Stat {
            mode: data.permissions().mode() & 0o7777,
            symlink: data.file_type().is_symlink(),
            folder: data.is_dir(),
            length: data.len(),
            allocated: data.blocks() * 512,
            modified: modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64),
        }))
    }
    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>> {
        lock(path)
    }
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        network_file_system(path)
    }
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        Ok(Box::new(RealDir(File::open(path)?)))
    }
}

struct RealDir(File);

impl DiskDir for RealDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn allocate(&mut self, offset: u64, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let open = self.0.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(named) => Ok(open.dev() == named.dev() && open.ino() == named.ino() && open.nlink() > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Replaces a small file in one step: temporary file, sync, rename, sync of the folder.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = disk.open_dir(path.parent().unwrap_or(Path::new(".")))?;
    let temporary = path.with_extension("tmp");
    disk.remove(&temporary)?;
    let mut file = disk.create(&temporary, mode)?;
    file.append(bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    folder.sync()
}

/// Replaces a file whose content is checked whenever it is read, so that losing it costs time and no more:
/// nothing is synced.
pub fn replace_unsynced(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    disk.remove(&temporary)?;
    disk.create(&temporary, mode)?.append(bytes)?;
    disk.rename(&temporary, path)
}

/// Writes a new file durably (its folder is not synced).
pub fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    disk.remove(path)?;
    let mut file = disk.create(path, mode)?;
    file.append(bytes)?;
    file.sync()
}

/// [`Disk::names`] of the real disk, for the edges outside of the trail.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    RealDisk.names(dir)
}

/// [`Disk::read_small`] of the real disk, for the edges outside of the trail.
pub fn read_small(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    RealDisk.read_small(path, limit)
}

/// Overwrites a secret, unlinks it and syncs its folder. What a flash translation layer or a journal still
/// holds of it is beyond our reach, and the manual says so.
pub fn destroy(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(stat) = disk.stat(path)? else { return Ok(()) };
    disk.overwrite(path, &vec![0; stat.length as usize])?;
    disk.remove(path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// The lock that makes a trail one writer's. Held until dropped.
pub struct Lock {
    /// Dropped with the lock: the real one's file, or whatever a simulated disk needs.
    _held: Box<dyn std::any::Any + Send>,
}

impl Lock {
    /// A lock that is held as long as this value lives.
    pub fn holding(held: Box<dyn std::any::Any + Send>) -> Lock {
        Lock { _held: held }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// Takes the lock; `Ok(Err(pid))` when another process holds it (its pid as it wrote it down).
fn lock(path: &Path) -> io::Result<Result<Lock, String>> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)?;
            file.write_all(std::process::id().to_string().as_bytes())?;
            Ok(Ok(Lock::holding(Box::new(file))))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.take(32).read_to_string(&mut pid)?;
            Ok(Err(pid.trim().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    Ok(crate::model::medium::network(rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff))
}
