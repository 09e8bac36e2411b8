//! Avro with schemas from the registry: the schema id in the frame, then one datum in Avro's binary encoding.
//!
//! [`AvroSerializer`] and [`AvroDeserializer`] look schemas up and keep them. In a loop over many records, ask them
//! once for an [`AvroEncoder`] or [`AvroCodec`]; these work without `await` and without any look-up.
//!
//! **Foreign bytes.** A datum is checked against its schema before it is decoded: lengths against the bytes that are
//! there, indexes against the schema, nesting against a bound. What does not pass is a
//! [`SerdeError::Datum`](crate::serde::SerdeError::Datum) that names
//! the place; see [`AvroCodec`] for the bounds.

mod codec;
mod deep;
mod deserializer;
mod schema;
mod serializer;
mod shape;

pub use apache_avro::types::Value;
pub use codec::AvroCodec;
pub use deserializer::{AvroDeserializer, AvroDeserializerSettings};
pub use schema::AvroSchema;
pub use serializer::{AvroEncoder, AvroSerializer, AvroSerializerSettings};

#[cfg(test)]
mod tests;
