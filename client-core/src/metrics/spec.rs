//! The declaration of a metric.

use std::borrow::Cow;

use rkafka_config::setting_enum;

setting_enum! {
    /// How much is measured (`metrics.recording.level`).
    pub enum RecordingLevel {
        /// What costs next to nothing: all that Kafka's own clients measure, and the stages of a record's way.
        Info = "INFO",
        /// Percentiles as well.
        Debug = "DEBUG",
        /// As `DEBUG`, as nothing of a client is measured on this level.
        Trace = "TRACE",
    }
}

/// What kind of client measures: it gives the names of groups their first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ClientKind {
    /// `producer-metrics`, under the JMX domain `kafka.producer`.
    Producer,
    /// `consumer-metrics`, under the JMX domain `kafka.consumer`.
    Consumer,
    /// `admin-client-metrics`, under the JMX domain `kafka.admin.client`; also a client that is neither of the others.
    Admin,
}

impl ClientKind {
    /// What the names of groups begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Admin => "admin-client",
        }
    }

    /// The JMX domain of Kafka's own client of this kind.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::Producer => "kafka.producer",
            Self::Consumer => "kafka.consumer",
            Self::Admin => "kafka.admin.client",
        }
    }
}

/// How the value of a metric comes of the numbers that its sensor is told.
///
/// What is windowed looks back over `metrics.num.samples` samples of `metrics.sample.window.ms` each, as Kafka's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stat {
    /// The sum of all numbers since the client began.
    Total,
    /// How many numbers there were since the client began.
    Count,
    /// The sum of the numbers per second, windowed.
    Rate,
    /// How many numbers there were per second, windowed.
    CountRate,
    /// How many numbers there were per hour, windowed.
    CountRatePerHour,
    /// The sum of the numbers, which are nanoseconds, as a share of the time that has passed, windowed.
    NanosRatio,
    /// The average, windowed; not a number where there was none.
    Avg,
    /// The largest, windowed; not a number where there was none.
    Max,
    /// The smallest, windowed; not a number where there was none.
    Min,
    /// So many in a thousand of the numbers are at most this, windowed; not a number where there was none. It is found in
    /// steps of a sixteenth of its power of two, and the upper end of the step is given: it is at most 6.3 % above the
    /// exact value. Numbers below 1/1024 count as that.
    Permille(u16),
    /// The last number, or what a gauge reads.
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Fixed(&'static str),
    /// Comes behind the kind of the client.
    OfClient(&'static str),
}

/// One metric, declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    name: &'static str,
    group: Group,
    stat: Stat,
    description: &'static str,
    tags: &'static [&'static str],
    level: RecordingLevel,
    is_own: bool,
}

impl Spec {
    /// A metric of Kafka's, in the group with this full name, such as `producer-topic-metrics`.
    pub const fn new(name: &'static str, group: &'static str, stat: Stat, description: &'static str) -> Self {
        let group = Group::Fixed(group);
        Self { name, group, stat, description, tags: &[], level: RecordingLevel::Info, is_own: false }
    }

    /// A metric of Kafka's that every kind of client has: its group is that of the client's kind and `group`, as
    /// `producer-metrics` is of the producer and `metrics`.
    pub const fn of_client(name: &'static str, group: &'static str, stat: Stat, description: &'static str) -> Self {
        let group = Group::OfClient(group);
        Self { name, group, stat, description, tags: &[], level: RecordingLevel::Info, is_own: false }
    }

    /// Names the tags that the metric has beside `client-id`.
    #[must_use]
    pub const fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    /// Says that the metric is rkafka's own, and Kafka's clients have none of this name.
    #[must_use]
    pub const fn own(mut self) -> Self {
        self.is_own = true;
        self
    }

    /// Says that the metric is there with `metrics.recording.level=DEBUG` only.
    #[must_use]
    pub const fn debug(mut self) -> Self {
        self.level = RecordingLevel::Debug;
        self
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The group's full name, for a client of this kind.
    pub fn group(&self, kind: ClientKind) -> Cow<'static, str> {
        match self.group {
            Group::Fixed(group) => Cow::Borrowed(group),
            Group::OfClient(group) => Cow::Owned(format!("{}-{group}", kind.prefix())),
        }
    }

    /// Whether every kind of client has it, in a group of its own.
    pub const fn is_of_client(&self) -> bool {
        matches!(self.group, Group::OfClient(_))
    }

    /// How the value is found.
    pub const fn stat(&self) -> Stat {
        self.stat
    }

    /// What it means, with its unit.
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// The tags that it has beside `client-id`.
    pub const fn tag_names(&self) -> &'static [&'static str] {
        self.tags
    }

    /// From which `metrics.recording.level` on it is there.
    pub const fn level(&self) -> RecordingLevel {
        self.level
    }

    /// Whether it is rkafka's own.
    pub const fn is_own(&self) -> bool {
        self.is_own
    }
}

impl RecordingLevel {
    /// Whether what belongs to `level` is measured.
    pub(crate) const fn includes(self, level: Self) -> bool {
        self as u8 >= level as u8
    }
}
