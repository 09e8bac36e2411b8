//! A machine: a runtime of one thread with a clock of its own, which goes on when it is told to.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// A machine. Dropped, whatever ran on it is gone at once.
#[derive(Debug)]
pub struct Host {
    runtime: Runtime,
    /// The moments at which it was switched on: by its own clock, and by the simulation's.
    own_start: Instant,
    start_us: u64,
    /// Up to where it has run.
    ran_to_us: u64,
    /// Until when it stands still.
    paused_until_us: u64,
}

impl Host {
    /// A machine that is switched on at a moment of the simulation, in microseconds.
    ///
    /// # Errors
    /// The system has nothing left for a runtime.
    pub fn start(now_us: u64) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let own_start = runtime.block_on(own_now());
        Ok(Self { runtime, own_start, start_us: now_us, ran_to_us: now_us, paused_until_us: 0 })
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// Does something that needs the machine's runtime around it.
    pub fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.runtime.enter();
        work()
    }

    /// Lets the machine stand still, as SIGSTOP does. When it goes on, its clock has moved.
    pub fn pause_until(&mut self, until_us: u64) {
        self.paused_until_us = self.paused_until_us.max(until_us);
    }

    /// Lets it go on at once.
    pub fn resume(&mut self) {
        self.paused_until_us = 0;
    }

    /// Whether it stands still.
    pub fn is_paused(&self, now_us: u64) -> bool {
        self.paused_until_us > now_us
    }

    /// Runs it up to a moment of the simulation, one step of `step_us` before which nothing happened elsewhere.
    pub fn run_to(&mut self, until_us: u64, step_us: u64) {
        if self.is_paused(until_us) {
            return;
        }
        let missed = until_us.saturating_sub(step_us).saturating_sub(self.ran_to_us);
        let deadline = self.own_start + Duration::from_micros(until_us - self.start_us);
        self.runtime.block_on(async {
            if missed > 0 {
                tokio::time::advance(Duration::from_micros(missed)).await;
            }
            tokio::time::sleep_until(deadline).await;
        });
        self.ran_to_us = until_us;
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver of a machine's clock")]
async fn own_now() -> Instant {
    Instant::now()
}
