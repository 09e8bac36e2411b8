//! Who leads a partition instead, and where that broker is: what Produce and Fetch tell clients that asked the wrong one
//! (KIP-951).

use crate::BrokerState;
use crate::controller::TopicImage;

use super::RequestContext;

/// The leaders that one answer names.
#[derive(Debug, Default)]
pub(super) struct LeaderHints {
    leaders: Vec<i32>,
}

/// A broker as an answer names it.
pub(super) struct Endpoint {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl LeaderHints {
    /// The leader of a partition and its epoch, as far as this broker knows.
    pub fn of(&mut self, topic: &TopicImage, partition: i32) -> Option<(i32, i32)> {
        let found = topic.partition(partition)?;
        if found.has_leader() && !self.leaders.contains(&found.leader) {
            self.leaders.push(found.leader);
        }
        Some((found.leader, found.leader_epoch))
    }

    /// Where the leaders are reached by the clients of this listener.
    pub fn endpoints(self, broker: &BrokerState, context: &RequestContext) -> Vec<Endpoint> {
        self.leaders.into_iter().filter_map(|leader| endpoint(broker, context, leader)).collect()
    }
}

fn endpoint(broker: &BrokerState, context: &RequestContext, node_id: i32) -> Option<Endpoint> {
    let image = broker.image();
    let known = image.brokers().get(&node_id);
    let (host, port) = if node_id == broker.config.node_id {
        let (host, port) = broker.endpoint(&context.listener);
        (host.to_owned(), port)
    } else {
        let endpoint = known?.endpoints.iter().find(|endpoint| *endpoint.name == *context.listener)?;
        (endpoint.host.clone(), endpoint.port)
    };
    let rack = known.and_then(|known| known.rack.clone());
    Some(Endpoint { node_id, host, port: i32::from(port), rack })
}
