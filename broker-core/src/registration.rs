//! A broker's life as the controller sees it: it registers, is heard of, and stops in good order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::broker_registration_request::{Feature, Listener};
use rkafka_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, ControllerRegistrationRequest,
    controller_registration_request as of_controller,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::BrokerState;
use crate::broker::BrokerError;
use crate::forwarding::{ask_controller, pause};
use crate::handlers::api_versions::FEATURES;
use crate::peer::Purpose;

/// The versions in which brokers and controllers of this cluster talk.
const REGISTRATION: i16 = 4;
const CONTROLLER_REGISTRATION: i16 = 0;
const HEARTBEAT: i16 = 1;
/// The wait before a registration that was refused is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// A broker that wants to stop is let go after so long without a word of the controller.
const UNHEARD_MAX: Duration = Duration::from_secs(5);

/// What this broker says of itself when it registers.
pub(crate) fn registration(broker: &BrokerState, previous_broker_epoch: i64) -> BrokerRegistrationRequest {
    BrokerRegistrationRequest {
        broker_id: broker.config.node_id,
        cluster_id: broker.cluster_id().to_owned(),
        incarnation_id: BrokerState::new_id(),
        listeners: broker
            .endpoints
            .iter()
            .map(|endpoint| Listener {
                name: endpoint.name.to_string(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                security_protocol: 0,
                ..Default::default()
            })
            .collect(),
        features: FEATURES
            .iter()
            .map(|(name, least, most)| Feature {
                name: (*name).to_owned(),
                min_supported_version: *least,
                max_supported_version: *most,
                ..Default::default()
            })
            .collect(),
        rack: broker.config.broker_rack.clone(),
        log_dirs: broker.dirs.registered_ids(),
        previous_broker_epoch,
        ..Default::default()
    }
}

/// What this controller says of itself when it registers.
pub(crate) fn controller_registration(broker: &BrokerState) -> ControllerRegistrationRequest {
    let listeners = broker.controller_endpoints.iter().map(|endpoint| of_controller::Listener {
        name: endpoint.name.to_string(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: 0,
        ..Default::default()
    });
    let features = FEATURES.iter().map(|(name, least, most)| of_controller::Feature {
        name: (*name).to_owned(),
        min_supported_version: *least,
        max_supported_version: *most,
        ..Default::default()
    });
    ControllerRegistrationRequest {
        controller_id: broker.config.node_id,
        incarnation_id: BrokerState::new_id(),
        zk_migration_ready: false,
        listeners: listeners.collect(),
        features: features.collect(),
        ..Default::default()
    }
}

/// Registers this controller with the active one, whoever that is by then. Nothing waits for it.
pub(crate) async fn run_controller_registration(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    let request = controller_registration(&broker);
    let register = async {
        loop {
            let deadline = broker.clock.now() + broker.config.initial_broker_registration_timeout;
            let answer =
                ask_controller(&broker, Purpose::Controller, CONTROLLER_REGISTRATION, &request, deadline).await;
            match answer.map(|answer| ErrorCode::from_code(answer.error_code)) {
                Ok(ErrorCode::None) => return,
                Ok(error) => tracing::debug!(error = error.name(), "the registration of this controller is refused"),
                Err(_) => {}
            }
            pause(RETRY).await;
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = register => {}
    }
}

/// Registers with the active controller, whoever that is, and waits until the metadata of this node has got there.
///
/// # Errors
/// Nobody answered for `initial.broker.registration.timeout.ms`, or the registration cannot be taken.
pub(crate) async fn register(broker: &BrokerState, previous_broker_epoch: i64) -> Result<(), BrokerError> {
    let limit = broker.config.initial_broker_registration_timeout;
    let deadline = broker.clock.now() + limit;
    let request = registration(broker, previous_broker_epoch);
    let mut reason = "no active controller was found".to_owned();
    let mut is_duplicate = false;
    loop {
        let late = || BrokerError::Registration { limit, reason: reason.clone() };
        let answer = ask_controller(broker, Purpose::Heartbeat, REGISTRATION, &request, deadline);
        let answer = answer.await.map_err(|_| late())?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                broker.broker_epoch.store(answer.broker_epoch, Ordering::Relaxed);
                break;
            }
            // The session of an earlier start ends by itself.
            ErrorCode::DuplicateBrokerRegistration => {
                if !std::mem::replace(&mut is_duplicate, true) {
                    let id = broker.config.node_id;
                    reason = format!("another broker with node.id={id} is heard of in the cluster");
                    tracing::warn!("{reason}; this one waits until that is so no more (broker.session.timeout.ms)");
                }
            }
            // Another controller is found.
            ErrorCode::NotController | ErrorCode::RequestTimedOut => {}
            error => return Err(BrokerError::Registration { limit, reason: error.message().to_owned() }),
        }
        if broker.clock.now() >= deadline {
            return Err(BrokerError::Registration { limit, reason });
        }
        pause(RETRY).await;
    }
    // The epoch is the offset of the registration.
    let caught_up = async {
        while broker.controller.image().next_offset() <= broker.broker_epoch() {
            // What follows from it is looked at once the broker begins.
            broker.controller.next_committed().await;
        }
    };
    let reason = "the metadata did not come".to_owned();
    timeout_at(deadline, caught_up).await.map_err(|_| BrokerError::Registration { limit, reason })
}

/// Tells the active controller that this broker is there, until it stops.
pub(crate) async fn run_heartbeats(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    let interval = broker.config.broker_heartbeat_interval;
    loop {
        let is_fenced = beat(&broker, false, broker.clock.now() + interval).await.is_none_or(|it| it.is_fenced);
        if broker.fenced.send_replace(is_fenced) != is_fenced {
            tracing::info!(node_id = broker.config.node_id, is_fenced, "the controller says");
        }
        // While it is fenced it serves nobody, so it asks more often.
        let wait = if is_fenced { interval.min(RETRY) } else { interval };
        let woken = async {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                // So that what lies there is led by others soon.
                () = broker.dirs.failed.notified() => false,
            }
        };
        if timeout(wait, woken).await == Ok(true) {
            return;
        }
    }
}

/// One heartbeat; `None` where nobody answered in time, or refused.
async fn beat(broker: &BrokerState, want_shut_down: bool, deadline: Instant) -> Option<BrokerHeartbeatResponse> {
    let request = BrokerHeartbeatRequest {
        broker_id: broker.config.node_id,
        broker_epoch: broker.broker_epoch(),
        // The last record that was acted upon.
        current_metadata_offset: broker.metadata.up_to() - 1,
        want_fence: false,
        offline_log_dirs: broker.dirs.offline_ids(),
        want_shut_down,
        ..Default::default()
    };
    let answer = ask_controller(broker, Purpose::Heartbeat, HEARTBEAT, &request, deadline).await.ok()?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Some(answer),
        error => {
            tracing::warn!(error = error.name(), "the heartbeat was refused");
            None
        }
    }
}

/// Gives away what this broker leads, and waits until it may go (`controlled.shutdown`). It goes anyway where the
/// controller is not heard of.
pub(crate) async fn leave(broker: &BrokerState) {
    let mut heard = broker.clock.now();
    loop {
        let deadline = broker.clock.now() + broker.config.broker_heartbeat_interval;
        match beat(broker, true, deadline).await {
            Some(answer) if answer.should_shut_down => return,
            Some(_) => heard = broker.clock.now(),
            None => {}
        }
        if broker.clock.now().saturating_duration_since(heard) >= UNHEARD_MAX {
            tracing::warn!("no controller is there to hand over to");
            return;
        }
        pause(RETRY).await;
    }
}
