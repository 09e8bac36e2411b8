//! What the examples share: the cluster they run on.
//!
//! Each example uses the cluster at `$RKAFKA_BOOTSTRAP`. Where that is unset, it starts a broker of its own inside the
//! process, all in memory and on a free port, and nothing is left behind.

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::broker::{Broker, BrokerError, BrokerHandle};
use rkafka::client::ClientSettings as _;
use rkafka::producer::{Producer, ProducerConfig, Record};

/// What an example's `main` gives back where something goes wrong: printed as one line.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The cluster that an example runs on.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: String,
    broker: Option<BrokerHandle>,
}

impl Cluster {
    /// The cluster at `$RKAFKA_BOOTSTRAP`, else a broker in this process.
    ///
    /// # Errors
    /// The broker does not start.
    pub async fn from_environment() -> Result<Self, BrokerError> {
        if let Ok(bootstrap) = std::env::var("RKAFKA_BOOTSTRAP") {
            return Ok(Self { bootstrap, broker: None });
        }
        let broker = Broker::builder().start().await?;
        Ok(Self { bootstrap: broker.bootstrap(), broker: Some(broker) })
    }

    /// Its address for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where it runs, for people.
    pub fn place(&self) -> &'static str {
        if self.broker.is_some() { "in this process, in memory" } else { "$RKAFKA_BOOTSTRAP" }
    }

    /// A name for a topic or group that no other run of an example has.
    pub fn unique(&self, name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    /// Creates a topic with so many partitions, and sends these records: keys and values.
    ///
    /// # Errors
    /// The topic or a record is refused.
    pub async fn fill(
        &self,
        topic: &str,
        partitions: i32,
        records: impl IntoIterator<Item = (Option<String>, String)>,
    ) -> Result<(), Failure> {
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(self.bootstrap())).await?;
        let new = NewTopic::new(topic).partitions(partitions);
        for (_, outcome) in admin.create_topics(&[new]).await? {
            outcome?;
        }
        let producer = Producer::new(ProducerConfig::new().bootstrap_servers(self.bootstrap())).await?;
        for (key, value) in records {
            let mut record = Record::to(topic).value(&value);
            record.key = key.as_deref().map(str::as_bytes);
            drop(producer.send(record).await?);
        }
        producer.close(Duration::from_secs(30)).await?;
        Ok(())
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// A topic is refused.
    pub async fn delete(&self, topics: &[&str]) -> Result<(), Failure> {
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(self.bootstrap())).await?;
        for (_, outcome) in admin.delete_topics(topics).await? {
            outcome?;
        }
        Ok(())
    }

    /// Stops the broker, if it is one of this process.
    ///
    /// # Errors
    /// The broker does not stop in good order.
    pub async fn stop(self) -> Result<(), BrokerError> {
        match self.broker {
            Some(broker) => broker.shutdown().await,
            None => Ok(()),
        }
    }
}
