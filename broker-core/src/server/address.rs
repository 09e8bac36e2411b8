//! Addresses of listeners, as Kafka writes them: `NAME://host:port`.

use std::sync::Arc;

use thiserror::Error;

use crate::config::BrokerConfig;

/// A listener that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListenerError {
    /// The text is not an address.
    #[error("`{0}` is no listener: expected NAME://host:port, such as PLAINTEXT://127.0.0.1:9092")]
    Malformed(String),
    /// The listener's name has no protocol, or one that is not there.
    #[error(
        "the listener {name} has the protocol {protocol}, and only PLAINTEXT is there; map the name by `listener.security.protocol.map={name}:PLAINTEXT`"
    )]
    Protocol {
        /// The listener's name.
        name: String,
        /// Its protocol.
        protocol: String,
    },
    /// Two listeners have one name.
    #[error("two listeners have the name {0}")]
    Twice(String),
    /// All listeners are kept for controllers.
    #[error(
        "`controller.listener.names` leaves no listener for clients; add one to `listeners`, such as PLAINTEXT://:9092"
    )]
    OnlyControllers,
    /// A node that is no controller has a listener for controllers.
    #[error(
        "`listeners` has one of `controller.listener.names`, and the node is no controller (`process.roles`); leave it out"
    )]
    NotAController,
    /// A node that is no broker has a listener for clients.
    #[error(
        "`listeners` has one that is not in `controller.listener.names`, and the node is no broker (`process.roles`)"
    )]
    NotABroker,
    /// Other nodes cannot reach the controller.
    #[error(
        "there are other nodes, and no listener for controllers: name one in `controller.listener.names`, such as \
         CONTROLLER, and on a controller put it into `listeners`"
    )]
    NoController,
    /// The listener for brokers is not among the listeners.
    #[error("`inter.broker.listener.name` is {0}, which is not in `listeners`, or is a controller's")]
    NoInterBroker(String),
    /// An advertised listener that is not among the listeners.
    #[error("`advertised.listeners` has {0}, which is not in `listeners`")]
    NotListening(String),
}

impl ListenerError {
    /// The setting that is to be changed.
    pub(crate) fn setting(&self) -> &'static str {
        match self {
            Self::OnlyControllers | Self::NoController => "controller.listener.names",
            Self::NoInterBroker(_) => "inter.broker.listener.name",
            Self::NotListening(_) => "advertised.listeners",
            Self::NotAController | Self::NotABroker => "listeners",
            Self::Malformed(_) | Self::Protocol { .. } | Self::Twice(_) => "listeners",
        }
    }
}

/// A listener as the settings have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerAddress {
    pub name: Arc<str>,
    /// Empty for every interface.
    pub host: String,
    /// 0 for any free port.
    pub port: u16,
    /// Whether it is for controllers.
    pub is_for_controllers: bool,
}

/// Where clients find a listener, or controllers theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub name: Arc<str>,
    pub host: String,
    pub port: u16,
}

fn parse(text: &str) -> Result<ListenerAddress, ListenerError> {
    let malformed = || ListenerError::Malformed(text.to_owned());
    let (name, address) = text.trim().split_once("://").ok_or_else(malformed)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| malformed())?;
    let name_is_good =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !name_is_good {
        return Err(malformed());
    }
    let name = name.to_ascii_uppercase().into();
    Ok(ListenerAddress { name, host: host.to_owned(), port, is_for_controllers: false })
}

/// Whether Kafka keeps the listener of this name for controllers.
fn is_for_controllers(config: &BrokerConfig, name: &str) -> bool {
    config.controller_listener_names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// The listeners of the settings, those for clients and brokers first.
pub(crate) fn listener_addresses(config: &BrokerConfig) -> Result<Vec<ListenerAddress>, ListenerError> {
    let mut addresses: Vec<ListenerAddress> = Vec::new();
    for text in &config.listeners {
        let mut address = parse(text)?;
        address.is_for_controllers = is_for_controllers(config, &address.name);
        let mapped = config.listener_security_protocol_map.iter().find_map(|entry| {
            let (name, protocol) = entry.split_once(':')?;
            name.trim().eq_ignore_ascii_case(&address.name).then(|| protocol.trim().to_owned())
        });
        // A name that nothing maps is the protocol itself, but for controllers, as in Kafka.
        let unmapped = || if address.is_for_controllers { "PLAINTEXT".to_owned() } else { address.name.to_string() };
        let protocol = mapped.unwrap_or_else(unmapped);
        if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
            return Err(ListenerError::Protocol { name: address.name.to_string(), protocol });
        }
        if addresses.iter().any(|other| other.name == address.name) {
            return Err(ListenerError::Twice(address.name.to_string()));
        }
        addresses.push(address);
    }
    addresses.sort_by_key(|address| address.is_for_controllers);
    let is_for_clients = |address: &ListenerAddress| !address.is_for_controllers;
    match (config.is_broker(), config.is_controller()) {
        (true, _) if !addresses.iter().any(is_for_clients) => return Err(ListenerError::OnlyControllers),
        (true, false) if !addresses.iter().all(is_for_clients) => return Err(ListenerError::NotAController),
        (false, _) if addresses.iter().any(is_for_clients) => return Err(ListenerError::NotABroker),
        (_, true) if !config.is_alone() && addresses.iter().all(is_for_clients) => {
            return Err(ListenerError::NoController);
        }
        _ => {}
    }
    if !config.is_controller() && config.controller_listener_names.is_empty() {
        return Err(ListenerError::NoController);
    }
    if let Some(name) = &config.inter_broker_listener_name
        && config.is_broker()
        && addresses.iter().filter(|address| is_for_clients(address)).all(|it| !it.name.eq_ignore_ascii_case(name))
    {
        return Err(ListenerError::NoInterBroker(name.clone()));
    }
    Ok(addresses)
}

/// What others are told of the listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Advertised {
    /// To clients and brokers.
    pub to_clients: Vec<Endpoint>,
    /// To whoever asks for the controllers. Nodes of the cluster find them by `controller.quorum.voters`.
    pub to_controllers: Vec<Endpoint>,
}

/// What others are told: the advertised listener of each name, or else the listener's own address with its `ports`.
pub(crate) fn advertised(
    config: &BrokerConfig,
    listeners: &[ListenerAddress],
    ports: &[u16],
) -> Result<Advertised, ListenerError> {
    let told = config.advertised_listeners.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let is_stray = |told: &&ListenerAddress| listeners.iter().all(|listener| listener.name != told.name);
    if let Some(stray) = told.iter().find(is_stray) {
        return Err(ListenerError::NotListening(stray.name.to_string()));
    }
    let mut advertised = Advertised::default();
    for (listener, port) in listeners.iter().zip(ports) {
        let told = told.iter().find(|told| told.name == listener.name);
        let host = told.map_or(&listener.host, |told| &told.host);
        let host = if matches!(host.as_str(), "" | "0.0.0.0" | "::") { "localhost" } else { host };
        let port = told.map_or(*port, |told| if told.port == 0 { *port } else { told.port });
        let endpoint = Endpoint { name: Arc::clone(&listener.name), host: host.to_owned(), port };
        let of_kind = match listener.is_for_controllers {
            true => &mut advertised.to_controllers,
            false => &mut advertised.to_clients,
        };
        of_kind.push(endpoint);
    }
    Ok(advertised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_as_kafka_writes_them() {
        let config = BrokerConfig::new()
            .listeners("PLAINTEXT://:0, inside://[::1]:9093")
            .listener_security_protocol_map("PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT")
            .advertised_listeners("INSIDE://broker.example:19093");
        let listeners = listener_addresses(&config).unwrap();
        assert_eq!(
            listeners[1],
            ListenerAddress { name: "INSIDE".into(), host: "::1".to_owned(), port: 9093, is_for_controllers: false }
        );
        let endpoints = advertised(&config, &listeners, &[4000, 9093]).unwrap().to_clients;
        assert_eq!((endpoints[0].host.as_str(), endpoints[0].port), ("localhost", 4000));
        assert_eq!((endpoints[1].host.as_str(), endpoints[1].port), ("broker.example", 19093));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let refused = |config: BrokerConfig| listener_addresses(&config).unwrap_err();
        assert!(matches!(refused(BrokerConfig::new().listeners("localhost:9092")), ListenerError::Malformed(_)));
        assert!(matches!(refused(BrokerConfig::new().listeners("SSL://:9092")), ListenerError::Protocol { .. }));
        assert!(matches!(
            refused(BrokerConfig::new().listeners("PLAINTEXT://:1,PLAINTEXT://:2")),
            ListenerError::Twice(_)
        ));
        let stray = BrokerConfig::new().advertised_listeners("OTHER://a:1");
        let listeners = listener_addresses(&stray).unwrap();
        assert!(matches!(advertised(&stray, &listeners, &[1]), Err(ListenerError::NotListening(_))));
    }
}
