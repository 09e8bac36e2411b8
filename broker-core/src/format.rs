//! Data directories before a broker uses them: given to a cluster, and looked at. None of it is needed to start a broker,
//! which makes its directories itself; who wants the cluster's id, or levels of features, to be of their own choice, comes
//! here. The files are those of Kafka's `kafka-storage format`.

use std::path::{Path, PathBuf};

use rkafka_protocol::messages::FeatureLevelRecord;
use thiserror::Error;

use crate::controller::{ControllerError, MetadataRecord, snapshot_records};
use crate::data_dirs::directory_id;
use crate::handlers::api_versions::FEATURES;
use crate::log::LogError;
use crate::log::checkpoints::{MetaProperties, uuid_from_base64, uuid_to_base64};
use crate::raft::{OffsetAndEpoch, RaftError, SnapshotBuilder, SnapshotWriter};
use crate::storage::{FsStorage, Storage, read_file, write_file_atomically};
use crate::{BrokerConfig, BrokerState, Clock};

/// What the metadata of a new cluster begins with, as Kafka has it.
const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";

/// Why directories were not formatted, or cannot be looked at. Nothing was written where nothing else is said.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The text is no id of a cluster.
    #[error("`{0}` is not the id of a cluster: expected 22 letters and digits as `random-uuid` gives them")]
    ClusterId(String),
    /// A feature or its level is not known here.
    #[error("`{name}` cannot have the level {level}: {reason}")]
    Feature {
        /// The feature.
        name: String,
        /// The level.
        level: i16,
        /// Why not.
        reason: String,
    },
    /// The directory was formatted before.
    #[error("{} is already formatted; ignore formatted directories to format only the others", .0.display())]
    AlreadyFormatted(PathBuf),
    /// The directory belongs to somebody else.
    #[error("{} belongs to node {node_id} of the cluster {cluster_id}", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The node in its `meta.properties`.
        node_id: i32,
        /// The cluster in its `meta.properties`.
        cluster_id: String,
    },
    /// There are no directories, for all is kept in memory.
    #[error("`in.memory` is set: there are no directories")]
    InMemory,
    /// A directory or a file cannot be read or written. Directories before it may be formatted by now.
    #[error("{0}")]
    Files(String),
}

impl From<LogError> for FormatError {
    fn from(error: LogError) -> Self {
        Self::Files(error.to_string())
    }
}

/// A new id for a cluster, in Kafka's text form.
pub fn random_id() -> String {
    uuid_to_base64(BrokerState::new_id())
}

/// Gives the directories of `log.dirs` to the cluster `cluster_id`, with these levels of features instead of those that a
/// new cluster gets by default. Answers the directories that were formatted; those that were formatted before are left as
/// they are with `ignore_formatted`, and an error without.
///
/// Every node of a cluster is formatted with the same id and the same levels.
///
/// # Errors
/// See [`FormatError`].
pub fn format(
    config: &BrokerConfig,
    cluster_id: &str,
    features: &[(String, i16)],
    ignore_formatted: bool,
) -> Result<Vec<PathBuf>, FormatError> {
    if config.in_memory {
        return Err(FormatError::InMemory);
    }
    if uuid_from_base64(cluster_id).is_none() {
        return Err(FormatError::ClusterId(cluster_id.to_owned()));
    }
    let bootstrap = bootstrap_file(&levels(features)?)?;
    let storage = FsStorage::new();
    let mut new = Vec::new();
    for path in config.log_dirs.iter().map(PathBuf::from) {
        match MetaProperties::read(&storage, &path)? {
            None => new.push(path),
            Some(meta) if meta.node_id != config.node_id || meta.cluster_id != cluster_id => {
                return Err(FormatError::NotOurs { path, node_id: meta.node_id, cluster_id: meta.cluster_id });
            }
            Some(_) if ignore_formatted => {}
            Some(_) => return Err(FormatError::AlreadyFormatted(path)),
        }
    }
    for path in &new {
        let failed = |error: std::io::Error| FormatError::Files(format!("cannot write {}: {error}", path.display()));
        storage.create_dir_all(path).map_err(failed)?;
        write_file_atomically(&storage, &path.join(BOOTSTRAP_FILE), &bootstrap).map_err(failed)?;
        // Last, for it says that all is there.
        let directory_id = uuid_to_base64(directory_id(&mut BrokerState::new_id));
        MetaProperties { node_id: config.node_id, cluster_id: cluster_id.to_owned(), directory_id }
            .write(&storage, path)?;
    }
    Ok(new)
}

/// The levels of a new cluster, with some of them chosen.
fn levels(chosen: &[(String, i16)]) -> Result<Vec<(String, i16)>, FormatError> {
    for (name, level) in chosen {
        let refused = |reason: String| Err(FormatError::Feature { name: name.clone(), level: *level, reason });
        match FEATURES.iter().find(|(known, ..)| known == name) {
            None => {
                let known: Vec<&str> = FEATURES.iter().map(|(name, ..)| *name).collect();
                return refused(format!("there is no such feature; there are {}", known.join(", ")));
            }
            Some((_, least, most)) if !(*least..=*most).contains(level) => {
                return refused(format!("it has the levels {least} to {most}"));
            }
            Some(_) => {}
        }
    }
    let levels = FEATURES.iter().map(|(name, _, most)| {
        let chosen = chosen.iter().rfind(|(chosen, _)| chosen == name);
        ((*name).to_owned(), chosen.map_or(*most, |(_, level)| *level))
    });
    Ok(levels.filter(|(_, level)| *level > 0).collect())
}

/// The bytes of a file, written like a snapshot.
#[derive(Debug, Default)]
struct InMemory(Vec<u8>);

impl SnapshotWriter for InMemory {
    fn id(&self) -> OffsetAndEpoch {
        OffsetAndEpoch { offset: 0, epoch: 0 }
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), RaftError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn bootstrap_file(levels: &[(String, i16)]) -> Result<Vec<u8>, FormatError> {
    let failed = |error: ControllerError| FormatError::Files(error.to_string());
    let build = || {
        let records = levels.iter().map(|(name, level)| {
            let (name, feature_level) = (name.clone(), *level);
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level, ..Default::default() }).encode()
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let mut builder = SnapshotBuilder::begin(InMemory::default(), Clock::system().now_ms())?;
        builder.append(records.iter().map(|record| &record[..]))?;
        Ok(builder.finish()?.0)
    };
    build().map_err(failed)
}

/// The levels of features that the directory of the metadata was formatted with; `None` where it was not.
pub(crate) fn bootstrap_levels(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Option<Vec<(String, i16)>>, ControllerError> {
    let path = dir.join(BOOTSTRAP_FILE);
    let read = read_file(storage, &path);
    let text = read.map_err(|source| RaftError::Io { action: "read", path: path.clone(), source })?;
    let Some(bytes) = text else { return Ok(None) };
    let mut levels = Vec::new();
    for record in snapshot_records(&bytes)? {
        let MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level, .. }) = record else { continue };
        let is_known =
            |(known, least, most): &(&str, i16, i16)| *known == name && (*least..=*most).contains(&feature_level);
        if FEATURES.iter().any(is_known) {
            levels.push((name, feature_level));
        } else {
            tracing::warn!(name, feature_level, "this level of a feature is not there, and is left out");
        }
    }
    Ok(Some(levels))
}

/// A directory of `log.dirs`, as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// What its `meta.properties` says; `None` where it is not formatted, and no broker has used it.
    pub meta: Option<MetaProperties>,
}

/// Looks at the directories of `log.dirs`, and changes nothing.
///
/// # Errors
/// See [`FormatError`].
pub fn find_directories(config: &BrokerConfig) -> Result<Vec<FoundDirectory>, FormatError> {
    if config.in_memory {
        return Err(FormatError::InMemory);
    }
    let storage = FsStorage::new();
    let found = config.log_dirs.iter().map(PathBuf::from).map(|path| {
        let failed = |error: std::io::Error| FormatError::Files(format!("cannot read {}: {error}", path.display()));
        let exists = storage.exists(&path).map_err(failed)?;
        let meta = if exists { MetaProperties::read(&storage, &path)? } else { None };
        Ok(FoundDirectory { path, exists, meta })
    });
    found.collect()
}
