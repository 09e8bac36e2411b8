//! Stdout, written by a thread of its own, so that a reader that is slow never keeps this program from hearing a signal.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, watch};

use crate::exit::Failure;
use crate::report;

/// Why nothing more can be written.
pub enum WriteError {
    /// Whoever read has gone away, and wants no more.
    ReaderGone,
    /// It failed.
    Failed(Failure),
}

/// Stdout.
pub struct Output {
    full: mpsc::Sender<Vec<u8>>,
    written: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    /// The buffer that is being filled.
    pub buffer: Vec<u8>,
    spare: Option<Vec<u8>>,
    /// How many bytes the thread was given.
    total: u64,
}

/// What was written to stdout and has not been read, where it is a pipe. Of a file or a terminal nothing is left unread.
#[derive(Debug, Clone)]
pub struct Pipe(Option<Arc<File>>);

impl Pipe {
    /// Stdout's.
    pub fn of_stdout() -> Self {
        let file = std::io::stdout().as_fd().try_clone_to_owned().map(File::from).ok();
        let is_pipe = |file: &File| file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        Self(file.filter(is_pipe).map(Arc::new))
    }

    /// How many bytes have not been read.
    pub fn unread(&self) -> u64 {
        self.0.as_deref().and_then(|file| rustix::io::ioctl_fionread(file).ok()).unwrap_or(0)
    }
}

/// Sees whoever reads stdout go away.
pub struct Reader(watch::Receiver<bool>);

impl Reader {
    /// Waits until the reader has gone away. Cancel safe.
    pub async fn gone(&mut self) {
        if self.0.wait_for(|gone| *gone).await.is_err() {
            // The thread has ended without a word: this stdout is of a kind that nobody can leave, such as a file.
            std::future::pending().await
        }
    }
}

impl Output {
    /// Starts the thread that writes, and one that sees the reader go away though nothing is written.
    pub fn start() -> Result<(Self, Reader), Failure> {
        let failed = |error| Failure::failed(format!("cannot use stdout: {error}"));
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        let watched = stdout.try_clone().map_err(failed)?;
        let (full, mut to_write) = mpsc::channel::<Vec<u8>>(1);
        let (empty, written) = mpsc::channel(1);
        let (gone, reader_gone) = watch::channel(false);
        let mut file = File::from(stdout);
        thread("writer", move || {
            while let Some(mut bytes) = to_write.blocking_recv() {
                let result = file.write_all(&bytes);
                bytes.clear();
                if empty.blocking_send(result.map(|()| bytes)).is_err() {
                    break;
                }
            }
        })?;
        thread("reader-watch", move || {
            // Without a wish for anything, only errors and hang-ups end this.
            let mut fds = [PollFd::new(&watched, PollFlags::empty())];
            loop {
                match poll(&mut fds, None) {
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(_) if fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)) => {
                        gone.send_replace(true);
                        break;
                    }
                    _ => break,
                }
            }
        })?;
        Ok((Self { full, written, buffer: Vec::new(), spare: Some(Vec::new()), total: 0 }, Reader(reader_gone)))
    }

    /// Gives the thread what is in the buffer, once it has written what it had before. Cancel safe.
    pub async fn hand_over(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.wait().await?;
        let spare = self.spare.take().unwrap_or_default();
        let bytes = std::mem::replace(&mut self.buffer, spare);
        self.total += bytes.len() as u64;
        // The thread has nothing, so there is room at once.
        self.full.try_send(bytes).map_err(|_| gone())
    }

    /// Waits until everything is written. Cancel safe.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        self.hand_over().await?;
        self.wait().await
    }

    /// How many bytes have been written, once everything is.
    pub const fn total(&self) -> u64 {
        self.total
    }

    async fn wait(&mut self) -> Result<(), WriteError> {
        if self.spare.is_some() {
            return Ok(());
        }
        let written = self.written.recv().await;
        // Also after a failure the thread has nothing more to write.
        self.spare = Some(Vec::new());
        match written {
            Some(Ok(buffer)) => {
                self.spare = Some(buffer);
                Ok(())
            }
            Some(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Err(WriteError::ReaderGone),
            Some(Err(error)) => Err(WriteError::Failed(report::cannot_write(&error))),
            None => Err(gone()),
        }
    }
}

fn gone() -> WriteError {
    WriteError::Failed(Failure::failed("cannot write to stdout: the thread that writes has ended"))
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))
}
