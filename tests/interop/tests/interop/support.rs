//! Running foreign clients, and rkafka's own beside them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rkafka::client::{Client, ClientConfig, ClientSettings as _};
use rkafka::consumer::{Consumer, ConsumerConfig, ConsumerRecord, OffsetReset, Start};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka::protocol::messages::IncrementalAlterConfigsRequest;
use rkafka::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_testkit::{Child, kafka_jars, kafka_tool, kafka_tool_command, skipped};

pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

pub const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
pub const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
pub const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// How long anything may take before it counts as not happening; far beyond what a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The folder for what tests fetch: `RKAFKA_TEST_CACHE`, else one in the home's cache.
pub fn cache() -> Result<PathBuf, String> {
    match std::env::var_os("RKAFKA_TEST_CACHE") {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cache/rkafka-tests")),
    }
}

/// Whether Kafka's own tools can be run; says so where not.
pub async fn has_java(test: &str) -> bool {
    let jars = tokio::task::spawn_blocking(kafka_jars).await.expect("no panic");
    if let Err(why) = &jars {
        skipped(test, why);
    }
    jars.is_ok()
}

/// Whether kcat can be run; says so where not.
pub fn has_kcat(test: &str) -> bool {
    if std::env::var_os("RKAFKA_INTEROP").is_some_and(|value| value == "off") {
        skipped(test, "RKAFKA_INTEROP=off");
        return false;
    }
    let found = Command::new("kcat").arg("-V").output().is_ok();
    if !found {
        skipped(test, "`kcat` is not installed");
    }
    found
}

/// Runs one of Kafka's tools and gives what it printed, stdout before stderr, and whether it succeeded.
pub async fn try_tool(class: &str, arguments: &[&str], input: &[u8]) -> (bool, String, String) {
    let (class, input) = (class.to_owned(), input.to_vec());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || kafka_tool(&class, &arguments, &input));
    let output = in_time("Kafka's tool", run).await.expect("no panic").expect("Kafka's tool runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Runs one of Kafka's tools, which must succeed, and gives its stdout.
pub async fn tool(class: &str, arguments: &[&str], input: &[u8]) -> String {
    let (success, stdout, stderr) = try_tool(class, arguments, input).await;
    assert!(success, "{class} {arguments:?}\n{stdout}\n{stderr}");
    stdout
}

/// Runs a program to its end with `input` as stdin.
pub async fn run<S: AsRef<OsStr> + Send + 'static>(program: &str, arguments: Vec<S>, input: &[u8]) -> Output {
    let (program, input) = (program.to_owned(), input.to_vec());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let feeder = std::thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &input)));
        let output = child.wait_with_output().expect("its output");
        feeder.join().expect("no panic");
        output
    });
    in_time("a program", run).await.expect("no panic")
}

/// Runs kcat, which must succeed, and gives its stdout.
pub async fn kcat(bootstrap: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut all = vec!["-b".to_owned(), bootstrap.to_owned()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let output = run("kcat", all, input).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kcat {arguments:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Starts one of Kafka's tools, with its stdout and stderr going to `log`. It ends when it is dropped.
pub async fn start_tool(class: &str, arguments: &[&str], log: &Path) -> Child {
    let (class, log) = (class.to_owned(), log.to_owned());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let started = tokio::task::spawn_blocking(move || {
        let command = kafka_tool_command(&class, &arguments).expect("the jars are there");
        let out = File::create(&log).expect("a file");
        let err = out.try_clone().expect("a file");
        Child::spawn(&command, None, |command| {
            command.stdout(out).stderr(err);
        })
    });
    started.await.expect("no panic").expect("Java starts")
}

pub async fn producer(bootstrap: &str, codec: &str) -> Producer {
    let mut config = ProducerConfig::new().bootstrap_servers(bootstrap).max_request_size(2_000_000_usize);
    config.set("compression.type", codec).expect("a codec");
    Producer::new(config).await.expect("a producer")
}

/// Sends values to the partitions in turn and waits until they are written.
pub async fn send_values(bootstrap: &str, topic: &str, partitions: i32, values: impl Iterator<Item = String>) {
    let producer = producer(bootstrap, "none").await;
    let mut deliveries = Vec::new();
    for (number, value) in (0..).zip(values) {
        let record = Record::to(topic).partition(number % partitions).value(&value);
        deliveries.push(producer.send(record).await.expect("accepted"));
    }
    for delivery in deliveries {
        in_time("an acknowledgement", delivery).await.expect("written");
    }
}

pub fn consumer_config(bootstrap: &str) -> ConsumerConfig {
    ConsumerConfig::new().bootstrap_servers(bootstrap).auto_offset_reset(OffsetReset::Earliest)
}

/// Everything in the partitions of a topic.
pub async fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Vec<ConsumerRecord> {
    let mut consumer = Consumer::connect(consumer_config(bootstrap)).await.expect("a consumer");
    consumer.assign((0..partitions).map(|partition| (topic, partition, Start::Beginning))).expect("assigned");
    let mut records = Vec::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        records.push(record);
    }
    records.sort_by_key(|record| (record.partition(), record.offset()));
    records
}

pub fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.map(|bytes| str::from_utf8(bytes).expect("text"))
}

/// Headers as `name:value,name:value`.
pub fn headers_text(record: &ConsumerRecord) -> String {
    let headers = record.headers().into_iter().map(|header| {
        let header = header.expect("a header");
        format!("{}:{}", header.key_str().expect("text"), text(header.value).unwrap_or("null"))
    });
    headers.collect::<Vec<_>>().join(",")
}

/// What must happen within [`LIMIT`].
pub async fn in_time<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Gives a group settings of its own.
pub async fn configure_group(bootstrap: &str, group: &str, settings: &[(&str, &str)]) {
    let client = Client::connect(ClientConfig::new().bootstrap_servers(bootstrap)).await.expect("a client");
    let configs = settings.iter().map(|(name, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: 0,
        value: Some((*value).to_owned()),
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: group.to_owned(),
        configs: configs.collect(),
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = in_time("the group's settings", client.request_controller(request)).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 0, "{:?}", response.responses[0].error_message);
}
