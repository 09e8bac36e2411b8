//! What all connections of a broker share.

use crate::Clock;
use crate::config::BrokerConfig;

/// A running broker, as its handlers see it.
#[derive(Debug)]
#[non_exhaustive]
pub struct BrokerState {
    /// The broker's settings.
    pub config: BrokerConfig,
    /// The broker's clock.
    pub clock: Clock,
}
