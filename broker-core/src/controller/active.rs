//! What the active controller keeps beside the log, and does when nobody asks: a machine over virtual time.
//!
//! It is made when a node becomes the active controller, and dropped when it is so no more. Its decisions are on the image
//! that all records make which this controller has decided, be they committed or not.

use std::time::Duration;

use rkafka_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::brokers::{self, Registering};
use super::sessions::Sessions;
use super::view::View;
use super::{Decision, MetadataRecord, elections};

/// How many leaders change in one step.
const ELECTIONS_MAX: usize = 1000;
/// The first version of BrokerRegistration that can tell of the broker's last epoch.
const VERSION_OF_CLEAN_STOPS: i16 = 3;

/// The active controller's own state.
#[derive(Debug)]
pub(crate) struct ActiveController {
    cluster_id: String,
    sessions: Sessions,
    /// How often leaders go back to the preferred ones, `None` for never; and when next.
    rebalance: Option<(Duration, Instant)>,
    /// How often leaderless partitions of topics that allow it get a leader uncleanly, and when next.
    unclean: (Duration, Instant),
    /// The broker whose registration was refused last, as it was started then.
    refused: Option<(i32, Uuid)>,
}

impl ActiveController {
    /// Becomes the active controller.
    pub fn new(view: &View<'_>, cluster_id: &str, now: Instant) -> Self {
        let config = view.config;
        let next = |interval: Duration| (interval, now.checked_add(interval).unwrap_or(now));
        Self {
            cluster_id: cluster_id.to_owned(),
            sessions: Sessions::new(view.image, config.broker_session_timeout, now),
            rebalance: config.auto_leader_rebalance_enable.then(|| {
                let seconds = u64::try_from(config.leader_imbalance_check_interval_seconds).unwrap_or(1).max(1);
                next(Duration::from_secs(seconds))
            }),
            unclean: next(config.unclean_leader_election_interval),
            refused: None,
        }
    }

    /// Takes note that a broker is there which need not say so: that of a controller which is alone.
    pub fn heard_of(&mut self, broker: i32, now: Instant) {
        self.sessions.heard_of(broker, now);
    }

    /// Decides about a BrokerRegistration.
    pub fn register(
        &mut self,
        view: &View<'_>,
        request: &BrokerRegistrationRequest,
        version: i16,
        now: Instant,
    ) -> Decision<BrokerRegistrationResponse> {
        let registering = Registering {
            cluster_id: &self.cluster_id,
            has_session: self.sessions.is_alive(view.image, request.broker_id, now),
            proves_clean_stop: version >= VERSION_OF_CLEAN_STOPS,
        };
        let Decision { records, reply } = brokers::register(view, registering, request);
        let reply = match reply {
            Ok(broker_epoch) => {
                tracing::info!(broker = request.broker_id, epoch = broker_epoch, "a broker registers");
                self.sessions.registered(request.broker_id, broker_epoch);
                BrokerRegistrationResponse { broker_epoch, ..Default::default() }
            }
            Err(refusal) => {
                let (broker, reason) = (request.broker_id, &refusal.message);
                // It asks again and again.
                if self.refused.replace((broker, request.incarnation_id)) != Some((broker, request.incarnation_id)) {
                    tracing::warn!(broker, reason, "the registration of a broker is refused");
                }
                let error_code = refusal.error.code();
                BrokerRegistrationResponse { error_code, broker_epoch: -1, ..Default::default() }
            }
        };
        Decision { records, reply }
    }

    /// Decides about a BrokerHeartbeat.
    pub fn heartbeat(
        &mut self,
        view: &View<'_>,
        request: &BrokerHeartbeatRequest,
        now: Instant,
    ) -> Decision<BrokerHeartbeatResponse> {
        if let Err(refusal) = view.check_epoch(request.broker_id, request.broker_epoch) {
            let reply = BrokerHeartbeatResponse { error_code: refusal.error.code(), ..Default::default() };
            return Decision { records: Vec::new(), reply };
        }
        let (records, verdict) = self.sessions.heartbeat(view, request, now);
        let reply = BrokerHeartbeatResponse {
            is_caught_up: verdict.is_caught_up,
            is_fenced: verdict.is_fenced,
            should_shut_down: verdict.should_shut_down,
            ..Default::default()
        };
        Decision { records, reply }
    }

    /// When [`ActiveController::poll`] has something to do next.
    pub fn deadline(&self, view: &View<'_>) -> Instant {
        let mut deadline = self.unclean.1;
        for at in self.rebalance.map(|(_, at)| at).into_iter().chain(self.sessions.deadline(view.image)) {
            deadline = deadline.min(at);
        }
        deadline
    }

    /// The next records that are due at this time. To be asked again, on the image that they make, until there are none.
    pub fn poll(&mut self, view: &View<'_>, now: Instant) -> Option<Vec<MetadataRecord>> {
        if let Some(records) = self.sessions.fence_one(view, now) {
            return Some(records);
        }
        if self.unclean.1 <= now {
            let Decision { records, reply: more } = elections::elect_uncleanly(view, ELECTIONS_MAX);
            go_on(&mut self.unclean, more, now);
            if !records.is_empty() {
                return Some(records);
            }
        }
        if let Some(rebalance) = self.rebalance.as_mut().filter(|(_, at)| *at <= now) {
            let Decision { records, reply: more } = elections::rebalance(view, ELECTIONS_MAX);
            go_on(rebalance, more, now);
            if !records.is_empty() {
                return Some(records);
            }
        }
        None
    }
}

/// Where one step was not enough, the next follows at once.
fn go_on((interval, at): &mut (Duration, Instant), more: bool, now: Instant) {
    if !more {
        *at = now.checked_add(*interval).unwrap_or(now);
    }
}
