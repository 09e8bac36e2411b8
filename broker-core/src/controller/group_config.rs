//! The settings that a group may have of its own (KIP-848, KIP-932): each number lies within bounds that the broker has.

use crate::config::BrokerConfig;
use crate::kafka_settings::ConfigType;
use crate::share::OffsetReset;

/// One setting that a group may have.
pub(crate) struct GroupSetting {
    pub name: &'static str,
    pub kind: ConfigType,
    rule: Rule,
    pub documentation: &'static str,
}

/// What a setting may be, and what it is where the group has none.
enum Rule {
    /// A number between two settings of the broker, and the setting that holds where the group has none.
    Number { broker_name: &'static str, least: &'static str, most: &'static str },
    /// A word of which the broker has no setting.
    Word { default: &'static str, is_allowed: fn(&str) -> bool, expected: &'static str },
}

const GROUP_SETTINGS: &[GroupSetting] = &[
    GroupSetting {
        name: "consumer.assignment.interval.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.consumer.assignment.interval.ms",
            least: "group.consumer.min.assignment.interval.ms",
            most: "group.consumer.max.assignment.interval.ms",
        },
        documentation: "How long the coordinator waits between two assignments of the group.",
    },
    GroupSetting {
        name: "consumer.heartbeat.interval.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.consumer.heartbeat.interval.ms",
            least: "group.consumer.min.heartbeat.interval.ms",
            most: "group.consumer.max.heartbeat.interval.ms",
        },
        documentation: "How often the members of the group are told to send heartbeats.",
    },
    GroupSetting {
        name: "consumer.session.timeout.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.consumer.session.timeout.ms",
            least: "group.consumer.min.session.timeout.ms",
            most: "group.consumer.max.session.timeout.ms",
        },
        documentation: "How long a member of the group may be silent before it is taken for dead.",
    },
    GroupSetting {
        name: "share.assignment.interval.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.assignment.interval.ms",
            least: "group.share.min.assignment.interval.ms",
            most: "group.share.max.assignment.interval.ms",
        },
        documentation: "How long the coordinator waits between two assignments of the share group.",
    },
    GroupSetting {
        name: "share.auto.offset.reset",
        kind: ConfigType::Text,
        rule: Rule::Word {
            default: "latest",
            is_allowed: |text| OffsetReset::parse(text).is_some(),
            expected: "`earliest`, `latest` or `by_duration:` with an ISO-8601 duration such as PT24H",
        },
        documentation: "Where a share group begins on a partition that it has never been on.",
    },
    GroupSetting {
        name: "share.delivery.count.limit",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.delivery.count.limit",
            least: "group.share.min.delivery.count.limit",
            most: "group.share.max.delivery.count.limit",
        },
        documentation: "How often a record is delivered to the group at most.",
    },
    GroupSetting {
        name: "share.heartbeat.interval.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.heartbeat.interval.ms",
            least: "group.share.min.heartbeat.interval.ms",
            most: "group.share.max.heartbeat.interval.ms",
        },
        documentation: "How often the members of the share group are told to send heartbeats.",
    },
    GroupSetting {
        name: "share.isolation.level",
        kind: ConfigType::Text,
        rule: Rule::Word {
            default: "read_uncommitted",
            is_allowed: |text| matches!(text, "read_committed" | "read_uncommitted"),
            expected: "`read_committed` or `read_uncommitted`",
        },
        documentation: "Whether the share group is given records of transactions that are open or were aborted.",
    },
    GroupSetting {
        name: "share.partition.max.record.locks",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.partition.max.record.locks",
            least: "group.share.min.partition.max.record.locks",
            most: "group.share.max.partition.max.record.locks",
        },
        documentation: "How many records of a partition may be with the group's members at a time.",
    },
    GroupSetting {
        name: "share.record.lock.duration.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.record.lock.duration.ms",
            least: "group.share.min.record.lock.duration.ms",
            most: "group.share.max.record.lock.duration.ms",
        },
        documentation: "How long a member of the share group keeps a record that it neither acknowledges nor renews.",
    },
    GroupSetting {
        name: "share.session.timeout.ms",
        kind: ConfigType::Int,
        rule: Rule::Number {
            broker_name: "group.share.session.timeout.ms",
            least: "group.share.min.session.timeout.ms",
            most: "group.share.max.session.timeout.ms",
        },
        documentation: "How long a member of the share group may be silent before it is taken for dead.",
    },
];

/// The settings of groups: those for which this broker has a setting itself.
pub(crate) fn all() -> impl Iterator<Item = &'static GroupSetting> {
    let declared = |name: &str| BrokerConfig::describe().iter().any(|doc| doc.name == name);
    GROUP_SETTINGS.iter().filter(move |setting| match setting.rule {
        Rule::Number { broker_name, .. } => declared(broker_name),
        Rule::Word { .. } => true,
    })
}

impl GroupSetting {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        all().find(|setting| setting.name == name)
    }

    /// The value that holds where the group has none.
    pub fn default(&self, broker: &BrokerConfig) -> String {
        match self.rule {
            Rule::Number { broker_name, .. } => value_of(broker, broker_name).unwrap_or_default(),
            Rule::Word { default, .. } => default.to_owned(),
        }
    }

    /// The broker's setting that holds where the group has none, if there is one.
    pub fn broker_name(&self) -> Option<&'static str> {
        match self.rule {
            Rule::Number { broker_name, .. } => Some(broker_name),
            Rule::Word { .. } => None,
        }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Why the setting cannot have it, in Kafka's words.
    pub fn check(&self, broker: &BrokerConfig, value: &str) -> Result<(), String> {
        let (least, most) = match self.rule {
            Rule::Number { least, most, .. } => (least, most),
            Rule::Word { is_allowed, .. } if is_allowed(value.trim()) => return Ok(()),
            Rule::Word { expected, .. } => {
                return Err(format!("Invalid value {value} for configuration {}: it must be {expected}", self.name));
            }
        };
        let number: i32 = value
            .trim()
            .parse()
            .map_err(|_| format!("Invalid value {value} for configuration {}: Not a number of type INT", self.name))?;
        let bound = |name| value_of(broker, name).and_then(|text| text.parse::<i32>().ok());
        if bound(least).is_some_and(|least| number < least) {
            return Err(format!("{} must be greater than or equal to {}", self.name, least));
        }
        if bound(most).is_some_and(|most| number > most) {
            return Err(format!("{} must be less than or equal to {}", self.name, most));
        }
        Ok(())
    }
}

fn value_of(broker: &BrokerConfig, name: &str) -> Option<String> {
    broker.entries().into_iter().find(|entry| entry.name == name).map(|entry| entry.value)
}
