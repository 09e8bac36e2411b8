//! What a broker can do.

use std::collections::{BTreeMap, HashMap};

use rkafka_protocol::messages::ApiVersionsResponse;
use rkafka_protocol::wire::{Request, VersionRange};

use crate::{Error, ErrorKind, Result};

/// The versions of each request that a broker takes, and the features that its cluster has agreed upon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerVersions {
    ranges: HashMap<i16, VersionRange>,
    features: BTreeMap<String, i16>,
}

impl BrokerVersions {
    pub(crate) fn new(response: &ApiVersionsResponse) -> Self {
        let ranges =
            response.api_keys.iter().map(|api| (api.api_key, VersionRange::new(api.min_version, api.max_version)));
        let features = response.finalized_features.iter().map(|one| (one.name.clone(), one.max_version_level));
        Self { ranges: ranges.collect(), features: features.collect() }
    }

    /// The versions that the broker takes of the request with this key; `None` where it takes none.
    pub fn range(&self, api_key: i16) -> Option<VersionRange> {
        self.ranges.get(&api_key).copied()
    }

    /// Every request that the broker takes, by its key.
    pub fn ranges(&self) -> impl Iterator<Item = (i16, VersionRange)> {
        self.ranges.iter().map(|(key, range)| (*key, *range))
    }

    /// The level of a feature that the cluster has agreed upon, such as `transaction.version` (KIP-584).
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The newest version of `R` that both sides know, at most `max`; `i16::MAX` sets no limit.
    ///
    /// # Errors
    /// There is none: [`ErrorKind::UnsupportedVersion`] with the versions of both sides.
    pub fn highest<R: Request>(&self, max: i16) -> Result<i16> {
        let ours = VersionRange::new(R::VERSIONS.min, R::VERSIONS.max.min(max));
        let key = R::KEY as i16;
        let Some(theirs) = self.range(key) else {
            // Which it is cannot be told from here: brokers that are not Kafka leave parts of it out.
            let message = format!(
                "the broker does not answer {}: it is too old for it, or does without that part of Kafka",
                R::NAME
            );
            return Err(Error::new(ErrorKind::UnsupportedVersion, message));
        };
        ours.intersect(&theirs).map(|common| common.max).ok_or_else(|| {
            let message = format!(
                "{} is wanted in a version from {} to {}, and the broker takes {} to {}",
                R::NAME,
                ours.min,
                ours.max,
                theirs.min,
                theirs.max
            );
            Error::new(ErrorKind::UnsupportedVersion, message)
        })
    }
}
