//! The judge of histories must find what is planted in them.

use super::history::{End, Event, History, Life, Sample};

fn life(name: &str, lines: &[&str], end: Option<(u64, End)>) -> Life {
    let events = lines.iter().map(|line| Event::parse(line).unwrap_or_else(|| panic!("{line}"))).collect();
    let (name, identity) = (name.to_owned(), name.to_owned());
    Life { name, identity, events, gives_up_what_it_was_not_told: false, end }
}

fn history(lives: Vec<Life>) -> History {
    let sent = [(0, ["a", "b", "c", "d"].map(str::to_owned).to_vec())].into();
    History { lives, sent, samples: Vec::new(), commits_may_fail: false }
}

const FIRST: [&str; 5] = ["10 assigned 1 0", "11 read 0 0 a", "12 read 0 1 b", "13 committed 0:2", "20 revoked 1 0"];
const SECOND: [&str; 4] = ["30 assigned 2 0", "31 read 0 2 c", "32 read 0 3 d", "33 committed 0:4"];

fn wrong(history: &History, expected: &str) {
    let judged = history.judge().expect_err(expected);
    assert!(judged.contains(expected), "{expected:?} is not in {judged}");
}

#[test]
fn a_good_history_has_nothing_wrong() {
    let stopped = Some((21, End::Stopped));
    let good = history(vec![life("one", &FIRST, stopped), life("two", &SECOND, None)]);
    let summary = good.judge().expect("nothing is wrong");
    assert_eq!((summary.lives, summary.records, summary.reads, summary.ownerships, summary.lost), (2, 4, 4, 2, 0));
    // Who is killed may leave work to be done again.
    let killed = life("one", &["10 assigned 1 0", "11 read 0 0 a", "12 read 0 1 b"], Some((21, End::Killed)));
    let again = ["30 assigned 2 0", "31 read 0 0 a", "32 read 0 1 b", "33 read 0 2 c", "34 read 0 3 d"];
    history(vec![killed, life("two", &again, None)]).judge().expect("nothing is wrong");
}

#[test]
fn who_was_put_out_may_learn_it_late() {
    let out = ["10 assigned 1 0", "11 read 0 0 a", "12 read 0 1 b", "35 fatal FENCED_INSTANCE_ID", "36 revoked 1 0"];
    let next = ["30 assigned 2 0", "31 read 0 0 a", "32 read 0 1 b", "33 read 0 2 c", "34 read 0 3 d"];
    let judged = history(vec![life("one", &out, Some((37, End::Stopped))), life("two", &next, None)]).judge();
    assert_eq!(judged.expect("nothing is wrong").lost, 1);
    let lost = [&out[..3], &["36 lost -1 0"]].concat();
    history(vec![life("one", &lost, None), life("two", &next, None)]).judge().expect("nothing is wrong");
    // It is not excused where it is in one generation with another, or reads on.
    let same = [&["30 assigned 1 0"], &next[1..]].concat();
    wrong(&history(vec![life("one", &lost, None), life("two", &same, None)]), "two owners in one generation");
    let on = [&lost[..], &["37 read 0 2 c"]].concat();
    wrong(&history(vec![life("one", &on, None), life("two", &next, None)]), "not its own");
}

#[test]
fn what_is_planted_is_found() {
    let stopped = Some((21, End::Stopped));
    let two = |second: &[&str]| history(vec![life("one", &FIRST, stopped), life("two", second, None)]);
    wrong(&two(&SECOND[..2]), "d was acknowledged and never read");
    wrong(&two(&["30 assigned 2 0", "31 read 0 3 d"]), "c was acknowledged and never read");
    wrong(&two(&["30 assigned 2 0", "31 read 0 3 d", "32 read 0 2 c"]), "has 2 after 3");
    wrong(&two(&["30 assigned 2 0", "31 read 0 2 d", "32 read 0 3 c"]), "d is out of order");
    wrong(&two(&["30 assigned 2 0", "31 read 0 2 c", "32 read 0 3 c"]), "c is there at 2 and at 3");
    wrong(&two(&["15 assigned 2 0", "31 read 0 2 c", "32 read 0 3 d"]), "two owners at one time");
    wrong(&two(&["30 assigned 1 0", "31 read 0 2 c", "32 read 0 3 d"]), "two owners in one generation");
    wrong(&two(&["31 read 0 2 c", "32 read 0 3 d"]), "not its own");
    wrong(&two(&["30 assigned 2 0", "31 read 0 1 b", "32 read 0 2 c", "33 read 0 3 d"]), "was committed");
    wrong(&two(&["30 assigned 2 0", "30 assigned 2 0", "31 read 0 2 c", "32 read 0 3 d"]), "given twice");
    wrong(&two(&["30 revoked 2 0", "31 assigned 2 0"]), "taken and never given");
    wrong(&two(&[&SECOND[..], &["40 revoked 2 0 1"]].concat()), "taken and never given");
    // Given up in good order, and not committed.
    let silent = life("one", &["10 assigned 1 0", "11 read 0 0 a", "12 read 0 1 b", "20 revoked 1 0"], stopped);
    let again = ["30 assigned 2 0", "31 read 0 1 b", "32 read 0 2 c", "33 read 0 3 d"];
    wrong(&history(vec![silent.clone(), life("two", &again, None)]), "was committed");
    let mut excused = history(vec![silent, life("two", &again, None)]);
    excused.commits_may_fail = true;
    excused.judge().expect("nothing is wrong");
    // Begun in the middle, and the rest later.
    let early = life("one", &["10 assigned 1 0", "11 read 0 2 c", "12 read 0 3 d"], Some((21, End::Killed)));
    let late = ["30 assigned 2 0", "31 read 0 0 a", "32 read 0 1 b", "33 read 0 2 c", "34 read 0 3 d"];
    wrong(&history(vec![early, life("two", &late, None)]), "not all before is read");
}

#[test]
fn javas_consumer_may_give_up_at_its_close_what_it_was_not_told_of() {
    let stopped = Some((41, End::Stopped));
    let one = life("one", &FIRST, Some((21, End::Stopped)));
    let mut closed = life("two", &[&SECOND[..], &["40 revoked 2 0 1"]].concat(), stopped);
    wrong(&history(vec![one.clone(), closed.clone()]), "taken and never given");
    closed.gives_up_what_it_was_not_told = true;
    history(vec![one.clone(), closed.clone()]).judge().expect("nothing is wrong");
    // Only at its close.
    closed.events.push((41, Event::Assigned(Some(3), vec![0])));
    wrong(&history(vec![one, closed]), "taken and never given");
}

#[test]
fn committed_offsets_are_held_against_what_was_read() {
    let lives = vec![life("one", &FIRST, Some((21, End::Stopped))), life("two", &SECOND, None)];
    let sampled = |samples: &[(u64, i64)]| {
        let samples = samples.iter().map(|(at, offset)| (at, *offset));
        let samples = samples.map(|(at, offset)| Sample { asked: *at, answered: *at, partition: 0, offset });
        History { samples: samples.collect(), ..history(lives.clone()) }
    };
    sampled(&[(12, 2), (13, 2), (33, 4)]).judge().expect("nothing is wrong");
    wrong(&sampled(&[(11, 2)]), "is committed at 11 and not read");
    wrong(&sampled(&[(31, 4)]), "is committed at 31 and not read");
    wrong(&sampled(&[(13, 2), (40, 1)]), "goes back from 2 to 1");
    wrong(&sampled(&[(13, 2), (25, 3)]), "is committed at 25 and not read");
}
