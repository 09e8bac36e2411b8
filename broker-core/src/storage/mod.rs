//! Where the broker's files live: a file system, or memory, behind one small pair of traits.
//!
//! The log writes through [`Storage`] and [`StorageFile`] only. That gives `--in-memory` the very code that runs on a
//! disk, and gives tests a disk that fails, tears a write or forgets what was not synced ([`faulty`]).

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

#[doc(hidden)]
pub mod faulty;
mod fs;
mod memory;

pub use fs::FsStorage;
pub use memory::MemStorage;

/// One entry of a listed directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name inside its directory, without a path.
    pub name: String,
    /// True when the entry is itself a directory.
    pub is_directory: bool,
    /// Length in bytes; zero for a directory.
    pub len: u64,
}

/// A tree of directories and files. Every method may be called from several threads.
///
/// Names made, renamed or removed are sure to outlive a power failure only after [`Storage::sync_dir`] of their
/// directory; bytes of a file only after [`StorageFile::sync`].
pub trait Storage: Send + Sync + Debug {
    /// Opens an existing file for reading and writing. Fails with [`io::ErrorKind::NotFound`] where there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens a file for reading and writing, making an empty one where there is none. Existing bytes stay.
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Lists the entries of a directory, sorted by name. Fails with [`io::ErrorKind::NotFound`] where there is none.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// Makes a directory and those above it; an existing one is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Removes a file. Handles that are open keep reading what was there.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory; an existing file at the target is replaced in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in this directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything durable that lies on the same file system as `path`, in one step that costs less than syncing
    /// many files one by one. `None` where the storage has no such step.
    fn sync_everything(&self, _path: &Path) -> Option<io::Result<()>> {
        None
    }

    /// Whether this stands for a disk in a simulation that runs on one thread. What otherwise waits for the disk on threads
    /// of its own (syncs, recovery, cleaning, checkpoints) then runs on the runtime's thread, in an order that is the same
    /// each time.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Says whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
}

/// An open file. Reads and writes are positioned; there is no cursor, so threads share a handle freely.
pub trait StorageFile: Send + Sync + Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Says whether the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads `len` bytes from `offset` on, fewer only where the file ends before. The allocation follows the bytes that
    /// are there, never `len` alone.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// Writes all of `data` at `offset`; a gap between the end and `offset` reads as zeros.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or zero-extends the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file, or `None` where there is no such file.
pub fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Option<Bytes>> {
    let file = match storage.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    file.read_at(0, len).map(Some)
}

/// Replaces the contents of a file so that after a crash either the old or the new contents are there, never a mixture:
/// writes `<path>.tmp`, syncs it, renames it over `path`, and syncs the directory.
pub fn write_file_atomically(storage: &dyn Storage, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let file = storage.open_or_create(temporary)?;
    file.truncate(0)?;
    file.write_at(0, contents)?;
    file.sync()?;
    drop(file);
    storage.rename(temporary, path)?;
    if let Some(directory) = path.parent() {
        storage.sync_dir(directory)?;
    }
    Ok(())
}

/// Says whether an error means that the disk, or the quota on it, is full, or that no more files may be open: nothing is
/// wrong with the disk then, and the same may succeed later.
pub fn is_out_of_space(error: &io::Error) -> bool {
    /// ENFILE and EMFILE, for which the standard library has no kinds.
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

#[cfg(test)]
mod tests;
