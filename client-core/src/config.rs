//! The settings that every client has.

use std::str::FromStr;
use std::time::Duration;

use rkafka_config::{Check, ConfigError, setting_enum, settings};
use rkafka_net::{DialOptions, HostPort};

use crate::Backoff;
use crate::metrics::RecordingLevel;

/// Java keeps most durations in an `int` of milliseconds.
const INT_MS: Duration = Duration::from_millis(i32::MAX as u64);
const MS: Duration = Duration::from_millis(1);

setting_enum! {
    /// What a client does when no broker that it knows answers (KIP-899).
    pub enum MetadataRecovery {
        /// It begins anew at the bootstrap addresses.
        Rebootstrap = "rebootstrap",
        /// It goes on trying the brokers that it knows.
        None = "none",
    }
}

setting_enum! {
    /// How a connection is protected.
    pub enum SecurityProtocol {
        /// Not at all.
        Plaintext = "PLAINTEXT",
    }
}

settings! {
    /// How a client finds the cluster and talks to it.
    pub struct ClientConfig as ClientSettings {
        /// Addresses to find the cluster by, as `host:port` with commas between. All of them are tried; the other
        /// brokers are learned from the first that answers.
        "bootstrap.servers" aka "metadata.broker.list" => bootstrap_servers: Vec<String> = Vec::new(),
            in Check::new("one address or more", |list: &Vec<String>| !list.is_empty()),
            because "without one the cluster cannot be found";
        /// The name that brokers know this client by, in their logs, metrics and quotas.
        "client.id" => client_id: String = "rkafka".to_owned(),
            in Check::new("at most 32767 bytes", |id: &String| id.len() <= i16::MAX as usize),
            because "the protocol has no room for more";
        /// The rack or zone where this client stands, to read from a replica nearby (KIP-392).
        "client.rack" => client_rack: Option<String> = None;
        /// How connections are protected. `PLAINTEXT` is what this version can do.
        "security.protocol" => security_protocol: SecurityProtocol = SecurityProtocol::Plaintext;
        /// How long an answer may take. The connection is closed where one takes longer.
        "request.timeout.ms" => request_timeout: Duration = Duration::from_secs(30),
            in MS..=INT_MS, because "an answer needs some time";
        /// How long an operation may take that has no time limit of its own, all its retries together.
        "default.api.timeout.ms" => default_api_timeout: Duration = Duration::from_secs(60),
            in MS..=INT_MS, because "an operation needs some time";
        /// How long one address may take to accept a connection. Doubled with each failure in a row.
        "socket.connection.setup.timeout.ms" => socket_connection_setup_timeout: Duration = Duration::from_secs(10),
            in MS..=INT_MS, because "a connection needs some time";
        /// The most that `socket.connection.setup.timeout.ms` grows to.
        "socket.connection.setup.timeout.max.ms" => socket_connection_setup_timeout_max: Duration =
            Duration::from_secs(30), in MS..=INT_MS, because "a connection needs some time";
        /// How long to wait before a broker that could not be reached is tried again. Doubled with each failure in a
        /// row, and 20 % more or less at random.
        "reconnect.backoff.ms" => reconnect_backoff: Duration = Duration::from_millis(50),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// The most that `reconnect.backoff.ms` grows to.
        "reconnect.backoff.max.ms" => reconnect_backoff_max: Duration = Duration::from_secs(1),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// How long to wait before a request that failed is tried again. Doubled with each failure in a row, and 20 %
        /// more or less at random (KIP-580).
        "retry.backoff.ms" => retry_backoff: Duration = Duration::from_millis(100),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// The most that `retry.backoff.ms` grows to.
        "retry.backoff.max.ms" => retry_backoff_max: Duration = Duration::from_secs(1),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// How old metadata may be before it is fetched anew, though nothing seems to have changed.
        "metadata.max.age.ms" aka "topic.metadata.refresh.interval.ms" => metadata_max_age: Duration =
            Duration::from_secs(300), in MS..=INT_MS, because "fetching without a pause would be a flood";
        /// What to do when no broker that is known answers: `rebootstrap` begins anew at `bootstrap.servers`, `none` goes
        /// on trying (KIP-899).
        "metadata.recovery.strategy" => metadata_recovery_strategy: MetadataRecovery = MetadataRecovery::Rebootstrap;
        /// How long brokers may accept connections and yet give no metadata before the client begins anew at
        /// `bootstrap.servers` (KIP-1102).
        "metadata.recovery.rebootstrap.trigger.ms" => metadata_recovery_rebootstrap_trigger: Duration =
            Duration::from_secs(300), in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// How long a connection may stand idle before it is closed; -1 never closes one.
        "connections.max.idle.ms" => connections_max_idle: Option<Duration> = Some(Duration::from_secs(540));
        /// The system's buffer for what is sent, in bytes; -1 leaves it to the system.
        "send.buffer.bytes" aka "socket.send.buffer.bytes" => send_buffer: Option<u32> = Some(131_072);
        /// The system's buffer for what is received, in bytes; -1 leaves it to the system, which may grow it for
        /// connections over long distances.
        "receive.buffer.bytes" aka "socket.receive.buffer.bytes" => receive_buffer: Option<u32> = Some(65_536);
        /// The largest answer that is taken, in bytes. Memory grows with the bytes that come, not with what is announced.
        "receive.message.max.bytes" => receive_message_max: usize = 100_000_000,
            in 1_000..=i32::MAX as usize, because "a frame's length has 31 bits, and metadata needs some room";
        /// How long one sample of a metric takes numbers; rates, averages and maxima look back over
        /// `metrics.num.samples` of them.
        "metrics.sample.window.ms" => metrics_sample_window: Duration = Duration::from_secs(30),
            in MS..=INT_MS, because "a rate over no time is none";
        /// How many samples of `metrics.sample.window.ms` each a metric looks back over.
        "metrics.num.samples" => metrics_num_samples: u32 = 2,
            in 1..=1_000, because "there must be one to look at, and each is kept in memory";
        /// How much is measured: `INFO` is what Kafka's own clients measure, `DEBUG` adds percentiles, and `TRACE` is as
        /// `DEBUG`.
        "metrics.recording.level" => metrics_recording_level: RecordingLevel = RecordingLevel::Info;
    }
    validate = agree;
}

fn agree(config: &ClientConfig) -> Result<(), ConfigError> {
    config.addresses()?;
    let pairs = [
        (
            ("reconnect.backoff.max.ms", config.reconnect_backoff_max),
            ("reconnect.backoff.ms", config.reconnect_backoff),
        ),
        (("retry.backoff.max.ms", config.retry_backoff_max), ("retry.backoff.ms", config.retry_backoff)),
        (
            ("socket.connection.setup.timeout.max.ms", config.socket_connection_setup_timeout_max),
            ("socket.connection.setup.timeout.ms", config.socket_connection_setup_timeout),
        ),
    ];
    for ((larger, max), (smaller, first)) in pairs {
        if max < first {
            return Err(ConfigError::Conflict {
                name: larger.to_owned(),
                other: smaller.to_owned(),
                reason: format!("{max:?} is the most that {first:?} may grow to; raise the one or lower the other"),
            });
        }
    }
    Ok(())
}

impl ClientConfig {
    /// The addresses of `bootstrap.servers`.
    ///
    /// # Errors
    /// One of them is no address.
    pub fn addresses(&self) -> Result<Vec<HostPort>, ConfigError> {
        let read = |text: &String| {
            HostPort::from_str(text).map_err(|_| ConfigError::Invalid {
                name: "bootstrap.servers".to_owned(),
                value: text.clone(),
                expected: "HOST:PORT, with commas between several".to_owned(),
            })
        };
        self.bootstrap_servers.iter().map(read).collect()
    }

    /// The backoff of `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub fn retry_policy(&self) -> Backoff {
        Backoff::new(self.retry_backoff, self.retry_backoff_max)
    }

    /// The backoff of `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub fn reconnect_policy(&self) -> Backoff {
        Backoff::new(self.reconnect_backoff, self.reconnect_backoff_max)
    }

    pub(crate) fn dial_options(&self, failures: u32) -> DialOptions {
        let setup = Backoff::new(self.socket_connection_setup_timeout, self.socket_connection_setup_timeout_max);
        DialOptions {
            setup_timeout: setup.delay(failures, &mut rand::rng()).max(MS),
            send_buffer: self.send_buffer,
            receive_buffer: self.receive_buffer,
        }
    }
}
