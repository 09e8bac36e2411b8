//! Changing settings, each by itself. Source: IncrementalAlterConfigs (API key 44), KIP-339, KIP-226.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{ConfigResource, PerItem};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// What was set is taken away, so that the default counts.
    Delete,
    /// These values (with commas between) are added to its list.
    Append(String),
    /// These values (with commas between) are taken from its list.
    Subtract(String),
}

operation! {
    /// What [`Admin::incremental_alter_configs`] gives.
    pub struct IncrementalAlterConfigs => PerItem<(), ConfigResource> {
        changes: BTreeMap<ConfigResource, Vec<(String, ConfigChange)>>,
    }
    options {
        /// Whether the broker only checks everything, and changes nothing. Default: it changes.
        validate_only: bool = false,
    }
}

struct Job<'a> {
    changes: &'a BTreeMap<ConfigResource, Vec<(String, ConfigChange)>>,
    validate_only: bool,
}

fn alterable((name, change): &(String, ConfigChange)) -> AlterableConfig {
    let (config_operation, value) = match change {
        ConfigChange::Set(value) => (0, Some(value)),
        ConfigChange::Delete => (1, None),
        ConfigChange::Append(value) => (2, Some(value)),
        ConfigChange::Subtract(value) => (3, Some(value)),
    };
    AlterableConfig { name: name.clone(), config_operation, value: value.cloned(), ..Default::default() }
}

impl Operation for Job<'_> {
    type Key = ConfigResource;
    type Value = ();
    type Request = IncrementalAlterConfigsRequest;

    fn place(&self, resource: &ConfigResource) -> Place {
        resource.place(Place::Controller)
    }

    fn request(&self, _version: i16, resources: &[ConfigResource]) -> Result<IncrementalAlterConfigsRequest> {
        let resources = resources.iter().filter_map(|resource| Some((resource, self.changes.get(resource)?)));
        let resources = resources.map(|(resource, changes)| AlterConfigsResource {
            resource_type: resource.kind.code(),
            resource_name: resource.name.clone(),
            configs: changes.iter().map(alterable).collect(),
            ..Default::default()
        });
        Ok(IncrementalAlterConfigsRequest {
            resources: resources.collect(),
            validate_only: self.validate_only,
            ..Default::default()
        })
    }

    fn read(
        &self,
        _resources: &[ConfigResource],
        response: IncrementalAlterConfigsResponse,
    ) -> Answers<ConfigResource, ()> {
        let results = response.responses.into_iter().map(|result| {
            let outcome = Error::check_with(result.error_code, result.error_message.as_deref());
            (ConfigResource::new(result.resource_type.into(), result.resource_name), outcome)
        });
        Ok(results.collect())
    }

    fn about(&self, resource: &ConfigResource, error: Error) -> Error {
        resource.about(error)
    }
}

impl IncrementalAlterConfigs<'_> {
    async fn run(self) -> Result<PerItem<(), ConfigResource>> {
        let job = Job { changes: &self.changes, validate_only: self.validate_only };
        self.admin.run(&job, self.changes.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Changes settings, and leaves all others as they are. What is changed of one resource is changed as a whole or not
    /// at all.
    ///
    /// ```no_run
    /// # use rkafka_admin::{Admin, ConfigChange, ConfigResource};
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// let topic = ConfigResource::topic("orders");
    /// let set = ("retention.ms", ConfigChange::Set("3600000".into()));
    /// admin.incremental_alter_configs([(topic, vec![set])]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: the settings may have been changed.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one resource is in its item.
    pub fn incremental_alter_configs<Changes, Name>(
        &self,
        changes: impl IntoIterator<Item = (ConfigResource, Changes)>,
    ) -> IncrementalAlterConfigs<'_>
    where
        Changes: IntoIterator<Item = (Name, ConfigChange)>,
        Name: Into<String>,
    {
        let mut all: BTreeMap<ConfigResource, Vec<(String, ConfigChange)>> = BTreeMap::new();
        for (resource, changes) in changes {
            all.entry(resource).or_default().extend(changes.into_iter().map(|(name, change)| (name.into(), change)));
        }
        IncrementalAlterConfigs::new(self, all)
    }
}
