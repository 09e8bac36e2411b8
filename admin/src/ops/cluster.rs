//! The cluster itself. Source: Metadata (API key 3), which every broker knows.

use rkafka_client_core::{Result, retry};
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};

use crate::Admin;

/// A cluster with its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// Its id.
    pub id: Option<String>,
    /// The broker that stands for the controller; with KRaft any broker, which passes requests on.
    pub controller: Option<i32>,
    /// Its brokers, by id.
    pub brokers: Vec<BrokerDescription>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerDescription {
    /// Its id.
    pub id: i32,
    /// The host it is to be reached at.
    pub host: String,
    /// The port.
    pub port: i32,
    /// The rack it stands in.
    pub rack: Option<String>,
}

impl Admin {
    /// Describes the cluster.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let response: MetadataResponse = retry(self.policy(), |_| async {
            let request =
                MetadataRequest { topics: Some(Vec::new()), allow_auto_topic_creation: false, ..Default::default() };
            self.any_request(request).await
        })
        .await?;
        let mut brokers: Vec<BrokerDescription> = response
            .brokers
            .into_iter()
            .map(|broker| BrokerDescription {
                id: broker.node_id,
                host: broker.host,
                port: broker.port,
                rack: broker.rack,
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterDescription {
            id: response.cluster_id,
            controller: (response.controller_id >= 0).then_some(response.controller_id),
            brokers,
        })
    }
}
