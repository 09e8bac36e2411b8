//! Many records worked on at once, those with the same key one after another.
//!
//! ```sh
//! cargo run -p rkafka-examples --example parallel
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{ConsumerConfig, OffsetReset, ParallelConsumer, ParallelOptions};
use rkafka_examples::{Cluster, Failure};
use tokio::sync::Notify;

const ORDERS: usize = 60;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("orders");
    let orders = (0..ORDERS).map(|number| (Some(format!("customer {}", number % 6)), format!("order {number}")));
    cluster.fill(&topic, 2, orders).await?;

    // Records are done in another order than they come in: what is committed goes up to the first that is not done.
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("kitchen"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_offset_store(false);
    let mut consumer = ParallelConsumer::connect(config, ParallelOptions::default().workers(8)).await?;
    consumer.subscribe([&*topic])?;

    let done: Arc<Mutex<HashMap<Vec<u8>, Vec<String>>>> = Arc::default();
    let all = Arc::new(Notify::new());
    let (by_customer, enough) = (Arc::clone(&done), Arc::clone(&all));
    consumer
        .run_until(all.notified(), move |order| {
            let (done, all) = (Arc::clone(&by_customer), Arc::clone(&enough));
            async move {
                // Something that takes its time, such as a call of another service.
                let mut pause = tokio::time::interval(Duration::from_millis(5));
                pause.tick().await;
                pause.tick().await;
                let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let of_customer = done.entry(order.key().unwrap_or_default().to_vec()).or_default();
                of_customer.push(String::from_utf8_lossy(order.value().unwrap_or_default()).into_owned());
                if done.values().map(Vec::len).sum::<usize>() == ORDERS {
                    all.notify_one();
                }
                Ok::<_, Infallible>(())
            }
        })
        .await?;
    consumer.close().await?;

    let mut customers: Vec<_> = done.lock().map_err(|_| "a handler panicked")?.clone().into_iter().collect();
    customers.sort();
    for (customer, orders) in customers {
        println!("{}: {} .. {}", String::from_utf8_lossy(&customer), orders[0], orders[orders.len() - 1]);
    }
    cluster.delete(&[&topic]).await?;
    cluster.stop().await?;
    Ok(())
}
