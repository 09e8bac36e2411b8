//! `rkafka cluster`.

use rkafka::admin::{Admin, QuorumReplica};
use serde_json::{Value, json};

use super::items::{Outcome, failure};
use super::placement;
use crate::args::{Cluster, ClusterCommand, Connection, OfCluster};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, wide};

/// Runs the command.
pub async fn run(args: Cluster) -> Result<Exit, Failure> {
    match args.command {
        ClusterCommand::Info(args) => info(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::Brokers(args) => brokers(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::ApiVersions(args) => api_versions(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::Quorum(args) => quorum(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::Features(args) => features(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::Logdirs(args) => log_dirs(&connect::admin(&args.connection).await?, &args).await,
        ClusterCommand::Elect(args) => placement::elect(&args).await,
        ClusterCommand::Reassign(args) => placement::reassign(args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Cluster) -> &Connection {
    match &args.command {
        ClusterCommand::Info(args)
        | ClusterCommand::Brokers(args)
        | ClusterCommand::ApiVersions(args)
        | ClusterCommand::Quorum(args)
        | ClusterCommand::Features(args)
        | ClusterCommand::Logdirs(args) => &args.connection,
        ClusterCommand::Elect(args) => &args.connection,
        ClusterCommand::Reassign(args) => placement::connection_of_reassign(args),
    }
}

const INFO: &[Column] = &[always("cluster"), always("controller"), always("brokers")];

async fn info(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let cluster = admin.describe_cluster().await?;
    let mut listing = Listing::new(INFO);
    let name = cluster.id.clone().unwrap_or_default();
    listing.row(name, [json!(cluster.id), json!(cluster.controller), json!(cluster.brokers.len())]);
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

const BROKERS: &[Column] = &[always("broker"), always("host"), always("port"), always("rack"), always("controller")];

async fn brokers(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let cluster = admin.describe_cluster().await?;
    let mut listing = Listing::new(BROKERS);
    for broker in cluster.brokers {
        let controller = cluster.controller == Some(broker.id);
        let values = [json!(broker.id), json!(broker.host), json!(broker.port), json!(broker.rack), json!(controller)];
        listing.row(broker.id.to_string(), values);
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

const API_VERSIONS: &[Column] = &[always("broker"), always("api"), always("key"), always("min"), always("max")];

async fn api_versions(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(API_VERSIONS);
    for (broker, result) in admin.list_api_versions().await? {
        match result {
            Ok(versions) => {
                outcome.succeeded();
                for range in versions.into_values() {
                    let name = range.name().map_or_else(|| range.key.to_string(), str::to_owned);
                    let values =
                        [json!(broker), json!(range.name()), json!(range.key), json!(range.min), json!(range.max)];
                    listing.row(name, values);
                }
            }
            Err(error) => outcome.failed(&failure(&format!("broker {broker}"), error)),
        }
    }
    outcome.end(&listing, &args.form)
}

const QUORUM: &[Column] = &[
    always("node"),
    always("role"),
    always("log_end_offset"),
    always("lag"),
    wide("epoch"),
    wide("high_watermark"),
    wide("directory"),
    wide("last_fetch_timestamp"),
    wide("last_caught_up_timestamp"),
];

async fn quorum(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let quorum = admin.describe_metadata_quorum().await?;
    let mut listing = Listing::new(QUORUM);
    let leader_end =
        quorum.voters.iter().find(|voter| Some(voter.id) == quorum.leader).and_then(|leader| leader.log_end_offset);
    let mut add = |replica: &QuorumReplica, role: &str| {
        let lag = leader_end.zip(replica.log_end_offset).map(|(end, offset)| end.saturating_sub(offset).max(0));
        listing.row(
            replica.id.to_string(),
            [
                json!(replica.id),
                json!(role),
                json!(replica.log_end_offset),
                json!(lag),
                json!(quorum.leader_epoch),
                json!(quorum.high_watermark),
                json!(replica.directory_id.to_string()),
                json!(replica.last_fetch_timestamp),
                json!(replica.last_caught_up_timestamp),
            ],
        );
    };
    for voter in &quorum.voters {
        add(voter, if Some(voter.id) == quorum.leader { "leader" } else { "voter" });
    }
    for observer in &quorum.observers {
        add(observer, "observer");
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

const FEATURES: &[Column] = &[always("feature"), always("level"), always("min"), always("max"), wide("epoch")];

async fn features(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let features = admin.describe_features().await?;
    let mut listing = Listing::new(FEATURES);
    let names: std::collections::BTreeSet<&String> =
        features.finalized.keys().chain(features.supported.keys()).collect();
    for name in names {
        // What has no level of its own is at 0.
        let level = features.finalized.get(name).copied().unwrap_or_default();
        let supported = features.supported.get(name);
        let values: [Value; 5] = [
            json!(name),
            json!(level),
            json!(supported.map(|range| range.min)),
            json!(supported.map(|range| range.max)),
            json!(features.finalized_epoch),
        ];
        listing.row(name.as_str(), values);
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

const LOG_DIRS: &[Column] = &[
    always("broker"),
    always("directory"),
    always("replicas"),
    always("bytes"),
    wide("total_bytes"),
    wide("usable_bytes"),
];

async fn log_dirs(admin: &Admin, args: &OfCluster) -> Result<Exit, Failure> {
    let brokers: Vec<i32> = admin.describe_cluster().await?.brokers.iter().map(|broker| broker.id).collect();
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(LOG_DIRS);
    for (broker, result) in admin.describe_log_dirs(brokers).await? {
        let directories = match result {
            Ok(directories) => directories,
            Err(error) => {
                outcome.failed(&failure(&format!("broker {broker}"), error));
                continue;
            }
        };
        for (directory, result) in directories {
            match result {
                Ok(description) => {
                    outcome.succeeded();
                    let bytes = description.replicas.values().map(|replica| replica.size).sum::<i64>();
                    let values = [
                        json!(broker),
                        json!(directory),
                        json!(description.replicas.len()),
                        json!(bytes),
                        json!(description.total_bytes),
                        json!(description.usable_bytes),
                    ];
                    listing.row(directory.as_str(), values);
                }
                Err(error) => outcome.failed(&failure(&format!("broker {broker}, {directory}"), error)),
            }
        }
    }
    outcome.end(&listing, &args.form)
}
