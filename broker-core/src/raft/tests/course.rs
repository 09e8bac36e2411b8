//! The quorum's courses one by one.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{DescribeQuorumRequest, FetchRequest, VoteRequest, describe_quorum_request};

use super::memory_log::MemoryLog;
use super::world::{Violation, World, voters};
use crate::planted::{self, Bug};
use crate::raft::wire::{self, Ballot, FetchPosition};
use crate::raft::{
    Action, LeaderAndEpoch, Now, OffsetAndEpoch, RaftConfig, RaftLog, RaftNode, RaftRequest, RaftResponse, RequestId,
    RoleName,
};

const NOW: Now = Now { monotonic_ms: 5, date_ms: 1_700_000_000_000 };

fn actions(node: &mut RaftNode<MemoryLog>) -> Vec<Action> {
    std::iter::from_fn(|| node.poll_action()).collect()
}

/// Three voters and an observer, with a leader.
fn settled() -> (World, i32) {
    let mut world = World::new(1, 3, 1, 600).unwrap();
    world.run_until(5_000).unwrap();
    let leader = world.leader().unwrap();
    (world, leader)
}

#[test]
fn the_only_voter_leads_at_once() {
    let mut node = RaftNode::open(RaftConfig::new(1, voters(1)), MemoryLog::default(), NOW).unwrap();
    let leads = LeaderAndEpoch { leader_id: Some(1), epoch: 1 };
    assert_eq!(actions(&mut node), [Action::LeaderChanged { now: leads, epoch_start: Some(0) }, Action::Committed(1)]);
    assert_eq!(node.deadline(), None, "a node that is alone waits for nothing");
    let log = node.into_log();
    assert_eq!(log.election, None, "its log says it all");
    let mut node = RaftNode::open(RaftConfig::new(1, voters(1)), log, NOW).unwrap();
    assert_eq!(actions(&mut node)[1], Action::Committed(2));
    assert_eq!(node.leader_and_epoch().epoch, 2);
}

#[test]
fn three_nodes_elect_and_all_have_what_is_appended() {
    let (mut world, leader) = settled();
    let offset = world.append(leader).unwrap().unwrap();
    world.run_until(world.at + 1_000).unwrap();
    for id in 1..=4 {
        assert!(world.node(id).high_watermark() > offset, "node {id}");
        assert_eq!(world.node(id).leader_and_epoch().leader_id, Some(leader));
    }
    assert_eq!(world.node(4).role(), RoleName::Follower);
    let epoch = world.node(leader).leader_and_epoch().epoch;
    world.run_until(world.at + 60_000).unwrap();
    assert_eq!(world.node(leader).leader_and_epoch(), LeaderAndEpoch { leader_id: Some(leader), epoch });
}

#[test]
fn appends_gather_until_the_linger_is_over() {
    let (mut world, leader) = settled();
    let before = world.node(leader).log().synced_end();
    world.append(leader).unwrap();
    let at = world.at;
    world.append(leader).unwrap();
    assert_eq!(world.node(leader).log().synced_end(), before);
    world.run_until(at + 25).unwrap();
    assert_eq!(world.node(leader).log().synced_end(), before + 2);
}

#[test]
fn who_was_cut_off_does_not_disturb_the_others() {
    let (mut world, leader) = settled();
    let epoch = world.node(leader).leader_and_epoch().epoch;
    let lonely = (1..=3).find(|id| *id != leader).unwrap();
    for other in 1..=4 {
        world.cut.extend([(lonely, other), (other, lonely)]);
    }
    world.run_until(world.at + 30_000).unwrap();
    assert_eq!(world.node(lonely).role(), RoleName::Prospective);
    world.cut.clear();
    world.run_until(world.at + 5_000).unwrap();
    assert_eq!(world.node(lonely).role(), RoleName::Follower);
    assert_eq!(world.node(leader).leader_and_epoch(), LeaderAndEpoch { leader_id: Some(leader), epoch });
}

/// Cuts the leader's way to hear the others, and says what it is 3.1 s later, one and a half times the fetch timeout.
fn deaf_leader() -> RoleName {
    let (mut world, leader) = settled();
    for other in 1..=3 {
        world.cut.insert((other, leader));
    }
    world.run_until(world.at + 3_100).unwrap();
    world.node(leader).role()
}

#[test]
fn a_leader_without_a_majority_resigns() {
    assert_ne!(deaf_leader(), RoleName::Leader);
    let _planted = planted::plant(Bug::RaftIgnoresQuorumLoss);
    assert_eq!(deaf_leader(), RoleName::Leader, "the planted bug shows");
}

#[test]
fn a_leader_that_stops_hands_over() {
    let (mut world, leader) = settled();
    assert!(!world.node(leader).is_dispensable());
    world.shutdown(leader).unwrap();
    world.run_until(world.at + 150).unwrap();
    let next = world.leader().expect("another leads within 150 ms, long before any timeout");
    assert_ne!(next, leader);
    assert!(world.node(leader).is_dispensable());
    world.run_until(world.at + 60_000).unwrap();
    assert_eq!(world.leader(), Some(next), "who stops seeks no votes");
}

#[test]
fn who_stops_in_the_midst_of_an_election_gives_it_up() {
    let mut world = World::new(3, 3, 0, 600).unwrap();
    world.crash(2);
    world.crash(3);
    world.run_while(|world| world.slots[&1].node.as_ref().unwrap().role() != RoleName::Prospective).unwrap();
    world.shutdown(1).unwrap();
    assert_eq!(world.node(1).role(), RoleName::Unattached);
    world.run_until(world.at + 10_000).unwrap();
    assert_eq!(world.node(1).role(), RoleName::Unattached);
}

#[test]
fn a_leader_that_starts_again_does_not_resume_its_epoch() {
    let (mut world, leader) = settled();
    let epoch = world.node(leader).leader_and_epoch().epoch;
    world.crash(leader);
    world.start(leader).unwrap();
    assert_eq!(world.node(leader).role(), RoleName::Resigned);
    world.run_until(world.at + 1_500).unwrap();
    let next = world.leader().expect("the others are told, and need not wait for their fetch timeout");
    assert!(world.node(next).leader_and_epoch().epoch > epoch);
}

#[test]
fn a_node_without_a_log_gets_the_snapshot() {
    let (mut world, leader) = settled();
    let late = (1..=3).find(|id| *id != leader).unwrap();
    world.crash(late);
    for _ in 0..40 {
        for _ in 0..5 {
            world.append(leader).unwrap();
        }
        world.run_until(world.at + 100).unwrap();
        let leader = world.leader().unwrap();
        world.snapshot(leader).unwrap();
    }
    assert!(world.node(leader).log().start_offset() > 100, "retention has cut the log");
    world.start(late).unwrap();
    world.run_until(world.at + 3_000).unwrap();
    let start = world.node(late).log().start_offset();
    assert!(start > 100, "the log begins at the snapshot, and is at {start}");
    assert_eq!(world.node(late).high_watermark(), world.node(leader).high_watermark());
}

#[test]
fn a_log_that_parted_is_cut_by_epochs() {
    let (mut world, leader) = settled();
    for other in 1..=4 {
        world.cut.extend([(leader, other), (other, leader)]);
    }
    for _ in 0..3 {
        world.append(leader).unwrap();
    }
    let parted = world.node(leader).log().end();
    world.run_until(world.at + 10_000).unwrap();
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    world.cut.clear();
    world.append(next).unwrap();
    world.run_until(world.at + 3_000).unwrap();
    assert_eq!(world.node(leader).log().end(), world.node(next).log().end());
    assert!(world.node(leader).log().end().epoch > parted.epoch);
}

/// Figure 8 of the Raft paper: a record of an older epoch comes to a majority, and a later leader does not have it.
fn figure_eight() -> Result<(), Violation> {
    let mut world = World::new(1, 3, 0, 1)?;
    world.run_until(5_000)?;
    let first = world.leader().unwrap();
    let others: Vec<i32> = (1..=3).filter(|id| *id != first).collect();
    // The first leader writes a record that nobody else gets.
    others.iter().for_each(|other| world.part(first, *other));
    let lonely = world.append(first)?.unwrap();
    world.run_while(|world| world.log(first).synced_end() <= lonely)?;
    world.crash(first);
    // So does the second.
    world.cut.clear();
    world.run_while(|world| world.leader().is_none())?;
    let second = world.leader().unwrap();
    let third = others.into_iter().find(|id| *id != second).unwrap();
    world.part(second, third);
    world.crash(second);
    world.cut.clear();
    // The first leads again, and the third gets the record, but nothing of the new epoch.
    world.start(first)?;
    world.run_while(|world| world.leader() != Some(first))?;
    world.run_while(|world| world.log(third).end().offset <= lonely)?;
    world.cut.insert((first, third));
    world.run_until(world.at + 100)?;
    world.crash(first);
    // The second leads by the vote of the third.
    world.cut.clear();
    world.start(second)?;
    world.run_while(|world| world.leader() != Some(second))?;
    world.heal_and_check()
}

#[test]
fn records_of_older_epochs_are_committed_by_one_of_the_leaders_own() {
    assert_eq!(figure_eight(), Ok(()));
    let _planted = planted::plant(Bug::RaftCommitsOlderEpoch);
    let violation = figure_eight().unwrap_err();
    assert!(violation.contains("lacks what was committed"), "{violation}");
}

#[test]
fn the_leader_describes_all_replicas() {
    let (mut world, leader) = settled();
    world.run_until(world.at + 1_000).unwrap();
    let topic = describe_quorum_request::TopicData {
        topic_name: wire::METADATA_TOPIC.to_owned(),
        partitions: vec![describe_quorum_request::PartitionData::default()],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let now = world.now();
    let response = world.node(leader).describe_quorum(now, &request, 2);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id, partition.high_watermark), (0, leader, 1));
    let ends = |replicas: &[rkafka_protocol::messages::describe_quorum_response::ReplicaState]| -> Vec<(i32, i64)> {
        replicas.iter().map(|replica| (replica.replica_id, replica.log_end_offset)).collect()
    };
    assert_eq!(ends(&partition.current_voters), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(ends(&partition.observers), [(4, 1)]);
    for replica in partition.current_voters.iter().chain(&partition.observers) {
        let age = now.date_ms - replica.last_caught_up_timestamp;
        assert!((0..=1_000).contains(&age), "{replica:?}");
    }
    assert_eq!(response.nodes.len(), 3);
    assert_eq!(response.nodes[0].listeners[0].port, 9093);
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let refused = world.node(follower).describe_quorum(now, &request, 2);
    assert_eq!(refused.topics[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower.code());
    let unknown = world.node(leader).describe_quorum(now, &DescribeQuorumRequest::default(), 2);
    assert!(unknown.topics.is_empty());
}

/// What a follower of a quorum of three, in epoch 5 and with an empty log, answers to a vote.
fn answer_to(request: VoteRequest) -> (i16, i16, bool) {
    let config = RaftConfig { cluster_id: Some("ours".to_owned()), ..RaftConfig::new(1, voters(3)) };
    let mut node = RaftNode::open(config, MemoryLog::default(), NOW).unwrap();
    actions(&mut node);
    node.on_request(NOW, RequestId(9), RaftRequest::Vote(request)).unwrap();
    let found = actions(&mut node).into_iter().find_map(|action| match action {
        Action::Reply { id: RequestId(9), response: RaftResponse::Vote(response) } => Some(response),
        _ => None,
    });
    let response = found.unwrap();
    let partition = response.topics.first().and_then(|topic| topic.partitions.first());
    let (error, granted) = partition.map_or((0, false), |partition| (partition.error_code, partition.vote_granted));
    (response.error_code, error, granted)
}

#[test]
fn votes_are_refused_by_kafkas_errors() {
    let config = RaftConfig { cluster_id: Some("ours".to_owned()), ..RaftConfig::new(2, voters(3)) };
    let ballot = Ballot { epoch: 5, candidate_id: 2, end: OffsetAndEpoch::default(), is_pre_vote: false };
    let request = |to, ballot| wire::vote_request(&config, to, ballot);
    let code = ErrorCode::code;
    assert_eq!(answer_to(request(1, ballot)), (0, 0, true));
    assert_eq!(answer_to(request(3, ballot)), (0, code(ErrorCode::InvalidVoterKey), false));
    let stranger = Ballot { candidate_id: 7, ..ballot };
    assert_eq!(answer_to(request(1, stranger)), (0, code(ErrorCode::InconsistentVoterSet), false));
    let impossible = Ballot { end: OffsetAndEpoch { offset: 3, epoch: 5 }, ..ballot };
    assert_eq!(answer_to(request(1, impossible)), (0, code(ErrorCode::InvalidRequest), false));
    let old = Ballot { epoch: -1, ..ballot };
    assert!(!answer_to(request(1, old)).2);
    let foreign = VoteRequest { cluster_id: Some("theirs".to_owned()), ..request(1, ballot) };
    assert_eq!(answer_to(foreign), (code(ErrorCode::InconsistentClusterId), 0, false));
    assert_eq!(answer_to(VoteRequest::default()), (code(ErrorCode::InvalidRequest), 0, false));
}

#[test]
fn a_fetch_waits_for_news_as_long_as_it_may() {
    let mut node = RaftNode::open(RaftConfig::new(1, voters(1)), MemoryLog::default(), NOW).unwrap();
    actions(&mut node);
    let position = FetchPosition {
        replica_id: 4,
        epoch: 1,
        end: OffsetAndEpoch { offset: 1, epoch: 1 },
        high_watermark: 1,
        max_wait_ms: 500,
        max_bytes: 1 << 20,
    };
    let observer = RaftConfig::new(4, voters(1));
    let fetch = |position| RaftRequest::Fetch(wire::fetch_request(&observer, position, 0));
    node.on_request(NOW, RequestId(1), fetch(position)).unwrap();
    assert_eq!(actions(&mut node), []);
    assert_eq!(node.deadline(), Some(NOW.monotonic_ms + 500));
    node.tick(Now { monotonic_ms: NOW.monotonic_ms + 500, ..NOW }).unwrap();
    let answered = actions(&mut node);
    assert!(matches!(&answered[..], [Action::Reply { id: RequestId(1), .. }]), "{answered:?}");
    // One that knows less of the high watermark is told at once.
    let behind = FetchPosition { high_watermark: -1, ..position };
    node.on_request(NOW, RequestId(2), fetch(behind)).unwrap();
    assert_eq!(actions(&mut node).len(), 1);
    // One of another epoch is told who leads.
    let stale = FetchPosition { epoch: 0, end: OffsetAndEpoch::default(), ..position };
    node.on_request(NOW, RequestId(3), fetch(stale)).unwrap();
    let Some(Action::Reply { response: RaftResponse::Fetch(response), .. }) = actions(&mut node).pop() else {
        panic!("no answer");
    };
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::FencedLeaderEpoch.code());
    assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (1, 1));
    let empty = RaftRequest::Fetch(FetchRequest::default());
    node.on_request(NOW, RequestId(4), empty).unwrap();
    assert_eq!(actions(&mut node).len(), 1);
}
