//! A controller for the schedules: as much of one as decides about a single partition.

use super::super::{IsrDecision, IsrProposal};
use rkafka_protocol::ErrorCode;

/// What the metadata log says of the partition after one of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub isr: Vec<i32>,
    /// Eligible to lead though not in sync (KIP-966): they have all that was ever below the high watermark.
    pub elr: Vec<i32>,
}

/// One broker's registration.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    pub epoch: i64,
    pub is_fenced: bool,
}

#[derive(Debug)]
pub struct Controller {
    pub log: Vec<Said>,
    pub brokers: Vec<Registration>,
    pub min_isr: usize,
    next_epoch: i64,
}

impl Controller {
    pub fn new(brokers: usize, min_isr: usize) -> Self {
        let all: Vec<i32> = (0..brokers).map(|id| id as i32).collect();
        let first = Said { leader: 0, leader_epoch: 0, partition_epoch: 0, isr: all, elr: Vec::new() };
        let brokers = (0..brokers).map(|id| Registration { epoch: id as i64, is_fenced: false }).collect();
        Self { log: vec![first], brokers, min_isr, next_epoch: 100 }
    }

    pub fn now(&self) -> &Said {
        self.log.last().expect("it begins with one")
    }

    pub fn is_live(&self, id: i32) -> bool {
        !self.brokers[id as usize].is_fenced
    }

    pub fn is_eligible(&self, id: i32, epoch: i64) -> bool {
        self.is_live(id) && self.brokers[id as usize].epoch == epoch
    }

    fn write(&mut self, mut next: Said, removed: &[i32], unclean: Option<i32>) {
        let before = self.now().clone();
        next.partition_epoch = before.partition_epoch + 1;
        if next.isr.len() >= self.min_isr {
            next.elr.clear();
        } else {
            next.elr.extend(removed);
            next.elr.sort_unstable();
            next.elr.dedup();
        }
        next.elr.retain(|id| !next.isr.contains(id) && Some(*id) != unclean);
        if (&next.leader, &next.isr, &next.elr, &next.leader_epoch)
            != (&before.leader, &before.isr, &before.elr, &before.leader_epoch)
        {
            self.log.push(next);
        }
    }

    /// A broker is not heard of any more.
    pub fn fence(&mut self, id: i32) {
        self.brokers[id as usize].is_fenced = true;
        self.leave(id, false);
    }

    fn leave(&mut self, id: i32, is_unclean: bool) {
        let mut next = self.now().clone();
        let mut removed = Vec::new();
        if next.isr.contains(&id) && next.isr.len() > 1 {
            next.isr.retain(|other| *other != id);
            removed.push(id);
        }
        if next.leader == id {
            next.leader = -1;
            next.leader_epoch += 1;
        }
        self.write(next, &removed, is_unclean.then_some(id));
        self.elect();
    }

    /// A broker has started again, without a proof that it stopped in good order: it may not have what it had.
    pub fn register(&mut self, id: i32) -> i64 {
        self.next_epoch += 1;
        self.brokers[id as usize] = Registration { epoch: self.next_epoch, is_fenced: true };
        self.leave(id, true);
        self.next_epoch
    }

    pub fn unfence(&mut self, id: i32) {
        self.brokers[id as usize].is_fenced = false;
        self.elect();
    }

    /// Elects where nobody leads: of those in sync, else of those eligible.
    fn elect(&mut self) {
        let mut next = self.now().clone();
        if next.leader >= 0 {
            return;
        }
        let live = |id: &&i32| self.is_live(**id);
        if let Some(leader) = next.isr.iter().find(live).copied() {
            next.leader = leader;
            next.leader_epoch += 1;
            self.write(next, &[], None);
        } else if let Some(leader) = next.elr.iter().find(live).copied() {
            let removed = std::mem::replace(&mut next.isr, vec![leader]);
            next.leader = leader;
            next.leader_epoch += 1;
            self.write(next, &removed, None);
        }
    }

    /// Another leader of those in sync, though nothing is wrong with the present one.
    pub fn move_leader(&mut self, id: i32) {
        let mut next = self.now().clone();
        if next.leader != id && next.isr.contains(&id) && self.is_live(id) {
            next.leader = id;
            next.leader_epoch += 1;
            self.write(next, &[], None);
        }
    }

    pub fn alter(&mut self, from: i32, proposal: &IsrProposal) -> Result<IsrDecision, ErrorCode> {
        let now = self.now().clone();
        if proposal.leader_epoch != now.leader_epoch || now.leader != from {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if proposal.partition_epoch != now.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let is_ineligible = |(id, epoch): &&(i32, i64)| {
            *id != from && !(self.is_live(*id) && (*epoch < 0 || self.is_eligible(*id, *epoch)))
        };
        if proposal.isr.iter().any(|one| is_ineligible(&one)) {
            return Err(ErrorCode::IneligibleReplica);
        }
        let isr: Vec<i32> = proposal.isr.iter().map(|(id, _)| *id).collect();
        let removed: Vec<i32> = now.isr.iter().copied().filter(|id| !isr.contains(id)).collect();
        self.write(Said { isr, ..now }, &removed, None);
        let now = self.now();
        Ok(IsrDecision { leader_epoch: now.leader_epoch, partition_epoch: now.partition_epoch, isr: now.isr.clone() })
    }
}
