//! The driver of the quorum's machine: its timer, and its requests to other controllers.

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::wire::Request;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::driver::{Call, Controller};
use crate::peer::{Peer, PeerClient, PeerError, Purpose};
use crate::raft::{CallFailed, RaftRequest, RaftResponse};

/// The versions in which controllers of this cluster talk.
const VOTE: i16 = 2;
const BEGIN_QUORUM_EPOCH: i16 = 1;
const END_QUORUM_EPOCH: i16 = 1;
const FETCH: i16 = 18;
const FETCH_SNAPSHOT: i16 = 1;

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
                    let answer = answer.map_err(|error| {
                        tracing::debug!(%error, "a controller does not answer");
                        CallFailed
                    });
                    controller.answered(id, answer);
                });
            }
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = due => controller.tick(),
            () = controller.rearmed() => {}
        }
        if let Some(snapshot) = controller.begin_snapshot() {
            let controller = Arc::clone(controller);
            under_way.spawn(async move { controller.write_snapshot(snapshot).await });
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
