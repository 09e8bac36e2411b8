//! What a producer measures of itself: Kafka's metrics under Kafka's names, and the stages of a batch's way.
//!
//! Nothing is measured for a record by itself: a batch that is sent tells of its records.

mod specs;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rkafka_client_core::Client;
use rkafka_client_core::metrics::{ClientKind, Gauge, Metrics, MetricsSnapshot, Sensor};
use rkafka_protocol::records::BATCH_OVERHEAD;

use crate::clock;
use crate::machine::accumulator::Journey;
use crate::machine::batch::Payload;
use crate::memory::Memory;

pub use specs::producer_specs;

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The sensors of one topic.
pub(crate) struct TopicMetrics {
    records: Sensor,
    bytes: Sensor,
    compression: Sensor,
    errors: Sensor,
    retries: Sensor,
}

/// The sensors of a producer.
pub(crate) struct ProducerMetrics {
    metrics: Metrics,
    topics: Mutex<HashMap<Arc<str>, Arc<TopicMetrics>>>,
    records: Sensor,
    batch_size: Sensor,
    record_size: Sensor,
    compression: Sensor,
    queue_time: Sensor,
    linger: Sensor,
    turn: Sensor,
    encoding: Sensor,
    outbuf: Sensor,
    round_trip: Sensor,
    latency: Sensor,
    delivery: Sensor,
    throttle: Sensor,
    splits: Sensor,
    errors: Sensor,
    retries: Sensor,
    exhausted: Sensor,
    buffer_wait: Sensor,
    /// The operations of the application, by what they are.
    operations: [Sensor; Operation::ALL.len()],
    _gauges: Vec<Gauge>,
}

/// What the application waits for, beside memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Flush,
    Metadata,
    TransactionInit,
    TransactionBegin,
    TransactionSendOffsets,
    TransactionCommit,
    TransactionAbort,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Flush,
        Self::Metadata,
        Self::TransactionInit,
        Self::TransactionBegin,
        Self::TransactionSendOffsets,
        Self::TransactionCommit,
        Self::TransactionAbort,
    ];
}

/// An operation that is under way: its time counts when this is dropped, so also where it is cancelled.
pub(crate) struct Timed<'m> {
    sensor: &'m Sensor,
    begun: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let now = clock::now();
        self.sensor.record(now, now.saturating_duration_since(self.begun).as_nanos() as f64);
    }
}

impl ProducerMetrics {
    pub(crate) fn new(client: &Client, memory: &Arc<Memory>) -> Self {
        let metrics = Metrics::new(client.config(), ClientKind::Producer);
        let sensor = |specs| metrics.sensor(specs, &[]);
        let memory = |read: fn(&Memory) -> usize| {
            let memory = memory.clone();
            move |_| read(&memory) as f64
        };
        let (aged, flying) = (client.clone(), client.clone());
        let gauges = vec![
            metrics.gauge(&specs::BUFFER_TOTAL, &[], memory(Memory::limit)),
            metrics.gauge(&specs::BUFFER_AVAILABLE, &[], memory(|memory| memory.limit().saturating_sub(memory.used()))),
            metrics.gauge(&specs::WAITING, &[], memory(Memory::waiting)),
            metrics.gauge(&specs::METADATA_AGE, &[], move |_| aged.metadata_age().as_secs_f64()),
            metrics.gauge(&specs::IN_FLIGHT, &[], move |_| flying.requests_in_flight() as f64),
        ];
        Self {
            topics: Mutex::default(),
            records: sensor(specs::RECORDS),
            batch_size: sensor(specs::BATCH_SIZE),
            record_size: sensor(specs::RECORD_SIZE),
            compression: sensor(specs::COMPRESSION),
            queue_time: sensor(specs::QUEUE_TIME),
            linger: sensor(specs::LINGER),
            turn: sensor(specs::TURN),
            encoding: sensor(specs::ENCODING),
            outbuf: sensor(specs::OUTBUF),
            round_trip: sensor(specs::ROUND_TRIP),
            latency: sensor(specs::LATENCY),
            delivery: sensor(specs::DELIVERY),
            throttle: sensor(specs::THROTTLE),
            splits: sensor(specs::SPLITS),
            errors: sensor(specs::ERRORS),
            retries: sensor(specs::RETRIES),
            exhausted: sensor(specs::EXHAUSTED),
            buffer_wait: sensor(specs::BUFFER_WAIT),
            operations: Operation::ALL.map(|operation| sensor(specs::operation(operation))),
            _gauges: gauges,
            metrics,
        }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> MetricsSnapshot {
        self.metrics.snapshot(now)
    }

    fn topic(&self, name: &Arc<str>) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let sensor = |specs| self.metrics.sensor(specs, &[("topic", name)]);
        let topic = Arc::new(TopicMetrics {
            records: sensor(specs::TOPIC_RECORDS),
            bytes: sensor(specs::TOPIC_BYTES),
            compression: sensor(specs::TOPIC_COMPRESSION),
            errors: sensor(specs::TOPIC_ERRORS),
            retries: sensor(specs::TOPIC_RETRIES),
        });
        topics.insert(name.clone(), topic.clone());
        topic
    }

    /// A batch goes into a request that is made at `now`.
    pub(crate) fn batch_sent(&self, now: Instant, topic: &Arc<str>, journey: Journey, retry: bool, payload: &Payload) {
        let Some(batch) = payload.batch() else { return };
        let topic = self.topic(topic);
        let count = u64::from(journey.count);
        let ratio = batch.len() as f64 / batch.uncompressed_len().max(1) as f64;
        self.batch_size.record(now, batch.len() as f64);
        self.compression.record(now, ratio);
        topic.records.record(now, count as f64);
        topic.bytes.record(now, batch.len() as f64);
        topic.compression.record(now, ratio);
        if let Some((ready_at, largest)) = journey.first {
            let bytes = batch.uncompressed_len().saturating_sub(BATCH_OVERHEAD);
            self.record_size.record_many(now, bytes as f64, count, largest as f64);
            self.queue_time.record(now, ms(now.saturating_duration_since(journey.created)));
            self.linger.record(now, ms(ready_at.saturating_duration_since(journey.created)));
            self.turn.record(now, ms(now.saturating_duration_since(ready_at)));
        }
        if retry {
            self.retries.record(now, count as f64);
            topic.retries.record(now, count as f64);
        }
    }

    /// A request with so many records was encoded, from `begun` to `now`.
    pub(crate) fn request_sent(&self, begun: Instant, now: Instant, records: u64) {
        self.records.record(now, records as f64);
        self.encoding.record(now, ms(now.saturating_duration_since(begun)));
    }

    /// The answer to a request came, that was encoded at `queued_at` and given to the network at `written_at`.
    pub(crate) fn answered(&self, now: Instant, queued_at: Instant, written_at: Instant, throttle_ms: i32) {
        self.latency.record(now, ms(now.saturating_duration_since(queued_at)));
        self.outbuf.record(now, ms(written_at.saturating_duration_since(queued_at)));
        self.round_trip.record(now, ms(now.saturating_duration_since(written_at)));
        self.throttle.record(now, f64::from(throttle_ms.max(0)));
    }

    /// A batch was acknowledged whose first record was accepted at `created`.
    pub(crate) fn delivered(&self, now: Instant, created: Instant) {
        self.delivery.record(now, ms(now.saturating_duration_since(created)));
    }

    pub(crate) fn split(&self, now: Instant) {
        self.splits.record(now, 1.0);
    }

    /// Records that were accepted have failed.
    pub(crate) fn failed(&self, now: Instant, topic: &Arc<str>, records: u32) {
        self.errors.record(now, f64::from(records));
        self.topic(topic).errors.record(now, f64::from(records));
    }

    /// A record was not accepted. As in Java, its topic does not count it.
    pub(crate) fn refused(&self, now: Instant) {
        self.errors.record(now, 1.0);
    }

    /// `buffer.memory` stayed full for too long for a record.
    pub(crate) fn exhausted(&self, now: Instant) {
        self.exhausted.record(now, 1.0);
    }

    /// Measures how long somebody waits for memory.
    pub(crate) fn waits_for_memory(&self) -> Timed<'_> {
        Timed { sensor: &self.buffer_wait, begun: clock::now() }
    }

    /// Measures an operation.
    pub(crate) fn time(&self, operation: Operation) -> Option<Timed<'_>> {
        let sensor = self.operations.get(operation as usize)?;
        Some(Timed { sensor, begun: clock::now() })
    }
}
