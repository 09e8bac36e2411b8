//! Prometheus' text format 0.0.4, under the names that the JMX exporter gives to Kafka's own clients.

use std::fmt::Write;

use super::snapshot::{Metric, MetricsSnapshot};
use super::spec::Stat;

impl MetricsSnapshot {
    /// The metrics in Prometheus' text format (0.0.4, `text/plain; version=0.0.4`).
    ///
    /// Names are those that the JMX exporter makes of Kafka's clients by default: domain, group and name, joined by `_`,
    /// with each character that Prometheus does not take as `_` too, such as
    /// `kafka_producer_producer_metrics_record_send_rate{client_id="rkafka"}`. Tags are labels. What is not a number is
    /// `NaN`. Whatever ends with `-total` and only grows is a counter, all else is a gauge.
    pub fn prometheus_text(&self) -> String {
        let mut text = String::new();
        let mut before = String::new();
        for metric in self {
            let name = full_name(metric);
            if name != before {
                let kind = if is_counter(metric) { "counter" } else { "gauge" };
                let help = metric.description().replace('\\', "\\\\").replace('\n', "\\n");
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            text.push_str(&name);
            let mut separator = '{';
            for (tag, value) in metric.tags() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(text, "{separator}{}=\"{value}\"", mangled(tag));
                separator = ',';
            }
            let value = metric.value();
            let value = match value {
                _ if value == f64::INFINITY => "+Inf".to_owned(),
                _ if value == f64::NEG_INFINITY => "-Inf".to_owned(),
                _ => value.to_string(),
            };
            let _ = writeln!(text, "}} {value}");
            before = name;
        }
        text
    }
}

fn is_counter(metric: &Metric) -> bool {
    matches!(metric.spec().stat(), Stat::Total | Stat::Count) && metric.name().ends_with("-total")
}

fn full_name(metric: &Metric) -> String {
    mangled(&format!("{}_{}_{}", metric.kind().domain(), metric.group(), metric.name()))
}

fn mangled(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
