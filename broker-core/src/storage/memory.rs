//! Files in memory, for `--in-memory` brokers and for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::{Bytes, BytesMut};

use super::{DirectoryEntry, Storage, StorageFile};

use crate::locks::{lock, read, write};

/// The first chunk of a file; each next one is twice as large, up to [`CHUNK_BYTES_MAX`].
const CHUNK_BYTES_MIN: usize = 4 * 1024;
/// The largest chunk, and so the most that a file can hold in memory beyond its bytes.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// A tree of files that lives as long as the process, or as the last clone of this value.
///
/// A file is a list of chunks. Bytes never move when the file grows: a full chunk becomes an immutable [`Bytes`], and
/// reading inside one of those hands out a reference instead of a copy.
#[derive(Debug, Clone, Default)]
pub struct MemStorage {
    nodes: Arc<Mutex<BTreeMap<PathBuf, Node>>>,
}

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Arc<MemFile>),
}

impl MemStorage {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Total bytes of all files that have a name.
    pub fn size_bytes(&self) -> u64 {
        let nodes = self.nodes();
        nodes.values().map(|node| if let Node::File(file) = node { file.len_bytes() } else { 0 }).sum()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Node>> {
        // No code panics while holding the lock, and the tree is consistent between any two statements.
        lock(&self.nodes)
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

fn parent_is_there(nodes: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    match path.parent() {
        None => true,
        Some(parent) => {
            parent.as_os_str().is_empty()
                || parent.parent().is_none()
                || matches!(nodes.get(parent), Some(Node::Directory))
        }
    }
}

impl Storage for MemStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        match self.nodes().get(path) {
            Some(Node::File(file)) => Ok(Arc::clone(file) as Arc<dyn StorageFile>),
            Some(Node::Directory) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(not_found(path)),
        }
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut nodes = self.nodes();
        match nodes.get(path) {
            Some(Node::File(file)) => Ok(Arc::clone(file) as Arc<dyn StorageFile>),
            Some(Node::Directory) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None if !parent_is_there(&nodes, path) => Err(not_found(path.parent().unwrap_or(path))),
            None => {
                let file = Arc::new(MemFile::default());
                nodes.insert(path.to_owned(), Node::File(Arc::clone(&file)));
                Ok(file)
            }
        }
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let nodes = self.nodes();
        if !matches!(nodes.get(path), Some(Node::Directory)) && path.parent().is_some() {
            return Err(not_found(path));
        }
        let mut entries = Vec::new();
        for (child, node) in nodes.range(path.to_owned()..).take_while(|(child, _)| child.starts_with(path)) {
            if child.parent() != Some(path) {
                continue;
            }
            let Some(name) = child.file_name().and_then(|name| name.to_str()) else { continue };
            entries.push(match node {
                Node::Directory => DirectoryEntry { name: name.to_owned(), is_directory: true, len: 0 },
                Node::File(file) => {
                    DirectoryEntry { name: name.to_owned(), is_directory: false, len: file.len_bytes() }
                }
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.nodes();
        for directory in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            match nodes.get(directory) {
                Some(Node::File(_)) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
                Some(Node::Directory) => break,
                None => {
                    nodes.insert(directory.to_owned(), Node::Directory);
                }
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.nodes();
        match nodes.get(path) {
            Some(Node::File(_)) => {
                nodes.remove(path);
                Ok(())
            }
            Some(Node::Directory) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(not_found(path)),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.nodes();
        if !matches!(nodes.get(path), Some(Node::Directory)) {
            return Err(not_found(path));
        }
        let below: Vec<PathBuf> = nodes
            .range(path.to_owned()..)
            .map(|(child, _)| child)
            .take_while(|child| child.starts_with(path))
            .cloned()
            .collect();
        for child in below {
            nodes.remove(&child);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.nodes();
        if !nodes.contains_key(from) {
            return Err(not_found(from));
        }
        if !parent_is_there(&nodes, to) {
            return Err(not_found(to.parent().unwrap_or(to)));
        }
        let moved: Vec<PathBuf> = nodes
            .range(from.to_owned()..)
            .map(|(child, _)| child)
            .take_while(|child| child.starts_with(from))
            .cloned()
            .collect();
        for child in moved {
            let Some(node) = nodes.remove(&child) else { continue };
            let target = match child.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                _ => to.to_owned(),
            };
            nodes.insert(target, node);
        }
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.nodes().contains_key(path))
    }
}

/// A file as a list of chunks; its lock is held for a copy or a reference count, never for I/O.
#[derive(Debug, Default)]
struct MemFile {
    contents: RwLock<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// Full chunks with the file position where each begins, in order and without gaps.
    full: Vec<(u64, Bytes)>,
    /// The chunk that is being filled. Its capacity is fixed when it is made.
    tail: BytesMut,
    /// Where in the file the tail begins.
    tail_start: u64,
    /// How large the tail may become before it is frozen.
    tail_bytes_max: usize,
}

impl Contents {
    fn len(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    fn append(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.tail.len() == self.tail_bytes_max {
                self.start_chunk();
            }
            let (now, later) = data.split_at(data.len().min(self.tail_bytes_max - self.tail.len()));
            self.tail.extend_from_slice(now);
            data = later;
        }
    }

    fn start_chunk(&mut self) {
        let next = (self.tail_bytes_max * 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let full = std::mem::replace(&mut self.tail, BytesMut::with_capacity(next)).freeze();
        if !full.is_empty() {
            let start = self.tail_start;
            self.tail_start += full.len() as u64;
            self.full.push((start, full));
        }
        self.tail_bytes_max = next;
    }

    fn truncate(&mut self, len: u64) {
        if len >= self.tail_start {
            self.tail.truncate((len - self.tail_start) as usize);
            return;
        }
        while let Some((start, chunk)) = self.full.pop() {
            if start < len {
                // The cut goes through this chunk. What remains of it is full by definition; a new tail follows.
                self.full.push((start, chunk.slice(..(len - start) as usize)));
                break;
            }
        }
        self.tail = BytesMut::new();
        self.tail_start = len;
        self.tail_bytes_max = 0;
    }

    fn read(&self, offset: u64, len: usize) -> Bytes {
        let end = self.len().min(offset.saturating_add(len as u64));
        if offset >= end {
            return Bytes::new();
        }
        if offset >= self.tail_start {
            let from = (offset - self.tail_start) as usize;
            return Bytes::copy_from_slice(&self.tail[from..from + (end - offset) as usize]);
        }
        let first = self.full.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let mut copied: Option<BytesMut> = None;
        let mut position = offset;
        for (start, chunk) in &self.full[first..] {
            let from = (position - start) as usize;
            let until = chunk.len().min((end - start) as usize);
            if copied.is_none() && start + until as u64 == end {
                return chunk.slice(from..until);
            }
            copied
                .get_or_insert_with(|| BytesMut::with_capacity((end - offset) as usize))
                .extend_from_slice(&chunk[from..until]);
            position = start + until as u64;
            if position == end {
                break;
            }
        }
        let mut copied = copied.unwrap_or_default();
        if position < end {
            copied.extend_from_slice(&self.tail[..(end - self.tail_start) as usize]);
        }
        copied.freeze()
    }
}

impl MemFile {
    fn len_bytes(&self) -> u64 {
        read(&self.contents).len()
    }
}

impl StorageFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len_bytes())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        Ok(read(&self.contents).read(offset, len))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut contents = write(&self.contents);
        let len = contents.len();
        if offset > len {
            let gap = usize::try_from(offset - len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            contents.append(&vec![0; gap]);
        }
        if offset < len {
            // Overwriting is rare (a file that is written anew), so the bytes behind it are simply laid down again.
            let behind = contents.read(offset.saturating_add(data.len() as u64), len as usize);
            contents.truncate(offset);
            contents.append(data);
            contents.append(&behind);
        } else {
            contents.append(data);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut contents = write(&self.contents);
        let current = contents.len();
        if len > current {
            let gap = usize::try_from(len - current).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            contents.append(&vec![0; gap]);
        } else {
            contents.truncate(len);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
