//! The partitions of one topic, read without a lock by every record.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use uuid::Uuid;

use crate::machine::fill::Fill;
use crate::partition::Partition;
use crate::partitioner::{Choice, CustomPartitioner, Partitioner, TopicPartitions, next_random};
use crate::{ProducerError, Record};

/// Blocks of partitions: block `n` holds `2^n` of them, so that 31 blocks hold every partition that Kafka can number.
const BLOCKS: usize = 31;

type Block = Box<[OnceLock<Arc<Partition>>]>;

/// A topic. Partitions are only added: those of a topic that was made anew with fewer are no longer chosen.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// How full batches may become.
    pub(crate) fill: Arc<Fill>,
    blocks: [OnceLock<Block>; BLOCKS],
    /// How many partitions there are; 0 while that is not known.
    count: AtomicU32,
    /// Where records without a partition of their own go at present.
    sticky: AtomicU32,
    turn: AtomicU32,
    random: AtomicU64,
    id: Mutex<Uuid>,
    /// Whether a task asks for the metadata already.
    asking: AtomicBool,
}

impl Topic {
    /// A topic of which only the name is known. `seed` spreads the sticky choice.
    pub(crate) fn new(name: Arc<str>, seed: u64, fill: Fill) -> Arc<Self> {
        Arc::new(Self {
            name,
            fill: Arc::new(fill),
            blocks: [const { OnceLock::new() }; BLOCKS],
            count: AtomicU32::new(0),
            sticky: AtomicU32::new(0),
            turn: AtomicU32::new(seed as u32),
            random: AtomicU64::new(seed | 1),
            id: Mutex::default(),
            asking: AtomicBool::new(false),
        })
    }

    /// How many partitions the topic has; 0 while that is not known.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// The topic's id; nil where the cluster has none.
    pub(crate) fn id(&self) -> Uuid {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the one to ask for the metadata; it must tell [`Topic::end_asking`].
    pub(crate) fn begin_asking(&self) -> bool {
        !self.asking.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_asking(&self) {
        self.asking.store(false, Ordering::Release);
    }

    pub(crate) fn set_id(&self, id: Uuid) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn cell(&self, index: u32) -> Option<&OnceLock<Arc<Partition>>> {
        let position = index.checked_add(1)?;
        let block = position.ilog2();
        let cells =
            self.blocks.get(block as usize)?.get_or_init(|| (0..1u32 << block).map(|_| OnceLock::new()).collect());
        cells.get((position - (1 << block)) as usize)
    }

    /// The partition `index`, where it exists.
    pub(crate) fn partition(&self, index: u32) -> Option<&Arc<Partition>> {
        if index >= self.count() {
            return None;
        }
        self.cell(index)?.get()
    }

    /// Every partition that was ever known.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.blocks.iter().filter_map(OnceLock::get).flatten().filter_map(OnceLock::get)
    }

    /// Makes the partitions up to `count`, with `make`. They are not chosen before [`Topic::publish`].
    pub(crate) fn prepare(&self, count: u32, make: impl Fn(i32) -> Arc<Partition>) {
        for index in 0..count {
            if let (Some(cell), Ok(number)) = (self.cell(index), i32::try_from(index)) {
                cell.get_or_init(|| make(number));
            }
        }
    }

    /// Makes the topic have `count` partitions, which must be prepared.
    pub(crate) fn publish(&self, count: u32) {
        if self.count.swap(count, Ordering::AcqRel) == 0 {
            self.switch_sticky();
        }
    }

    /// Where the record goes, and whether the sticky partitioner said so. `None` while the topic has no partitions.
    pub(crate) fn choose(
        &self,
        partitioner: Partitioner,
        key: Option<&[u8]>,
        ignore_keys: bool,
    ) -> Option<(&Arc<Partition>, bool)> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let (index, sticky) = match partitioner.choose(key, ignore_keys, count) {
            Choice::Fixed(index) => (index, false),
            Choice::Sticky => (self.sticky.load(Ordering::Relaxed) % count, true),
            Choice::Next => (self.next_in_turn(count), false),
        };
        self.partition(index).map(|partition| (partition, sticky))
    }

    /// As [`Topic::choose`], by the application's own partitioner.
    ///
    /// # Errors
    /// It names a partition that is not there.
    pub(crate) fn choose_by(
        &self,
        partitioner: &dyn CustomPartitioner,
        record: &Record<'_>,
    ) -> Result<Option<(&Arc<Partition>, bool)>, ProducerError> {
        let count = self.count();
        if count == 0 {
            return Ok(None);
        }
        let chosen = partitioner.partition(record, &TopicPartitions::new(self, count));
        let index = chosen.unwrap_or_else(|| self.sticky.load(Ordering::Relaxed) % count);
        if index >= count {
            let topic = self.name.clone();
            return Err(ProducerError::PartitionerOutOfRange { topic, partition: index, partitions: count });
        }
        Ok(self.partition(index).map(|partition| (partition, chosen.is_none())))
    }

    /// The next partition in turn that has a leader; where none has one, the next.
    fn next_in_turn(&self, count: u32) -> u32 {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        self.with_leader_from(first, count).unwrap_or(first)
    }

    fn with_leader_from(&self, first: u32, count: u32) -> Option<u32> {
        (first..count).chain(0..first).find(|index| self.partition(*index).is_some_and(|one| one.has_leader()))
    }

    /// Lets the sticky partitioner go on, uniformly at random among the partitions that have a leader (KIP-794), and
    /// to another than the present one where there is another.
    pub(crate) fn switch_sticky(&self) {
        let count = self.count();
        if count < 2 {
            return;
        }
        let random = next_random(self.random.load(Ordering::Relaxed));
        self.random.store(random, Ordering::Relaxed);
        // The high bits of xorshift are the good ones.
        let steps = 1 + ((random >> 33) as u32) % (count - 1);
        let candidate = (self.sticky.load(Ordering::Relaxed) % count + steps) % count;
        self.sticky.store(self.with_leader_from(candidate, count).unwrap_or(candidate), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::accumulator::Limits;
    use crate::partition::Mailbox;
    use std::time::Duration;

    fn topic(partitions: u32) -> Arc<Topic> {
        let limits = Arc::new(Limits {
            batch_size: 1000,
            record_size_max: 1000,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(1),
            window: 5,
            retries: 0,
            idempotent: true,
            transaction: None,
        });
        let orphanage = Mailbox::new(-1);
        let topic = Topic::new("t".into(), 42, Fill::new(1000, 1000));
        topic.prepare(partitions, |index| {
            Partition::new("t".into(), index, limits.clone(), topic.fill.clone(), orphanage.clone())
        });
        topic.publish(partitions);
        topic
    }

    #[test]
    fn partitions_are_found_by_number() {
        let topic = topic(100);
        for index in 0..100 {
            assert_eq!(topic.partition(index).unwrap().index, index as i32);
        }
        assert!(topic.partition(100).is_none());
        assert_eq!(topic.all().count(), 100);
        topic.publish(3);
        assert!(topic.partition(3).is_none());
        assert!(Topic::new("u".into(), 1, Fill::new(1000, 1000)).choose(Partitioner::Default, None, false).is_none());
    }

    #[test]
    fn the_applications_partitioner_is_asked_and_checked() {
        let topic = topic(5);
        let by_key = |record: &Record<'_>, topic: &TopicPartitions<'_>| {
            assert_eq!((topic.name(), topic.count()), ("t", 5));
            record.key.map(|key| u32::from(key[0]))
        };
        let choose = |record: &Record<'_>| topic.choose_by(&by_key, record);
        let (partition, sticky) = choose(&Record::to("other").key(&[3])).unwrap().unwrap();
        assert_eq!((partition.index, sticky), (3, false));
        assert!(choose(&Record::to("t")).unwrap().unwrap().1, "no answer is the sticky one");
        let error = choose(&Record::to("t").key(&[5])).err().unwrap();
        assert!(matches!(error, ProducerError::PartitionerOutOfRange { partition: 5, partitions: 5, .. }));
        assert!(error.to_string().contains("partition 5 of topic `t`, which has partitions 0 to 4"), "{error}");
        assert!(
            Topic::new("t".into(), 1, Fill::new(1000, 1000)).choose_by(&by_key, &Record::to("t")).unwrap().is_none()
        );
    }

    #[test]
    fn sticky_goes_everywhere_and_stays_between() {
        let topic = topic(5);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            let at = |topic: &Topic| topic.choose(Partitioner::Default, None, false).unwrap().0.index;
            let before = at(&topic);
            assert_eq!(before, at(&topic));
            topic.switch_sticky();
            assert_ne!(before, at(&topic));
            seen[at(&topic) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (100..300).contains(count)), "{seen:?}");
        let turns = (0..10)
            .map(|_| topic.choose(Partitioner::RoundRobin, Some(b"k"), false).unwrap().0.index)
            .collect::<Vec<_>>();
        assert_eq!(turns[..5], turns[5..]);
    }
}
