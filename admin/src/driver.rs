//! What carries an operation out: finds where each item belongs, sends it there with the others of that broker, and
//! tries again what may succeed later, until the time is over.
//!
//! An [`Operation`] decides and does nothing: it says where an item belongs, writes requests, and reads answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rkafka_client_core::{CoordinatorKind, Error, ErrorCode, ErrorKind, Lane, Result, Target, TopicPartition, Topics};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};
use rkafka_protocol::wire::Request;

use crate::{Admin, PerItem};

/// How often in a row something may be unknown before it is believed: a broker learns of a new topic a moment after the
/// controller has made it.
const MISSES_MAX: u32 = 3;

/// Where an item belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Any broker.
    Any,
    /// The broker that takes requests to the controller.
    Controller,
    /// The broker with this id.
    Node(i32),
    /// The coordinator of this group or transactional producer.
    Coordinator(CoordinatorKind, String),
    /// The leader of this partition.
    Leader(TopicPartition),
}

impl Place {
    pub(crate) fn group(group: impl Into<String>) -> Self {
        Self::Coordinator(CoordinatorKind::Group, group.into())
    }

    pub(crate) fn transaction(transactional_id: impl Into<String>) -> Self {
        Self::Coordinator(CoordinatorKind::Transaction, transactional_id.into())
    }
}

type ResponseOf<O> = <<O as Operation>::Request as Request>::Response;

/// What a broker said of each item; or the error that it answered in place of all of them.
pub(crate) type Answers<K, V> = Result<Vec<(K, Result<V>)>>;

/// An operation over items.
pub(crate) trait Operation: Sync {
    /// What names an item.
    type Key: Ord + Clone + Send + Sync;
    /// What comes back for one.
    type Value: Send;
    /// The request that asks for several.
    type Request: Request<Response: Send> + Send + 'static;
    /// The newest version that is used: in a newer one the request would say something else.
    const VERSION_MAX: i16 = i16::MAX;

    /// Where an item belongs.
    fn place(&self, key: &Self::Key) -> Place;

    /// How many items a request can name in this version.
    fn batch_max(&self, _version: i16) -> usize {
        usize::MAX
    }

    /// Whether what is asked of this item can be said in `version`.
    fn check(&self, _version: i16, _key: &Self::Key) -> Result<()> {
        Ok(())
    }

    /// The request for these items, to be written in `version`.
    fn request(&self, version: i16, keys: &[Self::Key]) -> Result<Self::Request>;

    /// What the answer says of the items that were asked for.
    fn read(&self, keys: &[Self::Key], response: ResponseOf<Self>) -> Answers<Self::Key, Self::Value>;

    /// Whether an error that is final elsewhere passes with time here.
    fn passes(&self, _code: ErrorCode) -> bool {
        false
    }

    /// An error with what it is about.
    fn about(&self, _key: &Self::Key, error: Error) -> Error {
        error
    }
}

/// What an error of one item leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is the result.
    Final,
    /// The same broker is asked again.
    Again,
    /// The item belongs elsewhere by now.
    Moved,
    /// As `Moved`, but believed after a few times.
    Missing,
}

fn verdict(place: &Place, code: ErrorCode) -> Verdict {
    match (place, code) {
        (Place::Coordinator(..), ErrorCode::CoordinatorLoadInProgress) => Verdict::Again,
        (Place::Coordinator(..), ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator) => Verdict::Moved,
        (Place::Leader(_), ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => Verdict::Missing,
        (
            Place::Leader(_),
            ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::ListenerNotFound
            | ErrorCode::KafkaStorageError,
        ) => Verdict::Moved,
        (Place::Leader(_), ErrorCode::OffsetNotAvailable) => Verdict::Again,
        (Place::Any | Place::Controller | Place::Node(_), ErrorCode::NotController) => Verdict::Moved,
        // KIP-599: the quota of changes fills up again.
        (Place::Any | Place::Controller, ErrorCode::ThrottlingQuotaExceeded) => Verdict::Again,
        _ => Verdict::Final,
    }
}

#[derive(Debug, Default)]
struct Waiting {
    last: Option<Error>,
    misses: u32,
}

struct Progress<K, V> {
    open: BTreeMap<K, Waiting>,
    done: BTreeMap<K, Result<V>>,
    leaders: BTreeMap<TopicPartition, i32>,
    coordinators: HashMap<(CoordinatorKind, String), i32>,
    /// The metadata is old.
    stale: bool,
    /// A broker has said something of an item of its own.
    answered: bool,
}

/// Where items are sent together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Broker {
    Any,
    Controller,
    Node(i32),
}

struct Run<'a, O: Operation> {
    admin: &'a Admin,
    operation: &'a O,
    progress: Mutex<Progress<O::Key, O::Value>>,
}

impl Admin {
    /// Carries `operation` out for `keys`. Fails as a whole only where no broker has said anything of any item.
    pub(crate) async fn run<O: Operation>(
        &self,
        operation: &O,
        keys: impl IntoIterator<Item = O::Key> + Send,
        limit: Duration,
    ) -> Result<PerItem<O::Value, O::Key>> {
        let open: BTreeMap<O::Key, Waiting> = keys.into_iter().map(|key| (key, Waiting::default())).collect();
        let run = Run {
            admin: self,
            operation,
            progress: Mutex::new(Progress {
                open,
                done: BTreeMap::new(),
                leaders: BTreeMap::new(),
                coordinators: HashMap::new(),
                stale: false,
                answered: false,
            }),
        };
        let outcome = rkafka_client_core::retry(self.policy(limit), |_| run.round()).await;
        let Progress { open, mut done, answered, .. } =
            run.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = outcome {
            if !answered && done.is_empty() {
                return Err(error);
            }
            for (key, waiting) in open {
                let late = Error::new(ErrorKind::Timeout, format!("no success within {limit:?}"))
                    .with_maybe_written(error.maybe_written());
                let late = match waiting.last {
                    Some(last) => late.with_source(last),
                    None => late,
                };
                let late = operation.about(&key, late);
                done.insert(key, Err(late));
            }
        }
        match done.values().next() {
            Some(Err(error)) if !answered => Err(error.clone()),
            _ => Ok(done),
        }
    }
}

impl<O: Operation> Run<'_, O> {
    fn progress(&self) -> MutexGuard<'_, Progress<O::Key, O::Value>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is open, once. Answers are kept as they come, so that a broker that does not answer costs the
    /// others nothing.
    async fn round(&self) -> Result<()> {
        let stale = std::mem::take(&mut self.progress().stale);
        if stale {
            // What fails here fails again where it is needed.
            drop(self.admin.client().refresh(Topics::Known).await);
        }
        let open: Vec<(O::Key, Place)> =
            self.progress().open.keys().map(|key| (key.clone(), self.operation.place(key))).collect();
        self.find_leaders(&open).await;
        self.find_coordinators(&open).await;
        let mut batches: BTreeMap<Broker, Vec<O::Key>> = BTreeMap::new();
        {
            let progress = self.progress();
            for (key, place) in open {
                let broker = match place {
                    Place::Any => Some(Broker::Any),
                    Place::Controller => Some(Broker::Controller),
                    Place::Node(id) => Some(Broker::Node(id)),
                    Place::Coordinator(kind, name) => {
                        progress.coordinators.get(&(kind, name)).copied().map(Broker::Node)
                    }
                    Place::Leader(partition) => progress.leaders.get(&partition).copied().map(Broker::Node),
                };
                if let Some(broker) = broker {
                    batches.entry(broker).or_default().push(key);
                }
            }
        }
        all(batches.into_iter().map(|(broker, keys)| self.send(broker, keys))).await;
        let progress = self.progress();
        match progress.open.values().next() {
            None => Ok(()),
            Some(waiting) => Err(waiting
                .last
                .clone()
                .filter(Error::is_retriable)
                .unwrap_or_else(|| Error::new(ErrorKind::Timeout, "no answer yet"))),
        }
    }

    async fn send(&self, broker: Broker, keys: Vec<O::Key>) {
        let client = self.admin.client();
        let target = match broker {
            Broker::Any => Target::Any,
            Broker::Controller => Target::Controller,
            Broker::Node(id) => Target::Node(id),
        };
        let connection = match client.connection(&target, Lane::Control).await {
            Ok(connection) => connection,
            Err(error) => return self.failed(&keys, &error),
        };
        let version = match connection.versions().highest::<O::Request>(O::VERSION_MAX) {
            Ok(version) => version,
            Err(error) => return self.failed(&keys, &error.with_broker(connection.endpoint())),
        };
        let timeout = client.config().request_timeout;
        let mut sayable = Vec::with_capacity(keys.len());
        for key in keys {
            match self.operation.check(version, &key) {
                Ok(()) => sayable.push(key),
                Err(error) => self.failed(&[key], &error.with_broker(connection.endpoint())),
            }
        }
        let batches = sayable.chunks(self.operation.batch_max(version).max(1));
        all(batches.map(|keys| {
            let connection = &connection;
            async move {
                let response = match self.operation.request(version, keys) {
                    Ok(request) => connection.request(request, version, timeout).await,
                    Err(error) => Err(error.with_broker(connection.endpoint())),
                };
                match response {
                    Ok(response) => self.answered(keys, response),
                    Err(error) => self.failed(keys, &error),
                }
            }
        }))
        .await;
    }

    fn answered(&self, keys: &[O::Key], response: ResponseOf<O>) {
        match self.operation.read(keys, response) {
            Ok(answers) => {
                let mut told: BTreeMap<O::Key, Result<O::Value>> = answers.into_iter().collect();
                let mut progress = self.progress();
                progress.answered = true;
                for key in keys {
                    let silent = || Err(Error::new(ErrorKind::Protocol, "the broker's answer says nothing of it"));
                    let result = told.remove(key).unwrap_or_else(silent);
                    self.settle(&mut progress, key, result);
                }
            }
            Err(error) => {
                let mut progress = self.progress();
                for key in keys {
                    self.settle(&mut progress, key, Err(error.clone()));
                }
            }
        }
    }

    /// Takes over what came of an item: its result, or another attempt.
    fn settle(&self, progress: &mut Progress<O::Key, O::Value>, key: &O::Key, result: Result<O::Value>) {
        let error = match result {
            Ok(value) => {
                progress.open.remove(key);
                progress.done.insert(key.clone(), Ok(value));
                return;
            }
            Err(error) => error,
        };
        let place = self.operation.place(key);
        let verdict = match error.kind() {
            ErrorKind::Broker(code) if self.operation.passes(code) => Verdict::Again,
            ErrorKind::Broker(code) => verdict(&place, code),
            ErrorKind::UnknownBroker => Verdict::Missing,
            _ if error.is_retriable() => Verdict::Moved,
            _ => Verdict::Final,
        };
        if matches!(verdict, Verdict::Moved | Verdict::Missing) {
            match place {
                Place::Coordinator(kind, name) => {
                    self.admin.client().invalidate_coordinator(kind, &name);
                    progress.coordinators.remove(&(kind, name));
                }
                Place::Leader(partition) => {
                    progress.leaders.remove(&partition);
                }
                Place::Any | Place::Controller | Place::Node(_) => progress.stale = true,
            }
            progress.stale |= error.is_stale_metadata() && !matches!(error.kind(), ErrorKind::Broker(_));
        }
        let Some(waiting) = progress.open.get_mut(key) else { return };
        waiting.misses = if verdict == Verdict::Missing { waiting.misses + 1 } else { 0 };
        if verdict == Verdict::Final || waiting.misses > MISSES_MAX {
            progress.open.remove(key);
            let error = self.operation.about(key, error);
            progress.done.insert(key.clone(), Err(error));
        } else {
            waiting.last = Some(error);
        }
    }

    /// No broker said anything of these.
    fn failed(&self, keys: &[O::Key], error: &Error) {
        let mut progress = self.progress();
        for key in keys {
            self.settle(&mut progress, key, Err(error.clone()));
        }
    }

    async fn find_leaders(&self, open: &[(O::Key, Place)]) {
        let wanted: Vec<(&O::Key, &TopicPartition)> = {
            let progress = self.progress();
            let leaders = open.iter().filter_map(|(key, place)| match place {
                Place::Leader(partition) if !progress.leaders.contains_key(partition) => Some((key, partition)),
                _ => None,
            });
            leaders.collect()
        };
        if wanted.is_empty() {
            return;
        }
        let topics: BTreeSet<&str> = wanted.iter().map(|(_, partition)| &*partition.topic).collect();
        let topics =
            topics.into_iter().map(|topic| MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() });
        let request =
            MetadataRequest { topics: Some(topics.collect()), allow_auto_topic_creation: false, ..Default::default() };
        let response: MetadataResponse = match self.admin.client().request_any(request).await {
            Ok(response) => response,
            Err(error) => {
                let keys: Vec<O::Key> = wanted.into_iter().map(|(key, _)| key.clone()).collect();
                return self.failed(&keys, &error);
            }
        };
        let mut told: HashMap<(&str, i32), Result<i32>> = HashMap::new();
        let mut errors: HashMap<&str, Error> = HashMap::new();
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else { continue };
            if let Err(error) = Error::check(topic.error_code) {
                errors.insert(name, error);
            }
            for partition in &topic.partitions {
                let leader = match partition.leader_id {
                    id if id >= 0 => Ok(id),
                    _ => Err(Error::broker_error(ErrorCode::LeaderNotAvailable)),
                };
                told.insert((name, partition.partition_index), leader);
            }
        }
        let mut progress = self.progress();
        progress.answered = true;
        for (key, partition) in wanted {
            let found = match errors.get(&*partition.topic) {
                Some(error) => Err(error.clone()),
                None => told
                    .get(&(&*partition.topic, partition.partition))
                    .cloned()
                    .unwrap_or_else(|| Err(Error::broker_error(ErrorCode::UnknownTopicOrPartition))),
            };
            match found {
                Ok(leader) => {
                    progress.leaders.insert(partition.clone(), leader);
                }
                Err(error) => self.settle(&mut progress, key, Err(error)),
            }
        }
    }

    async fn find_coordinators(&self, open: &[(O::Key, Place)]) {
        let mut wanted: HashMap<CoordinatorKind, BTreeMap<String, Vec<O::Key>>> = HashMap::new();
        {
            let progress = self.progress();
            for (key, place) in open {
                if let Place::Coordinator(kind, name) = place
                    && !progress.coordinators.contains_key(&(*kind, name.clone()))
                {
                    wanted.entry(*kind).or_default().entry(name.clone()).or_default().push(key.clone());
                }
            }
        }
        for (kind, names) in wanted {
            let asked: Vec<&str> = names.keys().map(String::as_str).collect();
            match self.admin.client().find_coordinators(kind, &asked).await {
                Ok(found) => {
                    let mut progress = self.progress();
                    progress.answered = true;
                    for (name, result) in found {
                        match result {
                            Ok(id) => {
                                progress.coordinators.insert((kind, name), id);
                            }
                            Err(error) => {
                                for key in names.get(&name).into_iter().flatten() {
                                    self.settle(&mut progress, key, Err(error.clone()));
                                }
                            }
                        }
                    }
                }
                Err(error) => {
                    let keys: Vec<O::Key> = names.into_values().flatten().collect();
                    self.failed(&keys, &error);
                }
            }
        }
    }
}

/// Waits for all of them, which go on side by side.
async fn all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
