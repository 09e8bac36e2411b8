//! Texts, bytes, UUIDs and nothing.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rkafka_protocol::records::HeadersView;
use uuid::Uuid;

use super::{Deserializer, Encoded, Payload, RecordHeaders, SerializationContext, SerializationError, Serializer};

/// Implements a serializer for `$of`, and for `Option` of it.
macro_rules! serializes {
    ($serializer:ty: $($of:ty),* => |$data:ident, $into:ident| $write:expr) => {$(
        impl Serializer<$of> for $serializer {
            #[inline]
            fn serialize(
                &self,
                _: SerializationContext<'_>,
                _: &mut RecordHeaders<'_>,
                $data: &$of,
                $into: &mut Vec<u8>,
            ) -> Result<Encoded, SerializationError> {
                $write;
                Ok(Encoded::Bytes)
            }
        }
    )*};
}

/// Implements a serializer for `Option` of what it serializes.
macro_rules! serializes_options {
    ($serializer:ty: $($of:ty),*) => {$(
        impl Serializer<Option<$of>> for $serializer {
            #[inline]
            fn serialize(
                &self,
                context: SerializationContext<'_>,
                headers: &mut RecordHeaders<'_>,
                data: &Option<$of>,
                into: &mut Vec<u8>,
            ) -> Result<Encoded, SerializationError> {
                match data {
                    Some(data) => self.serialize(context, headers, data, into),
                    None => Ok(Encoded::Null),
                }
            }
        }
    )*};
}

/// Implements a deserializer for `$of` and `Option` of it, from bytes that are there.
macro_rules! deserializes {
    ($deserializer:ty, $name:literal: $($of:ty),* => |$context:ident, $data:ident| $read:expr) => {$(
        impl<'a> Deserializer<'a, $of> for $deserializer {
            #[inline]
            fn deserialize(
                &self,
                $context: SerializationContext<'_>,
                _: HeadersView<'a>,
                data: Option<Payload<'a>>,
            ) -> Result<$of, SerializationError> {
                let Some($data) = data else { return Err(SerializationError::null($context, $name)) };
                $read
            }
        }

        impl<'a> Deserializer<'a, Option<$of>> for $deserializer {
            #[inline]
            fn deserialize(
                &self,
                context: SerializationContext<'_>,
                headers: HeadersView<'a>,
                data: Option<Payload<'a>>,
            ) -> Result<Option<$of>, SerializationError> {
                data.map(|data| self.deserialize(context, headers, Some(data))).transpose()
            }
        }
    )*};
}

pub(super) use {deserializes, serializes, serializes_options};

/// Writes texts as UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StringSerializer;

serializes!(StringSerializer: str, String, &str, Cow<'_, str>, Box<str>, Arc<str>, Rc<str>
    => |data, into| into.extend_from_slice(data.as_bytes()));
serializes_options!(StringSerializer: String, &str, Cow<'_, str>, Box<str>, Arc<str>, Rc<str>);

/// Reads UTF-8. What is not UTF-8 is an error, where Java puts U+FFFD in the place of what it cannot read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StringDeserializer;

fn text<'a>(context: SerializationContext<'_>, data: &Payload<'a>) -> Result<&'a str, SerializationError> {
    str::from_utf8(data.as_slice()).map_err(|error| {
        SerializationError::new(context, format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
    })
}

deserializes!(StringDeserializer, "text": &'a str => |context, data| text(context, &data));
deserializes!(StringDeserializer, "text": Cow<'a, str>, String, Box<str>, Arc<str>
    => |context, data| text(context, &data).map(Into::into));

/// Hands bytes on as they are. Java's `ByteArraySerializer`, `BytesSerializer` and `ByteBufferSerializer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteArraySerializer;

serializes!(ByteArraySerializer: [u8], Vec<u8>, &[u8], Cow<'_, [u8]>, Box<[u8]>, Arc<[u8]>, Bytes, BytesMut
    => |data, into| into.extend_from_slice(data));
serializes_options!(ByteArraySerializer: Vec<u8>, &[u8], Cow<'_, [u8]>, Box<[u8]>, Arc<[u8]>, Bytes, BytesMut);

impl<const COUNT: usize> Serializer<[u8; COUNT]> for ByteArraySerializer {
    #[inline]
    fn serialize(
        &self,
        _: SerializationContext<'_>,
        _: &mut RecordHeaders<'_>,
        data: &[u8; COUNT],
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        into.extend_from_slice(data);
        Ok(Encoded::Bytes)
    }
}

/// Hands bytes on as they are: `&[u8]` and `Cow` refer to the record, [`Bytes`] shares its memory, others are copies. Java's
/// `ByteArrayDeserializer`, `BytesDeserializer` and `ByteBufferDeserializer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteArrayDeserializer;

deserializes!(ByteArrayDeserializer, "bytes": &'a [u8] => |context, data| Ok(data.as_slice()));
deserializes!(ByteArrayDeserializer, "bytes": Cow<'a, [u8]>, Vec<u8>, Box<[u8]>, Arc<[u8]>
    => |context, data| Ok(data.as_slice().into()));
deserializes!(ByteArrayDeserializer, "bytes": Bytes => |context, data| Ok(data.to_bytes()));

/// Writes a UUID as text in lower case with hyphens. Java's `UUIDSerializer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UuidSerializer;

serializes!(UuidSerializer: Uuid => |data, into| {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    into.extend_from_slice(data.hyphenated().encode_lower(&mut text).as_bytes());
});
serializes_options!(UuidSerializer: Uuid);

/// Reads the text of a UUID: 36 letters with hyphens, in either case. Java's `UUIDDeserializer`, which also takes groups
/// that are too short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UuidDeserializer;

deserializes!(UuidDeserializer, "UUID": Uuid => |context, data| {
    let uuid = Some(data.as_slice()).filter(|data| data.len() == uuid::fmt::Hyphenated::LENGTH);
    uuid.and_then(|data| Uuid::try_parse_ascii(data).ok()).ok_or_else(|| {
        SerializationError::new(context, format!("its {} bytes are not the text of a UUID", data.len()))
    })
});

/// Writes nulls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VoidSerializer;

impl Serializer<()> for VoidSerializer {
    #[inline]
    fn serialize(
        &self,
        _: SerializationContext<'_>,
        _: &mut RecordHeaders<'_>,
        (): &(),
        _: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        Ok(Encoded::Null)
    }
}

/// Reads nulls; anything else is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VoidDeserializer;

impl Deserializer<'_, ()> for VoidDeserializer {
    #[inline]
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        _: HeadersView<'_>,
        data: Option<Payload<'_>>,
    ) -> Result<(), SerializationError> {
        match data {
            None => Ok(()),
            Some(data) => {
                Err(SerializationError::new(context, format!("it should be null, and has {} bytes", data.len())))
            }
        }
    }
}
