//! Quotas of users, clients and addresses. Sources: DescribeClientQuotas (API key 48), AlterClientQuotas (key 49), KIP-546,
//! KIP-612 for addresses.

use std::collections::BTreeMap;
use std::fmt;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use rkafka_protocol::messages::describe_client_quotas_request::ComponentData;
use rkafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::PerItem;
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

/// Whom a quota is for: a user, a client, both, or an address; each by name, or the default for those without one of their
/// own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientQuotaEntity(BTreeMap<String, Option<String>>);

impl ClientQuotaEntity {
    /// Nobody yet; say whom.
    pub fn new() -> Self {
        Self::default()
    }

    /// This user, or with `None` every one without a quota of their own.
    #[must_use]
    pub fn user(self, name: Option<&str>) -> Self {
        self.with("user", name)
    }

    /// Clients with this `client.id`, or with `None` every one without a quota of its own.
    #[must_use]
    pub fn client_id(self, name: Option<&str>) -> Self {
        self.with("client-id", name)
    }

    /// Connections from this address, or with `None` from every one without a quota of its own.
    #[must_use]
    pub fn ip(self, address: Option<&str>) -> Self {
        self.with("ip", address)
    }

    /// As a broker names it: `user`, `client-id`, `ip`.
    #[must_use]
    pub fn with(mut self, kind: impl Into<String>, name: Option<&str>) -> Self {
        self.0.insert(kind.into(), name.map(str::to_owned));
        self
    }

    /// Kinds and names; the name is `None` for the default.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (kind.as_str(), name.as_deref()))
    }
}

impl fmt::Display for ClientQuotaEntity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (kind, name)) in self.entries().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(formatter, "{comma}{kind} {}", name.unwrap_or("<default>"))?;
        }
        Ok(())
    }
}

/// Whose quotas are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientQuotaFilter {
    components: Vec<(String, QuotaMatch)>,
    strict: bool,
}

/// Which names of a kind are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaMatch {
    /// This one.
    Name(String),
    /// The default.
    Default,
    /// Every one that is named, and the default.
    Any,
}

impl ClientQuotaFilter {
    /// Everybody.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only entities that have such a part, beside what else is asked for.
    #[must_use]
    pub fn component(mut self, kind: impl Into<String>, names: QuotaMatch) -> Self {
        self.components.push((kind.into(), names));
        self
    }

    /// Only entities that have no other part than those that are asked for.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }
}

operation! {
    /// What [`Admin::describe_client_quotas`] gives.
    pub struct DescribeClientQuotas => BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>> {
        filter: ClientQuotaFilter,
    }
}

operation! {
    /// What [`Admin::alter_client_quotas`] gives.
    pub struct AlterClientQuotas => PerItem<(), ClientQuotaEntity> {
        changes: BTreeMap<ClientQuotaEntity, BTreeMap<String, Option<f64>>>,
    }
    options {
        /// Whether the broker only checks everything, and changes nothing. Default: it changes.
        validate_only: bool = false,
    }
}

impl DescribeClientQuotas<'_> {
    async fn run(self) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>> {
        let component = |(kind, names): &(String, QuotaMatch)| {
            let (match_type, name) = match names {
                QuotaMatch::Name(name) => (0, Some(name.clone())),
                QuotaMatch::Default => (1, None),
                QuotaMatch::Any => (2, None),
            };
            ComponentData { entity_type: kind.clone(), match_type, r#match: name, ..Default::default() }
        };
        let build = |_| DescribeClientQuotasRequest {
            components: self.filter.components.iter().map(component).collect(),
            strict: self.filter.strict,
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

fn read(response: DescribeClientQuotasResponse) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>> {
    Error::check_with(response.error_code, response.error_message.as_deref())?;
    let entries = response.entries.unwrap_or_default().into_iter().map(|entry| {
        let entity = entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name));
        let values = entry.values.into_iter().map(|value| (value.key, value.value));
        (ClientQuotaEntity(entity.collect()), values.collect())
    });
    Ok(entries.collect())
}

struct Job<'a> {
    changes: &'a BTreeMap<ClientQuotaEntity, BTreeMap<String, Option<f64>>>,
    validate_only: bool,
}

impl Operation for Job<'_> {
    type Key = ClientQuotaEntity;
    type Value = ();
    type Request = AlterClientQuotasRequest;

    fn place(&self, _entity: &ClientQuotaEntity) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, entities: &[ClientQuotaEntity]) -> Result<AlterClientQuotasRequest> {
        let entries = entities.iter().filter_map(|entity| Some((entity, self.changes.get(entity)?)));
        let entries = entries.map(|(entity, changes)| EntryData {
            entity: entity
                .entries()
                .map(|(kind, name)| EntityData {
                    entity_type: kind.to_owned(),
                    entity_name: name.map(str::to_owned),
                    ..Default::default()
                })
                .collect(),
            ops: changes
                .iter()
                .map(|(key, value)| OpData {
                    key: key.clone(),
                    value: value.unwrap_or(0.0),
                    remove: value.is_none(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        Ok(AlterClientQuotasRequest {
            entries: entries.collect(),
            validate_only: self.validate_only,
            ..Default::default()
        })
    }

    fn read(
        &self,
        _entities: &[ClientQuotaEntity],
        response: AlterClientQuotasResponse,
    ) -> Answers<ClientQuotaEntity, ()> {
        let entries = response.entries.into_iter().map(|entry| {
            let entity = entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name));
            let outcome = Error::check_with(entry.error_code, entry.error_message.as_deref());
            (ClientQuotaEntity(entity.collect()), outcome)
        });
        Ok(entries.collect())
    }
}

impl AlterClientQuotas<'_> {
    async fn run(self) -> Result<PerItem<(), ClientQuotaEntity>> {
        let job = Job { changes: &self.changes, validate_only: self.validate_only };
        self.admin.run(&job, self.changes.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Quotas by whom they are for, such as `producer_byte_rate`, in bytes a second.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn describe_client_quotas(&self, filter: ClientQuotaFilter) -> DescribeClientQuotas<'_> {
        DescribeClientQuotas::new(self, filter)
    }

    /// Sets quotas, or takes them away (`None`), and leaves all others as they are.
    ///
    /// ```no_run
    /// # use rkafka_admin::{Admin, ClientQuotaEntity};
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// let alice = ClientQuotaEntity::new().user(Some("alice"));
    /// admin.alter_client_quotas([(alice, [("producer_byte_rate", Some(1_000_000.0))])]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: the quotas may have been changed.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one entity is in its item.
    pub fn alter_client_quotas<Changes, Key>(
        &self,
        changes: impl IntoIterator<Item = (ClientQuotaEntity, Changes)>,
    ) -> AlterClientQuotas<'_>
    where
        Changes: IntoIterator<Item = (Key, Option<f64>)>,
        Key: Into<String>,
    {
        let mut all: BTreeMap<ClientQuotaEntity, BTreeMap<String, Option<f64>>> = BTreeMap::new();
        for (entity, changes) in changes {
            all.entry(entity).or_default().extend(changes.into_iter().map(|(key, value)| (key.into(), value)));
        }
        AlterClientQuotas::new(self, all)
    }
}
