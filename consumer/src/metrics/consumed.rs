//! How many records and bytes the application is given.
//!
//! They are added up per response, as in Kafka, and told when the last of it has been given or dropped. What a consumer
//! passes to the application is counted by batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rkafka_client_core::metrics::Sensor;

use super::ConsumerMetrics;
use crate::clock;

/// The sensors of all topics, or of one.
#[derive(Debug)]
pub(crate) struct Consumed {
    bytes: Sensor,
    records: Sensor,
}

impl Consumed {
    pub(crate) fn new(bytes: Sensor, records: Sensor) -> Self {
        Self { bytes, records }
    }
}

/// What was given of one response, or of one of its topics. Tells it when it is dropped.
#[derive(Debug)]
pub(crate) struct Sum {
    sensors: Arc<Consumed>,
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Sum {
    pub(crate) fn new(sensors: Arc<Consumed>) -> Self {
        Self { sensors, bytes: AtomicU64::new(0), records: AtomicU64::new(0) }
    }

    /// The application was given so much.
    pub(crate) fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        let now = clock::now();
        self.sensors.bytes.record(now, *self.bytes.get_mut() as f64);
        self.sensors.records.record(now, *self.records.get_mut() as f64);
    }
}

/// Where what is given of one chunk is added. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    of_topic: Arc<Sum>,
    of_response: Arc<Sum>,
}

impl Tally {
    /// The application was given so much.
    pub(crate) fn add(&self, records: u64, bytes: u64) {
        self.of_topic.add(records, bytes);
        self.of_response.add(records, bytes);
    }
}

/// The tallies of one response.
#[derive(Debug)]
pub(crate) struct Tallies<'a> {
    metrics: &'a ConsumerMetrics,
    sensors: Arc<Consumed>,
    of_response: Option<Arc<Sum>>,
    of_topics: HashMap<Arc<str>, Arc<Sum>>,
}

impl<'a> Tallies<'a> {
    pub(super) fn new(metrics: &'a ConsumerMetrics, sensors: Arc<Consumed>) -> Self {
        Self { metrics, sensors, of_response: None, of_topics: HashMap::new() }
    }

    /// The tally of a chunk of this topic.
    pub(crate) fn of(&mut self, topic: &Arc<str>) -> Tally {
        let of_response = self.of_response.get_or_insert_with(|| Arc::new(Sum::new(Arc::clone(&self.sensors))));
        let of_topic =
            self.of_topics.entry(Arc::clone(topic)).or_insert_with(|| Arc::new(Sum::new(self.metrics.topic(topic))));
        Tally { of_topic: Arc::clone(of_topic), of_response: Arc::clone(of_response) }
    }
}
