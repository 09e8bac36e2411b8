//! Features of the cluster. Sources: ApiVersions (API key 18) and UpdateFeatures (key 57), KIP-584, KIP-778, KIP-1022.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka_protocol::messages::{ApiVersionsResponse, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::PerItem;
use super::api_versions::request as api_versions_request;
use crate::Admin;
use crate::codes::codes;
use crate::operation::operation;
use crate::single::To;

/// What a cluster's features are at, and what a broker could do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FeatureMetadata {
    /// The levels that the cluster has agreed upon, such as that of `metadata.version`; what is at 0 is not among them.
    pub finalized: BTreeMap<String, i16>,
    /// Counts the changes of what is finalized; `None` where the broker does not know yet.
    pub finalized_epoch: Option<i64>,
    /// The levels that the broker could do.
    pub supported: BTreeMap<String, SupportedVersions>,
}

/// The levels of a feature that a broker could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupportedVersions {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

codes! {
    /// What a change of a feature may do.
    pub enum UpgradeType: i8 {
        /// Raise its level.
        Upgrade = 1 "UPGRADE",
        /// Lower its level where nothing is lost by it.
        SafeDowngrade = 2 "SAFE_DOWNGRADE",
        /// Lower its level, and lose what the lower one cannot say.
        UnsafeDowngrade = 3 "UNSAFE_DOWNGRADE",
    }
}

/// A change of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeatureUpdate {
    /// The level it is to have; 0 turns it off.
    pub level: i16,
    /// What the change may do.
    pub upgrade_type: UpgradeType,
}

impl FeatureUpdate {
    /// A change to a higher level.
    pub const fn upgrade_to(level: i16) -> Self {
        Self { level, upgrade_type: UpgradeType::Upgrade }
    }

    /// A change to a lower level, refused where anything is lost by it.
    pub const fn downgrade_to(level: i16) -> Self {
        Self { level, upgrade_type: UpgradeType::SafeDowngrade }
    }

    /// A change to a lower level, whatever is lost by it.
    pub const fn unsafe_downgrade_to(level: i16) -> Self {
        Self { level, upgrade_type: UpgradeType::UnsafeDowngrade }
    }
}

operation! {
    /// What [`Admin::describe_features`] gives.
    pub struct DescribeFeatures => FeatureMetadata {}
    options {
        /// The broker to ask. Default: any.
        broker: Option<i32> = None,
    }
}

operation! {
    /// What [`Admin::update_features`] gives.
    pub struct UpdateFeatures => PerItem<()> {
        updates: BTreeMap<String, FeatureUpdate>,
    }
    options {
        /// Whether the controller only checks everything, and changes nothing. Default: it changes.
        validate_only: bool = false,
    }
}

impl DescribeFeatures<'_> {
    async fn run(self) -> Result<FeatureMetadata> {
        let to = self.broker.map_or(To::Any, To::Node);
        self.admin.ask(to, self.limit, &[], api_versions_request, read).await
    }
}

fn read(response: ApiVersionsResponse) -> Result<FeatureMetadata> {
    Error::check(response.error_code)?;
    let levels = |min, max| SupportedVersions { min, max };
    let finalized = response.finalized_features.into_iter().map(|feature| (feature.name, feature.max_version_level));
    let supported = response.supported_features.into_iter();
    Ok(FeatureMetadata {
        finalized: finalized.collect(),
        finalized_epoch: (response.finalized_features_epoch >= 0).then_some(response.finalized_features_epoch),
        supported: supported.map(|feature| (feature.name, levels(feature.min_version, feature.max_version))).collect(),
    })
}

impl UpdateFeatures<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        if self.updates.is_empty() {
            return Ok(PerItem::new());
        }
        let timeout_ms = self.admin.broker_time(self.limit);
        let build = |version: i16| UpdateFeaturesRequest {
            timeout_ms,
            feature_updates: self
                .updates
                .iter()
                .map(|(feature, update)| {
                    let update_key = FeatureUpdateKey {
                        feature: feature.clone(),
                        max_version_level: update.level,
                        ..Default::default()
                    };
                    // Version 0 knows no kinds of downgrades.
                    match version {
                        0 => FeatureUpdateKey {
                            allow_downgrade: update.upgrade_type != UpgradeType::Upgrade,
                            ..update_key
                        },
                        _ => FeatureUpdateKey { upgrade_type: update.upgrade_type.code(), ..update_key },
                    }
                })
                .collect(),
            validate_only: self.validate_only,
            ..Default::default()
        };
        let read = |response: UpdateFeaturesResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())?;
            // From version 2 on all change or none does, and there is one answer.
            let mut told: PerItem<()> = self.updates.keys().map(|feature| (feature.clone(), Ok(()))).collect();
            for result in response.results {
                let outcome = Error::check_with(result.error_code, result.error_message.as_deref());
                told.insert(result.feature, outcome);
            }
            Ok(told)
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

impl Admin {
    /// The features of the cluster: the levels it has agreed upon, and those a broker could do.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn describe_features(&self) -> DescribeFeatures<'_> {
        DescribeFeatures::new(self)
    }

    /// Changes levels of features; from Kafka 4.0 on all of them or none, and what hinders one is the error of the whole.
    ///
    /// Cancel safety: the levels may have been changed.
    ///
    /// # Errors
    /// See [`Admin`]; also what the controller says of the whole, such as
    /// [`InvalidUpdateVersion`](crate::ErrorCode::InvalidUpdateVersion).
    pub fn update_features(
        &self,
        updates: impl IntoIterator<Item = (impl Into<String>, FeatureUpdate)>,
    ) -> UpdateFeatures<'_> {
        UpdateFeatures::new(self, updates.into_iter().map(|(feature, update)| (feature.into(), update)).collect())
    }
}
