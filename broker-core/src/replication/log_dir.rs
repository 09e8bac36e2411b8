//! One data directory as its partitions see it: whether its disk still works, and the thread that syncs for group
//! commit.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::{Notify, watch};

use super::Partition;

use crate::locks::lock;

/// The first words about a disk that failed so that the broker cannot go on; `None` for as long as it can.
pub(crate) type Fatal = watch::Sender<Option<String>>;

/// A data directory whose disk may fail. A failure is for good: what the kernel did with the bytes is unknown, so nothing
/// in the directory is read or written until the broker starts again and recovers it.
#[derive(Debug)]
pub(crate) struct LogDir {
    path: PathBuf,
    failure: OnceLock<String>,
    /// Where the failure of this directory is told that the broker cannot do without.
    fatal: Option<Arc<Fatal>>,
    /// Told of the failure of any directory.
    failed: OnceLock<Arc<Notify>>,
    syncs: Arc<Syncs>,
    /// Whether a task syncs, and no thread: the disk is a simulated one.
    is_simulated: bool,
    /// Partitions that may have files open, about in the order in which they were used.
    open: Mutex<VecDeque<Weak<Partition>>>,
    /// How many partitions may.
    open_max: usize,
}

#[derive(Debug, Default)]
struct Syncs {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Partitions with records that are not synced, each at most once.
    unsynced: Vec<Arc<Partition>>,
    /// True once the thread runs, which the first append begins.
    is_running: bool,
    is_closed: bool,
}

impl Syncs {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Syncs what is queued, and ends.
    fn run_until_synced(&self) {
        loop {
            let round = {
                let mut queue = self.queue();
                if queue.unsynced.is_empty() {
                    queue.is_running = false;
                    return;
                }
                std::mem::take(&mut queue.unsynced)
            };
            for partition in round {
                let _ = partition.sync_queued();
            }
        }
    }

    /// Syncs what comes until the directory is closed. What comes during one round is the next round.
    fn run(&self) {
        let mut round = Vec::new();
        loop {
            {
                let mut queue = self.queue();
                while queue.unsynced.is_empty() {
                    if queue.is_closed {
                        return;
                    }
                    queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut round, &mut queue.unsynced);
            }
            for partition in round.drain(..) {
                // Those who wait learn from the partition how it ended; the log has told why.
                let _ = partition.sync_queued();
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver of a simulated disk's syncs")]
fn run_as_task(syncs: Arc<Syncs>) {
    tokio::spawn(async move { syncs.run_until_synced() });
}

impl LogDir {
    /// A directory that works, of which about `open_max` partitions may have files open at a time. `fatal` is told of its
    /// failure, if it is given.
    pub fn new(path: PathBuf, open_max: usize, fatal: Option<Arc<Fatal>>) -> Arc<Self> {
        Arc::new(Self {
            path,
            failure: OnceLock::new(),
            fatal,
            failed: OnceLock::new(),
            syncs: Arc::default(),
            is_simulated: false,
            open: Mutex::default(),
            open_max,
        })
    }

    /// As [`LogDir::new`] without a limit, on a simulated disk: a task syncs there, and no thread.
    pub fn simulated(path: PathBuf, fatal: Option<Arc<Fatal>>) -> Arc<Self> {
        Arc::new(Self {
            path,
            failure: OnceLock::new(),
            fatal,
            failed: OnceLock::new(),
            syncs: Arc::default(),
            is_simulated: true,
            open: Mutex::default(),
            open_max: usize::MAX,
        })
    }

    /// Has `failed` told if the directory fails.
    pub fn tell_failure(&self, failed: Arc<Notify>) {
        // Set once: a directory is opened once.
        let _ = self.failed.set(failed);
    }

    /// Takes note of a partition that is about to open files, and closes those of others where there are too many.
    pub fn opens_files(&self, partition: Weak<Partition>) {
        let mut open = lock(&self.open);
        open.push_back(partition);
        // Each is passed over once if it was used since the last look, and where all are busy there is nothing to close.
        let mut looks = open.len().saturating_mul(2);
        while open.len() > self.open_max && looks > 0 {
            looks -= 1;
            let Some(oldest) = open.pop_front() else { return };
            if oldest.upgrade().is_some_and(|partition| !partition.release_files()) {
                open.push_back(oldest);
            }
        }
    }

    /// Why the directory is offline, if it is.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Takes the directory offline.
    pub fn fail(&self, reason: &str) {
        if self.failure.set(reason.to_owned()).is_err() {
            return;
        }
        tracing::error!(dir = %self.path.display(), reason, "the data directory is offline until the broker starts again");
        if let Some(failed) = self.failed.get() {
            failed.notify_one();
        }
        if let Some(fatal) = &self.fatal {
            fatal.send_if_modified(|told| {
                let is_first = told.is_none();
                told.get_or_insert_with(|| format!("{}: {reason}", self.path.display()));
                is_first
            });
        }
    }

    /// Has the partition synced soon, on the directory's own thread, together with all others that ask meanwhile.
    pub fn sync_soon(&self, partition: Arc<Partition>) {
        let mut queue = self.syncs.queue();
        if queue.is_closed {
            return;
        }
        queue.unsynced.push(partition);
        if !queue.is_running {
            let syncs = Arc::clone(&self.syncs);
            if self.is_simulated {
                queue.is_running = true;
                drop(queue);
                run_as_task(syncs);
                return;
            }
            let thread = std::thread::Builder::new().name("rkafka-sync".to_owned()).spawn(move || syncs.run());
            match thread {
                Ok(_) => queue.is_running = true,
                Err(error) => {
                    // Nothing is acknowledged without the thread; the next append tries once more to have it.
                    tracing::error!(%error, "no thread can be had to sync {}", self.path.display());
                }
            }
        }
        drop(queue);
        self.syncs.more.notify_one();
    }

    /// Ends the thread when it has synced what is queued; nothing is synced for later appends.
    pub fn close(&self) {
        self.syncs.queue().is_closed = true;
        self.syncs.more.notify_all();
    }
}
