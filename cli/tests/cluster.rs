//! Several nodes as processes of their own, by files as in Kafka's quickstart: they find each other, are killed, stopped
//! and started again, and say what is wrong with files that do not go together.

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{rkafka, run};
use rkafka_testkit::Child;

/// How long anything may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// What several nodes have in common.
struct Quorum {
    folder: tempfile::TempDir,
    voters: String,
}

impl Quorum {
    /// Controllers with ids from 1 on, at these ports.
    fn of(ports: &[u16]) -> Self {
        let voters: Vec<String> = (1..).zip(ports).map(|(id, port)| format!("{id}@localhost:{port}")).collect();
        Self { folder: tempfile::tempdir().unwrap(), voters: voters.join(",") }
    }

    fn logs(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}-logs"))
    }

    /// Writes a file of settings as the quickstart has it, with what one node has for itself.
    fn file(&self, name: &str, own: &str) -> PathBuf {
        let text = format!(
            "{own}\ncontroller.quorum.voters={}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\nlog.dirs={}\n\
             num.network.threads=3\noffsets.topic.replication.factor=2\ntransaction.state.log.min.isr=2\n\
             broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n",
            self.voters,
            self.logs(name).display()
        );
        let path = self.folder.path().join(format!("{name}.properties"));
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// What both roles at once say for themselves.
fn combined(id: i32, for_clients: u16, for_controllers: u16) -> String {
    format!(
        "process.roles=broker,controller\nnode.id={id}\n\
         listeners=PLAINTEXT://:{for_clients},CONTROLLER://:{for_controllers}\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://localhost:{for_clients}"
    )
}

/// `rkafka broker run --config FILE`.
struct Node {
    file: PathBuf,
    child: Child,
    said: Receiver<String>,
}

impl Node {
    fn begin(file: &Path) -> Self {
        let mut command = rkafka();
        command.args(["broker", "run", "--config", file.to_str().unwrap()]);
        let mut child = Child::spawn(&command, None, |command| {
            command.stderr(Stdio::piped());
        })
        .unwrap();
        let stderr = child.stderr().unwrap();
        let (told, said) = channel();
        // What it says later must be taken too, or it would wait for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        Self { file: file.to_owned(), child, said }
    }

    /// The next line with these words in it.
    #[track_caller]
    fn hears(&self, words: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => others.push(line),
                Err(error) => panic!("{}: no line with `{words}` ({error}): {others:#?}", self.file.display()),
            }
        }
    }

    fn start_again(&mut self) {
        *self = Self::begin(&self.file);
        self.hears("ready on ");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Stops in good order; its exit code.
    fn stop(&mut self) -> Option<i32> {
        self.child.signal("TERM");
        self.child.wait(PATIENCE).code()
    }
}

fn begin_all(files: &[PathBuf]) -> Vec<Node> {
    let nodes: Vec<Node> = files.iter().map(|file| Node::begin(file)).collect();
    for node in &nodes {
        node.hears("ready on ");
    }
    nodes
}

/// A command that must succeed; its stdout.
#[track_caller]
fn ok(bootstrap: &str, words: &[&str], input: &[u8]) -> String {
    let mut command = rkafka();
    command.args(words).args(["-b", bootstrap]);
    let ran = run(command, input);
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// Waits until all replicas of a topic are in sync. Before that the next to be killed may be the last that has everything,
/// and nobody leads until it is back.
fn all_in_sync(bootstrap: &str, topic: &str) {
    let is_so = || {
        let described = ok(bootstrap, &["topics", "describe", topic], b"");
        let rows = described.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut rows = rows.filter(|row| row.first().is_some_and(|first| first.parse::<u32>().is_ok())).peekable();
        rows.peek().is_some() && rows.all(|row| row.len() > 3 && row[2].len() == row[3].len())
    };
    let mut looks = 0;
    while !is_so() {
        looks += 1;
        assert!(looks < 2_000, "replicas of {topic} are not in sync");
        #[expect(clippy::disallowed_methods, reason = "a test that looks again")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{n:05}\n")).collect()
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn three_nodes_of_the_quickstart_outlive_kills_and_stops() {
    let ports = free_ports(6);
    let (for_clients, for_controllers) = ports.split_at(3);
    let quorum = Quorum::of(for_controllers);
    let files: Vec<PathBuf> = (1..=3)
        .zip(for_clients.iter().zip(for_controllers))
        .map(|(id, (clients, controllers))| quorum.file(&format!("kafka{id}"), &combined(id, *clients, *controllers)))
        .collect();
    let mut nodes = begin_all(&files);
    let all = for_clients.iter().map(|port| format!("localhost:{port}")).collect::<Vec<_>>().join(",");
    ok(&all, &["topics", "create", "t", "-p", "3", "-r", "3", "-c", "min.insync.replicas=2"], b"");
    let mut written = 0;
    let mut write = |count| {
        ok(
            &all,
            &["produce", "t", "--acks", "all", "-X", "delivery.timeout.ms=120000"],
            lines(written, written + count).as_bytes(),
        );
        written += count;
        written
    };
    write(100);
    for node in &mut nodes {
        node.kill();
        write(100);
        node.start_again();
        all_in_sync(&all, "t");
    }
    for node in &mut nodes {
        assert_eq!(node.stop(), Some(0), "it was asked to");
        write(100);
        node.start_again();
        all_in_sync(&all, "t");
    }
    let total = write(1);
    assert_eq!(sorted(&ok(&all, &["consume", "t", "-e"], b"")), lines(0, total));
    if Command::new("kcat").arg("-V").output().is_ok() {
        let kcat = Command::new("kcat").args(["-b", &all, "-C", "-t", "t", "-e", "-q"]).output().unwrap();
        assert_eq!(sorted(&String::from_utf8(kcat.stdout).unwrap()), lines(0, total), "as kcat reads it");
    }
    let voters = ok(&all, &["cluster", "quorum", "-o", "json"], b"");
    assert_eq!(voters.matches("\"voter\"").count() + voters.matches("\"leader\"").count(), 3, "{voters}");
    // All of one cluster, though nobody formatted anything.
    let id_of = |name: &str| {
        let text = std::fs::read_to_string(quorum.logs(name).join("meta.properties")).unwrap();
        text.lines().find(|line| line.starts_with("cluster.id=")).unwrap().to_owned()
    };
    assert_eq!([id_of("kafka2"), id_of("kafka3")], [id_of("kafka1"), id_of("kafka1")]);
}

#[test]
fn controllers_that_are_no_brokers() {
    let ports = free_ports(5);
    let quorum = Quorum::of(&ports[..3]);
    let controller = |id: i32, port: &u16| {
        let own = format!("process.roles=controller\nnode.id={id}\nlisteners=CONTROLLER://:{port}");
        quorum.file(&format!("controller{id}"), &own)
    };
    let mut files: Vec<PathBuf> = (1..).zip(&ports[..3]).map(|(id, port)| controller(id, port)).collect();
    files.extend((4..).zip(&ports[3..]).map(|(id, port): (i32, &u16)| {
        // The name that a broker's id had before KRaft.
        let own = format!("process.roles=broker\nbroker.id={id}\nlisteners=PLAINTEXT://localhost:{port}");
        quorum.file(&format!("broker{id}"), &own)
    }));
    let mut nodes = begin_all(&files);
    let all = format!("localhost:{},localhost:{}", ports[3], ports[4]);
    for (at, node) in nodes.iter_mut().enumerate().take(3) {
        node.kill();
        let topic = format!("t{at}");
        ok(&all, &["topics", "create", &topic, "-p", "2", "-r", "2", "--timeout", "60s"], b"");
        ok(&all, &["produce", &topic, "--acks", "all"], lines(0, 50).as_bytes());
        node.start_again();
    }
    nodes[3].kill();
    ok(&all, &["produce", "t0", "--acks", "all", "-X", "delivery.timeout.ms=120000"], lines(50, 100).as_bytes());
    nodes[3].start_again();
    assert_eq!(nodes[0].stop(), Some(0));
    assert_eq!(sorted(&ok(&all, &["consume", "t0", "-e"], b"")), lines(0, 100));
}

#[test]
fn files_that_do_not_go_together_are_told_of() {
    let ports = free_ports(6);
    let quorum = Quorum::of(&ports[..2]);
    let refused = |name: &str, own: &str, parts: &[&str]| {
        let file = quorum.file(name, own);
        let mut command = rkafka();
        command.args(["broker", "run", "--config", file.to_str().unwrap()]);
        run(command, b"").fails(2, parts);
    };
    refused("stranger", &combined(7, ports[2], ports[3]), &["node.id", "must be one of the voters"]);
    refused(
        "deaf",
        "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://:0",
        &["no listener for controllers"],
    );
    refused("mute", "process.roles=broker\nnode.id=1\nlisteners=PLAINTEXT://:0", &["needs the role `controller`"]);

    // Alone of two: it says whom it waits for, and can be told to end.
    let first = quorum.file("first", &combined(1, ports[2], ports[0]));
    let mut node = Node::begin(&first);
    let line = node.hears("node 2");
    assert!(
        line.contains("does not answer") && line.contains("cannot be reached") && line.contains(&ports[1].to_string()),
        "{line}"
    );
    assert_eq!(node.stop(), Some(143));

    // The second is of another cluster.
    let second = quorum.file("second", &combined(2, ports[3], ports[1]));
    let logs = quorum.logs("second");
    std::fs::create_dir(&logs).unwrap();
    let meta = "version=1\nnode.id=2\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=eOAqi1cpSbu7gzmEVJ0tNQ\n";
    std::fs::write(logs.join("meta.properties"), meta).unwrap();
    let one = Node::begin(&first);
    let two = Node::begin(&second);
    for line in [one.hears("another cluster"), two.hears("another cluster")] {
        assert!(line.contains("meta.properties"), "{line}");
    }
    drop(two);
    std::fs::remove_dir_all(&logs).unwrap();
    let _two = Node::begin(&second);
    one.hears("ready on ");

    // Two brokers of one id.
    let broker = |name: &str, port: u16| {
        quorum.file(name, &format!("process.roles=broker\nnode.id=3\nlisteners=PLAINTEXT://localhost:{port}"))
    };
    let three = Node::begin(&broker("three", ports[4]));
    three.hears("ready on ");
    let again = Node::begin(&broker("again", ports[5]));
    let line = again.hears("node.id=3");
    assert!(line.contains("another broker"), "{line}");
}
