//! What can go wrong between this client and a registry.

use std::fmt;
use std::time::Duration;

/// The registry's `error_code`. See Confluent's `Errors.java` for the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 40401: the subject does not exist.
    SubjectNotFound,
    /// 40402: the subject has no such version.
    VersionNotFound,
    /// 40403: no schema with this id, or the schema is not registered under the subject.
    SchemaNotFound,
    /// 40404: the subject was soft-deleted; delete permanently, or register again.
    SubjectSoftDeleted,
    /// 40405: the subject must be soft-deleted before it is deleted permanently.
    SubjectNotSoftDeleted,
    /// 40406: the version was soft-deleted.
    VersionSoftDeleted,
    /// 40407: the version must be soft-deleted before it is deleted permanently.
    VersionNotSoftDeleted,
    /// 40408: the subject has no compatibility level of its own.
    SubjectCompatibilityNotConfigured,
    /// 40409: the subject has no mode of its own.
    SubjectModeNotConfigured,
    /// 40901, or 409 from registries before Confluent 8.0.4 and others: the schema is not compatible.
    IncompatibleSchema,
    /// 42201: the schema is empty, no schema, or names a reference that does not resolve.
    InvalidSchema,
    /// 42202: the version is neither a positive number nor `latest`.
    InvalidVersion,
    /// 42203: no such compatibility level.
    InvalidCompatibilityLevel,
    /// 42204: no such mode.
    InvalidMode,
    /// 42205: the mode (READONLY, for example) does not permit this.
    OperationNotPermitted,
    /// 42206: another schema refers to this one.
    ReferenceExists,
    /// 42207: the id given is not the one registered.
    IdDoesNotMatch,
    /// 42208: the subject's name is not valid.
    InvalidSubject,
    /// 42209: the schema is too large.
    SchemaTooLarge,
    /// 42210: the rule set is not valid.
    InvalidRuleSet,
    /// 50001: the registry could not read or write its store.
    StoreError,
    /// 50002: the registry's own operation timed out.
    OperationTimedOut,
    /// 50003: a follower could not forward the request to the leader.
    ForwardingFailed,
    /// 50004: the registry has no leader at the moment.
    UnknownLeader,
    /// Any other code, or the HTTP status where the answer had none.
    Other(i32),
}

impl ErrorCode {
    /// The meaning of a code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            40401 => Self::SubjectNotFound,
            40402 => Self::VersionNotFound,
            40403 => Self::SchemaNotFound,
            40404 => Self::SubjectSoftDeleted,
            40405 => Self::SubjectNotSoftDeleted,
            40406 => Self::VersionSoftDeleted,
            40407 => Self::VersionNotSoftDeleted,
            40408 => Self::SubjectCompatibilityNotConfigured,
            40409 => Self::SubjectModeNotConfigured,
            409 | 40901 => Self::IncompatibleSchema,
            42201 => Self::InvalidSchema,
            42202 => Self::InvalidVersion,
            42203 => Self::InvalidCompatibilityLevel,
            42204 => Self::InvalidMode,
            42205 => Self::OperationNotPermitted,
            42206 => Self::ReferenceExists,
            42207 => Self::IdDoesNotMatch,
            42208 => Self::InvalidSubject,
            42209 => Self::SchemaTooLarge,
            42210 => Self::InvalidRuleSet,
            50001 => Self::StoreError,
            50002 => Self::OperationTimedOut,
            50003 => Self::ForwardingFailed,
            50004 => Self::UnknownLeader,
            other => Self::Other(other),
        }
    }
}

/// A request that failed. Cheap to clone, so that callers who waited for one request can all have its error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A setting cannot be used; nothing was sent.
    #[error("setting {name}: {reason}")]
    Setting {
        /// The setting, by Kafka's or Confluent's name.
        name: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An argument cannot be sent; nothing was sent.
    #[error("{argument}: {reason}")]
    Argument {
        /// Which argument.
        argument: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry answered with an error.
    #[error("{operation}: the registry answered {status}, error_code {code}: {message}")]
    Api {
        /// Method and URL, without credentials.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// The registry's `error_code` as a number; the status where the body had none.
        code: i32,
        /// The registry's message, or the beginning of a body that was not the registry's.
        message: String,
    },
    /// The registry could not be reached, or the connection broke. A registration or deletion may have been done.
    #[error("{operation}: {reason}; is the registry running and reachable there?")]
    Transport {
        /// Method and URL, without credentials.
        operation: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time. A registration or deletion may have been done.
    #[error("{operation}: no answer within {after:?}; raise the time-out or look at the registry's load")]
    Timeout {
        /// Method and URL, without credentials.
        operation: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is larger than allowed; reading stopped there.
    #[error("{operation}: the answer is larger than {limit_bytes} bytes; raise max_response_bytes if that is right")]
    ResponseTooLarge {
        /// Method and URL, without credentials.
        operation: String,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The answer is not what this interface answers: another kind of server, or a broken one.
    #[error("{operation}: cannot read the answer: {reason}; does the URL point to a schema registry?")]
    InvalidResponse {
        /// Method and URL, without credentials.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RegistryError {
    /// The registry's code, where the registry answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Api { code, .. } => Some(ErrorCode::from_code(*code)),
            _ => None,
        }
    }

    /// The HTTP status, where the registry answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later or at another URL: the connection failed, or the status is 408, 429
    /// or a 5xx that is not about the request itself (501, 505). The client has already tried as often as it was told.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Api { status, .. } => matches!(status, 408 | 429) || (*status >= 500 && !matches!(status, 501 | 505)),
            _ => false,
        }
    }

    /// Whether the registry said that there is no such subject, version or schema.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the registry refused a schema as incompatible.
    #[must_use]
    pub fn is_incompatible(&self) -> bool {
        self.code() == Some(ErrorCode::IncompatibleSchema)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(code) => write!(formatter, "{code}"),
            known => write!(formatter, "{known:?}"),
        }
    }
}
