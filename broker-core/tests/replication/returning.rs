//! Brokers that come back with less than they had, or with more than the others.

use std::path::Path;

use rkafka_protocol::messages::DeleteRecordsRequest;
use rkafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use crate::support::{Three, eventually, values};

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_is_filled_again_and_its_broker_leads_then() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[3, 1, 2]], &[]).await;
    three.produce(3, "t", 0, values(0..10)).await;
    // What it keeps in memory is gone with it.
    three.kill(3);
    three.until("t", 0, "led by another", |it| it.leader_id != 3 && it.isr_nodes.len() == 2).await;
    let leader = three.partition(1, "t", 0).await.unwrap().leader_id;
    three.produce(leader, "t", 0, values(10..12)).await;
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.until_values(3, "t", 0, &values(0..12)).await;
    assert_eq!(three.elect("t", 0, 0).await, 0, "it is in sync, so it may lead");
    three.until_leader("t", 0, 3).await;
    assert_eq!(three.produce(3, "t", 0, values(12..15)).await, 12);
    for node in 1..=3 {
        three.until_values(node, "t", 0, &values(0..15)).await;
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_replica_that_comes_back_empty_leads_when_it_is_asked_for_and_not_before() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[3]], &[]).await;
    three.create("other", &[&[1, 2, 3]], &[]).await;
    three.produce(3, "t", 0, values(0..10)).await;
    three.kill(3);
    three.until_leader("t", 0, -1).await;
    three.start_again(3).await;
    three.until_isr("other", 0, &[1, 2, 3]).await;
    // It has told by then where its replica is, for nothing is there that could go wrong with it.
    three.until_log_end(3, "t", 0, 0).await;
    assert_eq!(
        three.partition(1, "t", 0).await.unwrap().leader_id,
        -1,
        "what was acknowledged is not given up in silence"
    );
    eventually("somebody asks", async || match three.elect("t", 0, 0).await {
        0 => Ok(()),
        other => Err(other),
    })
    .await;
    three.until_leader("t", 0, 3).await;
    assert_eq!(three.produce(3, "t", 0, values(0..1)).await, 0);
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_begins_where_the_leaders_log_does() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..10)).await;
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 6, ..Default::default() };
    let topic = DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let deleted = three.client(1).await.call(&request, 2).await;
    assert_eq!((deleted.topics[0].partitions[0].error_code, deleted.topics[0].partitions[0].low_watermark), (0, 6));
    three.kill(3);
    three.until_isr("t", 0, &[1, 2]).await;
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.until_values(3, "t", 0, &values(6..10)).await;
    assert_eq!(three.log_start(3, "t", 0).await, 6);
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_catches_up_and_has_the_same_bytes() {
    let mut three = Three::on_disk(|config| config).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.stop(3).await;
    let (now, before) = (three.dir(3), three.dir(3).with_extension("before"));
    copy_all(&now, &before);
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.produce(1, "t", 0, values(5..8)).await;
    // In another epoch, led by another.
    three.stop(1).await;
    three.until("t", 0, "led by another", |it| it.leader_id != 1).await;
    let leader = three.partition(2, "t", 0).await.unwrap().leader_id;
    three.produce(leader, "t", 0, values(8..10)).await;
    three.start_again(1).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.kill(3);
    // The metadata log stays: a voter that forgets what it has synced is beyond any quorum.
    for entry in std::fs::read_dir(&now).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            _ if entry.file_name() == "__cluster_metadata-0" => {}
            true => std::fs::remove_dir_all(entry.path()).unwrap(),
            false => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
    std::fs::remove_dir_all(before.join("__cluster_metadata-0")).unwrap();
    copy_all(&before, &now);
    three.until_isr("t", 0, &[1, 2]).await;
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    let leader = three.partition(1, "t", 0).await.unwrap().leader_id;
    three.produce(leader, "t", 0, values(10..11)).await;
    three.until_values(3, "t", 0, &values(0..11)).await;
    let bytes = three.log_bytes(1, "t", 0);
    assert!(!bytes.is_empty());
    for node in 2..=3 {
        assert!(three.log_bytes(node, "t", 0) == bytes, "the log of {node} is another one");
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_committed_is_cut_from_the_log_of_a_leader_that_comes_back() {
    let mut three = Three::on_disk(|config| config).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    three.isolate_follower(2);
    three.isolate_follower(3);
    for number in 0..4 {
        let produced = three.send(1, "t", 0, &format!("lost{number}"), 1).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, 5 + number), "{produced:?}");
    }
    assert_eq!(three.client(1).await.values("t", 0, 0).await, values(0..5), "consumers see none of it");
    three.kill(1);
    three.until("t", 0, "led by another", |it| it.leader_id > 1).await;
    three.heal();
    let leader = three.partition(2, "t", 0).await.unwrap().leader_id;
    assert_eq!(three.produce(leader, "t", 0, values(5..7)).await, 5);
    three.start_again(1).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    eventually("the same end on all", async || {
        let ends = [three.log_end(1, "t", 0).await, three.log_end(2, "t", 0).await, three.log_end(3, "t", 0).await];
        if ends == [7, 7, 7] { Ok(()) } else { Err(ends) }
    })
    .await;
    let bytes = three.log_bytes(1, "t", 0);
    for node in 2..=3 {
        assert!(three.log_bytes(node, "t", 0) == bytes, "the log of {node} is another one");
    }
    assert_eq!(three.elect("t", 0, 0).await, 0);
    three.until_leader("t", 0, 1).await;
    three.produce(1, "t", 0, values(7..9)).await;
    for node in 1..=3 {
        three.until_values(node, "t", 0, &values(0..9)).await;
    }
    three.shutdown().await;
}
