//! From values to the bytes of keys and values, and back: [`Serializer`] and [`Deserializer`].
//!
//! The built-in ones have the names of Java's, and write the same bytes:
//!
//! | serializer, deserializer | values | bytes |
//! |---|---|---|
//! | [`StringSerializer`], [`StringDeserializer`] | `str`, `String`, `Cow<str>`, .. | UTF-8 |
//! | [`ShortSerializer`], [`IntegerSerializer`], [`LongSerializer`] and so on | `i16`, `i32`, `i64` | 2, 4 or 8 bytes, the highest first |
//! | [`FloatSerializer`], [`DoubleSerializer`] and so on | `f32`, `f64` | 4 or 8 bytes of IEEE 754, the highest first |
//! | [`BooleanSerializer`], [`BooleanDeserializer`] | `bool` | 1 or 0 |
//! | [`UuidSerializer`], [`UuidDeserializer`] (Java's `UUIDSerializer`) | [`Uuid`](uuid::Uuid) | the text, 36 letters |
//! | [`ByteArraySerializer`], [`ByteArrayDeserializer`] (also Java's for `Bytes` and `ByteBuffer`) | `[u8]`, `Vec<u8>`, [`Bytes`](bytes::Bytes), .. | themselves |
//! | [`VoidSerializer`], [`VoidDeserializer`] | `()` | null |
//! | [`ListSerializer`], [`ListDeserializer`] | `[T]`, `Vec<T>` | each entry by the serializer within (KIP-466) |
//! | `JsonSerializer`, `JsonDeserializer` (feature `json`) | whatever serde knows | JSON |
//!
//! `Option` of each is null where it is `None`; what is no `Option` meets a null with an error. What else there is comes by
//! an implementation of the traits, or by a closure: [`serialize_with`], [`deserialize_with`].
//!
//! ```
//! use rkafka_client_core::serialization::{LongDeserializer, LongSerializer, SerializationContext};
//! use rkafka_client_core::serialization::{Deserializer, Encoded, Payload, RecordHeaders, Serializer};
//!
//! let (context, mut bytes) = (SerializationContext::value("orders"), Vec::new());
//! let encoded = LongSerializer.serialize(context, &mut RecordHeaders::new(), &7_i64, &mut bytes)?;
//! assert_eq!((encoded, &*bytes), (Encoded::Bytes, &[0, 0, 0, 0, 0, 0, 0, 7][..]));
//! let number: i64 = LongDeserializer.deserialize(context, Default::default(), Some(Payload::new(&bytes)))?;
//! assert_eq!(number, 7);
//! # Ok::<(), rkafka_client_core::serialization::SerializationError>(())
//! ```

mod built_in;
mod class;
mod custom;
mod defaults;
mod error;
mod headers;
#[cfg(feature = "json")]
mod json;
mod list;
mod numbers;
mod payload;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rkafka_protocol::records::HeadersView;

pub use built_in::{
    ByteArrayDeserializer, ByteArraySerializer, StringDeserializer, StringSerializer, UuidDeserializer, UuidSerializer,
    VoidDeserializer, VoidSerializer,
};
pub use class::SerializerClass;
pub use custom::{DeserializeWith, Nullable, SerializeWith, deserialize_with, serialize_with};
pub use defaults::{DefaultDeserializer, DefaultSerializer};
pub use error::SerializationError;
pub use headers::{RecordHeader, RecordHeaders};
#[cfg(feature = "json")]
pub use json::{Json, JsonDeserializer, JsonSerializer};
pub use list::{ListDeserializer, ListEntry, ListSerializer};
pub use numbers::{
    BooleanDeserializer, BooleanSerializer, DoubleDeserializer, DoubleSerializer, FloatDeserializer, FloatSerializer,
    IntegerDeserializer, IntegerSerializer, LongDeserializer, LongSerializer, ShortDeserializer, ShortSerializer,
};
pub use payload::Payload;

/// Which part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// What is written or read: the topic, and whether it is the key or the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SerializationContext<'a> {
    /// The record's topic.
    pub topic: &'a str,
    /// The part of the record.
    pub side: Side,
}

impl<'a> SerializationContext<'a> {
    /// The key of a record of `topic`.
    pub const fn key(topic: &'a str) -> Self {
        Self { topic, side: Side::Key }
    }

    /// The value of a record of `topic`.
    pub const fn value(topic: &'a str) -> Self {
        Self { topic, side: Side::Value }
    }
}

/// What a serializer made of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a null is told by this alone"]
pub enum Encoded {
    /// The bytes that were appended, be they none.
    Bytes,
    /// Null: as the value of a record, a tombstone, which deletes the key from a compacted topic.
    Null,
}

/// What must be awaited before a call can succeed.
pub type Preparation<'a> = Pin<Box<dyn Future<Output = Result<(), SerializationError>> + Send + 'a>>;

/// Turns values into bytes.
///
/// [`serialize`](Self::serialize) is called for each record, on the task that sends it, and does not wait. A serializer
/// that has to ask somebody first, such as a schema registry that gives a schema its id, fails with
/// [`SerializationError::unprepared`], upon which the caller awaits [`prepare`](Self::prepare) and tries once more.
/// Whoever never fails so is never asked, and pays nothing for it.
///
/// ```
/// use rkafka_client_core::serialization::*;
///
/// struct Point(i32, i32);
/// struct PointSerializer;
///
/// impl Serializer<Point> for PointSerializer {
///     fn serialize(
///         &self,
///         _context: SerializationContext<'_>,
///         _headers: &mut RecordHeaders<'_>,
///         point: &Point,
///         into: &mut Vec<u8>,
///     ) -> Result<Encoded, SerializationError> {
///         into.extend(point.0.to_be_bytes());
///         into.extend(point.1.to_be_bytes());
///         Ok(Encoded::Bytes)
///     }
/// }
/// ```
pub trait Serializer<T: ?Sized> {
    /// Appends the bytes of `data` to `into`, which may hold other bytes already: they stay as they are. `headers` are
    /// those that the record will have, to read or to add to.
    ///
    /// # Errors
    /// The value has no bytes ([`SerializationError::new`], [`SerializationError::because`]); what was appended is then
    /// dropped by the caller. [`SerializationError::unprepared`]: not before [`Self::prepare`].
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &T,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError>;

    /// What must be awaited before [`Self::serialize`] can succeed with the same arguments; asked for only after that has
    /// failed with [`SerializationError::unprepared`]. It may be dropped at any time, and asked for anew. The default has
    /// nothing to wait for.
    fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a T) -> Preparation<'a> {
        let _ = (context, data);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Turns bytes into values, which may refer to the bytes for as long as `'a`: `&'a str`, or a structure that serde can
/// borrow. `D: for<'a> Deserializer<'a, T>` is a deserializer whose values stand for themselves.
///
/// Bytes come from elsewhere: an implementation gives an error for what it cannot read, and never panics. As with a
/// [`Serializer`], who has to ask somebody first fails with [`SerializationError::unprepared`] and is asked to
/// [`prepare`](Self::prepare).
pub trait Deserializer<'a, T> {
    /// The value that `data` holds; `data` is `None` for a null, such as the key of a record without one, or the value of
    /// a tombstone.
    ///
    /// # Errors
    /// The bytes are not such a value ([`SerializationError::new`], [`SerializationError::because`]), or a null is none
    /// ([`SerializationError::null`]). [`SerializationError::unprepared`]: not before [`Self::prepare`].
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<T, SerializationError>;

    /// What must be awaited before [`Self::deserialize`] can succeed with the same arguments, as [`Serializer::prepare`].
    fn prepare<'b>(
        &'b self,
        context: SerializationContext<'b>,
        headers: HeadersView<'b>,
        data: Option<Payload<'b>>,
    ) -> Preparation<'b> {
        let _ = (context, headers, data);
        Box::pin(std::future::ready(Ok(())))
    }
}

macro_rules! by_reference {
    ($($pointer:ty),*) => {$(
        impl<T: ?Sized, S: Serializer<T> + ?Sized> Serializer<T> for $pointer {
            fn serialize(
                &self,
                context: SerializationContext<'_>,
                headers: &mut RecordHeaders<'_>,
                data: &T,
                into: &mut Vec<u8>,
            ) -> Result<Encoded, SerializationError> {
                (**self).serialize(context, headers, data, into)
            }

            fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a T) -> Preparation<'a> {
                (**self).prepare(context, data)
            }
        }

        impl<'a, T, S: Deserializer<'a, T> + ?Sized> Deserializer<'a, T> for $pointer {
            fn deserialize(
                &self,
                context: SerializationContext<'_>,
                headers: HeadersView<'a>,
                data: Option<Payload<'a>>,
            ) -> Result<T, SerializationError> {
                (**self).deserialize(context, headers, data)
            }

            fn prepare<'b>(
                &'b self,
                context: SerializationContext<'b>,
                headers: HeadersView<'b>,
                data: Option<Payload<'b>>,
            ) -> Preparation<'b> {
                (**self).prepare(context, headers, data)
            }
        }
    )*};
}
by_reference!(&S, Box<S>, Arc<S>);
