//! Every anomaly in a history that has it, beside one that is nearly the same and has none.

mod common;

use common::{events, history};
use rkafka_history::{Action, Event, History, Kind, Phase};

/// What is wrong, a history with it and nothing else, and one without anything wrong.
const CASES: &[(Kind, &str, &str)] = &[
    (
        Kind::LostWrite,
        "p send t a = 0
         p send t b = 1
         r assign t 0
         r poll t 1:b",
        "p send t a = 0
         p send t b = 1
         r assign t 0
         r poll t 0:a 1:b",
    ),
    (
        // Nothing comes after it: that the reader saw the end shows it.
        Kind::LostWrite,
        "p send t a = 0
         p send t b ok
         r assign t 0
         r poll t 0:a
         r drained t",
        "p send t a = 0
         p send t b info
         r assign t 0
         r poll t 0:a
         r drained t",
    ),
    (
        Kind::LostWrite,
        "p send t a in T = 0
         p send u b in T = 0
         p commit T ok
         r poll t 0:a
         r assign u 0
         r drained u",
        "p send t a in T = 0
         p send u b in T info
         p commit T ok
         r poll t 0:a
         r assign u 0
         r drained u",
    ),
    (
        // Somebody had read it, and the log ends before it now.
        Kind::LostWrite,
        "p send t a = 0
         p send t b info
         q poll t 0:a 1:b
         r assign t 0
         r poll t 0:a
         r drained t",
        "p send t a = 0
         p send t b info
         q poll t 0:a 1:b
         r assign t 0
         r poll t 0:a 1:b
         r drained t",
    ),
    (
        Kind::Duplicate,
        "p send t a ok
         r poll t 0:a 1:a",
        "p send t a ok
         p send t b ok
         r poll t 0:a 1:b",
    ),
    (
        // Who wrote and who read do not mean the same place.
        Kind::InconsistentOffsets,
        "p send t a = 0
         p send t b = 1
         r poll t 0:a 2:b",
        "p send t a = 0
         p send t b = 2
         r poll t 0:a 2:b",
    ),
    (
        Kind::InconsistentOffsets,
        "p send t a ok
         p send t b info
         q poll t 0:a
         r poll t 0:b",
        "p send t a ok
         p send t b info
         q poll t 0:a
         r poll t 1:b",
    ),
    (
        Kind::IntPollSkip,
        "p send t a = 0
         p send t b = 1
         p send t c = 2
         q poll t 0:a 1:b 2:c
         r poll t 0:a 2:c",
        "p send t a = 0
         p send t b = 1
         p send t c = 2
         q poll t 0:a 1:b 2:c
         r poll t 1:b 2:c",
    ),
    (
        Kind::PollSkip,
        "p send t a = 0
         p send t b = 1
         p send t c = 2
         q poll t 0:a 1:b 2:c
         r poll t 0:a
         r poll t 2:c",
        "p send t a = 0
         p send t b = 1
         p send t c = 2
         q poll t 0:a 1:b 2:c
         r poll t 0:a
         r assign t 2
         r poll t 2:c",
    ),
    (
        // What is not committed may be passed over by those who are not shown it, and by no others.
        Kind::PollSkip,
        "p send t a = 0
         p send t b in T = 1
         p abort T ok
         p send t c = 3
         q peek t 0:a 1:b 3:c
         r peek t 0:a
         r peek t 3:c",
        "p send t a = 0
         p send t b in T = 1
         p abort T ok
         p send t c = 3
         q peek t 0:a 1:b 3:c
         r poll t 0:a
         r poll t 3:c",
    ),
    (
        Kind::IntNonmonotonicPoll,
        "p send t a = 0
         p send t b = 1
         r poll t 1:b 0:a",
        "p send t a = 0
         p send t b = 1
         r poll t 0:a 1:b",
    ),
    (
        Kind::NonmonotonicPoll,
        "p send t a = 0
         p send t b = 1
         r poll t 0:a 1:b
         r poll t 0:a",
        "p send t a = 0
         p send t b = 1
         r poll t 0:a 1:b
         r assign t 0
         r poll t 0:a",
    ),
    (
        Kind::IntSendSkip,
        "p send t a in T = 0
         q send t b = 1
         p send t c in T = 2
         p commit T ok
         r poll t 0:a 1:b 2:c",
        "p send t a in T = 0
         q send u b = 0
         p send t c in T = 2
         p commit T ok
         r poll t 0:a 2:c
         r poll u 0:b",
    ),
    (
        Kind::IntNonmonotonicSend,
        "p send t a in T = 1
         p send t b in T = 0
         p commit T ok
         r poll t 0:b 1:a",
        "p send t b in T = 0
         p send t a in T = 1
         p commit T ok
         r poll t 0:b 1:a",
    ),
    (
        Kind::NonmonotonicSend,
        "p send t a = 1
         p send t b ok
         r poll t 0:b 1:a",
        "p send t a = 1
         q send t b ok
         r poll t 0:b 1:a",
    ),
    (
        Kind::AbortedRead,
        "p send t a in T = 0
         p abort T ok
         r poll t 0:a",
        "p send t a in T = 0
         p abort T ok
         r peek t 0:a",
    ),
    (
        // One that was left is aborted.
        Kind::AbortedRead,
        "p send t a in T = 0
         r poll t 0:a",
        "p send t a in T = 0
         p commit T
         r poll t 0:a",
    ),
    (
        Kind::AbortedRead,
        "p send t a fail
         r peek t 0:a",
        "p send t a info
         r peek t 0:a",
    ),
    (
        Kind::TornTransaction,
        "p send t a in T = 0
         p send u b in T = 0
         p commit T info
         r poll t 0:a
         r assign u 0
         r drained u",
        "p send t a in T = 0
         p send u b in T = 0
         p commit T info
         r assign t 0
         r drained t
         r assign u 0
         r drained u",
    ),
    (
        Kind::PrecommittedRead,
        "p send t a in T = 0
         r poll t 0:a
         p commit T ok",
        "p send t a in T = 0
         p commit T ok
         r poll t 0:a",
    ),
    (
        Kind::G0,
        "p send t a in T = 0
         q send t b in U = 1
         q send u c in U = 0
         p send u d in T = 1
         p commit T ok
         q commit U ok
         r poll t 0:a 1:b
         r poll u 0:c 1:d",
        "p send t a in T = 0
         q send t b in U = 1
         q send u c in U = 1
         p send u d in T = 0
         p commit T ok
         q commit U ok
         r poll t 0:a 1:b
         r poll u 0:d 1:c",
    ),
    (
        Kind::G1c,
        "p send t a in T = 0
         q send u b in U = 0
         p commit T info
         q commit U info
         p poll u 0:b in T
         q poll t 0:a in U",
        "p send t a in T = 0
         q send u b in U = 0
         p commit T info
         q commit U info
         p poll u 0:b in T
         q poll t 0:a",
    ),
    (
        Kind::Unseen,
        "p send t a = 0
         p send t b = 1
         r assign t 0
         r poll t 0:a",
        "p send t a = 0
         p send t b = 1
         r assign t 0
         r poll t 0:a
         r poll t 1:b",
    ),
    (
        Kind::PhantomRecord,
        "p send t a = 0
         r poll t 0:a 1:b",
        "p send t a = 0
         p send t b
         r poll t 0:a 1:b",
    ),
    (
        Kind::PhantomRecord,
        "r poll t 0:a
         p send t a = 0",
        "p send t a = 0
         r poll t 0:a",
    ),
    (
        Kind::LostCommit,
        "r offsets g t 5 ok
         r offsets g t 7 ok
         s asks g t = 5",
        "r offsets g t 5 ok
         r offsets g t 7 info
         s asks g t = 5",
    ),
    (
        Kind::LostCommit,
        "r offsets g t 5 ok
         s asks g t = none",
        "r offsets g t 5 fail
         s asks g t = none",
    ),
    (
        // Of a transaction that nobody knows of, the record is there.
        Kind::LostCommit,
        "p send t a in T = 0
         p offsets g t 5 in T ok
         p commit T info
         r poll t 0:a
         s asks g t = none",
        "p send t a in T = 0
         p offsets g t 5 in T ok
         p commit T info
         r poll t 0:a
         s asks g t = 5",
    ),
    (
        // Of a transaction that nobody knows of, the offset is there.
        Kind::TornTransaction,
        "p send t a in T = 0
         p offsets g t 5 in T ok
         p commit T info
         s asks g t = 5
         r assign t 0
         r drained t",
        "p send t a in T = 0
         p offsets g t 5 in T ok
         p commit T info
         r assign t 0
         r drained t",
    ),
    (
        Kind::AbortedCommit,
        "p offsets g t 5 in T ok
         p abort T ok
         s asks g t = 5",
        "p offsets g t 5 in T ok
         p commit T ok
         s asks g t = 5",
    ),
    (
        Kind::PhantomCommit,
        "r offsets g t 5 ok
         s asks g t = 6",
        "r offsets g t 5 ok
         s asks g t = 5",
    ),
    (
        Kind::Unanswered,
        "p send t a
         p closed",
        "p send t a info
         p closed",
    ),
];

#[test]
fn each_anomaly_is_found_by_its_name_and_nothing_where_there_is_none() {
    for (kind, with, without) in CASES {
        let report = history(with).judge();
        assert_eq!(report.kinds(), [*kind], "{with}\n{report}");
        assert_eq!(report.is_valid(), !kind.is_forbidden());
        assert!(report.to_string().contains(kind.name()), "{report}");
        let report = history(without).judge();
        assert!(report.anomalies.is_empty(), "{without}\n{report}");
    }
    let missing: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| CASES.iter().all(|(found, ..)| found != kind)).collect();
    assert_eq!(missing, [Kind::SecondEnd], "kinds without a case; the last has a test of its own");
}

#[test]
fn one_offset_that_two_were_told_is_wrong_whoever_reads_it() {
    let report = history("p send t a = 0\nq send t b = 0").judge();
    assert_eq!(report.kinds(), [Kind::InconsistentOffsets, Kind::Unseen], "{report}");
    let report = history("p send t a = 0\nq send u b = 0").judge();
    assert_eq!(report.kinds(), [Kind::Unseen], "{report}");
}

#[test]
fn an_end_that_comes_twice_is_told() {
    let mut told = events("p send t a = 0\np send t b info\nr poll t 0:a");
    assert!(History::new(told.clone()).unwrap().judge().anomalies.is_empty());
    let mut again = told[1].clone();
    (again.phase, again.time) = (Phase::Fail, 90);
    told.push(again);
    assert_eq!(History::new(told).unwrap().judge().kinds(), [Kind::SecondEnd]);
}

#[test]
fn who_writes_no_history_is_told_where() {
    let wrong = [
        ("p send t a = 0\nq send t a = 1", "a is sent twice, by p and q"),
        ("p send t a = 0", "begins twice"),
        ("p send t a = 0", "ends and never began"),
        ("p send t a = 0", "begins as"),
    ];
    for (number, (script, why)) in wrong.into_iter().enumerate() {
        let mut events = events(script);
        match number {
            1 => events.insert(0, events[0].clone()),
            2 => drop(events.remove(0)),
            3 => events[1].action = Action::Commit { transaction: "T".to_owned() },
            _ => {}
        }
        let told = History::new(events).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn lines_of_json_are_what_events_are() {
    let script = "p send t a in T = 0
         p offsets g t 5 in T ok
         p commit T ok
         r assign t 0
         r poll t 0:a
         r drained t
         s asks g t = 5
         p send u b info
         p closed";
    let text: String = events(script).iter().map(Event::to_json_line).collect();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        [
            r#"{"process":"p","id":1,"time":10,"type":"invoke","f":"send","partition":"t","value":"a","transaction":"T"}"#,
            r#"{"process":"p","id":1,"time":15,"type":"ok","f":"send","partition":"t","value":"a","offset":0,"transaction":"T"}"#,
        ]
    );
    let read = History::from_json_lines(&text).unwrap();
    assert_eq!(read.judge(), history(script).judge());
    assert!(read.judge().anomalies.is_empty(), "{}", read.judge());
    // A writer that was killed in a line has not said it; one that is broken in the midst is a mistake.
    assert_eq!(History::from_json_lines(&format!("{text}{{\"process\":\"p\",")).unwrap().judge(), read.judge());
    let broken = History::from_json_lines(&format!("{{\"process\":\"p\",\n{text}")).unwrap_err();
    assert!(broken.to_string().starts_with("line 1: "), "{broken}");
    // Who was cut off in a line may be one of several files.
    let files = [&text[..text.len() - 1], "{\"proc"];
    assert_eq!(History::from_files(files).unwrap().judge(), read.judge());
}

#[test]
fn processes_may_be_written_down_in_any_order() {
    let script = "p send t a in T = 0
         r poll t 0:a
         p commit T ok";
    let mut mixed = events(script);
    // First all of the reader's, then all of the producer's.
    mixed.sort_by_key(|event| event.process != "r");
    assert_eq!(History::new(mixed).unwrap().judge().kinds(), [Kind::PrecommittedRead]);
}
