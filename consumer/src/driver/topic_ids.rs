//! Topics by their ids, where the group's coordinator takes them (version 10 of OffsetCommit and OffsetFetch, KIP-848):
//! what is said of a topic that was deleted is then never taken for one of the same name that came after it.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_client_core::Cluster;
use uuid::Uuid;

use crate::shared::{Shared, State};

/// The last version of OffsetCommit and OffsetFetch in which topics go by their names.
const LAST_VERSION_BY_NAME: i16 = 9;

/// The ids of the topics that a request is about, or none of them where one is not known: names are asked by then.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicIds(BTreeMap<String, Uuid>);

impl TopicIds {
    /// The ids of these topics: of those that are read the one that they are read by, of the others what metadata says.
    pub(crate) fn of<'a>(shared: &Shared, names: impl Iterator<Item = &'a str>) -> Self {
        let cluster = shared.client.cluster();
        Self::at(&shared.lock(), &cluster, names)
    }

    /// As [`of`](Self::of), by a state that is at hand.
    pub(crate) fn at<'a>(state: &State, cluster: &Cluster, names: impl Iterator<Item = &'a str>) -> Self {
        let names: BTreeSet<&str> = names.collect();
        let id = |name: &str| {
            let id = state.positions.topic_id(name).or_else(|| cluster.topic(name).map(|topic| topic.id));
            id.filter(|id| !id.is_nil())
        };
        let known: Option<_> = names.into_iter().map(|name| Some((name.to_owned(), id(name)?))).collect();
        Self(known.unwrap_or_default())
    }

    /// The highest version of the request that can be built.
    pub(crate) fn max_version(&self) -> i16 {
        if self.0.is_empty() { LAST_VERSION_BY_NAME } else { LAST_VERSION_BY_NAME + 1 }
    }

    /// The id of a topic; nil where it goes by its name.
    pub(crate) fn id(&self, name: &str) -> Uuid {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The name of a topic in an answer, which has the one or the other.
    pub(crate) fn name<'a>(&'a self, name: &'a str, id: Uuid) -> &'a str {
        let by_id = || self.0.iter().find(|(_, one)| **one == id).map(|(name, _)| name.as_str());
        if id.is_nil() { name } else { by_id().unwrap_or(name) }
    }
}
