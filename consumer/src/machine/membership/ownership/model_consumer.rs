//! A coordinator of KIP-848 in a few lines. It does what that of Kafka 4.3 does (`GroupMetadataManager`,
//! `CurrentAssignmentBuilder`), at once where that waits for a timer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rkafka_assignor::{Assignor, Member, TopicPartitions, Uniform};
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::network::Answer;
use super::people::{Life, Place, Topics};
use crate::machine::membership::terms::{Action, Beat, BeatAnswer, Failure};

/// The member epoch of a static member that will be back.
const AWAY: i32 = -2;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Stable,
    Unrevoked,
    Unreleased,
}

#[derive(Debug, Default, Clone)]
struct Entry {
    life: Life,
    instance: Option<String>,
    topics: BTreeSet<String>,
    epoch: i32,
    previous_epoch: i32,
    state: State,
    /// What it may have, and since which epoch.
    assigned: BTreeMap<Place, i32>,
    /// What it has to give up, and has not said that it did.
    revoking: BTreeMap<Place, i32>,
}

/// The coordinator.
#[derive(Debug, Default)]
pub(super) struct ConsumerCoordinator {
    epoch: i32,
    seen: Topics,
    members: BTreeMap<String, Entry>,
    target: BTreeMap<String, BTreeSet<Place>>,
    /// What goes out.
    pub(super) answers: Vec<(Life, Answer)>,
    /// Whom it took for gone.
    pub(super) dropped: Vec<Life>,
}

impl ConsumerCoordinator {
    pub(super) fn request(&mut self, life: Life, instance: Option<&str>, action: Action, topics: &Topics) {
        match action {
            Action::Beat(beat) => {
                let epoch = beat.epoch;
                let answer = self.beat(life, instance, beat, topics).map_err(Failure::refused);
                self.answers.push((life, Answer::Beat(epoch, answer)));
            }
            Action::Leave { member_id, epoch, .. } => {
                let answer = self.leave(&member_id, instance, epoch).map_err(Failure::refused);
                self.answers.push((life, Answer::Left(answer)));
            }
            _ => {}
        }
    }

    /// Who has the place of this instance.
    pub(super) fn holder(&self, instance: &str) -> Option<Life> {
        self.static_member(instance).map(|id| self.members[&id].life)
    }

    fn static_member(&self, instance: &str) -> Option<String> {
        let of_instance = |entry: &Entry| entry.instance.as_deref() == Some(instance);
        self.members.iter().find(|(_, entry)| of_instance(entry)).map(|(id, _)| id.clone())
    }

    fn check_static(&self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        let Some(instance) = instance else {
            return if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        match self.static_member(instance) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(id) if id != member_id => Err(ErrorCode::FencedInstanceId),
            Some(_) => Ok(()),
        }
    }

    fn join(&mut self, life: Life, instance: Option<&str>, member_id: &str) -> Result<(), ErrorCode> {
        let old = instance.and_then(|instance| self.static_member(instance));
        let Some(old) = old else {
            let entry = Entry { life, instance: instance.map(str::to_owned), ..Entry::default() };
            self.members.entry(member_id.to_owned()).or_insert(entry);
            return Ok(());
        };
        if self.members[&old].epoch != AWAY {
            return Err(ErrorCode::UnreleasedInstanceId);
        }
        let entry = self.members.remove(&old).unwrap();
        if entry.life != life {
            self.dropped.push(entry.life);
        }
        let target = self.target.remove(&old).unwrap_or_default();
        self.target.insert(member_id.to_owned(), target);
        self.members.insert(member_id.to_owned(), Entry { life, epoch: 0, previous_epoch: 0, ..entry });
        Ok(())
    }

    fn leave(&mut self, member_id: &str, instance: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        self.check_static(member_id, instance)?;
        if epoch != AWAY {
            self.remove(member_id);
            return Ok(());
        }
        let entry = self.members.get_mut(member_id).unwrap();
        entry.epoch = AWAY;
        entry.revoking.clear();
        // What it still has, it has not by right.
        self.dropped.push(entry.life);
        Ok(())
    }

    fn beat(
        &mut self,
        life: Life,
        instance: Option<&str>,
        beat: Beat,
        topics: &Topics,
    ) -> Result<BeatAnswer, ErrorCode> {
        let id = beat.member_id.clone();
        let owned = beat.owned.as_ref().map(|owned| {
            let places = owned.iter().flat_map(|(topic, of)| of.iter().map(|partition| (*topic, *partition)));
            places.collect::<BTreeSet<Place>>()
        });
        if beat.epoch == 0 {
            assert_eq!(owned, Some(BTreeSet::new()), "who joins owns nothing");
            self.join(life, instance, &id)?;
        } else {
            self.check_static(&id, instance)?;
            let entry = &self.members[&id];
            let is_subset =
                || owned.as_ref().is_some_and(|owned| owned.iter().all(|place| entry.assigned.contains_key(place)));
            let may_go_on = beat.epoch == entry.epoch || (beat.epoch == entry.previous_epoch && is_subset());
            if !may_go_on || beat.epoch > entry.epoch {
                return Err(ErrorCode::FencedMemberEpoch);
            }
        }
        let entry = self.members.get_mut(&id).unwrap();
        let mut is_new = self.seen != *topics;
        if let Some(wanted) = &beat.topics {
            let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
            is_new |= entry.topics != wanted;
            entry.topics = wanted;
        }
        let before = entry.assigned.clone();
        self.seen.clone_from(topics);
        if is_new {
            self.share_out();
        }
        let next = self.reconcile(&id, owned.as_ref());
        let is_news = beat.full || !next.assigned.keys().eq(before.keys());
        let answer = BeatAnswer {
            member_id: Some(id.clone()),
            epoch: next.epoch,
            interval: Duration::from_secs(1),
            assignment: is_news.then(|| by_id(next.assigned.keys())),
        };
        self.members.insert(id, next);
        Ok(answer)
    }

    fn reconcile(&self, id: &str, owned: Option<&BTreeSet<Place>>) -> Entry {
        let mut entry = self.members[id].clone();
        let subscribed: BTreeSet<Uuid> =
            entry.topics.iter().filter_map(|name| self.seen.0.get(name)).map(|(id, _)| *id).collect();
        let owns_any =
            |places: &BTreeMap<Place, i32>| owned.is_none_or(|owned| owned.iter().any(|one| places.contains_key(one)));
        let stays = match entry.state {
            State::Stable => entry.epoch == self.epoch,
            State::Unrevoked => owns_any(&entry.revoking),
            State::Unreleased => false,
        };
        if stays {
            let gone: BTreeMap<Place, i32> =
                entry.assigned.iter().filter(|((id, _), _)| !subscribed.contains(id)).map(|(k, v)| (*k, *v)).collect();
            if !gone.is_empty() {
                entry.assigned.retain(|place, _| !gone.contains_key(place));
                let all: BTreeMap<Place, i32> = entry.revoking.iter().chain(&gone).map(|(k, v)| (*k, *v)).collect();
                if owns_any(&all) {
                    (entry.state, entry.revoking) = (State::Unrevoked, all);
                }
                entry.previous_epoch = entry.epoch;
            }
            return entry;
        }
        let target: BTreeSet<Place> =
            self.target.get(id).into_iter().flatten().filter(|(id, _)| subscribed.contains(id)).copied().collect();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            entry.assigned.iter().map(|(k, v)| (*k, *v)).partition(|(place, _)| target.contains(place));
        entry.assigned = kept;
        entry.previous_epoch = entry.epoch;
        if !gone.is_empty() && owns_any(&gone) {
            (entry.state, entry.revoking) = (State::Unrevoked, gone);
            return entry;
        }
        let others = self.members.iter().filter(|(other, _)| *other != id);
        let held: BTreeSet<Place> =
            others.flat_map(|(_, entry)| entry.assigned.keys().chain(entry.revoking.keys()).copied()).collect();
        for place in target.iter().filter(|place| !held.contains(place)) {
            entry.assigned.entry(*place).or_insert(self.epoch);
        }
        let has_all = target.iter().all(|place| entry.assigned.contains_key(place));
        entry.state = if has_all { State::Stable } else { State::Unreleased };
        entry.revoking.clear();
        entry.epoch = self.epoch;
        entry
    }

    fn share_out(&mut self) {
        self.epoch += 1;
        let named = |(topic, partition): &Place| Some((self.seen.name_of(*topic)?.to_owned(), *partition));
        let members: Vec<Member> = self
            .members
            .iter()
            .map(|(id, entry)| {
                let had = self.target.get(id).into_iter().flatten().filter_map(named);
                Member::new(id.clone(), entry.topics.iter().cloned()).with_owned(had.collect(), Some(1))
            })
            .collect();
        let partitions: TopicPartitions = self.seen.counts().into_iter().collect();
        let shared = Uniform.assign(&members, &partitions).unwrap();
        let place = |(name, partition): (String, i32)| (self.seen.0[&name].0, partition);
        self.target =
            shared.into_map().into_iter().map(|(id, shares)| (id, shares.into_iter().map(place).collect())).collect();
    }

    fn remove(&mut self, member_id: &str) {
        if let Some(entry) = self.members.remove(member_id) {
            self.dropped.push(entry.life);
            self.target.remove(member_id);
            self.share_out();
        }
    }

    /// Drops one of those who are not spared.
    pub(super) fn expire(&mut self, pick: usize, spared: &BTreeSet<String>) {
        let candidates: Vec<String> = self.members.keys().filter(|id| !spared.contains(*id)).cloned().collect();
        if !candidates.is_empty() {
            self.remove(&candidates[pick % candidates.len()]);
        }
    }

    /// What each member may have, and what it has still to give up.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&str, Life, BTreeSet<Place>, BTreeSet<Place>)> {
        self.members.iter().map(|(id, entry)| {
            let (assigned, revoking) = (entry.assigned.keys().copied(), entry.revoking.keys().copied());
            (id.as_str(), entry.life, assigned.collect(), revoking.collect())
        })
    }

    /// Whether the member may commit for a partition (KIP-1251).
    pub(super) fn check_commit(&self, member_id: &str, epoch: i32, place: Place) -> Result<(), ErrorCode> {
        let entry = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let since = entry.assigned.get(&place).or_else(|| entry.revoking.get(&place));
        if epoch == entry.epoch || (epoch < entry.epoch && since.is_some_and(|since| epoch >= *since)) {
            Ok(())
        } else {
            Err(ErrorCode::StaleMemberEpoch)
        }
    }
}

/// By topic id, as KIP-848 has it.
fn by_id<'a>(places: impl Iterator<Item = &'a Place>) -> BTreeMap<Uuid, Vec<i32>> {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic.entry(*topic).or_default().push(*partition);
    }
    by_topic
}
