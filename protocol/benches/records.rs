//! What a record costs: append and seal, and iterate, per codec. Each figure is the best of many rounds.
//!
//! `cargo bench -p rkafka-protocol --bench records`
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use rkafka_protocol::records::{
    BatchBuilder, BatchOptions, Codec, Compression, Compressor, DecompressArena, HeaderRef, RecordBatch,
};

const RECORDS: usize = 1_000;

struct Shape {
    name: &'static str,
    values: Vec<Vec<u8>>,
    key: Option<&'static [u8]>,
    headers: Vec<HeaderRef<'static>>,
}

fn build(shape: &Shape, codec: Codec, compressor: &mut Compressor, buffer: Vec<u8>) -> Vec<u8> {
    let mut batch = BatchBuilder::new(buffer, BatchOptions::default());
    for (index, value) in shape.values.iter().enumerate() {
        let appended =
            batch.append(1_700_000_000_000 + index as i64, shape.key, Some(value), shape.headers.iter().copied());
        assert!(appended.is_ok());
    }
    let mut sealed = batch.seal(codec, compressor).expect("records were appended");
    sealed.stamp_producer(1, 0, 0, false);
    sealed.into_bytes()
}

fn iterate(bytes: &[u8], arena: &mut DecompressArena) -> usize {
    let batch = RecordBatch::read(bytes).expect("a batch");
    batch.verify_crc().expect("its CRC");
    let mut sum = 0;
    for record in batch.records(arena).expect("records") {
        let record = record.expect("a record");
        sum += record.value.map_or(0, <[u8]>::len) + record.headers.len() + (record.offset & 1) as usize;
    }
    sum
}

/// The best nanoseconds per record of `rounds` runs.
fn best(rounds: usize, mut run: impl FnMut()) -> f64 {
    let mut least = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed());
    }
    least.as_nanos() as f64 / RECORDS as f64
}

fn main() {
    let values: Vec<Vec<u8>> = (0..RECORDS)
        .map(|index| {
            let mut text =
                format!("{{\"id\":{index},\"user\":\"u{}\",\"amount\":{},\"note\":\"", index * 7919 % 997, index * 31);
            while text.len() < 98 {
                text.push(char::from(b'a' + (text.len() * index % 23) as u8));
            }
            text.truncate(98);
            text.push_str("\"}");
            text.into_bytes()
        })
        .collect();
    let shapes = [
        Shape { name: "100 B value", values: values.clone(), key: None, headers: vec![] },
        Shape {
            name: "key 16 + 100 B + header",
            values,
            key: Some(b"0123456789abcdef"),
            headers: vec![HeaderRef::new("trace", b"12345678")],
        },
    ];
    println!(
        "{:<24} {:<7} {:>12} {:>14} {:>12} {:>8}",
        "shape", "codec", "append+seal", "fresh context", "iterate", "ratio"
    );
    for shape in &shapes {
        for compression in Compression::ALL {
            let codec = Codec::new(compression);
            let rounds = if compression == Compression::None { 3_000 } else { 300 };
            let mut compressor = Compressor::new();
            let mut buffer = Vec::with_capacity(256 * 1024);
            let write = best(rounds, || {
                buffer = build(black_box(shape), codec, &mut compressor, std::mem::take(&mut buffer));
            });
            let mut buffer = Vec::with_capacity(256 * 1024);
            let fresh = best(rounds, || {
                buffer = build(black_box(shape), codec, &mut Compressor::new(), std::mem::take(&mut buffer));
            });
            let bytes = build(shape, codec, &mut compressor, Vec::new());
            let plain = build(shape, Codec::NONE, &mut compressor, Vec::new());
            let mut arena = DecompressArena::default();
            let read = best(rounds, || {
                black_box(iterate(black_box(&bytes), &mut arena));
            });
            println!(
                "{:<24} {:<7} {write:>9.1} ns {fresh:>11.1} ns {read:>9.1} ns {:>8.2}",
                shape.name,
                compression,
                bytes.len() as f64 / plain.len() as f64,
            );
        }
    }
}
