//! The metrics of a producer, declared.

use rkafka_client_core::metrics::{Spec, Stat};

use super::Operation;

const fn own(name: &'static str, stat: Stat, description: &'static str) -> Spec {
    kafkas(name, stat, description).own()
}

const fn kafkas(name: &'static str, stat: Stat, description: &'static str) -> Spec {
    Spec::new(name, "producer-metrics", stat, description)
}

const fn of_topic(name: &'static str, stat: Stat, description: &'static str) -> Spec {
    Spec::new(name, "producer-topic-metrics", stat, description).tags(&["topic"])
}

pub(super) const RECORDS: &[Spec] = &[
    kafkas(
        "record-send-rate",
        Stat::Rate,
        "The number of records sent per second; one that is sent again counts again",
    ),
    kafkas("record-send-total", Stat::Total, "The number of records sent; one that is sent again counts again"),
    kafkas("records-per-request-avg", Stat::Avg, "The average number of records of a request"),
];
pub(super) const BATCH_SIZE: &[Spec] = &[
    kafkas("batch-size-avg", Stat::Avg, "The average size of a batch as it is sent, in bytes"),
    kafkas("batch-size-max", Stat::Max, "The size of the largest batch as it is sent, in bytes"),
];
pub(super) const RECORD_SIZE: &[Spec] = &[
    kafkas("record-size-avg", Stat::Avg, "The average size of a record in its batch before compression, in bytes"),
    kafkas("record-size-max", Stat::Max, "The size of the largest record in its batch before compression, in bytes"),
];
pub(super) const COMPRESSION: &[Spec] = &[kafkas(
    "compression-rate-avg",
    Stat::Avg,
    "The average of the size of a batch as it is sent as a share of its size before compression",
)];
pub(super) const QUEUE_TIME: &[Spec] = &[
    kafkas(
        "record-queue-time-avg",
        Stat::Avg,
        "The average time from a batch's first record to the request that it is first sent with, in ms",
    ),
    kafkas(
        "record-queue-time-max",
        Stat::Max,
        "The longest time from a batch's first record to the request that it is first sent with, in ms",
    ),
];
pub(super) const LATENCY: &[Spec] = &[
    kafkas(
        "request-latency-avg",
        Stat::Avg,
        "The average time from when a produce request is queued for its connection to its answer, in ms",
    ),
    kafkas(
        "request-latency-max",
        Stat::Max,
        "The longest time from when a produce request is queued for its connection to its answer, in ms",
    ),
];
pub(super) const THROTTLE: &[Spec] = &[
    kafkas("produce-throttle-time-avg", Stat::Avg, "The average time for which a broker asked for silence, in ms"),
    kafkas("produce-throttle-time-max", Stat::Max, "The longest time for which a broker asked for silence, in ms"),
];
pub(super) const SPLITS: &[Spec] = &[
    kafkas("batch-split-rate", Stat::CountRate, "The number of batches split per second, for they were too large"),
    kafkas("batch-split-total", Stat::Count, "The number of batches split, for they were too large"),
];
pub(super) const ERRORS: &[Spec] = &[
    kafkas("record-error-rate", Stat::Rate, "The number of records that were refused or not delivered, per second"),
    kafkas("record-error-total", Stat::Total, "The number of records that were refused or not delivered"),
];
pub(super) const RETRIES: &[Spec] = &[
    kafkas("record-retry-rate", Stat::Rate, "The number of records sent again per second"),
    kafkas("record-retry-total", Stat::Total, "The number of records sent again"),
];
pub(super) const EXHAUSTED: &[Spec] = &[
    kafkas(
        "buffer-exhausted-rate",
        Stat::CountRate,
        "The number of records per second that were refused, for `buffer.memory` stayed full for `max.block.ms`",
    ),
    kafkas(
        "buffer-exhausted-total",
        Stat::Count,
        "The number of records that were refused, for `buffer.memory` stayed full for `max.block.ms`",
    ),
];
pub(super) const BUFFER_WAIT: &[Spec] = &[
    kafkas("bufferpool-wait-ratio", Stat::NanosRatio, "The time that senders wait for memory, as a share of the time"),
    kafkas("bufferpool-wait-time-ns-total", Stat::Total, "The time that senders waited for memory, in nanoseconds"),
];
pub(super) const BUFFER_TOTAL: Spec = kafkas("buffer-total-bytes", Stat::Value, "`buffer.memory`, in bytes");
pub(super) const BUFFER_AVAILABLE: Spec =
    kafkas("buffer-available-bytes", Stat::Value, "How much of `buffer.memory` no batch holds, in bytes");
pub(super) const WAITING: Spec =
    kafkas("waiting-threads", Stat::Value, "The number of senders that wait for memory at present");
pub(super) const METADATA_AGE: Spec =
    kafkas("metadata-age", Stat::Value, "The time since a broker told of the cluster last, in seconds");
pub(super) const IN_FLIGHT: Spec = kafkas(
    "requests-in-flight",
    Stat::Value,
    "The number of requests of all kinds that wait for their answers at present",
);

const FLUSH: &[Spec] = &[kafkas("flush-time-ns-total", Stat::Total, "The time spent in `flush`, in nanoseconds")];
const METADATA_WAIT: &[Spec] = &[kafkas(
    "metadata-wait-time-ns-total",
    Stat::Total,
    "The time that senders waited for the metadata of topics, in nanoseconds",
)];
const TXN_INIT: &[Spec] = &[kafkas(
    "txn-init-time-ns-total",
    Stat::Total,
    "The time until the producer was known to its coordinator, in nanoseconds",
)];
const TXN_BEGIN: &[Spec] =
    &[kafkas("txn-begin-time-ns-total", Stat::Total, "The time spent in `begin`, in nanoseconds")];
const TXN_SEND_OFFSETS: &[Spec] =
    &[kafkas("txn-send-offsets-time-ns-total", Stat::Total, "The time spent in `send_offsets`, in nanoseconds")];
const TXN_COMMIT: &[Spec] =
    &[kafkas("txn-commit-time-ns-total", Stat::Total, "The time spent in `commit`, in nanoseconds")];
const TXN_ABORT: &[Spec] =
    &[kafkas("txn-abort-time-ns-total", Stat::Total, "The time spent in `abort`, in nanoseconds")];

pub(super) const fn operation(operation: Operation) -> &'static [Spec] {
    match operation {
        Operation::Flush => FLUSH,
        Operation::Metadata => METADATA_WAIT,
        Operation::TransactionInit => TXN_INIT,
        Operation::TransactionBegin => TXN_BEGIN,
        Operation::TransactionSendOffsets => TXN_SEND_OFFSETS,
        Operation::TransactionCommit => TXN_COMMIT,
        Operation::TransactionAbort => TXN_ABORT,
    }
}

pub(super) const TOPIC_RECORDS: &[Spec] = &[
    of_topic("record-send-rate", Stat::Rate, "The number of records sent to the topic per second"),
    of_topic("record-send-total", Stat::Total, "The number of records sent to the topic"),
];
pub(super) const TOPIC_BYTES: &[Spec] = &[
    of_topic("byte-rate", Stat::Rate, "The bytes of the batches sent to the topic per second"),
    of_topic("byte-total", Stat::Total, "The bytes of the batches sent to the topic"),
];
pub(super) const TOPIC_COMPRESSION: &[Spec] = &[of_topic(
    "compression-rate",
    Stat::Avg,
    "The average of the size of a batch for the topic as it is sent as a share of its size before compression",
)];
pub(super) const TOPIC_ERRORS: &[Spec] = &[
    of_topic("record-error-rate", Stat::Rate, "The number of the topic's records that were not delivered, per second"),
    of_topic("record-error-total", Stat::Total, "The number of the topic's records that were not delivered"),
];
pub(super) const TOPIC_RETRIES: &[Spec] = &[
    of_topic("record-retry-rate", Stat::Rate, "The number of the topic's records sent again per second"),
    of_topic("record-retry-total", Stat::Total, "The number of the topic's records sent again"),
];

/// The five metrics of a stage of a batch's way.
macro_rules! stage {
    ($name:literal, $what:literal) => {
        &[
            own(concat!($name, "-avg"), Stat::Avg, concat!("The average time ", $what)),
            own(concat!($name, "-max"), Stat::Max, concat!("The longest time ", $what)),
            own(
                concat!($name, "-p50"),
                Stat::Permille(500),
                concat!("Half of the times ", $what, ", are at most this"),
            )
            .debug(),
            own(
                concat!($name, "-p99"),
                Stat::Permille(990),
                concat!("99 % of the times ", $what, ", are at most this"),
            )
            .debug(),
            own(
                concat!($name, "-p999"),
                Stat::Permille(999),
                concat!("99.9 % of the times ", $what, ", are at most this"),
            )
            .debug(),
        ]
    };
}

pub(super) const LINGER: &[Spec] = stage!(
    "batch-linger-time",
    "from a batch's first record until it is ready to be sent: full, or flushed, or `linger.ms` over, in ms"
);
pub(super) const TURN: &[Spec] = stage!(
    "batch-turn-time",
    "from when a batch is ready until it is taken into a request: it waits for a connection, for its producer id or \
     transaction, for room among the requests in flight, or for the end of a broker's quota, in ms"
);
pub(super) const ENCODING: &[Spec] = stage!(
    "request-encode-time",
    "from when the batches of a request are taken until they are compressed and the request is encoded, in ms"
);
pub(super) const OUTBUF: &[Spec] = stage!(
    "request-outbuf-time",
    "from when a produce request is encoded until the last of it is given to the system's socket, in ms"
);
pub(super) const ROUND_TRIP: &[Spec] = stage!(
    "request-round-trip-time",
    "from when the last of a produce request is given to the system's socket until its answer is here: the network both \
     ways and the broker, which the protocol does not tell apart, in ms"
);
pub(super) const DELIVERY: &[Spec] = stage!(
    "batch-delivery-time",
    "from a batch's first record until the batch is acknowledged, all attempts together, in ms"
);

/// Every metric that a producer has beside those of every client.
pub fn producer_specs() -> impl Iterator<Item = &'static Spec> {
    const GAUGES: &[Spec] = &[BUFFER_TOTAL, BUFFER_AVAILABLE, WAITING, METADATA_AGE, IN_FLIGHT];
    let operations = Operation::ALL.into_iter().map(operation);
    [
        RECORDS,
        BATCH_SIZE,
        RECORD_SIZE,
        COMPRESSION,
        QUEUE_TIME,
        LATENCY,
        THROTTLE,
        SPLITS,
        ERRORS,
        RETRIES,
        EXHAUSTED,
        BUFFER_WAIT,
        GAUGES,
        TOPIC_RECORDS,
        TOPIC_BYTES,
        TOPIC_COMPRESSION,
        TOPIC_ERRORS,
        TOPIC_RETRIES,
        LINGER,
        TURN,
        ENCODING,
        OUTBUF,
        ROUND_TRIP,
        DELIVERY,
    ]
    .into_iter()
    .chain(operations)
    .flatten()
}
