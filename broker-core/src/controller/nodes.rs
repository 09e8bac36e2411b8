//! Small decisions that nodes ask for: blocks of producer ids, and the registrations of controllers.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use rkafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, ControllerRegistrationRequest,
    ControllerRegistrationResponse, ProducerIdsRecord, RegisterControllerRecord,
};

use super::view::View;
use super::{Decision, MetadataRecord};

/// How many producer ids a broker gets at a time, as in Kafka.
pub(crate) const PRODUCER_ID_BLOCK: i32 = 1000;

/// Gives a broker a block of producer ids that nobody has had and nobody else will have.
pub(crate) fn allocate_producer_ids(
    view: &View<'_>,
    request: &AllocateProducerIdsRequest,
) -> Decision<AllocateProducerIdsResponse> {
    let first = view.image.next_producer_id();
    let behind = first.checked_add(i64::from(PRODUCER_ID_BLOCK));
    let refused = match (view.check_epoch(request.broker_id, request.broker_epoch), behind) {
        (Ok(_), Some(next_producer_id)) => {
            let record = ProducerIdsRecord {
                broker_id: request.broker_id,
                broker_epoch: request.broker_epoch,
                next_producer_id,
                ..Default::default()
            };
            let reply = AllocateProducerIdsResponse {
                producer_id_start: first,
                producer_id_len: PRODUCER_ID_BLOCK,
                ..Default::default()
            };
            return Decision { records: vec![MetadataRecord::ProducerIds(record)], reply };
        }
        (Err(refusal), _) => refusal.error,
        // There are no more ids.
        (Ok(_), None) => ErrorCode::UnknownServerError,
    };
    let reply = AllocateProducerIdsResponse { error_code: refused.code(), ..Default::default() };
    Decision { records: Vec::new(), reply }
}

/// Registers a controller, so that all know where it is and which features it knows.
pub(crate) fn register_controller(request: &ControllerRegistrationRequest) -> Decision<ControllerRegistrationResponse> {
    let reply = ControllerRegistrationResponse { error_message: None, ..Default::default() };
    Decision { records: vec![controller_record(request)], reply }
}

/// The registration of a controller as a record.
pub(crate) fn controller_record(request: &ControllerRegistrationRequest) -> MetadataRecord {
    let endpoints = request.listeners.iter().map(|listener| ControllerEndpoint {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
        security_protocol: listener.security_protocol,
        ..Default::default()
    });
    let features = request.features.iter().map(|feature| ControllerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
        ..Default::default()
    });
    MetadataRecord::RegisterController(RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        end_points: endpoints.collect(),
        features: features.collect(),
        ..Default::default()
    })
}
