//! API: UpdateFeatures (57)
//! Versions: 0-2
//! Behaviour: changes the finalized levels of features, all or none; they are in the metadata log, synced, before the
//! answer goes. Every node must know a level that is set. `kafka-features upgrade` and `downgrade` use it.
//! Deviations: every downgrade of `metadata.version` is refused, also where Kafka's would lose nothing.
//! KIPs: 584, 778, 1022

use std::sync::Arc;

use rkafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use rkafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::api_versions::FEATURES;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{Decision, View, update_features};

/// Changes levels of features.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: UpdateFeaturesRequest,
    _version: i16,
) -> Result<UpdateFeaturesResponse, HandlerError> {
    let quorum: Vec<i32> = broker.config.voters().into_iter().map(|(id, ..)| id).collect();
    let decided = broker.submit(|image| {
        let view = View::new(image, &broker.config);
        let decision = update_features(&view, FEATURES, &quorum, &request.feature_updates);
        if request.validate_only { Decision { records: Vec::new(), ..decision } } else { decision }
    });
    let refused = match decided.await {
        Ok(Ok(())) => {
            let results = request.feature_updates.into_iter();
            let results =
                results.map(|update| UpdatableFeatureResult { feature: update.feature, ..Default::default() });
            return Ok(UpdateFeaturesResponse { results: results.collect(), ..Default::default() });
        }
        Ok(Err(refusal)) => (
            refusal.error,
            format!("The update failed for all features since the following feature had an error: {}", refusal.message),
        ),
        Err(error) => {
            tracing::error!(%error, "features cannot be updated");
            (error.code(), error.to_string())
        }
    };
    Ok(UpdateFeaturesResponse { error_code: refused.0.code(), error_message: Some(refused.1), ..Default::default() })
}
