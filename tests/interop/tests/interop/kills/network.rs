//! Network namespaces, one for each broker, joined by a bridge of which any part can be cut. Needs Linux, root and `ip`.

use std::net::Ipv4Addr;
use std::process::Command;

use rkafka_testkit::Host;

/// Brokers' networks. Gone when dropped.
#[derive(Debug)]
pub(super) struct Network {
    /// What all its devices and namespaces are called, before a number.
    name: String,
    subnet: u8,
    count: usize,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Network {
    pub(super) fn new(count: usize) -> Result<Self, String> {
        let id = std::process::id();
        // Two test processes at a time have other subnets but by bad luck, and then the bridge cannot be made.
        let network = Self { name: format!("rk{id}"), subnet: (id % 250) as u8 + 1, count };
        network.build().map(|()| network)
    }

    fn build(&self) -> Result<(), String> {
        let name = &self.name;
        ip(&format!("link add {name} type bridge"))?;
        ip(&format!("addr add {}/24 dev {name}", self.address(254)))?;
        ip(&format!("link set {name} up"))?;
        for number in 1..=self.count {
            let (namespace, address) = (format!("{name}-{number}"), self.address(number as u8));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {namespace} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {namespace} master {name} up"))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(())
    }

    fn address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.subnet, number)
    }

    pub(super) fn hosts(&self) -> Vec<Host> {
        let host = |number: usize| Host {
            address: self.address(number as u8),
            namespace: Some(format!("{}-{number}", self.name)),
            data: None,
        };
        (1..=self.count).map(host).collect()
    }

    /// Cuts a broker, counted from 0, off from everybody, clients too. Connections stay, and nothing goes over them.
    pub(super) fn cut(&self, broker: usize) {
        ip(&format!("link set {}-{} down", self.name, broker + 1)).expect("cut off");
    }

    pub(super) fn join(&self, broker: usize) {
        ip(&format!("link set {}-{} up", self.name, broker + 1)).expect("joined");
    }

    fn route_between(&self, what: &str, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let to = self.address(to as u8 + 1);
            ip(&format!("-n {}-{} route {what} blackhole {to}/32", self.name, from + 1)).expect("a route");
        }
    }

    /// Cuts two brokers off from each other. Everybody else reaches both.
    pub(super) fn cut_between(&self, one: usize, other: usize) {
        self.route_between("add", one, other);
    }

    pub(super) fn join_between(&self, one: usize, other: usize) {
        self.route_between("del", one, other);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=self.count {
            drop(ip(&format!("netns del {}-{number}", self.name)));
        }
        drop(ip(&format!("link del {}", self.name)));
    }
}
