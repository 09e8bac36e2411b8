//! What a broker asks of the active controller: requests of clients that only it can answer (KIP-590), and its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rkafka_net::HostPort;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{DefaultPrincipalData, EnvelopeRequest};
use rkafka_protocol::wire::{Request, Writer, encode_to_vec};
use tokio::time::{Instant, timeout_at};

use crate::controller::Controller;
use crate::handlers::RequestContext;
use crate::peer::{Peer, PeerClient, PeerDirectory, PeerError, Purpose};
use crate::{BrokerConfig, BrokerState};

/// How long the active controller is looked for, and asked: Kafka's `request.timeout.ms` of brokers.
const WITHIN: Duration = Duration::from_secs(30);
/// The wait between two attempts.
const BACKOFF: Duration = Duration::from_millis(50);

/// Hands a client's request on to the active controller, which may be another one in a moment. `None` where none answered
/// in time.
pub(crate) async fn forward(broker: &BrokerState, context: &RequestContext, frame: Bytes) -> Option<Writer> {
    let address = context.client_host.trim_start_matches('/').parse::<IpAddr>();
    let address = match address {
        Ok(IpAddr::V4(address)) => address.octets().to_vec(),
        Ok(IpAddr::V6(address)) => address.octets().to_vec(),
        Err(_) => vec![127, 0, 0, 1],
    };
    let request = EnvelopeRequest {
        request_data: frame,
        request_principal: Some(anonymous()),
        client_host_address: address.into(),
        ..Default::default()
    };
    let deadline = broker.clock.now() + WITHIN;
    loop {
        match ask_controller(broker, Purpose::Forwarding, 0, &request, deadline).await {
            Ok(answer) if answer.error_code == 0 => {
                let data = answer.response_data?;
                let mut writer = Writer::new();
                writer.begin_frame();
                writer.raw(&data);
                return writer.end_frame().is_ok().then_some(writer);
            }
            Ok(answer) if answer.error_code == ErrorCode::NotController.code() => {}
            Ok(answer) => {
                let error = ErrorCode::from_code(answer.error_code);
                tracing::warn!(error = error.name(), "the active controller refused a forwarded request");
                return None;
            }
            Err(NoController) => return None,
        }
        pause(BACKOFF).await;
    }
}

/// Kafka's form of a client that did not authenticate: the version, then the message.
fn anonymous() -> Bytes {
    let principal =
        DefaultPrincipalData { r#type: "User".to_owned(), name: "ANONYMOUS".to_owned(), ..Default::default() };
    let mut bytes = 0i16.to_be_bytes().to_vec();
    // It has no field that cannot be written.
    bytes.extend(encode_to_vec(&principal, 0).unwrap_or_default());
    bytes.into()
}

/// No controller answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoController;

/// Asks the active controller, whoever that is by then. An answer may be that it is none.
///
/// Cancel safe in that nothing of this node is left half done.
pub(crate) async fn ask_controller<R: Request>(
    broker: &BrokerState,
    purpose: Purpose,
    version: i16,
    request: &R,
    deadline: Instant,
) -> Result<R::Response, NoController> {
    let mut leader = broker.controller.leader();
    loop {
        let known = timeout_at(deadline, leader.wait_for(|known| known.leader_id.is_some())).await;
        let known = known.ok().and_then(|known| known.ok().and_then(|known| known.leader_id));
        let node_id = known.ok_or(NoController)?;
        let now = broker.clock.now();
        let within = deadline.saturating_duration_since(now);
        if within.is_zero() {
            return Err(NoController);
        }
        let peers: &dyn PeerClient = &*broker.peers;
        match peers.call(Peer::new(node_id, purpose), version, request, within).await {
            Ok(answer) => return Ok(answer),
            Err(error @ (PeerError::Decode { .. } | PeerError::Encode { .. })) => {
                tracing::error!(%error, "the active controller cannot be asked");
                return Err(NoController);
            }
            Err(error) => tracing::debug!(%error, "the active controller does not answer"),
        }
        pause(BACKOFF).await;
    }
}

/// Where other nodes are: controllers by the settings, brokers by the metadata.
#[derive(Debug)]
pub(crate) struct Nodes {
    controllers: Vec<(i32, HostPort)>,
    /// The listener that brokers use among themselves.
    listener: String,
    controller: Arc<Controller>,
}

impl Nodes {
    pub fn new(config: &BrokerConfig, listener: &str, controller: Arc<Controller>) -> Self {
        let controllers = config.voters().into_iter().map(|(id, host, port)| (id, HostPort::new(host, port))).collect();
        Self { controllers, listener: listener.to_owned(), controller }
    }
}

impl PeerDirectory for Nodes {
    fn address(&self, peer: Peer) -> Option<HostPort> {
        if peer.purpose.is_for_controllers() {
            return self.controllers.iter().find(|(id, _)| *id == peer.node_id).map(|(_, address)| address.clone());
        }
        let image = self.controller.image();
        let broker = image.broker(peer.node_id)?;
        let found = broker.endpoints.iter().find(|endpoint| endpoint.name == self.listener);
        found.map(|endpoint| HostPort::new(endpoint.host.clone(), endpoint.port))
    }
}

/// Waits between two attempts.
#[expect(clippy::disallowed_methods, reason = "a driver that asks again")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
