//! `uniform`: the server's default assignor of KIP-848.

use crate::sticky::{How, assign_sticky};
use crate::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};

/// As balanced as the subscriptions allow, and moving as little as that permits.
///
/// The guarantees are those of Kafka's `UniformAssignor`, the very choice is not: every partition goes to one
/// subscriber; where all subscribe to the same topics nobody has two partitions more than another; and a member keeps
/// what [`Member::owned`] says, which is the target assignment that was, unless balance takes it away. The coordinator
/// hands partitions over one by one, so that the answer need not spare members that still hold them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uniform;

impl Assignor for Uniform {
    fn name(&self) -> &str {
        "uniform"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        assign_sticky(members, topics, How::default())
    }
}
