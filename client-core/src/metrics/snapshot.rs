//! What the metrics say at one moment.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use super::spec::{ClientKind, Spec};

/// Names and values of tags, in the order in which they were given.
pub(super) type Tags = Vec<(&'static str, Arc<str>)>;

/// One metric with its value.
#[derive(Debug, Clone)]
pub struct Metric {
    spec: &'static Spec,
    kind: ClientKind,
    group: Cow<'static, str>,
    tags: Arc<Tags>,
    value: f64,
}

impl Metric {
    pub(super) fn new(spec: &'static Spec, kind: ClientKind, tags: Arc<Tags>, value: f64) -> Self {
        Self { spec, kind, group: spec.group(kind), tags, value }
    }

    /// The name, such as `record-send-rate`.
    pub fn name(&self) -> &'static str {
        self.spec.name()
    }

    /// The group, such as `producer-metrics`.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What it means, with its unit.
    pub fn description(&self) -> &'static str {
        self.spec.description()
    }

    /// Name and value of each tag: `client-id` first, then such as `topic` or `node-id`.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.tags.iter().map(|(name, value)| (*name, &**value))
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// The value; not a number where there is nothing to say, such as the average of nothing.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// What kind of client it is of.
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// How it was declared.
    pub fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn place(&self) -> (&str, &'static str, &Tags) {
        (&self.group, self.name(), &self.tags)
    }
}

/// Metrics with their values, sorted by group, name and tags. A slice of [`Metric`] in all but name.
#[derive(Debug, Clone, Default)]
pub struct MetricsSnapshot {
    metrics: Vec<Metric>,
}

impl MetricsSnapshot {
    pub(super) fn new(mut metrics: Vec<Metric>) -> Self {
        metrics.sort_by(|one, other| one.place().cmp(&other.place()));
        Self { metrics }
    }

    /// These metrics and those of `other`.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.metrics.extend(other.metrics);
        Self::new(self.metrics)
    }

    /// The metrics of this name and group.
    pub fn select<'s>(&'s self, name: &'s str, group: &'s str) -> impl Iterator<Item = &'s Metric> {
        self.metrics.iter().filter(move |metric| metric.name() == name && metric.group() == group)
    }

    /// The metrics of this group.
    pub fn group<'s>(&'s self, group: &'s str) -> impl Iterator<Item = &'s Metric> {
        self.metrics.iter().filter(move |metric| metric.group() == group)
    }

    /// The value of the first metric of this name and group: for those that are there once.
    pub fn value(&self, name: &str, group: &str) -> Option<f64> {
        self.select(name, group).next().map(Metric::value)
    }

    /// The value of the metric of this name and group whose tag `tag` is `tagged`.
    pub fn value_of(&self, name: &str, group: &str, tag: &str, tagged: &str) -> Option<f64> {
        self.select(name, group).find(|metric| metric.tag(tag) == Some(tagged)).map(Metric::value)
    }

    /// Only the metrics that `keep` takes.
    #[must_use]
    pub fn filtered(mut self, keep: impl FnMut(&Metric) -> bool) -> Self {
        self.metrics.retain(keep);
        self
    }

    /// The metrics as a list.
    pub fn into_vec(self) -> Vec<Metric> {
        self.metrics
    }
}

impl Deref for MetricsSnapshot {
    type Target = [Metric];

    fn deref(&self) -> &[Metric] {
        &self.metrics
    }
}

impl<'s> IntoIterator for &'s MetricsSnapshot {
    type Item = &'s Metric;
    type IntoIter = std::slice::Iter<'s, Metric>;

    fn into_iter(self) -> Self::IntoIter {
        self.metrics.iter()
    }
}

impl IntoIterator for MetricsSnapshot {
    type Item = Metric;
    type IntoIter = std::vec::IntoIter<Metric>;

    fn into_iter(self) -> Self::IntoIter {
        self.metrics.into_iter()
    }
}
