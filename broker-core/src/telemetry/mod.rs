//! The metrics that clients send to the broker (KIP-714): who is asked for what, who may send when, and what came.
//!
//! An operator subscribes to metrics by settings of client-metrics resources. A client asks for its subscription, and
//! then pushes, in OpenTelemetry's form, what the subscription names. What came is kept for a while for the program that
//! embeds the broker ([`crate::BrokerHandle::pushed_telemetry`]), and told to the log.

mod machine;
mod subscription;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{Compression, Decompressor};
use uuid::Uuid;

pub(crate) use machine::{Granted, Push};
pub(crate) use subscription::ClientInfo;

use crate::BrokerState;
use crate::locks::lock;
use machine::Machine;
use subscription::Subscription;

/// How much larger than a push what is in it may be.
const DECOMPRESSED_TIMES_MAX: usize = 16;

/// Metrics that a client pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushedTelemetry {
    /// The id that the client has for as long as it runs.
    pub client_instance_id: Uuid,
    /// The client's `client.id`.
    pub client_id: String,
    /// When they came, by the broker's clock, in milliseconds since 1970.
    pub received_ms: i64,
    /// Whether the client said that it is about to end.
    pub terminating: bool,
    /// The metrics, an uncompressed `MetricsData` of OpenTelemetry's protocol in Protobuf.
    pub metrics: Bytes,
}

/// What the broker knows of its clients' metrics.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    machine: Mutex<Machine>,
    subscriptions: Mutex<(i64, Arc<Vec<Subscription>>)>,
}

impl Telemetry {
    /// The subscription of a client, which has or gets an instance id.
    pub fn subscribe(&self, broker: &BrokerState, asked: Uuid, client: &ClientInfo) -> Result<Granted, ErrorCode> {
        let subscriptions = self.subscriptions(broker);
        let mut machine = lock(&self.machine);
        machine.subscribe(broker.clock.now_ms(), asked, client, &subscriptions, &mut BrokerState::new_id)
    }

    /// Takes what a client pushes.
    pub fn push(&self, broker: &BrokerState, push: &Push, client: &ClientInfo) -> Result<(), ErrorCode> {
        let most = usize::try_from(broker.config.telemetry_max_bytes).unwrap_or(0);
        let now_ms = broker.clock.now_ms();
        let subscriptions = self.subscriptions(broker);
        let admitted = {
            let mut machine = lock(&self.machine);
            machine.admit(now_ms, push, client, &subscriptions, most)
        };
        admitted?;
        // Without the lock: others may push meanwhile.
        let metrics = decompress(push, most.saturating_mul(DECOMPRESSED_TIMES_MAX))?;
        tracing::debug!(
            client_instance_id = %push.client_instance_id,
            client_id = %client.client_id,
            bytes = metrics.len(),
            terminating = push.terminating,
            "a client pushed its metrics"
        );
        let pushed = PushedTelemetry {
            client_instance_id: push.client_instance_id,
            client_id: client.client_id.clone(),
            received_ms: now_ms,
            terminating: push.terminating,
            metrics,
        };
        lock(&self.machine).keep(pushed);
        Ok(())
    }

    /// What was pushed lately, the oldest first.
    pub fn pushed(&self) -> Vec<PushedTelemetry> {
        lock(&self.machine).pushed()
    }

    /// The present subscriptions, with their patterns compiled once per change of the metadata.
    fn subscriptions(&self, broker: &BrokerState) -> Arc<Vec<Subscription>> {
        let image = broker.image();
        let mut known = lock(&self.subscriptions);
        if known.0 != image.next_offset() {
            *known = (image.next_offset(), Arc::new(subscription::all(&image)));
        }
        Arc::clone(&known.1)
    }
}

fn decompress(push: &Push, limit: usize) -> Result<Bytes, ErrorCode> {
    let compression = compression_of(push.compression_type).ok_or(ErrorCode::UnsupportedCompressionType)?;
    if compression == Compression::None {
        return Ok(push.metrics.clone());
    }
    let mut metrics = Vec::new();
    match Decompressor::new().decompress(compression, &push.metrics, &mut metrics, limit) {
        Ok(()) => Ok(Bytes::from(metrics)),
        Err(rkafka_protocol::records::RecordError::DecompressedTooLarge { .. }) => Err(ErrorCode::TelemetryTooLarge),
        Err(error) => {
            tracing::debug!(%error, "a client's metrics cannot be unpacked");
            Err(ErrorCode::InvalidRecord)
        }
    }
}

/// The codec of a push, where this build has it.
fn compression_of(id: i8) -> Option<Compression> {
    u8::try_from(id).ok().and_then(Compression::from_id).filter(|codec| codec.is_enabled())
}
