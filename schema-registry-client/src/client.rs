//! The REST interface: failover between URLs, retries, and one method per operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::base_url::{BaseUrl, percent_encode};
use crate::error::RegistryError;
use crate::http::{self, Answer, Limits};
use crate::model::{
    Compatibility, CompatibilityLevel, DeleteMode, RegisteredSchema, SchemaDefinition, SchemaId, SchemaType,
    SubjectConfig, Version,
};
use crate::settings::ClientSettings;

/// A client of one schema registry. Cheap to clone; clones share all but nothing that a user would notice.
///
/// Every method is one request, tried at each base URL in turn, and all of them again after a growing, jittered wait
/// ([`ClientSettings::max_retries`]), as long as the error is one that may pass ([`RegistryError::is_retriable`]).
///
/// **Cancel safety.** Dropping the future of a reading method has no effect. Dropping that of a writing one (register,
/// set, delete) leaves open whether the registry has done it; registering and setting may simply be repeated. For the
/// same reason a deletion that was retried may report that there is nothing to delete, its first attempt having done it.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    bases: Vec<BaseUrl>,
    /// The position of the URL that answered last, where the next request begins.
    preferred: AtomicUsize,
    limits: Limits,
    max_retries: u32,
    retry_backoff: Duration,
    retry_backoff_max: Duration,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authorities: Vec<&str> = self.bases.iter().map(|base| base.authority.as_str()).collect();
        formatter.debug_struct("Inner").field("authorities", &authorities).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. Connects to nothing yet, and needs a tokio runtime only when it is asked something.
    ///
    /// # Errors
    /// [`RegistryError::Setting`] where there is no URL, one cannot be used, or a bound is broken.
    pub fn new(settings: ClientSettings) -> Result<Self, RegistryError> {
        let refuse = |name, reason: &str| Err(RegistryError::Setting { name, reason: reason.into() });
        if settings.urls.is_empty() {
            return refuse(
                "schema.registry.url",
                "is empty; name at least one base URL, http://localhost:8081 for example",
            );
        }
        if settings.request_timeout.is_zero() {
            return refuse("http.read.timeout.ms", "must be more than zero");
        }
        if settings.max_response_bytes == 0 {
            return refuse("max_response_bytes", "must be more than zero");
        }
        let bases = settings
            .urls
            .iter()
            .map(|url| BaseUrl::parse(url, settings.basic_auth.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                bases,
                preferred: AtomicUsize::new(0),
                limits: Limits { timeout: settings.request_timeout, max_response_bytes: settings.max_response_bytes },
                max_retries: settings.max_retries,
                retry_backoff: settings.retry_backoff,
                retry_backoff_max: settings.retry_backoff_max,
            }),
        })
    }

    /// The schema languages that the registry knows.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub async fn schema_types(&self) -> Result<Vec<SchemaType>, RegistryError> {
        self.get("/schemas/types".into()).await
    }

    /// All subjects, with those that are soft-deleted where `deleted` is set.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub async fn subjects(&self, deleted: bool) -> Result<Vec<String>, RegistryError> {
        self.get(format!("/subjects{}", flag(deleted, "?deleted=true"))).await
    }

    /// The version numbers of a subject, ascending.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectNotFound`](crate::ErrorCode::SubjectNotFound), and [`RegistryError`] at large.
    pub async fn versions(&self, subject: &str) -> Result<Vec<i32>, RegistryError> {
        self.get(format!("{}/versions", subject_path(subject)?)).await
    }

    /// The schema with this id. `subject` picks the context in which the id counts, and may be left out where the
    /// registry has only one.
    ///
    /// # Errors
    /// [`ErrorCode::SchemaNotFound`](crate::ErrorCode::SchemaNotFound), and [`RegistryError`] at large.
    pub async fn schema_by_id(&self, id: SchemaId, subject: Option<&str>) -> Result<SchemaDefinition, RegistryError> {
        let query = subject.map(|subject| format!("?subject={}", percent_encode(subject))).unwrap_or_default();
        self.get(format!("/schemas/ids/{id}{query}")).await
    }

    /// One version of a subject.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectNotFound`](crate::ErrorCode::SubjectNotFound),
    /// [`ErrorCode::VersionNotFound`](crate::ErrorCode::VersionNotFound), and [`RegistryError`] at large.
    pub async fn schema(&self, subject: &str, version: Version) -> Result<RegisteredSchema, RegistryError> {
        self.get(format!("{}/versions/{version}", subject_path(subject)?)).await
    }

    /// Registers a schema under a subject, or finds it there, and gives its id. With `normalize` the registry brings
    /// the text into its normal form first.
    ///
    /// # Errors
    /// [`ErrorCode::IncompatibleSchema`](crate::ErrorCode::IncompatibleSchema),
    /// [`ErrorCode::InvalidSchema`](crate::ErrorCode::InvalidSchema), and [`RegistryError`] at large.
    pub async fn register(
        &self,
        subject: &str,
        schema: &SchemaDefinition,
        normalize: bool,
    ) -> Result<SchemaId, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Registered {
            id: SchemaId,
        }
        let path = format!("{}/versions{}", subject_path(subject)?, flag(normalize, "?normalize=true"));
        let registered: Registered = self.send(Method::POST, path, Some(schema)).await?;
        Ok(registered.id)
    }

    /// Finds a schema under a subject, without registering it.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectNotFound`](crate::ErrorCode::SubjectNotFound),
    /// [`ErrorCode::SchemaNotFound`](crate::ErrorCode::SchemaNotFound), and [`RegistryError`] at large.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &SchemaDefinition,
        normalize: bool,
    ) -> Result<RegisteredSchema, RegistryError> {
        let path = format!("{}{}", subject_path(subject)?, flag(normalize, "?normalize=true"));
        self.send(Method::POST, path, Some(schema)).await
    }

    /// Asks whether a schema could be registered, judged against one version of the subject by the subject's level.
    ///
    /// # Errors
    /// [`ErrorCode::VersionNotFound`](crate::ErrorCode::VersionNotFound),
    /// [`ErrorCode::InvalidSchema`](crate::ErrorCode::InvalidSchema), and [`RegistryError`] at large.
    /// An incompatible schema is an answer, not an error.
    pub async fn check_compatibility(
        &self,
        subject: &str,
        version: Version,
        schema: &SchemaDefinition,
    ) -> Result<Compatibility, RegistryError> {
        let path = format!("/compatibility{}/versions/{version}?verbose=true", subject_path(subject)?);
        self.send(Method::POST, path, Some(schema)).await
    }

    /// Deletes a subject and gives the version numbers that it had.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectNotFound`](crate::ErrorCode::SubjectNotFound),
    /// [`ErrorCode::SubjectNotSoftDeleted`](crate::ErrorCode::SubjectNotSoftDeleted),
    /// [`ErrorCode::ReferenceExists`](crate::ErrorCode::ReferenceExists), and [`RegistryError`] at large.
    pub async fn delete_subject(&self, subject: &str, mode: DeleteMode) -> Result<Vec<i32>, RegistryError> {
        let path = format!("{}{}", subject_path(subject)?, permanent(mode));
        self.send(Method::DELETE, path, None::<&()>).await
    }

    /// Deletes one version of a subject and gives its number.
    ///
    /// # Errors
    /// As [`Client::delete_subject`], and [`ErrorCode::VersionNotFound`](crate::ErrorCode::VersionNotFound).
    pub async fn delete_version(
        &self,
        subject: &str,
        version: Version,
        mode: DeleteMode,
    ) -> Result<i32, RegistryError> {
        let path = format!("{}/versions/{version}{}", subject_path(subject)?, permanent(mode));
        self.send(Method::DELETE, path, None::<&()>).await
    }

    /// The registry's own configuration, which holds for subjects that have none.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub async fn global_config(&self) -> Result<SubjectConfig, RegistryError> {
        self.get("/config".into()).await
    }

    /// A subject's configuration, or with `default_to_global` the registry's where the subject has none.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectCompatibilityNotConfigured`](crate::ErrorCode::SubjectCompatibilityNotConfigured), and
    /// [`RegistryError`] at large.
    pub async fn subject_config(&self, subject: &str, default_to_global: bool) -> Result<SubjectConfig, RegistryError> {
        self.get(format!("{}{}", config_path(subject)?, flag(default_to_global, "?defaultToGlobal=true"))).await
    }

    /// Sets the registry's own configuration and gives back what the registry made of it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidCompatibilityLevel`](crate::ErrorCode::InvalidCompatibilityLevel), and [`RegistryError`] at
    /// large.
    pub async fn set_global_config(&self, config: &SubjectConfig) -> Result<SubjectConfig, RegistryError> {
        self.send(Method::PUT, "/config".into(), Some(config)).await
    }

    /// Sets a subject's configuration and gives back what the registry made of it.
    ///
    /// # Errors
    /// As [`Client::set_global_config`].
    pub async fn set_subject_config(
        &self,
        subject: &str,
        config: &SubjectConfig,
    ) -> Result<SubjectConfig, RegistryError> {
        self.send(Method::PUT, config_path(subject)?, Some(config)).await
    }

    /// Sets a subject's compatibility level and nothing else.
    ///
    /// # Errors
    /// As [`Client::set_global_config`].
    pub async fn set_compatibility(&self, subject: &str, level: CompatibilityLevel) -> Result<(), RegistryError> {
        self.set_subject_config(subject, &SubjectConfig::with_compatibility(level)).await.map(drop)
    }

    /// Takes away a subject's configuration, so that the registry's own holds for it.
    ///
    /// # Errors
    /// [`ErrorCode::SubjectNotFound`](crate::ErrorCode::SubjectNotFound), and [`RegistryError`] at large.
    pub async fn delete_subject_config(&self, subject: &str) -> Result<(), RegistryError> {
        // Registries answer with the old level, as a bare word or as an object.
        let _: IgnoredAny = self.send(Method::DELETE, config_path(subject)?, None::<&()>).await?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, RegistryError> {
        self.send(Method::GET, path, None::<&()>).await
    }

    /// Sends a request until it is answered, and reads the answer.
    async fn send<T: DeserializeOwned, B: Serialize>(
        &self,
        method: Method,
        path: String,
        body: Option<&B>,
    ) -> Result<T, RegistryError> {
        let body =
            match body {
                Some(body) => Some(Bytes::from(serde_json::to_vec(body).map_err(|error| RegistryError::Argument {
                    argument: "request body",
                    reason: error.to_string(),
                })?)),
                None => None,
            };
        let mut round = 0;
        loop {
            let error = match self.round(&method, &path, body.as_ref()).await {
                Ok((base, answer)) => {
                    return serde_json::from_slice(&answer.body).map_err(|error| RegistryError::InvalidResponse {
                        operation: http::operation(base, &method, &path),
                        reason: error.to_string(),
                    });
                }
                Err(error) => error,
            };
            if !error.is_retriable() || round >= self.inner.max_retries {
                return Err(error);
            }
            let wait = backoff(&self.inner, round, rand::random());
            tracing::debug!(%error, ?wait, "schema registry request failed at every URL; trying again");
            #[expect(clippy::disallowed_methods, reason = "this is the driver that waits between retries")]
            tokio::time::sleep(wait).await;
            round += 1;
        }
    }

    /// Tries every URL once, beginning with the one that answered last, until one gives an answer that stands.
    async fn round(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Bytes>,
    ) -> Result<(&BaseUrl, Answer), RegistryError> {
        let inner = &*self.inner;
        let first = inner.preferred.load(Ordering::Relaxed);
        let mut last_error = None;
        for step in 0..inner.bases.len() {
            let position = (first + step) % inner.bases.len();
            let base = &inner.bases[position];
            let result = http::exchange(base, method, path, body.cloned(), inner.limits).await;
            let result = result.and_then(|answer| match answer.status {
                200..=299 => Ok(answer),
                _ => Err(api_error(http::operation(base, method, path), &answer)),
            });
            match result {
                Err(error) if error.is_retriable() => last_error = Some(error),
                settled => {
                    inner.preferred.store(position, Ordering::Relaxed);
                    return settled.map(|answer| (base, answer));
                }
            }
        }
        // `new` refuses an empty list, so there was an error.
        Err(last_error.unwrap_or_else(|| RegistryError::Setting {
            name: "schema.registry.url",
            reason: "is empty; name at least one base URL".into(),
        }))
    }
}

/// The wait after round `round`; `chance` picks a point between half and the whole of it.
fn backoff(inner: &Inner, round: u32, chance: u16) -> Duration {
    let whole = inner.retry_backoff.saturating_mul(1 << round.min(16)).min(inner.retry_backoff_max);
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

/// The error in an answer whose status is not 2xx.
fn api_error(operation: String, answer: &Answer) -> RegistryError {
    #[derive(serde::Deserialize)]
    struct Body {
        error_code: Option<i32>,
        message: Option<String>,
    }
    let status = answer.status;
    let parsed: Option<Body> = serde_json::from_slice(&answer.body).ok();
    let (code, message) = match parsed {
        Some(body) => (body.error_code, body.message),
        None => (None, None),
    };
    let message = message.unwrap_or_else(|| {
        // Not the registry's own words: a proxy's page, for example. Its beginning may help.
        let text = String::from_utf8_lossy(&answer.body);
        let beginning: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if beginning.trim().is_empty() { "no message".into() } else { beginning }
    });
    RegistryError::Api { operation, status, code: code.unwrap_or(i32::from(status)), message }
}

fn subject_path(subject: &str) -> Result<String, RegistryError> {
    Ok(format!("/subjects/{}", subject_segment(subject)?))
}

fn config_path(subject: &str) -> Result<String, RegistryError> {
    Ok(format!("/config/{}", subject_segment(subject)?))
}

fn subject_segment(subject: &str) -> Result<String, RegistryError> {
    let refuse = |reason: &str| Err(RegistryError::Argument { argument: "subject", reason: reason.into() });
    match subject {
        "" => refuse("is empty; a subject is usually a topic's name with -key or -value"),
        // As segments of a path these mean something else, and encoding does not change that.
        "." | ".." => refuse("is a dot segment, which no URL can carry"),
        _ => Ok(percent_encode(subject)),
    }
}

fn flag(set: bool, query: &'static str) -> &'static str {
    if set { query } else { "" }
}

fn permanent(mode: DeleteMode) -> &'static str {
    flag(mode == DeleteMode::Permanent, "?permanent=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: ClientSettings) -> String {
        Client::new(settings).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn settings_out_of_bounds_are_named() {
        assert!(refusal(ClientSettings::new([] as [&str; 0])).contains("schema.registry.url"));
        let mut settings = ClientSettings::new(["http://h"]);
        settings.request_timeout = Duration::ZERO;
        assert!(refusal(settings).contains("timeout"));
        assert!(refusal(ClientSettings::new(["http://h", "https://h"])).contains("TLS"));
    }

    #[test]
    fn waits_grow_to_their_bound_and_are_spread() {
        let mut settings = ClientSettings::new(["http://h"]);
        settings.retry_backoff = Duration::from_millis(100);
        settings.retry_backoff_max = Duration::from_millis(500);
        let client = Client::new(settings).expect("a client");
        let wait = |round, chance| backoff(&client.inner, round, chance).as_millis();
        assert_eq!((wait(0, 0), wait(0, u16::MAX)), (50, 100));
        assert_eq!((wait(1, 0), wait(1, u16::MAX)), (100, 200));
        assert_eq!((wait(9, 0), wait(u32::MAX, u16::MAX)), (250, 500));
    }

    #[test]
    fn errors_of_others_keep_the_beginning_of_their_page() {
        let answer = Answer { status: 502, body: b"<html>\nBad Gateway".to_vec() };
        let error = api_error("GET http://h/".into(), &answer);
        assert_eq!((error.status(), error.is_retriable()), (Some(502), true));
        assert!(error.to_string().contains("<html> Bad Gateway"), "{error}");
    }
}
