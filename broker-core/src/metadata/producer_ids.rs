//! Producer ids that nobody has had and nobody will have. They come from the controller in blocks, which the metadata log
//! remembers as given away before the first id of them is used.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::AllocateProducerIdsRequest;

use crate::BrokerState;
use crate::controller::{ControllerError, allocate_producer_ids};
use crate::forwarding::ask_controller;
use crate::locks::lock;
use crate::peer::Purpose;

/// How long the controller is asked.
const WITHIN: Duration = Duration::from_secs(5);
/// With fewer left the next block is asked for, so that those who take an id at the same time find one each.
const LOW: i64 = 100;

/// The ids that this broker may give away.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    /// What is left of the blocks, the older first.
    left: Mutex<Vec<Range<i64>>>,
    /// Held by who asks for a block.
    asking: tokio::sync::Mutex<()>,
}

impl ProducerIds {
    fn count(&self) -> i64 {
        lock(&self.left).iter().map(|block| block.end - block.start).sum()
    }

    /// An id, if there is one: see [`BrokerState::reserve_producer_ids`].
    pub fn take(&self) -> Option<i64> {
        let mut left = lock(&self.left);
        let block = left.first_mut()?;
        let id = block.start;
        block.start += 1;
        if block.is_empty() {
            left.remove(0);
        }
        Some(id)
    }
}

impl BrokerState {
    /// Sees to it that there are producer ids for a while.
    ///
    /// Cancel safety: a block may be lost, of which there are enough.
    ///
    /// # Errors
    /// There is none, and the controller gives none.
    pub(crate) async fn reserve_producer_ids(&self) -> Result<(), ControllerError> {
        if self.producer_ids.count() >= LOW {
            return Ok(());
        }
        let _one_at_a_time = self.producer_ids.asking.lock().await;
        if self.producer_ids.count() >= LOW {
            return Ok(());
        }
        match self.ask_for_producer_ids().await {
            Ok(block) => {
                lock(&self.producer_ids.left).push(block);
                Ok(())
            }
            Err(error) if self.producer_ids.count() > 0 => {
                tracing::warn!(%error, "no more producer ids can be had now");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn ask_for_producer_ids(&self) -> Result<Range<i64>, ControllerError> {
        let (broker_id, broker_epoch) = (self.config.node_id, self.broker_epoch());
        let request = AllocateProducerIdsRequest { broker_id, broker_epoch, ..Default::default() };
        let answer = if self.controller.is_active() {
            self.controller.submit_to(|_, view, _| allocate_producer_ids(view, &request)).await?.reply
        } else {
            let deadline = self.clock.now() + WITHIN;
            let asked = ask_controller(self, Purpose::Controller, 0, &request, deadline).await;
            asked.map_err(|_| ControllerError::NoAnswer("no controller gave producer ids".to_owned()))?
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                let first = answer.producer_id_start;
                Ok(first..first.saturating_add(i64::from(answer.producer_id_len)))
            }
            error => {
                Err(ControllerError::NoAnswer(format!("the controller gave no producer ids: {}", error.message())))
            }
        }
    }
}
