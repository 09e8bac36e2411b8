//! Many records in one call: one look-up per topic and one lock per run of records for the same partition.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::partition::Partition;
use crate::producer::{Producer, is_cured_by_metadata};
use crate::shared::Shared;
use crate::topic::Topic;
use crate::{Delivery, ProducerError, Record, TrySendError};

/// How many records are taken from the iterator at a time: no lock is held while it runs.
const CHUNK: usize = 64;

impl Producer {
    /// Accepts records, one after the other, as [`Producer::send`] does, and says how many there were. A [`Delivery`] of
    /// each is put behind what is in `deliveries`, in the order of the records; drop them to fire and forget.
    ///
    /// Records of one partition are sent in the order in which they come. Neighbours for the same partition share one
    /// lock, which pays where they have a partition of their own, the same key, or none.
    ///
    /// Cancel safe: where this future is dropped, the records whose deliveries are in `deliveries` were accepted, and no
    /// others.
    ///
    /// # Errors
    /// Those of [`Producer::send`], of the first record that was not accepted. The ones before it were, and their
    /// deliveries are in `deliveries`: as many as were accepted. Up to 64 records may have been taken from the iterator
    /// beyond that.
    ///
    /// ```no_run
    /// # use rkafka_producer::{Producer, ProducerError, Record};
    /// # async fn send(producer: Producer) -> Result<(), ProducerError> {
    /// let lines = ["one", "two", "three"];
    /// let mut deliveries = Vec::new();
    /// producer.send_many(lines.iter().map(|line| Record::to("lines").value(line)), &mut deliveries).await?;
    /// for delivery in deliveries {
    ///     delivery.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_many<'r>(
        &self,
        records: impl IntoIterator<Item = Record<'r>>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, ProducerError> {
        let before = deliveries.len();
        let mut records = records.into_iter();
        let mut chunk = Vec::with_capacity(CHUNK.min(records.size_hint().0.max(1)));
        loop {
            chunk.clear();
            chunk.extend(records.by_ref().take(CHUNK));
            if chunk.is_empty() {
                return Ok(deliveries.len().saturating_sub(before));
            }
            self.send_chunk(&chunk, deliveries).await?;
        }
    }

    async fn send_chunk(
        &self,
        mut records: &[Record<'_>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), ProducerError> {
        if self.shared().interceptors.is_some() {
            for record in records {
                deliveries.push(self.send(record.clone()).await?);
            }
            return Ok(());
        }
        while let Some(first) = records.first() {
            let topic = self.shared().topic(first.topic);
            let before = deliveries.len();
            let result = self.shared().append_many(&topic, records, deliveries);
            records = records.get(deliveries.len().saturating_sub(before)..).unwrap_or_default();
            let Err(error) = result else { continue };
            match (error, records.split_first()) {
                (TrySendError::Refused(error), _) if !is_cured_by_metadata(&error) => return Err(self.refused(error)),
                (_, Some((record, rest))) => {
                    let sent = self.send_slowly(record, topic).await;
                    deliveries.push(sent.map_err(|error| self.refused(error))?);
                    records = rest;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }
}

/// Where a record goes, and whether the sticky partitioner said so.
type Place<'t> = (&'t Arc<Partition>, bool);

impl Shared {
    /// Takes the records up to the first that is for another topic or is not accepted, whose error this is.
    fn append_many(
        &self,
        topic: &Topic,
        records: &[Record<'_>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), TrySendError> {
        let mut left = records;
        // The first of the next run, which was placed to see where this one ends: round robin counts each look.
        let mut placed: Option<Result<Place<'_>, TrySendError>> = None;
        while let Some(first) = left.first() {
            if *first.topic != *topic.name {
                return Ok(());
            }
            // All are placed before the lock is taken, for a partitioner may be the application's.
            let (partition, sticky) = placed.take().unwrap_or_else(|| self.place(topic, first))?;
            let mut count = 1;
            while let Some(next) = left.get(count).filter(|next| *next.topic == *topic.name) {
                let place = self.place(topic, next);
                if !matches!(&place, Ok((same, also)) if Arc::ptr_eq(same, partition) && *also == sticky) {
                    placed = Some(place);
                    break;
                }
                count += 1;
            }
            let run = left.get(..count).unwrap_or_default();
            let before = deliveries.len();
            let flow = self.append_run(topic, (partition, sticky), run, deliveries)?;
            left = left.get(deliveries.len().saturating_sub(before)..).unwrap_or_default();
            if flow.is_break() {
                // The sticky partitioner went on, also for what was placed ahead.
                placed = None;
            }
        }
        Ok(())
    }

    /// Takes records that go to one partition, until the sticky partitioner goes on.
    fn append_run(
        &self,
        topic: &Topic,
        (partition, sticky): Place<'_>,
        records: &[Record<'_>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<ControlFlow<()>, TrySendError> {
        let mut held = None;
        for record in records {
            let slot = match held.take() {
                Some(slot) => slot,
                None => self.lock_open(partition)?,
            };
            let (delivery, slot, switched) = self.append_locked(topic, partition, slot, record, (sticky, false))?;
            deliveries.push(delivery);
            held = slot;
            if switched {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
