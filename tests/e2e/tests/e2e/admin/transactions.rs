use std::time::Duration;

use rkafka::admin::{AbortTransactionSpec, ErrorCode, TopicPartition, TransactionState};
use rkafka::producer::{Record, TransactionalProducer};
use rkafka_testkit::on_both;

use super::{admin, code, comes};
use crate::support::{in_time, producer_config};

on_both! {
    async fn transactions_are_seen_and_ended(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let (topic, id) = (cluster.topic("admin-tx", 1, &[]).await, cluster.unique("admin-tx"));
        let partition = TopicPartition::new(topic.as_str(), 0);
        let config = producer_config(&cluster.bootstrap()).transactional_id(id.clone());
        let mut producer = in_time("a producer", TransactionalProducer::new(config)).await.expect("a producer");
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        let delivery = transaction.send(Record::to(&topic).value("open")).await.expect("accepted");
        in_time("written", delivery).await.expect("written");

        let listed = admin.list_transactions().filter_states([TransactionState::Ongoing]).await.expect("listed");
        assert!(listed.errors.is_empty(), "{listed:?}");
        let of_ours = listed.transactions.iter().find(|one| one.transactional_id == id).expect("listed");
        let pattern = admin.list_transactions().filter_on_pattern(format!("{id}|nothing")).await.expect("listed");
        assert_eq!(pattern.transactions, std::slice::from_ref(of_ours));
        let long = admin.list_transactions().filter_on_duration(Duration::from_secs(3_600)).await.expect("listed");
        assert!(!long.transactions.iter().any(|one| one.transactional_id == id));
        let by_id = admin.list_transactions().filter_producer_ids([of_ours.producer_id]).await.expect("listed");
        assert_eq!(by_id.transactions.len(), 1);

        let described = admin.describe_transactions([id.as_str(), "no-such-id"]).await.expect("described");
        let ours = described[&id].as_ref().expect("described");
        assert_eq!((ours.state, ours.producer_id, ours.coordinator), (TransactionState::Ongoing, of_ours.producer_id, Some(1)));
        assert!(ours.start_time.is_some() && ours.partitions.contains(&partition), "{ours:?}");
        assert_eq!(code(&described["no-such-id"]), Some(ErrorCode::TransactionalIdNotFound));

        let missing = TopicPartition::new("no-such-topic", 0);
        let producers = admin.describe_producers([partition.clone(), missing.clone()]).await.expect("described");
        assert_eq!(code(&producers[&missing]), Some(ErrorCode::UnknownTopicOrPartition));
        let producers = producers[&partition].as_ref().expect("described");
        assert_eq!((producers.len(), producers[0].producer_id), (1, ours.producer_id));
        assert_eq!((producers[0].transaction_start_offset, producers[0].last_sequence), (Some(0), 0));
        let followers = admin.describe_producers([partition.clone()]).broker(1).await.expect("described");
        assert!(followers[&partition].is_ok());

        // It is open and known, so that it does not hang, however old it counts as.
        let find = || admin.find_hanging_transactions(Some(vec![partition.clone()])).max_transaction_timeout(Duration::ZERO);
        let found = find().await.expect("looked for");
        assert!(found.hanging.is_empty() && found.errors.is_empty(), "{found:?}");
        let found = find().broker(1).await.expect("looked for");
        assert!(found.hanging.is_empty() && found.errors.is_empty(), "{found:?}");
        let spec = AbortTransactionSpec::new(missing, 1, 0, 0);
        assert_eq!(code(&admin.abort_transaction(spec).await), Some(ErrorCode::UnknownTopicOrPartition));

        let fenced = admin.fence_producers([&id]).await.expect("an answer");
        let fenced = fenced[&id].as_ref().expect("fenced");
        assert!((fenced.producer_id, fenced.producer_epoch) > (ours.producer_id, ours.producer_epoch), "{fenced:?}");
        assert!(in_time("the commit", transaction.commit()).await.is_err(), "who was fenced commits nothing");
        comes("it is aborted", || admin.describe_transactions([&id]).into_future(), |all| {
            all[&id].as_ref().is_ok_and(|one| matches!(one.state, TransactionState::Empty | TransactionState::CompleteAbort))
        }).await;
        admin.force_terminate_transaction(&id).await.expect("nothing is open, and the producer is fenced once more");
    }
}

on_both! {
    async fn a_marker_by_hand_ends_nothing_that_is_not_open(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let topic = cluster.topic("admin-hang", 2, &[]).await;
        let partition = TopicPartition::new(topic.as_str(), 1);
        let spec = AbortTransactionSpec::new(partition.clone(), 4_711, 0, 0);
        // A marker of a producer that has nothing open leaves the partition as it is but for itself.
        admin.abort_transaction(spec).await.expect("written");
        let producers = admin.describe_producers([partition.clone()]).await.expect("described");
        let producers = producers[&partition].as_ref().expect("described");
        assert_eq!((producers[0].producer_id, producers[0].transaction_start_offset), (4_711, None));
        let found = admin.find_hanging_transactions(None).max_transaction_timeout(Duration::ZERO).await.expect("looked for");
        assert!(!found.hanging.iter().any(|one| one.partition == partition), "{found:?}");
    }
}
