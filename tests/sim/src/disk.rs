//! A broker's disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rkafka_broker_core::storage::faulty::FaultyStorage;
use rkafka_broker_core::storage::{DirectoryEntry, Storage, StorageFile};

/// The disk with faults of broker-core's own tests, used on one thread.
#[derive(Debug, Clone)]
pub struct Disk(pub FaultyStorage);

impl Storage for Disk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.0.open(path)
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.0.open_or_create(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.0.list_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
}
