//! The classic machine against a coordinator in a few lines, over virtual time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

use super::classic::Classic;
use super::state::State;
use super::terms::{Action, ClassicConfig, Failure, Joined, JoinedMember, Wanted};
use crate::subscription::{GroupMembershipOperation, TopicPartition};

pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a base for virtual time: only differences matter")]
    Instant::now()
}

pub(super) fn config(is_static: bool) -> ClassicConfig {
    ClassicConfig {
        is_static,
        is_cooperative: false,
        session_timeout: Duration::from_secs(45),
        heartbeat_interval: Duration::from_secs(3),
        max_poll_interval: Duration::from_secs(300),
        retry_backoff: Duration::from_millis(100),
    }
}

pub(super) fn joined(generation: i32, member_id: &str, leader_id: &str) -> Joined {
    Joined {
        generation,
        member_id: member_id.to_owned(),
        leader_id: leader_id.to_owned(),
        protocol: "range".to_owned(),
        skip_assignment: false,
        members: vec![JoinedMember { member_id: leader_id.to_owned(), instance_id: None, metadata: Bytes::new() }],
    }
}

/// Partitions of topic `t`.
pub(super) fn places(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect()
}

pub(super) fn wanted() -> Wanted {
    Wanted { topics: ["t".to_owned()].into(), pattern: None }
}

/// Whether it is a JoinGroup by this member id.
fn is_join(action: &Option<Action>, id: &str) -> bool {
    matches!(action, Some(Action::Join { member_id, .. }) if member_id == id)
}

pub(super) fn refused<T>(code: ErrorCode) -> Result<T, Failure> {
    Err(Failure::refused(code))
}

/// Brings a fresh member into generation 1 as its leader.
fn stable(is_static: bool, now: Instant) -> Classic {
    let mut member = Classic::new(config(is_static), wanted(), now);
    assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
    assert_eq!(member.poll_action(now), None, "one search at a time");
    member.on_coordinator(now, Ok(()));
    assert!(is_join(&member.poll_action(now), ""));
    assert_eq!(member.poll_action(now), None);
    member.on_join(
        now,
        Err(Failure::Refused { code: ErrorCode::MemberIdRequired, member_id: Some("m".to_owned()), message: None }),
    );
    assert!(is_join(&member.poll_action(now), "m"));
    member.on_join(now, Ok(joined(1, "m", "m")));
    assert!(matches!(member.poll_action(now), Some(Action::Assign { members, .. }) if members.len() == 1));
    member.on_assigned(vec![("m".to_owned(), Bytes::from_static(b"all"))]);
    assert!(matches!(
        member.poll_action(now),
        Some(Action::Sync { generation: 1, assignments, .. }) if assignments.len() == 1
    ));
    member.on_sync(now, Ok(places(&[0, 1])));
    assert!(matches!(member.poll_action(now), Some(Action::Install { generation: 1, is_leader: true, .. })));
    member.on_installed();
    assert_eq!(member.state(), State::Stable);
    assert_eq!(member.identity(), Some((1, "m")));
    member
}

// Shows: heartbeat.interval.ms.
#[test]
fn beats_on_time_and_only_once_at_a_time() {
    let now = start();
    let mut member = stable(false, now);
    assert_eq!(member.poll_action(now), None);
    assert_eq!(member.deadline(), Some(now + Duration::from_secs(3)));
    let later = now + Duration::from_secs(3);
    assert_eq!(member.poll_action(later), Some(Action::Heartbeat { generation: 1, member_id: "m".to_owned() }));
    assert_eq!(member.poll_action(later + Duration::from_secs(4)), None, "one is in flight");
    member.on_heartbeat(later, 1, Ok(()));
    assert_eq!(member.poll_action(later), None);
    assert_eq!(member.deadline(), Some(later + Duration::from_secs(3)));
}

#[test]
fn a_rebalance_gives_up_then_joins_and_beats_meanwhile() {
    let now = start();
    let mut member = stable(false, now);
    let later = now + Duration::from_secs(3);
    member.poll_action(later);
    member.on_heartbeat(later, 1, refused(ErrorCode::RebalanceInProgress));
    assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: false }));
    let slow = later + Duration::from_secs(3);
    assert!(matches!(member.poll_action(slow), Some(Action::Heartbeat { .. })), "a slow hook does not stop the beat");
    member.on_heartbeat(slow, 1, refused(ErrorCode::RebalanceInProgress));
    assert_eq!(member.poll_action(slow), None, "it is on its way already");
    assert_eq!(member.identity(), Some((1, "m")), "so that the hook can commit");
    member.on_revoked();
    assert!(is_join(&member.poll_action(slow), "m"));
    member.on_join(slow, Ok(joined(2, "m", "other")));
    assert!(
        matches!(member.poll_action(slow), Some(Action::Sync { generation: 2, assignments, .. }) if assignments.is_empty()),
        "who does not lead assigns nothing"
    );
    member.on_sync(slow, refused(ErrorCode::RebalanceInProgress));
    assert!(matches!(member.poll_action(slow), Some(Action::Join { .. })), "a member came in between");
}

#[test]
fn a_lost_identity_loses_the_partitions() {
    for (code, kept) in [(ErrorCode::UnknownMemberId, ""), (ErrorCode::IllegalGeneration, "m")] {
        let now = start();
        let mut member = stable(false, now);
        let later = now + Duration::from_secs(3);
        member.poll_action(later);
        member.on_heartbeat(later, 1, refused(code));
        assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
        assert_eq!(member.identity(), None, "nothing can be committed any more");
        member.on_revoked();
        assert!(is_join(&member.poll_action(later), kept));
    }
}

#[test]
fn a_fenced_member_is_done() {
    let now = start();
    let mut member = stable(true, now);
    let later = now + Duration::from_secs(3);
    member.poll_action(later);
    member.on_heartbeat(later, 1, refused(ErrorCode::FencedInstanceId));
    assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
    member.on_revoked();
    assert_eq!(member.poll_action(later), Some(Action::Fail { code: ErrorCode::FencedInstanceId, message: None }));
    assert!(member.is_done());
    assert_eq!(member.poll_action(later), None);
}

#[test]
fn who_does_not_poll_leaves_until_it_does() {
    for is_static in [false, true] {
        let now = start();
        let mut member = stable(is_static, now);
        let late = now + Duration::from_secs(300);
        let action = member.poll_action(late);
        if is_static {
            assert_eq!(action, None, "a static member is waited for");
        } else {
            assert!(matches!(action, Some(Action::Leave { member_id, .. }) if member_id == "m"));
        }
        assert_eq!(member.poll_action(late), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
        member.on_revoked();
        assert_eq!(member.poll_action(late), None);
        member.on_poll(late);
        assert!(is_join(&member.poll_action(late), ""));
    }
}

#[test]
fn a_static_leader_that_is_back_watches_over_what_was_shared_out() {
    let now = start();
    let mut member = Classic::new(config(true), wanted(), now);
    assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
    member.on_coordinator(now, Ok(()));
    assert!(is_join(&member.poll_action(now), ""));
    member.on_join(now, Ok(Joined { skip_assignment: true, ..joined(3, "m", "m") }));
    assert!(matches!(member.poll_action(now), Some(Action::Assign { is_kept: true, .. })));
    member.on_assigned(Vec::new());
    let sync = member.poll_action(now);
    assert!(matches!(sync, Some(Action::Sync { generation: 3, assignments, .. }) if assignments.is_empty()));
}

#[test]
fn a_silent_coordinator_is_looked_for_again() {
    let now = start();
    let mut member = stable(false, now);
    let later = now + Duration::from_secs(3);
    member.poll_action(later);
    member.on_heartbeat(later, 1, Err(Failure::Lost));
    assert_eq!(member.poll_action(later), None, "after a backoff");
    let backed_off = later + Duration::from_millis(100);
    assert_eq!(member.deadline(), Some(backed_off));
    assert_eq!(member.poll_action(backed_off), Some(Action::FindCoordinator));
    member.on_coordinator(backed_off, Ok(()));
    assert!(
        matches!(member.poll_action(backed_off), Some(Action::Heartbeat { generation: 1, .. })),
        "the member goes on where it was"
    );
}

#[test]
fn closing_gives_up_and_leaves_unless_static() {
    for is_static in [false, true] {
        let now = start();
        let mut member = stable(is_static, now);
        member.on_close(GroupMembershipOperation::Default);
        assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: places(&[0, 1]), lost: false }));
        member.on_revoked();
        if !is_static {
            assert!(matches!(member.poll_action(now), Some(Action::Leave { member_id, .. }) if member_id == "m"));
            member.on_left();
        }
        assert_eq!(member.poll_action(now), None);
        assert!(member.is_done());
    }
}

#[test]
fn closing_while_joining_leaves_by_the_member_id() {
    let now = start();
    let mut member = stable(false, now);
    member.on_topics_changed();
    assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: places(&[0, 1]), lost: false }));
    member.on_revoked();
    assert!(matches!(member.poll_action(now), Some(Action::Join { .. })));
    member.on_close(GroupMembershipOperation::Default);
    assert!(matches!(member.poll_action(now), Some(Action::Leave { .. })));
    member.on_left();
    assert!(member.is_done());
}

/// The group waits for its leader, and refuses all commits meanwhile.
#[test]
fn a_leader_that_closes_tells_first_who_gets_what_where_it_has_something_to_commit() {
    let now = start();
    for closes_at in 0..3 {
        for answer in [Ok(places(&[0])), refused(ErrorCode::RebalanceInProgress), Err(Failure::Lost)] {
            let mut member = stable(false, now);
            member.config.is_cooperative = true;
            member.on_topics_changed();
            assert!(is_join(&member.poll_action(now), "m"));
            let close = |member: &mut Classic, when| {
                if when == closes_at {
                    member.on_close(GroupMembershipOperation::Default);
                }
            };
            member.on_join(now, Ok(joined(2, "m", "m")));
            close(&mut member, 0);
            assert!(matches!(member.poll_action(now), Some(Action::Assign { .. })), "closed at {closes_at}");
            close(&mut member, 1);
            member.on_assigned(vec![("m".to_owned(), Bytes::from_static(b"all"))]);
            assert!(matches!(member.poll_action(now), Some(Action::Sync { generation: 2, .. })));
            close(&mut member, 2);
            assert_eq!(member.poll_action(now), None, "the answer is waited for");
            let is_lost = answer == Err(Failure::Lost);
            member.on_sync(now, answer.clone());
            assert_eq!(
                member.poll_action(now),
                Some(Action::Revoke { partitions: places(&[0, 1]), lost: false }),
                "closed at {closes_at}, {answer:?}"
            );
            assert_eq!(member.identity(), Some((2, "m")), "as whom it commits");
            member.on_revoked();
            if is_lost {
                assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
                member.on_coordinator(now, Ok(()));
            }
            let next = member.poll_action(now);
            assert!(matches!(next, Some(Action::Leave { .. })), "closed at {closes_at}, {answer:?}: {next:?}");
            member.on_left();
            assert!(member.is_done());
        }
    }
}

/// Its last commit may have told that the coordinator is elsewhere now.
#[test]
fn a_coordinator_that_moved_is_looked_for_once_to_be_told_of_the_leaving() {
    let now = start();
    for is_found in [true, false] {
        let mut member = stable(false, now);
        member.on_close(GroupMembershipOperation::Default);
        assert!(matches!(member.poll_action(now), Some(Action::Revoke { .. })));
        member.on_commit_refused(now, 1, ErrorCode::NotCoordinator);
        member.on_revoked();
        assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
        assert_eq!(member.poll_action(now), None, "one search at a time");
        assert!(!member.is_done());
        member.on_coordinator(now, if is_found { Ok(()) } else { Err(Failure::Lost) });
        let next = member.poll_action(now);
        assert_eq!(matches!(next, Some(Action::Leave { .. })), is_found, "{next:?}");
        assert_eq!(member.is_done(), !is_found);
    }
}

#[test]
fn an_identity_lost_while_an_assignment_is_installed_gives_it_up_after() {
    let now = start();
    let mut member = stable(false, now);
    member.on_topics_changed();
    member.poll_action(now);
    member.on_revoked();
    member.poll_action(now);
    member.on_join(now, Ok(joined(2, "m", "other")));
    member.poll_action(now);
    member.on_sync(now, Ok(places(&[0, 1])));
    assert!(matches!(member.poll_action(now), Some(Action::Install { .. })));
    let later = now + Duration::from_secs(3);
    assert!(matches!(member.poll_action(later), Some(Action::Heartbeat { .. })));
    member.on_heartbeat(later, 2, refused(ErrorCode::UnknownMemberId));
    assert_eq!(member.poll_action(later), None, "the hook is still running");
    member.on_installed();
    assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
}

#[test]
fn a_cooperative_member_keeps_what_it_has_and_gives_up_what_is_taken() {
    let now = start();
    let config = ClassicConfig { is_cooperative: true, ..config(false) };
    let mut member = Classic::new(config, wanted(), now);
    member.poll_action(now);
    member.on_coordinator(now, Ok(()));
    assert!(is_join(&member.poll_action(now), ""));
    member.on_join(now, Ok(joined(1, "m", "other")));
    member.poll_action(now);
    member.on_sync(now, Ok(places(&[0, 1, 2])));
    assert!(matches!(member.poll_action(now), Some(Action::Install { added, .. }) if added == places(&[0, 1, 2])));
    member.on_installed();

    // Another one comes: nothing is given up before the new assignment is there.
    member.poll_action(now + Duration::from_secs(3));
    member.on_heartbeat(now, 1, refused(ErrorCode::RebalanceInProgress));
    assert!(matches!(
        member.poll_action(now),
        Some(Action::Join { owned, generation: 1, remembered: Some(_), .. }) if owned == places(&[0, 1, 2])
    ));
    assert_eq!(member.identity(), Some((1, "m")), "what is kept can be committed meanwhile");
    member.on_join(now, Ok(joined(2, "m", "other")));
    member.poll_action(now);
    member.on_sync(now, Ok(places(&[1, 3])));
    assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: places(&[0, 2]), lost: false }));
    member.on_revoked();
    assert!(matches!(member.poll_action(now), Some(Action::Install { added, .. }) if added == places(&[3])));
    member.on_installed();
    // And it joins at once, so that what it gave up is given to others.
    assert!(matches!(
        member.poll_action(now),
        Some(Action::Join { owned, generation: 2, .. }) if owned == places(&[1, 3])
    ));

    // A lost identity loses all.
    member.on_join(now, refused(ErrorCode::UnknownMemberId));
    assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: places(&[1, 3]), lost: true }));
    member.on_revoked();
    let again = now + Duration::from_secs(1);
    let join = member.poll_action(again);
    assert!(matches!(&join, Some(Action::Join { owned, generation: -1, .. }) if owned.is_empty()), "{join:?}");
}

#[test]
fn a_topic_that_is_no_longer_wanted_is_given_up_before_the_join() {
    let now = start();
    let mut member = Classic::new(ClassicConfig { is_cooperative: true, ..config(false) }, wanted(), now);
    member.poll_action(now);
    member.on_coordinator(now, Ok(()));
    member.poll_action(now);
    member.on_join(now, Ok(joined(1, "m", "other")));
    member.poll_action(now);
    let both = vec![TopicPartition::new("t", 0), TopicPartition::new("u", 0)];
    member.on_sync(now, Ok(both));
    member.poll_action(now);
    member.on_installed();
    member.on_subscription(wanted());
    let gone = vec![TopicPartition::new("u", 0)];
    assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: gone, lost: false }));
    member.on_revoked();
    assert!(matches!(member.poll_action(now), Some(Action::Join { owned, .. }) if owned == places(&[0])));
}

#[test]
fn whether_a_closing_member_leaves_is_the_applications_choice() {
    for (operation, is_static, leaves) in [
        (GroupMembershipOperation::LeaveGroup, true, true),
        (GroupMembershipOperation::RemainInGroup, false, false),
        (GroupMembershipOperation::Default, true, false),
        (GroupMembershipOperation::Default, false, true),
    ] {
        let now = start();
        let mut member = stable(is_static, now);
        member.on_close(operation);
        assert!(matches!(member.poll_action(now), Some(Action::Revoke { lost: false, .. })));
        member.on_revoked();
        let left = member.poll_action(now);
        assert_eq!(matches!(left, Some(Action::Leave { .. })), leaves, "{operation:?} of a static: {is_static}");
    }
}

#[test]
fn a_driver_that_waits_for_an_answer_sleeps() {
    let now = start();
    let mut member = Classic::new(config(false), wanted(), now);
    assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
    member.on_coordinator(now, Err(Failure::Lost));
    let later = member.deadline().unwrap();
    assert_eq!(later, now + Duration::from_millis(100));
    // The pause is over and the search under way: nothing but its answer is to be waited for.
    assert_eq!(member.poll_action(later), Some(Action::FindCoordinator));
    assert_eq!(member.deadline(), None);
    member.on_coordinator(later, Ok(()));
    assert!(is_join(&member.poll_action(later), ""));
    member.on_join(later, refused(ErrorCode::CoordinatorLoadInProgress));
    let again = member.deadline().unwrap();
    assert!(is_join(&member.poll_action(again), ""));
    assert_eq!(member.deadline(), None, "JoinGroup may take minutes");
}
