//! Metrics that clients push (KIP-714).

mod common;

use bytes::Bytes;
use common::{Client, start_in_memory};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::{
    ApiVersionsRequest, GetTelemetrySubscriptionsRequest, IncrementalAlterConfigsRequest, PushTelemetryRequest,
};
use rkafka_protocol::records::{Codec, Compression, Compressor};

#[tokio::test]
async fn metrics_that_are_asked_for_arrive() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let hello = ApiVersionsRequest {
        client_software_name: "tester".to_owned(),
        client_software_version: "1.0".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.call(&hello, 4).await.error_code, 0);
    let ask = GetTelemetrySubscriptionsRequest::default();
    let nothing = client.call(&ask, 0).await;
    assert_eq!((nothing.error_code, nothing.push_interval_ms, nothing.requested_metrics.len()), (0, 300_000, 0));

    let change = |name: &str, value: &str| AlterableConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let subscribe = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 16,
            resource_name: "m".to_owned(),
            configs: vec![
                change("metrics", "org.apache.kafka."),
                change("match", "client_software_name=tester,client_id=test,client_source_address=127[.]0[.]0[.]1"),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(&subscribe, 1).await.responses[0].error_code, 0);
    let granted = client.call(&ask, 0).await;
    assert_eq!((granted.error_code, &granted.requested_metrics[..]), (0, &["org.apache.kafka.".to_owned()][..]));
    assert_ne!(granted.client_instance_id, nothing.client_instance_id);
    assert_eq!((granted.telemetry_max_bytes, granted.delta_temporality), (1_048_576, true));
    assert_eq!(granted.accepted_compression_types[0], 4);

    let metrics = vec![7; 10_000];
    let mut packed = Vec::new();
    Compressor::new().compress(Codec::from(Compression::Zstd), &metrics, &mut packed).unwrap();
    let push = PushTelemetryRequest {
        client_instance_id: granted.client_instance_id,
        subscription_id: granted.subscription_id,
        compression_type: 4,
        metrics: packed.into(),
        ..Default::default()
    };
    assert_eq!(client.call(&push, 0).await.error_code, 0);
    let pushed = broker.pushed_telemetry();
    assert_eq!((pushed.len(), pushed[0].client_id.as_str(), pushed[0].metrics.len()), (1, "test", 10_000));
    assert_eq!(client.call(&push, 0).await.error_code, ErrorCode::ThrottlingQuotaExceeded.code());

    // The last words of a client may come at any time, but not broken, nor as a few bytes that would fill the memory.
    let other = client.call(&ask, 0).await;
    let bomb = vec![0; 64 * 1024 * 1024];
    let mut packed = Vec::new();
    Compressor::new().compress(Codec::from(Compression::Zstd), &bomb, &mut packed).unwrap();
    let last = PushTelemetryRequest {
        client_instance_id: other.client_instance_id,
        subscription_id: other.subscription_id,
        terminating: true,
        compression_type: 4,
        metrics: packed.into(),
        ..Default::default()
    };
    assert_eq!(client.call(&last, 0).await.error_code, ErrorCode::TelemetryTooLarge.code());
    let other = client.call(&ask, 0).await;
    let broken = PushTelemetryRequest {
        client_instance_id: other.client_instance_id,
        subscription_id: other.subscription_id,
        metrics: Bytes::from_static(b"no zstd"),
        ..last
    };
    assert_eq!(client.call(&broken, 0).await.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(broker.pushed_telemetry().len(), 1);
}
