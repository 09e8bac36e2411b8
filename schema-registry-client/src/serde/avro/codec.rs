//! One schema with a writer and a reader, made once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::deep::{Effort, RESOLVE_STEPS_MAX, with_stack};
use super::shape::Shape;
use crate::model::SchemaDefinition;
use crate::serde::SerdeError;

/// The most that the Avro library may reserve for one string, byte string or collection, in bytes.
const ALLOCATION_BYTES_MAX: usize = 64 << 20;

/// How many schemas of one process are kept for good, each with its writer and reader.
const INTERNED_MAX: usize = 4096;

/// Writes and reads single datums of one schema, without frame and without registry.
///
/// The writer and reader borrow their schema, so the schema of a codec stays in memory until the process ends; equal
/// schemas share one codec. Beyond 4,096 different schemas in one process, codecs are slower (they prepare anew for
/// each datum) and are freed with their last owner.
///
/// A datum to be read may be nested 128 deep and hold 65,536 array items that take no bytes; a string, byte string or
/// collection may take 64 MiB of memory (a limit of the Avro library for the whole process, which counts only where
/// the program has not called `apache_avro::util::max_allocation_bytes` before).
pub struct AvroCodec {
    name: Option<String>,
    shape: Shape,
    machine: Machine,
}

enum Machine {
    Prebuilt { parsed: &'static Parsed, writer: GenericDatumWriter<'static>, reader: GenericDatumReader<'static> },
    PerDatum(Parsed),
}

/// A schema and those that it refers to, each after those that it refers to itself.
struct Parsed {
    main: Schema,
    references: Vec<Schema>,
}

impl Parsed {
    fn all(&self) -> Vec<&Schema> {
        self.references.iter().chain([&self.main]).collect()
    }

    fn writer(&self) -> Result<GenericDatumWriter<'_>, apache_avro::Error> {
        GenericDatumWriter::builder(&self.main).schemata(self.all())?.human_readable(false).build()
    }

    fn reader(&self) -> Result<GenericDatumReader<'_>, apache_avro::Error> {
        GenericDatumReader::builder(&self.main).writer_schemata(self.all())?.human_readable(false).build()
    }
}

impl AvroCodec {
    /// The codec of a schema whose references have these texts, each after those that it refers to itself.
    pub(super) fn of(definition: &SchemaDefinition, reference_texts: &[String]) -> Result<Arc<Self>, SerdeError> {
        static INTERNED: OnceLock<Mutex<HashMap<Vec<String>, Arc<AvroCodec>>>> = OnceLock::new();
        apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);

        let mut texts = reference_texts.to_vec();
        texts.push(definition.schema.clone());
        let interned = INTERNED.get_or_init(Mutex::default);
        if let Some(codec) = interned.lock().unwrap_or_else(PoisonError::into_inner).get(&texts) {
            return Ok(Arc::clone(codec));
        }

        let failed = |reason: String| SerdeError::Schema { what: excerpt(&definition.schema), reason };
        let (main, references) = Schema::parse_str_with_list(&definition.schema, reference_texts)
            .map_err(|error| failed(error.to_string()))?;
        let parsed = Parsed { main, references };
        let shape = Shape::compile(&parsed.main, &parsed.references).map_err(failed)?;
        let name = parsed.main.name().map(|name| name.fullname(None));
        // Both are built here even where they are not kept, so that their errors come now.
        parsed.writer().and_then(|_| parsed.reader()).map_err(|error| failed(error.to_string()))?;

        let mut interned = interned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codec) = interned.get(&texts) {
            return Ok(Arc::clone(codec));
        }
        if interned.len() >= INTERNED_MAX {
            return Ok(Arc::new(Self { name, shape, machine: Machine::PerDatum(parsed) }));
        }
        let parsed: &'static Parsed = Box::leak(Box::new(parsed));
        let failed = |error: apache_avro::Error| failed(error.to_string());
        let machine = Machine::Prebuilt {
            parsed,
            writer: parsed.writer().map_err(failed)?,
            reader: parsed.reader().map_err(failed)?,
        };
        let codec = Arc::new(Self { name, shape, machine });
        interned.insert(texts, Arc::clone(&codec));
        Ok(codec)
    }

    /// The full name of the schema's outermost type; `None` for arrays, maps, unions and primitive types.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The schema, parsed.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.parsed().main
    }

    fn parsed(&self) -> &Parsed {
        match &self.machine {
            Machine::Prebuilt { parsed, .. } => parsed,
            Machine::PerDatum(parsed) => parsed,
        }
    }

    fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| "an unnamed schema".into())
    }

    fn unwritable(&self, error: &apache_avro::Error) -> SerdeError {
        SerdeError::Encode { subject: self.called(), reason: error.to_string() }
    }

    fn unreadable(&self, reason: String) -> SerdeError {
        SerdeError::Datum { schema: self.called(), path: "$".into(), reason }
    }

    /// Appends a value's datum to `out`.
    ///
    /// # Errors
    /// [`SerdeError::Encode`] where the value does not fit the schema; `out` is then as it was.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        self.write(out, |writer, out| writer.write_ser(out, &value).map(drop))
    }

    /// As [`AvroCodec::encode`], for a generic value.
    ///
    /// # Errors
    /// As [`AvroCodec::encode`].
    pub fn encode_value(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        with_stack(Effort::of(value).depth, || {
            self.write(out, |writer, out| writer.write_value_ref(out, value).map(drop))
        })
        .unwrap_or_else(|reason| Err(SerdeError::Encode { subject: self.called(), reason }))
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&GenericDatumWriter<'_>, &mut Vec<u8>) -> Result<(), apache_avro::Error>,
    ) -> Result<(), SerdeError> {
        let len_before = out.len();
        let result = match &self.machine {
            Machine::Prebuilt { writer, .. } => write(writer, out),
            Machine::PerDatum(parsed) => parsed.writer().and_then(|writer| write(&writer, out)),
        };
        result.map_err(|error| {
            out.truncate(len_before);
            self.unwritable(&error)
        })
    }

    /// Reads one datum, which must fill `datum`.
    ///
    /// # Errors
    /// [`SerdeError::Datum`] where the bytes are not one datum of this schema, or do not fit `T`.
    pub fn decode<T: DeserializeOwned>(&self, datum: &[u8]) -> Result<T, SerdeError> {
        self.check(datum)?;
        let mut input = datum;
        match &self.machine {
            // The reader has no reader schema: with one, this call would panic.
            Machine::Prebuilt { reader, .. } => reader.read_deser(&mut input),
            Machine::PerDatum(parsed) => parsed.reader().and_then(|reader| reader.read_deser(&mut input)),
        }
        .map_err(|error| self.unreadable(error.to_string()))
    }

    /// As [`AvroCodec::decode`], into a generic value.
    ///
    /// # Errors
    /// As [`AvroCodec::decode`].
    pub fn decode_value(&self, datum: &[u8]) -> Result<Value, SerdeError> {
        let depth = self.check(datum)?;
        with_stack(depth, || {
            let mut input = datum;
            match &self.machine {
                Machine::Prebuilt { reader, .. } => reader.read_value(&mut input),
                Machine::PerDatum(parsed) => parsed.reader().and_then(|reader| reader.read_value(&mut input)),
            }
            .map_err(|error| self.unreadable(error.to_string()))
        })
        .unwrap_or_else(|reason| Err(self.unreadable(reason)))
    }

    /// Brings a value of another schema into this one by Avro's schema resolution: fields by name, defaults for those
    /// that are missing, numbers widened.
    ///
    /// # Errors
    /// [`SerdeError::Datum`] where the value has no meaning in this schema, or where it has so many unions within
    /// unions that the Avro library's resolution, which doubles its time with each, would not come to an end.
    pub fn resolve(&self, value: Value) -> Result<Value, SerdeError> {
        let effort = Effort::of(&value);
        if effort.resolve_steps > RESOLVE_STEPS_MAX {
            return Err(self.unreadable(format!(
                "resolving this value into the reader schema would take more than {RESOLVE_STEPS_MAX} steps; \
                 read it without a reader schema"
            )));
        }
        with_stack(effort.depth, || {
            let parsed = self.parsed();
            value.resolve_schemata(&parsed.main, parsed.all()).map_err(|error| self.unreadable(error.to_string()))
        })
        .unwrap_or_else(|reason| Err(self.unreadable(reason)))
    }

    /// How deep a datum is nested, if it is one of this schema.
    fn check(&self, datum: &[u8]) -> Result<usize, SerdeError> {
        self.shape.check(datum).map_err(|misfit| SerdeError::Datum {
            schema: self.called(),
            path: misfit.path(),
            reason: misfit.reason,
        })
    }
}

impl fmt::Debug for AvroCodec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AvroCodec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The beginning of a schema's text, for messages.
fn excerpt(text: &str) -> String {
    let mut beginning: String = text.chars().take(80).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}
