//! How a partition changes: who leads it then, who is in sync, who may still lead, and when a reassignment is complete.
//! Every change of a partition goes through here, so that the rules hold for all.
//!
//! Sources: KIP-966 (eligible leader replicas), KIP-455 (reassignment), KIP-858 (directories).

use std::collections::BTreeSet;

use rkafka_protocol::messages::PartitionChangeRecord;
use uuid::Uuid;

use super::MetadataRecord;
use super::image::{LEADER_STAYS, NO_LEADER, PartitionImage, TopicImage};
use super::view::{Rules, View};

/// What kind of leader is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Election {
    /// The preferred one where it can lead, else whoever leads.
    Preferred,
    /// Whoever leads where it still can, else another that has everything.
    Online,
    /// As `Online`, and where nobody has everything, one that may lack some.
    Unclean,
}

/// A change of a partition in the making. What is not said stays as it is.
#[derive(Debug)]
pub(super) struct PartitionChanger<'a> {
    view: &'a View<'a>,
    partition: &'a PartitionImage,
    topic_id: Uuid,
    index: i32,
    rules: Rules,
    pub election: Election,
    pub isr: Vec<i32>,
    pub replicas: Vec<i32>,
    pub removing: Vec<i32>,
    pub adding: Vec<i32>,
    pub recovering: bool,
    /// A broker that may not lead, whatever the image says.
    pub gone: Option<i32>,
    /// A broker that may lead, though the image still has it fenced.
    pub joining: Option<i32>,
    /// A broker that stopped uncleanly, and may lack what it had.
    pub unclean: Option<i32>,
    /// In which directory a broker has its replica.
    pub assigned: Option<(i32, Uuid)>,
    elr: Vec<i32>,
}

impl<'a> PartitionChanger<'a> {
    pub fn new(view: &'a View<'a>, topic: &TopicImage, index: i32, partition: &'a PartitionImage) -> Self {
        Self::with_rules(view, view.rules(topic), topic, index, partition)
    }

    /// As [`PartitionChanger::new`], for many partitions of one topic.
    pub fn with_rules(
        view: &'a View<'a>,
        rules: Rules,
        topic: &TopicImage,
        index: i32,
        partition: &'a PartitionImage,
    ) -> Self {
        Self {
            view,
            partition,
            topic_id: topic.id,
            index,
            rules,
            election: if rules.unclean { Election::Unclean } else { Election::Online },
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing_replicas.clone(),
            adding: partition.adding_replicas.clone(),
            recovering: partition.recovering,
            gone: None,
            joining: None,
            unclean: None,
            assigned: None,
            elr: partition.elr.clone(),
        }
    }

    /// The record of the change, `None` where nothing changes.
    pub fn build(mut self) -> Option<PartitionChangeRecord> {
        let was = self.partition;
        self.complete_reassignment();
        self.keep_eligible();
        let (leader, unclean) = self.elect();
        let mut record = PartitionChangeRecord {
            topic_id: self.topic_id,
            partition_id: self.index,
            leader: if leader == was.leader { LEADER_STAYS } else { leader },
            ..Default::default()
        };
        if leader != was.leader && unclean {
            // Whoever else was in sync has what the new leader lacks, and must not be believed.
            self.isr = vec![leader];
            self.elr.clear();
            self.recovering = true;
        } else if leader != was.leader && self.elr.contains(&leader) {
            self.isr = vec![leader];
            self.elr.retain(|replica| *replica != leader);
        }
        if record.leader == LEADER_STAYS && was.replicas.iter().any(|replica| !self.replicas.contains(replica)) {
            // Those that are no replicas any more must not be led on.
            record.leader = was.leader;
        }
        if self.isr != was.isr && (self.rules.elr || !self.isr.is_empty()) {
            record.isr = Some(self.isr);
        }
        if !self.rules.elr {
            self.elr.clear();
        }
        if self.elr != was.elr {
            record.eligible_leader_replicas = Some(self.elr);
        }
        record.last_known_elr = match leader {
            _ if !self.rules.elr => None,
            NO_LEADER if was.last_known_elr.is_empty() && was.has_leader() => Some(vec![was.leader]),
            NO_LEADER => None,
            _ => (!was.last_known_elr.is_empty() && record.leader >= 0).then(Vec::new),
        };
        let (assigned, view) = (self.assigned, self.view);
        let directory_of = |replica: i32| match assigned {
            Some((broker, directory)) if broker == replica => directory,
            _ => was.directory_of(replica).unwrap_or_else(|| view.default_directory(replica)),
        };
        let directories: Vec<Uuid> = self.replicas.iter().map(|replica| directory_of(*replica)).collect();
        let unless_same = |now: Vec<i32>, before: &[i32]| (now != before).then_some(now);
        record.directories = (directories != was.directories).then_some(directories);
        record.replicas = unless_same(self.replicas, &was.replicas);
        record.removing_replicas = unless_same(self.removing, &was.removing_replicas);
        record.adding_replicas = unless_same(self.adding, &was.adding_replicas);
        if self.recovering != was.recovering {
            record.leader_recovery_state = i8::from(self.recovering);
        }
        let nothing = PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.index, ..Default::default() };
        (record != nothing).then_some(record)
    }

    /// A reassignment is complete when all that stay are in sync.
    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let stays = |replica: &&i32| !self.removing.contains(replica);
        let replicas: Vec<i32> = self.replicas.iter().filter(stays).copied().collect();
        let isr: Vec<i32> = self.isr.iter().filter(stays).copied().collect();
        if !replicas.is_empty() && !isr.is_empty() && replicas.iter().all(|replica| isr.contains(replica)) {
            (self.replicas, self.isr) = (replicas, isr);
            self.removing.clear();
            self.adding.clear();
        }
    }

    /// Who leaves the in-sync replicas while these are too few to commit anything keeps everything that was committed, and
    /// is eligible until they are enough again.
    fn keep_eligible(&mut self) {
        if !self.rules.elr || self.isr.len() >= self.rules.min_isr {
            self.elr.clear();
            return;
        }
        let candidates: BTreeSet<i32> = self.elr.iter().chain(&self.partition.isr).copied().collect();
        self.elr = candidates
            .into_iter()
            .filter(|replica| !self.isr.contains(replica) && Some(*replica) != self.unclean)
            .filter(|replica| self.replicas.contains(replica))
            .collect();
    }

    /// The leader, and whether it may lack what was committed.
    fn elect(&self) -> (i32, bool) {
        let was = self.partition;
        let present = (was.leader, false);
        let preferred = self.replicas.first().copied().filter(|first| self.has_everything(*first));
        if let (Election::Preferred, Some(preferred)) = (self.election, preferred) {
            return (preferred, false);
        }
        if was.has_leader() && self.has_everything(was.leader) {
            return present;
        }
        if let Some(found) = self.replicas.iter().find(|replica| self.has_everything(**replica)) {
            return (*found, false);
        }
        // With nobody in sync and nobody eligible all that had everything stopped uncleanly: the last leader lacks least.
        if self.rules.elr
            && self.isr.is_empty()
            && self.elr.is_empty()
            && let [last] = was.last_known_elr[..]
            && self.may_lead(last)
        {
            return (last, true);
        }
        let anybody = self.replicas.iter().find(|replica| self.may_lead(**replica));
        match anybody {
            Some(found) if self.election == Election::Unclean => (*found, true),
            _ => (NO_LEADER, false),
        }
    }

    fn has_everything(&self, replica: i32) -> bool {
        let has = self.isr.contains(&replica) || self.isr.is_empty() && self.elr.contains(&replica);
        has && self.may_lead(replica)
    }

    fn may_lead(&self, replica: i32) -> bool {
        Some(replica) != self.gone
            && Some(replica) != self.unclean
            && (Some(replica) == self.joining || self.view.is_active(replica))
            // Not by the directory that is assigned with this very change: what is there may be less than there was, so that
            // nobody but an administrator makes it lead, as with Kafka.
            && self.view.is_directory_online(self.partition, replica)
    }
}

/// What becomes of partitions when a broker goes, comes or has lost something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BrokerEvent {
    /// The broker is in sync no more, and may not lead.
    pub gone: Option<i32>,
    /// The broker may lead again.
    pub joining: Option<i32>,
    /// The broker stopped uncleanly.
    pub unclean: Option<i32>,
}

/// The records of the partitions that such an event changes, among those that `concerned` picks.
pub(super) fn after_event(
    view: &View<'_>,
    event: BrokerEvent,
    concerned: impl Fn(&PartitionImage) -> bool,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in view.image.topics() {
        let mut rules = None;
        for (index, partition) in (0..).zip(&topic.partitions) {
            if !concerned(partition) {
                continue;
            }
            let rules = *rules.get_or_insert_with(|| view.rules(topic));
            let mut changer = PartitionChanger::with_rules(view, rules, topic, index, partition);
            changer.isr.retain(|replica| Some(*replica) != event.gone && Some(*replica) != event.unclean);
            changer.gone = event.gone;
            changer.joining = event.joining;
            changer.unclean = event.unclean;
            records.extend(changer.build().map(MetadataRecord::PartitionChange));
        }
    }
    records
}
