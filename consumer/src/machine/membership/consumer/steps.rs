//! What the member does with partitions: what it gives up and begins with, one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::{ConsumerMember, State};
use crate::machine::membership::terms::Action;
use crate::subscription::TopicPartition;

/// What is being done with partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    None,
    /// The hook is to be called, or runs, for what goes.
    Revoking {
        places: BTreeSet<(Uuid, i32)>,
        lost: bool,
        begun: bool,
    },
    /// The hook is to be called, or runs, for what comes.
    Installing {
        places: BTreeMap<(Uuid, i32), TopicPartition>,
        begun: bool,
    },
}

impl ConsumerMember {
    /// Decides the next step with partitions, where none is under way.
    pub(super) fn advance(&mut self) {
        if self.step != Step::None {
            return;
        }
        if self.owned.is_empty() {
            self.is_void = false;
        }
        let gives_up_all = self.is_void || self.closing.is_some() || self.state == State::Failed;
        if gives_up_all {
            if !self.owned.is_empty() {
                let lost = self.is_void || self.state != State::Joined;
                self.step = Step::Revoking { places: self.owned.keys().copied().collect(), lost, begun: false };
            }
            return;
        }
        if self.state != State::Joined {
            return;
        }
        let Some(target) = &self.target else { return };
        let gone: BTreeSet<_> = self.owned.keys().filter(|place| !target.contains(place)).copied().collect();
        if !gone.is_empty() {
            self.step = Step::Revoking { places: gone, lost: false, begun: false };
            return;
        }
        let new = target.iter().filter(|place| !self.owned.contains_key(place));
        let places: BTreeMap<_, _> = new
            .filter_map(|(id, partition)| {
                let name = self.names.get(id)?;
                Some(((*id, *partition), TopicPartition { topic: Arc::clone(name), partition: *partition }))
            })
            .collect();
        if !places.is_empty() {
            self.step = Step::Installing { places, begun: false };
        }
    }

    pub(super) fn begin_step(&mut self) -> Option<Action> {
        match &mut self.step {
            Step::Revoking { places, lost, begun } if !*begun => {
                *begun = true;
                let partitions = places.iter().filter_map(|place| self.owned.get(place).cloned()).collect();
                Some(Action::Revoke { partitions, lost: *lost })
            }
            Step::Installing { places, begun } if !*begun => {
                *begun = true;
                let added = places.values().cloned().collect();
                Some(Action::Install { generation: self.epoch, added, is_leader: false })
            }
            _ => None,
        }
    }

    /// Has the names of assigned topics looked for that are not known.
    pub(super) fn resolve(&mut self, now: Instant) -> Option<Action> {
        if self.resolving || self.resolve_after.is_some_and(|at| now < at) {
            return None;
        }
        self.resolve_after = None;
        let unknown: BTreeSet<Uuid> =
            self.target.iter().flatten().map(|(id, _)| *id).filter(|id| !self.names.contains_key(id)).collect();
        if unknown.is_empty() {
            return None;
        }
        self.resolving = true;
        Some(Action::Resolve(unknown.into_iter().collect()))
    }

    /// The names of topics that were asked for, those that are known; the others are asked for again after a backoff.
    pub(crate) fn on_names(&mut self, now: Instant, names: Vec<(Uuid, Arc<str>)>) {
        self.resolving = false;
        self.names.extend(names);
        let all_known = self.target.iter().flatten().all(|(id, _)| self.names.contains_key(id));
        self.resolve_after = (!all_known).then(|| now + self.config.retry_backoff);
    }

    /// What was to be given up is.
    pub(crate) fn on_revoked(&mut self) {
        if let Step::Revoking { places, .. } = std::mem::replace(&mut self.step, Step::None) {
            places.iter().for_each(|place| drop(self.owned.remove(place)));
        }
    }

    /// What was to be begun with is.
    pub(crate) fn on_installed(&mut self) {
        if let Step::Installing { places, .. } = std::mem::replace(&mut self.step, Step::None) {
            self.owned.extend(places);
        }
    }

    /// What is being begun with.
    #[cfg(test)]
    pub(crate) fn beginning_with(&self) -> impl Iterator<Item = (&(Uuid, i32), &TopicPartition)> {
        match &self.step {
            Step::Installing { places, .. } => Some(places),
            _ => None,
        }
        .into_iter()
        .flatten()
    }
}
