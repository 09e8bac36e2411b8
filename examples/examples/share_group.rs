//! Two workers of a share group take jobs from one partition, and say of each what became of it.
//!
//! ```sh
//! cargo run -p rkafka-examples --example share_group
//! ```
//!
//! It needs a broker with share groups: this project's own, or Kafka 4.2.
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::{Client, ClientConfig, ClientSettings as _};
use rkafka::consumer::{AcknowledgeType, AcknowledgementMode, ShareConsumer, ShareConsumerConfig, ShareRecord};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka::protocol::messages::IncrementalAlterConfigsRequest;
use rkafka::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_examples::{Cluster, Failure};

/// How many jobs there are; one of them is no job at all.
const JOBS: usize = 31;
/// What the protocol calls the settings of groups.
const GROUP: i8 = 32;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let (topic, group) = (cluster.unique("jobs"), cluster.unique("workers"));
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let new = NewTopic::new(&topic).partitions(1);
    for (_, outcome) in admin.create_topics(&[new]).await? {
        outcome?;
    }
    begin_at_the_beginning(&cluster, &group).await?;
    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    for number in 0..JOBS {
        let value = if number == 20 { "???".to_owned() } else { format!("job {number}") };
        drop(producer.send(Record::to(&topic).value(&value)).await?);
    }
    producer.close(Duration::from_secs(30)).await?;

    let (mut first, mut second) = (worker(&cluster, &group, &topic).await?, worker(&cluster, &group, &topic).await?);
    let (mut done, mut given_up) = (0, 0);
    while done + given_up < JOBS {
        let (worker, record) = tokio::select! {
            record = first.recv() => (&first, record?),
            record = second.recv() => (&second, record?),
        };
        let outcome = work(&record);
        match outcome {
            AcknowledgeType::Accept => done += 1,
            AcknowledgeType::Reject => given_up += 1,
            _ => {}
        }
        // It travels with the next fetch. What is released comes again, to either of them.
        worker.acknowledge(&record, outcome)?;
    }
    // `close` sends what is not sent yet, and gives back what was not acknowledged.
    first.close().await?;
    second.close().await?;
    for (_, outcome) in admin.delete_topics(&[topic]).await? {
        outcome?;
    }
    cluster.stop().await?;
    println!("{done} jobs done, {given_up} given up");
    Ok(())
}

async fn worker(cluster: &Cluster, group: &str, topic: &str) -> Result<ShareConsumer, Failure> {
    let config = ShareConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(group)
        .share_acknowledgement_mode(AcknowledgementMode::Explicit)
        .max_poll_records(5_usize);
    let mut worker = ShareConsumer::connect(config).await?;
    worker.subscribe([topic])?;
    Ok(worker)
}

/// Job 13 fails the first time, and what is no job is not tried again.
fn work(record: &ShareRecord) -> AcknowledgeType {
    let job = String::from_utf8_lossy(record.value().unwrap_or_default());
    if !job.starts_with("job ") {
        println!("{job} is no job");
        AcknowledgeType::Reject
    } else if job == "job 13" && record.delivery_count() == 1 {
        println!("{job} failed for now");
        AcknowledgeType::Release
    } else {
        println!("{job} is done, by delivery {}", record.delivery_count());
        AcknowledgeType::Accept
    }
}

/// A share group begins at the end of its topics, unless its own settings say otherwise.
async fn begin_at_the_beginning(cluster: &Cluster, group: &str) -> Result<(), Failure> {
    let client = Client::connect(ClientConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let earliest = AlterableConfig {
        name: "share.auto.offset.reset".to_owned(),
        value: Some("earliest".to_owned()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: GROUP,
        resource_name: group.to_owned(),
        configs: vec![earliest],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    for response in client.request_controller(request).await?.responses {
        rkafka::client::Error::check_with(response.error_code, response.error_message.as_deref())?;
    }
    client.close();
    Ok(())
}
