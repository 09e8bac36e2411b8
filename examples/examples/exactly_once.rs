//! Consume, process, produce, exactly once: sums up orders per customer, whatever is interrupted in between.
//!
//! ```sh
//! cargo run -p rkafka-examples --example exactly_once
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::ExactlyOnce;
use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, OffsetReset, Start};
use rkafka::producer::{Producer, ProducerConfig, Record, TransactionalProducer};
use rkafka_examples::{Cluster, Failure};
use tokio::sync::Notify;

/// How many orders there are.
const ORDERS: usize = 40;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let (orders, bills) = (cluster.unique("orders"), cluster.unique("bills"));
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let new = [NewTopic::new(&orders).partitions(2), NewTopic::new(&bills).partitions(1)];
    for (_, outcome) in admin.create_topics(&new).await? {
        outcome?;
    }
    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    for number in 0..ORDERS {
        let (customer, value) = (format!("customer {}", number % 4), format!("order {number}"));
        drop(producer.send(Record::to(&orders).key(&customer).value(&value)).await?);
    }
    producer.close(Duration::from_secs(30)).await?;

    // Offsets are committed with the transaction, and orders of aborted transactions are not billed.
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("billing"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_commit(false)
        .isolation_level(IsolationLevel::ReadCommitted)
        .max_poll_records(10_usize);
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([&*orders])?;
    // One id per instance: an instance that begins again fences what is left of the one before.
    let config =
        ProducerConfig::new().bootstrap_servers(cluster.bootstrap()).transactional_id(cluster.unique("billing-1"));
    let mut billing = ExactlyOnce::new(consumer, TransactionalProducer::new(config).await?)?;

    let (done, mut billed, mut is_first) = (Notify::new(), 0, true);
    loop {
        let run = billing.run_until(done.notified(), async |orders, transaction| {
            for order in orders {
                let bill = format!("a bill for {}", String::from_utf8_lossy(order.value().unwrap_or_default()));
                let record = Record::to(&bills).key(order.key().unwrap_or_default()).value(&bill);
                // Not awaited: the commit waits for all of them.
                drop(transaction.send(record).await?);
            }
            if std::mem::take(&mut is_first) {
                return Err(Failure::from("the power is off"));
            }
            billed += orders.len();
            if billed >= ORDERS {
                done.notify_one();
            }
            Ok(())
        });
        match run.await {
            Ok(()) => break,
            // The transaction was aborted, and the consumer goes back: these orders come again.
            Err(error) => println!("interrupted: {error}"),
        }
    }
    billing.close(Duration::from_secs(30)).await?;

    let config =
        ConsumerConfig::new().bootstrap_servers(cluster.bootstrap()).isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = Consumer::connect(config).await?;
    consumer.assign([(&*bills, 0, Start::Beginning)])?;
    let mut count = 0;
    while let Some(bill) = consumer.recv_until_end().await? {
        count += 1;
        if count <= 3 {
            println!("{}", String::from_utf8_lossy(bill.value().unwrap_or_default()));
        }
    }
    println!("{ORDERS} orders, {count} bills");
    consumer.close().await?;
    for (_, outcome) in admin.delete_topics(&[orders, bills]).await? {
        outcome?;
    }
    cluster.stop().await?;
    Ok(())
}
