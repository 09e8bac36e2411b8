//! The record that an application hands over: borrowed, and gone from here once it is in a batch.

/// A record on its way in. It borrows everything, for its bytes are copied once, into the batch.
///
/// ```
/// use rkafka_producer::Record;
/// let record = Record::to("orders").key("customer-7").value("3 apples").header("trace", "af01");
/// assert_eq!(record.topic, "orders");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; without one, the partitioner chooses.
    pub partition: Option<i32>,
    /// The key: records with the same key go to the same partition.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone, which deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Name and value of each header, in order. A name may stand more than once.
    pub headers: Headers<'a>,
    /// Milliseconds since 1970; without one, the time at which the record was accepted.
    pub timestamp: Option<i64>,
}

impl<'a> Record<'a> {
    /// A record for `topic`, without key or value.
    pub fn to(topic: &'a str) -> Self {
        Self { topic, ..Self::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Names the partition, so that the partitioner has no say.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header behind those that are there.
    #[must_use]
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// Adds a header without a value behind those that are there.
    #[must_use]
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push((name, None));
        self
    }

    /// Uses these headers in the place of those that are there; a slice that the caller keeps costs no allocation.
    #[must_use]
    pub fn headers(mut self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        self.headers = Headers::Borrowed(headers);
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }
}

/// The headers of a [`Record`]: the caller's own slice, or a list that [`Record::header`] built.
#[derive(Debug, Clone)]
pub enum Headers<'a> {
    /// The caller's slice.
    Borrowed(&'a [(&'a str, Option<&'a [u8]>)]),
    /// A list of their own.
    Owned(Vec<(&'a str, Option<&'a [u8]>)>),
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl<'a> Headers<'a> {
    /// The headers in order.
    pub fn as_slice(&self) -> &[(&'a str, Option<&'a [u8]>)] {
        match self {
            Self::Borrowed(slice) => slice,
            Self::Owned(list) => list,
        }
    }

    fn push(&mut self, header: (&'a str, Option<&'a [u8]>)) {
        match self {
            Self::Borrowed(slice) => {
                let mut list = Vec::with_capacity(slice.len() + 1);
                list.extend_from_slice(slice);
                list.push(header);
                *self = Self::Owned(list);
            }
            Self::Owned(list) => list.push(header),
        }
    }
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The topic.
    pub topic: std::sync::Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; -1 where the broker does not tell it: with `acks=0`, and where a retry found the record written.
    pub offset: i64,
    /// The record's timestamp, in milliseconds since 1970: the broker's where the topic has `LogAppendTime`.
    pub timestamp: i64,
}
