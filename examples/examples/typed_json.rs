//! Keys and values as types: JSON in, JSON out. A record that cannot be read is passed over, with its place.
//!
//! ```sh
//! cargo run -p rkafka-examples --example typed_json
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use rkafka::client::ClientSettings as _;
use rkafka::consumer::serialization::{JsonDeserializer, StringDeserializer};
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset, TypedConsumer, TypedError};
use rkafka_examples::{Cluster, Failure};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    pieces: u32,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("orders");
    let mut records = Vec::new();
    for (item, pieces) in [("apples", 3), ("pears", 12)] {
        let order = Order { item: item.to_owned(), pieces };
        records.push((Some("a customer".to_owned()), serde_json::to_string(&order)?));
    }
    records.insert(1, (Some("a stranger".to_owned()), "three plums, please".to_owned()));
    cluster.fill(&topic, 1, records).await?;

    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("shop"))
        .auto_offset_reset(OffsetReset::Earliest);
    let consumer = Consumer::connect(config).await?;
    let mut orders = TypedConsumer::<String, Order>::with(consumer, StringDeserializer, JsonDeserializer);
    orders.subscribe([&*topic])?;
    let mut pieces = 0;
    while pieces < 15 {
        match orders.recv().await {
            Ok(order) => {
                println!("{} orders {} {}", order.key, order.value.pieces, order.value.item);
                pieces += order.value.pieces;
            }
            // It names the place and never the data; `error.record()` has the record as it came.
            Err(TypedError::Deserialization(error)) => {
                println!("passed over: offset {}, the {}", error.offset(), error.side());
            }
            Err(error) => return Err(error.into()),
        }
    }
    orders.close().await?;
    cluster.delete(&[&topic]).await?;
    cluster.stop().await?;
    Ok(())
}
