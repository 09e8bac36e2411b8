//! Electing leaders of partitions. Source: ElectLeaders (API key 43), KIP-183, KIP-460.

use std::collections::BTreeSet;

use rkafka_client_core::{Error, ErrorKind, Result, TopicPartition};
use rkafka_protocol::messages::elect_leaders_request::TopicPartitions;
use rkafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{PerItem, by_topic, silent, with_partition};
use crate::Admin;
use crate::codes::codes;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

codes! {
    /// Who may become the leader of a partition.
    pub enum ElectionType: i8 {
        /// The first of its replicas, if it is in sync.
        Preferred = 0 "PREFERRED",
        /// Any replica that is alive, where none is in sync; records may be lost by it.
        Unclean = 1 "UNCLEAN",
    }
}

operation! {
    /// What [`Admin::elect_leaders`] gives.
    pub struct ElectLeaders => PerItem<(), TopicPartition> {
        election: ElectionType,
        partitions: Option<BTreeSet<TopicPartition>>,
    }
}

struct Job<'a> {
    election: ElectionType,
    partitions: &'a Option<BTreeSet<TopicPartition>>,
    timeout_ms: i32,
}

// One request for all, for `None` names none; each partition's result is in the answer.
impl Operation for Job<'_> {
    type Key = ();
    type Value = PerItem<(), TopicPartition>;
    type Request = ElectLeadersRequest;

    fn place(&self, _all: &()) -> Place {
        Place::Controller
    }

    fn check(&self, version: i16, _all: &()) -> Result<()> {
        if version == 0 && self.election != ElectionType::Preferred {
            let message = "the broker elects preferred leaders only; others need Kafka 2.4";
            return Err(Error::new(ErrorKind::UnsupportedVersion, message));
        }
        Ok(())
    }

    fn request(&self, _version: i16, _all: &[()]) -> Result<ElectLeadersRequest> {
        let topic = |(topic, partitions)| TopicPartitions { topic, partitions, ..Default::default() };
        Ok(ElectLeadersRequest {
            election_type: self.election.code(),
            topic_partitions: self
                .partitions
                .as_ref()
                .map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
            timeout_ms: self.timeout_ms,
            ..Default::default()
        })
    }

    fn read(&self, _all: &[()], response: ElectLeadersResponse) -> Answers<(), PerItem<(), TopicPartition>> {
        Error::check(response.error_code)?;
        let mut told: PerItem<(), TopicPartition> = PerItem::new();
        for topic in response.replica_election_results {
            for one in topic.partition_result {
                let partition = TopicPartition::new(topic.topic.as_str(), one.partition_id);
                let outcome = Error::check_with(one.error_code, one.error_message.as_deref())
                    .map_err(|error| with_partition(&partition, error));
                told.insert(partition, outcome);
            }
        }
        for partition in self.partitions.iter().flatten() {
            told.entry(partition.clone()).or_insert_with(|| Err(silent(partition)));
        }
        // Where the controller has moved, it is so for all.
        let moved = |result: &&Result<()>| {
            result.as_ref().is_err_and(|error| error.code() == Some(crate::ErrorCode::NotController))
        };
        if let Some(Err(error)) = told.values().find(moved) {
            return Err(error.clone());
        }
        Ok(vec![((), Ok(told))])
    }
}

impl ElectLeaders<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartition>> {
        let job = Job {
            election: self.election,
            partitions: &self.partitions,
            timeout_ms: self.admin.broker_time(self.limit),
        };
        let answer = self.admin.run(&job, [()], self.limit).await?.into_values().next();
        answer.unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no broker answered")))
    }
}

impl Admin {
    /// Elects leaders of these partitions, or, with `None`, of all that have another leader than they should.
    ///
    /// A partition that has the right leader is an error of its own,
    /// [`ElectionNotNeeded`](crate::ErrorCode::ElectionNotNeeded); with `None` such ones are left out.
    ///
    /// Cancel safety: leaders may have been elected.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item.
    pub fn elect_leaders(&self, election: ElectionType, partitions: Option<Vec<TopicPartition>>) -> ElectLeaders<'_> {
        ElectLeaders::new(self, election, partitions.map(|partitions| partitions.into_iter().collect()))
    }
}
