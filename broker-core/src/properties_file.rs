//! A properties file as Kafka's brokers have it, such as the `server.properties` of its distribution.
//!
//! Kafka has more settings than this broker. Of those, one that tunes what does not exist here (threads, purgatories)
//! changes nothing and is noted; one that would change what may happen to records or who may read them is refused, for
//! somebody relies on it.

use rkafka_config::{ConfigError, PropertiesError, Property, nearest, parse_properties};

use crate::BrokerConfig;
use crate::kafka_settings::{self, ConfigType};
use crate::server;

/// The settings of a file, and what there is to say about the lines that are none of them. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadedConfig {
    /// The settings.
    pub config: BrokerConfig,
    /// Lines that somebody may rely on, and that are left out: a name that neither Kafka nor this broker knows, and
    /// security settings of listeners that are not there.
    pub warnings: Vec<String>,
    /// Lines of Kafka's that have nothing to change here.
    pub notes: Vec<String>,
}

impl BrokerConfig {
    /// Reads a properties file as Kafka's brokers have it.
    ///
    /// # Errors
    /// A line that is no property, a value that a setting cannot take, a setting of Kafka's that may not be passed over
    /// in silence and is not there, or settings that do not go together. The error names the line and the setting.
    pub fn load_properties(text: &str) -> Result<LoadedConfig, PropertiesError> {
        let properties = parse_properties(text)?;
        let mut loaded = LoadedConfig { config: Self::new(), warnings: Vec::new(), notes: Vec::new() };
        for property in &properties {
            let failed = |source| PropertiesError::Setting { line: property.line, source };
            match loaded.config.set(&property.key, &property.value) {
                Ok(()) => {}
                Err(ConfigError::Unknown { .. }) => match without_declaration(property).map_err(failed)? {
                    Without::Warning(text) => loaded.warnings.push(format!("line {}: {text}", property.line)),
                    Without::Note(text) => loaded.notes.push(format!("line {}: {text}", property.line)),
                    Without::Nothing => {}
                },
                Err(source) => return Err(failed(source)),
            }
        }
        let whole = loaded.config.validate().and_then(|()| {
            let listeners = server::listener_addresses(&loaded.config);
            listeners.map(drop).map_err(|error| ConfigError::Unsupported {
                name: error.setting().to_owned(),
                reason: error.to_string(),
            })
        });
        whole.map_err(|source| match line_of(&properties, source.name()) {
            Some(line) => PropertiesError::Setting { line, source },
            None => PropertiesError::Whole(source),
        })?;
        Ok(loaded)
    }
}

/// The line that set a setting, under any of its names.
fn line_of(properties: &[Property], name: &str) -> Option<usize> {
    let aliases = BrokerConfig::describe().iter().find(|doc| doc.name == name).map_or(&[][..], |doc| doc.aliases);
    let last = properties.iter().rfind(|property| property.key == name || aliases.contains(&property.key.as_str()));
    last.map(|property| property.line)
}

/// What there is to say about a line whose setting is not declared.
enum Without {
    /// It says what holds here anyway.
    Nothing,
    Note(String),
    Warning(String),
}

fn without_declaration(property: &Property) -> Result<Without, ConfigError> {
    let (name, value) = (property.key.as_str(), property.value.trim());
    let Some((kind, _)) = kafka_settings::find(name) else {
        return Ok(unknown(name));
    };
    if !kind.reads(value) {
        return Err(ConfigError::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: kind.to_string(),
        });
    }
    if value.is_empty() {
        return Ok(Without::Nothing);
    }
    if let Some((only, reason)) = must_be(name) {
        if only.iter().any(|allowed| value.eq_ignore_ascii_case(allowed)) {
            return Ok(Without::Nothing);
        }
        return Err(ConfigError::Unsupported { name: name.to_owned(), reason: reason.to_owned() });
    }
    if name.starts_with("ssl.") || name.starts_with("sasl.") || name.starts_with("delegation.token.") {
        return Ok(Without::Warning(format!(
            "`{name}` is left out: every listener is PLAINTEXT here, so that connections are neither encrypted nor \
             authenticated"
        )));
    }
    if kind == ConfigType::Class || name.ends_with(".reporters") {
        return Ok(Without::Warning(format!("`{name}` is left out: Java classes cannot be loaded here")));
    }
    Ok(Without::Note(format!("`{name}` has nothing to change here; the line is left out")))
}

fn unknown(name: &str) -> Without {
    if name.starts_with("listener.name.") || matches!(name, "super.users" | "allow.everyone.if.no.acl.found") {
        return Without::Warning(format!(
            "`{name}` is left out: there is no authentication and no authorizer here, everyone may do everything"
        ));
    }
    if name.starts_with("zookeeper.") {
        return Without::Warning(format!("`{name}` is left out: ZooKeeper has no part in Kafka since version 4.0"));
    }
    let ours = BrokerConfig::describe().iter().flat_map(|doc| std::iter::once(&doc.name).chain(doc.aliases)).copied();
    let suggestion = nearest(name, ours.chain(kafka_settings::names()));
    Without::Warning(match suggestion {
        Some(near) => format!("there is no setting `{name}`; did you mean `{near}`? The line is left out"),
        None => format!("there is no setting `{name}`; the line is left out"),
    })
}

/// The only values with which a setting that is not declared can be passed over, and why no other can.
fn must_be(name: &str) -> Option<(&'static [&'static str], &'static str)> {
    const NONE: &[&str] = &[];
    const CLASS: &str =
        "Java classes cannot be loaded here, and what the class forbids would be allowed; remove the line";
    Some(match name {
        "authorizer.class.name" => {
            (NONE, "there is no authorizer here: everyone could do everything; remove the line if that is meant")
        }
        "create.topic.policy.class.name" | "alter.config.policy.class.name" | "client.quota.callback.class" => {
            (NONE, CLASS)
        }
        "principal.builder.class" => {
            (&["org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"], CLASS)
        }
        "security.inter.broker.protocol" => (&["PLAINTEXT"], "only PLAINTEXT is there"),
        "config.providers" => (
            NONE,
            "values that stand elsewhere cannot be looked up here; write the values themselves, and remove the line",
        ),
        "remote.log.storage.system.enable" => (&["false"], "there is no tiered storage here; set it to false"),
        "transaction.two.phase.commit.enable" => {
            (&["false"], "transactions cannot take part in a two-phase commit here; set it to false")
        }
        "metadata.log.dir" => (NONE, "the metadata lies in the first of `log.dirs` here; remove the line"),
        "cordoned.log.dirs" => (NONE, "log directories cannot be cordoned here; remove the line"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the `server.properties` of Kafka 4.3.1's distribution sets.
    const SERVER: &str = "process.roles=broker,controller\nnode.id=1\n\
        controller.quorum.bootstrap.servers=localhost:9093\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
        inter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,\
        SASL_SSL:SASL_SSL\nnum.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
        socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\n\
        num.partitions=1\nnum.recovery.threads.per.data.dir=2\noffsets.topic.replication.factor=1\n\
        share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
        transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
        #log.flush.interval.messages=10000\n#log.flush.interval.ms=1000\nlog.retention.hours=168\n\
        #log.retention.bytes=1073741824\nlog.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";

    fn refused(text: &str) -> String {
        BrokerConfig::load_properties(text).unwrap_err().to_string()
    }

    #[test]
    fn kafkas_own_file_is_taken_as_it_is() {
        let loaded = BrokerConfig::load_properties(SERVER).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(loaded.config.log_dirs, ["/tmp/kraft-combined-logs"]);
        assert!(
            loaded.notes.iter().any(|note| note.starts_with("line 9: `num.network.threads`")),
            "{:?}",
            loaded.notes
        );
        let addresses = server::listener_addresses(&loaded.config).unwrap();
        assert_eq!(addresses.iter().map(|address| &*address.name).collect::<Vec<_>>(), ["PLAINTEXT", "CONTROLLER"]);
        let told = server::advertised(&loaded.config, &addresses, &[9092, 9093]).unwrap();
        let (clients, controllers) = (told.to_clients, told.to_controllers);
        assert_eq!((clients.len(), clients[0].host.as_str(), clients[0].port), (1, "localhost", 9092));
        assert_eq!((controllers.len(), controllers[0].host.as_str(), controllers[0].port), (1, "localhost", 9093));
    }

    #[test]
    fn the_files_of_tutorials_are_taken() {
        let text = "broker.id=3\nlog.dirs=/tmp/kafka3\n\
            listeners=PLAINTEXT://:9092,\\\n  CONTROLLER://:9192\nprocess.roles=broker,controller\n\
            controller.quorum.voters=3@localhost:9192\ncontroller.listener.names=CONTROLLER\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,\\\n  PLAINTEXT:PLAINTEXT\n";
        let loaded = BrokerConfig::load_properties(text).unwrap();
        assert_eq!((loaded.config.node_id, loaded.warnings.len()), (3, 0));
    }

    /// A file of the quickstart for three brokers on one machine.
    const THREE: &str = "controller.quorum.voters=1@localhost:19093,2@localhost:19094,3@localhost:19095\n\
        controller.listener.names=CONTROLLER\nlistener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n";

    #[test]
    fn nodes_of_a_cluster_are_what_their_roles_say() {
        let load = |text: &str| BrokerConfig::load_properties(&format!("{THREE}{text}"));
        let both =
            load("node.id=2\nprocess.roles=broker,controller\nlisteners=PLAINTEXT://:9092,CONTROLLER://:19094\n");
        let both = both.unwrap().config;
        assert!(both.is_broker() && both.is_controller() && !both.is_alone());
        assert_eq!(both.voters()[2], (3, "localhost".to_owned(), 19095));
        let broker = load("node.id=4\nprocess.roles=broker\nlisteners=PLAINTEXT://:9092\n").unwrap().config;
        assert!(broker.is_broker() && !broker.is_controller());
        assert_eq!(broker.cluster_id_of_voters(), both.cluster_id_of_voters());
        let controller = load("node.id=3\nprocess.roles=controller\nlisteners=CONTROLLER://:19095\n").unwrap().config;
        assert!(!controller.is_broker() && controller.is_controller());
    }

    #[test]
    fn roles_that_cannot_be_are_refused() {
        let refused_of_three = |text: &str| refused(&format!("{THREE}{text}"));
        let error = refused_of_three("node.id=4\nprocess.roles=controller\nlisteners=CONTROLLER://:1\n");
        assert!(error.contains("must be one of the voters"), "{error}");
        let error = refused_of_three("node.id=1\nprocess.roles=broker\n");
        assert!(error.contains("needs the role `controller`"), "{error}");
        let error = refused_of_three("node.id=1\nlisteners=PLAINTEXT://:9092\n");
        assert!(error.contains("no listener for controllers"), "{error}");
        let error = refused_of_three("node.id=4\nprocess.roles=broker\nlisteners=PLAINTEXT://:1,CONTROLLER://:2\n");
        assert!(error.contains("no controller"), "{error}");
        assert!(refused("process.roles=broker\n").contains("must know the controllers"));
        assert!(refused("process.roles=neither\n").starts_with("line 1: `process.roles`"));
        assert!(refused("controller.quorum.voters=1@a:1,1@b:1\n").starts_with("line 1: `controller.quorum.voters`"));
        let error = refused("node.id=2\ncontroller.quorum.voters=1@a:1\n");
        assert!(error.starts_with("line 2: `controller.quorum.voters` and `node.id`"), "{error}");
        assert!(refused("controller.quorum.bootstrap.servers=a:1,b:1\n").contains("none, or one"));
    }

    #[test]
    fn what_somebody_relies_on_is_refused() {
        for line in [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "listeners=SSL://:9093",
            "listeners=SASL_PLAINTEXT://:9093",
            "listeners=CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER",
            "security.inter.broker.protocol=SSL",
            "create.topic.policy.class.name=a.B",
            "remote.log.storage.system.enable=true",
            "inter.broker.listener.name=INSIDE",
            "listener.security.protocol.map=PLAINTEXT",
        ] {
            let error = refused(&format!("# first\n{line}\n"));
            assert!(error.starts_with("line 2: ") || error.starts_with("line 3: "), "{line}: {error}");
        }
    }

    #[test]
    fn unknown_settings_warn_and_bad_ones_refuse() {
        let text = "broker.id=7\nlog.dirs=/a, /b\nnum.partitions=3\nnum.partition=4\nssl.keystore.location=/x\n";
        let loaded = BrokerConfig::load_properties(text).unwrap();
        assert_eq!((loaded.config.node_id, loaded.config.num_partitions), (7, 3));
        assert_eq!(loaded.config.log_dirs, ["/a", "/b"]);
        let first = "line 4: there is no setting `num.partition`; did you mean `num.partitions`?";
        assert!(loaded.warnings[0].starts_with(first), "{:?}", loaded.warnings);
        assert!(loaded.warnings[1].contains("PLAINTEXT"), "{:?}", loaded.warnings);

        let error = refused("\n\nnum.partitions=none\n");
        assert!(error.starts_with("line 3: `num.partitions` cannot be `none`"), "{error}");
        let error = refused("num.io.threads=many\n");
        assert!(error.starts_with("line 1: `num.io.threads` cannot be `many`"), "{error}");
        let error = refused("\ngroup.min.session.timeout.ms=7000000\n");
        assert!(error.starts_with("line 2: `group.min.session.timeout.ms`"), "{error}");
    }
}
