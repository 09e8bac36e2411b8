//! Decisions about the finalized levels of features (KIP-584).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka_protocol::messages::{ConfigRecord, FeatureLevelRecord};

use super::image::{ConfigResource, FeatureRange};
use super::records::MetadataRecord;
use super::view::{ELR_FEATURE, MIN_ISR, View};
use super::{Decision, METADATA_VERSION_FEATURE as METADATA_VERSION, Refusal};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Decides about the features of one UpdateFeatures request: all of them change, or none. `supported` has name, lowest
/// and highest level of each feature that this controller knows, `quorum` the ids of all controllers: a level is taken
/// that every one of them knows, and every broker.
pub(crate) fn update(
    view: &View<'_>,
    supported: &[(&str, i16, i16)],
    quorum: &[i32],
    updates: &[FeatureUpdateKey],
) -> Decision<Result<(), Refusal>> {
    let mut records = Vec::new();
    for update in updates {
        match record_of(view, supported, quorum, update) {
            Ok(record) => records.extend(record),
            Err(reason) => {
                let message = format!(
                    "Invalid update version {} for feature {}. {reason}",
                    update.max_version_level, update.feature
                );
                let message = if reason.starts_with("Unsupported") { reason } else { message };
                let refusal = Refusal { error: ErrorCode::InvalidUpdateVersion, message };
                return Decision { records: Vec::new(), reply: Err(refusal) };
            }
        }
    }
    if updates.iter().any(|update| update.feature == ELR_FEATURE && update.max_version_level > 0) {
        records.splice(0..0, one_min_isr(view));
    }
    Decision { records, reply: Ok(()) }
}

/// Who may lead is decided by how many replicas must be in sync. So that all brokers mean the same by that, it is said for
/// all of them, and for none alone.
pub(crate) fn one_min_isr(view: &View<'_>) -> Vec<MetadataRecord> {
    let record = |resource_name: &str, value| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ConfigResource::Broker.number(),
            resource_name: resource_name.to_owned(),
            name: MIN_ISR.to_owned(),
            value,
            ..Default::default()
        })
    };
    let has = |name: &str| {
        view.image.configs(ConfigResource::Broker, name).is_some_and(|configs| configs.contains_key(MIN_ISR))
    };
    let of_all = (!has("")).then(|| record("", Some(view.config.min_insync_replicas.to_string())));
    let of_one = view.image.configured(ConfigResource::Broker).filter(|name| !name.is_empty() && has(name));
    of_all.into_iter().chain(of_one.map(|name| record(name, None))).collect()
}

/// Why a level cannot be had, if a node does not know it.
fn unknown_to(view: &View<'_>, quorum: &[i32], name: &str, level: i16) -> Option<String> {
    let reason = |node: String, known: Option<&FeatureRange>| {
        let FeatureRange { min, max } = known.copied().unwrap_or(FeatureRange { min: 0, max: 0 });
        // Level 0 is that of a feature that is not finalized, which every feature but the metadata's own may be.
        if (min..=max).contains(&level) || level == 0 && name != METADATA_VERSION {
            None
        } else if max == 0 {
            Some(format!("{node} does not support this feature."))
        } else {
            Some(format!("{node} only supports versions {min}-{max}"))
        }
    };
    let brokers = view.image.brokers().iter().map(|(id, broker)| (format!("Broker {id}"), broker.features.get(name)));
    let controllers = view.image.controllers().iter().filter(|(id, _)| **id != view.config.node_id);
    let controllers = controllers.map(|(id, it)| (format!("Controller {id}"), it.features.get(name)));
    let refused = brokers.chain(controllers).find_map(|(node, known)| reason(node, known));
    refused.or_else(|| {
        let silent = |id: &&i32| **id != view.config.node_id && !view.image.controllers().contains_key(*id);
        let id = quorum.iter().find(silent)?;
        Some(format!("controller {id} has not registered, and may not support this feature"))
    })
}

/// The record that an update makes, `None` where nothing changes; or why it cannot be, in Kafka's words.
fn record_of(
    view: &View<'_>,
    supported: &[(&str, i16, i16)],
    quorum: &[i32],
    update: &FeatureUpdateKey,
) -> Result<Option<MetadataRecord>, String> {
    let (image, node_id) = (view.image, view.config.node_id);
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    let kind = if update.allow_downgrade { SAFE_DOWNGRADE } else { update.upgrade_type };
    if !matches!(kind, UPGRADE | SAFE_DOWNGRADE | UNSAFE_DOWNGRADE) {
        return Err("The controller does not support the given upgrade type.".to_owned());
    }
    if level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    let Some((_, least, most)) = supported.iter().find(|(other, ..)| *other == name) else {
        return Err(format!("Local controller {node_id} does not support this feature."));
    };
    // Level 0 is that of a feature that is not finalized, which every feature but the metadata's own may be.
    if !(*least..=*most).contains(&level) && (level != 0 || name == METADATA_VERSION) {
        return Err(format!("Local controller {node_id} only supports versions {least}-{most}"));
    }
    if let Some(reason) = unknown_to(view, quorum, name, level) {
        return Err(reason);
    }
    let present = image.feature_level(name);
    if level == present {
        return Ok(None);
    }
    if level < present {
        if kind == UPGRADE {
            let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                          unsafe downgrade.";
            return Err(reason.to_owned());
        }
        if name == METADATA_VERSION {
            let reason = if kind == SAFE_DOWNGRADE {
                "Refusing to perform the requested downgrade because it might delete metadata information."
            } else {
                "Unsafe metadata downgrade is not supported in this version."
            };
            return Err(format!("Unsupported metadata.version downgrade from {present} to {level}. {reason}"));
        }
    } else if kind != UPGRADE {
        return Err("Can't downgrade to a newer version.".to_owned());
    }
    Ok(Some(MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: name.to_owned(),
        feature_level: level,
        ..Default::default()
    })))
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::messages::RegisterBrokerRecord;
    use rkafka_protocol::messages::register_broker_record::BrokerFeature;

    use super::*;
    use crate::MetadataImage;
    use crate::config::BrokerConfig;

    const SUPPORTED: &[(&str, i16, i16)] = &[("group.version", 0, 1), (METADATA_VERSION, 7, 30)];

    fn image(levels: &[(&str, i16)]) -> MetadataImage {
        let mut image = MetadataImage::default();
        for (offset, (name, level)) in (0..).zip(levels) {
            let record = FeatureLevelRecord { name: (*name).to_owned(), feature_level: *level, ..Default::default() };
            image.replay(offset, &MetadataRecord::FeatureLevel(record));
        }
        image
    }

    fn ask(image: &MetadataImage, feature: &str, level: i16, kind: i8) -> Result<usize, String> {
        let key = FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level: level,
            upgrade_type: kind,
            ..Default::default()
        };
        let config = BrokerConfig::new();
        let Decision { records, reply } = update(&View::new(image, &config), SUPPORTED, &[1], &[key]);
        reply.map(|()| records.len()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn levels_go_up_and_down_as_kafka_allows() {
        let present = image(&[("group.version", 1), (METADATA_VERSION, 29)]);
        assert_eq!(ask(&present, METADATA_VERSION, 29, UPGRADE), Ok(0));
        assert_eq!(ask(&present, METADATA_VERSION, 30, UPGRADE), Ok(1));
        assert_eq!(ask(&present, "group.version", 0, SAFE_DOWNGRADE), Ok(1));
        for (feature, level, kind, expected) in [
            ("nope", 1, UPGRADE, "Invalid update version 1 for feature nope. Local controller 1 does not support this"),
            (
                METADATA_VERSION,
                99,
                UPGRADE,
                "Invalid update version 99 for feature metadata.version. Local controller 1",
            ),
            (METADATA_VERSION, 0, SAFE_DOWNGRADE, "Invalid update version 0"),
            (METADATA_VERSION, 28, UPGRADE, "Invalid update version 28 for feature metadata.version. Can't downgrade"),
            (METADATA_VERSION, 28, SAFE_DOWNGRADE, "Unsupported metadata.version downgrade from 29 to 28. Refusing"),
            (METADATA_VERSION, 28, UNSAFE_DOWNGRADE, "Unsupported metadata.version downgrade from 29 to 28. Unsafe"),
            (METADATA_VERSION, 30, SAFE_DOWNGRADE, "Invalid update version 30"),
            ("group.version", -1, UPGRADE, "Invalid update version -1"),
            ("group.version", 0, 9, "Invalid update version 0"),
        ] {
            let refused = ask(&present, feature, level, kind).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn one_bad_feature_stops_all() {
        let key = |feature: &str, level| FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level: level,
            upgrade_type: UPGRADE,
            ..Default::default()
        };
        let (image, config) = (image(&[]), BrokerConfig::new());
        let decided = |quorum: &[i32], updates: &[_]| update(&View::new(&image, &config), SUPPORTED, quorum, updates);
        let decision = decided(&[1], &[key("group.version", 1), key("nope", 1)]);
        assert!(decision.reply.is_err() && decision.records.is_empty());
        let refused = decided(&[1, 2], &[key("group.version", 1)]).reply.unwrap_err().message;
        assert!(refused.contains("controller 2 has not registered"), "{refused}");
    }

    #[test]
    fn every_broker_must_know_the_level() {
        let mut image = image(&[]);
        let feature = BrokerFeature {
            name: METADATA_VERSION.to_owned(),
            min_supported_version: 7,
            max_supported_version: 29,
            ..Default::default()
        };
        let broker = RegisterBrokerRecord { broker_id: 5, features: vec![feature], ..Default::default() };
        image.replay(9, &MetadataRecord::RegisterBroker(broker));
        let refused = ask(&image, METADATA_VERSION, 30, UPGRADE).unwrap_err();
        assert!(refused.ends_with("Broker 5 only supports versions 7-29"), "{refused}");
        let refused = ask(&image, "group.version", 1, UPGRADE).unwrap_err();
        assert!(refused.ends_with("Broker 5 does not support this feature."), "{refused}");
        assert_eq!(ask(&image, METADATA_VERSION, 29, UPGRADE), Ok(1));
    }
}
