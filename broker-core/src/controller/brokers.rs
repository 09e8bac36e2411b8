//! Decisions about brokers as a whole: who registers, who is fenced and who leads again, who stops.

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::broker_registration_request::Feature;
use rkafka_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use rkafka_protocol::messages::{
    BrokerHeartbeatRequest, BrokerRegistrationChangeRecord, BrokerRegistrationRequest, RegisterBrokerRecord,
    UnregisterBrokerRecord,
};
use uuid::Uuid;

use super::image::{BrokerImage, PartitionImage};
use super::partition_change::{BrokerEvent, PartitionChanger, after_event};
use super::view::View;
use super::{Decision, METADATA_VERSION_FEATURE, MetadataRecord, Refusal};

const FENCE: i8 = 1;
const UNFENCE: i8 = -1;
const IN_CONTROLLED_SHUTDOWN: i8 = 1;
/// Kafka keeps the first hundred ids to itself.
const RESERVED_IDS: u128 = 100;

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

/// What a registration is judged by, besides the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registering<'a> {
    /// The cluster that this controller is of.
    pub cluster_id: &'a str,
    /// Whether the broker of this id was heard of lately, so that another one of the same id is a mistake.
    pub has_session: bool,
    /// Whether the request can prove that the broker stopped cleanly: from version 3 on.
    pub proves_clean_stop: bool,
}

/// Registers a broker, answering its epoch.
///
/// What the last start of the broker had is sorted out in the same step: its replicas are in sync no more, and where it
/// did not stop cleanly it may not lead them before it has caught up.
pub(super) fn register(
    view: &View<'_>,
    registering: Registering<'_>,
    request: &BrokerRegistrationRequest,
) -> Decision<Result<i64, Refusal>> {
    let id = request.broker_id;
    let existing = view.image.broker(id);
    if let Err(refusal) = check_registration(view, registering, request) {
        return Decision { records: Vec::new(), reply: Err(refusal) };
    }
    let same_start = existing.filter(|existing| existing.incarnation_id == request.incarnation_id);
    let epoch = same_start.map_or(view.image.next_offset(), |existing| existing.epoch);
    let mut records = vec![MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_epoch: epoch,
        fenced: same_start.is_none_or(|existing| existing.fenced),
        in_controlled_shutdown: same_start.is_some_and(|existing| existing.in_controlled_shutdown),
        ..registration_record(request)
    })];
    if same_start.is_none() {
        let clean =
            registering.proves_clean_stop && existing.is_some_and(|known| known.epoch == request.previous_broker_epoch);
        records.extend(after_stop(view, id, clean));
    }
    Decision { records, reply: Ok(epoch) }
}

/// A registration as a record, without an epoch, and not fenced.
pub(crate) fn registration_record(request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: request.listeners.iter().map(endpoint).collect(),
        features: request.features.iter().map(feature).collect(),
        rack: request.rack.clone(),
        fenced: false,
        log_dirs: request.log_dirs.clone(),
        ..Default::default()
    }
}

fn check_registration(
    view: &View<'_>,
    registering: Registering<'_>,
    request: &BrokerRegistrationRequest,
) -> Result<(), Refusal> {
    if request.cluster_id != registering.cluster_id {
        let (expected, got) = (registering.cluster_id, &request.cluster_id);
        let message = format!("Expected cluster ID {expected}, but got cluster ID {got}");
        return refuse(ErrorCode::InconsistentClusterId, message);
    }
    let existing = view.image.broker(request.broker_id);
    let another = existing.is_some_and(|existing| existing.incarnation_id != request.incarnation_id);
    if another && registering.has_session {
        let message = "Another broker is registered with that broker id. If the broker was recently restarted this \
                       should self-resolve once the heartbeat manager expires the broker's session.";
        return refuse(ErrorCode::DuplicateBrokerRegistration, message);
    }
    if request.is_migrating_zk_broker {
        let message = "Controller does not support registering ZK brokers.";
        return refuse(ErrorCode::BrokerIdNotRegistered, message);
    }
    check_directories(view, request)?;
    check_features(view, request)
}

fn check_directories(view: &View<'_>, request: &BrokerRegistrationRequest) -> Result<(), Refusal> {
    let invalid = |message: String| refuse(ErrorCode::InvalidRegistration, message);
    if request.log_dirs.is_empty() {
        return invalid("No directories specified in request".to_owned());
    }
    if request.log_dirs.iter().any(|directory| directory.as_u128() < RESERVED_IDS) {
        return invalid("Reserved directory ID in request".to_owned());
    }
    let distinct: BTreeSet<Uuid> = request.log_dirs.iter().copied().collect();
    if distinct.len() != request.log_dirs.len() {
        return invalid("Duplicate directory ID in request".to_owned());
    }
    for (id, broker) in view.image.brokers() {
        if *id != request.broker_id
            && let Some(taken) = broker.log_dirs.iter().find(|directory| distinct.contains(directory))
        {
            return invalid(format!("Broker {id} is already registered with directory {taken}"));
        }
    }
    Ok(())
}

fn check_features(view: &View<'_>, request: &BrokerRegistrationRequest) -> Result<(), Refusal> {
    let told = |name: &str| request.features.iter().find(|feature| feature.name == name);
    if told(METADATA_VERSION_FEATURE).is_none() {
        return refuse(ErrorCode::InvalidRegistration, "Request features do not contain 'metadata.version'");
    }
    let finalized = view.image.features().iter().map(|(name, level)| (name.as_str(), *level));
    let others =
        request.features.iter().map(|feature| (feature.name.as_str(), view.image.feature_level(&feature.name)));
    for (name, level) in finalized.chain(others) {
        let (min, max) = told(name).map_or((0, 0), |it| (it.min_supported_version, it.max_supported_version));
        if !(min..=max).contains(&level) {
            return refuse(
                ErrorCode::UnsupportedVersion,
                format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The \
                     broker wants a version between {min} and {max}, inclusive."
                ),
            );
        }
    }
    Ok(())
}

fn endpoint(listener: &rkafka_protocol::messages::broker_registration_request::Listener) -> BrokerEndpoint {
    BrokerEndpoint {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
        security_protocol: listener.security_protocol,
        ..Default::default()
    }
}

fn feature(feature: &Feature) -> BrokerFeature {
    BrokerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
        ..Default::default()
    }
}

/// What becomes of the partitions of a broker that has stopped.
fn after_stop(view: &View<'_>, broker: i32, clean: bool) -> Vec<MetadataRecord> {
    if view.has_elr() && !clean {
        let event = BrokerEvent { unclean: Some(broker), ..BrokerEvent::default() };
        return after_event(view, event, |it| it.isr.contains(&broker) || it.elr.contains(&broker));
    }
    without(view, broker)
}

/// A broker is in sync no more.
fn without(view: &View<'_>, broker: i32) -> Vec<MetadataRecord> {
    let event = BrokerEvent { gone: Some(broker), ..BrokerEvent::default() };
    after_event(view, event, |partition| partition.isr.contains(&broker))
}

fn change(broker_id: i32, broker: &BrokerImage) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord { broker_id, broker_epoch: broker.epoch, ..Default::default() }
}

/// Fences a broker: it may neither lead nor be in sync.
pub(super) fn fence(view: &View<'_>, id: i32) -> Vec<MetadataRecord> {
    let Some(broker) = view.image.broker(id) else { return Vec::new() };
    let mut records = without(view, id);
    records.push(MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        fenced: FENCE,
        ..change(id, broker)
    }));
    records
}

/// Lets a broker lead and be in sync. What has no leader gets one at once, where the broker can be it.
pub(super) fn unfence(view: &View<'_>, id: i32) -> Vec<MetadataRecord> {
    let Some(broker) = view.image.broker(id) else { return Vec::new() };
    let record = BrokerRegistrationChangeRecord { fenced: UNFENCE, ..change(id, broker) };
    let event = BrokerEvent { joining: Some(id), ..BrokerEvent::default() };
    let mut records = vec![MetadataRecord::BrokerRegistrationChange(record)];
    records.extend(after_event(view, event, |partition| !partition.has_leader()));
    records
}

/// Moves what a broker leads to others, for it wants to stop.
pub(super) fn begin_shutdown(view: &View<'_>, id: i32) -> Vec<MetadataRecord> {
    let Some(broker) = view.image.broker(id) else { return Vec::new() };
    let mut records = Vec::new();
    if !broker.in_controlled_shutdown {
        let in_controlled_shutdown = IN_CONTROLLED_SHUTDOWN;
        let record = BrokerRegistrationChangeRecord { in_controlled_shutdown, ..change(id, broker) };
        records.push(MetadataRecord::BrokerRegistrationChange(record));
    }
    records.extend(without(view, id));
    records
}

/// Whether a broker leads anything.
pub(super) fn leads(view: &View<'_>, id: i32) -> bool {
    view.partitions().any(|(_, _, partition)| partition.leader == id)
}

/// What a heartbeat says of the broker's directories: some are lost, some take no new replicas.
pub(super) fn told_of_directories(view: &View<'_>, request: &BrokerHeartbeatRequest) -> Vec<MetadataRecord> {
    let id = request.broker_id;
    let Some(broker) = view.image.broker(id) else { return Vec::new() };
    let mut records = Vec::new();
    let is_lost = |directory: &Uuid| request.offline_log_dirs.contains(directory);
    if broker.log_dirs.iter().any(is_lost) {
        let event = BrokerEvent { gone: Some(id), ..BrokerEvent::default() };
        let lies_there = |partition: &PartitionImage| partition.directory_of(id).is_some_and(|it| is_lost(&it));
        records.extend(after_event(view, event, |partition| partition.isr.contains(&id) && lies_there(partition)));
        let left = broker.log_dirs.iter().filter(|directory| !is_lost(directory)).copied().collect();
        let record = BrokerRegistrationChangeRecord { log_dirs: left, ..change(id, broker) };
        records.push(MetadataRecord::BrokerRegistrationChange(record));
    }
    if request.cordoned_log_dirs.is_some() && request.cordoned_log_dirs != broker.cordoned_log_dirs {
        let cordoned_log_dirs = request.cordoned_log_dirs.clone();
        let record = BrokerRegistrationChangeRecord { cordoned_log_dirs, ..change(id, broker) };
        records.push(MetadataRecord::BrokerRegistrationChange(record));
    }
    records
}

/// Forgets a broker. What it led is led by others from then on.
pub(crate) fn unregister(view: &View<'_>, id: i32) -> Decision<Result<(), Refusal>> {
    let Some(broker) = view.image.broker(id) else {
        let message = format!("Broker ID {id} is not currently registered");
        return Decision { records: Vec::new(), reply: refuse(ErrorCode::BrokerIdNotRegistered, message) };
    };
    let mut records = without(view, id);
    records.push(MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
        broker_id: id,
        broker_epoch: broker.epoch,
        ..Default::default()
    }));
    Decision { records, reply: Ok(()) }
}

/// Notes in which of its directories a broker has a replica; one that is lost takes the replica out of the in-sync ones.
pub(super) fn assign(changer: &mut PartitionChanger<'_>, broker: i32, directory: Uuid, is_online: bool) {
    changer.assigned = Some((broker, directory));
    if !is_online {
        changer.isr.retain(|replica| *replica != broker);
        changer.gone = Some(broker);
    }
}
