//! `rkafka quotas`.

use rkafka::admin::{Admin, ClientQuotaEntity, ClientQuotaFilter, QuotaMatch};
use serde_json::{Value, json};

use super::items::{Act, count, failure, unsaid};
use crate::args::{AlterQuotas, Connection, DeleteQuotas, ListQuotas, QuotaEntity, Quotas, QuotasCommand};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::{connect, report};

/// Runs the command.
pub async fn run(args: Quotas) -> Result<Exit, Failure> {
    match args.command {
        QuotasCommand::List(args) => list(&args).await,
        QuotasCommand::Alter(args) => alter(&args).await,
        QuotasCommand::Delete(args) => delete(&args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Quotas) -> &Connection {
    match &args.command {
        QuotasCommand::List(args) => &args.connection,
        QuotasCommand::Alter(args) => &args.connection,
        QuotasCommand::Delete(args) => &args.connection,
    }
}

const COLUMNS: &[Column] = &[always("user"), always("client_id"), always("ip"), always("quota"), always("value")];

/// What stands in the place of a name where all without quotas of their own are meant; Kafka's tools have it too.
const DEFAULT: &str = "<default>";

/// Kinds as the broker names them, with their names; `None` for all without quotas of their own.
fn parts(entity: &QuotaEntity) -> Vec<(&'static str, Option<&str>)> {
    [
        ("user", &entity.user, entity.user_defaults),
        ("client-id", &entity.client_id, entity.client_defaults),
        ("ip", &entity.ip, entity.ip_defaults),
    ]
    .into_iter()
    .filter(|(_, name, defaults)| name.is_some() || *defaults)
    .map(|(kind, name, _)| (kind, name.as_deref()))
    .collect()
}

/// The one that is named.
fn entity(asked: &QuotaEntity) -> Result<ClientQuotaEntity, Failure> {
    let parts = parts(asked);
    if parts.is_empty() {
        return Err(Failure::usage("whose quotas? --user, --client-id, --ip, or one of them with -defaults"));
    }
    Ok(parts.into_iter().fold(ClientQuotaEntity::new(), |entity, (kind, name)| entity.with(kind, name)))
}

fn filter(asked: &QuotaEntity, strict: bool) -> ClientQuotaFilter {
    let matching = |name: Option<&str>| name.map_or(QuotaMatch::Default, |name| QuotaMatch::Name(name.to_owned()));
    let filter = ClientQuotaFilter::all().strict(strict);
    parts(asked).into_iter().fold(filter, |filter, (kind, name)| filter.component(kind, matching(name)))
}

async fn list(args: &ListQuotas) -> Result<Exit, Failure> {
    if args.strict && parts(&args.entity).is_empty() {
        return Err(Failure::usage("--strict needs somebody: --user, --client-id or --ip"));
    }
    let admin = connect::admin(&args.connection).await?;
    let found = admin.describe_client_quotas(filter(&args.entity, args.strict)).await?;
    let mut listing = Listing::new(COLUMNS);
    for (entity, quotas) in found {
        let of = |wanted: &str| {
            let name = entity.entries().find(|(kind, _)| *kind == wanted).map(|(_, name)| name);
            name.map_or(Value::Null, |name| name.unwrap_or(DEFAULT).into())
        };
        let named = entity.entries().map(|(kind, name)| format!("{kind}={}", name.unwrap_or(DEFAULT)));
        let named = named.collect::<Vec<_>>().join(",");
        for (quota, value) in quotas {
            listing.row(&*named, [of("user"), of("client-id"), of("ip"), json!(quota), number(value)]);
        }
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

/// A number without a fraction where it has none.
fn number(value: f64) -> Value {
    // Below 2^53 both say the same.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 { json!(value as i64) } else { json!(value) }
}

async fn alter(args: &AlterQuotas) -> Result<Exit, Failure> {
    let entity = entity(&args.entity)?;
    let mut changes = Vec::new();
    for text in &args.set {
        let (name, value) = connect::name_and_value("-s", text)?;
        let value: f64 = value
            .trim()
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .ok_or_else(|| Failure::usage(format!("-s {text}: `{value}` is no number")))?;
        changes.push((name.to_owned(), Some(value)));
    }
    changes.extend(args.unset.iter().map(|name| (name.clone(), None)));
    let number = changes.len();
    let admin = connect::admin(&args.connection).await?;
    change(&admin, &entity, changes, args.dry_run).await?;
    if !args.connection.quiet {
        let verb = if args.dry_run { "would change" } else { "changed" };
        report::note(&format!("{verb} {} of {entity}", count(number, "quota")));
    }
    Ok(Exit::Ok)
}

async fn change(
    admin: &Admin,
    entity: &ClientQuotaEntity,
    changes: Vec<(String, Option<f64>)>,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut results = admin.alter_client_quotas([(entity.clone(), changes)]).validate_only(dry_run).await?;
    match results.remove(entity) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(failure(&entity.to_string(), error)),
        None => Err(unsaid(&entity.to_string())),
    }
}

async fn delete(args: &DeleteQuotas) -> Result<Exit, Failure> {
    let entity = entity(&args.entity)?;
    let admin = connect::admin(&args.connection).await?;
    let found = admin.describe_client_quotas(filter(&args.entity, true)).await?;
    let Some(quotas) = found.get(&entity).filter(|quotas| !quotas.is_empty()) else {
        let message = format!("{entity} has no quotas; `rkafka quotas list` shows what there is");
        return Err(Failure::new(Exit::NotFound, message));
    };
    let plan = quotas.iter().map(|(quota, value)| format!("would delete {quota}={value} of {entity}"));
    if !Act::DELETE.agreed(&args.consent, &plan.collect::<Vec<_>>())? {
        return Ok(Exit::Ok);
    }
    change(&admin, &entity, quotas.keys().map(|quota| (quota.clone(), None)).collect(), false).await?;
    if !args.connection.quiet {
        report::note(&format!("deleted {} of {entity}", count(quotas.len(), "quota")));
    }
    Ok(Exit::Ok)
}
