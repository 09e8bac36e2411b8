//! What one client, or all of them together, may take of the broker.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::BrokerConfig;
use crate::locks::lock;

/// Requests up to this size are not counted: they are what most clients send, and what long polls are made of.
const COUNTED_FROM_BYTES: usize = 4 * 1024;
/// Bytes are counted in units of so many, for a semaphore counts no further than it must.
const UNIT_BYTES: usize = 1024;
/// A limit of open files up to this is worth a word.
const FEW_FILES: usize = 4096;

/// How many connections there may be at a time: `max.connections`, and of the files that the process may open no more than
/// leave enough for logs. In memory there are none, but the program around the broker may have some.
pub(crate) fn connections_max(config: &BrokerConfig) -> usize {
    let wanted = usize::try_from(config.max_connections).unwrap_or(1);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let most = if config.in_memory { files } else { files / 4 }.max(8);
    if wanted > most && files <= FEW_FILES {
        tracing::warn!(
            files,
            connections = most,
            "few files may be open at a time (`ulimit -n`), and so few connections"
        );
    }
    wanted.min(most)
}

/// The limits that all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// `queued.max.request.bytes` in units; `None` for no limit.
    requests: Option<(Arc<Semaphore>, u32)>,
    per_ip: Arc<Mutex<HashMap<IpAddr, i32>>>,
    per_ip_max: i32,
}

/// Counts a connection of an address for as long as it lives.
#[derive(Debug)]
pub(crate) struct OfAddress {
    per_ip: Arc<Mutex<HashMap<IpAddr, i32>>>,
    address: IpAddr,
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut per_ip = lock(&self.per_ip);
        if let Some(count) = per_ip.get_mut(&self.address) {
            *count -= 1;
            if *count <= 0 {
                per_ip.remove(&self.address);
            }
        }
    }
}

impl Limits {
    /// The limits that the settings say.
    pub fn of(config: &BrokerConfig) -> Self {
        let bytes = usize::try_from(config.queued_max_request_bytes).ok().filter(|bytes| *bytes > 0);
        let requests = bytes.map(|bytes| {
            let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
            (Arc::new(Semaphore::new(units as usize)), units)
        });
        Self { requests, per_ip: Arc::default(), per_ip_max: config.max_connections_per_ip }
    }

    /// Counts one more connection of an address; `None` where it has as many as it may.
    pub fn admit(&self, address: IpAddr) -> Option<OfAddress> {
        let mut per_ip = lock(&self.per_ip);
        let count = per_ip.get(&address).copied().unwrap_or(0);
        if count >= self.per_ip_max {
            return None;
        }
        per_ip.insert(address, count + 1);
        Some(OfAddress { per_ip: Arc::clone(&self.per_ip), address })
    }

    /// Waits until a request of so many bytes may be decoded and answered, which lasts until the permit is dropped. One
    /// that is larger than the limit waits until it is alone. In order of arrival, and cancel safe.
    pub async fn take_in(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let (semaphore, most) = self.requests.as_ref()?;
        if bytes <= COUNTED_FROM_BYTES {
            return None;
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(*most);
        // The semaphore is never closed.
        Arc::clone(semaphore).acquire_many_owned(units).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::{Duration, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_those_before_them() {
        let limits = Limits::of(&BrokerConfig::new().queued_max_request_bytes(100 * 1024));
        let first = limits.take_in(60 * 1024).await;
        assert!(first.is_some());
        assert!(limits.take_in(100).await.is_none(), "a small request is not counted");
        assert!(timeout(Duration::from_secs(1), limits.take_in(60 * 1024)).await.is_err());
        drop(first);
        let huge = limits.take_in(1024 * 1024 * 1024).await;
        assert!(huge.is_some(), "a request beyond the limit goes alone");
        assert!(timeout(Duration::from_secs(1), limits.take_in(5 * 1024)).await.is_err());
        let unlimited = Limits::of(&BrokerConfig::new());
        assert!(unlimited.take_in(usize::MAX).await.is_none());
    }

    #[test]
    fn an_address_has_so_many_connections() {
        let limits = Limits::of(&BrokerConfig::new().max_connections_per_ip(2));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let held = [limits.admit(address).unwrap(), limits.admit(address).unwrap()];
        assert!(limits.admit(address).is_none());
        assert!(limits.admit(IpAddr::V4(Ipv4Addr::BROADCAST)).is_some());
        drop(held);
        assert!(limits.admit(address).is_some());
        assert!(limits.per_ip.lock().unwrap().is_empty());
    }
}
