//! Share groups (KIP-932): several members of one partition, and what becomes of records that are released, rejected,
//! kept for too long, or with a member that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::{Client, ClientConfig, ClientSettings as _};
use rkafka::consumer::{
    AcknowledgeError, AcknowledgeType, AcknowledgementMode, AcquireMode, ShareConsumer, ShareConsumerConfig,
    ShareConsumerError, ShareRecord,
};
use rkafka::producer::Record;
use rkafka::protocol::messages::IncrementalAlterConfigsRequest;
use rkafka::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_testkit::{Cluster, on_both, pause};

use crate::support::{in_background, in_time, producer};

/// The shortest lock that Kafka lets a group have.
const LOCK: Duration = Duration::from_secs(15);

/// A group of a name of its own that begins at the beginning, with more settings.
async fn group(cluster: &Cluster, what: &str, settings: &[(&str, &str)]) -> String {
    let group = cluster.unique(what);
    let client = Client::connect(ClientConfig::new().bootstrap_servers(cluster.bootstrap())).await.expect("a client");
    let all = [&[("share.auto.offset.reset", "earliest")], settings].concat();
    let configs = all.iter().map(|(name, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: 0,
        value: Some((*value).to_owned()),
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: group.clone(),
        configs: configs.collect(),
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = in_time("the group's settings", client.request_controller(request)).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 0, "{:?}", response.responses[0].error_message);
    group
}

fn config(cluster: &Cluster, group: &str) -> ShareConsumerConfig {
    ShareConsumerConfig::new().bootstrap_servers(cluster.bootstrap()).group_id(group)
}

fn explicit(cluster: &Cluster, group: &str) -> ShareConsumerConfig {
    config(cluster, group).share_acknowledgement_mode(AcknowledgementMode::Explicit)
}

async fn member(config: ShareConsumerConfig, topic: &str) -> ShareConsumer {
    let mut member = ShareConsumer::connect(config).await.expect("a share consumer");
    member.subscribe([topic]).expect("subscribed");
    member
}

/// Writes so many records to partition 0, each in a batch of its own.
async fn write(cluster: &Cluster, topic: &str, count: usize) {
    let producer = producer(&cluster.bootstrap()).await;
    for number in 0..count {
        let value = number.to_string();
        let sent = producer.send(Record::to(topic).partition(0).value(&value)).await.expect("accepted");
        in_time("an acknowledgement", sent).await.expect("written");
    }
}

async fn next(member: &mut ShareConsumer) -> ShareRecord {
    in_time("the next record", member.recv()).await.expect("a record")
}

fn value(record: &ShareRecord) -> usize {
    std::str::from_utf8(record.value().expect("a value")).expect("text").parse().expect("a number")
}

/// Commits, and sees that the group took everything.
async fn commit(member: &mut ShareConsumer) {
    for result in in_time("a commit", member.commit()).await.expect("answered") {
        assert_eq!(result.result, Ok(()), "{result:?}");
    }
}

/// Nothing comes for a while.
async fn is_dry(member: &mut ShareConsumer) -> bool {
    tokio::time::timeout(Duration::from_millis(1500), member.recv()).await.is_err()
}

on_both! {
    // Shows: share.acknowledgement.mode.
    async fn what_is_come_back_from_is_accepted(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 2, &[]).await, group(cluster, "share", &[]).await);
        write(cluster, &topic, 50).await;
        let mut first = member(config(cluster, &group), &topic).await;
        let mut seen = Vec::new();
        for _ in 0..30 {
            let record = next(&mut first).await;
            assert_eq!((record.delivery_count(), record.topic()), (1, topic.as_str()));
            seen.push(value(&record));
        }
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
        // The thirtieth was handed out, and the application has not come back: it is given back, and so is all that was
        // fetched ahead.
        in_time("closing", first.close()).await.expect("closed");
        let mut second = member(config(cluster, &group), &topic).await;
        let mut rest = BTreeMap::new();
        while rest.len() < 21 {
            let record = next(&mut second).await;
            rest.insert(value(&record), record.delivery_count());
        }
        assert_eq!(rest.keys().copied().collect::<Vec<_>>(), (29..50).collect::<Vec<_>>());
        commit(&mut second).await;
        assert!(is_dry(&mut second).await, "everything was accepted");
        in_time("closing", second.close()).await.expect("closed");
    }
}

on_both! {
    async fn several_members_share_one_partition_and_each_record_is_seen_once(cluster: &Cluster) {
        const COUNT: usize = 150;
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        let seen = Arc::new(Mutex::new(BTreeMap::<usize, usize>::new()));
        let mut tasks = Vec::new();
        for number in 0..3 {
            let config = config(cluster, &group).max_poll_records(7_usize);
            let mut member = member(config, &topic).await;
            let assigned = async {
                while member.assignment().is_empty() {
                    pause(Duration::from_millis(10)).await;
                }
            };
            in_time("an assignment", assigned).await;
            let seen = Arc::clone(&seen);
            tasks.push(in_background(async move {
                let mut mine = 0;
                while seen.lock().expect("no panic").values().sum::<usize>() < COUNT {
                    let Ok(record) = tokio::time::timeout(Duration::from_millis(500), member.recv()).await else { continue };
                    *seen.lock().expect("no panic").entry(value(&record.expect("a record"))).or_default() += 1;
                    mine += 1;
                    pause(Duration::from_millis(10)).await;
                }
                commit(&mut member).await;
                in_time("closing", member.close()).await.expect("closed");
                (number, mine)
            }));
        }
        write(cluster, &topic, COUNT).await;
        let mut shares = Vec::new();
        for task in tasks {
            shares.push(in_time("a member", task).await.expect("no panic"));
        }
        let seen = seen.lock().expect("no panic").clone();
        assert_eq!(seen, (0..COUNT).map(|number| (number, 1)).collect::<BTreeMap<_, _>>(), "on {}: {shares:?}", cluster.name());
        assert!(shares.iter().filter(|(_, mine)| *mine > 0).count() > 1, "on {}: {shares:?}", cluster.name());
    }
}

on_both! {
    async fn records_are_released_rejected_and_accepted_one_by_one(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        write(cluster, &topic, 6).await;
        let mut member = member(explicit(cluster, &group), &topic).await;
        let mut first = Vec::new();
        for _ in 0..6 {
            first.push(next(&mut member).await);
        }
        // In any order; the last word counts.
        for record in first.iter().rev() {
            let kind = match value(record) % 3 {
                0 => AcknowledgeType::Accept,
                1 => AcknowledgeType::Release,
                _ => AcknowledgeType::Reject,
            };
            member.acknowledge(record, AcknowledgeType::Reject).expect("held");
            member.acknowledge(record, kind).expect("held");
        }
        commit(&mut member).await;
        // What was sent cannot be taken back.
        let late = member.acknowledge(&first[0], AcknowledgeType::Release).unwrap_err();
        assert!(matches!(&late, ShareConsumerError::Acknowledge { source: AcknowledgeError::NotHeld, .. }), "{late}");
        let mut again = BTreeMap::new();
        for _ in 0..2 {
            let record = next(&mut member).await;
            again.insert(value(&record), record.delivery_count());
            member.acknowledge(&record, AcknowledgeType::Accept).expect("held");
        }
        assert_eq!(again, BTreeMap::from([(1, 2), (4, 2)]), "on {}", cluster.name());
        commit(&mut member).await;
        assert!(is_dry(&mut member).await);
        in_time("closing", member.close()).await.expect("closed");
    }
}

on_both! {
    async fn a_record_that_is_released_again_and_again_is_given_up(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        write(cluster, &topic, 2).await;
        let mut member = member(explicit(cluster, &group), &topic).await;
        let mut deliveries = Vec::new();
        // The limit is 5 deliveries, Kafka's default.
        while deliveries.len() < 5 {
            let record = next(&mut member).await;
            if value(&record) == 0 {
                deliveries.push(record.delivery_count());
                member.acknowledge(&record, AcknowledgeType::Release).expect("held");
            } else {
                member.acknowledge(&record, AcknowledgeType::Accept).expect("held");
            }
        }
        assert_eq!(deliveries, [1, 2, 3, 4, 5], "on {}", cluster.name());
        commit(&mut member).await;
        assert!(is_dry(&mut member).await, "on {}", cluster.name());
        in_time("closing", member.close()).await.expect("closed");
    }
}

on_both! {
    async fn a_lock_that_runs_out_gives_the_record_to_another_and_a_renewed_one_does_not(cluster: &Cluster) {
        let lock = [("share.record.lock.duration.ms", "15000")];
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &lock).await);
        write(cluster, &topic, 2).await;
        let mut slow = member(explicit(cluster, &group), &topic).await;
        let (forgotten, renewed) = (next(&mut slow).await, next(&mut slow).await);
        assert_eq!(slow.acquisition_lock_timeout(), Some(LOCK), "on {}", cluster.name());
        let mut other = member(explicit(cluster, &group), &topic).await;
        let renewing = in_background({
            let (handle, renewed) = (slow.handle(), renewed.clone());
            async move {
                loop {
                    pause(Duration::from_secs(4)).await;
                    if handle.acknowledge(&renewed, AcknowledgeType::Renew).is_err() {
                        return;
                    }
                    for result in handle.commit().await.expect("answered") {
                        assert_eq!(result.result, Ok(()), "{result:?}");
                    }
                }
            }
        });
        let again = next(&mut other).await;
        assert_eq!((value(&again), again.delivery_count()), (value(&forgotten), 2), "on {}", cluster.name());
        other.acknowledge(&again, AcknowledgeType::Accept).expect("held");
        commit(&mut other).await;
        // The one who was too slow is told, and what it renewed is still its own.
        let late = slow.acknowledge(&forgotten, AcknowledgeType::Accept).unwrap_err();
        assert!(matches!(&late, ShareConsumerError::Acknowledge { source: AcknowledgeError::NotHeld, .. }), "{late}");
        assert!(is_dry(&mut other).await, "on {}: the renewed record stays", cluster.name());
        slow.acknowledge(&renewed, AcknowledgeType::Accept).expect("held");
        commit(&mut slow).await;
        in_time("the end of renewing", renewing).await.expect("no panic");
        in_time("closing", slow.close()).await.expect("closed");
        in_time("closing", other.close()).await.expect("closed");
    }
}

on_both! {
    async fn what_a_lost_member_had_comes_to_another(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        write(cluster, &topic, 4).await;
        // A runtime that ends takes the member with it, in the middle of its work: connections break, nobody says goodbye.
        let doomed = std::thread::spawn({
            let (config, topic) = (explicit(cluster, &group), topic.clone());
            move || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                let taken = runtime.block_on(async {
                    let mut member = member(config, &topic).await;
                    let accepted = next(&mut member).await;
                    member.acknowledge(&accepted, AcknowledgeType::Accept).expect("held");
                    commit(&mut member).await;
                    let taken = next(&mut member).await;
                    std::mem::forget(member);
                    value(&taken)
                });
                runtime.shutdown_background();
                taken
            }
        });
        let taken = tokio::task::spawn_blocking(|| doomed.join().expect("no panic")).await.expect("no panic");
        assert_eq!(taken, 1);
        let mut other = member(explicit(cluster, &group), &topic).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            let record = next(&mut other).await;
            seen.insert(value(&record));
            other.acknowledge(&record, AcknowledgeType::Accept).expect("held");
        }
        assert_eq!(seen, BTreeSet::from([1, 2, 3]), "on {}", cluster.name());
        commit(&mut other).await;
        in_time("closing", other.close()).await.expect("closed");
    }
}

on_both! {
    // Shows: share.acquire.mode, max.poll.records.
    async fn no_more_records_than_asked_for_and_none_before_they_are(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        // One batch of twenty.
        let sender = producer(&cluster.bootstrap()).await;
        let mut sent = Vec::new();
        for number in 0..20 {
            let value = number.to_string();
            sent.push(sender.send(Record::to(&topic).partition(0).value(&value)).await.expect("accepted"));
        }
        for delivery in sent {
            in_time("an acknowledgement", delivery).await.expect("written");
        }
        let strict = explicit(cluster, &group).share_acquire_mode(AcquireMode::RecordLimit).max_poll_records(3_usize);
        let mut one = member(strict.clone(), &topic).await;
        let mut other = member(strict, &topic).await;
        let mut taken = Vec::new();
        let count = in_time("records", one.recv_many(&mut taken)).await.expect("records");
        assert!((1..=3).contains(&count), "{count}");
        assert_eq!(taken.iter().map(value).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        // The first has three at most, so the second sees the next ones, in their batch, which it shares with the first.
        let batch = in_time("a batch", other.next_batch()).await.expect("a batch");
        let offsets: Vec<i64> = batch.records().map(|record| record.expect("a record").offset).collect();
        assert!(offsets.len() <= 3 && offsets.iter().all(|offset| (3..6).contains(offset)), "{offsets:?}");
        other.acknowledge_offset(&batch, offsets[0], AcknowledgeType::Reject).expect("held");
        other.acknowledge_batch(&batch, AcknowledgeType::Accept).expect("held");
        for record in &taken {
            one.acknowledge(record, AcknowledgeType::Accept).expect("held");
        }
        commit(&mut one).await;
        commit(&mut other).await;
        in_time("closing", one.close()).await.expect("closed");
        in_time("closing", other.close()).await.expect("closed");
    }
}

on_both! {
    async fn a_call_that_is_given_up_loses_nothing(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        let mut member = member(config(cluster, &group), &topic).await;
        let writing = in_background({
            let (topic, bootstrap) = (topic.clone(), cluster.bootstrap());
            async move {
                let producer = producer(&bootstrap).await;
                for number in 0..100 {
                    let value = number.to_string();
                    let sent = producer.send(Record::to(&topic).partition(0).value(&value)).await.expect("accepted");
                    in_time("an acknowledgement", sent).await.expect("written");
                }
            }
        });
        let mut seen = Vec::new();
        let mut given_up = 0;
        let all = async {
            while seen.len() < 100 {
                match tokio::time::timeout(Duration::from_millis(2), member.recv()).await {
                    Ok(record) => seen.push(value(&record.expect("a record"))),
                    Err(_) => given_up += 1,
                }
            }
        };
        in_time("all records", all).await;
        assert!(given_up > 0);
        assert_eq!(seen, (0..100).collect::<Vec<_>>(), "on {}", cluster.name());
        in_time("the writing", writing).await.expect("no panic");
        // Dropped, not closed: what was handed out last comes again, and nothing else does.
        drop(member);
        let mut other = self::member(config(cluster, &group), &topic).await;
        assert_eq!(value(&next(&mut other).await), 99, "on {}", cluster.name());
        commit(&mut other).await;
        assert!(is_dry(&mut other).await);
        in_time("closing", other.close()).await.expect("closed");
    }
}

on_both! {
    async fn the_callback_is_told_what_is_accepted(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("share", 1, &[]).await, group(cluster, "share", &[]).await);
        write(cluster, &topic, 5).await;
        let mut member = member(config(cluster, &group), &topic).await;
        let told = Arc::new(Mutex::new(BTreeSet::new()));
        member.set_acknowledgement_callback({
            let told = Arc::clone(&told);
            move |result| {
                assert_eq!(result.result, Ok(()));
                let mut told = told.lock().expect("no panic");
                told.extend(result.offsets.iter().flat_map(|(first, last)| *first..=*last));
            }
        });
        for _ in 0..5 {
            let record = next(&mut member).await;
            let wrong = member.acknowledge(&record, AcknowledgeType::Accept).unwrap_err();
            assert!(matches!(wrong, ShareConsumerError::NotExplicit { .. }), "{wrong}");
        }
        assert!(is_dry(&mut member).await);
        let all = async {
            while told.lock().expect("no panic").len() < 5 {
                pause(Duration::from_millis(10)).await;
            }
        };
        in_time("the callback", all).await;
        assert_eq!(*told.lock().expect("no panic"), (0..5).collect());
        in_time("closing", member.close()).await.expect("closed");
    }
}
