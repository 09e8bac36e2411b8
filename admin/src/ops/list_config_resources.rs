//! What has settings of its own. Source: ListConfigResources (API key 74), KIP-1142; KIP-1000 for its first version, which
//! knows subscriptions to clients' metrics only.

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{ConfigResource, ConfigResourceType};
use crate::Admin;
use crate::operation::operation;
use crate::single::To;

operation! {
    /// What [`Admin::list_config_resources`] gives.
    pub struct ListConfigResources => Vec<ConfigResource> {
        kinds: Vec<ConfigResourceType>,
    }
}

impl ListConfigResources<'_> {
    async fn run(self) -> Result<Vec<ConfigResource>> {
        let build = |version: i16| ListConfigResourcesRequest {
            // Version 0 has no room for kinds and means this one.
            resource_types: match self.kinds.as_slice() {
                [ConfigResourceType::ClientMetrics] if version == 0 => Vec::new(),
                kinds => kinds.iter().map(|kind| kind.code()).collect(),
            },
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

fn read(response: ListConfigResourcesResponse) -> Result<Vec<ConfigResource>> {
    Error::check(response.error_code)?;
    let resources = response.config_resources.into_iter();
    let mut resources: Vec<ConfigResource> =
        resources.map(|resource| ConfigResource::new(resource.resource_type.into(), resource.resource_name)).collect();
    resources.sort();
    Ok(resources)
}

impl Admin {
    /// What has settings of its own, of these kinds; of every kind where none is named. Topics and brokers are always
    /// among them. Needs Kafka 4.1; subscriptions to clients' metrics alone
    /// ([`ConfigResourceType::ClientMetrics`]) can be asked for from Kafka 3.7 on.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn list_config_resources(
        &self,
        kinds: impl IntoIterator<Item = ConfigResourceType>,
    ) -> ListConfigResources<'_> {
        ListConfigResources::new(self, kinds.into_iter().collect())
    }
}
