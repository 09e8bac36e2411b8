//! Queues in transactions, over the same trouble: what is committed is there whole, and what is told is so.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::delivery::Outcome;
use crate::machine::transaction::Admission;

/// The transaction that may send, and whether anything of it failed.
pub(super) struct Present {
    pub(super) gate: Arc<AtomicU64>,
    admission: Admission,
    doomed: bool,
}

impl Present {
    pub(super) fn is_shut(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == 0
    }
}

impl World {
    fn transactional(seed: u64) -> Self {
        let mut world = Self::new(seed, true, 5, Compression::None);
        let gate = Arc::new(AtomicU64::new(0));
        world.limits = Arc::new(Limits { transaction: Some(gate.clone()), ..(*world.limits).clone() });
        world.partitions = (0..PARTITIONS)
            .map(|index| {
                let orphanage = world.mailboxes[BROKERS].clone();
                let partition =
                    Partition::new("t".into(), index as i32, world.limits.clone(), world.fill.clone(), orphanage);
                partition.move_to(&world.mailboxes[0]);
                partition
            })
            .collect();
        let admission = Admission { number: 0, identity: ProducerIdentity { id: 7, epoch: 0 } };
        world.present = Some(Present { gate, admission, doomed: false });
        world
    }

    /// Takes partitions into the transaction, at once.
    pub(super) fn admit(&mut self, wanted: Vec<rkafka_client_core::TopicPartition>) {
        let Some(present) = &self.present else { return };
        for place in wanted {
            let partition = &self.partitions[place.partition as usize];
            let mut slot = partition.lock();
            slot.queue.admit(present.admission);
            partition.signal(slot);
        }
    }

    /// A failure that is news dooms the transaction: nothing more of it is sent.
    pub(super) fn note(&mut self, resolved: &mut Resolutions) {
        let Some(present) = &mut self.present else { return };
        let is_news = |(receipt, outcome): &(crate::delivery::Receipt, Outcome)| {
            !receipt.is_told()
                && matches!(outcome, Outcome::Failed(error) if !matches!(error, ProducerError::TransactionAborted { .. }))
        };
        if !resolved.iter().any(is_news) {
            return;
        }
        present.doomed = true;
        present.gate.store(0, Ordering::Relaxed);
        for partition in &self.partitions {
            partition.lock().queue.drop_unsent(None, resolved);
        }
    }

    fn begin(&mut self, number: u64) {
        let present = self.present.as_mut().unwrap();
        present.admission = Admission { number, identity: ProducerIdentity { id: 7, epoch: number as i16 } };
        present.doomed = false;
        present.gate.store(number, Ordering::Relaxed);
    }

    /// Flushes, and writes the markers, by which brokers know the next epoch. Says whether it was committed.
    fn end(&mut self) -> bool {
        for partition in &self.partitions {
            let mut slot = partition.lock();
            slot.queue.close_open(self.now);
            partition.signal(slot);
        }
        let mut since_doom = 0;
        for round in 0.. {
            for at in 0..PARTITIONS {
                self.learn(at);
            }
            for broker in 0..BROKERS {
                self.collect(broker);
                self.serve(broker);
                self.answer(broker);
            }
            self.now += Duration::from_millis(6);
            if self.deliveries.iter().all(|(_, _, delivery)| delivery.try_result().is_some()) {
                break;
            }
            let doomed = self.present.as_ref().unwrap().doomed;
            // What is dropped is told at once, and does not wait for `delivery.timeout.ms`.
            assert!(round < 5_000, "records are stuck");
            since_doom += u32::from(doomed);
            assert!(since_doom < 100, "nothing but answers is waited for");
        }
        let present = self.present.as_ref().unwrap();
        let (committed, epoch) = (!present.doomed, present.admission.identity.epoch + 1);
        present.gate.store(0, Ordering::Relaxed);
        for log in &mut self.logs {
            let state = log.producers.entry(7).or_default();
            state.epoch = epoch;
            state.marked = true;
            state.batches.clear();
        }
        committed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_is_there_whole_or_known_to_have_failed(seed: u64) {
        let mut world = World::transactional(seed);
        world.poison = false;
        let mut committed = 0;
        for number in 1..=12 {
            // The last ones without trouble, so that some are committed in any case.
            world.trouble = number < 10;
            world.poison = number < 10 && number % 3 == 0;
            let begun = world.deliveries.len();
            world.begin(number);
            for _ in 0..120 {
                world.step();
            }
            if !world.trouble {
                world.records_max = usize::MAX;
            }
            if world.end() {
                committed += 1;
                for (at, id, delivery) in &world.deliveries[begun..] {
                    let metadata = delivery.try_result().expect("resolved");
                    prop_assert!(metadata.is_ok(), "{id}: {metadata:?}");
                    prop_assert!(world.logs[*at].records.contains(id));
                }
            }
        }
        prop_assert!(committed > 0);
        // What the application was told of before its answer came, comes home now.
        for _ in 0..PARTITIONS * 10 {
            for broker in 0..BROKERS {
                world.serve(broker);
                world.answer(broker);
            }
        }
        world.zombies.clear();
        world.check();
    }
}
