//! The small files of a data directory, in Kafka's text formats.
//!
//! `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint` and `replication-offset-checkpoint` each hold one
//! offset per partition; `meta.properties` says whose directory it is; `.kafka_cleanshutdown` says that the broker
//! stopped in good order; `partition.metadata` in a partition's directory says whose log it is. All are replaced in one
//! step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str;

use uuid::Uuid;

use super::error::LogError;
use super::truncate::remove_if_there;
use crate::storage::{Storage, read_file, write_file_atomically};

/// File of the offsets below which all is on the disk.
pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// File of the first offset of each log, as `DeleteRecords` and retention moved it.
pub const LOG_START_OFFSET_FILE: &str = "log-start-offset-checkpoint";
/// File of the high watermarks.
pub const HIGH_WATERMARK_FILE: &str = "replication-offset-checkpoint";
/// File of the offsets below which compacted logs are clean.
pub const CLEANER_OFFSET_FILE: &str = "cleaner-offset-checkpoint";
/// File that names the node and the cluster.
pub const META_PROPERTIES_FILE: &str = "meta.properties";
/// Marker of a stop in good order.
pub const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// File that binds a partition's directory to a topic id.
pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    move |source| LogError::Io { action, path: path.to_owned(), source }
}

fn corrupt(path: &Path, reason: impl Into<String>) -> LogError {
    LogError::Corrupt { path: path.to_owned(), position: 0, reason: reason.into() }
}

fn read_text(storage: &dyn Storage, path: &Path) -> Result<Option<String>, LogError> {
    let Some(bytes) = read_file(storage, path).map_err(io_error("read", path))? else { return Ok(None) };
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(corrupt(path, "it is not text")),
    }
}

fn write_text(storage: &dyn Storage, path: &Path, text: &str) -> Result<(), LogError> {
    write_file_atomically(storage, path, text.as_bytes()).map_err(io_error("write", path))
}

/// Writes an offset checkpoint: the version 0, the count, and a line `topic partition offset` for each.
pub fn write_offsets(storage: &dyn Storage, data_dir: &Path, file: &str, offsets: &Offsets) -> Result<(), LogError> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    write_text(storage, &data_dir.join(file), &text)
}

/// Reads an offset checkpoint; a missing file has no offsets.
///
/// # Errors
/// [`LogError::Corrupt`] where the text is malformed. It is safe to go on without a recovery point (all is checked
/// then), but not without a log start.
pub fn read_offsets(storage: &dyn Storage, data_dir: &Path, file: &str) -> Result<Offsets, LogError> {
    let path = data_dir.join(file);
    let Some(text) = read_text(storage, &path)? else { return Ok(Offsets::new()) };
    parse_offsets(&text).map_err(|reason| corrupt(&path, reason))
}

fn parse_offsets(text: &str) -> Result<Offsets, String> {
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err("its version is not 0".to_owned());
    }
    let count: usize = lines.next().and_then(|line| line.parse().ok()).ok_or("its count is missing")?;
    let mut offsets = Offsets::new();
    for line in lines {
        let mut words = line.split(' ');
        let (Some(topic), Some(partition), Some(offset), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("the line {line:?} is not `topic partition offset`"));
        };
        let partition = partition.parse().map_err(|_| format!("{partition:?} is not a partition"))?;
        let offset: i64 = offset.parse().map_err(|_| format!("{offset:?} is not an offset"))?;
        offsets.insert((topic.to_owned(), partition), offset);
    }
    if offsets.len() != count {
        return Err(format!("it counts {count} lines and has {}", offsets.len()));
    }
    Ok(offsets)
}

/// Whose data directory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// `node.id`.
    pub node_id: i32,
    /// `cluster.id`, a UUID in Kafka's base64 form.
    pub cluster_id: String,
    /// `directory.id`, a UUID in Kafka's base64 form.
    pub directory_id: String,
}

impl MetaProperties {
    /// Writes `meta.properties`.
    pub fn write(&self, storage: &dyn Storage, data_dir: &Path) -> Result<(), LogError> {
        let text = format!(
            "version=1\nnode.id={}\ncluster.id={}\ndirectory.id={}\n",
            self.node_id, self.cluster_id, self.directory_id
        );
        write_text(storage, &data_dir.join(META_PROPERTIES_FILE), &text)
    }

    /// Reads `meta.properties`; `None` in a directory that no broker has used yet.
    pub fn read(storage: &dyn Storage, data_dir: &Path) -> Result<Option<MetaProperties>, LogError> {
        let path = data_dir.join(META_PROPERTIES_FILE);
        let Some(text) = read_text(storage, &path)? else { return Ok(None) };
        let properties: BTreeMap<&str, &str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let property =
            |name: &str| properties.get(name).copied().ok_or_else(|| corrupt(&path, format!("{name} is missing")));
        if property("version")? != "1" {
            return Err(corrupt(&path, "its version is not 1"));
        }
        let node_id = property("node.id")?;
        Ok(Some(MetaProperties {
            node_id: node_id.parse().map_err(|_| corrupt(&path, format!("node.id={node_id} is not a number")))?,
            cluster_id: property("cluster.id")?.to_owned(),
            // A directory that an older Kafka wrote has none yet.
            directory_id: properties.get("directory.id").copied().unwrap_or_default().to_owned(),
        }))
    }
}

/// Marks the directory as left in good order. `broker_epoch` is that of the stopped broker, -1 if it had none.
pub fn write_clean_shutdown(storage: &dyn Storage, data_dir: &Path, broker_epoch: i64) -> Result<(), LogError> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    write_text(storage, &data_dir.join(CLEAN_SHUTDOWN_FILE), &text)
}

/// Says whether the directory was left in good order.
pub fn is_clean_shutdown(storage: &dyn Storage, data_dir: &Path) -> Result<bool, LogError> {
    let path = data_dir.join(CLEAN_SHUTDOWN_FILE);
    storage.exists(&path).map_err(io_error("read", &path))
}

/// The epoch that the broker had when it left the directory in good order; `None` where it did not, or had none.
pub fn clean_shutdown_epoch(storage: &dyn Storage, data_dir: &Path) -> Result<Option<i64>, LogError> {
    let Some(text) = read_text(storage, &data_dir.join(CLEAN_SHUTDOWN_FILE))? else { return Ok(None) };
    let digits = text.split_once("\"brokerEpoch\":").map(|(_, rest)| rest.trim_start());
    let end = digits.map(|digits| digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len()));
    Ok(digits.zip(end).and_then(|(digits, end)| digits.get(..end)?.parse().ok()))
}

/// Removes the marker durably. To be done after all logs are opened and before the first append.
pub fn remove_clean_shutdown(storage: &dyn Storage, data_dir: &Path) -> Result<(), LogError> {
    remove_if_there(storage, &data_dir.join(CLEAN_SHUTDOWN_FILE))?;
    storage.sync_dir(data_dir).map_err(io_error("sync", data_dir))
}

/// Binds a partition's directory to its topic's id.
pub fn write_partition_metadata(storage: &dyn Storage, dir: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let text = format!("version: 0\ntopic_id: {}", uuid_to_base64(topic_id));
    write_text(storage, &dir.join(PARTITION_METADATA_FILE), &text)
}

/// The topic id that a partition's directory is bound to; `None` where there is no file.
pub fn read_partition_metadata(storage: &dyn Storage, dir: &Path) -> Result<Option<Uuid>, LogError> {
    let path = dir.join(PARTITION_METADATA_FILE);
    let Some(text) = read_text(storage, &path)? else { return Ok(None) };
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("version: 0") {
        return Err(corrupt(&path, "its version is not 0"));
    }
    let id = lines.next().and_then(|line| line.strip_prefix("topic_id:")).map(str::trim);
    let id = id.and_then(uuid_from_base64).ok_or_else(|| corrupt(&path, "its topic_id is not a base64 UUID"))?;
    Ok(Some(id))
}

/// The directory of a partition inside a data directory: `topic-partition`.
pub fn partition_dir(data_dir: &Path, topic: &str, partition: i32) -> PathBuf {
    data_dir.join(format!("{topic}-{partition}"))
}

/// The topic and partition in the name of a partition's directory; `None` for other names and for directories that are
/// being deleted (`-delete`) or moved in (`-future`).
pub fn parse_partition_dir(name: &str) -> Option<(&str, i32)> {
    if name.ends_with("-delete") || name.ends_with("-future") || name.ends_with("-stray") {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((topic, partition.parse().ok()?))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A UUID in Kafka's text form: 22 characters of URL-safe base64 without padding.
pub fn uuid_to_base64(id: Uuid) -> String {
    let mut bits = id.as_u128();
    let mut text = [b'A'; 22];
    // 128 bits are 21 digits of six bits and one of two, which stand at that digit's high end.
    text[21] = BASE64[((bits & 0b11) << 4) as usize];
    bits >>= 2;
    for digit in text[..21].iter_mut().rev() {
        *digit = BASE64[(bits & 0x3f) as usize];
        bits >>= 6;
    }
    text.iter().map(|digit| char::from(*digit)).collect()
}

/// Reads a UUID in Kafka's text form.
pub fn uuid_from_base64(text: &str) -> Option<Uuid> {
    let text = text.trim_end_matches('=');
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (at, digit) in text.bytes().enumerate() {
        let value = BASE64.iter().position(|known| *known == digit)? as u128;
        bits = if at < 21 { (bits << 6) | value } else { (bits << 2) | (value >> 4) };
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemStorage;

    fn storage() -> (MemStorage, PathBuf) {
        let storage = MemStorage::new();
        let dir = PathBuf::from("/data");
        storage.create_dir_all(&dir).unwrap();
        (storage, dir)
    }

    #[test]
    fn offsets_round_trip() {
        let (storage, dir) = storage();
        assert!(read_offsets(&storage, &dir, RECOVERY_POINT_FILE).unwrap().is_empty());
        let offsets = Offsets::from([(("a-topic".to_owned(), 0), 5), (("b".to_owned(), 12), 0)]);
        write_offsets(&storage, &dir, RECOVERY_POINT_FILE, &offsets).unwrap();
        assert_eq!(read_offsets(&storage, &dir, RECOVERY_POINT_FILE).unwrap(), offsets);
        let text = read_text(&storage, &dir.join(RECOVERY_POINT_FILE)).unwrap().unwrap();
        assert_eq!(text, "0\n2\na-topic 0 5\nb 12 0\n");
        for bad in ["", "1\n0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 x\n", "0\n1\na 0 1 2\n"] {
            assert!(parse_offsets(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_directory_says_whose_it_is() {
        let (storage, dir) = storage();
        assert_eq!(MetaProperties::read(&storage, &dir).unwrap(), None);
        let meta = MetaProperties {
            node_id: 3,
            cluster_id: uuid_to_base64(Uuid::from_u128(1)),
            directory_id: uuid_to_base64(Uuid::from_u128(u128::MAX)),
        };
        meta.write(&storage, &dir).unwrap();
        assert_eq!(MetaProperties::read(&storage, &dir).unwrap(), Some(meta));
        assert!(!is_clean_shutdown(&storage, &dir).unwrap());
        write_clean_shutdown(&storage, &dir, -1).unwrap();
        assert!(is_clean_shutdown(&storage, &dir).unwrap());
        remove_clean_shutdown(&storage, &dir).unwrap();
        assert!(!is_clean_shutdown(&storage, &dir).unwrap());
    }

    #[test]
    fn topic_ids_are_base64() {
        // The pairs are those that Kafka's own Uuid gives.
        assert_eq!(uuid_to_base64(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(uuid_to_base64(Uuid::from_u128(u128::MAX)), "_____________________w");
        let (storage, dir) = storage();
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        write_partition_metadata(&storage, &dir, id).unwrap();
        assert_eq!(read_partition_metadata(&storage, &dir).unwrap(), Some(id));
        assert_eq!(uuid_from_base64("short"), None);
        assert_eq!(uuid_from_base64("AAAAAAAAAAAAAAAAAAAA!Q"), None);
    }

    #[test]
    fn directory_names() {
        assert_eq!(parse_partition_dir("my-topic-7"), Some(("my-topic", 7)));
        for name in ["plain", "-1", "a-", "a-x", "t-0.5a1b-delete", "a-0.b-future"] {
            assert_eq!(parse_partition_dir(name), None, "{name}");
        }
    }
}
