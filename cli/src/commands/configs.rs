//! `rkafka configs` and `rkafka topics config`.

use rkafka::admin::{
    Admin, ConfigChange, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, Error, ErrorCode,
};
use serde_json::{Value, json};

use super::items::{Outcome, count, failure, unsaid};
use crate::args::{
    AlterConfigs, Configs, ConfigsCommand, Connection, DescribeConfigs, GetTopicConfig, TopicConfig,
    TopicConfigCommand, resource_name,
};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, inside, wide};
use crate::{connect, report};

/// Runs the command.
pub async fn run(args: Configs) -> Result<Exit, Failure> {
    let admin = connect::admin(connection(&args)).await?;
    match args.command {
        ConfigsCommand::Describe(args) => describe(&admin, &args).await,
        ConfigsCommand::Alter(args) => alter(&admin, &args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Configs) -> &Connection {
    match &args.command {
        ConfigsCommand::Describe(args) => &args.connection,
        ConfigsCommand::Alter(args) => &args.connection,
    }
}

const COLUMNS: &[Column] = &[
    always("resource"),
    always("name"),
    always("value"),
    always("source"),
    wide("type"),
    wide("read_only"),
    wide("sensitive"),
    inside("synonyms"),
];

fn row(listing: &mut Listing, resource: &ConfigResource, entry: ConfigEntry) {
    let synonyms = entry
        .synonyms
        .iter()
        .map(|synonym| json!({"name": synonym.name, "value": synonym.value, "source": synonym.source.name()}));
    let synonyms: Value = synonyms.collect();
    listing.row(
        entry.name.clone(),
        [
            json!(resource_name(resource)),
            json!(entry.name),
            json!(entry.value),
            json!(entry.source.name()),
            json!(entry.kind.map(|kind| kind.name())),
            json!(entry.read_only),
            json!(entry.sensitive),
            synonyms,
        ],
    );
}

async fn describe(admin: &Admin, args: &DescribeConfigs) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(COLUMNS);
    let resources = args.resources.iter().map(|resource| &resource.0);
    let mut results = admin.describe_configs(resources.clone()).include_synonyms(true).await?;
    for resource in resources {
        match results.remove(resource) {
            Some(Ok(mut entries)) => {
                outcome.succeeded();
                entries.retain(|entry| args.all || entry.source != ConfigSource::Default);
                entries.sort_by(|one, other| one.name.cmp(&other.name));
                entries.into_iter().for_each(|entry| row(&mut listing, resource, entry));
            }
            Some(Err(error)) => outcome.failed(&refused(admin, resource, error).await),
            // Named twice.
            None => {}
        }
    }
    outcome.end(&listing, &args.form)
}

async fn refused(admin: &Admin, resource: &ConfigResource, error: Error) -> Failure {
    if resource.kind == ConfigResourceType::Topic && error.code() == Some(ErrorCode::UnknownTopicOrPartition) {
        return super::topics::not_found(admin, &resource.name).await;
    }
    failure(&resource_name(resource), error)
}

async fn alter(admin: &Admin, args: &AlterConfigs) -> Result<Exit, Failure> {
    let mut changes = Vec::new();
    for (flag, texts, change) in [
        ("--set-config", &args.set, ConfigChange::Set as fn(String) -> ConfigChange),
        ("--append", &args.append, ConfigChange::Append),
        ("--subtract", &args.subtract, ConfigChange::Subtract),
    ] {
        for text in texts {
            let (name, value) = connect::name_and_value(flag, text)?;
            changes.push((name.to_owned(), change(value.to_owned())));
        }
    }
    changes.extend(args.unset.iter().map(|name| (name.clone(), ConfigChange::Delete)));
    change(admin, &args.resource.0, changes, args.dry_run, args.connection.quiet).await
}

async fn change(
    admin: &Admin,
    resource: &ConfigResource,
    changes: Vec<(String, ConfigChange)>,
    dry_run: bool,
    quiet: bool,
) -> Result<Exit, Failure> {
    let what = resource_name(resource);
    let number = changes.len();
    let mut results = admin.incremental_alter_configs([(resource.clone(), changes)]).validate_only(dry_run).await?;
    match results.remove(resource) {
        Some(Ok(())) => {
            if !quiet {
                let verb = if dry_run { "would change" } else { "changed" };
                report::note(&format!("{verb} {} of {what}", count(number, "setting")));
            }
            Ok(Exit::Ok)
        }
        Some(Err(error)) => Err(refused(admin, resource, error).await),
        None => Err(unsaid(&what)),
    }
}

/// Runs `rkafka topics config`.
pub async fn of_topic(args: &TopicConfig) -> Result<Exit, Failure> {
    let change_of = |form: fn(String) -> ConfigChange| {
        move |text: &String| {
            let (name, value) = connect::name_and_value("setting", text)?;
            Ok((name.to_owned(), form(value.to_owned())))
        }
    };
    let (args, changes) = match &args.command {
        TopicConfigCommand::Get(args) => return get(&connect::admin(&args.connection).await?, args).await,
        TopicConfigCommand::Set(args) => {
            (args, args.changes.iter().map(change_of(ConfigChange::Set)).collect::<Result<Vec<_>, Failure>>()?)
        }
        TopicConfigCommand::Append(args) => {
            (args, args.changes.iter().map(change_of(ConfigChange::Append)).collect::<Result<Vec<_>, Failure>>()?)
        }
        TopicConfigCommand::Unset(args) => {
            (args, args.changes.iter().map(|name| (name.clone(), ConfigChange::Delete)).collect())
        }
    };
    let admin = connect::admin(&args.connection).await?;
    change(&admin, &ConfigResource::topic(&args.topic), changes, args.dry_run, args.connection.quiet).await
}

/// The connection's options of `rkafka topics config`.
pub const fn connection_of_topic(args: &TopicConfig) -> &Connection {
    match &args.command {
        TopicConfigCommand::Get(args) => &args.connection,
        TopicConfigCommand::Set(args) | TopicConfigCommand::Unset(args) | TopicConfigCommand::Append(args) => {
            &args.connection
        }
    }
}

async fn get(admin: &Admin, args: &GetTopicConfig) -> Result<Exit, Failure> {
    let resource = ConfigResource::topic(&args.topic);
    let mut results = admin.describe_configs([&resource]).include_synonyms(true).await?;
    let mut entries = match results.remove(&resource) {
        Some(Ok(entries)) => entries,
        Some(Err(error)) => return Err(refused(admin, &resource, error).await),
        None => return Err(unsaid(&resource_name(&resource))),
    };
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut outcome = Outcome::default();
    for name in &args.names {
        if entries.iter().any(|entry| entry.name == *name) {
            outcome.succeeded();
            continue;
        }
        let near = rkafka::config::nearest(name, entries.iter().map(|entry| &*entry.name));
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        outcome.failed(&Failure::usage(format!("topics have no setting `{name}`{meant}")));
    }
    let wanted = |entry: &ConfigEntry| match args.names.as_slice() {
        [] => args.all || entry.source != ConfigSource::Default,
        names => names.contains(&entry.name),
    };
    let mut listing = Listing::new(COLUMNS);
    entries.into_iter().filter(wanted).for_each(|entry| row(&mut listing, &resource, entry));
    outcome.end(&listing, &args.form)
}
