//! One session: its partitions in the order in which they are read, and what its client knows of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use uuid::Uuid;

use super::{INITIAL_EPOCH, next_epoch};

/// Stands for no slot, behind the last and before the first.
const NONE: u32 = u32::MAX;

/// How a request names a topic: by its name, or from version 13 on by its id. A session keeps to one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(String),
    Id(Uuid),
}

/// A topic of which the session has partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub key: TopicKey,
    /// The name behind an id, once it was found. It stays when the topic goes, as in Kafka, so that the client of a topic
    /// that was deleted and created again learns that the id is an old one (`INCONSISTENT_TOPIC_ID`).
    pub name: Option<Arc<str>>,
    /// The session's partitions of this topic, and their slots.
    slots: HashMap<i32, u32>,
}

/// What a request asks of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub fetch_offset: i64,
    pub max_bytes: i32,
    /// The epoch that the client believes the leader to have, -1 where it does not know.
    pub leader_epoch: i32,
    /// The epoch of the last record that the client has, -1 where it does not say.
    pub last_fetched_epoch: i32,
    /// The start of the log of a follower, -1 of a consumer.
    pub log_start_offset: i64,
}

/// What an answer says of a partition, as far as the session cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub has_records: bool,
    pub is_error: bool,
    /// The client's log parts from this one, or another replica is to be read.
    pub is_redirected: bool,
}

/// A partition of a session; `H` is where its driver keeps the way to the partition.
#[derive(Debug)]
pub(crate) struct Entry<H> {
    pub asked: Asked,
    /// What the client was told last; -1 where it must be told in any case.
    high_watermark: i64,
    log_start_offset: i64,
    pub handle: Option<H>,
    pub partition: i32,
    topic: u32,
    previous: u32,
    next: u32,
}

impl<H> Entry<H> {
    /// Whether the client of a session must hear of this. What is new is heard of, and errors are every time.
    pub fn must_answer(&self, answered: &Answered) -> bool {
        answered.has_records
            || answered.is_error
            || answered.is_redirected
            || self.high_watermark != answered.high_watermark
            || self.log_start_offset != answered.log_start_offset
    }

    /// Whether there is nothing to read and nothing to tell, where the partition has these bounds.
    pub fn is_at_rest(&self, high_watermark: i64, log_start_offset: i64) -> bool {
        high_watermark >= 0
            && self.asked.fetch_offset == high_watermark
            && self.high_watermark == high_watermark
            && self.log_start_offset == log_start_offset
            && self.asked.last_fetched_epoch < 0
    }
}

/// The partitions of a session. Slots number them, and stay the same while a partition is in the session.
#[derive(Debug)]
pub(crate) struct Session<H> {
    /// The epoch that the next request must have.
    pub epoch: i32,
    pub uses_topic_ids: bool,
    topics: Vec<Topic>,
    free_topics: Vec<u32>,
    topics_by_key: HashMap<TopicKey, u32>,
    entries: Vec<Entry<H>>,
    free_entries: Vec<u32>,
    first: u32,
    last: u32,
    len: usize,
}

impl<H> Session<H> {
    /// A session without partitions, whose first request is being answered.
    pub fn new(uses_topic_ids: bool) -> Self {
        Self {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            topics: Vec::new(),
            free_topics: Vec::new(),
            topics_by_key: HashMap::new(),
            entries: Vec::new(),
            free_entries: Vec::new(),
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many places there are for partitions and topics.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.entries.len() + self.topics.len()
    }

    /// Takes in what a request asks of a topic's partitions. New ones are read last.
    pub fn ask(&mut self, key: TopicKey, partitions: impl IntoIterator<Item = (i32, Asked)>) {
        let mut partitions = partitions.into_iter().peekable();
        if partitions.peek().is_none() {
            return;
        }
        let topic = self.topic_slot(key);
        for (partition, asked) in partitions {
            let Some(slots) = self.topics.get_mut(topic as usize).map(|topic| &mut topic.slots) else { return };
            match slots.entry(partition) {
                MapEntry::Occupied(known) => {
                    if let Some(entry) = self.entries.get_mut(*known.get() as usize) {
                        entry.asked = asked;
                    }
                }
                MapEntry::Vacant(place) => {
                    let entry = Entry {
                        asked,
                        high_watermark: -1,
                        log_start_offset: -1,
                        handle: None,
                        partition,
                        topic,
                        previous: NONE,
                        next: NONE,
                    };
                    let slot = put(&mut self.entries, &mut self.free_entries, entry);
                    place.insert(slot);
                    self.len += 1;
                    self.link_last(slot);
                }
            }
        }
    }

    fn topic_slot(&mut self, key: TopicKey) -> u32 {
        match self.topics_by_key.entry(key) {
            MapEntry::Occupied(known) => *known.get(),
            MapEntry::Vacant(place) => {
                let topic = Topic { key: place.key().clone(), name: None, slots: HashMap::new() };
                *place.insert(put(&mut self.topics, &mut self.free_topics, topic))
            }
        }
    }

    /// Takes partitions out, and gives their handles to `dropped`. Those that are not there are passed over.
    pub fn forget(&mut self, key: &TopicKey, partitions: &[i32], mut dropped: impl FnMut(H)) {
        let Some(&topic_slot) = self.topics_by_key.get(key) else { return };
        for partition in partitions {
            let Some(topic) = self.topics.get_mut(topic_slot as usize) else { return };
            let Some(slot) = topic.slots.remove(partition) else { continue };
            let is_last = topic.slots.is_empty();
            self.unlink(slot);
            self.free_entries.push(slot);
            self.len -= 1;
            if let Some(handle) = self.entries.get_mut(slot as usize).and_then(|entry| entry.handle.take()) {
                dropped(handle);
            }
            if is_last {
                // The slot keeps its empty topic until another takes its place.
                self.topics_by_key.remove(key);
                self.free_topics.push(topic_slot);
                return;
            }
        }
    }

    /// The slot that is read first.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The slot that is read after another.
    pub fn after(&self, slot: u32) -> Option<u32> {
        self.entries.get(slot as usize).map(|entry| entry.next).filter(|next| *next != NONE)
    }

    /// A partition, and the topic that it is of.
    pub fn at(&self, slot: u32) -> Option<(&Entry<H>, &Topic)> {
        let entry = self.entries.get(slot as usize)?;
        Some((entry, self.topics.get(entry.topic as usize)?))
    }

    /// A partition, and the topic that it is of, to set the handle and the name.
    pub fn at_mut(&mut self, slot: u32) -> Option<(&mut Entry<H>, &mut Topic)> {
        let entry = self.entries.get_mut(slot as usize)?;
        let topic = self.topics.get_mut(entry.topic as usize)?;
        Some((entry, topic))
    }

    /// The handles that are known, in no order.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.entries.iter().filter_map(|entry| entry.handle.as_ref())
    }

    /// Takes note of what the client is told of a partition. One that had records is read last from then on, so that
    /// those behind it have their turn when answers are full (KAFKA-12330).
    pub fn note(&mut self, slot: u32, answered: &Answered) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        // After an error the partition is told of again, when the error is over.
        entry.high_watermark = if answered.is_error { -1 } else { answered.high_watermark };
        entry.log_start_offset = answered.log_start_offset;
        if answered.has_records && self.last != slot {
            self.unlink(slot);
            self.link_last(slot);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        let (previous, next) = (entry.previous, entry.next);
        (entry.previous, entry.next) = (NONE, NONE);
        match self.entries.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(behind) => behind.previous = previous,
            None => self.last = previous,
        }
    }

    fn link_last(&mut self, slot: u32) {
        let last = std::mem::replace(&mut self.last, slot);
        match self.entries.get_mut(last as usize) {
            Some(before) => before.next = slot,
            None => self.first = slot,
        }
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            (entry.previous, entry.next) = (last, NONE);
        }
    }
}

/// Puts an item where one is free, and says where that is.
fn put<T>(items: &mut Vec<T>, free: &mut Vec<u32>, item: T) -> u32 {
    if let Some(slot) = free.pop()
        && let Some(place) = items.get_mut(slot as usize)
    {
        *place = item;
        return slot;
    }
    // A request has far fewer partitions than this type has numbers, for each takes many bytes of it.
    let slot = u32::try_from(items.len()).unwrap_or(NONE - 1);
    items.push(item);
    slot
}
