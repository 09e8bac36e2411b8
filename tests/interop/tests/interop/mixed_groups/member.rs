//! A member of a group over all of its lives, each a process: ours, Java's, or librdkafka's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use rkafka_testkit::{Child, kafka_program};

use super::clock;
use super::history::{End, Event, Life};
use super::worker;
use crate::python::python;
use crate::support::LIMIT;

/// Settings by Kafka's names, as all three take them.
pub(super) type Settings = Vec<(String, String)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Ours,
    Java,
    Python,
}

/// A member over all of its lives.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) settings: Settings,
    running: Option<Child>,
    lives: Vec<Diary>,
}

/// What one life has said so far.
#[derive(Debug)]
struct Diary {
    file: PathBuf,
    /// How much of the file is in `life`.
    taken: u64,
    life: Life,
    /// What it owns now, by its own word.
    owned: BTreeSet<i32>,
    /// How often hooks told of partitions that came or went.
    moves: usize,
}

impl Diary {
    /// Takes what was said since; the last line may not be whole yet, or never be.
    fn refresh(&mut self) {
        let mut said = String::new();
        let read = File::open(&self.file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.taken))?;
            file.read_to_string(&mut said)
        });
        if read.is_err() {
            return;
        }
        let whole = said.rfind('\n').map_or(0, |at| at + 1);
        self.taken += whole as u64;
        for (at, event) in said[..whole].lines().filter_map(Event::parse) {
            match &event {
                Event::Assigned(_, places) => {
                    self.owned.extend(places);
                    self.moves += usize::from(!places.is_empty());
                }
                Event::Revoked(_, places) | Event::Lost(places) => {
                    self.owned.retain(|one| !places.contains(one));
                    self.moves += usize::from(!places.is_empty());
                }
                _ => {}
            }
            self.life.events.push((at, event));
        }
    }
}

impl Member {
    pub(super) fn new(kind: Kind, name: &str, settings: Settings) -> Self {
        Self { kind, name: name.to_owned(), settings, running: None, lives: Vec::new() }
    }

    pub(super) fn start(&mut self, topic: &str, folder: &Path) {
        assert!(self.running.is_none(), "{} runs", self.name);
        let pairs = self.settings.iter().map(|(name, value)| format!("{name}={}", in_words_of(self.kind, name, value)));
        let arguments: Vec<String> = std::iter::once(topic.to_owned()).chain(pairs).collect();
        let program = |name: &str| format!("{}/programs/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = folder.join(format!("{}-{}", self.name, self.lives.len()));
        let command = match self.kind {
            Kind::Ours => worker::command(&arguments, &file),
            Kind::Java => {
                kafka_program(Path::new(&program("GroupMember.java")), &arguments).expect("the jars are there")
            }
            Kind::Python => {
                let mut command = Command::new(python().expect("Python is there"));
                command.arg(program("group_member.py")).args(&arguments);
                command
            }
        };
        let err = File::create(file.with_extension("err")).expect("a file");
        let out = match self.kind {
            Kind::Ours => err.try_clone().expect("a file"),
            Kind::Java | Kind::Python => File::create(&file).expect("a file"),
        };
        let child = Child::spawn(&command, None, |watched| {
            watched.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            watched.stdout(out).stderr(err);
        });
        self.running = Some(child.expect("it starts"));
        let instance = self.settings.iter().find(|(name, _)| name == "group.instance.id");
        let identity = instance.map_or_else(|| format!("{} {}", self.name, self.lives.len()), |(_, id)| id.clone());
        let is_of_kip_848 = self.settings.iter().any(|(name, value)| name == "group.protocol" && value == "consumer");
        let life = Life {
            name: self.name.clone(),
            identity,
            events: Vec::new(),
            gives_up_what_it_was_not_told: self.kind == Kind::Java && is_of_kip_848,
            end: None,
        };
        self.lives.push(Diary { file, taken: 0, life, owned: BTreeSet::new(), moves: 0 });
    }

    /// Ends it in good order.
    pub(super) async fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let ended = tokio::task::spawn_blocking(move || {
                child.signal("TERM");
                child.wait(LIMIT)
            });
            let status = ended.await.expect("it ends");
            // A JVM that is asked to end says so by its status.
            assert!(status.success() || self.kind == Kind::Java, "{}: {status}; {}", self.name, self.lately());
            self.note_end(End::Stopped);
        }
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().expect("killed");
            self.note_end(End::Killed);
        }
    }

    /// Holds it: it neither works nor says anything, and does not know.
    pub(super) fn hold(&self) {
        self.running.as_ref().expect("it runs").signal("STOP");
    }

    /// Lets it go on.
    pub(super) fn release(&self) {
        self.running.as_ref().expect("it runs").signal("CONT");
    }

    fn note_end(&mut self, end: End) {
        self.lives.last_mut().expect("a life").life.end = Some((clock(), end));
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Takes what its present life has said since.
    pub(super) fn refresh(&mut self) {
        if let Some(life) = self.lives.last_mut() {
            life.refresh();
        }
    }

    /// Everything it has said in all of its lives.
    pub(super) fn histories(&mut self) -> Vec<Life> {
        self.lives.iter_mut().for_each(Diary::refresh);
        self.lives.iter().map(|diary| diary.life.clone()).collect()
    }

    /// What it owned when it was last looked at, by its own word.
    pub(super) fn owned(&self) -> BTreeSet<i32> {
        self.lives.last().filter(|_| self.is_running()).map(|life| life.owned.clone()).unwrap_or_default()
    }

    /// How often hooks told of partitions that came or went, in its present life.
    pub(super) fn moves(&self) -> usize {
        self.lives.last().map_or(0, |life| life.moves)
    }

    /// What its present life has said.
    pub(super) fn events(&self) -> &[(u64, Event)] {
        self.lives.last().map_or(&[], |life| &life.life.events)
    }

    /// The generation in which it was last given partitions, where the client tells.
    pub(super) fn epoch(&self) -> Option<i32> {
        self.events().iter().rev().find_map(|(_, event)| match event {
            Event::Assigned(epoch, places) if !places.is_empty() => *epoch,
            _ => None,
        })
    }

    /// What it has said of late, and what went wrong outside of it, for messages.
    pub(super) fn lately(&self) -> String {
        let Some(life) = self.lives.last() else { return String::new() };
        let err = std::fs::read_to_string(life.file.with_extension("err")).unwrap_or_default();
        let events = &life.life.events;
        let moves = events.iter().filter(|(_, event)| !matches!(event, Event::Read { .. } | Event::Committed(_)));
        let moves: Vec<_> = moves.rev().take(6).collect();
        let thrown: Vec<_> = err.lines().filter(|line| line.starts_with("Exception in thread")).collect();
        let err: Vec<_> = err.lines().rev().take(5).collect();
        format!("{}: owns {:?}; {moves:?} {thrown:?} {err:?}", self.name, self.owned())
    }
}

/// Java knows assignors by their classes.
fn in_words_of(kind: Kind, name: &str, value: &str) -> String {
    let java = match (name, value, kind) {
        ("partition.assignment.strategy", "range", Kind::Java) => "RangeAssignor",
        ("partition.assignment.strategy", "cooperative-sticky", Kind::Java) => "CooperativeStickyAssignor",
        _ => return value.to_owned(),
    };
    format!("org.apache.kafka.clients.consumer.{java}")
}
