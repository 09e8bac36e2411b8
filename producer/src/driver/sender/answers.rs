//! What comes back: answers, or the end of the connection.

use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::{Link, Response};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::ProduceRequest;

use super::{Connection, Sender};
use crate::clock;
use crate::config::Acks;
use crate::driver::produce::{self, Sent};
use crate::machine::accumulator::Answer;
use crate::machine::batch::Load;
use crate::partition::Partition;

impl Sender {
    pub(super) fn complete(&mut self, partition: &Arc<Partition>, id: u64, answer: Answer) {
        let pause = match &answer {
            Answer::Written { .. } => {
                self.failures = 0;
                Duration::ZERO
            }
            Answer::Refused { .. } | Answer::Lost { .. } => {
                self.shared.client.config().retry_policy().delay(self.failures, &mut rand::rng())
            }
            Answer::Split(_) | Answer::Unsent { .. } | Answer::Unsendable { .. } => Duration::ZERO,
        };
        let mut slot = partition.lock();
        slot.queue.complete(clock::now(), id, answer, pause, &mut self.resolved);
        if let Some(coordination) = &self.shared.coordination
            && coordination.is_shut()
        {
            // The transaction is being aborted: nothing is sent again.
            let coordination = coordination.clone();
            let has_gap = slot.queue.drop_unsent(None, &mut self.resolved);
            partition.signal(slot);
            if has_gap {
                self.shared.with_transactions(&coordination, |machine| machine.on_gap());
            }
            return;
        }
        if slot.sender_id() == self.mailbox.broker {
            return;
        }
        // The partition has moved: its sender waits for this answer before it goes on.
        partition.signal(slot);
    }

    pub(super) fn answered(&mut self, connection: &Connection, response: Response) -> Result<(), String> {
        let Some(request) = self.in_flight.pop_front() else {
            return Err("the broker answered what was not asked".to_owned());
        };
        debug_assert_eq!(request.correlation_id, response.correlation_id, "the link keeps the order");
        let (received_at, written_at, now) = (response.received_at, response.written_at, clock::now());
        let response = match response.decode::<ProduceRequest>() {
            Ok(response) => response,
            Err(error) => {
                let detail = error.to_string();
                self.give_back(request.batches, true, &detail.as_str().into());
                return Err(detail);
            }
        };
        self.has_answered = true;
        self.used_at = now;
        self.trouble = None;
        let (queued_at, throttle_ms) = (request.queued_at, response.throttle_time_ms);
        self.shared.metrics.answered(received_at, queued_at, written_at, throttle_ms);
        if let Connection::Up(link) = connection {
            link.record_latency(received_at, received_at.saturating_duration_since(queued_at));
        }
        if let Ok(throttle @ 1..) = u64::try_from(response.throttle_time_ms) {
            self.throttled_until = Some(now + Duration::from_millis(throttle));
        }
        let shared = self.shared.clone();
        let results = produce::results(&request.batches, &response).collect::<Vec<_>>();
        let mut refused = false;
        for (sent, result) in request.batches.iter().zip(results) {
            let load = Load::Sealed(sent.payload.clone());
            let answer = match result {
                None => {
                    let detail = "the broker's answer says nothing of the batch".into();
                    Answer::Lost { sent: true, detail, load }
                }
                Some(result) if result.error_code == 0 => {
                    shared.metrics.delivered(now, sent.created);
                    Answer::Written { base_offset: result.base_offset, log_append_time: result.log_append_time_ms }
                }
                Some(result) => {
                    let code = ErrorCode::from_code(result.error_code);
                    // What is only out of sequence is so because of another failure, which counts already.
                    refused |= code != ErrorCode::OutOfOrderSequenceNumber;
                    tracing::debug!(topic = %sent.partition.topic, partition = sent.partition.index, %code, "batch refused");
                    produce::learn_leader(&shared, &sent.partition, &response, result);
                    self.refused(&sent.partition, code, result.error_message.as_deref(), load)
                }
            };
            self.complete(&sent.partition, sent.id, answer);
        }
        drop(request);
        if refused {
            self.failures = self.failures.saturating_add(1);
        }
        self.shared.resolve(&mut self.resolved);
        Ok(())
    }

    fn refused(&mut self, partition: &Partition, code: ErrorCode, message: Option<&str>, load: Load) -> Answer {
        if matches!(code, ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) {
            if let Some(ratio) = load.compression_ratio() {
                partition.fill.on_too_large(ratio);
            }
            match load.split(&self.shared.memory, &mut self.arena) {
                Ok(Some(halves)) => {
                    self.shared.metrics.split(clock::now());
                    return Answer::Split(halves);
                }
                Ok(None) => {}
                Err(error) => return Answer::Unsendable { detail: error.to_string().into() },
            }
        }
        Answer::Refused { code, detail: message.map(Arc::from), load }
    }

    pub(super) fn give_back(&mut self, batches: Vec<Sent>, sent: bool, detail: &Arc<str>) {
        for Sent { partition, id, payload, .. } in batches {
            let answer = Answer::Lost { sent, detail: detail.clone(), load: Load::Sealed(payload) };
            self.complete(&partition, id, answer);
        }
        self.shared.resolve(&mut self.resolved);
    }

    pub(super) fn fail(&mut self, connection: &mut Connection, reason: &str) {
        if let Connection::Up(link) = connection {
            self.lose(link, reason);
        }
        *connection = Connection::None;
    }

    /// The connection is of no use any more: what was under way goes back to its queues, with the news whether the
    /// broker may have got it.
    pub(super) fn lose(&mut self, link: &mut Link, reason: &str) {
        if !self.has_answered {
            // Brokers that take connections and drop them are not to be asked in a tight loop.
            let pause = self.shared.client.config().retry_policy().delay(self.failures, &mut rand::rng());
            self.connect_at = clock::now().checked_add(pause);
            self.trouble = Some(reason.into());
        }
        if self.in_flight.is_empty() {
            tracing::debug!(broker = self.mailbox.broker, reason, "an idle connection ended");
            if !self.has_answered {
                self.failures = self.failures.saturating_add(1);
            }
            if self.shared.config.acks == Acks::None
                && let Some(partition) = self.shared.partitions().first()
            {
                // To hang up is all that a broker can do about a request that has no answer, such as one for a
                // partition that it does not lead any more.
                self.shared.client.invalidate(&partition.topic, partition.index);
            }
            return;
        }
        tracing::warn!(broker = self.mailbox.broker, reason, requests = self.in_flight.len(), "the connection failed");
        let detail: Arc<str> = reason.into();
        self.trouble = Some(detail.clone());
        for request in std::mem::take(&mut self.in_flight) {
            for sent in &request.batches {
                self.shared.client.invalidate(&sent.partition.topic, sent.partition.index);
            }
            let maybe_written = link.maybe_written(request.correlation_id);
            self.give_back(request.batches, maybe_written, &detail);
        }
        // Only now, for what came back waits for the pause of the failures before.
        self.failures = self.failures.saturating_add(1);
    }
}
