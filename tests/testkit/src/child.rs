//! Processes that do not outlive the test that started them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Waits for its stdin to close, which happens when the test's process ends in whatever way, and then kills the process
/// that it stands beside. `$1` is a folder to remove then, or empty; the rest is the command.
const WATCH: &str = r#"
folder=$1; shift
exec 3<&0 </dev/null
{
  cat <&3 >/dev/null
  kill -9 $$
  if [ -n "$folder" ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$ || break; sleep 0.1; done
    rm -rf "$folder"
  fi
} 2>/dev/null 3<&3 &
exec 3<&-
exec "$@"
"#;

/// A process that is killed when this is dropped, and also when the test's process ends without dropping it, as it does
/// with what is in a `static`.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    folder: Option<PathBuf>,
}

impl Child {
    /// Starts `command` with its environment and its stdout and stderr as `configure` sets them (inherited where it does
    /// not), and nothing on stdin. `folder` is removed when the process is gone, if one is given.
    ///
    /// # Errors
    /// There is no `sh`, or no process can be had. A program that is not there ends at once with status 127.
    pub fn spawn(
        command: &Command,
        folder: Option<&Path>,
        configure: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let mut watched = Command::new("sh");
        watched.arg("-c").arg(WATCH).arg("watch").arg(folder.unwrap_or(Path::new("")));
        watched.arg(command.get_program()).args(command.get_args());
        configure(&mut watched);
        let folder = folder.map(Path::to_owned);
        Ok(Self { inner: watched.stdin(Stdio::piped()).spawn()?, folder })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Its stdout, if it was piped and not taken before.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.inner.stdout.take()
    }

    /// Its stderr, if it was piped and not taken before.
    pub fn stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.inner.stderr.take()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.inner.try_wait()
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.inner.kill()?;
        self.inner.wait().map(drop)
    }

    /// Sends a signal by its name, such as `TERM` or `STOP`.
    ///
    /// # Panics
    /// There is no `kill`, or it fails.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.as_ref().is_ok_and(ExitStatus::success), "kill -{name} {}: {status:?}", self.id());
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It has not after `limit`.
    #[expect(clippy::disallowed_methods, reason = "waits for another process")]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            match self.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(10)),
                other => panic!("process {} has not ended within {limit:?}: {other:?}", self.id()),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.inner.stdin.take());
        drop(self.inner.kill());
        drop(self.inner.wait());
        // The process may have been killed before it had its watch.
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_is_gone_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let mut child = Child::spawn(&sleep, Some(&kept), |_| {}).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        let process = format!("/proc/{}/cmdline", child.id());
        drop(child);
        let begun = clock();
        while kept.exists() || std::fs::read(&process).is_ok_and(|line| line.starts_with(b"sleep")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the process or its folder is still there");
            std::thread::yield_now();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process")]
    fn clock() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_end_of_its_own_is_told() {
        let mut exit = Command::new("sh");
        exit.args(["-c", "exit 3"]);
        let mut child = Child::spawn(&exit, None, |_| {}).unwrap();
        assert_eq!(child.wait(Duration::from_secs(60)).code(), Some(3));
    }
}
