//! After a stop that was not in good order, logs are looked through before somebody asks for them.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::BrokerState;
use crate::locks::lock;

/// Has every log recovered by threads of its data directory (`num.recovery.threads.per.data.dir`). Returns at once; the
/// threads end with the broker.
pub(crate) fn recover_in_background(broker: &Arc<BrokerState>, stop: &watch::Receiver<bool>) {
    if broker.dirs.were_left_clean() {
        return;
    }
    let mut by_dir = vec![Vec::new(); broker.dirs.dirs().len()];
    for topic in broker.image().topics() {
        for index in (0..).take(topic.partitions.len()) {
            let at = broker.dirs.position(&topic.name, index);
            if let Some(logs) = at.and_then(|at| by_dir.get_mut(at)) {
                logs.push((Arc::clone(&topic.name), index));
            }
        }
    }
    if broker.dirs.storage.is_simulated() {
        // Each log is recovered by whoever asks for it first, on the one thread that there is.
        return;
    }
    for logs in by_dir {
        let threads = usize::try_from(broker.config.num_recovery_threads_per_data_dir).unwrap_or(1).min(logs.len());
        let logs = Arc::new(Mutex::new(logs.into_iter()));
        for _ in 0..threads {
            let (logs, broker, stop) = (Arc::clone(&logs), Arc::downgrade(broker), stop.clone());
            let recover = move || {
                loop {
                    let next = lock(&logs).next();
                    let (Some((topic, index)), Some(broker)) = (next, broker.upgrade()) else { return };
                    if *stop.borrow() {
                        return;
                    }
                    // A partition that is gone needs no recovery; why one cannot be opened is logged there.
                    if let Ok(partition) = broker.partition(&topic, index) {
                        let _ = partition.with_log(broker.clock.now_ms(), |_| ());
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name("rkafka-recovery".to_owned()).spawn(recover) {
                // Then each log is recovered by whoever asks for it first.
                tracing::warn!(%error, "no thread can be had to recover logs");
            }
        }
    }
}
