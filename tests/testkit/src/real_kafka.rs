//! A real Apache Kafka, started from its published jars, as the reference to test against.
//!
//! Needs Java 17 and Maven. The jars come from Maven Central once and stay in `$RKAFKA_TEST_CACHE`, else in
//! `~/.cache/rkafka-tests`. Where any of it is missing, [`RealKafka::start`] says why, and a test that needs it calls
//! [`skipped`], which cannot be overlooked.

use std::ffi::OsStr;
use std::hash::Hasher as _;
use std::io::Write as _;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::processes::{BrokerProcesses, Host, Program};

/// The version of the reference.
pub const KAFKA_VERSION: &str = "4.3.1";

/// A cluster of one or more brokers of Apache Kafka, each also a controller. Ends with all its data when dropped, and with
/// the test's process at the latest. What can be done with its brokers is what can be done with any [`BrokerProcesses`].
#[derive(Debug)]
pub struct RealKafka(BrokerProcesses);

/// Says on stderr, past the test harness's capture, that a test did not run, and why.
pub fn skipped(test: &str, why: &str) {
    let line = format!("\nSKIPPED {test}: {why}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The folder with Kafka's jars, fetched on first use.
///
/// # Errors
/// What is missing, in a sentence.
pub fn kafka_jars() -> Result<PathBuf, String> {
    static JARS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    JARS.get_or_init(fetch_jars).clone()
}

fn fetch_jars() -> Result<PathBuf, String> {
    if std::env::var_os("RKAFKA_INTEROP").is_some_and(|value| value == "off") {
        return Err("RKAFKA_INTEROP=off".into());
    }
    let java = Command::new("java").arg("-version").output().map_err(|_| "`java` is not installed (17 or newer)")?;
    if !java.status.success() {
        return Err("`java -version` fails".into());
    }
    let cache = match std::env::var_os("RKAFKA_TEST_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cache/rkafka-tests"),
    };
    // The number goes up with each change of what the project file asks for.
    let jars = cache.join(format!("kafka-{KAFKA_VERSION}.2"));
    let complete = jars.join(".complete");
    if complete.exists() {
        return Ok(jars);
    }
    // Several test processes may want them at once: each fetches into a folder of its own and moves it into place.
    let aside = cache.join(format!("kafka-{KAFKA_VERSION}.{}", std::process::id()));
    std::fs::create_dir_all(&aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    let pom = aside.join("pom.xml");
    std::fs::write(&pom, include_str!("../kafka/pom.xml")).map_err(|error| format!("{}: {error}", pom.display()))?;
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", aside.display()))
        .output()
        .map_err(|_| "`mvn` (Maven) is not installed, so Kafka's jars cannot be fetched")?;
    if !fetched.status.success() {
        drop(std::fs::remove_dir_all(&aside));
        return Err(format!("Maven could not fetch Kafka's jars: {}", String::from_utf8_lossy(&fetched.stdout).trim()));
    }
    std::fs::write(aside.join(".complete"), b"").map_err(|error| error.to_string())?;
    if std::fs::rename(&aside, &jars).is_err() {
        // Another process was quicker.
        drop(std::fs::remove_dir_all(&aside));
    }
    if complete.exists() { Ok(jars) } else { Err(format!("{} could not be made", jars.display())) }
}

pub(crate) fn java(jars: &Path, heap: &str) -> Command {
    java_over(jars.join("*").as_os_str(), heap)
}

fn java_over(classes: &OsStr, heap: &str) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap}"))
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(classes);
    command
}

/// One of Kafka's own tools by its class, such as `org.apache.kafka.tools.TopicCommand`, ready to be started.
///
/// # Errors
/// The jars are missing.
pub fn kafka_tool_command(class: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Command, String> {
    let mut command = java(&kafka_jars()?, "384m");
    command.arg(class).args(arguments);
    Ok(command)
}

/// A program in Java over Kafka's clients, by its source of one file with a class of the file's name, ready to be started. It is
/// compiled once and kept beside the jars, for a start from the source costs more than a second of a processor each time.
///
/// # Errors
/// The jars are missing, or it does not compile.
pub fn kafka_program(source: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Command, String> {
    let jars = kafka_jars()?;
    let text = std::fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let class = source.file_stem().ok_or_else(|| format!("{} is no file", source.display()))?;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&text);
    let named = |suffix: &str| jars.join(format!("{}-{:016x}{suffix}", class.display(), hasher.finish()));
    let (kept, aside) = (named(""), named(&format!(".{}", std::process::id())));
    static COMPILING: Mutex<()> = Mutex::new(());
    let turn = COMPILING.lock();
    if !kept.exists() {
        let compiled = Command::new("javac").arg("-cp").arg(jars.join("*")).arg("-d").arg(&aside).arg(source).output();
        let compiled = compiled.map_err(|error| format!("javac: {error}"))?;
        if !compiled.status.success() {
            return Err(format!("{}: {}", source.display(), String::from_utf8_lossy(&compiled.stderr)));
        }
        // Where another process was quicker, its classes are the same.
        if std::fs::rename(&aside, &kept).is_err() {
            drop(std::fs::remove_dir_all(&aside));
        }
    }
    drop(turn);
    let mut classes = jars.join("*").into_os_string();
    classes.push(":");
    classes.push(&kept);
    let mut command = java_over(&classes, "256m");
    command.arg(class).args(arguments);
    Ok(command)
}

/// Runs one of Kafka's own tools to its end, with `input` as stdin. Blocks.
///
/// # Errors
/// The jars are missing, or Java cannot be started. The tool's own failure is in the output.
pub fn kafka_tool(class: &str, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Result<Output, String> {
    let mut child = kafka_tool_command(class, arguments)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("java: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(|error| format!("{class}: {error}"))?;
    feeder.join().map_err(|_| "the feeder of stdin panicked".to_owned())?;
    Ok(output)
}

impl RealKafka {
    /// The one broker that all tests of this process share. It is started on first use, and ends with the process.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<RealKafka, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1)).as_ref().map_err(Clone::clone)
    }

    /// Starts `count` brokers and waits until each answers.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub fn start(count: u16) -> Result<Self, String> {
        Self::start_with(count, |_| String::new())
    }

    /// As [`start`](Self::start), with more lines of `server.properties`, for the broker of each node id.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub fn start_with(count: u16, properties: impl Fn(usize) -> String) -> Result<Self, String> {
        BrokerProcesses::start(Program::Kafka, &vec![Host::local(); usize::from(count)], properties).map(Self)
    }
}

impl Deref for RealKafka {
    type Target = BrokerProcesses;

    fn deref(&self) -> &BrokerProcesses {
        &self.0
    }
}

impl DerefMut for RealKafka {
    fn deref_mut(&mut self) -> &mut BrokerProcesses {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create_topic;

    #[test]
    fn the_shared_kafka_answers_and_its_tools_run() {
        let kafka = match RealKafka::shared() {
            Ok(kafka) => kafka,
            Err(why) => return skipped("real_kafka::the_shared_kafka_answers_and_its_tools_run", &why),
        };
        create_topic(&kafka.bootstrap(), "there", 2, &[]);
        let list = ["--bootstrap-server", &kafka.bootstrap(), "--list"];
        let output = kafka_tool("org.apache.kafka.tools.TopicCommand", &list, b"").unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "there");
    }
}
