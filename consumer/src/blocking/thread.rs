//! The thread on which an asynchronous client lives that is called from others.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rkafka_client_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::clock;

/// Wakes a blocking consumer that waits, from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker {
    wakeup: Arc<Notify>,
}

impl Waker {
    /// Has the call that waits for records, or the next one, fail with the error `Wakeup`; an iterator ends. Java's
    /// `wakeup`.
    pub fn wake(&self) {
        self.wakeup.notify_one();
    }
}

/// The thread and its runtime, which ends with the last task that somebody waits for.
#[derive(Debug)]
struct Runtime {
    handle: Handle,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Runtime {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("rkafka-consumer".to_owned()).spawn(move || {
            runtime.block_on(async { drop(ended.await) });
            // Whatever still runs is dropped with the runtime, on this thread.
        })?;
        Ok(Self { handle, _end: end })
    }

    /// Runs `future` on the thread and waits for it, without a runtime of the caller's. `None`: it panicked.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, told) = mpsc::sync_channel(1);
        drop(clock::spawn_on(&self.handle, async move {
            let _ = done.send(future.await);
        }));
        told.recv().ok()
    }
}

/// Something that a client is waited for.
pub(super) trait AsyncCall<C>: Send + 'static {
    /// What comes of it.
    type Output: Send + 'static;

    fn call(self, client: &mut C) -> impl Future<Output = Self::Output> + Send;
}

/// What a wait came to.
pub(super) enum Waited<T> {
    Done(T),
    TimeOver,
    /// By a [`Waker`].
    Woken,
    /// There is no client any more.
    Closed,
}

/// A client that lives on a thread of its own.
#[derive(Debug)]
pub(super) struct Housed<C> {
    /// Gone while a call is under way only.
    client: Option<Box<C>>,
    runtime: Arc<Runtime>,
    wakeup: Arc<Notify>,
}

impl<C: Send + 'static> Housed<C> {
    /// Starts the thread, and makes the client there.
    ///
    /// # Errors
    /// The thread cannot be started; or what `make` says.
    pub(super) fn start<E: Send + 'static>(
        make: impl Future<Output = Result<C, E>> + Send + 'static,
        no_thread: impl FnOnce(Error) -> E,
    ) -> Result<Self, E> {
        let runtime = match Runtime::start() {
            Ok(runtime) => runtime,
            Err(error) => return Err(no_thread(Error::new(ErrorKind::Config, error.to_string()))),
        };
        let client = runtime
            .wait(make)
            .unwrap_or_else(|| Err(no_thread(Error::new(ErrorKind::Config, "the thread ended by a panic"))))?;
        Ok(Self { client: Some(Box::new(client)), runtime: Arc::new(runtime), wakeup: Arc::default() })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker { wakeup: Arc::clone(&self.wakeup) }
    }

    /// Has the client do something on its thread. `None`: there is no client any more.
    pub(super) fn with<T: Send + 'static>(&mut self, call: impl FnOnce(&mut C) -> T + Send + 'static) -> Option<T> {
        let mut client = self.client.take()?;
        let (client, result) = self.runtime.wait(async move {
            let result = call(&mut client);
            (client, result)
        })?;
        self.client = Some(client);
        Some(result)
    }

    /// Waits for something of the client to its end. `None`: there is no client any more.
    pub(super) fn wait<A: AsyncCall<C>>(&mut self, call: A) -> Option<A::Output> {
        let mut client = self.client.take()?;
        let (client, result) = self.runtime.wait(async move {
            let result = call.call(&mut client).await;
            (client, result)
        })?;
        self.client = Some(client);
        Some(result)
    }

    /// Waits for something of the client, until `timeout` is over or somebody wakes it.
    pub(super) fn wait_for<A: AsyncCall<C>>(&mut self, timeout: Option<Duration>, call: A) -> Waited<A::Output> {
        let Some(mut client) = self.client.take() else { return Waited::Closed };
        let wakeup = Arc::clone(&self.wakeup);
        let waited = self.runtime.wait(async move {
            let result = tokio::select! {
                biased;
                () = wakeup.notified() => Waited::Woken,
                result = call.call(&mut client) => Waited::Done(result),
                () = clock::sleep_for(timeout) => Waited::TimeOver,
            };
            (client, result)
        });
        let Some((client, result)) = waited else { return Waited::Closed };
        self.client = Some(client);
        result
    }

    /// Waits for something else on the thread. `None`: it panicked.
    pub(super) fn ask<T: Send + 'static>(&self, question: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.runtime.wait(question)
    }

    /// Takes the client out, and waits for its end.
    pub(super) fn end<T, F>(&mut self, end: impl FnOnce(C) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let client = self.client.take()?;
        self.runtime.wait(end(*client))
    }

    /// As [`end`](Self::end), in the background: the thread lives until then.
    pub(super) fn end_behind<F: Future<Output = ()> + Send + 'static>(&mut self, end: impl FnOnce(C) -> F) {
        let Some(client) = self.client.take() else { return };
        let (runtime, ending) = (Arc::clone(&self.runtime), end(*client));
        drop(clock::spawn_on(&self.runtime.handle, async move {
            ending.await;
            drop(runtime);
        }));
    }
}
