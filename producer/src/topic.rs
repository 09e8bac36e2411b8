//! The partitions of one topic, read without a lock by every record.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use crate::machine::fill::Fill;
use crate::partition::Partition;
use crate::partitioner::load::{Adaptation, LoadTable};
use crate::partitioner::{Choice, CustomPartitioner, Partitioner, TopicPartitions, next_random};
use crate::{ProducerError, Record, clock};

/// Blocks of partitions: block `n` holds `2^n` of them, so that 31 blocks hold every partition that Kafka can number.
const BLOCKS: usize = 31;

type Block = Box<[OnceLock<Arc<Partition>>]>;

/// Of a topic with more partitions than this, the queues are looked at only every so often.
const PARTITIONS_PER_LOOK: u32 = 64;

/// How the sticky partitioner spreads records at present.
#[derive(Default)]
struct Shares {
    table: LoadTable,
    /// How many more times the table is used before the queues are looked at again.
    uses_left: u32,
}

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
    adaptation: Adaptation,
    shares: Mutex<Shares>,
    random: AtomicU64,
    id: Mutex<Uuid>,
    /// Whether a task asks for the metadata already.
    asking: AtomicBool,
}

impl Topic {
    /// A topic of which only the name is known. `seed` spreads the sticky choice.
    pub(crate) fn new(name: Arc<str>, seed: u64, fill: Fill, adaptation: Adaptation) -> Arc<Self> {
        Arc::new(Self {
            name,
            fill: Arc::new(fill),
            blocks: [const { OnceLock::new() }; BLOCKS],
            count: AtomicU32::new(0),
            sticky: AtomicU32::new(0),
            turn: AtomicU32::new(seed as u32),
            adaptation,
            shares: Mutex::default(),
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
        let before = self.count.swap(count, Ordering::AcqRel);
        if before != count {
            self.shares.lock().unwrap_or_else(PoisonError::into_inner).uses_left = 0;
        }
        if before == 0 {
            self.switch_sticky(clock::now);
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

    /// Lets the sticky partitioner go on (KIP-794): to a partition with a leader, by the shares that what waits in them
    /// gives them, or where these are equal, to any other than the present one. No partition's lock may be held. `now`
    /// is asked only where the availability of brokers counts.
    pub(crate) fn switch_sticky(&self, now: impl FnOnce() -> Instant) {
        let count = self.count();
        if count < 2 {
            return;
        }
        let random = next_random(self.random.load(Ordering::Relaxed));
        self.random.store(random, Ordering::Relaxed);
        // The high bits of xorshift are the good ones.
        let random = random >> 33;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.uses_left == 0 {
            shares.uses_left = count / PARTITIONS_PER_LOOK;
            let timeout = self.adaptation.availability_timeout;
            let available = (self.adaptation.enabled && !timeout.is_zero()).then(|| (now(), timeout));
            let known = (0..count).filter_map(|index| Some((index, self.partition(index)?)));
            let queues = known.filter_map(|(index, partition)| {
                let waiting = if self.adaptation.enabled {
                    partition.load(available)
                } else {
                    partition.has_leader().then_some(0)
                };
                Some((index, waiting?))
            });
            shares.table.rebuild(count, queues);
        } else {
            shares.uses_left -= 1;
        }
        let chosen =
            shares.table.pick(random).filter(|index| self.partition(*index).is_some_and(|one| one.has_leader()));
        let another = || {
            let steps = 1 + (random % u64::from(count - 1)) as u32;
            let candidate = (self.sticky.load(Ordering::Relaxed) % count + steps) % count;
            self.with_leader_from(candidate, count).unwrap_or(candidate)
        };
        self.sticky.store(chosen.unwrap_or_else(another), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::accumulator::Limits;
    use crate::memory::Memory;
    use crate::partition::Mailbox;
    use std::time::Duration;

    const ADAPTIVE: Adaptation = Adaptation { enabled: true, availability_timeout: Duration::ZERO };

    fn topic(partitions: u32) -> Arc<Topic> {
        topic_with(partitions, ADAPTIVE)
    }

    fn topic_with(partitions: u32, adaptation: Adaptation) -> Arc<Topic> {
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
        let topic = Topic::new("t".into(), 42, Fill::new(1000, 1000), adaptation);
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
        assert!(
            Topic::new("u".into(), 1, Fill::new(1000, 1000), ADAPTIVE)
                .choose(Partitioner::Default, None, false)
                .is_none()
        );
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
            Topic::new("t".into(), 1, Fill::new(1000, 1000), ADAPTIVE)
                .choose_by(&by_key, &Record::to("t"))
                .unwrap()
                .is_none()
        );
    }

    /// How often each partition is the sticky one, of so many switches.
    fn shares(topic: &Topic, switches: u32, now: Instant) -> Vec<u32> {
        let mut seen = vec![0; topic.count() as usize];
        for _ in 0..switches {
            topic.switch_sticky(|| now);
            seen[topic.choose(Partitioner::Default, None, false).unwrap().0.index as usize] += 1;
        }
        seen
    }

    /// Puts batches of one record each into a partition.
    fn queue(topic: &Topic, index: u32, batches: usize, memory: &Arc<Memory>) {
        let mut slot = topic.partition(index).unwrap().lock();
        for _ in 0..batches {
            slot.queue.append(&Record::to("t").value("x"), 0, false, memory, false, clock::now).unwrap();
            slot.queue.close_open(clock::now());
        }
    }

    #[test]
    fn sticky_is_where_the_least_waits_and_not_where_nobody_takes_it() {
        let (memory, now) = (Arc::new(Memory::new(1 << 20, 1000, 1000)), clock::now());
        let second = Duration::from_secs(1);
        let for_a_second = Adaptation { enabled: true, availability_timeout: second };
        let off = Adaptation { enabled: false, availability_timeout: second };
        for (adaptation, weights) in [(ADAPTIVE, [4, 1, 3, 4]), (for_a_second, [4, 1, 3, 4]), (off, [1, 1, 1, 1])] {
            let topic = topic_with(4, adaptation);
            let mailboxes = (0..4).map(Mailbox::new).collect::<Vec<_>>();
            let all_near = |seen: &[u32], weights: [u32; 4]| {
                let total = weights.iter().sum::<u32>();
                for (seen, weight) in seen.iter().zip(weights) {
                    let due = 6000 * weight / total;
                    assert!((due * 9 / 10..=due * 11 / 10).contains(seen), "{seen} where {due} are due");
                }
            };
            for (partition, mailbox) in topic.all().zip(&mailboxes) {
                partition.move_to(mailbox);
            }
            queue(&topic, 1, 3, &memory);
            queue(&topic, 2, 1, &memory);
            all_near(&shares(&topic, 6000, now), weights);
            mailboxes[3].set_stuck(Some(now));
            mailboxes[3].set_stuck(Some(now + second * 5));
            all_near(&shares(&topic, 6000, now + second), weights);
            let stuck = now + second * 101 / 100;
            let rest = if adaptation.availability_timeout.is_zero() || !adaptation.enabled { weights[3] } else { 0 };
            all_near(&shares(&topic, 6000, stuck), [weights[0], weights[1], weights[2], rest]);
            mailboxes[3].set_stuck(None);
            all_near(&shares(&topic, 6000, stuck), weights);
            topic.partition(3).unwrap().move_to(&Mailbox::new(-1));
            all_near(&shares(&topic, 6000, stuck), [weights[0], weights[1], weights[2], 0]);
            for mailbox in &mailboxes {
                mailbox.set_stuck(Some(now));
            }
            // Where nobody is available, it is left to chance among those that have a leader.
            let seen = shares(&topic, 6000, stuck);
            assert!(seen[..3].iter().all(|seen| *seen > 400) && seen[3] == 0, "{seen:?}");
        }
    }

    #[test]
    fn of_a_large_topic_the_queues_are_looked_at_every_so_often() {
        let topic = topic_with(640, Adaptation { availability_timeout: Duration::from_secs(1), ..ADAPTIVE });
        let (broker, looks) = (Mailbox::new(0), std::cell::Cell::new(0));
        topic.all().for_each(|partition| partition.move_to(&broker));
        // What was seen when the topic became known holds for ten times.
        topic.publish(640);
        for _ in 0..110 {
            topic.switch_sticky(|| {
                looks.set(looks.get() + 1);
                clock::now()
            });
        }
        assert_eq!(looks.get(), 10);
    }

    #[test]
    fn sticky_goes_everywhere_and_stays_between() {
        let topic = topic(5);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            let at = |topic: &Topic| topic.choose(Partitioner::Default, None, false).unwrap().0.index;
            let before = at(&topic);
            assert_eq!(before, at(&topic));
            topic.switch_sticky(clock::now);
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
