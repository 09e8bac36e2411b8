//! What the cluster is asked: committed offsets, offsets by time and place, a topic's partitions.

use std::collections::HashMap;
use std::sync::Arc;

use rkafka_client_core::{Error, RetryPolicy, Topics, retry};
use rkafka_protocol::ErrorCode;

use super::ConsumerHandle;
use crate::clock;
use crate::driver::offsets::{self, Found, Query};
use crate::error::{ConsumerError, Result};
use crate::machine::positions::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP,
};
use crate::shared::Shared;
use crate::subscription::{CommittedOffset, OffsetAndTimestamp, TopicPartition};

impl ConsumerHandle {
    /// What the group has committed, in the order of the question; `None` for partitions without. Cancel safe.
    ///
    /// # Errors
    /// No group; the coordinator refuses, or does not answer within `default.api.timeout.ms`.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>> {
        self.open()?;
        self.shared.group_id("asking for committed offsets")?;
        let doing = "asking for committed offsets";
        let (shared, partitions) = (Arc::clone(&self.shared), partitions.to_vec());
        let question = async move {
            let (shared, partitions) = (&*shared, &*partitions);
            let answers = retry(RetryPolicy::from(&shared.config.client), |_| async move {
                let mut answers = match offsets::committed(shared, partitions).await {
                    Ok(answers) => answers,
                    Err(ConsumerError::Client { source, .. }) => return Err(source),
                    Err(other) => return Err(Error::new(rkafka_client_core::ErrorKind::Config, other.to_string())),
                };
                collect(partitions, &mut answers)
            });
            answers.await.map_err(|source| ConsumerError::Client { doing, source })
        };
        let began = clock::now();
        let answers = self.shared.at_home(question).await;
        let now = clock::now();
        self.shared.metrics.committed.record(now, now.saturating_duration_since(began).as_nanos() as f64);
        answers
    }

    /// The earliest offset of each partition, in the order of the question. Cancel safe.
    ///
    /// # Errors
    /// A topic or a partition that is not there; no answer within `default.api.timeout.ms`.
    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), EARLIEST_TIMESTAMP)).collect();
        let found = self.list("asking for beginning offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// The end of each partition, in the order of the question: the offset of the next record to be written, or the last
    /// stable offset under `isolation.level=read_committed`. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), LATEST_TIMESTAMP)).collect();
        let found = self.list("asking for end offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// For each partition the first record that is not older than the time (in milliseconds since 1970), in the order of
    /// the question; `None` where there is none. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndTimestamp>)>> {
        let wanted: Vec<_> = times.iter().map(|(place, time)| (place.clone(), (*time).max(0))).collect();
        let found = self.list("asking for offsets by time", &wanted).await?;
        let place = |found: Found| OffsetAndTimestamp { offset: found.offset, timestamp: found.timestamp };
        Ok(found.into_iter().map(|(partition, found)| (partition, found.map(place))).collect())
    }

    /// For each partition the record with the largest timestamp (KIP-734), in the order of the question; `None` of one
    /// without records. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.0.
    pub async fn max_timestamp_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndTimestamp>)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), MAX_TIMESTAMP)).collect();
        let found = self.list("asking for the largest timestamps", &wanted).await?;
        let place = |found: Found| OffsetAndTimestamp { offset: found.offset, timestamp: found.timestamp };
        Ok(found.into_iter().map(|(partition, found)| (partition, found.map(place))).collect())
    }

    /// The earliest offset of each partition that lies on its leader's own disks (KIP-405), in the order of the question:
    /// that of [`beginning_offsets`](Self::beginning_offsets) where there is no tiered storage. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.6.
    pub async fn earliest_local_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), EARLIEST_LOCAL_TIMESTAMP)).collect();
        let found = self.list("asking for the earliest local offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// The last offset of each partition that is in remote storage (KIP-1005), in the order of the question; `None` where
    /// nothing is. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.9.
    pub async fn latest_tiered_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), LATEST_TIERED_TIMESTAMP)).collect();
        let found = self.list("asking for the last tiered offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map(|found| found.offset))).collect())
    }

    async fn list(
        &self,
        doing: &'static str,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<Found>)>> {
        self.open()?;
        let (shared, wanted) = (Arc::clone(&self.shared), wanted.to_vec());
        let question = async move {
            let policy = RetryPolicy::from(&shared.config.client);
            let found = retry(policy, |failures| list_once(&shared, &wanted, failures > 0));
            found.await.map_err(|source| ConsumerError::Client { doing, source })
        };
        self.shared.at_home(question).await
    }

    /// The numbers of a topic's partitions, from the cluster. Java's `partitionsFor`. Cancel safe.
    ///
    /// # Errors
    /// [`ConsumerError::Client`]: the topic is not there or may not be seen, or the cluster cannot be asked, within
    /// `default.api.timeout.ms`; [`ConsumerError::Closed`].
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        self.open()?;
        let client_error = |source| ConsumerError::Client { doing: "asking for a topic's partitions", source };
        let (shared, name) = (Arc::clone(&self.shared), topic.to_owned());
        let question = async move {
            let (shared, topic) = (&*shared, &*name);
            let found = retry(RetryPolicy::from(&shared.config.client), |_| async move {
                let cluster = shared.client.refresh(Topics::named([topic])).await?;
                let unknown = |code: ErrorCode| Error::broker_error(code).with_topic(topic);
                if let Some(code) = cluster.topic_error(topic) {
                    return Err(unknown(code));
                }
                cluster.topic(topic).cloned().ok_or_else(|| unknown(ErrorCode::UnknownTopicOrPartition))
            });
            found.await.map_err(client_error)
        };
        let found = self.shared.at_home(question).await?;
        let mut topics =
            found.partitions.iter().map(|partition| TopicPartition::new(topic, partition.index)).collect::<Vec<_>>();
        topics.sort();
        Ok(topics)
    }
}

/// The answers in the order of the question. A code is an error with its partition.
fn collect<T>(
    partitions: &[TopicPartition],
    answers: &mut offsets::Answers<T>,
) -> Result<Vec<(TopicPartition, Option<T>)>, Error> {
    partitions
        .iter()
        .map(|place| {
            let answer = answers.remove(&place.topic, place.partition);
            match answer {
                Some(Ok(found)) => Ok((place.clone(), found)),
                Some(Err(code)) => Err(Error::broker_error(code).with_partition(&*place.topic, place.partition)),
                None => Err(Error::new(
                    rkafka_client_core::ErrorKind::Protocol,
                    "the answer does not speak of the partition (is it asked for twice?)",
                )
                .with_partition(&*place.topic, place.partition)),
            }
        })
        .collect()
}

async fn list_once(
    shared: &Shared,
    wanted: &[(TopicPartition, i64)],
    again: bool,
) -> Result<Vec<(TopicPartition, Option<Found>)>, Error> {
    let mut cluster = shared.client.cluster();
    if again || wanted.iter().any(|(place, _)| cluster.topic(&place.topic).is_none()) {
        cluster = shared.client.refresh(Topics::named(wanted.iter().map(|(place, _)| place.topic.to_string()))).await?;
    }
    let mut by_broker: HashMap<i32, Vec<Query>> = HashMap::new();
    for (place, timestamp) in wanted {
        let unknown = |code: ErrorCode| Error::broker_error(code).with_partition(&*place.topic, place.partition);
        if let Some(code) = cluster.topic_error(&place.topic) {
            return Err(unknown(code));
        }
        let partition = cluster
            .partition(&place.topic, place.partition)
            .ok_or_else(|| unknown(ErrorCode::UnknownTopicOrPartition))?;
        let leader = partition.leader.ok_or_else(|| unknown(ErrorCode::LeaderNotAvailable))?;
        by_broker.entry(leader).or_default().push(Query {
            topic: Arc::clone(&place.topic),
            partition: place.partition,
            leader_epoch: partition.leader_epoch,
            timestamp: *timestamp,
        });
    }
    let mut answers = offsets::Answers::default();
    for (broker, queries) in by_broker {
        answers.extend(offsets::list(shared, broker, &queries).await?);
    }
    let places: Vec<TopicPartition> = wanted.iter().map(|(place, _)| place.clone()).collect();
    collect(&places, &mut answers)
}
