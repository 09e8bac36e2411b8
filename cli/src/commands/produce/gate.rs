//! Stops the thread that reads, also where it waits for a line that may never come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use super::tally::Event;

/// Stands between the thread that reads and the task that waits for acknowledgements.
///
/// Before the thread waits for input it leaves its sender here, and takes it up again with the input. Who stops it in
/// between takes the sender away: nothing that is read later can be sent any more, and the task sees the end.
pub struct Gate {
    parked: Mutex<Option<Sender<Event>>>,
    is_stopped: AtomicBool,
    ended: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            parked: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        }
    }
}

impl Gate {
    /// Stops the reading.
    pub fn stop(&self) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_stopped.store(true, Ordering::Release);
        self.stopped.send_replace(true);
        if parked.take().is_some() {
            self.end();
        }
    }

    /// Whether the reading is to stop.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Waits until the reading is to stop.
    pub async fn stopped(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Leaves the sender while the thread waits for input; unless it is to stop.
    pub fn park(&self, sender: Sender<Event>) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            self.end();
        } else {
            *parked = Some(sender);
        }
    }

    /// Takes the sender up again, where the thread was not stopped meanwhile.
    pub fn unpark(&self) -> Option<Sender<Event>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says that nothing more is handed to the producer.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until nothing more is handed to the producer.
    pub async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}
