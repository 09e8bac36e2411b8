//! What is different between two images: what followers of the metadata act upon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ConfigResource, MetadataImage, PartitionImage, TopicImage};

/// A topic of which something is different.
#[derive(Debug, Clone)]
pub struct TopicChange {
    /// As it was; `None` where it is new.
    pub before: Option<Arc<TopicImage>>,
    /// As it is.
    pub after: Arc<TopicImage>,
}

impl TopicChange {
    /// The partitions that are new or different, by index.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionChange<'_>> {
        (0..).zip(&self.after.partitions).filter_map(|(index, after)| {
            let before = self.before.as_ref().and_then(|topic| topic.partition(index));
            (before != Some(after)).then_some(PartitionChange { topic: &self.after, index, before, after })
        })
    }
}

/// A partition that is new or different.
#[derive(Debug, Clone, Copy)]
pub struct PartitionChange<'a> {
    /// The topic, as it is.
    pub topic: &'a Arc<TopicImage>,
    /// The partition's index.
    pub index: i32,
    /// As it was; `None` where it is new.
    pub before: Option<&'a PartitionImage>,
    /// As it is.
    pub after: &'a PartitionImage,
}

impl PartitionChange<'_> {
    /// Whether one leads, or will, that may lack what was committed: it is in sync, and was not before.
    pub fn is_unclean_election(&self) -> bool {
        let had = |replica: &i32| {
            self.before.is_some_and(|before| before.isr.contains(replica) || before.elr.contains(replica))
        };
        self.after.recovering && !self.after.isr.iter().all(had)
    }
}

/// What is different between an image and a later one. A topic that was deleted and made anew under the same name is both
/// among the deleted ones and, without a past, among the changed ones: act on the deleted ones first.
#[derive(Debug, Clone, Default)]
pub struct ImageDelta {
    /// Topics that are there no more, by name.
    pub deleted_topics: Vec<Arc<TopicImage>>,
    /// Topics that are new or of which a partition is new or different, by name.
    pub changed_topics: Vec<TopicChange>,
    /// Resources of which a setting was changed, set or taken back.
    pub configs: Vec<(ConfigResource, String)>,
    /// Brokers that are new or registered anew, or of which something is different.
    pub changed_brokers: BTreeSet<i32>,
    /// Brokers that are there no more.
    pub removed_brokers: BTreeSet<i32>,
    /// Controllers that are new or of which something is different.
    pub changed_controllers: BTreeSet<i32>,
    /// Features whose level is different.
    pub features: BTreeSet<String>,
}

impl ImageDelta {
    /// What became different from `before` to `after`. What the two share, as an image and the next one do, costs one
    /// comparison of pointers a topic.
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> Self {
        let mut delta = Self::default();
        for (name, topic) in merge(&before.topics, &after.topics) {
            match topic {
                (Some(old), Some(new)) if old.id == new.id => {
                    if !Arc::ptr_eq(old, new) && old != new {
                        let change = TopicChange { before: Some(Arc::clone(old)), after: Arc::clone(new) };
                        delta.changed_topics.push(change);
                    }
                }
                (old, new) => {
                    delta.deleted_topics.extend(old.cloned());
                    delta.changed_topics.extend(new.map(|new| TopicChange { before: None, after: Arc::clone(new) }));
                    debug_assert!(old.or(new).is_some_and(|topic| topic.name == *name));
                }
            }
        }
        for ((resource, name), values) in merge(&before.configs, &after.configs) {
            if !same(values) {
                delta.configs.push((*resource, name.clone()));
            }
        }
        for (id, broker) in merge(&before.brokers, &after.brokers) {
            if broker.1.is_none() {
                delta.removed_brokers.insert(*id);
            } else if !same(broker) {
                delta.changed_brokers.insert(*id);
            }
        }
        for (id, controller) in merge(&before.controllers, &after.controllers) {
            if !same(controller) {
                delta.changed_controllers.insert(*id);
            }
        }
        for (name, (old, new)) in merge(&before.features, &after.features) {
            if old != new {
                delta.features.insert(name.clone());
            }
        }
        delta
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.deleted_topics.is_empty()
            && self.changed_topics.is_empty()
            && self.configs.is_empty()
            && self.changed_brokers.is_empty()
            && self.removed_brokers.is_empty()
            && self.changed_controllers.is_empty()
            && self.features.is_empty()
    }

    /// The partitions that are new or different.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionChange<'_>> {
        self.changed_topics.iter().flat_map(TopicChange::partitions)
    }
}

fn same<T: PartialEq>(values: (Option<&Arc<T>>, Option<&Arc<T>>)) -> bool {
    match values {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// The entries of two maps side by side, in the order of their keys.
fn merge<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, (Option<&'a V>, Option<&'a V>))> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let key = before.or(after).map(|(key, _)| key)?;
        Some((key, (before.map(|(_, value)| value), after.map(|(_, value)| value))))
    })
}
