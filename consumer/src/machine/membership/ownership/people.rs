//! The people of the groups: a process each, with a machine and what its application has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Kind;
use crate::machine::membership::consumer::ConsumerMemberConfig;
use crate::machine::membership::terms::{ClassicConfig, Wanted};
use crate::machine::membership::{Classic, ConsumerMember, Membership};
use crate::subscription::TopicPartition;

/// A life of one of the people: who, and which life.
pub(super) type Life = (usize, u32);

/// A partition of a topic that may be made anew under its old name.
pub(super) type Place = (Uuid, i32);

/// How long an application may stay away.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The topics that there are: their ids and how many partitions they have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Topics(pub(super) BTreeMap<String, (Uuid, i32)>);

impl Topics {
    pub(super) fn places(&self) -> BTreeSet<Place> {
        self.0.values().flat_map(|(id, count)| (0..*count).map(|partition| (*id, partition))).collect()
    }

    pub(super) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.0.iter().find(|(_, (other, _))| *other == id).map(|(name, _)| name.as_str())
    }

    pub(super) fn counts(&self) -> BTreeMap<String, i32> {
        self.0.iter().map(|(name, (_, count))| (name.clone(), *count)).collect()
    }
}

/// What an application has of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: Uuid,
    /// Up to where it has read; `None` before it has begun.
    pub(super) position: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Person {
    /// The `group.instance.id`; two may have the same, by mistake.
    pub(super) instance: Option<String>,
    pub(super) machine: Option<Membership>,
    pub(super) life: u32,
    /// What it is to read.
    pub(super) topics: BTreeSet<String>,
    /// What the application has, from the beginning of its installation to the end of its revocation.
    pub(super) has: BTreeMap<TopicPartition, Held>,
    /// Whether the coordinator has dropped this life: what it still has, it has lost without knowing.
    pub(super) is_dropped: bool,
    /// Whether the next request finds that the coordinator has moved.
    pub(super) must_look: bool,
    /// Whether the application does not come back to poll.
    pub(super) is_stalled: bool,
    /// Whether a commit is on its way. One at a time, and none is given up before its commit is through.
    pub(super) commits: bool,
    /// The partitions that this member watches, as the leader.
    pub(super) shared_out: Option<BTreeMap<String, i32>>,
    /// Those that it worked an assignment out for, and did not only watch.
    pub(super) worked_out: BTreeMap<String, i32>,
    /// How often something came or went.
    pub(super) moves: usize,
}

impl Person {
    /// A new process, with nothing of the last one but its instance id.
    pub(super) fn start(&mut self, kind: Kind, who: usize, now: Instant) {
        if self.machine.is_some() {
            return;
        }
        self.life += 1;
        (self.is_dropped, self.must_look, self.is_stalled, self.commits) = (false, false, false, false);
        self.shared_out = None;
        let wanted = self.wanted();
        let (is_static, max_poll_interval) = (self.instance.is_some(), MAX_POLL_INTERVAL);
        let retry_backoff = Duration::from_millis(100);
        self.machine = Some(if kind == Kind::Consumer {
            let member_id = format!("m-{who}-{}", self.life);
            let config = ConsumerMemberConfig { member_id, is_static, max_poll_interval, retry_backoff };
            Membership::Consumer(Box::new(ConsumerMember::new(config, wanted, now)))
        } else {
            let config = ClassicConfig {
                is_static,
                is_cooperative: kind == Kind::Cooperative,
                session_timeout: Duration::from_secs(45),
                heartbeat_interval: Duration::from_secs(1),
                max_poll_interval,
                retry_backoff,
            };
            Membership::Classic(Box::new(Classic::new(config, wanted, now)))
        });
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { topics: self.topics.clone(), pattern: None }
    }

    /// The process is gone, and with it all that it had; the coordinator does not know yet.
    pub(super) fn crash(&mut self) {
        self.machine = None;
        self.has.clear();
    }

    /// Reads on in all that it has begun with.
    pub(super) fn work(&mut self) {
        for held in self.has.values_mut() {
            held.position = held.position.map(|position| position + 1);
        }
    }

    /// How far it has read.
    pub(super) fn positions(&self) -> Vec<(Place, i64)> {
        let read = |(place, held): (&TopicPartition, &Held)| Some(((held.id, place.partition), held.position?));
        self.has.iter().filter_map(read).collect()
    }
}
