//! The broker's settings, under Kafka's own names. There is no setting that does nothing.

use std::time::Duration;

use rkafka_config::{Check, ConfigError, Setting, setting_enum, settings};

use rkafka_protocol::records::{Codec, Compression};

mod roles;

use self::roles::{are_roles, are_voters, check_roles};
use crate::log::{CleanupPolicy, LogConfig, ThrottledReplicas, TimestampType};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Kafka's "no limit" for times.
pub(crate) const NO_LIMIT: Duration = Duration::from_millis(i64::MAX as u64);

setting_enum! {
    /// Which time a record bears.
    pub enum MessageTimestampType {
        /// The time that the producer set.
        CreateTime = "CreateTime",
        /// The time when the broker appended the record.
        LogAppendTime = "LogAppendTime",
    }
}

setting_enum! {
    /// When records are synced to the disk.
    pub enum FlushPolicy {
        /// As Kafka: by the count and age of unsynced records, which by default is never.
        Interval = "interval",
        /// Before they are acknowledged, many requests at a time.
        Group = "group",
    }
}

setting_enum! {
    /// How batches are compressed in the log.
    pub enum BrokerCompressionType {
        /// As their producer made them.
        Producer = "producer",
        /// Not at all.
        Uncompressed = "uncompressed",
        /// By gzip.
        Gzip = "gzip",
        /// By snappy.
        Snappy = "snappy",
        /// By LZ4.
        Lz4 = "lz4",
        /// By Zstandard.
        Zstd = "zstd",
    }
}

impl BrokerCompressionType {
    /// The codec, `None` for the producer's.
    pub(crate) fn compression(self) -> Option<Compression> {
        match self {
            Self::Producer => None,
            Self::Uncompressed => Some(Compression::None),
            Self::Gzip => Some(Compression::Gzip),
            Self::Snappy => Some(Compression::Snappy),
            Self::Lz4 => Some(Compression::Lz4),
            Self::Zstd => Some(Compression::Zstd),
        }
    }
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// What the setting with the coarser unit says.
    #[default]
    Unset,
    /// For ever.
    Unlimited,
    /// As long as this.
    For(Duration),
}

impl Setting for Retention {
    fn from_text(text: &str, name: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Unset),
            "-1" => Some(Self::Unlimited),
            text => Duration::from_text(text, name).map(Self::For),
        }
    }

    fn to_text(&self, name: &str) -> String {
        match self {
            Self::Unset => String::new(),
            Self::Unlimited => "-1".to_owned(),
            Self::For(duration) => duration.to_text(name),
        }
    }

    fn expected(name: &str) -> String {
        format!("{}; or -1 for no limit", Duration::expected(name))
    }
}

setting_enum! {
    /// Which groups may change their kind while they have members (KIP-848).
    pub enum ConsumerGroupMigrationPolicy {
        /// Classic groups become consumer groups, and these classic groups again.
        Bidirectional = "bidirectional",
        /// Only classic groups become consumer groups.
        Upgrade = "upgrade",
        /// Only consumer groups become classic groups.
        Downgrade = "downgrade",
        /// None.
        Disabled = "disabled",
    }
}

settings! {
    /// The settings of a broker. Names, defaults and meaning are Kafka's where nothing else is said.
    pub struct BrokerConfig {
        /// The id of this broker.
        "node.id" aka "broker.id" => node_id: i32 = 1, in 0.., because "ids below 0 stand for no broker";
        /// What the node does: `broker`, `controller` or both. Kafka's default is not to say; here it is both.
        "process.roles" => process_roles: Vec<String> = vec!["broker".to_owned(), "controller".to_owned()],
            in Check::new("broker, controller, or both", |roles: &Vec<String>| are_roles(roles)),
            because "a node has no other roles";
        /// The listeners for controllers, which brokers and other controllers use and clients do not. A controller that is
        /// not alone needs one; the first is the one that nodes of this cluster use among themselves.
        "controller.listener.names" => controller_listener_names: Vec<String> = Vec::new();
        /// The controllers as `id@host:port`, the same on all nodes: they elect the active controller among themselves.
        /// Nothing, or only this node, is a cluster whose one controller is this node.
        "controller.quorum.voters" => controller_quorum_voters: Vec<String> = Vec::new(),
            in Check::new("each as id@host:port", |voters: &Vec<String>| are_voters(voters)),
            because "a controller is known by its id and found at its controllers' listener";
        /// Where to find the controllers: this node, if anything is said. A quorum of several is told by
        /// `controller.quorum.voters`.
        "controller.quorum.bootstrap.servers" => controller_quorum_bootstrap_servers: Vec<String> = Vec::new(),
            in Check::new("none, or one as host:port", |servers: &Vec<String>| servers.len() <= 1),
            because "a quorum whose voters change (KIP-853) is not there; name them in controller.quorum.voters";
        /// How long a controller waits for a leader, or for votes, before it seeks an election: between this and twice as
        /// long.
        "controller.quorum.election.timeout.ms" => controller_quorum_election_timeout: Duration =
            Duration::from_secs(1), in Duration::from_millis(1).., because "there must be a moment between";
        /// How long a controller, or a broker, goes without an answer of the active controller before it looks for
        /// another. The active one resigns after one and a half times as long without a majority.
        "controller.quorum.fetch.timeout.ms" => controller_quorum_fetch_timeout: Duration =
            Duration::from_secs(2), in Duration::from_millis(1).., because "there must be a moment between";
        /// How long a controller that lost an election waits at most before it seeks the next.
        "controller.quorum.election.backoff.max.ms" => controller_quorum_election_backoff_max: Duration =
            Duration::from_secs(1);
        /// When a request between controllers counts as failed.
        "controller.quorum.request.timeout.ms" => controller_quorum_request_timeout: Duration =
            Duration::from_secs(2), in Duration::from_millis(1).., because "an answer takes a moment";
        /// How long a controller is left alone after a request to it has failed.
        "controller.quorum.retry.backoff.ms" => controller_quorum_retry_backoff: Duration = Duration::from_millis(20);
        /// How long the active controller lets records gather before they are synced and sent. A controller that is alone
        /// never waits.
        "controller.quorum.append.linger.ms" => controller_quorum_append_linger: Duration = Duration::from_millis(25);
        /// How many bytes of the metadata log go into one answer.
        "controller.quorum.fetch.max.bytes" => controller_quorum_fetch_max_bytes: i32 = 8_388_608,
            in 1024.., because "smaller answers move nobody on";
        /// How many bytes of a snapshot of the metadata go into one answer.
        "controller.quorum.fetch.snapshot.max.bytes" => controller_quorum_fetch_snapshot_max_bytes: i32 = 8_388_608,
            in 1024.., because "smaller answers move nobody on";
        /// How many bytes of records of the metadata are committed until each node writes the next snapshot of it.
        "metadata.log.max.record.bytes.between.snapshots" => metadata_log_max_record_bytes_between_snapshots: i64 =
            20_971_520, in 1.., because "a snapshot of nothing new says nothing";
        /// How long after the first record since the last snapshot of the metadata the next one is written, however few
        /// records there are; 0 for however long it takes.
        "metadata.log.max.snapshot.interval.ms" => metadata_log_max_snapshot_interval: Duration =
            Duration::from_secs(60 * 60);
        /// How many bytes the log of the metadata and its snapshots may take, until the oldest snapshot goes and the log
        /// below the next one; -1 for no limit. The newest snapshot stays, and the log behind it.
        "metadata.max.retention.bytes" => metadata_max_retention_bytes: i64 = 104_857_600,
            in Check::new("a size, or -1 for no limit", |bytes: &i64| *bytes >= -1), because "it is a size";
        /// How old a snapshot of the metadata may be until it goes likewise.
        "metadata.max.retention.ms" => metadata_max_retention_ms: Retention = Retention::For(7 * DAY);
        /// How large a segment of the log of the metadata grows.
        "metadata.log.segment.bytes" => metadata_log_segment_bytes: i32 = 1_073_741_824,
            in 8_388_608.., because "the largest batch must fit into it";
        /// How old a segment of the log of the metadata may become until another begins.
        "metadata.log.segment.ms" => metadata_log_segment_ms: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        /// How often a broker tells the active controller that it is there.
        "broker.heartbeat.interval.ms" => broker_heartbeat_interval: Duration = Duration::from_secs(2),
            in Duration::from_millis(1).., because "there must be a moment between";
        /// How long a broker tries to be registered by the active controller before its start fails.
        "initial.broker.registration.timeout.ms" => initial_broker_registration_timeout: Duration =
            Duration::from_secs(60);
        /// The listener that brokers use among themselves; it must be one of `listeners`. Default: the first.
        "inter.broker.listener.name" => inter_broker_listener_name: Option<String> = None;
        /// How many replicas the topic of groups' offsets gets; -1 for three, but no more than there are brokers, or
        /// controllers, when the topic is made.
        "offsets.topic.replication.factor" => offsets_topic_replication_factor: i16 = -1,
            in Check::new("-1, or at least 1", |factor: &i16| *factor == -1 || *factor >= 1),
            because "a partition needs a replica";
        /// How many replicas the topic of transactions gets. -1 is as of `offsets.topic.replication.factor`.
        "transaction.state.log.replication.factor" => transaction_state_log_replication_factor: i16 = -1,
            in Check::new("-1, or at least 1", |factor: &i16| *factor == -1 || *factor >= 1),
            because "a partition needs a replica";
        /// How many replicas the topic of share groups' states gets. -1 is as of `offsets.topic.replication.factor`.
        "share.coordinator.state.topic.replication.factor" => share_coordinator_state_topic_replication_factor: i16 =
            -1,
            in Check::new("-1, or at least 1", |factor: &i16| *factor == -1 || *factor >= 1),
            because "a partition needs a replica";
        /// How long an answer of a group's coordinator waits for what it rests on to have reached all replicas in sync.
        /// After that it is `COORDINATOR_NOT_AVAILABLE`, and clients ask again.
        "offsets.commit.timeout.ms" => offsets_commit_timeout: Duration = Duration::from_secs(5),
            in Duration::from_millis(1).., because "replicas need time to fetch";
        /// As `offsets.commit.timeout.ms`, of the share coordinator.
        "share.coordinator.write.timeout.ms" => share_coordinator_write_timeout: Duration = Duration::from_secs(5),
            in Duration::from_millis(1).., because "replicas need time to fetch";
        /// `min.insync.replicas` of `__share_group_state`, given to it when it is made; all replicas where it has fewer.
        "share.coordinator.state.topic.min.isr" => share_coordinator_state_topic_min_isr: i32 = 2,
            in 1.., because "the leader itself is one";
        /// The rack of this broker, which clients are told.
        "broker.rack" => broker_rack: Option<String> = None;
        /// The addresses to listen on, as `PLAINTEXT://host:port`. An empty host means every interface; port 0 means
        /// any free port.
        "listeners" => listeners: Vec<String> = vec!["PLAINTEXT://:9092".to_owned()],
            in Check::new("at least one listener", |listeners: &Vec<String>| !listeners.is_empty()),
            because "a broker without one cannot be reached";
        /// The addresses that clients are told, one per listener by its name. Default: those of `listeners`, with
        /// `localhost` for an empty host and the real port for port 0.
        "advertised.listeners" => advertised_listeners: Vec<String> = Vec::new();
        /// The security protocol of each listener name, as `INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT`. Only `PLAINTEXT` is
        /// there.
        "listener.security.protocol.map" => listener_security_protocol_map: Vec<String> =
            vec!["PLAINTEXT:PLAINTEXT".to_owned()];
        /// The directories of the partitions' logs; a new partition goes to the one that holds the fewest.
        "log.dirs" aka "log.dir" => log_dirs: Vec<String> = vec!["/tmp/kafka-logs".to_owned()],
            in Check::new("at least one directory", |dirs: &Vec<String>| !dirs.is_empty()),
            because "records must be kept somewhere";
        /// Keeps everything in memory and forgets it at the end. Not Kafka's; `log.dirs` is then unused.
        "in.memory" => in_memory: bool = false;
        /// How many partitions a topic gets that was created without saying so.
        "num.partitions" => num_partitions: i32 = 1, in 1..=10_000, because "a topic needs a partition";
        /// How many replicas a partition gets that was created without saying so.
        "default.replication.factor" => default_replication_factor: i16 = 1,
            in 1.., because "a partition needs a replica";
        /// How many replicas must be in sync for a write with `acks=all` to be taken: no more than the partition has.
        "min.insync.replicas" => min_insync_replicas: i32 = 1, in 1.., because "the leader itself is one";
        /// Whether a replica that may lack acknowledged records leads a partition, where no other can. Records are lost
        /// then; without it the partition waits for a replica that has them.
        "unclean.leader.election.enable" => unclean_leader_election_enable: bool = false;
        /// How often it is looked for partitions without a leader that may get one by `unclean.leader.election.enable`.
        "unclean.leader.election.interval.ms" => unclean_leader_election_interval: Duration =
            Duration::from_secs(300), in Duration::from_millis(1).., because "it takes some time";
        /// Whether partitions go back to their preferred leaders by themselves.
        "auto.leader.rebalance.enable" => auto_leader_rebalance_enable: bool = true;
        /// How often it is looked for partitions that others lead than their preferred leaders, in seconds.
        "leader.imbalance.check.interval.seconds" => leader_imbalance_check_interval_seconds: i64 = 300,
            in 1.., because "it takes some time";
        /// For how long a broker need not be heard of before it is fenced: others lead its partitions then.
        "broker.session.timeout.ms" => broker_session_timeout: Duration = Duration::from_secs(9),
            in Duration::from_millis(1).., because "it takes some time";
        /// Whether topics can be deleted.
        "delete.topic.enable" => delete_topic_enable: bool = true;
        /// Whether asking for a topic's metadata creates the topic.
        "auto.create.topics.enable" => auto_create_topics_enable: bool = true;
        /// A log segment that would grow beyond this is closed and a new one begun.
        "log.segment.bytes" => log_segment_bytes: i32 = 1_073_741_824,
            in 1_048_576.., because "smaller segments cost more files than they are worth";
        /// How old a log segment may get before it is closed; -1 means what `log.roll.hours` says.
        "log.roll.ms" => log_roll_ms: Option<Duration> = None;
        /// How old a log segment may get before it is closed, in hours.
        "log.roll.hours" => log_roll_hours: Duration = DAY * 7,
            in Duration::from_secs(3600).., because "segments younger than an hour are set by `log.roll.ms`";
        /// Up to how much earlier than by its age a log segment is closed, so that those of many partitions do not close
        /// at once; -1 means what `log.roll.jitter.hours` says.
        "log.roll.jitter.ms" => log_roll_jitter_ms: Option<Duration> = None;
        /// Up to how many hours earlier than by its age a log segment is closed.
        "log.roll.jitter.hours" => log_roll_jitter_hours: Duration = Duration::ZERO;
        /// About how many bytes of log lie between two entries of an index.
        "log.index.interval.bytes" => log_index_interval_bytes: i32 = 4096, in 0.., because "it is a distance";
        /// The largest an index file may become.
        "log.index.size.max.bytes" => log_index_size_max_bytes: i32 = 10_485_760,
            in 4.., because "an index must have room for an entry";
        /// The largest batch of records that a producer may send.
        "message.max.bytes" => message_max_bytes: i32 = 1_048_588, in 0.., because "a size is not negative";
        /// How batches are compressed in the log.
        "compression.type" => compression_type: BrokerCompressionType = BrokerCompressionType::Producer;
        /// The level of gzip where `compression.type=gzip`; -1 means the codec's own.
        "compression.gzip.level" => compression_gzip_level: i32 = Codec::GZIP_LEVEL_DEFAULT,
            in Check::new("-1, or 1 to 9", |level: &i32| *level == -1 || (1..=9).contains(level)),
            because "gzip has no other";
        /// The level of lz4 where `compression.type=lz4`. Only Kafka's default is there, which means fast LZ4.
        "compression.lz4.level" => compression_lz4_level: i32 = Codec::LZ4_LEVEL_DEFAULT,
            in 9..=9, because "there is no other LZ4 here than the fast one";
        /// The level of zstd where `compression.type=zstd`.
        "compression.zstd.level" => compression_zstd_level: i32 = Codec::ZSTD_LEVEL_DEFAULT,
            in -131_072..=22, because "zstd has no other";
        /// Which time a record bears.
        "log.message.timestamp.type" => log_message_timestamp_type: MessageTimestampType =
            MessageTimestampType::CreateTime;
        /// How far behind the broker's clock a record's time may be.
        "log.message.timestamp.before.max.ms" => log_message_timestamp_before_max: Duration = NO_LIMIT;
        /// How far ahead of the broker's clock a record's time may be.
        "log.message.timestamp.after.max.ms" => log_message_timestamp_after_max: Duration =
            Duration::from_secs(3600);
        /// When records are synced to the disk. Not Kafka's. `interval`, the default, does what Kafka does: nothing is
        /// synced before it is acknowledged unless the other `log.flush` settings say so. The process may die without
        /// loss, but **a loss of power may take the last seconds of acknowledged records**, as with one Kafka broker
        /// alone. With `group`, acknowledged means on the disk: for `acks=1` and `acks=all`, for offsets of groups and
        /// for transactions. One sync serves all requests that came during the one before, and consumers see records
        /// once they are synced.
        "log.flush.policy" => log_flush_policy: FlushPolicy = FlushPolicy::Interval;
        /// An append that leaves this many records of a partition unsynced syncs them before it is acknowledged; 1 syncs
        /// each batch. By default that is never done: see `log.flush.policy` for what may then be lost.
        "log.flush.interval.messages" => log_flush_interval_messages: i64 = i64::MAX,
            in 1.., because "fewer than one record is never unsynced";
        /// How long a record may be in the log and not synced; -1 means what `log.flush.scheduler.interval.ms` says.
        "log.flush.interval.ms" => log_flush_interval_ms: Option<Duration> = None;
        /// How often logs are looked for that should be synced by `log.flush.interval.ms` or `flush.ms`. They are looked
        /// for once a second at least, where Kafka's default is never.
        "log.flush.scheduler.interval.ms" => log_flush_scheduler_interval: Duration = NO_LIMIT,
            in Duration::from_millis(1).., because "there must be a moment between";
        /// How often it is written down up to where logs are synced, so that the start after a bad stop need not look
        /// through what is before.
        "log.flush.offset.checkpoint.interval.ms" => log_flush_offset_checkpoint_interval: Duration =
            Duration::from_secs(60), in Duration::from_millis(1).., because "there must be a moment between";
        /// How old a log segment may get before it is removed; -1 for no limit, nothing for what
        /// `log.retention.hours` says.
        "log.retention.ms" => log_retention_ms: Retention = Retention::Unset;
        /// How old a log segment may get before it is removed, in hours.
        "log.retention.hours" => log_retention_hours: Duration = DAY * 7,
            in Duration::from_secs(3600).., because "less is set by `log.retention.ms`";
        /// How old a log segment may get before it is removed, in minutes; -1 for no limit, nothing for what
        /// `log.retention.hours` says.
        "log.retention.minutes" => log_retention_minutes: Retention = Retention::Unset;
        /// How large a partition's log may get before its oldest segments are removed; -1 for no limit.
        "log.retention.bytes" => log_retention_bytes: i64 = -1, in -1.., because "a size is not negative";
        /// What becomes of old records where a topic does not say: `delete` removes segments by time and size, `compact`
        /// keeps the last record of each key, both may be said, and nothing keeps everything.
        "log.cleanup.policy" => log_cleanup_policy: Vec<String> = vec!["delete".to_owned()],
            in Check::new("delete, compact, both, or nothing", |names: &Vec<String>| {
                CleanupPolicy::parse(&names.join(",")).is_ok()
            }),
            because "there are no other policies";
        /// Whether topics with `cleanup.policy=compact` are cleaned. Without it the internal topics grow without end.
        "log.cleaner.enable" => log_cleaner_enable: bool = true;
        /// How long the cleaner waits when no log needs it.
        "log.cleaner.backoff.ms" => log_cleaner_backoff: Duration = Duration::from_secs(15),
            in Duration::from_millis(1).., because "there must be a moment between";
        /// How much memory the cleaner may take to remember keys, 24 bytes each. A log with more of them is cleaned in
        /// parts. The memory is taken when it is needed, for as many keys as there are.
        "log.cleaner.dedupe.buffer.size" => log_cleaner_dedupe_buffer_size: i64 = 134_217_728,
            in 1_048_576.., because "the cleaner makes no headway with fewer keys";
        /// How many bytes the cleaner may read and write in a second.
        "log.cleaner.io.max.bytes.per.second" => log_cleaner_io_max_bytes_per_second: f64 = f64::MAX,
            in Check::new("a number above 0", |most: &f64| *most > 0.0), because "the cleaner would never end";
        /// How long a tombstone stays in a compacted topic after the cleaner has first kept it.
        "log.cleaner.delete.retention.ms" => log_cleaner_delete_retention: Duration = DAY;
        /// How much of a compacted log must be uncleaned before it is cleaned, from 0 to 1.
        "log.cleaner.min.cleanable.ratio" => log_cleaner_min_cleanable_ratio: f64 = 0.5,
            in Check::new("a number from 0 to 1", |ratio: &f64| (0.0..=1.0).contains(ratio)),
            because "it is a part of the whole";
        /// How long a record stays uncompacted at least.
        "log.cleaner.min.compaction.lag.ms" => log_cleaner_min_compaction_lag: Duration = Duration::ZERO;
        /// How long a record stays uncompacted at most.
        "log.cleaner.max.compaction.lag.ms" => log_cleaner_max_compaction_lag: Duration = NO_LIMIT,
            in Duration::from_millis(1).., because "records come before the cleaner does";
        /// How long the files of segments that retention has taken out of the log stay, under names that end in
        /// `.deleted`. They go at the next look at retention after that.
        "log.segment.delete.delay.ms" => log_segment_delete_delay: Duration =
            Duration::from_secs(60);
        /// How often segments are looked for that are too old or too much.
        "log.retention.check.interval.ms" => log_retention_check_interval: Duration = Duration::from_secs(300),
            in Duration::from_millis(1).., because "there must be a moment between";
        /// How long an idempotent producer that is silent is remembered.
        "producer.id.expiration.ms" => producer_id_expiration: Duration = DAY,
            in Duration::from_millis(1).., because "a producer must be remembered for a while";
        /// How many threads of each of `log.dirs` look through logs at the start after a bad stop. The broker serves
        /// meanwhile, and who asks for a log that was not looked through yet waits for that one.
        "num.recovery.threads.per.data.dir" => num_recovery_threads_per_data_dir: i32 = 2,
            in 1..=1000, because "logs must be looked through";
        /// How many partitions `__consumer_offsets` gets when the first group needs it.
        "offsets.topic.num.partitions" => offsets_topic_num_partitions: i32 = 50,
            in 1..=10_000, because "the topic needs a partition";
        /// How long an offset is kept once its group has no members any more, or, of a topic that its group does not
        /// subscribe to and of a consumer without a group, once it was committed.
        "offsets.retention.minutes" => offsets_retention: Duration = DAY * 7,
            in Duration::from_secs(60).., because "offsets must outlive a restart of their consumer";
        /// How often offsets are looked for that were kept long enough, and groups without members and offsets.
        "offsets.retention.check.interval.ms" => offsets_retention_check_interval: Duration =
            Duration::from_secs(600), in Duration::from_millis(1).., because "there must be a moment between";
        /// How many partitions `__transaction_state` gets when the first transactional producer needs it.
        "transaction.state.log.num.partitions" => transaction_state_log_num_partitions: i32 = 50,
            in 1..=10_000, because "the topic needs a partition";
        /// `min.insync.replicas` of `__transaction_state`, given to it when it is made; all replicas where it has fewer.
        "transaction.state.log.min.isr" => transaction_state_log_min_isr: i32 = 2,
            in 1.., because "the leader itself is one";
        /// A log segment of `__transaction_state` that would grow beyond this is closed and a new one begun.
        "transaction.state.log.segment.bytes" => transaction_state_log_segment_bytes: i32 = 104_857_600,
            in 1_048_576.., because "smaller segments cost more files than they are worth";
        /// The longest time that a producer may ask for as the timeout of its transactions.
        "transaction.max.timeout.ms" => transaction_max_timeout: Duration = Duration::from_secs(900),
            in Duration::from_millis(1).., because "a transaction takes a while";
        /// Whether a producer's first batch of a transaction in a partition is checked with the transaction coordinator
        /// (KIP-890). Without it, a batch that comes late may leave a transaction open for ever.
        "transaction.partition.verification.enable" => transaction_partition_verification_enable: bool = true;
        /// How long a transactional id is remembered that nobody uses.
        "transactional.id.expiration.ms" => transactional_id_expiration: Duration = DAY * 7,
            in Duration::from_millis(1).., because "an id must be remembered for a while";
        /// How often transactional ids are looked for that nobody has used for long.
        "transaction.remove.expired.transaction.cleanup.interval.ms" =>
            transaction_remove_expired_transaction_cleanup_interval: Duration = Duration::from_secs(3600),
            in Duration::from_millis(1).., because "there must be a moment between";
        /// The shortest session timeout that a member may ask for.
        "group.min.session.timeout.ms" => group_min_session_timeout: Duration = Duration::from_secs(6);
        /// The longest session timeout that a member may ask for.
        "group.max.session.timeout.ms" => group_max_session_timeout: Duration = Duration::from_secs(1800);
        /// How long the first rebalance of an empty group waits for more members.
        "group.initial.rebalance.delay.ms" => group_initial_rebalance_delay: Duration = Duration::from_secs(3);
        /// How many members a group may have.
        "group.max.size" => group_max_size: i32 = i32::MAX, in 1.., because "a group needs a member";
        /// How long the session of a consumer group's member lasts without a heartbeat (KIP-848).
        "group.consumer.session.timeout.ms" => group_consumer_session_timeout: Duration = Duration::from_secs(45),
            in Duration::from_millis(1).., because "a session must last";
        /// The shortest session timeout that a consumer group may be given.
        "group.consumer.min.session.timeout.ms" => group_consumer_min_session_timeout: Duration =
            Duration::from_secs(45), in Duration::from_millis(1).., because "a session must last";
        /// The longest session timeout that a consumer group may be given.
        "group.consumer.max.session.timeout.ms" => group_consumer_max_session_timeout: Duration =
            Duration::from_secs(60), in Duration::from_millis(1).., because "a session must last";
        /// How often members of consumer groups are to send heartbeats.
        "group.consumer.heartbeat.interval.ms" => group_consumer_heartbeat_interval: Duration =
            Duration::from_secs(5), in Duration::from_millis(1).., because "there must be a moment between";
        /// The shortest heartbeat interval that a consumer group may be given.
        "group.consumer.min.heartbeat.interval.ms" => group_consumer_min_heartbeat_interval: Duration =
            Duration::from_secs(5), in Duration::from_millis(1).., because "there must be a moment between";
        /// The longest heartbeat interval that a consumer group may be given.
        "group.consumer.max.heartbeat.interval.ms" => group_consumer_max_heartbeat_interval: Duration =
            Duration::from_secs(15), in Duration::from_millis(1).., because "there must be a moment between";
        /// How long a consumer group keeps an assignment before it makes another (KIP-1263).
        "group.consumer.assignment.interval.ms" => group_consumer_assignment_interval: Duration =
            Duration::from_secs(1);
        /// The shortest assignment interval that a consumer group may be given.
        "group.consumer.min.assignment.interval.ms" => group_consumer_min_assignment_interval: Duration =
            Duration::ZERO;
        /// The longest assignment interval that a consumer group may be given.
        "group.consumer.max.assignment.interval.ms" => group_consumer_max_assignment_interval: Duration =
            Duration::from_secs(15);
        /// How many members a consumer group may have.
        "group.consumer.max.size" => group_consumer_max_size: i32 = i32::MAX, in 1.., because "a group needs a member";
        /// The assignors that members of consumer groups may ask for, `uniform` and `range`; the first is the default.
        "group.consumer.assignors" => group_consumer_assignors: Vec<String> =
            vec!["uniform".to_owned(), "range".to_owned()],
            in Check::new("uniform, range, or both", |names: &Vec<String>| {
                !names.is_empty() && names.iter().all(|name| matches!(name.as_str(), "uniform" | "range"))
            }),
            because "there are no others, and a group needs one";
        /// Which groups may change their kind while they have members.
        "group.consumer.migration.policy" => group_consumer_migration_policy: ConsumerGroupMigrationPolicy =
            ConsumerGroupMigrationPolicy::Bidirectional;
        /// How long the session of a share group's member lasts without a heartbeat (KIP-932).
        "group.share.session.timeout.ms" => group_share_session_timeout: Duration = Duration::from_secs(45),
            in Duration::from_millis(1).., because "a session must last";
        /// The shortest session timeout that a share group may be given.
        "group.share.min.session.timeout.ms" => group_share_min_session_timeout: Duration = Duration::from_secs(45),
            in Duration::from_millis(1).., because "a session must last";
        /// The longest session timeout that a share group may be given.
        "group.share.max.session.timeout.ms" => group_share_max_session_timeout: Duration = Duration::from_secs(60),
            in Duration::from_millis(1).., because "a session must last";
        /// How often members of share groups are to send heartbeats.
        "group.share.heartbeat.interval.ms" => group_share_heartbeat_interval: Duration = Duration::from_secs(5),
            in Duration::from_millis(1).., because "there must be a moment between";
        /// The shortest heartbeat interval that a share group may be given.
        "group.share.min.heartbeat.interval.ms" => group_share_min_heartbeat_interval: Duration =
            Duration::from_secs(5), in Duration::from_millis(1).., because "there must be a moment between";
        /// The longest heartbeat interval that a share group may be given.
        "group.share.max.heartbeat.interval.ms" => group_share_max_heartbeat_interval: Duration =
            Duration::from_secs(15), in Duration::from_millis(1).., because "there must be a moment between";
        /// How long a share group keeps an assignment before it makes another (KIP-1263).
        "group.share.assignment.interval.ms" => group_share_assignment_interval: Duration = Duration::from_secs(1);
        /// The shortest assignment interval that a share group may be given.
        "group.share.min.assignment.interval.ms" => group_share_min_assignment_interval: Duration = Duration::ZERO;
        /// The longest assignment interval that a share group may be given.
        "group.share.max.assignment.interval.ms" => group_share_max_assignment_interval: Duration =
            Duration::from_secs(15);
        /// How many members a share group may have.
        "group.share.max.size" => group_share_max_size: i32 = 200,
            in 1..=1000, because "a group needs a member, and each heartbeat looks at all";
        /// How many share sessions there may be: one for each member of a share group that fetches here.
        "group.share.max.share.sessions" => group_share_max_share_sessions: i32 = 2_000,
            in 1.., because "a member that fetches has a session";
        /// How often a record is delivered at most, before it is archived.
        "group.share.delivery.count.limit" => group_share_delivery_count_limit: i32 = 5,
            in 2..=10, because "a record that cannot be processed must come to an end";
        /// How many records of a partition may be with the members of a share group at a time.
        "group.share.partition.max.record.locks" => group_share_partition_max_record_locks: i32 = 2_000,
            in 100..=4_000, because "each costs memory";
        /// How long a member of a share group keeps a record that it neither acknowledges nor renews.
        "group.share.record.lock.duration.ms" => group_share_record_lock_duration: Duration = Duration::from_secs(30);
        /// The shortest lock that a share group may be given.
        "group.share.min.record.lock.duration.ms" => group_share_min_record_lock_duration: Duration =
            Duration::from_secs(15);
        /// The longest lock that a share group may be given.
        "group.share.max.record.lock.duration.ms" => group_share_max_record_lock_duration: Duration =
            Duration::from_secs(60);
        /// How many partitions `__share_group_state` gets when the first share group needs it.
        "share.coordinator.state.topic.num.partitions" => share_coordinator_state_topic_num_partitions: i32 = 50,
            in 1.., because "the state must have a place";
        /// How large a segment of `__share_group_state` grows.
        "share.coordinator.state.topic.segment.bytes" => share_coordinator_state_topic_segment_bytes: i32 = 104_857_600,
            in 1_048_576.., because "each segment costs several files";
        /// The least limit of deliveries that a share group may be given.
        "group.share.min.delivery.count.limit" => group_share_min_delivery_count_limit: i32 = 2,
            in 2..=5, because "a record that was not processed must be tried again";
        /// The greatest limit of deliveries that a share group may be given.
        "group.share.max.delivery.count.limit" => group_share_max_delivery_count_limit: i32 = 10,
            in 5..=25, because "a record that cannot be processed must come to an end";
        /// The least number of record locks on a partition that a share group may be given.
        "group.share.min.partition.max.record.locks" => group_share_min_partition_max_record_locks: i32 = 100,
            in 100..=2_000, because "a member needs records to work on";
        /// The greatest number of record locks on a partition that a share group may be given.
        "group.share.max.partition.max.record.locks" => group_share_max_partition_max_record_locks: i32 = 4_000,
            in 2_000..=10_000, because "each costs memory";
        /// The longest text that may be committed with an offset.
        "offset.metadata.max.bytes" => offset_metadata_max_bytes: i32 = 4096, in 0.., because "it is a length";
        /// The largest request that is read; a connection that announces a larger one is closed.
        "socket.request.max.bytes" => socket_request_max_bytes: i32 = 104_857_600,
            in 1.., because "a request has at least a byte";
        /// How long a connection may be silent before it is closed.
        "connections.max.idle.ms" => connections_max_idle: Duration = Duration::from_secs(600),
            in Duration::from_millis(1).., because "0 would close every connection at once";
        /// How many connections may be open at a time; more wait to be taken until others are gone.
        "max.connections" => max_connections: i32 = i32::MAX, in 1.., because "a broker without one cannot be reached";
        /// The largest push of a client's metrics that is taken (KIP-714).
        "telemetry.max.bytes" => telemetry_max_bytes: i32 = 1_048_576,
            in 1.., because "a push has at least a byte";
        /// The most partitions that the answer to one DescribeTopicPartitions request holds.
        "max.request.partition.size.limit" => max_request_partition_size_limit: i32 = 2000,
            in 1.., because "answers without partitions do not move a client on";
        /// How many fetch sessions are kept, in which consumers name their partitions once; a consumer without one
        /// names them in each fetch.
        "max.incremental.fetch.session.cache.slots" => max_incremental_fetch_session_cache_slots: i32 = 1000,
            in 0.., because "it is a count; 0 keeps none";
        /// How many connections one address may have; one more is closed at once.
        "max.connections.per.ip" => max_connections_per_ip: i32 = i32::MAX,
            in 1.., because "an address that may have none is for a firewall to keep out";
        /// How many bytes the requests together may have that are being answered; those behind them wait. A request may
        /// take many times its size in memory while it is answered. Requests of up to 4 KiB are not counted; -1 for no
        /// limit.
        "queued.max.request.bytes" => queued_max_request_bytes: i64 = -1,
            in Check::new("a size, or -1 for no limit", |bytes: &i64| *bytes == -1 || *bytes > 0),
            because "with 0 no request would be answered";
        /// The most bytes that the answer to one fetch holds, whatever the consumer asks for.
        "fetch.max.bytes" => fetch_max_bytes: i32 = 57_671_680,
            in 1024.., because "smaller answers do not move a consumer on";
        /// For how long a replica in sync may be without all that the leader has, until it no longer counts as in sync.
        "replica.lag.time.max.ms" => replica_lag_time_max: Duration = Duration::from_secs(30),
            in Duration::from_millis(2).., because "a follower is always a moment behind";
        /// For how long a leader waits for `replica.fetch.min.bytes` until it answers a follower.
        "replica.fetch.wait.max.ms" => replica_fetch_wait_max: Duration = Duration::from_millis(500);
        /// With how many bytes a leader answers a follower at once.
        "replica.fetch.min.bytes" => replica_fetch_min_bytes: i32 = 1,
            in 0.., because "the answer has no fewer than none";
        /// How many bytes of one partition a follower asks for at a time; a batch that is larger comes all the same.
        "replica.fetch.max.bytes" => replica_fetch_max_bytes: i32 = 1_048_576,
            in 0.., because "the answer has no fewer than none";
        /// How many bytes a follower asks a leader for at a time.
        "replica.fetch.response.max.bytes" => replica_fetch_response_max_bytes: i32 = 10_485_760,
            in 0.., because "the answer has no fewer than none";
        /// How long a follower waits after an error before it asks for the partition again.
        "replica.fetch.backoff.ms" => replica_fetch_backoff: Duration = Duration::from_secs(1);
        /// How long a leader may take to answer a follower, the connection included.
        "replica.socket.timeout.ms" => replica_socket_timeout: Duration = Duration::from_secs(30),
            in Duration::from_millis(1).., because "an answer takes time";
        /// How many connections a follower fetches by from each leader, with its partitions spread over them.
        "num.replica.fetchers" => num_replica_fetchers: u16 = 1, in 1..=1_000, because "who follows must fetch";
        /// Which replica the leader sends a consumer to, as the class that Kafka has for it:
        /// `org.apache.kafka.common.replica.RackAwareReplicaSelector` is one in sync of the consumer's rack
        /// (`client.rack`), or the leader where there is none; nothing, or
        /// `org.apache.kafka.common.replica.LeaderSelector`, is the leader (KIP-392).
        "replica.selector.class" => replica_selector_class: Option<String> = None,
            in Check::new("nothing, LeaderSelector or RackAwareReplicaSelector of org.apache.kafka.common.replica",
                |class: &Option<String>| class.as_deref().is_none_or(is_selector)),
            because "other classes of Java's cannot be loaded";
        /// How many bytes a second the leaders on this broker give to followers that are not in sync, of the replicas that
        /// `leader.replication.throttled.replicas` of their topics names. `kafka-reassign-partitions --throttle` sets it.
        "leader.replication.throttled.rate" => leader_replication_throttled_rate: i64 = i64::MAX,
            in 0.., because "it is a number of bytes";
        /// How many bytes a second this broker fetches as a follower that is not in sync, for the replicas that
        /// `follower.replication.throttled.replicas` of their topics names.
        "follower.replication.throttled.rate" => follower_replication_throttled_rate: i64 = i64::MAX,
            in 0.., because "it is a number of bytes";
        /// Over how many windows the bytes of throttled replicas are counted.
        "replication.quota.window.num" => replication_quota_window_num: i32 = 11,
            in 1.., because "they are counted over some time";
        /// How long such a window is, in seconds.
        "replication.quota.window.size.seconds" => replication_quota_window_size_seconds: i32 = 1,
            in 1.., because "they are counted over some time";
        /// How often the high watermarks of partitions with several replicas are written down.
        "replica.high.watermark.checkpoint.interval.ms" => replica_high_watermark_checkpoint_interval: Duration =
            Duration::from_secs(5), in Duration::from_millis(1).., because "it is done again and again";
    }
    validate = validate;
}

/// The selector that sends consumers to their rack.
pub(crate) const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

fn is_selector(class: &str) -> bool {
    matches!(class, "" | RACK_AWARE_SELECTOR | "org.apache.kafka.common.replica.LeaderSelector")
}

fn validate(config: &BrokerConfig) -> Result<(), ConfigError> {
    check_group_bounds(config)?;
    check_roles(config)?;
    let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    for entry in &config.listener_security_protocol_map {
        let protocol = entry.split_once(':').map(|(_, protocol)| protocol.trim());
        if !protocol.is_some_and(|protocol| known.iter().any(|known| known.eq_ignore_ascii_case(protocol))) {
            return Err(ConfigError::Invalid {
                name: "listener.security.protocol.map".to_owned(),
                value: entry.clone(),
                expected: format!("NAME:PROTOCOL with one of {}", known.join(", ")),
            });
        }
    }
    if config.group_share_min_record_lock_duration > config.group_share_max_record_lock_duration {
        return Err(ConfigError::Conflict {
            name: "group.share.min.record.lock.duration.ms".to_owned(),
            other: "group.share.max.record.lock.duration.ms".to_owned(),
            reason: "the least is more than the most; lower the first or raise the second".to_owned(),
        });
    }
    if config.group_min_session_timeout > config.group_max_session_timeout {
        return Err(ConfigError::Conflict {
            name: "group.min.session.timeout.ms".to_owned(),
            other: "group.max.session.timeout.ms".to_owned(),
            reason: "the least is more than the most; lower the first or raise the second".to_owned(),
        });
    }
    Ok(())
}

/// Kafka's own rule: what a group gets by default must be what it may be given.
fn check_group_bounds(config: &BrokerConfig) -> Result<(), ConfigError> {
    let bounds = [
        (
            "share.",
            "session.timeout",
            config.group_share_min_session_timeout,
            config.group_share_session_timeout,
            config.group_share_max_session_timeout,
        ),
        (
            "share.",
            "heartbeat.interval",
            config.group_share_min_heartbeat_interval,
            config.group_share_heartbeat_interval,
            config.group_share_max_heartbeat_interval,
        ),
        (
            "share.",
            "assignment.interval",
            config.group_share_min_assignment_interval,
            config.group_share_assignment_interval,
            config.group_share_max_assignment_interval,
        ),
        (
            "consumer.",
            "session.timeout",
            config.group_consumer_min_session_timeout,
            config.group_consumer_session_timeout,
            config.group_consumer_max_session_timeout,
        ),
        (
            "consumer.",
            "heartbeat.interval",
            config.group_consumer_min_heartbeat_interval,
            config.group_consumer_heartbeat_interval,
            config.group_consumer_max_heartbeat_interval,
        ),
        (
            "consumer.",
            "assignment.interval",
            config.group_consumer_min_assignment_interval,
            config.group_consumer_assignment_interval,
            config.group_consumer_max_assignment_interval,
        ),
    ];
    let conflict = |name: String, other: String, reason: &str| {
        Err(ConfigError::Conflict { name, other, reason: reason.to_owned() })
    };
    for (kind, what, least, value, most) in bounds {
        let named = |bound: &str| format!("group.{kind}{bound}{what}.ms");
        if value < least {
            return conflict(named(""), named("min."), "the value is less than the least; raise it or lower the least");
        }
        if value > most {
            return conflict(named(""), named("max."), "the value is more than the most; lower it or raise the most");
        }
    }
    Ok(())
}

impl BrokerConfig {
    /// How long records are kept, in milliseconds; -1 for ever.
    pub(crate) fn retention_ms(&self) -> i64 {
        // Kafka's order: milliseconds before minutes before hours.
        let set = [self.log_retention_ms, self.log_retention_minutes];
        match set.into_iter().find(|retention| *retention != Retention::Unset) {
            Some(Retention::For(duration)) => milliseconds(duration),
            Some(_) => -1,
            None => milliseconds(self.log_retention_hours),
        }
    }

    /// The settings of a log that no topic setting changes.
    pub(crate) fn log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.log_segment_bytes.max(1) as u64,
            segment_ms: milliseconds(self.log_roll_ms.unwrap_or(self.log_roll_hours)),
            segment_jitter_ms: milliseconds(self.log_roll_jitter_ms.unwrap_or(self.log_roll_jitter_hours)),
            index_interval_bytes: self.log_index_interval_bytes.max(0) as u32,
            segment_index_bytes: self.log_index_size_max_bytes.max(4) as u32,
            min_insync_replicas: self.min_insync_replicas,
            unclean_leader_election: self.unclean_leader_election_enable,
            max_message_bytes: self.message_max_bytes.max(0) as u32,
            retention_ms: self.retention_ms(),
            retention_bytes: self.log_retention_bytes,
            file_delete_delay_ms: milliseconds(self.log_segment_delete_delay),
            // Checked when it was set.
            cleanup_policy: CleanupPolicy::parse(&self.log_cleanup_policy.join(","))
                .unwrap_or(LogConfig::default().cleanup_policy),
            delete_retention_ms: milliseconds(self.log_cleaner_delete_retention),
            min_cleanable_dirty_ratio: self.log_cleaner_min_cleanable_ratio,
            min_compaction_lag_ms: milliseconds(self.log_cleaner_min_compaction_lag),
            max_compaction_lag_ms: milliseconds(self.log_cleaner_max_compaction_lag),
            compression: self.compression_type.compression(),
            compression_gzip_level: self.compression_gzip_level,
            compression_zstd_level: self.compression_zstd_level,
            message_timestamp_type: match self.log_message_timestamp_type {
                MessageTimestampType::CreateTime => TimestampType::CreateTime,
                MessageTimestampType::LogAppendTime => TimestampType::LogAppendTime,
            },
            message_timestamp_before_max_ms: milliseconds(self.log_message_timestamp_before_max),
            message_timestamp_after_max_ms: milliseconds(self.log_message_timestamp_after_max),
            producer_id_expiration_ms: milliseconds(self.producer_id_expiration),
            flush_messages: self.log_flush_interval_messages,
            flush_ms: milliseconds(self.log_flush_interval_ms.unwrap_or(self.log_flush_scheduler_interval)),
            group_commit: self.log_flush_policy == FlushPolicy::Group,
            leader_throttled: ThrottledReplicas::None,
            follower_throttled: ThrottledReplicas::None,
        }
    }
}

/// A duration in milliseconds as the protocol's 32-bit fields have them.
pub(crate) fn int_milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// A duration in Kafka's milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_kafkas_defaults() {
        let defaults = BrokerConfig::new().log_config();
        assert_eq!(defaults, LogConfig::default());
    }
}
