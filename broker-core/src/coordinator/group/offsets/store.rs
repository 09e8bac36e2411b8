//! What the log says of offsets: those that count, and those of open transactions.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::messages::offset_commit_key::OffsetCommitKey;
use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;

use super::StoredOffset;
use crate::coordinator::group::RecordPlace;

/// The offsets of a group, by topic and partition.
pub(in crate::coordinator::group) type Topics = BTreeMap<String, BTreeMap<i32, StoredOffset>>;

/// All offsets of a partition of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::coordinator::group) struct OffsetStore {
    /// By group.
    committed: BTreeMap<String, Topics>,
    /// What open transactions have written, by producer id and group. No map in it is empty.
    pending: BTreeMap<i64, BTreeMap<String, Topics>>,
    /// The producers that have something pending in a group.
    open: BTreeMap<String, BTreeSet<i64>>,
}

impl OffsetStore {
    /// Takes a record for true.
    pub fn replay(&mut self, place: RecordPlace, key: OffsetCommitKey, value: Option<OffsetCommitValue>) {
        match value {
            Some(value) if place.producer_id < 0 => {
                put(self.committed.entry(key.group).or_default(), key.topic, key.partition, place.offset, value);
            }
            Some(value) => {
                self.open.entry(key.group.clone()).or_default().insert(place.producer_id);
                let of_producer = self.pending.entry(place.producer_id).or_default();
                put(of_producer.entry(key.group).or_default(), key.topic, key.partition, place.offset, value);
            }
            // What is deleted is gone from open transactions too, as in Kafka.
            None => {
                take(&mut self.committed, &key);
                for producer_id in self.open.get(&key.group).cloned().unwrap_or_default() {
                    self.take_pending(producer_id, &key);
                }
            }
        }
    }

    fn take_pending(&mut self, producer_id: i64, key: &OffsetCommitKey) {
        let Some(of_producer) = self.pending.get_mut(&producer_id) else { return };
        take(of_producer, key);
        if !of_producer.contains_key(&key.group) {
            if of_producer.is_empty() {
                self.pending.remove(&producer_id);
            }
            self.close(&key.group, producer_id);
        }
    }

    fn close(&mut self, group_id: &str, producer_id: i64) {
        if let Some(producers) = self.open.get_mut(group_id) {
            producers.remove(&producer_id);
            if producers.is_empty() {
                self.open.remove(group_id);
            }
        }
    }

    /// A producer's transaction has ended: what it wrote counts from now on, or never.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let ended = self.pending.remove(&producer_id).unwrap_or_default();
        for group_id in ended.keys() {
            self.close(group_id, producer_id);
        }
        if commit {
            for (group_id, topics) in ended {
                let committed = self.committed.entry(group_id).or_default();
                for (topic, partitions) in topics {
                    let known = committed.entry(topic).or_default();
                    for (partition, stored) in partitions {
                        if known.get(&partition).is_none_or(|known| known.record_offset < stored.record_offset) {
                            known.insert(partition, stored);
                        }
                    }
                }
            }
        }
    }

    /// Whether anything is known of the group, committed or pending.
    pub fn knows(&self, group_id: &str) -> bool {
        self.committed.contains_key(group_id) || self.is_open(group_id)
    }

    /// Whether a transaction with offsets of the group is open.
    pub fn is_open(&self, group_id: &str) -> bool {
        self.open.contains_key(group_id)
    }

    pub fn committed(&self, group_id: &str) -> Option<&Topics> {
        self.committed.get(group_id)
    }

    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&StoredOffset> {
        self.committed.get(group_id)?.get(topic)?.get(&partition)
    }

    /// Whether an open transaction has written an offset of the partition.
    pub fn is_pending(&self, group_id: &str, topic: &str, partition: i32) -> bool {
        self.pending_of(group_id).any(|topics| topics.get(topic).is_some_and(|found| found.contains_key(&partition)))
    }

    /// What open transactions have written for a group.
    fn pending_of(&self, group_id: &str) -> impl Iterator<Item = &Topics> {
        let producers = self.open.get(group_id).into_iter().flatten();
        let group_id = group_id.to_owned();
        producers.filter_map(move |producer_id| self.pending.get(producer_id)?.get(&group_id))
    }

    /// Every partition of which the group has an offset, committed or pending, each once.
    pub fn partitions(&self, group_id: &str) -> BTreeSet<(&str, i32)> {
        let all = self.committed.get(group_id).into_iter().chain(self.pending_of(group_id)).flatten();
        all.flat_map(|(topic, partitions)| partitions.keys().map(move |index| (topic.as_str(), *index))).collect()
    }

    /// Every group that has offsets, committed or pending, each once.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.committed.keys().chain(self.open.keys()).map(String::as_str).collect()
    }
}

fn put(topics: &mut Topics, topic: String, partition: i32, record_offset: i64, value: OffsetCommitValue) {
    topics.entry(topic).or_default().insert(partition, StoredOffset::new(record_offset, value));
}

/// Takes an offset out, and what is empty after that.
fn take(groups: &mut BTreeMap<String, Topics>, key: &OffsetCommitKey) {
    let Some(topics) = groups.get_mut(&key.group) else { return };
    if let Some(partitions) = topics.get_mut(&key.topic) {
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
    }
    if topics.is_empty() {
        groups.remove(&key.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, partition: i32) -> OffsetCommitKey {
        OffsetCommitKey { group: group.to_owned(), topic: "t".to_owned(), partition }
    }

    fn write(store: &mut OffsetStore, record_offset: i64, producer_id: i64, partition: i32, offset: i64) {
        let value = OffsetCommitValue { offset, ..Default::default() };
        store.replay(RecordPlace { offset: record_offset, producer_id }, key("g", partition), Some(value));
    }

    fn remove(store: &mut OffsetStore, record_offset: i64, partition: i32) {
        store.replay(RecordPlace { offset: record_offset, producer_id: -1 }, key("g", partition), None);
    }

    fn offset(store: &OffsetStore, partition: i32) -> Option<i64> {
        store.get("g", "t", partition).map(|stored| stored.offset)
    }

    #[test]
    fn a_transaction_counts_by_its_marker() {
        let mut store = OffsetStore::default();
        write(&mut store, 0, 7, 0, 10);
        write(&mut store, 1, 7, 1, 11);
        assert_eq!((offset(&store, 0), store.is_pending("g", "t", 0), store.knows("g")), (None, true, true));
        store.end_transaction(7, true);
        assert_eq!((offset(&store, 0), offset(&store, 1)), (Some(10), Some(11)));
        assert!(!store.is_pending("g", "t", 0) && !store.is_open("g"));
        write(&mut store, 3, 7, 0, 20);
        store.end_transaction(7, false);
        assert_eq!(offset(&store, 0), Some(10));
    }

    #[test]
    fn an_aborted_transaction_leaves_nothing_of_a_group_that_had_nothing() {
        let mut store = OffsetStore::default();
        write(&mut store, 0, 7, 0, 10);
        store.end_transaction(7, false);
        assert_eq!(store, OffsetStore::default());
    }

    #[test]
    fn of_two_commits_the_one_written_later_counts_whichever_marker_comes_last() {
        let mut store = OffsetStore::default();
        write(&mut store, 0, 1, 0, 100);
        write(&mut store, 1, 2, 0, 200);
        store.end_transaction(2, true);
        assert!(store.is_pending("g", "t", 0), "the other's is still open");
        store.end_transaction(1, true);
        assert_eq!(offset(&store, 0), Some(200));

        write(&mut store, 4, 1, 0, 300);
        write(&mut store, 5, -1, 0, 400);
        store.end_transaction(1, true);
        assert_eq!(offset(&store, 0), Some(400), "a plain commit between");
        write(&mut store, 7, -1, 0, 500);
        write(&mut store, 8, 1, 0, 600);
        store.end_transaction(1, true);
        assert_eq!(offset(&store, 0), Some(600));
    }

    #[test]
    fn a_tombstone_takes_what_is_pending_too() {
        let mut store = OffsetStore::default();
        write(&mut store, 0, -1, 0, 5);
        write(&mut store, 1, 7, 0, 10);
        write(&mut store, 2, 7, 1, 11);
        write(&mut store, 3, 8, 0, 12);
        remove(&mut store, 4, 0);
        assert_eq!(offset(&store, 0), None);
        assert_eq!(store.partitions("g"), BTreeSet::from([("t", 1)]));
        store.end_transaction(8, true);
        store.end_transaction(7, true);
        assert_eq!((offset(&store, 0), offset(&store, 1)), (None, Some(11)));
        remove(&mut store, 7, 1);
        assert_eq!(store, OffsetStore::default());
    }
}
