//! A partition as the controller has decided it.

use uuid::Uuid;

use rkafka_protocol::messages::{PartitionChangeRecord, PartitionRecord};

/// The leader of a partition that has none.
pub const NO_LEADER: i32 = -1;
/// In a record of a change: the leader stays.
pub(crate) const LEADER_STAYS: i32 = -2;
/// In a record of a change: nothing is said about the recovery from an unclean election.
const RECOVERY_STAYS: i8 = -1;
const RECOVERING: i8 = 1;

/// The directory of a replica whose broker has not told in which of its directories it is.
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid::nil();
/// The directory of a replica that was in one that is lost.
pub const DIRECTORY_LOST: Uuid = Uuid::from_u128(1);
/// The directory of a replica on a broker that does not tell of its directories.
pub const DIRECTORY_MIGRATING: Uuid = Uuid::from_u128(2);

/// One partition, as the controller has decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// The brokers that hold it or are to hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The directory of each of `replicas`, in their order.
    pub directories: Vec<Uuid>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
    /// Those of `replicas` that go once the reassignment is complete.
    pub removing_replicas: Vec<i32>,
    /// Those of `replicas` that the reassignment under way adds.
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas (KIP-966): they left the in-sync replicas while those were fewer than
    /// `min.insync.replicas`, and have everything that was committed since.
    pub elr: Vec<i32>,
    /// Who led last, while nobody does (KIP-966).
    pub last_known_elr: Vec<i32>,
    /// The leader, [`NO_LEADER`] for none.
    pub leader: i32,
    /// Whether the leader was elected uncleanly and has not yet said that it recovered from that.
    pub recovering: bool,
    /// Counts the leaders.
    pub leader_epoch: i32,
    /// Counts the changes of the partition.
    pub partition_epoch: i32,
}

impl PartitionImage {
    /// Whether a reassignment is under way.
    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// Whether there is a leader.
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    /// The broker that leads where it can.
    pub fn preferred_leader(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    /// The directory of the replica on this broker, `None` where it has none.
    pub fn directory_of(&self, broker: i32) -> Option<Uuid> {
        let at = self.replicas.iter().position(|replica| *replica == broker)?;
        Some(self.directories.get(at).copied().unwrap_or(DIRECTORY_MIGRATING))
    }

    pub(super) fn from_record(record: &PartitionRecord) -> Self {
        Self {
            replicas: record.replicas.clone(),
            directories: directories(&record.directories, record.replicas.len()),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            recovering: record.leader_recovery_state == RECOVERING,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    pub(crate) fn to_record(&self, topic_id: Uuid, partition_id: i32) -> PartitionRecord {
        let unless_empty = |replicas: &[i32]| (!replicas.is_empty()).then(|| replicas.to_vec());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: i8::from(self.recovering),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
            ..Default::default()
        }
    }

    pub(crate) fn change(&mut self, record: &PartitionChangeRecord) {
        fn take<T: Clone>(into: &mut Vec<T>, from: Option<&Vec<T>>) {
            if let Some(from) = from {
                into.clone_from(from);
            }
        }
        take(&mut self.isr, record.isr.as_ref());
        take(&mut self.removing_replicas, record.removing_replicas.as_ref());
        take(&mut self.adding_replicas, record.adding_replicas.as_ref());
        take(&mut self.elr, record.eligible_leader_replicas.as_ref());
        take(&mut self.last_known_elr, record.last_known_elr.as_ref());
        take(&mut self.replicas, record.replicas.as_ref());
        take(&mut self.directories, record.directories.as_ref());
        self.directories.resize(self.replicas.len(), DIRECTORY_MIGRATING);
        if record.leader != LEADER_STAYS {
            self.leader = record.leader;
            self.leader_epoch = self.leader_epoch.saturating_add(1);
        }
        if record.leader_recovery_state != RECOVERY_STAYS {
            self.recovering = record.leader_recovery_state == RECOVERING;
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
    }

    pub(super) fn forget_elr(&mut self) {
        self.elr.clear();
        self.last_known_elr.clear();
    }
}

/// Records of older versions have no directories.
fn directories(told: &[Uuid], replicas: usize) -> Vec<Uuid> {
    let mut directories = told.to_vec();
    directories.resize(replicas, DIRECTORY_MIGRATING);
    directories
}
