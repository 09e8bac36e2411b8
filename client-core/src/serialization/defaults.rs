//! Which of the built-in serializers a type has where nobody says otherwise.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{
    BooleanDeserializer, BooleanSerializer, ByteArrayDeserializer, ByteArraySerializer, Deserializer,
    DoubleDeserializer, DoubleSerializer, FloatDeserializer, FloatSerializer, IntegerDeserializer, IntegerSerializer,
    LongDeserializer, LongSerializer, Serializer, SerializerClass, ShortDeserializer, ShortSerializer,
    StringDeserializer, StringSerializer, UuidDeserializer, UuidSerializer, VoidDeserializer, VoidSerializer,
};

/// A type with a serializer of its own, which typed producers use. Java's `Serdes.serdeFrom(type)`.
pub trait DefaultSerializer {
    /// The serializer.
    type Serializer: Serializer<Self> + Default + Send + Sync + 'static;

    /// Its name in Java, where it has one there. Default: [`SerializerClass::ByProgram`], no name.
    const CLASS: SerializerClass = SerializerClass::ByProgram;
}

/// A type with a deserializer of its own, which typed consumers use.
pub trait DefaultDeserializer: Sized {
    /// The deserializer.
    type Deserializer: for<'a> Deserializer<'a, Self> + Default + Send + Sync + 'static;
}

macro_rules! defaults {
    ($($class:ident, $serializer:ident, $deserializer:ident: [$($of:ty),*] [$($unsized:ty),*];)*) => {$(
        $(
            impl DefaultSerializer for $of {
                type Serializer = $serializer;
                const CLASS: SerializerClass = SerializerClass::$class;
            }
            impl DefaultDeserializer for $of {
                type Deserializer = $deserializer;
            }
            impl DefaultSerializer for Option<$of> {
                type Serializer = $serializer;
                const CLASS: SerializerClass = SerializerClass::$class;
            }
            impl DefaultDeserializer for Option<$of> {
                type Deserializer = $deserializer;
            }
        )*
        $(
            impl DefaultSerializer for $unsized {
                type Serializer = $serializer;
                const CLASS: SerializerClass = SerializerClass::$class;
            }
        )*
    )*};
}

defaults! {
    String, StringSerializer, StringDeserializer: [String, Box<str>, Arc<str>] [str, &str, Cow<'_, str>];
    ByteArray, ByteArraySerializer, ByteArrayDeserializer: [Vec<u8>, Bytes, Box<[u8]>, Arc<[u8]>] [[u8], &[u8], Cow<'_, [u8]>];
    Short, ShortSerializer, ShortDeserializer: [i16] [];
    Integer, IntegerSerializer, IntegerDeserializer: [i32] [];
    Long, LongSerializer, LongDeserializer: [i64] [];
    Float, FloatSerializer, FloatDeserializer: [f32] [];
    Double, DoubleSerializer, DoubleDeserializer: [f64] [];
    Boolean, BooleanSerializer, BooleanDeserializer: [bool] [];
    Uuid, UuidSerializer, UuidDeserializer: [Uuid] [];
}

impl DefaultSerializer for () {
    type Serializer = VoidSerializer;
    const CLASS: SerializerClass = SerializerClass::Void;
}

impl DefaultDeserializer for () {
    type Deserializer = VoidDeserializer;
}
