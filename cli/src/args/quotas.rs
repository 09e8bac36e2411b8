//! `rkafka quotas`.

use clap::{Args, Subcommand};

use super::{Connection, Consent, Form};

/// List, set and take away the limits of users, clients and addresses.
#[derive(Debug, Args)]
pub struct Quotas {
    #[command(subcommand)]
    pub command: QuotasCommand,
}

/// What to do with quotas.
#[derive(Debug, Subcommand)]
pub enum QuotasCommand {
    /// Print quotas, all or those of whom is named
    #[command(alias = "describe")]
    List(ListQuotas),
    /// Set quotas, and take quotas away
    #[command(aliases = ["create", "set"])]
    Alter(AlterQuotas),
    /// Take all quotas of somebody away
    Delete(DeleteQuotas),
}

/// Whom quotas are for: a user, a client, both together, or an address.
#[derive(Debug, Clone, Args)]
pub struct QuotaEntity {
    /// A user
    #[arg(long, value_name = "NAME", conflicts_with = "user_defaults")]
    pub user: Option<String>,

    /// Users without quotas of their own
    #[arg(long, alias = "user-default")]
    pub user_defaults: bool,

    /// A client by its client.id
    #[arg(long, alias = "client", value_name = "ID", conflicts_with = "client_defaults")]
    pub client_id: Option<String>,

    /// Clients without quotas of their own
    #[arg(long, aliases = ["client-default", "client-id-defaults"])]
    pub client_defaults: bool,

    /// An address
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ip_defaults")]
    pub ip: Option<String>,

    /// Addresses without quotas of their own
    #[arg(long, alias = "ip-default")]
    pub ip_defaults: bool,
}

/// Print quotas.
#[derive(Debug, Args)]
pub struct ListQuotas {
    #[command(flatten)]
    pub entity: QuotaEntity,

    /// Only quotas that are for nobody else besides: those of a user, but not those of the user with a client
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Set quotas, and take quotas away. All others stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Quotas: producer_byte_rate and consumer_byte_rate (bytes a second), request_percentage (of a thread's \
time), controller_mutation_rate (partitions made and deleted a second); of an address: connection_creation_rate (a second)."
)]
pub struct AlterQuotas {
    #[command(flatten)]
    pub entity: QuotaEntity,

    /// Set a quota, as producer_byte_rate=1048576 (may be repeated)
    #[arg(
        short = 's',
        long = "set-config",
        visible_alias = "add-config",
        value_name = "NAME=VALUE",
        required_unless_present = "unset"
    )]
    pub set: Vec<String>,

    /// Take a quota away (may be repeated)
    #[arg(short = 'u', long, visible_alias = "delete-config", value_name = "NAME")]
    pub unset: Vec<String>,

    /// Let the broker check it, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Take all quotas of somebody away.
#[derive(Debug, Args)]
pub struct DeleteQuotas {
    #[command(flatten)]
    pub entity: QuotaEntity,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
