//! What every client measures of its connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{ClientKind, Gauge, Metrics, Sensor, Spec, Stat};
use crate::ClientConfig;

const fn all(name: &'static str, stat: Stat, description: &'static str) -> Spec {
    Spec::of_client(name, "metrics", stat, description)
}

const fn node(name: &'static str, stat: Stat, description: &'static str) -> Spec {
    Spec::of_client(name, "node-metrics", stat, description).tags(&["node-id"])
}

const COUNT: Spec = all("connection-count", Stat::Value, "The number of connections that are open");
const CREATED: &[Spec] = &[
    all("connection-creation-rate", Stat::CountRate, "The number of connections opened per second"),
    all("connection-creation-total", Stat::Count, "The number of connections opened"),
];
const CLOSED: &[Spec] = &[
    all("connection-close-rate", Stat::CountRate, "The number of connections closed per second"),
    all("connection-close-total", Stat::Count, "The number of connections closed"),
];
const REQUESTS: &[Spec] = &[
    all("request-rate", Stat::CountRate, "The number of requests sent per second"),
    all("request-total", Stat::Count, "The number of requests sent"),
    all("request-size-avg", Stat::Avg, "The average size of a request, in bytes"),
    all("request-size-max", Stat::Max, "The size of the largest request, in bytes"),
];
const RESPONSES: &[Spec] = &[
    all("response-rate", Stat::CountRate, "The number of answers per second"),
    all("response-total", Stat::Count, "The number of answers"),
];
const OUTGOING: &[Spec] = &[
    all("outgoing-byte-rate", Stat::Rate, "The number of bytes sent to all brokers per second"),
    all("outgoing-byte-total", Stat::Total, "The number of bytes sent to all brokers"),
];
const INCOMING: &[Spec] = &[
    all("incoming-byte-rate", Stat::Rate, "The number of bytes of answers of all brokers per second"),
    all("incoming-byte-total", Stat::Total, "The number of bytes of answers of all brokers"),
];
const NODE_REQUESTS: &[Spec] = &[
    node("request-rate", Stat::CountRate, "The number of requests sent to the broker per second"),
    node("request-total", Stat::Count, "The number of requests sent to the broker"),
    node("request-size-avg", Stat::Avg, "The average size of a request to the broker, in bytes"),
    node("request-size-max", Stat::Max, "The size of the largest request to the broker, in bytes"),
];
const NODE_RESPONSES: &[Spec] = &[
    node("response-rate", Stat::CountRate, "The number of the broker's answers per second"),
    node("response-total", Stat::Count, "The number of the broker's answers"),
];
const NODE_OUTGOING: &[Spec] = &[
    node("outgoing-byte-rate", Stat::Rate, "The number of bytes sent to the broker per second"),
    node("outgoing-byte-total", Stat::Total, "The number of bytes sent to the broker"),
];
const NODE_INCOMING: &[Spec] = &[
    node("incoming-byte-rate", Stat::Rate, "The number of bytes of the broker's answers per second"),
    node("incoming-byte-total", Stat::Total, "The number of bytes of the broker's answers"),
];
const NODE_LATENCY: &[Spec] = &[
    node(
        "request-latency-avg",
        Stat::Avg,
        "The average time from when a produce or fetch request is queued for the connection to its answer, in ms",
    ),
    node("request-latency-max", Stat::Max, "The longest time from when such a request is queued to its answer, in ms"),
];

/// Every metric that each client has of its connections.
pub(super) fn specs() -> impl Iterator<Item = &'static Spec> {
    const ONE: &[Spec] = &[COUNT];
    [
        ONE,
        CREATED,
        CLOSED,
        REQUESTS,
        RESPONSES,
        OUTGOING,
        INCOMING,
        NODE_REQUESTS,
        NODE_RESPONSES,
        NODE_OUTGOING,
        NODE_INCOMING,
        NODE_LATENCY,
    ]
    .into_iter()
    .flatten()
}

#[derive(Debug)]
struct Traffic {
    requests: Sensor,
    responses: Sensor,
    outgoing: Sensor,
    incoming: Sensor,
}

#[derive(Debug)]
struct Node {
    traffic: Traffic,
    latency: Sensor,
}

/// The sensors of a client's connections.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics {
    metrics: Metrics,
    created: Sensor,
    closed: Sensor,
    traffic: Traffic,
    open: Arc<AtomicUsize>,
    in_flight: AtomicUsize,
    _count: Gauge,
    /// By id of the broker; -1 is any bootstrap server.
    nodes: Mutex<HashMap<i32, Arc<Node>>>,
}

impl ConnectionMetrics {
    pub(crate) fn new(config: &ClientConfig, kind: ClientKind) -> Arc<Self> {
        let metrics = Metrics::new(config, kind);
        let open = Arc::new(AtomicUsize::new(0));
        let read = Arc::clone(&open);
        Arc::new(Self {
            created: metrics.sensor(CREATED, &[]),
            closed: metrics.sensor(CLOSED, &[]),
            traffic: Traffic {
                requests: metrics.sensor(REQUESTS, &[]),
                responses: metrics.sensor(RESPONSES, &[]),
                outgoing: metrics.sensor(OUTGOING, &[]),
                incoming: metrics.sensor(INCOMING, &[]),
            },
            _count: metrics.gauge(&COUNT, &[], move |_| read.load(Ordering::Relaxed) as f64),
            open,
            in_flight: AtomicUsize::new(0),
            nodes: Mutex::default(),
            metrics,
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many requests wait for their answers, over all connections.
    pub(crate) fn in_flight(&self) -> &AtomicUsize {
        &self.in_flight
    }

    fn node(&self, id: i32) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let name = format!("node-{id}");
            let sensor = |specs| self.metrics.sensor(specs, &[("node-id", name.as_str())]);
            let traffic = Traffic {
                requests: sensor(NODE_REQUESTS),
                responses: sensor(NODE_RESPONSES),
                outgoing: sensor(NODE_OUTGOING),
                incoming: sensor(NODE_INCOMING),
            };
            Arc::new(Node { traffic, latency: sensor(NODE_LATENCY) })
        };
        Arc::clone(nodes.entry(id).or_insert_with(make))
    }

    /// A connection was opened.
    pub(crate) fn opened(self: &Arc<Self>, now: Instant, node_id: Option<i32>) -> LinkMeter {
        self.created.record(now, 1.0);
        self.open.fetch_add(1, Ordering::Relaxed);
        LinkMeter {
            client: Arc::clone(self),
            node: self.node(node_id.unwrap_or(-1)),
            sent: Sent::default(),
            written: 0,
        }
    }
}

/// What was queued since it was last told.
#[derive(Debug, Default)]
struct Sent {
    requests: u64,
    bytes: u64,
    largest: u64,
}

/// Measures one connection. Requests are counted here, and told to the sensors when an answer comes, with one look at the
/// clock for both.
#[derive(Debug)]
pub(crate) struct LinkMeter {
    client: Arc<ConnectionMetrics>,
    node: Arc<Node>,
    sent: Sent,
    /// Bytes that were queued, and not told as written yet.
    written: u64,
}

impl LinkMeter {
    /// A request of so many bytes was queued.
    pub(crate) fn queued(&mut self, bytes: usize, answered: bool) {
        let bytes = bytes as u64;
        self.sent.requests += 1;
        self.sent.bytes = self.sent.bytes.saturating_add(bytes);
        self.sent.largest = self.sent.largest.max(bytes);
        self.written = self.written.saturating_add(bytes);
        if answered {
            self.client.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many requests will not be waited for any more.
    pub(crate) fn settled(&self, requests: usize) {
        self.client.in_flight.fetch_sub(requests, Ordering::Relaxed);
    }

    /// An answer of so many bytes came.
    pub(crate) fn answered(&mut self, now: Instant, bytes: usize, still_queued: usize) {
        self.tell(now, still_queued);
        for traffic in [&self.client.traffic, &self.node.traffic] {
            traffic.responses.record(now, 1.0);
            traffic.incoming.record(now, bytes as f64);
        }
    }

    /// Tells what was sent; `still_queued` bytes were not written yet.
    pub(crate) fn tell(&mut self, now: Instant, still_queued: usize) {
        let Sent { requests, bytes, largest } = std::mem::take(&mut self.sent);
        let still_queued = still_queued as u64;
        let written = self.written.saturating_sub(still_queued);
        self.written = self.written.min(still_queued);
        for traffic in [&self.client.traffic, &self.node.traffic] {
            traffic.requests.record_many(now, bytes as f64, requests, largest as f64);
            if written > 0 {
                traffic.outgoing.record(now, written as f64);
            }
        }
    }

    pub(crate) fn latency(&self, now: Instant, latency: Duration) {
        self.node.latency.record(now, latency.as_secs_f64() * 1e3);
    }

    pub(crate) fn closed(&mut self, now: Instant, still_queued: usize) {
        self.tell(now, still_queued);
        self.client.closed.record(now, 1.0);
        self.client.open.fetch_sub(1, Ordering::Relaxed);
    }
}
