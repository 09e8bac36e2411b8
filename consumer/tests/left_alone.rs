//! Consumers that are left alone in odd moments: nobody waits any more, the runtime is gone, a hook never ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rkafka_consumer::{
    ClientSettings, Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, GroupProtocol, HookFuture, OffsetReset,
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

/// A question that was asked from another runtime made a connection that lived there: the consumer's own commits waited
/// for it in vain once that runtime stood still.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_runtime_that_only_asks_holds_up_nobody() {
    let cluster = cluster().await;
    let config = config(&cluster).request_timeout(Duration::from_secs(40));
    let mut consumer = Consumer::connect(config).await.unwrap();
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let place = TopicPartition::new("t", 0);
    let (mut consumer, other) = tokio::task::spawn_blocking(move || {
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(async {
            let places = std::slice::from_ref(&place);
            assert_eq!(consumer.committed(places).await.unwrap()[0].1, None);
            assert_eq!(consumer.end_offsets(places).await.unwrap()[0].1, 0);
            assert_eq!(consumer.partitions_for("t").await.unwrap().len(), 2);
            assert!(consumer.recv_until_end().await.unwrap().is_none());
        });
        // It lives, and nobody drives it.
        (consumer, other)
    })
    .await
    .unwrap();
    let limit = Duration::from_secs(15);
    tokio::time::timeout(limit, consumer.commit()).await.expect("the commit waits for nobody").unwrap();
    tokio::time::timeout(limit, consumer.recv_until_end()).await.expect("nor does the reading").unwrap();
    tokio::time::timeout(limit, consumer.close()).await.expect("nor does the close").unwrap();
    tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
}

/// Waits for a future on a thread that knows of no runtime.
fn without_a_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(ready) => return ready,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Once there is a consumer, whatever polls its futures will do.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_consumer_can_be_used_without_a_runtime() {
    let cluster = cluster().await;
    let mut consumer = Consumer::connect(config(&cluster)).await.unwrap();
    let used = std::thread::spawn(move || {
        without_a_runtime(async {
            let place = TopicPartition::new("t", 0);
            consumer.assign([("t", 0, Start::Beginning)]).unwrap();
            assert!(consumer.recv_until_end().await.unwrap().is_none());
            consumer.commit().await.unwrap();
            consumer.commit_async().unwrap().await.unwrap();
            assert_eq!(
                consumer.committed(std::slice::from_ref(&place)).await.unwrap()[0].1.as_ref().unwrap().offset,
                0
            );
            assert_eq!(consumer.beginning_offsets(std::slice::from_ref(&place)).await.unwrap()[0].1, 0);
            assert_eq!(consumer.offsets_for_times(&[(place, 0)]).await.unwrap()[0].1, None);
            consumer.unsubscribe().await.unwrap();
            consumer.subscribe(["t"]).unwrap();
            consumer.unsubscribe().await.unwrap();
            consumer.close().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || used.join().expect("no panic")).await.unwrap();
}

/// A stream is not told when nobody polls it: while it waits for a record it counts as there, and once there is one and
/// nobody comes, as away.
#[tokio::test]
async fn a_stream_that_is_not_polled_is_there_until_there_is_a_record() {
    let cluster = cluster().await;
    let interval = Duration::from_secs(2);
    let config = || config(&cluster).max_poll_interval(interval).session_timeout(interval);
    let poll_once = |consumer: &mut Consumer| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        futures_core::Stream::poll_next(std::pin::Pin::new(consumer), &mut context).map(|record| record.map(drop))
    };
    let mut waits = Consumer::connect(config()).await.unwrap();
    waits.subscribe(["t"]).unwrap();
    until("an assignment", async || {
        assert!(poll_once(&mut waits).is_pending());
        waits.assignment().len() == 2
    })
    .await;
    assert!(poll_once(&mut waits).is_pending());
    rkafka_testkit::pause(2 * interval).await;
    assert_eq!(waits.assignment().len(), 2, "it waits for a record, however long that takes");
    let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    let mut producer =
        RawProducer::init(&mut client, "filler", TransactionProtocol::V2, Duration::from_secs(60)).await.unwrap();
    producer.produce(&mut client, "t", &[(0, "0")]).await.unwrap();
    producer.end(&mut client, true).await.unwrap();
    until("nobody came for the record", async || waits.assignment().is_empty()).await;
    until("who comes back is given it", async || poll_once(&mut waits).is_ready()).await;
    // One that is never polled is no member for longer than the interval either.
    let mut never = Consumer::connect(config().group_id("never")).await.unwrap();
    never.subscribe(["t"]).unwrap();
    until("an assignment", async || never.assignment().len() == 2).await;
    until("it is given up", async || never.assignment().is_empty()).await;
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

struct Panics;

impl RebalanceListener for Panics {
    fn on_assigned<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        panic!("before there is a future");
    }

    fn on_revoked<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { panic!("within the future") })
    }
}

/// A hook that panics is over: the partitions go on, and the close waits for nothing.
#[tokio::test]
async fn a_hook_that_panics_stops_nothing() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let cluster = cluster().await;
        let base = config(&cluster);
        let base = match protocol {
            GroupProtocol::Classic => base,
            GroupProtocol::Consumer => {
                ConsumerConfig::new().bootstrap_servers(cluster.bootstrap()).group_id("g").group_protocol(protocol)
            }
        };
        let mut consumer = Consumer::connect(base.clone()).await.unwrap();
        consumer.subscribe_with(["t"], Panics).unwrap();
        until("an assignment that is read", async || {
            let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
            (0..2).all(|partition| consumer.position("t", partition).is_ok_and(|position| position.is_some()))
        })
        .await;
        let closed = tokio::time::timeout(Duration::from_secs(10), consumer.close()).await;
        closed.expect("the close waits for no hook").unwrap();
        // And so does a drop.
        let mut consumer = Consumer::connect(base).await.unwrap();
        consumer.subscribe_with(["t"], Panics).unwrap();
        until("an assignment", async || {
            let _ = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
            consumer.assignment().len() == 2
        })
        .await;
        let handle = consumer.handle();
        drop(consumer);
        until("it is closed", async || matches!(handle.pause([]), Err(ConsumerError::Closed))).await;
    }
}
