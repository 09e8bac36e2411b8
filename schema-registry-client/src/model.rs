//! What travels in the REST interface. Unknown fields are passed over: a newer registry does not break this client.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The registry's number for one schema text, unique within a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaId(pub i32);

impl fmt::Display for SchemaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Generates an enum of upper-case words with a variant for those that this version does not know.
macro_rules! word_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// A word that this version does not know, kept as it came.
            Other(String),
        }

        impl $name {
            /// The registry's spelling.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $word,)+ Self::Other(word) => word }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word { $($word => Self::$variant,)+ other => Self::Other(other.to_owned()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(String::deserialize(deserializer)?.as_str().into())
            }
        }
    };
}

word_enum! {
    /// The language of a schema.
    #[derive(Default)]
    SchemaType {
        /// Apache Avro; what is meant where a request or response names no type.
        #[default]
        Avro = "AVRO",
        /// Protocol Buffers.
        Protobuf = "PROTOBUF",
        /// JSON Schema.
        Json = "JSON",
    }
}

impl SchemaType {
    fn is_avro(&self) -> bool {
        matches!(self, Self::Avro)
    }
}

word_enum! {
    /// Which changes of a subject's schema the registry lets pass.
    CompatibilityLevel {
        /// Every change.
        None = "NONE",
        /// New readers read the last version's data; Confluent's default.
        Backward = "BACKWARD",
        /// New readers read every version's data.
        BackwardTransitive = "BACKWARD_TRANSITIVE",
        /// Readers of the last version read new data.
        Forward = "FORWARD",
        /// Readers of every version read new data.
        ForwardTransitive = "FORWARD_TRANSITIVE",
        /// Both ways, with the last version.
        Full = "FULL",
        /// Both ways, with every version.
        FullTransitive = "FULL_TRANSITIVE",
    }
}

/// A subject's version, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The newest one.
    Latest,
    /// This one, counted from 1.
    Number(i32),
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Number(number) => number.fmt(formatter),
        }
    }
}

/// Whether a deletion can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeleteMode {
    /// Hidden, but still there for readers by id; registering the schema again brings it back.
    Soft,
    /// Gone for good (`permanent=true`); the registry wants a soft deletion first.
    Permanent,
}

/// A named type of another subject that a schema uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The name by which the schema refers to it: for Avro the full name of the type.
    pub name: String,
    /// The subject under which it is registered.
    pub subject: String,
    /// Its version there.
    pub version: i32,
}

/// Tags, properties and sensitive properties of a data contract, verbatim.
pub type Metadata = Value;

/// The rules of a data contract, verbatim.
pub type RuleSet = Value;

/// A schema with all that makes up its identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaDefinition {
    /// The text, in the language of `schema_type`.
    pub schema: String,
    /// The language; left out of requests where it is Avro.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "SchemaType::is_avro")]
    pub schema_type: SchemaType,
    /// The types of other subjects that it uses.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// The data contract's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The data contract's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<RuleSet>,
}

impl SchemaDefinition {
    /// An Avro schema without references.
    pub fn avro(schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..Self::default() }
    }

    /// Whether there is any rule that a serializer would have to run.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        let Some(Value::Object(rule_set)) = &self.rule_set else { return false };
        rule_set.values().any(|rules| rules.as_array().is_some_and(|rules| !rules.is_empty()))
    }
}

/// A schema as a version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredSchema {
    /// The subject.
    pub subject: String,
    /// The version within the subject.
    pub version: i32,
    /// The schema's id.
    pub id: SchemaId,
    /// The schema's GUID, from registries that have them (Confluent 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The schema itself.
    #[serde(flatten)]
    pub definition: SchemaDefinition,
}

/// The answer to a compatibility check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compatibility {
    /// Whether the schema may be registered.
    pub is_compatible: bool,
    /// Why not, where the registry says so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub messages: Vec<String>,
}

/// The configuration of a subject or of the whole registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectConfig {
    /// Which changes pass. The registry calls it `compatibilityLevel` in answers to GET, `compatibility` elsewhere.
    #[serde(rename = "compatibility", alias = "compatibilityLevel", default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<CompatibilityLevel>,
    /// Whether schemas are normalised before they are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// The metadata property that parts a subject's versions into groups, each compatible within itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility_group: Option<String>,
    /// The subject that this one stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Every other field, verbatim, so that writing back a configuration that was read loses nothing.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl SubjectConfig {
    /// A configuration that sets the compatibility level and nothing else.
    #[must_use]
    pub fn with_compatibility(level: CompatibilityLevel) -> Self {
        Self { compatibility: Some(level), ..Self::default() }
    }
}

/// Some registries write `null` for what they have not.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avro_requests_name_no_type_and_no_empty_field() {
        let text = serde_json::to_string(&SchemaDefinition::avro("\"string\"")).expect("JSON");
        assert_eq!(text, r#"{"schema":"\"string\""}"#);
        let json = SchemaDefinition { schema_type: SchemaType::Json, ..SchemaDefinition::avro("{}") };
        assert_eq!(serde_json::to_string(&json).expect("JSON"), r#"{"schema":"{}","schemaType":"JSON"}"#);
    }

    #[test]
    fn responses_may_have_nulls_and_fields_from_the_future() {
        let text = r#"{"subject":"s","version":2,"id":7,"guid":null,"schema":"\"int\"","schemaType":null,
            "references":null,"ruleSet":{"domainRules":[{"name":"r"}]},"deleted":false,"ts":1,"future":{"a":[]}}"#;
        let registered: RegisteredSchema = serde_json::from_str(text).expect("a schema");
        assert_eq!((registered.id, registered.definition.schema_type.clone()), (SchemaId(7), SchemaType::Avro));
        assert!(registered.definition.has_rules());
        let unknown: SchemaDefinition = serde_json::from_str(r#"{"schema":"x","schemaType":"THRIFT"}"#).expect("ok");
        assert_eq!(unknown.schema_type, SchemaType::Other("THRIFT".into()));
        assert!(!unknown.has_rules());
    }

    #[test]
    fn configuration_is_read_in_both_spellings_and_written_back_whole() {
        let read: SubjectConfig =
            serde_json::from_str(r#"{"compatibilityLevel":"FULL","compatibilityPolicy":"STRICT"}"#).expect("a config");
        assert_eq!(read.compatibility, Some(CompatibilityLevel::Full));
        let written = serde_json::to_string(&read).expect("JSON");
        assert_eq!(written, r#"{"compatibility":"FULL","compatibilityPolicy":"STRICT"}"#);
        let echoed: SubjectConfig = serde_json::from_str(&written).expect("a config");
        assert_eq!(echoed, read);
    }
}
