//! The machine of KIP-848 against a coordinator in a few lines, over virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::consumer::{ConsumerMember, ConsumerMemberConfig};
use super::terms::{Action, Beat, BeatAnswer, Failure, Wanted};
use crate::subscription::{GroupMembershipOperation, TopicPartition};

const TOPIC: Uuid = Uuid::from_u128(7);

pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a base for virtual time: only differences matter")]
    Instant::now()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn wanted() -> Wanted {
    Wanted { topics: ["t".to_owned()].into(), pattern: None }
}

fn member(is_static: bool, now: Instant) -> ConsumerMember {
    let config = ConsumerMemberConfig {
        member_id: "m".to_owned(),
        is_static,
        max_poll_interval: seconds(300),
        retry_backoff: Duration::from_millis(100),
    };
    let mut member = ConsumerMember::new(config, wanted(), now);
    assert_eq!(member.poll_action(now), Some(Action::FindCoordinator));
    assert_eq!(member.poll_action(now), None, "one search at a time");
    member.on_coordinator(now, Ok(()));
    member
}

pub(super) fn places(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect()
}

pub(super) fn by_id(partitions: &[i32]) -> BTreeMap<Uuid, Vec<i32>> {
    if partitions.is_empty() { BTreeMap::new() } else { [(TOPIC, partitions.to_vec())].into() }
}

fn answer(epoch: i32, assignment: Option<&[i32]>) -> Result<BeatAnswer, Failure> {
    Ok(BeatAnswer { member_id: Some("m".to_owned()), epoch, interval: seconds(3), assignment: assignment.map(by_id) })
}

fn refused(code: ErrorCode) -> Result<BeatAnswer, Failure> {
    Err(Failure::refused(code))
}

fn beat(member: &mut ConsumerMember, now: Instant) -> Beat {
    match member.poll_action(now) {
        Some(Action::Beat(beat)) => beat,
        other => panic!("{other:?}"),
    }
}

/// A member at epoch 1 that owns partitions 0 and 1, and has said so.
pub(super) fn joined(is_static: bool, now: Instant) -> ConsumerMember {
    let mut member = member(is_static, now);
    let join = beat(&mut member, now);
    assert_eq!((join.epoch, join.full, join.topics.as_deref()), (0, true, Some(&["t".to_owned()][..])));
    assert_eq!(join.owned, Some(BTreeMap::new()), "who joins owns nothing, and says so");
    assert_eq!(member.identity(), None);
    member.on_beat(now, 0, answer(1, Some(&[0, 1])));
    assert_eq!(member.identity(), Some((1, "m")));
    assert_eq!(member.poll_action(now), Some(Action::Resolve(vec![TOPIC])));
    member.on_names(now, vec![(TOPIC, Arc::from("t"))]);
    assert!(matches!(member.poll_action(now), Some(Action::Install { added, .. }) if added == places(&[0, 1])));
    member.on_installed();
    let told = beat(&mut member, now);
    assert_eq!((told.epoch, told.full, told.topics), (1, false, None), "what did not change is not told again");
    assert_eq!(told.owned, Some(by_id(&[0, 1])));
    member.on_beat(now, 1, answer(1, None));
    assert_eq!(member.poll_action(now), None);
    member
}

#[test]
fn what_goes_is_revoked_then_what_comes_is_begun_with_and_both_are_told() {
    let now = start();
    let mut member = joined(false, now);
    assert_eq!(member.deadline(), Some(now + seconds(3)), "the interval is the coordinator's");
    let later = now + seconds(3);
    let quiet = beat(&mut member, later);
    assert_eq!((quiet.topics, quiet.owned, quiet.pattern), (None, None, None));
    member.on_beat(later, 1, answer(2, Some(&[1, 2])));
    assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0]), lost: false }));
    assert_eq!(member.identity(), Some((2, "m")));
    assert_eq!(beat(&mut member, later).owned, Some(by_id(&[0, 1, 2])), "what it has, and what it may begin with");
    member.on_beat(later, 2, answer(2, None));
    // A slow hook does not stop the beat, and what comes meanwhile is taken up after.
    let slow = later + seconds(3);
    assert_eq!(beat(&mut member, slow).owned, None);
    member.on_beat(slow, 2, answer(3, Some(&[1, 2, 3])));
    assert_eq!(beat(&mut member, slow).owned, Some(by_id(&[0, 1, 2, 3])));
    member.on_beat(slow, 3, answer(3, None));
    assert_eq!(member.poll_action(slow), None);
    member.on_revoked();
    assert!(matches!(member.poll_action(slow), Some(Action::Install { added, .. }) if added == places(&[2, 3])));
    assert_eq!(beat(&mut member, slow).owned, Some(by_id(&[1, 2, 3])), "others wait for what was given up");
    member.on_beat(slow, 3, answer(3, None));
    member.on_installed();
    assert_eq!(member.poll_action(slow), None);
}

#[test]
fn a_fenced_member_loses_all_and_joins_again() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
        let now = start();
        let mut member = joined(false, now);
        let later = now + seconds(3);
        beat(&mut member, later);
        member.on_beat(later, 1, refused(code));
        assert_eq!(member.identity(), None, "nothing can be committed any more");
        assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
        assert_eq!(member.poll_action(later), None, "not before the hook is done");
        member.on_revoked();
        let join = beat(&mut member, later);
        assert_eq!((join.epoch, join.full, join.member_id.as_str()), (0, true, "m"));
    }
}

#[test]
fn fenced_while_the_hook_of_an_assignment_runs_it_loses_that_too() {
    let now = start();
    let mut member = joined(false, now);
    let later = now + seconds(3);
    beat(&mut member, later);
    member.on_beat(later, 1, answer(2, Some(&[0, 1, 2])));
    assert!(matches!(member.poll_action(later), Some(Action::Install { .. })));
    let slow = later + seconds(3);
    beat(&mut member, slow);
    member.on_beat(slow, 2, refused(ErrorCode::FencedMemberEpoch));
    assert_eq!(member.poll_action(slow), None, "the hook still runs");
    member.on_installed();
    assert_eq!(member.poll_action(slow), Some(Action::Revoke { partitions: places(&[0, 1, 2]), lost: true }));
}

#[test]
fn after_an_error_everything_is_told_again() {
    let now = start();
    let mut member = joined(false, now);
    let later = now + seconds(3);
    beat(&mut member, later);
    member.on_beat(later, 1, Err(Failure::Lost));
    assert_eq!(member.poll_action(later), None, "after a backoff");
    let again = later + Duration::from_millis(100);
    assert_eq!(member.deadline(), Some(again));
    assert_eq!(member.poll_action(again), Some(Action::FindCoordinator));
    member.on_coordinator(again, Ok(()));
    let told = beat(&mut member, again);
    assert_eq!((told.epoch, told.full), (1, true));
    assert_eq!((told.owned, told.topics), (Some(by_id(&[0, 1])), Some(vec!["t".to_owned()])));
    assert_eq!(member.identity(), Some((1, "m")), "the member goes on where it was");
}

/// Goes on after a beat whose answer was lost.
fn reconnect(member: &mut ConsumerMember, now: Instant) -> Instant {
    let again = now + Duration::from_millis(100);
    assert_eq!(member.poll_action(again), Some(Action::FindCoordinator));
    member.on_coordinator(again, Ok(()));
    again
}

#[test]
fn what_a_member_may_begin_with_it_says_it_owns() {
    let now = start();
    let mut member = joined(false, now);
    let later = now + seconds(3);
    beat(&mut member, later);
    member.on_beat(later, 1, answer(2, Some(&[0, 1, 2])));
    assert!(matches!(member.poll_action(later), Some(Action::Install { added, .. }) if added == places(&[2])));
    assert_eq!(beat(&mut member, later).owned, Some(by_id(&[0, 1, 2])), "the hook still runs");
    member.on_beat(later, 2, Err(Failure::Lost));
    let again = reconnect(&mut member, later);
    // Without 2, the coordinator might take it away here and give it to another at once.
    let told = beat(&mut member, again);
    assert_eq!((told.full, told.owned), (true, Some(by_id(&[0, 1, 2]))));
}

#[test]
fn what_is_taken_back_before_it_was_begun_with_the_coordinator_is_told_of() {
    const OTHER: Uuid = Uuid::from_u128(8);
    let now = start();
    let mut member = joined(false, now);
    let later = now + seconds(3);
    beat(&mut member, later);
    let all = BTreeMap::from([(TOPIC, vec![0, 1]), (OTHER, vec![0])]);
    let told = BeatAnswer { member_id: None, epoch: 2, interval: seconds(3), assignment: Some(all.clone()) };
    member.on_beat(later, 1, Ok(told));
    assert_eq!(member.poll_action(later), Some(Action::Resolve(vec![OTHER])));
    member.on_names(later, Vec::new());
    assert_eq!(beat(&mut member, later).owned, Some(all));
    // The coordinator waits until it hears that the member has it no longer, though it never began with it.
    member.on_beat(later, 2, answer(2, Some(&[0, 1])));
    assert_eq!(beat(&mut member, later).owned, Some(by_id(&[0, 1])));
}

#[test]
fn a_pattern_is_taken_back_although_an_answer_was_lost() {
    let now = start();
    let mut member = joined(false, now);
    member.on_subscription(Wanted { topics: BTreeSet::new(), pattern: Some("a.*".to_owned()) });
    assert_eq!(beat(&mut member, now).pattern.as_deref(), Some("a.*"));
    member.on_beat(now, 1, Err(Failure::Lost));
    member.on_subscription(wanted());
    let again = reconnect(&mut member, now);
    assert_eq!(beat(&mut member, again).pattern.as_deref(), Some(""), "the coordinator may have it");
}

#[test]
fn a_static_member_lets_go_of_the_place_that_its_own_lost_join_holds() {
    let now = start();
    let mut member = member(true, now);
    assert_eq!(beat(&mut member, now).epoch, 0);
    member.on_beat(now, 0, Err(Failure::Lost));
    let again = reconnect(&mut member, now);
    assert_eq!(beat(&mut member, again).epoch, 0);
    member.on_beat(again, 0, refused(ErrorCode::UnreleasedInstanceId));
    let leaves = |action| matches!(action, Some(Action::Leave { epoch: -2, member_id, .. }) if member_id == "m");
    assert!(leaves(member.poll_action(again)));
    assert_eq!(member.poll_action(again), None, "not before it was heard");
    member.on_left(again, Err(Failure::Lost));
    let again = reconnect(&mut member, again);
    assert!(leaves(member.poll_action(again)));
    member.on_left(again, Ok(()));
    assert_eq!(beat(&mut member, again).epoch, 0);
    member.on_beat(again, 0, refused(ErrorCode::UnreleasedInstanceId));
    let failed = member.poll_action(again);
    let code = ErrorCode::UnreleasedInstanceId;
    assert_eq!(failed, Some(Action::Fail { code, message: None }), "another process holds it");
}

#[test]
fn a_subscription_is_told_at_once_and_a_pattern_taken_back() {
    let now = start();
    let mut member = joined(false, now);
    member.on_subscription(Wanted { topics: BTreeSet::new(), pattern: Some("a.*".to_owned()) });
    let told = beat(&mut member, now);
    assert_eq!((told.topics, told.pattern.as_deref()), (Some(Vec::new()), Some("a.*")));
    member.on_beat(now, 1, answer(1, None));
    member.on_subscription(wanted());
    let told = beat(&mut member, now);
    assert_eq!((told.topics, told.pattern.as_deref()), (Some(vec!["t".to_owned()]), Some("")));
}

#[test]
fn who_does_not_poll_leaves_until_it_does() {
    for (is_static, epoch) in [(false, -1), (true, -2)] {
        let now = start();
        let mut member = joined(is_static, now);
        let late = now + seconds(300);
        assert!(matches!(member.poll_action(late), Some(Action::Leave { epoch: told, .. }) if told == epoch));
        assert_eq!(member.poll_action(late), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
        member.on_revoked();
        member.on_left(late, Ok(()));
        assert_eq!((member.poll_action(late), member.deadline()), (None, None));
        member.on_poll(late);
        assert_eq!(beat(&mut member, late).epoch, 0);
    }
}

#[test]
fn closing_gives_up_and_leaves_as_asked() {
    use GroupMembershipOperation::{Default, LeaveGroup, RemainInGroup};
    for (operation, is_static, epoch) in [
        (Default, false, Some(-1)),
        (Default, true, Some(-2)),
        (LeaveGroup, true, Some(-1)),
        (RemainInGroup, true, Some(-2)),
        (RemainInGroup, false, None),
    ] {
        let now = start();
        let mut member = joined(is_static, now);
        member.on_close(operation);
        assert_eq!(member.poll_action(now), Some(Action::Revoke { partitions: places(&[0, 1]), lost: false }));
        assert_eq!(member.identity(), Some((1, "m")), "so that the last commit is made");
        member.on_revoked();
        let left = member.poll_action(now);
        match epoch {
            Some(epoch) => {
                assert!(matches!(left, Some(Action::Leave { epoch: told, .. }) if told == epoch), "{left:?}");
                member.on_left(now, Ok(()));
            }
            None => assert_eq!(left, None),
        }
        assert!(member.is_done());
    }
}

/// Its last commit may have told that the coordinator is elsewhere now.
#[test]
fn a_coordinator_that_moved_is_looked_for_once_to_be_told_of_the_leaving() {
    for is_found in [true, false] {
        let now = start();
        let mut member = joined(false, now);
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
fn what_cannot_be_healed_is_told_with_its_reason() {
    let now = start();
    let mut member = joined(false, now);
    let later = now + seconds(3);
    beat(&mut member, later);
    let message = Some("no such assignor".to_owned());
    let refusal = Failure::Refused { code: ErrorCode::UnsupportedAssignor, member_id: None, message: message.clone() };
    member.on_beat(later, 1, Err(refusal));
    assert_eq!(member.poll_action(later), Some(Action::Revoke { partitions: places(&[0, 1]), lost: true }));
    member.on_revoked();
    assert_eq!(member.poll_action(later), Some(Action::Fail { code: ErrorCode::UnsupportedAssignor, message }));
    assert!(member.is_done());
}

#[test]
fn a_static_member_whose_former_life_has_not_left_is_told() {
    let now = start();
    let mut member = member(true, now);
    let join = beat(&mut member, now);
    member.on_beat(now, join.epoch, refused(ErrorCode::UnreleasedInstanceId));
    let failed = member.poll_action(now);
    assert_eq!(failed, Some(Action::Fail { code: ErrorCode::UnreleasedInstanceId, message: None }));
    assert!(member.is_done());
}
