//! `rkafka acls`.

use clap::{Args, Subcommand};
use rkafka::admin::{AclOperation, AclPatternType};

use super::{Connection, Consent, Form};

/// List, create and delete the rules of who may do what.
#[derive(Debug, Args)]
pub struct Acls {
    #[command(subcommand)]
    pub command: AclsCommand,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum AclsCommand {
    /// Print the rules, all or those that are asked for
    #[command(alias = "describe")]
    List(ListAcls),
    /// Add rules
    #[command(alias = "add")]
    Create(CreateAcls),
    /// Delete the rules that are asked for
    #[command(alias = "remove")]
    Delete(DeleteAcls),
}

/// What rules are about.
#[derive(Debug, Clone, Default, Args)]
pub struct AclResources {
    /// A topic; `*` is every one (may be repeated)
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,

    /// A group; `*` is every one (may be repeated)
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,

    /// The transactional id of a producer; `*` is every one (may be repeated)
    #[arg(long = "transactional-id", value_name = "ID")]
    pub transactional_ids: Vec<String>,

    /// The cluster itself
    #[arg(long)]
    pub cluster: bool,

    /// A delegation token by its id (may be repeated)
    #[arg(long = "delegation-token", value_name = "ID")]
    pub delegation_tokens: Vec<String>,

    /// A user whose tokens may be made and seen, as User:alice (may be repeated)
    #[arg(long = "user-principal", value_name = "PRINCIPAL")]
    pub users: Vec<String>,
}

/// Which rules are meant: those that fit everything that is said.
#[derive(Debug, Clone, Args)]
pub struct AclFilter {
    #[command(flatten)]
    pub resources: AclResources,

    /// How the names of those are meant: literal, prefixed, any, or match, which is every rule that is about such a thing,
    /// by its name, by how its name begins, or by `*`
    #[arg(long, alias = "pattern-type", value_name = "TYPE", default_value = "literal", value_parser = pattern)]
    pub resource_pattern_type: AclPatternType,

    /// Only rules about this principal, as User:alice (may be repeated)
    #[arg(long = "principal", value_name = "PRINCIPAL", value_parser = principal)]
    pub principals: Vec<String>,

    /// Only rules that allow this principal something (may be repeated)
    #[arg(long = "allow-principal", value_name = "PRINCIPAL", value_parser = principal)]
    pub allowed: Vec<String>,

    /// Only rules that deny this principal something (may be repeated)
    #[arg(long = "deny-principal", value_name = "PRINCIPAL", value_parser = principal)]
    pub denied: Vec<String>,

    /// Only rules about those who come from this address; `*` finds rules about any
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Only rules about this operation, as Read (may be repeated)
    #[arg(long = "operation", value_name = "OPERATION", value_parser = operation)]
    pub operations: Vec<AclOperation>,
}

/// Print rules.
#[derive(Debug, Args)]
pub struct ListAcls {
    #[command(flatten)]
    pub filter: AclFilter,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Add rules: one for each principal, operation and thing.
///
/// A rule that is there already stays as it is.
#[derive(Debug, Args)]
pub struct CreateAcls {
    #[command(flatten)]
    pub resources: AclResources,

    /// How the names of those are meant: literal, or prefixed, which is everything whose name begins so
    #[arg(long, alias = "pattern-type", value_name = "TYPE", default_value = "literal", value_parser = pattern)]
    pub resource_pattern_type: AclPatternType,

    /// Who may, as User:alice; User:* is everyone (may be repeated)
    #[arg(long = "allow-principal", value_name = "PRINCIPAL", value_parser = principal)]
    pub allowed: Vec<String>,

    /// Who may not, whatever else allows it (may be repeated)
    #[arg(long = "deny-principal", value_name = "PRINCIPAL", value_parser = principal)]
    pub denied: Vec<String>,

    /// The address that those who may come from [default: any] (may be repeated)
    #[arg(long = "allow-host", value_name = "ADDRESS", requires = "allowed")]
    pub allowed_hosts: Vec<String>,

    /// The address that those who may not come from [default: any] (may be repeated)
    #[arg(long = "deny-host", value_name = "ADDRESS", requires = "denied")]
    pub denied_hosts: Vec<String>,

    /// What they may or may not do: All, Read, Write, Create, Delete, Alter, Describe, ClusterAction, DescribeConfigs,
    /// AlterConfigs, IdempotentWrite, CreateTokens, DescribeTokens, TwoPhaseCommit [default: All] (may be repeated)
    #[arg(long = "operation", value_name = "OPERATION", value_parser = operation)]
    pub operations: Vec<AclOperation>,

    /// What a producer needs: Write, Describe and Create of the topics, Write and Describe of the transactional ids
    #[arg(long, requires_all = ["topics", "allowed"], conflicts_with_all = ["operations", "denied"])]
    pub producer: bool,

    /// With --producer, also IdempotentWrite of the cluster, which brokers before Kafka 2.8 ask for
    #[arg(long, requires = "producer")]
    pub idempotent: bool,

    /// What a consumer needs: Read and Describe of the topics, Read of the groups
    #[arg(long, requires_all = ["topics", "groups", "allowed"], conflicts_with_all = ["operations", "denied"])]
    pub consumer: bool,

    /// Say which rules would be added, and add none
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Delete rules.
///
/// At least one thing is to be said of them, or --all.
#[derive(Debug, Args)]
pub struct DeleteAcls {
    #[command(flatten)]
    pub filter: AclFilter,

    /// All rules there are
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}

/// An operation as Kafka's tool spells it (`DescribeConfigs`) or as its protocol does (`DESCRIBE_CONFIGS`).
fn operation(text: &str) -> Result<AclOperation, String> {
    let bare = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let known = AclOperation::ALL.iter().filter(|one| **one != AclOperation::Any);
    known.clone().find(|one| bare(one.name()) == bare(text)).copied().ok_or_else(|| {
        let names: Vec<&str> = known.map(|one| one.name()).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

fn pattern(text: &str) -> Result<AclPatternType, String> {
    super::parsed(text)
}

fn principal(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no principal; write its type too, as User:{text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_spelled_either_way() {
        for text in ["DescribeConfigs", "DESCRIBE_CONFIGS", "describe-configs"] {
            assert_eq!(operation(text), Ok(AclOperation::DescribeConfigs));
        }
        assert!(operation("any").unwrap_err().contains("READ"));
        assert!(principal("alice").unwrap_err().contains("User:alice"));
        assert!(principal("User:").is_err());
    }
}
