//! The cluster itself. Source: DescribeCluster (API key 60), KIP-700, KIP-1073; Metadata (key 3) where the broker does not
//! know it.

use std::collections::BTreeSet;

use rkafka_client_core::{Error, ErrorKind, Result};
use rkafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse};

use crate::operation::operation;
use crate::single::To;
use crate::{AclOperation, Admin};

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
    /// What this client may do with the cluster; `None` where it was not asked for, or the broker did not say.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
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
    /// Whether the controller has fenced it off, so that it leads nothing; only where such brokers were asked for.
    pub fenced: bool,
}

operation! {
    /// What [`Admin::describe_cluster`] gives.
    pub struct DescribeCluster => ClusterDescription {}
    options {
        /// Whether to say what this client may do with the cluster. Default: not.
        include_authorized_operations: bool = false,
        /// Whether to name brokers too that are registered and fenced off. Default: not. Needs Kafka 4.0.
        include_fenced_brokers: bool = false,
    }
}

impl DescribeCluster<'_> {
    async fn run(self) -> Result<ClusterDescription> {
        let build = |_| DescribeClusterRequest {
            include_cluster_authorized_operations: self.include_authorized_operations,
            endpoint_type: 1,
            include_fenced_brokers: self.include_fenced_brokers,
            ..Default::default()
        };
        match self.admin.ask(To::Any, self.limit, &[], build, read).await {
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion && !self.include_fenced_brokers => {}
            described => return described,
        }
        let build = |_| MetadataRequest {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: self.include_authorized_operations,
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, &[], build, read_metadata).await
    }
}

fn read(response: DescribeClusterResponse) -> Result<ClusterDescription> {
    Error::check_with(response.error_code, response.error_message.as_deref())?;
    let brokers = response.brokers.into_iter().map(|broker| BrokerDescription {
        id: broker.broker_id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        fenced: broker.is_fenced,
    });
    let operations = AclOperation::from_bits(response.cluster_authorized_operations);
    Ok(cluster(Some(response.cluster_id), response.controller_id, brokers.collect(), operations))
}

fn read_metadata(response: MetadataResponse) -> Result<ClusterDescription> {
    let brokers = response.brokers.into_iter().map(|broker| BrokerDescription {
        id: broker.node_id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        fenced: false,
    });
    let operations = AclOperation::from_bits(response.cluster_authorized_operations);
    Ok(cluster(response.cluster_id, response.controller_id, brokers.collect(), operations))
}

fn cluster(
    id: Option<String>,
    controller: i32,
    mut brokers: Vec<BrokerDescription>,
    authorized_operations: Option<BTreeSet<AclOperation>>,
) -> ClusterDescription {
    brokers.sort_by_key(|broker| broker.id);
    ClusterDescription { id, controller: (controller >= 0).then_some(controller), brokers, authorized_operations }
}

impl Admin {
    /// Describes the cluster.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn describe_cluster(&self) -> DescribeCluster<'_> {
        DescribeCluster::new(self)
    }
}
