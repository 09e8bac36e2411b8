//! Delegation tokens. Sources: CreateDelegationToken (API key 38), RenewDelegationToken (key 39), ExpireDelegationToken
//! (key 40), DescribeDelegationToken (key 41), KIP-48, KIP-373 for owners.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use rkafka_client_core::{Error, ErrorKind, Result};
use rkafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use rkafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use rkafka_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

use crate::Admin;
use crate::operation::operation;
use crate::single::To;

/// Somebody, by type and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaPrincipal {
    /// The type, which is `User` unless brokers have classes of their own.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl KafkaPrincipal {
    /// A user.
    pub fn user(name: impl Into<String>) -> Self {
        Self { kind: "User".to_owned(), name: name.into() }
    }

    fn read(kind: String, name: String) -> Option<Self> {
        (!name.is_empty()).then_some(Self { kind, name })
    }
}

impl fmt::Display for KafkaPrincipal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind, self.name)
    }
}

impl FromStr for KafkaPrincipal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
            }
            _ => {
                let message = format!("`{text}` is no principal; they are named as `User:alice`");
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }
}

/// A token, by which one can log in as its owner.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DelegationToken {
    /// Its id, the user name to log in with.
    pub token_id: String,
    /// Its secret; as base64, the password to log in with, by SCRAM.
    pub hmac: Bytes,
    /// Whom one is with it.
    pub owner: Option<KafkaPrincipal>,
    /// Who asked for it; `None` from brokers before Kafka 3.3.
    pub requester: Option<KafkaPrincipal>,
    /// Who may renew it beside its owner.
    pub renewers: Vec<KafkaPrincipal>,
    /// When it was made, in milliseconds since 1970.
    pub issue_timestamp: i64,
    /// When it ends unless it is renewed, likewise.
    pub expiry_timestamp: i64,
    /// When it ends in any case, likewise.
    pub max_timestamp: i64,
}

impl fmt::Debug for DelegationToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DelegationToken")
            .field("token_id", &self.token_id)
            .field("owner", &self.owner)
            .field("requester", &self.requester)
            .field("renewers", &self.renewers)
            .field("issue_timestamp", &self.issue_timestamp)
            .field("expiry_timestamp", &self.expiry_timestamp)
            .field("max_timestamp", &self.max_timestamp)
            .finish_non_exhaustive()
    }
}

/// The secret of a token, which is not shown.
#[derive(Clone)]
struct Hmac(Bytes);

impl fmt::Debug for Hmac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[hidden]")
    }
}

operation! {
    /// What [`Admin::create_delegation_token`] gives.
    pub struct CreateDelegationToken => DelegationToken {}
    options {
        /// Whom one is with it. Default: whom this client is. Needs Kafka 3.3.
        owner: Option<KafkaPrincipal> = None,
        /// Who may renew it beside its owner. Default: nobody.
        renewers: Vec<KafkaPrincipal> = Vec::new(),
        /// How long it lives at most. Default: as long as the broker lets it (`delegation.token.max.lifetime.ms`).
        max_lifetime: Option<Duration> = None,
    }
}

operation! {
    /// What [`Admin::renew_delegation_token`] gives.
    pub struct RenewDelegationToken => i64 {
        hmac: Hmac,
    }
    options {
        /// For how long. Default: as the broker has it (`delegation.token.expiry.time.ms`).
        renew_period: Option<Duration> = None,
    }
}

operation! {
    /// What [`Admin::expire_delegation_token`] gives.
    pub struct ExpireDelegationToken => i64 {
        hmac: Hmac,
    }
    options {
        /// After how long. Default: at once.
        expiry_time_period: Option<Duration> = None,
    }
}

operation! {
    /// What [`Admin::describe_delegation_token`] gives.
    pub struct DescribeDelegationToken => Vec<DelegationToken> {}
    options {
        /// Only tokens of these. Default: of all.
        owners: Option<Vec<KafkaPrincipal>> = None,
    }
}

fn millis(duration: Option<Duration>) -> i64 {
    duration.map_or(-1, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

impl CreateDelegationToken<'_> {
    async fn run(self) -> Result<DelegationToken> {
        let build = |_| CreateDelegationTokenRequest {
            owner_principal_type: self.owner.as_ref().map(|owner| owner.kind.clone()),
            owner_principal_name: self.owner.as_ref().map(|owner| owner.name.clone()),
            renewers: self
                .renewers
                .iter()
                .map(|renewer| CreatableRenewers {
                    principal_type: renewer.kind.clone(),
                    principal_name: renewer.name.clone(),
                    ..Default::default()
                })
                .collect(),
            max_lifetime_ms: millis(self.max_lifetime),
            ..Default::default()
        };
        let read = |response: CreateDelegationTokenResponse| {
            Error::check(response.error_code)?;
            Ok(DelegationToken {
                token_id: response.token_id,
                hmac: response.hmac,
                owner: KafkaPrincipal::read(response.principal_type, response.principal_name),
                requester: KafkaPrincipal::read(
                    response.token_requester_principal_type,
                    response.token_requester_principal_name,
                ),
                renewers: self.renewers.clone(),
                issue_timestamp: response.issue_timestamp_ms,
                expiry_timestamp: response.expiry_timestamp_ms,
                max_timestamp: response.max_timestamp_ms,
            })
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

impl RenewDelegationToken<'_> {
    async fn run(self) -> Result<i64> {
        let build = |_| RenewDelegationTokenRequest {
            hmac: self.hmac.0.clone(),
            renew_period_ms: millis(self.renew_period),
            ..Default::default()
        };
        let read = |response: RenewDelegationTokenResponse| {
            Error::check(response.error_code).map(|()| response.expiry_timestamp_ms)
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

impl ExpireDelegationToken<'_> {
    async fn run(self) -> Result<i64> {
        let build = |_| ExpireDelegationTokenRequest {
            hmac: self.hmac.0.clone(),
            expiry_time_period_ms: millis(self.expiry_time_period),
            ..Default::default()
        };
        let read = |response: ExpireDelegationTokenResponse| {
            Error::check(response.error_code).map(|()| response.expiry_timestamp_ms)
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

impl DescribeDelegationToken<'_> {
    async fn run(self) -> Result<Vec<DelegationToken>> {
        let owner = |owner: &KafkaPrincipal| DescribeDelegationTokenOwner {
            principal_type: owner.kind.clone(),
            principal_name: owner.name.clone(),
            ..Default::default()
        };
        let build = |_| DescribeDelegationTokenRequest {
            owners: self.owners.as_ref().map(|owners| owners.iter().map(owner).collect()),
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

fn read(response: DescribeDelegationTokenResponse) -> Result<Vec<DelegationToken>> {
    Error::check(response.error_code)?;
    let tokens = response.tokens.into_iter().map(|token| DelegationToken {
        token_id: token.token_id,
        hmac: token.hmac,
        owner: KafkaPrincipal::read(token.principal_type, token.principal_name),
        requester: KafkaPrincipal::read(token.token_requester_principal_type, token.token_requester_principal_name),
        renewers: token
            .renewers
            .into_iter()
            .filter_map(|renewer| KafkaPrincipal::read(renewer.principal_type, renewer.principal_name))
            .collect(),
        issue_timestamp: token.issue_timestamp,
        expiry_timestamp: token.expiry_timestamp,
        max_timestamp: token.max_timestamp,
    });
    let mut tokens: Vec<DelegationToken> = tokens.collect();
    tokens.sort_by(|one, other| one.token_id.cmp(&other.token_id));
    Ok(tokens)
}

impl Admin {
    /// Makes a delegation token. A connection without authentication may not
    /// ([`DelegationTokenRequestNotAllowed`](crate::ErrorCode::DelegationTokenRequestNotAllowed)), and a cluster without
    /// `delegation.token.secret.key` has none ([`DelegationTokenAuthDisabled`](crate::ErrorCode::DelegationTokenAuthDisabled)).
    ///
    /// Cancel safety: a token may have been made, which ends by itself.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn create_delegation_token(&self) -> CreateDelegationToken<'_> {
        CreateDelegationToken::new(self)
    }

    /// Lets a token live longer, by its secret; gives when it ends now, in milliseconds since 1970.
    ///
    /// Cancel safety: it may have been renewed.
    ///
    /// # Errors
    /// See [`Admin`]; also [`DelegationTokenNotFound`](crate::ErrorCode::DelegationTokenNotFound) and
    /// [`DelegationTokenExpired`](crate::ErrorCode::DelegationTokenExpired).
    pub fn renew_delegation_token(&self, hmac: impl Into<Bytes>) -> RenewDelegationToken<'_> {
        RenewDelegationToken::new(self, Hmac(hmac.into()))
    }

    /// Ends a token, by its secret, at once or later; gives when, in milliseconds since 1970.
    ///
    /// Cancel safety: it may have ended.
    ///
    /// # Errors
    /// As [`Admin::renew_delegation_token`].
    pub fn expire_delegation_token(&self, hmac: impl Into<Bytes>) -> ExpireDelegationToken<'_> {
        ExpireDelegationToken::new(self, Hmac(hmac.into()))
    }

    /// The tokens that this client may see, with their secrets.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Admin::create_delegation_token`].
    pub fn describe_delegation_token(&self) -> DescribeDelegationToken<'_> {
        DescribeDelegationToken::new(self)
    }
}
