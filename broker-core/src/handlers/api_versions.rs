//! API: ApiVersions (18)
//! Versions: 0-4
//! Behaviour: answered from the table of handlers, so that nothing is offered that is not there. A version that is too
//! new is answered by `UNSUPPORTED_VERSION` in version 0, with all versions. The client's software name and version
//! must be of letters, digits, dots and dashes, else `INVALID_REQUEST`.
//! Deviations: none known.
//! KIPs: 35, 511, 584

use std::sync::Arc;

use rkafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use rkafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use rkafka_protocol::{ApiKey, ErrorCode};

use super::{HandlerError, OFFERED, OFFERED_TO_CONTROLLERS, RequestContext};
use crate::BrokerState;
use crate::controller::ELR_FEATURE;
use crate::coordinator::transaction::{TRANSACTION_VERSION, TRANSACTION_VERSION_MAX};

/// The level of `metadata.version` that a new cluster gets: that of Kafka 4.3.
pub(crate) const METADATA_VERSION: i16 = 30;
/// The level of `group.version` that a new cluster gets: consumer groups of KIP-848.
pub(crate) const GROUP_VERSION: i16 = 1;
/// The level of `share.version` that a new cluster gets: share groups of KIP-932.
pub(crate) const SHARE_VERSION: i16 = 1;
/// The level of `eligible.leader.replicas.version` that a new cluster gets: replicas that may lead though they are not in
/// sync (KIP-966).
pub(crate) const ELR_VERSION: i16 = 1;
/// Features that this broker knows: name, lowest and highest level.
pub(crate) const FEATURES: &[(&str, i16, i16)] = &[
    (ELR_FEATURE, 0, ELR_VERSION),
    ("group.version", 0, GROUP_VERSION),
    ("metadata.version", 7, METADATA_VERSION),
    ("share.version", 0, SHARE_VERSION),
    (TRANSACTION_VERSION, 0, TRANSACTION_VERSION_MAX),
];

/// Answers which APIs this broker offers.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: ApiVersionsRequest,
    version: i16,
) -> Result<ApiVersionsResponse, HandlerError> {
    if version >= 3
        && !(is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version))
    {
        return Ok(ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() });
    }
    if version >= 3 {
        // Told once per connection; what a client says later about itself is not looked at.
        let told = (request.client_software_name, request.client_software_version);
        drop(context.client_software.set(told));
    }
    let image = broker.image();
    Ok(ApiVersionsResponse {
        api_keys: api_keys(context.is_for_controllers),
        supported_features: FEATURES
            .iter()
            // A minimum of 0 breaks clients before version 4 (KAFKA-17011), so such features are left out there.
            .filter(|(_, min, _)| version >= 4 || *min > 0)
            .map(|(name, min, max)| SupportedFeatureKey {
                name: (*name).to_owned(),
                min_version: *min,
                max_version: *max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: image.next_offset(),
        finalized_features: image
            .features()
            .iter()
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.clone(),
                max_version_level: *level,
                min_version_level: *level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    })
}

/// The answer to a version that this broker does not know.
pub(crate) fn unsupported(context: &RequestContext) -> ApiVersionsResponse {
    let api_keys = api_keys(context.is_for_controllers);
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), api_keys, ..Default::default() }
}

fn api_keys(for_controllers: bool) -> Vec<ApiVersion> {
    let offered = if for_controllers { OFFERED_TO_CONTROLLERS } else { OFFERED };
    offered
        .iter()
        .map(|(key, versions)| ApiVersion {
            api_key: *key as i16,
            // KAFKA-18659: librdkafka before 2.11 takes a Produce minimum above 0 for a broker that cannot do snappy and
            // gzip; Kafka 4 therefore advertises version 0 and refuses it, and so does this broker.
            min_version: if *key == ApiKey::Produce { 0 } else { versions.min },
            max_version: versions.max,
            ..Default::default()
        })
        .collect()
}

/// Kafka's rule for the name and the version of a client's software (`[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`).
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_rule() {
        for good in ["apache-kafka-java", "4.3.1", "a", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "."] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }

    #[test]
    fn produce_is_advertised_from_zero() {
        assert!(api_keys(false).iter().all(|api| api.api_key != 0 || api.min_version == 0));
    }
}
