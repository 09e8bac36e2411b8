//! Numbers and truth values, the highest byte first.

use rkafka_protocol::records::HeadersView;

use super::built_in::{deserializes, serializes, serializes_options};
use super::{Deserializer, Encoded, Payload, RecordHeaders, SerializationContext, SerializationError, Serializer};

fn fixed<const SIZE: usize>(
    context: SerializationContext<'_>,
    data: Payload<'_>,
    expected: &str,
) -> Result<[u8; SIZE], SerializationError> {
    data.as_slice().try_into().map_err(|_| wrong_size(context, data.len(), expected, SIZE))
}

#[cold]
fn wrong_size(context: SerializationContext<'_>, found: usize, expected: &str, size: usize) -> SerializationError {
    SerializationError::new(context, format!("it has {found} bytes, where {expected} has {size}"))
}

macro_rules! number {
    ($serializer:ident, $deserializer:ident, $of:ty, $name:literal) => {
        #[doc = concat!("Writes ", $name, ", the highest byte first.")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $serializer;

        serializes!($serializer: $of => |data, into| into.extend_from_slice(&bytes(*data)));
        serializes_options!($serializer: $of);

        #[doc = concat!("Reads ", $name, ", the highest byte first. Any other number of bytes is an error.")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $deserializer;

        deserializes!($deserializer, $name: $of => |context, data| {
            fixed(context, data, $name).map(<$of>::from_be_bytes)
        });
    };
}

macro_rules! numbers {
    ($($module:ident: $serializer:ident, $deserializer:ident, $of:ty, $name:literal, $bytes:expr;)*) => {$(
        mod $module {
            use super::*;
            fn bytes(data: $of) -> [u8; size_of::<$of>()] {
                let bytes: fn($of) -> [u8; size_of::<$of>()] = $bytes;
                bytes(data)
            }
            number!($serializer, $deserializer, $of, $name);
        }
        pub use $module::{$serializer, $deserializer};
    )*};
}

numbers! {
    short: ShortSerializer, ShortDeserializer, i16, "a number of 16 bits", i16::to_be_bytes;
    integer: IntegerSerializer, IntegerDeserializer, i32, "a number of 32 bits", i32::to_be_bytes;
    long: LongSerializer, LongDeserializer, i64, "a number of 64 bits", i64::to_be_bytes;
    float: FloatSerializer, FloatDeserializer, f32, "a floating-point number of 32 bits", f32::to_be_bytes;
    // Java's `doubleToLongBits` knows one NaN; its `floatToRawIntBits` above knows all.
    double: DoubleSerializer, DoubleDeserializer, f64, "a floating-point number of 64 bits", |data| {
        if data.is_nan() { 0x7ff8_0000_0000_0000_u64.to_be_bytes() } else { data.to_be_bytes() }
    };
}

/// Writes a truth value as one byte, 1 or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BooleanSerializer;

serializes!(BooleanSerializer: bool => |data, into| into.push(u8::from(*data)));
serializes_options!(BooleanSerializer: bool);

/// Reads a truth value: one byte, 1 or 0. Anything else is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BooleanDeserializer;

deserializes!(BooleanDeserializer, "truth value": bool => |context, data| match data.as_slice() {
    [0] => Ok(false),
    [1] => Ok(true),
    [_] => Err(SerializationError::new(context, "its byte is neither 0 nor 1")),
    other => Err(wrong_size(context, other.len(), "a truth value", 1)),
});
