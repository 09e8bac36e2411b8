//! The machine of KIP-848 against a coordinator that answers anything, over virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::consumer::{ConsumerMember, ConsumerMemberConfig, State};
use super::consumer_tests::{by_id, places, seconds, start, wanted};
use super::terms::{Action, BeatAnswer, Failure};
use crate::subscription::TopicPartition;

proptest! {
    /// Against a coordinator that answers anything: no partition is begun with twice or given up without being held,
    /// nothing is asked twice at a time, a driver never spins, and once the coordinator behaves the member holds what
    /// it should and has said so.
    #[test]
    fn any_answers_leave_it_sound_and_it_settles(
        script in proptest::collection::vec((0..9u8, 0..5u8, 0..8u8, 0..5000u16), 0..150),
        is_static in any::<bool>(),
    ) {
        const CODES: [ErrorCode; 7] = [
            ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId, ErrorCode::NotCoordinator,
            ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable, ErrorCode::RequestTimedOut,
            ErrorCode::TopicAuthorizationFailed,
        ];
        let mut now = start();
        let config = ConsumerMemberConfig {
            member_id: "m".to_owned(), is_static, max_poll_interval: seconds(300),
            retry_backoff: Duration::from_millis(100),
        };
        let mut member = ConsumerMember::new(config, wanted(), now);
        let mut epoch = 0;
        let mut owned: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut told: Option<BTreeMap<Uuid, Vec<i32>>> = None;
        let mut share: Vec<i32> = Vec::new();
        let mut open: Vec<Action> = Vec::new();
        let rounds = script.len();
        let mut script = script.into_iter();
        for round in 0..rounds + 60 {
            member.on_poll(now);
            while let Some(action) = member.poll_action(now) {
                match &action {
                    Action::Install { added, .. } => for place in added {
                        prop_assert!(owned.insert(place.clone()), "begun with twice");
                    },
                    Action::Revoke { partitions, .. } => for place in partitions {
                        prop_assert!(owned.remove(place), "given up without being held");
                    },
                    Action::Beat(beat) if beat.epoch == 0 => {
                        prop_assert!(beat.full && beat.owned == Some(BTreeMap::new()));
                        prop_assert!(owned.is_empty(), "joined with {:?}", owned);
                    }
                    Action::Fail { code, .. } => prop_assert!(false, "{:?} is no reason to fail", code),
                    _ => {}
                }
                prop_assert!(
                    !open.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&action)),
                    "asked twice: {:?}", action
                );
                open.push(action);
            }
            prop_assert!(member.deadline().is_none_or(|at| at > now), "a driver would spin");
            let (choice, how, bits, wait) = script.next().unwrap_or((8, 1, 5, 1000));
            now += Duration::from_millis(u64::from(wait));
            let settled = round >= rounds;
            while !open.is_empty() && (settled || how > 0) {
                let action = open.remove(usize::from(how) % open.len());
                let failure = match choice {
                    7 => Err(Failure::Lost),
                    8 => Ok(()),
                    code => Err(Failure::refused(CODES[usize::from(code)])),
                };
                match action {
                    Action::FindCoordinator => member.on_coordinator(now, failure),
                    Action::Beat(beat) => {
                        let answered = failure.map(|()| {
                            if beat.owned.is_some() { told = beat.owned.clone(); }
                            epoch += 1;
                            share = (0..3).filter(|bit| bits & (1 << bit) != 0).collect();
                            BeatAnswer {
                                member_id: None, epoch, interval: seconds(3), assignment: Some(by_id(&share)),
                            }
                        });
                        member.on_beat(now, beat.epoch, answered);
                    }
                    Action::Resolve(ids) => {
                        let names = ids.into_iter().filter(|_| failure.is_ok()).map(|id| (id, Arc::from("t")));
                        member.on_names(now, names.collect());
                    }
                    Action::Install { .. } => member.on_installed(),
                    Action::Revoke { .. } => member.on_revoked(),
                    Action::Leave { .. } => member.on_left(now, Ok(())),
                    _ => {}
                }
                if !settled { break; }
            }
        }
        prop_assert_eq!(member.state(), State::Joined);
        prop_assert_eq!(owned, places(&share).into_iter().collect());
        prop_assert_eq!(told, Some(by_id(&share)));
    }
}
