//! The real binary, and a broker of its own for each test.

#![expect(dead_code, reason = "each test file takes what it needs of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// The binary under test.
pub fn rkafka() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rkafka"));
    // What the surroundings set must not reach the tests.
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("RKAFKA_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A broker, `rkafka broker run`, that ends with the test.
pub struct Broker {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Its address.
    pub address: String,
    /// The line that it said when it was ready.
    pub ready: String,
}

impl Broker {
    /// A broker that keeps all in memory.
    pub fn in_memory() -> Self {
        Self::start(&["--in-memory"])
    }

    /// A broker that keeps its data in `directory`.
    pub fn on_disk(directory: &Path) -> Self {
        Self::start(&["--data-dir", directory.to_str().unwrap()])
    }

    pub fn start(flags: &[&str]) -> Self {
        let mut child = rkafka()
            .args(["broker", "run", "--listen", "127.0.0.1:0", "-X", "group.initial.rebalance.delay.ms=0"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut ready, mut before) = (String::new(), String::new());
        // What it finds in its data directory may be told before.
        while !ready.contains("ready on ") {
            before.push_str(&ready);
            ready.clear();
            assert_ne!(stderr.read_line(&mut ready).unwrap(), 0, "the broker did not start: {before}");
        }
        let address = ready
            .split_once("ready on ")
            .and_then(|(_, rest)| rest.split(',').next())
            .unwrap_or_else(|| panic!("the broker is not ready: {ready}"))
            .to_owned();
        Self { child, stderr, address, ready }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; its exit code, and what else it said.
    pub fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        send_signal(&self.child, signal);
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }

    /// A command that talks to this broker.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = rkafka();
        command.args(words).args(["-b", &self.address]);
        command
    }

    /// Runs a command with this input, and gives what came of it.
    pub fn run(&self, words: &[&str], input: &[u8]) -> Ran {
        run(self.command(words), input)
    }

    /// Runs a command that must succeed and say nothing on stderr; its stdout.
    pub fn ok(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        let ran = self.run(words, input);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        ran.stdout
    }

    /// A topic.
    pub fn topic(&self, name: &str, partitions: &str) {
        self.ok(&["topics", "create", name, "-p", partitions, "-q"], b"");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Asserts that it failed with this code and one plain line with these parts.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        assert!(self.stderr.starts_with("rkafka: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing: {}", self.stderr);
        }
    }
}

pub fn run(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that fails early does not read its input.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Ran { code: status.code().unwrap_or(-1), stdout, stderr: String::from_utf8(stderr).unwrap() }
}

pub fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
