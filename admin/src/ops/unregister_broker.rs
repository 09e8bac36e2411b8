//! Forgetting a broker. Source: UnregisterBroker (API key 64), KIP-631.

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::Admin;
use crate::operation::operation;
use crate::single::To;

operation! {
    /// What [`Admin::unregister_broker`] gives.
    pub struct UnregisterBroker => () {
        broker: i32,
    }
}

impl UnregisterBroker<'_> {
    async fn run(self) -> Result<()> {
        let build = |_| UnregisterBrokerRequest { broker_id: self.broker, ..Default::default() };
        let read = |response: UnregisterBrokerResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

impl Admin {
    /// Makes the cluster forget a broker that has gone for good. The partitions that it had are not moved. Needs KRaft.
    ///
    /// Cancel safety: it may be forgotten.
    ///
    /// # Errors
    /// See [`Admin`]; also [`BrokerIdNotRegistered`](crate::ErrorCode::BrokerIdNotRegistered).
    pub fn unregister_broker(&self, broker: i32) -> UnregisterBroker<'_> {
        UnregisterBroker::new(self, broker)
    }
}
