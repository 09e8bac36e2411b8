//! Fetches producer ids: one when the producer starts, and another when one cannot be used any more.

use std::sync::Arc;

use rkafka_client_core::{Client, Error};
use rkafka_protocol::messages::InitProducerIdRequest;

use crate::clock;
use crate::machine::sequence::ProducerIdentity;
use crate::shared::Shared;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut wanted = shared.identity_wanted.subscribe();
    let mut failures = 0;
    while !shared.is_stopped() {
        // The future is made before the state is looked at, so that no stop is missed.
        let stopped = shared.stopped.notified();
        if !is_needed(&shared) {
            tokio::select! {
                _ = wanted.changed() => {}
                () = stopped => return,
            }
            continue;
        }
        tokio::select! {
            () = stopped => return,
            result = fetch(&shared.client) => match result {
                Ok(identity) => {
                    failures = 0;
                    shared.set_identity_trouble(None);
                    shared.identity.send_replace(Some(identity));
                    shared.wake_all();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "no producer id yet");
                    shared.set_identity_trouble(Some(format!("no producer id: {error}").into()));
                }
            },
        }
        let pause = shared.client.config().retry_policy().delay(failures, &mut rand::rng());
        failures = failures.saturating_add(1);
        clock::sleep(pause).await;
    }
}

/// Whether the identity that is offered is none, or the one that somebody cannot use.
fn is_needed(shared: &Shared) -> bool {
    let present = shared.identity.borrow().map(|identity| identity.id);
    present.is_none() || *shared.identity_wanted.borrow() == Some(present)
}

async fn fetch(client: &Client) -> Result<ProducerIdentity, Error> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    let response = client.request_any(request).await?;
    Error::check(response.error_code)?;
    Ok(ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch })
}
