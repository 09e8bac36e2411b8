//! What requests the brokers take. Source: ApiVersions (API key 18), KIP-35.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::ApiKey;
use rkafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::PerItem;
use crate::Admin;
use crate::operation::operation;

/// The versions of a request that a broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiVersionRange {
    /// The request's key.
    pub key: i16,
    /// The oldest.
    pub min: i16,
    /// The newest.
    pub max: i16,
}

impl ApiVersionRange {
    /// The request's name; `None` where this version does not know it.
    pub fn name(&self) -> Option<&'static str> {
        ApiKey::try_from(self.key).ok().map(ApiKey::name)
    }
}

operation! {
    /// What [`Admin::list_api_versions`] gives.
    pub struct ListApiVersions => PerItem<BTreeMap<i16, ApiVersionRange>, i32> {}
    options {
        /// The broker to ask. Default: each.
        broker: Option<i32> = None,
    }
}

pub(super) fn request(version: i16) -> ApiVersionsRequest {
    if version < 3 {
        return ApiVersionsRequest::default();
    }
    ApiVersionsRequest {
        client_software_name: "rkafka".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}

impl ListApiVersions<'_> {
    async fn run(self) -> Result<PerItem<BTreeMap<i16, ApiVersionRange>, i32>> {
        self.admin.within(self.limit, self.of_brokers()).await
    }

    async fn of_brokers(&self) -> Result<PerItem<BTreeMap<i16, ApiVersionRange>, i32>> {
        let brokers = match self.broker {
            Some(broker) => vec![broker],
            None => self.admin.broker_ids(self.limit).await?,
        };
        self.admin.ask_brokers(brokers, self.limit, &[], request, read).await
    }
}

fn read(response: ApiVersionsResponse) -> Result<BTreeMap<i16, ApiVersionRange>> {
    Error::check(response.error_code)?;
    let apis = response
        .api_keys
        .into_iter()
        .map(|api| (api.api_key, ApiVersionRange { key: api.api_key, min: api.min_version, max: api.max_version }));
    Ok(apis.collect())
}

impl Admin {
    /// What requests each broker takes, in which versions, by their keys.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one broker is in its item.
    pub fn list_api_versions(&self) -> ListApiVersions<'_> {
        ListApiVersions::new(self)
    }
}
