//! What a client of ours writes down: events of a history, a line each.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rkafka_history::{Action, Event, Phase};

/// Now, in microseconds since 1970: a clock that all processes of the machine share.
#[expect(clippy::disallowed_methods, reason = "a history of several processes needs one clock")]
pub(super) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    u64::try_from(since).expect("a time before the end of times")
}

/// The diary of one process of a history. It can be written by several hands.
#[derive(Debug, Clone)]
pub(super) struct Diary {
    file: Arc<File>,
    pub(super) process: String,
    ids: Arc<AtomicU64>,
}

/// An operation that has begun and not ended.
#[derive(Debug)]
pub(super) struct Begun {
    diary: Diary,
    id: u64,
}

impl Diary {
    pub(super) fn open(path: &Path, process: &str) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).expect("the file of the diary");
        Self { file: Arc::new(file), process: process.to_owned(), ids: Arc::default() }
    }

    /// A line is one write, so that a kill leaves the whole of it or nothing.
    fn write(&self, id: u64, phase: Phase, action: Action) {
        let event = Event { process: self.process.clone(), id, time: clock(), phase, action };
        (&*self.file).write_all(event.to_json_line().as_bytes()).expect("written");
    }

    pub(super) fn begin(&self, action: Action) -> Begun {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.write(id, Phase::Invoke, action);
        Begun { diary: self.clone(), id }
    }

    /// Something that is over as it is said.
    pub(super) fn note(&self, action: Action) {
        self.write(self.ids.fetch_add(1, Ordering::Relaxed), Phase::Ok, action);
    }

    pub(super) fn assigned_from_the_beginning(&self, partitions: impl IntoIterator<Item = String>) {
        let positions: BTreeMap<_, _> = partitions.into_iter().map(|partition| (partition, Some(0))).collect();
        self.note(Action::Assign { positions });
    }
}

impl Begun {
    pub(super) fn end(self, phase: Phase, action: Action) {
        self.diary.write(self.id, phase, action);
    }
}
