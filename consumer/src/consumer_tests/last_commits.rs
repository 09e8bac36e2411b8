//! Commits after which a member has nothing any more: of what a rebalance takes, and of a close. What can still be made of
//! them is made, and what cannot is told.

use super::coordinator::Fate;
use super::*;
use crate::config::OffsetReset;

fn broker(fates: &[Fate]) -> Arc<Broker> {
    let broker = Broker::with(&[4]);
    broker.group.version.store(9, Ordering::SeqCst);
    broker.group.fates.lock().unwrap().extend(fates);
    broker
}

/// A member that commits at its ends only, and was given all four records.
async fn member(broker: &Arc<Broker>) -> Consumer {
    let config = ConsumerConfig::new().group_id("g").auto_offset_reset(OffsetReset::Earliest);
    let mut consumer = consumer_with(broker, config.auto_commit_interval(Duration::from_secs(86_400))).await;
    consumer.subscribe(["t"]).unwrap();
    for offset in 0..4 {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
    consumer
}

fn committed(broker: &Broker) -> Option<i64> {
    broker.group.committed.lock().unwrap().get(&0).copied()
}

#[tokio::test(start_paused = true)]
async fn a_close_commits_in_spite_of_what_passes() {
    let refused = Fate::Refused;
    let passing: [&[Fate]; 8] = [
        &[refused(ErrorCode::CoordinatorLoadInProgress)],
        &[refused(ErrorCode::CoordinatorNotAvailable)],
        &[refused(ErrorCode::NotCoordinator)],
        &[refused(ErrorCode::RebalanceInProgress)],
        &[Fate::Dropped],
        &[Fate::Late(Duration::from_secs(5), None)],
        &[Fate::Late(Duration::from_secs(5), Some(ErrorCode::CoordinatorLoadInProgress))],
        &[Fate::Dropped, refused(ErrorCode::NotCoordinator), Fate::Dropped, Fate::Late(Duration::from_secs(1), None)],
    ];
    for fates in passing {
        let broker = broker(fates);
        let consumer = member(&broker).await;
        let closed = within(consumer.close()).await;
        assert!(closed.is_ok(), "{fates:?}: {closed:?}");
        assert_eq!(committed(&broker), Some(4), "{fates:?}");
        assert_eq!(broker.group.leaves.load(Ordering::SeqCst), 1, "{fates:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_tells_what_it_could_not_commit_and_leaves() {
    let load = ErrorCode::CoordinatorLoadInProgress;
    for (fate, code) in [
        (Fate::Refused(ErrorCode::IllegalGeneration), None),
        (Fate::Refused(ErrorCode::UnknownMemberId), None),
        (Fate::Refused(ErrorCode::OffsetMetadataTooLarge), Some(ErrorCode::OffsetMetadataTooLarge)),
        (Fate::Refused(load), Some(load)),
        (Fate::Ignored, None),
        (Fate::Dropped, None),
    ] {
        let broker = broker(&[fate; 1000]);
        let consumer = member(&broker).await;
        let begun = clock::now();
        let error = within(consumer.close()).await.unwrap_err();
        assert!(clock::now() - begun < Duration::from_secs(30), "{fate:?}: the group is left in time");
        match (&error, code) {
            (ConsumerError::CommitRefused { code, .. }, Some(expected)) => assert_eq!(*code, expected, "{fate:?}"),
            (ConsumerError::CommitOutdated { .. }, None) => {}
            (ConsumerError::Client { doing, .. }, None) => assert_eq!(*doing, "committing offsets", "{fate:?}"),
            _ => panic!("{fate:?}: {error}"),
        }
        assert_eq!(committed(&broker), None, "{fate:?}");
        let is_out = matches!(error, ConsumerError::CommitOutdated { .. });
        assert!(is_out || broker.group.leaves.load(Ordering::SeqCst) == 1, "{fate:?}: it leaves all the same");
    }
}

/// A rebalance takes the partitions, and the close comes while that is being committed.
#[tokio::test(start_paused = true)]
async fn a_close_tells_of_a_commit_that_a_rebalance_began() {
    let refused = ErrorCode::OffsetMetadataTooLarge;
    let broker = broker(&[Fate::Late(Duration::from_secs(4), Some(refused))]);
    let mut consumer = member(&broker).await;
    broker.group.beats.lock().unwrap().push_back(ErrorCode::RebalanceInProgress);
    let interval = consumer.config().heartbeat_interval;
    assert!(tokio::time::timeout(interval + Duration::from_secs(1), consumer.recv()).await.is_err(), "no more records");
    let error = within(consumer.close()).await.unwrap_err();
    assert!(matches!(error, ConsumerError::CommitRefused { code, .. } if code == refused), "{error}");
}

/// The coordinator is away for longer than a request may take.
#[tokio::test(start_paused = true)]
async fn what_a_rebalance_takes_is_committed_however_long_the_coordinator_loads() {
    let broker = broker(&[]);
    let mut consumer = member(&broker).await;
    *broker.group.loads_until.lock().unwrap() = Some(clock::now() + Duration::from_secs(45));
    broker.group.beats.lock().unwrap().push_back(ErrorCode::RebalanceInProgress);
    let generation = broker.group.generation.load(Ordering::SeqCst);
    assert!(tokio::time::timeout(Duration::from_secs(50), consumer.recv()).await.is_err(), "no more records");
    assert_eq!(committed(&broker), Some(4));
    assert_eq!(broker.group.generation.load(Ordering::SeqCst), generation + 1, "and the member has joined again");
    within(consumer.close()).await.unwrap();
}
