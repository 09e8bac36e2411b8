//! What a consumer measures of itself, under the names of Kafka's own consumer.

use rkafka_client_core::metrics::{Spec, Stat};

/// The group of what is measured of fetching.
pub(super) const FETCH: &str = "consumer-fetch-manager-metrics";
/// The group of what is measured of the membership and of commits.
pub(super) const COORDINATOR: &str = "consumer-coordinator-metrics";
/// The group of what is measured of the application's calls.
pub(super) const CONSUMER: &str = "consumer-metrics";

const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];

/// Of a fetch, in milliseconds.
pub(super) const FETCH_LATENCY: &[Spec] = &[
    Spec::new("fetch-latency-avg", FETCH, Stat::Avg, "How long an answer to a fetch took on average, in ms"),
    Spec::new("fetch-latency-max", FETCH, Stat::Max, "How long an answer to a fetch took at most, in ms"),
    Spec::new("fetch-rate", FETCH, Stat::CountRate, "Fetches per second"),
    Spec::new("fetch-total", FETCH, Stat::Count, "All fetches"),
];

/// Of an answer to a fetch, in milliseconds.
pub(super) const FETCH_THROTTLE: &[Spec] = &[
    Spec::new("fetch-throttle-time-avg", FETCH, Stat::Avg, "How long a quota held a fetch back on average, in ms"),
    Spec::new("fetch-throttle-time-max", FETCH, Stat::Max, "How long a quota held a fetch back at most, in ms"),
];

/// Of an answer to a fetch, once the application has been given all of it: bytes of records, not compressed.
pub(super) const FETCHED_BYTES: &[Spec] = &[
    Spec::new("bytes-consumed-rate", FETCH, Stat::Rate, "Bytes of records given to the application per second"),
    Spec::new("bytes-consumed-total", FETCH, Stat::Total, "All bytes of records given to the application"),
    Spec::new("fetch-size-avg", FETCH, Stat::Avg, "Bytes of records that one fetch brought on average"),
    Spec::new("fetch-size-max", FETCH, Stat::Max, "Bytes of records that one fetch brought at most"),
];

/// Of an answer to a fetch, once the application has been given all of it: records.
pub(super) const FETCHED_RECORDS: &[Spec] = &[
    Spec::new("records-consumed-rate", FETCH, Stat::Rate, "Records given to the application per second"),
    Spec::new("records-consumed-total", FETCH, Stat::Total, "All records given to the application"),
    Spec::new("records-per-request-avg", FETCH, Stat::Avg, "Records that one fetch brought on average"),
];

/// As [`FETCHED_BYTES`], of one topic.
pub(super) const TOPIC_BYTES: &[Spec] = &[
    Spec::new(
        "bytes-consumed-rate",
        FETCH,
        Stat::Rate,
        "Bytes of the topic's records given to the application per second",
    )
    .tags(TOPIC),
    Spec::new("bytes-consumed-total", FETCH, Stat::Total, "All bytes of the topic's records given to the application")
        .tags(TOPIC),
    Spec::new("fetch-size-avg", FETCH, Stat::Avg, "Bytes of the topic's records that one fetch brought on average")
        .tags(TOPIC),
    Spec::new("fetch-size-max", FETCH, Stat::Max, "Bytes of the topic's records that one fetch brought at most")
        .tags(TOPIC),
];

/// As [`FETCHED_RECORDS`], of one topic.
pub(super) const TOPIC_RECORDS: &[Spec] = &[
    Spec::new("records-consumed-rate", FETCH, Stat::Rate, "The topic's records given to the application per second")
        .tags(TOPIC),
    Spec::new("records-consumed-total", FETCH, Stat::Total, "All of the topic's records given to the application")
        .tags(TOPIC),
    Spec::new("records-per-request-avg", FETCH, Stat::Avg, "The topic's records that one fetch brought on average")
        .tags(TOPIC),
];

/// Of a partition, whenever the application has been given what one fetch brought of it.
pub(super) const LAG: &[Spec] =
    &[Spec::new("records-lag-max", FETCH, Stat::Max, "The largest lag of any partition, in offsets")];
/// As [`LAG`].
pub(super) const LEAD: &[Spec] =
    &[Spec::new("records-lead-min", FETCH, Stat::Min, "The smallest lead of any partition, in offsets")];

/// As [`LAG`], of one partition.
pub(super) const PARTITION_LAG: &[Spec] = &[
    Spec::new("records-lag-avg", FETCH, Stat::Avg, "The partition's lag on average, in offsets").tags(PARTITION),
    Spec::new("records-lag-max", FETCH, Stat::Max, "The partition's lag at most, in offsets").tags(PARTITION),
];
/// As [`LEAD`], of one partition.
pub(super) const PARTITION_LEAD: &[Spec] = &[
    Spec::new("records-lead-avg", FETCH, Stat::Avg, "The partition's lead on average, in offsets").tags(PARTITION),
    Spec::new("records-lead-min", FETCH, Stat::Min, "The partition's lead at least, in offsets").tags(PARTITION),
];

/// Read when somebody looks.
pub(super) const RECORDS_LAG: Spec =
    Spec::new("records-lag", FETCH, Stat::Value, "How many offsets the application is behind the partition's end")
        .tags(PARTITION);
/// Read when somebody looks.
pub(super) const RECORDS_LEAD: Spec = Spec::new(
    "records-lead",
    FETCH,
    Stat::Value,
    "How many offsets the application is before the partition's beginning goes",
)
.tags(PARTITION);
/// Read when somebody looks.
pub(super) const PREFERRED_READ_REPLICA: Spec = Spec::new(
    "preferred-read-replica",
    FETCH,
    Stat::Value,
    "The replica that the partition is fetched from in the leader's place (KIP-392), or -1",
)
.tags(PARTITION);

/// Of an OffsetCommit, in milliseconds.
pub(super) const COMMIT: &[Spec] = &[
    Spec::new("commit-latency-avg", COORDINATOR, Stat::Avg, "How long an answer to a commit took on average, in ms"),
    Spec::new("commit-latency-max", COORDINATOR, Stat::Max, "How long an answer to a commit took at most, in ms"),
    Spec::new("commit-rate", COORDINATOR, Stat::CountRate, "Commits per second"),
    Spec::new("commit-total", COORDINATOR, Stat::Count, "All commits"),
];

/// Of a heartbeat, in milliseconds.
pub(super) const HEARTBEAT: &[Spec] = &[
    Spec::new("heartbeat-rate", COORDINATOR, Stat::CountRate, "Heartbeats per second"),
    Spec::new("heartbeat-total", COORDINATOR, Stat::Count, "All heartbeats"),
    Spec::new(
        "heartbeat-response-time-max",
        COORDINATOR,
        Stat::Max,
        "How long an answer to a heartbeat took at most, in ms",
    ),
];

/// Of a JoinGroup that went well, in milliseconds.
pub(super) const JOIN: &[Spec] = &[
    Spec::new("join-rate", COORDINATOR, Stat::CountRate, "Joins of the group per second"),
    Spec::new("join-total", COORDINATOR, Stat::Count, "All joins of the group"),
    Spec::new("join-time-avg", COORDINATOR, Stat::Avg, "How long a join took on average, in ms"),
    Spec::new("join-time-max", COORDINATOR, Stat::Max, "How long a join took at most, in ms"),
];

/// Of a SyncGroup that went well, in milliseconds.
pub(super) const SYNC: &[Spec] = &[
    Spec::new("sync-rate", COORDINATOR, Stat::CountRate, "Syncs of the group per second"),
    Spec::new("sync-total", COORDINATOR, Stat::Count, "All syncs of the group"),
    Spec::new("sync-time-avg", COORDINATOR, Stat::Avg, "How long a sync took on average, in ms"),
    Spec::new("sync-time-max", COORDINATOR, Stat::Max, "How long a sync took at most, in ms"),
];

/// Of a rebalance that came to its end, in milliseconds.
pub(super) const REBALANCE: &[Spec] = &[
    Spec::new("rebalance-latency-avg", COORDINATOR, Stat::Avg, "How long a rebalance took on average, in ms"),
    Spec::new("rebalance-latency-max", COORDINATOR, Stat::Max, "How long a rebalance took at most, in ms"),
    Spec::new("rebalance-latency-total", COORDINATOR, Stat::Total, "How long all rebalances took, in ms"),
    Spec::new("rebalance-total", COORDINATOR, Stat::Count, "All rebalances that came to their end"),
    Spec::new(
        "rebalance-rate-per-hour",
        COORDINATOR,
        Stat::CountRatePerHour,
        "Rebalances that came to their end, per hour",
    ),
];

/// Of an attempt to rebalance that failed.
pub(super) const FAILED_REBALANCE: &[Spec] = &[
    Spec::new("failed-rebalance-total", COORDINATOR, Stat::Count, "All attempts to rebalance that failed"),
    Spec::new(
        "failed-rebalance-rate-per-hour",
        COORDINATOR,
        Stat::CountRatePerHour,
        "Attempts to rebalance that failed, per hour",
    ),
];

/// Of a call of the hook, in milliseconds.
pub(super) const ASSIGNED: &[Spec] = &[
    Spec::new(
        "partition-assigned-latency-avg",
        COORDINATOR,
        Stat::Avg,
        "How long `on_assigned` took on average, in ms",
    ),
    Spec::new("partition-assigned-latency-max", COORDINATOR, Stat::Max, "How long `on_assigned` took at most, in ms"),
];
/// Of a call of the hook, in milliseconds.
pub(super) const REVOKED: &[Spec] = &[
    Spec::new("partition-revoked-latency-avg", COORDINATOR, Stat::Avg, "How long `on_revoked` took on average, in ms"),
    Spec::new("partition-revoked-latency-max", COORDINATOR, Stat::Max, "How long `on_revoked` took at most, in ms"),
];
/// Of a call of the hook, in milliseconds.
pub(super) const LOST: &[Spec] = &[
    Spec::new("partition-lost-latency-avg", COORDINATOR, Stat::Avg, "How long `on_lost` took on average, in ms"),
    Spec::new("partition-lost-latency-max", COORDINATOR, Stat::Max, "How long `on_lost` took at most, in ms"),
];

/// Read when somebody looks.
pub(super) const ASSIGNED_PARTITIONS: Spec =
    Spec::new("assigned-partitions", COORDINATOR, Stat::Value, "How many partitions are assigned to this consumer");
/// Read when somebody looks.
pub(super) const LAST_HEARTBEAT: Spec = Spec::new(
    "last-heartbeat-seconds-ago",
    COORDINATOR,
    Stat::Value,
    "Seconds since the last heartbeat was sent, or -1",
);
/// Read when somebody looks.
pub(super) const LAST_REBALANCE: Spec = Spec::new(
    "last-rebalance-seconds-ago",
    COORDINATOR,
    Stat::Value,
    "Seconds since the last rebalance came to its end, or -1",
);
/// Read when somebody looks.
pub(super) const LAST_POLL: Spec = Spec::new(
    "last-poll-seconds-ago",
    CONSUMER,
    Stat::Value,
    "Seconds since the application last came for what another fetch brought, or -1",
);

/// Whenever the application comes for what another fetch brought, in milliseconds.
pub(super) const TIME_BETWEEN_POLL: &[Spec] = &[
    Spec::new(
        "time-between-poll-avg",
        CONSUMER,
        Stat::Avg,
        "How long it takes on average until the application comes for what the next fetch brought, in ms",
    ),
    Spec::new(
        "time-between-poll-max",
        CONSUMER,
        Stat::Max,
        "How long it takes at most until the application comes for what the next fetch brought, in ms",
    ),
];
/// Whenever the application is given what another fetch brought: the share of the time that it waited.
pub(super) const POLL_IDLE: &[Spec] = &[Spec::new(
    "poll-idle-ratio-avg",
    CONSUMER,
    Stat::Avg,
    "The share of the time that the application waits for records",
)];
/// Of a commit that was waited for, in nanoseconds.
pub(super) const COMMIT_SYNC: &[Spec] = &[Spec::new(
    "commit-sync-time-ns-total",
    CONSUMER,
    Stat::Total,
    "How long the application has waited for commits, in ns",
)];
/// Of a question for what is committed, in nanoseconds.
pub(super) const COMMITTED: &[Spec] = &[Spec::new(
    "committed-time-ns-total",
    CONSUMER,
    Stat::Total,
    "How long the application has waited to be told what is committed, in ns",
)];

/// All of the above, for the documentation.
pub fn all() -> Vec<&'static Spec> {
    let many = [
        FETCH_LATENCY,
        FETCH_THROTTLE,
        FETCHED_BYTES,
        FETCHED_RECORDS,
        TOPIC_BYTES,
        TOPIC_RECORDS,
        LAG,
        LEAD,
        PARTITION_LAG,
        PARTITION_LEAD,
        COMMIT,
        HEARTBEAT,
        JOIN,
        SYNC,
        REBALANCE,
        FAILED_REBALANCE,
        ASSIGNED,
        REVOKED,
        LOST,
        TIME_BETWEEN_POLL,
        POLL_IDLE,
        COMMIT_SYNC,
        COMMITTED,
    ];
    let one: [&'static Spec; 7] = [
        &RECORDS_LAG,
        &RECORDS_LEAD,
        &PREFERRED_READ_REPLICA,
        &ASSIGNED_PARTITIONS,
        &LAST_HEARTBEAT,
        &LAST_REBALANCE,
        &LAST_POLL,
    ];
    many.into_iter().flatten().chain(one).collect()
}
