//! Creates a topic, looks at it, and deletes it.
//!
//! ```sh
//! cargo run -p rkafka-examples --example admin_topics
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use rkafka::admin::{Admin, AdminConfig, ConfigResource, ConfigSource, NewTopic};
use rkafka::client::ClientSettings as _;
use rkafka_examples::{Cluster, Failure};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(cluster.bootstrap())).await?;

    let about = admin.describe_cluster().await?;
    println!("cluster {} with {} broker(s)", about.id.as_deref().unwrap_or("-"), about.brokers.len());

    let name = cluster.unique("payments");
    let topic = NewTopic::new(&name).partitions(2).config("retention.ms", "86400000");
    for (name, outcome) in admin.create_topics(&[topic]).await? {
        // One topic may fail where others succeed: each has a result of its own.
        println!("created {name} with {:?} partitions", outcome?.partitions);
    }

    for topic in admin.list_topics().await?.iter().filter(|topic| !topic.internal) {
        println!("there is {} with {} partitions", topic.name, topic.partitions);
    }
    for (name, outcome) in admin.describe_topics(&[&name]).await? {
        for partition in outcome?.partitions {
            println!(
                "{name}-{}: leader {:?}, replicas {:?}",
                partition.partition, partition.leader, partition.replicas
            );
        }
    }
    for (resource, outcome) in admin.describe_configs([ConfigResource::topic(&name)]).await? {
        for entry in outcome?.iter().filter(|entry| entry.source == ConfigSource::Topic) {
            println!("{resource}: {} = {}", entry.name, entry.value.as_deref().unwrap_or("-"));
        }
    }

    for (name, outcome) in admin.delete_topics(&[&name]).await? {
        outcome?;
        println!("deleted {name}");
    }
    cluster.stop().await?;
    Ok(())
}
