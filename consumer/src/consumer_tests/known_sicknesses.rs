//! Sicknesses that other clients had, each by the number under which it was reported there.

use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use super::*;

/// An application that takes its time between records, so that the queue is full again and again, was given some records
/// and then none any more.
#[tokio::test(start_paused = true)]
async fn rust_rdkafka_638_a_slow_application_is_given_everything() {
    let broker = Broker::with(&[10, 10]);
    let mut consumer = consumer_with(&broker, ConsumerConfig::new().queued_max_bytes(1_usize)).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    let mut next = [0, 0];
    for _ in 0..20 {
        clock::sleep(Duration::from_secs(5)).await;
        let record = tokio::time::timeout(Duration::from_secs(2), consumer.recv()).await.expect("it is there").unwrap();
        let next = &mut next[record.partition() as usize];
        assert_eq!(record.offset(), *next);
        *next += 1;
    }
    assert_eq!(next, [10, 10]);
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A wake-up was lost when something other than a record was in the queue, and the application slept though there were
/// records. Here the one who waits last is woken, whatever was polled and dropped before and whatever else happens.
#[tokio::test(start_paused = true)]
async fn rust_rdkafka_665_who_waits_is_woken_for_every_record() {
    let broker = Broker::with(&[0, 0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    let other = TopicPartition::new("t", 1);
    for round in 0..100_u64 {
        // Someone waits, and goes away.
        let gone = Arc::new(Counting::default());
        let waker = Waker::from(Arc::clone(&gone));
        assert!(std::pin::pin!(consumer.recv()).poll(&mut Context::from_waker(&waker)).is_pending());
        let last = Arc::new(Counting::default());
        let waker = Waker::from(Arc::clone(&last));
        // A call that is dropped waits no longer; a stream that was polled does.
        assert!(Pin::new(&mut consumer).poll_next(&mut Context::from_waker(&waker)).is_pending());
        let seen = last.0.load(Ordering::SeqCst);
        // Things happen that are no records, before or after the record comes.
        let disturb = |consumer: &Consumer| match round % 5 {
            0 => consumer.shared.refresh_metadata(),
            1 => consumer.pause([&other]).unwrap(),
            2 => consumer.resume([&other]).unwrap(),
            3 => drop(consumer.metrics()),
            _ => consumer.seek("t", 1, Start::Beginning).unwrap(),
        };
        if round % 2 == 0 {
            disturb(&consumer);
        }
        clock::sleep(Duration::from_millis(round * 7 % 900)).await;
        broker.append(0, 2);
        if round % 2 == 1 {
            disturb(&consumer);
        }
        clock::sleep(Duration::from_secs(1)).await;
        assert!(last.0.load(Ordering::SeqCst) > seen, "round {round}: nobody was woken");
        for _ in 0..2 {
            let record = tokio::time::timeout(Duration::from_secs(1), consumer.recv()).await.expect("there").unwrap();
            assert_eq!(record.partition(), 0);
        }
    }
}

/// Consumers that were dropped one after another hung in their destructor, on a thread of the runtime.
#[tokio::test(start_paused = true)]
async fn rust_rdkafka_509_dropping_waits_for_nobody_and_leaves_nothing() {
    let broker = Broker::with(&[4]);
    let mut left = Vec::new();
    for round in 0..50 {
        broker.mute.store(false, Ordering::SeqCst);
        let config = ConsumerConfig::new().group_id("g".to_owned());
        let mut consumer = consumer_with(&broker, config).await;
        if round % 2 == 0 {
            consumer.assign([("t", 0, Start::Beginning)]).unwrap();
            within(consumer.recv()).await.unwrap();
        } else {
            consumer.subscribe(["t"]).unwrap();
        }
        // The broker hangs, in the middle of whatever it was asked.
        broker.mute.store(true, Ordering::SeqCst);
        left.push(Arc::downgrade(&consumer.shared));
        let begun = clock::now();
        drop(consumer);
        assert_eq!(clock::now(), begun, "a drop waits for nothing");
    }
    clock::sleep(Duration::from_secs(120)).await;
    assert_eq!(left.iter().filter(|shared| shared.strong_count() > 0).count(), 0, "their tasks have ended");
}

/// The same where the runtime ends first.
#[test]
fn rust_rdkafka_509_a_consumer_outlives_its_runtime() {
    let broker = Broker::with(&[4]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let consumer = runtime.block_on(async {
        let mut consumer = consumer(&broker).await;
        consumer.assign([("t", 0, Start::Beginning)]).unwrap();
        within(consumer.recv()).await.unwrap();
        consumer
    });
    drop(runtime);
    let shared = Arc::downgrade(&consumer.shared);
    drop(consumer);
    assert_eq!(shared.strong_count(), 0);
}

/// Whoever waits for a consumer whose runtime has ended is told, and so is whoever asks it for anything.
#[test]
fn rust_rdkafka_509_who_waits_is_told_that_the_runtime_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for is_member in [false, true] {
        let (home, other) = (runtime(), runtime());
        let broker = Broker::with(&[4]);
        let mut consumer = home.block_on(consumer_with(&broker, ConsumerConfig::new().group_id("g")));
        if is_member {
            consumer.subscribe(["t"]).unwrap();
        } else {
            consumer.assign([("t", 0, Start::End)]).unwrap();
        }
        let handle = consumer.handle();
        let waits = std::thread::spawn(move || other.block_on(within(consumer.recv())).map(drop));
        home.block_on(clock::sleep(Duration::from_millis(50)));
        drop(home);
        let told = waits.join().expect("it does not hang");
        assert!(matches!(told, Err(ConsumerError::Closed)), "{told:?}");
        assert!(matches!(handle.seek("t", 0, Start::End), Err(ConsumerError::Closed)));
        let commit = handle.commit();
        assert!(runtime().block_on(within(commit)).is_err(), "nobody is there to commit");
    }
}

/// The consumer waited for ever after the leader epoch in the metadata had gone back, or there had been no leader.
#[tokio::test(start_paused = true)]
async fn franz_go_198_a_leader_epoch_that_goes_back_is_no_end() {
    let broker = Broker::with(&[2]);
    broker.epoch.store(5, Ordering::SeqCst);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    let mut next = 2;
    for epoch in [3, -1, 4, 0, -1, 9, 2] {
        broker.epoch.store(epoch, Ordering::SeqCst);
        if epoch < 0 {
            // No leader for some time.
            clock::sleep(Duration::from_secs(20)).await;
            continue;
        }
        broker.append(0, 2);
        for _ in 0..2 {
            let record = within(consumer.recv()).await.unwrap();
            assert_eq!(record.offset(), next, "under epoch {epoch}");
            next += 1;
        }
    }
}
