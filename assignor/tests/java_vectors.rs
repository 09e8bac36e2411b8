//! `range` and `roundrobin` give what the Java assignors of Kafka 4.3.1 give.
//!
//! `vectors/kafka-4.3.1.txt` was written by a program that called Java's `RangeAssignor` and `RoundRobinAssignor` on
//! random groups: `case N`, `topic NAME COUNT`, `member ID INSTANCE-OR-DASH TOPIC..`, then one line per member and
//! assignor, `range ID TOPIC:PARTITION..`, partitions sorted.

use std::collections::BTreeMap;

use rkafka_assignor::{Member, TopicPartition, TopicPartitions, by_name};

#[derive(Default)]
struct Case {
    topics: TopicPartitions,
    members: Vec<Member>,
    expected: BTreeMap<(String, String), Vec<TopicPartition>>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in include_str!("vectors/kafka-4.3.1.txt").lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        let kind = words.next().expect("a kind");
        if kind == "case" {
            cases.push(Case::default());
            continue;
        }
        let case: &mut Case = cases.last_mut().expect("a case before its lines");
        let name = words.next().expect("a name");
        match kind.as_str() {
            "topic" => case.topics.insert(name, words.next().expect("a count").parse().expect("a number")),
            "member" => {
                let instance_id = words.next().expect("an instance id or a dash");
                let member = Member::new(name, words);
                case.members.push(if instance_id == "-" { member } else { member.with_instance_id(instance_id) });
            }
            assignor => {
                let mut partitions: Vec<TopicPartition> = words
                    .map(|word| {
                        let (topic, partition) = word.rsplit_once(':').expect("topic:partition");
                        (topic.to_owned(), partition.parse().expect("a number"))
                    })
                    .collect();
                partitions.sort();
                case.expected.insert((assignor.to_owned(), name), partitions);
            }
        }
    }
    cases
}

#[test]
fn range_and_roundrobin_equal_java() {
    let cases = cases();
    assert_eq!(cases.len(), 120);
    let mut compared = 0;
    for (number, case) in cases.iter().enumerate() {
        for ((assignor, member_id), expected) in &case.expected {
            let assignor = by_name(assignor).expect("a known assignor");
            let assignment = assignor.assign(&case.members, &case.topics).expect("an assignment");
            let mut partitions = assignment.of(member_id).to_vec();
            partitions.sort();
            assert_eq!(&partitions, expected, "case {number}, {}, member {member_id}", assignor.name());
            compared += 1;
        }
    }
    assert!(compared > 800, "only {compared} answers compared");
}
