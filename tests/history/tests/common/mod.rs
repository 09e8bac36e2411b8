//! Histories in a few words: a line is an operation, from its beginning to its end.
//!
//! ```text
//! WHO send PARTITION VALUE [in TRANSACTION] END     END: `= OFFSET`, `ok`, `fail`, `info`, or nothing while it goes on
//! WHO poll|peek PARTITION OFFSET:VALUE.. [in TRANSACTION]     what is committed, or everything
//! WHO assign PARTITION OFFSET          WHO drained PARTITION          WHO closed
//! WHO commit|abort TRANSACTION END
//! WHO offsets GROUP PARTITION OFFSET [in TRANSACTION] END     WHO asks GROUP PARTITION = OFFSET|none
//! ```

use std::collections::BTreeMap;

use rkafka_history::{Action, Event, History, Isolation, Phase};

/// The events of a script.
pub fn events(script: &str) -> Vec<Event> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.zip(1..).flat_map(|(line, number)| operation(line, number)).collect()
}

pub fn history(script: &str) -> History {
    History::new(events(script)).expect("a history")
}

fn operation(line: &str, number: u64) -> Vec<Event> {
    let mut words: Vec<&str> = line.split(' ').collect();
    let (mut phase, mut answer) = (None, None);
    if let Some(at) = words.iter().position(|word| *word == "=") {
        answer = Some(words[at + 1]);
        phase = Some(Phase::Ok);
        words.truncate(at);
    }
    for (word, meant) in [("ok", Phase::Ok), ("fail", Phase::Fail), ("info", Phase::Info)] {
        if words.last() == Some(&word) {
            words.pop();
            phase = Some(meant);
        }
    }
    let transaction = words.iter().position(|word| *word == "in").map(|at| {
        let name = words[at + 1].to_owned();
        words.truncate(at);
        name
    });
    let one = |at: usize| words[at].to_owned();
    let numbered = |at: usize| words[at].parse::<i64>().expect("a number");
    let (begun, ended) = match words[1] {
        "send" => {
            let send =
                |offset| Action::Send { partition: one(2), value: one(3), offset, transaction: transaction.clone() };
            (Some(send(None)), send(answer.map(|offset| offset.parse().expect("an offset"))))
        }
        "poll" | "peek" => {
            let isolation = if words[1] == "poll" { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
            let records = words[3..].iter().map(|word| {
                let (offset, value) = word.split_once(':').expect("OFFSET:VALUE");
                (offset.parse().expect("an offset"), value.to_owned())
            });
            phase = Some(Phase::Ok);
            let records = BTreeMap::from([(one(2), records.collect())]);
            (None, Action::Poll { isolation, records, transaction })
        }
        "assign" => {
            phase = Some(Phase::Ok);
            (None, Action::Assign { positions: BTreeMap::from([(one(2), Some(numbered(3)))]) })
        }
        "closed" => {
            phase = Some(Phase::Ok);
            (None, Action::Closed {})
        }
        "drained" => {
            phase = Some(Phase::Ok);
            let drained = Action::Drained { partitions: vec![one(2)] };
            (Some(drained.clone()), drained)
        }
        "commit" => (Some(Action::Commit { transaction: one(2) }), Action::Commit { transaction: one(2) }),
        "abort" => (Some(Action::Abort { transaction: one(2) }), Action::Abort { transaction: one(2) }),
        "offsets" => {
            let offsets = BTreeMap::from([(one(3), numbered(4))]);
            let commit = Action::CommitOffsets { group: one(2), offsets, transaction };
            (Some(commit.clone()), commit)
        }
        "asks" => {
            let answer = answer.expect("an answer");
            let told = (answer != "none").then(|| answer.parse().expect("an offset"));
            let asked = |offsets| Action::ReadOffsets { group: one(2), offsets };
            (Some(asked(BTreeMap::new())), asked(BTreeMap::from([(one(3), told)])))
        }
        other => panic!("{other}: {line}"),
    };
    let event = |time, phase, action| Event { process: one(0), id: number, time, phase, action };
    let begun = begun.map(|action| event(number * 10, Phase::Invoke, action));
    let ended = phase.map(|phase| event(number * 10 + 5, phase, ended));
    begun.into_iter().chain(ended).collect()
}
