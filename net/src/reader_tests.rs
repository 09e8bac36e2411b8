use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

fn encoded(payloads: &[Vec<u8>]) -> Vec<u8> {
    payloads
        .iter()
        .flat_map(|payload| [(payload.len() as i32).to_be_bytes().to_vec(), payload.clone()].concat())
        .collect()
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + len) as u8).collect()
}

/// Reads everything that `bytes` hold, cut into pieces of `piece` bytes; keeps the frames as long as `hold` says.
async fn read_all(bytes: Vec<u8>, piece: usize, reader: &mut FrameReader) -> Result<Vec<Bytes>, FrameError> {
    let (near, far) = tokio::io::duplex(piece);
    let feed = async move {
        let mut far = far;
        far.write_all(&bytes).await.ok();
    };
    let read = async move {
        // Owned here, so that the feeding ends when the reading does.
        let mut near = near;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut near).await? {
            frames.push(frame);
        }
        Ok(frames)
    };
    tokio::join!(feed, read).1
}

#[tokio::test]
async fn frames_of_every_size_come_whole() {
    let sizes = [0, 1, 4_096, 4_097, 65_532, 65_533, 65_536, 3, 200_000, 10, 1 << 20, 5_000, 5_000, 70_000, 0];
    let payloads: Vec<Vec<u8>> = sizes.into_iter().map(payload).collect();
    let pool = SlabPool::new(8 << 20);
    for piece in [1_000, 65_536, 1 << 21] {
        let mut reader = FrameReader::new(1 << 20, Arc::clone(&pool));
        let frames = read_all(encoded(&payloads), piece, &mut reader).await.unwrap();
        assert!(frames.iter().map(|frame| &frame[..]).eq(payloads.iter().map(|payload| &payload[..])), "{piece}");
    }
    assert!(pool.free_bytes() > 0, "slabs have come back");
}

#[tokio::test]
async fn steady_traffic_reuses_its_slabs() {
    let pool = SlabPool::new(8 << 20);
    let mut reader = FrameReader::new(1 << 20, Arc::clone(&pool));
    let one = encoded(&[payload(500_000)]);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let frames = read_all(one.clone(), 65_536, &mut reader).await.unwrap();
        seen.insert(frames[0].as_ptr());
    }
    assert!(seen.len() <= 4, "{} slabs for one frame at a time", seen.len());
}

#[tokio::test]
async fn a_declared_length_allocates_nothing() {
    let pool = SlabPool::new(0);
    let mut reader = FrameReader::new(1 << 30, pool);
    let (mut near, mut far) = tokio::io::duplex(64);
    far.write_all(&(1i32 << 30).to_be_bytes()).await.unwrap();
    far.write_all(b"and nothing else").await.unwrap();
    let waiting = futures_poll(&mut reader, &mut near).await;
    assert!(waiting, "the frame is not whole");
    assert_eq!(reader.slab.len(), SLAB_LEN);
    drop(far);
    assert!(matches!(reader.next(&mut near).await, Err(FrameError::Truncated { read: 20 })));
}

#[tokio::test]
async fn a_small_frame_behind_a_large_one_holds_no_slab() {
    let pool = SlabPool::new(8 << 20);
    let mut reader = FrameReader::new(1 << 20, Arc::clone(&pool));
    let mut frames =
        read_all(encoded(&[payload(40_000), payload(10), payload(9)]), 1 << 16, &mut reader).await.unwrap();
    frames.remove(0);
    drop(reader);
    // One slab brought the frames, another saw the end of the stream.
    assert_eq!(pool.free_bytes(), 2 * SLAB_LEN, "two frames of a few bytes keep a slab");
    assert_eq!(frames, [payload(10), payload(9)]);
}

#[tokio::test]
async fn a_frame_that_is_kept_keeps_no_slab_many_times_its_size() {
    let pool = SlabPool::new(8 << 20);
    let mut reader = FrameReader::new(4 << 20, Arc::clone(&pool));
    drop(read_all(encoded(&[payload(4 << 20)]), 1 << 16, &mut reader).await.unwrap());
    drop(reader);
    let before = pool.free_bytes();
    assert!(before >= 4 << 20, "the large slab has come back");
    let mut kept = Vec::new();
    for _ in 0..8 {
        let mut reader = FrameReader::new(4 << 20, Arc::clone(&pool));
        kept.extend(read_all(encoded(&[payload(5_000)]), 1 << 16, &mut reader).await.unwrap());
    }
    assert!(pool.free_bytes() >= before, "8 frames of 5,000 bytes keep {} bytes", before - pool.free_bytes());
}

#[tokio::test]
async fn a_pool_follows_the_traffic() {
    // What is left of frames of another size makes room for the slabs that are used now.
    let pool = SlabPool::new(4 << 20);
    let mut reader = FrameReader::new(4 << 20, Arc::clone(&pool));
    drop(read_all(encoded(&[payload((4 << 20) - 4)]), 1 << 16, &mut reader).await.unwrap());
    for _ in 0..3 {
        drop(read_all(encoded(&[payload(300_000)]), 1 << 16, &mut reader).await.unwrap());
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        let frames = read_all(encoded(&[payload(300_000)]), 1 << 16, &mut reader).await.unwrap();
        seen.insert(frames[0].as_ptr());
    }
    assert!(seen.len() <= 2, "{} slabs for one frame at a time", seen.len());
    assert!(pool.free_bytes() <= 4 << 20);
}

/// Polls once; whether the reader waits.
async fn futures_poll(reader: &mut FrameReader, stream: &mut tokio::io::DuplexStream) -> bool {
    std::future::poll_fn(|context| Poll::Ready(reader.poll_frame(context, stream).is_pending())).await
}

#[tokio::test]
async fn a_waiting_reader_holds_no_slab() {
    let pool = SlabPool::new(1 << 20);
    let mut reader = FrameReader::new(1 << 20, Arc::clone(&pool));
    let (mut near, _far) = tokio::io::duplex(64);
    assert!(futures_poll(&mut reader, &mut near).await);
    assert_eq!((reader.slab.len(), pool.free_bytes()), (0, SLAB_LEN));
}

#[tokio::test]
async fn bad_lengths_are_refused_and_explained() {
    for (head, text) in [
        (*b"HTTP", "HTTP"),
        ([0x15, 3, 3, 0], "TLS"),
        (1_001i32.to_be_bytes(), "at most 1000"),
        ((-1i32).to_be_bytes(), "-1 bytes"),
    ] {
        let mut reader = FrameReader::new(1_000, SlabPool::new(0));
        let error = read_all([&head[..], b"more"].concat(), 64, &mut reader).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn the_end_is_clean_only_between_frames() {
    let whole = encoded(&[payload(10), payload(6_000)]);
    for end in 0..whole.len() {
        let mut reader = FrameReader::new(1 << 20, SlabPool::new(0));
        let read = read_all(whole[..end].to_vec(), 1 << 16, &mut reader).await;
        match end {
            0 | 14 => assert!(read.is_ok()),
            _ => assert!(matches!(read, Err(FrameError::Truncated { .. })), "{end}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_in_any_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut reader = FrameReader::new(200, SlabPool::new(1 << 20));
        let _ = runtime.block_on(read_all(bytes, piece, &mut reader));
    }

    #[test]
    fn any_frames_in_any_pieces(
        sizes in proptest::collection::vec(prop_oneof![0usize..20, 4_000usize..4_200, 10_000usize..150_000], 0..8),
        piece in 1usize..100_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let payloads: Vec<Vec<u8>> = sizes.into_iter().map(payload).collect();
        let mut reader = FrameReader::new(1 << 20, SlabPool::new(1 << 18));
        let frames = runtime.block_on(read_all(encoded(&payloads), piece, &mut reader)).unwrap();
        prop_assert!(frames.iter().map(|frame| &frame[..]).eq(payloads.iter().map(|payload| &payload[..])));
    }
}
