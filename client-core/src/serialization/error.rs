//! Why a value was not written or read.

use std::fmt;
use std::sync::Arc;

use super::{SerializationContext, Side};

/// Why the key or value of a record was not turned into bytes, or back. It names the topic and the part of the record,
/// and never what the record holds. Cheap to clone.
///
/// Java's `SerializationException`.
#[derive(Clone)]
pub struct SerializationError {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    topic: Box<str>,
    side: Side,
    problem: Problem,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone)]
enum Problem {
    Unprepared,
    Null { expected: &'static str },
    Other(Box<str>),
}

impl SerializationError {
    fn with(context: SerializationContext<'_>, problem: Problem) -> Self {
        let inner = Inner { topic: context.topic.into(), side: context.side, problem, source: None };
        Self { inner: Arc::new(inner) }
    }

    /// An error with this reason, which should say what is wrong and must not hold the data: errors go to logs.
    pub fn new(context: SerializationContext<'_>, reason: impl Into<String>) -> Self {
        Self::with(context, Problem::Other(reason.into().into()))
    }

    /// An error with another beneath it, whose text and source must not hold the data.
    pub fn because(
        context: SerializationContext<'_>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source: Arc<dyn std::error::Error + Send + Sync> = source.into().into();
        let mut error = Self::new(context, source.to_string());
        if let Some(inner) = Arc::get_mut(&mut error.inner) {
            inner.source = Some(source);
        }
        error
    }

    /// Something has to be awaited first: [`Serializer::prepare`](super::Serializer::prepare) or
    /// [`Deserializer::prepare`](super::Deserializer::prepare).
    pub fn unprepared(context: SerializationContext<'_>) -> Self {
        Self::with(context, Problem::Unprepared)
    }

    /// There is a null where `expected` should be.
    pub fn null(context: SerializationContext<'_>, expected: &'static str) -> Self {
        Self::with(context, Problem::Null { expected })
    }

    /// The record's topic.
    pub fn topic(&self) -> &str {
        &self.inner.topic
    }

    /// The part of the record.
    pub fn side(&self) -> Side {
        self.inner.side
    }

    /// Whether something has to be awaited first, after which the same call may succeed.
    pub fn is_unprepared(&self) -> bool {
        matches!(self.inner.problem, Problem::Unprepared)
    }

    /// Whether there is a null where a value should be.
    pub fn is_null(&self) -> bool {
        matches!(self.inner.problem, Problem::Null { .. })
    }
}

impl fmt::Display for SerializationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { topic, side, problem, .. } = &*self.inner;
        write!(formatter, "the {side} of a record of topic `{topic}` ")?;
        match problem {
            Problem::Unprepared => {
                formatter.write_str("cannot be converted before its serializer is prepared: await `prepare`")
            }
            Problem::Null { expected } => {
                write!(formatter, "is null, and no {expected}: use an `Option` where nulls may come")
            }
            Problem::Other(reason) => write!(formatter, "cannot be converted: {reason}"),
        }
    }
}

impl fmt::Debug for SerializationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SerializationError({self})")
    }
}

impl std::error::Error for SerializationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}
