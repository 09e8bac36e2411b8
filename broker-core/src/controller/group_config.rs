//! The settings that a group may have of its own (KIP-848): each lies within bounds that the broker has.

use crate::config::BrokerConfig;
use crate::kafka_settings::ConfigType;

/// One setting that a group may have.
pub(crate) struct GroupSetting {
    pub name: &'static str,
    pub kind: ConfigType,
    /// The broker's setting that holds where the group has none.
    pub broker_name: &'static str,
    least: &'static str,
    most: &'static str,
    pub documentation: &'static str,
}

const GROUP_SETTINGS: &[GroupSetting] = &[
    GroupSetting {
        name: "consumer.assignment.interval.ms",
        kind: ConfigType::Int,
        broker_name: "group.consumer.assignment.interval.ms",
        least: "group.consumer.min.assignment.interval.ms",
        most: "group.consumer.max.assignment.interval.ms",
        documentation: "How long the coordinator waits between two assignments of the group.",
    },
    GroupSetting {
        name: "consumer.heartbeat.interval.ms",
        kind: ConfigType::Int,
        broker_name: "group.consumer.heartbeat.interval.ms",
        least: "group.consumer.min.heartbeat.interval.ms",
        most: "group.consumer.max.heartbeat.interval.ms",
        documentation: "How often the members of the group are told to send heartbeats.",
    },
    GroupSetting {
        name: "consumer.session.timeout.ms",
        kind: ConfigType::Int,
        broker_name: "group.consumer.session.timeout.ms",
        least: "group.consumer.min.session.timeout.ms",
        most: "group.consumer.max.session.timeout.ms",
        documentation: "How long a member of the group may be silent before it is taken for dead.",
    },
];

/// The settings of groups: those for which this broker has a setting itself.
pub(crate) fn all() -> impl Iterator<Item = &'static GroupSetting> {
    let declared = |name: &str| BrokerConfig::describe().iter().any(|doc| doc.name == name);
    GROUP_SETTINGS.iter().filter(move |setting| declared(setting.broker_name))
}

impl GroupSetting {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        all().find(|setting| setting.name == name)
    }

    /// The value that holds where the group has none.
    pub fn default(&self, broker: &BrokerConfig) -> String {
        value_of(broker, self.broker_name).unwrap_or_default()
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Why the setting cannot have it, in Kafka's words.
    pub fn check(&self, broker: &BrokerConfig, value: &str) -> Result<(), String> {
        let number: i32 = value
            .trim()
            .parse()
            .map_err(|_| format!("Invalid value {value} for configuration {}: Not a number of type INT", self.name))?;
        let bound = |name| value_of(broker, name).and_then(|text| text.parse::<i32>().ok());
        if bound(self.least).is_some_and(|least| number < least) {
            return Err(format!("{} must be greater than or equal to {}", self.name, self.least));
        }
        if bound(self.most).is_some_and(|most| number > most) {
            return Err(format!("{} must be less than or equal to {}", self.name, self.most));
        }
        Ok(())
    }
}

fn value_of(broker: &BrokerConfig, name: &str) -> Option<String> {
    broker.entries().into_iter().find(|entry| entry.name == name).map(|entry| entry.value)
}
