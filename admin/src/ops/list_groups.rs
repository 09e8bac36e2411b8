//! The groups of a cluster. Source: ListGroups (API key 16), KIP-518 for states, KIP-848 and KIP-1043 for types. Each
//! broker knows those that it coordinates.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_client_core::{Error, ErrorCode, Result};
use rkafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::Admin;
use crate::codes::names;
use crate::operation::operation;
use crate::single::parted;

names! {
    /// The state of a group.
    pub enum GroupState {
        /// A classic group waits for its members to join anew.
        PreparingRebalance = "PreparingRebalance",
        /// A classic group waits for its leader to assign partitions.
        CompletingRebalance = "CompletingRebalance",
        /// Every member has what it is to have.
        Stable = "Stable",
        /// It is about to go.
        Dead = "Dead",
        /// It has no members.
        Empty = "Empty",
        /// A new assignment is being computed (KIP-848).
        Assigning = "Assigning",
        /// Members give up and take over partitions (KIP-848).
        Reconciling = "Reconciling",
        /// A streams group lacks topics, or they are not as they should be (KIP-1071).
        NotReady = "NotReady",
    }
}

names! {
    /// The type of a group.
    pub enum GroupType {
        /// One whose members agree by JoinGroup and SyncGroup; also one without members that only keeps offsets.
        Classic = "classic",
        /// A consumer group of KIP-848.
        Consumer = "consumer",
        /// A share group (KIP-932).
        Share = "share",
        /// A streams group (KIP-1071).
        Streams = "streams",
    }
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct GroupListing {
    /// Its id.
    pub group_id: String,
    /// What its members speak: `consumer`, `connect`, `share`; empty for a group that only keeps offsets.
    pub protocol_type: String,
    /// Its state; `None` from brokers before Kafka 2.6.
    pub state: Option<GroupState>,
    /// Its type; `None` from brokers before Kafka 3.8.
    pub kind: Option<GroupType>,
}

/// Groups, and the brokers that could not tell theirs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GroupListings {
    /// The groups, by id.
    pub groups: Vec<GroupListing>,
    /// Brokers that did not answer, and why. The groups that they coordinate are missing above.
    pub errors: BTreeMap<i32, Error>,
}

operation! {
    /// What [`Admin::list_groups`] gives.
    pub struct ListGroups => GroupListings {}
    options {
        /// Only groups in these states. Default: in any. Needs Kafka 2.6.
        in_states: BTreeSet<GroupState> = BTreeSet::new(),
        /// Only groups of these types. Default: of any. Needs Kafka 3.8.
        with_types: BTreeSet<GroupType> = BTreeSet::new(),
        /// Only groups whose members speak one of these, such as `consumer`; the empty name stands for groups that only
        /// keep offsets. Looked at here, not by the broker. Default: any.
        with_protocol_types: BTreeSet<String> = BTreeSet::new(),
    }
}

impl ListGroups<'_> {
    async fn run(self) -> Result<GroupListings> {
        self.admin.within(self.limit, self.on_each()).await
    }

    async fn on_each(&self) -> Result<GroupListings> {
        let brokers = self.admin.broker_ids(self.limit).await?;
        let build = |_| ListGroupsRequest {
            states_filter: self.in_states.iter().map(|state| state.name().to_owned()).collect(),
            types_filter: self.with_types.iter().map(|kind| kind.name().to_owned()).collect(),
            ..Default::default()
        };
        let passing = [ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable];
        let (lists, errors) = parted(self.admin.ask_brokers(brokers, self.limit, &passing, build, read).await?)?;
        let wanted = |group: &GroupListing| {
            self.with_protocol_types.is_empty() || self.with_protocol_types.contains(&group.protocol_type)
        };
        let mut groups: Vec<GroupListing> = lists.into_iter().flatten().filter(wanted).collect();
        groups.sort();
        // A coordinator that moves while brokers are asked one after the other may be told of by both.
        groups.dedup_by(|one, other| one.group_id == other.group_id);
        Ok(GroupListings { groups, errors })
    }
}

fn read(response: ListGroupsResponse) -> Result<Vec<GroupListing>> {
    Error::check(response.error_code)?;
    let groups = response.groups.into_iter().map(|group| GroupListing {
        group_id: group.group_id,
        protocol_type: group.protocol_type,
        state: (!group.group_state.is_empty()).then(|| GroupState::read(&group.group_state)),
        kind: (!group.group_type.is_empty()).then(|| GroupType::read(&group.group_type)),
    });
    Ok(groups.collect())
}

impl Admin {
    /// The groups of the cluster, of every type, by id.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. A broker that does not answer is named beside the groups of the others.
    pub fn list_groups(&self) -> ListGroups<'_> {
        ListGroups::new(self)
    }
}
