//! One group of members of all kinds, from its first member to the judgement over all that was said.

use std::collections::{BTreeMap, BTreeSet};

use rkafka::client::CommittedOffset;
use rkafka::consumer::{Consumer, TopicPartition};
use rkafka_testkit::eventually;

use super::history::{Event, History, Summary};
use super::load::Sampler;
use super::member::{Kind, Member, Settings};
use crate::support::{configure_group, consumer_config, in_time};

pub(super) const PARTITIONS: i32 = 6;

/// How long a group believes in a member that is silent, in milliseconds: longer than a busy machine makes one wait.
pub(super) const SHORT_SESSION: &str = "4000";
/// The same where nobody is to be given up: longer than any member is away.
pub(super) const LONG_SESSION: &str = "55000";

/// A protocol with what its members are to be told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// The classic one, with an assignor.
    Classic(&'static str),
    /// KIP-848.
    Consumer,
}

impl Protocol {
    /// Settings that members of this protocol have, and those of the other do not.
    fn settings(self, session: &str) -> Vec<(&'static str, String)> {
        match self {
            Self::Classic(assignor) => vec![
                ("partition.assignment.strategy", assignor.to_owned()),
                ("session.timeout.ms", session.to_owned()),
                ("heartbeat.interval.ms", "400".to_owned()),
            ],
            Self::Consumer => vec![("group.protocol", "consumer".to_owned())],
        }
    }
}

/// A group with its members.
pub(super) struct Group {
    pub(super) bootstrap: String,
    pub(super) topic: String,
    pub(super) id: String,
    pub(super) members: Vec<Member>,
    folder: tempfile::TempDir,
    sampler: Sampler,
    session: &'static str,
    commits_may_fail: bool,
}

impl Group {
    /// A group without members.
    pub(super) async fn begin(bootstrap: &str, topic: &str, id: &str, session: &'static str) -> Self {
        let settings = [("consumer.session.timeout.ms", session), ("consumer.heartbeat.interval.ms", "400")];
        configure_group(bootstrap, id, &settings).await;
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            id: id.to_owned(),
            members: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
            sampler: Sampler::begin(bootstrap, id, topic, PARTITIONS),
            session,
            commits_may_fail: false,
        }
    }

    /// Commits that nobody waits for may fail, as a broker may be away.
    pub(super) fn excuse_commits(&mut self) {
        self.commits_may_fail = true;
    }

    fn settings(&self, protocol: Protocol, more: &[(&str, &str)]) -> Settings {
        let mut all = vec![("bootstrap.servers", self.bootstrap.clone()), ("group.id", self.id.clone())];
        all.extend(protocol.settings(self.session));
        all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(super) fn add(&mut self, kind: Kind, name: &str, protocol: Protocol, more: &[(&str, &str)]) {
        let settings = self.settings(protocol, more);
        self.members.push(Member::new(kind, name, settings));
    }

    /// Has a member speak another protocol in the lives to come.
    pub(super) fn change_protocol(&mut self, member: usize, protocol: Protocol) {
        self.members[member].settings = self.settings(protocol, &[]);
    }

    pub(super) fn start(&mut self, member: usize) {
        self.members[member].start(&self.topic, self.folder.path());
    }

    pub(super) fn start_all(&mut self) {
        (0..self.members.len()).for_each(|member| self.start(member));
    }

    /// Waits until the members that run own all partitions between them, each in one place, and each has a share.
    pub(super) async fn settled(&mut self, when: &str) {
        self.settled_without(when, None).await;
    }

    /// As [`settled`](Self::settled), of all but one: it may think what it likes.
    pub(super) async fn settled_without(&mut self, when: &str, but: Option<usize>) {
        let members = std::sync::Mutex::new(&mut self.members);
        eventually(&format!("the group settles {when}"), || async {
            let mut members = members.lock().expect("no panic");
            members.iter_mut().for_each(Member::refresh);
            let counted = || members.iter().enumerate().filter(|(at, member)| member.is_running() && Some(*at) != but);
            let shares: Vec<BTreeSet<i32>> = counted().map(|(_, member)| member.owned()).collect();
            let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
            let total: usize = shares.iter().map(BTreeSet::len).sum();
            let whole = total == all.len() && all.len() == PARTITIONS as usize;
            if whole && shares.iter().all(|share| !share.is_empty()) {
                Ok(())
            } else {
                Err(members.iter().map(Member::lately).collect::<Vec<_>>().join("\n"))
            }
        })
        .await;
    }

    /// Waits until each partition is read further than it is now.
    pub(super) async fn goes_on(&mut self, when: &str) {
        self.go_on(when, (0..PARTITIONS).collect()).await;
    }

    /// Waits until all partitions but those that a member owned are read further than they are now.
    pub(super) async fn goes_on_without(&mut self, member: usize) {
        let others = self.members.iter().flat_map(Member::owned).collect();
        self.go_on(&format!("without {}", self.members[member].name), others).await;
    }

    async fn go_on(&mut self, when: &str, partitions: BTreeSet<i32>) {
        let furthest = |members: &mut Vec<Member>| {
            let mut read: BTreeMap<i32, i64> = BTreeMap::new();
            for member in members {
                member.refresh();
                for (_, event) in member.events() {
                    if let Event::Read { partition, offset, .. } = event {
                        let known = read.entry(*partition).or_default();
                        *known = (*offset).max(*known);
                    }
                }
            }
            read
        };
        let before = furthest(&mut self.members);
        let members = std::sync::Mutex::new(&mut self.members);
        eventually(&format!("group {} goes on {when}", self.id), || async {
            let mut members = members.lock().expect("no panic");
            let now = furthest(&mut members);
            let stuck: Vec<&i32> = partitions.iter().filter(|at| now.get(at) <= before.get(at)).collect();
            let lately = || members.iter().map(Member::lately).collect::<Vec<_>>().join("\n");
            if stuck.is_empty() { Ok(()) } else { Err(format!("{stuck:?} from {before:?}\n{}", lately())) }
        })
        .await;
    }

    /// Waits until all that was sent is committed, ends the members in good order, and judges.
    pub(super) async fn finish(mut self, sent: &BTreeMap<i32, Vec<String>>) -> Summary {
        let config = consumer_config(&self.bootstrap).group_id(&*self.id);
        let observer = Consumer::connect(config).await.expect("a consumer");
        let places: Vec<_> = (0..PARTITIONS).map(|at| TopicPartition::new(&*self.topic, at)).collect();
        let observer = observer.handle();
        let ends = in_time("the ends", observer.end_offsets(&places)).await.expect("the ends");
        let members = &self.members;
        eventually("everything is committed", || async {
            let committed = observer.committed(&places).await.map_err(|error| error.to_string())?;
            let offset = |at: Option<CommittedOffset>| at.map_or(0, |at| at.offset);
            let committed: Vec<_> = committed.into_iter().map(|(place, at)| (place, offset(at))).collect();
            let lately = || members.iter().map(Member::lately).collect::<Vec<_>>().join("\n");
            if committed == ends { Ok(()) } else { Err(format!("{committed:?} of {ends:?}\n{}", lately())) }
        })
        .await;
        for member in &mut self.members {
            member.stop().await;
        }
        let history = History {
            lives: self.members.iter_mut().flat_map(Member::histories).collect(),
            sent: sent.clone(),
            samples: self.sampler.end().await,
            commits_may_fail: self.commits_may_fail,
        };
        let summary = match history.judge() {
            Ok(summary) => summary,
            Err(wrong) => {
                let said = self.folder.keep();
                panic!("group {}: {wrong}{}what everybody said is in {}", self.id, history.moves(), said.display());
            }
        };
        if summary.lost > 0 {
            super::say(&history.moves());
        }
        summary
    }
}
