//! Decisions about the finalized levels of features (KIP-584).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::FeatureLevelRecord;
use rkafka_protocol::messages::update_features_request::FeatureUpdateKey;

use super::image::MetadataImage;
use super::records::MetadataRecord;
use super::{Decision, METADATA_VERSION_FEATURE as METADATA_VERSION, Refusal};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Decides about the features of one UpdateFeatures request: all of them change, or none. `supported` has name, lowest
/// and highest level of each feature that this broker knows.
pub(crate) fn update(
    image: &MetadataImage,
    node_id: i32,
    supported: &[(&str, i16, i16)],
    updates: &[FeatureUpdateKey],
) -> Decision<Result<(), Refusal>> {
    let mut records = Vec::new();
    for update in updates {
        match record_of(image, node_id, supported, update) {
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
    Decision { records, reply: Ok(()) }
}

/// The record that an update makes, `None` where nothing changes; or why it cannot be, in Kafka's words.
fn record_of(
    image: &MetadataImage,
    node_id: i32,
    supported: &[(&str, i16, i16)],
    update: &FeatureUpdateKey,
) -> Result<Option<MetadataRecord>, String> {
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
    let present = image.features().get(name).copied().unwrap_or(0);
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
    use super::*;

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
        let Decision { records, reply } = update(image, 1, SUPPORTED, &[key]);
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
        let decision = update(&image(&[]), 1, SUPPORTED, &[key("group.version", 1), key("nope", 1)]);
        assert!(decision.reply.is_err() && decision.records.is_empty());
    }
}
