//! The steward: keeps the view of the cluster fresh, looks offsets up, and sees that every leader has its fetcher.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rkafka_client_core::{Cluster, Topics};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock;
use crate::driver::fetcher;
use crate::driver::member::MemberNews;
use crate::driver::offsets::{self, Answers, EpochQuery, Query};
use crate::error::ConsumerError;
use crate::handle::ConsumerHandle;
use crate::machine::positions::{Leader, Lookup, Question, TopicView};
use crate::pattern::TopicPattern;
use crate::shared::{Mode, Shared, State, Subscription};
use crate::subscription::TopicPartition;

/// Ends the fetchers with the steward.
#[derive(Default)]
struct Fetchers(HashMap<i32, JoinHandle<()>>);

impl Drop for Fetchers {
    fn drop(&mut self) {
        for (_, task) in self.0.drain() {
            task.abort();
        }
    }
}

/// What a task of the steward has done.
enum Done {
    Lookup,
    /// With the cluster, where all of its topics were asked for.
    Refresh {
        failed: bool,
        all: Option<Arc<Cluster>>,
    },
}

/// Closes the consumer with the steward, whatever ends that: the runtime may be gone, and nothing would come any more.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        ConsumerHandle::of(&self.0).mark_closed();
    }
}

/// Runs until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>, member: mpsc::UnboundedSender<MemberNews>) {
    let _ending = Ending(Arc::clone(&shared));
    let mut fetchers = Fetchers::default();
    let mut tasks = JoinSet::new();
    let mut missing = Missing::default();
    let mut changes = shared.client.cluster_changes();
    let mut refreshing = false;
    let mut failures: u32 = 0;
    let mut next_refresh = clock::now();
    // When all topics of the cluster were fetched, for a pattern.
    let mut seen_all: Option<Instant> = None;
    loop {
        let mut woken = std::pin::pin!(shared.steward.notified());
        woken.as_mut().enable();
        let now = clock::now();
        let cluster = Arc::clone(&changes.borrow_and_update());
        watch_topics(&shared, &cluster, &member);
        let looks_for_all = has_pattern(&shared, &mut seen_all);
        let Plan { topics, unknown, leaders, due, next } = plan(&shared, &cluster, &mut missing, now);
        let mut deadline = next;
        let all_due = looks_for_all.then(|| seen_all.map_or(now, |at| at + shared.config.client.metadata_max_age));
        let wants_all = all_due.is_some_and(|due| due <= now);
        let wants_some = !topics.is_empty() && (unknown || shared.stale.load(Ordering::Acquire));
        if (wants_all || wants_some) && !refreshing {
            if now >= next_refresh {
                refreshing = true;
                shared.stale.store(false, Ordering::Release);
                let wait = shared.config.client.retry_policy().delay(failures, &mut rand::rng());
                failures = failures.saturating_add(1);
                next_refresh = now + wait;
                let shared = Arc::clone(&shared);
                tasks.spawn(async move { refresh(&shared, topics, wants_all).await });
            } else {
                deadline = Some(deadline.map_or(next_refresh, |other| other.min(next_refresh)));
            }
        } else if !unknown && !wants_all {
            failures = 0;
        }
        deadline = [deadline, all_due.filter(|_| !refreshing && !wants_all)].into_iter().flatten().min();
        for (whom, lookups) in in_groups(due) {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                look_up(&shared, whom, lookups).await;
                Done::Lookup
            });
        }
        fetchers.0.retain(|broker, task| {
            let keep = leaders.contains(broker) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for broker in leaders {
            fetchers.0.entry(broker).or_insert_with(|| clock::spawn(fetcher::run(Arc::clone(&shared), broker)));
        }
        shared.fetchers.notify_waiters();
        tokio::select! {
            () = woken => {}
            Ok(()) = changes.changed() => {}
            Some(done) = tasks.join_next() => if let Ok(Done::Refresh { failed, all }) = done {
                refreshing = false;
                if let Some(all) = all {
                    seen_all = Some(clock::now());
                    match_pattern(&shared, &all, &member);
                }
                if failed {
                    shared.stale.store(true, Ordering::Release);
                }
            },
            () = clock::sleep_until(deadline) => {}
        }
    }
}

/// What the state asks for.
struct Plan {
    topics: Vec<String>,
    /// A topic or a leader is not known.
    unknown: bool,
    leaders: BTreeSet<i32>,
    due: Vec<Lookup>,
    next: Option<Instant>,
}

/// Shows the state the cluster, and sees what it asks for, under one lock.
fn plan(shared: &Shared, cluster: &Cluster, missing: &mut Missing, now: Instant) -> Plan {
    let mut state = shared.lock();
    let topics = wanted_topics(&state);
    let views = views(cluster, state.positions.topics());
    let made_anew = state.positions.on_metadata(|topic| views.get(topic));
    if !made_anew.is_empty() {
        state.inbox.purge();
    }
    for (topic, partition, error) in made_anew {
        if let Some(source) = error {
            state.tell(ConsumerError::Partition { partition: TopicPartition { topic, partition }, source });
        }
    }
    let next_preference = state.positions.expire_preferences(now);
    let next_missing = missing.note(shared, &mut state, cluster, now);
    missing.note_subscribed(&state, cluster);
    let due = state.positions.take_lookups(now);
    Plan {
        unknown: state.positions.take_stale()
            || state.positions.lacks_leader()
            || topics.iter().any(|topic| cluster.topic(topic).is_none()),
        topics,
        leaders: state.positions.sources(),
        due,
        next: [state.positions.deadline(now), next_missing, next_preference].into_iter().flatten().min(),
    }
}

/// The topics whose metadata is needed.
fn wanted_topics(state: &State) -> Vec<String> {
    let mut topics: Vec<String> = state.positions.topics().map(|topic| topic.to_string()).collect();
    if let Mode::Group(subscription) = &state.mode {
        topics.extend(subscription.topics.iter().cloned());
    }
    if let Some(shared_out) = &state.shared_out {
        topics.extend(shared_out.keys().cloned());
    }
    topics.sort();
    topics.dedup();
    topics
}

async fn refresh(shared: &Shared, topics: Vec<String>, of_all: bool) -> Done {
    let fetched = if of_all {
        shared.client.refresh(Topics::All).await
    } else {
        shared.client.refresh(Topics::named(topics)).await
    };
    match fetched {
        Ok(cluster) => Done::Refresh { failed: false, all: of_all.then_some(cluster) },
        Err(error) => {
            if error.is_retriable() {
                tracing::debug!(%error, "metadata could not be fetched, and is asked for again");
            } else {
                shared.lock().tell(ConsumerError::Client { doing: "fetching metadata", source: error });
            }
            Done::Refresh { failed: true, all: None }
        }
    }
}

/// Whether topics are subscribed by a pattern that this side matches. A new one has all topics looked at again.
fn has_pattern(shared: &Shared, seen_all: &mut Option<Instant>) -> bool {
    if shared.pattern_is_new.swap(false, Ordering::AcqRel) {
        *seen_all = None;
    }
    let state = shared.lock();
    matches!(&state.mode, Mode::Group(Subscription { pattern: Some(TopicPattern::OfClient { .. }), .. }))
}

/// Finds the topics that a pattern of this side means among all of the cluster's, and tells the member where they are
/// others than before.
fn match_pattern(shared: &Shared, all: &Cluster, member: &mpsc::UnboundedSender<MemberNews>) {
    let mut state = shared.lock();
    let Mode::Group(subscription) = &mut state.mode else { return };
    let Some(TopicPattern::OfClient { regex, is_resolved, .. }) = &mut subscription.pattern else { return };
    let with_internal = !shared.config.exclude_internal_topics;
    let is_meant = |name: &str, is_internal: bool| (with_internal || !is_internal) && regex.is_match(name);
    let meant = all.topics().filter(|topic| is_meant(&topic.name, topic.is_internal));
    let mut topics: Vec<String> = meant.map(|topic| topic.name.clone()).collect();
    topics.sort();
    if !*is_resolved || topics != subscription.topics {
        *is_resolved = true;
        subscription.topics = topics;
        let _ = member.send(MemberNews::SubscriptionChanged);
    }
}

/// What the cluster says of these topics.
fn views<'a>(cluster: &Cluster, topics: impl Iterator<Item = &'a Arc<str>>) -> HashMap<String, TopicView> {
    topics
        .filter_map(|name| {
            let topic = cluster.topic(name)?;
            let leaders = topic
                .partitions
                .iter()
                .filter_map(|partition| {
                    let leader = Leader { broker: partition.leader?, epoch: partition.leader_epoch };
                    Some((partition.index, leader))
                })
                .collect();
            Some((name.to_string(), TopicView { id: topic.id, leaders }))
        })
        .collect()
}

/// Tells the member when a topic has other partitions than it had when this member shared them out.
fn watch_topics(shared: &Shared, cluster: &Cluster, member: &mpsc::UnboundedSender<MemberNews>) {
    let mut state = shared.lock();
    let Some(shared_out) = &mut state.shared_out else { return };
    let mut changed = false;
    for (topic, count) in shared_out.iter_mut() {
        let now = match cluster.topic(topic) {
            Some(topic) => topic.partitions.len(),
            // Gone, as far as the broker that was asked knows. Java shares out anew then, and again when it is back.
            None if cluster.topic_error(topic).is_some() => 0,
            None => continue,
        };
        if now != *count {
            *count = now;
            changed = true;
        }
    }
    if changed {
        let _ = member.send(MemberNews::TopicsChanged);
    }
}

/// Assigned partitions that the cluster does not know.
#[derive(Default)]
struct Missing {
    since: HashMap<TopicPartition, Instant>,
    told: HashSet<TopicPartition>,
    /// Topics that are subscribed and cannot be read, and which the log speaks of.
    subscribed: HashSet<String>,
}

impl Missing {
    /// Logs which subscribed topics the brokers refuse to tell of: a name that is misspelt would give nothing for ever.
    fn note_subscribed(&mut self, state: &State, cluster: &Cluster) {
        let Mode::Group(subscription) = &state.mode else { return self.subscribed.clear() };
        self.subscribed.retain(|topic| subscription.topics.contains(topic) && cluster.topic_error(topic).is_some());
        for topic in &subscription.topics {
            if let Some(error) = cluster.topic_error(topic)
                && self.subscribed.insert(topic.clone())
            {
                tracing::warn!(topic, %error, "a subscribed topic gives nothing until this has changed");
            }
        }
    }

    /// Tells the application of partitions that are missing for too long, and says when to look again.
    fn note(&mut self, shared: &Shared, state: &mut State, cluster: &Cluster, now: Instant) -> Option<Instant> {
        let missing: HashSet<TopicPartition> = state
            .positions
            .assignment()
            .into_iter()
            .filter(|(topic, partition)| cluster.topic(topic).is_none_or(|topic| topic.partition(*partition).is_none()))
            .map(TopicPartition::from)
            .collect();
        self.since.retain(|place, _| missing.contains(place));
        self.told.retain(|place| missing.contains(place));
        let limit = shared.config.topic_metadata_propagation_max;
        let mut next: Option<Instant> = None;
        for place in missing {
            let since = *self.since.entry(place.clone()).or_insert(now);
            let waited = now.saturating_duration_since(since);
            if waited >= limit && self.told.insert(place.clone()) {
                state.tell(ConsumerError::UnknownTopicOrPartition { partition: place.clone(), waited });
            }
            if !self.told.contains(&place) {
                let due = since + limit;
                next = Some(next.map_or(due, |other| other.min(due)));
            }
        }
        next
    }
}

/// Who is asked, by what request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Coordinator,
    /// The leader, by ListOffsets.
    Offsets(i32),
    /// The leader, by OffsetForLeaderEpoch.
    Epochs(i32),
}

/// Lookups that go together in one request.
fn in_groups(due: Vec<Lookup>) -> BTreeMap<Whom, Vec<Lookup>> {
    let mut groups: BTreeMap<Whom, Vec<Lookup>> = BTreeMap::new();
    for lookup in due {
        // What is asked of a leader is taken out only while there is one.
        let leader = lookup.leader.map_or(-1, |leader| leader.broker);
        let whom = match lookup.question {
            Question::Committed => Whom::Coordinator,
            Question::At(_) | Question::Ago(_) => Whom::Offsets(leader),
            Question::EndOfEpoch(_) => Whom::Epochs(leader),
        };
        groups.entry(whom).or_default().push(lookup);
    }
    groups
}

/// ListOffsets' timestamp of a question.
fn timestamp(question: Question) -> i64 {
    match question {
        Question::At(timestamp) => timestamp,
        Question::Ago(ago) => {
            clock::unix_ms().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)).max(0)
        }
        Question::Committed | Question::EndOfEpoch(_) => crate::machine::positions::LATEST_TIMESTAMP,
    }
}

/// An offset and the leader epoch that belongs to it, -1 where that is not known.
type OffsetAndEpoch = (i64, i32);

async fn ask(shared: &Shared, whom: Whom, lookups: &[Lookup]) -> Result<Answers<OffsetAndEpoch>, ConsumerError> {
    let doing = |doing| move |source| ConsumerError::Client { doing, source };
    match whom {
        Whom::Offsets(broker) => {
            let queries: Vec<Query> = lookups
                .iter()
                .map(|lookup| Query {
                    topic: Arc::clone(&lookup.topic),
                    partition: lookup.partition,
                    leader_epoch: lookup.leader.map_or(-1, |leader| leader.epoch),
                    timestamp: timestamp(lookup.question),
                })
                .collect();
            let answers = offsets::list(shared, broker, &queries).await.map_err(doing("looking offsets up"))?;
            Ok(answers.map(|at| (at.offset, at.leader_epoch)))
        }
        Whom::Epochs(broker) => {
            let queries: Vec<EpochQuery> = lookups
                .iter()
                .map(|lookup| EpochQuery {
                    topic: Arc::clone(&lookup.topic),
                    partition: lookup.partition,
                    leader_epoch: lookup.leader.map_or(-1, |leader| leader.epoch),
                    epoch: match lookup.question {
                        Question::EndOfEpoch(epoch) => epoch,
                        _ => -1,
                    },
                })
                .collect();
            offsets::ends_of_epochs(shared, broker, &queries).await.map_err(doing("checking positions"))
        }
        Whom::Coordinator => {
            let places: Vec<TopicPartition> = lookups
                .iter()
                .map(|lookup| TopicPartition { topic: Arc::clone(&lookup.topic), partition: lookup.partition })
                .collect();
            let answers = offsets::committed(shared, &places).await?;
            Ok(answers.map(|at| (at.offset, at.leader_epoch.unwrap_or(-1))))
        }
    }
}

async fn look_up(shared: &Shared, whom: Whom, lookups: Vec<Lookup>) {
    let answers = ask(shared, whom, &lookups).await;
    let now = clock::now();
    let mut state = shared.lock();
    match answers {
        Ok(answers) => {
            for lookup in &lookups {
                match answers.get(&lookup.topic, lookup.partition) {
                    Some(answer) => {
                        if answer.as_ref().is_err_and(|code| code.is_stale_metadata()) {
                            shared.refresh_metadata();
                        }
                        if let Some(source) = state.positions.on_lookup(lookup, *answer, now) {
                            let partition =
                                TopicPartition { topic: Arc::clone(&lookup.topic), partition: lookup.partition };
                            state.tell(ConsumerError::Partition { partition, source });
                        }
                    }
                    None => state.positions.on_lookup_lost(lookup, now),
                }
            }
        }
        Err(error) => {
            for lookup in &lookups {
                state.positions.on_lookup_lost(lookup, now);
            }
            if let ConsumerError::Client { source, .. } = &error
                && source.is_stale_metadata()
            {
                shared.refresh_metadata();
            }
            if error.is_retriable() {
                tracing::debug!(%error, "a lookup of offsets failed, and is made again");
            } else {
                state.tell(error);
            }
        }
    }
    drop(state);
    shared.fetchers.notify_waiters();
    // An answer may lead to the next question, or to one that is asked again after a backoff.
    shared.steward.notify_one();
}
