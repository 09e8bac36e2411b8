//! Brokers as processes of their own: started together, killed, held and started again one by one.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Child;
use crate::real_kafka::{java, kafka_jars};

/// How long brokers may take to answer; far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

/// Which broker runs in the processes. Both take the same file of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Apache Kafka.
    Kafka,
    /// The command line of rkafka, by its path: `rkafka broker run`.
    Rkafka(PathBuf),
}

/// Where a broker runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// The address that it listens on.
    pub address: Ipv4Addr,
    /// The network namespace (`ip netns`) that its process is in.
    pub namespace: Option<String>,
    /// Where it keeps its data; a folder of its own where none is named.
    pub data: Option<PathBuf>,
}

impl Host {
    /// This machine.
    pub fn local() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, namespace: None, data: None }
    }
}

/// A cluster of brokers, each a process and also a controller. Ends with all its data when dropped, and with the test's
/// process at the latest.
#[derive(Debug)]
pub struct BrokerProcesses {
    folder: PathBuf,
    program: Program,
    brokers: Vec<Broker>,
    /// Takes the folder along, however the test's process ends: brokers come and go, and the folder stays.
    _keeper: Child,
}

#[derive(Debug)]
struct Broker {
    host: Host,
    address: SocketAddr,
    properties: PathBuf,
    /// `None` while it is killed.
    process: Option<Child>,
    /// How long its log was when it was started.
    log_start: u64,
}

impl Broker {
    fn log(&self) -> PathBuf {
        self.properties.with_file_name("server.log")
    }

    /// What it has said since it was started.
    fn said(&self) -> String {
        let mut said = Vec::new();
        let read = std::fs::File::open(self.log()).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.log_start))?;
            log.read_to_end(&mut said)
        });
        read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&said).into_owned())
    }

    /// Starts it; what it says goes to `server.log` beside its properties.
    fn run(&mut self, program: &Program) -> Result<(), String> {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(|error| error.to_string())?;
        self.log_start = log.metadata().map_err(|error| error.to_string())?.len();
        let also = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = match program {
            Program::Kafka => java(&kafka_jars()?, "512m"),
            Program::Rkafka(path) => Command::new(path),
        };
        match program {
            Program::Kafka => command.arg("kafka.Kafka").arg(&self.properties),
            Program::Rkafka(_) => command.args(["broker", "run", "--config"]).arg(&self.properties),
        };
        if let Some(namespace) = &self.host.namespace {
            let mut within = Command::new("ip");
            within.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
            command = within;
        }
        let child = Child::spawn(&command, None, |command| {
            command.stdout(log).stderr(also);
        });
        self.process = Some(child.map_err(|error| format!("{program:?}: {error}"))?);
        Ok(())
    }

    fn is_ready(&self, program: &Program) -> bool {
        match program {
            // The port opens once the broker has joined the cluster.
            Program::Kafka => TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok(),
            Program::Rkafka(_) => self.said().contains(" ready on "),
        }
    }
}

fn free_port(address: Ipv4Addr) -> std::io::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

impl BrokerProcesses {
    /// Starts a broker on each host, with more lines of `server.properties` for each node id (counted from 1), and waits until
    /// each answers. Blocks.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub fn start(program: Program, hosts: &[Host], properties: impl Fn(usize) -> String) -> Result<Self, String> {
        if program == Program::Kafka {
            kafka_jars()?;
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
        let mut sleep = Command::new("sleep");
        sleep.arg("2147483647");
        let keeper = Child::spawn(&sleep, Some(&folder), |_| {}).map_err(|error| format!("sleep: {error}"))?;
        let mut cluster = Self { folder, program, brokers: Vec::new(), _keeper: keeper };
        let ports = |host: &Host| match host.namespace {
            // An address of its own has all ports free.
            Some(_) => Ok((9092, 9093)),
            None => (|| Ok((free_port(host.address)?, free_port(host.address)?)))(),
        };
        let ports: Result<Vec<_>, std::io::Error> = hosts.iter().map(ports).collect();
        let ports = ports.map_err(|error| error.to_string())?;
        let voters: Vec<String> = (hosts.iter().zip(&ports).enumerate())
            .map(|(index, (host, (_, controller)))| format!("{}@{}:{controller}", index + 1, host.address))
            .collect();
        for (index, (host, ports)) in hosts.iter().zip(ports).enumerate() {
            cluster.start_broker(index + 1, host, ports, &voters.join(","), &properties(index + 1))?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    fn start_broker(
        &mut self,
        id: usize,
        host: &Host,
        (port, controller): (u16, u16),
        voters: &str,
        more: &str,
    ) -> Result<(), String> {
        let home = self.folder.join(id.to_string());
        std::fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        let data = host.data.clone().unwrap_or_else(|| home.join("data"));
        let address = host.address;
        let replicas = voters.split(',').count().min(3);
        // Where one broker may go, what is acknowledged is on two, and that it went is noticed soon.
        let of_several = match replicas {
            3 => "min.insync.replicas=2\nbroker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n",
            _ => "",
        };
        let min_isr = replicas.min(2);
        let properties = format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://{address}:{port},CONTROLLER://{address}:{controller}\n\
             advertised.listeners=PLAINTEXT://{address}:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={data}\n\
             num.partitions=3\noffsets.topic.num.partitions=4\noffsets.topic.replication.factor={replicas}\n\
             transaction.state.log.num.partitions=4\ntransaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={min_isr}\nshare.coordinator.state.topic.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor={replicas}\n\
             share.coordinator.state.topic.min.isr=1\ndefault.replication.factor={replicas}\n\
             group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
             group.consumer.min.session.timeout.ms=1000\ngroup.consumer.min.heartbeat.interval.ms=100\n\
             auto.create.topics.enable=true\n{of_several}{more}\n",
            data = data.display()
        );
        let file = home.join("server.properties");
        std::fs::write(&file, properties).map_err(|error| error.to_string())?;
        if self.program == Program::Kafka {
            format_folder(&file)?;
        }
        let address = SocketAddr::from((address, port));
        let mut broker = Broker { host: host.clone(), address, properties: file, process: None, log_start: 0 };
        broker.run(&self.program)?;
        self.brokers.push(broker);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process to come up")]
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        for broker in self.brokers.iter_mut().filter(|broker| broker.process.is_some()) {
            while !broker.is_ready(&self.program) {
                if let Some(Ok(Some(status))) = broker.process.as_mut().map(Child::try_wait) {
                    return Err(format!("the broker ended with {status}: {}", broker.said()));
                }
                if Instant::now() > deadline {
                    return Err(format!("the broker did not come up within {LIMIT:?}: {}", broker.said()));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The brokers as `bootstrap.servers` has them.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| broker.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// What a broker, counted from 0, has said since it was started last.
    pub fn said(&self, index: usize) -> String {
        self.brokers[index].said()
    }

    /// Kills a broker, counted from 0, as `kill -9` does.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(&mut self, index: usize) -> std::io::Result<()> {
        match self.brokers[index].process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Sends a broker, counted from 0, a signal by its name: `STOP` holds it, and `CONT` lets it go on.
    ///
    /// # Panics
    /// It does not run, or there is no `kill`.
    pub fn signal(&self, index: usize, name: &str) {
        self.brokers[index].process.as_ref().expect("it runs").signal(name);
    }

    /// Stops a broker, counted from 0, in good order, and waits until it is gone. Blocks.
    ///
    /// # Panics
    /// It does not end within two minutes.
    pub fn stop(&mut self, index: usize) {
        if let Some(mut process) = self.brokers[index].process.take() {
            process.signal("TERM");
            process.wait(LIMIT);
        }
    }

    /// Waits until a broker, counted from 0, has ended by itself. Blocks.
    ///
    /// # Panics
    /// It does not end within two minutes.
    pub fn wait_for_end(&mut self, index: usize) {
        if let Some(mut process) = self.brokers[index].process.take() {
            process.wait(LIMIT);
        }
    }

    /// Starts a broker that was killed or stopped, under its old address and with its old folder, and waits until it answers.
    /// Blocks.
    ///
    /// # Errors
    /// It does not come up.
    pub fn revive(&mut self, index: usize) -> Result<(), String> {
        self.brokers[index].run(&self.program)?;
        self.wait_until_ready()
    }
}

/// What Kafka wants before a broker's first start.
fn format_folder(properties: &Path) -> Result<(), String> {
    // Any 16 bytes in base64url; the same for every broker.
    let cluster_id = "cmthZmthLXRlc3RzLTEyMw";
    let formatted = java(&kafka_jars()?, "128m")
        .args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"])
        .arg(properties)
        .output()
        .map_err(|error| format!("java: {error}"))?;
    match formatted.status.success() {
        true => Ok(()),
        false => Err(format!("Kafka could not format its folder: {}", String::from_utf8_lossy(&formatted.stderr))),
    }
}

impl Drop for BrokerProcesses {
    fn drop(&mut self) {
        self.brokers.clear();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
