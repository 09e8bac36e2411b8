//! Taking connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rkafka_net::Listener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::{Connection, serve};

/// Takes connections until the broker stops, then waits for those that are open to end. `seed` is what each connection
/// is served with; its number comes from `numbers`, its permit from `permits` (`max.connections`).
pub(crate) async fn accept_all(listener: Listener, seed: Connection, numbers: Arc<AtomicU64>, permits: Arc<Semaphore>) {
    let mut stop = seed.stop.clone();
    let mut open = JoinSet::new();
    loop {
        // Connections beyond the limit stay in the system's queue until another is gone, as in Kafka.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(listener = %seed.listener, %error, "the listener failed, it takes no more connections");
                break;
            }
        };
        while open.try_join_next().is_some() {}
        let Some(of_address) = seed.limits.admit(peer.ip()) else {
            tracing::info!(client = %peer.ip(), "the address has as many connections as it may (max.connections.per.ip)");
            continue;
        };
        let mut connection = seed.clone();
        connection.number = numbers.fetch_add(1, Ordering::Relaxed);
        connection.client_host = format!("/{}", peer.ip());
        connection.client_port = peer.port();
        open.spawn(async move {
            serve(connection, stream).await;
            drop((permit, of_address));
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}
