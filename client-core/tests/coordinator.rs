//! Coordinators, in the version of one key and in that of many.

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake::{FakeNet, api_versions, config, metadata, options};
use rkafka_client_core::{Client, CoordinatorKind, ErrorCode, ErrorKind};
use rkafka_protocol::ApiKey;
use rkafka_protocol::messages::find_coordinator_response::Coordinator;
use rkafka_protocol::messages::{ApiVersionsRequest, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest};

/// A broker that coordinates every key but `none`, and knows FindCoordinator up to version `max`.
fn serve(net: &FakeNet, max: i16, found: &Arc<AtomicUsize>) {
    let mut connections = net.listen("a:1");
    let found = Arc::clone(found);
    let answer = move |key: &str| Coordinator {
        key: key.to_owned(),
        node_id: 5,
        host: "five".to_owned(),
        port: 5,
        error_code: if key == "none" { ErrorCode::CoordinatorNotAvailable.code() } else { 0 },
        ..Coordinator::default()
    };
    #[expect(clippy::disallowed_methods, reason = "a broker runs beside the test")]
    tokio::spawn(async move {
        while let Some(mut conversation) = connections.recv().await {
            let found = Arc::clone(&found);
            tokio::spawn(async move {
                while let Some(asked) = conversation.next().await {
                    if asked.key == ApiKey::ApiVersions as i16 {
                        let mut versions = api_versions(0);
                        versions.api_keys[2].max_version = max;
                        conversation.answer::<ApiVersionsRequest>(&asked, &versions).await;
                    } else if asked.key == ApiKey::Metadata as i16 {
                        conversation.answer::<MetadataRequest>(&asked, &metadata(&["a:1"], 1, 1)).await;
                    } else {
                        found.fetch_add(1, Ordering::SeqCst);
                        let request = asked.decode::<FindCoordinatorRequest>();
                        let one = answer(&request.key);
                        let response = if asked.version >= 4 {
                            let coordinators = request.coordinator_keys.iter().map(|key| answer(key)).collect();
                            FindCoordinatorResponse { coordinators, ..Default::default() }
                        } else {
                            let (node_id, host, port, error_code) = (one.node_id, one.host, one.port, one.error_code);
                            FindCoordinatorResponse { node_id, host, port, error_code, ..Default::default() }
                        };
                        conversation.answer::<FindCoordinatorRequest>(&asked, &response).await;
                    }
                }
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn coordinators_are_found_and_remembered() {
    for (max, requests) in [(6, 1), (4, 1), (3, 3), (0, 3)] {
        let net = FakeNet::new();
        let found = Arc::new(AtomicUsize::new(0));
        serve(&net, max, &found);
        let client = Client::connect_with(config("a:1"), options(&net)).await.unwrap();
        let results = client.find_coordinators(CoordinatorKind::Group, &["g", "h", "none"]).await.unwrap();
        assert_eq!(found.load(Ordering::SeqCst), requests, "version {max}");
        assert_eq!(results[0].1.as_ref().unwrap(), &5);
        let error = results[2].1.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Broker(ErrorCode::CoordinatorNotAvailable));
        assert_eq!(client.coordinator(CoordinatorKind::Group, "h").await.unwrap(), 5);
        assert_eq!(found.load(Ordering::SeqCst), requests, "remembered");
        assert_eq!(client.endpoint(5).unwrap().address.to_string(), "five:5", "its address came with it");
        client.invalidate_coordinator(CoordinatorKind::Group, "h");
        client.coordinator(CoordinatorKind::Group, "h").await.unwrap();
        assert_eq!(found.load(Ordering::SeqCst), requests + 1);
        let share = client.coordinator(CoordinatorKind::Share, "s").await;
        assert_eq!(
            share.map_err(|error| error.kind()),
            if max >= 6 { Ok(5) } else { Err(ErrorKind::UnsupportedVersion) }
        );
    }
}
