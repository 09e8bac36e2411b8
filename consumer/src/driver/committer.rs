//! Commits, one after another in the order in which they were asked for. The task owns a commit until it is answered,
//! so that a future that is dropped tears nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::{Cluster, Error, ErrorKind, Lane, Topics};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::driver::member::MemberNews;
use crate::driver::topic_ids::TopicIds;
use crate::error::ConsumerError;
use crate::shared::{Mode, Shared, State};
use crate::subscription::{CommittedOffset, TopicPartition};
use crate::wire;

pub(crate) type Offsets = Vec<(TopicPartition, CommittedOffset)>;
pub(crate) type Reply = oneshot::Sender<Result<(), ConsumerError>>;

/// Offsets, and of what they are, as of one moment: a rebalance, or a topic that is deleted and made anew, changes nothing
/// of them afterwards.
#[derive(Debug)]
pub(crate) struct Collected {
    offsets: Offsets,
    /// The assignment of each partition that the offset is of; `None` where it was not assigned. After a later one the
    /// partition may have been another member's, whose commits must not be overwritten.
    tenures: Vec<Option<u64>>,
    /// The generation at that time, where this is a member of a group: it counts for what was not assigned.
    generation: Option<i32>,
    /// By which the topics go, however often it is tried: the offsets are of these and no others.
    ids: TopicIds,
}

impl Collected {
    /// Nothing, of the present generation.
    pub(crate) fn nothing(shared: &Shared) -> Self {
        Self::named(shared, Vec::new())
    }

    /// The offsets as a line of the log has them.
    pub(crate) fn listed(&self) -> String {
        let all: Vec<String> = self.offsets.iter().map(|(place, at)| format!("{place}@{}", at.offset)).collect();
        all.join(", ")
    }

    /// Offsets that the application names, of the present assignment and topics.
    pub(crate) fn named(shared: &Shared, offsets: Offsets) -> Self {
        let cluster = shared.client.cluster();
        Self::of(&shared.lock(), &cluster, offsets)
    }

    fn of(state: &State, cluster: &Cluster, offsets: Offsets) -> Self {
        let ids = TopicIds::at(state, cluster, offsets.iter().map(|(place, _)| &*place.topic));
        let tenures = state.tenures(&offsets);
        let generation = state.identity.as_ref().map(|(generation, _)| *generation);
        Self { offsets, tenures, generation, ids }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}

/// A commit to be made.
#[derive(Debug)]
pub(crate) struct CommitOrder {
    what: Collected,
    /// Retried for so long.
    limit: Duration,
    /// Told what came of it; may be gone.
    reply: Option<Reply>,
}

impl CommitOrder {
    pub(crate) fn new(what: Collected, limit: Duration, reply: Option<Reply>) -> Self {
        Self { what, limit, reply }
    }

    /// Under whom to commit now: nobody outside of a group.
    fn identity(&self, state: &State) -> Result<Option<(i32, String)>, ErrorCode> {
        let (Mode::Group(_), identity) = (&state.mode, &state.identity) else { return Ok(None) };
        let Some((generation, member_id)) = identity else { return Err(ErrorCode::UnknownMemberId) };
        let mut tenures = self.what.tenures.iter().zip(state.tenures(&self.what.offsets));
        let is_mine = tenures.all(|(then, now)| match then {
            Some(_) => *then == now,
            None => self.what.generation == Some(*generation),
        });
        if is_mine { Ok(Some((*generation, member_id.clone()))) } else { Err(ErrorCode::IllegalGeneration) }
    }
}

/// Commits what is ordered, and what `auto.commit.interval.ms` says, until the last sender is gone or the task ended.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<CommitOrder>,
    member: mpsc::UnboundedSender<MemberNews>,
) {
    let automatic = shared.config.enable_auto_commit && shared.group_id("").is_ok();
    let mut next_automatic = automatic.then(|| clock::now() + shared.config.auto_commit_interval);
    loop {
        let order = tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => order,
                None => return,
            },
            () = clock::sleep_until(next_automatic) => {
                next_automatic = Some(clock::now() + shared.config.auto_commit_interval);
                CommitOrder::new(committable(&shared, false), shared.config.auto_commit_interval, None)
            }
        };
        let result = if order.what.is_empty() { Ok(()) } else { commit(&shared, &order, &member).await };
        if result.is_ok() && !order.what.is_empty() {
            shared.interceptors.on_commit(&order.what.offsets);
        }
        match (order.reply, result) {
            (Some(reply), result) => {
                let _ = reply.send(result);
            }
            (None, Err(error)) => tracing::warn!(%error, "offsets are not committed; the next commit makes up for it"),
            (None, Ok(())) => {}
        }
    }
}

/// What can be committed: all that was handed out, or only what the application has come back from; or what it has
/// marked as done, where it marks.
pub(crate) fn committable(shared: &Shared, returned: bool) -> Collected {
    committable_where(shared, returned, |_| true)
}

/// As [`committable`], of the partitions that `wanted` says.
pub(crate) fn committable_where(
    shared: &Shared,
    returned: bool,
    wanted: impl Fn(&TopicPartition) -> bool,
) -> Collected {
    let cluster = shared.client.cluster();
    // Under one lock: between this and the next, a topic may be found to be another of the same name.
    let state = shared.lock();
    let all = if state.mode == Mode::Idle { Vec::new() } else { state.positions.committable(returned) };
    let offsets = all
        .into_iter()
        .map(|one| {
            let offset = CommittedOffset::new(one.marked.offset)
                .with_leader_epoch(Some(one.marked.leader_epoch).filter(|epoch| *epoch >= 0))
                .with_metadata(one.marked.metadata);
            (TopicPartition { topic: one.topic, partition: one.partition }, offset)
        })
        .filter(|(place, _)| wanted(place))
        .collect();
    Collected::of(&state, &cluster, offsets)
}

async fn commit(
    shared: &Shared,
    order: &CommitOrder,
    member: &mpsc::UnboundedSender<MemberNews>,
) -> Result<(), ConsumerError> {
    let (group_id, offsets, ids) = (shared.group_id("a commit")?, &order.what.offsets, &order.what.ids);
    let deadline = clock::now() + order.limit;
    let mut failures = 0;
    loop {
        let identity = order.identity(&shared.lock()).map_err(|code| ConsumerError::CommitOutdated { code })?;
        let (generation, member_id) = identity.unwrap_or((-1, String::new()));
        let request = request(shared, group_id, generation, member_id, offsets, ids);
        let answer = tokio::select! {
            biased;
            answer = wire::coordinator_request(shared, Lane::Offsets, ids.max_version(), None, |_version| request) => {
                answer
            }
            () = time_is_up(shared) => {
                let reason = "no answer in the time that a close has for commits";
                Err(Error::new(ErrorKind::Timeout, reason))
            }
        };
        let error = match answer {
            Ok(response) => match judge(offsets, ids, &response) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            Err(source) => ConsumerError::Client { doing: "committing offsets", source },
        };
        let (code, retriable) = match &error {
            // The member goes on to the next generation with its partitions, or loses them: both end the wait.
            ConsumerError::CommitOutdated { code } => {
                let passes = matches!(
                    code,
                    ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::StaleMemberEpoch
                );
                (Some(*code), passes && generation >= 0)
            }
            ConsumerError::CommitRefused { partition, code } => {
                (Some(*code), code.is_retriable() && !is_gone(shared, partition, *code, ids).await)
            }
            ConsumerError::Client { source, .. } => (source.code(), source.is_retriable()),
            _ => (None, false),
        };
        if let Some(code) = code {
            if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
                wire::forget_coordinator(shared);
            }
            if generation >= 0 {
                let _ = member.send(MemberNews::CommitRefused { generation, code });
            }
        }
        let wait = shared.config.client.retry_policy().delay(failures, &mut rand::rng());
        let deadline = shared.lock().commit_by.map_or(deadline, |by| by.min(deadline));
        if !retriable || clock::now() + wait >= deadline {
            return Err(error);
        }
        failures += 1;
        clock::sleep(wait).await;
    }
}

/// Waits until the consumer is being closed, and the time that this leaves for commits has passed.
async fn time_is_up(shared: &Shared) {
    loop {
        let mut woken = std::pin::pin!(shared.member.notified());
        woken.as_mut().enable();
        let by = shared.lock().commit_by;
        if by.is_some_and(|by| by <= clock::now()) {
            return;
        }
        tokio::select! {
            () = woken => {}
            () = clock::sleep_until(by) => {}
        }
    }
}

fn request(
    shared: &Shared,
    group_id: &str,
    generation: i32,
    member_id: String,
    offsets: &Offsets,
    ids: &TopicIds,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (place, offset) in offsets {
        topics.entry(&place.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: place.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
            ..OffsetCommitRequestPartition::default()
        });
    }
    OffsetCommitRequest {
        group_id: group_id.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id,
        group_instance_id: shared.config.group_instance_id.clone().filter(|_| generation >= 0),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| OffsetCommitRequestTopic {
                name: name.to_owned(),
                topic_id: ids.id(name),
                partitions,
                ..OffsetCommitRequestTopic::default()
            })
            .collect(),
        ..OffsetCommitRequest::default()
    }
}

/// The first refusal is the error.
fn judge(offsets: &Offsets, ids: &TopicIds, response: &OffsetCommitResponse) -> Result<(), ConsumerError> {
    let mut codes: BTreeMap<(&str, i32), i16> = BTreeMap::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            codes.insert((ids.name(&topic.name, topic.topic_id), partition.partition_index), partition.error_code);
        }
    }
    let mut first = None;
    for (place, _) in offsets {
        match codes.get(&(&*place.topic, place.partition)).map(|code| ErrorCode::check(*code)) {
            Some(Ok(())) => {}
            Some(Err(code)) => {
                first.get_or_insert_with(|| refusal(place, code));
            }
            None => {
                first.get_or_insert_with(|| ConsumerError::Client {
                    doing: "committing offsets",
                    source: Error::new(ErrorKind::Protocol, "the answer does not speak of the partition")
                        .with_partition(&*place.topic, place.partition),
                });
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// Whether a topic that the coordinator does not know is gone by what the cluster says too, so that there is nothing to
/// wait for.
async fn is_gone(shared: &Shared, place: &TopicPartition, code: ErrorCode, ids: &TopicIds) -> bool {
    if !matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
        return false;
    }
    let sent = ids.id(&place.topic);
    match shared.client.refresh(Topics::named([&*place.topic])).await {
        Ok(cluster) => match cluster.topic(&place.topic) {
            Some(topic) => topic.partition(place.partition).is_none() || (!sent.is_nil() && topic.id != sent),
            None => true,
        },
        Err(_) => false,
    }
}

fn refusal(place: &TopicPartition, code: ErrorCode) -> ConsumerError {
    match code {
        ErrorCode::IllegalGeneration
        | ErrorCode::UnknownMemberId
        | ErrorCode::RebalanceInProgress
        | ErrorCode::StaleMemberEpoch
        | ErrorCode::FencedInstanceId => ConsumerError::CommitOutdated { code },
        code => ConsumerError::CommitRefused { partition: place.clone(), code },
    }
}
