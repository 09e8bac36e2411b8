//! Who may do what. Sources: DescribeAcls (API key 29), CreateAcls (key 30), DeleteAcls (key 31), KIP-140, KIP-290 for
//! patterns.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use rkafka_client_core::{Error, ErrorKind, Result};
use rkafka_protocol::messages::create_acls_request::AclCreation;
use rkafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use rkafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};

use super::PerItem;
use crate::Admin;
use crate::codes::codes;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

codes! {
    /// What kind of thing a rule is about.
    pub enum AclResourceType: i8 {
        /// In a filter: any.
        Any = 1 "ANY",
        /// A topic.
        Topic = 2 "TOPIC",
        /// A group.
        Group = 3 "GROUP",
        /// The cluster, whose name is `kafka-cluster`.
        Cluster = 4 "CLUSTER",
        /// A transactional producer, by its `transactional.id`.
        TransactionalId = 5 "TRANSACTIONAL_ID",
        /// A delegation token, by its id.
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// A user, whose tokens one may make (KIP-373).
        User = 7 "USER",
    }
}

codes! {
    /// How the name of a rule means things.
    pub enum AclPatternType: i8 {
        /// In a filter: any.
        Any = 1 "ANY",
        /// In a filter: every rule that is about the thing with that name, whichever way.
        Match = 2 "MATCH",
        /// The thing with that name; `*` is every one.
        Literal = 3 "LITERAL",
        /// Every one whose name begins so.
        Prefixed = 4 "PREFIXED",
    }
}

codes! {
    /// What one may do.
    pub enum AclOperation: i8 {
        /// In a filter: any.
        Any = 1 "ANY",
        /// Everything.
        All = 2 "ALL",
        /// Read.
        Read = 3 "READ",
        /// Write.
        Write = 4 "WRITE",
        /// Create.
        Create = 5 "CREATE",
        /// Delete.
        Delete = 6 "DELETE",
        /// Change.
        Alter = 7 "ALTER",
        /// See that it is there.
        Describe = 8 "DESCRIBE",
        /// What brokers do among each other.
        ClusterAction = 9 "CLUSTER_ACTION",
        /// See its settings.
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        /// Change its settings.
        AlterConfigs = 11 "ALTER_CONFIGS",
        /// Write idempotently.
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        /// Make tokens for it.
        CreateTokens = 13 "CREATE_TOKENS",
        /// See its tokens.
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// Commit in two phases (KIP-939).
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

impl AclOperation {
    /// Those of a bit field; `None` where the broker did not say.
    pub(crate) fn from_bits(bits: i32) -> Option<BTreeSet<Self>> {
        let bit = |code: i8| bits & (1 << code) != 0;
        (bits != i32::MIN).then(|| (0..31).filter(|code| bit(*code)).map(Self::from).collect())
    }
}

codes! {
    /// Whether one may or may not.
    pub enum AclPermissionType: i8 {
        /// In a filter: any.
        Any = 1 "ANY",
        /// One may not, whatever else is allowed.
        Deny = 2 "DENY",
        /// One may.
        Allow = 3 "ALLOW",
    }
}

/// A rule: who may do what with what, from where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct AclBinding {
    /// What kind of thing it is about.
    pub resource_type: AclResourceType,
    /// The name.
    pub resource_name: String,
    /// How the name is meant.
    pub pattern_type: AclPatternType,
    /// Whom it is about, such as `User:alice`; `User:*` is everyone.
    pub principal: String,
    /// The address that they come from; `*` is any.
    pub host: String,
    /// What they do.
    pub operation: AclOperation,
    /// Whether they may.
    pub permission: AclPermissionType,
}

impl AclBinding {
    /// A rule that allows `principal` to do something with the thing of that very name, from anywhere.
    pub fn allow(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: AclResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        Self {
            resource_type,
            resource_name: resource_name.into(),
            pattern_type: AclPatternType::Literal,
            principal: principal.into(),
            host: "*".to_owned(),
            operation,
            permission: AclPermissionType::Allow,
        }
    }

    /// As [`AclBinding::allow`], but they may not.
    pub fn deny(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: AclResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        let binding = Self::allow(principal, operation, resource_type, resource_name);
        Self { permission: AclPermissionType::Deny, ..binding }
    }

    /// Means every thing whose name begins so.
    #[must_use]
    pub fn prefixed(mut self) -> Self {
        self.pattern_type = AclPatternType::Prefixed;
        self
    }

    /// Means only those who come from this address.
    #[must_use]
    pub fn from_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }
}

/// Which rules are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct AclBindingFilter {
    /// What kind of thing they are about.
    pub resource_type: AclResourceType,
    /// Its name; `None` is any.
    pub resource_name: Option<String>,
    /// How the name is meant.
    pub pattern_type: AclPatternType,
    /// Whom they are about; `None` is any.
    pub principal: Option<String>,
    /// The address; `None` is any.
    pub host: Option<String>,
    /// What is done.
    pub operation: AclOperation,
    /// Whether one may.
    pub permission: AclPermissionType,
}

impl AclBindingFilter {
    /// All rules.
    pub const fn any() -> Self {
        Self {
            resource_type: AclResourceType::Any,
            resource_name: None,
            pattern_type: AclPatternType::Any,
            principal: None,
            host: None,
            operation: AclOperation::Any,
            permission: AclPermissionType::Any,
        }
    }

    /// Only rules about this; with [`AclPatternType::Match`], every rule that touches the thing of that name.
    #[must_use]
    pub fn resource(
        mut self,
        resource_type: AclResourceType,
        name: impl Into<String>,
        pattern_type: AclPatternType,
    ) -> Self {
        self.resource_type = resource_type;
        self.resource_name = Some(name.into());
        self.pattern_type = pattern_type;
        self
    }

    /// Only rules about things of this kind.
    #[must_use]
    pub fn resource_type(mut self, resource_type: AclResourceType) -> Self {
        self.resource_type = resource_type;
        self
    }

    /// Only rules about this principal.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Only rules about this address.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Only rules about this operation.
    #[must_use]
    pub fn operation(mut self, operation: AclOperation) -> Self {
        self.operation = operation;
        self
    }

    /// Only rules that allow, or that deny.
    #[must_use]
    pub fn permission(mut self, permission: AclPermissionType) -> Self {
        self.permission = permission;
        self
    }
}

impl From<AclBinding> for AclBindingFilter {
    /// Exactly this rule.
    fn from(binding: AclBinding) -> Self {
        Self {
            resource_type: binding.resource_type,
            resource_name: Some(binding.resource_name),
            pattern_type: binding.pattern_type,
            principal: Some(binding.principal),
            host: Some(binding.host),
            operation: binding.operation,
            permission: binding.permission,
        }
    }
}

operation! {
    /// What [`Admin::create_acls`] gives.
    pub struct CreateAcls => PerItem<(), AclBinding> {
        acls: BTreeSet<AclBinding>,
    }
}

operation! {
    /// What [`Admin::describe_acls`] gives.
    pub struct DescribeAcls => Vec<AclBinding> {
        filter: AclBindingFilter,
    }
}

operation! {
    /// What [`Admin::delete_acls`] gives.
    pub struct DeleteAcls => PerItem<PerItem<(), AclBinding>, AclBindingFilter> {
        filters: BTreeSet<AclBindingFilter>,
    }
}

struct Create;

impl Operation for Create {
    type Key = AclBinding;
    type Value = ();
    type Request = CreateAclsRequest;

    fn place(&self, _acl: &AclBinding) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, acls: &[AclBinding]) -> Result<CreateAclsRequest> {
        let creations = acls.iter().map(|acl| AclCreation {
            resource_type: acl.resource_type.code(),
            resource_name: acl.resource_name.clone(),
            resource_pattern_type: acl.pattern_type.code(),
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation.code(),
            permission_type: acl.permission.code(),
            ..Default::default()
        });
        Ok(CreateAclsRequest { creations: creations.collect(), ..Default::default() })
    }

    fn read(&self, acls: &[AclBinding], response: CreateAclsResponse) -> Answers<AclBinding, ()> {
        // The results stand in the order of the request.
        let results = response.results.into_iter();
        let results = results.map(|result| Error::check_with(result.error_code, result.error_message.as_deref()));
        Ok(acls.iter().cloned().zip(results).collect())
    }
}

struct Delete;

impl Operation for Delete {
    type Key = AclBindingFilter;
    type Value = PerItem<(), AclBinding>;
    type Request = DeleteAclsRequest;

    fn place(&self, _filter: &AclBindingFilter) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, filters: &[AclBindingFilter]) -> Result<DeleteAclsRequest> {
        let filters = filters.iter().map(|filter| DeleteAclsFilter {
            resource_type_filter: filter.resource_type.code(),
            resource_name_filter: filter.resource_name.clone(),
            pattern_type_filter: filter.pattern_type.code(),
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation.code(),
            permission_type: filter.permission.code(),
            ..Default::default()
        });
        Ok(DeleteAclsRequest { filters: filters.collect(), ..Default::default() })
    }

    fn read(
        &self,
        filters: &[AclBindingFilter],
        response: DeleteAclsResponse,
    ) -> Answers<AclBindingFilter, PerItem<(), AclBinding>> {
        let results = response.filter_results.into_iter().map(|result| {
            Error::check_with(result.error_code, result.error_message.as_deref())?;
            let matches = result.matching_acls.into_iter().map(|acl| {
                let outcome = Error::check_with(acl.error_code, acl.error_message.as_deref());
                let binding = AclBinding {
                    resource_type: acl.resource_type.into(),
                    resource_name: acl.resource_name,
                    pattern_type: acl.pattern_type.into(),
                    principal: acl.principal,
                    host: acl.host,
                    operation: acl.operation.into(),
                    permission: acl.permission_type.into(),
                };
                (binding, outcome)
            });
            Ok(matches.collect())
        });
        // The results stand in the order of the request.
        Ok(filters.iter().cloned().zip(results).collect())
    }
}

impl CreateAcls<'_> {
    async fn run(self) -> Result<PerItem<(), AclBinding>> {
        self.admin.run(&Create, self.acls, self.limit).await
    }
}

impl DeleteAcls<'_> {
    async fn run(self) -> Result<PerItem<PerItem<(), AclBinding>, AclBindingFilter>> {
        self.admin.run(&Delete, self.filters, self.limit).await
    }
}

impl DescribeAcls<'_> {
    async fn run(self) -> Result<Vec<AclBinding>> {
        let filter = &self.filter;
        if filter.principal.as_deref().is_some_and(|principal| !principal.contains(':')) {
            let message = "a principal is named with its type, such as `User:alice`";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let build = |_| DescribeAclsRequest {
            resource_type_filter: filter.resource_type.code(),
            resource_name_filter: filter.resource_name.clone(),
            pattern_type_filter: filter.pattern_type.code(),
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation.code(),
            permission_type: filter.permission.code(),
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

fn read(response: DescribeAclsResponse) -> Result<Vec<AclBinding>> {
    Error::check_with(response.error_code, response.error_message.as_deref())?;
    let mut bindings = Vec::new();
    for resource in response.resources {
        for acl in resource.acls {
            bindings.push(AclBinding {
                resource_type: resource.resource_type.into(),
                resource_name: resource.resource_name.clone(),
                pattern_type: resource.pattern_type.into(),
                principal: acl.principal,
                host: acl.host,
                operation: acl.operation.into(),
                permission: acl.permission_type.into(),
            });
        }
    }
    bindings.sort();
    Ok(bindings)
}

impl Admin {
    /// Adds rules. One that is there already is no error. A cluster without an authorizer answers
    /// [`SecurityDisabled`](crate::ErrorCode::SecurityDisabled).
    ///
    /// Cancel safety: the rules may have been added.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one rule is in its item.
    pub fn create_acls(&self, acls: impl IntoIterator<Item: Borrow<AclBinding>>) -> CreateAcls<'_> {
        CreateAcls::new(self, acls.into_iter().map(|acl| acl.borrow().clone()).collect())
    }

    /// The rules that a filter means.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]; also [`SecurityDisabled`](crate::ErrorCode::SecurityDisabled) from a cluster without an authorizer.
    pub fn describe_acls(&self, filter: impl Into<AclBindingFilter>) -> DescribeAcls<'_> {
        DescribeAcls::new(self, filter.into())
    }

    /// Deletes the rules that filters mean, and names them.
    ///
    /// Cancel safety: the rules may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one filter, or one of the rules that it meant, is in its item.
    pub fn delete_acls(&self, filters: impl IntoIterator<Item = impl Into<AclBindingFilter>>) -> DeleteAcls<'_> {
        DeleteAcls::new(self, filters.into_iter().map(Into::into).collect())
    }
}
