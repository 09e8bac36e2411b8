//! One test body, two clusters: the embedded broker, and the reference.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{KAFKA_VERSION, RealKafka, TestCluster, create_topic, skipped};

/// A cluster to run a test on.
#[derive(Debug)]
pub enum Cluster {
    /// A broker of rkafka's, for this test alone.
    Embedded(TestCluster),
    /// Apache Kafka, shared by all tests of the process: topics and groups need names of their own.
    Real(&'static RealKafka),
}

impl Cluster {
    /// A broker of rkafka's, all in memory.
    ///
    /// # Panics
    /// It does not start.
    pub async fn embedded() -> Self {
        Self::Embedded(TestCluster::start().await)
    }

    /// Three brokers of rkafka's, all in memory.
    ///
    /// # Panics
    /// They do not start.
    pub async fn three() -> Self {
        Self::Embedded(TestCluster::builder().brokers(3).start().await)
    }

    /// Apache Kafka, where it can be had; else `None`, after saying on stderr that `test` did not run, and why.
    pub async fn real(test: &str) -> Option<Self> {
        let kafka = tokio::task::spawn_blocking(RealKafka::shared).await;
        match kafka.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(kafka) => Some(Self::Real(kafka)),
            Err(why) => {
                skipped(test, &why);
                None
            }
        }
    }

    /// The brokers as `bootstrap.servers` has them.
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Embedded(cluster) => cluster.bootstrap(),
            Self::Real(kafka) => kafka.bootstrap(),
        }
    }

    /// What this cluster is, for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded(_) => "the embedded broker".to_owned(),
            Self::Real(_) => format!("Apache Kafka {KAFKA_VERSION}"),
        }
    }

    /// Whether this is Apache Kafka.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }

    /// A name that nothing else in this process has: `what` and a number.
    pub fn unique(&self, what: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a topic under a name of its own and gives the name.
    ///
    /// # Panics
    /// It cannot be created.
    pub async fn topic(&self, what: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let name = self.unique(what);
        let bootstrap = self.bootstrap();
        let configs: Vec<(String, String)> =
            configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let topic = name.clone();
        let created = tokio::task::spawn_blocking(move || {
            let configs: Vec<_> = configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            create_topic(&bootstrap, &topic, partitions, &configs);
        });
        created.await.expect("the topic is created");
        name
    }
}

/// Declares a test that runs twice: on the embedded broker, and on Apache Kafka where it can be had. With `and three` before
/// it, it runs on three embedded brokers too.
///
/// ```text
/// on_both! { async fn a_record_comes_back(cluster: &Cluster) { .. } }
/// on_both! { and three; async fn a_record_comes_back(cluster: &Cluster) { .. } }
/// ```
#[macro_export]
macro_rules! on_both {
    (and three; $(#[doc = $doc:literal])* async fn $name:ident($cluster:ident: &Cluster) $body:block) => {
        $crate::on_both!(@ {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn three_brokers() {
                let cluster = $crate::Cluster::three().await;
                body(&cluster).await;
            }
        } $(#[doc = $doc])* async fn $name($cluster: &Cluster) $body);
    };
    (@ { $($more:item)* } $(#[doc = $doc:literal])* async fn $name:ident($cluster:ident: &Cluster) $body:block) => {
        mod $name {
            use super::*;

            $(#[doc = $doc])*
            async fn body($cluster: &$crate::Cluster) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                let cluster = $crate::Cluster::embedded().await;
                body(&cluster).await;
            }

            $($more)*

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn real_kafka() {
                let test = concat!(module_path!(), "::real_kafka");
                if let Some(cluster) = $crate::Cluster::real(test).await {
                    body(&cluster).await;
                }
            }
        }
    };
    ($(#[doc = $doc:literal])* async fn $name:ident($cluster:ident: &Cluster) $body:block) => {
        $crate::on_both!(@ {} $(#[doc = $doc])* async fn $name($cluster: &Cluster) $body);
    };
}
