//! The real binary, and a broker of its own for each test.

#![expect(dead_code, reason = "each test file takes what it needs of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
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

/// Where commands go: a broker of ours, or Apache Kafka.
#[derive(Debug, Clone)]
pub struct At {
    /// The brokers, as `-b` takes them.
    pub address: String,
    /// Whether it is Apache Kafka.
    pub is_real: bool,
}

impl At {
    /// Apache Kafka, shared by all tests of the process; `None` where it cannot be had, which is said.
    pub fn real(test: &str) -> Option<Self> {
        match rkafka_testkit::RealKafka::shared() {
            Ok(kafka) => Some(Self { address: kafka.bootstrap(), is_real: true }),
            Err(why) => {
                rkafka_testkit::skipped(test, &why);
                None
            }
        }
    }

    /// A command that talks to it.
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
    #[track_caller]
    pub fn ok(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        let ran = self.run(words, input);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        ran.stdout
    }

    /// What a command that must succeed prints as JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let printed = self.ok(words, b"");
        serde_json::from_slice(&printed).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A topic.
    #[track_caller]
    pub fn topic(&self, name: &str, partitions: &str) {
        self.ok(&["topics", "create", name, "-p", partitions, "-q"], b"");
    }

    /// A name that nothing else in this process has: `what` and a number.
    pub fn unique(&self, what: &str) -> String {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        format!("{what}-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

/// Declares a test that runs twice: on a broker of ours, and on Apache Kafka where it can be had. There, names of topics and
/// groups must be [`At::unique`].
#[macro_export]
macro_rules! on_both {
    ($(#[doc = $doc:literal])* fn $name:ident($at:ident: &At) $body:block) => {
        $(#[doc = $doc])*
        fn $name($at: &$crate::common::At) $body

        mod $name {
            #[test]
            fn ours() {
                super::$name(&$crate::common::Broker::in_memory());
            }

            #[test]
            fn real_kafka() {
                if let Some(kafka) = $crate::common::At::real(concat!(module_path!(), "::real_kafka")) {
                    super::$name(&kafka);
                }
            }
        }
    };
}

/// A broker, `rkafka broker run`, that ends with the test.
pub struct Broker {
    child: Child,
    stderr: BufReader<ChildStderr>,
    at: At,
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

    /// A broker that keeps its data in `directory`, at the address that one before it had.
    pub fn on_disk_at(directory: &Path, address: &str) -> Self {
        Self::listening(address, &["--data-dir", directory.to_str().unwrap()])
    }

    pub fn start(flags: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", flags)
    }

    fn listening(address: &str, flags: &[&str]) -> Self {
        let mut child = rkafka()
            .args(["broker", "run", "--listen", address, "-X", "group.initial.rebalance.delay.ms=0"])
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
        Self { child, stderr, at: At { address, is_real: false }, ready }
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
}

impl Deref for Broker {
    type Target = At;

    fn deref(&self) -> &At {
        &self.at
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

    /// Asserts that it ended with this code, and said this among other things.
    #[track_caller]
    pub fn code_and(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(part), "{}", self.stderr);
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

/// Asks until the answer is as it should be, for a minute at most.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test waits for what happens elsewhere")]
pub fn eventually<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let begun = std::time::Instant::now();
    loop {
        let answer = ask();
        if is_right(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "not within a minute: {answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
