//! Batches that are filled by what they are compressed to.

use super::*;

#[test]
fn batches_that_compress_well_take_more() {
    let (mut largest, mut batch_size) = (0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, true, 5, Compression::Lz4);
        world.poison = false;
        for _ in 0..1500 {
            world.step();
        }
        world.settle();
        world.check();
        (largest, batch_size) = (largest.max(world.largest[0]), world.limits.batch_size);
    }
    // No record is larger than `batch.size` here.
    assert!(largest > batch_size, "no batch was filled beyond `batch.size`: {largest}");
}

/// Sends a value of `noise` bytes that do not compress, and `plain` ones that do.
fn send(world: &mut World, at: usize, noise: usize, plain: usize) {
    let mut value = (0..noise).map(|_| world.pick(256) as u8).collect::<Vec<_>>();
    value.resize(noise + plain, b'x');
    let mut slot = world.partitions[at].lock();
    let now = world.now;
    let appended =
        slot.queue.append(&Record::to("t").value(&value), 5, true, &world.memory, true, || now).ok().unwrap();
    world.deliveries.push((at, 0, Delivery::new(appended.state, appended.index, 5)));
    world.partitions[at].signal(slot);
}

#[test]
fn a_batch_that_turns_out_too_large_for_the_request_is_the_first_of_the_next() {
    let mut world = World::new(1, false, 5, Compression::Lz4);
    for _ in 0..100 {
        world.fill.observe(0.05);
    }
    assert_eq!(world.fill.target(), REQUEST_SIZE_MAX);
    // What the first is compressed to makes the second look as if it fitted in.
    send(&mut world, 0, 300, 550);
    send(&mut world, 1, 500, 0);
    send(&mut world, 2, 500, 0);
    let mut sent = Vec::new();
    for round in 0..PARTITIONS {
        let conditions = Conditions { route: 0, hurry: true, identity: None, request_size_max: REQUEST_SIZE_MAX };
        for listing in world.mailboxes[0].drain() {
            world.outboxes[0].accept(listing);
        }
        let (codec, compressor) = (world.codec, &mut world.compressor);
        let collected =
            world.outboxes[0].collect(world.now, &conditions, |load, stamp| load.seal(codec, compressor, stamp, false));
        assert_eq!(collected.batches.len(), 1, "two are too large for one request");
        let is_first = |batch: &Collect| batch.journey.first.is_some() && !batch.is_retry;
        assert!(collected.batches.iter().all(is_first), "one that was put back was not sent");
        sent.extend(collected.batches.into_iter().map(|batch| batch.partition.index));
        // From then on it is known.
        assert_eq!(collected.left_over.is_some(), round == 0);
        if let Some(Collect { partition, id, payload, .. }) = collected.left_over {
            world.complete(&partition, id, Answer::Unsent { load: Load::Sealed(payload) });
        }
    }
    assert_eq!(sent, [0, 1, 2], "each in its turn");
}

#[test]
fn while_somebody_waits_for_memory_no_batch_takes_more_than_its_size() {
    let mut world = World::new(1, false, 5, Compression::Lz4);
    for _ in 0..100 {
        world.fill.observe(0.05);
    }
    let lengths = |world: &mut World| {
        let before = world.deliveries.len();
        while world.partitions[0].lock().queue.next_size().is_none() || world.deliveries.len() < before + 12 {
            send(world, 0, 80, 0);
        }
        let mut resolved = Resolutions::new();
        let conditions = Conditions { route: 0, hurry: true, identity: None, request_size_max: 100_000 };
        let mut lengths = Vec::new();
        for listing in world.mailboxes[0].drain() {
            world.outboxes[0].accept(listing);
        }
        loop {
            let (codec, compressor) = (world.codec, &mut world.compressor);
            let collected = world.outboxes[0]
                .collect(world.now, &conditions, |load, stamp| load.seal(codec, compressor, stamp, false));
            let Some(batch) = collected.batches.first() else { break };
            lengths.push(batch.payload.uncompressed_len());
            let answer = Answer::Written { base_offset: 0, log_append_time: -1 };
            batch.partition.lock().queue.complete(world.now, batch.id, answer, Duration::ZERO, &mut resolved);
        }
        world.resolve(resolved);
        lengths
    };
    let ample = lengths(&mut world);
    assert!(ample.iter().any(|length| *length > 500), "{ample:?}");
    let memory = world.memory.clone();
    let _waiting = memory.wait();
    assert!(memory.charge(MEMORY / 2, true));
    for _ in 0..100 {
        world.partitions[0].fill.observe(0.05);
    }
    let short = lengths(&mut world);
    memory.release(MEMORY / 2, None);
    // The smallest buffer is larger than `batch.size` here, and what it holds is not given away.
    assert!(short.iter().all(|length| *length <= 1024) && short.len() > 1, "{short:?}");
}

#[test]
fn a_record_above_a_limit_names_it() {
    let world = World::new(1, true, 5, Compression::None);
    let append = |value: &[u8]| {
        let mut slot = world.partitions[0].lock();
        slot.queue.append(&Record::to("t").value(value), 5, true, &world.memory, false, || world.now).err()
    };
    assert!(matches!(
        append(&[0; 1000]),
        Some(crate::machine::accumulator::AppendError::TooLarge { limit: 1000, setting: "max.request.size", .. })
    ));
    assert!(append(&[0; 800]).is_none(), "larger than a batch is well");
}
