//! Operations without items: one request, one answer; and those that ask every broker.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result, Topics};
use rkafka_protocol::wire::Request;

use crate::driver::{Answers, Operation, Place};
use crate::{Admin, PerItem};

/// A request that is made of nothing but its version, to each of some places.
struct Single<'a, K, R, B, D> {
    place: fn(&K) -> Place,
    build: B,
    read: D,
    passing: &'a [ErrorCode],
    request: PhantomData<fn() -> R>,
}

impl<K, R, B, D, T> Operation for Single<'_, K, R, B, D>
where
    K: Ord + Clone + Send + Sync,
    R: Request<Response: Send> + Send + 'static,
    B: Fn(i16) -> R + Sync,
    D: Fn(R::Response) -> Result<T> + Sync,
    T: Send,
{
    type Key = K;
    type Value = T;
    type Request = R;

    fn place(&self, key: &K) -> Place {
        (self.place)(key)
    }

    fn batch_max(&self, _version: i16) -> usize {
        1
    }

    fn request(&self, version: i16, _keys: &[K]) -> Result<R> {
        Ok((self.build)(version))
    }

    fn read(&self, keys: &[K], response: R::Response) -> Answers<K, T> {
        let result = (self.read)(response);
        Ok(keys.first().cloned().map(|key| (key, result)).into_iter().collect())
    }

    fn passes(&self, code: ErrorCode) -> bool {
        self.passing.contains(&code)
    }
}

/// Where a request goes that is not about items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum To {
    Any,
    Controller,
    Node(i32),
    Group(String),
}

impl To {
    fn place(&self) -> Place {
        match self {
            Self::Any => Place::Any,
            Self::Controller => Place::Controller,
            Self::Node(id) => Place::Node(*id),
            Self::Group(group) => Place::group(group),
        }
    }
}

impl Admin {
    /// Sends one request, again where the error passes with time (`passing` beside those that always do).
    pub(crate) async fn ask<R, T, B, D>(
        &self,
        to: To,
        limit: Duration,
        passing: &[ErrorCode],
        build: B,
        read: D,
    ) -> Result<T>
    where
        R: Request<Response: Send> + Send + 'static,
        B: Fn(i16) -> R + Send + Sync,
        D: Fn(R::Response) -> Result<T> + Send + Sync,
        T: Send,
    {
        let single = Single { place: To::place, build, read, passing, request: PhantomData };
        let answer = self.run(&single, [to], limit).await?.into_values().next();
        answer.unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no broker answered")))
    }

    /// Sends one request to each of the brokers.
    pub(crate) async fn ask_brokers<R, T, B, D>(
        &self,
        brokers: Vec<i32>,
        limit: Duration,
        passing: &[ErrorCode],
        build: B,
        read: D,
    ) -> Result<PerItem<T, i32>>
    where
        R: Request<Response: Send> + Send + 'static,
        B: Fn(i16) -> R + Send + Sync,
        D: Fn(R::Response) -> Result<T> + Send + Sync,
        T: Send,
    {
        let place = |id: &i32| Place::Node(*id);
        self.run(&Single { place, build, read, passing, request: PhantomData }, brokers, limit).await
    }

    /// The ids of all brokers, freshly asked for.
    pub(crate) async fn broker_ids(&self, limit: Duration) -> Result<Vec<i32>> {
        let cluster = rkafka_client_core::retry(self.policy(limit), |_| self.client().refresh(Topics::Known)).await?;
        Ok(cluster.brokers().map(|broker| broker.node_id).collect())
    }
}

/// Parts the brokers that answered from those that did not. Where none did, the error is the first one's.
pub(crate) fn parted<T>(results: PerItem<T, i32>) -> Result<(Vec<T>, BTreeMap<i32, Error>)> {
    let (mut values, mut errors) = (Vec::new(), BTreeMap::new());
    for (broker, result) in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                errors.insert(broker, error);
            }
        }
    }
    match errors.values().next() {
        Some(error) if values.is_empty() => Err(error.clone()),
        _ => Ok((values, errors)),
    }
}
