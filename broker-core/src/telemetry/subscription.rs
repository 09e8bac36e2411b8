//! Subscriptions to the metrics of clients, as the metadata has them, and which clients they are for.

use std::collections::BTreeSet;

use regex::Regex;
use uuid::Uuid;

use crate::controller::client_metrics_config::{INTERVAL, INTERVAL_DEFAULT_MS, MATCH, METRICS, MatchKey, parse_match};
use crate::controller::{ConfigResource, MetadataImage};
use crate::log::checkpoints::uuid_to_base64;

/// What a client is matched by, besides its instance id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientInfo {
    pub client_id: String,
    pub software_name: String,
    pub software_version: String,
    /// Without a slash before it, as operators write it.
    pub source_address: String,
    pub source_port: u16,
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    metrics: Vec<String>,
    interval_ms: i32,
    patterns: Vec<(MatchKey, Regex)>,
}

/// All subscriptions together, for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Combined {
    /// Differs when anything else here does.
    pub id: i32,
    pub interval_ms: i32,
    /// The beginnings of the names; one empty one asks for all, none for nothing.
    pub metrics: Vec<String>,
}

/// The subscriptions of the image. One whose patterns are none is passed over: it was checked when it was set.
pub(super) fn all(image: &MetadataImage) -> Vec<Subscription> {
    let read = |name: &str| {
        let set = image.configs(ConfigResource::ClientMetrics, name)?;
        let text = |key: &str| set.get(key).map(String::as_str).unwrap_or_default();
        let metrics = text(METRICS).split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(Subscription {
            metrics: metrics.map(str::to_owned).collect(),
            interval_ms: text(INTERVAL).trim().parse().unwrap_or(INTERVAL_DEFAULT_MS),
            patterns: parse_match(text(MATCH)).ok()?,
        })
    };
    image.configured(ConfigResource::ClientMetrics).filter_map(read).collect()
}

/// What the subscriptions that are for this client ask of it.
pub(super) fn combined(subscriptions: &[Subscription], instance: Uuid, client: &ClientInfo) -> Combined {
    let matching = subscriptions.iter().filter(|subscription| {
        // A subscription without metrics asks for nothing, and not even how often.
        !subscription.metrics.is_empty()
            && subscription.patterns.iter().all(|(key, pattern)| pattern.is_match(&attribute(*key, instance, client)))
    });
    let mut metrics: BTreeSet<&str> = BTreeSet::new();
    let mut interval_ms = None;
    for subscription in matching {
        metrics.extend(subscription.metrics.iter().map(String::as_str));
        interval_ms =
            Some(interval_ms.map_or(subscription.interval_ms, |least: i32| least.min(subscription.interval_ms)));
    }
    let metrics: Vec<String> =
        if metrics.contains("*") { vec![String::new()] } else { metrics.into_iter().map(str::to_owned).collect() };
    let interval_ms = interval_ms.unwrap_or(INTERVAL_DEFAULT_MS);
    let checksum = crc32c::crc32c(format!("{interval_ms} {metrics:?}").as_bytes());
    Combined { id: checksum as i32, interval_ms, metrics }
}

fn attribute(key: MatchKey, instance: Uuid, client: &ClientInfo) -> String {
    match key {
        MatchKey::InstanceId => uuid_to_base64(instance),
        MatchKey::ClientId => client.client_id.clone(),
        MatchKey::SoftwareName => client.software_name.clone(),
        MatchKey::SoftwareVersion => client.software_version.clone(),
        MatchKey::SourceAddress => client.source_address.clone(),
        MatchKey::SourcePort => client.source_port.to_string(),
    }
}
