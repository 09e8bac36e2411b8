//! The task that talks to the coordinators of a transactional producer: it does what the machine says, one request at a
//! time, whoever waits for it or does not any more.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rkafka_client_core::{Client, CoordinatorKind, Error, Lane, Target, TopicPartition};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rkafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest,
};
use rkafka_protocol::wire::Request;

use crate::TransactionError;
use crate::clock;
use crate::coordination::Coordination;
use crate::machine::accumulator::Resolutions;
use crate::machine::sequence::ProducerIdentity;
use crate::machine::transaction::{Action, Offsets, Reply};
use crate::shared::Shared;

/// The feature that says how transactions go (KIP-890), and its level from which on brokers add partitions themselves.
const FEATURE: &str = "transaction.version";
const IMPLICIT_FROM: i16 = 2;
/// Beyond, versions are for two-phase commit (KIP-939), which is not used.
const INITIALIZE_VERSION_MAX: i16 = 5;
/// Beyond, versions are for brokers.
const ADD_PARTITIONS_VERSION_MAX: i16 = 3;
/// Beyond, the answer brings the next epoch, or the group's coordinator adds the group by itself (KIP-890).
const END_VERSION_EXPLICIT: i16 = 4;
const COMMIT_OFFSETS_VERSION_EXPLICIT: i16 = 4;

type Asking = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Flushing = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) async fn run(shared: Arc<Shared>, coordination: Arc<Coordination>) {
    let _end = FailOnDrop(shared.clone(), coordination.clone());
    let mut asking: Option<Asking> = None;
    let mut flushing: Option<Flushing> = None;
    while !shared.is_stopped() {
        let stopped = shared.stopped.notified();
        if shared.is_stopped() {
            break;
        }
        let now = clock::now();
        let (action, admitted) = shared.step_transactions(&coordination, |machine| {
            let action = machine.poll_action(now);
            (action, machine.take_admitted())
        });
        for (place, admission) in admitted {
            let topic = shared.known_topic(&place.topic);
            let partition = topic.as_ref().zip(u32::try_from(place.partition).ok());
            let Some(partition) = partition.and_then(|(topic, index)| topic.partition(index)) else { continue };
            let mut slot = partition.lock();
            slot.queue.admit(admission);
            partition.signal(slot);
        }
        match action {
            Some(Action::Drop) => {
                drop_unsent(&shared, &coordination);
                continue;
            }
            Some(Action::AwaitSends) => {
                let shared = shared.clone();
                flushing = Some(Box::pin(async move { shared.flush().await }));
                continue;
            }
            Some(request) => {
                let (shared, id) = (shared.clone(), coordination.id.clone());
                asking = Some(Box::pin(async move { ask(&shared, &id, request).await }));
                continue;
            }
            None => {}
        }
        let deadline = coordination.look(|machine| machine.deadline());
        tokio::select! {
            () = stopped => {}
            () = coordination.work.notified() => {}
            () = clock::sleep_until(deadline) => {}
            reply = pending_or(&mut asking) => {
                asking = None;
                let failures = coordination.look(|machine| machine.failures());
                let pause = shared.client.config().retry_policy().delay(failures, &mut rand::rng());
                shared.step_transactions(&coordination, |machine| machine.on_reply(clock::now(), pause, reply));
            }
            () = pending_or(&mut flushing) => {
                flushing = None;
                shared.step_transactions(&coordination, |machine| machine.on_flushed());
            }
        }
    }
}

/// Tells those who wait that nothing comes any more, also where the runtime ends.
struct FailOnDrop(Arc<Shared>, Arc<Coordination>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        let Self(shared, coordination) = self;
        shared.step_transactions(coordination, |machine| {
            machine.fail(TransactionError::Closed { may_have_been_written: machine.is_in_doubt() });
        });
    }
}

/// The future there is, or for ever.
async fn pending_or<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Fails what was not sent, and what waits to be sent again.
fn drop_unsent(shared: &Shared, coordination: &Coordination) {
    let reason = coordination.look(|machine| machine.error().map(|error| error.to_string().into()));
    let mut resolved = Resolutions::new();
    let mut has_gap = false;
    for partition in shared.partitions() {
        has_gap |= partition.lock().queue.drop_unsent(reason.as_ref(), &mut resolved);
    }
    if has_gap {
        shared.step_transactions(coordination, |machine| machine.on_gap());
    }
    shared.resolve(&mut resolved);
}

async fn ask(shared: &Shared, id: &Arc<str>, action: Action) -> Reply {
    let client = &shared.client;
    let result = match action {
        Action::Drop | Action::AwaitSends => return Reply::Refused(ErrorCode::UnknownServerError),
        Action::Initialize { present } => initialize(shared, id, present).await,
        Action::AddPartitions { identity, partitions } => add_partitions(client, id, identity, partitions).await,
        Action::AddGroup { identity, group_id } => {
            let request = AddOffsetsToTxnRequest {
                transactional_id: id.to_string(),
                producer_id: identity.id,
                producer_epoch: identity.epoch,
                group_id,
                ..AddOffsetsToTxnRequest::default()
            };
            to_coordinator(client, CoordinatorKind::Transaction, id, request, i16::MAX).await.map(|(response, _)| {
                match ErrorCode::check(response.error_code) {
                    Ok(()) => Reply::GroupAdded,
                    Err(code) => Reply::Refused(code),
                }
            })
        }
        Action::CommitOffsets { identity, offsets, adds } => commit_offsets(client, id, identity, offsets, adds).await,
        Action::End { identity, commit, bumps } => {
            let request = EndTxnRequest {
                transactional_id: id.to_string(),
                producer_id: identity.id,
                producer_epoch: identity.epoch,
                committed: commit,
                ..EndTxnRequest::default()
            };
            let version_max = if bumps { i16::MAX } else { END_VERSION_EXPLICIT };
            to_coordinator(client, CoordinatorKind::Transaction, id, request, version_max).await.map(
                |(response, implicit)| match ErrorCode::check(response.error_code) {
                    Ok(()) => {
                        let identity = ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch };
                        Reply::Ended { identity: Some(identity).filter(|identity| identity.id >= 0), implicit }
                    }
                    Err(code) => Reply::Refused(code),
                },
            )
        }
    };
    let reply = result.unwrap_or_else(|error| Reply::Lost(Arc::new(error)));
    let code = match &reply {
        Reply::Refused(code) => Some(*code),
        Reply::PartitionsAdded(codes) => codes.iter().map(|(_, code)| *code).find(is_coordinators),
        _ => None,
    };
    if code.as_ref().is_some_and(is_coordinators) {
        client.invalidate_coordinator(CoordinatorKind::Transaction, id);
    }
    reply
}

/// Whether the coordinator is another by now.
fn is_coordinators(code: &ErrorCode) -> bool {
    matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
}

/// Asks a coordinator, once; gives the answer, and whether the cluster's brokers add partitions by themselves.
async fn to_coordinator<R>(
    client: &Client,
    kind: CoordinatorKind,
    key: &str,
    request: R,
    version_max: i16,
) -> Result<(R::Response, bool), Error>
where
    R: Request + Send + 'static,
{
    let target = Target::Coordinator(kind, key.to_owned());
    let connection = client.connection(&target, Lane::Control).await?;
    let implicit = connection.versions().feature(FEATURE).is_some_and(|level| level >= IMPLICIT_FROM);
    let result = connection.request(request, version_max, client.config().request_timeout).await;
    if result.as_ref().is_err_and(|error| error.is_stale_metadata() || error.is_retriable()) {
        client.invalidate_coordinator(kind, key);
    }
    Ok((result?, implicit))
}

async fn initialize(shared: &Shared, id: &Arc<str>, present: Option<ProducerIdentity>) -> Result<Reply, Error> {
    let timeout = shared.config.transaction_timeout.as_millis();
    let request = InitProducerIdRequest {
        transactional_id: Some(id.to_string()),
        transaction_timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
        producer_id: present.map_or(-1, |present| present.id),
        producer_epoch: present.map_or(-1, |present| present.epoch),
        ..InitProducerIdRequest::default()
    };
    let kind = CoordinatorKind::Transaction;
    let (response, implicit) = to_coordinator(&shared.client, kind, id, request, INITIALIZE_VERSION_MAX).await?;
    Ok(match ErrorCode::check(response.error_code) {
        Ok(()) => {
            let identity = ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch };
            Reply::Initialized { identity, implicit }
        }
        Err(code) => Reply::Refused(code),
    })
}

async fn add_partitions(
    client: &Client,
    id: &Arc<str>,
    identity: ProducerIdentity,
    partitions: Vec<TopicPartition>,
) -> Result<Reply, Error> {
    let mut topics: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for place in partitions {
        topics.entry(place.topic).or_default().push(place.partition);
    }
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.to_string(),
        v3_and_below_producer_id: identity.id,
        v3_and_below_producer_epoch: identity.epoch,
        v3_and_below_topics: topics
            .into_iter()
            .map(|(name, partitions)| AddPartitionsToTxnTopic {
                name: name.to_string(),
                partitions,
                ..AddPartitionsToTxnTopic::default()
            })
            .collect(),
        ..AddPartitionsToTxnRequest::default()
    };
    let kind = CoordinatorKind::Transaction;
    let (response, _) = to_coordinator(client, kind, id, request, ADD_PARTITIONS_VERSION_MAX).await?;
    Ok(match ErrorCode::check(response.error_code) {
        Ok(()) => Reply::PartitionsAdded(
            response
                .results_by_topic_v3_and_below
                .iter()
                .flat_map(|topic| {
                    let name: Arc<str> = topic.name.as_str().into();
                    topic.results_by_partition.iter().map(move |result| {
                        let place = TopicPartition::new(name.clone(), result.partition_index);
                        (place, ErrorCode::from_code(result.partition_error_code))
                    })
                })
                .collect(),
        ),
        Err(code) => Reply::Refused(code),
    })
}

async fn commit_offsets(
    client: &Client,
    id: &Arc<str>,
    identity: ProducerIdentity,
    Offsets { group, offsets }: Offsets,
    adds: bool,
) -> Result<Reply, Error> {
    let mut topics: BTreeMap<Arc<str>, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for (place, offset) in offsets {
        topics.entry(place.topic).or_default().push(TxnOffsetCommitRequestPartition {
            partition_index: place.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata),
            ..TxnOffsetCommitRequestPartition::default()
        });
    }
    let request = TxnOffsetCommitRequest {
        transactional_id: id.to_string(),
        group_id: group.group_id.clone(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        generation_id: group.generation_id,
        member_id: group.member_id,
        group_instance_id: group.group_instance_id,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| TxnOffsetCommitRequestTopic {
                name: name.to_string(),
                partitions,
                ..TxnOffsetCommitRequestTopic::default()
            })
            .collect(),
        ..TxnOffsetCommitRequest::default()
    };
    let version_max = if adds { i16::MAX } else { COMMIT_OFFSETS_VERSION_EXPLICIT };
    let (response, _) = to_coordinator(client, CoordinatorKind::Group, &group.group_id, request, version_max).await?;
    let codes: Vec<_> = response
        .topics
        .iter()
        .flat_map(|topic| {
            let name: Arc<str> = topic.name.as_str().into();
            topic.partitions.iter().map(move |partition| {
                let place = TopicPartition::new(name.clone(), partition.partition_index);
                (place, ErrorCode::from_code(partition.error_code))
            })
        })
        .collect();
    if codes.iter().any(|(_, code)| is_coordinators(code) || *code == ErrorCode::RequestTimedOut) {
        client.invalidate_coordinator(CoordinatorKind::Group, &group.group_id);
    }
    Ok(Reply::OffsetsCommitted(codes))
}
