//! Where sensors and gauges are registered.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::snapshot::{Metric, MetricsSnapshot, Tags};
use super::spec::{ClientKind, RecordingLevel, Spec, Stat};
use super::window::{Numbers, Samples, Window};
use crate::ClientConfig;

/// Something that has metrics to tell.
trait Source: Send + Sync {
    fn read(&self, now: Instant, metric: &mut dyn FnMut(&'static Spec, &Arc<Tags>, f64));
}

struct Inner {
    kind: ClientKind,
    client_id: Arc<str>,
    window: Window,
    level: RecordingLevel,
    sources: Mutex<Vec<Weak<dyn Source>>>,
}

/// The metrics of one client. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, client_id, window, level, .. } = &*self.inner;
        formatter
            .debug_struct("Metrics")
            .field("kind", kind)
            .field("client_id", client_id)
            .field("window", window)
            .field("level", level)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// No metrics yet, of a client with these settings: `client.id` is the tag of all of them, and
    /// `metrics.sample.window.ms`, `metrics.num.samples` and `metrics.recording.level` hold.
    pub fn new(config: &ClientConfig, kind: ClientKind) -> Self {
        let window = Window { length: config.metrics_sample_window, samples: config.metrics_num_samples };
        Self {
            inner: Arc::new(Inner {
                kind,
                client_id: config.client_id.as_str().into(),
                window,
                level: config.metrics_recording_level,
                sources: Mutex::default(),
            }),
        }
    }

    /// What kind of client it is.
    pub fn kind(&self) -> ClientKind {
        self.inner.kind
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Weak<dyn Source>>> {
        self.inner.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, source: Weak<dyn Source>) {
        let mut sources = self.sources();
        if sources.len() == sources.capacity() {
            sources.retain(|source| source.strong_count() > 0);
        }
        sources.push(source);
    }

    /// Registers a sensor that gives the metrics of `specs`, with these tags beside `client-id`. They are there as long as
    /// the sensor or a clone of it is.
    pub fn sensor(&self, specs: &'static [Spec], tags: &[(&'static str, &str)]) -> Sensor {
        let specs = specs.iter().filter(|spec| self.inner.level.includes(spec.level())).collect::<Vec<_>>();
        let with_histogram = specs.iter().any(|spec| matches!(spec.stat(), Stat::Permille(_)));
        let state =
            State { samples: Samples::new(self.inner.window, with_histogram), total: 0.0, count: 0, last: f64::NAN };
        let is_silent = specs.is_empty();
        let tags = self.tags(tags);
        let shared = Arc::new(SensorShared { specs, tags, is_silent, state: Mutex::new(state) });
        if !is_silent {
            let source: Arc<dyn Source> = shared.clone();
            self.add(Arc::downgrade(&source));
        }
        Sensor { shared }
    }

    /// Registers a value that `read` gives whenever somebody looks, which must be quick and not wait. The metric is there
    /// as long as the gauge is.
    pub fn gauge(
        &self,
        spec: &'static Spec,
        tags: &[(&'static str, &str)],
        read: impl Fn(Instant) -> f64 + Send + Sync + 'static,
    ) -> Gauge {
        let source: Arc<dyn Source> = Arc::new(GaugeShared { spec, tags: self.tags(tags), read });
        if self.inner.level.includes(spec.level()) {
            self.add(Arc::downgrade(&source));
        }
        Gauge { _source: source }
    }

    fn tags(&self, tags: &[(&'static str, &str)]) -> Arc<Tags> {
        let client_id = [("client-id", self.inner.client_id.clone())];
        Arc::new(client_id.into_iter().chain(tags.iter().map(|(name, value)| (*name, Arc::from(*value)))).collect())
    }

    /// What all sensors and gauges say at `now`.
    pub fn snapshot(&self, now: Instant) -> MetricsSnapshot {
        let sources = self.sources().iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        let kind = self.inner.kind;
        let mut metrics = Vec::new();
        for source in sources {
            source.read(now, &mut |spec, tags, value| metrics.push(Metric::new(spec, kind, tags.clone(), value)));
        }
        MetricsSnapshot::new(metrics)
    }
}

struct State {
    samples: Samples,
    total: f64,
    count: u64,
    last: f64,
}

struct SensorShared {
    specs: Vec<&'static Spec>,
    tags: Arc<Tags>,
    is_silent: bool,
    state: Mutex<State>,
}

impl Source for SensorShared {
    fn read(&self, now: Instant, metric: &mut dyn FnMut(&'static Spec, &Arc<Tags>, f64)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = state.samples.numbers(now);
        let elapsed = state.samples.elapsed(now).as_secs_f64();
        for spec in &self.specs {
            let value = match spec.stat() {
                Stat::Total => state.total,
                Stat::Count => state.count as f64,
                Stat::Rate => numbers.sum / elapsed,
                Stat::CountRate => numbers.count as f64 / elapsed,
                Stat::CountRatePerHour => numbers.count as f64 / elapsed * 3_600.0,
                Stat::NanosRatio => numbers.sum / 1e9 / elapsed,
                Stat::Avg | Stat::Max | Stat::Min if numbers.count == 0 => f64::NAN,
                Stat::Avg => numbers.sum / numbers.count as f64,
                Stat::Max => numbers.max,
                Stat::Min => numbers.min,
                Stat::Permille(permille) => state.samples.permille(now, permille),
                Stat::Value => state.last,
            };
            metric(spec, &self.tags, value);
        }
    }
}

/// Takes numbers and gives metrics. Clones are the same sensor.
#[derive(Clone)]
pub struct Sensor {
    shared: Arc<SensorShared>,
}

impl fmt::Debug for Sensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sensor")
            .field("metrics", &self.shared.specs.iter().map(|spec| spec.name()).collect::<Vec<_>>())
            .field("tags", &self.shared.tags)
            .finish()
    }
}

impl Sensor {
    /// Takes one number.
    pub fn record(&self, now: Instant, value: f64) {
        self.add(now, Numbers::one(value), value);
    }

    /// Takes `count` numbers at once, of which the sum and the largest are known, such as the sizes of a batch's records.
    /// For [`Stat::Min`] and [`Stat::Permille`] all of them count as the largest.
    pub fn record_many(&self, now: Instant, sum: f64, count: u64, max: f64) {
        if count > 0 {
            self.add(now, Numbers { sum, count, min: max, max }, max);
        }
    }

    fn add(&self, now: Instant, numbers: Numbers, last: f64) {
        if self.shared.is_silent {
            return;
        }
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.samples.record(now, numbers);
        state.total += numbers.sum;
        state.count = state.count.saturating_add(numbers.count);
        state.last = last;
    }
}

struct GaugeShared<F> {
    spec: &'static Spec,
    tags: Arc<Tags>,
    read: F,
}

impl<F: Fn(Instant) -> f64 + Send + Sync> Source for GaugeShared<F> {
    fn read(&self, now: Instant, metric: &mut dyn FnMut(&'static Spec, &Arc<Tags>, f64)) {
        metric(self.spec, &self.tags, (self.read)(now));
    }
}

/// Keeps a value among the metrics as long as it is held.
#[must_use = "the metric is there only as long as its gauge is held"]
#[derive(Clone)]
pub struct Gauge {
    _source: Arc<dyn Source>,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gauge").finish_non_exhaustive()
    }
}
