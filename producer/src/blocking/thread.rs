//! The thread of a blocking producer, and waiting without a runtime.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::unconstrained;

use crate::ProducerError;
use crate::shared::Shared;

thread_local! {
    /// Whether this is a producer's own thread.
    static RUNS_A_PRODUCER: Cell<bool> = const { Cell::new(false) };
    /// The waker of the wait before, so that a send that need not wait allocates nothing.
    static UNPARK: Cell<Option<Arc<Unpark>>> = const { Cell::new(None) };
}

struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Whether a call may wait here.
pub(crate) fn may_wait() -> bool {
    !RUNS_A_PRODUCER.get()
}

/// Polls the future on this thread, which sleeps in between. It needs no runtime, nor minds one around it: a task of tokio
/// that has used up its turn would find nothing ready any more, and cannot give way here.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(unconstrained(future));
    // A wait within a wait takes another one.
    let unpark = UNPARK.try_with(Cell::take).ok().flatten();
    let unpark =
        unpark.unwrap_or_else(|| Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) }));
    let waker = Waker::from(unpark.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            let _ = UNPARK.try_with(|kept| kept.set(Some(unpark)));
            return output;
        }
        // What the future itself parks may have used up the thread's only token.
        while !unpark.woken.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    }
}

/// A producer's own thread with its runtime. The thread lives until this is dropped and the producer has come to its end.
#[derive(Debug)]
pub(super) struct ProducerThread {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl ProducerThread {
    /// Starts a thread, makes the producer there, and gives both back.
    pub(super) fn start<P, E, F>(
        make: impl FnOnce() -> F + Send + 'static,
        shared: impl FnOnce(&P) -> Arc<Shared> + Send + 'static,
    ) -> Result<(Self, P), E>
    where
        P: Send + 'static,
        E: From<ProducerError> + Send + 'static,
        F: Future<Output = Result<P, E>>,
    {
        let failed = |error: std::io::Error| ProducerError::Thread { detail: error.to_string().into() };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, gone) = oneshot::channel();
        let (made, result) = mpsc::channel();
        let work = move || {
            RUNS_A_PRODUCER.set(true);
            runtime.block_on(async move {
                let producer = make().await;
                let shared = producer.as_ref().ok().map(shared);
                let _ = made.send(producer);
                if let Some(shared) = shared {
                    shared.until_stopped().await;
                    // Who still has a handle may call, and must find a runtime.
                    let _ = gone.await;
                }
            });
        };
        thread::Builder::new().name("rkafka-producer".to_owned()).spawn(work).map_err(failed)?;
        match result.recv() {
            Ok(producer) => Ok((Self { runtime: handle, _alive: alive }, producer?)),
            Err(_) => Err(ProducerError::Thread { detail: "it ended at once".into() }.into()),
        }
    }

    /// Waits for what needs the producer's runtime.
    pub(super) fn wait<F: Future>(&self, future: F) -> Result<F::Output, ProducerError> {
        if !may_wait() {
            return Err(super::IN_CALLBACK);
        }
        self.wait_to_send(future)
    }

    /// As [`Self::wait`], of what may be done at once: then it is done in a callback too.
    pub(super) fn wait_to_send<F: Future>(&self, future: F) -> Result<F::Output, ProducerError> {
        // Timers belong to the producer's runtime, which another thread drives.
        let _entered = self.runtime.enter();
        if may_wait() {
            return Ok(block_on(future));
        }
        match pin!(unconstrained(future)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(super::IN_CALLBACK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_that_the_future_uses_up_is_not_missed() {
        let (sender, receiver) = oneshot::channel();
        let mut receiver = Box::pin(receiver);
        let mut sender = Some(sender);
        let output = block_on(std::future::poll_fn(move |context| {
            let polled = receiver.as_mut().poll(context);
            if let Some(sender) = sender.take() {
                // Woken and parked before this poll is over.
                let _ = sender.send(7);
                thread::park();
            }
            polled
        }));
        assert_eq!(output, Ok(7));
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_turn_can_wait_all_the_same() {
        // Tokio gives a task 128 polls before it must give way, which it cannot do here.
        for _ in 0..1000 {
            let (sender, receiver) = oneshot::channel();
            let _ = sender.send(7);
            assert_eq!(block_on(receiver), Ok(7));
        }
    }

    #[tokio::test]
    async fn it_blocks_within_a_runtime_too() {
        let (sender, receiver) = oneshot::channel();
        let other = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(10));
            sender.send(7)
        });
        assert_eq!(block_on(receiver), Ok(7));
        assert_eq!(other.join().ok(), Some(Ok(())));
    }
}
