//! The schemas as Apache Kafka publishes them: JSON with `//` comments.

use std::path::Path;

use serde_json::Value;

/// Versions from `min` to `max`; empty where `min > max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Self = Self { min: 1, max: 0 };

    pub fn parse(text: &str) -> Self {
        let number = |part: &str| part.trim().parse::<i16>().unwrap_or_else(|_| panic!("`{text}` is no version range"));
        if text.is_empty() || text == "none" {
            Self::NONE
        } else if let Some(min) = text.strip_suffix('+') {
            Self { min: number(min), max: i16::MAX }
        } else if let Some((min, max)) = text.split_once('-') {
            Self { min: number(min), max: number(max) }
        } else {
            Self { min: number(text), max: number(text) }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    pub fn intersect(&self, other: &Self) -> Self {
        Self { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// The Rust condition on `version` that says whether it lies in `self`, given that it lies in `within`.
    pub fn condition(&self, within: &Self) -> String {
        let own = self.intersect(within);
        if own.is_empty() {
            return "false".into();
        }
        match (own.min > within.min, own.max < within.max) {
            (false, false) => "true".into(),
            (true, false) => format!("version >= {}", own.min),
            (false, true) if own.min == own.max => format!("version == {}", own.max),
            (false, true) => format!("version <= {}", own.max),
            (true, true) if own.min == own.max => format!("version == {}", own.min),
            (true, true) => format!("({}..={}).contains(&version)", own.min, own.max),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub default: Option<String>,
    pub ignorable: bool,
    pub about: String,
    /// `Some` where the field's own flexibility differs from its message's.
    pub flexible: Option<Versions>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Integer(&'static str),
    Float64,
    String,
    Uuid,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Kind>),
}

impl Kind {
    fn parse(text: &str) -> Self {
        if let Some(element) = text.strip_prefix("[]") {
            return Self::Array(Box::new(Self::parse(element)));
        }
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Integer("i8"),
            "int16" => Self::Integer("i16"),
            "uint16" => Self::Integer("u16"),
            "int32" => Self::Integer("i32"),
            "uint32" => Self::Integer("u32"),
            "int64" => Self::Integer("i64"),
            "float64" => Self::Float64,
            "string" => Self::String,
            "uuid" => Self::Uuid,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name => Self::Struct(name.to_owned()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Struct {
    pub name: String,
    pub about: String,
    pub fields: Vec<Field>,
    /// The versions in which the struct can come.
    pub versions: Versions,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub name: String,
    pub kind: String,
    pub api_key: Option<i16>,
    pub versions: Versions,
    pub flexible: Versions,
    /// The message itself first, then every struct in it.
    pub structs: Vec<Struct>,
}

impl Message {
    /// Reads the schema at `path`; `None` where the message has no versions any more.
    pub fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let value: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut versions = Versions::parse(text_of(&value, "validVersions"));
        if value["latestVersionUnstable"].as_bool() == Some(true) {
            versions.max -= 1;
        }
        if versions.is_empty() {
            return None;
        }
        let mut structs = Vec::new();
        let name = text_of(&value, "name").to_owned();
        let own = structs.len();
        structs.push(Struct { name: name.clone(), about: String::new(), fields: Vec::new(), versions });
        structs[own].fields = fields_of(&value, versions, &mut structs);
        for common in value["commonStructs"].as_array().into_iter().flatten() {
            let at = structs.len();
            structs.push(Struct {
                name: text_of(common, "name").to_owned(),
                about: text_of(common, "about").to_owned(),
                fields: Vec::new(),
                versions,
            });
            structs[at].fields = fields_of(common, versions, &mut structs);
        }
        Some(Self {
            name,
            kind: text_of(&value, "type").to_owned(),
            api_key: value["apiKey"].as_i64().map(|key| key as i16),
            versions,
            flexible: Versions::parse(text_of(&value, "flexibleVersions")),
            structs,
        })
    }
}

fn text_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn fields_of(value: &Value, within: Versions, structs: &mut Vec<Struct>) -> Vec<Field> {
    let mut fields = Vec::new();
    for field in value["fields"].as_array().into_iter().flatten() {
        let tagged = Versions::parse(text_of(field, "taggedVersions"));
        let tag = field["tag"].as_u64().map(|tag| tag as u32);
        let versions = match field["versions"].as_str() {
            Some(text) => Versions::parse(text),
            None => tagged,
        };
        let name = text_of(field, "name").to_owned();
        assert!(tag.is_none() || tagged.min <= versions.min, "{name}: tagged in some of its versions only");
        let kind = Kind::parse(text_of(field, "type"));
        let inner = match &kind {
            Kind::Array(element) => element.as_ref(),
            other => other,
        };
        if let (Kind::Struct(struct_name), true) = (inner, field["fields"].is_array()) {
            let at = structs.len();
            let own = versions.intersect(&within);
            structs.push(Struct {
                name: struct_name.clone(),
                about: text_of(field, "about").to_owned(),
                fields: Vec::new(),
                versions: own,
            });
            structs[at].fields = fields_of(field, own, structs);
        }
        let default = match &field["default"] {
            Value::Null if field.get("default").is_some() => Some("null".to_owned()),
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        fields.push(Field {
            name,
            kind,
            versions,
            nullable: Versions::parse(text_of(field, "nullableVersions")),
            tag,
            default,
            ignorable: field["ignorable"].as_bool().unwrap_or(false),
            about: text_of(field, "about").to_owned(),
            flexible: field["flexibleVersions"].as_str().map(Versions::parse),
        });
    }
    fields
}
