//! `partition.assignment.strategy`: the assignors that a member offers.

use std::sync::Arc;

use rkafka_assignor::{Assignor, CooperativeSticky, Range, RebalanceProtocol, RoundRobin, Sticky};
use rkafka_config::ConfigError;

const NAME: &str = "partition.assignment.strategy";

/// The assignors that a member offers, the preferred one first.
#[derive(Debug)]
pub(crate) struct Strategy {
    pub(crate) assignors: Vec<Arc<dyn Assignor>>,
    /// Whether every one of them can work with members that keep their partitions over a rebalance (KIP-429). Java
    /// derives it in the same way: one that cannot makes the group eager.
    pub(crate) is_cooperative: bool,
}

impl Strategy {
    /// Finds the assignors of these names: the application's own first, then Kafka's, also by the names of their Java
    /// classes.
    ///
    /// # Errors
    /// There is none of a name, or one occurs twice, or there is no rebalance protocol that all of them know.
    pub(crate) fn of(names: &[String], own: &[Arc<dyn Assignor>]) -> Result<Self, ConfigError> {
        let invalid = |value: &str, expected: String| ConfigError::Invalid {
            name: NAME.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let mut assignors: Vec<Arc<dyn Assignor>> = Vec::with_capacity(names.len());
        for name in names {
            let found = own.iter().find(|assignor| assignor.name() == name).cloned().or_else(|| builtin(name));
            let Some(found) = found else {
                let expected = "range, roundrobin, sticky, cooperative-sticky, or the name of an assignor that \
                     ConsumerOptions::assignor was given";
                return Err(invalid(name, expected.to_owned()));
            };
            if assignors.iter().any(|other| other.name() == found.name()) {
                return Err(invalid(
                    &names.join(","),
                    format!("each assignor once, but {} is there twice", found.name()),
                ));
            }
            assignors.push(found);
        }
        let knows = |protocol| assignors.iter().all(|assignor| assignor.protocols().contains(&protocol));
        let is_cooperative = knows(RebalanceProtocol::Cooperative);
        if assignors.is_empty() || (!is_cooperative && !knows(RebalanceProtocol::Eager)) {
            let expected = "assignors with a rebalance protocol (eager or cooperative) in common";
            return Err(invalid(&names.join(","), expected.to_owned()));
        }
        Ok(Self { assignors, is_cooperative })
    }
}

fn builtin(name: &str) -> Option<Arc<dyn Assignor>> {
    let short = match name.strip_prefix("org.apache.kafka.clients.consumer.") {
        Some("RangeAssignor") => "range",
        Some("RoundRobinAssignor") => "roundrobin",
        Some("StickyAssignor") => "sticky",
        Some("CooperativeStickyAssignor") => "cooperative-sticky",
        _ => name,
    };
    let found: Arc<dyn Assignor> = match short {
        "range" => Arc::new(Range),
        "roundrobin" => Arc::new(RoundRobin),
        "sticky" => Arc::new(Sticky),
        "cooperative-sticky" => Arc::new(CooperativeSticky),
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<bool, ConfigError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Strategy::of(&names, &[]).map(|strategy| strategy.is_cooperative)
    }

    #[test]
    fn the_group_is_cooperative_where_all_assignors_are() {
        assert_eq!(of(&["range", "cooperative-sticky"]), Ok(false), "Java's default");
        assert_eq!(of(&["cooperative-sticky"]), Ok(true));
        assert_eq!(of(&["org.apache.kafka.clients.consumer.CooperativeStickyAssignor"]), Ok(true));
        assert_eq!(of(&["sticky", "roundrobin"]), Ok(false));
    }

    #[test]
    fn what_is_not_there_or_twice_is_an_error_by_name() {
        for names in [&["nearest"][..], &["range", "range"], &[]] {
            let error = of(names).unwrap_err();
            assert_eq!(error.name(), NAME, "{error}");
        }
        assert!(of(&["nearest"]).unwrap_err().to_string().contains("nearest"));
    }
}
