//! The driver of the quorum's machine: its timer, and its requests to other controllers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::wire::Request;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::driver::{Call, Controller};
use crate::peer::{Peer, PeerClient, PeerError, Purpose};
use crate::raft::{CallFailed, RaftRequest, RaftResponse};

/// The versions in which controllers of this cluster talk.
const VOTE: i16 = 2;
const BEGIN_QUORUM_EPOCH: i16 = 1;
const END_QUORUM_EPOCH: i16 = 1;
const FETCH: i16 = 18;
const FETCH_SNAPSHOT: i16 = 1;
/// For how long a controller may be silent until it is told of.
const SILENT_MAX: Duration = Duration::from_secs(3);

/// Runs until the node stops.
pub(crate) async fn run_quorum(
    controller: Arc<Controller>,
    peers: Arc<dyn PeerClient>,
    request_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let Some(mut calls) = controller.take_calls() else { return };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = drive(&controller, &peers, request_timeout, &mut calls) => {}
    }
}

async fn drive(
    controller: &Arc<Controller>,
    peers: &Arc<dyn PeerClient>,
    within: Duration,
    calls: &mut mpsc::UnboundedReceiver<Call>,
) {
    let mut under_way = JoinSet::new();
    let mut troubles = Troubles::default();
    loop {
        let due = async {
            match controller.deadline() {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            call = calls.recv() => {
                let Some(Call { id, to, request }) = call else { return };
                let (controller, peers) = (Arc::clone(controller), Arc::clone(peers));
                under_way.spawn(async move {
                    let answer = ask(&*peers, to, request, within).await;
                    let trouble = trouble_of(&answer);
                    controller.answered(id, answer.map_err(|_| CallFailed));
                    Some((to, trouble))
                });
            }
            Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                if let Ok(Some((node, trouble))) = done {
                    troubles.note(node, trouble, controller.clock_now());
                }
            }
            () = due => controller.tick(),
            () = controller.rearmed() => {}
        }
        if let Some(snapshot) = controller.begin_snapshot() {
            let controller = Arc::clone(controller);
            under_way.spawn(async move {
                controller.write_snapshot(snapshot).await;
                None
            });
        }
    }
}

/// Why another controller is of no use.
#[derive(Debug)]
enum Trouble {
    /// It does not answer, as it is with one that has not been started yet.
    Silent(String),
    /// It answers that it is of another cluster, which time does not heal.
    OtherCluster,
}

fn trouble_of(answer: &Result<RaftResponse, PeerError>) -> Option<Trouble> {
    let code = match answer {
        Err(error) => return Some(Trouble::Silent(error.to_string())),
        Ok(RaftResponse::Vote(response)) => response.error_code,
        Ok(RaftResponse::BeginQuorumEpoch(response)) => response.error_code,
        Ok(RaftResponse::EndQuorumEpoch(response)) => response.error_code,
        Ok(RaftResponse::Fetch(response)) => response.error_code,
        Ok(RaftResponse::FetchSnapshot(response)) => response.error_code,
    };
    (code == ErrorCode::InconsistentClusterId.code()).then_some(Trouble::OtherCluster)
}

/// Tells operators of controllers that are of no use, once each time, and not of those that are a little late.
#[derive(Debug, Default)]
struct Troubles {
    /// Since when a controller is silent, and whether that was told.
    since: BTreeMap<i32, (Instant, bool)>,
}

impl Troubles {
    fn note(&mut self, node: i32, trouble: Option<Trouble>, now: Instant) {
        let Some(trouble) = trouble else {
            if self.since.remove(&node).is_some_and(|(_, is_told)| is_told) {
                tracing::info!(node, "the controller answers again");
            }
            return;
        };
        let (since, is_told) = self.since.entry(node).or_insert((now, false));
        if *is_told {
            return;
        }
        match trouble {
            Trouble::OtherCluster => {
                *is_told = true;
                tracing::warn!(
                    "node {node} is of another cluster than this one: compare `cluster.id` in meta.properties of both, \
                     and `controller.quorum.voters`, from which it follows where nothing was formatted"
                );
            }
            Trouble::Silent(reason) if now.saturating_duration_since(*since) >= SILENT_MAX => {
                *is_told = true;
                tracing::warn!("a controller does not answer: {reason}");
            }
            Trouble::Silent(_) => {}
        }
    }
}

async fn ask(
    peers: &(dyn PeerClient + 'static),
    to: i32,
    request: RaftRequest,
    within: Duration,
) -> Result<RaftResponse, PeerError> {
    async fn call<R: Request>(
        peers: &(dyn PeerClient + 'static),
        to: i32,
        version: i16,
        request: R,
        within: Duration,
    ) -> Result<R::Response, PeerError> {
        let is_fetch = matches!(R::KEY, rkafka_protocol::ApiKey::Fetch | rkafka_protocol::ApiKey::FetchSnapshot);
        let purpose = if is_fetch { Purpose::MetadataFetch } else { Purpose::Quorum };
        peers.call(Peer::new(to, purpose), version, &request, within).await
    }
    Ok(match request {
        RaftRequest::Vote(request) => RaftResponse::Vote(call(peers, to, VOTE, request, within).await?),
        RaftRequest::BeginQuorumEpoch(request) => {
            RaftResponse::BeginQuorumEpoch(call(peers, to, BEGIN_QUORUM_EPOCH, request, within).await?)
        }
        RaftRequest::EndQuorumEpoch(request) => {
            RaftResponse::EndQuorumEpoch(call(peers, to, END_QUORUM_EPOCH, request, within).await?)
        }
        RaftRequest::Fetch(request) => RaftResponse::Fetch(call(peers, to, FETCH, request, within).await?),
        RaftRequest::FetchSnapshot(request) => {
            RaftResponse::FetchSnapshot(call(peers, to, FETCH_SNAPSHOT, request, within).await?)
        }
    })
}
