//! A member of a classic group.

use bytes::Bytes;
use rkafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use rkafka_protocol::messages::group_metadata_value::MemberMetadata;
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use super::WaiterId;

/// A member as the living part of a group knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub id: String,
    /// `group.instance.id`: such a member is static, and keeps its place over a restart.
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The assignors that it knows, best first, with its subscription for each.
    pub protocols: Vec<JoinGroupRequestProtocol>,
    /// What the leader gave it in this generation.
    pub assignment: Bytes,
    /// The JoinGroup request that waits for the rebalance.
    pub join_waiter: Option<WaiterId>,
    /// The SyncGroup request that waits for the leader.
    pub sync_waiter: Option<WaiterId>,
    /// It has not been through a rebalance yet. Until then it may not know its id, so its session ends even while its
    /// request waits: the client may have gone long ago.
    pub is_new: bool,
    /// It came with an id that it had been given. One that did not learns its id only when the rebalance is through.
    pub knows_id: bool,
    /// When its session ends, on the monotonic clock. `None` while a waiting request stands for its heartbeats.
    pub session_ends_ms: Option<i64>,
}

impl Member {
    pub fn from_persisted(metadata: &MemberMetadata, protocol: &str) -> Self {
        Self {
            id: metadata.member_id.clone(),
            instance_id: metadata.group_instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            rebalance_timeout_ms: if metadata.rebalance_timeout == -1 {
                metadata.session_timeout
            } else {
                metadata.rebalance_timeout
            },
            session_timeout_ms: metadata.session_timeout,
            protocols: vec![JoinGroupRequestProtocol {
                name: protocol.to_owned(),
                metadata: metadata.subscription.clone(),
                ..Default::default()
            }],
            assignment: metadata.assignment.clone(),
            join_waiter: None,
            sync_waiter: None,
            is_new: false,
            knows_id: true,
            session_ends_ms: None,
        }
    }

    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// Whether a waiting request stands for its heartbeats.
    pub fn waits(&self) -> bool {
        !self.is_new && (self.join_waiter.is_some() || self.sync_waiter.is_some())
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|one| one.name == protocol)
    }

    /// Its subscription under `protocol`, empty where it does not know the protocol.
    pub fn subscription(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|one| Some(one.name.as_str()) == protocol);
        found.map(|one| one.metadata.clone()).unwrap_or_default()
    }

    /// Whether a new request brings the protocols that are known already.
    pub fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self.protocols.iter().zip(protocols).all(|(a, b)| a.name == b.name && a.metadata == b.metadata)
    }

    /// Its session begins anew.
    pub fn keep_alive(&mut self, now_ms: i64) {
        self.session_ends_ms = Some(now_ms.saturating_add(i64::from(self.session_timeout_ms)));
    }

    pub fn to_persisted(&self, protocol: Option<&str>, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: self.subscription(protocol),
            assignment,
            ..Default::default()
        }
    }

    /// The member in a description; `protocol` is given once the group is stable.
    pub fn described(&self, protocol: Option<&str>) -> DescribedGroupMember {
        DescribedGroupMember {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            member_metadata: self.subscription(protocol),
            member_assignment: self.assignment.clone(),
            ..Default::default()
        }
    }
}
