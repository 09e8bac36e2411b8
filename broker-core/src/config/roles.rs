//! What a node is (`process.roles`), and who the controllers are (`controller.quorum.voters`).

use rkafka_config::ConfigError;
use uuid::Uuid;

use crate::BrokerConfig;

pub(super) fn are_roles(roles: &[String]) -> bool {
    let known = |role: &String| matches!(role.as_str(), "broker" | "controller");
    !roles.is_empty() && roles.iter().all(known) && (roles.len() == 1 || (roles.len() == 2 && roles[0] != roles[1]))
}

pub(super) fn are_voters(voters: &[String]) -> bool {
    let ids: Vec<Option<i32>> = voters.iter().map(|text| voter_id(text)).collect();
    ids.iter().all(|id| id.is_some_and(|id| id >= 0)) && (1..ids.len()).all(|at| !ids[..at].contains(&ids[at]))
}

/// `id@host:port`.
fn voter(text: &str) -> Option<(i32, String, u16)> {
    let (id, address) = text.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((id.trim().parse().ok()?, host.to_owned(), port.trim().parse().ok()?))
}

fn voter_id(text: &str) -> Option<i32> {
    voter(text).map(|(id, ..)| id)
}

/// A node that is a controller votes, and one that is not does not.
pub(super) fn check_roles(config: &BrokerConfig) -> Result<(), ConfigError> {
    let conflict = |other: &str, reason: String| {
        let name = "controller.quorum.voters".to_owned();
        Err(ConfigError::Conflict { name, other: other.to_owned(), reason })
    };
    let voters = &config.controller_quorum_voters;
    let votes = voters.iter().any(|voter| voter_id(voter) == Some(config.node_id));
    match (config.is_controller(), votes) {
        (true, false) if !voters.is_empty() => conflict(
            "node.id",
            format!("node {} has the role `controller`, so it must be one of the voters", config.node_id),
        ),
        (false, true) => conflict(
            "process.roles",
            format!("node {} is one of the voters, so it needs the role `controller`", config.node_id),
        ),
        (false, false) if voters.is_empty() => {
            conflict("process.roles", "a node without the role `controller` must know the controllers".to_owned())
        }
        _ => Ok(()),
    }
}

impl BrokerConfig {
    /// Whether the node keeps partitions and serves clients (`process.roles`).
    pub fn is_broker(&self) -> bool {
        self.process_roles.iter().any(|role| role == "broker")
    }

    /// Whether the node is one of the controllers (`process.roles`).
    pub fn is_controller(&self) -> bool {
        self.process_roles.iter().any(|role| role == "controller")
    }

    /// The controllers by id, host and port; only this node where none are named.
    pub(crate) fn voters(&self) -> Vec<(i32, String, u16)> {
        let named = self.controller_quorum_voters.iter().filter_map(|text| voter(text));
        let named: Vec<_> = named.collect();
        if named.is_empty() { vec![(self.node_id, String::new(), 0)] } else { named }
    }

    /// The id of a cluster whose nodes were not formatted: the same on all that know the same voters. `None` where there
    /// are none.
    pub(crate) fn cluster_id_of_voters(&self) -> Option<Uuid> {
        if self.controller_quorum_voters.is_empty() {
            return None;
        }
        let mut voters: Vec<String> =
            self.controller_quorum_voters.iter().map(|voter| voter.trim().to_owned()).collect();
        voters.sort();
        let text = voters.join(",");
        let half = |seed| twox_hash::XxHash3_64::oneshot_with_seed(seed, text.as_bytes());
        let hash = u128::from(half(1)) << 64 | u128::from(half(2));
        // A random id by its form, which does not begin with a dash as Kafka writes it.
        let mut bytes = uuid::Builder::from_random_bytes(hash.to_be_bytes()).into_uuid().into_bytes();
        bytes[0] &= 0x7f;
        Some(Uuid::from_bytes(bytes))
    }

    /// Whether this node is the only controller, and needs nobody to be elected.
    pub(crate) fn is_only_controller(&self) -> bool {
        self.is_controller() && self.voters().len() == 1
    }

    /// Whether the cluster is this node and no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_broker() && self.is_only_controller()
    }
}
