//! Consumer interceptors: what they see, and that their failures are nobody else's.

use std::error::Error;
use std::sync::{Arc, Mutex};

use rkafka::consumer::{Batch, CommittedOffset, Consumer, ConsumerInterceptor, ConsumerOptions, TopicPartition};
use rkafka::producer::Record;
use rkafka_testkit::on_both;

use crate::support::{consumer_config, in_time, next, producer};

#[derive(Debug, Default)]
struct Seen {
    records: usize,
    commits: Vec<(String, i64)>,
    closed: u32,
}

struct Audit(Arc<Mutex<Seen>>);

impl ConsumerInterceptor for Audit {
    fn on_consume(&self, batch: &Batch) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.lock().expect("sound").records += batch.records().count();
        Ok(())
    }

    fn on_commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let offsets = offsets.iter().map(|(place, offset)| (place.to_string(), offset.offset));
        self.0.lock().expect("sound").commits.extend(offsets);
        Ok(())
    }

    fn close(&self) {
        self.0.lock().expect("sound").closed += 1;
    }
}

/// Fails in every way.
struct Broken;

impl ConsumerInterceptor for Broken {
    fn on_consume(&self, batch: &Batch) -> Result<(), Box<dyn Error + Send + Sync>> {
        if batch.first_offset() == 0 { Err("broken".into()) } else { panic!("broken") }
    }

    fn on_commit(&self, _: &[(TopicPartition, CommittedOffset)]) -> Result<(), Box<dyn Error + Send + Sync>> {
        panic!("broken")
    }
}

on_both! {
    async fn interceptors_see_batches_and_commits_and_fail_alone(cluster: &Cluster) {
        let topic = cluster.topic("intercepted", 1, &[]).await;
        let producer = producer(&cluster.bootstrap()).await;
        for number in 0..3 {
            let value = number.to_string();
            let record = Record::to(&topic).partition(0).value(&value);
            in_time("the record", producer.send(record).await.expect("taken")).await.expect("written");
        }
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let options = ConsumerOptions::new().interceptor(Broken).interceptor(Audit(Arc::clone(&seen)));
        let config = consumer_config(&cluster.bootstrap()).group_id(cluster.unique("audited")).enable_auto_commit(false);
        let mut consumer = Consumer::connect_with(config, options).await.expect("a consumer");
        consumer.subscribe([topic.as_str()]).expect("subscribed");
        for offset in 0..3 {
            assert_eq!(next(&mut consumer).await.offset(), offset);
        }
        in_time("the commit", consumer.commit()).await.expect("committed");
        consumer.close().await.expect("closed");
        let seen = seen.lock().expect("sound");
        assert_eq!((seen.records, seen.closed), (3, 1));
        assert_eq!(seen.commits, [(format!("{topic}-0"), 3)]);
    }
}
