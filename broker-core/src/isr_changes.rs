//! Changes of in-sync replicas, on their way from this broker's partitions to the active controller and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::AlterPartitionRequest;
use rkafka_protocol::messages::alter_partition_request::{BrokerState as InSync, PartitionData, TopicData};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::BrokerState;
use crate::forwarding::{ask_controller, pause};
use crate::peer::Purpose;
use crate::replication::{AlterPartitionSink, IsrDecision, IsrProposal, Partition};

/// The version in which brokers of this cluster ask.
const VERSION: i16 = 3;
/// How long the controller may take for an answer, looked for included.
const WITHIN: Duration = Duration::from_secs(10);
/// The wait before a proposal goes once more.
const BACKOFF: Duration = Duration::from_millis(50);

type Proposed = (Arc<Partition>, IsrProposal);

/// Where partitions put their proposals.
#[derive(Debug)]
pub(crate) struct IsrChanges {
    proposals: mpsc::UnboundedSender<Proposed>,
}

impl AlterPartitionSink for IsrChanges {
    fn propose(&self, partition: &Arc<Partition>, proposal: IsrProposal) {
        // Without a receiver the broker stops. A partition has one proposal under way at most.
        let _ = self.proposals.send((Arc::clone(partition), proposal));
    }
}

/// A sink, and what is put into it.
pub(crate) fn isr_changes() -> (Arc<IsrChanges>, mpsc::UnboundedReceiver<Proposed>) {
    let (proposals, inbox) = mpsc::unbounded_channel();
    (Arc::new(IsrChanges { proposals }), inbox)
}

/// Takes proposals to the controller, all that wait in one request, until the broker stops. Asks for laggards to be taken
/// out every half of `replica.lag.time.max.ms` too.
pub(crate) async fn run_isr_changes(
    broker: Arc<BrokerState>,
    mut inbox: mpsc::UnboundedReceiver<Proposed>,
    mut stop: watch::Receiver<bool>,
) {
    let send = async {
        while let Some(first) = inbox.recv().await {
            let mut proposed = vec![first];
            while let Ok(more) = inbox.try_recv() {
                proposed.push(more);
            }
            let mut once_more = take_to_controller(&broker, &proposed).await;
            while !once_more.is_empty() {
                pause(BACKOFF).await;
                while let Ok(more) = inbox.try_recv() {
                    once_more.push(more);
                }
                once_more = take_to_controller(&broker, &once_more).await;
            }
        }
    };
    let shrink = async {
        loop {
            // Half of the time, so that a replica that lags is out of sync after one and a half of it at most, as in Kafka.
            pause(broker.config.replica_lag_time_max / 2).await;
            broker.shrink_isrs();
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = send => {}
        () = shrink => {}
    }
}

/// Asks the controller, tells the partitions what it said, and answers the proposals that are to go once more.
async fn take_to_controller(broker: &BrokerState, proposed: &[Proposed]) -> Vec<Proposed> {
    let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
    for (partition, proposal) in proposed {
        topics.entry(partition.topic_id).or_default().push(PartitionData {
            partition_index: partition.index,
            leader_epoch: proposal.leader_epoch,
            new_isr_with_epochs: proposal
                .isr
                .iter()
                .map(|(broker_id, broker_epoch)| InSync {
                    broker_id: *broker_id,
                    broker_epoch: *broker_epoch,
                    ..Default::default()
                })
                .collect(),
            partition_epoch: proposal.partition_epoch,
            ..Default::default()
        });
    }
    let request = AlterPartitionRequest {
        broker_id: broker.config.node_id,
        broker_epoch: broker.broker_epoch(),
        topics: topics
            .into_iter()
            .map(|(topic_id, partitions)| TopicData { topic_id, partitions, ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let deadline = broker.clock.now() + WITHIN;
    let asked = ask_controller(broker, Purpose::Controller, VERSION, &request, deadline).await;
    let answer_to = |partition: &Partition| -> Result<IsrDecision, ErrorCode> {
        let Ok(answer) = &asked else { return Err(ErrorCode::RequestTimedOut) };
        let error = ErrorCode::from_code(answer.error_code);
        if error != ErrorCode::None {
            return Err(error);
        }
        let topic = answer.topics.iter().find(|topic| topic.topic_id == partition.topic_id);
        let found = topic.and_then(|topic| topic.partitions.iter().find(|it| it.partition_index == partition.index));
        let found = found.ok_or(ErrorCode::UnknownServerError)?;
        match ErrorCode::from_code(found.error_code) {
            ErrorCode::None => Ok(IsrDecision {
                leader_epoch: found.leader_epoch,
                partition_epoch: found.partition_epoch,
                isr: found.isr.clone(),
            }),
            error => Err(error),
        }
    };
    let again = proposed.iter().filter_map(|(partition, proposal)| {
        let again = partition.isr_answered(proposal, &answer_to(partition))?;
        Some((Arc::clone(partition), again))
    });
    again.collect()
}
