//! Retries with backoff, and a dead-letter topic for what never succeeds or cannot be read.
//!
//! ```sh
//! cargo run -p rkafka-examples --example dead_letter
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rkafka::DeadLetterTopic;
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{
    Consumer, ConsumerConfig, Deserialize, LastResort, OffsetReset, ParallelConsumer, ParallelOptions, Retries, Start,
    TypedHandler, TypedRecord,
};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("temperatures");
    let dead = format!("{topic}-dlt");
    cluster.fill(&topic, 1, ["21", "too hot", "19", "-300", "20"].map(|value| (None, value.to_owned()))).await?;
    cluster.fill(&dead, 1, []).await?;
    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    // Not even text.
    let record = Record::to(&topic).value(&[0xff_u8, 0xfe]);
    producer.send(record).await?.await?;

    let options = ParallelOptions::default()
        .retries(Retries::new(3, Duration::from_millis(20), Duration::from_secs(1)))
        .last_resort(LastResort::DeadLetter(Arc::new(DeadLetterTopic::new(producer.clone()))));
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("weather"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_offset_store(false);
    let mut consumer = ParallelConsumer::connect(config, options).await?;
    consumer.subscribe([&*topic])?;
    let (good, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, all) = (Arc::clone(&good), Arc::clone(&done));
    let handler = TypedHandler::new(
        Deserialize::<Option<String>, String>::default(),
        move |record: TypedRecord<Option<String>, String>| {
            let (count, all) = (Arc::clone(&count), Arc::clone(&all));
            async move {
                let degrees: i32 = record.value.parse().map_err(|_| "this is no number".to_owned())?;
                if degrees < -273 {
                    return Err(format!("{degrees} degrees are colder than cold"));
                }
                println!("{degrees} degrees");
                if count.fetch_add(1, Ordering::SeqCst) == 2 {
                    all.notify_one();
                }
                Ok(())
            }
        },
    );
    let mut letters = Consumer::connect(ConsumerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    letters.assign([(&*dead, 0, Start::Beginning)])?;
    let three_are_dead = async {
        done.notified().await;
        for _ in 0..3 {
            let Ok(letter) = letters.recv().await else { return };
            let header = |name: &str| {
                let mut headers = letter.headers().into_iter().map_while(Result::ok);
                let value = headers.find(|header| header.key == name.as_bytes()).and_then(|header| header.value);
                String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
            };
            println!(
                "dead: {:?}: {}",
                String::from_utf8_lossy(letter.value().unwrap_or_default()),
                header("kafka_dlt-exception-message")
            );
        }
    };
    consumer.drive(three_are_dead, handler).await?;
    consumer.close().await?;
    letters.close().await?;
    producer.close(Duration::from_secs(30)).await?;
    println!("{} temperatures were taken", good.load(Ordering::SeqCst));
    cluster.delete(&[&topic, &dead]).await?;
    cluster.stop().await?;
    Ok(())
}
