//! The thread that reads and hands over.

use std::sync::Arc;

use indicatif::ProgressBar;
use rkafka::producer::{Delivery, ProducerError, TopicHandle, TrySendError};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

use super::gate::Gate;
use super::input::{InputError, Lines};
use super::shape::Shape;
use super::sources::Source;
use super::tally::Event;
use crate::args::{KcatProduce, OnError};
use crate::exit::Failure;
use crate::report;

/// How many deliveries are told at once.
const CHUNK: usize = 4096;

/// What the thread needs.
pub struct Reader {
    /// Where the records go.
    pub topic: TopicHandle,
    /// How lines become records.
    pub shape: Shape,
    /// What ends a record.
    pub delimiter: Vec<u8>,
    /// The names of the sources.
    pub names: Arc<[String]>,
    /// How long a line may be in memory, in bytes.
    pub limit: usize,
    /// Shows how much has been read.
    pub progress: ProgressBar,
    /// Whether a line that fails ends the reading.
    pub on_error: OnError,
    /// Stops the reading.
    pub gate: Arc<Gate>,
    /// Waits for room in the producer.
    pub runtime: Handle,
    /// What kcat's command line asks for.
    pub kcat: Option<KcatProduce>,
}

/// The end of the reading, before the end of the input.
struct Stopped;

/// What was handed over of the source at hand, and not told yet.
struct Chunk {
    sender: Option<Sender<Event>>,
    source: usize,
    first_line: u64,
    deliveries: Vec<Delivery>,
    /// How many records may still be sent.
    left: u64,
}

impl Chunk {
    fn tell(&mut self, event: Event) -> Result<(), Stopped> {
        self.sender.as_ref().ok_or(Stopped)?.blocking_send(event).map_err(|_| Stopped)
    }

    /// Tells what was handed over.
    fn flush(&mut self) -> Result<(), Stopped> {
        if self.deliveries.is_empty() {
            return Ok(());
        }
        let line = self.first_line;
        self.first_line += self.deliveries.len() as u64;
        let deliveries = std::mem::take(&mut self.deliveries);
        self.tell(Event::Sent { source: self.source, line, deliveries })
    }

    fn accepted(&mut self, delivery: Delivery) -> Result<(), Stopped> {
        if self.deliveries.capacity() == 0 {
            self.deliveries.reserve_exact(CHUNK);
        }
        self.deliveries.push(delivery);
        if self.deliveries.len() == CHUNK { self.flush() } else { Ok(()) }
    }

    /// Tells of a line that was not accepted.
    fn refused(&mut self, failure: Failure) -> Result<(), Stopped> {
        self.flush()?;
        let line = self.first_line;
        self.first_line += 1;
        self.tell(Event::Failed { source: self.source, line: Some(line), failure })
    }
}

impl Reader {
    /// Starts the thread. It is not waited for: one that waits for a terminal ends with the process.
    pub fn start(self, sources: Vec<Source>, sender: Sender<Event>) -> Result<(), Failure> {
        let run = move || {
            let left = self.kcat.and_then(|kcat| kcat.count).unwrap_or(u64::MAX);
            let mut chunk = Chunk { sender: Some(sender), source: 0, first_line: 1, deliveries: Vec::new(), left };
            for (index, source) in sources.into_iter().enumerate() {
                chunk.source = index;
                chunk.first_line = 1;
                if self.read(source, &mut chunk).and_then(|()| chunk.flush()).is_err() {
                    // What was accepted counts, wherever the reading ended.
                    let _ = chunk.flush();
                    break;
                }
            }
            drop(chunk);
            self.gate.end();
        };
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(run)
            .map(drop)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))
    }

    fn read(&self, source: Source, chunk: &mut Chunk) -> Result<(), Stopped> {
        let headers = self.shape.common_headers();
        let mut lines = Lines::new(source, &self.delimiter, self.limit);
        loop {
            loop {
                let line = match lines.cut() {
                    Ok(Some(line)) => line,
                    Ok(None) => break,
                    Err(InputError::TooLong { limit }) => {
                        self.refuse(chunk, too_long(limit))?;
                        continue;
                    }
                };
                if self.gate.is_stopped() {
                    return Err(Stopped);
                }
                if let Some(kcat) = self.kcat {
                    if line.is_empty() {
                        continue;
                    }
                    if chunk.left == 0 {
                        return Err(Stopped);
                    }
                    chunk.left -= 1;
                    if kcat.tee
                        && let Err(error) = std::io::Write::write_all(&mut std::io::stdout(), line)
                    {
                        return self.refuse(chunk, report::cannot_write(&error)).and(Err(Stopped));
                    }
                }
                match self.shape.with_record(line, &headers, |record| self.send(record, chunk)) {
                    Ok(sent) => sent?,
                    Err(error) => self.refuse(chunk, Failure::failed(error))?,
                }
            }
            if chunk.left == 0 {
                return Err(Stopped);
            }
            if lines.is_ended() {
                return Ok(());
            }
            // Whoever stops the reading while it waits for input must find everything told.
            chunk.flush()?;
            self.gate.park(chunk.sender.take().ok_or(Stopped)?);
            let read = lines.read_more();
            chunk.sender = self.gate.unpark();
            match read {
                Ok(read) => self.progress.inc(read as u64),
                Err(error) => {
                    let failure = Failure::failed(format!("cannot be read: {error}"));
                    chunk.tell(Event::Failed { source: chunk.source, line: None, failure })?;
                    return if self.on_error == OnError::Stop { Err(Stopped) } else { Ok(()) };
                }
            }
            if chunk.sender.is_none() {
                return Err(Stopped);
            }
        }
    }

    fn refuse(&self, chunk: &mut Chunk, failure: Failure) -> Result<(), Stopped> {
        chunk.refused(failure)?;
        if self.on_error == OnError::Stop { Err(Stopped) } else { Ok(()) }
    }

    fn send(&self, record: &rkafka::producer::Record<'_>, chunk: &mut Chunk) -> Result<(), Stopped> {
        match self.topic.try_send(record) {
            Ok(delivery) => chunk.accepted(delivery),
            Err(TrySendError::Refused(error)) => self.refuse(chunk, error.into()),
            Err(_) => self.send_slowly(record, chunk),
        }
    }

    /// Waits for room. How long a record may take in all is for `delivery.timeout.ms` to say, of those that take the
    /// room, so that a cluster that is slow for a while ends nothing.
    #[cold]
    fn send_slowly(&self, record: &rkafka::producer::Record<'_>, chunk: &mut Chunk) -> Result<(), Stopped> {
        chunk.flush()?;
        loop {
            let sent = self.runtime.block_on(async {
                tokio::select! {
                    sent = self.topic.send(record.clone()) => Some(sent),
                    () = self.gate.stopped() => None,
                }
            });
            return match sent {
                None => Err(Stopped),
                Some(Ok(delivery)) => chunk.accepted(delivery),
                Some(Err(ProducerError::BufferFull { .. })) => continue,
                Some(Err(error)) => self.refuse(chunk, error.into()),
            };
        }
    }
}

fn too_long(limit: usize) -> Failure {
    Failure::failed(format!(
        "it is longer than {limit} bytes, far above `max.request.size`; raise that by -X, or name what ends a record by -D"
    ))
}
