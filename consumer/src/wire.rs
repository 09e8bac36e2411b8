//! Requests to a leader or to the group's coordinator, each one attempt.

use std::time::Duration;

use rkafka_client_core::{CoordinatorKind, Error, Lane, Target};
use rkafka_protocol::wire::Request;

use crate::clock;
use crate::shared::Shared;

/// Asks one broker.
pub(crate) async fn broker_request<R>(shared: &Shared, broker: i32, request: R) -> Result<R::Response, Error>
where
    R: Request + Send + 'static,
{
    shared.client.request_to(broker, request).await
}

/// Asks the coordinator of the consumer's group, in the newest version up to `max_version` that both sides know;
/// `build` makes the request for it. Committing and beating go over another connection than joining, which waits long.
pub(crate) async fn coordinator_request<R>(
    shared: &Shared,
    lane: Lane,
    max_version: i16,
    timeout: Option<Duration>,
    build: impl FnOnce(i16) -> R,
) -> Result<R::Response, Error>
where
    R: Request + Send + 'static,
    R::Response: 'static,
{
    let group_id = shared.config.group_id.clone().unwrap_or_default();
    let target = Target::Coordinator(CoordinatorKind::Group, group_id);
    let connection = shared.client.connection(&target, lane).await?;
    let version = connection.versions().highest::<R>(max_version)?;
    let timeout = timeout.unwrap_or(shared.config.client.request_timeout);
    let sent = clock::now();
    shared.metrics.coordinator_asked(R::KEY, sent);
    let result = connection.request(build(version), version, timeout).await;
    let now = clock::now();
    let answer = result.as_ref().ok().map(|answer| answer as &dyn std::any::Any);
    shared.metrics.coordinator_answered(R::KEY, answer, now.saturating_duration_since(sent), now);
    if result.as_ref().is_err_and(|error| error.is_stale_metadata() || error.is_retriable()) {
        forget_coordinator(shared);
    }
    result
}

/// Has the coordinator looked for again.
pub(crate) fn forget_coordinator(shared: &Shared) {
    if let Some(group_id) = &shared.config.group_id {
        shared.client.invalidate_coordinator(CoordinatorKind::Group, group_id);
    }
}
