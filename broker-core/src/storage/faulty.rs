//! A disk that fails at a chosen operation and forgets, at a crash, what was not synced. For tests only.
//!
//! The model is that of a strict POSIX disk: a file's bytes survive a crash if the file was synced after they were
//! written, and a name survives if its directory was synced after it was made, renamed or removed. Every call that
//! changes something counts as one operation.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{DirectoryEntry, MemStorage, Storage, StorageFile};

use crate::locks::lock;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This operation and all later ones fail, as if the machine had stopped. A write leaves nothing.
    Crash,
    /// As [`Fault::Crash`], but a write leaves this many of its bytes in the file before the machine stops.
    CrashTorn(usize),
    /// This one operation fails with an I/O error; a write leaves half of its bytes.
    IoError,
    /// From here on every write fails for want of space and leaves half of its bytes, until the fault is lifted.
    NoSpace,
}

/// What of the unsynced bytes and names is found after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Only the process stopped: all that was written is there.
    All,
    /// The machine lost power: only what was synced is there.
    Synced,
    /// The machine lost power after it had written back the names and file lengths but none of the unsynced bytes,
    /// which read as zeros.
    Zeroed,
}

/// What is wrong with all files below a path, until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Every write and sync fails with an I/O error.
    Broken,
    /// Every write fails for want of space and leaves half of its bytes; files can be made no more.
    Full,
    /// Every sync waits until the trouble is over.
    Stuck,
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    fault: Option<(u64, Fault)>,
    trouble: Option<(PathBuf, Trouble)>,
    stopped: bool,
    /// The inode that each name leads to now, and the one that it leads to after a loss of power.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    inodes: BTreeMap<u64, Inode>,
    directories: Vec<PathBuf>,
    next_inode: u64,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    contents: Vec<u8>,
    durable: Vec<u8>,
}

/// The storage with the faults. Clones share one disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
    mended: Arc<Condvar>,
}

enum Verdict {
    Go,
    Fail(io::Error, usize),
}

impl State {
    /// Counts one operation that would write `len` bytes, and says whether it may go on.
    fn operation(&mut self, len: usize, is_write: bool) -> Verdict {
        if self.stopped {
            return Verdict::Fail(io::Error::other("the disk has stopped"), 0);
        }
        self.operations += 1;
        let Some((at, fault)) = self.fault else { return Verdict::Go };
        match fault {
            Fault::Crash | Fault::CrashTorn(_) if self.operations >= at => {
                self.stopped = true;
                let left = if let Fault::CrashTorn(left) = fault { left.min(len) } else { 0 };
                Verdict::Fail(io::Error::other("the disk stops here"), left)
            }
            Fault::IoError if self.operations == at => Verdict::Fail(io::Error::other("injected I/O error"), len / 2),
            Fault::NoSpace if self.operations >= at && is_write => {
                Verdict::Fail(io::Error::from(io::ErrorKind::StorageFull), len / 2)
            }
            _ => Verdict::Go,
        }
    }
}

impl State {
    fn check(&self, path: &Path, len: usize, is_write: bool) -> Verdict {
        match &self.trouble {
            Some((below, Trouble::Broken)) if path.starts_with(below) => {
                Verdict::Fail(io::Error::other("the disk is broken"), len / 2)
            }
            Some((below, Trouble::Full)) if path.starts_with(below) && is_write => {
                Verdict::Fail(io::Error::from(io::ErrorKind::StorageFull), len / 2)
            }
            _ => Verdict::Go,
        }
    }

    fn path_of(&self, inode: u64) -> PathBuf {
        let name = self.names.iter().find(|(_, known)| **known == inode);
        name.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn check_inode(&self, inode: u64, len: usize, is_write: bool) -> Verdict {
        if self.trouble.is_none() { Verdict::Go } else { self.check(&self.path_of(inode), len, is_write) }
    }

    fn is_stuck(&self, inode: u64) -> bool {
        match &self.trouble {
            Some((below, Trouble::Stuck)) => self.path_of(inode).starts_with(below),
            _ => false,
        }
    }
}

impl Verdict {
    fn result(self) -> io::Result<()> {
        match self {
            Verdict::Go => Ok(()),
            Verdict::Fail(error, _) => Err(error),
        }
    }
}

impl FaultyStorage {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the fault for the operation with this number, counted from 1 at the making of the disk.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    /// Takes the fault away.
    pub fn lift(&self) {
        self.state().fault = None;
    }

    /// Makes trouble for all files below a path.
    pub fn trouble(&self, below: impl Into<PathBuf>, trouble: Trouble) {
        self.state().trouble = Some((below.into(), trouble));
        self.mended.notify_all();
    }

    /// Ends the trouble.
    pub fn mend(&self) {
        self.state().trouble = None;
        self.mended.notify_all();
    }

    /// How many changing operations there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk as the next process finds it, without faults and with its own count of operations.
    pub fn after_crash(&self, survival: Survival) -> FaultyStorage {
        let state = self.state();
        let mut next = State { directories: state.directories.clone(), ..State::default() };
        let names = if survival == Survival::Synced { &state.durable_names } else { &state.names };
        for (path, inode) in names {
            let Some(inode) = state.inodes.get(inode) else { continue };
            let contents = match survival {
                Survival::All => inode.contents.clone(),
                Survival::Synced => inode.durable.clone(),
                Survival::Zeroed => {
                    let mut contents = inode.durable.clone();
                    contents.resize(inode.contents.len(), 0);
                    contents
                }
            };
            let number = next.next_inode;
            next.next_inode += 1;
            next.inodes.insert(number, Inode { contents: contents.clone(), durable: contents });
            next.names.insert(path.clone(), number);
            next.durable_names.insert(path.clone(), number);
        }
        FaultyStorage { state: Arc::new(Mutex::new(next)), mended: Arc::default() }
    }

    /// Copies the files as they are now into an ordinary storage in memory.
    pub fn to_memory(&self) -> io::Result<MemStorage> {
        let state = self.state();
        let memory = MemStorage::new();
        for (path, inode) in &state.names {
            if let (Some(parent), Some(inode)) = (path.parent(), state.inodes.get(inode)) {
                memory.create_dir_all(parent)?;
                memory.open_or_create(path)?.write_at(0, &inode.contents)?;
            }
        }
        Ok(memory)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match state.operation(0, false) {
            Verdict::Go => Ok(state),
            Verdict::Fail(error, _) => Err(error),
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Storage for FaultyStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.state();
        if state.stopped {
            return Err(io::Error::other("the disk has stopped"));
        }
        let inode = *state.names.get(path).ok_or_else(|| not_found(path))?;
        Ok(Arc::new(FaultyFile { storage: self.clone(), inode }))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        if self.state().names.contains_key(path) {
            return self.open(path);
        }
        let mut state = self.change()?;
        state.check(path, 0, true).result()?;
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(path.to_owned(), inode);
        Ok(Arc::new(FaultyFile { storage: self.clone(), inode }))
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state();
        if !state.directories.iter().any(|directory| directory == path) {
            return Err(not_found(path));
        }
        let files = state.names.iter().filter(|(name, _)| name.parent() == Some(path)).map(|(name, inode)| {
            let len = state.inodes.get(inode).map_or(0, |inode| inode.contents.len() as u64);
            (name, false, len)
        });
        let directories =
            state.directories.iter().filter(|name| name.parent() == Some(path)).map(|name| (name, true, 0));
        let mut entries: Vec<DirectoryEntry> = files
            .chain(directories)
            .filter_map(|(name, is_directory, len)| {
                Some(DirectoryEntry { name: name.file_name()?.to_str()?.to_owned(), is_directory, len })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        for directory in path.ancestors() {
            if !state.directories.iter().any(|known| known == directory) {
                state.directories.push(directory.to_owned());
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.names.remove(path).map(|_| ()).ok_or_else(|| not_found(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.names.retain(|name, _| !name.starts_with(path));
        state.durable_names.retain(|name, _| !name.starts_with(path));
        state.directories.retain(|name| !name.starts_with(path));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let inode = state.names.remove(from).ok_or_else(|| not_found(from))?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.durable_names.retain(|name, _| name.parent() != Some(path));
        let now: Vec<(PathBuf, u64)> = state
            .names
            .iter()
            .filter(|(name, _)| name.parent() == Some(path))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        state.durable_names.extend(now);
        Ok(())
    }

    fn sync_everything(&self, _path: &Path) -> Option<io::Result<()>> {
        let sync = || {
            let mut state = self.change()?;
            if let Some((below, trouble)) = &state.trouble
                && *trouble == Trouble::Broken
            {
                state.check(below, 0, false).result()?;
            }
            state.inodes.values_mut().for_each(|inode| inode.durable.clone_from(&inode.contents));
            state.durable_names = state.names.clone();
            Ok(())
        };
        Some(sync())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.contains_key(path) || state.directories.iter().any(|directory| directory == path))
    }
}

#[derive(Debug)]
struct FaultyFile {
    storage: FaultyStorage,
    inode: u64,
}

impl FaultyFile {
    fn with<T>(&self, work: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.storage.state();
        state.inodes.get_mut(&self.inode).map(work).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn write(contents: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = offset.saturating_add(data.len());
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(data);
}

impl StorageFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|inode| inode.contents.len() as u64)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.with(|inode| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.contents.len());
            let end = start.saturating_add(len).min(inode.contents.len());
            Bytes::copy_from_slice(&inode.contents[start..end])
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let verdict = {
            let mut state = self.storage.state();
            match state.operation(data.len(), true) {
                Verdict::Go => state.check_inode(self.inode, data.len(), true),
                fail => fail,
            }
        };
        match verdict {
            Verdict::Go => self.with(|inode| write(&mut inode.contents, offset, data)),
            Verdict::Fail(error, 0) => Err(error),
            Verdict::Fail(error, left) => {
                self.with(|inode| write(&mut inode.contents, offset, &data[..left]))?;
                Err(error)
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        drop(self.storage.change()?);
        self.with(|inode| inode.contents.resize(usize::try_from(len).unwrap_or(usize::MAX), 0))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.storage.change()?;
        while state.is_stuck(self.inode) {
            state = self.storage.mended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_inode(self.inode, 0, false).result()?;
        drop(state);
        self.with(|inode| inode.durable.clone_from(&inode.contents))
    }
}
