//! Metadata: who fetches it, when, and from whom.
//!
//! One task fetches, so that however many ask at once, one request goes out for all of them. Those who ask while one is
//! out are served by the next, for the one that is out may already have been answered when they asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rand::seq::SliceRandom;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::MetadataResponseBroker;
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::Inner;
use crate::{Cluster, Connection, Endpoint, Error, ErrorKind, Lane, MetadataRecovery, Result, clock};

/// Which topics' metadata to fetch. The brokers always come with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topics {
    /// Every topic of the cluster.
    All,
    /// The topics that have been asked for before; none at first.
    Known,
    /// The topics with these names, and from now on whenever metadata is fetched.
    Names(Vec<String>),
    /// The topics with these ids (version 12, KIP-516).
    Ids(Vec<Uuid>),
}

impl Topics {
    /// The topics with these names.
    pub fn named<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }
}

type Reply = oneshot::Sender<Result<Arc<Cluster>>>;

/// What the next request has to ask for.
#[derive(Debug, Default)]
struct Wanted {
    all: bool,
    ids: BTreeSet<Uuid>,
    replies: Vec<Reply>,
    /// Whether anything asks at all; without replies it is somebody who found the metadata to be old.
    due: bool,
    /// Nobody fetches any more.
    ended: bool,
}

/// The state of a client's metadata.
#[derive(Debug)]
pub(crate) struct Metadata {
    cluster: watch::Sender<Arc<Cluster>>,
    /// The names that are fetched each time.
    names: Mutex<BTreeSet<String>>,
    wanted: Mutex<Wanted>,
    wake: Notify,
    /// When a broker told of the cluster last.
    fetched: Mutex<Instant>,
}

impl Metadata {
    pub(crate) fn new() -> Self {
        Self {
            cluster: watch::Sender::default(),
            names: Mutex::default(),
            wanted: Mutex::default(),
            wake: Notify::new(),
            fetched: Mutex::new(clock::now()),
        }
    }

    pub(crate) fn note_fetched(&self) {
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
    }

    pub(crate) fn fetched(&self) -> Instant {
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Cluster>> {
        self.cluster.subscribe()
    }

    /// Changes the cluster; `None` leaves it as it is.
    pub(crate) fn change(&self, change: impl FnOnce(&Cluster) -> Option<Cluster>) -> bool {
        self.cluster.send_if_modified(|cluster| match change(cluster) {
            Some(next) => {
                *cluster = Arc::new(next);
                true
            }
            None => false,
        })
    }

    /// Asks for a fetch, and gives where its result will come.
    pub(crate) fn ask(&self, topics: Topics) -> oneshot::Receiver<Result<Arc<Cluster>>> {
        let (reply, answer) = oneshot::channel();
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match topics {
            Topics::All => wanted.all = true,
            Topics::Known => {}
            Topics::Names(names) => self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names),
            Topics::Ids(ids) => wanted.ids.extend(ids),
        }
        if wanted.ended {
            // The reply is dropped here, which is an answer too.
            return answer;
        }
        wanted.replies.push(reply);
        wanted.due = true;
        self.wake.notify_one();
        answer
    }

    /// Says that the metadata is old; it is fetched soon, and nobody waits.
    pub(crate) fn mark_stale(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).due = true;
        self.wake.notify_one();
    }

    pub(crate) fn forget(&self, topics: &[String]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().for_each(|name| {
            names.remove(name);
        });
        drop(names);
        self.change(|cluster| Some(cluster.without_topics(topics)));
    }

    fn take_wanted(&self) -> Wanted {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = wanted.ended;
        std::mem::replace(&mut *wanted, Wanted { ended, ..Wanted::default() })
    }

    fn is_due(&self) -> (bool, bool) {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        (wanted.due, !wanted.replies.is_empty())
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Held by the task that fetches. However that ends, and be it with its runtime, those who wait are told, and nobody
/// begins to wait.
pub(crate) struct Running(pub(crate) Arc<Metadata>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = Wanted { ended: true, ..Wanted::default() };
    }
}

/// The task that fetches. It ends when the client is closed or dropped.
pub(crate) async fn run(client: Weak<Inner>, running: Running) {
    let metadata = &running.0;
    let mut fetcher = Fetcher { failures: 0, fetched: clock::now(), not_before: clock::now() };
    // The client is not held while this waits, or it would never be dropped.
    let age = |fetcher: &Fetcher| {
        let client = client.upgrade().filter(|client| !client.is_closed())?;
        Some(clock::later(fetcher.fetched.max(fetcher.not_before), client.shared.config.metadata_max_age))
    };
    while let Some(refresh_at) = age(&fetcher) {
        let (due, somebody_waits) = metadata.is_due();
        if !due && clock::now() < refresh_at {
            tokio::select! {
                () = metadata.wake.notified() => {}
                () = tokio::time::sleep_until(refresh_at) => {}
            }
            continue;
        }
        // Those who wait have a backoff of their own; without them, a cluster in trouble is not asked all the time.
        if !somebody_waits && clock::now() < fetcher.not_before {
            tokio::select! {
                () = metadata.wake.notified() => {}
                () = tokio::time::sleep_until(fetcher.not_before) => {}
            }
            continue;
        }
        let Some(client) = client.upgrade() else { break };
        let wanted = metadata.take_wanted();
        let result = fetcher.fetch(&client, wanted.all, &wanted.ids).await;
        fetcher.note(&client, &result, wanted.due && wanted.replies.is_empty());
        for reply in wanted.replies {
            let _ = reply.send(result.clone());
        }
    }
}

struct Fetcher {
    failures: u32,
    /// When metadata last came.
    fetched: Instant,
    /// When it may be fetched again though nobody waits for it.
    not_before: Instant,
}

impl Fetcher {
    fn note(&mut self, client: &Inner, result: &Result<Arc<Cluster>>, was_stale: bool) {
        let now = clock::now();
        let delay = client.shared.config.retry_policy().delay(self.failures, &mut rand::rng());
        match result {
            Ok(_) => {
                // Somebody who finds the metadata old again and again waits longer each time (KIP-580).
                self.failures = if was_stale { self.failures.saturating_add(1) } else { 0 };
                self.fetched = now;
            }
            Err(error) => {
                tracing::warn!(%error, "metadata could not be fetched");
                self.failures = self.failures.saturating_add(1);
                client.metadata.mark_stale();
            }
        }
        self.not_before = clock::later(now, delay);
    }

    /// Asks one broker after the other until one answers, and begins anew at the bootstrap addresses where none does.
    async fn fetch(&mut self, client: &Inner, all: bool, ids: &BTreeSet<Uuid>) -> Result<Arc<Cluster>> {
        let config = &client.shared.config;
        let known = client.candidates(Lane::Control);
        let mut last = Error::new(ErrorKind::Unreachable, "no broker is known yet");
        // KIP-899: none can be reached. KIP-1102: they can, but none has given metadata for some time, or one says so.
        let (mut reached, mut told) = (false, false);
        for endpoint in &known {
            match ask_node(client, endpoint, all, ids).await {
                Ok(response) if response.error_code == ErrorCode::RebootstrapRequired.code() => {
                    told = true;
                    last = Error::broker_error(ErrorCode::RebootstrapRequired).with_broker(endpoint);
                    break;
                }
                Ok(response) => return client.took(&response, all),
                Err(error) => {
                    reached |= error.kind() != ErrorKind::Unreachable;
                    last = error;
                }
            }
        }
        let overdue = clock::now() >= clock::later(self.fetched, config.metadata_recovery_rebootstrap_trigger);
        let rebootstrap = config.metadata_recovery_strategy == MetadataRecovery::Rebootstrap;
        if known.is_empty() || (rebootstrap && (told || overdue || !reached)) {
            let response = bootstrap(client, all, ids).await?;
            return client.took(&response, all);
        }
        Err(last)
    }
}

async fn ask_node(client: &Inner, endpoint: &Endpoint, all: bool, ids: &BTreeSet<Uuid>) -> Result<MetadataResponse> {
    let connection = client.pool.connection(endpoint, Lane::Control).await?;
    ask_over(client, &connection, all, ids).await
}

/// Tries every bootstrap address, in random order so that many clients do not all choose the same, until one answers.
///
/// # Errors
/// None answers; the error names each address and what came of it.
pub(crate) async fn bootstrap(client: &Inner, all: bool, ids: &BTreeSet<Uuid>) -> Result<MetadataResponse> {
    let mut addresses = client.shared.config.addresses()?;
    addresses.shuffle(&mut rand::rng());
    let mut errors: Vec<Error> = Vec::new();
    for address in addresses {
        let endpoint = Endpoint { node_id: None, address };
        // Not from the pool: which broker this is will be known only from its answer, and only where the broker is
        // advertised under this very address.
        let attempt = async {
            let connection = client.pool.first(&endpoint).await?;
            let response = ask_over(client, &connection, all, ids).await?;
            if response.brokers.is_empty() {
                let error = Error::new(ErrorKind::Unreachable, "it knows of no broker in its cluster, not even itself");
                return Err(error.with_broker(&endpoint));
            }
            let here = |broker: &&MetadataResponseBroker| {
                broker.host == endpoint.address.host && i32::from(endpoint.address.port) == broker.port
            };
            if let Some(broker) = response.brokers.iter().find(here) {
                let named = Endpoint { node_id: Some(broker.node_id), ..endpoint.clone() };
                client.pool.adopt(&named, Lane::Control, &connection);
            }
            Ok(response)
        };
        match attempt.await {
            Ok(response) => return Ok(response),
            Err(error) => errors.push(error),
        }
    }
    let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    // Where all of them fail in a way that trying again does not cure, that is what it is.
    let kind = match errors.iter().find(|error| error.is_retriable()) {
        Some(_) => ErrorKind::Unreachable,
        None => errors.first().map_or(ErrorKind::Unreachable, Error::kind),
    };
    Err(Error::new(kind, format!("no bootstrap server answers (bootstrap.servers): {}", texts.join("; "))))
}

async fn ask_over(
    client: &Inner,
    connection: &Connection,
    all: bool,
    ids: &BTreeSet<Uuid>,
) -> Result<MetadataResponse> {
    let version = connection.versions().highest::<MetadataRequest>(i16::MAX)?;
    let names = client.metadata.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let named = names.into_iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
    let topics = if all {
        // Version 0 has no null: there, an empty list stands for everything.
        if version == 0 { Some(Vec::new()) } else { None }
    } else {
        let mut topics: Vec<MetadataRequestTopic> = named.collect();
        if !ids.is_empty() {
            if version < 12 {
                let message = "topics cannot be asked for by id (Metadata version 12); name them, or use a newer Kafka";
                return Err(Error::new(ErrorKind::UnsupportedVersion, message).with_broker(connection.endpoint()));
            }
            let of_id = |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() };
            topics.extend(ids.iter().map(of_id));
        }
        Some(topics)
    };
    let request = MetadataRequest {
        topics,
        // Before version 4 a broker creates topics as its own settings say, and there is no way to tell it not to.
        allow_auto_topic_creation: client.options.allow_auto_create_topics || version < 4,
        ..MetadataRequest::default()
    };
    connection.request(request, i16::MAX, client.shared.config.request_timeout).await
}
