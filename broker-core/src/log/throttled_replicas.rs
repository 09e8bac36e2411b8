//! The replicas of a topic that are held back (`leader.replication.throttled.replicas` and its fellow).

use std::sync::Arc;

/// Which replicas are held back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ThrottledReplicas {
    /// None, the default.
    #[default]
    None,
    /// All (`*`).
    All,
    /// These, as partition and broker.
    These(Arc<[(i32, i32)]>),
}

impl ThrottledReplicas {
    /// Reads Kafka's list: `partition:broker` with commas between them, `*`, or nothing (`none` says that too).
    ///
    /// # Errors
    /// What is expected, in Kafka's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                .to_owned()
        };
        match text.trim() {
            "" | "none" => Ok(Self::None),
            "*" => Ok(Self::All),
            list => {
                let replica = |text: &str| {
                    let (partition, broker) = text.trim().split_once(':')?;
                    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
                    Some((number(partition)?, number(broker)?))
                };
                let replicas = list.split(',').map(|text| replica(text).ok_or_else(expected));
                replicas.collect::<Result<_, _>>().map(Self::These)
            }
        }
    }

    /// Whether the replica of a partition on a broker is one of them.
    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(replicas) => replicas.contains(&(partition, broker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_kafka_writes_them() {
        let some = ThrottledReplicas::parse("0:1, 0:2,3:1").unwrap();
        assert!(some.contains(0, 1) && some.contains(0, 2) && some.contains(3, 1));
        assert!(!some.contains(1, 0) && !some.contains(3, 2));
        assert!(ThrottledReplicas::parse(" * ").unwrap().contains(7, 7));
        for none in ["", "none"] {
            assert!(!ThrottledReplicas::parse(none).unwrap().contains(0, 0));
        }
        for wrong in ["1", "1:", ":1", "1:2:3", "1:2,", "a:1", "-1:2", "*,1:2"] {
            assert!(ThrottledReplicas::parse(wrong).is_err(), "{wrong}");
        }
    }
}
