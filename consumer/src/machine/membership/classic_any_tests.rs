//! The machine of the classic protocol against a coordinator that answers anything, over virtual time.

use std::time::Duration;

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;

use super::classic::Classic;
use super::classic_tests::{config, joined, places, refused, start, wanted};
use super::state::State;
use super::terms::{Action, ClassicConfig, Failure};
use crate::subscription::TopicPartition;

proptest! {
    /// Against a coordinator that answers anything: installs and revocations alternate, nothing is asked twice at a
    /// time, heartbeats carry the generation, and once the coordinator behaves the member becomes stable.
    #[test]
    fn any_answers_leave_it_sound_and_it_settles(
        answers in proptest::collection::vec((0..10u8, 0..4u8, 0..5000u16), 0..150),
        is_static in any::<bool>(),
        is_cooperative in any::<bool>(),
        shares in proptest::collection::vec(0..8u8, 16),
    ) {
        const CODES: [ErrorCode; 8] = [
            ErrorCode::RebalanceInProgress, ErrorCode::UnknownMemberId, ErrorCode::IllegalGeneration,
            ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable,
            ErrorCode::RequestTimedOut, ErrorCode::MemberIdRequired,
        ];
        let mut now = start();
        let config = ClassicConfig { is_cooperative, ..config(is_static) };
        let mut member = Classic::new(config, wanted(), now);
        let mut generation = 0;
        // What the hooks have been told.
        let mut owned: std::collections::BTreeSet<TopicPartition> = std::collections::BTreeSet::new();
        // The assignment of the last SyncGroup that came through, by bits.
        let mut assigned = std::collections::BTreeSet::new();
        // Actions handed out and not answered.
        let mut open: Vec<Action> = Vec::new();
        let quiet = answers.len();
        let mut script = answers.into_iter();
        for round in 0..quiet + 60 {
            member.on_poll(now);
            while let Some(action) = member.poll_action(now) {
                match &action {
                    Action::Install { added, .. } => for place in added {
                        prop_assert!(owned.insert(place.clone()), "installed over what was not revoked");
                    },
                    Action::Revoke { partitions, .. } => {
                        prop_assert!(!partitions.is_empty());
                        for place in partitions {
                            prop_assert!(owned.remove(place), "revoked what was not installed");
                        }
                    }
                    Action::Join { owned: told, .. } => {
                        prop_assert!(is_cooperative || told.is_empty(), "joined while owning, in an eager group");
                        prop_assert!(told.iter().eq(&owned), "told {:?}, owns {:?}", told, owned);
                    }
                    Action::Heartbeat { generation: beaten, .. } => {
                        prop_assert_eq!(Some(*beaten), member.identity().map(|(generation, _)| generation));
                    }
                    Action::Fail { code, .. } => prop_assert!(false, "{:?} is no reason to fail", code),
                    _ => {}
                }
                prop_assert!(
                    !open.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&action)),
                    "asked twice: {:?}", action
                );
                open.push(action);
                prop_assert!(open.len() < 6);
            }
            let (choice, how, wait) = script.next().unwrap_or((9, 3, 1000));
            now += Duration::from_millis(u64::from(wait));
            let settled = round >= quiet;
            while !open.is_empty() && (settled || how > 0) {
                let action = open.remove(usize::from(how) % open.len());
                let failure = if choice == 8 {
                    Err(Failure::Lost)
                } else {
                    match CODES.get(usize::from(choice)) {
                        // Nothing but JoinGroup is answered so.
                        Some(ErrorCode::MemberIdRequired) if !matches!(action, Action::Join { .. }) => Ok(()),
                        Some(ErrorCode::MemberIdRequired) => Err(Failure::Refused {
                            code: ErrorCode::MemberIdRequired, member_id: Some("m".to_owned()), message: None,
                        }),
                        Some(code) => refused(*code),
                        None => Ok(()),
                    }
                };
                match action {
                    Action::FindCoordinator => member.on_coordinator(now, failure),
                    Action::Join { .. } => {
                        generation += 1;
                        let leader = if generation % 2 == 0 { "m" } else { "other" };
                        member.on_join(now, failure.map(|()| joined(generation, "m", leader)));
                    }
                    Action::Assign { .. } => member.on_assigned(Vec::new()),
                    Action::Sync { .. } => {
                        let bits = shares[usize::try_from(generation).unwrap() % shares.len()];
                        let share: Vec<i32> = (0..3).filter(|bit| bits & (1 << bit) != 0).collect();
                        let answer = failure.map(|()| places(&share));
                        if let Ok(share) = &answer {
                            assigned = share.iter().cloned().collect();
                        }
                        member.on_sync(now, answer);
                    }
                    Action::Install { .. } => member.on_installed(),
                    Action::Heartbeat { generation, .. } => member.on_heartbeat(now, generation, failure),
                    Action::Revoke { .. } => member.on_revoked(),
                    Action::Leave { .. } => member.on_left(),
                    _ => {}
                }
                if !settled { break; }
            }
        }
        // A cooperative group whose leader takes something in every round never rests; it holds what it should all the same.
        if member.state() == State::Stable {
            prop_assert_eq!(&owned, &assigned);
        } else {
            prop_assert!(is_cooperative, "{:?}", member.state());
            prop_assert!(generation > 0);
        }
    }
}
