//! A coordinator of KIP-848 in a few lines, for tests of groups of machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rkafka_assignor::{Assignor, Member, TopicPartitions, Uniform};
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::ownership_tests::{Answer, Life, PARTITIONS, by_id};
use super::terms::{Action, Beat, BeatAnswer, Failure};

/// The one topic.
pub(super) const TOPIC: Uuid = Uuid::from_u128(7);

#[derive(Debug, Default)]
struct Entry {
    life: Life,
    epoch: i32,
    previous_epoch: i32,
    /// What it may have.
    assigned: BTreeSet<i32>,
    /// What it has to give up, and has not said that it did.
    revoking: BTreeSet<i32>,
}

/// The coordinator.
#[derive(Debug, Default)]
pub(super) struct ConsumerCoordinator {
    epoch: i32,
    members: BTreeMap<String, Entry>,
    target: BTreeMap<String, BTreeSet<i32>>,
    /// What goes out.
    pub(super) answers: Vec<(Life, Answer)>,
    /// Whom it took for gone.
    pub(super) dropped: Vec<Life>,
}

impl ConsumerCoordinator {
    pub(super) fn request(&mut self, life: Life, action: Action) {
        match action {
            Action::Beat(beat) => {
                let epoch = beat.epoch;
                let answer = self.beat(life, beat).map_err(Failure::refused);
                self.answers.push((life, Answer::Beat(epoch, answer)));
            }
            Action::Leave { member_id, .. } => {
                self.remove(&member_id);
                self.answers.push((life, Answer::Left(Ok(()))));
            }
            _ => {}
        }
    }

    fn beat(&mut self, life: Life, beat: Beat) -> Result<BeatAnswer, ErrorCode> {
        let told: Option<BTreeSet<i32>> = beat.owned.map(|owned| owned.into_values().flatten().collect());
        if beat.epoch == 0 {
            self.members.insert(beat.member_id.clone(), Entry { life, ..Entry::default() });
            self.share_out();
        }
        let held: BTreeSet<i32> = self
            .members
            .iter()
            .filter(|(id, _)| **id != beat.member_id)
            .flat_map(|(_, entry)| entry.assigned.union(&entry.revoking).copied().collect::<Vec<_>>())
            .collect();
        let entry = self.members.get_mut(&beat.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let is_retried =
            beat.epoch == entry.previous_epoch && told.as_ref().is_some_and(|told| told.is_subset(&entry.assigned));
        if beat.epoch != 0 && beat.epoch != entry.epoch && !is_retried {
            return Err(ErrorCode::FencedMemberEpoch);
        }
        let before = entry.assigned.clone();
        let target = self.target.get(&beat.member_id).cloned().unwrap_or_default();
        // As Kafka's: what the member does not say it has is free at once.
        let has_any = |of: &BTreeSet<i32>| told.as_ref().is_none_or(|told| !told.is_disjoint(of));
        if !has_any(&entry.revoking) {
            entry.revoking.clear();
        }
        if entry.revoking.is_empty() {
            let gone: BTreeSet<i32> = entry.assigned.difference(&target).copied().collect();
            if gone.is_empty() || !has_any(&gone) {
                entry.assigned.retain(|partition| target.contains(partition));
                entry.assigned.extend(target.difference(&held));
                if entry.epoch != self.epoch {
                    (entry.previous_epoch, entry.epoch) = (entry.epoch, self.epoch);
                }
            } else {
                entry.assigned.retain(|partition| target.contains(partition));
                entry.revoking = gone;
            }
        }
        let is_news = beat.full || entry.assigned != before;
        Ok(BeatAnswer {
            member_id: Some(beat.member_id),
            epoch: entry.epoch,
            interval: Duration::from_secs(1),
            assignment: is_news.then(|| by_id(&entry.assigned)),
        })
    }

    fn share_out(&mut self) {
        self.epoch += 1;
        let members: Vec<Member> = self
            .members
            .keys()
            .map(|id| {
                let owned = self.target.get(id).into_iter().flatten().map(|partition| ("t".to_owned(), *partition));
                Member::new(id.clone(), ["t"]).with_owned(owned.collect(), Some(1))
            })
            .collect();
        let shared = Uniform.assign(&members, &TopicPartitions::from([("t", PARTITIONS)])).unwrap();
        let shares = shared.into_map().into_iter();
        self.target =
            shares.map(|(id, places)| (id, places.into_iter().map(|(_, partition)| partition).collect())).collect();
    }

    fn remove(&mut self, member_id: &str) {
        if let Some(entry) = self.members.remove(member_id) {
            self.dropped.push(entry.life);
            self.share_out();
        }
    }

    /// Drops one of those who are not spared.
    pub(super) fn expire(&mut self, pick: usize, spared: &[Life]) {
        let candidates: Vec<String> =
            self.members.iter().filter(|(_, entry)| !spared.contains(&entry.life)).map(|(id, _)| id.clone()).collect();
        if !candidates.is_empty() {
            self.remove(&candidates[pick % candidates.len()]);
        }
    }
}
