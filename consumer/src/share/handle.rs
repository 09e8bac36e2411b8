//! What can be done with a share consumer from anywhere.

use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::metrics::MetricsSnapshot;
use tokio::sync::oneshot;

use super::acknowledgement::{AcknowledgeError, AcknowledgeType, AcknowledgementResult};
use super::batch::{ShareBatch, ShareRecord};
use super::config::ShareConsumerConfig;
use super::error::{ShareConsumerError, ShareResult};
use super::machine::hold::Hold;
use super::machine::session::Session;
use super::shared::Shared;
use crate::clock::{self, Errand};
use crate::subscription::TopicPartition;

/// A share consumer as other tasks see it: it acknowledges and commits, and reads nothing. Cheap to clone. It outlives
/// its consumer, and then finds it [closed](ShareConsumerError::Closed).
#[derive(Debug, Clone)]
pub struct ShareConsumerHandle {
    pub(crate) shared: Arc<Shared>,
}

impl ShareConsumerHandle {
    /// The settings.
    pub fn config(&self) -> &ShareConsumerConfig {
        &self.shared.config
    }

    /// The id by which the group knows this member. The member chose it, and keeps it for its life (KIP-1082).
    pub fn member_id(&self) -> &str {
        &self.shared.member_id
    }

    /// The topics that are subscribed.
    pub fn subscription(&self) -> Vec<String> {
        self.shared.lock().topics.clone()
    }

    /// The partitions that the group has this member read, as far as their topics' names are known. Others may read the
    /// same ones.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let state = self.shared.lock();
        let mut all: Vec<_> = state.assignment.iter().map(|place| state.partition(*place)).collect();
        all.sort();
        all
    }

    /// What this consumer measures of itself, under Kafka's own names: see
    /// [`share_metric_specs`](crate::share_metric_specs). Never waits; no record costs anything for it.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.metrics.snapshot(clock::now())
    }

    /// How long the brokers let a member keep a record (`share.record.lock.duration.ms` of the group); `None` before the
    /// first fetch. Where brokers differ, the shortest. Java's `acquisitionLockTimeoutMs`.
    pub fn acquisition_lock_timeout(&self) -> Option<Duration> {
        self.shared.lock().sessions.values().filter_map(Session::lock).min()
    }

    /// Says what became of a record. It is sent with the next fetch, soon, or by [`commit`](Self::commit); what the
    /// group makes of it is told there, to the [callback](Self::set_acknowledgement_callback), or by the next call for
    /// records. The last word before it is sent counts. Records may be acknowledged in any order, and from any task.
    ///
    /// By [`AcknowledgeType::Renew`] the lock begins anew, and the record is to be acknowledged once more.
    ///
    /// # Errors
    /// [`ShareConsumerError::Acknowledge`]: the record is not with this member any more.
    /// [`ShareConsumerError::NotExplicit`]: records are acknowledged implicitly.
    pub fn acknowledge(&self, record: &ShareRecord, kind: AcknowledgeType) -> ShareResult<()> {
        self.say_of_one(&record.hold, record.offset(), kind)
    }

    /// As [`acknowledge`](Self::acknowledge), for the record at an offset of a batch.
    ///
    /// # Errors
    /// As [`acknowledge`](Self::acknowledge).
    pub fn acknowledge_offset(&self, batch: &ShareBatch, offset: i64, kind: AcknowledgeType) -> ShareResult<()> {
        self.say_of_one(&batch.hold, offset, kind)
    }

    /// As [`acknowledge`](Self::acknowledge), for every record of a batch of which nothing was said yet.
    ///
    /// # Errors
    /// As [`acknowledge`](Self::acknowledge), where there is no such record.
    pub fn acknowledge_batch(&self, batch: &ShareBatch, kind: AcknowledgeType) -> ShareResult<()> {
        self.say(&batch.hold, batch.offsets().collect(), |session, place, offsets| {
            let mut is_any = false;
            for (first, last) in offsets {
                is_any |= session.ledger.acknowledge_held(place, *first, *last, kind);
            }
            if is_any { Ok(()) } else { Err(AcknowledgeError::NotHeld) }
        })
    }

    fn say_of_one(&self, hold: &Hold, offset: i64, kind: AcknowledgeType) -> ShareResult<()> {
        self.say(hold, vec![(offset, offset)], |session, place, _| session.ledger.acknowledge(place, offset, kind))
    }

    fn say(
        &self,
        hold: &Hold,
        offsets: Vec<(i64, i64)>,
        what: impl FnOnce(&mut Session, super::machine::session::Place, &[(i64, i64)]) -> Result<(), AcknowledgeError>,
    ) -> ShareResult<()> {
        if !self.shared.is_explicit() {
            return Err(ShareConsumerError::NotExplicit { operation: "acknowledging a record" });
        }
        if self.shared.is_closed() {
            return Err(ShareConsumerError::Closed);
        }
        let mut state = self.shared.lock();
        let session = state.sessions.get_mut(&hold.broker).filter(|session| session.serial() == hold.session);
        let (is_news, result) = match session {
            Some(session) => (session.is_quiet() || session.is_idle(), what(session, hold.place, &offsets)),
            None => (false, Err(AcknowledgeError::NotHeld)),
        };
        match result {
            Ok(()) => {
                drop(state);
                if is_news {
                    self.shared.leaders.notify_waiters();
                }
                Ok(())
            }
            Err(source) => {
                let partition = state.partition(hold.place);
                Err(ShareConsumerError::Acknowledge { partition, offsets, source })
            }
        }
    }

    /// Has everything called that was acknowledged so far and not answered, whether explicitly or by coming back, with
    /// what became of it. One at a time; it is called by the consumer's tasks and must not block. It is not called for
    /// records that the consumer gave back on its own account.
    pub fn set_acknowledgement_callback(&self, callback: impl Fn(&AcknowledgementResult) + Send + Sync + 'static) {
        self.shared.set_callback(Arc::new(callback));
    }

    /// Sends what was acknowledged, and waits until the group has answered. By `implicit`, what was handed out is
    /// accepted. Gives what became of it, by partition; nothing where there was nothing to send. Java's `commitSync`.
    ///
    /// Waits for `default.api.timeout.ms` at most. Cancel safe: what was acknowledged is sent all the same, and an error
    /// is then told as after [`acknowledge`](Self::acknowledge).
    ///
    /// # Errors
    /// No answer in time; [`ShareConsumerError::Closed`]. What the group refused is in the results.
    pub async fn commit(&self) -> ShareResult<Vec<AcknowledgementResult>> {
        self.commit_async()?.await
    }

    /// As [`commit`](Self::commit), sent at once; the future that comes back gives what became of it, and may be
    /// dropped. Java's `commitAsync`.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_async(
        &self,
    ) -> ShareResult<impl Future<Output = ShareResult<Vec<AcknowledgementResult>>> + Send + use<>> {
        if self.shared.is_closed() {
            return Err(ShareConsumerError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.lock().begin_commit(reply);
        self.shared.publish();
        self.shared.leaders.notify_waiters();
        let limit = self.shared.config.client.default_api_timeout;
        // On the consumer's own runtime, for the caller may have none.
        let waiting = Errand::begin(&self.shared.runtime, async move { tokio::time::timeout(limit, answer).await });
        Ok(async move {
            match waiting.end().await {
                Some(Ok(Ok(results))) => Ok(results),
                None | Some(Ok(Err(_))) => Err(ShareConsumerError::Closed),
                Some(Err(_)) => Err(ShareConsumerError::Client {
                    doing: "committing acknowledgements",
                    source: rkafka_client_core::Error::new(
                        rkafka_client_core::ErrorKind::Timeout,
                        format!("no answer within {limit:?} (default.api.timeout.ms); it goes on in the background"),
                    ),
                }),
            }
        })
    }
}
