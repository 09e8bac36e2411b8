//! Questions to other nodes that go together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rkafka_protocol::ErrorCode;
use tokio::sync::oneshot;

use crate::locks::lock;

/// How many questions go together at most, so that no request grows without bound; the others go with the next.
const TOGETHER_MAX: usize = 500;

/// Questions to other nodes, of which those that wait for the same node are asked together, one time after the other.
///
/// Nothing runs in the background: whoever is first asks for all that wait. Where that one is dropped meanwhile, the
/// others ask again, so a question must be one that may be asked twice.
#[derive(Debug)]
pub(crate) struct Gathering<Q, A> {
    queues: Mutex<BTreeMap<i32, Arc<Queue<Q, A>>>>,
}

type Answered<A> = Result<A, ErrorCode>;

#[derive(Debug)]
struct Queue<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<Answered<A>>)>>,
    /// Held by who asks.
    turn: tokio::sync::Mutex<()>,
}

impl<Q, A> Default for Gathering<Q, A> {
    fn default() -> Self {
        Self { queues: Mutex::default() }
    }
}

impl<Q, A> Queue<Q, A> {
    fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), turn: tokio::sync::Mutex::default() }
    }

    /// What is asked next: of questions that `differ` says must not go together, only the first.
    fn take(&self, differ: impl Fn(&Q, &Q) -> bool) -> (Vec<Q>, Vec<oneshot::Sender<Answered<A>>>) {
        let mut waiting = lock(&self.waiting);
        let (mut taken, mut senders, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (question, sender) in waiting.drain(..) {
            if sender.is_closed() {
                continue;
            }
            if taken.len() < TOGETHER_MAX && taken.iter().all(|other| differ(other, &question)) {
                taken.push(question);
                senders.push(sender);
            } else {
                left.push((question, sender));
            }
        }
        *waiting = left;
        (taken, senders)
    }
}

impl<Q: Clone, A> Gathering<Q, A> {
    /// Asks `node`. `ask` carries questions there and gives an answer to each, in their order; two of which `differ` says
    /// no do not go together.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As `ask`, for all that it asked; `UNKNOWN_SERVER_ERROR` where it does not give as many answers as there were
    /// questions.
    pub async fn ask<F>(
        &self,
        node: i32,
        question: Q,
        differ: impl Fn(&Q, &Q) -> bool,
        ask: impl Fn(Vec<Q>) -> F,
    ) -> Answered<A>
    where
        F: Future<Output = Result<Vec<A>, ErrorCode>>,
    {
        let queue = Arc::clone(lock(&self.queues).entry(node).or_insert_with(|| Arc::new(Queue::new())));
        loop {
            let (sender, mut answer) = oneshot::channel();
            lock(&queue.waiting).push((question.clone(), sender));
            // Several turns may go by where many wait.
            loop {
                let turn = tokio::select! {
                    biased;
                    answered = &mut answer => match answered {
                        Ok(answered) => return answered,
                        Err(_) => break,
                    },
                    turn = queue.turn.lock() => turn,
                };
                // What it was dropped with came while the turn did.
                match answer.try_recv() {
                    Ok(answered) => return answered,
                    Err(oneshot::error::TryRecvError::Closed) => break,
                    Err(oneshot::error::TryRecvError::Empty) => {}
                }
                let (questions, senders) = queue.take(&differ);
                let count = questions.len();
                let answers = ask(questions).await.and_then(|answers| {
                    if answers.len() == count { Ok(answers) } else { Err(ErrorCode::UnknownServerError) }
                });
                match answers {
                    Ok(answers) => {
                        for (sender, answer) in senders.into_iter().zip(answers) {
                            // A receiver that is gone does not want to know any more.
                            let _ = sender.send(Ok(answer));
                        }
                    }
                    Err(error) => senders.into_iter().for_each(|sender| drop(sender.send(Err(error)))),
                }
                drop(turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    #[derive(Default)]
    struct Node {
        asked: Mutex<Vec<Vec<u32>>>,
        free: Notify,
    }

    impl Node {
        async fn answer(&self, questions: Vec<u32>) -> Result<Vec<u32>, ErrorCode> {
            lock(&self.asked).push(questions.clone());
            self.free.notified().await;
            if questions.contains(&13) {
                return Err(ErrorCode::BrokerNotAvailable);
            }
            Ok(questions.iter().map(|question| question * 10).collect())
        }
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn ask(
        asking: &mut JoinSet<(u32, Answered<u32>)>,
        gathering: &Arc<Gathering<u32, u32>>,
        node: &Arc<Node>,
        question: u32,
    ) -> tokio::task::AbortHandle {
        let (gathering, node) = (Arc::clone(gathering), Arc::clone(node));
        asking.spawn(async move {
            let differ = |one: &u32, other: &u32| one % 100 != other % 100;
            (question, gathering.ask(1, question, differ, |questions| node.answer(questions)).await)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_together_and_each_gets_its_own_answer() {
        let (gathering, node) = (Arc::new(Gathering::default()), Arc::new(Node::default()));
        let mut asking = JoinSet::new();
        for question in [1, 2, 3, 102, 4] {
            ask(&mut asking, &gathering, &node, question);
            settle().await;
        }
        for _ in 0..3 {
            node.free.notify_one();
            settle().await;
        }
        let mut answers: Vec<_> = asking.join_all().await;
        answers.sort_unstable_by_key(|(question, _)| *question);
        assert_eq!(answers, [1, 2, 3, 4, 102].map(|question| (question, Ok(question * 10))));
        assert_eq!(*lock(&node.asked), [vec![1], vec![2, 3, 4], vec![102]]);
    }

    #[tokio::test(start_paused = true)]
    async fn others_ask_again_where_the_one_who_asked_is_gone() {
        let (gathering, node) = (Arc::new(Gathering::default()), Arc::new(Node::default()));
        let mut asking = JoinSet::new();
        ask(&mut asking, &gathering, &node, 1);
        settle().await;
        let second = ask(&mut asking, &gathering, &node, 2);
        settle().await;
        ask(&mut asking, &gathering, &node, 3);
        settle().await;
        node.free.notify_one();
        settle().await;
        // It asks for itself and the third.
        assert_eq!(*lock(&node.asked), [vec![1], vec![2, 3]]);
        second.abort();
        settle().await;
        assert_eq!(*lock(&node.asked), [vec![1], vec![2, 3], vec![3]]);
        node.free.notify_one();
        settle().await;
        let answers: Vec<_> = std::iter::from_fn(|| asking.try_join_next()).filter_map(Result::ok).collect();
        assert_eq!(answers, [(1, Ok(10)), (3, Ok(30))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybodys() {
        let (gathering, node) = (Arc::new(Gathering::default()), Arc::new(Node::default()));
        let mut asking = JoinSet::new();
        for question in [1, 13, 3] {
            ask(&mut asking, &gathering, &node, question);
            settle().await;
        }
        for _ in 0..2 {
            node.free.notify_one();
            settle().await;
        }
        let mut answers: Vec<_> = asking.join_all().await;
        answers.sort_unstable_by_key(|(question, _)| *question);
        let failed = Err(ErrorCode::BrokerNotAvailable);
        assert_eq!(answers, [(1, Ok(10)), (3, failed), (13, failed)]);
    }
}
