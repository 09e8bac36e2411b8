//! Removing members from a classic group. Source: LeaveGroup (API key 13), KIP-345, KIP-571, KIP-800 for reasons.

use std::collections::BTreeSet;
use std::fmt;

use rkafka_client_core::{Error, ErrorKind, Result};
use rkafka_protocol::messages::leave_group_request::MemberIdentity;
use rkafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::describe_classic_groups::ClassicJob;
use super::{PerItem, silent};
use crate::Admin;
use crate::operation::operation;
use crate::single::To;

/// A member of a group, by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemberToRemove {
    /// The member with this id.
    Member(String),
    /// The static member with this `group.instance.id`.
    Instance(String),
}

impl MemberToRemove {
    /// The member with this id.
    pub fn member(id: impl Into<String>) -> Self {
        Self::Member(id.into())
    }

    /// The static member with this `group.instance.id`.
    pub fn instance(id: impl Into<String>) -> Self {
        Self::Instance(id.into())
    }
}

impl fmt::Display for MemberToRemove {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(id) => write!(formatter, "member {id}"),
            Self::Instance(id) => write!(formatter, "instance {id}"),
        }
    }
}

operation! {
    /// What [`Admin::remove_members_from_consumer_group`] gives.
    pub struct RemoveMembersFromConsumerGroup => PerItem<(), MemberToRemove> {
        group: String,
        members: Option<BTreeSet<MemberToRemove>>,
    }
    options {
        /// Why, for the broker's log. Default: that an administrator did it. Read by brokers from Kafka 3.2 on.
        reason: String = "removed by an administrator".to_owned(),
    }
}

impl RemoveMembersFromConsumerGroup<'_> {
    async fn run(self) -> Result<PerItem<(), MemberToRemove>> {
        self.admin.within(self.limit, self.remove()).await
    }

    async fn remove(&self) -> Result<PerItem<(), MemberToRemove>> {
        let members = match &self.members {
            Some(members) => members.clone(),
            None => self.all_members().await?,
        };
        if members.is_empty() {
            return Ok(PerItem::new());
        }
        let build = |_| LeaveGroupRequest {
            group_id: self.group.clone(),
            members: members.iter().map(|member| self.identity(member)).collect(),
            ..Default::default()
        };
        let read = |response: LeaveGroupResponse| {
            Error::check(response.error_code)?;
            let mut told: PerItem<(), MemberToRemove> = PerItem::new();
            for member in response.members {
                let outcome = Error::check(member.error_code);
                // The answer names a member as the request did.
                let named = match member.group_instance_id {
                    Some(id) => MemberToRemove::Instance(id),
                    None => MemberToRemove::Member(member.member_id),
                };
                told.insert(named, outcome);
            }
            for member in &members {
                told.entry(member.clone()).or_insert_with(|| Err(silent(member)));
            }
            Ok(told)
        };
        self.admin.ask(To::Group(self.group.clone()), self.limit, &[], build, read).await
    }

    fn identity(&self, member: &MemberToRemove) -> MemberIdentity {
        let reason = Some(self.reason.chars().take(255).collect());
        match member {
            MemberToRemove::Member(id) => MemberIdentity { member_id: id.clone(), reason, ..Default::default() },
            MemberToRemove::Instance(id) => {
                MemberIdentity { group_instance_id: Some(id.clone()), reason, ..Default::default() }
            }
        }
    }

    async fn all_members(&self) -> Result<BTreeSet<MemberToRemove>> {
        let job = ClassicJob { authorized: false };
        let group = self.admin.run(&job, [self.group.clone()], self.limit).await?.into_values().next();
        let group = group.unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no broker answered")))?;
        let members = group.members.into_iter().map(|member| match member.group_instance_id {
            Some(id) => MemberToRemove::Instance(id),
            None => MemberToRemove::Member(member.member_id),
        });
        Ok(members.collect())
    }
}

impl Admin {
    /// Removes these members from a classic group, or, with `None`, all that it has; the others rebalance. Who is removed
    /// and still runs joins anew. Static members of a group of the consumer type can be removed too, by their instance
    /// ids.
    ///
    /// Cancel safety: the members may have been removed.
    ///
    /// # Errors
    /// See [`Admin`]; also what the broker says of the group. What concerns one member is in its item, such as one that is
    /// not there ([`UnknownMemberId`](crate::ErrorCode::UnknownMemberId)).
    pub fn remove_members_from_consumer_group(
        &self,
        group: impl Into<String>,
        members: Option<Vec<MemberToRemove>>,
    ) -> RemoveMembersFromConsumerGroup<'_> {
        let members = members.map(|members| members.into_iter().collect());
        RemoveMembersFromConsumerGroup::new(self, group.into(), members)
    }
}
