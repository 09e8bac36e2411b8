//! The client against scripted brokers, over virtual time.

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use fake::{FakeNet, config, metadata, options};
use rkafka_client_core::{
    Backoff, Client, ClientConfig, Error, ErrorCode, ErrorKind, Lane, MetadataRecovery, RetryPolicy, Target, Topics,
    retry,
};

// Shows: bootstrap.servers.
#[tokio::test(start_paused = true)]
async fn every_bootstrap_server_is_tried_and_named() {
    let net = FakeNet::new();
    let error = Client::connect_with(config("a:1,b:2"), options(&net)).await.unwrap_err();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Unreachable && error.is_retriable(), "{text}");
    assert!(text.contains("a:1") && text.contains("b:2") && text.contains("refused"), "{text}");
    net.serve("b:2", || metadata(&["b:2"], 1, 1));
    let client = Client::connect_with(config("a:1,b:2"), options(&net)).await.unwrap();
    assert_eq!(client.cluster().broker(1).unwrap().address.to_string(), "b:2");
    assert_eq!((client.cluster().cluster_id(), client.cluster().controller()), (Some("c"), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_found_the_cluster_is_kept() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1"], 1, 1));
    net.serve("alias:1", || metadata(&["a:1"], 1, 1));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    client.connection(&Target::Node(1), Lane::Control).await.unwrap();
    assert_eq!(net.dials(), 1, "requests to the broker go over the connection that is there");
    assert!(client.versions(1).is_some());
    // Under another name it may lead elsewhere next time.
    let client = Client::connect_with(config("alias:1"), options(&net)).await.unwrap();
    client.connection(&Target::Node(1), Lane::Control).await.unwrap();
    assert_eq!(net.dials(), 3);
}

#[test]
fn connections_outlive_the_runtime_that_asked_for_them() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (home, visitor, net) = (runtime(), runtime(), FakeNet::new());
    let network = runtime();
    network.block_on(async {
        net.serve("a:1", || metadata(&["a:1", "b:1"], 1, 1));
        net.serve("b:1", || metadata(&["a:1", "b:1"], 1, 1));
    });
    let client = home.block_on(Client::connect_with(config("a:1"), options(&net))).unwrap();
    let connection = visitor.block_on(client.connection(&Target::Node(2), Lane::Control)).unwrap();
    drop(visitor);
    home.block_on(client.connection(&Target::Node(2), Lane::Control)).unwrap();
    assert_eq!((connection.is_closed(), net.dials()), (false, 2));
    home.shutdown_background();
    let visitor = runtime();
    let error = visitor.block_on(client.connection(&Target::Node(1), Lane::Group)).unwrap_err();
    assert!(error.to_string().contains("runtime on which the client was made"), "{error}");
}

#[tokio::test]
async fn bad_settings_are_refused() {
    for (config, text) in [
        (ClientConfig::new(), "bootstrap.servers"),
        (config("nowhere"), "`bootstrap.servers` cannot be `nowhere`"),
        (config("a:1").retry_backoff(Duration::from_secs(5)), "retry.backoff.max.ms"),
        (config("a:1").request_timeout(Duration::ZERO), "request.timeout.ms"),
    ] {
        let error = Client::connect(config).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(text), "{error}");
    }
    assert!(ClientConfig::new().set("security.protocol", "SSL").unwrap_err().to_string().contains("PLAINTEXT"));
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_at_once_one_request_goes_out() {
    let net = FakeNet::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    net.serve("a:1", move || {
        counter.fetch_add(1, Ordering::SeqCst);
        metadata(&["a:1"], 1, 1)
    });
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (a, b, c, d) = tokio::join!(
        client.refresh(Topics::named(["t"])),
        client.refresh(Topics::named(["t"])),
        client.refresh(Topics::Known),
        client.topic("t"),
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
    assert!(asked.load(Ordering::SeqCst) <= 3, "{}", asked.load(Ordering::SeqCst));
}

// Shows: metadata.max.age.ms.
#[tokio::test(start_paused = true)]
async fn metadata_is_fetched_when_it_is_old_or_said_to_be() {
    let net = FakeNet::new();
    let epoch = Arc::new(AtomicI32::new(0));
    let counter = Arc::clone(&epoch);
    net.serve("a:1", move || metadata(&["a:1"], 1, counter.fetch_add(1, Ordering::SeqCst)));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    client.topic("t").await.unwrap();
    let before = epoch.load(Ordering::SeqCst);
    let mut changes = client.cluster_changes();
    changes.borrow_and_update();
    client.invalidate("t", 0);
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
    assert_eq!(epoch.load(Ordering::SeqCst), before + 1);
    // Nothing more for as long as metadata.max.age.ms, then one.
    assert!(tokio::time::timeout(Duration::from_secs(290), changes.changed()).await.is_err());
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    assert_eq!(epoch.load(Ordering::SeqCst), before + 2);
}

// Shows: metadata.recovery.strategy.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_moved_is_found_again() {
    for (strategy, found) in [(MetadataRecovery::Rebootstrap, true), (MetadataRecovery::None, false)] {
        let net = FakeNet::new();
        net.serve("boot:1", || metadata(&["old:1"], 1, 1));
        net.serve("old:1", || metadata(&["old:1"], 1, 1));
        let config = config("boot:1").metadata_recovery_strategy(strategy);
        let client = Client::connect_with(config, options(&net)).await.unwrap();
        client.refresh(Topics::Known).await.unwrap();
        let connection = client.connection(&rkafka_client_core::Target::Node(1), Lane::Control).await.unwrap();
        net.unlisten("old:1");
        net.serve("boot:1", || metadata(&["new:1"], 1, 2));
        net.serve("new:1", || metadata(&["new:1"], 1, 2));
        while !connection.is_closed() {
            tokio::task::yield_now().await;
        }
        let result = client.refresh(Topics::Known).await;
        assert_eq!(result.is_ok(), found, "{strategy:?} {result:?}");
        let address = client.cluster().broker(1).unwrap().address.to_string();
        assert_eq!(address, if found { "new:1" } else { "old:1" });
    }
}

// Shows: reconnect.backoff.ms, reconnect.backoff.max.ms.
#[tokio::test(start_paused = true)]
async fn reconnecting_waits_longer_each_time() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["b:1"], 1, 1));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    let begun = tokio::time::Instant::from_std(client_start());
    for _ in 0..6 {
        assert_eq!(client.link(1).await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
    // 50 + 100 + 200 + 400 + 800 ms, each 20 % more or less.
    let waited = tokio::time::Instant::from_std(client_start()) - begun;
    assert!(waited >= Duration::from_millis(1_240) && waited <= Duration::from_millis(1_900), "{waited:?}");
    assert_eq!(client.link(9).await.unwrap_err().kind(), ErrorKind::UnknownBroker);
}

#[expect(clippy::disallowed_methods, reason = "the test reads the virtual clock")]
fn client_start() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

// Shows: reconnect.backoff.ms, reconnect.backoff.max.ms.
#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_connections_and_ends_them_is_not_asked_in_a_tight_loop() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["b:1"], 1, 1));
    let mut connections = net.listen("b:1");
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    let answers = Arc::new(AtomicUsize::new(0));
    let may_answer = Arc::clone(&answers);
    let broker = async {
        while let Some(mut conversation) = connections.recv().await {
            conversation.greet().await;
            let asked = conversation.next().await;
            if let (Some(asked), true) = (asked, may_answer.load(Ordering::SeqCst) > 0) {
                let response = metadata(&["b:1"], 1, 1);
                conversation.answer::<rkafka_protocol::messages::MetadataRequest>(&asked, &response).await;
                may_answer.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    let ask = async || {
        let connection = client.connection(&Target::Node(1), Lane::Other(1)).await?;
        let request = rkafka_protocol::messages::MetadataRequest::default();
        connection.request(request, i16::MAX, Duration::from_secs(5)).await
    };
    let asking = async {
        let begun = client_start();
        for _ in 0..7 {
            assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Disconnected);
        }
        // 50 + 100 + 200 + 400 + 800 + 1000 ms, each 20 % more or less.
        let waited = client_start() - begun;
        assert!(waited >= Duration::from_millis(2_000) && waited <= Duration::from_millis(3_100), "{waited:?}");
        // With an answer it begins anew: one may find the old connection broken, the next opens one at once.
        answers.store(1, Ordering::SeqCst);
        ask().await.unwrap();
        let begun = client_start();
        for _ in 0..3 {
            assert!(ask().await.is_err());
        }
        let waited = client_start() - begun;
        assert!(waited >= Duration::from_millis(40) && waited <= Duration::from_millis(200), "{waited:?}");
    };
    tokio::select! {
        () = asking => {}
        () = broker => panic!("the network is there"),
    }
}

/// As the connections of producers and consumers, which their own tasks drive.
#[tokio::test(start_paused = true)]
async fn nor_is_it_by_connections_of_ones_own() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["b:1"], 1, 1));
    let mut connections = net.listen("b:1");
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    let broker = async {
        while let Some(mut conversation) = connections.recv().await {
            conversation.greet().await;
        }
    };
    let asking = async {
        let begun = client_start();
        for _ in 0..7 {
            let mut link = client.link(1).await.unwrap();
            link.enqueue(&rkafka_protocol::messages::MetadataRequest::default(), 9).unwrap();
            assert_eq!(link.drive().await.unwrap_err().kind(), ErrorKind::Disconnected);
        }
        let waited = client_start() - begun;
        assert!(waited >= Duration::from_millis(2_000) && waited <= Duration::from_millis(3_100), "{waited:?}");
    };
    tokio::select! {
        () = asking => {}
        () = broker => panic!("the network is there"),
    }
}

// Shows: metadata.recovery.rebootstrap.trigger.ms.
#[tokio::test(start_paused = true)]
async fn brokers_that_take_connections_and_give_no_metadata_are_left_after_a_while() {
    let net = FakeNet::new();
    net.serve("boot:1", || metadata(&["old:1"], 1, 1));
    let config = config("boot:1").metadata_recovery_rebootstrap_trigger(Duration::from_secs(20));
    let client = Client::connect_with(config, options(&net)).await.unwrap();
    let mut old = net.listen("old:1");
    let broker = async {
        while let Some(mut conversation) = old.recv().await {
            conversation.greet().await;
        }
    };
    let moving = async {
        net.serve("boot:1", || metadata(&["new:1"], 1, 2));
        net.serve("new:1", || metadata(&["new:1"], 1, 2));
        let begun = client_start();
        while client.cluster().broker(1).unwrap().address.to_string() == "old:1" {
            drop(client.refresh(Topics::Known).await);
            pause(1).await;
        }
        let waited = client_start() - begun;
        assert!(waited >= Duration::from_secs(19) && waited <= Duration::from_secs(23), "{waited:?}");
    };
    tokio::select! {
        () = moving => {}
        () = broker => panic!("the network is there"),
    }
}

// Shows: default.api.timeout.ms.
#[tokio::test(start_paused = true)]
async fn an_operation_ends_when_its_time_is_over() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1"], -1, 1));
    let config = config("a:1").default_api_timeout(Duration::from_secs(7));
    let client = Client::connect_with(config, options(&net)).await.unwrap();
    let begun = client_start();
    let error = client.topic("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let waited = client_start() - begun;
    assert!(waited >= Duration::from_secs(5) && waited <= Duration::from_millis(7_100), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn retries_stop_at_success_at_the_limit_and_at_what_cannot_be_retried() {
    let policy =
        RetryPolicy::new(Backoff::new(Duration::from_millis(100), Duration::from_secs(1)), Duration::from_secs(10));
    let flaky = |failures| async move {
        if failures < 3 { Err(Error::broker_error(ErrorCode::CoordinatorNotAvailable)) } else { Ok(failures) }
    };
    assert_eq!(retry(policy, flaky).await.unwrap(), 3);
    let never =
        |_| async { Err::<(), _>(Error::broker_error(ErrorCode::CoordinatorNotAvailable).with_maybe_written(true)) };
    let error = retry(policy, never).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, Some(ErrorCode::CoordinatorNotAvailable)));
    assert!(error.maybe_written() && error.to_string().contains("COORDINATOR_NOT_AVAILABLE"), "{error}");
    let fatal = |_| async { Err::<(), _>(Error::broker_error(ErrorCode::ProducerFenced)) };
    let error = retry(policy, fatal).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Broker(ErrorCode::ProducerFenced) && error.is_fatal());
    let stuck = |_| std::future::pending::<Result<(), Error>>();
    assert_eq!(retry(policy, stuck).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_says_so() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1"], 1, 1));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    client.close();
    assert_eq!(client.refresh(Topics::All).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.link(1).await.unwrap_err().kind(), ErrorKind::Closed);
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test(start_paused = true)]
async fn futures_may_move_between_threads() {
    let net = FakeNet::new();
    let dials = net.dials();
    let error = assert_send(Client::connect_with(config("a:1"), options(&net))).await.unwrap_err();
    assert!(net.dials() > dials && !error.is_fatal());
    net.serve("a:1", || metadata(&["a:1"], 1, 1));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    assert!(assert_send(client.topic("t")).await.is_ok());
    assert!(assert_send(client.coordinator(rkafka_client_core::CoordinatorKind::Group, "g")).await.is_err());
    assert!(assert_send(client.link(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_sent_harms_nobody_else() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1"], 1, 1));
    let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
    let error = client.refresh(Topics::named(["x".repeat(40_000)])).await.unwrap_err();
    assert!(!error.is_retriable() && error.to_string().len() < 400, "{error}");
    client.refresh(Topics::named(["t"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_one_attempt_share_its_failure() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1", "dead:1"], 1, 1));
    let config = config("a:1").socket_connection_setup_timeout(Duration::from_secs(10));
    let client = Client::connect_with(config, options(&net)).await.unwrap();
    // It takes connections, and says nothing to anybody.
    let _silent = net.listen("dead:1");
    let begun = tokio::time::Instant::from_std(client_start());
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        waiting.spawn(async move { client.connection(&Target::Node(2), Lane::Control).await.map(drop) });
    }
    while let Some(result) = waiting.join_next().await {
        assert_eq!(result.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(40), "request.timeout.ms is 30 s, and the last of them waited {took:?}");
    // A later one makes an attempt of its own.
    let dials = net.dials();
    assert!(client.connection(&Target::Node(2), Lane::Control).await.is_err());
    assert_eq!(net.dials(), dials + 1);
}

#[test]
fn a_client_whose_runtime_is_gone_says_so() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let client = first.block_on(async {
        let net = FakeNet::new();
        net.serve("a:1", || metadata(&["a:1"], 1, 1));
        Client::connect_with(config("a:1"), options(&net)).await.unwrap()
    });
    drop(first);
    let refreshed = runtime()
        .block_on(async { tokio::time::timeout(Duration::from_secs(600), client.refresh(Topics::Known)).await });
    assert_eq!(refreshed.expect("it waits for ever").unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn metadata_does_not_wait_for_a_broker_that_says_nothing() {
    // The order of brokers is left to chance, so it is tried often.
    for _ in 0..8 {
        let net = FakeNet::new();
        net.serve("a:1", || metadata(&["a:1", "dead:1"], 1, 1));
        let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
        let _silent = net.listen("dead:1");
        let (begun, other) = (tokio::time::Instant::from_std(client_start()), client.clone());
        let mut waiting = tokio::task::JoinSet::new();
        waiting.spawn(async move { other.connection(&Target::Node(2), Lane::Control).await.map(drop) });
        tokio::task::yield_now().await;
        client.refresh(Topics::Known).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_has_its_own_time() {
    use rkafka_protocol::messages::MetadataRequest;
    let net = FakeNet::new();
    let mut connections = net.listen("a:1");
    let endpoint = rkafka_client_core::Endpoint { node_id: None, address: "a:1".parse().unwrap() };
    let shared = rkafka_client_core::Shared::new(
        config("a:1"),
        Arc::clone(&net) as Arc<dyn rkafka_client_core::Dial>,
        rkafka_client_core::metrics::ClientKind::Admin,
    );
    let (link, mut broker) = tokio::join!(rkafka_client_core::Link::connect(&shared, &endpoint), async {
        let mut broker = connections.recv().await.unwrap();
        broker.greet().await;
        broker
    });
    let connection = rkafka_client_core::Connection::new(link.unwrap(), Some(Duration::from_secs(5)));
    let ask = |seconds| connection.request(MetadataRequest::default(), i16::MAX, Duration::from_secs(seconds));
    let serve = async {
        for wait in [0, 50] {
            let asked = broker.next().await.unwrap();
            pause(wait).await;
            broker.answer::<MetadataRequest>(&asked, &metadata(&["a:1"], 1, 1)).await;
        }
        broker
    };
    // The first has gone when its time would be over, and the second has time still.
    let (first, second, _broker) = tokio::join!(ask(10), ask(100), serve);
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    // Nobody answers any more: what has least time goes first, and the rest with it.
    let (long, short) = tokio::join!(ask(100), ask(4));
    assert_eq!((long.unwrap_err().kind(), short.unwrap_err().kind()), (ErrorKind::Disconnected, ErrorKind::Timeout));
}

#[expect(clippy::disallowed_methods, reason = "a broker that takes its virtual time")]
async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
