//! A broker and its machine: started, killed, paused, started again on what its disk has kept.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rkafka_broker_core::storage::Storage;

use rkafka_broker_core::config::FlushPolicy;
use rkafka_broker_core::storage::faulty::{Fault, FaultyStorage, Survival, Trouble};
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle, BrokerState, Clock};

use crate::disk::Disk;
use crate::host::Host;
use crate::net::{HostId, Net, address};
use crate::plan::Plan;

/// How many brokers there are. Each is a controller too.
pub const BROKERS: HostId = 3;
/// What brokers serve clients at, and controllers each other.
pub const PORT: u16 = 9092;
const CONTROLLER_PORT: u16 = 9093;
/// Where the date of a simulation begins, as `chance.c` has it: 2026-01-01.
pub const EPOCH_MS: i64 = 1_767_225_600_000;
const DATA: &str = "/data";

/// Where a broker that is switched on stands.
#[derive(Debug, Default)]
enum Life {
    #[default]
    Starting,
    Serves(BrokerHandle),
    /// It did not start, or stopped; why.
    Ended(String),
}

/// A broker's machine that is switched on.
#[derive(Debug)]
struct Machine {
    host: Host,
    clock: Clock,
    life: Arc<Mutex<Life>>,
}

/// A broker, on or off.
#[derive(Debug)]
pub struct Node {
    /// Its id, and its host's number.
    pub id: HostId,
    net: Net,
    config: BrokerConfig,
    disk: FaultyStorage,
    machine: Option<Machine>,
    /// How far its date is off, in milliseconds.
    skew_ms: i64,
    /// How often it was switched on.
    pub starts: u64,
}

impl Node {
    /// A broker that was never on.
    pub fn new(id: HostId, net: &Net, plan: &Plan) -> Self {
        let voters: Vec<String> = (1..=BROKERS).map(|id| format!("{id}@{}", address(id, CONTROLLER_PORT))).collect();
        let listeners = format!("PLAINTEXT://{},CONTROLLER://{}", address(id, PORT), address(id, CONTROLLER_PORT));
        let config = BrokerConfig::new()
            .node_id(i32::from(id))
            .listeners(listeners.as_str())
            .controller_listener_names("CONTROLLER")
            .controller_quorum_voters(voters.join(",").as_str())
            .log_dirs(DATA)
            .default_replication_factor(3)
            .min_insync_replicas(2)
            .auto_create_topics_enable(false)
            .broker_session_timeout(Duration::from_secs(3))
            .broker_heartbeat_interval(Duration::from_millis(500))
            .replica_lag_time_max(Duration::from_secs(4))
            .replica_socket_timeout(Duration::from_secs(5))
            .log_roll_ms(Duration::from_millis(plan.roll_ms))
            .group_initial_rebalance_delay(Duration::ZERO)
            .log_flush_policy(if plan.group_commit { FlushPolicy::Group } else { FlushPolicy::Interval });
        let net = net.clone();
        Self { id, net, config, disk: FaultyStorage::new(), machine: None, skew_ms: 0, starts: 0 }
    }

    /// Switches it on.
    ///
    /// # Errors
    /// The system has nothing left for a machine.
    pub fn start(&mut self, now_us: u64) -> std::io::Result<()> {
        self.starts += 1;
        self.net.set_dark(self.id, false);
        let host = Host::start(now_us)?;
        let date = EPOCH_MS + i64::try_from(now_us / 1000).unwrap_or(0) + self.skew_ms;
        let clock = host.within(|| Clock::simulated(date));
        let life: Arc<Mutex<Life>> = Arc::default();
        let builder = Broker::builder()
            .config(self.config.clone())
            .clock(clock.clone())
            .storage(Arc::new(Disk(self.disk.clone())))
            .dialer(self.net.dialer(self.id))
            .bound("PLAINTEXT", self.net.listen(self.id, PORT))
            .bound("CONTROLLER", self.net.listen(self.id, CONTROLLER_PORT));
        let told = Arc::clone(&life);
        host.spawn(async move {
            let started = builder.start().await;
            let mut life = told.lock().unwrap_or_else(PoisonError::into_inner);
            *life = match started {
                Ok(handle) => Life::Serves(handle),
                Err(error) => Life::Ended(error.to_string()),
            };
        });
        self.machine = Some(Machine { host, clock, life });
        Ok(())
    }

    /// Switches it off as kill -9 or a loss of power does, and says what its disk has kept.
    pub fn kill(&mut self, survival: Survival) {
        if survival != Survival::All {
            self.net.set_dark(self.id, true);
        }
        let Some(machine) = self.machine.take() else { return };
        self.disk.fail_at(self.disk.operations() + 1, Fault::Crash);
        self.end(machine);
        self.disk = self.disk.after_crash(survival);
    }

    fn end(&self, machine: Machine) {
        let life = std::mem::take(&mut *machine.life.lock().unwrap_or_else(PoisonError::into_inner));
        machine.host.within(|| drop(life));
        drop(machine);
        self.net.close_doors(self.id);
    }

    /// Begins to stop it in good order; [`Node::has_ended`] says when that is done.
    pub fn stop(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        let mut life = machine.life.lock().unwrap_or_else(PoisonError::into_inner);
        if let Life::Serves(handle) = std::mem::take(&mut *life) {
            let told = Arc::clone(&machine.life);
            machine.host.spawn(async move {
                let stopped = handle.shutdown().await;
                let words = stopped.map_or_else(|error| error.to_string(), |()| "stopped".to_owned());
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Life::Ended(words);
            });
        }
    }

    /// Why it ended by itself, if it did: it did not start, was stopped, or its disk failed.
    pub fn has_ended(&self) -> Option<String> {
        let is_stopped = |error: &std::io::Error| error.kind() == std::io::ErrorKind::Other;
        // The machine dies with its disk, where the disk is to stop in the middle of a write.
        if self.is_on() && self.disk.open(Path::new(DATA)).is_err_and(|error| is_stopped(&error)) {
            return Some("it died in the middle of a write".to_owned());
        }
        match &*self.machine.as_ref()?.life.lock().unwrap_or_else(PoisonError::into_inner) {
            Life::Ended(words) => Some(words.clone()),
            // A program that embeds a broker ends when its disk has failed.
            Life::Serves(handle) => match pin!(handle.failed()).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(words) => Some(words),
                Poll::Pending => None,
            },
            Life::Starting => None,
        }
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether it serves.
    pub fn serves(&self) -> bool {
        self.state().is_some()
    }

    /// Its inside, while it serves.
    pub fn state(&self) -> Option<Arc<BrokerState>> {
        match &*self.machine.as_ref()?.life.lock().unwrap_or_else(PoisonError::into_inner) {
            Life::Serves(handle) => Some(Arc::clone(handle.state())),
            Life::Starting | Life::Ended(_) => None,
        }
    }

    /// Its machine, while it is on.
    pub fn host(&mut self) -> Option<&mut Host> {
        self.machine.as_mut().map(|machine| &mut machine.host)
    }

    /// Sets its date forward or back.
    pub fn jump(&mut self, by_ms: i64) {
        self.skew_ms += by_ms;
        if let Some(machine) = &self.machine {
            machine.clock.jump(by_ms);
        }
    }

    /// Makes trouble for its disk.
    pub fn trouble(&self, trouble: Trouble) {
        self.disk.trouble(PathBuf::from(DATA), trouble);
    }

    /// Mends its disk.
    pub fn mend(&self) {
        self.disk.mend();
    }

    /// Has its disk stop in the middle of a write that is so many operations ahead, so that the machine dies there.
    pub fn tear(&self, operations_ahead: u64, bytes_left: usize) {
        self.disk.fail_at(self.disk.operations() + operations_ahead, Fault::CrashTorn(bytes_left));
    }
}
