//! A topic for records that cannot be dealt with.

use std::fmt;

use rkafka_consumer::serialization::Side;
use rkafka_consumer::{Burial, Cause, CauseKind, ConsumerRecord, DeadLetterError, DeadLetters};
use rkafka_producer::{Producer, ProducerError, Record};
use rkafka_protocol::records::TimestampType;

/// The longest text of an error that is kept.
const MESSAGE_BYTES_MAX: usize = 8_192;

/// Sends records that cannot be dealt with to a dead-letter topic: key, value, headers and timestamp as they came, and
/// behind those headers where the record is from and why it is here.
///
/// The topic has the name of the record's own with `-dlt` behind it, unless another is named, and has to be there: one
/// that is not found within `max.block.ms` ends the run with an error that names it, and so does a record that is too
/// large for it with these headers. The failed record is not committed then, and comes again with the next run. Brokers
/// that cannot be reached are waited for. The record goes to the partition of the same number where there is one, so that the order is kept; else the key decides.
///
/// The headers have the names and the encodings that Spring for Apache Kafka gives them, which most tools for such topics
/// know, and which tell more of a record than Kafka Connect's `__connect.errors.*` (the group, the timestamp), whose
/// connectors and tasks there are none of here:
///
/// | header | value |
/// |---|---|
/// | `kafka_dlt-original-topic` | text |
/// | `kafka_dlt-original-partition` | 4 bytes, the highest first |
/// | `kafka_dlt-original-offset` | 8 bytes |
/// | `kafka_dlt-original-timestamp` | 8 bytes |
/// | `kafka_dlt-original-timestamp-type` | `CreateTime` or `LogAppendTime` |
/// | `kafka_dlt-original-consumer-group` | text, where there is a group |
/// | `kafka_dlt-exception-fqcn` | the type of the error; `kafka_dlt-key-exception-fqcn` where the key cannot be read |
/// | `kafka_dlt-exception-message` | the error's text, 8 KiB at most; `kafka_dlt-key-exception-message` as above |
/// | `kafka_deliveryAttempt` | how many attempts were made, 4 bytes |
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use rkafka::DeadLetterTopic;
/// use rkafka::consumer::{LastResort, ParallelOptions, Retries};
/// use rkafka::producer::{Producer, ProducerError};
///
/// fn options(producer: Producer) -> ParallelOptions {
///     ParallelOptions::default()
///         .retries(Retries::new(4, Duration::from_millis(200), Duration::from_secs(5)))
///         .last_resort(LastResort::DeadLetter(Arc::new(DeadLetterTopic::new(producer))))
/// }
/// ```
pub struct DeadLetterTopic {
    producer: Producer,
    name: Name,
}

enum Name {
    Suffix(String),
    Topic(String),
}

impl DeadLetterTopic {
    /// Sends by this producer, which should have `acks=all`: the record is committed once it is acknowledged.
    pub fn new(producer: Producer) -> Self {
        Self { producer, name: Name::Suffix("-dlt".to_owned()) }
    }

    /// Puts this behind the name of the record's topic; Spring before its version 3.2 has `.DLT`.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.name = Name::Suffix(suffix.into());
        self
    }

    /// Sends all records to this topic.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.name = Name::Topic(topic.into());
        self
    }

    /// The topic that records of `topic` go to.
    pub fn topic_of(&self, topic: &str) -> String {
        match &self.name {
            Name::Suffix(suffix) => format!("{topic}{suffix}"),
            Name::Topic(name) => name.clone(),
        }
    }

    /// Sends a record, and waits until it is acknowledged: for applications that have a loop of their own. Not cancel
    /// safe: where this is dropped the record may be sent or not.
    ///
    /// # Errors
    /// As the producer's [`send`](Producer::send) and its deliveries.
    pub async fn send(&self, record: &ConsumerRecord, cause: &Cause) -> Result<(), ProducerError> {
        let topic = self.topic_of(record.topic());
        let letter = Letter::new(record, cause);
        let dead = letter.record(&topic, record);
        let delivery = match self.producer.send(dead.clone().partition(record.partition())).await {
            Err(ProducerError::UnknownPartition { .. }) => self.producer.send(dead).await?,
            sent => sent?,
        };
        delivery.await?;
        tracing::info!(
            topic = record.topic(),
            partition = record.partition(),
            offset = record.offset(),
            dead_letter_topic = topic,
            "a record was sent to its dead-letter topic"
        );
        Ok(())
    }
}

impl DeadLetters for DeadLetterTopic {
    fn bury<'a>(&'a self, record: &'a ConsumerRecord, cause: &'a Cause) -> Burial<'a> {
        Box::pin(async move {
            self.send(record, cause).await.map_err(|error| {
                // A topic that was waited for and is not there will not come by itself.
                let is_retriable = error.is_retriable() && !matches!(error, ProducerError::UnknownTopic { .. });
                DeadLetterError::new(error, is_retriable)
            })
        })
    }
}

impl fmt::Debug for DeadLetterTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DeadLetterTopic").field("topic", &self.topic_of("*")).finish_non_exhaustive()
    }
}

/// The headers that the dead record has.
struct Letter {
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letter {
    fn new(record: &ConsumerRecord, cause: &Cause) -> Self {
        let mut headers: Vec<(String, Option<Vec<u8>>)> = record
            .headers()
            .into_iter()
            .map_while(Result::ok)
            .map(|header| (String::from_utf8_lossy(header.key).into_owned(), header.value.map(<[u8]>::to_vec)))
            .collect();
        let mut add = |name: &str, value: &[u8]| headers.push((name.to_owned(), Some(value.to_vec())));
        add("kafka_dlt-original-topic", record.topic().as_bytes());
        add("kafka_dlt-original-partition", &record.partition().to_be_bytes());
        add("kafka_dlt-original-offset", &record.offset().to_be_bytes());
        add("kafka_dlt-original-timestamp", &record.timestamp().to_be_bytes());
        let timestamp_type = match record.timestamp_type() {
            TimestampType::LogAppendTime => "LogAppendTime",
            TimestampType::CreateTime => "CreateTime",
        };
        add("kafka_dlt-original-timestamp-type", timestamp_type.as_bytes());
        if let Some(group_id) = &cause.group_id {
            add("kafka_dlt-original-consumer-group", group_id.as_bytes());
        }
        let prefix = match cause.kind {
            CauseKind::Deserialization(Side::Key) => "kafka_dlt-key-exception",
            _ => "kafka_dlt-exception",
        };
        add(&format!("{prefix}-fqcn"), cause.type_name.as_bytes());
        let end = cause.message.floor_char_boundary_at(MESSAGE_BYTES_MAX);
        add(&format!("{prefix}-message"), cause.message.get(..end).unwrap_or_default().as_bytes());
        add("kafka_deliveryAttempt", &cause.attempts.to_be_bytes());
        Self { headers }
    }

    fn record<'a>(&'a self, topic: &'a str, record: &'a ConsumerRecord) -> Record<'a> {
        let mut dead = Record::to(topic);
        (dead.key, dead.value) = (record.key(), record.value());
        if record.timestamp() >= 0 {
            dead = dead.timestamp(record.timestamp());
        }
        for (name, value) in &self.headers {
            dead = match value {
                Some(value) => dead.header(name, value),
                None => dead.null_header(name),
            };
        }
        dead
    }
}

trait FloorCharBoundary {
    /// The last place up to `limit` at which the text can be cut.
    fn floor_char_boundary_at(&self, limit: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, limit: usize) -> usize {
        if self.len() <= limit {
            return self.len();
        }
        (0..=limit).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}
