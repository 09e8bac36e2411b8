//! Consumers that are left alone in odd moments: nobody waits any more, the runtime is gone, a hook never ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rkafka_consumer::{
    ClientSettings, Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, HookFuture, OffsetReset,
    RebalanceListener, Start, TopicPartition, TypedConsumer, blocking,
};
use rkafka_testkit::{RawClient, RawProducer, TestCluster, TransactionProtocol};
use tokio::sync::Semaphore;

async fn cluster() -> TestCluster {
    TestCluster::builder()
        .topic("t", 2)
        .broker(|config| {
            config.group_initial_rebalance_delay(Duration::ZERO).group_min_session_timeout(Duration::from_millis(100))
        })
        .start()
        .await
}

fn config(cluster: &TestCluster) -> ConsumerConfig {
    ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .auto_commit_interval(Duration::from_secs(3600))
        .heartbeat_interval(Duration::from_millis(50))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let all = async {
        while !holds().await {
            #[expect(clippy::disallowed_methods, reason = "looks again and again")]
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap_or_else(|_| panic!("{what}"));
}

/// An application that dropped its last call and never came back stayed in the group for ever.
#[tokio::test]
async fn who_has_stopped_waiting_leaves_after_max_poll_interval() {
    let cluster = cluster().await;
    let config = || config(&cluster).max_poll_interval(Duration::from_secs(2)).session_timeout(Duration::from_secs(2));
    let wait = Duration::from_millis(300);

    let mut consumer = Consumer::connect(config().group_id("recv")).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(wait, consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    until("recv: the member stays", async || consumer.assignment().is_empty()).await;
    until("it comes back", async || {
        let _ = tokio::time::timeout(wait, consumer.next_batch()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    until("next_batch: the member stays", async || consumer.assignment().is_empty()).await;
    until("it comes back", async || {
        let mut batches = consumer.batches();
        let next =
            std::future::poll_fn(|context| futures_core::Stream::poll_next(std::pin::Pin::new(&mut batches), context));
        let _ = tokio::time::timeout(wait, next).await;
        drop(batches);
        !consumer.assignment().is_empty()
    })
    .await;
    until("batches: the member stays", async || consumer.assignment().is_empty()).await;

    let mut consumer = TypedConsumer::<Option<String>, String>::connect(config().group_id("typed")).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(wait, consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    until("typed: the member stays", async || consumer.assignment().is_empty()).await;

    let config = config().group_id("blocking");
    let consumer = tokio::task::spawn_blocking(move || {
        let mut consumer = blocking::Consumer::connect(config).unwrap();
        consumer.subscribe(["t"]).unwrap();
        while consumer.assignment().is_empty() {
            consumer.poll(wait).unwrap();
        }
        consumer
    })
    .await
    .unwrap();
    until("blocking: the member stays", async || consumer.assignment().is_empty()).await;
}

/// A consumer whose runtime was gone waited for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_its_runtime_a_consumer_is_closed() {
    let cluster = cluster().await;
    let config = config(&cluster);
    let received = tokio::task::spawn_blocking(move || {
        let mine = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut consumer = mine.block_on(Consumer::connect(config)).unwrap();
        mine.block_on(async { consumer.subscribe(["t"]).unwrap() });
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waiting = std::thread::spawn(move || {
            let waits = async { tokio::time::timeout(Duration::from_secs(30), consumer.recv()).await };
            (other.block_on(waits), other.block_on(consumer.commit()), other)
        });
        mine.shutdown_timeout(Duration::from_secs(10));
        waiting.join().unwrap()
    })
    .await
    .unwrap();
    let (received, committed, other) = received;
    assert!(matches!(received, Ok(Err(ConsumerError::Closed))), "{received:?}");
    assert!(matches!(committed, Err(ConsumerError::Closed)), "{committed:?}");
    tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
}

/// Subscribing panicked on a thread that is not of a runtime, and a consumer that was dropped there left its group only
/// by its session's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thread_without_a_runtime_may_subscribe_and_drop() {
    let cluster = cluster().await;
    let config = || config(&cluster).session_timeout(Duration::from_secs(600));
    let mut consumer = Consumer::connect(config()).await.unwrap();
    let mut consumer = std::thread::spawn(move || {
        consumer.subscribe(["t"]).expect("no group would be an error");
        consumer
    })
    .join()
    .expect("no panic");
    until("an assignment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
        consumer.assignment().len() == 2
    })
    .await;
    std::thread::spawn(move || drop(consumer)).join().expect("no panic");
    let mut next = Consumer::connect(config()).await.unwrap();
    next.subscribe(["t"]).unwrap();
    until("the other one has left", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), next.recv()).await;
        next.assignment().len() == 2
    })
    .await;
}

/// A subscription while the old membership was still ending was told to nobody, and nothing ever came.
#[tokio::test]
async fn to_subscribe_before_unsubscribe_is_done_is_an_error() {
    let cluster = cluster().await;
    let mut consumer = Consumer::connect(config(&cluster)).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    assert!(tokio::time::timeout(Duration::ZERO, consumer.unsubscribe()).await.is_err(), "it takes some time");
    let refused = consumer.subscribe(["t"]);
    assert!(matches!(refused, Err(ConsumerError::Unsubscribing)), "{refused:?}");
    consumer.unsubscribe().await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
}

struct Signals {
    revoked: Arc<Semaphore>,
}

impl RebalanceListener for Signals {
    fn on_revoked<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        self.revoked.add_permits(1);
        Box::pin(std::future::ready(()))
    }
}

/// Hooks that came with a later subscription were thrown away without a word.
#[tokio::test]
async fn the_hooks_of_the_last_subscription_are_called() {
    let cluster = cluster().await;
    let mut consumer = Consumer::connect(config(&cluster)).await.unwrap();
    let [first, second] = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
    consumer.subscribe_with(["t"], Signals { revoked: Arc::clone(&first) }).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    consumer.subscribe_with(["t"], Signals { revoked: Arc::clone(&second) }).unwrap();
    // Without hooks, those that there are stay.
    consumer.subscribe(["t"]).unwrap();
    consumer.close().await.unwrap();
    assert_eq!(second.available_permits(), 1);
}

/// What was dealt with of partitions that were unassigned by hand was not committed until they were read again.
#[tokio::test]
async fn assigning_others_commits_what_was_dealt_with() {
    let cluster = cluster().await;
    let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    let limit = Duration::from_secs(60);
    let mut producer = RawProducer::init(&mut client, "filler", TransactionProtocol::V2, limit).await.unwrap();
    for value in ["0", "1", "2"] {
        producer.produce(&mut client, "t", &[(0, value)]).await.unwrap();
    }
    producer.end(&mut client, true).await.unwrap();
    let mut consumer = Consumer::connect(config(&cluster)).await.unwrap();
    consumer.assign([("t", 0, Start::Committed)]).unwrap();
    for _ in 0..3 {
        consumer.recv().await.unwrap();
    }
    consumer.assign([("t", 1, Start::Committed)]).unwrap();
    let place = TopicPartition::new("t", 0);
    // The last one was not come back from.
    until("a commit", async || {
        let committed = consumer.committed(std::slice::from_ref(&place)).await.unwrap();
        committed[0].1.as_ref().is_some_and(|at| at.offset == 2)
    })
    .await;
}

struct Endless {
    is_over: Arc<AtomicBool>,
}

struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl RebalanceListener for Endless {
    fn on_revoked<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        let over = Over(Arc::clone(&self.is_over));
        Box::pin(async move {
            let _over = over;
            std::future::pending().await
        })
    }
}

/// A close that had waited long enough for a hook left the hook and the member behind, which asked for the coordinator
/// again and again.
#[tokio::test]
async fn nothing_is_left_of_a_hook_that_never_ends() {
    let cluster = cluster().await;
    let mut consumer = Consumer::connect(config(&cluster)).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    consumer.subscribe_with(["t"], Endless { is_over: Arc::clone(&is_over) }).unwrap();
    until("an assignment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
        !consumer.assignment().is_empty()
    })
    .await;
    // Nobody waits for 30 s here.
    tokio::time::pause();
    assert!(matches!(consumer.close().await, Err(ConsumerError::Client { .. })));
    tokio::time::resume();
    until("the hook goes on", async || is_over.load(Ordering::SeqCst)).await;
}
