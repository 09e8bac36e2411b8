//! Serializers that frame their output with a schema id, and what they share.

pub mod avro;

use crate::error::RegistryError;
use crate::model::{SchemaId, SchemaType};
use crate::wire::FrameError;

/// Under which subject a record's schema is registered (`key.subject.name.strategy`, `value.subject.name.strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SubjectNameStrategy {
    /// The topic with `-key` or `-value`: one line of schemas per topic. The default.
    #[default]
    TopicName,
    /// The record's full name, whatever the topic.
    RecordName,
    /// The topic, a dash and the record's full name: several kinds of records in one topic.
    TopicRecordName,
}

impl SubjectNameStrategy {
    /// The subject's name. `record_name` is the full name of the schema's outermost type.
    ///
    /// # Errors
    /// [`SerdeError::UnnamedSchema`] where the strategy wants a name and the schema has none, being a string or a
    /// union, for example.
    pub fn subject(self, topic: &str, is_key: bool, record_name: Option<&str>) -> Result<String, SerdeError> {
        let named = || record_name.ok_or_else(|| SerdeError::UnnamedSchema { strategy: self, topic: topic.to_owned() });
        Ok(match self {
            Self::TopicName => format!("{topic}-{}", if is_key { "key" } else { "value" }),
            Self::RecordName => named()?.to_owned(),
            Self::TopicRecordName => format!("{topic}-{}", named()?),
        })
    }
}

/// Why a value was not written or read. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// The bytes are not framed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The registry did not give the schema or its id.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The subject name strategy wants a named type.
    #[error(
        "subject name strategy {strategy:?} needs a named schema (record, enum or fixed), but that for topic {topic} \
         has no name; use a record, or the strategy TopicName"
    )]
    UnnamedSchema {
        /// The strategy.
        strategy: SubjectNameStrategy,
        /// The topic.
        topic: String,
    },
    /// The text is no schema that can be used here.
    #[error("{what} is not a usable Avro schema: {reason}")]
    Schema {
        /// Which schema.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema is of another language than the serializer.
    #[error("schema {id} is {schema_type}, not AVRO; read this topic with a deserializer for {schema_type}")]
    WrongSchemaType {
        /// The schema.
        id: SchemaId,
        /// Its language.
        schema_type: SchemaType,
    },
    /// The schema has rules, and to pass over them could write in the clear what was to be encrypted.
    #[error(
        "{what} has data contract rules (ruleSet), which this client cannot run; \
         use a schema without rules, or a client that runs them"
    )]
    UnsupportedRules {
        /// Which schema.
        what: String,
    },
    /// A value does not fit the schema it was to be written with.
    #[error("cannot write the value with the schema of {subject}: {reason}")]
    Encode {
        /// The subject, or how else the schema is called.
        subject: String,
        /// What does not fit.
        reason: String,
    },
    /// The payload is not what its schema says: damaged, or written with another schema.
    #[error("cannot read the payload with {schema}, at {path}: {reason}")]
    Datum {
        /// The schema, by id where there is one.
        schema: String,
        /// Where in the schema, as in `$.items[].price`.
        path: String,
        /// What is wrong there.
        reason: String,
    },
}

impl SerdeError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_retriable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_named_as_javas() {
        use SubjectNameStrategy::{RecordName, TopicName, TopicRecordName};
        let name = Some("com.example.Order");
        let subject = |strategy: SubjectNameStrategy, is_key| strategy.subject("t", is_key, name).expect("a subject");
        assert_eq!(subject(TopicName, true), "t-key");
        assert_eq!(subject(TopicName, false), "t-value");
        assert_eq!(subject(RecordName, true), "com.example.Order");
        assert_eq!(subject(TopicRecordName, false), "t-com.example.Order");
        assert_eq!(TopicName.subject("t", false, None).expect("a subject"), "t-value");
        assert!(matches!(RecordName.subject("t", false, None), Err(SerdeError::UnnamedSchema { .. })));
    }
}
