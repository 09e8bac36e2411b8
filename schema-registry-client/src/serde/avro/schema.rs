//! An Avro schema as a program brings it along.

use std::sync::Arc;

use super::codec::AvroCodec;
use crate::client::Client;
use crate::model::{Reference, SchemaDefinition, SchemaType, Version};
use crate::serde::SerdeError;

/// The most references that one schema may lead to, directly and through others.
const REFERENCES_MAX: usize = 1000;

/// The longest chain of references.
const REFERENCE_DEPTH_MAX: usize = 32;

/// An Avro schema, parsed and ready to write and read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    definition: Arc<SchemaDefinition>,
    codec: Arc<AvroCodec>,
}

impl AvroSchema {
    /// Parses a schema that refers to no other.
    ///
    /// # Errors
    /// [`SerdeError::Schema`] where the text is no Avro schema.
    pub fn parse(text: &str) -> Result<Self, SerdeError> {
        let definition = SchemaDefinition::avro(text);
        let codec = AvroCodec::of(&definition, &[])?;
        Ok(Self { definition: Arc::new(definition), codec })
    }

    /// Parses a schema whose references are fetched from the registry, with theirs in turn.
    ///
    /// # Errors
    /// [`SerdeError::Schema`] where a text is no Avro schema or the references have no end, and
    /// [`SerdeError::UnsupportedRules`] and [`SerdeError::Registry`].
    pub async fn from_registry(client: &Client, definition: SchemaDefinition) -> Result<Self, SerdeError> {
        if definition.has_rules() {
            return Err(SerdeError::UnsupportedRules { what: "the schema".into() });
        }
        let texts = reference_texts(client, &definition.references).await?;
        let codec = AvroCodec::of(&definition, &texts)?;
        Ok(Self { definition: Arc::new(definition), codec })
    }

    /// The schema as the registry has it.
    #[must_use]
    pub fn definition(&self) -> &SchemaDefinition {
        &self.definition
    }

    pub(super) fn shared_definition(&self) -> &Arc<SchemaDefinition> {
        &self.definition
    }

    /// Writes and reads datums of this schema.
    #[must_use]
    pub fn codec(&self) -> &Arc<AvroCodec> {
        &self.codec
    }
}

/// The texts of all schemas that these references lead to, each once, and after those that it refers to itself.
async fn reference_texts(client: &Client, references: &[Reference]) -> Result<Vec<String>, SerdeError> {
    /// What is still to do, last first.
    enum Step {
        Visit(Reference, usize),
        Emit(String),
    }
    let mut steps: Vec<Step> = references.iter().rev().map(|reference| Step::Visit(reference.clone(), 1)).collect();
    let mut seen = std::collections::HashSet::new();
    let mut texts: Vec<String> = Vec::new();
    while let Some(step) = steps.pop() {
        match step {
            // One text registered under two subjects defines its names but once.
            Step::Emit(text) => {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            Step::Visit(reference, depth) => {
                let called =
                    format!("reference {} ({} version {})", reference.name, reference.subject, reference.version);
                let refuse = |reason: &str| SerdeError::Schema { what: called.clone(), reason: reason.to_owned() };
                if !seen.insert((reference.subject.clone(), reference.version)) {
                    continue;
                }
                if seen.len() > REFERENCES_MAX || depth > REFERENCE_DEPTH_MAX {
                    return Err(refuse("too many references, or too long a chain of them"));
                }
                let registered = client.schema(&reference.subject, Version::Number(reference.version)).await;
                let definition = registered?.definition;
                if definition.schema_type != SchemaType::Avro {
                    return Err(refuse("it is not an Avro schema"));
                }
                if definition.has_rules() {
                    return Err(SerdeError::UnsupportedRules { what: called });
                }
                steps.push(Step::Emit(definition.schema));
                steps.extend(definition.references.into_iter().rev().map(|next| Step::Visit(next, depth + 1)));
            }
        }
    }
    Ok(texts)
}
