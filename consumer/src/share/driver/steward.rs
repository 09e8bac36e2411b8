//! The steward: knows which broker leads what is assigned, and sees that somebody talks to each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rkafka_client_core::{Cluster, Topics};
use tokio::task::JoinSet;

use super::leader;
use crate::clock;
use crate::share::error::ShareConsumerError;
use crate::share::machine::session::Place;
use crate::share::shared::Shared;

/// Closes the consumer where the steward ends before its time: the runtime may be gone, and nothing would come any more.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let is_closing = self.0.lock().is_closing;
        if !is_closing {
            self.0.mark_closed();
        }
    }
}

/// Runs until the consumer closes and all sessions are closed. Dropped, it ends those who talk to the leaders.
pub(crate) async fn run(shared: Arc<Shared>) {
    let _ending = Ending(Arc::clone(&shared));
    let mut leaders: JoinSet<i32> = JoinSet::new();
    let mut running: BTreeSet<i32> = BTreeSet::new();
    let mut refresh: JoinSet<bool> = JoinSet::new();
    let mut changes = shared.client.cluster_changes();
    let mut failures: u32 = 0;
    let mut next_refresh = clock::now();
    loop {
        let mut woken = std::pin::pin!(shared.steward.notified());
        woken.as_mut().enable();
        let now = clock::now();
        let cluster = Arc::clone(&changes.borrow_and_update());
        let plan = plan(&shared, &cluster);
        shared.publish();
        if plan.is_over && running.is_empty() {
            return;
        }
        let mut deadline = None;
        if !plan.is_over && !plan.topics.is_empty() && refresh.is_empty() {
            if plan.is_unknown || shared.stale.load(Ordering::Acquire) {
                if now >= next_refresh {
                    shared.stale.store(false, Ordering::Release);
                    next_refresh = now + shared.config.client.retry_policy().delay(failures, &mut rand::rng());
                    failures = failures.saturating_add(1);
                    let shared = Arc::clone(&shared);
                    refresh.spawn(async move { fetch_metadata(&shared, plan.topics).await });
                } else {
                    deadline = Some(next_refresh);
                }
            } else {
                failures = 0;
            }
        }
        for broker in plan.brokers {
            if running.insert(broker) {
                leaders.spawn(leader::run(Arc::clone(&shared), broker));
            }
        }
        shared.leaders.notify_waiters();
        tokio::select! {
            () = woken => {}
            Ok(()) = changes.changed() => {}
            Some(done) = leaders.join_next() => match done {
                Ok(broker) => { running.remove(&broker); }
                Err(error) => {
                    tracing::error!(%error, "a task that talks to a broker ended");
                    running.clear();
                    leaders.abort_all();
                }
            },
            Some(done) = refresh.join_next() => if !done.unwrap_or(false) {
                shared.stale.store(true, Ordering::Release);
            },
            () = clock::sleep_until(deadline) => {}
        }
    }
}

struct Plan {
    topics: Vec<String>,
    /// A topic or a leader is not known.
    is_unknown: bool,
    /// The brokers with whom there is a session, or is to be one.
    brokers: Vec<i32>,
    is_over: bool,
}

/// Shows the sessions what the cluster looks like.
fn plan(shared: &Shared, cluster: &Cluster) -> Plan {
    let mut state = shared.lock();
    let state = &mut *state;
    let mut wanted: BTreeMap<i32, BTreeSet<Place>> = BTreeMap::new();
    let mut leaders: HashMap<Place, i32> = HashMap::new();
    let mut is_unknown = false;
    for place in &state.assignment {
        let topic = cluster.topic_by_id(place.topic_id);
        if let Some(topic) = topic {
            state.names.entry(topic.id).or_insert_with(|| topic.name.as_str().into());
        }
        let partition = topic.and_then(|topic| topic.partition(place.partition));
        match partition.and_then(|partition| partition.leader) {
            Some(leader) => {
                wanted.entry(leader).or_default().insert(*place);
                leaders.insert(*place, leader);
            }
            None => is_unknown = true,
        }
    }
    if !state.is_closing {
        for broker in wanted.keys() {
            state.session(&shared.config, *broker);
        }
    }
    for (broker, session) in &mut state.sessions {
        let elsewhere = |place: Place| leaders.get(&place).is_some_and(|leader| leader != broker);
        session.want(wanted.remove(broker).unwrap_or_default(), elsewhere);
        if state.is_closing {
            session.close();
        }
    }
    state.sessions.retain(|_, session| !session.is_closed() && (!session.is_idle() || !session.ledger.is_empty()));
    Plan {
        topics: state.topics.clone(),
        is_unknown,
        brokers: state.sessions.keys().copied().collect(),
        is_over: state.is_closing,
    }
}

/// Whether it could be had.
async fn fetch_metadata(shared: &Shared, topics: Vec<String>) -> bool {
    match shared.client.refresh(Topics::named(topics)).await {
        Ok(_) => true,
        Err(error) => {
            if error.is_retriable() {
                tracing::debug!(%error, "metadata could not be fetched, and is asked for again");
            } else {
                shared.lock().tell(ShareConsumerError::Client { doing: "fetching metadata", source: error });
            }
            false
        }
    }
}
