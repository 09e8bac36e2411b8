//! Workers, each over all of its lives, and what they have written down.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use rkafka_testkit::{Child, kafka_program};

use super::{PARTITIONS, RECORDS, TRANSACTIONS, worker};
use crate::support::LIMIT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Java,
}

/// A process full of clients, over all of its lives.
#[derive(Debug)]
pub(super) struct Worker {
    kind: Kind,
    folder: PathBuf,
    bootstrap: String,
    running: Option<Child>,
    /// The files of all lives, and how much of the last was looked through.
    pub(super) files: Vec<PathBuf>,
    taken: u64,
    acknowledged: u64,
}

impl Worker {
    pub(super) fn start(kind: Kind, folder: &Path, bootstrap: &str) -> Self {
        let (folder, bootstrap, files) = (folder.to_owned(), bootstrap.to_owned(), Vec::new());
        let mut worker = Self { kind, folder, bootstrap, running: None, files, taken: 0, acknowledged: 0 };
        worker.begin_a_life();
        worker
    }

    pub(super) fn begin_a_life(&mut self) {
        let life = self.files.len() + 1;
        let file = self.folder.join(format!("{:?}-{life}.jsonl", self.kind));
        let command = match self.kind {
            Kind::Ours => worker::command(&self.bootstrap, &file, life),
            Kind::Java => {
                let source = format!("{}/programs/HistoryWorker.java", env!("CARGO_MANIFEST_DIR"));
                let arguments = [
                    self.bootstrap.clone(),
                    file.display().to_string(),
                    life.to_string(),
                    RECORDS.to_owned(),
                    TRANSACTIONS.to_owned(),
                    PARTITIONS.to_string(),
                ];
                kafka_program(Path::new(&source), &arguments).expect("the jars are there")
            }
        };
        let said = File::create(file.with_extension("log")).expect("a file");
        let also = said.try_clone().expect("a file");
        let child = Child::spawn(&command, None, |watched| {
            watched.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            watched.stdout(said).stderr(also);
        });
        self.running = Some(child.expect("it starts"));
        self.files.push(file);
        self.taken = 0;
    }

    /// Kills it, and begins its next life.
    pub(super) fn die_and_live(&mut self) {
        self.acknowledged();
        self.running.take().expect("it runs").kill().expect("killed");
        self.begin_a_life();
    }

    /// How many records and commits were acknowledged in all of its lives.
    pub(super) fn acknowledged(&mut self) -> u64 {
        let mut said = Vec::new();
        let read = File::open(self.files.last().expect("a life")).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.taken))?;
            file.read_to_end(&mut said)
        });
        if read.is_ok() {
            let whole = said.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.taken += whole as u64;
            let said = String::from_utf8_lossy(&said[..whole]);
            let counts = [r#""type":"ok","f":"send""#, r#""type":"ok","f":"commit""#];
            self.acknowledged +=
                said.lines().filter(|line| counts.iter().any(|sign| line.contains(sign))).count() as u64;
        }
        self.acknowledged
    }

    /// Whether it goes on; else how it ended and what it said.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.running.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => Ok(()),
            other => Err(format!("{:?} has ended ({other:?}): {}", self.kind, self.said())),
        }
    }

    fn said(&self) -> String {
        let log = self.files.last().map(|file| file.with_extension("log")).unwrap_or_default();
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Ends it in good order. Blocks.
    pub(super) fn stop(&mut self) {
        let mut child = self.running.take().expect("it runs");
        child.signal("TERM");
        let status = child.wait(LIMIT);
        // 143: Java's way to say that it was asked to.
        assert!(matches!(status.code(), Some(0 | 143)), "{:?} ended with {status}: {}", self.kind, self.said());
    }
}
