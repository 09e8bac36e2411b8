//! `rkafka acls`.

use std::collections::{BTreeMap, BTreeSet};

use rkafka::admin::{
    AclBinding, AclBindingFilter, AclOperation, AclPatternType, AclPermissionType, AclResourceType, Admin, Error,
    ErrorCode,
};
use serde_json::json;

use super::items::{Act, Outcome, failure, unsaid};
use crate::args::{AclFilter, AclResources, Acls, AclsCommand, Connection, CreateAcls, DeleteAcls, ListAcls};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::{connect, report};

/// Runs the command.
pub async fn run(args: Acls) -> Result<Exit, Failure> {
    match args.command {
        AclsCommand::List(args) => list(&args).await,
        AclsCommand::Create(args) => create(&args).await,
        AclsCommand::Delete(args) => delete(&args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Acls) -> &Connection {
    match &args.command {
        AclsCommand::List(args) => &args.connection,
        AclsCommand::Create(args) => &args.connection,
        AclsCommand::Delete(args) => &args.connection,
    }
}

const COLUMNS: &[Column] = &[
    always("resource_type"),
    always("resource"),
    always("pattern"),
    always("principal"),
    always("host"),
    always("operation"),
    always("permission"),
];

/// What Kafka calls the cluster as a thing that rules are about.
const CLUSTER: &str = "kafka-cluster";

async fn list(args: &ListAcls) -> Result<Exit, Failure> {
    let admin = connect::admin(&args.connection).await?;
    let mut listing = Listing::new(COLUMNS);
    for rule in found(&admin, &args.filter).await? {
        let name = format!("{}/{}", kind(rule.resource_type), rule.resource_name);
        listing.row(
            name,
            [
                json!(rule.resource_type.name()),
                json!(rule.resource_name),
                json!(rule.pattern_type.name()),
                json!(rule.principal),
                json!(rule.host),
                json!(rule.operation.name()),
                json!(rule.permission.name()),
            ],
        );
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

/// The rules that fit, each once.
async fn found(admin: &Admin, filter: &AclFilter) -> Result<BTreeSet<AclBinding>, Failure> {
    let mut rules = BTreeSet::new();
    for filter in filters(filter) {
        rules.extend(admin.describe_acls(filter).await.map_err(|error| refused("the rules", error))?);
    }
    Ok(rules)
}

fn refused(what: &str, error: Error) -> Failure {
    if error.code() == Some(ErrorCode::SecurityDisabled) {
        let message =
            "the cluster keeps no rules: it has no authorizer, which authorizer.class.name sets on its brokers";
        return Failure::failed(message);
    }
    failure(what, error)
}

/// A filter for each thing, principal and operation.
fn filters(asked: &AclFilter) -> Vec<AclBindingFilter> {
    let things = things(&asked.resources);
    let of_things: Vec<AclBindingFilter> = if things.is_empty() {
        vec![AclBindingFilter::any()]
    } else {
        let pattern =
            |kind| if kind == AclResourceType::Cluster { AclPatternType::Any } else { asked.resource_pattern_type };
        things.into_iter().map(|(kind, name)| AclBindingFilter::any().resource(kind, name, pattern(kind))).collect()
    };
    let named =
        |names: &[String], permission| names.iter().map(move |name| (name.clone(), permission)).collect::<Vec<_>>();
    let principals = [
        named(&asked.principals, AclPermissionType::Any),
        named(&asked.allowed, AclPermissionType::Allow),
        named(&asked.denied, AclPermissionType::Deny),
    ]
    .concat();
    let mut filters = of_things;
    if !principals.is_empty() {
        let with = |filter: AclBindingFilter| {
            let with =
                |(name, permission): &(String, _)| filter.clone().principal(name.clone()).permission(*permission);
            principals.iter().map(with).collect::<Vec<_>>()
        };
        filters = filters.into_iter().flat_map(with).collect();
    }
    if !asked.operations.is_empty() {
        let with = |filter: AclBindingFilter| {
            asked.operations.iter().map(|operation| filter.clone().operation(*operation)).collect::<Vec<_>>()
        };
        filters = filters.into_iter().flat_map(with).collect();
    }
    match &asked.host {
        Some(host) => filters.into_iter().map(|filter| filter.host(host.clone())).collect(),
        None => filters,
    }
}

fn things(resources: &AclResources) -> Vec<(AclResourceType, String)> {
    let named = |kind, names: &[String]| names.iter().map(move |name| (kind, name.clone())).collect::<Vec<_>>();
    let mut things = [
        named(AclResourceType::Topic, &resources.topics),
        named(AclResourceType::Group, &resources.groups),
        named(AclResourceType::TransactionalId, &resources.transactional_ids),
        named(AclResourceType::DelegationToken, &resources.delegation_tokens),
        named(AclResourceType::User, &resources.users),
    ]
    .concat();
    if resources.cluster {
        things.push((AclResourceType::Cluster, CLUSTER.to_owned()));
    }
    things
}

/// What may be done with a thing, beside everything. A rule about anything else would never be asked for.
const fn operations(kind: AclResourceType) -> &'static [AclOperation] {
    use AclOperation::*;
    match kind {
        AclResourceType::Topic => &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs],
        AclResourceType::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
        AclResourceType::Cluster => {
            &[Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe]
        }
        AclResourceType::TransactionalId => &[Describe, Write, TwoPhaseCommit],
        AclResourceType::DelegationToken => &[Describe],
        AclResourceType::User => &[CreateTokens, DescribeTokens],
        _ => &[],
    }
}

/// The rules that are asked for.
fn rules(args: &CreateAcls) -> Result<BTreeSet<AclBinding>, Failure> {
    use AclOperation::{Create, Describe, IdempotentWrite, Read, Write};
    if args.allowed.is_empty() && args.denied.is_empty() {
        return Err(Failure::usage(
            "whom is the rule about? --allow-principal User:NAME or --deny-principal User:NAME",
        ));
    }
    if matches!(args.resource_pattern_type, AclPatternType::Any | AclPatternType::Match) {
        return Err(Failure::usage("a rule is about a name that is literal or prefixed; any and match find rules"));
    }
    let things = things(&args.resources);
    if things.is_empty() && !args.idempotent {
        return Err(Failure::usage(
            "what is the rule about? --topic, --group, --transactional-id, --cluster, --delegation-token or --user-principal",
        ));
    }
    let mut grants: Vec<(AclResourceType, String, AclOperation)> = Vec::new();
    if args.producer || args.consumer {
        for (kind, name) in &things {
            let mut wanted: Vec<AclOperation> = Vec::new();
            match kind {
                AclResourceType::Topic => {
                    wanted.extend(args.producer.then_some([Write, Create]).into_iter().flatten());
                    wanted.extend(args.consumer.then_some(Read));
                    wanted.push(Describe);
                }
                AclResourceType::TransactionalId if args.producer => wanted.extend([Write, Describe]),
                AclResourceType::Group if args.consumer => wanted.push(Read),
                other => {
                    let message = format!("--producer and --consumer ask nothing of {}", self::kind(*other));
                    return Err(Failure::usage(message));
                }
            }
            grants.extend(wanted.into_iter().map(|operation| (*kind, name.clone(), operation)));
        }
        if args.idempotent {
            grants.push((AclResourceType::Cluster, CLUSTER.to_owned(), IdempotentWrite));
        }
    } else {
        let wanted = if args.operations.is_empty() { &[AclOperation::All][..] } else { &args.operations };
        for (kind, name) in &things {
            for operation in wanted {
                if *operation != AclOperation::All && !operations(*kind).contains(operation) {
                    let there: Vec<&str> = operations(*kind).iter().map(|one| one.name()).collect();
                    let message = format!(
                        "nobody does {operation} with a {}; there are ALL, {}",
                        self::kind(*kind),
                        there.join(", ")
                    );
                    return Err(Failure::usage(message));
                }
                grants.push((*kind, name.clone(), *operation));
            }
        }
    }
    let any = [String::from("*")];
    let hosts = |hosts: &'_ [String]| if hosts.is_empty() { any.to_vec() } else { hosts.to_vec() };
    let mut rules = BTreeSet::new();
    for (kind, name, operation) in grants {
        for (principals, hosts, permission) in [
            (&args.allowed, hosts(&args.allowed_hosts), AclPermissionType::Allow),
            (&args.denied, hosts(&args.denied_hosts), AclPermissionType::Deny),
        ] {
            for principal in principals {
                for host in &hosts {
                    let mut rule = AclBinding::allow(principal, operation, kind, &name).from_host(host);
                    rule.permission = permission;
                    if kind != AclResourceType::Cluster {
                        rule.pattern_type = args.resource_pattern_type;
                    }
                    rules.insert(rule);
                }
            }
        }
    }
    Ok(rules)
}

async fn create(args: &CreateAcls) -> Result<Exit, Failure> {
    let rules = rules(args)?;
    let admin = connect::admin(&args.connection).await?;
    if args.dry_run {
        for rule in &rules {
            let there = admin.describe_acls(rule.clone()).await.map_err(|error| refused(&sentence(rule), error))?;
            let said = if there.is_empty() { "would add" } else { "is there already:" };
            report::note(&format!("{said} {}", sentence(rule)));
        }
        return Ok(Exit::Ok);
    }
    let mut outcome = Outcome::default();
    let results = admin.create_acls(&rules).await?;
    // Each would say the same.
    if let Some(Err(error)) = results.values().next()
        && error.code() == Some(ErrorCode::SecurityDisabled)
    {
        return Err(refused("the rules", error.clone()));
    }
    settle(&rules, results, "added", args.connection.quiet, &mut outcome);
    Ok(outcome.exit())
}

/// Says what became of each rule.
fn settle(
    rules: &BTreeSet<AclBinding>,
    mut results: BTreeMap<AclBinding, Result<(), Error>>,
    done: &str,
    quiet: bool,
    outcome: &mut Outcome,
) {
    for rule in rules {
        match results.remove(rule) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !quiet {
                    report::note(&format!("{done} {}", sentence(rule)));
                }
            }
            Some(Err(error)) => outcome.failed(&failure(&sentence(rule), error)),
            None => outcome.failed(&unsaid(&sentence(rule))),
        }
    }
}

async fn delete(args: &DeleteAcls) -> Result<Exit, Failure> {
    let filters = filters(&args.filter);
    if args.all != (filters == [AclBindingFilter::any()]) {
        return Err(Failure::usage(
            "which rules? Say something of them, such as --topic or --principal, or else --all",
        ));
    }
    let admin = connect::admin(&args.connection).await?;
    let rules = found(&admin, &args.filter).await?;
    if rules.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is no such rule; `rkafka acls list` shows what there is"));
    }
    let plan: Vec<String> = rules.iter().map(|rule| format!("would delete {}", sentence(rule))).collect();
    if !Act::DELETE.agreed(&args.consent, &plan)? {
        return Ok(Exit::Ok);
    }
    // Just those that were shown, also where others that fit have come meanwhile.
    let mut outcome = Outcome::default();
    let mut results = admin.delete_acls(rules.iter().cloned()).await?;
    let of = |rule: &AclBinding| {
        let result = results.remove(&rule.clone().into())?;
        // Where it went by other hands, none was there any more.
        Some(result.and_then(|mut gone| gone.remove(rule).unwrap_or(Ok(()))))
    };
    let results = rules.iter().map(of).zip(&rules).filter_map(|(result, rule)| Some((rule.clone(), result?))).collect();
    settle(&rules, results, "deleted", args.connection.quiet, &mut outcome);
    Ok(outcome.exit())
}

fn kind(kind: AclResourceType) -> String {
    kind.name().to_ascii_lowercase().replace('_', "-")
}

/// `ALLOW User:alice READ of topic/orders`.
fn sentence(rule: &AclBinding) -> String {
    let mut text = format!(
        "{} {} {} of {}/{}",
        rule.permission,
        rule.principal,
        rule.operation,
        kind(rule.resource_type),
        rule.resource_name
    );
    if rule.pattern_type == AclPatternType::Prefixed {
        text.push_str(" and all that begins so");
    }
    if rule.host != "*" {
        text.push_str(&format!(" from {}", rule.host));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn of(words: &str) -> Result<Vec<String>, Failure> {
        let cli = Cli::try_parse_from(format!("rkafka acls create {words}").split(' ')).unwrap();
        let Command::Acls(Acls { command: AclsCommand::Create(args) }) = cli.command else { panic!("{words}") };
        Ok(rules(&args)?.iter().map(sentence).collect())
    }

    #[test]
    fn rules_are_the_product_of_what_is_said() {
        assert_eq!(of("--allow-principal User:a --topic t").unwrap(), ["ALLOW User:a ALL of topic/t"]);
        assert_eq!(
            of("--allow-principal User:a --deny-principal User:b --deny-host 10.0.0.1 --operation Read --topic t --group g")
                .unwrap(),
            [
                "ALLOW User:a READ of topic/t",
                "DENY User:b READ of topic/t from 10.0.0.1",
                "ALLOW User:a READ of group/g",
                "DENY User:b READ of group/g from 10.0.0.1",
            ]
        );
        let prefixed =
            of("--allow-principal User:a --topic t --cluster --operation Create --pattern-type prefixed").unwrap();
        assert_eq!(
            prefixed,
            ["ALLOW User:a CREATE of topic/t and all that begins so", "ALLOW User:a CREATE of cluster/kafka-cluster"]
        );
    }

    #[test]
    fn producers_and_consumers_get_what_they_need_and_no_more() {
        assert_eq!(
            of("--allow-principal User:a --producer --idempotent --topic t --transactional-id x").unwrap(),
            [
                "ALLOW User:a WRITE of topic/t",
                "ALLOW User:a CREATE of topic/t",
                "ALLOW User:a DESCRIBE of topic/t",
                "ALLOW User:a IDEMPOTENT_WRITE of cluster/kafka-cluster",
                "ALLOW User:a WRITE of transactional-id/x",
                "ALLOW User:a DESCRIBE of transactional-id/x",
            ]
        );
        assert_eq!(
            of("--allow-principal User:a --consumer --topic t --group g").unwrap(),
            ["ALLOW User:a READ of topic/t", "ALLOW User:a DESCRIBE of topic/t", "ALLOW User:a READ of group/g"]
        );
    }

    #[test]
    fn what_makes_no_rule_is_said() {
        for (words, part) in [
            ("--topic t", "--allow-principal"),
            ("--allow-principal User:a", "--topic"),
            ("--allow-principal User:a --topic t --pattern-type match", "literal or prefixed"),
            ("--allow-principal User:a --group g --operation Write", "nobody does WRITE with a group"),
            ("--allow-principal User:a --producer --topic t --cluster", "nothing of cluster"),
        ] {
            let failure = of(words).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(part), "{words}: {}", failure.message);
        }
    }
}
