//! The broker's data directories: whose they are, which partitions lie in which, and how they were left.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::controller::{METADATA_DIRECTORY, MetadataImage, TopicImage};
use crate::locks::lock;
use crate::log::checkpoints::{self, MetaProperties, Offsets};
use crate::log::{LogError, OpenState};
use crate::replication::{Fatal, LogDir};
use crate::storage::{FsStorage, MemStorage, Storage, is_out_of_space};

/// The file that keeps a second broker out of a directory, as Kafka has it.
const LOCK_FILE: &str = ".lock";
/// A limit of open files below this is worth a word when the broker starts.
const FEW_FILES: usize = 4096;
/// The directory under which everything lies in memory.
const MEMORY_DIR: &str = "/memory";

/// Why the data directories cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another broker has the directory.
    #[error("{} is in use by another broker; stop that one, or give this one another `log.dirs`", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be locked.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory belongs to a broker with another id.
    #[error("{} belongs to the broker with node.id={found}, and this one has node.id={wanted}", path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The id in its `meta.properties`.
        found: i32,
        /// The id of this broker.
        wanted: i32,
    },
    /// Two directories belong to different clusters.
    #[error("{} belongs to the cluster {found}, and another directory of this broker to {wanted}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster in its `meta.properties`.
        found: String,
        /// The cluster of the first directory.
        wanted: String,
    },
    /// The metadata lies in a directory that is not the first.
    #[error("the metadata of the cluster lies in {}, so this must be the first of `log.dirs`", .0.display())]
    MetadataElsewhere(PathBuf),
    /// There are partitions, and no metadata.
    #[error(
        "{} has partitions of the cluster {cluster}, whose metadata is in none of `log.dirs`; put the directory back \
         that has it, as the first", path.display()
    )]
    NoMetadata {
        /// The directory with partitions.
        path: PathBuf,
        /// The cluster that it belongs to.
        cluster: String,
    },
    /// A file of the directory cannot be read or written.
    #[error(transparent)]
    Files(#[from] LogError),
}

#[derive(Debug)]
pub(crate) struct DataDir {
    pub path: PathBuf,
    pub id: Uuid,
    pub log_dir: Arc<LogDir>,
    clean: bool,
    /// What the checkpoints say, kept up for partitions that are not opened in this run.
    offsets: Mutex<Checkpoints>,
    /// Held for as long as the directory is in use; `None` in memory, and once it is given up.
    lock: Mutex<Option<File>>,
}

#[derive(Debug, Default)]
struct Checkpoints {
    recovery_points: Offsets,
    log_starts: Offsets,
    cleaned_to: Offsets,
    /// Of partitions with other replicas only: the high watermark of a sole replica is the end of its log.
    high_watermarks: Offsets,
    /// True when the files of recovery points and log starts do not hold the offsets as they are.
    changed: bool,
    /// True when the cleaner's file does not.
    cleaned_changed: bool,
    /// True when the file of the high watermarks does not.
    high_watermarks_changed: bool,
    /// True when the directory may belong to another broker by now.
    given_up: bool,
}

/// Where partitions lie that are in none of the directories, though they may be in one that the broker had before.
#[derive(Debug)]
struct Gone {
    ids: Vec<Uuid>,
    log_dir: Arc<LogDir>,
}

/// The place of a partition that is in a directory which is gone.
const GONE: usize = usize::MAX;

/// All data directories of a broker.
#[derive(Debug)]
pub(crate) struct DataDirs {
    pub storage: Arc<dyn Storage>,
    pub cluster_id: String,
    /// Told when the first directory fails, without whose metadata the broker cannot go on.
    pub fatal: Arc<Fatal>,
    /// Told when any directory fails.
    pub failed: Arc<Notify>,
    dirs: Vec<DataDir>,
    /// Which directory holds which partition, by topic name and index.
    placed: Mutex<HashMap<(String, i32), usize>>,
    /// Set where a directory is gone that the broker had when it stopped, and that partitions may lie in.
    gone: OnceLock<Gone>,
}

impl DataDirs {
    /// Opens the directories, making them where they are new: they get ids then, and the cluster too.
    pub fn open(
        config: &BrokerConfig,
        storage: Option<Arc<dyn Storage>>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<Self, DataDirError> {
        let in_memory = config.in_memory || storage.is_some();
        let storage: Arc<dyn Storage> = match storage {
            Some(storage) => storage,
            None if in_memory => Arc::new(MemStorage::new()),
            None => Arc::new(FsStorage::new()),
        };
        let paths: Vec<PathBuf> = if config.in_memory {
            vec![PathBuf::from(MEMORY_DIR)]
        } else {
            config.log_dirs.iter().map(PathBuf::from).collect()
        };
        let mut dirs = Vec::with_capacity(paths.len());
        let mut cluster_id: Option<String> = None;
        let mut unmarked = Vec::new();
        let fatal = Arc::new(Fatal::new(None));
        let failed = Arc::new(Notify::new());
        let open_max = if in_memory { usize::MAX } else { open_partitions_max(paths.len()) };
        for path in paths {
            storage.create_dir_all(&path).map_err(|source| io("create", &path, source))?;
            let lock = if in_memory { None } else { Some(lock_dir(&path)?) };
            let meta = MetaProperties::read(storage.as_ref(), &path)?;
            if let Some(meta) = &meta {
                if meta.node_id != config.node_id {
                    return Err(DataDirError::OtherNode { path, found: meta.node_id, wanted: config.node_id });
                }
                match &cluster_id {
                    Some(wanted) if *wanted != meta.cluster_id => {
                        let (found, wanted) = (meta.cluster_id.clone(), wanted.clone());
                        return Err(DataDirError::OtherCluster { path, found, wanted });
                    }
                    _ => cluster_id = Some(meta.cluster_id.clone()),
                }
            }
            let known_id = meta.and_then(|meta| checkpoints::uuid_from_base64(&meta.directory_id));
            if known_id.is_none() {
                unmarked.push(dirs.len());
            }
            let offsets = read_checkpoints(storage.as_ref(), &path)?;
            let clean = checkpoints::is_clean_shutdown(storage.as_ref(), &path)?;
            let told = dirs.is_empty().then(|| Arc::clone(&fatal));
            let log_dir = if storage.is_simulated() {
                LogDir::simulated(path.clone(), told)
            } else {
                LogDir::new(path.clone(), open_max, told)
            };
            log_dir.tell_failure(Arc::clone(&failed));
            dirs.push(DataDir {
                id: known_id.unwrap_or_else(|| directory_id(new_id)),
                clean: clean || known_id.is_none(),
                offsets: Mutex::new(offsets),
                log_dir,
                path,
                lock: Mutex::new(lock),
            });
        }
        if let Some(cluster) = &cluster_id {
            find_metadata(storage.as_ref(), &dirs, cluster)?;
        }
        let cluster_id = cluster_id
            .or_else(|| config.cluster_id_of_voters().map(checkpoints::uuid_to_base64))
            .unwrap_or_else(|| checkpoints::uuid_to_base64(new_id()));
        for dir in unmarked.into_iter().filter_map(|at| dirs.get(at)) {
            let meta = MetaProperties {
                node_id: config.node_id,
                cluster_id: cluster_id.clone(),
                directory_id: checkpoints::uuid_to_base64(dir.id),
            };
            meta.write(storage.as_ref(), &dir.path)?;
        }
        Ok(Self { storage, cluster_id, fatal, failed, dirs, placed: Mutex::default(), gone: OnceLock::new() })
    }

    /// The directories, in the order of the settings; the first holds the metadata.
    pub fn dirs(&self) -> &[DataDir] {
        &self.dirs
    }

    /// The path of the directory that holds the metadata.
    pub fn metadata_dir(&self) -> (&Path, Uuid) {
        self.dirs.first().map_or((Path::new(MEMORY_DIR), Uuid::nil()), |dir| (&dir.path, dir.id))
    }

    /// Whether the broker left every directory in good order the last time.
    pub fn were_left_clean(&self) -> bool {
        self.dirs.iter().all(|dir| dir.clean)
    }

    /// The epoch of the broker that left all directories in good order, as a proof of that; -1 where there is none.
    pub fn epoch_of_clean_stop(&self) -> Result<i64, LogError> {
        let mut found = None;
        for dir in &self.dirs {
            match (checkpoints::clean_shutdown_epoch(self.storage.as_ref(), &dir.path)?, found) {
                (Some(epoch), None) => found = Some(epoch),
                (Some(epoch), Some(known)) if epoch == known => {}
                _ => return Ok(-1),
            }
        }
        Ok(found.unwrap_or(-1))
    }

    /// How the metadata log was left.
    pub fn metadata_state(&self) -> OpenState {
        // Its recovery point is not in a checkpoint of its own: everything of it is flushed, and it is small.
        if self.dirs.first().is_some_and(|dir| dir.clean) { OpenState::clean() } else { OpenState::unclean(0) }
    }

    /// Says from now on that the directories are in use: a stop without [`DataDirs::mark_clean`] needs a recovery.
    pub fn mark_in_use(&self) -> Result<(), LogError> {
        for dir in self.dirs.iter().filter(|dir| dir.clean) {
            checkpoints::remove_clean_shutdown(self.storage.as_ref(), &dir.path)?;
        }
        Ok(())
    }

    /// Finds out which partitions of the broker `node` are there. What a deletion left behind is removed; directories of
    /// topics that the metadata does not know, and of partitions that the broker has no replica of any more, are set aside
    /// under a name with `-stray`, and not touched again. Where a directory is gone
    /// that this broker was registered with, partitions that are nowhere stay offline: they would begin anew, empty.
    pub fn scan(&self, image: &MetadataImage, node: i32, registered: &[Uuid]) -> Result<(), LogError> {
        let is_replica = |topic: &TopicImage, index: i32| {
            topic.partition(index).is_some_and(|partition| partition.replicas.contains(&node))
        };
        let mut placed = lock(&self.placed);
        for (at, dir) in self.dirs.iter().enumerate() {
            let entries = self.storage.list_dir(&dir.path).map_err(|source| io("list", &dir.path, source))?;
            for entry in entries.into_iter().filter(|entry| entry.is_directory) {
                let path = dir.path.join(&entry.name);
                if entry.name.ends_with("-delete") {
                    self.storage.remove_dir_all(&path).map_err(|source| io("remove", &path, source))?;
                    continue;
                }
                let Some((topic, index)) = checkpoints::parse_partition_dir(&entry.name) else { continue };
                if topic == "__cluster_metadata" {
                    continue;
                }
                if image.topic(topic).is_some_and(|topic| is_replica(topic, index)) {
                    placed.insert((topic.to_owned(), index), at);
                } else {
                    let aside = dir.path.join(format!("{}.{}-stray", entry.name, dir.id.simple()));
                    tracing::warn!(dir = %path.display(), aside = %aside.display(), "no replica of this broker, set aside");
                    self.storage.rename(&path, &aside).map_err(|source| io("rename", &path, source))?;
                }
            }
            // Checkpoints of partitions that are not there were left by a stop in the middle of a deletion.
            let mut offsets = lock(&dir.offsets);
            let Checkpoints { recovery_points, log_starts, cleaned_to, high_watermarks, .. } = &mut *offsets;
            let counts = |a: &Offsets, b: &Offsets| a.len() + b.len();
            let (others, cleaned) = (counts(recovery_points, log_starts), cleaned_to.len());
            for known in [&mut *recovery_points, log_starts, cleaned_to, high_watermarks] {
                known.retain(|key, _| placed.get(key) == Some(&at));
            }
            let is_changed = others != counts(recovery_points, log_starts);
            let is_cleaned_changed = cleaned != cleaned_to.len();
            offsets.changed |= is_changed;
            offsets.cleaned_changed |= is_cleaned_changed;
        }
        let is_gone = |id: &&Uuid| self.dirs.iter().all(|dir| dir.id != **id);
        let ids: Vec<Uuid> = registered.iter().filter(is_gone).copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut homeless = Vec::new();
        for topic in image.topics() {
            let indexes = (0..).take(topic.partitions.len()).filter(|index| is_replica(topic, *index));
            let keys = indexes.map(|index| (topic.name.to_string(), index));
            homeless.extend(keys.filter(|key| !placed.contains_key(key)));
        }
        if !homeless.is_empty() {
            let names: Vec<String> = ids.iter().map(|id| checkpoints::uuid_to_base64(*id)).collect();
            let log_dir = LogDir::new(PathBuf::from("a directory that is not in log.dirs any more"), usize::MAX, None);
            log_dir.fail(&format!(
                "{} partitions are in none of log.dirs and stay offline, for a directory is gone that may have them \
                 (directory.id {}): put it back, or delete their topics",
                homeless.len(),
                names.join(", ")
            ));
            placed.extend(homeless.into_iter().map(|key| (key, GONE)));
            // Set once: there is one scan.
            let _ = self.gone.set(Gone { ids, log_dir });
        }
        Ok(())
    }

    /// The ids that the broker registers: those of its directories, and of those that are gone and still missed.
    pub fn registered_ids(&self) -> Vec<Uuid> {
        let gone = self.gone.get().map_or(&[][..], |gone| &gone.ids);
        self.dirs.iter().map(|dir| dir.id).chain(gone.iter().copied()).collect()
    }

    /// The ids of the directories that failed since the broker started.
    pub fn offline_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| dir.log_dir.failure().is_some()).map(|dir| dir.id).collect()
    }

    /// Gives every partition that the broker `node` has a replica of a directory of its own, where one is gone: so the next
    /// start does not look for those in it that came after it.
    pub fn settle(&self, image: &MetadataImage, node: i32) {
        if self.gone.get().is_some() {
            for topic in image.topics() {
                for (index, partition) in (0..).zip(&topic.partitions) {
                    if partition.replicas.contains(&node) && !self.has(&topic.name, index) {
                        self.place(&topic.name, index);
                    }
                }
            }
        }
    }

    /// The failed stand-in for directories that are gone.
    fn gone_dir(&self, at: usize) -> Option<&Arc<LogDir>> {
        self.gone.get().filter(|_| at == GONE).map(|gone| &gone.log_dir)
    }

    /// Where a partition lies, or is going to lie, and how it was left. A new one goes to the directory that holds the
    /// fewest, of those that work.
    pub fn place(&self, topic: &str, index: i32) -> (PathBuf, Arc<LogDir>, OpenState) {
        let mut placed = lock(&self.placed);
        let key = (topic.to_owned(), index);
        let at = match placed.get(&key) {
            Some(at) => *at,
            None => {
                let count = |at: usize| placed.values().filter(|other| **other == at).count();
                let works = |at: &usize| self.dirs.get(*at).is_some_and(|dir| dir.log_dir.failure().is_none());
                let working = (0..self.dirs.len()).filter(works);
                let at = if self.dirs.len() > 1 { working.min_by_key(|at| count(*at)) } else { None };
                let at = at.unwrap_or(0);
                placed.insert(key.clone(), at);
                if let Some(dir) = self.dirs.get(at).filter(|_| self.gone.get().is_some()) {
                    // So that the next start finds it, and does not look for it in the directory that is gone. Where this
                    // fails, the opening of the log tells.
                    let _ = self.storage.create_dir_all(&checkpoints::partition_dir(&dir.path, topic, index));
                }
                at
            }
        };
        drop(placed);
        if let Some(gone) = self.gone_dir(at) {
            return (checkpoints::partition_dir(Path::new("gone"), topic, index), Arc::clone(gone), OpenState::clean());
        }
        let Some(dir) = self.dirs.get(at) else {
            let path = PathBuf::from(MEMORY_DIR);
            return (path.clone(), LogDir::new(path, usize::MAX, None), OpenState::clean());
        };
        let offsets = lock(&dir.offsets);
        let state = OpenState {
            clean_shutdown: dir.clean,
            recovery_point: offsets.recovery_points.get(&key).copied().unwrap_or(0),
            log_start_offset: offsets.log_starts.get(&key).copied().unwrap_or(0),
            cleaned_to: offsets.cleaned_to.get(&key).copied().unwrap_or(0),
            high_watermark: offsets.high_watermarks.get(&key).copied().unwrap_or(0),
        };
        (checkpoints::partition_dir(&dir.path, topic, index), Arc::clone(&dir.log_dir), state)
    }

    /// Whether the partition lies in a directory whose disk failed.
    pub fn is_offline(&self, topic: &str, index: i32) -> bool {
        (self.gone.get().is_some() || self.dirs.iter().any(|dir| dir.log_dir.failure().is_some()))
            && self.position(topic, index).is_some_and(|at| {
                let log_dir = self.gone_dir(at).or(self.dirs.get(at).map(|dir| &dir.log_dir));
                log_dir.is_some_and(|log_dir| log_dir.failure().is_some())
            })
    }

    /// Whether the partition has a place already.
    pub fn has(&self, topic: &str, index: i32) -> bool {
        self.position(topic, index).is_some()
    }

    /// The id of the directory that holds the partition.
    pub fn directory_of(&self, topic: &str, index: i32) -> Option<Uuid> {
        self.position(topic, index).and_then(|at| self.dirs.get(at)).map(|dir| dir.id)
    }

    /// Which of the directories holds the partition.
    pub fn position(&self, topic: &str, index: i32) -> Option<usize> {
        lock(&self.placed).get(&(topic.to_owned(), index)).copied()
    }

    /// Removes a partition's directory: renamed first, so that a stop in between leaves no half of a log. Its checkpoints
    /// go with the next [`DataDirs::write_checkpoints`], which has to come before another topic may have its name: that
    /// one's records would be taken for ones below the old one's start.
    pub fn remove(&self, topic: &str, topic_id: Uuid, index: i32) -> Result<(), LogError> {
        let key = (topic.to_owned(), index);
        let at = lock(&self.placed).remove(&key);
        let Some(dir) = at.and_then(|at| self.dirs.get(at)) else { return Ok(()) };
        {
            let mut offsets = lock(&dir.offsets);
            offsets.changed |= offsets.recovery_points.remove(&key).is_some();
            offsets.changed |= offsets.log_starts.remove(&key).is_some();
            offsets.high_watermarks_changed |= offsets.high_watermarks.remove(&key).is_some();
            offsets.cleaned_changed |= offsets.cleaned_to.remove(&key).is_some();
        }
        let path = checkpoints::partition_dir(&dir.path, topic, index);
        if !self.storage.exists(&path).map_err(|source| io("find", &path, source))? {
            return Ok(());
        }
        // As Kafka has it, the name is cut so that it stays within what a file system takes.
        let ending = format!("-{index}.{}-delete", topic_id.simple());
        let stem: String = topic.chars().take(255 - ending.len().min(255)).collect();
        let doomed = dir.path.join(format!("{stem}{ending}"));
        self.storage.rename(&path, &doomed).map_err(|source| io("rename", &path, source))?;
        self.storage.remove_dir_all(&doomed).map_err(|source| io("remove", &doomed, source))
    }

    /// Writes the checkpoints of every directory, with what is known now about these partitions: topic, index,
    /// recovery point and log start.
    pub fn write_checkpoints(&self, known: impl IntoIterator<Item = (String, i32, i64, i64)>) -> Result<(), LogError> {
        {
            let placed = lock(&self.placed);
            for (topic, index, recovery_point, log_start) in known {
                let key = (topic, index);
                let Some(dir) = placed.get(&key).and_then(|at| self.dirs.get(*at)) else { continue };
                let mut offsets = lock(&dir.offsets);
                let old_point = offsets.recovery_points.insert(key.clone(), recovery_point);
                // A log that begins at zero needs no line, and most do.
                let old_start = if log_start > 0 {
                    offsets.log_starts.insert(key, log_start)
                } else {
                    offsets.log_starts.remove(&key)
                };
                offsets.changed |= old_point != Some(recovery_point) || old_start.unwrap_or(0) != log_start;
            }
        }
        let mut first_error = None;
        for dir in self.dirs.iter().filter(|dir| dir.log_dir.failure().is_none()) {
            if let Err(error) = self.write_checkpoints_of(dir) {
                match &error {
                    LogError::Io { source, .. } if is_out_of_space(source) => {}
                    error => dir.log_dir.fail(&error.to_string()),
                }
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Takes note of high watermarks, for the next [`DataDirs::write_checkpoints`]: topic, index, offset.
    pub fn note_high_watermarks(&self, known: impl IntoIterator<Item = (String, i32, i64)>) {
        let placed = lock(&self.placed);
        for (topic, index, high_watermark) in known {
            let key = (topic, index);
            let Some(dir) = placed.get(&key).and_then(|at| self.dirs.get(*at)) else { continue };
            let mut offsets = lock(&dir.offsets);
            offsets.high_watermarks_changed |= offsets.high_watermarks.get(&key) != Some(&high_watermark);
            offsets.high_watermarks.insert(key, high_watermark);
        }
    }

    fn write_checkpoints_of(&self, dir: &DataDir) -> Result<(), LogError> {
        let mut offsets = lock(&dir.offsets);
        let (storage, path) = (self.storage.as_ref(), &dir.path);
        if offsets.cleaned_changed && !offsets.given_up {
            checkpoints::write_offsets(storage, path, checkpoints::CLEANER_OFFSET_FILE, &offsets.cleaned_to)?;
            offsets.cleaned_changed = false;
        }
        if offsets.high_watermarks_changed && !offsets.given_up {
            let known = &offsets.high_watermarks;
            checkpoints::write_offsets(storage, path, checkpoints::HIGH_WATERMARK_FILE, known)?;
            offsets.high_watermarks_changed = false;
        }
        // Most often nothing has changed, and a file costs three syncs.
        if offsets.given_up || !offsets.changed {
            return Ok(());
        }
        checkpoints::write_offsets(storage, path, checkpoints::RECOVERY_POINT_FILE, &offsets.recovery_points)?;
        checkpoints::write_offsets(storage, path, checkpoints::LOG_START_OFFSET_FILE, &offsets.log_starts)?;
        offsets.changed = false;
        Ok(())
    }

    /// Makes all files of the directories that work durable at once. False where the storage cannot do that.
    pub fn sync_everything(&self) -> Result<bool, LogError> {
        for dir in self.dirs.iter().filter(|dir| dir.log_dir.failure().is_none()) {
            match self.storage.sync_everything(&dir.path) {
                None => return Ok(false),
                Some(result) => result.map_err(|source| io("sync", &dir.path, source))?,
            }
        }
        Ok(true)
    }

    /// Up to where a compacted log is clean; `None` where it was never cleaned.
    pub fn cleaned_to(&self, topic: &str, index: i32) -> Option<i64> {
        let dir = self.position(topic, index).and_then(|at| self.dirs.get(at))?;
        let offsets = lock(&dir.offsets);
        offsets.cleaned_to.get(&(topic.to_owned(), index)).copied()
    }

    /// Takes note of how far a compacted log is clean, and writes the checkpoint of its directory.
    pub fn set_cleaned_to(&self, topic: &str, index: i32, offset: i64) -> Result<(), LogError> {
        let Some(dir) = self.position(topic, index).and_then(|at| self.dirs.get(at)) else { return Ok(()) };
        let mut offsets = lock(&dir.offsets);
        if offsets.given_up {
            return Ok(());
        }
        offsets.cleaned_to.insert((topic.to_owned(), index), offset);
        let file = checkpoints::CLEANER_OFFSET_FILE;
        checkpoints::write_offsets(self.storage.as_ref(), &dir.path, file, &offsets.cleaned_to)
    }

    /// Lets another broker have the directories. Nothing is written to their checkpoints afterwards.
    pub fn unlock(&self) {
        for dir in &self.dirs {
            dir.log_dir.close();
            lock(&dir.offsets).given_up = true;
            lock(&dir.lock).take();
        }
    }

    /// Says that everything was left in good order. The last thing to be written.
    pub fn mark_clean(&self, broker_epoch: i64) -> Result<(), LogError> {
        self.dirs
            .iter()
            .filter(|dir| dir.log_dir.failure().is_none())
            .try_for_each(|dir| checkpoints::write_clean_shutdown(self.storage.as_ref(), &dir.path, broker_epoch))
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> LogError {
    LogError::Io { action, path: path.to_owned(), source }
}

/// How many partitions of each of `dirs` directories may have files open: about one file each, and half of the files that
/// the process may open. The other half is for connections, and for partitions that are read in more than one segment.
fn open_partitions_max(dirs: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    if files < FEW_FILES {
        tracing::warn!(
            files,
            "few files may be open at a time (`ulimit -n`): idle partitions' files are closed and opened again"
        );
    }
    (files / 2 / dirs.max(1)).max(16)
}

/// The ids that stand for no directory and for directories that are not known are below 100.
pub(crate) fn directory_id(new_id: &mut dyn FnMut() -> Uuid) -> Uuid {
    loop {
        let id = new_id();
        if id.as_u128() >= 100 {
            return id;
        }
    }
}

fn lock_dir(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| DataDirError::Lock { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(DataDirError::Lock { path, source }),
    }
}

/// Sees to it that the metadata of a cluster that was there before is where it is looked for. Without it every partition
/// would be a stranger's.
fn find_metadata(storage: &dyn Storage, dirs: &[DataDir], cluster: &str) -> Result<(), DataDirError> {
    let mut with_partitions = None;
    for (at, dir) in dirs.iter().enumerate() {
        let entries = storage.list_dir(&dir.path).map_err(|source| io("list", &dir.path, source))?;
        let mut names = entries.iter().filter(|entry| entry.is_directory).map(|entry| entry.name.as_str());
        if names.clone().any(|name| name == METADATA_DIRECTORY) {
            return if at == 0 { Ok(()) } else { Err(DataDirError::MetadataElsewhere(dir.path.clone())) };
        }
        if names.any(|name| checkpoints::parse_partition_dir(name).is_some()) {
            with_partitions.get_or_insert(&dir.path);
        }
    }
    match with_partitions {
        // A first start that came no further than to mark its directories.
        None => Ok(()),
        Some(path) => Err(DataDirError::NoMetadata { path: path.clone(), cluster: cluster.to_owned() }),
    }
}

fn read_checkpoints(storage: &dyn Storage, dir: &Path) -> Result<Checkpoints, LogError> {
    let recovery_points = match checkpoints::read_offsets(storage, dir, checkpoints::RECOVERY_POINT_FILE) {
        // Without recovery points everything is checked, which is slow and safe.
        Err(error @ LogError::Corrupt { .. }) => {
            tracing::warn!(dir = %dir.display(), %error, "the recovery points are passed over");
            Offsets::new()
        }
        other => other?,
    };
    let log_starts = checkpoints::read_offsets(storage, dir, checkpoints::LOG_START_OFFSET_FILE)?;
    let cleaned_to = match checkpoints::read_offsets(storage, dir, checkpoints::CLEANER_OFFSET_FILE) {
        // Without it everything is cleaned once more, which is slow and safe.
        Err(error @ LogError::Corrupt { .. }) => {
            tracing::warn!(dir = %dir.display(), %error, "what was cleaned is not known and is cleaned again");
            Offsets::new()
        }
        other => other?,
    };
    let high_watermarks = match checkpoints::read_offsets(storage, dir, checkpoints::HIGH_WATERMARK_FILE) {
        // The leader tells what it is, or the followers tell the leader.
        Err(error @ LogError::Corrupt { .. }) => {
            tracing::warn!(dir = %dir.display(), %error, "the high watermarks are passed over");
            Offsets::new()
        }
        other => other?,
    };
    Ok(Checkpoints { recovery_points, log_starts, cleaned_to, high_watermarks, ..Checkpoints::default() })
}
