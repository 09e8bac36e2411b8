//! What producers may put into a batch, and what the broker makes of it, as clients see it.

mod common;

use common::{Client, batch, create_topics, fetch_request, read_values, start_in_memory};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, Codec, Compression, Compressor, NO_HEADERS, compute_crc,
};

/// A compressed batch whose header counts one record more than there is, with a right checksum.
fn miscounted(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
    builder.append(1_700_000_000_000, None, Some(b"only"), NO_HEADERS).unwrap();
    let mut bytes = builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap().into_bytes();
    bytes[26] += 1;
    bytes[60] += 1;
    let crc = compute_crc(&bytes).unwrap();
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[tokio::test]
async fn a_batch_that_would_stop_consumers_is_not_taken() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let refused = client.produce("t", 0, miscounted(compression)).await;
        assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::InvalidRecord, "{compression:?}");
        assert_eq!((refused.base_offset, refused.log_start_offset), (-1, 0));
    }
    assert_eq!(client.produce("t", 0, batch(&["good"])).await.base_offset, 0);
    assert_eq!(client.values("t", 0, 0).await, ["good"]);
}

#[tokio::test]
async fn single_records_are_named() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.create_topic("recent", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
    let refused = client.produce("compacted", 0, batch(&["a", "b"])).await;
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::InvalidRecord);
    assert_eq!(refused.record_errors.iter().map(|record| record.batch_index).collect::<Vec<_>>(), [0, 1]);
    let text = refused.record_errors[1].batch_index_error_message.as_deref().unwrap();
    assert_eq!(text, "Compacted topic cannot accept message without key in topic partition compacted-0.");
    let refused = client.produce("recent", 0, batch(&["old"])).await;
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::InvalidTimestamp);
    assert_eq!(refused.record_errors.len(), 1);
    let text = "One or more records have been rejected due to invalid timestamp";
    assert_eq!(refused.error_message.as_deref(), Some(text));
}

#[tokio::test]
async fn a_topic_has_its_own_compression() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let kinds = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (kind, stored) in kinds {
        client.create_topic(kind, 1, &[("compression.type", kind), ("compression.gzip.level", "9")]).await;
        let mut expected = Vec::new();
        for (_, sent) in kinds {
            let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
            for number in 0..3 {
                let value = format!("{number} as {sent:?} ").repeat(20);
                builder.append(1_700_000_000_000 + number, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
                expected.push(value);
            }
            let bytes = builder.seal(Codec::new(sent), &mut Compressor::new()).unwrap().into_bytes();
            let answer = client.produce(kind, 0, bytes).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, expected.len() as i64 - 3));
        }
        assert_eq!(client.values(kind, 0, 0).await, expected);
        let records = client.fetch(kind, 0, 0).await.records.unwrap();
        let mut rest = &records[..];
        while !rest.is_empty() {
            let header = BatchHeader::read(rest).unwrap();
            assert_eq!(header.attributes.compression(), Ok(stored), "in {kind}");
            rest = &rest[header.total_len()..];
        }
    }
    // A client that cannot read zstd is told so, where a topic is all zstd.
    let response = client.call(&fetch_request("zstd", 0, 0, 0, 1), 9).await;
    let data = &response.responses[0].partitions[0];
    assert_eq!(ErrorCode::from_code(data.error_code), ErrorCode::UnsupportedCompressionType);
    let response = client.call(&fetch_request("lz4", 0, 0, 0, 1), 9).await;
    assert_eq!(read_values(response.responses[0].partitions[0].records.as_ref().unwrap()).len(), 15);

    for (name, value) in [
        ("compression.type", "none"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "1"),
        ("compression.zstd.level", "23"),
    ] {
        let refused = client.call(&create_topics("refused", 1, &[(name, value)]), 7).await;
        assert_eq!(ErrorCode::from_code(refused.topics[0].error_code), ErrorCode::InvalidConfig, "{name}={value}");
    }
}
