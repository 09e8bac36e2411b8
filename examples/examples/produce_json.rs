//! Typed records: keys are texts, values are structures that serde writes as JSON and reads again.
//!
//! ```sh
//! cargo run -p rkafka-examples --example produce_json
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, Start};
use rkafka::producer::{ProducerConfig, TypedProducer, TypedRecord};
use rkafka::serialization::{
    Deserializer as _, JsonDeserializer, JsonSerializer, Payload, SerializationContext, StringSerializer,
};

use rkafka_examples::{Cluster, Failure};
use serde::{Deserialize, Serialize};

/// Borrows from the record when it is read: no text is copied.
#[derive(Serialize, Deserialize)]
struct Order<'a> {
    customer: &'a str,
    apples: u32,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("orders-as-json");

    let config = ProducerConfig::new().bootstrap_servers(cluster.bootstrap());
    let producer = TypedProducer::<str, Order<'_>>::with_serializers(config, StringSerializer, JsonSerializer).await?;
    for (customer, apples) in [("alice", 3), ("bob", 5)] {
        let order = Order { customer, apples };
        producer.send(TypedRecord::to(&topic).key(customer).value(&order).partition(0)).await?.await?;
    }
    producer.close(Duration::from_secs(30)).await?;

    let mut consumer = Consumer::connect(ConsumerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    consumer.assign([(&*topic, 0, Start::Beginning)])?;
    while let Some(record) = consumer.recv_until_end().await? {
        println!("{}", String::from_utf8_lossy(record.value().unwrap_or_default()));
        let context = SerializationContext::value(record.topic());
        let value = record.value().map(Payload::new);
        let order: Order<'_> = JsonDeserializer.deserialize(context, record.headers(), value)?;
        println!("{} wants {} apples", order.customer, order.apples);
    }
    consumer.close().await?;
    cluster.stop().await?;
    Ok(())
}
