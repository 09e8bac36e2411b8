//! How to reach a registry.

use std::fmt;
use std::time::Duration;

/// User name and password for HTTP basic authentication (`basic.auth.user.info`).
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user name; it has no colon.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BasicAuth").field("username", &self.username).field("password", &"[hidden]").finish()
    }
}

/// The settings of a [`Client`](crate::Client). Names in parentheses are those of Confluent's Java client.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientSettings {
    /// Base URLs of one registry, tried in turn (`schema.registry.url`). At least one; `http` only so far. User and
    /// password may stand in the URL (`basic.auth.credentials.source=URL`).
    pub urls: Vec<String>,
    /// Credentials for every URL that has none of its own (`basic.auth.credentials.source=USER_INFO`). Default: none.
    pub basic_auth: Option<BasicAuth>,
    /// The time for one attempt, from the first byte of the connection to the last of the answer
    /// (`http.connect.timeout.ms` and `http.read.timeout.ms` together). Default: 30 s. More than zero.
    pub request_timeout: Duration,
    /// How often all URLs are tried again after all have failed (`max.retries`). Default: 3.
    pub max_retries: u32,
    /// The wait before the first of these retries, doubled before each that follows, each time between half and the
    /// whole of it by chance (`retries.wait.ms`). Default: 200 ms.
    pub retry_backoff: Duration,
    /// The longest such wait (`retries.max.wait.ms`). Default: 20 s.
    pub retry_backoff_max: Duration,
    /// The largest answer that is read, in bytes. Default: 16 MiB.
    pub max_response_bytes: usize,
}

impl ClientSettings {
    /// The defaults, for a registry at these base URLs.
    pub fn new<Url: Into<String>>(urls: impl IntoIterator<Item = Url>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            basic_auth: None,
            request_timeout: Duration::from_secs(30),
            max_retries: 3,
            retry_backoff: Duration::from_millis(200),
            retry_backoff_max: Duration::from_secs(20),
            max_response_bytes: 16 << 20,
        }
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs may hold passwords, and stay out of logs.
        formatter
            .debug_struct("ClientSettings")
            .field("urls", &self.urls.len())
            .field("basic_auth", &self.basic_auth)
            .field("request_timeout", &self.request_timeout)
            .field("max_retries", &self.max_retries)
            .field("retry_backoff", &self.retry_backoff)
            .field("retry_backoff_max", &self.retry_backoff_max)
            .field("max_response_bytes", &self.max_response_bytes)
            .finish()
    }
}
