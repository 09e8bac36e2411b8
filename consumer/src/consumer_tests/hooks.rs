//! Hooks that last.

use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;
use crate::driver::partitions::install;
use crate::{HookFuture, RebalanceListener};

/// Keeps what is warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Its hooks last so long.
struct Lasting(Duration);

impl RebalanceListener for Lasting {
    fn on_assigned<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(clock::sleep(self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_outlasts_max_poll_interval_is_warned_of_once_and_waited_for() {
    let broker = Broker::with(&[4]);
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let config = ConsumerConfig::new().group_id("g").max_poll_interval(Duration::from_secs(60));
    let consumer = consumer_with(&broker, config).await;
    for (lasts, expected) in [(59, 0), (61, 1), (3_600, 1)] {
        let begun = clock::now();
        let listener = Arc::new(Lasting(Duration::from_secs(lasts)));
        install(&consumer.shared, Some(listener), Vec::new(), false).await;
        assert_eq!((clock::now() - begun).as_secs(), lasts, "it is waited for");
        let told = std::mem::take(&mut *warnings.0.lock().unwrap());
        let told: Vec<_> = told.iter().filter(|text| text.contains("max.poll.interval.ms")).collect();
        assert_eq!(told.len(), expected, "after {lasts} s: {told:?}");
        assert!(told.iter().all(|text| text.contains("on_assigned")), "{told:?}");
    }
    // Whoever waits for it may be dropped.
    let listener = Arc::new(Lasting(Duration::from_secs(1_000_000)));
    let hook = install(&consumer.shared, Some(listener), Vec::new(), false);
    assert!(tokio::time::timeout(Duration::from_secs(600), hook).await.is_err());
    assert_eq!(warnings.0.lock().unwrap().len(), 1);
    consumer.close().await.unwrap();
}
