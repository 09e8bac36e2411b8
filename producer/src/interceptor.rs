//! Interceptors: code of the application's own that sees every record on its way out, and what became of it.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rkafka_client_core::serialization::RecordHeaders;

use crate::record::Headers;
use crate::{Delivery, ProducerError, Record, RecordMetadata};

/// Sees each record before a partition is chosen for it, and may change it; and learns what became of it. As Java's
/// `ProducerInterceptor`, given as an object by [`ProducerOptions::interceptor`](crate::ProducerOptions::interceptor) in
/// the place of a class by `interceptor.classes`.
///
/// Interceptors run one after the other, in the order in which they were given. One that fails or panics is logged and
/// passed over: the next gets the record as it was before. Keys and values are bytes here, for serializers come first,
/// where Java's interceptors come before the serializers.
///
/// With interceptors each record costs allocations; without, nothing.
///
/// ```
/// use std::error::Error;
/// use rkafka_producer::{InterceptedRecord, ProducerInterceptor, ProducerOptions};
///
/// struct Stamp;
///
/// impl ProducerInterceptor for Stamp {
///     fn on_send(&self, record: &mut InterceptedRecord<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
///         record.headers.add("sent-by", "billing".as_bytes());
///         Ok(())
///     }
/// }
///
/// let options = ProducerOptions::default().interceptor(Stamp);
/// # let _ = options;
/// ```
pub trait ProducerInterceptor: Send + Sync + 'static {
    /// Called once for each record that is handed to `send`, from there, before its partition is chosen: it must not
    /// block. `try_send` calls it each time that it is called, also where it hands the record back. A record that is sent
    /// by a [`TopicHandle`](crate::TopicHandle) goes to the handle's topic, whatever topic is set here.
    ///
    /// # Errors
    /// Whatever goes wrong: it is logged, and the record stays as it was before this call.
    fn on_send(&self, record: &mut InterceptedRecord<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = record;
        Ok(())
    }

    /// Called once for each record that was acknowledged or has failed, before the application's own callback, from a task
    /// of the producer, so that it must not block; and for each record that `send` refused, from there. Not for a record
    /// that `try_send` hands back because it may be taken a moment later.
    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
        let _ = acknowledgement;
    }

    /// Called once, when the producer has ended and nothing is acknowledged any more.
    fn close(&self) {}
}

/// A record on its way through interceptors. What is not changed is borrowed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InterceptedRecord<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The partition; without one, the partitioner chooses.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Cow<'a, [u8]>>,
    /// The value; none is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
    /// Milliseconds since 1970; without one, the time at which the record is accepted.
    pub timestamp: Option<i64>,
}

impl<'a> From<&Record<'a>> for InterceptedRecord<'a> {
    fn from(record: &Record<'a>) -> Self {
        let mut headers = RecordHeaders::new();
        for (name, value) in record.headers.as_slice() {
            match value {
                Some(value) => headers.add(*name, *value),
                None => headers.add_null(*name),
            }
        }
        Self {
            topic: Cow::Borrowed(record.topic),
            partition: record.partition,
            key: record.key.map(Cow::Borrowed),
            value: record.value.map(Cow::Borrowed),
            headers,
            timestamp: record.timestamp,
        }
    }
}

impl InterceptedRecord<'_> {
    pub(crate) fn as_record(&self) -> Record<'_> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::from(&self.headers),
            timestamp: self.timestamp,
        }
    }
}

/// What became of a record, as interceptors are told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Acknowledgement<'a> {
    /// The record's topic.
    pub topic: &'a str,
    /// The record's partition; none where it failed before one was chosen.
    pub partition: Option<i32>,
    /// The record's headers, as they were sent (KIP-512).
    pub headers: &'a RecordHeaders<'a>,
    /// Where it was written, or why it was not.
    pub result: Result<&'a RecordMetadata, &'a ProducerError>,
}

/// An interceptor, and its type's name for the log.
#[derive(Clone)]
struct Link {
    name: &'static str,
    interceptor: Arc<dyn ProducerInterceptor>,
}

/// The interceptors of a producer, in order.
#[derive(Clone, Default)]
pub struct Interceptors {
    links: Vec<Link>,
}

impl fmt::Debug for Interceptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.links.iter().map(|link| link.name)).finish()
    }
}

impl Interceptors {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Puts one behind those that are there.
    pub fn push<I: ProducerInterceptor>(&mut self, interceptor: I) {
        self.links.push(Link { name: type_name::<I>(), interceptor: Arc::new(interceptor) });
    }
}

/// The interceptors of a producer at work.
pub(crate) struct Chain {
    links: Vec<Link>,
    is_closed: AtomicBool,
}

impl Chain {
    /// `None` where there is no interceptor.
    pub(crate) fn new(interceptors: Interceptors) -> Option<Arc<Self>> {
        let links = interceptors.links;
        (!links.is_empty()).then(|| Arc::new(Self { links, is_closed: AtomicBool::new(false) }))
    }

    /// The record as the interceptors leave it.
    pub(crate) fn on_send<'r>(&self, record: &Record<'r>) -> InterceptedRecord<'r> {
        let mut present = InterceptedRecord::from(record);
        for Link { name, interceptor } in &self.links {
            let mut next = present.clone();
            match catch_unwind(AssertUnwindSafe(|| interceptor.on_send(&mut next))) {
                Ok(Ok(())) => present = next,
                Ok(Err(error)) => tracing::warn!(interceptor = name, topic = record.topic, %error, "on_send failed"),
                Err(_) => tracing::error!(interceptor = name, topic = record.topic, "on_send panicked"),
            }
        }
        present
    }

    /// The record was accepted: its fate will be told.
    pub(crate) fn accepted(self: &Arc<Self>, record: InterceptedRecord<'_>, delivery: &Delivery) {
        let (chain, topic, partition) = (self.clone(), delivery.topic().clone(), delivery.partition());
        let headers = record.headers.into_owned();
        delivery.also_call_back(move |result| {
            let result = result.as_ref();
            chain.tell(&Acknowledgement { topic: &topic, partition: Some(partition), headers: &headers, result });
        });
    }

    /// The record was refused.
    pub(crate) fn refused(&self, record: &InterceptedRecord<'_>, error: &ProducerError) {
        let InterceptedRecord { topic, partition, headers, .. } = record;
        self.tell(&Acknowledgement { topic, partition: *partition, headers, result: Err(error) });
    }

    fn tell(&self, acknowledgement: &Acknowledgement<'_>) {
        for Link { name, interceptor } in &self.links {
            if catch_unwind(AssertUnwindSafe(|| interceptor.on_acknowledgement(acknowledgement))).is_err() {
                tracing::error!(interceptor = name, topic = acknowledgement.topic, "on_acknowledgement panicked");
            }
        }
    }

    /// The producer has ended.
    pub(crate) fn close(&self) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for Link { name, interceptor } in &self.links {
            if catch_unwind(AssertUnwindSafe(|| interceptor.close())).is_err() {
                tracing::error!(interceptor = name, "close panicked");
            }
        }
    }
}
