//! The producer's settings.

use std::time::Duration;

use rkafka_client_core::serialization::SerializerClass;
use rkafka_client_core::{ClientConfig, ClientSettings};
use rkafka_config::{Check, ConfigError, IntoSetting, setting_enum, settings};
use rkafka_protocol::records::{Codec, Compression};

use crate::Partitioner;
use crate::machine::accumulator::Limits;
use crate::partitioner::load::Adaptation;

/// The longest time that Kafka's settings can say.
const INT_MS: Duration = Duration::from_millis(i32::MAX as u64);

setting_enum! {
    /// Who must have a record before it counts as delivered.
    pub enum Acks {
        /// Nobody: the record counts as delivered once it was handed to the network, and nobody tells of its loss.
        None = "0",
        /// The leader. The record is lost if the leader goes before its followers have it.
        Leader = "1",
        /// Every in-sync replica, of which there must be `min.insync.replicas`.
        All = "all" | "-1",
    }
}

impl Acks {
    /// As the protocol says it.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

setting_enum! {
    /// Whether batches carry sequence numbers, by which brokers drop what they have already.
    pub enum Idempotence {
        /// Where the other settings allow it: `acks=all`, at most five requests in flight, retries. As in Java where
        /// `enable.idempotence` is not set.
        Auto = "auto",
        /// Yes; settings that do not allow it are an error.
        Enabled = "true",
        /// No: a retry may write a record twice, and with more than one request in flight change the order.
        Disabled = "false",
    }
}

impl IntoSetting<Idempotence> for bool {
    fn into_setting(self) -> Idempotence {
        if self { Idempotence::Enabled } else { Idempotence::Disabled }
    }
}

setting_enum! {
    /// How batches are compressed.
    pub enum CompressionType {
        /// Not at all.
        None = "none",
        /// gzip: small, and slow by a factor of five.
        Gzip = "gzip",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4: the cheapest in processor time.
        Lz4 = "lz4",
        /// Zstandard: small, at little more than LZ4's cost.
        Zstd = "zstd",
    }
}

impl From<CompressionType> for Compression {
    fn from(compression: CompressionType) -> Self {
        match compression {
            CompressionType::None => Self::None,
            CompressionType::Gzip => Self::Gzip,
            CompressionType::Snappy => Self::Snappy,
            CompressionType::Lz4 => Self::Lz4,
            CompressionType::Zstd => Self::Zstd,
        }
    }
}

settings! {
    /// The settings of a [`Producer`](crate::Producer), under Kafka's names.
    pub struct ProducerConfig {
        embed client: ClientConfig as ClientSettings;

        /// What writes keys, by the name of Java's class: the program's types choose that, and this may say the same. What
        /// says anything else is refused. A `Producer` without types takes bytes and texts.
        "key.serializer" => key_serializer: SerializerClass = SerializerClass::ByProgram;

        /// What writes values, as `key.serializer`.
        "value.serializer" => value_serializer: SerializerClass = SerializerClass::ByProgram;

        /// Who must have a record before it counts as delivered.
        "acks" aka "request.required.acks" => acks: Acks = Acks::All;

        /// Whether brokers drop what a retry sends twice, so that each record is written once and in order.
        "enable.idempotence" => enable_idempotence: Idempotence = Idempotence::Auto;

        /// Makes the producer a [`TransactionalProducer`](crate::TransactionalProducer): what it sends is committed or
        /// aborted as a whole. The id says who the producer is over restarts: a new one with the same id fences the one
        /// before and aborts what that has left open.
        "transactional.id" => transactional_id: Option<String> = None;

        /// How long a transaction may be open before its coordinator aborts it. No more than the broker's
        /// `transaction.max.timeout.ms`.
        "transaction.timeout.ms" => transaction_timeout: Duration = Duration::from_secs(60),
            in Duration::from_millis(1)..=INT_MS, because "no transaction is over in no time, and Kafka counts in 31 bits of milliseconds";

        /// How many bytes a batch takes on the wire before it is full: with compression it takes more before that, by
        /// what the last batches of the topic were compressed to, but no more than `max.request.size` or 16 MiB. A batch
        /// of one record may be larger.
        ///
        /// Java's 16 KiB makes brokers spend four times the processor time per record of what 128 KiB does, which a
        /// batch reaches only under load: `linger.ms` bounds how long it waits.
        "batch.size" => batch_size: usize = 128 * 1024,
            in 0..=i32::MAX as usize, because "the length of a batch on the wire is a signed 32-bit number";

        /// How long a batch waits for more records before it is sent though it is not full. 0 sends at once.
        "linger.ms" aka "queue.buffering.max.ms" => linger: Duration = Duration::from_millis(5),
            in Duration::ZERO..=Duration::from_secs(3600), because "a record that lingers longer would seem lost";

        /// How many bytes of records may wait to be sent and acknowledged; beyond, `send` waits, in the order of the
        /// calls, so that small records do not overtake a large one for ever. A record that is larger is refused at once.
        ///
        /// Not counted are one buffer for each broker that batches were compressed for, as large as the largest of them
        /// was, and what requests take beside their batches.
        "buffer.memory" => buffer_memory: usize = 32 * 1024 * 1024,
            in 1024.., because "a batch needs a buffer";

        /// How long `send` waits for memory, and for the metadata of a topic that it does not know.
        "max.block.ms" => max_block: Duration = Duration::from_secs(60),
            in Duration::ZERO..=INT_MS, because "Kafka counts in 31 bits of milliseconds";

        /// How large a request may be, and so how large a record: in bytes, before compression.
        "max.request.size" aka "message.max.bytes" => max_request_size: usize = 1024 * 1024,
            in 128..=i32::MAX as usize, because "a record has to fit, and the length of a request is a signed 32-bit number";

        /// How many requests go to a broker before the first is answered.
        "max.in.flight.requests.per.connection" aka "max.in.flight" => max_in_flight: u32 = 5,
            in 1..=1_000_000, because "with none nothing would ever be sent";

        /// How long a record may take from `send` to its acknowledgement, retries included.
        "delivery.timeout.ms" aka "message.timeout.ms" => delivery_timeout: Duration = Duration::from_secs(120),
            in Duration::from_millis(1)..=INT_MS, because "no record arrives in no time, and Kafka counts in 31 bits of milliseconds";

        /// How often a batch is sent again after an error that a retry can help; `delivery.timeout.ms` ends it anyway.
        "retries" aka "message.send.max.retries" => retries: u32 = i32::MAX as u32,
            in 0..=i32::MAX as u32, because "Kafka counts in signed 32-bit numbers";

        /// How batches are compressed.
        "compression.type" aka "compression.codec" => compression_type: CompressionType = CompressionType::None;

        /// The level for gzip: 1 (fast) to 9 (small); -1 is gzip's own default, 6.
        "compression.gzip.level" => compression_gzip_level: i32 = Codec::GZIP_LEVEL_DEFAULT,
            in Check::new("-1 or 1 to 9", |level: &i32| *level == -1 || (1..=9).contains(level)), because "gzip has no other levels";

        /// The level for LZ4. Only Kafka's default can be done, 9, which means the fast LZ4 and no level of the slow one:
        /// any other value is refused, so that nobody takes a setting for one that works.
        "compression.lz4.level" => compression_lz4_level: i32 = Codec::LZ4_LEVEL_DEFAULT,
            in 9..=9, because "there is no other LZ4 here than the fast one; for smaller batches use zstd";

        /// The level for zstd: the higher, the smaller and slower; below 1, faster than fast.
        "compression.zstd.level" => compression_zstd_level: i32 = Codec::ZSTD_LEVEL_DEFAULT,
            in -131_072..=22, because "zstd has no other levels";

        /// How a record without a partition of its own gets one.
        "partitioner" aka "partitioner.class" => partitioner: Partitioner = Partitioner::Default;

        /// Whether records with a key are spread as those without one.
        "partitioner.ignore.keys" => partitioner_ignore_keys: bool = false;

        /// Whether a partition gets the fewer records without a key the more batches wait for it, so that a slow broker
        /// gets less (KIP-794). Where not, they are spread evenly.
        "partitioner.adaptive.partitioning.enable" => partitioner_adaptive_partitioning: bool = true;

        /// Records without a key go to no partition whose leader has taken none of what waits for it for so long, until
        /// it takes some or all of that has failed. 0, the default, is off, and so it is where
        /// `partitioner.adaptive.partitioning.enable` is `false`.
        "partitioner.availability.timeout.ms" => partitioner_availability_timeout: Duration = Duration::ZERO,
            in Duration::ZERO..=INT_MS, because "Kafka's clients wait for nothing longer than 31 bits of milliseconds";

        /// Java's classes that see each record on its way. None can be loaded here: give the producer objects by
        /// `ProducerOptions::interceptor`. An empty list, Java's default, is taken.
        "interceptor.classes" => interceptor_classes: Vec<String> = Vec::new(),
            in Check::new("nothing", |classes: &Vec<String>| classes.is_empty()),
            because "classes of Java cannot be loaded: give interceptors by `ProducerOptions::interceptor`";
    }
    validate = check_together;
}

fn conflict(name: &str, other: &str, reason: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Conflict { name: name.to_owned(), other: other.to_owned(), reason: reason.to_owned() })
}

/// What Java's `ProducerConfig` checks.
fn check_together(config: &ProducerConfig) -> Result<(), ConfigError> {
    if config.transactional_id.as_deref() == Some("") {
        return conflict("transactional.id", "its own value", "an id has at least one letter");
    }
    if config.transactional_id.is_some() && config.enable_idempotence == Idempotence::Disabled {
        return conflict(
            "transactional.id",
            "enable.idempotence",
            "a transactional producer is idempotent: drop the latter",
        );
    }
    if config.transactional_id.is_some() || config.enable_idempotence == Idempotence::Enabled {
        if config.acks != Acks::All {
            return conflict("acks", "enable.idempotence", "an idempotent producer needs `acks=all`");
        }
        if config.max_in_flight > 5 {
            return conflict(
                "max.in.flight.requests.per.connection",
                "enable.idempotence",
                "brokers remember the last five batches of a producer: use 5 or fewer",
            );
        }
        if config.retries == 0 {
            return conflict("retries", "enable.idempotence", "an idempotent producer must be allowed to retry");
        }
    }
    if config.delivery_timeout < config.linger.saturating_add(config.client.request_timeout) {
        return conflict(
            "delivery.timeout.ms",
            "linger.ms + request.timeout.ms",
            "a record must have the time to linger and be answered: raise the first, or lower the others",
        );
    }
    Ok(())
}

impl ProducerConfig {
    /// Checks `key.serializer` and `value.serializer` against what the program has, which `program` says. Gives the
    /// config without them, for they are done with.
    pub(crate) fn check_serializers(
        mut self,
        program: &str,
        key: &[SerializerClass],
        value: &[SerializerClass],
    ) -> Result<Self, ConfigError> {
        for (name, set, allowed) in
            [("key.serializer", &mut self.key_serializer, key), ("value.serializer", &mut self.value_serializer, value)]
        {
            if *set != SerializerClass::ByProgram && !allowed.contains(set) {
                let has = allowed.first().filter(|class| **class != SerializerClass::ByProgram);
                let reason = match has {
                    Some(has) => format!("the program writes it by {has}: name that one, or leave the setting out"),
                    None => "the program chooses the serializer in code: leave the setting out".to_owned(),
                };
                return Err(ConfigError::Conflict { name: name.to_owned(), other: program.to_owned(), reason });
            }
            *set = SerializerClass::ByProgram;
        }
        Ok(self)
    }

    /// As [`Self::check_serializers`], of a producer without types.
    pub(crate) fn check_untyped(self) -> Result<Self, ConfigError> {
        const UNTYPED: [SerializerClass; 2] = [SerializerClass::ByteArray, SerializerClass::String];
        self.check_serializers("a producer without types (see `TypedProducer`)", &UNTYPED, &UNTYPED)
    }

    /// Whether batches carry sequence numbers.
    pub fn is_idempotent(&self) -> bool {
        match self.enable_idempotence {
            Idempotence::Enabled => true,
            Idempotence::Disabled => false,
            Idempotence::Auto if self.transactional_id.is_some() => true,
            Idempotence::Auto => self.acks == Acks::All && self.max_in_flight <= 5 && self.retries > 0,
        }
    }

    /// The codec and its level.
    pub(crate) fn codec(&self) -> Result<Codec, ConfigError> {
        let compression = Compression::from(self.compression_type);
        let (codec, name) = match compression {
            Compression::Gzip => {
                (Codec::with_level(compression, self.compression_gzip_level), "compression.gzip.level")
            }
            Compression::Zstd => {
                (Codec::with_level(compression, self.compression_zstd_level), "compression.zstd.level")
            }
            other => (Ok(Codec::new(other)), "compression.type"),
        };
        codec.map_err(|error| ConfigError::Conflict {
            name: "compression.type".to_owned(),
            other: name.to_owned(),
            reason: error.to_string(),
        })
    }

    pub(crate) fn adaptation(&self) -> Adaptation {
        Adaptation {
            enabled: self.partitioner_adaptive_partitioning,
            availability_timeout: self.partitioner_availability_timeout,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            batch_size: self.batch_size,
            record_size_max: self.max_request_size,
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            window: u64::from(self.max_in_flight),
            retries: self.retries,
            idempotent: self.is_idempotent(),
            transaction: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ProducerConfig {
        ProducerConfig::new().bootstrap_servers("localhost:9092")
    }

    #[test]
    fn java_rules_between_settings() {
        let text = |config: ProducerConfig| config.validate().unwrap_err().to_string();
        assert!(config().validate().is_ok() && config().is_idempotent());
        let acks = text(config().acks(Acks::Leader).enable_idempotence(true));
        assert!(acks.contains("`acks`") && acks.contains("`enable.idempotence`"), "{acks}");
        let flight = text(config().max_in_flight(6_u32).enable_idempotence(true));
        assert!(flight.contains("max.in.flight") && flight.contains("`enable.idempotence`"));
        assert!(text(config().retries(0_u32).enable_idempotence(true)).contains("`retries`"));
        assert!(text(config().delivery_timeout(Duration::from_secs(1))).contains("`delivery.timeout.ms`"));
        // Where idempotence was not asked for, it gives way, as in Java.
        let leader = config().acks(Acks::Leader);
        assert!(leader.validate().is_ok() && !leader.is_idempotent());
        assert!(!config().enable_idempotence(false).is_idempotent());
    }

    #[test]
    fn text_and_setters_mean_the_same() {
        let text = ProducerConfig::from_properties([
            ("bootstrap.servers", "localhost:9092"),
            ("acks", "-1"),
            ("enable.idempotence", "true"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
            ("linger.ms", "20"),
            ("partitioner", "murmur2_random"),
        ])
        .unwrap();
        let typed = config()
            .enable_idempotence(true)
            .compression_type(CompressionType::Zstd)
            .compression_zstd_level(7)
            .linger(Duration::from_millis(20));
        assert_eq!(text, typed);
        assert_eq!(typed.codec().unwrap().level(), 7);
        assert!(config().compression_gzip_level(0).validate().is_err());
    }
}
