//! Where the replicas of new partitions go: spread over racks and brokers like stripes, so that each broker leads and
//! holds as much as the others, and replicas of one partition lie on different racks where there are enough.
//!
//! Brokers that are fenced get replicas only where the others are too few, and none is the first.

use std::collections::BTreeMap;

use rkafka_protocol::ErrorCode;

use super::Refusal;
use super::image::{BrokerImage, MetadataImage};

/// Numbers that look random, the same for the same seed (SplitMix64).
#[derive(Debug)]
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).unwrap_or(1).max(1);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Brokers that are taken in turn; each stripe begins one further.
#[derive(Debug, Default)]
struct Ring {
    brokers: Vec<i32>,
    first: usize,
    taken: usize,
    stripe: usize,
}

impl Ring {
    /// The next broker that this stripe has not had.
    fn next(&mut self, stripe: usize) -> Option<i32> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.stripe != stripe {
            (self.stripe, self.taken) = (stripe, 0);
            self.first = (self.first + 1) % self.brokers.len();
        }
        let at = (self.taken < self.brokers.len()).then(|| (self.first + self.taken) % self.brokers.len())?;
        self.taken += 1;
        self.brokers.get(at).copied()
    }
}

#[derive(Debug, Default)]
struct Rack {
    unfenced: Ring,
    fenced: Ring,
}

/// A place for every replica, and no more: whoever asks has counted.
#[derive(Debug)]
struct Stripes {
    racks: Vec<Rack>,
    first_rack: usize,
    stripe: usize,
    unfenced: usize,
    total: usize,
    mixer: Mixer,
}

impl Stripes {
    fn new(image: &MetadataImage, seed: u64) -> Self {
        let mut racks: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
        let (mut unfenced, mut total) = (0, 0);
        for (id, broker) in image.brokers().iter().filter(|(_, broker)| takes_replicas(broker)) {
            let rack = racks.entry(broker.rack.as_deref()).or_default();
            let ring = if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced };
            ring.brokers.push(*id);
            unfenced += usize::from(!broker.fenced);
            total += 1;
        }
        let mut mixer = Mixer(seed);
        let mut racks: Vec<Rack> = racks.into_values().collect();
        for ring in racks.iter_mut().flat_map(|rack| [&mut rack.unfenced, &mut rack.fenced]) {
            ring.first = mixer.below(ring.brokers.len());
        }
        let first_rack = mixer.below(racks.len());
        Self { racks, first_rack, stripe: 0, unfenced, total, mixer }
    }

    /// The replicas of the next partition. At least one broker is not fenced, and at least `factor` are there.
    fn place(&mut self, factor: usize) -> Vec<i32> {
        if self.stripe == self.unfenced && self.unfenced > 1 {
            // Every broker has been the first: the next round mixes them otherwise, so that other brokers stand together.
            self.mixer.shuffle(&mut self.racks);
            for rack in &mut self.racks {
                self.mixer.shuffle(&mut rack.unfenced.brokers);
                self.mixer.shuffle(&mut rack.fenced.brokers);
            }
            self.stripe = 0;
        }
        let (stripe, count) = (self.stripe, self.racks.len());
        let mut replicas = Vec::with_capacity(factor);
        // The first is one that can lead at once.
        let mut taken_rack = None;
        for step in 0..count {
            let at = (self.first_rack + step) % count;
            if let Some(broker) = self.racks[at].unfenced.next(stripe) {
                replicas.push(broker);
                taken_rack = Some(at);
                break;
            }
        }
        let mut at = self.first_rack % count.max(1);
        let mut barren = 0;
        while replicas.len() < factor && barren <= count {
            // The rack of the first is passed over once, for it has its replica of the first round.
            let found = match taken_rack.take_if(|taken| *taken == at) {
                Some(_) => None,
                None => {
                    let rack = &mut self.racks[at];
                    rack.unfenced.next(stripe).or_else(|| rack.fenced.next(stripe))
                }
            };
            barren = if found.is_some() { 0 } else { barren + 1 };
            replicas.extend(found);
            at = (at + 1) % count;
        }
        self.stripe += 1;
        self.first_rack = (self.first_rack + 1) % count.max(1);
        replicas
    }
}

/// Whether new replicas may be put on a broker.
fn takes_replicas(broker: &BrokerImage) -> bool {
    let cordoned = broker.cordoned_log_dirs.as_deref().unwrap_or_default();
    let has_room = broker.log_dirs.is_empty() || broker.log_dirs.iter().any(|directory| !cordoned.contains(directory));
    !broker.in_controlled_shutdown && has_room
}

/// Places `partitions` new partitions with `factor` replicas each. The same seed gives the same places.
///
/// # Errors
/// `INVALID_REPLICATION_FACTOR`, in Kafka's words: there are too few brokers, or all are fenced.
pub(crate) fn place(
    image: &MetadataImage,
    partitions: usize,
    factor: i16,
    seed: u64,
) -> Result<Vec<Vec<i32>>, Refusal> {
    let refuse = |message| Err(Refusal { error: ErrorCode::InvalidReplicationFactor, message });
    let mut stripes = Stripes::new(image, seed);
    let replicas = match usize::try_from(factor) {
        Ok(replicas) if replicas > 0 => replicas,
        _ => return refuse(format!("Invalid replication factor {factor}: the replication factor must be positive.")),
    };
    if stripes.unfenced == 0 {
        return refuse("All brokers are currently fenced, or have all their log directories cordoned.".to_owned());
    }
    if replicas > stripes.total {
        return refuse(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered or some \
             brokers have all their log directories cordoned.",
            stripes.total
        ));
    }
    Ok((0..partitions).map(|_| stripes.place(replicas)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rkafka_protocol::messages::RegisterBrokerRecord;

    use super::*;
    use crate::controller::MetadataRecord;

    fn image(brokers: &[(i32, Option<&str>, bool)]) -> MetadataImage {
        let mut image = MetadataImage::default();
        for (offset, (id, rack, fenced)) in (0..).zip(brokers) {
            let record = RegisterBrokerRecord {
                broker_id: *id,
                rack: rack.map(str::to_owned),
                fenced: *fenced,
                ..Default::default()
            };
            image.replay(offset, &MetadataRecord::RegisterBroker(record));
        }
        image
    }

    fn counts(placed: &[Vec<i32>], of: impl Fn(&Vec<i32>) -> Vec<i32>) -> BTreeMap<i32, usize> {
        let mut counts = BTreeMap::new();
        placed.iter().flat_map(of).for_each(|broker| *counts.entry(broker).or_insert(0) += 1);
        counts
    }

    #[test]
    fn every_broker_leads_and_holds_as_much_as_the_others() {
        let image = image(&[(1, None, false), (2, None, false), (3, None, false), (4, None, false)]);
        let placed = place(&image, 40, 3, 7).unwrap();
        assert!(counts(&placed, |replicas| vec![replicas[0]]).values().all(|count| *count == 10));
        assert!(counts(&placed, Vec::clone).values().all(|count| *count == 30));
        assert_eq!(place(&image, 40, 3, 7).unwrap(), placed);
        let others: BTreeSet<Vec<i32>> = (0..20).map(|seed| place(&image, 1, 1, seed).unwrap().remove(0)).collect();
        assert_eq!(others.len(), 4);
    }

    #[test]
    fn replicas_lie_on_different_racks() {
        let racks = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")];
        let image = image(&racks.map(|(id, rack)| (id, Some(rack), false)));
        let rack_of = |broker: i32| racks[usize::try_from(broker - 1).unwrap()].1;
        for replicas in place(&image, 60, 3, 3).unwrap() {
            let used: BTreeSet<&str> = replicas.iter().map(|broker| rack_of(*broker)).collect();
            assert_eq!(used.len(), 3, "{replicas:?}");
        }
    }

    #[test]
    fn fenced_brokers_come_last() {
        let some = image(&[(1, None, false), (2, None, true), (3, None, false)]);
        for replicas in place(&some, 12, 2, 1).unwrap() {
            assert!(!replicas.contains(&2), "{replicas:?}");
        }
        for replicas in place(&some, 12, 3, 1).unwrap() {
            assert_eq!(replicas[2], 2, "{replicas:?}");
        }
        let message = |image: &MetadataImage, factor| place(image, 1, factor, 1).unwrap_err().message;
        assert!(message(&image(&[(1, None, true)]), 1).starts_with("All brokers are currently fenced"));
        assert!(message(&image(&[]), 1).starts_with("All brokers are currently fenced"));
        assert!(message(&some, 4).contains("of 4 cannot be reached because only 3 broker(s) are registered"));
        assert!(message(&some, 0).ends_with("the replication factor must be positive."));
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_and_as_many_as_asked_for(
            brokers in proptest::collection::vec((0..3u8, any::<bool>()), 1..9),
            partitions in 1..30usize,
            factor in 1..9i16,
            seed in any::<u64>(),
        ) {
            let racks = [None, Some("a"), Some("b")];
            let brokers: Vec<_> = (0..).zip(&brokers).map(|(id, (rack, fenced))| (id, racks[usize::from(*rack)], *fenced)).collect();
            let unfenced = brokers.iter().any(|(_, _, fenced)| !fenced);
            let image = image(&brokers);
            match place(&image, partitions, factor, seed) {
                Err(_) => prop_assert!(!unfenced || usize::try_from(factor).unwrap() > brokers.len()),
                Ok(placed) => {
                    prop_assert_eq!(placed.len(), partitions);
                    for replicas in placed {
                        let distinct: BTreeSet<i32> = replicas.iter().copied().collect();
                        prop_assert_eq!(distinct.len(), usize::try_from(factor).unwrap());
                        prop_assert!(!image.broker(replicas[0]).unwrap().fenced);
                    }
                }
            }
        }
    }
}
