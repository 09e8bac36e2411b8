//! One run: a cluster and its clients, a time of faults, a time in which everything heals, and the judgement.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rkafka_broker_core::MetadataImage;
use rkafka_broker_core::storage::faulty::{Survival, Trouble};

use crate::clients::{self, Shared, TOPIC};
use crate::host::Host;
use crate::net::{HostId, Net};
use crate::node::{BROKERS, Node};
use crate::plan::{Fault, Plan};
use crate::rng::Rng;
use crate::watch::Watch;

/// The hosts of the clients.
const CREATOR: HostId = 100;
const READER: HostId = 101;
const LAST_READER: HostId = 102;
const PRODUCERS: HostId = 110;
/// How long the cluster may take to be there, and how long to heal, in microseconds.
const START_US: u64 = 60_000_000;
const HEAL_US: u64 = 90_000_000;
/// How long producers go on after everything has healed, in microseconds.
const AFTERWARDS_US: u64 = 3_000_000;
/// After how many steps the brokers are looked into.
const LOOK_EVERY: u64 = 4;

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The hash of all that happened.
    pub hash: u64,
    /// How many things happened.
    pub events: u64,
    /// How long it took by its own clock, in microseconds.
    pub virtual_us: u64,
    /// Records that were sent, acknowledged, and read.
    pub records: (u64, u64, u64),
    /// How many faults there were.
    pub faults: u64,
    /// How many leaders were elected.
    pub elections: u64,
    /// What must not be and was.
    pub violations: Vec<String>,
}

/// Something that is due at a moment.
#[derive(Debug, Clone, Copy)]
enum Due {
    Start(HostId),
    MendDisk(HostId),
}

struct World {
    net: Net,
    plan: Plan,
    rng: Rng,
    now_us: u64,
    steps: u64,
    nodes: Vec<Node>,
    clients: Vec<Host>,
    shared: Arc<Shared>,
    watch: Watch,
    due: Vec<(u64, Due)>,
    /// Who lost what it had not synced, and is not back in sync.
    dirty: Option<HostId>,
    faults: u64,
    violations: Vec<String>,
}

/// Runs a seed.
///
/// # Errors
/// The system has nothing left for the machines.
pub fn run(seed: u64) -> io::Result<Outcome> {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng);
    tracing::info!(?plan, "the plan");
    let net = Net::new(rng.fork(), plan.weather.clone());
    let nodes = (1..=BROKERS).map(|id| Node::new(id, &net, &plan)).collect();
    let mut world = World {
        net,
        plan,
        rng,
        now_us: 0,
        steps: 0,
        nodes,
        clients: Vec::new(),
        shared: Arc::default(),
        watch: Watch::default(),
        due: Vec::new(),
        dirty: None,
        faults: 0,
        violations: Vec::new(),
    };
    world.begin()?;
    if world.violations.is_empty() {
        world.time_of_faults()?;
    }
    if world.is_sound() {
        world.heal()?;
    }
    if world.is_sound() {
        world.judge()?;
    }
    Ok(world.outcome())
}

impl World {
    fn is_sound(&self) -> bool {
        self.violations.is_empty() && self.shared.history().violations().is_empty()
    }

    /// As [`World::wrong`], of something that did not come about in time; unless it was given up for another reason.
    fn late(&mut self, words: String) {
        if self.is_sound() {
            self.wrong(words);
        }
    }

    fn wrong(&mut self, words: String) {
        self.violations.push(format!("{} ms: {words}", self.now_us / 1000));
    }

    /// Everything goes on by one step.
    fn step(&mut self) -> io::Result<()> {
        let step_us = self.plan.step_us;
        self.now_us += step_us;
        self.steps += 1;
        self.net.deliver(self.now_us);
        let now_us = self.now_us;
        let mut order: Vec<usize> = (0..self.nodes.len() + self.clients.len()).collect();
        self.rng.shuffle(&mut order);
        for at in order {
            let brokers = self.nodes.len();
            let host = match self.nodes.get_mut(at) {
                Some(node) => node.host(),
                None => self.clients.get_mut(at - brokers),
            };
            if let Some(host) = host {
                host.run_to(now_us, step_us);
            }
        }
        self.care_for_nodes()?;
        if self.steps.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
        Ok(())
    }

    fn look(&mut self) {
        let mut wrong = Vec::new();
        for node in &self.nodes {
            if let Some(state) = node.state() {
                self.watch.look(node.id, node.starts, &state, &mut wrong);
            }
        }
        wrong.truncate(10);
        for words in wrong {
            self.wrong(words);
        }
        // The controller has it in sync until it misses it, so it must have been missed, or have come back.
        if let Some(dirty) = self.dirty
            && self.node(dirty).serves()
            && self.image().is_some_and(|image| is_in_sync(&image, dirty))
        {
            self.dirty = None;
        }
    }

    /// What is due, and what became of brokers by themselves.
    fn care_for_nodes(&mut self) -> io::Result<()> {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if let Some(words) = node.has_ended() {
                let id = node.id;
                tracing::info!(id, now_ms = self.now_us / 1000, words, "a broker ended");
                // Whatever ended it, the process is gone; the machine is not.
                node.kill(Survival::All);
                self.net.note("ended", &[u64::from(id)], words.as_bytes());
                self.start_later(id);
            }
        }
        let now_us = self.now_us;
        let (now, later): (Vec<_>, Vec<_>) = self.due.iter().copied().partition(|(at, _)| *at <= now_us);
        self.due = later;
        for (_, due) in now {
            match due {
                Due::Start(id) => self.switch_on(id)?,
                Due::MendDisk(id) => self.node(id).mend(),
            }
        }
        Ok(())
    }

    fn node(&mut self, id: HostId) -> &mut Node {
        &mut self.nodes[usize::from(id - 1)]
    }

    fn switch_on(&mut self, id: HostId) -> io::Result<()> {
        if self.node(id).is_on() {
            return Ok(());
        }
        tracing::info!(id, now_ms = self.now_us / 1000, "a broker starts");
        self.watch.forget(id);
        self.net.note("start", &[u64::from(id)], &[]);
        let now_us = self.now_us;
        self.node(id).start(now_us)
    }

    fn start_later(&mut self, id: HostId) {
        let wait = self.rng.within(100_000..8_000_000);
        self.due.push((self.now_us + wait, Due::Start(id)));
    }

    /// What the active controller has decided.
    fn image(&self) -> Option<Arc<MetadataImage>> {
        let states = self.nodes.iter().filter_map(Node::state);
        let mut active: Vec<_> = states.filter_map(|state| Some((state.active_controller_epoch()?, state))).collect();
        active.sort_by_key(|(epoch, _)| *epoch);
        active.pop().map(|(_, state)| state.image())
    }

    fn client(&mut self) -> io::Result<&mut Host> {
        self.clients.push(Host::start(self.now_us)?);
        let at = self.clients.len() - 1;
        Ok(&mut self.clients[at])
    }

    fn begin(&mut self) -> io::Result<()> {
        for id in 1..=BROKERS {
            self.switch_on(id)?;
        }
        let (net, plan, shared) = (self.net.clone(), self.plan.clone(), Arc::clone(&self.shared));
        self.client()?.spawn(clients::create_topic(net.clone(), CREATOR, plan.clone(), Arc::clone(&shared)));
        while !shared.is_created.load(Ordering::Relaxed) {
            self.step()?;
            if self.now_us > START_US {
                self.wrong("the cluster is not there in time".to_owned());
                return Ok(());
            }
        }
        for number in 0..plan.producers {
            let host = PRODUCERS + HostId::try_from(number).unwrap_or(0);
            let task = clients::produce(net.clone(), host, number, plan.clone(), self.rng.fork(), Arc::clone(&shared));
            self.client()?.spawn(task);
        }
        self.client()?.spawn(clients::consume(net, READER, plan, shared));
        Ok(())
    }

    fn time_of_faults(&mut self) -> io::Result<()> {
        let until_us = self.now_us + self.plan.faults_us;
        let mut next_us = self.now_us + self.rng.within(self.plan.pause_us.clone());
        while self.now_us < until_us && self.is_sound() {
            self.step()?;
            if self.now_us >= next_us {
                next_us = self.now_us + self.rng.within(self.plan.pause_us.clone());
                if let Some(fault) = self.plan.clone().next_fault(&mut self.rng) {
                    self.bring(fault);
                }
            }
        }
        Ok(())
    }

    fn any_node(&mut self) -> HostId {
        HostId::try_from(self.rng.within(1..u64::from(BROKERS) + 1)).unwrap_or(1)
    }

    /// Whether a broker may lose what it has not synced, and what was acknowledged is kept by others all the same: all
    /// are there and in sync, and stay until it is back in sync.
    fn may_lose(&self) -> bool {
        self.plan.group_commit
            || (self.dirty.is_none()
                && self.nodes.iter().all(Node::serves)
                && self.image().is_some_and(|image| (1..=BROKERS).all(|id| is_in_sync(&image, id))))
    }

    fn bring(&mut self, fault: Fault) {
        let id = self.any_node();
        // While the copy of one is short, the others keep theirs.
        let is_deadly = matches!(
            fault,
            Fault::Kill | Fault::KillAll | Fault::Tear | Fault::Stop | Fault::Broken | Fault::Full | Fault::Pause
        );
        if is_deadly && self.dirty.is_some() && !self.plan.group_commit {
            return;
        }
        self.faults += 1;
        tracing::info!(id, now_ms = self.now_us / 1000, ?fault, "a fault");
        self.net.note("fault", &[u64::from(id), fault as u64], &[]);
        match fault {
            Fault::CutOneWay => {
                let other = if self.rng.permille(200) { READER } else { self.any_node() };
                let (from, to) = if self.rng.permille(500) { (id, other) } else { (other, id) };
                if from != to {
                    self.net.cut(from, to);
                }
            }
            Fault::Isolate => {
                let clients_too = self.rng.permille(400);
                let mut others: Vec<HostId> = (1..=BROKERS).filter(|other| *other != id).collect();
                if clients_too {
                    others.extend([READER, LAST_READER]);
                    others.extend((0..self.plan.producers).map(|n| PRODUCERS + HostId::try_from(n).unwrap_or(0)));
                }
                for other in others {
                    self.net.cut(id, other);
                    self.net.cut(other, id);
                }
            }
            Fault::Mend => self.net.mend(),
            Fault::Reset => {
                let mut choice = self.rng.fork();
                self.net.reset_one(&mut choice);
            }
            Fault::Kill => self.kill(id, Survival::All),
            Fault::PowerLoss => {
                if self.may_lose() && self.node(id).is_on() {
                    self.dirty = Some(id);
                    let survival = if self.rng.permille(500) { Survival::Synced } else { Survival::Zeroed };
                    self.kill(id, survival);
                }
            }
            Fault::Tear => {
                let (ahead, left) = (self.rng.within(1..40), self.rng.within(0..100));
                self.node(id).tear(ahead, usize::try_from(left).unwrap_or(0));
            }
            Fault::Stop => self.node(id).stop(),
            Fault::KillAll => {
                for id in 1..=BROKERS {
                    self.kill(id, Survival::All);
                }
            }
            Fault::Pause => {
                let until_us = self.now_us + self.rng.within(50_000..7_000_000);
                if let Some(host) = self.node(id).host() {
                    host.pause_until(until_us);
                }
            }
            Fault::Jump => {
                let far = if self.rng.permille(300) { 3_600_000 } else { 5_000 };
                let by_ms = i64::try_from(self.rng.within(0..2 * far)).unwrap_or(0) - i64::try_from(far).unwrap_or(0);
                self.node(id).jump(by_ms);
            }
            Fault::Full => {
                self.node(id).trouble(Trouble::Full);
                let wait = self.rng.within(100_000..5_000_000);
                self.due.push((self.now_us + wait, Due::MendDisk(id)));
            }
            Fault::Broken => {
                self.node(id).trouble(Trouble::Broken);
                let wait = self.rng.within(100_000..2_000_000);
                self.due.push((self.now_us + wait, Due::MendDisk(id)));
            }
            Fault::Weather => {
                let weather = Plan::weather(&mut self.rng);
                self.net.set_weather(weather);
            }
        }
    }

    fn kill(&mut self, id: HostId, survival: Survival) {
        if self.node(id).is_on() {
            self.node(id).kill(survival);
            self.start_later(id);
        }
    }

    fn step_until(&mut self, within_us: u64, mut is_done: impl FnMut(&Self) -> bool) -> io::Result<bool> {
        let until_us = self.now_us + within_us;
        while self.now_us < until_us && self.is_sound() {
            self.step()?;
            if self.steps.is_multiple_of(LOOK_EVERY) && is_done(self) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn heal(&mut self) -> io::Result<()> {
        tracing::info!(now_ms = self.now_us / 1000, "everything heals");
        self.net.note("heal", &[], &[]);
        self.net.mend();
        self.net.set_weather(Plan::calm());
        self.due.clear();
        for id in 1..=BROKERS {
            self.node(id).mend();
            if let Some(host) = self.node(id).host() {
                host.resume();
            }
            self.switch_on(id)?;
        }
        if !self.step_until(HEAL_US, |world| {
            world.image().is_some_and(|image| (1..=BROKERS).all(|id| is_in_sync(&image, id)))
        })? {
            let partitions = self.image().map(|image| describe(&image));
            let replicas = self.replicas();
            self.late(format!("not all replicas are in sync in time: {partitions:?}, {replicas:?}"));
            return Ok(());
        }
        self.step_until(AFTERWARDS_US, |_| false)?;
        self.shared.is_over.store(true, Ordering::Relaxed);
        if !self.step_until(HEAL_US, |world| world.shared.waiting.load(Ordering::Relaxed) == 0)? {
            let waiting = self.shared.waiting.load(Ordering::Relaxed);
            self.late(format!("{waiting} records are neither acknowledged nor refused in time"));
            return Ok(());
        }
        if !self.step_until(HEAL_US, |world| world.ends().is_some())? {
            let replicas = self.replicas();
            self.late(format!("the replicas do not agree on how far everything is committed: {replicas:?}"));
            return Ok(());
        }
        let read_all = |world: &Self| {
            world.ends().is_some_and(|ends| ends.iter().all(|(at, end)| world.shared.position(*at) == *end))
        };
        if !self.step_until(HEAL_US, read_all)? {
            let ends = self.ends();
            let at: Vec<i64> = (0..self.plan.partitions).map(|n| self.shared.position(n)).collect();
            self.late(format!("the consumer has read up to {at:?} of {ends:?} and no further"));
        }
        Ok(())
    }

    /// How far each replica of each broker has come: its end, its high watermark, and whether it leads.
    fn replicas(&self) -> Vec<(HostId, i32, i64, i64, bool)> {
        let of_node = |node: &Node| {
            let replicas = node.state().map(|state| state.replicas()).unwrap_or_default();
            let id = node.id;
            replicas.into_iter().map(move |it| (id, it.partition, it.log_end, it.high_watermark, it.is_leader))
        };
        self.nodes.iter().flat_map(of_node).collect()
    }

    /// The ends of the partitions, once all replicas have the same and have it committed.
    fn ends(&self) -> Option<BTreeMap<i32, i64>> {
        let mut ends = BTreeMap::new();
        for node in &self.nodes {
            let replicas = node.state()?.replicas();
            let replicas = replicas.iter().filter(|replica| &*replica.topic == TOPIC);
            for replica in replicas {
                let end = *ends.entry(replica.partition).or_insert(replica.log_end);
                if (replica.log_end, replica.high_watermark) != (end, end) {
                    return None;
                }
            }
        }
        (ends.len() == usize::try_from(self.plan.partitions).ok()?).then_some(ends)
    }

    fn judge(&mut self) -> io::Result<()> {
        let Some(ends) = self.ends() else { return Ok(()) };
        let (net, plan, shared) = (self.net.clone(), self.plan.clone(), Arc::clone(&self.shared));
        self.client()?.spawn(clients::read_all(net, LAST_READER, plan, ends, Arc::clone(&shared)));
        let is_read = |world: &Self| world.shared.found.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !self.step_until(HEAL_US, is_read)? {
            self.late("a new consumer does not get everything in time".to_owned());
        }
        let found = shared.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(found) = found {
            shared.history().judge(&found);
        }
        Ok(())
    }

    fn outcome(mut self) -> Outcome {
        let (hash, events) = self.net.trace();
        let history = self.shared.history();
        let mut violations = std::mem::take(&mut self.violations);
        violations.extend_from_slice(history.violations());
        Outcome {
            hash,
            events,
            virtual_us: self.now_us,
            records: (history.sent, history.acked, history.read),
            faults: self.faults,
            elections: self.watch.elections,
            violations,
        }
    }
}

fn is_in_sync(image: &MetadataImage, id: HostId) -> bool {
    let Some(topic) = image.topic(TOPIC) else { return false };
    topic.partitions.iter().all(|partition| partition.isr.contains(&i32::from(id)))
}

fn describe(image: &MetadataImage) -> Vec<String> {
    let Some(topic) = image.topic(TOPIC) else { return Vec::new() };
    let partition = |it: &rkafka_broker_core::PartitionImage| {
        format!("leader {} epoch {} isr {:?}", it.leader, it.leader_epoch, it.isr)
    };
    topic.partitions.iter().map(partition).collect()
}
